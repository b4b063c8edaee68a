//! Layers that look back over a window: whether their keys and values are kept beyond it.

use super::{BatchingMode, KvAllocationMode, LlmConfig};
use crate::error::ConfigError;
use crate::hardware::catalogue::{Model, Sliding};
use crate::hardware::kv_groups::KvGroups;

impl LlmConfig {
    /// The layers with a window that some request exceeds.
    fn sliding(&self, model: &Model) -> Option<Sliding> {
        let longest = self.max_model_len.map_or(model.max_context, u64::from);
        model.sliding.filter(|sliding| sliding.window < longest)
    }

    /// What keeps the whole context of all layers: with a connector vLLM turns its hybrid manager off (`VllmConfig` in
    /// `vllm/config/vllm.py`, 0.14.0), and engines before it had none.
    fn keeps_all(&self) -> Option<&'static str> {
        let reasons = [
            ("disable_hybrid_kv_cache_manager", self.disable_hybrid_kv_cache_manager),
            ("kv_offload", self.kv_offload.is_some()),
            ("disaggregated", self.disaggregated.is_some()),
            ("batching by requests", self.batching != BatchingMode::Continuous),
            ("contiguous KV memory", self.kv_allocation == KvAllocationMode::Contiguous),
        ];
        reasons.into_iter().find(|(_, given)| *given).map(|(reason, _)| reason)
    }

    /// How the layers of the model share out the KV blocks of a replica.
    pub(in crate::llm) fn kv_groups(&self, model: &Model) -> KvGroups {
        match self.sliding(model) {
            Some(_) if self.keeps_all().is_none() => KvGroups::of(model),
            _ => KvGroups::default(),
        }
    }

    /// What is kept of the KV cache though it has slid out of a window, if anything, and why.
    ///
    /// # Errors
    /// As [`LlmConfig::model`].
    pub fn kept_beyond_windows(&self) -> Result<Option<String>, ConfigError> {
        let model = self.model()?;
        Ok(self.sliding(&model).zip(self.keeps_all()).map(|(Sliding { window, layers }, reason)| {
            format!(
                "{layers} of the {} layers of {} look back over {window} tokens only, but with {reason} their keys and \
                 values are kept of the whole context: longer requests take more KV memory than without",
                model.layers, model.id
            )
        }))
    }
}
