//! Pools on a GPU that they share.

use super::*;
use crate::system::ComponentConfig;

const TURNS: &str = "sharing = \"time_slicing\"\ncontext_switch = \"0s\"";

/// Systems of two pools of Llama-3.1-8B, `a` and `b`, on `gpu0`, an H100, with a request each a second.
fn system(sharing: &str, a: &str, b: &str) -> SystemConfig {
    let mut text = format!("[devices.gpu0]\ngpu = \"h100-sxm\"\n{sharing}\n");
    for (name, settings) in [("a", a), ("b", b)] {
        write!(
            text,
            "[traffic.to_{name}]\nentry = \"{name}\"\nprompt_tokens = 500\noutput_tokens = 50\n
             arrivals = {{ process = \"deterministic\", rate = \"1/s\" }}\n
             [components.{name}]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ndevice = \"gpu0\"\n
             gpu_memory_utilization = 0.45\nasync_scheduling = false\nmax_num_batched_tokens = 2048\n{settings}\n"
        )
        .unwrap();
    }
    toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn simulate(config: &SystemConfig) -> RunOutput {
    let plan = RunPlan {
        duration: SimDuration::from_millis(1_500),
        drain: SimDuration::from_secs(60),
        ..RunPlan::default()
    };
    let output = run(build(config, &plan, &Traces::new()).unwrap(), &plan).unwrap();
    assert_eq!(output.conservation.in_flight, 0);
    output
}

/// How long the calls of each pool took together, in nanoseconds.
fn times(config: &SystemConfig) -> [u64; 2] {
    let output = simulate(config);
    ["a", "b"].map(|name| {
        let pool = output.components.iter().find(|component| component.name == name).unwrap();
        pool.meter.latency.sum() as u64
    })
}

/// How long one request takes alone on the whole GPU.
fn alone() -> u64 {
    nanos(steps(1, 500, 50).iter().sum())
}

#[track_caller]
fn close(measured: u64, expected: f64) {
    let off = measured as f64 - expected;
    assert!(off.abs() <= 200.0, "{measured} for {expected}");
}

#[test]
fn turns_double_the_time_of_two() {
    let [a, b] = times(&system(TURNS, "", ""));
    close(a, 2.0 * alone() as f64);
    close(b, 2.0 * alone() as f64);
    // A turn of 2 ms, a switch of 0.1 ms.
    close(times(&system("sharing = \"time_slicing\"", "", ""))[0], 2.1 * alone() as f64);
}

#[test]
fn replicas_are_processes_of_their_own() {
    let work = [(0, 500, 50), (0, 500, 50)];
    let device = format!(
        "device = \"gpu0\"\ngpu_memory_utilization = 0.45\nreplicas = 2\n[devices.gpu0]\ngpu = \"h100-sxm\"\n{TURNS}"
    );
    let output = super::simulate(&work, &device);
    assert_eq!(calls(&output), [1, 1]);
    close(requests(&output).latency.min().unwrap(), 2.0 * alone() as f64);
    let bill: Vec<_> = output.costs.iter().map(|line| (line.component.as_str(), line.units)).collect();
    assert_eq!(bill, [("llm", 2.0)]);
}

#[test]
fn who_works_longer_is_alone_in_the_end() {
    // A server's execution of 100 ms, done after 200 ms; the rest of the request is at full speed.
    let mut config = system(TURNS, "", "");
    let server = "kind = \"model_server\"\ndevice = \"gpu0\"\nexecution = { fixed = \"100ms\" }";
    config.components.insert("b".into(), toml::from_str(server).unwrap());
    let [a, b] = times(&config);
    assert!(alone() > 150_000_000);
    close(a, alone() as f64 + 1e8);
    close(b, 2e8);
}

#[test]
fn side_by_side_there_is_a_gain_and_a_limit() {
    close(times(&system("sharing = \"mps\"\noverlap_gain = 0.5", "", ""))[0], alone() as f64 * 2.0 / 1.25);
    let [a, b] = times(&system("sharing = \"mps\"\noverlap_gain = 0", "active_thread_percentage = 25", ""));
    // A quarter and three quarters; then the quarter goes on alone.
    close(b, alone() as f64 / 0.75);
    close(a, alone() as f64 * 4.0);
}

#[test]
fn slices_have_their_own_speed_and_memory_and_feel_nobody() {
    let mig = |a: &str, b: &str| {
        let settings = |profile: &str| format!("mig_profile = \"{profile}\"");
        let mut config = system("sharing = \"mig\"", &settings(a), &settings(b));
        for name in ["a", "b"] {
            let ComponentConfig::Llm(pool) = &mut config.components[name] else { panic!() };
            pool.gpu_memory_utilization = 0.92;
        }
        config
    };
    let [half, quarter] = times(&mig("4g.40gb", "2g.20gb"));
    // Decoding reads the weights, at 4 and 2 of 8 parts of the bandwidth.
    assert!((1.6..2.4).contains(&(half as f64 / alone() as f64)), "{half}");
    assert!((1.7..2.2).contains(&(quarter as f64 / half as f64)), "{quarter} {half}");
    // Whatever the other one does.
    assert_eq!(times(&mig("4g.40gb", "3g.40gb"))[0], half);
    // The blocks are those of the slice: 0.92 of 39.5 GiB without the weights, 0.75 GiB and the fp32
    // logits of 256 sequences, twice.
    let output = simulate(&mig("4g.40gb", "2g.20gb"));
    let blocks = |name: &str| {
        let pool = output.components.iter().find(|component| component.name == name).unwrap();
        f64::from(pool.llm.as_ref().unwrap().kv_blocks)
    };
    let gib = |bytes: f64| bytes * f64::from(1 << 30);
    let logits = 256.0 * 8.0 * 128_256.0;
    let expected = |memory: f64| (gib(0.92 * memory - 0.75) - 16.06e9 - logits) / (131_072.0 * 16.0);
    for (name, memory) in [("a", 39.5), ("b", 19.62)] {
        assert!(
            (blocks(name) / expected(memory) - 1.0).abs() < 0.005,
            "{} {}",
            blocks(name),
            expected(memory)
        );
    }
    // The bill goes by memory slices.
    let bill: Vec<f64> = output.costs.iter().map(|line| line.usd_per_hour).collect();
    assert!((bill[0] / bill[1] - 2.0).abs() < 1e-9, "{bill:?}");
    // Step times of a slice were never measured.
    let calibration = &output.components[2].llm.as_ref().unwrap().calibration;
    assert_eq!(calibration, "estimate (datasheet, uncalibrated)");
}

#[test]
fn a_crash_leaves_the_gpu_to_the_other() {
    let mut config = system(TURNS, "", "");
    let fault = "at = \"1100ms\"\ntarget = \"b\"\nkind = \"crash\"";
    config.faults.push(toml::from_str(fault).unwrap());
    // Both at half speed for the 100 ms from the arrival at 1 s on.
    close(times(&config)[0], alone() as f64 + 0.5e8);
}

fn refusal(config: &SystemConfig) -> (String, String) {
    let error = build(config, &RunPlan::default(), &Traces::new()).expect_err("a mistake");
    (error.path.join("."), error.to_string())
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (sharing, settings, path, part) in [
        (TURNS, "gpu = \"h100-sxm\"", "device", "keep one of the two"),
        (TURNS, "tensor_parallel = 2", "tensor_parallel", "one GPU"),
        (TURNS, "price_per_gpu_hour = \"$2/h\"", "price_per_gpu_hour", "of the device"),
        (TURNS, "mig_profile = \"1g.10gb\"", "mig_profile", "sharing = \"mig\""),
        ("sharing = \"mig\"", "", "mig_profile", "not given"),
        ("sharing = \"mig\"", "mig_profile = \"1g.10gb\"", "model", "does not fit"),
        (
            "sharing = \"mig\"",
            "mig_profile = \"3g.40gb\"\ntiming = { source = \"profile\" }",
            "timing.source",
            "slice",
        ),
    ] {
        let (place, text) = refusal(&system(sharing, settings, ""));
        assert_eq!(place, format!("components.a.{path}"), "{settings}: {text}");
        assert!(text.contains(part), "{settings}: {text}");
    }
    // vLLM's default share of the memory, twice.
    let mut config = system(TURNS, "", "");
    for name in ["a", "b"] {
        let ComponentConfig::Llm(pool) = &mut config.components[name] else { panic!() };
        pool.gpu_memory_utilization = 0.92;
    }
    let (place, text) = refusal(&config);
    assert_eq!(place, "devices.gpu0");
    assert!(text.contains("GiB short") && text.contains("a 73."), "{text}");
    let mut config = system(TURNS, "", "");
    let ComponentConfig::Llm(pool) = &mut config.components["a"] else { panic!() };
    pool.device = None;
    assert_eq!(refusal(&config).0, "components.a.gpu");
    let mut config = system("sharing = \"mig\"", "mig_profile = \"3g.40gb\"", "mig_profile = \"3g.40gb\"");
    let ComponentConfig::Llm(pool) = &mut config.components["a"] else { panic!() };
    (pool.device, pool.gpu) = (None, Some("h100-sxm".into()));
    assert_eq!(refusal(&config).0, "components.a.mig_profile");
}
