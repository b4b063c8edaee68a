//! How the layers of a model share out the blocks of its KV cache.
//!
//! Layers that keep the whole context and layers that look back over a window need what they keep for different
//! times. vLLM's hybrid KV cache manager cuts them into groups of equally many layers, each of one kind and with a
//! block table of its own; a block of the one pool holds the keys and values of `block_size` tokens in the layers of
//! one group, and those that have slid out of the window are freed
//! (`_get_kv_cache_groups_uniform_page_size` in `vllm/v1/core/kv_cache_utils.py` and `SlidingWindowManager` in
//! `vllm/v1/core/single_type_kv_cache_manager.py`, 0.14.0).

use super::catalogue::Model;

/// Groups of layers with a block table each. By default all layers are one group that keeps the whole context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvGroups {
    /// Groups of layers that keep the whole context.
    pub full: u32,
    /// Groups of layers that look back over a window. Their tables come first, as in models whose first layer has
    /// one (Gemma 2 and 3, gpt-oss).
    pub windowed: u32,
    /// Tokens that layers with a window see, the one that looks among them; at least 1, and without meaning where
    /// `windowed` is 0.
    pub window: u32,
}

impl Default for KvGroups {
    fn default() -> Self {
        Self { full: 1, windowed: 0, window: 1 }
    }
}

impl KvGroups {
    /// The groups of a model's layers. As many layers as there are of the rarer kind make a group, or, where there are
    /// less than 1.25 times as many of the other, as many as there are of that; the last of a kind may have fewer.
    pub fn of(model: &Model) -> Self {
        let Some(sliding) = model.sliding.filter(|sliding| sliding.layers > 0) else {
            return Self::default();
        };
        let (windowed, full) = (sliding.layers, model.layers - sliding.layers);
        let window = u32::try_from(sliding.window).unwrap_or(u32::MAX).max(1);
        if full == 0 {
            return Self { full: 0, windowed: 1, window };
        }
        let (fewer, more) = (windowed.min(full), windowed.max(full));
        // 1.25 in integers.
        let layers = if 4 * more < 5 * fewer { more } else { fewer };
        let groups = |of: u64| u32::try_from(of.div_ceil(layers)).unwrap_or(u32::MAX);
        Self { full: groups(full), windowed: groups(windowed), window }
    }

    /// Groups in all: blocks that so many tokens take as fit into one, while they are in the window.
    pub fn count(self) -> u32 {
        self.full + self.windowed
    }

    /// Tokens that `blocks` blocks of `block_size` hold, of sequences within their windows (what vLLM logs as "GPU KV
    /// cache size").
    pub(crate) fn tokens(self, blocks: u64, block_size: u64) -> u64 {
        blocks / u64::from(self.count()) * block_size
    }

    /// The most layers of `model`, a stage of the one that was grouped or all of it, that a block holds keys and
    /// values of.
    pub(super) fn layers_in_block(self, model: &Model) -> u64 {
        let windowed = model.sliding.map_or(0, |sliding| sliding.layers);
        let each = |layers: u64, groups: u32| layers.div_ceil(u64::from(groups.max(1)));
        match self.windowed {
            0 => each(model.layers, self.full),
            _ => each(model.layers - windowed, self.full).max(each(windowed, self.windowed)),
        }
    }

    /// Blocks at the beginning of a table with a window that are needed no more once `computed` tokens are: a
    /// token sees itself and the `window - 1` before it.
    pub(crate) fn slid_out(self, computed: u32, block_size: u32) -> u32 {
        (computed.saturating_add(1)).saturating_sub(self.window) / block_size
    }

    /// The most blocks that a table with a window ever has, if a step computes no more than `budget` tokens of a
    /// sequence (`SlidingWindowSpec.max_memory_usage_bytes` in `vllm/v1/kv_cache_interface.py`).
    pub(crate) fn most_in_window(self, budget: u32, block_size: u32) -> u32 {
        let tokens = (self.window - 1).saturating_add(budget);
        tokens.div_ceil(block_size).saturating_add(1)
    }

    /// The tokens of the longest sequence that `blocks` blocks hold alone, if a step computes no more than `budget` of
    /// them.
    pub(crate) fn longest(self, blocks: u32, budget: u32, block_size: u32) -> u64 {
        let (blocks, size) = (u64::from(blocks), u64::from(block_size));
        if self == Self::default() {
            // Asked at every submission: without a division.
            return blocks * size;
        }
        let within = u64::from(self.most_in_window(budget, block_size));
        let (full, windowed) = (u64::from(self.full), u64::from(self.windowed));
        let each = blocks / (full + windowed);
        if windowed == 0 || each < within {
            return each * size;
        }
        match full {
            0 => u64::MAX,
            _ => (blocks - windowed * within) / full * size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::catalogue::{Sliding, model};

    #[test]
    fn layers_are_cut_as_vllm_cuts_them() {
        let of = |id: &str| KvGroups::of(model(id).unwrap());
        assert_eq!(of("llama-3.1-8b"), KvGroups::default());
        // 52 layers with a window and 10 without: 6 groups of 10, the last of 2, and one of 10.
        assert_eq!(of("gemma-3-27b"), KvGroups { full: 1, windowed: 6, window: 1024 });
        let cut = |layers, windowed| {
            let sliding = Some(Sliding { window: 4096, layers: windowed });
            let KvGroups { full, windowed, .. } =
                KvGroups::of(&Model { layers, sliding, ..model("llama-3.1-8b").unwrap().clone() });
            (full, windowed)
        };
        assert_eq!(cut(42, 21), (1, 1));
        // The example of its comment: 13 layers without a window (12, and a drafting head) and 12 with one.
        assert_eq!(cut(25, 12), (1, 1));
        assert_eq!(cut(30, 20), (1, 2));
        assert_eq!(cut(9, 4), (2, 1), "5 are 1.25 times 4, and no less");
        assert_eq!(cut(32, 32), (0, 1));
        assert_eq!(cut(32, 0), (1, 0));
    }

    /// github.com/ovg-project/kvcached/issues/215 (November 2025), Gemma 3 4B on an A100 with `max_model_len` 3,072:
    /// "Add 1 padding layers", "GPU KV cache size: 317,136 tokens", "Maximum concurrency for 3,072 tokens per request:
    /// 102.78x".
    #[test]
    fn the_cache_is_as_large_as_vllm_logged() {
        let groups = KvGroups::of(model("gemma-3-4b").unwrap());
        assert_eq!((groups.full, groups.windowed), (1, 6), "5 layers, and 29 in 6 groups of 5, one short");
        // The number of blocks is not logged; a seventh of it is 19,821 blocks of 16 tokens.
        let (blocks, size) = (317_136 / 16 * 7, 16);
        // A sequence never needs more than its own tokens, in blocks, and one.
        let of_a_window = groups.most_in_window(8_192, size).min(3_072 / size + 1);
        let of_a_request = 3_072 / size * groups.full + of_a_window * groups.windowed;
        assert!((f64::from(blocks) / f64::from(of_a_request) - 102.78).abs() < 0.01);
    }

    #[test]
    fn what_slides_out_is_as_in_its_example() {
        // A window of 4: of 7 tokens the first 4 are seen no more.
        let groups = KvGroups { full: 1, windowed: 1, window: 4 };
        assert_eq!([0, 3, 4, 7].map(|computed| groups.slid_out(computed, 1)), [0, 0, 1, 4]);
        assert_eq!([7, 8, 10, 11].map(|computed| groups.slid_out(computed, 4)), [1, 1, 1, 2]);
    }

    #[test]
    fn no_table_grows_beyond_its_bound() {
        for window in 1..40u32 {
            let groups = KvGroups { full: 1, windowed: 1, window };
            for (size, budget) in [(1, 1), (4, 1), (4, 7), (16, 5), (16, 64)] {
                let most = groups.most_in_window(budget, size);
                for computed in 0..200u32 {
                    let held = (computed + budget).div_ceil(size) - groups.slid_out(computed, size);
                    assert!(held <= most, "{held} > {most}: {window}, {size}, {budget}, {computed}");
                }
            }
        }
    }

    #[test]
    fn the_longest_sequence_fills_the_pool() {
        let groups = KvGroups { full: 1, windowed: 6, window: 1024 };
        // 64 blocks of the window, 128 of a step, and one more.
        assert_eq!(groups.most_in_window(2048, 16), 193);
        assert_eq!(groups.longest(7 * 100, 2048, 16), 1_600, "all within the window");
        assert_eq!(groups.longest(6 * 193 + 1_000, 2048, 16), 16_000);
        assert_eq!(KvGroups { full: 0, ..groups }.longest(6 * 193, 2048, 16), u64::MAX);
        assert_eq!(KvGroups::default().longest(100, 2048, 16), 1_600);
    }
}
