use super::*;
use crate::request::Outcome;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

fn scenario(traffic: &str, api: &str, more: &str) -> SystemConfig {
    let text = format!(
        "[traffic.web]\nentry = \"api\"\n{traffic}\n[components.api]\nkind = \"external_api\"\n{api}\n{more}"
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn simulate(config: &SystemConfig, seconds: u64) -> RunOutput {
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(1_000),
        ..RunPlan::default()
    };
    run(build(config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

/// One request a second, the first after a second: 100 tokens in, 11 out.
const STEADY: &str = "arrivals = { process = \"deterministic\", rate = \"1/s\" }\nprompt_tokens = 100\n\
                      output_tokens = 11";

fn measure(output: &RunOutput, name: &str) -> f64 {
    let component = output.components.last().unwrap();
    component.measures.iter().find(|measure| measure.name == name).unwrap().value.unwrap()
}

#[test]
fn a_call_takes_its_first_token_and_the_others() {
    let api = "ttft = \"300ms\"\ntime_per_output_token = \"20ms\"";
    let output = simulate(&scenario(STEADY, api, ""), 10);
    let requests = &output.requests[0];
    assert_eq!((requests.ttft.min(), requests.ttft.max()), (Some(300_000_000), Some(300_000_000)));
    assert_eq!((requests.latency.min(), requests.latency.max()), (Some(500_000_000), Some(500_000_000)));
    assert_eq!(requests.outcomes, [10, 0, 0, 0, 0]);
    assert_eq!(requests.usage_usd, 0.0);
    // Without tokens there is no first one.
    let traffic = "arrivals = { process = \"deterministic\", rate = \"1/s\" }";
    let requests = &simulate(&scenario(traffic, api, ""), 10).requests[0];
    assert_eq!((requests.ttft.count(), requests.latency.max()), (0, Some(300_000_000)));
}

#[test]
fn tokens_are_paid() {
    let api =
        "ttft = \"300ms\"\nprice = { input = \"$2.50/Mtok\", output = \"$10/Mtok\", call = \"$0.0001\" }";
    let output = simulate(&scenario(STEADY, api, ""), 3_600);
    let a_call = 100.0 * 2.5e-6 + 11.0 * 10e-6 + 1e-4;
    let usd = output.requests[0].usage_usd_per_request().unwrap();
    assert!((usd / a_call - 1.0).abs() < 1e-9, "{usd}");
    let per_hour: f64 = output.costs.iter().map(|line| line.usd_per_hour).sum();
    // The last call of the hour ends after it.
    assert!((per_hour / (3_599.0 * a_call) - 1.0).abs() < 1e-9, "{per_hour}");
    assert!(output.costs.iter().all(|line| line.by_use) && output.costs.len() == 3);
}

/// What was said before is sent again with each turn, and the limits of tokens count it.
#[test]
fn a_conversation_is_paid_turn_by_turn() {
    let flow = "[components.agent]\nkind = \"flow\"\n\
                steps = [{ call = \"api\", repeat = 3, appended_tokens = 50 }]\n";
    let mut config = scenario(STEADY, "ttft = \"10ms\"", flow);
    config.traffic["web"].entry = "agent".into();
    let output = simulate(&config, 10);
    let api = output.components.iter().find(|component| component.name == "api").unwrap();
    // 100 tokens, then 11 + 50 more each time.
    assert_eq!(api.measure("billed_input_tokens"), Some(10.0 * (100.0 + 161.0 + 222.0)));
    assert_eq!(api.measure("billed_output_tokens"), Some(10.0 * 33.0));
    // Two thoughts of 4 tokens; what is asked below an agent's turn ends as that turn does.
    let thinks =
        flow.replace("50 }", "50, answer_tokens = 4 }").replace("call = \"api\"", "call = \"inner\"");
    let inner = "[components.inner]\nkind = \"flow\"\n\
                 steps = [{ call = \"api\", repeat = 2, appended_tokens = 5, answer_tokens = 7 }]\n";
    let mut config = scenario(STEADY, "ttft = \"10ms\"", &format!("{thinks}{inner}"));
    config.traffic["web"].entry = "agent".into();
    let output = simulate(&config, 10);
    let api = output.components.iter().find(|component| component.name == "api").unwrap();
    // Each turn is a thought of 7 tokens and an answer: 4, 4 and then 11.
    assert_eq!(api.measure("billed_output_tokens"), Some(10.0 * (3.0 * 7.0 + 4.0 + 4.0 + 11.0)));
    // Prompts of 100 and, behind the thought, 112; the agent goes on from its own, 54 longer each time.
    assert_eq!(api.measure("billed_input_tokens"), Some(10.0 * (3.0 * 212.0 + 2.0 * (54.0 + 108.0))));
}

#[test]
fn a_cancelled_call_pays_for_what_was_generated_and_a_forsaken_one_for_all() {
    let api = "ttft = \"300ms\"\ntime_per_output_token = \"20ms\"\nprice = { output = \"$1/Mtok\" }";
    // Cancelled at 365 ms: the first token and three more.
    for (cancel, tokens) in [("true", 4.0), ("false", 11.0)] {
        let link = format!("[links.\"web -> api\"]\ntimeout = \"365ms\"\ncancel_on_timeout = {cancel}");
        let output = simulate(&scenario(STEADY, api, &link), 10);
        assert_eq!(output.requests[0].outcomes[Outcome::TimedOut as usize], 10);
        let usd = output.requests[0].usage_usd;
        // What the last one does comes after the end of the run.
        assert!((usd - 9.0 * tokens * 1e-6).abs() < 1e-12, "{usd}");
        assert_eq!(measure(&output, "billed_output_tokens"), 9.0 * tokens);
    }
}

#[test]
fn limits_hold_and_refusals_take_nothing() {
    let fast = STEADY.replace("\"1/s\"", "\"10/s\"");
    // A minute's worth of requests at once, then one a second: 60 + 60 in the first minute.
    let output = simulate(&scenario(&fast, "ttft = \"1ms\"\nrequests_per_minute = 60", ""), 60);
    let requests = &output.requests[0];
    assert!(requests.outcomes[0].abs_diff(120) <= 1, "{:?}", requests.outcomes);
    assert_eq!(measure(&output, "refused_request_limit"), requests.outcomes[2] as f64);
    // In a window of a second there is room for one request a second.
    let api = "ttft = \"1ms\"\nrequests_per_minute = 60\nlimit_window = \"1s\"";
    let output = simulate(&scenario(&fast, api, ""), 60);
    assert!(output.requests[0].outcomes[0].abs_diff(60) <= 1);
    // 111 tokens a call: 1,110 a second at ten calls, of which 555 pass once the bucket is empty.
    let output = simulate(&scenario(&fast, "ttft = \"1ms\"\ntokens_per_minute = 33300", ""), 60);
    assert!(output.requests[0].outcomes[0].abs_diff(600) <= 1, "{:?}", output.requests[0].outcomes);
    let output = simulate(&scenario(&fast, "ttft = \"1ms\"\ntokens_per_minute = 16650", ""), 60);
    assert!(output.requests[0].outcomes[0].abs_diff(300) <= 1);
    assert!(measure(&output, "refused_token_limit") > 298.0);
    // With what a call may have at most, fewer pass: 1,100 tokens each.
    let api = "ttft = \"1ms\"\ntokens_per_minute = 33000\nmax_tokens = 1000";
    let output = simulate(&scenario(&fast, api, ""), 60);
    assert!(output.requests[0].outcomes[0].abs_diff(60) <= 1);
    // Refusals that count keep the bucket empty.
    let output =
        simulate(&scenario(&fast, "ttft = \"1ms\"\nrequests_per_minute = 60\ncount_refused = true", ""), 60);
    assert!(output.requests[0].outcomes[0] < 70, "{:?}", output.requests[0].outcomes);
    // A call of five seconds, four at once.
    let output = simulate(&scenario(&fast, "ttft = \"5s\"\nmax_concurrency = 4", ""), 60);
    assert!(output.requests[0].outcomes[0].abs_diff(48) <= 4, "{:?}", output.requests[0].outcomes);
    let meter = &output.components.last().unwrap().meter;
    assert!(meter.busy.max() == 4 && measure(&output, "refused_concurrency") > 500.0);
}

#[test]
fn a_refusal_says_how_long_to_wait() {
    let second = |s: u64| SimTime::from_nanos(s * 1_000_000_000);
    let mut limits = Limits::new(Some(60), Some(6_000), SimDuration::from_secs(60), false);
    assert_eq!(limits.take(6_000, second(0)), Ok(()));
    let refusal = |of_tokens, seconds: Option<u64>| {
        Err(Refusal { of_tokens, retry_after: seconds.map(SimDuration::from_secs) })
    };
    // 100 tokens a second come back.
    assert_eq!(limits.take(1_000, second(4)), refusal(true, Some(6)));
    assert_eq!(limits.take(6_001, second(4)), refusal(true, None));
    assert_eq!(limits.take(1_000, second(10)), Ok(()));
    let mut limits = Limits::new(Some(60), None, SimDuration::from_secs(2), false);
    assert_eq!([limits.take(0, second(1)), limits.take(0, second(1))], [Ok(()), Ok(())]);
    assert_eq!(limits.take(0, second(1)), refusal(false, Some(1)));
}

#[test]
fn errors_and_outages_cost_nothing() {
    let api = "ttft = \"300ms\"\nerror_rate = 1\nprice = { call = \"$1\" }";
    let output = simulate(&scenario(STEADY, api, ""), 10);
    assert_eq!((output.requests[0].outcomes, output.requests[0].usage_usd), ([0, 0, 0, 0, 10], 0.0));
    let fault = "[[fault]]\nat = \"3100ms\"\ntarget = \"api\"\nkind = \"crash\"\nrepair = \"2s\"";
    let api = "ttft = \"300ms\"\nprice = { call = \"$1\" }";
    let output = simulate(&scenario(STEADY, api, fault), 10);
    // The third is in it, the fourth and the fifth come during the outage.
    assert_eq!((output.requests[0].outcomes, output.requests[0].usage_usd), ([7, 0, 0, 0, 3], 7.0));
    let fault = fault.replace("\"crash\"", "\"slow\"\nfactor = 2");
    let output = simulate(&scenario(STEADY, api, &fault), 10);
    assert_eq!(output.requests[0].latency.sum(), 8 * 300_000_000 + 2 * 600_000_000);
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (api, place, message) in [
        ("limit_window = \"1s\"", "limit_window", "says nothing without a limit"),
        ("count_refused = true", "count_refused", "says nothing"),
        ("max_tokens = 5", "max_tokens", "says nothing"),
        ("requests_per_minute = 6\nlimit_window = \"0s\"", "limit_window", "window of 0"),
        ("requests_per_minute = 6\nlimit_window = \"1s\"", "requests_per_minute", "nothing ever passes"),
    ] {
        let config = scenario(STEADY, &format!("ttft = \"1ms\"\n{api}"), "");
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        assert_eq!(error.path.join(" "), format!("components api {place}"), "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    for bad in ["", "ttft = \"1ms\"\nprice = \"$1\"", "ttft = \"1ms\"\nrequests_per_minute = 0"] {
        assert!(toml::from_str::<ExternalApiConfig>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_retry_waits_as_long_as_the_refusal_asks() {
    // One call in a bucket that holds one, and one more each ten seconds; a request each five.
    let traffic = STEADY.replace("\"1/s\"", "\"12/min\"");
    let api = "ttft = \"100ms\"\nrequests_per_minute = 6\nlimit_window = \"10s\"";
    let link = "[links.\"web -> api\"]\nretry = { max_attempts = 2, backoff = \"1s\" }";
    let output = simulate(&scenario(&traffic, api, link), 11);
    let latency = &output.requests[0].latency;
    // At 5 s at once; at 10 s refused, and told to wait until 15 s rather than one second.
    assert_eq!((latency.min(), latency.max()), (Some(100_000_000), Some(5_100_000_000)));
    assert_eq!(output.requests[0].outcomes, [2, 0, 0, 0, 0]);
}

/// Whoever waits as long as told gets through, also where refused calls count.
#[test]
fn the_wait_that_a_refusal_tells_suffices() {
    for count_refused in [false, true] {
        let window = SimDuration::from_secs(1);
        let mut limits = limits::Limits::new(Some(60), None, window, count_refused);
        let at = |millis: u64| SimTime::from_nanos(millis * 1_000_000);
        limits.take(1, at(10_000)).unwrap();
        let wait = limits.take(1, at(10_500)).unwrap_err().retry_after.unwrap();
        let expected = if count_refused { 1_000 } else { 500 };
        assert_eq!(wait, SimDuration::from_millis(expected));
        limits.take(1, at(10_500 + expected)).unwrap();
    }
}
