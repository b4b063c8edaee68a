//! The joint table: from a scenario or from a file of questions.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::QualityConfig;
use crate::error::ConfigError;
use crate::gzip::unpack;
use crate::units::Number;

/// A cell of the joint table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JointCell {
    /// The models that are right; all others are wrong.
    pub right: Vec<String>,
    /// How often, relative to the other cells: a count or a share.
    pub weight: Number,
}

/// A file with a row a question and a column a model: 1 where it is right, 0 where it is wrong. Gzip is
/// unpacked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JointCsv {
    /// The file, relative to the scenario's folder.
    pub path: String,
    /// The column of a model. Default: its name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub columns: IndexMap<String, String>,
    /// Only the rows with these values in these columns. Default: all.
    #[serde(default, rename = "where", skip_serializing_if = "IndexMap::is_empty")]
    pub filter: IndexMap<String, String>,
}

/// The most models: their rights are the bits of a word.
const MOST: usize = 64;
/// The largest file, unpacked: far beyond any benchmark's.
const MAX_FILE: u64 = 256 << 20;

fn wrong<const N: usize>(path: [&str; N], message: impl Into<String>) -> ConfigError {
    ConfigError::new(path, message)
}

/// The cells from the easiest to the hardest, and their shares.
pub(super) fn cells(config: &QualityConfig) -> Result<Vec<(u64, f64)>, ConfigError> {
    let models = &config.models;
    if models.is_empty() || models.len() > MOST {
        let message = format!("`models` names {} models", models.len());
        return Err(wrong(["models"], message).help("expected 1 to 64 models, the weakest first"));
    }
    if let Some(twice) = (1..models.len()).find(|place| models[..*place].contains(&models[*place])) {
        let message = format!("`{}` stands twice", models[twice]);
        return Err(wrong(["models", &twice.to_string()], message).help("name each model once"));
    }
    let weights = match (&config.joint_csv, config.joint.as_slice()) {
        (None, []) => {
            return Err(wrong(["joint"], "there is no joint table")
                .help("expected `joint = [{ right = [\"small\"], weight = 3 }, ...]` or `joint_csv`"));
        }
        (None, joint) => inline(models, joint)?,
        (Some(csv), []) => csv.read(models)?,
        (Some(_), _) => {
            return Err(
                wrong(["joint_csv"], "both `joint` and `joint_csv` are given").help("keep one of the two")
            );
        }
    };
    let sum: f64 = weights.values().sum();
    if !(sum.is_finite() && sum > 0.0) {
        return Err(wrong(["joint"], format!("the weights sum to {sum}")).help("expected a sum above 0"));
    }
    let mut cells: Vec<(u64, f64)> =
        weights.into_iter().map(|(right, weight)| (right, weight / sum)).collect();
    // More right answers first; among equals the bits, weakest model lowest, of a mirrored word.
    cells.sort_by_key(|(right, _)| (std::cmp::Reverse(right.count_ones()), right.reverse_bits() ^ u64::MAX));
    Ok(cells)
}

fn inline(models: &[String], joint: &[JointCell]) -> Result<BTreeMap<u64, f64>, ConfigError> {
    let mut weights = BTreeMap::new();
    for (index, cell) in joint.iter().enumerate() {
        let index = index.to_string();
        let mut right = 0;
        for (place, name) in cell.right.iter().enumerate() {
            let Some(model) = models.iter().position(|model| model == name) else {
                let path = ["joint", &index, "right", &place.to_string()];
                return Err(wrong(path, format!("unknown model `{name}`"))
                    .help(format!("expected some of {}", models.join(", "))));
            };
            right |= 1 << model;
        }
        if weights.insert(right, cell.weight.get()).is_some() {
            return Err(wrong(["joint", &index, "right"], "the same models are right in another cell")
                .help("add their weights up in one cell"));
        }
    }
    Ok(weights)
}

impl JointCsv {
    fn read(&self, models: &[String]) -> Result<BTreeMap<u64, f64>, ConfigError> {
        let fault = |message: String| wrong(["joint_csv", "path"], format!("`{}`: {message}", self.path));
        let file = File::open(&self.path).map_err(|error| fault(error.to_string()))?;
        let (text, _) = unpack(file).map_err(|error| fault(error.to_string()))?;
        let mut rows = csv::Reader::from_reader(text.take(MAX_FILE));
        let head = rows.headers().map_err(|error| fault(error.to_string()))?.clone();
        let column = |path: [&str; 3], name: &str| {
            let names: Vec<&str> = head.iter().take(20).collect();
            head.iter().position(|column| column == name).ok_or_else(|| {
                ConfigError::new(
                    path.into_iter().filter(|key| !key.is_empty()),
                    format!("no column `{name}`"),
                )
                .help(format!("the file has {}", names.join(", ")))
            })
        };
        if let Some(stray) = self.columns.keys().find(|model| !models.contains(model)) {
            return Err(wrong(["joint_csv", "columns", stray], format!("unknown model `{stray}`"))
                .help(format!("expected some of {}", models.join(", "))));
        }
        let of_model = |model: &String| match self.columns.get(model) {
            Some(name) => column(["joint_csv", "columns", model], name),
            None => column(["joint_csv", "path", ""], model),
        };
        let columns = models.iter().map(of_model).collect::<Result<Vec<_>, _>>()?;
        let condition = |(name, value): (&String, &String)| {
            column(["joint_csv", "where", name], name).map(|place| (place, value.clone()))
        };
        let filter = self.filter.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
        let mut weights = BTreeMap::new();
        for row in rows.records() {
            let row = row.map_err(|error| fault(error.to_string()))?;
            if filter.iter().any(|(place, value)| row.get(*place) != Some(value)) {
                continue;
            }
            let mut right = 0;
            for (model, place) in columns.iter().enumerate() {
                match row.get(*place) {
                    Some("1") => right |= 1 << model,
                    Some("0") => {}
                    other => {
                        let line = row.position().map_or(0, csv::Position::line);
                        let message = format!("`{}` in line {line}", other.unwrap_or_default());
                        return Err(fault(message).help("expected 1 for right or 0 for wrong"));
                    }
                }
            }
            *weights.entry(right).or_insert(0.0) += 1.0;
        }
        if weights.is_empty() {
            return Err(fault("no row passes".into()).help("expected a row for each question"));
        }
        Ok(weights)
    }
}
