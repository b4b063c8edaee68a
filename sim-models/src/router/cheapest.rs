//! Routing to the cheapest model that is good enough and fast enough at the moment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use crate::component::ComponentId;
use crate::context::Ctx;
use crate::error::ConfigError;
use crate::system::Scope;
use crate::units::{Probability, Time};

/// Models by price, and what is expected of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheapestConfig {
    /// The models, the cheapest first.
    pub models: Vec<CandidateConfig>,
    /// The longest latency that is expected to do. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_bound: Option<Time>,
    /// The least accuracy that does. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_bound: Option<Probability>,
    /// How old the signals of the models may get. Default: 15 s, Prometheus' usual `scrape_interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrape_interval: Option<Time>,
}

/// A model and what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CandidateConfig {
    /// The component.
    pub to: String,
    /// Its latency without a queue. With one it is expected to take (1 + waiting / servers) times as long, by
    /// the last signals: each server works off its part of the line first.
    pub latency: Time,
    /// Its accuracy. Default: as the `[quality]` table says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Probability>,
}

/// The models that are good enough, the cheapest first, with their latencies in seconds.
#[derive(Debug)]
pub(super) struct Cheapest {
    models: Vec<(ComponentId, f64)>,
    bound: f64,
    pub scrape: SimDuration,
}

impl CheapestConfig {
    pub(super) fn build(&self, scope: &Scope) -> Result<Cheapest, ConfigError> {
        let mut models = Vec::with_capacity(self.models.len());
        for (index, candidate) in self.models.iter().enumerate() {
            let id = scope.id(&candidate.to);
            if let Some(bound) = self.accuracy_bound {
                let quality = scope.quality();
                let known = quality.and_then(|quality| Some(quality.accuracy(quality.model_of(id)?)));
                let Some(accuracy) = candidate.accuracy.map(Probability::get).or(known) else {
                    let path = ["models".to_owned(), index.to_string(), "accuracy".to_owned()];
                    let message = format!("nothing says how accurate `{}` is", candidate.to);
                    return Err(ConfigError::new(path, message)
                        .help("give its `accuracy`, or name it in a [quality] table"));
                };
                if accuracy < bound.get() {
                    continue;
                }
            }
            models.push((id, candidate.latency.as_secs_f64()));
        }
        if models.is_empty() {
            let message = match self.accuracy_bound {
                Some(bound) => format!("no model has an accuracy of {bound}"),
                None => "there are no models".to_owned(),
            };
            return Err(ConfigError::new(["models"], message)
                .help("expected models such as [{ to = \"small\", latency = \"300ms\" }, ...]"));
        }
        let scrape = self.scrape_interval.map_or(SimDuration::from_secs(15), Time::get);
        if scrape.is_zero() {
            return Err(ConfigError::new(["scrape_interval"], "signals are scraped without end")
                .help("expected a time above 0, such as \"15s\""));
        }
        let bound = self.latency_bound.map_or(f64::INFINITY, Time::as_secs_f64);
        Ok(Cheapest { models, bound, scrape })
    }
}

impl Cheapest {
    /// The most accurate models tend to be the dearest: the last that is good enough.
    pub fn last(&self) -> ComponentId {
        self.models[self.models.len() - 1].0
    }

    /// The cheapest that is expected to be in time, or else the fastest.
    pub fn of(&self, ctx: &Ctx) -> ComponentId {
        let expected = |(id, latency): &(ComponentId, f64)| {
            let signals = ctx.metric(*id);
            let line = signals.queue as f64 / signals.capacity.max(1) as f64;
            (*id, latency * (1.0 + line))
        };
        let mut fastest: Option<(ComponentId, f64)> = None;
        for (id, latency) in self.models.iter().map(expected) {
            if latency <= self.bound {
                return id;
            }
            if fastest.is_none_or(|(_, least)| latency < least) {
                fastest = Some((id, latency));
            }
        }
        fastest.map_or(self.last(), |(id, _)| id)
    }
}
