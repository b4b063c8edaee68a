//! sim-models
pub mod units;
