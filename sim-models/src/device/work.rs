//! Work that goes on at a changing rate, in integers.

use sim_core::time::{SimDuration, SimTime};

/// Binary digits of a rate.
const DIGITS: u32 = 32;

/// How fast a piece of work goes on: its share of the speed that it has alone on a whole GPU, in
/// units of 2^-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// At full speed.
    pub const FULL: Self = Self(1 << DIGITS);
    /// Not at all.
    pub const NONE: Self = Self(0);

    /// `part` of `whole`, rounded down and at most all of it; nothing of nothing.
    pub fn share(part: u64, whole: u64) -> Self {
        if part >= whole {
            return if whole == 0 { Self::NONE } else { Self::FULL };
        }
        Self(((u128::from(part) << DIGITS) / u128::from(whole)) as u64)
    }

    /// The nearest rate to a share from 0 to 1.
    pub(super) fn from_share(share: f64) -> Self {
        Self((share * (1u64 << DIGITS) as f64).round() as u64)
    }

    /// In units of 2^-32.
    pub(super) fn units(self) -> u64 {
        self.0
    }

    /// At most full speed.
    pub(super) fn from_units(units: u128) -> Self {
        Self(units.min(1 << DIGITS) as u64)
    }

    /// The share of a share.
    pub(super) fn of(self, other: Self) -> Self {
        Self(((u128::from(self.0) * u128::from(other.0)) >> DIGITS) as u64)
    }

    /// As a plain number, for reports and tests.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / (1u64 << DIGITS) as f64
    }
}

/// A piece of work and how far it is.
///
/// What is left counts in 2^-32 ns, of which a nanosecond at rate `r` does exactly `r` units. So
/// re-anchoring at any instant changes nothing by itself: only the rates and how long each lasted
/// decide when the work ends, which is the first whole nanosecond in which nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacedWork {
    left: u128,
    at: SimTime,
    rate: Rate,
}

impl PacedWork {
    /// Work that takes so long at full speed, and begins now at a rate.
    pub fn new(work: SimDuration, now: SimTime, rate: Rate) -> Self {
        Self { left: u128::from(work.as_nanos()) << DIGITS, at: now, rate }
    }

    /// From now on it goes on at another rate.
    pub fn set_rate(&mut self, now: SimTime, rate: Rate) {
        let done = u128::from(now.since(self.at).as_nanos()) * u128::from(self.rate.0);
        self.left = self.left.saturating_sub(done);
        (self.at, self.rate) = (now, rate);
    }

    /// The rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// When it ends if the rate stays: [`SimTime::MAX`] for never.
    pub fn ends(&self) -> SimTime {
        if self.left == 0 {
            return self.at;
        }
        if self.rate == Rate::NONE {
            return SimTime::MAX;
        }
        let nanos =
            self.left.div_ceil(u128::from(self.rate.0)).saturating_add(u128::from(self.at.as_nanos()));
        SimTime::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(nanos: u64) -> SimTime {
        SimTime::from_nanos(nanos)
    }

    #[test]
    fn at_full_speed_work_takes_its_time() {
        for nanos in [0, 1, 7, 1 << 60] {
            let work = PacedWork::new(SimDuration::from_nanos(nanos), at(5), Rate::FULL);
            assert_eq!(work.ends(), at(5 + nanos));
        }
        let never = PacedWork::new(SimDuration::MAX, at(5), Rate::share(1, 3));
        assert_eq!(never.ends(), SimTime::MAX);
        assert_eq!(PacedWork::new(SimDuration::from_nanos(1), at(5), Rate::NONE).ends(), SimTime::MAX);
    }

    #[test]
    fn shares_are_what_they_say() {
        assert_eq!(Rate::share(1, 4).as_f64(), 0.25);
        assert_eq!(
            (Rate::share(4, 4), Rate::share(9, 4), Rate::share(1, 0)),
            (Rate::FULL, Rate::FULL, Rate::NONE)
        );
        assert_eq!(Rate::share(1, 2).of(Rate::share(1, 2)), Rate::share(1, 4));
        assert_eq!(Rate::from_share(1.0), Rate::FULL);
    }

    proptest! {
        #[test]
        fn re_anchoring_changes_nothing(
            work in 0u64..1 << 40,
            shares in prop::collection::vec((0u64..50, 0u64..1 << 38, 0usize..4), 1..8),
        ) {
            let work = SimDuration::from_nanos(work);
            let (mut once, mut often) = (PacedWork::new(work, at(0), Rate::FULL), PacedWork::new(work, at(0), Rate::FULL));
            let mut now = 0;
            for (share, lasts, stops) in shares {
                let rate = Rate::share(share, 49);
                once.set_rate(at(now), rate);
                often.set_rate(at(now), rate);
                for stop in 0..stops as u64 {
                    often.set_rate(at(now + lasts * stop / 4), rate);
                }
                now += lasts;
                // What has ended by now stays so.
                prop_assert_eq!(once.ends().max(at(now)), often.ends().max(at(now)));
            }
        }

        #[test]
        fn what_is_done_is_rate_times_time(work in 1u64..1 << 40, parts in 1u64..9, until in 0u64..1 << 40) {
            let rate = Rate::share(1, parts);
            let mut paced = PacedWork::new(SimDuration::from_nanos(work), at(0), rate);
            let end = paced.ends();
            // The first nanosecond in which rate * time reaches the work.
            let done = |nanos: u64| u128::from(nanos) * u128::from(rate.units());
            prop_assert!(done(end.as_nanos()) >= u128::from(work) << 32);
            prop_assert!(done(end.as_nanos() - 1) < u128::from(work) << 32);
            paced.set_rate(at(until), Rate::FULL);
            let left = (u128::from(work) << 32).saturating_sub(done(until));
            prop_assert_eq!(u128::from(paced.ends().as_nanos() - until), left.div_ceil(1 << 32));
        }
    }
}
