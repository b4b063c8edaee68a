//! Versions that do not come up or do not stay up, and what cannot be said of them.

use super::*;

/// A version that takes longer to start than the deadline: five of it start, eight old ones serve; after the deadline
/// it is taken back by who aborts then, and stays where it is otherwise.
#[test]
fn a_version_that_never_comes_up_stops_at_the_bounds() {
    let never = "rollout = [{ at = \"10s\", version = \"v2\", cold_start = { init = \"10h\" } }]";
    let output = simulate(&system(100, never, "cold_start = { init = \"30s\" }"), &plan(900));
    assert_eq!(
        log(&output).into_iter().map(|(at, _, what)| (at, what)).collect::<Vec<_>>(),
        [(10.0, "rollout begins".to_owned()), (610.0, "no progress until the deadline".to_owned())]
    );
    assert_eq!(of(&output, "rollout_ready_min", "v2"), Some(8.0));
    assert_eq!(of(&output, "rollout_s", "v2"), None);
    let abort = format!("progress_deadline_abort = true\nprogress_deadline_seconds = \"2m\"\n{never}");
    let output = simulate(&system(100, &abort, "cold_start = { init = \"30s\" }"), &plan(900));
    assert_eq!(of(&output, "time_to_abort_s", "v2"), Some(120.0));
    // Two old ones have to start again.
    assert_eq!(of(&output, "rollback_s", "v2"), Some(30.0));
    assert_eq!(failed(&output), 0);
    assert_eq!(api(&output).meter.capacity.level(), 40);
}

/// A rolling update watches only whether replicas are ready: an error rate of a half reaches all of the traffic, until
/// somebody rolls back at 130 s.
#[test]
fn a_rolling_update_brings_a_bad_version_to_everybody() {
    let deployment = "rollout = [{ at = \"10s\", version = \"v2\", error_rate = 0.5 }, { at = \"130s\", version = \"v1\" }]";
    let output = simulate(&system(100, deployment, "cold_start = { init = \"30s\" }"), &plan(300));
    // New ones among the ready: 5 of 8 from 40 s to 70 s, all until 130 s, then back: 5 of 8 until 190 s for old ones.
    let shares = [(30.0, 5.0 / 8.0), (60.0, 1.0), (30.0, 1.0), (30.0, 3.0 / 8.0)];
    let exposed: f64 = shares.iter().map(|(seconds, share)| 100.0 * seconds * share).sum();
    let (calls, bad) =
        (of(&output, "version_calls", "v2").unwrap(), of(&output, "version_failed_calls", "v2").unwrap());
    let error = (exposed * 0.25).sqrt();
    println!("rolling update: {calls} calls ({exposed}), {bad} failed ({} +- {error:.1})", exposed / 2.0);
    // Within the calls of one round over the replicas at each change.
    assert!((calls - exposed).abs() <= 40.0, "{calls} {exposed}");
    assert!((bad - exposed / 2.0).abs() <= 4.0 * error + 20.0, "{bad}");
    assert_eq!(failed(&output) as f64, bad);
    let told: Vec<(f64, String)> = log(&output).into_iter().map(|(at, _, what)| (at, what)).collect();
    assert_eq!(told[2], (130.0, "rollout begins".to_owned()), "{told:?}");
    assert_eq!(of(&output, "rollout_s", "v1"), Some(60.0));
}

/// A replica that crashes 5 s after each start is back after 10, 20, 40, ... s and its start: ready for 5 s of 15 s,
/// 25 s, 45 s, 85 s, 165 s, 305 s and then of 305 s each.
#[test]
fn a_crashing_version_backs_off_as_the_kubelet_does() {
    let deployment = "max_surge = 1\nmax_unavailable = 0\nmin_ready_seconds = \"10s\"\n\
                      rollout = [{ at = \"0s\", version = \"v2\", crash_after = \"5s\" }]";
    let text = system(100, deployment, "").replace("replicas = 10", "replicas = 3");
    let output = simulate(&text.replace("\"100/s\"", "\"10/s\""), &plan(1000));
    // It is never available: three old ones serve all the time, and the fourth crashes.
    assert_eq!(of(&output, "rollout_ready_min", "v2"), Some(3.0));
    let begun = [0.0, 15.0, 40.0, 85.0, 170.0, 335.0, 640.0, 945.0];
    let ready: f64 = begun.iter().map(|from| if from + 5.0 < 1000.0 { 5.0 } else { 0.0 }).sum();
    let end = output.end.as_secs_f64();
    let mean = of(&output, "rollout_ready_mean", "v2").unwrap();
    assert!(((mean - 3.0) * end - ready).abs() < 1e-6, "{mean} {end} {ready}");
    // Calls that are in it then are lost with it: at most one of 100 ms at 2.5/s.
    let lost = of(&output, "version_failed_calls", "v2").unwrap();
    assert!(lost <= begun.len() as f64, "{lost}");
    assert_eq!(failed(&output) as f64, lost);
}

#[test]
fn mistakes_have_a_place() {
    let path = |deployment: &str, more: &str| mistake(&system(1, deployment, more)).path[2..].join(".");
    for (deployment, expected) in [
        ("strategy = \"canary\"", "deployment.strategy"),
        ("canary = { steps = [] }", "deployment.canary"),
        ("strategy = \"canary\"\ncanary = { steps = [{ set_weight = 101 }] }", "deployment.canary.steps.0"),
        ("strategy = \"canary\"\ncanary = { steps = [{}] }", "deployment.canary.steps.0"),
        (
            "strategy = \"canary\"\ncanary = { steps = [], analysis = { interval = \"1s\", success_condition = {} } }",
            "deployment.canary.analysis.success_condition",
        ),
        (
            "strategy = \"canary\"\ncanary = { steps = [], analysis = { interval = \"0s\", success_condition = { error_rate = 0 } } }",
            "deployment.canary.analysis.interval",
        ),
        ("progress_deadline_seconds = \"0s\"", "deployment.progress_deadline_seconds"),
        ("rollout = [{ at = \"1s\", version = \"v1\", slow = 2 }]", "deployment.rollout.0.version"),
        ("rollout = [{ at = \"1s\", version = \"v2\", slow = 0 }]", "deployment.rollout.0.slow"),
        (
            "rollout = [{ at = \"2s\", version = \"v2\" }, { at = \"1s\", version = \"v1\" }]",
            "deployment.rollout.1.at",
        ),
    ] {
        assert_eq!(path(deployment, ""), expected, "{deployment}");
    }
    assert_eq!(path("", "autoscaler = { kind = \"knative\" }"), "deployment");
    let alone = system(1, "", "").replace("replicas = 10\n", "");
    assert_eq!(mistake(&alone).path.join("."), "components.api.deployment");
    let error = toml::from_str::<SystemConfig>(&system(1, "max_surge = \"a quarter\"", "")).unwrap_err();
    assert!(error.message().contains("such as \"25%\""), "{error}");
}
