//! Time series in windows, with a bound on memory.

use crate::time::{SimDuration, SimTime};

use super::StatsError;
use super::time_weighted::changed;

/// What a window holds.
trait Cell: Clone + Default {
    /// Takes in the window that follows.
    fn absorb(&mut self, next: &Self);
}

/// Windows of equal width from `start` on. When the run outgrows `limit` of them, neighbours merge
/// and the width doubles.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Windows<C> {
    start: SimTime,
    /// Nanoseconds, above zero.
    width: u64,
    /// At least 2, so that a width to double is at most half of what is covered.
    limit: usize,
    cells: Vec<C>,
}

impl<C: Cell> Windows<C> {
    fn new(start: SimTime, width: SimDuration, max_windows: usize) -> Result<Self, StatsError> {
        if width.is_zero() {
            return Err(StatsError::WindowWidth(width));
        }
        if max_windows < 2 {
            return Err(StatsError::MaxWindows(max_windows));
        }
        Ok(Self { start, width: width.as_nanos(), limit: max_windows, cells: Vec::new() })
    }

    /// The index of the window that holds the nanosecond `offset` after the start, which exists
    /// afterwards.
    #[inline]
    fn index(&mut self, offset: u64) -> usize {
        while offset / self.width >= self.limit as u64 {
            self.coarsen();
        }
        let index = (offset / self.width) as usize;
        if index >= self.cells.len() {
            self.cells.resize(index + 1, C::default());
        }
        index
    }

    fn coarsen(&mut self) {
        let half = self.cells.len().div_ceil(2);
        for pair in 0..half {
            let mut merged = self.cells[2 * pair].clone();
            if let Some(next) = self.cells.get(2 * pair + 1) {
                merged.absorb(next);
            }
            self.cells[pair] = merged;
        }
        self.cells.truncate(half);
        self.width *= 2;
    }

    /// Makes the windows reach up to `until`.
    fn cover(&mut self, until: SimTime) {
        if let Some(last) = until.since(self.start).as_nanos().checked_sub(1) {
            self.index(last);
        }
    }

    /// Start, width and content of every window; the last one ends at `until` where that is inside.
    fn list(&self, until: SimTime) -> impl Iterator<Item = (SimTime, SimDuration, &C)> {
        let until = until.since(self.start).as_nanos();
        self.cells.iter().enumerate().map(move |(index, cell)| {
            let from = index as u64 * self.width;
            let cut = index + 1 == self.cells.len() && from < until;
            let width = if cut { self.width.min(until - from) } else { self.width };
            (SimTime::from_nanos(self.start.as_nanos() + from), SimDuration::from_nanos(width), cell)
        })
    }
}

/// Events over time: how many, their sum and the largest, window by window. Arrivals, completions,
/// tokens, latencies, money.
///
/// Memory: about 32 bytes for each of the windows allowed. Events may come in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSeries {
    windows: Windows<Events>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Events {
    count: u64,
    sum: u128,
    max: u64,
}

impl Cell for Events {
    fn absorb(&mut self, next: &Self) {
        self.count += next.count;
        self.sum += next.sum;
        self.max = self.max.max(next.max);
    }
}

/// The events of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventWindow {
    /// Where the window starts; it holds this instant.
    pub start: SimTime,
    /// How long it is; it does not hold the instant it ends.
    pub width: SimDuration,
    /// The number of events.
    pub count: u64,
    /// The sum of their values.
    pub sum: u128,
    /// The largest of their values, 0 when there are none.
    pub max: u64,
}

impl EventWindow {
    /// The mean value of an event; `None` when there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// Events a second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.width.as_secs_f64()
    }

    /// Sum of values a second, such as tokens a second.
    pub fn sum_rate(&self) -> f64 {
        self.sum as f64 / self.width.as_secs_f64()
    }
}

impl EventSeries {
    /// An empty series from `start` on, at first with windows of `width`, never with more than
    /// `max_windows`.
    ///
    /// # Errors
    /// A width of zero, or fewer than two windows.
    pub fn new(start: SimTime, width: SimDuration, max_windows: usize) -> Result<Self, StatsError> {
        Ok(Self { windows: Windows::new(start, width, max_windows)? })
    }

    /// Records an event at `now` with a value (1 where only the count matters).
    ///
    /// # Panics
    /// When `now` is before the start.
    #[inline]
    pub fn add(&mut self, now: SimTime, value: u64) {
        let index = self.windows.index(now.since(self.windows.start).as_nanos());
        self.windows.cells[index].absorb(&Events { count: 1, sum: u128::from(value), max: value });
    }

    /// The windows from the start to `until`, without gaps. The last one ends at `until` where that
    /// is inside; windows with events at or after `until` are listed in full width.
    ///
    /// # Panics
    /// When `until` is before the start.
    pub fn windows(&self, until: SimTime) -> Vec<EventWindow> {
        let mut covering = self.windows.clone();
        covering.cover(until);
        covering
            .list(until)
            .map(|(start, width, events)| EventWindow {
                start,
                width,
                count: events.count,
                sum: events.sum,
                max: events.max,
            })
            .collect()
    }
}

/// A level over time: its integral and its maximum, window by window. Queue lengths, busy servers,
/// memory in use.
///
/// Memory: about 32 bytes for each of the windows allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelSeries {
    windows: Windows<Held>,
    last: SimTime,
    level: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    integral: u128,
    max: u64,
}

impl Cell for Held {
    fn absorb(&mut self, next: &Self) {
        self.integral += next.integral;
        self.max = self.max.max(next.max);
    }
}

/// The level in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelWindow {
    /// Where the window starts.
    pub start: SimTime,
    /// How long it is.
    pub width: SimDuration,
    /// The integral of the level over it, in level x nanoseconds.
    pub integral: u128,
    /// The highest level that was held for some time in it.
    pub max: u64,
}

impl LevelWindow {
    /// The time-weighted mean level.
    pub fn mean(&self) -> f64 {
        self.integral as f64 / self.width.as_nanos() as f64
    }
}

impl LevelSeries {
    /// A series from `start` on at `level`, at first with windows of `width`, never with more than
    /// `max_windows`.
    ///
    /// # Errors
    /// A width of zero, or fewer than two windows.
    pub fn new(
        start: SimTime,
        level: u64,
        width: SimDuration,
        max_windows: usize,
    ) -> Result<Self, StatsError> {
        Ok(Self { windows: Windows::new(start, width, max_windows)?, last: start, level })
    }

    /// The level is `level` from `now` on.
    ///
    /// # Panics
    /// When `now` is before the last change.
    #[inline]
    pub fn set(&mut self, now: SimTime, level: u64) {
        self.hold(now);
        self.level = level;
    }

    /// The level changes by `delta` at `now`.
    ///
    /// # Panics
    /// When `now` is before the last change, or the level falls below zero or out of 64 bits: the
    /// model has lost count.
    #[inline]
    pub fn add(&mut self, now: SimTime, delta: i64) {
        self.set(now, changed(self.level, delta));
    }

    /// The level now.
    pub fn level(&self) -> u64 {
        self.level
    }

    /// The windows from the start to `until`; the last one ends there.
    ///
    /// # Panics
    /// When `until` is before the last change.
    pub fn windows(&self, until: SimTime) -> Vec<LevelWindow> {
        let mut held = self.clone();
        held.hold(until);
        held.windows
            .list(until)
            .map(|(start, width, held)| LevelWindow { start, width, integral: held.integral, max: held.max })
            .collect()
    }

    /// Books the level held from the last change to `now`.
    fn hold(&mut self, now: SimTime) {
        let mut left = now.since(self.last).as_nanos();
        if left == 0 {
            return;
        }
        self.windows.cover(now);
        let offset = self.last.since(self.windows.start).as_nanos();
        let mut room = self.windows.width - offset % self.windows.width;
        let first = self.windows.index(offset);
        for cell in &mut self.windows.cells[first..] {
            let time = left.min(room);
            let integral = u128::from(self.level) * u128::from(time);
            cell.absorb(&Held { integral, max: self.level });
            left -= time;
            room = self.windows.width;
        }
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::TimeWeighted;

    const AT: fn(u64) -> SimTime = SimTime::from_nanos;
    const FOR: fn(u64) -> SimDuration = SimDuration::from_nanos;

    #[test]
    fn windows_merge_in_pairs() {
        let mut series = EventSeries::new(AT(100), FOR(10), 3).unwrap();
        for (at, value) in [(100, 1), (109, 2), (110, 4), (129, 8)] {
            series.add(AT(at), value);
        }
        let counts = |series: &EventSeries, until| -> Vec<(u64, u64, u64, u128, u64)> {
            let row = |w: &EventWindow| (w.start.as_nanos(), w.width.as_nanos(), w.count, w.sum, w.max);
            series.windows(AT(until)).iter().map(row).collect()
        };
        assert_eq!(counts(&series, 125), [(100, 10, 2, 3, 2), (110, 10, 1, 4, 4), (120, 5, 1, 8, 8)]);
        series.add(AT(130), 16);
        assert_eq!(counts(&series, 140), [(100, 20, 3, 7, 4), (120, 20, 2, 24, 16)]);
        assert_eq!(counts(&series, 150), [(100, 20, 3, 7, 4), (120, 20, 2, 24, 16), (140, 10, 0, 0, 0)]);
        // Asking for a far end widens the answer, not the series.
        assert_eq!(counts(&series, 200), [(100, 40, 5, 31, 16), (140, 40, 0, 0, 0), (180, 20, 0, 0, 0)]);
        assert_eq!(counts(&series, 140).len(), 2);
        assert!(EventSeries::new(AT(0), FOR(1), 2).unwrap().windows(AT(0)).is_empty());
    }

    #[test]
    fn rates_are_a_second() {
        let mut series = EventSeries::new(AT(0), SimDuration::from_secs(2), 9).unwrap();
        series.add(AT(0), 3);
        series.add(AT(5), 7);
        let window = series.windows(SimTime::ZERO.checked_add(SimDuration::from_secs(4)).unwrap())[0];
        assert_eq!((window.rate(), window.sum_rate(), window.mean()), (1.0, 5.0, Some(5.0)));
    }

    #[test]
    fn the_end_of_time_is_covered() {
        let mut events = EventSeries::new(AT(0), FOR(1), 2).unwrap();
        events.add(SimTime::MAX, 1);
        assert_eq!(events.windows(SimTime::MAX).iter().map(|w| w.count).sum::<u64>(), 1);
        let mut level = LevelSeries::new(AT(0), 5, FOR(1), 2).unwrap();
        level.set(SimTime::MAX, 0);
        let windows = level.windows(SimTime::MAX);
        assert_eq!(windows.iter().map(|w| w.integral).sum::<u128>(), 5 * u128::from(u64::MAX));
        assert!(windows.iter().all(|w| w.mean() == 5.0 && w.max == 5));
    }

    #[test]
    fn bad_shapes_are_named() {
        assert_eq!(EventSeries::new(AT(0), FOR(0), 9), Err(StatsError::WindowWidth(FOR(0))));
        let error = LevelSeries::new(AT(0), 0, FOR(1), 1).unwrap_err();
        assert_eq!(error.to_string(), "max_windows is 1: expected at least 2");
    }

    proptest! {
        #[test]
        fn events_are_conserved(
            start in 0u64..1000,
            events in prop::collection::vec((0u64..100_000, 0u64..50), 0..100),
            width in 1u64..500,
            limit in 2usize..20,
            end in 0u64..100_000,
        ) {
            let mut series = EventSeries::new(AT(start), FOR(width), limit).unwrap();
            for (offset, value) in &events {
                series.add(AT(start + offset), *value);
            }
            let windows = series.windows(AT(start + end));
            prop_assert!(windows.len() <= limit);
            let whole = windows.first().map_or(width, |w| w.width.as_nanos());
            let doublings = whole / width;
            prop_assert!(windows.len() == 1 || whole == width * doublings && doublings.is_power_of_two());
            prop_assert!(windows.windows(2).all(|w| w[0].start.as_nanos() + whole == w[1].start.as_nanos()));
            for (i, window) in windows.iter().enumerate() {
                // By the definition of a window. The last one's width may be cut at `end`.
                let from = window.start.as_nanos() - start;
                let to = if i + 1 < windows.len() { from + whole } else { u64::MAX };
                let inside: Vec<u64> =
                    events.iter().filter(|(o, _)| (from..to).contains(o)).map(|(_, v)| *v).collect();
                prop_assert_eq!(window.count, inside.len() as u64);
                prop_assert_eq!(window.sum, u128::from(inside.iter().sum::<u64>()));
                prop_assert_eq!(window.max, inside.iter().max().copied().unwrap_or(0));
            }
            prop_assert_eq!(windows.iter().map(|w| w.count).sum::<u64>(), events.len() as u64);
        }

        #[test]
        fn levels_are_conserved(
            start in 0u64..1000,
            changes in prop::collection::vec((0u64..3_000, 0u64..50), 0..60),
            width in 1u64..500,
            limit in 2usize..20,
            tail in 0u64..3_000,
        ) {
            let mut series = LevelSeries::new(AT(start), 7, FOR(width), limit).unwrap();
            let mut oracle = TimeWeighted::new(AT(start), 7);
            let mut now = start;
            let mut steps = Vec::new();
            for (gap, level) in changes {
                steps.push((now, now + gap, series.level()));
                now += gap;
                series.set(AT(now), level);
                oracle.set(AT(now), level);
            }
            steps.push((now, now + tail, series.level()));
            now += tail;
            let windows = series.windows(AT(now));
            prop_assert!(windows.len() <= limit);
            prop_assert_eq!(windows.iter().map(|w| w.integral).sum::<u128>(), oracle.integral(AT(now)));
            prop_assert_eq!(windows.iter().map(|w| w.width.as_nanos()).sum::<u64>(), now - start);
            for window in windows {
                let (from, to) = (window.start.as_nanos(), window.start.as_nanos() + window.width.as_nanos());
                let shares: Vec<(u64, u64)> = steps
                    .iter()
                    .map(|(a, b, level)| ((*b).min(to).saturating_sub((*a).max(from)), *level))
                    .filter(|(time, _)| *time > 0)
                    .collect();
                let integral: u64 = shares.iter().map(|(time, level)| time * level).sum();
                prop_assert_eq!(window.integral, u128::from(integral));
                prop_assert_eq!(window.max, shares.iter().map(|(_, level)| *level).max().unwrap());
            }
        }
    }
}
