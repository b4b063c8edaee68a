//! Speculative decoding: how many drafted tokens a step verifies, and how many of them are accepted.
//!
//! A sequence that decodes has `num_speculative_tokens` drafts in each step. The target model computes them in
//! one pass with the token generated last; it keeps those before the first it would not have generated, and
//! one more token of its own. With acceptances that are independent and of probability `a` at every position,
//! a step yields `(1 - a^(k+1)) / (1 - a)` tokens on average (Leviathan et al., "Fast Inference from
//! Transformers via Speculative Decoding", ICML 2023, equation 1).

use sim_core::random::stable_hash;

/// Binary digits behind the point of the carried acceptance.
const DIGITS: u32 = 32;

/// Speculative decoding of an engine, under vLLM's names (`vllm/config/speculative.py`, 0.14.0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speculation {
    /// Drafts that are verified for each decoding sequence in a step, in tokens; at least 1.
    pub num_speculative_tokens: u32,
    /// KV slots that a running sequence has beyond those of the step's tokens, for the drafting model to write
    /// into, in tokens: vLLM's `num_lookahead_tokens`, the number of drafts with EAGLE and draft models and 0
    /// with n-grams.
    pub num_lookahead_tokens: u32,
    /// Whether a head drafts from the model's own features (EAGLE). It needs those of the last token of a prefix that
    /// the cache holds, so that the last block is computed again (`use_eagle` in vLLM's KV cache managers).
    pub use_eagle: bool,
    acceptance: Acceptance,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Acceptance {
    /// Drafts accepted in a step, times 2^[`DIGITS`].
    Carried(u64),
    /// For each number of drafts from 1 the probability that so many at least are accepted, times 2^64.
    Drawn(Vec<u64>),
}

/// 2^64.
const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

impl Speculation {
    /// Drafts of which each is accepted with probability `rate` if all before it were. In place of luck the
    /// expected number can be carried over from step to step, whole drafts being accepted when they are due, of
    /// all sequences alike: the mean is the same to 2^-32, without spread.
    ///
    /// The `rate` must be from 0 to 1.
    pub fn new(num_speculative_tokens: u32, num_lookahead_tokens: u32, rate: f64, drawn: bool) -> Self {
        debug_assert!((0.0..=1.0).contains(&rate), "{rate}");
        let mut powers = Vec::with_capacity(num_speculative_tokens as usize);
        let mut power = 1.0;
        for _ in 0..num_speculative_tokens {
            power *= rate;
            powers.push(power);
        }
        let acceptance = if drawn {
            // A float of 2^64 becomes the largest integer: one draw in 2^64 is wrong.
            Acceptance::Drawn(powers.iter().map(|power| (power * TWO_TO_64) as u64).collect())
        } else {
            let expected: f64 = powers.iter().sum();
            Acceptance::Carried((expected * (1u64 << DIGITS) as f64).round() as u64)
        };
        Self { num_speculative_tokens, num_lookahead_tokens, use_eagle: false, acceptance }
    }

    /// The same with a head that drafts from the model's own features, if `use_eagle`.
    pub fn with_eagle(self, use_eagle: bool) -> Self {
        Self { use_eagle, ..self }
    }

    /// Whether acceptance is drawn, by the luck of each sequence.
    pub fn is_drawn(&self) -> bool {
        matches!(self.acceptance, Acceptance::Drawn(_))
    }

    /// Whether acceptance is carried over, so that it is the same for all sequences in a step.
    pub(super) fn is_carried(&self) -> bool {
        !self.is_drawn()
    }

    /// The most tokens that one decoding sequence computes in a step.
    pub(super) fn tokens(&self) -> u32 {
        1 + self.num_speculative_tokens
    }

    /// The drafts that would be accepted of all in step `step`, for a sequence of so much `luck` and with so
    /// many tokens.
    pub(super) fn accepted(&self, step: u64, luck: u64, tokens: u32) -> u32 {
        match &self.acceptance {
            Acceptance::Carried(share) => {
                let carried = |step: u64| (u128::from(step) * u128::from(*share)) >> DIGITS;
                (carried(step) - carried(step - 1)) as u32
            }
            Acceptance::Drawn(probabilities) => {
                let mut bytes = [0; 12];
                bytes[..8].copy_from_slice(&luck.to_le_bytes());
                bytes[8..].copy_from_slice(&tokens.to_le_bytes());
                let draw = stable_hash(&bytes);
                probabilities.iter().take_while(|probability| draw < **probability).count() as u32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leviathan et al., equation 1.
    fn tokens_per_step(rate: f64, drafts: u32) -> f64 {
        if rate == 1.0 {
            return f64::from(drafts + 1);
        }
        (1.0 - libm::pow(rate, f64::from(drafts + 1))) / (1.0 - rate)
    }

    #[test]
    fn tokens_per_step_are_those_of_the_paper() {
        for rate in [0.0, 0.3, 0.6, 0.8, 0.95, 1.0] {
            for drafts in [1, 2, 5, 8] {
                let expected = tokens_per_step(rate, drafts);
                let steps = 200_000;
                let carried = Speculation::new(drafts, 0, rate, false);
                let sum: u64 = (1..=steps).map(|step| u64::from(carried.accepted(step, 0, 0))).sum();
                let mean = 1.0 + sum as f64 / steps as f64;
                assert!((mean - expected).abs() <= 1.0 / steps as f64 + 1e-9, "{rate} {drafts}: {mean}");
                let drawn = Speculation::new(drafts, 0, rate, true);
                let counts: Vec<f64> =
                    (0..steps).map(|n| f64::from(drawn.accepted(1, n % 1_000, (n / 1_000) as u32))).collect();
                let mean = counts.iter().sum::<f64>() / steps as f64;
                let variance = counts.iter().map(|n| (n - mean) * (n - mean)).sum::<f64>() / steps as f64;
                let error = (variance / steps as f64).sqrt();
                let off = 1.0 + mean - expected;
                assert!(off.abs() <= 4.0 * error + 1e-9, "{rate} {drafts}: {off} with error {error}");
            }
        }
    }

    #[test]
    fn no_step_accepts_more_than_was_drafted() {
        for rate in [0.0, 0.5, 0.99, 1.0] {
            let carried = Speculation::new(3, 3, rate, false);
            assert!((1..10_000).all(|step| carried.accepted(step, 0, 0) <= 3));
        }
    }
}
