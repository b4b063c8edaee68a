//! What happens in a system.

use sim_core::event::Event;
use sim_core::time::SimTime;

use crate::call::{CallId, Progress};
use crate::component::ComponentId;
use crate::device::ClientId;

/// Every event of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelEvent {
    /// A call reaches its callee.
    Deliver(CallId),
    /// A call that waited at a door comes in.
    Admitted(CallId),
    /// A reply reaches the caller.
    Reply(CallId),
    /// News reaches the caller.
    Progress(CallId, Progress),
    /// A cancellation reaches the callee.
    Cancel(CallId),
    /// The caller's patience runs out.
    Timeout(CallId),
    /// A call over a link with policies goes on: its back-off is over, a hedge is due, or it ends at once.
    Attempt(CallId),
    /// A component's timer.
    Timer {
        /// Whose.
        component: ComponentId,
        /// Which.
        kind: u16,
        /// What it was set with.
        data: u64,
    },
    /// A fault or its end, by its number.
    Fault(u32),
    /// The measured part begins.
    MeasureFrom,
    /// The time of the run's `duration` is over: what comes is the drain.
    Close,
    /// A window of the time series ends.
    Sample,
    /// Controllers and routers get fresh signals.
    Scrape,
    /// The work of a client of a shared GPU goes on at another rate.
    RateChange(ClientId),
    /// The background work on a component is another from now on.
    Load(ComponentId),
    /// A component has been filled with what was known at that time.
    Materialized(ComponentId, SimTime),
}

/// An event as it is kept until it is due: two words, of which each is made in a register. Fields of several sizes are
/// written to the stack one by one, and the processor waits when they are read as one right after: that took a fiftieth
/// of a run.
///
/// The first word has the kind in its upper byte and below it, where there are such, a component and the kind of a
/// timer; the second has what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedEvent(u64, u64);

impl PackedEvent {
    #[inline(always)]
    const fn of(kind: u64, data: u64) -> Self {
        Self(kind << 56, data)
    }

    #[inline(always)]
    fn with(self, component: ComponentId, timer: u16) -> Self {
        Self(self.0 | u64::from(component.0) << 40 | u64::from(timer) << 24, self.1)
    }

    /// The event.
    #[inline(always)]
    pub fn unpacked(self) -> ModelEvent {
        let Self(head, data) = self;
        let call = CallId::from_bits(data);
        let component = ComponentId((head >> 40) as u16);
        match head >> 56 {
            1 => ModelEvent::Deliver(call),
            2 => ModelEvent::Reply(call),
            3 => ModelEvent::Progress(call, Progress::PrefillDone),
            4 => ModelEvent::Progress(call, Progress::FirstToken),
            5 => ModelEvent::Cancel(call),
            6 => ModelEvent::Timeout(call),
            7 => ModelEvent::Timer { component, kind: (head >> 24) as u16, data },
            8 => ModelEvent::Fault(data as u32),
            9 => ModelEvent::MeasureFrom,
            10 => ModelEvent::Sample,
            11 => ModelEvent::Scrape,
            12 => ModelEvent::RateChange(ClientId::from_bits(data)),
            13 => ModelEvent::Load(ComponentId(data as u16)),
            14 => ModelEvent::Materialized(component, SimTime::from_nanos(data)),
            15 => ModelEvent::Close,
            20 => ModelEvent::Admitted(call),
            24 => ModelEvent::Attempt(call),
            kind => unreachable!("no event is of kind {kind}"),
        }
    }
}

impl From<ModelEvent> for PackedEvent {
    #[inline(always)]
    fn from(event: ModelEvent) -> Self {
        match event {
            ModelEvent::Deliver(call) => Self::of(1, call.to_bits()),
            ModelEvent::Reply(call) => Self::of(2, call.to_bits()),
            ModelEvent::Progress(call, progress) => Self::of(3 + progress as u64, call.to_bits()),
            ModelEvent::Cancel(call) => Self::of(5, call.to_bits()),
            ModelEvent::Timeout(call) => Self::of(6, call.to_bits()),
            ModelEvent::Timer { component, kind, data } => Self::of(7, data).with(component, kind),
            ModelEvent::Fault(number) => Self::of(8, number.into()),
            ModelEvent::MeasureFrom => Self::of(9, 0),
            ModelEvent::Close => Self::of(15, 0),
            ModelEvent::Sample => Self::of(10, 0),
            ModelEvent::Scrape => Self::of(11, 0),
            ModelEvent::RateChange(client) => Self::of(12, client.to_bits()),
            ModelEvent::Load(component) => Self::of(13, component.0.into()),
            ModelEvent::Materialized(component, as_of) => Self::of(14, as_of.as_nanos()).with(component, 0),
            ModelEvent::Admitted(call) => Self::of(20, call.to_bits()),
            ModelEvent::Attempt(call) => Self::of(24, call.to_bits()),
        }
    }
}

impl Event for PackedEvent {
    #[inline(always)]
    fn identity(&self) -> u64 {
        self.0 ^ self.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_they_were() {
        let call = CallId::from_bits(0x0012_3456_789a_bcde);
        let component = ComponentId(0xfedc);
        let events = [
            ModelEvent::Deliver(call),
            ModelEvent::Admitted(call),
            ModelEvent::Reply(call),
            ModelEvent::Progress(call, Progress::PrefillDone),
            ModelEvent::Progress(call, Progress::FirstToken),
            ModelEvent::Cancel(call),
            ModelEvent::Timeout(call),
            ModelEvent::Attempt(call),
            ModelEvent::Timer { component, kind: 0xabcd, data: u64::MAX },
            ModelEvent::Fault(u32::MAX),
            ModelEvent::MeasureFrom,
            ModelEvent::Close,
            ModelEvent::Sample,
            ModelEvent::Scrape,
            ModelEvent::RateChange(ClientId::from_bits(0x1234_5678_9abc)),
            ModelEvent::Load(component),
            ModelEvent::Materialized(component, SimTime::MAX),
        ];
        let mut seen = Vec::new();
        for event in events {
            let packed = PackedEvent::from(event);
            assert_eq!(packed.unpacked(), event);
            assert!(!seen.contains(&packed.identity()), "{event:?} is another's");
            seen.push(packed.identity());
        }
    }
}
