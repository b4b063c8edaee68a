//! The event core.
pub mod random;
pub mod time;
