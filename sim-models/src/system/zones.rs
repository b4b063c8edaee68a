//! Where components are: zones of a cloud, which are lost as a whole.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::stable_hash;

use super::config::ComponentConfig;
use crate::component::ComponentId;
use crate::error::ConfigError;

/// In which zones a component is, or the clients of a traffic source. What is no pool and has no capacity of its own
/// (`flow`, `router`, `cascade`, traffic) has an instance for each that is named; a request goes through one of them, by
/// a hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Placement {
    /// All of it in this zone.
    One(String),
    /// Its replicas in these zones, in turn.
    InTurn(Vec<String>),
    /// So many replicas in each zone, and so on in turn.
    Counts(IndexMap<String, u32>),
}

impl Placement {
    /// The zones of the first replicas; those of the others repeat them.
    fn pattern(&self) -> Vec<&str> {
        match self {
            Self::One(zone) => vec![zone],
            Self::InTurn(zones) => zones.iter().map(String::as_str).collect(),
            Self::Counts(counts) => {
                let most = counts.values().copied().max().unwrap_or(0).min(MOST);
                let rounds = (0..most).flat_map(|round| {
                    counts.iter().filter(move |(_, count)| **count > round).map(|(zone, _)| zone.as_str())
                });
                rounds.collect()
            }
        }
    }
}

/// The most replicas in a zone: as many as a pool can have.
const MOST: u32 = crate::pool::MAX_REPLICAS;

/// Where an instance is that makes or serves calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locality {
    /// The number of its zone.
    pub(crate) zone: u16,
    /// Of whom it is an instance.
    pub(crate) cluster: ComponentId,
}

/// The zones of a system, and who is where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zones {
    names: Vec<String>,
    /// By component: the zones of its first replicas, which the others repeat.
    places: Vec<Vec<u16>>,
    /// By component.
    pools: Vec<bool>,
    /// By component: sets the luck of where its requests are apart from that of others.
    salts: Vec<u64>,
    /// By zone.
    lost: Vec<bool>,
}

impl Zones {
    /// # Errors
    /// What of the placement cannot be.
    pub(super) fn new(
        placement: &IndexMap<String, Placement>,
        ids: &IndexMap<&str, ComponentId>,
        components: &IndexMap<String, ComponentConfig>,
    ) -> Result<Self, ConfigError> {
        let mut zones = Self {
            names: Vec::new(),
            places: vec![Vec::new(); ids.len()],
            pools: ids
                .keys()
                .map(|name| components.get(*name).is_some_and(ComponentConfig::is_pool))
                .collect(),
            salts: ids.keys().map(|name| stable_hash(name.as_bytes())).collect(),
            lost: Vec::new(),
        };
        for (name, placement) in placement {
            let wrong = |message: String| ConfigError::new(["placement", name], message);
            let Some(id) = ids.get(name.as_str()) else {
                let names: Vec<&str> = ids.keys().copied().collect();
                return Err(wrong(format!("unknown component `{name}`"))
                    .help(format!("expected one of {}", names.join(", "))));
            };
            let pattern = placement.pattern();
            if pattern.is_empty() {
                return Err(wrong("no zone is given".into())
                    .help("expected zones, such as [\"zone-a\", \"zone-b\", \"zone-c\"]"));
            }
            let can_spread = components.get(name).is_none_or(ComponentConfig::can_be_in_several_zones);
            if pattern.iter().any(|zone| *zone != pattern[0]) && !can_spread {
                return Err(wrong(format!("`{name}` is no pool of replicas, and cannot be in two zones"))
                    .help("expected one zone, such as \"zone-a\""));
            }
            let mut places = Vec::with_capacity(pattern.len());
            for zone in pattern {
                let known = zones.names.iter().position(|known| known == zone);
                let place = known.unwrap_or_else(|| {
                    zones.names.push(zone.to_owned());
                    zones.names.len() - 1
                });
                places.push(place as u16);
            }
            zones.places[id.index()] = places;
        }
        zones.lost = vec![false; zones.names.len()];
        Ok(zones)
    }

    /// Of a system of one component, which is in these.
    #[cfg(test)]
    pub(crate) fn of_one(places: Vec<u16>, count: usize) -> Self {
        Self {
            names: (0..count).map(|zone| zone.to_string()).collect(),
            places: vec![places],
            pools: vec![false],
            salts: vec![0],
            lost: vec![false; count],
        }
    }

    /// Whether there are any.
    #[inline]
    pub(crate) fn are_used(&self) -> bool {
        !self.names.is_empty()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn is_pool(&self, component: ComponentId) -> bool {
        self.pools[component.index()]
    }

    /// The zones of the first replicas or instances of a component, which the others repeat; empty where it has no
    /// place.
    pub(crate) fn places(&self, component: ComponentId) -> &[u16] {
        &self.places[component.index()]
    }

    /// Whether a zone is lost.
    pub(crate) fn is_lost(&self, zone: u16) -> bool {
        self.lost[usize::from(zone)]
    }

    pub(super) fn set_lost(&mut self, zone: u16, lost: bool) {
        self.lost[usize::from(zone)] = lost;
    }

    /// Whether all zones of a component are lost.
    pub(super) fn is_gone(&self, component: ComponentId) -> bool {
        self.places(component).iter().all(|zone| self.is_lost(*zone))
    }

    /// The instance of a component that is no pool that a request goes through: one of those that are not lost, by
    /// a hash of the request.
    pub(crate) fn instance(&self, component: ComponentId, request: u64) -> Option<Locality> {
        let places = self.places(component);
        let up = || places.iter().copied().filter(|zone| !self.is_lost(*zone));
        let count = match places.len() {
            0 => return None,
            _ => up().count() as u64,
        };
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&request.to_le_bytes());
        seed[8..].copy_from_slice(&self.salts[component.index()].to_le_bytes());
        let place = stable_hash(&seed).checked_rem(count)?;
        let zone = up().nth(place as usize)?;
        Some(Locality { zone, cluster: component })
    }

    /// The names of the zones.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The number of a zone.
    pub(super) fn find(&self, name: &str) -> Option<u16> {
        self.names.iter().position(|known| known == name).map(|place| place as u16)
    }

    /// Whether any of a component is in a zone.
    pub(super) fn holds(&self, zone: u16, component: ComponentId) -> bool {
        self.places[component.index()].contains(&zone)
    }

    /// Whether a replica of a component is in a zone.
    pub(crate) fn has(&self, zone: u16, component: ComponentId, replica: usize) -> bool {
        let places = &self.places[component.index()];
        !places.is_empty() && places[replica % places.len()] == zone
    }
}
