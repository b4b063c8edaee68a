//! Which of those who wait may enter a batch, and when.
//!
//! **Continuous** batching lets sequences join and leave at every step (iteration-level scheduling: Yu et al.,
//! "Orca: A Distributed Serving System for Transformer-Based Generative Models", OSDI 2022).
//!
//! **Static** and **dynamic** batching schedule whole requests, as FasterTransformer behind a batcher did: a
//! batch is put together while the engine is idle, nobody joins it, and nobody's answer is complete before
//! the longest is (Orca, section 3: requests that finish earlier "cannot return to the client"). First tokens
//! are seen when they come. The prompts of a batch are one pass, whatever `max_num_batched_tokens`. A
//! sequence that has all its tokens returns its KV blocks at once, and nothing more is computed for it.
//! FasterTransformer still takes its row through the matrix multiplications, which costs next to nothing
//! while they are bound by memory.
//!
//! They differ in when a batch goes: a static one as soon as the engine is idle and anybody waits, a dynamic
//! one by the rules of Triton's dynamic batcher for requests of one item each
//! (`DynamicBatchScheduler::GetDynamicBatch` in triton-inference-server/core, read in 2025; the
//! `model_server` has the whole of it): a preferred size goes at once, and everybody when the oldest has
//! waited for the delay.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

/// How sequences are put together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Batching {
    /// They join and leave at every step, as in vLLM.
    #[default]
    Continuous,
    /// A batch of at most `max_num_seqs` runs until its longest sequence ends.
    Static,
    /// The same, but batches wait for more to come.
    Dynamic(DynamicBatching),
}

/// When a dynamic batch goes: Triton's `dynamic_batching` (`ModelDynamicBatching` in `model_config.proto`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DynamicBatching {
    /// Batch sizes that go at once, at most `max_num_seqs`. Default: `max_num_seqs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_batch_size: Vec<NonZeroU32>,
    /// How long the oldest request waits for others while the engine is idle, in microseconds. Default: 0.
    #[serde(default)]
    pub max_queue_delay_microseconds: u64,
}

impl DynamicBatching {
    fn delay(&self) -> SimDuration {
        SimDuration::from_nanos(self.max_queue_delay_microseconds.saturating_mul(1_000))
    }

    /// The largest preferred size up to `most`.
    fn preferred(&self, most: u32, max_num_seqs: u32) -> Option<u32> {
        if self.preferred_batch_size.is_empty() {
            return (most >= max_num_seqs).then_some(max_num_seqs);
        }
        self.preferred_batch_size.iter().map(|size| size.get()).filter(|size| *size <= most).max()
    }
}

impl Batching {
    /// Whether whole requests are scheduled.
    #[inline]
    pub(super) fn is_by_request(&self) -> bool {
        !matches!(self, Self::Continuous)
    }

    /// Whether a batch may wait for others to come.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Dynamic(dynamic) if dynamic.max_queue_delay_microseconds > 0)
    }

    /// The first preferred size that no batch can reach.
    pub(super) fn preferred_beyond(&self, max_num_seqs: u32) -> Option<u32> {
        let Self::Dynamic(dynamic) = self else { return None };
        dynamic.preferred_batch_size.iter().map(|size| size.get()).find(|size| *size > max_num_seqs)
    }

    /// How many of `waiting` sequences, the oldest of which came at `oldest`, go into the batch that an idle
    /// engine may begin `now`; none if they wait for others. Where one of them was in a batch before (`oldest` is
    /// none), they do not wait.
    pub(super) fn form(
        &self,
        waiting: u32,
        oldest: Option<SimTime>,
        now: SimTime,
        max_num_seqs: u32,
    ) -> Option<u32> {
        let all = waiting.min(max_num_seqs);
        let Self::Dynamic(dynamic) = self else { return Some(all) };
        let is_over =
            self.waits() && oldest.is_none_or(|oldest| self.goes_at(oldest).is_some_and(|at| at <= now));
        match dynamic.preferred(all, max_num_seqs).filter(|_| !is_over) {
            Some(preferred) => Some(preferred),
            None if is_over || waiting > max_num_seqs || !self.waits() => Some(all),
            None => None,
        }
    }

    /// When a batch goes at the latest whose oldest sequence came at `oldest`, if it may wait at all.
    pub(super) fn goes_at(&self, oldest: SimTime) -> Option<SimTime> {
        match self {
            Self::Dynamic(dynamic) if self.waits() => oldest.checked_add(dynamic.delay()).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SimTime = SimTime::ZERO;

    fn dynamic(preferred: &[u32], us: u64) -> Batching {
        let preferred_batch_size = preferred.iter().map(|size| NonZeroU32::new(*size).unwrap()).collect();
        Batching::Dynamic(DynamicBatching { preferred_batch_size, max_queue_delay_microseconds: us })
    }

    #[test]
    fn a_static_batch_takes_whoever_waits() {
        assert_eq!(Batching::Static.form(3, Some(START), START, 8), Some(3));
        assert_eq!(Batching::Static.form(30, Some(START), START, 8), Some(8));
    }

    #[test]
    fn a_dynamic_batch_goes_by_tritons_rules() {
        let (early, late) = (SimTime::from_nanos(99_999), SimTime::from_nanos(100_000));
        let by_default = dynamic(&[], 100);
        assert_eq!(by_default.form(7, Some(START), early, 8), None, "it waits for the oldest one's delay");
        assert_eq!(by_default.form(7, Some(START), late, 8), Some(7));
        assert_eq!(by_default.form(9, Some(START), early, 8), Some(8), "a full one goes at once");
        assert_eq!(by_default.goes_at(START), Some(late));
        let preferring = dynamic(&[4, 2], 100);
        assert_eq!(preferring.form(1, Some(START), early, 8), None);
        assert_eq!(preferring.form(3, Some(START), early, 8), Some(2));
        assert_eq!(preferring.form(7, Some(START), early, 8), Some(4));
        assert_eq!(preferring.form(7, Some(START), late, 8), Some(7), "the delay is over for all");
        assert_eq!(preferring.form(3, None, early, 8), Some(3), "one was in a batch before");
        let hasty = dynamic(&[4], 0);
        assert_eq!(
            (hasty.form(3, Some(START), START, 8), hasty.form(5, Some(START), START, 8)),
            (Some(3), Some(4))
        );
        assert_eq!(hasty.goes_at(START), None);
    }
}
