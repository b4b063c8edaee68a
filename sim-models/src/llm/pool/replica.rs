//! One replica: an engine, and what the pool knows of it.

use sim_core::time::SimTime;

use crate::llm::engine::{Engine, Tally};

/// What replicas have to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Load {
    pub(super) waiting: u64,
    pub(super) running: u64,
}

impl Load {
    /// Puts one replica's new load in the place of its old one.
    pub(super) fn replace(&mut self, (old, new): (Self, Self)) {
        self.waiting = self.waiting - old.waiting + new.waiting;
        self.running = self.running - old.running + new.running;
    }
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) engine: Engine,
    /// The number of its crashes.
    pub(super) generation: u32,
    /// When its engine must be advanced.
    pub(super) due: Option<SimTime>,
    /// Whether it will begin to work in this instant.
    pub(super) starting: bool,
    /// Its load when last noted.
    noted: Load,
}

impl Replica {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, generation: 0, due: None, starting: false, noted: Load::default() }
    }

    /// Whether an idle replica has just been asked to begin.
    pub(super) fn wake(&mut self) -> bool {
        self.engine.is_idle() && !std::mem::replace(&mut self.starting, true)
    }

    /// Everything in it is lost: the keys of its sequences.
    pub(super) fn crash(&mut self, now: SimTime, tally: &mut Tally) -> Vec<u64> {
        self.starting = false;
        self.generation = self.generation.wrapping_add(1);
        self.engine.crash(now, tally)
    }

    /// Notes the present load: the old one, and the new.
    pub(super) fn note(&mut self) -> (Load, Load) {
        let new = Load { waiting: self.engine.waiting().into(), running: self.engine.running().into() };
        (std::mem::replace(&mut self.noted, new), new)
    }
}
