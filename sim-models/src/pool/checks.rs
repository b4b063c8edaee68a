//! Active checks at work.

use sim_core::event::Phase;
use sim_core::time::{SimDuration, SimTime};

use super::health::{ActiveCheck, Pace};
use super::{Condition, timer};
use crate::context::Ctx;

/// The checks of one replica.
#[derive(Debug, Clone, Copy)]
struct Checked {
    /// When a check is due; while there is none underway, when one was, for those after it follow at the
    /// interval.
    due: SimTime,
    underway: bool,
    /// In a row.
    failures: u32,
    successes: u32,
    is_healthy: bool,
}

/// Active checks of all replicas.
///
/// A check of a replica that is up and known to be is not simulated, for it changes nothing: the events
/// begin where a replica's condition changes, at the instant that its next check would have come.
#[derive(Debug)]
pub(super) struct Checks {
    config: ActiveCheck,
    /// What is added to the kinds of timers.
    kinds: u16,
    replicas: Vec<Checked>,
}

impl Checks {
    /// `phase` gives each replica's share of the interval until its first check.
    pub(super) fn new(
        config: ActiveCheck,
        replicas: u32,
        kinds: u16,
        mut phase: impl FnMut(u32) -> f64,
    ) -> Self {
        let checked = |replica| {
            let wait = config.interval.get().as_nanos() as f64 * phase(replica);
            let due = SimTime::from_nanos(wait as u64);
            Checked { due, underway: false, failures: 0, successes: 0, is_healthy: true }
        };
        Self { config, kinds, replicas: (0..replicas).map(checked).collect() }
    }

    pub(super) fn is_healthy(&self, replica: usize) -> bool {
        self.replicas[replica].is_healthy
    }

    /// Another replica has taken its place, which is taken to be well.
    pub(super) fn forget(&mut self, replica: usize) {
        let checked = &mut self.replicas[replica];
        (checked.failures, checked.successes, checked.is_healthy) = (0, 0, true);
    }

    /// From now on checks of this replica matter.
    pub(super) fn wake(&mut self, replica: usize, ctx: &mut Ctx) {
        let checked = &mut self.replicas[replica];
        if checked.underway {
            return;
        }
        let now = ctx.now();
        if checked.due <= now {
            let interval = self.config.interval.get().as_nanos();
            let past = now.since(checked.due).as_nanos() / interval + 1;
            checked.due = later(checked.due, SimDuration::from_nanos(interval.saturating_mul(past)));
        }
        checked.underway = true;
        ctx.schedule_at(checked.due, Phase::Timer, timer::CHECK + self.kinds, replica as u64);
    }

    /// A check is due; its result, unless it is still out.
    pub(super) fn begin(&mut self, replica: usize, condition: Condition, ctx: &mut Ctx) -> Option<bool> {
        match condition {
            Condition::Up => Some(true),
            Condition::Crashed | Condition::Absent => Some(false),
            Condition::Hung => {
                let kind = timer::CHECK_TIMEOUT + self.kinds;
                ctx.schedule(self.config.timeout.get(), Phase::Timer, kind, replica as u64);
                None
            }
        }
    }

    /// A check has ended; whether that changes the replica's health.
    pub(super) fn ended(&mut self, replica: usize, passed: bool) -> bool {
        let checked = &mut self.replicas[replica];
        let healthy = checked.is_healthy;
        if passed {
            checked.failures = 0;
            checked.successes = checked.successes.saturating_add(1);
            checked.is_healthy |= checked.successes >= self.config.healthy_threshold;
        } else {
            checked.successes = 0;
            checked.failures = checked.failures.saturating_add(1);
            checked.is_healthy &= checked.failures < self.config.unhealthy_threshold;
        }
        checked.is_healthy != healthy
    }

    /// Schedules the next check; `matters`: whether it can change anything, apart from what checks have
    /// found themselves.
    pub(super) fn next(&mut self, replica: usize, matters: bool, ctx: &mut Ctx) {
        let checked = &mut self.replicas[replica];
        let from = match self.config.pace {
            Pace::FixedRate => checked.due,
            Pace::FixedDelay => ctx.now(),
        };
        checked.due = later(from, self.config.interval.get());
        checked.underway = matters || checked.failures > 0 || !checked.is_healthy;
        if checked.underway {
            // A timeout of a whole interval ends as the next check is due.
            ctx.schedule_at(
                checked.due.max(ctx.now()),
                Phase::Timer,
                timer::CHECK + self.kinds,
                replica as u64,
            );
        }
    }
}

fn later(from: SimTime, by: SimDuration) -> SimTime {
    from.checked_add(by).unwrap_or(SimTime::MAX)
}
