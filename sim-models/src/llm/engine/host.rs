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

use crate::recency::Recency;

/// What the host's memory holds, by content, in the order of use.
#[derive(Debug, Clone)]
pub(super) struct Host {
    capacity: u32,
    /// The content of each slot.
    slots: Vec<u64>,
    vacant: Vec<u32>,
    places: BTreeMap<u64, u32>,
    by_use: Recency,
}

impl Host {
    /// Room for so many blocks, none of them taken; none for none.
    pub(super) fn new(capacity: u32) -> Option<Self> {
        (capacity > 0).then(|| Self {
            capacity,
            slots: Vec::new(),
            vacant: Vec::new(),
            places: BTreeMap::new(),
            by_use: Recency::default(),
        })
    }

    pub(super) fn reset(&mut self) {
        self.by_use.clear();
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
            let oldest = self.by_use.oldest().expect("there is room for one at least");
            self.remove(self.slots[oldest as usize]);
        }
        let place = match self.vacant.pop() {
            Some(place) => {
                self.slots[place as usize] = content;
                place
            }
            None => {
                self.slots.push(content);
                self.slots.len() as u32 - 1
            }
        };
        self.places.insert(content, place);
        self.by_use.push(place);
    }

    /// A block is used.
    pub(super) fn touch(&mut self, content: u64) {
        if let Some(place) = self.places.get(&content).copied() {
            self.by_use.touch(place);
        }
    }

    /// A block was never computed after all.
    pub(super) fn remove(&mut self, content: u64) {
        if let Some(place) = self.places.remove(&content) {
            self.by_use.remove(place);
            self.vacant.push(place);
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
