//! Calls over links that a fault has cut.

use sim_core::event::Phase;
use sim_core::time::SimDuration;

use crate::call::{CallId, Reply};
use crate::component::ComponentId;
use crate::context::{Core, Ctx};
use crate::event::ModelEvent;
use crate::link::Cuts;

impl Core {
    /// Changes the cuts of the links to `callee`: all of them, or the one from `caller`.
    pub(crate) fn cut(
        &mut self,
        callee: ComponentId,
        caller: Option<ComponentId>,
        change: impl Fn(&mut Cuts),
    ) {
        let count = self.names.len();
        for from in (0..count).filter(|from| caller.is_none_or(|caller| caller.index() == *from)) {
            if let Some(link) = self.routes[from * count + callee.index()] {
                change(&mut self.links[link.0 as usize].cuts);
            }
        }
    }
}

impl Ctx<'_> {
    /// Whether a fault cuts the link of a call.
    #[inline]
    pub(crate) fn is_cut(&self, id: CallId) -> bool {
        self.core.links[self.call(id).link.0 as usize].cuts.any()
    }

    /// A call or its reply comes upon a cut link: its caller sees the connection refused, or nothing until it
    /// stops waiting.
    pub(crate) fn lose(&mut self, id: CallId) {
        let refuses = self.core.links[self.call(id).link.0 as usize].cuts.silent == 0;
        if refuses {
            self.call_mut(id).reply = Some(Reply::FAILED);
            self.scheduler.schedule(SimDuration::ZERO, Phase::Reply, ModelEvent::Reply(id).into());
        } else {
            self.call_mut(id).lost = true;
        }
    }

    /// Ends a call that was lost, once nobody waits for it and nobody works on it.
    pub(crate) fn bury(&mut self, id: CallId) {
        if self.core.calls.get(id).is_some_and(|call| call.lost && !call.awaited) {
            self.core.close_call(id);
        }
    }
}
