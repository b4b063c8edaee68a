//! Retries: a failed attempt is made again, after a while, a bounded number of times. A callee that says
//! after how long another attempt may be let in (`Retry-After`) is obeyed: the wait is at least as long.

use std::fmt;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sim_core::random::unit;
use sim_core::time::SimDuration;

use super::budget::{AwsSdkBudget, Budget, BudgetConfig, EnvoyBudget, FinagleBudget, GrpcBudget};
use crate::error::ConfigError;
use crate::request::Outcome;
use crate::units::Time;

/// Whether and when a failed attempt is made again: the name of a preset, or a table.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum RetryConfig {
    /// As this library or proxy does.
    Preset(RetryPreset),
    /// As the table says.
    Detailed(RetryTable),
}

/// Retries; its values take the place of those of its `preset`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryTable {
    /// Whose defaults the other values have. Default: none; then it is 3 attempts, all failures, no wait and
    /// no budget: what one writes without a library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<RetryPreset>,
    /// How often a call is attempted, the first attempt included and hedges not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<NonZeroU32>,
    /// How long to wait before the next attempt: a time, or a table with `base`, `multiplier` and `cap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffConfig>,
    /// What chance makes of the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// How many retries all calls together may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetConfig>,
    /// Which failures are retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<RetryOn>>,
    /// Whether a retry that would begin when the caller no longer waits is left out. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respect_deadline: Option<bool>,
}

/// A library or proxy whose defaults retries have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetryPreset {
    /// resilience4j `RetryConfig`: 3 attempts, 500 ms between them, after every exception, that of an open
    /// breaker included.
    Resilience4j,
    /// Envoy: `num_retries` 1, `retry_back_off` from 25 ms to at most 250 ms with full jitter, at most 3 calls
    /// in a retry at once (`max_retries` of the circuit breakers); not when a limit of the client refused.
    Envoy,
    /// AWS SDKs in the standard mode (botocore, `retries/standard.py`): 3 attempts, full jitter on 1 s, 2 s,
    /// 4 s up to 20 s, and the token bucket.
    AwsSdk,
    /// Finagle: requeues of what was refused, at once, within the retry budget of 20% and 10/s (`Retries.scala`;
    /// at most 25 attempts, its `Effort`).
    Finagle,
    /// gRPC: the examples of gRFC A6: 4 attempts, full jitter on 100 ms, 200 ms up to 1 s, `retryThrottling`
    /// of 10 tokens and 0.1; after UNAVAILABLE, not after DEADLINE_EXCEEDED.
    Grpc,
}

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum BackoffConfig {
    /// Always this long.
    Constant(Time),
    /// Longer each time.
    Exponential(Exponential),
}

/// `min(cap, base * multiplier^(n - 1))` before the n-th retry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// The first wait.
    pub base: Time,
    /// How many times as long the next. Default: 2.
    #[serde(default = "two")]
    pub multiplier: f64,
    /// The longest wait. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Time>,
}

fn two() -> f64 {
    2.0
}

/// What chance makes of a wait of `t` (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// `t`.
    #[default]
    None,
    /// Uniform from 0 to `t`.
    Full,
    /// `t / 2` and uniform from 0 to `t / 2`.
    Equal,
    /// Uniform from `base` to three times the wait before, at most `cap`.
    Decorrelated,
}

/// A failure that may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The callee refused.
    Rejected,
    /// The callee failed.
    Failed,
    /// The attempt timed out.
    TimedOut,
    /// The circuit breaker of this link let no attempt through.
    ShortCircuited,
}

const PRESETS: &[(&str, RetryPreset)] = &[
    ("resilience4j", RetryPreset::Resilience4j),
    ("envoy", RetryPreset::Envoy),
    ("aws-sdk", RetryPreset::AwsSdk),
    ("finagle", RetryPreset::Finagle),
    ("grpc", RetryPreset::Grpc),
];

impl<'de> Deserialize<'de> for RetryConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = RetryConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("retries such as \"resilience4j\" or { max_attempts = 3, budget = 0.1 }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RetryConfig, E> {
                let preset = PRESETS.iter().find(|(known, _)| *known == name);
                let names: &[&str] = &["resilience4j", "envoy", "aws-sdk", "finagle", "grpc"];
                let (_, preset) = preset.ok_or_else(|| {
                    E::custom(format!("unknown preset `{name}`, expected one of `{}`", names.join("`, `")))
                })?;
                Ok(RetryConfig::Preset(*preset))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<RetryConfig, A::Error> {
                RetryTable::deserialize(MapAccessDeserializer::new(table)).map(RetryConfig::Detailed)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for RetryConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Preset(preset) => preset.serialize(serializer),
            Self::Detailed(table) => table.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for BackoffConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = BackoffConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a wait such as \"500ms\" or { base = \"100ms\", multiplier = 2, cap = \"1s\" }")
            }

            fn visit_str<E: de::Error>(self, time: &str) -> Result<BackoffConfig, E> {
                time.parse().map(BackoffConfig::Constant).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<BackoffConfig, A::Error> {
                let table = MapAccessDeserializer::new(table);
                Exponential::deserialize(table).map(BackoffConfig::Exponential)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for BackoffConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(time) => time.serialize(serializer),
            Self::Exponential(exponential) => exponential.serialize(serializer),
        }
    }
}

impl RetryPreset {
    fn retry(self) -> (Retry, BudgetConfig) {
        use RetryOn::{Failed, Rejected, ShortCircuited, TimedOut};
        let exponential =
            |base, cap| Wait { base: ms(base), multiplier: 2.0, cap: ms(cap), jitter: Jitter::Full };
        let (max_attempts, wait, retry_on, budget) = match self {
            Self::Resilience4j => {
                let wait = Wait { base: ms(500), multiplier: 1.0, cap: FOREVER, jitter: Jitter::None };
                (3, wait, vec![Rejected, Failed, TimedOut, ShortCircuited], BudgetConfig::None)
            }
            Self::Envoy => {
                let budget = EnvoyBudget { budget_percent: 0.0, min_retry_concurrency: 3 };
                (2, exponential(25, 250), vec![Rejected, Failed, TimedOut], BudgetConfig::Envoy(budget))
            }
            Self::AwsSdk => {
                let budget = BudgetConfig::AwsSdk(AwsSdkBudget::default());
                (3, exponential(1_000, 20_000), vec![Rejected, Failed, TimedOut], budget)
            }
            Self::Finagle => {
                let budget = BudgetConfig::Finagle(FinagleBudget::default());
                (25, NO_WAIT, vec![Rejected], budget)
            }
            Self::Grpc => {
                let budget = BudgetConfig::Grpc(GrpcBudget::default());
                (4, exponential(100, 1_000), vec![Rejected, Failed], budget)
            }
        };
        (Retry { max_attempts, wait, on: Retry::mask(&retry_on), respect_deadline: true }, budget)
    }
}

fn ms(milliseconds: u64) -> SimDuration {
    SimDuration::from_millis(milliseconds)
}

const FOREVER: SimDuration = SimDuration::from_nanos(u64::MAX);
const NO_WAIT: Wait = Wait { base: SimDuration::ZERO, multiplier: 1.0, cap: FOREVER, jitter: Jitter::None };

impl RetryConfig {
    pub(super) fn build(&self) -> Result<(Retry, Option<Budget>), ConfigError> {
        match self {
            Self::Preset(preset) => RetryTable { preset: Some(*preset), ..RetryTable::default() }.build(),
            Self::Detailed(table) => table.build(),
        }
    }
}

impl RetryTable {
    fn build(&self) -> Result<(Retry, Option<Budget>), ConfigError> {
        let plain = || {
            let on = Retry::mask(&[RetryOn::Rejected, RetryOn::Failed, RetryOn::TimedOut]);
            (Retry { max_attempts: 3, wait: NO_WAIT, on, respect_deadline: true }, BudgetConfig::None)
        };
        let (mut retry, budget) = self.preset.map_or_else(plain, RetryPreset::retry);
        if let Some(attempts) = self.max_attempts {
            retry.max_attempts = attempts.get();
        }
        match self.backoff {
            None => {}
            Some(BackoffConfig::Constant(time)) => {
                retry.wait = Wait { base: time.get(), multiplier: 1.0, cap: FOREVER, ..retry.wait };
            }
            Some(BackoffConfig::Exponential(Exponential { base, multiplier, cap })) => {
                let wrong = |key: &str, value: String| {
                    ConfigError::new(["backoff", key], format!("{key} is {value}"))
                };
                if !(1.0..=1_000.0).contains(&multiplier) {
                    let error = wrong("multiplier", multiplier.to_string());
                    return Err(error.help("expected a number from 1 to 1000, such as 2"));
                }
                if let Some(cap) = cap.filter(|cap| *cap < base) {
                    return Err(wrong("cap", cap.to_string()).help(format!("expected at least base, {base}")));
                }
                let cap = cap.map_or(FOREVER, Time::get);
                retry.wait = Wait { base: base.get(), multiplier, cap, ..retry.wait };
            }
        }
        retry.wait.jitter = self.jitter.unwrap_or(retry.wait.jitter);
        if let Some(on) = &self.retry_on {
            if on.is_empty() {
                return Err(ConfigError::new(["retry_on"], "retries after no failure")
                    .help("expected some of rejected, failed, timed_out, short_circuited"));
            }
            retry.on = Retry::mask(on);
        }
        retry.respect_deadline = self.respect_deadline.unwrap_or(true);
        let budget = self.budget.unwrap_or(budget).build().map_err(|error| error.within("budget"))?;
        Ok((retry, budget))
    }
}

/// How a link retries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Retry {
    pub max_attempts: u32,
    pub wait: Wait,
    /// Failures that are retried, a bit each.
    on: u8,
    pub respect_deadline: bool,
}

impl Retry {
    fn mask(on: &[RetryOn]) -> u8 {
        on.iter().fold(0, |mask, failure| mask | 1 << *failure as u8)
    }

    /// Whether such a failure is retried.
    pub fn is_on(&self, outcome: Outcome, short_circuited: bool) -> bool {
        let failure = match outcome {
            Outcome::Ok | Outcome::Degraded => return false,
            Outcome::Rejected if short_circuited => RetryOn::ShortCircuited,
            Outcome::Rejected => RetryOn::Rejected,
            Outcome::Failed => RetryOn::Failed,
            Outcome::TimedOut => RetryOn::TimedOut,
        };
        self.on & 1 << failure as u8 != 0
    }
}

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wait {
    base: SimDuration,
    multiplier: f64,
    cap: SimDuration,
    jitter: Jitter,
}

impl Wait {
    /// The wait before the `nth` retry, counted from 1, after the wait `before` (zero for the first).
    pub fn next(&self, nth: u32, before: SimDuration, draws: &mut impl rand::Rng) -> SimDuration {
        let seconds = SimDuration::saturating_from_secs_f64;
        let (base, cap) = (self.base.as_secs_f64(), self.cap.as_secs_f64());
        let grown = base * libm::pow(self.multiplier, f64::from(nth - 1));
        match self.jitter {
            // The usual case, exact to the nanosecond.
            Jitter::None if grown == base => self.base,
            Jitter::None => seconds(grown.min(cap)),
            Jitter::Full => seconds(unit(draws) * grown.min(cap)),
            Jitter::Equal => seconds((0.5 + 0.5 * unit(draws)) * grown.min(cap)),
            Jitter::Decorrelated => {
                let before = before.as_secs_f64().max(base);
                seconds((base + unit(draws) * (3.0 * before - base)).min(cap))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sim_core::random::{Purpose, Streams};

    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct File {
        retry: RetryConfig,
    }

    fn read(text: &str) -> Result<RetryConfig, String> {
        let file = toml::from_str::<File>(&format!("retry = {text}"));
        file.map(|file| file.retry).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn presets_have_the_defaults_of_the_real_things() {
        for (name, max_attempts, base, cap, on) in [
            ("resilience4j", 3, 500, None, [true, true, true, true]),
            ("envoy", 2, 25, Some(250), [true, true, true, false]),
            ("aws-sdk", 3, 1_000, Some(20_000), [true, true, true, false]),
            ("finagle", 25, 0, None, [true, false, false, false]),
            ("grpc", 4, 100, Some(1_000), [true, true, false, false]),
        ] {
            let (retry, budget) = read(&format!("\"{name}\"")).unwrap().build().unwrap();
            assert_eq!(retry.max_attempts, max_attempts, "{name}");
            assert_eq!(retry.wait.base, ms(base), "{name}");
            assert_eq!(retry.wait.cap, cap.map_or(FOREVER, ms), "{name}");
            let outcomes = [Outcome::Rejected, Outcome::Failed, Outcome::TimedOut];
            assert_eq!(outcomes.map(|outcome| retry.is_on(outcome, false)), on[..3], "{name}");
            assert_eq!(retry.is_on(Outcome::Rejected, true), on[3], "{name}");
            assert_eq!(budget.is_none(), name == "resilience4j");
        }
        // A table refines a preset.
        let refined = read("{ preset = \"aws-sdk\", max_attempts = 5, budget = \"none\" }").unwrap();
        let (retry, budget) = refined.build().unwrap();
        assert_eq!((retry.max_attempts, retry.wait.base, budget), (5, ms(1_000), None));
    }

    #[test]
    fn waits_grow_up_to_the_cap_and_jitter_keeps_within_its_bounds() {
        let wait = |jitter| Wait { base: ms(100), multiplier: 2.0, cap: ms(500), jitter };
        let mut draws = Streams::new(1, 0).keyed("x", Purpose::Jitter).draws(0, 0, 0);
        let none = [1, 2, 3, 4, 30].map(|nth| wait(Jitter::None).next(nth, ms(0), &mut draws));
        assert_eq!(none, [100, 200, 400, 500, 500].map(ms));
        let mut mean = [0.0; 3];
        for _ in 0..10_000 {
            let drawn = [
                wait(Jitter::Full).next(3, ms(0), &mut draws),
                wait(Jitter::Equal).next(3, ms(0), &mut draws),
                wait(Jitter::Decorrelated).next(3, ms(120), &mut draws),
            ];
            let bounds = [(0, 400), (200, 400), (100, 360)];
            for ((sum, drawn), (least, most)) in mean.iter_mut().zip(drawn).zip(bounds) {
                assert!(ms(least) <= drawn && drawn <= ms(most), "{drawn}");
                *sum += drawn.as_secs_f64() / 10_000.0;
            }
        }
        // Uniform: standard deviation width / sqrt(12).
        for (mean, (middle, width)) in mean.into_iter().zip([(0.2, 0.4), (0.3, 0.2), (0.23, 0.26)]) {
            assert!((mean - middle).abs() < 4.0 * width / 12.0f64.sqrt() / 100.0, "{mean} is not {middle}");
        }
        let decorrelated = wait(Jitter::Decorrelated);
        assert!((0..100).all(|_| decorrelated.next(9, ms(400), &mut draws) <= ms(500)));
    }

    #[test]
    fn names_and_tables_read_back_and_mistakes_are_told() {
        for text in [
            "\"envoy\"",
            "{ max_attempts = 3, budget = 0.1 }",
            "{ preset = \"grpc\", backoff = \"10ms\", jitter = \"equal\", budget = \"none\" }",
            "{ backoff = { base = \"10ms\", cap = \"1s\" }, retry_on = [\"failed\"], respect_deadline = false }",
            "{ budget = { finagle = { min_retries_per_sec = 5 } } }",
        ] {
            let file = File { retry: read(text).unwrap() };
            let written = toml::to_string(&file).unwrap();
            assert_eq!(toml::from_str::<File>(&written).unwrap(), file, "{written}");
            file.retry.build().unwrap();
        }
        for (text, part) in [
            ("\"polly\"", "unknown preset `polly`, expected one of `resilience4j`, `envoy`"),
            ("3", "expected retries such as"),
            ("{ attempts = 3 }", "unknown field `attempts`, expected one of `preset`, `max_attempts`"),
            ("{ max_attempts = 0 }", "nonzero"),
            ("{ backoff = 3 }", "a wait such as"),
            ("{ backoff = \"3\" }", "duration"),
            ("{ budget = 3 }", "a number from 0 to 1"),
            ("{ budget = \"linkerd\" }", "unknown variant `linkerd`, expected one of `none`, `finagle`"),
            ("{ budget = { grpc = {}, envoy = {} } }", "one budget only"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        for (text, path) in [
            ("{ backoff = { base = \"1s\", multiplier = 0.5 } }", "backoff.multiplier"),
            ("{ backoff = { base = \"1s\", cap = \"1ms\" } }", "backoff.cap"),
            ("{ retry_on = [] }", "retry_on"),
            ("{ budget = { envoy = { budget_percent = 101.0 } } }", "budget.envoy.budget_percent"),
            ("{ budget = { finagle = { ttl = \"0s\" } } }", "budget.finagle.ttl"),
            ("{ budget = { grpc = { max_tokens = -1.0 } } }", "budget.grpc.max_tokens"),
        ] {
            let error = read(text).unwrap().build().unwrap_err();
            assert_eq!(error.path.join("."), path, "{error}");
            assert!(error.help.unwrap().starts_with("expected"), "{text}");
        }
    }
}
