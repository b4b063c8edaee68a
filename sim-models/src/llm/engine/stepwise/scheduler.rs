//! The scheduler as a data structure without a clock.

use std::collections::BTreeMap;

use super::blocks::BlockPool;
use super::record::{Sequences, State};
use super::step::{Emission, Finished, Step, StepOutput, StepPlan, Token};
use crate::hardware::timing::Pass;
use crate::llm::engine::connector::Load;
use crate::llm::engine::host::Host;
use crate::llm::engine::{ConfigError, EngineConfig, EngineState, KvTransfer, Rejection, SeqId, Submission};

/// The scheduler, its KV blocks and its sequences. The caller begins a step, works out from its [`Pass`] how
/// long it takes, and finishes it.
#[derive(Debug, Clone)]
pub(in crate::llm::engine) struct Scheduler {
    pub(super) config: EngineConfig,
    pub(super) pool: BlockPool,
    pub(super) sequences: Sequences,
    /// By place in line. A preempted sequence keeps its place, so that under FCFS, where the places are the
    /// arrivals, it is in front of all that never ran.
    pub(super) waiting: BTreeMap<(i32, u64), u32>,
    pub(super) running: Vec<u32>,
    /// Aborted while a step that computes them was scheduled, or with blocks that others need no more: all
    /// whose blocks are free at the end of the step underway, in order.
    pub(super) aborted: Vec<u32>,
    arrivals: u64,
    /// Steps scheduled.
    pub(super) steps: u64,
    /// The step underway.
    underway: Option<Step>,
    /// The step after it, where scheduling is ahead.
    next: Option<Step>,
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
    output: StepOutput,
    /// The cached blocks that the sequence at the head of the line begins with.
    pub(super) hits: Vec<u32>,
}

impl Scheduler {
    /// A scheduler without work and with an empty cache.
    pub(super) fn new(config: EngineConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            pool: BlockPool::new(config.num_blocks),
            host: Host::new(config.num_cpu_blocks),
            loads: Vec::new(),
            loads_begun: 0,
            loading: 0,
            kept: 0,
            front: 0,
            config,
            sequences: Sequences::default(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            aborted: Vec::new(),
            arrivals: 0,
            steps: 0,
            underway: None,
            next: None,
            ending: 0,
            preemptions: 0,
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
            _ => {
                self.sequences[id.index].state = State::Aborted;
                self.aborted.push(id.index);
                if self.underway.is_none() {
                    self.remove_aborted();
                }
            }
        }
        true
    }

    /// Begins the next step, and schedules as many as the lag asks for; none if there is no work.
    /// O(batch), and O(blocks) for an admission.
    ///
    /// # Panics
    /// If a step is underway.
    pub(super) fn begin_step(&mut self) -> Option<&StepPlan> {
        assert!(self.underway.is_none(), "a step ends before the next one begins");
        let step = match self.next.take() {
            Some(step) => step,
            None => self.schedule_some()?,
        };
        if self.config.async_scheduling {
            self.next = self.schedule();
        }
        self.underway = Some(step);
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
        let step = self.underway.take().expect("a step begins before it ends");
        self.output.restart(step.plan.step);
        for part in step.parts.iter().filter(|part| part.emits) {
            if self.sequences.find(part.id).is_some() {
                self.emit(part.id, now);
            }
        }
        if !self.output.finished.is_empty() {
            let sequences = &self.sequences;
            self.running.retain(|index| matches!(sequences[*index].state, State::Running | State::Aborted));
        }
        self.remove_aborted();
        &self.output
    }

    /// The plan of the step underway.
    pub(super) fn plan(&self) -> Option<&StepPlan> {
        self.underway.as_ref().map(|step| &step.plan)
    }

    /// The plan of the step after that, if it is scheduled already.
    pub(super) fn next_plan(&self) -> Option<&StepPlan> {
        self.next.as_ref().map(|step| &step.plan)
    }

    /// The load at this moment. O(1).
    pub(super) fn observe(&self) -> EngineState {
        EngineState {
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32 + self.ending + self.loading,
            used_blocks: self.pool.used_blocks(),
            total_blocks: self.config.usable_blocks(),
            stepping: self.underway.is_some(),
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
            self.sequences.remove(*index);
        }
        self.pool.reset();
        self.waiting.clear();
        self.running.clear();
        self.aborted.clear();
        (self.underway, self.next) = (None, None);
        (self.ending, self.preemptions) = (0, 0);
        self.lose_connector();
        live.into_iter().filter_map(|(_, _, key)| key).collect()
    }

    /// Generates a sequence's next token.
    fn emit(&mut self, id: SeqId, now: u64) {
        let SeqId { index, .. } = id;
        let block_size = self.config.block_size;
        let sequence = &mut self.sequences[index];
        let at = std::mem::replace(&mut sequence.last_token, now);
        let token = if sequence.generated == 0 {
            Token::First
        } else {
            Token::Next { gap: now.checked_sub(at).expect("steps end in the order of time") }
        };
        sequence.generated += 1;
        sequence.underway -= 1;
        let last = sequence.generated == sequence.output;
        let (key, totals, state) = (sequence.key, sequence.totals, sequence.state);
        debug_assert!(
            !last
                || totals.computed + totals.prefix_hits
                    == u64::from(sequence.landed()) - 1 + totals.discarded,
            "work is conserved"
        );
        self.output.emissions.push(Emission { id, key, token, last });
        if state == State::Running {
            let full = (sequence.computed - sequence.underway) / block_size;
            self.register(index, full);
        }
        if last {
            self.output.finished.push(Finished { id, key, totals });
            self.ending -= u32::from(state == State::Ending);
            if state == State::Running && self.sequences[index].transfer == KvTransfer::RemoteDecode {
                self.sequences[index].state = State::Sending;
                self.kept += 1;
                return;
            }
            self.release_blocks(index);
            self.sequences.remove(index);
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
            self.release_blocks(index);
            match self.sequences[index].state {
                State::Aborted => self.sequences.remove(index),
                state => self.left(index, state),
            }
        }
        self.aborted = aborted;
    }

    /// Makes a sequence's first `full` blocks known to the prefix cache.
    pub(super) fn register(&mut self, index: u32, full: u32) {
        if !self.config.enable_prefix_caching {
            return;
        }
        let block_size = self.config.block_size;
        let sequence = &mut self.sequences[index];
        for block in sequence.registered as usize..full as usize {
            let content = sequence.block_key(block, block_size);
            self.pool.register(sequence.blocks[block], content);
            if let Some(host) = &mut self.host {
                host.store(content);
            }
        }
        sequence.registered = sequence.registered.max(full);
    }

    /// Fills in what a step's plan says of it as a whole, and moves its sequences on.
    pub(super) fn close(&mut self, step: &mut Step) {
        let plan = &mut step.plan;
        for index in &self.running {
            let id = self.sequences.id(*index);
            let sequence = &mut self.sequences[*index];
            let chunk = std::mem::take(&mut sequence.scheduled);
            if chunk == 0 {
                continue;
            }
            plan.work.sequences += 1;
            plan.work.new_tokens += u64::from(chunk);
            let before = u64::from(sequence.computed);
            if sequence.computed < sequence.prefill_end {
                plan.prefills += 1;
                plan.work.prefill_work += Pass::chunk_work(before, chunk.into());
            } else {
                debug_assert!(chunk == 1 && sequence.computed + 1 == sequence.known());
                plan.decodes += 1;
                plan.work.decode_context += before + 1;
            }
            sequence.computed += chunk;
            sequence.totals.computed += u64::from(chunk);
            let emits = sequence.computed == sequence.known();
            sequence.underway += u32::from(emits);
            step.parts.push(super::step::Part { id, emits });
        }
        plan.running = self.running.len() as u32;
        plan.waiting = self.waiting.len() as u32;
        plan.used_blocks = self.pool.used_blocks();
        debug_assert!(plan.work.new_tokens <= u64::from(self.config.max_num_batched_tokens));
        debug_assert!(plan.running <= self.config.max_num_seqs);
    }

    /// Checks the pool against the sequences: O(blocks).
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.pool.check(self.sequences.iter().map(|(_, sequence)| sequence.blocks.as_slice()));
        let (mut ending, mut loading, mut kept) = (0, 0, 0);
        for (index, sequence) in self.sequences.iter() {
            let waits = self.waiting.get(&sequence.order) == Some(&index);
            assert_eq!(waits, sequence.state == State::Waiting);
            let runs = matches!(sequence.state, State::Running | State::Aborted);
            assert_eq!(self.running.iter().filter(|other| **other == index).count(), usize::from(runs));
            ending += usize::from(sequence.state == State::Ending);
            loading += u32::from(matches!(sequence.state, State::Loading | State::Failed));
            kept += usize::from(!waits && !runs && sequence.state != State::Ending);
            let tokens = if sequence.state == State::Ending { 0 } else { sequence.computed };
            assert_eq!(sequence.blocks.len() as u32, tokens.div_ceil(self.config.block_size));
        }
        assert_eq!((loading, kept), (self.loading, self.kept as usize));
        assert_eq!(self.sequences.iter().count(), self.waiting.len() + self.running.len() + ending + kept);
        if self.config.scheduling_policy == crate::llm::engine::SchedulingPolicy::Fcfs
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
