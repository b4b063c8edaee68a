//! What breaks, by the script and at random.

use sim_models::request::Outcome;

use super::*;

/// `edge` calls `db`, which takes so long, over a link with these settings.
fn chain(time: &str, settings: &str, faults: &str) -> String {
    each_second(&format!(
        "{}{}{}{faults}",
        flow("edge", "\"db\""),
        service("db", &format!("service_time = \"{time}\"\nreplicas = 1\nhealth = \"none\"")),
        link("edge -> db", settings)
    ))
}

fn fault(kind: &str, target: &str, settings: &str) -> String {
    format!("[[fault]]\nkind = \"{kind}\"\ntarget = \"{target}\"\n{settings}\n")
}

fn outcomes(output: &RunOutput) -> [u64; 5] {
    assert!(output.conservation.holds());
    output.conservation.ended
}

/// Requests at 1, 2, ..., 10 s; the link is cut from 3.5 s to 6.5 s.
#[test]
fn a_partition_loses_calls_until_their_timeout_or_fails_them_at_once() {
    let cut = "at = \"3500ms\"\nrepair = \"3s\"";
    for (kind, target) in [("partition", "edge -> db"), ("outage", "db")] {
        let faults = fault(kind, target, cut);
        let output = simulate(&chain("10ms", "timeout = \"500ms\"", &faults));
        assert_eq!((meter(&output, "db").calls, outcomes(&output)[0]), (7, 7), "{kind}");
        // Those that are lost take the whole timeout.
        assert_eq!(meter(&output, "edge").latency.sum(), u128::from((7 * 10 + 3 * 500) * MILLISECOND));
        assert_eq!(output.conservation.in_flight, 0);

        let output = simulate(&chain("10ms", "timeout = \"500ms\"", &format!("{faults}fail_fast = true\n")));
        assert_eq!((meter(&output, "db").calls, outcomes(&output)), (7, [7, 0, 0, 0, 3]), "{kind}");
        assert_eq!(meter(&output, "edge").latency.sum(), u128::from(7 * 10 * MILLISECOND));

        let output = simulate(&chain("10ms", "", &faults));
        assert_eq!((outcomes(&output)[0], output.conservation.in_flight), (7, 3), "{kind}");
    }
}

/// The answer to the third request would come at 3.8 s; its caller waits until 3.9 s.
#[test]
fn a_partition_loses_answers_too() {
    let faults = fault("partition", "edge -> db", "at = \"3500ms\"\nrepair = \"350ms\"");
    let output = simulate(&chain("800ms", "timeout = \"900ms\"", &faults));
    assert_eq!((meter(&output, "db").outcomes[Outcome::Ok as usize], outcomes(&output)[0]), (10, 9));
    assert_eq!(output.conservation.in_flight, 0);
    // With retries a lost attempt is made again: at 3.9 s the link is there.
    let retried =
        simulate(&chain("800ms", "per_try_timeout = \"900ms\"\nretry = { max_attempts = 2 }", &faults));
    assert_eq!((meter(&retried, "db").calls, outcomes(&retried)[0]), (11, 10));
}

/// Requests at 1, 2, ..., 10 s; the third is in the flow when it crashes.
#[test]
fn a_crash_fails_what_is_in_a_flow_and_what_comes_until_the_repair() {
    let crash = fault("crash", "edge", "at = \"3500ms\"\nrepair = \"3s\"");
    let output = simulate(&chain("800ms", "", &crash));
    assert_eq!(outcomes(&output), [6, 0, 0, 0, 4]);
    // Its call is cancelled half-way.
    assert_eq!((meter(&output, "db").calls, busy(&output, "db")), (7, 6.0 * 800.0 + 500.0));
}

#[test]
fn a_cold_cache_is_filled_again() {
    let store = "[components.edge]\nkind = \"feature_store\"\nfeatures = 1\nlookup = \"1ms\"\ncache = { capacity = 9 }\n";
    let hits = |faults: &str| {
        let system = each_second(&format!("entities = {{ count = 1 }}\n{store}{faults}"));
        let output = simulate(&system);
        assert_eq!(outcomes(&output), [10, 0, 0, 0, 0]);
        let edge = output.components.iter().find(|component| component.name == "edge").unwrap();
        edge.measure("cache_hit_ratio").unwrap()
    };
    assert_eq!(hits(""), 0.9);
    assert_eq!(hits(&fault("cold_cache", "edge", "at = \"5500ms\"")), 0.8);
    let semantic = format!(
        "topics = {{ count = 1, zipf = 1 }}\n[components.edge]\nkind = \"semantic_cache\"\ncall = \"db\"\n\
         same_intent = {{ mean = 1.0, sd = 0.001 }}\ndifferent_intent = {{ mean = 0.0, sd = 0.001 }}\n{}",
        service("db", "service_time = \"1ms\"")
    );
    for (faults, asked) in [(String::new(), 1), (fault("cold_cache", "edge", "at = \"5500ms\""), 2)] {
        let output = simulate(&each_second(&format!("{semantic}{faults}")));
        assert_eq!(meter(&output, "db").calls, asked);
    }
    // The prefix cache of an LLM: ten prompts of 40 tokens that begin with the same 32, of two blocks. The first
    // finds none, nor does the first after the fault, with either engine.
    for engine in ["fast", "stepwise"] {
        let llm = format!(
            "prompt_tokens = 40\noutput_tokens = 5\nprefixes = {{ count = 1, tokens = 32 }}\n[components.edge]\nkind = \"llm\"\n\
             model = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\nengine = \"{engine}\"\n"
        );
        let hits = |faults: &str| {
            let output = simulate(&each_second(&format!("{llm}{faults}")));
            assert_eq!(outcomes(&output), [10, 0, 0, 0, 0]);
            let edge = output.components.iter().find(|component| component.name == "edge").unwrap();
            edge.llm.as_ref().unwrap().prefix_hit_tokens
        };
        assert_eq!(hits(""), 9 * 32);
        assert_eq!(hits(&fault("cold_cache", "edge", "at = \"5500ms\"")), 8 * 32);
        // What a sequence uses stays known: at 6.005 s one is at work.
        assert_eq!(hits(&fault("cold_cache", "edge", "at = \"6005ms\"")), 9 * 32);
    }
}

/// Up for exponential times of 90 s on average, down for 10 s (by several laws): 90% of the calls succeed.
#[test]
fn availability_is_mtbf_over_mtbf_plus_mttr() {
    for repair in
        ["\"10s\"", "{ exponential = { mean = \"10s\" } }", "{ lognormal = { mean = \"10s\", cv = 2 } }"]
    {
        let system = each_second(&format!(
            "{}{}",
            service("edge", "service_time = \"0s\"\nreplicas = 1\nhealth = \"none\""),
            fault("crash", "edge", &format!("mtbf = \"90s\"\nrepair = {repair}"))
        ));
        let shares: Vec<f64> = (0..30)
            .map(|seed| {
                let plan = RunPlan { duration: SimDuration::from_secs(8_000), seed, ..ten_seconds() };
                let ended = outcomes(&simulate_with(&system, &plan));
                ended[Outcome::Ok as usize] as f64 / ended.iter().sum::<u64>() as f64
            })
            .collect();
        let count = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let variance =
            shares.iter().map(|share| (share - mean) * (share - mean)).sum::<f64>() / (count - 1.0);
        let error = (variance / count).sqrt();
        println!("repair {repair:45} {mean:.4} +- {error:.4}");
        assert!((mean - 0.9).abs() <= 4.0 * error && error < 0.005, "{repair}: {mean} +- {error}");
    }
}

/// The times of a fault at random are its own: another fault, component or call does not move them.
#[test]
fn variants_break_alike() {
    let random = |kind: &str, more: &str| {
        fault(kind, "db", &format!("mtbf = \"2s\"\nrepair = {{ exponential = {{ mean = \"1s\" }} }}\n{more}"))
    };
    let plan = RunPlan { duration: SimDuration::from_secs(500), ..ten_seconds() };
    let failed = |faults: &str, settings: &str| {
        let output = simulate_with(&chain("1ms", settings, faults), &plan);
        meter(&output, "db").outcomes[Outcome::Failed as usize]
    };
    let crash = random("crash", "");
    let alone = failed(&crash, "");
    assert!((100..250).contains(&alone), "{alone}");
    assert_eq!(failed(&format!("{}{crash}", random("slow", "factor = 2")), ""), alone);
    let other = service("other", "service_time = \"1ms\"");
    let breaks = fault("crash", "other", "mtbf = \"2s\"\nrepair = { exponential = { mean = \"1s\" } }");
    assert_eq!(failed(&format!("{other}{breaks}{crash}"), "timeout = \"1s\""), alone);
    // Another of the same kind on the same target has times of its own.
    assert!(failed(&format!("{crash}{crash}"), "") > alone);
}

#[test]
fn mistakes_are_told() {
    for (kind, target, settings, key) in [
        ("crash", "db", "", "at"),
        ("crash", "db", "at = \"1s\"\nmtbf = \"1s\"", "mtbf"),
        ("crash", "db", "mtbf = \"0s\"\nrepair = \"1s\"", "mtbf"),
        ("crash", "db", "mtbf = \"1s\"", "repair"),
        ("crash", "edge -> db", "at = \"1s\"", "target"),
        ("partition", "db", "at = \"1s\"", "target"),
        ("partition", "db -> edge", "at = \"1s\"", "target"),
        ("zone_loss", "zone-a", "at = \"1s\"", "target"),
        ("cold_cache", "db", "at = \"1s\"", "kind"),
        ("cold_cache", "db", "at = \"1s\"\nrepair = \"1s\"", "repair"),
        ("stock_out", "db", "at = \"1s\"", "kind"),
        ("slow", "edge", "at = \"1s\"\nfactor = 2", "kind"),
        ("outage", "db", "at = \"1s\"\nshare = 0.5", "share"),
        ("crash", "db", "at = \"1s\"\nfail_fast = true", "fail_fast"),
    ] {
        let error = refusal(&chain("1ms", "", &fault(kind, target, settings)));
        assert_eq!(error.path, ["fault", "0", key], "{kind} {target} {settings}");
        assert!(error.help.is_some(), "{kind} {target} {settings}: {error}");
    }
    for placement in ["db = [\"a\", \"b\"]", "dbs = \"a\"", "db = []"] {
        // A service without replicas is in one zone.
        let alone = chain("1ms", "", &format!("[placement]\n{placement}"));
        let error = refusal(&alone.replace("replicas = 1\n", "").replace("health = \"none\"\n", ""));
        assert_eq!(error.path[0], "placement");
        assert!(error.help.is_some(), "{placement}");
    }
}
