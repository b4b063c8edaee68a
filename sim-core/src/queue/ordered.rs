//! The oracle: a balanced tree, obviously in order.

use std::collections::BTreeSet;

use super::EventQueue;
use crate::event::EventKey;

/// An [`EventQueue`] on the standard library's B-tree: slow and plainly right.
#[derive(Debug, Default)]
pub struct OrderedQueue {
    keys: BTreeSet<EventKey>,
}

impl EventQueue for OrderedQueue {
    fn push(&mut self, key: EventKey) {
        let new = self.keys.insert(key);
        assert!(new, "an event key is used twice: {key:?}");
    }

    fn peek(&self) -> Option<EventKey> {
        self.keys.first().copied()
    }

    fn pop(&mut self) -> Option<EventKey> {
        self.keys.pop_first()
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn retain(&mut self, mut keep: impl FnMut(EventKey) -> bool) {
        self.keys.retain(|key| keep(*key));
    }
}
