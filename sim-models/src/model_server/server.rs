//! The model server as a component: instances, the batches on them, and the clock.

use std::collections::VecDeque;

use sim_core::distribution::Dist;
use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedDraws, Purpose, unit};
use sim_core::time::{SimDuration, SimTime};

use super::batcher::{Batcher, Formed, Place};
use super::execution::{Execution, Work, count};
use super::report::ModelServerReport;
use crate::call::{CallId, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::device::{ClientId, PacedWork, Rate};
use crate::slab::{Key, Slab};

/// An execution ends.
const BATCH_END: u16 = 0;
/// Time to look at who waits.
const WAKE: u16 = 1;

/// What a server is made of.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) batcher: Batcher,
    pub(super) max_batch_size: u64,
    pub(super) execution: Execution,
    pub(super) items: Dist,
    pub(super) error_rate: f64,
    /// Most calls that wait, whatever their level; none for no bound.
    pub(super) queue_cap: Option<u32>,
    /// Number of priority levels and the level of classes beyond them, from 1.
    pub(super) priority: Option<(u32, u32)>,
    pub(super) preserve_ordering: bool,
    /// The GPUs, one after the other, that instances are on; none on hardware of their own each.
    pub(super) gpus: Vec<ClientId>,
    pub(super) report: ModelServerReport,
}

/// A call that waits or is in a batch.
#[derive(Debug)]
struct Job {
    call: CallId,
    work: Work,
    fails: bool,
    /// Where it waits; none once it is in a batch.
    place: Option<Place>,
}

#[derive(Debug)]
struct Batch {
    jobs: Vec<Key>,
    /// Its first request's place in the order of replies.
    first: u64,
    items: u64,
    instance: usize,
    began: SimTime,
    work: PacedWork,
    end: Option<EventHandle>,
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

#[derive(Debug)]
pub(super) struct Server {
    setup: Setup,
    jobs: Slab<Job>,
    batches: Slab<Batch>,
    instances: Vec<Instance>,
    gpus: Vec<Gpu>,
    up: u32,
    busy: u32,
    /// When those who wait are looked at next.
    wake: Option<(SimTime, EventHandle)>,
    /// When a batch will go though no more come; [`SimTime::MAX`] for never.
    waits_until: SimTime,
    /// How many times as long an execution takes.
    slow: f64,
    crashes: u64,
    /// With `preserve_ordering`: those in batches, in the order in which they were taken, with their
    /// replies as far as they are known; and the number of the first.
    order: VecDeque<(CallId, Option<Reply>)>,
    first_in_order: u64,
    /// To be used again.
    spare: Vec<Vec<Key>>,
}

impl Server {
    pub(super) fn new(setup: Setup) -> Self {
        let count = setup.report.instances;
        let gpus = setup.gpus.len();
        let instance = |index: u32| Instance {
            up: true,
            batch: None,
            gpu: (gpus > 0).then(|| index as usize % gpus.max(1)),
        };
        Self {
            jobs: Slab::default(),
            batches: Slab::default(),
            instances: (0..count).map(instance).collect(),
            gpus: setup.gpus.iter().map(|client| Gpu { client: *client, running: 0, said: 0 }).collect(),
            up: count,
            busy: 0,
            wake: None,
            waits_until: SimTime::MAX,
            slow: 1.0,
            crashes: 0,
            order: VecDeque::new(),
            first_in_order: 0,
            spare: Vec::new(),
            setup,
        }
    }

    fn idle_instance(&self) -> Option<usize> {
        if self.busy >= self.up {
            return None;
        }
        self.instances.iter().position(|instance| instance.up && instance.batch.is_none())
    }

    /// The level of a call, from 0.
    fn level(&self, class: u8) -> usize {
        let level = u32::from(class) + 1;
        match self.setup.priority {
            None => 0,
            Some((levels, default)) => (if level > levels { default } else { level }) as usize - 1,
        }
    }

    /// Draws a call's work and whether it fails.
    fn draw(&self, call: CallId, ctx: &Ctx) -> (Work, bool) {
        let mut draws = ctx.draws(call);
        let items = count(&self.setup.items, &mut draws);
        let work = self.setup.execution.draw(items, ctx.request(call).prompt_tokens, &mut draws);
        let error_rate = self.setup.error_rate;
        (work, error_rate > 0.0 && unit(&mut draws) < error_rate)
    }

    /// Lets a call wait; false if it is refused.
    fn admit(&mut self, call: CallId, ctx: &mut Ctx) -> bool {
        let (work, fails) = self.draw(call, ctx);
        let refused = &mut self.setup.report.refused;
        if work.items > self.setup.max_batch_size {
            refused.exceeds_batch += 1;
            return false;
        }
        if self.setup.queue_cap.is_some_and(|cap| self.setup.batcher.len() >= cap as usize) {
            refused.queue_full += 1;
            return false;
        }
        let now = ctx.now();
        let deadline = ctx.call(call).deadline;
        // A caller that has given up before its call arrived has the least patience there is.
        let patience = SimDuration::from_nanos(deadline.as_nanos().saturating_sub(now.as_nanos()).max(1));
        let level = self.level(ctx.request(call).class);
        let key = self.jobs.insert(Job { call, work, fails, place: None });
        let place = self.setup.batcher.enqueue(level, key, work.items, now, patience);
        if place.is_none() {
            self.jobs.remove(key);
            self.setup.report.refused.queue_full += 1;
            return false;
        }
        if let Some(job) = self.jobs.get_mut(key) {
            job.place = place;
        }
        ctx.call_mut(call).scratch = key.to_bits();
        ctx.meter().queue.add(now, 1);
        true
    }

    /// Gives idle instances what can go.
    fn dispatch(&mut self, ctx: &mut Ctx) {
        self.waits_until = SimTime::MAX;
        while let Some(instance) = self.idle_instance() {
            let mut jobs = self.spare.pop().unwrap_or_default();
            match self.setup.batcher.form(ctx.now(), &mut jobs) {
                Formed::Batch => self.begin(instance, jobs, ctx),
                Formed::Wait(until) => {
                    self.waits_until = until;
                    self.spare.push(jobs);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, instance: usize, jobs: Vec<Key>, ctx: &mut Ctx) {
        let now = ctx.now();
        let first = self.first_in_order + self.order.len() as u64;
        let mut items = 0;
        for key in &jobs {
            let job = self.jobs.get_mut(*key).expect("kept while it waits");
            job.place = None;
            items += job.work.items;
            ctx.began(job.call);
            if self.setup.preserve_ordering {
                self.order.push_back((job.call, None));
            }
        }
        let works = jobs.iter().filter_map(|key| Some(self.jobs.get(*key)?.work));
        let time = stretched(self.setup.execution.time(works), self.slow);
        let meter = ctx.meter();
        meter.queue.add(now, -(jobs.len() as i64));
        meter.busy.add(now, 1);
        let work = PacedWork::new(time, now, Rate::FULL);
        let key = self.batches.insert(Batch { jobs, first, items, instance, began: now, work, end: None });
        self.busy += 1;
        self.instances[instance].batch = Some(key);
        match self.instances[instance].gpu {
            // The end is set when the GPU has been told.
            Some(gpu) => self.gpus[gpu].running += 1,
            None => self.plan_end(key, Rate::FULL, ctx),
        }
    }

    /// From now on a batch goes on at a rate.
    fn plan_end(&mut self, key: Key, rate: Rate, ctx: &mut Ctx) {
        let batch = self.batches.get_mut(key).expect("an instance's batch is live");
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

    /// All batches on a GPU go on at its present rate.
    fn adopt_rate(&mut self, gpu: usize, ctx: &mut Ctx) {
        let rate = ctx.device_rate(self.gpus[gpu].client);
        // Instances of a GPU stand as far apart as there are GPUs.
        for index in (gpu..self.instances.len()).step_by(self.gpus.len()) {
            if let Some(key) = self.instances[index].batch {
                self.plan_end(key, rate, ctx);
            }
        }
    }

    /// After every change: tells the GPUs, and sets the next look at who waits.
    fn settle(&mut self, ctx: &mut Ctx) {
        for index in 0..self.gpus.len() {
            let Gpu { client, running, said } = &mut self.gpus[index];
            if running != said {
                *said = *running;
                ctx.set_running(*client, *running);
            }
            self.adopt_rate(index, ctx);
        }
        let at = self.waits_until.min(self.setup.batcher.next_expiry());
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
            self.wake = Some((at, ctx.schedule_at(at, Phase::Timer, WAKE, 0)));
        }
    }

    /// A batch leaves its instance: with its replies, or lost.
    fn end_batch(&mut self, key: Key, lost: bool, ctx: &mut Ctx) {
        let Some(batch) = self.batches.remove(key) else { return };
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
            self.setup.report.executed(batch.items, batch.jobs.len() as u64, took);
        }
        for (number, key) in (batch.first..).zip(&batch.jobs) {
            let Some(job) = self.jobs.remove(*key) else { continue };
            let reply = if lost || job.fails { Reply::FAILED } else { Reply::OK };
            if self.setup.preserve_ordering {
                self.order[(number - self.first_in_order) as usize].1 = Some(reply);
            } else {
                ctx.reply(job.call, reply);
            }
        }
        while let Some(&(call, Some(reply))) = self.order.front() {
            ctx.reply(call, reply);
            self.order.pop_front();
            self.first_in_order += 1;
        }
        let mut jobs = batch.jobs;
        jobs.clear();
        self.spare.push(jobs);
    }

    /// Turns away who has waited too long.
    fn expire(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        while let Some(job) = self.setup.batcher.pop_expired(now).and_then(|key| self.jobs.remove(key)) {
            self.setup.report.refused.timed_out += 1;
            ctx.meter().queue.add(now, -1);
            ctx.reply(job.call, Reply::REJECTED);
        }
    }

    fn set_up(&mut self, up: u32, ctx: &mut Ctx) {
        self.up = up;
        let now = ctx.now();
        ctx.meter().capacity.set(now, u64::from(up));
    }

    fn crash(&mut self, replicas: u32, ctx: &mut Ctx) {
        let mut draws: KeyedDraws = ctx.keyed_stream(Purpose::Faults).draws(self.crashes, 0, 0);
        self.crashes += 1;
        for _ in 0..replicas.min(self.up) {
            let hit = (unit(&mut draws) * f64::from(self.up)) as usize;
            let mut live = (0..self.instances.len()).filter(|index| self.instances[*index].up);
            let Some(index) = live.nth(hit) else { continue };
            self.instances[index].up = false;
            if let Some(key) = self.instances[index].batch {
                self.end_batch(key, true, ctx);
            }
            self.set_up(self.up - 1, ctx);
        }
    }

    fn repair(&mut self, replicas: u32, ctx: &mut Ctx) {
        let down = self.instances.iter_mut().filter(|instance| !instance.up);
        let mended = down.take(replicas as usize).map(|instance| instance.up = true).count();
        self.set_up(self.up + mended as u32, ctx);
    }
}

/// `time` times `factor`, to the nearest nanosecond.
fn stretched(time: SimDuration, factor: f64) -> SimDuration {
    if factor == 1.0 {
        return time;
    }
    SimDuration::from_nanos((time.as_nanos() as f64 * factor).round() as u64)
}

impl Component for Server {
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if !self.admit(call, ctx) {
            ctx.reply(call, Reply::REJECTED);
            return;
        }
        // Behind all arrivals of this instant, so that they go together in whatever order they come.
        let look = self.busy < self.up && self.setup.batcher.is_worth_a_look();
        let at = if look { ctx.now() } else { self.waits_until.min(self.setup.batcher.next_expiry()) };
        self.wake_at(at, ctx);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        // A batch that has begun runs to its end.
        let Some(place) = self.jobs.get(key).and_then(|job| job.place) else { return };
        self.setup.batcher.remove(place);
        self.jobs.remove(key);
        let now = ctx.now();
        ctx.meter().queue.add(now, -1);
        ctx.reply(call, Reply::FAILED);
        self.dispatch(ctx);
        self.settle(ctx);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        if timer.kind == BATCH_END {
            let key = Key::from_bits(timer.data);
            if let Some(batch) = self.batches.get_mut(key) {
                batch.end = None;
            }
            self.end_batch(key, false, ctx);
            self.dispatch(ctx);
        } else {
            self.wake = None;
            self.dispatch(ctx);
            self.expire(ctx);
        }
        self.settle(ctx);
    }

    fn on_rate_change(&mut self, client: ClientId, ctx: &mut Ctx) {
        if let Some(gpu) = self.gpus.iter().position(|gpu| gpu.client == client) {
            self.adopt_rate(gpu, ctx);
        }
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        match *fault {
            Fault::Crash { replicas } => self.crash(replicas, ctx),
            Fault::Repair { replicas } => self.repair(replicas, ctx),
            Fault::Slow { factor } => self.slow = factor,
            // For pools of replicas only, which the configuration sees to.
            Fault::Hang { .. } | Fault::Restart { .. } | Fault::Drain { .. } | Fault::Undrain { .. } => {}
        }
        self.dispatch(ctx);
        self.settle(ctx);
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals {
            queue: self.setup.batcher.len() as u64,
            busy: u64::from(self.busy),
            capacity: u64::from(self.up),
            ..Signals::default()
        }
    }

    fn model_server_report(&self, _now: SimTime) -> Option<ModelServerReport> {
        Some(self.setup.report.clone())
    }

    fn reset_measurements(&mut self, _now: SimTime) {
        self.setup.report.reset();
    }
}
