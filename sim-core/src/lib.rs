//! The event core.
pub mod distribution;
pub mod random;
pub mod time;
