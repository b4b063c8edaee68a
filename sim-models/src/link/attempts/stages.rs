//! What stands in when the attempts at a callee have failed.

use sim_core::event::Phase;
use sim_core::random::unit;
use sim_core::time::{SimDuration, SimTime};

use super::{DRAWS, STALE};
use crate::call::{Call, CallId, Reply};
use crate::context::{Ctx, child_hop};
use crate::event::{ModelEvent, PackedEvent};
use crate::link::LinkId;
use crate::link::fallback::Step;

impl Ctx<'_> {
    /// Takes the next step of the fallback chain; how the call ends if that ends it.
    pub(super) fn fall_back(&mut self, id: CallId, reply: Reply) -> Result<(), Reply> {
        let (now, request) = (self.now(), self.request(id).key);
        let &Call { link: chain, hop, .. } = self.call(id);
        self.stop_retrying(id);
        loop {
            let state = self.attempts_mut(id);
            let stage = state.stage;
            state.stage += 1;
            let policies = self.policies(chain).expect("a chain belongs to policies");
            let Some(step) = policies.fallback.get(stage) else { return Err(reply) };
            match *step {
                Step::Stale(share) => {
                    let draw = stage as u32 * DRAWS + STALE;
                    if unit(&mut policies.draws.draws(request, hop, draw)) < share {
                        return Err(Reply::DEGRADED);
                    }
                }
                Step::Default => return Err(Reply::DEGRADED),
                Step::Reject => return Err(Reply::REJECTED),
                Step::Call { link, callee } => {
                    let client = self.policies(link).map(|policies| policies.begin(request, now));
                    let state = self.attempts_mut(id);
                    (state.link, state.callee, state.client) = (link, callee, client.unwrap_or(0));
                    state.hop = child_hop(hop, !(stage as u32));
                    (state.tries, state.sent, state.avoid) = (0, 0, None);
                    (state.waited, state.cost) = (SimDuration::ZERO, None);
                    return self.await_stage(id, link, reply);
                }
            }
        }
    }

    /// Arms the time that the caller waits for a step of the fallback chain.
    pub(super) fn await_stage(&mut self, id: CallId, link: LinkId, reply: Reply) -> Result<(), Reply> {
        let now = self.now();
        if let Some(timeout) = self.call_mut(id).timeout.take() {
            self.scheduler.cancel(timeout);
        }
        let deadline = self.request(id).deadline;
        // Users wait until their deadline and no longer; other callers do not know of it.
        let bound = if self.me.index() < self.core.source_count { deadline } else { SimTime::MAX };
        if bound <= now {
            return Err(reply);
        }
        let link = &self.core.links[link.0 as usize];
        let timeout = link.timeout.filter(|_| link.policies.is_some());
        let patience = timeout.and_then(|(after, _)| now.checked_add(after).ok()).unwrap_or(SimTime::MAX);
        let event: PackedEvent = ModelEvent::Timeout(id).into();
        let handle = match timeout {
            Some((_, lane)) if patience <= bound => Some(self.scheduler.arm(lane, event)),
            _ if bound < SimTime::MAX => Some(self.scheduler.schedule_at(bound, Phase::Timer, event)),
            _ => None,
        };
        let call = self.call_mut(id);
        call.timeout = handle;
        call.deadline = patience.min(deadline);
        Ok(())
    }
}
