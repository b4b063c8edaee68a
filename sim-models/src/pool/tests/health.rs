use sim_core::stats::Moments;

use super::*;
use crate::request::Outcome;

/// A pool of two behind 10 requests a second; the first replica breaks at 100.05 s for good. How long
/// until it gets no more calls, in seconds.
fn detection(kind: &str, health: &str, seed: u64) -> f64 {
    let fault = fault(kind, "100050ms", "replicas = 1");
    let service = format!("service_time = \"1ms\"\nreplicas = 2\n{health}\n{fault}");
    let output = simulate(&pool(10, &service), 200, seed);
    let ReplicaReport { calls, refused, .. } = report(&output).replicas[0];
    // The first of each second half is at 0.1 s; 500 before the fault, then 5 a second.
    (calls + refused - 500) as f64 / 5.0
}

fn within(kind: &str, health: &str, least: f64, most: f64) {
    let mut moments = Moments::new();
    for seed in 0..60 {
        let time = detection(kind, health, seed);
        assert!((least - 0.2..=most + 0.2).contains(&time), "{kind}: {time} s");
        moments.push(time);
    }
    let (mean, error) = (moments.mean().unwrap(), (most - least) / (12.0f64 * 60.0).sqrt());
    assert!((mean - (least + most) / 2.0).abs() <= 4.0 * error + 0.1, "{kind}: {mean} s on average");
}

/// Period 10 s, timeout 1 s, 3 failures, the phase uniform.
#[test]
fn kubernetes_finds_out_in_20_to_31_seconds() {
    within("crash", "", 20.0, 30.0);
    within("hang", "", 21.0, 31.0);
}

/// 3 s from the end of a check, timeout 1 s, 3 failures: 2 * (3 + 1) + 1 s for a hung replica.
#[test]
fn envoy_waits_from_the_end_of_a_check() {
    let health = "health = { active = { interval = \"3s\", pace = \"fixed_delay\" } }";
    within("crash", health, 6.0, 9.0);
    within("hang", health, 9.0, 12.0);
}

#[test]
fn without_checks_nobody_finds_out() {
    assert_eq!(detection("crash", "health = \"none\"", 1), 100.0);
    assert_eq!(detection("hang", "health = \"none\"", 1), 100.0);
}

#[test]
fn a_repaired_replica_comes_back_when_it_passes() {
    let back = |repair: &str, health: &str, seed: u64| {
        let fault = fault("crash", "100050ms", &format!("replicas = 1\nrepair = \"{repair}\""));
        let service = format!("service_time = \"1ms\"\nreplicas = 2\n{health}\n{fault}");
        let output = simulate(&pool(10, &service), 200, seed);
        let out = (1.0 - report(&output).replicas[0].available) * output.end.as_secs_f64();
        (out, report(&output).replicas[0].refused)
    };
    for seed in 0..20 {
        // Out from 20-30 s after the crash to at most 10 s after the repair.
        let (out, refused) = back("50s", "", seed);
        assert!((19.9..=40.1).contains(&out), "{out} s");
        assert!((99..=151).contains(&refused), "{refused}");
        // Back before the third check.
        assert_eq!(back("10s", "", seed).0, 0.0);
        // Three checks in a row have to pass: 20 s more.
        let slow = "health = { active = { healthy_threshold = 3 }, panic_threshold = 0 }";
        assert!((back("50s", slow, seed).0 - out - 20.0).abs() < 1e-6);
    }
}

#[test]
fn a_hung_replica_holds_its_calls_until_the_restart() {
    let fault = fault("hang", "10050ms", "replicas = 1\nrepair = \"5s\"");
    let service = format!("service_time = \"1s\"\nservers = 20\nreplicas = 2\nhealth = \"none\"\n{fault}");
    let output = simulate(&pool(10, &service), 20, 1);
    // 5 in it at the time, and 25 until the restart.
    assert_eq!(db(&output).meter.outcomes, [170, 0, 0, 0, 30]);
    let meter = &db(&output).meter;
    assert_eq!(meter.queue.integral(output.end) + meter.busy.integral(output.end), meter.latency.sum());
    assert_eq!(meter.queue.max(), 30);
    let report = &report(&output).replicas[0];
    assert!(
        (report.queue_mean * output.end.as_secs_f64() - 5.0 * 5.0 - 25.0 * 2.5).abs() < 2.0,
        "{report:?}"
    );
    // Callers that give up and say so leave it.
    let link = "[links.\"web -> db\"]\ntimeout = \"2s\"\ncancel_on_timeout = true";
    let output = simulate(&format!("{}{link}", pool(10, &service)), 20, 1);
    let [ok, _, _, timed_out, failed] = output.conservation.ended;
    assert!(ok == 170 && timed_out + failed == 30 && failed <= 10, "{:?}", output.conservation);
    assert!(db(&output).meter.queue.max() <= 15);
}

/// A hang shows to outlier detection as timeouts that reach it.
#[test]
fn timeouts_eject() {
    let fault = fault("hang", "10050ms", "replicas = 1");
    let service = "service_time = \"1ms\"\nreplicas = 10\nhealth = { outlier_detection = {} }";
    let link = "[links.\"web -> db\"]\ntimeout = \"1s\"\ncancel_on_timeout = true";
    let output = simulate(&format!("{}{link}\n{fault}", pool(100, service)), 39, 1);
    // 10 a second: the fifth comes 0.5 s after the first, and times out 1 s later.
    let lost = output.conservation.ended[Outcome::TimedOut as usize];
    assert!((14..=16).contains(&lost), "{lost} timed out");
    assert_eq!(report(&output).ejections, 1);
}

#[test]
fn a_crash_fails_what_is_in_the_replica() {
    let fault = fault("crash", "9950ms", "replicas = 1\nrepair = \"1s\"");
    for discipline in ["fcfs", "srpt", "processor_sharing"] {
        let service = format!(
            "service_time = \"150ms\"\nreplicas = 2\nhealth = \"none\"\ndiscipline = \"{discipline}\"\n{fault}"
        );
        let output = simulate(&pool(10, &service), 20, 1);
        // One in service; then 10 in that second, half of them sent there.
        let failed = db(&output).meter.outcomes[Outcome::Failed as usize];
        assert_eq!((failed, report(&output).replicas[0].refused), (6, 5), "{discipline}");
        let capacity = db(&output).meter.capacity.integral(output.end);
        assert_eq!(capacity, 2 * u128::from(output.end.as_nanos()) - 1_000_000_000, "{discipline}");
    }
}

#[test]
fn a_drained_replica_works_off_what_it_has() {
    let fault = fault("drain", "10050ms", "replicas = 1\nrepair = \"5s\"");
    let service = format!("service_time = \"1s\"\nservers = 20\nreplicas = 2\n{fault}");
    let output = simulate(&pool(10, &service), 20, 1);
    assert_eq!(db(&output).meter.outcomes, [200, 0, 0, 0, 0]);
    assert_eq!(calls(&output), [75, 125]);
    assert!((report(&output).replicas[0].available - (1.0 - 5.0 / output.end.as_secs_f64())).abs() < 1e-9);
    // Nobody left.
    let all =
        service.replace("replicas = 1", "replicas = 2").replace("[[fault]]", "health = \"none\"\n[[fault]]");
    let output = simulate(&pool(10, &all), 20, 1);
    assert_eq!((db(&output).meter.outcomes, report(&output).no_replica), ([150, 0, 50, 0, 0], 50));
}

/// Scaling in is no reason to panic: what drains is not in the pool any more.
#[test]
fn drained_replicas_are_no_reason_to_panic() {
    let drained = fault("drain", "1050ms", "replicas = 6");
    let crashed = fault("crash", "2050ms", "replicas = 3");
    let health = "health = { active = { interval = \"1s\" }, panic_threshold = 0.5 }";
    let service = format!("service_time = \"1ms\"\nreplicas = 10\n{health}\n{drained}");
    let output = simulate(&pool(100, &service), 20, 1);
    assert_eq!((report(&output).panic, db(&output).meter.outcomes), (0.0, [2000, 0, 0, 0, 0]));
    // The crash takes the first three, which drain: nobody misses them.
    let output = simulate(&pool(100, &format!("{service}{crashed}")), 20, 1);
    assert_eq!((report(&output).panic, db(&output).meter.outcomes), (0.0, [2000, 0, 0, 0, 0]));
    // Nine gone of ten: one of the four that are left is no panic short of three being known to be ill.
    let output = simulate(&pool(100, &format!("{service}{}", crashed.replace("= 3", "= 9"))), 20, 1);
    assert!(report(&output).panic > 0.5, "{}", report(&output).panic);
    let taken = calls(&output);
    assert!(taken[..6].iter().all(|calls| *calls <= 11) && taken[9] > 300, "{taken:?}");
}

/// A passed check lets an ejected replica back in (Envoy: `successful_active_health_check_uneject_host`).
#[test]
fn a_passed_check_ends_an_ejection() {
    let out = |health: &str| {
        let fault = fault("crash", "10050ms", "replicas = 1\nrepair = \"2s\"");
        let service = format!("service_time = \"1ms\"\nreplicas = 10\nhealth = {health}\n{fault}");
        let output = simulate(&pool(100, &service), 100, 1);
        assert_eq!(report(&output).ejections, 1);
        (1.0 - report(&output).replicas[0].available) * output.end.as_secs_f64()
    };
    // Ejected after 5 failures, 0.5 s after the crash; the first sweep 30 s later is at 50 s.
    assert!((out("{ outlier_detection = {} }") - 39.5).abs() < 0.2);
    let with_checks =
        out("{ outlier_detection = {}, active = { interval = \"3s\", unhealthy_threshold = 9 } }");
    assert!((1.3..=4.7).contains(&with_checks), "{with_checks} s");
    let kept = "{ outlier_detection = { successful_active_health_check_uneject_host = false }, \
                active = { interval = \"3s\", unhealthy_threshold = 9 } }";
    assert!((out(kept) - 39.5).abs() < 0.2);
}

/// Errors that a fault makes of answers are those of the replicas.
#[test]
fn errors_by_a_fault_eject() {
    let ejections = |fault: &str| {
        let service = format!(
            "service_time = \"1ms\"\nreplicas = 10\nhealth = {{ outlier_detection = {{}} }}\n{fault}"
        );
        report(&simulate(&pool(100, &service), 60, 1)).ejections
    };
    assert_eq!((ejections(""), ejections(&fault("error_rate", "10s", "share = 1"))), (0, 2));
}

/// In a panic that fails traffic calls are rejected in front of an autoscaled pool, too.
#[test]
fn a_panic_that_fails_traffic_makes_nothing_wait() {
    let outcomes = |autoscaler: &str| {
        let fault = fault("crash", "10050ms", "repair = \"60s\"");
        let service = format!(
            "service_time = \"1ms\"\nreplicas = 4\nhealth = {{ active = {{ interval = \"1s\" }}, panic_threshold = 0.5, \
             fail_traffic_on_panic = true }}\n{autoscaler}\n{fault}"
        );
        db(&simulate(&pool(100, &service), 120, 1)).meter.outcomes
    };
    let scaled = outcomes(
        "autoscaler = { kind = \"hpa\", metric = \"concurrency\", target = 2, min_replicas = 4, max_replicas = 4 }",
    );
    assert!(scaled[2] > 5_000 && scaled.iter().sum::<u64>() == 12_000, "{scaled:?}");
    assert_eq!(scaled, outcomes(""));
}

/// A pool that is well costs no events for its checks.
#[test]
fn checks_of_the_well_are_free() {
    let events = |health: &str| {
        let service = format!("service_time = \"1ms\"\nreplicas = 10\nhealth = \"{health}\"");
        simulate(&pool(10, &service), 100, 1).events
    };
    assert_eq!(events("kubernetes"), events("none"));
    assert_eq!(events("envoy"), events("none") + 10);
}
