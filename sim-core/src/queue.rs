//! The pending events, behind a small trait so that the structure can be swapped.
//!
//! [`QuadHeap`] is what runs; [`OrderedQueue`], a balanced tree, is the oracle it is checked against.

mod ordered;
mod quad_heap;

pub use ordered::OrderedQueue;
pub use quad_heap::QuadHeap;

use crate::event::EventKey;
use crate::time::SimTime;

/// A set of event keys that gives back the least. Keys are unique.
pub trait EventQueue: Default {
    /// Adds a key.
    fn push(&mut self, key: EventKey);
    /// The least key.
    fn peek(&mut self) -> Option<EventKey>;
    /// Takes the least key.
    fn pop(&mut self) -> Option<EventKey>;
    /// Takes the least key if it is no later than `until`.
    fn pop_until(&mut self, until: SimTime) -> Option<EventKey> {
        if self.peek()?.time() <= until { self.pop() } else { None }
    }
    /// Number of keys.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Drops every key that `keep` refuses.
    fn retain(&mut self, keep: impl FnMut(EventKey) -> bool);
}
