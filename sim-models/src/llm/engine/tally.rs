//! What engines measure.

use sim_core::stats::Histogram;

use super::lora::{AdapterCounts, Loads};

/// Sums over the steps of one engine or of several. Work is counted when its step ends. Times are in ticks
/// of wall time, 1/1024 ns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// Steps that have ended.
    pub steps: u64,
    /// Their lengths together.
    pub ticks: u128,
    /// Sum of length times sequences.
    pub sequence_ticks: u128,
    /// Sum of length times KV blocks that sequences refer to, those for the step's own tokens among them.
    pub block_ticks: u128,
    /// Sum of length times tokens that the step's sequences have in the KV cache, those of the step among them.
    /// A token that several sequences share counts for each.
    pub token_ticks: u128,
    /// The most blocks in one step.
    pub blocks_max: u32,
    /// Time in steps that a crash cut short, which counts nowhere else.
    pub lost_ticks: u128,
    /// Sequences whose KV blocks were taken away.
    pub preemptions: u64,
    /// Tokens that admitted sequences found in the prefix cache.
    pub prefix_hit_tokens: u64,
    /// Tokens that they looked for: their prompts, and what they had generated before a preemption.
    pub prefix_query_tokens: u64,
    /// Prompt tokens computed, and tokens computed again after a preemption.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Drafted tokens that were verified.
    pub draft_tokens: u64,
    /// Drafted tokens that were accepted, with those behind a sequence's last token.
    pub accepted_tokens: u64,
    /// What admissions found of their LoRA adapters.
    pub adapters: AdapterCounts,
    /// Time between two tokens of a sequence, in ticks; of tokens that come together the first counts.
    pub itl: Histogram,
}

/// What a step did besides decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extras {
    pub(super) preemptions: u32,
    pub(super) prefix_hit_tokens: u64,
    pub(super) prefix_query_tokens: u64,
    pub(super) prompt_tokens: u64,
    pub(super) adapters: Loads,
}

impl Tally {
    /// Counts another engine's work, too.
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.ticks += other.ticks;
        self.sequence_ticks += other.sequence_ticks;
        self.block_ticks += other.block_ticks;
        self.token_ticks += other.token_ticks;
        self.blocks_max = self.blocks_max.max(other.blocks_max);
        self.lost_ticks += other.lost_ticks;
        self.preemptions += other.preemptions;
        self.prefix_hit_tokens += other.prefix_hit_tokens;
        self.prefix_query_tokens += other.prefix_query_tokens;
        self.prompt_tokens += other.prompt_tokens;
        self.output_tokens += other.output_tokens;
        self.draft_tokens += other.draft_tokens;
        self.accepted_tokens += other.accepted_tokens;
        self.adapters.add(&other.adapters);
        self.itl.merge(&other.itl);
    }

    /// A step of `ticks` with so many sequences, KV blocks and tokens in them has ended.
    #[inline]
    pub(super) fn step(&mut self, ticks: u64, sequences: u64, blocks: u32, tokens: u64) {
        self.steps += 1;
        self.ticks += u128::from(ticks);
        self.sequence_ticks += u128::from(ticks) * u128::from(sequences);
        self.block_ticks += u128::from(ticks) * u128::from(blocks);
        self.token_ticks += u128::from(ticks) * u128::from(tokens);
        self.blocks_max = self.blocks_max.max(blocks);
    }

    /// A crash cuts the step underway short.
    pub(super) fn lose(&mut self, step: Underway) {
        self.lost_ticks += u128::from(step.ticks);
        self.block_ticks += u128::from(step.ticks) * u128::from(step.blocks);
        self.token_ticks += u128::from(step.ticks) * u128::from(step.tokens);
        self.blocks_max = self.blocks_max.max(step.blocks);
    }

    #[inline]
    pub(super) fn extras(&mut self, extras: &Extras) {
        self.preemptions += u64::from(extras.preemptions);
        self.prefix_hit_tokens += extras.prefix_hit_tokens;
        self.prefix_query_tokens += extras.prefix_query_tokens;
        self.prompt_tokens += extras.prompt_tokens;
        self.adapters.step(&extras.adapters);
    }

    /// A sequence's first token.
    #[inline]
    pub(super) fn first_token(&mut self) {
        self.output_tokens += 1;
    }

    /// Later tokens of `count` sequences, all `gap` after the one before.
    #[inline]
    pub(super) fn next_tokens(&mut self, gap: u64, count: u64) {
        self.output_tokens += count;
        self.itl.record_n(gap, count);
    }
}

/// The step underway at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Underway {
    /// How long it has been going on, in ticks of wall time.
    pub ticks: u64,
    /// KV blocks that sequences refer to in it.
    pub blocks: u32,
    /// Tokens that its sequences have in the KV cache.
    pub tokens: u64,
}
