//! The event core.
pub mod check;
pub mod distribution;
pub mod engine;
pub mod event;
pub mod fingerprint;
pub mod queue;
pub mod random;
pub mod scheduler;
pub mod stats;
pub mod time;
