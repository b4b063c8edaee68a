//! How a model server puts calls together, in a scenario.

use std::num::NonZeroU32;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use crate::error::ConfigError;
use crate::model_server::batcher::{Policy, Rules};

/// The most priority levels: there are no more classes.
const MAX_LEVELS: u32 = 255;

/// How calls are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Batching {
    /// Every call on its own.
    #[default]
    None,
    /// A batch goes when it is full.
    Static,
    /// Triton's dynamic batcher.
    Dynamic,
}

/// Triton's `dynamic_batching` (`ModelDynamicBatching` in `model_config.proto`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DynamicBatchingConfig {
    /// Batch sizes that go at once, in items. Default: `max_batch_size`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_batch_size: Vec<NonZeroU32>,
    /// How long the oldest call waits for others while an instance is idle, in microseconds. Default: 0.
    #[serde(default)]
    pub max_queue_delay_microseconds: u64,
    /// Whether replies leave in the order in which calls went into batches. Default: false.
    #[serde(default)]
    pub preserve_ordering: bool,
    /// Number of levels, of which 1 is served first; a call's class, counted from 1, is its level. Default: 0,
    /// one level for all.
    #[serde(default)]
    pub priority_levels: u32,
    /// The level of classes beyond `priority_levels`. Default: 0; to be given with levels.
    #[serde(default)]
    pub default_priority_level: u32,
    /// The queue of levels without a policy of their own.
    #[serde(default)]
    pub default_queue_policy: QueuePolicyConfig,
    /// The queues of some levels, by level.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub priority_queue_policy: IndexMap<String, QueuePolicyConfig>,
}

/// Triton's `ModelQueuePolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueuePolicyConfig {
    /// What becomes of a call that has waited longer than its timeout. Default: REJECT.
    #[serde(default)]
    pub timeout_action: TimeoutAction,
    /// Longest wait of a call, in microseconds. Default: 0, no timeout.
    #[serde(default)]
    pub default_timeout_microseconds: u64,
    /// Whether a caller with less patience shortens its timeout (one of 0 stays none). Default: false.
    #[serde(default)]
    pub allow_timeout_override: bool,
    /// The most calls that wait; who comes then is rejected. Default: 0, no bound.
    #[serde(default)]
    pub max_queue_size: u32,
}

/// What becomes of a call that has waited too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TimeoutAction {
    /// It is rejected.
    #[default]
    Reject,
    /// It goes behind all calls of its level that are in time.
    Delay,
}

impl DynamicBatchingConfig {
    pub(super) fn apply(&self, rules: &mut Rules) -> Result<(), ConfigError> {
        for size in &self.preferred_batch_size {
            if u64::from(size.get()) > rules.max_batch_size {
                return Err(ConfigError::new(
                    ["preferred_batch_size"],
                    format!("a preferred size is {size}"),
                )
                .help(format!("expected at most max_batch_size, {}", rules.max_batch_size)));
            }
        }
        if !self.preferred_batch_size.is_empty() {
            rules.preferred = self.preferred_batch_size.iter().map(|size| size.get().into()).collect();
            rules.preferred.sort_unstable();
            rules.preferred.dedup();
        }
        rules.delay = Some(micros("max_queue_delay_microseconds", self.max_queue_delay_microseconds)?);
        let levels = self.priority_levels;
        let default = self.default_priority_level;
        if levels > MAX_LEVELS {
            return Err(ConfigError::new(["priority_levels"], format!("priority_levels is {levels}"))
                .help(format!("expected at most {MAX_LEVELS}")));
        }
        if (levels > 0 && !(1..=levels).contains(&default)) || (levels == 0 && default != 0) {
            let message = format!("default_priority_level is {default}, of {levels} levels");
            let help = match levels {
                0 => "without priority_levels there is none".to_owned(),
                levels => format!("expected a level from 1 to {levels}"),
            };
            return Err(ConfigError::new(["default_priority_level"], message).help(help));
        }
        let fallback =
            self.default_queue_policy.policy().map_err(|error| error.within("default_queue_policy"))?;
        rules.levels = vec![fallback; levels.max(1) as usize];
        for (name, policy) in &self.priority_queue_policy {
            let within = |error: ConfigError| error.within(name.as_str()).within("priority_queue_policy");
            let level = name.parse::<u32>().ok().filter(|level| (1..=levels).contains(level));
            let Some(level) = level else {
                return Err(within(ConfigError::new([""; 0], format!("there is no level `{name}`")).help(
                    match levels {
                        0 => "set priority_levels".to_owned(),
                        levels => format!("expected a level from 1 to {levels}"),
                    },
                )));
            };
            rules.levels[level as usize - 1] = policy.policy().map_err(within)?;
        }
        Ok(())
    }
}

impl QueuePolicyConfig {
    pub(super) fn policy(&self) -> Result<Policy, ConfigError> {
        Ok(Policy {
            action: self.timeout_action,
            timeout: micros("default_timeout_microseconds", self.default_timeout_microseconds)?,
            allow_override: self.allow_timeout_override,
            max_queue_size: self.max_queue_size.into(),
        })
    }
}

fn micros(key: &str, micros: u64) -> Result<SimDuration, ConfigError> {
    micros.checked_mul(1000).map(SimDuration::from_nanos).ok_or_else(|| {
        ConfigError::new([key], format!("{key} is {micros}"))
            .help("expected at most 584 years of microseconds")
    })
}
