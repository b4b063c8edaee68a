//! One configuration: run, first shortly, and judged.

use std::fs;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;
use sim_models::link::link_ends;
use sim_models::system::ComponentConfig;
use sim_models::units::{HOURS_PER_MONTH, Time};

use super::Plan;
use super::bounds::{Demand, demands};
use super::space::{Rest, sets};
use crate::language::ScenarioError;
use crate::results::findings::{blamed, needed_for};
use crate::results::stamp::whole;
use crate::results::write::Staged;
use crate::results::{RunResult, Verdict, check_writable, hex};
use crate::run::{ALL, RunOptions, is_stationary, run_scenario, way_to_run};
use crate::scenario::{Scenario, Warmup};
use crate::stress::diagnosis::{COST, Diagnosis, all, answers_hold, inference, nearest};

/// Name of the file in which what was run is kept.
pub const EVALUATED: &str = "evaluated.toml";

/// What part of the measured time a short run has.
const PART: u64 = 4;

/// How far beyond a bound on a time a short run must be for the configuration to be given up (assumption: twice the usual
/// error of a 95th percentile of some hundred requests).
const CLEARLY: f64 = 1.5;

/// Requests up to which a short run says nothing of shares (assumption).
const FEW: f64 = 20.0;

/// GPUs or replicas of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// The component.
    pub component: String,
    /// Its replicas, or servers where it has no replicas: the number that is set, or the mean of a pool that scales.
    pub replicas: f64,
    /// GPUs of them all on average; 0 where it has none.
    pub gpus: f64,
}

/// A configuration that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// Number of the configuration.
    pub point: u64,
    /// Paths and values, as `--set` takes them.
    pub settings: Vec<(String, String)>,
    /// Whether all replications were run in full; a short run only tells that it clearly fails.
    pub full: bool,
    /// Whether it keeps to the SLO, and no queue grows.
    pub holds: bool,
    /// Whether answers keep to their part of the SLO; `holds` is without the bill.
    pub answers_hold: bool,
    /// Why, in words.
    pub why: String,
    /// The bill for a month, in USD.
    pub usd_per_month: f64,
    /// What of it is paid by use.
    pub usage_usd_per_month: f64,
    /// USD for 1,000 good requests; none without any.
    pub usd_per_1k_good: Option<f64>,
    /// Latency at the 99th percentile, in seconds.
    pub latency_p99_s: Option<f64>,
    /// Time to the first token at the 95th percentile, in seconds.
    pub ttft_p95_s: Option<f64>,
    /// Share of requests without an answer.
    pub error_rate: Option<f64>,
    /// Share of right answers, where it is known.
    pub accuracy: Option<f64>,
    /// Good requests a second.
    pub goodput_per_s: Option<f64>,
    /// Share of the ended requests that were good.
    pub slo_attainment: Option<f64>,
    /// What it has of everything that comes in replicas.
    pub fleets: Vec<Fleet>,
    /// Simulated time, over all replications, in seconds.
    pub simulated_s: f64,
    /// Hash of the canonical form of its scenario, in hexadecimal.
    pub scenario_hash: String,
    /// Hash over the fingerprints of its replications, in hexadecimal.
    pub fingerprint: String,
    /// What was asked of each component, where the run tells.
    pub(super) demands: Vec<Demand>,
    /// Whether answers are wrong too often though nothing is short of capacity: more of it makes none of them right.
    pub(super) is_wrong: bool,
    /// The component that alone is short of capacity, if it is one.
    pub(super) short_of: Option<String>,
}

impl Evaluated {
    /// The settings as `--set` takes them.
    pub fn sets(&self) -> Vec<String> {
        sets(&self.settings)
    }
}

/// What is kept in a directory.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: String,
    plan: String,
    evaluated: Vec<Evaluated>,
}

/// Where what was run is kept.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// What it is a plan of.
    plan: String,
}

impl Plan<'_> {
    /// What this is a plan of.
    fn identity(&self) -> Result<String, ScenarioError> {
        let axes = self.space.axes.iter().map(|axis| format!("{}={}", axis.path, axis.values.to_json()));
        let way = way_to_run(&self.loaded.scenario, self.loaded.base_dir(), &self.options.run);
        let way = way.map_err(|error| self.loaded.locate(error))?;
        Ok(format!(
            "scenario {}, variant {}, {way}, axes {}",
            hex(self.loaded.hash()),
            self.loaded.variant,
            axes.collect::<Vec<_>>().join(" ")
        ))
    }

    pub(super) fn open_store(&mut self, dir: &Path, resume: bool) -> Result<(), ScenarioError> {
        check_writable(dir).map_err(ScenarioError::new)?;
        let plan = self.identity()?;
        let path = dir.join(EVALUATED);
        if let Ok(text) = fs::read_to_string(&path) {
            let fault = |text: String| {
                ScenarioError::new(format!("{}: {text}", path.display()))
                    .with_help("--resume takes up a plan of the same scenario, axes, load and version; --out names another directory")
            };
            if !resume {
                return Err(fault("there is a plan already".to_owned()));
            }
            let kept: Kept =
                toml::from_str(&text).map_err(|error| fault(format!("it cannot be read: {error}")))?;
            if kept.version != env!("CARGO_PKG_VERSION") || kept.plan != plan {
                return Err(fault("it is of another plan".to_owned()));
            }
            self.known = kept.evaluated.into_iter().map(|one| ((one.point, one.full), one)).collect();
        }
        self.store = Some(Store { dir: dir.to_owned(), plan });
        self.write_store()
    }

    fn write_store(&self) -> Result<(), ScenarioError> {
        let Some(Store { dir, plan }) = &self.store else { return Ok(()) };
        let kept = Kept {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            plan: plan.clone(),
            evaluated: self.known.values().cloned().collect(),
        };
        let mut staged = Staged::default();
        // TOML: its numbers are read back as they were.
        let text = toml::to_string(&kept).map_err(ScenarioError::new)?;
        let written = staged.write(dir.join(EVALUATED), |file| Ok(file.write_all(text.as_bytes())?));
        written.and_then(|()| staged.publish()).map(|_| ()).map_err(ScenarioError::new)
    }

    /// Runs a configuration, shortly or in full, unless that was done before. None when the run was cancelled.
    ///
    /// # Errors
    /// When what was run cannot be kept, or it cannot be run.
    pub(super) fn evaluate(&mut self, point: u64, full: bool) -> Result<Option<Evaluated>, ScenarioError> {
        if let Some(known) = self.known.get(&(point, full)) {
            return Ok(Some(known.clone()));
        }
        let refused =
            |error: String| ScenarioError::new(format!("configuration {point} cannot be run: {error}"));
        let mut scenario = self.space.scenario(point).map_err(refused)?;
        let mut options = self.options.run.clone();
        if !full {
            shorten(&mut scenario, &mut options);
        }
        let Some(result) = self.simulate(&scenario, &options).map_err(refused)? else { return Ok(None) };
        let empty = Rest { usd_per_month: 0.0, capacity: Default::default() };
        let rest = self.rests[point as usize].as_ref().unwrap_or(&empty);
        let one = judge(point, self.space.settings(point), full, &result, rest);
        self.known.insert((point, full), one.clone());
        self.write_store()?;
        Ok(Some(one))
    }

    /// Runs a scenario; none when that was cancelled.
    pub(super) fn simulate(
        &mut self,
        scenario: &Scenario,
        options: &RunOptions,
    ) -> Result<Option<RunResult>, String> {
        let hash = scenario.hash();
        let result = run_scenario(scenario, hash, self.loaded.base_dir(), options, self.progress)
            .map_err(|error| error.to_string())?;
        self.runs += 1;
        Ok((result.interrupted.is_none() && !self.progress.is_cancelled()).then_some(result))
    }

    /// Whether there is anything shorter than a full run.
    pub(super) fn has_short_runs(&self) -> bool {
        let run = &self.loaded.scenario.run;
        run.replications.get() > 1
            || (self.options.run.trace.is_none() && is_stationary(&self.loaded.scenario))
    }
}

/// One replication, and of traffic that does not change a quarter of the measured time.
fn shorten(scenario: &mut Scenario, options: &mut RunOptions) {
    scenario.run.replications = NonZeroU32::MIN;
    options.until = None;
    let duration = options.duration.or(scenario.run.duration.map(|duration| duration.get()));
    let duration = duration.unwrap_or(crate::run::DEFAULT_DURATION);
    if options.trace.is_some() || !is_stationary(scenario) {
        return;
    }
    let part = |time: SimDuration, of: u64| SimDuration::from_nanos(time.as_nanos() / of);
    let warmup = match scenario.run.warmup {
        Warmup::Fixed(warmup) => warmup.get(),
        // As long as a pilot usually finds, without one (assumption).
        Warmup::Auto => part(duration, 20),
    };
    let measured = SimDuration::from_nanos(duration.as_nanos().saturating_sub(warmup.as_nanos()));
    scenario.run.warmup = Warmup::Fixed(Time::new(warmup));
    options.duration = Some(warmup.saturating_add(part(measured, PART)));
}

fn judge(
    point: u64,
    settings: Vec<(String, String)>,
    full: bool,
    result: &RunResult,
    rest: &Rest,
) -> Evaluated {
    let row = all(result);
    let mean = |column: &str| row.as_ref().and_then(|row| row.mean(column));
    let answers = if full { answers_hold(result) } else { !clearly_fails(result) };
    let Diagnosis { margin, text: mut why, .. } = inference(result, None);
    let bill = || result.verdicts.iter().filter(|verdict| full && COST.contains(&verdict.metric));
    let within = bill().all(|verdict| verdict.pass);
    match nearest(bill()) {
        Some((_, said)) if !within => why = format!("{said}; {why}"),
        Some((left, said)) if answers && margin.is_none_or(|margin| left < margin) => why = said,
        None if !within => why = format!("what good answers cost is not known; {why}"),
        _ => {}
    }
    let demands = demands(result, rest);
    let beyond = |verdict: &Verdict| if full { !verdict.pass } else { is_clearly_beyond(result, verdict) };
    let mut wrong = result.verdicts.iter().filter(|verdict| verdict.metric == "wrong_rate");
    let is_wrong = !demands.is_empty() && wrong.any(beyond);
    let outputs = result.outputs.len().max(1) as f64;
    let used = result.outputs.iter().flat_map(|output| &output.costs).filter(|line| line.by_use);
    let length = result.plan.duration.saturating_add(result.plan.drain).as_secs_f64();
    Evaluated {
        point,
        settings,
        full,
        holds: answers && within,
        answers_hold: answers,
        why,
        usd_per_month: mean("cost_usd_per_month").unwrap_or(0.0),
        usage_usd_per_month: used.map(|line| line.usd_per_hour).fold(0.0, |sum, usd| sum + usd) / outputs
            * HOURS_PER_MONTH,
        usd_per_1k_good: mean("cost_usd_per_1k_good"),
        latency_p99_s: mean("latency_p99_s"),
        ttft_p95_s: mean("ttft_p95_s"),
        error_rate: mean("error_rate"),
        accuracy: mean("accuracy"),
        goodput_per_s: mean("goodput_per_s"),
        slo_attainment: mean("slo_attainment"),
        fleets: fleets(result),
        simulated_s: length * outputs,
        scenario_hash: result.provenance.scenario_hash.clone(),
        fingerprint: whole(&result.provenance.fingerprints),
        demands,
        is_wrong,
        short_of: if answers { None } else { alone_short(result) },
    }
}

/// Whether a short run leaves no doubt that a full one fails.
fn clearly_fails(result: &RunResult) -> bool {
    let mut answers = result.verdicts.iter().filter(|verdict| !COST.contains(&verdict.metric));
    answers.any(|verdict| is_clearly_beyond(result, verdict))
        || blamed(result).iter().any(|blamed| blamed.grows && blamed.load > 1.1)
}

/// Whether a short run leaves no doubt that a full one is beyond a bound.
fn is_clearly_beyond(result: &RunResult, verdict: &Verdict) -> bool {
    let summary = result.summary_averages();
    let own = summary.iter().find(|row| row.keys[0] == verdict.class && row.keys[1] == ALL);
    let requests = own.and_then(|row| row.mean("born")).unwrap_or(0.0);
    let Some(value) = verdict.value else { return requests > FEW };
    if verdict.unit == "s" {
        let quantile = verdict.quantile.and_then(|quantile| quantile.strip_prefix('p')?.parse::<f64>().ok());
        return value > CLEARLY * verdict.limit && requests >= needed_for(quantile.unwrap_or(50.0) / 100.0);
    }
    // Three standard errors of a share.
    let error = (verdict.limit * (1.0 - verdict.limit) / requests.max(1.0)).sqrt();
    value > verdict.limit + 3.0 * error && requests > FEW && value * requests > 3.0
}

/// The component that is overloaded while all others that are short of anything wait for it, and whose calls are not made
/// more by failures of others or of its own: more of anything else helps nobody.
fn alone_short(result: &RunResult) -> Option<String> {
    let found = blamed(result);
    let mut deepest = found.iter().filter(|one| one.waits_for.is_empty());
    let one = deepest.next().filter(|one| one.grows && one.load > 1.0)?;
    if deepest.next().is_some()
        || !found.iter().all(|other| other == one || other.waits_for.contains(&one.component))
    {
        return None;
    }
    let amplified = result.scenario.links.iter().any(|(link, config)| {
        let own = link_ends(link).is_some_and(|(_, callee)| callee == one.component);
        config.fallback_callees().any(|callee| callee == one.component)
            || (own && (config.retry.is_some() || config.hedge.is_some()))
    });
    (!amplified).then(|| one.component.clone())
}

fn fleets(result: &RunResult) -> Vec<Fleet> {
    let outputs = result.outputs.len().max(1) as f64;
    let one = |(name, config): (&String, &ComponentConfig)| {
        let set = match config {
            ComponentConfig::Llm(config) => config.replicas.get(),
            ComponentConfig::Service(config) => config.replicas.unwrap_or(config.servers).get(),
            ComponentConfig::ModelServer(config) => config.replicas.map_or(1, NonZeroU32::get),
            _ => return None,
        };
        let components =
            || result.outputs.iter().flat_map(|output| &output.components).filter(|one| one.name == *name);
        let scaled: f64 = components().filter_map(|one| one.measure("replicas_mean")).sum();
        let lines = result.outputs.iter().flat_map(|output| &output.costs);
        let gpus = lines
            .filter(|line| line.component == *name && line.resource.starts_with("gpu "))
            .map(|line| line.units);
        let replicas = if scaled > 0.0 { scaled / outputs } else { f64::from(set) };
        Some(Fleet { component: name.clone(), replicas, gpus: gpus.sum::<f64>() / outputs })
    };
    result.scenario.components.iter().filter_map(one).collect()
}
