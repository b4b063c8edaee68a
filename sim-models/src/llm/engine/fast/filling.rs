//! Decoding sequences in a sliding window.
//!
//! Layers with a window read `min(context, window)` tokens of a sequence. In step n a sequence has a context of
//! `base + n + 1`, so it fills the window in step `window - 1 - base` and reads as much from then on. Those that
//! still grow are counted with the sum of their bases, as all are for the whole context, and by the step in
//! which they come to fill the window; up to the first of these steps a run of steps has a closed form.

use std::collections::BTreeMap;

/// The sequences that decode, by whether they fill the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filling {
    window: u64,
    /// The step up to which those that fill the window are counted as full.
    step: i64,
    full: u64,
    growing: u64,
    base_sum: i64,
    /// Those that grow, by the step in which they fill the window.
    fills: BTreeMap<i64, u64>,
}

impl Filling {
    pub(super) fn new(window: u64) -> Self {
        Self { window, step: 0, full: 0, growing: 0, base_sum: 0, fills: BTreeMap::new() }
    }

    /// Forgets all sequences.
    pub(super) fn clear(&mut self) {
        *self = Self { step: self.step, ..Self::new(self.window) };
    }

    /// The step in which a sequence fills the window.
    fn fills(&self, base: i64) -> i64 {
        self.window as i64 - 1 - base
    }

    /// A sequence decodes.
    pub(super) fn enter(&mut self, base: i64) {
        let step = self.fills(base);
        if step <= self.step {
            self.full += 1;
            return;
        }
        self.growing += 1;
        self.base_sum += base;
        *self.fills.entry(step).or_default() += 1;
    }

    /// Does not any more.
    pub(super) fn leave(&mut self, base: i64) {
        let step = self.fills(base);
        if step <= self.step {
            self.full -= 1;
            return;
        }
        self.growing -= 1;
        self.base_sum -= base;
        let count = self.fills.get_mut(&step).expect("who grows is counted");
        *count -= 1;
        if *count == 0 {
            self.fills.remove(&step);
        }
    }

    /// Goes on to a step: the context that all read of the window in it.
    pub(super) fn context(&mut self, step: u64) -> u64 {
        self.step = step as i64;
        while let Some(entry) = self.fills.first_entry().filter(|entry| *entry.key() <= self.step) {
            let (filled, count) = entry.remove_entry();
            self.full += count;
            self.growing -= count;
            self.base_sum -= (self.window as i64 - 1 - filled) * count as i64;
        }
        self.full * self.window + (self.base_sum + (self.growing * (step + 1)) as i64) as u64
    }

    /// The sequences whose part grows from step to step.
    pub(super) fn growing(&self) -> u64 {
        self.growing
    }

    /// How many steps from the present one on grow alike.
    pub(super) fn steps_alike(&self) -> u64 {
        self.fills.first_key_value().map_or(u64::MAX, |(step, _)| (step + 1 - self.step) as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_sum_over_the_sequences(
            window in 1u64..40,
            changes in prop::collection::vec((1u64..20, 0u64..60, any::<prop::sample::Index>(), any::<bool>()), 1..60),
        ) {
            let mut filling = Filling::new(window);
            let (mut bases, mut step) = (Vec::new(), 1);
            for (steps, context, which, leaves) in changes {
                if leaves && !bases.is_empty() {
                    filling.leave(bases.swap_remove(which.index(bases.len())));
                } else {
                    bases.push(context as i64 - step as i64);
                    filling.enter(context as i64 - step as i64);
                }
                let sum = |step: u64| -> u64 {
                    bases.iter().map(|base| ((base + step as i64 + 1) as u64).min(window)).sum()
                };
                prop_assert_eq!(filling.context(step), sum(step));
                let alike = filling.steps_alike().min(steps);
                for ahead in 1..alike {
                    prop_assert_eq!(sum(step + ahead), sum(step) + ahead * filling.growing());
                }
                step += steps;
            }
        }
    }
}
