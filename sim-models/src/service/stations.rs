//! Servers that work on one call at a time each.

use std::collections::BTreeMap;

use sim_core::event::{EventHandle, Phase};
use sim_core::random::unit;
use sim_core::time::{SimDuration, SimTime};

use super::line::Line;
use super::{Discipline, Replica, Servers, verdict, waited};
use crate::call::{CallId, Reply};
use crate::context::Ctx;
use crate::pool::Front;
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

    fn wait(&mut self, key: Key) {
        let job = self.job(key);
        let (rank, number) = (self.waiting_rank(job), job.number);
        self.line.push(rank, number, key);
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
        let after = SimDuration::from_nanos(job.left);
        let timer = ctx.schedule(after, Phase::StepEnd, self.servers.timer, key.to_bits());
        let ends = SimTime::from_nanos(now.as_nanos().saturating_add(job.left));
        job.serving = Some(Serving { place: self.serving.len(), ends, timer });
        self.serving.push(key);
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
    fn end(&mut self, key: Key, reply: Reply, front: &mut Front, ctx: &mut Ctx) {
        self.leave_server(key, ctx);
        if let Some(job) = self.jobs.remove(key) {
            front.reply(job.call, reply, ctx);
        }
    }

    /// Gives free servers to those who wait.
    fn fill(&mut self, ctx: &mut Ctx) {
        while self.has_free_server() {
            let Some(key) = self.line.pop() else { return };
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

impl Replica for Stations {
    fn servers(&mut self) -> &mut Servers {
        &mut self.servers
    }

    fn arrive(&mut self, call: CallId, front: &mut Front, ctx: &mut Ctx) {
        if (self.serving.len() + self.line.len()) as u64 >= self.servers.most_calls() {
            front.reply(call, Reply::REJECTED, ctx);
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
            self.wait(victim);
            self.begin(key, ctx);
        } else {
            self.wait(key);
        }
    }

    fn on_timer(&mut self, data: u64, front: &mut Front, ctx: &mut Ctx) {
        let key = Key::from_bits(data);
        let fails = self.job(key).fails;
        self.end(key, verdict(fails), front, ctx);
        self.fill(ctx);
    }

    fn cancel(&mut self, call: CallId, front: &mut Front, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        let Some(job) = self.jobs.get(key) else { return };
        if job.serving.is_none() {
            let (rank, number) = (self.waiting_rank(job), job.number);
            self.line.remove(rank, number);
        }
        self.leave_server(key, ctx);
        self.jobs.remove(key);
        front.abandon(call, ctx);
        self.fill(ctx);
    }

    fn crash(&mut self, servers: u32, front: &mut Front, ctx: &mut Ctx) {
        let before = self.servers.up;
        let (lost, mut draws) = self.servers.crash(servers, ctx);
        for gone in 0..lost {
            let hit = (unit(&mut draws) * f64::from(before - gone)) as usize;
            if let Some(key) = self.serving.get(hit).copied() {
                self.end(key, Reply::FAILED, front, ctx);
            }
        }
    }

    fn repair(&mut self, servers: u32, _front: &mut Front, ctx: &mut Ctx) {
        self.servers.repair(servers);
        self.fill(ctx);
    }

    fn slow(&mut self, factor: f64, _front: &mut Front, _ctx: &mut Ctx) {
        self.servers.slowdown = factor;
    }

    fn lose(&mut self, ctx: &mut Ctx) -> Vec<CallId> {
        let mut lost = std::mem::take(&mut self.serving);
        for key in &lost {
            if let Some(Serving { timer, .. }) = self.jobs.get(*key).and_then(|job| job.serving) {
                ctx.cancel_timer(timer);
            }
        }
        while let Some(key) = self.line.pop() {
            lost.push(key);
        }
        self.preemptible.clear();
        lost.into_iter().filter_map(|key| self.jobs.remove(key)).map(|job| job.call).collect()
    }

    fn load(&self) -> (u64, u64) {
        (self.line.len() as u64, self.serving.len() as u64)
    }
}
