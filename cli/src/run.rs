//! `tenfold run`, `tenfold check` and `tenfold bless`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use scenarios::report::check_file;
use scenarios::results::RunResult;
use scenarios::results::show::plural;
use scenarios::run::{RunOptions, RunProgress};

use crate::args::{CheckArgs, Delivery, OutputFormat, RunArgs};
use crate::output::{Failure, check_apart, print, tell_written};
use crate::progress::{cancel_on_interrupt, with_bar};
use crate::tables;

/// An SLO was missed.
pub const SLO_MISSED: u8 = 1;
/// Stopped by Ctrl-C, as shells report it.
pub const INTERRUPTED: u8 = 130;

pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let loaded = args.input.load(&args.luck.sets(&args.input.set))?;
    let options = RunOptions {
        threads: args.luck.threads.map(usize::from),
        shuffle_ties: args.shuffle_ties,
        until: args.until,
        journal: args.dashboard,
        timeline: args.perfetto.is_some().then_some(args.perfetto_window),
        ..args.input.options()
    }
    .keeping_requests(args.keep.requests);
    scenarios::check(&loaded, &options)?;
    args.keep.check(&args.output)?;
    args.output.check()?;
    args.pages.check()?;
    let pages = args.pages.report.iter().chain(&args.perfetto).cloned();
    check_apart(|| args.input.files(&loaded), args.output.files().into_iter().chain(pages))?;
    args.perfetto.as_deref().map_or(Ok(()), check_file).map_err(Failure::text)?;
    let progress = Arc::new(RunProgress::new());
    cancel_on_interrupt(&progress)?;
    let result = with_bar(&*progress, args.output.quiet, || scenarios::run(&loaded, &options, &progress))?;
    if result.interrupted.is_some_and(|interrupted| interrupted.finished == 0) {
        say!("interrupted: no replication had finished, and nothing is written");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    deliver(&result, args)?;
    args.pages.write(|| Ok(result.report()))?;
    if let Some(file) = &args.perfetto
        && result.write_perfetto(file).map_err(Failure::text)?
    {
        let cut = result.timeline().is_some_and(|timeline| timeline.is_cut);
        let part =
            if cut { " (only the first million calls and changes: choose a smaller window)" } else { "" };
        say!("wrote {}{part}", file.display());
    }
    Ok(match (&result.interrupted, result.passed()) {
        (Some(interrupted), _) => {
            let (finished, planned) = (interrupted.finished, interrupted.planned);
            let planned = plural(planned as f64, "replication");
            say!("interrupted: {finished} of {planned} had finished and are kept");
            ExitCode::from(INTERRUPTED)
        }
        (None, Some(false)) => ExitCode::from(SLO_MISSED),
        (None, _) => ExitCode::SUCCESS,
    })
}

/// Prints the result, or writes it and prints what people read.
fn deliver(result: &RunResult, args: &RunArgs) -> Result<(), Failure> {
    let Delivery { format, out, .. } = &args.output;
    match (format, out) {
        (OutputFormat::Json, None) => print(&format!("{:#}", result.to_json()))?,
        (OutputFormat::Csv, None) => print(&result.summary_csv().map_err(Failure::text)?)?,
        _ => print(&tables::report(result, args.dashboard))?,
    }
    if let Some(dir) = out {
        let files = result.write(dir, format.of_files()).map_err(Failure::text)?;
        tell_written(&files, dir);
    }
    Ok(())
}

pub fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let loaded = args.input.load(&args.input.set)?;
    let warnings = scenarios::check(&loaded, &args.input.options())?;
    if args.canonical {
        print(&loaded.scenario.to_toml())?;
        return Ok(ExitCode::SUCCESS);
    }
    for warning in &warnings {
        print(&format!("warning: {warning}"))?;
    }
    let scenario = &loaded.scenario;
    for variant in loaded.variants()? {
        scenarios::check(&variant?, &args.input.options())?;
    }
    let variants = match scenario.variant.len() {
        0 => String::new(),
        count => format!(" {},", plural(count as f64, "variant")),
    };
    print(&format!(
        "{}:{variants} {}, {}, {}: can be run",
        scenario.name,
        plural(scenario.traffic.len() as f64, "traffic source"),
        plural(scenario.components.len() as f64, "component"),
        plural(scenario.links.len() as f64, "link"),
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn bless(dir: &Path) -> Result<ExitCode, Failure> {
    let changed = scenarios::bless(dir).map_err(Failure::text)?;
    if changed.is_empty() {
        print("all golden fingerprints are as they were")?;
    }
    for (scenario, change) in &changed {
        print(&format!("{scenario}: {change}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
