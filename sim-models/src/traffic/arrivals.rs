//! Arrival processes: when requests are born.
//!
//! A scenario names the process and its parameters: `{ process = "poisson", rate = "12/s" }`. The
//! open ones (all but `closed_loop` and `trace`) become an [`ArrivalProcess`]; a traffic source runs
//! the other two itself, for they need replies or a file.
//!
//! [`ArrivalsConfig::scaled`] multiplies the load by k and leaves its shape alone: every rate by k,
//! every time as it is. An inhomogeneous process with piecewise linear rate inverts its cumulative
//! rate at a unit-rate Poisson process, one draw an arrival, so that at another multiple the very same
//! draws are squeezed or stretched along the same profile.

mod config;
mod diurnal;
mod mmpp;
mod profile;
mod renewal;

use std::fmt;

use sim_core::random::{Stream, unit};
use sim_core::time::{SimDuration, SimTime};
use thiserror::Error;

pub use config::{ArrivalsConfig, MmppState, RateStep};

/// An open arrival process: it does not wait for replies.
pub trait ArrivalProcess: fmt::Debug + Send {
    /// The next arrival after `now`, which is the last arrival, or the start of the traffic before the
    /// first. `None` when there is none before the end of time.
    fn next(&mut self, now: SimTime, rng: &mut Stream) -> Option<SimTime>;
}

/// Arrivals that cannot be simulated.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("arrivals: `{parameter}` is {value}: expected {expected}")]
pub struct ArrivalsError {
    /// The parameter's name.
    pub parameter: &'static str,
    /// Its value.
    pub value: String,
    /// What is accepted.
    pub expected: &'static str,
}

impl ArrivalsError {
    fn new(parameter: &'static str, value: impl ToString, expected: &'static str) -> Self {
        Self { parameter, value: value.to_string(), expected }
    }
}

/// An exponential number with mean 1, by inversion.
fn exponential(rng: &mut Stream) -> f64 {
    -libm::log(unit(rng))
}

/// `now` plus `seconds` rounded to the nearest nanosecond, or `None` past the end of time.
fn after(now: SimTime, seconds: f64) -> Option<SimTime> {
    now.checked_add(SimDuration::from_secs_f64(seconds).ok()?).ok()
}

#[cfg(test)]
mod tests;
