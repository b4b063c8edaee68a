//! A feature store as its online store answers a request: one read of many features.
//!
//! A read of `n` features takes, beyond the fixed `base`:
//!
//! | `read`       | time                                      |
//! |--------------|-------------------------------------------|
//! | `sequential` | the sum of `n` lookups                    |
//! | `parallel`   | the longest of `n` lookups                |
//! | `multi_get`  | one lookup and `n` times `per_feature`    |
//!
//! It holds one connection for that time, whatever the way it reads; where all connections are taken,
//! reads wait first come, first served. All its lookups are drawn when it begins, keyed by the request
//! and its hop, and make up one event.
//!
//! A lookup longer than `read_timeout` ends there and yields the feature's default value: the read goes
//! on, and its answer is degraded. A multi-get is one lookup in this respect, too.
//!
//! Background writes (a pipeline that materializes features) slow lookups down as if the store were an
//! M/G/1 processor-sharing server that is busy with writes a share `rate * cost` of its time: lookups
//! take 1 / (1 - rate * cost) times as long. That is an assumption; a share above 0.95 counts as 0.95,
//! because the store's own writes would then queue and leave the rest to the reads.
//!
//! Faults: `slow` stretches the whole of the reads that begin from then on. A crash takes the whole
//! store down, however many replicas it names: reads that are in it or that wait for it fail, and so do
//! all that arrive until the repair.

mod store;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Constant, Dist};
use sim_core::time::{SimDuration, SimTime};

use crate::component::Component;
use crate::cost::Price;
use crate::error::ConfigError;
use crate::system::Scope;
use crate::units::{HourlyPrice, Time, TimeDist};
use store::{Store, Timing};

/// Reads features of an entity from an online store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureStoreConfig {
    /// Number of lookups a request: one for each feature view, or for each feature where the store
    /// keeps every feature under a key of its own.
    pub features: NonZeroU32,
    /// How a request's lookups are made. Default: `sequential`.
    #[serde(default)]
    pub read: ReadMode,
    /// A published store; gives `lookup` and `base`. Either this or `lookup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// How long one lookup takes, network time to the store included. Either this or `backend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<TimeDist>,
    /// What each feature adds to a multi-get. Default: 0.01 ms, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_feature: Option<Time>,
    /// What every read takes besides its lookups. Default: the backend's, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Time>,
    /// Size of the connection pool: the most reads at once. Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<NonZeroU32>,
    /// When a lookup is given up for the default value. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_timeout: Option<Time>,
    /// The most reads that wait for a connection; one that finds as many waiting is rejected. 0 leaves
    /// no room to wait. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_cap: Option<u32>,
    /// Price of the whole store. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
}

/// How the lookups of a request are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadMode {
    /// One after the other.
    #[default]
    Sequential,
    /// All at once, each over a connection that the read has anyway.
    Parallel,
    /// All in one operation of the store, such as Redis `MGET` or DynamoDB `BatchGetItem`.
    MultiGet,
}

/// A published online store: the median of a whole read through Feast's feature server as
/// `base + lookup * features`, without spread.
///
/// From the logs of feast-dev/feast-benchmarks (2022; Python feature server, one entity row, c5.4xlarge,
/// 50 to 250 features, ten to a feature view): median latency in ms at 50 / 100 / 150 / 200 / 250
/// features, and straight lines fitted to it. So with a preset `features` counts features, not views (a
/// view's lookup costs ten times the slope), and reads are `sequential`, as Feast's were; any other
/// `read` over a preset extrapolates. Medians say nothing of the tail: give `lookup` a law where it
/// matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Redis: 8.7 / 12.7 / 16.7 / 20.9 / 25.0 ms, 4.56 ms + 0.0817 ms a feature (R2 0.9999).
    Redis,
    /// DynamoDB: 33.4 / 61.9 / 89.5 / 119 / 149 ms, 4.07 ms + 0.577 ms a feature (R2 0.9997).
    Dynamodb,
    /// Google Datastore: 46.7 / 88.8 / 132 / 175 / 234 ms, 0.9056 ms a feature. Through the origin,
    /// since the free fit (0.923 ms a feature, R2 0.995) has a base below 0, -3.1 ms.
    Datastore,
}

impl Backend {
    /// Base and cost of a lookup.
    fn fit(self) -> (SimDuration, SimDuration) {
        let (base, lookup) = match self {
            Self::Redis => (4_560_000, 81_700),
            Self::Dynamodb => (4_070_000, 577_000),
            Self::Datastore => (0, 905_600),
        };
        (SimDuration::from_nanos(base), SimDuration::from_nanos(lookup))
    }
}

/// What a feature adds to a multi-get unless the scenario says otherwise. Assumption: ten microseconds to
/// find, send and decode a small value.
const PER_FEATURE: SimDuration = SimDuration::from_nanos(10_000);

impl FeatureStoreConfig {
    /// The base and the law of a lookup.
    fn laws(&self) -> Result<(SimDuration, Dist), ConfigError> {
        let (base, lookup) = match (self.backend, &self.lookup) {
            (Some(backend), None) => {
                let (base, lookup) = backend.fit();
                let law =
                    Constant::new(lookup.as_secs_f64()).map(Dist::from).map_err(|error| error.to_string());
                (base, law)
            }
            (None, Some(law)) => (SimDuration::ZERO, law.build().map_err(|error| error.to_string())),
            (Some(_), Some(_)) => {
                return Err(ConfigError::new(["lookup"], "both `backend` and `lookup` are given")
                    .help("a backend is a preset of `base` and `lookup`: keep one of the two"));
            }
            (None, None) => {
                return Err(ConfigError::new([""; 0], "neither `backend` nor `lookup` is given").help(
                    "expected backend = \"redis\", \"dynamodb\" or \"datastore\", or lookup = \"1ms\"",
                ));
            }
        };
        let lookup = lookup.map_err(|message| ConfigError::new(["lookup"], message))?;
        Ok((self.base.map_or(base, Time::get), lookup))
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let (base, lookup) = self.laws()?;
        if self.read_timeout.is_some_and(|timeout| timeout.get().is_zero()) {
            return Err(ConfigError::new(["read_timeout"], "a timeout of 0 reads nothing")
                .help("expected a time above 0"));
        }
        if let (None, Some(cap)) = (self.connections, self.queue_cap) {
            let message = format!("`queue_cap` is {cap}, but no read ever waits: `connections` is unlimited");
            return Err(ConfigError::new(["queue_cap"], message).help("give `connections` as well"));
        }
        let connections = self.connections.map(NonZeroU32::get);
        scope.meter().capacity.set(SimTime::ZERO, connections.map_or(0, u64::from));
        if let Some(price) = self.price_per_hour {
            let (cost, me) = scope.cost();
            cost.add(me, "feature store", Price::PerHour(price.per_hour()), "scenario", 1);
        }
        let timing = Timing {
            features: self.features.get(),
            mode: self.read,
            lookup,
            per_feature: self.per_feature.map_or(PER_FEATURE, Time::get).as_secs_f64(),
            base: base.as_secs_f64(),
            timeout: self.read_timeout.map(Time::as_secs_f64),
        };
        Ok(Box::new(Store::new(timing, connections, self.queue_cap)))
    }
}
