//! Large language models: a pool of inference engines, how each of them batches, remembers and forgets,
//! and how long that takes on its GPUs.
//!
//! - [`engine`]: one replica, step by step, without a clock.
//! - [`LlmConfig`]: the `llm` component of a scenario, a pool of such replicas.
//! - [`LlmReport`]: what a pool measured.
//! - [`replay`]: one engine answers recorded requests.

mod adapters;
mod config;
mod disaggregated;
pub mod engine;
mod pool;
pub mod replay;
mod report;
mod sharing;
mod speculative;
mod stages;
mod timing;

pub use adapters::{AdapterBy, LoraConfig};
pub use config::{BatchingMode, KvAllocationMode, LlmConfig};
pub use disaggregated::{DisaggregatedConfig, KvOffloadConfig, KvTransferConfig, PrefillConfig};
pub use report::{LlmReport, Rejected};
pub(crate) use sharing::BlastGroup;
pub use speculative::{AcceptanceMode, DraftConfig, Method, SpeculativeConfig};
pub use timing::{FrontEnd, TimingConfig, TimingSource, is_profile_file};
