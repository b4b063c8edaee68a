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
                hit = self.hits.len() as u32 * self.config.block_size;
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

    /// Collects in `hits` the cached blocks that the sequence begins with. One token at least stays to be
    /// computed: the pass that computes it yields the next one.
    fn find_prefix(&mut self, index: u32) {
        self.hits.clear();
        if !self.config.enable_prefix_caching {
            return;
        }
        let sequence = &self.sequences[index];
        let most = (sequence.known() - 1) / self.config.block_size;
        self.hits.extend(
            (0..most as usize)
                .map_while(|block| self.pool.find(sequence.block_key(block, self.config.block_size))),
        );
    }

    /// Whether a waiting sequence, which has no block but `hits` and those that were loaded, can have blocks
    /// for `tokens` tokens. Hits that nobody uses are free blocks, too: using them takes them from the rest.
    pub(super) fn fits(&self, index: u32, tokens: u32) -> bool {
        let has = self.hits.len() + self.sequences[index].blocks.len();
        let new = (tokens.div_ceil(self.config.block_size) as usize).saturating_sub(has);
        let revived = self.hits.iter().filter(|block| self.pool.is_free(**block)).count();
        new + revived <= self.pool.free_blocks() as usize
    }

    /// Takes the blocks for `chunk` more tokens of a running sequence, all or none, and makes those that get
    /// full known to the prefix cache. As in vLLM this happens at scheduling: a sequence admitted to the
    /// same step already finds them, as the pass writes each layer's keys and values before reading them.
    /// `lookahead` slots more are taken for drafts, within the model's context.
    pub(super) fn grow(&mut self, index: u32, chunk: u32, lookahead: u32) -> bool {
        if self.arena.is_some() {
            return true;
        }
        let block_size = self.config.block_size;
        let sequence = &mut self.sequences[index];
        let end = sequence.computed + chunk;
        let slots = (end + lookahead).min(self.config.max_model_len.unwrap_or(u32::MAX)).max(end);
        let new = (slots.div_ceil(block_size) as usize).saturating_sub(sequence.blocks.len());
        if new > self.pool.free_blocks() as usize {
            return false;
        }
        sequence.blocks.extend((0..new).map(|_| self.pool.allocate()));
        // A token underway has no value yet that a block could be known by.
        let full = end.min(sequence.landed()) / block_size;
        self.register(index, full);
        true
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
        let block_size = self.config.block_size;
        let sequence = &mut self.sequences[index];
        debug_assert_eq!(sequence.state, State::Running);
        if sequence.scheduled > 0 {
            // What this step would have filled was announced, but will not be computed.
            for block in &sequence.blocks[(sequence.computed / block_size) as usize..] {
                self.pool.forget(*block);
            }
            if let Some(host) = &mut self.host {
                for block in sequence.computed / block_size..sequence.registered {
                    host.remove(sequence.block_key(block as usize, block_size));
                }
            }
        }
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

    /// Returns a sequence's blocks, the last first, so that the beginnings that others may share live
    /// longest in the cache.
    pub(super) fn release_blocks(&mut self, index: u32) {
        if let Some((arena, span)) = self.arena.as_mut().zip(self.sequences[index].span.take()) {
            arena.release(span);
        }
        while let Some(block) = self.sequences[index].blocks.pop() {
            self.pool.release(block);
        }
    }
}
