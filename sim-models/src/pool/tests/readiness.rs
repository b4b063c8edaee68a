//! What counts as ready: a replica that is known to have crashed does not.

use super::*;

/// Four replicas with a call in each on average. Two crash for good, and from the time that the checks know it, the two that
/// are left have two each: twice the target, and the controller asks for twice as many as there are.
#[test]
fn a_crashed_replica_is_not_ready_for_its_autoscaler() {
    let service = |health: &str| {
        format!(
            "service_time = \"1s\"\nservers = 8\nreplicas = 4\n{health}\n\
             autoscaler = {{ kind = \"target-tracking\", metric = \"concurrency\", target_value = 1.1, min_capacity = 4, max_capacity = 20 }}\n{}",
            fault("crash", "5m", "replicas = 2")
        )
    };
    let desired = |health: &str| {
        let output = simulate(&pool(4, &service(health)), 1200, 1);
        assert!(output.conservation.holds());
        db(&output).measure("desired_max").unwrap()
    };
    // Kubernetes' probes find it out. Without checks the two take half of the calls for good, which fail at once: the
    // others have one each, as before.
    let most = desired("");
    assert!(most > 4.0, "{most}");
    assert_eq!(desired("health = \"none\""), 4.0);
    let calm =
        pool(4, &service("").replace("\"crash\"", "\"drain\"").replace("replicas = 2\n", "replicas = 0\n"));
    assert_eq!(db(&simulate(&calm, 1200, 1)).measure("desired_max"), Some(4.0));
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
        let short = measure("short_mean") * output.end.as_secs_f64();
        assert!((short - 40.0).abs() < 1e-6, "{short}");
        assert!(output.conservation.holds());
    }
}
