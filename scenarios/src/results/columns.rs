//! Names, types, units and meanings of the columns of results. They are a public surface: renaming or
//! dropping one raises [`VERSION`].

use std::fmt::Write as _;

use polars::prelude::DataType;

pub use super::requests::REQUESTS;
pub use crate::plan::PLAN;
pub use crate::sweep::SWEEP;

/// Version of the columns, in the provenance of every result.
pub const VERSION: u32 = 1;

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Unsigned 64-bit integer.
    Count,
    /// 64-bit float.
    Real,
    /// True or false.
    Flag,
}

impl Kind {
    /// The type as polars names it.
    pub fn dtype(self) -> DataType {
        match self {
            Self::Text => DataType::String,
            Self::Count => DataType::UInt64,
            Self::Real => DataType::Float64,
            Self::Flag => DataType::Boolean,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Count => "u64",
            Self::Real => "f64",
            Self::Flag => "bool",
        }
    }
}

/// A column of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name; a unit is its ending (`latency_p99_s`).
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Unit of its values; empty for text and pure numbers.
    pub unit: &'static str,
    /// What its values say.
    pub meaning: &'static str,
}

/// A frame of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its name, also that of its file.
    pub name: &'static str,
    /// What a row is.
    pub row: &'static str,
    /// Its columns in order.
    pub columns: &'static [Column],
}

impl Frame {
    /// The column of that name, for another frame that has it too.
    pub(crate) const fn column(&self, name: &str) -> Column {
        let mut at = 0;
        while at < self.columns.len() {
            if is_same(self.columns[at].name, name) {
                return self.columns[at];
            }
            at += 1;
        }
        panic!("the frame has no such column")
    }
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

pub(crate) const fn column(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    meaning: &'static str,
) -> Column {
    Column { name, kind, unit, meaning }
}

use Kind::{Count, Flag, Real, Text};

const SCENARIO: Column = column("scenario", Text, "", "Name of the scenario");
pub(crate) const VARIANT: Column =
    column("variant", Text, "", "Name of the variant; `base` for the scenario as it is written");
pub(crate) const MULTIPLIER: Column = column("multiplier", Real, "", "Load relative to the scenario's");
pub(crate) const REPLICATION: Column = column("replication", Count, "", "Number of the replication, from 0");

/// `summary`.
pub const SUMMARY: Frame = Frame {
    name: "summary",
    row: "The requests of one class and tenant in one replication, born in the measured part of the run. \
          Rows whose class, tenant or both are `all` sum up.",
    columns: &[
        SCENARIO,
        VARIANT,
        MULTIPLIER,
        REPLICATION,
        column("class", Text, "", "Priority class, or `all`"),
        column("tenant", Text, "", "Tenant, or `all`"),
        column("born", Count, "requests", "Requests born"),
        column("ok", Count, "requests", "Answered in full"),
        column("degraded", Count, "requests", "Answered by a fallback"),
        column("rejected", Count, "requests", "Refused: shed, limited, no room, a breaker open"),
        column("timed_out", Count, "requests", "Given up by their users"),
        column("failed", Count, "requests", "Ended in an error"),
        column("in_flight", Count, "requests", "Not ended when the run did"),
        column("error_rate", Real, "", "Share of the ended that were rejected, timed out or failed"),
        column("throughput_per_s", Real, "1/s", "Answers before the end of the arrivals, by measured time"),
        column(
            "goodput_per_s",
            Real,
            "1/s",
            "The same, of good requests: answered within every bound of the SLO",
        ),
        column("slo_attainment", Real, "", "Share of the ended that were good"),
        column("latency_mean_s", Real, "s", "Latency from birth to reply of answered requests: mean"),
        column("latency_p50_s", Real, "s", "Median of it"),
        column("latency_p95_s", Real, "s", "95th percentile of it"),
        column("latency_p99_s", Real, "s", "99th percentile of it"),
        column("latency_max_s", Real, "s", "Longest"),
        column("ttft_mean_s", Real, "s", "Time from birth to the first token: mean; null without tokens"),
        column("ttft_p50_s", Real, "s", "Median of it"),
        column("ttft_p95_s", Real, "s", "95th percentile of it"),
        column("ttft_p99_s", Real, "s", "99th percentile of it"),
        column("ttft_max_s", Real, "s", "Longest"),
        column(
            "tpot_mean_s",
            Real,
            "s",
            "Time per output token after the first, of one request: mean over requests",
        ),
        column("tpot_p50_s", Real, "s", "Median of it"),
        column("tpot_p95_s", Real, "s", "95th percentile of it"),
        column("tpot_p99_s", Real, "s", "99th percentile of it"),
        column("tpot_max_s", Real, "s", "Longest"),
        column("prompt_tokens", Count, "tokens", "Prompt tokens of answered requests"),
        column("output_tokens", Count, "tokens", "Output tokens of answered requests"),
        column("output_tokens_per_s", Real, "1/s", "Output tokens by measured time"),
        column(
            "accuracy",
            Real,
            "",
            "Share of the answers that were right; null unless the scenario has a `quality` table",
        ),
        column(
            "usage_usd_per_request",
            Real,
            "USD",
            "What is paid by use (tokens, calls) by ended request; null where nothing is",
        ),
        column("cost_usd_per_hour", Real, "USD/h", "Bill of the whole system; only in the row of all"),
        column("cost_usd_per_month", Real, "USD", "The same for 730 hours; only in the row of all"),
        column("cost_usd_per_1k_good", Real, "USD", "Bill by 1,000 good requests; only in the row of all"),
        column(
            "cost_usd_per_1m_tokens",
            Real,
            "USD",
            "Bill by 1,000,000 output tokens; only in the row of all",
        ),
        column("slo", Text, "", "`pass` or `fail` of this row; `none` where nothing is expected of it"),
        column(
            "calibration",
            Text,
            "",
            "Where GPU times come from, the least certain of all; `none` without GPUs",
        ),
        column("fingerprint", Text, "", "Hash over every event of the replication, in hexadecimal"),
        column("outcome_hash", Text, "", "Hash over the end of every request, in hexadecimal"),
        column("seed", Count, "", "Seed of all randomness"),
        column("scenario_hash", Text, "", "Hash of the scenario's canonical form, in hexadecimal"),
        column("version", Text, "", "Version of the simulator"),
        column(
            "revenue_usd_per_hour",
            Real,
            "USD/h",
            "What good requests earn, by `slo.revenue_per_1k`; null without it; only in the row of all",
        ),
        column("margin_usd_per_hour", Real, "USD/h", "Revenue less the bill; below 0 a loss"),
        column("margin_share", Real, "", "The same by revenue; null without any"),
    ],
};

/// `components`.
pub const COMPONENTS: Frame = Frame {
    name: "components",
    row: "A component in one replication, over the measured part of the run and what follows until its end. \
          Null where it does not apply.",
    columns: &[
        VARIANT,
        MULTIPLIER,
        REPLICATION,
        column("component", Text, "", "Name of the component"),
        column("kind", Text, "", "Its kind"),
        column("calls", Count, "calls", "Calls that reached it"),
        column("ok", Count, "calls", "Answered in full"),
        column("degraded", Count, "calls", "Answered by a fallback"),
        column("rejected", Count, "calls", "Refused"),
        column("timed_out", Count, "calls", "Ended because a call of its own timed out"),
        column("failed", Count, "calls", "Ended in an error"),
        column("unheard", Count, "calls", "Ended after the caller had stopped waiting: wasted work"),
        column("utilization", Real, "", "Share of its servers that were busy, on average"),
        column("queue_mean", Real, "calls", "Calls waiting, on average over time"),
        column("queue_max", Count, "calls", "Most calls waiting"),
        column("wait_mean_s", Real, "s", "Time from arrival to the start of service: mean"),
        column("wait_p50_s", Real, "s", "Median of it"),
        column("wait_p99_s", Real, "s", "99th percentile of it"),
        column(
            "latency_mean_s",
            Real,
            "s",
            "Time from arrival to reply of calls that were not rejected: mean",
        ),
        column("latency_p50_s", Real, "s", "Median of it"),
        column("latency_p95_s", Real, "s", "95th percentile of it"),
        column("latency_p99_s", Real, "s", "99th percentile of it"),
        column("latency_max_s", Real, "s", "Longest"),
        column("gpus", Real, "GPUs", "GPUs held, on average (llm)"),
        column("gpu_busy", Real, "", "Share of the time they are held in which replicas ran a step (llm)"),
        column("kv_mean", Real, "", "Share of the KV cache in use, on average over time (llm)"),
        column("kv_max", Real, "", "Largest share of the KV cache in use (llm)"),
        column("batch_mean", Real, "sequences", "Sequences in a step, on average over steps (llm)"),
        column(
            "preemptions",
            Count,
            "",
            "Sequences evicted for lack of KV memory, to be computed again (llm)",
        ),
        column("prefix_hit_rate", Real, "", "Share of prompt tokens found in the prefix cache (llm)"),
        column("itl_mean_s", Real, "s", "Time between two tokens of one sequence: mean (llm)"),
        column("itl_p50_s", Real, "s", "Median of it (llm)"),
        column("itl_p99_s", Real, "s", "99th percentile of it (llm)"),
        column("step_time_mean_s", Real, "s", "Length of a step: mean (llm)"),
        column("calibration", Text, "", "Where its GPU times come from (llm, model_server)"),
    ],
};

/// `series`.
pub const SERIES: Frame = Frame {
    name: "series",
    row: "The system, or a component, in one window of one replication. The windows cover the whole run, \
          warm-up included. Columns of the other kind of row are null.",
    columns: &[
        VARIANT,
        MULTIPLIER,
        REPLICATION,
        column("start_s", Real, "s", "Start of the window"),
        column("width_s", Real, "s", "Its length"),
        column("component", Text, "", "Name of the component, or `system`"),
        column("born", Count, "requests", "Requests born (system)"),
        column("answered", Count, "requests", "Requests answered, in full or degraded (system)"),
        column("rejected", Count, "requests", "Requests rejected (system)"),
        column("timed_out", Count, "requests", "Requests timed out (system)"),
        column("failed", Count, "requests", "Requests failed (system)"),
        column("in_flight", Count, "requests", "Requests in the system at the end of the window (system)"),
        column("latency_mean_s", Real, "s", "Mean latency of the requests answered in the window (system)"),
        column("latency_p99_s", Real, "s", "99th percentile of them (system)"),
        column("queue", Real, "calls", "Calls waiting, on average (component)"),
        column("busy", Real, "", "Servers busy, on average (component)"),
        column("capacity", Real, "", "Servers there are, on average (component)"),
        column("utilization", Real, "", "Busy by capacity (component)"),
        column("kv_used", Real, "", "Share of the KV cache in use at the end of the window (llm)"),
    ],
};

/// `costs`.
pub const COSTS: Frame = Frame {
    name: "costs",
    row: "A line of the bill, averaged over the replications.",
    columns: &[
        VARIANT,
        MULTIPLIER,
        column("component", Text, "", "Name of the component that is billed"),
        column("resource", Text, "", "What is paid for"),
        column("units", Real, "", "Units of it held, on average; of what is paid by use, units used an hour"),
        column("unit_usd_per_hour", Real, "USD/h", "Price of a unit for an hour, or of using one"),
        column("usd_per_hour", Real, "USD/h", "Price of all"),
        column("usd_per_month", Real, "USD", "Price of all for 730 hours"),
        column("source", Text, "", "Where the price comes from"),
        column("price_model", Text, "", "How it is paid: `on-demand`, `reserved`, `spot`, or by `use`"),
    ],
};

/// `verdicts`.
pub const VERDICTS: Frame = Frame {
    name: "verdicts",
    row: "An expectation of the SLO and what became of it. What was not measured (no request answered, no \
          token seen) does not pass.",
    columns: &[
        VARIANT,
        MULTIPLIER,
        column("class", Text, "", "Class that it is expected of; `all` for all requests together"),
        column(
            "metric",
            Text,
            "",
            "`latency`, `ttft`, `tpot`, `error_rate`, `wrong_rate`, `monthly_cost`, or `cost_per_1k_good` against what \
             they earn",
        ),
        column("quantile", Text, "", "`mean`, `p50`, `p95` or `p99`; null where it does not apply"),
        column("unit", Text, "", "Unit of limit and value: `s`, `USD`, or empty for a share"),
        column("limit", Real, "", "Largest value that passes"),
        column("value", Real, "", "Mean over the replications"),
        column("half_width", Real, "", "Half width of its 95% confidence interval; null for one replication"),
        column("margin", Real, "", "(limit - value) / limit: what is left, below 0 what is missing"),
        column("pass", Flag, "", "Whether the value is within the limit"),
    ],
};

/// `outcomes`.
pub const OUTCOMES: Frame = Frame {
    name: "outcomes",
    row: "How many requests of one class and tenant ended one way in one replication, of those born in the \
          measured part of the run.",
    columns: &[
        VARIANT,
        MULTIPLIER,
        REPLICATION,
        column("class", Text, "", "Priority class"),
        column("tenant", Text, "", "Tenant"),
        column("outcome", Text, "", "`ok`, `degraded`, `rejected`, `timed_out`, `failed` or `in_flight`"),
        column("count", Count, "requests", "How many"),
    ],
};

/// `measures`.
pub const MEASURES: Frame = Frame {
    name: "measures",
    row: "A figure that components of one kind, or links with policies, have and others have not: hits of a \
          cache, trips of a breaker; and, of the `system`, what single models would have come to, where the \
          scenario has a `quality` table. In one replication, over the measured part of the run and what follows \
          until its end.",
    columns: &[
        VARIANT,
        MULTIPLIER,
        REPLICATION,
        column("component", Text, "", "Name of the component, or `system`"),
        column("part", Text, "", "What of it, such as a callee or a replica; null for all of it"),
        column("measure", Text, "", "Name of the figure; a unit is its ending"),
        column("value", Real, "", "Its value; null where nothing was seen that it could be about"),
        column("meaning", Text, "", "What it says"),
    ],
};

/// `replicas`.
pub const REPLICAS: Frame = Frame {
    name: "replicas",
    row: "A replica of a pool in one replication, over the measured part of the run and what follows until its \
          end. Null where it does not apply.",
    columns: &[
        VARIANT,
        MULTIPLIER,
        REPLICATION,
        column("component", Text, "", "Name of the pool"),
        column("replica", Count, "", "Number of the replica, from 0"),
        column("calls", Count, "calls", "Calls that it took, neither refused nor rejected by it"),
        column("answered", Count, "calls", "Calls that it answered, in full or degraded"),
        column("refused", Count, "calls", "Calls that it refused because it had crashed"),
        column("ejections", Count, "", "Ejections by outlier detection"),
        column("available", Real, "", "Share of time in which it was known to be well and did not drain"),
        column("waiting_mean", Real, "calls", "Calls waiting in it, on average over time"),
        column(
            "running_mean",
            Real,
            "",
            "Calls in service, on average over time (model_server: instances that execute a batch)",
        ),
        column("utilization", Real, "", "The same, by as many as there can be"),
        column(
            "engine_busy",
            Real,
            "",
            "Share of time in a step (llm), or that instances executed (model_server)",
        ),
        column("steps", Count, "", "Steps (llm) or executions (model_server)"),
        column("step_time_mean_s", Real, "s", "Length of one: mean"),
        column(
            "batch_mean",
            Real,
            "",
            "Sequences in a step (llm) or items in an execution (model_server): mean",
        ),
        column("kv_mean", Real, "", "Share of its KV cache in use, on average over time (llm)"),
        column("kv_max", Real, "", "Largest share of its KV cache in use (llm)"),
        column("preemptions", Count, "", "Sequences evicted for lack of KV memory (llm)"),
        column("prefix_hit_rate", Real, "", "Share of prompt tokens found in its prefix cache (llm)"),
    ],
};

/// `dashboard`.
pub const DASHBOARD: Frame = Frame {
    name: "dashboard",
    row: "A quantile of a time as a Prometheus dashboard would show it, by `histogram_quantile` over the buckets in which \
          real programs count, beside the exact one: of the system (`latency`, `ttft`, `tpot`) and of each component \
          (`latency`, of an llm pool `itl` too), in one replication.",
    columns: &[
        VARIANT,
        MULTIPLIER,
        REPLICATION,
        column("component", Text, "", "Name of the component, or `system`"),
        column(
            "metric",
            Text,
            "",
            "`latency`, `ttft`, `tpot`, or `itl`: time between two tokens of a sequence",
        ),
        column("quantile", Text, "", "`p50`, `p95` or `p99`"),
        column("count", Count, "", "Times that were measured"),
        column("exact_s", Real, "s", "The quantile, over the measured part of the run"),
        column("dashboard_s", Real, "s", "What is shown for it"),
        column("error", Real, "", "Shown by exact, less one"),
        column("bucket_from_s", Real, "s", "Lower bound of the bucket of the exact value"),
        column(
            "bucket_to_s",
            Real,
            "s",
            "Its upper bound; null beyond the last, whose bound is shown instead",
        ),
        column(
            "peak_exact_s",
            Real,
            "s",
            "Largest exact quantile of any 15 s between two scrapes; null unless every request was kept \
             (`--dashboard`)",
        ),
        column(
            "peak_dashboard_s",
            Real,
            "s",
            "Largest value that is shown for it over time, by `rate` over a minute; null as before",
        ),
        column("buckets", Text, "", "Whose buckets they are"),
    ],
};

/// `differences`, of a comparison.
pub const DIFFERENCES: Frame = Frame {
    name: "differences",
    row: "How a figure of the `summary` differs between a variant and the baseline of a comparison, of all requests or \
          of a class that the SLO names. Replications are paired: they have the same luck.",
    columns: &[
        VARIANT,
        column("baseline", Text, "", "Name of what it is compared with"),
        MULTIPLIER,
        column("class", Text, "", "Priority class, or `all`"),
        column("metric", Text, "", "Column of the `summary`"),
        column("baseline_value", Real, "", "Its mean over the replications of the baseline"),
        column("value", Real, "", "Its mean over those of the variant"),
        column(
            "difference",
            Real,
            "",
            "Mean of the paired differences, variant less baseline, by the baseline where `relative`",
        ),
        column("half_width", Real, "", "Half width of its 95% confidence interval; null for one replication"),
        column(
            "relative",
            Flag,
            "",
            "Whether differences are relative to the baseline; those of shares are not",
        ),
    ],
};

/// All frames, in the order they are written; the last are those of experiments.
pub const FRAMES: [Frame; 13] = [
    SUMMARY,
    COMPONENTS,
    SERIES,
    COSTS,
    VERDICTS,
    OUTCOMES,
    MEASURES,
    REPLICAS,
    DASHBOARD,
    REQUESTS,
    DIFFERENCES,
    SWEEP,
    PLAN,
];

/// The documentation of all frames as Markdown: `docs/src/reference/results.md`.
pub fn markdown() -> String {
    let mut text = format!(
        "# Results\n\n\
         Every run leaves these frames, each as a polars frame in memory and as a file of its name \
         (`summary.csv`, `summary.parquet`, `summary.arrow`, `summary.json`). Beside them \
         `provenance.json` says which scenario, seed and version they come from, with the fingerprint of \
         every replication; Parquet and Arrow files keep the same as their metadata `tenfold.provenance`, and in every \
         file each row ends in `fingerprint` (of its replication, or over those of all), `seed`, `scenario_hash` and \
         `version`. Times are in seconds, money in US dollars. Where there is nothing to say, a \
         value is null (empty in CSV).\n\n\
         Version of the columns: {VERSION}. This page is generated from the program.\n"
    );
    for frame in FRAMES {
        let _ = write!(text, "\n## `{}`\n\n{}\n\n", frame.name, frame.row);
        text.push_str("| column | type | unit | meaning |\n|---|---|---|---|\n");
        for Column { name, kind, unit, meaning } in frame.columns {
            let _ = writeln!(text, "| `{name}` | {} | {unit} | {meaning} |", kind.name());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The frozen surface: a change here is a change of [`VERSION`].
    #[test]
    fn columns_are_frozen() {
        let all: Vec<String> = FRAMES
            .iter()
            .flat_map(|frame| {
                frame
                    .columns
                    .iter()
                    .map(|column| format!("{}.{}: {}", frame.name, column.name, column.kind.name()))
            })
            .collect();
        insta::assert_snapshot!(format!("version {VERSION}\n{}", all.join("\n")));
    }

    #[test]
    fn names_are_unique_and_end_in_their_units() {
        for frame in FRAMES {
            let names: BTreeSet<&str> = frame.columns.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), frame.columns.len(), "{}", frame.name);
            for column in frame.columns {
                assert!(!column.meaning.is_empty());
                assert_eq!(
                    column.unit == "s",
                    column.name.ends_with("_s") && !column.name.ends_with("_per_s"),
                    "{}",
                    column.name
                );
                assert_eq!(column.unit.starts_with("USD"), column.name.contains("usd"), "{}", column.name);
            }
        }
    }

    #[test]
    fn the_committed_documentation_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/results.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == markdown(),
            "docs/src/reference/results.md is stale: renew it with `cargo run -p scenarios --example results_md > docs/src/reference/results.md`"
        );
    }
}
