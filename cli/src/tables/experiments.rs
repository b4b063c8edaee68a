//! Results of experiments on several systems or loads, as tables for people.

use scenarios::compare::{Comparison, METRICS, Metric, change};
use scenarios::results::RunResult;

use super::{count, heading, optional, percent, rate, seconds, section, table, usd};

/// Figures that fit on a screen beside one another.
const COLUMNS: [(&str, &str); 9] = [
    ("latency_p50_s", "latency p50"),
    ("latency_p99_s", "p99"),
    ("ttft_p95_s", "TTFT p95"),
    ("error_rate", "errors"),
    ("goodput_per_s", "good/s"),
    ("slo_attainment", "SLO met"),
    ("accuracy", "accuracy"),
    ("cost_usd_per_month", "per month"),
    ("cost_usd_per_1k_good", "per 1,000 good"),
];

/// A figure as people read it.
fn show(column: &str, value: f64) -> String {
    match column {
        _ if column.starts_with("cost_usd") => usd(value),
        "goodput_per_s" => rate(value),
        "error_rate" | "slo_attainment" | "accuracy" => percent(value),
        _ => seconds(value),
    }
}

/// What systems gave side by side, how they differ, and in words.
pub fn comparison(comparison: &Comparison) -> String {
    let measured = |column: &str| {
        comparison
            .results()
            .any(|result| result.summary_averages().iter().any(|row| row.mean(column).is_some()))
    };
    let columns: Vec<(&str, &str)> = COLUMNS.into_iter().filter(|(column, _)| measured(column)).collect();
    let header = |first: [&'static str; 1], last: &[&'static str]| -> Vec<&str> {
        first.into_iter().chain(columns.iter().map(|(_, name)| *name)).chain(last.iter().copied()).collect()
    };
    let mut values = table(1, &header(["system"], &["SLO"]));
    for result in comparison.results() {
        let summary = result.summary_averages();
        let all = summary.iter().find(|row| row.keys.iter().all(|key| key == "all"));
        let mean = |column: &str| all.and_then(|row| row.mean(column));
        let figures = columns.iter().map(|(column, _)| optional(mean(column), |value| show(column, value)));
        let row = [result.variant.clone()].into_iter().chain(figures).chain([verdict(result).to_owned()]);
        values.add_row(row.collect::<Vec<_>>());
    }
    let mut changes = table(1, &header(["system"], &[]));
    for other in &comparison.others {
        let of = |column: &str| {
            let mut all = other.differences.iter().filter(|(class, _)| class == "all");
            all.find(|(_, difference)| difference.metric.column == column).map(|(_, difference)| difference)
        };
        let cell = |column: &str| match of(column).and_then(|difference| difference.difference) {
            Some(average) if average.mean == 0.0 => "0".to_owned(),
            Some(average) => change(
                average,
                METRICS.iter().any(|metric: &Metric| metric.column == column && metric.is_share),
            ),
            None => "-".to_owned(),
        };
        let row =
            [other.result.variant.clone()].into_iter().chain(columns.iter().map(|(column, _)| cell(column)));
        changes.add_row(row.collect::<Vec<_>>());
    }
    let findings: Vec<String> =
        comparison.findings().iter().map(|finding| format!("  - {finding}")).collect();
    let note = format!("from `{}`, with 95% intervals of paired differences", comparison.baseline.variant);
    let replications = comparison.baseline.replications.len();
    [
        heading(&comparison.baseline).lines().next().unwrap_or_default().to_owned(),
        section("Systems", &format!("means of {} replications", count(replications as f64)), &values),
        section("Differences", &note, &changes),
        format!("Findings\n{}", findings.join("\n")),
    ]
    .join("\n\n")
}

fn verdict(result: &RunResult) -> &'static str {
    match result.passed() {
        Some(true) => "pass",
        Some(false) => "FAIL",
        None => "-",
    }
}
