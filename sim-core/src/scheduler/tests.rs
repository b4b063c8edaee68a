use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number(u64);

impl Event for Number {
    fn identity(&self) -> u64 {
        self.0
    }
}

type Numbers = Scheduler<Number>;

const NOW: SimDuration = SimDuration::ZERO;
const FOR: fn(u64) -> SimDuration = SimDuration::from_nanos;
const AT: fn(u64) -> SimTime = SimTime::from_nanos;

/// Everything that is left, with the time at which it happens.
fn drain(scheduler: &mut Numbers) -> Vec<(u64, u64)> {
    std::iter::from_fn(|| {
        let (key, event) = scheduler.next(SimTime::MAX)?;
        assert_eq!(key.time(), scheduler.now());
        Some((key.time().as_nanos(), event.0))
    })
    .collect()
}

#[test]
fn a_handle_names_one_event_and_only_while_it_is_pending() {
    let mut scheduler = Numbers::default();
    let first = scheduler.schedule(FOR(1), Phase::Timer, Number(1));
    assert!(scheduler.cancel(first) && !scheduler.cancel(first));
    // The next event takes the slot of the first one: the old handle must not name it.
    let second = scheduler.schedule(FOR(1), Phase::Timer, Number(2));
    assert!(!scheduler.cancel(first));
    assert_eq!(scheduler.pending(), 1);
    assert_eq!(drain(&mut scheduler), [(1, 2)]);
    assert!(!scheduler.cancel(second));
    assert_eq!((scheduler.pending(), scheduler.stored()), (0, 0));
}

#[test]
fn events_of_now_can_be_cancelled() {
    let mut scheduler = Numbers::default();
    let handles: Vec<EventHandle> = (0..6)
        .map(|n| scheduler.schedule(NOW, if n < 3 { Phase::Sampler } else { Phase::Reply }, Number(n)))
        .collect();
    // The head of one phase, all of a later one but its end.
    for n in [3, 0, 1] {
        assert!(scheduler.cancel(handles[n]) && !scheduler.cancel(handles[n]));
    }
    assert_eq!((scheduler.pending(), scheduler.stored()), (3, 6));
    assert_eq!(drain(&mut scheduler), [(0, 4), (0, 5), (0, 2)]);
    assert_eq!((scheduler.pending(), scheduler.stored()), (0, 0));
}

#[test]
fn a_sweep_takes_dead_events_of_now_along() {
    let mut scheduler = Numbers::default();
    let later: Vec<EventHandle> =
        (0..40).map(|n| scheduler.schedule(FOR(9), Phase::Timer, Number(n))).collect();
    let now: Vec<EventHandle> = (40..140).map(|n| scheduler.schedule(NOW, Phase::Reply, Number(n))).collect();
    scheduler.schedule(NOW, Phase::Fault, Number(140));
    // All replies die, so that their phase is swept empty.
    for handle in now.iter().chain(&later[1..]) {
        assert!(scheduler.cancel(*handle));
    }
    assert!(scheduler.stored() <= 2 + 1 + SWEEP_AT, "{} keys are kept for 2", scheduler.stored());
    assert_eq!(scheduler.pending(), 2);
    // The phase works as before.
    scheduler.schedule(NOW, Phase::Reply, Number(141));
    assert_eq!(drain(&mut scheduler), [(0, 141), (0, 140), (9, 0)]);
    assert_eq!((scheduler.pending(), scheduler.stored()), (0, 0));
}

#[test]
fn cancelling_some_of_many_events_of_now_does_not_sweep_each_time() {
    let mut scheduler = Numbers::default();
    let handles: Vec<EventHandle> =
        (0..1_000).map(|n| scheduler.schedule(NOW, Phase::Reply, Number(n))).collect();
    for handle in &handles[..400] {
        assert!(scheduler.cancel(*handle));
    }
    // Fewer than half are dead: they stay.
    assert_eq!((scheduler.pending(), scheduler.stored()), (600, 1_000));
    assert_eq!(drain(&mut scheduler).len(), 600);
}

#[test]
fn a_sweep_keeps_the_keys_of_lanes() {
    let mut scheduler = Numbers::default();
    let lane = scheduler.timer_lane(FOR(5), Phase::Timer);
    scheduler.arm(lane, Number(1_000));
    scheduler.arm(lane, Number(1_001));
    let handles: Vec<EventHandle> =
        (0..100).map(|n| scheduler.schedule(FOR(n + 1), Phase::Timer, Number(n))).collect();
    for handle in &handles {
        assert!(scheduler.cancel(*handle));
    }
    assert_eq!(scheduler.pending(), 2);
    assert_eq!(drain(&mut scheduler), [(5, 1_000), (5, 1_001)]);
}

#[test]
fn the_head_of_a_lane_can_be_cancelled() {
    let mut scheduler = Numbers::default();
    let lane = scheduler.timer_lane(FOR(10), Phase::Timer);
    let head = scheduler.arm(lane, Number(0));
    scheduler.schedule(FOR(3), Phase::Timer, Number(1));
    assert_eq!(scheduler.next(SimTime::MAX).map(|(_, event)| event), Some(Number(1)));
    scheduler.arm(lane, Number(2));
    let middle = scheduler.arm(lane, Number(3));
    scheduler.arm(lane, Number(4));
    assert!(scheduler.cancel(head) && !scheduler.cancel(head));
    assert!(scheduler.cancel(middle));
    assert_eq!(scheduler.pending(), 2);
    // The dead head does not move the clock.
    assert_eq!(scheduler.next(AT(12)), None);
    assert_eq!((scheduler.now(), scheduler.pending()), (AT(3), 2));
    assert_eq!(drain(&mut scheduler), [(13, 2), (13, 4)]);
}

#[test]
fn a_lane_that_is_cancelled_altogether_rests_and_wakes_again() {
    let mut scheduler = Numbers::default();
    let lane = scheduler.timer_lane(FOR(10), Phase::Timer);
    for round in 0..3 {
        let handles = [scheduler.arm(lane, Number(0)), scheduler.arm(lane, Number(1))];
        assert!(handles.into_iter().all(|handle| scheduler.cancel(handle)));
        assert_eq!(scheduler.pending(), 0);
        if round == 1 {
            // The lane's key comes up and finds nothing.
            assert_eq!(scheduler.next(SimTime::MAX), None);
            assert_eq!((scheduler.now(), scheduler.stored()), (SimTime::ZERO, 0));
        }
    }
    scheduler.arm(lane, Number(7));
    assert_eq!(scheduler.pending(), 1);
    assert_eq!(drain(&mut scheduler), [(10, 7)]);
}

#[test]
fn a_lane_is_compacted() {
    let mut scheduler = Numbers::default();
    let lane = scheduler.timer_lane(FOR(10), Phase::Timer);
    let handles: Vec<EventHandle> = (0..1_000).map(|n| scheduler.arm(lane, Number(n))).collect();
    for (n, handle) in handles.iter().enumerate() {
        assert!(n % 100 == 99 || scheduler.cancel(*handle));
    }
    assert!(scheduler.stored() <= 1 + 2 * 10 + SWEEP_AT, "{} keys are kept for 10", scheduler.stored());
    assert_eq!(scheduler.pending(), 10);
    // Handles still work after their keys have moved.
    assert!(scheduler.cancel(handles[199]) && !scheduler.cancel(handles[198]));
    let left: Vec<(u64, u64)> = (0..10).filter(|n| *n != 1).map(|n| (10, 100 * n + 99)).collect();
    assert_eq!(drain(&mut scheduler), left);
    assert_eq!((scheduler.pending(), scheduler.stored()), (0, 0));
}

#[test]
fn a_lane_without_delay_is_of_now() {
    let mut scheduler = Numbers::default();
    let lane = scheduler.timer_lane(NOW, Phase::Timer);
    let first = scheduler.arm(lane, Number(0));
    scheduler.schedule(NOW, Phase::Timer, Number(1));
    scheduler.arm(lane, Number(2));
    scheduler.schedule(NOW, Phase::Arrival, Number(3));
    assert!(scheduler.cancel(first));
    assert_eq!((scheduler.pending(), scheduler.stored()), (3, 4));
    assert_eq!(drain(&mut scheduler), [(0, 3), (0, 1), (0, 2)]);
}

#[test]
fn lanes_and_single_events_share_one_order() {
    let mut scheduler = Numbers::default();
    let lanes = [scheduler.timer_lane(FOR(4), Phase::Timer), scheduler.timer_lane(FOR(4), Phase::Reply)];
    for n in 0..9 {
        match n % 3 {
            2 => scheduler.schedule(FOR(4), Phase::Timer, Number(n)),
            lane => scheduler.arm(lanes[lane as usize], Number(n)),
        };
    }
    let order: Vec<u64> = drain(&mut scheduler).into_iter().map(|(_, number)| number).collect();
    assert_eq!(order, [1, 4, 7, 0, 2, 3, 5, 6, 8]);
}

#[test]
fn what_cannot_be_scheduled_leaves_a_handle_of_nothing() {
    let mut scheduler = Numbers::default();
    let lane = scheduler.timer_lane(SimDuration::MAX, Phase::Timer);
    // A chain of vacant slots, the first slot in front: none may be mistaken for the event that is
    // not there.
    let handles: Vec<EventHandle> =
        (0..3).map(|n| scheduler.schedule(FOR(3 - n), Phase::Timer, Number(n))).collect();
    assert_eq!(drain(&mut scheduler).len(), 3);
    for refused in [
        scheduler.schedule(SimDuration::MAX, Phase::Timer, Number(8)),
        scheduler.arm(lane, Number(9)),
        handles[0],
    ] {
        assert!(!scheduler.cancel(refused));
    }
    assert!(matches!(scheduler.error(), Some(SimError::Time(TimeError::Overflow { .. }))));
    assert_eq!((scheduler.pending(), scheduler.stored()), (0, 0));
}

#[test]
fn events_are_counted_up_to_the_bound() {
    let mut scheduler = Numbers { next_sequence: MAX_SEQUENCE - 1, ..Numbers::default() };
    let lane = scheduler.timer_lane(FOR(1), Phase::Timer);
    let last = scheduler.schedule(FOR(1), Phase::Sampler, Number(1));
    assert_eq!(scheduler.error(), None);
    assert!(!scheduler.cancel(EventHandle::NONE));
    let refused = [scheduler.schedule(NOW, Phase::Timer, Number(2)), scheduler.arm(lane, Number(3))];
    assert_eq!(scheduler.error(), Some(SimError::TooManyEvents(SimTime::ZERO)));
    assert!(refused.into_iter().all(|handle| !scheduler.cancel(handle)));
    assert!(scheduler.cancel(last));
}

#[test]
fn pending_events_are_counted_up_to_the_bound() {
    let mut scheduler = Numbers::default();
    let mut last = EventHandle::NONE;
    for n in 0..u64::from(MAX_SLOTS) {
        last = scheduler.schedule(NOW, Phase::Timer, Number(n));
    }
    assert_eq!((scheduler.error(), scheduler.pending()), (None, MAX_SLOTS as usize));
    let refused = scheduler.schedule(NOW, Phase::Timer, Number(0));
    assert_eq!(scheduler.error(), Some(SimError::TooManyPending(SimTime::ZERO)));
    assert!(!scheduler.cancel(refused) && scheduler.cancel(last));
}

#[test]
fn shuffling_is_a_permutation_and_takes_lanes_and_events_of_now_along() {
    let numbers = |seed: Option<u64>| -> Vec<u64> {
        let mut scheduler = Numbers::default();
        if let Some(seed) = seed {
            scheduler.shuffle_ties(seed);
        }
        let lane = scheduler.timer_lane(FOR(1), Phase::Timer);
        (0..100).for_each(|n| {
            scheduler.schedule(NOW, Phase::Timer, Number(n));
        });
        let head = scheduler.arm(lane, Number(999));
        (100..200).for_each(|n| {
            scheduler.arm(lane, Number(n));
        });
        assert!(scheduler.cancel(head));
        drain(&mut scheduler).into_iter().map(|(_, number)| number).collect()
    };
    let plain: Vec<u64> = (0..200).collect();
    assert_eq!(numbers(None), plain);
    for seed in 0..20 {
        let mut shuffled = numbers(Some(seed));
        assert!(shuffled[..100] != plain[..100] && shuffled[100..] != plain[100..], "seed {seed}");
        assert!(shuffled[..100].iter().all(|number| *number < 100), "time comes first");
        shuffled.sort_unstable();
        assert_eq!(shuffled, plain);
    }
}

/// What a script does at each step, and the number of the alarm or event that it does it to.
fn script() -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
    prop::collection::vec((0u8..5, 0u64..6, 0u64..7), 0..200)
}

/// What happens when a script is run, with alarms or with events that are cancelled and scheduled anew.
fn happens(script: &[(u8, u64, u64)], alarms: bool, shuffle: Option<u64>) -> (Vec<(u64, u64)>, usize) {
    const PHASES: [Phase; 3] = [Phase::StepEnd, Phase::Arrival, Phase::Sampler];
    let mut scheduler = Numbers::default();
    if let Some(seed) = shuffle {
        scheduler.shuffle_ties(seed);
    }
    let phase = |number: u64| PHASES[number as usize % 3];
    let places: Vec<Alarm> = (0..6).map(|number| scheduler.alarm(phase(number), Number(number))).collect();
    let mut set: Vec<Option<(SimTime, EventHandle)>> = vec![None; 6];
    let mut seen = Vec::new();
    for (what, number, gap) in script {
        let at = scheduler.now().checked_add(FOR(*gap)).unwrap();
        match what {
            0 | 1 => {
                let at = (*what == 0 || gap % 3 > 0).then_some(at);
                let place = &mut set[*number as usize];
                if alarms {
                    scheduler.set_alarm(places[*number as usize], at);
                } else if place.map(|(at, _)| at) != at {
                    place.take().map(|(_, handle)| scheduler.cancel(handle));
                    let scheduled = |at| (at, scheduler.schedule_at(at, phase(*number), Number(*number)));
                    *place = at.map(scheduled);
                }
            }
            2 => _ = scheduler.schedule(FOR(*gap), phase(*number), Number(10 + number)),
            _ => {
                if let Some((key, Number(number))) = scheduler.next(at) {
                    seen.push((key.time().as_nanos(), number));
                    if let Some(place) = set.get_mut(number as usize) {
                        *place = None;
                    }
                }
            }
        }
    }
    let pending = scheduler.pending();
    seen.extend(drain(&mut scheduler));
    (seen, pending)
}

proptest! {
    #[test]
    fn alarms_go_off_where_events_scheduled_anew_happen(script in script(), seed in prop::option::of(0u64..100)) {
        prop_assert_eq!(happens(&script, true, seed), happens(&script, false, seed));
    }
}

#[test]
#[should_panic(expected = "an alarm is set in the past")]
fn an_alarm_in_the_past_is_a_bug() {
    let mut scheduler = Numbers::default();
    let alarm = scheduler.alarm(Phase::Timer, Number(1));
    scheduler.schedule(FOR(5), Phase::Timer, Number(2));
    scheduler.next(SimTime::MAX);
    scheduler.set_alarm(alarm, Some(AT(4)));
}
