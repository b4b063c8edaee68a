//! Columns of a sweep.

use crate::results::columns::{Column, Frame, Kind, SUMMARY, column};

use Kind::{Count, Real, Text};

/// What the columns of half widths begin with.
pub(super) const HALF_WIDTH: &str = "half_width_";

/// A column of `summary`, averaged over the replications.
const fn mean(name: &str) -> Column {
    Column { kind: Real, ..SUMMARY.column(name) }
}

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
        mean("born"),
        mean("ok"),
        mean("degraded"),
        mean("rejected"),
        mean("timed_out"),
        mean("failed"),
        mean("in_flight"),
        mean("error_rate"),
        mean("throughput_per_s"),
        mean("goodput_per_s"),
        mean("slo_attainment"),
        mean("latency_mean_s"),
        mean("latency_p50_s"),
        mean("latency_p95_s"),
        mean("latency_p99_s"),
        mean("latency_max_s"),
        mean("ttft_mean_s"),
        mean("ttft_p50_s"),
        mean("ttft_p95_s"),
        mean("ttft_p99_s"),
        mean("tpot_mean_s"),
        mean("tpot_p50_s"),
        mean("tpot_p95_s"),
        mean("tpot_p99_s"),
        mean("output_tokens_per_s"),
        mean("accuracy"),
        mean("usage_usd_per_request"),
        mean("cost_usd_per_hour"),
        mean("cost_usd_per_month"),
        mean("cost_usd_per_1k_good"),
        mean("cost_usd_per_1m_tokens"),
        mean("revenue_usd_per_hour"),
        mean("margin_usd_per_hour"),
        mean("margin_share"),
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
