//! Whether a level grows over time.

use sim_core::stats::student_t_quantile;

/// Batches of a regression: means of batches are less alike than neighbouring windows (assumption).
const BATCHES: usize = 10;

/// How many standard errors a slope must be above zero.
const CRITICAL: f64 = 3.0;

/// How much of its mean a level must grow by over the time looked at, so that what is certain but
/// small is not called growth (assumption).
const NOTABLE: f64 = 0.25;

/// A straight line through levels over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trend {
    /// Growth by unit of time.
    pub slope: f64,
    /// Standard error of the slope.
    pub error: f64,
    /// Mean level.
    pub mean: f64,
    /// From the first time to the last.
    pub span: f64,
    /// Degrees of freedom of the error.
    pub freedom: f64,
}

impl Trend {
    /// Whether the slope is above zero beyond doubt, and matters.
    pub(crate) fn grows(&self) -> bool {
        self.grows_beyond(CRITICAL)
    }

    /// The same with one chance in a thousand of an error, for want of other evidence.
    pub(crate) fn surely_grows(&self) -> bool {
        self.grows_beyond(student_t_quantile(0.999, self.freedom).max(CRITICAL))
    }

    fn grows_beyond(&self, critical: f64) -> bool {
        self.slope > 0.0 && self.slope > critical * self.error && self.slope * self.span > NOTABLE * self.mean
    }
}

/// Least squares through (time, level), over means of [`BATCHES`] batches; `None` for fewer points
/// than two a batch.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<Trend> {
    let size = points.len() / BATCHES;
    if size < 2 {
        return None;
    }
    // What does not fill a batch is left out at the start.
    let kept = &points[points.len() - size * BATCHES..];
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / size as f64;
    let batches: Vec<(f64, f64)> = kept
        .chunks_exact(size)
        .map(|batch| (mean(&mut batch.iter().map(|(t, _)| *t)), mean(&mut batch.iter().map(|(_, y)| *y))))
        .collect();
    let n = BATCHES as f64;
    let mean_t = batches.iter().map(|(t, _)| t).sum::<f64>() / n;
    let mean_y = batches.iter().map(|(_, y)| y).sum::<f64>() / n;
    let square_t: f64 = batches.iter().map(|(t, _)| (t - mean_t) * (t - mean_t)).sum();
    let product: f64 = batches.iter().map(|(t, y)| (t - mean_t) * (y - mean_y)).sum();
    if square_t <= 0.0 {
        return None;
    }
    let slope = product / square_t;
    let residual = |(t, y): &(f64, f64)| y - mean_y - slope * (t - mean_t);
    let squares: f64 = batches.iter().map(|batch| residual(batch) * residual(batch)).sum();
    let error = (squares / (n - 2.0) / square_t).sqrt();
    let span = kept[kept.len() - 1].0 - kept[0].0;
    Some(Trend { slope, error, mean: mean_y, span, freedom: n - 2.0 })
}

/// What the trends of several replications say together: the mean slope, with the standard error
/// between replications where there are three or more. That is right even where windows resemble
/// their neighbours for long. With fewer, the largest of their own errors stands for it.
pub(crate) fn pooled(trends: &[Trend]) -> Option<Trend> {
    let n = trends.len() as f64;
    let mean = |get: fn(&Trend) -> f64| trends.iter().map(get).sum::<f64>() / n;
    let slope = mean(|trend| trend.slope);
    let (error, freedom) = match trends {
        [] => return None,
        [one, ..] if trends.len() < 3 => {
            (trends.iter().map(|trend| trend.error).fold(0.0, f64::max), one.freedom)
        }
        _ => {
            let squares: f64 = trends.iter().map(|trend| (trend.slope - slope) * (trend.slope - slope)).sum();
            ((squares / (n - 1.0) / n).sqrt(), n - 1.0)
        }
    };
    Some(Trend { slope, error, mean: mean(|trend| trend.mean), span: mean(|trend| trend.span), freedom })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_hand() {
        let points: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), 5.0 + 2.0 * f64::from(i))).collect();
        let trend = slope(&points).unwrap();
        assert!((trend.slope - 2.0).abs() < 1e-12 && trend.error < 1e-9, "{trend:?}");
        assert!((trend.mean - 44.0).abs() < 1e-12 && trend.span == 39.0);
        assert!(trend.grows());
        assert_eq!(slope(&points[..19]), None);
    }

    #[test]
    fn falling_flat_and_noisy_levels_do_not_grow() {
        let falling: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), 100.0 - f64::from(i))).collect();
        let flat: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), 7.0)).collect();
        let waves: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), f64::from(i * 17 % 23))).collect();
        // Certain, but 4% of the level.
        let slight: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), 1000.0 + f64::from(i))).collect();
        for points in [falling, flat, waves, slight] {
            assert!(!slope(&points).unwrap().grows());
        }
    }

    #[test]
    fn replications_speak_for_the_error() {
        let trend = |slope| Trend { slope, error: 0.001, mean: 1.0, span: 10.0, freedom: 8.0 };
        // Each for itself certain, together they contradict.
        let torn = pooled(&[trend(1.0), trend(-1.0), trend(0.5)]).unwrap();
        assert!(!torn.grows() && torn.error > 0.5, "{torn:?}");
        let agreed = pooled(&[trend(1.0), trend(1.4), trend(0.6)]).unwrap();
        // t = 4.3 with 2 degrees of freedom: beyond 3, but not beyond 22.3.
        assert!(agreed.grows() && !agreed.surely_grows(), "{agreed:?}");
        assert!(pooled(&[trend(1.0), trend(1.01), trend(0.99)]).unwrap().surely_grows());
        assert!(pooled(&[trend(1.0)]).unwrap().grows());
        assert_eq!(pooled(&[]), None);
    }
}
