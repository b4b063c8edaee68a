//! Quality as an output: who is right on which request, and what share of the answers was right.
//!
//! Models are right on the same questions far more often than chance would have it, so a product of
//! accuracies says nothing about routers and cascades. What counts is the joint table: how often exactly
//! these models are right and all others wrong.
//!
//! ```toml
//! [quality]
//! models = ["small", "large"]     # the weakest first
//! joint = [                       # Mixtral-8x7B and GPT-4-1106 on GSM8K (lm-sys/RouteLLM)
//!     { right = ["small", "large"], weight = 747 },
//!     { right = ["small"], weight = 95 },
//!     { right = ["large"], weight = 383 },
//!     { right = [], weight = 94 },
//! ]
//! ```
//!
//! The cells are lined up from the easiest to the hardest: those where more models are right first, and
//! among equals those where weaker ones are. A request finds its cell at its `difficulty`, drawn uniformly
//! when it was born. So no number is drawn for quality, compared variants see the same questions, and a
//! model is right on a question or not, however often it is asked.
//!
//! Quantized weights lose some of it, and how much is for the user to say: `accuracy_retained = { int4 = 0.97 }` is the
//! share of the right answers of a model that are still right where a component serves it in that precision. Nothing is
//! lost by default: published losses differ by model, method and task far more than by precision. Which answers are
//! lost is drawn by request and model, so that a lower share loses the same ones and more.
//!
//! The answer of a request is that of the model whose reply was heard last; it is scored when the request
//! ends with an answer. Beside what came of it stand the same requests with each model alone, and the best
//! that mixing single models by chance gives at the same cost (the Zero router of RouterBench, Hu et al.
//! 2024, arXiv 2403.12031: the convex hull of single models over cost).

mod baseline;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::{KeyedStream, Purpose, Streams, unit};

use crate::call::CallId;
use crate::component::ComponentId;
use crate::context::Ctx;
use crate::error::ConfigError;
use crate::hardware::precision::Precision;
use crate::request::Request;
use crate::units::Probability;
pub use baseline::{Hull, QualityOutput};
pub use table::{JointCell, JointCsv};

/// Which models are right how often, and on the same questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityConfig {
    /// The models, the weakest first, at most 64. A model is the component of its name unless `served_by`
    /// says otherwise.
    pub models: Vec<String>,
    /// The joint table: how often exactly these models are right. Either this or `joint_csv`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<JointCell>,
    /// The joint table from a file with a row a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint_csv: Option<JointCsv>,
    /// The components that answer as a model, by model. Default: the one of its name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub served_by: IndexMap<String, Vec<String>>,
    /// Share of the right answers that are still right where a model is served in this precision. Default: all.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub accuracy_retained: IndexMap<Precision, Probability>,
}

impl QualityConfig {
    /// `components` gives the number of each component that may answer as a model; `count` is how many
    /// components there are in all.
    pub(crate) fn build(
        &self,
        components: &BTreeMap<&str, ComponentId>,
        count: usize,
        streams: Streams,
    ) -> Result<Quality, ConfigError> {
        let accepted = || {
            let names: Vec<&str> = components.keys().copied().collect();
            match names.is_empty() {
                true => "there is no component that answers as a model".to_owned(),
                false => format!("components that can answer as a model: {}", names.join(", ")),
            }
        };
        let cells = table::cells(self)?;
        let mut model_of = vec![None; count];
        for (model, name) in self.models.iter().enumerate() {
            let named = self.served_by.get(name);
            let servers = named.map_or(std::slice::from_ref(name), Vec::as_slice);
            for (index, server) in servers.iter().enumerate() {
                let path = match named {
                    Some(_) => vec!["served_by".to_owned(), name.clone(), index.to_string()],
                    None => vec!["models".to_owned(), model.to_string()],
                };
                let Some(id) = components.get(server.as_str()) else {
                    let message = format!("no component `{server}` answers as a model");
                    return Err(ConfigError::new(path, message)
                        .help(format!("{}; or say who does in `served_by`", accepted())));
                };
                if model_of[id.index()].replace(model as u8).is_some() {
                    let message = format!("`{server}` answers as two models");
                    return Err(ConfigError::new(path, message).help("name each component once"));
                }
            }
        }
        if let Some(stray) = self.served_by.keys().find(|name| !self.models.contains(name)) {
            return Err(ConfigError::new(["served_by", stray], format!("unknown model `{stray}`"))
                .help(format!("expected one of {}", self.models.join(", "))));
        }
        let mut sum = 0.0;
        let steps = cells.iter().map(|(right, weight)| {
            sum += weight;
            (sum, *right)
        });
        let steps: Vec<(f64, u64)> = steps.collect();
        let models = self.models.clone();
        Ok(Quality {
            alone: vec![0; models.len()],
            oracle: 0,
            scored: 0,
            spent: 0.0,
            models,
            steps,
            model_of,
            retained: vec![1.0; count],
            luck: streams.keyed("quality", Purpose::Attributes),
        })
    }
}

/// The answer that a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// None, or one that says nothing of quality.
    #[default]
    None,
    /// That of a model, by its place in the table.
    Model(u8),
    /// One that is right or wrong whoever gave it, such as the answer to another question.
    Settled(bool),
}

/// The joint table as the simulation uses it, and what the models alone would have come to.
#[derive(Debug, Clone)]
pub struct Quality {
    models: Vec<String>,
    /// The ends of the cells on the line of difficulty, and the models that are right there, as bits.
    steps: Vec<(f64, u64)>,
    /// The model of each component.
    model_of: Vec<Option<u8>>,
    /// Share of the model's right answers that are still right, by component.
    retained: Vec<f64>,
    /// Which ones are.
    luck: KeyedStream,
    /// Requests each model would have got right, and any of them; of how many.
    alone: Vec<u64>,
    oracle: u64,
    scored: u64,
    /// USD that models and those who choose between them were paid for measured requests.
    pub(crate) spent: f64,
}

impl Quality {
    /// Names of the models, the weakest first.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// The model that a component answers as.
    pub fn model_of(&self, component: ComponentId) -> Option<u8> {
        self.model_of[component.index()]
    }

    fn cell(&self, difficulty: f32) -> u64 {
        let place = self.steps.partition_point(|(end, _)| *end <= f64::from(difficulty));
        self.steps[place.min(self.steps.len() - 1)].1
    }

    /// This share of a component's right answers are still right, in the precision that it serves its model in.
    pub(crate) fn retain(&mut self, component: ComponentId, share: f64) {
        self.retained[component.index()] = share;
    }

    /// Whether a component, which serves a model, is right on a request.
    fn is_right_by(&self, request: &Request, component: ComponentId, model: u8) -> bool {
        let retained = self.retained[component.index()];
        let keeps = || unit(&mut self.luck.draws(request.key, model.into(), 0)) < retained;
        self.is_right(request, model) && (retained >= 1.0 || keeps())
    }

    /// The first component that serves a model.
    fn server_of(&self, model: usize) -> Option<ComponentId> {
        let place = self.model_of.iter().position(|served| *served == Some(model as u8))?;
        Some(ComponentId(place as u16))
    }

    /// Whether a model is right on a request, in the precision of the table.
    pub fn is_right(&self, request: &Request, model: u8) -> bool {
        self.cell(request.difficulty) >> model & 1 == 1
    }

    /// The share of all questions that a model is right on, in the precision of the table.
    pub fn accuracy(&self, model: u8) -> f64 {
        let mut start = 0.0;
        let right = self.steps.iter().map(|(end, cell)| {
            let width = end - std::mem::replace(&mut start, *end);
            if cell >> model & 1 == 1 { width } else { 0.0 }
        });
        right.sum()
    }

    fn score(&self, request: &Request) -> Option<bool> {
        match request.answer {
            Answer::None => None,
            Answer::Model(model) => Some(self.is_right(request, model)),
            Answer::Settled(right) => Some(right),
        }
    }

    /// Scores a request that ends with an answer, and the models alone on it.
    pub(crate) fn end(&mut self, request: &Request) -> Option<bool> {
        let score = self.score(request)?;
        self.scored += 1;
        let mut any = false;
        for model in 0..self.models.len() {
            let right = match self.server_of(model) {
                Some(server) => self.is_right_by(request, server, model as u8),
                None => self.is_right(request, model as u8),
            };
            self.alone[model] += u64::from(right);
            any |= right;
        }
        self.oracle += u64::from(any);
        Some(score)
    }
}

impl Ctx<'_> {
    /// The table of who is right, if the system has one.
    pub fn quality(&self) -> Option<&Quality> {
        self.core.quality.as_ref()
    }

    /// Whether the answer that the request of a call holds is right; `None` where nobody can say.
    pub fn is_right(&self, call: CallId) -> Option<bool> {
        self.core.quality.as_ref()?.score(self.request(call))
    }

    /// Whether the model that a component answers as is right on the request of a call.
    pub fn would_be_right(&self, call: CallId, component: ComponentId) -> Option<bool> {
        let quality = self.core.quality.as_ref()?;
        Some(quality.is_right_by(self.request(call), component, quality.model_of(component)?))
    }

    /// Gives the request of a call an answer, in place of that it holds.
    pub fn set_answer(&mut self, call: CallId, answer: Answer) {
        let id = self.call(call).request;
        if let Some(request) = self.core.requests.get_mut(id) {
            request.answer = answer;
        }
    }

    /// The caller of a call hears its answer.
    pub(crate) fn hear_answer(&mut self, call: CallId) {
        let callee = self.call(call).callee;
        let Some(quality) = &self.core.quality else { return };
        let Some(model) = quality.model_of(callee) else { return };
        let answer = if quality.retained[callee.index()] < 1.0 {
            Answer::Settled(quality.is_right_by(self.request(call), callee, model))
        } else {
            Answer::Model(model)
        };
        self.set_answer(call, answer);
    }
}
