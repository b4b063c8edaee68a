//! A vector index: the `top_k` nearest of a corpus of vectors, as a retrieval step finds them.
//!
//! The corpus lies in equal parts on `shards`. A query goes to all of them and is answered when the slowest
//! has answered and the partial lists are merged. On each shard it takes one of `threads` for the time of
//! its search; where all are busy it waits, first come, first served.
//!
//! **Time of a search**, one thread, `n` vectors of `d` dimensions of `b` bytes on the shard: the distances
//! it computes, each at `d * b / memory_bandwidth`, and, where vectors lie scattered, `memory_latency`
//! more; besides `base` and the spread `cv`.
//!
//! | `index` | distances                                                          | vectors lie |
//! |---------|--------------------------------------------------------------------|-------------|
//! | `flat`  | `n`: exact                                                         | in a row    |
//! | `ivf`   | `nlist + nprobe / nlist * n` (Sivic and Zisserman, ICCV 2003)      | in rows     |
//! | `hnsw`  | `2m * max(ef_search, top_k) + m * ln(n) / ln(m)`: the beam in the lowest layer, whose vectors have 2m neighbours, and one hop in each of the log_m(n) layers above (Malkov and Yashunin, TPAMI 2018, 4.1 and 4.2: layers and the search grow with log n) | scattered |
//!
//! Every neighbour that is met counts as computed, though some were seen before, and a hop a layer is a
//! simplification: with the defaults, HNSW (m = 32, ef_search = 16) over a million vectors of 128
//! dimensions comes to 0.17 ms, where Faiss's `bench_hnsw` shows about 0.15 ms a query on one thread. Recall
//! is not modelled. Give `search_time` where a measurement is at hand.
//!
//! **Memory**: `flat` n d b; `hnsw` 1.1 (d b + 8 m) n; `ivf` 1.1 (d b n + d b nlist) (OpenSearch
//! documentation, "k-NN index: memory estimation"). What a shard's `memory` cannot hold is an error.
//!
//! Faults: a crash of whatever number of replicas takes the whole index down, for a query needs every shard:
//! queries in it fail, and so do those that arrive until the repair. `slow` stretches searches of queries
//! that arrive from then on. A query whose caller gave up is searched to its end, as its threads do not look
//! up.

mod search;
#[cfg(test)]
mod tests;

use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Constant, Dist, LogNormal};
use sim_core::time::{SimDuration, SimTime};

use crate::component::Component;
use crate::cost::{ListPrice, PriceModelConfig, Rent};
use crate::error::ConfigError;
use crate::system::Scope;
use crate::units::{Bytes, HourlyPrice, Number, Time, TimeDist};
use search::Searchers;

/// Finds the nearest vectors of a corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorIndexConfig {
    /// Number of vectors in the corpus.
    pub vectors: NonZeroU64,
    /// Dimensions of a vector.
    pub dimensions: NonZeroU32,
    /// Bytes of one dimension: 4 for fp32, 2 for fp16, 1 for int8. Default: 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_dimension: Option<NonZeroU32>,
    /// How it finds them. Default: `hnsw`.
    #[serde(default)]
    pub index: IndexType,
    /// How many a query asks for. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<NonZeroU32>,
    /// Neighbours of a vector in the graph of `hnsw`. Default: 16 (OpenSearch, Elasticsearch, hnswlib).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub m: Option<NonZeroU32>,
    /// Width of the beam of `hnsw`. Default: 100 (OpenSearch's `ef_search`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_search: Option<NonZeroU32>,
    /// Number of lists of `ivf`. Default: 4 times the root of a shard's vectors (Faiss wiki, "Guidelines to
    /// choose an index": 4 to 16 times).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nlist: Option<NonZeroU32>,
    /// Lists of `ivf` that a query looks through. Default: 16, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nprobe: Option<NonZeroU32>,
    /// Over how many shards the corpus is spread. Default: 1.
    #[serde(default = "one")]
    pub shards: NonZeroU32,
    /// Searches that a shard does at once, each on a thread. Default: 1.
    #[serde(default = "one")]
    pub threads: NonZeroU32,
    /// What a thread reads from memory in a second. Default: 10 GB, an assumption for one core of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth: Option<Bytes>,
    /// What getting at a vector somewhere in memory takes besides. Default: 100 ns, an assumption: one miss
    /// of all caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_latency: Option<Time>,
    /// What every query takes on a shard besides its distances: network, parsing, the heap. Default: 0.5 ms,
    /// an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Time>,
    /// Spread of a search: standard deviation over mean, lognormal. Default: 0.3, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cv: Option<Number>,
    /// How long a search on one shard takes, measured; in place of all the above. Default: computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_time: Option<TimeDist>,
    /// What merging one candidate of one shard takes. Default: 50 ns, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_time: Option<Time>,
    /// Memory of a shard. Default: enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// The most queries that wait; one that finds as many waiting is rejected. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_cap: Option<u32>,
    /// Price of one shard. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

/// How an index finds the nearest vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IndexType {
    /// Looks at every vector.
    Flat,
    /// Walks a hierarchical navigable small world graph.
    #[default]
    Hnsw,
    /// Looks through the lists (inverted file) of the nearest centroids.
    Ivf,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn wrong(key: &str, message: impl ToString) -> ConfigError {
    ConfigError::new([key], message.to_string())
}

/// What an index keeps beyond its vectors and links (OpenSearch documentation).
const MEMORY_OVERHEAD: f64 = 1.1;
/// Bytes of the links of a vector in the graph, for each of `m` (OpenSearch documentation).
const BYTES_PER_LINK: f64 = 8.0;

impl VectorIndexConfig {
    fn top_k(&self) -> u32 {
        self.top_k.map_or(10, NonZeroU32::get)
    }

    fn m(&self) -> f64 {
        f64::from(self.m.map_or(16, NonZeroU32::get))
    }

    /// Bytes of one vector.
    fn vector_bytes(&self) -> f64 {
        f64::from(self.dimensions.get()) * f64::from(self.bytes_per_dimension.map_or(4, NonZeroU32::get))
    }

    /// Vectors on the fullest of so many shards.
    fn vectors_on(&self, shards: u64) -> f64 {
        self.vectors.get().div_ceil(shards) as f64
    }

    fn nlist(&self, vectors: f64) -> f64 {
        self.nlist.map_or_else(|| (4.0 * vectors.sqrt()).ceil(), |nlist| f64::from(nlist.get()))
    }

    /// Bytes that an index over so many vectors takes.
    fn memory_of(&self, vectors: f64) -> f64 {
        let vector = self.vector_bytes();
        match self.index {
            IndexType::Flat => vector * vectors,
            IndexType::Hnsw => MEMORY_OVERHEAD * (vector + BYTES_PER_LINK * self.m()) * vectors,
            IndexType::Ivf => MEMORY_OVERHEAD * vector * (vectors + self.nlist(vectors)),
        }
    }

    /// Memory that the fullest shard needs.
    pub fn memory_per_shard(&self) -> Bytes {
        Bytes::new(self.memory_of(self.vectors_on(u64::from(self.shards.get()))).ceil() as u64)
    }

    /// Distances that a search on one shard computes.
    pub fn distances(&self) -> f64 {
        let n = self.vectors_on(u64::from(self.shards.get()));
        match self.index {
            IndexType::Flat => n,
            IndexType::Ivf => {
                let nlist = self.nlist(n);
                let nprobe = f64::from(self.nprobe.map_or(16, NonZeroU32::get)).min(nlist);
                nlist + n * nprobe / nlist
            }
            IndexType::Hnsw => {
                let m = self.m();
                let beam = f64::from(self.ef_search.map_or(100, NonZeroU32::get).max(self.top_k()));
                (2.0 * m * beam + m * libm::log(n) / libm::log(m)).min(n)
            }
        }
    }

    /// Mean seconds of a search on one shard.
    fn search_seconds(&self) -> Result<f64, ConfigError> {
        let bandwidth = self.memory_bandwidth.map_or(10_000_000_000, Bytes::get);
        if bandwidth == 0 {
            return Err(wrong("memory_bandwidth", "`memory_bandwidth` is 0B: nothing is ever read")
                .help("expected what a thread reads in a second, such as \"10GB\""));
        }
        let latency = match self.index {
            IndexType::Hnsw => self.memory_latency.map_or(100e-9, Time::as_secs_f64),
            IndexType::Flat | IndexType::Ivf => 0.0,
        };
        let base = self.base.map_or(500e-6, Time::as_secs_f64);
        Ok(base + self.distances() * (self.vector_bytes() / bandwidth as f64 + latency))
    }

    fn law(&self) -> Result<Dist, ConfigError> {
        if let Some(law) = &self.search_time {
            return law.build().map_err(|error| wrong("search_time", error));
        }
        let (mean, cv) = (self.search_seconds()?, self.cv.map_or(0.3, Number::get));
        let law = if cv == 0.0 || mean == 0.0 {
            Constant::new(mean).map(Dist::from)
        } else {
            LogNormal::from_mean_cv(mean, cv).map(Dist::from)
        };
        law.map_err(|error| wrong("cv", error))
    }

    fn check_memory(&self) -> Result<(), ConfigError> {
        let needed = self.memory_per_shard();
        let Some(memory) = self.memory.filter(|memory| *memory < needed) else { return Ok(()) };
        let (have, bytes) = (memory.get() as f64, self.bytes_per_dimension.map_or(4, NonZeroU32::get));
        let message = format!(
            "`memory` is {memory}, but the index of a shard needs {:.2} GB: {:.2} GB are missing",
            needed.get() as f64 / 1e9,
            (needed.get() - memory.get()) as f64 / 1e9
        );
        // Overhead aside memory is in proportion to the vectors: the least that may fit, then upwards.
        let vectors = self.vectors.get();
        let least = (self.memory_of(vectors as f64) / have).ceil();
        let fits = |shards: &u64| self.memory_of(self.vectors_on(*shards)) <= have;
        let shards = (least.is_finite() && least < vectors as f64).then_some(least as u64);
        let shards = shards.and_then(|least| (least.max(1)..least.saturating_add(1_000)).find(fits));
        let mut ways: Vec<String> = shards.map(|shards| format!("shards = {shards}")).into_iter().collect();
        if let Some(fewer) = (1..bytes).rev().find(|fewer| {
            let config = Self { bytes_per_dimension: NonZeroU32::new(*fewer), ..self.clone() };
            config.memory_per_shard() <= memory
        }) {
            ways.push(format!("bytes_per_dimension = {fewer}"));
        }
        ways.push("more memory".to_owned());
        Err(wrong("memory", message).help(format!("what would fit: {}", ways.join(", or "))))
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        self.check_memory()?;
        if self.index == IndexType::Hnsw && self.m() < 2.0 {
            return Err(
                wrong("m", "`m` is 1: a graph of one neighbour each leads nowhere").help("expected 2 to 100")
            );
        }
        let law = self.law()?;
        let (shards, threads) = (self.shards.get(), self.threads.get());
        scope.meter().capacity.set(SimTime::ZERO, u64::from(shards) * u64::from(threads));
        scope.rent(Rent {
            resource: "vector index shard".to_owned(),
            list: ListPrice::given(self.price_per_hour),
            model: self.price_model.as_ref(),
            units: u64::from(shards),
            each: 1,
        })?;
        let candidate = self.merge_time.map_or(SimDuration::from_nanos(50), Time::get).as_nanos();
        let candidates = u64::from(self.top_k()) * u64::from(shards);
        let merge = SimDuration::from_nanos(candidate.saturating_mul(candidates));
        Ok(Box::new(Searchers::new(law, merge, shards, threads, self.queue_cap)))
    }
}
