//! A continuous-batching engine with paged KV memory.
//!
//! The semantics are those of **vLLM 0.14.0 (January 2026), V1 engine**, for text-only decoders with full attention or
//! sliding windows (`vllm/v1/core/sched/scheduler.py` and `async_scheduler.py`, `vllm/v1/core/kv_cache_manager.py`,
//! `vllm/v1/core/kv_cache_coordinator.py`, `vllm/v1/core/single_type_kv_cache_manager.py`,
//! `vllm/v1/core/block_pool.py`, `EngineCore.step_with_batch_queue` in `vllm/v1/engine/core.py`). It is the
//! first version with asynchronous scheduling by default.
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
//! # Scheduling ahead
//! With `async_scheduling` (the default) step n + 1 is scheduled when step n begins, so that the host works
//! while the GPU does; a step lasts the longer of the two (the step function says how long).
//! * Who arrives during step n gets into step n + 2 at the earliest.
//! * Places and blocks of a sequence that ends with step n are free only for step n + 2. Nothing is computed
//!   for it in step n + 1, as its length is known.
//! * Who is preempted while a token of it is underway still gets that token. One whose last token is underway
//!   may be preempted, too: it loses its blocks early, and nothing else; until the token is there it counts
//!   as waiting.
//! * A generated token can be part of a cached block only when its value is known: one step later.
//! * When nothing can be scheduled ahead (all that run get their last token), the next step is scheduled
//!   when the step underway ends, and the one after it at once.
//!
//! Without it a step is scheduled when the one before it has ended.
//!
//! # Layers with a window
//! Groups of layers have a block table each ([`KvGroups`](crate::hardware::kv_groups::KvGroups)), over one pool. When a
//! running sequence is scheduled, blocks that no layer of a group sees any more are given back first, the last before
//! the others, whether or not there are blocks for its step. A prefix is found as far as all tables have it: those
//! with a window what it covers before the prefix's end, or all from the beginning on; what is further back has no
//! block. A pool may be emptied group by group: what is still cached of one is of no use without the others.
//!
//! # Speculative decoding
//! A running sequence that decodes computes its last token and `num_speculative_tokens` drafts in a step, fewer
//! where the budget or the model's context ends, and gets one token and those drafts that are accepted
//! ([`Speculation`]). A running sequence takes blocks for `num_lookahead_tokens` slots beyond its step's tokens, an
//! admission does not; blocks of rejected drafts are kept for the tokens that follow. Drafts behind a sequence's last
//! token are computed in vain.
//! Nothing is scheduled ahead, which in vLLM is so for all methods but EAGLE; with EAGLE the host's work still hides
//! behind the GPU's, but places and blocks are free a step earlier than they would be; and the last block of a prefix
//! that is found is computed again, once also where vLLM looks it up group by group.
//! Tokens that come together count once between tokens, as they do in vLLM's metrics.
//!
//! # Pipeline parallelism
//! With s stages s steps may be underway (`max_concurrent_batches`), and each takes one stage after the other. A
//! sequence whose token is underway is left out of the steps behind; chunks of a prompt follow each other. Steps are
//! scheduled when one ends, as many as there are tokens for: nothing evens out the batches of the stages. One that was
//! preempted while a token of it is underway is not admitted again before it is there. A step's length in results
//! is the time since the end of the step before.
//!
//! # LoRA adapters
//! See [`Lora`]: who would need one adapter more than `max_loras` is passed over, and a step waits for the adapters
//! that it needs. A preempted sequence waits in its old place in line, where vLLM puts it in front of those passed over.
//!
//! # Choices that the source leaves open, or that differ from it
//! * **Prefill or decode.** All tokens known at an admission are prefill, also a last chunk of one token and
//!   also a resumed sequence's own generated tokens; only the tokens that follow, one a step, are decode.
//! * **Empty steps.** When the first in the batch that has something to compute preempts itself (under
//!   priority scheduling, or ahead of a last token), nothing is left to compute; vLLM goes through such a step in host time. Here it costs nothing: scheduling is
//!   repeated at once, or, if a step is underway, at its end.
//! * **Victims that were scheduled already** (priority scheduling alone) leave the step, and their tokens
//!   return to the budget; the blocks that this step would have filled are forgotten, which vLLM keeps as
//!   cached though they were never computed.
//! * **Arrival order** is the order of [`Engine::submit`], also between equal times.
//! * **Rejection.** What could not finish even alone is rejected at submission.
//! * **Aborts.** A sequence is gone for the caller at once (no token, no end is reported for it), while its
//!   place and its blocks are freed at the end of the step underway, behind those of the sequences that
//!   finish; the work of the steps already scheduled does not change. One that waits is gone altogether.
//!
//! # KV from elsewhere
//! The KV of a prompt may come from another engine ([`KvTransfer`], prefill/decode disaggregation) or from the
//! host's memory ([`EngineConfig::num_cpu_blocks`]): a sequence then takes its blocks and waits outside of the
//! batch until the KV is there ([`Output::loads`], [`Engine::loaded`]). Under FCFS it is in its old place in
//! line then, behind those that were preempted.
//! # Other ways
//! [`Batching`] says who may join a batch and when, [`KvAllocation`] where keys and values are kept: with
//! them an engine is one of those that came before vLLM (FasterTransformer behind a batcher, Orca). Their rules
//! are in `batching.rs` and `reservation.rs`.
//!
//! # Time
//! Steps last whole ticks of 1/1024 ns, and the next step begins at the very tick at which the one before
//! ended. What comes of a boundary is there at the first whole nanosecond that is not before it. Within a
//! nanosecond boundaries come first: what is submitted in it waits for a later boundary. See `clock.rs` for
//! an engine that is slowed down.
//!
//! # Two engines
//! [`EngineKind::Stepwise`] takes every step and looks at every sequence in it. [`EngineKind::Fast`] works in
//! closed form between the changes of the batch; with speculative decoding it leaps over steps that are alike and
//! looks at the batch between leaps, and with several stages, drawn acceptance or layers with a window it takes every step. They agree to
//! the bit in every time, count and histogram;
//! property tests hold them to it, and so can everybody (`engine = "stepwise"` in a scenario).
//!
//! # Example: the throughput of a constant batch
//! Four sequences with prompts of 32 tokens generate 10 tokens each. The first step computes 4 x 32 prompt
//! tokens, then 9 steps decode: with steps of 1 ms, 40 tokens in 10 ms.
//!
//! ```
//! use sim_core::time::SimTime;
//! use sim_models::hardware::timing::{Calibration, Coefficients, StepFunction, TICKS_PER_NANO};
//! use sim_models::llm::engine::{Engine, EngineConfig, EngineKind, Submission, Tally};
//! let base = 1_000_000 * TICKS_PER_NANO;
//! let step = StepFunction::new(Coefficients { base, ..Default::default() }, Calibration::Datasheet)?;
//! let mut engine = Engine::new(EngineKind::Fast, EngineConfig::new(100), step)?;
//! let mut tally = Tally::default();
//! let mut now = SimTime::ZERO;
//! for key in 0..4 {
//!     engine.submit(now, &Submission::new(key, 32, 10), &mut tally)?;
//! }
//! engine.advance(now, &mut tally);
//! while let Some(due) = engine.due() {
//!     now = due;
//!     engine.advance(now, &mut tally);
//! }
//! assert_eq!((now, tally.output_tokens), (SimTime::from_nanos(10_000_000), 40));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batching;
mod buddy;
mod clock;
mod config;
mod connector;
mod fast;
mod host;
mod lora;
mod reservation;
mod sequence;
mod speculation;
mod stepwise;
mod tally;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod closed_forms;

use sim_core::time::SimTime;

use crate::hardware::microbench::PassShape;
use crate::hardware::timing::StepFunction;
pub use batching::{Batching, DynamicBatching};
pub use clock::Pace;
pub use config::{
    ConfigError, EngineConfig, EngineKind, MAX_BATCHED_TOKENS, MAX_KV_TOKENS, SchedulingPolicy,
};
pub use connector::{KvTransfer, Load};
use fast::Fast;
pub use lora::{AdapterCounts, Lora};
pub use reservation::{KvAllocation, Reservation};
pub use sequence::{Prefix, Rejection, SeqId, Submission};
pub use speculation::Speculation;
use stepwise::Stepwise;
pub use tally::{Tally, Underway};

/// The engine's load at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineState {
    /// Sequences in the batch, with those aborted in the step underway.
    pub running: u32,
    /// Sequences waiting, preempted ones and those whose KV is being loaded among them.
    pub waiting: u32,
    /// KV blocks that sequences refer to, with those for the steps scheduled; blocks that are only cached
    /// count as free.
    pub used_blocks: u32,
    /// KV blocks in all, without the null block.
    pub total_blocks: u32,
    /// Whether a step is underway.
    pub stepping: bool,
}

/// The first or the last token of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone {
    /// The sequence.
    pub id: SeqId,
    /// The caller's name for it.
    pub key: u64,
    /// Whether this is its first token.
    pub first: bool,
    /// Whether this is its last token, with which it ends.
    pub last: bool,
}

/// What happened at the last boundary, or boundaries, that an engine was advanced over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// First and last tokens, in the order of the batch.
    pub milestones: Vec<Milestone>,
    /// The callers' names for the sequences that entered the batch for the first time, in order.
    pub admitted: Vec<u64>,
    /// What began to be loaded, in order; the caller says when it is there.
    pub loads: Vec<Load>,
}

impl Output {
    fn restart(&mut self) {
        self.milestones.clear();
        self.admitted.clear();
        self.loads.clear();
    }

    fn admit(&mut self, keys: impl Iterator<Item = u64>) {
        self.admitted.extend(keys);
    }
}

#[derive(Debug, Clone)]
enum Inner {
    Fast(Box<Fast>),
    Stepwise(Box<Stepwise>),
}

/// One replica of an inference engine. See the [module](self) for what it does.
///
/// The caller lets time pass in order, and calls [`Engine::advance`] whenever the engine is [due](Engine::due),
/// before anything else of that nanosecond. What is measured goes into a [`Tally`], which several engines may
/// share.
#[derive(Debug, Clone)]
pub struct Engine(Inner);

macro_rules! either {
    ($self:expr, $engine:ident => $act:expr) => {
        match $self {
            Inner::Fast($engine) => $act,
            Inner::Stepwise($engine) => $act,
        }
    };
}

impl Engine {
    /// An engine without work and with an empty cache.
    ///
    /// # Errors
    /// Settings that no engine can run with: see [`EngineConfig::validate`].
    pub fn new(kind: EngineKind, config: EngineConfig, step: StepFunction) -> Result<Self, ConfigError> {
        let config = config.effective();
        let steps_differ = config.pipeline_parallel_size > 1
            || config.speculative.is_some()
            || config.kv_groups.windowed > 0;
        Ok(Self(match kind {
            EngineKind::Fast if !steps_differ => Inner::Fast(Box::new(Fast::new(config, step)?)),
            EngineKind::Fast => Inner::Stepwise(Box::new(Stepwise::new(config, step, true)?)),
            EngineKind::Stepwise => Inner::Stepwise(Box::new(Stepwise::new(config, step, false)?)),
        }))
    }

    /// The shapes of the passes composed since this was first asked for, drafts left out; none of an engine in closed
    /// form, which composes none by itself.
    pub fn shapes(&mut self) -> Option<&mut Vec<PassShape>> {
        match &mut self.0 {
            Inner::Fast(_) => None,
            Inner::Stepwise(engine) => Some(engine.shapes()),
        }
    }

    /// The settings.
    pub fn config(&self) -> &EngineConfig {
        either!(&self.0, engine => engine.config())
    }

    /// Whether no step is underway. With sequences waiting it wants to be [advanced](Engine::advance), once
    /// all that arrives in this nanosecond is there; if a dynamic batch waits for others, it then stays idle.
    pub fn is_idle(&self) -> bool {
        either!(&self.0, engine => engine.is_idle())
    }

    /// When the engine must be advanced next, if nothing happens before: none without a step underway (but for
    /// a dynamic batch that waits for others no longer than until then), and none if that is beyond what ticks (208 days of uninterrupted work) or times can count.
    #[inline]
    pub fn due(&self) -> Option<SimTime> {
        either!(&self.0, engine => engine.due())
    }

    /// Lets a sequence wait for service, for the boundaries after `now`.
    ///
    /// # Errors
    /// The reason why it could never be served; the engine is then as it was before.
    pub fn submit(
        &mut self,
        now: SimTime,
        submission: &Submission,
        tally: &mut Tally,
    ) -> Result<SeqId, Rejection> {
        self.submit_transfer(now, submission, KvTransfer::None, tally)
    }

    /// The same for a sequence that is computed in part by another engine: a prefill that keeps its blocks,
    /// or one whose prompt's KV is fetched.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    #[inline]
    pub fn submit_transfer(
        &mut self,
        now: SimTime,
        submission: &Submission,
        transfer: KvTransfer,
        tally: &mut Tally,
    ) -> Result<SeqId, Rejection> {
        either!(&mut self.0, engine => engine.submit(now, submission, transfer, tally))
    }

    /// Whether a sequence could ever be served.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check_length(&self, submission: &Submission) -> Result<(), Rejection> {
        self.config().place(submission, 0).map(drop)
    }

    /// What a sequence [loads](Output::loads) is there; if not `there`, it could not be had and will be
    /// computed. Also to be called for one that was aborted meanwhile: its blocks are free only then. An
    /// engine that is idle wants to be [advanced](Engine::advance) if something waits. False if nothing was
    /// awaited.
    pub fn loaded(&mut self, now: SimTime, id: SeqId, there: bool, tally: &mut Tally) -> bool {
        either!(&mut self.0, engine => engine.loaded(now, id, there, tally))
    }

    /// Whether the blocks of a [`KvTransfer::RemoteDecode`] sequence, which has ended, are kept. One that was
    /// preempted before its last token came has none.
    pub fn is_sending(&self, id: SeqId) -> bool {
        either!(&self.0, engine => engine.is_sending(id))
    }

    /// The kept blocks of a sequence have been fetched, or nobody will: they are free at the end of the step
    /// underway. Who waits for them in an idle engine wants it to be [advanced](Engine::advance). False if
    /// there are none.
    pub fn sent(&mut self, now: SimTime, id: SeqId, tally: &mut Tally) -> bool {
        either!(&mut self.0, engine => engine.sent(now, id, tally))
    }

    /// Ends a sequence early; false if it has ended already. See the [module](self) for what remains of it.
    pub fn abort(&mut self, now: SimTime, id: SeqId, tally: &mut Tally) -> bool {
        either!(&mut self.0, engine => engine.abort(now, id, tally))
    }

    /// Takes the engine over all boundaries up to `now`; one that is idle begins to work.
    #[inline]
    pub fn advance(&mut self, now: SimTime, tally: &mut Tally) -> &Output {
        match &mut self.0 {
            Inner::Fast(engine) => {
                engine.advance(now, tally);
                engine.output()
            }
            Inner::Stepwise(engine) => {
                engine.advance(now, tally);
                engine.output()
            }
        }
    }

    /// Work takes another time from `now` on, that of the step underway as well.
    pub fn set_pace(&mut self, now: SimTime, pace: Pace, tally: &mut Tally) {
        either!(&mut self.0, engine => engine.set_pace(now, pace, tally));
    }

    /// Counts in `tally` all that has ended at `now`, so that it can be read or forgotten.
    pub fn settle(&mut self, now: SimTime, tally: &mut Tally) {
        either!(&mut self.0, engine => engine.settle(now, tally));
    }

    /// A crash: the steps underway, all sequences and the cache are lost. Returns the callers' names of the
    /// sequences that this ends, in the order of arrival.
    pub fn crash(&mut self, now: SimTime, tally: &mut Tally) -> Vec<u64> {
        either!(&mut self.0, engine => engine.crash(now, tally))
    }

    /// Empties the prefix cache: what free blocks hold is no longer known from `now` on; blocks in use keep what they
    /// hold, and so do those in the host's memory. vLLM 0.11.0 does the same (`BlockPool.reset_prefix_cache`) but
    /// only while no block is in use, and otherwise refuses. An idle engine with sequences waiting wants to be
    /// [advanced](Engine::advance).
    pub fn reset_prefix_cache(&mut self, now: SimTime, tally: &mut Tally) {
        either!(&mut self.0, engine => engine.reset_prefix_cache(now, tally));
    }

    /// The step underway at `now`, of a settled engine.
    pub fn underway(&self, now: SimTime) -> Underway {
        either!(&self.0, engine => engine.underway(now))
    }

    /// Sequences in the batch, with those aborted in the step underway and, where a batch ends as a whole, those
    /// that have all their tokens.
    pub fn running(&self) -> u32 {
        either!(&self.0, engine => engine.running())
    }

    /// Sequences waiting, preempted ones and those whose KV is being loaded among them.
    pub fn waiting(&self) -> u32 {
        either!(&self.0, engine => engine.waiting())
    }

    /// The load at `now`, which may lie between two boundaries.
    pub fn observe(&self, now: SimTime) -> EngineState {
        either!(&self.0, engine => engine.observe(now))
    }

    /// Checks all invariants: O(blocks).
    #[cfg(test)]
    fn check(&self) {
        either!(&self.0, engine => engine.check());
    }
}
