//! Servers that work on one call at a time each.

use std::collections::BTreeMap;

use sim_core::event::{EventHandle, Phase};
use sim_core::random::unit;
use sim_core::time::{SimDuration, SimTime};

use super::{Discipline, Replica, Servers, verdict};
use crate::admission::{Entry, GuardedLine, Line, LinePlan};
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
    /// In its place, a line that does more than keep an order.
    guarded: Option<Box<Guarded>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Guarded {
    plan: LinePlan,
    line: GuardedLine,
    /// To be used again.
    dropped: Vec<Key>,
}

impl Stations {
    pub(super) fn new(servers: Servers, discipline: Discipline, plan: Option<LinePlan>) -> Self {
        Self {
            servers,
            discipline,
            jobs: Slab::default(),
            serving: Vec::new(),
            preemptible: BTreeMap::new(),
            line: match discipline {
                Discipline::Fcfs => Line::by_arrival(false),
                Discipline::Lifo => Line::by_arrival(true),
                _ => Line::by_rank(),
            },
            guarded: plan.map(|plan| Box::new(Guarded { line: plan.line(), plan, dropped: Vec::new() })),
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
            Discipline::Sjf | Discipline::Srpt => job.left,
            _ => 0,
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

    fn wait_guarded(&mut self, key: Key, ctx: &Ctx) {
        let job = self.job(key);
        let (call, rank, number, left) = (job.call, self.waiting_rank(job), job.number, job.left);
        let Some(Guarded { plan, line, .. }) = self.guarded.as_deref_mut() else { return };
        let request = ctx.request(call);
        let group = plan.group(request.class, request.tenant);
        line.push(Entry { rank, group, cost: left, ..Entry::new(key, number, ctx.now()) });
    }

    /// Takes a call that gave up out of the line.
    fn leave_line(&mut self, key: Key, ctx: &Ctx) {
        let job = self.job(key);
        let (call, rank, number) = (job.call, self.waiting_rank(job), job.number);
        match self.guarded.as_deref_mut() {
            Some(Guarded { plan, line, .. }) => {
                let request = ctx.request(call);
                line.remove(rank, number, plan.group(request.class, request.tenant));
            }
            None => self.line.remove(rank, number),
        }
    }

    fn begin(&mut self, key: Key, ctx: &mut Ctx) {
        let now = ctx.now();
        let job = self.jobs.get_mut(key).expect("kept while it waits");
        if !job.begun {
            job.begun = true;
            if self.discipline != Discipline::Srpt {
                job.left = self.servers.stretched(job.left);
            }
            ctx.began(job.call);
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
    fn fill(&mut self, front: &mut Front, ctx: &mut Ctx) {
        if self.guarded.is_some() {
            return self.fill_guarded(front, ctx);
        }
        while self.has_free_server() {
            let Some(key) = self.line.pop() else { return };
            self.begin(key, ctx);
        }
    }

    fn fill_guarded(&mut self, front: &mut Front, ctx: &mut Ctx) {
        while self.has_free_server()
            && let Some(Guarded { line, dropped, .. }) = self.guarded.as_deref_mut()
        {
            if line.len() == 0 && self.serving.is_empty() {
                line.idle();
            }
            let jobs = &self.jobs;
            let is_over = |key| jobs.get(key).is_none_or(|job| ctx.is_expired(job.call));
            let next = line.next(ctx.now(), is_over, dropped);
            let mut dropped = std::mem::take(dropped);
            dropped.drain(..).for_each(|key| self.refuse(key, front, ctx));
            if let Some(guarded) = &mut self.guarded {
                guarded.dropped = dropped;
            }
            let Some(key) = next else { return };
            self.begin(key, ctx);
        }
    }

    /// Turns away a call that is no longer in the line.
    fn refuse(&mut self, key: Key, front: &mut Front, ctx: &mut Ctx) {
        if let Some(job) = self.jobs.remove(key) {
            front.reply(job.call, Reply::REJECTED, ctx);
        }
    }

    /// Makes room in a full line for a call; false if it is the one to go.
    fn make_room(&mut self, call: CallId, front: &mut Front, ctx: &mut Ctx) -> bool {
        let Some(Guarded { plan, line, .. }) = self.guarded.as_deref_mut() else { return false };
        let request = ctx.request(call);
        match line.make_room(plan.group(request.class, request.tenant)) {
            Some(victim) => {
                self.refuse(victim, front, ctx);
                true
            }
            None => false,
        }
    }

    /// How many wait.
    fn waiting(&self) -> usize {
        self.guarded.as_ref().map_or(self.line.len(), |guarded| guarded.line.len())
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
        let is_full = (self.serving.len() + self.waiting()) as u64 >= self.servers.most_calls();
        if is_full && !self.make_room(call, front, ctx) {
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
        if self.guarded.is_some() {
            self.wait_guarded(key, ctx);
            self.fill(front, ctx);
        } else if self.has_free_server() {
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
        self.fill(front, ctx);
    }

    fn cancel(&mut self, call: CallId, front: &mut Front, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        let Some(job) = self.jobs.get(key) else { return };
        if job.serving.is_none() {
            self.leave_line(key, ctx);
        }
        self.leave_server(key, ctx);
        self.jobs.remove(key);
        front.abandon(call, ctx);
        self.fill(front, ctx);
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

    fn repair(&mut self, servers: u32, front: &mut Front, ctx: &mut Ctx) {
        self.servers.repair(servers);
        self.fill(front, ctx);
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
        if let Some(guarded) = &mut self.guarded {
            lost.append(&mut guarded.line.drain());
        }
        self.preemptible.clear();
        lost.into_iter().filter_map(|key| self.jobs.remove(key)).map(|job| job.call).collect()
    }

    fn load(&self) -> (u64, u64) {
        (self.waiting() as u64, self.serving.len() as u64)
    }

    fn line(&self) -> Option<&GuardedLine> {
        self.guarded.as_ref().map(|guarded| &guarded.line)
    }

    fn reset_measurements(&mut self) {
        if let Some(guarded) = &mut self.guarded {
            guarded.line.reset_measurements();
        }
    }
}
