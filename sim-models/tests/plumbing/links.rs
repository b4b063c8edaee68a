//! What links do to calls.

use super::*;

#[test]
fn latency_is_paid_both_ways_on_every_hop() {
    let system = service("edge", "service_time = \"10ms\"");
    assert_latency(&simulate(&each_second(&system)), 10);
    let near = link("web -> edge", "latency = \"3ms\"");
    assert_latency(&simulate(&each_second(&format!("{system}{near}"))), 16);
    let nested = format!(
        "{}{}{near}{}",
        flow("edge", "\"db\""),
        service("db", "service_time = \"10ms\""),
        link("edge -> db", "latency = \"2ms\"")
    );
    let output = simulate(&each_second(&nested));
    assert_latency(&output, 20);
    // As the callee sees it, its own time only.
    assert_eq!(meter(&output, "db").latency.max(), Some(10 * MILLISECOND));
    assert_eq!(meter(&output, "edge").latency.max(), Some(14 * MILLISECOND));
}

#[test]
fn the_ways_there_and_back_are_drawn_each_for_itself() {
    let text = format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"2000/s\" }}\nentry = \"edge\"\n{}{}",
        service("edge", "service_time = \"0s\""),
        link("web -> edge", "latency = { exponential = { mean = \"5ms\" } }")
    );
    let output = simulate(&text);
    let latency = &output.requests[0].latency;
    // The median of two exponential stages of mean 1 solves (1 + x) exp(-x) = 1/2: x = 1.6783. Were it
    // one draw twice, it would be 2 ln 2 = 1.386.
    let median = latency.quantile(0.5).unwrap() as f64 / (5.0 * MILLISECOND as f64);
    // A quantile's standard error is sqrt(1/4 / n) / density, and the density there x exp(-x) = 0.3133.
    let error = (0.25 / latency.count() as f64).sqrt() / 0.3133;
    // Histograms keep three digits.
    assert!((median - 1.6783).abs() <= 4.0 * error + 0.002, "{median} +- {error}");
}

#[test]
fn a_timed_out_caller_stops_waiting_while_the_callee_works_on() {
    let slow = service("edge", "service_time = \"100ms\"");
    let output = simulate(&each_second(&format!("{slow}{}", link("web -> edge", "timeout = \"30ms\""))));
    assert_all(&output, Outcome::TimedOut);
    // The run ends with its last request, 30 ms into the last call.
    assert_eq!(busy(&output, "edge"), 9.0 * 100.0 + 30.0);
    assert_eq!(meter(&output, "edge").unheard, 9);
    assert_eq!(meter(&output, "edge").outcomes, [0; 5]);
    let windows: u64 = output.windows.iter().map(|window| window.outcomes[Outcome::TimedOut as usize]).sum();
    assert_eq!(windows, 10);
}

#[test]
fn a_reply_that_is_under_way_when_patience_runs_out_goes_unheard() {
    let text = format!(
        "{}{}",
        service("edge", "service_time = \"10ms\""),
        link("web -> edge", "timeout = \"15ms\"\nlatency = \"4ms\"\ncancel_on_timeout = true")
    );
    let output = simulate(&each_second(&text));
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(busy(&output, "edge"), 100.0);
    // The last is still on its way when the run ends.
    assert_eq!(meter(&output, "edge").unheard, 9);
    // Replies at 18 ms are in time for 18 ms: at one instant replies come before timers.
    assert_all(&simulate(&each_second(&text.replace("15ms", "18ms"))), Outcome::Ok);
}

#[test]
fn cancel_on_timeout_frees_the_callee() {
    let slow = service("edge", "service_time = \"100ms\"");
    let policy = link("web -> edge", "timeout = \"30ms\"\ncancel_on_timeout = true");
    let output = simulate(&each_second(&format!("{slow}{policy}")));
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(busy(&output, "edge"), 10.0 * 30.0);
    // The word takes as long as the call did: the callee works as long, but later.
    let policy = link("web -> edge", "timeout = \"30ms\"\ncancel_on_timeout = true\nlatency = \"20ms\"");
    let output = simulate(&each_second(&format!("{slow}{policy}")));
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(busy(&output, "edge"), 9.0 * 30.0 + 10.0);
}

#[test]
fn a_cancellation_goes_down_through_flows_and_routers() {
    let system = format!(
        "{}[components.router]\nkind = \"router\"\npolicy = \"random\"\nshares = {{ db = 1 }}\n{}{}",
        flow("edge", "{ parallel = [\"router\", \"db\"] }"),
        service("db", "service_time = \"100ms\""),
        link("web -> edge", "timeout = \"30ms\"\ncancel_on_timeout = true")
    );
    let output = simulate(&each_second(&system));
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(meter(&output, "db").calls, 20);
    assert_eq!(busy(&output, "db"), 20.0 * 30.0);
}

#[test]
fn a_timeout_inside_a_flow_ends_the_request() {
    let system = format!(
        "{}{}{}",
        flow("edge", "\"db\", \"db\""),
        service("db", "service_time = \"100ms\""),
        link("edge -> db", "timeout = \"30ms\"")
    );
    let output = simulate(&each_second(&system));
    assert_all(&output, Outcome::TimedOut);
    // The second step is never tried.
    assert_eq!(meter(&output, "db").calls, 10);
    assert_eq!(meter(&output, "edge").outcomes[Outcome::TimedOut as usize], 10);
}

#[test]
fn a_deadline_ends_the_request_as_timed_out() {
    let system = service("edge", "service_time = \"100ms\"");
    let with = |deadline: &str, more: &str| {
        let text = each_second(&format!("{system}{more}"));
        simulate(&text.replace("entry =", &format!("deadline = \"{deadline}\"\nentry =")))
    };
    let output = with("50ms", "");
    assert_all(&output, Outcome::TimedOut);
    assert_eq!(output.end.as_nanos(), 10_050 * MILLISECOND);
    assert_eq!(busy(&output, "edge"), 9.0 * 100.0 + 50.0);
    assert_all(&with("101ms", ""), Outcome::Ok);
    // The shorter of the two counts.
    let timeout =
        |timeout: &str| link("web -> edge", &format!("timeout = \"{timeout}\"\ncancel_on_timeout = true"));
    assert_eq!(busy(&with("50ms", &timeout("20ms")), "edge"), 200.0);
    assert_eq!(busy(&with("50ms", &timeout("70ms")), "edge"), 500.0);
}
