//! Servers that work on one call at a time each.

use std::collections::BTreeMap;

use sim_core::event::{EventHandle, Phase};
use sim_core::random::unit;
use sim_core::time::{SimDuration, SimTime};

use super::line::Line;
use super::{Discipline, Servers, verdict, waited};
use crate::call::{CallId, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::slab::{Key, Slab};

/// A call that waits or is in service.
#[derive(Debug)]
struct Job {
    call: CallId,
    /// Counts arrivals.
    number: u64,
    class: u8,
    /// Work left when it last began or stopped, in nanoseconds.
    left: u64,
    begun: bool,
    fails: bool,
    serving: Option<Serving>,
}

/// A call in service.
#[derive(Debug, Clone, Copy)]
struct Serving {
    /// Its place among those in service.
    place: usize,
    ends: SimTime,
    timer: EventHandle,
}

#[derive(Debug)]
pub(super) struct Stations {
    servers: Servers,
    discipline: Discipline,
    jobs: Slab<Job>,
    serving: Vec<Key>,
    /// Those in service, the first to be preempted last; only where there is preemption.
    preemptible: BTreeMap<(u64, u64), Key>,
    line: Line,
    arrivals: u64,
}

impl Stations {
    pub(super) fn new(servers: Servers, discipline: Discipline) -> Self {
        Self {
            servers,
            discipline,
            jobs: Slab::default(),
            serving: Vec::new(),
            preemptible: BTreeMap::new(),
            line: Line::new(discipline),
            arrivals: 0,
        }
    }

    fn is_preemptive(&self) -> bool {
        matches!(self.discipline, Discipline::PreemptivePriority | Discipline::Srpt)
    }

    fn job(&self, key: Key) -> &Job {
        self.jobs.get(key).expect("kept while it waits or is in service")
    }

    /// Where a call stands in the line: by class or by work left.
    fn waiting_rank(&self, job: &Job) -> u64 {
        match self.discipline {
            Discipline::Priority | Discipline::PreemptivePriority => u64::from(job.class),
            _ => job.left,
        }
    }

    /// Where a call stands among those in service, if it begins now: by class, or by its end, which
    /// orders them by the work left at any time.
    fn serving_rank(&self, job: &Job, ends: SimTime) -> u64 {
        match self.discipline {
            Discipline::PreemptivePriority => u64::from(job.class),
            _ => ends.as_nanos(),
        }
    }

    fn has_free_server(&self) -> bool {
        self.serving.len() < self.servers.up as usize
    }

    fn wait(&mut self, key: Key, ctx: &mut Ctx) {
        let job = self.job(key);
        let (rank, number) = (self.waiting_rank(job), job.number);
        self.line.push(rank, number, key);
        let now = ctx.now();
        ctx.meter().queue.add(now, 1);
    }

    fn begin(&mut self, key: Key, ctx: &mut Ctx) {
        let now = ctx.now();
        let job = self.jobs.get_mut(key).expect("kept while it waits");
        if !job.begun {
            job.begun = true;
            if self.discipline != Discipline::Srpt {
                job.left = self.servers.stretched(job.left);
            }
            let wait = waited(job.call, ctx).as_nanos();
            ctx.meter().wait.record(wait);
        }
        let timer = ctx.schedule(SimDuration::from_nanos(job.left), Phase::StepEnd, 0, key.to_bits());
        let ends = SimTime::from_nanos(now.as_nanos().saturating_add(job.left));
        job.serving = Some(Serving { place: self.serving.len(), ends, timer });
        self.serving.push(key);
        ctx.meter().busy.add(now, 1);
        if self.is_preemptive() {
            let job = self.job(key);
            self.preemptible.insert((self.serving_rank(job, ends), job.number), key);
        }
    }

    /// Frees the server of a call.
    fn leave_server(&mut self, key: Key, ctx: &mut Ctx) {
        let now = ctx.now();
        let job = self.jobs.get_mut(key).expect("kept while it is in service");
        let Some(Serving { place, ends, timer }) = job.serving.take() else { return };
        ctx.cancel_timer(timer);
        job.left = ends.since(now).as_nanos();
        self.serving.swap_remove(place);
        ctx.meter().busy.add(now, -1);
        if self.is_preemptive() {
            let job = self.job(key);
            let rank = self.serving_rank(job, ends);
            let number = job.number;
            self.preemptible.remove(&(rank, number));
        }
        if let Some(moved) = self.serving.get(place)
            && let Some(serving) = self.jobs.get_mut(*moved).and_then(|job| job.serving.as_mut())
        {
            serving.place = place;
        }
    }

    /// Ends a call in service.
    fn end(&mut self, key: Key, reply: Reply, ctx: &mut Ctx) {
        self.leave_server(key, ctx);
        if let Some(job) = self.jobs.remove(key) {
            ctx.reply(job.call, reply);
        }
    }

    /// Gives free servers to those who wait.
    fn fill(&mut self, ctx: &mut Ctx) {
        while self.has_free_server() {
            let Some(key) = self.line.pop() else { return };
            let now = ctx.now();
            ctx.meter().queue.add(now, -1);
            self.begin(key, ctx);
        }
    }

    /// The call in service that a new one takes the server of.
    fn victim(&self, key: Key, now: SimTime) -> Option<Key> {
        let ((rank, _), victim) = self.preemptible.last_key_value()?;
        let job = self.job(key);
        let ends = SimTime::from_nanos(now.as_nanos().saturating_add(job.left));
        (self.serving_rank(job, ends) < *rank).then_some(*victim)
    }
}

impl Component for Stations {
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if (self.serving.len() + self.line.len()) as u64 >= self.servers.most_calls() {
            ctx.reply(call, Reply::REJECTED);
            return;
        }
        let (mut left, fails) = self.servers.draw(call, ctx);
        if self.discipline == Discipline::Srpt {
            left = self.servers.stretched(left);
        }
        let class = ctx.request(call).class;
        let job = Job { call, number: self.arrivals, class, left, begun: false, fails, serving: None };
        self.arrivals += 1;
        let key = self.jobs.insert(job);
        ctx.call_mut(call).scratch = key.to_bits();
        if self.has_free_server() {
            self.begin(key, ctx);
        } else if let Some(victim) = self.victim(key, ctx.now()) {
            self.leave_server(victim, ctx);
            self.wait(victim, ctx);
            self.begin(key, ctx);
        } else {
            self.wait(key, ctx);
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let key = Key::from_bits(timer.data);
        let fails = self.job(key).fails;
        self.end(key, verdict(fails), ctx);
        self.fill(ctx);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        let Some(job) = self.jobs.get(key) else { return };
        if job.serving.is_none() {
            let (rank, number) = (self.waiting_rank(job), job.number);
            self.line.remove(rank, number);
            let now = ctx.now();
            ctx.meter().queue.add(now, -1);
        }
        self.end(key, Reply::FAILED, ctx);
        self.fill(ctx);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        match *fault {
            Fault::Crash { replicas } => {
                let before = self.servers.up;
                let (lost, mut draws) = self.servers.crash(replicas, ctx);
                for gone in 0..lost {
                    let hit = (unit(&mut draws) * f64::from(before - gone)) as usize;
                    if let Some(key) = self.serving.get(hit).copied() {
                        self.end(key, Reply::FAILED, ctx);
                    }
                }
            }
            Fault::Repair { replicas } => {
                self.servers.repair(replicas, ctx);
                self.fill(ctx);
            }
            Fault::Slow { factor } => self.servers.slowdown = factor,
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals {
            queue: self.line.len() as u64,
            busy: self.serving.len() as u64,
            capacity: u64::from(self.servers.up),
            ..Signals::default()
        }
    }
}
