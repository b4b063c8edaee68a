//! A model server: runs a model that is no LLM (ranking, embedding, vision, fraud) in batches, as NVIDIA's
//! Triton Inference Server does.
//!
//! A call brings one or more items (candidates to rank, texts to embed). Calls wait in a queue; when
//! one of the model's instances is idle, the batcher puts together those that go next, and the instance
//! is busy until the whole batch is done, when all of it is answered.
//!
//! - [`Batching::None`]: every call on its own.
//! - [`Batching::Static`]: a batch goes when it is full, or when the first in it has waited for
//!   `batch_timeout`.
//! - [`Batching::Dynamic`]: Triton's dynamic batcher, with its real settings ([`DynamicBatchingConfig`]).
//!
//! The time of an execution is given ([`ExecutionConfig`]), or computed for a model of the catalogue as one
//! forward pass on its GPU or CPU host, *uncalibrated*: embedding models by the tokens of their text,
//! cross-encoders by candidates of so many tokens each, ranking models (DLRM) by candidates.
//!
//! On GPUs the instances of one GPU share it: a time is that of an execution alone on the whole GPU, and
//! executions that run side by side slow one another down ([`crate::device`]). Without a GPU every
//! instance has hardware of its own.
//!
//! With `replicas` it is a pool: each replica has a queue, instances and GPUs of its own (on a shared GPU a
//! process and, with MIG, a slice of its own), and a balancer in front picks one for each call
//! ([`crate::pool`]).
//!
//! Faults without `replicas`: a crash takes instances chosen at random among those up; calls in execution on
//! them fail, waiting calls go on waiting. In a pool a crash takes whole replicas, those of the lowest
//! numbers that are up, with all calls in them. `slow` stretches executions that begin from then on. A call
//! that is cancelled leaves the queue; a batch that has begun runs to its end.

mod batcher;
mod config;
mod execution;
mod replica;
mod report;
mod roofline;
mod server;
#[cfg(test)]
mod tests;

pub use config::{
    Batching, Bound, DynamicBatchingConfig, ExecutionConfig, InstanceGroupConfig, InstanceKind,
    ModelServerConfig, QueuePolicyConfig, TimeoutAction,
};
