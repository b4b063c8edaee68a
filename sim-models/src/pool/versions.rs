//! The front of a pool whose program is of several versions ([`crate::deployment`]).

use sim_core::random::{KeyedStream, Purpose, unit};

use super::balance::{Balance, Candidates, Signal};
use super::zonal::Choice;
use super::{Condition, Due, Front};
use crate::call::{CallId, Reply};
use crate::context::Ctx;
use crate::deployment::{Ended, Rollouts};

/// Sets the luck of a call with its version apart from what else is drawn for it.
const LUCK: u32 = 0x5EED_0001;

/// How a router shares out the calls between two versions.
#[derive(Debug)]
pub(super) struct Split {
    /// Share of the calls for the new version.
    share: f64,
    new: Vec<u32>,
    /// The new version is balanced by itself, as a service of its own.
    balance: Balance,
}

impl Split {
    /// The replicas of the new version.
    pub(super) fn of_new(&self) -> &[u32] {
        &self.new
    }

    /// Reads the load of the replicas.
    pub(super) fn read(&mut self, signals: impl Iterator<Item = Signal>) {
        self.balance.signals.iter_mut().zip(signals).for_each(|(last, signal)| *last = signal);
    }
}

impl Front {
    /// The rollouts of the pool, if it has a deployment.
    pub(super) fn rollouts(&self) -> Option<&Rollouts> {
        self.fleet.as_ref()?.versions.as_ref().map(|versions| &versions.rollouts)
    }

    /// How many times as long work in a replica takes, because of its version.
    pub(crate) fn slowdown(&self, replica: usize) -> f64 {
        let versions = self.fleet.as_ref().and_then(|fleet| fleet.versions.as_ref());
        versions.map_or(1.0, |versions| versions.rollouts.version(versions.of(replica)).slow)
    }

    /// The deployment looks at what there is.
    pub(super) fn roll(&mut self, ctx: &mut Ctx) -> Due {
        let Some(fleet) = &mut self.fleet else { return Due::Nothing };
        let changes = fleet.roll(ctx);
        self.apply(changes, ctx);
        self.settle(ctx);
        Due::Empty
    }

    /// The time of a replica of a version that crashes has come, if it is still there.
    pub(super) fn crashes(&self, data: u64) -> Due {
        let (slot, generation) = super::interruptions::slot_of(data);
        let lives = self.fleet.as_ref().is_some_and(|fleet| fleet.is_ready(slot, generation));
        // One that a fault has broken has nothing to lose.
        if lives && self.members[slot].condition == Condition::Up { Due::Crash(slot) } else { Due::Nothing }
    }

    /// A replica has crashed by itself with the calls in it, which the component has lost.
    pub(crate) fn crashed(&mut self, slot: usize, lost: Vec<CallId>, ctx: &mut Ctx) {
        self.members[slot].condition = Condition::Absent;
        lost.into_iter().for_each(|call| self.end_of_version(call, Reply::FAILED, true, ctx));
        if let Some(fleet) = &mut self.fleet {
            fleet.restart(slot, ctx);
        }
        self.settle(ctx);
    }

    /// Ends a call that was routed to a replica of some version, which may be to blame for it.
    pub(super) fn end_of_version(&mut self, call: CallId, reply: Reply, is_to_blame: bool, ctx: &mut Ctx) {
        let replica = self.replica_of(call, ctx);
        let Some(versions) = self.fleet.as_mut().and_then(|fleet| fleet.versions.as_mut()) else {
            return self.conclude(call, reply, ctx);
        };
        let version = versions.of(replica);
        let rate = versions.rollouts.version(version).error_rate;
        let is_struck = rate > 0.0 && reply.outcome.is_answer() && {
            let (request, hop, attempt) = (ctx.request(call).key, ctx.call(call).hop, ctx.call(call).attempt);
            let luck: KeyedStream = ctx.keyed_stream(Purpose::Faults);
            unit(&mut luck.draws(request, hop ^ LUCK, attempt)) < rate
        };
        let reply = if is_struck { Reply::FAILED } else { reply };
        let how = match reply.outcome {
            _ if is_struck || is_to_blame => Ended::FailedByVersion,
            outcome if outcome.is_answer() => Ended::Answered(ctx.now().since(ctx.call(call).arrived_at)),
            _ => Ended::Failed,
        };
        versions.rollouts.ended(version, how);
        self.conclude(call, reply, ctx);
    }

    /// Takes note of a call that got no answer from a replica, and ends in another way.
    pub(super) fn note_unanswered(&mut self, replica: usize) {
        if let Some(versions) = self.fleet.as_mut().and_then(|fleet| fleet.versions.as_mut()) {
            let version = versions.of(replica);
            versions.rollouts.ended(version, Ended::Failed);
        }
    }

    /// With a router, leaves among the candidates only those of the version that takes the rest of the traffic, and
    /// sets those of the new one apart. Where a side has none, the other takes all.
    pub(super) fn split_candidates(&mut self) {
        let Some(versions) = self.fleet.as_ref().and_then(|fleet| fleet.versions.as_ref()) else { return };
        let Some((new, share, stable)) = versions.rollouts.traffic() else { return };
        let of = |version: usize| {
            let list = self.candidates.iter().copied();
            list.filter(|slot| versions.of(*slot as usize) == version).collect::<Vec<u32>>()
        };
        let (news, rest) = (of(new), of(stable));
        let Some(split) = &mut self.split else { return };
        split.new.clear();
        if rest.is_empty() || new == stable {
            if !news.is_empty() {
                self.candidates = news;
            }
        } else {
            (split.new, split.share) = (news, share);
            self.candidates = rest;
        }
    }

    /// Prepares for a router, if the deployment has one.
    pub(super) fn prepare_split(&mut self, balance: impl FnOnce() -> Balance) {
        if self.rollouts().is_some_and(|rollouts| rollouts.traffic().is_some()) {
            self.split = Some(Box::new(Split { share: 0.0, new: Vec::new(), balance: balance() }));
        }
    }

    /// With a router: a replica of the new version, if a call is to go there.
    pub(super) fn pick_new(&mut self, call: CallId, ctx: &Ctx) -> Option<usize> {
        let split = self.split.as_deref()?;
        let (prompt, &crate::call::Call { hop, attempt, avoid, .. }) = (ctx.prompt(call), ctx.call(call));
        let request = prompt.request;
        let routing = self.draws?.routing;
        if split.new.is_empty() || unit(&mut routing.draws(request.key, hop ^ LUCK, attempt)) >= split.share {
            return None;
        }
        let choice = self.zone_for(call, |zonal| &zonal.new, ctx);
        let Split { new, balance, .. } = self.split.as_deref_mut()?;
        let candidates = match choice {
            Choice::Anywhere => Candidates::anywhere(new, self.version),
            Choice::In(zone) => Candidates::within(self.zonal.as_ref()?.new.list(zone), self.version, zone),
            Choice::Nowhere => return None,
        };
        let draws = routing.draws(request.key, hop, attempt);
        let picked = balance.pick(candidates, &self.active, prompt, draws, avoid.map(u32::from))?;
        Some(picked as usize)
    }
}
