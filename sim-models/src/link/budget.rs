//! Budgets: how much may be sent beyond what was asked for.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::units::{Probability, Time};

/// How much may be sent beyond what was asked for: a number, the share of the calls, or a table with one
/// key, the name of a real budget, and its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", rename_all = "kebab-case")]
pub enum BudgetConfig {
    /// No bound.
    None,
    /// This share of the calls of the last 10 s: Finagle's without a reserve.
    #[serde(skip)]
    Share(Probability),
    /// Finagle's `RetryBudget`.
    Finagle(FinagleBudget),
    /// Envoy's `retry_budget`, which bounds retries under way rather than their rate.
    Envoy(EnvoyBudget),
    /// The retry quota of AWS SDKs.
    AwsSdk(AwsSdkBudget),
    /// gRPC's `retryThrottling`.
    Grpc(GrpcBudget),
}

/// Parameters of `finagle` (twitter/finagle, `RetryBudget.scala`): every call deposits, every retry
/// withdraws, and deposits expire.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FinagleBudget {
    /// Retries by calls. Default: 0.2.
    pub percent_can_retry: Probability,
    /// Retries a second that are allowed besides. Default: 10.
    pub min_retries_per_sec: u32,
    /// How long a deposit lasts. Default: 10 s.
    pub ttl: Time,
}

impl Default for FinagleBudget {
    fn default() -> Self {
        Self { percent_can_retry: share(0.2), min_retries_per_sec: 10, ttl: TTL }
    }
}

/// Parameters of `envoy` (`CircuitBreakers.Thresholds.RetryBudget`): no more calls are in a retry or in the
/// wait before it than this share of the attempts under way. With `budget_percent = 0` it is the limit
/// `max_retries` of Envoy's circuit breakers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnvoyBudget {
    /// Percent of the attempts under way and waiting. Default: 20.
    pub budget_percent: f64,
    /// Retries that are always allowed at once. Default: 3.
    pub min_retry_concurrency: u32,
}

impl Default for EnvoyBudget {
    fn default() -> Self {
        Self { budget_percent: 20.0, min_retry_concurrency: 3 }
    }
}

/// Parameters of `aws-sdk` (botocore, `retries/quota.py`, `retries/standard.py`): a bucket of tokens that
/// retries take from. A retry that succeeds gives back what it took, a call that needed none gives 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AwsSdkBudget {
    /// Tokens at first and at most. Default: 500.
    pub initial_capacity: u32,
    /// What a retry takes. Default: 5.
    pub retry_cost: u32,
    /// What a retry after a timeout takes. Default: 10.
    pub timeout_retry_cost: u32,
}

impl Default for AwsSdkBudget {
    fn default() -> Self {
        Self { initial_capacity: 500, retry_cost: 5, timeout_retry_cost: 10 }
    }
}

/// Parameters of `grpc` (gRFC A6): a failed attempt takes a token, a successful one gives `token_ratio`, and
/// there are retries only above half of `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcBudget {
    /// Tokens at first and at most. Default: 10, the example of the proposal.
    pub max_tokens: f64,
    /// What a success gives. Default: 0.1, the example of the proposal.
    pub token_ratio: f64,
}

impl Default for GrpcBudget {
    fn default() -> Self {
        Self { max_tokens: 10.0, token_ratio: 0.1 }
    }
}

const TTL: Time = Time::new(SimDuration::from_secs(10));

fn share(value: f64) -> Probability {
    Probability::new(value).expect("a share")
}

impl BudgetConfig {
    pub(super) fn build(&self) -> Result<Option<Budget>, ConfigError> {
        let wrong = |kind: &str, key: &str, value: String, expected: &str| {
            Err(ConfigError::new([kind, key], format!("{key} is {value}"))
                .help(format!("expected {expected}")))
        };
        Ok(Some(match self {
            Self::None => return Ok(None),
            Self::Share(share) => Budget::Finagle(Deposits::new(share.get(), 0, TTL.get())),
            Self::Finagle(FinagleBudget { percent_can_retry, min_retries_per_sec, ttl }) => {
                // The bounds of `RetryBudget.apply`.
                if !(1.0..=60.0).contains(&ttl.as_secs_f64()) {
                    return wrong("finagle", "ttl", ttl.to_string(), "a time from 1s to 60s");
                }
                Budget::Finagle(Deposits::new(percent_can_retry.get(), *min_retries_per_sec, ttl.get()))
            }
            Self::Envoy(EnvoyBudget { budget_percent: percent, .. }) if !(0.0..=100.0).contains(percent) => {
                return wrong("envoy", "budget_percent", percent.to_string(), "a percentage from 0 to 100");
            }
            Self::Envoy(budget) => Budget::Envoy(*budget),
            Self::AwsSdk(budget) => Budget::AwsSdk { budget: *budget, tokens: budget.initial_capacity },
            Self::Grpc(GrpcBudget { max_tokens, .. }) if !(0.0..=1000.0).contains(max_tokens) => {
                // The bounds of gRFC A6.
                return wrong("grpc", "max_tokens", max_tokens.to_string(), "a number from 0 to 1000");
            }
            Self::Grpc(GrpcBudget { token_ratio, .. }) if !(0.0..=1000.0).contains(token_ratio) => {
                return wrong("grpc", "token_ratio", token_ratio.to_string(), "a number from 0");
            }
            Self::Grpc(budget) => Budget::Grpc { budget: *budget, tokens: budget.max_tokens },
        }))
    }
}

const EXPECTED: &str = "a budget such as 0.1, \"envoy\" or { finagle = { min_retries_per_sec = 5 } }";
const NAMES: &[&str] = &["none", "finagle", "envoy", "aws-sdk", "grpc"];

impl BudgetConfig {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "finagle" => Self::Finagle(FinagleBudget::default()),
            "envoy" => Self::Envoy(EnvoyBudget::default()),
            "aws-sdk" => Self::AwsSdk(AwsSdkBudget::default()),
            "grpc" => Self::Grpc(GrpcBudget::default()),
            _ => return None,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::None | Self::Share(_) => NAMES[0],
            Self::Finagle(_) => NAMES[1],
            Self::Envoy(_) => NAMES[2],
            Self::AwsSdk(_) => NAMES[3],
            Self::Grpc(_) => NAMES[4],
        }
    }
}

impl<'de> Deserialize<'de> for BudgetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = BudgetConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<BudgetConfig, E> {
                Probability::new(value).map(BudgetConfig::Share).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<BudgetConfig, E> {
                self.visit_f64(value as f64)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<BudgetConfig, E> {
                self.visit_f64(value as f64)
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<BudgetConfig, E> {
                BudgetConfig::named(name).ok_or_else(|| E::unknown_variant(name, NAMES))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<BudgetConfig, A::Error> {
                let budget = BudgetConfig::deserialize(MapAccessDeserializer::new(&mut table))?;
                match table.next_key::<String>()? {
                    Some(second) => {
                        let message =
                            format!("one budget only: `{second}` is a second key (parameters go one deeper)");
                        Err(de::Error::custom(message))
                    }
                    None => Ok(budget),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for BudgetConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Share(share) => share.serialize(serializer),
            budget if Self::named(budget.name()).as_ref() == Some(budget) => {
                serializer.serialize_str(budget.name())
            }
            budget => Self::serialize(budget, serializer),
        }
    }
}

impl JsonSchema for BudgetConfig {
    fn schema_name() -> Cow<'static, str> {
        "BudgetConfig".into()
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
            table("finagle", generator.subschema_for::<FinagleBudget>()),
            table("envoy", generator.subschema_for::<EnvoyBudget>()),
            table("aws-sdk", generator.subschema_for::<AwsSdkBudget>()),
            table("grpc", generator.subschema_for::<GrpcBudget>()),
        ];
        json_schema!({
            "description": "How much may be sent beyond what was asked for: the share of the calls, the name \
                            of a real budget, or a table with one key, the name, and its parameters.",
            "anyOf": [
                { "type": "number", "minimum": 0, "maximum": 1 },
                { "type": "string", "enum": NAMES },
                { "oneOf": tables },
            ],
        })
    }
}

/// What a client process is about to spend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spending {
    pub now: SimTime,
    /// Whether the attempt before it timed out.
    pub timed_out: bool,
    /// Attempts under way and waiting.
    pub active: u32,
    /// Calls in a retry or in the wait before it.
    pub retrying: u32,
}

/// A budget of one client process.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Budget {
    Finagle(Deposits),
    Envoy(EnvoyBudget),
    AwsSdk { budget: AwsSdkBudget, tokens: u32 },
    Grpc { budget: GrpcBudget, tokens: f64 },
}

impl Budget {
    /// A call begins.
    pub fn deposit(&mut self, now: SimTime) {
        if let Self::Finagle(deposits) = self {
            deposits.add(now, deposits.deposit);
        }
    }

    /// Pays for one more attempt: what it cost, or `None` when it cannot be afforded.
    pub fn withdraw(&mut self, spending: Spending) -> Option<u32> {
        match self {
            Self::Finagle(deposits) => {
                let affordable = deposits.balance(spending.now) >= deposits.withdrawal;
                affordable.then(|| deposits.add(spending.now, -deposits.withdrawal)).map(|()| 0)
            }
            Self::Envoy(EnvoyBudget { budget_percent, min_retry_concurrency }) => {
                let most = (*budget_percent / 100.0 * f64::from(spending.active)) as u32;
                (spending.retrying < most.max(*min_retry_concurrency)).then_some(0)
            }
            Self::AwsSdk { budget, tokens } => {
                let cost = if spending.timed_out { budget.timeout_retry_cost } else { budget.retry_cost };
                *tokens = tokens.checked_sub(cost)?;
                Some(cost)
            }
            Self::Grpc { budget, tokens } => (*tokens > budget.max_tokens / 2.0).then_some(0),
        }
    }

    /// An attempt was answered, the last withdrawal for whose call was `cost`, if there was one.
    pub fn succeed(&mut self, cost: Option<u32>) {
        match self {
            Self::Finagle(_) | Self::Envoy(_) => {}
            Self::AwsSdk { budget, tokens } => {
                *tokens = tokens.saturating_add(cost.unwrap_or(1)).min(budget.initial_capacity);
            }
            Self::Grpc { budget, tokens } => *tokens = (*tokens + budget.token_ratio).min(budget.max_tokens),
        }
    }

    /// An attempt failed in a way that is retried.
    pub fn fail(&mut self) {
        if let Self::Grpc { tokens, .. } = self {
            *tokens = (*tokens - 1.0).max(0.0);
        }
    }
}

/// Finagle's leaky bucket of tokens: what goes in or out is forgotten after the time to live, in tenths of
/// it. In whole numbers, as there: ten deposits of a tenth are one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deposits {
    deposit: i64,
    withdrawal: i64,
    reserve: i64,
    slice: u64,
    /// The number of the present slice since time 0.
    present: u64,
    slices: [i64; SLICES],
}

const SLICES: usize = 10;

/// Finagle's `TokenRetryBudget.ScaleFactor`.
const SCALE: f64 = 1000.0;

impl Deposits {
    fn new(ratio: f64, min_per_s: u32, ttl: SimDuration) -> Self {
        // Without a ratio, all credit comes by time.
        let (deposit, withdrawal) =
            if ratio == 0.0 { (0, 1) } else { (SCALE as i64, (SCALE / ratio) as i64) };
        let reserve = (f64::from(min_per_s) * ttl.as_secs_f64()) as i64 * withdrawal;
        let slice = (ttl.as_nanos() / SLICES as u64).max(1);
        Self { deposit, withdrawal, reserve, slice, present: 0, slices: [0; SLICES] }
    }

    fn expire(&mut self, now: SimTime) {
        let present = now.as_nanos() / self.slice;
        let passed = (present - self.present).min(SLICES as u64);
        for slice in present + 1 - passed..=present {
            self.slices[slice as usize % SLICES] = 0;
        }
        self.present = present;
    }

    fn add(&mut self, now: SimTime, amount: i64) {
        self.expire(now);
        self.slices[self.present as usize % SLICES] += amount;
    }

    fn balance(&mut self, now: SimTime) -> i64 {
        self.expire(now);
        self.reserve + self.slices.iter().sum::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(text: &str) -> Budget {
        #[derive(serde::Deserialize)]
        struct File {
            budget: BudgetConfig,
        }
        let file: File = toml::from_str(&format!("budget = {text}")).unwrap();
        file.budget.build().unwrap().unwrap()
    }

    fn at(milliseconds: u64) -> Spending {
        let now = SimTime::from_nanos(milliseconds * 1_000_000);
        Spending { now, timed_out: false, active: 0, retrying: 0 }
    }

    #[test]
    fn a_share_is_earned_by_calls_and_expires() {
        let mut budget = budget("0.1");
        assert_eq!(budget.withdraw(at(0)), None);
        for call in 0..20 {
            budget.deposit(at(call).now);
        }
        assert_eq!([20, 21, 22].map(|time| budget.withdraw(at(time))), [Some(0), Some(0), None]);
        (0..10).for_each(|call| budget.deposit(at(1_000 + call).now));
        // 20 deposits and 2 withdrawals expire together, at 10 s; the later ones at 11 s.
        assert_eq!(budget.withdraw(at(10_500)), Some(0));
        (0..10).for_each(|call| budget.deposit(at(11_500 + call).now));
        assert_eq!(budget.withdraw(at(21_500)), None);
    }

    #[test]
    fn a_reserve_comes_back() {
        let mut budget =
            budget("{ finagle = { percent_can_retry = 0, min_retries_per_sec = 2, ttl = \"1s\" } }");
        assert_eq!([0, 10, 20].map(|time| budget.withdraw(at(time))), [Some(0), Some(0), None]);
        assert_eq!([1_000, 1_010, 1_020].map(|time| budget.withdraw(at(time))), [Some(0), Some(0), None]);
    }

    #[test]
    fn envoy_bounds_retries_under_way() {
        let mut budget = budget("\"envoy\"");
        let mut allowed =
            |active, retrying| budget.withdraw(Spending { active, retrying, ..at(0) }).is_some();
        assert!(allowed(0, 2) && !allowed(0, 3) && !allowed(15, 3));
        assert!(allowed(20, 3) && !allowed(20, 4) && allowed(100, 19) && !allowed(100, 20));
    }

    #[test]
    fn aws_gives_back_what_a_successful_retry_took() {
        let mut budget = budget("{ aws-sdk = { initial_capacity = 20 } }");
        assert_eq!(budget.withdraw(Spending { timed_out: true, ..at(0) }), Some(10));
        assert_eq!(budget.withdraw(at(0)), Some(5));
        assert_eq!(budget.withdraw(at(0)), Some(5));
        assert_eq!(budget.withdraw(at(0)), None);
        budget.succeed(Some(5));
        assert_eq!(budget.withdraw(at(0)), Some(5));
        (0..5).for_each(|_| budget.succeed(None));
        assert_eq!(budget.withdraw(at(0)), Some(5));
    }

    #[test]
    fn grpc_stops_at_half_of_the_tokens() {
        let mut budget = budget("\"grpc\"");
        for _ in 0..5 {
            assert!(budget.withdraw(at(0)).is_some());
            budget.fail();
        }
        assert_eq!(budget.withdraw(at(0)), None);
        budget.succeed(None);
        assert_eq!(budget.withdraw(at(0)), Some(0));
    }
}
