//! The hold model: every event schedules one other, so that the number pending stays.

use std::hint::black_box;

use rand::Rng;
use sim_core::distribution::Exponential;
use sim_core::engine::{Limits, Simulation, World};
use sim_core::event::{Event, EventKey, Phase};
use sim_core::queue::{EventQueue, QuadHeap};
use sim_core::random::{Purpose, Stream, Streams};
use sim_core::scheduler::Scheduler;
use sim_core::time::{SimDuration, SimTime};

const EVENTS: u64 = 2_000_000;

#[derive(Clone, Copy)]
struct Hold(u32);

impl Event for Hold {
    #[inline]
    fn identity(&self) -> u64 {
        u64::from(self.0)
    }
}

/// How long an event waits.
#[derive(Clone)]
enum Wait {
    Exponential(Exponential),
    /// A whole number of ticks from 1 to 4: many events at one instant.
    Ticks,
}

struct Holder {
    rng: Stream,
    wait: Wait,
    sum: u64,
}

impl Holder {
    fn new(wait: &Wait) -> Self {
        Self { rng: Streams::new(1, 0).stream("hold", Purpose::Service), wait: wait.clone(), sum: 0 }
    }

    #[inline]
    fn wait(&mut self) -> SimDuration {
        match &self.wait {
            Wait::Exponential(law) => crate::draw(law, &mut self.rng),
            Wait::Ticks => SimDuration::from_nanos(1 + (self.rng.next_u64() >> 62)),
        }
    }
}

impl World for Holder {
    type Event = Hold;

    #[inline]
    fn handle(&mut self, event: Hold, scheduler: &mut Scheduler<Hold>) {
        self.sum += u64::from(event.0);
        let wait = self.wait();
        scheduler.schedule(wait, Phase::Arrival, event);
    }
}

fn engine(pending: u32, wait: &Wait) -> Simulation<Holder> {
    let mut simulation = Simulation::new(Holder::new(wait));
    let (world, scheduler) = simulation.parts();
    for index in 0..pending {
        let wait = world.wait();
        scheduler.schedule(wait, Phase::Arrival, Hold(index));
    }
    simulation
}

struct Raw {
    heap: QuadHeap,
    holder: Holder,
    /// Breaks ties in order of scheduling, above 24 bits of payload.
    sequence: u64,
}

impl Raw {
    fn new(pending: u32, wait: &Wait) -> Self {
        let mut holder = Holder::new(wait);
        let mut heap = QuadHeap::default();
        for index in 0..u64::from(pending) {
            let at = SimTime::ZERO.checked_add(holder.wait()).expect("in range");
            heap.push(EventKey::raw(at, index << 24 | index));
        }
        Self { heap, holder, sequence: u64::from(pending) }
    }

    fn run(&mut self) -> u64 {
        for _ in 0..EVENTS {
            let key = self.heap.pop().expect("never empty");
            let payload = key.low() & 0xff_ffff;
            self.holder.sum += payload;
            let at = key.time().checked_add(self.holder.wait()).expect("in range");
            self.sequence += 1;
            self.heap.push(EventKey::raw(at, self.sequence << 24 | payload));
        }
        black_box(self.holder.sum);
        EVENTS
    }
}

fn compare(name: &str, pending: u32, wait: &Wait) {
    let mut simulation = engine(pending, wait);
    let mut raw = Raw::new(pending, wait);
    let limits = Limits { max_events: Some(EVENTS), ..Limits::default() };
    let mut own = || {
        simulation.run(&limits).expect("no overflow");
        black_box(simulation.world().sum);
        EVENTS
    };
    crate::compare(name, &mut own, "raw heap", &mut || raw.run(), "at most 1.4");
}

/// Prints the comparisons.
pub fn bench() {
    let exponential = Wait::Exponential(Exponential::with_mean(1.0).expect("positive"));
    for pending in [100, 10_000, 1_000_000] {
        compare(&format!("hold, {pending} pending"), pending, &exponential);
    }
    compare("simultaneous, 10000 pending", 10_000, &Wait::Ticks);
}
