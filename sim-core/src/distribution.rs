//! Probability distributions that give the same bits everywhere.
//!
//! Every law is sampled by inversion: one uniform number in, one value out, whatever the law. So a
//! stream stays aligned when a law is swapped for another (common random numbers), and antithetic
//! variates are `quantile(u)` and `quantile(1.0 - u)`. All transcendental functions come from the
//! pinned `libm` crate; the platform's own differ in the last bit.
//!
//! Values have no unit of their own. Where one is needed, [`Dist::sample_duration`] reads seconds.
//!
//! ```
//! use sim_core::distribution::{Dist, Distribution, LogNormal, Mixture, Exponential};
//! use sim_core::random::{Purpose, Streams};
//!
//! // Response times whose median is 20 ms and whose 99th percentile is 180 ms.
//! let hit: Dist = LogNormal::from_p50_p99(0.020, 0.180)?.into();
//! assert!((hit.quantile(0.99) - 0.180).abs() < 1e-12);
//!
//! // One call in ten misses and takes 0.5 s on average.
//! let call: Dist = Mixture::new(vec![(0.9, hit.clone()), (0.1, Exponential::with_mean(0.5)?.into())])?.into();
//! assert!((call.mean() - (0.9 * hit.mean() + 0.05)).abs() < 1e-12);
//!
//! let mut rng = Streams::new(1, 0).stream("components.db", Purpose::Service);
//! let seconds: f64 = call.sample(&mut rng);
//! assert!(seconds > 0.0);
//!
//! let error = Exponential::with_mean(-1.0).unwrap_err();
//! assert_eq!(error.to_string(), "exponential: mean is -1; accepted: finite and above 0");
//! # Ok::<(), sim_core::distribution::DistributionError>(())
//! ```

use std::borrow::Cow;

use rand::Rng;
pub use rand::distr::Distribution;

use crate::random::unit;
use crate::time::SimDuration;

mod clipped;
mod elementary;
mod empirical;
mod gamma;
mod mixture;
mod normal;
mod zipf;

pub use clipped::Clipped;
pub use elementary::{Constant, Exponential, Pareto, Uniform, Weibull};
pub use empirical::Empirical;
pub use gamma::Gamma;
pub use mixture::{HyperExponential, Mixture};
pub use normal::{LogNormal, Normal};
pub use zipf::Zipf;

/// Why a distribution cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DistributionError {
    /// A parameter is outside its range.
    #[error("{law}: {parameter} is {value}; accepted: {accepted}")]
    Parameter {
        /// The law that was asked for.
        law: &'static str,
        /// The parameter's name.
        parameter: &'static str,
        /// What was given.
        value: f64,
        /// What would do.
        accepted: Cow<'static, str>,
    },
    /// An entry of a list is outside its range.
    #[error("{law}: {parameter} number {position} is {value}; accepted: {accepted}")]
    Entry {
        /// The law that was asked for.
        law: &'static str,
        /// The parameter's name.
        parameter: &'static str,
        /// Which entry, counted from 1.
        position: usize,
        /// What was given.
        value: f64,
        /// What would do.
        accepted: Cow<'static, str>,
    },
    /// A list is too short.
    #[error("{law}: {parameter} has {given} entries; accepted: at least {needed}")]
    TooFew {
        /// The law that was asked for.
        law: &'static str,
        /// The list's name.
        parameter: &'static str,
        /// How many entries were given.
        given: usize,
        /// How many are needed.
        needed: usize,
    },
}

/// `value` when `holds`, else an error that names it.
fn check(
    law: &'static str,
    parameter: &'static str,
    value: f64,
    holds: bool,
    accepted: impl Into<Cow<'static, str>>,
) -> Result<f64, DistributionError> {
    if holds {
        Ok(value)
    } else {
        Err(DistributionError::Parameter { law, parameter, value, accepted: accepted.into() })
    }
}

fn positive(law: &'static str, parameter: &'static str, value: f64) -> Result<f64, DistributionError> {
    check(law, parameter, value, value.is_finite() && value > 0.0, "finite and above 0")
}

fn finite(law: &'static str, parameter: &'static str, value: f64) -> Result<f64, DistributionError> {
    check(law, parameter, value, value.is_finite(), "finite")
}

/// `value` when it is finite and lies in `[lo, hi]`.
fn within(
    law: &'static str,
    parameter: &'static str,
    value: f64,
    [lo, hi]: [f64; 2],
) -> Result<f64, DistributionError> {
    check(law, parameter, value, value >= lo && value <= hi, format!("from {lo} to {hi}"))
}

/// What each law knows. The public methods of the same names forward here.
trait Law {
    /// The inverse CDF at a `u` in [0, 1].
    fn quantile(&self, u: f64) -> f64;
    /// P(X <= x).
    fn cdf(&self, x: f64) -> f64;
    fn mean(&self) -> f64;
    fn variance(&self) -> f64;
    /// E[X^k; X <= x] for k = 0, 1, 2 and a finite x.
    fn partial_moments(&self, x: f64) -> [f64; 3];
    /// The draw that a `u` in (0, 1) stands for: has the law when `u` is uniform, and is finite.
    #[inline]
    fn sample_at(&self, u: f64) -> f64 {
        self.quantile(u)
    }
}

/// Any of the laws. Cheap to clone: tables are shared.
#[derive(Debug, Clone, PartialEq)]
pub enum Dist {
    /// Always the same value.
    Constant(Constant),
    /// Any value of an interval alike.
    Uniform(Uniform),
    /// Memoryless.
    Exponential(Exponential),
    /// Normal, truncated to an interval.
    Normal(Normal),
    /// The logarithm is normal.
    LogNormal(LogNormal),
    /// Gamma, and with it Erlang and chi-square.
    Gamma(Gamma),
    /// Weibull: times to failure.
    Weibull(Weibull),
    /// Pareto: heavy tails.
    Pareto(Pareto),
    /// A random choice among exponentials.
    HyperExponential(HyperExponential),
    /// Ranks of popularity, from 1.
    Zipf(Zipf),
    /// What was measured.
    Empirical(Empirical),
    /// A random choice among laws.
    Mixture(Mixture),
    /// Another law, its values clamped to an interval.
    Clipped(Clipped),
}

/// Runs `$body` with `$law` bound to the law inside.
macro_rules! dispatch {
    ($dist:expr, $law:ident => $body:expr) => {
        match $dist {
            Dist::Constant($law) => $body,
            Dist::Uniform($law) => $body,
            Dist::Exponential($law) => $body,
            Dist::Normal($law) => $body,
            Dist::LogNormal($law) => $body,
            Dist::Gamma($law) => $body,
            Dist::Weibull($law) => $body,
            Dist::Pareto($law) => $body,
            Dist::HyperExponential($law) => $body,
            Dist::Zipf($law) => $body,
            Dist::Empirical($law) => $body,
            Dist::Mixture($law) => $body,
            Dist::Clipped($law) => $body,
        }
    };
}

impl Law for Dist {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        dispatch!(self, law => Law::quantile(law, u))
    }

    fn cdf(&self, x: f64) -> f64 {
        dispatch!(self, law => Law::cdf(law, x))
    }

    fn mean(&self) -> f64 {
        dispatch!(self, law => Law::mean(law))
    }

    fn variance(&self) -> f64 {
        dispatch!(self, law => Law::variance(law))
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        dispatch!(self, law => Law::partial_moments(law, x))
    }

    #[inline]
    fn sample_at(&self, u: f64) -> f64 {
        dispatch!(self, law => Law::sample_at(law, u))
    }
}

/// The public face of a law.
macro_rules! public {
    ($($law:ident)*) => {$(
        impl $law {
            /// The inverse CDF: the least value whose CDF reaches `u`, up to rounding. Increases with
            /// `u`. A `u` outside [0, 1] counts as the nearer end; at 1 an unbounded law gives infinity.
            #[inline]
            pub fn quantile(&self, u: f64) -> f64 {
                if u.is_nan() { u } else { Law::quantile(self, u.clamp(0.0, 1.0)) }
            }

            /// The cumulative distribution function: the probability of a value of at most `x`.
            pub fn cdf(&self, x: f64) -> f64 {
                if x.is_nan() { x } else { Law::cdf(self, x) }
            }

            /// The mean; infinite where it does not exist.
            pub fn mean(&self) -> f64 {
                Law::mean(self)
            }

            /// The variance; infinite where it does not exist.
            pub fn variance(&self) -> f64 {
                Law::variance(self)
            }
        }

        /// By inversion: each sample takes exactly one number from the generator.
        impl Distribution<f64> for $law {
            #[inline]
            fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
                Law::sample_at(self, unit(rng))
            }
        }
    )*};
}

macro_rules! convert {
    ($($law:ident)*) => {$(
        impl From<$law> for Dist {
            fn from(law: $law) -> Self {
                Self::$law(law)
            }
        }
    )*};
}

public! { Dist Constant Uniform Exponential Normal LogNormal Gamma Weibull Pareto HyperExponential Zipf
Empirical Mixture Clipped }
convert! { Constant Uniform Exponential Normal LogNormal Gamma Weibull Pareto HyperExponential Zipf
Empirical Mixture Clipped }

impl Dist {
    /// This law with its values clamped to [`lo`, `hi`]: what lies outside piles up at the ends.
    /// `hi` may be infinite.
    ///
    /// # Errors
    /// When `lo` is not finite, or `hi` is not above it.
    pub fn clipped(self, lo: f64, hi: f64) -> Result<Self, DistributionError> {
        Clipped::new(self, lo, hi).map(Self::Clipped)
    }

    /// A draw, read as seconds: rounded to the nanosecond, and a negative one is no time at all.
    #[inline]
    pub fn sample_duration<R: Rng + ?Sized>(&self, rng: &mut R) -> SimDuration {
        SimDuration::saturating_from_secs_f64(self.sample(rng))
    }
}

#[cfg(test)]
mod tests;
