//! Replicas by the clock: so many from here on, so many from there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::units::Time;

/// From when on how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From the beginning of a period.
    pub from: Time,
    /// How many.
    pub replicas: u32,
}

/// Replicas by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// After this it begins again. Default: a day.
    #[serde(default = "day")]
    pub period: Time,
    /// What holds from when on, in order; before the first, what holds at the end of the period.
    pub entries: Vec<Entry>,
}

fn day() -> Time {
    Time::new(SimDuration::from_secs(86_400))
}

impl Schedule {
    /// As many all the time.
    pub(super) fn always(replicas: u32) -> Self {
        Self { period: day(), entries: vec![Entry { from: Time::ZERO, replicas }] }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let in_order = self.entries.windows(2).all(|pair| pair[0].from < pair[1].from);
        if self.entries.is_empty() || !in_order {
            return Err(ConfigError::new(["entries"], "the schedule has no order")
                .help("expected at least one entry, and each `from` later than the one before"));
        }
        let last = self.entries.last().map_or(Time::ZERO, |entry| entry.from);
        if self.period <= last {
            return Err(ConfigError::new(["period"], format!("period is {}", self.period))
                .help("expected a time after the last `from`"));
        }
        Ok(())
    }

    /// How many at an instant.
    pub(super) fn replicas(&self, now: SimTime) -> u32 {
        let within = SimDuration::from_nanos(now.as_nanos() % self.period.get().as_nanos());
        let begun = self.entries.iter().rev().find(|entry| entry.from.get() <= within);
        begun.or(self.entries.last()).map_or(0, |entry| entry.replicas)
    }

    /// When the number next changes.
    pub(super) fn next(&self, now: SimTime) -> SimTime {
        let period = self.period.get().as_nanos();
        let (start, within) = (now.as_nanos() / period * period, now.as_nanos() % period);
        let next = self.entries.iter().map(|entry| entry.from.get().as_nanos()).find(|from| *from > within);
        let first = self.entries.first().map_or(0, |entry| entry.from.get().as_nanos());
        SimTime::from_nanos(start + next.unwrap_or(period + first))
    }

    /// The most there ever are.
    pub(super) fn most(&self) -> u32 {
        self.entries.iter().map(|entry| entry.replicas).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_and_night() {
        let hours = |hours: u64| Time::new(SimDuration::from_secs(3600 * hours));
        let entry = |from, replicas| Entry { from: hours(from), replicas };
        let schedule = Schedule { period: day(), entries: vec![entry(8, 10), entry(20, 2)] };
        assert!(schedule.check().is_ok());
        let at = |h: u64| SimTime::from_nanos(3_600_000_000_000 * h);
        for (hour, replicas, next) in
            [(0, 2, 8), (8, 10, 20), (19, 10, 20), (20, 2, 32), (31, 2, 32), (32, 10, 44)]
        {
            assert_eq!(
                (schedule.replicas(at(hour)), schedule.next(at(hour))),
                (replicas, at(next)),
                "{hour}"
            );
        }
        assert_eq!(schedule.most(), 10);
        let wrong = |period, entries| Schedule { period, entries }.check().unwrap_err().path.join(".");
        assert_eq!(wrong(day(), vec![]), "entries");
        assert_eq!(wrong(day(), vec![entry(8, 1), entry(8, 2)]), "entries");
        assert_eq!(wrong(hours(8), vec![entry(8, 1)]), "period");
    }
}
