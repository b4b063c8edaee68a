//! `tenfold compare`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use scenarios::compare::{self, Comparison};
use scenarios::run::{RunOptions, RunProgress};
use scenarios::{Loaded, ScenarioError};

use crate::args::{CompareArgs, Delivery, OutputFormat};
use crate::output::{Failure, check_apart, print, tell_written};
use crate::progress::{cancel_on_interrupt, with_bar};
use crate::run::{INTERRUPTED, SLO_MISSED};
use crate::tables;

pub fn compare(args: &CompareArgs) -> Result<ExitCode, Failure> {
    let sets = args.luck.sets(&args.set);
    let files: Vec<Loaded> =
        args.files.iter().map(|file| scenarios::load(file, &sets)).collect::<Result<_, ScenarioError>>()?;
    let candidates = compare::candidates(&files, &args.variant, args.baseline.as_deref())?;
    let options = RunOptions { threads: args.luck.threads.map(usize::from), ..args.load.options() }
        .keeping_requests(args.keep.requests);
    for candidate in &candidates {
        scenarios::check(candidate, &options)?;
    }
    args.keep.check(&args.output)?;
    args.output.check()?;
    args.pages.check()?;
    let read = || -> Vec<PathBuf> {
        let named = files.iter().flat_map(Loaded::files).chain(args.load.trace.clone());
        args.files.iter().cloned().chain(named).collect()
    };
    check_apart(read, args.output.files().into_iter().chain(args.pages.report.clone()))?;
    let progress = Arc::new(RunProgress::new());
    cancel_on_interrupt(&progress)?;
    let comparison =
        with_bar(&*progress, args.output.quiet, || compare::compare(&candidates, &options, &progress))?;
    if comparison.is_interrupted() {
        say!("interrupted: not all systems were run");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    deliver(&comparison, &args.output)?;
    args.pages.write(|| Ok(comparison.report()))?;
    let misses = comparison.others.iter().any(|other| other.result.passed() == Some(false));
    Ok(ExitCode::from(if args.gate && misses { SLO_MISSED } else { 0 }))
}

fn deliver(comparison: &Comparison, args: &Delivery) -> Result<(), Failure> {
    match (args.format, &args.out) {
        (OutputFormat::Json, None) => print(&format!("{:#}", comparison.to_json()))?,
        (OutputFormat::Csv, None) => print(&comparison.differences_csv().map_err(Failure::text)?)?,
        _ => print(&tables::comparison(comparison))?,
    }
    if let Some(dir) = &args.out {
        let files = comparison.write(dir, args.format.of_files()).map_err(Failure::text)?;
        tell_written(&files, dir);
    }
    Ok(())
}
