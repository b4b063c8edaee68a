//! How long an execution of a batch takes, alone on its hardware.

use sim_core::distribution::Dist;
use sim_core::random::KeyedDraws;
use sim_core::time::SimDuration;

use crate::hardware::timing::{Pass, StepFunction, nanos_ceil};

/// What a request brings into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Work {
    /// Items.
    pub(super) items: u64,
    /// Tokens of each item.
    pub(super) tokens: u64,
    /// The fixed part of an execution that begins with it, in nanoseconds.
    fixed: u64,
    /// What each item adds to such an execution.
    per_item: u64,
}

/// Where the time of an execution comes from.
#[derive(Debug)]
pub(super) enum Execution {
    /// `fixed + per_item * items`, both drawn anew for every execution.
    Given { fixed: Dist, per_item: Dist },
    /// One forward pass over all tokens of the batch.
    Pass {
        step: StepFunction,
        /// Tokens of an item; none for the request's prompt.
        tokens: Option<Dist>,
        /// The model's context: what is longer is cut off, as sentence-transformers does it.
        context: u64,
        /// Whether every item is as long as the longest.
        padding: bool,
    },
}

/// A draw of a number of things, at least one.
pub(super) fn count(law: &Dist, draws: &mut KeyedDraws) -> u64 {
    // The cast cuts off at the largest u32, which bounds all sums.
    u64::from(law.quantile(sim_core::random::unit(draws)).round().max(1.0) as u32)
}

impl Execution {
    /// Draws what a request of so many items brings. An execution's times are those of its first
    /// request, so that compared variants have the same luck whatever they put together.
    pub(super) fn draw(&self, items: u64, prompt_tokens: u32, draws: &mut KeyedDraws) -> Work {
        match self {
            Self::Given { fixed, per_item } => {
                let fixed = fixed.sample_duration(draws).as_nanos();
                Work { items, tokens: 0, fixed, per_item: per_item.sample_duration(draws).as_nanos() }
            }
            Self::Pass { tokens, context, .. } => {
                let given = tokens.as_ref().map(|law| count(law, draws));
                let tokens = given.unwrap_or_else(|| u64::from(prompt_tokens.max(1)));
                Work { items, tokens: tokens.min(*context), ..Work::default() }
            }
        }
    }

    /// How long a batch takes alone at full speed; [`SimDuration::MAX`] for longer than can be counted.
    pub(super) fn time(&self, batch: impl Iterator<Item = Work> + Clone) -> SimDuration {
        match self {
            Self::Given { .. } => {
                let items: u64 = batch.clone().map(|work| work.items).sum();
                let first = batch.clone().next().unwrap_or_default();
                SimDuration::from_nanos(first.per_item.saturating_mul(items).saturating_add(first.fixed))
            }
            Self::Pass { step, padding, .. } => {
                let longest = batch.clone().map(|work| work.tokens).max().unwrap_or(0);
                let mut pass = Pass::default();
                for work in batch {
                    let tokens = if *padding { longest } else { work.tokens };
                    pass.sequences += work.items;
                    pass.new_tokens = pass.new_tokens.saturating_add(work.items.saturating_mul(tokens));
                    let pairs = work.items.saturating_mul(tokens.saturating_mul(tokens));
                    pass.prefill_work = pass.prefill_work.saturating_add(pairs);
                }
                step.checked_ticks(&pass).map_or(SimDuration::MAX, nanos_ceil)
            }
        }
    }
}
