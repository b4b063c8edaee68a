//! What a pipeline measured.

use sim_core::stats::Moments;

/// What a pipeline measured in the measured part of the run. Times are in seconds.
#[derive(Debug, Clone, Default)]
pub struct PipelineReport {
    /// Runs waiting or going on when measurement began.
    pub open_at_start: u64,
    /// Runs that came due.
    pub due: u64,
    /// Runs that succeeded.
    pub succeeded: u64,
    /// Runs that failed for good.
    pub failed: u64,
    /// Runs that were dropped since another went on.
    pub skipped: u64,
    /// Runs waiting or going on at the end.
    pub open: u64,
    /// Attempts of runs that failed.
    pub attempts_failed: u64,
    /// Attempts of tasks that failed.
    pub task_failures: u64,
    /// Runs that succeeded but later than their window.
    pub missed: u64,
    /// From the first beginning of a run to its success.
    pub run_time: Moments,
    /// The longest of them.
    pub run_time_max: f64,
    /// From due to success.
    pub elapsed: Moments,
    /// Window over the longest time from due to success; below 1 some run missed its window. `None` before
    /// the first success.
    pub slack_min: Option<f64>,
    /// How much later than its window the worst run succeeded.
    pub lateness_max: f64,
    /// Work that was due and not done when measurement began: what it takes from then on.
    pub backlog_start: f64,
    /// Work that was due and is not done at the end.
    pub backlog: f64,
    /// Age of what the pipeline's output knows, on average over time.
    pub lag_mean: f64,
    /// The largest age.
    pub lag_max: f64,
    /// The age at the end.
    pub lag: f64,
    /// Bytes that attempts read.
    pub scanned: f64,
    /// US dollars for scans of the offline store.
    pub scan_usd: f64,
    /// Writes into the feature store.
    pub rows_written: f64,
    /// Length of the measured part.
    pub measured: f64,
}

impl PipelineReport {
    /// Work added to the backlog for each unit of time: days of work a day.
    pub fn backlog_growth(&self) -> Option<f64> {
        (self.measured > 0.0).then(|| (self.backlog - self.backlog_start) / self.measured)
    }

    /// Whether every run that was there has ended in one way or is still open.
    pub fn is_conserved(&self) -> bool {
        self.open_at_start + self.due == self.succeeded + self.failed + self.skipped + self.open
    }
}
