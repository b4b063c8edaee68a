//! A call: one hop of a request from a caller to a callee.

use sim_core::event::EventHandle;
use sim_core::time::{SimDuration, SimTime};

use crate::component::ComponentId;
use crate::link::LinkId;
use crate::request::{Outcome, RequestId};
use crate::slab::Key;
use crate::system::zones::Locality;
use crate::turn::Turn;

/// Names a live call.
pub type CallId = Key;

/// The end of a call as its caller hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub outcome: Outcome,
}

impl Reply {
    /// A full answer.
    pub const OK: Self = Self { outcome: Outcome::Ok };
    /// An answer that stands in for the full one.
    pub const DEGRADED: Self = Self { outcome: Outcome::Degraded };
    /// A refusal.
    pub const REJECTED: Self = Self { outcome: Outcome::Rejected };
    /// An error.
    pub const FAILED: Self = Self { outcome: Outcome::Failed };
    /// The caller's patience ran out.
    pub const TIMED_OUT: Self = Self { outcome: Outcome::TimedOut };
}

/// News of a call before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Progress {
    /// The prompt has been processed.
    PrefillDone,
    /// The first token of the answer.
    FirstToken,
}

/// One hop of a request.
#[derive(Debug, Clone)]
pub struct Call {
    /// The request it belongs to.
    pub request: RequestId,
    /// Who asks.
    pub caller: ComponentId,
    /// Who is asked.
    pub callee: ComponentId,
    /// The caller's own call that this one serves; [`CallId::NONE`] at a traffic source.
    pub parent: CallId,
    /// What the caller remembers it by.
    pub tag: u32,
    /// Its place in the request's tree of calls, for keyed draws: the same in every compared variant.
    pub hop: u32,
    /// 0 for the first attempt.
    pub attempt: u32,
    /// Its turn in a conversation: that of the call that it serves, unless the caller says another.
    pub turn: Turn,
    /// When it left the caller.
    pub sent_at: SimTime,
    /// When it reached the callee.
    pub arrived_at: SimTime,
    /// When its caller stops waiting; [`SimTime::MAX`] for never.
    pub deadline: SimTime,
    /// For the callee to remember its own state by.
    pub scratch: u64,
    /// The replica of the callee that it was sent to, if the callee is a pool.
    pub replica: Option<u16>,
    /// A replica that the callee should not send it to if there is another: where an attempt before this
    /// one went.
    pub avoid: Option<u16>,
    /// How long the callee asks the caller to wait before another attempt (`retry-after`), if it refused.
    pub retry_after: Option<SimDuration>,
    /// The zone that it comes from, and the one where it is served: of a pool, when a replica is picked.
    pub(crate) from: Option<Locality>,
    pub(crate) at: Option<Locality>,
    pub(crate) link: LinkId,
    /// The call that it is an attempt of, over a link with policies.
    pub(crate) attempt_of: CallId,
    pub(crate) reply: Option<Reply>,
    pub(crate) timeout: Option<EventHandle>,
    /// Whether the caller still waits.
    pub(crate) awaited: bool,
    /// Whether it or its reply was lost on a link that was cut: it ends when its caller stops waiting.
    pub(crate) lost: bool,
}
