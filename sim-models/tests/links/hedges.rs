//! Hedges (experiment H1).

use super::*;

/// Lognormal with sigma 0.4 and a median of 10 ms, and 20 times as long for 2%.
const TAIL: &str = "{ mixture = [\
    { weight = 0.98, of = { lognormal = { mean = \"10.83287ms\", cv = 0.416554 } } }, \
    { weight = 0.02, of = { lognormal = { mean = \"216.6574ms\", cv = 0.416554 } } }] }";
/// Its 95th percentile: 10 ms exp(0.4 z) with 0.98 Phi(z) = 0.95.
const P95: &str = "21.144ms";

fn quantile(output: &RunOutput, q: f64) -> f64 {
    output.requests[0].latency.quantile(q).unwrap() as f64 / 1e7
}

#[test]
fn a_hedge_at_the_95th_percentile_cuts_the_tail_for_five_percent() {
    let run = |policies: &str| {
        let service = service("edge", &format!("service_time = {TAIL}"));
        let text = arrivals("poisson", 1_000.0, &format!("{service}{}", link("web -> edge", policies)));
        simulate_with(&text, &seconds(200))
    };
    let plain = run("");
    let (p99, p999) = (quantile(&plain, 0.99), quantile(&plain, 0.999));
    println!("without: p99 {p99:.2} p99.9 {p999:.2}");
    assert!((p99 / 20.1 - 1.0).abs() < 0.03 && (p999 / 38.7 - 1.0).abs() < 0.05, "{p99} {p999}");
    for after in [P95, "p95"] {
        let output = run(&format!("hedge = {{ after = \"{after}\" }}"));
        let (p99, p999) = (quantile(&output, 0.99), quantile(&output, 0.999));
        let extra = measure(&output, "web", "hedges", "edge") / output.conservation.born as f64;
        let won = measure(&output, "web", "hedges_won", "edge") / output.conservation.born as f64;
        println!("after {after}: p99 {p99:.3} p99.9 {p999:.3} extra {extra:.4} won {won:.4}");
        assert!((p99 / 3.17 - 1.0).abs() < 0.03, "p99 {p99}");
        assert!((p999 / 4.23 - 1.0).abs() < 0.05, "p99.9 {p999}");
        assert!((extra - 0.05).abs() < 0.003, "extra {extra}");
        assert!(won > 0.02 && won < extra);
        assert_eq!(meter(&output, "edge").calls as f64, output.conservation.born as f64 * (1.0 + extra));
    }
}

/// The 99th percentile in units of 10 ms, and the calls a request.
fn tail(rate: f64, service: &str, policies: &str) -> (f64, f64) {
    let text = format!(
        "[components.edge]\nkind = \"service\"\nservice_time = {TAIL}\n{service}\n{}",
        link("web -> edge", policies)
    );
    let output = simulate_with(&arrivals("poisson", rate, &text), &seconds(200));
    (quantile(&output, 0.99), meter(&output, "edge").calls as f64 / output.conservation.born as f64)
}

#[test]
fn under_load_hedges_that_nobody_takes_back_make_it_worse() {
    // Ten replicas with a queue each; a request takes 14.95 ms on average, so that they serve 669 a second.
    let replicas = "replicas = 10\nbalancer = \"random\"\nhealth = \"none\"";
    let hedge = format!("hedge = {{ after = \"{P95}\", send_interrupts = false }}");
    for load in [0.05, 0.7, 0.8] {
        let (plain, _) = tail(load * 669.0, replicas, "");
        let (hedged, calls) = tail(load * 669.0, replicas, &hedge);
        let (interrupted, _) = tail(load * 669.0, replicas, &format!("hedge = {{ after = \"{P95}\" }}"));
        println!(
            "{load}: p99 {plain:.2} -> {hedged:.2} with {calls:.3} calls; {interrupted:.2} if losers are cancelled"
        );
        if load < 0.1 {
            assert!(hedged < 0.5 * plain && calls < 1.15, "{load}: {plain} {hedged} {calls}");
        } else {
            assert!(hedged > 1.5 * plain && calls > 1.2, "{load}: {plain} {hedged} {calls}");
            // What a cancellation takes out of the queues is worth a lot.
            assert!(interrupted < plain, "{load}: {plain} {interrupted}");
        }
    }
}

#[test]
fn a_hedge_in_the_same_queue_gains_nothing() {
    // One server: what makes a request slow makes its hedge slow, which stands behind it.
    let hedge = format!("hedge = {{ after = \"{P95}\" }}");
    let ((plain, _), (hedged, calls)) = (tail(47.0, "", ""), tail(47.0, "", &hedge));
    println!("p99 {plain:.2} -> {hedged:.2} with {calls:.3} calls");
    assert!(hedged == plain && calls > 1.3, "{plain} {hedged} {calls}");
}

#[test]
fn the_loser_is_cancelled_and_the_hedge_goes_elsewhere() {
    let text = format!(
        "[components.edge]\nkind = \"service\"\nservers = 100\nreplicas = 2\nbalancer = \"random\"\n\
         health = \"none\"\nservice_time = \"10ms\"\n{}{}",
        link("web -> edge", "hedge = { after = \"20ms\" }"),
        fault(0, "edge", "kind = \"hang\"\nreplicas = 1")
    );
    let output = simulate_with(&arrivals("deterministic", 100.0, &text), &seconds(10));
    assert_all(&output, Outcome::Ok);
    assert_eq!(latencies(&output), [10, 30]);
    let won = measure(&output, "web", "hedges_won", "edge");
    assert_eq!(won, measure(&output, "web", "hedges", "edge"));
    // A call that was cancelled leaves the replica that hangs.
    let signals = output.component_windows.last().unwrap().signals;
    assert!(signals.busy + signals.queue <= 3, "{signals:?}");
}

#[test]
fn hedges_follow_one_another_up_to_their_number_and_their_budget() {
    let run = |policies: &str| {
        let service = service("edge", "service_time = \"100ms\"");
        simulate(&each_second(&format!("{service}{}", link("web -> edge", policies))))
    };
    let output = run("hedge = { after = \"20ms\", max_extra = 3 }");
    assert_all(&output, Outcome::Ok);
    assert_eq!((meter(&output, "edge").calls, latencies(&output)), (40, [100, 100]));
    // Losers stop when the first answers: after 80, 60 and 40 ms.
    let busy = meter(&output, "edge").busy.integral(output.end) / u128::from(MILLISECOND);
    assert_eq!(busy, 10 * (100 + 80 + 60 + 40));
    assert_eq!(measure(&output, "web", "hedges_won", "edge"), 0.0);
    let output = run("hedge = { after = \"20ms\", budget = 0.25 }");
    assert_eq!(meter(&output, "edge").calls, 12);
    assert_eq!(measure(&output, "web", "hedges_denied", "edge"), 8.0);
}

#[test]
fn a_failure_waits_for_the_hedge_and_then_is_retried() {
    // All fail after 50 ms; a hedge goes out at 20 ms. Both must fail before the retry at 70 ms.
    let text = format!(
        "{}{}",
        service("edge", "service_time = \"50ms\"\nerror_rate = 1"),
        link("web -> edge", "retry = { max_attempts = 2 }\nhedge = { after = \"20ms\" }")
    );
    let output = simulate(&each_second(&text));
    assert_all(&output, Outcome::Failed);
    assert_eq!(meter(&output, "edge").calls, 40);
    assert_eq!(output.end.as_nanos(), 10_140 * MILLISECOND);
}

#[test]
fn the_first_token_may_decide() {
    let run = |winner: &str| {
        let text = format!(
            "{}[components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\nreplicas = 2\n{}",
            flow("edge", "\"llm\""),
            link("edge -> llm", &format!("hedge = {{ after = \"1ms\", winner = \"{winner}\" }}"))
        );
        let text = each_second(&text).replace(
            "entry =",
            "prompt_tokens = { constant = 500 }\noutput_tokens = { constant = 100 }\nentry =",
        );
        let output = simulate(&text);
        assert_all(&output, Outcome::Ok);
        assert_eq!(measure(&output, "edge", "hedges", "llm"), 10.0);
        assert_eq!(output.requests[0].ttft.count(), 10);
        let tokens = output.components.iter().find_map(|component| component.llm.as_ref()).unwrap();
        tokens.output_tokens
    };
    // With the first token decided, the loser writes little.
    let (reply, first_token) = (run("reply"), run("first_token"));
    assert!(reply > 1_900 && first_token < 1_200, "{reply} {first_token}");
}
