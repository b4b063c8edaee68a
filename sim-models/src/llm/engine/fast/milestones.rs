//! Telling of the tokens of a step that has ended.

use super::prefix::processed;
use super::record::State;
use super::{Ending, Fast};
use crate::llm::engine::tally::Tally;
use crate::llm::engine::{KvTransfer, Milestone};

impl Fast {
    /// Reports the tokens of a step that has just ended.
    pub(super) fn report(&mut self, step: u64, tally: &mut Tally) {
        if !self.landing.is_empty() {
            self.report_landing(step);
        }
        if !self.filled.is_empty() {
            self.report_filled(tally);
        }
        if self.ended_next.is_empty() {
            if let Some(tail) = &mut self.tail {
                tail.freed = 0;
            }
        } else {
            self.report_ended(step);
        }
        if self.marks.len() > 1 {
            self.marks.sort_unstable_by_key(|(joined, _)| *joined);
        }
        if !self.marks.is_empty() {
            self.output.milestones.extend(self.marks.drain(..).map(|(_, mark)| mark));
        }
    }

    /// Tokens of those that no longer decode.
    fn report_landing(&mut self, step: u64) {
        let mut landing = std::mem::take(&mut self.landing);
        for id in landing.drain(..) {
            self.records[id.index].last_token = self.ended_wall;
            if self.records[id.index].state == State::Single {
                self.register_single(id.index, processed(step + 1));
            }
        }
        self.landing = landing;
    }

    /// Tokens of those that completed a prefill.
    fn report_filled(&mut self, tally: &mut Tally) {
        let (now, by_request) = (self.ended_wall, self.config.batching.is_by_request());
        for place in 0..self.filled.len() {
            let id = self.filled[place];
            if self.records.find(id).is_none() {
                continue;
            }
            let record = &mut self.records[id.index];
            let before = std::mem::replace(&mut record.last_token, now);
            if std::mem::replace(&mut record.spoke, true) {
                tally.next_tokens(now - before, 1);
            } else {
                tally.first_token();
                let (key, last) = (record.key, record.output == 1 && !by_request);
                self.marks.push((record.joined, Milestone { id, key, first: true, last }));
            }
        }
        self.filled.clear();
    }

    /// Last tokens.
    fn report_ended(&mut self, step: u64) {
        let by_request = self.config.batching.is_by_request();
        let used = self.cache.used();
        let mut ended = std::mem::take(&mut self.ended_next);
        if ended.len() > 1 {
            ended.sort_unstable();
        }
        for Ending { id, .. } in ended.drain(..) {
            let Some(record) = self.records.find(id) else { continue };
            debug_assert_eq!(record.finish, step);
            if record.output > 1 && !by_request {
                let mark = Milestone { id, key: record.key, first: false, last: true };
                self.marks.push((record.joined, mark));
            }
            if record.state == State::Ending {
                let sends = record.transfer == KvTransfer::RemoteDecode;
                self.batch.remove(id.index, &mut self.records);
                if sends {
                    self.keep_ended(id.index, step);
                    continue;
                }
                self.release_ended(id.index, step);
            } else {
                self.freed -= 1;
            }
            if by_request {
                self.records[id.index].state = State::Done;
                self.done.push(id);
            } else {
                self.records.remove(id.index);
            }
        }
        if let Some(tail) = &mut self.tail {
            tail.freed = used - self.cache.used();
        }
        self.ended_next = ended;
    }
}
