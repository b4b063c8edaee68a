//! One engine answers recorded requests: what a calibration compares with measurements.

use sim_core::time::{SimDuration, SimTime};

use super::FrontEnd;
use super::engine::{Engine, EngineConfig, EngineKind, Submission, Tally};
use crate::hardware::microbench::PassShape;
use crate::hardware::timing::{StepFunction, nanos_ceil};

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
}

impl Replica {
    /// Answers `requests`, each in its place.
    ///
    /// # Errors
    /// The first request that could never be served, by its number, or settings that no engine runs with.
    pub fn replay(&self, requests: &[Recorded]) -> Result<Vec<Answered>, String> {
        Ok(self.measure(requests)?.0)
    }

    /// The same, with what the engine measured.
    ///
    /// # Errors
    /// As [`Replica::replay`].
    pub fn measure(&self, requests: &[Recorded]) -> Result<(Vec<Answered>, Tally), String> {
        let mut tally = Tally::default();
        let answers = self.answer(&mut self.new_engine(EngineKind::Fast)?, requests, &mut tally)?;
        Ok((answers, tally))
    }

    /// The passes that answer `requests`, in order, as a kernel benchmark can run them.
    ///
    /// # Errors
    /// As [`Replica::replay`].
    pub fn passes(&self, requests: &[Recorded]) -> Result<Vec<PassShape>, String> {
        let mut engine = self.new_engine(EngineKind::Stepwise)?;
        engine.shapes();
        self.answer(&mut engine, requests, &mut Tally::default())?;
        Ok(engine.shapes().map(std::mem::take).unwrap_or_default())
    }

    fn new_engine(&self, kind: EngineKind) -> Result<Engine, String> {
        let engine = Engine::new(kind, self.engine.clone(), self.step.clone());
        engine.map_err(|error| error.to_string())
    }

    fn answer(
        &self,
        engine: &mut Engine,
        requests: &[Recorded],
        tally: &mut Tally,
    ) -> Result<Vec<Answered>, String> {
        let mut arrivals: Vec<(SimTime, usize)> = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let at = request.sent.checked_add(self.frontend.delay(request.prompt_tokens));
            arrivals.push((at.map_err(|error| format!("request {index}: {error}"))?, index));
        }
        arrivals.sort_unstable();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut answers = vec![Answered::default(); requests.len()];
        // When an engine that was idle begins a step.
        let mut waking: Option<SimTime> = None;
        loop {
            let boundary = engine.due().into_iter().chain(waking).min();
            let next = arrivals.peek().map(|(at, _)| *at);
            // As in a pool: a boundary comes before the arrivals of its nanosecond, a waking after them.
            let arrives = match (next, boundary) {
                (Some(at), Some(boundary)) => at < boundary || waking == Some(at),
                (next, _) => next.is_some(),
            };
            if arrives && let Some((now, index)) = arrivals.next() {
                let Recorded { prompt_tokens, output_tokens, .. } = requests[index];
                let submission = Submission::new(index as u64, prompt_tokens, output_tokens);
                engine
                    .submit(now, &submission, tally)
                    .map_err(|reason| format!("request {index}: {reason}"))?;
                if engine.is_idle() && waking.is_none() {
                    let begins = now.checked_add(nanos_ceil(self.step.wake()));
                    waking = Some(begins.map_err(|error| error.to_string())?);
                }
                continue;
            }
            let Some(now) = boundary else { break };
            waking = None;
            for milestone in &engine.advance(now, tally).milestones {
                let index = milestone.key as usize;
                let since = now.since(requests[index].sent);
                if milestone.first {
                    answers[index].ttft = since;
                }
                if milestone.last {
                    answers[index].latency = since;
                }
            }
        }
        if engine.running() + engine.waiting() > 0 {
            Err("the run takes over 208 days".to_owned())
        } else {
            Ok(answers)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::timing::{Calibration, Coefficients, Curve, TICKS_PER_NANO};

    const MS: u64 = 1_000_000 * TICKS_PER_NANO;

    fn replica(async_scheduling: bool) -> Replica {
        let coefficients = Coefficients { base: 10 * MS, ..Coefficients::default() };
        let step = StepFunction::new(coefficients, Calibration::Fitted).unwrap();
        let step = step.with_curves(Curve::default(), Curve::default(), 2 * MS);
        let frontend = FrontEnd { request_us: 1_000.0, token_us: 0.0 };
        let engine = EngineConfig { async_scheduling, ..EngineConfig::new(1_000) };
        Replica { engine, step, frontend }
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
        // While the engine wakes, one may join the first step.
        let early = replica(true).replay(&requests(&[0, 1])).unwrap();
        assert_eq!(ms(early), [(13, 53), (13 - 1, 53 - 1)]);
    }

    #[test]
    fn the_passes_compute_every_token_once() {
        let passes = replica(true).passes(&requests(&[0, 14, 14])).unwrap();
        let prompts: u32 = passes.iter().flat_map(|pass| &pass.prefill).map(|(_, chunk)| chunk).sum();
        let decodes: usize = passes.iter().map(|pass| pass.decode.len()).sum();
        // The last token of an answer is in no pass, and the first comes of the prompt.
        assert_eq!((prompts, decodes), (3 * 100, 3 * 4));
        assert_eq!(passes[0].prefill, [(0, 100)]);
        assert_eq!(passes[1].decode, [101]);
    }

    #[test]
    fn a_request_that_never_fits_is_named() {
        let mut requests = requests(&[0, 1]);
        requests[1].prompt_tokens = 1_000_000;
        let message = replica(true).replay(&requests).unwrap_err();
        assert!(message.starts_with("request 1: "), "{message}");
    }
}
