//! Drops by the time that calls have waited: CoDel, and the variant of it for servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::units::Time;

/// Controlled delay (RFC 8289, section 5): once every call of an interval has waited longer than the target,
/// calls are dropped as they would start, the next after `interval / sqrt(drops)`, until one has waited
/// less. A call takes the place of a packet, and nothing is dropped while at most one call waits behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CodelConfig {
    /// The wait that is acceptable. Default: 5 ms (RFC 8289, section 4.4).
    pub target: Time,
    /// How long waits may be above it. Default: 100 ms (RFC 8289, section 4.3).
    pub interval: Time,
}

impl Default for CodelConfig {
    fn default() -> Self {
        Self { target: milliseconds(5), interval: milliseconds(100) }
    }
}

/// Facebook's controlled delay (B. Maurer, "Fail at Scale", ACM Queue 13 (8), 2015): a call that joins a line
/// which has not been empty for `interval` may wait for `target`, any other for `interval`; one that has
/// waited longer is dropped as it would start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlledDelayConfig {
    /// The longest wait in a line that stands. Default: 5 ms, the article's.
    pub target: Time,
    /// The longest wait otherwise, and how long a line that stands has not been empty. Default: 100 ms, the
    /// article's.
    pub interval: Time,
}

impl Default for ControlledDelayConfig {
    fn default() -> Self {
        Self { target: milliseconds(5), interval: milliseconds(100) }
    }
}

fn milliseconds(number: u64) -> Time {
    Time::new(SimDuration::from_millis(number))
}

/// Refuses times that make no sense.
fn check(target: Time, interval: Time) -> Result<(), ConfigError> {
    let wrong = |key: &str, value: Time, expected: &str| {
        Err(ConfigError::new([key], format!("{key} is {value}")).help(expected))
    };
    if interval.get().is_zero() {
        return wrong("interval", interval, "expected a time above 0, such as \"100ms\"");
    }
    if target.get().is_zero() || target.get() > interval.get() {
        return wrong("target", target, "expected a time above 0 and at most the interval, such as \"5ms\"");
    }
    Ok(())
}

impl CodelConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check(self.target, self.interval)
    }
}

impl ControlledDelayConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check(self.target, self.interval)
    }
}

/// The state of RFC 8289, section 5.5, under the names it has there.
#[derive(Debug)]
pub(super) struct Codel {
    target: SimDuration,
    interval: SimDuration,
    first_above_time: Option<SimTime>,
    drop_next: SimTime,
    count: u64,
    lastcount: u64,
    dropping: bool,
}

/// A call at the head of the line: when it came, and how many wait behind it.
#[derive(Debug)]
pub(super) struct Head<T> {
    pub(super) call: T,
    pub(super) arrived: SimTime,
    pub(super) behind: usize,
}

impl Codel {
    pub(super) fn new(config: CodelConfig) -> Self {
        Self {
            target: config.target.get(),
            interval: config.interval.get(),
            first_above_time: None,
            drop_next: SimTime::ZERO,
            count: 0,
            lastcount: 0,
            dropping: false,
        }
    }

    /// The next call to be served; those before it in the line that are dropped go to `drop`.
    pub(super) fn next<T>(
        &mut self,
        now: SimTime,
        mut pop: impl FnMut() -> Option<Head<T>>,
        mut drop: impl FnMut(T),
    ) -> Option<T> {
        let mut head = pop();
        let ok_to_drop = self.is_above(now, head.as_ref());
        if self.dropping {
            self.dropping = ok_to_drop;
            while self.dropping && now >= self.drop_next {
                if let Some(head) = head.take() {
                    drop(head.call);
                }
                self.count += 1;
                head = pop();
                if self.is_above(now, head.as_ref()) {
                    self.drop_next = self.control_law(self.drop_next);
                } else {
                    self.dropping = false;
                }
            }
        } else if ok_to_drop {
            if let Some(head) = head.take() {
                drop(head.call);
            }
            head = pop();
            // As in the RFC, the next call goes on whatever it is like.
            self.is_above(now, head.as_ref());
            self.dropping = true;
            // The rate that held the last spell is a good one to begin with if that was not long ago.
            let delta = self.count.saturating_sub(self.lastcount);
            let since = now.as_nanos().saturating_sub(self.drop_next.as_nanos());
            let is_recent = since < self.interval.as_nanos().saturating_mul(16);
            self.count = if delta > 1 && is_recent { delta } else { 1 };
            self.drop_next = self.control_law(now);
            self.lastcount = self.count;
        }
        head.map(|head| head.call)
    }

    /// Whether waits have been above the target for an interval.
    fn is_above<T>(&mut self, now: SimTime, head: Option<&Head<T>>) -> bool {
        let is_late = |head: &Head<T>| now.since(head.arrived) >= self.target && head.behind > 1;
        if !head.is_some_and(is_late) {
            self.first_above_time = None;
            return false;
        }
        match self.first_above_time {
            None => {
                let until = now.as_nanos().saturating_add(self.interval.as_nanos());
                self.first_above_time = Some(SimTime::from_nanos(until));
                false
            }
            Some(above) => now >= above,
        }
    }

    fn control_law(&self, from: SimTime) -> SimTime {
        let pause = self.interval.as_nanos() as f64 / (self.count as f64).sqrt();
        SimTime::from_nanos(from.as_nanos().saturating_add(pause.round() as u64))
    }
}

/// How long calls may wait under controlled delay.
#[derive(Debug)]
pub(super) struct ControlledDelay {
    target: SimDuration,
    interval: SimDuration,
    last_empty: SimTime,
}

impl ControlledDelay {
    pub(super) fn new(config: ControlledDelayConfig) -> Self {
        Self { target: config.target.get(), interval: config.interval.get(), last_empty: SimTime::ZERO }
    }

    /// The line is empty.
    pub(super) fn note_empty(&mut self, now: SimTime) {
        self.last_empty = now;
    }

    /// The latest start of a call that joins the line now.
    pub(super) fn until(&self, now: SimTime) -> SimTime {
        let stands = now.since(self.last_empty) > self.interval;
        let patience = if stands { self.target } else { self.interval };
        SimTime::from_nanos(now.as_nanos().saturating_add(patience.as_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SimTime {
        SimTime::from_nanos(milliseconds * 1_000_000)
    }

    /// Serves a call at `now` from a deep line whose calls came at `arrived`: how many are dropped for it.
    fn serve(codel: &mut Codel, now: u64, arrived: u64, behind: usize) -> u32 {
        let mut dropped = 0;
        let pop = || Some(Head { call: (), arrived: at(arrived), behind });
        assert!(codel.next(at(now), pop, |()| dropped += 1).is_some());
        dropped
    }

    /// All calls came at 0 and one is served every 10 ms. From the law of RFC 8289: the first is dropped an
    /// interval after 10 ms, the next 100 ms later, then after 100 / sqrt(2), 100 / sqrt(3)... from when each
    /// was due: 210, 280.7, 338.4, 388.4, 433.2, 474.0 and 511.8, each seen with the next service.
    #[test]
    fn drop_times_follow_the_control_law() {
        let mut codel = Codel::new(CodelConfig::default());
        let services = (10..=530).step_by(10);
        let dropped: Vec<u64> = services.filter(|time| serve(&mut codel, *time, 0, 100) > 0).collect();
        assert_eq!(dropped, [110, 210, 290, 340, 390, 440, 480, 520]);
        // One in time ends the spell.
        assert_eq!(serve(&mut codel, 540, 536, 100), 0);
        // A new spell soon after begins with nearly the old rate: after 7 drops, 100 / sqrt(7) = 37.8.
        let services = (600..=790).step_by(10);
        let dropped: Vec<u64> = services.filter(|time| serve(&mut codel, *time, 0, 100) > 0).collect();
        assert_eq!(dropped, [700, 740, 780]);
        // After 16 intervals of peace it begins anew.
        assert_eq!(serve(&mut codel, 3000, 2999, 100), 0);
        let services = (3010..=3220).step_by(10);
        let dropped: Vec<u64> = services.filter(|time| serve(&mut codel, *time, 0, 100) > 0).collect();
        assert_eq!(dropped, [3110, 3210]);
    }

    #[test]
    fn nothing_is_dropped_of_a_short_line_or_within_the_target() {
        let mut codel = Codel::new(CodelConfig::default());
        for time in (10..2000).step_by(10) {
            assert_eq!(serve(&mut codel, time, 0, 1), 0);
        }
        for time in (2010..4000).step_by(10) {
            assert_eq!(serve(&mut codel, time, time - 4, 100), 0);
        }
        // An empty line is no delay.
        assert!(codel.next(at(4000), || None::<Head<()>>, |()| {}).is_none());
    }

    #[test]
    fn a_line_that_stands_has_little_patience() {
        let mut delay = ControlledDelay::new(ControlledDelayConfig::default());
        delay.note_empty(at(1000));
        assert_eq!(delay.until(at(1000)), at(1100));
        assert_eq!(delay.until(at(1100)), at(1200));
        assert_eq!(delay.until(at(1101)), at(1106));
        delay.note_empty(at(1200));
        assert_eq!(delay.until(at(1201)), at(1301));
    }
}
