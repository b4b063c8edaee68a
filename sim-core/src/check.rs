//! Checks of reproducibility: equal runs twice, and the first event at which two runs part.

use crate::engine::{EventRecord, Limits, Simulation, World};
use crate::fingerprint::Fingerprint;
use crate::queue::EventQueue;
use crate::scheduler::SimError;

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

/// Runs what `build` makes twice and gives the fingerprint, or where the two runs part.
///
/// # Errors
/// The error of the run itself.
pub fn run_twice<W: World<Q>, Q: EventQueue>(
    build: impl Fn() -> Simulation<W, Q>,
    limits: &Limits,
) -> Result<Result<Fingerprint, Divergence>, SimError> {
    match first_divergence(&build, &build, limits)? {
        Some(divergence) => Ok(Err(divergence)),
        None => {
            let mut simulation = build();
            simulation.run(limits)?;
            Ok(Ok(simulation.fingerprint()))
        }
    }
}

/// Finds the first event at which two runs differ, or `None` when they are equal. Each is run once
/// with a fingerprint every 4,096 events, then again up to the stretch in which they part.
///
/// # Errors
/// The error of either run.
pub fn first_divergence<W1: World<Q1>, Q1: EventQueue, W2: World<Q2>, Q2: EventQueue>(
    first: impl Fn() -> Simulation<W1, Q1>,
    second: impl Fn() -> Simulation<W2, Q2>,
    limits: &Limits,
) -> Result<Option<Divergence>, SimError> {
    const STRIDE: u64 = 4_096;
    let mut one = first().record_trail(STRIDE);
    let mut two = second().record_trail(STRIDE);
    one.run(limits)?;
    two.run(limits)?;
    if one.fingerprint() == two.fingerprint() && one.events() == two.events() {
        return Ok(None);
    }
    let equal = one.trail().iter().zip(two.trail()).take_while(|(a, b)| a == b).count() as u64;
    let end = one.events().max(two.events());
    let skip = Limits { max_events: Some(equal * STRIDE), ..limits.clone() };
    let (mut one, mut two) = (first(), second());
    one.run(&skip)?;
    two.run(&skip)?;
    for index in equal * STRIDE..end {
        let within = |record: &EventRecord| limits.until.is_none_or(|until| record.at <= until);
        let (a, b) = (one.step().filter(within), two.step().filter(within));
        if a != b {
            return Ok(Some(Divergence { index, first: a, second: b }));
        }
    }
    Ok(None)
}
