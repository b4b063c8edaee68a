//! Events that are put off and brought forward more often than they happen, each in a place of its own.

use crate::event::{EventKey, Phase};
use crate::time::SimTime;
use crate::tournament::Tournament;

/// Names an alarm: see [`Scheduler::alarm`](super::Scheduler::alarm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm(pub(super) u32);

/// What happens when one goes off.
#[derive(Debug)]
pub(super) struct Bell<E> {
    pub(super) phase: Phase,
    pub(super) event: E,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Alarms<E> {
    bells: Vec<Bell<E>>,
    /// The key of each, in place of a slot with its number; [`EventKey::MAX`] of one that is not set.
    keys: Tournament<EventKey>,
}

impl<E> Default for Alarms<E> {
    fn default() -> Self {
        Self { bells: Vec::new(), keys: Tournament::new(EventKey::MAX) }
    }
}

impl<E> Alarms<E> {
    pub(super) fn add(&mut self, phase: Phase, event: E) -> Alarm {
        self.bells.push(Bell { phase, event });
        Alarm(self.keys.add() as u32)
    }

    #[inline]
    pub(super) fn bell(&self, number: u32) -> &Bell<E> {
        &self.bells[number as usize]
    }

    #[inline]
    pub(super) fn set(&mut self, number: u32, key: EventKey) {
        self.keys.set(number as usize, key);
    }

    #[inline]
    pub(super) fn is_set_to(&self, number: u32, at: SimTime) -> bool {
        let key = self.keys.get(number as usize);
        key.time() == at && key != EventKey::MAX
    }

    /// The key of the one that goes off first; [`EventKey::MAX`] if none is set.
    #[inline]
    pub(super) fn first(&self) -> EventKey {
        self.keys.first()
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}
