//! What is asked of an engine, and its record of one sequence.

use std::sync::Arc;

use sim_core::random::stable_hash;
use thiserror::Error;

/// What a prompt has in common with others, as far as the prefix cache can see.
///
/// Blocks that no common part covers are the sequence's own: nobody else finds them, but the sequence
/// itself does when it resumes after a preemption.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Prefix {
    /// Nothing in common.
    #[default]
    None,
    /// The first `tokens` tokens are those of the text `id`: all sequences with this `id` agree as far as
    /// both reach, so that a conversation's turns share an `id` with a growing number of tokens. Beyond the
    /// prompt it covers generated tokens, which a later turn then finds.
    Shared {
        /// The text.
        id: u64,
        /// How much of the sequence is this text, in tokens.
        tokens: u32,
    },
    /// The prompt consists of blocks of `block_tokens` tokens (the last one may be cut short) with these
    /// ids, as traces give them: the Mooncake traces have blocks of 512 tokens (Qin et al., "Mooncake: A
    /// KVCache-centric Disaggregated Architecture for LLM Serving", 2024). Two prompts agree as far as all
    /// their ids do.
    Blocks {
        /// The ids, in order.
        ids: Arc<[u64]>,
        /// Tokens of such a block, in tokens; not the engine's block size.
        block_tokens: u32,
    },
    /// A turn of a conversation: turns with this `id` and opening agree as far as they reach, beyond the prompt in what
    /// they generate.
    Conversation {
        /// Names it among those that open alike.
        id: u64,
        /// What its first prompt has in common with others.
        opening: Arc<Prefix>,
        /// Length of the first prompt, in tokens.
        opening_tokens: u32,
    },
}

/// A sequence to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The caller's name for it, reported back and otherwise unused; it need not be unique.
    pub key: u64,
    /// Length of the prompt, in tokens; at least 1.
    pub prompt_tokens: u32,
    /// How many tokens it will generate, in tokens; at least 1.
    pub output_tokens: u32,
    /// The smaller, the sooner; used under [`SchedulingPolicy::Priority`](super::SchedulingPolicy) alone.
    pub priority: i32,
    /// What it shares with others.
    pub prefix: Prefix,
    /// Its LoRA adapter, if it has one; ignored by an engine without [`lora`](super::EngineConfig::lora). Prompts
    /// share nothing across adapters.
    pub adapter: Option<u32>,
    /// What draws of its drafts' acceptance are keyed by.
    pub luck: u64,
}

impl Submission {
    /// A sequence without priority, adapter or anything in common with others.
    pub fn new(key: u64, prompt_tokens: u32, output_tokens: u32) -> Self {
        Self {
            key,
            prompt_tokens,
            output_tokens,
            priority: 0,
            prefix: Prefix::None,
            adapter: None,
            luck: key,
        }
    }
}

/// Why a sequence was not accepted: it could never be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejection {
    /// A length that must be positive is 0.
    #[error("{parameter} is 0: expected at least 1")]
    Zero {
        /// The length.
        parameter: &'static str,
    },
    /// Prompt and output are longer than the model's context.
    #[error(
        "prompt_tokens + output_tokens is {tokens}: expected at most max_model_len, {max_model_len} tokens"
    )]
    ExceedsModel {
        /// Prompt and output together, in tokens.
        tokens: u64,
        /// The model's context, in tokens.
        max_model_len: u32,
    },
    /// Even alone it would run out of blocks. The last generated token needs no place in the cache.
    #[error(
        "prompt_tokens + output_tokens - 1 is {tokens}: expected at most the KV cache's {capacity} tokens"
    )]
    ExceedsCache {
        /// The most tokens it will have in the cache, in tokens.
        tokens: u64,
        /// The KV cache's size without the null block, in tokens.
        capacity: u64,
    },
    /// The memory reserved for it is longer than any that could be free.
    #[error(
        "the KV memory to reserve is {tokens} tokens: expected at most {capacity}, the largest power of two \
         blocks in the KV cache"
    )]
    ExceedsReservation {
        /// What it would reserve, in tokens.
        tokens: u64,
        /// The largest run of memory, in tokens.
        capacity: u64,
    },
}

/// A sequence of one engine. It is not used again for another sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What was done for a finished sequence, in tokens:
/// `computed + prefix_hits = prompt + output - 1 + discarded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Tokens computed in all its steps.
    pub computed: u64,
    /// Tokens found in the prefix cache at its admissions.
    pub prefix_hits: u64,
    /// Tokens that were in the KV cache, computed or found, when a preemption took it away.
    pub discarded: u64,
    /// How often it was preempted.
    pub preemptions: u32,
}

/// The contents of a sequence's blocks, as keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// For each common block its id, chained with all ids before it.
    chain: Vec<u64>,
    /// Tokens of a common block.
    link_tokens: u32,
    /// Conversations, each within the one before: where its own part begins, in tokens, and its id, chained with all
    /// before it.
    conversations: Vec<(u32, u64)>,
    /// Tokens of the sequence that these identify.
    pub(super) covered: u32,
}

/// Separates the keys of the kinds of content.
#[derive(Clone, Copy)]
enum Domain {
    Own = 1,
    Shared = 2,
    Blocks = 3,
    Conversation = 4,
}

/// A key of two numbers. Keys are 64 bits wide and taken as free of collisions, as vLLM takes its hashes.
fn key(parent: u64, child: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&parent.to_le_bytes());
    bytes[8..].copy_from_slice(&child.to_le_bytes());
    stable_hash(&bytes)
}

impl Content {
    /// The contents of a sequence that is to be.
    pub(super) fn of(&mut self, submission: &Submission) {
        let Submission { prefix, prompt_tokens, output_tokens, adapter, .. } = submission;
        self.conversations.clear();
        self.set(prefix, *prompt_tokens, prompt_tokens.saturating_add(*output_tokens), *adapter);
    }

    fn set(&mut self, prefix: &Prefix, prompt_tokens: u32, all_tokens: u32, adapter: Option<u32>) {
        self.chain.clear();
        let of = |domain: Domain| match adapter {
            None => domain as u64,
            Some(adapter) => key(domain as u64, adapter.into()),
        };
        (self.link_tokens, self.covered) = (1, 0);
        match prefix {
            Prefix::None => {}
            Prefix::Shared { id, tokens } => {
                self.chain.push(key(of(Domain::Shared), *id));
                (self.link_tokens, self.covered) = ((*tokens).max(1), *tokens);
            }
            Prefix::Blocks { ids, block_tokens } => {
                self.chain.extend(ids.iter().scan(of(Domain::Blocks), |parent, id| {
                    *parent = key(*parent, *id);
                    Some(*parent)
                }));
                let all = (ids.len() as u64).saturating_mul(u64::from(*block_tokens));
                self.link_tokens = (*block_tokens).max(1);
                // What follows the prompt in the last block is not in the id.
                self.covered = all.min(u64::from(prompt_tokens)) as u32;
            }
            Prefix::Conversation { id, opening, opening_tokens } => {
                self.set(opening, *opening_tokens, *opening_tokens, adapter);
                let mut from = self.covered.min(*opening_tokens);
                if let Prefix::Blocks { .. } = **opening {
                    // A block that the first prompt does not fill is the conversation's.
                    from -= from % self.link_tokens;
                    self.chain.truncate((from / self.link_tokens) as usize);
                }
                let before = match (from, self.conversations.last()) {
                    (0, _) => adapter.map_or(0, |adapter| key(Domain::Conversation as u64, adapter.into())),
                    (_, Some((_, outer))) => *outer,
                    (_, None) => self.chain.last().copied().unwrap_or_default(),
                };
                self.conversations.push((from, key(key(before, Domain::Conversation as u64), *id)));
                self.covered = all_tokens;
            }
        }
    }

    /// The key of what block number `block` holds when it is full, for a sequence that came as `arrival`.
    pub(super) fn block_key(&self, arrival: u64, block: usize, block_size: u32) -> u64 {
        let end = (block as u64 + 1) * u64::from(block_size);
        let is_within = |(from, _): &&(u32, u64)| end > u64::from(*from);
        if end > u64::from(self.covered) {
            key(key(Domain::Own as u64, arrival), block as u64)
        } else if let Some((_, conversation)) = self.conversations.iter().rev().find(is_within) {
            key(*conversation, block as u64)
        } else {
            let link = ((end - 1) / u64::from(self.link_tokens)) as usize;
            key(self.chain[link.min(self.chain.len() - 1)], block as u64)
        }
    }
}
