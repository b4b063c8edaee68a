//! Scheduling the running sequences one after the other, for the steps in which it matters who comes first.

use super::Fast;
use super::cache::NONE;
use super::prefix::processed;
use super::record::State;
use crate::llm::engine::SchedulingPolicy;

impl Fast {
    /// Gives running sequences their tokens, in order. Who finds no block preempts.
    pub(super) fn walk(&mut self, number: u64, budget: &mut u64) {
        self.draft.mixed = true;
        self.materialize(processed(number - 1), u64::MAX);
        self.count_singly(number);
        let mut index = self.batch.first;
        'running: while index != NONE && *budget > 0 {
            if self.records[index].state == State::Ending {
                index = self.batch.after(index, &self.records);
                continue;
            }
            let chunk = self.demand(index, (*budget).min(u64::from(u32::MAX)) as u32);
            let need = self.blocks_for(index, chunk);
            while need > self.cache.free() {
                if self.batch.len == 1 && self.take_from_waiting() {
                    continue;
                }
                let victim = self.victim();
                let given = self.unschedule(victim);
                *budget += u64::from(given);
                self.preempt(victim, number, given > 0);
                if victim == index {
                    break 'running;
                }
            }
            self.cache.take(need);
            let record = &mut self.records[index];
            record.scheduled = chunk;
            // The value of a token underway is not known yet.
            let underway = record.decoded && self.head.is_some();
            let full = record.computed + if underway { 0 } else { chunk };
            self.register(index, full);
            *budget -= u64::from(chunk);
            index = self.batch.after(index, &self.records);
        }
        self.count_together(number);
    }

    /// All that decode are counted by themselves for a while.
    fn count_singly(&mut self, number: u64) {
        let mut index = self.batch.first;
        while index != NONE {
            let record = &mut self.records[index];
            if record.state == State::Decode {
                (record.state, record.decoded) = (State::Single, true);
                record.computed = record.before(number);
                record.generated = record.computed + 1 - record.prompt;
            }
            index = self.batch.after(index, &self.records);
        }
        self.singles.clear();
        let records = &self.records;
        self.conversations.retain(|index| records[*index].state == State::Ending);
        self.forget_decodes();
    }

    /// Those that go on decoding are counted together again, and all compute what they were given.
    fn count_together(&mut self, number: u64) {
        let mut index = self.batch.first;
        while index != NONE {
            let record = &mut self.records[index];
            let chunk = std::mem::take(&mut record.scheduled);
            let decoded = std::mem::take(&mut record.decoded);
            if record.state == State::Ending {
                // It computes nothing any more.
            } else if decoded && chunk > 0 {
                record.state = State::Decode;
                let converses = record.shared as usize > record.blocks.len();
                self.draft.work.decode(record.computed.into(), 0, self.step.window());
                self.draft.decoding += 1;
                self.enter_decodes(index);
                if converses {
                    self.conversations.push(index);
                }
            } else if decoded {
                record.finish = u64::MAX;
                self.note_last_token(index, number);
                self.singles.push(index);
            } else if chunk == 0 || !self.compute(index, chunk, number) {
                self.singles.push(index);
            }
            index = self.batch.after(index, &self.records);
        }
    }

    /// Who is preempted next: the last in the order of service.
    fn victim(&self) -> u32 {
        if self.config.scheduling_policy == SchedulingPolicy::Fcfs {
            return self.batch.last;
        }
        let (mut victim, mut index) = (self.batch.first, self.batch.first);
        while index != NONE {
            if self.records[index].order > self.records[victim].order {
                victim = index;
            }
            index = self.batch.after(index, &self.records);
        }
        victim
    }

    /// What a victim's part in this step would have filled was announced, but will not be computed. Returns
    /// the tokens that it had been given.
    fn unschedule(&mut self, index: u32) -> u32 {
        let size = self.config.block_size;
        let record = &mut self.records[index];
        let chunk = std::mem::take(&mut record.scheduled);
        if chunk == 0 {
            return 0;
        }
        while record.blocks.len() as u32 > record.computed / size {
            let block = record.blocks.pop().expect("there is one more");
            self.cache.forget(block);
            if let Some(host) = &mut self.host {
                host.remove(record.content.block_key(record.order.1, record.blocks.len(), size));
            }
        }
        self.cache.put((record.computed + chunk).div_ceil(size) - record.computed.div_ceil(size));
        chunk
    }
}
