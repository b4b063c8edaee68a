//! Scheduling ahead: each step is scheduled when the one before it begins.

use super::*;

fn ahead(usable_blocks: u32, budget: u32, change: impl FnOnce(&mut EngineConfig)) -> Engine {
    engine(usable_blocks, budget, |config| {
        config.async_scheduling = true;
        change(config);
    })
}

#[test]
fn who_comes_in_mid_step_is_in_the_next_but_one() {
    let mut engine = ahead(100, 100, |_| {});
    engine.submit(&request(1, 8, 6)).unwrap();
    engine.begin_step().unwrap();
    engine.submit(&request(2, 4, 1)).unwrap();
    finish(&mut engine);
    expect(
        &mut engine,
        &[
            row([1, 1, 9, 0], [1, 0, 3, 0], &[1], &[]),
            row([2, 5, 10, 16], [2, 0, 4, 0], &[1, 2], &[2]),
            // 2 computes nothing any more, but it was there when this step was scheduled.
            row([1, 1, 11, 0], [2, 0, 4, 0], &[1], &[]),
            row([1, 1, 12, 0], [1, 0, 3, 0], &[1], &[]),
            row([1, 1, 13, 0], [1, 0, 4, 0], &[1], &[1]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn places_and_blocks_are_free_one_step_later() {
    let mut engine = ahead(3, 100, |config| config.max_num_seqs = 1);
    engine.submit(&request(1, 8, 2)).unwrap();
    engine.submit(&request(2, 8, 1)).unwrap();
    expect(
        &mut engine,
        &[
            row([1, 8, 0, 64], [1, 1, 2, 0], &[1], &[]),
            row([1, 1, 9, 0], [1, 1, 3, 0], &[1], &[1]),
            // Nothing could be scheduled while step 2 ran; 2 starts at its end all the same.
            row([1, 8, 0, 64], [1, 0, 2, 0], &[2], &[2]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn a_victim_still_gets_the_token_that_is_underway() {
    let mut engine = ahead(4, 16, |_| {});
    engine.submit(&request(1, 7, 4)).unwrap();
    engine.submit(&request(2, 7, 4)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 14, 0, 98], [2, 0, 4, 0], &[1, 2], &[]),
            row([2, 2, 16, 0], [2, 0, 4, 0], &[1, 2], &[]),
            // Scheduled while step 2 ran, whose token 2 has got by now: 7 + 2 tokens to compute again.
            row([1, 1, 9, 0], [1, 1, 3, 1], &[1], &[]),
            row([1, 1, 10, 0], [1, 1, 3, 0], &[1], &[1]),
            row([1, 9, 0, 81], [1, 0, 3, 0], &[2], &[]),
            row([1, 1, 10, 0], [1, 0, 3, 0], &[2], &[2]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn whose_last_token_is_underway_may_lose_its_blocks_and_nothing_else() {
    let mut engine = ahead(4, 16, |_| {});
    engine.submit(&request(1, 7, 4)).unwrap();
    engine.submit(&request(2, 7, 2)).unwrap();
    expect(
        &mut engine,
        &[
            row([2, 14, 0, 98], [2, 0, 4, 0], &[1, 2], &[]),
            row([2, 2, 16, 0], [2, 0, 4, 0], &[1, 2], &[2]),
            row([1, 1, 9, 0], [1, 0, 3, 1], &[1], &[]),
            row([1, 1, 10, 0], [1, 0, 3, 0], &[1], &[1]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn a_generated_token_is_in_a_known_block_one_step_later() {
    let hits = |steps: u32| {
        let mut engine = ahead(20, 64, |config| config.enable_prefix_caching = true);
        engine.submit(&Submission { output_tokens: 9, ..shared(1, 6, 7, 15) }).unwrap();
        (0..steps).for_each(|_| _ = step(&mut engine));
        engine.submit(&shared(2, 15, 7, 15)).unwrap();
        step(&mut engine);
        engine.begin_step().unwrap().prefix_hit_tokens
    };
    // Step n computes token 4 + n; 2 is scheduled with step n + 2, which may know tokens up to 4 + n + 1.
    assert_eq!([1, 2, 3].map(hits), [4, 8, 8]);
}
