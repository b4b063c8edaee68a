//! Single kernels by a profile.

use super::super::kernels::Kernel;
use super::Profile;
use super::attention::nearest;
use super::compile::sixteen_bits;
use super::series::interpolate;

impl Profile {
    /// Microseconds of one kernel; none where the profile has no table for it. Between measured points times are
    /// linear, and they go on so beyond.
    pub fn kernel_us(&self, kernel: &Kernel) -> Option<f64> {
        match *kernel {
            Kernel::Gemm { precision, m, n, k } => {
                let table = self.gemm_in(precision).ok()?;
                let tokens: Vec<f64> = table.m.iter().map(|m| *m as f64).collect();
                let us = table.by_tokens(n as f64, k as f64);
                Some(interpolate(&tokens, &us, (m as f64).max(tokens[0])))
            }
            Kernel::Decode { kv, shape, batch, context } => {
                let row = nearest(&self.decode_attention, sixteen_bits(kv), shape)?;
                let read = Kernel::kv_bytes(kv, shape, batch, context) / row.gb_s * 1e-3;
                Some(row.floor_us + row.sequence_us * batch as f64 + read)
            }
            Kernel::Prefill { kv, shape, batch, tokens, before } => {
                let row = nearest(&self.prefill_attention, sixteen_bits(kv), shape)?;
                // A pass has one floor of attention, whichever it is.
                let floor = nearest(&self.decode_attention, sixteen_bits(kv), shape)?.floor_us;
                let compute = Kernel::prefill_flops(shape, batch, tokens, before) / row.tflops * 1e-6;
                Some(floor + row.token_ns * 1e-3 * (batch * tokens) as f64 + compute)
            }
        }
    }
}
