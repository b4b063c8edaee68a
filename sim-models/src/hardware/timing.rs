//! The time of a forward pass as an integer function of a small state vector.
//!
//! A [`StepFunction`] is the same whatever its coefficients come from (a [`Calibration`]). Time is counted
//! in ticks of 1/1024 ns and no step is rounded, so the sum over n decode steps of an unchanging batch
//! has a closed form that equals the n additions bit for bit ([`DecodeRun`]). A u64 of ticks holds 208
//! days.
//!
//! With `max(0, x)` written `x+`, one pass takes `max(gpu, host)` ticks, where
//!
//! ```text
//! gpu  = base + per_sequence * sequences + per_token * new_tokens
//!      + gemm.slope * (new_tokens - gemm.free)+ + head.slope * (logits - head.free)+
//!      + by_tokens(new_tokens) + by_sequences(logits)
//!      + per_context * decode_context + per_prefill_work * prefill_work
//!      + windowed.per_context * windowed_context + windowed.per_prefill_work * windowed_work
//!      + per_adapter * adapters + drafting
//! host = host_base + host_per_sequence * sequences
//! ```
//!
//! with `logits = sequences + drafts`: a drafted token is sampled at, like the last of a sequence. Drafting is
//! what a [`Drafter`] takes, if there is one.
//!
//! where `by_tokens` and `by_sequences` are [`Curve`]s, through measured points. The engine schedules the
//! next step while the GPU computes this one (asynchronous scheduling), hence the maximum; without it the
//! host's terms belong into `base` and `per_sequence`. An engine that was idle has nothing to hide the host's
//! work behind: its first pass takes [`StepFunction::wake`] longer. Every term is piecewise linear and
//! non-decreasing.

mod curve;
mod drafter;

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use super::HardwareError;
use super::catalogue::Model;
pub use curve::Curve;
pub use drafter::Drafter;

/// Ticks in a nanosecond.
pub const TICKS_PER_NANO: u64 = 1024;
/// The largest coefficient: 2^50 ticks are 18 minutes. With 64-bit counts every sum fits 128 bits.
pub const MAX_COEFFICIENT: u64 = 1 << 50;

/// The whole nanoseconds in which `ticks` have passed: rounded up.
pub const fn nanos_ceil(ticks: u64) -> SimDuration {
    SimDuration::from_nanos(ticks.div_ceil(TICKS_PER_NANO))
}

/// Where the coefficients of a step function come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// Datasheet peaks and general efficiencies; nothing was measured for this model on this GPU.
    Datasheet,
    /// Kernels measured on another GPU, scaled by the datasheets, or those of a mixture's experts worked out from others
    /// of this GPU.
    Estimate,
    /// Kernels that others timed on this GPU.
    Imported,
    /// Kernels timed on this GPU by `tenfold-microbench`.
    Measured,
    /// Scaled to end-to-end measurements of the user's own server.
    Fitted,
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Datasheet => "estimate (datasheet, uncalibrated)",
            Self::Estimate => "estimate (from other kernels)",
            Self::Imported => "imported (kernel profile)",
            Self::Measured => "measured (kernel profile)",
            Self::Fitted => "calibrated (fitted to measurements)",
        })
    }
}

/// The work of one forward pass, summed over its sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pass {
    /// Sequences in the batch.
    pub sequences: u64,
    /// Tokens computed, of prefill chunks and decodes together.
    pub new_tokens: u64,
    /// Sum over decoding sequences of the context that attention reads, the new token included.
    pub decode_context: u64,
    /// Sum over prefill chunks of `chunk * (2 * context before it + chunk)`: twice the query-key pairs
    /// of causal attention.
    pub prefill_work: u64,
    /// Sum over decoding sequences of the context that attention with a sliding window reads; 0 where
    /// no layer has a window ([`Pass::decode`]).
    pub windowed_context: u64,
    /// Twice the query-key pairs of prefill chunks within the window ([`Pass::prefill`]).
    pub windowed_work: u64,
    /// Drafted tokens that are verified (speculative decoding).
    pub drafts: u64,
    /// Different LoRA adapters of the sequences.
    pub adapters: u64,
}

impl Pass {
    /// The `prefill_work` of one chunk of `chunk` tokens after `context` others.
    pub fn chunk_work(context: u64, chunk: u64) -> u64 {
        chunk * (2 * context + chunk)
    }

    /// The same where a token sees the last `window` tokens alone, itself among them: a chunk's work is the
    /// integral of twice the context over it, and the context does not grow beyond the window.
    pub fn windowed_chunk_work(context: u64, chunk: u64, window: u64) -> u64 {
        let until = |tokens: u64| {
            let inside = tokens.min(window);
            inside * (2 * tokens - inside)
        };
        until(context + chunk) - until(context)
    }

    /// Adds a chunk of `chunk` tokens of a prompt after `context` others; `window` is that of
    /// [`StepFunction::window`].
    #[inline]
    pub fn prefill(&mut self, context: u64, chunk: u64, window: Option<u64>) {
        self.sequences += 1;
        self.new_tokens += chunk;
        self.prefill_work += Self::chunk_work(context, chunk);
        if let Some(window) = window {
            self.windowed_work += Self::windowed_chunk_work(context, chunk, window);
        }
    }

    /// Adds a sequence that computes the token it generated last and `drafts` more after `context` others.
    /// Each of them sees `window` tokens: together they read `drafts` more.
    #[inline]
    pub fn decode(&mut self, context: u64, drafts: u64, window: Option<u64>) {
        self.sequences += 1;
        self.new_tokens += 1 + drafts;
        self.drafts += drafts;
        self.decode_context += context + 1 + drafts;
        if let Some(window) = window {
            self.windowed_context += (context + 1).min(window) + drafts;
        }
    }
}

/// A cost that starts once some units are free: `slope * max(0, x - free)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hinge {
    /// Units that cost nothing more.
    pub free: u64,
    /// Ticks for each further unit.
    pub slope: u64,
}

/// What the layers with a sliding window cost. Their attention reads and computes with a sequence's last
/// `tokens` tokens, the new one among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windowed {
    /// Tokens of the window; 0 where no layer has one.
    pub tokens: u64,
    /// Ticks for each token of context within the window that a decoding sequence reads.
    pub per_context: u64,
    /// Ticks for each unit of prefill work within the window.
    pub per_prefill_work: u64,
}

/// The coefficients of a step function, in ticks of 1/1024 ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coefficients {
    /// Every pass: reading the weights, launches and latencies, work that overlaps with nothing.
    pub base: u64,
    /// Each sequence: sampling.
    pub per_sequence: u64,
    /// Each new token: element-wise kernels and, with tensor parallelism, all-reduces.
    pub per_token: u64,
    /// Matrix multiplications of the layers by new tokens, beyond those hidden by reading the weights.
    pub gemm: Hinge,
    /// Matrix multiplication of the output layer by sequences, beyond those hidden by reading it.
    pub head: Hinge,
    /// Each token of context read by a decoding sequence, in layers that see all of it.
    pub per_context: u64,
    /// Each unit of prefill work, likewise.
    pub per_prefill_work: u64,
    /// Layers with a sliding window.
    #[serde(default)]
    pub windowed: Windowed,
    /// Each LoRA adapter: reading its matrices.
    #[serde(default)]
    pub per_adapter: u64,
    /// The host's work for every pass.
    pub host_base: u64,
    /// The host's work for each sequence.
    pub host_per_sequence: u64,
}

/// The time of a forward pass of one model on one kind of GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFunction {
    coefficients: Coefficients,
    by_tokens: Curve,
    by_sequences: Curve,
    drafter: Option<Arc<Drafter>>,
    stages: Arc<[StepFunction]>,
    wake: u64,
    calibration: Calibration,
    detail: Arc<str>,
}

impl Coefficients {
    /// Those of a model's attention, nothing else: times of a token of context and of a unit of prefill work if all
    /// layers saw all of the context, shared out over those that do and those with a window. `ticks` rounds a time.
    pub(super) fn of_attention(
        model: &Model,
        per_context: f64,
        per_prefill_work: f64,
        ticks: impl Fn(f64) -> u64,
    ) -> Self {
        let (whole, windowed) = model.layer_shares();
        Self {
            per_context: ticks(whole * per_context),
            per_prefill_work: ticks(whole * per_prefill_work),
            windowed: Windowed {
                tokens: model.sliding.map_or(0, |sliding| sliding.window),
                per_context: ticks(windowed * per_context),
                per_prefill_work: ticks(windowed * per_prefill_work),
            },
            ..Self::default()
        }
    }
}

impl StepFunction {
    /// A step function with the given coefficients.
    ///
    /// # Errors
    /// [`HardwareError::OutOfRange`] when a coefficient exceeds [`MAX_COEFFICIENT`] or a pass could take
    /// no time at all.
    pub fn new(coefficients: Coefficients, calibration: Calibration) -> Result<Self, HardwareError> {
        let c = &coefficients;
        let bounded = [
            ("base", c.base),
            ("per_sequence", c.per_sequence),
            ("per_token", c.per_token),
            ("gemm.slope", c.gemm.slope),
            ("head.slope", c.head.slope),
            ("per_context", c.per_context),
            ("per_prefill_work", c.per_prefill_work),
            ("windowed.per_context", c.windowed.per_context),
            ("windowed.per_prefill_work", c.windowed.per_prefill_work),
            ("per_adapter", c.per_adapter),
            ("host_base", c.host_base),
            ("host_per_sequence", c.host_per_sequence),
        ];
        for (name, value) in bounded {
            if value > MAX_COEFFICIENT {
                let expected = "at most 2^50 ticks of 1/1024 ns (18 minutes)";
                return Err(HardwareError::OutOfRange { name, value: value as f64, expected });
            }
        }
        if c.base.max(c.host_base) == 0 {
            let expected = "at least one tick in base or host_base, so that time advances";
            return Err(HardwareError::OutOfRange { name: "base", value: 0.0, expected });
        }
        Ok(Self {
            coefficients,
            by_tokens: Curve::default(),
            by_sequences: Curve::default(),
            drafter: None,
            stages: Arc::default(),
            wake: 0,
            calibration,
            detail: Arc::default(),
        })
    }

    /// Adds what new tokens and sequences cost along measured curves, and what an idle engine's first
    /// pass takes more (at most [`MAX_COEFFICIENT`]).
    pub fn with_curves(self, by_tokens: Curve, by_sequences: Curve, wake: u64) -> Self {
        Self { by_tokens, by_sequences, wake: wake.min(MAX_COEFFICIENT), ..self }
    }

    /// The same with what a fit adds: ticks for each sequence, and for an idle engine's first pass.
    pub(super) fn fitted(mut self, per_sequence: u64, wake: u64) -> Self {
        let c = &mut self.coefficients;
        c.per_sequence = c.per_sequence.saturating_add(per_sequence).min(MAX_COEFFICIENT);
        Self { wake: wake.min(MAX_COEFFICIENT), calibration: Calibration::Fitted, ..self }
    }

    /// Adds the time in which each pass is followed by drafting. A draft model whose window is not this one's
    /// is taken to see all of the context: passes are counted by one window.
    pub fn with_drafter(self, drafter: Drafter) -> Self {
        let drafter = drafter.within(self.window());
        Self { drafter: Some(Arc::new(drafter)), ..self }
    }

    /// Adds what reading each LoRA adapter takes, in ticks (at most [`MAX_COEFFICIENT`]).
    pub fn with_adapters(mut self, ticks: u64) -> Self {
        self.coefficients.per_adapter = ticks.min(MAX_COEFFICIENT);
        self
    }

    /// Adds what sending a pass on to the next stage takes: ticks for each pass, and for each new token.
    pub(crate) fn with_transfer(mut self, pass: u64, token: u64) -> Self {
        let c = &mut self.coefficients;
        c.base = c.base.saturating_add(pass).min(MAX_COEFFICIENT);
        c.per_token = c.per_token.saturating_add(token).min(MAX_COEFFICIENT);
        self
    }

    /// Adds the later stages of a pipeline; this is the first.
    pub fn with_stages(self, later: Vec<StepFunction>) -> Self {
        Self { stages: later.into(), ..self }
    }

    /// The stages that a pass goes through, in order: this one, and those behind it.
    pub fn stages(&self) -> impl Iterator<Item = &StepFunction> {
        std::iter::once(self).chain(self.stages.iter())
    }

    /// Says what exactly was measured, such as the profile's name and whose kernels it timed.
    pub fn with_detail(self, detail: &str) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// The coefficients.
    pub fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }

    /// What new tokens cost along a curve.
    #[cfg(test)]
    pub(super) fn by_tokens(&self) -> &Curve {
        &self.by_tokens
    }

    /// The tokens that layers with a sliding window see, if there are any: what passes are counted with.
    pub fn window(&self) -> Option<u64> {
        Some(self.coefficients.windowed.tokens).filter(|tokens| *tokens > 0)
    }

    /// The same, with layers that see all of the context in place of a window.
    fn without_window(mut self) -> Self {
        let c = &mut self.coefficients;
        let Windowed { per_context, per_prefill_work, .. } = std::mem::take(&mut c.windowed);
        c.per_context = (c.per_context + per_context).min(MAX_COEFFICIENT);
        c.per_prefill_work = (c.per_prefill_work + per_prefill_work).min(MAX_COEFFICIENT);
        self
    }

    /// Where the coefficients come from.
    pub fn calibration(&self) -> Calibration {
        self.calibration
    }

    /// Where the coefficients come from, in words: for results.
    pub fn badge(&self) -> String {
        match &*self.detail {
            "" => self.calibration.to_string(),
            detail => format!("{}: {detail}", self.calibration),
        }
    }

    /// Ticks by which the first pass of an engine that was idle is longer: from the arrival of work to
    /// the start of the GPU's, which later passes hide.
    pub fn wake(&self) -> u64 {
        self.wake
    }

    /// Ticks of 1/1024 ns that `pass` takes; in a pipeline, of its first stage.
    ///
    /// # Panics
    /// When that is more than 64 bits hold (208 days): the pass is no pass of any engine.
    pub fn ticks(&self, pass: &Pass) -> u64 {
        self.checked_ticks(pass).unwrap_or_else(|| panic!("a pass of over 208 days: {pass:?}"))
    }

    /// Ticks of 1/1024 ns that `pass` takes; none when that is more than 64 bits hold (208 days).
    pub fn checked_ticks(&self, pass: &Pass) -> Option<u64> {
        let drafting = self.drafter.as_ref().map_or(0, |drafter| drafter.ticks(pass));
        u64::try_from((self.gpu_ticks(pass) + drafting).max(self.host_ticks(pass))).ok()
    }

    /// The run of decode steps that starts with `first`, a pass without prefill, while no sequence
    /// joins or leaves: each step reads one more token of context for each sequence, and within the window
    /// for `growing` of them, of which none comes to fill it before the last step.
    pub fn decode_run(&self, first: &Pass, growing: u64) -> DecodeRun {
        debug_assert!(first.prefill_work == 0 && first.new_tokens == first.sequences, "{first:?}");
        debug_assert!(first.drafts == 0 && self.drafter.is_none(), "drafting has no closed form");
        let c = &self.coefficients;
        DecodeRun {
            first: self.gpu_ticks(first),
            growth: u128::from(c.per_context) * u128::from(first.sequences)
                + u128::from(c.windowed.per_context) * u128::from(growing),
            host: self.host_ticks(first),
        }
    }

    /// A pass of the GPU that takes `share` of this one's time, at most all of it; it has no host.
    fn scaled(&self, share: f64) -> Self {
        let c = &self.coefficients;
        let of = |ticks: u64| scaled(ticks, share);
        let coefficients = Coefficients {
            base: of(c.base),
            per_sequence: of(c.per_sequence),
            per_token: of(c.per_token),
            gemm: Hinge { slope: of(c.gemm.slope), ..c.gemm },
            head: Hinge { slope: of(c.head.slope), ..c.head },
            per_context: of(c.per_context),
            per_prefill_work: of(c.per_prefill_work),
            windowed: Windowed {
                per_context: of(c.windowed.per_context),
                per_prefill_work: of(c.windowed.per_prefill_work),
                ..c.windowed
            },
            per_adapter: of(c.per_adapter),
            host_base: 0,
            host_per_sequence: 0,
        };
        Self {
            coefficients,
            by_tokens: self.by_tokens.scaled(share),
            by_sequences: self.by_sequences.scaled(share),
            drafter: None,
            stages: Arc::default(),
            ..self.clone()
        }
    }

    fn gpu_ticks(&self, pass: &Pass) -> u128 {
        self.narrow_gpu_ticks(pass).map_or_else(|| self.wide_gpu_ticks(pass), u128::from)
    }

    /// The same where 64 bits suffice: nearly always, and several times faster.
    #[inline]
    fn narrow_gpu_ticks(&self, pass: &Pass) -> Option<u64> {
        let c = &self.coefficients;
        let logits = pass.sequences + pass.drafts;
        let terms = [
            c.per_sequence.checked_mul(pass.sequences)?,
            c.per_token.checked_mul(pass.new_tokens)?,
            c.gemm.slope.checked_mul(pass.new_tokens.saturating_sub(c.gemm.free))?,
            c.head.slope.checked_mul(logits.saturating_sub(c.head.free))?,
            u64::try_from(self.by_tokens.at(pass.new_tokens)).ok()?,
            u64::try_from(self.by_sequences.at(logits)).ok()?,
            c.per_context.checked_mul(pass.decode_context)?,
            c.per_prefill_work.checked_mul(pass.prefill_work)?,
            c.per_adapter.checked_mul(pass.adapters)?,
        ];
        let sum = terms.iter().try_fold(c.base, |sum, term| sum.checked_add(*term))?;
        if c.windowed.tokens == 0 {
            return Some(sum);
        }
        sum.checked_add(c.windowed.per_context.checked_mul(pass.windowed_context)?)?
            .checked_add(c.windowed.per_prefill_work.checked_mul(pass.windowed_work)?)
    }

    #[cold]
    fn wide_gpu_ticks(&self, pass: &Pass) -> u128 {
        let c = &self.coefficients;
        let times = |coefficient: u64, count: u64| u128::from(coefficient) * u128::from(count);
        let logits = pass.sequences + pass.drafts;
        u128::from(c.base)
            + times(c.per_sequence, pass.sequences)
            + times(c.per_token, pass.new_tokens)
            + times(c.gemm.slope, pass.new_tokens.saturating_sub(c.gemm.free))
            + times(c.head.slope, logits.saturating_sub(c.head.free))
            + self.by_tokens.at(pass.new_tokens)
            + self.by_sequences.at(logits)
            + times(c.per_context, pass.decode_context)
            + times(c.per_prefill_work, pass.prefill_work)
            + times(c.windowed.per_context, pass.windowed_context)
            + times(c.windowed.per_prefill_work, pass.windowed_work)
            + times(c.per_adapter, pass.adapters)
    }

    fn host_ticks(&self, pass: &Pass) -> u128 {
        let c = &self.coefficients;
        u128::from(c.host_base) + u128::from(c.host_per_sequence) * u128::from(pass.sequences)
    }
}

/// Ticks times a share of at most 1, to the nearest.
fn scaled(ticks: u64, share: f64) -> u64 {
    (ticks as f64 * share).round() as u64
}

/// The durations of consecutive decode steps of an unchanging batch, in ticks: step `i` (from 0) takes
/// `max(first + growth * i, host)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeRun {
    // `first` or `host` is positive.
    first: u128,
    growth: u128,
    host: u128,
}

impl DecodeRun {
    /// The GPU's part of the first step.
    pub fn first(&self) -> u128 {
        self.first
    }

    /// By how much the GPU's part grows from step to step.
    pub fn growth(&self) -> u128 {
        self.growth
    }

    /// The host's part of every step.
    pub fn host(&self) -> u128 {
        self.host
    }

    /// Steps at the start that take the host's time: those before the GPU's part reaches it.
    /// `u64::MAX` when it never does.
    pub fn host_bound_steps(&self) -> u64 {
        match (self.host.saturating_sub(self.first), self.growth) {
            (0, _) => 0,
            (_, 0) => u64::MAX,
            (lead, growth) => u64::try_from(lead.div_ceil(growth)).unwrap_or(u64::MAX),
        }
    }

    /// Ticks of step `step`, counted from 0.
    pub fn ticks(&self, step: u64) -> u128 {
        (self.first + self.growth * u128::from(step)).max(self.host)
    }

    /// Ticks of the first `steps` steps together, exactly as if added one by one; none when that is
    /// more than 64 bits hold (208 days).
    pub fn sum(&self, steps: u64) -> Option<u64> {
        let flat = steps.min(self.host_bound_steps());
        let n = u128::from(steps - flat);
        let host = self.host.checked_mul(u128::from(flat))?;
        let even = (self.first.checked_add(self.growth.checked_mul(u128::from(flat))?)?).checked_mul(n)?;
        // n(n-1)/2 of 64-bit n fits.
        let rising = self.growth.checked_mul(n * n.saturating_sub(1) / 2)?;
        u64::try_from(host.checked_add(even)?.checked_add(rising)?).ok()
    }

    /// The least number of steps that together take at least `ticks`: an arrival `ticks` after the start
    /// gets in at the boundary after that many, and an arrival exactly at a boundary gets in there.
    pub fn steps_to_reach(&self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        let flat = u128::from(self.host_bound_steps());
        let in_host_bound = ticks.div_ceil(self.host.max(1));
        let steps = if in_host_bound <= flat {
            in_host_bound
        } else {
            let rest = ticks - flat * self.host;
            let first = self.first + self.growth * flat;
            flat + least_of_ramp(first, self.growth, rest)
        };
        // Every step takes at least one tick, so there are no more steps than ticks.
        steps as u64
    }
}

/// The least n with `first n + growth n(n-1)/2 >= ticks`, for `first` of at least 1.
fn least_of_ramp(first: u128, growth: u128, ticks: u128) -> u128 {
    let upper = ticks.div_ceil(first);
    let sum = |n: u128| first * n + growth * (n * n.saturating_sub(1) / 2);
    // The positive root of growth n^2 + (2 first - growth) n = 2 ticks, without cancellation; a guess
    // that the loops below put right.
    let slope = 2.0 * first as f64 - growth as f64;
    let root = (slope * slope + 8.0 * growth as f64 * ticks as f64).sqrt();
    let guess = if slope >= 0.0 {
        4.0 * ticks as f64 / (slope + root)
    } else {
        (root - slope) / (2.0 * growth as f64)
    };
    let mut n = (guess as u128).min(upper);
    while n > 0 && sum(n - 1) >= ticks {
        n -= 1;
    }
    while sum(n) < ticks {
        n += 1;
    }
    n
}

#[cfg(test)]
mod tests;
