//! Reads the `config.json` of a Hugging Face model.
//!
//! Keys, their meaning and the defaults of absent ones are those of the configuration classes of
//! `transformers` (4.57, `models/*/configuration_*.py`); which matrices, biases and norms a family has is
//! that of its `modeling_*.py`. Keys that say nothing about size or shape are ignored. Of a multimodal model
//! the text part is read (`text_config`).

mod decoder;
mod encoder;
mod fields;
mod quantization;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};
use thiserror::Error;

use super::model::Model;
use crate::gzip::unpack;
use fields::Fields;

/// The architectures that are read, by the `model_type` of a `config.json`.
pub const ARCHITECTURES: &[&str] = &[
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "deepseek_v2",
    "deepseek_v3",
    "kimi_k2",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "gpt_oss",
    "opt",
    "bert",
    "roberta",
    "xlm-roberta",
    "nomic_bert",
];

/// The largest file that is read, in bytes: a `config.json` has a few thousand.
const MAX_FILE: u64 = 1 << 20;
/// The most parameters of a model: a thousand times the largest.
const MAX_PARAMETERS: u64 = 1 << 50;

/// A `config.json` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {reason}")]
pub struct ModelFileError {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
    /// What would be accepted, if that is more than `reason` says.
    pub accepted: Option<String>,
}

/// What is wrong with a `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ConfigJsonError {
    /// An architecture that is not read, or none at all.
    #[error("{}", match .0 {
        Some(found) => format!("the architecture `{found}` is not known"),
        None => "`model_type` is missing".to_owned(),
    })]
    Architecture(Option<String>),
    /// A key that the architecture needs.
    #[error("`{key}` is missing, which {architecture} models need")]
    Missing { key: String, architecture: String },
    /// A value out of range.
    #[error("{key} = {value}: expected {expected}")]
    Invalid { key: String, value: String, expected: String },
}

impl ConfigJsonError {
    fn accepted(&self) -> Option<String> {
        matches!(self, Self::Architecture(_))
            .then(|| format!("expected a model_type of {}", ARCHITECTURES.join(", ")))
    }
}

impl Model {
    /// The model that the `config.json` at `path` describes.
    ///
    /// # Errors
    /// A file that cannot be read, is no JSON object, is of an architecture that is not among
    /// [`ARCHITECTURES`], lacks a key or has an impossible value.
    pub fn from_file(path: &Path) -> Result<Self, ModelFileError> {
        let name = path.display().to_string();
        let fail = |reason: String| ModelFileError { path: name.clone(), reason, accepted: None };
        let mut text = String::new();
        let (file, _) = File::open(path).and_then(unpack).map_err(|error| fail(error.to_string()))?;
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
        if text.len() as u64 > MAX_FILE {
            return Err(fail(format!(
                "over {MAX_FILE} bytes: expected a config.json of a Hugging Face model"
            )));
        }
        Self::from_json(&text, &name)
    }

    /// The model that `text`, the contents of a `config.json` at `path`, describes.
    ///
    /// # Errors
    /// As [`Model::from_file`].
    pub fn from_json(text: &str, path: &str) -> Result<Self, ModelFileError> {
        let fail = |reason: String, accepted| ModelFileError { path: path.to_owned(), reason, accepted };
        let map: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| fail(format!("expected a JSON object of model settings: {error}"), None))?;
        let model = read(&map).map_err(|error| fail(error.to_string(), error.accepted()))?;
        Ok(Self { id: path.to_owned(), name: path.to_owned(), source: path.to_owned(), ..model })
    }
}

/// The model that `config` describes, yet without names and source.
pub(super) fn read(config: &Map<String, Value>) -> Result<Model, ConfigJsonError> {
    let (text, architecture) = text_part(config)?;
    let fields = Fields::new(text, architecture);
    let model = match architecture {
        "opt" => decoder::opt(&fields)?,
        "deepseek_v2" | "deepseek_v3" | "kimi_k2" => decoder::deepseek(&fields)?,
        "bert" | "roberta" | "xlm-roberta" => encoder::bert(&fields)?,
        "nomic_bert" => encoder::nomic(&fields)?,
        _ => decoder::grouped(&fields)?,
    };
    if model.parameters() > MAX_PARAMETERS {
        return Err(fields.invalid("num_hidden_layers", model.layers, "a model of at most 2^50 parameters"));
    }
    Ok(Model { precision: quantization::precision(config, text), ..model })
}

/// The settings of the text part and its architecture.
fn text_part(config: &Map<String, Value>) -> Result<(&Map<String, Value>, &'static str), ConfigJsonError> {
    let own_type = |map: &Map<String, Value>| {
        let found = map.get("model_type").and_then(Value::as_str)?;
        ARCHITECTURES.iter().find(|known| **known == found).copied()
    };
    if let Some(text) = config.get("text_config").and_then(Value::as_object)
        && let Some(architecture) = own_type(text)
    {
        return Ok((text, architecture));
    }
    own_type(config)
        .map(|architecture| (config, architecture))
        .ok_or_else(|| ConfigJsonError::Architecture(config.get("model_type").map(fields::shown)))
}

#[cfg(test)]
mod tests;
