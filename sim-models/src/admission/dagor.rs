//! DAGOR, the overload control of WeChat (H. Zhou et al., "Overload control for scaling WeChat
//! microservices", SoCC 2018).
//!
//! Every call has a business priority, its class, and within it one of 128 user priorities, a hash of its user
//! that changes every hour. The component lets in all calls up to a level of both. At the end of each window it
//! looks at the mean queueing time: above the threshold it is overloaded, and the level goes down to where
//! alpha fewer calls than it let in would have got in; otherwise it goes up to where as many more would have as
//! beta of all that came. A histogram of what came in the window tells the level.
//!
//! That beta is of all that came, and not of those let in, is an assumption: otherwise a component that lets in
//! fewer than a hundred levels would never find the next.
//!
//! The user of a call is its entity; without entities, every request is a user of its own. Levels are not
//! passed on to callers (no collaborative admission).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::stable_hash;
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::request::Request;
use crate::units::{Probability, Time};

/// DAGOR's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DagorConfig {
    /// The mean queueing time of a window beyond which the component is overloaded. Default: 20 ms.
    pub threshold: Time,
    /// The longest window. Default: 1 s.
    pub window: Time,
    /// A window is also over after so many calls. Default: 2000.
    pub window_requests: u32,
    /// How much less is let in after an overload. Default: 0.05.
    pub alpha: Probability,
    /// How much more otherwise. Default: 0.01.
    pub beta: Probability,
}

impl Default for DagorConfig {
    fn default() -> Self {
        let share = |share| Probability::new(share).expect("a share");
        Self {
            threshold: Time::new(SimDuration::from_millis(20)),
            window: Time::new(SimDuration::from_secs(1)),
            window_requests: 2000,
            alpha: share(0.05),
            beta: share(0.01),
        }
    }
}

impl DagorConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, value: String, expected: &str| {
            Err(ConfigError::new([key], format!("{key} is {value}")).help(expected))
        };
        for (key, time) in [("threshold", self.threshold), ("window", self.window)] {
            if time.get().is_zero() {
                return wrong(key, time.to_string(), "expected a time above 0");
            }
        }
        if self.window_requests == 0 {
            return wrong("window_requests", "0".into(), "expected at least 1");
        }
        for (key, share) in [("alpha", self.alpha), ("beta", self.beta)] {
            if share.get() == 0.0 {
                return wrong(key, share.to_string(), "expected a number above 0 and at most 1");
            }
        }
        Ok(())
    }
}

/// User priorities of a class.
const USERS: usize = 128;

/// The state of a component.
#[derive(Debug)]
pub(super) struct Dagor {
    config: DagorConfig,
    /// Calls that came in the window, by class and user priority.
    histogram: Vec<u32>,
    came: u32,
    admitted: u32,
    /// Priorities up to this one get in.
    level: usize,
    window_ends: SimTime,
    /// Calls that began in the window, and their queueing time.
    began: u64,
    queued: u128,
}

impl Dagor {
    pub(super) fn new(config: DagorConfig, classes: usize) -> Self {
        let levels = classes * USERS;
        Self {
            config,
            histogram: vec![0; levels],
            came: 0,
            admitted: 0,
            level: levels - 1,
            window_ends: SimTime::ZERO,
            began: 0,
            queued: 0,
        }
    }

    /// The place of a request among all priorities; 0 is the highest.
    fn priority(request: &Request, now: SimTime) -> usize {
        let user = if request.entity == 0 { request.key } else { request.entity };
        let hour = now.as_nanos() / 3_600_000_000_000;
        let mut place = [0; 16];
        place[..8].copy_from_slice(&user.to_le_bytes());
        place[8..].copy_from_slice(&hour.to_le_bytes());
        usize::from(request.class) * USERS + (stable_hash(&place) % USERS as u64) as usize
    }

    /// Whether a call gets in.
    pub(super) fn admit(&mut self, request: &Request, now: SimTime) -> bool {
        if now >= self.window_ends || self.came >= self.config.window_requests {
            self.end_window(now);
        }
        let priority = Self::priority(request, now);
        self.note(priority)
    }

    fn note(&mut self, priority: usize) -> bool {
        self.histogram[priority] += 1;
        self.came += 1;
        let admitted = priority <= self.level;
        self.admitted += u32::from(admitted);
        admitted
    }

    /// A call has waited so long and begins.
    pub(super) fn began(&mut self, waited: SimDuration) {
        self.began += 1;
        self.queued += u128::from(waited.as_nanos());
    }

    fn end_window(&mut self, now: SimTime) {
        let threshold = u128::from(self.config.threshold.get().as_nanos());
        let overloaded = self.queued > threshold * u128::from(self.began);
        let admitted = f64::from(self.admitted);
        let expected = match overloaded {
            true => admitted * (1.0 - self.config.alpha.get()),
            false => admitted + self.config.beta.get() * f64::from(self.came),
        };
        let mut prefix = 0.0;
        let fits = self.histogram.iter().position(|calls| {
            prefix += f64::from(*calls);
            prefix > expected
        });
        // The highest priority always gets in, or nothing would ever show that there is room again.
        self.level = fits.unwrap_or(self.histogram.len()).saturating_sub(1);
        self.histogram.fill(0);
        (self.came, self.admitted, self.began, self.queued) = (0, 0, 0, 0);
        let end = now.as_nanos().saturating_add(self.config.window.get().as_nanos());
        self.window_ends = SimTime::from_nanos(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window of calls at these priorities, as many at each as said, that waited so long.
    fn window(dagor: &mut Dagor, calls: &[(usize, u32)], waited: u64) -> usize {
        for (priority, count) in calls {
            for _ in 0..*count {
                if dagor.note(*priority) {
                    dagor.began(SimDuration::from_millis(waited));
                }
            }
        }
        dagor.end_window(SimTime::ZERO);
        dagor.level
    }

    #[test]
    fn the_level_follows_the_histogram() {
        let mut dagor = Dagor::new(DagorConfig::default(), 2);
        // 20 ms is no overload, and all fits.
        assert_eq!(window(&mut dagor, &[(0, 50), (128, 50)], 20), 255);
        // 95 of 100 are to remain: the last that would be the 96th is at 200.
        let calls = [(0, 50), (130, 40), (200, 10)];
        assert_eq!(window(&mut dagor, &calls, 21), 199);
        // 85.5 of 90: those at 130 do not fit any more.
        assert_eq!(window(&mut dagor, &calls, 21), 129);
        // 50 + 1: those at 130 are too many, then just one.
        assert_eq!(window(&mut dagor, &calls, 0), 129);
        assert_eq!(window(&mut dagor, &[(0, 50), (130, 1), (131, 1), (200, 48)], 0), 130);
        // Nothing comes, nothing is known: all may come.
        assert_eq!(window(&mut dagor, &[], 0), 255);
        // The highest priority is always let in.
        assert_eq!(window(&mut dagor, &[(0, 100)], 100), 0);
        assert_eq!(window(&mut dagor, &[(0, 100)], 100), 0);
        assert_eq!(window(&mut dagor, &[(0, 50), (1, 50)], 0), 0);
        assert_eq!(window(&mut dagor, &[(0, 50), (1, 1)], 0), 0);
    }
}
