//! The model server as a component: its replicas behind the pool's front.

use sim_core::time::SimTime;

use super::replica::{BATCH_END, Replica, Shared};
use crate::call::CallId;
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::device::ClientId;
use crate::measure::Measure;
use crate::pool::{Due, Front, PoolReport, Signal};
use crate::slab::Key;

/// One replica, or a pool of them.
#[derive(Debug)]
pub(super) struct Server {
    shared: Shared,
    replicas: Vec<Replica>,
    front: Front,
    is_pool: bool,
}

impl Server {
    pub(super) fn new(shared: Shared, replicas: Vec<Replica>, front: Front, is_pool: bool) -> Self {
        Self { shared, replicas, front, is_pool }
    }

    /// Takes note of a replica's load after something has changed.
    fn note(&mut self, replica: usize, ctx: &Ctx) {
        let (queue, busy, _) = self.replicas[replica].load();
        self.front.note(replica, queue, busy, ctx.now());
    }

    /// Sends a call to a replica.
    fn hand_in(&mut self, call: CallId, ctx: &mut Ctx) {
        if let Some(replica) = self.front.route(call, ctx) {
            self.replicas[replica].arrive(call, &mut self.shared, &mut self.front, ctx);
            self.note(replica, ctx);
        }
    }

    /// Instances that are up.
    fn capacity(&self) -> u64 {
        let (.., up) = self.replicas[0].load();
        if self.is_pool { self.front.up() * up } else { up }
    }
}

impl Component for Server {
    fn start(&mut self, ctx: &mut Ctx) {
        self.front.start(ctx);
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        self.hand_in(call, ctx);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        if let Some(replica) = self.front.cancel(call, ctx) {
            self.replicas[replica].cancel(call, &mut self.shared, &mut self.front, ctx);
            self.note(replica, ctx);
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let Self { shared, replicas, front, .. } = self;
        if front.owns(timer) {
            let signal = |replica: usize| {
                let (waiting, running, _) = replicas[replica].load();
                Signal { waiting, running, kv_usage: 0.0 }
            };
            match front.on_timer(timer, ctx, signal) {
                Due::Nothing => {}
                Due::Route(call) => self.hand_in(call, ctx),
                Due::Empty => drop(front.take_gone()),
                Due::Reclaim(replica) => {
                    let lost = replicas[replica].lose(shared, ctx);
                    front.reclaimed(replica, lost, ctx);
                    drop(front.take_gone());
                    self.note(replica, ctx);
                }
                Due::Crash(replica) => {
                    let lost = replicas[replica].lose(shared, ctx);
                    front.crashed(replica, lost, ctx);
                    self.note(replica, ctx);
                }
                Due::Started(replica) => replicas[replica].slow = front.slowdown(replica),
            }
            return;
        }
        let replica = if timer.kind == BATCH_END {
            let key = Key::from_bits(timer.data);
            let Some(batch) = shared.batches.get_mut(key) else { return };
            batch.end = None;
            let replica = batch.replica as usize;
            replicas[replica].end_batch(key, false, shared, front, ctx);
            replicas[replica].go_on(shared, ctx);
            replica
        } else {
            replicas[timer.data as usize].wake(shared, front, ctx);
            timer.data as usize
        };
        self.note(replica, ctx);
    }

    fn on_rate_change(&mut self, client: ClientId, ctx: &mut Ctx) {
        for replica in &mut self.replicas {
            replica.on_rate_change(client, &mut self.shared, ctx);
        }
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        let Self { shared, replicas, front, .. } = self;
        match *fault {
            Fault::Slow { factor } => shared.slow = factor,
            Fault::Crash { replicas: instances } if !self.is_pool => {
                replicas[0].crash(instances, shared, front, ctx)
            }
            Fault::Repair { replicas: instances } if !self.is_pool => replicas[0].repair(instances),
            _ => {
                front.on_fault(fault, ctx, |replica, ctx| replicas[replica].lose(shared, ctx));
            }
        }
        for replica in &mut self.replicas {
            replica.go_on(&mut self.shared, ctx);
        }
        (0..self.replicas.len()).for_each(|replica| self.note(replica, ctx));
        let (now, capacity) = (ctx.now(), self.capacity());
        ctx.meter().capacity.set(now, capacity);
    }

    fn observe(&self, _now: SimTime) -> Signals {
        let loads = || self.replicas.iter().map(Replica::load);
        let queue = loads().map(|(queue, ..)| queue).sum::<u64>() + self.front.held();
        let busy = loads().map(|(_, busy, _)| busy).sum();
        Signals { queue, busy, capacity: self.capacity(), ..Signals::default() }
    }

    fn pool_report(&self, now: SimTime) -> Option<PoolReport> {
        let mut report = self.front.report(now);
        for (row, replica) in report.replicas.iter_mut().zip(&self.replicas) {
            row.engine = Some(replica.executions.figures(row.busy_mean / row.capacity as f64));
        }
        report.calibration.clone_from(&self.shared.report.calibration);
        Some(report)
    }

    fn measures(&self, now: SimTime) -> Vec<Measure> {
        let held = self.front.held_mean(now) / self.replicas.len() as f64;
        let mut list = self.shared.report.measures(held);
        if self.is_pool {
            list.extend(self.front.measures(now));
        }
        list
    }

    fn reset_measurements(&mut self, now: SimTime) {
        self.shared.report.reset();
        self.replicas.iter_mut().for_each(|replica| replica.executions = Default::default());
        self.front.reset_measurements(now);
    }
}
