//! What comes back over the links of calls: replies, and how far they are.

use sim_core::event::Phase;
use sim_core::random::{Purpose, unit};
use sim_core::time::SimDuration;

use super::{Ctx, WAYS};
use crate::call::{Call, CallId, Progress, Reply};
use crate::event::ModelEvent;
use crate::request::Outcome;

impl Ctx<'_> {
    /// Network time of what comes back over the link of a call: the `nth` draw of that hop.
    pub(super) fn return_delay(&self, call: &Call, nth: u32) -> SimDuration {
        let link = &self.core.links[call.link.0 as usize];
        let delay = link.latency.as_ref().map_or(SimDuration::ZERO, |latency| {
            let request = self.core.requests.get(call.request).expect("a request outlives its calls");
            latency.sample_duration(&mut link.network.draws(request.key, call.hop, call.attempt * WAYS + nth))
        });
        self.with_crossings(call, nth, delay)
    }

    /// Ends a call that I serve.
    ///
    /// # Panics
    /// When I have replied to it before.
    #[inline]
    pub fn reply(&mut self, id: CallId, reply: Reply) {
        let reply = self.struck(id, reply);
        self.at_door(|door, ctx| door.ended(id, reply.outcome, ctx));
        self.finish(id, reply);
    }

    /// Ends a call whether or not it has passed my door.
    pub(crate) fn finish(&mut self, id: CallId, reply: Reply) {
        let now = self.now();
        if self.core.timeline.is_some() {
            self.core.note_call(id, now, Some(reply));
        }
        let call = self.call(id);
        assert!(call.reply.is_none(), "a component replies twice to one call");
        let (awaited, arrived_at) = (call.awaited, call.arrived_at);
        self.pay_crossing(id, reply);
        let meter = &mut self.core.meters[self.me.index()];
        if !awaited {
            meter.unheard += 1;
            self.core.close_call(id);
            return;
        }
        meter.outcomes[reply.outcome as usize] += 1;
        // Quick refusals would flatter the latency of what is served.
        if reply.outcome != Outcome::Rejected {
            meter.latency.record(now.since(arrived_at).as_nanos());
        }
        let delay = self.return_delay(self.call(id), 1);
        self.call_mut(id).reply = Some(reply);
        if self.is_cut(id) {
            self.lose(id);
        } else {
            self.scheduler.schedule(delay, Phase::Reply, ModelEvent::Reply(id).into());
        }
    }

    /// The reply to a call that I serve, or the error that a fault makes of it; the same however often it is asked.
    #[inline]
    pub(crate) fn struck(&self, id: CallId, reply: Reply) -> Reply {
        let may_be = self.core.error_rates[self.me.index()] > 0.0 && reply.outcome.is_answer();
        if may_be && self.is_struck(id) { Reply::FAILED } else { reply }
    }

    /// Whether a fault turns the answer to a call into an error.
    fn is_struck(&self, id: CallId) -> bool {
        let (request, &Call { hop, attempt, .. }) = (self.request(id), self.call(id));
        let mut draws = self.keyed_stream(Purpose::Faults).draws(request.key, hop, attempt);
        unit(&mut draws) < self.core.error_rates[self.me.index()]
    }

    /// Refuses a call that I serve, and says after how long another attempt may be let in.
    ///
    /// # Panics
    /// As [`Ctx::reply`].
    pub fn refuse(&mut self, id: CallId, retry_after: Option<SimDuration>) {
        self.call_mut(id).retry_after = retry_after;
        self.reply(id, Reply::REJECTED);
    }

    /// Tells the caller of a call that I serve how far it is.
    pub fn progress(&mut self, id: CallId, progress: Progress) {
        if self.core.timeline.is_some() {
            let now = self.now();
            self.core.timeline.iter_mut().for_each(|timeline| timeline.progress(id, progress, now));
        }
        let call = self.call(id);
        if !call.awaited || self.is_cut(id) {
            return;
        }
        // The draw of the reply: what comes back over one connection keeps its order.
        let delay = self.return_delay(call, 1);
        let is_users = call.caller.index() < self.core.source_count && call.attempt_of == CallId::NONE;
        if delay.is_zero() && is_users {
            // Traffic sources only take note of it: that needs no event.
            let request = call.request;
            return self.note_progress(request, progress);
        }
        self.scheduler.schedule(delay, Phase::Reply, ModelEvent::Progress(id, progress).into());
    }
}
