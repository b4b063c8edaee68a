//! The catalogue of GPUs, CPU hosts and models, built in from `data/`, and models by their `config.json`.
//!
//! A model's figures are those of its `config.json` at Hugging Face, in the catalogue as in a file of one's
//! own ([`Model::from_file`]): both are read by the same code, which knows the families
//! [`ARCHITECTURES`].
//!
//! ```
//! use sim_models::hardware::catalogue::{gpu, model};
//! let (gpu, model) = (gpu("h100-sxm")?, model("deepseek-v3")?);
//! assert_eq!(model.parameters(), 671_026_419_200);
//! assert!(gpu.memory_bytes > 85_000_000_000);
//! # Ok::<(), sim_models::hardware::catalogue::UnknownName>(())
//! ```

mod config_json;
mod gpu;
mod model;
mod ranking;

use std::borrow::Cow;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{HardwareError, unpack};
pub use config_json::{ARCHITECTURES, ModelFileError};
pub use gpu::{Gpu, IDLE_SHARE, Measured};
pub use model::{Latent, Model, ModelKind, Sliding};
pub use ranking::RankingModel;

/// A name that the catalogue does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown {kind} `{name}`: expected {}", self.accepted())]
pub struct UnknownName {
    /// `gpu` or `model`.
    pub kind: &'static str,
    /// What was asked for.
    pub name: String,
    names: Vec<&'static str>,
}

impl UnknownName {
    /// What would be accepted.
    pub fn accepted(&self) -> String {
        let names = format!("one of {}", self.names.join(", "));
        if self.kind == "model" { format!("{names}, or the path of a config.json") } else { names }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuFile {
    gpu: Vec<Gpu>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelEntry {
    id: &'static str,
    name: &'static str,
    source: &'static str,
    /// Packed: most are never looked at.
    config: &'static [u8],
    #[serde(skip)]
    model: OnceLock<Model>,
}

impl ModelEntry {
    fn model(&self) -> &Model {
        self.model.get_or_init(|| {
            let config: Map<String, Value> = unpack(self.config);
            let model = config_json::read(&config)
                .unwrap_or_else(|error| panic!("the built-in {}: {error}", self.id));
            Model { id: self.id.into(), name: self.name.into(), source: self.source.into(), ..model }
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "'de: 'static"))]
struct ModelFile {
    model: Vec<ModelEntry>,
    ranking: Vec<RankingModel>,
}

static GPUS: LazyLock<Vec<Gpu>> = LazyLock::new(|| {
    let gpus: GpuFile = unpack(include_bytes!(concat!(env!("OUT_DIR"), "/gpus.msgpack")));
    let cpus: GpuFile = unpack(include_bytes!(concat!(env!("OUT_DIR"), "/cpus.msgpack")));
    [gpus.gpu, cpus.gpu].concat()
});

static MODELS: LazyLock<ModelFile> =
    LazyLock::new(|| unpack(include_bytes!(concat!(env!("OUT_DIR"), "/models.msgpack"))));

/// Every GPU of the catalogue, and after them every CPU host.
pub fn gpus() -> &'static [Gpu] {
    &GPUS
}

/// Every transformer of the catalogue.
pub fn models() -> impl ExactSizeIterator<Item = &'static Model> {
    MODELS.model.iter().map(ModelEntry::model)
}

/// Every ranking model of the catalogue that is no transformer.
pub fn ranking_models() -> &'static [RankingModel] {
    &MODELS.ranking
}

/// The GPU, or CPU host, called `id`.
///
/// # Errors
/// [`UnknownName`] with all names.
pub fn gpu(id: &str) -> Result<&'static Gpu, UnknownName> {
    gpus().iter().find(|gpu| gpu.id == id).ok_or_else(|| UnknownName {
        kind: "gpu",
        name: id.to_owned(),
        names: gpus().iter().map(|gpu| gpu.id.as_str()).collect(),
    })
}

/// The model called `id`.
///
/// # Errors
/// [`UnknownName`] with all names.
pub fn model(id: &str) -> Result<&'static Model, UnknownName> {
    let entry = MODELS.model.iter().find(|entry| entry.id == id);
    entry.map(ModelEntry::model).ok_or_else(|| UnknownName {
        kind: "model",
        name: id.to_owned(),
        names: MODELS.model.iter().map(|entry| entry.id).collect(),
    })
}

/// Whether `name` is the path of a `config.json`, not a name in the catalogue.
pub fn is_model_file(name: &str) -> bool {
    name.ends_with(".json")
}

/// The model called `name`, or that of the `config.json` at the path `name`.
///
/// # Errors
/// [`UnknownName`] with all names, or what is wrong with the file.
pub fn find_model(name: &str) -> Result<Cow<'static, Model>, HardwareError> {
    if is_model_file(name) {
        return Ok(Cow::Owned(Model::from_file(Path::new(name))?));
    }
    Ok(Cow::Borrowed(model(name)?))
}

#[cfg(test)]
mod tests;
