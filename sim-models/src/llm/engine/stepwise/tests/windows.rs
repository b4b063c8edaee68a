//! Layers with a window: groups of layers with tables of their own.

use super::*;
use crate::hardware::kv_groups::KvGroups;

/// One group that keeps all, and one that sees 6 tokens: 2 blocks, or 3 where it begins in the midst of one.
const HALF: KvGroups = KvGroups { full: 1, windowed: 1, window: 6 };

fn grouped(usable_blocks: u32, budget: u32, kv_groups: KvGroups, caching: bool) -> Engine {
    engine(usable_blocks, budget, |config| {
        (config.kv_groups, config.enable_prefix_caching) = (kv_groups, caching);
    })
}

#[test]
fn what_slides_out_of_the_window_is_free() {
    let mut engine = grouped(100, 8, HALF, false);
    engine.submit(&request(1, 20, 4)).unwrap();
    expect(
        &mut engine,
        &[
            row([1, 8, 0, 64], [1, 0, 2 + 2, 0], &[], &[]),
            // Of 8 computed tokens 3 are seen no more, which are no block.
            row([1, 8, 0, 8 * 24], [1, 0, 4 + 4, 0], &[], &[]),
            // Of 16 it is 11: two blocks.
            row([1, 4, 0, 4 * 36], [1, 0, 5 + 3, 0], &[1], &[]),
            // Of 20 it is 15: three.
            row([1, 1, 21, 0], [1, 0, 6 + 3, 0], &[1], &[]),
            // Of 21 it is 16.
            row([1, 1, 22, 0], [1, 0, 6 + 2, 0], &[1], &[]),
            row([1, 1, 23, 0], [1, 0, 6 + 2, 0], &[1], &[1]),
        ],
    );
    expect_idle(&mut engine);
}

#[test]
fn a_model_with_windows_alone_outgrows_the_cache() {
    let groups = KvGroups { full: 0, ..HALF };
    // A step computes up to 8 tokens: the window and they have 13, which is 4 blocks and one more.
    let mut engine = grouped(5, 8, groups, true);
    engine.submit(&request(1, 100, 200)).unwrap();
    for _ in 0..13 + 199 {
        step(&mut engine);
    }
    expect_idle(&mut engine);
    let mut engine = grouped(4, 8, groups, true);
    assert_eq!(engine.submit(&request(1, 16, 1)).map(drop), Ok(()));
    let refused = Rejection::ExceedsCache { tokens: 17, capacity: 16 };
    assert_eq!(engine.submit(&request(1, 17, 1)), Err(refused));
}

#[test]
fn a_prefix_is_found_with_what_its_end_looks_back_at() {
    let mut engine = grouped(14, 24, HALF, true);
    // 24 tokens in 6 blocks of each table. All are cached when it ends, those of the table with the window first in
    // the queue of free blocks, and its last first of all: 6, 5, 4, 3, 2, 1, and then the other table's.
    engine.submit(&shared(1, 24, 7, 24)).unwrap();
    assert_eq!(step(&mut engine), row([1, 24, 0, 576], [1, 0, 12, 0], &[1], &[1]));
    // Two blocks that were never used and four of the window's table are taken: 6, 5, 4, 3 are forgotten.
    engine.submit(&request(2, 12, 1)).unwrap();
    assert_eq!(step(&mut engine).state, [1, 0, 6, 0]);
    // Of the first table all six are found, but the window at their end is not; nor is it before: 8 tokens are left, as
    // they begin with the prompt.
    engine.submit(&shared(3, 24, 7, 24)).unwrap();
    let plan = engine.begin_step().unwrap().clone();
    assert_eq!((plan.prefix_hit_tokens, plan.work.new_tokens), (8, 16));
    engine.check();
    finish(&mut engine);
    expect_idle(&mut engine);
}

#[test]
fn of_a_table_with_a_window_only_the_window_is_used_again() {
    let mut engine = grouped(40, 40, HALF, true);
    engine.submit(&shared(1, 33, 7, 32)).unwrap();
    assert_eq!(step(&mut engine).state, [1, 0, 18, 0]);
    engine.submit(&shared(2, 33, 7, 32)).unwrap();
    // Eight blocks of the one table, two of the other, and a new one of each.
    assert_eq!(step(&mut engine), row([1, 1, 0, 65], [1, 0, 8 + 2 + 2, 0], &[2], &[2]));
    expect_idle(&mut engine);
    // Without the other table the same tokens are found.
    let mut engine = grouped(40, 40, KvGroups { full: 0, ..HALF }, true);
    for key in 0..2 {
        engine.submit(&shared(key, 33, 7, 32)).unwrap();
        let used = if key == 0 { 9 } else { 3 };
        assert_eq!(step(&mut engine).state, [1, 0, used, 0]);
    }
}

#[test]
fn a_sequence_gives_back_what_slid_out_before_it_preempts() {
    // Each has 3 + 3 blocks in the first step; 13 blocks are one more.
    let groups = KvGroups { window: 3, ..HALF };
    let mut engine = grouped(13, 24, groups, false);
    for key in 1..3 {
        engine.submit(&request(key, 12, 2)).unwrap();
    }
    expect(
        &mut engine,
        &[
            row([2, 24, 0, 288], [2, 0, 12, 0], &[1, 2], &[]),
            // Of 12 tokens 10 are seen no more: two blocks each are free, of which two are taken again.
            row([2, 2, 26, 0], [2, 0, 2 * (4 + 2), 0], &[1, 2], &[1, 2]),
        ],
    );
    expect_idle(&mut engine);
}
