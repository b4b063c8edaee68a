//! Circuit breakers in a system (experiment C1).

use super::*;

/// 50 requests a second to a dependency that answers in 1 ms, and from 20 s on not at all for `outage`
/// seconds; its caller waits a second for it.
fn outage(process: &str, breaker: &str, outage: u64) -> String {
    let text = format!(
        "{}{}{}",
        service("edge", "service_time = \"1ms\""),
        link("web -> edge", &format!("per_try_timeout = \"1s\"\ncircuit_breaker = {breaker}")),
        fault(20, "edge", &format!("kind = \"slow\"\nfactor = 1000000\nrepair = \"{outage}s\""))
    );
    arrivals(process, 50.0, &text)
}

fn opens_after(text: &str, seed: u64) -> f64 {
    // The outage lasts as long as the run, which ends 40 s into it.
    let plan =
        RunPlan { duration: SimDuration::from_secs(60), drain: SimDuration::ZERO, seed, ..seconds(60) };
    40.0 - measure(&simulate_with(text, &plan), "web", "breaker_open_s", "edge")
}

#[test]
fn resilience4j_opens_after_two_seconds_and_hystrix_after_five_and_a_half() {
    for (breaker, at, timeouts) in [("\"resilience4j\"", 2.0, 110.0), ("\"hystrix\"", 5.5, 296.0)] {
        let (mut mean_at, mut mean_timeouts) = (0.0, 0.0);
        for seed in 1..=50 {
            mean_at += opens_after(&outage("poisson", breaker, 120), seed) / 50.0;
            // Up to the end of the outage: what begins later is answered.
            let plan = RunPlan { seed, ..seconds(200) };
            let output = simulate_with(&outage("poisson", breaker, 120), &plan);
            mean_timeouts += ended(&output, Outcome::TimedOut) as f64 / 50.0;
            assert!(output.conservation.born > 9_000 && output.conservation.in_flight == 0);
        }
        println!("{breaker}: opens after {mean_at:.3} s with {mean_timeouts:.1} timeouts");
        assert!((mean_at / at - 1.0).abs() < 0.05, "{breaker} opens after {mean_at} s");
        assert!((mean_timeouts / timeouts - 1.0).abs() < 0.05, "{breaker}: {mean_timeouts} timeouts");
    }
}

#[test]
fn without_a_breaker_all_time_out() {
    let text =
        outage("deterministic", "\"resilience4j\"", 120).replace("circuit_breaker = \"resilience4j\"", "");
    assert_eq!(ended(&simulate_with(&text, &seconds(200)), Outcome::TimedOut), 6_000);
}

#[test]
fn recovery_waits_for_the_next_probe() {
    // Time from the end of the outage to the last refusal, in seconds: all refused come before it.
    let recovers = |breaker: &str, length: u64| {
        let text = outage("deterministic", breaker, length);
        let plan = RunPlan { windows: 2_000, ..seconds(200) };
        let output = simulate_with(&text, &plan);
        let refused = |window: &&sim_models::system::recorder::SystemWindow| {
            window.outcomes[Outcome::Rejected as usize] > 0
        };
        let last = output.windows.iter().rev().find(refused).unwrap();
        last.start.as_secs_f64() + 0.1 - (20.0 + length as f64)
    };
    // Opened at 2.0 s; 10 calls are tried at 62.0 s and fail 1 s later, the last of them at 63.2 s: closed for
    // another minute each. An outage that ends just after a trial is felt for a minute more.
    let resilience4j = [61, 63, 100, 120].map(|length| recovers("\"resilience4j\"", length));
    for (recovers, expected) in resilience4j.into_iter().zip([1.2, 60.3, 23.3, 3.3]) {
        assert!((recovers - expected).abs() < 0.35, "{resilience4j:?}");
    }
    // Hystrix probes every 5 + 1 s.
    for length in 110..=120 {
        let recovers = recovers("\"hystrix\"", length);
        assert!((0.0..=6.2).contains(&recovers), "{recovers} s");
    }
}

#[test]
fn ten_clients_need_ten_times_the_failures() {
    // From 20 s on everything fails at once.
    let failures = |clients: u32| {
        let text = format!(
            "{}{}{}",
            service("edge", "service_time = \"1ms\""),
            link("web -> edge", &format!("circuit_breaker = \"resilience4j\"\nclient_instances = {clients}")),
            fault(20, "edge", "kind = \"error_rate\"\nshare = 1")
        );
        let output = simulate_with(&arrivals("deterministic", 500.0, &text), &seconds(60));
        assert_eq!(measure(&output, "web", "breaker_opens", "edge"), f64::from(clients));
        ended(&output, Outcome::Failed)
    };
    assert_eq!(failures(1), 50);
    // A client more or less at one instant: none here, for a call takes no longer than the next is away.
    assert_eq!(failures(10), 500);
}

#[test]
fn a_breaker_trips_on_slow_calls_as_well_as_on_failures() {
    // From 20 s on each call takes 500 ms; nothing fails, and the caller would wait.
    let run = |breaker: &str| {
        let text = format!(
            "{}{}{}",
            service("edge", "service_time = \"1ms\""),
            link("web -> edge", &format!("circuit_breaker = {breaker}\nfallback = [\"stale\"]")),
            fault(20, "edge", "kind = \"slow\"\nfactor = 500\nrepair = \"20s\"")
        );
        simulate_with(&arrivals("deterministic", 50.0, &text), &seconds(60))
    };
    // The defaults call nothing below a minute slow.
    assert_all(&run("\"resilience4j\""), Outcome::Ok);
    let output =
        run("{ resilience4j = { slow_call_duration_threshold = \"200ms\", slow_call_rate_threshold = 50.0, \
         wait_duration_in_open_state = \"5s\" } }");
    // Half of 100 calls are slow after 0.5 s and 50 calls, at 1.5 s.
    let slow = meter(&output, "edge").latency.count() as f64
        * (1.0 - meter(&output, "edge").latency.fraction_at_or_below(200 * MILLISECOND).unwrap());
    // 75 calls begin by then; the trials of 10 at 6.5 s, 12.2 s and 17.9 s are slow too.
    assert!((slow - (75.0 + 3.0 * 10.0)).abs() < 3.0, "{slow}");
    assert!(ended(&output, Outcome::Degraded) > 800, "{:?}", output.conservation);
    assert_eq!(output.conservation.ended[2..], [0, 0, 0]);
}

#[test]
fn an_envoy_limit_queues_for_connections_and_refuses_the_rest() {
    let text = format!(
        "{}{}",
        service("edge", "service_time = \"1s\""),
        link(
            "web -> edge",
            "circuit_breaker = { envoy = { max_connections = 2, max_pending_requests = 1 } }"
        )
    );
    // 10 a second: two are served at a time and one waits.
    let output = simulate_with(&arrivals("deterministic", 10.0, &text), &seconds(10));
    let served = ended(&output, Outcome::Ok);
    // Two a second for ten seconds, and those that are left at the end.
    assert!((20..=23).contains(&served), "{served}");
    assert_eq!(ended(&output, Outcome::Rejected), 100 - served);
    assert_eq!(meter(&output, "edge").busy.max(), 2);
    // A waiting call whose caller gives up leaves the queue.
    let text = text.replace("circuit_breaker", "timeout = \"1100ms\"\ncircuit_breaker");
    let output = simulate_with(&arrivals("deterministic", 10.0, &text), &seconds(10));
    assert!(ended(&output, Outcome::TimedOut) > 0);
    assert_eq!(output.conservation.in_flight, 0);
}

#[test]
fn an_adaptive_throttle_sends_twice_what_is_accepted() {
    let text = format!(
        "[components.edge]\nkind = \"service\"\nservice_time = \"100ms\"\nqueue_cap = 0\n{}",
        link("web -> edge", "circuit_breaker = \"adaptive_throttle\"")
    );
    // 100 a second come, 10 are accepted: 20 or so are sent.
    let output = simulate_with(&arrivals("poisson", 100.0, &text), &seconds(600));
    let sent = meter(&output, "edge").calls as f64 / ended(&output, Outcome::Ok) as f64;
    assert!((sent - 2.0).abs() < 0.1, "{sent}");
}

#[test]
fn a_short_circuited_call_may_be_retried_and_takes_no_time() {
    let run = |retry: &str| {
        let text = format!(
            "{}{}",
            service("edge", "service_time = \"1ms\"\nerror_rate = 1"),
            link(
                "web -> edge",
                &format!("circuit_breaker = {{ resilience4j = {{ minimum_number_of_calls = 5 }} }}\n{retry}")
            )
        );
        simulate(&each_second(&text))
    };
    let output = run("");
    assert_eq!((ended(&output, Outcome::Failed), ended(&output, Outcome::Rejected)), (5, 5));
    assert_eq!(output.end.as_nanos(), 10_000 * MILLISECOND);
    // resilience4j retries them, 500 ms apart.
    let output = run("retry = \"resilience4j\"");
    assert_eq!(meter(&output, "edge").calls, 5);
    assert_eq!(measure(&output, "web", "short_circuited", "edge"), 25.0);
    assert_eq!(output.end.as_nanos(), 11_000 * MILLISECOND);
    let output = run("retry = { preset = \"resilience4j\", retry_on = [\"failed\"] }");
    assert_eq!(measure(&output, "web", "short_circuited", "edge"), 9.0);
}
