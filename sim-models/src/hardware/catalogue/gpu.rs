//! GPUs and CPU hosts: datasheet figures.

use serde::Deserialize;

use super::super::precision::Precision;

/// A GPU, or a CPU host that takes the place of one: datasheet figures with their sources.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Name in scenarios, such as `h100-sxm`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Cores of a CPU host; none for a GPU.
    #[serde(default)]
    pub cores: Option<u64>,
    /// Memory in bytes, as the driver (of a host: the operating system) reports it.
    pub memory_bytes: u64,
    /// Source of `memory_bytes`.
    pub memory_source: String,
    /// Memory bandwidth in GB/s.
    pub memory_bandwidth: f64,
    /// Dense peak outside the tensor cores in TFLOP/s, fp32.
    pub fp32: f64,
    /// Dense tensor-core peak in TFLOP/s, TF32.
    pub tf32: f64,
    /// Dense tensor-core peak in TFLOP/s, fp16 and bf16.
    pub fp16: f64,
    /// Dense tensor-core peak in TFLOP/s, fp8; none where the hardware has no such unit.
    pub fp8: Option<f64>,
    /// Dense tensor-core peak in TOP/s, int8; none where the hardware has no such unit.
    pub int8: Option<f64>,
    /// Number formats of weights that vLLM has no kernels for on this hardware.
    #[serde(default)]
    pub unsupported: Vec<Precision>,
    /// NVLink or Infinity Fabric bandwidth of one GPU in GB/s, both directions together.
    pub nvlink: Option<f64>,
    /// The number of GPUs that `nvlink` joins.
    pub nvlink_domain: Option<u64>,
    /// PCIe bandwidth in GB/s, both directions together.
    pub pcie: f64,
    /// Power limit in watts.
    pub power_watts: f64,
    /// Power without work in watts, with its source; none for [`IDLE_SHARE`] of the limit.
    #[serde(default)]
    pub idle_watts: Option<f64>,
    /// Source of `idle_watts`.
    #[serde(default)]
    pub idle_source: Option<String>,
    /// Source of the datasheet figures.
    pub source: String,
    /// Default on-demand price of one GPU (or host) in USD an hour, to be overridden by the user's own.
    pub price_per_hour: f64,
    /// Provider and date of `price_per_hour`.
    pub price_source: String,
    /// What others measured on it.
    pub measured: Option<Measured>,
}

/// Kernel figures measured on a GPU by others.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// bf16 matrix multiplication over large shapes, TFLOP/s.
    pub gemm: f64,
    /// Reading of weights in small-batch matrix multiplications, GB/s.
    pub weight_bandwidth: f64,
    /// Reading of the KV cache in decode attention, GB/s.
    pub decode_attention_bandwidth: f64,
    /// Latency of decode attention over a short context, microseconds.
    pub attention_floor: f64,
    /// Causal prefill attention, TFLOP/s.
    pub prefill_attention: f64,
    /// Latency of a small all-reduce over 2, 4 and 8 GPUs, microseconds.
    pub all_reduce_base: [f64; 3],
    /// Source of these figures.
    pub source: String,
}

/// Share of its power limit that a GPU draws without work, where nobody measured it: an assumption, as in
/// nemulai.com/blog/gpu-electricity-cost-per-training-run (June 2026); datasheets do not say. An H200 was measured at
/// 11%.
pub const IDLE_SHARE: f64 = 0.15;

impl Gpu {
    /// Power without work in watts.
    pub fn idle_power(&self) -> f64 {
        self.idle_watts.unwrap_or(IDLE_SHARE * self.power_watts)
    }

    /// Whether this is a CPU host.
    pub fn is_host(&self) -> bool {
        self.cores.is_some()
    }

    /// What it is called on the bill.
    pub fn resource(&self) -> String {
        format!("{} {}", if self.is_host() { "host" } else { "gpu" }, self.id)
    }

    /// Dense peak in FLOP/s with which matrices in `precision` are multiplied. Eight-bit weights on a
    /// GPU without such units, and four-bit weights anywhere, are widened and computed in 16 bits.
    /// fp32 runs outside the tensor cores, as PyTorch does unless TF32 is switched on.
    pub fn peak_flops(&self, precision: Precision) -> f64 {
        let tera = match precision {
            Precision::Fp32 => self.fp32,
            Precision::Fp8 => self.fp8.unwrap_or(self.fp16),
            Precision::Int8 => self.int8.unwrap_or(self.fp16),
            Precision::Fp16 | Precision::Bf16 | Precision::Mxfp4 | Precision::Int4 => self.fp16,
        };
        tera * 1e12
    }

    /// Whether matrices in `precision` are multiplied by eight-bit units.
    pub fn computes_in_8_bits(&self, precision: Precision) -> bool {
        match precision {
            Precision::Fp8 => self.fp8.is_some(),
            Precision::Int8 => self.int8.is_some(),
            _ => false,
        }
    }

    /// Whether `gpus` of these talk over NVLink or Infinity Fabric, not PCIe.
    pub fn linked(&self, gpus: u64) -> bool {
        self.nvlink.is_some() && self.nvlink_domain.is_some_and(|domain| gpus <= domain)
    }

    /// Bandwidth in bytes/s, one direction, with which each of `gpus` talks to the others.
    pub fn link_bandwidth(&self, gpus: u64) -> f64 {
        let both_directions = self.nvlink.filter(|_| self.linked(gpus)).unwrap_or(self.pcie);
        both_directions * 1e9 / 2.0
    }
}
