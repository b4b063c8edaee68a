//! Time averages of integer levels.

use crate::time::SimTime;

/// The time-weighted average of an integer level: a queue's length, busy servers, bytes in use.
///
/// The integral is kept in level x nanoseconds as a 128-bit integer, which cannot overflow: Little's
/// law (the integral of the number in system is the sum of times in system) holds as an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeWeighted {
    start: SimTime,
    last: SimTime,
    level: u64,
    max: u64,
    integral: u128,
}

impl TimeWeighted {
    /// Measures from `now` on, at `level`.
    pub fn new(now: SimTime, level: u64) -> Self {
        Self { start: now, last: now, level, max: level, integral: 0 }
    }

    /// The level is `level` from `now` on.
    ///
    /// # Panics
    /// When `now` is before the last change.
    #[inline]
    pub fn set(&mut self, now: SimTime, level: u64) {
        let held = now.since(self.last);
        // The integral can wait for the next change: it is the same in two parts.
        if level == self.level {
            return;
        }
        self.integral += u128::from(self.level) * u128::from(held.as_nanos());
        self.last = now;
        self.level = level;
        self.max = self.max.max(level);
    }

    /// The level changes by `delta` at `now`.
    ///
    /// # Panics
    /// When `now` is before the last change, or the level falls below zero or out of 64 bits: the
    /// model has lost count.
    #[inline]
    pub fn add(&mut self, now: SimTime, delta: i64) {
        self.set(now, changed(self.level, delta));
    }

    /// The level now.
    pub fn level(&self) -> u64 {
        self.level
    }

    /// The highest level since the start of measurement, however briefly held.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The integral of the level from the start of measurement to `now`, in level x nanoseconds.
    ///
    /// # Panics
    /// When `now` is before the last change.
    #[inline]
    pub fn integral(&self, now: SimTime) -> u128 {
        self.integral + u128::from(self.level) * u128::from(now.since(self.last).as_nanos())
    }

    /// The average level from the start of measurement to `now`; the level itself when no time has
    /// passed.
    ///
    /// # Panics
    /// When `now` is before the last change.
    pub fn mean(&self, now: SimTime) -> f64 {
        let integral = self.integral(now);
        let elapsed = now.since(self.start);
        if elapsed.is_zero() { self.level as f64 } else { integral as f64 / elapsed.as_nanos() as f64 }
    }

    /// Measurement starts anew at `now`, as at the end of the warm-up; the level stays.
    ///
    /// # Panics
    /// When `now` is before the last change.
    pub fn reset(&mut self, now: SimTime) {
        // `since` refuses to go back in time.
        now.since(self.last);
        *self = Self::new(now, self.level);
    }
}

/// `level` plus `delta`.
///
/// # Panics
/// When that is not a level.
#[inline]
pub(super) fn changed(level: u64, delta: i64) -> u64 {
    match level.checked_add_signed(delta) {
        Some(level) => level,
        None => panic!("a level of {level} cannot change by {delta}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: fn(u64) -> SimTime = SimTime::from_nanos;

    #[test]
    fn nothing_overflows() {
        let mut full = TimeWeighted::new(SimTime::ZERO, u64::MAX);
        assert_eq!(full.integral(SimTime::MAX), u128::from(u64::MAX) * u128::from(u64::MAX));
        full.set(SimTime::MAX, 0);
        assert_eq!(full.mean(SimTime::MAX), u64::MAX as f64);
    }

    #[test]
    fn a_reset_keeps_the_level() {
        let mut level = TimeWeighted::new(AT(0), 9);
        level.set(AT(5), 2);
        level.reset(AT(10));
        assert_eq!((level.level(), level.max(), level.integral(AT(10))), (2, 2, 0));
        assert_eq!((level.mean(AT(10)), level.mean(AT(30)), level.integral(AT(30))), (2.0, 2.0, 40));
    }

    #[test]
    #[should_panic(expected = "a level of 1 cannot change by -2")]
    fn a_level_below_zero_is_a_bug() {
        TimeWeighted::new(AT(0), 1).add(AT(1), -2);
    }

    #[test]
    #[should_panic(expected = "time runs backwards")]
    fn a_reset_into_the_past_is_a_bug() {
        TimeWeighted::new(AT(5), 1).reset(AT(4));
    }

    proptest! {
        #[test]
        fn the_integral_is_the_sum_over_every_nanosecond(
            changes in prop::collection::vec((0u64..20, 0u64..9), 0..40),
            tail in 0u64..20,
        ) {
            let mut level = TimeWeighted::new(AT(100), 3);
            let mut naive = Vec::new();
            let mut held = 3;
            let mut now = 100;
            for (gap, next) in changes {
                naive.extend(std::iter::repeat_n(held, gap as usize));
                now += gap;
                level.add(AT(now), next as i64 - held as i64);
                held = next;
            }
            naive.extend(std::iter::repeat_n(held, tail as usize));
            now += tail;
            let sum: u64 = naive.iter().sum();
            prop_assert_eq!(level.integral(AT(now)), u128::from(sum));
            if !naive.is_empty() {
                prop_assert_eq!(level.mean(AT(now)), sum as f64 / naive.len() as f64);
            }
            prop_assert!(naive.iter().all(|held| *held <= level.max()));
        }

        #[test]
        fn little_holds_as_an_identity(visits in prop::collection::vec((0u64..1 << 50, 0u64..1 << 50), 1..60)) {
            let mut events: Vec<(u64, i64)> =
                visits.iter().flat_map(|(at, stay)| [(*at, 1), (at + stay, -1)]).collect();
            events.sort_unstable_by_key(|(at, delta)| (*at, -delta));
            let mut in_system = TimeWeighted::new(AT(0), 0);
            for (at, delta) in &events {
                in_system.add(AT(*at), *delta);
            }
            let stays: u128 = visits.iter().map(|(_, stay)| u128::from(*stay)).sum();
            prop_assert_eq!(in_system.integral(AT(1 << 60)), stays);
            prop_assert_eq!(in_system.level(), 0);
        }
    }
}
