//! Timeouts of a call and of its attempts.

use super::*;

const SLOW: &str = "service_time = \"100ms\"";

#[test]
fn without_other_policies_the_shorter_timeout_counts() {
    for (timeouts, outcome) in [
        ("per_try_timeout = \"30ms\"", Outcome::TimedOut),
        ("timeout = \"1s\"\nper_try_timeout = \"30ms\"", Outcome::TimedOut),
        ("timeout = \"30ms\"\nper_try_timeout = \"1s\"", Outcome::TimedOut),
        ("timeout = \"101ms\"\nper_try_timeout = \"1s\"", Outcome::Ok),
    ] {
        let text = each_second(&format!("{}{}", service("edge", SLOW), link("web -> edge", timeouts)));
        assert_all(&simulate(&text), outcome);
    }
}

#[test]
fn each_attempt_has_its_time_and_the_call_has_one() {
    let run = |policies: &str| {
        let text = each_second(&format!("{}{}", service("edge", SLOW), link("web -> edge", policies)));
        simulate(&text)
    };
    // Three attempts of 30 ms, the last of which ends the request at 90 ms.
    let output = run("per_try_timeout = \"30ms\"\nretry = { max_attempts = 3 }");
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(meter(&output, "edge").calls, 30);
    assert_eq!(output.end.as_nanos(), 10_090 * MILLISECOND);
    // The call's timeout cuts the third short, and is not retried.
    let output = run("timeout = \"70ms\"\nper_try_timeout = \"30ms\"\nretry = { max_attempts = 9 }");
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(meter(&output, "edge").calls, 30);
    assert_eq!(output.end.as_nanos(), 10_070 * MILLISECOND);
    assert_eq!(measure(&output, "web", "retries", "edge"), 20.0);
}

#[test]
fn cancel_on_timeout_tells_each_attempt() {
    let busy = |cancel: &str| {
        let policies = format!("per_try_timeout = \"30ms\"\nretry = {{ max_attempts = 2 }}\n{cancel}");
        let text = each_second(&format!("{}{}", service("edge", SLOW), link("web -> edge", &policies)));
        let output = simulate(&text);
        meter(&output, "edge").busy.integral(output.end) / u128::from(MILLISECOND)
    };
    assert_eq!(busy("cancel_on_timeout = true"), 10 * 2 * 30);
    // The run ends 60 ms into the last request: 60 and 30 ms of its attempts' work.
    assert_eq!(busy(""), 9 * 2 * 100 + 60 + 30);
}

#[test]
fn a_users_deadline_ends_retries_and_fallbacks() {
    let text = format!(
        "{}{}{}",
        service("edge", SLOW),
        service("small", SLOW),
        link(
            "web -> edge",
            "per_try_timeout = \"30ms\"\nretry = { max_attempts = 9 }\nfallback = [\"small\"]"
        )
    );
    let text = each_second(&text).replace("entry =", "deadline = \"70ms\"\nentry =");
    let output = simulate(&text);
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(meter(&output, "edge").calls, 30);
    // There is no time left for it.
    assert_eq!(meter(&output, "small").calls, 0);
    // With one attempt there is, but not enough.
    let output = simulate(&text.replace("max_attempts = 9", "max_attempts = 1"));
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(meter(&output, "small").calls, 10);
    assert_eq!(output.end.as_nanos(), 10_070 * MILLISECOND);
}

#[test]
fn a_caller_that_is_cancelled_takes_its_attempts_along() {
    let text = format!(
        "{}{}{}{}",
        flow("edge", "\"db\""),
        service("db", SLOW),
        link("web -> edge", "timeout = \"50ms\"\ncancel_on_timeout = true"),
        link(
            "edge -> db",
            "retry = \"resilience4j\"\nhedge = { after = \"20ms\" }\ncircuit_breaker = \"resilience4j\""
        )
    );
    let output = simulate(&each_second(&text));
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(meter(&output, "db").calls, 20);
    assert_eq!(meter(&output, "db").busy.integral(output.end) / u128::from(MILLISECOND), 10 * (50 + 30));
}

#[test]
fn timeouts_of_nothing_are_refused() {
    for key in ["timeout", "per_try_timeout"] {
        let text = each_second(&format!(
            "{}{}",
            service("edge", SLOW),
            link("web -> edge", &format!("{key} = \"0s\""))
        ));
        let error = refusal(&text);
        assert_eq!(error.path, ["links", "web -> edge", key]);
        assert!(error.message.contains("answers nothing"), "{error}");
    }
}
