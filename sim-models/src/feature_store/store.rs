//! The store at work: connections, the lines for them, and the time of a read.

use std::collections::VecDeque;

use sim_core::distribution::{Dist, Distribution};
use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedDraws, stable_hash};
use sim_core::time::{SimDuration, SimTime};

use super::ReadMode;
use super::cache::Cache;
use super::storage::Storage;
use super::values::{FeatureStoreReport, Horizon, Lost, Values};
use crate::call::{CallId, Reply};
use crate::component::{Component, DataReport, Fault, Load, Signals, Timer};
use crate::context::Ctx;
use crate::measure::Measure;
use crate::request::Outcome;
use crate::slab::{Key, Slab};

/// Writes never count for more of the store's time than this (assumption).
const LARGEST_WRITE_SHARE: f64 = 0.95;

/// The only timer: a read is done; its data is the read's key.
const DONE: u16 = 0;

/// What makes up the time of a read, in seconds.
#[derive(Debug)]
pub(super) struct Timing {
    pub features: u32,
    /// Those of them that pipelines write; they lie in the first views.
    pub batch: u32,
    /// Features that one lookup reads.
    pub view: u32,
    pub mode: ReadMode,
    pub lookup: Dist,
    pub per_feature: f64,
    pub base: f64,
    pub timeout: Option<f64>,
    /// Of features on demand.
    pub compute: Option<Dist>,
}

impl Timing {
    /// Seconds that a read takes, and the features whose lookup timed out, at `slow` times the time of
    /// everything and `stretch` times the time of lookups.
    fn read(&self, slow: f64, stretch: f64, draws: &mut KeyedDraws) -> (f64, Lost) {
        let mut lost = Lost::default();
        // A lookup of the features up to number `end`.
        let mut lookup = |begin: u32, end: u32, extra: f64| {
            let time = (self.lookup.sample(draws).max(0.0) + extra) * stretch * slow;
            match self.timeout {
                Some(timeout) if time > timeout => {
                    let batch = end.min(self.batch).saturating_sub(begin);
                    lost.batch += batch;
                    lost.streamed += end - begin - batch;
                    timeout
                }
                _ => time,
            }
        };
        let views = (0..self.features).step_by(self.view as usize);
        let views = views.map(|begin| (begin, self.features.min(begin.saturating_add(self.view))));
        let lookups = match self.mode {
            ReadMode::Sequential => views.map(|(begin, end)| lookup(begin, end, 0.0)).sum(),
            ReadMode::Parallel => views.map(|(begin, end)| lookup(begin, end, 0.0)).fold(0.0, f64::max),
            ReadMode::MultiGet => lookup(0, self.features, f64::from(self.features) * self.per_feature),
        };
        (self.base * slow + lookups + self.compute(draws) * slow, lost)
    }

    fn compute(&self, draws: &mut KeyedDraws) -> f64 {
        self.compute.as_ref().map_or(0.0, |law| law.sample(draws).max(0.0))
    }
}

/// A read from its arrival to its reply.
#[derive(Debug)]
struct Read {
    call: CallId,
    /// The shard it goes to; the local cache answers others.
    shard: Option<usize>,
    /// The end of the read once it has begun.
    end: Option<EventHandle>,
    degraded: bool,
    /// What the local cache may keep of it.
    kept: Option<Horizon>,
}

/// One shard: its connections and who waits for one.
#[derive(Debug, Default)]
struct Shard {
    /// Who waits, and some who gave up since.
    line: VecDeque<Key>,
    waiting: u32,
    busy: u32,
}

#[derive(Debug)]
pub(super) struct Store {
    timing: Timing,
    values: Values,
    cache: Option<Cache>,
    storage: Option<Storage>,
    /// Of each shard.
    connections: Option<u32>,
    /// Of each shard.
    queue_cap: Option<u32>,
    shards: Vec<Shard>,
    reads: Slab<Read>,
    slow: f64,
    /// How many times as long lookups take because of background writes.
    stretch: f64,
    is_down: bool,
    report: FeatureStoreReport,
}

impl Store {
    pub(super) fn new(
        timing: Timing,
        values: Values,
        cache: Option<Cache>,
        storage: Option<Storage>,
        connections: Option<u32>,
        shards: u32,
        queue_cap: Option<u32>,
    ) -> Self {
        let shards: Vec<Shard> = (0..shards).map(|_| Shard::default()).collect();
        let mut store = Self {
            timing,
            values,
            cache,
            storage,
            connections,
            queue_cap,
            shards,
            reads: Slab::default(),
            slow: 1.0,
            stretch: 1.0,
            is_down: false,
            report: FeatureStoreReport::default(),
        };
        store.clear_report();
        store
    }

    fn clear_report(&mut self) {
        self.report = FeatureStoreReport {
            shard_reads: vec![0; self.shards.len()],
            memory_needed: self.storage.map(|storage| storage.needed),
            memory: self.storage.and_then(|storage| storage.memory),
            ..FeatureStoreReport::default()
        };
    }

    fn capacity(&self) -> u64 {
        self.connections.map_or(0, |connections| u64::from(connections) * self.shards.len() as u64)
    }

    fn has_connection(&self, shard: usize) -> bool {
        self.connections.is_none_or(|connections| self.shards[shard].busy < connections)
    }

    fn shard_of(&self, entity: u64) -> usize {
        match self.shards.len() {
            1 => 0,
            shards => (stable_hash(&entity.to_le_bytes()) % shards as u64) as usize,
        }
    }

    /// A read that the local cache answers.
    fn answer(&mut self, call: CallId, horizon: Horizon, latency: SimDuration, ctx: &mut Ctx) {
        let now = ctx.now();
        let degraded = self.values.serve(now, horizon, Lost::default(), &mut self.report);
        let compute = SimDuration::saturating_from_secs_f64(self.timing.compute(&mut ctx.draws(call)));
        let key = self.reads.insert(Read { call, shard: None, end: None, degraded, kept: None });
        ctx.call_mut(call).scratch = key.to_bits();
        let end = ctx.schedule(latency.saturating_add(compute), Phase::StepEnd, DONE, key.to_bits());
        if let Some(read) = self.reads.get_mut(key) {
            read.end = Some(end);
        }
        ctx.meter().wait.record(0);
    }

    fn begin(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(read) = self.reads.get_mut(key) else { return };
        let (now, entity) = (ctx.now(), ctx.request(read.call).entity);
        let mut draws = ctx.draws(read.call);
        let (seconds, mut lost) = self.timing.read(self.slow, self.stretch, &mut draws);
        self.report.timed_out += u64::from(lost.batch + lost.streamed);
        if self.storage.is_some_and(|storage| !storage.holds(entity)) {
            let all = Lost { batch: self.values.batch, streamed: self.values.streamed };
            self.report.missing += u64::from(all.batch + all.streamed - lost.batch - lost.streamed);
            lost = all;
        }
        let horizon = self.values.horizon(now, &mut draws);
        read.degraded = self.values.serve(now, horizon, lost, &mut self.report);
        read.kept = (!read.degraded).then_some(horizon);
        let time = SimDuration::saturating_from_secs_f64(seconds);
        read.end = Some(ctx.schedule(time, Phase::StepEnd, DONE, key.to_bits()));
        if let Some(shard) = read.shard {
            self.shards[shard].busy += 1;
            self.report.shard_reads[shard] += 1;
        }
        let arrived_at = ctx.call(read.call).arrived_at;
        ctx.meter().wait.record(now.since(arrived_at).as_nanos());
        ctx.meter().busy.add(now, 1);
    }

    /// Gives a free connection to who has waited longest.
    fn fill(&mut self, shard: usize, ctx: &mut Ctx) {
        while self.shards[shard].waiting > 0 && self.has_connection(shard) {
            let Some(key) = self.shards[shard].line.pop_front() else { return };
            if self.reads.get(key).is_some() {
                self.leave_line(shard, ctx);
                self.begin(key, ctx);
            }
        }
    }

    fn leave_line(&mut self, shard: usize, ctx: &mut Ctx) {
        self.shards[shard].waiting -= 1;
        let now = ctx.now();
        ctx.meter().queue.add(now, -1);
    }

    /// Takes a read out of the store and replies; its connection, if it had one, is free. Gives its shard.
    fn end(&mut self, key: Key, outcome: Option<Outcome>, ctx: &mut Ctx) -> Option<usize> {
        let read = self.reads.remove(key)?;
        let now = ctx.now();
        match (read.end, read.shard) {
            (Some(end), Some(shard)) => {
                ctx.cancel_timer(end);
                self.shards[shard].busy -= 1;
                ctx.meter().busy.add(now, -1);
            }
            (Some(end), None) => {
                ctx.cancel_timer(end);
            }
            (None, Some(shard)) => self.leave_line(shard, ctx),
            (None, None) => unreachable!("the local cache answers at once"),
        }
        if let (None, Some(cache), Some(horizon)) = (outcome, &mut self.cache, read.kept) {
            cache.put(ctx.request(read.call).entity, horizon, now);
        }
        let answer = if read.degraded { Outcome::Degraded } else { Outcome::Ok };
        ctx.reply(read.call, Reply { outcome: outcome.unwrap_or(answer) });
        read.shard
    }
}

impl Shard {
    /// Forgets who gave up, before they outnumber those who wait.
    fn tidy(&mut self, reads: &Slab<Read>) {
        if self.line.len() > 32 && self.line.len() / 2 > self.waiting as usize {
            self.line.retain(|key| reads.get(*key).is_some());
        }
    }
}

impl Component for Store {
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        let entity = ctx.request(call).entity;
        if let Some(cache) = &mut self.cache {
            self.report.cache_reads += 1;
            if let Some(horizon) = cache.get(entity, ctx.now()) {
                self.report.cache_hits += 1;
                let latency = cache.latency;
                return self.answer(call, horizon, latency, ctx);
            }
        }
        if self.is_down {
            return ctx.reply(call, Reply::FAILED);
        }
        let shard = self.shard_of(entity);
        let is_free = self.has_connection(shard);
        if !is_free && self.queue_cap.is_some_and(|cap| self.shards[shard].waiting >= cap) {
            return ctx.reply(call, Reply::REJECTED);
        }
        let key =
            self.reads.insert(Read { call, shard: Some(shard), end: None, degraded: false, kept: None });
        ctx.call_mut(call).scratch = key.to_bits();
        if is_free {
            return self.begin(key, ctx);
        }
        self.shards[shard].line.push_back(key);
        self.shards[shard].waiting += 1;
        let now = ctx.now();
        ctx.meter().queue.add(now, 1);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        if let Some(shard) = self.end(Key::from_bits(timer.data), None, ctx) {
            self.fill(shard, ctx);
        }
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        if let Some(shard) = self.end(key, Some(Outcome::Failed), ctx) {
            self.shards[shard].tidy(&self.reads);
            self.fill(shard, ctx);
        }
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        let now = ctx.now();
        match *fault {
            Fault::Crash { .. } => {
                self.is_down = true;
                let mut lost = Vec::with_capacity(self.reads.len());
                self.reads.for_each(|read| lost.extend(read.shard.map(|_| read.call)));
                for call in lost {
                    let key = Key::from_bits(ctx.call(call).scratch);
                    self.end(key, Some(Outcome::Failed), ctx);
                }
                for shard in &mut self.shards {
                    shard.line.clear();
                }
                ctx.meter().capacity.set(now, 0);
            }
            Fault::Repair { .. } => {
                self.is_down = false;
                ctx.meter().capacity.set(now, self.capacity());
            }
            Fault::Slow { factor } => self.slow = factor,
            Fault::ColdCache => self.cache.iter_mut().for_each(Cache::clear),
            // Of pools alone.
            _ => {}
        }
    }

    fn on_load(&mut self, load: Load, _ctx: &mut Ctx) {
        let share = (load.rate * load.cost).clamp(0.0, LARGEST_WRITE_SHARE);
        self.stretch = 1.0 / (1.0 - share);
    }

    fn on_materialized(&mut self, as_of: SimTime, _ctx: &mut Ctx) {
        // Writes of older events than are there change nothing.
        self.values.as_of = self.values.as_of.max(Some(as_of));
    }

    /// A capacity of 0: no bound, or nothing up.
    fn observe(&self, _now: SimTime) -> Signals {
        let sum = |of: fn(&Shard) -> u32| self.shards.iter().map(|shard| u64::from(of(shard))).sum();
        Signals {
            queue: sum(|shard| shard.waiting),
            busy: sum(|shard| shard.busy),
            capacity: if self.is_down { 0 } else { self.capacity() },
            ..Signals::default()
        }
    }

    fn measures(&self, _now: SimTime) -> Vec<Measure> {
        self.report.measures()
    }

    fn data_report(&self, _now: SimTime) -> Option<DataReport> {
        Some(DataReport::FeatureStore(Box::new(self.report.clone())))
    }

    fn reset_measurements(&mut self, _now: SimTime) {
        self.clear_report();
    }
}
