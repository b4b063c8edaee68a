//! What is stored, and who leaves when it is full.

use std::collections::{BTreeSet, VecDeque};

use sim_core::time::{SimDuration, SimTime};

use super::EvictionPolicy;
use crate::by_number::ByNumber;
use crate::recency::Recency;

/// Names a stored answer until it leaves: its slot.
pub(super) type EntryId = u32;

const NONE: EntryId = u32::MAX;

/// No answer has this number.
const VACANT: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Answers are numbered as they are stored.
    number: u64,
    topic: u32,
    right: Option<bool>,
    /// Where it is among all.
    place: u32,
    /// How often it was hit.
    hits: u64,
    /// Neighbours among the answers to the topic, the older and the younger.
    older: EntryId,
    younger: EntryId,
}

/// The answers to a topic.
#[derive(Debug, Clone, Copy)]
struct Topic {
    youngest: EntryId,
    count: usize,
}

/// Stored answers.
#[derive(Debug)]
pub(super) struct Store {
    policy: EvictionPolicy,
    max_size: usize,
    clean_size: u32,
    ttl: Option<SimDuration>,
    slots: Vec<Entry>,
    vacant: Vec<EntryId>,
    /// Those taken, without gaps: to choose from by chance.
    stored: Vec<EntryId>,
    topics: ByNumber<Topic>,
    /// The order of leaving where it is one of time.
    by_time: Recency,
    /// The order of leaving where it is one of hits: (hits, number, slot).
    by_hits: BTreeSet<(u64, u64, EntryId)>,
    /// When each was stored, with a time to live: (time, number, slot).
    ages: VecDeque<(SimTime, u64, EntryId)>,
    next: u64,
    pub evicted: u64,
    pub expired: u64,
}

impl Store {
    pub fn new(policy: EvictionPolicy, max_size: usize, clean_size: u32, ttl: Option<SimDuration>) -> Self {
        Self {
            policy,
            max_size,
            clean_size,
            ttl,
            slots: Vec::new(),
            vacant: Vec::new(),
            stored: Vec::new(),
            topics: ByNumber::default(),
            by_time: Recency::default(),
            by_hits: BTreeSet::new(),
            ages: VecDeque::new(),
            next: 0,
            evicted: 0,
            expired: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Everything is lost.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.vacant.clear();
        self.stored.clear();
        self.topics.clear();
        self.by_time.clear();
        self.by_hits.clear();
        self.ages.clear();
    }

    /// The last stored answer to a topic, and whether there is any to another.
    pub fn find(&mut self, topic: u32, now: SimTime) -> (Option<EntryId>, bool) {
        self.expire(now);
        let own = self.topics.get(topic.into());
        (own.map(|own| own.youngest), self.len() > own.map_or(0, |own| own.count))
    }

    /// An answer to another topic, by chance. There must be one.
    pub fn another(&self, topic: u32, chance: f64) -> Option<EntryId> {
        let start = ((chance * self.len() as f64) as usize).min(self.len());
        let (before, after) = self.stored.split_at(start);
        after.iter().chain(before).copied().find(|id| self.slots[*id as usize].topic != topic)
    }

    /// A hit: whether the answer is right.
    pub fn hit(&mut self, id: EntryId) -> Option<bool> {
        match self.policy {
            EvictionPolicy::Lru => self.by_time.touch(id),
            EvictionPolicy::Lfu => {
                let entry = &mut self.slots[id as usize];
                self.by_hits.remove(&(entry.hits, entry.number, id));
                entry.hits += 1;
                self.by_hits.insert((entry.hits, entry.number, id));
            }
            EvictionPolicy::Fifo | EvictionPolicy::Rr => {}
        }
        self.slots[id as usize].right
    }

    /// Stores an answer; `chance` chooses among equals who leave.
    pub fn insert(&mut self, topic: u32, right: Option<bool>, now: SimTime, chance: impl FnMut() -> f64) {
        self.expire(now);
        if self.len() >= self.max_size {
            self.clean(chance);
        }
        let number = self.next;
        self.next += 1;
        let own = self.topics.get(topic.into()).copied().unwrap_or(Topic { youngest: NONE, count: 0 });
        let place = self.stored.len() as u32;
        let (older, younger) = (own.youngest, NONE);
        let entry = Entry { number, topic, right, place, hits: 0, older, younger };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.slots[id as usize] = entry;
                id
            }
            None => {
                self.slots.push(entry);
                self.slots.len() as u32 - 1
            }
        };
        self.stored.push(id);
        if let Some(older) = self.slots.get_mut(older as usize) {
            older.younger = id;
        }
        self.topics.insert(topic.into(), Topic { youngest: id, count: own.count + 1 });
        match self.policy {
            EvictionPolicy::Lru | EvictionPolicy::Fifo => self.by_time.push(id),
            EvictionPolicy::Lfu => _ = self.by_hits.insert((0, number, id)),
            EvictionPolicy::Rr => {}
        }
        if self.ttl.is_some() {
            self.ages.push_back((now, number, id));
        }
    }

    fn clean(&mut self, mut chance: impl FnMut() -> f64) {
        for _ in 0..self.clean_size {
            let victim = match self.policy {
                EvictionPolicy::Rr => self.stored.get((chance() * self.len() as f64) as usize).copied(),
                EvictionPolicy::Lfu => self.by_hits.first().map(|(_, _, id)| *id),
                EvictionPolicy::Lru | EvictionPolicy::Fifo => self.by_time.oldest(),
            };
            let Some(victim) = victim else { return };
            self.remove(victim);
            self.evicted += 1;
        }
    }

    fn expire(&mut self, now: SimTime) {
        let Some(ttl) = self.ttl else { return };
        while let Some((stored, number, id)) = self.ages.front().copied()
            && now.since(stored) >= ttl
        {
            self.ages.pop_front();
            if self.slots[id as usize].number == number {
                self.remove(id);
                self.expired += 1;
            }
        }
    }

    fn remove(&mut self, id: EntryId) {
        let Entry { number, topic, place, hits, older, younger, .. } = self.slots[id as usize];
        self.stored.swap_remove(place as usize);
        if let Some(moved) = self.stored.get(place as usize) {
            self.slots[*moved as usize].place = place;
        }
        match self.policy {
            EvictionPolicy::Lru | EvictionPolicy::Fifo => self.by_time.remove(id),
            EvictionPolicy::Lfu => _ = self.by_hits.remove(&(hits, number, id)),
            EvictionPolicy::Rr => {}
        }
        if let Some(entry) = self.slots.get_mut(older as usize) {
            entry.younger = younger;
        }
        if let Some(entry) = self.slots.get_mut(younger as usize) {
            entry.older = older;
        }
        if (older, younger) == (NONE, NONE) {
            self.topics.remove(topic.into());
        } else if let Some(own) = self.topics.get_mut(topic.into()) {
            own.count -= 1;
            if younger == NONE {
                own.youngest = older;
            }
        }
        self.slots[id as usize].number = VACANT;
        self.vacant.push(id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by a plain list of (number, topic, hits, time stored), the next to leave first.
    #[derive(Default)]
    struct List(Vec<(u64, u32, u64, u64)>);

    proptest! {
        #[test]
        fn it_is_a_plain_list(
            policy in prop::sample::select(vec![EvictionPolicy::Lru, EvictionPolicy::Lfu, EvictionPolicy::Fifo]),
            max_size in 1usize..6, clean_size in 1u32..3, ttl in 0u64..12,
            uses in prop::collection::vec((0u32..5, 0u64..3), 1..120),
        ) {
            let mut store = Store::new(policy, max_size, clean_size, (ttl > 0).then(|| SimDuration::from_secs(ttl)));
            let (mut list, mut now) = (List::default(), 0);
            for (number, (topic, pause)) in uses.into_iter().enumerate() {
                now += pause;
                let at = SimTime::from_nanos(now * 1_000_000_000);
                if ttl > 0 {
                    list.0.retain(|(.., stored)| now - stored < ttl);
                }
                let newest = list.0.iter().filter(|entry| entry.1 == topic).map(|entry| entry.0).max();
                let (found, others) = store.find(topic, at);
                prop_assert_eq!(found.map(|id| store.slots[id as usize].number), newest);
                prop_assert_eq!(others, list.0.iter().any(|entry| entry.1 != topic));
                if others {
                    let other = store.another(topic, 0.5).unwrap();
                    prop_assert!(store.slots[other as usize].topic != topic);
                }
                // Some are hit, some stored once more.
                if let Some(id) = found.filter(|_| pause > 0) {
                    store.hit(id);
                    let place = list.0.iter().position(|entry| Some(entry.0) == newest).unwrap();
                    list.0[place].2 += 1;
                    if policy == EvictionPolicy::Lru {
                        let entry = list.0.remove(place);
                        list.0.push(entry);
                    }
                    continue;
                }
                if list.0.len() >= max_size {
                    if policy == EvictionPolicy::Lfu {
                        list.0.sort_by_key(|entry| (entry.2, entry.0));
                    }
                    list.0.drain(..list.0.len().min(clean_size as usize));
                }
                store.insert(topic, Some(true), at, || unreachable!("nobody leaves by chance"));
                let stored = store.next - 1;
                prop_assert!(stored <= number as u64);
                list.0.push((stored, topic, 0, now));
                prop_assert_eq!(store.len(), list.0.len());
            }
        }
    }
}
