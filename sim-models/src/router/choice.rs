//! The policy of a router: where a request goes.

use indexmap::IndexMap;
use sim_core::random::{KeyedStream, unit};

use super::cheapest::Cheapest;
use super::classifier::{ByConfusion, ByScore};
use super::rules::{Conditions, RuleConfig};
use super::semantic::ByTopic;
use super::{RouterConfig, RouterPolicy};
use crate::call::CallId;
use crate::component::ComponentId;
use crate::context::Ctx;
use crate::error::ConfigError;
use crate::system::Scope;

/// The policy of a router.
#[derive(Debug)]
pub(super) enum Choice {
    /// Cumulative shares; the last is the end of the unit interval.
    Random(Vec<(f64, ComponentId)>),
    Rules(Vec<(Conditions, ComponentId)>, ComponentId),
    Confusion(ByConfusion),
    Score(ByScore),
    Semantic(ByTopic),
    Cheapest(Cheapest),
}

/// Where a request goes; whether that is wrong, where it can be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decision {
    pub to: ComponentId,
    pub stray: bool,
}

impl Choice {
    pub fn new(config: &RouterConfig, scope: &Scope) -> Result<Self, ConfigError> {
        refuse_strays(config)?;
        let within = |key: &'static str| move |error: ConfigError| error.within(key);
        match config.policy {
            RouterPolicy::Random => random(&config.shares, scope),
            RouterPolicy::Rules => rules(config, scope),
            RouterPolicy::Confusion => {
                ByConfusion::new(&config.confusion, scope).map(Self::Confusion).map_err(within("confusion"))
            }
            RouterPolicy::Classifier => {
                let settings = config.classifier.as_ref().ok_or_else(|| missing("classifier"))?;
                settings.build(scope).map(Self::Score).map_err(within("classifier"))
            }
            RouterPolicy::StrongShare => {
                let settings = config.strong_share.as_ref().ok_or_else(|| missing("strong_share"))?;
                settings.build(scope).map(Self::Score).map_err(within("strong_share"))
            }
            RouterPolicy::Semantic => {
                let settings = config.semantic.as_ref().ok_or_else(|| missing("semantic"))?;
                let default = default_of(config, scope, "no route is similar to")?;
                settings.build(default, scope).map(Self::Semantic).map_err(within("semantic"))
            }
            RouterPolicy::Cheapest => {
                let settings = config.cheapest.as_ref().ok_or_else(|| missing("cheapest"))?;
                settings.build(scope).map(Self::Cheapest).map_err(within("cheapest"))
            }
        }
    }

    /// The component for requests whose classification failed, unless the scenario names one: the strong
    /// model, or that for requests of which nothing is known.
    pub fn fallback(&self) -> Option<ComponentId> {
        match self {
            Self::Random(_) | Self::Rules(..) => None,
            Self::Confusion(table) => Some(table.last()),
            Self::Score(models) => Some(models.strong),
            Self::Semantic(routes) => Some(routes.default),
            Self::Cheapest(models) => Some(models.last()),
        }
    }

    /// The component for the request of a call; `stream` is its luck.
    pub fn of(&self, call: CallId, stream: KeyedStream, ctx: &Ctx) -> Decision {
        let request = ctx.request(call);
        let draws = || stream.draws(request.key, ctx.call(call).hop, 0);
        let to = match self {
            Self::Random(steps) => pick(steps, unit(&mut draws())),
            Self::Rules(rules, default) => {
                let prompt = ctx.prompt(call);
                rules.iter().find(|(conditions, _)| conditions.hold(&prompt)).map_or(*default, |(_, to)| *to)
            }
            Self::Confusion(table) => table.of(call, ctx, unit(&mut draws())),
            Self::Score(models) => models.of(call, ctx, unit(&mut draws())),
            Self::Semantic(routes) => {
                let (to, is_own) = routes.of(request, &mut draws());
                return Decision { to, stray: !is_own };
            }
            Self::Cheapest(models) => models.of(ctx),
        };
        Decision { to, stray: false }
    }
}

/// The component at a place of the unit interval.
pub(super) fn pick(steps: &[(f64, ComponentId)], u: f64) -> ComponentId {
    let place = steps.partition_point(|(step, _)| *step <= u);
    steps[place.min(steps.len() - 1)].1
}

/// A key that says nothing under the chosen policy is an error, not ignored.
fn refuse_strays(config: &RouterConfig) -> Result<(), ConfigError> {
    let policy = config.policy;
    let keys = [
        ("shares", !config.shares.is_empty(), RouterPolicy::Random),
        ("rules", !config.rules.is_empty(), RouterPolicy::Rules),
        ("default", config.default.is_some(), RouterPolicy::Rules),
        ("confusion", !config.confusion.is_empty(), RouterPolicy::Confusion),
        ("classifier", config.classifier.is_some(), RouterPolicy::Classifier),
        ("strong_share", config.strong_share.is_some(), RouterPolicy::StrongShare),
        ("semantic", config.semantic.is_some(), RouterPolicy::Semantic),
        ("cheapest", config.cheapest.is_some(), RouterPolicy::Cheapest),
    ];
    let is_stray = |(key, is_given, of): &(&str, bool, RouterPolicy)| {
        *is_given && *of != policy && !(*key == "default" && policy == RouterPolicy::Semantic)
    };
    match keys.into_iter().find(is_stray) {
        Some((key, _, of)) => {
            let message = format!("`{key}` says nothing with policy = \"{}\"", policy.name());
            Err(ConfigError::new([key], message)
                .help(format!("remove it, or set policy = \"{}\"", of.name())))
        }
        None => Ok(()),
    }
}

fn missing(key: &str) -> ConfigError {
    ConfigError::new([key], format!("policy = \"{key}\" needs `{key}`"))
        .help(format!("add its settings, `{key} = {{ ... }}`"))
}

/// Cumulative shares of components.
pub(super) fn cumulative(
    shares: &IndexMap<String, f64>,
    scope: &Scope,
) -> Result<Vec<(f64, ComponentId)>, ConfigError> {
    let mut sum = 0.0;
    let mut steps = Vec::with_capacity(shares.len());
    for (name, share) in shares {
        if !(0.0..=1.0).contains(share) {
            return Err(ConfigError::new([name], format!("the share of `{name}` is {share}"))
                .help("expected a number from 0 to 1"));
        }
        sum += share;
        // A share of 0 must not get what rounding leaves at the end.
        if *share > 0.0 {
            steps.push((sum, scope.id(name)));
        }
    }
    if (sum - 1.0f64).abs() > 1e-6 {
        return Err(ConfigError::new([""; 0], format!("the shares sum to {sum}"))
            .help("expected shares that sum to 1"));
    }
    Ok(steps)
}

fn random(shares: &IndexMap<String, f64>, scope: &Scope) -> Result<Choice, ConfigError> {
    if shares.is_empty() {
        return Err(ConfigError::new(["shares"], "policy = \"random\" needs `shares`")
            .help("expected a share for each component, such as { small = 0.7, large = 0.3 }"));
    }
    cumulative(shares, scope).map(Choice::Random).map_err(|error| error.within("shares"))
}

fn default_of(config: &RouterConfig, scope: &Scope, what: &str) -> Result<ComponentId, ConfigError> {
    let Some(default) = &config.default else {
        let message = format!("policy = \"{}\" needs a `default`", config.policy.name());
        return Err(ConfigError::new(["default"], message)
            .help(format!("name the component for requests that {what}")));
    };
    Ok(scope.id(default))
}

fn rules(config: &RouterConfig, scope: &Scope) -> Result<Choice, ConfigError> {
    if config.rules.is_empty() {
        return Err(ConfigError::new(["rules"], "policy = \"rules\" needs `rules`")
            .help("expected rules such as [{ when = { prompt_tokens_above = 1000 }, to = \"large\" }]"));
    }
    let default = default_of(config, scope, "no rule takes")?;
    let rule = |(index, rule): (usize, &RuleConfig)| {
        let conditions = Conditions::new(&rule.when, scope)
            .map_err(|error| error.within("when").within(index.to_string()).within("rules"))?;
        Ok((conditions, scope.id(&rule.to)))
    };
    let rules = config.rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?;
    Ok(Choice::Rules(rules, default))
}
