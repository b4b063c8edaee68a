//! The `llm` component in a scenario, and the way from there to a pool.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimTime;

use super::engine::{self, Engine, EngineConfig, EngineKind, SchedulingPolicy};
use super::pool::{Pool, Setup};
use super::timing::{Hardware, TimingConfig};
use crate::component::Component;
use crate::cost::Price;
use crate::error::ConfigError;
use crate::hardware::HardwareError;
use crate::hardware::catalogue::{Gpu, Model, Sliding, find_model, gpu, is_model_file};
use crate::hardware::memory::{MemoryPlan, MemorySettings};
use crate::hardware::precision::Precision;
use crate::hardware::timing::{Pass, StepFunction, nanos_ceil};
use crate::pool::{Balancer, Front, FrontSetup, HealthConfig};
use crate::system::Scope;
use crate::units::HourlyPrice;

/// A pool of LLM engine replicas behind a balancer: continuous batching with paged KV memory, as in vLLM
/// (the version and what differs from it: [`crate::llm::engine`]). Settings have vLLM's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmConfig {
    /// The model, by its id in the catalogue, such as `llama-3.1-8b`, or by the path of its Hugging Face
    /// `config.json`, relative to the scenario's file: what ends in `.json` is a path.
    pub model: String,
    /// The GPU, by its id in the catalogue, such as `h100-sxm`, or a CPU host such as
    /// `cpu-m7i-metal-48xl`, which keeps weights and KV cache in its RAM.
    pub gpu: String,
    /// GPUs that each replica is split over: 1, 2, 4 or 8. Default: 1.
    #[serde(default = "one")]
    pub tensor_parallel: u32,
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
    /// How the replicas are simulated: `fast`, or `stepwise` to check that it makes no difference to any
    /// result. Default: fast.
    #[serde(default)]
    pub engine: EngineKind,
    /// How calls are spread over the replicas. Default: round_robin.
    #[serde(default)]
    pub balancer: Balancer,
    /// How it is learnt which replicas are well. Default: kubernetes.
    #[serde(default = "HealthConfig::kubernetes")]
    pub health: HealthConfig,
    /// The most calls that wait at a replica, at least 1; who comes then is rejected. Default: no limit,
    /// as in vLLM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_cap: Option<NonZeroU32>,
    /// How long a step takes.
    #[serde(default, skip_serializing_if = "TimingConfig::is_default")]
    pub timing: TimingConfig,
    /// Price of one GPU. Default: the catalogue's on-demand price, with its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_gpu_hour: Option<HourlyPrice>,
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
            gpu: gpu.into(),
            tensor_parallel: one(),
            data_parallel_size: one(),
            precision: None,
            kv_precision: None,
            replicas: one_replica(),
            max_num_batched_tokens: batched_tokens(),
            max_num_seqs: seqs(),
            block_size: block_size(),
            gpu_memory_utilization: utilization(),
            kv_blocks: None,
            enable_prefix_caching: yes(),
            long_prefill_token_threshold: 0,
            scheduling_policy: SchedulingPolicy::default(),
            max_model_len: None,
            scheduler_reserve_full_isl: false,
            async_scheduling: yes(),
            engine: EngineKind::default(),
            balancer: Balancer::default(),
            health: HealthConfig::kubernetes(),
            queue_cap: None,
            timing: TimingConfig::default(),
            price_per_gpu_hour: None,
        }
    }

    /// The model, of the catalogue or of its `config.json`.
    ///
    /// # Errors
    /// An unknown name or a file that cannot be used.
    pub fn model(&self) -> Result<Cow<'static, Model>, ConfigError> {
        find_model(&self.model).map_err(refused)
    }

    /// Takes the relative paths of model and profile files as relative to `base_dir`.
    pub(crate) fn resolve_paths(&mut self, base_dir: &Path) {
        if is_model_file(&self.model) {
            self.model = base_dir.join(&self.model).display().to_string();
        }
        self.timing.resolve_paths(base_dir);
    }

    /// What of the model is simplified, if anything that these settings let come into play.
    ///
    /// # Errors
    /// As [`LlmConfig::model`].
    pub fn simplification(&self) -> Result<Option<String>, ConfigError> {
        let model = self.model()?;
        let longest = self.max_model_len.map_or(model.max_context, u64::from);
        let sliding = model.sliding.filter(|sliding| sliding.window < longest);
        Ok(sliding.map(|Sliding { window, layers }| {
            format!(
                "{layers} of the {} layers of {} look back over {window} tokens only: they are counted as if they \
                 saw the whole context, so longer requests take too much KV memory and time",
                model.layers, model.id
            )
        }))
    }

    fn gpu(&self) -> Result<&'static Gpu, ConfigError> {
        gpu(&self.gpu).map_err(|error| refused(error.into()))
    }

    fn memory_settings(&self, model: &Model) -> Result<MemorySettings, ConfigError> {
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
        })
    }

    /// How a replica shares out the memory of each of its GPUs.
    ///
    /// # Errors
    /// An unknown name, a setting out of range, or a model that does not fit, with the key of the setting.
    pub fn memory(&self) -> Result<MemoryPlan, ConfigError> {
        let model = self.model()?;
        MemoryPlan::new(self.gpu()?, &model, &self.memory_settings(&model)?).map_err(refused)
    }

    /// The time of a replica's steps.
    ///
    /// # Errors
    /// An unknown name or a setting out of range, with its key.
    pub fn step_function(&self) -> Result<StepFunction, ConfigError> {
        let (gpu, model) = (self.gpu()?, self.model()?);
        let settings = self.memory_settings(&model)?;
        self.timing.check(refused).map_err(|error| error.within("timing"))?;
        let hardware = Hardware {
            gpu,
            model: &model,
            precision: settings.precision,
            kv_precision: settings.kv_format(),
            placement: settings.placement(),
            async_scheduling: self.async_scheduling,
        };
        self.timing.step_function(hardware).map_err(|error| match error {
            // A coefficient that comes of the timing's figures.
            HardwareError::OutOfRange { .. } => {
                ConfigError::new(["timing", self.timing.figures()], error.to_string())
            }
            other => refused(other),
        })
    }

    /// The settings of each replica's engine.
    ///
    /// # Errors
    /// As [`LlmConfig::memory`], and what no engine can run with.
    pub fn engine_config(&self) -> Result<EngineConfig, ConfigError> {
        let memory = self.memory()?;
        let context = self.model()?.max_context;
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
            long_prefill_token_threshold: self.long_prefill_token_threshold,
            enable_prefix_caching: self.enable_prefix_caching,
            scheduling_policy: self.scheduling_policy,
            max_model_len: Some(self.max_model_len.unwrap_or(context)),
            scheduler_reserve_full_isl: self.scheduler_reserve_full_isl,
            async_scheduling: self.async_scheduling,
            num_cpu_blocks: 0,
        };
        config.validate().map_err(engine_refused)?;
        Ok(config)
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let replicas = self.replicas.get();
        let (config, step) = (self.engine_config()?, self.step_function()?);
        if !replicas.is_multiple_of(self.data_parallel_size) {
            return Err(ConfigError::new(["replicas"], format!("replicas is {replicas}"))
                .help(format!("expected a multiple of data_parallel_size, {}", self.data_parallel_size)));
        }
        check_longest_step(&config, &step, self.timing.figures())?;
        let cache = u64::from(config.usable_blocks()) * u64::from(config.block_size);
        let front = Front::new(FrontSetup {
            replicas,
            balancer: &self.balancer,
            health: &self.health,
            prefix_room: Some(if self.enable_prefix_caching { cache } else { 0 }),
        })?;
        let (calibration, wake) = (step.badge(), nanos_ceil(step.wake()));
        let engine = Engine::new(self.engine, config, step).map_err(engine_refused)?;
        let gpu = self.gpu()?;
        let gpus = u64::from(replicas) * u64::from(self.tensor_parallel);
        let (price, source) = match self.price_per_gpu_hour {
            Some(price) => (price.per_hour(), "the scenario"),
            None => (gpu.price_per_hour, gpu.price_source.as_str()),
        };
        let capacity = u64::from(replicas) * u64::from(self.max_num_seqs);
        scope.meter().capacity.set(SimTime::ZERO, capacity);
        let (cost, me) = scope.cost();
        let kind = if gpu.is_host() { "host" } else { "gpu" };
        cost.add(me, format!("{kind} {}", gpu.id), Price::PerHour(price), source, gpus);
        Ok(Box::new(Pool::new(Setup {
            engine,
            calibration,
            wake,
            frontend: self.timing.frontend,
            replicas,
            gpus,
            front,
            queue_cap: self.queue_cap,
        })))
    }
}

/// Refuses efficiencies so low that a step's ticks would overflow.
fn check_longest_step(config: &EngineConfig, step: &StepFunction, figures: &str) -> Result<(), ConfigError> {
    let tokens = u64::from(config.usable_blocks()) * u64::from(config.block_size);
    let budget = u64::from(config.max_num_batched_tokens);
    let longest = Pass {
        sequences: config.max_num_seqs.into(),
        new_tokens: budget,
        decode_context: tokens,
        prefill_work: Pass::chunk_work(tokens, budget),
    };
    match step.checked_ticks(&longest) {
        Some(_) => Ok(()),
        None => Err(ConfigError::new(["timing", figures], "a step could take more than 208 days")
            .help("expected shares of the datasheet's figures, such as 0.8")),
    }
}

/// Puts an error at the key of the setting that it is about.
fn refused(error: HardwareError) -> ConfigError {
    match error {
        HardwareError::UnknownName(error) => {
            ConfigError::new([error.kind], format!("unknown {} `{}`", error.kind, error.name))
                .help(format!("expected {}", error.accepted()))
        }
        HardwareError::ModelFile(error) => {
            let refusal = ConfigError::new(["model"], error.to_string());
            match error.accepted {
                Some(accepted) => refusal.help(accepted),
                None => refusal,
            }
        }
        HardwareError::Encoder(_) => {
            ConfigError::new(["model"], error.to_string()).help("expected a model that generates text")
        }
        HardwareError::NoKernels { .. } => ConfigError::new(["precision"], error.to_string()),
        HardwareError::DoesNotFit(error) => {
            ConfigError::new(["model"], error.shortfall()).help(error.suggestion())
        }
        HardwareError::OutOfRange { name, value, expected } => {
            ConfigError::new([name], format!("{name} is {value}")).help(format!("expected {expected}"))
        }
        HardwareError::DataParallel { .. } => ConfigError::new(["data_parallel_size"], error.to_string()),
        HardwareError::TensorParallel(_)
        | HardwareError::Indivisible { .. }
        | HardwareError::SplitHost { .. } => ConfigError::new(["tensor_parallel"], error.to_string()),
        HardwareError::KvPrecision(_) => ConfigError::new(["kv_precision"], error.to_string()),
        HardwareError::Profile(error) => ConfigError::new(["timing", "profile"], error.to_string()),
    }
}

fn engine_refused(error: engine::ConfigError) -> ConfigError {
    use engine::ConfigError::{
        BudgetBelowSequences, BudgetTooLarge, CacheTooLarge, OffloadWithoutCaching, TooFewBlocks, Zero,
    };
    let key = match error {
        Zero { parameter } => parameter,
        BudgetTooLarge { .. } | BudgetBelowSequences { .. } => "max_num_batched_tokens",
        TooFewBlocks { .. } | CacheTooLarge { .. } => "kv_blocks",
        OffloadWithoutCaching { .. } => "kv_offload",
    };
    ConfigError::new([key], error.to_string())
}
