//! A run as tables, for the terminal and for reports.

use super::table::Table;
use crate::results::show::{count, optional, percent, rate, seconds, usd, with_interval};
use crate::results::{Average, AverageRow, RunResult};

/// All tables of a run, in order.
pub fn of_run(result: &RunResult) -> Vec<Table> {
    if result.outputs.is_empty() {
        return Vec::new();
    }
    let summary = result.summary_averages();
    let mut tables = vec![requests(&summary), latencies(&summary)];
    if summary.iter().any(|row| row.mean("ttft_mean_s").is_some()) {
        tables.push(tokens(&summary));
    }
    let components = result.component_averages();
    tables.push(component_loads(&components));
    if components.iter().any(|row| row.mean("gpus").is_some()) {
        tables.push(pools(&components));
    }
    let measures = result.measure_averages();
    if !measures.is_empty() {
        tables.push(details(&measures));
    }
    tables.push(costs(result, &summary));
    if !result.verdicts.is_empty() {
        tables.push(slo(result));
    }
    tables
}

/// What a Prometheus dashboard would show of the first replication, beside what is so.
pub fn dashboard(result: &RunResult) -> Table {
    let frame = result.dashboard();
    // Peaks are known when every request was kept.
    let has_peaks = frame.column("peak_exact_s").is_ok_and(|column| column.null_count() < column.len());
    let header =
        ["of", "time", "quantile", "exact", "dashboard", "error", "bucket", "peak exact", "peak dashboard"];
    let (columns, note) = match has_peaks {
        true => (9, "first replication; peaks: of 15 s between scrapes, and by `rate` over 1 min"),
        false => (7, "`histogram_quantile` of the first replication"),
    };
    let mut table = Table::new("What a dashboard would show", note, 3, &header[..columns]);
    let first = result.replications.first().copied();
    let cell = |column: &str, row: usize| frame.column(column).and_then(|column| column.get(row)).ok();
    for row in 0..frame.height() {
        let text = |column: &str| {
            cell(column, row).and_then(|value| value.get_str().map(str::to_owned)).unwrap_or_default()
        };
        let real = |column: &str| cell(column, row).and_then(|value| value.extract::<f64>());
        if cell("replication", row).and_then(|value| value.extract::<u64>()) != first {
            continue;
        }
        let bucket = match (real("bucket_from_s"), real("bucket_to_s")) {
            (Some(from), Some(to)) => format!("{} to {}", seconds(from), seconds(to)),
            (Some(from), None) => format!("above {}", seconds(from)),
            _ => "-".to_owned(),
        };
        let cells = [
            text("component"),
            text("metric"),
            text("quantile"),
            optional(real("exact_s"), seconds),
            optional(real("dashboard_s"), seconds),
            optional(real("error"), |error| format!("{:+.1}%", 100.0 * error)),
            bucket,
            optional(real("peak_exact_s"), seconds),
            optional(real("peak_dashboard_s"), seconds),
        ];
        table.row(cells.into_iter().take(columns));
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
    let mut table = Table::new("Requests", "means of the replications", 1, &header);
    for row in worth_a_line(summary) {
        let columns = ["born", "ok", "degraded", "rejected", "timed_out", "failed", "in_flight"];
        let mut cells = vec![who(row)];
        cells.extend(columns.map(|column| optional(row.mean(column), count)));
        cells.push(estimate(row, "throughput_per_s", rate));
        cells.push(optional(row.mean("goodput_per_s"), rate));
        cells.push(optional(row.mean("slo_attainment"), percent));
        table.row(cells);
    }
    table
}

fn latencies(summary: &[AverageRow]) -> Table {
    let mut table = Table::new(
        "Latency",
        "from birth to reply, of answered requests",
        1,
        &["class", "mean", "p50", "p95", "p99", "max"],
    );
    for row in worth_a_line(summary) {
        let columns = ["latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s"];
        let mut cells = vec![who(row)];
        cells.extend(columns.map(|column| estimate(row, column, seconds)));
        cells.push(optional(row.mean("latency_max_s"), seconds));
        table.row(cells);
    }
    table
}

fn tokens(summary: &[AverageRow]) -> Table {
    let header =
        ["class", "TTFT mean", "p50", "p95", "p99", "TPOT mean", "p50", "p95", "p99", "output tokens/s"];
    let mut table = Table::new(
        "Tokens",
        "TTFT: time to first token, TPOT: time per output token after the first",
        1,
        &header,
    );
    for row in worth_a_line(summary) {
        let mut cells = vec![who(row)];
        for metric in ["ttft", "tpot"] {
            let columns = ["mean", "p50", "p95", "p99"];
            let value = |quantile: &str| optional(row.mean(&format!("{metric}_{quantile}_s")), seconds);
            cells.extend(columns.map(value));
        }
        cells.push(optional(row.mean("output_tokens_per_s"), count));
        table.row(cells);
    }
    table
}

/// What only some components have.
fn details(measures: &[AverageRow]) -> Table {
    let mut table = Table::new("Details", "", 3, &["component", "of", "figure", "", "what it says"]);
    for row in measures {
        let [component, part, measure] = [0, 1, 2].map(|key| row.keys[key].clone());
        let value = optional(row.mean("value"), |value| match measure.as_str() {
            name if name.ends_with("_s") && !name.ends_with("_per_s") => seconds(value),
            name if name.ends_with("_share") || name.ends_with("_ratio") => percent(value),
            name if name.ends_with("_usd") => usd(value),
            _ => rate(value),
        });
        let meaning = row.texts.get("meaning").cloned().unwrap_or_default();
        table.row([component, part, measure, value, meaning]);
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
    let mut table = Table::new("Components", "", 2, &header);
    for row in components {
        table.row([
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
    let mut table = Table::new("GPU pools", "", 1, &header);
    for row in components.iter().filter(|row| row.mean("gpus").is_some()) {
        table.row([
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
    let mut table = Table::new(
        "Cost",
        "",
        3,
        &["component", "resource", "paid", "units", "each", "per hour", "per month"],
    );
    for line in result.cost_averages() {
        let figure = |column: &str, show: fn(f64) -> String| optional(line.mean(column), show);
        let paid = line.texts.get("price_model").map_or("", String::as_str);
        table.row([
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
    table.row(row("total", hour, month));
    for (name, column) in [
        ("revenue", "revenue_usd_per_hour"),
        ("margin", "margin_usd_per_hour"),
        ("per 1,000 good requests", "cost_usd_per_1k_good"),
        ("per 1M output tokens", "cost_usd_per_1m_tokens"),
    ] {
        if all.is_some_and(|row| row.mean(column).is_some()) {
            table.row(row(name, total(column), empty()));
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
    let mut table = Table::new("SLO", "", 2, &["class", "metric", "limit", "value", "margin", ""]);
    for verdict in &result.verdicts {
        let show = |value: f64| verdict.shown(value);
        let average = verdict.value.map(|mean| Average { mean, half_width: verdict.half_width });
        table.row([
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

fn estimate(row: &AverageRow, column: &str, show: impl Fn(f64) -> String) -> String {
    row.figures.get(column).map_or_else(|| "-".to_owned(), |average| with_interval(*average, show))
}
