//! A deterministic discrete-event core: integer time, one total order of events, named random
//! streams, statistics.
//!
//! A model is a [`World`](engine::World): state, a type of events, and one method that handles an
//! event and schedules others. A [`Simulation`](engine::Simulation) holds a world, its clock and its
//! pending events. The same model with the same seed gives the same bits on every platform.
//!
//! | module | what is in it |
//! |---|---|
//! | [`time`] | instants and durations: integer nanoseconds |
//! | [`event`] | what an event is; phases; the total order |
//! | [`scheduler`] | what a model calls: schedule, cancel, timer lanes, alarms |
//! | [`engine`] | the loop, limits, progress |
//! | [`random`], [`distribution`] | named streams; probability laws |
//! | [`stats`] | histograms, time averages, series, intervals |
//! | [`fingerprint`], [`check`] | whether two runs are the same, and where they part |
//! | [`queue`] | the data structure of pending events, exchangeable |
//! | [`tournament`] | the least of several values that change one at a time |
//!
//! # A first world
//!
//! The queue M/M/1: customers come at random, one server serves them in turn.
//!
//! ```
//! use std::collections::VecDeque;
//!
//! use sim_core::distribution::{Dist, Exponential};
//! use sim_core::engine::{Limits, Simulation, Stop, World};
//! use sim_core::event::{Event, Phase};
//! use sim_core::random::{Purpose, Stream, Streams};
//! use sim_core::scheduler::Scheduler;
//! use sim_core::stats::Moments;
//! use sim_core::time::{SimDuration, SimTime};
//!
//! #[derive(Clone, Copy)]
//! enum Happening {
//!     Arrival,
//!     Departure,
//! }
//!
//! impl Event for Happening {
//!     // The kind in the upper half, what it happens to in the lower.
//!     fn identity(&self) -> u64 {
//!         (*self as u64) << 32
//!     }
//! }
//!
//! struct Queue {
//!     between: Dist,
//!     service: Dist,
//!     arrivals: Stream,
//!     services: Stream,
//!     customers: VecDeque<SimTime>,
//!     sojourn: Moments,
//! }
//!
//! impl World for Queue {
//!     type Event = Happening;
//!
//!     fn handle(&mut self, event: Happening, scheduler: &mut Scheduler<Happening>) {
//!         let now = scheduler.now();
//!         let idle = self.customers.is_empty();
//!         match event {
//!             Happening::Arrival => {
//!                 self.customers.push_back(now);
//!                 let between = self.between.sample_duration(&mut self.arrivals);
//!                 scheduler.schedule(between, Phase::Arrival, Happening::Arrival);
//!             }
//!             Happening::Departure => {
//!                 let came = self.customers.pop_front().expect("who leaves has come");
//!                 self.sojourn.push(now.since(came).as_secs_f64());
//!             }
//!         }
//!         // A service starts when somebody came to an idle server, or left somebody behind.
//!         if idle || matches!(event, Happening::Departure) && !self.customers.is_empty() {
//!             let service = self.service.sample_duration(&mut self.services);
//!             scheduler.schedule(service, Phase::StepEnd, Happening::Departure);
//!         }
//!     }
//! }
//!
//! let streams = Streams::new(1, 0);
//! let mut simulation = Simulation::new(Queue {
//!     between: Exponential::with_mean(2.0)?.into(),
//!     service: Exponential::with_mean(1.0)?.into(),
//!     arrivals: streams.stream("customers", Purpose::Arrivals),
//!     services: streams.stream("server", Purpose::Service),
//!     customers: VecDeque::new(),
//!     sojourn: Moments::new(),
//! });
//! // Set the scene: the first event.
//! let (_, scheduler) = simulation.parts();
//! scheduler.schedule(SimDuration::ZERO, Phase::Arrival, Happening::Arrival);
//!
//! let end = SimTime::ZERO.checked_add(SimDuration::from_secs(200_000))?;
//! let stop = simulation.run(&Limits { until: Some(end), ..Limits::default() })?;
//! assert_eq!(stop, Stop::Until);
//! // At load 1/2 a customer spends 2 s on average.
//! let sojourn = simulation.world().sojourn.mean().expect("customers came");
//! assert!((sojourn - 2.0).abs() < 0.1, "{sojourn}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `cargo run -p sim-core --example mm1` measures this queue with intervals; `machine_repair` is a
//! closed system, `two_stations` a small network.
//!
//! # Random numbers by name
//!
//! There is no global generator. A stream belongs to a name and a purpose, so a new component or
//! another order of construction leaves everybody else's numbers as they were. A *keyed* stream goes
//! further: its draws belong to a request, whatever the order of events, so two variants of a system
//! meet the same luck and their difference shows with few replications.
//!
//! ```
//! use sim_core::distribution::{Distribution, Exponential};
//! use sim_core::random::{Purpose, Streams};
//! use sim_core::stats::{paired_difference, replication_interval};
//!
//! // Mean service of 50 requests on a server and on one a tenth faster, under one luck.
//! let mean = |replication: u64, seconds: f64| -> Result<f64, Box<dyn std::error::Error>> {
//!     let law = Exponential::with_mean(seconds)?;
//!     let service = Streams::new(7, replication).keyed("db", Purpose::Service);
//!     let draws = (0..50).map(|request| law.sample(&mut service.draws(request, 0, 0)));
//!     Ok(draws.sum::<f64>() / 50.0)
//! };
//! let slow = (0..10).map(|r| mean(r, 1.0)).collect::<Result<Vec<_>, _>>()?;
//! let fast = (0..10).map(|r| mean(r, 0.9)).collect::<Result<Vec<_>, _>>()?;
//! let difference = paired_difference(&slow, &fast, 0.95)?;
//! assert!(difference.low() > 0.0);
//! assert!(difference.half_width < 0.2 * replication_interval(&slow, 0.95)?.half_width);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Phases and the order of events
//!
//! Events happen in order of time, then of [`Phase`](event::Phase), then of scheduling. Phases say
//! what comes first where it matters: a server that becomes free at the very instant of an arrival is
//! free for it. An event without delay still comes after the one that scheduled it.
//!
//! ```
//! # use sim_core::engine::{Limits, Simulation, World};
//! # use sim_core::event::{Event, Phase};
//! # use sim_core::scheduler::Scheduler;
//! # use sim_core::time::SimDuration;
//! /// Notes the numbers of events, and answers number 1 at once.
//! #[derive(Default)]
//! struct Log(Vec<u32>);
//!
//! #[derive(Clone, Copy)]
//! struct Numbered(u32);
//!
//! impl Event for Numbered {
//!     fn identity(&self) -> u64 {
//!         u64::from(self.0)
//!     }
//! }
//!
//! impl World for Log {
//!     type Event = Numbered;
//!
//!     fn handle(&mut self, Numbered(number): Numbered, scheduler: &mut Scheduler<Numbered>) {
//!         self.0.push(number);
//!         if number == 1 {
//!             scheduler.schedule(SimDuration::ZERO, Phase::StepEnd, Numbered(4));
//!         }
//!     }
//! }
//!
//! let mut simulation = Simulation::new(Log::default());
//! let (_, scheduler) = simulation.parts();
//! let second = SimDuration::from_secs(1);
//! scheduler.schedule(second, Phase::Arrival, Numbered(2));
//! scheduler.schedule(second, Phase::Sampler, Numbered(5));
//! scheduler.schedule(second, Phase::Arrival, Numbered(3));
//! scheduler.schedule(second, Phase::StepEnd, Numbered(1));
//! simulation.run(&Limits::default())?;
//! assert_eq!(simulation.world().0, [1, 4, 2, 3, 5]);
//! # Ok::<(), sim_core::scheduler::SimError>(())
//! ```
//!
//! # Cancelling, and timers that all wait equally long
//!
//! [`schedule`](scheduler::Scheduler::schedule) gives a handle by which the event can be cancelled,
//! in constant time. Timeouts are nearly always cancelled; those of one length go into a
//! [timer lane](scheduler::Scheduler::timer_lane), which keeps all but one of them out of the event
//! queue. The order of events is the same with and without the lane. An event that is put off and brought forward more
//! often than it happens is an [alarm](scheduler::Scheduler::alarm), which is never in the event queue.
//!
//! ```
//! # use sim_core::engine::{Limits, Simulation, World};
//! # use sim_core::event::{Event, EventHandle, Phase};
//! # use sim_core::scheduler::{Scheduler, TimerLane};
//! # use sim_core::time::SimDuration;
//! /// Asks every second and waits three for an answer; the fourth question gets none.
//! struct Caller {
//!     patience: Option<TimerLane>,
//!     timeouts: Vec<EventHandle>,
//!     lost: Vec<usize>,
//! }
//!
//! #[derive(Clone, Copy)]
//! enum Happening {
//!     Ask,
//!     Answer(usize),
//!     Timeout(usize),
//! }
//! # impl Event for Happening {
//! #     fn identity(&self) -> u64 {
//! #         match self {
//! #             Happening::Ask => 1 << 32,
//! #             Happening::Answer(call) => 2 << 32 | *call as u64,
//! #             Happening::Timeout(call) => 3 << 32 | *call as u64,
//! #         }
//! #     }
//! # }
//!
//! impl World for Caller {
//!     type Event = Happening;
//!
//!     fn handle(&mut self, event: Happening, scheduler: &mut Scheduler<Happening>) {
//!         match event {
//!             Happening::Ask => {
//!                 let call = self.timeouts.len();
//!                 let patience = self.patience.expect("made at the start");
//!                 self.timeouts.push(scheduler.arm(patience, Happening::Timeout(call)));
//!                 if call != 3 {
//!                     scheduler.schedule(SimDuration::from_secs(2), Phase::Reply, Happening::Answer(call));
//!                 }
//!                 scheduler.schedule(SimDuration::from_secs(1), Phase::Arrival, Happening::Ask);
//!             }
//!             Happening::Answer(call) => assert!(scheduler.cancel(self.timeouts[call]), "still waiting"),
//!             Happening::Timeout(call) => self.lost.push(call),
//!         }
//!     }
//! }
//!
//! let mut simulation = Simulation::new(Caller { patience: None, timeouts: Vec::new(), lost: Vec::new() });
//! let (world, scheduler) = simulation.parts();
//! world.patience = Some(scheduler.timer_lane(SimDuration::from_secs(3), Phase::Timer));
//! scheduler.schedule(SimDuration::ZERO, Phase::Arrival, Happening::Ask);
//! simulation.run(&Limits { max_events: Some(100), ..Limits::default() })?;
//! assert_eq!(simulation.world().lost, [3]);
//! # Ok::<(), sim_core::scheduler::SimError>(())
//! ```
//!
//! # Limits, progress, and stopping from another thread
//!
//! A run stops when no event is left, when the world is [done](engine::World::done), at a
//! [limit](engine::Limits) of simulated time, events or host time, or when somebody else asks; it says
//! [which](engine::Stop). Each call of [`run`](engine::Simulation::run) continues the run.
//!
//! ```
//! # use sim_core::engine::{Limits, Simulation, Stop, World};
//! # use sim_core::event::{Event, Phase};
//! # use sim_core::scheduler::Scheduler;
//! # use sim_core::time::SimDuration;
//! # struct Ticker;
//! # #[derive(Clone, Copy)]
//! # struct Tick;
//! # impl Event for Tick {
//! #     fn identity(&self) -> u64 {
//! #         1 << 32
//! #     }
//! # }
//! # impl World for Ticker {
//! #     type Event = Tick;
//! #     fn handle(&mut self, tick: Tick, scheduler: &mut Scheduler<Tick>) {
//! #         scheduler.schedule(SimDuration::from_micros(1), Phase::Timer, tick);
//! #     }
//! # }
//! let mut simulation = Simulation::new(Ticker); // it ticks for ever
//! simulation.parts().1.schedule(SimDuration::ZERO, Phase::Timer, Tick);
//! let few = Limits { max_events: Some(10), ..Limits::default() };
//! assert_eq!(simulation.run(&few)?, Stop::EventBudget);
//! assert_eq!(simulation.run(&few)?, Stop::EventBudget);
//! assert_eq!(simulation.events(), 20);
//!
//! let progress = simulation.progress();
//! let run = std::thread::spawn(move || simulation.run(&Limits::default()));
//! while progress.events() < 100_000 {
//!     std::thread::yield_now();
//! }
//! progress.cancel();
//! assert_eq!(run.join().expect("no panic")?, Stop::Cancelled);
//! assert!(progress.now().as_nanos() >= 99_999_000);
//! # Ok::<(), sim_core::scheduler::SimError>(())
//! ```
//!
//! # Statistics, and an interval over replications
//!
//! While a run goes on, [`TimeWeighted`](stats::TimeWeighted) averages levels over time,
//! [`Histogram`](stats::Histogram) takes in latencies, [`EventSeries`](stats::EventSeries) and
//! [`LevelSeries`](stats::LevelSeries) keep them window by window. Customers of one run resemble their
//! neighbours, so an interval needs independent replications: the same seed, another replication
//! number.
//!
//! ```
//! use sim_core::distribution::{Dist, Exponential};
//! use sim_core::random::{Purpose, Streams};
//! use sim_core::stats::{Histogram, TimeWeighted, replication_interval};
//! use sim_core::time::{SimDuration, SimTime};
//!
//! /// A machine that works for 9 s and stands for 1 s, on average: its availability.
//! fn availability(replication: u64) -> Result<f64, Box<dyn std::error::Error>> {
//!     let uptime: Dist = Exponential::with_mean(9.0)?.into();
//!     let repair_time: Dist = Exponential::with_mean(1.0)?.into();
//!     let mut rng = Streams::new(1, replication).stream("machine", Purpose::Faults);
//!     let mut up = TimeWeighted::new(SimTime::ZERO, 1);
//!     let mut repairs = Histogram::new();
//!     let mut now = SimTime::ZERO;
//!     for _ in 0..1_000 {
//!         now = now.checked_add(uptime.sample_duration(&mut rng))?;
//!         up.set(now, 0);
//!         let repair = repair_time.sample_duration(&mut rng);
//!         repairs.record(repair.as_nanos());
//!         now = now.checked_add(repair)?;
//!         up.set(now, 1);
//!     }
//!     // What is counted is an integer: the books balance to the nanosecond.
//!     assert_eq!(up.integral(now) + repairs.sum(), u128::from(now.as_nanos()));
//!     Ok(up.mean(now))
//! }
//!
//! let values = (0..10).map(availability).collect::<Result<Vec<_>, _>>()?;
//! let interval = replication_interval(&values, 0.99)?;
//! assert!(interval.contains(0.9), "{interval:?}");
//! assert!(interval.relative_half_width() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Reproducibility
//!
//! A run has a [fingerprint](fingerprint::Fingerprint), a hash over every event handled.
//! [`run_twice`](check::run_twice) makes sure that a model equals itself,
//! [`first_divergence`](check::first_divergence) finds the event at which two runs part, and
//! [`shuffle_ties`](engine::Simulation::shuffle_ties) orders simultaneous events of one phase at
//! random, which changes the events but should not change the results.
//!
//! ```
//! # use sim_core::engine::{Limits, Simulation, World};
//! # use sim_core::event::{Event, Phase};
//! # use sim_core::scheduler::Scheduler;
//! # use sim_core::time::SimDuration;
//! use sim_core::check::{first_divergence, run_twice};
//! use sim_core::random::{Purpose, Stream, Streams};
//!
//! /// Ten dice, all thrown every second; whoever throws a six leaves the table.
//! struct Table {
//!     rng: Stream,
//!     throws: u64,
//!     first_to_leave: Option<u32>,
//! }
//! # #[derive(Clone, Copy)]
//! # struct Throw(u32);
//! # impl Event for Throw {
//! #     fn identity(&self) -> u64 {
//! #         u64::from(self.0)
//! #     }
//! # }
//! # impl World for Table {
//! #     type Event = Throw;
//! #     fn handle(&mut self, throw: Throw, scheduler: &mut Scheduler<Throw>) {
//! #         self.throws += 1;
//! #         if sim_core::random::unit(&mut self.rng) < 1.0 / 6.0 {
//! #             self.first_to_leave.get_or_insert(throw.0);
//! #         } else {
//! #             scheduler.schedule(SimDuration::from_secs(1), Phase::Timer, throw);
//! #         }
//! #     }
//! # }
//! # let table = |seed| {
//! #     let rng = Streams::new(seed, 0).stream("dice", Purpose::Service);
//! #     Simulation::new(Table { rng, throws: 0, first_to_leave: None })
//! # };
//! # let seat = |mut simulation: Simulation<Table>| {
//! #     for die in 0..10 {
//! #         simulation.parts().1.schedule(SimDuration::ZERO, Phase::Timer, Throw(die));
//! #     }
//! #     simulation
//! # };
//!
//! let limits = Limits::default();
//! let fingerprint = run_twice(|| seat(table(1)), &limits)?.expect("equal to itself");
//!
//! // Another seed: the tables part at the first throw after which other dice are left.
//! let parting = first_divergence(|| seat(table(1)), || seat(table(2)), &limits)?.expect("other luck");
//! assert_ne!(parting.first, parting.second);
//!
//! // Other events, the same number of throws: that count does not lean on the order of ties. Who
//! // leaves first does.
//! let mut plain = seat(table(1));
//! plain.run(&limits)?;
//! let mut shuffled = seat(table(1).shuffle_ties(1));
//! shuffled.run(&limits)?;
//! assert_eq!(plain.fingerprint(), fingerprint);
//! assert_ne!(shuffled.fingerprint(), fingerprint);
//! assert_eq!(shuffled.world().throws, plain.world().throws);
//! assert_ne!(shuffled.world().first_to_leave, plain.world().first_to_leave);
//! # Ok::<(), sim_core::scheduler::SimError>(())
//! ```
//!
//! # Errors and panics
//!
//! What a user may get wrong is an error that names the parameter, its value and what is accepted:
//! - [`TimeError`](time::TimeError): a sum past the end of time (584 years), a number that is no
//!   duration;
//! - [`DistributionError`](distribution::DistributionError): a parameter out of range;
//! - [`StatsError`](stats::StatsError): nothing to compute from, a number that is not finite, a
//!   confidence or a window out of range;
//! - [`SimError`](scheduler::SimError): a run that schedules past the end of time, has more than 2^23
//!   events pending, or schedules more than 2^37 in all. Scheduling itself gives no `Result`: the run
//!   ends with the error soon after.
//!
//! What only a bug in a model can cause is a panic: an event in the past, a time that runs backwards,
//! a level below zero.

pub mod check;
pub mod distribution;
pub mod engine;
pub mod event;
pub mod fingerprint;
pub mod queue;
pub mod random;
pub mod scheduler;
pub mod stats;
pub mod time;
pub mod tournament;
