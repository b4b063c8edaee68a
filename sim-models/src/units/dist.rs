//! Distributions in scenario files.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use sim_core::distribution::{
    Constant, Dist, DistributionError, Empirical, Exponential, Gamma, HyperExponential, LogNormal, Mixture,
    Normal, Pareto, Uniform, Weibull,
};
use thiserror::Error;

use super::{Number, Time};
use crate::error::ConfigError;

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

/// A distribution whose parameters do not make one.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DistConfigError {
    /// A parameter is out of its range; durations are in seconds.
    #[error(transparent)]
    Parameter(#[from] DistributionError),
    /// Bounds that leave no room.
    #[error("{law}: `max` is {max}: expected more than `min`, {min}")]
    Bounds {
        /// The law.
        law: &'static str,
        /// Its smallest value, in seconds if a duration.
        min: f64,
        /// Its largest value, in seconds if a duration.
        max: f64,
    },
    /// Neither, both or mixed ways to give a law.
    #[error("{law}: expected {expected}")]
    Choice {
        /// The law.
        law: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
}

impl<V> DistConfig<V> {
    /// Always `value`.
    pub const fn constant(value: V) -> Self {
        Self::Constant(value)
    }
}

impl<V: DistValue> DistConfig<V> {
    /// The same law with other values: each of its parameters that is one, `of` it. Times a number, that is the law of as many
    /// times its values.
    pub fn map(self, of: &impl Fn(V) -> V) -> Self {
        let maybe = |value: Option<V>| value.map(of);
        Self::Law(Box::new(match self {
            Self::Constant(value) => return Self::Constant(of(value)),
            Self::Law(law) => match *law {
                Law::Constant(value) => Law::Constant(of(value)),
                Law::Uniform { min, max } => Law::Uniform { min: of(min), max: of(max) },
                Law::Exponential { mean, min, max } => {
                    Law::Exponential { mean: of(mean), min: maybe(min), max: maybe(max) }
                }
                Law::Normal { mean, sd, min, max } => {
                    Law::Normal { mean: of(mean), sd: of(sd), min: maybe(min), max: maybe(max) }
                }
                Law::Lognormal { mean, cv, p50, p99, min, max } => Law::Lognormal {
                    mean: maybe(mean),
                    cv,
                    p50: maybe(p50),
                    p99: maybe(p99),
                    min: maybe(min),
                    max: maybe(max),
                },
                Law::Gamma { mean, cv, min, max } => {
                    Law::Gamma { mean: of(mean), cv, min: maybe(min), max: maybe(max) }
                }
                Law::Erlang { mean, k } => Law::Erlang { mean: of(mean), k },
                Law::Weibull { shape, scale, min, max } => {
                    Law::Weibull { shape, scale: of(scale), min: maybe(min), max: maybe(max) }
                }
                Law::Pareto { shape, scale, max } => Law::Pareto { shape, scale: of(scale), max: maybe(max) },
                Law::Hyperexponential { mean, cv } => Law::Hyperexponential { mean: of(mean), cv },
                Law::Empirical { samples, quantiles } => Law::Empirical {
                    samples: samples.map(|samples| samples.into_iter().map(of).collect()),
                    quantiles: quantiles
                        .map(|points| points.into_iter().map(|(u, value)| (u, of(value))).collect()),
                },
                Law::Mixture(parts) => Law::Mixture(
                    parts
                        .into_iter()
                        .map(|Weighted { weight, of: part }| Weighted { weight, of: part.map(of) })
                        .collect(),
                ),
            },
        }))
    }

    /// The distribution itself; its values are seconds for durations.
    ///
    /// # Errors
    /// When the parameters are out of range or contradict one another. What was read from a file has
    /// been checked already.
    pub fn build(&self) -> Result<Dist, DistConfigError> {
        match self {
            Self::Constant(value) => Ok(Constant::new(value.number())?.into()),
            Self::Law(law) => law.build(),
        }
    }
}

impl NumberDist {
    /// The distribution of a count that is rounded to a whole number from 1; a constant has to be one.
    pub(crate) fn build_count(&self) -> Result<Dist, ConfigError> {
        match self {
            Self::Constant(count) if count.get() < 1.0 || count.get().fract() != 0.0 => {
                let help = "expected a whole number from 1, or a law such as { exponential = { mean = 8 } }";
                Err(ConfigError::new([""; 0], format!("{} is no count", count.get())).help(help))
            }
            law => law.build().map_err(|error| ConfigError::new([""; 0], error.to_string())),
        }
    }
}

impl<V: DistValue> Law<V> {
    fn build(&self) -> Result<Dist, DistConfigError> {
        Ok(match self {
            Self::Constant(value) => Constant::new(value.number())?.into(),
            Self::Uniform { min, max } => {
                let (min, max) = bounds("uniform", Some(min), Some(max))?;
                Uniform::new(min, max)?.into()
            }
            Self::Exponential { mean, min, max } => {
                clipped("exponential", Exponential::with_mean(mean.number())?, min, max)?
            }
            Self::Normal { mean, sd, min, max } => {
                let (min, max) = bounds("normal", min.as_ref(), max.as_ref())?;
                Normal::truncated(mean.number(), sd.number(), min, max)?.into()
            }
            Self::Lognormal { mean, cv, p50, p99, min, max } => {
                let law = match (mean, cv, p50, p99) {
                    (Some(mean), Some(cv), None, None) => LogNormal::from_mean_cv(mean.number(), *cv)?,
                    (None, None, Some(p50), Some(p99)) => {
                        LogNormal::from_p50_p99(p50.number(), p99.number())?
                    }
                    _ => {
                        let expected = "either `mean` and `cv`, or `p50` and `p99`";
                        return Err(DistConfigError::Choice { law: "lognormal", expected });
                    }
                };
                clipped("lognormal", law, min, max)?
            }
            Self::Gamma { mean, cv, min, max } => {
                clipped("gamma", Gamma::from_mean_cv(mean.number(), *cv)?, min, max)?
            }
            Self::Erlang { mean, k } => {
                let stages = f64::from(k.get());
                Gamma::new(stages, mean.number() / stages)?.into()
            }
            Self::Weibull { shape, scale, min, max } => {
                clipped("weibull", Weibull::new(*shape, scale.number())?, min, max)?
            }
            Self::Pareto { shape, scale, max } => {
                clipped("pareto", Pareto::new(scale.number(), *shape)?, &Some(*scale), max)?
            }
            Self::Hyperexponential { mean, cv } => HyperExponential::from_mean_cv(mean.number(), *cv)?.into(),
            Self::Empirical { samples, quantiles } => match (samples, quantiles) {
                (Some(samples), None) => {
                    Empirical::from_samples(samples.iter().map(|value| value.number()).collect())?.into()
                }
                (None, Some(quantiles)) => {
                    let points = quantiles.iter().map(|(share, value)| (*share, value.number()));
                    Empirical::from_quantiles(points.collect())?.into()
                }
                _ => {
                    let expected = "either `samples` or `quantiles`";
                    return Err(DistConfigError::Choice { law: "empirical", expected });
                }
            },
            Self::Mixture(parts) => {
                let parts = parts.iter().map(|part| Ok((part.weight, part.of.build()?)));
                Mixture::new(parts.collect::<Result<_, DistConfigError>>()?)?.into()
            }
        })
    }
}

/// From `min` (0 when absent, for no value is negative) to `max`.
fn bounds<V: DistValue>(
    law: &'static str,
    min: Option<&V>,
    max: Option<&V>,
) -> Result<(f64, f64), DistConfigError> {
    let (min, max) = (min.map_or(0.0, |min| min.number()), max.map_or(f64::INFINITY, |max| max.number()));
    if min < max { Ok((min, max)) } else { Err(DistConfigError::Bounds { law, min, max }) }
}

fn clipped<V: DistValue>(
    name: &'static str,
    law: impl Into<Dist>,
    min: &Option<V>,
    max: &Option<V>,
) -> Result<Dist, DistConfigError> {
    let (lo, hi) = bounds(name, min.as_ref(), max.as_ref())?;
    let law = law.into();
    // A bound at the end of the law's own range clips nothing.
    if law.quantile(0.0) >= lo && hi == f64::INFINITY { Ok(law) } else { Ok(law.clipped(lo, hi)?) }
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
        // Here the error still knows its place in the file.
        law.build().map_err(de::Error::custom)?;
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
mod tests;
