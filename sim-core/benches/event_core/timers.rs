//! Timeouts that nearly never strike: every event arms a timer of one constant delay and cancels it
//! 99 times in 100.

use std::collections::VecDeque;
use std::hint::black_box;

use rand::Rng;
use sim_core::distribution::Exponential;
use sim_core::engine::{Limits, Simulation, World};
use sim_core::event::{Event, EventHandle, EventKey, Phase};
use sim_core::queue::{EventQueue, QuadHeap};
use sim_core::random::{Purpose, Stream, Streams};
use sim_core::scheduler::{Scheduler, TimerLane};
use sim_core::time::{SimDuration, SimTime};

const EVENTS: u64 = 2_000_000;
const PENDING: u32 = 100;
const TIMEOUT: SimDuration = SimDuration::from_millis(100);

#[derive(Clone, Copy)]
enum Happening {
    Work(u32),
    Timeout,
}

impl Event for Happening {
    #[inline]
    fn identity(&self) -> u64 {
        match self {
            Happening::Work(index) => u64::from(*index),
            Happening::Timeout => 1 << 32,
        }
    }
}

struct Draws {
    rng: Stream,
    wait: Exponential,
}

impl Draws {
    fn new() -> Self {
        let rng = Streams::new(1, 0).stream("timers", Purpose::Service);
        Self { rng, wait: Exponential::with_mean(1e-3).expect("positive") }
    }

    #[inline]
    fn wait(&mut self) -> SimDuration {
        crate::draw(&self.wait, &mut self.rng)
    }

    #[inline]
    fn cancels(&mut self) -> bool {
        !self.rng.next_u64().is_multiple_of(100)
    }
}

struct Caller {
    draws: Draws,
    lane: Option<TimerLane>,
    armed: Vec<Option<EventHandle>>,
    struck: u64,
}

impl World for Caller {
    type Event = Happening;

    #[inline]
    fn handle(&mut self, event: Happening, scheduler: &mut Scheduler<Happening>) {
        let Happening::Work(index) = event else {
            self.struck += 1;
            return;
        };
        if let Some(handle) = self.armed[index as usize].take()
            && self.draws.cancels()
        {
            scheduler.cancel(handle);
        }
        let lane = self.lane.expect("made at the start");
        self.armed[index as usize] = Some(scheduler.arm(lane, Happening::Timeout));
        let wait = self.draws.wait();
        scheduler.schedule(wait, Phase::Arrival, event);
    }
}

/// The same with a deque of timers and a bare heap.
struct Raw {
    draws: Draws,
    heap: QuadHeap,
    sequence: u64,
    /// When each timer strikes; `u64::MAX` when it was cancelled.
    timers: VecDeque<u64>,
    /// Number of the first timer of the deque.
    first: u64,
    armed: Vec<Option<u64>>,
    struck: u64,
}

impl Raw {
    fn new() -> Self {
        let mut raw = Self {
            draws: Draws::new(),
            heap: QuadHeap::default(),
            sequence: 0,
            timers: VecDeque::new(),
            first: 0,
            armed: vec![None; PENDING as usize],
            struck: 0,
        };
        for index in 0..u64::from(PENDING) {
            let wait = raw.draws.wait();
            raw.push(SimTime::ZERO, wait, index);
        }
        raw
    }

    #[inline]
    fn push(&mut self, now: SimTime, wait: SimDuration, index: u64) {
        self.sequence += 1;
        let at = now.checked_add(wait).expect("in range");
        self.heap.push(EventKey::raw(at, self.sequence << 24 | index));
    }

    fn run(&mut self) -> u64 {
        let mut events = 0;
        while events < EVENTS {
            let key = self.heap.pop().expect("never empty");
            let now = key.time();
            while let Some(strike) = self.timers.front().copied()
                && (strike == u64::MAX || strike < now.as_nanos())
            {
                self.timers.pop_front();
                self.first += 1;
                if strike != u64::MAX {
                    self.struck += 1;
                    events += 1;
                }
            }
            let index = (key.low() & 0xff_ffff) as usize;
            if let Some(number) = self.armed[index].take()
                && self.draws.cancels()
                && let Some(place) = number.checked_sub(self.first)
            {
                self.timers[place as usize] = u64::MAX;
            }
            self.armed[index] = Some(self.first + self.timers.len() as u64);
            self.timers.push_back(now.as_nanos() + TIMEOUT.as_nanos());
            let wait = self.draws.wait();
            self.push(now, wait, index as u64);
            events += 1;
        }
        black_box(self.struck);
        events
    }
}

/// Prints the comparison.
pub fn bench() {
    let world = Caller { draws: Draws::new(), lane: None, armed: vec![None; PENDING as usize], struck: 0 };
    let mut simulation = Simulation::new(world);
    let (world, scheduler) = simulation.parts();
    world.lane = Some(scheduler.timer_lane(TIMEOUT, Phase::Timer));
    for index in 0..PENDING {
        let wait = world.draws.wait();
        scheduler.schedule(wait, Phase::Arrival, Happening::Work(index));
    }
    let limits = Limits { max_events: Some(EVENTS), ..Limits::default() };
    let mut engine = || {
        simulation.run(&limits).expect("no overflow");
        black_box(simulation.world().struck);
        EVENTS
    };
    let mut raw = Raw::new();
    crate::compare("arm, cancel 99% of timers", &mut engine, "raw loop", &mut || raw.run(), "at most 2");
}
