//! Rate limits by token buckets.

use std::num::NonZeroU32;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimTime;

use super::fair::Party;
use crate::context::Labels;
use crate::error::ConfigError;
use crate::units::Rate;

/// A token bucket: it fills at `rate` up to `burst` tokens, and a call takes one; who finds none is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Tokens that come in a time.
    pub rate: Rate,
    /// The most tokens there can be, and how many there are at the start. Default: those of a second, at
    /// least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// Makes it a bucket of that size for every tenant or every class. Default: one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Party>,
    /// With `per`, other rates by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub rates: IndexMap<String, Rate>,
}

/// Binary digits below the nanosecond.
const FRACTION: u32 = 32;

/// A token bucket that counts exactly: it knows when it would be full again (the virtual scheduling
/// algorithm of ITU-T I.371, annex A), in units of 2^-32 ns, so nothing is rounded but the time of a token.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    /// Time of a token; none comes if there is none.
    token: Option<u128>,
    burst: u128,
    /// When it will be full.
    full_at: u128,
}

impl TokenBucket {
    /// A full bucket that gets `rate` tokens a second.
    pub(crate) fn new(rate: f64, burst: u32) -> Self {
        let token = (rate > 0.0).then(|| ((1e9 * (1u64 << FRACTION) as f64) / rate).round().max(1.0) as u128);
        Self { token, burst: burst.into(), full_at: 0 }
    }

    /// Takes so many tokens; false, and takes none, if there are fewer.
    pub(crate) fn take(&mut self, now: SimTime, tokens: u32) -> bool {
        let Some(token) = self.token else {
            // What it holds is all there is.
            let left = self.burst.checked_sub(tokens.into());
            return left.map(|left| self.burst = left).is_some();
        };
        let now = u128::from(now.as_nanos()) << FRACTION;
        let full_at = self.full_at.max(now) + token * u128::from(tokens);
        let fits = full_at - now <= token * self.burst;
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

/// The buckets of a component.
#[derive(Debug)]
pub(super) struct RateLimit {
    per: Option<Party>,
    buckets: Vec<TokenBucket>,
}

impl RateLimit {
    pub(super) fn new(config: &RateLimitConfig, labels: &Labels) -> Result<Self, ConfigError> {
        if config.rate.per_second() == 0.0 && config.rates.is_empty() {
            return Err(ConfigError::new(["rate"], "a rate of 0 lets nothing in after the burst")
                .help("expected a rate above 0, such as \"100/s\""));
        }
        let rates = match config.per {
            Some(party) => {
                let rates = party.resolve(&config.rates, config.rate, labels);
                rates.map_err(|error| error.within("rates"))?
            }
            None if !config.rates.is_empty() => {
                return Err(ConfigError::new(["rates"], "rates by name for one bucket")
                    .help("expected `per = \"tenant\"` or `per = \"class\"` beside it"));
            }
            None => vec![config.rate],
        };
        let bucket = |rate: &Rate| {
            let rate = rate.per_second();
            let second = rate.round().clamp(1.0, f64::from(u32::MAX)) as u32;
            TokenBucket::new(rate, config.burst.map_or(second, NonZeroU32::get))
        };
        Ok(Self { per: config.per, buckets: rates.iter().map(bucket).collect() })
    }

    /// Takes a token for a call.
    pub(super) fn take(&mut self, now: SimTime, class: u8, tenant: u16) -> bool {
        let bucket = match self.per {
            None => 0,
            Some(Party::Class) => class.into(),
            Some(Party::Tenant) => tenant.into(),
        };
        self.buckets[bucket].take(now, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SimTime {
        SimTime::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_bucket_lets_its_burst_and_then_its_rate_in() {
        let mut bucket = TokenBucket::new(10.0, 3);
        let taken: Vec<bool> = (0..4).map(|_| bucket.take(at(0), 1)).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert!(!bucket.take(at(99), 1));
        assert!(bucket.take(at(100), 1));
        assert!(!bucket.take(at(100), 1));
        // Full again after 300 ms, and no fuller after an hour.
        assert!(!bucket.take(at(399), 3));
        assert!(bucket.take(at(400), 3));
        assert!(!bucket.take(at(3_600_000), 4));
        assert!(bucket.take(at(3_600_000), 3));
    }

    /// A call every millisecond at rates that no nanosecond divides: burst + rate * time, exactly.
    #[test]
    fn counts_are_exact() {
        for (rate, burst) in [(3.0, 1), (7.0, 50), (333.0, 10), (0.7, 2)] {
            let mut bucket = TokenBucket::new(rate, burst);
            let taken = (0..100_000).filter(|time| bucket.take(at(*time), 1)).count();
            let expected = f64::from(burst) + rate * 99.999;
            assert_eq!(taken as f64, expected.floor(), "{rate} {burst}");
        }
    }

    #[test]
    fn without_a_rate_the_burst_is_all() {
        let mut bucket = TokenBucket::new(0.0, 2);
        assert!(bucket.take(at(0), 2));
        assert!(!bucket.take(at(1 << 40), 1));
    }
}
