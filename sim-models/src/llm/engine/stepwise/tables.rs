//! The block tables of sequences: what is found in the cache, taken, made known, and given back.
//!
//! Each group of layers ([`KvGroups`](crate::hardware::kv_groups::KvGroups)) has a table of its own. A sequence's
//! blocks are kept side by side, those of all groups for its first `block_size` tokens before those for the next. The
//! groups come one after the other in all that has an order, as the managers of vLLM's coordinator do.

use super::blocks::NULL;
use super::record::Sequence;
use super::scheduler::Scheduler;

/// The key of what a block of group number `group` holds, where that of the first group holds `key`.
fn in_group(key: u64, group: usize) -> u64 {
    // A key is a hash: distinct summands keep them apart. The odd number is that of the golden ratio.
    key.wrapping_add((group as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl Scheduler {
    /// Groups of layers, each with a table.
    fn groups(&self) -> usize {
        self.config.kv_groups.count() as usize
    }

    /// Blocks of each table that the sequence looked at last finds in the cache.
    pub(super) fn hit_blocks(&self) -> u32 {
        (self.hits.len() / self.groups()) as u32
    }

    /// Blocks in each table of a sequence, with those that have slid out of a window.
    pub(super) fn table_len(&self, sequence: &Sequence) -> u32 {
        (sequence.blocks.len() / self.groups()) as u32
    }

    /// Collects in `hits` the cached blocks that the sequence begins with: as many as there are in all tables. One
    /// token at least stays to be computed: the pass that computes it yields the next one. With EAGLE the last block
    /// that is found is computed, too.
    pub(super) fn find_prefix(&mut self, index: u32) {
        self.hits.clear();
        if !self.config.enable_prefix_caching {
            return;
        }
        let (size, groups) = (self.config.block_size, self.config.kv_groups);
        let (all, windowed) = (self.groups(), groups.windowed as usize);
        let eagle = self.config.speculative.as_ref().is_some_and(|speculation| speculation.use_eagle);
        let sequence = &self.sequences[index];
        let most = ((sequence.known() - 1) / size) as usize;
        let found = |block: usize, group| self.pool.find(in_group(sequence.block_key(block, size), group));
        let in_all = |block: usize, mut groups: std::ops::Range<usize>| {
            let key = sequence.block_key(block, size);
            groups.all(|group| self.pool.find(in_group(key, group)).is_some())
        };
        let full = match groups.full {
            0 => most,
            _ => (0..most).take_while(|block| in_all(*block, windowed..all)).count(),
        };
        // Where layers have a window, what it covers must be there, or all from the beginning on.
        let (mut from, mut until) = (0, full);
        if windowed > 0 {
            let covered = (groups.window - 1).div_ceil(size).max(1) as usize + usize::from(eagle);
            (from, until) = (full, full);
            while from > 0 && until - from < covered {
                from -= 1;
                if !in_all(from, 0..windowed) {
                    until = from;
                }
            }
        }
        until -= usize::from(eagle && until > 0);
        let table = |block: usize, group: usize| match group < windowed && block < from {
            true => NULL,
            false => found(block, group).expect("it was found before"),
        };
        let hits: Vec<u32> = (0..until)
            .flat_map(|block| (0..all).map(move |group| (block, group)))
            .map(|(b, g)| table(b, g))
            .collect();
        self.hits.extend(hits);
    }

    /// A sequence begins with the blocks that the prefix cache holds.
    pub(super) fn begin_with_hits(&mut self, index: u32) {
        let all = self.groups();
        for group in 0..all {
            for block in self.hits.iter().skip(group).step_by(all) {
                self.pool.share(*block);
            }
        }
        let registered = self.hit_blocks();
        let sequence = &mut self.sequences[index];
        sequence.blocks.extend_from_slice(&self.hits);
        sequence.registered = registered;
        let windowed = self.config.kv_groups.windowed > 0;
        let slid_out = self.hits.iter().step_by(all).take_while(|block| **block == NULL).count();
        sequence.slid_out = if windowed { slid_out as u32 } else { 0 };
    }

    /// Whether a waiting sequence, which has no block but `hits` and those that were loaded, can have blocks
    /// for `tokens` tokens. Hits that nobody uses are free blocks, too: using them takes them from the rest. Of those
    /// with a window no more are ever needed at once than it and a step can have.
    pub(super) fn fits(&self, index: u32, tokens: u32) -> bool {
        let groups = self.config.kv_groups;
        let has = self.hit_blocks() + self.table_len(&self.sequences[index]);
        let new = tokens.div_ceil(self.config.block_size).saturating_sub(has);
        let in_window = match groups.windowed {
            0 => 0,
            _ => new.min(groups.most_in_window(self.config.max_num_batched_tokens, self.config.block_size)),
        };
        let new = u64::from(groups.full) * u64::from(new) + u64::from(groups.windowed) * u64::from(in_window);
        let revived = self.hits.iter().filter(|block| **block != NULL && self.pool.is_free(**block)).count();
        new + revived as u64 <= u64::from(self.pool.free_blocks())
    }

    /// Takes the blocks for `chunk` more tokens of a running sequence, all or none, and makes those that get
    /// full known to the prefix cache. As in vLLM this happens at scheduling: a sequence admitted to the
    /// same step already finds them, as the pass writes each layer's keys and values before reading them.
    /// `lookahead` slots more are taken for drafts, within the model's context. What has slid out of a window is given
    /// back before, whether or not there is enough.
    pub(super) fn grow(&mut self, index: u32, chunk: u32, lookahead: u32) -> bool {
        if self.arena.is_some() {
            return true;
        }
        self.slide(index);
        let block_size = self.config.block_size;
        let sequence = &self.sequences[index];
        let end = sequence.computed + chunk;
        let slots = (end + lookahead).min(self.config.max_model_len.unwrap_or(u32::MAX)).max(end);
        let new = slots.div_ceil(block_size).saturating_sub(self.table_len(sequence)) as usize;
        let all = self.groups();
        if new * all > self.pool.free_blocks() as usize {
            return false;
        }
        let sequence = &mut self.sequences[index];
        let held = sequence.blocks.len();
        sequence.blocks.resize(held + new * all, NULL);
        for group in 0..all {
            for place in sequence.blocks[held..].iter_mut().skip(group).step_by(all) {
                *place = self.pool.allocate();
            }
        }
        // A token underway has no value yet that a block could be known by.
        let full = end.min(sequence.landed()) / block_size;
        self.register(index, full);
        true
    }

    /// Gives back the blocks that have slid out of the windows, the last first.
    fn slide(&mut self, index: u32) {
        let (groups, all) = (self.config.kv_groups, self.groups());
        if groups.windowed == 0 {
            return;
        }
        let sequence = &mut self.sequences[index];
        let out = groups.slid_out(sequence.computed, self.config.block_size);
        for group in 0..groups.windowed as usize {
            for block in (sequence.slid_out..out).rev() {
                let place = &mut sequence.blocks[block as usize * all + group];
                self.pool.release(std::mem::replace(place, NULL));
            }
        }
        sequence.slid_out = sequence.slid_out.max(out);
    }

    /// Makes a sequence's first `full` blocks known to the prefix cache, but those that it has no more.
    pub(super) fn register(&mut self, index: u32, full: u32) {
        if !self.config.enable_prefix_caching {
            return;
        }
        let (block_size, all) = (self.config.block_size, self.groups());
        let sequence = &mut self.sequences[index];
        for block in sequence.registered as usize..full as usize {
            let content = sequence.block_key(block, block_size);
            for (group, place) in sequence.blocks[block * all..][..all].iter().enumerate() {
                if *place != NULL {
                    self.pool.register(*place, in_group(content, group));
                }
            }
            if let Some(host) = &mut self.host {
                host.store(content);
            }
        }
        sequence.registered = sequence.registered.max(full);
    }

    /// What a step would have filled was made known, but will not be computed.
    pub(super) fn forget_unfilled(&mut self, index: u32) {
        let (block_size, all) = (self.config.block_size, self.groups());
        let sequence = &self.sequences[index];
        let filled = (sequence.computed / block_size) as usize * all;
        for block in &sequence.blocks[filled..] {
            self.pool.forget(*block);
        }
        if let Some(host) = &mut self.host {
            for block in sequence.computed / block_size..sequence.registered {
                host.remove(sequence.block_key(block as usize, block_size));
            }
        }
    }

    /// Returns a sequence's blocks, the last of each table first, so that the beginnings that others may share live
    /// longest in the cache.
    pub(super) fn release_blocks(&mut self, index: u32) {
        if let Some((arena, span)) = self.arena.as_mut().zip(self.sequences[index].span.take()) {
            arena.release(span);
        }
        let all = self.groups();
        let sequence = &mut self.sequences[index];
        for group in 0..all {
            for block in sequence.blocks.iter().skip(group).step_by(all).rev() {
                self.pool.release(*block);
            }
        }
        sequence.blocks.clear();
        sequence.slid_out = 0;
    }
}

#[cfg(test)]
impl Scheduler {
    /// Checks that a sequence has the blocks that it needs, and none that have slid out of a window.
    pub(super) fn check_windows(&self, sequence: &Sequence) {
        let (all, groups) = (self.groups(), self.config.kv_groups);
        let out = groups.slid_out(sequence.computed, self.config.block_size);
        assert!(sequence.slid_out <= out && (groups.windowed > 0 || sequence.slid_out == 0));
        for (place, block) in sequence.blocks.iter().enumerate() {
            let is_out = place % all < groups.windowed as usize && place / all < sequence.slid_out as usize;
            assert_eq!(*block == NULL, is_out);
        }
    }
}
