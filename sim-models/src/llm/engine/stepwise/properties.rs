//! What holds for every workload.

use proptest::prelude::*;

use super::scheduler::Scheduler;
use super::step::Token;
use crate::hardware::kv_groups::KvGroups;
use crate::llm::engine::sequence::Totals;
use crate::llm::engine::{EngineConfig, Lora, Prefix, SchedulingPolicy, SeqId, Speculation, Submission};

type Engine = Scheduler;

/// One thing that happens, between two steps or in the middle of one.
#[derive(Debug, Clone)]
enum Event {
    Submit(Submission),
    /// The sequence submitted as this many (modulo all).
    Abort(usize),
}

fn submission() -> impl Strategy<Value = Submission> {
    let prefix = prop_oneof![
        Just(Prefix::None),
        (0..3u64, 0..60u32).prop_map(|(id, tokens)| Prefix::Shared { id, tokens }),
        (proptest::collection::vec(0..3u64, 0..6), 1..12u32)
            .prop_map(|(ids, block_tokens)| Prefix::Blocks { ids: ids.into(), block_tokens }),
    ];
    let adapter = proptest::option::of(0..4u32);
    (1..60u32, 1..30u32, -2..3i32, prefix, adapter).prop_map(
        |(prompt_tokens, output_tokens, priority, prefix, adapter)| {
            let submission = Submission::new(0, prompt_tokens, output_tokens);
            Submission { priority, prefix, adapter, ..submission }
        },
    )
}

/// Groups of layers, none with a window for most.
fn groups() -> impl Strategy<Value = KvGroups> {
    prop_oneof![
        2 => Just(KvGroups::default()),
        1 => (0..3u32, 1..4u32, 1..40u32).prop_map(|(full, windowed, window)| KvGroups { full, windowed, window }),
    ]
}

fn config() -> impl Strategy<Value = EngineConfig> {
    let features = prop_oneof![
        3 => Just((1, None, None)),
        1 => (2..5u32).prop_map(|stages| (stages, None, None)),
        1 => (1..5u32, 0..4u32, any::<bool>()).prop_map(|(k, ahead, use_eagle)| {
            (1, Some(Speculation::new(k, ahead, 0.6, true).with_eagle(use_eagle)), None)
        }),
        1 => (1..3u32).prop_map(|max_loras| {
            (1, None, Some(Lora { max_loras, max_cpu_loras: 3, copy_ticks: 1, read_ticks: 1 }))
        }),
    ];
    (
        1..8u32,
        0..40u32,
        1..6u32,
        2..40u32,
        prop_oneof![Just(0), 1..20u32],
        any::<[bool; 4]>(),
        (features, groups()),
    )
        .prop_map(
            |(
                max_num_seqs,
                more,
                block_size,
                num_blocks,
                long_prefill_token_threshold,
                [caching, by, gate, ahead],
                ((pipeline_parallel_size, speculative, lora), kv_groups),
            )| {
                EngineConfig {
                    max_num_batched_tokens: max_num_seqs + more,
                    max_num_seqs,
                    block_size,
                    long_prefill_token_threshold,
                    enable_prefix_caching: caching,
                    scheduling_policy: if by { SchedulingPolicy::Priority } else { SchedulingPolicy::Fcfs },
                    scheduler_reserve_full_isl: gate,
                    async_scheduling: ahead,
                    pipeline_parallel_size,
                    speculative,
                    lora,
                    kv_groups,
                    ..EngineConfig::new(num_blocks.max(kv_groups.count() + 1))
                }
            },
        )
}

/// Events, each with the steps since the one before it and whether it comes in mid-step.
fn events() -> impl Strategy<Value = Vec<(u8, bool, Event)>> {
    let event = prop_oneof![
        4 => submission().prop_map(Event::Submit),
        1 => (0..64usize).prop_map(Event::Abort),
    ];
    proptest::collection::vec((0..6u8, any::<bool>(), event), 1..40)
}

/// How a sequence fared.
#[derive(Debug, Clone, PartialEq)]
struct Fate {
    id: SeqId,
    submission: Submission,
    emitted: u32,
    last_at: u64,
    ended: Option<&'static str>,
    totals: Option<Totals>,
}

/// Drives an engine through a workload and checks each step.
fn drive(config: &EngineConfig, events: &[(u8, bool, Event)]) -> Vec<Fate> {
    let mut engine = Engine::new(config.clone(), None).unwrap();
    let mut fates: Vec<Fate> = Vec::new();
    let happen = |engine: &mut Engine, fates: &mut Vec<Fate>, event: &Event| match event {
        Event::Submit(submission) => {
            let submission = Submission { key: fates.len() as u64, ..submission.clone() };
            let slack =
                config.speculative.as_ref().map_or(0, |s| s.num_speculative_tokens + s.num_lookahead_tokens);
            let longest = u64::from(submission.prompt_tokens + submission.output_tokens - 1 + slack);
            let capacity = config.longest();
            match engine.submit(&submission) {
                Ok(id) => {
                    fates.push(Fate { id, submission, emitted: 0, last_at: 0, ended: None, totals: None })
                }
                Err(_) => assert!(longest > capacity, "only what can never fit is rejected"),
            }
        }
        Event::Abort(which) if !fates.is_empty() => {
            let which = which % fates.len();
            let aborted = engine.abort(fates[which].id);
            assert_eq!(aborted, fates[which].ended.is_none(), "a sequence ends once");
            fates[which].ended.get_or_insert("aborted");
        }
        Event::Abort(_) => {}
    };
    let mut todo = events.iter().peekable();
    let mut pause = 0;
    let mut now = 0;
    let mut steps = 0;
    let mut computed = 0;
    loop {
        while let Some((gap, _, event)) = todo.next_if(|(gap, mid, _)| *gap <= pause && !mid) {
            pause -= gap;
            happen(&mut engine, &mut fates, event);
        }
        engine.check();
        let Some(plan) = engine.begin_step().cloned() else {
            if todo.peek().is_none() {
                break;
            }
            let (_, _, event) = todo.next().unwrap();
            happen(&mut engine, &mut fates, event);
            continue;
        };
        assert!(plan.work.new_tokens > 0);
        assert!(plan.work.new_tokens <= u64::from(config.max_num_batched_tokens));
        assert!(plan.running <= config.max_num_seqs && plan.used_blocks <= config.usable_blocks());
        assert_eq!(plan.work.sequences, u64::from(plan.prefills + plan.decodes));
        // Scheduling ahead, a step tells of preemptions when nothing could be scheduled, too.
        let at_once = config.scheduling_policy == SchedulingPolicy::Fcfs && config.lag() == 1;
        if at_once && plan.preemptions > 0 {
            assert!(plan.admitted.is_empty() && plan.waiting >= plan.preemptions);
        }
        for admission in &plan.admitted {
            let fate = &fates[admission.key as usize];
            assert!(admission.prefix_hit_tokens < fate.submission.prompt_tokens + fate.emitted);
        }
        engine.check();
        while let Some((gap, _, event)) = todo.next_if(|(gap, mid, _)| *gap <= pause && *mid) {
            pause -= gap;
            happen(&mut engine, &mut fates, event);
        }
        now += 7 + plan.work.new_tokens;
        computed += plan.work.new_tokens - plan.work.drafts;
        let output = engine.finish_step(now).clone();
        for emission in &output.emissions {
            let fate = &mut fates[emission.key as usize];
            assert_eq!((fate.id, fate.ended), (emission.id, None), "nobody speaks after the end");
            match emission.token {
                Token::First => assert_eq!(fate.emitted, 0),
                Token::Next { gap } => assert_eq!(gap, now - fate.last_at),
            }
            fate.emitted += 1 + emission.more;
            computed += u64::from(emission.more);
            fate.last_at = now;
            assert_eq!(emission.last, fate.emitted == fate.submission.output_tokens);
        }
        for finished in &output.finished {
            let fate = &mut fates[finished.key as usize];
            fate.ended = Some("finished");
            fate.totals = Some(finished.totals);
        }
        engine.check();
        steps += 1;
        pause = pause.saturating_add(1);
        let tokens: u64 = fates
            .iter()
            .map(|fate| u64::from(fate.submission.prompt_tokens + fate.submission.output_tokens))
            .sum();
        let bound = match config.scheduling_policy {
            // The first in line computes at least one token in each step, in a pipeline in one of as many as there are
            // stages, and is never preempted.
            SchedulingPolicy::Fcfs => tokens * u64::from(config.pipeline_parallel_size),
            SchedulingPolicy::Priority => 2 * tokens + (fates.len() * fates.len()) as u64,
        };
        assert!(steps <= bound, "{steps} steps for {tokens} tokens: a livelock");
    }
    let state = engine.observe();
    assert_eq!((state.running, state.waiting, state.used_blocks), (0, 0, 0));
    let finished: u64 = fates.iter().filter_map(|fate| fate.totals).map(|totals| totals.computed).sum();
    assert!(finished <= computed);
    if fates.iter().all(|fate| fate.ended == Some("finished")) {
        assert_eq!(finished, computed, "every token computed is some sequence's");
    }
    fates
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_sequence_ends_once_and_work_is_conserved(config in config(), events in events()) {
        let fates = drive(&config, &events);
        for fate in &fates {
            let Submission { prompt_tokens, output_tokens, .. } = fate.submission;
            prop_assert!(fate.ended.is_some(), "nobody starves");
            if let Some(totals) = fate.totals {
                prop_assert_eq!(fate.emitted, output_tokens);
                let needed = u64::from(prompt_tokens + output_tokens - 1);
                prop_assert_eq!(totals.computed + totals.prefix_hits, needed + totals.discarded);
                prop_assert!(config.enable_prefix_caching || totals.prefix_hits == 0);
            }
        }
        prop_assert_eq!(drive(&config, &events), fates, "the same again");
    }
}
