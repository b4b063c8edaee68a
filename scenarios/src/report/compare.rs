//! The report of a comparison, and its tables.

use sim_models::system::recorder::SystemWindow;

use super::axis::{Axis, Unit};
use super::bars::{Span, Spans};
use super::chart::{Chart, Mark, Series};
use super::picture::{Drawing, Picture};
use super::pictures::{Choice, MOST, bill, bounds, distribution, merged, pareto};
use super::table::Table;
use super::{Block, Report, heading, provenance_rows};
use crate::compare::{Comparison, METRICS, Metric, change};
use crate::results::show::{optional, percent, plural, rate, seconds, usd};
use crate::results::{AverageRow, RunResult};
use crate::run::ALL;

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

fn whole(result: &RunResult) -> Option<AverageRow> {
    result.summary_averages().into_iter().find(|row| row.keys.iter().all(|key| key == ALL))
}

fn verdict(result: &RunResult) -> &'static str {
    match result.passed() {
        Some(true) => "pass",
        Some(false) => "FAIL",
        None => "-",
    }
}

/// What systems gave side by side, and how they differ.
pub fn of_comparison(comparison: &Comparison) -> [Table; 2] {
    let rows: Vec<(&RunResult, Option<AverageRow>)> =
        comparison.results().map(|result| (result, whole(result))).collect();
    let measured =
        |column: &str| rows.iter().any(|(_, row)| row.as_ref().is_some_and(|row| row.mean(column).is_some()));
    let columns: Vec<(&str, &str)> = COLUMNS.into_iter().filter(|(column, _)| measured(column)).collect();
    let header = |last: &[&'static str]| -> Vec<&str> {
        ["system"]
            .into_iter()
            .chain(columns.iter().map(|(_, name)| *name))
            .chain(last.iter().copied())
            .collect()
    };
    let replications = comparison.baseline.replications.len();
    let note = format!("means of {}", plural(replications as f64, "replication"));
    let mut values = Table::new("Systems", &note, 1, &header(&["SLO"]));
    for (result, row) in &rows {
        let mean = |column: &str| row.as_ref().and_then(|row| row.mean(column));
        let figures = columns.iter().map(|(column, _)| optional(mean(column), |value| show(column, value)));
        values.row([result.variant.clone()].into_iter().chain(figures).chain([verdict(result).to_owned()]));
    }
    let note = format!("from `{}`, with 95% intervals of paired differences", comparison.baseline.variant);
    let mut changes = Table::new("Differences", &note, 1, &header(&[]));
    for other in &comparison.others {
        let of = |column: &str| {
            let mut all = other.differences.iter().filter(|(class, _)| class == ALL);
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
        changes.row(
            [other.result.variant.clone()].into_iter().chain(columns.iter().map(|(column, _)| cell(column))),
        );
    }
    [values, changes]
}

/// Figures that are drawn: column, title, unit.
const DRAWN: [(&str, &str, Unit); 5] = [
    ("latency_p99_s", "Latency p99", Unit::Seconds),
    ("ttft_p95_s", "Time to first token p95", Unit::Seconds),
    ("goodput_per_s", "Good answers a second", Unit::Number("1/s")),
    ("error_rate", "Errors", Unit::Share),
    ("cost_usd_per_month", "Cost per month", Unit::Usd),
];

impl Comparison {
    /// The comparison for people: how the systems differ in words, pictures, tables.
    pub fn report(&self) -> Report {
        let (title, lead) = heading(&self.baseline);
        let mut report = Report {
            title: format!("{title}: comparison"),
            lead: format!("{lead}; all systems under the same traffic and luck"),
            blocks: Vec::new(),
            provenance: provenance_rows(&self.baseline.provenance),
        };
        for other in &self.others {
            let own = &other.result.provenance;
            let name = |what: &str| format!("{what} of `{}`", other.result.variant);
            report.provenance.push((name("scenario hash"), own.scenario_hash.clone()));
            report.provenance.push((name("fingerprints"), own.fingerprints.join(" ")));
        }
        report.blocks.extend(self.baseline.scenario.description.clone().map(Block::Text));
        let meets: Vec<String> =
            self.results().filter(|r| r.passed() == Some(true)).map(|r| format!("`{}`", r.variant)).collect();
        let asked = self.results().any(|result| result.passed().is_some());
        let (pass, text) = match (asked, meets.as_slice()) {
            (false, _) if self.results().any(|result| !result.verdicts.is_empty()) => {
                (None, "Nothing was run to its end: the SLO is not judged.".to_owned())
            }
            (false, _) => (None, "Nothing is expected of these systems: the scenario has no SLO.".to_owned()),
            (true, []) => (Some(false), "No system meets the SLO.".to_owned()),
            (true, meets) => {
                let verb = if meets.len() == 1 { "meets" } else { "meet" };
                (Some(true), format!("{} {verb} the SLO.", meets.join(", ")))
            }
        };
        report.blocks.push(Block::Verdict { pass, text });
        report.blocks.push(Block::Items(self.findings().into_iter().map(str::to_owned).collect()));
        report.blocks.extend(of_comparison(self).map(Block::Table));
        report.blocks.push(Block::Heading("Side by side".to_owned()));
        for (column, title, unit) in DRAWN {
            report.picture(self.spans(column, title, unit));
        }
        let slo = &self.baseline.scenario.slo;
        let of = |of: fn(&sim_models::meter::RequestMeter) -> &sim_core::stats::Histogram| {
            self.results().map(|r| (r.variant.clone(), merged(&r.outputs, None, of))).collect::<Vec<_>>()
        };
        report.picture(distribution(
            "latency-cdf",
            "Latency of answered requests",
            "latency",
            of(|meter| &meter.latency),
            bounds("", slo.latency, true),
        ));
        report.picture(distribution(
            "ttft-cdf",
            "Time to first token (TTFT)",
            "time to first token",
            of(|meter| &meter.ttft),
            bounds("TTFT ", slo.ttft, true),
        ));
        report.blocks.push(Block::Heading("Over time".to_owned()));
        if self.baseline.outputs.len() > 1 {
            report.blocks.push(Block::Text("The first replication of each.".to_owned()));
        }
        self.over_time().into_iter().for_each(|picture| report.picture(picture));
        report.blocks.push(Block::Heading("What it costs".to_owned()));
        report.picture(bill("cost", "Cost by component", self.results().map(|r| (r.variant.clone(), r))));
        let choices: Vec<Choice> = self
            .results()
            .filter_map(|result| {
                let row = whole(result)?;
                let (cost, figure) = (row.mean("cost_usd_per_month")?, row.mean("latency_p99_s")?);
                Some(Choice { name: result.variant.clone(), cost, figure, pass: result.passed() })
            })
            .filter(|choice| choice.cost > 0.0)
            .collect();
        let cost = Axis::linear("bill for a month", Unit::Usd);
        let latency = Axis::log("latency p99", Unit::Seconds);
        report.picture(pareto("cost-latency", "Latency p99 by cost", cost, latency, &choices, false));
        report
    }

    /// What becomes of every system, window by window, on the same axes.
    fn over_time(&self) -> [Option<Picture>; 3] {
        let end = self.results().filter_map(|result| Some(result.outputs.first()?.end.as_secs_f64()));
        let end = end.fold(0.0, f64::max);
        let picture =
            |name: &str, title: &str, caption: &str, y: Axis, of: &dyn Fn(&SystemWindow) -> Option<f64>| {
                let series = self.results().take(MOST + 1).map(|result| {
                    let windows = result.outputs.first().into_iter().flat_map(|output| &output.windows);
                    let points = windows.filter_map(|window| {
                        let middle = window.start.as_secs_f64() + window.width.as_secs_f64() / 2.0;
                        Some((middle, of(window)?))
                    });
                    Series { name: result.variant.clone(), points: points.collect(), mark: Mark::Line }
                });
                let (series, references) = (series.collect(), Vec::new());
                let chart = Chart { x: Chart::time(end), y, series, references };
                Picture::new(name, title, caption, Drawing::Chart(chart))
            };
        let rate = |window: &SystemWindow, count: u64| {
            let width = window.width.as_secs_f64();
            (width > 0.0).then(|| count as f64 / width)
        };
        [
            picture(
                "latency-series",
                "Latency p99 over time",
                "Of the requests answered in each window.",
                Axis::linear("latency p99", Unit::Seconds),
                &|window| Some(window.latency_p99? as f64 / 1e9),
            ),
            picture(
                "answers-series",
                "Answers a second over time",
                "How many requests were answered, by window.",
                Axis::linear("answers a second", Unit::Number("1/s")),
                &|window| rate(window, window.outcomes[0] + window.outcomes[1]),
            ),
            picture(
                "in-flight",
                "Requests in the system over time",
                "Born and not ended, at the end of each window. A number that keeps rising is an overload.",
                Axis::linear("requests in the system", Unit::Number("")),
                &|window| Some(window.in_flight as f64),
            ),
        ]
    }

    /// A figure of every system, with its interval.
    fn spans(&self, column: &str, title: &str, unit: Unit) -> Option<Picture> {
        let spans: Vec<Span> = self
            .results()
            .filter_map(|result| {
                let average = *whole(result)?.figures.get(column)?;
                let width = average.half_width.unwrap_or(0.0);
                // No figure here can be below 0, however wide its interval is.
                let low = (average.mean - width).max(0.0);
                let name = result.variant.clone();
                Some(Span { name, low, high: average.mean + width, mark: Some(average.mean) })
            })
            .collect();
        if spans.iter().all(|span| span.high == 0.0) {
            return None;
        }
        let drawing = Spans { axis: Axis::linear(title, unit), base: None, ends: None, spans };
        let name = column.strip_suffix("_s").filter(|rest| !rest.ends_with("_per")).unwrap_or(column);
        let name = name.replace('_', "-");
        let without = |result: &&RunResult| !drawing.spans.iter().any(|span| span.name == result.variant);
        let without: Vec<String> =
            self.results().filter(without).map(|result| format!("`{}`", result.variant)).collect();
        let rest = match without.as_slice() {
            [] => String::new(),
            names => format!(" Not measured: {}.", names.join(", ")),
        };
        let caption = format!(
            "Mean over the replications, with its 95% confidence interval. Pairs are compared more surely in the table \
             of differences.{rest}"
        );
        Picture::new(name, title, caption, Drawing::Spans(drawing))
    }
}
