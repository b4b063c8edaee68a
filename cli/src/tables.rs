//! A result as tables for people.

mod experiments;
mod plan;
mod stress;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use scenarios::bench::Figure;
use scenarios::calibrate::{Calibrated, Errors};
use scenarios::language::BASE;
use scenarios::results::{Average, AverageRow, RunResult};
use validation::redis::{RedisReport, TOLERANCE};

pub use experiments::comparison;
pub use plan::{break_even, plan};
pub use stress::{
    stress_blast, stress_fallbacks, stress_first, stress_levels, stress_limit, stress_recommendations,
};

/// Everything, ready to print.
pub fn report(result: &RunResult) -> String {
    let mut sections = vec![heading(result)];
    if !result.outputs.is_empty() {
        let summary = result.summary_averages();
        sections.push(section("Requests", "means of the replications", &requests(&summary)));
        sections.push(section("Latency", "from birth to reply, of answered requests", &latencies(&summary)));
        if summary.iter().any(|row| row.mean("ttft_mean_s").is_some()) {
            let note = "TTFT: time to first token, TPOT: time per output token after the first";
            sections.push(section("Tokens", note, &tokens(&summary)));
        }
        let components = result.component_averages();
        sections.push(section("Components", "", &component_loads(&components)));
        if components.iter().any(|row| row.mean("gpus").is_some()) {
            sections.push(section("GPU pools", "", &pools(&components)));
        }
        let measures = result.measure_averages();
        if !measures.is_empty() {
            sections.push(section("Details", "", &details(&measures)));
        }
        sections.push(section("Cost", "", &costs(result, &summary)));
        if !result.verdicts.is_empty() {
            sections.push(section("SLO", "", &slo(result)));
        }
    }
    sections.push(findings(result));
    sections.push(footer(result));
    sections.join("\n\n")
}

/// The standard performance figures.
pub fn bench(figures: &[Figure], rounds: u32) -> String {
    let mut table = table(1, &["run", "requests", "per CPU-second", "slowest", "fastest"]);
    for figure in figures {
        let rates =
            [figure.requests_per_cpu_second, figure.slowest, figure.fastest].map(|rate| count(rate.round()));
        table.add_row([vec![figure.name.to_owned(), count(figure.requests as f64)], rates.to_vec()].concat());
    }
    let note = format!("requests per second of CPU time on one thread; medians of {rounds} rounds");
    section("Speed", &note, &table)
}

/// How good a calibration is.
pub fn calibration(calibrated: &Calibrated) -> String {
    let Some(fit) = &calibrated.fit else {
        return format!("{}: from a summary only, so nothing could be held back", calibrated.badge);
    };
    let header = ["requests", "number", "TTFT mean", "TTFT p99", "TPOT mean", "latency mean", "latency p99"];
    let mut table = table(1, &header);
    let mut row = |name: &str, requests: usize, errors: &Errors| {
        let errors =
            [errors.ttft_mean, errors.ttft_p99, errors.tpot_mean, errors.latency_mean, errors.latency_p99];
        let cells = errors.map(|error| format!("{:+.1}%", 100.0 * error)).to_vec();
        table.add_row([vec![name.to_owned(), count(requests as f64)], cells].concat());
    };
    row("fitted to", fit.requests, &fit.errors);
    if let Some(errors) = &fit.held_back_errors {
        row("held back", fit.held_back, errors);
    }
    section("Errors", "predicted over measured, less one", &table)
}

/// Reads of a real Redis, predicted beside measured.
pub fn redis(report: &RedisReport) -> String {
    let mut table = table(1, &["read", "features", "predicted", "measured", "error", ""]);
    for row in &report.rows {
        let verdict =
            row.error().map_or("fitted", |error| if error.abs() <= TOLERANCE { "pass" } else { "FAIL" });
        table.add_row([
            row.way.name().to_owned(),
            row.features.to_string(),
            optional(row.predicted_s, seconds),
            seconds(row.measured_s),
            row.error().map_or_else(|| "-".to_owned(), |error| format!("{:+.1}%", 100.0 * error)),
            verdict.to_owned(),
        ]);
    }
    let note = format!("{} on loopback: median time of a read", report.version);
    section("Redis", &note, &table)
}

fn heading(result: &RunResult) -> String {
    let provenance = &result.provenance;
    let load = match provenance.multiplier {
        1.0 => String::new(),
        scale => format!(" at {scale}x"),
    };
    let variant = match provenance.variant.as_str() {
        BASE => String::new(),
        name => format!(", variant `{name}`"),
    };
    format!(
        "{}{variant}{load}\n{} replications of {}, the first {} left out as warm-up; seed {}",
        provenance.scenario,
        result.outputs.len(),
        seconds(provenance.duration_s),
        seconds(provenance.warmup_s),
        provenance.seed,
    )
}

fn section(title: &str, note: &str, table: &Table) -> String {
    let title = if note.is_empty() { title.to_owned() } else { format!("{title} ({note})") };
    let lines: Vec<String> = table.lines().map(|line| format!("  {}", line.trim_end())).collect();
    format!("{title}\n{}", lines.join("\n"))
}

/// A table whose first `texts` columns are text and the others numbers.
fn table(texts: usize, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.to_vec());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index >= texts {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The class, with the tenant where there are several.
fn who(row: &AverageRow) -> String {
    match row.keys.as_slice() {
        [class, tenant] if tenant != "all" => format!("{class} / {tenant}"),
        [class, ..] => class.clone(),
        [] => String::new(),
    }
}

/// The rows worth a line: everything once, classes, and tenants if there are several.
fn worth_a_line(summary: &[AverageRow]) -> Vec<&AverageRow> {
    let different = |key: usize| {
        let mut names: Vec<&String> = summary.iter().filter_map(|row| row.keys.get(key)).collect();
        names.sort_unstable();
        names.dedup();
        names.len() - usize::from(names.len() > 1)
    };
    let (classes, tenants) = (different(0), different(1));
    let wanted = |row: &&AverageRow| match row.keys.as_slice() {
        [class, tenant] => {
            let by_class = class == "all" || classes > 1;
            let by_tenant = tenant == "all" || tenants > 1;
            by_class && by_tenant && !(class != "all" && tenant != "all" && tenants * classes > 16)
        }
        _ => true,
    };
    summary.iter().filter(wanted).collect()
}

fn requests(summary: &[AverageRow]) -> Table {
    let header = [
        "class",
        "born",
        "ok",
        "degraded",
        "rejected",
        "timed out",
        "failed",
        "in flight",
        "answers/s",
        "good/s",
        "SLO met",
    ];
    let mut table = table(1, &header);
    for row in worth_a_line(summary) {
        let columns = ["born", "ok", "degraded", "rejected", "timed_out", "failed", "in_flight"];
        let mut cells = vec![Cell::new(who(row))];
        cells.extend(columns.map(|column| Cell::new(optional(row.mean(column), count))));
        cells.push(Cell::new(estimate(row, "throughput_per_s", rate)));
        cells.push(Cell::new(optional(row.mean("goodput_per_s"), rate)));
        cells.push(Cell::new(optional(row.mean("slo_attainment"), percent)));
        table.add_row(cells);
    }
    table
}

fn latencies(summary: &[AverageRow]) -> Table {
    let mut table = table(1, &["class", "mean", "p50", "p95", "p99", "max"]);
    for row in worth_a_line(summary) {
        let columns = ["latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s"];
        let mut cells = vec![Cell::new(who(row))];
        cells.extend(columns.map(|column| Cell::new(estimate(row, column, seconds))));
        cells.push(Cell::new(optional(row.mean("latency_max_s"), seconds)));
        table.add_row(cells);
    }
    table
}

fn tokens(summary: &[AverageRow]) -> Table {
    let header =
        ["class", "TTFT mean", "p50", "p95", "p99", "TPOT mean", "p50", "p95", "p99", "output tokens/s"];
    let mut table = table(1, &header);
    for row in worth_a_line(summary) {
        let mut cells = vec![Cell::new(who(row))];
        for metric in ["ttft", "tpot"] {
            let columns = ["mean", "p50", "p95", "p99"];
            let value = |quantile: &str| optional(row.mean(&format!("{metric}_{quantile}_s")), seconds);
            cells.extend(columns.map(|quantile| Cell::new(value(quantile))));
        }
        cells.push(Cell::new(optional(row.mean("output_tokens_per_s"), count)));
        table.add_row(cells);
    }
    table
}

/// What only some components have.
fn details(measures: &[AverageRow]) -> Table {
    let mut table = table(2, &["component", "of", "figure", "", "what it says"]);
    for row in measures {
        let [component, part, measure] = [0, 1, 2].map(|key| row.keys[key].clone());
        let value = optional(row.mean("value"), |value| match measure.as_str() {
            name if name.ends_with("_s") && !name.ends_with("_per_s") => seconds(value),
            name if name.ends_with("_share") || name.ends_with("_ratio") => percent(value),
            name if name.ends_with("_usd") => usd(value),
            _ => rate(value),
        });
        let meaning = row.texts.get("meaning").cloned().unwrap_or_default();
        table.add_row([component, part, measure, value, meaning]);
    }
    table
}

fn component_loads(components: &[AverageRow]) -> Table {
    let header = [
        "component",
        "kind",
        "calls",
        "utilization",
        "queue mean",
        "queue max",
        "wait p99",
        "latency p50",
        "latency p99",
    ];
    let mut table = table(2, &header);
    for row in components {
        table.add_row([
            who(row),
            row.texts.get("kind").cloned().unwrap_or_default(),
            optional(row.mean("calls"), count),
            optional(row.mean("utilization"), percent),
            optional(row.mean("queue_mean"), rate),
            optional(row.mean("queue_max"), count),
            optional(row.mean("wait_p99_s"), seconds),
            optional(row.mean("latency_p50_s"), seconds),
            optional(row.mean("latency_p99_s"), seconds),
        ]);
    }
    table
}

fn pools(components: &[AverageRow]) -> Table {
    let header = [
        "pool",
        "GPUs",
        "GPU busy",
        "KV mean",
        "KV max",
        "batch",
        "step",
        "ITL p99",
        "preemptions",
        "prefix hits",
        "timing",
    ];
    let mut table = table(1, &header);
    for row in components.iter().filter(|row| row.mean("gpus").is_some()) {
        table.add_row([
            who(row),
            optional(row.mean("gpus"), count),
            optional(row.mean("gpu_busy"), percent),
            optional(row.mean("kv_mean"), percent),
            optional(row.mean("kv_max"), percent),
            optional(row.mean("batch_mean"), rate),
            optional(row.mean("step_time_mean_s"), seconds),
            optional(row.mean("itl_p99_s"), seconds),
            optional(row.mean("preemptions"), count),
            optional(row.mean("prefix_hit_rate"), percent),
            // Which profile it is stands in the frames; here the kind must do.
            row.texts
                .get("calibration")
                .and_then(|text| text.split(": ").next())
                .unwrap_or_default()
                .to_owned(),
        ]);
    }
    table
}

fn costs(result: &RunResult, summary: &[AverageRow]) -> Table {
    let mut table = table(3, &["component", "resource", "paid", "units", "each", "per hour", "per month"]);
    for line in result.cost_averages() {
        let figure = |column: &str, show: fn(f64) -> String| optional(line.mean(column), show);
        let paid = line.texts.get("price_model").map_or("", String::as_str);
        table.add_row([
            line.keys[0].clone(),
            line.keys[1].clone(),
            paid.to_owned(),
            figure("units", rate),
            figure("unit_usd_per_hour", if paid == "use" { usage_price } else { hourly_price }),
            figure("usd_per_hour", usd),
            figure("usd_per_month", usd),
        ]);
    }
    let all = summary.iter().find(|row| row.keys.iter().all(|key| key == "all"));
    let total = |column: &str| optional(all.and_then(|row| row.mean(column)), usd);
    let empty = String::new;
    let (hour, month) = (total("cost_usd_per_hour"), total("cost_usd_per_month"));
    let row = |name: &str, hour: String, month: String| {
        [name.to_owned(), empty(), empty(), empty(), empty(), hour, month]
    };
    table.add_row(row("total", hour, month));
    for (name, column) in [
        ("revenue", "revenue_usd_per_hour"),
        ("margin", "margin_usd_per_hour"),
        ("per 1,000 good requests", "cost_usd_per_1k_good"),
        ("per 1M output tokens", "cost_usd_per_1m_tokens"),
    ] {
        if all.is_some_and(|row| row.mean(column).is_some()) {
            table.add_row(row(name, total(column), empty()));
        }
    }
    table
}

fn hourly_price(price: f64) -> String {
    format!("{}/h", usd(price))
}

/// Of what is paid by use, a unit may be too cheap to be shown.
fn usage_price(price: f64) -> String {
    if price > 0.0 && price < 1e-3 { format!("{}/M", usd(1e6 * price)) } else { usd(price) }
}

fn slo(result: &RunResult) -> Table {
    let mut table = table(2, &["class", "metric", "limit", "value", "margin", ""]);
    for verdict in &result.verdicts {
        let show = |value: f64| match verdict.unit {
            "s" => seconds(value),
            "USD" => usd(value),
            _ => percent(value),
        };
        let average = verdict.value.map(|mean| Average { mean, half_width: verdict.half_width });
        table.add_row([
            verdict.class.clone(),
            [Some(verdict.metric), verdict.quantile].into_iter().flatten().collect::<Vec<_>>().join(" "),
            show(verdict.limit),
            average.map_or_else(|| "not measured".to_owned(), |average| with_interval(average, show)),
            optional(verdict.margin(), percent),
            if verdict.pass { "pass" } else { "FAIL" }.to_owned(),
        ]);
    }
    table
}

fn findings(result: &RunResult) -> String {
    let lines: Vec<String> = result.findings.iter().map(|finding| format!("  - {finding}")).collect();
    format!("Findings\n{}", lines.join("\n"))
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

fn optional(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn estimate(row: &AverageRow, column: &str, show: impl Fn(f64) -> String) -> String {
    row.figures.get(column).map_or_else(|| "-".to_owned(), |average| with_interval(*average, show))
}

/// The mean, with its half width where that is more than a tenth of a percent of it.
fn with_interval(average: Average, show: impl Fn(f64) -> String) -> String {
    match average.half_width.filter(|width| *width > average.mean.abs() * 1e-3) {
        Some(width) => format!("{} +-{}", show(average.mean), show(width)),
        None => show(average.mean),
    }
}

/// Three digits that matter.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn seconds(value: f64) -> String {
    let (factor, unit) = match value.abs() {
        0.0 => return "0 s".to_owned(),
        v if v >= 7200.0 => (1.0 / 3600.0, "h"),
        v if v >= 120.0 => (1.0 / 60.0, "min"),
        v if v >= 0.9995 => (1.0, "s"),
        v if v >= 0.9995e-3 => (1e3, "ms"),
        _ => (1e6, "us"),
    };
    format!("{} {unit}", digits(value * factor))
}

fn percent(value: f64) -> String {
    format!("{:.1}%", value * 100.0)
}

fn rate(value: f64) -> String {
    if value.abs() >= 1000.0 { count(value) } else { digits(value) }
}

/// A whole number with separators.
fn count(value: f64) -> String {
    let plain = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

fn usd(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("${}", count(value)),
        v if v >= 0.095 || v == 0.0 => format!("${value:.2}"),
        _ => format!("${value:.5}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(
            [0.0, 1e-7, 0.0123, 1.0, 59.9, 600.0, 9000.0].map(seconds),
            ["0 s", "0.100 us", "12.3 ms", "1.00 s", "59.9 s", "10.0 min", "2.50 h"]
        );
        assert_eq!([0.0, 999.0, 1000.0, 1234567.0].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.0123, 2.5, 80_000.0].map(usd), ["$0.00", "$0.01230", "$2.50", "$80,000"]);
    }

    #[test]
    fn an_interval_is_shown_when_it_matters() {
        let average = |half_width| Average { mean: 2.0, half_width };
        assert_eq!(with_interval(average(None), digits), "2.00");
        assert_eq!(with_interval(average(Some(0.1)), digits), "2.00 +-0.100");
        assert_eq!(with_interval(average(Some(0.0001)), digits), "2.00");
    }
}
