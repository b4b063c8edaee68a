//! Which replicas are known to be well: active checks, ejection, draining, panic.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess};
use serde::{Serialize, Serializer};
use sim_core::time::SimDuration;

use super::notation::{self, Notation, described};
use super::outlier::OutlierDetection;
use crate::error::ConfigError;
use crate::units::{Probability, Time};

/// How the front of a pool learns which replicas are well. The name of a preset, or a table of what
/// there is:
///
/// | preset | active checks | outlier detection | panic threshold |
/// |---|---|---|---|
/// | `none` | no | no | 0 |
/// | `kubernetes` | a readiness probe with its defaults: every 10 s, timeout 1 s, 3 failures, 1 success | no | 0 |
/// | `envoy` | every 3 s from the end of the last one, timeout 1 s, 3 failures, 1 success | Envoy's defaults | 0.5 |
///
/// Envoy has no defaults for active checks; those of the preset are Envoy Gateway's, from memory (an
/// assumption).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Checks sent to each replica. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCheck>,
    /// What is read from the answers to calls. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Share of healthy replicas below which the front does not believe its health checks any more (Envoy's
    /// `healthy_panic_threshold`); 0 trusts them always. Default: 0.5, Envoy's.
    pub panic_threshold: Probability,
    /// Whether calls are rejected in a panic, instead of sent to all replicas, the unhealthy ones too.
    /// Default: false, Envoy's.
    pub fail_traffic_on_panic: bool,
}

/// Checks that the front sends to every replica. The phase of each replica's checks is drawn. A crashed
/// replica refuses a check at once; a hung one lets it time out; any other answers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActiveCheck {
    /// How often a replica is checked (Kubernetes: `periodSeconds`). Default: 10 s.
    #[serde(default = "ten_seconds")]
    pub interval: Time,
    /// From when the interval counts. Default: `fixed_rate`.
    #[serde(default)]
    pub pace: Pace,
    /// How long an answer is waited for, at most `interval`. Default: 1 s.
    #[serde(default = "one_second")]
    pub timeout: Time,
    /// Checks failed in a row that make a replica unhealthy (Kubernetes: `failureThreshold`). Default: 3.
    #[serde(default = "three")]
    pub unhealthy_threshold: u32,
    /// Checks passed in a row that make it healthy again (Kubernetes: `successThreshold`). Default: 1.
    #[serde(default = "one")]
    pub healthy_threshold: u32,
}

/// From when the interval between two checks counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// From the start of a check, as in Kubernetes.
    #[default]
    FixedRate,
    /// From its end, as in Envoy: a check that times out puts off the next.
    FixedDelay,
}

fn ten_seconds() -> Time {
    Time::new(SimDuration::from_secs(10))
}

fn one_second() -> Time {
    Time::new(SimDuration::from_secs(1))
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

impl Default for ActiveCheck {
    fn default() -> Self {
        Self {
            interval: ten_seconds(),
            pace: Pace::FixedRate,
            timeout: one_second(),
            unhealthy_threshold: three(),
            healthy_threshold: one(),
        }
    }
}

impl ActiveCheck {
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, value: String, expected: &str| {
            Err(ConfigError::new([key], format!("{key} is {value}")).help(expected))
        };
        if self.interval.get().is_zero() {
            return wrong("interval", self.interval.to_string(), "expected a time above 0");
        }
        if self.timeout.get().is_zero() || self.timeout > self.interval {
            let expected = "expected a time above 0 and at most `interval`";
            return wrong("timeout", self.timeout.to_string(), expected);
        }
        let thresholds = [
            ("unhealthy_threshold", self.unhealthy_threshold),
            ("healthy_threshold", self.healthy_threshold),
        ];
        match thresholds.into_iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => wrong(key, "0".into(), "expected at least 1"),
            None => Ok(()),
        }
    }
}

impl Default for HealthConfig {
    /// An empty table.
    fn default() -> Self {
        Self {
            active: None,
            outlier_detection: None,
            panic_threshold: Probability::new(0.5).expect("a share"),
            fail_traffic_on_panic: false,
        }
    }
}

impl HealthConfig {
    /// Nothing is checked: a dead replica gets calls until it is repaired.
    pub fn none() -> Self {
        Self { panic_threshold: Probability::default(), ..Self::default() }
    }

    /// Readiness probes of Kubernetes with their defaults, and no panic threshold: `kube-proxy` has none.
    pub fn kubernetes() -> Self {
        Self { active: Some(ActiveCheck::default()), ..Self::none() }
    }

    /// Envoy with its defaults; its active checks, which have none, as Envoy Gateway sets them.
    pub fn envoy() -> Self {
        let interval = Time::new(SimDuration::from_secs(3));
        Self {
            active: Some(ActiveCheck { interval, pace: Pace::FixedDelay, ..ActiveCheck::default() }),
            outlier_detection: Some(OutlierDetection::default()),
            ..Self::default()
        }
    }

    /// Whether it can be simulated; the path of an error starts at it.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(active) = &self.active {
            active.check().map_err(|error| error.within("active"))?;
        }
        match &self.outlier_detection {
            Some(outliers) => outliers.check().map_err(|error| error.within("outlier_detection")),
            None => Ok(()),
        }
    }
}

impl Notation for HealthConfig {
    const NAMES: &'static [&'static str] = &["none", "kubernetes", "envoy"];
    const EXPECTED: &'static str = "the name of a preset, such as \"kubernetes\", or a table";

    fn named(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::none()),
            "kubernetes" => Some(Self::kubernetes()),
            "envoy" => Some(Self::envoy()),
            _ => None,
        }
    }

    fn from_table<'de, A: MapAccess<'de>>(table: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(table))
    }
}

impl<'de> Deserialize<'de> for HealthConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        notation::read(deserializer)
    }
}

impl Serialize for HealthConfig {
    /// The name of a preset where it is one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Self::NAMES.iter().find(|name| Self::named(name).as_ref() == Some(self)) {
            Some(name) => serializer.serialize_str(name),
            None => Self::serialize(self, serializer),
        }
    }
}

impl JsonSchema for HealthConfig {
    fn schema_name() -> Cow<'static, str> {
        "HealthConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = json_schema!({
            "type": "object",
            "properties": {
                "active": described(
                    generator.subschema_for::<ActiveCheck>(),
                    "Checks sent to each replica. Default: none.",
                ),
                "outlier_detection": described(
                    generator.subschema_for::<OutlierDetection>(),
                    "What is read from the answers to calls. Default: none.",
                ),
                "panic_threshold": described(
                    generator.subschema_for::<Probability>(),
                    "Share of healthy replicas below which the front does not believe its health checks any \
                     more; 0 trusts them always. Default: 0.5, Envoy's.",
                ),
                "fail_traffic_on_panic": {
                    "type": "boolean",
                    "description": "Whether calls are rejected in a panic, instead of sent to all replicas, the \
                                    unhealthy ones too. Default: false, Envoy's.",
                },
            },
            "additionalProperties": false,
        });
        json_schema!({
            "description": "How the front of a pool learns which replicas are well: the name of a preset, or \
                            a table of what there is.",
            "anyOf": [
                {
                    "type": "string",
                    "enum": Self::NAMES,
                    "description": "`kubernetes`: a readiness probe with its defaults. `envoy`: checks every 3 s from \
                                    the end of the last one (Envoy Gateway's, an assumption), outlier detection \
                                    and the panic threshold.",
                },
                table,
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct File {
        health: HealthConfig,
    }

    fn read(text: &str) -> Result<HealthConfig, String> {
        let file = toml::from_str::<File>(&format!("health = {text}"));
        file.map(|file| file.health).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn presets_and_tables_read_back() {
        for text in [
            "\"none\"",
            "\"kubernetes\"",
            "\"envoy\"",
            "{ outlier_detection = { consecutive_5xx = 3 } }",
            "{ active = {}, panic_threshold = 0, fail_traffic_on_panic = true }",
            "{ active = { interval = \"2s\", pace = \"fixed_delay\" } }",
        ] {
            let health = read(text).unwrap();
            assert_eq!(health.check(), Ok(()), "{text}");
            let file = File { health };
            let written = toml::to_string(&file).unwrap();
            assert_eq!(toml::from_str::<File>(&written).unwrap(), file, "{written}");
        }
        assert_eq!(read("{ active = {}, panic_threshold = 0 }").unwrap(), HealthConfig::kubernetes());
        let file = File { health: HealthConfig::envoy() };
        assert_eq!(toml::to_string(&file).unwrap(), "health = \"envoy\"\n");
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("\"istio\"", "unknown variant `istio`, expected one of `none`, `kubernetes`, `envoy`"),
            ("true", "expected the name of a preset"),
            ("{ probes = {} }", "unknown field `probes`"),
            ("{ panic_threshold = 50 }", "1"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        for (text, path) in [
            ("{ active = { interval = \"0s\" } }", ["active", "interval"]),
            ("{ active = { timeout = \"11s\" } }", ["active", "timeout"]),
            ("{ active = { unhealthy_threshold = 0 } }", ["active", "unhealthy_threshold"]),
            ("{ outlier_detection = { interval = \"0s\" } }", ["outlier_detection", "interval"]),
        ] {
            assert_eq!(read(text).unwrap().check().unwrap_err().path, path, "{text}");
        }
    }
}
