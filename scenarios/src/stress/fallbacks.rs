//! Each fallback exercised: everything before it in its chain is out of reach for the whole measured part of a run, so
//! that it must carry all that load.

use rayon::prelude::*;
use sim_core::time::SimDuration;
use sim_models::journal::RequestRecord;
use sim_models::link::fallback::FallbackStep;
use sim_models::link::{LinkConfig, link_ends};
use sim_models::request::Outcome;
use sim_models::system::config::{FaultConfig, FaultKind};
use sim_models::units::Time;

use super::StressTest;
use super::blast::Journal;
use crate::results::RunResult;

/// Share of the requests that need the fallback and are answered, where the SLO does not bound errors (assumption).
const ANSWERED: f64 = 0.99;

/// What a step of a fallback chain does when it must serve.
#[derive(Debug, Clone, PartialEq)]
pub struct FallbackTest {
    /// Whose chain: `caller -> callee`.
    pub link: String,
    /// The step: a component, `stale`, `default` or `reject`.
    pub step: String,
    /// The load, as a multiple of today's.
    pub multiple: f64,
    /// Requests that needed the callee in the undisturbed run.
    pub needed: u64,
    /// Share of them that are answered (as they should be, or by a fallback).
    pub answered: f64,
    /// Share of them that are answered within the bounds of the SLO.
    pub good: f64,
    /// The same in the undisturbed run.
    pub good_before: f64,
    /// 95th percentile of the latency of those that are answered, in seconds.
    pub latency_p95_s: Option<f64>,
    /// How busy the step's component is; none for a step that is no component.
    pub utilization: Option<f64>,
    /// Whether at most as many are lost as the SLO lets fail. None for `reject`, which is meant to lose them.
    pub passes: Option<bool>,
}

impl StressTest<'_> {
    /// Exercises each step of each fallback chain at some multiples of the load, under the luck of an undisturbed run;
    /// by link and step, in the order of the scenario. One replication each.
    pub fn fallbacks(&self, multiples: &[f64]) -> Vec<FallbackTest> {
        let links: Vec<(&String, &LinkConfig)> =
            self.loaded.scenario.links.iter().filter(|(_, link)| !link.fallback.is_empty()).collect();
        if links.is_empty() {
            return Vec::new();
        }
        let calm: Vec<(f64, RunResult)> = multiples
            .par_iter()
            .filter_map(|k| Some((*k, self.run_grown(&self.loaded.scenario, *k, Some(1), true).ok()?)))
            .collect();
        let steps =
            links.iter().flat_map(|(name, link)| (0..link.fallback.len()).map(move |s| (*name, *link, s)));
        let tests: Vec<_> = steps
            .flat_map(|(name, link, step)| calm.iter().map(move |(k, calm)| (name, link, step, *k, calm)))
            .collect();
        let test = |(name, link, step, k, calm): &(&String, &LinkConfig, usize, f64, &RunResult)| {
            self.fallback(name, link, *step, *k, calm)
        };
        tests.par_iter().filter_map(test).collect()
    }

    fn fallback(
        &self,
        name: &str,
        link: &LinkConfig,
        step: usize,
        k: f64,
        calm: &RunResult,
    ) -> Option<FallbackTest> {
        let calm = Journal::of(calm);
        let (_, callee) = link_ends(name)?;
        let place = calm.names.iter().position(|known| known == callee)?;
        let mut scenario = self.loaded.scenario.clone();
        let from = Time::new(SimDuration::from_nanos(calm.from.as_nanos()));
        let before = link.fallback[..step].iter().filter_map(called);
        for down in std::iter::once(callee).chain(before) {
            let outage = FaultConfig::new(from, down, FaultKind::Outage);
            scenario.fault.push(FaultConfig { fail_fast: true, ..outage });
        }
        let result = self.run_grown(&scenario, k, Some(1), true).ok()?;
        let target = &link.fallback[step];
        let utilization = called(target).and_then(|stand_in| {
            let components = result.component_averages();
            components.iter().find(|row| row.keys == [stand_in])?.mean("utilization")
        });
        let broken = Journal::of(&result);
        let needed: Vec<&RequestRecord> =
            calm.records.iter().filter(|record| record.reached.contains(place)).collect();
        let ends = broken.by_key();
        let served = needed.iter().filter_map(|record| ends.get(&record.key).copied());
        let (mut good, mut latencies) = (0u64, Vec::new());
        for record in served.filter(|record| matches!(record.outcome, Outcome::Ok | Outcome::Degraded)) {
            good += u64::from(record.good);
            latencies.push(record.ended.since(record.born).as_secs_f64());
        }
        latencies.sort_by(f64::total_cmp);
        let share = |part: u64| if needed.is_empty() { 0.0 } else { part as f64 / needed.len() as f64 };
        let rank = (0.95 * latencies.len() as f64).ceil() as usize;
        let good_before = share(needed.iter().filter(|record| record.good).count() as u64);
        let least = scenario.slo.error_rate.map_or(ANSWERED, |rate| 1.0 - rate.get());
        let refuses = matches!(target, FallbackStep::Reject);
        Some(FallbackTest {
            link: name.to_string(),
            step: words(target),
            multiple: k,
            needed: needed.len() as u64,
            answered: share(latencies.len() as u64),
            good: share(good),
            good_before,
            latency_p95_s: latencies.get(rank.saturating_sub(1)).copied(),
            utilization,
            passes: (!refuses).then(|| share(good) >= least * good_before),
        })
    }
}

fn called(step: &FallbackStep) -> Option<&str> {
    match step {
        FallbackStep::Call(name) => Some(name),
        _ => None,
    }
}

fn words(step: &FallbackStep) -> String {
    match step {
        FallbackStep::Call(name) => name.clone(),
        FallbackStep::Stale(_) => "stale".to_owned(),
        FallbackStep::Default => "default".to_owned(),
        FallbackStep::Reject => "reject".to_owned(),
    }
}
