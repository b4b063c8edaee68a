//! Interruptions of the replicas of a pool on spot capacity ([`crate::spot`]).
//!
//! Each replica that became ready is interrupted after its life. With the notice it drains: it gets no new calls
//! and works off those it has. When the notice is over it is taken away, and calls that are still in it fail. In its place
//! another is started as soon as there is capacity again, with a cold start of its own. Both are paid while both are
//! there.

use sim_core::event::Phase;
use sim_core::random::{KeyedStream, Purpose};
use sim_core::stats::TimeWeighted;
use sim_core::time::SimTime;

use super::{Due, Front, timer};
use crate::call::{CallId, Reply};
use crate::context::Ctx;
use crate::measure::Measure;
use crate::spot::Spot;

/// What a pool on spot capacity remembers.
#[derive(Debug)]
pub(super) struct Interruptions {
    spot: Spot,
    stream: Option<KeyedStream>,
    /// Replicas for which there is no capacity now.
    short: TimeWeighted,
    interrupted: u64,
    lost_calls: u64,
}

impl Interruptions {
    pub(super) fn new(spot: Spot) -> Self {
        let short = TimeWeighted::new(SimTime::ZERO, 0);
        Self { spot, stream: None, short, interrupted: 0, lost_calls: 0 }
    }

    pub(super) fn start(&mut self, ctx: &Ctx) {
        self.stream = Some(ctx.keyed_stream(Purpose::Faults));
    }

    /// Replicas for which there is no capacity now.
    pub(super) fn short(&self) -> u32 {
        self.short.level() as u32
    }

    /// A replica is ready: its life begins.
    pub(super) fn live(&self, slot: usize, generation: u32, ctx: &mut Ctx) {
        let now = ctx.now();
        let life = self.stream.and_then(|stream| self.spot.life(stream, slot as u64, generation, now));
        if let Some(life) = life {
            ctx.schedule(life, Phase::Fault, timer::NOTICE, named(slot, generation));
        }
    }

    /// A replica gets notice.
    pub(super) fn notice(&mut self, slot: usize, generation: u32, ctx: &mut Ctx) {
        let Some(stream) = self.stream else { return };
        self.interrupted += 1;
        self.short.add(ctx.now(), 1);
        ctx.schedule(self.spot.notice, Phase::Fault, timer::RECLAIM, named(slot, generation));
        let back = self.spot.capacity_return(stream, slot as u64, generation);
        ctx.schedule(back, Phase::Timer, timer::CAPACITY, 0);
    }

    pub(super) fn capacity_is_back(&mut self, now: SimTime) {
        self.short.add(now, -1);
    }

    pub(super) fn reset_measurements(&mut self, now: SimTime) {
        self.short.reset(now);
        (self.interrupted, self.lost_calls) = (0, 0);
    }

    pub(super) fn measures(&self, now: SimTime) -> [Measure; 3] {
        [
            Measure::count("interruptions", self.interrupted, "Replicas on spot capacity that got notice"),
            Measure::count("interrupted_calls", self.lost_calls, "Calls lost with them, after the notice"),
            Measure::new(
                "replicas_short_interrupted_mean",
                self.short.mean(now),
                "Replicas for which there was no capacity after an interruption, on average",
            ),
        ]
    }
}

/// A slot and how often it was started, for a timer.
fn named(slot: usize, generation: u32) -> u64 {
    slot as u64 | u64::from(generation) << 32
}

/// The slot and how often it was started, of a timer.
pub(super) fn slot_of(data: u64) -> (usize, u32) {
    ((data & u64::from(u32::MAX)) as usize, (data >> 32) as u32)
}

impl Front {
    /// The life of a replica is over.
    pub(super) fn life_is_over(&mut self, data: u64, ctx: &mut Ctx) -> Due {
        let (slot, generation) = slot_of(data);
        let lives = self.fleet.as_ref().is_some_and(|fleet| fleet.is_ready(slot, generation));
        if lives { self.interrupt(&[slot], ctx) } else { Due::Nothing }
    }

    /// The first so many ready replicas get notice.
    pub(super) fn interrupt_first(&mut self, count: u32, ctx: &mut Ctx) -> Due {
        let slots = self.fleet.as_ref().map(|fleet| fleet.first_ready(count as usize)).unwrap_or_default();
        self.interrupt(&slots, ctx)
    }

    fn interrupt(&mut self, slots: &[usize], ctx: &mut Ctx) -> Due {
        let Some(fleet) = &mut self.fleet else { return Due::Nothing };
        for slot in slots {
            fleet.interrupt(*slot, ctx);
            self.members[*slot].is_leaving = true;
            if self.active[*slot] == 0 {
                fleet.left(*slot, ctx);
            }
        }
        self.settle(ctx);
        Due::Empty
    }

    /// Notice is over: the replica, if it is still there.
    pub(super) fn reclaim(&self, data: u64) -> Due {
        let (slot, generation) = slot_of(data);
        let leaves = self.fleet.as_ref().is_some_and(|fleet| fleet.is_leaving(slot, generation));
        if leaves { Due::Reclaim(slot) } else { Due::Nothing }
    }

    /// A replica was taken away with the calls in it, which the component has lost; some are [gone](Front::take_gone).
    pub(crate) fn reclaimed(&mut self, slot: usize, lost: Vec<CallId>, ctx: &mut Ctx) {
        let calls = lost.len() as u64 + self.members[slot].held.len() as u64;
        if let Some(fleet) = &mut self.fleet {
            if fleet.versions.as_mut().is_some_and(|versions| versions.grace_is_over(slot)) {
                fleet.versions.iter_mut().for_each(|versions| versions.rollouts.kill(calls));
            } else if let Some(spot) = &mut fleet.interruptions {
                spot.lost_calls += calls;
            }
        }
        lost.into_iter().for_each(|call| self.reply(call, Reply::FAILED, ctx));
        self.release(slot, ctx);
        if let Some(fleet) = &mut self.fleet {
            fleet.fill(ctx);
        }
        self.settle(ctx);
    }

    /// There is capacity for a replica again.
    pub(super) fn capacity_is_back(&mut self, ctx: &mut Ctx) -> Due {
        if let Some(fleet) = &mut self.fleet {
            fleet.capacity_is_back(ctx);
        }
        Due::Empty
    }
}
