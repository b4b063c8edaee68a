//! Single kernels by the datasheet: what a profile is better than.

use super::super::Placement;
use super::super::catalogue::Gpu;
use super::super::kernels::Kernel;
use super::super::precision::Precision;
use super::Efficiency;

impl Efficiency {
    /// Microseconds of one kernel on `gpu`, by the rooflines of a pass.
    pub fn kernel_us(&self, gpu: &Gpu, kernel: &Kernel) -> f64 {
        let rates = |precision| self.rates(gpu, precision, Placement::from(1));
        let seconds = match *kernel {
            Kernel::Gemm { precision, m, n, k } => {
                let rates = rates(precision);
                let compute = 2.0 * (m * n) as f64 * k as f64 / rates.gemm;
                compute.max(precision.weight_bytes(n * k) as f64 / rates.weights)
            }
            Kernel::Decode { kv, shape, batch, context } => {
                let rates = rates(Precision::Bf16);
                rates.attention_floor + Kernel::kv_bytes(kv, shape, batch, context) / rates.decode_attention
            }
            Kernel::Prefill { shape, batch, tokens, before, .. } => {
                let rates = rates(Precision::Bf16);
                let flops = Kernel::prefill_flops(shape, batch, tokens, before);
                rates.attention_floor + flops / rates.prefill_attention
            }
        };
        seconds * 1e6
    }
}
