//! Conditions on what is known of a request.

use std::fmt::Display;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::system::Scope;
use crate::turn::Prompt;
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
    pub fn new(config: &ConditionsConfig, scope: &Scope) -> Result<Self, ConfigError> {
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

    pub fn hold(&self, prompt: &Prompt) -> bool {
        let request = prompt.request;
        self.prompt_tokens.holds(prompt.tokens())
            && self.output_tokens.holds(prompt.output_tokens())
            && self.difficulty.holds(f64::from(request.difficulty))
            && self.classes.as_ref().is_none_or(|classes| classes.contains(&request.class))
            && self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&request.tenant))
    }
}
