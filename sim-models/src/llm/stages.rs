//! A pool whose replicas are pipelines, have a drafting model beside them, or adapters: memory and step times.
//!
//! # Pipeline parallelism
//! The layers are split over stages ([`Model::pipeline`]), each on its own GPUs. A step's pass goes through them one
//! after the other, while other steps, up to as many as there are stages, are in the others. A stage sends
//! the hidden state and the residual of each token on (`IntermediateTensors` in vLLM, 0.14.0), which keeps it busy
//! meanwhile; with tensor parallelism each GPU sends its part. The time of the host hides behind the
//! other steps: a stage takes the longer of its GPUs' and its host's. All stages have as many KV blocks as the one
//! that has room for the fewest.

use super::LlmConfig;
use super::speculative::{Draft, Method};
use super::timing::Hardware;
use crate::error::ConfigError;
use crate::hardware::HardwareError;
use crate::hardware::catalogue::{Gpu, Model, ModelKind};
use crate::hardware::datasheet::Efficiency;
use crate::hardware::memory::{COMMUNICATION_BYTES, MemoryPlan, MemorySettings};
use crate::hardware::timing::{StepFunction, TICKS_PER_NANO};

use super::config::refused;

/// Time to begin to send to the next stage, in microseconds. Assumption: that of a small all-reduce over two
/// H100s, 4.3 (measured, see [`Efficiency`]).
const SEND_US: f64 = 4.3;

/// What lies on the GPUs beside the model.
pub(super) struct Beside {
    pub(super) draft: Option<Draft>,
    /// Bytes of an adapter on each GPU, if there are adapters.
    pub(super) adapter_bytes: u64,
}

/// Whether a model can draft for another: what it generates must mean the same. vLLM refuses another number of tokens
/// in the vocabulary of a draft model (`SpeculativeConfig.verify_equal_vocab_size_if_draft_model`); the heads of EAGLE
/// may have fewer.
fn can_draft(draft: &Draft, method: Method, target: &Model) -> Result<(), ConfigError> {
    let Draft::Model(draft) = draft else { return Ok(()) };
    if draft.kind == ModelKind::Encoder {
        return Err(refused(HardwareError::Encoder(draft.id.clone())));
    }
    if method == Method::DraftModel && draft.vocab != target.vocab {
        let (id, vocab) = (&draft.id, draft.vocab);
        return Err(ConfigError::new(["model"], format!("`{id}` has a vocabulary of {vocab} tokens"))
            .help(format!("expected that of {}, {}", target.id, target.vocab)));
    }
    Ok(())
}

impl LlmConfig {
    /// The stages' models, in order.
    fn pipeline(&self, model: &Model) -> Result<Vec<Model>, ConfigError> {
        let stages = u64::from(self.pipeline_parallel);
        let refuse = |help: String| {
            Err(ConfigError::new(["pipeline_parallel"], format!("pipeline_parallel is {stages}")).help(help))
        };
        if !(1..=model.layers).contains(&stages) {
            return refuse(format!(
                "{} has {} layers: expected from 1 to as many stages",
                model.id, model.layers
            ));
        }
        if stages > 1 && self.device.is_some() {
            return refuse("on a shared device: expected 1".into());
        }
        if stages > 1 && self.data_parallel_size > 1 {
            return refuse("with data_parallel_size above 1: expected 1".into());
        }
        Ok(if stages == 1 { vec![model.clone()] } else { model.pipeline(stages) })
    }

    /// What lies beside the model.
    pub(super) fn beside(&self, model: &Model, settings: &MemorySettings) -> Result<Beside, ConfigError> {
        let draft = match &self.speculative {
            None => None,
            Some(speculative) => {
                let at = |error: ConfigError| error.within("speculative");
                speculative.check().map_err(|error| at(refused(error)))?;
                let draft = speculative.draft(model).map_err(|error| at(refused(error).within("draft")))?;
                let draft = draft.map_err(|help| {
                    ConfigError::new(["speculative", "draft"], "it is not clear who drafts").help(help)
                })?;
                can_draft(&draft, speculative.method(), model).map_err(|error| at(error.within("draft")))?;
                Some(draft)
            }
        };
        let adapter_bytes = match &self.lora {
            None => 0,
            Some(lora) => {
                lora.check().map_err(|error| refused(error).within("lora"))?;
                lora.bytes_on_gpu(model, settings.precision, settings.tensor_parallel)
            }
        };
        Ok(Beside { draft, adapter_bytes })
    }

    /// How each GPU's memory is shared out: of several stages, on those of the fullest.
    pub(super) fn memory_with(
        &self,
        gpu: &Gpu,
        model: &Model,
        settings: &MemorySettings,
        beside: &Beside,
    ) -> Result<MemoryPlan, ConfigError> {
        let stages = self.pipeline(model)?;
        let mut settings = *settings;
        if let Some(Draft::Model(draft)) = &beside.draft {
            let kv = draft.kv_bytes_per_token(settings.kv_format(), settings.tensor_parallel);
            settings.more_kv_bytes_per_token = kv.unwrap_or(0);
            settings.more_weight_bytes = self.draft_bytes(draft, model, &settings);
        }
        let slots = self.lora.as_ref().map_or(0, |lora| u64::from(lora.max_loras));
        let communicates = stages.len() > 1 && settings.tensor_parallel == 1;
        let mut fullest: Option<MemoryPlan> = None;
        for (stage, part) in stages.iter().enumerate() {
            let mut settings = settings;
            let share = beside.adapter_bytes.saturating_mul(part.layers).div_ceil(model.layers);
            let table = settings.precision.embedding_bytes(model.embedding_parameters());
            settings.more_weight_bytes = settings
                .more_weight_bytes
                .saturating_add(share.saturating_mul(slots))
                .saturating_add(if communicates { COMMUNICATION_BYTES } else { 0 })
                .saturating_add(if stage == 0 && stages.len() > 1 {
                    table / settings.tensor_parallel
                } else {
                    0
                });
            let plan = MemoryPlan::new(gpu, part, &settings).map_err(refused)?;
            if fullest.is_none_or(|fullest| plan.kv_blocks < fullest.kv_blocks) {
                fullest = Some(plan);
            }
        }
        Ok(fullest.expect("one stage at least"))
    }

    /// Bytes of weights that a replica loads when it starts, over all its stages. Adapters come later.
    pub(super) fn bytes_to_load(&self) -> Result<u64, ConfigError> {
        let model = self.model()?;
        let settings = self.memory_settings(&model)?;
        let draft = match self.beside(&model, &settings)?.draft {
            Some(Draft::Model(draft)) => self.draft_bytes(&draft, &model, &settings),
            _ => 0,
        };
        let on_gpu =
            model.weight_bytes_on_gpu(settings.precision, settings.placement()).saturating_add(draft);
        Ok(on_gpu.saturating_mul(settings.tensor_parallel))
    }

    /// Bytes of a drafting model's weights on each GPU; a head of the target uses its embedding and output layer.
    fn draft_bytes(&self, draft: &Model, target: &Model, settings: &MemorySettings) -> u64 {
        let all = draft.weight_bytes_on_gpu(settings.precision, settings.placement());
        let tables = settings.precision.embedding_bytes(draft.embedding_parameters());
        match draft.id == target.id && draft.layers == 1 {
            true => all.saturating_sub(tables / settings.tensor_parallel),
            false => all,
        }
    }

    /// The time of a step, with all stages, drafts and adapters.
    pub(super) fn step_with(&self, hardware: Hardware, beside: &Beside) -> Result<StepFunction, ConfigError> {
        let timed = |hardware: Hardware| {
            self.timing.step_function(hardware).map_err(|error| match error {
                // A coefficient that comes of the timing's figures.
                HardwareError::OutOfRange { .. } => {
                    ConfigError::new(["timing", self.timing.figures()], error.to_string())
                }
                other => refused(other),
            })
        };
        let model = hardware.model;
        let adapter = |part: &Model| beside.adapter_bytes.saturating_mul(part.layers).div_ceil(model.layers);
        let with_adapters = |step: StepFunction, part: &Model| match &self.lora {
            None => step,
            Some(_) => step.with_adapters(super::LoraConfig::ticks_in_step(adapter(part), hardware.gpu)),
        };
        let stages = self.pipeline(model)?;
        if stages.len() > 1 {
            let mut steps = Vec::with_capacity(stages.len());
            for (number, part) in (1..).zip(&stages) {
                let step = timed(Hardware { model: part, async_scheduling: true, ..hardware })?;
                let step = match number == stages.len() {
                    true => step,
                    false => self.sending(step, hardware, stages.len() as u64),
                };
                steps.push(with_adapters(step, part));
            }
            let later = steps.split_off(1);
            let first = steps.pop().expect("one stage at least");
            return Ok(first.with_stages(later));
        }
        match (&self.speculative, &beside.draft) {
            (Some(speculative), Some(draft)) => {
                let overlapped = hardware.async_scheduling && speculative.overlaps();
                let target = Hardware { async_scheduling: overlapped, ..hardware };
                let step = with_adapters(timed(target)?, model);
                speculative
                    .timed(step, draft, &self.timing, target)
                    .map_err(|error| refused(error).within("draft").within("speculative"))
            }
            _ => Ok(with_adapters(timed(hardware)?, model)),
        }
    }

    /// A stage that sends what it has computed on to the next.
    fn sending(&self, step: StepFunction, hardware: Hardware, stages: u64) -> StepFunction {
        let Hardware { gpu, model, precision, placement, .. } = hardware;
        let Efficiency { all_reduce_bandwidth, .. } = self.timing.efficiency;
        let bytes = 2 * model.hidden * precision.activation_bytes();
        let rate = gpu.link_bandwidth(placement.tensor_parallel * stages) * all_reduce_bandwidth;
        let ticks = |seconds: f64| (seconds * 1e9 * TICKS_PER_NANO as f64).round() as u64;
        step.with_transfer(
            ticks(SEND_US * 1e-6),
            ticks(bytes as f64 / placement.tensor_parallel as f64 / rate),
        )
    }
}
