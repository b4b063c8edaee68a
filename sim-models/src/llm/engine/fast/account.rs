//! Counting steps that have ended, many at a time.

use super::run::Run;
use super::{Fast, Plan};
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
        tally.step(gap, plan.sequences, plan.used, plan.tokens);
        tally.next_tokens(gap, plan.emit);
    }

    /// The next `steps` steps of a run.
    fn count_run(&mut self, plan: &mut Plan, run: &Run, mut steps: u64, tally: &mut Tally) {
        // One by one while the clock is slowed, or where its pace changed in the midst of a step.
        while steps > 0
            && (steps == 1 || plan.freed > 0 || !self.clock.along(self.ended_work, self.ended_wall))
        {
            let end = self.ended_work + run.ticks(plan.done);
            self.count_one(plan, end, tally);
            plan.done += 1;
            plan.tokens += plan.sequences;
            steps -= 1;
            plan.used += self.phases[self.size.rest(plan.first + plan.done) as usize];
            plan.used -= std::mem::take(&mut plan.freed);
        }
        while steps > 0 {
            let (alike, ticks, growth) = run.piece(plan.done, steps);
            self.count_ramp(plan, ticks, growth, alike, tally);
            steps -= alike;
        }
    }

    /// `steps` steps, the first of `ticks`, each `growth` longer than the one before.
    fn count_ramp(&mut self, plan: &mut Plan, ticks: u64, growth: u64, steps: u64, tally: &mut Tally) {
        let (size, n) = (self.phases.len() as u64, u128::from(steps));
        let total = u128::from(ticks) * n + u128::from(growth) * (n * (n - 1) / 2);
        tally.steps += steps;
        tally.ticks += total;
        tally.sequence_ticks += total * u128::from(plan.sequences);
        // Each sequence has one token more in each step: the sum over the steps of their place times their ticks.
        let places = n * (n - 1) / 2;
        let later = u128::from(ticks) * places + u128::from(growth) * (places * (2 * n - 1) / 3);
        tally.token_ticks += total * u128::from(plan.tokens) + later * u128::from(plan.sequences);
        plan.tokens += plan.sequences * steps;
        tally.output_tokens += plan.emit * steps;
        tally.itl.record_ramp(ticks, growth, steps, plan.emit);
        // A block taken for the step `ahead` of the first is there for the rest of the time: all but the
        // `ticks * ahead + growth * ahead (ahead - 1) / 2` before. Sums of that over the taken blocks, by phase:
        // their number, their distances and the squares of these.
        let (mut taken, mut distances, mut squares) = (0u64, 0u128, 0u128);
        let start = plan.first + plan.done;
        let (rounds, rest) = match steps - 1 {
            few if few < size => (0, few),
            many => (self.size.of(many), self.size.rest(many)),
        };
        let mut phase = self.size.rest(start) as usize;
        for ahead in 1..=(steps - 1).min(size) {
            phase = if phase + 1 == self.phases.len() { 0 } else { phase + 1 };
            let count = u64::from(self.phases[phase]);
            if count == 0 {
                continue;
            }
            // The steps that are `ahead`, `ahead + size`, ... behind the first. MAX_STEPS keeps all in 64 bits.
            let times = rounds + u64::from(ahead <= rest);
            let more = times - 1;
            let sum = times * ahead + size * (more * times / 2);
            let square = times * ahead * ahead
                + ahead * size * more * times
                + size * size * (more * times * (more + times) / 6);
            taken += count * times;
            distances += u128::from(count) * u128::from(sum);
            squares += u128::from(count) * u128::from(square);
        }
        let before = u128::from(ticks) * distances + u128::from(growth) * ((squares - distances) / 2);
        tally.block_ticks += total * (u128::from(plan.used) + u128::from(taken)) - before;
        tally.blocks_max = tally.blocks_max.max(plan.used + taken as u32);
        plan.done += steps;
        plan.used += taken as u32 + self.phases[self.size.rest(start + steps) as usize];
        self.ended_work += total as u64;
        self.ended_wall += total as u64;
    }
}
