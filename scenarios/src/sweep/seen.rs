//! The points of a finished sweep, for reports.

use std::collections::BTreeMap;

use super::axes::Axis;
use super::row::{Columns, Row, Value};
use super::store::{Manifest, Part, in_order};
use super::{SCALE, SweepError, VARIANT, columns::SWEEP};
use crate::results::ResultsError;
use crate::scenario::SloConfig;

/// A point and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// Its number.
    pub point: u64,
    /// The value on each axis, as people read it.
    pub values: Vec<String>,
    /// The same as a number, where it is one.
    pub numbers: Vec<Option<f64>>,
    /// Whether it keeps to the SLO; none where nothing is expected or it could not be run.
    pub pass: Option<bool>,
    /// Figures by column.
    pub figures: BTreeMap<&'static str, f64>,
}

/// What a sweep was over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Swept {
    /// Name of the scenario.
    pub scenario: String,
    /// What it is about.
    pub description: Option<String>,
    /// What is expected of it.
    pub slo: SloConfig,
    /// Names of the axes, with their units.
    pub axes: Vec<String>,
    /// The points, in order.
    pub points: Vec<Seen>,
    /// How the points were chosen.
    pub design: String,
    /// Where it comes from, by name.
    pub provenance: Vec<(String, String)>,
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Count(count) => count.to_string(),
        Value::Real(real) => crate::results::findings::short(*real),
        Value::Null => "-".to_owned(),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Count(count) => Some(*count as f64),
        Value::Real(real) => Some(*real),
        Value::Text(_) | Value::Null => None,
    }
}

impl Swept {
    /// What is in the parts of a sweep that has been run.
    pub(super) fn read(
        parts: &[Part],
        axes: &[Axis],
        columns: &Columns,
        manifest: &Manifest,
    ) -> Result<Self, SweepError> {
        let column = |path: &str, own: &str| match path {
            SCALE => "multiplier".to_owned(),
            VARIANT => VARIANT.to_owned(),
            _ => own.to_owned(),
        };
        let axes: Vec<String> = axes.iter().map(|axis| column(&axis.path, &axis.column.0)).collect();
        let places: Vec<usize> = axes.iter().map(|name| columns.position(name)).collect();
        let figures: Vec<(&'static str, usize)> =
            SWEEP.columns.iter().map(|column| (column.name, columns.position(column.name))).collect();
        let slo = columns.position("slo");
        let mut points = Vec::new();
        let each = |rows: &[Row]| {
            points.extend(rows.iter().map(|row| {
                Seen {
                    point: row.point,
                    values: places.iter().map(|place| text(&row.values[*place])).collect(),
                    numbers: places.iter().map(|place| number(&row.values[*place])).collect(),
                    pass: match &row.values[slo] {
                        Value::Text(slo) if slo == "pass" => Some(true),
                        Value::Text(slo) if slo == "fail" => Some(false),
                        _ => None,
                    },
                    figures: figures
                        .iter()
                        .filter_map(|(name, place)| Some((*name, number(&row.values[*place])?)))
                        .collect(),
                }
            }));
            Ok(())
        };
        let first = parts.first().map(|part| part.path.clone()).unwrap_or_default();
        in_order(parts, columns, each).map_err(|source| ResultsError::Frame { path: first, source })?;
        let row = |name: &str, value: String| (name.to_owned(), value);
        let mut provenance = vec![
            row("scenario", manifest.scenario.clone()),
            row("scenario hash", manifest.scenario_hash.clone()),
            row("run", manifest.run.clone()),
            row("design", manifest.design.clone()),
            row("seed", manifest.seed.to_string()),
            row("tenfold version", manifest.version.clone()),
        ];
        provenance.extend(manifest.design_seed.map(|seed| row("seed of the design", seed.to_string())));
        Ok(Self {
            scenario: manifest.scenario.clone(),
            description: manifest.description.clone(),
            slo: manifest.slo.clone(),
            axes,
            points,
            design: manifest.design.clone(),
            provenance,
        })
    }
}
