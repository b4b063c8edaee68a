//! A feature store as its online store answers a request: one read of many features.
//!
//! A request needs `features` values of one entity. They lie in feature views of `features_per_view`
//! values each, and one lookup reads one view. A read of `n` lookups takes, beyond the fixed `base`:
//!
//! | `read`       | time                                              |
//! |--------------|---------------------------------------------------|
//! | `sequential` | the sum of `n` lookups                            |
//! | `parallel`   | the longest of `n` lookups                        |
//! | `multi_get`  | one lookup and `per_feature` for every feature    |
//!
//! and then what `on_demand` features take to compute. It holds one connection for that time, whatever
//! the way it reads; where all connections are taken, reads wait first come, first served. All its lookups
//! are drawn when it begins, keyed by the request and its hop, and make up one event.
//!
//! **Shards.** Every entity lives on one of `shards`, each with connections and a line of its own: a hot
//! key fills the line of its shard, whatever room the others have.
//!
//! **Default values.** A feature is served as its default, and the answer is degraded, when its lookup is
//! longer than `read_timeout` and ends there, when its value is older than `ttl`, or when the store had no
//! room for it ([`StorageConfig`]). A multi-get is one lookup in this respect, too.
//!
//! **Local cache.** Whole feature vectors of entities, least recently used out first; hits take no
//! connection and go on while the store is down. Whether a read hits emerges from the entities of the
//! requests. Answers with default values are not kept.
//!
//! **Freshness.** A pipeline that materializes into the store says as of when it has written all there was
//! to know. The age of a served batch value is the time since then; of a streamed (pushed) value, its lag.
//! A value differs from what a point-in-time join would give at the moment it is served if it has changed
//! since: values that change as a Poisson process at rate mu differ at age a with probability
//! 1 - exp(-mu a). That is training-serving skew, and the report adds up its expectation over all served
//! values, besides what another code path spoils (`code_skew`). Several pipelines into one store write the
//! same features, as an hourly increment and a nightly refresh do: the newest data count, since writes of
//! older events are passed over (Feast's Redis online store, `online_write_batch`). Features that have a
//! pipeline of their own belong to a store of their own.
//!
//! **Background writes** (a pipeline that materializes features) slow lookups down as if the store were an
//! M/G/1 processor-sharing server that is busy with writes a share `rate * cost` of its time: lookups
//! take 1 / (1 - rate * cost) times as long. That is an assumption; a share above 0.95 counts as 0.95,
//! because the store's own writes would then queue and leave the rest to the reads.
//!
//! Faults: `slow` stretches the whole of the reads that begin from then on. A crash takes the whole
//! store down, however many replicas it names: reads that are in it or that wait for it fail, and so do
//! all that arrive until the repair.

mod backend;
mod cache;
mod storage;
mod store;
#[cfg(test)]
mod tests;
mod values;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Constant, Dist};
use sim_core::time::{SimDuration, SimTime};

use crate::component::Component;
use crate::cost::{ListPrice, PriceModelConfig, Rent};
use crate::error::ConfigError;
use crate::system::Scope;
use crate::units::{HourlyPrice, Probability, Rate, Time, TimeDist};

pub use backend::Backend;
pub use cache::CacheConfig;
pub use storage::{Eviction, StorageConfig};
use store::{Store, Timing};
pub use values::FeatureStoreReport;
use values::Values;

/// Reads features of an entity from an online store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureStoreConfig {
    /// Number of features that a request needs from the store.
    pub features: NonZeroU32,
    /// How many of them one lookup reads: the features of a feature view, which lie under one key.
    /// Default: 1, every feature under a key of its own; with a published `backend` 10, as it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features_per_view: Option<NonZeroU32>,
    /// How a request's lookups are made. Default: `sequential`.
    #[serde(default)]
    pub read: ReadMode,
    /// A published store; gives `lookup` and `base`. Default: `custom`, by `lookup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// How long one lookup takes, network time to the store included. Either this or a published `backend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<TimeDist>,
    /// What each feature adds to a multi-get. Default: 0.01 ms, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_feature: Option<Time>,
    /// What every read takes besides its lookups. Default: the backend's, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Time>,
    /// Size of the connection pool of each shard: the most reads at once there. Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<NonZeroU32>,
    /// Over how many shards the entities are spread, by a hash of each. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<NonZeroU32>,
    /// When a lookup is given up for the default values. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_timeout: Option<Time>,
    /// The most reads that wait for a connection of a shard; one that finds as many waiting is rejected. 0
    /// leaves no room to wait. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_cap: Option<u32>,
    /// The oldest value that is served; an older one counts as missing (Feast's `ttl` of a feature view).
    /// Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Time>,
    /// A cache of feature vectors in the process that reads. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
    /// Features that are pushed into the store as things happen, rather than by a pipeline. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming: Option<StreamingConfig>,
    /// Features that are computed at request time. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemandConfig>,
    /// How often a value changes at its source, for the skew. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_rate: Option<Rate>,
    /// Share of values that differ from the training data whatever their age, since other code computed
    /// them. Default: 0, one code path for both.
    #[serde(default)]
    pub code_skew: Probability,
    /// The age that served values should keep to; the report says how many do. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness_slo: Option<Time>,
    /// How much there is to store, and what happens when it does not fit. Default: it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageConfig>,
    /// Price of the whole store. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

/// Features that are pushed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamingConfig {
    /// How many of the store's features are.
    pub features: NonZeroU32,
    /// From something's happening until the store knows it.
    pub lag: TimeDist,
}

/// Features that are computed from others and from the request when it comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnDemandConfig {
    /// How many, besides those from the store.
    pub features: NonZeroU32,
    /// How long a request's take together; the read holds its connection meanwhile.
    pub compute: TimeDist,
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

/// What a feature adds to a multi-get unless the scenario says otherwise. Assumption: ten microseconds to
/// find, send and decode a small value.
const PER_FEATURE: SimDuration = SimDuration::from_nanos(10_000);

fn wrong(key: &str, message: impl ToString) -> ConfigError {
    ConfigError::new([key], message.to_string())
}

fn law(key: [&str; 2], law: &TimeDist) -> Result<Dist, ConfigError> {
    law.build().map_err(|error| ConfigError::new(key, error.to_string()))
}

impl FeatureStoreConfig {
    /// The base and the law of a lookup.
    fn laws(&self) -> Result<(SimDuration, Dist), ConfigError> {
        let preset = self.backend.and_then(Backend::fit);
        let (base, lookup) = match (preset, &self.lookup) {
            (Some((base, lookup)), None) => {
                let law = Constant::new(lookup.as_secs_f64()).map(Dist::from);
                (base, law.map_err(|error| wrong("backend", error))?)
            }
            (None, Some(law)) => (SimDuration::ZERO, law.build().map_err(|error| wrong("lookup", error))?),
            (Some(_), Some(_)) => {
                return Err(wrong("lookup", "both `backend` and `lookup` are given")
                    .help("a backend is a preset of `base` and `lookup`: keep one of the two"));
            }
            (None, None) => {
                return Err(ConfigError::new([""; 0], "neither `backend` nor `lookup` is given").help(
                    "expected backend = \"redis\", \"dynamodb\" or \"datastore\", or lookup = \"1ms\"",
                ));
            }
        };
        Ok((self.base.map_or(base, Time::get), lookup))
    }

    /// Features one lookup reads.
    fn view(&self) -> u32 {
        let preset = self.backend.and_then(Backend::fit).map_or(1, |_| backend::FEATURES_PER_VIEW);
        self.features_per_view.map_or(preset, NonZeroU32::get)
    }

    /// Number of lookups of a request.
    fn lookups(&self) -> u32 {
        self.features.get().div_ceil(self.view())
    }

    /// The key of a setting that goes by the entity of a request, if there is one.
    pub(crate) fn needs_entities(&self) -> Option<&'static str> {
        let evicts = self.storage.as_ref().is_some_and(StorageConfig::evicts);
        let is_sharded = self.shards.is_some_and(|shards| shards.get() > 1);
        [("cache", self.cache.is_some()), ("shards", is_sharded), ("storage", evicts)]
            .into_iter()
            .find_map(|(key, needs)| needs.then_some(key))
    }

    fn values(&self) -> Result<Values, ConfigError> {
        let streamed = self.streaming.as_ref().map_or(0, |streaming| streaming.features.get());
        let Some(batch) = self.features.get().checked_sub(streamed) else {
            let message = format!("{streamed} features are streamed, but there are {}", self.features);
            return Err(ConfigError::new(["streaming", "features"], message)
                .help("`features` counts all that the store holds, the streamed ones too"));
        };
        let lag =
            self.streaming.as_ref().map(|streaming| law(["streaming", "lag"], &streaming.lag)).transpose()?;
        Ok(Values {
            batch,
            streamed,
            on_demand: self.on_demand.as_ref().map_or(0, |on_demand| on_demand.features.get()),
            lag,
            ttl: self.ttl.map(Time::get),
            change_rate: self.change_rate.map_or(0.0, Rate::per_second),
            code_skew: self.code_skew.get(),
            freshness_slo: self.freshness_slo.map(Time::get),
            as_of: None,
        })
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let (base, lookup) = self.laws()?;
        if self.read_timeout.is_some_and(|timeout| timeout.get().is_zero()) {
            return Err(wrong("read_timeout", "a timeout of 0 reads nothing").help("expected a time above 0"));
        }
        if let (None, Some(cap)) = (self.connections, self.queue_cap) {
            let message = format!("`queue_cap` is {cap}, but no read ever waits: `connections` is unlimited");
            return Err(wrong("queue_cap", message).help("give `connections` as well"));
        }
        if let (None, Some(shards)) = (self.connections, self.shards) {
            let message =
                format!("`shards` is {shards}, but no read ever waits for one: `connections` is unlimited");
            return Err(wrong("shards", message).help("give `connections`, the connections of each shard"));
        }
        let storage = self.storage.as_ref();
        let storage = storage.map(|storage| storage.plan(self.features.get(), self.lookups())).transpose()?;
        let connections = self.connections.map(NonZeroU32::get);
        let shards = self.shards.map_or(1, NonZeroU32::get);
        let capacity = connections.map_or(0, |connections| u64::from(connections) * u64::from(shards));
        scope.meter().capacity.set(SimTime::ZERO, capacity);
        scope.rent(Rent {
            resource: "feature store".to_owned(),
            list: ListPrice::given(self.price_per_hour),
            model: self.price_model.as_ref(),
            units: 1,
            each: 1,
        })?;
        let compute = self
            .on_demand
            .as_ref()
            .map(|on_demand| law(["on_demand", "compute"], &on_demand.compute))
            .transpose()?;
        let values = self.values()?;
        let timing = Timing {
            features: self.features.get(),
            batch: values.batch,
            view: self.view(),
            mode: self.read,
            lookup,
            per_feature: self.per_feature.map_or(PER_FEATURE, Time::get).as_secs_f64(),
            base: base.as_secs_f64(),
            timeout: self.read_timeout.map(Time::as_secs_f64),
            compute,
        };
        let cache = self.cache.as_ref().map(CacheConfig::build);
        Ok(Box::new(Store::new(timing, values, cache, storage, connections, shards, self.queue_cap)))
    }
}
