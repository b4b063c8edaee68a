//! Routing by what a request is about: the similarity of its embedding to the routes' exemplars.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Normal;
use sim_core::random::{KeyedDraws, stable_hash, unit, unit_of};

use crate::component::ComponentId;
use crate::error::ConfigError;
use crate::request::Request;
use crate::semantic_cache::SimilarityConfig;
use crate::system::Scope;
use crate::units::Probability;

/// Routes and the encoder that finds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SemanticConfig {
    /// Whose default threshold is taken. Either this or thresholds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Encoder>,
    /// The least similarity of a route. Default: the encoder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f64>,
    /// The routes.
    pub routes: Vec<RouteConfig>,
    /// Similarity of a request to a route that it belongs to.
    pub same_intent: SimilarityConfig,
    /// Similarity of a request to each route that it does not belong to.
    pub different_intent: SimilarityConfig,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The component.
    pub to: String,
    /// Share of the topics that belong to the route; without topics, of the requests.
    pub share: Probability,
    /// The least similarity. Default: as for all routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f64>,
}

/// Encoders of semantic-router (aurelio-labs, 2024), by their default `score_threshold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoder {
    /// 0.82
    AzureOpenai,
    /// 0.3, of text-embedding-3-small and -large.
    Openai,
    /// 0.75
    Google,
    /// 0.5
    Fastembed,
    /// 0.3
    Cohere,
    /// 0.3
    Bedrock,
    /// 0.2
    Clip,
}

impl Encoder {
    /// Its default threshold.
    pub fn score_threshold(self) -> f64 {
        match self {
            Self::AzureOpenai => 0.82,
            Self::Google => 0.75,
            Self::Fastembed => 0.5,
            Self::Openai | Self::Cohere | Self::Bedrock => 0.3,
            Self::Clip => 0.2,
        }
    }
}

#[derive(Debug)]
struct Route {
    to: ComponentId,
    /// End of its part of the line of topics.
    until: f64,
    threshold: f64,
}

/// Routes at work.
#[derive(Debug)]
pub(super) struct ByTopic {
    routes: Vec<Route>,
    pub default: ComponentId,
    same: Normal,
    different: Normal,
}

impl SemanticConfig {
    pub(super) fn build(&self, default: ComponentId, scope: &Scope) -> Result<ByTopic, ConfigError> {
        if self.routes.is_empty() {
            return Err(ConfigError::new(["routes"], "there are no routes")
                .help("expected routes such as [{ to = \"billing\", share = 0.3 }]"));
        }
        if self.encoder.is_some() && self.score_threshold.is_some() {
            return Err(ConfigError::new(["encoder"], "both `encoder` and `score_threshold` are given")
                .help("an encoder is a preset of the threshold: keep one of the two"));
        }
        let common = self.score_threshold.or(self.encoder.map(Encoder::score_threshold));
        let mut until = 0.0;
        let mut routes = Vec::with_capacity(self.routes.len());
        for (index, route) in self.routes.iter().enumerate() {
            let path = |key: &str| vec!["routes".to_owned(), index.to_string(), key.to_owned()];
            let Some(threshold) = route.score_threshold.or(common) else {
                return Err(ConfigError::new(path("score_threshold"), "no threshold is given")
                    .help("give `encoder`, or `score_threshold` here or for all routes"));
            };
            until += route.share.get();
            routes.push(Route { to: scope.id(&route.to), until, threshold });
        }
        if until > 1.0 + 1e-9 {
            return Err(ConfigError::new(["routes"], format!("the shares sum to {until}"))
                .help("expected at most 1; what is left belongs to no route"));
        }
        let same = self.same_intent.build().map_err(|error| error.within("same_intent"))?;
        let different = self.different_intent.build().map_err(|error| error.within("different_intent"))?;
        Ok(ByTopic { routes, default, same, different })
    }
}

impl ByTopic {
    /// Where a request goes, and whether that is where it belongs.
    pub fn of(&self, request: &Request, draws: &mut KeyedDraws) -> (ComponentId, bool) {
        let chance = unit(draws);
        let topic = match request.topic {
            0 => chance,
            topic => unit_of(stable_hash(&topic.to_le_bytes())),
        };
        let own = self.routes.iter().position(|route| topic < route.until);
        let mut best: Option<(usize, f64)> = None;
        for index in 0..self.routes.len() {
            let law = if own == Some(index) { &self.same } else { &self.different };
            let similarity = law.quantile(unit(draws));
            if best.is_none_or(|(_, most)| similarity > most) {
                best = Some((index, similarity));
            }
        }
        let found = best.filter(|(index, similarity)| *similarity >= self.routes[*index].threshold);
        let found = found.map(|(index, _)| index);
        (found.map_or(self.default, |index| self.routes[index].to), found == own)
    }
}
