//! When runs are due, how volumes grow, and what holds whatever happens.

use proptest::prelude::*;

use super::*;

#[test]
fn late_runs_wait_or_are_dropped() {
    let job = "first = \"1s\"\nvolume = \"30GB\"\ntask_volume = \"1GB\"\ntask_time = \"1h\"";
    let queued = nightly(job, &days(0, 10, 0));
    // Runs of 30 hours one after the other; seven of ten have ended by 240 h.
    assert_eq!((queued.due, queued.succeeded, queued.skipped, queued.open), (10, 7, 0, 3));
    assert_eq!(queued.missed, 7);
    let refreshing = format!("{job}\nlate_runs = \"skip\"\nbackfill = false");
    let skipping = nightly(&refreshing, &days(0, 10, 0));
    // Every other is dropped.
    assert_eq!((skipping.due, skipping.succeeded, skipping.skipped, skipping.open), (10, 5, 5, 0));
    assert_eq!(skipping.lateness_max, 6.0 * HOUR);
    // Runs from 0, 48, 120 and 216 h on do the work of those that were dropped before them, too.
    let incremental = nightly(&format!("{job}\nlate_runs = \"skip\""), &days(0, 10, 0));
    assert_eq!(
        (incremental.due, incremental.succeeded, incremental.skipped, incremental.open),
        (10, 3, 6, 1)
    );
    close("bytes", incremental.scanned, 10.0 * 30e9, 1e-12);
    // A run that ends as the next comes due is out of its way.
    let exact = nightly(&format!("{}\nlate_runs = \"skip\"", job.replace("30GB", "24GB")), &days(0, 10, 0));
    assert_eq!((exact.succeeded, exact.skipped, exact.missed), (10 - 1, 0, 0));
}

#[test]
fn volumes_grow_by_the_day() {
    let job =
        "first = \"1s\"\nvolume = \"1GB\"\ntask_volume = \"1MB\"\ntask_time = \"1s\"\nvolume_growth = 0.1";
    let report = nightly(job, &days(0, 11, 0));
    // Volumes of 1, 1.1, ..., 1.1^10 GB, to the task.
    close("last", report.run_time_max, 1_000.0 * libm::pow(1.1, 10.0), 1e-3);
    close("bytes", report.scanned, 1e9 * (libm::pow(1.1, 11.0) - 1.0) / 0.1, 1e-5);
    // A job of 20 hours that grows by 1% a day has its window for 18 days: 1.01^18.3 = 1.2.
    let growing = "first = \"1h\"\nvolume = \"20GB\"\ntask_volume = \"1MB\"\ntask_time = \"3600ms\"\nvolume_growth = 0.01";
    let slack = |warmup| nightly(growing, &days(warmup, 1, 0)).slack_min;
    assert!(slack(18).unwrap() > 1.0 && slack(20).unwrap() < 1.0);
}

#[test]
fn more_than_a_million_tasks_take_the_same_time() {
    let few = "volume = \"100TB\"\ntask_volume = \"1GB\"\ntask_time = \"10s\"\nworkers = 100";
    let many = "volume = \"100TB\"\ntask_volume = \"1MB\"\ntask_time = \"10ms\"\nworkers = 100";
    let plan = days(0, 2, 0);
    close("run time", nightly(many, &plan).run_time_max, nightly(few, &plan).run_time_max, 1e-9);
}

#[test]
fn the_parts_of_a_run_add_up() {
    // 5 minutes, then a tenth of 100 minutes alone, then the rest on ten workers.
    let job = "volume = \"100GB\"\ntask_volume = \"1GB\"\ntask_time = \"1min\"\nworkers = 10\nstartup = \"5min\"\nserial_fraction = 0.1";
    let report = nightly(job, &days(0, 3, 0));
    assert_eq!(report.run_time.mean(), Some(60.0 * (5.0 + 10.0 + 9.0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Runs are neither lost nor counted twice, with everything on and at any time; and the same run twice
    /// is the same run.
    #[test]
    fn runs_are_conserved_and_reproducible(
        hours in 1u32..60,
        workers in 1u32..5,
        failures in 0.0f64..0.4,
        retries in 0u32..3,
        (backfill, skip) in (any::<bool>(), any::<bool>()),
        write_rate in prop::option::of(1u32..1_000),
        fault in prop::option::of((0u32..200, 1u32..100)),
        (warmup, length) in (0u64..5, 1u64..15),
        seed: u64,
    ) {
        let rate = write_rate.map_or(String::new(), |rate| format!(", write_rate = \"{rate}/s\""));
        let pipeline = format!(
            "volume = \"{}GB\"\ntask_volume = \"1GB\"\ntask_time = {{ exponential = {{ mean = \"30min\" }} }}\n
             workers = {workers}\ntask_failure = {}\nrun_failure = {failures}\nretries = {retries}\n
             backfill = {backfill}\nlate_runs = \"{}\"\nvolume_growth = 0.02\nserial_fraction = 0.1\n
             stragglers = {{ share = 0.05, factor = 4 }}\nsource_delay = \"1h\"\n
             materializes = {{ store = \"store\", rows = 1000000, write_time = \"20us\"{rate} }}",
            2 * hours, failures / 4.0, if skip { "skip" } else { "queue" },
        );
        let fault = fault.map_or(String::new(), |(at, repair)| {
            format!("[[fault]]\nat = \"{at}h\"\ntarget = \"nightly\"\nkind = \"crash\"\nrepair = \"{repair}h\"")
        });
        let config = scenario("10/h", &pipeline, &fault);
        let plan = RunPlan { seed, ..days(warmup, length, 0) };
        let output = simulate(&config, &plan);
        let report = report(&output);
        prop_assert!(report.is_conserved(), "{:?}", report);
        prop_assert!(output.conservation.holds());
        prop_assert!(report.lag_mean <= report.lag_max && report.lag <= report.lag_max);
        prop_assert!(report.backlog >= 0.0 && report.missed <= report.succeeded);
        let again = simulate(&config, &plan);
        prop_assert_eq!(again.fingerprint, output.fingerprint);
        prop_assert_eq!(format!("{:?}", super::report(&again)), format!("{report:?}"));
    }
}
