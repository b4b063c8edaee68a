//! Columns of a sweep.

use crate::results::columns::{Column, Frame, Kind, column};

use Kind::{Count, Real, Text};

/// What the columns of half widths begin with.
pub(super) const HALF_WIDTH: &str = "half_width_";

const fn half_width(name: &'static str, unit: &'static str) -> Column {
    column(name, Real, unit, "Half width of its 95% confidence interval; null for one replication")
}

/// `sweep`, without its axes.
pub const SWEEP: Frame = Frame {
    name: "sweep",
    row: "A point of a sweep, in their order, averaged over its replications: the row of all requests of its `summary`. \
          Behind `point` there is a column for each axis, named by its path; numbers that all have the one unit are \
          in a column that names it, such as `links.\"web -> edge\".timeout (ms)`. The axes `variant` and `scale` are \
          the columns `variant` and `multiplier`. A point that cannot be run has an `error` and no figures.",
    columns: &[
        column("point", Count, "", "Number of the point, from 0"),
        column("variant", Text, "", "Name of the variant; `base` for the scenario as it is written"),
        column("multiplier", Real, "", "Load relative to the scenario's"),
        column(
            "slo",
            Text,
            "",
            "`pass` or `fail` of all expectations of the SLO; `none` where there are none",
        ),
        column("finding", Text, "", "What is most worth knowing of it, in words"),
        column("error", Text, "", "Why it cannot be run; null where it was"),
        column("replications", Count, "", "Replications"),
        column("born", Real, "requests", "Requests born"),
        column("ok", Real, "requests", "Answered in full"),
        column("degraded", Real, "requests", "Answered by a fallback"),
        column("rejected", Real, "requests", "Refused"),
        column("timed_out", Real, "requests", "Given up by their users"),
        column("failed", Real, "requests", "Ended in an error"),
        column("in_flight", Real, "requests", "Not ended when the run did"),
        column("error_rate", Real, "", "Share of the ended that were rejected, timed out or failed"),
        column("throughput_per_s", Real, "1/s", "Answers before the end of the arrivals, by measured time"),
        column("goodput_per_s", Real, "1/s", "The same, of good requests"),
        column("slo_attainment", Real, "", "Share of the ended that were good"),
        column("latency_mean_s", Real, "s", "Latency of answered requests: mean"),
        column("latency_p50_s", Real, "s", "Median of it"),
        column("latency_p95_s", Real, "s", "95th percentile of it"),
        column("latency_p99_s", Real, "s", "99th percentile of it"),
        column("latency_max_s", Real, "s", "Longest"),
        column("ttft_mean_s", Real, "s", "Time to the first token: mean; null without tokens"),
        column("ttft_p50_s", Real, "s", "Median of it"),
        column("ttft_p95_s", Real, "s", "95th percentile of it"),
        column("ttft_p99_s", Real, "s", "99th percentile of it"),
        column("tpot_mean_s", Real, "s", "Time per output token after the first: mean"),
        column("tpot_p50_s", Real, "s", "Median of it"),
        column("tpot_p95_s", Real, "s", "95th percentile of it"),
        column("tpot_p99_s", Real, "s", "99th percentile of it"),
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
            "What is paid by use by ended request; null where nothing is",
        ),
        column("cost_usd_per_hour", Real, "USD/h", "Bill of the whole system"),
        column("cost_usd_per_month", Real, "USD", "The same for 730 hours"),
        column("cost_usd_per_1k_good", Real, "USD", "Bill by 1,000 good requests"),
        column("cost_usd_per_1m_tokens", Real, "USD", "Bill by 1,000,000 output tokens"),
        column("revenue_usd_per_hour", Real, "USD/h", "What good requests earn; null where nothing says"),
        column("margin_usd_per_hour", Real, "USD/h", "Revenue less bill"),
        column("margin_share", Real, "", "Margin by revenue"),
        half_width("half_width_error_rate", ""),
        half_width("half_width_throughput_per_s", "1/s"),
        half_width("half_width_goodput_per_s", "1/s"),
        half_width("half_width_slo_attainment", ""),
        half_width("half_width_latency_mean_s", "s"),
        half_width("half_width_latency_p50_s", "s"),
        half_width("half_width_latency_p95_s", "s"),
        half_width("half_width_latency_p99_s", "s"),
        half_width("half_width_ttft_p50_s", "s"),
        half_width("half_width_ttft_p95_s", "s"),
        half_width("half_width_ttft_p99_s", "s"),
        half_width("half_width_tpot_mean_s", "s"),
        half_width("half_width_tpot_p99_s", "s"),
        half_width("half_width_accuracy", ""),
        half_width("half_width_cost_usd_per_hour", "USD/h"),
        half_width("half_width_cost_usd_per_1k_good", "USD"),
        column(
            "calibration",
            Text,
            "",
            "Where GPU times come from, the least certain of all; `none` without GPUs",
        ),
        column("fingerprint", Text, "", "Hash over the fingerprints of its replications, in hexadecimal"),
        column("outcome_hash", Text, "", "Hash over their outcome hashes, in hexadecimal"),
        column("seed", Count, "", "Seed of all randomness, the same at all points"),
        column("scenario_hash", Text, "", "Hash of the canonical form of its scenario, in hexadecimal"),
        column("version", Text, "", "Version of the simulator"),
    ],
};

/// How many columns stand before those of the axes.
pub(super) const BEFORE_AXES: usize = 1;
