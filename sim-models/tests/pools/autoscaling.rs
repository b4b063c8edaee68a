//! Pools whose replicas come and go, against the arithmetic of their controllers.

use sim_models::system::{RunOutput, RunPlan, SystemConfig, Traces, build};

use crate::{component, seconds, simulate};

fn measure(output: &RunOutput, name: &str) -> f64 {
    let measures = &component(output, "pool").measures;
    let found = measures.iter().find(|measure| measure.name == name);
    found.and_then(|measure| measure.value).unwrap_or_else(|| panic!("no {name} in {measures:?}"))
}

/// Fifty calls a second from the first second on, of 2 s each, ten at a time in a replica, for ten minutes: 10 replicas
/// can serve them, and 15 are at their target.
fn step(pool: &str, seed: u64) -> RunOutput {
    let system = format!(
        r#"
        [traffic.web]
        arrivals = {{ process = "deterministic", rate = "50/s" }}
        entry = "pool"
        [components.pool]
        kind = "service"
        service_time = {{ exponential = {{ mean = "2s" }} }}
        servers = 10
        price_per_hour = "$0.1/h"
        {pool}
        "#
    );
    let plan = RunPlan { duration: seconds(600.0), seed, ..RunPlan::default() };
    let output = simulate(&system, &plan);
    assert!(output.conservation.holds());
    output
}

fn knative(initial: u32, cold_start: u32, keys: &str, seed: u64) -> RunOutput {
    let scaler = format!("autoscaler = {{ kind = \"knative\", initial_scale = {initial}{keys} }}");
    step(&format!("{scaler}\ncold_start = {{ init = \"{cold_start}s\" }}"), seed)
}

fn mean(outputs: &[RunOutput], name: &str) -> f64 {
    outputs.iter().map(|output| measure(output, name)).sum::<f64>() / outputs.len() as f64
}

/// The overshoot of Knative's algorithm when pods start slowly: peaks and backlogs of a fluid model under this step,
/// by the time of a cold start, from no ready pod and from one. Calls that wait count as concurrency.
#[test]
fn a_slow_start_makes_knative_ask_for_far_too_many() {
    for (cold, from_zero, from_one, backlog) in [
        (2, 27.0, 25.0, 200.0),
        (10, 85.0, 77.0, 605.0),
        (30, 227.0, 205.0, 1600.0),
        (60, 441.0, 398.0, 3100.0),
        (120, 871.0, 784.0, 6105.0),
    ] {
        for (initial, expected) in [(0, from_zero), (1, from_one)] {
            let runs: Vec<RunOutput> = (0..5).map(|seed| knative(initial, cold, "", seed)).collect();
            let (peak, queue) = (mean(&runs, "desired_max"), mean(&runs, "front_queue_max"));
            println!("{cold} s from {initial}: {peak} replicas, {queue} calls in front");
            assert!((peak / expected - 1.0).abs() < 0.06, "{cold} s from {initial}: {peak}, not {expected}");
            if initial == 0 {
                assert!((queue / backlog - 1.0).abs() < 0.06, "{cold} s: {queue} in front, not {backlog}");
            }
        }
    }
}

/// A bound is the only guard; the queue is the same.
#[test]
fn a_bound_on_the_scale_costs_nothing_here() {
    let (free, bounded) = (knative(0, 60, "", 1), knative(0, 60, ", max_scale = 20", 1));
    assert_eq!(measure(&bounded, "desired_max"), 20.0);
    let queues = [&free, &bounded].map(|output| measure(output, "front_queue_max"));
    assert!((queues[0] / queues[1] - 1.0).abs() < 0.01, "{queues:?}");
    let cost = |output: &RunOutput| output.costs[0].usd_per_hour;
    assert!(cost(&bounded) < 0.25 * cost(&free), "{} of {}", cost(&bounded), cost(&free));
    // Ten servers of a replica, from the moment it is asked for.
    let held = measure(&bounded, "replicas_mean") * 10.0 * 0.1;
    assert!((cost(&bounded) - held).abs() < 1e-9);
}

/// 100 calls in service and 2.5 a replica make 40; those that queued up before make it more, up to the bound. Nobody
/// waits in front, as there is always a replica.
#[test]
fn hpa_goes_up_to_its_bound() {
    let hpa = "autoscaler = { kind = \"hpa\", metric = \"concurrency\", target = 2.5, max_replicas = 60 }";
    let output = step(hpa, 1);
    assert_eq!(measure(&output, "desired_max"), 60.0);
    assert_eq!(measure(&output, "front_queue_max"), 0.0);
    assert!(measure(&output, "replicas_mean") > 35.0);
}

#[test]
fn a_pool_asleep_wakes_and_goes_back_to_sleep() {
    let system = r#"
        [traffic.web]
        arrivals = { process = "step", steps = [{ at = "5m", rate = "0.1/s" }, { at = "6m", rate = "0.000001/s" }, { at = "14m", rate = "0.1/s" }] }
        entry = "pool"
        [components.pool]
        kind = "service"
        service_time = "100ms"
        servers = 10
        autoscaler = { kind = "knative" }
        cold_start = { node = "20s", init = "10s" }
    "#;
    let plan = RunPlan { duration: seconds(900.0), ..RunPlan::default() };
    let output = simulate(system, &plan);
    // The first pod goes after the grace period. Others are started for the first calls of the sixth and the last minute.
    assert_eq!(measure(&output, "cold_starts"), 2.0);
    assert_eq!((measure(&output, "cold_start_node_s"), measure(&output, "cold_start_init_s")), (20.0, 10.0));
    let latency = &component(&output, "pool").meter.latency;
    assert!(latency.max() > Some(25_000_000_000), "the first calls wait for the cold start");
    let held = measure(&output, "replicas_mean") * output.end.as_secs_f64();
    // 32 s; from the first call of the sixth minute to a window of 60 s and a grace of 30 s after the last; and what is
    // left of the last minute.
    assert!((130.0..244.0).contains(&held), "{held} s");
}

#[test]
fn keys_need_one_another() {
    for (keys, path) in [
        ("cold_start = { init = \"1s\" }", "components.pool.cold_start"),
        ("replica_quota = 3", "components.pool.replica_quota"),
        (
            "autoscaler = { kind = \"knative\", initial_scale = 5 }\nreplica_quota = 3",
            "components.pool.replica_quota",
        ),
        ("autoscaler = { kind = \"hpa\", target = 0 }", "components.pool.autoscaler.target"),
        (
            "autoscaler = { kind = \"hpa\" }\ncold_start = { image = \"1GB\", image_bandwidth = \"0B\" }",
            "components.pool.cold_start.image_bandwidth",
        ),
    ] {
        let system = format!(
            "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"1/s\" }}\nentry = \"pool\"\n
             [components.pool]\nkind = \"service\"\nservice_time = \"1s\"\n{keys}"
        );
        let config: SystemConfig = toml::from_str(&system).unwrap();
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        assert_eq!(error.path.join("."), path, "{keys}");
    }
}
