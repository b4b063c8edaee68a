//! What breaks in a pool and is mended: replicas that crash, hang or drain, and zones that are lost.

use super::{Condition, Front, Member};
use crate::call::{CallId, Reply};
use crate::component::Fault;
use crate::context::Ctx;

impl Front {
    /// Replicas break, are mended or drain. `lose` takes everything out of one that breaks: its calls,
    /// which the front then answers or holds. Whether any replica is up or down that was not.
    pub(crate) fn on_fault(
        &mut self,
        fault: &Fault,
        ctx: &mut Ctx,
        mut lose: impl FnMut(usize, &mut Ctx) -> Vec<CallId>,
    ) -> bool {
        let first = |members: &[Member], count: u32, which: &dyn Fn(&Member) -> bool| -> Vec<usize> {
            let matching = members.iter().enumerate().filter(|(_, member)| which(member));
            matching.map(|(replica, _)| replica).take(count as usize).collect()
        };
        let of = |from: Condition, count: u32| {
            first(&self.members, count, &|member| member.condition == from && !member.cut_off)
        };
        let (to, hit) = match *fault {
            Fault::Crash { replicas } => (Condition::Crashed, of(Condition::Up, replicas)),
            Fault::Hang { replicas } => (Condition::Hung, of(Condition::Up, replicas)),
            Fault::Repair { replicas } => (Condition::Up, of(Condition::Crashed, replicas)),
            Fault::Restart { replicas } => (Condition::Up, of(Condition::Hung, replicas)),
            Fault::Drain { replicas } => {
                for replica in first(&self.members, replicas, &|member| !member.drained) {
                    self.members[replica].drained = true;
                }
                self.choose_candidates(ctx);
                return false;
            }
            Fault::Undrain { replicas } => {
                for replica in first(&self.members, replicas, &|member| member.drained) {
                    self.members[replica].drained = false;
                }
                self.choose_candidates(ctx);
                return false;
            }
            Fault::Interrupt { replicas } => {
                self.interrupt_first(replicas, ctx);
                return false;
            }
            Fault::LoseZone { zone } => (Condition::Crashed, self.cut_off(zone, true, ctx)),
            Fault::RestoreZone { zone } => (Condition::Up, self.cut_off(zone, false, ctx)),
            Fault::StockOut | Fault::Restock => {
                if let Some(fleet) = &mut self.fleet {
                    fleet.set_stock(*fault == Fault::Restock, ctx);
                }
                return false;
            }
            Fault::Slow { .. } | Fault::ColdCache => return false,
        };
        for replica in &hit {
            let replica = *replica;
            let was = std::mem::replace(&mut self.members[replica].condition, to);
            let lost = if was == Condition::Up { lose(replica, ctx) } else { Vec::new() };
            if (was, to) == (Condition::Hung, Condition::Crashed) {
                self.release(replica, ctx);
            }
            match to {
                Condition::Crashed => lost.into_iter().for_each(|call| self.reply(call, Reply::FAILED, ctx)),
                Condition::Hung => lost.into_iter().for_each(|call| self.hold(replica, call, ctx)),
                Condition::Up => self.release(replica, ctx),
                Condition::Absent => unreachable!("faults break or mend"),
            }
            self.wake_checks(replica, ctx);
        }
        self.note_health(ctx);
        !hit.is_empty()
    }

    /// A zone is lost or back: the replicas in it that break or come back.
    pub(super) fn cut_off(&mut self, zone: u16, lost: bool, ctx: &mut Ctx) -> Vec<usize> {
        let (mut hit, first) = (Vec::new(), usize::from(self.first));
        for (replica, member) in self.members.iter_mut().enumerate() {
            if ctx.core.zones.has(zone, ctx.me, first + replica) {
                member.cut_off = lost;
                let is_hit = match member.condition {
                    Condition::Up | Condition::Hung => lost,
                    Condition::Crashed => !lost,
                    Condition::Absent => false,
                };
                hit.extend(is_hit.then_some(replica));
            }
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.close(self.members.iter().map(|member| member.cut_off).collect(), ctx);
        }
        hit
    }

    pub(super) fn hold(&mut self, replica: usize, call: CallId, ctx: &mut Ctx) {
        self.members[replica].held.insert(call);
        self.note_held(replica, 1, ctx);
    }

    /// Held calls count as waiting.
    pub(super) fn note_held(&mut self, replica: usize, change: i64, ctx: &mut Ctx) {
        let now = ctx.now();
        self.held = self.held.wrapping_add_signed(change);
        self.members[replica].queue.add(now, change);
        ctx.meter().queue.add(now, change);
    }

    pub(super) fn release(&mut self, replica: usize, ctx: &mut Ctx) {
        let held = std::mem::take(&mut self.members[replica].held);
        self.note_held(replica, -(held.len() as i64), ctx);
        for call in held {
            self.reply(call, Reply::FAILED, ctx);
        }
    }
}
