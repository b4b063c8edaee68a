//! Scheduling and cancelling: the side of the engine that a model talks to.
//!
//! ```
//! use sim_core::engine::{Limits, Simulation, World};
//! use sim_core::event::{Event, EventHandle, Phase};
//! use sim_core::scheduler::Scheduler;
//! use sim_core::time::SimDuration;
//!
//! /// A call that gives up after a second; the answer takes a quarter of one.
//! #[derive(Default)]
//! struct Call {
//!     timeout: Option<EventHandle>,
//!     log: Vec<&'static str>,
//! }
//!
//! #[derive(Clone, Copy)]
//! enum Happening {
//!     Asked,
//!     Answered,
//!     GaveUp,
//! }
//!
//! impl Event for Happening {
//!     fn identity(&self) -> u64 {
//!         (*self as u64) << 32
//!     }
//! }
//!
//! impl World for Call {
//!     type Event = Happening;
//!
//!     fn handle(&mut self, event: Happening, scheduler: &mut Scheduler<Happening>) {
//!         match event {
//!             Happening::Asked => {
//!                 let second = SimDuration::from_secs(1);
//!                 self.timeout = Some(scheduler.schedule(second, Phase::Timer, Happening::GaveUp));
//!                 scheduler.schedule(SimDuration::from_millis(250), Phase::Reply, Happening::Answered);
//!             }
//!             Happening::Answered => {
//!                 let timeout = self.timeout.take().expect("asked before");
//!                 assert!(scheduler.cancel(timeout));
//!                 assert!(!scheduler.cancel(timeout), "only once");
//!                 self.log.push("answered");
//!             }
//!             Happening::GaveUp => self.log.push("gave up"),
//!         }
//!     }
//! }
//!
//! let mut simulation = Simulation::new(Call::default());
//! simulation.parts().1.schedule(SimDuration::ZERO, Phase::Arrival, Happening::Asked);
//! simulation.run(&Limits::default())?;
//! assert_eq!(simulation.world().log, ["answered"]);
//! # Ok::<(), sim_core::scheduler::SimError>(())
//! ```

mod alarms;

use std::collections::VecDeque;

use thiserror::Error;

use crate::event::{Event, EventHandle, EventKey, LANE_FLAG, MAX_SEQUENCE, MAX_SLOTS, Phase, SLOT_BITS};
use crate::fingerprint::Fingerprint;
use crate::queue::{EventQueue, QuadHeap};
use crate::time::{SimDuration, SimTime, TimeError};
pub use alarms::Alarm;
use alarms::Alarms;

/// The most events at one time (assumption: some for each of the most that may be pending).
pub(crate) const MAX_AT_ONE_TIME: u64 = 100_000_000;

/// Why a run cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum SimError {
    /// An event past the end of time.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Too many events pending at once.
    #[error("more than {MAX_SLOTS} events are pending at {0}: a queue without a bound is growing")]
    TooManyPending(SimTime),
    /// Too many events in one run.
    #[error("more than {MAX_SEQUENCE} events were scheduled by {0}: shorten the run")]
    TooManyEvents(SimTime),
    /// So many events at one time that it will hardly go on.
    #[error(
        "more than {MAX_AT_ONE_TIME} events at {0}: something starts over without delay, such as users who do not think or \
         retries that do not wait"
    )]
    Standstill(SimTime),
    /// More of something than the world keeps at once: what it does not end, it must remember.
    #[error("more than {limit} {what} at once at {at}: it falls ever further behind")]
    TooManyAtOnce {
        /// Of what, in the plural.
        what: &'static str,
        /// How many there may be.
        limit: u64,
        /// When there were more.
        at: SimTime,
    },
}

/// A stored event. `tag` is the low half of its key with the slot bits replaced by the timer lane
/// (0: none); a vacant slot has an impossible phase and links to the next vacant one.
#[derive(Debug, Clone, Copy)]
struct Slot<E> {
    tag: u64,
    event: E,
}

impl<E> Slot<E> {
    #[inline(always)]
    fn new(key: EventKey, event: E, lane: u32) -> Self {
        Self { tag: key.low() >> SLOT_BITS << SLOT_BITS | u64::from(lane), event }
    }

    #[inline(always)]
    fn holds(&self, key: EventKey) -> bool {
        self.tag >> SLOT_BITS == key.low() >> SLOT_BITS
    }
}

const VACANT: u64 = 7 << 61;
const NO_SLOT: u32 = u32::MAX;
/// Dead keys below this number are not worth a sweep.
const SWEEP_AT: usize = 64;

/// A lane of timers that all wait equally long: a queue in which only the head is a pending event,
/// so that timeouts which are nearly always cancelled cost the event queue nothing.
#[derive(Debug)]
struct Lane {
    delay: SimDuration,
    phase: Phase,
    timers: VecDeque<EventKey>,
    dead: usize,
    /// Whether the event queue holds a key of this lane.
    armed: bool,
}

/// Names a lane of equal timers: see [`Scheduler::timer_lane`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerLane(u32);

/// The clock, the pending events, and the means to add and cancel them.
#[derive(Debug)]
pub struct Scheduler<E, Q = QuadHeap> {
    now: SimTime,
    queue: Q,
    slots: Vec<Slot<E>>,
    vacant: u32,
    next_sequence: u64,
    /// Events without delay, by phase: they need no heap.
    immediate: [VecDeque<EventKey>; Phase::COUNT],
    /// Which of them hold any, a bit each.
    immediate_mask: u32,
    lanes: Vec<Lane>,
    alarms: Alarms<E>,
    /// Cancelled keys that are still in the queue.
    dead: usize,
    shuffle: Option<u64>,
    error: Option<SimError>,
    fingerprint: Fingerprint,
}

impl<E: Event, Q: EventQueue> Default for Scheduler<E, Q> {
    fn default() -> Self {
        Self {
            now: SimTime::ZERO,
            queue: Q::default(),
            slots: Vec::new(),
            vacant: NO_SLOT,
            next_sequence: 0,
            immediate: Default::default(),
            immediate_mask: 0,
            lanes: Vec::new(),
            alarms: Alarms::default(),
            dead: 0,
            shuffle: None,
            error: None,
            fingerprint: Fingerprint::default(),
        }
    }
}

impl<E: Event, Q: EventQueue> Scheduler<E, Q> {
    /// The present.
    #[inline]
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// Schedules an event `delay` from now, after everything scheduled so far for that instant and
    /// phase. What does not fit ([`SimError`]) ends the run with an error; the handle then names nothing.
    #[inline(always)]
    pub fn schedule(&mut self, delay: SimDuration, phase: Phase, event: E) -> EventHandle {
        match self.now.checked_add(delay) {
            Ok(at) => self.schedule_at(at, phase, event),
            Err(error) => self.refuse(error.into()),
        }
    }

    /// Schedules an event at an instant, as [`Scheduler::schedule`] does.
    ///
    /// # Panics
    /// When `at` is in the past: a bug in the model.
    #[inline(always)]
    pub fn schedule_at(&mut self, at: SimTime, phase: Phase, event: E) -> EventHandle {
        assert!(at >= self.now, "an event is scheduled in the past: {at} is before {}", self.now);
        let Some(key) = self.store(at, phase, event, 0) else { return EventHandle::NONE };
        if at == self.now && self.shuffle.is_none() {
            self.immediate[phase as usize].push_back(key);
            self.immediate_mask |= 1 << phase as u32;
        } else {
            self.queue.push(key);
        }
        EventHandle(key.low())
    }

    /// A lane for timers that all wait `delay`, such as the timeouts of one link. Its timers happen at
    /// the same place in the order of events as if they had been scheduled one by one.
    ///
    /// # Panics
    /// From 2^23 - 1 lanes on: a lane is for a kind of timer, not for a timer.
    pub fn timer_lane(&mut self, delay: SimDuration, phase: Phase) -> TimerLane {
        assert!(self.lanes.len() < MAX_SLOTS as usize - 1, "too many timer lanes: share them");
        self.lanes.push(Lane { delay, phase, timers: VecDeque::new(), dead: 0, armed: false });
        TimerLane(self.lanes.len() as u32 - 1)
    }

    /// Schedules an event after the delay of a lane, which is of this scheduler.
    #[inline]
    pub fn arm(&mut self, lane: TimerLane, event: E) -> EventHandle {
        let Lane { delay, phase, .. } = self.lanes[lane.0 as usize];
        if self.shuffle.is_some() || delay.is_zero() {
            return self.schedule(delay, phase, event);
        }
        let at = match self.now.checked_add(delay) {
            Ok(at) => at,
            Err(error) => return self.refuse(error.into()),
        };
        let Some(key) = self.store(at, phase, event, lane.0 + 1) else { return EventHandle::NONE };
        let entry = &mut self.lanes[lane.0 as usize];
        entry.timers.push_back(key);
        if !entry.armed {
            entry.armed = true;
            self.queue.push(key.with_slot(LANE_FLAG | lane.0));
        }
        EventHandle(key.low())
    }

    /// An event that is put off and brought forward more often than it happens, such as the end of a step that
    /// arrivals change: [`Scheduler::set_alarm`] moves it without a trace in the event queue.
    ///
    /// # Panics
    /// From 2^24 alarms on.
    pub fn alarm(&mut self, phase: Phase, event: E) -> Alarm {
        let alarm = self.alarms.add(phase, event);
        assert!(alarm.0 < 1 << SLOT_BITS, "too many alarms: share them");
        alarm
    }

    /// Sets an alarm of this scheduler to go off once, at another time than it was set to; none leaves it unset. It goes
    /// off at the same place in the order of events as an event that is scheduled when it is set. To set it to the time
    /// that it is set to already changes nothing.
    ///
    /// # Panics
    /// When `at` is in the past: a bug in the model.
    #[inline]
    pub fn set_alarm(&mut self, alarm: Alarm, at: Option<SimTime>) {
        let key = match at {
            None => EventKey::MAX,
            Some(at) if self.alarms.is_set_to(alarm.0, at) => return,
            Some(at) => {
                assert!(at >= self.now, "an alarm is set in the past: {at} is before {}", self.now);
                let Some(sequence) = self.sequence() else { return };
                EventKey::new(at, self.alarms.bell(alarm.0).phase, sequence, alarm.0)
            }
        };
        self.alarms.set(alarm.0, key);
    }

    /// Cancels an event; false when it has happened or was cancelled before.
    #[inline]
    pub fn cancel(&mut self, handle: EventHandle) -> bool {
        let slot = handle.0 as u32 & (MAX_SLOTS - 1);
        let Some(entry) = self.slots.get(slot as usize) else { return false };
        if entry.tag >> SLOT_BITS != handle.0 >> SLOT_BITS {
            return false;
        }
        let lane = entry.tag as u32 & (MAX_SLOTS - 1);
        self.release(slot);
        if lane == 0 {
            self.dead += 1;
            if self.dead > SWEEP_AT && self.dead * 2 > self.queue.len() {
                self.sweep();
            }
        } else {
            let lane = &mut self.lanes[lane as usize - 1];
            lane.dead += 1;
            if lane.dead > SWEEP_AT && lane.dead * 2 > lane.timers.len() {
                let slots = &self.slots;
                lane.timers.retain(|key| is_live(slots, *key));
                lane.dead = 0;
            }
        }
        true
    }

    /// Number of events that will happen unless cancelled.
    pub fn pending(&self) -> usize {
        let lane_keys = self.lanes.iter().filter(|lane| lane.armed).count();
        let in_lanes: usize = self.lanes.iter().map(|lane| lane.timers.len() - lane.dead).sum();
        self.queue.len() - lane_keys + in_lanes + self.immediate_len() + self.alarms.len() - self.dead
    }

    /// Number of keys kept, cancelled ones that have not been swept yet included: at most about twice
    /// [`Scheduler::pending`], however much is cancelled.
    pub fn stored(&self) -> usize {
        self.queue.len()
            + self.immediate_len()
            + self.alarms.len()
            + self.lanes.iter().map(|lane| lane.timers.len()).sum::<usize>()
    }

    fn immediate_len(&self) -> usize {
        self.immediate.iter().map(VecDeque::len).sum()
    }

    /// The hash over everything handled so far.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Orders simultaneous events of one phase by a keyed permutation instead of by scheduling, to
    /// expose models that lean on tie order. Call before anything is scheduled.
    pub(crate) fn shuffle_ties(&mut self, seed: u64) {
        assert_eq!(self.next_sequence, 0, "ties can be shuffled only from the start");
        self.shuffle = Some(crate::random::mix(seed));
    }

    pub(crate) fn error(&self) -> Option<SimError> {
        self.error
    }

    /// Moves the clock to `until`, up to which nothing is pending.
    pub(crate) fn advance_clock(&mut self, until: SimTime) {
        debug_assert!(self.immediate_mask == 0 && self.now <= until);
        self.now = until;
    }

    /// Takes the next event, no later than `until` (which is not in the past), and moves the clock to it.
    #[inline(always)]
    pub(crate) fn next(&mut self, until: SimTime) -> Option<(EventKey, E)> {
        loop {
            let alarm = self.alarms.first();
            if alarm.time() <= until && self.is_before_all(alarm) {
                return Some(self.go_off(alarm));
            }
            let key =
                if self.immediate_mask == 0 { self.queue.pop_until(until)? } else { self.next_of_now() };
            let slot = key.slot();
            // A lane's key names no slot: the flag is beyond them all.
            if let Some(entry) = self.slots.get_mut(slot as usize)
                && entry.holds(key)
            {
                let event = entry.event;
                entry.tag = VACANT | u64::from(self.vacant);
                self.vacant = slot;
                self.now = key.time();
                self.fingerprint.event(self.now, key.phase_bits(), event.identity());
                return Some((key, event));
            }
            if slot & LANE_FLAG == 0 {
                self.dead -= 1;
            } else if let Some(first) = self.advance_lane(slot & !LANE_FLAG, key) {
                self.queue.push(first);
            }
        }
    }

    /// Whether an alarm is set that goes off before every other event.
    #[inline(always)]
    fn is_before_all(&self, alarm: EventKey) -> bool {
        if self.immediate_mask != 0 {
            let phase = self.immediate_mask.trailing_zeros() as usize;
            if alarm > self.immediate[phase][0] {
                return false;
            }
        }
        match self.queue.peek() {
            Some(key) => alarm < key,
            None => alarm != EventKey::MAX,
        }
    }

    #[inline]
    fn go_off(&mut self, alarm: EventKey) -> (EventKey, E) {
        let event = self.alarms.bell(alarm.slot()).event;
        self.alarms.set(alarm.slot(), EventKey::MAX);
        self.now = alarm.time();
        self.fingerprint.event(self.now, alarm.phase_bits(), event.identity());
        (alarm, event)
    }

    /// The least of the immediate events and the head of the queue.
    #[inline(never)]
    fn next_of_now(&mut self) -> EventKey {
        let phase = self.immediate_mask.trailing_zeros() as usize;
        let lane = &mut self.immediate[phase];
        let first = lane[0];
        match self.queue.peek() {
            Some(key) if key < first => {
                self.queue.pop();
                key
            }
            _ => {
                lane.pop_front();
                if lane.is_empty() {
                    self.immediate_mask &= !(1 << phase);
                }
                first
            }
        }
    }

    /// The key of a lane came up: gives the key under which its head, or, when that was cancelled, the
    /// next of the lane is pending.
    #[inline(never)]
    fn advance_lane(&mut self, index: u32, key: EventKey) -> Option<EventKey> {
        let lane = &mut self.lanes[index as usize];
        let mut fires = None;
        while let Some(first) = lane.timers.front().copied() {
            if !is_live(&self.slots, first) {
                lane.dead -= 1;
            } else if fires.is_none() && first.with_slot(LANE_FLAG | index) == key {
                fires = Some(first);
            } else {
                self.queue.push(first.with_slot(LANE_FLAG | index));
                return fires;
            }
            lane.timers.pop_front();
        }
        lane.armed = false;
        fires
    }

    /// The number of an event in the order of scheduling.
    #[inline(always)]
    fn sequence(&mut self) -> Option<u64> {
        let sequence = self.next_sequence;
        if sequence == MAX_SEQUENCE {
            self.refuse(SimError::TooManyEvents(self.now));
            return None;
        }
        self.next_sequence += 1;
        Some(self.shuffle.map_or(sequence, |seed| permute(sequence, seed)))
    }

    /// Gives an event a key and a slot.
    #[inline(always)]
    fn store(&mut self, at: SimTime, phase: Phase, event: E, lane: u32) -> Option<EventKey> {
        let sequence = self.sequence()?;
        let slot = self.vacant;
        let Some(entry) = self.slots.get_mut(slot as usize) else {
            return self.store_in_new_slot(at, phase, sequence, event, lane);
        };
        let key = EventKey::new(at, phase, sequence, slot);
        self.vacant = entry.tag as u32;
        *entry = Slot::new(key, event, lane);
        Some(key)
    }

    #[inline(never)]
    fn store_in_new_slot(
        &mut self,
        at: SimTime,
        phase: Phase,
        sequence: u64,
        event: E,
        lane: u32,
    ) -> Option<EventKey> {
        let slot = self.slots.len() as u32;
        if slot == MAX_SLOTS {
            self.refuse(SimError::TooManyPending(self.now));
            return None;
        }
        let key = EventKey::new(at, phase, sequence, slot);
        self.slots.push(Slot::new(key, event, lane));
        Some(key)
    }

    #[inline]
    fn release(&mut self, slot: u32) {
        self.slots[slot as usize].tag = VACANT | u64::from(self.vacant);
        self.vacant = slot;
    }

    /// Drops cancelled keys when they are more than half of what is kept.
    #[cold]
    fn sweep(&mut self) {
        if self.dead * 2 <= self.queue.len() + self.immediate_len() {
            return;
        }
        let slots = &self.slots;
        self.queue.retain(|key| key.slot() & LANE_FLAG != 0 || is_live(slots, key));
        for (phase, lane) in self.immediate.iter_mut().enumerate() {
            lane.retain(|key| is_live(slots, *key));
            if lane.is_empty() {
                self.immediate_mask &= !(1 << phase);
            }
        }
        self.dead = 0;
    }

    /// Ends the run with an error, unless another has ended it already.
    #[cold]
    pub fn fail(&mut self, error: SimError) {
        self.error.get_or_insert(error);
    }

    #[cold]
    fn refuse(&mut self, error: SimError) -> EventHandle {
        self.error.get_or_insert(error);
        EventHandle::NONE
    }
}

#[inline]
fn is_live<E>(slots: &[Slot<E>], key: EventKey) -> bool {
    slots[key.slot() as usize].holds(key)
}

/// A keyed permutation of the sequence numbers (multiplications by odd numbers and a shifted xor are
/// each invertible).
fn permute(sequence: u64, seed: u64) -> u64 {
    const MASK: u64 = MAX_SEQUENCE - 1;
    let spread = (sequence ^ seed & MASK).wrapping_mul(seed | 1) & MASK;
    (spread ^ spread >> 19).wrapping_mul(0xbf58_476d_1ce4_e5b9) & MASK
}

#[cfg(test)]
mod tests;
