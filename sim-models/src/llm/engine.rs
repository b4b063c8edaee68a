//! A continuous-batching engine with paged KV memory, one step at a time.
//!
//! The semantics are those of **vLLM 0.11.0, V1 engine**, synchronous scheduling
//! (`vllm/v1/core/sched/scheduler.py`, `vllm/v1/core/kv_cache_manager.py`, `vllm/v1/core/block_pool.py`),
//! for text-only decoders with full attention. The engine is a data structure: it knows no clock and no
//! events. The caller begins a step, works out from its [`Pass`] how long it takes, and finishes it.
//!
//! # A step
//! 1. There is one budget of `max_num_batched_tokens`. Running sequences come first, in their order, each
//!    with `min(uncomputed tokens, long_prefill_token_threshold, budget left)` tokens. There are no phases:
//!    a sequence has known tokens (prompt and generated) and computed ones, and catches up. The token
//!    generated last is known but has no place in the KV cache until a later step computes it.
//! 2. Blocks for a step's tokens are taken when it is scheduled. A running sequence that finds none free
//!    preempts the last in the order of service, possibly itself, until it has them. A preempted sequence
//!    loses all blocks, waits again in its old place in line (under FCFS: the front) and computes its prompt
//!    and all it had generated again, less what the prefix cache still holds. One that preempts itself ends
//!    the scheduling of the step.
//! 3. If nobody was preempted, waiting sequences are admitted in order, as long as there are budget, places
//!    (`max_num_seqs`) and blocks for the first chunk. The first that does not fit blocks all behind it.
//! 4. At the end of the step the sequences that have caught up get one more token; who has all leaves.
//!
//! # Choices that the source leaves open, or that differ from it
//! * **Prefill or decode.** All tokens known at an admission are prefill, also a last chunk of one token and
//!   also a resumed sequence's own generated tokens; only the tokens that follow, one a step, are decode.
//! * **Empty steps.** When the first in the batch preempts itself (priority scheduling alone), nothing is
//!   left to compute; vLLM goes through such a step in host time. Here scheduling is repeated at once and
//!   the step costs nothing; [`StepPlan::preemptions`] counts all of them.
//! * **Victims that were scheduled already** (priority scheduling alone): they leave the step and their
//!   tokens return to the budget, as in later versions of vLLM; and the blocks that this step would have
//!   filled are forgotten, which vLLM keeps as cached though they were never computed.
//! * **Arrival order** is the order of [`Engine::submit`], also between equal times.
//! * **Rejection.** What could not finish even alone is rejected at submission.
//! * **Aborts** between steps take effect at once. In mid-step the sequence is gone for the caller at once
//!   (no token, no end is reported for it), while its place and its blocks are freed at the end of the step,
//!   behind those of the sequences that finish; the work of the step underway does not change.
//!
//! # Example: the throughput of a constant batch
//! Four sequences with prompts of 32 tokens generate 10 tokens each. The first step computes 4 x 32 prompt
//! tokens, then 9 steps decode: with steps of 1 ms, 40 tokens in 10 ms.
//!
//! ```
//! use sim_models::llm::engine::{Engine, EngineConfig, Prefix, Submission};
//! let mut engine = Engine::new(EngineConfig::new(100))?;
//! for key in 0..4 {
//!     let prefix = Prefix::None;
//!     engine.submit(&Submission { key, prompt_tokens: 32, output_tokens: 10, priority: 0, prefix })?;
//! }
//! let (mut now, mut tokens) = (0, 0);
//! while engine.begin_step().is_some() {
//!     now += 1_000_000;
//!     tokens += engine.finish_step(now).emissions.len();
//! }
//! assert_eq!((now, tokens), (10_000_000, 40));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod config;
mod scheduler;
mod sequence;
mod step;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::hardware::timing::Pass;
use blocks::BlockPool;
pub use config::{ConfigError, EngineConfig, MAX_BATCHED_TOKENS, MAX_KV_TOKENS, SchedulingPolicy};
pub use sequence::{Prefix, Rejection, SeqId, Submission, Totals};
use sequence::{Sequences, State};
pub use step::{Admission, Emission, Finished, StepOutput, StepPlan, Token};

/// The engine's load at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineState {
    /// Sequences in the batch, with those aborted in the step underway.
    pub running: u32,
    /// Sequences waiting, preempted ones among them.
    pub waiting: u32,
    /// KV blocks that sequences refer to; blocks that are only cached count as free.
    pub used_blocks: u32,
    /// KV blocks in all, without the null block.
    pub total_blocks: u32,
    /// Whether a step is underway.
    pub stepping: bool,
}

/// One replica of an inference engine. See the [module](self) for what it does.
#[derive(Debug, Clone)]
pub struct Engine {
    config: EngineConfig,
    pool: BlockPool,
    sequences: Sequences,
    /// By place in line. A preempted sequence keeps its place, so that under FCFS, where the places are the
    /// arrivals, it is in front of all that never ran.
    waiting: BTreeMap<(i32, u64), u32>,
    running: Vec<u32>,
    /// Aborted in the step underway, in the order of the aborts.
    aborted: Vec<u32>,
    arrivals: u64,
    steps_ended: u64,
    stepping: bool,
    plan: StepPlan,
    output: StepOutput,
    /// The cached blocks that the sequence at the head of the line begins with.
    hits: Vec<u32>,
}

impl Engine {
    /// An engine without work and with an empty cache.
    ///
    /// # Errors
    /// Settings that no engine can run with: see [`EngineConfig::validate`].
    pub fn new(config: EngineConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            pool: BlockPool::new(config.num_blocks),
            config,
            sequences: Sequences::default(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            aborted: Vec::new(),
            arrivals: 0,
            steps_ended: 0,
            stepping: false,
            plan: StepPlan::default(),
            output: StepOutput::default(),
            hits: Vec::new(),
        })
    }

    /// The settings.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Lets a sequence wait for service; also in mid-step, for the step after.
    ///
    /// # Errors
    /// The reason why it could never be served; the engine is then as it was before.
    pub fn submit(&mut self, submission: &Submission) -> Result<SeqId, Rejection> {
        let Submission { prompt_tokens, output_tokens, .. } = *submission;
        for (parameter, value) in [("prompt_tokens", prompt_tokens), ("output_tokens", output_tokens)] {
            if value == 0 {
                return Err(Rejection::Zero { parameter });
            }
        }
        let tokens = u64::from(prompt_tokens) + u64::from(output_tokens);
        if let Some(max_model_len) = self.config.max_model_len.filter(|max| tokens > u64::from(*max)) {
            return Err(Rejection::ExceedsModel { tokens, max_model_len });
        }
        let capacity = u64::from(self.config.usable_blocks()) * u64::from(self.config.block_size);
        if tokens - 1 > capacity {
            return Err(Rejection::ExceedsCache { tokens: tokens - 1, capacity });
        }
        let priority = match self.config.scheduling_policy {
            SchedulingPolicy::Fcfs => 0,
            SchedulingPolicy::Priority => submission.priority,
        };
        let order = (priority, self.arrivals);
        self.arrivals += 1;
        let index = self.sequences.insert(submission, order);
        self.waiting.insert(order, index);
        Ok(self.sequences.id(index))
    }

    /// Ends a sequence early; false if it has ended already. In mid-step, see the [module](self).
    pub fn abort(&mut self, id: SeqId) -> bool {
        let Some(sequence) = self.sequences.find(id) else { return false };
        if sequence.state == State::Waiting {
            let order = sequence.order;
            self.waiting.remove(&order);
            self.sequences.remove(id.index);
        } else {
            self.sequences[id.index].state = State::Aborted;
            self.aborted.push(id.index);
            if !self.stepping {
                self.remove_aborted();
            }
        }
        true
    }

    /// Schedules the next step; none if no sequence is there. O(batch), and O(blocks) for an admission.
    ///
    /// # Panics
    /// If a step is underway.
    pub fn begin_step(&mut self) -> Option<&StepPlan> {
        assert!(!self.stepping, "a step ends before the next one begins");
        if self.running.is_empty() && self.waiting.is_empty() {
            return None;
        }
        self.plan.restart(self.steps_ended + 1);
        loop {
            let preemptions = self.plan.preemptions;
            if self.schedule() > 0 {
                break;
            }
            // Each round has fewer running sequences, and what is alone always fits.
            assert!(self.plan.preemptions > preemptions, "a step without tokens preempted somebody");
        }
        self.sum_up();
        self.stepping = true;
        Some(&self.plan)
    }

    /// Ends the step underway at `now`, in ticks of the caller's choice, and hands out its tokens.
    ///
    /// # Panics
    /// If no step is underway, or if `now` is before an earlier token of a sequence in the batch: ticks may
    /// start anew only while no sequence is there.
    pub fn finish_step(&mut self, now: u64) -> &StepOutput {
        assert!(self.stepping, "a step begins before it ends");
        self.stepping = false;
        self.steps_ended += 1;
        self.output.restart(self.steps_ended);
        let mut running = std::mem::take(&mut self.running);
        running.retain(|index| self.advance(*index, now));
        self.running = running;
        self.remove_aborted();
        &self.output
    }

    /// Whether a step is underway.
    pub fn is_stepping(&self) -> bool {
        self.stepping
    }

    /// The plan of the step underway.
    pub fn plan(&self) -> Option<&StepPlan> {
        self.stepping.then_some(&self.plan)
    }

    /// The load at this moment. O(1).
    pub fn observe(&self) -> EngineState {
        EngineState {
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            used_blocks: self.pool.used_blocks(),
            total_blocks: self.config.usable_blocks(),
            stepping: self.stepping,
        }
    }

    /// A crash: the step underway, all sequences and the cache are lost. Returns the callers' names of the
    /// sequences that this ends, in the order of arrival.
    pub fn crash(&mut self) -> Vec<u64> {
        let mut live: Vec<(u64, u32, Option<u64>)> = self
            .sequences
            .iter()
            .map(|(index, sequence)| {
                (sequence.order.1, index, (sequence.state != State::Aborted).then_some(sequence.key))
            })
            .collect();
        live.sort_unstable();
        for (_, index, _) in &live {
            self.sequences[*index].blocks.clear();
            self.sequences.remove(*index);
        }
        self.pool.reset();
        self.waiting.clear();
        self.running.clear();
        self.aborted.clear();
        self.stepping = false;
        live.into_iter().filter_map(|(_, _, key)| key).collect()
    }

    /// Fills in what the plan says of the step as a whole.
    fn sum_up(&mut self) {
        let plan = &mut self.plan;
        for index in &self.running {
            let sequence = &self.sequences[*index];
            let (chunk, before) = (u64::from(sequence.scheduled), u64::from(sequence.computed));
            if chunk == 0 {
                continue;
            }
            plan.work.sequences += 1;
            plan.work.new_tokens += chunk;
            if sequence.computed < sequence.prefill_end {
                plan.prefills += 1;
                plan.work.prefill_work += Pass::chunk_work(before, chunk);
            } else {
                debug_assert!(chunk == 1 && sequence.computed + 1 == sequence.known());
                plan.decodes += 1;
                plan.work.decode_context += before + 1;
            }
        }
        plan.running = self.running.len() as u32;
        plan.waiting = self.waiting.len() as u32;
        plan.used_blocks = self.pool.used_blocks();
        debug_assert!(plan.work.new_tokens <= u64::from(self.config.max_num_batched_tokens));
        debug_assert!(plan.running <= self.config.max_num_seqs);
    }

    /// Takes a sequence of the batch over the end of a step; false if it leaves the batch.
    fn advance(&mut self, index: u32, now: u64) -> bool {
        let sequence = &mut self.sequences[index];
        let chunk = std::mem::take(&mut sequence.scheduled);
        sequence.computed += chunk;
        sequence.totals.computed += u64::from(chunk);
        if chunk == 0 || sequence.computed < sequence.known() || sequence.state == State::Aborted {
            return true;
        }
        let (at, step) = std::mem::replace(&mut sequence.last_token, (now, self.steps_ended));
        let token = if sequence.generated == 0 {
            self.output.first_tokens += 1;
            Token::First
        } else {
            self.output.next_tokens += 1;
            let gap = now.checked_sub(at).expect("steps end in the order of time");
            Token::Next { gap, contiguous: step + 1 == self.steps_ended }
        };
        sequence.generated += 1;
        let last = sequence.generated == sequence.output;
        let (key, totals) = (sequence.key, sequence.totals);
        debug_assert!(
            !last
                || totals.computed + totals.prefix_hits == u64::from(sequence.known()) - 1 + totals.discarded,
            "work is conserved"
        );
        let id = self.sequences.id(index);
        self.output.emissions.push(Emission { id, key, token, last });
        if last {
            self.output.finished.push(Finished { id, key, totals });
            self.release_blocks(index);
            self.sequences.remove(index);
        }
        !last
    }

    /// Takes aborted sequences out of the batch.
    fn remove_aborted(&mut self) {
        if self.aborted.is_empty() {
            return;
        }
        self.running.retain(|index| self.sequences[*index].state != State::Aborted);
        let mut aborted = std::mem::take(&mut self.aborted);
        for index in aborted.drain(..) {
            self.release_blocks(index);
            self.sequences.remove(index);
        }
        self.aborted = aborted;
    }

    /// Checks the pool against the sequences: O(blocks).
    #[cfg(test)]
    fn check(&self) {
        self.pool.check(self.sequences.iter().map(|(_, sequence)| sequence.blocks.as_slice()));
        for (index, sequence) in self.sequences.iter() {
            let waits = self.waiting.get(&sequence.order) == Some(&index);
            assert_eq!(waits, sequence.state == State::Waiting);
            assert_eq!(self.running.iter().filter(|other| **other == index).count(), usize::from(!waits));
            let tokens = sequence.computed + sequence.scheduled;
            assert_eq!(sequence.blocks.len() as u32, tokens.div_ceil(self.config.block_size));
        }
        assert_eq!(self.sequences.iter().count(), self.waiting.len() + self.running.len());
        if self.config.scheduling_policy == SchedulingPolicy::Fcfs {
            let line: Vec<_> = self.running.iter().chain(self.waiting.values()).collect();
            assert!(line.is_sorted_by_key(|index| self.sequences[**index].order), "in the order of arrival");
        }
    }
}
