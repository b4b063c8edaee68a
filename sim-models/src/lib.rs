//! sim-models
pub mod llm;
