//! Shards and their threads at work.
//!
//! Every query reaches every shard, and each shard serves first come, first served: so a query's end on
//! each is known when it arrives (the recursion of Kiefer and Wolfowitz, 1955). Its answer is one event, and so is
//! the end of each spell in which a thread has work.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use sim_core::distribution::Dist;
use sim_core::event::{EventHandle, Phase};
use sim_core::time::{SimDuration, SimTime};

use crate::call::{CallId, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;

/// A query is answered.
const ANSWERED: u16 = 0;
/// A thread has no more work.
const IDLE: u16 = 1;

/// The threads of a shard.
#[derive(Debug)]
struct Shard {
    /// When each thread is free again.
    free: BinaryHeap<Reverse<(SimTime, u32)>>,
    /// The end of each thread's work.
    idle: Vec<Option<EventHandle>>,
}

#[derive(Debug)]
pub(super) struct Searchers {
    law: Dist,
    merge: SimDuration,
    threads: u32,
    queue_cap: Option<u32>,
    shards: Vec<Shard>,
    /// Threads at work, of all shards.
    busy: u64,
    /// Queries that are not answered, with their ends.
    queries: BTreeMap<CallId, EventHandle>,
    slow: f64,
    is_down: bool,
}

impl Searchers {
    pub(super) fn new(
        law: Dist,
        merge: SimDuration,
        shards: u32,
        threads: u32,
        queue_cap: Option<u32>,
    ) -> Self {
        let shard = || Shard {
            free: (0..threads).map(|thread| Reverse((SimTime::ZERO, thread))).collect(),
            idle: vec![None; threads as usize],
        };
        Self {
            law,
            merge,
            threads,
            queue_cap,
            shards: (0..shards).map(|_| shard()).collect(),
            busy: 0,
            queries: BTreeMap::new(),
            slow: 1.0,
            is_down: false,
        }
    }

    fn free_all(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        for shard in &mut self.shards {
            shard.free = (0..self.threads).map(|thread| Reverse((now, thread))).collect();
            for idle in &mut shard.idle {
                idle.take().map(|idle| ctx.cancel_timer(idle));
            }
        }
        self.busy = 0;
    }

    /// Threads in all.
    fn capacity(&self) -> u64 {
        if self.is_down { 0 } else { self.shards.len() as u64 * u64::from(self.threads) }
    }

    /// In all: those beyond the threads wait.
    fn waiting(&self) -> u64 {
        (self.queries.len() as u64).saturating_sub(u64::from(self.threads))
    }

    fn measure(&self, ctx: &mut Ctx) {
        let now = ctx.now();
        ctx.meter().queue.set(now, self.waiting());
        ctx.meter().busy.set(now, self.busy);
    }
}

impl Component for Searchers {
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.is_down {
            return ctx.reply(call, Reply::FAILED);
        }
        let is_full = self.queries.len() as u64 >= u64::from(self.threads);
        if is_full && self.queue_cap.is_some_and(|cap| self.waiting() >= u64::from(cap)) {
            return ctx.reply(call, Reply::REJECTED);
        }
        let now = ctx.now();
        let mut draws = ctx.draws(call);
        let (mut answered, mut last_wait) = (now, SimDuration::ZERO);
        for shard in &mut self.shards {
            let time = self.law.sample_duration(&mut draws).as_nanos() as f64 * self.slow;
            let Some(Reverse((free, thread))) = shard.free.pop() else { continue };
            let begins = free.max(now);
            let ends = begins.checked_add(SimDuration::from_nanos(time as u64)).unwrap_or(SimTime::MAX);
            shard.free.push(Reverse((ends, thread)));
            let idle = &mut shard.idle[thread as usize];
            // With work ahead of it the thread goes on.
            let goes_on = idle.is_some_and(|idle| ctx.cancel_timer(idle));
            self.busy += u64::from(!goes_on);
            *idle = Some(ctx.schedule_at(ends, Phase::StepEnd, IDLE, 0));
            if ends >= answered {
                (answered, last_wait) = (ends, begins.since(now));
            }
        }
        let delay = answered.since(now).saturating_add(self.merge);
        let end = ctx.schedule(delay, Phase::StepEnd, ANSWERED, call.to_bits());
        self.queries.insert(call, end);
        ctx.meter().wait.record(last_wait.as_nanos());
        self.measure(ctx);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        if timer.kind == IDLE {
            self.busy -= 1;
            return self.measure(ctx);
        }
        let call = CallId::from_bits(timer.data);
        if self.queries.remove(&call).is_some() {
            ctx.reply(call, Reply::OK);
            self.measure(ctx);
        }
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        let now = ctx.now();
        if let Fault::Crash { .. } = fault {
            self.is_down = true;
            for (call, end) in std::mem::take(&mut self.queries) {
                ctx.cancel_timer(end);
                ctx.reply(call, Reply::FAILED);
            }
            self.free_all(ctx);
            self.measure(ctx);
            ctx.meter().capacity.set(now, self.capacity());
        } else if let Fault::Repair { .. } = fault {
            self.is_down = false;
            ctx.meter().capacity.set(now, self.capacity());
        } else if let Fault::Slow { factor } = fault {
            self.slow = *factor;
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals { queue: self.waiting(), busy: self.busy, capacity: self.capacity(), ..Signals::default() }
    }
}
