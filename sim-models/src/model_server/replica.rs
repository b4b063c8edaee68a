//! One replica of a model server: its instances, the batches on them, and the clock.

use std::collections::VecDeque;

use sim_core::distribution::Dist;
use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedDraws, Purpose, unit};
use sim_core::time::{SimDuration, SimTime};

use super::batcher::{Batcher, Formed, Place, Rules};
use super::execution::{Execution, Work, count};
use super::report::{Executions, ModelServerReport};
use crate::call::{CallId, Reply};
use crate::context::Ctx;
use crate::device::{ClientId, PacedWork, Rate};
use crate::pool::Front;
use crate::slab::{Key, Slab};

/// An execution ends.
pub(super) const BATCH_END: u16 = 0;
/// Time to look at who waits at a replica.
pub(super) const WAKE: u16 = 1;

/// What the replicas of a server have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) max_batch_size: u64,
    pub(super) execution: Execution,
    pub(super) items: Dist,
    pub(super) error_rate: f64,
    /// Most calls that wait at a replica, whatever their level; none for no bound.
    pub(super) queue_cap: Option<u32>,
    /// Number of priority levels and the level of classes beyond them, from 1.
    pub(super) priority: Option<(u32, u32)>,
    pub(super) preserve_ordering: bool,
    pub(super) report: ModelServerReport,
    /// How many times as long an execution takes.
    pub(super) slow: f64,
    pub(super) jobs: Slab<Job>,
    pub(super) batches: Slab<Batch>,
    /// To be used again.
    pub(super) spare: Vec<Vec<Key>>,
}

impl Shared {
    /// The level of a call, from 0.
    fn level(&self, class: u8) -> usize {
        let level = u32::from(class) + 1;
        match self.priority {
            None => 0,
            Some((levels, default)) => (if level > levels { default } else { level }) as usize - 1,
        }
    }

    /// Draws a call's work and whether it fails.
    fn draw(&self, call: CallId, ctx: &Ctx) -> (Work, bool) {
        let mut draws = ctx.draws(call);
        let items = count(&self.items, &mut draws);
        let work = self.execution.draw(items, ctx.request(call).prompt_tokens, &mut draws);
        (work, self.error_rate > 0.0 && unit(&mut draws) < self.error_rate)
    }
}

/// A call that waits or is in a batch.
#[derive(Debug)]
pub(super) struct Job {
    call: CallId,
    work: Work,
    fails: bool,
    /// Where it waits; none once it is in a batch.
    place: Option<Place>,
}

#[derive(Debug)]
pub(super) struct Batch {
    jobs: Vec<Key>,
    /// Its first request's place in the order of replies.
    first: u64,
    items: u64,
    /// Where it is executed.
    pub(super) replica: u32,
    instance: usize,
    began: SimTime,
    work: PacedWork,
    pub(super) end: Option<EventHandle>,
}

#[derive(Debug)]
struct Instance {
    up: bool,
    batch: Option<Key>,
    /// The GPU that it is on, by its place in `gpus`.
    gpu: Option<usize>,
}

/// A GPU and what this server runs on it.
#[derive(Debug)]
struct Gpu {
    client: ClientId,
    running: u32,
    /// What the device was last told.
    said: u32,
}

/// The instances and the queue of one replica. It ends calls through the pool's front.
#[derive(Debug)]
pub(super) struct Replica {
    index: u32,
    batcher: Batcher,
    instances: Vec<Instance>,
    gpus: Vec<Gpu>,
    up: u32,
    busy: u32,
    /// When those who wait are looked at next.
    wake: Option<(SimTime, EventHandle)>,
    /// When a batch will go though no more come; [`SimTime::MAX`] for never.
    waits_until: SimTime,
    crashes: u64,
    /// How many times as long its executions take, because of its version.
    pub(super) slow: f64,
    /// With `preserve_ordering`: those in batches, in the order in which they were taken, with their
    /// replies as far as they are known; and the number of the first.
    order: VecDeque<(CallId, Option<Reply>)>,
    first_in_order: u64,
    pub(super) executions: Executions,
}

impl Replica {
    /// A replica with so many instances, on these GPUs one after the other; without GPUs each instance has
    /// hardware of its own.
    pub(super) fn new(index: u32, rules: Rules, instances: u32, gpus: &[ClientId]) -> Self {
        let instance = |index: u32| Instance {
            up: true,
            batch: None,
            gpu: (!gpus.is_empty()).then(|| index as usize % gpus.len().max(1)),
        };
        Self {
            index,
            batcher: Batcher::new(rules),
            instances: (0..instances).map(instance).collect(),
            gpus: gpus.iter().map(|client| Gpu { client: *client, running: 0, said: 0 }).collect(),
            up: instances,
            busy: 0,
            wake: None,
            waits_until: SimTime::MAX,
            crashes: 0,
            slow: 1.0,
            order: VecDeque::new(),
            first_in_order: 0,
            executions: Executions::default(),
        }
    }

    /// Calls waiting, instances busy and instances up.
    pub(super) fn load(&self) -> (u64, u64, u64) {
        (self.batcher.len() as u64, self.busy.into(), self.up.into())
    }

    /// A call arrives.
    pub(super) fn arrive(&mut self, call: CallId, shared: &mut Shared, front: &mut Front, ctx: &mut Ctx) {
        if !self.admit(call, shared, ctx) {
            front.reply(call, Reply::REJECTED, ctx);
            return;
        }
        // Behind all arrivals of this instant, so that they go together in whatever order they come.
        let look = self.busy < self.up && self.batcher.is_worth_a_look();
        let at = if look { ctx.now() } else { self.waits_until.min(self.batcher.next_expiry()) };
        self.wake_at(at, ctx);
    }

    /// The caller gave up.
    pub(super) fn cancel(&mut self, call: CallId, shared: &mut Shared, front: &mut Front, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        // A batch that has begun runs to its end.
        let Some(place) = shared.jobs.get(key).and_then(|job| job.place) else { return };
        self.batcher.remove(place);
        shared.jobs.remove(key);
        let now = ctx.now();
        ctx.meter().queue.add(now, -1);
        front.abandon(call, ctx);
        self.go_on(shared, ctx);
    }

    /// Time to look at who waits.
    pub(super) fn wake(&mut self, shared: &mut Shared, front: &mut Front, ctx: &mut Ctx) {
        self.wake = None;
        self.dispatch(shared, ctx);
        self.expire(shared, front, ctx);
        self.settle(shared, ctx);
    }

    /// After a change: what can go, goes.
    pub(super) fn go_on(&mut self, shared: &mut Shared, ctx: &mut Ctx) {
        self.dispatch(shared, ctx);
        self.settle(shared, ctx);
    }

    /// The work of a client of a shared GPU goes on at another rate, if it is one of this replica.
    pub(super) fn on_rate_change(&mut self, client: ClientId, shared: &mut Shared, ctx: &mut Ctx) {
        if let Some(gpu) = self.gpus.iter().position(|gpu| gpu.client == client) {
            self.adopt_rate(gpu, shared, ctx);
        }
    }

    /// Everything in it is gone: the calls that were in it.
    pub(super) fn lose(&mut self, shared: &mut Shared, ctx: &mut Ctx) -> Vec<CallId> {
        let now = ctx.now();
        let mut calls: Vec<CallId> = Vec::new();
        let mut keys = self.batcher.clear();
        let meter = ctx.meter();
        meter.queue.add(now, -(keys.len() as i64));
        meter.busy.add(now, -i64::from(self.busy));
        for instance in &mut self.instances {
            let Some(mut batch) = instance.batch.take().and_then(|key| shared.batches.remove(key)) else {
                continue;
            };
            if let Some(end) = batch.end {
                ctx.cancel_timer(end);
            }
            keys.append(&mut batch.jobs);
        }
        self.busy = 0;
        self.gpus.iter_mut().for_each(|gpu| gpu.running = 0);
        for job in keys.into_iter().filter_map(|key| shared.jobs.remove(key)) {
            calls.push(job.call);
        }
        // Replies that waited for those of others are lost, too.
        self.first_in_order += self.order.len() as u64;
        let held = self.order.drain(..).filter(|(_, reply)| reply.is_some());
        calls.extend(held.map(|(call, _)| call));
        self.go_on(shared, ctx);
        calls
    }

    fn idle_instance(&self) -> Option<usize> {
        if self.busy >= self.up {
            return None;
        }
        self.instances.iter().position(|instance| instance.up && instance.batch.is_none())
    }

    /// Lets a call wait; false if it is refused.
    fn admit(&mut self, call: CallId, shared: &mut Shared, ctx: &mut Ctx) -> bool {
        let (work, fails) = shared.draw(call, ctx);
        let refused = &mut shared.report.refused;
        if work.items > shared.max_batch_size {
            refused.exceeds_batch += 1;
            return false;
        }
        if shared.queue_cap.is_some_and(|cap| self.batcher.len() >= cap as usize) {
            refused.queue_full += 1;
            return false;
        }
        let now = ctx.now();
        let deadline = ctx.call(call).deadline;
        // A caller that has given up before its call arrived has the least patience there is.
        let patience = SimDuration::from_nanos(deadline.as_nanos().saturating_sub(now.as_nanos()).max(1));
        let level = shared.level(ctx.request(call).class);
        let key = shared.jobs.insert(Job { call, work, fails, place: None });
        let place = self.batcher.enqueue(level, key, work.items, now, patience);
        if place.is_none() {
            shared.jobs.remove(key);
            shared.report.refused.queue_full += 1;
            return false;
        }
        if let Some(job) = shared.jobs.get_mut(key) {
            job.place = place;
        }
        ctx.call_mut(call).scratch = key.to_bits();
        ctx.meter().queue.add(now, 1);
        true
    }

    /// Gives idle instances what can go.
    fn dispatch(&mut self, shared: &mut Shared, ctx: &mut Ctx) {
        self.waits_until = SimTime::MAX;
        while let Some(instance) = self.idle_instance() {
            let mut jobs = shared.spare.pop().unwrap_or_default();
            match self.batcher.form(ctx.now(), &mut jobs) {
                Formed::Batch => self.begin(instance, jobs, shared, ctx),
                Formed::Wait(until) => {
                    self.waits_until = until;
                    shared.spare.push(jobs);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, instance: usize, jobs: Vec<Key>, shared: &mut Shared, ctx: &mut Ctx) {
        let now = ctx.now();
        let first = self.first_in_order + self.order.len() as u64;
        let mut items = 0;
        for key in &jobs {
            let job = shared.jobs.get_mut(*key).expect("kept while it waits");
            job.place = None;
            items += job.work.items;
            ctx.began(job.call);
            if shared.preserve_ordering {
                self.order.push_back((job.call, None));
            }
        }
        let works = jobs.iter().filter_map(|key| Some(shared.jobs.get(*key)?.work));
        let time = stretched(shared.execution.time(works), shared.slow * self.slow);
        let meter = ctx.meter();
        meter.queue.add(now, -(jobs.len() as i64));
        meter.busy.add(now, 1);
        let work = PacedWork::new(time, now, Rate::FULL);
        let key = shared.batches.insert(Batch {
            jobs,
            first,
            items,
            replica: self.index,
            instance,
            began: now,
            work,
            end: None,
        });
        self.busy += 1;
        self.instances[instance].batch = Some(key);
        match self.instances[instance].gpu {
            // The end is set when the GPU has been told.
            Some(gpu) => self.gpus[gpu].running += 1,
            None => plan_end(key, Rate::FULL, shared, ctx),
        }
    }

    /// All batches on a GPU go on at its present rate.
    fn adopt_rate(&mut self, gpu: usize, shared: &mut Shared, ctx: &mut Ctx) {
        let rate = ctx.device_rate(self.gpus[gpu].client);
        // Instances of a GPU stand as far apart as there are GPUs.
        for index in (gpu..self.instances.len()).step_by(self.gpus.len()) {
            if let Some(key) = self.instances[index].batch {
                plan_end(key, rate, shared, ctx);
            }
        }
    }

    /// After every change: tells the GPUs, and sets the next look at who waits.
    fn settle(&mut self, shared: &mut Shared, ctx: &mut Ctx) {
        for index in 0..self.gpus.len() {
            let Gpu { client, running, said } = &mut self.gpus[index];
            if running != said {
                *said = *running;
                ctx.set_running(*client, *running);
            }
            self.adopt_rate(index, shared, ctx);
        }
        let at = self.waits_until.min(self.batcher.next_expiry());
        self.wake_at(at, ctx);
    }

    fn wake_at(&mut self, at: SimTime, ctx: &mut Ctx) {
        if self.wake.is_some_and(|(set, _)| set == at) {
            return;
        }
        if let Some((_, timer)) = self.wake.take() {
            ctx.cancel_timer(timer);
        }
        if at < SimTime::MAX {
            self.wake = Some((at, ctx.schedule_at(at, Phase::Timer, WAKE, self.index.into())));
        }
    }

    /// A batch leaves its instance: with its replies, or lost.
    pub(super) fn end_batch(
        &mut self,
        key: Key,
        lost: bool,
        shared: &mut Shared,
        front: &mut Front,
        ctx: &mut Ctx,
    ) {
        let Some(batch) = shared.batches.remove(key) else { return };
        let now = ctx.now();
        let instance = &mut self.instances[batch.instance];
        instance.batch = None;
        self.busy -= 1;
        if let Some(gpu) = instance.gpu {
            self.gpus[gpu].running -= 1;
        }
        ctx.meter().busy.add(now, -1);
        if lost {
            if let Some(end) = batch.end {
                ctx.cancel_timer(end);
            }
        } else {
            let took = now.since(batch.began);
            shared.report.executed(batch.items, batch.jobs.len() as u64, took);
            self.executions.add(batch.items, took);
        }
        for (number, key) in (batch.first..).zip(&batch.jobs) {
            let Some(job) = shared.jobs.remove(*key) else { continue };
            let reply = if lost || job.fails { Reply::FAILED } else { Reply::OK };
            if shared.preserve_ordering {
                self.order[(number - self.first_in_order) as usize].1 = Some(reply);
            } else {
                front.reply(job.call, reply, ctx);
            }
        }
        while let Some(&(call, Some(reply))) = self.order.front() {
            front.reply(call, reply, ctx);
            self.order.pop_front();
            self.first_in_order += 1;
        }
        let mut jobs = batch.jobs;
        jobs.clear();
        shared.spare.push(jobs);
    }

    /// Turns away who has waited too long.
    fn expire(&mut self, shared: &mut Shared, front: &mut Front, ctx: &mut Ctx) {
        let now = ctx.now();
        while let Some(job) = self.batcher.pop_expired(now).and_then(|key| shared.jobs.remove(key)) {
            shared.report.refused.timed_out += 1;
            ctx.meter().queue.add(now, -1);
            front.reply(job.call, Reply::REJECTED, ctx);
        }
    }

    /// Instances are lost with the batches on them.
    pub(super) fn crash(&mut self, instances: u32, shared: &mut Shared, front: &mut Front, ctx: &mut Ctx) {
        let mut draws: KeyedDraws = ctx.keyed_stream(Purpose::Faults).draws(self.crashes, 0, 0);
        self.crashes += 1;
        for _ in 0..instances.min(self.up) {
            let hit = (unit(&mut draws) * f64::from(self.up)) as usize;
            let mut live = (0..self.instances.len()).filter(|index| self.instances[*index].up);
            let Some(index) = live.nth(hit) else { continue };
            self.instances[index].up = false;
            if let Some(key) = self.instances[index].batch {
                self.end_batch(key, true, shared, front, ctx);
            }
            self.up -= 1;
        }
    }

    /// Instances are back.
    pub(super) fn repair(&mut self, instances: u32) {
        let down = self.instances.iter_mut().filter(|instance| !instance.up);
        let mended = down.take(instances as usize).map(|instance| instance.up = true).count();
        self.up += mended as u32;
    }
}

/// From now on a batch goes on at a rate.
fn plan_end(key: Key, rate: Rate, shared: &mut Shared, ctx: &mut Ctx) {
    let batch = shared.batches.get_mut(key).expect("an instance's batch is live");
    if batch.end.is_some() && batch.work.rate() == rate {
        return;
    }
    batch.work.set_rate(ctx.now(), rate);
    if let Some(end) = batch.end.take() {
        ctx.cancel_timer(end);
    }
    // What would end beyond all time never does.
    let ends = batch.work.ends();
    if ends < SimTime::MAX {
        batch.end = Some(ctx.schedule_at(ends, Phase::StepEnd, BATCH_END, key.to_bits()));
    }
}

/// `time` times `factor`, to the nearest nanosecond.
fn stretched(time: SimDuration, factor: f64) -> SimDuration {
    if factor == 1.0 {
        return time;
    }
    SimDuration::from_nanos((time.as_nanos() as f64 * factor).round() as u64)
}
