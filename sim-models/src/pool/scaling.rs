//! The front of a pool whose replicas come and go.

use super::balance::Signal;
use super::fleet::Change;
use super::{Condition, Due, Front, Member};
use crate::context::Ctx;

impl Front {
    /// Measures for the autoscaler.
    pub(super) fn sample(&mut self, ctx: &mut Ctx, signal: impl Fn(usize) -> Signal) {
        let Some(fleet) = &mut self.fleet else { return };
        let up = self.members.iter().enumerate().filter(|(_, member)| member.condition == Condition::Up);
        let (sum, count) =
            up.fold((0.0, 0), |(sum, n), (replica, _)| (sum + signal(replica).kv_usage, n + 1));
        fleet.sample(if count > 0 { sum / f64::from(count) } else { 0.0 }, self.capacity, ctx);
    }

    /// The autoscaler decides.
    pub(super) fn decide(&mut self, ctx: &mut Ctx) -> Due {
        let Some(fleet) = &mut self.fleet else { return Due::Nothing };
        let changes = fleet.decide(ctx);
        if changes.is_empty() {
            return Due::Nothing;
        }
        self.apply(changes, ctx);
        self.settle(ctx);
        Due::Empty
    }

    /// Replicas are to leave: those without calls are gone at once.
    pub(super) fn apply(&mut self, changes: Vec<Change>, ctx: &mut Ctx) {
        let Some(fleet) = &mut self.fleet else { return };
        for change in changes {
            let Change::Leave(slot) = change else { continue };
            let member = &mut self.members[slot];
            if member.condition == Condition::Absent || self.active[slot] == 0 {
                fleet.left(slot, ctx);
            } else {
                member.is_leaving = true;
            }
        }
    }

    /// After replicas have left or are to leave.
    pub(super) fn settle(&mut self, ctx: &mut Ctx) {
        self.remove_gone(ctx);
        self.choose_candidates(ctx);
        self.note_capacity(ctx);
    }

    /// Those that are gone are absent.
    pub(super) fn remove_gone(&mut self, ctx: &mut Ctx) {
        let Some(fleet) = &mut self.fleet else { return };
        let mut any = false;
        for slot in &fleet.gone {
            let member = &mut self.members[*slot];
            any |= member.condition != Condition::Absent;
            if let Some(outliers) = &mut self.outliers {
                outliers.forget(*slot);
            }
            (member.condition, member.is_leaving) = (Condition::Absent, false);
        }
        if any {
            self.note_capacity(ctx);
        }
    }

    pub(super) fn started(&mut self, data: u64, ctx: &mut Ctx) -> Due {
        let Some(fleet) = &mut self.fleet else { return Due::Nothing };
        let Some(slot) = fleet.started(data, ctx) else { return Due::Nothing };
        let has_versions = fleet.versions.is_some();
        // What was known of the replica that was there before it does not count.
        if let Some(checks) = &mut self.checks {
            checks.forget(slot);
        }
        if let Some(outliers) = &mut self.outliers {
            outliers.forget(slot);
        }
        let member = &mut self.members[slot];
        member.condition = if member.cut_off { Condition::Crashed } else { Condition::Up };
        self.choose_candidates(ctx);
        self.note_capacity(ctx);
        self.note_health(ctx);
        if has_versions { Due::Started(slot) } else { Due::Nothing }
    }

    /// Tells which of the ready replicas are known not to be well: by the checks, or without checks as they are.
    pub(super) fn note_health(&mut self, ctx: &mut Ctx) {
        let Some(fleet) = &mut self.fleet else { return };
        let is_unwell = |(slot, member): (usize, &Member)| {
            let is_well = match &self.checks {
                Some(checks) => checks.is_healthy(slot),
                None => member.condition == Condition::Up,
            };
            (!is_well && member.condition != Condition::Absent).then_some(slot)
        };
        let unwell = self.members.iter().enumerate().filter_map(is_unwell).collect();
        fleet.set_unwell(unwell, ctx);
    }

    /// Replicas that have gone: the component forgets what it knows of them.
    pub(crate) fn take_gone(&mut self) -> Vec<usize> {
        self.fleet.as_mut().map(|fleet| std::mem::take(&mut fleet.gone)).unwrap_or_default()
    }

    /// What a pool whose replicas come and go can work on at once.
    pub(super) fn note_capacity(&self, ctx: &mut Ctx) {
        if self.fleet.is_some() {
            let (now, capacity) = (ctx.now(), self.up() * self.capacity);
            ctx.meter().capacity.set(now, capacity);
        }
    }
}
