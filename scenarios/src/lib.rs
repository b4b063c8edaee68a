//! scenarios

pub mod scenario;
