//! Where requests come from: arrival processes and recorded traces.

pub mod arrivals;
pub mod trace;
