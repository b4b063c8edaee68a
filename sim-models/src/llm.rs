//! Large language models: how an inference engine batches, remembers and forgets.

pub mod engine;
