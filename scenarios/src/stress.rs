//! `stress`: what becomes of a system when its load grows ten times.
//!
//! Four diagnostics at each multiple of the load: inference latency, pipelines, cost and blast radius, with pass or
//! fail against the SLO; the largest multiple that passes, to 2%; the first component that breaks, proven: a fifth
//! more capacity there moves the limit, elsewhere it does not; and what helps, checked by running it.
//!
//! The stages can be asked for one by one, so that results are there as they come: [`StressTest::levels`],
//! [`StressTest::limit`], [`StressTest::first_break`], [`StressTest::blast_radius`],
//! [`StressTest::recommendations`], [`StressTest::fallbacks`].

mod blast;
pub(crate) mod diagnosis;
mod fallbacks;
mod first;
mod grow;
mod json;
mod limit;
mod recommend;

use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;
use sim_core::time::SimDuration;
use sim_models::error::ConfigError;
use sim_models::units::Time;

use crate::language::{Loaded, ScenarioError};
use crate::results::{AverageRow, RunResult};
use crate::run::{RunOptions, RunProgress, run_scenario};
use crate::scenario::{Scenario, Warmup};
pub use blast::{Blast, Failure, Recovery};
pub use diagnosis::{CostProjection, Diagnosis, Level, PipelineLoad};
pub use fallbacks::FallbackTest;
pub use first::{FirstBreak, Proof, Suspect};
pub use grow::Grow;
pub use limit::Limit;
pub use recommend::Recommendation;

/// Multiples of the load that are looked at by default.
pub const MULTIPLIERS: [f64; 4] = [1.0, 3.0, 5.0, 10.0];

/// What is to be tested.
#[derive(Debug, Clone)]
pub struct StressOptions {
    /// As for any run; its `scale` is what 1x means.
    pub run: RunOptions,
    /// Multiples to look at, from the smallest on; 1 is always among them.
    pub multipliers: Vec<f64>,
    /// What grows.
    pub grow: Grow,
}

impl Default for StressOptions {
    fn default() -> Self {
        Self { run: RunOptions::default(), multipliers: MULTIPLIERS.to_vec(), grow: Grow::Usage }
    }
}

/// All that was found.
#[derive(Debug, Clone, Default)]
pub struct StressReport {
    /// The system at every multiple.
    pub levels: Vec<Level>,
    /// Where it breaks.
    pub limit: Option<Limit>,
    /// What was tried to find it, by multiple.
    pub tried: Vec<Tried>,
    /// What breaks first.
    pub first: Option<FirstBreak>,
    /// What helps.
    pub recommendations: Vec<Recommendation>,
    /// What the failure of each component does.
    pub blast: Vec<(String, Vec<Blast>)>,
    /// What each fallback does when it must serve.
    pub fallbacks: Vec<FallbackTest>,
}

/// One replication at a multiple that was looked at to find the limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The multiple.
    pub multiple: f64,
    /// Whether answers kept to the SLO.
    pub pass: bool,
    /// Its row of all requests in the `summary`.
    pub all: AverageRow,
}

/// A system under test.
#[derive(Debug)]
pub struct StressTest<'a> {
    loaded: &'a Loaded,
    options: StressOptions,
    progress: &'a RunProgress,
    /// The warm-up of the run at 1x, once it is known: so long is that of all single replications.
    warmup: OnceLock<SimDuration>,
    tried: Mutex<Vec<Tried>>,
}

impl<'a> StressTest<'a> {
    /// A test of a scenario, or of a variant.
    ///
    /// # Errors
    /// Without an SLO there is nothing to pass, and multiples must be from 1 on.
    pub fn new(
        loaded: &'a Loaded,
        mut options: StressOptions,
        progress: &'a RunProgress,
    ) -> Result<Self, ScenarioError> {
        if let Some(wrong) = options.multipliers.iter().find(|k| !(1.0..=1e3).contains(*k)) {
            return Err(ScenarioError::new(format!("a multiple of {wrong}")).with_help("expected 1 to 1,000"));
        }
        let slo = &loaded.scenario.slo;
        if slo.latency.is_none() && slo.ttft.is_none() && slo.tpot.is_none() && slo.error_rate.is_none() {
            return Err(ScenarioError::new("nothing is expected of the answers of this scenario")
                .with_help("say when it fails: [slo] with `latency`, `ttft`, `tpot` or `error_rate`"));
        }
        options.multipliers.push(1.0);
        options.multipliers.sort_by(f64::total_cmp);
        options.multipliers.dedup();
        Ok(Self { loaded, options, progress, warmup: OnceLock::new(), tried: Mutex::default() })
    }

    /// The multiples that are looked at, in order.
    pub fn multipliers(&self) -> &[f64] {
        &self.options.multipliers
    }

    /// The system at every multiple, with its diagnostics; the first level is that of 1x. What cannot be built at a
    /// multiple is a level that fails and says why.
    ///
    /// # Errors
    /// What cannot be simulated today, where it stands in the file.
    pub fn levels(&self) -> Result<Vec<Level>, ScenarioError> {
        let results: Vec<(f64, Result<RunResult, ConfigError>)> = self
            .options
            .multipliers
            .par_iter()
            .map(|k| (*k, self.run_grown(&self.loaded.scenario, *k, None, false)))
            .collect();
        let mut results = results.into_iter();
        let (_, today) = results.next().expect("1x is always among them");
        let today = today.map_err(|error| self.loaded.locate(error))?;
        self.warmup.get_or_init(|| today.plan.warmup);
        let pipelines: Vec<Result<Vec<PipelineLoad>, String>> =
            self.options.multipliers.par_iter().map(|k| diagnosis::pipelines(self, *k)).collect();
        let mut loads = pipelines.into_iter();
        let mut next = || loads.next().unwrap_or(Ok(Vec::new()));
        let mut levels = vec![Level::new(1.0, Ok(today), None, next())];
        for (k, result) in results {
            let result = result.map_err(|error| error.to_string());
            let level = Level::new(k, result, levels[0].result.as_ref().ok(), next());
            levels.push(level);
        }
        Ok(levels)
    }

    /// A run at a multiple, of this scenario or of one that was made of it.
    fn run_grown(
        &self,
        scenario: &Scenario,
        k: f64,
        replications: Option<u32>,
        journal: bool,
    ) -> Result<RunResult, ConfigError> {
        let (mut grown, load) = self.options.grow.apply(scenario, k);
        if let Some(count) = replications.and_then(std::num::NonZeroU32::new) {
            grown.run.replications = count;
            if let (Warmup::Auto, Some(warmup)) = (grown.run.warmup, self.warmup.get()) {
                grown.run.warmup = Warmup::Fixed(Time::new(*warmup));
            }
        }
        let options =
            RunOptions { scale: self.options.run.scale * load, journal, ..self.options.run.clone() };
        let result =
            run_scenario(&grown, self.loaded.hash(), self.loaded.base_dir(), &options, self.progress)?;
        Ok(result.named(&self.loaded.variant))
    }

    /// Whether one replication at a multiple keeps to what the SLO expects of answers. What cannot be built does not.
    fn holds(&self, scenario: &Scenario, k: f64) -> bool {
        let Ok(result) = self.run_grown(scenario, k, Some(1), false) else { return false };
        let pass = diagnosis::answers_hold(&result);
        // What is tried of changed systems belongs to no curve of this one.
        if std::ptr::eq(scenario, &self.loaded.scenario)
            && let Some(all) = result.whole_average()
        {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            tried.push(Tried { multiple: k, pass, all });
        }
        pass
    }

    /// All stages, one after another; without `whole`, only the levels. With `fallbacks` those are exercised, too, at
    /// 1x and at the largest multiple. What a cancellation left out is empty.
    ///
    /// # Errors
    /// As [`Self::levels`].
    pub fn report(&self, whole: bool, fallbacks: bool) -> Result<StressReport, ScenarioError> {
        let levels = self.levels()?;
        let mut report = StressReport { levels, ..StressReport::default() };
        if !whole || self.progress.is_cancelled() {
            return Ok(report);
        }
        let limit = self.limit(&report.levels);
        let today = report.levels[0].result.as_ref().ok();
        report.first = today.and_then(|today| self.first_break(today, limit));
        if let Some(first) = &report.first {
            report.recommendations = self.recommendations(first, limit);
        }
        report.blast = self.blast_radius(1.0);
        if fallbacks && !self.progress.is_cancelled() {
            let most = self.multipliers().last().copied().filter(|most| *most > 1.0);
            let multiples: Vec<f64> = std::iter::once(1.0).chain(most).collect();
            report.fallbacks = self.fallbacks(&multiples);
        }
        (report.limit, report.tried) = (Some(limit), self.tried());
        Ok(report)
    }

    /// What was tried of the system so far to find its limit, by multiple.
    pub fn tried(&self) -> Vec<Tried> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tried.sort_by(|a, b| a.multiple.total_cmp(&b.multiple));
        tried
    }
}

#[cfg(test)]
mod tests;
