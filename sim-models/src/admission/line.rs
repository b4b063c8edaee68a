//! The lines in which calls wait for service.

use std::collections::{BTreeMap, VecDeque};

use crate::slab::Key;

/// A waiting line of which nothing is asked but its order. Every call stands in it by a rank, the least
/// first, and the number of its arrival.
#[derive(Debug)]
pub(crate) enum Line {
    /// In order of arrival, whatever the rank.
    Arrival {
        /// Numbers increase.
        calls: VecDeque<(u64, Key)>,
        /// Which end is served.
        newest_first: bool,
    },
    /// By rank, then by arrival.
    Rank(BTreeMap<(u64, u64), Key>),
}

impl Line {
    /// In order of arrival.
    pub(crate) fn by_arrival(newest_first: bool) -> Self {
        Self::Arrival { calls: VecDeque::new(), newest_first }
    }

    /// By rank.
    pub(crate) fn by_rank() -> Self {
        Self::Rank(BTreeMap::new())
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Arrival { calls, .. } => calls.len(),
            Self::Rank(calls) => calls.len(),
        }
    }

    /// Adds a call. In a line by arrival, numbers must come in order.
    #[inline]
    pub(crate) fn push(&mut self, rank: u64, number: u64, key: Key) {
        match self {
            Self::Arrival { calls, .. } => calls.push_back((number, key)),
            Self::Rank(calls) => {
                calls.insert((rank, number), key);
            }
        }
    }

    /// Takes out the next call to be served.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Key> {
        match self {
            Self::Arrival { calls, newest_first: false } => calls.pop_front().map(|(_, key)| key),
            Self::Arrival { calls, newest_first: true } => calls.pop_back().map(|(_, key)| key),
            Self::Rank(calls) => calls.pop_first().map(|(_, key)| key),
        }
    }

    /// Takes out a call that gave up. In a line by arrival this is cheap near either end, where calls
    /// that lose patience stand.
    pub(crate) fn remove(&mut self, rank: u64, number: u64) {
        match self {
            Self::Arrival { calls, .. } => {
                if let Ok(place) = calls.binary_search_by_key(&number, |(number, _)| *number) {
                    calls.remove(place);
                }
            }
            Self::Rank(calls) => {
                calls.remove(&(rank, number));
            }
        }
    }
}
