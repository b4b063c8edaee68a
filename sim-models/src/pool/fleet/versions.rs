//! Replicas of several versions ([`crate::deployment`]): which slot is of which, and what a version asks of it.

use std::collections::BTreeSet;

use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedStream, Purpose};
use sim_core::time::{SimDuration, SimTime};

use super::super::timer;
use super::{Change, Fleet};
use crate::autoscaler::Stages;
use crate::context::Ctx;
use crate::deployment::{Counts, Rollouts};

/// The versions of a pool's slots.
#[derive(Debug)]
pub(in crate::pool) struct Versions {
    pub(in crate::pool) rollouts: Rollouts,
    /// By slot.
    of: Vec<u16>,
    /// None for those that were there from the start.
    ready_since: Vec<Option<SimTime>>,
    /// Crashes of the same replica.
    crashes: Vec<u32>,
    /// Slots whose replica has a grace period.
    ending: BTreeSet<usize>,
    /// When the deployment is looked at next.
    alarm: Option<(SimTime, EventHandle)>,
    stream: Option<KeyedStream>,
}

/// The kubelet's back-off of a container that crashes: the first, the most, and after how long without a crash it is
/// forgotten.
const BACK_OFF: [SimDuration; 3] =
    [SimDuration::from_secs(10), SimDuration::from_secs(300), SimDuration::from_secs(600)];

impl Versions {
    pub(super) fn new(rollouts: Rollouts, slots: usize) -> Self {
        Self {
            rollouts,
            of: vec![0; slots],
            ready_since: vec![None; slots],
            crashes: vec![0; slots],
            ending: BTreeSet::new(),
            alarm: None,
            stream: None,
        }
    }

    /// The version of a slot.
    pub(in crate::pool) fn of(&self, slot: usize) -> usize {
        self.of[slot].into()
    }

    /// The cold start of a slot's version, where it has one of its own.
    pub(super) fn cold_start(&self, slot: usize) -> Option<&Stages> {
        self.rollouts.version(self.of(slot)).cold_start.as_ref()
    }

    /// Whether the replica of a slot was given its grace period, which is over.
    pub(in crate::pool) fn grace_is_over(&mut self, slot: usize) -> bool {
        self.ending.remove(&slot)
    }
}

impl Fleet {
    pub(super) fn start_versions(&mut self, ctx: &mut Ctx) {
        let Some(versions) = &mut self.versions else { return };
        versions.stream = Some(ctx.keyed_stream(Purpose::Faults));
        self.poke(ctx);
    }

    /// Has the deployment look at what there is, in this instant.
    pub(in crate::pool) fn poke(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        self.look_at(now, ctx);
    }

    fn look_at(&mut self, at: SimTime, ctx: &mut Ctx) {
        let Some(versions) = &mut self.versions else { return };
        match versions.alarm {
            Some((set, _)) if set <= at => return,
            Some((_, handle)) => drop(ctx.cancel_timer(handle)),
            None => {}
        }
        versions.alarm = Some((at, ctx.schedule_at(at, Phase::Timer, timer::ROLL, 0)));
    }

    /// The replicas of each version.
    fn counts(&self, versions: &Versions, now: SimTime) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); versions.rollouts.count()];
        let min_ready = versions.rollouts.min_ready();
        for slot in &self.starting {
            counts[versions.of(*slot)].present += 1;
        }
        for slot in &self.ready {
            let count = &mut counts[versions.of(*slot)];
            let is_well = !self.unwell.contains(slot);
            let is_available =
                is_well && versions.ready_since[*slot].is_none_or(|since| now.since(since) >= min_ready);
            count.present += 1;
            count.ready += u32::from(is_well);
            count.available += u32::from(is_available);
        }
        for slot in &self.leaving {
            counts[versions.of(*slot)].ending += 1;
        }
        counts
    }

    /// The deployment looks at what there is: those that are to leave.
    pub(in crate::pool) fn roll(&mut self, ctx: &mut Ctx) -> Vec<Change> {
        let now = ctx.now();
        let Some(mut versions) = self.versions.take() else { return Vec::new() };
        versions.alarm = None;
        let counts = self.counts(&versions, now);
        let wanted = self.asked.min(self.scaling.most);
        versions.rollouts.advance(now, wanted, &counts);
        let specs: Vec<u32> = (0..counts.len()).map(|version| versions.rollouts.spec(version)).collect();
        let mut changes = Vec::new();
        for (version, (count, spec)) in counts.iter().zip(&specs).enumerate() {
            for _ in *spec..count.present {
                let Some(slot) = self.take_away(|slot| versions.of(slot) == version) else { break };
                let handle = slot as u64 | u64::from(self.generations[slot]) << 32;
                versions.ending.insert(slot);
                ctx.schedule(versions.rollouts.grace(), Phase::Timer, timer::RECLAIM, handle);
                changes.push(Change::Leave(slot));
            }
        }
        let all: u32 = specs.iter().sum();
        let mut room = all.saturating_sub(self.present() + self.short()).min(self.to_be_had());
        let mut begun = Vec::new();
        for (version, (count, spec)) in counts.iter().zip(&specs).enumerate() {
            let more = spec.saturating_sub(count.present).min(room);
            room -= more;
            begun.extend((0..more).map(|_| version));
        }
        for (slot, version) in self.free(begun.len() as u32).into_iter().zip(begun) {
            (versions.of[slot], versions.crashes[slot]) = (version as u16, 0);
            versions.ending.remove(&slot);
            changes.push(Change::Start(slot));
        }
        self.versions = Some(versions);
        for change in &changes {
            if let Change::Start(slot) = *change {
                self.begin(slot, ctx);
            }
        }
        self.look_again(ctx);
        self.note(ctx);
        changes
    }

    /// Sets when the deployment has to look at what there is, if nothing changes before.
    fn look_again(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let Some(mut versions) = self.versions.take() else { return };
        let counts = self.counts(&versions, now);
        versions.rollouts.settle(now, &counts);
        let min_ready = versions.rollouts.min_ready();
        let ready =
            self.ready.iter().filter_map(|slot| versions.ready_since[*slot]?.checked_add(min_ready).ok());
        let next = ready.filter(|at| *at > now).chain(versions.rollouts.wake()).min();
        self.versions = Some(versions);
        if let Some(at) = next {
            self.look_at(at.max(now), ctx);
        }
    }

    /// A replica is ready.
    pub(super) fn version_is_ready(&mut self, slot: usize, ctx: &mut Ctx) {
        let generation = self.generations[slot];
        let Some(versions) = &mut self.versions else { return };
        versions.ready_since[slot] = Some(ctx.now());
        let law = versions.rollouts.version(versions.of(slot)).crash_after.as_ref();
        if let (Some(law), Some(stream)) = (law, versions.stream) {
            let after = law.sample_duration(&mut stream.draws(slot as u64, 4, generation));
            ctx.schedule(after, Phase::Fault, timer::CRASH, slot as u64 | u64::from(generation) << 32);
        }
        self.poke(ctx);
    }

    /// A replica has crashed by itself: it starts again after a while.
    pub(in crate::pool) fn restart(&mut self, slot: usize, ctx: &mut Ctx) {
        let Some(versions) = &mut self.versions else { return };
        let Some(stream) = self.stream else { return };
        let [first, most, forgotten] = BACK_OFF;
        if versions.ready_since[slot].is_some_and(|since| ctx.now().since(since) >= forgotten) {
            versions.crashes[slot] = 0;
        }
        let doubled = first.as_nanos().saturating_mul(1 << versions.crashes[slot].min(10));
        versions.crashes[slot] += 1;
        self.ready.retain(|ready| *ready != slot);
        let cold_start = versions.cold_start(slot).unwrap_or(&self.scaling.cold_start);
        // The node and the image are there.
        let taken = cold_start.draw(&mut stream.draws(slot as u64, 5, self.generations[slot]));
        let again = taken.weights.saturating_add(taken.init);
        let wait = SimDuration::from_nanos(doubled.min(most.as_nanos()));
        self.generations[slot] += 1;
        self.set_out(slot, wait.saturating_add(again), ctx);
        self.note(ctx);
        self.poke(ctx);
    }
}
