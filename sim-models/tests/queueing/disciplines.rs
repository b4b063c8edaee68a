//! Priorities, processor sharing and service by size.

use sim_models::system::RunOutput;

use crate::harness::{Row, drained, number, plan, poisson, seconds, sojourn, wait};

const EXPONENTIAL: &str = "{ exponential = { mean = \"1s\" } }";
const CONSTANT: &str = "\"1s\"";
const HYPER: &str = "{ hyperexponential = { mean = \"1s\", cv = 2 } }";

/// Cobham (1954) for the non-preemptive wait, and the preemptive-resume sojourn; classes at 0.2, 0.3
/// and 0.4 a second.
#[test]
fn priorities() {
    for (name, law, discipline, sojourns) in [
        ("np exp", EXPONENTIAL, "priority", [2.125, 3.25, 19.0]),
        ("np det", CONSTANT, "priority", [1.5625, 2.125, 10.0]),
        ("pr exp", EXPONENTIAL, "preemptive_priority", [1.25, 2.5, 20.0]),
        ("pr det", CONSTANT, "preemptive_priority", [1.125, 1.875, 11.0]),
    ] {
        let service = format!("service_time = {law}\ndiscipline = \"{discipline}\"");
        let shares =
            "[traffic.web.priority]\nfirst = 0.2222222222\nsecond = 0.3333333333\nthird = 0.4444444445\n";
        let system = poisson(0.9, &service).replace("[components", &format!("{shares}[components"));
        let of = |class: usize| move |output: &RunOutput| seconds(output.requests[class].latency.mean());
        Row::new(format!("priority {name}"), &system, drained(plan(3_000.0, 150_000.0)))
            .expect("W1", sojourns[0], 0.02, of(0))
            .expect("W2", sojourns[1], 0.02, of(1))
            .expect("W3", sojourns[2], 0.06, of(2))
            .check();
    }
}

/// W = 1 / (1 - rho) for any law of mean 1.
#[test]
fn processor_sharing() {
    for (rho, law, name, measured) in [
        (0.5, CONSTANT, "det", 40_000.0),
        (0.5, EXPONENTIAL, "exp", 50_000.0),
        (0.5, HYPER, "H2", 80_000.0),
        (0.8, CONSTANT, "det", 100_000.0),
        (0.8, EXPONENTIAL, "exp", 100_000.0),
        (0.8, HYPER, "H2", 200_000.0),
        (0.9, CONSTANT, "det", 250_000.0),
        (0.9, EXPONENTIAL, "exp", 250_000.0),
        (0.9, HYPER, "H2", 500_000.0),
    ] {
        let service = format!("service_time = {law}\ndiscipline = \"processor_sharing\"");
        Row::new(format!("M/G/1-PS {name} rho {rho}"), &poisson(rho, &service), plan(5_000.0, measured))
            .expect("W", 1.0 / (1.0 - rho), 0.04, sojourn("db"))
            .expect("L", rho / (1.0 - rho), 0.04, number("db"))
            .check();
    }
}

/// Shortest job first by Phipps (1956), shortest remaining time by Schrage and Miller (1966).
#[test]
fn by_size() {
    for (rho, shortest_first, shortest_remaining, measured) in [
        (0.5, 0.712686, 1.425373, 50_000.0),
        (0.8, 1.882219, 2.352773, 100_000.0),
        (0.9, 3.196913, 3.552125, 220_000.0),
    ] {
        let service = |discipline| format!("service_time = {EXPONENTIAL}\ndiscipline = \"{discipline}\"");
        Row::new(format!("M/M/1 SJF rho {rho}"), &poisson(rho, &service("sjf")), plan(5_000.0, measured))
            .expect("Wq", shortest_first, 0.03, wait("db"))
            .check();
        Row::new(format!("M/M/1 SRPT rho {rho}"), &poisson(rho, &service("srpt")), plan(5_000.0, measured))
            .expect("W", shortest_remaining, 0.03, sojourn("db"))
            .check();
    }
}
