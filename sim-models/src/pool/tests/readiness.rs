//! What counts as ready: a replica that is known to have crashed does not.

use super::*;

/// Four replicas with a call in each on average, and a target of two: the autoscaler of Kubernetes takes two away once its
/// five minutes are over. Two crash before that. From the time that the probes know it, the two that are left have two
/// calls each, as is wanted, and nothing is taken away.
#[test]
fn a_crashed_replica_is_not_ready_for_its_autoscaler() {
    let replicas = |fault: String| {
        let service = format!(
            "service_time = \"1s\"\nservers = 8\nreplicas = 4\n\
             autoscaler = {{ kind = \"hpa\", metric = \"concurrency\", target = 2, min_replicas = 1, max_replicas = 20 }}\n{fault}"
        );
        let output = simulate(&pool(4, &service), 1200, 1);
        assert!(output.conservation.holds());
        db(&output).measure("replicas_mean").unwrap()
    };
    let calm = replicas(String::new());
    assert!((2.0..2.7).contains(&calm), "{calm}");
    assert_eq!(replicas(fault("crash", "60s", "replicas = 2")), 4.0);
}

/// Calls that wait in front while nobody may be picked are served when somebody may again, though no replica was
/// started and no call has left one.
#[test]
fn calls_in_front_are_served_when_replicas_are_well_again() {
    let of = |health: &str, fault: String| {
        let service = format!(
            "service_time = \"10ms\"\nreplicas = 2\n{health}\n\
             autoscaler = {{ kind = \"hpa\", metric = \"concurrency\", target = 2, min_replicas = 2, max_replicas = 2 }}\n{fault}"
        );
        let output = simulate(&pool(10, &service), 300, 1);
        assert!(output.conservation.holds());
        db(&output).meter.outcomes
    };
    let crashed = of("health = \"kubernetes\"", fault("crash", "60s", "repair = \"60s\""));
    assert!(crashed[0] > 2_500 && crashed.iter().sum::<u64>() == 3_000, "{crashed:?}");
    let drained = of("health = \"none\"", fault("drain", "60s", "repair = \"60s\""));
    assert_eq!(drained[0], 3_000, "{drained:?}");
}

/// Both halves of a pool crash by faults of their own, and all of it by a third; the end of one mends only its own.
#[test]
fn the_end_of_a_fault_mends_its_own_replicas() {
    let crash = |at: &str, replicas: &str, repair: &str| {
        fault("crash", at, &format!("{replicas}\nrepair = \"{repair}\""))
    };
    let text = format!(
        "service_time = \"10ms\"\nreplicas = 4\nhealth = \"none\"\n{}{}",
        crash("100s", "", "200s"),
        crash("150s", "", "50s")
    );
    let output = simulate(&pool(10, &text), 600, 1);
    // Down from 100 s to 300 s, not to 200 s: 200 s of 10 calls each fail, and the one in service at the crash.
    assert_eq!(db(&output).meter.outcomes[4], 2001);
}

/// A model server on spot capacity loses what is left in a replica when the notice is over.
#[test]
fn a_model_server_is_interrupted_too() {
    let server = |notice: &str| {
        format!(
            "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"4/s\" }}\nentry = \"db\"\n\
             [components.db]\nkind = \"model_server\"\nexecution = {{ fixed = \"1s\" }}\nreplicas = 4\n\
             spot = {{ notice = \"{notice}\", capacity_return = \"20s\" }}\n{}",
            fault("spot_interruption", "30500ms", "replicas = 2")
        )
    };
    for (notice, lost) in [("5s", 0.0), ("0s", 2.0)] {
        let output = simulate(&server(notice), 120, 1);
        let measure = |name| db(&output).measure(name).unwrap();
        assert_eq!((measure("interruptions"), measure("interrupted_calls")), (2.0, lost), "{notice}");
        assert_eq!(db(&output).meter.outcomes[4] as f64, lost);
        let short = measure("replicas_short_interrupted_mean") * output.end.as_secs_f64();
        assert!((short - 40.0).abs() < 1e-6, "{short}");
        assert!(output.conservation.holds());
    }
}
