//! The pending events, behind a small trait so that the structure can be swapped.
//!
//! [`QuadHeap`] is what runs; [`OrderedQueue`], a balanced tree, is the oracle it is checked against.
//! A model written for any queue (`impl<Q: EventQueue> World<Q>`) runs on both.
//!
//! ```
//! use sim_core::event::EventKey;
//! use sim_core::queue::{EventQueue, QuadHeap};
//! use sim_core::time::SimTime;
//!
//! let key = |nanos, payload| EventKey::raw(SimTime::from_nanos(nanos), payload);
//! let mut queue = QuadHeap::default();
//! for (nanos, payload) in [(30, 1), (10, 2), (20, 3), (10, 1)] {
//!     queue.push(key(nanos, payload));
//! }
//! assert_eq!(queue.pop(), Some(key(10, 1)));
//! queue.retain(|key| key.low() != 2);
//! assert_eq!(queue.pop_until(SimTime::from_nanos(19)), None);
//! assert_eq!(queue.peek(), Some(key(20, 3)));
//! assert_eq!(queue.len(), 2);
//! ```

mod ordered;
mod quad_heap;

pub use ordered::OrderedQueue;
pub use quad_heap::QuadHeap;

use crate::event::EventKey;
use crate::time::SimTime;

/// A set of event keys that gives back the least. Keys are unique: the same key is never pushed twice.
pub trait EventQueue: Default {
    /// Adds a key.
    fn push(&mut self, key: EventKey);
    /// The least key.
    fn peek(&self) -> Option<EventKey>;
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
