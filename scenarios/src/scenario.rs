//! What a scenario file says.

use std::num::NonZeroU32;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_models::cost::StorageConfig;
use sim_models::device::DeviceConfig;
use sim_models::energy::EnergyConfig;
use sim_models::link::LinkConfig;
use sim_models::quality::QualityConfig;
use sim_models::system::config::{ComponentConfig, FaultConfig};
use sim_models::system::{Placement, SystemConfig};
use sim_models::traffic::TrafficConfig;
use sim_models::units::{Money, Probability, Time};

use crate::plan::PlanConfig;
use crate::sweep::SweepConfig;

/// A scenario: a system, the load on it, how it is run and what is expected of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in results.
    pub name: String,
    /// What it shows, in a sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long and how often it is run.
    #[serde(default)]
    pub run: RunConfig,
    /// What is expected of it.
    #[serde(default, skip_serializing_if = "SloConfig::is_empty")]
    pub slo: SloConfig,
    /// Where requests come from, by name.
    pub traffic: IndexMap<String, TrafficConfig>,
    /// What serves them, by name.
    pub components: IndexMap<String, ComponentConfig>,
    /// GPUs that several of them share, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub devices: IndexMap<String, DeviceConfig>,
    /// Which models are right how often, and on the same questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityConfig>,
    /// Policies of calls, by `"caller -> callee"`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub links: IndexMap<String, LinkConfig>,
    /// Data at rest and what they cost, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub storage: IndexMap<String, StorageConfig>,
    /// What energy costs, and what comes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyConfig>,
    /// The zones of components and traffic, by their names: one, or several for the replicas of a pool or the instances
    /// of a caller in turn.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub placement: IndexMap<String, Placement>,
    /// What breaks, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fault: Vec<FaultConfig>,
    /// The same system with a few values changed, to compare it with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variant: Vec<VariantConfig>,
    /// What `tenfold sweep` varies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepConfig>,
    /// Among what `tenfold plan` looks for the cheapest configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanConfig>,
}

/// The same system with a few values changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariantConfig {
    /// What it is called in results; `base` is the scenario as it is written.
    pub name: String,
    /// What it shows, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// New values, by path: `"components.features.read" = "multi_get"`. A path that is not there yet is made.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub set: IndexMap<String, serde_json::Value>,
    /// Paths of values that are taken away first, so that their defaults hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
}

impl Scenario {
    /// The part that is simulated.
    pub fn system(&self) -> SystemConfig {
        SystemConfig {
            traffic: self.traffic.clone(),
            components: self.components.clone(),
            devices: self.devices.clone(),
            quality: self.quality.clone(),
            links: self.links.clone(),
            storage: self.storage.clone(),
            energy: self.energy,
            placement: self.placement.clone(),
            faults: self.fault.clone(),
        }
    }
}

/// How a scenario is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Requests are born for this long. Default: 10 minutes, or the length of the longest trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Time>,
    /// How long the run goes on after that until all requests have ended. Default: none, or as long again
    /// as the duration when all traffic is traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Time>,
    /// What is left out at the start: a time, or `"auto"` (MSER-5 on a pilot run, for stationary traffic
    /// without faults; nothing otherwise).
    #[serde(default)]
    pub warmup: Warmup,
    /// Seed of all randomness.
    #[serde(default = "one")]
    pub seed: u64,
    /// How many runs with different luck. Default: 5.
    #[serde(default = "five")]
    pub replications: NonZeroU32,
    /// Windows of the time series. Default: 200.
    #[serde(default = "two_hundred")]
    pub windows: NonZeroU32,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            duration: None,
            drain: None,
            warmup: Warmup::Auto,
            seed: one(),
            replications: five(),
            windows: two_hundred(),
        }
    }
}

fn one() -> u64 {
    1
}

fn five() -> NonZeroU32 {
    NonZeroU32::new(5).expect("not zero")
}

fn two_hundred() -> NonZeroU32 {
    NonZeroU32::new(200).expect("not zero")
}

/// What is expected: thresholds for the whole run, and what makes a single request good.
///
/// A request is good (counts towards goodput) when its own latency, time to first token and time per
/// output token are within the loosest bound given for each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SloConfig {
    /// End-to-end latency, from birth to reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Quantiles>,
    /// Time to first token (TTFT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Quantiles>,
    /// Time per output token after the first (TPOT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot: Option<Quantiles>,
    /// Largest share of requests that may be rejected, time out or fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Probability>,
    /// Largest share of answers that may be wrong, by the `quality` table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_rate: Option<Probability>,
    /// Largest bill for 730 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_cost: Option<Money>,
    /// What 1,000 good requests earn; the bill of as many is expected to be no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revenue_per_1k: Option<Money>,
    /// Other expectations for single classes.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub class: IndexMap<String, ClassSlo>,
}

impl SloConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is expected of one class; what is not said here is as for all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassSlo {
    /// End-to-end latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Quantiles>,
    /// Time to first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Quantiles>,
    /// Time per output token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot: Option<Quantiles>,
    /// Largest share of requests that may be rejected, time out or fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Probability>,
    /// Largest share of answers that may be wrong, by the `quality` table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_rate: Option<Probability>,
}

/// Bounds on quantiles of a time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// Mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Time>,
    /// Median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<Time>,
    /// 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Time>,
    /// 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<Time>,
}

impl Quantiles {
    /// Those of a class: each its own, or else as for all.
    pub(crate) fn of_class(own: Option<Self>, all: Option<Self>) -> Option<Self> {
        let (Some(own), Some(all)) = (own, all) else { return own.or(all) };
        Some(Self {
            mean: own.mean.or(all.mean),
            p50: own.p50.or(all.p50),
            p95: own.p95.or(all.p95),
            p99: own.p99.or(all.p99),
        })
    }
}

/// What is left out at the start of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema)]
#[schemars(with = "String")]
pub enum Warmup {
    /// Found by MSER-5 on a pilot run.
    #[default]
    Auto,
    /// This much.
    Fixed(Time),
}

impl Serialize for Warmup {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(time) => time.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Warmup {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let time = text
            .parse()
            .map_err(|error| serde::de::Error::custom(format!("{error}; \"auto\" is accepted too")))?;
        Ok(Self::Fixed(time))
    }
}
