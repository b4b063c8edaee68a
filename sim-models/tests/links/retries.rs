//! Retries.

use super::*;

#[test]
fn a_retry_has_other_luck_than_the_attempt_before() {
    let text = format!(
        "{}{}",
        service("edge", "service_time = \"10ms\"\nerror_rate = 0.3"),
        link("web -> edge", "retry = { max_attempts = 3 }")
    );
    let output = simulate_with(&arrivals("deterministic", 1_000.0, &text), &seconds(20));
    let born = output.conservation.born as f64;
    // Independent: 0.3^3 of them fail, and there are 0.3 + 0.09 retries each.
    let near = |count: f64, share: f64| {
        let error = (share * (1.0 - share) / born).sqrt();
        assert!((count / born - share).abs() <= 4.0 * error, "{count} of {born} is not {share}");
    };
    near(ended(&output, Outcome::Failed) as f64, 0.027);
    let retries = measure(&output, "web", "retries", "edge");
    // The number of retries of a request has variance 0.39 + 2 * 0.09 - 0.39^2 = 0.4179.
    assert!((retries / born - 0.39).abs() <= 4.0 * (0.4179f64 / born).sqrt(), "{retries}");
    assert_eq!(measure(&output, "web", "link_attempts", "edge"), born + retries);
    assert_eq!(measure(&output, "web", "link_calls", "edge"), born);
    assert_eq!(latencies(&output), [10, 30]);
}

#[test]
fn what_is_behind_a_retry_has_other_luck_too() {
    let text = format!(
        "{}{}{}",
        flow("edge", "\"db\""),
        service("db", "service_time = \"10ms\"\nerror_rate = 0.5"),
        link("web -> edge", "retry = { max_attempts = 10 }")
    );
    let output = simulate_with(&arrivals("deterministic", 100.0, &text), &seconds(10));
    // With the luck of the first attempt half of all would fail; now one of 1,024.
    assert!(ended(&output, Outcome::Failed) < 10, "{:?}", output.conservation);
}

#[test]
fn waits_come_between_attempts_and_deadlines_are_respected() {
    let run = |policies: &str| {
        let text = format!(
            "{}{}",
            service("edge", "service_time = \"10ms\"\nerror_rate = 1"),
            link("web -> edge", policies)
        );
        simulate(&each_second(&text))
    };
    // 10 ms, 100 ms, 10 ms, 200 ms, 10 ms.
    let exponential = "retry = { max_attempts = 3, backoff = { base = \"100ms\" } }";
    let output = run(exponential);
    assert_all(&output, Outcome::Failed);
    assert_eq!(output.end.as_nanos(), 10_330 * MILLISECOND);
    // The second wait would end with the call's time: there is no use in it.
    let output = run(&format!("timeout = \"320ms\"\n{exponential}"));
    assert_all(&output, Outcome::Failed);
    assert_eq!((output.end.as_nanos(), meter(&output, "edge").calls), (10_120 * MILLISECOND, 20));
    let stubborn = exponential.replace("} }", "}, respect_deadline = false }");
    let output = run(&format!("timeout = \"320ms\"\n{stubborn}"));
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(output.end.as_nanos(), 10_320 * MILLISECOND);
}

#[test]
fn only_listed_failures_are_retried() {
    let calls = |component: &str, on: &str| {
        let policies =
            format!("per_try_timeout = \"50ms\"\nretry = {{ max_attempts = 2, retry_on = [\"{on}\"] }}");
        let output = simulate(&each_second(&format!("{component}{}", link("web -> edge", &policies))));
        meter(&output, "edge").calls
    };
    let fails = service("edge", "service_time = \"10ms\"\nerror_rate = 1");
    let hangs = service("edge", "service_time = \"100ms\"");
    let full = "[components.edge]\nkind = \"service\"\nservice_time = \"90s\"\nqueue_cap = 0\n";
    assert_eq!(["failed", "timed_out", "rejected"].map(|on| calls(&fails, on)), [20, 10, 10]);
    assert_eq!(["failed", "timed_out", "rejected"].map(|on| calls(&hangs, on)), [10, 20, 10]);
    // The first takes the server for good and times out.
    assert_eq!(["failed", "timed_out", "rejected"].map(|on| calls(full, on)), [10, 11, 19]);
}

#[test]
fn retries_multiply_over_layers() {
    let mut text = service("leaf", "service_time = \"1ms\"\nerror_rate = 1");
    for (name, next) in [("edge", "b"), ("b", "c"), ("c", "d"), ("d", "leaf")] {
        text += &flow(name, &format!("\"{next}\""));
        text += &link(&format!("{name} -> {next}"), "retry = { max_attempts = 3 }");
    }
    text += &link("web -> edge", "retry = { max_attempts = 3 }");
    let output = simulate(&each_second(&text));
    assert_all(&output, Outcome::Failed);
    // r attempts over d layers: r^d = 3^5.
    assert_eq!(meter(&output, "leaf").calls, 10 * 243);
    // A budget of a tenth at every layer keeps them to 1.1^5 calls or so, once it has been earned.
    let output = simulate_with(
        &arrivals(
            "deterministic",
            100.0,
            &text.replace("max_attempts = 3", "max_attempts = 3, budget = 0.1"),
        ),
        &seconds(100),
    );
    let amplification = meter(&output, "leaf").calls as f64 / output.conservation.born as f64;
    assert!((amplification - 1.61051).abs() < 0.02, "{amplification}");
}

#[test]
fn a_retry_avoids_the_replica_that_failed() {
    let text = format!(
        "[components.edge]\nkind = \"service\"\nservers = 100\nreplicas = 2\nbalancer = \"random\"\n\
         health = \"none\"\nservice_time = \"10ms\"\n{}{}",
        link("web -> edge", "per_try_timeout = \"50ms\"\nretry = { max_attempts = 2 }"),
        fault(0, "edge", "kind = \"hang\"\nreplicas = 1")
    );
    let output = simulate_with(&arrivals("deterministic", 100.0, &text), &seconds(10));
    assert_all(&output, Outcome::Ok);
    let retries = measure(&output, "web", "retries", "edge");
    assert!((400.0..600.0).contains(&retries), "{retries} of 1,000 met the replica that hangs");
}

#[test]
fn an_envoy_budget_bounds_retries_at_once() {
    let text = format!(
        "{}{}",
        service("edge", "service_time = \"1s\"\nerror_rate = 1"),
        link("web -> edge", "retry = { preset = \"envoy\", backoff = \"0s\" }")
    );
    // 100 fail each second; 3 may be in a retry, which takes a second.
    let output = simulate_with(&arrivals("deterministic", 100.0, &text), &seconds(100));
    let retries = measure(&output, "web", "retries", "edge");
    assert!((297.0..=300.0).contains(&retries), "{retries}");
    assert_eq!(measure(&output, "web", "retries_denied", "edge"), 10_000.0 - retries);
}

#[test]
fn a_callee_that_says_when_to_come_back_is_obeyed() {
    // One request every two seconds is let in; of two at once one is told to come back in two seconds.
    let text = format!(
        "{}[components.api]\nkind = \"external_api\"\nttft = \"100ms\"\nrequests_per_minute = 30\nlimit_window = \"2s\"\n{}",
        flow("edge", "{ parallel = [\"api\", \"api\"] }"),
        link("edge -> api", "retry = { max_attempts = 2, backoff = \"10ms\" }")
    );
    let output = simulate_with(&arrivals("deterministic", 0.2, &text), &seconds(50));
    assert_all(&output, Outcome::Ok);
    assert_eq!(latencies(&output), [2_100, 2_100]);
}
