//! Autoscalers: how many replicas a pool is to have, decided as the real controllers decide it.
//!
//! A controller sees averages of the time since its last measurement, and nothing else: no controller here
//! knows how many replicas would be right. Calls that wait for a replica to start count as calls, as in
//! Knative's activator, which is why a slow start makes it ask for far too many.

mod cold_start;
mod hpa;
mod keda;
mod knative;
mod ray_serve;
mod schedule;
mod target_tracking;
mod warm_pool;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::deployment::{DeploymentConfig, Rollouts};
use crate::error::ConfigError;
use crate::pool::{MAX_REPLICAS, Scaling};
use crate::spot::SpotConfig;
pub use cold_start::{ColdStart, StorageTier};
pub(crate) use cold_start::{Stages, Taken};
pub use hpa::{Hpa, ScalingPolicy, ScalingRules};
pub use keda::{Keda, Trigger};
pub use knative::{Knative, KnativeMetric};
pub use ray_serve::RayServe;
pub use schedule::{Entry, Schedule};
pub use target_tracking::TargetTracking;
pub(crate) use warm_pool::WarmPool;
pub use warm_pool::{PoolState, WarmPoolConfig};

/// What a controller keeps at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Calls in the pool, waiting and in service.
    #[default]
    Concurrency,
    /// Calls that wait (`vllm:num_requests_waiting`).
    Queue,
    /// Calls that arrive, per second.
    Rps,
    /// Share of what replicas work on at once that is in use.
    Utilization,
    /// Share of the KV cache that is in use (`vllm:kv_cache_usage_perc`).
    KvUsage,
}

/// What was measured since the last time, over the whole pool.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sample {
    /// Calls waiting and in service, on average.
    pub concurrency: f64,
    /// Calls waiting, on average.
    pub queue: f64,
    /// Calls that arrived, per second.
    pub arrivals_per_s: f64,
    /// Share of the capacity of ready replicas in use, on average.
    pub utilization: f64,
    /// Share of the KV caches in use, on average.
    pub kv_usage: f64,
    /// Replicas that were ready.
    pub ready: u32,
}

impl Sample {
    /// A metric summed over the ready replicas.
    fn total(&self, metric: Metric) -> f64 {
        let ready = f64::from(self.ready);
        match metric {
            Metric::Concurrency => self.concurrency,
            Metric::Queue => self.queue,
            Metric::Rps => self.arrivals_per_s,
            Metric::Utilization => self.utilization * ready,
            Metric::KvUsage => self.kv_usage * ready,
        }
    }
}

/// The replicas of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// Those that take calls.
    pub ready: u32,
    /// Those that were asked for last: ready or starting.
    pub target: u32,
}

/// Who decides how many replicas a pool has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AutoscalerConfig {
    /// Knative's pod autoscaler.
    Knative(Knative),
    /// The horizontal pod autoscaler of Kubernetes.
    Hpa(Hpa),
    /// KEDA, with the horizontal pod autoscaler.
    Keda(Keda),
    /// Ray Serve.
    RayServe(RayServe),
    /// Target tracking of cloud providers.
    TargetTracking(TargetTracking),
    /// By the clock.
    Schedule(Schedule),
}

impl AutoscalerConfig {
    /// # Errors
    /// What of it cannot be; the path starts at the autoscaler.
    fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Knative(config) => config.check(),
            Self::Hpa(config) => config.check(),
            Self::Keda(config) => config.check(),
            Self::RayServe(config) => config.check(),
            Self::TargetTracking(config) => config.check(),
            Self::Schedule(config) => config.check(),
        }
    }

    /// The most replicas it ever asks for; none where it has no bound of its own.
    fn most(&self) -> Option<u32> {
        match self {
            Self::Knative(config) => (config.max_scale > 0).then_some(config.max_scale),
            Self::Hpa(config) => Some(config.max_replicas),
            Self::Keda(config) => Some(config.max_replica_count),
            Self::RayServe(config) => Some(config.max_replicas),
            Self::TargetTracking(config) => Some(config.max_capacity),
            Self::Schedule(config) => Some(config.most()),
        }
    }

    /// Replicas at the start of a run; `replicas` is what the pool says.
    fn initial(&self, replicas: u32) -> u32 {
        match self {
            Self::Knative(config) => config.initial_scale.max(config.min_scale),
            Self::Hpa(config) => replicas.clamp(config.min_replicas, config.max_replicas),
            Self::Keda(config) => replicas.clamp(config.min_replica_count, config.max_replica_count),
            Self::RayServe(config) => config.initial_replicas.unwrap_or(config.min_replicas),
            Self::TargetTracking(config) => replicas.clamp(config.min_capacity, config.max_capacity),
            Self::Schedule(config) => config.replicas(SimTime::ZERO),
        }
    }

    /// The most calls of a replica that works on `concurrency` at once; others wait in front. None: no bound.
    fn most_calls(&self, concurrency: u32) -> Option<u32> {
        match self {
            Self::Knative(config) => config.most_calls(concurrency),
            Self::RayServe(config) => Some(config.max_ongoing_requests.get()),
            Self::Hpa(_) | Self::Keda(_) | Self::TargetTracking(_) | Self::Schedule(_) => None,
        }
    }

    /// The controller at work. `concurrency` is what a replica works on at once.
    fn controller(&self, concurrency: u32) -> Controller {
        let state = match self {
            Self::Knative(config) => State::Knative(knative::KnativeState::new(config, concurrency)),
            Self::Hpa(config) => State::Hpa(hpa::HpaState::new(config)),
            Self::Keda(config) => State::Keda(keda::KedaState::new(config)),
            Self::RayServe(config) => State::RayServe(ray_serve::RayServeState::new(config)),
            Self::TargetTracking(config) => {
                State::TargetTracking(target_tracking::TargetTrackingState::new(config))
            }
            Self::Schedule(config) => State::Schedule(config.clone()),
        };
        Controller { config: self.clone(), state }
    }
}

#[derive(Debug, Clone)]
enum State {
    Knative(knative::KnativeState),
    Hpa(hpa::HpaState),
    Keda(keda::KedaState),
    RayServe(ray_serve::RayServeState),
    TargetTracking(target_tracking::TargetTrackingState),
    Schedule(Schedule),
}

/// An autoscaler at work.
#[derive(Debug, Clone)]
pub(crate) struct Controller {
    config: AutoscalerConfig,
    state: State,
}

impl Controller {
    /// Whether it measures whenever it decides.
    pub(crate) fn measures_to_decide(&self) -> bool {
        matches!(self.state, State::Keda(_))
    }

    /// Time between measurements; none for who measures when it decides, or not at all.
    pub(crate) fn metrics_period(&self) -> Option<SimDuration> {
        match &self.config {
            AutoscalerConfig::Knative(_) => Some(knative::SAMPLE),
            AutoscalerConfig::Hpa(config) => Some(config.metrics_period.get()),
            AutoscalerConfig::RayServe(config) => Some(config.metrics_interval_s.get()),
            AutoscalerConfig::TargetTracking(config) => Some(config.period.get()),
            AutoscalerConfig::Keda(_) | AutoscalerConfig::Schedule(_) => None,
        }
    }

    /// Time to its next decision.
    pub(crate) fn wait(&self, now: SimTime) -> SimDuration {
        match &self.state {
            State::Knative(state) => state.config.tick_interval.get(),
            State::Hpa(state) => state.config.sync_period.get(),
            State::Keda(state) => state.wait(now),
            State::RayServe(_) => ray_serve::CONTROL_LOOP_INTERVAL,
            State::TargetTracking(state) => state.config.period.get(),
            State::Schedule(schedule) => schedule.next(now).since(now),
        }
    }

    /// A measurement.
    pub(crate) fn sample(&mut self, now: SimTime, sample: &Sample) {
        match &mut self.state {
            State::Knative(state) => state.sample(now, sample),
            State::Hpa(state) => state.sample(sample),
            State::Keda(state) => state.sample(sample),
            State::RayServe(state) => state.sample(sample),
            State::TargetTracking(state) => state.sample(sample),
            State::Schedule(_) => {}
        }
    }

    /// How many replicas there are to be from now on.
    pub(crate) fn desired(&mut self, now: SimTime, replicas: Replicas) -> u32 {
        match &mut self.state {
            State::Knative(state) => state.desired(now, replicas),
            State::Hpa(state) => state.desired(now, replicas),
            State::Keda(state) => state.desired(now, replicas),
            State::RayServe(state) => state.desired(replicas),
            State::TargetTracking(state) => state.desired(now, replicas),
            State::Schedule(schedule) => schedule.replicas(now),
        }
    }
}

/// What a pool's configuration says of replicas that come and go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolScaling<'a> {
    pub autoscaler: Option<&'a AutoscalerConfig>,
    /// How replicas are interrupted, on spot capacity.
    pub spot: Option<&'a SpotConfig>,
    /// How versions replace one another.
    pub deployment: Option<&'a DeploymentConfig>,
    /// Replicas that are kept prepared.
    pub warm_pool: Option<&'a WarmPoolConfig>,
    pub cold_start: Option<&'a ColdStart>,
    pub quota: Option<NonZeroU32>,
    /// Replicas that the pool says it has.
    pub replicas: u32,
    /// Calls that a replica works on at once.
    pub concurrency: u32,
    /// Bytes of the weights of a replica's model.
    pub weights: Option<u64>,
}

/// The most replicas that a pool without a bound can get (assumption: a quota of a cloud).
pub(crate) const QUOTA: u32 = 1000;

impl PoolScaling<'_> {
    /// What the pool's front needs, and the most replicas there can ever be; none where they do not come and go.
    ///
    /// # Errors
    /// What of it cannot be; the path starts at the pool.
    pub(crate) fn build(&self) -> Result<Option<(Scaling, u32)>, ConfigError> {
        let always;
        let comes_and_goes = self.spot.is_some() || self.deployment.is_some();
        let autoscaler = match self.autoscaler {
            Some(autoscaler) => autoscaler,
            None if comes_and_goes && self.warm_pool.is_none() => {
                always = AutoscalerConfig::Schedule(Schedule::always(self.replicas));
                &always
            }
            None => {
                let given = [
                    ("warm_pool", self.warm_pool.is_some()),
                    ("cold_start", self.cold_start.is_some()),
                    ("replica_quota", self.quota.is_some()),
                ];
                return match given.into_iter().find(|(_, given)| *given) {
                    Some((key, _)) => Err(ConfigError::new([key], format!("`{key}` needs an autoscaler"))
                        .help("expected `autoscaler` beside it, such as { kind = \"hpa\" }")),
                    None => Ok(None),
                };
            }
        };
        autoscaler.check().map_err(|error| error.within("autoscaler"))?;
        let quota = self.quota.map_or(QUOTA, NonZeroU32::get);
        let initial = autoscaler.initial(self.replicas);
        if initial > quota {
            return Err(ConfigError::new(["replica_quota"], format!("replica_quota is {quota}"))
                .help(format!("expected at least the {initial} replicas at the start")));
        }
        let cold_start = self.cold_start.cloned().unwrap_or_default();
        let stages = cold_start.stages(self.weights).map_err(|error| error.within("cold_start"))?;
        let most = autoscaler.most().map_or(quota, |most| most.min(quota)).max(initial);
        let spot = self.spot.map(|spot| spot.build(1).map_err(|error| error.within("spot"))).transpose()?;
        let rollouts = self.rollouts(autoscaler, initial)?;
        let warm_pool = self.warm_pool(autoscaler.most().map(|most| most.min(quota)))?;
        let surge = self.deployment.map_or(0, |deployment| Rollouts::surge(deployment, most));
        // On spot capacity and in a deployment one may start while the one before it leaves.
        let slots = match spot.is_some() || rollouts.is_some() {
            true => most.saturating_add(surge).saturating_mul(2).min(MAX_REPLICAS).max(most),
            false => most,
        };
        let scaling = Scaling {
            controller: autoscaler.controller(self.concurrency),
            cold_start: stages,
            initial,
            most_calls: autoscaler.most_calls(self.concurrency),
            most,
            spot,
            rollouts,
            warm_pool,
        };
        Ok(Some((scaling, slots)))
    }

    fn rollouts(
        &self,
        autoscaler: &AutoscalerConfig,
        initial: u32,
    ) -> Result<Option<Box<Rollouts>>, ConfigError> {
        let Some(deployment) = self.deployment else { return Ok(None) };
        let own = match autoscaler {
            AutoscalerConfig::Knative(_) => Some("Knative"),
            AutoscalerConfig::RayServe(_) => Some("Ray Serve"),
            _ => None,
        };
        if let Some(own) = own {
            let message = format!("{own} rolls out versions in a way of its own, which is not modelled");
            return Err(ConfigError::new(["deployment"], message)
                .help("expected another autoscaler, such as { kind = \"hpa\" }, or none"));
        }
        let built = Rollouts::new(deployment, self.weights, initial);
        built.map(|rollouts| Some(Box::new(rollouts))).map_err(|error| error.within("deployment"))
    }

    fn warm_pool(&self, most: Option<u32>) -> Result<Option<WarmPool>, ConfigError> {
        let Some(warm_pool) = self.warm_pool else { return Ok(None) };
        let beside = [
            ("spot", self.spot.is_some(), "EC2 has no warm pools on spot capacity"),
            ("deployment", self.deployment.is_some(), "replicas in it would be of an old version"),
        ];
        if let Some((key, _, message)) = beside.into_iter().find(|(_, given, _)| *given) {
            return Err(
                ConfigError::new(["warm_pool"], message).help(format!("leave out one of the two: `{key}`"))
            );
        }
        warm_pool.build(most).map(Some).map_err(|error| error.within("warm_pool"))
    }
}

/// A count from a number that may lie beyond its range.
fn whole(count: f64) -> u32 {
    count.clamp(0.0, f64::from(u32::MAX)) as u32
}

fn positive(key: &str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(ConfigError::new([key], format!("{key} is {value}")).help("expected a number above 0"))
}

fn at_least(key: &str, value: f64, least: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(ConfigError::new([key], format!("{key} is {value}")).help(format!("expected at least {least}")))
}
