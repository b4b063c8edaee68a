//! Machine repair: N machines, each running for an exponential time of mean Z until it breaks, and
//! one repairman who mends one after another in an exponential time of mean S. A closed system: the
//! machines are its only customers.
//!
//! Mean value analysis is exact here (Reiser and Lavenberg, J. ACM 27(2), 1980): who comes to the
//! repairman finds the mean number of a system with one machine less. Fails when a mean over
//! replications is more than four standard errors off.

use std::collections::VecDeque;
use std::error::Error;

use sim_core::distribution::{Dist, Exponential};
use sim_core::engine::{Limits, Simulation, World};
use sim_core::event::{Event, Phase};
use sim_core::random::{Purpose, Stream, Streams};
use sim_core::scheduler::Scheduler;
use sim_core::stats::{Moments, TimeWeighted};
use sim_core::time::{SimDuration, SimTime};

const MACHINES: u32 = 10;
const UPTIME: f64 = 10.0;
const REPAIR: f64 = 1.0;
const WARM_UP: SimDuration = SimDuration::from_secs(1_000);
const MEASURED: SimDuration = SimDuration::from_secs(40_000);
const REPLICATIONS: u64 = 50;

#[derive(Debug, Clone, Copy)]
enum Happening {
    Breaks(u32),
    Mended(u32),
}

impl Event for Happening {
    fn identity(&self) -> u64 {
        match self {
            Happening::Breaks(machine) => 1 << 32 | u64::from(*machine),
            Happening::Mended(machine) => 2 << 32 | u64::from(*machine),
        }
    }
}

struct Workshop {
    uptime: Dist,
    repair: Dist,
    faults: Stream,
    repairs: Stream,
    /// Broken machines and since when; the first one is being mended.
    broken: VecDeque<(u32, SimTime)>,
    down: TimeWeighted,
    busy: TimeWeighted,
    downtime: Moments,
}

impl Workshop {
    fn start(&mut self, machine: u32, scheduler: &mut Scheduler<Happening>) {
        let uptime = self.uptime.sample_duration(&mut self.faults);
        scheduler.schedule(uptime, Phase::Fault, Happening::Breaks(machine));
    }

    fn mend(&mut self, scheduler: &mut Scheduler<Happening>) {
        self.busy.set(scheduler.now(), u64::from(!self.broken.is_empty()));
        if let Some((machine, _)) = self.broken.front() {
            let repair = self.repair.sample_duration(&mut self.repairs);
            scheduler.schedule(repair, Phase::StepEnd, Happening::Mended(*machine));
        }
    }
}

impl World for Workshop {
    type Event = Happening;

    fn handle(&mut self, event: Happening, scheduler: &mut Scheduler<Happening>) {
        let now = scheduler.now();
        match event {
            Happening::Breaks(machine) => {
                self.broken.push_back((machine, now));
                self.down.add(now, 1);
                if self.broken.len() == 1 {
                    self.mend(scheduler);
                }
            }
            Happening::Mended(machine) => {
                let (_, since) = self.broken.pop_front().expect("what is mended was broken");
                self.downtime.push(now.since(since).as_secs_f64());
                self.down.add(now, -1);
                self.start(machine, scheduler);
                self.mend(scheduler);
            }
        }
    }
}

/// Repairs a second, the repairman's utilization, downtime and machines down of one replication.
fn replicate(replication: u64) -> Result<[f64; 4], Box<dyn Error>> {
    let streams = Streams::new(2, replication);
    let mut simulation = Simulation::new(Workshop {
        uptime: Exponential::with_mean(UPTIME)?.into(),
        repair: Exponential::with_mean(REPAIR)?.into(),
        faults: streams.stream("machines", Purpose::Faults),
        repairs: streams.stream("repairman", Purpose::Service),
        broken: VecDeque::new(),
        down: TimeWeighted::new(SimTime::ZERO, 0),
        busy: TimeWeighted::new(SimTime::ZERO, 0),
        downtime: Moments::new(),
    });
    let (workshop, scheduler) = simulation.parts();
    (0..MACHINES).for_each(|machine| workshop.start(machine, scheduler));
    let start = SimTime::ZERO.checked_add(WARM_UP)?;
    simulation.run(&Limits { until: Some(start), ..Limits::default() })?;
    let workshop = simulation.parts().0;
    workshop.down.reset(start);
    workshop.busy.reset(start);
    workshop.downtime = Moments::new();
    let end = start.checked_add(MEASURED)?;
    simulation.run(&Limits { until: Some(end), ..Limits::default() })?;
    let workshop = simulation.world();
    let downtime = workshop.downtime.mean().ok_or("nothing was mended")?;
    let rate = workshop.downtime.count() as f64 / MEASURED.as_secs_f64();
    Ok([rate, workshop.busy.mean(end), downtime, workshop.down.mean(end)])
}

/// Simulates, prints every mean beside its exact value, and compares them.
pub fn main() -> Result<(), Box<dyn Error>> {
    let runs = (0..REPLICATIONS).map(replicate).collect::<Result<Vec<_>, _>>()?;
    let (mut rate, mut downtime, mut down) = (0.0, 0.0, 0.0);
    for machines in 1..=MACHINES {
        downtime = REPAIR * (1.0 + down);
        rate = f64::from(machines) / (UPTIME + downtime);
        down = rate * downtime;
    }
    let utilization = rate * REPAIR;
    let exact =
        [("repairs/s", rate), ("utilization", utilization), ("downtime, s", downtime), ("down", down)];
    println!("{MACHINES} machines, {REPLICATIONS} replications of {MEASURED}, 95% intervals");
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
