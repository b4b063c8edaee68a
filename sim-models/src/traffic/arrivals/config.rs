//! How scenario files write arrivals.
//!
//! Serde's own internally tagged enums buffer the table and so lose the place of an error in the file.
//! Here every parameter is read where it stands, and then handed to its process.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use sim_core::time::SimDuration;

use super::diurnal::{Diurnal, Sine};
use super::mmpp::Mmpp;
use super::profile::{Piece, Profile, ProfilePoisson};
use super::renewal::{Batches, Deterministic, GammaGaps, Poisson};
use super::{ArrivalProcess, ArrivalsError};
use crate::traffic::trace::TraceFormat;
use crate::units::{Rate, Time, TimeDist};

/// When requests arrive: a process and its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "process", rename_all = "snake_case", deny_unknown_fields)]
pub enum ArrivalsConfig {
    /// Independent users: exponential gaps.
    Poisson {
        /// Mean rate.
        rate: Rate,
    },
    /// Gamma-distributed gaps: burstier than Poisson with cv above 1, smoother below.
    Gamma {
        /// Mean rate.
        rate: Rate,
        /// Coefficient of variation of the gaps, 0.001 to 10.
        cv: f64,
    },
    /// Equal gaps; the first arrival is one gap after the start.
    Deterministic {
        /// Rate.
        rate: Rate,
    },
    /// Independent users who send several requests at once: Poisson batches of equal size (the M\[X\] of queueing
    /// theory), `rate / size` of them a second.
    Batch {
        /// Mean rate of requests.
        rate: Rate,
        /// Requests of a batch.
        size: NonZeroU32,
    },
    /// Markov-modulated Poisson: the rate jumps from state to state in the order of the list and around,
    /// and stays in each for an exponential time. Starts in its stationary distribution.
    Mmpp {
        /// At least two states.
        states: Vec<MmppState>,
    },
    /// Poisson with a rate that follows a sine: `rate * (1 + (peak_to_mean - 1) * sin(2 pi (t + phase) / period))`.
    Diurnal {
        /// Rate averaged over a period.
        rate: Rate,
        /// Rate at the peak over the mean rate, 1 to 2 (at 2 the night is silent).
        peak_to_mean: f64,
        /// Length of a period.
        #[serde(default = "day")]
        period: Time,
        /// How far into a period the traffic starts: 0 at the mean and rising, a quarter at the peak.
        #[serde(default)]
        phase: Time,
    },
    /// Poisson with a rate that grows (or falls) along a straight line and then stays.
    Ramp {
        /// Rate up to `at`.
        from: Rate,
        /// Rate from `at + over` on.
        to: Rate,
        /// Time from one to the other.
        over: Time,
        /// When the ramp begins.
        #[serde(default)]
        at: Time,
    },
    /// Poisson with a rate that jumps at given times; silent before the first.
    Step {
        /// Rates and when each begins, in order of time.
        steps: Vec<RateStep>,
    },
    /// Poisson at a base rate, with one spike, by `rate` or by `multiplier`.
    Spike {
        /// Rate outside the spike.
        base: Rate,
        /// When the spike begins.
        at: Time,
        /// How long it lasts.
        #[serde(rename = "for")]
        lasting: Time,
        /// Rate in the spike.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Rate>,
        /// Rate in the spike over the base rate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        multiplier: Option<f64>,
    },
    /// A fixed number of users, each of whom sends, waits for the end, thinks, and sends again.
    ClosedLoop {
        /// How many users.
        users: NonZeroU32,
        /// How long a user thinks between the end of one request and the next.
        think: TimeDist,
    },
    /// Recorded arrivals with their lengths.
    Trace {
        /// The file, relative to the scenario file; `.gz` is unpacked.
        path: String,
        /// How the file is written.
        #[serde(default)]
        format: TraceFormat,
        /// Load relative to the recorded one.
        #[serde(default = "one")]
        scale: f64,
    },
}

/// A state of [`ArrivalsConfig::Mmpp`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MmppState {
    /// Rate in this state.
    pub rate: Rate,
    /// Mean time in it.
    pub mean: Time,
}

/// A step of [`ArrivalsConfig::Step`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateStep {
    /// When the rate begins.
    pub at: Time,
    /// The rate until the next step.
    pub rate: Rate,
}

/// What the gamma distribution takes.
pub(super) const CV: &str = "a number from 0.001 to 10";

fn day() -> Time {
    Time::new(SimDuration::from_secs(86_400))
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Process {
    Poisson,
    Gamma,
    Deterministic,
    Batch,
    Mmpp,
    Diurnal,
    Ramp,
    Step,
    Spike,
    ClosedLoop,
    Trace,
}

/// Every parameter of every process, and what is left of them when a process has taken its own.
macro_rules! parameters {
    ($($field:ident: $type:ty),+ $(,)?) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            process: Process,
            $($field: Option<$type>,)+
        }

        impl Raw {
            fn left(&self) -> Option<&'static str> {
                $(if self.$field.is_some() {
                    return Some(stringify!($field).trim_start_matches("r#"));
                })+
                None
            }
        }
    };
}

parameters! {
    rate: Rate,
    cv: f64,
    size: NonZeroU32,
    states: Vec<MmppState>,
    peak_to_mean: f64,
    period: Time,
    phase: Time,
    from: Rate,
    to: Rate,
    over: Time,
    at: Time,
    steps: Vec<RateStep>,
    base: Rate,
    r#for: Time,
    multiplier: f64,
    users: NonZeroU32,
    think: TimeDist,
    path: String,
    format: TraceFormat,
    scale: f64,
}

impl Process {
    /// What the process takes, for messages.
    fn accepts(self) -> &'static str {
        match self {
            Self::Poisson => "poisson arrivals take `rate`",
            Self::Gamma => "gamma arrivals take `rate` and `cv`",
            Self::Deterministic => "deterministic arrivals take `rate`",
            Self::Batch => "batch arrivals take `rate` and `size`",
            Self::Mmpp => "mmpp arrivals take `states`",
            Self::Diurnal => "diurnal arrivals take `rate` and `peak_to_mean`, perhaps `period` and `phase`",
            Self::Ramp => "ramp arrivals take `from`, `to` and `over`, perhaps `at`",
            Self::Step => "step arrivals take `steps`",
            Self::Spike => "spike arrivals take `base`, `at`, `for` and `rate` or `multiplier`",
            Self::ClosedLoop => "closed_loop arrivals take `users` and `think`",
            Self::Trace => "trace arrivals take `path`, perhaps `format` and `scale`",
        }
    }
}

impl<'de> Deserialize<'de> for ArrivalsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut raw = Raw::deserialize(deserializer)?;
        let process = raw.process;
        let config = take(&mut raw)
            .map_err(|missing| D::Error::custom(format!("missing `{missing}`: {}", process.accepts())))?;
        if let Some(left) = raw.left() {
            return Err(D::Error::custom(format!("`{left}` is out of place: {}", process.accepts())));
        }
        config.check().map_err(D::Error::custom)?;
        Ok(config)
    }
}

/// The parameters of the process, or the name of one that is missing.
fn take(raw: &mut Raw) -> Result<ArrivalsConfig, &'static str> {
    Ok(match raw.process {
        Process::Poisson => ArrivalsConfig::Poisson { rate: raw.rate.take().ok_or("rate")? },
        Process::Gamma => {
            ArrivalsConfig::Gamma { rate: raw.rate.take().ok_or("rate")?, cv: raw.cv.take().ok_or("cv")? }
        }
        Process::Deterministic => ArrivalsConfig::Deterministic { rate: raw.rate.take().ok_or("rate")? },
        Process::Batch => ArrivalsConfig::Batch {
            rate: raw.rate.take().ok_or("rate")?,
            size: raw.size.take().ok_or("size")?,
        },
        Process::Mmpp => ArrivalsConfig::Mmpp { states: raw.states.take().ok_or("states")? },
        Process::Diurnal => ArrivalsConfig::Diurnal {
            rate: raw.rate.take().ok_or("rate")?,
            peak_to_mean: raw.peak_to_mean.take().ok_or("peak_to_mean")?,
            period: raw.period.take().unwrap_or_else(day),
            phase: raw.phase.take().unwrap_or_default(),
        },
        Process::Ramp => ArrivalsConfig::Ramp {
            from: raw.from.take().ok_or("from")?,
            to: raw.to.take().ok_or("to")?,
            over: raw.over.take().ok_or("over")?,
            at: raw.at.take().unwrap_or_default(),
        },
        Process::Step => ArrivalsConfig::Step { steps: raw.steps.take().ok_or("steps")? },
        Process::Spike => ArrivalsConfig::Spike {
            base: raw.base.take().ok_or("base")?,
            at: raw.at.take().ok_or("at")?,
            lasting: raw.r#for.take().ok_or("for")?,
            rate: raw.rate.take(),
            multiplier: raw.multiplier.take(),
        },
        Process::ClosedLoop => ArrivalsConfig::ClosedLoop {
            users: raw.users.take().ok_or("users")?,
            think: raw.think.take().ok_or("think")?,
        },
        Process::Trace => ArrivalsConfig::Trace {
            path: raw.path.take().ok_or("path")?,
            format: raw.format.take().unwrap_or_default(),
            scale: raw.scale.take().unwrap_or_else(one),
        },
    })
}

impl ArrivalsConfig {
    /// Whether the parameters can be simulated.
    ///
    /// # Errors
    /// [`ArrivalsError`] names the parameter, its value and what is accepted.
    pub fn check(&self) -> Result<(), ArrivalsError> {
        fn error(parameter: &'static str, value: impl ToString, expected: &'static str) -> ArrivalsError {
            ArrivalsError::new(parameter, value, expected)
        }
        match self {
            Self::Gamma { cv, .. } if !(0.001..=10.0).contains(cv) => Err(error("cv", cv, CV)),
            Self::Mmpp { states } => {
                if states.len() < 2 {
                    return Err(error("states", format!("{} states", states.len()), "at least two states"));
                }
                if states.iter().any(|state| state.mean == Time::ZERO) {
                    return Err(error("mean", "0s", "a time above 0 in every state"));
                }
                let seconds: f64 = states.iter().map(|state| state.mean.as_secs_f64()).sum();
                let rate = mmpp_mean_rate(states);
                // Each jump costs a draw: a run must not drown in them.
                if rate > 0.0 && states.len() as f64 / seconds > 1e6 * rate {
                    let expected = "times long enough for at most a million jumps an arrival";
                    return Err(error("mean", format!("{seconds} s a cycle"), expected));
                }
                Ok(())
            }
            Self::Diurnal { peak_to_mean, .. } if !(1.0..=2.0).contains(peak_to_mean) => Err(error(
                "peak_to_mean",
                peak_to_mean,
                "a number from 1 to 2 (a sine that never falls below 0)",
            )),
            Self::Diurnal { period, .. } if *period == Time::ZERO => {
                Err(error("period", period, "a time above 0, such as \"24h\""))
            }
            Self::Step { steps } if steps.is_empty() => Err(error("steps", "empty", "at least one step")),
            Self::Step { steps } => match steps.windows(2).find(|pair| pair[0].at >= pair[1].at) {
                Some(pair) => Err(error("steps.at", pair[1].at, "a time later than that of the step before")),
                None => Ok(()),
            },
            Self::Spike { rate, multiplier, .. } => match (rate, multiplier) {
                (Some(_), None) => Ok(()),
                (None, Some(m)) if *m >= 0.0 && m.is_finite() => Ok(()),
                (None, Some(m)) => Err(error("multiplier", m, "a number from 0")),
                (None, None) => Err(error("rate", "absent", "either `rate` or `multiplier`")),
                (Some(_), Some(_)) => {
                    Err(error("rate", "beside `multiplier`", "either `rate` or `multiplier`"))
                }
            },
            Self::Trace { scale, .. } if !(*scale > 0.0 && scale.is_finite()) => {
                Err(error("scale", scale, "a number above 0"))
            }
            _ => Ok(()),
        }
    }

    /// The same arrivals at `k` times the load: every rate times `k`, users of a closed loop times `k`
    /// (rounded, at least one), the scale of a trace times `k`; every time and shape as it is.
    ///
    /// # Errors
    /// When `k` is not a finite number above 0, or the product is too large.
    pub fn scaled(&self, k: f64) -> Result<Self, ArrivalsError> {
        if !(k > 0.0 && k.is_finite()) {
            return Err(ArrivalsError::new("multiple", k, "a finite number above 0"));
        }
        let times = |rate: &mut Rate| {
            *rate = Rate::from_per_second(rate.per_second() * k)
                .map_err(|_| ArrivalsError::new("rate", format!("{rate} times {k}"), "a finite rate"))?;
            Ok(())
        };
        let mut scaled = self.clone();
        match &mut scaled {
            Self::Poisson { rate }
            | Self::Gamma { rate, .. }
            | Self::Deterministic { rate }
            | Self::Batch { rate, .. }
            | Self::Diurnal { rate, .. } => times(rate)?,
            Self::Mmpp { states } => states.iter_mut().try_for_each(|state| times(&mut state.rate))?,
            Self::Step { steps } => steps.iter_mut().try_for_each(|step| times(&mut step.rate))?,
            Self::Ramp { from, to, .. } => {
                times(from)?;
                times(to)?;
            }
            Self::Spike { base, rate, .. } => {
                times(base)?;
                rate.iter_mut().try_for_each(times)?;
            }
            Self::ClosedLoop { users, .. } => {
                let more = (f64::from(users.get()) * k).round().max(1.0);
                // The cast saturates; a product beyond it is an error.
                *users = NonZeroU32::new(more as u32)
                    .filter(|users| f64::from(users.get()) == more)
                    .ok_or_else(|| ArrivalsError::new("users", more, "at most 4294967295"))?;
            }
            Self::Trace { scale, .. } => *scale *= k,
        }
        scaled.check()?;
        Ok(scaled)
    }

    /// The expected rate per second at `at` after the start of the traffic: for mmpp its mean over all
    /// states. `None` for `closed_loop` and `trace`, whose rates depend on replies and on a file.
    pub fn rate_at(&self, at: SimDuration) -> Option<f64> {
        match self {
            Self::Poisson { rate }
            | Self::Gamma { rate, .. }
            | Self::Deterministic { rate }
            | Self::Batch { rate, .. } => Some(rate.per_second()),
            Self::Mmpp { states } => Some(mmpp_mean_rate(states)),
            Self::Diurnal { rate, peak_to_mean, period, phase } => {
                let shape = Sine::new(*peak_to_mean - 1.0, period.get(), phase.get());
                Some(rate.per_second() * shape.at(at))
            }
            Self::Ramp { .. } | Self::Step { .. } | Self::Spike { .. } => {
                Some(Profile::new(self.pieces()).rate_at(at))
            }
            Self::ClosedLoop { .. } | Self::Trace { .. } => None,
        }
    }

    /// The arrival process, or `None` for `closed_loop` and `trace`, which the traffic source runs.
    ///
    /// # Errors
    /// What [`ArrivalsConfig::check`] finds.
    pub fn build(&self) -> Result<Option<Box<dyn ArrivalProcess>>, ArrivalsError> {
        self.check()?;
        Ok(Some(match self {
            Self::Poisson { rate } => Box::new(Poisson::new(rate.per_second())),
            Self::Gamma { rate, cv } => Box::new(GammaGaps::new(rate.per_second(), *cv)?),
            Self::Deterministic { rate } => Box::new(Deterministic::new(rate.per_second())),
            Self::Batch { rate, size } => Box::new(Batches::new(rate.per_second(), *size)),
            Self::Mmpp { states } => Box::new(Mmpp::new(states)),
            Self::Diurnal { rate, peak_to_mean, period, phase } => {
                let shape = Sine::new(*peak_to_mean - 1.0, period.get(), phase.get());
                Box::new(Diurnal::new(rate.per_second() * *peak_to_mean, *peak_to_mean, shape))
            }
            Self::Ramp { .. } | Self::Step { .. } | Self::Spike { .. } => {
                Box::new(ProfilePoisson::new(Profile::new(self.pieces())))
            }
            Self::ClosedLoop { .. } | Self::Trace { .. } => return Ok(None),
        }))
    }

    /// The rate as a piecewise linear function; empty for a process that has none.
    fn pieces(&self) -> Vec<Piece> {
        let flat = |at: Time, rate: Rate| Piece { start: at.get(), rate: rate.per_second(), slope: 0.0 };
        match self {
            Self::Ramp { from, to, over, at } => {
                let end = Time::new(at.get().saturating_add(over.get()));
                let mut pieces = vec![flat(Time::ZERO, *from)];
                if *over > Time::ZERO {
                    let slope = (to.per_second() - from.per_second()) / over.as_secs_f64();
                    pieces.push(Piece { slope, ..flat(*at, *from) });
                }
                pieces.push(flat(end, *to));
                pieces
            }
            Self::Step { steps } => steps.iter().map(|step| flat(step.at, step.rate)).collect(),
            Self::Spike { base, at, lasting, rate, multiplier } => {
                let spike = match (rate, multiplier) {
                    (Some(rate), _) => rate.per_second(),
                    (None, multiplier) => base.per_second() * multiplier.unwrap_or(1.0),
                };
                let end = Time::new(at.get().saturating_add(lasting.get()));
                vec![
                    flat(Time::ZERO, *base),
                    Piece { start: at.get(), rate: spike, slope: 0.0 },
                    flat(end, *base),
                ]
            }
            _ => Vec::new(),
        }
    }
}

/// Rates weighted by the share of time in each state: cyclic jumps visit every state alike.
pub(super) fn mmpp_mean_rate(states: &[MmppState]) -> f64 {
    let seconds: f64 = states.iter().map(|state| state.mean.as_secs_f64()).sum();
    states.iter().map(|state| state.rate.per_second() * state.mean.as_secs_f64()).sum::<f64>() / seconds
}
