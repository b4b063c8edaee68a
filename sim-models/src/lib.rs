//! sim-models

pub mod hardware;
