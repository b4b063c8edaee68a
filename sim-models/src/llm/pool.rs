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

mod balance;
mod replica;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use sim_core::event::Phase;
use sim_core::random::{KeyedStream, Purpose, unit};
use sim_core::time::{SimDuration, SimTime};

use balance::Balance;
pub use balance::Balancer;
use replica::{Load as ReplicaLoad, Replica};

use super::engine::{Engine, Rejection, SeqId, Submission, Token};
use super::report::{Facts, Measures};
use super::{FrontEnd, LlmReport};
use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::hardware::timing::StepFunction;
use crate::slab::{Key, Slab};

/// A replica that was idle begins a step.
const START: u16 = 0;
/// A replica's step ends.
const STEP_END: u16 = 1;
/// A call has passed the API server.
const FRONT_END: u16 = 2;

/// The scratch of a call that has not passed the API server: no key of a call, as there are never so many.
const IN_FRONT_END: u64 = u64::MAX - 1;

/// What a pool is made of.
#[derive(Debug)]
pub(super) struct Setup {
    /// The engine of every replica, without work.
    pub(super) engine: Engine,
    pub(super) step: StepFunction,
    pub(super) replicas: u32,
    /// GPUs of all replicas.
    pub(super) gpus: u64,
    pub(super) balancer: Balancer,
    pub(super) queue_cap: Option<NonZeroU32>,
    pub(super) frontend: FrontEnd,
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
    balance: Balance,
    /// Made at the start, and only for a balancer that draws.
    routing: Option<KeyedStream>,
    queue_cap: Option<NonZeroU32>,
    frontend: FrontEnd,
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
        let Setup { engine, step, replicas, gpus, balancer, queue_cap, frontend } = setup;
        let config = engine.config();
        let facts = Facts {
            replicas,
            gpus,
            kv_blocks: config.num_blocks,
            usable_blocks: config.usable_blocks(),
            block_size: config.block_size,
            calibration: step.badge(),
        };
        Self {
            replicas: (0..replicas).map(|_| Replica::new(engine.clone())).collect(),
            step,
            balance: Balance::new(balancer),
            routing: None,
            queue_cap,
            frontend,
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
        self.load.replace(self.replicas[index].note());
        let ReplicaLoad { waiting, running, kv_used, stepping } = self.load;
        let meter = ctx.meter();
        meter.queue.set(now, waiting);
        meter.busy.set(now, running);
        self.measures.kv_used.set(now, kv_used);
        self.measures.stepping.set(now, stepping);
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

    /// Begins a replica's next step, if it has work. That of an `idle` one takes its waking longer.
    fn begin_step(&mut self, index: usize, idle: bool, ctx: &mut Ctx) {
        let replica = &mut self.replicas[index];
        let Some(plan) = replica.engine.begin_step() else { return };
        let now = ctx.now();
        for admission in plan.admitted.iter().filter(|admission| !admission.resumed) {
            let arrived_at = ctx.call(CallId::from_bits(admission.key)).arrived_at;
            ctx.meter().wait.record(now.since(arrived_at).as_nanos());
        }
        let wake = if idle { self.step.wake() } else { 0 };
        let ticks = stretched(self.step.ticks(&plan.work).saturating_add(wake), self.slow);
        // A step that would end beyond all time never does.
        if let Some(end) = replica.plan_end(ticks) {
            ctx.schedule_at(end, Phase::StepEnd, STEP_END, event_data(index, replica.generation));
        }
    }

    fn end_step(&mut self, index: usize, ctx: &mut Ctx) {
        let Self { replicas, active, measures, .. } = self;
        let replica = &mut replicas[index];
        if let Some(plan) = replica.engine.plan() {
            measures.step(plan, replica.step_ticks);
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
                ctx.reply(call, Reply::OK);
            }
        }
    }

    fn crash(&mut self, index: usize, ctx: &mut Ctx) {
        for key in self.replicas[index].crash() {
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

    /// Lets a call that has passed the API server in, or refuses it.
    fn admit(&mut self, call: CallId, ctx: &mut Ctx) {
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

    /// Hands a call to an engine; the reason if it cannot be served.
    fn submit(&mut self, call: CallId, ctx: &mut Ctx) -> Result<(), Reason> {
        let index = self.pick(call, ctx).ok_or(Reason::NoReplica)?;
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

/// `ticks` times `factor`, to the nearest tick and at least one.
fn stretched(ticks: u64, factor: f64) -> u64 {
    if factor == 1.0 { ticks } else { ((ticks as f64 * factor).round() as u64).max(1) }
}

impl Component for Pool {
    fn start(&mut self, ctx: &mut Ctx) {
        if self.balance.draws() {
            self.routing = Some(ctx.keyed_stream(Purpose::Routing));
        }
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        let delay = self.frontend.delay(ctx.request(call).prompt_tokens);
        if delay.is_zero() {
            self.admit(call, ctx);
        } else {
            ctx.call_mut(call).scratch = IN_FRONT_END;
            ctx.schedule(delay, Phase::Arrival, FRONT_END, call.to_bits());
        }
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let scratch = ctx.call(call).scratch;
        if scratch == IN_FRONT_END {
            ctx.reply(call, Reply::FAILED);
            return;
        }
        let Some(Active { replica, sequence }) = self.active.remove(Key::from_bits(scratch)) else { return };
        self.replicas[replica as usize].engine.abort(sequence);
        self.note(replica as usize, ctx);
        ctx.reply(call, Reply::FAILED);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        if timer.kind == FRONT_END {
            let call = CallId::from_bits(timer.data);
            // One that has been cancelled meanwhile is gone.
            if ctx.is_live(call) {
                self.admit(call, ctx);
            }
            return;
        }
        let index = (timer.data >> 32) as usize;
        let replica = &mut self.replicas[index];
        if replica.generation != timer.data as u32 {
            return;
        }
        let idle = timer.kind == START;
        if idle {
            replica.start(ctx.now());
        } else {
            self.end_step(index, ctx);
        }
        self.begin_step(index, idle, ctx);
        self.note(index, ctx);
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
            Fault::Slow { factor } => self.slow = factor,
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        let ReplicaLoad { waiting, running, kv_used, .. } = self.load;
        let kv_total = self.live() * u64::from(self.facts.usable_blocks);
        Signals { queue: waiting, busy: running, capacity: self.capacity(), kv_used, kv_total }
    }

    fn report(&self, now: SimTime) -> Option<LlmReport> {
        Some(self.measures.report(&self.facts, now))
    }

    fn reset_measurements(&mut self, now: SimTime) {
        self.measures.reset(now);
    }
}
