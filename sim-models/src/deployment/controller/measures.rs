//! What of rollouts is in results.

use sim_core::stats::TimeWeighted;
use sim_core::time::SimTime;

use super::{RolloutEntry, Rollouts};
use crate::measure::Measure;

/// What is remembered of a rollout.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) version: usize,
    pub(super) began: SimTime,
    pub(super) aborted: Option<SimTime>,
    pub(super) ended: Option<SimTime>,
    pub(super) ready: TimeWeighted,
    pub(super) ready_min: u64,
    pub(super) ready_mean: Option<f64>,
}

impl Rollouts {
    pub(crate) fn reset_measurements(&mut self, now: SimTime) {
        for version in &mut self.versions {
            (version.calls, version.bad) = (0, 0);
            version.replicas.reset(now);
        }
        self.killed = 0;
    }

    /// What happened, in order.
    pub(crate) fn log(&self) -> &[RolloutEntry] {
        &self.log
    }

    pub(crate) fn measures(&self, now: SimTime) -> Vec<Measure> {
        let mut list = Vec::new();
        for version in &self.versions {
            let of = |measure: Measure| measure.of(version.name.clone());
            list.extend([
                of(Measure::count("version_calls", version.calls, "Calls of a version that ended")),
                of(Measure::count(
                    "version_failed_calls",
                    version.bad,
                    "Calls that failed because of their version: by its errors, or lost in its crashes",
                )),
                of(Measure::new(
                    "version_replicas_mean",
                    version.replicas.mean(now),
                    "Replicas of a version, on average",
                )),
            ]);
        }
        for (number, record) in self.records.iter().enumerate() {
            let name = &self.versions[record.version].name;
            let again = self.records[..number].iter().filter(|other| other.version == record.version).count();
            let part = if again == 0 { name.clone() } else { format!("{name} ({})", again + 1) };
            let since = |from: SimTime, to: Option<SimTime>| to.map(|to| to.since(from).as_secs_f64());
            let taken_back = record.aborted.and_then(|aborted| since(aborted, record.ended));
            list.extend([
                Measure::known(
                    "rollout_s",
                    since(record.began, record.ended),
                    "Time of a rollout until all replicas are of one version again, the new one or that before",
                )
                .of(part.clone()),
                Measure::known(
                    "time_to_abort_s",
                    since(record.began, record.aborted),
                    "Time from the begin of a rollout until it is taken back; nothing where it is not",
                )
                .of(part.clone()),
                Measure::known("rollback_s", taken_back, "Time it takes to go back then").of(part.clone()),
                Measure::count(
                    "rollout_ready_min",
                    record.ready_min,
                    "The fewest replicas that were ready during a rollout",
                )
                .of(part.clone()),
                Measure::new(
                    "rollout_ready_mean",
                    record.ready_mean.unwrap_or_else(|| record.ready.mean(now)),
                    "Replicas that were ready during a rollout, on average",
                )
                .of(part),
            ]);
        }
        list.push(Measure::count(
            "killed_calls",
            self.killed,
            "Calls that failed as the grace period of their replica was over",
        ));
        list
    }
}
