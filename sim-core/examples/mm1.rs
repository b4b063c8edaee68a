//! The queue M/M/1: Poisson arrivals, exponential services, one server, first come, first served.
//!
//! With arrival rate l and service rate m, load r = l / m: r / (1 - r) customers in system,
//! 1 / (m - l) in system and r / (m - l) waiting on average (Kleinrock, Queueing Systems I, 1975,
//! 3.2). Fails when a mean over replications is more than four standard errors off.

use std::collections::VecDeque;
use std::error::Error;

use sim_core::distribution::{Dist, Exponential};
use sim_core::engine::{Limits, Simulation, World};
use sim_core::event::{Event, Phase};
use sim_core::random::{Purpose, Stream, Streams};
use sim_core::scheduler::Scheduler;
use sim_core::stats::{Moments, TimeWeighted};
use sim_core::time::{SimDuration, SimTime};

const ARRIVAL_RATE: f64 = 0.8;
const SERVICE_RATE: f64 = 1.0;
const WARM_UP: SimDuration = SimDuration::from_secs(2_000);
const MEASURED: SimDuration = SimDuration::from_secs(60_000);
const REPLICATIONS: u64 = 50;

#[derive(Debug, Clone, Copy)]
enum Happening {
    Arrival,
    Departure,
}

impl Event for Happening {
    fn identity(&self) -> u64 {
        (*self as u64) << 32
    }
}

struct Queue {
    between: Dist,
    service: Dist,
    arrivals: Stream,
    services: Stream,
    /// When each customer came; the first one is being served.
    customers: VecDeque<SimTime>,
    in_system: TimeWeighted,
    sojourn: Moments,
    wait: Moments,
}

impl Queue {
    fn serve(&mut self, scheduler: &mut Scheduler<Happening>) {
        if let Some(came) = self.customers.front() {
            self.wait.push(scheduler.now().since(*came).as_secs_f64());
            let service = self.service.sample_duration(&mut self.services);
            scheduler.schedule(service, Phase::StepEnd, Happening::Departure);
        }
    }
}

impl World for Queue {
    type Event = Happening;

    fn handle(&mut self, event: Happening, scheduler: &mut Scheduler<Happening>) {
        let now = scheduler.now();
        match event {
            Happening::Arrival => {
                let between = self.between.sample_duration(&mut self.arrivals);
                scheduler.schedule(between, Phase::Arrival, Happening::Arrival);
                self.customers.push_back(now);
                self.in_system.add(now, 1);
                if self.customers.len() == 1 {
                    self.serve(scheduler);
                }
            }
            Happening::Departure => {
                let came = self.customers.pop_front().expect("who leaves has come");
                self.sojourn.push(now.since(came).as_secs_f64());
                self.in_system.add(now, -1);
                self.serve(scheduler);
            }
        }
    }
}

/// Customers in system, time in system and time waiting of one replication.
fn replicate(replication: u64) -> Result<[f64; 3], Box<dyn Error>> {
    let streams = Streams::new(1, replication);
    let mut simulation = Simulation::new(Queue {
        between: Exponential::with_mean(1.0 / ARRIVAL_RATE)?.into(),
        service: Exponential::with_mean(1.0 / SERVICE_RATE)?.into(),
        arrivals: streams.stream("customers", Purpose::Arrivals),
        services: streams.stream("server", Purpose::Service),
        customers: VecDeque::new(),
        in_system: TimeWeighted::new(SimTime::ZERO, 0),
        sojourn: Moments::new(),
        wait: Moments::new(),
    });
    simulation.parts().1.schedule(SimDuration::ZERO, Phase::Arrival, Happening::Arrival);

    let start = SimTime::ZERO.checked_add(WARM_UP)?;
    simulation.run(&Limits { until: Some(start), ..Limits::default() })?;
    let queue = simulation.parts().0;
    queue.in_system.reset(start);
    (queue.sojourn, queue.wait) = (Moments::new(), Moments::new());

    let end = start.checked_add(MEASURED)?;
    simulation.run(&Limits { until: Some(end), ..Limits::default() })?;
    let queue = simulation.world();
    let mean = |moments: &Moments| moments.mean().ok_or("no customer has come");
    Ok([queue.in_system.mean(end), mean(&queue.sojourn)?, mean(&queue.wait)?])
}

/// Simulates, prints every mean beside its closed form, and compares them.
pub fn main() -> Result<(), Box<dyn Error>> {
    let runs = (0..REPLICATIONS).map(replicate).collect::<Result<Vec<_>, _>>()?;
    let load = ARRIVAL_RATE / SERVICE_RATE;
    let exact = [
        ("customers in system", load / (1.0 - load)),
        ("time in system, s", 1.0 / (SERVICE_RATE - ARRIVAL_RATE)),
        ("time waiting, s", load / (SERVICE_RATE - ARRIVAL_RATE)),
    ];
    println!("M/M/1 at load {load}, {REPLICATIONS} replications of {MEASURED}, 95% intervals");
    println!("{:<22} {:>10} {:>10} {:>12} {:>6}", "", "exact", "measured", "half width", "z");
    for (column, (name, exact)) in exact.into_iter().enumerate() {
        let means: Moments = runs.iter().map(|run| run[column]).collect();
        let interval = means.interval(0.95)?;
        let z = (interval.mean - exact) / means.standard_error().ok_or("one replication has no error")?;
        println!("{name:<22} {exact:>10.6} {:>10.6} {:>12.6} {z:>6.2}", interval.mean, interval.half_width);
        if z.is_nan() || z.abs() > 4.0 {
            return Err(format!("{name} is {z:.1} standard errors off").into());
        }
    }
    Ok(())
}
