//! Servers that work on all calls at once (egalitarian processor sharing).

use std::collections::BTreeMap;

use sim_core::event::{EventHandle, Phase};
use sim_core::random::unit;
use sim_core::time::{SimDuration, SimTime};

use super::{Replica, Servers, verdict};
use crate::call::{CallId, Reply};
use crate::context::Ctx;
use crate::pool::Front;
use crate::slab::{Key, Slab};

/// Binary digits below the nanosecond.
const FRACTION: u32 = 32;

/// Work shared by `servers`: of n items each is done at the speed min(1, servers / n).
///
/// All items have had equal service since each arrived, so one number, the service that an item
/// present from the start would have had, moves them all on: an item ends when that number reaches
/// its own mark. It counts in units of 2^-32 ns, and what does not divide evenly among the items is
/// kept and handed out later, so that not a unit of a server's work is lost or made: a single server
/// is busy for exactly the sum of the work, to the nanosecond, as under any other discipline. The
/// price is that an arrival or an end may credit the items with less than a unit of one another's
/// service. Ends are seen at the first whole nanosecond at or after them, and what the servers do in
/// the rest of it goes to the items that remain.
#[derive(Debug)]
pub(super) struct SharedWork<T> {
    servers: u32,
    /// When `attained` held.
    at: SimTime,
    attained: u128,
    /// Work done and not yet handed out.
    spare: u128,
    /// By the mark of their end, then by arrival.
    items: BTreeMap<Mark, T>,
    arrivals: u64,
}

/// Names an item: where it ends, and the number of its arrival.
pub(super) type Mark = (u128, u64);

impl<T> SharedWork<T> {
    pub(super) fn new(servers: u32) -> Self {
        Self { servers, at: SimTime::ZERO, attained: 0, spare: 0, items: BTreeMap::new(), arrivals: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Items and servers at work.
    fn sharers(&self) -> (u128, u128) {
        let items = self.items.len() as u128;
        (items, items.min(u128::from(self.servers)))
    }

    /// Time until the item at `end` is done, in units, and the work on all items until then.
    fn until(&self, end: u128) -> Option<(u128, u128)> {
        let (items, busy) = self.sharers();
        let needed = items * (end - self.attained);
        (busy > 0).then(|| (needed.saturating_sub(self.spare).div_ceil(busy), needed))
    }

    /// Works on until `now`, and hands over what is done by then.
    pub(super) fn advance(&mut self, now: SimTime, mut done: impl FnMut(T)) {
        let mut time = u128::from(now.since(self.at).as_nanos()) << FRACTION;
        self.at = now;
        while let Some(((end, _), _)) = self.items.first_key_value() {
            let end = *end;
            let Some((takes, needed)) = self.until(end) else { return };
            let (items, busy) = self.sharers();
            if takes > time {
                self.spare += busy * time;
                self.attained += self.spare / items;
                self.spare %= items;
                return;
            }
            time -= takes;
            self.spare = self.spare + busy * takes - needed;
            self.attained = end;
            if let Some((_, item)) = self.items.pop_first() {
                done(item);
            }
        }
        (self.attained, self.spare) = (0, 0);
    }

    /// How long from the last [`SharedWork::advance`] until an item is done.
    pub(super) fn next(&self) -> Option<SimDuration> {
        let ((end, _), _) = self.items.first_key_value()?;
        let (takes, _) = self.until(*end)?;
        let nanos = takes.div_ceil(1 << FRACTION);
        Some(SimDuration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Adds an item with so many nanoseconds of work. Advance first.
    pub(super) fn add(&mut self, work: u64, item: T) -> Mark {
        let mark = (self.attained + (u128::from(work) << FRACTION), self.arrivals);
        self.arrivals += 1;
        self.items.insert(mark, item);
        mark
    }

    /// Takes an item out before its end. Advance first.
    pub(super) fn remove(&mut self, mark: Mark) {
        self.items.remove(&mark);
    }

    /// Changes the number of servers. Advance first.
    pub(super) fn set_servers(&mut self, servers: u32) {
        self.servers = servers;
    }
}

#[derive(Debug)]
struct Job {
    call: CallId,
    fails: bool,
    mark: Mark,
}

#[derive(Debug)]
pub(super) struct Sharing {
    servers: Servers,
    work: SharedWork<Key>,
    jobs: Slab<Job>,
    /// The next end.
    timer: Option<EventHandle>,
}

impl Sharing {
    pub(super) fn new(servers: Servers) -> Self {
        let work = SharedWork::new(servers.up);
        Self { servers, work, jobs: Slab::default(), timer: None }
    }

    /// Works on until now and ends what is done.
    fn catch_up(&mut self, front: &mut Front, ctx: &mut Ctx) {
        let jobs = &mut self.jobs;
        self.work.advance(ctx.now(), |key| {
            if let Some(job) = jobs.remove(key) {
                front.reply(job.call, verdict(job.fails), ctx);
            }
        });
    }

    /// After every change: the next end.
    fn settle(&mut self, ctx: &mut Ctx) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_timer(timer);
        }
        let kind = self.servers.timer;
        self.timer = self.work.next().map(|delay| ctx.schedule(delay, Phase::StepEnd, kind, 0));
    }
}

impl Replica for Sharing {
    fn servers(&mut self) -> &mut Servers {
        &mut self.servers
    }

    fn arrive(&mut self, call: CallId, front: &mut Front, ctx: &mut Ctx) {
        self.catch_up(front, ctx);
        if self.work.len() as u64 >= self.servers.most_calls() {
            front.reply(call, Reply::REJECTED, ctx);
        } else {
            let (work, fails) = self.servers.draw(call, ctx);
            let key = self.jobs.insert(Job { call, fails, mark: Mark::default() });
            let mark = self.work.add(self.servers.stretched(work), key);
            if let Some(job) = self.jobs.get_mut(key) {
                job.mark = mark;
            }
            ctx.call_mut(call).scratch = key.to_bits();
            ctx.meter().wait.record(0);
        }
        self.settle(ctx);
    }

    fn on_timer(&mut self, _data: u64, front: &mut Front, ctx: &mut Ctx) {
        self.timer = None;
        self.catch_up(front, ctx);
        self.settle(ctx);
    }

    fn cancel(&mut self, call: CallId, front: &mut Front, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        self.catch_up(front, ctx);
        // It may have ended this very instant.
        if let Some(job) = self.jobs.remove(key) {
            self.work.remove(job.mark);
            front.abandon(call, ctx);
        }
        self.settle(ctx);
    }

    fn crash(&mut self, servers: u32, front: &mut Front, ctx: &mut Ctx) {
        self.catch_up(front, ctx);
        let before = self.servers.up;
        let (lost, mut draws) = self.servers.crash(servers, ctx);
        let share = f64::from(lost) / f64::from(before.max(1));
        let mut hit = Vec::new();
        self.work.items.retain(|_, key| {
            let goes = unit(&mut draws) < share;
            hit.extend(goes.then_some(*key));
            !goes
        });
        for key in hit {
            if let Some(job) = self.jobs.remove(key) {
                front.reply(job.call, Reply::FAILED, ctx);
            }
        }
        self.work.set_servers(self.servers.up);
        self.settle(ctx);
    }

    fn repair(&mut self, servers: u32, front: &mut Front, ctx: &mut Ctx) {
        self.catch_up(front, ctx);
        self.servers.repair(servers);
        self.work.set_servers(self.servers.up);
        self.settle(ctx);
    }

    fn slow(&mut self, factor: f64, front: &mut Front, ctx: &mut Ctx) {
        self.catch_up(front, ctx);
        self.servers.slowdown = factor;
        self.settle(ctx);
    }

    fn lose(&mut self, ctx: &mut Ctx) -> Vec<CallId> {
        let items = std::mem::take(&mut self.work.items);
        self.settle(ctx);
        items.into_values().filter_map(|key| self.jobs.remove(key)).map(|job| job.call).collect()
    }

    fn load(&self) -> (u64, u64) {
        let calls = self.work.len() as u64;
        let busy = calls.min(u64::from(self.servers.up));
        (calls - busy, busy)
    }
}
