//! KV that is loaded and sent: see [`connector`](crate::llm::engine::connector).

use super::record::State;
use super::scheduler::Scheduler;
use crate::llm::engine::connector::Load;
use crate::llm::engine::{KvTransfer, SeqId};

impl Scheduler {
    /// Up to which token the KV of the sequence at the head of the line can be had without computing it, if
    /// the prefix cache holds that of `hit` tokens.
    pub(super) fn reach(&self, index: u32, hit: u32) -> u32 {
        let sequence = &self.sequences[index];
        let most = sequence.known() - 1;
        if sequence.transfer == KvTransfer::RemotePrefill {
            return most;
        }
        let Some(host) = self.host.as_ref().filter(|_| !sequence.recomputes) else { return hit };
        let size = self.config.block_size;
        let there = (hit / size..sequence.known() / size)
            .take_while(|block| host.holds(sequence.block_key(*block as usize, size)))
            .count() as u32;
        (hit + there * size).min(most)
    }

    /// Begins to load the KV of a sequence from token `hit` to `reach`; false if the blocks are not free.
    pub(super) fn load(&mut self, index: u32, hit: u32, reach: u32) -> bool {
        let known = self.sequences[index].known();
        let all = if self.config.scheduler_reserve_full_isl { known } else { reach };
        if !self.fits(index, all) {
            return false;
        }
        self.waiting.pop_first();
        self.use_hits(index, hit);
        self.touch_host(index, reach);
        let size = self.config.block_size;
        let (id, sequence) = (self.sequences.id(index), &mut self.sequences[index]);
        let blocks = reach.div_ceil(size) - hit / size;
        sequence.blocks.extend((0..blocks).map(|_| self.pool.allocate()));
        sequence.computed = reach;
        sequence.state = State::Loading;
        let host = std::mem::take(&mut sequence.transfer) != KvTransfer::RemotePrefill;
        self.loads.push(Load { id, key: sequence.key, blocks, host });
        self.loads_begun += 1;
        self.loading += 1;
        self.kept += 1;
        true
    }

    /// A sequence begins with the blocks that the prefix cache holds.
    pub(super) fn use_hits(&mut self, index: u32, hit: u32) {
        self.begin_with_hits(index);
        let sequence = &mut self.sequences[index];
        sequence.computed = hit;
        self.touch_host(index, hit);
    }

    /// The blocks of the first `tokens` tokens of a sequence are used.
    fn touch_host(&mut self, index: u32, tokens: u32) {
        let size = self.config.block_size;
        if let Some(host) = &mut self.host {
            let sequence = &self.sequences[index];
            for block in (0..tokens.div_ceil(size)).rev() {
                host.touch(sequence.block_key(block as usize, size));
            }
        }
    }

    /// What was loaded is there, or cannot be had; false if nothing was awaited.
    pub(super) fn loaded(&mut self, id: SeqId, there: bool) -> bool {
        match self.sequences.state(id) {
            Some(State::Loading) if there => {
                self.loading -= 1;
                self.kept -= 1;
                let sequence = &mut self.sequences[id.index];
                sequence.state = State::Waiting;
                self.waiting.insert(sequence.order, id.index);
            }
            Some(State::Loading) => self.leave_later(id.index, State::Failed),
            Some(State::Doomed) => self.leave_later(id.index, State::Leaving),
            _ => return false,
        }
        true
    }

    /// Whether the blocks of a sequence that has ended are kept.
    pub(super) fn is_sending(&self, id: SeqId) -> bool {
        self.sequences.state(id) == Some(State::Sending)
    }

    /// The kept blocks of a sequence are needed no more; false if there are none.
    pub(super) fn sent(&mut self, id: SeqId) -> bool {
        let sends = self.is_sending(id);
        if sends {
            self.leave_later(id.index, State::Leaving);
        }
        sends
    }

    /// The blocks of a sequence are free at the end of the step underway.
    pub(super) fn leave_later(&mut self, index: u32, state: State) {
        self.sequences[index].state = state;
        self.aborted.push(index);
        if self.plan().is_none() {
            self.remove_aborted();
        }
    }

    /// A sequence has given its blocks back.
    pub(super) fn left(&mut self, index: u32, state: State) {
        self.kept -= 1;
        if state == State::Leaving {
            return self.sequences.remove(index);
        }
        debug_assert_eq!(state, State::Failed);
        self.loading -= 1;
        self.wait_without_blocks(index);
        let order = self.sequences[index].order;
        self.waiting.insert(order, index);
    }

    fn wait_without_blocks(&mut self, index: u32) {
        let sequence = &mut self.sequences[index];
        (sequence.computed, sequence.registered, sequence.recomputes) = (0, 0, true);
        sequence.state = State::Waiting;
    }

    /// Takes the blocks from the last in line that has any; false if there is none.
    pub(super) fn take_from_waiting(&mut self) -> bool {
        let sequences = &self.sequences;
        let Some(index) = self.waiting.values().rev().copied().find(|index| sequences[*index].computed > 0)
        else {
            return false;
        };
        self.preemptions += 1;
        self.release_blocks(index);
        self.wait_without_blocks(index);
        true
    }

    /// A crash.
    pub(super) fn lose_connector(&mut self) {
        (self.loading, self.kept) = (0, 0);
        self.loads.clear();
        if let Some(host) = &mut self.host {
            host.reset();
        }
    }
}
