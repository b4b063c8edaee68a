//! Servers behind the front of a pool.

use super::*;
use crate::pool::{PoolReport, ReplicaReport};

const SERVER: &str = "execution = { fixed = \"10ms\" }\nreplicas = 2\n";

fn pool(output: &RunOutput) -> &PoolReport {
    db(output).pool.as_ref().unwrap()
}

fn each<T>(output: &RunOutput, of: impl Fn(&ReplicaReport) -> T) -> Vec<T> {
    pool(output).replicas.iter().map(of).collect()
}

fn fault(kind: &str, settings: &str) -> String {
    format!("[[fault]]\nat = \"5ms\"\ntarget = \"db\"\nkind = \"{kind}\"\n{settings}\n")
}

#[test]
fn each_replica_has_its_own_queue_instances_and_gpus() {
    // In turn: 0 and 2 to one, 1 and 3 to the other.
    let output = replay(&calls(&[0, 1, 2, 3]), SERVER);
    assert_eq!((end_ms(&output), outcomes(&output)), (21.0, [4, 0, 0, 0, 0]));
    assert_eq!(latency_ms(&output), 10.0 + 10.0 + 18.0 + 18.0);
    assert_eq!(each(&output, |replica| (replica.calls, replica.answered)), [(2, 2), (2, 2)]);
    let engines = each(&output, |replica| replica.engine.clone().unwrap());
    let busy = 20.0 / end_ms(&output);
    for engine in engines {
        assert_eq!((engine.steps, engine.step_time_mean, engine.batch_mean), (2, Some(1e7), Some(1.0)));
        assert!((engine.busy - busy).abs() < 1e-9, "{engine:?}");
    }
    assert_eq!(db(&output).meter.capacity.integral(output.end), 42_000_000);
    // GPUs of their own, and one that they share: each twice as long.
    let on = |place: &str| replay(&calls(&[0, 0]), &format!("{SERVER}{place}"));
    let own = on("gpu = \"l4\"\ngpus = 2\n");
    assert_eq!((end_ms(&own), measure(&own, "gpus"), measure(&own, "instances")), (10.0, 4.0, 4.0));
    assert_eq!(own.costs[0].units, 4.0);
    let device = "device = \"gpu0\"\n[devices.gpu0]\ngpu = \"l4\"\nsharing = \"time_slicing\"\ncontext_switch = \"0s\"\n";
    assert_eq!(end_ms(&on(device)), 20.0);
    let [line] = &on(device).costs[..] else { panic!("one line for both") };
    assert_eq!(line.units, 2.0);
}

#[test]
fn a_crash_takes_a_replica_with_all_calls_in_it() {
    let fault = fault("crash", "replicas = 1\nrepair = \"20ms\"");
    for (extra, table) in [
        ("", ""),
        ("gpu = \"l4\"\n", ""),
        ("batching = \"dynamic\"\n", "dynamic_batching = { preserve_ordering = true }\n"),
    ] {
        // One executes 0, with 2 behind it; both are lost, and 6 is refused. 30 finds it empty.
        let output = replay(
            &calls(&[0, 1, 2, 3, 6, 7, 30, 31]),
            &format!("{SERVER}{extra}{table}health = \"none\"\n{fault}"),
        );
        assert_eq!(outcomes(&output), [5, 0, 0, 0, 3], "{extra}");
        assert_eq!(
            each(&output, |replica| (replica.calls, replica.answered, replica.refused)),
            [(3, 1, 1), (4, 4, 0)]
        );
        assert_eq!(end_ms(&output), 41.0, "{extra}");
        let meter = &db(&output).meter;
        assert_eq!(meter.capacity.integral(output.end), 82_000_000 - 20_000_000);
        let present = meter.queue.integral(output.end) + meter.busy.integral(output.end);
        assert_eq!(present, meter.latency.sum(), "{extra}");
        // Executions that were cut short do not count.
        assert_eq!(measure(&output, "executions"), 5.0);
    }
}

#[test]
fn a_hung_replica_holds_its_calls_until_it_is_restarted() {
    let fault = fault("hang", "replicas = 1\nrepair = \"20ms\"");
    let output = replay(&calls(&[0, 1, 2, 3, 6, 7, 30, 31]), &format!("{SERVER}health = \"none\"\n{fault}"));
    // 0, 2 and 6 fail at 25 ms.
    assert_eq!((outcomes(&output), end_ms(&output)), ([5, 0, 0, 0, 3], 41.0));
    assert_eq!(each(&output, |replica| replica.refused), [0, 0]);
    let lost: f64 = 25.0 + 23.0 + 19.0;
    let served: f64 = 10.0 + 18.0 + 24.0 + 10.0 + 10.0;
    assert!((latency_ms(&output) - lost - served).abs() < 1e-6, "{}", latency_ms(&output));
}

#[test]
fn a_drained_replica_finishes_what_it_has() {
    let fault = fault("drain", "replicas = 1\nrepair = \"20ms\"");
    let output = replay(&calls(&[0, 1, 2, 3, 6, 7, 30, 31]), &format!("{SERVER}{fault}"));
    assert_eq!(outcomes(&output), [8, 0, 0, 0, 0]);
    // 0 and 2 before, 30 or 31 after.
    assert_eq!(each(&output, |replica| replica.answered), [3, 5]);
    // In a panic, too: it is not in the pool.
    let all = fault.replace("replicas = 1", "replicas = 2");
    let output = replay(&calls(&[0, 1, 6]), &format!("{SERVER}health = \"envoy\"\n{all}"));
    assert_eq!((outcomes(&output), measure(&output, "no_replica")), ([2, 0, 1, 0, 0], 1.0));
    assert_eq!(measure(&output, "panic_share"), 0.0);
}

#[test]
fn ejection_closes_the_hole_of_a_dead_replica() {
    let fault = fault("crash", "replicas = 1");
    let work: Vec<_> = (0..400).map(|at| (at * 5, 1)).collect();
    let lost = |health: &str| {
        let output =
            replay(&work, &format!("{SERVER}balancer = \"join_shortest_queue\"\nhealth = {health}\n{fault}"));
        (outcomes(&output)[4], measure(&output, "ejections"), each(&output, |replica| replica.ejections))
    };
    // The dead one is idle whenever the other is not: it takes nearly every second call, or more.
    let (failed, ejections, _) = lost("\"none\"");
    assert!(failed > 180 && ejections == 0.0, "{failed}");
    // Five failures in a row, of those it has once it is dead.
    let outliers = "{ outlier_detection = { max_ejection_percent = 100 } }";
    let (failed, ejections, by_replica) = lost(outliers);
    assert!(failed <= 7, "{failed}");
    assert_eq!((ejections, by_replica), (1.0, vec![1, 0]));
}

#[test]
fn settings_of_a_pool_need_a_pool() {
    let given = "execution = { fixed = \"2ms\" }\n";
    for (settings, path, part) in [
        (format!("{given}balancer = \"random\""), "balancer", "replicas"),
        (format!("{given}health = \"envoy\""), "health", "replicas"),
        (format!("{SERVER}balancer = \"prefix_aware\""), "balancer", "prefix cache"),
        (format!("{given}replicas = 5000"), "replicas", "at most 4096"),
        (format!("{SERVER}instance_group = {{ count = 3000 }}"), "instance_group.count", "6000 instances"),
    ] {
        let config = system("process = \"poisson\", rate = \"1/s\"", &settings);
        let error = build(&config, &RunPlan::default(), &Traces::new()).expect_err(&settings);
        assert_eq!(error.path.join("."), format!("components.db.{path}"), "{error}");
        assert!(error.to_string().contains(part), "{settings}: {error}");
    }
}
