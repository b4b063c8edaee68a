//! From a scenario and options to the plan of a run: traces are read, defaults are filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sim_core::time::SimDuration;
use sim_models::error::ConfigError;
use sim_models::meter::GoodputBounds;
use sim_models::system::{ComponentConfig, RunPlan, SystemConfig, Traces};
use sim_models::traffic::arrivals::ArrivalsConfig;
use sim_models::traffic::trace::{Trace, TraceFormat};
use sim_models::units::Time;

use super::{Part, RunOptions, Warning};
use crate::results::hex;
use crate::scenario::{Quantiles, Scenario, Warmup};

/// Default duration of traffic that is not traces: 10 minutes (assumption: long enough for thousands
/// of requests at a few a second).
pub const DEFAULT_DURATION: SimDuration = SimDuration::from_secs(600);

/// Most rows of time series that are kept: windows times components times replications (assumption:
/// about 300 MB).
const MAX_SERIES_ROWS: u64 = 4_000_000;

/// Most replications (assumption: an interval of 1,000 is 14 times narrower than one of 5).
pub(super) const MAX_REPLICATIONS: u32 = 1_000;

/// What results call the sum over classes or tenants.
pub(crate) const ALL: &str = "all";

/// A run that can begin.
#[derive(Debug)]
pub(super) struct Prepared {
    pub scenario: Scenario,
    pub system: SystemConfig,
    pub traces: Traces,
    /// Hashes of the traces by traffic source, before they are scaled, in hexadecimal.
    pub trace_hashes: BTreeMap<String, String>,
    /// The plan of replication 0; the warm-up is 0 as long as it is to be found by a pilot.
    pub plan: RunPlan,
    pub replications: u64,
    /// Whether a pilot is to find the warm-up.
    pub pilot: bool,
    pub warnings: Vec<Warning>,
}

/// Fills in a plan.
///
/// # Errors
/// What in the scenario, its traces or the options cannot be run.
pub(super) fn prepare(
    scenario: &Scenario,
    base_dir: &Path,
    options: &RunOptions,
) -> Result<Prepared, ConfigError> {
    if !(options.scale.is_finite() && options.scale > 0.0) {
        return Err(ConfigError::new([""; 0], format!("the load is scaled by {}", options.scale))
            .help("expected a number above 0, such as 10"));
    }
    if options.threads == Some(0) {
        return Err(ConfigError::new([""; 0], "0 threads").help("expected at least one"));
    }
    let mut scenario = scenario.clone();
    if let Some(path) = &options.trace {
        replace_arrivals(&mut scenario, path)?;
        // The scenario's lengths were meant for its own arrivals: a trace is replayed in full.
        (scenario.run.duration, scenario.run.drain) = (None, None);
    }
    if let Some(duration) = options.duration {
        scenario.run.duration = Some(Time::from(duration));
    }
    let (traces, trace_hashes) = read_traces(&scenario, base_dir, options)?;
    let mut warnings = Vec::new();
    for (name, traffic) in &mut scenario.traffic {
        if traces.contains_key(name) && traffic.sessions.take().is_some() {
            let message = "left out: a trace says itself, in its column `session_id`, who comes back";
            warnings.push(Warning::new(["traffic", name, "sessions"], message));
        }
    }
    check_labels(&scenario, &traces)?;
    let (duration, drain) = lengths(&scenario, &traces, &mut warnings)?;
    let run = &scenario.run;
    let replications = run.replications.get();
    if replications > MAX_REPLICATIONS {
        return Err(ConfigError::new(["run", "replications"], format!("{replications} replications"))
            .help(format!("expected at most {MAX_REPLICATIONS}")));
    }
    check_windows(&scenario, duration, drain)?;
    let stationary = is_stationary(&scenario);
    let warmup = match run.warmup {
        Warmup::Auto => SimDuration::ZERO,
        Warmup::Fixed(time) if time.get() < duration => time.get(),
        Warmup::Fixed(time) => {
            let message =
                format!("the warm-up of {time} leaves nothing of the duration of {}", Time::from(duration));
            return Err(ConfigError::new(["run", "warmup"], message)
                .help("expected a time below the duration, or \"auto\""));
        }
    };
    if replications == 1 {
        warnings.push(Warning::new(
            ["run", "replications"],
            "one replication: results have no confidence intervals",
        ));
    }
    if let Some(Part::Between(from, to)) = options.timeline
        && (from >= to || from >= duration.saturating_add(drain))
    {
        let message = format!("the window {}..{} is not in the run", Time::from(from), Time::from(to));
        let end = Time::from(duration.saturating_add(drain));
        return Err(ConfigError::new([""; 0], message)
            .help(format!("expected a start below its end, and within the run, which ends at {end}")));
    }
    let plan = RunPlan {
        duration,
        drain,
        warmup,
        windows: run.windows.get(),
        seed: run.seed,
        replication: 0,
        scale: options.scale,
        bounds: bounds(&scenario),
        shuffle_ties: options.shuffle_ties,
        journal: options.journal,
        births: options.births,
        timeline: None,
    };
    let mut system = scenario.system();
    system.resolve_paths(base_dir);
    for (name, component) in &system.components {
        let ComponentConfig::Llm(config) = component else { continue };
        let place = |error: ConfigError| error.within(name).within("components");
        if let Some(message) = config.kept_beyond_windows().map_err(place)? {
            warnings.push(Warning::new(["components", name, "model"], message));
        }
        if let Some(message) = config.short_cache().map_err(place)? {
            warnings.push(Warning::new(["components", name, "max_model_len"], message));
        }
    }
    Ok(Prepared {
        system,
        pilot: run.warmup == Warmup::Auto && stationary,
        scenario,
        traces,
        trace_hashes,
        plan,
        replications: u64::from(replications),
        warnings,
    })
}

/// `--trace`: the arrivals of the one traffic source.
fn replace_arrivals(scenario: &mut Scenario, path: &Path) -> Result<(), ConfigError> {
    let names: Vec<String> = scenario.traffic.keys().map(|name| format!("`{name}`")).collect();
    if names.len() != 1 {
        let message =
            format!("a trace can replace the arrivals of one traffic source, and there are {}", names.len());
        return Err(ConfigError::new(["traffic"], message)
            .help(format!("give one of {} trace arrivals in the scenario", names.join(", "))));
    }
    for traffic in scenario.traffic.values_mut() {
        let path = path.display().to_string();
        traffic.arrivals = ArrivalsConfig::Trace { path, format: TraceFormat::Auto, scale: 1.0 };
    }
    Ok(())
}

/// How a scenario is run: results that are put together must agree in it.
///
/// # Errors
/// A trace that cannot be read.
pub(crate) fn way_to_run(
    scenario: &Scenario,
    base_dir: &Path,
    options: &RunOptions,
) -> Result<String, ConfigError> {
    let mut scenario = scenario.clone();
    let mut ways = vec![format!("load {}", options.scale)];
    if let Some(path) = &options.trace {
        replace_arrivals(&mut scenario, path)?;
        ways.push("a trace in place of the arrivals".to_owned());
    }
    // Of a trace its content counts, which may change under its path.
    let (_, hashes) = read_traces(&scenario, base_dir, &RunOptions { scale: 1.0, ..options.clone() })?;
    ways.extend(hashes.iter().map(|(source, hash)| format!("requests of {source} {hash}")));
    let beside = SystemConfig { traffic: Default::default(), ..scenario.system() };
    for file in beside.files(base_dir) {
        let text = std::fs::read(&file)
            .map_err(|error| ConfigError::new([""; 0], format!("{}: {error}", file.display())))?;
        ways.push(format!("{} {}", file.display(), hex(sim_core::random::stable_hash(&text))));
    }
    ways.extend(options.duration.map(|duration| format!("duration {}", Time::from(duration))));
    ways.extend(options.until.map(|until| format!("until {} within {}", until.column, until.within)));
    ways.extend(options.shuffle_ties.map(|seed| format!("ties shuffled by {seed}")));
    Ok(ways.join(", "))
}

/// Reads every file once and brings it to the load of the run; with the hashes of what was read.
fn read_traces(
    scenario: &Scenario,
    base_dir: &Path,
    options: &RunOptions,
) -> Result<(Traces, BTreeMap<String, String>), ConfigError> {
    let mut read: Vec<(PathBuf, TraceFormat, Arc<Trace>)> = Vec::new();
    let (mut traces, mut hashes) = (Traces::new(), BTreeMap::new());
    for (name, traffic) in &scenario.traffic {
        let ArrivalsConfig::Trace { path, format, scale } = &traffic.arrivals else { continue };
        let place =
            |key: &str| vec!["traffic".to_owned(), name.clone(), "arrivals".to_owned(), key.to_owned()];
        // A path of the command line is relative to the working directory.
        let file = options.trace.clone().unwrap_or_else(|| base_dir.join(path));
        let known = read.iter().find(|(known, known_format, _)| *known == file && known_format == format);
        let trace = match known {
            Some((_, _, trace)) => Arc::clone(trace),
            None => {
                let opened = Trace::open(&file, *format);
                let trace =
                    Arc::new(opened.map_err(|error| ConfigError::new(place("path"), error.to_string()))?);
                read.push((file, *format, Arc::clone(&trace)));
                trace
            }
        };
        hashes.insert(name.clone(), hex(trace.hash()));
        let load = scale * options.scale;
        let trace = if load == 1.0 {
            trace
        } else {
            Arc::new(trace.scaled(load).map_err(|error| ConfigError::new(place("scale"), error.to_string()))?)
        };
        traces.insert(name.clone(), trace);
    }
    Ok((traces, hashes))
}

/// Classes that the SLO names must exist, and none may bear the name of the sum.
fn check_labels(scenario: &Scenario, traces: &Traces) -> Result<(), ConfigError> {
    let mut classes: Vec<String> = Vec::new();
    for (name, traffic) in &scenario.traffic {
        let trace = traces.get(name).map(Arc::as_ref);
        let own = traffic.class_names(trace);
        for (key, labels) in [("priority", &own), ("tenants", &traffic.tenant_names(trace))] {
            if labels.iter().any(|label| label == ALL) {
                return Err(ConfigError::new(
                    ["traffic", name, key],
                    format!("`{ALL}` is what results call the sum"),
                )
                .help("expected another name"));
            }
        }
        classes.extend(own);
    }
    match scenario.slo.class.keys().find(|class| !classes.contains(class)) {
        Some(class) => Err(ConfigError::new(["slo", "class", class], format!("unknown class `{class}`"))
            .help(format!("expected one of {}", classes.join(", ")))),
        None => Ok(()),
    }
}

/// Duration and drain.
fn lengths(
    scenario: &Scenario,
    traces: &Traces,
    warnings: &mut Vec<Warning>,
) -> Result<(SimDuration, SimDuration), ConfigError> {
    let longest = traces.values().map(|trace| trace.duration()).max();
    let duration = match (scenario.run.duration, longest) {
        (Some(duration), _) if duration.get().is_zero() => {
            return Err(ConfigError::new(["run", "duration"], "the run has no duration")
                .help("expected a time above 0, such as \"10m\""));
        }
        (Some(duration), longest) => {
            if let Some(longest) = longest.filter(|longest| *longest > duration.get()) {
                let message =
                    format!("the longest trace lasts {}: what is later is left out", Time::from(longest));
                warnings.push(Warning::new(["run", "duration"], message));
            }
            duration.get()
        }
        // A trace of one instant needs some time to be answered in.
        (None, Some(longest)) => longest.max(SimDuration::from_secs(1)),
        (None, None) => DEFAULT_DURATION,
    };
    let only_traces = traces.len() == scenario.traffic.len();
    let default_drain = if only_traces { duration } else { SimDuration::ZERO };
    Ok((duration, scenario.run.drain.map_or(default_drain, |drain| drain.get())))
}

fn check_windows(scenario: &Scenario, duration: SimDuration, drain: SimDuration) -> Result<(), ConfigError> {
    let width = (duration.as_nanos() / u64::from(scenario.run.windows.get())).max(1);
    let windows = duration.as_nanos().saturating_add(drain.as_nanos()) / width + 1;
    let rows = (scenario.traffic.len() + scenario.components.len() + 1) as u64;
    let all = windows.saturating_mul(rows).saturating_mul(u64::from(scenario.run.replications.get()));
    if all <= MAX_SERIES_ROWS {
        return Ok(());
    }
    let message = format!(
        "{windows} windows (the drain has its own) of {rows} rows in {} replications are too many to keep",
        scenario.run.replications
    );
    Err(ConfigError::new(["run", "windows"], message)
        .help(format!("expected at most {MAX_SERIES_ROWS} rows in all: fewer windows, or a shorter drain")))
}

/// Whether the load neither changes by plan nor is recorded, and nothing breaks: then there is a
/// steady state to find.
pub(crate) fn is_stationary(scenario: &Scenario) -> bool {
    let steady = |arrivals: &ArrivalsConfig| {
        matches!(
            arrivals,
            ArrivalsConfig::Poisson { .. }
                | ArrivalsConfig::Gamma { .. }
                | ArrivalsConfig::Deterministic { .. }
                | ArrivalsConfig::Batch { .. }
                | ArrivalsConfig::Mmpp { .. }
                | ArrivalsConfig::ClosedLoop { .. }
        )
    };
    scenario.fault.is_empty() && scenario.traffic.values().all(|traffic| steady(&traffic.arrivals))
}

/// The loosest bound given for each time.
fn loosest(latency: Option<Quantiles>, ttft: Option<Quantiles>, tpot: Option<Quantiles>) -> GoodputBounds {
    let longest = |quantiles: Option<Quantiles>| {
        let Quantiles { mean, p50, p95, p99 } = quantiles?;
        [mean, p50, p95, p99].into_iter().flatten().max().map(|time| time.get())
    };
    GoodputBounds { latency: longest(latency), ttft: longest(ttft), tpot: longest(tpot) }
}

/// What makes a request of each class good; `""` is for classes of which nothing is said.
fn bounds(scenario: &Scenario) -> BTreeMap<String, GoodputBounds> {
    let slo = &scenario.slo;
    let mut bounds = BTreeMap::new();
    bounds.insert(String::new(), loosest(slo.latency, slo.ttft, slo.tpot));
    for (class, own) in &slo.class {
        let own = loosest(own.latency.or(slo.latency), own.ttft.or(slo.ttft), own.tpot.or(slo.tpot));
        bounds.insert(class.clone(), own);
    }
    bounds
}
