//! The `run` experiment: one scenario, several replications.

mod guards;
mod prepare;
mod progress;
mod until;
mod warmup;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rayon::prelude::*;
use sim_core::engine::Stop;
use sim_core::time::{SimDuration, SimTime};
use sim_models::error::ConfigError;
use sim_models::link::LinkConfig;
use sim_models::system::{self, RunOutput, RunPlan};
use sim_models::timeline::Window;
use sim_models::units::Time;

use crate::language::{Loaded, ScenarioError};
use crate::results::{Interrupted, RunResult};
use crate::scenario::Scenario;
pub(crate) use guards::mean_rate;
pub use prepare::DEFAULT_DURATION;
pub(crate) use prepare::{ALL, is_stationary, way_to_run};
use prepare::{MAX_REPLICATIONS, Prepared, prepare};
pub use progress::RunProgress;
pub use until::{Until, UntilError};

/// How a run differs from what the scenario says.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    /// Threads for replications, at least 1. Default: those of the present rayon pool. Results do not
    /// depend on it.
    pub threads: Option<usize>,
    /// Load relative to the scenario's, above 0.
    pub scale: f64,
    /// A trace that replaces the arrivals of the one traffic source, relative to the working directory.
    /// It is replayed in full: the scenario's own duration and drain do not count.
    pub trace: Option<PathBuf>,
    /// Requests are born for this long, whatever the scenario says.
    pub duration: Option<SimDuration>,
    /// Orders simultaneous events by this seed instead of by scheduling, to expose models that lean on
    /// the order of ties.
    pub shuffle_ties: Option<u64>,
    /// Whether every request is kept by itself: 64 bytes each.
    pub journal: bool,
    /// Whether what is asked for is kept one by one: 88 bytes a request. With both there is a frame of
    /// [`requests`](RunResult::requests).
    pub births: bool,
    /// The part of the first replication that is kept call by call, for a viewer of traces.
    pub timeline: Option<Part>,
    /// Adds replications to the scenario's until an interval is that narrow, up to 1,000.
    pub until: Option<Until>,
}

impl RunOptions {
    /// The same, with all that the frame of [`requests`](RunResult::requests) is made of if `keep`.
    pub fn keeping_requests(self, keep: bool) -> Self {
        Self { journal: self.journal || keep, births: self.births || keep, ..self }
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            threads: None,
            scale: 1.0,
            trace: None,
            duration: None,
            shuffle_ties: None,
            journal: false,
            births: false,
            timeline: None,
            until: None,
        }
    }
}

/// Most threads at a time, whatever is asked for (assumption: as many as cores of the largest machines).
pub(crate) const MAX_THREADS: usize = 512;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// This much from the start of the measured part on.
    Measured(SimDuration),
    /// From one time to another, since the start of the run.
    Between(SimDuration, SimDuration),
}

impl Part {
    fn window(self, plan: &RunPlan) -> Window {
        let (from, to) = match self {
            Self::Measured(length) => (plan.warmup, plan.warmup.saturating_add(length)),
            Self::Between(from, to) => (from, to),
        };
        let [from, to] = [from, to].map(|since| SimTime::from_nanos(since.as_nanos()));
        Window { from, to }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = |text: &str| text.trim().parse::<Time>().map_err(|error| error.to_string());
        match text.split_once("..") {
            None => Ok(Self::Measured(time(text)?.get())),
            Some((from, to)) => {
                let (from, to) = (time(from)?.get(), time(to)?.get());
                if from >= to {
                    return Err("expected a start before its end, such as 60s..90s".to_owned());
                }
                Ok(Self::Between(from, to))
            }
        }
    }
}

/// Something that can be run but is perhaps not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The keys from the top of the scenario to the value.
    pub path: Vec<String>,
    /// What is odd about it.
    pub message: String,
}

impl Warning {
    fn new<S: Into<String>>(path: impl IntoIterator<Item = S>, message: impl Into<String>) -> Self {
        Self { path: path.into_iter().map(Into::into).collect(), message: message.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.path.join("."), self.message)
    }
}

/// Reads the traces and builds the system, but runs nothing.
///
/// # Errors
/// The first thing that cannot be simulated, where it stands in the file.
pub fn check(loaded: &Loaded, options: &RunOptions) -> Result<Vec<Warning>, ScenarioError> {
    let checked = check_scenario(&loaded.scenario, loaded.base_dir(), options);
    checked.map_err(|error| show(loaded, options, error))
}

/// Shows an error where it stands: in the scenario, or in the trace that the options name instead.
fn show(loaded: &Loaded, options: &RunOptions, error: ConfigError) -> ScenarioError {
    let arrivals = error.path.iter().any(|key| key == "arrivals");
    if options.trace.is_none() || !arrivals {
        return loaded.locate(error);
    }
    let shown = ScenarioError::new(error.message);
    match error.help {
        Some(help) => shown.with_help(help),
        None => shown,
    }
}

/// Runs a scenario.
///
/// # Errors
/// What cannot be simulated, where it stands in the file.
///
/// # Panics
/// When a component breaks an invariant of the simulator: a bug.
pub fn run(
    loaded: &Loaded,
    options: &RunOptions,
    progress: &RunProgress,
) -> Result<RunResult, ScenarioError> {
    let Loaded { scenario, .. } = loaded;
    let result = run_scenario(scenario, loaded.hash(), loaded.base_dir(), options, progress);
    result.map(|result| result.named(&loaded.variant)).map_err(|error| show(loaded, options, error))
}

/// [`check`] of a scenario that was not read from a file. Paths of traces are
/// relative to `base_dir`.
///
/// # Errors
/// The first thing that cannot be simulated, with its place in the scenario.
pub fn check_scenario(
    scenario: &Scenario,
    base_dir: &Path,
    options: &RunOptions,
) -> Result<Vec<Warning>, ConfigError> {
    let mut prepared = prepare(scenario, base_dir, options)?;
    system::build(&prepared.system, &prepared.plan, &prepared.traces)?;
    let called: Vec<&str> = prepared
        .system
        .components
        .values()
        .flat_map(|component| component.callees())
        .map(|(_, callee)| callee)
        .chain(prepared.system.traffic.values().map(|traffic| traffic.entry.as_str()))
        .chain(prepared.system.links.values().flat_map(LinkConfig::fallback_callees))
        .collect();
    for name in prepared.system.components.keys().filter(|name| !called.contains(&name.as_str())) {
        prepared.warnings.push(Warning::new(["components", name], format!("nobody calls `{name}`")));
    }
    prepared.warnings.extend(guards::unguarded(scenario));
    // With the arrivals that are run: a trace may stand for those that are written.
    prepared.warnings.extend(guards::too_short(&prepared.scenario, &prepared.plan));
    prepared.warnings.extend(guards::long_sessions(&prepared.scenario, &prepared.plan));
    prepared.warnings.extend(guards::too_late(&prepared.scenario, &prepared.plan));
    Ok(prepared.warnings)
}

/// [`run`] of a scenario that was not read from a file. `hash` is that of its canonical form; paths of traces are relative to `base_dir`.
///
/// # Errors
/// What cannot be simulated, with its place in the scenario.
///
/// # Panics
/// When a component breaks an invariant of the simulator: a bug.
pub fn run_scenario(
    scenario: &Scenario,
    hash: u64,
    base_dir: &Path,
    options: &RunOptions,
    progress: &RunProgress,
) -> Result<RunResult, ConfigError> {
    let Some(threads) = options.threads.filter(|threads| *threads != 1) else {
        return run_here(scenario, hash, base_dir, options, progress);
    };
    // A replication runs on one thread.
    let most = options.until.map_or(scenario.run.replications.get() as usize, |_| MAX_THREADS);
    let threads = threads.clamp(1, most.min(MAX_THREADS));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool =
        pool.map_err(|error| ConfigError::new([""; 0], format!("cannot start {threads} threads: {error}")))?;
    pool.install(|| run_here(scenario, hash, base_dir, options, progress))
}

fn run_here(
    scenario: &Scenario,
    hash: u64,
    base_dir: &Path,
    options: &RunOptions,
    progress: &RunProgress,
) -> Result<RunResult, ConfigError> {
    let mut prepared = prepare(scenario, base_dir, options)?;
    let pilot = RunPlan { windows: warmup::PILOT_WINDOWS, drain: SimDuration::ZERO, ..prepared.plan.clone() };
    let planned = length(&prepared.plan).as_nanos().saturating_mul(prepared.replications);
    let planned = planned.saturating_add(if prepared.pilot { length(&pilot).as_nanos() } else { 0 });
    progress.plan(prepared.replications, SimDuration::from_nanos(planned));

    let mut notes = Vec::new();
    if prepared.pilot
        && let Some(output) = simulate(&prepared, &pilot, progress)?
    {
        let found = warmup::find(&output, &pilot);
        prepared.plan.warmup = found.length;
        notes.extend(found.finding);
    }
    let one = |replication| {
        // One replication is shown: that of the first number.
        let timeline = options.timeline.filter(|_| replication == 0).map(|part| part.window(&prepared.plan));
        let plan = RunPlan { replication, timeline, ..prepared.plan.clone() };
        let output = simulate(&prepared, &plan, progress)?;
        if output.is_some() {
            progress.finish_replication();
        }
        Ok(output)
    };
    let batch = |from: u64, to: u64| -> Result<Vec<(u64, RunOutput)>, ConfigError> {
        let outputs: Vec<Option<RunOutput>> = match to - from {
            // Starts no threads.
            1 => vec![one(from)?],
            _ if options.threads == Some(1) => (from..to).map(one).collect::<Result<_, ConfigError>>()?,
            // Indexed, so that the order of results is that of the numbers whoever finishes first.
            _ => (from..to).into_par_iter().map(one).collect::<Result<_, ConfigError>>()?,
        };
        Ok((from..to).zip(outputs).filter_map(|(number, output)| Some((number, output?))).collect())
    };
    let mut planned = prepared.replications;
    let mut finished = batch(0, planned)?;
    loop {
        let (replications, outputs): (Vec<u64>, Vec<RunOutput>) = finished.into_iter().unzip();
        let done = outputs.len() as u64;
        let interrupted = (done < planned).then_some(Interrupted { finished: done, planned });
        let (scenario, plan) = (prepared.scenario.clone(), prepared.plan.clone());
        let mut result =
            RunResult::new(scenario, hash, plan, replications, outputs, interrupted, notes.clone());
        result.provenance.traces.clone_from(&prepared.trace_hashes);
        let Some(until) = options.until.filter(|until| interrupted.is_none() && !until.is_met(&result))
        else {
            return Ok(result);
        };
        let more = Until::next(planned).min(u64::from(MAX_REPLICATIONS).saturating_sub(planned));
        if more == 0 || until.is_in_vain(&result) {
            result.findings.push(until.missed(&result));
            return Ok(result);
        }
        let length = length(&prepared.plan).as_nanos().saturating_mul(more);
        progress.plan(more, SimDuration::from_nanos(length));
        finished = result.replications.into_iter().zip(result.outputs).collect();
        finished.extend(batch(planned, planned + more)?);
        planned += more;
    }
}

fn length(plan: &RunPlan) -> SimDuration {
    plan.duration.saturating_add(plan.drain)
}

/// One simulation; `None` when it was cancelled.
fn simulate(
    prepared: &Prepared,
    plan: &RunPlan,
    progress: &RunProgress,
) -> Result<Option<RunOutput>, ConfigError> {
    if progress.is_cancelled() {
        return Ok(None);
    }
    let simulation = system::build(&prepared.system, plan, &prepared.traces)?;
    let _active = progress.begin(simulation.progress(), length(plan));
    let output = system::run(simulation, plan)
        .map_err(|error| ConfigError::new(["run"], format!("the simulation stopped: {error}")))?;
    Ok((output.stop != Stop::Cancelled).then_some(output))
}
