//! `tenfold bench`.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use scenarios::bench::{self, BenchOptions};

use crate::args::BenchArgs;
use crate::output::{Failure, print};
use crate::tables;

pub fn bench(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let bar = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let style = "run {pos}/{len} {bar:40} {elapsed} gone, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    let options = BenchOptions { requests: args.requests, rounds: args.rounds };
    let figures = bench::bench(&options, |done, all| {
        bar.set_length(all.into());
        bar.set_position(done.into());
    })?;
    bar.finish_and_clear();
    if args.json {
        print(&serde_json::to_string_pretty(&figures).expect("plain figures"))?;
    } else {
        print(&tables::bench(&figures, args.rounds))?;
    }
    Ok(ExitCode::SUCCESS)
}
