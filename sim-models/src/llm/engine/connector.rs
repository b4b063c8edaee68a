//! KV blocks that come from elsewhere, or go elsewhere: the KV connector.
//!
//! As in vLLM 0.14.0 (`KVConnectorBase_V1` in `vllm/distributed/kv_transfer/kv_connector/v1/base.py`, and how
//! `vllm/v1/core/sched/scheduler.py` treats it):
//! * **Loading.** Who is at the head of the line and whose KV lies outside takes the blocks for it and waits
//!   for it to come (`WAITING_FOR_REMOTE_KVS`), outside of the batch and without a part of the token budget.
//!   Those behind it go on. Once the KV is there it is in its place in line again, and what is left of its
//!   prompt, one token at least, is computed in a step like any other.
//! * **Sending.** The blocks of a prefill whose KV another engine will fetch ([`KvTransfer::RemoteDecode`])
//!   stay taken after its last token, until [`Engine::sent`](super::Engine::sent).
//! * **Failure.** KV that cannot be had is computed here (`kv_load_failure_policy = "recompute"`).
//!
//! The engine says what it begins to load ([`Output::loads`](super::Output)); how long that takes is the
//! caller's business, who says when it is there ([`Engine::loaded`](super::Engine::loaded)). Blocks that come
//! free come free at the end of the step underway.
//!
//! # Choices
//! * The last token of the prompt is always computed here, so its KV is not fetched; of the rest, what the
//!   prefix cache does not hold is fetched in whole blocks. (vLLM takes a block for the last token, too.)
//! * A sequence that was aborted while it loads keeps its blocks until the KV has come: what writes into them
//!   cannot be recalled.
//! * When nothing can run as those that wait keep one another's blocks, or those that the only sequence in the
//!   batch needs to go on, the last of them in line loses its own, and is computed here. vLLM would hang, or
//!   preempt the only one and admit it again for ever.
//! * Who has lost its blocks, so or to a preemption, computes what the prefix cache no longer holds, and loads
//!   no more: loads that take each other's blocks in turn would go on for ever.
//! * What was loaded is known to the prefix cache from the admission on.
//! * [`EngineConfig::num_cpu_blocks`](super::EngineConfig): see [`host`](super::host).

use super::sequence::SeqId;

/// What becomes of a sequence's KV blocks: vLLM's `kv_transfer_params`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvTransfer {
    /// They are computed here, and free at the end.
    #[default]
    None,
    /// Another engine will fetch them (`do_remote_decode`): they are kept at the end.
    RemoteDecode,
    /// Another engine has those of the prompt (`do_remote_prefill`): they are fetched. After a preemption
    /// they are computed here.
    RemotePrefill,
}

/// A sequence whose KV begins to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// The sequence.
    pub id: SeqId,
    /// The caller's name for it.
    pub key: u64,
    /// Blocks to load.
    pub blocks: u32,
    /// Whether they come from the host's memory, not from another engine.
    pub host: bool,
}
