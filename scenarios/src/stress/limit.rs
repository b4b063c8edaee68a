//! The largest multiple of the load that passes.

use rayon::prelude::*;

use super::{Level, StressTest};
use crate::scenario::Scenario;

/// How near the largest passing and the smallest failing multiple must be: 2%.
const WITHIN: f64 = 1.02;

/// Multiples beyond this, or below its inverse, are not looked for.
const FARTHEST: f64 = 64.0;

/// Where the system breaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The largest multiple that was seen to pass; none where not even the smallest that was tried did.
    pub passes: Option<f64>,
    /// The smallest that was seen to fail; none where even the largest that was tried passed.
    pub fails: Option<f64>,
}

impl StressTest<'_> {
    /// The largest multiple at which answers keep to the SLO, to 2%, one replication each. It is looked for between the
    /// levels, and beyond them.
    pub fn limit(&self, levels: &[Level]) -> Limit {
        let passes = |level: &&Level| level.inference.pass;
        // Replications may disagree: what one of them passes above a failing level does not count.
        let fails = levels.iter().find(|level| !passes(level)).map(|level| level.multiple);
        let below = |level: &&Level| fails.is_none_or(|fails| level.multiple < fails);
        let passes = levels.iter().filter(below).filter(passes).map(|level| level.multiple).reduce(f64::max);
        self.between(&self.loaded.scenario, passes, fails)
    }

    /// The limit of a scenario, of which those multiples are known.
    pub(super) fn between(&self, scenario: &Scenario, passes: Option<f64>, fails: Option<f64>) -> Limit {
        let whole = self.options.grow == super::Grow::Complexity;
        let (mut low, mut high) = (passes, fails);
        while high.is_none() && low.is_none_or(|low| low < FARTHEST) && !self.progress.is_cancelled() {
            let next = low.map_or(1.0, |low| 2.0 * low);
            match self.holds(scenario, next) {
                true => low = Some(next),
                false => high = Some(next),
            }
        }
        while low.is_none()
            && !whole
            && high.is_some_and(|high| high > 1.0 / FARTHEST)
            && !self.progress.is_cancelled()
        {
            let next = high.unwrap_or(1.0) / 2.0;
            match self.holds(scenario, next) {
                true => low = Some(next),
                false => high = Some(next),
            }
        }
        // Two multiples at once, for two cores; the same whatever there are.
        while let (Some(from), Some(to)) = (low, high)
            && to / from > WITHIN
            && !self.progress.is_cancelled()
        {
            let third = libm::cbrt(to / from);
            let mut inner = [from * third, from * third * third];
            if whole {
                inner = inner.map(f64::round);
                if inner.iter().all(|k| *k <= from || *k >= to) {
                    break;
                }
            }
            let held: Vec<bool> = inner
                .par_iter()
                .map(|k| *k > from && (*k < to && self.holds(scenario, *k)) || *k <= from)
                .collect();
            match held[..] {
                [true, true] => low = Some(inner[1]),
                [true, false] => (low, high) = (Some(inner[0]), Some(inner[1])),
                _ => high = Some(inner[0]),
            }
        }
        Limit { passes: low, fails: high }
    }
}
