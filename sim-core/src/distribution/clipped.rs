//! Values clamped to an interval.

use std::sync::Arc;

use super::{Dist, DistributionError, Law, check, finite};

/// A law whose values are clamped to an interval; made by [`Dist::clipped`].
#[derive(Debug, Clone, PartialEq)]
pub struct Clipped {
    law: Arc<Dist>,
    lo: f64,
    hi: f64,
    mean: f64,
    variance: f64,
}

impl Clipped {
    pub(super) fn new(law: Dist, lo: f64, hi: f64) -> Result<Self, DistributionError> {
        finite("clipped", "lo", lo)?;
        check("clipped", "hi", hi, hi > lo, format!("above lo = {lo}"))?;
        let mut clipped = Self { law: Arc::new(law), lo, hi, mean: 0.0, variance: 0.0 };
        let [_, first, second] = clipped.moments(hi);
        clipped.mean = first;
        clipped.variance = if second.is_finite() { (second - first * first).max(0.0) } else { f64::INFINITY };
        Ok(clipped)
    }

    /// E[Y^k; Y <= x] of the clamped value, for any x from `lo` on.
    fn moments(&self, x: f64) -> [f64; 3] {
        let below = self.law.partial_moments(self.lo);
        let up_to = if x.is_finite() {
            self.law.partial_moments(x)
        } else {
            let mean = self.law.mean();
            [1.0, mean, self.law.variance() + mean * mean]
        };
        let above = if x >= self.hi && x.is_finite() { 1.0 - up_to[0] } else { 0.0 };
        let (mut low, mut high) = (below[0], above);
        [0, 1, 2].map(|k| {
            let moment = low + (up_to[k] - below[k]) + high;
            low *= self.lo;
            // No mass at an infinite end.
            if high > 0.0 {
                high *= self.hi;
            }
            moment
        })
    }
}

impl Law for Clipped {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        self.law.quantile(u).clamp(self.lo, self.hi)
    }

    fn cdf(&self, x: f64) -> f64 {
        if x < self.lo {
            0.0
        } else if x >= self.hi {
            1.0
        } else {
            self.law.cdf(x)
        }
    }

    fn mean(&self) -> f64 {
        self.mean
    }

    fn variance(&self) -> f64 {
        self.variance
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        if x < self.lo { [0.0; 3] } else { self.moments(x.min(self.hi)) }
    }

    #[inline]
    fn sample_at(&self, u: f64) -> f64 {
        self.law.sample_at(u).clamp(self.lo, self.hi)
    }
}
