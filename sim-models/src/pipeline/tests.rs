mod failures;
mod schedule;

use super::*;
use crate::component::DataReport;
use crate::meter::ComponentMeter;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;

/// A nightly pipeline into a store that nobody reads but `rate` says.
fn scenario(rate: &str, pipeline: &str, more: &str) -> SystemConfig {
    let text = format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"{rate}\" }}\nentry = \"store\"\n
         [components.store]\nkind = \"feature_store\"\nfeatures = 1\nlookup = \"1ms\"\n
         [components.nightly]\nkind = \"pipeline\"\ninterval = \"24h\"\n{pipeline}\n{more}"
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Measures `days` after `warmup` days.
fn days(warmup: u64, days: u64, replication: u64) -> RunPlan {
    RunPlan {
        duration: SimDuration::from_secs(86_400 * (warmup + days)),
        warmup: SimDuration::from_secs(86_400 * warmup),
        replication,
        ..RunPlan::default()
    }
}

fn simulate(config: &SystemConfig, plan: &RunPlan) -> RunOutput {
    run(build(config, plan, &Traces::new()).unwrap(), plan).unwrap()
}

fn report(output: &RunOutput) -> PipelineReport {
    match &output.components.last().unwrap().data {
        Some(DataReport::Pipeline(report)) => (**report).clone(),
        other => panic!("{other:?}"),
    }
}

fn meter(output: &RunOutput) -> &ComponentMeter {
    &output.components.last().unwrap().meter
}

fn nightly(pipeline: &str, plan: &RunPlan) -> PipelineReport {
    report(&simulate(&scenario("1/d", pipeline, ""), plan))
}

fn close(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value / expected - 1.0).abs() <= tolerance, "{what}: {value}, expected {expected}");
}

/// A job of 20 hours over 20 TB: tasks of 10 GB and 36 s each, on one worker for each tenth of... `workers`
/// do `workers` times the tasks, each as much longer.
fn job(terabytes: f64, workers: u32, base_workers: u32) -> String {
    format!(
        "first = \"6h\"\nvolume = \"{}GB\"\ntask_volume = \"10GB\"\ntask_time = \"{}s\"\nworkers = {workers}",
        terabytes * 1e3,
        36 * base_workers,
    )
}

#[test]
fn a_job_of_20_hours_fits_its_window_up_to_1_2_times_the_volume() {
    for (times, misses) in
        [(1.0, false), (1.1, false), (1.19, false), (1.2, false), (1.21, true), (1.3, true)]
    {
        let report = nightly(&job(20.0 * times, 1, 1), &days(0, 30, 0));
        assert_eq!(report.missed > 0, misses, "{times}: {report:?}");
        close("run time", report.run_time_max / HOUR, 20.0 * times, 1e-3);
        if misses {
            // Runs queue up behind one another: each is later than the one before.
            assert!(report.lateness_max > 20.0 * 0.2 * HOUR, "{report:?}");
            let later = nightly(&job(20.0 * times, 1, 1), &days(5, 30, 0));
            close("backlog", later.backlog_growth().unwrap(), (20.0 * times - 24.0) / 24.0, 1e-6);
        } else {
            close("slack", report.slack_min.unwrap(), 1.2 / times, 1e-3);
            assert_eq!((report.due, report.succeeded + report.open), (30, 30));
        }
    }
}

#[test]
fn the_lag_at_ten_times_the_volume_grows_7_33_days_a_day() {
    let report = nightly(&job(200.0, 1, 1), &days(10, 100, 0));
    close("days of work a day", report.backlog_growth().unwrap(), 7.33, 0.001);
    close("(200 h - 24 h) / 24 h", report.backlog_growth().unwrap(), (200.0 - 24.0) / 24.0, 1e-9);
    // 12% of what comes in is done.
    close("done", report.succeeded as f64 / report.due as f64, 0.12, 0.02);
    // The output falls 0.88 days behind for each day.
    close("lag", report.lag / DAY, 110.0 * 0.88, 0.1);
}

#[test]
fn ten_times_the_volume_needs_8_33_times_the_throughput() {
    // Three workers take 20 hours; 25 are 8.33 times as many.
    for (workers, misses) in [(3, true), (24, true), (25, false), (30, false)] {
        let report = nightly(&job(200.0, workers, 3), &days(0, 10, 0));
        assert_eq!(report.missed > 0 || report.open > 1, misses, "{workers}: {report:?}");
        if !misses {
            close("run time", report.run_time_max / HOUR, 600.0 / f64::from(workers), 1e-3);
        }
    }
}

#[test]
fn no_number_of_workers_beats_the_serial_part() {
    let run_time = |serial: f64, workers: u32| {
        let report =
            nightly(&format!("{}\nserial_fraction = {serial}", job(200.0, workers, 1)), &days(0, 60, 0));
        (report.run_time_max / HOUR, report.missed)
    };
    for (serial, workers) in [(0.05, 10), (0.05, 100), (0.11, 100), (0.2, 1000)] {
        let expected = 200.0 * (serial + (1.0 - serial) / f64::from(workers));
        close("Amdahl", run_time(serial, workers).0, expected, 1e-3);
    }
    // A speed-up of 8.33 and more is out of reach from a serial fraction of 12% on.
    assert!(run_time(0.12, 10_000).1 > 0);
    assert_eq!(run_time(0.11, 100).1, 0);
    assert!(200.0 / run_time(0.12, 10_000).0 < 1.0 / 0.12);
}

#[test]
fn writes_of_a_run_slow_the_reads_of_the_store() {
    // A run of two hours writes 3.6 million rows, 500 a second of 0.8 ms each: 40% of the store.
    let run = |materializes: &str| {
        let pipeline = format!(
            "volume = \"1GB\"\ntask_volume = \"1GB\"\ntask_time = \"2h\"\nmaterializes = {{ store = \"store\", {materializes} }}"
        );
        let output = simulate(&scenario("1/min", &pipeline, ""), &days(0, 5, 0));
        let store = &output.components[1].meter;
        let slowest = store.latency.max().unwrap() as f64 / 1e6;
        // Share of the time in which reads are slow.
        let slow = 1.0 - store.latency.fraction_at_or_below(1_001_000).unwrap();
        (slowest, slow, report(&output))
    };
    let (slowest, slow, report) = run("rows = 3600000, write_time = \"800us\"");
    close("along with the run", slowest, 1.0 / (1.0 - 0.4), 1e-3);
    close("for two hours of 24", slow, 2.0 / 24.0, 0.02);
    assert_eq!(report.rows_written, 5.0 * 3.6e6);
    // The same rows at 125 a second: eight hours after the run's own two, and gentler.
    let (slowest, slow, report) = run("rows = 3600000, write_time = \"800us\", write_rate = \"125/s\"");
    close("at a write rate", slowest, 1.0 / (1.0 - 0.1), 1e-3);
    close("for eight hours of 24", slow, 8.0 / 24.0, 0.02);
    close("run time", report.run_time.mean().unwrap() / HOUR, 10.0, 1e-9);
    assert_eq!(run("rows = 0").0, 1.0);
}

#[test]
fn two_pipelines_add_up_on_a_store() {
    let pipeline = "first = \"1h\"\nvolume = \"1GB\"\ntask_volume = \"1GB\"\ntask_time = \"2h\"\n
        materializes = { store = \"store\", rows = 1800000, write_time = \"1ms\" }";
    let more = pipeline.replace("first = \"1h\"", "kind = \"pipeline\"\ninterval = \"24h\"\nfirst = \"2h\"");
    let config = scenario("1/min", pipeline, &format!("[components.other]\n{more}"));
    let output = simulate(&config, &days(0, 1, 0));
    // 250 writes of 1 ms a second each: a quarter of the store in hours 1 to 4, half of it from 2 to 3.
    let reads = &output.components[1].meter.latency;
    let share =
        |milliseconds: f64| 24.0 * reads.fraction_at_or_below((milliseconds * 1.002e6) as u64).unwrap();
    close("alone", share(1.0), 21.0, 0.005);
    close("one", share(1.0 / 0.75), 23.0, 0.005);
    close("both", share(2.0), 24.0, 1e-9);
}

#[test]
fn reading_the_offline_store_bounds_a_run() {
    let run = |offline: &str| {
        let pipeline = format!("{}\noffline = {offline}", job(20.0, 100, 1));
        nightly(&pipeline, &days(0, 2, 0))
    };
    // 2,000 tasks of 36 s on 100 workers take 12 minutes; 2,000 slots read 20 TB in 250 s.
    let report = run("{ store = \"bigquery\" }");
    close("tasks", report.run_time.mean().unwrap(), 720.0, 1e-9);
    close("dollars", report.scan_usd, 2.0 * 6.25 * 20e12 / (1u64 << 40) as f64, 1e-9);
    close("bytes", report.scanned, 40e12, 1e-9);
    // At one connection each, 100 workers read 8.5 GB/s.
    let report = run("{ store = \"parquet-on-s3\", streams = 1 }");
    close("scan", report.run_time.mean().unwrap(), 0.15 + 20e12 / 8.5e9, 1e-9);
    close("requests", report.scan_usd, 2.0 * 2.5e6 * 0.0004 / 1e3, 1e-9);
}

/// What a scan costs is on the bill, by the hour of the measured time.
#[test]
fn scans_are_paid() {
    let pipeline = format!("{}\noffline = {{ store = \"bigquery\" }}", job(20.0, 100, 1));
    let output = simulate(&scenario("1/d", &pipeline, ""), &days(0, 2, 0));
    let line = output.costs.iter().find(|line| line.resource == "scans").unwrap();
    close("a month", line.usd_per_hour, 2.0 * 6.25 * 20e12 / (1u64 << 40) as f64 / 48.0, 1e-9);
}

#[test]
fn workers_are_paid_while_they_work() {
    let pipeline = format!("{}\nprice_per_hour = \"$2/h\"", job(20.0, 5, 5)).replace("6h", "2h");
    let output = simulate(&scenario("1/d", &pipeline, ""), &days(0, 12, 0));
    let [line] = output.costs.as_slice() else { panic!("{:?}", output.costs) };
    // 5 workers for 20 of 24 hours.
    close("workers", line.units, 5.0 * 20.0 / 24.0, 1e-9);
    close("dollars an hour", line.usd_per_hour, 2.0 * line.units, 1e-9);
    close("utilization", meter(&output).utilization(output.end).unwrap(), 20.0 / 24.0, 1e-9);
}

#[test]
fn mistakes_have_a_place() {
    let job = "volume = \"1GB\"\ntask_time = \"1s\"";
    for (pipeline, more, path, message) in [
        ("volume = \"0B\"\ntask_time = \"1s\"".to_owned(), "", "components.nightly.volume", "nothing to do"),
        (format!("{job}\nwindow = \"0s\""), "", "components.nightly.window", "`window` is 0"),
        (
            format!("{job}\nmaterializes = {{ store = \"nowhere\" }}"),
            "",
            "components.nightly.materializes.store",
            "unknown component `nowhere`",
        ),
        (
            format!("{job}\nmaterializes = {{ store = \"db\" }}"),
            "[components.db]\nkind = \"service\"\nservice_time = \"1ms\"",
            "components.nightly.materializes.store",
            "`db` is a service, not a feature store",
        ),
        (
            format!("{job}\nmaterializes = {{ store = \"store\", write_rate = \"0/s\" }}"),
            "",
            "components.nightly.materializes.write_rate",
            "nothing is ever written",
        ),
        (
            format!("{job}\noffline = {{ store = \"bigquery\", stream_per_second = \"0B\" }}"),
            "",
            "components.nightly.offline.stream_per_second",
            "reads nothing",
        ),
        (
            job.to_owned(),
            "[components.edge]\nkind = \"flow\"\nsteps = [\"nightly\"]",
            "components.edge.steps.0",
            "answers no calls",
        ),
    ] {
        let config = scenario("1/d", &pipeline, more);
        let error = build(&config, &RunPlan::default(), &Traces::new()).map(|_| ()).unwrap_err();
        assert_eq!(error.path.join("."), path, "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    let mut config = scenario("1/d", job, "");
    config.traffic["web"].entry = "nightly".to_owned();
    let error = build(&config, &RunPlan::default(), &Traces::new()).map(|_| ()).unwrap_err();
    assert_eq!(error.path, ["traffic", "web", "entry"]);
    let config: PipelineConfig = toml::from_str(&format!("interval = \"1h\"\n{job}")).unwrap();
    assert_eq!(toml::from_str::<PipelineConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    for bad in ["serial_fraction = 1.5", "workers = 0", "late_runs = \"sometimes\"", "volume_growth = -1"] {
        assert!(
            toml::from_str::<PipelineConfig>(&format!("interval = \"1h\"\n{job}\n{bad}")).is_err(),
            "{bad}"
        );
    }
}
