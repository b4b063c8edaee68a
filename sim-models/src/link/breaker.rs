//! Circuit breakers: what keeps calls from a callee that is in trouble.
//!
//! - [`resilience4j`]: closed, open, half-open, over a sliding window of calls or seconds; trips on failures
//!   and on slow calls.
//! - [`hystrix`]: the same states, over buckets of time that are looked at in intervals, with one probe.
//! - [`envoy`]: no states, but a limit on what is under way and waits.
//! - [`adaptive_throttle`]: no states either: attempts are refused with a probability that grows with the
//!   share of the refused (Google SRE).

pub mod adaptive_throttle;
pub mod envoy;
pub mod hystrix;
pub mod resilience4j;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::request::Outcome;
use adaptive_throttle::{AdaptiveThrottle, AdaptiveThrottleConfig};
use envoy::EnvoyConfig;
use hystrix::{Hystrix, HystrixConfig};
use resilience4j::{Resilience4j, Resilience4jConfig};

/// What keeps calls from a callee that is in trouble: a name, or a table with one key, the name, and its
/// parameters, which have the names and the defaults of the real thing.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum BreakerConfig {
    /// resilience4j's circuit breaker.
    Resilience4j(Resilience4jConfig),
    /// Hystrix's circuit breaker.
    Hystrix(HystrixConfig),
    /// Envoy's circuit breakers.
    Envoy(EnvoyConfig),
    /// Adaptive throttling on the client's side (Google SRE).
    AdaptiveThrottle(AdaptiveThrottleConfig),
}

const NAMES: &[&str] = &["resilience4j", "hystrix", "envoy", "adaptive_throttle"];

impl BreakerConfig {
    pub(super) fn build(&self) -> Result<Breaker, ConfigError> {
        let built = match self {
            Self::Resilience4j(config) => config.build().map(Box::new).map(Breaker::Resilience4j),
            Self::Hystrix(config) => config.build().map(Box::new).map(Breaker::Hystrix),
            Self::Envoy(config) => Ok(Breaker::Envoy(*config)),
            Self::AdaptiveThrottle(config) => config.build().map(Box::new).map(Breaker::AdaptiveThrottle),
        };
        built.map_err(|error| error.within(self.name()))
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "resilience4j" => Self::Resilience4j(Resilience4jConfig::default()),
            "hystrix" => Self::Hystrix(HystrixConfig::default()),
            "envoy" => Self::Envoy(EnvoyConfig::default()),
            "adaptive_throttle" => Self::AdaptiveThrottle(AdaptiveThrottleConfig::default()),
            _ => return None,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Resilience4j(_) => NAMES[0],
            Self::Hystrix(_) => NAMES[1],
            Self::Envoy(_) => NAMES[2],
            Self::AdaptiveThrottle(_) => NAMES[3],
        }
    }
}

impl<'de> Deserialize<'de> for BreakerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = BreakerConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a breaker such as \"resilience4j\" or { resilience4j = { sliding_window_size = 20 } }",
                )
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<BreakerConfig, E> {
                BreakerConfig::named(name).ok_or_else(|| E::unknown_variant(name, NAMES))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<BreakerConfig, A::Error> {
                let breaker = BreakerConfig::deserialize(MapAccessDeserializer::new(&mut table))?;
                match table.next_key::<String>()? {
                    Some(second) => {
                        let message = format!(
                            "one breaker only: `{second}` is a second key (parameters go one deeper)"
                        );
                        Err(de::Error::custom(message))
                    }
                    None => Ok(breaker),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for BreakerConfig {
    /// The name where it says it all.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if Self::named(self.name()).as_ref() == Some(self) {
            serializer.serialize_str(self.name())
        } else {
            Self::serialize(self, serializer)
        }
    }
}

impl JsonSchema for BreakerConfig {
    fn schema_name() -> Cow<'static, str> {
        "BreakerConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = |name: &str, parameters: Schema| {
            json_schema!({
                "type": "object",
                "properties": { name: parameters },
                "required": [name],
                "additionalProperties": false,
            })
        };
        let tables = [
            table(NAMES[0], generator.subschema_for::<Resilience4jConfig>()),
            table(NAMES[1], generator.subschema_for::<HystrixConfig>()),
            table(NAMES[2], generator.subschema_for::<EnvoyConfig>()),
            table(NAMES[3], generator.subschema_for::<AdaptiveThrottleConfig>()),
        ];
        json_schema!({
            "description": "What keeps calls from a callee that is in trouble: a name, or a table with one \
                            key, the name, and its parameters.",
            "anyOf": [{ "type": "string", "enum": NAMES }, { "oneOf": tables }],
        })
    }
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Now.
    Go,
    /// When another has ended.
    Wait,
    /// Not at all.
    Refuse,
}

/// What a client process has under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Underway {
    pub active: u32,
    pub waiting: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub outcome: Outcome,
    pub took: SimDuration,
}

/// What a stateful breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    Open,
    HalfOpen,
}

/// The breaker of one client process.
#[derive(Debug, Clone)]
pub(super) enum Breaker {
    Resilience4j(Box<Resilience4j>),
    Hystrix(Box<Hystrix>),
    Envoy(EnvoyConfig),
    AdaptiveThrottle(Box<AdaptiveThrottle>),
}

impl Breaker {
    /// Whether an attempt may be made; when it may, it has begun. `chance` draws a number from 0 to 1.
    pub fn admit(&mut self, now: SimTime, underway: Underway, chance: impl FnOnce() -> f64) -> Admission {
        let goes = match self {
            Self::Resilience4j(breaker) => breaker.acquire(now),
            Self::Hystrix(breaker) => breaker.acquire(now, underway.active),
            Self::Envoy(limits) => return limits.admit(underway),
            Self::AdaptiveThrottle(throttle) => throttle.acquire(now, chance),
        };
        if goes { Admission::Go } else { Admission::Refuse }
    }

    /// An attempt has ended.
    pub fn record(&mut self, now: SimTime, ended: Ended) {
        match self {
            Self::Resilience4j(breaker) => breaker.record(now, ended),
            Self::Hystrix(breaker) => breaker.record(now, ended.outcome.is_answer()),
            Self::Envoy(_) => {}
            Self::AdaptiveThrottle(throttle) => throttle.record(now, ended.outcome),
        }
    }

    /// The client gave an attempt up before it ended: it says nothing about the callee.
    pub fn release(&mut self, now: SimTime) {
        match self {
            Self::Resilience4j(breaker) => breaker.release(),
            Self::Hystrix(breaker) => breaker.release(now),
            Self::Envoy(_) | Self::AdaptiveThrottle(_) => {}
        }
    }

    pub fn state(&self) -> State {
        match self {
            Self::Resilience4j(breaker) => breaker.state(),
            Self::Hystrix(breaker) => breaker.state(),
            Self::Envoy(_) | Self::AdaptiveThrottle(_) => State::Closed,
        }
    }

    /// Whether it opens and closes; limits and throttles refuse one attempt at a time.
    pub fn has_states(&self) -> bool {
        matches!(self, Self::Resilience4j(_) | Self::Hystrix(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct File {
        circuit_breaker: BreakerConfig,
    }

    fn read(text: &str) -> Result<BreakerConfig, String> {
        let file = toml::from_str::<File>(&format!("circuit_breaker = {text}"));
        file.map(|file| file.circuit_breaker).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn names_and_tables_read_back() {
        for name in NAMES {
            let circuit_breaker = read(&format!("\"{name}\"")).unwrap();
            let written = toml::to_string(&File { circuit_breaker }).unwrap();
            assert_eq!(written, format!("circuit_breaker = \"{name}\"\n"));
        }
        for table in [
            "resilience4j = { sliding_window_type = \"TIME_BASED\", sliding_window_size = 10 }",
            "hystrix = { sleep_window = \"1s\" }",
            "envoy = { max_requests = 10, protocol = \"http1\" }",
            "adaptive_throttle = { k = 1.1 }",
        ] {
            let file = File { circuit_breaker: read(&format!("{{ {table} }}")).unwrap() };
            assert_eq!(toml::from_str::<File>(&toml::to_string(&file).unwrap()).unwrap(), file);
            file.circuit_breaker.build().unwrap();
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("\"polly\"", "unknown variant `polly`, expected one of `resilience4j`, `hystrix`"),
            ("true", "expected a breaker such as"),
            ("{ hystrix = { sleepWindow = 3 } }", "unknown field `sleepWindow`"),
            ("{ hystrix = {}, envoy = {} }", "one breaker only"),
            ("{ resilience4j = { sliding_window_type = \"RING\" } }", "COUNT_BASED"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        for (text, path) in [
            ("resilience4j = { failure_rate_threshold = 0.0 }", "resilience4j.failure_rate_threshold"),
            ("resilience4j = { slow_call_rate_threshold = 101.0 }", "resilience4j.slow_call_rate_threshold"),
            ("resilience4j = { sliding_window_size = 0 }", "resilience4j.sliding_window_size"),
            ("resilience4j = { sliding_window_size = 100000000 }", "resilience4j.sliding_window_size"),
            ("resilience4j = { minimum_number_of_calls = 0 }", "resilience4j.minimum_number_of_calls"),
            (
                "resilience4j = { wait_duration_in_open_state = \"0s\" }",
                "resilience4j.wait_duration_in_open_state",
            ),
            ("resilience4j = { record_exceptions = [] }", "resilience4j.record_exceptions"),
            ("hystrix = { error_threshold_percentage = 101 }", "hystrix.error_threshold_percentage"),
            ("hystrix = { health_snapshot_interval = \"0s\" }", "hystrix.health_snapshot_interval"),
            ("hystrix = { health_snapshot_interval = \"300ms\" }", "hystrix.health_snapshot_interval"),
            ("adaptive_throttle = { k = 0.0 }", "adaptive_throttle.k"),
            ("adaptive_throttle = { window = \"0s\" }", "adaptive_throttle.window"),
        ] {
            let error = read(&format!("{{ {text} }}")).unwrap().build().unwrap_err();
            assert_eq!(error.path.join("."), path, "{error}");
            assert!(error.help.unwrap().starts_with("expected"), "{text}");
        }
    }
}
