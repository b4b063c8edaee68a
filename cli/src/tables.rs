//! A result as tables for people.

mod plan;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table as Grid};
use scenarios::Loaded;
use scenarios::bench::Figure;
use scenarios::calibrate::{Calibrated, Errors};
use scenarios::compare::Comparison;
use scenarios::report::{Table, compare, dashboard, heading, of_run, stress};
use scenarios::results::RunResult;
use scenarios::results::show::{count, optional, plural, seconds};
use scenarios::stress::{Blast, FallbackTest, FirstBreak, Level, Limit, Recommendation};
use validation::engine::EngineReport;
use validation::gpu::GpuReport;
use validation::published::PublishedReport;
use validation::redis::{RedisReport, TOLERANCE};

pub use plan::{break_even, plan};

/// Everything, ready to print.
pub fn report(result: &RunResult, with_dashboard: bool) -> String {
    let (title, lead) = heading(result);
    let mut sections = vec![format!("{title}\n{lead}")];
    sections.extend(of_run(result).iter().map(section));
    sections.extend(with_dashboard.then(|| section(&dashboard(result))));
    sections.push(findings(result));
    sections.push(footer(result));
    sections.join("\n\n")
}

/// The standard performance figures.
pub fn bench(figures: &[Figure], rounds: u32) -> String {
    let note = format!(
        "requests per second of CPU time on one thread; medians of {}",
        plural(f64::from(rounds), "round")
    );
    let header = ["run", "requests", "events each", "per CPU-second", "slowest", "fastest"];
    let mut table = Table::new("Speed", &note, 1, &header);
    for figure in figures {
        let rates =
            [figure.requests_per_cpu_second, figure.slowest, figure.fastest].map(|rate| count(rate.round()));
        let events = format!("{:.1}", figure.events_per_request);
        let what = vec![figure.name.to_owned(), count(figure.requests as f64), events];
        table.row([what, rates.to_vec()].concat());
    }
    section(&table)
}

/// How good a calibration is.
pub fn calibration(calibrated: &Calibrated) -> String {
    let Some(fit) = &calibrated.fit else {
        return format!("{}: from a summary only, so nothing could be held back", calibrated.badge);
    };
    let header = ["requests", "number", "TTFT mean", "TTFT p99", "TPOT mean", "latency mean", "latency p99"];
    let mut table = Table::new("Errors", "predicted over measured, less one", 1, &header);
    let mut row = |name: &str, requests: usize, errors: &Errors| {
        let errors =
            [errors.ttft_mean, errors.ttft_p99, errors.tpot_mean, errors.latency_mean, errors.latency_p99];
        let cells = errors.map(|error| format!("{:+.1}%", 100.0 * error)).to_vec();
        table.row([vec![name.to_owned(), count(requests as f64)], cells].concat());
    };
    row("fitted to", fit.requests, &fit.errors);
    if let Some(errors) = &fit.held_back_errors {
        row("held back", fit.held_back, errors);
    }
    section(&table)
}

/// Reads of a real Redis, predicted beside measured.
pub fn redis(report: &RedisReport) -> String {
    let note = format!("{} on loopback: median time of a read", report.version);
    let header = ["read", "features", "predicted", "measured", "error", ""];
    let mut table = Table::new("Redis", &note, 1, &header);
    for row in &report.rows {
        let verdict =
            row.error().map_or("fitted", |error| if error.abs() <= TOLERANCE { "pass" } else { "FAIL" });
        table.row([
            row.way.name().to_owned(),
            row.features.to_string(),
            optional(row.predicted_s, seconds),
            seconds(row.measured_s),
            row.error().map_or_else(|| "-".to_owned(), |error| format!("{:+.1}%", 100.0 * error)),
            verdict.to_owned(),
        ]);
    }
    section(&table)
}

/// A GPU's profile beside measurements.
pub fn gpu(report: &GpuReport) -> String {
    let mut sections: Vec<String> = report.tables().map(|table| section(&table)).collect();
    if !report.complete {
        sections.insert(0, "The measurements were cut off: this is what they hold.".to_owned());
    }
    if !report.left_out.is_empty() {
        sections.push(format!("Not predicted\n{}", listed(&report.left_out)));
    }
    sections.join("\n\n")
}

/// A serving engine beside its prediction.
pub fn engine(report: &EngineReport) -> String {
    let mut sections: Vec<String> = report.tables().iter().map(section).collect();
    if !report.complete {
        sections.insert(0, "The suite was cut off: this is what it got to.".to_owned());
    }
    if !report.missing.is_empty() {
        sections.push(format!("Not measured\n{}", listed(&report.missing)));
    }
    sections.join("\n\n")
}

/// Published measurements beside their predictions.
pub fn published(report: &PublishedReport) -> String {
    let mut sections: Vec<String> = report.tables().map(|table| section(&table)).collect();
    if !report.passed() {
        sections.push(format!("Out of bounds\n{}", listed(&report.missed())));
    }
    if !report.skipped.is_empty() {
        sections.push(format!("Left out\n{}", listed(&report.skipped)));
    }
    sections.join("\n\n")
}

/// A table under its title.
fn section(table: &Table) -> String {
    let title =
        if table.note.is_empty() { table.title.clone() } else { format!("{} ({})", table.title, table.note) };
    let mut grid = Grid::new();
    grid.load_style(NOTHING).set_header(table.header.clone()).add_rows(table.rows.clone());
    for (index, column) in grid.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if !table.is_text(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = grid.lines().map(|line| format!("  {}", line.trim_end())).collect();
    format!("{title}\n{}", lines.join("\n"))
}

fn listed(items: &[impl AsRef<str>]) -> String {
    items.iter().map(|item| format!("  - {}", item.as_ref())).collect::<Vec<_>>().join("\n")
}

fn findings(result: &RunResult) -> String {
    format!("Findings\n{}", listed(&result.findings))
}

fn footer(result: &RunResult) -> String {
    let provenance = &result.provenance;
    let first = |hashes: &[String]| match hashes {
        [] => "none".to_owned(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (+{})", rest.len()),
    };
    format!(
        "tenfold {}, scenario {}, fingerprint {}, outcomes {}",
        provenance.version,
        provenance.scenario_hash,
        first(&provenance.fingerprints),
        first(&provenance.outcome_hashes)
    )
}

/// What systems gave side by side, how they differ, and in words.
pub fn comparison(comparison: &Comparison) -> String {
    let (title, _) = heading(&comparison.baseline);
    let mut sections = vec![title];
    sections.extend(compare::of_comparison(comparison).iter().map(section));
    sections.push(format!("Findings\n{}", listed(&comparison.findings())));
    sections.join("\n\n")
}

/// Pass or fail at each multiple, and why.
pub fn stress_levels(loaded: &Loaded, levels: &[Level]) -> String {
    let (title, table, why) = stress::levels(loaded, levels);
    let why: Vec<String> = why.iter().map(|line| format!("  {line}")).collect();
    [title, section(&table), format!("Why\n{}", why.join("\n"))].join("\n\n")
}

/// Where it breaks.
pub fn stress_limit(limit: Limit) -> String {
    format!("Limit: {}", stress::limit_words(limit))
}

/// What breaks first, and the proof.
pub fn stress_first(first: Option<&FirstBreak>) -> String {
    let (said, proof) = stress::first_words(first);
    let mut text = format!("First to break: {said}");
    if !proof.is_empty() {
        text.push_str(&format!("\n{}", listed(&proof)));
    }
    text
}

/// What helps.
pub fn stress_recommendations(list: &[Recommendation], goal: f64) -> String {
    match stress::recommendations(list, goal) {
        Err(nothing) => nothing,
        Ok((table, first)) => format!("{}\n  try the first: {first}", section(&table)),
    }
}

/// Who is hit when a component fails.
pub fn stress_blast(blast: &[(String, Vec<Blast>)]) -> String {
    section(&stress::blast_table(blast))
}

/// What each fallback does when it must serve.
pub fn stress_fallbacks(tests: &[FallbackTest]) -> String {
    match tests {
        [] => "Fallbacks: no link has any".to_owned(),
        tests => section(&stress::fallbacks_table(tests)),
    }
}
