//! The event core.
pub mod random;
pub mod stats;
pub mod time;
