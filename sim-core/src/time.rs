//! Simulated time: integer nanoseconds, no floats, overflow is an error.
//!
//! ```
//! use sim_core::time::{SimDuration, SimTime};
//! let start = SimTime::ZERO;
//! let later = start.checked_add(SimDuration::from_millis(250)).unwrap();
//! assert_eq!(later.since(start), SimDuration::from_nanos(250_000_000));
//! assert_eq!(format!("{later}"), "250ms");
//! ```

use std::fmt;

use thiserror::Error;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A duration or an instant that does not fit into 64 bits of nanoseconds (584 years).
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum TimeError {
    /// The sum of an instant and a duration is past the end of time.
    #[error("simulated time overflows: {at} + {delay} is past the end of time (584 years)")]
    Overflow {
        /// The instant added to.
        at: SimTime,
        /// What was added.
        delay: SimDuration,
    },
    /// A number of seconds that is negative, not a number, or too large.
    #[error("{0} seconds is not a duration: expected a number from 0 to 1.8e10")]
    NotADuration(f64),
}

/// An instant of simulated time, in nanoseconds since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimTime(u64);

/// A length of simulated time, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimDuration(u64);

impl SimTime {
    /// The start of the run.
    pub const ZERO: Self = Self(0);
    /// The end of time.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the start.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the run.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the start of the run, for display and statistics only.
    pub fn as_secs_f64(self) -> f64 {
        SimDuration(self.0).as_secs_f64()
    }

    /// This instant plus `delay`.
    ///
    /// # Errors
    /// [`TimeError::Overflow`] when the sum does not fit.
    #[inline]
    pub fn checked_add(self, delay: SimDuration) -> Result<Self, TimeError> {
        match self.0.checked_add(delay.0) {
            Some(nanos) => Ok(Self(nanos)),
            None => Err(TimeError::Overflow { at: self, delay }),
        }
    }

    /// The time from `earlier` to this instant.
    ///
    /// # Panics
    /// When `earlier` is later: causality is broken, which is a bug in a model.
    #[inline]
    pub fn since(self, earlier: SimTime) -> SimDuration {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => SimDuration(nanos),
            None => panic!("time runs backwards: {earlier} is later than {self}"),
        }
    }
}

impl SimDuration {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest duration.
    pub const MAX: Self = Self(u64::MAX);

    /// `nanos` nanoseconds.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `micros` microseconds. For constants of a model; what a user gives goes through
    /// [`SimDuration::from_secs_f64`].
    ///
    /// # Panics
    /// Beyond 584 years.
    pub const fn from_micros(micros: u64) -> Self {
        Self::of(micros, 1_000)
    }

    /// `millis` milliseconds, for constants as [`SimDuration::from_micros`].
    ///
    /// # Panics
    /// Beyond 584 years.
    pub const fn from_millis(millis: u64) -> Self {
        Self::of(millis, 1_000_000)
    }

    /// `secs` seconds, for constants as [`SimDuration::from_micros`].
    ///
    /// # Panics
    /// Beyond 584 years.
    pub const fn from_secs(secs: u64) -> Self {
        Self::of(secs, NANOS_PER_SEC)
    }

    /// Never wraps, whatever the build profile.
    const fn of(count: u64, unit: u64) -> Self {
        match count.checked_mul(unit) {
            Some(nanos) => Self(nanos),
            None => panic!("a duration is longer than 584 years"),
        }
    }

    /// `secs` seconds, rounded to the nearest nanosecond.
    ///
    /// # Errors
    /// [`TimeError::NotADuration`] when `secs` is negative, not finite or beyond 584 years.
    pub fn from_secs_f64(secs: f64) -> Result<Self, TimeError> {
        let nanos = secs * NANOS_PER_SEC as f64;
        // 2^64 is exact as f64; u64::MAX is not. What is just below 0 rounds to it.
        if nanos > -0.5 && nanos < 18_446_744_073_709_551_616.0 {
            let whole = nanos as u64;
            // `round` is a call on processors without the instruction. The fraction is exact.
            Ok(Self(whole + u64::from(nanos - whole as f64 >= 0.5)))
        } else {
            Err(TimeError::NotADuration(secs))
        }
    }

    /// `secs` seconds of a random draw: rounded to the nearest nanosecond, negative draws and NaN are
    /// zero and draws past the end of time are the end of time.
    #[inline]
    pub fn saturating_from_secs_f64(secs: f64) -> Self {
        // The cast cuts off; `round` is a call on processors without the instruction.
        Self((secs * NANOS_PER_SEC as f64 + 0.5) as u64)
    }

    /// Length in nanoseconds.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Length in seconds, for display and statistics only.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// The sum, or `None` when it does not fit.
    #[inline]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum, at most [`SimDuration::MAX`].
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether this is no time at all.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// The largest unit that leaves no fraction: `250ms`, `90s`, `1500ns`.
fn write_nanos(nanos: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const UNITS: [(u64, &str); 3] = [(NANOS_PER_SEC, "s"), (1_000_000, "ms"), (1_000, "us")];
    match UNITS.iter().find(|(unit, _)| nanos.is_multiple_of(*unit)) {
        Some((unit, name)) => write!(f, "{}{name}", nanos / unit),
        None => write!(f, "{nanos}ns"),
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nanos(self.0, f)
    }
}

impl fmt::Display for SimDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nanos(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_an_error() {
        let end = SimTime::MAX;
        assert_eq!(end.checked_add(SimDuration::ZERO), Ok(end));
        assert!(matches!(end.checked_add(SimDuration::from_nanos(1)), Err(TimeError::Overflow { .. })));
    }

    #[test]
    fn seconds_round_to_the_nearest_nanosecond() {
        assert_eq!(SimDuration::from_secs_f64(1.5e-9), Ok(SimDuration::from_nanos(2)));
        assert_eq!(SimDuration::from_secs_f64(0.1), Ok(SimDuration::from_millis(100)));
        for i in 0..64 {
            for nanos in [0.5, 0.49999999999999994, 1.5, 2.5 - 4e-16, 4_503_599_627_370_497.0] {
                let secs = nanos * (1u64 << i) as f64 / 1e9;
                let rounded = (secs * 1e9).round();
                let result = SimDuration::from_secs_f64(secs).map(|duration| duration.as_nanos() as f64);
                assert_eq!(
                    result.ok(),
                    (rounded < 18_446_744_073_709_551_616.0).then_some(rounded),
                    "{secs}"
                );
            }
        }
        assert_eq!(SimDuration::from_secs_f64(-0.4e-9), Ok(SimDuration::ZERO));
        for bad in [-1.0, -0.6e-9, f64::NAN, f64::INFINITY, 2e10] {
            assert!(SimDuration::from_secs_f64(bad).is_err(), "{bad}");
        }
        assert_eq!(SimDuration::saturating_from_secs_f64(-1.0), SimDuration::ZERO);
        assert_eq!(SimDuration::saturating_from_secs_f64(1e300), SimDuration::MAX);
        assert_eq!(SimDuration::saturating_from_secs_f64(f64::NAN), SimDuration::ZERO);
    }

    #[test]
    #[should_panic(expected = "longer than 584 years")]
    fn units_do_not_wrap() {
        SimDuration::from_secs(u64::MAX / NANOS_PER_SEC + 1);
    }

    #[test]
    #[should_panic(expected = "time runs backwards")]
    fn causality_is_checked() {
        SimTime::ZERO.since(SimTime::from_nanos(1));
    }
}
