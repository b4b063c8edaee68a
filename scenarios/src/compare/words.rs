//! What a comparison comes to, in a sentence.

use super::Difference;
use crate::results::findings::short;
use crate::results::{Average, RunResult};
use crate::run::ALL;

/// Relative difference that nobody would call one (assumption).
const SAME: f64 = 0.005;

/// Figures that are told first, if they are there, and whether that is so only when they changed.
const TOLD: [(&str, bool); 7] = [
    ("latency_p99_s", false),
    ("ttft_p95_s", false),
    ("tpot_mean_s", true),
    ("error_rate", true),
    ("goodput_per_s", true),
    ("accuracy", true),
    ("cost_usd_per_month", false),
];

/// `multi-get features: latency p99 -61% +-3%, cost unchanged; the SLO is met now`.
pub(super) fn finding(
    baseline: &RunResult,
    result: &RunResult,
    differences: &[(String, Difference)],
) -> String {
    let of_all = differences.iter().filter(|(class, _)| class == ALL).map(|(_, difference)| difference);
    let identical = baseline.provenance.fingerprints == result.provenance.fingerprints
        && of_all
            .clone()
            .all(|difference| difference.difference.is_none_or(|difference| difference.mean == 0.0));
    if identical {
        return format!("`{}`: the same to the last event", result.variant);
    }
    let parts: Vec<String> = TOLD
        .iter()
        .filter_map(|(column, only_changed)| {
            let difference = of_all.clone().find(|difference| difference.metric.column == *column)?;
            let same = difference.difference.is_some_and(is_same);
            let is_free = difference.baseline == Some(0.0) && difference.value == Some(0.0);
            (difference.baseline.is_some() && !is_free && !(*only_changed && same)).then(|| part(difference))
        })
        .collect();
    let mut text = format!("`{}`: {}", result.variant, parts.join(", "));
    let unknown: Vec<&str> = of_all
        .clone()
        .filter(|difference| TOLD.iter().any(|(column, _)| *column == difference.metric.column))
        .filter(|difference| difference.baseline.is_none())
        .map(|difference| difference.metric.name)
        .collect();
    if !unknown.is_empty() {
        text.push_str(&format!("; {} not measured in the baseline", unknown.join(", ")));
    }
    match (baseline.passed(), result.passed()) {
        (Some(false), Some(true)) => text.push_str("; it meets the SLO, which the baseline misses"),
        (Some(true), Some(false)) => text.push_str("; it misses the SLO, which the baseline meets"),
        (Some(false), Some(false)) => text.push_str("; both miss the SLO"),
        _ => {}
    }
    let errors = of_all.clone().find(|difference| difference.metric.column == "error_rate");
    if errors.is_some_and(|errors| errors.difference.is_some_and(|average| average.mean.abs() > 0.01)) {
        text.push_str(" (times are those of answered requests alone)");
    }
    text
}

fn is_same(average: Average) -> bool {
    let within = average.half_width.is_none_or(|width| width < SAME);
    average.mean.abs() < SAME && within
}

fn part(difference: &Difference) -> String {
    let name = difference.metric.name;
    let Some(average) = difference.difference else {
        return match difference.value {
            None => format!("{name} not measured"),
            Some(value) => format!("{name} from 0 to {}", short(value)),
        };
    };
    if is_same(average) {
        return format!("{name} unchanged");
    }
    let change = change(average, difference.metric.is_share);
    if difference.is_sure() {
        format!("{name} {change}")
    } else {
        format!("{name} not surely changed ({change})")
    }
}

/// A difference with its interval: `-61% +-3%`, or `-3.1 +-0.4 points` of a share.
pub fn change(average: Average, is_share: bool) -> String {
    let Average { mean, half_width } = average;
    // A factor of ten and more is no longer read as a percentage.
    if !is_share && mean >= 9.0 {
        return format!("{:.0} times as much", 1.0 + mean);
    }
    let digits = |value: f64| match value.abs() {
        small if small < 0.000_95 => 2,
        small if small < 0.0995 => 1,
        _ => 0,
    };
    let mut text = format!("{:+.*}", digits(mean), 100.0 * mean);
    if !is_share {
        text.push('%');
    }
    if let Some(width) = half_width {
        text.push_str(&format!(" +-{:.*}", digits(width), 100.0 * width));
        if !is_share {
            text.push('%');
        }
    }
    if is_share {
        text.push_str(" points");
    }
    text
}
