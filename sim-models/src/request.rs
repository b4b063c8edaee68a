//! A request: born at a traffic source, ended in exactly one outcome.

use sim_core::time::SimTime;

use crate::journal::Reached;
use crate::llm::engine::Prefix;
use crate::quality::Answer;
use crate::slab::Key;

/// Names a live request.
pub type RequestId = Key;

/// How a request, or one call of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Answered in full.
    Ok = 0,
    /// Answered by a fallback.
    Degraded = 1,
    /// Refused: shed, limited, no room, a breaker open.
    Rejected = 2,
    /// The caller stopped waiting.
    TimedOut = 3,
    /// An error, or the work was cancelled.
    Failed = 4,
}

impl Outcome {
    /// All of them, in order.
    pub const ALL: [Outcome; 5] =
        [Outcome::Ok, Outcome::Degraded, Outcome::Rejected, Outcome::TimedOut, Outcome::Failed];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Degraded => "degraded",
            Outcome::Rejected => "rejected",
            Outcome::TimedOut => "timed_out",
            Outcome::Failed => "failed",
        }
    }

    /// Whether the caller got an answer.
    pub const fn is_answer(self) -> bool {
        matches!(self, Outcome::Ok | Outcome::Degraded)
    }
}

/// A request and everything drawn for it when it was born.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number in all keyed draws: the same in every compared variant.
    pub key: u64,
    /// The class: index into [`crate::context::Labels::classes`]. Lower is more important.
    pub class: u8,
    /// The tenant: index into [`crate::context::Labels::tenants`].
    pub tenant: u16,
    /// When it was born.
    pub born: SimTime,
    /// When its user gives up; [`SimTime::MAX`] for never.
    pub deadline: SimTime,
    /// Prompt length in tokens.
    pub prompt_tokens: u32,
    /// Answer length in tokens.
    pub output_tokens: u32,
    /// What its prompt shares with others.
    pub prefix: Prefix,
    /// Names the session that it is a turn of.
    pub session: Option<u64>,
    /// What it asks about: semantically equal requests share a topic.
    pub topic: u32,
    /// How hard it is, from 0 to 1.
    pub difficulty: f32,
    /// The entity (user, item) whose features it needs.
    pub entity: u64,
    /// When its first token reached the user.
    pub first_token: Option<SimTime>,
    /// The answer that it holds, as far as quality goes.
    pub answer: Answer,
    /// Whom its calls reached; kept up to date only with a journal.
    pub(crate) reached: Reached,
    /// Calls of it that are not over.
    pub(crate) open_calls: u32,
    /// Whether it has ended; late calls may outlive it.
    pub(crate) ended: bool,
}
