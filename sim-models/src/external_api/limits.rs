//! Limits of requests and tokens: token buckets in integers.

use sim_core::time::{SimDuration, SimTime};

/// Nanoseconds in a minute: what a unit of a limit is worth in a bucket.
const MINUTE: u128 = 60_000_000_000;

/// A bucket whose level is in units times nanoseconds of a minute, so that it fills up exactly.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    per_minute: u128,
    capacity: u128,
    level: u128,
    at: SimTime,
}

impl Bucket {
    fn new(per_minute: u64, window: SimDuration) -> Self {
        let per_minute = u128::from(per_minute);
        let capacity = per_minute * u128::from(window.as_nanos());
        Self { per_minute, capacity, level: capacity, at: SimTime::ZERO }
    }

    fn fill(&mut self, now: SimTime) {
        let filled = self.per_minute * u128::from(now.since(self.at).as_nanos());
        self.level = (self.level + filled).min(self.capacity);
        self.at = now;
    }

    /// How long until it has so many units; `None` when it never will.
    fn wait(&self, units: u64) -> Option<SimDuration> {
        let needed = u128::from(units) * MINUTE;
        if needed > self.capacity {
            return None;
        }
        let nanos = needed.saturating_sub(self.level).div_ceil(self.per_minute);
        Some(SimDuration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn take(&mut self, units: u64) {
        self.level = self.level.saturating_sub(u128::from(units) * MINUTE);
    }
}

/// Why a call is refused, and after how long it would not be; `None` when it always would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub of_tokens: bool,
    pub retry_after: Option<SimDuration>,
}

/// The limits of an account.
#[derive(Debug)]
pub(super) struct Limits {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    count_refused: bool,
}

impl Limits {
    pub fn new(requests: Option<u64>, tokens: Option<u64>, window: SimDuration, count_refused: bool) -> Self {
        let bucket = |limit: Option<u64>| limit.map(|limit| Bucket::new(limit, window));
        Self { requests: bucket(requests), tokens: bucket(tokens), count_refused }
    }

    /// The key and the value of a limit that no call ever passes.
    pub fn never_passes(&self) -> Option<(&'static str, u128)> {
        [("requests_per_minute", &self.requests), ("tokens_per_minute", &self.tokens)].into_iter().find_map(
            |(key, bucket)| {
                let bucket = bucket.as_ref()?;
                bucket.wait(1).is_none().then_some((key, bucket.per_minute))
            },
        )
    }

    /// Takes a call of so many tokens from both buckets, or nothing from either.
    pub fn take(&mut self, tokens: u64, now: SimTime) -> Result<(), Refusal> {
        let wait = |bucket: &mut Option<Bucket>, units: u64| match bucket {
            Some(bucket) => {
                bucket.fill(now);
                bucket.wait(units)
            }
            None => Some(SimDuration::ZERO),
        };
        let for_request = wait(&mut self.requests, 1);
        let for_tokens = wait(&mut self.tokens, tokens);
        let passes = |wait: Option<SimDuration>| wait.is_some_and(SimDuration::is_zero);
        let admitted = passes(for_request) && passes(for_tokens);
        if (admitted || self.count_refused)
            && let Some(bucket) = &mut self.requests
        {
            bucket.take(1);
        }
        if !admitted {
            let of_tokens = passes(for_request);
            // What this call has taken is missing to the next.
            let for_request = match &self.requests {
                Some(bucket) if self.count_refused => bucket.wait(1),
                _ => for_request,
            };
            let retry_after = for_request.zip(for_tokens).map(|(a, b)| a.max(b));
            return Err(Refusal { of_tokens, retry_after });
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(tokens);
        }
        Ok(())
    }
}
