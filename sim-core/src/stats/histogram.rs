//! Distributions of integers, to three significant digits.

/// The distribution of many non-negative integers: durations in nanoseconds (`as_nanos()`), tokens,
/// batch sizes.
///
/// A High Dynamic Range histogram, with the buckets of Gil Tene's HdrHistogram at 3 significant
/// digits: values up to 2047 have a bucket each, above that a bucket is at most 1/1024 of the values
/// in it. Count, sum, mean, minimum and maximum are exact. Merging is exact: the same as recording
/// everything in one.
///
/// Recording takes constant time. Memory grows with the powers of two that the values spread over:
/// nothing when empty, 8 KiB for every power of two in which there is a value, and 440 KiB, the bound,
/// when they reach from 0 to 2^64 - 1. So latencies from 1 ms to 1 min take 136 KiB. Counts are exact up
/// to 2^53 values.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Counts, by power of two: the first page has the values up to 1023, the next those up to 2047, and
    /// so on. A page is there once something was recorded in it.
    pages: Vec<Option<Box<Page>>>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

/// Buckets of one power of two.
const BUCKETS: usize = 1024;

type Page = [u64; BUCKETS];

/// A point of an empirical distribution function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CdfPoint {
    /// The value, in the unit recorded (the upper end of a bucket).
    pub value: u64,
    /// The fraction of all values at or below it, in (0, 1].
    pub fraction: f64,
}

/// How many low bits of a value its bucket leaves out.
#[inline]
fn dropped_bits(value: u64) -> u32 {
    (value | BUCKETS as u64).ilog2() - BUCKETS.ilog2()
}

/// Page and place in it of a value's bucket.
#[inline]
fn bucket(value: u64) -> (usize, usize) {
    let bits = dropped_bits(value);
    let kept = (value >> bits) as usize;
    (bits as usize + kept / BUCKETS, kept % BUCKETS)
}

/// The largest value of a value's bucket.
#[inline]
fn upper_end(value: u64) -> u64 {
    value | ((1 << dropped_bits(value)) - 1)
}

/// The least value of a bucket.
fn least(page: usize, place: usize) -> u64 {
    match page {
        0 => place as u64,
        _ => ((BUCKETS + place) as u64) << (page - 1),
    }
}

/// Which of `count` values, counted from 1 upwards, is the smallest with at least a fraction `q` at or below it.
fn rank(count: u64, q: f64) -> u64 {
    let rank = ((q * count as f64).ceil() as u64).clamp(1, count);
    // The product may round up over an integer (0.07 * 100); the quotient is rounded correctly.
    if rank > 1 && (rank - 1) as f64 / count as f64 >= q { rank - 1 } else { rank }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { pages: Vec::new(), count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Histogram {
    /// An empty histogram, which takes no memory beyond itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything but keeps the memory, for what is recorded next.
    pub fn clear(&mut self) {
        // Only where there may be something.
        if let Some(used) = self.pages.get_mut(bucket(self.min).0..=bucket(self.max).0) {
            used.iter_mut().flatten().for_each(|page| page.fill(0));
        }
        *self = Self { pages: std::mem::take(&mut self.pages), ..Self::default() };
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
        let (page, place) = bucket(value);
        match self.pages.get_mut(page) {
            Some(Some(counts)) => counts[place] += count,
            _ => self.open(page)[place] += count,
        }
        self.count += count;
        self.sum += u128::from(value) * u128::from(count);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// A page in which nothing has been recorded yet.
    #[cold]
    fn open(&mut self, page: usize) -> &mut Page {
        if page >= self.pages.len() {
            self.pages.resize(page + 1, None);
        }
        self.pages[page].get_or_insert_with(|| Box::new([0; BUCKETS]))
    }

    /// Records the values `first`, `first + step`, ... (`n` of them), each `count` times: the same
    /// as single records, in time proportional to the buckets touched.
    ///
    /// # Panics
    /// When the last value does not fit into 64 bits.
    #[inline]
    pub fn record_ramp(&mut self, first: u64, step: u64, n: u64, count: u64) {
        if n == 0 || count == 0 {
            return;
        }
        if step.checked_mul(n - 1).and_then(|rise| first.checked_add(rise)).is_none() {
            panic!("a ramp of {n} values from {first} by {step} does not fit into 64 bits");
        }
        if step == 0 {
            return self.record_n(first, n * count);
        }
        let last = first + step * (n - 1);
        let (mut next, mut left) = (first, n);
        while left > 0 {
            let within = match upper_end(next) {
                end if end >= last => left,
                end => (end - next) / step + 1,
            };
            let (page, place) = bucket(next);
            match self.pages.get_mut(page) {
                Some(Some(counts)) => counts[place] += within * count,
                _ => self.open(page)[place] += within * count,
            }
            left -= within;
            next = next.wrapping_add(within * step);
        }
        self.count += n * count;
        let rise = u128::from(step) * (u128::from(n) * u128::from(n - 1) / 2);
        self.sum += (u128::from(first) * u128::from(n) + rise) * u128::from(count);
        self.min = self.min.min(first);
        self.max = self.max.max(last);
    }

    /// The number of values recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The exact sum of the values recorded.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The mean, from the exact sum; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.sum as f64 / self.count as f64)
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
        if self.is_empty() {
            return None;
        }
        let rank = rank(self.count, q);
        if rank == 1 {
            return Some(self.min);
        }
        let mut below = 0;
        for (page, counts) in self.used_pages() {
            let total: u64 = counts.iter().sum();
            if below + total < rank {
                below += total;
                continue;
            }
            let reached = counts.iter().position(|count| {
                below += count;
                below >= rank
            });
            return reached.map(|place| self.edge(page, place));
        }
        Some(self.max)
    }

    /// The [quantile](Self::quantile) of a histogram of these values, which ascend. For few values that is
    /// much faster than a histogram.
    pub fn quantile_of_sorted(values: &[u64], q: f64) -> Option<u64> {
        let (first, last) = (values.first()?, values.last()?);
        Some(match rank(values.len() as u64, q) {
            1 => *first,
            rank => upper_end(values[rank as usize - 1]).min(*last),
        })
    }

    /// The pages that hold something, ascending.
    fn used_pages(&self) -> impl Iterator<Item = (usize, &Page)> {
        self.pages.iter().enumerate().filter_map(|(index, page)| Some((index, page.as_deref()?)))
    }

    /// The buckets that hold something, ascending: page, place and count.
    fn used_buckets(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        self.used_pages().flat_map(|(page, counts)| {
            let used = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            used.map(move |(place, count)| (page, place, *count))
        })
    }

    /// The largest value that may have been recorded in a bucket.
    fn edge(&self, page: usize, place: usize) -> u64 {
        upper_end(least(page, place)).min(self.max)
    }

    /// The fraction of values at or below `threshold`, in 0 to 1; all values of the threshold's
    /// bucket count as at or below it. Exact below 2048, below the minimum and from the maximum on.
    /// `None` when empty.
    pub fn fraction_at_or_below(&self, threshold: u64) -> Option<f64> {
        if self.is_empty() {
            return None;
        }
        Some(if threshold >= self.max {
            1.0
        } else if threshold < self.min {
            0.0
        } else {
            let last = bucket(threshold);
            let up_to = self.used_buckets().take_while(|(page, place, _)| (*page, *place) <= last);
            up_to.map(|(_, _, count)| count).sum::<u64>() as f64 / self.count as f64
        })
    }

    /// Adds what `other` has recorded.
    pub fn merge(&mut self, other: &Self) {
        for (page, theirs) in other.used_pages() {
            let ours = match self.pages.get_mut(page) {
                Some(Some(ours)) => ours,
                _ => self.open(page),
            };
            ours.iter_mut().zip(theirs).for_each(|(own, their)| *own += their);
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The empirical distribution function, a point for every bucket that holds values, ascending.
    pub fn cdf(&self) -> impl Iterator<Item = CdfPoint> + '_ {
        let mut below = 0;
        self.used_buckets().map(move |(page, place, count)| {
            below += count;
            CdfPoint { value: self.edge(page, place), fraction: below as f64 / self.count as f64 }
        })
    }
}

/// Equal when count, sum, minimum, maximum and every bucket are.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        (self.count, self.sum, self.min, self.max) == (other.count, other.sum, other.min, other.max)
            && self.used_buckets().eq(other.used_buckets())
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
        let bytes = |values: &[u64]| of(values).used_pages().count() * size_of::<Page>();
        assert_eq!(bytes(&[]), 0);
        assert_eq!(bytes(&[2047]), 8 << 10);
        let latencies: Vec<u64> = (0..60_000).map(|millis| (millis + 1) * 1_000_000).collect();
        assert_eq!(bytes(&latencies), 136 << 10);
        let everything: Vec<u64> = (0..64).map(|bit| u64::MAX >> bit).collect();
        assert_eq!(bytes(&everything), 440 << 10);
    }

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        let mut next = 0;
        for page in 0..55 {
            for place in 0..BUCKETS {
                assert_eq!(least(page, place), next);
                let end = upper_end(next);
                assert_eq!((bucket(next), bucket(end)), ((page, place), (page, place)));
                next = end.wrapping_add(1);
            }
        }
        assert_eq!(next, 0, "2^64");
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
        fn a_cleared_one_is_like_new(
            before in prop::collection::vec(value(), 0..50),
            after in prop::collection::vec(value(), 0..50),
        ) {
            let mut histogram = of(&before);
            histogram.clear();
            prop_assert_eq!(&histogram, &Histogram::new());
            after.iter().for_each(|value| histogram.record(*value));
            prop_assert_eq!(&histogram, &of(&after));
        }

        #[test]
        fn it_has_the_buckets_of_hdr_histogram(values in prop::collection::vec(value(), 1..200)) {
            let mut peer = hdrhistogram::Histogram::<u64>::new(3).unwrap();
            values.iter().for_each(|value| peer.record(*value).unwrap());
            let histogram = of(&values);
            let points: Vec<CdfPoint> = histogram.cdf().collect();
            let theirs: Vec<_> = peer.iter_recorded().collect();
            prop_assert_eq!(points.len(), theirs.len());
            for (point, their) in points.iter().zip(theirs) {
                let (edge, max) = (their.value_iterated_to(), histogram.max().unwrap());
                let edge = if peer.equivalent(edge, max) { max } else { edge };
                prop_assert_eq!((point.value, point.fraction), (edge, their.quantile()));
            }
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
            prop_assert_eq!(Histogram::quantile_of_sorted(&values, q), Some(found));
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
