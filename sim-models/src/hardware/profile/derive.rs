//! Profiles of GPUs that nobody has measured: those of a measured one, by ratios of the datasheets.

use super::super::catalogue::{self, Gpu};
use super::super::precision::Precision;
use super::series::four_digits;
use super::{Profile, ProfileError};

/// How far an estimate is off at most, as a factor less one, where it can be looked at: the H100's shares of its
/// datasheet, carried over to A100, L40S and B200, miss what others measured there (`[gpu.measured]` in
/// `data/gpus.toml`) by up to 29%. A test holds it to that.
pub const ESTIMATE_ERROR: f64 = 0.3;

impl Profile {
    /// The profile that `gpu` would have if it reached the same shares of its datasheet's figures: what reads memory
    /// by the ratio of bandwidths, what computes by that of the peaks, latencies and the host unchanged. Precisions
    /// that the other GPU has no units or kernels for are left out; all-reduces too, as links differ by more than
    /// bandwidth.
    ///
    /// # Errors
    /// A profile that is an estimate itself, and whatever [`Profile::check`] refuses.
    pub fn derived(&self, gpu: &Gpu, id: &str, fitted: &str) -> Result<Self, ProfileError> {
        if let Some(estimate) = &self.estimate {
            let message = format!("is itself {estimate}: expected a profile of what was measured");
            return Err(ProfileError::Invalid {
                profile: self.id.clone(),
                place: "estimate".into(),
                message,
            });
        }
        let from = catalogue::gpu(&self.gpu).map_err(|error| ProfileError::Invalid {
            profile: self.id.clone(),
            place: "gpu".into(),
            message: error.to_string(),
        })?;
        let read = from.memory_bandwidth / gpu.memory_bandwidth;
        let compute = |precision| from.peak_flops(precision) / gpu.peak_flops(precision);
        let mut derived = self.clone();
        derived.gemm.retain(|table| has_units(gpu, table.precision));
        for table in &mut derived.gemm {
            let by = compute(table.precision);
            table.us.iter_mut().for_each(|us| scale(us, read, by));
        }
        for row in &mut derived.decode_attention {
            row.gb_s = four_digits(row.gb_s / read);
        }
        let sixteen = compute(Precision::Bf16);
        for row in &mut derived.prefill_attention {
            row.tflops = four_digits(row.tflops / sixteen);
            row.token_ns = four_digits(row.token_ns * sixteen);
        }
        let elementwise = derived.elementwise.iter_mut().map(|table| &mut table.us);
        let sampling = derived.sampling.iter_mut().map(|table| &mut table.us);
        elementwise.chain(sampling).for_each(|us| scale(us, 1.0, read));
        derived.experts.retain(|table| has_units(gpu, table.precision));
        for table in &mut derived.experts {
            scale(&mut table.us, read, compute(table.precision));
        }
        derived.all_reduce.clear();
        derived.overheads.elementwise_gb_s = four_digits(derived.overheads.elementwise_gb_s / read);
        derived.overheads.source = format!("{}, scaled", self.overheads.source);
        derived.estimate = Some(format!(
            "derived from {} by datasheet ratios, off by up to {:.0}%",
            self.id,
            100.0 * ESTIMATE_ERROR
        ));
        derived.id = id.to_owned();
        derived.gpu.clone_from(&gpu.id);
        derived.device = format!("{} (not measured)", gpu.name);
        derived.fitted = fitted.to_owned();
        derived.check()?;
        Ok(derived)
    }
}

fn has_units(gpu: &Gpu, precision: Precision) -> bool {
    let eight_bits = matches!(precision, Precision::Fp8 | Precision::Int8);
    !gpu.unsupported.contains(&precision) && (!eight_bits || gpu.computes_in_8_bits(precision))
}

/// Scales the time of the fewest tokens (reading weights, or starting) and what more tokens take (computing, or
/// moving them).
fn scale(times: &mut [f64], fewest: f64, more: f64) {
    let first = times[0];
    times.iter_mut().for_each(|us| *us = four_digits(first * fewest + (*us - first) * more));
}
