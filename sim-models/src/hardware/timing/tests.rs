//! The step function term by term, and its closed forms against additions.

use super::*;
use proptest::prelude::*;

fn coefficients() -> impl Strategy<Value = Coefficients> {
    let small = 0_u64..100_000;
    (
        (1_u64..10_000_000_000, small.clone(), small.clone(), small.clone(), 0_u64..4_000),
        (0_u64..300, small.clone(), 0_u64..8, small.clone()),
        (0_u64..10_000, 0_u64..10_000_000, 0_u64..12_000_000_000, small),
    )
        .prop_map(
            |((base, per_sequence, per_token, slope, free), (head_free, head, until, expert), rest)| {
                let (per_context, per_prefill_work, host_base, host_per_sequence) = rest;
                Coefficients {
                    base,
                    per_sequence,
                    per_token,
                    gemm: Hinge { free, slope },
                    head: Hinge { free: head_free, slope: head },
                    windowed: Windowed { tokens: until, per_context: expert, per_prefill_work: expert },
                    per_context,
                    per_prefill_work,
                    per_adapter: 0,
                    host_base,
                    host_per_sequence,
                }
            },
        )
}

fn passes() -> impl Strategy<Value = Pass> {
    (0_u64..2_000, 0_u64..20_000, 0_u64..10_000_000, 0_u64..1_000_000_000).prop_map(
        |(sequences, new_tokens, decode_context, prefill_work)| Pass {
            sequences,
            new_tokens,
            decode_context,
            prefill_work,
            ..Pass::default()
        },
    )
}

proptest! {
    #[test]
    fn more_work_never_takes_less_time(c in coefficients(), a in passes(), more in passes()) {
        let step = StepFunction::new(c, Calibration::Datasheet).unwrap();
        let before = step.ticks(&a);
        let grown = [
            Pass { sequences: a.sequences + more.sequences, ..a },
            Pass { new_tokens: a.new_tokens + more.new_tokens, ..a },
            Pass { decode_context: a.decode_context + more.decode_context, ..a },
            Pass { prefill_work: a.prefill_work + more.prefill_work, ..a },
        ];
        for pass in grown {
            prop_assert!(step.ticks(&pass) >= before, "{:?} after {:?}", pass, a);
        }
    }

    #[test]
    fn the_closed_form_equals_the_additions(
        c in coefficients(), sequences in 1_u64..1_000, context in 1_u64..5_000_000, n in 0_u64..3_000, grow in 0_u64..1_000,
    ) {
        let step = StepFunction::new(c, Calibration::Datasheet).unwrap();
        let growing = if c.windowed.tokens > 0 { grow.min(sequences) } else { 0 };
        let windowed_context = context / 2;
        let (new_tokens, decode_context) = (sequences, context);
        let first = Pass { sequences, new_tokens, decode_context, windowed_context, ..Pass::default() };
        let run = step.decode_run(&first, growing);
        let one_by_one: u64 = (0..n)
            .map(|i| {
                let windowed_context = windowed_context + i * growing;
                let decode_context = context + i * sequences;
                let ticks = step.ticks(&Pass { decode_context, windowed_context, ..first });
                assert_eq!(u128::from(ticks), run.ticks(i));
                ticks
            })
            .sum();
        prop_assert_eq!(run.sum(n), Some(one_by_one));
        if n <= run.host_bound_steps() {
            prop_assert_eq!(u128::from(one_by_one), u128::from(n) * run.host);
        }
        if run.host_bound_steps() == 0 {
            let a = u128::from(step.ticks(&first));
            let growth = c.per_context * sequences + c.windowed.per_context * growing;
            let b = u128::from(growth) * u128::from(n * n.saturating_sub(1) / 2);
            prop_assert_eq!(u128::from(one_by_one), u128::from(n) * a + b);
        }
    }

    #[test]
    fn the_boundary_after_an_arrival_is_the_first_one(
        c in coefficients(), sequences in 1_u64..1_000, context in 1_u64..5_000_000,
        ticks in 0_u64..20_000_000_000_000_000, boundary in 0_u64..5_000,
    ) {
        let step = StepFunction::new(c, Calibration::Datasheet).unwrap();
        let pass = Pass { sequences, new_tokens: sequences, decode_context: context, ..Pass::default() };
        let run = step.decode_run(&pass, 0);
        let n = run.steps_to_reach(ticks);
        prop_assert!(run.sum(n).is_none_or(|sum| sum >= ticks));
        prop_assert!(n == 0 || run.sum(n - 1).unwrap() < ticks);
        let exact = run.sum(boundary).unwrap();
        prop_assert_eq!(run.steps_to_reach(exact), boundary);
        prop_assert_eq!(run.steps_to_reach(exact + 1), boundary + 1);
    }
}

#[test]
fn a_steep_ramp_is_inverted_too() {
    let run = DecodeRun { first: 1, growth: 1_000_000, host: 0 };
    assert_eq!(run.steps_to_reach(0), 0);
    assert_eq!(run.steps_to_reach(1), 1);
    assert_eq!(run.steps_to_reach(2), 2);
    assert_eq!(run.steps_to_reach(1_000_002), 2);
    assert_eq!(run.steps_to_reach(1_000_003), 3);
    assert_eq!(run.sum(u64::MAX), None);
    let never = DecodeRun { first: 1, growth: 0, host: 10 };
    assert_eq!((never.host_bound_steps(), never.sum(7), never.steps_to_reach(71)), (u64::MAX, Some(70), 8));
}

#[test]
fn each_term_counts_what_it_says() {
    let c = Coefficients {
        base: 1_000_000,
        per_sequence: 10,
        per_token: 100,
        gemm: Hinge { free: 300, slope: 7 },
        head: Hinge { free: 2, slope: 1_000 },
        windowed: Windowed { tokens: 50, per_context: 4, per_prefill_work: 6 },
        per_context: 3,
        per_prefill_work: 2,
        per_adapter: 5,
        host_base: 900_000,
        host_per_sequence: 100_000,
    };
    let step = StepFunction::new(c, Calibration::Imported).unwrap();
    let pass = Pass { sequences: 1, new_tokens: 1, decode_context: 10, ..Pass::default() };
    assert_eq!(step.ticks(&pass), 1_000_000 + 10 + 100 + 30);
    assert_eq!(step.ticks(&Pass { adapters: 3, ..pass }), 1_000_000 + 10 + 100 + 30 + 15);
    let verified = Pass { new_tokens: 4, drafts: 3, ..pass };
    assert_eq!(step.ticks(&verified), 1_000_000 + 10 + 400 + 30 + 2_000);
    let chunk = Pass { new_tokens: 310, decode_context: 0, prefill_work: Pass::chunk_work(90, 310), ..pass };
    assert_eq!(step.ticks(&chunk), 1_000_000 + 10 + 31_000 + 70 + 2 * 310 * 490);
    let windowed = Pass { windowed_context: 7, windowed_work: 11, ..pass };
    assert_eq!(step.ticks(&windowed), 1_000_000 + 10 + 100 + 30 + 28 + 66);
    let many = Pass { sequences: 5, new_tokens: 5, ..pass };
    assert_eq!(step.ticks(&many), 900_000 + 500_000, "the host is slower");
}

#[test]
fn extreme_work_is_neither_wrapped_nor_cut() {
    let c =
        Coefficients { base: MAX_COEFFICIENT, per_prefill_work: MAX_COEFFICIENT, ..Coefficients::default() };
    let step = StepFunction::new(c, Calibration::Datasheet).unwrap();
    let pass = Pass { prefill_work: 10_000, ..Pass::default() };
    assert_eq!(step.ticks(&pass), 10_001 << 50);
}

#[test]
#[should_panic(expected = "a pass of over 208 days")]
fn a_pass_beyond_64_bits_is_a_bug() {
    let c = Coefficients { base: 1, per_context: 1 << 20, ..Coefficients::default() };
    let step = StepFunction::new(c, Calibration::Datasheet).unwrap();
    step.ticks(&Pass { decode_context: u64::MAX, ..Pass::default() });
}

#[test]
fn coefficients_are_bounded() {
    let huge = Coefficients { base: 1, per_context: MAX_COEFFICIENT + 1, ..Coefficients::default() };
    let message = StepFunction::new(huge, Calibration::Fitted).unwrap_err().to_string();
    assert!(message.contains("per_context") && message.contains("2^50"), "{message}");
    assert!(StepFunction::new(Coefficients::default(), Calibration::Fitted).is_err());
}

#[test]
fn ticks_become_nanoseconds_upwards() {
    assert_eq!(nanos_ceil(0), SimDuration::ZERO);
    assert_eq!(nanos_ceil(1), SimDuration::from_nanos(1));
    assert_eq!(nanos_ceil(2048), SimDuration::from_nanos(2));
    assert_eq!(nanos_ceil(u64::MAX).as_nanos(), 1 << 54);
}

#[test]
fn the_badge_says_what_was_measured() {
    assert_eq!(Calibration::Datasheet.to_string(), "estimate (datasheet, uncalibrated)");
    assert_eq!(serde_json::to_string(&Calibration::Fitted).unwrap(), "\"fitted\"");
}
