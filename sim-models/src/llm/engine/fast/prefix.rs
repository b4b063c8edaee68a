//! What the prefix cache knows of running sequences.
//!
//! A block becomes known when the step that fills it is scheduled, or one step later where the value of its
//! last token is known only then. Prefill does that at once. For sequences that decode into blocks that
//! others may ask for (later turns of a conversation) it is done when somebody asks, or when such a sequence
//! leaves: in the order in which it would have happened, as the oldest of equal blocks is the one found.

use super::Fast;
use super::cache::NONE;
use super::record::State;

/// The end of step `step`'s scheduling, when all that is due by then is known; and the same with the ends
/// that are processed before the next.
pub(super) fn scheduled(step: u64) -> u64 {
    2 * step
}

/// See [`scheduled`].
pub(super) fn processed(step: u64) -> u64 {
    2 * step + 1
}

impl Fast {
    /// Makes a sequence's blocks known that `tokens` tokens fill.
    pub(super) fn register(&mut self, index: u32, tokens: u32) {
        let size = self.config.block_size;
        let record = &mut self.records[index];
        for block in record.blocks.len() as u32..record.shared.min(self.size.full(tokens)) {
            let key = record.content.block_key(record.order.1, block as usize, size);
            record.blocks.push(self.cache.register(key));
            if let Some(host) = &mut self.host {
                host.store(key);
            }
        }
    }

    /// The same for one that is counted by itself: what others have been due since is known before.
    pub(super) fn register_single(&mut self, index: u32, due: u64) {
        let record = &self.records[index];
        let (tokens, joined) = (record.computed, record.joined);
        if record.blocks.len() < record.shared.min(self.size.full(tokens)) as usize {
            self.materialize(due, joined);
            self.register(index, tokens);
        }
    }

    /// Makes known what is due before the moment of the batch's `joined`-th in step `due / 2`.
    pub(super) fn materialize(&mut self, due: u64, joined: u64) {
        if self.conversations.is_empty() {
            return;
        }
        let size = u64::from(self.config.block_size);
        let mut blocks = Vec::new();
        for index in &self.conversations {
            let record = &self.records[*index];
            for block in record.blocks.len() as u64..u64::from(record.shared) {
                // The step that fills the block, and the one in whose scheduling it becomes known.
                let filled = (((block + 1) * size) as i64 - record.base - 1) as u64;
                let at = match filled + self.lag - 1 {
                    // There is no such step for it: it is known with its last token.
                    at if at > record.finish => processed(at),
                    at => scheduled(at),
                };
                if filled > record.finish || (at, record.joined) > (due, joined) {
                    break;
                }
                blocks.push((at, record.joined, *index));
            }
        }
        blocks.sort_unstable();
        for (_, _, index) in blocks {
            let tokens = (self.records[index].blocks.len() as u32 + 1) * self.config.block_size;
            self.register(index, tokens);
        }
    }

    /// A sequence leaves the conversations.
    pub(super) fn leave_conversation(&mut self, index: u32) {
        if let Some(place) = self.conversations.iter().position(|other| *other == index) {
            self.conversations.swap_remove(place);
        }
    }

    /// Collects in `hits` the blocks that others know a waiting sequence to begin with, and counts those that
    /// it alone finds. One token at least stays to be computed.
    pub(super) fn find_prefix(&mut self, index: u32) -> u32 {
        self.hits.clear();
        if !self.config.enable_prefix_caching {
            return 0;
        }
        let record = &self.records[index];
        let most = self.size.full(record.known() - 1);
        for block in 0..record.shared.min(most) {
            let key = record.content.block_key(record.order.1, block as usize, self.config.block_size);
            let Some(node) = self.cache.find(key) else { break };
            self.hits.push(node);
        }
        let own = self.cache.own(record.own);
        // Of the blocks freed together, the first ones are taken last.
        debug_assert!(own == 0 || self.hits.len() as u32 == record.shared && record.shared + own <= most);
        own
    }

    /// Returns all blocks of a sequence with `tokens` tokens, the last first. Who waits still finds its own
    /// blocks that `known` tokens fill.
    pub(super) fn release(&mut self, index: u32, tokens: u32, known: Option<u32>) {
        if self.unreserve(index) {
            return;
        }
        let record = &mut self.records[index];
        let (all, registered) = (self.size.blocks(tokens), record.blocks.len() as u32);
        let own = match known {
            Some(known) if self.config.enable_prefix_caching => {
                self.size.full(known).saturating_sub(record.shared)
            }
            _ => 0,
        };
        debug_assert!(own == 0 || registered == record.shared);
        self.cache.put(all - registered - own);
        debug_assert_eq!(record.own, NONE);
        if own > 0 {
            record.own = self.cache.put_own(own);
        }
        while let Some(block) = record.blocks.pop() {
            self.cache.release(block);
        }
    }

    /// The tokens in the KV cache of a sequence in a state, after the steps scheduled.
    pub(super) fn held(&self, index: u32, state: State) -> u32 {
        let record = &self.records[index];
        match state {
            State::Vacant | State::Freed | State::Done => 0,
            State::Decode if record.decodes_from <= record.finish => record.before(self.composed + 1),
            State::Ending | State::Decode | State::Sending => record.prompt + record.output - 1,
            // Who waits holds what was loaded.
            _ => record.computed,
        }
    }
}
