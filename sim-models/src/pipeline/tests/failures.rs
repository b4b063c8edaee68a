//! Stragglers, tasks and runs that fail, and how they are made good.

use sim_core::stats::Moments;

use super::*;

fn z(what: &str, values: &Moments, expected: f64) {
    let z = (values.mean().unwrap() - expected) / values.standard_error().unwrap();
    assert!(z.abs() <= 4.0, "{what}: {:?}, expected {expected}, z = {z}", values.mean());
}

/// A count of `n` trials of probability `p`.
fn binomial(what: &str, count: u64, n: u64, p: f64) {
    let z = (count as f64 - n as f64 * p) / (n as f64 * p * (1.0 - p)).sqrt();
    assert!(z.abs() <= 4.0, "{what}: {count} of {n}, expected {p}, z = {z}");
}

/// A hundred tasks of a minute.
const TASKS: &str = "volume = \"100GB\"\ntask_volume = \"1GB\"\ntask_time = \"1min\"";

#[test]
fn a_straggler_holds_up_the_run() {
    let stragglers = "stragglers = { share = 0.02, factor = 10 }";
    // Tasks one after the other take 1 + 0.02 * 9 times as long.
    let report = nightly(&format!("{TASKS}\nworkers = 1\n{stragglers}"), &days(0, 4_000, 0));
    z("one worker", &report.run_time, 6_000.0 * 1.18);
    // Each on a worker of its own, all wait for the slowest: ten minutes unless none straggles.
    let report = nightly(&format!("{TASKS}\nworkers = 100\n{stragglers}"), &days(0, 4_000, 0));
    let none = libm::pow(0.98, 100.0);
    z("a worker each", &report.run_time, 60.0 * none + 600.0 * (1.0 - none));
}

#[test]
fn failed_tasks_are_tried_again_and_at_last_fail_the_run() {
    let report =
        nightly(&format!("{TASKS}\ntask_failure = 0.1\nworkers = 1\nbackfill = false"), &days(0, 4_000, 0));
    // A run is lost if one of a hundred tasks fails four times in a row.
    let survives = libm::pow(1.0 - 1e-4, 100.0);
    binomial("failed runs", report.failed, report.due, 1.0 - survives);
    // 1 / 0.9 attempts a task of those that come through, but for the fifth.
    close("run time", report.run_time.mean().unwrap(), 6_000.0 * 0.999_6 / 0.9, 0.002);
    let attempts = 100.0 * report.due as f64;
    close("failed attempts", report.task_failures as f64, attempts * 0.111, 0.01);
    let never = nightly(&format!("{TASKS}\ntask_failure = 0.5\nmax_attempts = 1"), &days(0, 20, 0));
    assert_eq!((never.succeeded, never.failed), (0, 20));
    // The run ends with the first failure: after two tasks on average.
    let most = simulate(
        &scenario("1/d", &format!("{TASKS}\ntask_failure = 0.5\nmax_attempts = 1"), ""),
        &days(0, 2_000, 0),
    );
    close("until it fails", meter(&most).latency.mean().unwrap() / 1e9, 120.0, 0.1);
}

#[test]
fn failed_runs_are_tried_again() {
    let failing = format!("{TASKS}\nrun_failure = 0.2\nbackfill = false");
    let report = nightly(&failing, &days(0, 10_000, 0));
    binomial("without retries", report.failed, report.due, 0.2);
    let report = nightly(&format!("{failing}\nretries = 2\nretry_delay = \"20min\""), &days(0, 10_000, 0));
    binomial("with two", report.failed, report.due, 0.008);
    assert!(report.is_conserved());
    // Of runs that succeed, 0.8 of 0.992 take one attempt of 100 minutes, 0.16 two, 0.032 three.
    let retries = (0.16 + 0.032 * 2.0) / 0.992;
    z("run time", &report.run_time, 6_000.0 + retries * (6_000.0 + 1_200.0));
}

#[test]
fn a_failed_run_is_made_good_by_the_next() {
    let failing = format!("{TASKS}\nrun_failure = 0.25");
    let report = nightly(&failing, &days(0, 8_000, 0));
    // Each of the volumes waits for a run that succeeds: a run does those of all failed before it.
    z("run time", &report.run_time, 6_000.0 / 0.75);
    let report = nightly(&format!("{failing}\nbackfill = false"), &days(0, 8_000, 0));
    assert_eq!((report.run_time.mean(), report.run_time_max), (Some(6_000.0), 6_000.0));
}

#[test]
fn a_crash_fails_the_run_and_holds_up_the_others() {
    // Runs at midnight, 20 hours each. The first fails at 10 h; the second waits for the repair at 30 h
    // until 50 h with the volume of both: it takes 40 hours, from 50 h to 90 h.
    let pipeline = job(20.0, 1, 1).replace("first = \"6h\"\n", "");
    let fault = "[[fault]]\nat = \"10h\"\ntarget = \"nightly\"\nkind = \"crash\"\nrepair = \"40h\"";
    let output = simulate(&scenario("1/d", &pipeline, fault), &days(0, 4, 0));
    let report = report(&output);
    assert_eq!((report.due, report.failed, report.succeeded, report.open), (5, 1, 1, 3));
    assert_eq!(report.run_time_max, 40.0 * HOUR);
    assert_eq!(report.lateness_max, (90.0 - 24.0 - 24.0) * HOUR);
    // Since then the output knows the state at 24 h.
    assert_eq!(report.lag, 72.0 * HOUR);
    // A retry that comes due while the pipeline is down waits for the repair.
    let retried = format!("{pipeline}\nretries = 1");
    let output = simulate(&scenario("1/d", &retried, fault), &days(0, 4, 0));
    let report = super::report(&output);
    assert_eq!((report.failed, report.succeeded, report.attempts_failed), (0, 2, 1));
    // The first ends at 70 h, 70 h after its first beginning; the second at 90 h.
    assert_eq!(report.run_time_max, 70.0 * HOUR);
    // Slow attempts take twice as long.
    let fault = "[[fault]]\nat = \"1s\"\ntarget = \"nightly\"\nkind = \"slow\"\nfactor = 2\nrepair = \"20h\"";
    let output = simulate(&scenario("1/d", &job(5.0, 1, 1), fault), &days(0, 3, 0));
    let run_time = super::report(&output).run_time;
    assert_eq!((run_time.mean(), run_time.count()), (Some((10.0 + 5.0 + 5.0) / 3.0 * HOUR), 3));
}
