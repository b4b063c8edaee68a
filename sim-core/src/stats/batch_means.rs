//! A confidence interval from one long run.

use super::{Interval, Moments, StatsError};

/// Batches kept; when there are so many, neighbours merge. 20 to 30 suffice, more gain little
/// (Schmeiser, Batch size effects in the analysis of simulation output, Oper. Res. 30(3), 1982).
const MAX_BATCHES: usize = 40;

/// Non-overlapping batch means: a confidence interval for the mean of one long, autocorrelated,
/// stationary run, in constant memory.
///
/// Batches start with one observation. Each time there are 40, neighbours merge into 20 of twice the
/// size, so that a run ends with 20 to 39 full batches and a part of one. The interval is valid once
/// batches are long against the autocorrelation: see [`BatchMeans::lag1_autocorrelation`].
#[derive(Debug, Clone, PartialEq)]
pub struct BatchMeans {
    /// Sums of full batches.
    sums: Vec<f64>,
    batch_size: u64,
    /// The sum of the batch being filled, and how much is in it.
    open: f64,
    filled: u64,
}

impl Default for BatchMeans {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchMeans {
    /// No observations yet.
    pub fn new() -> Self {
        Self { sums: Vec::with_capacity(MAX_BATCHES), batch_size: 1, open: 0.0, filled: 0 }
    }

    /// Takes in the next observation of the run.
    pub fn push(&mut self, observation: f64) {
        self.open += observation;
        self.filled += 1;
        if self.filled < self.batch_size {
            return;
        }
        self.sums.push(self.open);
        (self.open, self.filled) = (0.0, 0);
        if self.sums.len() == MAX_BATCHES {
            for pair in 0..MAX_BATCHES / 2 {
                self.sums[pair] = self.sums[2 * pair] + self.sums[2 * pair + 1];
            }
            self.sums.truncate(MAX_BATCHES / 2);
            self.batch_size *= 2;
        }
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.sums.len() as u64 * self.batch_size + self.filled
    }

    /// Observations in a batch, a power of two.
    pub fn batch_size(&self) -> u64 {
        self.batch_size
    }

    /// The means of the full batches, in order.
    pub fn means(&self) -> impl Iterator<Item = f64> + '_ {
        self.sums.iter().map(|sum| sum / self.batch_size as f64)
    }

    /// Student's interval over the means of the full batches; of infinite width for a single one.
    ///
    /// # Errors
    /// A confidence outside of (0, 1), no observations, or one that was not finite.
    pub fn interval(&self, confidence: f64) -> Result<Interval, StatsError> {
        self.means().collect::<Moments>().interval(confidence)
    }

    /// The correlation of neighbouring batch means, in about -1 to 1. Within 2 / sqrt(batches) of 0
    /// it does not speak against the interval; above, batches are too short and the interval too
    /// narrow. `None` for fewer than two batches or when all means are the same.
    pub fn lag1_autocorrelation(&self) -> Option<f64> {
        let moments: Moments = self.means().collect();
        let mean = moments.mean()?;
        let squares = moments.squares();
        let products: f64 =
            self.means().zip(self.means().skip(1)).map(|(a, b)| (a - mean) * (b - mean)).sum();
        (squares > 0.0).then(|| products / squares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{ar1, stream};

    fn of(run: &[f64]) -> BatchMeans {
        let mut batches = BatchMeans::new();
        run.iter().for_each(|x| batches.push(*x));
        batches
    }

    #[test]
    fn batches_are_the_means_of_their_observations() {
        for n in [1usize, 39, 40, 41, 80, 1000, 4096] {
            let run: Vec<f64> = (0..n).map(|i| (i * i % 97) as f64).collect();
            let batches = of(&run);
            let size = batches.batch_size() as usize;
            let expected: Vec<f64> =
                run.chunks_exact(size).map(|batch| batch.iter().sum::<f64>() / size as f64).collect();
            assert_eq!(batches.means().collect::<Vec<_>>(), expected, "n = {n}");
            assert_eq!(batches.count(), n as u64);
            assert!(expected.len() < 40 && (n < 40 || expected.len() >= 20));
        }
    }

    #[test]
    fn it_covers_an_autocorrelated_mean_where_the_naive_interval_does_not() {
        let mut rng = stream("batch means");
        let (mut covered, mut naive) = (0, 0);
        for _ in 0..2000 {
            let run = ar1(&mut rng, 0.8, 3000);
            covered += u32::from(of(&run).interval(0.95).unwrap().contains(0.0));
            naive +=
                u32::from(run.iter().copied().collect::<Moments>().interval(0.95).unwrap().contains(0.0));
        }
        assert!((1840..=1960).contains(&covered), "batch means covered {covered} of 2000");
        assert!(naive < 1400, "observations as if independent covered {naive} of 2000");
    }

    #[test]
    fn the_autocorrelation_tells_short_batches() {
        let mut rng = stream("lag 1");
        let slow = of(&ar1(&mut rng, 0.99, 200)).lag1_autocorrelation().unwrap();
        let quick = of(&ar1(&mut rng, 0.5, 100_000)).lag1_autocorrelation().unwrap();
        let bound = 2.0 / 20f64.sqrt();
        assert!(slow > bound && quick.abs() < bound, "{slow} {quick}");
    }

    #[test]
    fn too_little_to_tell() {
        assert_eq!(BatchMeans::new().interval(0.95), Err(StatsError::Empty));
        assert_eq!(of(&[2.0]).interval(0.95).unwrap().half_width, f64::INFINITY);
        assert_eq!(of(&[2.0, 2.0]).lag1_autocorrelation(), None);
        assert!(of(&[f64::NAN]).interval(0.95).is_err());
    }
}
