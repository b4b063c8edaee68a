//! The time series of a run: one row a window, for the system and for every component.

use sim_core::stats::Histogram;
use sim_core::time::{SimDuration, SimTime};

use crate::component::Signals;
use crate::meter::ComponentMeter;
use crate::request::Outcome;

/// The whole system in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemWindow {
    /// Start of the window.
    pub start: SimTime,
    /// Its length.
    pub width: SimDuration,
    /// Requests born in it.
    pub born: u64,
    /// Requests ended in it, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 5],
    /// Requests in the system at its end.
    pub in_flight: u64,
    /// Mean latency of the requests answered in it, in nanoseconds.
    pub latency_mean: Option<f64>,
    /// 99th percentile of them, in nanoseconds.
    pub latency_p99: Option<u64>,
}

/// A component in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComponentWindow {
    /// Mean number of calls waiting.
    pub queue: f64,
    /// Mean number of servers busy.
    pub busy: f64,
    /// Mean number of servers.
    pub capacity: f64,
    /// Signals at the end of the window.
    pub signals: Signals,
}

/// Collects windows of one width.
#[derive(Debug)]
pub struct Recorder {
    pub(crate) width: SimDuration,
    /// Requests born in the present window.
    pub(crate) born: u64,
    outcomes: [u64; 5],
    latency: Latencies,
    start: SimTime,
    /// Integrals of queue, busy and capacity of every component at the start of the window.
    integrals: Vec<[u128; 3]>,
    /// Finished windows of the system.
    pub(crate) system: Vec<SystemWindow>,
    /// Finished windows of the components, window by window.
    pub(crate) components: Vec<ComponentWindow>,
}

impl Recorder {
    pub(crate) fn new(width: SimDuration, components: usize) -> Self {
        Self {
            width,
            born: 0,
            outcomes: [0; 5],
            latency: Latencies::default(),
            start: SimTime::ZERO,
            integrals: vec![[0; 3]; components],
            system: Vec::new(),
            components: Vec::new(),
        }
    }

    pub(crate) fn end(&mut self, outcome: Outcome, latency: SimDuration) {
        self.outcomes[outcome as usize] += 1;
        if outcome.is_answer() {
            self.latency.record(latency.as_nanos());
        }
    }

    /// Remembers where the integrals stand, at the start of a window.
    fn anchor(&mut self, now: SimTime, meters: &[ComponentMeter]) {
        for (integrals, meter) in self.integrals.iter_mut().zip(meters) {
            *integrals = standing(meter, now);
        }
    }

    /// Lets the meters be reset, which begins no window: what the present one holds so far stays in it.
    pub(crate) fn reset(
        &mut self,
        now: SimTime,
        meters: &mut [ComponentMeter],
        reset: impl Fn(&mut ComponentMeter),
    ) {
        for (integrals, meter) in self.integrals.iter_mut().zip(meters) {
            let before = standing(meter, now);
            reset(meter);
            let after = standing(meter, now);
            for (start, (before, after)) in integrals.iter_mut().zip(before.into_iter().zip(after)) {
                // Below 0 where more was held than is left, which the next difference undoes.
                *start = after.wrapping_sub(before.wrapping_sub(*start));
            }
        }
    }

    /// Ends the present window.
    pub(crate) fn close(
        &mut self,
        now: SimTime,
        in_flight: u64,
        meters: &[ComponentMeter],
        signals: &[Signals],
    ) {
        let width = now.since(self.start);
        if width.is_zero() {
            return;
        }
        self.system.push(SystemWindow {
            start: self.start,
            width,
            born: std::mem::take(&mut self.born),
            outcomes: std::mem::take(&mut self.outcomes),
            in_flight,
            latency_mean: self.latency.mean(),
            latency_p99: self.latency.p99(),
        });
        self.latency.clear();
        for ((before, meter), signals) in self.integrals.iter().zip(meters).zip(signals) {
            let mean = |level: &sim_core::stats::TimeWeighted, before: u128| {
                level.integral(now).wrapping_sub(before) as f64 / width.as_nanos() as f64
            };
            self.components.push(ComponentWindow {
                queue: mean(&meter.queue, before[0]),
                busy: mean(&meter.busy, before[1]),
                capacity: mean(&meter.capacity, before[2]),
                signals: *signals,
            });
        }
        self.start = now;
        self.anchor(now, meters);
    }
}

/// The integrals of queue, busy and capacity.
fn standing(meter: &ComponentMeter, now: SimTime) -> [u128; 3] {
    [&meter.queue, &meter.busy, &meter.capacity].map(|level| level.integral(now))
}

/// The latencies of one window, in nanoseconds: a list while there are few, as a histogram takes longer to look
/// through and to clear than to fill with those.
#[derive(Debug, Default)]
struct Latencies {
    few: Vec<u64>,
    many: Histogram,
}

/// The longest list.
const FEW: usize = 512;

impl Latencies {
    fn record(&mut self, nanos: u64) {
        if self.few.len() < FEW {
            return self.few.push(nanos);
        }
        if self.many.is_empty() {
            self.few.iter().for_each(|nanos| self.many.record(*nanos));
        }
        self.many.record(nanos);
    }

    fn mean(&self) -> Option<f64> {
        if !self.many.is_empty() {
            return self.many.mean();
        }
        let sum: u128 = self.few.iter().map(|nanos| u128::from(*nanos)).sum();
        (!self.few.is_empty()).then(|| sum as f64 / self.few.len() as f64)
    }

    /// Sorts the list.
    fn p99(&mut self) -> Option<u64> {
        if !self.many.is_empty() {
            return self.many.quantile(0.99);
        }
        self.few.sort_unstable();
        Histogram::quantile_of_sorted(&self.few, 0.99)
    }

    fn clear(&mut self) {
        self.few.clear();
        if !self.many.is_empty() {
            self.many.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_measurement_leaves_no_gap() {
        let second = |s: u64| SimTime::from_nanos(s * 1_000_000_000);
        let mut meters = vec![ComponentMeter::new()];
        let mut recorder = Recorder::new(SimDuration::from_secs(10), 1);
        meters[0].queue.add(SimTime::ZERO, 4);
        // Measurement begins within a window, and at the very end of one.
        for (reset, close) in [(3, 10), (20, 20), (25, 30)] {
            recorder.reset(second(reset), &mut meters, |meter| meter.reset(second(reset)));
            recorder.close(second(close), 0, &meters, &[Signals::default()]);
        }
        meters[0].queue.add(second(35), -4);
        recorder.close(second(40), 0, &meters, &[Signals::default()]);
        let queues: Vec<f64> = recorder.components.iter().map(|window| window.queue).collect();
        assert_eq!(queues, [4.0, 4.0, 4.0, 2.0]);
    }

    #[test]
    fn few_and_many_latencies_are_those_of_a_histogram() {
        let mut latencies = Latencies::default();
        for count in [0, 1, 2, 100, FEW, FEW + 1, 3 * FEW] {
            let mut histogram = Histogram::new();
            for i in 0..count as u64 {
                let nanos = (i * 7_919_777) % 1_000_000_007;
                latencies.record(nanos);
                histogram.record(nanos);
            }
            assert_eq!((latencies.mean(), latencies.p99()), (histogram.mean(), histogram.quantile(0.99)));
            latencies.clear();
        }
    }
}
