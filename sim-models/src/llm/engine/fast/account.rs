//! Counting steps that have ended, many at a time.

use super::Fast;
use super::phases::Phases;
use super::plan::Plan;
use super::run::Run;
use crate::llm::engine::tally::{Extras, Tally};

/// The most steps counted at once: squares of them, summed over 2^30 sequences, fit 64 bits.
const SPAN: u64 = 1 << 10;

impl Fast {
    /// Counts the steps that have ended at a wall tick.
    pub(super) fn count_ended(&mut self, wall: u64, tally: &mut Tally) {
        let ended = self.ended_by(self.clock.work_at(wall));
        if ended > self.ended {
            self.count_through(ended, tally);
        }
    }

    /// Counts the steps up to `step`, which have ended.
    #[inline]
    pub(super) fn count_through(&mut self, step: u64, tally: &mut Tally) {
        if let Some(Plan { last, end, .. }) = self.head {
            let gap = self.end_step(end);
            count_single(&self.head, &self.head_extras, gap, tally);
            self.ended = last;
            self.head = None;
        }
        if step == self.ended {
            return;
        }
        match self.tail {
            Some(Plan { run: Some(run), .. }) => self.count_run(run, step - self.ended, tally),
            Some(Plan { end, .. }) => {
                let gap = self.end_step(end);
                count_single(&self.tail, &self.tail_extras, gap, tally);
            }
            None => unreachable!("steps that end are underway"),
        }
        self.ended = step;
    }

    /// A step ends at a tick of work: how many ticks of wall time after the one before.
    fn end_step(&mut self, work: u64) -> u64 {
        let wall = self.clock.wall_at(work).expect("a step that has ended ended in time");
        let before = std::mem::replace(&mut self.ended_wall, wall);
        self.ended_work = work;
        wall - before
    }

    /// The next `steps` steps of the run that is underway.
    fn count_run(&mut self, run: Run, mut steps: u64, tally: &mut Tally) {
        // One by one while the clock is slowed, or where its pace changed in the midst of a step.
        while steps == 1 || steps > 0 && !self.clock.along(self.ended_work, self.ended_wall) {
            let done = self.tail.as_ref().map_or(0, |plan| plan.done);
            let gap = self.end_step(self.ended_work + run.ticks(done));
            let Some(plan) = &mut self.tail else { return };
            count_one(plan, gap, tally);
            steps -= 1;
            plan.done += 1;
            plan.tokens += plan.sequences;
            plan.used += self.phases.at(plan.first + plan.done);
            plan.used -= std::mem::take(&mut plan.freed);
        }
        while let Some(plan) = &mut self.tail
            && steps > 0
        {
            let (alike, ticks, growth) = run.piece(plan.done, steps.min(SPAN));
            let total = count_ramp(plan, (ticks, growth, alike), &self.phases, tally);
            self.ended_work += total;
            self.ended_wall += total;
            steps -= alike;
        }
    }
}

/// A plan of one step of so many ticks of wall time, and what it did besides decoding.
#[inline]
fn count_single(plan: &Option<Plan>, extras: &Extras, ticks: u64, tally: &mut Tally) {
    if let Some(plan) = plan {
        count_one(plan, ticks, tally);
        tally.extras(extras);
    }
}

/// A step of so many ticks of wall time.
#[inline]
fn count_one(plan: &Plan, ticks: u64, tally: &mut Tally) {
    tally.step(ticks, plan.sequences, plan.used, plan.tokens);
    tally.next_tokens(ticks, plan.emit);
}

/// So many `steps`, at most [`SPAN`], the first of `ticks`, each `growth` longer than the one before. Returns
/// their ticks together.
fn count_ramp(
    plan: &mut Plan,
    (ticks, growth, steps): (u64, u64, u64),
    phases: &Phases,
    tally: &mut Tally,
) -> u64 {
    // Pairs of steps, and the sum of the squares of 0 to `steps - 1`.
    let pairs = steps * (steps - 1) / 2;
    let squares = pairs * (2 * steps - 1) / 3;
    let total = ticks * steps + growth * pairs;
    tally.steps += steps;
    tally.ticks += u128::from(total);
    tally.sequence_ticks += product(total, plan.sequences);
    // Each sequence has one token more in each step: the sum over the steps of their place times their ticks.
    let later = product(ticks, pairs) + product(growth, squares);
    tally.token_ticks += product(total, plan.tokens) + later * u128::from(plan.sequences);
    plan.tokens += plan.sequences * steps;
    tally.output_tokens += plan.emit * steps;
    tally.itl.record_ramp(ticks, growth, steps, plan.emit);
    // Blocks that are free from the second step on.
    let freed = std::mem::take(&mut plan.freed);
    tally.block_ticks += product(ticks, freed.into());
    tally.blocks_max = tally.blocks_max.max(plan.used);
    plan.used -= freed;
    // A block taken for the step `ahead` of the first is there for the rest of the time: all but the
    // `ticks * ahead + growth * ahead (ahead - 1) / 2` before.
    let start = plan.first + plan.done;
    let taken = phases.taken_behind(start, steps - 1);
    let before = product(ticks, taken.distances) + product(growth, (taken.squares - taken.distances) / 2);
    tally.block_ticks += product(total, u64::from(plan.used) + taken.blocks) - before;
    plan.used += taken.blocks as u32;
    tally.blocks_max = tally.blocks_max.max(plan.used);
    plan.used += phases.at(start + steps);
    plan.done += steps;
    total
}

#[inline]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}
