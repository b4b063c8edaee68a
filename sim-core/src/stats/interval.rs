//! Confidence intervals over replications.

use super::{Moments, StatsError, all_finite, checked_confidence, student_t_quantile};

/// A symmetric confidence interval for a mean, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub mean: f64,
    /// Half the width; infinite where a single value says nothing of the spread.
    pub half_width: f64,
    /// The confidence level, in (0, 1).
    pub confidence: f64,
    /// How many values (replications, batches, pairs) stand behind it.
    pub n: usize,
}

impl Interval {
    /// The lower end.
    pub fn low(&self) -> f64 {
        self.mean - self.half_width
    }

    /// The upper end.
    pub fn high(&self) -> f64 {
        self.mean + self.half_width
    }

    /// Whether `value` is inside, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low() <= value && value <= self.high()
    }

    /// Half width over mean, for rules such as "stop at 1%"; 0 where the half width is, infinite
    /// around a mean of 0.
    pub fn relative_half_width(&self) -> f64 {
        if self.half_width == 0.0 { 0.0 } else { self.half_width / self.mean.abs() }
    }
}

/// Student's interval from moments that are not empty.
pub(super) fn t_interval(moments: &Moments, confidence: f64) -> Interval {
    let n = moments.count();
    let half_width = match moments.standard_error() {
        Some(error) => student_t_quantile(0.5 + 0.5 * confidence, (n - 1) as f64) * error,
        None => f64::INFINITY,
    };
    Interval { mean: moments.mean().unwrap_or(f64::NAN), half_width, confidence, n: n as usize }
}

/// Student's confidence interval for the mean of independent replications, each of which gives one
/// value: mean +- t(n - 1) s / sqrt(n). A single replication has an interval of infinite width.
///
/// Assumes about normal values, which means of long runs are.
///
/// # Errors
/// No values, a value that is not finite, or a confidence outside of (0, 1).
pub fn replication_interval(values: &[f64], confidence: f64) -> Result<Interval, StatsError> {
    all_finite(values)?;
    values.iter().copied().collect::<Moments>().interval(confidence)
}

/// Student's confidence interval for the mean of `left[i] - right[i]`: two variants under common
/// random numbers, replication by replication (paired t). They differ at this confidence when the
/// interval does not contain 0.
///
/// # Errors
/// Samples of different sizes, no values, a value that is not finite (its position is that of the
/// pair), or a confidence outside of (0, 1).
pub fn paired_difference(left: &[f64], right: &[f64], confidence: f64) -> Result<Interval, StatsError> {
    if left.len() != right.len() {
        return Err(StatsError::Unpaired { left: left.len(), right: right.len() });
    }
    all_finite(left)?;
    all_finite(right)?;
    let differences: Vec<f64> = left.iter().zip(right).map(|(left, right)| left - right).collect();
    checked_confidence(confidence)?;
    replication_interval(&differences, confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{normal, stream};

    #[test]
    fn by_hand() {
        // Mean 5, s^2 = 7.5, t(8 dof, 97.5%) = 2.306004.
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        let interval = replication_interval(&values, 0.95).unwrap();
        assert_eq!((interval.mean, interval.n), (5.0, 9));
        assert!((interval.half_width - 2.306_004 * (7.5f64 / 9.0).sqrt()).abs() < 1e-6);
        assert!((interval.relative_half_width() - interval.half_width / 5.0).abs() < 1e-15);
    }

    #[test]
    fn one_replication_says_nothing_of_the_spread() {
        let interval = replication_interval(&[3.0], 0.95).unwrap();
        assert_eq!((interval.mean, interval.half_width, interval.n), (3.0, f64::INFINITY, 1));
        assert_eq!(interval.relative_half_width(), f64::INFINITY);
        assert!(interval.contains(-1e300));
        assert_eq!(replication_interval(&[3.0, 3.0], 0.95).unwrap().relative_half_width(), 0.0);
    }

    #[test]
    fn bad_input_is_named() {
        assert_eq!(replication_interval(&[], 0.95), Err(StatsError::Empty));
        assert_eq!(replication_interval(&[1.0], 1.0), Err(StatsError::Confidence(1.0)));
        let error = replication_interval(&[1.0, f64::INFINITY], 0.95).unwrap_err();
        assert_eq!(error.to_string(), "value 1 is inf: expected a finite number");
        let error = paired_difference(&[1.0], &[], 0.95).unwrap_err();
        assert_eq!(error.to_string(), "paired samples have 1 and 0 values: expected as many on both sides");
    }

    #[test]
    fn the_interval_covers_as_often_as_it_says() {
        let mut rng = stream("coverage");
        let covered = (0..2000)
            .filter(|_| {
                let sample: Vec<f64> = (0..6).map(|_| 10.0 + 3.0 * normal(&mut rng)).collect();
                replication_interval(&sample, 0.95).unwrap().contains(10.0)
            })
            .count();
        // Four standard errors of a proportion of 0.95 over 2000.
        let z = (covered as f64 / 2000.0 - 0.95) / (0.95f64 * 0.05 / 2000.0).sqrt();
        assert!(z.abs() <= 4.0, "covered {covered} of 2000");
    }

    #[test]
    fn pairing_removes_the_common_luck() {
        let mut rng = stream("pairs");
        let luck: Vec<f64> = (0..20).map(|_| 100.0 * normal(&mut rng)).collect();
        let slow: Vec<f64> = luck.iter().map(|x| x + 1.0 + 0.1 * normal(&mut rng)).collect();
        let paired = paired_difference(&slow, &luck, 0.99).unwrap();
        assert!(paired.low() > 0.0 && paired.contains(1.0), "{paired:?}");
        assert!(replication_interval(&slow, 0.99).unwrap().half_width > 100.0 * paired.half_width);
    }
}
