//! Many configurations: sweeps and plans.

use std::path::PathBuf;
use std::sync::Arc;

use scenarios::plan::{Evaluated, Plan, PlanOptions, Target};
use scenarios::report::plan::Planned;
use scenarios::report::{Block, Report};
use scenarios::results::show::{optional, seconds, usd};
use scenarios::run::{RunOptions, RunProgress};
use scenarios::sweep::{Sweep, SweepEnd, SweepOptions, SweepProgress};
use scenarios::units::Rate;
use scenarios::{Loaded, ScenarioError};

use super::{News, Tell};

/// How many of those that cost more are run in full beside the cheapest.
const MORE: usize = 6;

/// What is planned for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    /// So many users, instead of the load that is shown.
    pub for_users: bool,
    pub users: u32,
    /// Requests of each of them, such as `6/h`; empty for those of a closed loop.
    pub each: String,
    /// The most replicas of a pool.
    pub most: u32,
}

impl Default for Question {
    fn default() -> Self {
        Self { for_users: false, users: 1_000, each: "6/h".to_owned(), most: 8 }
    }
}

impl Question {
    fn target(&self, load: f64) -> Result<Target, ScenarioError> {
        if !self.for_users {
            return Ok(Target::Scale(load));
        }
        let each = match self.each.trim() {
            "" => None,
            text => Some(text.parse::<Rate>().map_err(|error| ScenarioError::new(error.to_string()))?),
        };
        Ok(Target::Users(self.users, each))
    }
}

/// A configuration that can be taken on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    /// Its values in short, and what comes of it.
    pub name: String,
    pub said: String,
    pub holds: Option<bool>,
    /// As overrides.
    pub sets: Vec<String>,
    /// What it costs and its latency, where that is drawn.
    pub at: Option<(f64, f64)>,
}

/// What came of a sweep or of a plan.
#[derive(Debug)]
pub(crate) struct Explored {
    pub is_plan: bool,
    pub report: Report,
    /// Those that are offered first.
    pub choices: Vec<Choice>,
    /// Those that are drawn by their cost.
    pub points: Vec<Choice>,
}

/// A directory that goes when it is no longer needed.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind in the system's directory for such files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn short(sets: &[String]) -> String {
    let short = |set: &String| set.strip_prefix("components.").unwrap_or(set).to_owned();
    sets.iter().map(short).collect::<Vec<_>>().join(", ")
}

pub(super) fn sweep(
    loaded: &Loaded,
    axes: Vec<String>,
    run: RunOptions,
    progress: &SweepProgress,
    tell: &Tell,
) -> Result<(), ScenarioError> {
    let sweep = Sweep::new(loaded, SweepOptions { axes, run, ..SweepOptions::default() })?;
    let name = format!("tenfold-sweep-{}-{}", std::process::id(), tell.number);
    let scratch = Scratch(std::env::temp_dir().join(name));
    let wrong = |error: scenarios::sweep::SweepError| ScenarioError::new(error.to_string());
    if let SweepEnd::Finished { .. } = sweep.run(&scratch.0, progress).map_err(wrong)? {
        let report = sweep.report(&scratch.0).map_err(wrong)?;
        let choices = taken(&sweep, &report);
        let drawn = sweep.choices(&scratch.0).map_err(wrong)?;
        let points = drawn.into_iter().map(|(point, one)| Choice {
            at: Some((one.cost, one.figure)),
            ..configuration(&sweep, point, String::new(), one.pass)
        });
        let points = points.filter(|one| !one.sets.is_empty()).collect();
        tell.news(News::Explored(Arc::new(Explored { is_plan: false, report, choices, points })));
    }
    Ok(())
}

/// A point of a sweep, without its load and its variant.
fn configuration(sweep: &Sweep, point: u64, said: String, holds: Option<bool>) -> Choice {
    let own = sweep.point(point).into_iter().filter(|(path, _)| !["scale", "variant"].contains(path));
    let sets: Vec<String> = own.map(|(path, value)| format!("{path}={value}")).collect();
    Choice { name: short(&sets), said, holds, sets, at: None }
}

/// The points of the first table of a sweep, which has their numbers.
fn taken(sweep: &Sweep, report: &Report) -> Vec<Choice> {
    let table = report.blocks.iter().find_map(|block| match block {
        Block::Table(table) => Some(table),
        _ => None,
    });
    let choice = |row: &Vec<String>| {
        let point = row.first()?.parse().ok()?;
        let holds = match row.last().map(String::as_str) {
            Some("pass") => Some(true),
            Some("FAIL") => Some(false),
            _ => None,
        };
        let figure = |name: &str| {
            let place = table?.header.iter().position(|column| column == name)?;
            row.get(place).cloned()
        };
        let said = ["latency p99", "per month"]
            .into_iter()
            .filter_map(|name| Some(format!("{name} {}", figure(name)?)));
        let said = said.collect::<Vec<_>>().join(", ");
        Some(configuration(sweep, point, said, holds)).filter(|one| !one.sets.is_empty())
    };
    table.into_iter().flat_map(|table| &table.rows).filter_map(choice).collect()
}

pub(super) fn plan(
    loaded: &Loaded,
    question: &Question,
    mut run: RunOptions,
    progress: &RunProgress,
    tell: &Tell,
) -> Result<(), ScenarioError> {
    let target = question.target(run.scale)?;
    run.scale = target.scale(&loaded.scenario)?;
    scenarios::check(loaded, &run)?;
    let options = PlanOptions { most: Some(question.most), run, ..PlanOptions::default() };
    let mut plan = Plan::new(loaded, options, progress)?;
    let found = plan.search()?;
    let effects = match &found.best {
        Some(best) => plan.tornado(best, &[])?,
        None => Vec::new(),
    };
    let front = plan.front(MORE)?;
    if progress.is_cancelled() {
        return Ok(());
    }
    let planned =
        Planned { loaded, target, warm: None, plan: &plan, found: &found, front: &front, effects: &effects };
    let choice = |one: &Evaluated| {
        let latency = optional(one.latency_p99_s, seconds);
        let said = format!("{} per month, latency p99 {latency}", usd(one.usd_per_month));
        let at = one.latency_p99_s.map(|latency| (one.usd_per_month, latency));
        Choice { name: short(&one.sets()), said, holds: Some(one.holds), sets: one.sets(), at }
    };
    let on_front = front.iter().filter(|one| one.dominated_by.is_none()).map(|one| choice(&one.evaluated));
    let best = found.best.iter().map(choice);
    let mut choices: Vec<Choice> = Vec::new();
    for one in best.chain(on_front) {
        if !choices.contains(&one) {
            choices.push(one);
        }
    }
    let full = found.evaluated.iter().filter(|one| one.full);
    let points = front.iter().map(|one| &one.evaluated).chain(full).map(choice).collect();
    let report = planned.report();
    tell.news(News::Explored(Arc::new(Explored { is_plan: true, report, choices, points })));
    Ok(())
}
