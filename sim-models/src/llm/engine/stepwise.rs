//! The engine step by step and sequence by sequence: the plain form that the fast one must equal. Where it stands
//! in for the fast one it leaps over steps that are alike (`leap.rs`).

mod blocks;
mod connector;
mod leap;
mod record;
mod schedule;
mod scheduler;
mod step;
mod tables;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use sim_core::time::SimTime;

use super::clock::{Clock, Pace};
use super::tally::{Extras, Tally, Underway};
use super::{
    ConfigError, EngineConfig, EngineState, KvTransfer, Milestone, Output, Rejection, SeqId, Submission,
};
use crate::hardware::microbench::PassShape;
use crate::hardware::timing::StepFunction;
use leap::Leap;
use scheduler::Scheduler;
use step::{StepPlan, Token};

/// A [`Scheduler`] and its clock.
#[derive(Debug, Clone)]
pub(super) struct Stepwise {
    scheduler: Scheduler,
    step: StepFunction,
    clock: Clock,
    /// The end of the last step.
    ended_work: u64,
    ended_wall: u64,
    /// Sequences waited when the last step ended, and ticks go on counting.
    paused: bool,
    /// When the steps scheduled end, in ticks of work; `u64::MAX` for beyond what can be counted.
    ends: VecDeque<u64>,
    /// When each stage of the pipeline will be free.
    free: Vec<u64>,
    /// Whether it may leap, and the leap that it is in.
    leaps: bool,
    leap: Leap,
    /// KV blocks in use in the steps of a leap.
    used: Vec<u32>,
    output: Output,
}

impl Stepwise {
    pub(super) fn new(config: EngineConfig, step: StepFunction, leaps: bool) -> Result<Self, ConfigError> {
        let scheduler = Scheduler::new(config, step.window())?;
        let (clock, output, ends) = (Clock::new(), Output::default(), VecDeque::new());
        let free = step.stages().map(|_| 0).collect();
        let (leap, used) = (Leap::default(), Vec::new());
        Ok(Self {
            scheduler,
            step,
            clock,
            ended_work: 0,
            ended_wall: 0,
            paused: false,
            ends,
            free,
            leaps,
            leap,
            used,
            output,
        })
    }

    /// The shapes of the passes composed since this was first asked for.
    pub(super) fn shapes(&mut self) -> &mut Vec<PassShape> {
        self.scheduler.shapes.get_or_insert_default()
    }

    pub(super) fn config(&self) -> &EngineConfig {
        self.scheduler.config()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.scheduler.plan().is_none()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.is_idle() || self.scheduler.observe().waiting > 0
    }

    pub(super) fn due(&self) -> Option<SimTime> {
        if self.is_idle() {
            return self.scheduler.batch_goes_at();
        }
        match self.leap.end() {
            Some(end) => self.clock.instant(self.clock.wall_at(end)?),
            None => self.clock.instant(self.end()?),
        }
    }

    /// The wall tick at which the step underway ends.
    fn end(&self) -> Option<u64> {
        self.clock.wall_at(self.ends.front().copied().filter(|end| *end < u64::MAX)?)
    }

    pub(super) fn submit(
        &mut self,
        now: SimTime,
        submission: &Submission,
        transfer: KvTransfer,
        tally: &mut Tally,
    ) -> Result<SeqId, Rejection> {
        let id = self.scheduler.submit_transfer(submission, transfer)?;
        self.scheduler.note_arrival(id, now);
        self.settle(now, tally);
        self.leap.cut();
        Ok(id)
    }

    pub(super) fn loaded(&mut self, now: SimTime, id: SeqId, there: bool, tally: &mut Tally) -> bool {
        self.settle(now, tally);
        self.leap.cut();
        self.scheduler.loaded(id, there)
    }

    pub(super) fn is_sending(&self, id: SeqId) -> bool {
        self.scheduler.is_sending(id)
    }

    pub(super) fn sent(&mut self, now: SimTime, id: SeqId, tally: &mut Tally) -> bool {
        self.settle(now, tally);
        self.leap.cut();
        self.scheduler.sent(id)
    }

    pub(super) fn abort(&mut self, now: SimTime, id: SeqId, tally: &mut Tally) -> bool {
        self.settle(now, tally);
        self.leap.cut();
        self.scheduler.abort(id)
    }

    /// Counts all steps that have ended.
    pub(super) fn settle(&mut self, now: SimTime, tally: &mut Tally) {
        self.catch_up(self.clock.ticks(now), tally);
    }

    pub(super) fn advance(&mut self, now: SimTime, tally: &mut Tally) {
        self.output.restart();
        if self.is_idle() {
            if !self.has_work() {
                return;
            }
            (self.ended_work, self.ended_wall) = self.clock.begin(now, self.paused);
            self.free.fill(self.ended_work);
            self.begin(now);
        }
        self.run_to(self.clock.ticks(now), tally);
    }

    /// Ends all steps that have ended at a wall tick.
    fn run_to(&mut self, wall: u64, tally: &mut Tally) {
        loop {
            self.catch_up(wall, tally);
            let Some(plan) = self.scheduler.plan() else { return };
            let Some(end) = self.end().filter(|end| *end <= wall) else { return };
            let gap = end - self.ended_wall;
            tally.step(gap, plan.work.sequences, plan.used_blocks, plan.kv_tokens);
            tally.extras(&Extras {
                preemptions: plan.preemptions,
                prefix_hit_tokens: plan.prefix_hit_tokens,
                prefix_query_tokens: plan.prefix_query_tokens,
                prompt_tokens: plan.work.new_tokens - u64::from(plan.decodes) - plan.work.drafts,
                adapters: plan.adapters,
            });
            tally.draft_tokens += plan.work.drafts;
            let work = self.ends.pop_front().expect("one for each step");
            (self.ended_work, self.ended_wall) = (work, end);
            let ended = self.scheduler.finish_step(end);
            tally.accepted_tokens += ended.accepted;
            for emission in &ended.emissions {
                match emission.token {
                    Token::First => tally.first_token(),
                    Token::Next { gap } => tally.next_tokens(gap, 1),
                }
                tally.output_tokens += u64::from(emission.more);
                let first = emission.token == Token::First;
                if first || emission.last {
                    let (id, key, last) = (emission.id, emission.key, emission.last);
                    self.output.milestones.push(Milestone { id, key, first, last });
                }
            }
            for finished in &ended.returned {
                let (id, key) = (finished.id, finished.key);
                self.output.milestones.push(Milestone { id, key, first: false, last: true });
            }
            self.begin(self.clock.instant(end).unwrap_or(SimTime::MAX));
        }
    }

    /// Begins the next step, if there is work and no batch that waits for others.
    fn begin(&mut self, now: SimTime) {
        if !self.scheduler.open_batch(now) {
            return;
        }
        let scheduled = self.scheduler.scheduled();
        if self.scheduler.begin_step().is_none() {
            self.paused = self.waiting() > 0;
        }
        self.output.loads.append(&mut self.scheduler.loads);
        for plan in self.scheduler.plans_behind(scheduled) {
            // Its adapters are loaded, then it passes through the stages, each of which takes one step at a time.
            let mut at = self.ended_work;
            let mut loading = self.scheduler.config().lora.map_or(0, |lora| lora.ticks(&plan.adapters));
            for (stage, free) in self.step.stages().zip(&mut self.free) {
                let ticks = stage.ticks(&plan.work).saturating_add(std::mem::take(&mut loading));
                at = at.max(*free).saturating_add(ticks);
                *free = at;
            }
            self.ends.push_back(at);
            self.output.admit(plan.admitted.iter().filter(|new| !new.resumed).map(|new| new.key));
        }
        self.leap();
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    pub(super) fn set_pace(&mut self, now: SimTime, pace: Pace, tally: &mut Tally) {
        self.settle(now, tally);
        self.clock.set_pace(now, pace);
    }

    pub(super) fn reset_prefix_cache(&mut self, now: SimTime, tally: &mut Tally) {
        self.settle(now, tally);
        self.leap.cut();
        self.scheduler.pool.forget_free();
    }

    pub(super) fn crash(&mut self, now: SimTime, tally: &mut Tally) -> Vec<u64> {
        self.settle(now, tally);
        tally.lose(self.underway(now));
        self.paused = false;
        self.leap.cut();
        self.ends.clear();
        self.scheduler.crash()
    }

    pub(super) fn underway(&self, now: SimTime) -> Underway {
        let Some(StepPlan { used_blocks, kv_tokens, .. }) = self.scheduler.plan() else {
            return Underway::default();
        };
        let wall = self.clock.ticks(now).min(self.end().unwrap_or(u64::MAX));
        Underway { ticks: wall - self.ended_wall, blocks: *used_blocks, tokens: *kv_tokens }
    }

    pub(super) fn running(&self) -> u32 {
        self.scheduler.observe().running
    }

    pub(super) fn waiting(&self) -> u32 {
        self.scheduler.observe().waiting
    }

    pub(super) fn observe(&self, now: SimTime) -> EngineState {
        EngineState { used_blocks: self.used_at(self.clock.ticks(now)), ..self.scheduler.observe() }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.scheduler.check();
    }
}
