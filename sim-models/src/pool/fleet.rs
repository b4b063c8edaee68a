//! Replicas that come and go: an autoscaler says how many there are to be, new ones take their cold start, those
//! that leave work off what they have, and calls for which there is no replica wait in front.
//!
//! With a bound on the calls of one replica (Knative's `containerConcurrency`, Ray Serve's
//! `max_ongoing_requests`) calls wait in front until one has room, as in Knative's activator, and go to replicas
//! in turn.
//!
//! Those that leave first are those that are not ready, and then those that became ready last (the order of
//! Kubernetes' ReplicaSet controller). A replica is paid for from the moment it is asked for until it is gone.
//!
//! Ready is what its readiness probes say: a replica that is known to have crashed or to hang is there, as a pod
//! that is not ready, and counts as such for an autoscaler (Kubernetes' HPA takes it for one without load on the way up;
//! Knative counts the addresses that are ready) and in a deployment. Until the checks have found it out it counts
//! as ready; without active checks it is seen at once, as a container's exit is.

mod line;
mod tally;
mod versions;
mod warm;

use std::collections::{BTreeMap, BTreeSet};

use sim_core::event::Phase;
use sim_core::random::{KeyedStream, Purpose};
use sim_core::stats::TimeWeighted;
use sim_core::time::{SimDuration, SimTime};

use super::interruptions::Interruptions;
use super::timer;
use crate::autoscaler::WarmPool;
use crate::autoscaler::{Controller, Replicas, Sample, Stages, Taken};
use crate::call::CallId;
use crate::context::Ctx;
use crate::deployment::Rollouts;
use crate::spot::Spot;
use versions::Versions;
use warm::Warm;

/// What of a pool an autoscaler needs.
#[derive(Debug, Clone)]
pub(crate) struct Scaling {
    pub(crate) controller: Controller,
    pub(crate) cold_start: Stages,
    /// Replicas at the start.
    pub(crate) initial: u32,
    /// The most calls of a replica; none for no bound.
    pub(crate) most_calls: Option<u32>,
    /// The most replicas there are or that start. There are more slots on spot capacity, for those that leave.
    pub(crate) most: u32,
    /// How replicas are interrupted, on spot capacity.
    pub(crate) spot: Option<Spot>,
    /// Versions that replace one another.
    pub(crate) rollouts: Option<Box<Rollouts>>,
    /// Replicas that are kept prepared.
    pub(crate) warm_pool: Option<WarmPool>,
}

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is to be started.
    Start(usize),
    /// It is to leave.
    Leave(usize),
}

/// The replicas of a pool that come and go.
#[derive(Debug)]
pub(super) struct Fleet {
    scaling: Scaling,
    stream: Option<KeyedStream>,
    /// Those that are there or are starting, or would be if there were capacity.
    target: u32,
    /// What the controller asked for last.
    asked: u32,
    /// Starts so far, to key their draws by.
    begun: u64,
    /// By slot: how often it was started, so that the start of one that was taken away is recognized.
    generations: Vec<u32>,
    /// In the order in which they were started or became ready.
    starting: Vec<usize>,
    ready: Vec<usize>,
    leaving: BTreeSet<usize>,
    /// Those that are gone, for the component to empty.
    pub(super) gone: Vec<usize>,
    /// Calls in front, in order, and their places.
    waiting: BTreeMap<u64, CallId>,
    places: BTreeMap<CallId, u64>,
    arrivals: u64,
    /// Calls that may go to a replica and have not yet.
    admitted: BTreeSet<CallId>,
    /// Replicas with room for a call, and the room of all of them.
    roomy: BTreeSet<u32>,
    room: u64,
    /// The last that was picked in turn.
    turn: u32,
    /// Whether new ones cannot be had.
    sold_out: bool,
    /// By slot: whether its zone is lost, so that none can be started there; empty where none is.
    closed: Vec<bool>,
    seen: Seen,
    /// The line of the bill, and how many units of it a replica is.
    bill: Option<(usize, u64)>,
    pub(super) interruptions: Option<Interruptions>,
    /// Ready ones that are known not to be well.
    unwell: BTreeSet<usize>,
    pub(super) versions: Option<Box<Versions>>,
    warm: Option<Warm>,
    tally: Tally,
}

/// What is measured for the controller, since the last time.
#[derive(Debug)]
struct Seen {
    inside: TimeWeighted,
    busy: TimeWeighted,
    ready: TimeWeighted,
    arrived: u64,
    since: SimTime,
}

/// What is measured for the results.
#[derive(Debug)]
struct Tally {
    held: TimeWeighted,
    waiting: TimeWeighted,
    desired_max: u32,
    short: TimeWeighted,
    starts: Vec<Taken>,
}

impl Fleet {
    pub(super) fn new(mut scaling: Scaling, slots: usize) -> Self {
        let level = |level: u32| TimeWeighted::new(SimTime::ZERO, level.into());
        let initial = scaling.initial;
        let warm = scaling.warm_pool.take().map(|pool| Warm::new(pool, initial));
        let versions = scaling.rollouts.take().map(|rollouts| Box::new(Versions::new(*rollouts, slots)));
        Self {
            unwell: BTreeSet::new(),
            versions,
            warm,
            stream: None,
            target: initial,
            asked: initial,
            begun: 0,
            generations: vec![0; slots],
            starting: Vec::new(),
            ready: (0..initial as usize).collect(),
            leaving: BTreeSet::new(),
            gone: Vec::new(),
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            arrivals: 0,
            admitted: BTreeSet::new(),
            roomy: BTreeSet::new(),
            room: 0,
            turn: u32::MAX,
            sold_out: false,
            closed: Vec::new(),
            seen: Seen {
                inside: level(0),
                busy: level(0),
                ready: level(initial),
                arrived: 0,
                since: SimTime::ZERO,
            },
            bill: None,
            interruptions: scaling.spot.clone().map(Interruptions::new),
            tally: Tally {
                held: level(initial),
                waiting: level(0),
                desired_max: initial,
                short: level(0),
                starts: Vec::new(),
            },
            scaling,
        }
    }

    pub(super) fn set_bill(&mut self, item: usize, units: u64) {
        self.bill = Some((item, units));
    }

    pub(super) fn start(&mut self, ctx: &mut Ctx) {
        self.stream = Some(ctx.keyed_stream(Purpose::Jitter));
        if let Some(period) = self.scaling.controller.metrics_period() {
            ctx.schedule(period, Phase::Timer, timer::SAMPLE, 0);
        }
        let wait = self.scaling.controller.wait(SimTime::ZERO);
        // After the measurement of the same instant.
        ctx.schedule(wait, Phase::Sampler, timer::DECIDE, 0);
        if let Some(interruptions) = &mut self.interruptions {
            interruptions.start(ctx);
            self.ready.iter().for_each(|slot| interruptions.live(*slot, 0, ctx));
        }
        self.start_versions(ctx);
        self.note(ctx);
    }

    /// Whether it is measured when it is decided, and at no other time.
    pub(super) fn measures_to_decide(&self) -> bool {
        self.scaling.controller.measures_to_decide()
    }

    /// Takes a measurement.
    pub(super) fn sample(&mut self, kv_usage: f64, per_replica: u64, ctx: &mut Ctx) {
        let now = ctx.now();
        let well = self.well();
        let seen = &mut self.seen;
        let (inside, busy, ready) = (seen.inside.mean(now), seen.busy.mean(now), seen.ready.mean(now));
        let capacity = ready * per_replica as f64;
        let length = now.since(seen.since).as_secs_f64();
        let sample = Sample {
            concurrency: inside,
            queue: (inside - busy).max(0.0),
            arrivals_per_s: if length > 0.0 { seen.arrived as f64 / length } else { 0.0 },
            utilization: if capacity > 0.0 { busy / capacity } else { 0.0 },
            kv_usage,
            ready: well,
        };
        for level in [&mut seen.inside, &mut seen.busy, &mut seen.ready] {
            level.reset(now);
        }
        (seen.arrived, seen.since) = (0, now);
        self.scaling.controller.sample(now, &sample);
        if let Some(period) = self.scaling.controller.metrics_period() {
            ctx.schedule(period, Phase::Timer, timer::SAMPLE, 0);
        }
    }

    /// Lets the controller decide: what is to be done.
    pub(super) fn decide(&mut self, ctx: &mut Ctx) -> Vec<Change> {
        let now = ctx.now();
        let ready = self.well();
        let desired = self.scaling.controller.desired(now, Replicas { ready, target: self.target });
        ctx.schedule(self.scaling.controller.wait(now), Phase::Sampler, timer::DECIDE, 0);
        self.tally.desired_max = self.tally.desired_max.max(desired);
        self.asked = desired;
        if self.versions.is_some() {
            self.target = desired;
            self.poke(ctx);
            return Vec::new();
        }
        let mut changes: Vec<Change> = self.fill(ctx).into_iter().map(Change::Start).collect();
        for _ in desired..self.present() {
            let Some(slot) = self.take_away(|_| true) else { break };
            changes.push(Change::Leave(slot));
        }
        self.target = desired.min(self.present() + self.short());
        self.note(ctx);
        changes
    }

    /// The next to leave of some, which leaves: who is not ready, who is not well, who became ready last.
    fn take_away(&mut self, is_one: impl Fn(usize) -> bool) -> Option<usize> {
        let last = |list: &[usize], unwell: Option<&BTreeSet<usize>>| {
            list.iter().rposition(|slot| is_one(*slot) && unwell.is_none_or(|unwell| unwell.contains(slot)))
        };
        let slot = if let Some(place) = last(&self.starting, None) {
            let slot = self.starting.remove(place);
            self.generations[slot] += 1;
            slot
        } else {
            let place = last(&self.ready, Some(&self.unwell)).or_else(|| last(&self.ready, None))?;
            self.ready.remove(place)
        };
        self.leaving.insert(slot);
        Some(slot)
    }

    /// Ready ones that are not known to be unwell.
    fn well(&self) -> u32 {
        self.ready.iter().filter(|slot| !self.unwell.contains(slot)).count() as u32
    }

    /// These are known not to be well from now on, and no others.
    pub(super) fn set_unwell(&mut self, unwell: BTreeSet<usize>, ctx: &mut Ctx) {
        if unwell != self.unwell {
            self.unwell = unwell;
            self.note(ctx);
            self.poke(ctx);
        }
    }

    /// Those that are there or are starting.
    fn present(&self) -> u32 {
        (self.starting.len() + self.ready.len()) as u32
    }

    /// Those for which there is no capacity.
    fn short(&self) -> u32 {
        self.interruptions.as_ref().map_or(0, Interruptions::short)
    }

    /// Starts as many as are wanted and can be had: their slots.
    pub(super) fn fill(&mut self, ctx: &mut Ctx) -> Vec<usize> {
        if self.versions.is_some() {
            self.poke(ctx);
            return Vec::new();
        }
        let wanted = self.asked.min(self.scaling.most).saturating_sub(self.present() + self.short());
        let free = self.free(wanted.min(self.to_be_had()));
        free.iter().for_each(|slot| self.begin(*slot, ctx));
        free
    }

    /// New ones that can be had.
    fn to_be_had(&self) -> u32 {
        match (self.sold_out, &self.warm) {
            (false, _) => u32::MAX,
            (true, Some(warm)) => warm.held(),
            (true, None) => 0,
        }
    }

    /// The first slots that are free, so many at most.
    fn free(&self, count: u32) -> Vec<usize> {
        if count == 0 {
            return Vec::new();
        }
        let taken = |slot: &usize| {
            self.starting.contains(slot) || self.ready.contains(slot) || self.leaving.contains(slot)
        };
        let closed = |slot: &usize| self.closed.get(*slot).is_some_and(|closed| *closed);
        let free = (0..self.generations.len()).filter(|slot| !taken(slot) && !closed(slot));
        free.take(count as usize).collect()
    }

    /// Whether a slot is ready since it was started so often.
    pub(super) fn is_ready(&self, slot: usize, generation: u32) -> bool {
        self.generations[slot] == generation && self.ready.contains(&slot)
    }

    /// Whether a slot leaves since it was started so often.
    pub(super) fn is_leaving(&self, slot: usize, generation: u32) -> bool {
        self.generations[slot] == generation && self.leaving.contains(&slot)
    }

    /// The first ready slots by number.
    pub(super) fn first_ready(&self, count: usize) -> Vec<usize> {
        let ready: BTreeSet<usize> = self.ready.iter().copied().collect();
        ready.into_iter().take(count).collect()
    }

    /// A ready slot on spot capacity gets notice: it leaves.
    pub(super) fn interrupt(&mut self, slot: usize, ctx: &mut Ctx) {
        self.ready.retain(|ready| *ready != slot);
        self.leaving.insert(slot);
        if let Some(interruptions) = &mut self.interruptions {
            interruptions.notice(slot, self.generations[slot], ctx);
        }
        self.note(ctx);
    }

    /// There is capacity for one more.
    pub(super) fn capacity_is_back(&mut self, ctx: &mut Ctx) {
        if let Some(interruptions) = &mut self.interruptions {
            interruptions.capacity_is_back(ctx.now());
        }
        self.fill(ctx);
        self.note(ctx);
    }

    /// New replicas can be had from now on, or not.
    pub(super) fn set_stock(&mut self, is_there: bool, ctx: &mut Ctx) {
        self.sold_out = !is_there;
        self.catch_up(ctx);
    }

    /// In these slots none can be started.
    pub(super) fn close(&mut self, closed: Vec<bool>, ctx: &mut Ctx) {
        self.closed = closed;
        self.catch_up(ctx);
    }

    /// Starts what could not be had before.
    fn catch_up(&mut self, ctx: &mut Ctx) {
        self.fill(ctx);
        self.target = self.asked.min(self.present() + self.short());
        self.note(ctx);
    }

    fn begin(&mut self, slot: usize, ctx: &mut Ctx) {
        let number = self.begun;
        self.begun += 1;
        let Some(stream) = self.stream else { return };
        let cold_start = self.versions.as_ref().and_then(|versions| versions.cold_start(slot));
        let cold_start = cold_start.unwrap_or(&self.scaling.cold_start);
        let taken = cold_start.draw(&mut stream.draws(number, 3, slot as u32));
        let warm = self.warm.as_mut().and_then(|warm| warm.take(self.sold_out));
        let taken = warm.map_or(taken, |init| Taken { init, ..Taken::default() });
        self.tally.starts.push(taken);
        self.set_out(slot, taken.total(), ctx);
    }

    /// A slot will be ready after so long.
    fn set_out(&mut self, slot: usize, after: SimDuration, ctx: &mut Ctx) {
        self.starting.push(slot);
        let data = slot as u64 | u64::from(self.generations[slot]) << 32;
        ctx.schedule(after, Phase::Timer, timer::READY, data);
    }

    /// A cold start is over: the slot, if it is still wanted.
    pub(super) fn started(&mut self, data: u64, ctx: &mut Ctx) -> Option<usize> {
        let (slot, generation) = ((data & u64::from(u32::MAX)) as usize, (data >> 32) as u32);
        if self.generations[slot] != generation {
            return None;
        }
        let place = self.starting.iter().position(|starting| *starting == slot)?;
        self.starting.remove(place);
        self.generations[slot] += 1;
        self.ready.push(slot);
        if let Some(interruptions) = &self.interruptions {
            interruptions.live(slot, self.generations[slot], ctx);
        }
        self.version_is_ready(slot, ctx);
        self.note(ctx);
        Some(slot)
    }

    /// A slot that was to leave is empty. False where it was not to leave.
    pub(super) fn left(&mut self, slot: usize, ctx: &mut Ctx) -> bool {
        if !self.leaving.remove(&slot) {
            return false;
        }
        self.gone.push(slot);
        let serving = self.present();
        if let Some(warm) = &mut self.warm {
            warm.comes_back(serving);
        }
        self.note(ctx);
        self.poke(ctx);
        true
    }

    /// Takes note of how many there are.
    fn note(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let held = (self.starting.len() + self.ready.len() + self.leaving.len()) as u64;
        self.seen.ready.set(now, self.well().into());
        self.tally.held.set(now, held);
        let beside = self.refill(ctx);
        let present = (self.starting.len() + self.ready.len()) as u64;
        self.tally.short.set(now, u64::from(self.asked).saturating_sub(present));
        if let Some((item, units)) = self.bill {
            ctx.cost().hold(item, now, (held + beside) * units);
        }
    }

    /// Calls in service change.
    pub(super) fn note_busy(&mut self, change: i64, now: SimTime) {
        self.seen.busy.add(now, change);
    }
}
