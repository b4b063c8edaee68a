//! The clock of an engine.
//!
//! Steps last whole ticks of *work*, 1/1024 ns each, whatever the pace. The clock says which tick of *wall*
//! time a tick of work falls on: at full pace one takes the other, and a slowed engine needs `p / 2^20` ticks
//! of wall time for each of work. A change of pace at any nanosecond starts a new straight line: the work
//! done until then is rounded down, and from there on a tick of work ends at the first whole tick of wall
//! time that is not before it. So a change in mid-step stretches what is left of the step, the engine's own
//! arithmetic stays in ticks of work, and nothing depends on how many steps are taken at once.

use sim_core::time::SimTime;

use crate::hardware::timing::{TICKS_PER_NANO, nanos_ceil};

/// Binary digits behind the point of a pace.
const DIGITS: u32 = 20;

/// How much longer than at full pace work takes: a rational number with the denominator 2^20.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace(u64);

impl Pace {
    /// Work takes the time that the step function says.
    pub const FULL: Self = Self(1 << DIGITS);

    /// Work takes `factor` times as long, to the nearest 2^-20; at least 2^-20 and at most 2^20 times.
    pub fn slowed(factor: f64) -> Self {
        let scaled = (factor * f64::from(1u32 << DIGITS)).round();
        Self((scaled as u64).clamp(1, 1 << (2 * DIGITS)))
    }
}

/// Ticks since the engine last began to work after it had been idle.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    epoch: SimTime,
    pace: Pace,
    /// Where the present line begins.
    wall: u64,
    work: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { epoch: SimTime::ZERO, pace: Pace::FULL, wall: 0, work: 0 }
    }

    /// An engine begins to work at `now`: the ticks of work and of wall time at which that is. They count from
    /// now unless sequences waited while it was idle.
    pub(super) fn begin(&mut self, now: SimTime, waited: bool) -> (u64, u64) {
        if waited {
            self.set_pace(now, self.pace);
        } else {
            (self.epoch, self.wall, self.work) = (now, 0, 0);
        }
        (self.work, self.wall)
    }

    /// The pace is another from `now` on.
    pub(super) fn set_pace(&mut self, now: SimTime, pace: Pace) {
        let wall = self.ticks(now);
        (self.work, self.wall, self.pace) = (self.work_at(wall), wall, pace);
    }

    /// Whether ticks of work and of wall time are the same length.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.pace == Pace::FULL
    }

    /// Whether a tick of work fell on a tick of wall time, and they have kept the same distance since.
    #[inline]
    pub(super) fn along(&self, work: u64, wall: u64) -> bool {
        self.is_full() && work >= self.work && wall.checked_sub(self.wall) == Some(work - self.work)
    }

    /// Wall ticks at `now`; after 208 days the last that can be counted.
    #[inline]
    pub(super) fn ticks(&self, now: SimTime) -> u64 {
        now.as_nanos().saturating_sub(self.epoch.as_nanos()).saturating_mul(TICKS_PER_NANO)
    }

    /// The first wall tick at which `work` is done, none beyond 208 days. The work must not have been done
    /// when the pace last changed.
    #[inline]
    pub(super) fn wall_at(&self, work: u64) -> Option<u64> {
        let work = work - self.work;
        if self.is_full() {
            return self.wall.checked_add(work);
        }
        let scaled = u128::from(work) * u128::from(self.pace.0);
        self.wall.checked_add(u64::try_from(scaled.div_ceil(1 << DIGITS)).ok()?)
    }

    /// The work done at a wall tick: the last with `wall_at(work) <= wall`.
    #[inline]
    pub(super) fn work_at(&self, wall: u64) -> u64 {
        let wall = wall - self.wall;
        if self.is_full() {
            return self.work.saturating_add(wall);
        }
        let scaled = (u128::from(wall) << DIGITS) / u128::from(self.pace.0);
        self.work.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    /// The first whole nanosecond that is not before a wall tick; none if beyond all time.
    #[inline]
    pub(super) fn instant(&self, wall: u64) -> Option<SimTime> {
        self.epoch.checked_add(nanos_ceil(wall)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn work_and_wall_are_each_others_inverse(
            changes in prop::collection::vec((0u64..1_000_000, 0.01f64..20.0), 0..6),
            work in 0u64..10_000_000_000, wall in 0u64..10_000_000_000,
        ) {
            let mut clock = Clock::new();
            let mut now = SimTime::ZERO;
            for (gap, factor) in changes {
                now = SimTime::from_nanos(now.as_nanos() + gap);
                clock.set_pace(now, Pace::slowed(factor));
            }
            let work = clock.work + work;
            let at = clock.wall_at(work).unwrap();
            prop_assert!(clock.work_at(at) >= work);
            prop_assert!(at == clock.wall || clock.work_at(at - 1) < work);
            let wall = clock.wall + wall;
            let done = clock.work_at(wall);
            prop_assert!(clock.wall_at(done).unwrap() <= wall && clock.wall_at(done + 1).unwrap() > wall);
        }
    }

    #[test]
    fn a_change_in_the_middle_stretches_the_rest() {
        let mut clock = Clock::new();
        clock.begin(SimTime::from_nanos(1_000), false);
        clock.set_pace(SimTime::from_nanos(1_004), Pace::slowed(3.0));
        assert_eq!(clock.wall_at(10 * 1024), Some((4 + 3 * 6) * 1024));
        clock.set_pace(SimTime::from_nanos(1_013), Pace::FULL);
        assert_eq!(clock.wall_at(10 * 1024), Some((4 + 9 + 3) * 1024));
        assert_eq!(clock.instant(16 * 1024), Some(SimTime::from_nanos(1_016)));
        assert_eq!(Pace::slowed(0.0), Pace(1));
        assert_eq!(Pace::slowed(1.0), Pace::FULL);
    }
}
