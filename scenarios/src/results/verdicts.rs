//! The SLO against what was measured.

use std::borrow::Cow;

use sim_core::stats::replication_interval;
use sim_models::meter::RequestMeter;
use sim_models::system::RunOutput;

use super::metrics::{self, Times};
use super::show::{percent, seconds, usd};
use crate::run::ALL;
use crate::scenario::{Quantiles, SloConfig};

/// Confidence level of all intervals.
pub const CONFIDENCE: f64 = 0.95;

/// An expectation of the SLO and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The class that it is expected of, or `all`.
    pub class: String,
    /// `latency`, `ttft`, `tpot`, `error_rate`, `wrong_rate`, `monthly_cost` or `cost_per_1k_good`.
    pub metric: &'static str,
    /// `mean`, `p50`, `p95` or `p99`; none where it does not apply.
    pub quantile: Option<&'static str>,
    /// Unit of limit and value: `s`, `USD`, or empty for a share.
    pub unit: &'static str,
    /// The largest value that passes.
    pub limit: f64,
    /// Mean over the replications; none when nothing was measured.
    pub value: Option<f64>,
    /// Half width of its 95% confidence interval; none for one replication.
    pub half_width: Option<f64>,
    /// Whether the value is within the limit. What was not measured does not pass.
    pub pass: bool,
}

impl Verdict {
    /// (limit - value) / limit: what is left, below 0 what is missing; none without a value, or where
    /// the limit is 0.
    pub fn margin(&self) -> Option<f64> {
        self.value.filter(|_| self.limit > 0.0).map(|value| (self.limit - value) / self.limit)
    }

    /// What it speaks of, in words: `latency p99 of `chat``, `error rate`.
    pub(crate) fn named(&self) -> String {
        let quantile = self.quantile.map_or(String::new(), |quantile| format!(" {quantile}"));
        let whose = if self.class == ALL { String::new() } else { format!(" of `{}`", self.class) };
        format!("{}{quantile}{whose}", self.metric.replace('_', " "))
    }

    /// `value`, its own or its limit, in its unit.
    pub(crate) fn shown(&self, value: f64) -> String {
        match self.unit {
            "s" => seconds(value),
            "USD" => usd(value),
            _ => percent(value),
        }
    }
}

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expectation {
    pub metric: &'static str,
    pub quantile: Option<&'static str>,
    pub unit: &'static str,
    pub limit: f64,
}

impl Expectation {
    /// Its value in one replication: `requests` are those it speaks of.
    fn value(&self, output: &RunOutput, requests: &RequestMeter) -> Option<f64> {
        let histogram = match self.metric {
            "latency" => &requests.latency,
            "ttft" => &requests.ttft,
            "tpot" => &requests.tpot,
            "error_rate" => return metrics::error_rate(requests),
            "wrong_rate" => return requests.accuracy().map(|accuracy| 1.0 - accuracy),
            "cost_per_1k_good" => return metrics::bill(output, requests).per_1k_good,
            _ => return Some(metrics::per_month(metrics::bill(output, requests).per_hour)),
        };
        let times = Times::of(histogram);
        match self.quantile {
            Some("p50") => times.p50,
            Some("p95") => times.p95,
            Some("p99") => times.p99,
            _ => times.mean,
        }
    }

    /// Whether this value, and this share of the requests that were answered, keep to it.
    fn is_met(&self, value: Option<f64>, answered: f64, has_error_rate: bool) -> bool {
        value.is_some_and(|value| value <= self.limit) && answered >= self.answered(has_error_rate)
    }

    /// The share of the requests that must be answered for it: a time that was never measured is above any bound. Where
    /// the SLO says how many may go without an answer, that is judged by itself.
    fn answered(&self, has_error_rate: bool) -> f64 {
        match (self.metric, self.quantile) {
            _ if has_error_rate => 0.0,
            ("latency" | "ttft", Some("p50")) => 0.5,
            ("latency" | "ttft", Some("p95")) => 0.95,
            ("latency" | "ttft", Some("p99")) => 0.99,
            _ => 0.0,
        }
    }
}

/// Whether a share of requests without an answer is bounded.
fn has_error_rate(expectations: &[Expectation]) -> bool {
    expectations.iter().any(|expectation| expectation.metric == "error_rate")
}

fn times(metric: &'static str, bounds: Option<Quantiles>) -> impl Iterator<Item = Expectation> {
    let Quantiles { mean, p50, p95, p99 } = bounds.unwrap_or_default();
    [("mean", mean), ("p50", p50), ("p95", p95), ("p99", p99)].into_iter().filter_map(
        move |(quantile, limit)| {
            Some(Expectation { metric, quantile: Some(quantile), unit: "s", limit: limit?.as_secs_f64() })
        },
    )
}

/// What is expected of all requests together, or of one class that the SLO names: its own bounds, and
/// those for all where it has none. Nothing is expected of other classes by themselves.
pub(super) fn expectations(slo: &SloConfig, class: Option<&str>) -> Vec<Expectation> {
    let (latency, ttft, tpot, error_rate, wrong_rate, money) = match class {
        None => {
            let money = [("monthly_cost", slo.monthly_cost), ("cost_per_1k_good", slo.revenue_per_1k)];
            (slo.latency, slo.ttft, slo.tpot, slo.error_rate, slo.wrong_rate, money.to_vec())
        }
        Some(class) => match slo.class.get(class) {
            None => return Vec::new(),
            Some(own) => (
                Quantiles::of_class(own.latency, slo.latency),
                Quantiles::of_class(own.ttft, slo.ttft),
                Quantiles::of_class(own.tpot, slo.tpot),
                own.error_rate.or(slo.error_rate),
                own.wrong_rate.or(slo.wrong_rate),
                Vec::new(),
            ),
        },
    };
    let mut list: Vec<Expectation> =
        times("latency", latency).chain(times("ttft", ttft)).chain(times("tpot", tpot)).collect();
    let plain = |metric, unit, limit| Expectation { metric, quantile: None, unit, limit };
    list.extend(error_rate.map(|rate| plain("error_rate", "", rate.get())));
    list.extend(wrong_rate.map(|rate| plain("wrong_rate", "", rate.get())));
    list.extend(money.into_iter().filter_map(|(metric, limit)| Some(plain(metric, "USD", limit?.dollars()))));
    list
}

/// Whether one replication's requests keep to all of it.
pub(super) fn kept(
    expectations: &[Expectation],
    output: &RunOutput,
    requests: &RequestMeter,
) -> &'static str {
    let (bounded, answered) =
        (has_error_rate(expectations), 1.0 - metrics::error_rate(requests).unwrap_or(0.0));
    let keeps = |e: &Expectation| e.is_met(e.value(output, requests), answered, bounded);
    match expectations {
        [] => "none",
        all if all.iter().all(keeps) => "pass",
        _ => "fail",
    }
}

/// Why a bound is missed though those who were answered were answered in time; nothing where none is.
pub(crate) fn too_few_answers(verdicts: &[Verdict]) -> Option<String> {
    let within =
        |verdict: &&Verdict| !verdict.pass && verdict.value.is_some_and(|value| value <= verdict.limit);
    let Verdict { class, metric, quantile, .. } = verdicts.iter().find(within)?;
    let whose = if class == ALL { String::new() } else { format!(" of `{class}`") };
    let quantile = quantile.unwrap_or_default();
    Some(format!(
        "too few requests{whose} were answered for {metric} {quantile}: those that were not count as later than any bound, as \
         long as no error_rate says how many there may be"
    ))
}

/// All verdicts: those for all requests, then those of classes.
pub(super) fn verdicts(slo: &SloConfig, outputs: &[RunOutput]) -> Vec<Verdict> {
    let mut list = Vec::new();
    for class in std::iter::once(None).chain(slo.class.keys().map(|class| Some(class.as_str()))) {
        let requests: Vec<Cow<RequestMeter>> = outputs
            .iter()
            .map(|output| {
                let number = class.map(|class| output.labels.classes.iter().position(|label| label == class));
                // A class that is not there has no requests.
                metrics::requests(output, number.map(|number| number.unwrap_or(usize::MAX)), None)
            })
            .collect();
        let expectations = expectations(slo, class);
        let bounded = has_error_rate(&expectations);
        let errors: Vec<f64> = requests.iter().filter_map(|requests| metrics::error_rate(requests)).collect();
        let answered = 1.0 - errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        for expectation in expectations {
            let values: Vec<f64> = outputs
                .iter()
                .zip(&requests)
                .filter_map(|(output, requests)| expectation.value(output, requests))
                .collect();
            let interval = replication_interval(&values, CONFIDENCE).ok();
            let Expectation { metric, quantile, unit, limit } = expectation;
            let value = interval.map(|interval| interval.mean);
            list.push(Verdict {
                class: class.unwrap_or(ALL).to_owned(),
                metric,
                quantile,
                unit,
                limit,
                value,
                half_width: interval.map(|interval| interval.half_width).filter(|width| width.is_finite()),
                pass: expectation.is_met(value, answered, bounded),
            });
        }
    }
    list
}
