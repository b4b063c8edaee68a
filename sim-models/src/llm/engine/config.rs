//! What an engine is told at its start.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::batching::Batching;
use super::lora::Lora;
use super::reservation::{self, KvAllocation, Reservation};
use super::sequence::{Rejection, Submission};
use super::speculation::Speculation;
use crate::hardware::kv_groups::KvGroups;

/// The largest `max_num_batched_tokens`. With [`MAX_KV_TOKENS`] it keeps a [`Pass`] within 64 bits.
///
/// [`Pass`]: crate::hardware::timing::Pass
pub const MAX_BATCHED_TOKENS: u32 = 1 << 30;

/// The largest KV cache, in tokens.
pub const MAX_KV_TOKENS: u64 = 1 << 31;

/// Who comes first, and who is preempted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchedulingPolicy {
    /// First come, first served; priorities are ignored. The last to come is preempted first.
    #[default]
    Fcfs,
    /// By (priority, arrival): the smaller number is served first, the largest preempted first.
    Priority,
}

/// The settings of one engine replica, under vLLM's names and with its defaults (vLLM 0.14.0,
/// `vllm/config/{scheduler,cache}.py` and `EngineArgs` in `vllm/engine/arg_utils.py`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// The token budget of a step, in tokens. Default 2048: the API server's on devices below 70 GiB and
    /// on the A100; on larger ones (H100, H200, MI300X) vLLM's API server takes 8192.
    pub max_num_batched_tokens: u32,
    /// The most sequences that run at once. Default 256; vLLM takes 1024 on the larger devices above.
    pub max_num_seqs: u32,
    /// Tokens of a KV block. Default 16.
    pub block_size: u32,
    /// KV blocks of the device, one of which is the null block that no sequence gets. It follows from the
    /// memory that is left beside the weights, so it has no default.
    pub num_blocks: u32,
    /// How the layers share out the blocks. Default: all have one block table. With windows the fast engine takes
    /// every step.
    pub kv_groups: KvGroups,
    /// The most tokens of one sequence in a step, in tokens; 0 (the default) sets no limit.
    pub long_prefill_token_threshold: u32,
    /// Whether full blocks are kept and found again by their content. Default true.
    pub enable_prefix_caching: bool,
    /// The order of service. Default FCFS.
    pub scheduling_policy: SchedulingPolicy,
    /// The most tokens (prompt and output) of a sequence, in tokens. Default: the KV cache alone limits it.
    pub max_model_len: Option<u32>,
    /// Whether a sequence is admitted only when the blocks of all its known tokens (prompt, and what it had
    /// generated before a preemption) are free, not only those of its first chunk. It is a gate: blocks are
    /// still taken chunk by chunk. Default false, as in vLLM 0.14.0, which has no such gate; later versions
    /// have it as `scheduler_reserve_full_isl`, true by default.
    pub scheduler_reserve_full_isl: bool,
    /// Whether a step is scheduled while the one before it runs. Default true, as in vLLM since 0.14.0.
    pub async_scheduling: bool,
    /// KV blocks in the host's memory, to which all full blocks are written and from which they are loaded
    /// again; 0 (the default) for none. Needs prefix caching. It is what vLLM's `kv_offloading_size` makes.
    pub num_cpu_blocks: u32,
    /// Stages that the layers are split over, each on GPUs of its own. Default 1. With more, as many steps are
    /// underway, and no step is scheduled ahead of the tokens it needs, as in vLLM.
    pub pipeline_parallel_size: u32,
    /// Speculative decoding. Default: none. It schedules nothing ahead, as in vLLM for all methods but EAGLE.
    pub speculative: Option<Speculation>,
    /// LoRA adapters. Default: none.
    pub lora: Option<Lora>,
    /// How sequences are put together. Default: continuously. Other ways take a batch's prompts in one pass,
    /// whatever `max_num_batched_tokens`.
    pub batching: Batching,
    /// Where keys and values are kept. Default: paged. Otherwise there is no prefix cache.
    pub kv_allocation: KvAllocation,
}

/// How a replica is simulated. Both ways give the same results to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// In closed form from one change of the batch to the next: work per request, not per token. With speculative
    /// decoding it jumps likewise, but a jump looks at every sequence in the batch; with drawn acceptance,
    /// several stages or layers with a window every step is taken.
    #[default]
    Fast,
    /// Every step and every sequence in it one by one: slow, and there to check the other.
    Stepwise,
}

impl EngineConfig {
    /// The defaults, with a KV cache of `num_blocks` blocks.
    pub fn new(num_blocks: u32) -> Self {
        Self {
            max_num_batched_tokens: 2048,
            max_num_seqs: 256,
            block_size: 16,
            num_blocks,
            kv_groups: KvGroups::default(),
            long_prefill_token_threshold: 0,
            enable_prefix_caching: true,
            scheduling_policy: SchedulingPolicy::Fcfs,
            max_model_len: None,
            scheduler_reserve_full_isl: false,
            async_scheduling: true,
            num_cpu_blocks: 0,
            pipeline_parallel_size: 1,
            speculative: None,
            lora: None,
            batching: Batching::Continuous,
            kv_allocation: KvAllocation::Paged,
        }
    }

    /// The settings with what batching and allocation make of them.
    pub(crate) fn effective(mut self) -> Self {
        if self.batching.is_by_request() {
            // No batch has more tokens than the cache has room for.
            let most = u32::try_from(self.cache_tokens()).unwrap_or(u32::MAX).min(MAX_BATCHED_TOKENS);
            self.max_num_batched_tokens = most.max(self.max_num_seqs);
        }
        self.enable_prefix_caching &= self.kv_allocation == KvAllocation::Paged;
        self
    }

    /// Whether steps are scheduled while tokens that they continue are underway.
    pub(super) fn is_ahead(&self) -> bool {
        self.async_scheduling && self.pipeline_parallel_size == 1 && self.speculative.is_none()
    }

    /// The KV slots beyond its tokens that a sequence may have: of drafts that turn out wrong, and those in front.
    fn slack(&self) -> u32 {
        self.speculative
            .as_ref()
            .map_or(0, |speculation| speculation.num_speculative_tokens + speculation.num_lookahead_tokens)
    }

    /// The most steps underway: a sequence that ends with step n has left before step n + lag is scheduled.
    pub(super) fn lag(&self) -> u64 {
        if self.is_ahead() { 2 } else { self.pipeline_parallel_size.into() }
    }

    /// The place in line of a submission that is the `arrivals`-th.
    ///
    /// # Errors
    /// The reason why it could never be served.
    pub(super) fn place(&self, submission: &Submission, arrivals: u64) -> Result<(i32, u64), Rejection> {
        let Submission { prompt_tokens, output_tokens, .. } = *submission;
        for (parameter, value) in [("prompt_tokens", prompt_tokens), ("output_tokens", output_tokens)] {
            if value == 0 {
                return Err(Rejection::Zero { parameter });
            }
        }
        let tokens = u64::from(prompt_tokens) + u64::from(output_tokens);
        if let Some(max_model_len) = self.max_model_len.filter(|max| tokens > u64::from(*max)) {
            return Err(Rejection::ExceedsModel { tokens, max_model_len });
        }
        let slots = tokens - 1 + u64::from(self.slack());
        // Slots beyond the model's context are not needed.
        let slots = self.max_model_len.map_or(slots, |max| slots.min(u64::from(max)));
        let capacity = self.longest();
        if slots > capacity {
            return Err(Rejection::ExceedsCache { tokens: slots, capacity });
        }
        reservation::check(self, prompt_tokens, output_tokens)?;
        let priority = match self.scheduling_policy {
            SchedulingPolicy::Fcfs => 0,
            SchedulingPolicy::Priority => submission.priority,
        };
        Ok((priority, arrivals))
    }

    /// The blocks that sequences can have: all but the null block.
    pub fn usable_blocks(&self) -> u32 {
        self.num_blocks.saturating_sub(1)
    }

    /// Tokens that the KV cache holds, of sequences within their windows.
    pub fn cache_tokens(&self) -> u64 {
        self.kv_groups.tokens(self.usable_blocks().into(), self.block_size.into())
    }

    /// Slots of the longest sequence that the KV cache holds alone, in tokens.
    pub fn longest(&self) -> u64 {
        let budget = self.max_num_batched_tokens.saturating_add(self.slack());
        self.kv_groups.longest(self.usable_blocks(), budget, self.block_size)
    }

    /// What is not modelled together. Engines that schedule whole requests or reserve memory had none of the others.
    fn check_together(&self) -> Result<(), ConfigError> {
        let as_before = self.batching != Batching::Continuous || self.kv_allocation != KvAllocation::Paged;
        let stages = self.pipeline_parallel_size > 1;
        let windows = self.kv_groups.windowed > 0;
        let pairs = [
            (windows, as_before, "KV groups with windows", "batching by requests or contiguous KV memory"),
            (windows, self.num_cpu_blocks > 0, "KV groups with windows", "kv_offload"),
            (stages, self.speculative.is_some(), "pipeline_parallel", "speculative decoding"),
            (as_before, stages, "batching by requests or contiguous KV memory", "pipeline_parallel"),
            (
                as_before,
                self.speculative.is_some(),
                "batching by requests or contiguous KV memory",
                "speculative decoding",
            ),
            (
                as_before,
                self.num_cpu_blocks > 0,
                "batching by requests or contiguous KV memory",
                "kv_offload",
            ),
            (stages, self.num_cpu_blocks > 0, "pipeline_parallel", "kv_offload"),
            (self.speculative.is_some(), self.num_cpu_blocks > 0, "speculative decoding", "kv_offload"),
            (self.lora.is_some(), self.num_cpu_blocks > 0, "lora", "kv_offload"),
            (as_before, self.lora.is_some(), "batching by requests or contiguous KV memory", "lora"),
        ];
        match pairs.into_iter().find(|(one, other, ..)| *one && *other) {
            Some((_, _, one, other)) => Err(ConfigError::NotTogether { one, other }),
            None => Ok(()),
        }
    }

    /// Checks that an engine can run with these settings.
    ///
    /// # Errors
    /// Names the setting, its value and what is accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (parameter, value) in [
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_num_seqs", self.max_num_seqs),
            ("block_size", self.block_size),
            ("max_model_len", self.max_model_len.unwrap_or(1)),
            ("pipeline_parallel_size", self.pipeline_parallel_size),
            ("num_speculative_tokens", self.speculative.as_ref().map_or(1, |s| s.num_speculative_tokens)),
            ("max_loras", self.lora.map_or(1, |lora| lora.max_loras)),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { parameter });
            }
        }
        if self.usable_blocks() < self.kv_groups.count() {
            let least = self.kv_groups.count() + 1;
            return Err(ConfigError::TooFewBlocks { num_blocks: self.num_blocks, least });
        }
        if self.max_num_batched_tokens > MAX_BATCHED_TOKENS {
            return Err(ConfigError::BudgetTooLarge { max_num_batched_tokens: self.max_num_batched_tokens });
        }
        if self.max_num_batched_tokens < self.max_num_seqs {
            return Err(ConfigError::BudgetBelowSequences {
                max_num_batched_tokens: self.max_num_batched_tokens,
                max_num_seqs: self.max_num_seqs,
            });
        }
        if self.num_cpu_blocks > 0 && !self.enable_prefix_caching {
            return Err(ConfigError::OffloadWithoutCaching { num_cpu_blocks: self.num_cpu_blocks });
        }
        if let Some(Lora { max_loras, max_cpu_loras, .. }) =
            self.lora.filter(|l| l.max_cpu_loras < l.max_loras)
        {
            return Err(ConfigError::HostBelowGpu { max_loras, max_cpu_loras });
        }
        self.check_together()?;
        let tokens = u64::from(self.usable_blocks()) * u64::from(self.block_size);
        if tokens > MAX_KV_TOKENS {
            return Err(ConfigError::CacheTooLarge { tokens });
        }
        if let Some(size) = self.batching.preferred_beyond(self.max_num_seqs) {
            return Err(ConfigError::PreferredTooLarge { size, max_num_seqs: self.max_num_seqs });
        }
        if self.kv_allocation == KvAllocation::Contiguous(Reservation::Max) {
            let max_model_len = self.max_model_len.unwrap_or(u32::MAX);
            let capacity = reservation::largest_run(self);
            if u64::from(max_model_len) > capacity {
                return Err(ConfigError::ReservationTooLarge { max_model_len, capacity });
            }
        }
        Ok(())
    }
}

/// Settings that no engine can run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A setting that must be positive is 0.
    #[error("{parameter} is 0: expected at least 1")]
    Zero {
        /// The setting.
        parameter: &'static str,
    },
    /// Not one block for each group of layers is left beside the null block.
    #[error("num_blocks is {num_blocks}: expected at least {least}, as one block is the null block")]
    TooFewBlocks {
        /// The blocks given.
        num_blocks: u32,
        /// The fewest.
        least: u32,
    },
    /// A step's budget is out of range.
    #[error("max_num_batched_tokens is {max_num_batched_tokens}: expected at most {MAX_BATCHED_TOKENS}")]
    BudgetTooLarge {
        /// The budget given, in tokens.
        max_num_batched_tokens: u32,
    },
    /// The budget cannot give each running sequence a token (vLLM refuses to start with this, too).
    #[error(
        "max_num_batched_tokens is {max_num_batched_tokens}: expected at least max_num_seqs, {max_num_seqs}"
    )]
    BudgetBelowSequences {
        /// The budget given, in tokens.
        max_num_batched_tokens: u32,
        /// The limit on running sequences.
        max_num_seqs: u32,
    },
    /// What is in the host's memory is found by its content, as what the prefix cache holds.
    #[error("num_cpu_blocks is {num_cpu_blocks}: expected 0 without enable_prefix_caching")]
    OffloadWithoutCaching {
        /// The blocks given.
        num_cpu_blocks: u32,
    },
    /// The host must hold what the GPU holds.
    #[error("max_cpu_loras is {max_cpu_loras}: expected at least max_loras, {max_loras}")]
    HostBelowGpu {
        /// Adapters on the GPU.
        max_loras: u32,
        /// Adapters on the host.
        max_cpu_loras: u32,
    },
    /// What is not modelled together.
    #[error("{other} together with {one}: expected one of the two")]
    NotTogether {
        /// A setting.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// The KV cache is out of range.
    #[error("num_blocks and block_size make a KV cache of {tokens} tokens: expected at most {MAX_KV_TOKENS}")]
    CacheTooLarge {
        /// The KV cache's size, in tokens.
        tokens: u64,
    },
    /// A batch cannot reach a size that is preferred.
    #[error("preferred_batch_size is {size}: expected at most max_num_seqs, {max_num_seqs}")]
    PreferredTooLarge {
        /// The size given.
        size: u32,
        /// The limit on sequences.
        max_num_seqs: u32,
    },
    /// Nobody could ever be admitted.
    #[error(
        "the contiguous KV memory has no room for max_model_len, {max_model_len} tokens: expected at most \
         {capacity}, the largest power of two blocks in it"
    )]
    ReservationTooLarge {
        /// The tokens reserved for every sequence.
        max_model_len: u32,
        /// The largest run of memory, in tokens.
        capacity: u64,
    },
}
