//! Large language models: how an inference engine batches, remembers and forgets.

pub mod engine;

/// What an LLM pool measured.
#[derive(Debug, Clone)]
pub struct LlmReport {}
