//! Prompts that share their beginnings, and pools that know where those are.

use sim_models::request::Outcome;
use sim_models::system::RunPlan;

use super::{component, seconds, simulate};

/// Hit rate, median time to first token in seconds, and the busiest replica's calls over the mean.
fn chats(balancer: &str) -> (f64, f64, f64) {
    // 64 system prompts of 2,000 tokens; a replica's cache holds about 20 of them.
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"24/s\" }}\nentry = \"db\"\n\
         prompt_tokens = 2200\noutput_tokens = 60\n\
         prefixes = {{ count = 64, zipf = 0.7, tokens = 2000 }}\n\
         [components.db]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\nreplicas = 4\n\
         kv_blocks = 4000\nbalancer = {balancer}\n"
    );
    let plan = RunPlan { duration: seconds(300.0), warmup: seconds(60.0), windows: 1, ..RunPlan::default() };
    let output = simulate(&system, &plan);
    let (llm, pool) = (component(&output, "db").llm.as_ref().unwrap(), super::pool(&output));
    assert_eq!(output.conservation.ended[Outcome::Failed as usize], 0);
    let hits = llm.prefix_hit_tokens as f64 / llm.prefix_query_tokens as f64;
    let calls: Vec<f64> = pool.replicas.iter().map(|replica| replica.calls as f64).collect();
    let uneven = calls.iter().copied().fold(0.0, f64::max) * 4.0 / calls.iter().sum::<f64>();
    let ttft = output.requests[0].ttft.quantile(0.5).unwrap() as f64 / 1e9;
    println!("{balancer:60} hits {hits:.3}, ttft p50 {ttft:.3} s, busiest {uneven:.2}");
    (hits, ttft, uneven)
}

#[test]
fn who_knows_the_caches_hits_more() {
    let (blind, blind_ttft, _) = chats("\"round_robin\"");
    let (aware, aware_ttft, uneven) = chats("\"prefix_aware\"");
    let (hashed, ..) = chats("\"consistent_hash\"");
    let (bounded, _, bounded_uneven) = chats("{ consistent_hash = { load_factor = 1.25 } }");
    assert!(aware > blind + 0.1 && hashed > blind + 0.1 && bounded > blind + 0.1);
    assert!(aware_ttft < blind_ttft);
    assert!(uneven < 1.5 && bounded_uneven < 1.5, "{uneven} {bounded_uneven}");
}
