//! The state of the engine, also in the middle of a plan.

use sim_core::time::SimTime;

use super::Fast;
use crate::llm::engine::EngineState;
use crate::llm::engine::tally::{Tally, Underway};

impl Fast {
    /// The load at a moment. O(log) of the plan's length; in the one step before a sequence ends, when an
    /// action may have passed that nobody was told of, it is looked up in a copy.
    pub(in crate::llm::engine) fn observe(&self, now: SimTime) -> EngineState {
        let mut used = self.cache.used();
        if let Some(step) = self.action() {
            let wall = self.clock.ticks(now);
            if self.wall_end_of(step).is_some_and(|end| end <= wall) {
                let mut copy = self.clone();
                copy.pass(wall, &mut Tally::default());
                return copy.observe(now);
            }
            if let Some(tail) = self.tail.filter(|tail| tail.last > tail.first) {
                let scheduled =
                    (self.ended_by(self.clock.work_at(wall)) + self.lag).clamp(tail.first, tail.last);
                used += self.crossings(tail.first + 1, scheduled) as u32;
            }
        }
        EngineState {
            running: self.running(),
            waiting: self.waiting(),
            used_blocks: used,
            total_blocks: self.config.usable_blocks(),
            stepping: !self.is_idle(),
        }
    }

    /// The step underway, of a settled engine.
    pub(in crate::llm::engine) fn underway(&self, now: SimTime) -> Underway {
        let Some(plan) = self.head.or(self.tail) else { return Underway::default() };
        let end = self.wall_end_of(self.ended + 1).unwrap_or(u64::MAX);
        Underway {
            ticks: self.clock.ticks(now).min(end) - self.ended_wall,
            blocks: plan.used,
            tokens: plan.tokens,
        }
    }

    /// Invariants that cost O(1).
    #[cfg(debug_assertions)]
    pub(super) fn check_light(&self) {
        assert!(self.cache.used() <= self.config.usable_blocks(), "blocks never over capacity");
        assert!(self.batch.len <= self.config.max_num_seqs);
        assert!(self.decodes + self.singles.len() as u64 <= u64::from(self.batch.len));
        if self.is_idle() && self.kept == 0 {
            let left = if self.config.batching.waits() { 0 } else { self.line.len() };
            assert_eq!((self.running(), left, self.cache.used()), (0, 0, 0), "all is freed at the end");
            assert_eq!((self.decodes, self.base_sum), (0, 0));
        }
    }

    /// Checks the aggregates against the records: O(records).
    #[cfg(test)]
    pub(in crate::llm::engine) fn check(&self) {
        use super::record::State;
        self.cache.check();
        let (mut decodes, mut base_sum, mut running, mut waiting, mut kept) = (0, 0, 0, 0, 0);
        let mut phases = super::phases::Phases::new(self.size);
        let mut filling = self.filling.clone();
        if let Some(filling) = &mut filling {
            filling.clear();
        }
        let size = self.config.block_size;
        let mut blocks = 0;
        for (index, record) in self.records.iter() {
            let state = match record.state {
                State::Aborted | State::Leaving => {
                    self.aborted.iter().find(|(aborted, _)| *aborted == index).unwrap().1
                }
                state => state,
            };
            let keeps = matches!(
                state,
                State::Loading | State::Failed | State::Doomed | State::Sending | State::Leaving
            );
            running += u32::from(!keeps && !matches!(state, State::Waiting | State::Freed | State::Done));
            waiting += u32::from(state == State::Waiting);
            kept += u32::from(keeps);
            if state == State::Decode && record.decodes_from <= record.finish {
                decodes += 1;
                base_sum += record.base;
                if let Some(filling) = &mut filling {
                    filling.enter(record.base);
                }
                if self.arena.is_none() {
                    phases.enter(record.base);
                }
            }
            if let Some(span) = record.span {
                blocks += span.blocks();
            } else if record.blocks.is_empty() {
                blocks += self.held(index, state).div_ceil(size);
            }
        }
        if let Some(arena) = &self.arena {
            arena.check(&self.config, self.records.iter().filter_map(|(_, record)| record.span));
        }
        assert_eq!((decodes, base_sum, &phases), (self.decodes, self.base_sum, &self.phases));
        assert_eq!(filling, self.filling);
        assert_eq!((running, waiting, kept), (self.batch.len, self.line.len(), self.kept));
        assert!(blocks <= self.cache.used(), "{blocks} blocks held, {} used", self.cache.used());
        let sharing = self.records.iter().any(|(_, record)| !record.blocks.is_empty());
        assert!(sharing || blocks == self.cache.used());
        assert!(
            self.singles
                .iter()
                .all(|index| { matches!(self.records[*index].state, State::Single | State::Aborted) })
        );
    }
}
