//! What is counted while a system runs.

use sim_core::stats::{Histogram, TimeWeighted};
use sim_core::time::{SimDuration, SimTime};

use crate::request::{Outcome, Request};

/// What every component is measured by: utilization, saturation, errors, and its latency as seen from
/// its own side (from the arrival of a call to its reply).
#[derive(Debug, Clone)]
pub struct ComponentMeter {
    /// Calls that reached it.
    pub calls: u64,
    /// Its replies by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 5],
    /// Replies that nobody heard: wasted work. Those that a timeout overtook on their way are among the outcomes, too.
    pub unheard: u64,
    /// Calls waiting, over time.
    pub queue: TimeWeighted,
    /// Servers busy, over time.
    pub busy: TimeWeighted,
    /// Servers there are, over time.
    pub capacity: TimeWeighted,
    /// Time from arrival to the start of service, in nanoseconds.
    pub wait: Histogram,
    /// Time from arrival to reply of calls that were not rejected, in nanoseconds.
    pub latency: Histogram,
}

impl ComponentMeter {
    pub(crate) fn new() -> Self {
        let level = || TimeWeighted::new(SimTime::ZERO, 0);
        Self {
            calls: 0,
            outcomes: [0; 5],
            unheard: 0,
            queue: level(),
            busy: level(),
            capacity: level(),
            wait: Histogram::new(),
            latency: Histogram::new(),
        }
    }

    pub(crate) fn reset(&mut self, now: SimTime) {
        self.calls = 0;
        self.outcomes = [0; 5];
        self.unheard = 0;
        for level in [&mut self.queue, &mut self.busy, &mut self.capacity] {
            level.reset(now);
        }
        self.wait = Histogram::new();
        self.latency = Histogram::new();
    }

    /// Mean share of the servers that were busy; `None` without servers.
    pub fn utilization(&self, now: SimTime) -> Option<f64> {
        let capacity = self.capacity.integral(now);
        (capacity > 0).then(|| self.busy.integral(now) as f64 / capacity as f64)
    }
}

/// What a good request keeps to; absent bounds hold always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GoodputBounds {
    /// Longest end-to-end latency.
    pub latency: Option<SimDuration>,
    /// Longest time to first token.
    pub ttft: Option<SimDuration>,
    /// Longest time per output token.
    pub tpot: Option<SimDuration>,
}

/// Time per output token after the first, of an answer of two tokens or more.
pub fn tpot(first_token: SimTime, ended: SimTime, output_tokens: u32) -> Option<SimDuration> {
    let gaps = u64::from(output_tokens.checked_sub(1).filter(|gaps| *gaps > 0)?);
    Some(SimDuration::from_nanos(ended.since(first_token).as_nanos() / gaps))
}

/// The requests of one class and tenant.
#[derive(Debug, Clone, Default)]
pub struct RequestMeter {
    /// Born in the measured part of the run.
    pub born: u64,
    /// Ended, by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 5],
    /// Answered within every bound of the SLO.
    pub good: u64,
    /// Answered before the end of the arrivals, for throughput.
    pub answered_in_window: u64,
    /// Good, and answered before the end of the arrivals.
    pub good_in_window: u64,
    /// Prompt tokens of answered requests.
    pub prompt_tokens: u64,
    /// Output tokens of answered requests.
    pub output_tokens: u64,
    /// Answers of known quality.
    pub scored: u64,
    /// Right answers.
    pub right: u64,
    /// What was paid by use for requests born in the measured part of the run, in USD.
    pub usage_usd: f64,
    /// Latency of answered requests from birth to reply, in nanoseconds.
    pub latency: Histogram,
    /// Time to first token from birth, in nanoseconds.
    pub ttft: Histogram,
    /// (end - first token) / (output tokens - 1), in nanoseconds, of requests with two tokens or more.
    pub tpot: Histogram,
}

impl RequestMeter {
    pub(crate) fn end(
        &mut self,
        request: &Request,
        outcome: Outcome,
        now: SimTime,
        bounds: &GoodputBounds,
        in_window: bool,
    ) -> bool {
        self.outcomes[outcome as usize] += 1;
        if !outcome.is_answer() {
            return false;
        }
        let latency = now.since(request.born);
        self.latency.record(latency.as_nanos());
        self.prompt_tokens += u64::from(request.prompt_tokens);
        self.output_tokens += u64::from(request.output_tokens);
        let within =
            |bound: Option<SimDuration>, value: SimDuration| bound.is_none_or(|bound| value <= bound);
        let mut good = within(bounds.latency, latency);
        if let Some(first_token) = request.first_token {
            let ttft = first_token.since(request.born);
            self.ttft.record(ttft.as_nanos());
            good &= within(bounds.ttft, ttft);
            if let Some(tpot) = tpot(first_token, now, request.output_tokens) {
                self.tpot.record(tpot.as_nanos());
                good &= within(bounds.tpot, tpot);
            }
        }
        self.good += u64::from(good);
        self.answered_in_window += u64::from(in_window);
        self.good_in_window += u64::from(good && in_window);
        good
    }

    /// An answer is right or wrong, where that is known.
    pub(crate) fn score(&mut self, right: Option<bool>) {
        self.scored += u64::from(right.is_some());
        self.right += u64::from(right == Some(true));
    }

    /// Share of the answers of known quality that were right.
    pub fn accuracy(&self) -> Option<f64> {
        (self.scored > 0).then(|| self.right as f64 / self.scored as f64)
    }

    /// What was paid by use, USD by ended request.
    pub fn usage_usd_per_request(&self) -> Option<f64> {
        let ended = self.ended();
        (ended > 0).then(|| self.usage_usd / ended as f64)
    }

    /// Adds another class's or tenant's requests.
    pub fn merge(&mut self, other: &Self) {
        self.born += other.born;
        for (own, others) in self.outcomes.iter_mut().zip(other.outcomes) {
            *own += others;
        }
        self.good += other.good;
        self.answered_in_window += other.answered_in_window;
        self.good_in_window += other.good_in_window;
        self.prompt_tokens += other.prompt_tokens;
        self.output_tokens += other.output_tokens;
        self.scored += other.scored;
        self.right += other.right;
        self.usage_usd += other.usage_usd;
        self.latency.merge(&other.latency);
        self.ttft.merge(&other.ttft);
        self.tpot.merge(&other.tpot);
    }

    /// Number ended.
    pub fn ended(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Number answered, in full or degraded.
    pub fn answered(&self) -> u64 {
        self.outcomes[Outcome::Ok as usize] + self.outcomes[Outcome::Degraded as usize]
    }
}
