//! What happens at the door of a whole component.

use super::{measure, parse, plan, refusal, simulate_with};
use crate::request::Outcome;
use crate::system::RunOutput;

/// `rate` requests a second of two tenants to `edge`, a flow in front of ten servers of 100 rps together.
fn edge(rate: f64, shares: &str, admission: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\nentry = \"edge\"\n\
         tenants = {{ {shares} }}\n\
         [links.\"web -> edge\"]\ntimeout = \"1s\"\n\
         [components.edge]\nkind = \"flow\"\nsteps = [\"db\"]\n{admission}\n\
         [components.db]\nkind = \"service\"\nservers = 10\n\
         service_time = {{ exponential = {{ mean = \"100ms\" }} }}\n"
    )
}

fn outcomes(output: &RunOutput) -> [u64; 5] {
    output.conservation.ended
}

/// Answered requests of a tenant a second.
fn rate(output: &RunOutput, tenant: usize) -> f64 {
    output.requests[tenant].outcomes[Outcome::Ok as usize] as f64 / output.measured().as_secs_f64()
}

/// One request every 10 ms, from 10 ms on, for 100 s: 10,000 of them.
fn steady(admission: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"100/s\" }}\nentry = \"edge\"\n\
         [components.edge]\nkind = \"flow\"\nsteps = [\"db\"]\n{admission}\n\
         [components.db]\nkind = \"service\"\nservice_time = \"1ms\"\n"
    )
}

#[test]
fn a_token_bucket_counts_exactly() {
    // From 0.01 to 100 s: the burst of 7 and 30 a second for 99.99 s, 2999.7.
    let output =
        simulate_with(&steady("admission = { rate_limit = { rate = \"30/s\", burst = 7 } }"), &plan(0, 100));
    assert_eq!(outcomes(&output), [3006, 0, 6994, 0, 0]);
    assert_eq!(measure(&output, "edge", "refused_rate_limit"), 6994.0);
    // Without a burst of its own it has a second's tokens.
    let output = simulate_with(&steady("admission = { rate_limit = { rate = \"30/s\" } }"), &plan(0, 100));
    assert_eq!(outcomes(&output)[0], 3029);
}

#[test]
fn every_tenant_has_its_bucket() {
    let limit = "admission = { rate_limit = { rate = \"20/s\", burst = 5, per = \"tenant\", rates = { big = \"50/s\" } } }";
    let output = simulate_with(&edge(200.0, "big = 0.5, small = 0.5", limit), &plan(10, 210));
    let rates = [0, 1].map(|tenant| rate(&output, tenant));
    assert!((rates[0] - 50.0).abs() < 0.5 && (rates[1] - 20.0).abs() < 0.5, "{rates:?}");
}

#[test]
fn a_fixed_limit_is_kept() {
    let output =
        simulate_with(&edge(300.0, "a = 1", "admission = { concurrency = { fixed = 12 } }"), &plan(10, 110));
    let db = output.components.iter().find(|component| component.name == "db").unwrap();
    assert_eq!((db.meter.busy.max(), db.meter.queue.max()), (10, 2));
    assert_eq!(measure(&output, "edge", "concurrency_limit_mean"), 12.0);
    assert!(measure(&output, "edge", "refused_concurrency") > 15_000.0);
    assert!(rate(&output, 0) > 93.0);
}

/// With a line in front the flow is what a service with a queue is: the goodput of experiment S1.
#[test]
fn a_line_in_front_is_a_queue() {
    for (settings, expected) in [
        ("max_queue = 50", 99.0),
        ("max_queue = 10", 100.0),
        ("max_queue = 1000000, drop_expired = true", 5.0),
        ("max_queue = 1000000, discipline = \"lifo\"", 100.0),
    ] {
        let admission = format!("admission = {{ concurrency = {{ fixed = 10 }}, {settings} }}");
        let output = simulate_with(&edge(300.0, "a = 1", &admission), &plan(40, 240));
        assert!((rate(&output, 0) - expected).abs() <= 3.0, "{settings}: {}", rate(&output, 0));
    }
}

#[test]
fn who_gives_up_leaves_the_line_in_front() {
    let text = "[traffic.web]\narrivals = { process = \"deterministic\", rate = \"1/s\" }\nentry = \"edge\"\n\
        [links.\"web -> edge\"]\ntimeout = \"2500ms\"\ncancel_on_timeout = true\n\
        [components.edge]\nkind = \"flow\"\nsteps = [\"db\"]\n\
        admission = { concurrency = { fixed = 1 }, max_queue = 10 }\n\
        [components.db]\nkind = \"service\"\nservice_time = \"3s\"\n";
    let output = simulate_with(text, &plan(0, 10));
    // Nobody is ever served, and at 3.5 s the first leaves the next half of its patience.
    assert_eq!(outcomes(&output), [0, 0, 0, 10, 0]);
    let edge = &output.components[1];
    assert_eq!((edge.meter.queue.level(), edge.meter.queue.max()), (0, 2));
}

/// Adaptive limits hold the goodput of experiment S1 with the latency that they allow.
#[test]
fn adaptive_limits_hold_goodput_under_overload() {
    for load in [150.0, 300.0, 1000.0] {
        let aimd = "admission = { concurrency = { aimd = { timeout = \"500ms\" } } }";
        let output = simulate_with(&edge(load, "a = 1", aimd), &plan(40, 240));
        println!(
            "aimd {load}: {} limit {}",
            rate(&output, 0),
            measure(&output, "edge", "concurrency_limit_mean")
        );
        assert!(rate(&output, 0) > 95.0, "{load}: {}", rate(&output, 0));
    }
    // From single calls vegas takes the shortest of its exponential services for the latency without load;
    // windows average that out.
    for limit in ["{ vegas = { window = {} } }", "{ gradient2 = { window = {} } }"] {
        for load in [150.0, 300.0] {
            let admission = format!("admission = {{ concurrency = {limit} }}");
            let output = simulate_with(&edge(load, "a = 1", &admission), &plan(40, 240));
            let mean = measure(&output, "edge", "concurrency_limit_mean");
            println!("{limit} {load}: {} limit {mean}", rate(&output, 0));
            assert!(rate(&output, 0) > 95.0, "{limit} {load}: {}", rate(&output, 0));
        }
    }
}

/// An LLM pool gets a waiting queue in front of it: of a hundred calls in a tenth of a second four go in, two wait,
/// and the rest come too late. Of those inside three wait in the engine for its next step.
#[test]
fn a_pool_of_engines_has_a_door_too() {
    let text = "[traffic.web]\narrivals = { process = \"deterministic\", rate = \"1k/s\" }\nentry = \"llm\"\n\
        prompt_tokens = 100\noutput_tokens = 200\n\
        [components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n\
        admission = { concurrency = { fixed = 4 }, max_queue = 2, dagor = {} }\n";
    let plan =
        crate::system::RunPlan { duration: sim_core::time::SimDuration::from_millis(100), ..plan(0, 1) };
    let output = simulate_with(text, &plan);
    assert_eq!(outcomes(&output), [6, 0, 94, 0, 0]);
    let meter = &output.components[1].meter;
    assert_eq!((meter.busy.max(), meter.queue.level(), meter.wait.count()), (4, 0, 6));
    assert_eq!(meter.queue.max(), 5);
    assert_eq!(measure(&output, "llm", "refused_admission_queue_full"), 94.0);
}

/// Netflix's prefetch experiment in small: a spike of one class leaves the other what it is sure of.
#[test]
fn partitions_keep_a_share() {
    let limit = |partitions: &str| {
        let admission = format!("admission = {{ concurrency = {{ fixed = 20 }}{partitions} }}");
        let output = simulate_with(&edge(500.0, "user = 0.06, prefetch = 0.94", &admission), &plan(20, 120));
        [0, 1].map(|tenant| {
            let meter = &output.requests[tenant];
            meter.outcomes[Outcome::Ok as usize] as f64 / meter.born as f64
        })
    };
    let [user, prefetch] = limit("");
    assert!((user - 0.2).abs() < 0.02 && (prefetch - 0.2).abs() < 0.02, "{user} {prefetch}");
    let [user, prefetch] = limit(", partitions = { shares = { user = 0.8, prefetch = 0.2 } }");
    assert!(user > 0.99, "{user}");
    // The rest of the 100 rps goes to the 470.
    assert!((prefetch - 70.0 / 470.0).abs() < 0.01, "{prefetch}");
}

#[test]
fn mistakes_are_told() {
    for (settings, path, part) in [
        ("rate_limit = { rate = \"0/s\" }", "rate_limit.rate", "above 0"),
        ("rate_limit = { rate = \"1/s\", rates = { a = \"1/s\" } }", "rate_limit.rates", "per = \"tenant\""),
        (
            "rate_limit = { rate = \"1/s\", per = \"tenant\", rates = { c = \"1/s\" } }",
            "rate_limit.rates.c",
            "a, b",
        ),
        ("max_queue = 5", "max_queue", "concurrency"),
        ("drop_expired = true", "drop_expired", "max_queue"),
        ("discipline = \"lifo\"", "discipline", "max_queue"),
        ("concurrency = { fixed = 5 }, max_queue = 5, discipline = \"sjf\"", "discipline", "fcfs"),
        ("concurrency = { fixed = 5 }, max_queue = 5, partitions = {}", "max_queue", "either"),
        ("concurrency = { aimd = { max_limit = 5 } }", "concurrency.aimd.max_limit", "min_limit"),
        ("partitions = {}", "partitions", "concurrency"),
        (
            "concurrency = \"vegas\", partitions = { shares = { a = 0.8, b = 0.3 } }",
            "partitions.shares",
            "at most 1",
        ),
        ("dagor = {}", "dagor", "service"),
    ] {
        let error = refusal(&edge(1.0, "a = 0.5, b = 0.5", &format!("admission = {{ {settings} }}")));
        assert_eq!(error.path.join("."), format!("components.edge.admission.{path}"), "{error}");
        assert!(error.help.as_ref().is_some_and(|help| help.contains(part)), "{settings}: {error}");
    }
    let text = edge(1.0, "a = 1", "")
        .replace("servers = 10", "admission = { max_queue = 3, concurrency = \"vegas\" }");
    assert_eq!(refusal(&text).path.join("."), "components.db.admission.max_queue");
    for (text, part) in [
        ("concurrency = \"fixed\"", "expected one of `aimd`, `vegas`, `gradient2`"),
        ("concurrency = 5", "a limit such as"),
        ("concurrency = { fixed = 0 }", "nonzero"),
        ("concurrency = { fixed = 1, vegas = {} }", "one limit only"),
    ] {
        let text = edge(1.0, "a = 1", &format!("admission = {{ {text} }}"));
        let error = toml::from_str::<crate::system::SystemConfig>(&text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    for limit in ["\"vegas\"", "{ fixed = 5 }", "{ gradient2 = { min_limit = 5 } }"] {
        let config = parse(&edge(1.0, "a = 1", &format!("admission = {{ concurrency = {limit} }}")));
        assert_eq!(parse(&toml::to_string(&config).unwrap()), config);
    }
}
