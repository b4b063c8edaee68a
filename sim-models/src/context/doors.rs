//! What a component and its door ([`crate::admission`]) tell each other.

use sim_core::event::Phase;
use sim_core::time::SimDuration;

use super::Ctx;
use crate::admission::Door;
use crate::call::CallId;
use crate::event::ModelEvent;

impl Ctx<'_> {
    /// A call of mine begins to be served: how long it has waited goes into the meter.
    #[inline]
    pub fn began(&mut self, id: CallId) {
        let waited = self.now().since(self.call(id).arrived_at);
        self.meter().wait.record(waited.as_nanos());
        if let Some(door) = &mut self.core.doors[self.me.index()] {
            door.began(waited);
        }
    }

    /// Calls that wait in front of my door.
    pub fn waiting_in_front(&self) -> u64 {
        self.core.doors[self.me.index()].as_ref().map_or(0, |door| door.waiting())
    }

    /// Does something at my door, if there is one.
    #[inline]
    pub(super) fn at_door<T>(&mut self, act: impl FnOnce(&mut Door, &mut Self) -> T) -> Option<T> {
        let mut door = self.core.doors[self.me.index()].take()?;
        let result = act(&mut door, self);
        self.core.doors[self.me.index()] = Some(door);
        Some(result)
    }

    /// Whether a call that has just reached me goes on to my work at once.
    #[inline]
    pub(crate) fn knock(&mut self, id: CallId) -> bool {
        self.at_door(|door, ctx| door.knock(id, ctx)).unwrap_or(true)
    }

    /// Has a call that waited at my door come in.
    pub(crate) fn let_in(&mut self, id: CallId) {
        self.scheduler.schedule(SimDuration::ZERO, Phase::Arrival, ModelEvent::Admitted(id).into());
    }

    /// Whether a call that may come in still wants to.
    pub(crate) fn goes_in(&mut self, id: CallId) -> bool {
        self.at_door(|door, _| door.goes_in(id)).unwrap_or(false)
    }

    /// Whether a call that was cancelled was still at my door, and is over with that.
    #[inline]
    pub(crate) fn cancel_at_door(&mut self, id: CallId) -> bool {
        self.at_door(|door, ctx| door.cancel(id, ctx)).unwrap_or(false)
    }
}
