//! What one run takes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sim_core::distribution::{Dist, Distribution};
use sim_core::random::{KeyedDraws, KeyedStream, unit};
use sim_core::time::SimDuration;

use crate::offline_store::Scanner;

/// The most tasks that are drawn one by one.
const MOST_TASKS: f64 = 1e6;

/// What a run does.
#[derive(Debug)]
pub(super) struct Job {
    /// Bytes.
    pub task_volume: f64,
    /// Seconds.
    pub task_time: Dist,
    pub workers: u32,
    pub startup: SimDuration,
    pub serial_fraction: f64,
    pub straggler_share: f64,
    pub straggler_factor: f64,
    pub task_failure: f64,
    pub max_attempts: u32,
    pub run_failure: f64,
    pub offline: Option<Scanner>,
}

/// One attempt of a run, drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Attempt {
    /// From its beginning to its end, or to its failure.
    pub time: SimDuration,
    pub succeeds: bool,
    /// US dollars for what it scans.
    pub scan_usd: f64,
    /// Attempts of tasks that failed.
    pub task_failures: u64,
}

impl Job {
    /// Whether scans of the offline store are paid.
    pub(super) fn is_paid(&self) -> bool {
        self.offline.as_ref().is_some_and(Scanner::is_paid)
    }

    /// Attempt `attempt` of run `run` over `volume` bytes. `stream` is the pipeline's.
    pub(super) fn draw(&self, stream: KeyedStream, run: u64, attempt: u32, volume: f64) -> Attempt {
        let wanted = (volume / self.task_volume).ceil().max(1.0);
        let tasks = wanted.min(MOST_TASKS);
        let weight = wanted / tasks * (1.0 - self.serial_fraction);
        let fails = self.run_failure > 0.0 && unit(&mut stream.draws(run, attempt, 0)) < self.run_failure;
        // One worker's time, on average, stragglers and retries aside: what the serial part is a share of.
        let serial = wanted * self.task_time.mean() * self.serial_fraction;
        let mut task_failures = 0;
        let mut free: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
        let workers = f64::from(self.workers).min(tasks) as usize;
        let (mut makespan, mut failed_at) = (0, None);
        for task in 1..=tasks as u32 {
            let begins = if free.len() < workers { 0 } else { free.pop().map_or(0, |Reverse(at)| at) };
            if failed_at.is_some_and(|at| begins >= at) {
                // Who would begin next is not before anybody else.
                break;
            }
            let (seconds, failures) = self.task(&mut stream.draws(run, attempt, task));
            task_failures += u64::from(failures);
            let time = SimDuration::saturating_from_secs_f64(seconds * weight).as_nanos();
            let ends = begins.saturating_add(time);
            if failures == self.max_attempts {
                failed_at = Some(failed_at.unwrap_or(u64::MAX).min(ends));
            }
            makespan = makespan.max(ends);
            free.push(Reverse(ends));
        }
        let scan = self.offline.as_ref().map(|offline| offline.scan(volume));
        let scan_time = scan.map_or(0, |scan| scan.time.as_nanos());
        let parallel = failed_at.unwrap_or_else(|| makespan.max(scan_time));
        let serial = SimDuration::saturating_from_secs_f64(serial);
        let fixed = self.startup.saturating_add(serial);
        Attempt {
            time: fixed.saturating_add(SimDuration::from_nanos(parallel)),
            succeeds: failed_at.is_none() && !fails,
            scan_usd: scan.map_or(0.0, |scan| scan.usd),
            task_failures,
        }
    }

    /// Seconds that a task takes with all its attempts, and how many of them failed.
    fn task(&self, draws: &mut KeyedDraws) -> (f64, u32) {
        let (mut seconds, mut failures) = (0.0, 0);
        loop {
            let time = self.task_time.sample(draws).max(0.0);
            let is_straggler = self.straggler_share > 0.0 && unit(draws) < self.straggler_share;
            seconds += if is_straggler { time * self.straggler_factor } else { time };
            if self.task_failure == 0.0 || unit(draws) >= self.task_failure {
                return (seconds, failures);
            }
            failures += 1;
            if failures == self.max_attempts {
                return (seconds, failures);
            }
        }
    }
}
