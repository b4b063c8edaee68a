//! What a pipeline measured.

use sim_core::stats::Moments;

use crate::measure::Measure;

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
    /// In results.
    pub(super) fn measures(&self) -> Vec<Measure> {
        let real = Measure::new;
        vec![
            Measure::count("runs_due", self.due, "Runs that came due"),
            Measure::count("runs_ok", self.succeeded, "Runs that succeeded"),
            Measure::count("runs_failed", self.failed, "Runs that failed for good"),
            Measure::count("runs_skipped", self.skipped, "Runs dropped since another went on"),
            Measure::count("runs_late", self.missed, "Runs that succeeded, but later than their window"),
            Measure::count("runs_open", self.open, "Runs waiting or going on at the end"),
            Measure::count("attempts_failed", self.attempts_failed, "Attempts of runs that failed"),
            Measure::count("task_failures", self.task_failures, "Attempts of tasks that failed"),
            Measure::known(
                "run_time_mean_s",
                self.run_time.mean(),
                "From the beginning of a run to its success: mean",
            ),
            Measure::known("run_time_max_s", self.run_time.mean().map(|_| self.run_time_max), "The longest"),
            Measure::known("elapsed_mean_s", self.elapsed.mean(), "From due to success: mean"),
            Measure::known(
                "slack_min",
                self.slack_min,
                "Window by the longest time from due to success: below 1 a run missed its window",
            ),
            real(
                "lateness_max_s",
                self.lateness_max,
                "How much later than its window the worst run succeeded",
            ),
            real("backlog_s", self.backlog, "Work that was due and is not done at the end"),
            Measure::known(
                "backlog_growth",
                self.backlog_growth(),
                "Work added to the backlog for each unit of time: days of work a day",
            ),
            real("lag_mean_s", self.lag_mean, "Age of what the output knows: mean over time"),
            real("lag_max_s", self.lag_max, "The largest"),
            real("lag_end_s", self.lag, "At the end"),
            real("scanned_bytes", self.scanned, "Bytes that attempts read"),
            real("scan_cost_usd", self.scan_usd, "Price of the scans of the offline store"),
            real("rows_written", self.rows_written, "Writes into the feature store"),
        ]
    }
}
