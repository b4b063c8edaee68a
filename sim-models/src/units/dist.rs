//! Distributions in scenario files.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use super::{Number, Time};

/// A distribution of durations: `"2ms"`, `{ exponential = { mean = "2ms" } }`. Its samples are seconds.
pub type TimeDist = DistConfig<Time>;

/// A distribution of plain numbers: `512`, `{ lognormal = { mean = 512, cv = 1.2 } }`.
pub type NumberDist = DistConfig<Number>;

/// What the values of a distribution are measured in.
pub trait DistValue: Copy + PartialEq + fmt::Debug + Serialize + DeserializeOwned + JsonSchema {
    /// What a constant looks like, for messages: `a duration such as "2ms"`.
    const CONSTANT: &'static str;

    /// The value as a plain number: a duration in seconds.
    fn number(self) -> f64;
}

impl DistValue for Time {
    const CONSTANT: &'static str = "a duration such as \"2ms\"";

    fn number(self) -> f64 {
        self.as_secs_f64()
    }
}

impl DistValue for Number {
    const CONSTANT: &'static str = "a number such as 512";

    fn number(self) -> f64 {
        self.get()
    }
}

/// A distribution as scenario files write it: a constant (`"2ms"`, `512`) or a table with one key, the
/// name of the law: `{ lognormal = { mean = "20ms", cv = 1.2 } }`.
#[derive(Debug, Clone, PartialEq)]
pub enum DistConfig<V> {
    /// Always the same value.
    Constant(V),
    /// A law with its parameters.
    Law(Box<Law<V>>),
}

/// A law and its parameters. `cv` is the coefficient of variation, standard deviation over mean.
/// `min` and `max`, where given, clip: a value beyond is set to the bound, which moves the mean.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, bound = "V: DistValue")]
#[schemars(bound = "V: DistValue")]
pub enum Law<V> {
    /// Always the same value.
    Constant(V),
    /// Every value between two bounds alike.
    Uniform {
        /// Smallest value.
        min: V,
        /// Largest value.
        max: V,
    },
    /// Memoryless, cv = 1.
    Exponential {
        /// Mean before clipping.
        mean: V,
        /// Smallest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<V>,
        /// Largest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<V>,
    },
    /// Normal, truncated (drawn within the bounds, not clipped) at `min` (0 when absent) and `max`.
    Normal {
        /// Mean before truncation.
        mean: V,
        /// Standard deviation before truncation.
        sd: V,
        /// Smallest value, 0 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<V>,
        /// Largest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<V>,
    },
    /// Lognormal, by `mean` and `cv` or by `p50` and `p99`.
    Lognormal {
        /// Mean before clipping.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mean: Option<V>,
        /// Coefficient of variation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cv: Option<f64>,
        /// Median.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        p50: Option<V>,
        /// 99th percentile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        p99: Option<V>,
        /// Smallest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<V>,
        /// Largest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<V>,
    },
    /// Gamma.
    Gamma {
        /// Mean before clipping.
        mean: V,
        /// Coefficient of variation.
        cv: f64,
        /// Smallest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<V>,
        /// Largest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<V>,
    },
    /// The sum of `k` exponential stages, cv = 1 / sqrt(k).
    Erlang {
        /// Mean of the sum.
        mean: V,
        /// Number of stages.
        k: std::num::NonZeroU32,
    },
    /// Weibull.
    Weibull {
        /// Shape: below 1 a heavy tail, 1 exponential.
        shape: f64,
        /// Scale: the 63.2nd percentile.
        scale: V,
        /// Smallest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<V>,
        /// Largest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<V>,
    },
    /// Pareto (type I): P(X > x) = (scale / x)^shape.
    Pareto {
        /// Shape, the tail index; a mean exists above 1.
        shape: f64,
        /// Scale: the smallest value.
        scale: V,
        /// Largest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<V>,
    },
    /// A mixture of two exponentials with balanced means, cv >= 1.
    Hyperexponential {
        /// Mean.
        mean: V,
        /// Coefficient of variation, at least 1.
        cv: f64,
    },
    /// Measured values: `samples`, each as likely, or `quantiles`, pairs of (probability, value) with
    /// straight lines between them.
    Empirical {
        /// Measured values.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        samples: Option<Vec<V>>,
        /// Pairs of (probability, value), from probability 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quantiles: Option<Vec<(f64, V)>>,
    },
    /// One of several distributions, by weight.
    Mixture(Vec<Weighted<V>>),
}

/// A part of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "V: DistValue")]
#[schemars(bound = "V: DistValue")]
pub struct Weighted<V> {
    /// How often it is drawn, relative to the sum of the weights.
    pub weight: f64,
    /// What is drawn.
    pub of: DistConfig<V>,
}

impl<V> DistConfig<V> {
    /// Always `value`.
    pub const fn constant(value: V) -> Self {
        Self::Constant(value)
    }
}

impl<V: DistValue> Serialize for DistConfig<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(value) => value.serialize(serializer),
            Self::Law(law) => law.serialize(serializer),
        }
    }
}

impl<'de, V: DistValue> Deserialize<'de> for DistConfig<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DistVisitor(PhantomData))
    }
}

struct DistVisitor<V>(PhantomData<V>);

impl<'de, V: DistValue> Visitor<'de> for DistVisitor<V> {
    type Value = DistConfig<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} or a distribution such as {{ lognormal = {{ .. }} }}", V::CONSTANT)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        V::deserialize(text.into_deserializer()).map(DistConfig::Constant)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        V::deserialize(number.into_deserializer()).map(DistConfig::Constant)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        V::deserialize(number.into_deserializer()).map(DistConfig::Constant)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        V::deserialize(number.into_deserializer()).map(DistConfig::Constant)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let law = Law::deserialize(MapAccessDeserializer::new(&mut map))?;
        if let Some(second) = map.next_key::<String>()? {
            let message =
                format!("one law only: `{second}` is a second key (its parameters go into the law's table)");
            return Err(de::Error::custom(message));
        }
        Ok(DistConfig::Law(Box::new(law)))
    }
}

impl<V: DistValue> JsonSchema for DistConfig<V> {
    fn schema_name() -> Cow<'static, str> {
        format!("DistOf{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (value, law) = (generator.subschema_for::<V>(), generator.subschema_for::<Law<V>>());
        json_schema!({
            "description": format!("{} or a table with one key, the distribution's name", V::CONSTANT),
            "anyOf": [value, law],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time: Option<TimeDist>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<NumberDist>,
    }

    fn read(text: &str) -> Result<File, toml::de::Error> {
        toml::from_str(text)
    }

    const ALL: [&str; 15] = [
        r#"time = "2ms""#,
        "tokens = 512",
        "tokens = 0.5",
        r#"time = { constant = "2ms" }"#,
        r#"time = { uniform = { min = "2ms", max = "3ms" } }"#,
        r#"time = { exponential = { mean = "2ms", max = "10ms" } }"#,
        r#"time = { normal = { mean = "2ms", sd = "1ms" } }"#,
        r#"time = { lognormal = { p50 = "1ms", p99 = "5ms" } }"#,
        "tokens = { lognormal = { mean = 512, cv = 1.2, min = 4, max = 2048 } }",
        "tokens = { gamma = { mean = 3, cv = 0.5 } }\ntime = { erlang = { mean = \"2ms\", k = 3 } }",
        "tokens = { weibull = { shape = 0.7, scale = 3 } }",
        "tokens = { pareto = { shape = 1.5, scale = 3 } }",
        "tokens = { hyperexponential = { mean = 3, cv = 2.5 } }",
        "tokens = { empirical = { samples = [1, 2.5, 3] } }\ntime = { empirical = { quantiles = [[0, \"0s\"], [1, \"1s\"]] } }",
        r#"time = { mixture = [{ weight = 0.9, of = "1ms" }, { weight = 0.1, of = { exponential = { mean = "1s" } } }] }"#,
    ];

    #[test]
    fn every_law_is_read_and_the_canonical_form_round_trips() {
        for text in ALL {
            let file = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let canonical = toml::to_string(&file).unwrap();
            let again = read(&canonical).unwrap_or_else(|error| panic!("{canonical}: {error}"));
            assert_eq!((&again.time, &again.tokens), (&file.time, &file.tokens));
            assert_eq!(toml::to_string(&again).unwrap(), canonical);
            let json = serde_json::to_string(&file).unwrap();
            let again: File = serde_json::from_str(&json).unwrap();
            assert_eq!((again.time, again.tokens), (file.time, file.tokens));
        }
    }

    #[test]
    fn errors_point_at_the_place_and_say_what_is_accepted() {
        for (text, at, message) in [
            ("time = 2", "2", "no unit"),
            (r#"tokens = "many""#, r#""many""#, "a number from 0"),
            (r#"time = { exponential = { mean = "2 parsecs" } }"#, r#""2 parsecs""#, "unknown unit"),
            ("time = { exponential = { mean = 7 } }", "7", "such as \"250ms\""),
            (r#"time = { exponentail = { mean = "2s" } }"#, "exponentail", "`exponential`"),
            (r#"time = { exponential = { mean = "2s", sd = "1s" } }"#, "sd", "unknown field `sd`"),
            (r#"time = { gamma = { mean = "2s" } }"#, r#"{ mean = "2s" }"#, "missing field `cv`"),
            ("tokens = true", "true", "a number such as 512 or a distribution"),
            ("tokens = -4", "-4", "negative"),
        ] {
            let error = read(text).unwrap_err();
            let span = error.span().unwrap_or_else(|| panic!("{text}: no span: {error}"));
            assert_eq!(&text[span], at, "{text}: {error}");
            assert!(error.message().contains(message), "{text}: {error}");
        }
        let two = r#"time = { constant = "2s", exponential = { mean = "2s" } }"#;
        assert!(read(two).unwrap_err().message().contains("one law only: `exponential`"));
        assert!(read("time = {}").is_err());
    }

    #[test]
    fn the_schema_offers_constants_and_laws() {
        let schema = serde_json::to_string(&schemars::schema_for!(TimeDist)).unwrap();
        for part in ["\"Time\"", "lognormal", "hyperexponential", "mixture", "(ns|us|ms|s|m|min|h|d)"] {
            assert!(schema.contains(part), "{part} in {schema}");
        }
    }
}
