//! How much there is to store, and whether it fits.

use std::num::NonZeroU64;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::stable_hash;

use crate::error::ConfigError;
use crate::units::Bytes;

/// What the store holds: every view of every entity under a key of its own, in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageConfig {
    /// Number of entities that have features (the cardinality).
    pub entities: NonZeroU64,
    /// Memory of one feature value with its name. Default: 15 B, Redis's 160 MB for a million hashes of
    /// five small fields, less 85 MB for a million keys (Redis documentation, FAQ: "What's the Redis memory
    /// footprint?").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_value: Option<Bytes>,
    /// Memory of one key beyond its values. Default: 85 B, from the same source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_key: Option<Bytes>,
    /// Memory there is for it (`maxmemory`). Default: enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// What happens when it does not fit (`maxmemory-policy`). Default: `noeviction`.
    #[serde(default)]
    pub eviction: Eviction,
}

/// What happens when the memory is full, by the names of Redis's `maxmemory-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Eviction {
    /// Writes fail. A store that could not hold its features is an error of the scenario.
    #[default]
    Noeviction,
    /// The most popular entities stay: those of the lowest ranks, as many as there is room for.
    AllkeysLfu,
    /// Any entities stay, as many as there is room for.
    AllkeysRandom,
}

const BYTES_PER_VALUE: Bytes = Bytes::new(15);
const BYTES_PER_KEY: Bytes = Bytes::new(85);

/// Who is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Storage {
    entities: u64,
    /// How many there is room for.
    room: u64,
    eviction: Eviction,
    pub needed: Bytes,
    pub memory: Option<Bytes>,
}

impl StorageConfig {
    /// Whether some entities have no room.
    pub(super) fn evicts(&self) -> bool {
        self.eviction != Eviction::Noeviction
    }

    /// Who is in a store of so many features and keys an entity.
    pub(super) fn plan(&self, features: u32, keys: u32) -> Result<Storage, ConfigError> {
        let value = self.bytes_per_value.unwrap_or(BYTES_PER_VALUE).get();
        let key = self.bytes_per_key.unwrap_or(BYTES_PER_KEY).get();
        let each = u128::from(features) * u128::from(value) + u128::from(keys) * u128::from(key);
        let entities = self.entities.get();
        let needed = u64::try_from(each * u128::from(entities)).map_err(|_| {
            let message = format!("{entities} entities of {each} B each are more bytes than can be counted");
            ConfigError::new(["storage", "entities"], message).help("expected fewer entities")
        })?;
        let fits = |memory: Bytes| u128::from(memory.get()).checked_div(each).unwrap_or(u128::MAX);
        let room = self.memory.map_or(entities, |memory| {
            u64::try_from(fits(memory).min(u128::from(entities))).expect("at most the entities")
        });
        if room < entities && self.eviction == Eviction::Noeviction {
            let (memory, needed) = (self.memory.unwrap_or_default(), Bytes::new(needed));
            let short = Bytes::new(needed.get() - memory.get());
            let message = format!(
                "`memory` is {memory}, but {entities} entities of {each} B each need {needed}: {short} are missing"
            );
            return Err(ConfigError::new(["storage", "memory"], message).help(format!(
                "expected at least {needed}, at most {room} entities, or eviction = \"allkeys_lfu\""
            )));
        }
        let needed = Bytes::new(needed);
        Ok(Storage { entities, room, eviction: self.eviction, needed, memory: self.memory })
    }
}

impl Storage {
    /// Whether an entity's features are in the store.
    pub(super) fn holds(&self, entity: u64) -> bool {
        match self.eviction {
            Eviction::Noeviction => true,
            // Entities are numbered by popularity, from 1.
            Eviction::AllkeysLfu => entity <= self.room,
            Eviction::AllkeysRandom => {
                let place = u128::from(stable_hash(&entity.to_le_bytes()));
                place * u128::from(self.entities) < u128::from(self.room) << 64
            }
        }
    }
}
