//! scenarios

pub mod results;
pub mod run;
pub mod scenario;
