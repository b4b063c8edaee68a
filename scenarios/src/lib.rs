//! scenarios

pub mod language;
pub mod scenario;
