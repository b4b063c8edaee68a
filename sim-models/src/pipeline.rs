//! A batch pipeline: a job that runs by its schedule over a volume of data, and may fill a feature store.
//!
//! **A run** reads its volume in tasks of `task_volume` each and takes
//!
//! ```text
//! startup + serial_fraction * work + max(scan, tasks on the workers at 1 - serial_fraction of their time)
//! ```
//!
//! where `work` is the mean time of all its tasks on one worker (Amdahl, AFIPS 1967: with any number of
//! workers a run is at most 1 / `serial_fraction` times as fast), and `scan` what reading the volume from
//! the [offline store](crate::offline_store) takes, which goes on beside the tasks. Workers take tasks in
//! order as they become free. A task that fails has taken its full time; it is tried again at once on the
//! same worker, and the run fails with the task that fails `max_attempts` times. All of a run is drawn when
//! it begins, keyed by its number and attempt: a run is one event, or two with a `write_rate`.
//!
//! **Schedule.** A run is due every `interval`, for the data up to then. One run goes on at a time; what is
//! due meanwhile waits in order (`late_runs = "queue"`) or is dropped (`"skip"`). A run that ends later than
//! `window` after it was due has missed it. A run that fails is tried again `retries` times, `retry_delay`
//! apart. The interval of one that is dropped or that fails for good is lost, or with `backfill` its volume
//! is added to the next run's.
//!
//! **Growth.** The volume of a run due at time t is `volume * (1 + volume_growth)^(days since the start)`.
//! Beyond a million tasks a run's tasks are drawn as a million of accordingly longer ones.
//!
//! **Materialization.** A run that succeeds leaves the store with all that was known `source_delay` before
//! it was due. Its writes are background load on the store: `rows` in proportion to the volume, spread over
//! the run, or after it at `write_rate`.
//!
//! Component columns: calls are runs due, ok and failed their ends, rejected those dropped; the wait is from
//! due to begin and the latency from due to the end; busy are workers. Faults: a crash fails the attempt
//! that is running, and nothing begins until the repair; `slow` stretches attempts that begin from then on.

mod job;
mod report;
mod runner;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::component::Component;
use crate::cost::{ListPrice, PriceModelConfig, Rent};
use crate::error::ConfigError;
use crate::offline_store::OfflineStoreConfig;
use crate::system::Scope;
use crate::units::{Bytes, HourlyPrice, Number, Probability, Rate, Time, TimeDist};
use job::Job;
pub use report::PipelineReport;
use runner::{Runner, Writes};

/// Runs a batch job by its schedule, over a volume of data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Time between two runs.
    pub interval: Time,
    /// When the first run is due. Default: at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Time>,
    /// How long after it was due a run may end. Default: the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Time>,
    /// Data that a run at the start of the simulation reads.
    pub volume: Bytes,
    /// Share by which the volume grows each day: 0.01 for one percent. Default: 0.
    #[serde(default)]
    pub volume_growth: Number,
    /// Data of one task. Default: 128 MiB (Spark's `spark.sql.files.maxPartitionBytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_volume: Option<Bytes>,
    /// How long one attempt of a task takes on one worker.
    pub task_time: TimeDist,
    /// How many tasks run at once, each on a worker. Default: 1.
    #[serde(default = "one")]
    pub workers: NonZeroU32,
    /// Time that every run takes before its first task. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Time>,
    /// Share of the work that one worker must do alone. Default: 0.
    #[serde(default)]
    pub serial_fraction: Probability,
    /// Tasks that take much longer than the others. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stragglers: Option<StragglersConfig>,
    /// Share of attempts of tasks that fail. Default: 0.
    #[serde(default)]
    pub task_failure: Probability,
    /// Attempts of a task before the run fails. Default: 4 (Spark's `spark.task.maxFailures`).
    #[serde(default = "four")]
    pub max_attempts: NonZeroU32,
    /// Share of attempts of runs that fail as a whole, at their end. Default: 0.
    #[serde(default)]
    pub run_failure: Probability,
    /// How often a failed run is tried again. Default: 0 (Airflow's `default_task_retries`).
    #[serde(default)]
    pub retries: u32,
    /// Time until it is. Default: 5 minutes (Airflow's `retry_delay`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<Time>,
    /// Whether the next run also does the work of failed and dropped ones, as an incremental materialization does.
    /// Default: true. Otherwise every run is a full refresh of its own.
    #[serde(default = "yes")]
    pub backfill: bool,
    /// What happens to a run that is due while another goes on. Default: `queue`.
    #[serde(default)]
    pub late_runs: LateRuns,
    /// Where the data are read. Default: reading takes no time of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<OfflineStoreConfig>,
    /// How old data are when a run that is due sees them. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_delay: Option<Time>,
    /// The feature store that runs fill. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub materializes: Option<MaterializeConfig>,
    /// Price of one worker; workers are paid while a run goes on. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

/// Tasks that take much longer than the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StragglersConfig {
    /// Share of attempts of tasks that do.
    pub share: Probability,
    /// How many times as long they take.
    pub factor: Number,
}

/// What a run writes, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaterializeConfig {
    /// A component of kind `feature_store`.
    pub store: String,
    /// Writes of a run at the start of the simulation; they grow with the volume. Default: 0, no load.
    #[serde(default)]
    pub rows: Number,
    /// Time of the store that one write takes. Default: 0.01 ms, an assumption: a store that is quick at one
    /// thing at a time, such as Redis, does 100,000 a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_time: Option<Time>,
    /// Writes a second after the run's other work. Default: writes go along with the run, evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_rate: Option<Rate>,
}

/// What happens to a run that is due while another goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LateRuns {
    /// It waits for its turn (Airflow's `catchup` with `max_active_runs = 1`).
    #[default]
    Queue,
    /// It is dropped (`concurrencyPolicy: Forbid` of a Kubernetes CronJob).
    Skip,
}

/// Spark's `spark.sql.files.maxPartitionBytes`.
const TASK_VOLUME: Bytes = Bytes::new(128 << 20);
/// Airflow's `retry_delay`.
const RETRY_DELAY: SimDuration = SimDuration::from_secs(300);
/// Assumption, see [`MaterializeConfig::write_time`].
const WRITE_TIME: SimDuration = SimDuration::from_nanos(10_000);

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn four() -> NonZeroU32 {
    const { NonZeroU32::new(4).unwrap() }
}

fn yes() -> bool {
    true
}

fn wrong(key: &str, message: impl ToString) -> ConfigError {
    ConfigError::new([key], message.to_string())
}

impl PipelineConfig {
    /// The store it fills.
    pub(crate) fn callees(&self) -> Vec<(Vec<String>, &str)> {
        let place = || vec!["materializes".to_owned(), "store".to_owned()];
        self.materializes.iter().map(|materializes| (place(), materializes.store.as_str())).collect()
    }

    fn job(&self) -> Result<Job, ConfigError> {
        let task_volume = self.task_volume.unwrap_or(TASK_VOLUME);
        for (key, bytes) in [("volume", self.volume), ("task_volume", task_volume)] {
            if bytes.get() == 0 {
                return Err(wrong(key, format!("`{key}` is 0B: there is nothing to do"))
                    .help("expected a size above 0, such as \"500GB\""));
            }
        }
        let workers = self.workers.get();
        let offline = self.offline.as_ref().map(|offline| offline.build(workers)).transpose();
        let stragglers = self.stragglers.map_or((0.0, 1.0), |some| (some.share.get(), some.factor.get()));
        Ok(Job {
            task_volume: task_volume.get() as f64,
            task_time: self.task_time.build().map_err(|error| wrong("task_time", error))?,
            workers,
            startup: self.startup.map_or(SimDuration::ZERO, Time::get),
            serial_fraction: self.serial_fraction.get(),
            straggler_share: stragglers.0,
            straggler_factor: stragglers.1,
            task_failure: self.task_failure.get(),
            max_attempts: self.max_attempts.get(),
            run_failure: self.run_failure.get(),
            offline: offline.map_err(|error| error.within("offline"))?,
        })
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        for (key, time) in [("interval", Some(self.interval)), ("window", self.window)] {
            if time.is_some_and(|time| time.get().is_zero()) {
                return Err(
                    wrong(key, format!("`{key}` is 0")).help("expected a time above 0, such as \"24h\"")
                );
            }
        }
        let job = self.job()?;
        let writes = match &self.materializes {
            Some(config) => {
                if config.write_rate.is_some_and(|rate| rate.per_second() == 0.0) {
                    return Err(ConfigError::new(
                        ["materializes", "write_rate"],
                        "at 0/s nothing is ever written",
                    )
                    .help("expected a rate above 0, such as \"20k/s\""));
                }
                Some(Writes {
                    store: scope.id(&config.store),
                    rows: config.rows.get(),
                    cost: config.write_time.map_or(WRITE_TIME, Time::get).as_secs_f64(),
                    rate: config.write_rate.map(Rate::per_second),
                })
            }
            None => None,
        };
        scope.meter().capacity.set(SimTime::ZERO, u64::from(self.workers.get()));
        let item = scope.rent(Rent {
            resource: "batch worker".to_owned(),
            list: ListPrice::given(self.price_per_hour),
            model: self.price_model.as_ref(),
            units: 0,
            each: 1,
        })?;
        // Each costs what its bytes or requests do: a unit is a dollar.
        let scans = job.is_paid().then(|| {
            let (cost, me) = scope.cost();
            cost.add_usage(me, "scans", 1.0, "scenario")
        });
        Ok(Box::new(Runner::new(self, job, writes, (item, scans))))
    }
}
