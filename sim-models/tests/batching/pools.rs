//! The same in a pool of a system.

use sim_core::time::SimDuration;
use sim_models::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

fn simulate(settings: &str) -> RunOutput {
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"batch\", rate = \"20/s\", size = 3 }}\nentry = \"llm\"\n\
         prompt_tokens = {{ lognormal = {{ mean = 300, cv = 1, max = 2000 }} }}\n\
         output_tokens = {{ lognormal = {{ mean = 80, cv = 1, max = 1000 }} }}\n\
         [components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n{settings}"
    );
    let config: SystemConfig = toml::from_str(&system).unwrap();
    let (duration, drain) = (SimDuration::from_secs(20), SimDuration::from_secs(1_000));
    let plan = RunPlan { duration, drain, ..RunPlan::default() };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

#[test]
fn every_way_serves_all_with_either_engine() {
    let ways = [
        "batching = \"static\"",
        "batching = \"dynamic\"\ndynamic_batching = { max_queue_delay_microseconds = 50000 }",
        "batching = \"dynamic\"\nmax_num_seqs = 8\ndynamic_batching = { preferred_batch_size = [4, 8] }",
        "kv_allocation = \"contiguous\"",
        "kv_allocation = \"contiguous\"\nreservation = \"pow2\"\nmax_model_len = 4096",
        "batching = \"static\"\nkv_allocation = \"contiguous\"\nreservation = \"oracle\"\nkv_blocks = 1000",
    ];
    let latency = |output: &RunOutput| output.requests[0].latency.mean().unwrap();
    let best = latency(&simulate(""));
    for way in ways {
        let [fast, stepwise] =
            ["fast", "stepwise"].map(|kind| simulate(&format!("{way}\nengine = \"{kind}\"")));
        assert_eq!(fast.outcome_hash, stepwise.outcome_hash, "{way}");
        assert!(
            fast.conservation.born > 300 && fast.conservation.ended[0] == fast.conservation.born,
            "{way}"
        );
        let utilization = |output: &RunOutput| {
            let llm = output.components.iter().find(|component| component.name == "llm").unwrap();
            llm.measure("kv_utilization").unwrap()
        };
        assert_eq!(utilization(&fast), utilization(&stepwise), "{way}");
        println!("{:.2} {:.3} {way}", latency(&fast) / best, utilization(&fast));
        assert!(latency(&fast) >= best, "{way}");
    }
}
