//! The engine in closed form between the changes of its batch.
//!
//! # The idea
//! Most steps are like the one before: the same sequences compute one more token each. Such a run of steps
//! is one [`Plan`], whose times have a closed form, and it goes on until a sequence ends or blocks could run
//! out. A plan can be cut at any boundary without changing anything: so it is made as long as can be, and
//! what comes from outside only cuts it.
//!
//! Step n finds `base + n` tokens of a decoding sequence in the cache, with a `base` that does not change.
//! So the sequences that decode are counted, never looped over: how many, the sum of their bases (for the
//! context that attention reads) and how many have each base modulo the block size (for the blocks that they
//! need in a step). Ends wait in a heap by step. Sequences in prefill are counted one by one; there is rarely
//! more than one.
//!
//! # Pipeline
//! Steps have numbers from 1. Step n is scheduled at the end of step n - lag (lag is 1, or 2 when scheduling
//! is ahead), so at most two steps or plans are underway: `head`, a single step, and behind it `tail`. A
//! boundary is an *action* if something must be done there: tokens to report, or a step to schedule that
//! belongs to no plan yet. Only actions are gone through; [`Fast::due`] names the next one that can be seen
//! from outside.
//!
//! # Where the closed form does not hold
//! * Under priority scheduling a shortage of blocks is resolved sequence by sequence (`walk.rs`), and so are
//!   steps whose budget does not suffice for several prefills.
//! * While the engine is slowed down, step times are rounded one by one, which costs O(1) a step.
//! * Content that later turns of a conversation may ask for is registered late, in the order in which the
//!   stepwise engine does it (`prefix.rs`).

mod account;
mod batch;
mod cache;
mod compose;
mod connector;
mod filling;
mod milestones;
mod observe;
mod phases;
mod plan;
mod prefix;
mod record;
mod run;
mod size;
mod walk;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sim_core::time::SimTime;

use super::clock::{Clock, Pace};
use super::host::Host;
use super::lora::Residency;
use super::reservation::Arena;
use super::tally::{Extras, Tally};
use super::{ConfigError, EngineConfig, KvTransfer, Milestone, Output, Rejection, SeqId, Submission};
use crate::hardware::timing::StepFunction;
use cache::{Cache, NONE};
use compose::Draft;
use filling::Filling;
use phases::Phases;
use plan::Plan;
use record::{Line, List, Record, Records, State};
use size::Size;

/// A record that may be used again before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ending {
    step: u64,
    /// The order of the batch.
    joined: u64,
    id: SeqId,
}

impl Ending {
    /// One number to compare, without branches that are hard to predict: each sequence joins alone.
    #[inline]
    fn order(&self) -> u128 {
        u128::from(self.step) << 64 | u128::from(self.joined)
    }
}

impl Ord for Ending {
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Ending {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Fast {
    config: EngineConfig,
    step: StepFunction,
    size: Size,
    lag: u64,
    clock: Clock,
    records: Records,
    arrivals: u64,
    line: Line,
    adapters: Option<Residency>,
    /// In the order of admission, those whose last token is underway and those aborted among them.
    batch: List,
    admissions: u64,
    /// The sequences that decode: how many, the sum of their bases, and how many need a block in the steps
    /// with each number modulo the block size.
    decodes: u64,
    base_sum: i64,
    phases: Phases,
    /// Which of them fill the sliding window, where the model has one.
    filling: Option<Filling>,
    endings: BinaryHeap<Reverse<Ending>>,
    /// Counted one by one, in the order of the batch.
    singles: Vec<u32>,
    /// Their last token is underway, or has just come.
    ended_next: Vec<Ending>,
    /// All whose blocks are free at the end of the step underway: aborted in it or needed no more. In order,
    /// each with the state that says which blocks it holds.
    aborted: Vec<(u32, State)>,
    /// A token of theirs is underway in `head`, though they no longer decode.
    landing: Vec<SeqId>,
    /// Sequences that decode into blocks that others may ask for.
    conversations: Vec<u32>,
    cache: Cache,
    /// Where in it memory is reserved, if it is.
    arena: Option<Arena>,
    /// The sequences that the batch may have: as many as there are until it is closed.
    places: u32,
    /// They have all their tokens and wait for their batch to end.
    done: Vec<SeqId>,
    /// Blocks of the sequence at the head of the line that are in the cache.
    hits: Vec<u32>,
    /// The last step scheduled for which blocks were taken.
    composed: u64,
    /// The last step that has ended, and when.
    ended: u64,
    ended_work: u64,
    ended_wall: u64,
    head: Option<Plan>,
    tail: Option<Plan>,
    /// What each does besides decoding, if it is a single step.
    head_extras: Extras,
    tail_extras: Extras,
    /// Who completes a prefill in each.
    head_filled: Vec<SeqId>,
    tail_filled: Vec<SeqId>,
    /// Who did so in the step that has just ended.
    filled: Vec<SeqId>,
    /// Its milestones, with the order of the batch.
    marks: Vec<(u64, Milestone)>,
    /// How many were preempted when their last token was underway: they wait for it.
    freed: u32,
    /// Preemptions that no step has told of yet.
    preemptions: u32,
    /// What the host's memory holds of KV.
    host: Option<Host>,
    /// Sequences that wait for their KV.
    loading: u32,
    /// Records that keep blocks without waiting or running.
    kept: u32,
    /// The place in line of the one preempted last, under FCFS: before all others.
    front: i32,
    /// Loads that ever began.
    loads_begun: u64,
    /// Sequences waited when the last step ended, and ticks go on counting.
    paused: bool,
    draft: Draft,
    output: Output,
}

impl Fast {
    pub(super) fn new(config: EngineConfig, step: StepFunction) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            filling: step.window().map(Filling::new),
            step,
            size: Size::new(config.block_size),
            lag: config.lag(),
            clock: Clock::new(),
            records: Records::default(),
            arrivals: 0,
            line: Line::new(&config),
            adapters: config.lora.map(Residency::new),
            batch: List::new(),
            admissions: 0,
            decodes: 0,
            base_sum: 0,
            phases: Phases::new(Size::new(config.block_size)),
            endings: BinaryHeap::new(),
            singles: Vec::new(),
            ended_next: Vec::new(),
            aborted: Vec::new(),
            landing: Vec::new(),
            conversations: Vec::new(),
            cache: Cache::new(config.usable_blocks()),
            arena: Arena::new(&config),
            places: config.max_num_seqs,
            done: Vec::new(),
            hits: Vec::new(),
            composed: 0,
            ended: 0,
            ended_work: 0,
            ended_wall: 0,
            head: None,
            tail: None,
            head_extras: Extras::default(),
            tail_extras: Extras::default(),
            head_filled: Vec::new(),
            tail_filled: Vec::new(),
            filled: Vec::new(),
            marks: Vec::new(),
            freed: 0,
            preemptions: 0,
            host: Host::new(config.num_cpu_blocks),
            loading: 0,
            kept: 0,
            front: 0,
            loads_begun: 0,
            paused: false,
            draft: Draft::default(),
            output: Output::default(),
            config,
        })
    }

    pub(super) fn config(&self) -> &EngineConfig {
        &self.config
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    pub(super) fn running(&self) -> u32 {
        self.batch.len + self.done.len() as u32
    }

    pub(super) fn waiting(&self) -> u32 {
        self.line.len() + self.freed + self.loading
    }

    pub(super) fn is_idle(&self) -> bool {
        self.head.is_none() && self.tail.is_none()
    }

    pub(super) fn submit(
        &mut self,
        now: SimTime,
        submission: &Submission,
        transfer: KvTransfer,
        tally: &mut Tally,
    ) -> Result<SeqId, Rejection> {
        let order = self.config.place(submission, self.arrivals)?;
        self.arrivals += 1;
        let index = self.records.insert(now, submission, order, transfer, &self.config);
        if self.is_idle() {
            self.line.join(index, &mut self.records);
            return Ok(self.records.id(index));
        }
        let wall = self.clock.ticks(now);
        self.pass(wall, tally);
        self.line.join(index, &mut self.records);
        if self.adapters.is_some() || self.line.first() == Some(index) {
            self.head_of_line_changed(wall);
        }
        Ok(self.records.id(index))
    }

    /// Ends a sequence early; false if it has ended already.
    pub(super) fn abort(&mut self, now: SimTime, id: SeqId, tally: &mut Tally) -> bool {
        let wall = self.clock.ticks(now);
        if !self.is_idle() {
            self.pass(wall, tally);
        }
        let Some(record) = self.records.find(id) else { return false };
        match record.state {
            State::Waiting => {
                let first = self.adapters.is_some() || self.line.first() == Some(id.index);
                self.line.leave(id.index, &mut self.records);
                if let Some(place) = self.landing.iter().position(|landing| *landing == id) {
                    self.landing.remove(place);
                    self.silence(id, wall, tally);
                }
                if self.records[id.index].computed > 0 {
                    self.kept += 1;
                    self.leave_later(id.index, State::Leaving, wall, tally);
                } else {
                    self.abandon(id.index);
                    self.records.remove(id.index);
                }
                if first && !self.is_idle() {
                    self.head_of_line_changed(wall);
                }
            }
            State::Loading | State::Failed => self.abort_loading(id, wall, tally),
            State::Done => {
                self.done.retain(|done| *done != id);
                self.records.remove(id.index);
            }
            State::Freed => {
                self.silence(id, wall, tally);
                self.freed -= 1;
                self.records.remove(id.index);
            }
            state => {
                self.silence(id, wall, tally);
                self.cut(wall);
                self.records[id.index].state = State::Aborted;
                self.aborted.push((id.index, state));
            }
        }
        true
    }

    /// Takes a sequence's tokens out of the steps underway.
    fn silence(&mut self, id: SeqId, wall: u64, tally: &mut Tally) {
        // Steps that have ended keep theirs.
        self.count_ended(wall, tally);
        self.cut(wall);
        let record = &self.records[id.index];
        let ahead = matches!(record.state, State::Decode);
        if matches!(record.state, State::Single) {
            // One that was left out of the step scheduled last may have a token underway.
            let Some(place) = self.landing.iter().position(|landing| *landing == id) else { return };
            self.landing.remove(place);
        }
        let from = record.decodes_from;
        if let Some(head) = self.head.as_mut().filter(|head| from <= head.first) {
            head.emit -= 1;
        }
        if let Some(tail) = self.tail.as_mut().filter(|tail| ahead && from <= tail.first) {
            tail.emit -= 1;
        }
    }

    /// Another sequence is at the head of the line, or where it may be looked at with those before it passed
    /// over: it may be admitted at the next boundary.
    fn head_of_line_changed(&mut self, wall: u64) {
        if self.config.batching.is_by_request() {
            return;
        }
        // The places of those whose last token is underway will be free.
        if self.batch.len < self.config.max_num_seqs + self.ended_next.len() as u32 {
            self.cut(wall);
        }
    }

    pub(super) fn advance(&mut self, now: SimTime, tally: &mut Tally) {
        self.output.restart();
        if self.is_idle() {
            if self.line.len() == 0 {
                return;
            }
            (self.ended_work, self.ended_wall) = self.clock.begin(now, self.paused);
            self.fill();
        }
        self.pass(self.clock.ticks(now), tally);
    }

    pub(super) fn set_pace(&mut self, now: SimTime, pace: Pace, tally: &mut Tally) {
        self.settle(now, tally);
        self.clock.set_pace(now, pace);
    }

    /// Counts all steps that have ended.
    pub(super) fn settle(&mut self, now: SimTime, tally: &mut Tally) {
        if !self.is_idle() {
            let wall = self.clock.ticks(now);
            self.pass(wall, tally);
            self.count_ended(wall, tally);
        }
    }

    pub(super) fn reset_prefix_cache(&mut self, now: SimTime, tally: &mut Tally) {
        self.settle(now, tally);
        // Those of sequences that were preempted are free, too.
        let own = |(index, record): (u32, &Record)| (record.own != NONE).then_some(index);
        let owners: Vec<u32> = self.records.iter().filter_map(own).collect();
        for index in owners {
            let own = std::mem::replace(&mut self.records[index].own, NONE);
            self.cache.abandon_own(own);
        }
        self.cache.forget_free();
        if !self.is_idle() {
            // Who waits at the head finds less than before.
            self.head_of_line_changed(self.clock.ticks(now));
        }
    }

    pub(super) fn crash(&mut self, now: SimTime, tally: &mut Tally) -> Vec<u64> {
        self.settle(now, tally);
        tally.lose(self.underway(now));
        let mut live: Vec<(u64, u32, Option<u64>)> = self
            .records
            .iter()
            .map(|(index, record)| {
                (record.order.1, index, self.records.find(self.records.id(index)).map(|_| record.key))
            })
            .collect();
        live.sort_unstable();
        for (_, index, _) in &live {
            self.records[*index].blocks.clear();
            self.records[*index].own = NONE;
            self.records[*index].span = None;
            self.records.remove(*index);
        }
        self.cache.reset();
        self.arena.iter_mut().for_each(Arena::reset);
        self.done.clear();
        self.line.clear();
        if let Some(adapters) = &mut self.adapters {
            adapters.reset();
        }
        self.batch = List::new();
        self.forget_decodes();
        (self.freed, self.preemptions) = (0, 0);
        self.lose_connector();
        self.endings.clear();
        self.singles.clear();
        self.ended_next.clear();
        self.aborted.clear();
        self.landing.clear();
        self.conversations.clear();
        (self.head, self.tail) = (None, None);
        self.head_filled.clear();
        self.tail_filled.clear();
        self.ended = self.composed;
        live.into_iter().filter_map(|(_, _, key)| key).collect()
    }

    pub(super) fn due(&self) -> Option<SimTime> {
        let Some(step) = self.action() else { return self.batch_goes_at() };
        let seen = match &self.tail {
            Some(tail) if tail.quiet && self.aborted.is_empty() && self.is_unseen(step, tail) => tail.last,
            _ => step,
        };
        self.clock.instant(self.wall_end_of(seen)?)
    }

    /// Whether all that is done at the end of `step` is to schedule what comes behind a quiet plan.
    fn is_unseen(&self, step: u64, tail: &Plan) -> bool {
        step >= tail.first
            || self.line.len() == 0
                && self.head_filled.is_empty()
                && self.ended_next.is_empty()
                && self.landing.is_empty()
    }

    /// Goes through all actions up to a wall tick.
    #[inline]
    fn pass(&mut self, wall: u64, tally: &mut Tally) {
        while let Some(step) = self.action() {
            if self.wall_end_of(step).is_none_or(|end| end > wall) {
                return;
            }
            self.act(step, tally);
        }
    }

    /// Does what is to be done at the end of a step. Apart from [`Fast::pass`], which often finds nothing to do.
    #[inline(never)]
    fn act(&mut self, step: u64, tally: &mut Tally) {
        let single = self.head.as_ref().is_some_and(|head| head.last == step);
        self.count_through(step, tally);
        let filled = if single { &mut self.head_filled } else { &mut self.tail_filled };
        std::mem::swap(&mut self.filled, filled);
        if self.planned() < self.ended + self.lag {
            self.commit();
        }
        debug_assert!(self.ended == step);
        if self.lag == 1 {
            self.drop_ended(step);
        }
        self.report(step, tally);
        self.remove_aborted();
        self.end_batch();
        self.fill();
        #[cfg(debug_assertions)]
        self.check_light();
    }

    /// Schedules as many steps as belong underway.
    fn fill(&mut self) {
        if self.config.batching.is_by_request() && !self.open_batch() {
            return;
        }
        while self.planned() < self.ended + self.lag {
            let preemptions = self.preemptions;
            if self.compose() {
                continue;
            }
            if !self.is_idle() {
                break;
            }
            // All that happened were preemptions: each round has fewer sequences with blocks.
            let stuck = self.preemptions == preemptions;
            if self.batch.len == 0 && self.line.len() == 0
                || stuck && (self.kept > 0 || !self.take_from_waiting())
            {
                self.paused = self.waiting() > 0;
                break;
            }
        }
    }
}
