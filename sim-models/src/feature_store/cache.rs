//! The local cache: least recently used out first, with a time to live.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use super::values::Horizon;
use crate::by_number::ByNumber;
use crate::recency::Recency;
use crate::units::Time;

/// A cache of whole feature vectors, in the process that reads them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    /// The most entities in it; the least recently used makes room.
    pub capacity: NonZeroU32,
    /// How long an entry is served after it was read from the store. Default: as long as there is room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Time>,
    /// How long a hit takes. Default: 0.05 ms, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Time>,
}

/// A hit's time unless the scenario says otherwise. Assumption: fifty microseconds to find a feature
/// vector in memory and hand it on.
const LATENCY: SimDuration = SimDuration::from_micros(50);

impl CacheConfig {
    pub(super) fn build(&self) -> Cache {
        Cache {
            capacity: self.capacity.get() as usize,
            ttl: self.ttl.map(Time::get),
            latency: self.latency.map_or(LATENCY, Time::get),
            places: ByNumber::default(),
            entries: Vec::new(),
            by_use: Recency::default(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    entity: u64,
    horizon: Horizon,
    read_at: SimTime,
}

#[derive(Debug)]
pub(super) struct Cache {
    capacity: usize,
    ttl: Option<SimDuration>,
    pub latency: SimDuration,
    places: ByNumber<u32>,
    entries: Vec<Entry>,
    by_use: Recency,
}

impl Cache {
    /// Everything is lost.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.entries.clear();
        self.by_use.clear();
    }

    /// What is known of an entity, which counts as a use of it. What is too old is no longer known; it
    /// keeps its place for the value that is then read.
    pub(super) fn get(&mut self, entity: u64, now: SimTime) -> Option<Horizon> {
        let place = *self.places.get(entity)?;
        self.by_use.touch(place);
        let entry = &self.entries[place as usize];
        let is_live = self.ttl.is_none_or(|ttl| now.since(entry.read_at) <= ttl);
        is_live.then_some(entry.horizon)
    }

    /// An entity's features were read at `now`.
    pub(super) fn put(&mut self, entity: u64, horizon: Horizon, now: SimTime) {
        let place = match self.places.get(entity) {
            Some(place) => {
                let place = *place;
                self.by_use.remove(place);
                place
            }
            None if self.entries.len() < self.capacity => {
                self.entries.push(Entry { entity, horizon, read_at: now });
                self.entries.len() as u32 - 1
            }
            None => {
                let place = self.by_use.oldest().expect("a full cache has entries");
                self.by_use.remove(place);
                self.places.remove(self.entries[place as usize].entity);
                place
            }
        };
        let entry = &mut self.entries[place as usize];
        (entry.entity, entry.horizon, entry.read_at) = (entity, horizon, now);
        self.places.insert(entity, place);
        self.by_use.push(place);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cache(capacity: u32, ttl: &str) -> Cache {
        let config: CacheConfig = toml::from_str(&format!("capacity = {capacity}\n{ttl}")).unwrap();
        config.build()
    }

    proptest! {
        /// As a plain list, the most recently used first.
        #[test]
        fn it_is_least_recently_used(
            capacity in 1u32..6,
            ttl in 0u64..8,
            uses in prop::collection::vec((0u64..9, 0u64..3), 1..200),
        ) {
            let mut cache = cache(capacity, &if ttl > 0 { format!("ttl = \"{ttl}s\"") } else { String::new() });
            let mut list: Vec<(u64, u64)> = Vec::new();
            let mut now = 0;
            for (entity, pause) in uses {
                now += pause;
                let at = SimTime::from_nanos(now * 1_000_000_000);
                let seen = list.iter().position(|entry| entry.0 == entity).map(|place| list.remove(place));
                let expected = seen.filter(|entry| ttl == 0 || now - entry.1 <= ttl);
                let found = cache.get(entity, at).map(|horizon| horizon.batch.unwrap());
                prop_assert_eq!(found, expected.map(|entry| SimTime::from_nanos(entry.1)));
                if expected.is_none() {
                    cache.put(entity, Horizon { batch: Some(SimTime::from_nanos(now)), streamed: None }, at);
                }
                list.insert(0, (entity, expected.map_or(now, |entry| entry.1)));
                list.truncate(capacity as usize);
                prop_assert_eq!(cache.places.len(), list.len());
            }
        }
    }
}
