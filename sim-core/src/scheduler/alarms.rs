//! Events that are put off and brought forward more often than they happen, each in a place of its own.

use crate::event::{EventKey, Phase};
use crate::time::SimTime;

/// Names an alarm: see [`Scheduler::alarm`](super::Scheduler::alarm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm(pub(super) u32);

/// What happens when one goes off.
#[derive(Debug)]
pub(super) struct Bell<E> {
    pub(super) phase: Phase,
    pub(super) event: E,
}

/// All of them: a tournament for the one that goes off first.
#[derive(Debug)]
pub(super) struct Alarms<E> {
    bells: Vec<Bell<E>>,
    /// The root is at 1, the children of `n` are at `2 n` and `2 n + 1`, and the leaves are in the second half: the key of
    /// each alarm, in place of a slot with its number; [`EventKey::MAX`] of one that is not set.
    nodes: Vec<EventKey>,
}

impl<E> Default for Alarms<E> {
    fn default() -> Self {
        Self { bells: Vec::new(), nodes: vec![EventKey::MAX; 2] }
    }
}

impl<E> Alarms<E> {
    pub(super) fn add(&mut self, phase: Phase, event: E) -> Alarm {
        let number = self.bells.len();
        self.bells.push(Bell { phase, event });
        let leaves = self.nodes.len() / 2;
        if number == leaves {
            let keys = self.nodes.split_off(leaves);
            self.nodes = vec![EventKey::MAX; 4 * leaves];
            for (number, key) in keys.into_iter().enumerate() {
                self.set(number as u32, key);
            }
        }
        Alarm(number as u32)
    }

    #[inline]
    pub(super) fn bell(&self, number: u32) -> &Bell<E> {
        &self.bells[number as usize]
    }

    #[inline]
    pub(super) fn set(&mut self, number: u32, key: EventKey) {
        let mut node = self.nodes.len() / 2 + number as usize;
        self.nodes[node] = key;
        while node > 1 {
            let first = self.nodes[node].min(self.nodes[node ^ 1]);
            node /= 2;
            self.nodes[node] = first;
        }
    }

    #[inline]
    pub(super) fn is_set_to(&self, number: u32, at: SimTime) -> bool {
        let key = self.nodes[self.nodes.len() / 2 + number as usize];
        key.time() == at && key != EventKey::MAX
    }

    /// The key of the one that goes off first; [`EventKey::MAX`] if none is set.
    #[inline]
    pub(super) fn first(&self) -> EventKey {
        self.nodes[1]
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.nodes[self.nodes.len() / 2..].iter().filter(|key| **key != EventKey::MAX).count()
    }
}
