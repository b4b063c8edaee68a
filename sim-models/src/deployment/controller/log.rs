//! What happened in the rollouts of a pool, in order.

use std::fmt;

use sim_core::time::SimTime;

/// Something that happened in a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutEntry {
    /// When.
    pub at: SimTime,
    /// Of which version.
    pub version: String,
    /// What.
    pub event: RolloutEvent,
}

/// What happens in a rollout.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutEvent {
    /// It begins.
    Began,
    /// The version is to take this percentage of the traffic.
    SetWeight(u32),
    /// All replicas are of the version.
    Completed,
    /// It made no progress for too long.
    DeadlineExceeded,
    /// It is taken back, for this reason.
    Aborted(String),
    /// All replicas are of the version before again.
    RolledBack,
}

impl fmt::Display for RolloutEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began => f.write_str("rollout begins"),
            Self::SetWeight(weight) => write!(f, "weight is {weight}%"),
            Self::Completed => f.write_str("all replicas are of it"),
            Self::DeadlineExceeded => f.write_str("no progress until the deadline"),
            Self::Aborted(reason) => write!(f, "aborted: {reason}"),
            Self::RolledBack => f.write_str("rolled back"),
        }
    }
}
