//! KV that is loaded and sent: see [`connector`](crate::llm::engine::connector).

use sim_core::time::SimTime;

use super::Fast;
use super::cache::NONE;
use super::prefix::processed;
use super::record::State;
use crate::llm::engine::connector::Load;
use crate::llm::engine::tally::Tally;
use crate::llm::engine::{KvTransfer, SeqId};

impl Fast {
    /// Up to which token the KV of the sequence at the head of the line can be had without computing it, if
    /// the prefix cache holds that of `hit` tokens.
    #[inline]
    pub(super) fn reach(&self, index: u32, hit: u32) -> u32 {
        let record = &self.records[index];
        if record.transfer == KvTransfer::RemotePrefill {
            return record.known() - 1;
        }
        let Some(host) = self.host.as_ref().filter(|_| !record.recomputes) else { return hit };
        let size = self.config.block_size;
        let there = (self.size.full(hit)..self.size.full(record.known()))
            .take_while(|block| host.holds(record.content.block_key(record.order.1, *block as usize, size)))
            .count() as u32;
        (hit + there * size).min(record.known() - 1)
    }

    /// Begins to load the KV of a sequence from token `hit` to `reach`; false if the blocks are not free.
    pub(super) fn load(&mut self, index: u32, hit: u32, reach: u32) -> bool {
        let known = self.records[index].known();
        let all = if self.config.scheduler_reserve_full_isl { known } else { reach };
        let hits = self.hits.len() as u32;
        let revived = self.hits.iter().filter(|node| self.cache.is_free(**node)).count() as u32;
        if self.size.blocks(all) - hits + revived > self.cache.free() {
            return false;
        }
        self.line.leave(index, &mut self.records);
        self.use_hits(index, hit);
        self.touch_host(index, reach);
        let blocks = self.size.blocks(reach) - hits;
        self.cache.take(blocks);
        let id = self.records.id(index);
        let record = &mut self.records[index];
        (record.state, record.computed) = (State::Loading, reach);
        let host = std::mem::take(&mut record.transfer) != KvTransfer::RemotePrefill;
        self.output.loads.push(Load { id, key: record.key, blocks, host });
        self.loads_begun += 1;
        self.loading += 1;
        self.kept += 1;
        true
    }

    /// A sequence begins with the blocks that the prefix cache holds.
    #[inline]
    pub(super) fn use_hits(&mut self, index: u32, hit: u32) {
        for node in &self.hits {
            self.cache.share(*node);
        }
        let record = &mut self.records[index];
        if record.own != NONE {
            self.cache.claim_own(std::mem::replace(&mut record.own, NONE));
        }
        record.blocks.extend_from_slice(&self.hits);
        self.touch_host(index, hit);
    }

    /// The blocks of the first `tokens` tokens of a sequence are used.
    #[inline]
    fn touch_host(&mut self, index: u32, tokens: u32) {
        if let Some(host) = &mut self.host {
            let record = &self.records[index];
            for block in (0..self.size.blocks(tokens)).rev() {
                let size = self.config.block_size;
                host.touch(record.content.block_key(record.order.1, block as usize, size));
            }
        }
    }

    /// What was loaded is there, or cannot be had; false if nothing was awaited.
    pub(in crate::llm::engine) fn loaded(
        &mut self,
        now: SimTime,
        id: SeqId,
        there: bool,
        tally: &mut Tally,
    ) -> bool {
        let wall = self.clock.ticks(now);
        if !self.is_idle() {
            self.pass(wall, tally);
        }
        match self.records.state(id) {
            Some(State::Loading) if there => {
                self.loading -= 1;
                self.kept -= 1;
                self.records[id.index].state = State::Waiting;
                self.line.return_to(id.index, &mut self.records);
                if !self.is_idle() && self.line.first() == Some(id.index) {
                    self.head_of_line_changed(wall);
                }
            }
            Some(State::Loading) => self.leave_later(id.index, State::Failed, wall, tally),
            Some(State::Doomed) => self.leave_later(id.index, State::Leaving, wall, tally),
            _ => return false,
        }
        true
    }

    /// Ends a sequence early that waits for its KV.
    pub(super) fn abort_loading(&mut self, id: SeqId, wall: u64, tally: &mut Tally) {
        if let Some(place) = self.landing.iter().position(|landing| *landing == id) {
            self.landing.remove(place);
            self.silence(id, wall, tally);
        }
        self.loading -= 1;
        let state = &mut self.records[id.index].state;
        *state = if *state == State::Loading { State::Doomed } else { State::Leaving };
    }

    /// A sequence that has all its tokens keeps its blocks for another engine.
    pub(super) fn keep_ended(&mut self, index: u32, step: u64) {
        self.materialize(processed(step + self.lag - 1), u64::MAX);
        self.leave_conversation(index);
        self.return_adapter(index);
        self.records[index].state = State::Sending;
        self.kept += 1;
    }

    /// Whether the blocks of a sequence that has ended are kept.
    pub(in crate::llm::engine) fn is_sending(&self, id: SeqId) -> bool {
        self.records.state(id) == Some(State::Sending)
    }

    /// The kept blocks of a sequence are needed no more; false if there are none.
    pub(in crate::llm::engine) fn sent(&mut self, now: SimTime, id: SeqId, tally: &mut Tally) -> bool {
        let wall = self.clock.ticks(now);
        if !self.is_idle() {
            self.pass(wall, tally);
        }
        let sends = self.is_sending(id);
        if sends {
            self.records[id.index].state = State::Leaving;
            self.give_back(id.index, State::Sending, wall, tally);
        }
        sends
    }

    /// The blocks of a sequence are free at the end of the step underway.
    pub(super) fn leave_later(&mut self, index: u32, state: State, wall: u64, tally: &mut Tally) {
        self.records[index].state = state;
        self.give_back(index, state, wall, tally);
    }

    fn give_back(&mut self, index: u32, state: State, wall: u64, tally: &mut Tally) {
        self.aborted.push((index, state));
        if self.is_idle() {
            self.remove_aborted();
        } else {
            // The step underway is the one after those that have ended.
            self.count_ended(wall, tally);
            self.cut(wall);
        }
    }

    /// A sequence gives its blocks back, those of `tokens` tokens.
    pub(super) fn left(&mut self, index: u32, tokens: u32) {
        self.release(index, tokens, None);
        self.kept -= 1;
        if self.records[index].state == State::Leaving {
            return self.records.remove(index);
        }
        debug_assert_eq!(self.records[index].state, State::Failed);
        self.loading -= 1;
        let record = &mut self.records[index];
        (record.state, record.computed, record.recomputes) = (State::Waiting, 0, true);
        self.line.return_to(index, &mut self.records);
    }

    /// Takes the blocks from the last in line that has any; false if there is none.
    pub(super) fn take_from_waiting(&mut self) -> bool {
        let Some(index) = self.line.last_with_blocks(&self.records) else { return false };
        self.preemptions += 1;
        let record = &mut self.records[index];
        record.recomputes = true;
        let tokens = std::mem::take(&mut record.computed);
        self.release(index, tokens, None);
        true
    }

    /// A crash.
    pub(super) fn lose_connector(&mut self) {
        (self.loading, self.kept, self.paused) = (0, 0, false);
        if let Some(host) = &mut self.host {
            host.reset();
        }
    }
}
