//! Calibration on one load of a real server, and prediction of others.
//!
//! The server: `vllm serve Qwen/Qwen3-14B` (vLLM 0.23, bf16) on one H100 (inference-sim/residency-vllm @ 2641b57;
//! the data are not part of the project).

use std::path::{Path, PathBuf};

use scenarios::Loaded;
use scenarios::calibrate::{CalibrateOptions, Calibrated, calibrate, errors, replay};
use sim_models::hardware::fitted::{Bench, Observation};
use sim_models::llm::LlmConfig;
use sim_models::system::ComponentConfig;

const SERVER: &str = r#"
name = "Qwen3-14B on an H100"
[traffic.web]
arrivals = { process = "poisson", rate = "2/s" }
entry = "qwen"
prompt_tokens = { constant = 985 }
output_tokens = { constant = 128 }
[components.qwen]
kind = "llm"
model = "qwen3-14b"
gpu = "h100-sxm"
max_num_batched_tokens = 8192
max_num_seqs = 256
kv_blocks = 18038
"#;

fn serving() -> Option<PathBuf> {
    let shared = std::env::var_os("TENFOLD_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let folder = shared.join("data/serving");
    if !folder.is_dir() {
        eprintln!("skipped: no {} (set TENFOLD_SHARED to the folder of measured data)", folder.display());
        return None;
    }
    Some(folder)
}

fn server() -> Loaded {
    scenarios::parse(SERVER, "server.toml", ".".as_ref(), &[]).unwrap()
}

fn pool(calibrated: &Calibrated) -> LlmConfig {
    let system = server().scenario.system();
    let Some(ComponentConfig::Llm(config)) = system.components.get("qwen") else { panic!("a pool") };
    LlmConfig { timing: calibrated.timing.clone(), ..(**config).clone() }
}

fn requests(path: &Path) -> Vec<Observation> {
    match Bench::open(path).unwrap() {
        Bench::Requests(requests) => requests,
        Bench::Means(_) => panic!("requests"),
    }
}

/// Calibrated on 2 requests/s alone, the server is predicted at 8 requests/s, and its capacity.
#[test]
fn two_requests_a_second_predict_eight_and_saturation() {
    let Some(folder) = serving() else { return };
    let bench = folder.join("qwen3-14b_h100_2rps.csv.gz");
    let calibrated = calibrate(&server(), &bench, &CalibrateOptions::default()).unwrap();
    let fit = calibrated.fit.as_ref().unwrap();
    println!(
        "{}\n{:?}\nfit {:?}\nheld back {:?}",
        calibrated.to_toml(),
        fit.measured,
        fit.errors,
        fit.held_back_errors
    );
    assert_eq!((fit.requests, fit.held_back), (848, 364));
    let held_back = fit.held_back_errors.unwrap();
    assert!(held_back.latency_mean.abs() < 0.04 && held_back.ttft_mean.abs() < 0.08, "{held_back:?}");
    assert!((1.0..1.25).contains(&fit.setting.fitted.compute), "the power limit costs 1.06 to 1.17");

    let config = pool(&calibrated);
    let measured = requests(&folder.join("qwen3-14b_h100_8rps.csv.gz"));
    let predicted = errors(&measured, &replay(&config, &measured).unwrap()).unwrap();
    println!("8/s {predicted:?}");
    for (error, most, what) in [
        (predicted.ttft_mean, 0.08, "mean time to first token"),
        (predicted.ttft_p99, 0.15, "99th percentile of the time to first token"),
        (predicted.tpot_mean, 0.04, "mean time per output token"),
        (predicted.latency_mean, 0.04, "mean latency"),
        (predicted.latency_p99, 0.06, "99th percentile of the latency"),
    ] {
        assert!(error.abs() <= most, "{what} at 8/s is {:+.1}% off", 100.0 * error);
    }

    // The saturated server served 17.2 to 17.5 requests/s at about 985 tokens in and 128 out. No figure
    // of saturation was fitted to. The noise of the measurements is 1.7%.
    for rate in [20.0, 30.0] {
        let all: Vec<Observation> = (0..6000)
            .map(|i| Observation {
                sent_s: f64::from(i) / rate,
                prompt_tokens: measured[i as usize % measured.len()].prompt_tokens,
                output_tokens: 128,
                ttft_s: 1.0,
                latency_s: 2.0,
            })
            .collect();
        let mut ends: Vec<f64> =
            replay(&config, &all).unwrap().iter().map(|answer| answer.sent_s + answer.latency_s).collect();
        ends.sort_by(f64::total_cmp);
        let served = 3600.0 / (ends[5400] - ends[1800]);
        println!("saturated at {rate}/s: {served:.2} requests/s");
        assert!((16.7..18.1).contains(&served), "{served:.2} requests/s in saturation at {rate}/s");
    }
}

/// A benchmark's summary is enough for a rough fit.
#[test]
fn a_summary_is_enough_for_the_gap_and_the_api_server() {
    let summary = r#"{ "completed": 1000, "request_throughput": 2.0, "total_input_tokens": 985000,
        "total_output_tokens": 128000, "mean_ttft_ms": 66.9, "mean_tpot_ms": 12.33 }"#;
    let folder = tempfile::tempdir().unwrap();
    let bench = folder.path().join("bench.json");
    std::fs::write(&bench, summary).unwrap();
    let calibrated = calibrate(&server(), &bench, &CalibrateOptions::default()).unwrap();
    assert!(calibrated.fit.is_none() && calibrated.badge.contains("fitted to the means of bench.json"));
    let frontend = calibrated.timing.frontend.request_us;
    assert!((2_000.0..12_000.0).contains(&frontend), "{frontend} us");
    // The fragment makes a scenario that is the same pool.
    let text = format!("{SERVER}{}", calibrated.to_toml());
    let again = scenarios::parse(&text, "server.toml", ".".as_ref(), &[]).unwrap();
    let Some(ComponentConfig::Llm(config)) = again.scenario.system().components.get("qwen").cloned() else {
        panic!("a pool")
    };
    assert_eq!(config.timing, calibrated.timing);
    assert_eq!(config.step_function().unwrap().badge(), calibrated.badge);
}

#[test]
fn what_cannot_be_calibrated_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |content: &str, part: &str| {
        let bench = folder.path().join("bench");
        std::fs::write(&bench, content).unwrap();
        let error = calibrate(&server(), &bench, &CalibrateOptions::default()).unwrap_err().to_string();
        assert!(error.contains(part), "{content}: {error}");
    };
    refused("", "send_us");
    refused("a,b\n1,2\n", "send_us");
    refused("send_us,input_tokens,output_tokens,ttft_us,e2e_us\n0,1,x,2,3\n", "line 2: `output_tokens`");
    refused("send_us,input_tokens,output_tokens,ttft_us,e2e_us\n0,1,1,2,3\n", "at least 30");
    refused("{}", "GuideLLM");
    refused("{ \"mean_ttft_ms\": 1 }", "completed");
    refused("{ \"benchmarks\": [] }", "0 benchmarks");
    refused("{\n", "line");
    let options = CalibrateOptions { component: Some("llama".into()), ..CalibrateOptions::default() };
    let error = calibrate(&server(), "/no/such/file".as_ref(), &options).unwrap_err().to_string();
    assert!(error.contains("no llm pool `llama`"), "{error}");
}
