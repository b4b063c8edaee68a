//! Who computes how many tokens in the next step, and how many steps are alike.

use std::cmp::Reverse;

use super::cache::NONE;
use super::filling::Filling;
use super::plan::Plan;
use super::prefix::{processed, scheduled};
use super::record::State;
use super::run::Run;
use super::{Ending, Fast};
use crate::hardware::timing::Pass;
use crate::llm::engine::lora::Residency;
use crate::llm::engine::sequence::SeqId;
use crate::llm::engine::tally::Extras;
use crate::llm::engine::{KvTransfer, SchedulingPolicy};

/// The most steps of a plan, so that sums of squares over it fit 64 bits.
const MAX_STEPS: u64 = 1 << 20;

/// A step as it is scheduled.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) work: Pass,
    /// Sequences that decode as in the step before.
    pub(super) decoding: u64,
    /// Who gets a token, but does not do so as in the step before.
    pub(super) filled: Vec<SeqId>,
    /// Whether the step is not one of decodes alone.
    pub(super) mixed: bool,
    /// Tokens that the sequences in prefill have in the KV cache when it ends.
    pub(super) prefilled: u64,
}

impl Fast {
    /// Schedules the next step, and all that will be like it; false if there is nothing to compute.
    pub(super) fn compose(&mut self) -> bool {
        // A single step that is scheduled already is the one that runs.
        self.commit();
        let number = self.composed + 1;
        if self.lag > 1 {
            self.drop_ended(number - 1);
        }
        self.draft.filled.clear();
        self.draft.work = Pass::default();
        (self.draft.decoding, self.draft.mixed) = (0, false);
        self.tail_extras = Extras::default();
        self.draft.prefilled = 0;
        let mut budget = u64::from(self.config.max_num_batched_tokens);
        let preemptions = self.preemptions;
        if !self.schedule_at_once(number, &mut budget) {
            self.walk(number, &mut budget);
        }
        if self.preemptions == preemptions {
            self.admit(number, &mut budget);
        } else {
            self.draft.mixed = true;
        }
        if self.draft.work.new_tokens == 0 {
            return false;
        }
        self.draft.work.adapters = self.adapters.as_ref().map_or(0, Residency::active);
        self.tail_extras.preemptions = std::mem::take(&mut self.preemptions);
        self.plan(number);
        true
    }

    /// Makes a plan of the draft.
    fn plan(&mut self, number: u64) {
        let draft = &mut self.draft;
        std::mem::swap(&mut self.tail_filled, &mut draft.filled);
        let begin = self.head.map_or(self.ended_work, |head| head.end);
        let mut plan = Plan {
            first: number,
            last: number,
            run: None,
            begin,
            end: u64::MAX,
            sequences: draft.work.sequences,
            emit: draft.decoding,
            tokens: draft.work.decode_context + draft.prefilled,
            done: 0,
            used: self.cache.used(),
            freed: 0,
            quiet: false,
        };
        debug_assert!(draft.work.new_tokens <= u64::from(self.config.max_num_batched_tokens));
        // The end of those whose last token is underway lets others in, and a conversation underway may make
        // blocks known that the head of the line asks for.
        let alone = self.line.len() == 0;
        if !draft.mixed && (alone || self.ended_next.is_empty() && self.conversations.is_empty()) {
            let (steps, quiet) = self.steps_alike(number);
            if steps > 1 {
                let growing = self.filling.as_ref().map_or(0, Filling::growing);
                let run = Run::new(&self.step.decode_run(&self.draft.work, growing), steps);
                if let Some((run, ticks)) = run.filter(|(_, ticks)| begin.checked_add(*ticks).is_some()) {
                    plan.end = begin + ticks;
                    // Who ends returns an adapter that others may wait for.
                    plan.quiet = quiet && (alone || self.adapters.is_none());
                    (plan.last, plan.run) = (number + steps - 1, Some(run));
                }
            }
        }
        if plan.run.is_none() {
            let loading = self.config.lora.map_or(0, |lora| lora.ticks(&self.tail_extras.adapters));
            plan.end = begin.saturating_add(self.step.ticks(&self.draft.work).saturating_add(loading));
            // All decode in the step behind it, and there are blocks for them: nobody is preempted.
            let free = u64::from(self.cache.free());
            plan.quiet = self.singles.is_empty() && (self.arena.is_some() || self.decodes <= free);
        }
        self.tail = Some(plan);
        self.composed = number;
    }

    /// How many steps from `number` on are alike, and whether the one behind them will pass unseen.
    fn steps_alike(&mut self, number: u64) -> (u64, bool) {
        let (steps, quiet) = self.steps_until_change(number);
        match self.filling.as_ref().map(Filling::steps_alike) {
            Some(grow) if grow < steps => (grow, false),
            _ => (steps, quiet),
        }
    }

    /// The same for all but the sliding window.
    fn steps_until_change(&mut self, number: u64) -> (u64, bool) {
        let finish = loop {
            match self.endings.peek() {
                Some(Reverse(ending)) if self.is_ending(ending) => break ending.step,
                Some(_) => _ = self.endings.pop(),
                None => unreachable!("who decodes will end"),
            }
        };
        let steps = (finish + 1 - number).min(MAX_STEPS);
        if self.arena.is_some() {
            return (steps, steps == finish + 1 - number);
        }
        let free = u64::from(self.cache.free());
        let size = self.size.get();
        // All take a block in every `size` steps.
        if (self.size.of(steps) + 2) * self.decodes <= free {
            return (steps, steps == finish + 1 - number);
        }
        let cycles = free / self.decodes;
        let (mut ahead, mut left) = (cycles * size + 1, free - cycles * self.decodes);
        while ahead < steps {
            let need = u64::from(self.phases.at(number + ahead));
            if need > left {
                break;
            }
            (ahead, left) = (ahead + 1, left - need);
        }
        (ahead.min(steps), false)
    }

    fn is_ending(&self, ending: &Ending) -> bool {
        let Some(record) = self.records.find(ending.id) else { return false };
        record.state == State::Decode && record.finish == ending.step && record.joined == ending.joined
    }

    /// Sequences whose last token comes with `step` compute no more.
    pub(super) fn drop_ended(&mut self, step: u64) {
        while let Some(Reverse(ending)) = self.endings.peek().copied() {
            if ending.step > step {
                return;
            }
            self.endings.pop();
            if !self.is_ending(&ending) {
                continue;
            }
            let index = ending.id.index;
            if self.records[index].decodes_from <= step {
                self.leave_decodes(index);
            }
            self.records[index].state = State::Ending;
            self.return_adapter(index);
            self.ended_next.push(ending);
        }
    }

    /// Gives running sequences their tokens, if that can be done without looking at each.
    fn schedule_at_once(&mut self, number: u64, budget: &mut u64) -> bool {
        let mut limit = u32::MAX;
        if !self.singles.is_empty() {
            let demand: u64 = self.singles.iter().map(|index| u64::from(self.demand(*index, limit))).sum();
            if self.decodes + demand > *budget {
                // The last in the batch gets what is left.
                if self.singles.len() > 1 || self.batch.last != self.singles[0] {
                    return false;
                }
                limit = (*budget - self.decodes) as u32;
            }
        }
        let mut need = u64::from(self.phases.at(number));
        for place in 0..self.singles.len() {
            let index = self.singles[place];
            need += u64::from(self.blocks_for(index, self.demand(index, limit)));
        }
        if need > u64::from(self.cache.free()) {
            if self.config.scheduling_policy == SchedulingPolicy::Priority {
                return false;
            }
            self.preempt_last(number, need, limit);
        }
        let decodes = self.decodes;
        self.draft.decoding = decodes;
        self.draft.work.sequences = decodes;
        self.draft.work.new_tokens = decodes;
        self.draft.work.decode_context = (self.base_sum + (decodes * (number + 1)) as i64) as u64;
        if let Some(filling) = &mut self.filling {
            self.draft.work.windowed_context = filling.context(number);
        }
        *budget -= decodes;
        self.cache.take(self.phases.at(number));
        if !self.singles.is_empty() {
            self.draft.mixed = true;
            let mut singles = std::mem::take(&mut self.singles);
            singles.retain(|index| {
                let chunk = self.demand(*index, limit);
                *budget -= u64::from(chunk);
                self.cache.take(self.blocks_for(*index, chunk));
                !self.compute(*index, chunk, number)
            });
            self.singles = singles;
        }
        true
    }

    /// Preempts from the end of the batch until the blocks suffice for the rest: the same as one sequence
    /// after the other finding none free, as under FCFS the last is always the victim.
    fn preempt_last(&mut self, number: u64, mut need: u64, limit: u32) {
        while need > u64::from(self.cache.free()) {
            if self.batch.len == 1 && self.take_from_waiting() {
                continue;
            }
            let victim = self.batch.last;
            let record = &self.records[victim];
            need -= match record.state {
                State::Decode => u64::from(self.size.rest(record.before(number).into()) == 0),
                State::Single => u64::from(self.blocks_for(victim, self.demand(victim, limit))),
                _ => 0,
            };
            self.preempt(victim, number, false);
        }
    }

    /// The tokens that a sequence counted by itself computes, if it may have `limit`.
    pub(super) fn demand(&self, index: u32, limit: u32) -> u32 {
        let record = &self.records[index];
        self.chunk(record.known() - record.computed).min(limit)
    }

    /// The tokens of `remaining` that one sequence may compute in a step.
    fn chunk(&self, remaining: u32) -> u32 {
        debug_assert!(remaining > 0, "a sequence in the engine always has a token to compute");
        match self.config.long_prefill_token_threshold {
            0 => remaining,
            threshold => remaining.min(threshold),
        }
    }

    /// The blocks that a sequence needs for `chunk` more tokens.
    pub(super) fn blocks_for(&self, index: u32, chunk: u32) -> u32 {
        if self.arena.is_some() {
            return 0;
        }
        let computed = self.records[index].computed;
        self.size.blocks(computed + chunk) - self.size.blocks(computed)
    }

    /// A sequence counted by itself computes a chunk in step `number`; true if it decodes from now on.
    pub(super) fn compute(&mut self, index: u32, chunk: u32, number: u64) -> bool {
        let record = &mut self.records[index];
        let (before, window, work) = (u64::from(record.computed), self.step.window(), &mut self.draft.work);
        if record.computed < record.prefill_end {
            work.prefill(before, chunk.into(), window);
            self.tail_extras.prompt_tokens += u64::from(chunk);
            self.draft.prefilled += before + u64::from(chunk);
        } else {
            debug_assert_eq!(chunk, 1);
            work.decode(before, 0, window);
        }
        record.computed += chunk;
        if record.shared as usize > record.blocks.len() {
            self.register_single(index, scheduled(number));
        }
        let record = &mut self.records[index];
        if record.computed < record.known() {
            return false;
        }
        record.generated += 1;
        record.finish = number + u64::from(record.output - record.generated);
        self.draft.filled.push(SeqId { index, generation: record.generation });
        record.base = i64::from(record.computed) - (number + 1) as i64;
        record.decodes_from = number + 1;
        self.join_decodes(index);
        true
    }

    /// From its next step on a sequence decodes.
    fn join_decodes(&mut self, index: u32) {
        let record = &mut self.records[index];
        record.state = State::Decode;
        let id = SeqId { index, generation: record.generation };
        self.endings.push(Reverse(Ending { step: record.finish, joined: record.joined, id }));
        if record.decodes_from > record.finish {
            return;
        }
        let converses = record.shared as usize > record.blocks.len();
        self.enter_decodes(index);
        if converses {
            self.conversations.push(index);
        }
    }

    /// Counts a sequence among those that decode.
    pub(super) fn enter_decodes(&mut self, index: u32) {
        let base = self.records[index].base;
        self.decodes += 1;
        self.base_sum += base;
        if let Some(filling) = &mut self.filling {
            filling.enter(base);
        }
        if self.arena.is_none() {
            self.phases.enter(base);
        }
    }

    /// Does not any more.
    pub(super) fn leave_decodes(&mut self, index: u32) {
        let base = self.records[index].base;
        self.decodes -= 1;
        self.base_sum -= base;
        if let Some(filling) = &mut self.filling {
            filling.leave(base);
        }
        if self.arena.is_none() {
            self.phases.leave(base);
        }
    }

    /// Nobody decodes.
    pub(super) fn forget_decodes(&mut self) {
        (self.decodes, self.base_sum) = (0, 0);
        self.phases.clear();
        if let Some(filling) = &mut self.filling {
            filling.clear();
        }
    }

    /// A sequence in the batch no longer decodes as others do: notes when its last token comes, or came.
    pub(super) fn note_last_token(&mut self, index: u32, number: u64) {
        let id = self.records.id(index);
        let record = &mut self.records[index];
        if self.head.is_none() {
            record.last_token = self.ended_wall;
        } else if record.decodes_from < number {
            self.landing.push(id);
        }
        // Else the step underway completes its prefill, and its end says so.
    }

    /// The tokens of a sequence that decodes that could fill known blocks before step `number` is scheduled.
    fn knowable(&self, index: u32, number: u64) -> u32 {
        let record = &self.records[index];
        let ahead = u32::from(self.head.is_some() && record.decodes_from < number);
        record.before(number) - ahead
    }

    /// Takes everything from a sequence in the batch and lets it wait again. What step `number` would have
    /// made known of the tokens before it stays known if it was `scheduled` in that step already.
    pub(super) fn preempt(&mut self, index: u32, number: u64, scheduled: bool) {
        self.preemptions += 1;
        let decodes = match self.records[index].state {
            State::Decode => {
                self.leave_decodes(index);
                true
            }
            State::Ending => {
                self.batch.remove(index, &mut self.records);
                self.materialize(processed(number - 1), u64::MAX);
                self.leave_conversation(index);
                let tokens = self.held(index, State::Ending);
                self.release(index, tokens, None);
                self.records[index].state = State::Freed;
                self.freed += 1;
                return;
            }
            // The sequence is being looked at, or waits for its place in this step: one that decoded.
            _ => self.records[index].decoded,
        };
        self.batch.remove(index, &mut self.records);
        self.return_adapter(index);
        let known = if decodes {
            let knowable = match scheduled {
                true => self.records[index].before(number),
                false => self.knowable(index, number),
            };
            self.materialize(processed(number - 1), u64::MAX);
            self.leave_conversation(index);
            self.note_last_token(index, number);
            let record = &mut self.records[index];
            record.computed = record.before(number);
            record.generated = record.computed + 1 - record.prompt;
            record.finish = u64::MAX;
            record.decoded = false;
            knowable
        } else {
            self.singles.retain(|single| *single != index);
            self.records[index].computed
        };
        let tokens = self.records[index].computed;
        self.release(index, tokens, Some(known));
        let record = &mut self.records[index];
        (record.computed, record.scheduled) = (0, 0);
        (record.state, record.resumed, record.recomputes) = (State::Waiting, true, true);
        if self.config.scheduling_policy == SchedulingPolicy::Fcfs && self.loads_begun > 0 {
            self.front = self.front.saturating_sub(1);
            record.order.0 = self.front;
        }
        self.line.rejoin(index, &mut self.records);
    }

    /// Admits waiting sequences, in order, until one does not fit.
    fn admit(&mut self, number: u64, budget: &mut u64) {
        // The last in line that was passed over.
        let mut passed = None;
        while *budget > 0 && self.batch.len < self.places {
            let next = passed.map_or_else(|| self.line.first(), |place| self.line.behind(place));
            let Some(index) = next else { break };
            if let (Some(adapters), Some(adapter)) = (&self.adapters, self.records[index].adapter)
                && !adapters.admits(adapter)
            {
                passed = Some(self.records[index].order);
                continue;
            }
            if self.records[index].shared > 0 {
                self.materialize(scheduled(number), u64::MAX);
            }
            let size = self.config.block_size;
            let loaded = self.records[index].computed;
            let mut hit = loaded;
            if loaded > 0 {
                self.hits.clear();
            } else {
                let own = self.find_prefix(index);
                hit = (self.hits.len() as u32 + own) * size;
                let reach = self.reach(index, hit);
                if reach > hit {
                    if self.load(index, hit, reach) {
                        continue;
                    }
                    break;
                }
            }
            let known = self.records[index].known();
            let chunk = u64::from(self.chunk(known - hit)).min(*budget) as u32;
            let revived = self.hits.iter().filter(|node| self.cache.is_free(**node)).count() as u32;
            // Hits that nobody uses are free blocks, too.
            let has = self.hits.len() as u32 + self.size.blocks(loaded);
            let needed = |tokens: u32| self.size.blocks(tokens) - has + revived;
            let most = if self.config.scheduler_reserve_full_isl { known } else { hit + chunk };
            if self.arena.is_none() && needed(most.max(hit + chunk)) > self.cache.free()
                || !self.reserve(index)
            {
                break;
            }
            self.line.leave(index, &mut self.records);
            self.batch.push_back(index, &mut self.records);
            let mut found = hit;
            if loaded == 0 {
                self.use_hits(index, hit);
            } else {
                found = self.records[index].blocks.len() as u32 * size;
                self.register(index, loaded);
            }
            let record = &mut self.records[index];
            if record.transfer == KvTransfer::RemotePrefill {
                record.transfer = KvTransfer::None;
            }
            self.admissions += 1;
            record.joined = self.admissions;
            (record.state, record.computed, record.prefill_end) = (State::Single, hit, known);
            let extras = &mut self.tail_extras;
            if let (Some(adapters), Some(adapter)) = (&mut self.adapters, record.adapter) {
                adapters.enter(adapter, &mut extras.adapters);
                record.holds_adapter = true;
            }
            extras.prefix_hit_tokens += u64::from(found);
            extras.prefix_query_tokens += u64::from(known);
            if !record.resumed {
                self.output.admitted.push(record.key);
            }
            self.draft.mixed = true;
            *budget -= u64::from(chunk);
            self.cache.take(self.blocks_for(index, chunk));
            if !self.compute(index, chunk, number) {
                self.singles.push(index);
            }
        }
        self.close_batch();
    }

    /// A sequence no longer needs its adapter.
    pub(super) fn return_adapter(&mut self, index: u32) {
        let record = &mut self.records[index];
        if let (Some(adapters), Some(adapter)) = (&mut self.adapters, record.adapter)
            && std::mem::take(&mut record.holds_adapter)
        {
            adapters.leave(adapter, self.composed);
        }
    }

    /// A sequence that has all its tokens leaves no blocks.
    pub(super) fn release_ended(&mut self, index: u32, step: u64) {
        self.materialize(processed(step + self.lag - 1), u64::MAX);
        self.leave_conversation(index);
        let tokens = self.held(index, State::Ending);
        self.release(index, tokens, None);
    }

    /// Takes aborted sequences out of the batch, and gives back all that is free now.
    pub(super) fn remove_aborted(&mut self) {
        if self.aborted.is_empty() {
            return;
        }
        let mut aborted = std::mem::take(&mut self.aborted);
        for (index, state) in aborted.drain(..) {
            let tokens = self.held(index, state);
            let record = &self.records[index];
            if state == State::Decode && record.decodes_from <= record.finish {
                self.leave_decodes(index);
            }
            if state == State::Single {
                self.singles.retain(|single| *single != index);
            }
            if matches!(state, State::Sending | State::Leaving | State::Failed) {
                self.left(index, tokens);
                continue;
            }
            self.materialize(scheduled(self.composed), u64::MAX);
            self.leave_conversation(index);
            self.return_adapter(index);
            self.batch.remove(index, &mut self.records);
            self.release(index, tokens, None);
            self.records.remove(index);
        }
        self.aborted = aborted;
    }

    /// A waiting sequence is gone: nobody can find its blocks any more.
    pub(super) fn abandon(&mut self, index: u32) {
        let own = std::mem::replace(&mut self.records[index].own, NONE);
        if own != NONE {
            self.cache.abandon_own(own);
        }
    }
}
