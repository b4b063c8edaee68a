//! A 4-ary implicit heap whose root stays empty after a pop until the next push fills it.

use super::EventQueue;
use crate::event::EventKey;
use crate::time::SimTime;

/// The four children of one key share one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([EventKey; 4]);

const EMPTY_LINE: Line = Line([EventKey::MAX; 4]);
/// The root stands apart, so that the children of position `p` fill line `p - 3`.
const ROOT: usize = 3;

/// The event queue of the engine. A discrete-event simulation mostly pops one event and pushes
/// another, so a pop only marks the root as a hole and the push that follows sifts once.
#[derive(Debug)]
pub struct QuadHeap {
    root: EventKey,
    /// Positions from 4 on.
    lines: Vec<Line>,
    /// The position after the last key.
    end: usize,
    /// Whether the root has been taken and not yet replaced.
    hole: bool,
}

impl Default for QuadHeap {
    fn default() -> Self {
        Self { root: EventKey::MAX, lines: Vec::new(), end: ROOT, hole: false }
    }
}

impl QuadHeap {
    /// Sets a position below the root.
    #[inline(always)]
    fn set(&mut self, position: usize, key: EventKey) {
        self.lines[(position >> 2) - 1].0[position & 3] = key;
    }

    /// The key at a position below the root.
    #[inline(always)]
    fn get(&self, position: usize) -> EventKey {
        self.lines[(position >> 2) - 1].0[position & 3]
    }

    /// The least child of `position`: its place and its key.
    #[inline(always)]
    fn least_child(&self, position: usize) -> Option<(usize, EventKey)> {
        let first = (position - 2) * 4;
        if first >= self.end {
            return None;
        }
        let Line(children) = &self.lines[position - 3];
        let least = if first + 4 <= self.end {
            let left = usize::from(children[1] < children[0]);
            let right = 2 + usize::from(children[3] < children[2]);
            // Arithmetic, not a branch: which child is least cannot be predicted.
            left + (right - left) * usize::from(children[right] < children[left])
        } else {
            (1..self.end - first)
                .fold(0, |least, child| if children[child] < children[least] { child } else { least })
        };
        Some((first + least, children[least]))
    }

    /// Puts a key at the root or where it belongs below.
    #[inline(always)]
    fn sink_from_root(&mut self, key: EventKey) {
        match self.least_child(ROOT) {
            Some((place, child)) if child < key => {
                self.root = child;
                self.sift_down(place, key);
            }
            _ => self.root = key,
        }
    }

    /// Puts a key at a position below the root or where it belongs below that.
    #[inline(always)]
    fn sift_down(&mut self, mut position: usize, key: EventKey) {
        while let Some((place, child)) = self.least_child(position)
            && child < key
        {
            self.set(position, child);
            position = place;
        }
        self.set(position, key);
    }

    /// Adds a key at the end and lets it rise.
    #[inline(never)]
    fn grow(&mut self, key: EventKey) {
        let mut position = self.end;
        self.end += 1;
        if (position >> 2) > self.lines.len() {
            self.lines.push(EMPTY_LINE);
        }
        while position > ROOT {
            let parent = (position >> 2) + 2;
            let above = if parent == ROOT { self.root } else { self.get(parent) };
            if above < key {
                return self.set(position, key);
            }
            self.set(position, above);
            position = parent;
        }
        self.root = key;
    }

    /// The least key, at the root.
    #[inline(always)]
    fn top(&mut self) -> Option<EventKey> {
        if self.hole {
            self.fill_hole();
        }
        (self.end > ROOT).then_some(self.root)
    }

    /// Moves the last key into the hole at the root.
    #[inline(never)]
    fn fill_hole(&mut self) {
        self.hole = false;
        self.end -= 1;
        if self.end > ROOT {
            self.sink_from_root(self.get(self.end));
        }
    }
}

impl EventQueue for QuadHeap {
    #[inline(always)]
    fn push(&mut self, key: EventKey) {
        if self.hole {
            self.hole = false;
            self.sink_from_root(key);
            return;
        }
        self.grow(key);
    }

    #[inline(always)]
    fn peek(&self) -> Option<EventKey> {
        // The hole stays for the next push: the least is then among its children.
        if self.hole {
            return self.least_child(ROOT).map(|(_, key)| key);
        }
        (self.end > ROOT).then_some(self.root)
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<EventKey> {
        let top = self.top()?;
        self.hole = true;
        Some(top)
    }

    #[inline(always)]
    fn pop_until(&mut self, until: SimTime) -> Option<EventKey> {
        let top = self.top()?;
        if top.time() > until {
            return None;
        }
        self.hole = true;
        Some(top)
    }

    #[inline]
    fn len(&self) -> usize {
        self.end - ROOT - usize::from(self.hole)
    }

    fn retain(&mut self, mut keep: impl FnMut(EventKey) -> bool) {
        let root = (self.end > ROOT && !self.hole).then_some(self.root);
        let below = self.lines.iter().flat_map(|line| line.0).take(self.end.saturating_sub(ROOT + 1));
        let kept: Vec<EventKey> = root.into_iter().chain(below).filter(|key| keep(*key)).collect();
        self.lines.clear();
        self.lines.resize(kept.len().saturating_sub(1).div_ceil(4), EMPTY_LINE);
        self.end = ROOT + kept.len();
        self.hole = false;
        let Some((first, rest)) = kept.split_first() else { return };
        for (offset, key) in rest.iter().enumerate() {
            self.set(ROOT + 1 + offset, *key);
        }
        // Floyd's bottom-up construction: linear in the number of keys.
        for position in (ROOT + 1..self.end).rev() {
            self.sift_down(position, self.get(position));
        }
        self.sink_from_root(*first);
    }
}
