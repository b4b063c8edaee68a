//! Attempts beside the present try.

use sim_core::event::Phase;
use sim_core::time::SimTime;

use super::{Attempts, Due};
use crate::call::CallId;
use crate::context::Ctx;
use crate::link::Policies;
use crate::link::breaker::Admission;
use crate::link::budget::Spending;

impl Ctx<'_> {
    /// Sets the timer of the next hedge beside the present try, if there is to be one.
    pub(super) fn await_hedge(&mut self, id: CallId, now: SimTime) {
        let &mut Attempts { link, client, hedges, .. } = self.attempts_mut(id);
        let Some(Policies { hedge: Some(hedge), clients, .. }) = self.policies(link) else { return };
        if hedges < hedge.max_extra
            && let Some(delay) = hedge.delay(&mut clients[client as usize].latencies, now)
        {
            self.call_on(id, delay, Phase::Timer, Due::Hedge);
        }
    }

    /// Sends a hedge, if the budget and the breaker let it.
    pub(super) fn hedge(&mut self, id: CallId) {
        let now = self.now();
        let state = self.attempts_mut(id);
        let (link, client) = (state.link, state.client);
        let under_way = state.lead.or_else(|| state.others.first().copied());
        let Some(under_way) = under_way else { return };
        let policies = self.policies(link).expect("hedges are policies");
        let client = &mut policies.clients[client as usize];
        if let Some(budget) = &mut client.hedge_budget {
            let (active, retrying) = (client.active + client.waiting.len() as u32, client.retrying);
            if budget.withdraw(Spending { now, timed_out: false, active, retrying }).is_none() {
                policies.meter.hedges_denied += 1;
                return;
            }
        }
        if self.admit(id) != Admission::Go {
            return;
        }
        let avoid = self.call(under_way).replica;
        self.attempts_mut(id).avoid = avoid;
        let attempt = self.send_attempt(id);
        let state = self.attempts_mut(id);
        state.others.push(attempt);
        state.hedges += 1;
        self.policies(link).expect("hedges are policies").meter.hedges += 1;
        self.await_hedge(id, now);
    }

    /// `winner` is the attempt that counts: the others are cancelled, and there are no more.
    pub(super) fn win(&mut self, id: CallId, winner: CallId) {
        let state = self.attempts_mut(id);
        let is_lead = state.lead == Some(winner);
        let lead = if is_lead { state.lead.take() } else { None };
        state.others.retain(|other| *other != winner);
        self.drop_losers(id);
        self.stop_timer(id);
        let state = self.attempts_mut(id);
        match lead {
            Some(_) => state.lead = lead,
            None => state.others.push(winner),
        }
    }

    pub(super) fn drop_losers(&mut self, id: CallId) {
        self.cancel_attempts(id, true);
    }
}
