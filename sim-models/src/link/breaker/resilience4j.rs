//! resilience4j's circuit breaker.
//!
//! Closed, it counts the last calls, or those of the last seconds, and opens when the share of failures or of
//! slow calls reaches its threshold. Open, it refuses everything for a while. Half-open, it lets a number
//! of calls through and judges them alone: back to open, or closed. What ends in a state counts there,
//! wherever it began, as in resilience4j (`CircuitBreakerStateMachine.java`, `CircuitBreakerMetrics.java`,
//! 2.2.0).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use super::{Ended, State};
use crate::error::ConfigError;
use crate::request::Outcome;
use crate::units::Time;

/// Parameters of `resilience4j` (`CircuitBreakerConfig`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resilience4jConfig {
    /// Percentage of failures from which on it opens (`failureRateThreshold`). Default: 50.
    pub failure_rate_threshold: f64,
    /// Percentage of slow calls from which on it opens (`slowCallRateThreshold`). Default: 100.
    pub slow_call_rate_threshold: f64,
    /// A call that takes longer is slow, whether it fails or not (`slowCallDurationThreshold`). Default:
    /// 60 s, so that a breaker which should trip on slow calls needs another value.
    pub slow_call_duration_threshold: Time,
    /// What the window counts (`slidingWindowType`). Default: COUNT_BASED.
    pub sliding_window_type: SlidingWindowType,
    /// Calls, or seconds, in the window (`slidingWindowSize`). Default: 100.
    pub sliding_window_size: u32,
    /// Calls below which nothing is judged (`minimumNumberOfCalls`); with a window of calls at most its size.
    /// Default: 100.
    pub minimum_number_of_calls: u32,
    /// How long it stays open (`waitDurationInOpenState`). Default: 60 s.
    pub wait_duration_in_open_state: Time,
    /// Calls that are let through when half-open (`permittedNumberOfCallsInHalfOpenState`). Default: 10.
    pub permitted_number_of_calls_in_half_open_state: u32,
    /// How long it stays half-open at most before it opens again; 0 is forever
    /// (`maxWaitDurationInHalfOpenState`). Default: 0.
    pub max_wait_duration_in_half_open_state: Time,
    /// Whether it becomes half-open by itself rather than at the next call
    /// (`automaticTransitionFromOpenToHalfOpenEnabled`). Default: false.
    pub automatic_transition_from_open_to_half_open_enabled: bool,
    /// Which ends of a call count as failures (`recordExceptions`); the others count as successes. Default: all.
    pub record_exceptions: Vec<Recorded>,
}

/// What the window of a breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SlidingWindowType {
    /// The last calls.
    CountBased,
    /// The calls of the last seconds.
    TimeBased,
}

/// An end of a call that may count as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// The callee refused.
    Rejected,
    /// The callee failed.
    Failed,
    /// The attempt timed out.
    TimedOut,
}

impl Default for Resilience4jConfig {
    fn default() -> Self {
        Self {
            failure_rate_threshold: 50.0,
            slow_call_rate_threshold: 100.0,
            slow_call_duration_threshold: Time::new(SimDuration::from_secs(60)),
            sliding_window_type: SlidingWindowType::CountBased,
            sliding_window_size: 100,
            minimum_number_of_calls: 100,
            wait_duration_in_open_state: Time::new(SimDuration::from_secs(60)),
            permitted_number_of_calls_in_half_open_state: 10,
            max_wait_duration_in_half_open_state: Time::ZERO,
            automatic_transition_from_open_to_half_open_enabled: false,
            record_exceptions: vec![Recorded::Rejected, Recorded::Failed, Recorded::TimedOut],
        }
    }
}

/// The largest window.
const LARGEST: u32 = 1_000_000;
/// The least wait in the open state, resilience4j's, and half-open too, so that states do not flicker.
const LEAST_WAIT: Time = Time::new(SimDuration::from_millis(1));

impl Resilience4jConfig {
    pub(super) fn build(&self) -> Result<Resilience4j, ConfigError> {
        let wrong = |key: &str, value: String, expected: &str| {
            Err(ConfigError::new([key], format!("{key} is {value}")).help(format!("expected {expected}")))
        };
        for (key, percentage) in [
            ("failure_rate_threshold", self.failure_rate_threshold),
            ("slow_call_rate_threshold", self.slow_call_rate_threshold),
        ] {
            if !(percentage > 0.0 && percentage <= 100.0) {
                return wrong(key, percentage.to_string(), "a percentage above 0, at most 100");
            }
        }
        for (key, count) in [
            ("sliding_window_size", self.sliding_window_size),
            ("minimum_number_of_calls", self.minimum_number_of_calls),
            (
                "permitted_number_of_calls_in_half_open_state",
                self.permitted_number_of_calls_in_half_open_state,
            ),
        ] {
            if !(1..=LARGEST).contains(&count) {
                return wrong(key, count.to_string(), &format!("a number from 1 to {LARGEST}"));
            }
        }
        if self.wait_duration_in_open_state < LEAST_WAIT {
            let wait = self.wait_duration_in_open_state;
            return wrong("wait_duration_in_open_state", wait.to_string(), "a time from 1ms");
        }
        let half_open = self.max_wait_duration_in_half_open_state;
        if half_open != Time::ZERO && half_open < LEAST_WAIT {
            let expected = "0s, for no bound, or a time from 1ms";
            return wrong("max_wait_duration_in_half_open_state", half_open.to_string(), expected);
        }
        if self.record_exceptions.is_empty() {
            let expected = "some of rejected, failed, timed_out";
            return wrong("record_exceptions", "empty".into(), expected);
        }
        let breaker = Resilience4j {
            window: Window::new(self.sliding_window_type, self.sliding_window_size),
            config: self.clone(),
            state: State::Closed,
            since: SimTime::ZERO,
            permits: 0,
        };
        Ok(breaker)
    }

    fn is_failure(&self, outcome: Outcome) -> bool {
        let recorded = match outcome {
            Outcome::Ok | Outcome::Degraded => return false,
            Outcome::Rejected => Recorded::Rejected,
            Outcome::TimedOut => Recorded::TimedOut,
            Outcome::Failed => Recorded::Failed,
        };
        self.record_exceptions.contains(&recorded)
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    calls: u32,
    failed: u32,
    slow: u32,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.slow += other.slow;
    }

    fn take_off(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failed -= other.failed;
        self.slow -= other.slow;
    }
}

/// The last calls, or the calls of the last seconds.
#[derive(Debug, Clone)]
struct Window {
    kind: SlidingWindowType,
    /// A call each, or a second each.
    parts: Vec<Counts>,
    /// The number of the present part.
    present: u64,
    sum: Counts,
}

impl Window {
    fn new(kind: SlidingWindowType, size: u32) -> Self {
        Self { kind, parts: vec![Counts::default(); size as usize], present: 0, sum: Counts::default() }
    }

    fn record(&mut self, now: SimTime, call: Counts) {
        let size = self.parts.len() as u64;
        let place = match self.kind {
            SlidingWindowType::CountBased => {
                self.present += 1;
                self.sum.take_off(std::mem::take(&mut self.parts[(self.present % size) as usize]));
                self.present % size
            }
            SlidingWindowType::TimeBased => {
                let second = now.as_nanos() / 1_000_000_000;
                let passed = (second - self.present).min(size);
                for part in second + 1 - passed..=second {
                    self.sum.take_off(std::mem::take(&mut self.parts[(part % size) as usize]));
                }
                self.present = second;
                second % size
            }
        };
        self.parts[place as usize].add(call);
        self.sum.add(call);
    }
}

#[derive(Debug, Clone)]
pub(in crate::link) struct Resilience4j {
    config: Resilience4jConfig,
    state: State,
    /// When it came into its state, other than closed.
    since: SimTime,
    window: Window,
    /// Calls that may still begin, when half-open.
    permits: u32,
}

impl Resilience4j {
    pub fn state(&self) -> State {
        self.state
    }

    pub fn acquire(&mut self, now: SimTime) -> bool {
        self.pass_time(now);
        if self.state == State::Open && now >= self.open_until() {
            self.half_open(now);
        }
        match self.state {
            State::Closed => true,
            State::Open => false,
            State::HalfOpen => {
                let permitted = self.permits > 0;
                self.permits -= u32::from(permitted);
                permitted
            }
        }
    }

    pub fn record(&mut self, now: SimTime, ended: Ended) {
        self.pass_time(now);
        if self.state == State::Open {
            // It counts calls that began before, and judges nothing by them.
            return;
        }
        let failed = self.config.is_failure(ended.outcome);
        let slow = ended.took > self.config.slow_call_duration_threshold.get();
        self.window.record(now, Counts { calls: 1, failed: u32::from(failed), slow: u32::from(slow) });
        let Counts { calls, failed, slow } = self.window.sum;
        let minimum = match self.window.kind {
            SlidingWindowType::CountBased => {
                self.config.minimum_number_of_calls.min(self.window.parts.len() as u32)
            }
            SlidingWindowType::TimeBased => self.config.minimum_number_of_calls,
        };
        if calls < minimum {
            return;
        }
        let percentage = |part: u32| f64::from(part) * 100.0 / f64::from(calls);
        let is_bad = percentage(failed) >= self.config.failure_rate_threshold
            || percentage(slow) >= self.config.slow_call_rate_threshold;
        match (self.state, is_bad) {
            (_, true) => self.open(now),
            (State::HalfOpen, false) => {
                self.state = State::Closed;
                let Resilience4jConfig { sliding_window_type, sliding_window_size, .. } = self.config;
                self.window = Window::new(sliding_window_type, sliding_window_size);
            }
            (State::Closed | State::Open, false) => {}
        }
    }

    /// A call that was let through says nothing: another may go in its place.
    pub fn release(&mut self) {
        if self.state == State::HalfOpen {
            self.permits += 1;
        }
    }

    fn open(&mut self, now: SimTime) {
        (self.state, self.since) = (State::Open, now);
    }

    fn open_until(&self) -> SimTime {
        let wait = self.config.wait_duration_in_open_state.get();
        self.since.checked_add(wait).unwrap_or(SimTime::MAX)
    }

    fn half_open(&mut self, now: SimTime) {
        (self.state, self.since) = (State::HalfOpen, now);
        self.permits = self.config.permitted_number_of_calls_in_half_open_state;
        self.window = Window::new(SlidingWindowType::CountBased, self.permits);
    }

    /// What would have happened by itself since the last call.
    fn pass_time(&mut self, now: SimTime) {
        let longest = self.config.max_wait_duration_in_half_open_state.get();
        loop {
            match self.state {
                State::Open
                    if self.config.automatic_transition_from_open_to_half_open_enabled
                        && self.open_until() <= now =>
                {
                    self.half_open(self.open_until());
                }
                State::HalfOpen if !longest.is_zero() => {
                    let Ok(until) = self.since.checked_add(longest) else { return };
                    if until > now {
                        return;
                    }
                    self.open(until);
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SimTime {
        SimTime::from_nanos(milliseconds * 1_000_000)
    }

    fn ms(milliseconds: u64) -> Time {
        Time::new(SimDuration::from_millis(milliseconds))
    }

    fn small() -> Resilience4jConfig {
        Resilience4jConfig {
            sliding_window_size: 4,
            minimum_number_of_calls: 4,
            wait_duration_in_open_state: ms(1_000),
            permitted_number_of_calls_in_half_open_state: 2,
            ..Resilience4jConfig::default()
        }
    }

    fn end(breaker: &mut Resilience4j, time: u64, outcome: Outcome, took: u64) {
        breaker.record(at(time), Ended { outcome, took: SimDuration::from_millis(took) });
    }

    #[test]
    fn the_states_step_by_step() {
        use Outcome::{Failed, Ok, Rejected, TimedOut};
        let mut breaker = small().build().unwrap();
        // Three failures are below the minimum number of calls; a success is the fourth: 75%.
        for outcome in [Failed, TimedOut, Rejected] {
            assert!(breaker.acquire(at(0)));
            end(&mut breaker, 0, outcome, 1);
        }
        assert_eq!(breaker.state(), State::Closed);
        end(&mut breaker, 10, Ok, 1);
        assert_eq!(breaker.state(), State::Open);
        assert!(!breaker.acquire(at(1_009)));
        // Lazily: the next call after the wait makes it half-open, whenever that is; two may go.
        assert!(breaker.acquire(at(5_000)) && breaker.acquire(at(5_000)) && !breaker.acquire(at(5_000)));
        end(&mut breaker, 5_001, Ok, 1);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(!breaker.acquire(at(5_002)), "both must end first");
        // One of two failed: 50%.
        end(&mut breaker, 5_003, Failed, 1);
        assert_eq!(breaker.state(), State::Open);
        assert!(!breaker.acquire(at(6_002)));
        assert!(breaker.acquire(at(6_003)) && breaker.acquire(at(6_003)));
        // One is given up: its permit comes back.
        breaker.release();
        assert!(breaker.acquire(at(6_004)) && !breaker.acquire(at(6_004)));
        end(&mut breaker, 6_005, Ok, 1);
        end(&mut breaker, 6_006, Ok, 1);
        assert_eq!(breaker.state(), State::Closed);
        // The window is a new one: 2 of the last 4 in the order S F S F.
        for (outcome, state) in
            [(Ok, State::Closed), (Failed, State::Closed), (Ok, State::Closed), (Failed, State::Open)]
        {
            end(&mut breaker, 7_000, outcome, 1);
            assert_eq!(breaker.state(), state);
        }
    }

    #[test]
    fn the_oldest_call_leaves_a_window_of_calls() {
        let mut breaker = small().build().unwrap();
        for outcome in [Outcome::Failed, Outcome::Ok, Outcome::Ok, Outcome::Ok, Outcome::Failed] {
            end(&mut breaker, 0, outcome, 1);
        }
        // The first failure has left: 1 of 4.
        assert_eq!((breaker.state(), breaker.window.sum.failed), (State::Closed, 1));
        end(&mut breaker, 0, Outcome::Failed, 1);
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn it_trips_on_slow_calls_that_succeed() {
        let config = Resilience4jConfig {
            slow_call_duration_threshold: ms(200),
            slow_call_rate_threshold: 50.0,
            ..small()
        };
        let mut breaker = config.build().unwrap();
        for took in [100, 201, 200] {
            end(&mut breaker, 0, Outcome::Ok, took);
        }
        assert_eq!(breaker.window.sum, Counts { calls: 3, failed: 0, slow: 1 });
        end(&mut breaker, 0, Outcome::Ok, 300);
        assert_eq!(breaker.state(), State::Open);
        // With the defaults nothing below a minute is slow.
        let mut breaker = small().build().unwrap();
        (0..10).for_each(|_| end(&mut breaker, 0, Outcome::Ok, 60_000));
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_window_of_seconds_forgets_by_time() {
        let config = Resilience4jConfig {
            sliding_window_type: SlidingWindowType::TimeBased,
            sliding_window_size: 3,
            ..small()
        };
        let mut breaker = config.build().unwrap();
        for time in [0, 500, 999] {
            end(&mut breaker, time, Outcome::Failed, 1);
        }
        // At 3.0 s the second 0 has left the window of the seconds 1 to 3.
        end(&mut breaker, 3_000, Outcome::Failed, 1);
        assert_eq!((breaker.state(), breaker.window.sum.calls), (State::Closed, 1));
        for time in [4_100, 5_200] {
            end(&mut breaker, time, Outcome::Failed, 1);
        }
        assert_eq!(breaker.window.sum.calls, 3);
        end(&mut breaker, 5_999, Outcome::Failed, 1);
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn only_what_is_recorded_is_a_failure() {
        let config = Resilience4jConfig { record_exceptions: vec![Recorded::TimedOut], ..small() };
        let mut breaker = config.build().unwrap();
        (0..10).for_each(|_| end(&mut breaker, 0, Outcome::Rejected, 1));
        assert_eq!(breaker.state(), State::Closed);
        (0..2).for_each(|_| end(&mut breaker, 0, Outcome::TimedOut, 1));
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn by_itself_it_becomes_half_open_and_opens_again() {
        let config = Resilience4jConfig {
            automatic_transition_from_open_to_half_open_enabled: true,
            max_wait_duration_in_half_open_state: ms(300),
            ..small()
        };
        let mut breaker = config.build().unwrap();
        (0..4).for_each(|_| end(&mut breaker, 0, Outcome::Failed, 1));
        // Half-open from 1,000 ms to 1,300 ms, from 2,300 ms to 2,600 ms, from 3,600 ms.
        assert!(!breaker.acquire(at(999)));
        assert!(breaker.acquire(at(1_299)));
        assert!(!breaker.acquire(at(1_300)));
        assert!(!breaker.acquire(at(2_299)));
        assert!(breaker.acquire(at(2_300)));
        assert!(!breaker.acquire(at(3_500)) && breaker.acquire(at(3_600)));
    }
}
