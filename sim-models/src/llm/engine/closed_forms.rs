//! Speculative decoding and pipelines against their formulas.

use super::*;
use crate::hardware::timing::{Calibration, Coefficients, Drafter, TICKS_PER_NANO, Windowed};

const MS: u64 = 1_000_000;

/// Passes of `base` nanoseconds, and so many more for each token.
fn step(base: u64, per_token: u64) -> StepFunction {
    let [base, per_token] = [base, per_token].map(|nanos| nanos * TICKS_PER_NANO);
    let coefficients = Coefficients { base, per_token, ..Default::default() };
    StepFunction::new(coefficients, Calibration::Datasheet).unwrap()
}

/// Nanoseconds until all of `work` (prompt, output), there from the start, is done.
fn finish(config: EngineConfig, step: StepFunction, work: &[(u32, u32)]) -> (u64, Tally) {
    let mut engine = Engine::new(EngineKind::Fast, config, step).unwrap();
    let mut tally = Tally::default();
    for (key, (prompt, output)) in (0..).zip(work) {
        engine.submit(SimTime::ZERO, &Submission::new(key, *prompt, *output), &mut tally).unwrap();
    }
    let mut now = SimTime::ZERO;
    engine.advance(now, &mut tally);
    while let Some(due) = engine.due() {
        now = due;
        engine.advance(now, &mut tally);
    }
    (now.as_nanos(), tally)
}

fn config(budget: u32) -> EngineConfig {
    EngineConfig {
        max_num_batched_tokens: budget,
        max_num_seqs: 64,
        enable_prefix_caching: false,
        ..EngineConfig::new(100_000)
    }
}

/// `m` passes through `s` stages take the time of `m + s - 1`: the bubble is `(s - 1) / (m + s - 1)` (Huang et al.,
/// "GPipe", NeurIPS 2019; Narayanan et al., "PipeDream", SOSP 2019).
#[test]
fn the_bubble_of_a_pipeline_is_that_of_the_formula() {
    for stages in [1u32, 2, 4, 8] {
        for passes in [1u64, 3, 8, 40] {
            let stage = step(MS, 0);
            let later = vec![stage.clone(); stages as usize - 1];
            let config = EngineConfig { pipeline_parallel_size: stages, ..config(128) };
            let work = vec![(128, 1); passes as usize];
            let (taken, _) = finish(config, stage.with_stages(later), &work);
            let steps = passes + u64::from(stages) - 1;
            assert_eq!(taken, steps * MS, "{passes} passes through {stages} stages");
            let bubble = 1.0 - (passes * MS) as f64 / taken as f64;
            assert!((bubble - f64::from(stages - 1) / steps as f64).abs() < 1e-12);
        }
    }
}

#[test]
fn a_pipeline_adds_throughput_and_takes_no_latency_away() {
    let alone = |stages: u32, requests: usize| {
        // The layers of 8 ms, split evenly.
        let stage = step(8 * MS / u64::from(stages), 0);
        let later = vec![stage.clone(); stages as usize - 1];
        let config = EngineConfig { pipeline_parallel_size: stages, async_scheduling: false, ..config(64) };
        finish(config, stage.with_stages(later), &vec![(64, 101); requests]).0
    };
    assert_eq!(alone(1, 1), 101 * 8 * MS);
    assert_eq!(alone(4, 1), alone(1, 1), "one request passes through all layers as before");
    // Prompts fill a pass each, so that four sequences decode in four passes, one in each stage.
    let (one, four) = (alone(4, 1) as f64, alone(4, 4) as f64);
    assert!((four / one - 1.0).abs() < 0.02, "four in the time of one: {four} and {one}");
}

/// Three sequences of 60 tokens get 101 each, with a window of 100: the 41st step after their prompts is the first in
/// which it does not grow, and the sum of all steps is that of `min(context, window)`.
#[test]
fn a_window_is_filled_in_the_midst_of_a_run() {
    const WINDOW: u64 = 100;
    let windowed = Windowed { tokens: WINDOW, per_context: 5 * TICKS_PER_NANO, per_prefill_work: 0 };
    let coefficients = Coefficients {
        base: MS * TICKS_PER_NANO,
        per_context: 3 * TICKS_PER_NANO,
        windowed,
        ..Default::default()
    };
    let step = StepFunction::new(coefficients, Calibration::Datasheet).unwrap();
    let (taken, tally) = finish(config(512), step, &[(60, 101); 3]);
    let contexts = 61..=160u64;
    let steps: u64 = contexts.map(|context| 3 * (3 * context + 5 * context.min(WINDOW))).sum();
    assert_eq!(taken, 101 * MS + steps);
    assert_eq!(tally.steps, 101);
}

/// With passes bound by memory, verifying takes no longer than decoding: the speed-up is
/// `(1 - a^(k+1)) / ((1 - a)(k c + 1))` (Leviathan et al., ICML 2023, theorem 3.8).
#[test]
fn speculation_speeds_decoding_up_by_the_formula() {
    let output = 20_001;
    for (rate, drafts, cost) in [(0.8, 5, 0.05), (0.6, 3, 0.1), (0.9, 8, 0.02), (0.3, 4, 0.25), (0.7, 2, 0.0)]
    {
        let alone = EngineConfig { async_scheduling: false, ..config(64) };
        let plain = finish(alone.clone(), step(10 * MS, 0), &[(64, output)]).0 as f64;
        for drawn in [false, true] {
            let speculative = Some(Speculation::new(drafts, drafts, rate, drawn));
            let drafter = Drafter::ratio(&step(10 * MS, 0), cost, drafts.into()).unwrap();
            let timed = step(10 * MS, 0).with_drafter(drafter);
            let (taken, tally) =
                finish(EngineConfig { speculative, ..alone.clone() }, timed, &[(64, output)]);
            let per_step = (1.0 - libm::pow(rate, f64::from(drafts + 1))) / (1.0 - rate);
            let expected = per_step / (f64::from(drafts) * cost + 1.0);
            let speed_up = plain / taken as f64;
            let tokens = f64::from(output - 1) / (tally.steps - 1) as f64;
            // At least 5,000 steps: four standard errors of the drawn mean are below 6 %, those of the carried none.
            let tolerance = if drawn { 0.06 } else { 1e-3 };
            assert!((tokens / per_step - 1.0).abs() < tolerance, "{rate} {drafts}: {tokens}, not {per_step}");
            assert!(
                (speed_up / expected - 1.0).abs() < tolerance,
                "{rate} {drafts}: {speed_up}, not {expected}"
            );
            assert_eq!(tally.output_tokens, u64::from(output));
            assert_eq!(tally.draft_tokens, (tally.steps - 1) * u64::from(drafts));
        }
    }
}
