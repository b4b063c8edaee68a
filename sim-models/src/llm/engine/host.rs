//! The KV blocks in the host's memory.
//!
//! As in vLLM 0.14.0's `OffloadingConnector` (`vllm/distributed/kv_transfer/kv_connector/v1/
//! offloading_connector.py`, `vllm/v1/kv_offload/lru_manager.py`), which `kv_offloading_size` switches on:
//! every full block is written to the host's memory when it is computed, so that it is still there when the
//! GPU's copy is taken. At an admission the blocks behind those that the prefix cache holds are looked for
//! there, and loaded if there is at least one. The least recently used block makes room for a new one.
//!
//! # Choices
//! * Writing takes no time: it goes the other way over the bus, on a stream of its own, beside the
//!   computation (assumption: it never falls behind).
//! * A block is used when its sequence is admitted or begins to load (vLLM: whenever it is looked for), the
//!   first of the sequence last.

use std::collections::BTreeMap;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Slot {
    content: u64,
    /// Neighbours in the order of use.
    older: u32,
    younger: u32,
}

/// What the host's memory holds, by content, in the order of use.
#[derive(Debug, Clone)]
pub(super) struct Host {
    capacity: u32,
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    places: BTreeMap<u64, u32>,
    oldest: u32,
    youngest: u32,
}

impl Host {
    /// Room for so many blocks, none of them taken; none for none.
    pub(super) fn new(capacity: u32) -> Option<Self> {
        (capacity > 0).then(|| Self {
            capacity,
            slots: Vec::new(),
            vacant: Vec::new(),
            places: BTreeMap::new(),
            oldest: NONE,
            youngest: NONE,
        })
    }

    pub(super) fn reset(&mut self) {
        (self.oldest, self.youngest) = (NONE, NONE);
        self.slots.clear();
        self.vacant.clear();
        self.places.clear();
    }

    pub(super) fn holds(&self, content: u64) -> bool {
        self.places.contains_key(&content)
    }

    /// A block was computed: it is written, if it is not there.
    pub(super) fn store(&mut self, content: u64) {
        if self.places.contains_key(&content) {
            return;
        }
        if self.places.len() as u32 == self.capacity {
            self.remove(self.slots[self.oldest as usize].content);
        }
        let slot = Slot { content, older: NONE, younger: NONE };
        let place = match self.vacant.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.places.insert(content, place);
        self.push(place);
    }

    /// A block is used.
    pub(super) fn touch(&mut self, content: u64) {
        if let Some(place) = self.places.get(&content).copied() {
            self.unlink(place);
            self.push(place);
        }
    }

    /// A block was never computed after all.
    pub(super) fn remove(&mut self, content: u64) {
        if let Some(place) = self.places.remove(&content) {
            self.unlink(place);
            self.vacant.push(place);
        }
    }

    fn push(&mut self, place: u32) {
        let older = std::mem::replace(&mut self.youngest, place);
        let slot = &mut self.slots[place as usize];
        (slot.older, slot.younger) = (older, NONE);
        match self.slots.get_mut(older as usize) {
            Some(older) => older.younger = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Slot { older, younger, .. } = self.slots[place as usize];
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.younger = younger,
            None => self.oldest = younger,
        }
        match self.slots.get_mut(younger as usize) {
            Some(slot) => slot.older = older,
            None => self.youngest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_block_makes_room() {
        let mut host = Host::new(3).unwrap();
        (1..=3).for_each(|content| host.store(content));
        host.touch(1);
        host.store(3);
        host.store(4);
        assert_eq!([1, 2, 3, 4].map(|content| host.holds(content)), [true, false, true, true]);
        host.remove(4);
        host.store(5);
        host.store(6);
        assert_eq!([1, 3, 4, 5, 6].map(|content| host.holds(content)), [true, false, false, true, true]);
        host.reset();
        assert!(!host.holds(1));
        assert!(Host::new(0).is_none());
    }
}
