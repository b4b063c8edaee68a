//! A semantic cache: answers a request with the stored answer to one that means the same (GPTCache: Bang
//! 2023; names and defaults are its).
//!
//! ```toml
//! kind = "semantic_cache"
//! call = "large"                      # asked on a miss
//! latency = { lognormal = { p50 = "12ms", p99 = "40ms" } }
//! price_per_lookup = "$0.00001"
//! ```
//!
//! Every request is embedded and searched for among the stored questions, which takes `latency` and costs
//! `price_per_lookup`, hit or miss. The stored question that is most similar is a hit if its similarity
//! reaches `similarity_threshold`. Otherwise the component behind is called, and its answer is stored unless
//! it was degraded.
//!
//! **Similarity.** Requests of one topic mean the same. If an answer to the request's topic is stored, its
//! similarity is a draw of `same_intent`; if anything else is, the most similar of it is a draw of
//! `different_intent`, however much is stored. The larger counts. A hit on another topic is a false hit: an
//! answer, quick and wrong. With a topic stored, threshold t, and the laws S and D,
//!
//! - a hit has the probability 1 - P(S < t) P(D < t),
//! - a false hit the probability of D > S and D >= t.
//!
//! A stored answer is as right as it was for the request that it was made for: with a `[quality]` table,
//! wrong answers stay wrong in the cache.
//!
//! **Room.** When `max_size` questions are stored, `clean_size` of them leave before the next is stored, in
//! the order of `eviction`. Every miss is stored, also if the topic is there already. After `ttl` an answer
//! is gone.
//!
//! **Break-even.** A cache with the hit rate h saves money when h > c_e / c_llm: the price of a look-up over
//! that of an answer.
//!
//! Faults: a crash loses what is stored, and until the repair requests go straight to the component behind.
//! `slow` stretches the look-ups that begin from then on.

mod cache;
mod store;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Normal;

use crate::component::Component;
use crate::error::ConfigError;
use crate::system::Scope;
use crate::units::{Money, Time, TimeDist};
use cache::{Cache, Laws};
use store::Store;

/// Answers what has been asked before, in other words too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SemanticCacheConfig {
    /// The component that is called on a miss.
    pub call: String,
    /// The least similarity of a hit. Default: 0.8 (GPTCache).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity_threshold: Option<f64>,
    /// The most stored questions. Default: 1,000 (GPTCache).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<NonZeroU32>,
    /// How many leave when it is full. Default: a fifth of `max_size` (GPTCache).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_size: Option<NonZeroU32>,
    /// Who leaves first. Default: `lru` (GPTCache).
    #[serde(default)]
    pub eviction: EvictionPolicy,
    /// How long an answer is kept. Default: forever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Time>,
    /// How long embedding and search take. Default: no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<TimeDist>,
    /// Price of embedding and search. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_lookup: Option<Money>,
    /// Similarity of two requests that mean the same. Default: mean 0.90, standard deviation 0.05, an
    /// assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_intent: Option<SimilarityConfig>,
    /// Similarity of a request to the most similar one that means something else. Default: mean 0.65, standard
    /// deviation 0.08, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub different_intent: Option<SimilarityConfig>,
}

/// A cosine similarity, normally distributed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimilarityConfig {
    /// Its mean, from -1 to 1.
    pub mean: f64,
    /// Its standard deviation, above 0.
    pub sd: f64,
}

impl SimilarityConfig {
    pub(crate) fn build(self) -> Result<Normal, ConfigError> {
        if !(-1.0..=1.0).contains(&self.mean) {
            return Err(ConfigError::new(["mean"], format!("`mean` is {}", self.mean))
                .help("expected a cosine similarity, from -1 to 1"));
        }
        Normal::truncated(self.mean, self.sd, f64::NEG_INFINITY, f64::INFINITY).map_err(|_| {
            ConfigError::new(["sd"], format!("`sd` is {}", self.sd)).help("expected a number above 0")
        })
    }
}

/// Who leaves a full cache first (cachetools, which GPTCache uses).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvictionPolicy {
    /// The least recently used.
    #[default]
    Lru,
    /// The first stored.
    Fifo,
    /// The least frequently used, the first stored of equals.
    Lfu,
    /// Any, by chance.
    Rr,
}

impl SemanticCacheConfig {
    pub(crate) fn callees(&self) -> Vec<(Vec<String>, &str)> {
        vec![(vec!["call".to_owned()], self.call.as_str())]
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let threshold = self.similarity_threshold.unwrap_or(0.8);
        if !(-1.0..=1.0).contains(&threshold) {
            let message = format!("`similarity_threshold` is {threshold}");
            return Err(ConfigError::new(["similarity_threshold"], message)
                .help("expected a cosine similarity, from -1 to 1"));
        }
        let max_size = self.max_size.map_or(1_000, NonZeroU32::get);
        let clean_size = self.clean_size.map_or((max_size / 5).max(1), NonZeroU32::get);
        if clean_size > max_size {
            let message = format!("`clean_size` is {clean_size}, but the cache holds {max_size}");
            return Err(ConfigError::new(["clean_size"], message).help("expected a number up to `max_size`"));
        }
        let same = self.same_intent.unwrap_or(SimilarityConfig { mean: 0.90, sd: 0.05 });
        let different = self.different_intent.unwrap_or(SimilarityConfig { mean: 0.65, sd: 0.08 });
        let latency = self.latency.as_ref().map(TimeDist::build).transpose();
        let price = self.price_per_lookup.map(|price| {
            let (cost, me) = scope.cost();
            cost.add_usage(me, "cache look-ups", price.dollars(), "scenario")
        });
        let laws = Laws {
            threshold,
            same: same.build().map_err(|error| error.within("same_intent"))?,
            different: different.build().map_err(|error| error.within("different_intent"))?,
            latency: latency.map_err(|error| ConfigError::new(["latency"], error.to_string()))?,
        };
        let store = Store::new(self.eviction, max_size as usize, clean_size, self.ttl.map(Time::get));
        Ok(Box::new(Cache::new(scope.id(&self.call), laws, store, price)))
    }
}
