//! The scheduler as a data structure without a clock.

use std::collections::{BTreeMap, VecDeque};

use sim_core::time::SimTime;

use super::blocks::BlockPool;
use super::record::{Sequence, Sequences, State};
use super::step::{Emission, Finished, Part, Step, StepOutput, StepPlan, Token};
use crate::hardware::microbench::PassShape;
use crate::llm::engine::connector::Load;
use crate::llm::engine::host::Host;
use crate::llm::engine::lora::Residency;
use crate::llm::engine::reservation::Arena;
use crate::llm::engine::{ConfigError, EngineConfig, EngineState, KvTransfer, Rejection, SeqId, Submission};

/// The scheduler, its KV blocks and its sequences. The caller begins a step, works out from its [`Pass`] how
/// long it takes, and finishes it.
#[derive(Debug, Clone)]
pub(in crate::llm::engine) struct Scheduler {
    pub(super) config: EngineConfig,
    /// The tokens that layers with a sliding window see, if there are any.
    pub(super) window: Option<u64>,
    pub(super) pool: BlockPool,
    /// The memory in place of the pool's where it is reserved.
    pub(super) arena: Option<Arena>,
    pub(super) sequences: Sequences,
    /// By place in line. A preempted sequence keeps its place, so that under FCFS, where the places are the
    /// arrivals, it is in front of all that never ran.
    pub(super) waiting: BTreeMap<(i32, u64), u32>,
    pub(super) running: Vec<u32>,
    /// Aborted while a step that computes them was scheduled, or with blocks that others need no more: all
    /// whose blocks are free at the end of the step underway, in order.
    pub(super) aborted: Vec<u32>,
    /// The sequences that the batch may have: as many as there are until it is closed.
    pub(super) places: u32,
    /// They have all their tokens and wait for their batch to end.
    pub(super) done: Vec<u32>,
    arrivals: u64,
    /// Steps scheduled.
    pub(super) steps: u64,
    /// The step that ends next, if any is underway, and those scheduled behind it.
    pub(super) queue: VecDeque<Step>,
    /// Whether the first of them has begun.
    begun: bool,
    pub(super) adapters: Option<Residency>,
    /// How many were preempted when their last token was underway: they wait for it.
    pub(super) ending: u32,
    /// Preemptions that no step has told of yet.
    pub(super) preemptions: u32,
    /// What the host's memory holds of KV.
    pub(super) host: Option<Host>,
    /// Loads that began and nobody was told of yet.
    pub(super) loads: Vec<Load>,
    /// Loads that ever began.
    pub(super) loads_begun: u64,
    /// Sequences that wait for their KV.
    pub(super) loading: u32,
    /// Records that keep blocks without waiting or running.
    pub(super) kept: u32,
    /// The place in line of the one preempted last, under FCFS: before all others.
    pub(super) front: i32,
    /// The shapes of the passes composed, if they are kept.
    pub(super) shapes: Option<Vec<PassShape>>,
    output: StepOutput,
    /// The cached blocks that the sequence at the head of the line begins with.
    pub(super) hits: Vec<u32>,
}

impl Scheduler {
    /// A scheduler without work and with an empty cache.
    pub(super) fn new(config: EngineConfig, window: Option<u64>) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            window,
            pool: BlockPool::new(config.num_blocks),
            host: Host::new(config.num_cpu_blocks),
            loads: Vec::new(),
            loads_begun: 0,
            loading: 0,
            kept: 0,
            front: 0,
            adapters: config.lora.map(Residency::new),
            arena: Arena::new(&config),
            places: config.max_num_seqs,
            done: Vec::new(),
            config,
            sequences: Sequences::default(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            aborted: Vec::new(),
            arrivals: 0,
            steps: 0,
            queue: VecDeque::new(),
            begun: false,
            ending: 0,
            preemptions: 0,
            shapes: None,
            output: StepOutput::default(),
            hits: Vec::new(),
        })
    }

    pub(super) fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Lets a sequence wait for service that has nothing to do with other engines.
    #[cfg(test)]
    pub(super) fn submit(&mut self, submission: &Submission) -> Result<SeqId, Rejection> {
        self.submit_transfer(submission, KvTransfer::None)
    }

    /// Lets a sequence wait for service; also in mid-step.
    pub(super) fn submit_transfer(
        &mut self,
        submission: &Submission,
        transfer: KvTransfer,
    ) -> Result<SeqId, Rejection> {
        let order = self.config.place(submission, self.arrivals)?;
        self.arrivals += 1;
        let index = self.sequences.insert(submission, order, transfer);
        self.waiting.insert(order, index);
        Ok(self.sequences.id(index))
    }

    /// Ends a sequence early; false if it has ended already.
    pub(super) fn abort(&mut self, id: SeqId) -> bool {
        let Some(sequence) = self.sequences.find(id) else { return false };
        match sequence.state {
            State::Waiting => {
                let (order, loaded) = (sequence.order, sequence.computed > 0);
                self.waiting.remove(&order);
                if loaded {
                    self.kept += 1;
                    self.leave_later(id.index, State::Leaving);
                } else {
                    self.sequences.remove(id.index);
                }
            }
            state @ (State::Loading | State::Failed) => {
                self.loading -= 1;
                self.sequences[id.index].state =
                    if state == State::Loading { State::Doomed } else { State::Leaving };
            }
            State::Ending => {
                self.ending -= 1;
                self.sequences.remove(id.index);
            }
            State::Done => {
                self.done.retain(|index| *index != id.index);
                self.sequences.remove(id.index);
            }
            _ => {
                self.sequences[id.index].state = State::Aborted;
                self.aborted.push(id.index);
                if !self.begun {
                    self.remove_aborted();
                }
            }
        }
        true
    }

    /// Begins the next step, and schedules as many as may be underway; none if there is no work.
    /// O(batch), and O(blocks) for an admission.
    pub(super) fn begin_step(&mut self) -> Option<&StepPlan> {
        if self.queue.is_empty() {
            let step = self.schedule_some()?;
            self.queue.push_back(step);
        }
        while (self.queue.len() as u64) < self.config.lag() {
            let Some(step) = self.schedule() else { break };
            self.queue.push_back(step);
        }
        self.begun = true;
        self.plan()
    }

    /// A step with nothing else underway; none if there is no work.
    fn schedule_some(&mut self) -> Option<Step> {
        while !(self.running.is_empty() && self.waiting.is_empty()) {
            let preemptions = self.preemptions;
            let step = self.schedule();
            if step.is_some() {
                return step;
            }
            // Each round has fewer sequences with blocks, and what is alone always fits.
            if self.preemptions == preemptions && (self.kept > 0 || !self.take_from_waiting()) {
                assert!(self.kept > 0, "a step without tokens preempted somebody");
                return None;
            }
        }
        None
    }

    /// Ends the step underway at `now`, in ticks of the caller's choice, and hands out its tokens.
    ///
    /// # Panics
    /// If no step is underway, or if `now` is before an earlier token of a sequence in the batch: ticks may
    /// start anew only while no sequence is there.
    pub(super) fn finish_step(&mut self, now: u64) -> &StepOutput {
        let step = self.queue.pop_front().expect("a step begins before it ends");
        self.begun = false;
        self.output.restart(step.plan.step);
        for part in step.parts.iter().filter(|part| part.emits) {
            if self.sequences.find(part.id).is_some() {
                self.emit(part, now);
            }
        }
        if !self.output.finished.is_empty() || !self.done.is_empty() {
            let sequences = &self.sequences;
            self.running.retain(|index| matches!(sequences[*index].state, State::Running | State::Aborted));
        }
        self.remove_aborted();
        self.end_batch();
        &self.output
    }

    /// The plan of the step underway that ends next.
    pub(super) fn plan(&self) -> Option<&StepPlan> {
        self.queue.front().filter(|_| self.begun).map(|step| &step.plan)
    }

    /// The plans of the steps behind step `step` that are scheduled already.
    pub(super) fn plans_behind(&self, step: u64) -> impl Iterator<Item = &StepPlan> {
        self.queue.iter().map(|step| &step.plan).filter(move |plan| plan.step > step)
    }

    /// The last step scheduled.
    pub(super) fn scheduled(&self) -> u64 {
        self.steps
    }

    /// The load at this moment. O(1).
    pub(super) fn observe(&self) -> EngineState {
        EngineState {
            running: (self.running.len() + self.done.len()) as u32,
            waiting: self.waiting.len() as u32 + self.ending + self.loading,
            used_blocks: self.used_blocks(),
            total_blocks: self.config.usable_blocks(),
            stepping: self.begun,
        }
    }

    /// A crash: the steps underway, all sequences and the cache are lost. Returns the callers' names of the
    /// sequences that this ends, in the order of arrival.
    pub(super) fn crash(&mut self) -> Vec<u64> {
        let mut live: Vec<(u64, u32, Option<u64>)> = self
            .sequences
            .iter()
            .map(|(index, sequence)| {
                let id = self.sequences.id(index);
                (sequence.order.1, index, self.sequences.find(id).map(|_| sequence.key))
            })
            .collect();
        live.sort_unstable();
        for (_, index, _) in &live {
            self.sequences[*index].blocks.clear();
            self.sequences[*index].slid_out = 0;
            self.sequences[*index].span = None;
            self.sequences.remove(*index);
        }
        self.pool.reset();
        self.arena.iter_mut().for_each(Arena::reset);
        self.done.clear();
        self.waiting.clear();
        self.running.clear();
        self.aborted.clear();
        self.queue.clear();
        self.begun = false;
        if let Some(adapters) = &mut self.adapters {
            adapters.reset();
        }
        (self.ending, self.preemptions) = (0, 0);
        self.lose_connector();
        live.into_iter().filter_map(|(_, _, key)| key).collect()
    }

    /// Generates a sequence's next token, and those of its drafts that are accepted.
    fn emit(&mut self, part: &Part, now: u64) {
        let Part { id, drafts, .. } = *part;
        let SeqId { index, .. } = id;
        let block_size = self.config.block_size;
        let more = self.accept(index, drafts);
        let sequence = &mut self.sequences[index];
        let at = std::mem::replace(&mut sequence.last_token, now);
        let token = if sequence.generated == 0 {
            Token::First
        } else {
            Token::Next { gap: now.checked_sub(at).expect("steps end in the order of time") }
        };
        sequence.generated += 1 + more;
        sequence.underway -= 1;
        sequence.computed += more;
        sequence.totals.computed += u64::from(more);
        let last = sequence.generated == sequence.output;
        let (key, totals, state) = (sequence.key, sequence.totals, sequence.state);
        debug_assert!(
            !last
                || totals.computed + totals.prefix_hits
                    == u64::from(sequence.landed()) - 1 + totals.discarded,
            "work is conserved"
        );
        let returns = last && !self.config.batching.is_by_request();
        self.output.emissions.push(Emission { id, key, token, last: returns, more });
        if state == State::Running {
            let full = (sequence.computed - sequence.underway) / block_size;
            self.register(index, full);
        }
        if last {
            self.ending -= u32::from(state == State::Ending);
            self.return_adapter(index);
            if state == State::Running && self.sequences[index].transfer == KvTransfer::RemoteDecode {
                self.sequences[index].state = State::Sending;
                self.kept += 1;
                self.output.finished.push(Finished { id, key, totals });
                return;
            }
            self.release_blocks(index);
            if returns {
                self.output.finished.push(Finished { id, key, totals });
                self.sequences.remove(index);
            } else {
                self.sequences[index].state = State::Done;
                self.done.push(index);
            }
        }
    }

    /// Takes aborted sequences out of the batch, and gives back all that is free now.
    pub(super) fn remove_aborted(&mut self) {
        if self.aborted.is_empty() {
            return;
        }
        self.running.retain(|index| self.sequences[*index].state != State::Aborted);
        let mut aborted = std::mem::take(&mut self.aborted);
        for index in aborted.drain(..) {
            self.return_adapter(index);
            self.release_blocks(index);
            match self.sequences[index].state {
                State::Aborted => self.sequences.remove(index),
                state => self.left(index, state),
            }
        }
        self.aborted = aborted;
    }

    /// How many of a sequence's drafts are accepted and still belong to it.
    fn accept(&mut self, index: u32, drafts: u32) -> u32 {
        let Some(speculation) = &self.config.speculative else { return 0 };
        if drafts == 0 {
            return 0;
        }
        let Sequence { luck, generated, output, .. } = self.sequences[index];
        let accepted = speculation.accepted(self.output.step, luck, generated).min(drafts);
        self.output.accepted += u64::from(accepted);
        accepted.min(output - generated - 1)
    }

    /// A sequence no longer needs its adapter.
    pub(super) fn return_adapter(&mut self, index: u32) {
        let sequence = &mut self.sequences[index];
        if let (Some(adapters), Some(adapter)) = (&mut self.adapters, sequence.adapter)
            && std::mem::take(&mut sequence.holds_adapter)
        {
            adapters.leave(adapter, self.steps);
        }
    }

    /// Fills in what a step's plan says of it as a whole, and moves its sequences on.
    pub(super) fn close(&mut self, step: &mut Step) {
        let plan = &mut step.plan;
        let mut shape = self.shapes.is_some().then(PassShape::default);
        plan.work.adapters = self.adapters.as_ref().map_or(0, Residency::active);
        for place in 0..self.running.len() {
            let index = self.running[place];
            let id = self.sequences.id(index);
            let sequence = &mut self.sequences[index];
            let chunk = std::mem::take(&mut sequence.scheduled);
            if chunk == 0 {
                continue;
            }
            let before = u64::from(sequence.computed);
            let mut drafts = 0;
            if sequence.computed < sequence.prefill_end {
                plan.prefills += 1;
                plan.work.prefill(before, chunk.into(), self.window);
                if let Some(shape) = &mut shape {
                    shape.prefill.push((sequence.computed, chunk));
                }
            } else {
                debug_assert!(sequence.computed + 1 == sequence.known());
                drafts = chunk - 1;
                plan.decodes += 1;
                plan.work.decode(before, drafts.into(), self.window);
                if let Some(shape) = &mut shape {
                    shape.decode.push(sequence.computed + 1);
                }
            }
            // Drafts count when they are accepted.
            sequence.computed += chunk - drafts;
            plan.kv_tokens += u64::from(sequence.computed);
            sequence.totals.computed += u64::from(chunk - drafts);
            let emits = sequence.computed == sequence.known();
            sequence.underway += u32::from(emits);
            step.parts.push(Part { id, emits, drafts });
            if sequence.generated + sequence.underway == sequence.output {
                self.return_adapter(index);
            }
        }
        if let (Some(shapes), Some(shape)) = (&mut self.shapes, shape) {
            shapes.push(shape);
        }
        plan.running = self.running.len() as u32;
        plan.waiting = self.waiting.len() as u32;
        plan.used_blocks = self.used_blocks();
        debug_assert!(plan.work.new_tokens <= u64::from(self.config.max_num_batched_tokens));
        debug_assert!(plan.running <= self.config.max_num_seqs);
    }

    /// Blocks that sequences have.
    fn used_blocks(&self) -> u32 {
        self.arena.as_ref().map_or(self.pool.used_blocks(), Arena::used)
    }
}

/// Batches that end as a whole.
impl Scheduler {
    /// Before a step with nothing else underway: whether there may be one `now`.
    pub(super) fn open_batch(&mut self, now: SimTime) -> bool {
        let batching = &self.config.batching;
        if !batching.is_by_request() || !self.queue.is_empty() {
            return true;
        }
        if !self.running.is_empty() || self.waiting.is_empty() {
            return true;
        }
        let (waiting, most) = (self.waiting.len() as u32, self.config.max_num_seqs);
        match batching.form(waiting, self.oldest(), now, most) {
            Some(places) => self.places = places,
            None => return false,
        }
        true
    }

    /// Notes when a sequence came.
    pub(super) fn note_arrival(&mut self, id: SeqId, now: SimTime) {
        self.sequences[id.index].arrived = now;
    }

    /// When an idle engine begins a batch at the latest, if it waits for others.
    pub(super) fn batch_goes_at(&self) -> Option<SimTime> {
        self.config.batching.goes_at(self.oldest()?)
    }

    /// When the first of those came who wait; none if one of them was preempted.
    fn oldest(&self) -> Option<SimTime> {
        let waiting = || self.waiting.values().map(|index| &self.sequences[*index]);
        if waiting().any(|sequence| sequence.totals.preemptions > 0) {
            return None;
        }
        waiting().map(|sequence| sequence.arrived).min()
    }

    /// Nobody joins a batch that has begun.
    pub(super) fn close_batch(&mut self) {
        if self.config.batching.is_by_request() && !self.running.is_empty() {
            self.places = 0;
        }
    }

    /// Ends all of a batch when its last sequence has all its tokens.
    fn end_batch(&mut self) {
        if self.done.is_empty() || !self.running.is_empty() || self.ending > 0 {
            return;
        }
        for index in std::mem::take(&mut self.done) {
            let Sequence { key, totals, .. } = self.sequences[index];
            let id = self.sequences.id(index);
            self.output.returned.push(Finished { id, key, totals });
            self.sequences.remove(index);
        }
    }
}

#[cfg(test)]
impl Scheduler {
    /// Checks the pool against the sequences: O(blocks).
    pub(super) fn check(&self) {
        self.pool.check(self.sequences.iter().map(|(_, sequence)| sequence.blocks.as_slice()));
        if let Some(arena) = &self.arena {
            arena.check(&self.config, self.sequences.iter().filter_map(|(_, sequence)| sequence.span));
        }
        let (mut ending, mut loading, mut kept) = (0, 0, 0);
        for (index, sequence) in self.sequences.iter() {
            let waits = self.waiting.get(&sequence.order) == Some(&index);
            assert_eq!(waits, sequence.state == State::Waiting);
            if sequence.state == State::Done {
                assert!(self.done.contains(&index) && sequence.blocks.is_empty() && sequence.span.is_none());
                continue;
            }
            let runs = matches!(sequence.state, State::Running | State::Aborted);
            assert_eq!(self.running.iter().filter(|other| **other == index).count(), usize::from(runs));
            ending += usize::from(sequence.state == State::Ending);
            loading += u32::from(matches!(sequence.state, State::Loading | State::Failed));
            kept += usize::from(!waits && !runs && sequence.state != State::Ending);
            assert_eq!(sequence.span.is_some(), self.arena.is_some() && runs);
            let paged = self.arena.is_none() && sequence.state != State::Ending;
            let tokens = if paged { sequence.computed } else { 0 };
            let (blocks, table) = (tokens.div_ceil(self.config.block_size), self.table_len(sequence));
            match &self.config.speculative {
                None => assert_eq!(table, blocks),
                Some(_) => assert!(table >= blocks),
            }
            self.check_windows(sequence);
        }
        if let Some(adapters) = &self.adapters {
            let holders = self.sequences.iter().filter(|(_, sequence)| sequence.holds_adapter);
            adapters.check(holders.filter_map(|(_, sequence)| sequence.adapter));
        }
        let all = self.waiting.len() + self.running.len() + ending + kept + self.done.len();
        assert_eq!((loading, kept), (self.loading, self.kept as usize));
        assert_eq!(self.sequences.iter().count(), all);
        if self.config.scheduling_policy == crate::llm::engine::SchedulingPolicy::Fcfs
            && self.adapters.is_none()
            && self.loads_begun == 0
        {
            let line: Vec<_> = self.running.iter().chain(self.waiting.values()).collect();
            assert!(
                line.is_sorted_by_key(|index| self.sequences[**index].order.1),
                "in the order of arrival"
            );
        }
    }
}
