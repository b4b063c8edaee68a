//! The broker and its consumers at work.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::distribution::Dist;
use sim_core::event::{EventHandle, Phase};
use sim_core::random::stable_hash;
use sim_core::scheduler::TimerLane;
use sim_core::stats::{Histogram, TimeWeighted};
use sim_core::time::{SimDuration, SimTime};

use super::Overflow;
use crate::call::{CallId, Reply};
use crate::component::{Component, ComponentId, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::measure::Measure;
use crate::request::RequestId;
use crate::slab::{Key, Slab};

/// A message has been stored.
const STORED: u16 = 0;
/// A visibility timeout is over.
const VISIBLE: u16 = 1;

#[derive(Debug)]
pub(super) struct Setup {
    pub(super) target: ComponentId,
    pub(super) consumers: u32,
    /// Messages that each works on at once.
    pub(super) concurrency: u32,
    pub(super) store_time: Dist,
    pub(super) visibility_timeout: SimDuration,
    pub(super) max_receives: u32,
    pub(super) retention: SimDuration,
    pub(super) max_length: usize,
    pub(super) overflow: Overflow,
    /// None: no order.
    pub(super) partitions: Option<u32>,
}

/// A message that is stored.
#[derive(Debug)]
struct Message {
    request: RequestId,
    /// The hop of the call that brought it, for keyed draws.
    hop: u32,
    number: u64,
    partition: u32,
    stored_at: SimTime,
    receives: u32,
    /// While it is invisible, the end of its timeout.
    timeout: Option<EventHandle>,
}

/// Messages that are visible, oldest first.
#[derive(Debug, Default)]
struct Partition {
    visible: BTreeMap<u64, Key>,
    /// One of an ordered partition is being worked on.
    blocked: bool,
}

/// What was counted in the measured part of the run.
#[derive(Debug, Default)]
struct Counts {
    stored: u64,
    processed: u64,
    redelivered: u64,
    duplicates: u64,
    dead_lettered: u64,
    dropped: u64,
    lag: Histogram,
}

#[derive(Debug)]
pub(super) struct Broker {
    setup: Setup,
    messages: Slab<Message>,
    /// All messages by number.
    stored: BTreeMap<u64, Key>,
    partitions: Vec<Partition>,
    /// The oldest visible message of every partition that has one and is not blocked.
    ready: BTreeSet<(u64, u32)>,
    /// Calls for messages.
    under_way: BTreeMap<CallId, Key>,
    /// Consumers that are up.
    up: u32,
    lane: Option<TimerLane>,
    arrivals: u64,
    visible: u64,
    counts: Counts,
    depth: TimeWeighted,
    /// When the oldest message was stored, and since when it is the oldest.
    oldest: Option<SimTime>,
    oldest_since: SimTime,
    /// Twice the integral of the age of the oldest, in ns squared.
    age: u128,
    measured_from: SimTime,
}

impl Broker {
    pub(super) fn new(setup: Setup) -> Self {
        let partitions = setup.partitions.unwrap_or(1);
        Self {
            messages: Slab::default(),
            stored: BTreeMap::new(),
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            ready: BTreeSet::new(),
            under_way: BTreeMap::new(),
            up: setup.consumers,
            lane: None,
            arrivals: 0,
            visible: 0,
            counts: Counts::default(),
            depth: TimeWeighted::new(SimTime::ZERO, 0),
            oldest: None,
            oldest_since: SimTime::ZERO,
            age: 0,
            measured_from: SimTime::ZERO,
            setup,
        }
    }

    fn slots(&self) -> u64 {
        u64::from(self.up) * u64::from(self.setup.concurrency)
    }

    /// Twice the integral of the age of the oldest until now.
    fn age_until(&self, now: SimTime) -> u128 {
        let Some(oldest) = self.oldest else { return self.age };
        let square = |age: SimDuration| u128::from(age.as_nanos()) * u128::from(age.as_nanos());
        self.age + square(now.since(oldest)) - square(self.oldest_since.since(oldest))
    }

    /// Takes note of the levels after something has changed.
    fn note(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let oldest = self.stored.first_key_value().and_then(|(_, key)| self.messages.get(*key));
        let oldest = oldest.map(|message| message.stored_at);
        if oldest != self.oldest {
            self.age = self.age_until(now);
            (self.oldest, self.oldest_since) = (oldest, now);
        }
        self.depth.set(now, self.stored.len() as u64);
        let (waiting, busy) = (self.visible + ctx.waiting_in_front(), self.under_way.len() as u64);
        let meter = ctx.meter();
        meter.queue.set(now, waiting);
        meter.busy.set(now, busy);
    }

    /// Stores the message of a call, or refuses it.
    fn store(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.stored.len() >= self.setup.max_length && !self.make_room(ctx) {
            return ctx.reply(call, Reply::REJECTED);
        }
        let request = ctx.request(call);
        let user = if request.entity == 0 { request.key } else { request.entity };
        let partition = (stable_hash(&user.to_le_bytes()) % self.partitions.len() as u64) as u32;
        let (hop, number) = (ctx.call(call).hop, self.arrivals);
        self.arrivals += 1;
        self.counts.stored += 1;
        let message = Message {
            request: ctx.keep(call),
            hop,
            number,
            partition,
            stored_at: ctx.now(),
            receives: 0,
            timeout: None,
        };
        let key = self.messages.insert(message);
        self.stored.insert(number, key);
        self.show(key);
        ctx.reply(call, Reply::OK);
    }

    /// Drops the oldest message that is visible; false if there is none.
    fn make_room(&mut self, ctx: &mut Ctx) -> bool {
        if self.setup.overflow == Overflow::RejectPublish {
            return false;
        }
        let oldest = self.partitions.iter().filter_map(|partition| partition.visible.first_key_value());
        let Some((_, key)) = oldest.min().map(|(number, key)| (*number, *key)) else { return false };
        self.counts.dropped += 1;
        self.delete(key, ctx);
        true
    }

    /// The partition's entry among those that are ready, after its first message or its state has changed.
    fn update_ready(&mut self, partition: u32, before: Option<u64>) {
        if let Some(number) = before {
            self.ready.remove(&(number, partition));
        }
        if let Some(number) = self.first_ready(partition) {
            self.ready.insert((number, partition));
        }
    }

    fn first_ready(&self, partition: u32) -> Option<u64> {
        let Partition { visible, blocked } = &self.partitions[partition as usize];
        visible.first_key_value().filter(|_| !blocked).map(|(number, _)| *number)
    }

    /// A message becomes visible.
    fn show(&mut self, key: Key) {
        let Some(&Message { number, partition, receives, .. }) = self.messages.get(key) else { return };
        let before = self.first_ready(partition);
        let state = &mut self.partitions[partition as usize];
        state.visible.insert(number, key);
        if receives > 0 {
            // It is the one that was worked on.
            state.blocked = false;
        }
        self.visible += 1;
        self.update_ready(partition, before);
    }

    /// A message is no longer visible.
    fn hide(&mut self, number: u64, partition: u32, blocks: bool) {
        let before = self.first_ready(partition);
        let state = &mut self.partitions[partition as usize];
        if state.visible.remove(&number).is_some() {
            self.visible -= 1;
        }
        state.blocked |= blocks;
        self.update_ready(partition, before);
    }

    /// A message is gone for good.
    fn delete(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(message) = self.messages.remove(key) else { return };
        if let Some(timeout) = message.timeout {
            ctx.cancel_timer(timeout);
            // It was invisible, and its partition waited for it.
            let before = self.first_ready(message.partition);
            self.partitions[message.partition as usize].blocked = false;
            self.update_ready(message.partition, before);
        }
        self.hide(message.number, message.partition, false);
        self.stored.remove(&message.number);
        ctx.release(message.request);
    }

    /// Gives free consumers what is visible.
    fn dispatch(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        while (self.under_way.len() as u64) < self.slots()
            && let Some((number, partition)) = self.ready.first().copied()
        {
            let Some(key) = self.stored.get(&number).copied() else { break };
            let Some(message) = self.messages.get_mut(key) else { break };
            let age = now.since(message.stored_at);
            if age > self.setup.retention {
                self.counts.dropped += 1;
                self.delete(key, ctx);
                continue;
            }
            message.receives += 1;
            if message.receives == 1 {
                ctx.meter().wait.record(age.as_nanos());
            } else {
                self.counts.redelivered += 1;
            }
            let lane = self.lane.expect("made at the start");
            message.timeout = Some(ctx.arm(lane, VISIBLE, key.to_bits()));
            let (request, hop, receives) = (message.request, message.hop, message.receives);
            self.hide(number, partition, self.setup.partitions.is_some());
            let child = ctx.send_background(request, hop, self.setup.target, receives);
            self.under_way.insert(child, key);
        }
        self.note(ctx);
    }
}

impl Component for Broker {
    fn start(&mut self, ctx: &mut Ctx) {
        self.lane = Some(ctx.timer_lane(self.setup.visibility_timeout, Phase::Timer));
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        let delay = self.setup.store_time.sample_duration(&mut ctx.draws(call));
        if !delay.is_zero() {
            ctx.schedule(delay, Phase::StepEnd, STORED, call.to_bits());
            return;
        }
        self.store(call, ctx);
        self.dispatch(ctx);
    }

    fn on_reply(&mut self, child: CallId, reply: Reply, ctx: &mut Ctx) {
        let Some(key) = self.under_way.remove(&child) else { return };
        if reply.outcome.is_answer() {
            match self.messages.get(key) {
                Some(message) => {
                    let lag = ctx.now().since(message.stored_at);
                    self.counts.processed += 1;
                    self.counts.lag.record(lag.as_nanos());
                    self.delete(key, ctx);
                }
                None => self.counts.duplicates += 1,
            }
        }
        self.dispatch(ctx);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let key = Key::from_bits(timer.data);
        if timer.kind == STORED {
            self.store(key, ctx);
        } else if let Some(message) = self.messages.get_mut(key) {
            if message.receives >= self.setup.max_receives {
                self.counts.dead_lettered += 1;
                self.delete(key, ctx);
            } else {
                message.timeout = None;
                self.show(key);
            }
        }
        self.dispatch(ctx);
    }

    /// A crash takes consumers with what they are working on; their messages become visible again in time.
    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        match *fault {
            Fault::Crash { replicas } => self.up = self.up.saturating_sub(replicas),
            Fault::Repair { replicas } => {
                self.up = self.up.saturating_add(replicas).min(self.setup.consumers);
            }
            _ => return,
        }
        while self.under_way.len() as u64 > self.slots()
            && let Some((child, _)) = self.under_way.pop_last()
        {
            ctx.cancel(child);
        }
        let (now, slots) = (ctx.now(), self.slots());
        ctx.meter().capacity.set(now, slots);
        self.dispatch(ctx);
    }

    fn observe(&self, _now: SimTime) -> Signals {
        let busy = self.under_way.len() as u64;
        Signals { queue: self.visible, busy, capacity: self.slots(), ..Signals::default() }
    }

    fn measures(&self, now: SimTime) -> Vec<Measure> {
        let Counts { stored, processed, redelivered, duplicates, dead_lettered, dropped, lag } = &self.counts;
        let seconds = |nanos: Option<u64>| nanos.map(|nanos| nanos as f64 * 1e-9);
        let measured = now.since(self.measured_from).as_nanos() as f64;
        let age = self.age_until(now) as f64 / 2.0 / measured * 1e-9;
        let oldest = self.oldest.map(|oldest| now.since(oldest).as_secs_f64());
        vec![
            Measure::count("messages_stored", *stored, "messages stored"),
            Measure::count("messages_processed", *processed, "messages that were answered for and deleted"),
            Measure::count("messages_redelivered", *redelivered, "receives of a message after its first"),
            Measure::count("messages_duplicate", *duplicates, "answers for messages that were gone by then"),
            Measure::count(
                "messages_dead_lettered",
                *dead_lettered,
                "messages given up after their receives",
            ),
            Measure::count("messages_dropped", *dropped, "messages dropped by age or for want of room"),
            Measure::known(
                "lag_mean_s",
                lag.mean().map(|mean| mean * 1e-9),
                "mean time from stored to processed",
            ),
            Measure::known("lag_p99_s", seconds(lag.quantile(0.99)), "99th percentile of it"),
            Measure::new("depth_mean", self.depth.mean(now), "mean number of messages stored"),
            Measure::count("depth_end", self.stored.len() as u64, "messages stored at the end"),
            Measure::new("oldest_age_mean_s", age, "mean age of the oldest message over time, 0 without one"),
            Measure::new("oldest_age_end_s", oldest.unwrap_or(0.0), "age of the oldest message at the end"),
        ]
    }

    fn reset_measurements(&mut self, now: SimTime) {
        self.counts = Counts::default();
        self.depth.reset(now);
        (self.age, self.oldest_since, self.measured_from) = (0, now, now);
    }
}
