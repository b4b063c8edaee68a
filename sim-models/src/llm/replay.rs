//! One engine answers recorded requests: what a calibration compares with measurements.

use sim_core::time::{SimDuration, SimTime};

use super::FrontEnd;
use super::engine::{Engine, EngineConfig, Prefix, Rejection, Submission, Token};
use crate::hardware::timing::{StepFunction, TICKS_PER_NANO};

/// A recorded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// When it was sent.
    pub sent: SimTime,
    /// Tokens of the prompt, which nobody shares.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
}

/// When its client had its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answered {
    /// From sending to the first token.
    pub ttft: SimDuration,
    /// From sending to the last.
    pub latency: SimDuration,
}

/// An engine, its step times and the API server in front of it.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Settings of the engine.
    pub engine: EngineConfig,
    /// Times of its steps.
    pub step: StepFunction,
    /// The API server.
    pub frontend: FrontEnd,
    /// Whether a step is composed when the one before begins, not when it ends: who arrives in between waits
    /// for one step more.
    pub async_scheduling: bool,
}

impl Replica {
    /// Answers `requests`, each in its place.
    ///
    /// # Errors
    /// The first request that could never be served, by its number, or settings that no engine runs with.
    pub fn replay(&self, requests: &[Recorded]) -> Result<Vec<Answered>, String> {
        let mut engine = Engine::new(self.engine.clone()).map_err(|error| error.to_string())?;
        let mut arrivals: Vec<(u64, usize)> = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let nanos =
                request.sent.as_nanos().checked_add(self.frontend.delay(request.prompt_tokens).as_nanos());
            let ticks = nanos.and_then(|nanos| nanos.checked_mul(TICKS_PER_NANO));
            arrivals.push((ticks.ok_or_else(|| format!("request {index} is sent after 208 days"))?, index));
        }
        arrivals.sort_unstable();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut answers = vec![Answered::default(); requests.len()];
        let sent = |index: usize| requests[index].sent.as_nanos() * TICKS_PER_NANO;
        let since =
            |index: usize, now: u64| SimDuration::from_nanos((now - sent(index)).div_ceil(TICKS_PER_NANO));
        // The boundary now, and the one up to which arrivals are seen.
        let (mut now, mut seen) = (0, 0);
        loop {
            let state = engine.observe();
            let idle = state.running + state.waiting == 0;
            if idle {
                let Some((next, _)) = arrivals.peek() else { return Ok(answers) };
                now = now.max(*next);
                seen = now;
            }
            while let Some((_, index)) = arrivals.next_if(|(at, _)| *at <= seen) {
                let Recorded { prompt_tokens, output_tokens, .. } = requests[index];
                let (key, prefix) = (index as u64, Prefix::None);
                let submission = Submission { key, prompt_tokens, output_tokens, priority: 0, prefix };
                engine
                    .submit(&submission)
                    .map_err(|reason: Rejection| format!("request {index}: {reason}"))?;
            }
            let Some(plan) = engine.begin_step() else { continue };
            let wake = if idle { self.step.wake() } else { 0 };
            let ticks = self.step.checked_ticks(&plan.work).and_then(|ticks| ticks.checked_add(wake));
            let end = ticks.and_then(|ticks| now.checked_add(ticks)).ok_or("the run takes over 208 days")?;
            seen = if self.async_scheduling { now + wake } else { end };
            now = end;
            for emission in &engine.finish_step(now).emissions {
                let index = emission.key as usize;
                if emission.token == Token::First {
                    answers[index].ttft = since(index, now);
                }
                if emission.last {
                    answers[index].latency = since(index, now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::timing::{Calibration, Coefficients, Curve};

    const MS: u64 = 1_000_000 * TICKS_PER_NANO;

    fn replica(async_scheduling: bool) -> Replica {
        let coefficients = Coefficients { base: 10 * MS, ..Coefficients::default() };
        let step = StepFunction::new(coefficients, Calibration::Fitted).unwrap();
        let step = step.with_curves(Curve::default(), Curve::default(), 2 * MS);
        let frontend = FrontEnd { request_us: 1_000.0, token_us: 0.0 };
        Replica { engine: EngineConfig::new(1_000), step, frontend, async_scheduling }
    }

    fn requests(sent_ms: &[u64]) -> Vec<Recorded> {
        let sent = |ms: &u64| SimTime::from_nanos(ms * 1_000_000);
        sent_ms.iter().map(|ms| Recorded { sent: sent(ms), prompt_tokens: 100, output_tokens: 5 }).collect()
    }

    #[test]
    fn who_comes_to_a_busy_engine_waits_for_a_step_that_is_not_composed() {
        let ms = |answers: Vec<Answered>| -> Vec<(u64, u64)> {
            answers
                .iter()
                .map(|a| (a.ttft.as_nanos() / 1_000_000, a.latency.as_nanos() / 1_000_000))
                .collect()
        };
        // The engine wakes at 1 and steps end at 13, 23, 33, 43, 53. The second request is there at 15.
        let synchronous = replica(false).replay(&requests(&[0, 14])).unwrap();
        assert_eq!(ms(synchronous), [(13, 53), (33 - 14, 73 - 14)]);
        let asynchronous = replica(true).replay(&requests(&[0, 14])).unwrap();
        assert_eq!(ms(asynchronous), [(13, 53), (43 - 14, 83 - 14)]);
        // Before the first step is composed, one may join the second.
        let early = replica(true).replay(&requests(&[0, 2])).unwrap();
        assert_eq!(ms(early), [(13, 53), (23 - 2, 63 - 2)]);
    }

    #[test]
    fn a_request_that_never_fits_is_named() {
        let mut requests = requests(&[0, 1]);
        requests[1].prompt_tokens = 1_000_000;
        let message = replica(true).replay(&requests).unwrap_err();
        assert!(message.starts_with("request 1: "), "{message}");
    }
}
