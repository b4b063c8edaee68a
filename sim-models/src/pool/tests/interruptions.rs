//! Replicas on spot capacity: their lives, their notice, and who comes in their place.

use sim_core::stats::replication_interval;

use super::*;

/// Four replicas that live for an hour on average, with services of a second.
fn spot(keys: &str, more: &str) -> String {
    pool(
        2,
        &format!(
            "service_time = \"1s\"\nservers = 4\nreplicas = 4\nprice_per_hour = \"$1/h\"\n\
             spot = {{ {keys} }}\n{more}"
        ),
    )
}

fn measure(output: &RunOutput, name: &str) -> f64 {
    db(output).measure(name).unwrap_or_else(|| panic!("no {name}"))
}

/// A slot is up for M, then for D there is no capacity, then another starts for S: it serves M of M + D + S, and is paid
/// for M + S of it.
#[test]
fn replicas_are_there_as_often_as_an_alternating_renewal_says() {
    let system = spot(
        "mttf = \"1h\", notice = \"0s\", capacity_return = \"8m\"",
        "cold_start = { node = \"1m\", init = \"1m\" }",
    )
    .replace("\"2/s\"", "\"1/min\"");
    let runs: Vec<(f64, f64)> = (0..20)
        .map(|seed| {
            let output = simulate(&system, 500 * 3600, seed);
            let capacity = &db(&output).meter.capacity;
            (capacity.mean(output.end) / 16.0, measure(&output, "replicas_mean") / 4.0)
        })
        .collect();
    let (up, held): (Vec<f64>, Vec<f64>) = runs.into_iter().unzip();
    for (what, values, expected) in [("up", up, 60.0 / 70.0), ("held", held, 62.0 / 70.0)] {
        let estimate = replication_interval(&values, 0.95).unwrap();
        // Half a width of the 95% interval of twenty is 2.09 standard errors.
        let error = estimate.half_width / 2.093;
        println!("{what}: {:.4} +- {error:.4}, {expected:.4}", estimate.mean);
        assert!((estimate.mean - expected).abs() <= 4.0 * error, "{what}: {estimate:?}, not {expected}");
    }
}

#[test]
fn a_replica_drains_on_notice_and_its_calls_fail_only_when_it_is_too_short() {
    let interruption = fault("spot_interruption", "30s", "replicas = 2");
    let with = |notice: &str| {
        let system = spot(&format!("notice = \"{notice}\", capacity_return = \"20s\""), &interruption);
        // Always busy: four calls in each replica.
        simulate(&system.replace("\"2/s\"", "\"16/s\""), 120, 1)
    };
    let output = with("2s");
    let meter = &db(&output).meter;
    assert_eq!((meter.outcomes[4], measure(&output, "interruptions")), (0, 2.0));
    assert_eq!(measure(&output, "interrupted_calls"), 0.0);
    // Two replicas for twenty seconds, from the notice on.
    let short = measure(&output, "replicas_short_interrupted_mean") * output.end.as_secs_f64();
    assert!((short - 40.0).abs() < 1e-6, "{short}");
    let output = with("0s");
    assert_eq!(db(&output).meter.outcomes[4], 8);
    assert_eq!(measure(&output, "interrupted_calls"), 8.0);
    assert!(output.conservation.holds());
}

/// With capacity at once and notice longer than a cold start, as many replicas serve as before, and for a while two are
/// paid in place of one.
#[test]
fn another_takes_over_while_the_first_drains() {
    let system = spot("provider = \"aws\"", &fault("spot_interruption", "5m", "replicas = 1"));
    let system = system.replace("price_per_hour", "cold_start = { init = \"30s\" }\nprice_per_hour");
    // Calls of an hour keep the replica for the whole notice.
    let output = simulate(&system.replace("service_time = \"1s\"", "service_time = \"1h\""), 600, 1);
    assert_eq!(measure(&output, "replicas_max"), 5.0);
    let held = measure(&output, "replicas_mean") * output.end.as_secs_f64();
    assert!((held - 4.0 * output.end.as_secs_f64() - 120.0).abs() < 1e-6, "{held}");
    // Paid is what is held until 600 s: calls of an hour are waited for, and no more is asked.
    let paid = output.costs[0].usd_per_hour * 600.0;
    assert!((paid - 4.0 * (4.0 * 600.0 + 120.0)).abs() < 1e-6, "{paid}");
    let output = simulate(&system, 600, 1);
    assert_eq!(db(&output).meter.outcomes, [1200, 0, 0, 0, 0]);
}

/// What an autoscaler asks for is had as far as there is capacity.
#[test]
fn an_autoscaled_pool_is_short_until_capacity_is_back() {
    let scaled = "autoscaler = { kind = \"hpa\", target = 0.5, min_replicas = 4, max_replicas = 8 }";
    let system = spot("notice = \"0s\", capacity_return = \"30m\", mttf = \"10m\"", scaled);
    let output = simulate(&system.replace("\"2/s\"", "\"12/s\""), 3600, 3);
    let (short, held) =
        (measure(&output, "replicas_short_interrupted_mean"), measure(&output, "replicas_mean"));
    assert!(short > 1.0 && held + short <= 8.0 + 1e-9, "{short} short, {held} held");
    assert!(output.conservation.holds());
}

#[test]
fn mistakes_have_a_place() {
    let alone = pool(1, "service_time = \"1s\"\nspot = {}");
    assert_eq!(mistake(&alone).path.join("."), "components.db.spot");
    let never = spot("mttf = \"0s\"", "");
    assert_eq!(mistake(&never).path.join("."), "components.db.spot.mttf");
    let service = "service_time = \"1s\"\nreplicas = 2\n";
    let error = mistake(&pool(1, &format!("{service}{}", fault("spot_interruption", "1s", ""))));
    assert_eq!(error.path.join("."), "fault.0.kind");
    assert!(error.to_string().contains("no spot capacity"), "{error}");
}
