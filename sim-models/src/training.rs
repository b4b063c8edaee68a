//! A training job on capacity that may be taken away: a gang of workers that is lost with any of them, and
//! checkpoints to go on from.
//!
//! **The gang.** All `workers` work, or none: an interruption of one, after an exponential time of mean
//! [`mttf`](crate::spot::SpotConfig), ends the attempt of all, so that the gang's mean time between interruptions is
//! M = mttf / workers. Then there is no capacity for `capacity_return`, which nobody pays, and the next attempt
//! begins with `restart` (start, loading the checkpoint), which may be interrupted too.
//!
//! **Checkpoints.** After every `checkpoint_interval` of work the gang stops for `checkpoint`; what was done
//! since the last one is lost with an interruption. Where the notice is as long as a checkpoint and
//! `checkpoint_on_notice` holds, the gang works on until there is just time for one more, and loses nothing but that
//! and the restart, whatever the interval. With C = checkpoint, R = restart and no notice, a segment of T takes
//!
//! ```text
//! M exp(R/M) (exp((T + C)/M) - 1)     on average
//! young: T = sqrt(2 C M)                                             (Young, CACM 17 (9), 1974)
//! daly:  T = sqrt(2 C M) (1 + sqrt(C/2M)/3 + (C/2M)/9) - C, M from C = 2M on (Daly, FGCS 22 (3), 2006)
//! ```
//!
//! The optimum is flat: half or twice the interval costs a few percent.
//!
//! **Money.** The gang is paid from the beginning of an attempt until it is lost. Price by useful hour is its price
//! by `efficiency`, the share of the paid time that became the model: spot pays where that is above the
//! `break_even_efficiency`, the ratio of the two prices.
//!
//! An attempt is one event, however many checkpoints it makes. Component columns: calls are attempts, failed those
//! that were interrupted, ok the one that ended the job; busy are workers held. Faults: `spot_interruption` gives
//! notice, a crash takes the gang at once until the repair.

mod job;
mod runner;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::component::Component;
use crate::cost::{ListPrice, PriceModelConfig, Rent};
use crate::energy::Power;
use crate::error::ConfigError;
use crate::hardware::catalogue::{self, Gpu};
use crate::spot::SpotConfig;
use crate::system::Scope;
use crate::units::{HourlyPrice, Time};
use job::Job;
use runner::{Prices, Runner};

/// Trains a model with a gang of workers, and goes on from checkpoints where it is interrupted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Workers of the gang, each an instance that can be interrupted. Default: 1.
    #[serde(default = "one")]
    pub workers: NonZeroU32,
    /// GPU of a worker, by its id in the catalogue. Default: none; workers have the price that the scenario says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// GPUs of a worker, with `gpu`. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_per_worker: Option<NonZeroU32>,
    /// How long the whole gang works on the job if nothing goes wrong. Default: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Time>,
    /// When it begins. Default: at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// How much work there is between two checkpoints: a time, `"young"`, `"daly"` or `"none"`. Default: `daly`
    /// where `spot.mttf` is given, otherwise none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_interval: Option<CheckpointInterval>,
    /// How long the gang stops for a checkpoint. Default: no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Time>,
    /// How long a new attempt takes until it works where the last checkpoint left off. Default: no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Time>,
    /// Whether the notice of an interruption is used for a checkpoint, where it is long enough. Default: true.
    #[serde(default = "yes")]
    pub checkpoint_on_notice: bool,
    /// How the workers are interrupted. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot: Option<SpotConfig>,
    /// Price of one GPU, or of one worker without `gpu`. Default: the catalogue's on-demand price of the GPU, with
    /// its source; without `gpu` not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

/// How much work there is between two checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum CheckpointInterval {
    /// Young's optimum.
    Young,
    /// Daly's optimum.
    Daly,
    /// No checkpoints, but on notice.
    None,
    /// So much.
    Fixed(Time),
}

impl fmt::Display for CheckpointInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Young => f.write_str("young"),
            Self::Daly => f.write_str("daly"),
            Self::None => f.write_str("none"),
            Self::Fixed(time) => time.fmt(f),
        }
    }
}

impl Serialize for CheckpointInterval {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CheckpointInterval {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "young" => Ok(Self::Young),
            "daly" => Ok(Self::Daly),
            "none" => Ok(Self::None),
            text => text.parse().map(Self::Fixed).map_err(|error| {
                serde::de::Error::custom(format!(
                    "{error}; \"young\", \"daly\" and \"none\" are accepted too"
                ))
            }),
        }
    }
}

/// Young's interval in seconds: sqrt(2 C M), for checkpoints of `checkpoint` and interruptions every `mttf` seconds on
/// average.
pub fn young(checkpoint: f64, mttf: f64) -> f64 {
    (2.0 * checkpoint * mttf).sqrt()
}

/// Daly's interval in seconds, of higher order: see [the module](self).
pub fn daly(checkpoint: f64, mttf: f64) -> f64 {
    let ratio = checkpoint / (2.0 * mttf);
    if ratio >= 1.0 {
        return mttf;
    }
    young(checkpoint, mttf) * (1.0 + ratio.sqrt() / 3.0 + ratio / 9.0) - checkpoint
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn yes() -> bool {
    true
}

impl TrainingConfig {
    /// Mean time between interruptions of the gang in seconds.
    fn gang_mttf(&self) -> Option<f64> {
        let mttf = self.spot.as_ref()?.mttf?;
        Some(mttf.as_secs_f64() / f64::from(self.workers.get()))
    }

    /// Work between two checkpoints.
    fn interval(&self) -> Result<Option<SimDuration>, ConfigError> {
        let wrong = |message: String, help: &str| {
            Err(ConfigError::new(["checkpoint_interval"], message).help(help.to_owned()))
        };
        let (checkpoint, mttf) = (self.checkpoint.map_or(0.0, Time::as_secs_f64), self.gang_mttf());
        let optimum = |name: &str, law: fn(f64, f64) -> f64| match mttf {
            None => wrong(
                format!("`{name}` goes by the time between interruptions, and none is given"),
                "expected spot = { mttf = \"20h\" } beside it, or a time",
            ),
            Some(_) if checkpoint == 0.0 => wrong(
                format!("`{name}` goes by the time that a checkpoint takes, and none is given"),
                "expected checkpoint = \"1m\" beside it, or a time",
            ),
            Some(mttf) => Ok(Some(SimDuration::saturating_from_secs_f64(law(checkpoint, mttf)))),
        };
        match self.checkpoint_interval {
            None if mttf.is_none() => Ok(None),
            Some(CheckpointInterval::None) => Ok(None),
            Some(CheckpointInterval::Young) => optimum("young", young),
            None | Some(CheckpointInterval::Daly) => optimum("daly", daly),
            Some(CheckpointInterval::Fixed(time)) if time.get().is_zero() => {
                wrong("a checkpoint after no work".to_owned(), "expected a time above 0, or \"none\"")
            }
            Some(CheckpointInterval::Fixed(time)) => Ok(Some(time.get())),
        }
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        if self.work.is_some_and(|work| work.get().is_zero()) {
            return Err(ConfigError::new(["work"], "there is no work")
                .help("expected a time above 0, such as \"72h\""));
        }
        if self.gpus_per_worker.is_some() && self.gpu.is_none() {
            return Err(ConfigError::new(["gpus_per_worker"], "`gpus_per_worker` needs a GPU")
                .help("expected gpu = \"h100-sxm\" beside it"));
        }
        let gpu = self.gpu.as_deref().map(catalogue::gpu).transpose().map_err(|error| {
            ConfigError::new(["gpu"], format!("unknown gpu `{}`", error.name))
                .help(format!("expected {}", error.accepted()))
        })?;
        let interval = self.interval()?;
        let spot = self.spot.as_ref().map(|spot| spot.build(self.workers.get())).transpose();
        let spot = spot.map_err(|error| error.within("spot"))?;
        let time = |time: Option<Time>| time.map_or(SimDuration::ZERO, Time::get);
        let each = u64::from(self.gpus_per_worker.map_or(1, NonZeroU32::get));
        let units = u64::from(self.workers.get()) * each;
        let list = match gpu {
            Some(gpu) => ListPrice::of(gpu, self.price_per_hour),
            None => ListPrice::given(self.price_per_hour),
        };
        let resource = gpu.map_or_else(|| "training worker".to_owned(), Gpu::resource);
        let item = scope.rent(Rent { resource, list, model: self.price_model.as_ref(), units: 0, each })?;
        let (cost, _) = scope.cost();
        let prices = item.map(|item| Prices {
            item,
            units,
            usd_per_hour: cost.items()[item].price.usd_per_hour() * units as f64,
            on_demand: list.price.map(|(usd, _)| usd * units as f64),
        });
        scope.meter().capacity.set(SimTime::ZERO, u64::from(self.workers.get()));
        let power = gpu.map(|gpu| (units, Power::of(gpu)));
        let job = Job {
            work: self.work.map(Time::get),
            interval,
            checkpoint: time(self.checkpoint),
            restart: time(self.restart),
        };
        Ok(Box::new(Runner::new(self, job, spot, prices, power)))
    }
}
