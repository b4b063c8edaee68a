//! scenarios

pub mod language;
pub mod results;
pub mod run;
pub mod scenario;
