//! Canaries: how much of the traffic meets a bad version, and until when.

use super::*;

/// A canary with these steps that is rolled out at 100 s.
fn canary(steps: &str, more: &str, version: &str) -> String {
    format!(
        "strategy = \"canary\"\ncanary = {{ steps = [{steps}]{more} }}\n\
         rollout = [{{ at = \"100s\", version = \"v2\"{version} }}]"
    )
}

const ANALYSIS: &str = ", analysis = { interval = \"60s\", success_condition = { error_rate = 0.05 } }";

/// One of ten replicas, in turn, has an error rate of a half: exactly a tenth of the calls meet it, and of those a half
/// fail (a binomial), until the first measurement after 60 s aborts it. Then it drains, and nothing fails any more.
#[test]
fn a_tenth_of_the_traffic_at_half_an_error_rate_is_a_twentieth() {
    let deployment = canary("{ set_weight = 10 }, { pause = \"10m\" }", ANALYSIS, ", error_rate = 0.5");
    // The old replica that makes place goes when the new one is there: the weight is a tenth then.
    let output = simulate(&system(200, &deployment, "cold_start = { init = \"10s\" }"), &plan(400));
    let told: Vec<(f64, String)> = log(&output).into_iter().map(|(at, _, what)| (at, what)).collect();
    assert_eq!(told[0], (100.0, "rollout begins".to_owned()));
    assert_eq!(told[1], (110.0, "weight is 10%".to_owned()));
    assert_eq!(told[2].0, 160.0);
    assert!(told[2].1.starts_with("aborted: analysis: an error rate of 0."), "{told:?}");
    assert_eq!(told[3].1, "rolled back");
    // From 110 s to 160 s: 200/s for 50 s, a tenth of them.
    let calls = of(&output, "version_calls", "v2").unwrap();
    assert!((calls - 1000.0).abs() <= 2.0, "{calls}");
    let bad = of(&output, "version_failed_calls", "v2").unwrap();
    let error = (1000.0f64 * 0.25).sqrt();
    println!("canary by replicas: {calls} calls, {bad} failed, 500 +- {error:.1} expected");
    assert!((bad - 500.0).abs() <= 4.0 * error, "{bad}");
    assert_eq!(failed(&output) as f64, bad);
    assert_eq!(of(&output, "time_to_abort_s", "v2"), Some(60.0));
    // The stable version takes a cold start to be whole again.
    assert_eq!(of(&output, "rollback_s", "v2"), Some(10.0));
}

/// With a router the weight is exact, however many replicas there are: 10% of the calls of one replica in two.
#[test]
fn a_router_gives_its_weight_whatever_the_replicas() {
    let deployment = canary(
        "{ set_weight = 10 }, { pause = \"10m\" }",
        ", traffic_routing = true, analysis = { interval = \"60s\", failure_limit = 1, success_condition = { error_rate = 0.05 } }",
        ", error_rate = 0.5",
    );
    let text =
        system(40, &deployment, "cold_start = { init = \"10s\" }").replace("replicas = 10", "replicas = 2");
    let output = simulate(&text, &plan(600));
    // From 110 s on, until the second failure: two intervals after the begin. At 40/s for 110 s, a tenth.
    let (calls, bad) =
        (of(&output, "version_calls", "v2").unwrap(), of(&output, "version_failed_calls", "v2").unwrap());
    let (n, error) = (4400.0f64, |p: f64| (4400.0f64 * p * (1.0 - p)).sqrt());
    println!(
        "canary by router: {calls} calls (440 +- {:.1}), {bad} failed (220 +- {:.1})",
        error(0.1),
        error(0.05)
    );
    assert!((calls - 0.1 * n).abs() <= 4.0 * error(0.1), "{calls}");
    assert!((bad - 0.05 * n).abs() <= 4.0 * error(0.05), "{bad}");
    assert_eq!(of(&output, "time_to_abort_s", "v2"), Some(120.0));
    // The stable replicas were all there: traffic is back at once.
    assert_eq!(of(&output, "rollback_s", "v2"), Some(0.0));
    // The canary stays for 30 s without traffic.
    let held = of(&output, "version_replicas_mean", "v2").unwrap() * output.end.as_secs_f64();
    assert!((held - (120.0 + 30.0)).abs() < 1e-6, "{held}");
}

/// A good version goes through all steps: 20%, 60%, and then all, each after a cold start and a pause.
#[test]
fn a_good_version_takes_all_steps() {
    let steps = "{ set_weight = 20 }, { pause = \"30s\" }, { set_weight = 60 }, { pause = \"30s\" }";
    for router in [", traffic_routing = true", ""] {
        let deployment = canary(steps, &format!("{ANALYSIS}{router}"), "");
        let output = simulate(&system(100, &deployment, "cold_start = { init = \"10s\" }"), &plan(400));
        let told: Vec<String> = log(&output).into_iter().map(|(_, _, what)| what).collect();
        assert_eq!(
            told,
            ["rollout begins", "weight is 20%", "weight is 60%", "all replicas are of it"],
            "{router}"
        );
        assert_eq!(failed(&output), 0);
        // Three cold starts and two pauses; by replicas, 4 more fit at once into 3 of surge and 2 unavailable.
        assert_eq!(of(&output, "rollout_s", "v2"), Some(90.0), "{router}");
        assert_eq!(api(&output).meter.capacity.level(), 40);
    }
}

/// An analysis of latency takes back a version that is ten times as slow.
#[test]
fn a_slow_version_is_taken_back_by_its_latency() {
    let analysis = ", analysis = { interval = \"20s\", success_condition = { latency_p95 = \"300ms\" } }";
    let deployment = canary("{ set_weight = 10 }, { pause = \"10m\" }", analysis, ", slow = 10");
    let output = simulate(&system(20, &deployment, ""), &plan(300));
    let aborted = &log(&output)[2];
    assert_eq!((aborted.0, aborted.1), (120.0, "v2"));
    assert!(aborted.2.contains("the p95 of latency, 1s,"), "{}", aborted.2);
    assert_eq!(failed(&output), 0);
}

/// A step of 100% is a step as others are: all calls go to the new version while it lasts.
#[test]
fn a_router_gives_all_of_it_at_a_step_of_100() {
    let deployment = canary(
        "{ set_weight = 50 }, { pause = \"100s\" }, { set_weight = 100 }, { pause = \"200s\" }",
        ", traffic_routing = true",
        "",
    );
    let output = simulate(&system(40, &deployment, ""), &plan(400));
    let calls = of(&output, "version_calls", "v2").unwrap();
    // Half of it from 100 s to 200 s, and all from then on.
    assert!((calls - 40.0 * (50.0 + 200.0)).abs() < 100.0, "{calls}");
}
