//! Where components are: zones of a cloud, which are lost as a whole.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::ComponentConfig;
use crate::component::ComponentId;
use crate::error::ConfigError;

/// In which zones a component is.
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

/// The zones of a system, and who is where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zones {
    names: Vec<String>,
    /// By component: the zones of its first replicas, which the others repeat.
    places: Vec<Vec<u16>>,
}

impl Zones {
    /// # Errors
    /// What of the placement cannot be.
    pub(super) fn new(
        placement: &IndexMap<String, Placement>,
        ids: &IndexMap<&str, ComponentId>,
        components: &IndexMap<String, ComponentConfig>,
    ) -> Result<Self, ConfigError> {
        let mut zones = Self { names: Vec::new(), places: vec![Vec::new(); ids.len()] };
        for (name, placement) in placement {
            let wrong = |message: String| ConfigError::new(["placement", name], message);
            let Some(component) = components.get(name) else {
                let names: Vec<&str> = components.keys().map(String::as_str).collect();
                return Err(wrong(format!("unknown component `{name}`"))
                    .help(format!("expected one of {}", names.join(", "))));
            };
            let pattern = placement.pattern();
            if pattern.is_empty() {
                return Err(wrong("no zone is given".into())
                    .help("expected zones, such as [\"zone-a\", \"zone-b\", \"zone-c\"]"));
            }
            if pattern.iter().any(|zone| *zone != pattern[0]) && !component.is_pool() {
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
            zones.places[ids[name.as_str()].index()] = places;
        }
        Ok(zones)
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
