//! The `llm` component in a scenario, and the way from there to a pool.

mod policies;
mod refusal;
mod windows;

use std::borrow::Cow;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimTime;

pub use self::policies::{BatchingMode, KvAllocationMode};
pub(super) use self::refusal::{check_longest_step, engine_refused, refused};
use super::adapters::LoraConfig;
use super::disaggregated::{DisaggregatedConfig, KvOffloadConfig};
use super::engine::{DynamicBatching, Engine, EngineConfig, EngineKind, Reservation, SchedulingPolicy};
use super::pool::{Pool, Setup};
use super::speculative::SpeculativeConfig;
use super::timing::{Hardware, TimingConfig};
use crate::admission::AdmissionConfig;
use crate::autoscaler::{AutoscalerConfig, ColdStart, PoolScaling, WarmPoolConfig};
use crate::component::Component;
use crate::cost::{ListPrice, PriceModelConfig, Rent};
use crate::deployment::DeploymentConfig;
use crate::energy::Power;
use crate::error::ConfigError;
use crate::hardware::catalogue::{Gpu, Model, find_model, gpu};
use crate::hardware::memory::{MemoryPlan, MemorySettings};
use crate::hardware::precision::Precision;
use crate::hardware::timing::{StepFunction, nanos_ceil};
use crate::pool::{Balancer, Front, FrontSetup, HealthConfig, ZoneAware};
use crate::spot::SpotConfig;
use crate::system::Scope;
use crate::units::{HourlyPrice, Number};

/// A pool of LLM engine replicas behind a balancer: continuous batching with paged KV memory, as in vLLM
/// (the version and what differs from it: [`crate::llm::engine`]). Settings have vLLM's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmConfig {
    /// The model, by its id in the catalogue, such as `llama-3.1-8b`, or by the path of its Hugging Face
    /// `config.json`, relative to the scenario's file: what ends in `.json` is a path.
    pub model: String,
    /// The GPU, by its id in the catalogue, such as `h100-sxm`, or a CPU host such as
    /// `cpu-m7i-metal-48xl`, which keeps weights and KV cache in its RAM. Either this or `device`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// A GPU that the pool shares with others, by its name under `devices`, in place of GPUs of its own.
    /// All replicas are on it, each a process with its own memory and, with MIG, its own slice: give each no
    /// more of the memory than its part (`gpu_memory_utilization`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// On a device with MIG, the profile of a replica's slice, such as `3g.40gb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig_profile: Option<String>,
    /// On a device with MPS, the most of the GPU that a replica may use, in percent. Default: 100, as in MPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_thread_percentage: Option<Number>,
    /// GPUs that each replica is split over: 1, 2, 4 or 8. Default: 1.
    #[serde(default = "one")]
    pub tensor_parallel: u32,
    /// Stages that the layers of each replica are split over, each on `tensor_parallel` GPUs of its own: vLLM's
    /// `pipeline_parallel_size`. As many steps are underway at once, and none is scheduled ahead of the tokens it
    /// needs; the fast engine takes every step. Default: 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub pipeline_parallel: u32,
    /// Replicas that share out the experts of a mixture-of-experts model among them: 1, 2, 4 or 8, with at most 8
    /// GPUs together. Each keeps attention, KV cache and requests of its own, as with vLLM's
    /// `data_parallel_size` and `enable_expert_parallel`; they are taken to be equally full. Default: 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub data_parallel_size: u32,
    /// Number format of the weights. Default: that of the model's `quantization_config`, otherwise of its
    /// `dtype`, which is bf16 for most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Number format of the KV cache. Default: that of the activations (fp32 with fp32 weights, otherwise
    /// bf16), as vLLM's `kv_cache_dtype = auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_precision: Option<Precision>,
    /// Engines, each with its own GPUs. Default: 1.
    #[serde(default = "one_replica")]
    pub replicas: NonZeroU32,
    /// Token budget of a step, in tokens. Default: 8192, that of vLLM's API server on GPUs of 70 GiB or
    /// more but the A100 (`EngineArgs` in `vllm/engine/arg_utils.py`, vLLM 0.14.0); on others it is 2048.
    #[serde(default = "batched_tokens")]
    pub max_num_batched_tokens: u32,
    /// The most sequences in a batch. Default: 256, vLLM's API server on smaller GPUs (1024 on the larger).
    #[serde(default = "seqs")]
    pub max_num_seqs: u32,
    /// Tokens of a KV block. Default: 16, vLLM's on CUDA.
    #[serde(default = "block_size")]
    pub block_size: u32,
    /// Share of each GPU's memory that the engine may take. Default: 0.92, that of later versions of vLLM
    /// (0.9 in 0.14.0), at which the catalogue's memory plan was checked.
    #[serde(default = "utilization")]
    pub gpu_memory_utilization: f64,
    /// KV blocks of a replica, the null block among them, in place of what the memory allows (vLLM's
    /// `num_gpu_blocks_override`). Default: what the memory allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_blocks: Option<u32>,
    /// Whether layers that look back over a window (as in Gemma, Mistral and gpt-oss) keep the keys and values of the
    /// whole context like all others. Default: false, as in vLLM: layers are cut into groups with block tables of their own, and
    /// blocks that have slid out of the window are freed; the fast engine takes every step then. With `kv_offload`,
    /// `disaggregated`, batching by requests or contiguous memory all is kept anyway.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disable_hybrid_kv_cache_manager: bool,
    /// Whether full KV blocks are kept and found again by later prompts. Default: true, as in vLLM.
    #[serde(default = "yes")]
    pub enable_prefix_caching: bool,
    /// The most tokens of one prompt in a step, in tokens; 0 sets no limit. Default: 0, as in vLLM.
    #[serde(default)]
    pub long_prefill_token_threshold: u32,
    /// Who comes first: `fcfs`, or `priority` (the request's class, the first the most important).
    /// Default: fcfs, as in vLLM.
    #[serde(default)]
    pub scheduling_policy: SchedulingPolicy,
    /// The most tokens of a request, prompt and answer together, in tokens; longer ones are rejected.
    /// Default: the model's context, as in vLLM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
    /// Whether a request is admitted only when its whole prompt fits into free KV blocks. Default: false,
    /// as in vLLM 0.14.0, which has no such setting (later versions: true).
    #[serde(default)]
    pub scheduler_reserve_full_isl: bool,
    /// Whether a step is scheduled while the one before it runs. Default: true, as in vLLM since 0.14.0.
    #[serde(default = "yes")]
    pub async_scheduling: bool,
    /// How sequences are put together: `continuous` (they join and leave at every step), or whole requests:
    /// `static` (who waits goes when the engine is idle, and the batch of at most `max_num_seqs` runs until its
    /// longest ends, as with FasterTransformer) or `dynamic` (the same, but a batch may wait for more to come, as
    /// with Triton's dynamic batcher). The prompts of such a batch are one pass: `max_num_batched_tokens` then says
    /// for how many tokens the activations have memory, and nothing else. Default: continuous.
    #[serde(default, skip_serializing_if = "is_default")]
    pub batching: BatchingMode,
    /// With `batching = "dynamic"`, when a batch goes. Default: at once, as Triton's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatching>,
    /// Where the KV cache of a sequence is: `paged` (in blocks that are taken one by one) or `contiguous` (in one
    /// run of a power of two blocks, reserved when the sequence is admitted; then no request is ever preempted,
    /// and `enable_prefix_caching` has no effect). Default: paged, as in vLLM.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kv_allocation: KvAllocationMode,
    /// With `kv_allocation = "contiguous"`, how much is reserved: `max` (`max_model_len` tokens), `pow2` (the
    /// prompt, and the answer's length rounded up to a power of two) or `oracle` (prompt and answer exactly): the
    /// variants of Orca that PagedAttention was compared with. Default: max.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    /// Speculative decoding. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculative: Option<SpeculativeConfig>,
    /// LoRA adapters. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Prefill on workers of its own, from which the KV comes over the network; the replicas then decode. Default: the
    /// replicas do both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disaggregated: Option<Box<DisaggregatedConfig>>,
    /// KV blocks in the host's memory. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_offload: Option<KvOffloadConfig>,
    /// How the replicas are simulated: `fast`, or `stepwise` to check that it makes no difference to any
    /// result. Default: fast.
    #[serde(default)]
    pub engine: EngineKind,
    /// Who decides how many replicas there are. Default: nobody, there are always as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Box<AutoscalerConfig>>,
    /// How long a new replica takes. Default: no more than to load the model's weights, from the network.
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
    /// How calls are spread over the replicas. Default: round_robin.
    #[serde(default)]
    pub balancer: Balancer,
    /// Whether calls go to replicas in the zone of their caller where there is room, as in Envoy. Default: the balancer
    /// does not know of zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_aware: Option<ZoneAware>,
    /// How it is learnt which replicas are well. Default: kubernetes.
    #[serde(default = "HealthConfig::kubernetes")]
    pub health: HealthConfig,
    /// The most calls that wait at a replica, at least 1; who comes then is rejected. Default: no limit,
    /// as in vLLM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_cap: Option<NonZeroU32>,
    /// Which calls are turned away or wait in front. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Box<AdmissionConfig>>,
    /// How long a step takes.
    #[serde(default, skip_serializing_if = "TimingConfig::is_default")]
    pub timing: TimingConfig,
    /// Price of one GPU. Default: the catalogue's on-demand price, with its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_gpu_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

fn one_replica() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn batched_tokens() -> u32 {
    8192
}

fn seqs() -> u32 {
    256
}

fn block_size() -> u32 {
    16
}

fn utilization() -> f64 {
    0.92
}

fn yes() -> bool {
    true
}

impl LlmConfig {
    /// One replica of `model` on one `gpu` (by their ids in the catalogue), with the defaults.
    pub fn new(model: impl Into<String>, gpu: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            gpu: Some(gpu.into()),
            device: None,
            mig_profile: None,
            active_thread_percentage: None,
            tensor_parallel: one(),
            pipeline_parallel: one(),
            data_parallel_size: one(),
            precision: None,
            kv_precision: None,
            replicas: one_replica(),
            autoscaler: None,
            cold_start: None,
            replica_quota: None,
            spot: None,
            deployment: None,
            warm_pool: None,
            max_num_batched_tokens: batched_tokens(),
            max_num_seqs: seqs(),
            block_size: block_size(),
            gpu_memory_utilization: utilization(),
            kv_blocks: None,
            disable_hybrid_kv_cache_manager: false,
            enable_prefix_caching: yes(),
            long_prefill_token_threshold: 0,
            scheduling_policy: SchedulingPolicy::default(),
            max_model_len: None,
            scheduler_reserve_full_isl: false,
            async_scheduling: yes(),
            batching: BatchingMode::default(),
            dynamic_batching: None,
            kv_allocation: KvAllocationMode::default(),
            reservation: None,
            speculative: None,
            lora: None,
            disaggregated: None,
            kv_offload: None,
            engine: EngineKind::default(),
            balancer: Balancer::default(),
            zone_aware: None,
            health: HealthConfig::kubernetes(),
            queue_cap: None,
            admission: None,
            timing: TimingConfig::default(),
            price_per_gpu_hour: None,
            price_model: None,
        }
    }

    /// The model, of the catalogue or of its `config.json`.
    ///
    /// # Errors
    /// An unknown name or a file that cannot be used.
    pub fn model(&self) -> Result<Cow<'static, Model>, ConfigError> {
        find_model(&self.model).map_err(refused)
    }

    /// What vLLM would not start with: a KV cache that cannot hold one request of `max_model_len`
    /// (`check_enough_kv_cache_memory` of its kv_cache_utils, 0.14). Shorter ones are served as they come here.
    ///
    /// # Errors
    /// As [`LlmConfig::engine_config`].
    pub fn short_cache(&self) -> Result<Option<String>, ConfigError> {
        if self.device.is_some() {
            return Ok(None);
        }
        let engine = self.engine_config()?;
        let longest = engine.max_model_len.unwrap_or(0);
        let held = engine.longest();
        Ok((held < u64::from(longest)).then(|| {
            format!(
                "the KV cache of a replica holds {held} tokens, and one request may have {longest}: vLLM would not start \
                 without max_model_len = {held} or less"
            )
        }))
    }

    /// The GPU of its own.
    pub(super) fn gpu(&self) -> Result<&'static Gpu, ConfigError> {
        match &self.gpu {
            Some(id) => gpu(id).map_err(|error| refused(error.into())),
            None => {
                Err(ConfigError::new(["gpu"], "no `gpu` is given")
                    .help("expected a GPU, such as \"h100-sxm\""))
            }
        }
    }

    pub(super) fn memory_settings(&self, model: &Model) -> Result<MemorySettings, ConfigError> {
        let precision = self.precision.or(model.precision).ok_or_else(|| {
            let names = Precision::ALL.map(|precision| precision.to_string()).join(", ");
            let message = format!("the quantization_config of {} is of no known number format", model.id);
            ConfigError::new(["model"], message).help(format!("give the nearest as precision: {names}"))
        })?;
        Ok(MemorySettings {
            precision,
            kv_precision: self.kv_precision,
            tensor_parallel: self.tensor_parallel.into(),
            data_parallel: self.data_parallel_size.into(),
            gpu_memory_utilization: self.gpu_memory_utilization,
            block_size: self.block_size.into(),
            max_num_batched_tokens: self.max_num_batched_tokens.into(),
            max_num_seqs: self.max_num_seqs.into(),
            kv_blocks: self.kv_blocks.map(u64::from),
            kv_groups: self.kv_groups(model),
            more_weight_bytes: 0,
            more_kv_bytes_per_token: 0,
        })
    }

    /// How a replica shares out the memory of each of its GPUs.
    ///
    /// # Errors
    /// An unknown name, a setting out of range, or a model that does not fit, with the key of the setting.
    pub fn memory(&self) -> Result<MemoryPlan, ConfigError> {
        self.memory_on(self.gpu()?)
    }

    pub(super) fn memory_on(&self, gpu: &Gpu) -> Result<MemoryPlan, ConfigError> {
        let model = self.model()?;
        let settings = self.memory_settings(&model)?;
        self.memory_with(gpu, &model, &settings, &self.beside(&model, &settings)?)
    }

    /// The time of a replica's steps.
    ///
    /// # Errors
    /// An unknown name or a setting out of range, with its key.
    pub fn step_function(&self) -> Result<StepFunction, ConfigError> {
        self.step_function_on(self.gpu()?, false)
    }

    pub(super) fn step_function_on(&self, gpu: &Gpu, is_slice: bool) -> Result<StepFunction, ConfigError> {
        let model = self.model()?;
        let settings = self.memory_settings(&model)?;
        self.timing.check(refused).map_err(|error| error.within("timing"))?;
        let hardware = Hardware {
            gpu,
            is_slice,
            model: &model,
            precision: settings.precision,
            kv_precision: settings.kv_format(),
            placement: settings.placement(),
            async_scheduling: self.async_scheduling,
        };
        self.step_with(hardware, &self.beside(&model, &settings)?)
    }

    /// The settings of each replica's engine.
    ///
    /// # Errors
    /// As [`LlmConfig::memory`], and what no engine can run with.
    pub fn engine_config(&self) -> Result<EngineConfig, ConfigError> {
        self.engine_config_with(&self.memory()?, self.gpu()?)
    }

    pub(super) fn engine_config_with(
        &self,
        memory: &MemoryPlan,
        gpu: &Gpu,
    ) -> Result<EngineConfig, ConfigError> {
        let model = self.model()?;
        let beside = self.beside(&model, &self.memory_settings(&model)?)?;
        let context = model.max_context;
        let context = u32::try_from(context).unwrap_or(u32::MAX);
        if let Some(length) = self.max_model_len.filter(|length| *length > context) {
            let message = format!("max_model_len is {length}");
            return Err(ConfigError::new(["max_model_len"], message)
                .help(format!("the context of {} is {context} tokens", self.model)));
        }
        let config = EngineConfig {
            max_num_batched_tokens: self.max_num_batched_tokens,
            max_num_seqs: self.max_num_seqs,
            block_size: self.block_size,
            num_blocks: u32::try_from(memory.kv_blocks).unwrap_or(u32::MAX),
            kv_groups: memory.kv_groups,
            long_prefill_token_threshold: self.long_prefill_token_threshold,
            enable_prefix_caching: self.enable_prefix_caching,
            scheduling_policy: self.scheduling_policy,
            max_model_len: Some(self.max_model_len.unwrap_or(context)),
            scheduler_reserve_full_isl: self.scheduler_reserve_full_isl,
            async_scheduling: self.async_scheduling,
            num_cpu_blocks: self.num_cpu_blocks(memory)?,
            pipeline_parallel_size: self.pipeline_parallel,
            speculative: self.speculative.as_ref().map(SpeculativeConfig::speculation),
            lora: self.lora.as_ref().map(|lora| lora.lora(beside.adapter_bytes, gpu)),
            batching: self.batching()?,
            kv_allocation: self.kv_allocation()?,
        };
        config.validate().map_err(engine_refused)?;
        Ok(config)
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let replicas = self.replicas.get();
        let comes_and_goes = [
            ("autoscaler", self.autoscaler.is_some()),
            ("spot", self.spot.is_some()),
            ("deployment", self.deployment.is_some()),
        ];
        if let Some((key, _)) = comes_and_goes.into_iter().find(|(_, given)| *given)
            && (self.device.is_some() || self.data_parallel_size > 1)
        {
            let message = "replicas on a shared device, or of a data-parallel group, do not come and go";
            return Err(
                ConfigError::new([key], message).help("expected no `device` and no `data_parallel_size`")
            );
        }
        if self.deployment.is_some() && self.disaggregated.is_some() {
            let message = "how prefill and decode workers are replaced together is not modelled";
            return Err(ConfigError::new(["deployment"], message).help("expected no `disaggregated`"));
        }
        let place = self.place(scope)?;
        let memory = self.memory_on(&place.gpu)?;
        let config = self.engine_config_with(&memory, &place.gpu)?;
        let step = self.step_function_on(&place.gpu, place.is_slice)?;
        place.occupy(&memory, scope)?;
        if !replicas.is_multiple_of(self.data_parallel_size) {
            return Err(ConfigError::new(["replicas"], format!("replicas is {replicas}"))
                .help(format!("expected a multiple of data_parallel_size, {}", self.data_parallel_size)));
        }
        check_longest_step(&config, &step, self.timing.figures())?;
        let cache = config.cache_tokens();
        let scaling = PoolScaling {
            autoscaler: self.autoscaler.as_deref(),
            spot: self.spot.as_ref(),
            deployment: self.deployment.as_deref(),
            warm_pool: self.warm_pool.as_ref(),
            cold_start: self.cold_start.as_deref(),
            quota: self.replica_quota,
            replicas,
            concurrency: self.max_num_seqs,
            weights: Some(self.bytes_to_load()?),
        };
        let (scaling, replicas) = scaling.build()?.map_or((None, replicas), |(s, most)| (Some(s), most));
        let present = scaling.as_ref().map_or(replicas, |scaling| scaling.initial);
        let mut front = Front::new(FrontSetup {
            replicas,
            capacity: self.max_num_seqs.into(),
            balancer: &self.balancer,
            health: &self.health,
            zone_aware: self.zone_aware,
            prefix_room: Some(if config.clone().effective().enable_prefix_caching { cache } else { 0 }),
            scaling,
        })?;
        let adapters = self.lora.as_ref().map(LoraConfig::choice).transpose();
        let adapters = adapters.map_err(|error| refused(error).within("lora"))?;
        let wake = nanos_ceil(step.wake());
        let engine = Engine::new(self.engine, config, step.clone()).map_err(engine_refused)?;
        let gpus_of_replica = self.device.is_none().then(|| self.gpus_of_replica());
        let gpus = u64::from(present) * self.gpus_of_replica();
        let mut capacity = u64::from(present) * u64::from(self.max_num_seqs);
        if let Some(line) = self.put_on_the_bill(&place.gpu, gpus, "", scope)? {
            front.set_bill(line, self.gpus_of_replica());
        }
        if let Some(line) = scope.rent_warm(self.warm_pool.as_ref()) {
            front.set_warm_bill(line);
        }
        let mut hosts = self.host_ways(&memory, &place.gpu, replicas)?;
        let prefill = match self.prefill_workers()? {
            None => None,
            Some(workers) => {
                let within = |error: ConfigError| error.within("prefill").within("disaggregated");
                let (setup, ways) = workers.build_prefill(self, scope).map_err(within)?;
                capacity += u64::from(setup.replicas) * u64::from(workers.max_num_seqs);
                hosts.extend(ways);
                Some(setup)
            }
        };
        scope.meter().capacity.set(SimTime::ZERO, capacity);
        Ok(Box::new(Pool::new(Setup {
            engine,
            step,
            wake,
            frontend: self.timing.frontend,
            replicas,
            gpus_of_replica,
            front,
            queue_cap: self.queue_cap,
            power: Power::of(&place.gpu),
            clients: place.clients,
            adapters,
            prefill,
            hosts,
        })))
    }

    pub(super) fn gpus_of_replica(&self) -> u64 {
        u64::from(self.tensor_parallel) * u64::from(self.pipeline_parallel)
    }

    /// GPUs of its own: their line on the bill, with what they are for. A device puts itself there.
    pub(super) fn put_on_the_bill(
        &self,
        gpu: &Gpu,
        gpus: u64,
        role: &str,
        scope: &mut Scope,
    ) -> Result<Option<usize>, ConfigError> {
        if self.device.is_some() {
            return Ok(None);
        }
        // What is reserved beyond the decode workers are prefill workers.
        let model = match self.disaggregated {
            Some(_) => self.price_model.map(|model| model.within(self.replicas.get())),
            None => self.price_model,
        };
        scope.rent(Rent {
            resource: format!("{}{role}", gpu.resource()),
            list: ListPrice::of(gpu, self.price_per_gpu_hour),
            model: model.as_ref(),
            units: gpus,
            each: self.gpus_of_replica(),
        })
    }
}
