//! Rates.

use std::fmt;
use std::str::FromStr;

use super::text::{self, Text, UnitError};

/// How often something happens: `"12/s"`, `"600/min"`, `"3/h"`, `"1.5k/s"`. From 0, finite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Rate(f64);

const UNITS: [(f64, &str); 4] = [(1.0, "s"), (60.0, "min"), (3_600.0, "h"), (86_400.0, "d")];

impl Text for Rate {
    const WHAT: &'static str = "a rate";
    const EXPECTED: &'static str =
        "a rate such as \"12/s\": a number from 0, perhaps k or M, and a unit (/s, /min, /h, /d)";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? *[kM]?/(s|min|h|d)$";
    const EXAMPLE: &'static str = "12/s";
}

impl Rate {
    /// A rate per second.
    ///
    /// # Errors
    /// When it is negative, infinite or not a number.
    pub fn from_per_second(rate: f64) -> Result<Self, UnitError> {
        if rate < 0.0 {
            Err(Self::error(rate, text::NEGATIVE))
        } else if rate.is_finite() {
            // Adding zero turns -0 into 0.
            Ok(Self(rate + 0.0))
        } else {
            Err(Self::error(rate, "not finite"))
        }
    }

    /// How many a second.
    pub const fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(value: &str) -> Result<Self, UnitError> {
        let read = || {
            let (number, unit) = text::split(value)?;
            let (prefix, unit) = unit.split_once('/').ok_or(text::NO_UNIT)?;
            let scale = match prefix {
                "" => 1.0,
                "k" => 1e3,
                "M" => 1e6,
                _ => return Err(text::UNKNOWN_UNIT),
            };
            let (seconds, _) = UNITS.iter().find(|(_, name)| *name == unit).ok_or(text::UNKNOWN_UNIT)?;
            Ok(text::float(number)? * scale / seconds)
        };
        match read() {
            Ok(rate) => Self::from_per_second(rate).map_err(|_| Self::error(value, text::TOO_LARGE)),
            Err(reason) => Err(Self::error(value, reason)),
        }
    }
}

impl fmt::Display for Rate {
    /// The shortest form that reads back as the same rate, per second where that is as short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms = UNITS.iter().flat_map(|(seconds, unit)| {
            text::decimals(self.0 * seconds).map(|value| format!("{value}/{unit}"))
        });
        f.write_str(&text::shortest(forms, |form| form.parse::<Self>().is_ok_and(|back| back == *self)))
    }
}

text::as_text!(Rate);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_and_prefixes() {
        for (text, per_second, canonical) in [
            ("12/s", 12.0, "12/s"),
            ("600/min", 10.0, "10/s"),
            ("3/h", 3.0 / 3600.0, "3/h"),
            ("7/d", 7.0 / 86400.0, "7/d"),
            ("1.5k/s", 1500.0, "1500/s"),
            ("2M/min", 2e6 / 60.0, "2000000/min"),
            ("0/s", 0.0, "0/s"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.per_second(), per_second);
            assert_eq!(rate.to_string(), canonical);
        }
        for bad in ["12", "12s", "-1/s", "nan/s", "12/fortnight", "12G/s", "/s"] {
            let error = bad.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains("such as \"12/s\""), "{error}");
        }
        assert!(Rate::from_per_second(f64::NAN).is_err());
        assert!(Rate::from_per_second(-1.0).is_err());
    }

    proptest! {
        #[test]
        fn round_trips(value in prop::num::f64::POSITIVE | prop::num::f64::ZERO) {
            let rate = Rate::from_per_second(value.abs()).unwrap();
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Rate>();
        }
    }
}
