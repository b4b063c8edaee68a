//! Calls that wait in front of a pool for a replica, and those that have room for one.

use sim_core::event::Phase;
use sim_core::time::SimDuration;

use super::super::timer;
use super::Fleet;
use crate::call::CallId;
use crate::context::Ctx;

impl Fleet {
    /// The replicas that may be picked are others, or the calls in one of them.
    pub(in crate::pool) fn set_room(&mut self, candidates: &[u32], active: &[u32]) {
        let Some(most) = self.scaling.most_calls else { return };
        let rooms = candidates.iter().map(|slot| (*slot, most.saturating_sub(active[*slot as usize])));
        self.roomy = rooms.clone().filter(|(_, room)| *room > 0).map(|(slot, _)| slot).collect();
        self.room = rooms.map(|(_, room)| u64::from(room)).sum();
    }

    /// A call has come to a replica or has left it.
    fn note_room(&mut self, replica: usize, active: u32, candidates: &[u32], change: i64) {
        let Some(most) = self.scaling.most_calls else { return };
        let replica = replica as u32;
        if candidates.binary_search(&replica).is_err() {
            return;
        }
        self.room = self.room.saturating_add_signed(change);
        if active < most {
            self.roomy.insert(replica);
        } else {
            self.roomy.remove(&replica);
        }
    }

    /// Whether a call can go to a replica now; otherwise it waits in front.
    pub(in crate::pool) fn admits(&mut self, call: CallId, candidates: &[u32], ctx: &mut Ctx) -> bool {
        if self.admitted.remove(&call) {
            return true;
        }
        let now = ctx.now();
        self.seen.arrived += 1;
        self.seen.inside.add(now, 1);
        let can_go = match self.scaling.most_calls {
            Some(_) => self.room > self.admitted.len() as u64,
            None => !candidates.is_empty(),
        };
        if can_go && self.waiting.is_empty() {
            return true;
        }
        self.waiting.insert(self.arrivals, call);
        self.places.insert(call, self.arrivals);
        self.arrivals += 1;
        self.tally.waiting.add(now, 1);
        ctx.meter().queue.add(now, 1);
        false
    }

    /// Lets those in front go, as far as there is room.
    pub(in crate::pool) fn release(&mut self, candidates: &[u32], ctx: &mut Ctx) {
        let now = ctx.now();
        while let Some((number, call)) = self.waiting.first_key_value().map(|(number, call)| (*number, *call))
        {
            let can_go = match self.scaling.most_calls {
                Some(_) => self.room > self.admitted.len() as u64,
                None => !candidates.is_empty(),
            };
            if !can_go {
                return;
            }
            self.waiting.remove(&number);
            self.places.remove(&call);
            self.admitted.insert(call);
            self.tally.waiting.add(now, -1);
            ctx.meter().queue.add(now, -1);
            ctx.schedule(SimDuration::ZERO, Phase::Arrival, timer::ADMIT, call.to_bits());
        }
    }

    /// Whether a call that may go still wants to.
    pub(in crate::pool) fn is_admitted(&self, call: CallId) -> bool {
        self.admitted.contains(&call)
    }

    /// A call that could go finds no replica.
    pub(in crate::pool) fn turned_away(&mut self, ctx: &mut Ctx) {
        self.seen.inside.add(ctx.now(), -1);
    }

    /// A caller gave up: true where its call was in front still.
    pub(in crate::pool) fn cancel(&mut self, call: CallId, ctx: &mut Ctx) -> bool {
        let now = ctx.now();
        if let Some(number) = self.places.remove(&call) {
            self.waiting.remove(&number);
            self.tally.waiting.add(now, -1);
            ctx.meter().queue.add(now, -1);
        } else if !self.admitted.remove(&call) {
            return false;
        }
        self.seen.inside.add(now, -1);
        true
    }

    /// The next replica in turn that has room; none without a bound on its calls.
    pub(in crate::pool) fn in_turn(&mut self) -> Option<u32> {
        self.scaling.most_calls?;
        let next = self.roomy.range(self.turn.wrapping_add(1)..).next().or(self.roomy.first());
        let next = *next?;
        self.turn = next;
        Some(next)
    }

    /// Whether a replica's calls are bounded: then it is picked in turn.
    pub(in crate::pool) fn is_bounded(&self) -> bool {
        self.scaling.most_calls.is_some()
    }

    /// A call went to a replica, which has so many now.
    pub(in crate::pool) fn entered(&mut self, replica: usize, active: u32, candidates: &[u32]) {
        self.note_room(replica, active, candidates, -1);
    }

    /// A call left a replica, which has so many now.
    pub(in crate::pool) fn exited(&mut self, replica: usize, active: u32, candidates: &[u32], ctx: &mut Ctx) {
        self.note_room(replica, active, candidates, 1);
        self.seen.inside.add(ctx.now(), -1);
        if active == 0 {
            self.left(replica, ctx);
        }
        self.release(candidates, ctx);
    }

    /// Calls that wait in front.
    pub(in crate::pool) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }
}
