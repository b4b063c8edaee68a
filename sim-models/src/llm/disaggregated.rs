//! The `disaggregated` and `kv_offload` settings of a pool: prefill and decode on replicas of their own, with the
//! KV going from the one to the other, and KV kept in the host's memory.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use super::LlmConfig;
use super::config::{BatchingMode, KvAllocationMode, check_longest_step, engine_refused, refused};
use super::engine::Engine;
use super::pool::PrefillSetup;
use crate::error::ConfigError;
use crate::hardware::HardwareError;
use crate::hardware::catalogue::Gpu;
use crate::hardware::memory::MemoryPlan;
use crate::pool::{Balancer, Front, FrontSetup};
use crate::system::Scope;
use crate::units::{Bytes, HourlyPrice, Time};

/// Prefill and decode on replicas of their own (prefill/decode disaggregation, as in vLLM with llm-d or NVIDIA
/// Dynamo): a prefill worker computes the prompt, a decode worker fetches its KV over the network
/// (`NixlConnector`), computes the prompt's last token and generates. The first token is the decode worker's, so
/// the time to it has the prefill, the transfer and both waits in it.
///
/// The pool's own settings (`replicas`, `gpu`, `balancer` and all others) are those of the decode workers, and of
/// the prefill workers where `prefill` says nothing else. In results the decode workers have the first numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisaggregatedConfig {
    /// The prefill workers.
    pub prefill: PrefillConfig,
    /// The way of the KV.
    #[serde(default)]
    pub kv_transfer_config: KvTransferConfig,
    /// Prompts of at most so many tokens are computed by the decode worker itself (NVIDIA Dynamo's
    /// `max_local_prefill_length`), in tokens. Default: 0, all are computed by prefill workers.
    #[serde(default)]
    pub max_local_prefill_length: u32,
}

/// The workers that compute prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefillConfig {
    /// Engines, each with its own GPUs.
    pub replicas: NonZeroU32,
    /// The GPU, by its id in the catalogue. Default: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// GPUs that each is split over: 1, 2, 4 or 8. Default: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor_parallel: Option<u32>,
    /// Token budget of a step, in tokens. Default: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_num_batched_tokens: Option<u32>,
    /// The most sequences in a batch. Default: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_num_seqs: Option<u32>,
    /// KV blocks of a worker, the null block among them. Default: what the memory allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_blocks: Option<u32>,
    /// How calls are spread over the prefill workers. Default: round_robin, as in vLLM's proxy.
    #[serde(default)]
    pub balancer: Balancer,
    /// Price of one GPU. Default: the pool's with the pool's GPU, otherwise the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_gpu_hour: Option<HourlyPrice>,
}

/// How KV comes from one engine to another: vLLM's `kv_transfer_config` with the `NixlConnector`.
///
/// Every GPU has a network interface of its own, and the GPUs of a worker transfer side by side, each its part. What
/// a worker sends at once shares its interfaces, and so does what a worker receives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvTransferConfig {
    /// Bandwidth between two GPUs of different workers, one direction, in GB/s. Default: 50, a ConnectX-7 of
    /// 400 Gb/s for each GPU (NVIDIA DGX H100 datasheet). NIXL over UCX reaches it: 24,000 tokens of a 70B Llama
    /// over 8 + 8 H200 (983 MB for each GPU) came in 20.56 ms, 0.90 of them to post (llm-d benchmark on CoreWeave,
    /// 2026-08-05).
    #[serde(default = "bandwidth")]
    pub bandwidth_gb_s: f64,
    /// Time of a transfer beside what the bandwidth takes. Default: 0.9 ms, the time to post in the benchmark above
    /// (vLLM's documentation of the NixlConnector shows 0.67 ms).
    #[serde(default = "latency")]
    pub latency: Time,
    /// How long a prefill worker keeps the KV that nobody fetches, such as of a decode worker that crashed: vLLM's
    /// `VLLM_NIXL_ABORT_REQUEST_TIMEOUT`. Default: 480 s, as in vLLM.
    #[serde(default = "abort_timeout")]
    pub abort_request_timeout: Time,
}

impl Default for KvTransferConfig {
    fn default() -> Self {
        Self { bandwidth_gb_s: bandwidth(), latency: latency(), abort_request_timeout: abort_timeout() }
    }
}

fn bandwidth() -> f64 {
    50.0
}

fn latency() -> Time {
    Time::new(SimDuration::from_micros(900))
}

fn abort_timeout() -> Time {
    Time::new(SimDuration::from_secs(480))
}

/// KV blocks in the host's memory, for prompts that return when the GPU's prefix cache holds them no more: vLLM's
/// native offloading (`OffloadingConnector`). Every full block is written there when it is computed, which costs no
/// time, and read when a prompt needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvOffloadConfig {
    /// The host's memory for KV blocks, of each replica, of all its GPUs together: vLLM's `kv_offloading_size`.
    pub kv_offloading_size: Bytes,
    /// Bandwidth from the host's memory to each GPU, in GB/s. Default: one direction of the PCIe bus of the
    /// GPU's datasheet (assumption: vLLM's copies of whole blocks reach it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_gb_s: Option<f64>,
}

/// Whether a bandwidth is one.
fn check_bandwidth(value: f64) -> Result<(), ConfigError> {
    let (name, expected) = ("bandwidth_gb_s", "GB/s from 0.001 to 1000000");
    match (1e-3..=1e6).contains(&value) {
        true => Ok(()),
        false => Err(refused(HardwareError::OutOfRange { name, value, expected })),
    }
}

/// Time of `bytes` at a rate in GB/s, rounded up.
fn time(bytes: u64, gb_s: f64) -> SimDuration {
    SimDuration::from_nanos((bytes as f64 / gb_s).ceil() as u64)
}

/// What of the way of the KV a pool needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    /// GB/s of each GPU.
    gb_s: f64,
    /// Bytes of a block that each GPU transfers.
    block_bytes: u64,
    /// Bytes of a block on all GPUs.
    pub(super) all_bytes: u64,
}

impl Way {
    /// How long blocks take that have the way to themselves.
    pub(super) fn time(&self, blocks: u32) -> SimDuration {
        time(self.block_bytes.saturating_mul(blocks.into()), self.gb_s)
    }
}

/// How the KV of a prompt comes to a decode worker.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Transfer {
    pub(super) way: Way,
    pub(super) latency: SimDuration,
    pub(super) abort_timeout: SimDuration,
}

impl KvOffloadConfig {
    /// KV blocks that a replica's host holds.
    pub(super) fn blocks(&self, memory: &MemoryPlan, gpus: u64) -> Result<u32, ConfigError> {
        let block = memory.kv_bytes_per_token * memory.block_size * gpus;
        let size = self.kv_offloading_size;
        match size.get() / block.max(1) {
            0 => Err(ConfigError::new(["kv_offloading_size"], format!("kv_offloading_size is {size}"))
                .help(format!("expected room for one KV block at least, {block} bytes"))),
            blocks => Ok(u32::try_from(blocks).unwrap_or(u32::MAX)),
        }
    }

    /// The way from the host to the GPUs of a replica.
    pub(super) fn way(&self, memory: &MemoryPlan, gpu: &Gpu, gpus: u64) -> Result<Way, ConfigError> {
        if gpu.is_host() {
            return Err(ConfigError::new(["kv_offloading_size"], "a CPU host keeps all KV in its memory")
                .help("expected a GPU, or no `kv_offload`"));
        }
        let gb_s = self.bandwidth_gb_s.unwrap_or(gpu.pcie / 2.0);
        check_bandwidth(gb_s)?;
        let block_bytes = memory.kv_bytes_per_token * memory.block_size;
        Ok(Way { gb_s, block_bytes, all_bytes: block_bytes * gpus })
    }
}

impl LlmConfig {
    /// The prefill workers as a pool of their own, if there are any.
    ///
    /// # Errors
    /// Settings that are not modelled with them.
    pub(super) fn prefill_workers(&self) -> Result<Option<Self>, ConfigError> {
        let Some(disaggregated) = &self.disaggregated else { return Ok(None) };
        let apart = [
            ("device", self.device.is_some()),
            ("autoscaler", self.autoscaler.is_some()),
            ("spot", self.spot.is_some()),
            ("data_parallel_size", self.data_parallel_size > 1),
            ("pipeline_parallel", self.pipeline_parallel > 1),
            ("speculative", self.speculative.is_some()),
            ("lora", self.lora.is_some()),
            ("batching", self.batching != BatchingMode::Continuous),
            ("kv_allocation", self.kv_allocation != KvAllocationMode::Paged),
        ];
        if let Some((key, _)) = apart.into_iter().find(|(_, given)| *given) {
            return Err(ConfigError::new([key], format!("`{key}` together with `disaggregated`"))
                .help("expected one of the two"));
        }
        check_bandwidth(disaggregated.kv_transfer_config.bandwidth_gb_s)
            .map_err(|error| error.within("kv_transfer_config").within("disaggregated"))?;
        let prefill = disaggregated.prefill.clone();
        let price = match prefill.gpu.as_ref().is_none_or(|gpu| Some(gpu) == self.gpu.as_ref()) {
            true => prefill.price_per_gpu_hour.or(self.price_per_gpu_hour),
            false => prefill.price_per_gpu_hour,
        };
        Ok(Some(Self {
            disaggregated: None,
            replicas: prefill.replicas,
            gpu: prefill.gpu.or_else(|| self.gpu.clone()),
            tensor_parallel: prefill.tensor_parallel.unwrap_or(self.tensor_parallel),
            max_num_batched_tokens: prefill.max_num_batched_tokens.unwrap_or(self.max_num_batched_tokens),
            max_num_seqs: prefill.max_num_seqs.unwrap_or(self.max_num_seqs),
            kv_blocks: prefill.kv_blocks,
            // They hand the KV on as a whole.
            disable_hybrid_kv_cache_manager: true,
            balancer: prefill.balancer,
            price_per_gpu_hour: price,
            price_model: self.price_model.map(|model| model.beyond(self.replicas.get())),
            ..self.clone()
        }))
    }

    /// As the prefill workers of a pool.
    pub(super) fn build_prefill(
        &self,
        pool: &Self,
        scope: &mut Scope,
    ) -> Result<(PrefillSetup, Vec<Way>), ConfigError> {
        let gpu = self.gpu()?;
        let memory = self.memory_on(gpu)?;
        let config = self.engine_config_with(&memory, gpu)?;
        let step = self.step_function_on(gpu, false)?;
        check_longest_step(&config, &step, self.timing.figures())?;
        let replicas = self.replicas.get();
        let cache = config.cache_tokens();
        let front = Front::new(FrontSetup {
            replicas,
            capacity: self.max_num_seqs.into(),
            balancer: &self.balancer,
            health: &self.health,
            zone_aware: self.zone_aware,
            prefix_room: Some(if config.enable_prefix_caching { cache } else { 0 }),
            scaling: None,
        })?;
        let ways = self.host_ways(&memory, gpu, replicas)?;
        let (transfer, max_local) = pool.kv_transfer(self)?;
        self.put_on_the_bill(gpu, u64::from(replicas) * self.gpus_of_replica(), " (prefill)", scope)?;
        let engine = Engine::new(self.engine, config, step).map_err(engine_refused)?;
        Ok((
            PrefillSetup { engine, replicas, gpus: self.gpus_of_replica(), front, transfer, max_local },
            ways,
        ))
    }

    /// How the KV comes from these prefill workers, and up to what length prompts do not go there. The side with
    /// fewer GPUs has the larger part on each.
    pub(super) fn kv_transfer(&self, prefill: &Self) -> Result<(Transfer, u32), ConfigError> {
        let disaggregated = self.disaggregated.as_deref().expect("there are prefill workers");
        let KvTransferConfig { bandwidth_gb_s, latency, abort_request_timeout } =
            disaggregated.kv_transfer_config;
        let model = self.model()?;
        let format = self.memory_settings(&model)?.kv_format();
        let gpus = u64::from(self.tensor_parallel.min(prefill.tensor_parallel));
        let block_bytes = model.kv_bytes_per_token(format, gpus).unwrap_or(0) * u64::from(self.block_size);
        let transfer = Transfer {
            way: Way { gb_s: bandwidth_gb_s, block_bytes, all_bytes: block_bytes * gpus },
            latency: latency.get(),
            abort_timeout: abort_request_timeout.get(),
        };
        Ok((transfer, disaggregated.max_local_prefill_length))
    }

    /// KV blocks in the host's memory of a replica.
    pub(super) fn num_cpu_blocks(&self, memory: &MemoryPlan) -> Result<u32, ConfigError> {
        let blocks = self.kv_offload.as_ref().map(|offload| offload.blocks(memory, self.gpus_of_replica()));
        blocks.unwrap_or(Ok(0)).map_err(|error| error.within("kv_offload"))
    }

    /// The way from the host to each of `replicas` replicas, none without KV blocks there.
    pub(super) fn host_ways(
        &self,
        memory: &MemoryPlan,
        gpu: &Gpu,
        replicas: u32,
    ) -> Result<Vec<Way>, ConfigError> {
        let Some(offload) = &self.kv_offload else { return Ok(Vec::new()) };
        let way = offload.way(memory, gpu, self.gpus_of_replica());
        let way = way.map_err(|error| error.within("kv_offload"))?;
        Ok(vec![way; replicas as usize])
    }
}
