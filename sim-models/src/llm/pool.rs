//! A pool of engine replicas as a component.
//!
//! # Time
//! The engines keep their own time ([`engine`](super::engine)) and say when something will be seen of them
//! next. One event of the pool waits for the earliest of them, in [`Phase::StepEnd`]: before all else of its
//! nanosecond, so a call that arrives in the nanosecond of a boundary waits for a later one. Replicas that
//! are due in the same nanosecond are gone through in their order, however early each was known to be due.
//!
//! A call that finds a replica idle makes it begin a step in the same nanosecond, by an event in
//! [`Phase::Timer`]: behind all replies and arrivals of that instant, so that all simultaneous calls join
//! the first step in whatever order they come, and before its faults and samplers.

mod balance;
mod replica;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedStream, Purpose, unit};
use sim_core::time::{SimDuration, SimTime};

use balance::Balance;
pub use balance::Balancer;
use replica::{Load as ReplicaLoad, Replica};

use super::LlmReport;
use super::engine::{Engine, Pace, Rejection, SeqId, Submission};
use super::report::{Facts, Measures};
use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::slab::{Key, Slab};

/// A replica that was idle begins a step.
const START: u16 = 0;
/// A replica is due.
const DUE: u16 = 1;

/// What a pool is made of.
#[derive(Debug)]
pub(super) struct Setup {
    /// The engine of every replica, without work.
    pub(super) engine: Engine,
    /// How far its step times can be trusted, in words.
    pub(super) calibration: String,
    pub(super) replicas: u32,
    /// GPUs of all replicas.
    pub(super) gpus: u64,
    pub(super) balancer: Balancer,
    pub(super) queue_cap: Option<NonZeroU32>,
}

/// A call in an engine.
#[derive(Debug)]
struct Active {
    replica: u32,
    sequence: SeqId,
}

#[derive(Debug)]
pub(super) struct Pool {
    replicas: Vec<Replica>,
    /// When replicas are due.
    due: BTreeSet<(SimTime, u32)>,
    /// The event that waits for the first of them.
    alarm: Option<(SimTime, EventHandle)>,
    balance: Balance,
    /// Made at the start, and only for a balancer that draws.
    routing: Option<KeyedStream>,
    queue_cap: Option<NonZeroU32>,
    active: Slab<Active>,
    /// Over all replicas.
    load: ReplicaLoad,
    measures: Measures,
    facts: Facts,
}

impl Pool {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup { engine, calibration, replicas, gpus, balancer, queue_cap } = setup;
        let config = engine.config();
        let facts = Facts {
            replicas,
            gpus,
            kv_blocks: config.num_blocks,
            usable_blocks: config.usable_blocks(),
            block_size: config.block_size,
            calibration,
        };
        Self {
            replicas: (0..replicas).map(|_| Replica::new(engine.clone())).collect(),
            due: BTreeSet::new(),
            alarm: None,
            balance: Balance::new(balancer),
            routing: None,
            queue_cap,
            active: Slab::default(),
            load: ReplicaLoad::default(),
            measures: Measures::new(replicas),
            facts,
        }
    }

    /// Takes note of a replica's load, and of when it is due, after something has changed.
    fn note(&mut self, index: usize, ctx: &mut Ctx) {
        let now = ctx.now();
        let replica = &mut self.replicas[index];
        self.load.replace(replica.note());
        let due = replica.engine.due();
        let before = std::mem::replace(&mut replica.due, due);
        if before != due {
            before.map(|at| self.due.remove(&(at, index as u32)));
            due.map(|at| self.due.insert((at, index as u32)));
            self.set_alarm(ctx);
        }
        let meter = ctx.meter();
        meter.queue.set(now, self.load.waiting);
        meter.busy.set(now, self.load.running);
    }

    fn set_alarm(&mut self, ctx: &mut Ctx) {
        let first = self.due.first().map(|(at, _)| *at);
        if self.alarm.map(|(at, _)| at) == first {
            return;
        }
        if let Some((_, handle)) = self.alarm.take() {
            ctx.cancel_timer(handle);
        }
        self.alarm = first.map(|at| (at, ctx.schedule_at(at, Phase::StepEnd, DUE, 0)));
    }

    fn live(&self) -> u64 {
        self.replicas.iter().filter(|replica| replica.up).count() as u64
    }

    fn note_capacity(&self, ctx: &mut Ctx) {
        let now = ctx.now();
        let capacity = self.capacity();
        ctx.meter().capacity.set(now, capacity);
    }

    fn capacity(&self) -> u64 {
        self.live() * u64::from(self.replicas[0].engine.config().max_num_seqs)
    }

    /// Takes a replica over the boundaries until now, and tells what came of them.
    fn advance(&mut self, index: usize, ctx: &mut Ctx) {
        let Self { replicas, active, measures, .. } = self;
        let now = ctx.now();
        let output = replicas[index].engine.advance(now, &mut measures.tally);
        for milestone in &output.milestones {
            let call = CallId::from_bits(milestone.key);
            if milestone.first {
                ctx.progress(call, Progress::FirstToken);
            }
            if milestone.last {
                active.remove(Key::from_bits(ctx.call(call).scratch));
                ctx.reply(call, Reply::OK);
            }
        }
        for key in &output.admitted {
            let arrived_at = ctx.call(CallId::from_bits(*key)).arrived_at;
            ctx.meter().wait.record(now.since(arrived_at).as_nanos());
        }
        self.note(index, ctx);
    }

    fn crash(&mut self, index: usize, ctx: &mut Ctx) {
        for key in self.replicas[index].crash(ctx.now(), &mut self.measures.tally) {
            let call = CallId::from_bits(key);
            self.active.remove(Key::from_bits(ctx.call(call).scratch));
            ctx.reply(call, Reply::FAILED);
        }
        self.note(index, ctx);
    }

    /// The replica for a call; none if all are down.
    fn pick(&mut self, call: CallId, ctx: &Ctx) -> Option<usize> {
        let live = match self.routing {
            Some(_) => self.live(),
            None => 0,
        };
        let draw = self.routing.as_ref().map_or(0, |routing| {
            let request = ctx.request(call);
            let (hop, attempt) = (ctx.call(call).hop, ctx.call(call).attempt);
            (unit(&mut routing.draws(request.key, hop, attempt)) * live as f64) as usize
        });
        self.balance.pick(&self.replicas, draw)
    }

    /// Hands a call to an engine; the reason if it cannot be served.
    fn submit(&mut self, call: CallId, ctx: &mut Ctx) -> Result<(), Reason> {
        let index = self.pick(call, ctx).ok_or(Reason::NoReplica)?;
        let replica = &mut self.replicas[index];
        if self.queue_cap.is_some_and(|cap| replica.engine.waiting() >= cap.get()) {
            return Err(Reason::QueueFull);
        }
        let request = ctx.request(call);
        let submission = Submission {
            key: call.to_bits(),
            prompt_tokens: request.prompt_tokens.max(1),
            output_tokens: request.output_tokens.max(1),
            priority: i32::from(request.class),
            prefix: request.prefix.clone(),
        };
        let sequence = replica.engine.submit(ctx.now(), &submission, &mut self.measures.tally)?;
        let key = self.active.insert(Active { replica: index as u32, sequence });
        ctx.call_mut(call).scratch = key.to_bits();
        self.measures.calls[index] += 1;
        if replica.wake() {
            ctx.schedule(SimDuration::ZERO, Phase::Timer, START, event_data(index, replica.generation));
        }
        self.note(index, ctx);
        Ok(())
    }
}

/// Why a call is refused.
#[derive(Debug)]
enum Reason {
    QueueFull,
    NoReplica,
    Engine(Rejection),
}

impl From<Rejection> for Reason {
    fn from(rejection: Rejection) -> Self {
        Self::Engine(rejection)
    }
}

/// A replica and the crashes it had, so that a timer of a lost step is recognized.
fn event_data(index: usize, generation: u32) -> u64 {
    (index as u64) << 32 | u64::from(generation)
}

impl Component for Pool {
    fn start(&mut self, ctx: &mut Ctx) {
        if self.balance.draws() {
            self.routing = Some(ctx.keyed_stream(Purpose::Routing));
        }
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        let Err(reason) = self.submit(call, ctx) else { return };
        let rejected = &mut self.measures.rejected;
        *match reason {
            Reason::QueueFull => &mut rejected.queue_full,
            Reason::NoReplica => &mut rejected.no_replica,
            Reason::Engine(Rejection::ExceedsModel { .. }) => &mut rejected.exceeds_model,
            Reason::Engine(Rejection::ExceedsCache { .. }) => &mut rejected.exceeds_cache,
            Reason::Engine(Rejection::Zero { .. }) => unreachable!("lengths are at least 1"),
        } += 1;
        ctx.reply(call, Reply::REJECTED);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        let Some(Active { replica, sequence }) = self.active.remove(key) else { return };
        let engine = &mut self.replicas[replica as usize].engine;
        engine.abort(ctx.now(), sequence, &mut self.measures.tally);
        self.note(replica as usize, ctx);
        ctx.reply(call, Reply::FAILED);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        if timer.kind == START {
            let index = (timer.data >> 32) as usize;
            let replica = &mut self.replicas[index];
            if replica.generation == timer.data as u32 {
                replica.starting = false;
                self.advance(index, ctx);
            }
            return;
        }
        self.alarm = None;
        while let Some((_, index)) = self.due.first().copied().filter(|(at, _)| *at <= ctx.now()) {
            self.advance(index as usize, ctx);
        }
        self.set_alarm(ctx);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        match *fault {
            Fault::Crash { replicas } => {
                let live = (0..self.replicas.len()).filter(|index| self.replicas[*index].up);
                for index in live.take(replicas as usize).collect::<Vec<_>>() {
                    self.crash(index, ctx);
                }
                self.note_capacity(ctx);
            }
            Fault::Repair { replicas } => {
                let down = self.replicas.iter_mut().filter(|replica| !replica.up);
                down.take(replicas as usize).for_each(|replica| replica.up = true);
                self.note_capacity(ctx);
            }
            Fault::Slow { factor } => {
                for index in 0..self.replicas.len() {
                    let engine = &mut self.replicas[index].engine;
                    engine.set_pace(ctx.now(), Pace::slowed(factor), &mut self.measures.tally);
                    self.note(index, ctx);
                }
            }
        }
    }

    fn observe(&self, now: SimTime) -> Signals {
        let ReplicaLoad { waiting, running } = self.load;
        let used = |replica: &Replica| u64::from(replica.engine.observe(now).used_blocks);
        let kv_used = self.replicas.iter().map(used).sum();
        let kv_total = self.live() * u64::from(self.facts.usable_blocks);
        Signals { queue: waiting, busy: running, capacity: self.capacity(), kv_used, kv_total }
    }

    fn report(&self, now: SimTime) -> Option<LlmReport> {
        let mut tally = self.measures.tally.clone();
        let mut underway = Vec::with_capacity(self.replicas.len());
        for replica in &self.replicas {
            let mut engine = replica.engine.clone();
            engine.settle(now, &mut tally);
            underway.push(engine.underway(now));
        }
        Some(self.measures.report(&tally, &underway, &self.facts, now))
    }

    fn reset_measurements(&mut self, now: SimTime) {
        // What ends in this nanosecond belongs to the measured part.
        let before = SimTime::from_nanos(now.as_nanos().saturating_sub(1));
        let Self { replicas, measures, .. } = self;
        replicas.iter_mut().for_each(|replica| replica.engine.settle(before, &mut measures.tally));
        measures.reset(now, replicas.iter().map(|replica| replica.engine.underway(now)));
    }
}
