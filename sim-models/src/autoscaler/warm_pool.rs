//! Warm pools: replicas that are prepared before they are wanted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use crate::error::ConfigError;
use crate::pool::MAX_REPLICAS;
use crate::units::{HourlyPrice, Time};

/// Replicas kept prepared beside those that serve: the warm pool of Amazon EC2 Auto Scaling
/// (docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-warm-pools.html, read 2026-11), with its names.
///
/// Its size is `max_group_prepared_capacity` less the replicas that serve or start, and at least `min_size`. One that is
/// asked for comes from it, if any is prepared, with a start of its own in place of the cold start; then the pool is
/// filled again, each with a full cold start. It is full when a run begins. A stock-out leaves it the replicas that run;
/// the others cannot be started then, as on EC2.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarmPoolConfig {
    /// The least replicas in it. Default: 0.
    pub min_size: u32,
    /// The most replicas that serve or are prepared, but for `min_size`. Default: the most that the autoscaler may ask
    /// for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_group_prepared_capacity: Option<u32>,
    /// What replicas in it are. Default: `stopped`.
    pub pool_state: PoolState,
    /// Whether replicas that are no longer needed return to it, and are not ended. Default: false.
    pub reuse_on_scale_in: bool,
    /// Time from it into service. Default: 30 s stopped, 20 s hibernated, 0 running (assumptions: an instance boots,
    /// or reads its memory back, and the program is up).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// Price of a replica that is stopped or hibernated: its volumes and addresses. Running, and while it is
    /// prepared, it is paid as one that serves. Default: not on the bill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
}

/// What replicas in a warm pool are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolState {
    /// Shut down: only what is attached to them is paid.
    #[default]
    Stopped,
    /// With their memory on a volume.
    Hibernated,
    /// As those that serve, without calls.
    Running,
}

/// A warm pool, ready to be used.
#[derive(Debug, Clone)]
pub(crate) struct WarmPool {
    min_size: u32,
    prepared_capacity: u32,
    pub(crate) is_running: bool,
    pub(crate) reuse_on_scale_in: bool,
    pub(crate) start: SimDuration,
    /// The line of the bill of those that do not run.
    pub(crate) bill: Option<usize>,
}

impl WarmPoolConfig {
    /// `most` are the replicas that the autoscaler may ask for, if it has a bound.
    ///
    /// # Errors
    /// What of it cannot be; the path starts at it.
    pub(super) fn build(&self, most: Option<u32>) -> Result<WarmPool, ConfigError> {
        let Some(prepared_capacity) = self.max_group_prepared_capacity.or(most) else {
            let message = "the autoscaler has no bound that the size of a warm pool could come from";
            return Err(ConfigError::new(["max_group_prepared_capacity"], message)
                .help("expected a number of replicas, such as 8"));
        };
        if self.min_size > MAX_REPLICAS || prepared_capacity > MAX_REPLICAS {
            let message =
                format!("min_size is {}, max_group_prepared_capacity {prepared_capacity}", self.min_size);
            return Err(ConfigError::new(["min_size"], message)
                .help(format!("expected at most {MAX_REPLICAS} of each")));
        }
        let is_running = self.pool_state == PoolState::Running;
        if is_running && self.price_per_hour.is_some() {
            let message = "a replica that runs is paid as one that serves";
            return Err(ConfigError::new(["price_per_hour"], message)
                .help("expected pool_state = \"stopped\" or \"hibernated\", or no price"));
        }
        let seconds = match self.pool_state {
            PoolState::Stopped => 30,
            PoolState::Hibernated => 20,
            PoolState::Running => 0,
        };
        Ok(WarmPool {
            min_size: self.min_size,
            prepared_capacity,
            is_running,
            reuse_on_scale_in: self.reuse_on_scale_in,
            start: self.start.map_or(SimDuration::from_secs(seconds), Time::get),
            bill: None,
        })
    }
}

impl WarmPool {
    /// How many are kept prepared while so many serve or start.
    pub(crate) fn size(&self, serving: u32) -> u32 {
        self.prepared_capacity.saturating_sub(serving).max(self.min_size)
    }
}
