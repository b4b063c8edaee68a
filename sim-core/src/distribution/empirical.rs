//! Laws read off measurements.

use std::sync::Arc;

use super::{DistributionError, Law, finite};

const LAW: &str = "empirical";

/// A law given by points of its inverse CDF, with straight lines between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Empirical {
    values: Arc<[f64]>,
    /// The points' probabilities; without, they are evenly spaced from 0 to 1.
    probabilities: Option<Arc<[f64]>>,
    mean: f64,
    variance: f64,
}

fn entry(
    parameter: &'static str,
    index: usize,
    value: f64,
    holds: bool,
    accepted: impl FnOnce() -> String,
) -> Result<(), DistributionError> {
    if holds {
        Ok(())
    } else {
        let accepted = accepted().into();
        Err(DistributionError::Entry { law: LAW, parameter, position: index + 1, value, accepted })
    }
}

impl Empirical {
    /// The law of `samples`, in any order: linear between the order statistics, of which the i-th of
    /// n (from 0) is the quantile at i / (n - 1) (type 7 of R. J. Hyndman and Y. Fan, "Sample
    /// Quantiles in Statistical Packages", The American Statistician 50, 1996).
    ///
    /// # Errors
    /// When there is no sample, one is not finite, or the range is not.
    pub fn from_samples(mut samples: Vec<f64>) -> Result<Self, DistributionError> {
        if samples.is_empty() {
            return Err(DistributionError::TooFew { law: LAW, parameter: "samples", given: 0, needed: 1 });
        }
        for (index, sample) in samples.iter().enumerate() {
            entry("samples", index, *sample, sample.is_finite(), || "finite".into())?;
        }
        samples.sort_by(f64::total_cmp);
        Self::build(samples, None)
    }

    /// The law with these (probability, value) points of its inverse CDF, from probability 0 (the
    /// least value) to 1 (the greatest), linear between them.
    ///
    /// # Errors
    /// When there are fewer than two points, the probabilities do not rise from 0 to 1, or the values
    /// are not finite or fall, or their range is not finite.
    pub fn from_quantiles(points: Vec<(f64, f64)>) -> Result<Self, DistributionError> {
        let given = points.len();
        if given < 2 {
            return Err(DistributionError::TooFew { law: LAW, parameter: "quantiles", given, needed: 2 });
        }
        let (mut p_before, mut value_before) = (-1.0, f64::NEG_INFINITY);
        for (index, (p, value)) in points.iter().copied().enumerate() {
            if index == 0 {
                entry("probability", index, p, p == 0.0, || "0 for the first".into())?;
            } else if index + 1 == given {
                entry("probability", index, p, p == 1.0, || "1 for the last".into())?;
            }
            entry("probability", index, p, p > p_before && p <= 1.0, || {
                format!("above {p_before}, the one before, and at most 1")
            })?;
            entry("value", index, value, value.is_finite() && value >= value_before, || {
                format!("finite and at least {value_before}, the one before")
            })?;
            (p_before, value_before) = (p, value);
        }
        let (probabilities, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        Self::build(values, Some(probabilities.into()))
    }

    fn build(values: Vec<f64>, probabilities: Option<Arc<[f64]>>) -> Result<Self, DistributionError> {
        finite(LAW, "range of the values", values[values.len() - 1] - values[0])?;
        let mut law = Self { values: values.into(), probabilities, mean: 0.0, variance: 0.0 };
        if law.values.len() == 1 {
            law.mean = law.values[0];
            return Ok(law);
        }
        law.mean = law.pieces().map(|(mass, a, b)| mass * (0.5 * a + 0.5 * b)).sum();
        let mean = law.mean;
        let spread = law.pieces().map(|(mass, a, b)| {
            let (a, b) = (a - mean, b - mean);
            mass * (a * a + a * b + b * b) / 3.0
        });
        law.variance = spread.sum();
        Ok(law)
    }

    fn probability(&self, index: usize) -> f64 {
        match &self.probabilities {
            Some(probabilities) => probabilities[index],
            None => index as f64 / (self.values.len() - 1) as f64,
        }
    }

    /// (probability, from, to) of each straight piece.
    fn pieces(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        (1..self.values.len())
            .map(|i| (self.probability(i) - self.probability(i - 1), self.values[i - 1], self.values[i]))
    }
}

impl Law for Empirical {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        let last = self.values.len() - 1;
        let (index, share) = match &self.probabilities {
            None => {
                let place = u * last as f64;
                (place as usize, place - place.floor())
            }
            Some(probabilities) => {
                let index = probabilities.partition_point(|p| *p <= u).saturating_sub(1).min(last - 1);
                let (from, to) = (probabilities[index], probabilities[index + 1]);
                (index, (u - from) / (to - from))
            }
        };
        if index >= last {
            return self.values[last];
        }
        let (from, to) = (self.values[index], self.values[index + 1]);
        (from + share * (to - from)).clamp(from, to)
    }

    fn cdf(&self, x: f64) -> f64 {
        let above = self.values.partition_point(|value| *value <= x);
        if above == 0 {
            return 0.0;
        }
        if above == self.values.len() {
            return 1.0;
        }
        let (from, to) = (self.values[above - 1], self.values[above]);
        let (low, high) = (self.probability(above - 1), self.probability(above));
        low + (high - low) * ((x - from) / (to - from))
    }

    fn mean(&self) -> f64 {
        self.mean
    }

    fn variance(&self) -> f64 {
        self.variance
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        if self.values.len() == 1 {
            let below = self.cdf(x);
            return [below, below * self.mean, below * self.mean * self.mean];
        }
        let mut moments = [0.0; 3];
        for (mass, from, to) in self.pieces().take_while(|(_, from, _)| *from <= x) {
            let end = to.min(x);
            let below = if end < to { mass * ((end - from) / (to - from)) } else { mass };
            moments[0] += below;
            moments[1] += below * (from + end) / 2.0;
            moments[2] += below * (from * from + from * end + end * end) / 3.0;
        }
        moments
    }
}
