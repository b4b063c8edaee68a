//! `plan`: the cheapest configuration that keeps to the SLO.
//!
//! Configurations are the combinations of some axes: replicas, GPUs, precision, any path. Few of them are simulated.
//! What is held is priced before anything is run; what operational laws rule out is not run at all; and each run rules
//! out others: one that fails those with less of everything, one that holds those that cost more. Runs that look bad are
//! short ones. What holds is run in full, and judged as `run` judges it.
//!
//! Beside the cheapest ([`Plan::search`]): what is to be had for more ([`Plan::front`]), what it hangs on
//! ([`Plan::tornado`]), what the load is for so many users ([`Target`]), how many replicas are to be kept warm
//! ([`warm_axis`]), and from which load on an own pool is cheaper than somebody else's API ([`break_even`]).

mod bounds;
mod break_even;
mod evaluate;
mod frame;
mod front;
mod search;
mod space;
mod target;
mod tornado;

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::language::{Loaded, ScenarioError};
use crate::run::{RunOptions, RunProgress};
use crate::scenario::Scenario;
pub use break_even::{ApiPrice, BreakEven, break_even, usd_per_million_tokens};
use evaluate::Store;
pub use evaluate::{EVALUATED, Evaluated, Fleet};
pub use frame::PLAN;
pub use front::FrontPoint;
pub use search::{Found, RuledOut};
use space::{Rest, Space};
pub use target::Target;
pub use tornado::Effect;

/// Most configurations that are looked among (assumption: their bills and bounds are computed in seconds).
pub const MAX_POINTS: u64 = 100_000;

/// Among what `tenfold plan` looks for the cheapest configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// Values by path, written as those of `[sweep]`: an array, or the text of a list or of steps (`"1..8/1"`).
    pub axes: IndexMap<String, serde_json::Value>,
}

/// How a plan is made.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Axes (`components.db.servers=1,2,4`) in place of those of the scenario. Without either: the replicas of every
    /// pool.
    pub axes: Vec<String>,
    /// The most replicas of a pool, where axes are not given.
    pub most: Option<u32>,
    /// Whether that with the least of everything is wanted, and not the cheapest: what is kept warm may cost nothing
    /// where it is in use at all times anyway.
    pub fewest: bool,
    /// How runs differ from what the scenario says; its `scale` is the load that is planned for.
    pub run: RunOptions,
}

/// A scenario, and the configurations among which the cheapest is looked for.
#[derive(Debug)]
pub struct Plan<'a> {
    loaded: &'a Loaded,
    options: PlanOptions,
    progress: &'a RunProgress,
    space: Space<'a>,
    /// By point: what it costs at rest, or why it cannot be built.
    rests: Vec<Result<Rest, String>>,
    /// What was run, by point and whether in full.
    known: BTreeMap<(u64, bool), Evaluated>,
    /// Points that the search did not run because another holds for no more.
    dearer: Vec<u64>,
    /// Runs of this process.
    runs: u64,
    store: Option<Store>,
}

impl<'a> Plan<'a> {
    /// Reads the axes and prices all configurations at rest.
    ///
    /// # Errors
    /// Without an SLO there is nothing to keep to; an axis that cannot be read; too many configurations, or none that
    /// can be built.
    pub fn new(
        loaded: &'a Loaded,
        options: PlanOptions,
        progress: &'a RunProgress,
    ) -> Result<Self, ScenarioError> {
        let slo = &loaded.scenario.slo;
        if slo.latency.is_none() && slo.ttft.is_none() && slo.tpot.is_none() && slo.error_rate.is_none() {
            return Err(ScenarioError::new("nothing is expected of the answers of this scenario")
                .with_help("say what must hold: [slo] with `latency`, `ttft`, `tpot` or `error_rate`"));
        }
        let space = Space::new(loaded, &options.axes, options.most, options.run.scale)?;
        let rests = space.at_rest();
        if let (true, Some(Err(error))) = (rests.iter().all(Result::is_err), rests.first()) {
            return Err(ScenarioError::new(format!(
                "none of the {} configurations can be built: {error}",
                space.points
            ))
            .with_help("expected axes with values of which some go together"));
        }
        Ok(Self {
            loaded,
            options,
            progress,
            space,
            rests,
            known: BTreeMap::new(),
            dearer: Vec::new(),
            runs: 0,
            store: None,
        })
    }

    /// How many configurations there are.
    pub fn points(&self) -> u64 {
        self.space.points
    }

    /// The paths that are varied, and how many values each has.
    pub fn axes(&self) -> Vec<(&str, usize)> {
        let axes = self.space.axes.iter();
        axes.map(|axis| (axis.path.as_str(), axis.levels().map_or(0, <[String]>::len))).collect()
    }

    /// The scenario with a configuration's values, at today's load, without variants.
    ///
    /// # Errors
    /// When there is no such configuration, or it cannot be read.
    pub fn scenario(&self, one: &Evaluated) -> Result<Scenario, ScenarioError> {
        self.space.scenario_with(&one.sets()).map_err(ScenarioError::new)
    }

    /// From now on what was run is kept in a directory, which is made if it is not there; with `resume` what is kept there
    /// already is not run again.
    ///
    /// # Errors
    /// When it cannot be written or read, or holds what was run for another plan.
    pub fn keep_in(&mut self, dir: &Path, resume: bool) -> Result<(), ScenarioError> {
        self.open_store(dir, resume)
    }
}

/// The axis of the fewest replicas that a pool with an autoscaler keeps ready, for [`PlanOptions::axes`]: the least that
/// keeps to the SLO is how many are to be kept warm.
///
/// # Errors
/// When nobody scales the pool.
pub fn warm_axis(loaded: &Loaded, component: &str) -> Result<String, ScenarioError> {
    space::warm_axis(&loaded.scenario, component)
}

#[cfg(test)]
mod tests;
