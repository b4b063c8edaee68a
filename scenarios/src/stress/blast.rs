//! Blast radius: each component fails in turn, and who is hit that did not need it.

use std::collections::BTreeMap;

use rayon::prelude::*;
use sim_core::time::{SimDuration, SimTime};
use sim_models::journal::RequestRecord;
use sim_models::system::config::{FaultConfig, FaultKind};
use sim_models::units::{Probability, Time, TimeDist};

use super::StressTest;
use crate::results::RunResult;
use crate::scenario::Scenario;

/// When a component fails, and for how long, as shares of the measured part of the run.
const FAILS_AT: f64 = 0.3;
/// See [`FAILS_AT`].
const FAILS_FOR: f64 = 0.1;

/// Share of those that did not need the component that may fail all the same (patterns: 1%).
const RADIUS: f64 = 0.01;

/// Share of the undisturbed goodput from which the system counts as recovered.
const RECOVERED: f64 = 0.95;

/// Requests of a bucket in which recovery is looked for, so that chance alone seldom takes a twentieth of them.
const BUCKET: f64 = 60.0;

/// Buckets in a row that must be recovered.
const IN_A_ROW: usize = 3;

/// How a component fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// All of it is down.
    Crash,
    /// Everything takes ten times as long.
    Slow,
    /// Half of its answers fail.
    Errors,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Crash, Self::Slow, Self::Errors];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "down",
            Self::Slow => "10x slower",
            Self::Errors => "half fail",
        }
    }

    fn fault(self, target: &str, at: SimDuration, repair: SimDuration) -> FaultConfig {
        let (kind, factor, share) = match self {
            Self::Crash => (FaultKind::Crash, None, None),
            Self::Slow => (FaultKind::Slow, Some(10.0), None),
            Self::Errors => (FaultKind::ErrorRate, None, Probability::new(0.5).ok()),
        };
        let fault = FaultConfig::new(Time::new(at), target, kind);
        FaultConfig { factor, share, repair: Some(TimeDist::Constant(Time::new(repair))), ..fault }
    }
}

/// Whether the system comes back after the repair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Recovery {
    /// Goodput was back after so many seconds.
    After(f64),
    /// It was not back when the run ended, so many seconds after the repair: it may keep itself down.
    NotWithin(f64),
}

/// What the failure of one component does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blast {
    /// How it fails.
    pub failure: Failure,
    /// Share of the requests born during the failure that are not good (answered within the bounds of the SLO), but were
    /// without it.
    pub hit: f64,
    /// The same of those that did not need the component; none where all did.
    pub hit_without_need: Option<f64>,
    /// Share of the requests that needed it.
    pub needed: f64,
    /// When goodput is back.
    pub recovery: Recovery,
}

impl Blast {
    /// Nobody is hit who did not need it, and the system comes back.
    pub fn passes(&self) -> bool {
        self.hit_without_need.is_none_or(|share| share <= RADIUS)
            && matches!(self.recovery, Recovery::After(_))
    }
}

impl StressTest<'_> {
    /// Fails each component in turn, in each way that it can fail, at a multiple of the load, under the luck of an
    /// undisturbed run; by component, in the order of the scenario. One replication.
    pub fn blast_radius(&self, k: f64) -> Vec<(String, Vec<Blast>)> {
        let scenario = &self.loaded.scenario;
        let Ok(calm) = self.run_grown(scenario, k, Some(1), true) else { return Vec::new() };
        let calm = Journal::of(&calm);
        let names: Vec<&String> = scenario.components.keys().collect();
        let blasts: Vec<(String, Vec<Blast>)> = names
            .par_iter()
            .map(|name| {
                let ways = Failure::ALL.par_iter().filter_map(|failure| self.fail(&calm, name, *failure, k));
                ((*name).clone(), ways.collect())
            })
            .collect();
        blasts.into_iter().filter(|(_, ways)| !ways.is_empty()).collect()
    }

    fn fail(&self, calm: &Journal, name: &str, failure: Failure, k: f64) -> Option<Blast> {
        let place = calm.names.iter().position(|known| known == name)?;
        let mut scenario: Scenario = self.loaded.scenario.clone();
        let measured = calm.until.since(calm.from).as_secs_f64();
        let at = calm.from.as_secs_f64() + FAILS_AT * measured;
        let [at, length] = [at, FAILS_FOR * measured].map(SimDuration::saturating_from_secs_f64);
        scenario.fault.push(failure.fault(name, at, length));
        let result = self.run_grown(&scenario, k, Some(1), true).ok()?;
        let broken = Journal::of(&result);
        let from = SimTime::ZERO.checked_add(at).ok()?;
        let to = from.checked_add(length).ok()?;
        Some(compare(calm, &broken, failure, place, from, to))
    }
}

/// What is known of every request of a run.
pub(super) struct Journal {
    pub names: Vec<String>,
    pub records: Vec<RequestRecord>,
    pub from: SimTime,
    until: SimTime,
}

impl Journal {
    pub(super) fn of(result: &RunResult) -> Self {
        let output = result.outputs.first();
        Self {
            names: output
                .iter()
                .flat_map(|output| output.components.iter().map(|c| c.name.clone()))
                .collect(),
            records: output.map(|output| output.journal.clone()).unwrap_or_default(),
            from: output.map_or(SimTime::ZERO, |output| output.measured_from),
            until: output.map_or(SimTime::ZERO, |output| output.arrivals_until),
        }
    }

    /// The requests by their number, which is the same in every compared run.
    pub(super) fn by_key(&self) -> BTreeMap<u64, &RequestRecord> {
        self.records.iter().map(|record| (record.key, record)).collect()
    }
}

fn compare(
    calm: &Journal,
    broken: &Journal,
    failure: Failure,
    place: usize,
    from: SimTime,
    to: SimTime,
) -> Blast {
    let ends = broken.by_key();
    let is_good = |record: &RequestRecord| ends.get(&record.key).is_some_and(|end| end.good);
    let (mut all, mut lost, mut needless, mut needless_lost) = (0u64, 0u64, 0u64, 0u64);
    let during = |record: &&RequestRecord| (from..to).contains(&record.born) && record.good;
    for record in calm.records.iter().filter(during) {
        let is_lost = !is_good(record);
        let needs = record.reached.contains(place);
        all += 1;
        lost += u64::from(is_lost);
        needless += u64::from(!needs);
        needless_lost += u64::from(!needs && is_lost);
    }
    let share = |part: u64, of: u64| if of > 0 { part as f64 / of as f64 } else { 0.0 };
    Blast {
        failure,
        hit: share(lost, all),
        hit_without_need: (needless > 0).then(|| share(needless_lost, needless)),
        needed: share(all - needless, all),
        recovery: recovery(calm, &ends, to),
    }
}

/// When as many requests are good again as without the failure.
fn recovery(calm: &Journal, ends: &BTreeMap<u64, &RequestRecord>, repaired: SimTime) -> Recovery {
    let rest = calm.until.since(repaired.min(calm.until)).as_secs_f64();
    let after: Vec<&RequestRecord> =
        calm.records.iter().filter(|record| record.born >= repaired && record.good).collect();
    let buckets = ((after.len() as f64 / BUCKET) as usize).clamp(1, 100);
    let width = rest / buckets as f64;
    let mut counts = vec![(0u64, 0u64); buckets];
    for record in after {
        let at = (record.born.since(repaired).as_secs_f64() / width) as usize;
        let (calm, broken) = &mut counts[at.min(buckets - 1)];
        *calm += 1;
        *broken += u64::from(ends.get(&record.key).is_some_and(|end| end.good));
    }
    let back: Vec<bool> =
        counts.iter().map(|(calm, broken)| *broken as f64 >= RECOVERED * *calm as f64).collect();
    let needed = IN_A_ROW.min(buckets);
    let found = (0..=buckets - needed).find(|start| back[*start..start + needed].iter().all(|back| *back));
    found.map_or(Recovery::NotWithin(rest), |bucket| Recovery::After(bucket as f64 * width))
}
