//! `tenfold stress`.

use std::process::ExitCode;
use std::sync::Arc;

use scenarios::run::{RunOptions, RunProgress};
use scenarios::stress::{StressOptions, StressReport, StressTest};

use crate::args::StressArgs;
use crate::output::{Failure, check_apart, print};
use crate::progress::{cancel_on_interrupt, with_bar};
use crate::run::{INTERRUPTED, SLO_MISSED};
use crate::tables;

/// Prints each part as soon as it is known, unless JSON is asked for.
pub fn stress(args: &StressArgs) -> Result<ExitCode, Failure> {
    let loaded = args.input.load(&args.luck.sets(&args.input.set))?;
    let run = RunOptions { threads: args.luck.threads.map(usize::from), ..args.input.options() };
    scenarios::check(&loaded, &run)?;
    let options = StressOptions { run, multipliers: args.multipliers.clone(), grow: args.grow };
    let progress = Arc::new(RunProgress::new());
    let test = StressTest::new(&loaded, options, &progress)?;
    args.pages.check()?;
    check_apart(|| args.input.files(&loaded), args.pages.report.clone())?;
    cancel_on_interrupt(&progress)?;
    let tell = |text: String| match args.json {
        true => Ok(()),
        // Parts are a line apart.
        false => print(&text).and_then(|()| print("")),
    };
    let interrupted = || {
        say!("interrupted");
        Ok(ExitCode::from(INTERRUPTED))
    };
    let quiet = args.quiet;

    let levels = with_bar(&*progress, quiet, || test.levels())?;
    if progress.is_cancelled() {
        return interrupted();
    }
    tell(tables::stress_levels(&loaded, &levels))?;
    let passed = levels.iter().all(|level| level.passes());
    let mut report = StressReport { levels, ..StressReport::default() };
    if !args.levels_only {
        let limit = with_bar(&*progress, quiet, || test.limit(&report.levels));
        tell(tables::stress_limit(limit))?;
        let today = report.levels[0].result.clone().ok();
        let first = today.and_then(|today| with_bar(&*progress, quiet, || test.first_break(&today, limit)));
        if progress.is_cancelled() {
            return interrupted();
        }
        tell(tables::stress_first(first.as_ref()))?;
        if let Some(first) = &first {
            report.recommendations = with_bar(&*progress, quiet, || test.recommendations(first, limit));
            let goal = test.multipliers().last().copied().unwrap_or(1.0);
            tell(tables::stress_recommendations(&report.recommendations, goal))?;
        }
        report.blast = with_bar(&*progress, quiet, || test.blast_radius(1.0));
        tell(tables::stress_blast(&report.blast))?;
        if args.fallbacks && !progress.is_cancelled() {
            let most = test.multipliers().last().copied().filter(|most| *most > 1.0);
            let multiples: Vec<f64> = std::iter::once(1.0).chain(most).collect();
            report.fallbacks = with_bar(&*progress, quiet, || test.fallbacks(&multiples));
            tell(tables::stress_fallbacks(&report.fallbacks))?;
        }
        (report.limit, report.tried, report.first) = (Some(limit), test.tried(), first);
    }
    if progress.is_cancelled() {
        return interrupted();
    }
    if args.json {
        print(&format!("{:#}", report.to_json()))?;
    }
    args.pages.write(|| Ok(report.report(&loaded)))?;
    let spreads = report.blast.iter().flat_map(|(_, ways)| ways).any(|blast| !blast.passes());
    let overwhelmed = report.fallbacks.iter().any(|test| test.passes == Some(false));
    Ok(ExitCode::from(if passed && !spreads && !overwhelmed { 0 } else { SLO_MISSED }))
}
