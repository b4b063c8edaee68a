//! Replicas that come and go: an autoscaler says how many there are to be, new ones take their cold start, those
//! that leave work off what they have, and calls for which there is no replica wait in front.
//!
//! With a bound on the calls of one replica (Knative's `containerConcurrency`, Ray Serve's
//! `max_ongoing_requests`) calls wait in front until one has room, as in Knative's activator, and go to replicas
//! in turn.
//!
//! Those that leave first are those that are not ready, and then those that became ready last (the order of
//! Kubernetes' ReplicaSet controller). A replica is paid for from the moment it is asked for until it is gone.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::event::Phase;
use sim_core::random::{KeyedStream, Purpose};
use sim_core::stats::TimeWeighted;
use sim_core::time::{SimDuration, SimTime};

use super::interruptions::Interruptions;
use super::timer;
use crate::autoscaler::{Controller, Replicas, Sample, Stages, Taken};
use crate::call::CallId;
use crate::context::Ctx;
use crate::measure::Measure;
use crate::spot::Spot;

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
    pub(super) fn new(scaling: Scaling, slots: usize) -> Self {
        let level = |level: u32| TimeWeighted::new(SimTime::ZERO, level.into());
        let initial = scaling.initial;
        Self {
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
    }

    /// Takes a measurement.
    pub(super) fn sample(&mut self, kv_usage: f64, per_replica: u64, ctx: &mut Ctx) {
        let now = ctx.now();
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
            ready: self.ready.len() as u32,
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
        let ready = self.ready.len() as u32;
        let desired = self.scaling.controller.desired(now, Replicas { ready, target: self.target });
        ctx.schedule(self.scaling.controller.wait(now), Phase::Sampler, timer::DECIDE, 0);
        self.tally.desired_max = self.tally.desired_max.max(desired);
        self.asked = desired;
        let mut changes: Vec<Change> = self.fill(ctx).into_iter().map(Change::Start).collect();
        let present = self.present();
        for _ in desired..present {
            let slot = match self.starting.pop() {
                Some(slot) => {
                    self.generations[slot] += 1;
                    slot
                }
                None => {
                    let Some(slot) = self.ready.pop() else { break };
                    slot
                }
            };
            self.leaving.insert(slot);
            changes.push(Change::Leave(slot));
        }
        self.target = desired.min(self.present() + self.short());
        self.note(ctx);
        changes
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
        let wanted = self.asked.min(self.scaling.most).saturating_sub(self.present() + self.short());
        if wanted == 0 || self.sold_out {
            return Vec::new();
        }
        let taken = |slot: &usize| {
            self.starting.contains(slot) || self.ready.contains(slot) || self.leaving.contains(slot)
        };
        let closed = |slot: &usize| self.closed.get(*slot).is_some_and(|closed| *closed);
        let free = (0..self.generations.len()).filter(|slot| !taken(slot) && !closed(slot));
        let free: Vec<usize> = free.take(wanted as usize).collect();
        free.iter().for_each(|slot| self.begin(*slot, ctx));
        free
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
        let taken = self.scaling.cold_start.draw(&mut stream.draws(number, 3, slot as u32));
        self.tally.starts.push(taken);
        self.starting.push(slot);
        let data = slot as u64 | u64::from(self.generations[slot]) << 32;
        ctx.schedule(taken.total(), Phase::Timer, timer::READY, data);
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
        self.note(ctx);
        Some(slot)
    }

    /// A slot that was to leave is empty. False where it was not to leave.
    pub(super) fn left(&mut self, slot: usize, ctx: &mut Ctx) -> bool {
        if !self.leaving.remove(&slot) {
            return false;
        }
        self.gone.push(slot);
        self.note(ctx);
        true
    }

    /// Takes note of how many there are.
    fn note(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let held = (self.starting.len() + self.ready.len() + self.leaving.len()) as u64;
        self.seen.ready.set(now, self.ready.len() as u64);
        self.tally.held.set(now, held);
        let present = (self.starting.len() + self.ready.len()) as u64;
        self.tally.short.set(now, u64::from(self.asked).saturating_sub(present));
        if let Some((item, units)) = self.bill {
            ctx.cost().hold(item, now, held * units);
        }
    }

    /// The replicas that may be picked are others, or the calls in one of them.
    pub(super) fn set_room(&mut self, candidates: &[u32], active: &[u32]) {
        let Some(most) = self.scaling.most_calls else { return };
        let rooms = candidates.iter().map(|slot| (*slot, most.saturating_sub(active[*slot as usize])));
        self.roomy = rooms.clone().filter(|(_, room)| *room > 0).map(|(slot, _)| slot).collect();
        self.room = rooms.map(|(_, room)| u64::from(room)).sum();
    }

    /// A call has come to a replica or has left it.
    fn note_room(&mut self, replica: usize, active: u32, candidates: &[u32], change: i64) {
        let Some(most) = self.scaling.most_calls else { return };
        let replica = replica as u32;
        if candidates.binary_search(&replica).is_err() {
            return;
        }
        self.room = self.room.saturating_add_signed(change);
        if active < most {
            self.roomy.insert(replica);
        } else {
            self.roomy.remove(&replica);
        }
    }

    /// Whether a call can go to a replica now; otherwise it waits in front.
    pub(super) fn admits(&mut self, call: CallId, candidates: &[u32], ctx: &mut Ctx) -> bool {
        if self.admitted.remove(&call) {
            return true;
        }
        let now = ctx.now();
        self.seen.arrived += 1;
        self.seen.inside.add(now, 1);
        let can_go = match self.scaling.most_calls {
            Some(_) => self.room > self.admitted.len() as u64,
            None => !candidates.is_empty(),
        };
        if can_go && self.waiting.is_empty() {
            return true;
        }
        self.waiting.insert(self.arrivals, call);
        self.places.insert(call, self.arrivals);
        self.arrivals += 1;
        self.tally.waiting.add(now, 1);
        ctx.meter().queue.add(now, 1);
        false
    }

    /// Lets those in front go, as far as there is room.
    pub(super) fn release(&mut self, candidates: &[u32], ctx: &mut Ctx) {
        let now = ctx.now();
        while let Some((number, call)) = self.waiting.first_key_value().map(|(number, call)| (*number, *call))
        {
            let can_go = match self.scaling.most_calls {
                Some(_) => self.room > self.admitted.len() as u64,
                None => !candidates.is_empty(),
            };
            if !can_go {
                return;
            }
            self.waiting.remove(&number);
            self.places.remove(&call);
            self.admitted.insert(call);
            self.tally.waiting.add(now, -1);
            ctx.meter().queue.add(now, -1);
            ctx.schedule(SimDuration::ZERO, Phase::Arrival, timer::ADMIT, call.to_bits());
        }
    }

    /// Whether a call that may go still wants to.
    pub(super) fn is_admitted(&self, call: CallId) -> bool {
        self.admitted.contains(&call)
    }

    /// A caller gave up: true where its call was in front still.
    pub(super) fn cancel(&mut self, call: CallId, ctx: &mut Ctx) -> bool {
        let now = ctx.now();
        if let Some(number) = self.places.remove(&call) {
            self.waiting.remove(&number);
            self.tally.waiting.add(now, -1);
            ctx.meter().queue.add(now, -1);
        } else if !self.admitted.remove(&call) {
            return false;
        }
        self.seen.inside.add(now, -1);
        true
    }

    /// The next replica in turn that has room; none without a bound on its calls.
    pub(super) fn in_turn(&mut self) -> Option<u32> {
        self.scaling.most_calls?;
        let next = self.roomy.range(self.turn.wrapping_add(1)..).next().or(self.roomy.first());
        let next = *next?;
        self.turn = next;
        Some(next)
    }

    /// Whether a replica's calls are bounded: then it is picked in turn.
    pub(super) fn is_bounded(&self) -> bool {
        self.scaling.most_calls.is_some()
    }

    /// A call went to a replica, which has so many now.
    pub(super) fn entered(&mut self, replica: usize, active: u32, candidates: &[u32]) {
        self.note_room(replica, active, candidates, -1);
    }

    /// A call left a replica, which has so many now.
    pub(super) fn exited(&mut self, replica: usize, active: u32, candidates: &[u32], ctx: &mut Ctx) {
        self.note_room(replica, active, candidates, 1);
        self.seen.inside.add(ctx.now(), -1);
        if active == 0 {
            self.left(replica, ctx);
        }
        self.release(candidates, ctx);
    }

    /// Calls in service change.
    pub(super) fn note_busy(&mut self, change: i64, now: SimTime) {
        self.seen.busy.add(now, change);
    }

    /// Calls that wait in front.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Those that are there or that start or leave, on average.
    pub(super) fn held_mean(&self, now: SimTime) -> f64 {
        self.tally.held.mean(now)
    }

    pub(super) fn reset_measurements(&mut self, now: SimTime) {
        let tally = &mut self.tally;
        tally.held.reset(now);
        tally.short.reset(now);
        tally.waiting.reset(now);
        tally.desired_max = self.target;
        tally.starts.clear();
        if let Some(interruptions) = &mut self.interruptions {
            interruptions.reset_measurements(now);
        }
    }

    pub(super) fn measures(&self, now: SimTime) -> Vec<Measure> {
        let tally = &self.tally;
        let stage = |name, stage: fn(&Taken) -> SimDuration, meaning| {
            let sum: f64 = tally.starts.iter().map(|taken| stage(taken).as_secs_f64()).sum();
            let count = tally.starts.len();
            Measure::known(name, (count > 0).then(|| sum / count as f64), meaning)
        };
        let mut list = vec![
            Measure::new(
                "replicas_mean",
                tally.held.mean(now),
                "Replicas there are or that start or leave, on average",
            ),
            Measure::count("replicas_max", tally.held.max(), "The most of them"),
            Measure::count("desired_max", tally.desired_max.into(), "The most that the autoscaler asked for"),
            Measure::new(
                "replicas_short_mean",
                tally.short.mean(now),
                "Replicas that the autoscaler asked for and could not have, on average",
            ),
            Measure::count("cold_starts", tally.starts.len() as u64, "Replicas that were started"),
            stage("cold_start_node_s", |t| t.node, "Mean time of a cold start for a node"),
            stage("cold_start_image_s", |t| t.image, "Mean time of a cold start for the image"),
            stage("cold_start_weights_s", |t| t.weights, "Mean time of a cold start for the weights"),
            stage("cold_start_init_s", |t| t.init, "Mean time of a cold start for the program to be ready"),
            Measure::new(
                "front_queue_mean",
                tally.waiting.mean(now),
                "Calls waiting for a replica, on average",
            ),
            Measure::count("front_queue_max", tally.waiting.max(), "The most of them"),
        ];
        list.extend(self.interruptions.iter().flat_map(|interruptions| interruptions.measures(now)));
        list
    }
}
