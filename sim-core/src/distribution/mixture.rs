//! Random choices among laws.

use std::sync::Arc;

use super::elementary::exponential_moments;
use super::{Dist, DistributionError, Law, check, finite, positive, within};

#[derive(Debug, Clone, Copy, PartialEq)]
struct Phase {
    probability: f64,
    /// The probability of this phase and those before; exactly 1 for the last.
    up_to: f64,
    mean: f64,
}

/// The hyperexponential law: an exponential whose mean is drawn first. More variable than an
/// exponential.
#[derive(Debug, Clone, PartialEq)]
pub struct HyperExponential {
    phases: Arc<[Phase]>,
    mean: f64,
    /// The harmonic mean of the phases' means: 1 / the density at 0.
    first: f64,
}

const HYPER: &str = "hyperexponential";
/// How far from 1 the sum of given probabilities may be, to forgive their rounding.
const SLACK: f64 = 1e-9;

impl HyperExponential {
    /// Phases of (probability, mean).
    ///
    /// # Errors
    /// When there is no phase, a probability or a mean is not finite and above 0, or the
    /// probabilities do not add up to 1 (within 1e-9).
    pub fn new(phases: &[(f64, f64)]) -> Result<Self, DistributionError> {
        if phases.is_empty() {
            return Err(DistributionError::TooFew { law: HYPER, parameter: "phases", given: 0, needed: 1 });
        }
        for (index, (probability, mean)) in phases.iter().copied().enumerate() {
            for (parameter, value) in [("probability", probability), ("mean", mean)] {
                if !(value.is_finite() && value > 0.0) {
                    let (law, position, accepted) = (HYPER, index + 1, "finite and above 0".into());
                    return Err(DistributionError::Entry { law, parameter, position, value, accepted });
                }
            }
        }
        let total: f64 = phases.iter().map(|phase| phase.0).sum();
        check(HYPER, "sum of probabilities", total, (total - 1.0).abs() <= SLACK, "1 (within 1e-9)")?;
        let mut sum = 0.0;
        let mut built: Vec<Phase> = phases
            .iter()
            .map(|&(probability, mean)| {
                sum += probability / total;
                Phase { probability: probability / total, up_to: sum, mean }
            })
            .collect();
        let last = built.len() - 1;
        built[last].up_to = 1.0;
        let mean = built.iter().map(|phase| phase.probability * phase.mean).sum();
        let first = 1.0 / built.iter().map(|phase| phase.probability / phase.mean).sum::<f64>();
        finite(HYPER, "mean", mean)?;
        Ok(Self { phases: built.into(), mean, first })
    }

    /// The law of this mean and coefficient of variation with two phases of balanced means: each
    /// contributes half of the mean (Allen: "Probability, Statistics, and Queueing Theory", 2nd
    /// edition 1990, section 3.2.9).
    ///
    /// # Errors
    /// When `mean` is not finite and above 0, or `cv` is not from 1 to 1e6 (assumption: beyond, the
    /// rarer phase is too rare for f64).
    pub fn from_mean_cv(mean: f64, cv: f64) -> Result<Self, DistributionError> {
        positive(HYPER, "mean", mean)?;
        within(HYPER, "cv", cv, [1.0, 1e6])?;
        let square = cv * cv;
        let skew = ((square - 1.0) / (square + 1.0)).sqrt();
        let often = 0.5 * (1.0 + skew);
        // 1 - often without cancellation: skew is near 1 at a large cv.
        let seldom = 1.0 / ((square + 1.0) * (1.0 + skew));
        Self::new(&[(often, 0.5 * mean / often), (seldom, 0.5 * mean / seldom)])
    }

    fn survival(&self, x: f64) -> f64 {
        self.phases.iter().map(|phase| phase.probability * libm::exp(-x / phase.mean)).sum()
    }

    fn density(&self, x: f64) -> f64 {
        self.phases.iter().map(|phase| phase.probability / phase.mean * libm::exp(-x / phase.mean)).sum()
    }
}

impl Law for HyperExponential {
    /// Newton's method on the logarithm of the survival function, which is convex: from a point on
    /// the left it rises to the root without passing it.
    fn quantile(&self, u: f64) -> f64 {
        if u >= 1.0 {
            return f64::INFINITY;
        }
        let target = libm::log1p(-u);
        // Both are below the quantile: the first by Jensen's inequality, the others since each phase
        // alone survives less than all.
        let mut x = self.phases.iter().fold(-target * self.first, |x, phase| {
            x.max(phase.mean * (libm::log(phase.probability) - target))
        });
        for _ in 0..100 {
            let survival = self.survival(x);
            let log_survival =
                if survival > 0.5 { libm::log1p(-Law::cdf(self, x)) } else { libm::log(survival) };
            let step = (log_survival - target) * survival / self.density(x);
            if step.is_nan() || step <= 4e-16 * x {
                break;
            }
            x += step;
        }
        x
    }

    fn cdf(&self, x: f64) -> f64 {
        if x <= 0.0 {
            return 0.0;
        }
        self.phases
            .iter()
            .map(|phase| -phase.probability * libm::expm1(-x / phase.mean))
            .sum::<f64>()
            .min(1.0)
    }

    fn mean(&self) -> f64 {
        self.mean
    }

    fn variance(&self) -> f64 {
        let within_and_between = self.phases.iter().map(|phase| {
            let off = phase.mean - self.mean;
            phase.probability * (phase.mean * phase.mean + off * off)
        });
        within_and_between.sum()
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        let parts = self.phases.iter().map(|phase| (phase.probability, exponential_moments(phase.mean, x)));
        weighted(parts)
    }

    /// Chooses the phase by `u`, then uses what is left of `u`.
    #[inline]
    fn sample_at(&self, u: f64) -> f64 {
        let last = self.phases.len() - 1;
        let index = self.phases[..last].iter().position(|phase| u < phase.up_to).unwrap_or(last);
        let phase = &self.phases[index];
        -phase.mean * libm::log(((phase.up_to - u) / phase.probability).min(1.0))
    }
}

fn weighted(parts: impl Iterator<Item = (f64, [f64; 3])>) -> [f64; 3] {
    parts.fold([0.0; 3], |sum, (weight, moments)| [0, 1, 2].map(|k| sum[k] + weight * moments[k]))
}

#[derive(Debug, Clone, PartialEq)]
struct Part {
    weight: f64,
    /// The weight of this part and those before; exactly 1 for the last.
    up_to: f64,
    law: Dist,
}

/// A random choice among laws.
///
/// A sample chooses the part by its uniform and hands what is left of it to the part's own law, so
/// it is not monotone in the uniform; [`Mixture::quantile`] is.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    parts: Arc<[Part]>,
    mean: f64,
    variance: f64,
}

impl Mixture {
    /// Parts of (weight, law). Weights need not add up to 1.
    ///
    /// # Errors
    /// When there is no part, a weight is not finite and above 0, or the weights' sum is not finite.
    pub fn new(parts: Vec<(f64, Dist)>) -> Result<Self, DistributionError> {
        const LAW: &str = "mixture";
        if parts.is_empty() {
            return Err(DistributionError::TooFew { law: LAW, parameter: "parts", given: 0, needed: 1 });
        }
        for (index, (value, _)) in parts.iter().enumerate() {
            if !(value.is_finite() && *value > 0.0) {
                let (parameter, position, accepted) = ("weight", index + 1, "finite and above 0".into());
                return Err(DistributionError::Entry {
                    law: LAW,
                    parameter,
                    position,
                    value: *value,
                    accepted,
                });
            }
        }
        let total = finite(LAW, "sum of weights", parts.iter().map(|part| part.0).sum())?;
        let mut sum = 0.0;
        let mut built: Vec<Part> = parts
            .into_iter()
            .map(|(weight, law)| {
                sum += weight / total;
                Part { weight: weight / total, up_to: sum, law }
            })
            .collect();
        let last = built.len() - 1;
        built[last].up_to = 1.0;
        let mean: f64 = built.iter().map(|part| part.weight * part.law.mean()).sum();
        let variance = if mean.is_finite() {
            let spread = built.iter().map(|part| {
                let off = part.law.mean() - mean;
                part.weight * (part.law.variance() + off * off)
            });
            spread.sum()
        } else {
            f64::INFINITY
        };
        Ok(Self { parts: built.into(), mean, variance })
    }
}

/// Numbers in the order of the floats: neighbours differ by 1.
fn order(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn from_order(order: i64) -> f64 {
    f64::from_bits((order ^ (((order >> 63) as u64) >> 1) as i64) as u64)
}

impl Law for Mixture {
    /// The least float whose CDF reaches `u`, by bisection over the floats themselves: at most 64
    /// steps, whatever the parts (jumps, gaps, heavy tails).
    fn quantile(&self, u: f64) -> f64 {
        // It lies among the parts' own quantiles.
        let own = self.parts.iter().map(|part| part.law.quantile(u));
        let (least, greatest) = own
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), x| (least.min(x), greatest.max(x)));
        if u <= 0.0 {
            return least;
        }
        if u >= 1.0 {
            return greatest;
        }
        let (mut lo, mut hi) = (order(least), order(greatest));
        while lo < hi {
            let middle = (lo & hi) + ((lo ^ hi) >> 1);
            if Law::cdf(self, from_order(middle)) < u {
                lo = middle + 1;
            } else {
                hi = middle;
            }
        }
        from_order(hi)
    }

    fn cdf(&self, x: f64) -> f64 {
        self.parts.iter().map(|part| part.weight * part.law.cdf(x)).sum::<f64>().min(1.0)
    }

    fn mean(&self) -> f64 {
        self.mean
    }

    fn variance(&self) -> f64 {
        self.variance
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        weighted(self.parts.iter().map(|part| (part.weight, part.law.partial_moments(x))))
    }

    fn sample_at(&self, u: f64) -> f64 {
        const LEAST: f64 = f64::EPSILON / 2.0;
        let index = self.parts.partition_point(|part| part.up_to <= u).min(self.parts.len() - 1);
        let part = &self.parts[index];
        let from = if index == 0 { 0.0 } else { self.parts[index - 1].up_to };
        part.law.sample_at(((u - from) / part.weight).clamp(LEAST, 1.0 - LEAST))
    }
}
