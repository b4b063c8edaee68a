//! Exact quantiles of small samples.

use super::{StatsError, all_finite, checked_confidence};

/// A sorted sample, such as the values of replications: quantiles by interpolation, and confidence
/// intervals for them that assume nothing of the distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactQuantiles {
    sorted: Vec<f64>,
}

/// A confidence interval for a quantile, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileInterval {
    /// The sample quantile.
    pub estimate: f64,
    /// The lower end; minus infinity where the sample is too small to tell.
    pub low: f64,
    /// The upper end; infinity where the sample is too small to tell.
    pub high: f64,
    /// The confidence level, in (0, 1): the interval covers the quantile at least so often.
    pub confidence: f64,
    /// The size of the sample.
    pub n: usize,
}

impl ExactQuantiles {
    /// Sorts a sample.
    ///
    /// # Errors
    /// No values, or a value that is not finite.
    pub fn new(mut values: Vec<f64>) -> Result<Self, StatsError> {
        all_finite(&values)?;
        if values.is_empty() {
            return Err(StatsError::Empty);
        }
        values.sort_unstable_by(f64::total_cmp);
        Ok(Self { sorted: values })
    }

    /// The values in ascending order.
    pub fn sorted(&self) -> &[f64] {
        &self.sorted
    }

    /// The sample quantile, linear between order statistics (type 7 of Hyndman and Fan, The American
    /// Statistician 50(4), 1996; the default of R and NumPy). `q` is clamped to 0 to 1.
    pub fn quantile(&self, q: f64) -> f64 {
        let last = self.sorted.len() - 1;
        let place = (q * last as f64).clamp(0.0, last as f64);
        let below = (place as usize).min(last);
        let (low, high) = (self.sorted[below], self.sorted[(below + 1).min(last)]);
        // Halves of the step, so that the difference of two large values cannot overflow.
        let half_step = 0.5 * high - 0.5 * low;
        let fraction = place - below as f64;
        low + fraction * half_step + fraction * half_step
    }

    /// The distribution-free confidence interval for the quantile `q` between two order statistics
    /// (David and Nagaraja, Order Statistics, 3rd edition 2003, section 7.1): the number of values
    /// below the quantile is binomial, and either end misses with at most (1 - confidence) / 2.
    ///
    /// # Errors
    /// A quantile or a confidence outside of (0, 1).
    pub fn interval(&self, q: f64, confidence: f64) -> Result<QuantileInterval, StatsError> {
        let confidence = checked_confidence(confidence)?;
        if !(q > 0.0 && q < 1.0) {
            return Err(StatsError::Quantile(q));
        }
        let n = self.sorted.len();
        let miss = 0.5 * (1.0 - confidence);
        let (first, masses) = binomial(n, q);
        // With B values below the quantile, the i-th smallest (from 1) is above it when B < i.
        let lower = first + ends_within(masses.iter(), miss);
        let upper = first + masses.len() - ends_within(masses.iter().rev(), miss);
        let low = if lower == 0 { f64::NEG_INFINITY } else { self.sorted[lower - 1] };
        let high = if upper > n { f64::INFINITY } else { self.sorted[upper - 1] };
        Ok(QuantileInterval { estimate: self.quantile(q), low, high, confidence, n })
    }
}

/// How many masses from one end add up to at most `miss`.
fn ends_within<'a>(masses: impl Iterator<Item = &'a f64>, miss: f64) -> usize {
    let mut sum = 0.0;
    masses
        .take_while(|mass| {
            sum += **mass;
            sum <= miss
        })
        .count()
}

/// The probabilities of a binomial number of `n` trials with `p`, from the first number returned on.
/// Built outwards from the mode by the ratio of neighbours and then normalized; what is below 1e-25
/// of the mode is left out.
fn binomial(n: usize, p: f64) -> (usize, Vec<f64>) {
    const NEGLIGIBLE: f64 = 1e-25;
    let odds = p / (1.0 - p);
    let mode = (((n + 1) as f64 * p) as usize).min(n);
    let mut masses = Vec::new();
    let (mut k, mut mass) = (mode, 1.0);
    while k > 0 && mass > NEGLIGIBLE {
        mass *= k as f64 / ((n - k + 1) as f64 * odds);
        masses.push(mass);
        k -= 1;
    }
    masses.reverse();
    let first = k;
    masses.push(1.0);
    let (mut k, mut mass) = (mode, 1.0);
    while k < n && mass > NEGLIGIBLE {
        mass *= (n - k) as f64 * odds / (k + 1) as f64;
        masses.push(mass);
        k += 1;
    }
    let total: f64 = masses.iter().sum();
    masses.iter_mut().for_each(|mass| *mass /= total);
    (first, masses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::testing::{normal, stream};

    fn ascending(n: u32) -> ExactQuantiles {
        ExactQuantiles::new((1..=n).rev().map(f64::from).collect()).unwrap()
    }

    #[test]
    fn type_seven() {
        let four = ExactQuantiles::new(vec![40.0, 10.0, 30.0, 20.0]).unwrap();
        assert_eq!([0.0, 0.25, 0.5, 0.9, 1.0].map(|q| four.quantile(q)), [10.0, 17.5, 25.0, 37.0, 40.0]);
        assert_eq!((four.quantile(-1.0), four.quantile(9.0)), (10.0, 40.0));
        assert_eq!(ExactQuantiles::new(vec![7.0]).unwrap().quantile(0.3), 7.0);
        let wide = ExactQuantiles::new(vec![-f64::MAX, f64::MAX]).unwrap();
        assert_eq!([0.0, 0.5, 1.0].map(|q| wide.quantile(q)), [-f64::MAX, 0.0, f64::MAX]);
    }

    #[test]
    fn intervals_for_the_median_by_hand() {
        // n = 10: P(B < 2) = 11 / 1024 = 0.011, P(B < 3) = 56 / 1024 = 0.055, so ranks 2 and 9.
        // n = 20: P(B < 6) = 21,700 / 2^20 = 0.021, P(B < 7) = 60,460 / 2^20 = 0.058: 6 and 15.
        for (n, low, high) in [(10, 2.0, 9.0), (20, 6.0, 15.0)] {
            let interval = ascending(n).interval(0.5, 0.95).unwrap();
            assert_eq!((interval.low, interval.high), (low, high), "n = {n}");
        }
    }

    #[test]
    fn too_small_a_sample_has_open_ends() {
        let five = ascending(5).interval(0.5, 0.95).unwrap();
        assert_eq!((five.low, five.high, five.estimate), (f64::NEG_INFINITY, f64::INFINITY, 3.0));
        let tail = ascending(100).interval(0.99, 0.95).unwrap();
        assert_eq!(tail.high, f64::INFINITY);
        assert!(tail.low > 90.0);
    }

    #[test]
    fn bad_input_is_named() {
        assert_eq!(ExactQuantiles::new(vec![]), Err(StatsError::Empty));
        assert!(ExactQuantiles::new(vec![1.0, f64::NAN]).is_err());
        assert_eq!(ascending(3).interval(1.0, 0.95), Err(StatsError::Quantile(1.0)));
        let error = ascending(3).interval(0.5, 95.0).unwrap_err();
        assert!(error.to_string().starts_with("confidence is 95: expected"));
    }

    #[test]
    fn the_interval_covers_at_least_as_often_as_it_says() {
        let mut rng = stream("quantile coverage");
        // The 90% quantile of the standard normal distribution (NIST/SEMATECH e-Handbook, 1.3.6.7.1).
        let truth = 1.281_551_565_5;
        let covered = (0..2000)
            .filter(|_| {
                let sample = (0..200).map(|_| normal(&mut rng)).collect();
                let interval = ExactQuantiles::new(sample).unwrap().interval(0.9, 0.95).unwrap();
                interval.low <= truth && truth <= interval.high
            })
            .count() as f64;
        // Ranks are integers: it covers a little more than 95% (up to 97.5%).
        assert!((0.93..=0.99).contains(&(covered / 2000.0)), "{covered}");
    }

    proptest! {
        #[test]
        fn binomial_moments(n in 1usize..5_000, p in 0.001..0.999) {
            let (first, masses) = binomial(n, p);
            let mean: f64 = masses.iter().enumerate().map(|(i, m)| (first + i) as f64 * m).sum();
            let variance: f64 =
                masses.iter().enumerate().map(|(i, m)| ((first + i) as f64 - mean) * ((first + i) as f64 - mean) * m).sum();
            let n = n as f64;
            prop_assert!((mean - n * p).abs() < 1e-9 * n);
            prop_assert!((variance - n * p * (1.0 - p)).abs() < 1e-8 * n);
        }

        #[test]
        fn quantiles_increase_and_stay_inside(values in prop::collection::vec(-1e6..1e6, 1..50), a in 0.0..=1.0, b in 0.0..=1.0) {
            let sample = ExactQuantiles::new(values).unwrap();
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(sample.quantile(low) <= sample.quantile(high) + 1e-9);
            prop_assert!(sample.sorted()[0] <= sample.quantile(low));
        }
    }
}
