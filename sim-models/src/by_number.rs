//! Finding things by a number, in large tables.
//!
//! A hash table whose order nobody can see: it cannot be gone through, so that nothing depends on where its
//! entries lie. Its hash is the same everywhere.

#[expect(clippy::disallowed_types, reason = "its order is not seen")]
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use sim_core::random::mix;

/// Hashes one number.
#[derive(Debug, Clone, Copy, Default)]
struct OneNumber(u64);

impl Hasher for OneNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = mix(number);
    }
}

/// Values by number.
#[expect(clippy::disallowed_types, reason = "its order is not seen")]
#[derive(Debug, Clone)]
pub(crate) struct ByNumber<T>(HashMap<u64, T, BuildHasherDefault<OneNumber>>);

impl<T> Default for ByNumber<T> {
    fn default() -> Self {
        Self(Default::default())
    }
}

impl<T> ByNumber<T> {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.0.get(&number)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.0.get_mut(&number)
    }

    /// Returns what was there.
    #[inline]
    pub(crate) fn insert(&mut self, number: u64, value: T) -> Option<T> {
        self.0.insert(number, value)
    }

    #[inline]
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        self.0.remove(&number)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
