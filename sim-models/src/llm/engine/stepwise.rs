//! The engine step by step and sequence by sequence: the plain form that the fast one must equal.

mod blocks;
mod connector;
mod record;
mod schedule;
mod scheduler;
mod step;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use sim_core::time::SimTime;

use super::clock::{Clock, Pace};
use super::tally::{Extras, Tally, Underway};
use super::{
    ConfigError, EngineConfig, EngineState, KvTransfer, Milestone, Output, Rejection, SeqId, Submission,
};
use crate::hardware::timing::StepFunction;
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
    /// Work of the step underway, if there is one.
    ticks: u64,
    /// Sequences waited when the last step ended, and ticks go on counting.
    paused: bool,
    output: Output,
}

impl Stepwise {
    pub(super) fn new(config: EngineConfig, step: StepFunction) -> Result<Self, ConfigError> {
        let scheduler = Scheduler::new(config)?;
        let (clock, output) = (Clock::new(), Output::default());
        Ok(Self { scheduler, step, clock, ended_work: 0, ended_wall: 0, ticks: 0, paused: false, output })
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
        self.scheduler.plan()?;
        self.clock.instant(self.end()?)
    }

    /// The wall tick at which the step underway ends.
    fn end(&self) -> Option<u64> {
        self.clock.wall_at(self.ended_work.checked_add(self.ticks)?)
    }

    pub(super) fn submit(
        &mut self,
        submission: &Submission,
        transfer: KvTransfer,
    ) -> Result<SeqId, Rejection> {
        self.scheduler.submit_transfer(submission, transfer)
    }

    pub(super) fn loaded(&mut self, id: SeqId, there: bool) -> bool {
        self.scheduler.loaded(id, there)
    }

    pub(super) fn is_sending(&self, id: SeqId) -> bool {
        self.scheduler.is_sending(id)
    }

    pub(super) fn sent(&mut self, id: SeqId) -> bool {
        self.scheduler.sent(id)
    }

    pub(super) fn abort(&mut self, id: SeqId) -> bool {
        self.scheduler.abort(id)
    }

    pub(super) fn advance(&mut self, now: SimTime, tally: &mut Tally) {
        self.output.restart();
        if self.is_idle() {
            if !self.has_work() {
                return;
            }
            (self.ended_work, self.ended_wall) = self.clock.begin(now, self.paused);
            self.begin();
        }
        self.run_to(self.clock.ticks(now), tally);
    }

    /// Ends all steps that have ended at a wall tick.
    fn run_to(&mut self, wall: u64, tally: &mut Tally) {
        while let Some(plan) = self.scheduler.plan() {
            let Some(end) = self.end().filter(|end| *end <= wall) else { return };
            let gap = end - self.ended_wall;
            tally.step(gap, plan.work.sequences, plan.used_blocks);
            tally.extras(&Extras {
                preemptions: plan.preemptions,
                prefix_hit_tokens: plan.prefix_hit_tokens,
                prefix_query_tokens: plan.prefix_query_tokens,
                prompt_tokens: plan.work.new_tokens - u64::from(plan.decodes),
            });
            (self.ended_work, self.ended_wall) = (self.ended_work + self.ticks, end);
            for emission in &self.scheduler.finish_step(end).emissions {
                match emission.token {
                    Token::First => tally.first_token(),
                    Token::Next { gap } => tally.next_tokens(gap, 1),
                }
                let first = emission.token == Token::First;
                if first || emission.last {
                    let (id, key, last) = (emission.id, emission.key, emission.last);
                    self.output.milestones.push(Milestone { id, key, first, last });
                }
            }
            self.begin();
        }
    }

    /// Begins the next step, if there is work.
    fn begin(&mut self) {
        let scheduled = self.scheduler.next_plan().map_or(0, |plan| plan.step);
        let ticks = self.scheduler.begin_step().map(|plan| self.step.ticks(&plan.work));
        self.output.loads.append(&mut self.scheduler.loads);
        let Some(ticks) = ticks else {
            self.paused = self.waiting() > 0;
            return;
        };
        self.ticks = ticks;
        for plan in [self.scheduler.plan(), self.scheduler.next_plan()].into_iter().flatten() {
            if plan.step > scheduled {
                self.output.admit(plan.admitted.iter().filter(|new| !new.resumed).map(|new| new.key));
            }
        }
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    pub(super) fn set_pace(&mut self, now: SimTime, pace: Pace) {
        self.clock.set_pace(now, pace);
    }

    pub(super) fn crash(&mut self, now: SimTime, tally: &mut Tally) -> Vec<u64> {
        tally.lose(self.underway(now));
        self.paused = false;
        self.scheduler.crash()
    }

    pub(super) fn underway(&self, now: SimTime) -> Underway {
        let Some(StepPlan { used_blocks, .. }) = self.scheduler.plan() else { return Underway::default() };
        let wall = self.clock.ticks(now).min(self.end().unwrap_or(u64::MAX));
        Underway { ticks: wall - self.ended_wall, blocks: *used_blocks }
    }

    pub(super) fn running(&self) -> u32 {
        self.scheduler.observe().running
    }

    pub(super) fn waiting(&self) -> u32 {
        self.scheduler.observe().waiting
    }

    pub(super) fn observe(&self) -> EngineState {
        self.scheduler.observe()
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.scheduler.check();
    }
}
