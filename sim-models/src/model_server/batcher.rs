//! Who waits, and who goes together: Triton's dynamic batcher, without a clock.
//!
//! The rules are those of `DynamicBatchScheduler::GetDynamicBatch` and `PriorityQueue` in
//! triton-inference-server/core (`src/dynamic_batch_scheduler.cc`, `src/scheduler_utils.cc`, read in
//! 2025). A batch is formed when an instance is idle. Requests are looked at from the most important
//! level on, in each first those that are in time, in order of arrival, then those that are late
//! ([`TimeoutAction::Delay`]), as long as their items fit into `max_batch_size`:
//! 1. While the oldest of them is younger than the queue delay, the longest run of them whose items are a
//!    preferred size goes; where the next request would exceed every preferred size and none was met, what
//!    comes before it goes.
//! 2. Otherwise all of them go, when no more fits, when they reach the largest preferred size, when the
//!    delay is over or when there is none.
//! 3. Otherwise they wait for the delay of the oldest to pass, or for the next preferred size.
//!
//! What differs: Triton's clock for delays counts whole microseconds, this one nanoseconds. Without
//! timeouts, levels and bounds Triton forms up to two batches an instance ahead of time, and may still
//! let them grow: the same requests go together, so batches are formed when they can begin.

use std::collections::{BTreeMap, VecDeque};

use sim_core::time::{SimDuration, SimTime};

use super::config::TimeoutAction;
use crate::slab::Key;

/// How batches are formed.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Most items of a batch.
    pub(super) max_batch_size: u64,
    /// Preferred sizes, the least first.
    pub(super) preferred: Vec<u64>,
    /// How long the oldest waits for others; none for ever.
    pub(super) delay: Option<SimDuration>,
    /// Whether every request goes on its own.
    pub(super) alone: bool,
    /// The queue of each level, the most important first.
    pub(super) levels: Vec<Policy>,
}

/// What a level does with who waits in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) action: TimeoutAction,
    /// Zero for never.
    pub(super) timeout: SimDuration,
    /// Whether a caller's own, shorter patience counts.
    pub(super) allow_override: bool,
    /// Most requests that wait; 0 for no bound.
    pub(super) max_queue_size: u64,
}

/// A request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    key: Key,
    /// Counts arrivals.
    number: u64,
    items: u64,
    arrived: SimTime,
    /// The last instant at which it is in time.
    in_time_until: SimTime,
}

#[derive(Debug)]
struct Level {
    policy: Policy,
    in_time: VecDeque<Waiting>,
    late: VecDeque<Waiting>,
}

impl Level {
    fn len(&self) -> usize {
        self.in_time.len() + self.late.len()
    }

    /// The request at a place, once those there that are late by now have been put behind.
    fn at(&mut self, place: usize, now: SimTime) -> Option<Waiting> {
        while let Some(waiting) = self.in_time.get(place) {
            if self.policy.action == TimeoutAction::Reject || now <= waiting.in_time_until {
                return Some(*waiting);
            }
            let late = self.in_time.remove(place);
            self.late.extend(late);
        }
        self.late.get(place - self.in_time.len()).copied()
    }

    fn pop(&mut self) -> Option<Waiting> {
        self.in_time.pop_front().or_else(|| self.late.pop_front())
    }

    /// Takes out one that does not wait any longer.
    fn remove(&mut self, number: u64) -> Option<Waiting> {
        match self.in_time.binary_search_by_key(&number, |waiting| waiting.number) {
            Ok(place) => self.in_time.remove(place),
            Err(_) => {
                let place = self.late.iter().position(|waiting| waiting.number == number)?;
                self.late.remove(place)
            }
        }
    }
}

/// What becomes of those who wait while an instance is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Formed {
    /// A batch goes.
    Batch,
    /// Nothing goes before this instant unless more come: [`SimTime::MAX`] for never.
    Wait(SimTime),
}

/// Where a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    level: usize,
    number: u64,
}

#[derive(Debug)]
pub(super) struct Batcher {
    rules: Rules,
    levels: Vec<Level>,
    /// When requests are turned away for having waited too long, and which.
    expiring: BTreeMap<(SimTime, u64), usize>,
    arrivals: u64,
    requests: usize,
    items: u64,
    /// With fewer items waiting, nothing changes before the instant waited for.
    worth_a_look: u64,
}

impl Batcher {
    pub(super) fn new(rules: Rules) -> Self {
        let level =
            |policy: &Policy| Level { policy: *policy, in_time: VecDeque::new(), late: VecDeque::new() };
        Self {
            levels: rules.levels.iter().map(level).collect(),
            rules,
            expiring: BTreeMap::new(),
            arrivals: 0,
            requests: 0,
            items: 0,
            worth_a_look: 0,
        }
    }

    /// Requests waiting.
    pub(super) fn len(&self) -> usize {
        self.requests
    }

    /// A request begins to wait in a level, unless that is full. `patience` is its caller's own.
    pub(super) fn enqueue(
        &mut self,
        level: usize,
        key: Key,
        items: u64,
        now: SimTime,
        patience: SimDuration,
    ) -> Option<Place> {
        let Level { policy, in_time, .. } = &self.levels[level];
        let cap = policy.max_queue_size;
        if cap != 0 && self.levels[level].len() as u64 >= cap {
            return None;
        }
        let mut timeout = policy.timeout;
        // As in Triton a caller may only shorten a timeout that there is.
        if policy.allow_override && patience < timeout {
            timeout = patience;
        }
        let in_time_until = match timeout {
            SimDuration::ZERO => SimTime::MAX,
            timeout => now.checked_add(timeout).unwrap_or(SimTime::MAX),
        };
        let number = self.arrivals;
        debug_assert!(in_time.back().is_none_or(|last| last.number < number));
        if policy.action == TimeoutAction::Reject && in_time_until < SimTime::MAX {
            self.expiring.insert((in_time_until, number), level);
        }
        self.levels[level].in_time.push_back(Waiting { key, number, items, arrived: now, in_time_until });
        self.arrivals += 1;
        self.requests += 1;
        self.items += items;
        Some(Place { level, number })
    }

    /// Whether a batch might go now that one more waits, while an instance is idle and waits for more.
    pub(super) fn is_worth_a_look(&self) -> bool {
        self.items >= self.worth_a_look
    }

    /// Puts the next batch into `batch`, if one goes; an instance is idle.
    pub(super) fn form(&mut self, now: SimTime, batch: &mut Vec<Key>) -> Formed {
        self.worth_a_look = 0;
        if self.requests == 0 {
            return Formed::Wait(SimTime::MAX);
        }
        let largest = self.rules.preferred.last().copied().unwrap_or(0);
        let (mut count, mut items, mut oldest) = (0, 0, SimTime::MAX);
        let (mut best, mut is_full) = (None, false);
        'all: for level in &mut self.levels {
            let mut place = 0;
            while let Some(waiting) = level.at(place, now) {
                let with = items + waiting.items;
                if count > 0 {
                    if with > largest && best.is_none() {
                        best = Some(count);
                    }
                    if with > self.rules.max_batch_size || self.rules.alone {
                        is_full = true;
                        break 'all;
                    }
                }
                (count, items, place) = (count + 1, with, place + 1);
                oldest = oldest.min(waiting.arrived);
                if self.rules.preferred.binary_search(&items).is_ok() {
                    best = Some(count);
                }
            }
        }
        let waits_until = match self.rules.delay {
            Some(delay) => oldest.checked_add(delay).unwrap_or(SimTime::MAX),
            None => SimTime::MAX,
        };
        let has_delay = self.rules.delay != Some(SimDuration::ZERO);
        let is_over = has_delay && now >= waits_until;
        match best.filter(|_| !is_over) {
            Some(best) => count = best,
            None if is_full || items >= largest || is_over || !has_delay => {}
            None => {
                let next = self.rules.preferred.iter().find(|size| **size > items);
                self.worth_a_look = next.copied().unwrap_or(0);
                return Formed::Wait(waits_until);
            }
        }
        self.take(count, batch);
        Formed::Batch
    }

    /// The first so many leave.
    fn take(&mut self, mut count: usize, batch: &mut Vec<Key>) {
        for level in &mut self.levels {
            while count > 0 {
                let Some(waiting) = level.pop() else { break };
                if !self.expiring.is_empty() {
                    self.expiring.remove(&(waiting.in_time_until, waiting.number));
                }
                self.requests -= 1;
                self.items -= waiting.items;
                batch.push(waiting.key);
                count -= 1;
            }
        }
    }

    /// All leave.
    pub(super) fn clear(&mut self) -> Vec<Key> {
        let mut all = Vec::with_capacity(self.requests);
        self.take(usize::MAX, &mut all);
        self.worth_a_look = 0;
        all
    }

    /// When the next request will have waited too long: [`SimTime::MAX`] for never.
    pub(super) fn next_expiry(&self) -> SimTime {
        // Triton compares with "later than": at the very end of its time a request may still go.
        let last = self.expiring.first_key_value().map_or(SimTime::MAX, |((at, _), _)| *at);
        last.checked_add(SimDuration::from_nanos(1)).unwrap_or(SimTime::MAX)
    }

    /// Takes out a request that has waited too long by now.
    pub(super) fn pop_expired(&mut self, now: SimTime) -> Option<Key> {
        let (&(at, number), &level) = self.expiring.first_key_value()?;
        (at < now).then(|| self.remove(Place { level, number })).flatten()
    }

    /// Takes out a request that gave up.
    pub(super) fn remove(&mut self, place: Place) -> Option<Key> {
        let waiting = self.levels[place.level].remove(place.number)?;
        self.expiring.remove(&(waiting.in_time_until, waiting.number));
        self.requests -= 1;
        self.items -= waiting.items;
        self.worth_a_look = 0;
        Some(waiting.key)
    }
}
