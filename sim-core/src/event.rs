//! What an event is, and the total order of events: time, then phase, then order of scheduling.
//!
//! ```
//! use sim_core::event::{Event, EventKey, Phase};
//! use sim_core::time::SimTime;
//!
//! #[derive(Debug, Clone, Copy)]
//! enum Shop {
//!     Enters { customer: u32 },
//!     Leaves { customer: u32 },
//! }
//!
//! impl Event for Shop {
//!     fn identity(&self) -> u64 {
//!         match self {
//!             Shop::Enters { customer } => 1 << 32 | u64::from(*customer),
//!             Shop::Leaves { customer } => 2 << 32 | u64::from(*customer),
//!         }
//!     }
//! }
//!
//! assert_ne!(Shop::Enters { customer: 7 }.identity(), Shop::Leaves { customer: 7 }.identity());
//! // Of two events of one instant, the end of a service comes before an arrival.
//! assert!(Phase::StepEnd < Phase::Arrival);
//! assert!(EventKey::raw(SimTime::from_nanos(1), 9) < EventKey::raw(SimTime::from_nanos(2), 0));
//! ```

use crate::time::SimTime;

/// A small `Copy` value that a [`World`](crate::engine::World) handles: at most 16 bytes is good.
pub trait Event: Copy {
    /// What this event is, for the fingerprint: its kind in the upper half (below 2^24: the
    /// fingerprint mixes the phase in above), its target in the lower. Events that differ in what
    /// they do should differ here, or the fingerprint cannot tell them apart.
    fn identity(&self) -> u64;
}

/// What comes first among events of one instant. Ends of steps free what replies and arrivals then
/// use; samplers see everything that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Ends of services and of engine steps.
    StepEnd = 0,
    /// Replies on their way back to a caller.
    Reply = 1,
    /// Arrivals of requests and calls.
    Arrival = 2,
    /// Timers and timeouts.
    Timer = 3,
    /// Faults and repairs.
    Fault = 4,
    /// Samplers of time series.
    Sampler = 5,
}

impl Phase {
    pub(crate) const COUNT: usize = 6;
    const ALL: [Phase; Self::COUNT] =
        [Phase::StepEnd, Phase::Reply, Phase::Arrival, Phase::Timer, Phase::Fault, Phase::Sampler];
}

pub(crate) const SLOT_BITS: u32 = 24;
const SEQUENCE_BITS: u32 = 37;
/// A slot with this bit names a timer lane instead of a stored event.
pub(crate) const LANE_FLAG: u32 = 1 << (SLOT_BITS - 1);
/// The most events that may be pending at once.
pub(crate) const MAX_SLOTS: u32 = LANE_FLAG;
/// The most events that one run may schedule.
pub(crate) const MAX_SEQUENCE: u64 = 1 << SEQUENCE_BITS;

/// The place of an event in the total order, packed into 16 bytes: 64 bits of time, 3 of phase,
/// 37 of sequence number, and 24 that say where the event is stored. Keys are unique, and their
/// order is the order of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(u128);

impl EventKey {
    /// After every key of a real event; it has no phase.
    pub(crate) const MAX: Self = Self(u128::MAX);

    #[inline]
    pub(crate) fn new(at: SimTime, phase: Phase, sequence: u64, slot: u32) -> Self {
        debug_assert!(sequence < MAX_SEQUENCE && slot < 1 << SLOT_BITS);
        let order = (phase as u64) << (SEQUENCE_BITS + SLOT_BITS) | sequence << SLOT_BITS | u64::from(slot);
        Self(u128::from(at.as_nanos()) << 64 | u128::from(order))
    }

    /// A key for use of an [`EventQueue`](crate::queue::EventQueue) without an engine: `payload`
    /// (below 2^61) takes the place of sequence and slot, in phase [`Phase::StepEnd`].
    pub fn raw(at: SimTime, payload: u64) -> Self {
        debug_assert!(payload < 1 << (SEQUENCE_BITS + SLOT_BITS));
        Self(u128::from(at.as_nanos()) << 64 | u128::from(payload))
    }

    /// When the event happens.
    #[inline]
    pub fn time(self) -> SimTime {
        SimTime::from_nanos((self.0 >> 64) as u64)
    }

    /// The phase of the event within its instant.
    #[inline]
    pub fn phase(self) -> Phase {
        Phase::ALL[self.phase_bits() as usize]
    }

    #[inline]
    pub(crate) fn phase_bits(self) -> u64 {
        self.low() >> (SEQUENCE_BITS + SLOT_BITS)
    }

    /// Phase, sequence number and slot; the payload of a key made by [`EventKey::raw`].
    #[inline]
    pub fn low(self) -> u64 {
        self.0 as u64
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        self.0 as u32 & ((1 << SLOT_BITS) - 1)
    }

    #[inline]
    pub(crate) fn with_slot(self, slot: u32) -> Self {
        Self(self.0 >> SLOT_BITS << SLOT_BITS | u128::from(slot))
    }
}

/// Names one scheduled event, to [cancel](crate::scheduler::Scheduler::cancel) it. It stays valid
/// for the whole run: once the event has happened it names nothing, and never another event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventHandle(pub(crate) u64);

impl EventHandle {
    /// What stands for an event that could not be scheduled: no key and no vacant slot matches it.
    pub(crate) const NONE: Self = Self(u64::MAX);
}
