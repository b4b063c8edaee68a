//! Processes with independent gaps of one law.

use std::num::NonZeroU32;

use sim_core::distribution::{Distribution, Gamma};
use sim_core::random::Stream;
use sim_core::time::SimTime;

use super::{ArrivalProcess, ArrivalsError, after, exponential};

/// Poisson arrivals at a constant rate.
#[derive(Debug)]
pub(super) struct Poisson {
    rate: f64,
    /// Gaps of mean 1, drawn some at a time: logarithms that do not wait for one another are quicker.
    gaps: [f64; 8],
    /// How many of them are used up.
    used: usize,
}

impl Poisson {
    /// `rate` per second; 0 for no arrivals.
    pub(super) fn new(rate: f64) -> Self {
        let gaps = [0.0; 8];
        Self { rate, gaps, used: gaps.len() }
    }
}

impl ArrivalProcess for Poisson {
    fn next(&mut self, now: SimTime, rng: &mut Stream) -> Option<SimTime> {
        if self.used == self.gaps.len() {
            self.used = 0;
            self.gaps = std::array::from_fn(|_| exponential(rng));
        }
        let gap = self.gaps[self.used];
        self.used += 1;
        // A rate of 0 gives an infinite gap, which is past the end of time.
        after(now, gap / self.rate)
    }
}

/// Equal gaps.
#[derive(Debug)]
pub(super) struct Deterministic {
    rate: f64,
    count: u64,
    start: Option<SimTime>,
}

impl Deterministic {
    /// `rate` per second; 0 for no arrivals.
    pub(super) fn new(rate: f64) -> Self {
        Self { rate, count: 0, start: None }
    }
}

impl ArrivalProcess for Deterministic {
    fn next(&mut self, now: SimTime, _: &mut Stream) -> Option<SimTime> {
        let start = *self.start.get_or_insert(now);
        self.count += 1;
        // Counted from the start, so that roundings of gaps do not add up.
        after(start, self.count as f64 / self.rate)
    }
}

/// Gamma-distributed gaps.
#[derive(Debug)]
pub(super) struct GammaGaps {
    rate: f64,
    /// Of mean 1.
    gap: Gamma,
}

impl GammaGaps {
    /// `rate` per second (0 for no arrivals), `cv` of the gaps.
    pub(super) fn new(rate: f64, cv: f64) -> Result<Self, ArrivalsError> {
        let gap = Gamma::from_mean_cv(1.0, cv);
        let gap = gap.map_err(|_| ArrivalsError::new("cv", cv, super::config::CV))?;
        Ok(Self { rate, gap })
    }
}

impl ArrivalProcess for GammaGaps {
    fn next(&mut self, now: SimTime, rng: &mut Stream) -> Option<SimTime> {
        let gap: f64 = self.gap.sample(rng);
        // Short gaps of a large cv underflow to 0: without this a rate of 0 would give 0 / 0.
        if self.rate == 0.0 { None } else { after(now, gap / self.rate) }
    }
}

/// Batches of equal size, with exponential gaps between them.
#[derive(Debug)]
pub(super) struct Batches {
    batches: Poisson,
    size: u32,
    /// How many of the batch that came last are still to come.
    left: u32,
}

impl Batches {
    /// `rate` requests per second; 0 for no arrivals.
    pub(super) fn new(rate: f64, size: NonZeroU32) -> Self {
        Self { batches: Poisson::new(rate / f64::from(size.get())), size: size.get(), left: 0 }
    }
}

impl ArrivalProcess for Batches {
    fn next(&mut self, now: SimTime, rng: &mut Stream) -> Option<SimTime> {
        if self.left > 0 {
            self.left -= 1;
            return Some(now);
        }
        self.left = self.size - 1;
        self.batches.next(now, rng)
    }
}
