//! What a router decides by.

use std::fmt::Display;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RouterConfig, RouterPolicy};
use crate::component::ComponentId;
use crate::error::ConfigError;
use crate::request::Request;
use crate::system::Scope;
use crate::units::Probability;

/// A rule: requests for which the conditions hold go to a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Conditions, at least one, which must all hold.
    pub when: ConditionsConfig,
    /// The component.
    pub to: String,
}

/// Conditions on a request. `above` and `below` leave out the bound itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionsConfig {
    /// The prompt has more tokens than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_above: Option<u32>,
    /// The prompt has fewer tokens than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_below: Option<u32>,
    /// The answer will have more tokens than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_above: Option<u32>,
    /// The answer will have fewer tokens than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_below: Option<u32>,
    /// The request is harder than this, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty_above: Option<Probability>,
    /// The request is easier than this, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty_below: Option<Probability>,
    /// The request is of one of these classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// The request is of one of these tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<String>>,
}

/// An open interval.
#[derive(Debug, Clone, Copy)]
struct Range<T> {
    above: Option<T>,
    below: Option<T>,
}

impl<T: Copy + PartialOrd + Display> Range<T> {
    /// `leaves_room` tells whether a value lies between the bounds.
    fn new(
        what: &str,
        above: Option<T>,
        below: Option<T>,
        leaves_room: impl Fn(Option<T>, T) -> bool,
    ) -> Result<Self, ConfigError> {
        if let Some(bound) = below.filter(|below| !leaves_room(above, *below)) {
            let above = above.map_or(String::new(), |above| format!("`{what}_above` is {above} and "));
            let message = format!("{above}`{what}_below` is {bound}: that holds for no request");
            return Err(
                ConfigError::new([format!("{what}_below")], message).help("leave room between the bounds")
            );
        }
        Ok(Self { above, below })
    }

    fn holds(self, value: T) -> bool {
        self.above.is_none_or(|above| value > above) && self.below.is_none_or(|below| value < below)
    }
}

fn tokens(what: &str, above: Option<u32>, below: Option<u32>) -> Result<Range<u32>, ConfigError> {
    Range::new(what, above, below, |above, below| match above {
        Some(above) => below.saturating_sub(above) > 1,
        None => below > 0,
    })
}

/// Numbers of the labels that a condition names.
fn labels<T: TryFrom<usize>>(
    key: &str,
    singular: &str,
    named: Option<&Vec<String>>,
    known: &[String],
) -> Result<Option<Vec<T>>, ConfigError> {
    let Some(named) = named else { return Ok(None) };
    let help = || format!("expected some of {}", known.join(", "));
    if named.is_empty() {
        return Err(
            ConfigError::new([key], format!("`{key}` is empty: that holds for no request")).help(help())
        );
    }
    let number = |(index, name): (usize, &String)| {
        let place = known.iter().position(|label| label == name).and_then(|place| T::try_from(place).ok());
        place.ok_or_else(|| {
            ConfigError::new([key, &index.to_string()], format!("unknown {singular} `{name}`")).help(help())
        })
    };
    named.iter().enumerate().map(number).collect::<Result<_, _>>().map(Some)
}

/// The conditions of a rule.
#[derive(Debug)]
pub(super) struct Conditions {
    prompt_tokens: Range<u32>,
    output_tokens: Range<u32>,
    difficulty: Range<f64>,
    classes: Option<Vec<u8>>,
    tenants: Option<Vec<u16>>,
}

impl Conditions {
    fn new(config: &ConditionsConfig, scope: &Scope) -> Result<Self, ConfigError> {
        if *config == ConditionsConfig::default() {
            return Err(ConfigError::new([""; 0], "a rule without conditions takes every request")
                .help("name the component in `default` instead"));
        }
        let (above, below) = (config.difficulty_above, config.difficulty_below);
        let names = scope.labels();
        Ok(Self {
            prompt_tokens: tokens("prompt_tokens", config.prompt_tokens_above, config.prompt_tokens_below)?,
            output_tokens: tokens("output_tokens", config.output_tokens_above, config.output_tokens_below)?,
            difficulty: Range::new(
                "difficulty",
                above.map(Probability::get),
                below.map(Probability::get),
                |above, below| below > above.unwrap_or(0.0),
            )?,
            classes: labels("classes", "class", config.classes.as_ref(), &names.classes)?,
            tenants: labels("tenants", "tenant", config.tenants.as_ref(), &names.tenants)?,
        })
    }

    fn hold(&self, request: &Request) -> bool {
        self.prompt_tokens.holds(request.prompt_tokens)
            && self.output_tokens.holds(request.output_tokens)
            && self.difficulty.holds(f64::from(request.difficulty))
            && self.classes.as_ref().is_none_or(|classes| classes.contains(&request.class))
            && self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&request.tenant))
    }
}

/// The policy of a router.
#[derive(Debug)]
pub(super) enum Choice {
    /// Cumulative shares; the last is the end of the unit interval.
    Random(Vec<(f64, ComponentId)>),
    Rules(Vec<(Conditions, ComponentId)>, ComponentId),
}

impl Choice {
    pub fn new(config: &RouterConfig, scope: &Scope) -> Result<Self, ConfigError> {
        match config.policy {
            RouterPolicy::Random => {
                let strays = [("rules", !config.rules.is_empty()), ("default", config.default.is_some())];
                refuse(&strays, "random", "rules")?;
                random(&config.shares, scope)
            }
            RouterPolicy::Rules => {
                refuse(&[("shares", !config.shares.is_empty())], "rules", "random")?;
                rules(config, scope)
            }
        }
    }

    /// The component for a request; `chance` is its luck, from 0 to 1.
    pub fn of(&self, request: &Request, chance: impl FnOnce() -> f64) -> ComponentId {
        match self {
            Self::Random(steps) => {
                let u = chance();
                let place = steps.partition_point(|(step, _)| *step <= u);
                steps[place.min(steps.len() - 1)].1
            }
            Self::Rules(rules, default) => {
                rules.iter().find(|(conditions, _)| conditions.hold(request)).map_or(*default, |(_, to)| *to)
            }
        }
    }
}

/// A key that says nothing under the chosen policy is an error, not ignored.
fn refuse(strays: &[(&str, bool)], policy: &str, other: &str) -> Result<(), ConfigError> {
    match strays.iter().find(|(_, is_given)| *is_given) {
        Some((key, _)) => {
            let message = format!("`{key}` says nothing with policy = \"{policy}\"");
            Err(ConfigError::new([*key], message).help(format!("remove it, or set policy = \"{other}\"")))
        }
        None => Ok(()),
    }
}

fn random(shares: &IndexMap<String, f64>, scope: &Scope) -> Result<Choice, ConfigError> {
    if shares.is_empty() {
        return Err(ConfigError::new(["shares"], "policy = \"random\" needs `shares`")
            .help("expected a share for each component, such as { small = 0.7, large = 0.3 }"));
    }
    let mut sum = 0.0;
    let mut steps = Vec::with_capacity(shares.len());
    for (name, share) in shares {
        if !(0.0..=1.0).contains(share) {
            return Err(ConfigError::new(["shares", name], format!("the share of `{name}` is {share}"))
                .help("expected a number from 0 to 1"));
        }
        sum += share;
        // A share of 0 must not get what rounding leaves at the end.
        if *share > 0.0 {
            steps.push((sum, scope.id(name)));
        }
    }
    if (sum - 1.0f64).abs() > 1e-6 {
        return Err(ConfigError::new(["shares"], format!("the shares sum to {sum}"))
            .help("expected shares that sum to 1"));
    }
    Ok(Choice::Random(steps))
}

fn rules(config: &RouterConfig, scope: &Scope) -> Result<Choice, ConfigError> {
    if config.rules.is_empty() {
        return Err(ConfigError::new(["rules"], "policy = \"rules\" needs `rules`")
            .help("expected rules such as [{ when = { prompt_tokens_above = 1000 }, to = \"large\" }]"));
    }
    let Some(default) = &config.default else {
        return Err(ConfigError::new(["default"], "policy = \"rules\" needs a `default`")
            .help("name the component for requests that no rule takes"));
    };
    let rule = |(index, rule): (usize, &RuleConfig)| {
        let conditions = Conditions::new(&rule.when, scope)
            .map_err(|error| error.within("when").within(index.to_string()).within("rules"))?;
        Ok((conditions, scope.id(&rule.to)))
    };
    let rules = config.rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?;
    Ok(Choice::Rules(rules, scope.id(default)))
}
