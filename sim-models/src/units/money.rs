//! Money and prices, in US dollars.

use std::fmt;
use std::str::FromStr;

use super::text::{self, Text, UnitError};

/// Hours in a month of a price: 8,760 h a year over 12 months, the convention of the large clouds'
/// price pages.
pub const HOURS_PER_MONTH: f64 = 730.0;

/// An amount of US dollars, from 0: `"$80k"`, `"$4"`, `"$2.5M"`, `"$0.002"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Money(f64);

/// A price in US dollars an hour: `"$2.50/h"`, or a month of [`HOURS_PER_MONTH`]: `"$100/mo"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct HourlyPrice(f64);

/// A price in US dollars per million tokens: `"$2.50/Mtok"`, or per thousand: `"$0.0025/ktok"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct TokenPrice(f64);

/// `$80k` and what follows.
fn dollars(text: &str) -> Result<(f64, &str), &'static str> {
    let text = text.strip_prefix('$').ok_or("no $ in front")?;
    let (number, unit) = text::split(text)?;
    let (scale, rest) = match unit.as_bytes().first() {
        Some(b'k') => (1e3, &unit[1..]),
        Some(b'M') => (1e6, &unit[1..]),
        Some(b'B') => (1e9, &unit[1..]),
        _ => (1.0, unit),
    };
    Ok((text::float(number)? * scale, rest))
}

/// Plain and with every suffix.
fn forms(dollars: f64, unit: &'static str) -> impl Iterator<Item = String> {
    [("", 1.0), ("k", 1e3), ("M", 1e6), ("B", 1e9)].into_iter().flat_map(move |(suffix, scale)| {
        text::decimals(dollars / scale).map(|value| format!("${value}{suffix}{unit}"))
    })
}

/// One type of price: its units, each worth how many of the canonical one.
macro_rules! price {
    ($type:ident, $from:ident, $get:ident, $doc:literal, [$(($unit:literal, $per:expr)),+]) => {
        impl $type {
            #[doc = concat!("A price of `dollars` ", $doc, ".")]
            ///
            /// # Errors
            /// When it is negative, infinite or not a number.
            pub fn $from(dollars: f64) -> Result<Self, UnitError> {
                if dollars < 0.0 {
                    Err(Self::error(dollars, text::NEGATIVE))
                } else if dollars.is_finite() {
                    // Adding zero turns -0 into 0.
                    Ok(Self(dollars + 0.0))
                } else {
                    Err(Self::error(dollars, "not finite"))
                }
            }

            #[doc = concat!("US dollars ", $doc, ".")]
            pub const fn $get(self) -> f64 {
                self.0
            }
        }

        impl FromStr for $type {
            type Err = UnitError;

            fn from_str(value: &str) -> Result<Self, UnitError> {
                let read = || {
                    let (dollars, rest) = dollars(value)?;
                    let reason = if rest.is_empty() { text::NO_UNIT } else { text::UNKNOWN_UNIT };
                    let units = [$(($unit, $per)),+];
                    let (_, per) = units.iter().find(|(unit, _)| *unit == rest).ok_or(reason)?;
                    Ok(dollars / per)
                };
                match read() {
                    Ok(dollars) => Self::$from(dollars).map_err(|_| Self::error(value, text::TOO_LARGE)),
                    Err(reason) => Err(Self::error(value, reason)),
                }
            }
        }

        impl fmt::Display for $type {
            /// The shortest form that reads back as the same amount.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let forms = [$(forms(self.0 * $per, $unit)),+].into_iter().flatten();
                f.write_str(&text::shortest(forms, |form| form.parse::<Self>().is_ok_and(|back| back == *self)))
            }
        }

        text::as_text!($type);
    };
}

impl Text for Money {
    const WHAT: &'static str = "an amount of money";
    const EXPECTED: &'static str =
        "US dollars such as \"$80k\": a number from 0 after the $, perhaps k, M or B behind it";
    const PATTERN: &'static str = r"^\$[0-9]+(\.[0-9]+)? *[kMB]?$";
    const EXAMPLE: &'static str = "$80k";
}

impl Text for HourlyPrice {
    const WHAT: &'static str = "a price of time";
    const EXPECTED: &'static str =
        "US dollars by time such as \"$2.50/h\": a number from 0 after the $ and /h or /mo (730 h)";
    const PATTERN: &'static str = r"^\$[0-9]+(\.[0-9]+)? *[kMB]?/(h|mo)$";
    const EXAMPLE: &'static str = "$2.50/h";
}

impl Text for TokenPrice {
    const WHAT: &'static str = "a price of tokens";
    const EXPECTED: &'static str =
        "US dollars by tokens such as \"$2.50/Mtok\": a number from 0 after the $ and /Mtok or /ktok";
    const PATTERN: &'static str = r"^\$[0-9]+(\.[0-9]+)? *[kMB]?/(Mtok|ktok)$";
    const EXAMPLE: &'static str = "$2.50/Mtok";
}

price!(Money, from_dollars, dollars, "in all", [("", 1.0)]);
price!(HourlyPrice, from_per_hour, per_hour, "an hour", [("/h", 1.0), ("/mo", HOURS_PER_MONTH)]);
price!(TokenPrice, from_per_million, per_million, "per million tokens", [("/Mtok", 1.0), ("/ktok", 1e-3)]);

impl HourlyPrice {
    /// US dollars a month of [`HOURS_PER_MONTH`].
    pub fn per_month(self) -> f64 {
        self.0 * HOURS_PER_MONTH
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money() {
        for (text, dollars, canonical) in [
            ("$80k", 80e3, "$80k"),
            ("$4", 4.0, "$4"),
            ("$2.5M", 2.5e6, "$2.5M"),
            ("$0.002", 0.002, "$0.002"),
            ("$0", 0.0, "$0"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!(money.dollars(), dollars);
            assert_eq!(money.to_string(), canonical);
        }
        for bad in ["80k", "$-4", "-$4", "$", "$NaN", "$4/h", "$80,000", "4 EUR"] {
            let error = bad.parse::<Money>().unwrap_err().to_string();
            assert!(error.contains("such as \"$80k\""), "{error}");
        }
    }

    #[test]
    fn prices() {
        let hour: HourlyPrice = "$2.50/h".parse().unwrap();
        assert_eq!((hour.per_hour(), hour.per_month()), (2.5, 1825.0));
        assert_eq!(hour.to_string(), "$2.5/h");
        let month: HourlyPrice = "$100/mo".parse().unwrap();
        assert_eq!(month.per_hour(), 100.0 / 730.0);
        assert_eq!(month.to_string(), "$100/mo");
        assert!("$2.50".parse::<HourlyPrice>().unwrap_err().to_string().contains("no unit"));
        let tokens: TokenPrice = "$2.50/Mtok".parse().unwrap();
        assert_eq!(tokens, "$0.0025/ktok".parse().unwrap());
        assert_eq!((tokens.per_million(), tokens.to_string().as_str()), (2.5, "$2.5/Mtok"));
        assert!("$2.50/h".parse::<TokenPrice>().is_err());
    }

    proptest! {
        #[test]
        fn round_trip(dollars in prop::num::f64::POSITIVE | prop::num::f64::ZERO) {
            let dollars = dollars.abs();
            let money = Money::from_dollars(dollars).unwrap();
            prop_assert_eq!(money.to_string().parse::<Money>().unwrap(), money);
            let hour = HourlyPrice::from_per_hour(dollars).unwrap();
            prop_assert_eq!(hour.to_string().parse::<HourlyPrice>().unwrap(), hour);
            let tokens = TokenPrice::from_per_million(dollars).unwrap();
            prop_assert_eq!(tokens.to_string().parse::<TokenPrice>().unwrap(), tokens);
        }

        #[test]
        fn no_text_panics(text in ".*", price in "\\$.*") {
            for text in [text, price] {
                let _ = (text.parse::<Money>(), text.parse::<HourlyPrice>(), text.parse::<TokenPrice>());
            }
        }
    }
}
