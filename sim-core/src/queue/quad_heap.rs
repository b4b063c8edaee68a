//! A 4-ary implicit heap whose root stays empty after a pop until the next push fills it.

use super::EventQueue;
use crate::event::EventKey;
use crate::time::SimTime;

/// The four children of one key share one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([EventKey; 4]);

const EMPTY_LINE: Line = Line([EventKey::MAX; 4]);
/// The root is the last key of line 0: then the children of position `p` fill line `p - 2`.
const ROOT: usize = 3;

/// The event queue of the engine. A discrete-event simulation mostly pops one event and pushes
/// another, so a pop only marks the root as a hole and the push that follows sifts once.
#[derive(Debug)]
pub struct QuadHeap {
    lines: Vec<Line>,
    /// The position after the last key.
    end: usize,
    /// Whether the root has been taken and not yet replaced.
    hole: bool,
}

impl Default for QuadHeap {
    fn default() -> Self {
        Self { lines: vec![EMPTY_LINE], end: ROOT, hole: false }
    }
}

impl QuadHeap {
    #[inline]
    fn set(&mut self, position: usize, key: EventKey) {
        self.lines[position >> 2].0[position & 3] = key;
    }

    /// The least child of `position`: its place and its key.
    #[inline(always)]
    fn least_child(&self, position: usize) -> Option<(usize, EventKey)> {
        let first = (position - 2) * 4;
        if first >= self.end {
            return None;
        }
        let Line(children) = &self.lines[position - 2];
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

    /// Adds a key at the end.
    #[inline(never)]
    fn grow(&mut self, key: EventKey) {
        if self.end >> 2 == self.lines.len() {
            self.lines.push(EMPTY_LINE);
        }
        self.end += 1;
        self.sift_up(self.end - 1, key);
    }

    fn sift_up(&mut self, mut position: usize, key: EventKey) {
        while position > ROOT {
            let parent = (position >> 2) + 2;
            let above = self.lines[parent >> 2].0[parent & 3];
            if above < key {
                break;
            }
            self.set(position, above);
            position = parent;
        }
        self.set(position, key);
    }

    /// Moves the last key into the hole at the root.
    #[inline(never)]
    fn fill_hole(&mut self) {
        self.hole = false;
        self.end -= 1;
        let last = self.lines[self.end >> 2].0[self.end & 3];
        if self.end > ROOT {
            self.sift_down(ROOT, last);
        }
    }
}

impl EventQueue for QuadHeap {
    #[inline(always)]
    fn push(&mut self, key: EventKey) {
        if self.hole {
            self.hole = false;
            self.sift_down(ROOT, key);
            return;
        }
        self.grow(key);
    }

    #[inline(always)]
    fn peek(&mut self) -> Option<EventKey> {
        if self.hole {
            self.fill_hole();
        }
        (self.end > ROOT).then(|| self.lines[0].0[ROOT])
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<EventKey> {
        let top = self.peek()?;
        self.hole = true;
        Some(top)
    }

    #[inline(always)]
    fn pop_until(&mut self, until: SimTime) -> Option<EventKey> {
        let top = self.peek()?;
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
        let kept: Vec<EventKey> = self
            .lines
            .iter()
            .flat_map(|line| line.0)
            .take(self.end)
            .skip(ROOT + usize::from(self.hole))
            .filter(|key| keep(*key))
            .collect();
        self.lines.clear();
        self.lines.resize((ROOT + kept.len()) / 4 + 1, EMPTY_LINE);
        self.end = ROOT + kept.len();
        self.hole = false;
        for (offset, key) in kept.iter().enumerate() {
            self.set(ROOT + offset, *key);
        }
        // Floyd's bottom-up construction: linear in the number of keys.
        for position in (ROOT..self.end).rev() {
            let key = self.lines[position >> 2].0[position & 3];
            self.sift_down(position, key);
        }
    }
}
