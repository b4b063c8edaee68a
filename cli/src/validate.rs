//! `tenfold validate`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use scenarios::profile::{find_profile, open_raw};
use scenarios::results::{check_writable, write_text};
use validation::engine::check_engine;
use validation::gpu::check_gpu;
use validation::published::check_published;
use validation::redis::{RedisCheckError, RedisOptions, check_redis};

use crate::args::ValidateArgs;
use crate::output::{Failure, check_apart, print};
use crate::tables;

/// What the check needs is not on this machine.
pub const MISSING: u8 = 3;

pub fn validate(args: &ValidateArgs) -> Result<ExitCode, Failure> {
    args.out.as_deref().map_or(Ok(()), check_writable).map_err(Failure::text)?;
    if let Some(dir) = &args.out {
        let read = [&args.engine, &args.published, &args.raw].into_iter().flatten().cloned();
        let read = read.chain(args.profile.as_ref().map(PathBuf::from)).collect();
        let own = ["", "scenarios", "report.html", "report.md"].map(|name| dir.join(name));
        check_apart(|| read, own)?;
    }
    match (&args.engine, &args.raw, &args.profile, &args.published) {
        (Some(engine), ..) => validate_engine(args, engine),
        (None, Some(raw), Some(profile), _) => validate_gpu(args, raw, profile),
        (.., Some(published)) => validate_published(args, published),
        _ => validate_redis(args),
    }
}

/// Published measurements beside their predictions: exit code 1 when an error is out of its bounds.
fn validate_published(args: &ValidateArgs, dir: &Path) -> Result<ExitCode, Failure> {
    let bar = bar(args, "{pos}/{len} {bar:40} {msg}");
    let report = check_published(dir, |next, done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(next.to_owned());
    });
    bar.finish_and_clear();
    let report = report.map_err(Failure::text)?;
    if let Some(out) = &args.out {
        report.write(out).map_err(Failure::text)?;
    }
    print(&tables::published(&report))?;
    Ok(ExitCode::from(u8::from(!report.passed())))
}

fn bar(args: &ValidateArgs, template: &str) -> ProgressBar {
    let bar = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.with_style(ProgressStyle::with_template(template).expect("a valid template"))
}

/// A serving engine beside its prediction: exit code 1 when an error is out of its bounds.
fn validate_engine(args: &ValidateArgs, dir: &Path) -> Result<ExitCode, Failure> {
    let report = check_engine(dir).map_err(Failure::text)?;
    if let Some(out) = &args.out {
        report.write(out).map_err(Failure::text)?;
    }
    print(&tables::engine(&report))?;
    Ok(ExitCode::from(u8::from(!report.passed())))
}

/// A profile beside measurements: exit code 1 when an error is out of its bounds.
fn validate_gpu(args: &ValidateArgs, raw: &Path, profile: &str) -> Result<ExitCode, Failure> {
    let measured = open_raw(raw).map_err(Failure::text)?;
    let profile = find_profile(profile).map_err(Failure::text)?;
    let name = raw.display().to_string();
    let report = check_gpu(&measured, &profile, &name).map_err(Failure::text)?;
    if let Some(dir) = &args.out {
        let failed = |error: scenarios::results::ResultsError| Failure::text(error);
        let page = report.report();
        page.write_pictures(dir).map_err(failed)?;
        page.write_html(&dir.join("report.html")).map_err(failed)?;
        write_text(&dir.join("report.md"), &report.markdown()).map_err(failed)?;
    }
    print(&tables::gpu(&report))?;
    Ok(ExitCode::from(u8::from(!report.passed())))
}

fn validate_redis(args: &ValidateArgs) -> Result<ExitCode, Failure> {
    let bar = bar(args, "round {pos}/{len} {bar:40} {elapsed} gone, {eta} left");
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
