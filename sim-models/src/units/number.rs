//! Plain numbers with a range.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::text::UnitError;

/// A share or a probability: a plain number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Probability(f64);

/// A plain number without a unit, from 0 and finite: a number of tokens, rows, steps.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Number(f64);

macro_rules! number {
    ($type:ident, $max:expr, $what:literal, $expected:literal, $schema:tt) => {
        impl $type {
            #[doc = concat!($what, ".")]
            ///
            /// # Errors
            #[doc = concat!("When it is not ", $expected, ".")]
            pub fn new(value: f64) -> Result<Self, UnitError> {
                if (0.0..=$max).contains(&value) {
                    // Adding zero turns -0 into 0.
                    return Ok(Self(value + 0.0));
                }
                let reason = if value < 0.0 {
                    "negative"
                } else if value > $max {
                    "too large"
                } else {
                    "not a number"
                };
                Err(UnitError { value: value.to_string(), what: $what, reason, expected: $expected })
            }

            /// The number.
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl FromStr for $type {
            type Err = UnitError;

            fn from_str(value: &str) -> Result<Self, UnitError> {
                let error = |_| UnitError {
                    value: value.chars().take(64).collect(),
                    what: $what,
                    reason: "not a number",
                    expected: $expected,
                };
                Self::new(value.parse().map_err(error)?)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $type {
            /// An integer where it is one, as a person would write it.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // Below 2^53 every integer is exact.
                if self.0 == self.0.floor() && self.0 < 9_007_199_254_740_992.0 {
                    serializer.serialize_i64(self.0 as i64)
                } else {
                    serializer.serialize_f64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct InRange;
                impl Visitor<'_> for InRange {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_f64<E: de::Error>(self, value: f64) -> Result<$type, E> {
                        $type::new(value).map_err(E::custom)
                    }
                    fn visit_i64<E: de::Error>(self, value: i64) -> Result<$type, E> {
                        self.visit_f64(value as f64)
                    }
                    fn visit_u64<E: de::Error>(self, value: u64) -> Result<$type, E> {
                        self.visit_f64(value as f64)
                    }
                }
                deserializer.deserialize_f64(InRange)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

number!(Probability, 1.0, "a probability", "a number from 0 to 1", {
    "type": "number", "minimum": 0, "maximum": 1, "description": "a probability or share: a number from 0 to 1"
});
number!(Number, f64::MAX, "a plain number", "a number from 0, without a unit", {
    "type": "number", "minimum": 0, "description": "a number from 0, without a unit"
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        assert_eq!(Probability::new(0.3).unwrap().get(), 0.3);
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = Probability::new(bad).unwrap_err().to_string();
            assert!(error.contains("a number from 0 to 1") && error.contains(&bad.to_string()), "{error}");
        }
        assert!(Number::new(f64::INFINITY).is_err());
        assert_eq!(Number::new(1e9).unwrap().get(), 1e9);
        assert!("x".parse::<Probability>().is_err());
        assert_eq!("0.25".parse::<Probability>().unwrap().to_string(), "0.25");
    }

    #[test]
    fn integers_and_floats_are_read() {
        #[derive(serde::Deserialize, Serialize)]
        struct File {
            p: Probability,
            n: Number,
        }
        let file: File = toml::from_str("p = 1\nn = 512").unwrap();
        assert_eq!((file.p.get(), file.n.get()), (1.0, 512.0));
        assert_eq!(toml::to_string(&file).unwrap(), "p = 1\nn = 512\n");
        let file: File = serde_json::from_str(r#"{"p": 0.5, "n": 1.5}"#).unwrap();
        assert_eq!(toml::to_string(&file).unwrap(), "p = 0.5\nn = 1.5\n");
        let error = toml::from_str::<File>("p = 30\nn = 1").err().unwrap();
        assert_eq!(error.span(), Some(4..6));
        assert!(error.message().contains("a number from 0 to 1"), "{error}");
        assert!(toml::from_str::<File>("p = nan\nn = 1").is_err());
        assert!(toml::from_str::<File>("p = 0\nn = \"12\"").is_err());
    }
}
