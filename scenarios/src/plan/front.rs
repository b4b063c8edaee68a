//! What more money buys.

use super::{Evaluated, Plan};
use crate::language::ScenarioError;

/// A configuration that was run in full, among all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontPoint {
    /// The configuration.
    pub evaluated: Evaluated,
    /// One that is no worse in anything and better in something: its number. None for those of the front.
    pub dominated_by: Option<u64>,
}

impl Plan<'_> {
    /// The Pareto front of the monthly bill against latency p99, errors and accuracy (where it is known), among all that was
    /// run in full; up to `more` configurations, evenly spread over the bills, are run for it. The cheapest first.
    ///
    /// # Errors
    /// As [`Plan::search`].
    pub fn front(&mut self, more: usize) -> Result<Vec<FrontPoint>, ScenarioError> {
        let open = self.open();
        let stride = open.len().div_ceil(more.max(1)).max(1);
        for point in open.into_iter().step_by(stride).take(more) {
            if self.progress.is_cancelled() {
                break;
            }
            self.evaluate(point, true)?;
        }
        let mut all: Vec<Evaluated> = self.known.values().filter(|one| one.full).cloned().collect();
        all.sort_by(|a, b| a.usd_per_month.total_cmp(&b.usd_per_month));
        let front = all.iter().map(|one| FrontPoint {
            evaluated: one.clone(),
            dominated_by: all.iter().find(|other| dominates(other, one)).map(|other| other.point),
        });
        Ok(front.collect())
    }
}

/// What is to be small.
fn figures(one: &Evaluated) -> [f64; 4] {
    let missing = f64::INFINITY;
    [
        one.usd_per_month,
        one.latency_p99_s.unwrap_or(missing),
        one.error_rate.unwrap_or(missing),
        one.accuracy.map_or(0.0, |accuracy| -accuracy),
    ]
}

fn dominates(one: &Evaluated, other: &Evaluated) -> bool {
    let (one, other) = (figures(one), figures(other));
    one.iter().zip(&other).all(|(a, b)| a <= b) && one.iter().zip(&other).any(|(a, b)| a < b)
}
