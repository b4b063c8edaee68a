//! Calls that wait.

use std::collections::{BTreeMap, VecDeque};

use super::Discipline;
use crate::slab::Key;

/// A waiting line. Every call stands in it by a rank, the least first, and the number of its arrival.
#[derive(Debug)]
pub(super) enum Line {
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
    pub(super) fn new(discipline: Discipline) -> Self {
        match discipline {
            Discipline::Fcfs | Discipline::Lifo => {
                Self::Arrival { calls: VecDeque::new(), newest_first: discipline == Discipline::Lifo }
            }
            _ => Self::Rank(BTreeMap::new()),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Arrival { calls, .. } => calls.len(),
            Self::Rank(calls) => calls.len(),
        }
    }

    /// Adds a call. In a line by arrival, numbers must come in order.
    #[inline]
    pub(super) fn push(&mut self, rank: u64, number: u64, key: Key) {
        match self {
            Self::Arrival { calls, .. } => calls.push_back((number, key)),
            Self::Rank(calls) => {
                calls.insert((rank, number), key);
            }
        }
    }

    /// Takes out the next call to be served.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Key> {
        match self {
            Self::Arrival { calls, newest_first: false } => calls.pop_front().map(|(_, key)| key),
            Self::Arrival { calls, newest_first: true } => calls.pop_back().map(|(_, key)| key),
            Self::Rank(calls) => calls.pop_first().map(|(_, key)| key),
        }
    }

    /// Takes out a call that gave up. In a line by arrival this is cheap near either end, where calls
    /// that lose patience stand.
    pub(super) fn remove(&mut self, rank: u64, number: u64) {
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
