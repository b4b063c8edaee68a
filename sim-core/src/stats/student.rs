//! Quantiles of Student's t distribution.

use std::f64::consts::PI;

/// From so many degrees of freedom on, the expansion around the normal quantile is exact to 1e-12.
const NEARLY_NORMAL: f64 = 1e5;

/// The quantile of Student's t distribution with `dof` degrees of freedom: the value that a variate
/// does not exceed with probability `p`.
///
/// Relative error below 1e-10 for p from 1e-100 to 1 - 1e-15, 1e-4 or more off one half, and any `dof`
/// of at least 1 (in the upper tail, as good as 1 - p is in a double). Minus or plus infinity for p = 0 or 1; NaN for p
/// outside of 0 to 1 or `dof` below 1.
///
/// Inverts the tail probability, an incomplete beta function (Abramowitz and Stegun 1964, 26.5.27
/// and 26.7.1), by Newton's method; above 1e5 degrees of freedom it expands around the normal
/// quantile (26.7.5).
///
/// ```
/// use sim_core::stats::student_t_quantile;
/// assert!((student_t_quantile(0.975, 9.0) - 2.262_157_162_8).abs() < 1e-9);
/// ```
pub fn student_t_quantile(p: f64, dof: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || dof.is_nan() || dof < 1.0 {
        return f64::NAN;
    }
    if p == 0.5 {
        return 0.0;
    }
    let (tail, sign) = if p < 0.5 { (p, -1.0) } else { (1.0 - p, 1.0) };
    let distance = if tail == 0.0 {
        f64::INFINITY
    } else if dof < NEARLY_NORMAL {
        let t = StudentT::new(dof);
        invert_tail(tail, |x| t.tail(x), |x| t.density(x))
    } else {
        expand_normal(invert_tail(tail, normal_tail, normal_density), dof)
    };
    sign * distance
}

/// The point above which the probability is `target` (below one half), by Newton's method from 0.
/// The tail of a symmetric unimodal law is convex there, so every step falls short of the root: the
/// steps increase to it and need no bracket.
fn invert_tail(target: f64, tail: impl Fn(f64) -> f64, density: impl Fn(f64) -> f64) -> f64 {
    let mut x = 0.0;
    // 330 steps reach the slowest case of the documented range, p = 1e-100 at one degree of freedom.
    for _ in 0..1000 {
        let step = (tail(x) - target) / density(x);
        // At the root, or past it by a rounding.
        if step.is_nan() || step <= 1e-16 * x {
            break;
        }
        x += step;
    }
    x
}

/// A t distribution, with what depends on its degrees of freedom alone.
struct StudentT {
    dof: f64,
    /// 1 / B(dof/2, 1/2), with B the complete beta function.
    inverse_beta: f64,
}

impl StudentT {
    fn new(dof: f64) -> Self {
        Self { dof, inverse_beta: gamma_ratio(0.5 * dof) / PI.sqrt() }
    }

    fn density(&self, t: f64) -> f64 {
        let decay = -0.5 * (self.dof + 1.0) * libm::log1p(t * t / self.dof);
        self.inverse_beta / self.dof.sqrt() * libm::exp(decay)
    }

    /// P(T > t) for t >= 0: half of I_x(dof/2, 1/2) at x = dof / (dof + t^2) (26.7.1), by the
    /// continued fraction on the side where it converges quickly.
    fn tail(&self, t: f64) -> f64 {
        let a = 0.5 * self.dof;
        let square = t * t;
        let x = self.dof / (self.dof + square);
        let complement = square / (self.dof + square);
        let front = self.inverse_beta * libm::exp(-a * libm::log1p(square / self.dof)) * complement.sqrt();
        if x < (a + 1.0) / (a + 2.5) {
            0.5 * front * beta_fraction(a, 0.5, x) / a
        } else {
            0.5 - front * beta_fraction(0.5, a, complement)
        }
    }
}

/// Gamma(a + 1/2) / Gamma(a) for a > 0: Stirling's series of the logarithm from 20 on (the next term
/// is below 1e-14 there), below by the recurrence of Gamma.
fn gamma_ratio(a: f64) -> f64 {
    let mut product = 1.0;
    let mut a = a;
    while a < 20.0 {
        product *= a / (a + 0.5);
        a += 1.0;
    }
    let square = a * a;
    let series = -1.0 / 8.0 + (1.0 / 192.0 + (-1.0 / 640.0 + 17.0 / 14_336.0 / square) / square) / square;
    product * a.sqrt() * libm::exp(series / a)
}

/// The continued fraction of the incomplete beta function (26.5.8), by Lentz's method as modified by
/// Thompson and Barnett (J. Comput. Phys. 64, 1986).
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    /// Stands in for a denominator of zero.
    const TINY: f64 = 1e-300;
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // It takes some square roots of max(a, b) terms, which is below 1e5.
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for coefficient in [even, odd] {
            d = 1.0 / nonzero(1.0 + coefficient * d);
            c = nonzero(1.0 + coefficient / c);
            change = d * c;
            value *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

fn normal_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x / 2f64.sqrt())
}

fn normal_density(x: f64) -> f64 {
    libm::exp(-0.5 * x * x) / (2.0 * PI).sqrt()
}

/// The t quantile near the normal quantile `z` (26.7.5).
fn expand_normal(z: f64, dof: f64) -> f64 {
    let s = z * z;
    let g1 = z * (s + 1.0) / 4.0;
    let g2 = z * ((5.0 * s + 16.0) * s + 3.0) / 96.0;
    let g3 = z * (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0;
    let g4 = z * ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) / 92_160.0;
    z + (g1 + (g2 + (g3 + g4 / dof) / dof) / dof) / dof
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_close(p: f64, dof: f64, expected: f64, relative: f64) {
        let found = student_t_quantile(p, dof);
        assert!((found / expected - 1.0).abs() <= relative, "t({p}, {dof}) = {found}, expected {expected}");
    }

    #[test]
    fn published_table() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2 (three decimals).
        let probabilities = [0.90, 0.95, 0.975, 0.99, 0.995];
        let table = [
            (1.0, [3.078, 6.314, 12.706, 31.821, 63.657]),
            (2.0, [1.886, 2.920, 4.303, 6.965, 9.925]),
            (5.0, [1.476, 2.015, 2.571, 3.365, 4.032]),
            (10.0, [1.372, 1.812, 2.228, 2.764, 3.169]),
            (30.0, [1.310, 1.697, 2.042, 2.457, 2.750]),
            (100.0, [1.290, 1.660, 1.984, 2.364, 2.626]),
            (f64::INFINITY, [1.282, 1.645, 1.960, 2.326, 2.576]),
        ];
        for (dof, row) in table {
            for (p, expected) in probabilities.into_iter().zip(row) {
                let found = student_t_quantile(p, dof);
                assert!((found - expected).abs() < 0.00051, "t({p}, {dof}) = {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn ten_digits() {
        // By bisection of the regularized incomplete beta function with 40 digits (mpmath 1.3).
        for (p, dof, expected) in [
            (0.975, 3.0, 3.182_446_305_283_71),
            (0.9999, 7.0, 7.063_432_828_157_514),
            (0.6, 5.0, 0.267_180_865_704_145_1),
            (0.95, 29.0, 1.699_127_026_533_498),
            (0.995, 39.5, 2.706_163_358_156_642),
            (1e-12, 12.0, -28.687_656_649_331_75),
            (0.975, 1000.0, 1.962_339_080_826_408),
            (0.999, 99_999.0, 3.090_313_810_242_298),
            (0.999, 100_001.0, 3.090_313_808_612_193),
            (1e-9, 2e5, -5.998_084_227_332_206),
            (0.51, 30.0, 0.025_278_783_971_765_79),
            (1e-30, 4.0, -41_617_914.502_878_13),
        ] {
            assert_close(p, dof, expected, 1e-12);
        }
    }

    #[test]
    fn closed_forms() {
        for p in [1e-100, 1e-10, 1e-5, 0.001, 0.01, 0.1, 0.3, 0.45, 0.499] {
            // One degree of freedom is Cauchy's law; two have 2 p (1 - p) t^2 = (2 p - 1)^2.
            assert_close(p, 1.0, -1.0 / libm::tan(PI * p), 1e-12);
            assert_close(p, 2.0, (2.0 * p - 1.0) / (2.0 * p * (1.0 - p)).sqrt(), 1e-12);
        }
    }

    #[test]
    fn ends_and_nonsense() {
        assert_eq!(student_t_quantile(0.0, 3.0), f64::NEG_INFINITY);
        assert_eq!(student_t_quantile(1.0, 1e9), f64::INFINITY);
        assert_eq!(student_t_quantile(0.5, 3.0), 0.0);
        for (p, dof) in [(-0.1, 3.0), (1.1, 3.0), (f64::NAN, 3.0), (0.9, 0.5), (0.9, f64::NAN)] {
            assert!(student_t_quantile(p, dof).is_nan(), "{p} {dof}");
        }
    }

    proptest! {
        #[test]
        fn the_quantile_inverts_the_tail(dof in 1.0..NEARLY_NORMAL, log_tail in -40.0..-0.8f64) {
            let tail = libm::exp(log_tail);
            let found = student_t_quantile(tail, dof);
            let t = StudentT::new(dof);
            // Near 1e5 degrees of freedom the tail itself is rounded to some 1e-11.
            prop_assert!((t.tail(-found) / tail - 1.0).abs() < 1e-10);
            // Symmetry, as far as 1 - tail is exact.
            if tail > 1e-3 {
                prop_assert!((student_t_quantile(1.0 - tail, dof) + found).abs() < 1e-10 * found.abs());
            }
        }
    }
}
