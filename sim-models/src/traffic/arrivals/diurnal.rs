//! Poisson arrivals whose rate follows a sine, by thinning.
//!
//! Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", Naval Research
//! Logistics Quarterly 26(3), 1979: candidates at the peak rate, each kept with probability rate(t) / peak.

use sim_core::random::{Stream, unit};
use sim_core::time::{SimDuration, SimTime};

use super::{ArrivalProcess, after, exponential};

/// `1 + amplitude * sin(2 pi (t + phase) / period)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sine {
    amplitude: f64,
    period: u64,
    phase: u64,
}

impl Sine {
    /// `period` above 0.
    pub(super) fn new(amplitude: f64, period: SimDuration, phase: SimDuration) -> Self {
        let period = period.as_nanos();
        Self { amplitude, period, phase: phase.as_nanos() % period }
    }

    /// The value at `at` after the start. Reduced to one period in integers: as exact late as early.
    pub(super) fn at(&self, at: SimDuration) -> f64 {
        // Both terms are below 2^64, their sum perhaps not.
        let place =
            (u128::from(at.as_nanos() % self.period) + u128::from(self.phase)) % u128::from(self.period);
        let turn = place as f64 / self.period as f64;
        1.0 + self.amplitude * libm::sin(std::f64::consts::TAU * turn)
    }
}

/// The process.
#[derive(Debug)]
pub(super) struct Diurnal {
    peak_rate: f64,
    peak: f64,
    shape: Sine,
    start: Option<SimTime>,
}

impl Diurnal {
    /// `peak_rate` per second where `shape` is at its `peak`.
    pub(super) fn new(peak_rate: f64, peak: f64, shape: Sine) -> Self {
        Self { peak_rate, peak, shape, start: None }
    }
}

impl ArrivalProcess for Diurnal {
    fn next(&mut self, mut now: SimTime, rng: &mut Stream) -> Option<SimTime> {
        let start = *self.start.get_or_insert(now);
        loop {
            now = after(now, exponential(rng) / self.peak_rate)?;
            if unit(rng) * self.peak < self.shape.at(now.since(start)) {
                return Some(now);
            }
        }
    }
}
