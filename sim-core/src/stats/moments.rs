//! Mean and variance in one pass.

use super::interval::{Interval, t_interval};
use super::{StatsError, checked_confidence};

/// Count, mean and variance of numbers, in constant memory.
///
/// Updates after Welford (Technometrics 4(3), 1962), merges after Chan, Golub and LeVeque (Stanford
/// report STAN-CS-79-773, 1979): no cancellation where the mean is large against the spread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    count: u64,
    mean: f64,
    /// Sum of squared deviations from the mean.
    squares: f64,
}

impl Moments {
    /// No numbers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a number.
    #[inline]
    pub fn push(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    /// Takes in what `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (ours, theirs) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        self.count += other.count;
        let all = self.count as f64;
        self.mean += apart * (theirs / all);
        self.squares += other.squares + apart * apart * (ours * theirs / all);
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; `None` when there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Their unbiased variance (divided by n - 1); `None` for fewer than two.
    pub fn variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// The square root of the variance; `None` for fewer than two.
    pub fn std_dev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The standard error of the mean of independent numbers; `None` for fewer than two.
    pub fn standard_error(&self) -> Option<f64> {
        self.variance().map(|variance| (variance / self.count as f64).sqrt())
    }

    /// The sum of squared deviations from the mean.
    pub(super) fn squares(&self) -> f64 {
        self.squares
    }

    /// Student's confidence interval for the mean of independent, about normal numbers; of infinite
    /// width for a single one.
    ///
    /// # Errors
    /// A confidence outside of (0, 1), no numbers, or a number among them that is not finite.
    pub fn interval(&self, confidence: f64) -> Result<Interval, StatsError> {
        let confidence = checked_confidence(confidence)?;
        let mean = self.mean().ok_or(StatsError::Empty)?;
        if !mean.is_finite() {
            return Err(StatsError::MeanNotFinite(mean));
        }
        Ok(t_interval(self, confidence))
    }
}

impl Extend<f64> for Moments {
    fn extend<T: IntoIterator<Item = f64>>(&mut self, values: T) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut moments = Self::new();
        moments.extend(values);
        moments
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn closed_forms() {
        let moments: Moments = (1..=9).map(f64::from).collect();
        assert_eq!((moments.count(), moments.mean(), moments.variance()), (9, Some(5.0), Some(7.5)));
        assert_eq!(moments.standard_error(), Some((7.5f64 / 9.0).sqrt()));
        let none = Moments::new();
        assert_eq!((none.mean(), none.variance(), none.interval(0.95)), (None, None, Err(StatsError::Empty)));
        assert_eq!(Moments::from_iter([3.0]).std_dev(), None);
    }

    #[test]
    fn a_large_mean_does_not_drown_the_variance() {
        let moments: Moments = (0..1000).map(|i| 1e9 + f64::from(i % 2)).collect();
        assert!((moments.variance().unwrap() - 0.25 * 1000.0 / 999.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn merging_is_pushing_everything(
            left in prop::collection::vec(-1e3..1e3, 0..50),
            right in prop::collection::vec(-1e3..1e3, 0..50),
        ) {
            let mut merged: Moments = left.iter().copied().collect();
            merged.merge(&right.iter().copied().collect());
            let all: Vec<f64> = left.iter().chain(&right).copied().collect();
            let n = all.len() as f64;
            prop_assert_eq!(merged.count(), all.len() as u64);
            if n > 0.0 {
                let mean = all.iter().sum::<f64>() / n;
                let squares: f64 = all.iter().map(|x| (x - mean) * (x - mean)).sum();
                prop_assert!((merged.mean().unwrap() - mean).abs() < 1e-9);
                prop_assert!((merged.squares() - squares).abs() <= 1e-9 * squares.max(1.0));
            }
        }
    }
}
