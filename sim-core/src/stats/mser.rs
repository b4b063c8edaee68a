//! Where the warm-up of a run ends.

use super::Moments;

/// Observations in a batch.
const BATCH: usize = 5;
/// The fewest batches that a truncation is sought in (assumption: below, the halves are noise).
const MIN_BATCHES: usize = 10;
/// Keeping so few batches is no candidate: the statistic of a handful of alike values is small by
/// chance (five: assumption).
const LAST_BATCHES: usize = 5;

/// Where a warm-up ends, by MSER-5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarmUp {
    /// How many observations at the start to drop, a multiple of 5.
    pub truncation: usize,
    /// The minimized statistic, in the squared unit of the observations: the squared standard error
    /// of the mean of what is kept, up to autocorrelation.
    pub statistic: f64,
    /// Whether the minimum is in the first half. Otherwise the run is too short to tell its warm-up
    /// from its steady state.
    pub conclusive: bool,
}

/// MSER-5: the truncation that minimizes the marginal standard error of the mean of what is kept,
/// over means of batches of five (White, An effective truncation heuristic for bias reduction in
/// simulation output, Simulation 69(6), 1997; batches: White, Cobb and Spratt, Winter Simulation
/// Conference 2000). Of equal minima it takes the earliest. For runs with a steady state only.
///
/// `None` for fewer than 50 observations, or when one is not finite.
///
/// ```
/// use sim_core::stats::mser5;
/// // 30 observations of filling up, then a steady alternation.
/// let run: Vec<f64> = (0..300).map(|i| f64::from(i.min(30)) + f64::from(i % 2)).collect();
/// let warm_up = mser5(&run).unwrap();
/// assert_eq!((warm_up.truncation, warm_up.conclusive), (30, true));
/// ```
pub fn mser5(observations: &[f64]) -> Option<WarmUp> {
    let batches: Vec<f64> =
        observations.chunks_exact(BATCH).map(|batch| batch.iter().sum::<f64>() / BATCH as f64).collect();
    if batches.len() < MIN_BATCHES || observations.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut kept = Moments::new();
    let (mut dropped, mut statistic) = (0, f64::INFINITY);
    for (first, mean) in batches.iter().enumerate().rev() {
        kept.push(*mean);
        let n = kept.count() as f64;
        let candidate = kept.squares() / (n * n);
        if kept.count() as usize > LAST_BATCHES && candidate <= statistic {
            (dropped, statistic) = (first, candidate);
        }
    }
    Some(WarmUp { truncation: dropped * BATCH, statistic, conclusive: 2 * dropped <= batches.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{ar1, stream};

    /// The definition, term by term.
    fn naive(observations: &[f64]) -> (usize, f64) {
        let batches: Vec<f64> = observations.chunks_exact(5).map(|b| b.iter().sum::<f64>() / 5.0).collect();
        (0..batches.len() - 5)
            .map(|d| {
                let kept = &batches[d..];
                let n = kept.len() as f64;
                let mean = kept.iter().sum::<f64>() / n;
                (5 * d, kept.iter().map(|y| (y - mean) * (y - mean)).sum::<f64>() / (n * n))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap()
    }

    #[test]
    fn one_pass_is_the_definition() {
        let mut rng = stream("mser");
        for n in [50, 333, 1000] {
            let run: Vec<f64> = ar1(&mut rng, 0.5, n).iter().map(|x| x + 1e3).collect();
            let (truncation, statistic) = naive(&run);
            let found = mser5(&run).unwrap();
            assert_eq!(found.truncation, truncation, "{n}");
            assert!((found.statistic / statistic - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_ramp_is_cut_off() {
        let mut rng = stream("ramp");
        for _ in 0..100 {
            // Rises by 20 standard deviations over 500 observations, then holds for 4500.
            let run: Vec<f64> = ar1(&mut rng, 0.8, 5000)
                .iter()
                .enumerate()
                .map(|(i, x)| x + 30.0 * (i as f64 / 500.0).min(1.0))
                .collect();
            let found = mser5(&run).unwrap();
            assert!(found.conclusive && (400..=800).contains(&found.truncation), "{found:?}");
        }
    }

    #[test]
    fn a_decaying_bias_is_cut_off() {
        let mut rng = stream("decay");
        for _ in 0..100 {
            // A bias of 30 that halves every 70 observations: below one at 345, below 0.1 at 570.
            let run: Vec<f64> = ar1(&mut rng, 0.5, 5000)
                .iter()
                .enumerate()
                .map(|(i, x)| x + 30.0 * libm::exp2(i as f64 / -70.0))
                .collect();
            let found = mser5(&run).unwrap();
            assert!(found.conclusive && (200..=700).contains(&found.truncation), "{found:?}");
        }
    }

    #[test]
    fn stationary_noise_is_kept() {
        let mut rng = stream("stationary");
        let cut: Vec<usize> =
            (0..200).map(|_| mser5(&ar1(&mut rng, 0.0, 2000)).unwrap().truncation).collect();
        let mean = cut.iter().sum::<usize>() as f64 / 200.0;
        assert!(mean < 20.0, "cuts off {mean} of 2000 on average");
    }

    #[test]
    fn a_trend_is_inconclusive() {
        let growing: Vec<f64> = (0..1000).map(f64::from).collect();
        assert!(!mser5(&growing).unwrap().conclusive);
    }

    #[test]
    fn constants_and_short_runs() {
        let found = mser5(&[3.0; 100]).unwrap();
        assert_eq!((found.truncation, found.statistic, found.conclusive), (0, 0.0, true));
        assert_eq!(mser5(&[3.0; 49]), None);
        assert_eq!(mser5(&[f64::NAN; 100]), None);
    }
}
