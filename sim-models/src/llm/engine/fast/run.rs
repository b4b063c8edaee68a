//! The times of a plan's steps in 64 bits.

use crate::hardware::timing::DecodeRun;

/// A [`DecodeRun`] of so many steps that their sum fits 64 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// The steps that take the host's time, and that time.
    level: u64,
    host: u64,
    /// The GPU's part of the first step, and by how much it grows from step to step.
    first: u64,
    growth: u64,
}

impl Run {
    /// The first `steps` steps, and how long they take; none if that cannot be counted.
    pub(super) fn new(run: &DecodeRun, steps: u64) -> Option<(Self, u64)> {
        let narrow = |value: u128| u64::try_from(value).ok();
        if run.host() <= run.first() && steps < 1 << 32 {
            let (first, growth) = (narrow(run.first())?, narrow(run.growth())?);
            growth.checked_mul(steps)?.checked_add(first)?;
            let rise = growth.checked_mul(steps * steps.saturating_sub(1) / 2)?;
            let ticks = first.checked_mul(steps)?.checked_add(rise)?;
            return Some((Self { level: 0, host: 0, first, growth }, ticks));
        }
        let ticks = run.sum(steps)?;
        let level = run.host_bound_steps().min(steps);
        // No step takes longer than all, but the host's part counts only where it is the longer one.
        let host = if level > 0 { narrow(run.host())? } else { 0 };
        let (first, growth) = (narrow(run.first())?, narrow(run.growth())?);
        growth.checked_mul(steps)?.checked_add(first)?;
        Some((Self { level, host, first, growth }, ticks))
    }

    /// Ticks of step `step`, counted from 0.
    #[inline]
    pub(super) fn ticks(&self, step: u64) -> u64 {
        if step < self.level { self.host } else { self.first + self.growth * step }
    }

    /// Ticks of the first `steps` steps.
    #[inline]
    pub(super) fn sum(&self, steps: u64) -> u64 {
        let flat = steps.min(self.level);
        self.host * flat + ramp(self.first + self.growth * flat, self.growth, steps - flat)
    }

    /// From step `step` on: how many steps of the `steps` next are alike in how they grow, their first, and
    /// by how much they grow.
    #[inline]
    pub(super) fn piece(&self, step: u64, steps: u64) -> (u64, u64, u64) {
        if step < self.level {
            return (steps.min(self.level - step), self.host, 0);
        }
        (steps, self.first + self.growth * step, self.growth)
    }

    /// How many steps have ended when `ticks` have passed, fewer than all.
    #[inline]
    pub(super) fn ended(&self, ticks: u64) -> u64 {
        let level = self.host * self.level;
        if ticks < level {
            return ticks / self.host;
        }
        let (first, growth, rest) = (self.first + self.growth * self.level, self.growth, ticks - level);
        // The positive root of growth n^2 + (2 first - growth) n = 2 rest, without cancellation; a guess that
        // the loops below put right.
        let slope = 2.0 * first as f64 - growth as f64;
        let root = (slope * slope + 8.0 * growth as f64 * rest as f64).sqrt();
        let guess = match slope >= 0.0 {
            true => 4.0 * rest as f64 / (slope + root),
            false => (root - slope) / (2.0 * growth as f64),
        };
        let mut n = guess as u64;
        while n > 0 && ramp_exceeds(first, growth, n, rest) {
            n -= 1;
        }
        while !ramp_exceeds(first, growth, n + 1, rest) {
            n += 1;
        }
        self.level + n
    }
}

/// `n` steps, the first of `first` ticks, each `growth` longer.
#[inline]
fn ramp(first: u64, growth: u64, n: u64) -> u64 {
    first * n + (u128::from(growth) * (u128::from(n) * u128::from(n.saturating_sub(1)) / 2)) as u64
}

/// Whether that is more than `ticks`; it may not fit 64 bits.
#[inline]
fn ramp_exceeds(first: u64, growth: u64, n: u64, ticks: u64) -> bool {
    let (first, growth, n) = (u128::from(first), u128::from(growth), u128::from(n));
    first * n + growth * (n * n.saturating_sub(1) / 2) > u128::from(ticks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hardware::timing::{Calibration, Coefficients, Pass, StepFunction};

    proptest! {
        #[test]
        fn it_is_the_decode_run(
            base in 1u64..1 << 24, per_context in 0u64..1 << 16, host_base in 0u64..1 << 25,
            sequences in 1u64..100, context in 1u64..10_000, steps in 1u64..2_000, part in 0.0..1.0,
        ) {
            let coefficients = Coefficients { base, per_context, host_base, ..Default::default() };
            let step = StepFunction::new(coefficients, Calibration::Datasheet).unwrap();
            let (new_tokens, decode_context) = (sequences, sequences * context);
            let run = step.decode_run(&Pass { sequences, new_tokens, decode_context, ..Pass::default() }, 0);
            let (narrow, ticks) = Run::new(&run, steps).unwrap();
            prop_assert_eq!((narrow.sum(steps), run.sum(steps)), (ticks, Some(ticks)));
            let some = (part * steps as f64) as u64;
            prop_assert_eq!(Some(narrow.sum(some)), run.sum(some));
            prop_assert_eq!(u128::from(narrow.ticks(some)), run.ticks(some));
            if some < steps {
                prop_assert_eq!(narrow.ended(narrow.sum(some)), some, "exactly at a boundary");
            }
            let passed = (part * ticks as f64) as u64;
            if passed < ticks {
                prop_assert_eq!(narrow.ended(passed), run.steps_to_reach(passed + 1) - 1);
            }
        }
    }
}
