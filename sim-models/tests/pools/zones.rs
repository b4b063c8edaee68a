//! Replicas in zones, and a zone that is lost.

use sim_models::request::Outcome;
use sim_models::system::RunPlan;

use super::{component, pool, seconds, simulate};

/// Six replicas of ten servers each, in three zones in turn, with services of 1 s: 60 calls a second.
fn system(rate: u32, more: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"{rate}/s\" }}\nentry = \"db\"\n
         [components.db]\nkind = \"service\"\nservice_time = \"1s\"\nservers = 10\nreplicas = 6\nqueue_cap = 0\n\
         [placement]\ndb = [\"a\", \"b\", \"c\"]\n{more}\n"
    )
}

fn lost(zone: &str, more: &str) -> String {
    format!("[[fault]]\nkind = \"zone_loss\"\ntarget = \"{zone}\"\nat = \"20s\"\n{more}\n")
}

/// Answers a second from 100 s to 200 s, long after the health checks know of it.
fn goodput(system: &str) -> f64 {
    let plan = RunPlan { duration: seconds(200.0), warmup: seconds(100.0), ..RunPlan::default() };
    component(&simulate(system, &plan), "db").meter.outcomes[Outcome::Ok as usize] as f64 / 100.0
}

/// With N + 1 zones, two of three carry all: up to 40 calls a second. Above, ten of the calls
/// that come to a replica while it works on one, 45 / 4 or 59 / 4 rounded up, are answered, and the rest is rejected.
#[test]
fn two_of_three_zones_carry_what_they_are_sized_for() {
    for (rate, expected) in [(38, 38.0), (45, 45.0 * 10.0 / 12.0), (59, 59.0 * 10.0 / 15.0)] {
        let measured = goodput(&system(rate, &lost("b", "")));
        println!("{rate}/s with a zone lost: {measured:.2}, expected {expected}");
        assert!((measured - expected).abs() <= 0.01 * expected, "{rate}: {measured}");
        assert!((goodput(&system(rate, "")) - f64::from(rate)).abs() <= 0.02 * f64::from(rate));
        // It is back at 60 s.
        let back = goodput(&system(rate, &lost("b", "repair = \"40s\"")));
        assert!((back - f64::from(rate)).abs() <= 0.02 * f64::from(rate), "{rate}: {back}");
    }
}

#[test]
fn a_zone_takes_what_is_in_it_and_nothing_else() {
    let plan = RunPlan { duration: seconds(200.0), warmup: seconds(100.0), ..RunPlan::default() };
    let calls = |system: &str| -> Vec<bool> {
        pool(&simulate(system, &plan)).replicas.iter().map(|replica| replica.calls > 0).collect()
    };
    assert_eq!(calls(&system(30, &lost("c", ""))), [true, true, false, true, true, false]);
    // Explicit counts: a, b, a, and again.
    let counts = system(30, &lost("a", "")).replace("[\"a\", \"b\", \"c\"]", "{ a = 2, b = 1 }");
    assert_eq!(calls(&counts), [false, true, false, false, true, false]);
    // What is no pool goes as a whole, and comes back.
    let single = system(5, &lost("a", "repair = \"130s\"")).replace("replicas = 6\n", "");
    let single = single.replace("[\"a\", \"b\", \"c\"]", "\"a\"");
    let output = simulate(&single, &plan);
    let outcomes = component(&output, "db").meter.outcomes;
    let unserved = outcomes[Outcome::Failed as usize] + outcomes[Outcome::Rejected as usize];
    assert!((unserved as f64 / 250.0 - 1.0).abs() < 0.05, "{outcomes:?}");
    // A replica that was down before is not mended by the crash's repair while its zone is lost.
    let crash =
        "[[fault]]\nkind = \"crash\"\ntarget = \"db\"\nat = \"10s\"\nreplicas = 1\nrepair = \"30s\"\n";
    assert_eq!(
        calls(&system(30, &format!("{crash}{}", lost("a", "")))),
        [false, true, true, false, true, true]
    );
}

/// From 10 s on five replicas are wanted in place of two, and there are none to be had from 5 s to 40 s.
#[test]
fn an_autoscaler_waits_while_there_is_no_stock() {
    for kind in [
        "kind = \"service\"\nservice_time = \"10ms\"",
        "kind = \"model_server\"\nexecution = { fixed = \"10ms\" }\nprice_per_hour = \"$1/h\"",
    ] {
        let system = |fault: &str| {
            format!(
                "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"10/s\" }}\nentry = \"db\"\n
                 [components.db]\n{kind}\nreplica_quota = 4\n\
                 autoscaler = {{ kind = \"schedule\", entries = [{{ from = \"0s\", replicas = 2 }}, {{ from = \"10s\", replicas = 5 }}] }}\n{fault}"
            )
        };
        let plan = RunPlan { duration: seconds(100.0), ..RunPlan::default() };
        let measures = |fault: &str| {
            let output = simulate(&system(fault), &plan);
            let db = component(&output, "db");
            ["replicas_mean", "replicas_short_mean"].map(|name| db.measure(name).unwrap())
        };
        // Four for 90 s: the quota has no fifth.
        let [mean, short] = measures("");
        assert!((mean - (20.0 + 360.0) / 100.0).abs() < 0.01 && (short - 0.9).abs() < 0.01, "{mean} {short}");
        // Two until 40 s, then four.
        let [mean, short] =
            measures("[[fault]]\nkind = \"stock_out\"\ntarget = \"db\"\nat = \"5s\"\nrepair = \"35s\"");
        assert!((mean - (80.0 + 240.0) / 100.0).abs() < 0.01, "{mean}");
        assert!((short - (3.0 * 30.0 + 60.0) / 100.0).abs() < 0.01, "{short}");
    }
}
