//! Fallback chains.

use super::*;

const BROKEN: &str = "service_time = \"10ms\"\nerror_rate = 1";

#[test]
fn a_chain_is_tried_from_its_front() {
    let small = service("small", "service_time = \"20ms\"");
    let run = |small: &str, fallback: &str| {
        let text = format!(
            "{}{small}{}",
            service("edge", BROKEN),
            link("web -> edge", &format!("fallback = [{fallback}]"))
        );
        simulate(&each_second(&text))
    };
    let output = run(&small, "\"small\", \"default\"");
    assert_all(&output, Outcome::Degraded);
    assert_eq!(latencies(&output), [30, 30]);
    assert_eq!(measure(&output, "web", "fallbacks_served", "edge: small"), 10.0);
    assert_eq!(measure(&output, "web", "fallbacks_served", "edge: default"), 0.0);
    let output = run(&service("small", BROKEN), "\"small\", \"default\"");
    assert_all(&output, Outcome::Degraded);
    assert_eq!(latencies(&output), [20, 20]);
    assert_eq!(measure(&output, "web", "fallbacks_served", "edge: default"), 10.0);
    let output = run(&service("small", BROKEN), "\"small\", \"reject\"");
    assert_all(&output, Outcome::Rejected);
    // Without an end of its own the last failure counts.
    assert_all(&run(&service("small", BROKEN), "\"small\""), Outcome::Failed);
}

#[test]
fn a_stale_answer_is_there_for_a_share() {
    let text = format!(
        "{}{}",
        service("edge", BROKEN),
        link("web -> edge", "fallback = [{ stale = 0.8 }, \"reject\"]")
    );
    let output = simulate_with(&arrivals("deterministic", 100.0, &text), &seconds(100));
    let stale = ended(&output, Outcome::Degraded) as f64;
    assert!((stale - 8_000.0).abs() < 4.0 * (10_000.0f64 * 0.8 * 0.2).sqrt(), "{stale}");
    assert_eq!(ended(&output, Outcome::Rejected) as f64, 10_000.0 - stale);
    assert_eq!(measure(&output, "web", "fallbacks_served", "edge: stale"), stale);
}

#[test]
fn a_fallback_has_the_policies_and_the_fallbacks_of_its_link() {
    let text = format!(
        "{}{}{}{}{}",
        service("edge", BROKEN),
        service("small", "service_time = \"100ms\""),
        service("tiny", "service_time = \"5ms\""),
        link("web -> edge", "retry = { max_attempts = 2 }\nfallback = [\"small\", \"reject\"]"),
        link(
            "web -> small",
            "per_try_timeout = \"30ms\"\nretry = { max_attempts = 3 }\nfallback = [\"tiny\"]"
        )
    );
    let output = simulate(&each_second(&text));
    assert_all(&output, Outcome::Degraded);
    // 2 x 10 ms, 3 x 30 ms, 5 ms.
    assert_eq!(latencies(&output), [115, 115]);
    assert_eq!(["edge", "small", "tiny"].map(|name| meter(&output, name).calls), [20, 30, 10]);
    assert_eq!(measure(&output, "web", "fallbacks_served", "edge: tiny"), 10.0);
    assert_eq!(measure(&output, "web", "retries", "small"), 20.0);
}

#[test]
fn the_time_of_a_call_is_not_that_of_its_fallback() {
    let text = format!(
        "{}{}{}{}",
        service("edge", "service_time = \"1s\""),
        service("small", "service_time = \"50ms\""),
        link("web -> edge", "timeout = \"40ms\"\nretry = { max_attempts = 3 }\nfallback = [\"small\"]"),
        link("web -> small", "timeout = \"60ms\"")
    );
    let output = simulate(&each_second(&text));
    assert_all(&output, Outcome::Degraded);
    assert_eq!(latencies(&output), [90, 90]);
    // What has timed out as a call is not retried.
    assert_eq!(meter(&output, "edge").calls, 10);
    let output = simulate(&each_second(&text.replace("60ms", "45ms")));
    assert_all(&output, Outcome::TimedOut);
}

#[test]
fn an_overloaded_fallback_is_no_fallback() {
    let small = "[components.small]\nkind = \"service\"\nservice_time = \"100ms\"\nqueue_cap = 0\n";
    let text = format!("{}{small}{}", service("edge", BROKEN), link("web -> edge", "fallback = [\"small\"]"));
    // One server serves 10 of 100 a second: its capacity is real.
    let output = simulate_with(&arrivals("deterministic", 100.0, &text), &seconds(10));
    assert_eq!(ended(&output, Outcome::Degraded), 100);
    assert_eq!(ended(&output, Outcome::Rejected), 900);
}

#[test]
fn a_fallback_inside_a_flow_degrades_the_answer() {
    let text = format!(
        "{}{}{}{}",
        flow("edge", "\"db\", \"page\""),
        service("db", BROKEN),
        service("page", "service_time = \"5ms\""),
        link("edge -> db", "fallback = [\"default\"]")
    );
    let output = simulate(&each_second(&text));
    assert_all(&output, Outcome::Degraded);
    assert_eq!(latencies(&output), [15, 15]);
}

#[test]
fn chains_that_cannot_be_are_refused() {
    let services = format!("{}{}", service("edge", BROKEN), service("small", BROKEN));
    let refused = |more: &str| refusal(&each_second(&format!("{services}{more}")));
    let error = refused(&link("web -> edge", "fallback = [\"tiny\"]"));
    assert_eq!(error.path, ["links", "web -> edge", "fallback", "0"]);
    assert!(error.message.contains("unknown component `tiny`"), "{error}");
    assert_eq!(error.help.unwrap(), "expected one of edge, small");
    let error = refused(&link("web -> edge", "fallback = [\"default\", \"small\"]"));
    assert!(error.message.contains("nothing comes after `default`"), "{error}");
    let error = refused(&link("web -> edge", "fallback = [\"edge\"]"));
    assert!(error.message.contains("a cycle of fallbacks: edge -> edge"), "{error}");
    let two = link("web -> edge", "fallback = [\"small\"]") + &link("web -> small", "fallback = [\"edge\"]");
    let error = refused(&two);
    assert!(error.message.contains("a cycle of fallbacks: edge -> small -> edge"), "{error}");
    let error = refusal(&each_second(&format!(
        "{}{}{}",
        flow("edge", "\"db\""),
        service("db", BROKEN),
        link("edge -> db", "fallback = [\"edge\"]")
    )));
    assert!(error.message.contains("a cycle of calls: edge -> edge"), "{error}");
    let error = refused(&service("stale", BROKEN));
    assert_eq!(error.path, ["components", "stale"]);
    let error = refused(&link("web -> edge", "client_instances = 10"));
    assert_eq!(error.path, ["links", "web -> edge", "client_instances"]);
    // A link to a fallback is one that may be listed, and others may not.
    let error = refused(&link("web -> small", "timeout = \"1s\""));
    assert!(error.message.contains("`web` never calls `small`"), "{error}");
}
