//! Engines on spot capacity.

use super::*;

const INTERRUPTION: &str =
    "[[fault]]\nat = \"1s\"\ntarget = \"llm\"\nkind = \"spot_interruption\"\nreplicas = 1";

fn measure(output: &RunOutput, name: &str) -> f64 {
    llm(output).measure(name).unwrap_or_else(|| panic!("no {name}"))
}

/// The weights of the replica that comes in place of the first take twenty seconds over the network.
#[test]
fn another_engine_loads_its_weights_and_takes_over() {
    let work = [(0, 100, 2000), (0, 100, 2000), (2_000, 100, 10), (60_000, 100, 10), (60_000, 100, 10)];
    let of = |notice: &str| {
        let spot = format!("replicas = 2\nspot = {{ notice = \"{notice}\" }}\n{INTERRUPTION}");
        simulate(&work, &spot)
    };
    let output = of("0s");
    assert_eq!((outcomes(&output), measure(&output, "interrupted_calls")), ([4, 0, 0, 0, 1], 1.0));
    let loading = measure(&output, "cold_start_weights_s");
    assert!((loading - 20.0).abs() < 1.0, "{loading}");
    // The third call found one replica, the last two found two again.
    let calls = calls(&output);
    assert_eq!(calls.iter().filter(|calls| **calls > 0).count(), 3, "{calls:?}");
    let output = of("2m");
    assert_eq!((outcomes(&output), measure(&output, "interruptions")), ([5, 0, 0, 0, 0], 1.0));
    // Three are paid from the notice until the first has worked off its call.
    assert_eq!(measure(&output, "replicas_max"), 3.0);
}

/// Interruptions all the time, with prefixes in the caches of those that go: every call ends once.
#[test]
fn calls_end_once_whatever_is_taken_away() {
    let work: Vec<Work> =
        (0..600).map(|n| (n * 200, 50 + (n as u32 * 37) % 500, 1 + (n as u32 * 13) % 300)).collect();
    for (seed, notice) in [(1, "0s"), (2, "1s"), (3, "30s")] {
        let spot = format!(
            "replicas = 3\nmax_num_seqs = 8\ncold_start = {{ init = \"3s\" }}\n\
             spot = {{ mttf = \"15s\", notice = \"{notice}\", capacity_return = {{ exponential = {{ mean = \"5s\" }} }} }}"
        );
        let output = simulate_plan(&work, &spot, &RunPlan { seed, ..RunPlan::default() });
        assert!(measure(&output, "interruptions") > 5.0);
        let [ok, _, rejected, _, failed] = outcomes(&output);
        assert_eq!(ok + rejected + failed, 600);
        assert_eq!(failed as f64, measure(&output, "interrupted_calls"));
        assert!(ok > 300, "{ok}");
    }
}

#[test]
fn a_data_parallel_group_is_not_taken_apart() {
    let text = "[traffic.web]\narrivals = { process = \"poisson\", rate = \"1/s\" }\nentry = \"llm\"\n
                [components.llm]\nkind = \"llm\"\nmodel = \"mixtral-8x7b\"\ngpu = \"h100-sxm\"\n
                data_parallel_size = 4\nreplicas = 4\nspot = {}";
    let config: SystemConfig = toml::from_str(text).unwrap();
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert_eq!(error.path.join("."), "components.llm.spot");
}
