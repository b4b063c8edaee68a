//! Large language models: a pool of inference engines, how each of them batches, remembers and forgets,
//! and how long that takes on its GPUs.
//!
//! - [`engine`]: one replica, step by step, without a clock.
//! - [`LlmConfig`]: the `llm` component of a scenario, a pool of such replicas.
//! - [`LlmReport`]: what a pool measured.

mod config;
pub mod engine;
mod pool;
mod report;

pub use config::{LlmConfig, TimingConfig};
pub use report::{LlmReplica, LlmReport, Rejected};
