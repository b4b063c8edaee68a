//! Triton's rules, step by step: what goes with whom, and when.

use super::super::TimeoutAction::{Delay, Reject};
use super::super::batcher::{Batcher, Formed, Place, Policy, Rules};
use super::*;
use crate::slab::{Key, Slab};

const UNBOUNDED: Policy =
    Policy { action: Reject, timeout: SimDuration::ZERO, allow_override: false, max_queue_size: 0 };

fn micros(micros: u64) -> SimDuration {
    SimDuration::from_micros(micros)
}

fn at(micros: u64) -> SimTime {
    SimTime::from_nanos(1_000 * micros)
}

fn rules(max_batch_size: u64, preferred: &[u64], delay: u64) -> Rules {
    Rules {
        max_batch_size,
        preferred: preferred.to_vec(),
        delay: Some(micros(delay)),
        alone: false,
        levels: vec![UNBOUNDED],
    }
}

/// A batcher, and who waits in it by name.
struct Table {
    batcher: Batcher,
    names: Slab<u32>,
    places: Vec<(u32, Place)>,
}

impl Table {
    fn new(rules: Rules) -> Self {
        Self { batcher: Batcher::new(rules), names: Slab::default(), places: Vec::new() }
    }

    /// `name` with so many items arrives in a level, counted from 1, with so much patience in us.
    fn arrive(&mut self, name: u32, level: usize, items: u64, now: u64, patience: u64) -> bool {
        let key = self.names.insert(name);
        let place = self.batcher.enqueue(level - 1, key, items, at(now), micros(patience));
        self.places.extend(place.map(|place| (name, place)));
        place.is_some()
    }

    /// Those named arrive with one item each in the first level.
    fn all_arrive(&mut self, names: std::ops::RangeInclusive<u32>, now: u64) {
        for name in names {
            assert!(self.arrive(name, 1, 1, now, 1_000_000));
        }
    }

    fn names(&self, keys: &[Key]) -> Vec<u32> {
        keys.iter().map(|key| *self.names.get(*key).unwrap()).collect()
    }

    /// An instance is idle: who goes.
    fn goes(&mut self, now: u64) -> Vec<u32> {
        let mut batch = Vec::new();
        assert_eq!(self.batcher.form(at(now), &mut batch), Formed::Batch);
        self.names(&batch)
    }

    /// Nobody goes before then.
    fn waits(&mut self, now: u64, until: u64) {
        let mut batch = Vec::new();
        assert_eq!(self.batcher.form(at(now), &mut batch), Formed::Wait(at(until)), "at {now}");
    }

    fn is_empty(&mut self) -> bool {
        self.batcher.form(at(1 << 40), &mut Vec::new()) == Formed::Wait(SimTime::MAX)
    }

    fn expire(&mut self, now: u64) -> Vec<u32> {
        let keys: Vec<Key> = std::iter::from_fn(|| self.batcher.pop_expired(at(now))).collect();
        self.names(&keys)
    }
}

#[test]
fn without_a_delay_whoever_waits_goes_up_to_the_largest_batch() {
    let mut table = Table::new(rules(8, &[8], 0));
    table.all_arrive(1..=1, 0);
    assert_eq!(table.goes(0), [1]);
    table.all_arrive(2..=12, 5);
    assert_eq!(table.goes(9), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(table.goes(9), [10, 11, 12]);
    assert!(table.is_empty());
}

#[test]
fn the_largest_preferred_size_goes_at_once() {
    let mut table = Table::new(rules(16, &[4, 8], 100));
    table.all_arrive(1..=3, 0);
    table.waits(0, 100);
    assert!(!table.batcher.is_worth_a_look());
    table.all_arrive(4..=4, 50);
    assert!(table.batcher.is_worth_a_look());
    assert_eq!(table.goes(50), [1, 2, 3, 4]);
    // Six: the four that are a preferred size; eight of eleven; three wait.
    table.all_arrive(5..=10, 60);
    assert_eq!(table.goes(60), [5, 6, 7, 8]);
    table.all_arrive(11..=19, 70);
    assert_eq!(table.goes(70), [9, 10, 11, 12, 13, 14, 15, 16]);
    table.waits(70, 170);
}

#[test]
fn when_the_delay_of_the_oldest_is_over_all_go() {
    let mut table = Table::new(rules(16, &[4, 8], 100));
    table.all_arrive(1..=2, 0);
    table.all_arrive(3..=3, 90);
    table.waits(90, 100);
    assert_eq!(table.goes(100), [1, 2, 3]);
    // All instances were busy until 250: the delay is over, preferred sizes do not matter.
    table.all_arrive(4..=10, 150);
    assert_eq!(table.goes(250), [4, 5, 6, 7, 8, 9, 10]);
    // But no more than the largest batch.
    table.all_arrive(11..=30, 300);
    assert_eq!(table.goes(400).len(), 16);
    // The oldest of the four that are left arrived at 300 as well.
    assert_eq!(table.goes(400), [27, 28, 29, 30]);
}

#[test]
fn a_request_beyond_every_preferred_size_sends_those_before_it() {
    let mut table = Table::new(rules(16, &[8], 100));
    table.arrive(1, 1, 5, 0, 0);
    table.waits(0, 100);
    table.arrive(2, 1, 5, 10, 0);
    assert_eq!(table.goes(10), [1]);
    table.waits(10, 110);
    // With 3 more it is a preferred size.
    table.arrive(3, 1, 3, 20, 0);
    assert_eq!(table.goes(20), [2, 3]);
    // What does not fit into the largest batch waits for the next, though others would fit.
    let mut table = Table::new(rules(16, &[16], 100));
    table.arrive(1, 1, 10, 0, 0);
    table.arrive(2, 1, 10, 0, 0);
    table.arrive(3, 1, 6, 0, 0);
    assert_eq!(table.goes(0), [1]);
    assert_eq!(table.goes(0), [2, 3]);
    // A request larger than all preferred sizes goes on its own.
    let mut table = Table::new(rules(16, &[4], 100));
    table.arrive(1, 1, 6, 0, 0);
    assert_eq!(table.goes(0), [1]);
}

#[test]
fn without_batching_each_goes_alone_and_static_batches_fill_up() {
    let mut table = Table::new(Rules { alone: true, ..rules(8, &[], 0) });
    table.all_arrive(1..=2, 0);
    assert_eq!((table.goes(0), table.goes(0)), (vec![1], vec![2]));
    let mut table = Table::new(Rules { delay: None, ..rules(3, &[3], 0) });
    table.all_arrive(1..=2, 0);
    let mut batch = Vec::new();
    assert_eq!(table.batcher.form(at(1 << 40), &mut batch), Formed::Wait(SimTime::MAX));
    table.all_arrive(3..=4, 9);
    assert_eq!(table.goes(9), [1, 2, 3]);
    assert_eq!(table.batcher.len(), 1);
}

#[test]
fn levels_are_strict() {
    let mut table = Table::new(Rules { levels: vec![UNBOUNDED; 3], ..rules(4, &[4], 100) });
    table.arrive(1, 3, 1, 0, 0);
    table.arrive(2, 2, 1, 1, 0);
    table.arrive(3, 3, 1, 2, 0);
    table.arrive(4, 1, 1, 3, 0);
    table.arrive(5, 2, 1, 4, 0);
    table.arrive(6, 1, 1, 5, 0);
    assert_eq!(table.goes(5), [4, 6, 2, 5]);
    // The delay counts for the oldest, whatever its level.
    table.arrive(7, 1, 1, 50, 0);
    table.waits(50, 100);
    assert_eq!(table.goes(100), [7, 1, 3]);
}

#[test]
fn who_has_waited_too_long_is_turned_away() {
    let policy = Policy { timeout: micros(50), ..UNBOUNDED };
    let mut table = Table::new(Rules { levels: vec![policy], ..rules(4, &[4], 100) });
    table.all_arrive(1..=2, 0);
    table.all_arrive(3..=3, 20);
    let just_after = |micros| at(micros).checked_add(SimDuration::from_nanos(1)).unwrap();
    assert_eq!(table.batcher.next_expiry(), just_after(50));
    table.waits(20, 100);
    // At the very end of its time a request may still go.
    assert!(table.expire(50).is_empty());
    assert_eq!(table.expire(51), [1, 2]);
    table.waits(51, 120);
    assert_eq!(table.batcher.next_expiry(), just_after(70));
    table.all_arrive(4..=6, 60);
    assert_eq!(table.goes(60), [3, 4, 5, 6]);
    assert_eq!(table.batcher.next_expiry(), SimTime::MAX);
}

#[test]
fn who_is_late_goes_behind_its_own_level() {
    let delay = Policy { action: Delay, timeout: micros(50), ..UNBOUNDED };
    let mut table = Table::new(Rules { levels: vec![delay, UNBOUNDED], ..rules(2, &[2], 0) });
    table.all_arrive(1..=3, 0);
    assert_eq!(table.batcher.next_expiry(), SimTime::MAX);
    table.arrive(4, 1, 1, 40, 0);
    table.arrive(5, 2, 1, 41, 0);
    // In time until 50, and still at it.
    assert_eq!(table.goes(50), [1, 2]);
    // 3 is late: 4 comes before it, and 5 of the lower level after it.
    assert_eq!(table.goes(51), [4, 3]);
    assert_eq!(table.goes(51), [5]);
    // Newcomers overtake the late again and again.
    table.all_arrive(6..=7, 60);
    table.all_arrive(8..=9, 120);
    assert_eq!(table.goes(130), [8, 9]);
    table.all_arrive(10..=10, 131);
    assert_eq!(table.goes(132), [10, 6]);
    assert_eq!(table.goes(132), [7]);
}

#[test]
fn a_caller_may_shorten_a_timeout_that_there_is() {
    let policy = Policy { timeout: micros(50), allow_override: true, ..UNBOUNDED };
    let deaf = Policy { allow_override: false, ..policy };
    let endless = Policy { timeout: SimDuration::ZERO, ..policy };
    let mut table = Table::new(Rules { levels: vec![policy, deaf, endless], ..rules(8, &[8], 500) });
    table.arrive(1, 1, 1, 0, 1_000_000);
    table.arrive(2, 1, 1, 0, 20);
    table.arrive(3, 2, 1, 0, 20);
    table.arrive(4, 3, 1, 0, 20);
    assert_eq!(table.expire(21), [2]);
    assert_eq!(table.expire(60), [1, 3]);
    assert_eq!(table.goes(500), [4]);
}

#[test]
fn a_full_level_takes_nobody() {
    let small = Policy { max_queue_size: 2, ..UNBOUNDED };
    let mut table = Table::new(Rules { levels: vec![small, UNBOUNDED], ..rules(4, &[4], 100) });
    assert!(table.arrive(1, 1, 1, 0, 0) && table.arrive(2, 1, 1, 0, 0));
    assert!(!table.arrive(3, 1, 1, 0, 0));
    assert!(table.arrive(4, 2, 1, 0, 0) && table.arrive(5, 2, 1, 0, 0));
    assert_eq!(table.goes(0), [1, 2, 4, 5]);
    assert!(table.arrive(6, 1, 1, 0, 0));
}

#[test]
fn who_gives_up_leaves_and_the_rest_is_looked_at_anew() {
    let mut table = Table::new(rules(8, &[4, 8], 100));
    table.arrive(1, 1, 5, 0, 0);
    table.all_arrive(2..=3, 10);
    // The first goes beyond four: eight are waited for.
    table.waits(10, 100);
    assert!(!table.batcher.is_worth_a_look());
    let (_, place) = table.places[0];
    assert!(table.batcher.remove(place).is_some() && table.batcher.remove(place).is_none());
    assert!(table.batcher.is_worth_a_look());
    table.waits(11, 110);
    table.all_arrive(4..=5, 20);
    assert_eq!(table.goes(20), [2, 3, 4, 5]);
}
