//! Counting steps that have ended, many at a time.

use super::{Fast, Plan};
use crate::hardware::timing::DecodeRun;
use crate::llm::engine::tally::Tally;

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
        if let Some(head) = self.head.take() {
            self.count_single(&head, head.end, tally);
            self.ended = head.last;
        }
        if step == self.ended {
            return;
        }
        let Some(mut tail) = self.tail else { unreachable!("steps that end are underway") };
        match tail.run {
            None => self.count_single(&tail, tail.end, tally),
            Some(run) => self.count_run(&mut tail, &run, step - self.ended, tally),
        }
        self.ended = step;
        self.tail = Some(tail);
    }

    /// A step that ends at a tick of work, and whose extras count.
    fn count_single(&mut self, plan: &Plan, end: u64, tally: &mut Tally) {
        self.count_one(plan, end, tally);
        tally.extras(&plan.extras);
    }

    fn count_one(&mut self, plan: &Plan, end: u64, tally: &mut Tally) {
        let wall = self.clock.wall_at(end).expect("a step that has ended ended in time");
        let gap = wall - self.ended_wall;
        (self.ended_work, self.ended_wall) = (end, wall);
        tally.step(gap, plan.sequences, plan.used);
        tally.next_tokens(gap, plan.emit);
    }

    /// The next `steps` steps of a run.
    fn count_run(&mut self, plan: &mut Plan, run: &DecodeRun, mut steps: u64, tally: &mut Tally) {
        // One by one while the clock is slowed, or where its pace changed in the midst of a step.
        while steps > 0 && !(steps > 1 && self.clock.along(self.ended_work, self.ended_wall)) {
            let end = self.ended_work + run.ticks(plan.done) as u64;
            self.count_one(plan, end, tally);
            plan.done += 1;
            steps -= 1;
            let next = (plan.first + plan.done) % self.phases.len() as u64;
            plan.used += self.phases[next as usize];
        }
        let level = run.host_bound_steps();
        if steps > 0 && plan.done < level {
            let flat = steps.min(level - plan.done);
            self.count_ramp(plan, run.host() as u64, 0, flat, tally);
            steps -= flat;
        }
        if steps > 0 {
            self.count_ramp(plan, run.ticks(plan.done) as u64, run.growth() as u64, steps, tally);
        }
    }

    /// `steps` steps, the first of `ticks`, each `growth` longer than the one before.
    fn count_ramp(&mut self, plan: &mut Plan, ticks: u64, growth: u64, steps: u64, tally: &mut Tally) {
        let (size, n) = (self.phases.len() as u64, u128::from(steps));
        let total = u128::from(ticks) * n + u128::from(growth) * (n * (n - 1) / 2);
        tally.steps += steps;
        tally.ticks += total;
        tally.sequence_ticks += total * u128::from(plan.sequences);
        tally.output_tokens += plan.emit * steps;
        tally.itl.record_ramp(ticks, growth, steps, plan.emit);
        // A block taken for the step `ahead` of the first is there for the rest of the time: all but the
        // `ticks * ahead + growth * ahead (ahead - 1) / 2` before. Sums of that over the taken blocks, by phase:
        // their number, their distances and the squares of these.
        let (mut taken, mut distances, mut squares) = (0u64, 0u128, 0u128);
        let start = plan.first + plan.done;
        for ahead in 1..=(steps - 1).min(size) {
            let count = u64::from(self.phases[((start + ahead) % size) as usize]);
            if count == 0 {
                continue;
            }
            let more = (steps - 1 - ahead) / size;
            let times = more + 1;
            let sum = times * ahead + size * (more * times / 2);
            let square = u128::from(times * ahead * ahead + ahead * size * more * times)
                + u128::from(size * size) * (u128::from(more * times) * u128::from(more + times) / 6);
            taken += count * times;
            distances += u128::from(count) * u128::from(sum);
            squares += u128::from(count) * square;
        }
        let before = u128::from(ticks) * distances + u128::from(growth) * ((squares - distances) / 2);
        tally.block_ticks += total * (u128::from(plan.used) + u128::from(taken)) - before;
        tally.blocks_max = tally.blocks_max.max(plan.used + taken as u32);
        plan.done += steps;
        plan.used += taken as u32 + self.phases[((start + steps) % size) as usize];
        self.ended_work += total as u64;
        self.ended_wall += total as u64;
    }
}
