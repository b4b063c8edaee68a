//! What is underway: plans, their ends, and where they are cut.

use super::Fast;
use super::run::Run;

/// Steps scheduled alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The times of decode steps; none for a single step of any kind.
    pub(super) run: Option<Run>,
    /// Ticks of work at its beginning and at its end; `u64::MAX` for beyond what can be counted.
    pub(super) begin: u64,
    pub(super) end: u64,
    /// Sequences in each step.
    pub(super) sequences: u64,
    /// How many of them get a token in each step, right after the one in the step before.
    pub(super) emit: u64,
    /// Tokens that they have in the KV cache in the first step that is not counted yet.
    pub(super) tokens: u64,
    /// Steps counted already.
    pub(super) done: u64,
    /// KV blocks in use in the first step that is not counted yet.
    pub(super) used: u32,
    /// How many fewer from the second step on: those of sequences that end with the step before the first.
    pub(super) freed: u32,
    /// Nothing can be seen from outside before its last step ends, if nobody comes.
    pub(super) quiet: bool,
}

impl Fast {
    /// The last step scheduled.
    pub(super) fn planned(&self) -> u64 {
        self.tail.as_ref().or(self.head.as_ref()).map_or(self.ended, |plan| plan.last)
    }

    /// The step at whose end something must be done.
    pub(super) fn action(&self) -> Option<u64> {
        if let Some(head) = &self.head
            && !(self.head_filled.is_empty()
                && self.ended_next.is_empty()
                && self.aborted.is_empty()
                && self.landing.is_empty())
        {
            return Some(head.last);
        }
        let planned = self.tail.as_ref().or(self.head.as_ref())?.last;
        if !self.aborted.is_empty() {
            return Some(self.ended + 1);
        }
        Some((planned + 1 - self.lag).max(self.ended + 1))
    }

    /// The tick of work at which a step underway ends; `u64::MAX` for never.
    pub(super) fn end_of(&self, step: u64) -> u64 {
        match (&self.head, &self.tail) {
            (Some(head), _) if head.last == step => head.end,
            (_, Some(tail)) if tail.last == step => tail.end,
            // The last but one is asked for most.
            (_, Some(Plan { run: Some(run), first, last, end, .. })) if step + 1 == *last => {
                end - run.ticks(last - first)
            }
            (_, Some(Plan { run: Some(run), begin, first, .. })) => begin + run.sum(step + 1 - first),
            _ => unreachable!("the step is underway"),
        }
    }

    /// The wall tick at which a step underway ends.
    pub(super) fn wall_end_of(&self, step: u64) -> Option<u64> {
        match self.end_of(step) {
            u64::MAX => None,
            work => self.clock.wall_at(work),
        }
    }

    /// Takes the blocks of all steps of the plan, and makes what is left of it, one step at most, the head.
    pub(super) fn commit(&mut self) {
        let Some(Plan { first, last, .. }) = self.tail else { return };
        if last > first {
            self.cache.take(self.crossings(first + 1, last) as u32);
        }
        self.composed = last;
        if last > self.ended {
            debug_assert!(self.head.is_none() && last == self.ended + 1);
            self.head = self.tail;
            if let Some(head) = &mut self.head {
                (head.first, head.begin, head.run, head.done) = (last, self.ended_work, None, 0);
            }
            self.head_extras = self.tail_extras;
            std::mem::swap(&mut self.head_filled, &mut self.tail_filled);
        }
        self.tail = None;
    }

    /// Cuts the plan to the steps that are scheduled at a wall tick: what comes then may be seen.
    pub(super) fn cut(&mut self, wall: u64) {
        let Some(&Plan { first, last, end, .. }) = self.tail.as_ref().filter(|tail| tail.last > tail.first)
        else {
            return;
        };
        let scheduled = (self.ended_by(self.clock.work_at(wall)) + self.lag).max(first);
        let (last, end) = if scheduled < last { (scheduled, self.end_of(scheduled)) } else { (last, end) };
        if let Some(tail) = &mut self.tail {
            (tail.last, tail.end, tail.quiet) = (last, end, false);
        }
    }

    /// The last step that has ended when `work` is done.
    pub(super) fn ended_by(&self, work: u64) -> u64 {
        let mut ended = self.ended;
        if let Some(head) = &self.head {
            if head.end == u64::MAX || head.end > work {
                return ended;
            }
            ended = head.last;
        }
        let Some(tail) = &self.tail else { return ended };
        let Some(into) = work.checked_sub(tail.begin) else { return ended };
        if tail.end != u64::MAX && work >= tail.end {
            return tail.last;
        }
        match &tail.run {
            Some(run) => ended.max(tail.first + run.ended(into) - 1),
            None => ended,
        }
    }

    /// Sequences that decode and need a block in steps `from` to `to`, counted once for each.
    pub(super) fn crossings(&self, from: u64, to: u64) -> u64 {
        if to < from || self.arena.is_some() {
            return 0;
        }
        self.phases.blocks(from, to + 1 - from, self.decodes)
    }
}
