//! Checks of reproducibility: equal runs twice, and the first event at which two runs part.
//!
//! ```
//! use sim_core::check::{first_divergence, run_twice};
//! use sim_core::engine::{Limits, Simulation, World};
//! use sim_core::event::{Event, Phase};
//! use sim_core::scheduler::Scheduler;
//! use sim_core::time::{SimDuration, SimTime};
//!
//! /// Halves its waits until they are nothing.
//! struct Halving;
//!
//! #[derive(Clone, Copy)]
//! struct Wait(u64);
//!
//! impl Event for Wait {
//!     fn identity(&self) -> u64 {
//!         1 << 32
//!     }
//! }
//!
//! impl World for Halving {
//!     type Event = Wait;
//!
//!     fn handle(&mut self, Wait(nanos): Wait, scheduler: &mut Scheduler<Wait>) {
//!         if nanos > 0 {
//!             scheduler.schedule(SimDuration::from_nanos(nanos), Phase::Timer, Wait(nanos / 2));
//!         }
//!     }
//! }
//!
//! let from = |nanos| {
//!     let mut simulation = Simulation::new(Halving);
//!     simulation.parts().1.schedule(SimDuration::ZERO, Phase::Timer, Wait(nanos));
//!     simulation
//! };
//! let limits = Limits::default();
//! assert!(run_twice(|| from(100), &limits)?.is_ok());
//!
//! // The first event is the same; the second comes 16 ns or 17 ns later.
//! let parting = first_divergence(|| from(16), || from(17), &limits)?.expect("they differ");
//! assert_eq!(parting.index, 1);
//! assert_eq!(parting.first.map(|record| record.at), Some(SimTime::from_nanos(16)));
//! assert_eq!(parting.second.map(|record| record.at), Some(SimTime::from_nanos(17)));
//! # Ok::<(), sim_core::scheduler::SimError>(())
//! ```

use crate::engine::{EventRecord, Limits, Simulation, World};
use crate::fingerprint::Fingerprint;
use crate::queue::EventQueue;
use crate::scheduler::SimError;
use crate::time::SimTime;

/// The first event at which two runs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Divergence {
    /// Number of equal events before it.
    pub index: u64,
    /// The event of the first run; `None` when it had ended.
    pub first: Option<EventRecord>,
    /// The event of the second run; `None` when it had ended.
    pub second: Option<EventRecord>,
}

/// Runs what `build` makes twice and gives the fingerprint, or where the two runs part. Limits are
/// those of [`first_divergence`].
///
/// # Errors
/// The error of the run itself.
pub fn run_twice<W: World<Q>, Q: EventQueue>(
    build: impl Fn() -> Simulation<W, Q>,
    limits: &Limits,
) -> Result<Result<Fingerprint, Divergence>, SimError> {
    let (mut one, mut two) = (build(), build());
    Ok(match run_together(&mut one, &mut two, limits)? {
        Some(divergence) => Err(divergence),
        None => Ok(one.fingerprint()),
    })
}

/// Finds the first event at which two runs differ, or `None` when they are equal, by running both in
/// turn, event by event: so it finds it too where a model is not even equal to itself.
///
/// Of the limits, `until` and `max_events` count; the host time and the cancel flag would strike each
/// run elsewhere and are not looked at.
///
/// # Errors
/// The error of either run.
pub fn first_divergence<W1: World<Q1>, Q1: EventQueue, W2: World<Q2>, Q2: EventQueue>(
    first: impl Fn() -> Simulation<W1, Q1>,
    second: impl Fn() -> Simulation<W2, Q2>,
    limits: &Limits,
) -> Result<Option<Divergence>, SimError> {
    run_together(&mut first(), &mut second(), limits)
}

fn run_together<W1: World<Q1>, Q1: EventQueue, W2: World<Q2>, Q2: EventQueue>(
    one: &mut Simulation<W1, Q1>,
    two: &mut Simulation<W2, Q2>,
    limits: &Limits,
) -> Result<Option<Divergence>, SimError> {
    let until = limits.until.unwrap_or(SimTime::MAX);
    let mut done = (false, false);
    for index in 0..limits.max_events.unwrap_or(u64::MAX) {
        let first = if done.0 { None } else { one.step_until(until) };
        let second = if done.1 { None } else { two.step_until(until) };
        if let Some(error) = one.error().or(two.error()) {
            return Err(error);
        }
        if first != second {
            return Ok(Some(Divergence { index, first, second }));
        }
        if first.is_none() {
            break;
        }
        done = (one.world().done(), two.world().done());
    }
    Ok(None)
}
