//! The `lora` settings of a pool: its adapters, what they weigh, and who asks for which.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Distribution, Zipf};
use sim_core::random::{KeyedStream, Purpose};

use super::engine::Lora;
use crate::call::CallId;
use crate::context::Ctx;
use crate::hardware::HardwareError;
use crate::hardware::catalogue::{Gpu, Model};
use crate::hardware::precision::Precision;
use crate::hardware::timing::TICKS_PER_NANO;

/// LoRA adapters, under vLLM's names (`vllm/config/lora.py`, 0.14.0). Every request asks for one of them.
///
/// An adapter has matrices of rank `max_lora_rank` beside those of attention and of dense feed-forward parts, in the
/// number format of the activations; experts have none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// How many adapters there are, from 1 to 1,000,000.
    pub adapters: u32,
    /// The most different adapters in one batch; each has room on the GPU from the start. Default: 1, as in vLLM.
    #[serde(default = "one")]
    pub max_loras: u32,
    /// Adapters that the host's memory holds, at least `max_loras`. Default: `max_loras`, as in vLLM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cpu_loras: Option<u32>,
    /// The rank of the adapters, from 1 to 512. Default: 16, as in vLLM.
    #[serde(default = "rank")]
    pub max_lora_rank: u32,
    /// How popular they are: the exponent of Zipf's law, 0 for all alike. Default: 1 (S-LoRA's workloads are
    /// a power law with exponents around 1: Sheng et al., MLSys 2024).
    #[serde(default = "exponent")]
    pub zipf: f64,
    /// Who decides which adapter a request asks for. Default: request.
    #[serde(default)]
    pub by: AdapterBy,
    /// With what rate adapters are read from disk, in GB/s. Default: 2 (assumption: one NVMe drive, safetensors).
    #[serde(default = "disk")]
    pub disk_gb_s: f64,
}

/// Who decides which adapter a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdapterBy {
    /// Drawn anew for each request, or session, by Zipf's law.
    #[default]
    Request,
    /// Each tenant has one: tenant number modulo `adapters`.
    Tenant,
}

fn one() -> u32 {
    1
}

fn rank() -> u32 {
    16
}

fn exponent() -> f64 {
    1.0
}

fn disk() -> f64 {
    2.0
}

/// Ticks of `bytes` at a rate in bytes/s.
fn ticks(bytes: u64, rate: f64) -> u64 {
    (bytes as f64 / rate * 1e9 * TICKS_PER_NANO as f64).ceil() as u64
}

impl LoraConfig {
    /// Whether every figure is in its range.
    pub(super) fn check(&self) -> Result<(), HardwareError> {
        let ranges = [
            ("adapters", f64::from(self.adapters), 1.0, 1e6, "from 1 to 1000000 adapters"),
            ("max_loras", f64::from(self.max_loras), 1.0, 1e6, "from 1 to 1000000 adapters"),
            ("max_lora_rank", f64::from(self.max_lora_rank), 1.0, 512.0, "a rank from 1 to 512"),
            ("zipf", self.zipf, 0.0, 10.0, "an exponent from 0 to 10"),
            ("disk_gb_s", self.disk_gb_s, 1e-3, 1e6, "GB/s from 0.001 to 1000000"),
        ];
        match ranges.into_iter().find(|(_, value, least, most, _)| !(*least..=*most).contains(value)) {
            Some((name, value, _, _, expected)) => Err(HardwareError::OutOfRange { name, value, expected }),
            None => Ok(()),
        }
    }

    /// Bytes of one adapter on each of `tensor_parallel` GPUs. Without `fully_sharded_loras`, vLLM's default, the one
    /// of the two matrices that meets the side of the weights that is not split lies on every GPU in full.
    pub(super) fn bytes_on_gpu(&self, model: &Model, precision: Precision, tensor_parallel: u64) -> u64 {
        let columns = |inputs: u64, outputs: u64| inputs + outputs.div_ceil(tensor_parallel);
        let rows = |inputs: u64, outputs: u64| inputs.div_ceil(tensor_parallel) + outputs;
        let inner = model.heads * model.head_dim;
        // Queries, keys and values have an adapter each.
        let attention =
            2 * model.hidden + columns(model.hidden, model.qkv_width()) + rows(inner, model.hidden);
        let dense = |width: u64| {
            let up = if model.gated_ffn { 2 } else { 1 };
            if width == 0 { 0 } else { up * columns(model.hidden, width) + rows(width, model.hidden) }
        };
        let (dense_layers, width) =
            if model.experts > 1 { (model.dense_layers, model.dense_ffn) } else { (model.layers, model.ffn) };
        let values = model.layers * attention + dense_layers * dense(width);
        values * u64::from(self.max_lora_rank) * precision.activation_bytes()
    }

    /// The engine's part, for adapters of so many bytes on each GPU.
    pub(super) fn lora(&self, bytes: u64, gpu: &Gpu) -> Lora {
        // One direction; the host's own memory is copied within.
        let bus = if gpu.is_host() { gpu.memory_bandwidth } else { gpu.pcie / 2.0 };
        Lora {
            max_loras: self.max_loras,
            max_cpu_loras: self.max_cpu_loras.unwrap_or(self.max_loras),
            copy_ticks: ticks(bytes, bus * 1e9),
            read_ticks: ticks(bytes, self.disk_gb_s * 1e9),
        }
    }

    /// Ticks in which one adapter's matrices are read from the GPU's memory, at the datasheet's bandwidth.
    pub(super) fn ticks_in_step(bytes: u64, gpu: &Gpu) -> u64 {
        ticks(bytes, gpu.memory_bandwidth * 1e9)
    }

    /// Who asks for which adapter.
    pub(super) fn choice(&self) -> Result<Choice, HardwareError> {
        let by = match self.by {
            AdapterBy::Request => {
                let law = Zipf::new(self.adapters.into(), self.zipf);
                let law = law.map_err(|_| HardwareError::OutOfRange {
                    name: "zipf",
                    value: self.zipf,
                    expected: "an exponent from 0 to 10",
                })?;
                By::Draw { law, stream: None }
            }
            AdapterBy::Tenant => By::Tenant { adapters: self.adapters },
        };
        Ok(Choice(by))
    }
}

/// Who asks for which adapter.
#[derive(Debug)]
pub(super) struct Choice(By);

#[derive(Debug)]
enum By {
    /// A stream is there from the start of the run.
    Draw {
        law: Zipf,
        stream: Option<KeyedStream>,
    },
    Tenant {
        adapters: u32,
    },
}

impl Choice {
    pub(super) fn start(&mut self, ctx: &Ctx) {
        if let By::Draw { stream, .. } = &mut self.0 {
            *stream = Some(ctx.keyed_stream(Purpose::Attributes));
        }
    }

    /// The adapter of a call's request: the same in every attempt, in every turn of a session, and in every compared
    /// variant.
    pub(super) fn of(&self, call: CallId, ctx: &Ctx) -> u32 {
        let request = ctx.request(call);
        match &self.0 {
            By::Tenant { adapters } => u32::from(request.tenant) % adapters,
            By::Draw { law, stream } => {
                let stream = stream.as_ref().expect("made at the start");
                law.sample(&mut stream.draws(request.session.unwrap_or(request.key), 0, 0)) as u32 - 1
            }
        }
    }
}
