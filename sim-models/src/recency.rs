//! Slots in the order in which they were last put: what caches make room by.

const NONE: u32 = u32::MAX;

/// Neighbours of a slot.
#[derive(Debug, Clone, Copy)]
struct Link {
    older: u32,
    newer: u32,
}

/// A list of slots, the oldest first; a slot is in it once at most.
#[derive(Debug, Clone)]
pub(crate) struct Recency {
    links: Vec<Link>,
    oldest: u32,
    newest: u32,
}

impl Default for Recency {
    fn default() -> Self {
        Self { links: Vec::new(), oldest: NONE, newest: NONE }
    }
}

impl Recency {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// A slot that is not in it becomes the newest.
    pub(crate) fn push(&mut self, slot: u32) {
        let older = std::mem::replace(&mut self.newest, slot);
        let index = slot as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, Link { older: NONE, newer: NONE });
        }
        self.links[index] = Link { older, newer: NONE };
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = slot,
            None => self.oldest = slot,
        }
    }

    /// Takes out a slot that is in it.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Link { older, newer } = self.links[slot as usize];
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
    }

    /// A slot that is in it becomes the newest.
    pub(crate) fn touch(&mut self, slot: u32) {
        self.remove(slot);
        self.push(slot);
    }
}
