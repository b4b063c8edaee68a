//! Who computes how many tokens in the next step.

use std::ops::Bound;

use super::record::State;
use super::scheduler::Scheduler;
use super::step::{Admission, Step, StepPlan};
use crate::llm::engine::{KvTransfer, SchedulingPolicy};

impl Scheduler {
    /// Schedules a step; none if there is nothing to compute, though there may have been preemptions.
    pub(super) fn schedule(&mut self) -> Option<Step> {
        let mut step = Step::default();
        let mut budget = self.config.max_num_batched_tokens;
        let preempted = self.schedule_running(&mut budget);
        if !preempted {
            self.schedule_waiting(&mut budget, &mut step.plan);
        }
        if budget == self.config.max_num_batched_tokens {
            return None;
        }
        self.steps += 1;
        step.plan.step = self.steps;
        step.plan.preemptions = std::mem::take(&mut self.preemptions);
        self.close(&mut step);
        Some(step)
    }

    /// Gives running sequences their tokens, in order. Who finds no block preempts; true if that happened.
    fn schedule_running(&mut self, budget: &mut u32) -> bool {
        let mut preempted = false;
        let mut place = 0;
        let ahead = self.config.is_ahead();
        let lookahead = self.config.speculative.as_ref().map_or(0, |s| s.num_lookahead_tokens);
        'running: while place < self.running.len() && *budget > 0 {
            let index = self.running[place];
            let sequence = &self.sequences[index];
            if sequence.generated + sequence.underway == sequence.output {
                // Its last token is underway.
                place += 1;
                continue;
            }
            if sequence.underway > 0 && !ahead {
                // In a pipeline it waits for the token that it goes on from.
                place += 1;
                continue;
            }
            let chunk = self.chunk(self.remaining(index), *budget);
            while !self.grow(index, chunk, lookahead) {
                preempted = true;
                if self.running.len() == 1 && self.take_from_waiting() {
                    continue;
                }
                let victim_place = self.victim();
                let victim = self.running.remove(victim_place);
                // One that comes earlier in the batch has its tokens of this step already.
                *budget += self.sequences[victim].scheduled;
                if victim_place < place {
                    place -= 1;
                }
                self.preempt(victim);
                if victim == index {
                    break 'running;
                }
            }
            self.sequences[index].scheduled = chunk;
            *budget -= chunk;
            place += 1;
        }
        preempted
    }

    /// Admits waiting sequences, in order, until one does not fit.
    fn schedule_waiting(&mut self, budget: &mut u32, plan: &mut StepPlan) {
        // The last in line that was passed over.
        let mut passed = None;
        while *budget > 0 && self.running.len() < self.places as usize {
            let next = match passed {
                None => self.waiting.first_key_value(),
                Some(place) => self.waiting.range((Bound::Excluded(place), Bound::Unbounded)).next(),
            };
            let Some((&place, &index)) = next else { break };
            if let (Some(adapters), Some(adapter)) = (&self.adapters, self.sequences[index].adapter)
                && !adapters.admits(adapter)
            {
                passed = Some(place);
                continue;
            }
            if self.sequences[index].underway > 0 && !self.config.is_ahead() {
                // Preempted in a pipeline: its token is underway.
                break;
            }
            let mut hit = self.sequences[index].computed;
            let loaded = hit > 0;
            if !loaded {
                self.find_prefix(index);
                hit = self.hit_blocks() * self.config.block_size;
                let reach = self.reach(index, hit);
                if reach > hit {
                    if self.load(index, hit, reach) {
                        continue;
                    }
                    break;
                }
            } else {
                self.hits.clear();
            }
            let sequence = &self.sequences[index];
            let known = sequence.known();
            let chunk = self.chunk(known - hit, *budget);
            let (prompt, output) = (sequence.prompt, sequence.output);
            let span = self.arena.as_mut().map(|arena| arena.reserve(&self.config, prompt, output));
            match span {
                Some(None) => break,
                Some(_) => {}
                None if !self.fits(index, hit + chunk)
                    || (self.config.scheduler_reserve_full_isl && !self.fits(index, known)) =>
                {
                    break;
                }
                None => {}
            }
            self.waiting.remove(&place);
            debug_assert!(
                self.config.scheduling_policy != SchedulingPolicy::Fcfs
                    || self.adapters.is_some()
                    || self.loads_begun > 0
                    || self
                        .running
                        .last()
                        .is_none_or(|last| self.sequences[*last].order.1 < sequence.order.1),
                "under FCFS the batch is in the order of arrival"
            );
            self.running.push(index);
            if !loaded {
                self.use_hits(index, hit);
            }
            let found = self.sequences[index].registered * self.config.block_size;
            if loaded {
                self.register(index, hit / self.config.block_size);
            }
            let sequence = &mut self.sequences[index];
            sequence.state = State::Running;
            sequence.span = span.flatten();
            sequence.prefill_end = known;
            if sequence.transfer == KvTransfer::RemotePrefill {
                sequence.transfer = KvTransfer::None;
            }
            sequence.totals.prefix_hits += u64::from(hit);
            plan.prefix_hit_tokens += u64::from(found);
            plan.prefix_query_tokens += u64::from(known);
            plan.admitted.push(Admission {
                id: self.sequences.id(index),
                key: self.sequences[index].key,
                prefix_hit_tokens: found,
                resumed: self.sequences[index].totals.preemptions > 0,
            });
            if let (Some(adapters), Some(adapter)) = (&mut self.adapters, self.sequences[index].adapter) {
                adapters.enter(adapter, &mut plan.adapters);
                self.sequences[index].holds_adapter = true;
            }
            let grown = self.grow(index, chunk, 0);
            debug_assert!(grown, "what fits can be taken");
            self.sequences[index].scheduled = chunk;
            *budget -= chunk;
        }
        self.close_batch();
    }

    /// The tokens that a running sequence has to compute: those known, and drafts if it decodes.
    fn remaining(&self, index: u32) -> u32 {
        let sequence = &self.sequences[index];
        let known = sequence.known() - sequence.computed;
        match &self.config.speculative {
            Some(speculation) if sequence.computed >= sequence.prefill_end => {
                let model_len = self.config.max_model_len.unwrap_or(u32::MAX);
                speculation.tokens().min((model_len - 1 - sequence.computed).max(known))
            }
            _ => known,
        }
    }

    /// How many of `remaining` tokens one sequence may compute in a step with `budget` tokens left.
    fn chunk(&self, remaining: u32, budget: u32) -> u32 {
        debug_assert!(remaining > 0, "a sequence in the engine always has a token to compute");
        let threshold = self.config.long_prefill_token_threshold;
        let limit = if threshold > 0 { threshold.min(budget) } else { budget };
        remaining.min(limit)
    }

    /// The place in the batch of who is preempted next: the last in the order of service.
    fn victim(&self) -> usize {
        let last = self.running.len() - 1;
        match self.config.scheduling_policy {
            SchedulingPolicy::Fcfs => last,
            SchedulingPolicy::Priority => {
                (0..=last).max_by_key(|place| self.sequences[self.running[*place]].order).unwrap_or(last)
            }
        }
    }

    /// Takes everything from a sequence that has left the batch and lets it wait again. Its place in line is
    /// the one it had: under FCFS that is the front, as all who wait came after all who run.
    fn preempt(&mut self, index: u32) {
        debug_assert_eq!(self.sequences[index].state, State::Running);
        if self.sequences[index].scheduled > 0 {
            self.forget_unfilled(index);
        }
        let sequence = &mut self.sequences[index];
        sequence.totals.preemptions += 1;
        self.preemptions += 1;
        self.return_adapter(index);
        let sequence = &mut self.sequences[index];
        if sequence.generated + sequence.underway == sequence.output {
            sequence.state = State::Ending;
            self.ending += 1;
            return self.release_blocks(index);
        }
        sequence.totals.discarded += u64::from(sequence.computed);
        (sequence.computed, sequence.scheduled, sequence.registered) = (0, 0, 0);
        sequence.state = State::Waiting;
        sequence.recomputes = true;
        if self.config.scheduling_policy == SchedulingPolicy::Fcfs && self.loads_begun > 0 {
            self.front = self.front.saturating_sub(1);
            sequence.order.0 = self.front;
        }
        let order = sequence.order;
        self.release_blocks(index);
        self.waiting.insert(order, index);
    }
}
