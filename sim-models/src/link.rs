//! Links: the client-side policies between two components.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Dist;
use sim_core::random::KeyedStream;
use sim_core::scheduler::TimerLane;
use sim_core::time::SimDuration;

use crate::units::{Time, TimeDist};

/// Numbers the links of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(crate) u32);

/// The policies of calls from one component (or traffic source) to another. Links that a scenario
/// does not list take no time and wait forever.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// Network time one way, drawn anew for the call and for its reply. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<TimeDist>,
    /// How long the caller waits for the reply. Default: forever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// Whether a caller that stops waiting tells the callee, which then stops working. Default: false,
    /// as without context propagation: the callee goes on, and its work is wasted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel_on_timeout: bool,
}

/// A link as the simulation uses it.
#[derive(Debug)]
pub(crate) struct Link {
    pub latency: Option<Dist>,
    pub network: KeyedStream,
    pub timeout: Option<(SimDuration, TimerLane)>,
    pub cancel_on_timeout: bool,
}
