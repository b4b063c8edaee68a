//! `tenfold validate`.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use validation::redis::{RedisCheckError, RedisOptions, check_redis};

use crate::args::ValidateArgs;
use crate::output::{Failure, print};
use crate::tables;

/// What the check needs is not on this machine.
const MISSING: u8 = 3;

pub fn validate(args: &ValidateArgs) -> Result<ExitCode, Failure> {
    let bar = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let style = "round {pos}/{len} {bar:40} {elapsed} gone, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    let options =
        RedisOptions { program: args.redis_server.clone(), rounds: args.rounds, ..RedisOptions::default() };
    let report = check_redis(&options, |done, all| {
        bar.set_length(all.into());
        bar.set_position(done.into());
    });
    bar.finish_and_clear();
    let report = match report {
        Ok(report) => report,
        Err(error @ RedisCheckError::NoServer { .. }) => {
            let help = "install it (Debian: apt-get install redis-server) or name it with --redis-server";
            Failure::text(error).help(help).report();
            return Ok(ExitCode::from(MISSING));
        }
        Err(RedisCheckError::Scenario(error)) => return Err(error.into()),
        Err(error) => return Err(Failure::text(error)),
    };
    print(&tables::redis(&report))?;
    Ok(ExitCode::from(u8::from(!report.passed())))
}
