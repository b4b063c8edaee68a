//! M/M/1 at load 0.8, first come first served, with every sojourn summed.

use std::collections::VecDeque;
use std::hint::black_box;

use sim_core::distribution::Exponential;
use sim_core::engine::{Limits, Simulation, World};
use sim_core::event::{Event, Phase};
use sim_core::random::{Purpose, Stream, Streams};
use sim_core::scheduler::Scheduler;
use sim_core::time::SimDuration;

const EVENTS: u64 = 4_000_000;

/// What happens at the queue.
#[derive(Clone, Copy)]
pub enum Happening {
    /// A customer comes.
    Arrival,
    /// A customer goes.
    Departure,
}

impl Event for Happening {
    #[inline]
    fn identity(&self) -> u64 {
        match self {
            Happening::Arrival => 1 << 32,
            Happening::Departure => 2 << 32,
        }
    }
}

/// The state of the queue, shared by all three programs.
pub struct Queue {
    arrivals: Stream,
    services: Stream,
    between: Exponential,
    service: Exponential,
    waiting: VecDeque<u64>,
    sojourn: u128,
}

impl Default for Queue {
    fn default() -> Self {
        let streams = Streams::new(1, 0);
        Self {
            arrivals: streams.stream("source", Purpose::Arrivals),
            services: streams.stream("server", Purpose::Service),
            between: Exponential::with_mean(1.25).expect("positive"),
            service: Exponential::with_mean(1.0).expect("positive"),
            waiting: VecDeque::new(),
            sojourn: 0,
        }
    }
}

impl Queue {
    /// The time to the next arrival.
    #[inline]
    pub fn between(&mut self) -> SimDuration {
        crate::draw(&self.between, &mut self.arrivals)
    }

    /// The next service time.
    #[inline]
    pub fn service(&mut self) -> SimDuration {
        crate::draw(&self.service, &mut self.services)
    }

    /// Lets a customer in; true when the server was idle.
    #[inline]
    pub fn arrive(&mut self, now: u64) -> bool {
        self.waiting.push_back(now);
        self.waiting.len() == 1
    }

    /// Lets a customer out; true when another is waiting.
    #[inline]
    pub fn depart(&mut self, now: u64) -> bool {
        if let Some(arrived) = self.waiting.pop_front() {
            self.sojourn += u128::from(now - arrived);
        }
        !self.waiting.is_empty()
    }
}

impl World for Queue {
    type Event = Happening;

    #[inline]
    fn handle(&mut self, event: Happening, scheduler: &mut Scheduler<Happening>) {
        let now = scheduler.now().as_nanos();
        let starts = match event {
            Happening::Arrival => {
                let next = self.between();
                scheduler.schedule(next, Phase::Arrival, Happening::Arrival);
                self.arrive(now)
            }
            Happening::Departure => self.depart(now),
        };
        if starts {
            let service = self.service();
            scheduler.schedule(service, Phase::StepEnd, Happening::Departure);
        }
    }
}

/// The engine's run.
pub fn engine() -> u64 {
    let mut simulation = Simulation::new(Queue::default());
    let (world, scheduler) = simulation.parts();
    let first = world.between();
    scheduler.schedule(first, Phase::Arrival, Happening::Arrival);
    simulation.run(&Limits { max_events: Some(EVENTS), ..Limits::default() }).expect("no overflow");
    black_box(simulation.world().sojourn);
    simulation.events()
}

/// The same model as a loop over two instants.
fn raw() -> u64 {
    let mut queue = Queue::default();
    let mut arrival = queue.between().as_nanos();
    let mut departure = u64::MAX;
    for _ in 0..EVENTS {
        if departure <= arrival {
            departure =
                if queue.depart(departure) { departure + queue.service().as_nanos() } else { u64::MAX };
        } else {
            if queue.arrive(arrival) {
                departure = arrival + queue.service().as_nanos();
            }
            arrival += queue.between().as_nanos();
        }
    }
    black_box(queue.sojourn);
    EVENTS
}

/// Prints the comparison.
pub fn bench() {
    crate::compare("M/M/1, load 0.8", &mut engine, "raw loop", &mut raw, "at most 1.35");
}
