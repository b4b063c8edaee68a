//! KV memory that is reserved as a whole when a sequence is admitted, as before PagedAttention.
//!
//! The variants are those of Orca in Kwon et al., "Efficient Memory Management for Large Language Model
//! Serving with PagedAttention" (SOSP 2023), section 6.1: they differ in how much is reserved for the answer,
//! and "Orca uses the buddy allocation algorithm to determine the memory address to store KV cache". A
//! sequence's tokens are one run of memory of a power of two blocks ([`Buddy`]); it is there from the admission
//! to the end, so nobody is ever preempted, and there is no prefix cache.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::buddy::{Buddy, Span};
use super::{EngineConfig, Rejection};

/// How much KV memory is reserved for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reservation {
    /// `max_model_len` tokens: Orca (Max), and what FasterTransformer does.
    #[default]
    Max,
    /// The prompt, and the length of the answer rounded up to a power of two: Orca (Pow2), whose answer of 25
    /// tokens takes 32 places.
    Pow2,
    /// Prompt and answer exactly, though nobody knows how long the answer will be: Orca (Oracle).
    Oracle,
}

/// Where the keys and values of a sequence are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvAllocation {
    /// In blocks, each taken when it is needed (PagedAttention).
    #[default]
    Paged,
    /// In one run of memory, reserved at the admission.
    Contiguous(Reservation),
}

impl KvAllocation {
    /// Tokens that are reserved for a sequence; none where nothing is.
    pub(super) fn tokens(self, prompt: u32, output: u32, max_model_len: Option<u32>) -> Option<u64> {
        let Self::Contiguous(reservation) = self else { return None };
        let (prompt, output) = (u64::from(prompt), u64::from(output));
        let most = max_model_len.map_or(u64::MAX, u64::from);
        Some(match reservation {
            Reservation::Max => most,
            Reservation::Pow2 => (prompt + output.next_power_of_two()).min(most),
            Reservation::Oracle => prompt + output,
        })
    }
}

/// The logarithm of the blocks of a run for so many tokens; none if there are none so large.
fn order(tokens: u64, block_size: u32) -> Option<u32> {
    let blocks = u32::try_from(tokens.div_ceil(block_size.into())).ok()?;
    Some(blocks.checked_next_power_of_two()?.trailing_zeros())
}

/// Tokens of the largest run that `config` has room for.
pub(super) fn largest_run(config: &EngineConfig) -> u64 {
    match config.usable_blocks().checked_ilog2() {
        Some(order) => u64::from(config.block_size) << order,
        None => 0,
    }
}

/// Whether a sequence can ever be admitted.
///
/// # Errors
/// A reservation that the empty memory has no room for.
pub(super) fn check(config: &EngineConfig, prompt: u32, output: u32) -> Result<(), Rejection> {
    let Some(tokens) = config.kv_allocation.tokens(prompt, output, config.max_model_len) else {
        return Ok(());
    };
    let (capacity, room) = (largest_run(config), config.usable_blocks().checked_ilog2());
    match order(tokens, config.block_size) {
        Some(order) if room.is_some_and(|room| order <= room) => Ok(()),
        _ => Err(Rejection::ExceedsReservation { tokens, capacity }),
    }
}

/// The memory of an engine that reserves.
#[derive(Debug, Clone)]
pub(super) struct Arena {
    buddy: Buddy,
    used: u32,
}

impl Arena {
    /// The memory of an engine with these settings; none if it is paged.
    pub(super) fn new(config: &EngineConfig) -> Option<Self> {
        match config.kv_allocation {
            KvAllocation::Paged => None,
            KvAllocation::Contiguous(_) => Some(Self { buddy: Buddy::new(config.usable_blocks()), used: 0 }),
        }
    }

    /// Frees everything.
    pub(super) fn reset(&mut self) {
        self.buddy.reset();
        self.used = 0;
    }

    /// Blocks that are reserved.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Reserves memory for a sequence that [`check`] has passed, if there is a run long enough.
    pub(super) fn reserve(&mut self, config: &EngineConfig, prompt: u32, output: u32) -> Option<Span> {
        let tokens = config.kv_allocation.tokens(prompt, output, config.max_model_len)?;
        let span = self.buddy.take(order(tokens, config.block_size)?)?;
        self.used += span.blocks();
        Some(span)
    }

    pub(super) fn release(&mut self, span: Span) {
        self.used -= span.blocks();
        self.buddy.put(span);
    }

    #[cfg(test)]
    pub(super) fn check(&self, config: &EngineConfig, spans: impl Iterator<Item = Span>) {
        assert_eq!(self.used, spans.map(Span::blocks).sum::<u32>());
        self.buddy.check(config.usable_blocks() - self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(reservation: Reservation, max_model_len: u32) -> EngineConfig {
        EngineConfig {
            kv_allocation: KvAllocation::Contiguous(reservation),
            max_model_len: Some(max_model_len),
            ..EngineConfig::new(201)
        }
    }

    #[test]
    fn the_variants_reserve_as_the_paper_says() {
        let tokens = |reservation, prompt, output| {
            KvAllocation::Contiguous(reservation).tokens(prompt, output, Some(2_048)).unwrap()
        };
        assert_eq!(tokens(Reservation::Max, 100, 25), 2_048);
        assert_eq!(tokens(Reservation::Pow2, 100, 25), 132);
        assert_eq!(tokens(Reservation::Pow2, 1_000, 1_048), 2_048, "never beyond the model");
        assert_eq!(tokens(Reservation::Oracle, 100, 25), 125);
        assert_eq!(KvAllocation::Paged.tokens(100, 25, None), None);
    }

    #[test]
    fn a_run_is_a_power_of_two_blocks() {
        let config = config(Reservation::Oracle, 4_096);
        let mut arena = Arena::new(&config).unwrap();
        let spans: Vec<_> =
            [(7, 9), (30, 3), (100, 25)].map(|(p, o)| arena.reserve(&config, p, o).unwrap()).into();
        assert_eq!(spans.iter().map(|span| span.blocks()).collect::<Vec<_>>(), [1, 4, 8]);
        assert_eq!(arena.used(), 13);
        assert!(arena.reserve(&config, 2_000, 1).is_some());
        assert_eq!(arena.reserve(&config, 1_000, 100), None, "the rest is 64 and a few, but 128 are needed");
    }

    #[test]
    fn what_no_empty_memory_can_hold_is_refused() {
        // 200 blocks: the largest run has 128.
        assert_eq!(check(&config(Reservation::Max, 2_048), 1, 1), Ok(()));
        let refused = Rejection::ExceedsReservation { tokens: 2_049, capacity: 2_048 };
        assert_eq!(check(&config(Reservation::Max, 2_049), 1, 1), Err(refused));
        assert_eq!(check(&config(Reservation::Oracle, 4_096), 2_000, 48), Ok(()));
        assert_eq!(check(&config(Reservation::Oracle, 4_096), 2_000, 49), Err(refused));
        assert!(check(&config(Reservation::Pow2, u32::MAX), 1, u32::MAX).is_err());
    }
}
