//! Reads of Feast's feature server, by the presets of `feature_store` that were made from them.

use std::path::Path;

use scenarios::report::Unit;
use serde::Deserialize;

use super::page::parity_of_rows;
use super::rows::{median, read};
use super::{Check, PublishedError, Row};
use crate::simulate;

/// The load tests.
pub(super) const FILES: [&str; 1] = ["features/feast_online_latency.csv"];

/// A preset, what the logs call its store, and how far a median may be off.
const PRESETS: [(&str, &str, f64); 3] =
    [("redis", "redis", 0.03), ("dynamodb", "dynamo", 0.03), ("datastore", "datastore", 0.08)];

/// Features of a read.
const FEATURES: [u32; 5] = [50, 100, 150, 200, 250];

/// A load test.
#[derive(Debug, Deserialize)]
struct Test {
    store: String,
    entity_rows: u32,
    features: u32,
    rps: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Reads of one row at ten a second.
pub(super) fn check(dir: &Path) -> Result<Check, PublishedError> {
    let tests: Vec<Test> = read(&dir.join(FILES[0]))?;
    let mut rows = Vec::new();
    for (backend, log, bound) in PRESETS {
        for features in FEATURES {
            let own = |test: &&Test| {
                test.store == log && test.entity_rows == 1 && test.features == features && test.rps == 10.0
            };
            let of = |figure: fn(&Test) -> f64| median(tests.iter().filter(own).map(figure).collect());
            let text = format!(
                "name = \"feast\"\nrun = {{ duration = \"60s\", replications = 1, warmup = \"0s\" }}\n\
                 [traffic.reads]\nentry = \"store\"\narrivals = {{ process = \"poisson\", rate = \"10/s\" }}\n\
                 [components.store]\nkind = \"feature_store\"\nfeatures = {features}\nbackend = \"{backend}\"\n"
            );
            for (statistic, measured, column, bound) in [
                ("p50", of(|test| test.p50_ms), "latency_p50_s", Some(bound)),
                ("p99", of(|test| test.p99_ms), "latency_p99_s", None),
            ] {
                let Some(measured_ms) = measured else { continue };
                rows.push(Row {
                    what: format!("{log}, {features} features, {statistic}"),
                    unit: Unit::Seconds,
                    measured: measured_ms / 1e3,
                    predicted: simulate(&text, column)?,
                    bound,
                });
            }
        }
    }
    Ok(Check {
        title: "Reads of a feature store",
        source: "feast-dev/feast-benchmarks @ 80e80da (Feast's Python feature server), Apache-2.0",
        said: "The presets `redis`, `dynamodb` and `datastore` beside the logs that they were made from: one row, ten reads a \
               second; where a test was run several times, the median. So this is a check of the presets, not of a prediction. \
               They were made to meet medians, and each of their reads takes the same time: the p99 of the logs is shown for \
               information, and is missed by up to three quarters. Set `lookup` to a law of your own where tails matter."
            .into(),
        facts: Vec::new(),
        pictures: parity_of_rows("parity-features", "Reads of a feature store", &rows).into_iter().collect(),
        rows,
        spreads: Vec::new(),
    })
}
