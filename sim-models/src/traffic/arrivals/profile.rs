//! Poisson arrivals with a piecewise linear rate, by inversion of the cumulative rate.
//!
//! The arrivals are the points where the cumulative rate passes the points of a unit-rate Poisson
//! process (Cinlar, "Introduction to Stochastic Processes", 1975, section 4.7). Exact, and one draw an
//! arrival.

use sim_core::random::Stream;
use sim_core::time::{SimDuration, SimTime};

use super::{ArrivalProcess, after, exponential};

/// From `start` after the start of the traffic until the next piece: `rate + slope * t`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    pub(super) start: SimDuration,
    /// Per second, at `start`.
    pub(super) rate: f64,
    /// Per second squared.
    pub(super) slope: f64,
}

/// A piecewise linear rate: 0 before the first piece, the last piece (with slope 0) goes on forever.
#[derive(Debug)]
pub(super) struct Profile {
    pieces: Vec<Piece>,
}

impl Profile {
    /// `pieces` in order of time.
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        Self { pieces }
    }

    /// Rate per second at `at`.
    pub(super) fn rate_at(&self, at: SimDuration) -> f64 {
        let after = self.pieces.partition_point(|piece| piece.start <= at);
        match after.checked_sub(1) {
            Some(index) => rate_in(&self.pieces[index], at),
            None => 0.0,
        }
    }
}

fn rate_in(piece: &Piece, at: SimDuration) -> f64 {
    (piece.rate + piece.slope * at.saturating_sub(piece.start).as_secs_f64()).max(0.0)
}

/// The process.
#[derive(Debug)]
pub(super) struct ProfilePoisson {
    profile: Profile,
    /// The piece of the last arrival: a hint, for time only goes forward.
    piece: usize,
    start: Option<SimTime>,
}

impl ProfilePoisson {
    /// Arrivals at the rate of `profile`.
    pub(super) fn new(profile: Profile) -> Self {
        Self { profile, piece: 0, start: None }
    }
}

impl ArrivalProcess for ProfilePoisson {
    fn next(&mut self, now: SimTime, rng: &mut Stream) -> Option<SimTime> {
        let start = *self.start.get_or_insert(now);
        let mut left = exponential(rng);
        let mut at = now.since(start);
        let pieces = &self.profile.pieces;
        loop {
            let piece = pieces.get(self.piece)?;
            at = at.max(piece.start);
            let rate = rate_in(piece, at);
            let end = pieces.get(self.piece + 1).map(|next| next.start);
            if let Some(end) = end {
                let length = end.saturating_sub(at).as_secs_f64();
                // The mean of the rates at both ends; `max` for the last bit of a ramp down to 0.
                let mass = length * (rate + (0.5 * piece.slope * length)).max(0.0);
                if left > mass {
                    left -= mass;
                    at = at.max(end);
                    self.piece += 1;
                    continue;
                }
            }
            // The root of rate x + slope x^2 / 2 = left, in the form that does not cancel.
            let root = (rate * rate + 2.0 * piece.slope * left).max(0.0).sqrt();
            let x = 2.0 * left / (rate + root);
            return after(start.checked_add(at).ok()?, x);
        }
    }
}
