//! A number of replicas, or a share of them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A number of replicas (`3`), or a share of them (`"25%"`): Kubernetes' `IntOrString`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOrPercent {
    /// So many.
    Int(u32),
    /// So many of a hundred.
    Percent(u32),
}

const EXPECTED: &str = "a number of replicas such as 3, or a share of them such as \"25%\"";

impl IntOrPercent {
    /// How many of `total` that is, a share rounded up.
    pub(super) fn up(self, total: u32) -> u32 {
        self.of(total, true)
    }

    /// How many of `total` that is, a share rounded down.
    pub(super) fn down(self, total: u32) -> u32 {
        self.of(total, false)
    }

    fn of(self, total: u32, up: bool) -> u32 {
        match self {
            Self::Int(count) => count,
            Self::Percent(percent) => {
                let hundredfold = u64::from(total) * u64::from(percent);
                let count = if up { hundredfold.div_ceil(100) } else { hundredfold / 100 };
                u32::try_from(count).unwrap_or(u32::MAX)
            }
        }
    }
}

impl fmt::Display for IntOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for IntOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(count) => serializer.serialize_u32(*count),
            Self::Percent(_) => serializer.serialize_str(&self.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrPercent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<IntOrPercent, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Signed(value), &self);
                u32::try_from(value).map(IntOrPercent::Int).map_err(wrong)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<IntOrPercent, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Unsigned(value), &self);
                u32::try_from(value).map(IntOrPercent::Int).map_err(wrong)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<IntOrPercent, E> {
                let percent = value.strip_suffix('%').and_then(|number| number.trim().parse().ok());
                percent
                    .map(IntOrPercent::Percent)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for IntOrPercent {
    fn schema_name() -> Cow<'static, str> {
        "IntOrPercent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": EXPECTED,
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+%$" }],
        })
    }
}
