//! How a scenario names the ways of batching and of keeping KV memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LlmConfig;
use crate::error::ConfigError;
use crate::llm::engine::{Batching, KvAllocation};

/// How sequences are put together: see [`Batching`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchingMode {
    /// They join and leave at every step.
    #[default]
    Continuous,
    /// Whole batches, as soon as anybody waits.
    Static,
    /// Whole batches that may wait for more to come.
    Dynamic,
}

/// Where keys and values are kept: see [`KvAllocation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvAllocationMode {
    /// In blocks, each taken when it is needed.
    #[default]
    Paged,
    /// In one run of memory, reserved at the admission.
    Contiguous,
}

impl LlmConfig {
    pub(super) fn batching(&self) -> Result<Batching, ConfigError> {
        match (self.batching, &self.dynamic_batching) {
            (BatchingMode::Dynamic, dynamic) => Ok(Batching::Dynamic(dynamic.clone().unwrap_or_default())),
            (_, Some(_)) => Err(ConfigError::new(["dynamic_batching"], "these batches are not dynamic")
                .help("expected `batching = \"dynamic\"` beside it")),
            (BatchingMode::Static, None) => Ok(Batching::Static),
            (BatchingMode::Continuous, None) => Ok(Batching::Continuous),
        }
    }

    pub(super) fn kv_allocation(&self) -> Result<KvAllocation, ConfigError> {
        match (self.kv_allocation, self.reservation) {
            (KvAllocationMode::Contiguous, reservation) => {
                Ok(KvAllocation::Contiguous(reservation.unwrap_or_default()))
            }
            (KvAllocationMode::Paged, Some(_)) => {
                Err(ConfigError::new(["reservation"], "paged KV memory is not reserved")
                    .help("expected `kv_allocation = \"contiguous\"` beside it"))
            }
            (KvAllocationMode::Paged, None) => Ok(KvAllocation::Paged),
        }
    }
}
