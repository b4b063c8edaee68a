//! Retry storms (experiment M1): what keeps a system down when the trigger is over.
//!
//! Ten servers of 100 ms, 100 requests a second together, whose callers wait for a second; from 60 s to 75 s
//! they have 40% of their capacity. What is asked is the goodput of the last minute of five.

use super::*;

#[derive(Debug, PartialEq)]
enum Verdict {
    /// At least 95% of the requests are answered.
    Recovered,
    /// At most 15% are.
    Collapsed,
    Neither,
}

/// Goodput of the last minute, and calls a request.
fn goodput(rate: f64, policies: &str, service: &str, seed: u64) -> (f64, f64) {
    let text = format!(
        "[components.edge]\nkind = \"service\"\nservers = 10\nservice_time = {{ exponential = {{ mean = \"100ms\" }} }}\n{service}\n{}{}",
        link("web -> edge", &format!("per_try_timeout = \"1s\"\n{policies}")),
        fault(60, "edge", "kind = \"crash\"\nreplicas = 6\nrepair = \"15s\"")
    );
    let plan = RunPlan { seed, windows: 5, drain: SimDuration::ZERO, ..seconds(300) };
    let output = simulate_with(&arrivals("poisson", rate, &text), &plan);
    let last = output.windows.last().unwrap();
    let amplification = meter(&output, "edge").calls as f64 / output.conservation.born as f64;
    (last.outcomes[Outcome::Ok as usize] as f64 / 60.0, amplification)
}

fn check(name: &str, policies: &str, service: &str, expected: [bool; 3]) {
    for (rate, recovers) in [40.0, 60.0, 80.0].into_iter().zip(expected) {
        let (goodput, amplification) = goodput(rate, policies, service, SEED);
        println!("{name} at {rate}/s: {goodput:.1} rps, {amplification:.2} calls a request");
        let verdict = match goodput / rate {
            share if share >= 0.95 => Verdict::Recovered,
            share if share <= 0.15 => Verdict::Collapsed,
            _ => Verdict::Neither,
        };
        let expected = if recovers { Verdict::Recovered } else { Verdict::Collapsed };
        assert_eq!(verdict, expected, "{name} at {rate}/s: {goodput} rps");
    }
}

/// Two kinds of cells stand on the edge, where the seed decides: retries without a bound at 40/s, which is all
/// that is left during the trigger (6 of 12 seeds are pushed over), and a budget of 20% at 80/s, which leaves
/// 4/s to work off a backlog of some 840 (6 of 12 seeds need more than the four minutes). With this seed
/// they fall as in the reference simulation; beside the edge the last test asks many seeds.
const SEED: u64 = 3;

const STAYS_UP: [bool; 3] = [true, true, true];
/// At 40/s even the trigger leaves capacity enough.
const GOES_DOWN: [bool; 3] = [true, false, false];
const THREE: &str = "retry = { max_attempts = 4 }";

#[test]
fn without_retries_it_recovers() {
    check("no retry", "", "", STAYS_UP);
}

#[test]
fn retries_keep_it_down() {
    check("1 retry", "retry = { max_attempts = 2 }", "", GOES_DOWN);
    check("3 retries", THREE, "", GOES_DOWN);
}

#[test]
fn backoff_and_jitter_do_not_help() {
    for base in ["100ms", "1s"] {
        let retry =
            format!("retry = {{ max_attempts = 4, backoff = {{ base = \"{base}\" }}, jitter = \"full\" }}");
        check(&format!("backoff {base}"), &retry, "", GOES_DOWN);
    }
}

#[test]
fn dropping_the_expired_does_not_help() {
    check("drop expired", THREE, "admission = { drop_expired = true }", GOES_DOWN);
}

#[test]
fn a_retry_budget_helps() {
    for budget in ["0.1", "0.2"] {
        let retry = format!("retry = {{ max_attempts = 4, budget = {budget} }}");
        check(&format!("budget {budget}"), &retry, "", STAYS_UP);
    }
}

#[test]
fn a_short_queue_or_the_last_first_helps() {
    check("queue cap 50", THREE, "queue_cap = 50", STAYS_UP);
    check("LIFO", THREE, "discipline = \"lifo\"", STAYS_UP);
}

#[test]
fn beside_the_edge_no_seed_decides() {
    for seed in 1..=6 {
        let (answered, _) = goodput(34.0, THREE, "", seed);
        assert!(answered >= 0.95 * 34.0, "34/s, seed {seed}: {answered} rps");
        let (answered, _) = goodput(74.0, "retry = { max_attempts = 4, budget = 0.2 }", "", seed);
        assert!(answered >= 0.95 * 74.0, "74/s with a budget, seed {seed}: {answered} rps");
        let (answered, amplification) = goodput(46.0, THREE, "", seed);
        assert!(answered <= 0.15 * 46.0 && amplification > 3.0, "46/s, seed {seed}: {answered} rps");
    }
}
