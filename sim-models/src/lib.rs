//! sim-models
pub mod traffic;
pub mod units;
