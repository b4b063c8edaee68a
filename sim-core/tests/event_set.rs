//! The pending events against a plain sorted map, under ties, cancellations, rescheduling, zero
//! delays and timer lanes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::Rng;
use sim_core::check::{first_divergence, run_twice};
use sim_core::engine::{Limits, Simulation, Stop, World};
use sim_core::event::{Event, EventHandle, Phase};
use sim_core::queue::{EventQueue, OrderedQueue, QuadHeap};
use sim_core::random::{Purpose, Stream, Streams};
use sim_core::scheduler::{Scheduler, SimError, TimerLane};
use sim_core::time::{SimDuration, SimTime};

const PHASES: [Phase; 6] =
    [Phase::StepEnd, Phase::Reply, Phase::Arrival, Phase::Timer, Phase::Fault, Phase::Sampler];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbered(u64);

impl Event for Numbered {
    fn identity(&self) -> u64 {
        self.0
    }
}

/// Does random things with the scheduler and keeps a sorted map of what must come next.
struct Chaos {
    rng: Stream,
    operations: u64,
    expected: BTreeMap<(SimTime, Phase, u64), u64>,
    handles: Vec<(EventHandle, (SimTime, Phase, u64))>,
    scheduled: u64,
    lanes: Vec<(TimerLane, SimDuration, Phase)>,
    /// Whether ties are shuffled: then only the time is predictable.
    shuffled: bool,
}

impl Chaos {
    fn new(seed: u64, operations: u64) -> Self {
        Self {
            rng: Streams::new(seed, 0).stream("chaos", Purpose::Service),
            operations,
            expected: BTreeMap::new(),
            handles: Vec::new(),
            scheduled: 0,
            lanes: Vec::new(),
            shuffled: false,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn schedule<Q: EventQueue>(&mut self, scheduler: &mut Scheduler<Numbered, Q>) {
        let number = self.scheduled;
        self.scheduled += 1;
        let (handle, at, phase) = if self.below(3) == 0 {
            let choice = self.below(self.lanes.len() as u64) as usize;
            let (lane, delay, phase) = self.lanes[choice];
            (scheduler.arm(lane, Numbered(number)), scheduler.now().checked_add(delay), phase)
        } else {
            // Few distinct delays, so that ties abound; now and then a far one.
            let delay = match self.below(8) {
                0..3 => 0,
                3..7 => self.below(4),
                _ => self.below(1_000),
            };
            let delay = SimDuration::from_nanos(delay);
            let phase = PHASES[self.below(6) as usize];
            let handle = scheduler.schedule(delay, phase, Numbered(number));
            (handle, scheduler.now().checked_add(delay), phase)
        };
        let place = (at.expect("in range"), phase, number);
        self.expected.insert(place, number);
        self.handles.push((handle, place));
    }

    fn cancel<Q: EventQueue>(&mut self, scheduler: &mut Scheduler<Numbered, Q>) {
        if self.handles.is_empty() {
            return;
        }
        // Mostly recent ones; some have happened already, and then nothing may change.
        let reach = self.handles.len().min(40) as u64;
        let index = self.handles.len() - 1 - self.below(reach) as usize;
        let (handle, place) = self.handles[index];
        assert_eq!(scheduler.cancel(handle), self.expected.remove(&place).is_some());
    }
}

impl<Q: EventQueue> World<Q> for Chaos {
    type Event = Numbered;

    fn handle(&mut self, event: Numbered, scheduler: &mut Scheduler<Numbered, Q>) {
        if self.shuffled {
            let place = self.expected.iter().find(|(_, number)| **number == event.0).map(|(place, _)| *place);
            let place = place.expect("an event happens that is not pending");
            let first = self.expected.first_key_value().expect("not empty").0;
            assert_eq!((place.0, place.1), (first.0, first.1));
            self.expected.remove(&place);
        } else {
            let (place, number) = self.expected.pop_first().expect("an event happens that is not pending");
            assert_eq!((place.0, number), (scheduler.now(), event.0));
        }
        // Bursts and droughts, so that the heap grows and shrinks.
        let growth = if (self.operations / 1_000).is_multiple_of(2) { 4 } else { 2 };
        for _ in 0..self.below(growth) {
            if self.operations == 0 {
                return;
            }
            self.operations -= 1;
            match self.below(4) {
                0 => self.cancel(scheduler),
                1 => {
                    self.cancel(scheduler);
                    self.schedule(scheduler);
                }
                _ => self.schedule(scheduler),
            }
        }
        while self.expected.len() < 10 && self.operations > 0 {
            self.operations -= 1;
            self.schedule(scheduler);
        }
        assert_eq!(scheduler.pending(), self.expected.len());
    }
}

fn chaos<Q: EventQueue>(seed: u64, operations: u64, shuffle: Option<u64>) -> Simulation<Chaos, Q> {
    let mut simulation = Simulation::new(Chaos::new(seed, operations));
    if let Some(shuffle) = shuffle {
        simulation = simulation.shuffle_ties(shuffle);
    }
    let (world, scheduler) = simulation.parts();
    world.shuffled = shuffle.is_some();
    for (delay, phase) in [(0, Phase::Timer), (3, Phase::Timer), (50, Phase::Reply)] {
        let delay = SimDuration::from_nanos(delay);
        world.lanes.push((scheduler.timer_lane(delay, phase), delay, phase));
    }
    for _ in 0..20 {
        world.schedule(scheduler);
    }
    simulation
}

#[test]
fn a_hundred_thousand_operations_agree_with_a_sorted_map() {
    for seed in 0..3 {
        let mut simulation = chaos::<QuadHeap>(seed, 100_000, None);
        assert_eq!(simulation.run(&Limits::default()), Ok(Stop::Exhausted));
        assert!(simulation.world().expected.is_empty());
        assert_eq!(simulation.world().operations, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_random_run_agrees_with_a_sorted_map(seed: u64, operations in 0u64..3_000) {
        let mut simulation = chaos::<QuadHeap>(seed, operations, None);
        prop_assert_eq!(simulation.run(&Limits::default()), Ok(Stop::Exhausted));
        prop_assert!(simulation.world().expected.is_empty());
    }

    #[test]
    fn the_heap_and_the_tree_give_one_fingerprint(seed: u64, operations in 0u64..3_000) {
        let divergence = first_divergence(
            || chaos::<QuadHeap>(seed, operations, None),
            || chaos::<OrderedQueue>(seed, operations, None),
            &Limits::default(),
        );
        prop_assert_eq!(divergence, Ok(None));
    }

    #[test]
    fn shuffled_ties_keep_time_and_phase(seed: u64, shuffle: u64) {
        let mut simulation = chaos::<QuadHeap>(seed, 1_000, Some(shuffle));
        prop_assert_eq!(simulation.run(&Limits::default()), Ok(Stop::Exhausted));
    }

    #[test]
    fn cutting_a_run_changes_nothing(seed: u64, cut in 1u64..500) {
        let mut whole = chaos::<QuadHeap>(seed, 2_000, None);
        whole.run(&Limits::default()).unwrap();
        let mut parts = chaos::<QuadHeap>(seed, 2_000, None);
        let limits = Limits { max_events: Some(cut), ..Limits::default() };
        while parts.run(&limits).unwrap() == Stop::EventBudget {}
        prop_assert_eq!(whole.fingerprint(), parts.fingerprint());
    }
}

#[test]
fn equal_runs_are_equal_and_another_seed_is_found_out() {
    let limits = Limits::default();
    let first = run_twice(|| chaos::<QuadHeap>(1, 30_000, None), &limits).unwrap();
    assert!(first.is_ok());
    let divergence = first_divergence(
        || chaos::<QuadHeap>(1, 30_000, None),
        || chaos::<QuadHeap>(2, 30_000, None),
        &limits,
    )
    .unwrap()
    .expect("different seeds differ");
    assert_ne!(divergence.first, divergence.second);
}

/// Ticks once a nanosecond; from tick 10,000 on, the odd one out names its events otherwise.
#[derive(Debug)]
struct Ticker {
    odd: bool,
}

impl World for Ticker {
    type Event = Numbered;

    fn handle(&mut self, event: Numbered, scheduler: &mut Scheduler<Numbered>) {
        let next = if self.odd && event.0 == 9_999 { 77 } else { event.0 + 1 };
        scheduler.schedule(SimDuration::from_nanos(1), Phase::Timer, Numbered(next));
    }
}

fn ticker(odd: bool) -> Simulation<Ticker> {
    let mut simulation = Simulation::new(Ticker { odd });
    simulation.parts().1.schedule(SimDuration::ZERO, Phase::Timer, Numbered(0));
    simulation
}

#[test]
fn the_first_divergence_is_found_to_the_event() {
    let limits = Limits { max_events: Some(50_000), ..Limits::default() };
    let found = first_divergence(|| ticker(false), || ticker(true), &limits).unwrap().expect("they part");
    assert_eq!(found.index, 10_000);
    assert_eq!(found.first.map(|record| record.identity), Some(10_000));
    assert_eq!(found.second.map(|record| record.identity), Some(77));
}

#[test]
fn limits_stop_where_they_say() {
    let mut simulation = ticker(false);
    let until = Limits { until: Some(SimTime::from_nanos(10)), ..Limits::default() };
    assert_eq!(simulation.run(&until), Ok(Stop::Until));
    assert_eq!((simulation.events(), simulation.now()), (11, SimTime::from_nanos(10)));
    let budget = Limits { max_events: Some(7), ..Limits::default() };
    assert_eq!(simulation.run(&budget), Ok(Stop::EventBudget));
    assert_eq!(simulation.events(), 18);
    let progress = simulation.progress();
    progress.cancel();
    assert_eq!(simulation.run(&Limits::default()), Ok(Stop::Cancelled));
    assert_eq!(progress.events(), simulation.events());
    let mut simulation = ticker(false);
    let wall = Limits { wall: Some(std::time::Duration::ZERO), ..Limits::default() };
    assert_eq!(simulation.run(&wall), Ok(Stop::WallBudget));
}

#[test]
fn the_end_of_time_is_an_error() {
    // At the last instant, it asks for one nanosecond more.
    let mut last = Simulation::new(Ticker { odd: false });
    last.parts().1.schedule_at(SimTime::MAX, Phase::Timer, Numbered(1));
    assert!(matches!(last.run(&Limits::default()), Err(SimError::Time(_))));
    // There is no going on from here, even where something is left to do.
    last.parts().1.schedule(SimDuration::ZERO, Phase::Timer, Numbered(2));
    assert!(matches!(last.run(&Limits::default()), Err(SimError::Time(_))));
    assert_eq!(last.events(), 1);
}

#[test]
fn the_clock_moves_to_the_limit_and_never_back() {
    let at = SimTime::from_nanos;
    let until = |nanos| Limits { until: Some(at(nanos)), ..Limits::default() };
    let mut simulation = Simulation::new(Ticker { odd: false });
    simulation.parts().1.schedule_at(at(100), Phase::Timer, Numbered(0));
    assert_eq!(simulation.run(&until(40)), Ok(Stop::Until));
    assert_eq!((simulation.now(), simulation.events()), (at(40), 0));
    assert_eq!(simulation.progress().now(), at(40));
    // Something for right now is still later than a limit in the past.
    simulation.parts().1.schedule(SimDuration::ZERO, Phase::Timer, Numbered(7));
    assert_eq!(simulation.run(&until(39)), Ok(Stop::Until));
    assert_eq!((simulation.now(), simulation.events()), (at(40), 0));
    assert_eq!(simulation.run(&until(40)), Ok(Stop::Until));
    assert_eq!((simulation.now(), simulation.events()), (at(40), 1));
    // Where nothing is left, the clock stays at the last event.
    let mut nothing = Simulation::new(Ticker { odd: false });
    assert_eq!(nothing.run(&until(40)), Ok(Stop::Exhausted));
    assert_eq!(nothing.now(), SimTime::ZERO);
}

#[test]
fn a_trail_has_an_entry_every_so_many_events() {
    let mut whole = ticker(false).record_trail(100);
    whole.run(&Limits { max_events: Some(20_050), ..Limits::default() }).unwrap();
    assert_eq!(whole.trail().len(), 200);
    let mut parts = ticker(false).record_trail(100);
    while parts.events() < 20_000 {
        parts.step().expect("it ticks for ever");
        parts.run(&Limits { max_events: Some(69), ..Limits::default() }).unwrap();
    }
    assert_eq!(parts.trail()[..200], *whole.trail());
    let mut odd = ticker(true).record_trail(100);
    odd.run(&Limits { max_events: Some(20_050), ..Limits::default() }).unwrap();
    let equal = whole.trail().iter().zip(odd.trail()).take_while(|(a, b)| a == b).count();
    assert_eq!(equal, 100, "they part at event 10,000");
}

#[test]
fn a_model_that_is_not_equal_to_itself_is_found_out() {
    let built = std::cell::Cell::new(0);
    let build = || {
        built.set(built.get() + 1);
        ticker(built.get() == 2)
    };
    let limits = Limits { max_events: Some(50_000), ..Limits::default() };
    let divergence = run_twice(build, &limits).unwrap().unwrap_err();
    assert_eq!(divergence.index, 10_000);
}

#[test]
fn a_comparison_ends_where_a_run_would() {
    let limits = Limits { until: Some(SimTime::from_nanos(9)), ..Limits::default() };
    let mut short = ticker(false);
    assert_eq!(short.run(&limits), Ok(Stop::Until));
    let fingerprint = run_twice(|| ticker(false), &limits).unwrap().unwrap();
    assert_eq!(fingerprint, short.fingerprint());
    let nothing = || Simulation::new(Ticker { odd: false });
    let divergence = first_divergence(nothing, || ticker(false), &limits).unwrap().expect("they part");
    assert_eq!((divergence.index, divergence.first), (0, None));
    assert_eq!(divergence.second.map(|record| record.phase), Some(Phase::Timer));
    let overflowing = || {
        let mut last = nothing();
        last.parts().1.schedule_at(SimTime::MAX, Phase::Timer, Numbered(1));
        last
    };
    assert!(matches!(run_twice(overflowing, &Limits::default()), Err(SimError::Time(_))));
}

#[test]
fn cancelled_timers_do_not_pile_up() {
    /// Arms a far timer in every event and cancels it in the next.
    struct Careful {
        lane: Option<TimerLane>,
        armed: Vec<EventHandle>,
        most: usize,
    }
    impl World for Careful {
        type Event = Numbered;

        fn handle(&mut self, event: Numbered, scheduler: &mut Scheduler<Numbered>) {
            for handle in self.armed.drain(..) {
                assert!(scheduler.cancel(handle));
            }
            let lane = self.lane.expect("made at the start");
            self.armed.push(scheduler.arm(lane, Numbered(1 << 40)));
            self.armed.push(scheduler.schedule(SimDuration::from_secs(60), Phase::Timer, Numbered(1 << 41)));
            self.most = self.most.max(scheduler.stored());
            scheduler.schedule(SimDuration::from_nanos(1), Phase::Arrival, Numbered(event.0 + 1));
        }
    }
    let mut simulation = Simulation::new(Careful { lane: None, armed: Vec::new(), most: 0 });
    let (world, scheduler) = simulation.parts();
    world.lane = Some(scheduler.timer_lane(SimDuration::from_secs(60), Phase::Timer));
    scheduler.schedule(SimDuration::ZERO, Phase::Arrival, Numbered(0));
    simulation.run(&Limits { max_events: Some(100_000), ..Limits::default() }).unwrap();
    assert!(simulation.world().most < 300, "{} keys are kept for 3 live events", simulation.world().most);
}

/// Starts over without delay.
struct Restless;

impl World for Restless {
    type Event = Numbered;

    fn handle(&mut self, event: Numbered, scheduler: &mut Scheduler<Numbered>) {
        scheduler.schedule(SimDuration::ZERO, Phase::Timer, event);
    }
}

#[test]
fn a_world_that_stands_still_is_told() {
    let mut simulation = Simulation::new(Restless);
    let start = SimDuration::from_secs(3);
    simulation.parts().1.schedule(start, Phase::Timer, Numbered(1));
    let error = simulation.run(&Limits::default()).unwrap_err();
    assert_eq!(error, SimError::Standstill(SimTime::from_nanos(start.as_nanos())));
    assert!(error.to_string().contains("something starts over without delay"), "{error}");
}
