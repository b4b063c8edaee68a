//! Calls between zones.

use sim_core::time::SimDuration;

use super::{Ctx, Sending};
use crate::call::{Call, CallId, Reply};
use crate::link::cross_zone::CrossZone;
use crate::system::zones::Locality;

impl Ctx<'_> {
    /// Where a call comes from and where it is served, as far as it is known when it is sent. What has no place of
    /// its own and is no pool, such as a router inside a gateway, is where its caller is.
    pub(super) fn localities(&self, sending: &Sending, key: u64) -> (Option<Locality>, Option<Locality>) {
        let zones = &self.core.zones;
        if !zones.are_used() {
            return (None, None);
        }
        let parent = self.core.calls.get(sending.parent);
        let from = parent.map_or_else(|| zones.instance(self.me, key), |parent| parent.at);
        let is_later = zones.is_pool(sending.callee);
        (from, if is_later { None } else { zones.instance(sending.callee, key).or(from) })
    }

    /// What a call takes and costs in addition because it goes from one zone to another, if it does.
    #[inline]
    pub(super) fn crossing(&self, call: &Call) -> Option<CrossZone> {
        let (from, at) = (call.from?, call.at?);
        (from.zone != at.zone).then(|| self.core.links[call.link.0 as usize].cross_zone)
    }

    /// The time of what comes back over a call's link (`nth` is 1) or follows it (0), between zones too. A pool
    /// picks a replica when the call is there already, so that both ways are taken on the way back.
    #[inline]
    pub(super) fn with_crossings(&self, call: &Call, nth: u32, delay: SimDuration) -> SimDuration {
        let Some(crossing) = self.crossing(call) else { return delay };
        let ways = if nth > 0 && call.replica.is_some() { 2 } else { 1 };
        let nanos = crossing.latency.as_nanos().saturating_mul(ways).saturating_add(delay.as_nanos());
        SimDuration::from_nanos(nanos)
    }

    /// Puts what a call and its answer weigh on the bill, if they went from one zone to another.
    #[inline]
    pub(super) fn pay_crossing(&mut self, id: CallId, reply: Reply) {
        if let Some(CrossZone { gb: [request, answer], line: Some(line), .. }) = self.crossing(self.call(id))
        {
            let answered = if reply.outcome.is_answer() { answer } else { 0.0 };
            self.spend(id, line, request + answered);
        }
    }
}
