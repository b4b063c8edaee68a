mod predictions;

use super::*;
use crate::request::Outcome;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

fn simulate(text: &str, seconds: u64) -> RunOutput {
    let config: SystemConfig = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(1_000_000),
        ..RunPlan::default()
    };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

/// A router in front of `small`, `large` and `other`, which take 1, 2 and 4 ms.
fn scenario(traffic: &str, router: &str) -> String {
    format!(
        "[traffic.web]\nentry = \"router\"\n{traffic}\n
         [components.router]\nkind = \"router\"\n{router}\n
         [components.small]\nkind = \"service\"\nservice_time = \"1ms\"\nservers = 1000\n
         [components.large]\nkind = \"service\"\nservice_time = \"2ms\"\nservers = 1000\n
         [components.other]\nkind = \"service\"\nservice_time = \"4ms\"\nservers = 1000\n"
    )
}

const POISSON: &str = r#"arrivals = { process = "poisson", rate = "1000/s" }"#;
const EACH_SECOND: &str = r#"arrivals = { process = "deterministic", rate = "1/s" }"#;
const RANDOM: &str = "policy = \"random\"\nshares = { small = 0.7, large = 0.2, other = 0.1 }";

fn calls(output: &RunOutput, name: &str) -> u64 {
    output.components.iter().find(|component| component.name == name).unwrap().meter.calls
}

#[test]
fn requests_are_shared_out_as_the_shares_say() {
    let output = simulate(&scenario(POISSON, RANDOM), 100);
    let n = output.conservation.born as f64;
    for (name, share) in [("small", 0.7), ("large", 0.2), ("other", 0.1)] {
        let got = calls(&output, name) as f64;
        let z = (got - n * share) / (n * share * (1.0 - share)).sqrt();
        assert!(z.abs() <= 4.0, "{name}: {got} of {n}, z = {z}");
    }
    assert_eq!(output.conservation.ended, [output.conservation.born, 0, 0, 0, 0]);
    let output = simulate(&scenario(POISSON, "policy = \"random\"\nshares = { small = 1, large = 0 }"), 10);
    assert_eq!(calls(&output, "small"), output.conservation.born);
}

#[test]
fn the_first_rule_that_holds_decides() {
    let traffic = format!(
        "{POISSON}\nprompt_tokens = {{ uniform = {{ min = 1, max = 2000 }} }}\n
         output_tokens = {{ uniform = {{ min = 1, max = 100 }} }}\n
         priority = {{ critical = 0.25, standard = 0.75 }}\ntenants = {{ acme = 0.5, umbrella = 0.5 }}"
    );
    // Every condition by itself: how often it holds.
    for (when, share) in [
        ("prompt_tokens_above = 1500", 0.25),
        ("prompt_tokens_below = 501", 0.25),
        ("prompt_tokens_above = 500, prompt_tokens_below = 1501", 0.5),
        ("output_tokens_above = 50", 0.5),
        ("output_tokens_below = 26", 0.25),
        ("difficulty_above = 0.9", 0.1),
        ("difficulty_below = 0.3", 0.3),
        ("classes = [\"critical\"]", 0.25),
        ("classes = [\"standard\", \"critical\"]", 1.0),
        ("tenants = [\"umbrella\"]", 0.5),
        ("classes = [\"critical\"], tenants = [\"acme\"]", 0.125),
    ] {
        let router = format!(
            "policy = \"rules\"\nrules = [{{ when = {{ {when} }}, to = \"large\" }}]\ndefault = \"small\""
        );
        let output = simulate(&scenario(&traffic, &router), 20);
        let (n, large) = (output.conservation.born as f64, calls(&output, "large") as f64);
        // Token counts are rounded: up to one value in 99 more or less on either side.
        let slack = if when.contains("output") { 0.011 } else { 0.001 };
        let error = (large / n - share).abs() - slack;
        assert!(error <= 4.0 * (share * (1.0 - share) / n).sqrt(), "{when}: {large} of {n}");
        assert_eq!(calls(&output, "small") as f64, n - large);
    }
}

#[test]
fn rules_are_exact_at_their_bounds_and_keep_their_order() {
    let rules = "policy = \"rules\"\nrules = [{ when = { prompt_tokens_above = 1000 }, to = \"large\" }, \
                 { when = { prompt_tokens_above = 998 }, to = \"other\" }]\ndefault = \"small\"";
    for (tokens, name) in [(998, "small"), (999, "other"), (1000, "other"), (1001, "large")] {
        let output = simulate(&scenario(&format!("{EACH_SECOND}\nprompt_tokens = {tokens}"), rules), 5);
        assert_eq!(calls(&output, name), 5, "{tokens} tokens");
    }
}

/// What the requests met: the sum over requests of their ends.
fn ends(text: &str) -> (u64, [u64; 3]) {
    let output = simulate(text, 20);
    (output.outcome_hash, ["small", "large", "other"].map(|name| calls(&output, name)))
}

#[test]
fn another_component_changes_no_choice() {
    let plain = scenario(POISSON, RANDOM);
    let more = format!(
        "[traffic.api]\nentry = \"second\"\narrivals = {{ process = \"poisson\", rate = \"10/s\" }}\n
         [components.second]\nkind = \"router\"\npolicy = \"random\"\nshares = {{ third = 1 }}\n
         [components.third]\nkind = \"service\"\nservice_time = \"1ms\"\n{plain}"
    );
    let (hash, split) = ends(&plain);
    assert_eq!(ends(&more).1, split);
    // A component nobody calls leaves every request's end as it was, and so every choice.
    let idle = format!("[components.idle]\nkind = \"service\"\nservice_time = \"1ms\"\n{plain}");
    assert_eq!(ends(&idle), (hash, split));
    // Other shares move only as many requests as they must.
    let shifted = RANDOM.replace("0.7", "0.8").replace("0.2", "0.1");
    let (other_hash, other_split) = ends(&scenario(POISSON, &shifted));
    assert_ne!(other_hash, hash);
    assert_eq!(other_split[2], split[2]);
}

#[test]
fn the_classification_takes_its_time_however_many_are_in_it() {
    let router = "policy = \"random\"\nshares = { small = 1 }\nlatency = \"500ms\"";
    let output = simulate(&scenario(POISSON, router), 5);
    let latency = &output.requests[0].latency;
    assert_eq!((latency.min(), latency.max()), (Some(501_000_000), Some(501_000_000)));
    let meter = &output.components.iter().find(|component| component.name == "router").unwrap().meter;
    assert_eq!(meter.busy.integral(output.end), u128::from(output.conservation.born) * 500_000_000);
}

#[test]
fn a_cancelled_request_is_classified_or_served_no_further() {
    let link = "[links.\"web -> router\"]\ntimeout = \"1500us\"\ncancel_on_timeout = true";
    // Times out in the classification, and in the large model.
    for (latency, asked) in [("2ms", 0), ("500us", 5)] {
        let router = format!("policy = \"random\"\nshares = {{ large = 1 }}\nlatency = \"{latency}\"");
        let output = simulate(&format!("{}{link}", scenario(EACH_SECOND, &router)), 5);
        assert_eq!(output.conservation.ended[Outcome::TimedOut as usize], 5);
        assert_eq!(calls(&output, "large"), asked);
        let large = output.components.iter().find(|component| component.name == "large").unwrap();
        // The last cancellation may come after the end of the run.
        let worked = large.meter.busy.integral(output.end);
        assert_eq!(worked, u128::from(asked) * 1_000_000, "each worked from 0.5 to 1.5 ms");
    }
}

#[test]
fn a_crash_fails_what_is_in_the_router_and_what_comes_until_the_repair() {
    let router = "policy = \"random\"\nshares = { slow = 1 }\nlatency = \"600ms\"";
    let text = format!(
        "{}[components.slow]\nkind = \"service\"\nservice_time = \"1s\"\nservers = 10\n
         [[fault]]\nat = \"3500ms\"\ntarget = \"router\"\nkind = \"crash\"\nrepair = \"1s\"",
        scenario(EACH_SECOND, router)
    );
    let output = simulate(&text, 10);
    // Request 2 is being served, 3 classified, and 4 comes during the outage.
    assert_eq!(output.conservation.ended, [7, 0, 0, 0, 3]);
    let text = text.replace("kind = \"crash\"", "kind = \"slow\"\nfactor = 2");
    let latency = simulate(&text, 10).requests[0].latency.clone();
    // Request 4 alone begins while the router is slow.
    assert_eq!((latency.sum(), latency.max()), (9 * 1_600_000_000 + 2_200_000_000, latency.max()));
    assert!(latency.max().unwrap().abs_diff(2_200_000_000) < 3_000_000);
}

#[test]
fn what_cannot_be_routed_is_told_with_its_place() {
    let rule = |when: &str| {
        format!(
            "policy = \"rules\"\nrules = [{{ when = {{ {when} }}, to = \"large\" }}]\ndefault = \"small\""
        )
    };
    for (router, place, message) in [
        ("policy = \"random\"".to_owned(), "shares", "needs `shares`"),
        (
            "policy = \"random\"\nshares = { small = 0.7, large = 0.2 }".into(),
            "shares",
            "the shares sum to 0.899",
        ),
        ("policy = \"random\"\nshares = { small = 1.5, large = -0.5 }".into(), "shares small", "is 1.5"),
        ("policy = \"random\"\nshares = { small = nan }".into(), "shares small", "is NaN"),
        ("policy = \"random\"\nshares = { smol = 1 }".into(), "shares smol", "unknown component `smol`"),
        (
            "policy = \"random\"\nshares = { small = 1 }\ndefault = \"small\"".into(),
            "default",
            "`default` says nothing",
        ),
        (
            format!("{}\nshares = {{ small = 1 }}", rule("prompt_tokens_above = 9")),
            "shares",
            "`shares` says nothing",
        ),
        (rule("prompt_tokens_above = 9").replace("rules\"", "random\""), "rules", "`rules` says nothing"),
        ("policy = \"rules\"\ndefault = \"small\"".into(), "rules", "needs `rules`"),
        (rule("prompt_tokens_above = 9").replace("default = \"small\"", ""), "default", "needs a `default`"),
        (rule("prompt_tokens_above = 9").replace("small", "smol"), "default", "unknown component `smol`"),
        (rule("prompt_tokens_above = 9").replace("large", "lrge"), "rules 0 to", "unknown component `lrge`"),
        (rule(""), "rules 0 when", "without conditions"),
        (
            rule("output_tokens_above = 9, output_tokens_below = 10"),
            "rules 0 when output_tokens_below",
            "`output_tokens_above` is 9 and `output_tokens_below` is 10: that holds for no request",
        ),
        (rule("difficulty_below = 0"), "rules 0 when difficulty_below", "holds for no request"),
        (rule("classes = [\"default\", \"vip\"]"), "rules 0 when classes 1", "unknown class `vip`"),
        (rule("tenants = []"), "rules 0 when tenants", "is empty"),
    ] {
        let text = scenario(EACH_SECOND, &router);
        let config: SystemConfig = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        let path: Vec<&str> = ["components", "router"].into_iter().chain(place.split(' ')).collect();
        assert_eq!(error.path, path, "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    for bad in ["shares = { small = 1 }", "policy = \"oracle\"", &rule("prompt_tokens_over = 9")] {
        assert!(toml::from_str::<RouterConfig>(bad).is_err(), "{bad}");
    }
    let config: RouterConfig = toml::from_str(&rule("difficulty_above = 0.5, classes = [\"a\"]")).unwrap();
    assert_eq!(toml::from_str::<RouterConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
}
