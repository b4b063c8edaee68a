//! Frames averaged over the replications, for tables and pictures.

use std::collections::BTreeMap;

use polars::prelude::{AnyValue, DataFrame};
use sim_core::stats::replication_interval;

use super::RunResult;
use super::columns::{COMPONENTS, COSTS, Frame, Kind, MEASURES, SUMMARY};
use super::verdicts::CONFIDENCE;

/// The mean of one figure over the replications.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Average {
    /// The mean.
    pub mean: f64,
    /// Half width of its 95% confidence interval; none for a single replication.
    pub half_width: Option<f64>,
}

/// What the replications say of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct AverageRow {
    /// What it is: the values of the key columns.
    pub keys: Vec<String>,
    /// Text columns that are alike in all replications.
    pub texts: BTreeMap<&'static str, String>,
    /// Figures by column; those without a value in any replication are left out.
    pub figures: BTreeMap<&'static str, Average>,
}

impl AverageRow {
    /// The mean of a figure.
    pub fn mean(&self, column: &str) -> Option<f64> {
        self.figures.get(column).map(|average| average.mean)
    }
}

impl RunResult {
    /// The `summary` frame averaged, keyed by class and tenant.
    pub fn summary_averages(&self) -> Vec<AverageRow> {
        averages(&self.summary(), SUMMARY, &["class", "tenant"])
    }

    /// The row of all requests of the `summary` frame averaged; none when nothing was run.
    pub(crate) fn whole_average(&self) -> Option<AverageRow> {
        averages(&self.summary_of(false), SUMMARY, &["class", "tenant"]).pop()
    }

    /// The `components` frame averaged, keyed by component.
    pub fn component_averages(&self) -> Vec<AverageRow> {
        averages(&self.components(), COMPONENTS, &["component"])
    }

    /// The `measures` frame averaged, keyed by component, part (empty for all of it) and measure.
    pub fn measure_averages(&self) -> Vec<AverageRow> {
        averages(&self.measures(), MEASURES, &["component", "part", "measure"])
    }

    /// The `costs` frame, keyed by component and resource.
    pub fn cost_averages(&self) -> Vec<AverageRow> {
        averages(&self.costs(), COSTS, &["component", "resource"])
    }
}

fn averages(frame: &DataFrame, shape: Frame, keys: &[&str]) -> Vec<AverageRow> {
    let value = |column: &str, row: usize| {
        frame
            .column(column)
            .and_then(|column| column.get(row))
            .expect("the shape is the frame's")
            .into_static()
    };
    let text = |value: AnyValue| value.get_str().map(str::to_owned);
    let mut groups: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
    for row in 0..frame.height() {
        let key: Vec<String> = keys.iter().map(|key| text(value(key, row)).unwrap_or_default()).collect();
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    let row = |(key, rows): (Vec<String>, Vec<usize>)| {
        let (mut texts, mut figures) = (BTreeMap::new(), BTreeMap::new());
        for column in shape.columns.iter().filter(|column| !keys.contains(&column.name)) {
            let values = rows.iter().map(|row| value(column.name, *row));
            if column.kind == Kind::Text {
                let mut values = values.filter_map(text);
                if let Some(first) = values.next()
                    && values.all(|other| other == first)
                {
                    texts.insert(column.name, first);
                }
                continue;
            }
            let values: Vec<f64> = values.filter_map(|value| value.extract::<f64>()).collect();
            if let Ok(interval) = replication_interval(&values, CONFIDENCE) {
                let half_width = Some(interval.half_width).filter(|width| width.is_finite());
                figures.insert(column.name, Average { mean: interval.mean, half_width });
            }
        }
        AverageRow { keys: key, texts, figures }
    };
    groups.into_iter().map(row).collect()
}
