use sim_core::time::{SimDuration, SimTime};

use crate::request::Outcome;
use crate::system::{ComponentOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};

/// Ten messages, one a second from 1 s on, to a queue `jobs` in front of a service `worker`; until all is done.
fn simulate(jobs: &str, worker: &str, more: &str) -> RunOutput {
    simulate_for(10, jobs, worker, more)
}

fn text(jobs: &str, worker: &str, more: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"1/s\" }}\nentry = \"jobs\"\n\
         [components.jobs]\nkind = \"queue\"\ntarget = \"worker\"\n{jobs}\n\
         [components.worker]\nkind = \"service\"\nservers = 100\n{worker}\n{more}\n"
    )
}

fn simulate_for(seconds: u64, jobs: &str, worker: &str, more: &str) -> RunOutput {
    let text = text(jobs, worker, more);
    let config: SystemConfig = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(1_000_000),
        windows: 1,
        ..RunPlan::default()
    };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

fn component<'a>(output: &'a RunOutput, name: &str) -> &'a ComponentOutput {
    output.components.iter().find(|component| component.name == name).unwrap()
}

fn measure(output: &RunOutput, name: &str) -> f64 {
    let jobs = component(output, "jobs");
    jobs.measures.iter().find(|measure| measure.name == name).and_then(|measure| measure.value).unwrap()
}

/// Stored, processed, redelivered, duplicate, dead-lettered, dropped.
fn counts(output: &RunOutput) -> [u64; 6] {
    ["stored", "processed", "redelivered", "duplicate", "dead_lettered", "dropped"]
        .map(|name| measure(output, &format!("messages_{name}")) as u64)
}

fn close(measured: f64, expected: f64) {
    assert!((measured - expected).abs() < 1e-9, "{measured}, expected {expected}");
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn the_caller_is_answered_when_the_message_is_stored() {
    let output = simulate("store_time = \"20ms\"", "service_time = \"500ms\"", "");
    assert_eq!(output.conservation.ended, [10, 0, 0, 0, 0]);
    assert_eq!(output.requests[0].latency.max(), Some(SECOND / 50));
    assert_eq!(counts(&output), [10, 10, 0, 0, 0, 0]);
    close(measure(&output, "lag_mean_s"), 0.5);
    // The run goes on for the work in the background: 10 + 0.02 + 0.5.
    assert_eq!(output.end, SimTime::from_nanos(SECOND / 100 * 1052));
    close(measure(&output, "depth_mean"), 10.0 * 0.5 / 10.52);
    // Its one message is the oldest, and its age grows to half a second: ten times 0.5^2 / 2.
    close(measure(&output, "oldest_age_mean_s"), 10.0 * 0.125 / 10.52);
    assert_eq!(measure(&output, "depth_end"), 0.0);
}

#[test]
fn a_slow_consumer_falls_behind() {
    // The nth message comes at n and is done at 1 + 2n: it lags by n + 1.
    let output = simulate("", "service_time = \"2s\"", "");
    assert_eq!(counts(&output), [10, 10, 0, 0, 0, 0]);
    close(measure(&output, "lag_mean_s"), 6.5);
    assert_eq!(output.end, SimTime::from_nanos(21 * SECOND));
    assert_eq!(component(&output, "worker").meter.busy.max(), 1);
    // Two consumers, or one with two at a time, keep up.
    for jobs in ["consumers = 2", "concurrency = 2"] {
        let output = simulate(jobs, "service_time = \"2s\"", "");
        close(measure(&output, "lag_mean_s"), 2.0);
    }
}

#[test]
fn a_short_visibility_timeout_works_twice() {
    // Received at 1, and again at 2 and at 3; done at 3.5, and two more times for nothing.
    let output =
        simulate_for(1, "consumers = 9\nvisibility_timeout = \"1s\"", "service_time = \"2500ms\"", "");
    assert_eq!(counts(&output)[..3], [1, 1, 2]);
    assert_eq!(component(&output, "worker").meter.calls, 3);
    // The run ends with the message; its copies are still being worked on.
    assert_eq!(output.end, SimTime::from_nanos(SECOND / 2 * 7));
}

#[test]
fn failures_are_received_again_until_they_are_given_up() {
    let output = simulate_for(
        1,
        "visibility_timeout = \"10s\"\nmax_receives = 3",
        "service_time = \"500ms\"\nerror_rate = 1.0",
        "",
    );
    // Received at 1, 11 and 21, and given up when it would be visible again.
    assert_eq!(counts(&output), [1, 0, 2, 0, 1, 0]);
    assert_eq!(output.end, SimTime::from_nanos(31 * SECOND));
    assert_eq!(output.conservation.ended, [1, 0, 0, 0, 0]);

    // Half of the receives fail: three of four messages get through in two, and each try has its own luck.
    let output = simulate_for(
        4000,
        "consumers = 50\nvisibility_timeout = \"10s\"\nmax_receives = 2",
        "service_time = \"500ms\"\nerror_rate = 0.5",
        "",
    );
    let [stored, processed, redelivered, _, dead, _] = counts(&output);
    assert_eq!((stored, processed + dead), (4000, 4000));
    let z = (processed as f64 - 3000.0) / (4000.0f64 * 0.75 * 0.25).sqrt();
    assert!(z.abs() <= 4.0, "{processed} processed");
    let z = (redelivered as f64 - 2000.0) / (4000.0f64 * 0.25).sqrt();
    assert!(z.abs() <= 4.0, "{redelivered} received again");
}

#[test]
fn a_full_queue_refuses_or_drops() {
    // One message in work for ever and two more fill it.
    let jobs = "max_length = 3\nvisibility_timeout = \"1h\"";
    let worker = "service_time = \"100s\"";
    let output = simulate(jobs, worker, "");
    assert_eq!(output.conservation.ended, [3, 0, 7, 0, 0]);
    assert_eq!(counts(&output), [3, 3, 0, 0, 0, 0]);
    let output = simulate(&format!("{jobs}\noverflow = \"drop_head\""), worker, "");
    assert_eq!(output.conservation.ended, [10, 0, 0, 0, 0]);
    // The first, which was in work, and the last two.
    assert_eq!(counts(&output), [10, 3, 0, 0, 0, 7]);
    close(measure(&output, "lag_mean_s"), (100.0 + (201.0 - 9.0) + (301.0 - 10.0)) / 3.0);
}

#[test]
fn old_messages_are_dropped() {
    let output = simulate("retention = \"4s\"", "service_time = \"3s\"", "");
    // Received are the 1st at 1, the 2nd at 4, the 3rd at 7, the 6th at 10 and the 9th at 13.
    assert_eq!(counts(&output)[..2], [10, 5]);
    assert_eq!(counts(&output)[5], 5);
}

#[test]
fn the_users_deadline_does_not_hold_the_work_back() {
    let worker = "service_time = \"3s\"\nadmission = { drop_expired = true }";
    let more =
        "[traffic.other]\narrivals = { process = \"deterministic\", rate = \"0.01/s\" }\nentry = \"worker\"";
    let text = text("", worker, more).replace("entry = \"jobs\"", "deadline = \"2s\"\nentry = \"jobs\"");
    let config: SystemConfig = toml::from_str(&text).unwrap();
    let plan = RunPlan {
        duration: SimDuration::from_secs(10),
        drain: SimDuration::from_secs(1000),
        windows: 1,
        ..RunPlan::default()
    };
    let output = run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap();
    assert_eq!(output.requests[0].outcomes[Outcome::Ok as usize], 10);
    assert_eq!(counts(&output)[..2], [10, 10]);
}

#[test]
fn partitions_keep_the_order() {
    // One partition: one at a time whatever the number of consumers, as a single one.
    let ordered = simulate("consumers = 5\npartitions = 1", "service_time = \"2s\"", "");
    close(measure(&ordered, "lag_mean_s"), 6.5);
    // A message that fails holds up those behind it.
    let output = simulate_for(
        3,
        "consumers = 5\npartitions = 1\nvisibility_timeout = \"10s\"\nmax_receives = 2",
        "service_time = \"1s\"\nerror_rate = 1.0",
        "",
    );
    assert_eq!(counts(&output), [3, 0, 3, 0, 3, 0]);
    // Received at 1 and 11, 21 and 31, 41 and 51.
    assert_eq!(output.end, SimTime::from_nanos(61 * SECOND));
    // Many partitions: as many at a time as there are consumers.
    let output = simulate("consumers = 5\npartitions = 1000", "service_time = \"2s\"", "");
    close(measure(&output, "lag_mean_s"), 2.0);
}

#[test]
fn a_crash_of_the_consumers_delays_the_work() {
    let fault = "[[fault]]\nat = \"1500ms\"\ntarget = \"jobs\"\nkind = \"crash\"\nrepair = \"5s\"";
    let output = simulate_for(1, "visibility_timeout = \"10s\"", "service_time = \"1s\"", fault);
    // Lost at 1.5 with the consumer, visible again at 11.
    assert_eq!(counts(&output), [1, 1, 1, 0, 0, 0]);
    assert_eq!(output.end, SimTime::from_nanos(12 * SECOND));
}

#[test]
fn mistakes_are_told() {
    for (jobs, key) in [
        ("visibility_timeout = \"0s\"", "visibility_timeout"),
        ("retention = \"0s\"", "retention"),
        ("partitions = 1000000", "partitions"),
        ("admission = { dagor = {} }", "admission.dagor"),
    ] {
        let config: SystemConfig = toml::from_str(&text(jobs, "service_time = \"1s\"", "")).unwrap();
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        assert_eq!(error.path.join("."), format!("components.jobs.{key}"), "{error}");
        assert!(error.help.unwrap().starts_with("expected"));
    }
    let config: SystemConfig =
        toml::from_str(&text("", "service_time = \"1s\"", "").replace("\"worker\"", "\"nobody\"")).unwrap();
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert_eq!(error.path.join("."), "components.jobs.target");
    assert!(toml::from_str::<SystemConfig>(&text("consumers = 0", "service_time = \"1s\"", "")).is_err());
}
