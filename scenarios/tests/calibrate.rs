//! Calibration to a benchmark's summary, and what cannot be calibrated. How well a calibration on requests of a real
//! server predicts other loads of it is seen by `validation::published`.

use scenarios::Loaded;
use scenarios::calibrate::{CalibrateOptions, calibrate};
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
"#;

fn server() -> Loaded {
    scenarios::parse(SERVER, "server.toml", ".".as_ref(), &[]).unwrap()
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
    let few = r#"{ "completed": 1, "request_throughput": 2.0, "total_input_tokens": 985, "total_output_tokens": 128,
        "mean_ttft_ms": 66.9, "mean_tpot_ms": 12.33 }"#;
    refused(few, "the means of 1 request say too little");
    refused("{ \"benchmarks\": [] }", "0 benchmarks");
    refused("{\n", "line");
    let options = CalibrateOptions { component: Some("llama".into()), ..CalibrateOptions::default() };
    let error = calibrate(&server(), "/no/such/file".as_ref(), &options).unwrap_err().to_string();
    assert!(error.contains("no llm pool `llama`"), "{error}");
}
