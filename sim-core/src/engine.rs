//! The loop: takes the next event, hands it to the world, until something says stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event::{Event, Phase};
use crate::fingerprint::Fingerprint;
use crate::queue::{EventQueue, QuadHeap};
use crate::scheduler::{Scheduler, SimError};
use crate::time::SimTime;

/// How many events pass between two looks at the cancel flag, the wall clock and the progress.
const CHECK_EVERY: u64 = 8_192;

/// A model: it handles events and schedules more.
pub trait World<Q: EventQueue = QuadHeap> {
    /// What happens in this world.
    type Event: Event;

    /// Handles one event at `scheduler.now()`.
    fn handle(&mut self, event: Self::Event, scheduler: &mut Scheduler<Self::Event, Q>);

    /// Whether the run is over; asked after every event.
    #[inline]
    fn done(&self) -> bool {
        false
    }
}

/// What another thread may see of a run, and the flag by which it can stop it.
#[derive(Debug, Default)]
pub struct Progress {
    now: AtomicU64,
    events: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Simulated time reached.
    pub fn now(&self) -> SimTime {
        SimTime::from_nanos(self.now.load(Ordering::Relaxed))
    }

    /// Events handled.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Asks the run to stop soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether a stop has been asked for.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// When to stop. The default is: when no event is left.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Handle no event later than this; the clock ends here.
    pub until: Option<SimTime>,
    /// Handle at most this many events in this call.
    pub max_events: Option<u64>,
    /// Stop after about this much host time. Where it strikes depends on the machine.
    pub wall: Option<Duration>,
}

/// Why a run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// No event was left.
    Exhausted,
    /// The next event is later than `until`.
    Until,
    /// `max_events` were handled.
    EventBudget,
    /// The host time is used up.
    WallBudget,
    /// Another thread asked for it.
    Cancelled,
    /// The world said it was done.
    Done,
}

/// One event as the fingerprint sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRecord {
    /// When.
    pub at: SimTime,
    /// In which phase.
    pub phase: Phase,
    /// What: [`Event::identity`].
    pub identity: u64,
}

/// A world, its clock and its pending events.
#[derive(Debug)]
pub struct Simulation<W: World<Q>, Q: EventQueue = QuadHeap> {
    world: W,
    scheduler: Scheduler<W::Event, Q>,
    events: u64,
    progress: Arc<Progress>,
    /// Fingerprints every so many events.
    trail: Option<(u64, Vec<Fingerprint>)>,
}

impl<W: World<Q>, Q: EventQueue> Simulation<W, Q> {
    /// A simulation in which nothing is scheduled yet.
    pub fn new(world: W) -> Self {
        Self {
            world,
            scheduler: Scheduler::default(),
            events: 0,
            progress: Arc::new(Progress::default()),
            trail: None,
        }
    }

    /// Orders simultaneous events of one phase by a keyed permutation instead of by scheduling. A
    /// model whose results change by more than noise leans on tie order.
    ///
    /// # Panics
    /// When something has been scheduled already.
    pub fn shuffle_ties(mut self, seed: u64) -> Self {
        self.scheduler.shuffle_ties(seed);
        self
    }

    /// Keeps the fingerprint after every `every` events, for [`crate::check::first_divergence`].
    ///
    /// # Panics
    /// When `every` is 0.
    pub fn record_trail(mut self, every: u64) -> Self {
        assert!(every > 0, "a trail needs a stride of at least one event");
        self.trail = Some((every, Vec::new()));
        self
    }

    /// What another thread may watch and cancel.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Shares a progress made elsewhere, so that one flag cancels many runs.
    pub fn with_progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The model.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// The model and the scheduler, to set the scene.
    pub fn parts(&mut self) -> (&mut W, &mut Scheduler<W::Event, Q>) {
        (&mut self.world, &mut self.scheduler)
    }

    /// The model, when the run is over.
    pub fn into_world(self) -> W {
        self.world
    }

    /// The present.
    pub fn now(&self) -> SimTime {
        self.scheduler.now()
    }

    /// Events handled so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash over everything handled so far.
    pub fn fingerprint(&self) -> Fingerprint {
        self.scheduler.fingerprint()
    }

    /// The fingerprints kept by [`Simulation::record_trail`].
    pub fn trail(&self) -> &[Fingerprint] {
        self.trail.as_ref().map_or(&[], |(_, trail)| trail)
    }

    /// Handles one event.
    pub fn step(&mut self) -> Option<EventRecord> {
        let (key, event) = self.scheduler.next(SimTime::MAX)?;
        self.world.handle(event, &mut self.scheduler);
        self.events += 1;
        Some(EventRecord { at: key.time(), phase: key.phase(), identity: event.identity() })
    }

    /// Runs until a limit is met. A run can be continued with new limits.
    ///
    /// # Errors
    /// [`SimError`] when time or the number of events overflows.
    #[expect(clippy::disallowed_methods, reason = "the wall budget; what is simulated never sees it")]
    pub fn run(&mut self, limits: &Limits) -> Result<Stop, SimError> {
        let started = limits.wall.map(|_| Instant::now());
        let until = limits.until.unwrap_or(SimTime::MAX);
        let mut budget = limits.max_events.unwrap_or(u64::MAX);
        loop {
            let mut batch = budget.min(CHECK_EVERY);
            if let Some((every, _)) = &self.trail {
                batch = batch.min(every - self.events % every);
            }
            let (handled, end) = self.run_batch(batch, until);
            self.events += handled;
            budget -= handled;
            if let Some((every, trail)) = &mut self.trail
                && handled > 0
                && self.events.is_multiple_of(*every)
            {
                trail.push(self.scheduler.fingerprint());
            }
            self.progress.events.store(self.events, Ordering::Relaxed);
            self.progress.now.store(self.now().as_nanos(), Ordering::Relaxed);
            if let Some(error) = self.scheduler.error() {
                return Err(error);
            }
            if let Some(end) = end {
                return Ok(end);
            }
            if budget == 0 {
                return Ok(Stop::EventBudget);
            }
            if self.progress.is_cancelled() {
                return Ok(Stop::Cancelled);
            }
            if let (Some(started), Some(wall)) = (started, limits.wall)
                && started.elapsed() >= wall
            {
                return Ok(Stop::WallBudget);
            }
        }
    }

    #[inline]
    fn run_batch(&mut self, batch: u64, until: SimTime) -> (u64, Option<Stop>) {
        for handled in 0..batch {
            let Some((_, event)) = self.scheduler.next(until) else {
                let stop = if self.scheduler.pending() == 0 { Stop::Exhausted } else { Stop::Until };
                return (handled, Some(stop));
            };
            self.world.handle(event, &mut self.scheduler);
            if self.world.done() {
                return (handled + 1, Some(Stop::Done));
            }
        }
        (batch, None)
    }
}
