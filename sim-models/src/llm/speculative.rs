//! The `speculative` settings of a pool: who drafts, and how good the drafts are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::engine::Speculation;
use super::timing::{Hardware, TimingConfig};
use crate::hardware::HardwareError;
use crate::hardware::catalogue::{Model, find_model};
use crate::hardware::timing::{Drafter, StepFunction};

/// Speculative decoding, under vLLM's names (`vllm/config/speculative.py`, 0.14.0): a cheap drafter proposes tokens,
/// and the model verifies them in one pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpeculativeConfig {
    /// Who drafts. Default: draft_model if `draft` names a model, otherwise ngram, as in vLLM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Tokens drafted for each sequence and step, from 1 to 64.
    pub num_speculative_tokens: u32,
    /// The probability, from 0 to 1, that a draft is accepted if all before it were: it depends on the task and
    /// the drafter. Published: 0.6 to 0.8 for a T5-small before a T5-XXL (Leviathan et al., ICML 2023, table 3),
    /// 0.6 to 0.8 for EAGLE (Li et al., ICML 2024), 0.3 to 0.8 for n-grams by how much the answer copies.
    pub acceptance_rate: f64,
    /// How acceptances are spread. Default: carried.
    #[serde(default)]
    pub acceptance: AcceptanceMode,
    /// What a draft pass takes. Default: nothing with n-grams, with EAGLE one layer like the model's and its
    /// output layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftConfig>,
}

/// Who drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A smaller model with its own KV cache.
    DraftModel,
    /// A head of one layer on the model's own features (EAGLE; Medusa and MTP by their cost).
    Eagle,
    /// What followed the same n-gram in the prompt (prompt lookup): no model.
    Ngram,
}

/// How acceptances are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptanceMode {
    /// The expected number of accepted drafts is carried from step to step: exact in the mean, without luck, and fast.
    #[default]
    Carried,
    /// Each draft is accepted or not by a draw that is keyed by the request: every step is simulated.
    Random,
}

/// What a draft pass takes: either of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftConfig {
    /// The drafting model: an id of the catalogue, or the path of its `config.json`. It lies on the same GPUs, split like the model, in the same
    /// precision; its weights and KV cache take memory there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The time of a draft pass as a share of the model's own decode pass, from 0 to 1: `c` of Leviathan et al.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}

/// The model that drafts, or its cost.
#[derive(Debug)]
pub(super) enum Draft {
    Model(Box<Model>),
    Cost(f64),
}

fn out_of_range(name: &'static str, value: f64, expected: &'static str) -> HardwareError {
    HardwareError::OutOfRange { name, value, expected }
}

impl SpeculativeConfig {
    pub(super) fn method(&self) -> Method {
        self.method.unwrap_or(match &self.draft {
            Some(DraftConfig { model: Some(_), .. }) => Method::DraftModel,
            _ => Method::Ngram,
        })
    }

    /// Whether the host may prepare a step while the GPU computes the one before: with EAGLE alone, as in vLLM.
    pub(super) fn overlaps(&self) -> bool {
        self.method() == Method::Eagle
    }

    /// Whether every figure is in its range.
    pub(super) fn check(&self) -> Result<(), HardwareError> {
        let Self { num_speculative_tokens, acceptance_rate, .. } = self;
        if !(1..=64).contains(num_speculative_tokens) {
            let value = f64::from(*num_speculative_tokens);
            return Err(out_of_range("num_speculative_tokens", value, "from 1 to 64 tokens"));
        }
        if !(0.0..=1.0).contains(acceptance_rate) {
            return Err(out_of_range("acceptance_rate", *acceptance_rate, "a probability from 0 to 1"));
        }
        Ok(())
    }

    /// The engine's part.
    pub(super) fn speculation(&self) -> Speculation {
        let drafts = self.num_speculative_tokens;
        let lookahead = if self.method() == Method::Ngram { 0 } else { drafts };
        let drawn = self.acceptance == AcceptanceMode::Random;
        Speculation::new(drafts, lookahead, self.acceptance_rate, drawn)
            .with_eagle(self.method() == Method::Eagle)
    }

    /// Who drafts for `target`.
    ///
    /// # Errors
    /// An unknown model, or in words what is missing.
    pub(super) fn draft(&self, target: &Model) -> Result<Result<Draft, &'static str>, HardwareError> {
        Ok(match (&self.draft, self.method()) {
            (Some(DraftConfig { model: Some(_), cost: Some(_) }), _)
            | (Some(DraftConfig { model: None, cost: None }), _) => Err("expected either `model` or `cost`"),
            (Some(DraftConfig { model: Some(_), .. }), Method::Ngram) => {
                Err("n-grams need no model: expected `cost`, or method = \"draft_model\"")
            }
            (Some(DraftConfig { model: Some(model), .. }), _) => {
                Ok(Draft::Model(Box::new(find_model(model)?.into_owned())))
            }
            (Some(DraftConfig { cost: Some(cost), .. }), _) if !(0.0..=1.0).contains(cost) => {
                return Err(out_of_range("cost", *cost, "a share of the model's time, from 0 to 1"));
            }
            (Some(DraftConfig { cost: Some(cost), .. }), _) => Ok(Draft::Cost(*cost)),
            (None, Method::Ngram) => Ok(Draft::Cost(0.0)),
            (None, Method::Eagle) => Ok(Draft::Model(Box::new(target.head_layer()))),
            (None, Method::DraftModel) => Err("expected draft = { model = \"...\" } or { cost = ... }"),
        })
    }

    /// `step` with the drafting behind each pass.
    pub(super) fn timed(
        &self,
        step: StepFunction,
        draft: &Draft,
        timing: &TimingConfig,
        target: Hardware,
    ) -> Result<StepFunction, HardwareError> {
        let passes = u64::from(self.num_speculative_tokens);
        let drafter = match draft {
            Draft::Cost(cost) => Drafter::ratio(&step, *cost, passes)?,
            // Of its host nothing is counted: the passes are launched from one loop.
            Draft::Model(model) => {
                let hardware = Hardware { model, async_scheduling: true, ..target };
                Drafter::model(timing.step_function(hardware)?, passes)
            }
        };
        Ok(step.with_drafter(drafter))
    }
}
