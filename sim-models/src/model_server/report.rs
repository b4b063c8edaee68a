//! What a model server measured.

use sim_core::stats::Histogram;
use sim_core::time::SimDuration;

/// Calls that a model server refused, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// As many waited already as there may.
    pub queue_full: u64,
    /// It waited longer than its queue's timeout.
    pub timed_out: u64,
    /// It has more items than a batch may have.
    pub exceeds_batch: u64,
}

impl Refused {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full + self.timed_out + self.exceeds_batch
    }
}

/// What a model server measured in the measured part of the run, besides what every component's meter
/// shows: there `queue`, `wait` (the queue delay) and the utilization of its instances. An execution is
/// counted when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelServerReport {
    /// Instances, whether up or not.
    pub instances: u32,
    /// GPUs of its own.
    pub gpus: u32,
    /// The shared GPU that it runs on.
    pub device: Option<String>,
    /// Executions, of one batch each.
    pub executions: u64,
    /// Items in an execution.
    pub batch_size: Histogram,
    /// Requests in an execution.
    pub batch_requests: Histogram,
    /// How long an execution took, in nanoseconds.
    pub execution_time: Histogram,
    /// Calls refused.
    pub refused: Refused,
    /// How far its times can be trusted, in words; none where the scenario gives them.
    pub calibration: Option<String>,
}

impl ModelServerReport {
    pub(super) fn new(
        instances: u32,
        gpus: u32,
        device: Option<String>,
        calibration: Option<String>,
    ) -> Self {
        Self {
            instances,
            gpus,
            device,
            executions: 0,
            batch_size: Histogram::new(),
            batch_requests: Histogram::new(),
            execution_time: Histogram::new(),
            refused: Refused::default(),
            calibration,
        }
    }

    /// Forgets what was counted.
    pub(super) fn reset(&mut self) {
        let (device, calibration) = (self.device.take(), self.calibration.take());
        *self = Self::new(self.instances, self.gpus, device, calibration);
    }

    pub(super) fn executed(&mut self, items: u64, requests: u64, took: SimDuration) {
        self.executions += 1;
        self.batch_size.record(items);
        self.batch_requests.record(requests);
        self.execution_time.record(took.as_nanos());
    }
}
