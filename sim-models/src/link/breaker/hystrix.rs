//! Hystrix's circuit breaker.
//!
//! Successes and errors are counted in buckets as long as the snapshot interval. At the end of each bucket
//! the breaker looks at those of the last `rolling_stats_time`: it opens when there are enough requests
//! among them and enough of those are errors. When `sleep_window` has passed since it opened, or since the
//! last probe failed, the next request is a probe; while the probe is under way all others are refused.
//! The probe's success closes the breaker and forgets everything counted; so does that of a request from
//! before it opened which ends while the probe is under way, and its failure opens it again, as in
//! Hystrix (`HystrixCircuitBreaker.java`, `HealthCountsStream.java`, 1.5.18).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use super::State;
use crate::error::ConfigError;
use crate::units::Time;

/// Parameters of `hystrix` (`HystrixCommandProperties`). Its timeout of 1 s is `per_try_timeout` of the link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HystrixConfig {
    /// Requests in the rolling window below which nothing is judged
    /// (`circuitBreaker.requestVolumeThreshold`). Default: 20.
    pub request_volume_threshold: u32,
    /// Percentage of errors from which on it opens, in whole percents
    /// (`circuitBreaker.errorThresholdPercentage`). Default: 50.
    pub error_threshold_percentage: u32,
    /// How long it stays open before a probe (`circuitBreaker.sleepWindowInMilliseconds`). Default: 5 s.
    pub sleep_window: Time,
    /// The rolling window (`metrics.rollingStats.timeInMilliseconds`). Default: 10 s.
    pub rolling_stats_time: Time,
    /// How often the window is looked at, and how long its buckets are
    /// (`metrics.healthSnapshot.intervalInMilliseconds`). Default: 500 ms.
    pub health_snapshot_interval: Time,
    /// The most requests under way
    /// (`execution.isolation.semaphore.maxConcurrentRequests`, or the size of the thread pool; 10 in Hystrix).
    /// What goes beyond counts as an error. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_requests: Option<u32>,
}

impl Default for HystrixConfig {
    fn default() -> Self {
        Self {
            request_volume_threshold: 20,
            error_threshold_percentage: 50,
            sleep_window: Time::new(SimDuration::from_secs(5)),
            rolling_stats_time: Time::new(SimDuration::from_secs(10)),
            health_snapshot_interval: Time::new(SimDuration::from_millis(500)),
            max_concurrent_requests: None,
        }
    }
}

/// The most buckets of the rolling window.
const MOST_BUCKETS: u64 = 10_000;

impl HystrixConfig {
    pub(super) fn build(&self) -> Result<Hystrix, ConfigError> {
        let wrong = |key: &str, value: String, expected: String| {
            Err(ConfigError::new([key], format!("{key} is {value}")).help(format!("expected {expected}")))
        };
        let percentage = self.error_threshold_percentage;
        if percentage > 100 {
            return wrong("error_threshold_percentage", percentage.to_string(), "a percentage to 100".into());
        }
        let (window, interval) =
            (self.rolling_stats_time.get().as_nanos(), self.health_snapshot_interval.get().as_nanos());
        let buckets = window.checked_div(interval).unwrap_or(0);
        if buckets == 0 || window % interval != 0 || buckets > MOST_BUCKETS {
            let window = self.rolling_stats_time;
            let expected =
                format!("a time that divides rolling_stats_time, {window}, at most {MOST_BUCKETS} times");
            return wrong("health_snapshot_interval", self.health_snapshot_interval.to_string(), expected);
        }
        Ok(Hystrix {
            config: self.clone(),
            state: State::Closed,
            opened: SimTime::ZERO,
            buckets: vec![Counts::default(); buckets as usize],
            interval,
            sums: Counts::default(),
            next: 0,
            present: Counts::default(),
        })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counts {
    total: u64,
    errors: u64,
}

#[derive(Debug, Clone)]
pub(in crate::link) struct Hystrix {
    config: HystrixConfig,
    state: State,
    /// When it opened, or when the last probe failed.
    opened: SimTime,
    /// Whole buckets, by number modulo how many there are.
    buckets: Vec<Counts>,
    interval: u64,
    /// Their sum.
    sums: Counts,
    /// The number of the present bucket since time 0.
    next: u64,
    present: Counts,
}

impl Hystrix {
    pub fn state(&self) -> State {
        self.state
    }

    pub fn acquire(&mut self, now: SimTime, active: u32) -> bool {
        self.look(now);
        match self.state {
            State::Closed => {}
            State::Open if now.since(self.opened) > self.config.sleep_window.get() => {
                self.state = State::HalfOpen;
            }
            State::Open | State::HalfOpen => return false,
        }
        let has_room = self.config.max_concurrent_requests.is_none_or(|most| active < most);
        if !has_room {
            self.record(now, false);
        }
        has_room
    }

    pub fn record(&mut self, now: SimTime, is_success: bool) {
        self.look(now);
        self.present.total += 1;
        self.present.errors += u64::from(!is_success);
        if self.state != State::HalfOpen {
            return;
        }
        if is_success {
            self.state = State::Closed;
            self.buckets.fill(Counts::default());
            (self.sums, self.present) = (Counts::default(), Counts::default());
        } else {
            self.open(now);
        }
    }

    /// A request was given up by its caller; as a probe it says nothing, and the sleep begins anew
    /// (`markNonSuccess` when a command is unsubscribed).
    pub fn release(&mut self, now: SimTime) {
        self.look(now);
        if self.state == State::HalfOpen {
            self.open(now);
        }
    }

    fn open(&mut self, now: SimTime) {
        (self.state, self.opened) = (State::Open, now);
    }

    /// Does what has been due at the ends of buckets up to now. Nothing has happened in between.
    fn look(&mut self, now: SimTime) {
        let present = now.as_nanos() / self.interval;
        // Once every bucket is empty, further looks see nothing.
        let last = present.min(self.next + self.buckets.len() as u64 + 1);
        while self.next < last {
            let place = self.next as usize % self.buckets.len();
            let new = std::mem::take(&mut self.present);
            let old = std::mem::replace(&mut self.buckets[place], new);
            self.sums.total = self.sums.total + new.total - old.total;
            self.sums.errors = self.sums.errors + new.errors - old.errors;
            self.next += 1;
            let Counts { total, errors } = self.sums;
            let is_due = total > 0
                && total >= u64::from(self.config.request_volume_threshold)
                && errors * 100 / total >= u64::from(self.config.error_threshold_percentage);
            if self.state == State::Closed && is_due {
                self.open(SimTime::from_nanos(self.next * self.interval));
            }
        }
        if self.next < present {
            // All that was left is older than the window.
            self.buckets.fill(Counts::default());
            self.sums = Counts::default();
            self.next = present;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SimTime {
        SimTime::from_nanos(milliseconds * 1_000_000)
    }

    fn small() -> Hystrix {
        let ms = |ms| Time::new(SimDuration::from_millis(ms));
        let config = HystrixConfig {
            request_volume_threshold: 4,
            sleep_window: ms(1_000),
            rolling_stats_time: ms(1_000),
            health_snapshot_interval: ms(250),
            ..HystrixConfig::default()
        };
        config.build().unwrap()
    }

    #[test]
    fn it_opens_at_the_end_of_a_bucket_and_probes_one_at_a_time() {
        let mut breaker = small();
        for (time, is_success) in [(0, true), (10, true), (20, false)] {
            assert!(breaker.acquire(at(time), 0));
            breaker.record(at(time), is_success);
        }
        // The fourth makes the volume; 2 of 4 are errors, but it is not the end of a bucket yet.
        assert!(breaker.acquire(at(30), 0));
        breaker.record(at(30), false);
        assert!(breaker.acquire(at(249), 0));
        assert_eq!(breaker.state(), State::Closed);
        assert!(!breaker.acquire(at(250), 0));
        // Late ends while it is open change nothing.
        breaker.record(at(400), true);
        assert!(!breaker.acquire(at(1_250), 0), "the sleep must be over, not at its end");
        assert!(breaker.acquire(at(1_251), 0));
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(!breaker.acquire(at(1_252), 1));
        breaker.record(at(1_300), false);
        assert!(!breaker.acquire(at(2_300), 0));
        assert!(breaker.acquire(at(2_301), 0));
        breaker.record(at(2_302), true);
        assert_eq!(breaker.state(), State::Closed);
        // What was counted before is forgotten: three errors are not volume enough.
        for _ in 0..3 {
            breaker.record(at(2_303), false);
        }
        assert!(breaker.acquire(at(2_600), 0));
        breaker.record(at(2_600), false);
        assert!(!breaker.acquire(at(2_750), 0));
    }

    #[test]
    fn buckets_leave_the_window() {
        let mut breaker = small();
        for _ in 0..3 {
            breaker.record(at(100), false);
        }
        // The bucket of 0 to 250 ms is in the window up to the look at 1,000 ms.
        breaker.record(at(1_100), false);
        assert!(breaker.acquire(at(1_300), 0));
        for _ in 0..3 {
            breaker.record(at(1_300), false);
        }
        assert!(!breaker.acquire(at(1_500), 0));
        // After a long silence there is nothing left to judge.
        let mut breaker = small();
        (0..3).for_each(|_| breaker.record(at(100), false));
        breaker.record(at(100_000), false);
        assert!(breaker.acquire(at(100_300), 0));
        assert_eq!(breaker.sums, Counts { total: 1, errors: 1 });
    }

    #[test]
    fn what_finds_no_room_is_an_error() {
        let mut breaker = small();
        breaker.config.max_concurrent_requests = Some(1);
        for _ in 0..4 {
            assert!(!breaker.acquire(at(0), 1));
        }
        assert!(!breaker.acquire(at(250), 0), "open");
    }

    #[test]
    fn a_probe_that_is_given_up_sleeps_again() {
        let mut breaker = small();
        (0..4).for_each(|_| breaker.record(at(0), false));
        assert!(breaker.acquire(at(1_300), 0));
        breaker.release(at(1_400));
        assert!(!breaker.acquire(at(2_400), 0) && breaker.acquire(at(2_401), 0));
    }
}
