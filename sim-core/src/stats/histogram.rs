//! Distributions of integers, to three significant digits.

/// The distribution of many non-negative integers: durations in nanoseconds (`as_nanos()`), tokens,
/// batch sizes.
///
/// A High Dynamic Range histogram (crate `hdrhistogram` 7.6, after Gil Tene's) with 3 significant
/// digits: values up to 2047 have a bucket each, above that a bucket is at most 1/1024 of the values
/// in it. Count, sum, mean, minimum and maximum are exact. Merging is exact: the same as recording
/// everything in one.
///
/// Recording takes constant time. Memory grows with the largest value: nothing when empty, 16 KiB up
/// to 2047, then 8 KiB for every doubling: 168 KiB for a second in nanoseconds, 264 KiB for an hour,
/// and 440 KiB, the bound, for 2^64 - 1. Counts are exact up to 2^51 values.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Present, and not empty, once something was recorded.
    buckets: Option<hdrhistogram::Histogram<u64>>,
    sum: u128,
    min: u64,
    max: u64,
}

/// A point of an empirical distribution function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CdfPoint {
    /// The value, in the unit recorded (the upper end of a bucket).
    pub value: u64,
    /// The fraction of all values at or below it, in (0, 1].
    pub fraction: f64,
}

const SIGNIFICANT_DIGITS: u8 = 3;

fn allocate() -> hdrhistogram::Histogram<u64> {
    hdrhistogram::Histogram::new(SIGNIFICANT_DIGITS).expect("3 digits are between 0 and 5")
}

impl Histogram {
    /// An empty histogram, which takes no memory beyond itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records one value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records `count` values that are all `value`; nothing when `count` is 0.
    #[inline]
    pub fn record_n(&mut self, value: u64, count: u64) {
        if count == 0 {
            return;
        }
        let buckets = self.buckets.get_or_insert_with(|| {
            self.min = u64::MAX;
            allocate()
        });
        buckets.record_n(value, count).expect("an auto-resizing histogram takes every u64");
        self.sum += u128::from(value) * u128::from(count);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Records the values `first`, `first + step`, ... (`n` of them), each `count` times: the same
    /// as single records, in time proportional to the buckets touched.
    ///
    /// # Panics
    /// When the last value does not fit into 64 bits.
    pub fn record_ramp(&mut self, first: u64, step: u64, n: u64, count: u64) {
        if n == 0 || count == 0 {
            return;
        }
        let Some(last) = step.checked_mul(n - 1).and_then(|rise| first.checked_add(rise)) else {
            panic!("a ramp of {n} values from {first} by {step} does not fit into 64 bits");
        };
        if step == 0 {
            return self.record_n(first, n * count);
        }
        // The largest value first: one growth, and `buckets` exists.
        self.record_n(last, count);
        let (mut next, mut left) = (first, n - 1);
        while left > 0 {
            let edge = self.buckets.as_ref().map_or(next, |buckets| buckets.highest_equivalent(next));
            let within = ((edge - next) / step + 1).min(left);
            self.record_evenly(next, step, within, count);
            left -= within;
            next += within * step;
        }
    }

    /// Records a ramp of `n >= 1` values that share a bucket.
    fn record_evenly(&mut self, first: u64, step: u64, n: u64, count: u64) {
        self.record_n(first, n * count);
        let n = u128::from(n);
        self.sum += u128::from(step) * (n * (n - 1) / 2) * u128::from(count);
        self.max = self.max.max(first + step * (n as u64 - 1));
    }

    /// The number of values recorded.
    pub fn count(&self) -> u64 {
        self.buckets.as_ref().map_or(0, hdrhistogram::Histogram::len)
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_none()
    }

    /// The exact sum of the values recorded.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The mean, from the exact sum; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        self.buckets.as_ref().map(|buckets| self.sum as f64 / buckets.len() as f64)
    }

    /// The smallest value, exactly; `None` when empty.
    pub fn min(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.min)
    }

    /// The largest value, exactly; `None` when empty.
    pub fn max(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.max)
    }

    /// The smallest value with at least a fraction `q` of all values at or below it (type 1 of
    /// Hyndman and Fan 1996), rounded up to the end of its bucket: never below the exact quantile
    /// and at most 1/1024 of it above. `q` is clamped to 0 to 1, where the answer is the exact
    /// minimum or maximum. `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let buckets = self.buckets.as_ref()?;
        let count = buckets.len();
        let mut rank = ((q * count as f64).ceil() as u64).clamp(1, count);
        // The product may round up over an integer (0.07 * 100); the quotient is rounded correctly.
        if rank > 1 && (rank - 1) as f64 / count as f64 >= q {
            rank -= 1;
        }
        if rank == 1 {
            return Some(self.min);
        }
        // Half a rank below, so that the rank survives the rounding of the product inside.
        Some(self.upper_end(buckets.value_at_quantile((rank as f64 - 0.5) / count as f64)))
    }

    /// The largest value that may have been recorded in the bucket that ends at `edge`.
    fn upper_end(&self, edge: u64) -> u64 {
        match &self.buckets {
            Some(buckets) if !buckets.equivalent(edge, self.max) => edge,
            _ => self.max,
        }
    }

    /// The fraction of values at or below `threshold`, in 0 to 1; all values of the threshold's
    /// bucket count as at or below it. Exact below 2048, below the minimum and from the maximum on.
    /// `None` when empty.
    pub fn fraction_at_or_below(&self, threshold: u64) -> Option<f64> {
        let buckets = self.buckets.as_ref()?;
        Some(if threshold >= self.max {
            1.0
        } else if threshold < self.min {
            0.0
        } else {
            buckets.count_between(0, threshold) as f64 / buckets.len() as f64
        })
    }

    /// Adds what `other` has recorded.
    pub fn merge(&mut self, other: &Self) {
        let Some(theirs) = &other.buckets else { return };
        match &mut self.buckets {
            Some(ours) => {
                ours.add(theirs).expect("an auto-resizing histogram takes every u64");
                self.sum += other.sum;
                self.min = self.min.min(other.min);
                self.max = self.max.max(other.max);
            }
            None => *self = other.clone(),
        }
    }

    /// The empirical distribution function, a point for every bucket that holds values, ascending.
    pub fn cdf(&self) -> impl Iterator<Item = CdfPoint> + '_ {
        self.buckets.iter().flat_map(|buckets| buckets.iter_recorded()).map(|point| CdfPoint {
            value: self.upper_end(point.value_iterated_to()),
            fraction: point.quantile(),
        })
    }
}

/// Equal when count, sum, minimum, maximum and every bucket are.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        (self.count(), self.sum, self.min, self.max) == (other.count(), other.sum, other.min, other.max)
            && self.cdf().eq(other.cdf())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    /// Every magnitude alike, both ends of u64 included.
    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![
            10 => (any::<u64>(), 0u32..64).prop_map(|(bits, shift)| bits >> shift),
            1 => Just(0),
            1 => Just(u64::MAX)
        ]
    }

    #[test]
    fn empty_says_nothing() {
        let empty = Histogram::new();
        assert_eq!((empty.count(), empty.sum(), empty.cdf().count()), (0, 0, 0));
        assert_eq!((empty.min(), empty.max(), empty.quantile(0.5)), (None, None, None));
        assert_eq!((empty.mean(), empty.fraction_at_or_below(1)), (None, None));
        let mut merged = of(&[5]);
        merged.merge(&empty);
        assert_eq!(merged, of(&[5]));
        let mut nothing = Histogram::new();
        nothing.record_n(7, 0);
        assert!(nothing.is_empty());
        nothing.merge(&merged);
        assert_eq!(nothing, merged);
    }

    #[test]
    fn small_values_are_exact() {
        let hundred: Vec<u64> = (1..=100).collect();
        let histogram = of(&hundred);
        for percent in 1..=100 {
            assert_eq!(histogram.quantile(percent as f64 / 100.0), Some(percent));
            assert_eq!(histogram.fraction_at_or_below(percent), Some(percent as f64 / 100.0));
        }
        assert_eq!(histogram.mean(), Some(50.5));
        assert_eq!(histogram.quantile(0.0), Some(1));
        assert_eq!(histogram.quantile(-1.0), Some(1));
        assert_eq!(histogram.quantile(2.0), Some(100));
        assert_eq!(histogram.fraction_at_or_below(0), Some(0.0));
    }

    #[test]
    fn the_sum_is_exact_where_doubles_are_not() {
        let mut histogram = Histogram::new();
        histogram.record_n(u64::MAX, 1 << 40);
        histogram.record(1);
        assert_eq!(histogram.sum(), (u128::from(u64::MAX) << 40) + 1);
    }

    #[test]
    fn memory_is_as_documented() {
        let bytes = |value: u64| of(&[value]).buckets.map_or(0, |b| b.distinct_values() * 8);
        assert_eq!(bytes(2047), 16 << 10);
        assert_eq!(bytes(1_000_000_000), 168 << 10);
        assert_eq!(bytes(3_600_000_000_000), 264 << 10);
        assert_eq!(bytes(u64::MAX), 440 << 10);
    }

    proptest! {
        #[test]
        fn merging_is_recording_everything_in_one(
            left in prop::collection::vec(value(), 0..50),
            right in prop::collection::vec(value(), 0..50),
        ) {
            let mut merged = of(&left);
            merged.merge(&of(&right));
            let all: Vec<u64> = left.iter().chain(&right).copied().collect();
            prop_assert_eq!(&merged, &of(&all));
            prop_assert_eq!(merged.sum(), all.iter().map(|v| u128::from(*v)).sum::<u128>());
            prop_assert_eq!(merged.min(), all.iter().min().copied());
            prop_assert_eq!(merged.max(), all.iter().max().copied());
        }

        #[test]
        fn quantiles_are_within_a_thousandth(
            mut values in prop::collection::vec(value(), 1..200),
            q in 0.0..=1.0,
        ) {
            let histogram = of(&values);
            values.sort_unstable();
            let n = values.len();
            // The definition itself, by search.
            let exact = *values.iter().enumerate().find(|(i, _)| (i + 1) as f64 / n as f64 >= q).unwrap().1;
            let found = histogram.quantile(q).unwrap();
            prop_assert!(found >= exact && found - exact <= exact / 1024, "{} {}", exact, found);
        }

        #[test]
        fn fractions_err_by_at_most_the_bucket(
            values in prop::collection::vec(value(), 1..200),
            threshold in value(),
        ) {
            let below = |limit: u64| values.iter().filter(|v| **v <= limit).count() as f64 / values.len() as f64;
            let found = of(&values).fraction_at_or_below(threshold).unwrap();
            prop_assert!(found >= below(threshold));
            prop_assert!(found <= below(threshold.saturating_add(threshold / 1024)));
        }

        #[test]
        fn a_ramp_is_its_values(first in 0u64..1 << 40, step in 0u64..10_000, n in 0u64..3_000, count in 0u64..4) {
            let mut ramp = Histogram::new();
            ramp.record_ramp(first, step, n, count);
            let mut single = Histogram::new();
            (0..n).for_each(|i| single.record_n(first + i * step, count));
            prop_assert_eq!(ramp, single);
        }

        #[test]
        fn the_distribution_function_ends_at_one(values in prop::collection::vec(value(), 1..100)) {
            let histogram = of(&values);
            let points: Vec<CdfPoint> = histogram.cdf().collect();
            prop_assert!(points.is_sorted_by(|a, b| a.value < b.value && a.fraction < b.fraction));
            let last = points.last().unwrap();
            prop_assert_eq!((Some(last.value), last.fraction), (histogram.max(), 1.0));
            for point in points {
                prop_assert_eq!(histogram.fraction_at_or_below(point.value), Some(point.fraction));
            }
        }
    }
}
