//! Rolling updates and recreation, without anything wrong in them.

use super::*;

/// 25% and 25% of 10 with a cold start of 30 s: 3 and 2 at once (8 old, 5 new); the five are ready after 30 s, which
/// lets 5 old ones go and 5 new ones start; those are ready 30 s later, and the last 3 old ones go. Nothing fails, for
/// those that go finish what they have.
#[test]
fn ten_replicas_are_replaced_in_two_cold_starts() {
    let text =
        system(100, "rollout = [{ at = \"10s\", version = \"v2\" }]", "cold_start = { init = \"30s\" }");
    let output = simulate(&text, &plan(200));
    assert_eq!(
        log(&output),
        [(10.0, "v2", "rollout begins".to_owned()), (70.0, "v2", "all replicas are of it".to_owned())]
    );
    assert_eq!(output.conservation.ended, [20_000, 0, 0, 0, 0]);
    assert_eq!(
        (of(&output, "rollout_s", "v2"), of(&output, "rollout_ready_min", "v2")),
        (Some(60.0), Some(8.0))
    );
    // 8 serve for 30 s (8 old), 8 for 30 s (3 old, 5 new).
    assert_eq!(of(&output, "rollout_ready_mean", "v2"), Some(8.0));
    assert_eq!(of(&output, "time_to_abort_s", "v2"), None);
    // Replicas held, but for the time (100 ms at most) in which those that leave finish their calls: new ones 5 from
    // 10 s and 10 from 40 s on; old ones 10, then 8, then 3, then none.
    let end = output.end.as_secs_f64();
    let new = of(&output, "version_replicas_mean", "v2").unwrap() * end;
    assert!((new - (5.0 * 30.0 + 10.0 * (end - 40.0))).abs() < 1e-6, "{new}");
    let old = of(&output, "version_replicas_mean", "v1").unwrap() * end;
    let expected = 10.0 * 10.0 + 8.0 * 30.0 + 3.0 * 30.0;
    assert!(old >= expected && old < expected + 10.0 * 0.1, "{old} {expected}");
    assert_eq!(api(&output).measure("killed_calls"), Some(0.0));
}

/// A new replica counts as available only after `min_ready_seconds`: each of the two rounds takes that much longer.
#[test]
fn min_ready_seconds_holds_the_next_round_back() {
    let deployment = "min_ready_seconds = \"15s\"\nrollout = [{ at = \"10s\", version = \"v2\" }]";
    let output = simulate(&system(100, deployment, "cold_start = { init = \"30s\" }"), &plan(200));
    assert_eq!(of(&output, "rollout_s", "v2"), Some(90.0));
    assert_eq!(failed(&output), 0);
}

/// All end, and then all start: nothing serves for a cold start, and calls wait for it.
#[test]
fn recreation_serves_nobody_for_a_cold_start() {
    let deployment = "strategy = \"recreate\"\nrollout = [{ at = \"10s\", version = \"v2\" }]";
    let output = simulate(&system(50, deployment, "cold_start = { init = \"30s\" }"), &plan(100));
    assert_eq!(of(&output, "rollout_ready_min", "v2"), Some(0.0));
    let took = of(&output, "rollout_s", "v2").unwrap();
    // The last old one has up to 100 ms to finish.
    assert!((30.0..=30.1).contains(&took), "{took}");
    assert_eq!(output.conservation.ended, [5000, 0, 0, 0, 0]);
}

/// Calls of 20 s that are in a replica when it is taken away: with the grace period of 30 s all are answered, with 5 s
/// those that began in the 15 s before fail.
#[test]
fn calls_in_flight_have_the_grace_period() {
    let with = |grace: &str| {
        let deployment = format!("{grace}\nrollout = [{{ at = \"60s\", version = \"v2\" }}]");
        // 1 a second for 20 s: 20 in service, two in each of the ten.
        let text = system(1, &deployment, "cold_start = { init = \"30s\" }").replace("\"100ms\"", "\"20s\"");
        simulate(&text, &plan(300))
    };
    let output = with("");
    assert_eq!((failed(&output), api(&output).measure("killed_calls")), (0, Some(0.0)));
    let output = with("termination_grace_period_seconds = \"5s\"");
    let killed = api(&output).measure("killed_calls").unwrap();
    // Ten replicas are taken away with two calls each, of which one began less than 15 s ago, and perhaps both.
    assert!((10.0..=20.0).contains(&killed), "{killed}");
    assert_eq!(failed(&output) as f64, killed);
}

/// An autoscaler asks for more amid a rollout: both versions grow, and all ends with the new one.
#[test]
fn an_autoscaler_scales_amid_a_rollout() {
    let more = "cold_start = { init = \"30s\" }\nautoscaler = { kind = \"schedule\", entries = [{ from = \"0s\", replicas = 10 }, { from = \"20s\", replicas = 15 }] }";
    let output = simulate(&system(100, "rollout = [{ at = \"10s\", version = \"v2\" }]", more), &plan(300));
    let last = log(&output).pop().unwrap();
    assert_eq!((last.1, last.2.as_str()), ("v2", "all replicas are of it"));
    assert_eq!(failed(&output), 0);
    let windows = output.component_windows.iter();
    assert!(windows.count() > 0);
    assert_eq!(api(&output).meter.capacity.level(), 15 * 4);
}

/// The same seed gives the same run, and the order of simultaneous events does not matter to what is lost.
#[test]
fn equal_runs_are_equal() {
    let deployment = "rollout = [{ at = \"10s\", version = \"v2\", error_rate = 0.1, crash_after = { exponential = { mean = \"20s\" } } }, { at = \"1m\", version = \"v1\" }]";
    let text = system(100, deployment, "cold_start = { init = \"3s\" }").replace("deterministic", "poisson");
    let one = simulate(&text, &plan(120));
    let other = simulate(&text, &plan(120));
    assert_eq!((one.fingerprint, one.outcome_hash), (other.fingerprint, other.outcome_hash));
    simulate(&text, &RunPlan { shuffle_ties: Some(5), ..plan(120) });
}
