mod balancers;
mod health;
mod interruptions;
mod readiness;
mod warm;

use sim_core::time::SimDuration;

use super::*;
use crate::error::ConfigError;
use crate::system::{ComponentOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};

/// A pool `db` behind traffic `web` of so many requests a second, evenly spaced.
fn pool(rate: u32, service: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"{rate}/s\" }}\nentry = \"db\"\n
         [components.db]\nkind = \"service\"\n{service}\n"
    )
}

fn fault(kind: &str, at: &str, settings: &str) -> String {
    format!("[[fault]]\ntarget = \"db\"\nkind = \"{kind}\"\nat = \"{at}\"\n{settings}\n")
}

/// Requests are born for so many seconds; the run goes on for ten minutes at most.
fn simulate(system: &str, seconds: u64, seed: u64) -> RunOutput {
    let config: SystemConfig = toml::from_str(system).unwrap_or_else(|error| panic!("{error}\n{system}"));
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(600),
        seed,
        ..RunPlan::default()
    };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

fn mistake(system: &str) -> ConfigError {
    let config: SystemConfig = toml::from_str(system).unwrap();
    build(&config, &RunPlan::default(), &Traces::new()).unwrap_err()
}

fn db(output: &RunOutput) -> &ComponentOutput {
    output.components.iter().find(|component| component.name == "db").unwrap()
}

fn report(output: &RunOutput) -> &PoolReport {
    db(output).pool.as_ref().unwrap()
}

/// Calls that each replica took.
fn calls(output: &RunOutput) -> Vec<u64> {
    report(output).replicas.iter().map(|replica| replica.calls).collect()
}

#[test]
fn each_replica_has_its_own_servers_and_queue() {
    let service = "service_time = \"3s\"\nreplicas = 2\nservers = 2\nqueue_cap = 0";
    let output = simulate(&pool(1, service), 12, 1);
    // In turn: one replica gets calls 1, 3, 5, ..., each a second late for the third of its own.
    assert_eq!((calls(&output), db(&output).meter.outcomes), (vec![6, 6], [12, 0, 0, 0, 0]));
    let output = simulate(&pool(1, &service.replace("servers = 2", "servers = 1")), 12, 1);
    // One in 1-4 s, the other in 2-5 s: calls 3 and 4 find them busy.
    assert_eq!((calls(&output), db(&output).meter.outcomes), (vec![3, 3], [6, 0, 6, 0, 0]));
    let busy: Vec<f64> = report(&output).replicas.iter().map(|replica| replica.busy_mean).collect();
    let of_db = db(&output).meter.busy.mean(output.end);
    assert!((busy.iter().sum::<f64>() - of_db).abs() < 1e-12 && busy[0] > 0.0, "{busy:?} {of_db}");
    let capacity = db(&output).meter.capacity.integral(output.end);
    assert_eq!(capacity, 2 * u128::from(output.end.as_nanos()));
}

/// One queue for all servers, two queues, and processor sharing of each.
#[test]
fn disciplines_hold_in_every_replica() {
    for discipline in ["fcfs", "lifo", "priority", "sjf", "srpt", "processor_sharing"] {
        let service = format!(
            "service_time = {{ exponential = {{ mean = \"180ms\" }} }}\nreplicas = 2\n\
             discipline = \"{discipline}\""
        );
        let output = simulate(&pool(10, &service), 200, 1);
        assert_eq!(db(&output).meter.outcomes, [2000, 0, 0, 0, 0], "{discipline}");
        assert_eq!(calls(&output), [1000, 1000], "{discipline}");
        // Little's law, to the nanosecond.
        let present =
            db(&output).meter.queue.integral(output.end) + db(&output).meter.busy.integral(output.end);
        assert_eq!(present, db(&output).meter.latency.sum(), "{discipline}");
        let of_replicas: f64 = report(&output).replicas.iter().map(|r| r.queue_mean + r.busy_mean).sum();
        let mean = present as f64 / output.end.as_nanos() as f64;
        assert!((of_replicas / mean - 1.0).abs() < 1e-9, "{discipline}: {of_replicas} {mean}");
    }
}

#[test]
fn what_happens_before_the_measured_part_is_not_reported() {
    let config: SystemConfig = toml::from_str(&pool(10, "service_time = \"10ms\"\nreplicas = 2")).unwrap();
    let plan = RunPlan {
        duration: SimDuration::from_secs(20),
        warmup: SimDuration::from_secs(10),
        ..RunPlan::default()
    };
    let output = run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap();
    assert_eq!(calls(&output).iter().sum::<u64>(), db(&output).meter.calls);
    assert!((report(&output).replicas[0].busy_mean - 0.05).abs() < 1e-3);
}

#[test]
fn settings_of_a_pool_need_a_pool() {
    for (setting, key) in [("balancer = \"random\"", "balancer"), ("health = \"envoy\"", "health")] {
        let error = mistake(&pool(1, &format!("service_time = \"1s\"\n{setting}")));
        assert_eq!(error.path, ["components", "db", key]);
        assert!(error.help.unwrap().contains("replicas"), "{setting}");
    }
    for (setting, path) in [
        ("balancer = \"prefix_aware\"", &["balancer"][..]),
        (
            "balancer = { least_request = { choice_count = 1 } }",
            &["balancer", "least_request", "choice_count"],
        ),
        ("health = { active = { timeout = \"1m\" } }", &["health", "active", "timeout"]),
    ] {
        let error = mistake(&pool(1, &format!("service_time = \"1s\"\nreplicas = 2\n{setting}")));
        assert_eq!(error.path[2..], *path, "{error}");
    }
    let bounded = "replicas = 2\nbalancer = \"least_request\"\nautoscaler = { kind = \"knative\" }";
    let error = mistake(&pool(1, &format!("service_time = \"1s\"\n{bounded}")));
    assert_eq!(error.path, ["components", "db", "balancer"]);
    let error = mistake(&pool(1, "service_time = \"1s\"\nreplicas = 5000"));
    assert_eq!(error.path, ["components", "db", "replicas"]);
    for kind in ["hang", "drain"] {
        let error = mistake(&pool(1, &format!("service_time = \"1s\"\n{}", fault(kind, "1s", ""))));
        assert_eq!(error.path, ["fault", "0", "kind"]);
        assert!(error.help.unwrap().contains("`model_server` with `replicas`"));
        let error = mistake(&pool(
            1,
            &format!("service_time = \"1s\"\nreplicas = 2\n{}", fault(kind, "1s", "factor = 2.0")),
        ));
        assert_eq!(error.path, ["fault", "0", "factor"]);
    }
}
