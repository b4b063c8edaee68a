//! What flows make of their steps.

use super::*;

#[test]
fn steps_run_in_order_branches_at_once_and_rounds_one_by_one() {
    let system = format!(
        "{}{}{}",
        flow(
            "edge",
            "\"fast\", { parallel = [\"fast\", \"slow\"], repeat = 2 }, { call = \"slow\", repeat = 3 }"
        ),
        service("fast", "service_time = \"1ms\""),
        service("slow", "service_time = \"20ms\"")
    );
    let output = simulate(&each_second(&system));
    assert_all(&output, Outcome::Ok);
    assert_latency(&output, 1 + 2 * 20 + 3 * 20);
    assert_eq!((meter(&output, "fast").calls, meter(&output, "slow").calls), (30, 50));
}

#[test]
fn rounds_follow_their_law_and_do_not_depend_on_the_system() {
    let rounds = |service_time: &str| {
        let steps = "{ call = \"db\", repeat = { uniform = { min = 1, max = 3 } } }, \"other\", { call = \"other\", \
                     repeat = { uniform = { min = 1, max = 3 } } }";
        let system = format!(
            "{}{}{}",
            flow("edge", steps),
            service("db", &format!("service_time = \"{service_time}\"")),
            service("other", "service_time = \"1ms\"")
        );
        let text = each_second(&system).replace("1/s", "1000/s");
        let output = simulate(&text);
        assert_all(&output, Outcome::Ok);
        let latency = output.requests[0].latency.mean().unwrap() / MILLISECOND as f64;
        (output.conservation.born as f64, meter(&output, "db").calls, meter(&output, "other").calls, latency)
    };
    let (born, db, other, latency) = rounds("1ms");
    // A quarter once, a half twice, a quarter three times.
    for mean in [db as f64 / born, other as f64 / born - 1.0, (latency - 1.0) / 2.0] {
        assert!((mean - 2.0).abs() < 0.03, "{mean}");
    }
    // Two steps draw by themselves: with twice the same number the latency of a thousandth would be between.
    let (_, again, and_other, slower) = rounds("20ms");
    assert_eq!((again, and_other), (db, other));
    assert!((slower - latency - 19.0 * db as f64 / born).abs() < 0.01, "{latency} {slower}");
}

#[test]
fn a_degraded_step_makes_a_degraded_answer() {
    let system = format!(
        "{}[components.features]\nkind = \"feature_store\"\nfeatures = 3\nlookup = \"9ms\"\nread_timeout = \"2ms\"\n{}",
        flow("edge", "\"features\", \"model\""),
        service("model", "service_time = \"10ms\"")
    );
    let output = simulate(&each_second(&system));
    assert_all(&output, Outcome::Degraded);
    assert_latency(&output, 3 * 2 + 10);
    assert_eq!(output.requests[0].answered(), 10);
}

#[test]
fn a_parallel_step_fails_fast_and_cancels_the_other_branches() {
    let system = format!(
        "{}{}{}{}",
        flow("edge", "{ parallel = [\"slow\", \"broken\", \"slow\"] }, \"after\""),
        service("slow", "service_time = \"100ms\""),
        service("broken", "service_time = \"5ms\"\nerror_rate = 1"),
        service("after", "service_time = \"1ms\"")
    );
    let output = simulate(&each_second(&system));
    assert_all(&output, Outcome::Failed);
    assert_eq!(meter(&output, "edge").latency.max(), Some(5 * MILLISECOND));
    assert_eq!(busy(&output, "slow"), 20.0 * 5.0);
    assert_eq!(meter(&output, "after").calls, 0);
}

#[test]
fn a_refused_branch_is_the_answer() {
    let system = format!(
        "{}{}[components.full]\nkind = \"service\"\nservice_time = \"1h\"\nqueue_cap = 0\n",
        flow("edge", "{ parallel = [\"slow\", \"full\"] }"),
        service("slow", "service_time = \"100ms\"")
    );
    let output =
        simulate_with(&each_second(&system), &RunPlan { drain: SimDuration::from_secs(1), ..ten_seconds() });
    assert_eq!(output.conservation.ended, [0, 0, 9, 0, 0]);
    assert_eq!(output.conservation.in_flight, 1);
    assert_eq!(busy(&output, "slow"), 100.0);
}

#[test]
fn no_order_of_simultaneous_events_lets_a_cancellation_overtake_its_call() {
    // The broken branch fails at the instant at which both are called.
    let system = format!(
        "{}{}{}{}",
        flow("edge", "{ parallel = [\"slow\", \"broken\", \"inner\"] }"),
        flow("inner", "\"slow\""),
        service("slow", "service_time = \"100ms\""),
        service("broken", "service_time = \"0s\"\nerror_rate = 1"),
    );
    for (latency, seed) in
        ["0s", "3ms"].into_iter().flat_map(|latency| (0..16).map(move |seed| (latency, seed)))
    {
        let links =
            ["slow", "inner"].map(|to| link(&format!("edge -> {to}"), &format!("latency = \"{latency}\"")));
        let plan = RunPlan { shuffle_ties: Some(seed), ..ten_seconds() };
        let output = simulate_with(&each_second(&format!("{system}{}", links.concat())), &plan);
        assert_all(&output, Outcome::Failed);
        assert_eq!(busy(&output, "slow"), 0.0, "latency {latency}, seed {seed}");
    }
}

#[test]
fn steps_for_a_class_are_done_for_that_class_only() {
    let system = format!(
        "{}{}{}",
        flow("edge", "\"all\", { call = \"some\", classes = [\"critical\"] }"),
        service("all", "service_time = \"10ms\""),
        service("some", "service_time = \"5ms\"")
    );
    let text = each_second(&system)
        .replace("1/s", "200/s")
        .replace("entry =", "priority = { critical = 0.3, standard = 0.7 }\nentry =");
    let output = simulate(&text);
    assert_all(&output, Outcome::Ok);
    let [critical, standard] = output.requests.as_slice() else { panic!("one row a class") };
    assert_eq!(output.labels.classes, ["critical", "standard"]);
    assert_eq!(meter(&output, "all").calls, critical.born + standard.born);
    assert_eq!(meter(&output, "some").calls, critical.born);
    assert_eq!(
        (critical.latency.min(), critical.latency.max()),
        (Some(15 * MILLISECOND), Some(15 * MILLISECOND))
    );
    assert_eq!(
        (standard.latency.min(), standard.latency.max()),
        (Some(10 * MILLISECOND), Some(10 * MILLISECOND))
    );
    // 2,000 draws at 0.3.
    assert!((critical.born as f64 - 600.0).abs() <= 4.0 * (2_000.0f64 * 0.21).sqrt(), "{}", critical.born);
}

/// How many requests saw a first token, and the longest time to it in ms.
fn first_tokens(steps: &str, latency: u64) -> (u64, u64) {
    let system = format!(
        "{}{}{}[components.router]\nkind = \"router\"\npolicy = \"random\"\nshares = {{ llm = 1 }}\n\
         [components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n",
        flow("edge", steps),
        service("fast", "service_time = \"1ms\""),
        link("web -> edge", &format!("latency = \"{latency}ms\"")),
    );
    let text = each_second(&system).replace("entry =", "prompt_tokens = 100\noutput_tokens = 20\nentry =");
    let output = simulate(&text);
    assert_all(&output, Outcome::Ok);
    let ttft = &output.requests[0].ttft;
    (ttft.count(), ttft.max().map_or(0, |ttft| ttft / MILLISECOND))
}

#[test]
fn the_first_token_of_the_last_step_reaches_the_user() {
    let (count, near) = first_tokens("\"fast\", \"llm\"", 0);
    assert!(count == 10 && near > 1);
    // Through a router, and there and back over a link.
    assert_eq!(first_tokens("\"fast\", \"router\"", 0), (10, near));
    let (count, far) = first_tokens("\"fast\", \"router\"", 30);
    // Latencies are cut to whole milliseconds, and histograms keep three digits.
    assert!(count == 10 && far.abs_diff(near + 60) <= 1, "{near} and {far} ms");
    // An answer that goes on to another step, or that is one of several, is not the user's yet.
    for steps in ["\"llm\", \"fast\"", "{ parallel = [\"llm\", \"fast\"] }"] {
        assert_eq!(first_tokens(steps, 0).0, 0, "{steps}");
    }
    // Of two rounds the second.
    let (count, drawn) = first_tokens("{ call = \"llm\", repeat = { empirical = { samples = [2] } } }", 0);
    let (_, second) = first_tokens("{ call = \"llm\", repeat = 2 }", 0);
    assert_eq!(drawn, second);
    assert!(count == 10 && second > 2 * (near - 1), "{near} and {second} ms");
}
