//! Durations.

use std::fmt;
use std::str::FromStr;

use sim_core::time::SimDuration;

use super::text::{self, Text, UnitError};

/// A length of time in a scenario file: `"250ms"`, `"1.5s"`, `"30m"`, `"2h"`, `"1d"`. Exact to the
/// nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(SimDuration);

/// Nanoseconds per unit, the largest first; an alias follows the canonical name.
const UNITS: [(u64, &str); 8] = [
    (86_400_000_000_000, "d"),
    (3_600_000_000_000, "h"),
    (60_000_000_000, "m"),
    (60_000_000_000, "min"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
];

impl Text for Time {
    const WHAT: &'static str = "a duration";
    const EXPECTED: &'static str = "a duration such as \"250ms\": a number from 0 and a unit (ns, us, ms, s, m, h, d), at most 584 years";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? *(ns|us|ms|s|m|min|h|d)$";
    const EXAMPLE: &'static str = "250ms";
}

impl Time {
    /// No time at all.
    pub const ZERO: Self = Self(SimDuration::ZERO);

    /// A duration as a value of a scenario file.
    pub const fn new(duration: SimDuration) -> Self {
        Self(duration)
    }

    /// The duration.
    pub const fn get(self) -> SimDuration {
        self.0
    }

    /// The duration in seconds, for statistics and distributions.
    pub fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl From<SimDuration> for Time {
    fn from(duration: SimDuration) -> Self {
        Self(duration)
    }
}

impl From<Time> for SimDuration {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(value: &str) -> Result<Self, UnitError> {
        let read = || {
            let (number, unit) = text::split(value)?;
            if unit.is_empty() {
                return Err(text::NO_UNIT);
            }
            let (nanos, _) = UNITS.iter().find(|(_, name)| *name == unit).ok_or(text::UNKNOWN_UNIT)?;
            match text::times(number, *nanos)? {
                (nanos, None) => Ok(Self(SimDuration::from_nanos(nanos))),
                _ => Err("finer than a nanosecond"),
            }
        };
        read().map_err(|reason| Self::error(value, reason))
    }
}

impl fmt::Display for Time {
    /// The largest unit that leaves no fraction: `250ms`, `90s`, `2h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        let whole = UNITS.iter().find(|(unit, _)| nanos.is_multiple_of(*unit));
        let (unit, name) = whole.expect("every length is a number of nanoseconds");
        write!(f, "{}{name}", nanos / unit)
    }
}

text::as_text!(Time);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_exact() {
        for (text, nanos) in [
            ("250ms", 250_000_000),
            ("0.1s", 100_000_000),
            ("1.5 s", 1_500_000_000),
            ("30m", 1_800_000_000_000),
            ("30min", 1_800_000_000_000),
            ("2h", 7_200_000_000_000),
            ("1d", 86_400_000_000_000),
            ("5us", 5_000),
            ("10ns", 10),
            ("0s", 0),
            ("0.000000001s", 1),
            ("18446744073.709551615s", u64::MAX),
        ] {
            assert_eq!(text.parse::<Time>().unwrap().get().as_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_told_what_is() {
        for (text, reason) in [
            ("250", "no unit"),
            ("-5ms", "negative"),
            ("NaN", "no number"),
            ("inf s", "no number"),
            ("", "no number"),
            ("s", "no number"),
            (".5s", "no number"),
            ("5.s", "no number"),
            ("1.2.3s", "no number"),
            ("1e3s", "unknown unit"),
            ("1h30m", "unknown unit"),
            ("5 parsecs", "unknown unit"),
            ("0.5ns", "finer than a nanosecond"),
            ("18446744073.709551616s", "too large"),
            ("99999999999999999999999999d", "too large"),
            ("0.0000000000000000001d", "more than 18 digits"),
        ] {
            let error = text.parse::<Time>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("such as \"250ms\""), "{text}: {error}");
        }
    }

    #[test]
    fn the_canonical_form_takes_the_largest_whole_unit() {
        for (text, canonical) in [
            ("1500ms", "1500ms"),
            ("60s", "1m"),
            ("120min", "2h"),
            ("36h", "36h"),
            ("0d", "0s"),
            ("1001ns", "1001ns"),
        ] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), canonical);
        }
    }

    proptest! {
        #[test]
        fn round_trips(nanos: u64) {
            let time = Time::new(SimDuration::from_nanos(nanos));
            prop_assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Time>();
        }
    }
}
