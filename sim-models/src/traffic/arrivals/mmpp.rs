//! Markov-modulated Poisson arrivals.

use sim_core::random::{Stream, unit};
use sim_core::time::SimTime;

use super::config::{MmppState, mmpp_mean_rate};
use super::{ArrivalProcess, after, exponential};

/// A Poisson process whose rate goes around a list of states, each held for an exponential time.
#[derive(Debug)]
pub(super) struct Mmpp {
    /// Rate per second and mean time in seconds.
    states: Vec<(f64, f64)>,
    silent: bool,
    /// The present state and when it ends; drawn at the first call.
    present: Option<(usize, SimTime)>,
}

impl Mmpp {
    /// `states` as checked by the configuration.
    pub(super) fn new(states: &[MmppState]) -> Self {
        let silent = mmpp_mean_rate(states) == 0.0;
        let states = states.iter().map(|state| (state.rate.per_second(), state.mean.as_secs_f64())).collect();
        Self { states, silent, present: None }
    }

    /// A state by its share of time: the process is stationary from the start.
    fn draw_state(&self, rng: &mut Stream) -> usize {
        let total: f64 = self.states.iter().map(|(_, mean)| mean).sum();
        let mut left = unit(rng) * total;
        let found = self.states.iter().position(|(_, mean)| {
            left -= mean;
            left < 0.0
        });
        found.unwrap_or(self.states.len() - 1)
    }

    fn stay(&self, state: usize, from: SimTime, rng: &mut Stream) -> SimTime {
        after(from, exponential(rng) * self.states[state].1).unwrap_or(SimTime::MAX)
    }
}

impl ArrivalProcess for Mmpp {
    fn next(&mut self, mut now: SimTime, rng: &mut Stream) -> Option<SimTime> {
        if self.silent {
            return None;
        }
        let (mut state, mut end) = match self.present {
            Some(present) => present,
            None => {
                let state = self.draw_state(rng);
                (state, self.stay(state, now, rng))
            }
        };
        let arrival = loop {
            // Both laws are memoryless: what is left at a jump is drawn anew.
            match after(now, exponential(rng) / self.states[state].0) {
                Some(at) if at < end => break Some(at),
                _ if end == SimTime::MAX => break None,
                _ => {
                    now = end;
                    state = (state + 1) % self.states.len();
                    end = self.stay(state, now, rng);
                }
            }
        };
        self.present = Some((state, end));
        arrival
    }
}
