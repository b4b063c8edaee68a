//! Schedules worked out by hand. Blocks have 4 tokens, and step n ends at 1000 n ticks.

mod ahead;
mod ends;
mod features;
mod windows;

use super::scheduler::Scheduler;
use super::step::{StepOutput, Token};
use crate::hardware::timing::Pass;
use crate::llm::engine::sequence::Totals;
use crate::llm::engine::{EngineConfig, Prefix, Rejection, SchedulingPolicy, Submission};

type Engine = Scheduler;

fn engine(usable_blocks: u32, budget: u32, change: impl FnOnce(&mut EngineConfig)) -> Engine {
    let mut config = EngineConfig {
        max_num_batched_tokens: budget,
        max_num_seqs: 4,
        block_size: 4,
        enable_prefix_caching: false,
        async_scheduling: false,
        ..EngineConfig::new(usable_blocks + 1)
    };
    change(&mut config);
    Engine::new(config, None).unwrap()
}

fn request(key: u64, prompt_tokens: u32, output_tokens: u32) -> Submission {
    Submission::new(key, prompt_tokens, output_tokens)
}

fn shared(key: u64, prompt_tokens: u32, id: u64, tokens: u32) -> Submission {
    Submission { prefix: Prefix::Shared { id, tokens }, ..request(key, prompt_tokens, 1) }
}

fn urgent(key: u64, prompt_tokens: u32, output_tokens: u32, priority: i32) -> Submission {
    Submission { priority, ..request(key, prompt_tokens, output_tokens) }
}

/// What a step is expected to be.
#[derive(Debug, PartialEq)]
struct Row {
    /// Sequences, new tokens, decode context, prefill work.
    work: [u64; 4],
    /// Running, waiting, used blocks, preemptions.
    state: [u32; 4],
    /// Keys of the sequences that get a token.
    tokens: Vec<u64>,
    /// Keys of the sequences that finish.
    ends: Vec<u64>,
}

fn row(work: [u64; 4], state: [u32; 4], tokens: &[u64], ends: &[u64]) -> Row {
    Row { work, state, tokens: tokens.to_vec(), ends: ends.to_vec() }
}

fn finish(engine: &mut Engine) -> StepOutput {
    let now = 1000 * engine.plan().unwrap().step;
    let output = engine.finish_step(now).clone();
    engine.check();
    output
}

fn step(engine: &mut Engine) -> Row {
    let plan = engine.begin_step().expect("there is work").clone();
    engine.check();
    let Pass { sequences, new_tokens, decode_context, prefill_work, .. } = plan.work;
    let output = finish(engine);
    let lasts: Vec<u64> = output.emissions.iter().filter(|token| token.last).map(|token| token.key).collect();
    let ends: Vec<u64> = output.finished.iter().map(|finished| finished.key).collect();
    assert_eq!(lasts, ends);
    Row {
        work: [sequences, new_tokens, decode_context, prefill_work],
        state: [plan.running, plan.waiting, plan.used_blocks, plan.preemptions],
        tokens: output.emissions.iter().map(|token| token.key).collect(),
        ends,
    }
}

fn expect(engine: &mut Engine, rows: &[Row]) {
    for (number, expected) in (1..).zip(rows) {
        assert_eq!(step(engine), *expected, "row {number}");
    }
}

fn expect_idle(engine: &mut Engine) {
    assert_eq!(engine.begin_step(), None);
    let state = engine.observe();
    assert_eq!((state.running, state.waiting, state.used_blocks, state.stepping), (0, 0, 0, false));
}

#[test]
fn prefill_is_chunked_across_steps() {
    let mut engine = engine(100, 8, |_| {});
    for (key, prompt, output) in [(1, 10, 3), (2, 7, 2), (3, 3, 1)] {
        engine.submit(&request(key, prompt, output)).unwrap();
    }
    expect(
        &mut engine,
        &[
            row([1, 8, 0, 64], [1, 2, 2, 0], &[], &[]),
            // 2 x (2 x 8 + 2) for the rest of 1, 6 x 6 for 2's first chunk.
            row([2, 8, 0, 36 + 36], [2, 1, 5, 0], &[1], &[]),
            // The last token of 2's prompt is prefill, 1 x (2 x 6 + 1); 3 ends with its prefill.
            row([3, 5, 11, 13 + 9], [3, 0, 6, 0], &[1, 2, 3], &[3]),
            row([2, 2, 12 + 8, 0], [2, 0, 5, 0], &[1, 2], &[1, 2]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn the_long_prefill_threshold_leaves_budget_to_others() {
    let mut engine = engine(100, 8, |config| config.long_prefill_token_threshold = 5);
    engine.submit(&request(1, 12, 1)).unwrap();
    engine.submit(&request(2, 3, 2)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 8, 0, 25 + 9], [2, 0, 3, 0], &[2], &[]),
            row([2, 6, 4, 5 * 15], [2, 0, 4, 0], &[2], &[2]),
            row([1, 2, 0, 2 * 22], [1, 0, 3, 0], &[1], &[1]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn the_number_of_sequences_is_limited() {
    let mut engine = engine(100, 100, |config| config.max_num_seqs = 2);
    for key in 0..3 {
        engine.submit(&request(key, 2, 2)).unwrap();
    }
    expect(
        &mut engine,
        &[
            row([2, 4, 0, 8], [2, 1, 2, 0], &[0, 1], &[]),
            row([2, 2, 6, 0], [2, 1, 2, 0], &[0, 1], &[0, 1]),
            row([1, 2, 0, 4], [1, 0, 1, 0], &[2], &[]),
            row([1, 1, 3, 0], [1, 0, 1, 0], &[2], &[2]),
        ],
    );
}

#[test]
fn the_last_to_come_is_preempted_and_recomputes_prompt_and_output() {
    let mut engine = engine(4, 16, |_| {});
    engine.submit(&request(1, 7, 8)).unwrap();
    engine.submit(&request(2, 7, 4)).unwrap();
    expect(&mut engine, &[row([2, 14, 0, 98], [2, 0, 4, 0], &[1, 2], &[])]);
    engine.submit(&request(3, 4, 1)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 2, 16, 0], [2, 1, 4, 0], &[1, 2], &[]),
            // 1 takes a block of 2's. 3 would fit, but a step that preempts admits nobody.
            row([1, 1, 9, 0], [1, 2, 3, 1], &[1], &[]),
            // 3 would fit, but 2 is in front.
            row([1, 1, 10, 0], [1, 2, 3, 0], &[1], &[]),
            row([1, 1, 11, 0], [1, 2, 3, 0], &[1], &[]),
            row([1, 1, 12, 0], [1, 2, 3, 0], &[1], &[]),
            row([1, 1, 13, 0], [1, 2, 4, 0], &[1], &[]),
            row([1, 1, 14, 0], [1, 2, 4, 0], &[1], &[1]),
        ],
    );
    let plan = engine.begin_step().unwrap();
    assert_eq!(
        plan.work,
        Pass { sequences: 2, new_tokens: 13, decode_context: 0, prefill_work: 97, ..Pass::default() }
    );
    assert_eq!((plan.prefills, plan.decodes, plan.used_blocks), (2, 0, 4));
    let admitted: Vec<_> = plan.admitted.iter().map(|a| (a.key, a.prefix_hit_tokens, a.resumed)).collect();
    assert_eq!(admitted, [(2, 0, true), (3, 0, false)]);
    let output = finish(&mut engine);
    // 2's token before is from step 2, this is step 9.
    assert_eq!(output.emissions[0].token, Token::Next { gap: 7000 });
    assert_eq!((output.emissions[1].token, output.emissions[1].last), (Token::First, true));
    engine.begin_step().unwrap();
    let output = finish(&mut engine);
    assert_eq!(output.emissions[0].token, Token::Next { gap: 1000 });
    let totals = Totals { computed: 7 + 1 + 9 + 1, prefix_hits: 0, discarded: 8, preemptions: 1 };
    assert_eq!(output.finished[0].totals, totals);
    expect_idle(&mut engine);
}

#[test]
fn several_victims_come_back_in_their_order() {
    let mut engine = engine(4, 16, |_| {});
    for (key, prompt, output) in [(1, 8, 3), (2, 3, 9), (3, 4, 9)] {
        engine.submit(&request(key, prompt, output)).unwrap();
    }
    expect(
        &mut engine,
        &[
            row([3, 15, 0, 64 + 9 + 16], [3, 0, 4, 0], &[1, 2, 3], &[]),
            // 1 takes 3's block; 2 has room for a fourth token.
            row([2, 2, 9 + 4, 0], [2, 1, 4, 1], &[1, 2], &[]),
            // 1 has room; 2 finds no block and is itself the last.
            row([1, 1, 10, 0], [1, 2, 3, 1], &[1], &[1]),
            row([2, 10, 0, 25 + 25], [2, 0, 4, 0], &[2, 3], &[]),
        ],
    );
}

#[test]
fn a_partial_prefill_preempts_itself() {
    let mut engine = engine(4, 6, |_| {});
    engine.submit(&request(1, 4, 6)).unwrap();
    engine.submit(&request(2, 12, 1)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 6, 0, 16 + 4], [2, 0, 2, 0], &[1], &[]),
            row([2, 6, 5, 5 * 9], [2, 0, 4, 0], &[1], &[]),
            row([1, 1, 6, 0], [1, 1, 2, 1], &[1], &[]),
            row([2, 6, 7, 25], [2, 0, 4, 0], &[1], &[]),
            row([1, 1, 8, 0], [1, 1, 2, 1], &[1], &[]),
            row([1, 1, 9, 0], [1, 1, 3, 0], &[1], &[1]),
            row([1, 6, 0, 36], [1, 0, 2, 0], &[], &[]),
        ],
    );
    engine.begin_step().unwrap();
    let totals = Totals { computed: 7 + 5 + 12, prefix_hits: 0, discarded: 7 + 5, preemptions: 2 };
    assert_eq!(finish(&mut engine).finished[0].totals, totals);
    expect_idle(&mut engine);
}

#[test]
fn the_full_prompt_gate_keeps_such_a_prompt_waiting() {
    let admitted = |gate| {
        let mut engine = engine(3, 6, |config| config.scheduler_reserve_full_isl = gate);
        engine.submit(&request(1, 4, 2)).unwrap();
        engine.submit(&request(2, 12, 1)).unwrap();
        engine.begin_step().unwrap().running
    };
    assert_eq!((admitted(false), admitted(true)), (2, 1));
}

#[test]
fn a_resumed_sequence_can_finish_on_its_prefill() {
    let mut engine = engine(4, 16, |_| {});
    engine.submit(&request(1, 7, 3)).unwrap();
    engine.submit(&request(2, 7, 3)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 14, 0, 98], [2, 0, 4, 0], &[1, 2], &[]),
            row([2, 2, 16, 0], [2, 0, 4, 0], &[1, 2], &[]),
            row([1, 1, 9, 0], [1, 1, 3, 1], &[1], &[1]),
            row([1, 9, 0, 81], [1, 0, 3, 0], &[2], &[2]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn a_resumed_sequence_finds_its_own_blocks() {
    let mut engine = engine(4, 16, |config| config.enable_prefix_caching = true);
    engine.submit(&request(1, 7, 3)).unwrap();
    engine.submit(&request(2, 7, 3)).unwrap();
    for _ in 0..3 {
        step(&mut engine);
    }
    // 1 took the later one of 2's two full blocks, as the last is freed first; 5 of 9 tokens are left.
    let plan = engine.begin_step().unwrap();
    assert_eq!((plan.prefix_hit_tokens, plan.prefix_query_tokens), (4, 9));
    assert_eq!(
        plan.work,
        Pass { sequences: 1, new_tokens: 5, decode_context: 0, prefill_work: 5 * 13, ..Pass::default() }
    );
    let totals = Totals { computed: 7 + 1 + 5, prefix_hits: 4, discarded: 8, preemptions: 1 };
    assert_eq!(finish(&mut engine).finished[0].totals, totals);
}

#[test]
fn the_last_token_gets_no_place_in_the_cache() {
    let mut engine = engine(2, 16, |_| {});
    engine.submit(&request(1, 4, 5)).unwrap();
    let used: Vec<u32> = (0..5).map(|_| step(&mut engine).state[2]).collect();
    assert_eq!(used, [1, 2, 2, 2, 2]);
    expect_idle(&mut engine);
    assert_eq!(engine.submit(&request(2, 4, 6)), Err(Rejection::ExceedsCache { tokens: 9, capacity: 8 }));
}

#[test]
fn a_shared_prefix_is_computed_once() {
    let mut engine = engine(20, 64, |config| config.enable_prefix_caching = true);
    engine.submit(&shared(1, 10, 7, 8)).unwrap();
    engine.submit(&shared(2, 10, 7, 8)).unwrap();
    // In the same step already: 2 computes 2 tokens behind 8. The two share 2 blocks.
    expect(&mut engine, &[row([2, 12, 0, 100 + 2 * 18], [2, 0, 4, 0], &[1, 2], &[1, 2])]);
    for (prompt, id, work) in [
        (11, 7, [1, 3, 0, 3 * 19]),
        // One token at least is computed: as prefill if it is the only one left, and with all its block if
        // the prompt ends with the block.
        (9, 7, [1, 1, 0, 17]),
        (8, 7, [1, 4, 0, 4 * 12]),
        (8, 6, [1, 8, 0, 64]),
    ] {
        engine.submit(&shared(3, prompt, id, 8)).unwrap();
        assert_eq!(step(&mut engine).work, work);
    }
    expect_idle(&mut engine);
}

#[test]
fn a_conversation_finds_its_earlier_turns() {
    let mut engine = engine(20, 64, |config| config.enable_prefix_caching = true);
    let turn = |prompt, output, tokens| Submission { output_tokens: output, ..shared(1, prompt, 7, tokens) };
    engine.submit(&turn(6, 5, 11)).unwrap();
    while engine.begin_step().is_some() {
        finish(&mut engine);
    }
    // Of 6 + 5 tokens 10 were computed, 2 blocks are full.
    engine.submit(&turn(15, 1, 15)).unwrap();
    assert_eq!(engine.begin_step().unwrap().prefix_hit_tokens, 8);
}

/// Two conversations that open alike: each finds the opening, and of what was said since only its own.
#[test]
fn conversations_that_open_alike_part() {
    let mut engine = engine(60, 64, |config| config.enable_prefix_caching = true);
    let mut hit = |opening: Prefix, id: u64, prompt: u32, output: u32| {
        let prefix = Prefix::Conversation { id, opening: opening.into(), opening_tokens: 14 };
        engine.submit(&Submission { prefix, ..request(id, prompt, output) }).unwrap();
        let hit = engine.begin_step().unwrap().prefix_hit_tokens;
        finish(&mut engine);
        while engine.begin_step().is_some() {
            finish(&mut engine);
        }
        hit
    };
    let text = || Prefix::Shared { id: 7, tokens: 9 };
    assert_eq!(hit(text(), 1, 14, 6), 0);
    assert_eq!(hit(text(), 2, 14, 6), 8, "two blocks of the opening");
    // Of 14 + 6 tokens 19 were computed: four blocks.
    assert_eq!(hit(text(), 1, 25, 6), 16);
    assert_eq!(hit(text(), 2, 25, 6), 16);
    assert_eq!(hit(text(), 1, 36, 1), 28, "of 31 tokens 30 were computed");
    assert_eq!(hit(text(), 3, 36, 1), 8);
    // Blocks that the first prompt does not fill are the conversation's.
    let blocks = || Prefix::Blocks { ids: [1, 2].into(), block_tokens: 8 };
    assert_eq!(hit(blocks(), 4, 14, 6), 0);
    assert_eq!(hit(blocks(), 5, 14, 6), 8);
    assert_eq!(hit(blocks(), 4, 25, 1), 16);
    assert_eq!(hit(Prefix::None, 6, 14, 6), 0);
    assert_eq!(hit(Prefix::None, 6, 25, 1), 16);
    // A conversation within one: what is said in it is none of the other's.
    let within = |id, opening_tokens| Prefix::Conversation { id, opening: text().into(), opening_tokens };
    assert_eq!(hit(within(11, 9), 7, 14, 6), 8, "the text alone");
    assert_eq!(hit(within(11, 9), 7, 25, 6), 16);
    assert_eq!(hit(within(11, 9), 8, 25, 1), 12, "nothing behind the first 14 tokens");
    assert_eq!(hit(within(12, 9), 7, 25, 1), 8, "of another conversation");
}

#[test]
fn trace_blocks_are_many_engine_blocks() {
    let mut engine = engine(1000, 4096, |config| {
        config.enable_prefix_caching = true;
        config.block_size = 16;
    });
    let mut hit = |prompt: u32, output: u32, ids: &[u64]| {
        let prefix = Prefix::Blocks { ids: ids.into(), block_tokens: 512 };
        engine.submit(&Submission { prefix, ..request(1, prompt, output) }).unwrap();
        let hit = engine.begin_step().unwrap().prefix_hit_tokens;
        finish(&mut engine);
        while engine.begin_step().is_some() {
            finish(&mut engine);
        }
        hit
    };
    assert_eq!(hit(1500, 1, &[1, 2, 3]), 0);
    assert_eq!(hit(1500, 1, &[1, 2, 9]), 1024);
    assert_eq!(hit(1500, 1, &[1, 2, 3]), 1488, "93 full blocks of 16");
    assert_eq!(hit(1000, 1, &[2, 1]), 0, "the same blocks elsewhere are others");
    assert_eq!(hit(1000, 1, &[1, 1]), 512, "and so they are behind another block");
    assert_eq!(hit(1000, 30, &[1, 4]), 512);
    assert_eq!(hit(600, 1, &[1, 4]), 592, "the prompt, not the block, ends the match");
    assert_eq!(hit(1020, 1, &[1, 4]), 992, "what was generated behind a prompt is not in its ids");
}

#[test]
fn the_end_of_a_prefix_is_evicted_first() {
    let mut engine = engine(4, 64, |config| config.enable_prefix_caching = true);
    // Takes blocks 1 and 2 and returns 2, then 1, behind the free 3 and 4; the second takes 3, 4 and 2.
    engine.submit(&shared(1, 8, 7, 8)).unwrap();
    step(&mut engine);
    engine.submit(&request(2, 12, 1)).unwrap();
    step(&mut engine);
    engine.submit(&shared(3, 9, 7, 8)).unwrap();
    assert_eq!(engine.begin_step().unwrap().prefix_hit_tokens, 4);
}

#[test]
fn a_hit_on_free_blocks_needs_them_free() {
    let mut engine = engine(4, 64, |config| config.enable_prefix_caching = true);
    engine.submit(&shared(1, 8, 7, 8)).unwrap();
    step(&mut engine);
    // 2 takes the two blocks never used; for 3 there are two cached blocks, which leave none for its rest.
    engine.submit(&request(2, 7, 2)).unwrap();
    engine.submit(&shared(3, 9, 7, 8)).unwrap();
    expect(
        &mut engine,
        &[
            row([1, 7, 0, 49], [1, 1, 2, 0], &[2], &[]),
            row([1, 1, 8, 0], [1, 1, 2, 0], &[2], &[2]),
            row([1, 1, 0, 17], [1, 0, 3, 0], &[3], &[3]),
        ],
    );
}

fn by_priority(config: &mut EngineConfig) {
    config.scheduling_policy = SchedulingPolicy::Priority;
}

#[test]
fn priority_overtakes_in_the_line() {
    let served = |policy: fn(&mut EngineConfig)| {
        let mut engine = engine(100, 8, |config| {
            config.max_num_seqs = 1;
            policy(config);
        });
        for (key, priority) in [(1, 5), (2, 1), (3, -1), (4, 1)] {
            engine.submit(&urgent(key, 2, 1, priority)).unwrap();
        }
        (0..4).flat_map(|_| step(&mut engine).ends).collect::<Vec<_>>()
    };
    assert_eq!(served(by_priority), [3, 2, 4, 1]);
    assert_eq!(served(|_| {}), [1, 2, 3, 4]);
}

#[test]
fn the_first_in_the_batch_can_preempt_itself_by_priority() {
    let mut engine = engine(4, 16, by_priority);
    engine.submit(&urgent(1, 7, 4, 9)).unwrap();
    step(&mut engine);
    engine.submit(&urgent(2, 7, 2, 0)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 8, 8, 49], [2, 0, 4, 0], &[1, 2], &[]),
            // 1 needs a block and is the least urgent: a step without tokens, repeated at once.
            row([1, 1, 8, 0], [1, 1, 2, 1], &[2], &[2]),
            row([1, 9, 0, 81], [1, 0, 3, 0], &[1], &[]),
        ],
    );
}

#[test]
fn who_preempts_itself_ends_the_scheduling_of_the_step() {
    let mut engine = engine(4, 16, by_priority);
    engine.submit(&urgent(1, 2, 9, 0)).unwrap();
    engine.submit(&urgent(2, 7, 9, 9)).unwrap();
    step(&mut engine);
    engine.submit(&urgent(3, 2, 9, 0)).unwrap();
    expect(
        &mut engine,
        &[row([3, 4, 3 + 8, 4], [3, 0, 4, 0], &[1, 2, 3], &[]), row([1, 1, 4, 0], [2, 1, 2, 1], &[1], &[])],
    );
    engine.begin_step().unwrap();
    let tokens: Vec<Token> = finish(&mut engine).emissions.iter().map(|emission| emission.token).collect();
    assert_eq!(tokens, [Token::Next { gap: 1000 }, Token::Next { gap: 2000 }]);
}

#[test]
fn a_scheduled_victim_leaves_the_step_and_the_cache() {
    let mut engine = engine(8, 16, |config| {
        by_priority(config);
        config.enable_prefix_caching = true;
        config.long_prefill_token_threshold = 8;
    });
    engine.submit(&urgent(1, 24, 1, 9)).unwrap();
    expect(&mut engine, &[row([1, 8, 0, 64], [1, 0, 2, 0], &[], &[])]);
    engine.submit(&urgent(2, 8, 3, 0)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 16, 0, 8 * 24 + 64], [2, 0, 6, 0], &[2], &[]),
            // 1 is given the last two blocks for 8 tokens, then 2 needs one and takes it from 1.
            row([1, 1, 9, 0], [1, 1, 3, 1], &[2], &[]),
            row([1, 1, 10, 0], [1, 1, 3, 0], &[2], &[2]),
            // 1 had computed 16 tokens, and finds these.
            row([1, 8, 0, 8 * 40], [1, 0, 6, 0], &[1], &[1]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn the_budget_of_a_scheduled_victim_returns() {
    let mut engine = engine(10, 8, |config| {
        by_priority(config);
        config.long_prefill_token_threshold = 6;
    });
    engine.submit(&urgent(1, 36, 1, 9)).unwrap();
    expect(&mut engine, &[row([1, 6, 0, 36], [1, 0, 2, 0], &[], &[])]);
    engine.submit(&urgent(2, 3, 9, 0)).unwrap();
    engine.submit(&urgent(3, 20, 1, 0)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 8, 0, 6 * 18 + 4], [2, 1, 4, 0], &[], &[]),
            row([3, 8, 0, 6 * 30 + 5 + 1], [3, 0, 7, 0], &[2], &[]),
            row([3, 8, 4, 6 * 42 + 3], [3, 0, 8, 0], &[2], &[]),
            // 1 gets 6 tokens and the last two blocks; 2 needs one and takes it from 1, whose 6 tokens 3 has.
            row([2, 7, 5, 6 * 10], [2, 1, 4, 1], &[2], &[]),
        ],
    );
}

#[test]
fn throughput_of_a_constant_batch() {
    // 8 sequences at a time, prompts of 100 and outputs of 51 tokens: 800 tokens of prefill in one step,
    // then 50 decode steps. At 1 us a new token and 1 ms a step, 8 x 51 tokens take
    // (1000 + 800) + 50 x (1000 + 8) = 52200 us.
    let mut engine = engine(8 * 38, 1000, |config| config.max_num_seqs = 8);
    for key in 0..80 {
        engine.submit(&request(key, 100, 51)).unwrap();
    }
    let (mut now, mut tokens, mut finished) = (0, 0, 0);
    while let Some(plan) = engine.begin_step() {
        now += 1000 + plan.work.new_tokens;
        let output = engine.finish_step(now);
        tokens += output.emissions.len();
        finished += output.finished.len();
    }
    assert_eq!((now, tokens, finished), (10 * 52_200, 80 * 51, 80));
}
