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

/// Eight times a minute somebody asks a model: prompts of 1,000 tokens, answers of 100. Tokens of prompts and those found
/// in the cache, a minute.
fn asked(traffic: &str, flow: &str, pool: &str) -> [f64; 2] {
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"1/min\" }}\n{traffic}\n\
         prompt_tokens = 1000\noutput_tokens = 100\n{flow}\n\
         [components.tool]\nkind = \"service\"\nservice_time = \"2s\"\nservers = 10\n\
         [components.db]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n{pool}\n"
    );
    let plan = RunPlan { duration: seconds(1230.0), drain: seconds(100.0), windows: 1, ..RunPlan::default() };
    let output = simulate(&system, &plan);
    let llm = component(&output, "db").llm.as_ref().unwrap();
    assert_eq!(output.conservation.ended[Outcome::Ok as usize], output.conservation.born);
    assert_eq!(llm.answered.calls, 160);
    [llm.answered.prompt_tokens, llm.prefix_hit_tokens].map(|tokens| tokens as f64 / 20.0)
}

/// The same by an agent, whose tools return 300 tokens.
fn agent(flow: &str, pool: &str) -> [f64; 2] {
    asked("entry = \"agent\"", flow, pool)
}

/// Tokens of eight prompts, each 400 longer than the one before, and those of them in whole blocks of 16 that the one
/// before computed: it leaves out its answer's last token.
fn eight_turns() -> [f64; 2] {
    let prompts = [0, 1, 2, 3, 4, 5, 6, 7].map(|turn| 1_000 + 400 * turn);
    let found = prompts[..7].iter().map(|prompt| (prompt + 99) / 16 * 16).sum::<u32>();
    [f64::from(prompts.iter().sum::<u32>()), f64::from(found)]
}

#[test]
fn an_agent_reads_again_what_it_said_before() {
    let flow = |step: &str| format!("[components.agent]\nkind = \"flow\"\nsteps = [{step}]\n");
    let apart = agent(&flow("{ call = \"db\", repeat = 8 }"), "");
    assert_eq!(apart, [8_000.0, 0.0], "calls of their own");
    let loops = flow("{ call = \"db\", repeat = 8, appended_tokens = 300 }");
    let expected = eight_turns();
    assert_eq!(agent(&loops, ""), expected);
    // With a tool between the model's turns it is a flow that is called again and again.
    let nested = flow("{ call = \"turn\", repeat = 8, appended_tokens = 300 }")
        + "[components.turn]\nkind = \"flow\"\nsteps = [\"db\", \"tool\"]\n";
    assert_eq!(agent(&nested, ""), expected);
    // What comes after the loop goes on with it.
    let after = flow("{ call = \"db\", repeat = 7, appended_tokens = 300 }, \"tool\", \"db\"");
    assert_eq!(agent(&after, ""), expected);
    assert_eq!(agent(&loops, "enable_prefix_caching = false"), [expected[0], 0.0]);
    // Thoughts of 20 tokens, and then the answer.
    let thoughts = flow("{ call = \"db\", repeat = 8, appended_tokens = 380, answer_tokens = 20 }");
    let found = (0..7).map(|turn| (1_000 + 400 * turn + 19) / 16 * 16).sum::<u32>();
    assert_eq!(agent(&thoughts, ""), [expected[0], f64::from(found)]);
    // Where there are several caches, turns must stay with theirs.
    assert_eq!(agent(&loops, "replicas = 4\nbalancer = \"consistent_hash\""), expected);
    assert_eq!(agent(&loops, "replicas = 4\nbalancer = { prefix_aware = { beta = 0 } }"), expected);
    // At random, or where the load as it was last read counts as much: some do not.
    for balancer in ["random", "prefix_aware"] {
        let [_, found] = agent(&loops, &format!("replicas = 4\nbalancer = \"{balancer}\""));
        assert!(found < 0.8 * expected[1], "{balancer}: {found} of {}", expected[1]);
    }
}

#[test]
fn a_user_who_comes_back_is_remembered() {
    let session = |turns: u32| {
        format!("entry = \"db\"\nsessions = {{ turns = {turns}, think = \"2s\", appended_tokens = 300 }}")
    };
    let expected = eight_turns();
    assert_eq!(asked(&session(8), "", ""), expected);
    assert_eq!(asked(&session(8), "", "replicas = 4\nbalancer = \"consistent_hash\""), expected);
    assert_eq!(asked(&session(8), "", "replicas = 4\nbalancer = { prefix_aware = { beta = 0 } }"), expected);
    // Keys and values are an adapter's own, and a session has one.
    assert_eq!(asked(&session(8), "", "lora = { adapters = 8, max_loras = 4 }"), expected);
    let [_, found] = asked(&session(8), "", "replicas = 4\nbalancer = \"random\"");
    assert!(found < 0.8 * expected[1], "{found} of {}", expected[1]);
    // An agent in a session: four turns ask twice each, and of what it did only the answer is kept.
    let agent = "[components.agent]\nkind = \"flow\"\nsteps = [{ call = \"db\", repeat = 2, appended_tokens = 150 }]\n";
    let turns = session(4).replace("db", "agent");
    let prompts = [0, 1, 2, 3].map(|turn| 1_000 + 400 * turn);
    let whole = |tokens: u32| f64::from(tokens / 16 * 16);
    let sent = prompts.map(|prompt| f64::from(2 * prompt + 250)).iter().sum::<f64>();
    // In its own conversation all but its last answer's end; in the session up to the last prompt.
    let within = prompts.map(|prompt| whole(prompt + 99)).iter().sum::<f64>();
    let across = prompts[..3].iter().map(|prompt| whole(*prompt)).sum::<f64>();
    for pool in ["", "replicas = 4\nbalancer = \"consistent_hash\""] {
        assert_eq!(asked(&turns, agent, pool), [sent, within + across], "{pool}");
    }
}
