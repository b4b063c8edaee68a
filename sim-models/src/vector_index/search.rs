//! Shards and their threads at work.
//!
//! Every query reaches every shard, and each shard serves first come, first served: so a query's end on
//! each is known when it arrives (the recursion of Kiefer and Wolfowitz, 1955), and a query is one event
//! however many shards there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use sim_core::distribution::Dist;
use sim_core::event::{EventHandle, Phase};
use sim_core::time::{SimDuration, SimTime};

use crate::call::{CallId, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;

#[derive(Debug)]
pub(super) struct Searchers {
    law: Dist,
    merge: SimDuration,
    threads: u32,
    queue_cap: Option<u32>,
    /// When each thread of each shard is free again.
    shards: Vec<BinaryHeap<Reverse<SimTime>>>,
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
        let mut searchers = Self {
            law,
            merge,
            threads,
            queue_cap,
            shards: vec![BinaryHeap::new(); shards as usize],
            queries: BTreeMap::new(),
            slow: 1.0,
            is_down: false,
        };
        searchers.free_all(SimTime::ZERO);
        searchers
    }

    fn free_all(&mut self, now: SimTime) {
        for shard in &mut self.shards {
            shard.clear();
            shard.extend((0..self.threads).map(|_| Reverse(now)));
        }
    }

    /// In all: those beyond the threads wait.
    fn waiting(&self) -> u64 {
        (self.queries.len() as u64).saturating_sub(u64::from(self.threads))
    }

    fn busy(&self) -> u64 {
        (self.queries.len() as u64).min(u64::from(self.threads))
    }

    fn measure(&self, ctx: &mut Ctx) {
        let now = ctx.now();
        ctx.meter().queue.set(now, self.waiting());
        ctx.meter().busy.set(now, self.busy());
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
            let Some(Reverse(free)) = shard.pop() else { continue };
            let begins = free.max(now);
            let ends = begins.checked_add(SimDuration::from_nanos(time as u64)).unwrap_or(SimTime::MAX);
            shard.push(Reverse(ends));
            if ends >= answered {
                (answered, last_wait) = (ends, begins.since(now));
            }
        }
        let delay = answered.since(now).saturating_add(self.merge);
        let end = ctx.schedule(delay, Phase::StepEnd, 0, call.to_bits());
        self.queries.insert(call, end);
        ctx.meter().wait.record(last_wait.as_nanos());
        self.measure(ctx);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
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
            self.free_all(now);
            self.measure(ctx);
            ctx.meter().capacity.set(now, 0);
        } else if let Fault::Repair { .. } = fault {
            self.is_down = false;
            ctx.meter().capacity.set(now, u64::from(self.threads));
        } else if let Fault::Slow { factor } = fault {
            self.slow = *factor;
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals {
            queue: self.waiting(),
            busy: self.busy(),
            capacity: if self.is_down { 0 } else { u64::from(self.threads) },
            ..Signals::default()
        }
    }
}
