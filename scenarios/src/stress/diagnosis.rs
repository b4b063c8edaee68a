//! What a level passes and fails: answers, pipelines, money.

use sim_core::time::SimDuration;
use sim_models::component::DataReport;
use sim_models::cost::elasticity;
use sim_models::pipeline::PipelineReport;
use sim_models::system::ComponentConfig;
use sim_models::units::Time;

use super::StressTest;
use super::grow::{Grow, more_data};
use crate::results::findings::{percent, short};
use crate::results::{AverageRow, RunResult, Verdict, too_few_answers};
use crate::run::{ALL, RunOptions, run_scenario};
use crate::scenario::{Scenario, SloConfig, Warmup};

/// Runs of a pipeline that are looked at.
const PIPELINE_RUNS: u64 = 5;

/// Money has a diagnosis of its own.
pub(crate) const COST: [&str; 2] = ["monthly_cost", "cost_per_1k_good"];

/// Pass or fail, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// Whether it passes.
    pub pass: bool,
    /// (limit - value) / limit of what is nearest to its limit, below 0 what is missing most; none where that cannot be
    /// told.
    pub margin: Option<f64>,
    /// Why, in words.
    pub text: String,
}

/// A pipeline at a level, with so many times its data.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineLoad {
    /// Its name.
    pub name: String,
    /// Window by the longest time from due to success; none when no run succeeded.
    pub slack: Option<f64>,
    /// Work added to the backlog for each unit of time: days of work a day.
    pub backlog_growth: f64,
    /// Whether every run was done within its window.
    pub pass: bool,
}

/// What money comes to at a level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostProjection {
    /// The bill for a month, in USD.
    pub usd_per_month: f64,
    /// USD for 1,000 good requests; none without any.
    pub usd_per_1k_good: Option<f64>,
    /// ln(C(k) / C(1)) / ln(k): 1 where costs grow as the load does; none at 1x and where nothing is paid.
    pub elasticity: Option<f64>,
    /// What is left of the revenue of 1,000 good requests, as a share of it; none where no revenue is given.
    pub revenue_margin: Option<f64>,
}

/// The system at a multiple of its load.
#[derive(Debug, Clone)]
pub struct Level {
    /// The multiple.
    pub multiple: f64,
    /// What the run gave, or why there is none.
    pub result: Result<RunResult, String>,
    /// Latency and errors against the SLO, all classes, with queues that do not grow.
    pub inference: Diagnosis,
    /// Pipelines against their windows; none without pipelines.
    pub pipeline: Option<Diagnosis>,
    /// Each of them.
    pub pipelines: Vec<PipelineLoad>,
    /// Budget and margin; none where nothing is paid.
    pub cost: Option<Diagnosis>,
    /// The money.
    pub projection: Option<CostProjection>,
}

impl Level {
    pub(super) fn new(
        multiple: f64,
        result: Result<RunResult, String>,
        today: Option<&RunResult>,
        pipelines: Result<Vec<PipelineLoad>, String>,
    ) -> Self {
        let pipeline = match &pipelines {
            Ok(loads) => (!loads.is_empty()).then(|| of_pipelines(loads)),
            Err(error) => Some(Diagnosis { pass: false, margin: None, text: error.clone() }),
        };
        let pipelines = pipelines.unwrap_or_default();
        let (inference, projection, cost) = match &result {
            Err(error) => (Diagnosis { pass: false, margin: None, text: error.clone() }, None, None),
            Ok(run) => {
                let projection = project(run, today, multiple);
                let cost =
                    projection.map(|own| of_cost(own, today.and_then(|run| project(run, None, 1.0)), run));
                (inference(run, today), projection, cost)
            }
        };
        Self { multiple, result, inference, pipeline, pipelines, cost, projection }
    }

    /// Whether all that there is passes.
    pub fn passes(&self) -> bool {
        self.inference.pass
            && [&self.pipeline, &self.cost].into_iter().flatten().all(|diagnosis| diagnosis.pass)
    }
}

/// Whether answers keep to the SLO, and no queue grows.
pub(crate) fn answers_hold(result: &RunResult) -> bool {
    let kept =
        result.verdicts.iter().filter(|verdict| !COST.contains(&verdict.metric)).all(|verdict| verdict.pass);
    kept && !result.outputs.is_empty() && result.filling.is_empty()
}

pub(crate) fn all(result: &RunResult) -> Option<AverageRow> {
    result.summary_averages().into_iter().find(|row| row.keys.iter().all(|key| key == ALL))
}

pub(crate) fn inference(result: &RunResult, today: Option<&RunResult>) -> Diagnosis {
    let answers = || result.verdicts.iter().filter(|verdict| !COST.contains(&verdict.metric));
    let worst = nearest(answers());
    let unmeasured = answers().find(|verdict| verdict.value.is_none());
    let p99 = |run: &RunResult| all(run).and_then(|row| row.mean("latency_p99_s"));
    let factor = today.and_then(|today| Some(p99(result)? / p99(today)?));
    let mut parts = Vec::new();
    let margin = worst.as_ref().filter(|_| unmeasured.is_none()).map(|(margin, _)| *margin);
    if let Some((_, said)) = worst {
        parts.push(said);
    } else if unmeasured.is_some() {
        parts.push("nothing was answered".to_owned());
    }
    parts.extend(too_few_answers(&result.verdicts));
    parts.extend(result.filling.iter().cloned());
    if let Some(factor) = factor {
        parts.push(format!("latency p99 {}x that of today", short(factor)));
    }
    Diagnosis { pass: answers_hold(result), margin, text: parts.join("; ") }
}

/// What is nearest to its limit, or missed most: its margin, and a sentence.
pub(crate) fn nearest<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Option<(f64, String)> {
    let margins = verdicts.filter_map(|verdict| Some((verdict.margin()?, verdict)));
    let (margin, verdict) = margins.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let value = verdict.shown(verdict.value.unwrap_or_default());
    let limit = verdict.shown(verdict.limit);
    let far = if margin < 0.0 { "beyond" } else { "nearest to" };
    Some((margin, format!("{} is {value}, {far} its limit of {limit}", verdict.named())))
}

fn project(result: &RunResult, today: Option<&RunResult>, multiple: f64) -> Option<CostProjection> {
    let row = all(result)?;
    let usd_per_month = row.mean("cost_usd_per_month").filter(|usd| *usd > 0.0)?;
    let usd_per_1k_good = row.mean("cost_usd_per_1k_good");
    let before = today.and_then(all).and_then(|row| row.mean("cost_usd_per_month")).filter(|usd| *usd > 0.0);
    let elasticity = before.and_then(|before| elasticity(before, usd_per_month, multiple));
    let revenue = result.scenario.slo.revenue_per_1k.map(|usd| usd.dollars()).filter(|usd| *usd > 0.0);
    let revenue_margin = revenue.and_then(|revenue| Some(1.0 - usd_per_1k_good? / revenue));
    Some(CostProjection { usd_per_month, usd_per_1k_good, elasticity, revenue_margin })
}

/// Within the budget, and a good request costs no more than today or still brings something in.
fn of_cost(own: CostProjection, today: Option<CostProjection>, result: &RunResult) -> Diagnosis {
    let budget = result.scenario.slo.monthly_cost.map(|usd| usd.dollars());
    let within = budget.is_none_or(|budget| own.usd_per_month <= budget);
    let no_dearer = match (own.usd_per_1k_good, today.and_then(|today| today.usd_per_1k_good)) {
        // A thousandth is rounding.
        (Some(own), Some(today)) => own <= today * 1.001,
        (Some(_), None) => true,
        (None, _) => false,
    };
    let earns = own.revenue_margin.is_some_and(|margin| margin > 0.0);
    let mut parts = Vec::new();
    if let Some(usd) = own.usd_per_1k_good {
        parts.push(format!("${usd:.2} for 1,000 good answers"));
    } else {
        parts.push("no good answer for it".to_owned());
    }
    if let Some(margin) = own.revenue_margin {
        parts.push(match margin < 0.0 {
            false => format!("{} of the revenue left", percent(margin)),
            true => format!("{} times the revenue", short(1.0 - margin)),
        });
    }
    if let Some(beta) = own.elasticity {
        parts.push(format!("elasticity {}", short(beta)));
    }
    if let Some(budget) = budget.filter(|_| !within) {
        parts.push(format!("beyond the budget by {}", percent(own.usd_per_month / budget - 1.0)));
    }
    let margin = budget.map(|budget| 1.0 - own.usd_per_month / budget);
    Diagnosis { pass: within && (no_dearer || earns), margin, text: parts.join("; ") }
}

fn of_pipelines(loads: &[PipelineLoad]) -> Diagnosis {
    let late: Vec<String> = loads
        .iter()
        .filter(|load| !load.pass)
        .map(|load| match load.slack {
            Some(slack) if slack < 1.0 => {
                format!("`{}` needs {} of its window", load.name, percent(1.0 / slack))
            }
            _ if load.backlog_growth > 0.0 => {
                format!("the backlog of `{}` grows by {} days a day", load.name, short(load.backlog_growth))
            }
            _ => format!("runs of `{}` fail", load.name),
        })
        .collect();
    let slack = loads.iter().filter_map(|load| load.slack).min_by(f64::total_cmp);
    let text = match (late.is_empty(), slack) {
        (true, Some(slack)) => format!("{} of the window in use", percent(1.0 / slack)),
        (true, None) => "no run was due".to_owned(),
        _ => late.join("; "),
    };
    let margin =
        slack.filter(|_| loads.iter().all(|load| load.slack.is_some())).map(|slack| 1.0 - 1.0 / slack);
    Diagnosis { pass: late.is_empty(), margin, text }
}

/// The pipelines alone over some of their runs, with so many times the data.
pub(super) fn pipelines(test: &StressTest, k: f64) -> Result<Vec<PipelineLoad>, String> {
    let k = if test.options.grow == Grow::Complexity { 1.0 } else { k };
    let Some(alone) = pipelines_alone(&test.loaded.scenario, k) else { return Ok(Vec::new()) };
    let options = RunOptions { threads: test.options.run.threads, ..RunOptions::default() };
    let result = run_scenario(&alone, 0, test.loaded.base_dir(), &options, test.progress);
    let result = result.map_err(|error| error.to_string())?;
    let Some(output) = result.outputs.first() else { return Ok(Vec::new()) };
    let reports = output.components.iter().filter_map(|component| match &component.data {
        Some(DataReport::Pipeline(report)) => Some((component.name.clone(), report)),
        _ => None,
    });
    Ok(reports.map(|(name, report)| load_of(name, report)).collect())
}

fn load_of(name: String, report: &PipelineReport) -> PipelineLoad {
    let backlog_growth = report.backlog_growth().unwrap_or(0.0);
    let slack = report.slack_min;
    let kept = slack.is_some_and(|slack| slack >= 1.0) && report.missed + report.failed + report.skipped == 0;
    PipelineLoad { name, slack, backlog_growth, pass: kept }
}

/// The scenario without anything but its pipelines and what they fill; none without pipelines.
fn pipelines_alone(scenario: &Scenario, k: f64) -> Option<Scenario> {
    let intervals = scenario.components.values().filter_map(|component| match component {
        ComponentConfig::Pipeline(pipeline) => Some(pipeline.interval.get()),
        _ => None,
    });
    let longest = intervals.max()?;
    let mut alone = scenario.clone();
    let filled: Vec<String> = scenario
        .components
        .values()
        .filter_map(|component| match component {
            ComponentConfig::Pipeline(pipeline) => {
                pipeline.materializes.as_ref().map(|writes| writes.store.clone())
            }
            _ => None,
        })
        .collect();
    alone.components.retain(|name, component| component.kind() == "pipeline" || filled.contains(name));
    let pipelines = alone.components.values_mut().filter(|component| component.kind() == "pipeline");
    pipelines.for_each(|component| more_data(component, k));
    alone.links.clear();
    alone.devices.clear();
    alone.fault.retain(|fault| alone.components.contains_key(&fault.target));
    (alone.quality, alone.slo) = (None, SloConfig::default());
    let mut idle = "idle".to_owned();
    while alone.components.contains_key(&idle) {
        idle.push('-');
    }
    // Nobody asks anything, but a system has traffic.
    let mut traffic = scenario.traffic.values().next()?.clone();
    traffic.arrivals = toml::from_str("process = \"poisson\"\nrate = \"1/d\"").ok()?;
    traffic.entry.clone_from(&idle);
    alone.traffic.clear();
    alone.traffic.insert("nobody".to_owned(), traffic);
    let component = toml::from_str("kind = \"service\"\nservice_time = { constant = \"1ms\" }");
    alone.components.insert(idle, component.ok()?);
    let length = SimDuration::from_nanos(longest.as_nanos().saturating_mul(PIPELINE_RUNS));
    alone.run.duration = Some(Time::new(length));
    alone.run.drain = Some(Time::ZERO);
    alone.run.warmup = Warmup::Fixed(Time::ZERO);
    alone.run.replications = std::num::NonZeroU32::MIN;
    Some(alone)
}
