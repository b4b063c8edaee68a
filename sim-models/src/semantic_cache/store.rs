//! What is stored, and who leaves when it is full.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sim_core::time::{SimDuration, SimTime};

use super::EvictionPolicy;

/// Names a stored answer: they are numbered as they are stored.
pub(super) type EntryId = u64;

#[derive(Debug)]
struct Entry {
    id: EntryId,
    topic: u32,
    right: Option<bool>,
    /// Its place in the order of leaving.
    rank: u64,
}

/// Stored answers.
#[derive(Debug)]
pub(super) struct Store {
    policy: EvictionPolicy,
    max_size: usize,
    clean_size: u32,
    ttl: Option<SimDuration>,
    entries: Vec<Entry>,
    /// Where each is in the list.
    places: BTreeMap<EntryId, usize>,
    by_topic: BTreeMap<u32, Vec<EntryId>>,
    /// Who leaves first, by rank.
    order: BTreeSet<(u64, EntryId)>,
    /// When each was stored, with a time to live.
    ages: VecDeque<(SimTime, EntryId)>,
    next: EntryId,
    uses: u64,
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
            entries: Vec::new(),
            places: BTreeMap::new(),
            by_topic: BTreeMap::new(),
            order: BTreeSet::new(),
            ages: VecDeque::new(),
            next: 0,
            uses: 0,
            evicted: 0,
            expired: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Everything is lost.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.places.clear();
        self.by_topic.clear();
        self.order.clear();
        self.ages.clear();
    }

    /// The last stored answer to a topic, and whether there is any to another.
    pub fn find(&mut self, topic: u32, now: SimTime) -> (Option<EntryId>, bool) {
        self.expire(now);
        let own = self.by_topic.get(&topic);
        (own.and_then(|own| own.last().copied()), self.len() > own.map_or(0, Vec::len))
    }

    /// An answer to another topic, by chance. There must be one.
    pub fn another(&self, topic: u32, chance: f64) -> Option<EntryId> {
        let start = ((chance * self.len() as f64) as usize).min(self.len());
        let (before, after) = self.entries.split_at(start);
        after.iter().chain(before).find(|entry| entry.topic != topic).map(|entry| entry.id)
    }

    /// A hit: whether the answer is right.
    pub fn hit(&mut self, id: EntryId) -> Option<bool> {
        let entry = &mut self.entries[*self.places.get(&id)?];
        self.uses += 1;
        let rank = match self.policy {
            EvictionPolicy::Lru => self.uses,
            EvictionPolicy::Lfu => entry.rank + 1,
            EvictionPolicy::Fifo | EvictionPolicy::Rr => return entry.right,
        };
        self.order.remove(&(entry.rank, id));
        self.order.insert((rank, id));
        entry.rank = rank;
        entry.right
    }

    /// Stores an answer; `chance` chooses among equals who leave.
    pub fn insert(&mut self, topic: u32, right: Option<bool>, now: SimTime, chance: impl FnMut() -> f64) {
        self.expire(now);
        if self.len() >= self.max_size {
            self.clean(chance);
        }
        let id = self.next;
        (self.next, self.uses) = (id + 1, self.uses + 1);
        let rank = match self.policy {
            EvictionPolicy::Lru => self.uses,
            EvictionPolicy::Lfu | EvictionPolicy::Fifo | EvictionPolicy::Rr => 0,
        };
        self.places.insert(id, self.entries.len());
        self.entries.push(Entry { id, topic, right, rank });
        self.by_topic.entry(topic).or_default().push(id);
        if self.policy != EvictionPolicy::Rr {
            self.order.insert((rank, id));
        }
        if self.ttl.is_some() {
            self.ages.push_back((now, id));
        }
    }

    fn clean(&mut self, mut chance: impl FnMut() -> f64) {
        for _ in 0..self.clean_size {
            let victim = match self.policy {
                EvictionPolicy::Rr => {
                    let place = (chance() * self.len() as f64) as usize;
                    self.entries.get(place).map(|entry| entry.id)
                }
                _ => self.order.first().map(|(_, id)| *id),
            };
            self.evicted += u64::from(victim.is_some_and(|id| self.remove(id)));
        }
    }

    fn expire(&mut self, now: SimTime) {
        let Some(ttl) = self.ttl else { return };
        while let Some((stored, id)) = self.ages.front().copied()
            && now.since(stored) >= ttl
        {
            self.ages.pop_front();
            self.expired += u64::from(self.remove(id));
        }
    }

    fn remove(&mut self, id: EntryId) -> bool {
        let Some(place) = self.places.remove(&id) else { return false };
        let entry = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.id, place);
        }
        self.order.remove(&(entry.rank, id));
        if let Some(own) = self.by_topic.get_mut(&entry.topic) {
            own.retain(|other| *other != id);
            if own.is_empty() {
                self.by_topic.remove(&entry.topic);
            }
        }
        true
    }
}
