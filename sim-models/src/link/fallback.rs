//! Fallbacks: what stands in when a call has failed.
//!
//! A chain is tried from its front. A component in it is called over the link from the same caller, with
//! that link's policies; its answers count as degraded, and when it fails too its own chain comes before the
//! rest. `stale` and `default` answer at once, `reject` refuses.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LinkConfig, LinkId, link_ends};
use crate::component::ComponentId;
use crate::error::ConfigError;
use crate::units::Probability;

/// A step of a fallback chain: the name of a component, `stale`, `{ stale = 0.9 }`, `default` or `reject`.
#[derive(Debug, Clone, PartialEq)]
pub enum FallbackStep {
    /// Call this component.
    Call(String),
    /// A stale answer, which is there for this share of the requests.
    Stale(Probability),
    /// An answer by default, the same for all.
    Default,
    /// A refusal.
    Reject,
}

/// Names that are no components in a chain.
pub(crate) const RESERVED: [&str; 3] = ["stale", "default", "reject"];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StaleTable {
    stale: Probability,
}

fn always() -> Probability {
    Probability::new(1.0).expect("a share")
}

impl<'de> Deserialize<'de> for FallbackStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = FallbackStep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a component's name, \"stale\", { stale = 0.9 }, \"default\" or \"reject\"")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<FallbackStep, E> {
                Ok(match name {
                    "stale" => FallbackStep::Stale(always()),
                    "default" => FallbackStep::Default,
                    "reject" => FallbackStep::Reject,
                    name => FallbackStep::Call(name.to_owned()),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<FallbackStep, A::Error> {
                let table = StaleTable::deserialize(MapAccessDeserializer::new(table))?;
                Ok(FallbackStep::Stale(table.stale))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for FallbackStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Call(name) => serializer.serialize_str(name),
            Self::Stale(share) if *share == always() => serializer.serialize_str("stale"),
            Self::Stale(share) => StaleTable { stale: *share }.serialize(serializer),
            Self::Default => serializer.serialize_str("default"),
            Self::Reject => serializer.serialize_str("reject"),
        }
    }
}

impl JsonSchema for FallbackStep {
    fn schema_name() -> Cow<'static, str> {
        "FallbackStep".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What stands in: the name of a component, which is called over its own link; `stale`, \
                            an answer from before, with the share of requests that there is one for; `default`, \
                            the same answer for all; `reject`.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "stale": generator.subschema_for::<Probability>() },
                    "required": ["stale"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// A step as the simulation takes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Call { link: LinkId, callee: ComponentId },
    Stale(f64),
    Default,
    Reject,
}

impl LinkConfig {
    /// The components that the link falls back on.
    pub fn fallback_callees(&self) -> impl Iterator<Item = &str> {
        targets(self).map(|(_, name)| name)
    }
}

/// The components that a link falls back on: for each its place in the link's configuration, and its name.
pub(crate) fn targets(link: &LinkConfig) -> impl Iterator<Item = (Vec<String>, &str)> {
    link.fallback.iter().enumerate().filter_map(|(index, step)| match step {
        FallbackStep::Call(name) => Some((vec!["fallback".to_owned(), index.to_string()], name.as_str())),
        _ => None,
    })
}

/// What `caller` falls back on when its call of `callee` has failed: the steps of that link, each followed
/// by what its own link falls back on. `route` finds links by caller and callee.
pub(crate) fn chain(
    links: &IndexMap<String, LinkConfig>,
    (caller, callee): (&str, &str),
    route: &dyn Fn(&str, &str) -> (LinkId, ComponentId),
) -> Result<Vec<Step>, ConfigError> {
    let mut steps = Vec::new();
    extend(links, caller, &mut vec![callee], route, &mut steps)?;
    // What always answers ends the chain.
    if let Some(last) = steps.iter().position(|step| matches!(step, Step::Default | Step::Reject)) {
        steps.truncate(last + 1);
    }
    Ok(steps)
}

fn extend<'a>(
    links: &'a IndexMap<String, LinkConfig>,
    caller: &str,
    trail: &mut Vec<&'a str>,
    route: &dyn Fn(&str, &str) -> (LinkId, ComponentId),
    steps: &mut Vec<Step>,
) -> Result<(), ConfigError> {
    let callee = *trail.last().expect("a trail begins with the callee");
    let Some((name, link)) = links.iter().find(|(name, _)| link_ends(name) == Some((caller, callee))) else {
        return Ok(());
    };
    for (index, step) in link.fallback.iter().enumerate() {
        let wrong =
            |message: String| ConfigError::new(["links", name, "fallback", &index.to_string()], message);
        match step {
            FallbackStep::Call(target) => {
                if let Some(start) = trail.iter().position(|seen| seen == target) {
                    let mut way: Vec<&str> = trail[start..].to_vec();
                    way.push(target);
                    return Err(wrong(format!("a cycle of fallbacks: {}", way.join(" -> ")))
                        .help("expected a component that the chain has not come by"));
                }
                let (link, callee) = route(caller, target);
                steps.push(Step::Call { link, callee });
                trail.push(target);
                extend(links, caller, trail, route, steps)?;
                trail.pop();
            }
            FallbackStep::Stale(share) => steps.push(Step::Stale(share.get())),
            last @ (FallbackStep::Default | FallbackStep::Reject) => {
                let (step, word) = match last {
                    FallbackStep::Default => (Step::Default, "default"),
                    _ => (Step::Reject, "reject"),
                };
                if index + 1 < link.fallback.len() {
                    return Err(wrong(format!("nothing comes after `{word}`, which always ends the call"))
                        .help("expected it at the end of the chain"));
                }
                steps.push(step);
            }
        }
    }
    Ok(())
}
