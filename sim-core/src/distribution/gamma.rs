//! The gamma law and the incomplete gamma functions.

use std::sync::Arc;

use super::normal::{self, lower_quantile, phi};
use super::{DistributionError, Law, positive, within};

/// ln(2 pi) / 2.
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;

/// The regularized incomplete gamma functions of one shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct IncompleteGamma {
    a: f64,
    /// ln Gamma(a + 1), or what Stirling's formula leaves of it at large shapes.
    norm: f64,
}

/// From here on Stirling's series (DLMF 5.11.1), four terms of it, is good to 1e-14.
const STIRLING_FROM: f64 = 16.0;
/// Far more terms than the continued fraction needs: a few times the root of the shape.
const MOST_TERMS: u32 = 100_000;

impl IncompleteGamma {
    pub(super) fn new(a: f64) -> Self {
        let norm = if a < STIRLING_FROM {
            libm::lgamma(a + 1.0)
        } else {
            let square = 1.0 / (a * a);
            let series =
                (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / a;
            HALF_LN_TAU + 0.5 * libm::log(a) + series
        };
        Self { a, norm }
    }

    /// x^a e^-x / Gamma(a + 1). At large shapes the exponent is written as a deviation from its
    /// maximum at x = a (as in C. Loader, "Fast and Accurate Computation of Binomial Probabilities",
    /// 2000), since a ln x and x alone would cancel.
    fn factor(&self, x: f64) -> f64 {
        let exponent = if self.a < STIRLING_FROM {
            self.a * libm::log(x) - x
        } else {
            -self.a * log_deficit((x - self.a) / self.a)
        };
        libm::exp(exponent - self.norm)
    }

    /// P(a, x) and Q(a, x) = 1 - P(a, x); the one that was computed directly keeps its digits when
    /// small.
    pub(super) fn both(&self, x: f64) -> (f64, f64) {
        if x <= 0.0 {
            return (0.0, 1.0);
        }
        if x == f64::INFINITY {
            return (1.0, 0.0);
        }
        let factor = self.factor(x);
        if factor == 0.0 {
            return if x < self.a { (0.0, 1.0) } else { (1.0, 0.0) };
        }
        if x < self.a + 1.0 {
            // DLMF 8.11.4.
            let (mut term, mut sum, mut n) = (1.0, 1.0, self.a);
            while term > sum * 1e-17 {
                n += 1.0;
                term *= x / n;
                sum += term;
            }
            let p = (factor * sum).min(1.0);
            (p, 1.0 - p)
        } else {
            // The continued fraction DLMF 8.9.2, contracted, from its front by Lentz's method.
            let mut b = x + 1.0 - self.a;
            let (mut c, mut d) = (f64::INFINITY, 1.0 / b);
            let mut fraction = d;
            for n in 1..MOST_TERMS {
                let n = f64::from(n);
                let numerator = n * (self.a - n);
                b += 2.0;
                d = 1.0 / (b + numerator * d);
                c = b + numerator / c;
                let step = c * d;
                fraction *= step;
                // An integer shape ends the fraction.
                if (step - 1.0).abs() <= f64::EPSILON || numerator == 0.0 {
                    break;
                }
            }
            let q = (factor * self.a * fraction).min(1.0);
            (1.0 - q, q)
        }
    }

    /// The logarithm of the quantile, given the probability `p` below it and `q` = 1 - `p` above.
    /// A logarithm, since small shapes put quantiles below the range of f64.
    fn log_quantile(&self, p: f64, q: f64) -> f64 {
        let a = self.a;
        // Near 0 the law is a power: P = x^a e^(-x a / (a + 1)) / Gamma(a + 1) up to order x^2.
        let log_gamma = if a < STIRLING_FROM { self.norm } else { libm::lgamma(a + 1.0) };
        let log_power = (libm::log(p) + log_gamma) / a;
        let power = libm::exp(log_power);
        if power < 1e-9 {
            return log_power + power / (a + 1.0);
        }
        let z = if p <= q { lower_quantile(p) } else { -lower_quantile(q) };
        // Wilson and Hilferty (1931): the cube root is nearly normal.
        let root = 1.0 - 1.0 / (9.0 * a) + z / (3.0 * a.sqrt());
        let mut x = if power < 0.2 * (a + 1.0) || root < 0.1 {
            power * libm::exp(power / (a + 1.0))
        } else if a < 0.5 {
            // The tail is about that of an exponential law.
            (libm::log(a) - libm::log(q)).max(power.min(1.0))
        } else {
            a * root * root * root
        };
        // Halley's method, kept inside a bracket.
        let (mut lo, mut hi) = (0.0, f64::INFINITY);
        for _ in 0..60 {
            let (below, above) = self.both(x);
            let error = if p <= q { below - p } else { q - above };
            if error > 0.0 {
                hi = x;
            } else {
                lo = x;
            }
            let newton = error * x / (a * self.factor(x));
            let halley = newton / (1.0 - 0.5 * (newton * ((a - 1.0) / x - 1.0)).clamp(-1.0, 1.0));
            let mut next = x - halley;
            if !(next > lo && next < hi) {
                next = if hi.is_finite() { 0.5 * (lo + hi) } else { 2.0 * x };
            } else if halley.abs() <= 1e-6 * x / (1.0 + a.sqrt()) {
                // Convergence is cubic: what is left is below rounding.
                return libm::log(next);
            }
            if next == x {
                break;
            }
            x = next;
        }
        libm::log(x)
    }
}

/// m - ln(1 + m), without cancellation: the series of the inverse hyperbolic tangent.
fn log_deficit(m: f64) -> f64 {
    if m.abs() > 0.3 {
        return m - libm::log1p(m);
    }
    let r = m / (2.0 + m);
    let square = r * r;
    // |r| < 0.18, so the twelfth term is below 1e-17 of the first.
    let series = (0..12).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 3));
    r * m - 2.0 * r * square * series
}

/// The gamma law.
#[derive(Debug, Clone, PartialEq)]
pub struct Gamma {
    unit: IncompleteGamma,
    scale: f64,
    table: Arc<[[f64; 6]]>,
}

/// Assumption: coefficients of variation from 0.001 to 10 are all that anyone needs.
const SHAPES: [f64; 2] = [0.01, 1e6];
/// The table reaches the normal scores of every uniform of 53 bits: |z| < 8.3.
const REACH: f64 = 8.5;
const PER_UNIT: f64 = 32.0;

impl Gamma {
    /// The law with density proportional to `x^(shape - 1) exp(-x / scale)`.
    ///
    /// # Errors
    /// When `shape` is not from 0.01 to 1e6, or `scale` is not finite and above 0.
    pub fn new(shape: f64, scale: f64) -> Result<Self, DistributionError> {
        within("gamma", "shape", shape, SHAPES)?;
        positive("gamma", "scale", scale)?;
        let unit = IncompleteGamma::new(shape);
        Ok(Self { unit, scale, table: score_table(&unit) })
    }

    /// The law of this mean and coefficient of variation (standard deviation / mean).
    ///
    /// # Errors
    /// When `mean` is not finite and above 0, or `cv` is not from 0.001 to 10.
    pub fn from_mean_cv(mean: f64, cv: f64) -> Result<Self, DistributionError> {
        positive("gamma", "mean", mean)?;
        within("gamma", "cv", cv, [0.001, 10.0])?;
        let shape = (1.0 / (cv * cv)).clamp(SHAPES[0], SHAPES[1]);
        Self::new(shape, mean / shape)
    }
}

/// ln of the quantile as a smooth function of the normal score z: a polynomial of degree 5 for each
/// piece, which meets the function and its first two derivatives at both ends. Good to about 1e-11
/// (a test says so), and many times quicker than inverting the incomplete gamma function.
fn score_table(unit: &IncompleteGamma) -> Arc<[[f64; 6]]> {
    let step = 1.0 / PER_UNIT;
    let nodes = (0..=(2.0 * REACH * PER_UNIT) as u32).map(|i| {
        let z = f64::from(i) * step - REACH;
        let y = unit.log_quantile(phi(z), phi(-z));
        let x = libm::exp(y);
        // From P(a, e^y) = Phi(z): y' is the ratio of the densities in z and in y.
        let factor = unit.factor(x);
        // Where x is below the range of f64, P is the factor alone.
        let slope = if factor > 0.0 {
            normal::density(z) / (unit.a * factor)
        } else {
            normal::density(z) / (unit.a * phi(z))
        };
        let bend = slope * (-z - slope * (unit.a - x));
        [y, slope * step, 0.5 * bend * step * step]
    });
    let nodes: Vec<[f64; 3]> = nodes.collect();
    nodes
        .windows(2)
        .map(|ends| {
            let ([y0, d0, c0], [y1, d1, c1]) = (ends[0], ends[1]);
            let (rise, slope, bend) = (y1 - y0 - d0 - c0, d1 - d0 - 2.0 * c0, c1 - c0);
            [
                y0,
                d0,
                c0,
                10.0 * rise - 4.0 * slope + bend,
                7.0 * slope - 15.0 * rise - 2.0 * bend,
                6.0 * rise - 3.0 * slope + bend,
            ]
        })
        .collect()
}

impl Law for Gamma {
    fn quantile(&self, u: f64) -> f64 {
        if u <= 0.0 {
            0.0
        } else if u >= 1.0 {
            f64::INFINITY
        } else {
            self.scale * libm::exp(self.unit.log_quantile(u, 1.0 - u))
        }
    }

    fn cdf(&self, x: f64) -> f64 {
        self.unit.both(x / self.scale).0
    }

    fn mean(&self) -> f64 {
        self.unit.a * self.scale
    }

    fn variance(&self) -> f64 {
        self.unit.a * self.scale * self.scale
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        let (a, x) = (self.unit.a, x / self.scale);
        let below = |k: f64| IncompleteGamma::new(a + k).both(x).0;
        let (mean, scale) = (self.mean(), self.scale);
        [below(0.0), mean * below(1.0), mean * (a + 1.0) * scale * below(2.0)]
    }

    #[inline]
    fn sample_at(&self, u: f64) -> f64 {
        let place = (normal::quantile(u).clamp(-REACH, REACH) + REACH) * PER_UNIT;
        let piece = (place as usize).min(self.table.len() - 1);
        let t = place - piece as f64;
        let [c0, c1, c2, c3, c4, c5] = self.table[piece];
        self.scale * libm::exp(c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * c5)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [f64; 13] = [0.01, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0, 2.5, 10.0, 16.0, 100.0, 1e4, 1e6];

    fn probabilities() -> impl Iterator<Item = f64> {
        (1..200).map(|i| f64::from(i) / 200.0).chain([1e-15, 1e-9, 1e-4, 1.0 - 1e-4, 1.0 - 1e-9, 1.0 - 1e-15])
    }

    #[test]
    fn table_agrees_with_the_root() {
        let mut worst = 0.0f64;
        for shape in SHAPES {
            let gamma = Gamma::new(shape, 1.0).unwrap();
            for u in probabilities() {
                let (fast, exact) = (gamma.sample_at(u), gamma.quantile(u));
                let error = if fast == exact { 0.0 } else { (fast / exact - 1.0).abs() };
                worst = worst.max(error);
            }
        }
        assert!(worst < 1e-10, "{worst:e}");
    }

    #[test]
    fn quantile_inverts_the_incomplete_gamma() {
        for shape in SHAPES {
            let unit = IncompleteGamma::new(shape);
            for u in probabilities() {
                let y = unit.log_quantile(u, 1.0 - u);
                let x = libm::exp(y);
                if x < 1e-300 {
                    continue;
                }
                let (p, q) = unit.both(x);
                // The error in x that the error in the probability means.
                let error = if u <= 0.5 { p - u } else { 1.0 - u - q };
                let relative = error / (shape * unit.factor(x));
                assert!(relative.abs() < 2e-12, "{shape} {u}: {relative:e}");
            }
        }
    }

    /// Quantiles by bisection on the incomplete gamma function of mpmath 1.3 with 50 digits.
    #[test]
    #[allow(clippy::excessive_precision)]
    fn quantiles_match_high_precision() {
        const REFERENCE: [(f64, [f64; 5]); 6] = [
            (
                0.05,
                [
                    5.8446320572866414e-181,
                    5.8446320572865211e-21,
                    5.5738784407462475e-7,
                    0.076317113909188504,
                    15.116740106874814,
                ],
            ),
            (
                0.3,
                [
                    6.972699096409345e-31,
                    0.00032372462182343273,
                    0.073131135866951896,
                    0.88481077336024404,
                    17.583462446593152,
                ],
            ),
            (
                2.5,
                [
                    0.00040614478283282705,
                    0.80515399348116152,
                    2.1757300955477637,
                    4.6181784498905595,
                    25.346096880759594,
                ],
            ),
            (
                16.0,
                [
                    2.1070161856704795,
                    11.135297238322119,
                    15.66792954431725,
                    21.292372541490419,
                    52.586961712790524,
                ],
            ),
            (
                100.0,
                [
                    51.143302228837421,
                    87.417636499593657,
                    99.666864919315489,
                    113.01052385984448,
                    172.07103987000211,
                ],
            ),
            (
                1e4,
                [
                    9411.8284114458642,
                    9872.0608750497358,
                    9999.6666686420474,
                    10128.367373674177,
                    10611.486364888996,
                ],
            ),
        ];
        for (shape, quantiles) in REFERENCE {
            let gamma = Gamma::new(shape, 1.0).unwrap();
            for (u, expected) in [1e-9, 0.1, 0.5, 0.9, 1.0 - 1e-9].into_iter().zip(quantiles) {
                let error = gamma.quantile(u) / expected - 1.0;
                assert!(error.abs() < 2e-13, "{shape} {u}: {error:e}");
            }
        }
    }
}
