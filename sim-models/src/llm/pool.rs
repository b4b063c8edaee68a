//! A pool of engine replicas as a component.
//!
//! # Time
//! Steps last whole ticks of 1/1024 ns, and the next step begins at the very tick at which the one before
//! ended. The event of a boundary is at the first whole nanosecond that is not before it, where its tokens
//! and answers leave the pool. It finishes the step and begins the next, so there is one event a step; it
//! comes before all else of its nanosecond: a call that arrives in the nanosecond of a boundary waits for
//! the next boundary.
//!
//! A call that finds a replica idle makes it begin a step in the same nanosecond, by an event in
//! [`Phase::Timer`]: behind all replies and arrivals of that instant, so that all simultaneous calls join
//! the first step in whatever order they come, and before its faults and samplers.

mod replica;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use sim_core::event::Phase;
use sim_core::time::{SimDuration, SimTime};

use replica::{Load as ReplicaLoad, Replica};

use super::LlmReport;
use super::engine::{Engine, Rejection, SeqId, Submission, Token};
use super::report::{Facts, Measures};
use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::hardware::timing::StepFunction;
use crate::pool::{Front, PoolReport, Signal};
use crate::slab::{Key, Slab};

/// A replica that was idle begins a step.
const START: u16 = 0;
/// A replica's step ends.
const STEP_END: u16 = 1;

/// What a pool is made of.
#[derive(Debug)]
pub(super) struct Setup {
    /// The engine of every replica, without work.
    pub(super) engine: Engine,
    pub(super) step: StepFunction,
    pub(super) replicas: u32,
    /// GPUs of all replicas.
    pub(super) gpus: u64,
    pub(super) front: Front,
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
    step: StepFunction,
    front: Front,
    queue_cap: Option<NonZeroU32>,
    active: Slab<Active>,
    /// Steps that begin now take this many times as long.
    slow: f64,
    /// Over all replicas.
    load: ReplicaLoad,
    measures: Measures,
    facts: Facts,
}

impl Pool {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup { engine, step, replicas, gpus, front, queue_cap } = setup;
        let config = engine.config();
        let facts = Facts {
            replicas,
            gpus,
            kv_blocks: config.num_blocks,
            usable_blocks: config.usable_blocks(),
            block_size: config.block_size,
            calibration: step.calibration().to_string(),
        };
        Self {
            replicas: (0..replicas).map(|_| Replica::new(engine.clone())).collect(),
            step,
            front,
            queue_cap,
            active: Slab::default(),
            slow: 1.0,
            load: ReplicaLoad::default(),
            measures: Measures::new(replicas),
            facts,
        }
    }

    /// Takes note of a replica's load after something has changed.
    fn note(&mut self, index: usize, ctx: &mut Ctx) {
        let now = ctx.now();
        let (old, new) = self.replicas[index].note();
        self.load.replace((old, new));
        self.front.note(index, new.waiting, new.running, now);
        self.measures.note_kv(index, now, new.kv_used);
        let ReplicaLoad { waiting, running, kv_used, stepping } = self.load;
        let meter = ctx.meter();
        meter.queue.set(now, waiting + self.front.held());
        meter.busy.set(now, running);
        self.measures.kv_used.set(now, kv_used);
        self.measures.stepping.set(now, stepping);
    }

    fn note_capacity(&self, ctx: &mut Ctx) {
        let now = ctx.now();
        let capacity = self.capacity();
        ctx.meter().capacity.set(now, capacity);
    }

    fn capacity(&self) -> u64 {
        self.front.up() * u64::from(self.replicas[0].engine.config().max_num_seqs)
    }

    /// Begins a replica's next step, if it has work.
    fn begin_step(&mut self, index: usize, ctx: &mut Ctx) {
        let replica = &mut self.replicas[index];
        let Some(plan) = replica.engine.begin_step() else { return };
        let now = ctx.now();
        for admission in plan.admitted.iter().filter(|admission| !admission.resumed) {
            let arrived_at = ctx.call(CallId::from_bits(admission.key)).arrived_at;
            ctx.meter().wait.record(now.since(arrived_at).as_nanos());
        }
        let ticks = stretched(self.step.ticks(&plan.work), self.slow);
        // A step that would end beyond all time never does.
        if let Some(end) = replica.plan_end(ticks) {
            ctx.schedule_at(end, Phase::StepEnd, STEP_END, event_data(index, replica.generation));
        }
    }

    fn end_step(&mut self, index: usize, ctx: &mut Ctx) {
        let Self { replicas, active, measures, front, .. } = self;
        let replica = &mut replicas[index];
        if let Some(plan) = replica.engine.plan() {
            measures.step(index, plan, replica.step_ticks);
        }
        let output = replica.finish_step();
        measures.tokens(output);
        for emission in &output.emissions {
            let call = CallId::from_bits(emission.key);
            if emission.token == Token::First {
                ctx.progress(call, Progress::FirstToken);
            }
            if emission.last {
                active.remove(Key::from_bits(ctx.call(call).scratch));
                front.reply(call, Reply::OK, ctx);
            }
        }
    }

    /// Hands a call to an engine; the reason if it cannot be served.
    fn submit(&mut self, index: usize, call: CallId, ctx: &mut Ctx) -> Result<(), Reason> {
        let replica = &mut self.replicas[index];
        if self.queue_cap.is_some_and(|cap| replica.engine.observe().waiting >= cap.get()) {
            return Err(Reason::QueueFull);
        }
        let request = ctx.request(call);
        let sequence = replica.engine.submit(&Submission {
            key: call.to_bits(),
            prompt_tokens: request.prompt_tokens.max(1),
            output_tokens: request.output_tokens.max(1),
            priority: i32::from(request.class),
            prefix: request.prefix.clone(),
        })?;
        let key = self.active.insert(Active { replica: index as u32, sequence });
        ctx.call_mut(call).scratch = key.to_bits();
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

/// `ticks` times `factor`, to the nearest tick and at least one.
fn stretched(ticks: u64, factor: f64) -> u64 {
    if factor == 1.0 { ticks } else { ((ticks as f64 * factor).round() as u64).max(1) }
}

impl Component for Pool {
    fn start(&mut self, ctx: &mut Ctx) {
        self.front.start(ctx);
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        let Some(index) = self.front.route(call, ctx) else { return };
        let Err(reason) = self.submit(index, call, ctx) else { return };
        let rejected = &mut self.measures.rejected;
        *match reason {
            Reason::QueueFull => &mut rejected.queue_full,
            Reason::Engine(Rejection::ExceedsModel { .. }) => &mut rejected.exceeds_model,
            Reason::Engine(Rejection::ExceedsCache { .. }) => &mut rejected.exceeds_cache,
            Reason::Engine(Rejection::Zero { .. }) => unreachable!("lengths are at least 1"),
        } += 1;
        self.front.reply(call, Reply::REJECTED, ctx);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.front.cancel(call, ctx).is_none() {
            return;
        }
        let key = Key::from_bits(ctx.call(call).scratch);
        let Some(Active { replica, sequence }) = self.active.remove(key) else { return };
        self.replicas[replica as usize].engine.abort(sequence);
        self.note(replica as usize, ctx);
        self.front.abandon(call, ctx);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        if self.front.owns(timer) {
            let signal = |index: usize| {
                let state = self.replicas[index].engine.observe();
                Signal { waiting: state.waiting.into(), running: state.running.into() }
            };
            return self.front.on_timer(timer, ctx, signal);
        }
        let index = (timer.data >> 32) as usize;
        let replica = &mut self.replicas[index];
        if replica.generation != timer.data as u32 {
            return;
        }
        match timer.kind {
            START => replica.start(ctx.now()),
            _ => self.end_step(index, ctx),
        }
        self.begin_step(index, ctx);
        self.note(index, ctx);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        if let Fault::Slow { factor } = *fault {
            self.slow = factor;
        }
        let Self { front, replicas, active, .. } = self;
        let broken = front.on_fault(fault, ctx, |index, ctx| {
            let lost: Vec<_> = replicas[index].crash().into_iter().map(CallId::from_bits).collect();
            for call in &lost {
                active.remove(Key::from_bits(ctx.call(*call).scratch));
            }
            lost
        });
        if broken {
            (0..self.replicas.len()).for_each(|index| self.note(index, ctx));
            self.note_capacity(ctx);
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        let ReplicaLoad { waiting, running, kv_used, .. } = self.load;
        let kv_total = self.front.up() * u64::from(self.facts.usable_blocks);
        let queue = waiting + self.front.held();
        Signals { queue, busy: running, capacity: self.capacity(), kv_used, kv_total }
    }

    fn report(&self, now: SimTime) -> Option<LlmReport> {
        let mut report = self.measures.report(&self.facts, now);
        report.rejected.no_replica = self.front.report(now).no_replica;
        Some(report)
    }

    fn pool_report(&self, now: SimTime) -> Option<PoolReport> {
        Some(self.front.report(now))
    }

    fn reset_measurements(&mut self, now: SimTime) {
        self.measures.reset(now);
        self.front.reset_measurements(now);
    }
}
