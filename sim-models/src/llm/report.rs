//! What an LLM pool measures.

use sim_core::stats::Histogram;
use sim_core::time::SimTime;

use super::engine::{Tally, Underway};
use crate::hardware::timing::TICKS_PER_NANO;

/// Calls that a pool refused, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rejected {
    /// As many calls as `queue_cap` allows waited already.
    pub queue_full: u64,
    /// No replica was up.
    pub no_replica: u64,
    /// Prompt and answer together are longer than `max_model_len`.
    pub exceeds_model: u64,
    /// Even alone it would not fit into the KV cache.
    pub exceeds_cache: u64,
}

impl Rejected {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full + self.no_replica + self.exceeds_model + self.exceeds_cache
    }
}

/// What an LLM pool measured in the measured part of the run. Work is counted when its step ends.
#[derive(Debug, Clone, PartialEq)]
pub struct LlmReport {
    /// Replicas, whether up or not.
    pub replicas: u32,
    /// GPUs of all replicas.
    pub gpus: u64,
    /// Share of the time that the GPUs were in a step.
    pub gpu_busy: f64,
    /// KV blocks of a replica, the null block among them.
    pub kv_blocks: u32,
    /// Tokens that the KV cache of a replica holds.
    pub kv_tokens: u64,
    /// Share of all replicas' KV blocks in use, averaged over time: in a step those that it was scheduled
    /// with, its own tokens' among them, and none between steps.
    pub kv_use_mean: f64,
    /// The largest share of one replica's KV blocks that was ever in use.
    pub kv_use_max: f64,
    /// Steps.
    pub steps: u64,
    /// Mean length of a step, in nanoseconds; none without steps.
    pub step_time_mean: Option<f64>,
    /// Sequences in a step, averaged over the time in steps; none without steps.
    pub batch_mean: Option<f64>,
    /// Preemptions: sequences whose KV blocks were taken away.
    pub preemptions: u64,
    /// Tokens that admitted sequences found in the prefix cache.
    pub prefix_hit_tokens: u64,
    /// Tokens that they looked for: their prompts, and what they had generated before a preemption.
    pub prefix_query_tokens: u64,
    /// Prompt tokens computed, and tokens computed again after a preemption.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Time between two tokens of a sequence, in ticks of 1/1024 ns.
    pub itl: Histogram,
    /// Calls that each replica took.
    pub calls_by_replica: Vec<u64>,
    /// Calls refused.
    pub rejected: Rejected,
    /// How far the step times can be trusted, in words.
    pub calibration: String,
}

/// Collects the report.
#[derive(Debug)]
pub(super) struct Measures {
    /// What the engines count.
    pub(super) tally: Tally,
    /// Time in steps, and the same times KV blocks, before the measured part, of steps that ended in it.
    before: (u128, u128),
    /// When the measured part began.
    since: SimTime,
    /// Calls taken, by replica.
    pub(super) calls: Vec<u64>,
    pub(super) rejected: Rejected,
}

/// What does not change during a run.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) replicas: u32,
    pub(super) gpus: u64,
    pub(super) kv_blocks: u32,
    /// Without the null block.
    pub(super) usable_blocks: u32,
    pub(super) block_size: u32,
    pub(super) calibration: String,
}

/// Time in the steps underway, and the same times KV blocks.
fn integrals(underway: impl Iterator<Item = Underway>) -> (u128, u128) {
    underway.fold((0, 0), |(time, blocks), step| {
        let ticks = u128::from(step.ticks);
        (time + ticks, blocks + ticks * u128::from(step.blocks))
    })
}

impl Measures {
    pub(super) fn new(replicas: u32) -> Self {
        Self {
            tally: Tally::default(),
            before: (0, 0),
            since: SimTime::ZERO,
            calls: vec![0; replicas as usize],
            rejected: Rejected::default(),
        }
    }

    /// The measured part begins, with these steps underway.
    pub(super) fn reset(&mut self, now: SimTime, underway: impl Iterator<Item = Underway>) {
        self.tally = Tally::default();
        self.before = integrals(underway);
        self.since = now;
        self.calls.fill(0);
        self.rejected = Rejected::default();
    }

    /// What was measured until `now`, when these steps are underway.
    pub(super) fn report(
        &self,
        tally: &Tally,
        underway: &[Underway],
        facts: &Facts,
        now: SimTime,
    ) -> LlmReport {
        let all_blocks = f64::from(facts.replicas) * f64::from(facts.usable_blocks);
        let (ticks, some) = (tally.ticks as f64, tally.steps > 0);
        let (time, blocks) = integrals(underway.iter().copied());
        let elapsed = (now.since(self.since).as_nanos() as f64) * TICKS_PER_NANO as f64;
        let share = |sum: u128, of: f64| if elapsed > 0.0 { sum as f64 / (elapsed * of) } else { 0.0 };
        let most = underway.iter().map(|step| step.blocks).fold(tally.blocks_max, u32::max);
        LlmReport {
            replicas: facts.replicas,
            gpus: facts.gpus,
            gpu_busy: share(tally.ticks + tally.lost_ticks + time - self.before.0, facts.replicas.into()),
            kv_blocks: facts.kv_blocks,
            kv_tokens: u64::from(facts.usable_blocks) * u64::from(facts.block_size),
            kv_use_mean: share(tally.block_ticks + blocks - self.before.1, all_blocks),
            kv_use_max: f64::from(most) / f64::from(facts.usable_blocks),
            steps: tally.steps,
            step_time_mean: some.then(|| ticks / TICKS_PER_NANO as f64 / tally.steps as f64),
            batch_mean: some.then(|| tally.sequence_ticks as f64 / ticks),
            preemptions: tally.preemptions,
            prefix_hit_tokens: tally.prefix_hit_tokens,
            prefix_query_tokens: tally.prefix_query_tokens,
            prompt_tokens: tally.prompt_tokens,
            output_tokens: tally.output_tokens,
            itl: tally.itl.clone(),
            calls_by_replica: self.calls.clone(),
            rejected: self.rejected,
            calibration: facts.calibration.clone(),
        }
    }
}
