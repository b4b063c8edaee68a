//! Replicas that are kept prepared beside those that serve ([`crate::autoscaler::WarmPoolConfig`]).

use sim_core::event::Phase;
use sim_core::stats::TimeWeighted;
use sim_core::time::{SimDuration, SimTime};

use super::super::timer;
use super::Fleet;
use crate::autoscaler::WarmPool;
use crate::context::Ctx;
use crate::measure::Measure;

/// A warm pool at work.
#[derive(Debug)]
pub(super) struct Warm {
    pool: WarmPool,
    /// Those that are prepared, and those that are being.
    ready: u32,
    warming: u32,
    /// Preparations so far, to key their draws by.
    begun: u64,
    /// What is measured.
    mean: TimeWeighted,
    starts: u64,
    prepared: u64,
}

impl Warm {
    /// It is full when a run begins, with so many replicas that serve.
    pub(super) fn new(pool: WarmPool, serving: u32) -> Self {
        let ready = pool.size(serving);
        let mean = TimeWeighted::new(SimTime::ZERO, ready.into());
        Self { pool, ready, warming: 0, begun: 0, mean, starts: 0, prepared: 0 }
    }

    /// Prepared ones that are there even if no new ones can be had.
    pub(super) fn held(&self) -> u32 {
        if self.pool.is_running { self.ready } else { 0 }
    }

    /// Takes one that is prepared, if there is any: the time until it serves.
    pub(super) fn take(&mut self, sold_out: bool) -> Option<SimDuration> {
        if self.ready == 0 || sold_out && !self.pool.is_running {
            return None;
        }
        self.ready -= 1;
        self.starts += 1;
        Some(self.pool.start)
    }

    /// One that served is no longer needed, while so many serve or start.
    pub(super) fn comes_back(&mut self, serving: u32) {
        if self.pool.reuse_on_scale_in && self.ready + self.warming < self.pool.size(serving) {
            self.ready += 1;
        }
    }

    pub(super) fn reset_measurements(&mut self, now: SimTime) {
        self.mean.reset(now);
        (self.starts, self.prepared) = (0, 0);
    }

    pub(super) fn measures(&self, now: SimTime) -> [Measure; 3] {
        [
            Measure::new("warm_mean", self.mean.mean(now), "Replicas prepared in the warm pool, on average"),
            Measure::count("warm_starts", self.starts, "Replicas that came from the warm pool"),
            Measure::count("warmed", self.prepared, "Replicas that were prepared for the warm pool"),
        ]
    }
}

impl Fleet {
    pub(in crate::pool) fn set_warm_bill(&mut self, item: usize) {
        if let Some(warm) = &mut self.warm {
            warm.pool.bill = Some(item);
        }
    }

    /// Keeps the warm pool at its size: how many of it are paid as those that serve.
    pub(super) fn refill(&mut self, ctx: &mut Ctx) -> u64 {
        let serving = self.present();
        let (Some(warm), Some(stream)) = (&mut self.warm, self.stream) else { return 0 };
        let now = ctx.now();
        let size = warm.pool.size(serving);
        // Those that leave come back to it, if they are used again.
        let coming = if warm.pool.reuse_on_scale_in { self.leaving.len() as u32 } else { 0 };
        let missing = size.saturating_sub(warm.ready + warm.warming + coming);
        if !self.sold_out {
            for _ in 0..missing {
                let taken = self.scaling.cold_start.draw(&mut stream.draws(warm.begun, 6, 0));
                warm.begun += 1;
                warm.warming += 1;
                ctx.schedule(taken.total(), Phase::Timer, timer::WARMED, 0);
            }
        }
        // What is being prepared is not given up before it is.
        warm.ready = warm.ready.min(size.saturating_sub(warm.warming));
        warm.mean.set(now, warm.ready.into());
        if let Some(item) = warm.pool.bill {
            ctx.cost().hold(item, now, warm.ready.into());
        }
        u64::from(warm.warming) + u64::from(warm.held())
    }

    /// One more is prepared.
    pub(in crate::pool) fn warmed(&mut self, ctx: &mut Ctx) {
        if let Some(warm) = &mut self.warm {
            warm.warming -= 1;
            warm.ready += 1;
            warm.prepared += 1;
        }
        self.note(ctx);
    }
}
