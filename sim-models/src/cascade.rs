//! A cascade: asks models from the cheapest on until a verifier accepts an answer (FrugalGPT: Chen, Zaharia,
//! Zou 2023, arXiv 2305.05176, the "LLM cascade").
//!
//! ```toml
//! kind = "cascade"
//! stages = [
//!     { call = "small", verifier = { true_positive_rate = 0.9, false_positive_rate = 0.1, latency = "80ms" } },
//!     { call = "large" },
//! ]
//! ```
//!
//! A request is sent to the first stage. Its verifier accepts the answer or escalates the request to the next
//! stage, and so on; the last has no verifier. A request pays for every model that was tried and for every
//! verification, and waits for them one after the other.
//!
//! **The verifier** accepts a right answer with `true_positive_rate` and a wrong one with
//! `false_positive_rate`; who is right on what is in the scenario's `[quality]` table. Or it accepts a share
//! of all, `acceptance_rate`. An answer whose quality nobody knows counts as wrong. It takes `latency`, any
//! number at once, or is a component of its own, the `judge`, with the room that it has; an answer that the
//! judge does not come to is not accepted.
//!
//! **Failures.** A stage that fails, refuses or times out (the timeout is its link's) is followed by the
//! next. Where no stronger answer comes, the request gets the last that it held, although that was not
//! accepted: it ends degraded.
//!
//! **Budget.** Each request adds `escalation_budget` to an account, up to `escalation_burst`, and each
//! escalation takes one from it. Without the means to escalate, the answer at hand is served, degraded.
//!
//! The user sees no token before an answer is accepted. Faults: as of a router.

mod runner;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component::Component;
use crate::error::ConfigError;
use crate::system::Scope;
use crate::units::{Money, Probability, TimeDist};
use runner::{Budget, Cascade, Stage, Verifier};

/// Asks models from the cheapest on until an answer is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CascadeConfig {
    /// The models in the order they are asked, at least two.
    pub stages: Vec<StageConfig>,
    /// The most escalations by request, on average. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation_budget: Option<Probability>,
    /// The most escalations that may be saved up. Default: 10, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation_burst: Option<NonZeroU32>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// The component that is asked.
    pub call: String,
    /// Who accepts its answers. Every stage but the last has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier: Option<VerifierConfig>,
}

/// Accepts or rejects an answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifierConfig {
    /// Share of right answers that it accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub true_positive_rate: Option<Probability>,
    /// Share of wrong answers that it accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_positive_rate: Option<Probability>,
    /// Share of all answers that it accepts, in place of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance_rate: Option<Probability>,
    /// How long it takes. Default: no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<TimeDist>,
    /// The component that is called to judge, in place of `latency`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// Price of a verification. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
}

impl CascadeConfig {
    pub(crate) fn callees(&self) -> Vec<(Vec<String>, &str)> {
        let stages = self.stages.iter().enumerate();
        let callees = stages.flat_map(|(index, stage)| {
            let place = move |keys: &[&str]| {
                let keys = keys.iter().map(|key| (*key).to_owned());
                ["stages".to_owned(), index.to_string()].into_iter().chain(keys).collect::<Vec<_>>()
            };
            let judge = stage.verifier.as_ref().and_then(|verifier| verifier.judge.as_deref());
            let judge = judge.map(|name| (place(&["verifier", "judge"]), name));
            std::iter::once((place(&["call"]), stage.call.as_str())).chain(judge)
        });
        callees.collect()
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let last = self.stages.len().saturating_sub(1);
        if last == 0 {
            let message = format!("a cascade of {} stages", self.stages.len());
            return Err(ConfigError::new(["stages"], message)
                .help("expected two models at least, the cheapest first"));
        }
        let mut stages = Vec::with_capacity(self.stages.len());
        for (index, stage) in self.stages.iter().enumerate() {
            let within = |error: ConfigError| error.within(index.to_string()).within("stages");
            let verifier = match &stage.verifier {
                Some(_) if index == last => {
                    let error = ConfigError::new(["verifier"], "the last stage has nobody to escalate to")
                        .help("leave its `verifier` out, or add a stage");
                    return Err(within(error));
                }
                None if index < last => {
                    let error = ConfigError::new(["verifier"], "only the last stage goes without a verifier")
                        .help("expected one such as { true_positive_rate = 0.9, false_positive_rate = 0.1 }");
                    return Err(within(error));
                }
                Some(verifier) => {
                    Some(verifier.build(scope).map_err(|error| within(error.within("verifier")))?)
                }
                None => None,
            };
            stages.push(Stage::new(scope.id(&stage.call), stage.call.clone(), verifier));
        }
        if let (None, Some(burst)) = (self.escalation_budget, self.escalation_burst) {
            let message = format!("`escalation_burst` is {burst}, but there is no budget");
            return Err(
                ConfigError::new(["escalation_burst"], message).help("give `escalation_budget` as well")
            );
        }
        let burst = self.escalation_burst.map_or(10, NonZeroU32::get);
        let budget = self.escalation_budget.map(|share| Budget::new(share.get(), burst));
        Ok(Box::new(Cascade::new(stages, budget)))
    }
}

impl VerifierConfig {
    fn build(&self, scope: &mut Scope) -> Result<Verifier, ConfigError> {
        let rates =
            [self.true_positive_rate, self.false_positive_rate].map(|rate| rate.map(Probability::get));
        let (right, wrong) = match (rates, self.acceptance_rate.map(Probability::get)) {
            ([Some(right), Some(wrong)], None) => {
                if scope.quality().is_none() {
                    let message = "nothing says which answers are right";
                    return Err(ConfigError::new(["true_positive_rate"], message)
                        .help("add a [quality] table, or give the share of all, `acceptance_rate`"));
                }
                (right, wrong)
            }
            ([None, None], Some(all)) => (all, all),
            _ => {
                return Err(ConfigError::new([""; 0], "it is not said which answers it accepts").help(
                    "expected `true_positive_rate` and `false_positive_rate`, or `acceptance_rate` alone",
                ));
            }
        };
        if self.latency.is_some() && self.judge.is_some() {
            return Err(ConfigError::new(["latency"], "both `latency` and `judge` are given")
                .help("a judge takes the time that its component takes: keep one of the two"));
        }
        let latency = self.latency.as_ref().map(TimeDist::build).transpose();
        let price = self.price.map(|price| {
            let (cost, me) = scope.cost();
            cost.add_usage(me, "verifications", price.dollars(), "scenario")
        });
        Ok(Verifier {
            right,
            wrong,
            latency: latency.map_err(|error| ConfigError::new(["latency"], error.to_string()))?,
            judge: self.judge.as_ref().map(|name| scope.id(name)),
            price,
        })
    }
}
