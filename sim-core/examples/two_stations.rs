//! A Jackson network: two stations in line, each one exponential server, and after the second one
//! customer in five goes back to the first.
//!
//! With arrival rate l and return probability p, each station sees customers at rate l / (1 - p) and
//! behaves as an M/M/1 queue of its own (Jackson, Oper. Res. 5(4), 1957), with r / (1 - r) customers
//! at load r. Fails when a mean over replications is more than four standard errors off.

use std::collections::VecDeque;
use std::error::Error;

use sim_core::distribution::{Dist, Exponential};
use sim_core::engine::{Limits, Simulation, World};
use sim_core::event::{Event, Phase};
use sim_core::random::{Purpose, Stream, Streams, unit};
use sim_core::scheduler::Scheduler;
use sim_core::stats::{Moments, TimeWeighted};
use sim_core::time::{SimDuration, SimTime};

const ARRIVAL_RATE: f64 = 0.6;
const STATIONS: [(&str, f64); 2] = [("first", 1.0), ("second", 1.25)];
const RETURN: f64 = 0.2;
const WARM_UP: SimDuration = SimDuration::from_secs(2_000);
const MEASURED: SimDuration = SimDuration::from_secs(40_000);
const REPLICATIONS: u64 = 50;

#[derive(Debug, Clone, Copy)]
enum Happening {
    Arrival,
    ServedAt(u32),
}

impl Event for Happening {
    fn identity(&self) -> u64 {
        match self {
            Happening::Arrival => 1 << 32,
            Happening::ServedAt(station) => 2 << 32 | u64::from(*station),
        }
    }
}

struct Station {
    service: Dist,
    services: Stream,
    /// When each customer came into the network; the first one is being served.
    customers: VecDeque<SimTime>,
    present: TimeWeighted,
}

struct Network {
    between: Dist,
    arrivals: Stream,
    routing: Stream,
    stations: Vec<Station>,
    sojourn: Moments,
}

impl Network {
    fn enter(&mut self, station: u32, came: SimTime, scheduler: &mut Scheduler<Happening>) {
        let place = &mut self.stations[station as usize];
        place.customers.push_back(came);
        place.present.add(scheduler.now(), 1);
        if place.customers.len() == 1 {
            self.serve(station, scheduler);
        }
    }

    fn serve(&mut self, station: u32, scheduler: &mut Scheduler<Happening>) {
        let place = &mut self.stations[station as usize];
        let service = place.service.sample_duration(&mut place.services);
        scheduler.schedule(service, Phase::StepEnd, Happening::ServedAt(station));
    }
}

impl World for Network {
    type Event = Happening;

    fn handle(&mut self, event: Happening, scheduler: &mut Scheduler<Happening>) {
        let now = scheduler.now();
        let Happening::ServedAt(station) = event else {
            let between = self.between.sample_duration(&mut self.arrivals);
            scheduler.schedule(between, Phase::Arrival, Happening::Arrival);
            return self.enter(0, now, scheduler);
        };
        let place = &mut self.stations[station as usize];
        let came = place.customers.pop_front().expect("who was served has come");
        place.present.add(now, -1);
        if !place.customers.is_empty() {
            self.serve(station, scheduler);
        }
        if station == 0 {
            self.enter(1, came, scheduler);
        } else if unit(&mut self.routing) < RETURN {
            self.enter(0, came, scheduler);
        } else {
            self.sojourn.push(now.since(came).as_secs_f64());
        }
    }
}

/// Customers at either station and time in the network of one replication.
fn replicate(replication: u64) -> Result<[f64; 3], Box<dyn Error>> {
    let streams = Streams::new(3, replication);
    let station = |(name, rate): (&str, f64)| {
        Ok::<_, Box<dyn Error>>(Station {
            service: Exponential::with_mean(1.0 / rate)?.into(),
            services: streams.stream(name, Purpose::Service),
            customers: VecDeque::new(),
            present: TimeWeighted::new(SimTime::ZERO, 0),
        })
    };
    let mut simulation = Simulation::new(Network {
        between: Exponential::with_mean(1.0 / ARRIVAL_RATE)?.into(),
        arrivals: streams.stream("customers", Purpose::Arrivals),
        routing: streams.stream("customers", Purpose::Routing),
        stations: STATIONS.into_iter().map(station).collect::<Result<_, _>>()?,
        sojourn: Moments::new(),
    });
    simulation.parts().1.schedule(SimDuration::ZERO, Phase::Arrival, Happening::Arrival);
    let start = SimTime::ZERO.checked_add(WARM_UP)?;
    simulation.run(&Limits { until: Some(start), ..Limits::default() })?;
    let network = simulation.parts().0;
    network.stations.iter_mut().for_each(|station| station.present.reset(start));
    network.sojourn = Moments::new();
    let end = start.checked_add(MEASURED)?;
    simulation.run(&Limits { until: Some(end), ..Limits::default() })?;
    let network = simulation.world();
    let present = |station: usize| network.stations[station].present.mean(end);
    Ok([present(0), present(1), network.sojourn.mean().ok_or("nobody has left")?])
}

/// Simulates, prints every mean beside its closed form, and compares them.
pub fn main() -> Result<(), Box<dyn Error>> {
    let runs = (0..REPLICATIONS).map(replicate).collect::<Result<Vec<_>, _>>()?;
    let [first, second] = STATIONS.map(|(_, rate)| ARRIVAL_RATE / (rate * (1.0 - RETURN) - ARRIVAL_RATE));
    let exact =
        [("at station 1", first), ("at station 2", second), ("time, s", (first + second) / ARRIVAL_RATE)];
    println!("two stations with returns, {REPLICATIONS} replications of {MEASURED}, 95% intervals");
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
