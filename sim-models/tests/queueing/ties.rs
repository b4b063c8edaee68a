//! Equal runs are equal, and the order of simultaneous events is no part of the model.

use sim_core::stats::Moments;
use sim_models::system::RunPlan;

use crate::harness::{drained, meter, parse, plan, seconds, simulate};

/// All times are multiples of 10 ms, so that arrivals, ends and forks coincide all the time.
const LATTICE: &str = "
    [traffic.web]
    arrivals = { process = \"deterministic\", rate = \"10/s\" }
    entry = \"page\"
    [traffic.batch]
    arrivals = { process = \"deterministic\", rate = \"5/s\" }
    entry = \"page\"
    [components.page]
    kind = \"flow\"
    steps = [{ parallel = [\"a\", \"b\"] }, \"c\"]
    [components.a]
    kind = \"service\"
    service_time = { empirical = { samples = [\"10ms\", \"20ms\", \"50ms\", \"100ms\"] } }
    [components.b]
    kind = \"service\"
    discipline = \"processor_sharing\"
    service_time = { empirical = { samples = [\"10ms\", \"60ms\"] } }
    [components.c]
    kind = \"service\"
    servers = 2
    discipline = \"srpt\"
    service_time = { empirical = { samples = [\"20ms\", \"40ms\", \"200ms\"] } }
    error_rate = 0.1
    [links.\"page -> a\"]
    timeout = \"300ms\"
    cancel_on_timeout = true
";

#[test]
fn equal_runs_have_equal_fingerprints() {
    let system = parse(LATTICE);
    let run = |seed, replication| {
        let output = simulate(&system, &RunPlan { seed, replication, ..plan(0.0, 200.0) });
        (output.fingerprint, output.outcome_hash, output.events)
    };
    assert_eq!(run(1, 0), run(1, 0));
    assert_ne!(run(1, 0), run(2, 0));
    assert_ne!(run(1, 0), run(1, 1));
}

#[test]
fn the_order_of_ties_is_noise() {
    let system = parse(LATTICE);
    let mut latencies = [Moments::new(), Moments::new()];
    let mut failures = [Moments::new(), Moments::new()];
    let mut changed = 0;
    for replication in 0..60 {
        let plain = RunPlan { replication, ..drained(plan(0.0, 500.0)) };
        let shuffled = RunPlan { shuffle_ties: Some(replication), seed: 2, ..plain.clone() };
        let runs = [simulate(&system, &plain), simulate(&system, &shuffled)];
        for (output, (latency, failed)) in runs.iter().zip(latencies.iter_mut().zip(&mut failures)) {
            latency.push(seconds(meter(output, "page").latency.mean()));
            failed.push(output.conservation.ended[4] as f64 / output.conservation.born as f64);
        }
        let same_luck = simulate(&system, &RunPlan { shuffle_ties: Some(replication), ..plain });
        changed += u32::from(same_luck.outcome_hash != runs[0].outcome_hash);
    }
    // The check sees the ties: other orders make other runs.
    assert!(changed > 50, "the order changed {changed} of 60 runs");
    for (name, [plain, shuffled]) in [("latency", latencies), ("failures", failures)] {
        let difference = shuffled.mean().unwrap() - plain.mean().unwrap();
        let errors = [plain, shuffled].map(|moments| moments.standard_error().unwrap());
        let z = difference / (errors[0] * errors[0] + errors[1] * errors[1]).sqrt();
        println!(
            "ties: {name} {:.6} shuffled {:.6} z {z:+.2}",
            plain.mean().unwrap(),
            shuffled.mean().unwrap()
        );
        assert!(z.abs() <= 4.0, "{name}: z = {z}");
    }
}
