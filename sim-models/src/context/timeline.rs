//! What the timeline hears of calls.

use sim_core::time::SimTime;

use super::Core;
use crate::call::{Call, CallId, Reply};
use crate::timeline::Timeline;

impl Core {
    /// A call ended, or had not when the run did: for the timeline.
    pub(super) fn note_call(&mut self, id: CallId, now: SimTime, reply: Option<Reply>) {
        let Self { timeline, calls, requests, .. } = self;
        if let (Some(timeline), Some(call)) = (timeline, calls.get(id))
            && let Some(request) = requests.get(call.request)
        {
            timeline.call(id, call, request, (now, reply));
        }
    }

    /// The timeline, with what had not ended when the run did.
    pub(crate) fn close_timeline(&mut self, end: SimTime) -> Option<Timeline> {
        self.timeline.as_ref()?;
        let is_there = |call: &Call| {
            let on_its_way =
                call.arrived_at == call.sent_at && self.links[call.link.0 as usize].latency.is_some();
            call.reply.is_none() && !call.lost && !on_its_way && !self.is_logical(call)
        };
        let open: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| is_there(call)).map(|(id, _)| id).collect();
        for id in open {
            self.note_call(id, end, None);
        }
        let mut timeline = *self.timeline.take()?;
        let unfinished = self.requests.iter().filter(|(_, request)| !request.ended);
        unfinished.for_each(|(_, request)| timeline.request(request, (end, None)));
        Some(timeline)
    }
}
