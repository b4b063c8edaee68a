//! The laws whose inverse CDF is a short formula.

use super::gamma::IncompleteGamma;
use super::{DistributionError, Law, check, finite, positive, within};

/// Always the same value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant {
    value: f64,
}

impl Constant {
    /// Always `value`.
    ///
    /// # Errors
    /// When `value` is not finite.
    pub fn new(value: f64) -> Result<Self, DistributionError> {
        Ok(Self { value: finite("constant", "value", value)? })
    }
}

impl Law for Constant {
    #[inline]
    fn quantile(&self, _: f64) -> f64 {
        self.value
    }

    fn cdf(&self, x: f64) -> f64 {
        if x < self.value { 0.0 } else { 1.0 }
    }

    fn mean(&self) -> f64 {
        self.value
    }

    fn variance(&self) -> f64 {
        0.0
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        let below = self.cdf(x);
        [below, self.value * below, self.value * self.value * below]
    }
}

/// Any value between two ends alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uniform {
    lo: f64,
    hi: f64,
}

impl Uniform {
    /// Uniform from `lo` to `hi`.
    ///
    /// # Errors
    /// When an end or the width is not finite, or `hi` is not above `lo`.
    pub fn new(lo: f64, hi: f64) -> Result<Self, DistributionError> {
        finite("uniform", "lo", lo)?;
        let width = hi - lo;
        check("uniform", "hi", hi, width.is_finite() && width > 0.0, format!("finite and above lo = {lo}"))?;
        Ok(Self { lo, hi })
    }
}

impl Law for Uniform {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        (self.lo + (self.hi - self.lo) * u).min(self.hi)
    }

    fn cdf(&self, x: f64) -> f64 {
        ((x - self.lo) / (self.hi - self.lo)).clamp(0.0, 1.0)
    }

    fn mean(&self) -> f64 {
        self.lo + (self.hi - self.lo) / 2.0
    }

    fn variance(&self) -> f64 {
        (self.hi - self.lo) * (self.hi - self.lo) / 12.0
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        let (lo, end, below) = (self.lo, x.clamp(self.lo, self.hi), self.cdf(x));
        [below, below * (lo + end) / 2.0, below * (lo * lo + lo * end + end * end) / 3.0]
    }
}

/// The exponential law: the time to the next event of a Poisson process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    mean: f64,
}

impl Exponential {
    /// The exponential law of this mean.
    ///
    /// # Errors
    /// When `mean` is not finite and above 0.
    pub fn with_mean(mean: f64) -> Result<Self, DistributionError> {
        Ok(Self { mean: positive("exponential", "mean", mean)? })
    }
}

impl Law for Exponential {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        -self.mean * libm::log1p(-u)
    }

    fn cdf(&self, x: f64) -> f64 {
        if x <= 0.0 { 0.0 } else { -libm::expm1(-x / self.mean) }
    }

    fn mean(&self) -> f64 {
        self.mean
    }

    fn variance(&self) -> f64 {
        self.mean * self.mean
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        exponential_moments(self.mean, x)
    }

    /// `1 - u` is exact for the uniforms of a stream (multiples of 2^-53), so the quicker logarithm
    /// is as good here as `log1p`.
    #[inline(always)]
    fn sample_at(&self, u: f64) -> f64 {
        -self.mean * libm::log(1.0 - u)
    }
}

/// E[X^k; X <= x] of an exponential law.
pub(super) fn exponential_moments(mean: f64, x: f64) -> [f64; 3] {
    if x <= 0.0 {
        return [0.0; 3];
    }
    let t = x / mean;
    let (tail, below) = (libm::exp(-t), -libm::expm1(-t));
    [below, mean * (below - t * tail), mean * mean * (2.0 * (below - t * tail) - t * t * tail)]
}

/// The Weibull law: a time to failure whose hazard falls (shape < 1) or rises (shape > 1) with age.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weibull {
    shape: f64,
    scale: f64,
}

/// Assumption: outside these a Weibull law is degenerate and its draws leave the range of f64.
const WEIBULL_SHAPES: [f64; 2] = [0.05, 1e6];

impl Weibull {
    /// The law with CDF `1 - exp(-(x / scale)^shape)`.
    ///
    /// # Errors
    /// When `shape` is not from 0.05 to 1e6, or `scale` is not finite and above 0.
    pub fn new(shape: f64, scale: f64) -> Result<Self, DistributionError> {
        Ok(Self {
            shape: within("weibull", "shape", shape, WEIBULL_SHAPES)?,
            scale: positive("weibull", "scale", scale)?,
        })
    }

    fn hazard(&self, x: f64) -> f64 {
        libm::pow(x / self.scale, self.shape)
    }
}

impl Law for Weibull {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        self.scale * libm::pow(-libm::log1p(-u), 1.0 / self.shape)
    }

    fn cdf(&self, x: f64) -> f64 {
        if x <= 0.0 { 0.0 } else { -libm::expm1(-self.hazard(x)) }
    }

    fn mean(&self) -> f64 {
        self.scale * libm::tgamma(1.0 + 1.0 / self.shape)
    }

    fn variance(&self) -> f64 {
        let first = libm::tgamma(1.0 + 1.0 / self.shape);
        // Relative to the squared mean, so that the difference keeps its digits at large shapes.
        let log_ratio = libm::lgamma(1.0 + 2.0 / self.shape) - 2.0 * libm::lgamma(1.0 + 1.0 / self.shape);
        self.scale * self.scale * first * first * libm::expm1(log_ratio)
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        if x <= 0.0 {
            return [0.0; 3];
        }
        // The substitution t = (x / scale)^shape makes the moments incomplete gamma functions.
        let t = self.hazard(x);
        let moment = |k: f64| {
            let a = 1.0 + k / self.shape;
            libm::exp(libm::lgamma(a) + libm::log(IncompleteGamma::new(a).both(t).0))
        };
        [self.cdf(x), self.scale * moment(1.0), self.scale * self.scale * moment(2.0)]
    }
}

/// The Pareto law (type I): a heavy tail that falls like a power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pareto {
    scale: f64,
    shape: f64,
}

/// Assumption: below 0.1 the draws leave the range of f64; above 1e6 the law is a constant.
const PARETO_SHAPES: [f64; 2] = [0.1, 1e6];

impl Pareto {
    /// The law with CDF `1 - (scale / x)^shape` for x above `scale`. The mean exists for shapes
    /// above 1, the variance for shapes above 2.
    ///
    /// # Errors
    /// When `scale` is not finite and above 0, or `shape` is not from 0.1 to 1e6.
    pub fn new(scale: f64, shape: f64) -> Result<Self, DistributionError> {
        Ok(Self {
            scale: positive("pareto", "scale", scale)?,
            shape: within("pareto", "shape", shape, PARETO_SHAPES)?,
        })
    }
}

impl Law for Pareto {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        self.scale * libm::exp(-libm::log1p(-u) / self.shape)
    }

    fn cdf(&self, x: f64) -> f64 {
        if x <= self.scale { 0.0 } else { -libm::expm1(-self.shape * libm::log(x / self.scale)) }
    }

    fn mean(&self) -> f64 {
        if self.shape <= 1.0 { f64::INFINITY } else { self.scale * self.shape / (self.shape - 1.0) }
    }

    fn variance(&self) -> f64 {
        if self.shape <= 2.0 {
            return f64::INFINITY;
        }
        let from_one = self.shape - 1.0;
        self.scale * self.scale * self.shape / (from_one * from_one * (self.shape - 2.0))
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        if x <= self.scale {
            return [0.0; 3];
        }
        let log_ratio = libm::log(x / self.scale);
        // The integral of shape * t^(k - shape - 1) from 1 to x / scale.
        let moment = |k: f64| {
            let power = k - self.shape;
            self.shape * if power == 0.0 { log_ratio } else { libm::expm1(power * log_ratio) / power }
        };
        [self.cdf(x), self.scale * moment(1.0), self.scale * self.scale * moment(2.0)]
    }
}
