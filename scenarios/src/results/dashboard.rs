//! What a Prometheus dashboard would show of a run, beside what is so.
//!
//! Programs that are watched count their times in buckets, and a dashboard asks for quantiles of the counts:
//! `histogram_quantile(0.99, sum by (le) (rate(..._bucket[1m])))`. Inside a bucket it interpolates linearly, so that it
//! may be wrong by the bucket's width; above the last bound it shows the last bound.

use polars::prelude::DataFrame;
use sim_core::stats::Histogram;
use sim_core::time::SimDuration;
use sim_models::hardware::timing::TICKS_PER_NANO;
use sim_models::journal::RequestRecord;
use sim_models::system::RunOutput;

use super::RunResult;
use super::columns::DASHBOARD;
use super::frames::ALL_COMPONENTS;
use super::metrics;
use super::table::{Table, cells};

/// Time between two scrapes: that of the `prometheus.yml` that Prometheus ships with (its default without one is a
/// minute).
pub const SCRAPE: SimDuration = SimDuration::from_secs(15);

/// Window of `rate`: four scrapes, the least that Grafana's `$__rate_interval` takes.
pub const RATE_WINDOW: SimDuration = SimDuration::from_secs(60);

/// Bounds of buckets, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Buckets {
    /// Whose they are.
    pub name: &'static str,
    /// Their upper bounds, without the infinite one.
    pub bounds: &'static [f64],
}

/// `DefBuckets` of client_golang (prometheus/histogram.go), those of most services.
pub const CLIENT: Buckets = Buckets {
    name: "client_golang DefBuckets",
    bounds: &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
};

/// `vllm:time_to_first_token_seconds` (vllm/v1/metrics/loggers.py at 005a810).
pub const VLLM_TTFT: Buckets = Buckets {
    name: "vllm:time_to_first_token_seconds",
    bounds: &[
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
        40.0, 80.0, 160.0, 640.0, 2560.0,
    ],
};

/// `vllm:time_per_output_token_seconds`, which observes the time between two tokens (as [`VLLM_TTFT`]).
pub const VLLM_ITL: Buckets = Buckets {
    name: "vllm:time_per_output_token_seconds",
    bounds: &[
        0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
        80.0,
    ],
};

/// `vllm:e2e_request_latency_seconds` (as [`VLLM_TTFT`]).
pub const VLLM_E2E: Buckets = Buckets {
    name: "vllm:e2e_request_latency_seconds",
    bounds: &[
        0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
        480.0, 960.0, 1920.0, 7680.0,
    ],
};

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// PromQL's `histogram_quantile` over classic buckets (`bucketQuantile` in promql/quantile.go): `counts` are at or
/// below each bound, and the last is of all. None where nothing was counted.
///
/// # Panics
/// When there is not one count more than there are bounds.
pub fn histogram_quantile(q: f64, bounds: &[f64], counts: &[u64]) -> Option<f64> {
    assert_eq!(counts.len(), bounds.len() + 1, "a count for every bound, and one of all");
    let all = *counts.last()?;
    if all == 0 {
        return None;
    }
    let rank = q * all as f64;
    let bucket = counts.iter().position(|count| *count as f64 >= rank)?;
    let Some(end) = bounds.get(bucket) else { return bounds.last().copied() };
    let (start, below) = match bucket {
        0 => (0.0, 0),
        bucket => (bounds[bucket - 1], counts[bucket - 1]),
    };
    let inside = counts[bucket] - below;
    Some(if inside == 0 { *end } else { start + (end - start) * (rank - below as f64) / inside as f64 })
}

/// Counts at or below each bound, and of all, of times that are counted in so many units a second.
fn counts(histogram: &Histogram, per_second: f64, bounds: &[f64]) -> Vec<u64> {
    let all = histogram.count();
    let at_or_below = |bound: &f64| {
        let share = histogram.fraction_at_or_below((bound * per_second).round() as u64).unwrap_or(0.0);
        (share * all as f64).round() as u64
    };
    bounds.iter().map(at_or_below).chain([all]).collect()
}

/// What is measured, and the buckets that it is counted in.
struct Watched<'a> {
    component: &'a str,
    metric: &'static str,
    histogram: Histogram,
    per_second: f64,
    buckets: Buckets,
    /// The time of a request that ended, where they are known one by one.
    of_request: Option<fn(&RequestRecord) -> Option<SimDuration>>,
}

fn watched(output: &RunOutput) -> Vec<Watched<'_>> {
    let all = metrics::requests(output, None, None);
    let system = |metric, histogram: &Histogram, buckets, of_request| Watched {
        component: ALL_COMPONENTS,
        metric,
        histogram: histogram.clone(),
        per_second: 1e9,
        buckets,
        of_request,
    };
    let latency = |record: &RequestRecord| Some(record.ended.since(record.born));
    let ttft = |record: &RequestRecord| Some(record.first_token?.since(record.born));
    let mut list = vec![
        system("latency", &all.latency, CLIENT, Some(latency as fn(&RequestRecord) -> Option<SimDuration>)),
        system("ttft", &all.ttft, VLLM_TTFT, Some(ttft)),
        system("tpot", &all.tpot, VLLM_ITL, None),
    ];
    for component in output.components.iter().filter(|component| !component.is_source) {
        let own = |metric, histogram: &Histogram, per_second, buckets| Watched {
            component: &component.name,
            metric,
            histogram: histogram.clone(),
            per_second,
            buckets,
            of_request: None,
        };
        let buckets = if component.llm.is_some() { VLLM_E2E } else { CLIENT };
        list.push(own("latency", &component.meter.latency, 1e9, buckets));
        if let Some(llm) = &component.llm {
            list.push(own("itl", &llm.itl, 1e9 * TICKS_PER_NANO as f64, VLLM_ITL));
        }
    }
    list.retain(|watched| !watched.histogram.is_empty());
    list
}

/// The largest value of a quantile over time, on the dashboard and in any time between two scrapes.
///
/// `rate` over a window goes from the first scrape in it to the last: three times 15 seconds of a minute, whose start
/// is not in it (extrapolatedRate in promql/functions.go; the factor that it adds is the same for every bucket).
fn peaks(
    output: &RunOutput,
    q: f64,
    buckets: Buckets,
    of: fn(&RequestRecord) -> Option<SimDuration>,
) -> [Option<f64>; 2] {
    let mut times: Vec<(u64, u64)> = output
        .journal
        .iter()
        .filter(|record| record.outcome.is_answer())
        .filter_map(|record| Some((record.ended.as_nanos(), of(record)?.as_nanos())))
        .collect();
    times.sort_unstable();
    let start = output.measured_from.as_nanos();
    let between: Vec<&[(u64, u64)]> = times
        .chunk_by(|a, b| (a.0 - start) / SCRAPE.as_nanos() == (b.0 - start) / SCRAPE.as_nanos())
        .collect();
    let exact = between.iter().filter_map(|part| {
        let mut values: Vec<u64> = part.iter().map(|(_, time)| *time).collect();
        values.sort_unstable();
        Histogram::quantile_of_sorted(&values, q)
    });
    let exact = exact.max().map(|nanos| nanos as f64 / 1e9);
    let steps = (RATE_WINDOW.as_nanos() / SCRAPE.as_nanos()).saturating_sub(1);
    let mut shown: Option<f64> = None;
    let last = times.last().map_or(0, |(ended, _)| (ended - start) / SCRAPE.as_nanos() + 1);
    for scrape in steps..=last {
        let [from, to] = [scrape - steps, scrape].map(|scrape| start + scrape * SCRAPE.as_nanos());
        let range = times.partition_point(|time| time.0 <= from)..times.partition_point(|time| time.0 <= to);
        let mut counts = vec![0; buckets.bounds.len() + 1];
        for (_, time) in &times[range] {
            let bucket = buckets.bounds.partition_point(|bound| *bound < *time as f64 / 1e9);
            counts[bucket..].iter_mut().for_each(|count| *count += 1);
        }
        if let Some(value) = histogram_quantile(q, buckets.bounds, &counts) {
            shown = Some(shown.map_or(value, |shown| shown.max(value)));
        }
    }
    [exact, shown]
}

impl RunResult {
    /// The `dashboard` frame: quantiles as Prometheus would show them. Those over time are known where every request
    /// is kept ([`RunOptions::journal`](crate::run::RunOptions::journal)).
    pub fn dashboard(&self) -> DataFrame {
        let mut table = Table::new(DASHBOARD, self.outputs.len() * 12);
        for (replication, output) in self.numbered() {
            for watched in watched(output) {
                let bounds = watched.buckets.bounds;
                let counts = counts(&watched.histogram, watched.per_second, bounds);
                for (name, q) in QUANTILES {
                    let exact = watched.histogram.quantile(q).map(|value| value as f64 / watched.per_second);
                    let shown = histogram_quantile(q, bounds, &counts);
                    let bucket = exact.map_or(0, |exact| bounds.partition_point(|bound| *bound < exact));
                    let from = bucket.checked_sub(1).map_or(Some(0.0), |bucket| bounds.get(bucket).copied());
                    let known = watched.of_request.filter(|_| !output.journal.is_empty());
                    let [peak, shown_peak] =
                        known.map_or([None; 2], |of| peaks(output, q, watched.buckets, of));
                    let error = exact
                        .filter(|exact| *exact > 0.0)
                        .zip(shown)
                        .map(|(exact, shown)| shown / exact - 1.0);
                    table.row(&[
                        &self.keys(),
                        &cells![replication, watched.component, watched.metric, name],
                        &cells![watched.histogram.count(), exact, shown, error],
                        &cells![from, bounds.get(bucket).copied(), peak, shown_peak, watched.buckets.name],
                    ]);
                }
            }
        }
        table.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_interpolated_as_prometheus_does() {
        let bounds = [1.0, 2.0, 4.0];
        // 10 below 1 s, 20 from 1 to 2, 60 from 2 to 4, 10 above.
        let counts = [10, 30, 90, 100];
        let quantile = |q| histogram_quantile(q, &bounds, &counts);
        assert_eq!(quantile(0.05), Some(0.5));
        assert_eq!(quantile(0.1), Some(1.0));
        assert_eq!(quantile(0.2), Some(1.5));
        assert_eq!(quantile(0.6), Some(3.0));
        assert_eq!(quantile(0.9), Some(4.0));
        // Beyond the last bound the last bound is shown.
        assert_eq!(quantile(0.99), Some(4.0));
        assert_eq!(histogram_quantile(0.5, &bounds, &[0; 4]), None);
        assert_eq!(histogram_quantile(0.5, &bounds, &[0, 0, 0, 5]), Some(4.0));
    }

    #[test]
    fn a_known_histogram_gives_known_values() {
        let mut histogram = Histogram::new();
        // 100 of 30 ms and 1 of 60 s: in (25, 50] and beyond 10 s.
        histogram.record_n(30_000_000, 99);
        histogram.record(60_000_000_000);
        let counts = counts(&histogram, 1e9, CLIENT.bounds);
        assert_eq!(counts, [0, 0, 0, 99, 99, 99, 99, 99, 99, 99, 99, 100]);
        let median = histogram_quantile(0.5, CLIENT.bounds, &counts).unwrap();
        assert!((median - (0.025 + 0.025 * 50.0 / 99.0)).abs() < 1e-12, "{median}");
        assert_eq!(histogram_quantile(0.999, CLIENT.bounds, &counts), Some(10.0));
    }

    proptest! {
        /// What is shown lies in the bucket of the exact value, so that it is wrong by its width at most.
        #[test]
        fn the_error_is_bounded_by_the_bucket(
            mut values in prop::collection::vec(1_000_000u64..60_000_000_000, 1..200),
            q in 0.01f64..0.999,
        ) {
            let mut histogram = Histogram::new();
            values.iter().for_each(|value| histogram.record(*value));
            let counts = counts(&histogram, 1e9, CLIENT.bounds);
            let shown = histogram_quantile(q, CLIENT.bounds, &counts).unwrap();
            values.sort_unstable();
            // The value whose rank is the least that is no less than q n, as Prometheus takes it.
            let rank = (q * values.len() as f64).ceil().max(1.0) as usize;
            let exact = values[rank - 1] as f64 / 1e9;
            let bucket = CLIENT.bounds.partition_point(|bound| *bound < exact);
            let from = if bucket == 0 { 0.0 } else { CLIENT.bounds[bucket - 1] };
            // Values within a thousandth of a bound may be counted below it.
            let slack = 2e-3 * exact;
            match CLIENT.bounds.get(bucket) {
                None => prop_assert!(shown <= 10.0),
                Some(to) => prop_assert!(
                    shown >= from - slack - 1e-9 && shown <= to + slack + 1e-9 || exact - from < slack,
                    "{shown} for {exact}"
                ),
            }
        }
    }

    #[test]
    fn a_short_spike_is_flattened() {
        let loaded = crate::parse(
            "name = \"Steady\"\nrun = { duration = \"10min\", warmup = \"0s\", replications = 1 }\n\
             [traffic.web]\narrivals = { process = \"poisson\", rate = \"20/s\" }\nentry = \"db\"\n\
             [components.db]\nkind = \"service\"\nservice_time = { constant = \"20ms\" }\nservers = 50\n\
             [[fault]]\nat = \"302s\"\ntarget = \"db\"\nkind = \"slow\"\nfactor = 40\nrepair = \"1.4s\"\n",
            "steady.toml",
            ".".as_ref(),
            &[],
        )
        .unwrap();
        let options = crate::run::RunOptions { journal: true, ..Default::default() };
        let result = crate::run(&loaded, &options, &crate::run::RunProgress::new()).unwrap();
        let latency: fn(&RequestRecord) -> Option<SimDuration> =
            |record| Some(record.ended.since(record.born));
        let [exact, shown] = peaks(&result.outputs[0], 0.95, CLIENT, latency).map(Option::unwrap);
        // Some 28 slow answers are more than a twentieth of the 300 of 15 s, and less than that of the 900 of 45 s.
        assert!(exact > 0.5, "{exact}");
        assert!(shown < 0.1, "{shown}");
    }
}
