//! Where the warm-up of a stationary run ends: MSER-5 on the number of requests in the system.

use sim_core::stats::mser5;
use sim_core::time::SimDuration;
use sim_models::system::{RunOutput, RunPlan};

use crate::results::trend::slope;

/// Windows of the pilot (assumption: the warm-up to a tenth of a percent of the run).
pub(super) const PILOT_WINDOWS: u32 = 1_000;

/// A warm-up, and what is to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WarmUp {
    pub length: SimDuration,
    pub finding: Option<String>,
}

/// The warm-up by a pilot that ran with [`PILOT_WINDOWS`].
///
/// MSER-5 is inconclusive when its cut lies in the second half. Of a run that is too short the second half is then
/// measured, however little the cut would leave; but one whose number of requests grows to its end has no steady state:
/// it is measured from its start, because little of what arrives late is ever answered.
pub(super) fn find(pilot: &RunOutput, plan: &RunPlan) -> WarmUp {
    let width = SimDuration::from_nanos((plan.duration.as_nanos() / u64::from(PILOT_WINDOWS)).max(1));
    let windows =
        pilot.windows.iter().filter(|window| window.width == width && window.start < pilot.arrivals_until);
    let in_flight: Vec<f64> = windows.map(|window| window.in_flight as f64).collect();
    let Some(warm_up) = mser5(&in_flight) else {
        return WarmUp { length: SimDuration::ZERO, finding: None };
    };
    let length = SimDuration::from_nanos(width.as_nanos() * warm_up.truncation as u64);
    if warm_up.conclusive {
        return WarmUp { length, finding: None };
    }
    let late: Vec<(f64, f64)> = in_flight
        .iter()
        .enumerate()
        .skip(in_flight.len() / 2)
        .map(|(index, level)| (index as f64, *level))
        .collect();
    if slope(&late).is_some_and(|trend| trend.grows()) {
        let finding = "no steady state: the number of requests in the system grows to the end of the run; nothing \
                       was left out as warm-up, and what is measured depends on the duration";
        return WarmUp { length: SimDuration::ZERO, finding: Some(finding.to_owned()) };
    }
    let finding = format!(
        "the run is too short to tell its warm-up from its steady state: MSER-5 would leave out the first {:.0}% of it, and \
         the second half is measured; a longer run.duration is needed",
        100.0 * length.as_secs_f64() / plan.duration.as_secs_f64()
    );
    WarmUp { length: SimDuration::from_nanos(plan.duration.as_nanos() / 2), finding: Some(finding) }
}
