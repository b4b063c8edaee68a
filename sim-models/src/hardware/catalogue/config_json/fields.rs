//! Typed and bounded access to the keys of a `config.json`.

use serde_json::{Map, Value};

use super::ConfigJsonError;

/// Upper bounds, far above any model, that keep products within 64 bits.
pub(super) const MAX_LAYERS: u64 = 1 << 10;
pub(super) const MAX_WIDTH: u64 = 1 << 17;
pub(super) const MAX_HEADS: u64 = 1 << 12;
pub(super) const MAX_FFN: u64 = 1 << 20;
pub(super) const MAX_EXPERTS: u64 = 1 << 12;
pub(super) const MAX_VOCAB: u64 = 1 << 24;
pub(super) const MAX_CONTEXT: u64 = 1 << 31;

/// A value in a message, cut short.
pub(super) fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

/// The settings of one model.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pub architecture: &'static str,
}

impl<'a> Fields<'a> {
    pub fn new(map: &'a Map<String, Value>, architecture: &'static str) -> Self {
        Self { map, architecture }
    }

    /// The value at `key`; `null` is none.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The whole number at `key`, from 1 to `most`.
    pub fn optional(&self, key: &str, most: u64) -> Result<Option<u64>, ConfigJsonError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().filter(|number| (1..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.invalid(key, shown(value), format!("a whole number from 1 to {most}"))),
        }
    }

    /// The whole number at `key`, or `default`.
    pub fn or(&self, key: &str, most: u64, default: u64) -> Result<u64, ConfigJsonError> {
        Ok(self.optional(key, most)?.unwrap_or(default))
    }

    /// The whole number at `key`, which must be there.
    pub fn required(&self, key: &str, most: u64) -> Result<u64, ConfigJsonError> {
        self.optional(key, most)?.ok_or_else(|| ConfigJsonError::Missing {
            key: key.to_owned(),
            architecture: self.architecture.to_owned(),
        })
    }

    /// The whole number at `key`, from 0.
    pub fn count(&self, key: &str, most: u64) -> Result<u64, ConfigJsonError> {
        match self.get(key) {
            Some(value) if value.as_u64() == Some(0) => Ok(0),
            _ => self.or(key, most, 0),
        }
    }

    /// Whether `key` is true; `default` where it is absent.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigJsonError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.invalid(key, shown(other), "true or false")),
        }
    }

    /// How many strings of the list at `key` are `wanted`; none where there is no list.
    pub fn count_in_list(&self, key: &str, wanted: &str) -> Option<u64> {
        let list = self.get(key)?.as_array()?;
        Some(list.iter().filter(|entry| entry.as_str() == Some(wanted)).count() as u64)
    }

    pub fn invalid(&self, key: &str, value: impl ToString, expected: impl Into<String>) -> ConfigJsonError {
        ConfigJsonError::Invalid { key: key.to_owned(), value: value.to_string(), expected: expected.into() }
    }
}
