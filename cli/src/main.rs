//! The `tenfold` command: parses arguments, calls `scenarios`, prints.

/// Says something on stderr, if anybody listens: that nobody does is no reason to stop, and results come first.
macro_rules! say {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($what)*);
    }};
}

mod args;
mod bench;
mod calibrate;
mod compare;
mod import;
mod new;
mod output;
mod plan;
mod progress;
mod run;
mod stress;
mod sweep;
mod tables;
mod validate;
mod workload;

use std::process::ExitCode;

use args::{Cli, Command, ImportCommand, ProfileCommand};
use clap::Parser;
use output::{Failure, print};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Stress(args) => stress::stress(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Merge(args) => sweep::merge(&args),
        Command::Check(args) => run::check(&args),
        Command::New(args) => new::new(&args),
        Command::Workload(args) => workload::workload(&args),
        Command::Schema => {
            let text = serde_json::to_string_pretty(&scenarios::schema()).expect("a JSON value");
            print(&text).map(|()| ExitCode::SUCCESS)
        }
        Command::Bless { dir } => run::bless(&dir),
        Command::Calibrate(args) => calibrate::calibrate(&args),
        Command::Import(ImportCommand::Otel(args)) => import::otel(&args),
        Command::Profile(ProfileCommand::Import(args)) => calibrate::import(&args),
        Command::Profile(ProfileCommand::Fit(args)) => calibrate::fit(&args),
        Command::Profile(ProfileCommand::Derive(args)) => calibrate::derive(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Validate(args) => validate::validate(&args),
        Command::Gui => gui(),
    };
    result.unwrap_or_else(|failure| failure.report())
}

/// Starts the desktop app, which is a program of its own beside this one.
fn gui() -> Result<ExitCode, Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|dir| dir.join("tenfold-gui")));
    let program = beside.filter(|path| path.exists()).unwrap_or_else(|| "tenfold-gui".into());
    match std::process::Command::new(&program).status() {
        Ok(status) => Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))),
        Err(error) => {
            Failure::text(format!("cannot start {}: {error}", program.display()))
                .help("build it with `cargo build --release -p tenfold-gui`")
                .report();
            Ok(ExitCode::from(validate::MISSING))
        }
    }
}
