//! Outlier detection: replicas whose answers are bad are left out for a while.
//!
//! Semantics and names of Envoy (`source/common/upstream/outlier_detection_impl.cc`, and the
//! `OutlierDetection` message of its v3 API, November 2025). Calls that fail, or that their caller gave up
//! by a timeout that reached the replica, count as 5xx; refusals by a full queue do not (they are taken
//! for 429, an assumption).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::units::Time;

/// Outlier detection as Envoy does it. Percentages are whole numbers from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierDetection {
    /// Failures in a row that eject a replica at once. Default: 5.
    pub consecutive_5xx: u32,
    /// How often replicas are let back in, and success rates compared. Default: 10 s.
    pub interval: Time,
    /// How long a replica is out the first time; the n-th time n times as long. Default: 30 s.
    pub base_ejection_time: Time,
    /// The longest time that a replica is out. Default: 300 s.
    pub max_ejection_time: Time,
    /// The most replicas that are out at once, in percent. Default: 10.
    pub max_ejection_percent: u32,
    /// Whether one replica may be out whatever `max_ejection_percent` says. Default: true, as Envoy's
    /// documentation had it; in 2025 it became a setting of Envoy, false unless set.
    pub always_eject_one_host: bool,
    /// Chance that failures in a row eject, in percent. Default: 100.
    pub enforcing_consecutive_5xx: u32,
    /// Chance that an outlying success rate ejects, in percent. Default: 100.
    pub enforcing_success_rate: u32,
    /// How many replicas must have `success_rate_request_volume` for success rates to be compared.
    /// Default: 5.
    pub success_rate_minimum_hosts: u32,
    /// Calls of an interval from which a replica's success rate counts. Default: 100.
    pub success_rate_request_volume: u32,
    /// A success rate this many thousandths of a standard deviation below the mean is outlying.
    /// Default: 1900.
    pub success_rate_stdev_factor: u32,
    /// Share of failures from which a replica is an outlier by itself, in percent. Default: 85.
    pub failure_percentage_threshold: u32,
    /// Chance that a share of failures ejects, in percent. Default: 0.
    pub enforcing_failure_percentage: u32,
    /// How many replicas must have `failure_percentage_request_volume`. Default: 5.
    pub failure_percentage_minimum_hosts: u32,
    /// Calls of an interval from which a replica's share of failures counts. Default: 50.
    pub failure_percentage_request_volume: u32,
    /// Whether an active check that succeeds lets a replica back in. Default: true.
    pub successful_active_health_check_uneject_host: bool,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        let seconds = |seconds| Time::new(SimDuration::from_secs(seconds));
        Self {
            consecutive_5xx: 5,
            interval: seconds(10),
            base_ejection_time: seconds(30),
            max_ejection_time: seconds(300),
            max_ejection_percent: 10,
            always_eject_one_host: true,
            enforcing_consecutive_5xx: 100,
            enforcing_success_rate: 100,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            success_rate_stdev_factor: 1900,
            failure_percentage_threshold: 85,
            enforcing_failure_percentage: 0,
            failure_percentage_minimum_hosts: 5,
            failure_percentage_request_volume: 50,
            successful_active_health_check_uneject_host: true,
        }
    }
}

impl OutlierDetection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, value: String, expected: &str| {
            Err(ConfigError::new([key], format!("{key} is {value}")).help(expected))
        };
        if self.consecutive_5xx == 0 {
            return wrong(
                "consecutive_5xx",
                "0".into(),
                "expected at least 1; `enforcing_consecutive_5xx = 0` turns it off",
            );
        }
        for (key, time) in [("interval", self.interval), ("base_ejection_time", self.base_ejection_time)] {
            if time.get().is_zero() {
                return wrong(key, time.to_string(), "expected a time above 0");
            }
        }
        if self.max_ejection_time < self.base_ejection_time {
            let expected = "expected at least `base_ejection_time`";
            return wrong("max_ejection_time", self.max_ejection_time.to_string(), expected);
        }
        let percentages = [
            ("max_ejection_percent", self.max_ejection_percent),
            ("enforcing_consecutive_5xx", self.enforcing_consecutive_5xx),
            ("enforcing_success_rate", self.enforcing_success_rate),
            ("failure_percentage_threshold", self.failure_percentage_threshold),
            ("enforcing_failure_percentage", self.enforcing_failure_percentage),
        ];
        match percentages.into_iter().find(|(_, value)| *value > 100) {
            Some((key, value)) => wrong(key, value.to_string(), "expected 0 to 100"),
            None => Ok(()),
        }
    }
}

/// Calls that ended.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    ok: u64,
    all: u64,
}

impl Bucket {
    /// Success rate in percent.
    fn rate(self) -> f64 {
        self.ok as f64 * 100.0 / self.all as f64
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Host {
    /// Failures in a row.
    consecutive: u32,
    ejected_at: Option<SimTime>,
    returned_at: Option<SimTime>,
    /// How many times the base it is out for.
    backoff: u64,
    /// Of this interval.
    bucket: Bucket,
    /// Ejections in the measured part of the run.
    ejections: u64,
}

/// Why a replica is an outlier.
#[derive(Debug, Clone, Copy)]
enum Cause {
    Consecutive5xx,
    SuccessRate,
    FailurePercentage,
}

/// Watches the answers of all replicas. `chance` gives a number from 0 to 1.
#[derive(Debug)]
pub(super) struct Outliers {
    config: OutlierDetection,
    hosts: Vec<Host>,
    /// How many of them there are: an autoscaler's replicas come and go.
    present: usize,
    out: usize,
    /// Ejections so far.
    pub(super) ejections: u64,
}

impl Outliers {
    pub(super) fn new(config: OutlierDetection, replicas: u32) -> Self {
        let hosts = vec![Host::default(); replicas as usize];
        Self { config, present: hosts.len(), hosts, out: 0, ejections: 0 }
    }

    pub(super) fn set_present(&mut self, replicas: usize) {
        self.present = replicas;
    }

    pub(super) fn config(&self) -> &OutlierDetection {
        &self.config
    }

    /// Ejections of a replica in the measured part of the run.
    pub(super) fn ejected(&self, replica: usize) -> u64 {
        self.hosts[replica].ejections
    }

    pub(super) fn reset_measurements(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.ejections = 0);
    }

    pub(super) fn is_out(&self, replica: usize) -> bool {
        self.hosts[replica].ejected_at.is_some()
    }

    /// A call ended; whether that ejects the replica.
    pub(super) fn ended(
        &mut self,
        replica: usize,
        ok: bool,
        now: SimTime,
        chance: impl FnMut() -> f64,
    ) -> bool {
        let host = &mut self.hosts[replica];
        host.bucket.all += 1;
        if ok {
            host.bucket.ok += 1;
            host.consecutive = 0;
            return false;
        }
        host.consecutive += 1;
        if host.consecutive != self.config.consecutive_5xx || host.ejected_at.is_some() {
            return false;
        }
        // Counting begins anew, whether or not the replica may be ejected.
        host.consecutive = 0;
        self.eject(replica, Cause::Consecutive5xx, now, chance)
    }

    fn eject(&mut self, replica: usize, cause: Cause, now: SimTime, mut chance: impl FnMut() -> f64) -> bool {
        let share = 100.0 * (self.out + 1) as f64 / self.present as f64;
        let first = self.config.always_eject_one_host && self.out == 0;
        if share > f64::from(self.config.max_ejection_percent) && !first {
            return false;
        }
        let enforcing = match cause {
            Cause::Consecutive5xx => self.config.enforcing_consecutive_5xx,
            Cause::SuccessRate => self.config.enforcing_success_rate,
            Cause::FailurePercentage => self.config.enforcing_failure_percentage,
        };
        let enforced = match enforcing {
            0 => false,
            100.. => true,
            percent => chance() * 100.0 < f64::from(percent),
        };
        let host = &mut self.hosts[replica];
        if !enforced || host.ejected_at.is_some() {
            return false;
        }
        host.ejected_at = Some(now);
        let (base, max) = (self.config.base_ejection_time.get(), self.config.max_ejection_time.get());
        let times = |times: u64| base.as_nanos().saturating_mul(times);
        if times(host.backoff) < max.as_nanos().saturating_add(base.as_nanos()) {
            host.backoff += 1;
        }
        host.ejections += 1;
        self.out += 1;
        self.ejections += 1;
        true
    }

    /// Lets a replica back in.
    pub(super) fn uneject(&mut self, replica: usize, now: SimTime) {
        let host = &mut self.hosts[replica];
        if host.ejected_at.take().is_some() {
            self.out -= 1;
            host.consecutive = 0;
            host.returned_at = Some(now);
        }
    }

    /// A replica has gone, or another is in its place.
    pub(super) fn forget(&mut self, replica: usize) {
        let host = &mut self.hosts[replica];
        self.out -= usize::from(host.ejected_at.is_some());
        *host = Host { ejections: host.ejections, ..Host::default() };
    }

    /// The analysis at the end of an interval; the replicas that it ejects.
    pub(super) fn sweep(&mut self, now: SimTime, mut chance: impl FnMut() -> f64) -> Vec<usize> {
        let config = self.config;
        let (base, max) = (config.base_ejection_time.get(), config.max_ejection_time.get());
        let mut buckets = Vec::with_capacity(self.hosts.len());
        for replica in 0..self.hosts.len() {
            let host = self.hosts[replica];
            let term = base.as_nanos().saturating_mul(host.backoff).min(max.as_nanos());
            if host.ejected_at.is_some_and(|at| now.since(at).as_nanos() >= term) {
                self.uneject(replica, now);
            }
            buckets.push(std::mem::take(&mut self.hosts[replica].bucket));
        }
        let ejected = self.analyse(&buckets, now, &mut chance);
        for host in self.hosts.iter_mut().filter(|host| host.ejected_at.is_none()) {
            if host.returned_at.is_some_and(|at| now.since(at) >= config.interval.get()) {
                host.backoff = host.backoff.saturating_sub(1);
            }
        }
        ejected
    }

    /// Compares the success rates of an interval.
    fn analyse(&mut self, buckets: &[Bucket], now: SimTime, chance: &mut impl FnMut() -> f64) -> Vec<usize> {
        let config = self.config;
        let with_volume = |hosts: &[Host], volume: u32| -> Vec<usize> {
            let has = |replica: &usize| {
                let all = buckets[*replica].all;
                hosts[*replica].ejected_at.is_none() && all > 0 && all >= u64::from(volume)
            };
            (0..buckets.len()).filter(has).collect()
        };
        let comparable = with_volume(&self.hosts, config.success_rate_request_volume);
        let alone = with_volume(&self.hosts, config.failure_percentage_request_volume);
        let mut ejected = Vec::new();
        if !comparable.is_empty() && comparable.len() >= config.success_rate_minimum_hosts as usize {
            let rates = || comparable.iter().map(|replica| buckets[*replica].rate());
            let count = comparable.len() as f64;
            let mean = rates().sum::<f64>() / count;
            let variance = rates().map(|rate| (rate - mean) * (rate - mean)).sum::<f64>() / count;
            let least = mean - f64::from(config.success_rate_stdev_factor) / 1000.0 * variance.sqrt();
            for replica in comparable.iter().copied().filter(|replica| buckets[*replica].rate() < least) {
                if self.eject(replica, Cause::SuccessRate, now, &mut *chance) {
                    ejected.push(replica);
                }
            }
        }
        if alone.len() >= config.failure_percentage_minimum_hosts as usize {
            let most = 100.0 - f64::from(config.failure_percentage_threshold);
            for replica in alone.into_iter().filter(|replica| buckets[*replica].rate() <= most) {
                if self.eject(replica, Cause::FailurePercentage, now, &mut *chance) {
                    ejected.push(replica);
                }
            }
        }
        ejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SimTime {
        SimTime::from_nanos(seconds * 1_000_000_000)
    }

    fn outliers(text: &str, replicas: u32) -> Outliers {
        Outliers::new(toml::from_str(text).unwrap(), replicas)
    }

    /// So many calls, of which so many fail, the failures last.
    fn calls(outliers: &mut Outliers, replica: usize, ok: u32, failed: u32, now: SimTime) -> bool {
        let mut ejected = false;
        (0..ok).for_each(|_| ejected |= outliers.ended(replica, true, now, || 0.5));
        (0..failed).for_each(|_| ejected |= outliers.ended(replica, false, now, || 0.5));
        ejected
    }

    #[test]
    fn five_failures_in_a_row_eject_for_30_seconds_then_60() {
        let mut outliers = outliers("", 10);
        assert!(!calls(&mut outliers, 3, 0, 4, at(1)));
        assert!(!calls(&mut outliers, 3, 1, 4, at(1)), "a success begins anew");
        assert!(outliers.ended(3, false, at(1), || 0.5));
        let sweep = |outliers: &mut Outliers, now| {
            outliers.sweep(at(now), || 0.5);
            outliers.is_out(3)
        };
        assert!(sweep(&mut outliers, 10) && sweep(&mut outliers, 20) && sweep(&mut outliers, 30));
        assert!(!sweep(&mut outliers, 40), "back at the first sweep 30 s after");
        // Again at once: twice as long.
        assert!(calls(&mut outliers, 3, 0, 5, at(41)));
        assert!(sweep(&mut outliers, 100));
        assert!(!sweep(&mut outliers, 110));
        // Every quiet interval takes one off: 2 -> 1 -> 0, and the next ejection is a first one.
        sweep(&mut outliers, 120);
        sweep(&mut outliers, 130);
        assert!(calls(&mut outliers, 3, 0, 5, at(131)));
        assert!(!sweep(&mut outliers, 161));
        assert_eq!(outliers.ejections, 3);
    }

    #[test]
    fn no_time_is_longer_than_the_longest() {
        let mut outliers = outliers("base_ejection_time = \"30s\"\nmax_ejection_time = \"60s\"", 1);
        let mut now = 0;
        for expected in [30, 60, 60, 60] {
            assert!(calls(&mut outliers, 0, 0, 5, at(now)));
            outliers.sweep(at(now + expected - 1), || 0.5);
            assert!(outliers.is_out(0), "{expected}");
            outliers.sweep(at(now + expected), || 0.5);
            assert!(!outliers.is_out(0), "{expected}");
            now += expected;
        }
    }

    #[test]
    fn at_most_so_many_are_out() {
        let eject = |text: &str, replicas: usize| {
            let mut outliers = outliers(text, replicas as u32);
            (0..replicas).filter(|replica| calls(&mut outliers, *replica, 0, 5, at(1))).count()
        };
        assert_eq!([eject("", 10), eject("", 20), eject("", 29), eject("", 3)], [1, 2, 2, 1]);
        assert_eq!(eject("always_eject_one_host = false", 9), 0);
        assert_eq!(eject("max_ejection_percent = 50", 5), 2);
        // Of twenty places ten are taken.
        let mut scaled = self::outliers("", 20);
        scaled.set_present(10);
        assert_eq!((0..10).filter(|replica| calls(&mut scaled, *replica, 0, 5, at(1))).count(), 1);
        // One that was out has gone: another may be.
        scaled.forget(0);
        assert!(calls(&mut scaled, 1, 0, 5, at(2)));
        assert_eq!(eject("enforcing_consecutive_5xx = 0", 5), 0);
        // A chance of 0.5.
        assert_eq!(eject("max_ejection_percent = 100\nenforcing_consecutive_5xx = 51", 5), 5);
        assert_eq!(eject("max_ejection_percent = 100\nenforcing_consecutive_5xx = 50", 5), 0);
    }

    /// The example in Envoy's source: rates of 50, 100, 100, 100, 100 percent have the mean 90, the
    /// standard deviation 20 and the threshold 52.
    #[test]
    fn an_outlying_success_rate_ejects() {
        let sweep = |text: &str, rates: [u32; 5]| {
            let mut outliers = outliers(text, 5);
            for (replica, ok) in rates.into_iter().enumerate() {
                (0..100).for_each(|call| {
                    // Failures never five in a row.
                    outliers.ended(replica, call % 100 < ok, at(1), || 0.5);
                    outliers.hosts[replica].consecutive = 0;
                });
            }
            outliers.sweep(at(10), || 0.5)
        };
        assert_eq!(sweep("", [50, 100, 100, 100, 100]), [0]);
        assert_eq!(sweep("success_rate_stdev_factor = 1999", [50, 100, 100, 100, 100]), [0]);
        assert!(sweep("success_rate_stdev_factor = 2000", [50, 100, 100, 100, 100]).is_empty());
        assert!(sweep("success_rate_request_volume = 101", [50, 100, 100, 100, 100]).is_empty());
        assert!(sweep("success_rate_minimum_hosts = 6", [50, 100, 100, 100, 100]).is_empty());
        // By itself, where all are bad: 85% of failures.
        let alone = "enforcing_failure_percentage = 100\nmax_ejection_percent = 100";
        assert_eq!(sweep(alone, [15, 15, 16, 16, 16]), [0, 1]);
        assert!(sweep("", [15, 15, 16, 16, 16]).is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        for (text, key) in [
            ("consecutive_5xx = 0", "consecutive_5xx"),
            ("interval = \"0s\"", "interval"),
            ("base_ejection_time = \"0s\"", "base_ejection_time"),
            ("max_ejection_time = \"20s\"", "max_ejection_time"),
            ("max_ejection_percent = 101", "max_ejection_percent"),
            ("enforcing_success_rate = 1000", "enforcing_success_rate"),
        ] {
            let error = toml::from_str::<OutlierDetection>(text).unwrap().check().unwrap_err();
            assert_eq!(error.path, [key]);
            assert!(error.help.unwrap().starts_with("expected"), "{text}");
        }
        assert_eq!(OutlierDetection::default().check(), Ok(()));
    }
}
