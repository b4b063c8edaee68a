//! Batches that end as a whole, and memory that is reserved.

use sim_core::time::SimTime;

use super::Fast;
use crate::llm::engine::Milestone;

impl Fast {
    /// Whether there may be a step: while the engine is idle a batch may wait for others.
    pub(super) fn open_batch(&mut self) -> bool {
        if !self.is_idle() || self.batch.len > 0 || self.line.len() == 0 {
            return true;
        }
        let now = self.clock.instant(self.ended_wall).unwrap_or(SimTime::MAX);
        let (waiting, oldest) = (self.line.len(), self.line.oldest(&self.records));
        match self.config.batching.form(waiting, oldest, now, self.config.max_num_seqs) {
            Some(places) => self.places = places,
            None => return false,
        }
        true
    }

    /// When an idle engine begins a batch at the latest, if it waits for others.
    pub(super) fn batch_goes_at(&self) -> Option<SimTime> {
        if !self.config.batching.waits() {
            return None;
        }
        self.config.batching.goes_at(self.line.oldest(&self.records)?)
    }

    /// Nobody joins a batch that has begun.
    pub(super) fn close_batch(&mut self) {
        if self.config.batching.is_by_request() && self.batch.len > 0 {
            self.places = 0;
        }
    }

    /// Ends all of a batch when its last sequence has all its tokens.
    pub(super) fn end_batch(&mut self) {
        if self.done.is_empty() || self.batch.len > 0 || self.freed > 0 {
            return;
        }
        for id in self.done.drain(..) {
            let key = self.records[id.index].key;
            self.output.milestones.push(Milestone { id, key, first: false, last: true });
            self.records.remove(id.index);
        }
    }

    /// Reserves memory for a sequence that is admitted, where memory is reserved; false if there is none.
    pub(super) fn reserve(&mut self, index: u32) -> bool {
        let Some(arena) = &mut self.arena else { return true };
        let record = &mut self.records[index];
        record.span = arena.reserve(&self.config, record.prompt, record.output);
        let Some(span) = record.span else { return false };
        self.cache.take(span.blocks());
        true
    }

    /// Returns what was reserved; false if memory is not.
    pub(super) fn unreserve(&mut self, index: u32) -> bool {
        let Some(arena) = &mut self.arena else { return false };
        if let Some(span) = self.records[index].span.take() {
            arena.release(span);
            self.cache.put(span.blocks());
        }
        true
    }
}
