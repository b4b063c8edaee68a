//! A waiting line that does more than keep an order: it drops those that wait in vain, makes room for the
//! more important, and shares the service fairly.

use std::collections::BTreeMap;

use sim_core::time::SimTime;

use super::codel::{Codel, ControlledDelay, Head};
use super::fair::Fair;
use crate::measure::Measure;
use crate::slab::Key;

/// A call that waits.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    /// Counts arrivals.
    pub(crate) number: u64,
    /// The least first.
    pub(crate) rank: u64,
    /// Its class, or its flow.
    pub(crate) group: u16,
    /// What it takes of the service, for fair shares.
    pub(crate) cost: u64,
    pub(crate) arrived: SimTime,
    /// Its latest start, by controlled delay.
    pub(crate) until: SimTime,
}

impl Entry {
    pub(crate) fn new(key: Key, number: u64, arrived: SimTime) -> Self {
        Self { key, number, rank: 0, group: 0, cost: 1, arrived, until: SimTime::MAX }
    }
}

/// Which call is served next.
#[derive(Debug)]
enum Order {
    /// By rank and arrival, the last first while more than `newest_beyond` wait.
    Ranked {
        calls: BTreeMap<(u64, u64), Entry>,
        newest_beyond: usize,
    },
    Fair(Fair),
}

/// Why calls left without service, in the measured part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Dropped {
    expired: u64,
    delayed: u64,
    pushed_out: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct GuardedLine {
    order: Order,
    drop_expired: bool,
    codel: Option<Codel>,
    controlled_delay: Option<ControlledDelay>,
    /// With push-out by class, those that wait by class and number, with their ranks.
    by_class: Option<Vec<BTreeMap<u64, u64>>>,
    /// Whether a full line makes room.
    push_out: bool,
    dropped: Dropped,
}

impl GuardedLine {
    pub(super) fn new(kind: Kind, guards: Guards) -> Self {
        let order = match kind {
            Kind::Ranked { newest_beyond } => Order::Ranked { calls: BTreeMap::new(), newest_beyond },
            Kind::Fair(weights) => Order::Fair(Fair::new(&weights)),
        };
        let by_class = match &order {
            Order::Ranked { .. } if guards.push_out => Some(vec![BTreeMap::new(); guards.classes]),
            _ => None,
        };
        Self {
            order,
            drop_expired: guards.drop_expired,
            codel: guards.codel.map(Codel::new),
            controlled_delay: guards.controlled_delay.map(ControlledDelay::new),
            by_class,
            push_out: guards.push_out,
            dropped: Dropped::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.order {
            Order::Ranked { calls, .. } => calls.len(),
            Order::Fair(fair) => fair.len(),
        }
    }

    pub(crate) fn push(&mut self, mut entry: Entry) {
        if let Some(delay) = &mut self.controlled_delay {
            if match &self.order {
                Order::Ranked { calls, .. } => calls.is_empty(),
                Order::Fair(fair) => fair.len() == 0,
            } {
                delay.note_empty(entry.arrived);
            }
            entry.until = delay.until(entry.arrived);
        }
        if let Some(classes) = &mut self.by_class {
            classes[usize::from(entry.group)].insert(entry.number, entry.rank);
        }
        match &mut self.order {
            Order::Ranked { calls, .. } => {
                calls.insert((entry.rank, entry.number), entry);
            }
            Order::Fair(fair) => fair.push(entry),
        }
    }

    /// Takes out the next call to be served. Those before it that are not worth it go to `dropped`; `is_over`
    /// says whether a call's caller has stopped waiting.
    pub(crate) fn next(
        &mut self,
        now: SimTime,
        is_over: impl Fn(Key) -> bool,
        dropped: &mut Vec<Key>,
    ) -> Option<Key> {
        let Self { order, by_class, codel, dropped: counts, .. } = self;
        let (drop_expired, mut lost) = (self.drop_expired, Vec::new());
        let mut pop = || {
            loop {
                let entry = order.pop()?;
                if let Some(classes) = by_class {
                    classes[usize::from(entry.group)].remove(&entry.number);
                }
                if drop_expired && is_over(entry.key) {
                    counts.expired += 1;
                } else if now > entry.until {
                    counts.delayed += 1;
                } else {
                    let behind = order.len();
                    return Some(Head { arrived: entry.arrived, call: entry, behind });
                }
                dropped.push(entry.key);
            }
        };
        let next = match codel {
            None => pop().map(|head| head.call),
            Some(codel) => codel.next(now, pop, |entry| lost.push(entry.key)),
        };
        self.dropped.delayed += lost.len() as u64;
        dropped.append(&mut lost);
        if let (Order::Fair(fair), Some(entry)) = (&mut self.order, &next) {
            fair.served(entry);
        }
        if self.len() == 0
            && let Some(delay) = &mut self.controlled_delay
        {
            delay.note_empty(now);
        }
        next.map(|entry| entry.key)
    }

    /// Nothing waits and nothing is in service.
    pub(crate) fn idle(&mut self) {
        if let Order::Fair(fair) = &mut self.order {
            fair.idle();
        }
    }

    /// Takes out a call that gave up.
    pub(crate) fn remove(&mut self, rank: u64, number: u64, group: u16) {
        if let Some(classes) = &mut self.by_class {
            classes[usize::from(group)].remove(&number);
        }
        match &mut self.order {
            Order::Ranked { calls, .. } => {
                calls.remove(&(rank, number));
            }
            Order::Fair(fair) => {
                fair.remove(number, group);
            }
        }
    }

    /// Makes room in a full line for a call of `group`: takes out the newest of the least important class, or
    /// of the longest flow; none if the call itself is the one to go.
    pub(crate) fn make_room(&mut self, group: u16) -> Option<Key> {
        if !self.push_out {
            return None;
        }
        let key = match (&mut self.order, &mut self.by_class) {
            (Order::Fair(fair), _) => {
                let (number, flow) = fair.victim(group)?;
                fair.remove(number, flow)?.key
            }
            (Order::Ranked { calls, .. }, Some(classes)) => {
                let lower = classes[usize::from(group) + 1..].iter_mut().rev();
                let (number, rank) = lower.filter_map(BTreeMap::pop_last).next()?;
                calls.remove(&(rank, number))?.key
            }
            (Order::Ranked { .. }, None) => return None,
        };
        self.dropped.pushed_out += 1;
        Some(key)
    }

    /// Everything in it is lost.
    pub(crate) fn drain(&mut self) -> Vec<Key> {
        self.by_class.iter_mut().flatten().for_each(BTreeMap::clear);
        let entries = match &mut self.order {
            Order::Ranked { calls, .. } => std::mem::take(calls).into_values().collect(),
            Order::Fair(fair) => fair.drain(),
        };
        entries.into_iter().map(|entry| entry.key).collect()
    }

    pub(crate) fn reset_measurements(&mut self) {
        self.dropped = Dropped::default();
    }

    /// What it dropped.
    pub(crate) fn measures<'a>(lines: impl Iterator<Item = &'a Self>) -> Vec<Measure> {
        let mut all = Dropped::default();
        let mut has = (false, false, false);
        for line in lines {
            all.expired += line.dropped.expired;
            all.delayed += line.dropped.delayed;
            all.pushed_out += line.dropped.pushed_out;
            has.0 |= line.drop_expired;
            has.1 |= line.codel.is_some() || line.controlled_delay.is_some();
            has.2 |= line.push_out;
        }
        let mut measures = Vec::new();
        if has.0 {
            let meaning = "calls dropped as they would have started: their callers had stopped waiting";
            measures.push(Measure::count("dropped_expired", all.expired, meaning));
        }
        if has.1 {
            let meaning = "calls dropped as they would have started: they had waited too long";
            measures.push(Measure::count("dropped_delayed", all.delayed, meaning));
        }
        if has.2 {
            let meaning = "waiting calls that made room for others";
            measures.push(Measure::count("pushed_out", all.pushed_out, meaning));
        }
        measures
    }
}

impl Order {
    fn len(&self) -> usize {
        match self {
            Self::Ranked { calls, .. } => calls.len(),
            Self::Fair(fair) => fair.len(),
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        match self {
            Self::Ranked { calls, newest_beyond } if calls.len() > *newest_beyond => {
                calls.pop_last().map(|(_, entry)| entry)
            }
            Self::Ranked { calls, .. } => calls.pop_first().map(|(_, entry)| entry),
            Self::Fair(fair) => fair.pop(),
        }
    }
}

/// The order of a line.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// By rank, then by arrival, the last first while more than so many wait.
    Ranked { newest_beyond: usize },
    /// Fair shares by these weights.
    Fair(Vec<f64>),
}

/// What is done about those who wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guards {
    pub(super) drop_expired: bool,
    pub(super) codel: Option<super::codel::CodelConfig>,
    pub(super) controlled_delay: Option<super::codel::ControlledDelayConfig>,
    pub(super) push_out: bool,
    pub(super) classes: usize,
}
