//! The `model_server` component in a scenario, and the way from there to a server.

mod batching;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use super::batcher::Rules;
pub use batching::{Batching, DynamicBatchingConfig, QueuePolicyConfig, TimeoutAction};

use super::execution::Execution;
use super::replica::{Replica, Shared};
use super::report::ModelServerReport;
use super::roofline::{Served, is_ranking};
use super::server::Server;
use crate::admission::AdmissionConfig;
use crate::autoscaler::{AutoscalerConfig, ColdStart, PoolScaling, WarmPoolConfig};
use crate::component::Component;
use crate::cost::{ListPrice, PriceModelConfig, Rent};
use crate::deployment::DeploymentConfig;
use crate::device::{ClientId, Placement, Rate};
use crate::error::ConfigError;
use crate::hardware::HardwareError;
use crate::hardware::catalogue::{self, Gpu};
use crate::hardware::precision::Precision;
use crate::pool::{Balancer, Front, FrontSetup, HealthConfig, Scaling, ZoneAware};
use crate::slab::Slab;
use crate::spot::SpotConfig;
use crate::system::Scope;
use crate::units::{Bytes, HourlyPrice, Number, NumberDist, Probability, Time, TimeDist};

/// The most instances of a server: a bound on the memory of a simulation (assumption).
const MAX_INSTANCES: u32 = 4096;
/// What the host and the launch of kernels add to an execution of a catalogue model. Assumption.
const OVERHEAD_US: f64 = 100.0;

/// A server of a model that is no LLM, with dynamic batching as in NVIDIA's Triton Inference Server.
/// Settings of the batcher have Triton's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelServerConfig {
    /// How long an execution takes. Either this or `model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionConfig>,
    /// A transformer (an encoder, mostly) or a ranking model of the catalogue, by its id, or the path of a
    /// transformer's `config.json`: the time of its executions on the GPU is computed, uncalibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// With a transformer, number format of the weights. Default: fp16, on CPU hosts bf16. Ranking models
    /// are in fp32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// With a transformer, tokens of an item. Default: the prompt tokens of the request. What is longer than the model's
    /// context is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_item: Option<NumberDist>,
    /// With a transformer, whether all items of a batch are padded to the longest. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding: Option<bool>,
    /// With `model`, what the host and the launch of kernels add to every execution. Default: 0.1 ms, an
    /// assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Time>,
    /// Items of a call, such as candidates to rank, at least 1. Default: 1.
    #[serde(default = "one_item")]
    pub items_per_request: NumberDist,
    /// Most items of an execution; a call with more is rejected. Default: 1.
    #[serde(default = "one")]
    pub max_batch_size: NonZeroU32,
    /// How calls are put together. Default: none, as Triton without a `dynamic_batching` block.
    #[serde(default)]
    pub batching: Batching,
    /// With dynamic batching, its settings. Default: Triton's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatchingConfig>,
    /// With static batching, how long the first waits for the batch to fill. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_timeout: Option<Time>,
    /// The most calls that wait, in a pool at each replica, at least 1; who comes then is rejected. Default: no bound. With dynamic
    /// batching its `max_queue_size` takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_cap: Option<NonZeroU32>,
    /// Which calls are turned away or wait in front. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Box<AdmissionConfig>>,
    /// How many copies of the model run at once, and on what.
    #[serde(default)]
    pub instance_group: InstanceGroupConfig,
    /// Makes it a pool of so many replicas, each with its own queue, instances and GPUs. Default: no pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<NonZeroU32>,
    /// How calls are spread over the replicas. Default: round_robin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<Balancer>,
    /// Whether calls go to replicas in the zone of their caller where there is room, as in Envoy. Default: the balancer
    /// does not know of zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_aware: Option<ZoneAware>,
    /// How it is learnt which replicas are well. Default: kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthConfig>,
    /// The GPU or CPU host, by its id in the catalogue, such as `l4` or `cpu-m7i-8xlarge`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// GPUs (or hosts) of its own, in a pool of each replica, each with `instance_group.count` instances. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<NonZeroU32>,
    /// A GPU that it shares with others, by its name under `devices`, in place of one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// On a device with MIG, the profile of its slice, such as `1g.10gb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig_profile: Option<String>,
    /// On a device with MPS, the most of the GPU that it may use, in percent. Default: 100, as in MPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_thread_percentage: Option<Number>,
    /// Memory of an instance on its GPU. Default: the model's weights, or none with `execution`. A process
    /// with a `model` takes 0.75 GiB of a GPU besides for the CUDA runtime (assumption); activations are
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Share of calls that fail, after their full execution. Default: 0.
    #[serde(default)]
    pub error_rate: Probability,
    /// Who decides how many replicas there are. Default: nobody, there are always as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Box<AutoscalerConfig>>,
    /// How long a new replica takes. Default: no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<Box<ColdStart>>,
    /// The most replicas that can be had, whatever the autoscaler asks for. Default: 1,000 (an assumption).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_quota: Option<NonZeroU32>,
    /// On spot capacity: how replicas are interrupted, and replaced with a cold start. What they cost is said by
    /// `price_model`. Default: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot: Option<SpotConfig>,
    /// How versions of its program replace one another. Default: there is one version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Box<DeploymentConfig>>,
    /// With an autoscaler, replicas that are kept prepared beside those that serve. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_pool: Option<WarmPoolConfig>,
    /// Price of one GPU with `gpu`, of one instance without. Default: the catalogue's on-demand price of
    /// the GPU; nothing without one. A device has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

/// How long an execution of a batch takes, alone on its hardware: `fixed + per_item * items`. A law is
/// drawn once for an execution, by its first call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionConfig {
    /// What every execution takes. Default: nothing.
    #[serde(default = "no_time")]
    pub fixed: TimeDist,
    /// What each item adds. Default: nothing.
    #[serde(default = "no_time")]
    pub per_item: TimeDist,
    /// What slows it down on a MIG slice: the slice's share of the multiprocessors or of the memory
    /// bandwidth. Default: compute, the smaller share of most profiles.
    #[serde(default)]
    pub bound: Bound,
}

/// What bounds the speed of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Multiprocessors.
    #[default]
    Compute,
    /// Memory bandwidth.
    Memory,
}

/// Triton's `instance_group`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceGroupConfig {
    /// Instances, on each GPU where there are any. Default: 1.
    #[serde(default = "one")]
    pub count: NonZeroU32,
    /// What they run on. Default: auto, a GPU where one is given.
    #[serde(default)]
    pub kind: InstanceKind,
}

impl Default for InstanceGroupConfig {
    fn default() -> Self {
        Self { count: one(), kind: InstanceKind::Auto }
    }
}

/// What instances run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceKind {
    /// On the GPU if one is given, otherwise on CPUs.
    #[default]
    Auto,
    /// On a GPU.
    Gpu,
    /// On CPUs.
    Cpu,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn one_item() -> NumberDist {
    NumberDist::constant(Number::new(1.0).expect("one is a number"))
}

fn no_time() -> TimeDist {
    TimeDist::constant(Time::ZERO)
}

/// What the instances run on.
struct Hardware {
    /// The GPU as an instance sees it.
    gpu: Option<Gpu>,
    clients: Vec<ClientId>,
    /// Shares of multiprocessors and of memory bandwidth.
    compute: Rate,
    bandwidth: Rate,
}

impl ModelServerConfig {
    /// Whether it is a pool of replicas.
    pub(crate) fn is_pool(&self) -> bool {
        self.replicas.is_some() || self.autoscaler.is_some()
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        self.check_keys()?;
        let rules = self.rules()?;
        let given = self.replicas.map_or(1, NonZeroU32::get);
        let own_gpus = if self.gpu.is_some() { self.gpus.unwrap_or(one()).get() } else { 0 };
        let instances = self.instance_group.count.get().saturating_mul(own_gpus.max(1));
        let scaling = PoolScaling {
            spot: self.spot.as_ref(),
            deployment: self.deployment.as_deref(),
            warm_pool: self.warm_pool.as_ref(),
            autoscaler: self.autoscaler.as_deref(),
            cold_start: self.cold_start.as_deref(),
            quota: self.replica_quota,
            replicas: given,
            concurrency: instances.saturating_mul(self.max_batch_size.get()),
            weights: None,
        };
        let (scaling, replicas) = scaling.build()?.map_or((None, given), |(s, most)| (Some(s), most));
        let present = scaling.as_ref().map_or(replicas, |scaling| scaling.initial);
        let mut front = self.front(replicas, instances, scaling)?;
        let all = u64::from(instances) * u64::from(replicas);
        if all > MAX_INSTANCES.into() {
            return Err(ConfigError::new(["instance_group", "count"], format!("there are {all} instances"))
                .help(format!("expected at most {MAX_INSTANCES}")));
        }
        let hardware = self.hardware(scope)?;
        let (execution, speed, calibration) = self.execution(&hardware)?;
        let memory = self.memory_bytes(&hardware)?;
        let mut clients = vec![hardware.clients.clone()];
        for _ in 1..replicas {
            clients.push(self.hardware(scope)?.clients);
        }
        for client in clients.iter().flatten() {
            scope.devices().0.occupy(*client, memory, speed)?;
        }
        let (each, present) = (u64::from(instances), u64::from(present));
        let own = if self.gpu.is_some() { u64::from(own_gpus) } else { each };
        if let Some(line) = self.put_on_the_bill(&hardware, own, present, scope)? {
            front.set_bill(line, own);
        }
        if let Some(line) = scope.rent_warm(self.warm_pool.as_ref()) {
            front.set_warm_bill(line);
        }
        scope.meter().capacity.set(SimTime::ZERO, each * present);
        let items = self.items_per_request.build();
        let dynamic = self.dynamic();
        let priority = (dynamic.priority_levels > 0)
            .then_some((dynamic.priority_levels, dynamic.default_priority_level));
        let shared = Shared {
            max_batch_size: self.max_batch_size.get().into(),
            execution,
            items: items.map_err(|error| ConfigError::new(["items_per_request"], error.to_string()))?,
            error_rate: self.error_rate.get(),
            queue_cap: self.queue_cap.map(NonZeroU32::get),
            priority,
            preserve_ordering: dynamic.preserve_ordering,
            report: ModelServerReport::new(all as u32, own_gpus * replicas, calibration),
            slow: 1.0,
            jobs: Slab::default(),
            batches: Slab::default(),
            spare: Vec::new(),
        };
        let replica =
            |(index, clients): (u32, &Vec<ClientId>)| Replica::new(index, rules.clone(), instances, clients);
        let replicas = (0..).zip(&clients).map(replica).collect();
        Ok(Box::new(Server::new(shared, replicas, front, self.is_pool())))
    }

    /// The front of replicas with so many instances each.
    fn front(&self, replicas: u32, instances: u32, scaling: Option<Scaling>) -> Result<Front, ConfigError> {
        if !self.is_pool() {
            let settings = [
                ("balancer", self.balancer.is_some()),
                ("health", self.health.is_some()),
                ("zone_aware", self.zone_aware.is_some()),
                ("spot", self.spot.is_some()),
                ("deployment", self.deployment.is_some()),
            ];
            if let Some((key, _)) = settings.into_iter().find(|(_, given)| *given) {
                return Err(ConfigError::new([key], format!("`{key}` needs a pool"))
                    .help("expected `replicas` beside it, such as `replicas = 3`"));
            }
        }
        let health = match (&self.health, self.is_pool()) {
            (Some(health), _) => health.clone(),
            (None, true) => HealthConfig::kubernetes(),
            (None, false) => HealthConfig::none(),
        };
        Front::new(FrontSetup {
            replicas,
            capacity: instances.into(),
            balancer: &self.balancer.clone().unwrap_or_default(),
            health: &health,
            zone_aware: self.zone_aware,
            prefix_room: None,
            scaling,
        })
    }

    fn dynamic(&self) -> DynamicBatchingConfig {
        self.dynamic_batching.clone().unwrap_or_default()
    }

    /// Refuses keys that would do nothing.
    fn check_keys(&self) -> Result<(), ConfigError> {
        let (has_gpu, has_device) = (self.gpu.is_some(), self.device.is_some());
        let has_model = self.model.is_some();
        let is_transformer = self.model.as_ref().is_some_and(|model| !is_ranking(model));
        let without_effect = [
            (
                "precision",
                self.precision.is_some() && !is_transformer,
                "it belongs to a transformer as `model`",
            ),
            (
                "tokens_per_item",
                self.tokens_per_item.is_some() && !is_transformer,
                "it belongs to a transformer as `model`",
            ),
            ("padding", self.padding.is_some() && !is_transformer, "it belongs to a transformer as `model`"),
            ("overhead", self.overhead.is_some() && !has_model, "it belongs to `model`"),
            (
                "dynamic_batching",
                self.dynamic_batching.is_some() && self.batching != Batching::Dynamic,
                "set batching = \"dynamic\"",
            ),
            (
                "batch_timeout",
                self.batch_timeout.is_some() && self.batching != Batching::Static,
                "set batching = \"static\", or dynamic_batching.max_queue_delay_microseconds",
            ),
            (
                "queue_cap",
                self.queue_cap.is_some() && self.batching == Batching::Dynamic,
                "set dynamic_batching.default_queue_policy.max_queue_size",
            ),
            (
                "autoscaler",
                self.autoscaler.is_some() && has_device,
                "a pool that grows needs `gpu`s of its own",
            ),
            ("spot", self.spot.is_some() && has_device, "it belongs to `gpu`s of its own"),
            ("deployment", self.deployment.is_some() && has_device, "it needs `gpu`s of its own"),
            ("device", has_gpu && has_device, "keep one of `gpu` and `device`"),
            ("gpus", self.gpus.is_some() && !has_gpu, "it belongs to `gpu`"),
            ("mig_profile", self.mig_profile.is_some() && !has_device, "it belongs to `device`"),
            (
                "active_thread_percentage",
                self.active_thread_percentage.is_some() && !has_device,
                "it belongs to `device`",
            ),
            ("memory", self.memory.is_some() && !has_gpu && !has_device, "it belongs to `gpu` or `device`"),
            (
                "price_per_hour",
                self.price_per_hour.is_some() && has_device,
                "set price_per_hour of the device",
            ),
            ("price_model", self.price_model.is_some() && has_device, "set that of the device"),
        ];
        if let Some((key, _, help)) = without_effect.iter().find(|(_, wrong, _)| *wrong) {
            return Err(ConfigError::new([*key], format!("`{key}` has no effect here")).help(*help));
        }
        let gpu = self.gpu.as_ref().and_then(|id| catalogue::gpu(id).ok());
        let is_host = gpu.is_some_and(Gpu::is_host);
        let kind = ["instance_group", "kind"];
        match self.instance_group.kind {
            InstanceKind::Gpu if is_host || (!has_gpu && !has_device) => {
                Err(ConfigError::new(kind, "instances on a GPU, but none is given")
                    .help("add `gpu` or `device`"))
            }
            InstanceKind::Cpu if (has_gpu && !is_host) || has_device => {
                Err(ConfigError::new(kind, "instances on CPUs, but a GPU is given")
                    .help("remove `gpu` or `device`, or set kind = \"gpu\""))
            }
            _ => Ok(()),
        }
    }

    /// The rules of the batcher.
    fn rules(&self) -> Result<Rules, ConfigError> {
        let max_batch_size = self.max_batch_size.get();
        let dynamic = self.dynamic();
        let mut rules = Rules {
            max_batch_size: max_batch_size.into(),
            preferred: vec![max_batch_size.into()],
            delay: Some(SimDuration::ZERO),
            alone: false,
            levels: vec![dynamic.default_queue_policy.policy()?],
        };
        match self.batching {
            Batching::None => (rules.alone, rules.preferred) = (true, Vec::new()),
            Batching::Static => rules.delay = self.batch_timeout.map(Time::get),
            Batching::Dynamic => {
                let within = |error: ConfigError| error.within("dynamic_batching");
                dynamic.apply(&mut rules).map_err(within)?;
            }
        }
        Ok(rules)
    }

    /// Takes the GPUs.
    fn hardware(&self, scope: &mut Scope) -> Result<Hardware, ConfigError> {
        let (devices, me, name) = scope.devices();
        let whole = |gpu, clients| Hardware { gpu, clients, compute: Rate::FULL, bandwidth: Rate::FULL };
        match (&self.gpu, &self.device) {
            (Some(id), _) => {
                let gpu = catalogue::gpu(id).map_err(|error| refused(error.into()))?;
                let count = self.gpus.unwrap_or(one()).get();
                let clients = (0..count).map(|_| devices.own(me, name, gpu)).collect();
                Ok(whole(Some(gpu.clone()), clients))
            }
            (None, Some(device)) => {
                let slice = devices.join(
                    me,
                    name,
                    &Placement {
                        device,
                        mig_profile: self.mig_profile.as_deref(),
                        active_thread_percentage: self.active_thread_percentage.map(Number::get),
                    },
                )?;
                Ok(Hardware {
                    gpu: Some(slice.gpu),
                    clients: vec![slice.client],
                    compute: slice.compute,
                    bandwidth: slice.bandwidth,
                })
            }
            (None, None) => Ok(whole(None, Vec::new())),
        }
    }

    /// The time of an execution, how much of the speed that it is meant for the hardware has, and where
    /// the time comes from.
    fn execution(&self, hardware: &Hardware) -> Result<(Execution, Rate, Option<String>), ConfigError> {
        match (&self.execution, &self.model) {
            (Some(given), None) => {
                let law = |key: &str, law: &TimeDist| {
                    law.build().map_err(|error| ConfigError::new(["execution", key], error.to_string()))
                };
                let execution =
                    Execution::Given { fixed: law("fixed", &given.fixed)?, per_item: law("per_item", &given.per_item)? };
                let speed = match given.bound {
                    Bound::Compute => hardware.compute,
                    Bound::Memory => hardware.bandwidth,
                };
                Ok((execution, speed, None))
            }
            (None, Some(name)) => {
                let Some(gpu) = &hardware.gpu else {
                    return Err(ConfigError::new(["model"], "the time of a model is computed for a GPU, and none is given")
                        .help("add `gpu` or `device`, or give `execution` in place of `model`"));
                };
                let model = Served::find(name).map_err(refused)?;
                let overhead_us = self.overhead.map_or(OVERHEAD_US, |time| time.as_secs_f64() * 1e6);
                let step = model.step(gpu, self.precision(gpu), overhead_us).map_err(|error| match error {
                    HardwareError::OutOfRange { .. } => ConfigError::new(["overhead"], error.to_string()),
                    HardwareError::NoKernels { .. } | HardwareError::NoExperts { .. } => ConfigError::new(["precision"], error.to_string()),
                    other => refused(other),
                })?;
                // A slice's speed is in the peaks of its GPU.
                let speed = Rate::FULL;
                let tokens = self.tokens_per_item.as_ref().map(|law| law.build()).transpose();
                let tokens =
                    tokens.map_err(|error| ConfigError::new(["tokens_per_item"], error.to_string()))?;
                let badge = step.badge();
                let (context, padding) = (model.context(), self.padding.unwrap_or(true));
                let execution = Execution::Pass { step, tokens, context, padding };
                Ok((execution, speed, Some(badge)))
            }
            (Some(_), Some(_)) => Err(ConfigError::new(["model"], "both `execution` and `model` are given")
                .help("keep one of the two")),
            (None, None) => Err(ConfigError::new([""; 0], "neither `execution` nor `model` is given")
                .help("expected execution = { fixed = \"2ms\", per_item = \"0.1ms\" }, or a model of the catalogue and a `gpu`")),
        }
    }

    fn precision(&self, gpu: &Gpu) -> Precision {
        self.precision.unwrap_or(if gpu.is_host() { Precision::Bf16 } else { Precision::Fp16 })
    }

    /// Memory of all instances on one GPU.
    fn memory_bytes(&self, hardware: &Hardware) -> Result<u64, ConfigError> {
        let (weights, runtime) = match (&self.model, &hardware.gpu) {
            (Some(name), Some(gpu)) => {
                let model = Served::find(name).map_err(refused)?;
                (model.weight_bytes(self.precision(gpu)), Served::runtime_bytes(gpu))
            }
            _ => (0, 0),
        };
        let each = self.memory.map_or(weights, Bytes::get);
        Ok(each.saturating_mul(self.instance_group.count.get().into()).saturating_add(runtime))
    }

    fn put_on_the_bill(
        &self,
        hardware: &Hardware,
        each: u64,
        present: u64,
        scope: &mut Scope,
    ) -> Result<Option<usize>, ConfigError> {
        if self.device.is_some() {
            return Ok(None);
        }
        let (resource, list) = match &hardware.gpu {
            Some(gpu) => (gpu.resource(), ListPrice::of(gpu, self.price_per_hour)),
            None => ("instance".to_owned(), ListPrice::given(self.price_per_hour)),
        };
        scope.rent(Rent { resource, list, model: self.price_model.as_ref(), units: each * present, each })
    }
}

/// Puts an error at the key of the setting that it is about.
fn refused(error: HardwareError) -> ConfigError {
    match error {
        HardwareError::UnknownName(error) => {
            let accepted = if error.kind == "model" { Served::accepted(&error) } else { error.accepted() };
            ConfigError::new([error.kind], format!("unknown {} `{}`", error.kind, error.name))
                .help(format!("expected {accepted}"))
        }
        other => ConfigError::new(["model"], other.to_string()),
    }
}
