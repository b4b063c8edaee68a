//! Many steps at once, where each is like the one before: speculative decoding with carried acceptance.
//!
//! While the batch stays as it is and all of it decodes, every step verifies as many drafts and yields as many
//! tokens of every sequence, so that a step's time and what it measures follow without looking at any
//! sequence. The sequences are brought up to date when the batch changes, or when somebody looks: a leap
//! costs about as much as one step, whatever its length.

use super::Stepwise;
use super::record::State;
use super::scheduler::Scheduler;
use crate::hardware::timing::Pass;
use crate::llm::engine::tally::Tally;

/// The most steps of a leap: what arrives cuts it, and the steps behind were planned in vain.
const MAX_STEPS: usize = 64;

/// Steps that will end without anything to report, and the first that is not known to, from the one underway on.
#[derive(Debug, Clone, Default)]
pub(super) struct Leap {
    /// When they end, in ticks of work. Empty without a leap, otherwise of at least two steps.
    ends: Vec<u64>,
    /// The tokens that each sequence will have gained when each begins.
    gained: Vec<u32>,
    /// The sequences that do not fill the sliding window before it ends.
    growing: u64,
}

impl Leap {
    /// What comes from outside may change the next step.
    pub(super) fn cut(&mut self) {
        self.ends.clear();
        self.gained.clear();
    }

    /// The tick of work at which the first step ends that may have something to report.
    pub(super) fn end(&self) -> Option<u64> {
        self.ends.last().copied()
    }
}

/// What of a batch stays the same from step to step.
struct Alike {
    work: Pass,
    /// The most tokens that a sequence may gain before anything changes.
    gain: u32,
    /// The sequences that do not fill the sliding window before that.
    growing: u64,
}

impl Scheduler {
    /// Whether the step underway will repeat, and how far.
    fn alike(&self, ended_wall: u64) -> Option<Alike> {
        let speculation = self.config.speculative.as_ref()?;
        let step = self.queue.front()?;
        let plan = &step.plan;
        let quiet =
            plan.prefills == 0 && plan.preemptions == 0 && self.waiting.is_empty() && self.ending == 0;
        // How many blocks slide out of a window is not counted ahead.
        if !quiet || self.config.kv_groups.windowed > 0 || step.parts.len() != self.running.len() {
            return None;
        }
        // Of memory each sequence has an equal share, if its last block is full.
        let share = self.pool.free_blocks() / self.running.len() as u32;
        let mut gain = share.checked_sub(1)?.saturating_mul(self.config.block_size);
        let mut growing = 0;
        let model_len = self.config.max_model_len.unwrap_or(u32::MAX);
        for part in &step.parts {
            let sequence = &self.sequences[part.id.index];
            let as_others = part.drafts == speculation.num_speculative_tokens
                && sequence.state == State::Running
                && sequence.last_token == ended_wall;
            if !as_others {
                return None;
            }
            let before = sequence.landed() - 1;
            let room = (model_len - 1 - before).checked_sub(speculation.tokens())?;
            gain = gain.min(sequence.output - sequence.generated - 1).min(room);
            let grows = self.window.and_then(|window| window.checked_sub(u64::from(before) + 1));
            if let Some(room) = grows.filter(|room| *room > 0) {
                gain = gain.min(u32::try_from(room).unwrap_or(u32::MAX));
                growing += 1;
            }
        }
        Some(Alike { work: plan.work, gain, growing })
    }

    /// The KV blocks of a sequence in the step underway, once it has gained `gained` tokens.
    fn blocks_with(&self, index: u32, gained: u32) -> u32 {
        let (lookahead, tokens) =
            self.config.speculative.as_ref().map_or((0, 1), |s| (s.num_lookahead_tokens, s.tokens()));
        let end = self.sequences[index].landed() - 1 + gained + tokens;
        let slots = (end + lookahead).min(self.config.max_model_len.unwrap_or(u32::MAX)).max(end);
        slots.div_ceil(self.config.block_size).max(self.sequences[index].blocks.len() as u32)
    }

    /// KV blocks in use once all have gained `gained` tokens.
    fn used_with(&self, gained: u32) -> u32 {
        let more =
            |index: &u32| self.blocks_with(*index, gained) - self.sequences[*index].blocks.len() as u32;
        self.pool.used_blocks() + self.running.iter().map(more).sum::<u32>()
    }

    /// The step underway and those behind it, `ended` in all, end, each with the next like it, the last at `now`. `used` becomes the KV blocks in use in each.
    fn repeat(&mut self, Leap { gained, growing, .. }: &Leap, ended: usize, now: u64, used: &mut Vec<u32>) {
        let gained = &gained[..=ended];
        let all = *gained.last().expect("one step at least");
        used.clear();
        used.resize(gained.len(), 0);
        let size = self.config.block_size;
        // The first step that begins with so many tokens gained.
        let step_with = |tokens: u32| gained.partition_point(|gained| *gained < tokens) as u32;
        // By step and moment (when the one before ends, when it is scheduled), in the order of the batch.
        let (mut taken, mut known) = (Vec::new(), Vec::new());
        for (place, index) in (0u32..).zip(&self.running) {
            let sequence = &self.sequences[*index];
            let (tokens, held) = (sequence.landed(), sequence.blocks.len() as u32);
            for block in held..self.blocks_with(*index, all) {
                let step = (1..gained.len())
                    .rev()
                    .take_while(|step| self.blocks_with(*index, gained[*step]) > block)
                    .last();
                taken.push((step.expect("the last step needs it") as u32, place));
            }
            if self.config.enable_prefix_caching {
                for block in sequence.registered..(tokens + all) / size {
                    let filled = (block + 1) * size - tokens;
                    let step = step_with(filled);
                    let scheduled = gained[step as usize] == filled;
                    known.push((step, scheduled, place));
                }
            }
        }
        taken.sort_unstable();
        known.sort_unstable();
        for (step, place) in taken {
            let block = self.pool.allocate();
            self.sequences[self.running[place as usize]].blocks.push(block);
            used[step as usize] += 1;
        }
        used[0] = self.queue.front().map_or(0, |step| step.plan.used_blocks);
        for step in 1..used.len() {
            used[step] += used[step - 1];
        }
        for (_, _, place) in known {
            let index = self.running[place as usize];
            let full = self.sequences[index].registered + 1;
            self.register(index, full);
        }
        for index in &self.running {
            let sequence = &mut self.sequences[*index];
            sequence.generated += all;
            sequence.computed += all;
            sequence.totals.computed += u64::from(all);
            sequence.last_token = now;
        }
        let steps = gained.len() as u64 - 1;
        self.steps += steps;
        let plan = &mut self.queue.front_mut().expect("a step is underway").plan;
        plan.step += steps;
        plan.work.decode_context += plan.work.sequences * u64::from(all);
        plan.work.windowed_context += growing * u64::from(all);
        plan.kv_tokens += plan.work.sequences * u64::from(all);
        plan.used_blocks = used[steps as usize];
    }
}

impl Stepwise {
    /// Plans a leap from the step that has just begun, if those behind it will be like it.
    pub(super) fn leap(&mut self) {
        self.leap.cut();
        let Some(speculation) = self.scheduler.config().speculative.as_ref().filter(|s| s.is_carried())
        else {
            return;
        };
        let Some(&end) = self.ends.front().filter(|end| self.leaps && **end < u64::MAX) else { return };
        let Some(Alike { mut work, gain, growing }) = self.scheduler.alike(self.ended_wall) else { return };
        self.leap.growing = growing;
        let Leap { ends, gained, .. } = &mut self.leap;
        ends.push(end);
        gained.push(0);
        let (context, windowed) = (work.decode_context, work.windowed_context);
        for step in self.scheduler.scheduled().. {
            let sum = gained[ends.len() - 1] + 1 + speculation.accepted(step, 0, 0);
            if sum > gain || ends.len() > MAX_STEPS {
                break;
            }
            work.decode_context = context + work.sequences * u64::from(sum);
            work.windowed_context = windowed + growing * u64::from(sum);
            let end = ends[ends.len() - 1].saturating_add(self.step.ticks(&work));
            if end == u64::MAX {
                break;
            }
            ends.push(end);
            gained.push(sum);
        }
        if ends.len() == 1 {
            self.leap.cut();
        }
    }

    /// How many steps of a leap have ended at a wall tick, all but the last.
    fn leapt(&self, wall: u64) -> usize {
        let quiet = self.leap.ends.len().saturating_sub(1);
        self.leap.ends[..quiet].partition_point(|end| self.clock.wall_at(*end).is_some_and(|end| end <= wall))
    }

    /// KV blocks in use at a wall tick.
    pub(super) fn used_at(&self, wall: u64) -> u32 {
        match self.leapt(wall) {
            0 => self.scheduler.observe().used_blocks,
            ended => self.scheduler.used_with(self.leap.gained[ended]),
        }
    }

    /// Counts the steps of a leap that have ended at a wall tick, and brings the sequences up to date.
    pub(super) fn catch_up(&mut self, wall: u64, tally: &mut Tally) {
        let ended = self.leapt(wall);
        if ended == 0 {
            return;
        }
        let wall_at = |end: u64| self.clock.wall_at(end).expect("a step that has ended ended in time");
        let (work, now) = (self.leap.ends[ended - 1], wall_at(self.leap.ends[ended - 1]));
        let plan = self.scheduler.plan().expect("a leap begins with a step underway");
        let (Pass { sequences, drafts, .. }, kv_tokens) = (plan.work, plan.kv_tokens);
        self.scheduler.repeat(&self.leap, ended, now, &mut self.used);
        for step in 0..ended {
            let end = wall_at(self.leap.ends[step]);
            let gap = end - std::mem::replace(&mut self.ended_wall, end);
            let more = u64::from(self.leap.gained[step + 1] - self.leap.gained[step]) - 1;
            let held = kv_tokens + sequences * u64::from(self.leap.gained[step]);
            tally.step(gap, sequences, self.used[step], held);
            tally.next_tokens(gap, sequences);
            tally.output_tokens += sequences * more;
            tally.draft_tokens += drafts;
            tally.accepted_tokens += sequences * more;
        }
        self.ended_work = work;
        self.leap.ends.drain(..ended);
        let before = self.leap.gained[ended];
        self.leap.gained.drain(..ended);
        self.leap.gained.iter_mut().for_each(|gained| *gained -= before);
        self.ends[0] = self.leap.ends[0];
        self.free[0] = self.leap.ends[0];
        if self.leap.ends.len() == 1 {
            self.leap.cut();
        }
    }
}
