//! Hedges: a second attempt is sent while the first is still under way, and the first answer counts (Dean,
//! Barroso, "The Tail at Scale", CACM 56 (2013)). The others are cancelled.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sim_core::stats::Histogram;
use sim_core::time::{SimDuration, SimTime};

use super::budget::{Budget, BudgetConfig};
use crate::error::ConfigError;
use crate::request::Outcome;
use crate::units::Time;

/// A second attempt while the first is still under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HedgeConfig {
    /// When it is sent, and the next one after as long again: a time, or a percentile of the latency that the
    /// client saw in the last 30 s, such as `"p95"`, looked up every 3 s and at least 1 ms (Finagle's
    /// `BackupRequestFilter`). Until the first look there is no hedge.
    pub after: HedgeAfter,
    /// The most attempts besides the first. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_extra: Option<NonZeroU32>,
    /// How many hedges all calls together may send. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetConfig>,
    /// What decides which attempt has won. Default: reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Winner>,
    /// Whether the others are then cancelled (Finagle's `sendInterrupts`). Default: true; otherwise the callee
    /// works on them for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_interrupts: Option<bool>,
}

/// When a hedge is sent.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema)]
#[schemars(with = "String")]
pub enum HedgeAfter {
    /// After this time.
    Fixed(Time),
    /// At this percentile of the latency seen, from 0 to 100.
    Percentile(f64),
}

/// What decides which attempt has won.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    /// The first answer.
    Reply,
    /// The first token of an answer.
    FirstToken,
}

impl FromStr for HedgeAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(percentile) = text.strip_prefix('p').and_then(|number| number.parse::<f64>().ok()) {
            if percentile > 0.0 && percentile < 100.0 {
                return Ok(Self::Percentile(percentile));
            }
            return Err(format!(
                "`{text}` is no percentile between p0 and p100, such as \"p95\" or \"p99.9\""
            ));
        }
        text.parse().map(Self::Fixed).map_err(|error| format!("{error}, or a percentile such as \"p95\""))
    }
}

impl fmt::Display for HedgeAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(time) => time.fmt(f),
            Self::Percentile(percentile) => write!(f, "p{percentile}"),
        }
    }
}

impl<'de> Deserialize<'de> for HedgeAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for HedgeAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl HedgeConfig {
    pub(super) fn build(&self) -> Result<(Hedge, Option<Budget>), ConfigError> {
        let budget = self.budget.map_or(Ok(None), |budget| budget.build());
        let budget = budget.map_err(|error| error.within("budget"))?;
        let max_extra = self.max_extra.map_or(1, NonZeroU32::get);
        if max_extra > MOST_EXTRA {
            return Err(ConfigError::new(["max_extra"], format!("max_extra is {max_extra}"))
                .help(format!("expected a number from 1 to {MOST_EXTRA}")));
        }
        let winner = self.winner.unwrap_or(Winner::Reply);
        let send_interrupts = self.send_interrupts.unwrap_or(true);
        Ok((Hedge { after: self.after, max_extra, winner, send_interrupts }, budget))
    }
}

/// The most hedges of a call: more say nothing that fewer do not.
const MOST_EXTRA: u32 = 100;

/// How a link hedges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hedge {
    pub after: HedgeAfter,
    pub max_extra: u32,
    pub winner: Winner,
    pub send_interrupts: bool,
}

impl Hedge {
    /// When to send a hedge, from now; `None` while nothing is known.
    pub fn delay(&self, latencies: &mut Latencies, now: SimTime) -> Option<SimDuration> {
        match self.after {
            HedgeAfter::Fixed(time) => Some(time.get()),
            HedgeAfter::Percentile(percentile) => latencies.percentile(percentile, now),
        }
    }

    /// Whether latencies need to be remembered.
    pub fn learns(&self) -> bool {
        matches!(self.after, HedgeAfter::Percentile(_))
    }
}

/// The latencies of the last seconds, as Finagle's `WindowedPercentileHistogram` keeps them: those of
/// answers, of timeouts and of the losers of a hedge up to their end; failures are quick and would mislead.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    buckets: [Histogram; BUCKETS],
    /// The number of the present bucket since time 0.
    present: u64,
    /// What was looked up last, and the number of the look.
    found: Option<SimDuration>,
    look: u64,
}

const BUCKETS: usize = 3;
const BUCKET: u64 = 10_000_000_000;
const LOOK_EVERY: u64 = 3_000_000_000;
/// Finagle's `MinSendBackupAfterMs`.
const LEAST: SimDuration = SimDuration::from_millis(1);

impl Latencies {
    /// An attempt took so long; `outcome` is `None` when a hedge beat it.
    pub fn record(&mut self, now: SimTime, took: SimDuration, outcome: Option<Outcome>) {
        if outcome.is_some_and(|outcome| !outcome.is_answer() && outcome != Outcome::TimedOut) {
            return;
        }
        self.slide(now);
        self.buckets[self.present as usize % BUCKETS].record(took.as_nanos());
    }

    fn percentile(&mut self, percentile: f64, now: SimTime) -> Option<SimDuration> {
        let look = now.as_nanos() / LOOK_EVERY;
        if look > self.look {
            self.look = look;
            self.slide(now);
            let mut all = Histogram::new();
            self.buckets.iter().for_each(|bucket| all.merge(bucket));
            let found = all.quantile(percentile / 100.0);
            self.found = found.map(|found| SimDuration::from_nanos(found).max(LEAST));
        }
        self.found
    }

    fn slide(&mut self, now: SimTime) {
        let present = now.as_nanos() / BUCKET;
        let passed = (present - self.present).min(BUCKETS as u64);
        for bucket in present + 1 - passed..=present {
            self.buckets[bucket as usize % BUCKETS].clear();
        }
        self.present = present;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct File {
        hedge: HedgeConfig,
    }

    fn read(text: &str) -> Result<HedgeConfig, String> {
        let file = toml::from_str::<File>(&format!("hedge = {text}"));
        file.map(|file| file.hedge).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn times_and_percentiles_read_back_and_mistakes_are_told() {
        for text in ["{ after = \"10ms\" }", "{ after = \"p99.9\", max_extra = 2, winner = \"first_token\" }"]
        {
            let file = File { hedge: read(text).unwrap() };
            assert_eq!(toml::from_str::<File>(&toml::to_string(&file).unwrap()).unwrap(), file);
            file.hedge.build().unwrap();
        }
        for (text, part) in [
            ("{}", "missing field `after`"),
            ("{ after = \"95\" }", "or a percentile such as \"p95\""),
            ("{ after = \"p100\" }", "no percentile between"),
            ("{ after = \"1s\", max_extra = 0 }", "nonzero"),
            ("{ after = \"1s\", winner = \"last\" }", "expected `reply` or `first_token`"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        let error = read("{ after = \"1s\", max_extra = 101 }").unwrap().build().unwrap_err();
        assert_eq!(error.path, ["max_extra"]);
    }

    #[test]
    fn a_percentile_is_of_the_last_thirty_seconds_and_looked_up_every_three() {
        let at = |seconds: u64| SimTime::from_nanos(seconds * 1_000_000_000);
        let ms = SimDuration::from_millis;
        let mut latencies = Latencies::default();
        for took in 1..=100 {
            latencies.record(at(1), ms(took), Some(Outcome::Ok));
            latencies.record(at(1), ms(1), Some(Outcome::Failed));
        }
        assert_eq!(latencies.percentile(95.0, at(2)), None);
        let found = latencies.percentile(95.0, at(3)).unwrap().as_secs_f64();
        assert!((found - 0.095).abs() < 0.0002, "{found}");
        (0..1_000).for_each(|_| latencies.record(at(4), ms(500), None));
        assert!(latencies.percentile(95.0, at(5)).unwrap() < ms(96));
        assert!(latencies.percentile(95.0, at(6)).unwrap() >= ms(499));
        latencies.record(at(29), SimDuration::from_nanos(10), Some(Outcome::TimedOut));
        assert!(latencies.percentile(95.0, at(29)).unwrap() >= ms(499));
        assert_eq!(latencies.percentile(95.0, at(30)), Some(ms(1)));
        assert_eq!(latencies.percentile(95.0, at(60)), None);
    }
}
