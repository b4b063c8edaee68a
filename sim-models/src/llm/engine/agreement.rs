//! The fast engine equals the stepwise one to the bit, whatever happens to them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sim_core::stats::Histogram;

use super::*;
use crate::hardware::kv_groups::KvGroups;
use crate::hardware::timing::{Calibration, Coefficients, Drafter, Hinge, Windowed};

/// What happens at some nanosecond.
#[derive(Debug, Clone)]
enum Event {
    Submit(Submission, KvTransfer),
    /// The sequence submitted as this many, modulo all.
    Abort(usize),
    Pace(f64),
    Crash,
    ResetPrefixCache,
    /// Looks at the load and at the step underway.
    Observe,
    /// Looks at all that was counted.
    Settle,
}

/// All that can be seen of an engine.
#[derive(Debug, Default, PartialEq)]
struct Trace {
    admitted: Vec<(u64, u64)>,
    tokens: Vec<(u64, Milestone)>,
    accepted: Vec<Result<SeqKey, Rejection>>,
    aborted: Vec<bool>,
    crashed: Vec<Vec<u64>>,
    observed: Vec<(EngineState, Underway)>,
    settled: Vec<Tally>,
    loads: Vec<(u64, u64, u32, bool)>,
    sent: Vec<(u64, bool)>,
    end: u64,
}

/// The caller's name: the engines' own may differ.
type SeqKey = u64;

fn named(milestone: &Milestone) -> Milestone {
    Milestone { id: SeqId { index: 0, generation: 0 }, ..*milestone }
}

struct Driver {
    engine: Engine,
    tally: Tally,
    trace: Trace,
    ids: Vec<SeqId>,
    /// What is on its way, by when it is there and a number.
    underway: BTreeMap<(u64, usize), Way>,
    ways: usize,
}

/// KV on its way.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Into a sequence's blocks; it may fail.
    In(SeqId, bool),
    /// Out of the blocks of one that has ended.
    Out(SeqId),
}

impl Driver {
    fn advance(&mut self, now: SimTime) {
        let output = self.engine.advance(now, &mut self.tally).clone();
        let at = now.as_nanos();
        for Load { id, key, blocks, host } in &output.loads {
            self.trace.loads.push((at, *key, *blocks, *host));
            // Some at once, some after many steps; one in eight that come from another engine fails.
            let time = key * 7919 % 5 * 700 * u64::from(*blocks);
            self.set_out(at + time, Way::In(*id, *host || key % 8 != 3));
        }
        for Milestone { id, key, .. } in output.milestones.iter().filter(|milestone| milestone.last) {
            if self.engine.is_sending(*id) {
                self.set_out(at + key * 104_729 % 7 * 900, Way::Out(*id));
            }
        }
        self.trace.admitted.extend(output.admitted.iter().map(|key| (at, *key)));
        self.trace.tokens.extend(output.milestones.iter().map(|milestone| (at, named(milestone))));
        self.engine.check();
    }

    /// Lets time pass to just before what happens at `now`.
    fn pass(&mut self, now: SimTime) {
        let mut rounds = 0;
        loop {
            let due = self.engine.due().filter(|due| *due <= now);
            let way = self.underway.keys().next().map(|(at, _)| SimTime::from_nanos(*at));
            match (due, way.filter(|way| *way <= now)) {
                (Some(due), way) if way.is_none_or(|way| due <= way) => self.advance(due),
                (_, Some(at)) => self.arrive(at),
                _ => return,
            }
            rounds += 1;
            assert!(rounds < 1_000_000, "a hang");
        }
    }

    fn set_out(&mut self, at: u64, way: Way) {
        self.ways += 1;
        self.underway.insert((at, self.ways), way);
    }

    /// The first that is underway is there.
    fn arrive(&mut self, now: SimTime) {
        let Some((_, way)) = self.underway.pop_first() else { return };
        let done = match way {
            Way::In(id, there) => self.engine.loaded(now, id, there, &mut self.tally),
            Way::Out(id) => self.engine.sent(now, id, &mut self.tally),
        };
        self.trace.sent.push((now.as_nanos(), done));
        self.engine.check();
        if self.engine.is_idle() {
            self.advance(now);
        }
    }

    fn happen(&mut self, event: &Event, now: SimTime) {
        let Self { engine, tally, trace, ids, .. } = self;
        match event {
            Event::Submit(submission, transfer) => {
                let submission = Submission { key: ids.len() as u64, ..submission.clone() };
                let id = engine.submit_transfer(now, &submission, *transfer, tally);
                trace.accepted.push(id.map(|_| submission.key));
                ids.extend(id.ok());
            }
            Event::Abort(_) if ids.is_empty() => {}
            Event::Abort(which) => trace.aborted.push(engine.abort(now, ids[which % ids.len()], tally)),
            Event::Pace(factor) => engine.set_pace(now, Pace::slowed(*factor), tally),
            Event::Crash => trace.crashed.push(engine.crash(now, tally)),
            Event::ResetPrefixCache => engine.reset_prefix_cache(now, tally),
            Event::Observe => {
                let state = engine.observe(now);
                let mut copy = engine.clone();
                copy.settle(now, &mut Tally::default());
                trace.observed.push((state, copy.underway(now)));
                assert_eq!(copy.observe(now), state);
            }
            Event::Settle => {
                engine.settle(now, tally);
                trace.settled.push(tally.clone());
            }
        }
        engine.check();
    }
}

fn drive(kind: EngineKind, config: &EngineConfig, step: StepFunction, events: &[(u64, Event)]) -> Trace {
    let engine = Engine::new(kind, config.clone(), step).unwrap();
    let (tally, trace, underway) = (Tally::default(), Trace::default(), BTreeMap::new());
    let mut driver = Driver { engine, tally, trace, ids: Vec::new(), underway, ways: 0 };
    let mut now = 0;
    let mut todo = events.iter().peekable();
    while let Some((gap, event)) = todo.next() {
        now += gap;
        let at = SimTime::from_nanos(now);
        driver.pass(at);
        driver.happen(event, at);
        // All of a nanosecond is there when an idle engine begins.
        if todo.peek().is_none_or(|(gap, _)| *gap > 0) && driver.engine.is_idle() {
            driver.advance(at);
        }
    }
    let (mut last, mut rounds) = (now, 0);
    loop {
        rounds += 1;
        assert!(rounds < 100_000, "they never come to an end");
        let way = driver.underway.keys().next().map(|(at, _)| SimTime::from_nanos(*at));
        let Some(next) = driver.engine.due().into_iter().chain(way).min() else { break };
        last = next.as_nanos();
        driver.pass(next);
    }
    let state = driver.engine.observe(SimTime::from_nanos(last));
    assert_eq!((state.running, state.waiting, state.used_blocks), (0, 0, 0), "all is freed at the end");
    driver.trace.settled.push(driver.tally);
    driver.trace.end = last;
    driver.trace
}

fn agree(config: &EngineConfig, step: StepFunction, events: &[(u64, Event)]) {
    let step = timed(config, step);
    let stepwise = drive(EngineKind::Stepwise, config, step.clone(), events);
    let fast = drive(EngineKind::Fast, config, step, events);
    assert_eq!(fast.tokens, stepwise.tokens);
    assert_eq!(fast.admitted, stepwise.admitted);
    assert_eq!((&fast.accepted, &fast.aborted), (&stepwise.accepted, &stepwise.aborted));
    assert_eq!((&fast.crashed, fast.end), (&stepwise.crashed, stepwise.end));
    assert_eq!((&fast.loads, &fast.sent), (&stepwise.loads, &stepwise.sent));
    assert_eq!(fast.observed, stepwise.observed);
    for (fast, stepwise) in fast.settled.iter().zip(&stepwise.settled) {
        assert_eq!(counts(fast), counts(stepwise));
        assert!(fast.itl == stepwise.itl, "inter-token latencies differ");
    }
    assert!(fast == stepwise);
}

/// All but the histogram, to be read.
fn counts(tally: &Tally) -> Tally {
    Tally { itl: Histogram::new(), ..tally.clone() }
}

fn submission(prompt: u32, output: u32, transfers: bool) -> impl Strategy<Value = (Submission, KvTransfer)> {
    let prefix = prop_oneof![
        3 => Just(Prefix::None),
        3 => (0..3u64, 0..prompt + output).prop_map(|(id, tokens)| Prefix::Shared { id, tokens }),
        1 => (prop::collection::vec(0..3u64, 0..6), 1..12u32)
            .prop_map(|(ids, block_tokens)| Prefix::Blocks { ids: ids.into(), block_tokens }),
    ];
    // Of one conversation, or of one within another.
    let opening = prefix.clone();
    let conversations = prop::collection::vec((0..4u64, 0..prompt), 1..3);
    let turn = (opening, conversations).prop_map(|(opening, conversations)| {
        conversations.into_iter().fold(opening, |opening, (id, opening_tokens)| Prefix::Conversation {
            id,
            opening: opening.into(),
            opening_tokens,
        })
    });
    let prefix = prop_oneof![4 => prefix, 1 => turn];
    let adapter = prop::option::weighted(0.8, 0..6u32);
    let transfer = if transfers { 0..4 } else { 0..1 };
    (1..prompt, 1..output, -2..3i32, prefix, adapter, any::<u64>(), transfer).prop_map(
        |(prompt_tokens, output_tokens, priority, prefix, adapter, luck, transfer)| {
            let transfer = match transfer {
                0 | 1 => KvTransfer::None,
                2 => KvTransfer::RemoteDecode,
                _ => KvTransfer::RemotePrefill,
            };
            let submission = Submission::new(0, prompt_tokens, output_tokens);
            (Submission { priority, prefix, adapter, luck, ..submission }, transfer)
        },
    )
}

/// Engines of few or many blocks and places.
fn config(scale: u32) -> impl Strategy<Value = EngineConfig> {
    let threshold = prop_oneof![2 => Just(0), 1 => 1..20u32];
    let model_len = prop_oneof![3 => Just(None), 1 => (40 * scale..90 * scale).prop_map(Some)];
    let sizes = (1..8 * scale, 0..40 * scale, 1..20u32, 2..60 * scale, threshold, model_len);
    (sizes, any::<[bool; 4]>(), features()).prop_map(
        |((seqs, more, block_size, num_blocks, threshold, max_model_len), switches, features)| {
            let [caching, by, gate, ahead] = switches;
            let (pipeline_parallel_size, speculative, lora) = features;
            EngineConfig {
                max_num_batched_tokens: seqs + more,
                max_num_seqs: seqs,
                block_size,
                long_prefill_token_threshold: threshold,
                enable_prefix_caching: caching,
                scheduling_policy: if by { SchedulingPolicy::Priority } else { SchedulingPolicy::Fcfs },
                scheduler_reserve_full_isl: gate,
                async_scheduling: ahead,
                max_model_len,
                pipeline_parallel_size,
                speculative,
                lora,
                ..EngineConfig::new(num_blocks)
            }
        },
    )
}

/// Stages, speculative decoding and adapters, most engines without any.
fn features() -> impl Strategy<Value = (u32, Option<Speculation>, Option<Lora>)> {
    let ways = prop_oneof![
        3 => Just((1, None)),
        1 => (2..5u32).prop_map(|stages| (stages, None)),
        3 => (1..6u32, 0..6u32, 0.0..1.0f64, prop::bool::weighted(0.3), any::<bool>()).prop_map(
            |(drafts, ahead, rate, drawn, use_eagle)| {
                (1, Some(Speculation::new(drafts, ahead, rate, drawn).with_eagle(use_eagle)))
            },
        ),
    ];
    let lora = (1..4u32, 0..3u32, 0..1u64 << 21, 0..1u64 << 22).prop_map(
        |(max_loras, more, copy_ticks, read_ticks)| Lora {
            max_loras,
            max_cpu_loras: max_loras + more,
            copy_ticks,
            read_ticks,
        },
    );
    (ways, prop::option::weighted(0.3, lora))
        .prop_map(|((stages, speculative), lora)| (stages, speculative, lora))
}

/// The step function of an engine whose passes take `step`.
fn timed(config: &EngineConfig, step: StepFunction) -> StepFunction {
    let stages = config.pipeline_parallel_size as usize;
    let timed = step.clone().with_stages(vec![step.clone(); stages - 1]);
    match &config.speculative {
        Some(speculation) => {
            let passes = speculation.num_speculative_tokens.into();
            timed.with_drafter(Drafter::ratio(&step, 0.1, passes).unwrap())
        }
        None => timed,
    }
}

/// The same, of the kinds that came before vLLM: whole batches, or reserved memory, or both.
fn earlier_config(scale: u32) -> impl Strategy<Value = EngineConfig> {
    let delay = prop_oneof![Just(0u64), 1..20u64];
    let batching = prop_oneof![
        1 => Just(Batching::Continuous),
        2 => Just(Batching::Static),
        3 => (prop::collection::vec(1..8 * scale, 0..3), delay).prop_map(|(sizes, delay)| {
            let preferred_batch_size = sizes.into_iter().filter_map(std::num::NonZeroU32::new).collect();
            Batching::Dynamic(DynamicBatching { preferred_batch_size, max_queue_delay_microseconds: delay })
        }),
    ];
    let reservation = prop::option::of(prop_oneof![
        Just(Reservation::Max),
        Just(Reservation::Pow2),
        Just(Reservation::Oracle)
    ]);
    (config(scale), batching, reservation, 1..60 * scale).prop_map(
        |(mut config, batching, reservation, most)| {
            (config.pipeline_parallel_size, config.speculative, config.lora) = (1, None, None);
            config.batching = batching;
            if let Batching::Dynamic(dynamic) = &mut config.batching {
                dynamic.preferred_batch_size.retain(|size| size.get() <= config.max_num_seqs);
            }
            if let Some(reservation) = reservation {
                config.kv_allocation = KvAllocation::Contiguous(reservation);
                config.max_model_len = Some(most.min(reservation::largest_run(&config) as u32));
            }
            config
        },
    )
}

/// Steps of whole nanoseconds, so that boundaries and events meet.
fn whole_step() -> impl Strategy<Value = StepFunction> {
    (1u64..2_000, 0u64..3, 0u64..2_000, window()).prop_map(|(base, per_context, host_base, tokens)| {
        let [base, per_context, host_base] = [base, per_context, host_base].map(|nanos| nanos * 1024);
        let windowed = Windowed { tokens, per_context, per_prefill_work: 0 };
        let coefficients = Coefficients { base, per_context, windowed, host_base, ..Default::default() };
        StepFunction::new(coefficients, Calibration::Datasheet).unwrap()
    })
}

/// No sliding window, one that most sequences outgrow, or one that few do.
fn window() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 3 => 1..60u64, 1 => 60..800u64]
}

/// Steps of about a microsecond; those of tiny batches may last as long as the host takes.
fn step() -> impl Strategy<Value = StepFunction> {
    let time = 1u64..1 << 21;
    (
        time.clone(),
        0..100_000u64,
        0..10_000u64,
        0..3000u64,
        0..50u64,
        prop_oneof![Just(0), time],
        0..30_000u64,
        window(),
    )
        .prop_map(
            |(base, per_sequence, per_token, per_context, per_prefill_work, host_base, host, tokens)| {
                let coefficients = Coefficients {
                    base,
                    per_sequence,
                    per_token,
                    gemm: Hinge { free: 5, slope: per_token },
                    head: Hinge { free: 2, slope: per_sequence },
                    per_context,
                    per_prefill_work,
                    windowed: Windowed { tokens, per_context: 2 * per_context, per_prefill_work },
                    host_base,
                    host_per_sequence: host,
                    per_adapter: per_context,
                };
                StepFunction::new(coefficients, Calibration::Datasheet).unwrap()
            },
        )
}

/// Full speed, any other, and what a GPU gives one of several that share it.
fn pace() -> impl Strategy<Value = f64> {
    let turns = |others: u32| f64::from(others + 1) * 1.05;
    let rate = |units: u64| (1u64 << 32) as f64 / units as f64;
    prop_oneof![Just(1.0), 0.3..5.0, (1u32..7).prop_map(turns), (1u64 << 20..1 << 32).prop_map(rate)]
}

fn events(prompt: u32, output: u32, count: usize, paces: u32) -> impl Strategy<Value = Vec<(u64, Event)>> {
    events_with(false, prompt, output, count, paces)
}

fn events_with(
    transfers: bool,
    prompt: u32,
    output: u32,
    count: usize,
    paces: u32,
) -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        60 => submission(prompt, output, transfers).prop_map(|(submission, transfer)| Event::Submit(submission, transfer)),
        12 => (0..64usize).prop_map(Event::Abort),
        paces => pace().prop_map(Event::Pace),
        1 => Just(Event::Crash),
        6 => Just(Event::ResetPrefixCache),
        15 => Just(Event::Observe),
        5 => Just(Event::Settle),
    ];
    let gap = prop_oneof![1 => Just(0u64), 3 => 0..1_500u64, 2 => 0..8_000u64, 1 => 0..100_000u64];
    prop::collection::vec((gap, event), 1..count)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..Default::default() }
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn small_engines_agree(config in config(1), step in prop_oneof![3 => step().boxed(), 1 => whole_step().boxed()], events in events(60, 30, 40, 3)) {
        agree(&config, step, &events);
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn large_engines_agree(config in config(12), step in step(), events in events(600, 200, 200, 3)) {
        agree(&config, step, &events);
    }
}

proptest! {
    #![proptest_config(cases(1500))]

    /// Engines on a GPU that they share: the pace changes more often than anything else.
    #[test]
    fn shared_engines_agree(config in config(2), step in step(), events in events(60, 60, 60, 150)) {
        agree(&config, step, &events);
    }
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn small_engines_of_earlier_kinds_agree(config in earlier_config(1), step in prop_oneof![3 => step().boxed(), 1 => whole_step().boxed()], events in events(60, 30, 40, 3)) {
        agree(&config, step, &events);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn large_engines_of_earlier_kinds_agree(config in earlier_config(12), step in step(), events in events(600, 200, 200, 3)) {
        agree(&config, step, &events);
    }
}

/// The same engine as one of vLLM's plain ones, which alone transfer KV.
fn plain(config: EngineConfig) -> EngineConfig {
    let (speculative, lora) = (None, None);
    EngineConfig { pipeline_parallel_size: 1, speculative, lora, ..config }
}

/// The same with a prefix cache and some blocks in the host's memory.
fn offloading(config: EngineConfig, num_cpu_blocks: u32) -> EngineConfig {
    EngineConfig { num_cpu_blocks, enable_prefix_caching: true, ..plain(config) }
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn small_engines_that_transfer_agree(config in config(1), step in prop_oneof![3 => step().boxed(), 1 => whole_step().boxed()], events in events_with(true, 60, 30, 40, 3)) {
        agree(&plain(config), step, &events);
    }

    #[test]
    fn small_engines_that_offload_agree(config in config(1), step in prop_oneof![3 => step().boxed(), 1 => whole_step().boxed()], events in events_with(true, 60, 30, 40, 3), blocks in 1..80u32) {
        agree(&offloading(config, blocks), step, &events);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn large_engines_that_offload_and_transfer_agree(config in config(12), step in step(), events in events_with(true, 600, 200, 200, 3), blocks in 1..2000u32) {
        agree(&offloading(config, blocks), step, &events);
    }
}

/// What is seen of an engine with so many groups of layers is that of one without, each block of which is one of every
/// group.
fn as_one(mut trace: Trace, groups: u32) -> Trace {
    for (state, underway) in &mut trace.observed {
        for blocks in [&mut state.used_blocks, &mut state.total_blocks, &mut underway.blocks] {
            assert!(blocks.is_multiple_of(groups));
            *blocks /= groups;
        }
    }
    for tally in &mut trace.settled {
        tally.block_ticks /= u128::from(groups);
        tally.blocks_max /= groups;
    }
    trace
}

proptest! {
    #![proptest_config(cases(1500))]

    /// Without a prefix cache, from which the blocks of single groups would go.
    #[test]
    fn groups_whose_windows_nobody_leaves_are_as_one(
        config in config(2),
        step in step(),
        events in events(60, 30, 60, 3),
        (full, windowed) in (0..3u32, 1..4u32),
    ) {
        let config = EngineConfig { enable_prefix_caching: false, ..config };
        let kv_groups = KvGroups { full, windowed, window: 1 << 20 };
        let num_blocks = config.usable_blocks() * kv_groups.count() + 1;
        let grouped = EngineConfig { kv_groups, num_blocks, ..config.clone() };
        let step = timed(&config, step);
        let one = drive(EngineKind::Fast, &config, step.clone(), &events);
        prop_assert!(as_one(drive(EngineKind::Fast, &grouped, step, &events), kv_groups.count()) == one);
    }
}
