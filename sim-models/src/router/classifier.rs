//! Routing by a prediction of who is right: a classifier by its confusion table, or by its AUC.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Normal;
use sim_core::time::{SimDuration, SimTime};

use super::choice::cumulative;
use crate::call::CallId;
use crate::component::ComponentId;
use crate::context::Ctx;
use crate::error::ConfigError;
use crate::quality::Quality;
use crate::system::Scope;
use crate::units::{Probability, Time};

/// Two models, and a prediction that the weak one is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The weak model's component.
    pub weak: String,
    /// The strong model's component.
    pub strong: String,
    /// Area under the ROC curve of the prediction: 0.5 is a guess.
    pub auc: f64,
    /// To the strong model goes what is predicted to need it with at least this probability (RouteLLM's
    /// threshold of the strong model's win rate).
    pub threshold: Probability,
}

/// Two models, and the share of the requests that the strong one should get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrongShareConfig {
    /// The weak model's component.
    pub weak: String,
    /// The strong model's component.
    pub strong: String,
    /// Area under the ROC curve of the prediction: 0.5 is a guess.
    pub auc: f64,
    /// Share of the reference traffic that goes to the strong model.
    pub share: Probability,
    /// Share of the reference traffic that the weak model gets wrong. Default: as of the scenario's own
    /// questions. With another value the traffic is not that which the threshold was calibrated on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_wrong: Option<Probability>,
    /// How the traffic changes afterwards. Default: not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftConfig>,
}

/// Scores move away from those that the threshold was calibrated on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    /// By how many standard deviations scores have moved in the end; above 0 more requests look hard.
    pub shift: f64,
    /// When it begins. Default: at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// How long it takes, at a steady pace. Default: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Time>,
}

/// A confusion table: for requests by the weakest model that is right on them (the last row where none is),
/// the shares that are sent to each component.
pub type ConfusionConfig = IndexMap<String, IndexMap<String, f64>>;

fn wrong(key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::new([key], message)
}

/// The table, or what is missing.
fn table<'a>(scope: &'a Scope, policy: &str) -> Result<&'a Quality, ConfigError> {
    scope.quality().ok_or_else(|| {
        ConfigError::new([""; 0], "nothing says which answers are right")
            .help(format!("policy = \"{policy}\" predicts that: add a [quality] table"))
    })
}

fn model(scope: &Scope, key: &str, name: &str, policy: &str) -> Result<u8, ConfigError> {
    table(scope, policy)?.model_of(scope.id(name)).ok_or_else(|| {
        wrong(key, format!("`{name}` answers as no model of the [quality] table"))
            .help("name a component that does, or add it to `served_by` there")
    })
}

/// The standard normal law.
pub(super) fn standard() -> Normal {
    Normal::truncated(0.0, 1.0, f64::NEG_INFINITY, f64::INFINITY).expect("mean 0 and sd 1 are fine")
}

/// A prediction as a score: normal with standard deviation 1, and mean `separation` where the weak model is
/// wrong, 0 where it is right (the binormal model of ROC curves). With a separation of sqrt(2) times the
/// normal quantile of the AUC, a wrong one scores above a right one with the probability AUC.
#[derive(Debug, Clone, Copy)]
struct Binormal {
    separation: f64,
    /// Share that the weak model gets wrong, where it was calibrated.
    wrong: f64,
}

impl Binormal {
    fn new(auc: f64, wrong_share: f64) -> Result<Self, ConfigError> {
        if !(0.5..1.0).contains(&auc) {
            return Err(wrong("auc", format!("`auc` is {auc}"))
                .help("expected a number from 0.5, a guess, to below 1; 0.9999 is nearly perfect"));
        }
        let separation = std::f64::consts::SQRT_2 * standard().quantile(auc);
        Ok(Self { separation, wrong: wrong_share })
    }

    /// The score at which the weak model is wrong with this probability (Bayes).
    fn score_of(self, probability: f64) -> f64 {
        let logit = |p: f64| libm::log(p / (1.0 - p));
        let beyond = logit(probability) - logit(self.wrong);
        if self.separation == 0.0 {
            // All alike: every request reaches the threshold, or none does.
            return if beyond <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        beyond / self.separation + self.separation / 2.0
    }

    /// Share of the requests that score at least so much.
    fn share_above(self, score: f64) -> f64 {
        let above = |x: f64| standard().cdf(-x);
        (1.0 - self.wrong) * above(score) + self.wrong * above(score - self.separation)
    }

    /// The score that a share of the requests reaches, by bisection.
    fn score_for(self, share: f64) -> f64 {
        if share <= 0.0 || share >= 1.0 {
            return if share <= 0.0 { f64::INFINITY } else { f64::NEG_INFINITY };
        }
        let (mut low, mut high) = (-40.0, 40.0 + self.separation);
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if self.share_above(middle) > share { low = middle } else { high = middle }
        }
        f64::midpoint(low, high)
    }
}

#[derive(Debug, Clone, Copy)]
struct Drift {
    shift: f64,
    from: SimTime,
    over: SimDuration,
}

impl Drift {
    fn at(self, now: SimTime) -> f64 {
        if now < self.from {
            return 0.0;
        }
        let passed = now.since(self.from);
        if passed >= self.over {
            return self.shift;
        }
        self.shift * passed.as_nanos() as f64 / self.over.as_nanos() as f64
    }
}

/// Two models, and the score from which on a request goes to the strong one.
#[derive(Debug)]
pub(super) struct ByScore {
    pub weak: ComponentId,
    pub strong: ComponentId,
    law: Normal,
    separation: f64,
    threshold: f64,
    drift: Option<Drift>,
}

impl ByScore {
    fn new(scope: &Scope, weak: &str, strong: &str, scores: Binormal, threshold: f64) -> Self {
        let (weak, strong) = (scope.id(weak), scope.id(strong));
        Self { weak, strong, law: standard(), separation: scores.separation, threshold, drift: None }
    }

    pub fn of(&self, call: CallId, ctx: &Ctx, chance: f64) -> ComponentId {
        let needs = ctx.would_be_right(call, self.weak) == Some(false);
        let drift = self.drift.map_or(0.0, |drift| drift.at(ctx.now()));
        let score = self.law.quantile(chance) + drift + if needs { self.separation } else { 0.0 };
        if score >= self.threshold { self.strong } else { self.weak }
    }
}

impl ClassifierConfig {
    pub(super) fn build(&self, scope: &Scope) -> Result<ByScore, ConfigError> {
        let weak = model(scope, "weak", &self.weak, "classifier")?;
        let scores = Binormal::new(self.auc, 1.0 - table(scope, "classifier")?.accuracy(weak))?;
        let threshold = scores.score_of(self.threshold.get());
        Ok(ByScore::new(scope, &self.weak, &self.strong, scores, threshold))
    }
}

impl StrongShareConfig {
    pub(super) fn build(&self, scope: &Scope) -> Result<ByScore, ConfigError> {
        let weak = model(scope, "weak", &self.weak, "strong_share")?;
        let own = 1.0 - table(scope, "strong_share")?.accuracy(weak);
        let scores = Binormal::new(self.auc, self.reference_wrong.map_or(own, Probability::get))?;
        let threshold = scores.score_for(self.share.get());
        let mut choice = ByScore::new(scope, &self.weak, &self.strong, scores, threshold);
        if let Some(drift) = &self.drift {
            if !drift.shift.is_finite() {
                return Err(ConfigError::new(["drift", "shift"], format!("`shift` is {}", drift.shift))
                    .help("expected a number of standard deviations, such as 0.5"));
            }
            let from = drift.from.map_or(SimDuration::ZERO, Time::get);
            choice.drift = Some(Drift {
                shift: drift.shift,
                from: SimTime::ZERO.checked_add(from).expect("from zero"),
                over: drift.over.map_or(SimDuration::ZERO, Time::get),
            });
        }
        Ok(choice)
    }
}

/// A confusion table at work.
#[derive(Debug)]
pub(super) struct ByConfusion {
    /// By the weakest model that is right: who that is, and the cumulative shares of where requests go.
    rows: Vec<(ComponentId, Vec<(f64, ComponentId)>)>,
}

impl ByConfusion {
    pub fn new(config: &ConfusionConfig, scope: &Scope) -> Result<Self, ConfigError> {
        let mut rows = Vec::with_capacity(config.len());
        if config.len() < 2 {
            return Err(ConfigError::new([""; 0], format!("a confusion table of {} rows", config.len()))
                .help("expected a row for each of two models at least, the weakest first"));
        }
        for (name, shares) in config {
            let path = |error: ConfigError| error.within(name);
            model(scope, name, name, "confusion")?;
            rows.push((scope.id(name), cumulative(shares, scope).map_err(path)?));
        }
        Ok(Self { rows })
    }

    /// The strongest model.
    pub fn last(&self) -> ComponentId {
        self.rows[self.rows.len() - 1].0
    }

    pub fn of(&self, call: CallId, ctx: &Ctx, chance: f64) -> ComponentId {
        let is_right = |(model, _): &(ComponentId, _)| ctx.would_be_right(call, *model) == Some(true);
        let row = self.rows.iter().position(is_right).unwrap_or(self.rows.len() - 1);
        super::choice::pick(&self.rows[row].1, chance)
    }
}
