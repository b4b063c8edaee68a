//! The normal law, truncated, and the lognormal.

use super::{DistributionError, Law, check, finite, positive};

const SQRT_2: f64 = std::f64::consts::SQRT_2;
/// 1 / sqrt(2 pi).
const INV_SQRT_TAU: f64 = 0.398_942_280_401_432_7;

/// The standard normal CDF.
pub(super) fn phi(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// The standard normal density.
pub(super) fn density(z: f64) -> f64 {
    INV_SQRT_TAU * libm::exp(-0.5 * z * z)
}

#[inline]
fn polynomial(coefficients: &[f64; 8], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

/// The standard normal quantile of a `p` of at most one half. M. J. Wichura, "Algorithm AS 241: The
/// Percentage Points of the Normal Distribution", Applied Statistics 37 (1988), routine PPND16:
/// about 16 digits.
#[inline]
pub(super) fn lower_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q >= -0.425 {
        let r = 0.180625 - q * q;
        return q * polynomial(&CENTRE.0, r) / polynomial(&CENTRE.1, r);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let r = libm::sqrt(-libm::log(p));
    if r <= 5.0 {
        -polynomial(&TAIL.0, r - 1.6) / polynomial(&TAIL.1, r - 1.6)
    } else {
        -polynomial(&FAR_TAIL.0, r - 5.0) / polynomial(&FAR_TAIL.1, r - 5.0)
    }
}

/// The standard normal quantile.
#[inline]
pub(super) fn quantile(u: f64) -> f64 {
    if u <= 0.5 { lower_quantile(u) } else { -lower_quantile(1.0 - u) }
}

/// Numerator and denominator of AS 241 for |p - 1/2| <= 0.425.
const CENTRE: ([f64; 8], [f64; 8]) = (
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_545,
    ],
);

/// The same for sqrt(-ln p) <= 5.
const TAIL: ([f64; 8], [f64; 8]) = (
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        0.000_774_545_014_278_341_4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        0.000_547_593_808_499_534_5,
        1.050_750_071_644_416_9e-9,
    ],
);

/// The same beyond.
const FAR_TAIL: ([f64; 8], [f64; 8]) = (
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        0.000_786_869_131_145_613_3,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
);

/// The normal law, truncated to an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normal {
    centre: f64,
    sd: f64,
    lo: f64,
    hi: f64,
    /// The parent's probability below `lo`, above `hi` and between.
    below: f64,
    above: f64,
    mass: f64,
    mean: f64,
    variance: f64,
}

impl Normal {
    /// The normal law of mean `mean` and standard deviation `sd` given that it is not negative: what
    /// a duration or a size can be. `mean` and `sd` are the parent's; see [`Normal::mean`] for the
    /// truncated law's own.
    ///
    /// # Errors
    /// As [`Normal::truncated`].
    pub fn new(mean: f64, sd: f64) -> Result<Self, DistributionError> {
        Self::truncated(mean, sd, 0.0, f64::INFINITY)
    }

    /// The normal law of mean `mean` and standard deviation `sd` given that it lies in
    /// [`lo`, `hi`]. The ends may be infinite.
    ///
    /// # Errors
    /// When `mean` is not finite, `sd` is not finite and above 0, `hi` is not above `lo`, or the
    /// interval lies so far out that its probability is below 1e-280.
    pub fn truncated(mean: f64, sd: f64, lo: f64, hi: f64) -> Result<Self, DistributionError> {
        let centre = finite("normal", "mean", mean)?;
        positive("normal", "sd", sd)?;
        check("normal", "lo", lo, lo < f64::INFINITY, "below infinity")?;
        check("normal", "hi", hi, hi > lo, format!("above lo = {lo}"))?;
        let (a, b) = ((lo - centre) / sd, (hi - centre) / sd);
        let (below, above) = (phi(a), phi(-b));
        // From the side where the probabilities are small and so keep their digits.
        let mass = if a > 0.0 {
            phi(-a) - above
        } else if b < 0.0 {
            phi(b) - below
        } else {
            1.0 - below - above
        };
        check("normal", "probability of [lo, hi]", mass, mass >= 1e-280, "1e-280 and more")?;
        let (shift, spread) = if b - a < 0.05 { narrow_moments(a, b) } else { moments(a, b, mass) };
        Ok(Self {
            centre,
            sd,
            lo,
            hi,
            below,
            above,
            mass,
            mean: centre + sd * shift,
            variance: sd * sd * spread,
        })
    }
}

/// `z` times the density, also at the infinities.
fn weighted_density(z: f64) -> f64 {
    if z.is_infinite() { 0.0 } else { z * density(z) }
}

/// Mean and variance of the standard normal law given that it lies in [a, b] (Johnson, Kotz,
/// Balakrishnan: "Continuous Univariate Distributions", volume 1, 1994, section 13.10.1).
fn moments(a: f64, b: f64, mass: f64) -> (f64, f64) {
    let mean = (density(a) - density(b)) / mass;
    (mean, 1.0 + (weighted_density(a) - weighted_density(b)) / mass - mean * mean)
}

/// The same by Simpson's rule, for an interval so narrow that the formula's terms cancel.
fn narrow_moments(a: f64, b: f64) -> (f64, f64) {
    const PIECES: u32 = 256;
    let (middle, step) = ((a + b) / 2.0, (b - a) / f64::from(PIECES));
    let [mut mass, mut first, mut second] = [0.0; 3];
    for i in 0..=PIECES {
        let x = (f64::from(i) - f64::from(PIECES / 2)) * step;
        let ends = i == 0 || i == PIECES;
        let weight = if ends { 1.0 } else { 2.0 + 2.0 * f64::from(i % 2) };
        // The density relative to the middle's, which is never too small for f64.
        let w = weight * libm::exp(-x * (middle + 0.5 * x));
        mass += w;
        first += w * x;
        second += w * x * x;
    }
    let mean = first / mass;
    (middle + mean, second / mass - mean * mean)
}

impl Law for Normal {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        let p = self.below + u * self.mass;
        let z =
            if p <= 0.5 { lower_quantile(p) } else { -lower_quantile(self.above + (1.0 - u) * self.mass) };
        (self.centre + self.sd * z).clamp(self.lo, self.hi)
    }

    fn cdf(&self, x: f64) -> f64 {
        if x < self.lo {
            return 0.0;
        }
        if x >= self.hi {
            return 1.0;
        }
        let z = (x - self.centre) / self.sd;
        let p = if z <= 0.0 {
            (phi(z) - self.below) / self.mass
        } else {
            1.0 - (phi(-z) - self.above) / self.mass
        };
        p.clamp(0.0, 1.0)
    }

    fn mean(&self) -> f64 {
        self.mean
    }

    fn variance(&self) -> f64 {
        self.variance
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        let (a, z) = ((self.lo - self.centre) / self.sd, (x.min(self.hi) - self.centre) / self.sd);
        if z <= a {
            return [0.0; 3];
        }
        let below = self.cdf(x);
        let first = (density(a) - density(z)) / self.mass;
        let second = below + (weighted_density(a) - weighted_density(z)) / self.mass;
        let (centre, sd) = (self.centre, self.sd);
        [
            below,
            centre * below + sd * first,
            centre * centre * below + 2.0 * centre * sd * first + sd * sd * second,
        ]
    }
}

/// The lognormal law: the logarithm is normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogNormal {
    mu: f64,
    sigma: f64,
}

impl LogNormal {
    /// The law whose logarithm has mean `mu` and standard deviation `sigma`.
    ///
    /// # Errors
    /// When `mu` is not finite, or `sigma` is not above 0 and at most 10 (assumption: that is a
    /// coefficient of variation of e^50, and beyond it the moments leave the range of f64).
    pub fn new(mu: f64, sigma: f64) -> Result<Self, DistributionError> {
        finite("lognormal", "mu", mu)?;
        check("lognormal", "sigma", sigma, sigma > 0.0 && sigma <= 10.0, "above 0, at most 10")?;
        Ok(Self { mu, sigma })
    }

    /// The law of this mean and coefficient of variation (standard deviation / mean).
    ///
    /// # Errors
    /// When `mean` or `cv` is not finite and above 0, or sigma leaves the range of
    /// [`LogNormal::new`].
    pub fn from_mean_cv(mean: f64, cv: f64) -> Result<Self, DistributionError> {
        positive("lognormal", "mean", mean)?;
        positive("lognormal", "cv", cv)?;
        let square = libm::log1p(cv * cv);
        Self::new(libm::log(mean) - 0.5 * square, square.sqrt())
    }

    /// The law of this median and 99th percentile.
    ///
    /// # Errors
    /// When `p50` is not finite and above 0, `p99` is not finite and above `p50`, or sigma leaves
    /// the range of [`LogNormal::new`].
    pub fn from_p50_p99(p50: f64, p99: f64) -> Result<Self, DistributionError> {
        positive("lognormal", "p50", p50)?;
        check(
            "lognormal",
            "p99",
            p99,
            p99.is_finite() && p99 > p50,
            format!("finite and above p50 = {p50}"),
        )?;
        Self::new(libm::log(p50), libm::log(p99 / p50) / quantile(0.99))
    }

    fn score(&self, x: f64) -> f64 {
        (libm::log(x) - self.mu) / self.sigma
    }
}

impl Law for LogNormal {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        libm::exp(self.mu + self.sigma * quantile(u))
    }

    fn cdf(&self, x: f64) -> f64 {
        if x <= 0.0 { 0.0 } else { phi(self.score(x)) }
    }

    fn mean(&self) -> f64 {
        libm::exp(self.mu + 0.5 * self.sigma * self.sigma)
    }

    fn variance(&self) -> f64 {
        let square = self.sigma * self.sigma;
        libm::expm1(square) * libm::exp(2.0 * self.mu + square)
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        if x <= 0.0 {
            return [0.0; 3];
        }
        // Weighting by X^k shifts mu by k sigma^2.
        let (z, sigma) = (self.score(x), self.sigma);
        [0.0, 1.0, 2.0].map(|k| libm::exp(k * self.mu + 0.5 * k * k * sigma * sigma) * phi(z - k * sigma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles of mpmath 1.3 with 50 digits.
    #[test]
    #[allow(clippy::excessive_precision)]
    fn quantiles_match_high_precision() {
        const REFERENCE: [(f64, f64); 8] = [
            (1e-300, -37.047096299361199),
            (1e-15, -7.9413453261709968),
            (1e-9, -5.9978070150076869),
            (0.01, -2.3263478740408411),
            (0.074, -1.4466320671589785),
            (0.08, -1.4050715603096325),
            (0.25, -0.67448975019608174),
            (0.45, -0.12566134685507401),
        ];
        for (p, expected) in REFERENCE {
            let error = lower_quantile(p) / expected - 1.0;
            assert!(error.abs() < 1e-15, "{p}: {error:e}");
        }
        assert_eq!(lower_quantile(0.5), 0.0);
        assert_eq!(quantile(0.75), -quantile(0.25));
    }

    #[test]
    fn quantile_inverts_the_cdf_in_every_branch() {
        for i in 1..4000 {
            let z = -f64::from(i) * 0.009;
            // What one rounding of the probability means for z, and one of z itself.
            let rounding = f64::EPSILON * (phi(z) / density(z) - z);
            let error = lower_quantile(phi(z)) - z;
            assert!(error.abs() < 4.0 * rounding, "{z}: {error:e}");
        }
    }

    #[test]
    fn narrow_and_wide_moments_agree_where_both_hold() {
        for a in [-3.0, -0.02, 0.0, 1.0, 8.0] {
            let b = a + 0.05;
            let mass = if a > 0.0 { phi(-a) - phi(-b) } else { phi(b) - phi(a) };
            let (wide, narrow) = (moments(a, b, mass), narrow_moments(a, b));
            assert!((wide.0 - narrow.0).abs() < 1e-10 * (1.0 + a.abs()), "{a}: {wide:?} {narrow:?}");
            assert!((wide.1 / narrow.1 - 1.0).abs() < 1e-7, "{a}: {wide:?} {narrow:?}");
        }
    }
}
