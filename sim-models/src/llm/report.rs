//! What an LLM pool measures.

use sim_core::stats::{Histogram, TimeWeighted};
use sim_core::time::SimTime;

use super::engine::{StepOutput, StepPlan, Token};
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

/// One replica of an LLM pool in the measured part of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct LlmReplica {
    /// Share of its KV blocks in use, averaged over time.
    pub kv_use_mean: f64,
    /// The largest share of its KV blocks that was ever in use.
    pub kv_use_max: f64,
    /// Steps.
    pub steps: u64,
    /// Mean length of a step, in nanoseconds; none without steps.
    pub step_time_mean: Option<f64>,
    /// Sequences in a step, averaged over the time in steps; none without steps.
    pub batch_mean: Option<f64>,
    /// Preemptions.
    pub preemptions: u64,
    /// Tokens that admitted sequences found in the prefix cache.
    pub prefix_hit_tokens: u64,
    /// Tokens that they looked for.
    pub prefix_query_tokens: u64,
}

/// What an LLM pool measured in the measured part of the run. Work is counted when its step ends.
#[derive(Debug, Clone, PartialEq)]
pub struct LlmReport {
    /// Replicas, whether up or not.
    pub replicas: Vec<LlmReplica>,
    /// GPUs of all replicas.
    pub gpus: u64,
    /// Share of the time that the GPUs were in a step.
    pub gpu_busy: f64,
    /// KV blocks of a replica, the null block among them.
    pub kv_blocks: u32,
    /// Tokens that the KV cache of a replica holds.
    pub kv_tokens: u64,
    /// Share of all replicas' KV blocks in use, averaged over time.
    pub kv_use_mean: f64,
    /// The largest share of all replicas' KV blocks that was ever in use.
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
    /// Time between two tokens of a sequence, in nanoseconds, rounded down.
    pub itl: Histogram,
    /// Calls refused.
    pub rejected: Rejected,
    /// How far the step times can be trusted, in words.
    pub calibration: String,
}

/// Counts of one replica, or the sums of all.
#[derive(Debug, Clone, Default)]
struct Counts {
    steps: u64,
    ticks: u128,
    /// Sum of ticks times sequences.
    sequence_ticks: u128,
    preemptions: u64,
    prefix_hit_tokens: u64,
    prefix_query_tokens: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.ticks += other.ticks;
        self.sequence_ticks += other.sequence_ticks;
        self.preemptions += other.preemptions;
        self.prefix_hit_tokens += other.prefix_hit_tokens;
        self.prefix_query_tokens += other.prefix_query_tokens;
    }

    fn step_time_mean(&self) -> Option<f64> {
        (self.steps > 0).then(|| self.ticks as f64 / TICKS_PER_NANO as f64 / self.steps as f64)
    }

    fn batch_mean(&self) -> Option<f64> {
        (self.steps > 0).then(|| self.sequence_ticks as f64 / self.ticks as f64)
    }
}

/// Collects the report.
#[derive(Debug)]
pub(super) struct Measures {
    /// Of each replica.
    counts: Vec<Counts>,
    /// KV blocks in use in each replica.
    kv_used_by: Vec<TimeWeighted>,
    prompt_tokens: u64,
    output_tokens: u64,
    itl: Histogram,
    pub(super) rejected: Rejected,
    /// KV blocks in use.
    pub(super) kv_used: TimeWeighted,
    /// Replicas in a step.
    pub(super) stepping: TimeWeighted,
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

impl Measures {
    pub(super) fn new(replicas: u32) -> Self {
        let level = || TimeWeighted::new(SimTime::ZERO, 0);
        Self::from((0..replicas).map(|_| level()).collect(), level(), level())
    }

    /// Everything from zero, but for the levels.
    fn from(kv_used_by: Vec<TimeWeighted>, kv_used: TimeWeighted, stepping: TimeWeighted) -> Self {
        Self {
            counts: vec![Counts::default(); kv_used_by.len()],
            kv_used_by,
            prompt_tokens: 0,
            output_tokens: 0,
            itl: Histogram::new(),
            rejected: Rejected::default(),
            kv_used,
            stepping,
        }
    }

    pub(super) fn reset(&mut self, now: SimTime) {
        let (mut kv_used, mut stepping) = (self.kv_used.clone(), self.stepping.clone());
        kv_used.reset(now);
        stepping.reset(now);
        let mut kv_used_by = std::mem::take(&mut self.kv_used_by);
        kv_used_by.iter_mut().for_each(|level| level.reset(now));
        *self = Self::from(kv_used_by, kv_used, stepping);
    }

    /// Takes note of the KV blocks in use in a replica.
    pub(super) fn note_kv(&mut self, replica: usize, now: SimTime, used: u64) {
        let level = &mut self.kv_used_by[replica];
        if level.level() != used {
            level.set(now, used);
        }
    }

    /// A step of a replica that took `ticks` has ended.
    pub(super) fn step(&mut self, replica: usize, plan: &StepPlan, ticks: u64) {
        let counts = &mut self.counts[replica];
        counts.steps += 1;
        counts.ticks += u128::from(ticks);
        counts.sequence_ticks += u128::from(ticks) * u128::from(plan.work.sequences);
        counts.preemptions += u64::from(plan.preemptions);
        counts.prefix_hit_tokens += plan.prefix_hit_tokens;
        counts.prefix_query_tokens += plan.prefix_query_tokens;
        self.prompt_tokens += plan.work.new_tokens - u64::from(plan.decodes);
    }

    /// The tokens that came out of it.
    pub(super) fn tokens(&mut self, output: &StepOutput) {
        self.output_tokens += u64::from(output.first_tokens) + u64::from(output.next_tokens);
        // The gaps of sequences that were in the step before are all alike: this step.
        let (mut alike, mut step) = (0, 0);
        for emission in &output.emissions {
            match emission.token {
                Token::First => {}
                Token::Next { gap, contiguous: true } => {
                    debug_assert!(alike == 0 || gap == step);
                    (alike, step) = (alike + 1, gap);
                }
                Token::Next { gap, contiguous: false } => self.itl.record(gap / TICKS_PER_NANO),
            }
        }
        self.itl.record_n(step / TICKS_PER_NANO, alike);
    }

    pub(super) fn report(&self, facts: &Facts, now: SimTime) -> LlmReport {
        let all_blocks = f64::from(facts.replicas) * f64::from(facts.usable_blocks);
        let blocks = f64::from(facts.usable_blocks);
        let replica = |(counts, kv): (&Counts, &TimeWeighted)| LlmReplica {
            kv_use_mean: kv.mean(now) / blocks,
            kv_use_max: kv.max() as f64 / blocks,
            steps: counts.steps,
            step_time_mean: counts.step_time_mean(),
            batch_mean: counts.batch_mean(),
            preemptions: counts.preemptions,
            prefix_hit_tokens: counts.prefix_hit_tokens,
            prefix_query_tokens: counts.prefix_query_tokens,
        };
        let mut all = Counts::default();
        self.counts.iter().for_each(|counts| all.add(counts));
        LlmReport {
            replicas: self.counts.iter().zip(&self.kv_used_by).map(replica).collect(),
            gpus: facts.gpus,
            gpu_busy: self.stepping.mean(now) / f64::from(facts.replicas),
            kv_blocks: facts.kv_blocks,
            kv_tokens: u64::from(facts.usable_blocks) * u64::from(facts.block_size),
            kv_use_mean: self.kv_used.mean(now) / all_blocks,
            kv_use_max: self.kv_used.max() as f64 / all_blocks,
            steps: all.steps,
            step_time_mean: all.step_time_mean(),
            batch_mean: all.batch_mean(),
            preemptions: all.preemptions,
            prefix_hit_tokens: all.prefix_hit_tokens,
            prefix_query_tokens: all.prefix_query_tokens,
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            itl: self.itl.clone(),
            rejected: self.rejected,
            calibration: facts.calibration.clone(),
        }
    }
}
