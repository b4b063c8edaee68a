//! A pool of engine replicas as a component.
//!
//! # Time
//! The engines keep their own time ([`engine`](super::engine)) and say when something will be seen of them
//! next. One event of the pool waits for the earliest of them, in [`Phase::StepEnd`]: before all else of its
//! nanosecond, so a call that arrives in the nanosecond of a boundary waits for a later one. Replicas that
//! are due in the same nanosecond are gone through in their order, however early each was known to be due. A
//! dynamic batch that waits for others is due when it has waited long enough.
//!
//! A call that finds a replica idle makes it begin a step in the same nanosecond, by an event in
//! [`Phase::Timer`]: behind all replies and arrivals of that instant, so that all simultaneous calls join
//! the first step in whatever order they come, and before its faults and samplers. Where the step times know how
//! long an idle engine takes to wake, the step begins that much later, and who comes meanwhile joins it.
//!
//! The API server, where it takes time, holds each call before it is sent to a replica.

mod connector;
mod dues;
mod figures;
mod link;
mod replica;
mod submit;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use sim_core::event::Phase;
use sim_core::scheduler::Alarm;
use sim_core::time::{SimDuration, SimTime};

use connector::Connector;
pub(super) use connector::PrefillSetup;
use dues::Dues;
use replica::{Load as ReplicaLoad, Replica};

use super::adapters::Choice;
use super::disaggregated::Way;
use super::engine::{Engine, SeqId, Speculation, Tally};
use super::report::{Facts, Group, Measures};
use super::sharing::Sharing;
use super::{FrontEnd, LlmReport};
use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, Fault, Role, Signals, Timer};
use crate::context::Ctx;
use crate::device::ClientId;
use crate::energy::Power;
use crate::hardware::timing::StepFunction;
use crate::measure::Measure;
use crate::pool::{Due, Front, PoolReport, Signal};
use crate::slab::{Key, Slab};

/// A replica that was idle begins a step.
const START: u16 = 0;
/// A replica is due.
const DUE: u16 = 1;
/// A call has passed the API server.
const FRONT_END: u16 = 2;
/// What a call that is with the API server is remembered by.
const IN_FRONT_END: u64 = u64::MAX - 1;

/// What a pool is made of.
#[derive(Debug)]
pub(super) struct Setup {
    /// The engine of every replica, without work.
    pub(super) engine: Engine,
    /// The time of its steps.
    pub(super) step: StepFunction,
    /// How long an idle engine takes to begin a step.
    pub(super) wake: SimDuration,
    pub(super) frontend: FrontEnd,
    pub(super) replicas: u32,
    /// GPUs of each replica; none where all share one.
    pub(super) gpus_of_replica: Option<u64>,
    pub(super) front: Front,
    pub(super) queue_cap: Option<NonZeroU32>,
    pub(super) adapters: Option<Choice>,
    /// Each replica's name on the GPU that they share; none with GPUs of their own.
    pub(super) clients: Vec<ClientId>,
    /// Prefill workers beside the replicas, which are then decode workers.
    pub(super) prefill: Option<PrefillSetup>,
    /// The way from the host's memory to each replica, prefill workers last; none without KV there.
    pub(super) hosts: Vec<Way>,
    /// The power of a GPU of their own.
    pub(super) power: Power,
}

/// A call in an engine.
#[derive(Debug)]
struct Active {
    replica: u32,
    sequence: SeqId,
    /// Where the KV of its prompt is kept, until it begins to be loaded.
    source: Key,
    /// Whether a prefill worker has computed its prompt.
    handed_over: bool,
}

impl Active {
    fn take_source(&mut self) -> Key {
        std::mem::replace(&mut self.source, Key::NONE)
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    replicas: Vec<Replica>,
    /// When replicas are due.
    due: Dues,
    /// Goes off when the first of them is.
    alarm: Option<Alarm>,
    front: Front,
    queue_cap: Option<NonZeroU32>,
    wake: SimDuration,
    frontend: FrontEnd,
    sharing: Sharing,
    /// Which LoRA adapter calls ask for, if there are any.
    adapters: Option<Choice>,
    /// Whether the acceptance of drafts is drawn.
    drawn: bool,
    active: Slab<Active>,
    /// KV from other replicas and from hosts.
    connector: Option<Box<Connector>>,
    /// Over all replicas.
    load: ReplicaLoad,
    measures: Measures,
    facts: Facts,
    power: Power,
}

impl Pool {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup {
            engine,
            step,
            wake,
            frontend,
            replicas,
            gpus_of_replica,
            front,
            queue_cap,
            clients,
            adapters,
            power,
            prefill,
            hosts,
        } = setup;
        let config = engine.config();
        let usable_blocks = config.usable_blocks();
        let mut groups = vec![Group { replicas, usable_blocks, weight: 1 }];
        let mut engines = vec![engine.clone(); replicas as usize];
        if let Some(prefill) = &prefill {
            // A share of all GPUs' time.
            groups[0].weight = gpus_of_replica.unwrap_or(1);
            let usable_blocks = prefill.engine.config().usable_blocks();
            groups.push(Group { replicas: prefill.replicas, usable_blocks, weight: prefill.gpus });
            engines.extend((0..prefill.replicas).map(|_| prefill.engine.clone()));
        }
        let all = engines.len() as u32;
        let facts = Facts {
            groups,
            gpus_of_replica,
            kv_blocks: config.num_blocks,
            block_size: config.block_size,
            kv_tokens: config.cache_tokens(),
            kv_longest: config.longest(),
            slides: config.kv_groups.windowed > 0,
            calibration: step.badge(),
            max_num_seqs: config.max_num_seqs,
            max_num_batched_tokens: config.max_num_batched_tokens,
            step,
        };
        Self {
            replicas: engines.into_iter().map(Replica::new).collect(),
            due: Dues::new(all),
            alarm: None,
            front,
            queue_cap,
            wake,
            frontend,
            sharing: Sharing::new(clients),
            adapters,
            drawn: config.speculative.as_ref().is_some_and(Speculation::is_drawn),
            active: Slab::default(),
            connector: Connector::new(prefill, replicas, hosts),
            load: ReplicaLoad::default(),
            measures: Measures::new(all),
            facts,
            power,
        }
    }

    /// Takes note of a replica's load, and of when it is due, after something has changed.
    fn note(&mut self, index: usize, ctx: &mut Ctx) {
        let now = ctx.now();
        let replica = &mut self.replicas[index];
        self.sharing.note(index, &mut replica.engine, &mut self.measures.tallies[index], ctx);
        let (old, new) = replica.note();
        self.load.replace((old, new));
        let due = replica.engine.due();
        let before = std::mem::replace(&mut replica.due, due);
        if before != due {
            self.due.set(index, due);
            self.set_alarm(ctx);
        }
        match self.connector.as_mut().and_then(|connector| connector.prefill.as_mut()) {
            Some(prefill) if index >= prefill.first => {
                prefill.front.note(index - prefill.first, new.waiting, new.running, now);
            }
            _ => self.front.note(index, new.waiting, new.running, now),
        }
        let waiting = self.load.waiting + self.held() + ctx.waiting_in_front();
        let meter = ctx.meter();
        meter.queue.set(now, waiting);
        meter.busy.set(now, self.load.running);
    }

    /// A replica that comes back has nothing in its prefix cache.
    fn forget_gone(&mut self, ctx: &mut Ctx) {
        for index in self.front.take_gone() {
            let lost = self.replicas[index].crash(ctx.now(), &mut self.measures.tallies[index]);
            debug_assert!(lost.is_empty(), "a replica leaves when it is empty");
            self.note(index, ctx);
        }
    }

    /// A replica on spot capacity is taken away.
    fn lose_reclaimed(&mut self, index: usize, ctx: &mut Ctx) {
        let Self { replicas, active, measures, .. } = self;
        let lost = lose(&mut replicas[index], active, &mut measures.tallies[index], ctx);
        self.front.reclaimed(index, lost, ctx);
        self.lose_loads(&[index], ctx);
        self.note(index, ctx);
        self.forget_gone(ctx);
    }

    /// A replica crashes because of its version.
    fn crash_of_version(&mut self, index: usize, ctx: &mut Ctx) {
        let Self { replicas, active, measures, .. } = self;
        let lost = lose(&mut replicas[index], active, &mut measures.tallies[index], ctx);
        self.front.crashed(index, lost, ctx);
        self.lose_loads(&[index], ctx);
        self.note(index, ctx);
    }

    /// A replica was started, of some version.
    fn start_of_version(&mut self, index: usize, ctx: &mut Ctx) {
        let Self { replicas, measures, sharing, front, .. } = self;
        sharing.set_own(index, front.slowdown(index));
        let tally = &mut measures.tallies[index];
        replicas[index].engine.set_pace(ctx.now(), sharing.pace(index), tally);
    }

    #[inline]
    fn set_alarm(&self, ctx: &mut Ctx) {
        let alarm = self.alarm.expect("a pool is started before anything happens");
        ctx.set_alarm(alarm, self.due.soonest());
    }

    fn note_capacity(&self, ctx: &mut Ctx) {
        let now = ctx.now();
        let capacity = self.capacity();
        ctx.meter().capacity.set(now, capacity);
    }

    fn capacity(&self) -> u64 {
        self.of_groups(|engine| engine.config().max_num_seqs)
    }

    /// The sum over all replicas that are up.
    fn of_groups(&self, of: impl Fn(&Engine) -> u32) -> u64 {
        let sum = |front: &Front, first: usize| front.up() * u64::from(of(&self.replicas[first].engine));
        let prefill = self.connector.as_ref().and_then(|connector| connector.prefill.as_ref());
        sum(&self.front, 0) + prefill.map_or(0, |prefill| sum(&prefill.front, prefill.first))
    }

    /// The front of the replicas, and that of prefill workers.
    fn fronts(&self) -> impl Iterator<Item = &Front> {
        let prefill = self.connector.as_ref().and_then(|connector| connector.prefill.as_ref());
        std::iter::once(&self.front).chain(prefill.map(|prefill| &prefill.front))
    }

    /// Calls held in front of replicas.
    fn held(&self) -> u64 {
        self.fronts().map(Front::held).sum()
    }

    /// Takes a replica over the boundaries until now, and tells what came of them.
    fn advance(&mut self, index: usize, ctx: &mut Ctx) {
        let Self { replicas, active, measures, front, connector, .. } = self;
        let now = ctx.now();
        let output = replicas[index].engine.advance(now, &mut measures.tallies[index]);
        let prefills = connector.as_mut().is_some_and(|connector| {
            connector.note(index, output);
            connector.prefills(index)
        });
        for milestone in output.milestones.iter().filter(|_| !prefills) {
            let call = CallId::from_bits(milestone.key);
            if milestone.first {
                ctx.progress(call, Progress::FirstToken);
            }
            if milestone.last {
                active.remove(Key::from_bits(ctx.call(call).scratch));
                measures.answered.count(&ctx.prompt(call));
                front.reply(call, Reply::OK, ctx);
            }
        }
        for key in &output.admitted {
            let call = CallId::from_bits(*key);
            // It began when its prompt was computed.
            let began = connector.is_some()
                && ctx.is_live(call)
                && active.get(Key::from_bits(ctx.call(call).scratch)).is_some_and(|a| a.handed_over);
            if !began {
                ctx.began(call);
            }
        }
        self.note(index, ctx);
    }
}

/// Everything in a replica is lost: its calls.
fn lose(replica: &mut Replica, active: &mut Slab<Active>, tally: &mut Tally, ctx: &Ctx) -> Vec<CallId> {
    let lost: Vec<_> = replica.crash(ctx.now(), tally).into_iter().map(CallId::from_bits).collect();
    for call in &lost {
        active.remove(Key::from_bits(ctx.call(*call).scratch));
    }
    lost
}

/// A replica and the crashes it had, so that a timer of a lost step is recognized.
fn event_data(index: usize, generation: u32) -> u64 {
    (index as u64) << 32 | u64::from(generation)
}

impl Component for Pool {
    fn start(&mut self, ctx: &mut Ctx) {
        self.alarm = Some(ctx.alarm(Phase::StepEnd, DUE, 0));
        self.front.start(ctx);
        if let Some(adapters) = &mut self.adapters {
            adapters.start(ctx);
        }
        if let Some(connector) = &mut self.connector {
            connector.start(ctx);
        }
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        let delay = self.frontend.delay(ctx.prompt(call).tokens());
        if delay.is_zero() {
            return self.admit(call, ctx);
        }
        ctx.call_mut(call).scratch = IN_FRONT_END;
        ctx.schedule(delay, Phase::Arrival, FRONT_END, call.to_bits());
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        if ctx.call(call).scratch == IN_FRONT_END {
            return ctx.reply(call, Reply::FAILED);
        }
        if self.front_of(call, ctx).cancel(call, ctx).is_none() {
            return;
        }
        let key = Key::from_bits(ctx.call(call).scratch);
        let Some(Active { replica, sequence, source, .. }) = self.active.remove(key) else { return };
        let index = replica as usize;
        let engine = &mut self.replicas[index].engine;
        engine.abort(ctx.now(), sequence, &mut self.measures.tallies[index]);
        self.note(index, ctx);
        self.release(source, ctx);
        self.front_of(call, ctx).abandon(call, ctx);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let now = ctx.now();
        let signal = |replica: &Replica| {
            let engine = &replica.engine;
            let blocks = engine.config().usable_blocks().max(1);
            let kv_usage = f64::from(engine.observe(now).used_blocks) / f64::from(blocks);
            Signal { waiting: engine.waiting().into(), running: engine.running().into(), kv_usage }
        };
        let Self { replicas, connector, .. } = self;
        if let Some(prefill) = connector.as_mut().and_then(|connector| connector.prefill.as_mut())
            && prefill.front.owns(timer)
        {
            let first = prefill.first;
            // A prefill front has no replicas that come and go, and so nothing for the pool to do.
            prefill.front.on_timer(timer, ctx, |index| signal(&replicas[first + index]));
            return;
        }
        if self.front.owns(timer) {
            return match self.front.on_timer(timer, ctx, |index| signal(&replicas[index])) {
                Due::Nothing => {}
                Due::Route(call) => self.admit(call, ctx),
                Due::Empty => self.forget_gone(ctx),
                Due::Reclaim(index) => self.lose_reclaimed(index, ctx),
                Due::Crash(index) => self.crash_of_version(index, ctx),
                Due::Started(index) => self.start_of_version(index, ctx),
            };
        }
        if timer.kind == FRONT_END {
            let call = CallId::from_bits(timer.data);
            // One that was cancelled meanwhile is over.
            if ctx.is_live(call) {
                ctx.call_mut(call).scratch = CallId::NONE.to_bits();
                self.admit(call, ctx);
            }
            return;
        }
        if timer.kind == START {
            let index = (timer.data >> 32) as usize;
            let replica = &mut self.replicas[index];
            if replica.generation == timer.data as u32 {
                replica.starting = false;
                self.advance(index, ctx);
                self.pass_on(ctx);
            }
            return;
        }
        if self.connector.is_some() && self.on_connector_timer(timer, ctx) {
            return;
        }
        while let Some(index) = self.due.first_by(ctx.now()) {
            self.advance(index, ctx);
        }
        self.pass_on(ctx);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        if let Fault::Slow { factor } = *fault {
            let Self { replicas, measures, sharing, .. } = self;
            sharing.slowed = factor;
            for (index, (replica, tally)) in replicas.iter_mut().zip(&mut measures.tallies).enumerate() {
                replica.engine.set_pace(ctx.now(), sharing.pace(index), tally);
            }
        }
        if *fault == Fault::ColdCache {
            for (replica, tally) in self.replicas.iter_mut().zip(&mut self.measures.tallies) {
                replica.engine.reset_prefix_cache(ctx.now(), tally);
            }
        }
        self.on_fault_of(Role::Decode, fault, ctx);
        // What counts no replicas, such as the loss of a zone, is about all of them.
        if fault.replicas().is_none_or(|replicas| replicas == u32::MAX) {
            self.on_fault_of(Role::Prefill, fault, ctx);
        }
    }

    fn on_fault_of(&mut self, role: Role, fault: &Fault, ctx: &mut Ctx) {
        let Self { front, replicas, active, measures, connector, .. } = self;
        let (first, front) = match (role, connector.as_mut().and_then(|connector| connector.prefill.as_mut()))
        {
            (Role::Decode, _) => (0, front),
            (Role::Prefill, Some(prefill)) => (prefill.first, &mut prefill.front),
            (Role::Prefill, None) => return,
        };
        let mut broken = Vec::new();
        let changed = front.on_fault(fault, ctx, |index, ctx| {
            let index = first + index;
            broken.push(index);
            lose(&mut replicas[index], active, &mut measures.tallies[index], ctx)
        });
        self.lose_loads(&broken, ctx);
        (0..self.replicas.len()).for_each(|index| self.note(index, ctx));
        if let Fault::Interrupt { .. } = fault {
            self.forget_gone(ctx);
        }
        if changed {
            self.note_capacity(ctx);
        }
    }

    fn on_rate_change(&mut self, client: ClientId, ctx: &mut Ctx) {
        let Some(index) = self.sharing.replica_of(client) else { return };
        // A step that ends in this nanosecond ends before the change.
        if self.replicas[index].due.is_some_and(|due| due <= ctx.now()) {
            self.advance(index, ctx);
        }
        self.note(index, ctx);
    }

    fn observe(&self, now: SimTime) -> Signals {
        let ReplicaLoad { waiting, running } = self.load;
        let used = |replica: &Replica| u64::from(replica.engine.observe(now).used_blocks);
        let kv_used = self.replicas.iter().map(used).sum();
        let kv_total = self.of_groups(|engine| engine.config().usable_blocks());
        let queue = waiting + self.held();
        Signals { queue, busy: running, capacity: self.capacity(), kv_used, kv_total }
    }

    fn report(&self, now: SimTime) -> Option<LlmReport> {
        let (mut report, _) = self.measured(now);
        report.rejected.no_replica = self.fronts().map(|front| front.report(now).no_replica).sum();
        Some(report)
    }

    fn pool_report(&self, now: SimTime) -> Option<PoolReport> {
        Some(self.report_of_fronts(now))
    }

    fn measures(&self, now: SimTime) -> Vec<Measure> {
        self.more_measures(now)
    }

    fn reset_measurements(&mut self, now: SimTime) {
        // What ends in this nanosecond belongs to the measured part.
        let before = SimTime::from_nanos(now.as_nanos().saturating_sub(1));
        let Self { replicas, measures, .. } = self;
        for (replica, tally) in replicas.iter_mut().zip(&mut measures.tallies) {
            replica.engine.settle(before, tally);
        }
        measures.reset(now, replicas.iter().map(|replica| replica.engine.underway(now)));
        self.front.reset_measurements(now);
        if let Some(connector) = &mut self.connector {
            connector.reset_measurements(now);
        }
    }
}
