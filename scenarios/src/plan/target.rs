//! The load that is planned for: a multiple, a rate, or so many users.

use sim_models::traffic::arrivals::ArrivalsConfig;
use sim_models::units::Rate;

use crate::language::ScenarioError;
use crate::run::{self, DEFAULT_DURATION};
use crate::scenario::Scenario;

/// The load that is planned for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// So many times the scenario's.
    Scale(f64),
    /// So many requests a second, of all sources together, on average.
    Rate(Rate),
    /// So many users. Those of a closed loop are counted; others send requests at that rate each.
    Users(u32, Option<Rate>),
}

impl Target {
    /// The multiple of the scenario's load that it is.
    ///
    /// # Errors
    /// When the scenario does not say what its load is.
    pub fn scale(self, scenario: &Scenario) -> Result<f64, ScenarioError> {
        let rate = match self {
            Self::Scale(scale) => return Ok(scale),
            Self::Rate(rate) => rate.per_second(),
            Self::Users(users, None) => {
                let closed = scenario.traffic.values().map(|traffic| match &traffic.arrivals {
                    ArrivalsConfig::ClosedLoop { users, .. } => Some(f64::from(users.get())),
                    _ => None,
                });
                let there: f64 = closed.sum::<Option<f64>>().ok_or_else(|| {
                    ScenarioError::new("how many requests does a user send?")
                        .with_help("expected --requests-per-user 6/h, or traffic that is all closed_loop")
                })?;
                return Ok(f64::from(users) / there);
            }
            Self::Users(users, Some(each)) => f64::from(users) * each.per_second(),
        };
        let base = mean_rate(scenario).filter(|base| *base > 0.0).ok_or_else(|| {
            ScenarioError::new(
                "the scenario does not say how many requests come: its traffic is a trace or a closed loop",
            )
            .with_help("expected --scale 10x, or --users of a closed loop")
        })?;
        Ok(rate / base)
    }
}

/// Requests a second of all sources, averaged over the run.
pub(super) fn mean_rate(scenario: &Scenario) -> Option<f64> {
    let length = scenario.run.duration.map_or(DEFAULT_DURATION, |duration| duration.get());
    scenario.traffic.values().map(|traffic| run::mean_rate(traffic, length)).sum()
}
