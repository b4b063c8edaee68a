use proptest::prelude::*;
use sim_core::time::SimTime;

use super::*;
use crate::hardware::catalogue::{gpu, model};
use crate::hardware::precision::Precision::Bf16;
use crate::hardware::profile::Profile;
use crate::llm::FrontEnd;
use crate::llm::engine::EngineConfig;
use crate::llm::replay::{Recorded, Replica};

/// What a server with this setting does with requests sent at these seconds.
fn server(setting: &Setting, sent: &[f64]) -> Result<Vec<Observation>, String> {
    let (gpu, model) = (gpu("h100-sxm").unwrap(), model("llama-3.1-8b").unwrap());
    let profile = Profile::of_gpu("h100-sxm").unwrap();
    let step = StepFunction::from_profile(profile, gpu, model, Bf16, Bf16, 1, true, Some(&setting.fitted));
    let replica = Replica {
        engine: EngineConfig { max_num_batched_tokens: 8192, ..EngineConfig::new(20_000) },
        step: step.map_err(|error| error.to_string())?,
        frontend: FrontEnd { request_us: setting.frontend_us, token_us: 0.0 },
    };
    let lengths = |i: usize| (400 + (i * 7919 % 600) as u32, 60 + (i * 104_729 % 90) as u32);
    let requests: Vec<Recorded> = sent
        .iter()
        .enumerate()
        .map(|(i, at)| Recorded {
            sent: SimTime::from_nanos((at * 1e9).round() as u64),
            prompt_tokens: lengths(i).0,
            output_tokens: lengths(i).1,
        })
        .collect();
    let answers = replica.replay(&requests)?;
    let seen = |((request, answer), sent): ((&Recorded, crate::llm::replay::Answered), &f64)| Observation {
        sent_s: *sent,
        prompt_tokens: request.prompt_tokens,
        output_tokens: request.output_tokens,
        ttft_s: answer.ttft.as_secs_f64(),
        latency_s: answer.latency.as_secs_f64(),
    };
    Ok(requests.iter().zip(answers).zip(sent).map(seen).collect())
}

fn arrivals(count: u64, rate: f64) -> Vec<f64> {
    let mut at = 0.0;
    (0..count)
        .map(|i| {
            let share = (sim_core::random::stable_hash(&i.to_le_bytes()) >> 11) as f64 / (1_u64 << 53) as f64;
            at -= libm::log1p(-share) / rate;
            at
        })
        .collect()
}

/// A server whose figures are known is found again, from a start that is far off.
#[test]
fn a_known_server_is_found() {
    let truth = Setting {
        fitted: Fitted {
            step_gap_us: Some(900.0),
            sequence_us: 60.0,
            wake_us: Some(3_000.0),
            ..Fitted::neutral(1.3, "truth")
        },
        frontend_us: 8_000.0,
    };
    let sent = arrivals(1_500, 4.0);
    let measured = server(&truth, &sent).unwrap();
    let start = Setting {
        fitted: Fitted { step_gap_us: Some(100.0), wake_us: Some(0.0), ..Fitted::neutral(1.0, "start") },
        frontend_us: 2_000.0,
    };
    let found = fit(&measured, start, 0.3, server).unwrap();
    let (fitted, errors) = (&found.setting.fitted, found.held_back_errors.unwrap());
    assert!((fitted.compute - 1.3).abs() < 0.06, "{found:?}");
    assert!((fitted.step_gap_us.unwrap() - 900.0).abs() < 120.0, "{found:?}");
    assert!((fitted.sequence_us - 60.0).abs() < 20.0, "{found:?}");
    assert!((found.setting.frontend_us - 8_000.0).abs() < 800.0, "{found:?}");
    assert!((fitted.wake_us.unwrap() - 3_000.0).abs() < 1_000.0, "{found:?}");
    for error in [errors.ttft_mean, errors.tpot_mean, errors.latency_mean] {
        assert!(error.abs() < 0.02, "{found:?}");
    }
}

#[test]
fn too_few_requests_and_impossible_times_are_refused() {
    let start = Setting { fitted: Fitted::neutral(1.0, "start"), frontend_us: 0.0 };
    let few = server(&start, &arrivals(20, 1.0)).unwrap();
    assert!(matches!(fit(&few, start.clone(), 0.0, server), Err(FitError::TooFew(20))));
    // Answers a hundred times faster than the weights can be read.
    let mut fast = server(&start, &arrivals(200, 1.0)).unwrap();
    for request in &mut fast {
        request.latency_s = request.ttft_s + (request.latency_s - request.ttft_s) / 100.0;
    }
    assert!(matches!(fit(&fast, start, 0.0, server), Err(FitError::NoFit(_))));
}

#[test]
fn figures_out_of_range_are_named() {
    for (bad, name) in [
        (Fitted::neutral(f64::NAN, "x"), "compute"),
        (Fitted { memory: 0.0, ..Fitted::neutral(1.0, "x") }, "memory"),
        (Fitted { sequence_us: -1.0, ..Fitted::neutral(1.0, "x") }, "sequence_us"),
        (Fitted { wake_us: Some(1e9), ..Fitted::neutral(1.0, "x") }, "wake_us"),
    ] {
        assert!(bad.check().unwrap_err().to_string().starts_with(name));
    }
}

#[test]
fn every_tool_is_read() {
    let one = Observation { sent_s: 0.0, prompt_tokens: 10, output_tokens: 3, ttft_s: 0.5, latency_s: 0.75 };
    let two = Observation { sent_s: 2.0, ..one };
    let close = |text: &str| {
        let Ok(Bench::Requests(requests)) = Bench::parse(text) else {
            panic!("{text}: {:?}", Bench::parse(text))
        };
        assert_eq!(requests.len(), 2, "{text}");
        for (found, wanted) in requests.iter().zip([one, two]) {
            assert!((found.sent_s - wanted.sent_s).abs() < 1e-6, "{text}: {found:?}");
            assert!(
                (found.latency_s - wanted.latency_s).abs() < 1e-6 && found.ttft_s == wanted.ttft_s,
                "{text}"
            );
            assert_eq!((found.prompt_tokens, found.output_tokens), (10, 3));
        }
    };
    close(
        r#"{"mean_ttft_ms": 500, "start_times": [100.0, 102.0], "input_lens": [10, 10], "output_lens": [3, 3],
            "ttfts": [0.5, 0.5], "itls": [[0.125, 0.125], [0.25]]}"#,
    );
    close(
        r#"{"benchmarks": [{"requests": {"successful": [
            {"request_start_time": 7.0, "request_end_time": 7.75, "prompt_tokens": 10, "output_tokens": 3,
             "time_to_first_token_ms": 500.0},
            {"start_time": 9.0, "end_time": 9.75, "prompt_tokens": 10, "output_tokens": 3,
             "time_to_first_token_ms": 500.0}]}}]}"#,
    );
    let line = |start: u64, phase: &str| {
        format!(
            r#"{{"metadata": {{"request_start_ns": {start}, "benchmark_phase": "{phase}"}}, "metrics": {{
            "input_sequence_length": {{"value": 10}}, "output_sequence_length": {{"value": 3}},
            "time_to_first_token": {{"value": 500, "unit": "ms"}}, "request_latency": {{"value": 750}}}}}}"#
        )
        .replace('\n', " ")
    };
    let ns = 1_000_000_000;
    close(&[line(ns, "warmup"), line(3 * ns, "profiling"), line(5 * ns, "profiling")].join("\n"));
    close(
        "send_us,input_tokens,output_tokens,ttft_us,e2e_us\n5000000,10,3,500000,750000\n7000000,10,3,500000,750000\n",
    );
    let summary = r#"{"time_to_first_token": {"avg": 66.0}, "inter_token_latency": {"avg": 12.0}, "request_throughput":
        {"avg": 2.0}, "input_sequence_length": {"avg": 985}, "output_sequence_length": {"avg": 128},
        "request_count": {"avg": 500}}"#;
    assert!(matches!(Bench::parse(summary), Ok(Bench::Means(Means { tpot_s: 0.012, requests: 500, .. }))));
    for (from, to, word) in [
        ("\"request_count\": {\"avg\": 500}", "\"requests\": 500", "a request without /request_count/avg"),
        ("500}", "0}", "a summary of no requests"),
        ("985", "0.5", "mean tokens of a prompt are 0.5: expected 1 or more"),
        ("66.0", "-66.0", "mean seconds to the first token are -0.066: expected a number above 0"),
    ] {
        let error = Bench::parse(&summary.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    let uneven = r#"{"mean_ttft_ms": 500, "start_times": [1.0, 2.0], "input_lens": [10, 10], "output_lens": [3],
        "ttfts": [0.5, 0.5], "itls": [[0.125, 0.125], [0.25]]}"#;
    assert!(Bench::parse(uneven).unwrap_err().contains("not equally long"));
}

proptest! {
    #[test]
    fn no_bench_file_panics(text in "[-{}\\[\\]\":,a-z0-9_.\n ]{0,200}", value in any::<f64>(), at in 0_usize..9) {
        let _ = Bench::parse(&text);
        let mut cells = [1.0; 9];
        cells[at] = value;
        let [a, b, c, d, e, f, g, h, i] = cells;
        let _ = Bench::parse(&format!("send_us,input_tokens,output_tokens,ttft_us,e2e_us\n{a},{b},{c},{d},{e}\n"));
        let _ = Bench::parse(&format!(
            r#"{{"mean_ttft_ms": {f}, "completed": {g}, "request_throughput": {h}, "total_input_tokens": {i},
                "total_output_tokens": {a}, "mean_tpot_ms": {b}}}"#
        ));
    }
}
