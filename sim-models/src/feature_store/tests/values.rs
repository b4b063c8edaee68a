//! How old what is served is, and how often it is wrong.

use super::*;

const HOUR: f64 = 3_600.0;

/// Reads some 3.7 times a day, which falls on all times of the day alike, of a store that runs of a given length
/// fill.
fn filled(interval: &str, run_time: &str, store: &str, pipeline: &str) -> SystemConfig {
    let text = format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"3.7182818/d\" }}\nentry = \"store\"\n
         [components.store]\nkind = \"feature_store\"\nlookup = \"1ms\"\n{store}\n
         [components.nightly]\nkind = \"pipeline\"\ninterval = \"{interval}\"\nvolume = \"1GB\"\ntask_volume = \"1GB\"\n
         task_time = \"{run_time}\"\nmaterializes = {{ store = \"store\" }}\n{pipeline}\n"
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A nightly run of two hours.
fn nightly(store: &str, pipeline: &str) -> SystemConfig {
    filled("24h", "2h", store, pipeline)
}

fn days(days: u64, replication: u64) -> RunPlan {
    let day = 86_400;
    RunPlan { warmup: SimDuration::from_secs(10 * day), ..plan(days * day, replication) }
}

/// A slow refresh that ends after an increment brings no older data back.
#[test]
fn the_newest_data_of_several_pipelines_count() {
    let increments = filled("1h", "1m", "features = 4", "");
    let refreshed: SystemConfig = toml::from_str(&format!(
        "{}\n[components.refresh]\nkind = \"pipeline\"\ninterval = \"24h\"\nvolume = \"1GB\"\n\
         task_volume = \"1GB\"\ntask_time = \"12h\"\nmaterializes = {{ store = \"store\" }}\n",
        toml::to_string(&increments).unwrap(),
    ))
    .unwrap();
    let ages = |config: &SystemConfig| report(&simulate(config, &days(200, 0))).age.clone();
    let (alone, both) = (ages(&increments), ages(&refreshed));
    assert!(alone.count() > 2_000 && alone.max().unwrap() < (1.1 * HOUR * 1e9) as u64);
    assert_eq!((both.count(), both.max(), both.mean()), (alone.count(), alone.max(), alone.mean()));
}

#[test]
fn staleness_with_failing_runs_with_and_without_a_time_to_live() {
    let failing = "run_failure = 0.05\nbackfill = false";
    let (mut age, mut limited, mut missing, mut lag) =
        (Moments::new(), Moments::new(), Moments::new(), Moments::new());
    for replication in 0..10 {
        let plan = days(20_000, replication);
        let output = simulate(&nightly("features = 4", failing), &plan);
        age.push(report(&output).age_mean().unwrap() / HOUR);
        assert_eq!(report(&output).defaulted(), Some(0.0));
        match &output.components.last().unwrap().data {
            Some(DataReport::Pipeline(report)) => lag.push(report.lag_mean / HOUR),
            other => panic!("{other:?}"),
        }
        let output = simulate(&nightly("features = 4\nttl = \"48h\"", failing), &plan);
        limited.push(report(&output).age_mean().unwrap() / HOUR);
        missing.push(report(&output).defaulted().unwrap());
        // All four features of a read expire together: its answer is degraded.
        assert!(report(&output).expired.abs_diff(4 * output.conservation.ended[1]) < 40);
    }
    // P = 24 h, D = 2 h, p = 0.05: D + P/2 + P p/(1-p).
    let expected = 2.0 + 12.0 + 24.0 * 0.05 / 0.95;
    close("mean age", age.mean().unwrap(), 15.26, 0.005);
    z("mean age", &age, expected);
    // The pipeline's own figure, over time instead of over reads.
    close("mean lag", lag.mean().unwrap(), 15.26, 0.005);
    close("the same over reads as over time", age.mean().unwrap(), lag.mean().unwrap(), 0.001);
    close("mean age within 48 h", limited.mean().unwrap(), 15.01, 0.005);
    // After k failures values are older than 48 h for 24 k - 22 h of 24 (k + 1).
    let expected: f64 = (24.0 * 0.05 / 0.95 - 22.0 * 0.05) / (24.0 / 0.95);
    assert!((expected - 0.0065).abs() < 0.000_05);
    z("missing", &missing, expected);
    assert!((missing.mean().unwrap() - 0.0065).abs() < 0.0005, "{missing:?}");
}

#[test]
fn ages_spread_evenly_between_two_runs() {
    let store = "features = 4\nfreshness_slo = \"9h\"";
    let output = simulate(&nightly(store, "source_delay = \"1h\""), &days(3_000, 0));
    let report = report(&output);
    // Delay, run and half the interval; from 3 to 27 hours, a quarter of them up to 9.
    close("mean", report.age_mean().unwrap(), 15.0 * HOUR, 0.001);
    close("least", report.age.min().unwrap() as f64 / 1e9, 3.0 * HOUR, 0.01);
    close("most", report.age.max().unwrap() as f64 / 1e9, 27.0 * HOUR, 0.01);
    close("median", report.age.quantile(0.5).unwrap() as f64 / 1e9, 15.0 * HOUR, 0.002);
    close("attainment", report.freshness_attainment().unwrap(), 0.25, 0.005);
}

#[test]
fn skew_is_the_share_of_values_that_have_changed_since() {
    // Values that change twice a day, at ages spread evenly from 2 to 26 h.
    let store = "features = 4\nchange_rate = \"2/d\"";
    let output = simulate(&nightly(store, ""), &days(3_000, 0));
    let per_hour = 2.0 / 24.0;
    let same = (libm::exp(-per_hour * 2.0) - libm::exp(-per_hour * 26.0)) / (per_hour * 24.0);
    close("skew", report(&output).skew().unwrap(), 1.0 - same, 0.001);
    // Other code for a fiftieth of the values.
    let output = simulate(&nightly(&format!("{store}\ncode_skew = 0.02"), ""), &days(3_000, 0));
    close("with code skew", report(&output).skew().unwrap(), 1.0 - 0.98 * same, 0.001);
    // An hourly run of a quarter of an hour.
    let output = simulate(&filled("1h", "15min", store, ""), &days(3_000, 0));
    let same = (libm::exp(-per_hour * 0.25) - libm::exp(-per_hour * 1.25)) / per_hour;
    close("hourly", report(&output).skew().unwrap(), 1.0 - same, 0.002);
}

#[test]
fn pushed_values_are_as_old_as_their_lag() {
    // Values that change once an hour and reach the store after 10 minutes on average: they differ with
    // 1 - E[exp(-mu lag)] = 1 - 1 / (1 + mu E[lag]).
    let store = "features = 10\nlookup = \"1ms\"\nchange_rate = \"1/h\"\n
                 streaming = { features = 10, lag = { exponential = { mean = \"10min\" } } }";
    let output = simulate(
        &scenario(r#"{ process = "poisson", rate = "100/s" }"#, store),
        &RunPlan { warmup: SimDuration::from_secs(36_000), ..plan(37_000, 0) },
    );
    let report = report(&output);
    close("lag", report.age_mean().unwrap(), 600.0, 0.02);
    close("skew", report.skew().unwrap(), 1.0 - 1.0 / (1.0 + 1.0 / 6.0), 0.02);
    // Half the features from the nightly run: the mean of both.
    let store = "features = 10\nchange_rate = \"1/d\"\nstreaming = { features = 5, lag = \"6h\" }";
    let output = simulate(&nightly(store, ""), &days(3_000, 0));
    close("mixed age", super::report(&output).age_mean().unwrap(), (6.0 + 14.0) / 2.0 * HOUR, 0.001);
}

#[test]
fn features_on_demand_take_time_and_are_never_stale() {
    let store = "features = 4\nlookup = \"1ms\"\nchange_rate = \"1/d\"\ncode_skew = 0.25\n
                 on_demand = { features = 6, compute = \"7ms\" }";
    let output = simulate(&scenario(EACH_SECOND, store), &plan(10, 0));
    assert_eq!(
        (meter(&output).latency.min(), meter(&output).latency.max()),
        (Some(11_000_000), Some(11_000_000))
    );
    let report = report(&output);
    assert_eq!((report.requested, report.judged, report.age.count()), (100, 60, 0));
    close("only the code differs", report.skew().unwrap(), 0.25, 1e-9);
}

#[test]
fn default_values_are_counted_by_feature() {
    // Views of 10, 10 and 5 features, each of which times out in half of the reads.
    let lookup = r#"lookup = { mixture = [{ weight = 1, of = "1ms" }, { weight = 1, of = "10ms" }] }"#;
    let store = format!("features = 25\nfeatures_per_view = 10\nread_timeout = \"2ms\"\n{lookup}");
    let output = simulate(&scenario(r#"{ process = "poisson", rate = "100/s" }"#, &store), &plan(400, 0));
    let report = report(&output);
    assert_eq!(report.requested, 25 * output.conservation.born);
    // The variance of a read's count is (100 + 100 + 25) / 4.
    let n = output.conservation.born as f64;
    let z = (report.timed_out as f64 - 12.5 * n) / (n * 225.0 / 4.0).sqrt();
    assert!(z.abs() <= 4.0, "{report:?}");
    assert!(report.timed_out.is_multiple_of(5));
    binomial("whole reads", output.conservation.ended[0], output.conservation.born, 0.125);
}
