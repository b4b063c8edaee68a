//! Where requests come from: when they arrive, and what each of them is.

pub mod arrivals;
mod sessions;
mod source;
mod tokens;
pub mod trace;

use std::num::NonZeroU32;
use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Dist, Zipf};
use sim_core::random::Streams;

use crate::component::{Component, ComponentId};
use crate::context::Labels;
use crate::cost::{CostMeter, EgressConfig};
use crate::error::ConfigError;
use crate::system::RunPlan;
use crate::units::{NumberDist, Time};
use arrivals::ArrivalsConfig;
pub use sessions::SessionsConfig;
use source::Source;
use trace::Trace;

/// The class and the tenant of requests of which nothing else is said.
const DEFAULT_LABEL: &str = "default";

/// A traffic source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficConfig {
    /// When requests arrive.
    pub arrivals: ArrivalsConfig,
    /// The component that they are sent to.
    pub entry: String,
    /// Prompt length in tokens, at least 1; a trace's own lengths take precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<NumberDist>,
    /// Answer length in tokens, at least 1; a trace's own lengths take precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<NumberDist>,
    /// Priority classes and their shares, the most important first. Default: one class, `default`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub priority: IndexMap<String, f64>,
    /// Tenants and their shares. Default: one tenant, `default`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub tenants: IndexMap<String, f64>,
    /// How long a user waits before giving up. Default: forever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Beginnings that prompts share (system prompts, documents), for prefix caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<PrefixesConfig>,
    /// What requests ask about: equal topics can be answered from a semantic cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<PopularityConfig>,
    /// Users or items whose features requests need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<PopularityConfig>,
    /// Users who come back: each arrival begins a session of several requests, and the rates of `arrivals` are those of
    /// sessions; in a closed loop its users think between sessions. Left out with a trace, which says itself who comes
    /// back. Default: every request is one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsConfig>,
    /// Data that leave with each answer, and what they cost. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressConfig>,
}

/// How many things there are, and how popular each is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PopularityConfig {
    /// How many.
    pub count: NonZeroU32,
    /// Zipf exponent: the n-th most popular is asked for in proportion to n^-zipf; 0 is uniform.
    #[serde(default)]
    pub zipf: f64,
}

/// Shared beginnings of prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefixesConfig {
    /// How many different ones.
    pub count: NonZeroU32,
    /// Zipf exponent of their popularity; 0 is uniform.
    #[serde(default)]
    pub zipf: f64,
    /// Their length in tokens.
    pub tokens: u32,
}

fn popularity(count: NonZeroU32, zipf: f64) -> Result<Dist, ConfigError> {
    match Zipf::new(u64::from(count.get()), zipf) {
        Ok(law) => Ok(law.into()),
        Err(error) => Err(ConfigError::new(["zipf"], error.to_string())),
    }
}

impl PopularityConfig {
    fn popularity(&self) -> Result<Dist, ConfigError> {
        popularity(self.count, self.zipf)
    }
}

impl PrefixesConfig {
    fn popularity(&self) -> Result<Dist, ConfigError> {
        popularity(self.count, self.zipf)
    }
}

/// Names and shares, or one name for all.
fn shares(key: &str, shares: &IndexMap<String, f64>) -> Result<Vec<(String, f64)>, ConfigError> {
    if shares.is_empty() {
        return Ok(vec![(DEFAULT_LABEL.to_owned(), 1.0)]);
    }
    for (name, share) in shares {
        if !(share.is_finite() && *share >= 0.0) {
            return Err(ConfigError::new([key, name], format!("the share of `{name}` is {share}"))
                .help("expected a number from 0 to 1"));
        }
    }
    let sum: f64 = shares.values().sum();
    if (sum - 1.0).abs() > 1e-6 {
        return Err(
            ConfigError::new([key], format!("the shares sum to {sum}")).help("expected shares that sum to 1")
        );
    }
    Ok(shares.iter().map(|(name, share)| (name.clone(), *share)).collect())
}

/// The names a trace gives to classes, or else to priorities.
fn trace_classes(trace: &Trace) -> &[String] {
    if trace.classes().is_empty() { trace.priorities() } else { trace.classes() }
}

/// The same, the most important first: of priorities that are numbers the lowest, as in vLLM, of others and of classes
/// the first to appear.
fn by_importance(trace: &Trace) -> Vec<String> {
    let mut names = trace_classes(trace).to_vec();
    let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    if trace.classes().is_empty() && numbers.is_some() {
        names.sort_by_key(|name| name.parse::<i64>().unwrap_or(i64::MAX));
    }
    names
}

impl TrafficConfig {
    fn class_shares(&self) -> Result<Vec<(String, f64)>, ConfigError> {
        shares("priority", &self.priority)
    }

    fn tenant_shares(&self) -> Result<Vec<(String, f64)>, ConfigError> {
        shares("tenants", &self.tenants)
    }

    /// Names of its classes, the most important first.
    pub fn class_names(&self, trace: Option<&Trace>) -> Vec<String> {
        names(&self.priority, trace.map(by_importance))
    }

    /// Names of its tenants.
    pub fn tenant_names(&self, trace: Option<&Trace>) -> Vec<String> {
        names(&self.tenants, trace.map(|trace| trace.tenants().to_vec()))
    }

    /// Requests of an arrival on average, if all are answered: one, or the turns of a session.
    pub fn requests_per_arrival(&self) -> Option<f64> {
        self.sessions.as_ref().map_or(Some(1.0), SessionsConfig::mean_turns)
    }

    pub(crate) fn build(
        &self,
        name: &str,
        entry: ComponentId,
        plan: &RunPlan,
        labels: &Labels,
        trace: Option<&Arc<Trace>>,
        (cost, me): (&mut CostMeter, ComponentId),
    ) -> Result<Box<dyn Component>, ConfigError> {
        let streams = Streams::new(plan.seed, plan.replication);
        let mut source = Source::new(self, name, entry, plan.scale, streams, labels, trace)?;
        if let Some(egress) = self.egress {
            let line = cost.add_usage(me, "egress GB", egress.price_per_gb.dollars(), "scenario");
            source.set_egress(line, egress.gb());
        }
        Ok(Box::new(source))
    }
}

fn names(configured: &IndexMap<String, f64>, traced: Option<Vec<String>>) -> Vec<String> {
    let mut names: Vec<String> = match configured.is_empty() {
        true => vec![DEFAULT_LABEL.to_owned()],
        false => configured.keys().cloned().collect(),
    };
    names.extend(traced.unwrap_or_default());
    names
}
