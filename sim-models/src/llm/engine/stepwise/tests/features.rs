//! Speculative decoding, pipeline stages and LoRA adapters.

use super::*;
use crate::llm::engine::{Lora, Speculation};

fn speculates(drafts: u32, lookahead: u32) -> impl FnOnce(&mut EngineConfig) {
    move |config| config.speculative = Some(Speculation::new(drafts, lookahead, 1.0, false))
}

#[test]
fn drafts_are_verified_in_one_pass_and_have_slots() {
    let mut engine = engine(100, 16, speculates(2, 2));
    engine.submit(&request(1, 6, 8)).unwrap();
    expect(
        &mut engine,
        &[
            // No slots are kept for drafts at the admission.
            row([1, 6, 0, 36], [1, 0, 2, 0], &[1], &[]),
            // Three queries over nine tokens; with two slots in front that is three blocks. Three tokens come.
            row([1, 3, 9, 0], [1, 0, 3, 0], &[1], &[]),
            row([1, 3, 12, 0], [1, 0, 4, 0], &[1], &[]),
            // One token is missing; the drafts behind it are computed in vain.
            row([1, 3, 15, 0], [1, 0, 5, 0], &[1], &[1]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn with_eagle_the_last_block_of_a_prefix_is_computed_again() {
    for (use_eagle, hit) in [(false, 12), (true, 8)] {
        let mut engine = engine(100, 16, |config| {
            config.enable_prefix_caching = true;
            config.speculative = Some(Speculation::new(2, 2, 1.0, false).with_eagle(use_eagle));
        });
        for key in 1..3 {
            engine.submit(&shared(key, 14, 7, 14)).unwrap();
            let plan = engine.begin_step().unwrap();
            assert_eq!(plan.prefix_hit_tokens, if key == 1 { 0 } else { hit });
            finish(&mut engine);
        }
        expect_idle(&mut engine);
    }
}

#[test]
fn drafts_end_with_the_models_context() {
    let mut engine = engine(4, 16, |config| {
        config.max_model_len = Some(14);
        speculates(2, 2)(config);
    });
    engine.submit(&request(1, 6, 8)).unwrap();
    expect(
        &mut engine,
        &[
            row([1, 6, 0, 36], [1, 0, 2, 0], &[1], &[]),
            row([1, 3, 9, 0], [1, 0, 3, 0], &[1], &[]),
            row([1, 3, 12, 0], [1, 0, 4, 0], &[1], &[]),
            row([1, 1, 13, 0], [1, 0, 4, 0], &[1], &[1]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn a_short_budget_leaves_drafts_out() {
    let mut engine = engine(100, 4, |config| {
        config.max_num_seqs = 2;
        speculates(2, 0)(config);
    });
    engine.submit(&request(1, 2, 5)).unwrap();
    engine.submit(&request(2, 2, 5)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 4, 0, 8], [2, 0, 2, 0], &[1, 2], &[]),
            // Three of the first and one of the second.
            row([2, 4, 5 + 3, 0], [2, 0, 3, 0], &[1, 2], &[]),
            row([2, 4, 8 + 4, 0], [2, 0, 3, 0], &[1, 2], &[1]),
            row([1, 3, 7, 0], [1, 0, 2, 0], &[2], &[2]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn what_speculates_alone_has_room_for_its_slots_or_is_refused() {
    let mut small = engine(3, 16, speculates(2, 2));
    // 8 tokens, the last without a place, and 4 slots.
    let refused = Rejection::ExceedsCache { tokens: 13, capacity: 12 };
    assert_eq!(small.submit(&request(1, 5, 5)), Err(refused));
    small.submit(&request(1, 4, 5)).unwrap();
    while small.begin_step().is_some() {
        finish(&mut small);
    }
    expect_idle(&mut small);
}

#[test]
fn a_pipeline_has_a_step_in_each_stage() {
    let mut engine = engine(100, 8, |config| config.pipeline_parallel_size = 2);
    engine.submit(&request(1, 8, 2)).unwrap();
    engine.submit(&request(2, 8, 2)).unwrap();
    expect(
        &mut engine,
        &[
            row([1, 8, 0, 64], [1, 1, 2, 0], &[1], &[]),
            row([1, 8, 0, 64], [2, 0, 4, 0], &[2], &[]),
            row([1, 1, 9, 0], [2, 0, 5, 0], &[1], &[1]),
            // Scheduled when the first one's last token is underway: it is still there.
            row([1, 1, 9, 0], [2, 0, 6, 0], &[2], &[2]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn chunks_of_a_prompt_follow_each_other_through_a_pipeline() {
    let mut engine = engine(100, 8, |config| config.pipeline_parallel_size = 3);
    engine.submit(&request(1, 20, 2)).unwrap();
    engine.begin_step().unwrap();
    let chunks: Vec<u64> = engine.plans_behind(0).map(|plan| plan.work.new_tokens).collect();
    assert_eq!(chunks, [8, 8, 4]);
    expect(
        &mut engine,
        &[
            row([1, 8, 0, 64], [1, 0, 2, 0], &[], &[]),
            row([1, 8, 0, 8 * 24], [1, 0, 4, 0], &[], &[]),
            row([1, 4, 0, 4 * 36], [1, 0, 5, 0], &[1], &[]),
            row([1, 1, 21, 0], [1, 0, 6, 0], &[1], &[1]),
        ],
    );
    expect_idle(&mut engine);
}

fn with_adapter(key: u64, output: u32, adapter: u32) -> Submission {
    Submission { adapter: Some(adapter), ..request(key, 4, output) }
}

#[test]
fn who_would_need_one_adapter_more_is_passed_over() {
    let lora = Lora { max_loras: 1, max_cpu_loras: 2, copy_ticks: 10, read_ticks: 100 };
    let mut engine = engine(100, 16, |config| config.lora = Some(lora));
    for submission in [with_adapter(1, 3, 0), with_adapter(2, 1, 1), with_adapter(3, 1, 0)] {
        engine.submit(&submission).unwrap();
    }
    let first = engine.begin_step().unwrap().adapters;
    assert_eq!((first.hits, first.copies, first.reads, lora.ticks(&first)), (1, 1, 1, 110));
    expect(
        &mut engine,
        &[
            row([2, 8, 0, 32], [2, 1, 2, 0], &[1, 3], &[3]),
            row([1, 1, 5, 0], [1, 1, 2, 0], &[1], &[]),
            row([1, 1, 6, 0], [1, 1, 2, 0], &[1], &[1]),
            row([1, 4, 0, 16], [1, 0, 1, 0], &[2], &[2]),
        ],
    );
    engine.submit(&with_adapter(4, 1, 0)).unwrap();
    let again = engine.begin_step().unwrap().adapters;
    assert_eq!((again.hits, again.copies, again.reads), (0, 1, 0), "the host still has it");
    finish(&mut engine);
    expect_idle(&mut engine);
}
