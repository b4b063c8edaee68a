//! What a pool measured.

use crate::deployment::RolloutEntry;

/// What computes in a replica: the engine of an `llm`, the instances of a model server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EngineFigures {
    /// Share of the time in a step of the engine, or in which an instance executed a batch, on average.
    pub busy: f64,
    /// Steps, or executions of a batch. Work is counted when it ends.
    pub steps: u64,
    /// Mean length of one, in nanoseconds; none without any.
    pub step_time_mean: Option<f64>,
    /// Sequences in a step, averaged over the time in steps, or items in an execution; none without any.
    pub batch_mean: Option<f64>,
    /// Its KV cache, of an `llm`.
    pub kv: Option<KvFigures>,
}

/// The KV cache of a replica.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KvFigures {
    /// Share of its blocks in use, averaged over time.
    pub use_mean: f64,
    /// The largest share that was ever in use.
    pub use_max: f64,
    /// Preemptions.
    pub preemptions: u64,
    /// Tokens that admitted sequences found in the prefix cache.
    pub prefix_hit_tokens: u64,
    /// Tokens that they looked for.
    pub prefix_query_tokens: u64,
}

/// One replica of a pool in the measured part of the run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReplicaReport {
    /// Calls that it took: sent to it, and neither refused nor rejected by it.
    pub calls: u64,
    /// Calls that it answered, in full or degraded.
    pub answered: u64,
    /// Calls that it refused because it had crashed.
    pub refused: u64,
    /// Mean number of calls waiting in it.
    pub queue_mean: f64,
    /// Mean number of calls in service: of a model server, of instances that execute a batch.
    pub busy_mean: f64,
    /// As many as there can be of them.
    pub capacity: u64,
    /// Share of the time that the front picked it by rule, if at all: it was known to be well and not
    /// drained.
    pub available: f64,
    /// Ejections by outlier detection.
    pub ejections: u64,
    /// What computes in it, where that is more than servers.
    pub engine: Option<EngineFigures>,
}

/// A pool in the measured part of the run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoolReport {
    /// Its replicas.
    pub replicas: Vec<ReplicaReport>,
    /// How many of them were held, on average: with an autoscaler those that start or leave are among them.
    pub held: f64,
    /// Calls rejected because no replica could be picked.
    pub no_replica: u64,
    /// Ejections by outlier detection.
    pub ejections: u64,
    /// Share of the time in a panic.
    pub panic: f64,
    /// What happened in its rollouts, over the whole run.
    pub rollouts: Vec<RolloutEntry>,
    /// How far the times of its GPUs can be trusted, in words; none without any.
    pub calibration: Option<String>,
}
