//! The time that drafting takes (speculative decoding).

use super::{HardwareError, Pass, StepFunction};

/// Drafts behind every pass of the target model: `passes` passes of the draft model, one token for each
/// sequence in each. They follow the target's pass on the same GPUs, so that their times add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drafter {
    step: StepFunction,
    passes: u64,
    /// Whether the first pass goes over all tokens of the target's, as the drafting model's own KV cache needs them.
    catches_up: bool,
}

impl Drafter {
    /// A draft model with KV cache: its first pass computes the tokens that the target has just computed, each
    /// further one a token for each sequence (`propose` in `vllm/v1/spec_decode/eagle.py`, vLLM 0.14.0). Of
    /// sequences in prefill the drafts' attention is not counted.
    pub fn model(step: StepFunction, passes: u64) -> Self {
        Self { step, passes, catches_up: true }
    }

    /// A draft pass takes `cost` times the GPU's time of a decode pass of `target` over the same sequences: the
    /// ratio `c` of Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (ICML 2023). Tokens
    /// in prefill cost the drafter nothing.
    ///
    /// # Errors
    /// A `cost` outside 0 to 1.
    pub fn ratio(target: &StepFunction, cost: f64, passes: u64) -> Result<Self, HardwareError> {
        if !(0.0..=1.0).contains(&cost) {
            let expected = "a share of the target's time, from 0 to 1";
            return Err(HardwareError::OutOfRange { name: "cost", value: cost, expected });
        }
        Ok(Self { step: target.scaled(cost), passes, catches_up: false })
    }

    /// The same behind passes that are counted with `window`.
    pub(super) fn within(self, window: Option<u64>) -> Self {
        if self.step.window() == window { self } else { Self { step: self.step.without_window(), ..self } }
    }

    /// Ticks of the GPU that drafting behind `pass` takes.
    pub(super) fn ticks(&self, pass: &Pass) -> u128 {
        let single = Pass {
            sequences: pass.sequences,
            new_tokens: pass.sequences,
            decode_context: pass.decode_context,
            windowed_context: pass.windowed_context,
            ..Pass::default()
        };
        match self.passes {
            0 => 0,
            passes if self.catches_up => {
                // What is sampled of it is one token for each sequence, too.
                let first = Pass { drafts: 0, adapters: 0, ..*pass };
                self.step.gpu_ticks(&first) + u128::from(passes - 1) * self.step.gpu_ticks(&single)
            }
            passes => u128::from(passes) * self.step.gpu_ticks(&single),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::timing::{Calibration, Coefficients};

    fn target() -> StepFunction {
        let coefficients =
            Coefficients { base: 1_000, per_token: 10, per_context: 2, host_base: 10, ..Default::default() };
        StepFunction::new(coefficients, Calibration::Datasheet).unwrap()
    }

    #[test]
    fn drafts_add_up_behind_the_targets_pass() {
        let pass = Pass { sequences: 2, new_tokens: 8, decode_context: 100, drafts: 6, ..Pass::default() };
        let verify = 1_000 + 80 + 200;
        assert_eq!(target().ticks(&pass), verify);
        let by_ratio = target().with_drafter(Drafter::ratio(&target(), 0.5, 3).unwrap());
        assert_eq!(by_ratio.ticks(&pass), verify + 3 * (500 + 10 + 100));
        let by_model = target().with_drafter(Drafter::model(target(), 3));
        assert_eq!(by_model.ticks(&pass), verify + verify + 2 * (1_000 + 20 + 200));
        assert!(Drafter::ratio(&target(), 1.5, 3).is_err());
        assert!(Drafter::ratio(&target(), f64::NAN, 3).is_err());
    }
}
