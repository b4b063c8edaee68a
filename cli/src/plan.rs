//! `tenfold plan`.

use std::process::ExitCode;
use std::sync::Arc;

use scenarios::plan::{self, Effect, Found, FrontPoint, Plan, PlanOptions, Target};
use scenarios::report::check_file;
use scenarios::report::plan::Planned;
use scenarios::run::{RunOptions, RunProgress};
use scenarios::{Loaded, ScenarioError};

use crate::args::{OutputFormat, PlanArgs};
use crate::new::write_new;
use crate::output::{Failure, check_apart, print, tell_written};
use crate::progress::{cancel_on_interrupt, with_bar};
use crate::run::{INTERRUPTED, SLO_MISSED};
use crate::tables;

/// No configuration holds: as for a missed SLO.
const NONE_HOLDS: u8 = SLO_MISSED;

pub fn plan(args: &PlanArgs) -> Result<ExitCode, Failure> {
    let loaded = args.input.load(&args.luck.sets(&args.input.set))?;
    let target = match (args.rate, args.users) {
        (Some(rate), _) => Target::Rate(rate),
        (None, Some(users)) => Target::Users(users, args.requests_per_user),
        (None, None) => Target::Scale(args.input.load.scale),
    };
    let run = RunOptions {
        threads: args.luck.threads.map(usize::from),
        scale: target.scale(&loaded.scenario)?,
        ..args.input.options()
    };
    scenarios::check(&loaded, &run)?;
    args.output.check()?;
    args.pages.check()?;
    args.write.as_deref().map_or(Ok(()), check_file).map_err(Failure::text)?;
    let kept = args.output.out.iter().map(|dir| dir.join(plan::EVALUATED));
    let pages = args.pages.report.iter().chain(&args.write).cloned();
    let written = args.output.files().into_iter().chain(kept).chain(pages);
    check_apart(|| args.input.files(&loaded), written)?;
    if let Some(file) = args.write.as_ref().filter(|file| file.exists()) {
        return Err(Failure::text(format!("{} exists already", file.display())).help("name a new file"));
    }
    let progress = Arc::new(RunProgress::new());
    cancel_on_interrupt(&progress)?;
    if let Some(component) = &args.break_even {
        return break_even(args, &loaded, component, &run, &progress);
    }
    let axes = match &args.warm {
        Some(component) => vec![plan::warm_axis(&loaded, component)?],
        None => args.axis.clone(),
    };
    let options = PlanOptions { axes, most: args.max_replicas, fewest: args.warm.is_some(), run };
    let quiet = args.output.quiet;
    let mut plan = with_bar(&*progress, quiet, || Plan::new(&loaded, options, &progress))?;
    if let Some(dir) = &args.output.out {
        plan.keep_in(dir, args.resume)?;
    }
    let (found, front, effects) = with_bar(&*progress, quiet, || answer(&mut plan, args))?;
    let planned = Planned {
        loaded: &loaded,
        target,
        warm: args.warm.as_deref(),
        plan: &plan,
        found: &found,
        front: &front,
        effects: &effects,
    };
    deliver(args, &planned)?;
    args.pages.write(|| Ok(planned.report()))?;
    if progress.is_cancelled() || !found.complete {
        let kept = args.output.out.as_ref().map_or(String::new(), |dir| {
            format!("; what was run is kept in {}, and the same command with --resume goes on", dir.display())
        });
        say!("interrupted: a cheaper configuration may have been missed{kept}");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::from(if found.best.is_some() { 0 } else { NONE_HOLDS }))
}

type Answer = (Found, Vec<FrontPoint>, Vec<Effect>);

fn answer(plan: &mut Plan, args: &PlanArgs) -> Result<Answer, ScenarioError> {
    let found = plan.search()?;
    let mut effects = Vec::new();
    if let (Some(best), Some(paths)) = (&found.best, &args.tornado) {
        let paths: Vec<String> = paths.iter().filter(|path| !path.is_empty()).cloned().collect();
        effects = plan.tornado(best, &paths)?;
    }
    let front = args.pareto.map(|more| plan.front(more)).transpose()?.unwrap_or_default();
    Ok((found, front, effects))
}

fn deliver(args: &PlanArgs, planned: &Planned) -> Result<(), Failure> {
    let Planned { plan, found, front, effects, .. } = *planned;
    match (args.output.format, &args.output.out) {
        (OutputFormat::Json, None) => print(&format!("{:#}", plan.to_json(found, front, effects)))?,
        (OutputFormat::Csv, None) => print(&plan.csv(found, front).map_err(Failure::text)?)?,
        _ => print(&tables::plan(planned))?,
    }
    if let Some(dir) = &args.output.out {
        let format = args.output.format.of_files();
        let files = plan.write(dir, format, found, front, effects).map_err(Failure::text)?;
        tell_written(&files, dir);
    }
    if let (Some(file), Some(best)) = (&args.write, &found.best) {
        write_new(file, &plan.scenario(best)?.to_toml())?;
        say!("wrote {}", file.display());
    }
    Ok(())
}

fn break_even(
    args: &PlanArgs,
    loaded: &Loaded,
    component: &str,
    run: &RunOptions,
    progress: &RunProgress,
) -> Result<ExitCode, Failure> {
    let even = with_bar(progress, args.output.quiet, || {
        plan::break_even(loaded, component, args.api_price, run, progress)
    });
    if progress.is_cancelled() {
        say!("interrupted");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let even = even?;
    match args.output.format {
        OutputFormat::Json => print(&format!("{:#}", even.to_json()))?,
        OutputFormat::Table => print(&tables::break_even(loaded, &even))?,
        _ => return Err(Failure::text("a break-even has no such format").help("expected table or json")),
    }
    Ok(ExitCode::SUCCESS)
}
