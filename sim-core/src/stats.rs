//! Statistics of a run and of replications.
//!
//! While a run goes on (constant time a record, bounded memory):
//! - [`Histogram`]: the distribution of latencies and other integers;
//! - [`TimeWeighted`]: the time average of a level (queue length, busy servers);
//! - [`EventSeries`], [`LevelSeries`]: the same over time, in windows;
//! - [`Moments`]: mean and variance; [`BatchMeans`]: a confidence interval from one long run.
//!
//! Afterwards:
//! - [`mser5`]: where the warm-up ends;
//! - [`ExactQuantiles`]: quantiles of a small sample and their intervals;
//! - [`replication_interval`], [`paired_difference`]: what the replications say;
//! - [`student_t_quantile`]: the critical values behind the intervals.
//!
//! What is counted is an integer, so that Little's law holds to the last bit: the integral of the
//! number in system is the sum of the times in system.
//!
//! ```
//! use sim_core::stats::{Histogram, TimeWeighted, replication_interval};
//! use sim_core::time::{SimDuration, SimTime};
//!
//! // Two requests: in system from 0 to 30 ns, and from 10 to 50 ns.
//! let at = SimTime::from_nanos;
//! let mut in_system = TimeWeighted::new(at(0), 0);
//! let mut latency = Histogram::new();
//! in_system.add(at(0), 1);
//! in_system.add(at(10), 1);
//! in_system.add(at(30), -1);
//! latency.record(at(30).since(at(0)).as_nanos());
//! in_system.add(at(50), -1);
//! latency.record(at(50).since(at(10)).as_nanos());
//!
//! assert_eq!(in_system.integral(at(50)), latency.sum());
//! assert_eq!(in_system.mean(at(50)), 1.4);
//! assert_eq!(latency.quantile(0.5), Some(30));
//!
//! // Five replications of one metric.
//! let interval = replication_interval(&[10.1, 9.8, 10.4, 9.9, 10.3], 0.95)?;
//! assert_eq!(interval.n, 5);
//! assert!(interval.low() < 10.1 && 10.1 < interval.high());
//! # Ok::<(), sim_core::stats::StatsError>(())
//! ```

use thiserror::Error;

use crate::time::SimDuration;

mod batch_means;
mod histogram;
mod interval;
mod moments;
mod mser;
mod quantiles;
mod series;
mod student;
mod time_weighted;

pub use batch_means::BatchMeans;
pub use histogram::{CdfPoint, Histogram};
pub use interval::{Interval, paired_difference, replication_interval};
pub use moments::Moments;
pub use mser::{WarmUp, mser5};
pub use quantiles::{ExactQuantiles, QuantileInterval};
pub use series::{EventSeries, EventWindow, LevelSeries, LevelWindow};
pub use student::student_t_quantile;
pub use time_weighted::TimeWeighted;

/// Input that a statistic cannot be computed from.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum StatsError {
    /// There are no values.
    #[error("no values: expected at least one")]
    Empty,
    /// A value is infinite or not a number.
    #[error("value {position} is {value}: expected a finite number")]
    NotFinite {
        /// Where it stands, counted from 0.
        position: usize,
        /// The value.
        value: f64,
    },
    /// A mean of values that were not all finite, or too large to add.
    #[error("the mean is {0}: expected finite observations")]
    MeanNotFinite(f64),
    /// A confidence level out of range.
    #[error("confidence is {0}: expected a number above 0 and below 1, such as 0.95")]
    Confidence(f64),
    /// A quantile out of range.
    #[error("quantile is {0}: expected a number above 0 and below 1, such as 0.99")]
    Quantile(f64),
    /// Paired samples of different sizes.
    #[error("paired samples have {left} and {right} values: expected as many on both sides")]
    Unpaired {
        /// Size of the first sample.
        left: usize,
        /// Size of the second sample.
        right: usize,
    },
    /// A window of no width.
    #[error("window width is {0}: expected more than zero")]
    WindowWidth(SimDuration),
    /// Too few windows to merge.
    #[error("max_windows is {0}: expected at least 2")]
    MaxWindows(usize),
}

/// Rejects infinities and NaN.
fn all_finite(values: &[f64]) -> Result<(), StatsError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(position) => Err(StatsError::NotFinite { position, value: values[position] }),
        None => Ok(()),
    }
}

/// Rejects what is not a confidence level.
fn checked_confidence(confidence: f64) -> Result<f64, StatsError> {
    if confidence > 0.0 && confidence < 1.0 {
        Ok(confidence)
    } else {
        Err(StatsError::Confidence(confidence))
    }
}

#[cfg(test)]
mod testing {
    use crate::random::{Purpose, Stream, Streams, unit};

    pub fn stream(name: &str) -> Stream {
        Streams::new(20_250_101, 0).stream(name, Purpose::Service)
    }

    /// A standard normal draw (Box and Muller 1958, one of the pair).
    pub fn normal(rng: &mut Stream) -> f64 {
        let radius = (-2.0 * libm::log(unit(rng))).sqrt();
        radius * libm::cos(2.0 * std::f64::consts::PI * unit(rng))
    }

    /// A stationary first-order autoregression with mean 0 and innovations of variance 1.
    pub fn ar1(rng: &mut Stream, phi: f64, n: usize) -> Vec<f64> {
        let mut x = normal(rng) / (1.0 - phi * phi).sqrt();
        (0..n)
            .map(|_| {
                x = phi * x + normal(rng);
                x
            })
            .collect()
    }
}
