//! The way of a call through the front: to a replica, and out again.

use sim_core::random::unit;

use super::balance::Candidates;
use super::zonal::Choice;
use super::{Condition, Front};
use crate::call::{CallId, Reply};
use crate::context::Ctx;
use crate::request::Outcome;

impl Front {
    /// Sends a call to a replica: the replica, where the component now has to work on it. Otherwise the
    /// call has been answered or is held.
    #[inline]
    pub(crate) fn route(&mut self, call: CallId, ctx: &mut Ctx) -> Option<usize> {
        // In a panic that fails traffic nothing waits for a replica.
        let mut is_inside = false;
        if let Some(fleet) = &mut self.fleet
            && (!self.is_failing || fleet.is_admitted(call))
        {
            if !fleet.admits(call, &self.candidates, ctx) {
                return None;
            }
            is_inside = true;
        }
        let Some(replica) = self.pick(call, ctx) else {
            self.no_replica += 1;
            if let Some(fleet) = self.fleet.as_mut().filter(|_| is_inside) {
                fleet.turned_away(ctx);
            }
            ctx.reply(call, Reply::REJECTED);
            return None;
        };
        ctx.call_mut(call).replica = Some(self.first + replica as u16);
        self.note_zone(call, replica, ctx);
        self.active[replica] += 1;
        if let Some(fleet) = &mut self.fleet {
            fleet.entered(replica, self.active[replica], &self.candidates);
        }
        let member = &mut self.members[replica];
        match member.condition {
            Condition::Up => {
                member.calls += 1;
                Some(replica)
            }
            Condition::Crashed | Condition::Absent => {
                member.refused += 1;
                self.note_unanswered(replica);
                self.leave(replica, Some(false), ctx);
                ctx.reply(call, Reply::FAILED);
                None
            }
            Condition::Hung => {
                member.calls += 1;
                self.hold(replica, call, ctx);
                None
            }
        }
    }

    #[inline]
    fn pick(&mut self, call: CallId, ctx: &Ctx) -> Option<usize> {
        if let Some(fleet) = self.fleet.as_mut().filter(|fleet| fleet.is_bounded()) {
            return fleet.in_turn().map(|replica| replica as usize);
        }
        if self.split.is_some()
            && let Some(picked) = self.pick_new(call, ctx)
        {
            return Some(picked);
        }
        if let [only] = self.candidates[..] {
            return Some(only as usize);
        }
        let (prompt, avoid) = (ctx.prompt(call), ctx.call(call).avoid);
        let hop = ctx.call(call).hop ^ self.salt();
        let draws = self.draws?.routing.draws(prompt.request.key, hop, ctx.call(call).attempt);
        let candidates = match self.zone_for(call, |zonal| &zonal.all, ctx) {
            Choice::Anywhere => Candidates::anywhere(&self.candidates, self.version),
            Choice::In(zone) => Candidates::within(self.zonal.as_ref()?.all.list(zone), self.version, zone),
            Choice::Nowhere => return None,
        };
        let avoid = avoid.and_then(|avoid| avoid.checked_sub(self.first)).map(u32::from);
        let picked = self.balance.pick(candidates, &self.active, prompt, draws, avoid)?;
        Some(picked as usize)
    }

    /// Ends a call that was routed.
    #[inline]
    pub(crate) fn reply(&mut self, call: CallId, reply: Reply, ctx: &mut Ctx) {
        // Who watches replicas and versions sees the errors that callers see.
        let reply = ctx.struck(call, reply);
        match &self.fleet {
            Some(fleet) if fleet.versions.is_some() => self.end_of_version(call, reply, false, ctx),
            _ => self.conclude(call, reply, ctx),
        }
    }

    #[inline]
    pub(super) fn conclude(&mut self, call: CallId, reply: Reply, ctx: &mut Ctx) {
        let replica = self.replica_of(call, ctx);
        let ok = match reply.outcome {
            Outcome::Rejected => {
                // One that was dropped after it had waited may have come before the measured part.
                let calls = &mut self.members[replica].calls;
                *calls = calls.saturating_sub(1);
                None
            }
            outcome => {
                self.members[replica].answered += u64::from(outcome.is_answer());
                Some(outcome.is_answer())
            }
        };
        self.leave(replica, ok, ctx);
        ctx.reply(call, reply);
    }

    /// A replica has done its part of a call, which goes on elsewhere.
    pub(crate) fn pass_on(&mut self, call: CallId, ctx: &mut Ctx) {
        let replica = self.replica_of(call, ctx);
        self.members[replica].answered += 1;
        self.leave(replica, Some(true), ctx);
    }

    /// Ends a call that was routed and that nobody waits for any more.
    pub(crate) fn abandon(&mut self, call: CallId, ctx: &mut Ctx) {
        // A caller whose patience ran out saw a timeout; who only changed its mind says nothing of the
        // replica.
        let timed_out = ctx.now() >= ctx.call(call).deadline;
        let replica = self.replica_of(call, ctx);
        if timed_out {
            self.note_unanswered(replica);
        }
        self.leave(replica, timed_out.then_some(false), ctx);
        ctx.reply(call, Reply::FAILED);
    }

    /// A caller gave up: the replica, where the component has to give up the call and [`Front::abandon`] it.
    pub(crate) fn cancel(&mut self, call: CallId, ctx: &mut Ctx) -> Option<usize> {
        if let Some(fleet) = &mut self.fleet
            && fleet.cancel(call, ctx)
        {
            ctx.reply(call, Reply::FAILED);
            return None;
        }
        let replica = self.replica_of(call, ctx);
        if !self.members[replica].held.remove(&call) {
            return Some(replica);
        }
        self.note_held(replica, -1, ctx);
        self.abandon(call, ctx);
        None
    }

    /// A call is no longer in a replica; `ok` where its end tells something of it.
    #[inline]
    pub(super) fn leave(&mut self, replica: usize, ok: Option<bool>, ctx: &mut Ctx) {
        self.active[replica] -= 1;
        if let Some(fleet) = &mut self.fleet {
            fleet.exited(replica, self.active[replica], &self.candidates, ctx);
            self.remove_gone(ctx);
        }
        let salt = self.salt();
        let (Some(outliers), Some(ok), Some(draws)) = (&mut self.outliers, ok, self.draws) else { return };
        let (now, before) = (ctx.now(), outliers.ejections);
        if outliers.ended(replica, ok, now, || {
            unit(&mut draws.jitter.draws(now.as_nanos(), 2 + salt, before as u32))
        }) {
            self.choose_candidates(ctx);
            self.wake_checks(replica, ctx);
        }
    }

    /// The replica that a routed call is in.
    #[inline]
    pub(super) fn replica_of(&self, call: CallId, ctx: &Ctx) -> usize {
        usize::from(ctx.call(call).replica.expect("a call is routed before it ends") - self.first)
    }
}
