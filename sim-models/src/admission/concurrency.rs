//! The concurrency limit in a scenario: a name, or a table with its parameters.

use std::borrow::Cow;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess};
use serde::{Serialize, Serializer};

use super::limits::{
    AimdConfig, Algorithm, Gradient2, Gradient2Config, Vegas, VegasConfig, Window, WindowConfig,
};
use crate::error::ConfigError;
use crate::pool::notation::{self, Notation};

/// The most calls that a component has at once: a name, or a table with one key, the name, and its
/// parameters.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum ConcurrencyConfig {
    /// Always the same.
    Fixed(NonZeroU32),
    /// Additive increase, multiplicative decrease.
    Aimd(AimdConfig),
    /// As TCP Vegas.
    Vegas(VegasConfig),
    /// By the gradient of latencies.
    Gradient2(Gradient2Config),
}

impl ConcurrencyConfig {
    const fn name(&self) -> &'static str {
        match self {
            Self::Fixed(_) => "fixed",
            Self::Aimd(_) => "aimd",
            Self::Vegas(_) => "vegas",
            Self::Gradient2(_) => "gradient2",
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let checked = match self {
            Self::Fixed(_) => Ok(()),
            Self::Aimd(config) => config.check(),
            Self::Vegas(config) => config.check(),
            Self::Gradient2(config) => config.check(),
        };
        checked.map_err(|error| error.within(self.name()))
    }

    const fn window(&self) -> Option<WindowConfig> {
        match self {
            Self::Fixed(_) => None,
            Self::Aimd(config) => config.window,
            Self::Vegas(config) => config.window,
            Self::Gradient2(config) => config.window,
        }
    }

    pub(super) fn build(&self) -> (Algorithm, Option<Window>) {
        let algorithm = match *self {
            Self::Fixed(limit) => Algorithm::Fixed(limit.get()),
            Self::Aimd(config) => Algorithm::Aimd(config, config.initial_limit.get()),
            Self::Vegas(config) => Algorithm::Vegas(Vegas::new(config)),
            Self::Gradient2(config) => Algorithm::Gradient2(Gradient2::new(config)),
        };
        (algorithm, self.window().map(Window::new))
    }
}

impl Notation for ConcurrencyConfig {
    const NAMES: &'static [&'static str] = &["aimd", "vegas", "gradient2"];
    const EXPECTED: &'static str =
        "a limit such as \"vegas\", { fixed = 50 } or { aimd = { max_limit = 100 } }";

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "aimd" => Self::Aimd(AimdConfig::default()),
            "vegas" => Self::Vegas(VegasConfig::default()),
            "gradient2" => Self::Gradient2(Gradient2Config::default()),
            _ => return None,
        })
    }

    fn from_table<'de, A: MapAccess<'de>>(mut table: A) -> Result<Self, A::Error> {
        let limit = Self::deserialize(MapAccessDeserializer::new(&mut table))?;
        if let Some(second) = table.next_key::<String>()? {
            let message = format!("one limit only: `{second}` is a second key (parameters go one deeper)");
            return Err(de::Error::custom(message));
        }
        Ok(limit)
    }
}

impl<'de> Deserialize<'de> for ConcurrencyConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        notation::read(deserializer)
    }
}

impl Serialize for ConcurrencyConfig {
    /// The name where it says it all.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if Self::named(self.name()).as_ref() == Some(self) {
            serializer.serialize_str(self.name())
        } else {
            Self::serialize(self, serializer)
        }
    }
}

impl JsonSchema for ConcurrencyConfig {
    fn schema_name() -> Cow<'static, str> {
        "ConcurrencyConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = |name: &str, parameters: Schema| {
            json_schema!({
                "type": "object",
                "properties": { name: parameters },
                "required": [name],
                "additionalProperties": false,
            })
        };
        let tables = [
            table("fixed", generator.subschema_for::<NonZeroU32>()),
            table("aimd", generator.subschema_for::<AimdConfig>()),
            table("vegas", generator.subschema_for::<VegasConfig>()),
            table("gradient2", generator.subschema_for::<Gradient2Config>()),
        ];
        json_schema!({
            "description": "The most calls that a component has at once: a name, or a table with one key, the \
                            name, and its parameters.",
            "anyOf": [{ "type": "string", "enum": Self::NAMES }, { "oneOf": tables }],
        })
    }
}
