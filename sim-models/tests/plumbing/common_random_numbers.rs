//! Compared variants meet the same requests and the same luck. The outcome hash is a sum over requests,
//! so that the hash of two paths with nothing in common is the sum of their hashes.

use super::*;

/// A source, a router by difficulty, and two models, one of which is busy enough to queue, over links
/// with a random latency.
fn path(name: &str) -> String {
    format!(
        "[traffic.{name}]\nentry = \"{name}-edge\"\n\
         arrivals = {{ process = \"poisson\", rate = \"80/s\" }}\npriority = {{ high = 0.2, low = 0.8 }}\n\
         prompt_tokens = {{ lognormal = {{ mean = 500, cv = 1 }} }}\ndeadline = \"400ms\"\n{}\
         [components.{name}-store]\nkind = \"feature_store\"\nfeatures = 20\nlookup = {{ exponential = {{ mean = \"1ms\" }} }}\nread_timeout = \"5ms\"\n\
         [components.{name}-router]\nkind = \"router\"\npolicy = \"rules\"\n\
         rules = [{{ when = {{ prompt_tokens_above = 800 }}, to = \"{name}-large\" }}, {{ when = {{ classes = [\"high\"], difficulty_above = 0.5 }}, to = \"{name}-large\" }}]\n\
         default = \"{name}-dice\"\n\
         [components.{name}-dice]\nkind = \"router\"\npolicy = \"random\"\nshares = {{ {name}-large = 0.2, {name}-small = 0.8 }}\n\
         [components.{name}-small]\nkind = \"service\"\nservice_time = {{ exponential = {{ mean = \"10ms\" }} }}\nservers = 2\n\
         [components.{name}-large]\nkind = \"service\"\nservice_time = {{ exponential = {{ mean = \"30ms\" }} }}\nerror_rate = 0.01\n\
         [links.\"{name}-edge -> {name}-router\"]\nlatency = {{ exponential = {{ mean = \"2ms\" }} }}\n",
        flow(&format!("{name}-edge"), &format!("\"{name}-store\", \"{name}-router\"")),
    )
}

fn hash(text: &str) -> u64 {
    let output = simulate(text);
    assert!(output.conservation.born > 700 && output.conservation.in_flight == 0);
    output.outcome_hash
}

#[test]
fn a_path_of_its_own_leaves_every_request_elsewhere_as_it_was() {
    let (a, b) = (hash(&path("a")), hash(&path("b")));
    assert_ne!(a, b);
    assert_eq!(hash(&format!("{}{}", path("a"), path("b"))), a.wrapping_add(b));
    // In another order, too.
    assert_eq!(hash(&format!("{}{}", path("b"), path("a"))), a.wrapping_add(b));
}

#[test]
fn a_link_or_component_on_another_path_changes_nothing_here() {
    let a = hash(&path("a"));
    let plain = path("b");
    for changed in [
        format!(
            "{plain}{}",
            link("b-dice -> b-large", "latency = \"7ms\"\ntimeout = \"50ms\"\ncancel_on_timeout = true")
        ),
        format!(
            "{}{}",
            plain.replace("\"b-store\", \"b-router\"", "\"b-guard\", \"b-store\", \"b-router\""),
            service("b-guard", "service_time = { lognormal = { mean = \"5ms\", cv = 1 } }")
        ),
        plain.replace("rate = \"80/s\"", "rate = \"95/s\""),
        format!("{plain}[[fault]]\nat = \"2s\"\ntarget = \"b-large\"\nkind = \"crash\"\nrepair = \"1s\"\n"),
    ] {
        let b = hash(&changed);
        assert_ne!(b, hash(&plain), "the change must show");
        assert_eq!(hash(&format!("{}{changed}", path("a"))), a.wrapping_add(b), "{changed}");
    }
}

#[test]
fn the_spelling_of_a_link_is_no_luck() {
    let text = path("a");
    assert_eq!(hash(&text.replace("a-edge -> a-router", "a-edge->a-router")), hash(&text));
}

#[test]
fn a_constant_latency_shifts_every_uncontended_request_by_itself() {
    let text = |latency: &str| {
        format!(
            "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"100/s\" }}\nentry = \"edge\"\n{}{}{}",
            flow("edge", "\"db\", { call = \"db\", repeat = 2 }"),
            service("db", "service_time = { exponential = { mean = \"10ms\" } }"),
            link("edge -> db", &format!("latency = \"{latency}\"")),
        )
    };
    let (near, far) = (simulate(&text("0s")), simulate(&text("4ms")));
    assert_eq!(near.conservation, far.conservation);
    let shift = far.requests[0].latency.sum() - near.requests[0].latency.sum();
    assert_eq!(shift, u128::from(near.conservation.born) * 3 * 8 * u128::from(MILLISECOND));
}

#[test]
fn seeds_and_replications_are_other_luck() {
    let text = path("a");
    let with = |seed, replication| simulate_with(&text, &RunPlan { seed, replication, ..ten_seconds() });
    let first = with(1, 0);
    assert_eq!(first.fingerprint, with(1, 0).fingerprint);
    for (seed, replication) in [(1, 1), (2, 0)] {
        assert_ne!(first.outcome_hash, with(seed, replication).outcome_hash);
    }
}
