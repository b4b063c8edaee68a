//! What batching and KV memory are worth: the published comparisons, from the engine alone.

mod memory;
mod policies;
mod pools;

use sim_core::distribution::{Dist, LogNormal};
use sim_core::random::{Purpose, Stream, Streams, unit};
use sim_core::time::SimTime;
use sim_models::hardware::timing::{Calibration, Coefficients, StepFunction, TICKS_PER_NANO};
use sim_models::llm::engine::{Engine, EngineConfig, EngineKind, Submission, Tally};

pub(crate) const MS: u64 = 1_000_000;

/// Steps of a millisecond, whatever is in them.
pub(crate) fn constant_step() -> StepFunction {
    let coefficients = Coefficients { base: MS * TICKS_PER_NANO, ..Default::default() };
    StepFunction::new(coefficients, Calibration::Datasheet).unwrap()
}

/// A request: when it comes, in nanoseconds, and its prompt and output tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) at: u64,
    pub(crate) prompt: u32,
    pub(crate) output: u32,
}

/// How it went: nanoseconds of simulated time, each request in its place.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) first: Vec<u64>,
    pub(crate) last: Vec<u64>,
    /// When the last of those who waited was admitted.
    pub(crate) admitted: u64,
    /// What had been counted by then.
    pub(crate) tally: Tally,
}

/// One engine serves `requests`, which are in the order of their arrivals.
pub(crate) fn serve(config: &EngineConfig, step: StepFunction, requests: &[Request]) -> Served {
    let mut engine = Engine::new(EngineKind::Fast, config.clone(), step).unwrap();
    let (mut tally, mut todo) = (Tally::default(), requests.iter().enumerate().peekable());
    let none = vec![0; requests.len()];
    let mut served = Served { first: none.clone(), last: none, admitted: 0, tally: tally.clone() };
    let mut admitted = 0;
    loop {
        let arrival = todo.peek().map(|(_, request)| SimTime::from_nanos(request.at));
        let due = engine.due();
        let now = match (arrival, due) {
            (Some(arrival), due) if due.is_none_or(|due| arrival < due) => {
                while let Some((key, request)) =
                    todo.next_if(|(_, request)| SimTime::from_nanos(request.at) == arrival)
                {
                    let submission = Submission::new(key as u64, request.prompt, request.output);
                    engine.submit(arrival, &submission, &mut tally).unwrap();
                }
                if !engine.is_idle() {
                    continue;
                }
                arrival
            }
            (_, Some(due)) => due,
            (_, None) => break,
        };
        let output = engine.advance(now, &mut tally);
        for milestone in &output.milestones {
            let key = milestone.key as usize;
            if milestone.first {
                served.first[key] = now.as_nanos();
            }
            if milestone.last {
                served.last[key] = now.as_nanos();
            }
        }
        admitted += output.admitted.len();
        if admitted == requests.len() && served.admitted == 0 {
            (served.admitted, served.tally) = (now.as_nanos(), tally.clone());
        }
    }
    assert_eq!(engine.running() + engine.waiting(), 0);
    served
}

/// A lognormal law of lengths: its mean without the cap, and the standard deviation of the logarithm.
pub(crate) fn lognormal(mean: f64, sigma: f64, cap: f64) -> Dist {
    let cv = libm::sqrt(libm::exp(sigma * sigma) - 1.0);
    Dist::from(LogNormal::from_mean_cv(mean, cv).unwrap()).clipped(1.0, cap).unwrap()
}

pub(crate) fn stream(name: &str) -> Stream {
    Streams::new(1, 0).stream(name, Purpose::Attributes)
}

/// A length in tokens.
pub(crate) fn length(law: &Dist, rng: &mut Stream) -> u32 {
    law.quantile(unit(rng)).round().max(1.0) as u32
}
