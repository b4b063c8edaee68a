//! Which replica gets a call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::replica::Replica;

/// How calls are spread over the replicas that are up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Each with the same probability; the draw belongs to the call.
    Random,
    /// The one with the fewest calls in it, running or waiting, of all; one after the other among equals.
    LeastRequest,
}

#[derive(Debug)]
pub(super) struct Balance {
    balancer: Balancer,
    /// Whose turn it is.
    next: usize,
}

impl Balance {
    pub(super) fn new(balancer: Balancer) -> Self {
        Self { balancer, next: 0 }
    }

    /// Whether it needs random numbers.
    pub(super) fn draws(&self) -> bool {
        self.balancer == Balancer::Random
    }

    /// A replica that is up; none if all are down. `draw` is below the number of those that are up.
    pub(super) fn pick(&mut self, replicas: &[Replica], draw: usize) -> Option<usize> {
        let count = replicas.len();
        let next = self.next;
        let mut in_turn = (0..count).map(|step| (next + step) % count).filter(|index| replicas[*index].up);
        let picked = match self.balancer {
            Balancer::RoundRobin => in_turn.next(),
            // The first of those with the fewest.
            Balancer::LeastRequest => in_turn.min_by_key(|index| replicas[*index].calls()),
            Balancer::Random => (0..count).filter(|index| replicas[*index].up).nth(draw),
        }?;
        self.next = (picked + 1) % count;
        Some(picked)
    }
}
