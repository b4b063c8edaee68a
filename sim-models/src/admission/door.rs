//! The door of a component: what happens to a call before it reaches it.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::{KeyedStream, unit};
use sim_core::stats::TimeWeighted;
use sim_core::time::{SimDuration, SimTime};

use super::LinePlan;
use super::bucket::RateLimit;
use super::dagor::Dagor;
use super::fair::Party;
use super::guarded::{Entry, GuardedLine};
use super::limits::{Algorithm, Sample, Window};
use crate::call::{CallId, Reply};
use crate::context::{Ctx, Labels};
use crate::error::ConfigError;
use crate::measure::Measure;
use crate::request::Outcome;
use crate::service::Discipline;
use crate::units::Probability;

/// Shares of a concurrency limit that parties are sure of (concurrency-limits' AbstractPartitionedLimiter): when
/// the limit is reached, a call still gets in where its party is within its share of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PartitionConfig {
    /// Whose calls are told apart. Default: tenant.
    pub by: Party,
    /// Shares of the limit by name, at most 1 together; each is worth at least one call. Default: 0 each.
    pub shares: IndexMap<String, Probability>,
}

impl PartitionConfig {
    pub(super) fn resolve(&self, labels: &Labels) -> Result<Partitions, ConfigError> {
        let sum: f64 = self.shares.values().map(|share| share.get()).sum();
        if sum > 1.0 + 1e-9 {
            return Err(ConfigError::new(["shares"], format!("the shares sum to {sum}"))
                .help("expected shares that sum to at most 1"));
        }
        let shares = self.by.resolve(&self.shares, Probability::default(), labels);
        let shares: Vec<f64> =
            shares.map_err(|error| error.within("shares"))?.iter().map(|share| share.get()).collect();
        Ok(Partitions { by: self.by, inside: vec![0; shares.len()], shares })
    }
}

/// Calls inside by party.
#[derive(Debug)]
pub(super) struct Partitions {
    by: Party,
    shares: Vec<f64>,
    inside: Vec<u32>,
}

impl Partitions {
    fn party(&self, class: u8, tenant: u16) -> usize {
        match self.by {
            Party::Class => class.into(),
            Party::Tenant => tenant.into(),
        }
    }

    fn has_room(&self, party: usize, limit: u32) -> bool {
        let share = (f64::from(limit) * self.shares[party]).ceil().max(1.0);
        f64::from(self.inside[party]) < share
    }
}

/// A call behind the door.
#[derive(Debug, Clone, Copy)]
struct Inside {
    since: SimTime,
    /// Calls behind the door when it came in, with it.
    inflight: u32,
    party: usize,
}

/// A concurrency limit at work.
#[derive(Debug)]
pub(super) struct Limiter {
    algorithm: Algorithm,
    window: Option<Window>,
    partitions: Option<Partitions>,
    inside: BTreeMap<CallId, Inside>,
    limit: TimeWeighted,
    /// Draws so far.
    draws: u64,
}

impl Limiter {
    pub(super) fn new(algorithm: Algorithm, window: Option<Window>, partitions: Option<Partitions>) -> Self {
        let limit = TimeWeighted::new(SimTime::ZERO, algorithm.limit().into());
        Self { algorithm, window, partitions, inside: BTreeMap::new(), limit, draws: 0 }
    }

    fn party(&self, class: u8, tenant: u16) -> usize {
        self.partitions.as_ref().map_or(0, |partitions| partitions.party(class, tenant))
    }

    fn has_room(&self, party: usize) -> bool {
        let limit = self.algorithm.limit();
        self.inside.len() < limit as usize
            || self.partitions.as_ref().is_some_and(|partitions| partitions.has_room(party, limit))
    }

    fn enter(&mut self, call: CallId, party: usize, now: SimTime) {
        let inflight = self.inside.len() as u32 + 1;
        self.inside.insert(call, Inside { since: now, inflight, party });
        if let Some(partitions) = &mut self.partitions {
            partitions.inside[party] += 1;
        }
    }

    /// A call has left; a reply that is no answer says whether it was lost to overload.
    fn leave(&mut self, call: CallId, outcome: Outcome, now: SimTime, jitter: KeyedStream) {
        let Some(Inside { since, inflight, party }) = self.inside.remove(&call) else { return };
        if let Some(partitions) = &mut self.partitions {
            partitions.inside[party] -= 1;
        }
        let rtt = now.since(since);
        // Errors say nothing of the load (onIgnore).
        if outcome == Outcome::Failed || rtt.is_zero() {
            return;
        }
        let sample = Sample { rtt, inflight, dropped: !outcome.is_answer() };
        let sample = match &mut self.window {
            Some(window) => window.add(now, sample),
            None => Some(sample),
        };
        if let Some(sample) = sample {
            let draws = &mut self.draws;
            self.algorithm.update(sample, || {
                *draws += 1;
                unit(&mut jitter.draws(*draws, 0, 0))
            });
            self.limit.set(now, self.algorithm.limit().into());
        }
    }
}

/// What a call takes of fair shares where its work is not known; large, so that weights divide it finely.
const CALL: u64 = 1 << 32;

/// The line in front of the door.
#[derive(Debug)]
pub(super) struct Room {
    plan: LinePlan,
    line: GuardedLine,
    cap: usize,
    by_class: bool,
    places: BTreeMap<CallId, Place>,
    arrivals: u64,
    dropped: Vec<CallId>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    rank: u64,
    number: u64,
    group: u16,
    party: usize,
}

impl Room {
    pub(super) fn new(plan: LinePlan, cap: u32, discipline: Discipline) -> Self {
        Self {
            line: plan.line(),
            plan,
            cap: cap as usize,
            by_class: discipline == Discipline::Priority,
            places: BTreeMap::new(),
            arrivals: 0,
            dropped: Vec::new(),
        }
    }
}

/// Calls that were turned away at the door in the measured part of the run.
#[derive(Debug, Clone, Copy, Default)]
struct Refused {
    rate: u64,
    level: u64,
    limit: u64,
    full: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Door {
    pub(super) rate: Option<RateLimit>,
    pub(super) dagor: Option<Dagor>,
    pub(super) limiter: Option<Limiter>,
    pub(super) room: Option<Room>,
    /// For what the limit draws.
    pub(super) jitter: KeyedStream,
    /// Those that may go in and have not yet.
    released: BTreeSet<CallId>,
    refused: Refused,
}

impl Door {
    pub(super) fn new(
        rate: Option<RateLimit>,
        dagor: Option<Dagor>,
        limiter: Option<Limiter>,
        room: Option<Room>,
        jitter: KeyedStream,
    ) -> Self {
        Self { rate, dagor, limiter, room, jitter, released: BTreeSet::new(), refused: Refused::default() }
    }

    /// Whether a call that has arrived goes in at once; otherwise it is refused or waits.
    pub(crate) fn knock(&mut self, call: CallId, ctx: &mut Ctx) -> bool {
        let now = ctx.now();
        let request = ctx.request(call);
        let (class, tenant) = (request.class, request.tenant);
        if let Some(rate) = &mut self.rate
            && !rate.take(now, class, tenant)
        {
            self.refused.rate += 1;
            ctx.finish(call, Reply::REJECTED);
            return false;
        }
        if let Some(dagor) = &mut self.dagor
            && !dagor.admit(request, now)
        {
            self.refused.level += 1;
            ctx.finish(call, Reply::REJECTED);
            return false;
        }
        let Some(limiter) = &mut self.limiter else { return true };
        let party = limiter.party(class, tenant);
        // Nobody overtakes those who wait.
        let is_queue = self.room.as_ref().is_some_and(|room| room.line.len() > 0);
        if !is_queue && limiter.has_room(party) {
            limiter.enter(call, party, now);
            return true;
        }
        self.wait(call, (class, tenant), party, ctx);
        false
    }

    /// Lets a call wait, or refuses it.
    fn wait(&mut self, call: CallId, (class, tenant): (u8, u16), party: usize, ctx: &mut Ctx) {
        let now = ctx.now();
        let Some(room) = &mut self.room else {
            self.refused.limit += 1;
            return ctx.finish(call, Reply::REJECTED);
        };
        let group = room.plan.group(class, tenant);
        if room.line.len() >= room.cap {
            match room.line.make_room(group) {
                None => {
                    self.refused.full += 1;
                    return ctx.finish(call, Reply::REJECTED);
                }
                Some(victim) => {
                    room.places.remove(&victim);
                    ctx.meter().queue.add(now, -1);
                    ctx.finish(victim, Reply::REJECTED);
                }
            }
        }
        let rank = if room.by_class { class.into() } else { 0 };
        let place = Place { rank, number: room.arrivals, group, party };
        room.arrivals += 1;
        room.places.insert(call, place);
        room.line.push(Entry { rank, group, cost: CALL, ..Entry::new(call, place.number, now) });
        ctx.meter().queue.add(now, 1);
    }

    /// A call of the component has ended.
    pub(crate) fn ended(&mut self, call: CallId, outcome: Outcome, ctx: &mut Ctx) {
        if let Some(limiter) = &mut self.limiter {
            limiter.leave(call, outcome, ctx.now(), self.jitter);
            self.release(ctx);
        }
    }

    /// Lets those who wait in, as far as there is room.
    fn release(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let (Some(limiter), Some(room)) = (&mut self.limiter, &mut self.room) else { return };
        while limiter.has_room(0) {
            if room.line.len() == 0 && limiter.inside.is_empty() {
                room.line.idle();
            }
            let next = room.line.next(now, |call| ctx.is_expired(call), &mut room.dropped);
            for call in room.dropped.drain(..) {
                room.places.remove(&call);
                ctx.meter().queue.add(now, -1);
                ctx.finish(call, Reply::REJECTED);
            }
            let Some(call) = next else { return };
            let party = room.places.remove(&call).map_or(0, |place| place.party);
            ctx.meter().queue.add(now, -1);
            limiter.enter(call, party, now);
            self.released.insert(call);
            ctx.let_in(call);
        }
    }

    /// Whether a call that may go in still wants to.
    pub(crate) fn goes_in(&mut self, call: CallId) -> bool {
        self.released.remove(&call)
    }

    /// A caller gave up: true if its call was at the door still, and is over with it.
    pub(crate) fn cancel(&mut self, call: CallId, ctx: &mut Ctx) -> bool {
        if self.released.remove(&call) {
            ctx.finish(call, Reply::FAILED);
            self.ended(call, Outcome::Failed, ctx);
            return true;
        }
        let Some(room) = &mut self.room else { return false };
        let Some(Place { rank, number, group, .. }) = room.places.remove(&call) else { return false };
        room.line.remove(rank, number, group);
        let now = ctx.now();
        ctx.meter().queue.add(now, -1);
        ctx.finish(call, Reply::FAILED);
        true
    }

    /// A call begins to be served after it has waited so long.
    pub(crate) fn began(&mut self, waited: SimDuration) {
        if let Some(dagor) = &mut self.dagor {
            dagor.began(waited);
        }
    }

    /// How many wait in front.
    pub(crate) fn waiting(&self) -> u64 {
        self.room.as_ref().map_or(0, |room| room.line.len() as u64)
    }

    pub(crate) fn reset_measurements(&mut self, now: SimTime) {
        self.refused = Refused::default();
        if let Some(limiter) = &mut self.limiter {
            limiter.limit.reset(now);
        }
        if let Some(room) = &mut self.room {
            room.line.reset_measurements();
        }
    }

    pub(crate) fn measures(&self, now: SimTime) -> Vec<Measure> {
        let mut measures = Vec::new();
        let mut count = |name, count, meaning| measures.push(Measure::count(name, count, meaning));
        if self.rate.is_some() {
            count("refused_rate_limit", self.refused.rate, "calls refused by the rate limit");
        }
        if self.dagor.is_some() {
            count("refused_dagor", self.refused.level, "calls refused below DAGOR's admission level");
        }
        if let Some(limiter) = &self.limiter {
            let refused = match self.room {
                Some(_) => (
                    "refused_admission_queue_full",
                    self.refused.full,
                    "calls that found the queue in front full",
                ),
                None => ("refused_concurrency", self.refused.limit, "calls refused by the concurrency limit"),
            };
            count(refused.0, refused.1, refused.2);
            let meaning = "mean of the concurrency limit over time";
            measures.push(Measure::new("concurrency_limit_mean", limiter.limit.mean(now), meaning));
        }
        measures.extend(GuardedLine::measures(self.room.iter().map(|room| &room.line)));
        measures
    }
}
