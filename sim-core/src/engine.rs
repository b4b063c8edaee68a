//! The loop: takes the next event, hands it to the world, until something says stop.
//!
//! ```
//! use sim_core::engine::{Limits, Simulation, Stop, World};
//! use sim_core::event::{Event, Phase};
//! use sim_core::scheduler::Scheduler;
//! use sim_core::time::{SimDuration, SimTime};
//!
//! /// Counts how often a clock ticks.
//! struct Ticks(u64);
//!
//! #[derive(Clone, Copy)]
//! struct Tick;
//!
//! impl Event for Tick {
//!     fn identity(&self) -> u64 {
//!         1 << 32
//!     }
//! }
//!
//! impl World for Ticks {
//!     type Event = Tick;
//!
//!     fn handle(&mut self, tick: Tick, scheduler: &mut Scheduler<Tick>) {
//!         self.0 += 1;
//!         scheduler.schedule(SimDuration::from_secs(1), Phase::Timer, tick);
//!     }
//!
//!     fn done(&self) -> bool {
//!         self.0 == 5
//!     }
//! }
//!
//! let mut simulation = Simulation::new(Ticks(0));
//! simulation.parts().1.schedule(SimDuration::ZERO, Phase::Timer, Tick);
//! let end = SimTime::from_nanos(2_500_000_000);
//! assert_eq!(simulation.run(&Limits { until: Some(end), ..Limits::default() })?, Stop::Until);
//! // The ticks at 0 s, 1 s and 2 s; the clock stands where the limit was.
//! assert_eq!((simulation.world().0, simulation.now()), (3, end));
//! assert_eq!(simulation.run(&Limits::default())?, Stop::Done);
//! assert_eq!(simulation.world().0, 5);
//! # Ok::<(), sim_core::scheduler::SimError>(())
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event::{Event, Phase};
use crate::fingerprint::Fingerprint;
use crate::queue::{EventQueue, QuadHeap};
use crate::scheduler::{MAX_AT_ONE_TIME, Scheduler, SimError};
use crate::time::SimTime;

/// How many events pass between two looks at the cancel flag, the wall clock and the progress.
const CHECK_EVERY: u64 = 8_192;

/// A model: it handles events and schedules more. All its state is in here; what it draws at random
/// comes from [named streams](crate::random) that it owns.
pub trait World<Q: EventQueue = QuadHeap> {
    /// What happens in this world.
    type Event: Event;

    /// Handles one event at `scheduler.now()`.
    fn handle(&mut self, event: Self::Event, scheduler: &mut Scheduler<Self::Event, Q>);

    /// Whether the run is over; asked after every event, never before the first of a call to
    /// [`Simulation::run`].
    #[inline]
    fn done(&self) -> bool {
        false
    }
}

/// What another thread may see of a run, and the flag by which it can stop it. The run looks and
/// reports once every 8,192 events and at its end.
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

    /// Asks the run to stop soon, with [`Stop::Cancelled`]. There is no way back: later runs that share
    /// this progress stop too.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether a stop has been asked for.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// When to stop: at the first limit that is met. The default is: when no event is left.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Handle no event later than this. When later ones are pending, the clock is moved to here and
    /// the run stops with [`Stop::Until`]; otherwise it stands at the last event.
    pub until: Option<SimTime>,
    /// Handle at most this many events in this call.
    pub max_events: Option<u64>,
    /// Stop after about this much host time, looked at once every 8,192 events. Where it strikes
    /// depends on the machine.
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
    /// model whose results change by more than noise leans on tie order. For checks: it is slower.
    ///
    /// # Panics
    /// When something has been scheduled already.
    pub fn shuffle_ties(mut self, seed: u64) -> Self {
        self.scheduler.shuffle_ties(seed);
        self
    }

    /// Keeps the fingerprint after every `every` events: two trails, of other builds or machines, say
    /// between which of their entries the runs part. Within one process,
    /// [`crate::check::first_divergence`] finds the event.
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

    /// Shares a progress made elsewhere, so that one flag cancels many runs. Its time and number of
    /// events are those of whichever run reported last.
    pub fn with_progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The model.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// The model and the scheduler, to set the scene, or to change it between two calls of
    /// [`Simulation::run`].
    pub fn parts(&mut self) -> (&mut W, &mut Scheduler<W::Event, Q>) {
        (&mut self.world, &mut self.scheduler)
    }

    /// The model, when the run is over.
    pub fn into_world(self) -> W {
        self.world
    }

    /// The present: the time of the last event, or the [`Limits::until`] that a run has reached.
    pub fn now(&self) -> SimTime {
        self.scheduler.now()
    }

    /// Events handled so far, by all calls together.
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

    /// Handles one event and says which; `None` when there is none. Asks neither [`World::done`] nor
    /// the cancel flag, and leaves an overflow for the next [`Simulation::run`] to report.
    pub fn step(&mut self) -> Option<EventRecord> {
        self.step_until(SimTime::MAX)
    }

    /// [`Simulation::step`], if the event is no later than `until`.
    pub(crate) fn step_until(&mut self, until: SimTime) -> Option<EventRecord> {
        let (key, event) = self.scheduler.next(until)?;
        self.world.handle(event, &mut self.scheduler);
        self.report(1);
        Some(EventRecord { at: key.time(), phase: key.phase(), identity: event.identity() })
    }

    /// What a model's event has overflowed.
    pub(crate) fn error(&self) -> Option<SimError> {
        self.scheduler.error()
    }

    /// Runs until a limit is met. A run can be continued with new limits, and is the same as one that
    /// was not interrupted.
    ///
    /// # Errors
    /// [`SimError`] when time or the number of events overflows: within 8,192 events of the call that
    /// asked for too much, whose event is lost. Such a run cannot be continued.
    #[expect(clippy::disallowed_methods, reason = "the wall budget; what is simulated never sees it")]
    pub fn run(&mut self, limits: &Limits) -> Result<Stop, SimError> {
        let started = limits.wall.map(|_| Instant::now());
        let until = limits.until.unwrap_or(SimTime::MAX);
        let mut budget = limits.max_events.unwrap_or(u64::MAX);
        if let Some(error) = self.error() {
            return Err(error);
        }
        if until < self.now() {
            return Ok(self.ran_dry());
        }
        let mut standing = (self.now(), 0);
        loop {
            let mut batch = budget.min(CHECK_EVERY);
            if let Some((every, _)) = &self.trail {
                batch = batch.min(every - self.events % every);
            }
            let (handled, end) = self.run_batch(batch, until);
            if end == Some(Stop::Until) {
                self.scheduler.advance_clock(until);
            }
            budget -= handled;
            self.report(handled);
            standing =
                if standing.0 == self.now() { (standing.0, standing.1 + handled) } else { (self.now(), 0) };
            if standing.1 > MAX_AT_ONE_TIME {
                return Err(SimError::Standstill(self.now()));
            }
            if let Some(error) = self.error() {
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

    /// Books events that were handled, for the trail and for other threads. Not inlined: the loop over
    /// events keeps its registers.
    #[inline(never)]
    fn report(&mut self, handled: u64) {
        self.events += handled;
        if let Some((every, trail)) = &mut self.trail
            && handled > 0
            && self.events.is_multiple_of(*every)
        {
            trail.push(self.scheduler.fingerprint());
        }
        self.progress.events.store(self.events, Ordering::Relaxed);
        self.progress.now.store(self.now().as_nanos(), Ordering::Relaxed);
    }

    /// Why there is no event up to the limit.
    #[cold]
    fn ran_dry(&self) -> Stop {
        if self.scheduler.pending() == 0 { Stop::Exhausted } else { Stop::Until }
    }

    #[inline]
    fn run_batch(&mut self, batch: u64, until: SimTime) -> (u64, Option<Stop>) {
        for handled in 0..batch {
            let Some((_, event)) = self.scheduler.next(until) else {
                return (handled, Some(self.ran_dry()));
            };
            self.world.handle(event, &mut self.scheduler);
            if self.world.done() {
                return (handled + 1, Some(Stop::Done));
            }
        }
        (batch, None)
    }
}
