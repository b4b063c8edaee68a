//! Measured times as functions of a count.

use std::sync::Arc;

use super::super::HardwareError;
use super::MAX_COEFFICIENT;

/// A non-decreasing function of a count, in ticks of 1/1024 ns: linear between its points, constant before
/// the first, and going on behind the last as between the last two. Without points it is 0.
///
/// Times are interpolated linearly, not in log space: work grows linearly with tokens. Values are rounded
/// down to whole ticks, so that equal counts always take equal times.
///
/// ```
/// use sim_models::hardware::timing::Curve;
/// let curve = Curve::new(vec![(1, 100), (11, 200), (21, 400)])?;
/// assert_eq!([0, 1, 6, 11, 16, 31].map(|x| curve.at(x)), [100, 100, 150, 200, 300, 600]);
/// # Ok::<(), sim_models::hardware::HardwareError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Curve {
    points: Arc<[(u64, u64)]>,
    /// The ticks at counts from 0, which steps ask for that only decode.
    few: Arc<[u64]>,
}

/// How many of these are kept.
const FEW: u64 = 257;

impl Curve {
    /// A curve through points (count, ticks).
    ///
    /// # Errors
    /// [`HardwareError::OutOfRange`] when counts do not increase, ticks decrease, or a value exceeds
    /// [`MAX_COEFFICIENT`].
    pub fn new(points: Vec<(u64, u64)>) -> Result<Self, HardwareError> {
        let refuse =
            |value: u64, expected| HardwareError::OutOfRange { name: "curve", value: value as f64, expected };
        for &(count, ticks) in &points {
            if count.max(ticks) > MAX_COEFFICIENT {
                return Err(refuse(count.max(ticks), "counts and ticks of at most 2^50"));
            }
        }
        for pair in points.windows(2) {
            if pair[1].0 <= pair[0].0 {
                return Err(refuse(pair[1].0, "counts that increase from point to point"));
            }
            if pair[1].1 < pair[0].1 {
                return Err(refuse(pair[1].1, "ticks that do not decrease from point to point"));
            }
        }
        Ok(Self::through(points.into()))
    }

    /// A curve through points that are known to be right.
    fn through(points: Arc<[(u64, u64)]>) -> Self {
        let curve = Self { points, few: Arc::default() };
        let few = (0..FEW).map_while(|count| u64::try_from(curve.between(count)).ok()).collect();
        Self { few, ..curve }
    }

    /// The points.
    pub fn points(&self) -> &[(u64, u64)] {
        &self.points
    }

    /// The same, each of its points `share` times as high: `share` is at most 1.
    pub(super) fn scaled(&self, share: f64) -> Self {
        let points = self.points.iter();
        Self::through(points.map(|(count, ticks)| (*count, super::scaled(*ticks, share))).collect())
    }

    /// The ticks at `count`.
    #[inline]
    pub fn at(&self, count: u64) -> u128 {
        match self.few.get(count as usize) {
            Some(ticks) => u128::from(*ticks),
            None => self.between(count),
        }
    }

    fn between(&self, count: u64) -> u128 {
        let points = &*self.points;
        let Some(&(first, ticks)) = points.first() else { return 0 };
        if count <= first || points.len() == 1 {
            return u128::from(ticks);
        }
        // The point before, but never the last one: behind it its segment goes on.
        let before = (points.partition_point(|(at, _)| *at <= count) - 1).min(points.len() - 2);
        let ((x, y), (next_x, next_y)) = (points[before], points[before + 1]);
        let (run, rise, width) = (count - x, next_y - y, next_x - x);
        match run.checked_mul(rise) {
            Some(product) => u128::from(y) + u128::from(product / width),
            None => u128::from(y) + u128::from(run) * u128::from(rise) / u128::from(width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bad_points_are_refused() {
        for (points, part) in [
            (vec![(1, 5), (1, 6)], "counts that increase"),
            (vec![(1, 5), (2, 4)], "do not decrease"),
            (vec![(1, MAX_COEFFICIENT + 1)], "2^50"),
        ] {
            let message = Curve::new(points).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(Curve::default().at(7), 0);
        assert_eq!(Curve::new(vec![(3, 9)]).unwrap().at(70), 9);
    }

    proptest! {
        #[test]
        fn a_curve_goes_through_its_points_and_never_falls(
            steps in prop::collection::vec((1_u64..5_000, 0_u64..1 << 40), 1..40), at in prop::collection::vec(0_u64..1 << 50, 2..9),
        ) {
            let points: Vec<_> = steps
                .iter()
                .scan((0, 0), |(x, y), (dx, dy)| {
                    (*x, *y) = (*x + dx, *y + dy);
                    Some((*x, *y))
                })
                .collect();
            let curve = Curve::new(points.clone()).unwrap();
            for (x, y) in points {
                prop_assert_eq!(curve.at(x), u128::from(y));
            }
            let mut at = at;
            at.sort_unstable();
            for pair in at.windows(2) {
                prop_assert!(curve.at(pair[0]) <= curve.at(pair[1]));
            }
        }
    }
}
