//! What a model server measured.

use sim_core::stats::Histogram;
use sim_core::time::SimDuration;

use crate::measure::Measure;
use crate::pool::EngineFigures;

/// Calls that a model server refused, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Refused {
    /// As many waited already as there may.
    pub(super) queue_full: u64,
    /// It waited longer than its queue's timeout.
    pub(super) timed_out: u64,
    /// It has more items than a batch may have.
    pub(super) exceeds_batch: u64,
}

/// What a model server measured in the measured part of the run, besides what every component's meter
/// shows: there `queue`, `wait` (the queue delay) and the utilization of its instances. An execution is
/// counted when it ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelServerReport {
    /// Instances, whether up or not.
    pub(super) instances: u32,
    /// GPUs of its own.
    pub(super) gpus: u32,
    /// Items in an execution.
    pub(super) batch_size: Histogram,
    /// Requests in an execution.
    pub(super) batch_requests: Histogram,
    /// How long an execution took, in nanoseconds.
    pub(super) execution_time: Histogram,
    /// Calls refused.
    pub(super) refused: Refused,
    /// How far its times can be trusted, in words; none where the scenario gives them.
    pub(super) calibration: Option<String>,
}

impl ModelServerReport {
    pub(super) fn new(instances: u32, gpus: u32, calibration: Option<String>) -> Self {
        Self {
            instances,
            gpus,
            batch_size: Histogram::new(),
            batch_requests: Histogram::new(),
            execution_time: Histogram::new(),
            refused: Refused::default(),
            calibration,
        }
    }

    /// Forgets what was counted.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.instances, self.gpus, self.calibration.take());
    }

    pub(super) fn executed(&mut self, items: u64, requests: u64, took: SimDuration) {
        self.batch_size.record(items);
        self.batch_requests.record(requests);
        self.execution_time.record(took.as_nanos());
    }
    /// In results; of all replicas that there may be such a share was held.
    pub(super) fn measures(&self, held: f64) -> Vec<Measure> {
        let seconds = |nanos: f64| nanos / 1e9;
        let quantile = |q| self.execution_time.quantile(q).map(|nanos| seconds(nanos as f64));
        let Refused { queue_full, timed_out, exceeds_batch } = self.refused;
        vec![
            Measure::new(
                "instances",
                held * f64::from(self.instances),
                "Instances held on average, whether up or not",
            ),
            Measure::new("gpus", held * f64::from(self.gpus), "GPUs of its own, held on average"),
            Measure::count("executions", self.batch_size.count(), "Executions, of one batch each"),
            Measure::known("batch_size_mean", self.batch_size.mean(), "Items in an execution: mean"),
            Measure::known("batch_size_max", self.batch_size.max().map(|size| size as f64), "The most items"),
            Measure::known("batch_requests_mean", self.batch_requests.mean(), "Calls in an execution: mean"),
            Measure::known(
                "execution_time_mean_s",
                self.execution_time.mean().map(seconds),
                "Length of an execution: mean",
            ),
            Measure::known("execution_time_p50_s", quantile(0.5), "Median of it"),
            Measure::known("execution_time_p99_s", quantile(0.99), "99th percentile of it"),
            Measure::count("refused_queue_full", queue_full, "Calls refused: as many waited as there may"),
            Measure::count(
                "refused_timed_out",
                timed_out,
                "Calls refused: they waited longer than the queue allows",
            ),
            Measure::count(
                "refused_exceeds_batch",
                exceeds_batch,
                "Calls refused: more items than a batch may have",
            ),
        ]
    }
}

/// What one replica executed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Executions {
    count: u64,
    items: u64,
    nanos: u128,
}

impl Executions {
    pub(super) fn add(&mut self, items: u64, took: SimDuration) {
        self.count += 1;
        self.items += items;
        self.nanos += u128::from(took.as_nanos());
    }

    /// In results, of instances that were busy for such a share of the time.
    pub(super) fn figures(&self, busy: f64) -> EngineFigures {
        let mean = |sum: f64| (self.count > 0).then(|| sum / self.count as f64);
        EngineFigures {
            busy,
            steps: self.count,
            step_time_mean: mean(self.nanos as f64),
            batch_mean: mean(self.items as f64),
            kv: None,
        }
    }
}
