//! The store at work: connections, the line for them, and the time of a read.

use std::collections::VecDeque;

use sim_core::distribution::{Dist, Distribution};
use sim_core::event::{EventHandle, Phase};
use sim_core::random::KeyedDraws;
use sim_core::time::{SimDuration, SimTime};

use super::ReadMode;
use crate::call::{CallId, Reply};
use crate::component::{Component, Fault, Load, Signals, Timer};
use crate::context::Ctx;
use crate::request::Outcome;
use crate::slab::{Key, Slab};

/// Writes never count for more of the store's time than this (assumption).
const LARGEST_WRITE_SHARE: f64 = 0.95;

/// The only timer: a read is done; its data is the read's key.
const DONE: u16 = 0;

/// What makes up the time of a read, in seconds.
#[derive(Debug)]
pub(super) struct Timing {
    pub features: u32,
    pub mode: ReadMode,
    pub lookup: Dist,
    pub per_feature: f64,
    pub base: f64,
    pub timeout: Option<f64>,
}

impl Timing {
    /// Seconds that a read takes, and whether one of its lookups timed out, at `slow` times the time of
    /// everything and `stretch` times the time of lookups.
    fn read(&self, slow: f64, stretch: f64, draws: &mut KeyedDraws) -> (f64, bool) {
        let mut timed_out = false;
        let mut lookup = |extra: f64| {
            let time = (self.lookup.sample(draws).max(0.0) + extra) * stretch * slow;
            match self.timeout {
                Some(timeout) if time > timeout => {
                    timed_out = true;
                    timeout
                }
                _ => time,
            }
        };
        let lookups = match self.mode {
            ReadMode::Sequential => (0..self.features).map(|_| lookup(0.0)).sum(),
            ReadMode::Parallel => (0..self.features).map(|_| lookup(0.0)).fold(0.0, f64::max),
            ReadMode::MultiGet => lookup(f64::from(self.features) * self.per_feature),
        };
        (self.base * slow + lookups, timed_out)
    }
}

/// A read from its arrival to its reply.
#[derive(Debug)]
struct Read {
    call: CallId,
    /// The end of the read once it has a connection.
    end: Option<EventHandle>,
    degraded: bool,
}

#[derive(Debug)]
pub(super) struct Store {
    timing: Timing,
    connections: Option<u32>,
    queue_cap: Option<u32>,
    reads: Slab<Read>,
    /// Who waits, and some who gave up since.
    line: VecDeque<Key>,
    waiting: u32,
    busy: u32,
    slow: f64,
    /// How many times as long lookups take because of background writes.
    stretch: f64,
    is_down: bool,
}

impl Store {
    pub(super) fn new(timing: Timing, connections: Option<u32>, queue_cap: Option<u32>) -> Self {
        Self {
            timing,
            connections,
            queue_cap,
            reads: Slab::default(),
            line: VecDeque::new(),
            waiting: 0,
            busy: 0,
            slow: 1.0,
            stretch: 1.0,
            is_down: false,
        }
    }

    fn has_connection(&self) -> bool {
        self.connections.is_none_or(|connections| self.busy < connections)
    }

    fn begin(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(read) = self.reads.get_mut(key) else { return };
        let (seconds, degraded) = self.timing.read(self.slow, self.stretch, &mut ctx.draws(read.call));
        let time = SimDuration::saturating_from_secs_f64(seconds);
        read.degraded = degraded;
        read.end = Some(ctx.schedule(time, Phase::StepEnd, DONE, key.to_bits()));
        self.busy += 1;
        let (now, arrived_at) = (ctx.now(), ctx.call(read.call).arrived_at);
        ctx.meter().wait.record(now.since(arrived_at).as_nanos());
        ctx.meter().busy.add(now, 1);
    }

    /// Gives a free connection to who has waited longest.
    fn fill(&mut self, ctx: &mut Ctx) {
        while self.waiting > 0 && self.has_connection() {
            let Some(key) = self.line.pop_front() else { return };
            if self.reads.get(key).is_some() {
                self.leave_line(ctx);
                self.begin(key, ctx);
            }
        }
    }

    fn leave_line(&mut self, ctx: &mut Ctx) {
        self.waiting -= 1;
        let now = ctx.now();
        ctx.meter().queue.add(now, -1);
    }

    /// Takes a read out of the store and replies; its connection, if it had one, is free.
    fn end(&mut self, key: Key, outcome: Option<Outcome>, ctx: &mut Ctx) {
        let Some(read) = self.reads.remove(key) else { return };
        match read.end {
            Some(end) => {
                ctx.cancel_timer(end);
                self.busy -= 1;
                let now = ctx.now();
                ctx.meter().busy.add(now, -1);
            }
            None => self.leave_line(ctx),
        }
        let answer = if read.degraded { Outcome::Degraded } else { Outcome::Ok };
        ctx.reply(read.call, Reply { outcome: outcome.unwrap_or(answer) });
    }

    /// Forgets who gave up, before they outnumber those who wait.
    fn tidy_line(&mut self) {
        if self.line.len() > 32 && self.line.len() / 2 > self.waiting as usize {
            self.line.retain(|key| self.reads.get(*key).is_some());
        }
    }
}

impl Component for Store {
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.is_down {
            return ctx.reply(call, Reply::FAILED);
        }
        let is_free = self.has_connection();
        if !is_free && self.queue_cap.is_some_and(|cap| self.waiting >= cap) {
            return ctx.reply(call, Reply::REJECTED);
        }
        let key = self.reads.insert(Read { call, end: None, degraded: false });
        ctx.call_mut(call).scratch = key.to_bits();
        if is_free {
            return self.begin(key, ctx);
        }
        self.line.push_back(key);
        self.waiting += 1;
        let now = ctx.now();
        ctx.meter().queue.add(now, 1);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        self.end(Key::from_bits(timer.data), None, ctx);
        self.fill(ctx);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        self.end(key, Some(Outcome::Failed), ctx);
        self.tidy_line();
        self.fill(ctx);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        let now = ctx.now();
        match *fault {
            Fault::Crash { .. } => {
                self.is_down = true;
                let mut lost = Vec::with_capacity(self.reads.len());
                self.reads.for_each(|read| lost.push(read.call));
                for call in lost {
                    let key = Key::from_bits(ctx.call(call).scratch);
                    self.end(key, Some(Outcome::Failed), ctx);
                }
                self.line.clear();
                ctx.meter().capacity.set(now, 0);
            }
            Fault::Repair { .. } => {
                self.is_down = false;
                ctx.meter().capacity.set(now, self.connections.map_or(0, u64::from));
            }
            Fault::Slow { factor } => self.slow = factor,
            // Of pools alone.
            Fault::Hang { .. } | Fault::Restart { .. } | Fault::Drain { .. } | Fault::Undrain { .. } => {}
        }
    }

    fn on_load(&mut self, load: Load, _ctx: &mut Ctx) {
        let share = (load.rate * load.cost).clamp(0.0, LARGEST_WRITE_SHARE);
        self.stretch = 1.0 / (1.0 - share);
    }

    /// A capacity of 0: no bound, or nothing up.
    fn observe(&self, _now: SimTime) -> Signals {
        Signals {
            queue: u64::from(self.waiting),
            busy: u64::from(self.busy),
            capacity: if self.is_down { 0 } else { self.connections.map_or(0, u64::from) },
            ..Signals::default()
        }
    }
}
