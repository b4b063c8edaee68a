//! The scheduler's records of sequences.

use sim_core::time::SimTime;

use crate::llm::engine::KvTransfer;
use crate::llm::engine::buddy::Span;
use crate::llm::engine::sequence::{Content, SeqId, Submission, Totals};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A free record.
    Vacant,
    Waiting,
    Running,
    /// Preempted when nothing was left to schedule: its last token is underway.
    Ending,
    /// It has all its tokens, and waits for its batch to end.
    Done,
    /// Aborted in the middle of a step that computes it: gone for the caller, still in the batch.
    Aborted,
    /// Its KV is being loaded into its blocks.
    Loading,
    /// It could not be loaded: the blocks are free at the end of the step underway, and it waits again.
    Failed,
    /// Gone for the caller: aborted, but something is loaded into its blocks still.
    Doomed,
    /// Gone for the caller, but its blocks are fetched by another engine still.
    Sending,
    /// Gone, with blocks that are free at the end of the step underway.
    Leaving,
}

/// The scheduler's record of a sequence.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) generation: u32,
    pub(super) state: State,
    pub(super) key: u64,
    /// The place in line: (priority, or 0 under FCFS; number of arrival).
    pub(super) order: (i32, u64),
    pub(super) prompt: u32,
    pub(super) output: u32,
    pub(super) arrived: SimTime,
    /// Tokens generated so far.
    pub(super) generated: u32,
    /// Tokens that steps scheduled but not ended will generate.
    pub(super) underway: u32,
    /// Tokens that have a place in the KV cache, computed or scheduled.
    pub(super) computed: u32,
    /// Tokens that were known at the last admission: up to here it is prefill, behind it decode.
    pub(super) prefill_end: u32,
    /// Tokens of the step being scheduled.
    pub(super) scheduled: u32,
    /// Full blocks whose content is known to the cache.
    pub(super) registered: u32,
    /// The blocks of all groups of layers for its first tokens, then those for the next, and so on; those that have slid out of a
    /// window are [`NULL`](super::blocks::NULL).
    pub(super) blocks: Vec<u32>,
    /// How many have, of each table with a window.
    pub(super) slid_out: u32,
    /// Where KV memory is reserved: what it holds instead of blocks.
    pub(super) span: Option<Span>,
    /// When the last token was generated.
    pub(super) last_token: u64,
    pub(super) totals: Totals,
    pub(super) transfer: KvTransfer,
    /// Whether it lost its blocks, and loads no more.
    pub(super) recomputes: bool,
    pub(super) adapter: Option<u32>,
    /// Whether it has its adapter's place in the batch.
    pub(super) holds_adapter: bool,
    /// What draws of its drafts' acceptance are keyed by.
    pub(super) luck: u64,
    content: Content,
}

impl Sequence {
    /// Tokens whose value is known: the prompt and all that was generated.
    pub(super) fn landed(&self) -> u32 {
        self.prompt + self.generated
    }

    /// Tokens whose value is known once the steps underway have ended.
    pub(super) fn known(&self) -> u32 {
        self.landed() + self.underway
    }

    /// The key of what block number `block` holds when it is full.
    pub(super) fn block_key(&self, block: usize, block_size: u32) -> u64 {
        self.content.block_key(self.order.1, block, block_size)
    }
}

/// Records of sequences, used again with their buffers.
#[derive(Debug, Clone, Default)]
pub(super) struct Sequences {
    records: Vec<Sequence>,
    vacant: Vec<u32>,
}

impl Sequences {
    /// A record for an accepted submission, waiting at `order`.
    pub(super) fn insert(&mut self, submission: &Submission, order: (i32, u64), transfer: KvTransfer) -> u32 {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.records.push(Sequence {
                generation: 0,
                state: State::Vacant,
                key: 0,
                order,
                prompt: 0,
                output: 0,
                arrived: SimTime::ZERO,
                generated: 0,
                underway: 0,
                computed: 0,
                prefill_end: 0,
                scheduled: 0,
                registered: 0,
                blocks: Vec::new(),
                slid_out: 0,
                span: None,
                last_token: 0,
                totals: Totals::default(),
                transfer: KvTransfer::None,
                recomputes: false,
                adapter: None,
                holds_adapter: false,
                luck: 0,
                content: Content::default(),
            });
            self.records.len() as u32 - 1
        });
        let record = &mut self.records[index as usize];
        debug_assert!(record.state == State::Vacant && record.blocks.is_empty() && record.span.is_none());
        record.state = State::Waiting;
        record.key = submission.key;
        record.order = order;
        (record.prompt, record.output) = (submission.prompt_tokens, submission.output_tokens);
        (record.generated, record.underway, record.registered) = (0, 0, 0);
        (record.computed, record.prefill_end, record.scheduled) = (0, 0, 0);
        record.totals = Totals::default();
        (record.transfer, record.recomputes) = (transfer, false);
        (record.adapter, record.holds_adapter) = (submission.adapter, false);
        record.luck = submission.luck;
        record.content.of(submission);
        index
    }

    /// Gives a record back; its blocks must have been released.
    pub(super) fn remove(&mut self, index: u32) {
        let record = &mut self.records[index as usize];
        record.state = State::Vacant;
        record.generation = record.generation.wrapping_add(1);
        self.vacant.push(index);
    }

    /// The record of a sequence that has not ended.
    pub(super) fn find(&self, id: SeqId) -> Option<&Sequence> {
        self.records.get(id.index as usize).filter(|record| {
            record.generation == id.generation
                && matches!(
                    record.state,
                    State::Waiting
                        | State::Running
                        | State::Ending
                        | State::Done
                        | State::Loading
                        | State::Failed
                )
        })
    }

    /// The state of a sequence, also of one that has ended and keeps its blocks.
    pub(super) fn state(&self, id: SeqId) -> Option<State> {
        let record = self.records.get(id.index as usize)?;
        (record.generation == id.generation).then_some(record.state)
    }

    /// The name of the sequence in a record.
    pub(super) fn id(&self, index: u32) -> SeqId {
        SeqId { index, generation: self[index].generation }
    }

    /// All records in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Sequence)> {
        (0..).zip(&self.records).filter(|(_, record)| record.state != State::Vacant)
    }
}

impl std::ops::Index<u32> for Sequences {
    type Output = Sequence;

    fn index(&self, index: u32) -> &Sequence {
        &self.records[index as usize]
    }
}

impl std::ops::IndexMut<u32> for Sequences {
    fn index_mut(&mut self, index: u32) -> &mut Sequence {
        &mut self.records[index as usize]
    }
}
