//! One replica: an engine and its clock.

use sim_core::time::SimTime;

use crate::hardware::timing::nanos_ceil;
use crate::llm::engine::{Engine, StepOutput};

/// What replicas have to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Load {
    pub(super) waiting: u64,
    pub(super) running: u64,
    /// KV blocks in use.
    pub(super) kv_used: u64,
    /// Replicas in a step.
    pub(super) stepping: u64,
}

impl Load {
    /// Puts one replica's new load in the place of its old one.
    pub(super) fn replace(&mut self, (old, new): (Self, Self)) {
        self.waiting = self.waiting - old.waiting + new.waiting;
        self.running = self.running - old.running + new.running;
        self.kv_used = self.kv_used - old.kv_used + new.kv_used;
        self.stepping = self.stepping - old.stepping + new.stepping;
    }
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) engine: Engine,
    /// The number of its crashes.
    pub(super) generation: u32,
    /// Length of the step underway.
    pub(super) step_ticks: u64,
    /// When it last began to work after it had been idle. Ticks count from here: an engine without work has
    /// no sequence whose tokens were at earlier ticks.
    epoch: SimTime,
    /// The last step boundary, in ticks since the epoch.
    boundary: u64,
    /// Whether it will begin a step in this instant.
    starting: bool,
    /// Its load when last noted.
    noted: Load,
}

impl Replica {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            generation: 0,
            step_ticks: 0,
            epoch: SimTime::ZERO,
            boundary: 0,
            starting: false,
            noted: Load::default(),
        }
    }

    /// Whether an idle replica has just been asked to begin a step.
    pub(super) fn wake(&mut self) -> bool {
        !self.engine.is_stepping() && !std::mem::replace(&mut self.starting, true)
    }

    /// The clock starts, after an idle time.
    pub(super) fn start(&mut self, now: SimTime) {
        (self.epoch, self.boundary, self.starting) = (now, 0, false);
    }

    /// A step of `ticks` has begun at the last boundary. When it ends: none if that is beyond what ticks
    /// (208 days of uninterrupted work) or times can count.
    pub(super) fn plan_end(&mut self, ticks: u64) -> Option<SimTime> {
        self.step_ticks = ticks;
        let end = self.boundary.checked_add(ticks)?;
        self.epoch.checked_add(nanos_ceil(end)).ok()
    }

    /// Ends the step underway.
    pub(super) fn finish_step(&mut self) -> &StepOutput {
        self.boundary += self.step_ticks;
        self.engine.finish_step(self.boundary)
    }

    /// Everything in it is lost: the keys of its sequences.
    pub(super) fn crash(&mut self) -> Vec<u64> {
        self.starting = false;
        self.generation = self.generation.wrapping_add(1);
        self.engine.crash()
    }

    /// Notes the present load: the old one, and the new.
    pub(super) fn note(&mut self) -> (Load, Load) {
        let state = self.engine.observe();
        let new = Load {
            waiting: state.waiting.into(),
            running: state.running.into(),
            kv_used: state.used_blocks.into(),
            stepping: state.stepping.into(),
        };
        (std::mem::replace(&mut self.noted, new), new)
    }
}
