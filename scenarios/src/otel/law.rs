//! Measured values as laws of the scenario language.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sim_core::time::SimDuration;
use sim_models::units::Time;

/// Where the inverse of a distribution is kept: straight lines between these are within a hundredth of the mean of an
/// exponential law.
const PROBABILITIES: [f64; 16] =
    [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.998, 1.0];
/// Values that are kept one by one.
const FEW: usize = 16;

/// A number with three digits, as good as most measurements are.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// A time of so many seconds.
pub(super) fn time(seconds: f64) -> String {
    Time::new(SimDuration::saturating_from_secs_f64(rounded(seconds))).to_string()
}

/// The law of times in seconds; none without any.
pub(super) fn times(seconds: Vec<f64>) -> Option<Value> {
    law(seconds, |seconds| json!(time(seconds)))
}

/// The law of lengths in tokens, of at least one.
pub(super) fn tokens(tokens: Vec<f64>) -> Option<Value> {
    law(tokens, |tokens| json!(tokens.round().max(1.0) as u64))
}

/// The law of whole numbers; each as often as it was where they are few different ones.
pub(super) fn whole_numbers(numbers: Vec<usize>) -> Option<Value> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    numbers.iter().for_each(|number| *counts.entry(*number).or_default() += 1);
    if counts.len() > 1 && counts.len() <= FEW {
        let parts: Vec<Value> =
            counts.into_iter().map(|(number, weight)| json!({ "weight": weight, "of": number })).collect();
        return Some(json!({ "mixture": parts }));
    }
    law(numbers.into_iter().map(|number| number as f64).collect(), |number| json!(rounded(number)))
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The value below which this share of sorted ones lies.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * (place - place.floor())
}

fn law(mut values: Vec<f64>, shown: impl Fn(f64) -> Value) -> Option<Value> {
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    // One value but for a thousandth.
    if most - least <= 1e-3 * most {
        return Some(shown(mean(&values)));
    }
    if values.len() <= FEW {
        let samples: Vec<Value> = values.into_iter().map(shown).collect();
        return Some(json!({ "empirical": { "samples": samples } }));
    }
    let points: Vec<(f64, Value)> =
        PROBABILITIES.iter().map(|share| (*share, shown(quantile(&values, *share)))).collect();
    Some(json!({ "empirical": { "quantiles": points } }))
}
