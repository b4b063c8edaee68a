//! Whether a viewer can read what is written, and whether it is what happened.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::run::{Part, RunOptions, RunProgress};

const SCENARIO: &str = r#"
    name = "A pool behind a flow"
    [run]
    duration = "60s"
    replications = 2
    warmup = "10s"
    [traffic.web]
    arrivals = { process = "poisson", rate = "4/s" }
    entry = "edge"
    prompt_tokens = { constant = 400 }
    output_tokens = { constant = 50 }
    [components.edge]
    kind = "flow"
    steps = ["db", "small"]
    [components.db]
    kind = "service"
    service_time = { exponential = { mean = "100ms" } }
    servers = 2
    [components.small]
    kind = "llm"
    model = "llama-3.1-8b"
    gpu = "h100-sxm"
    [links."edge -> db"]
    latency = "1ms"
    timeout = "1s"
    per_try_timeout = "150ms"
    retry = { max_attempts = 2 }
"#;

fn run(timeline: Option<Part>) -> crate::results::RunResult {
    let loaded = crate::parse(SCENARIO, "pool.toml", ".".as_ref(), &[]).unwrap();
    let options = RunOptions { timeline, ..RunOptions::default() };
    crate::run(&loaded, &options, &RunProgress::new()).unwrap()
}

fn events(window: &str) -> (crate::results::RunResult, Vec<Value>) {
    let result = run(Some(window.parse().unwrap()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trace.json");
    assert!(result.write_perfetto(&file).unwrap());
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(trace["otherData"]["complete"], true);
    assert_eq!(trace["otherData"]["provenance"]["fingerprints"][0], result.provenance.fingerprints[0]);
    let events = trace["traceEvents"].as_array().unwrap().clone();
    (result, events)
}

fn number(event: &Value, key: &str) -> f64 {
    event[key].as_f64().unwrap_or_else(|| panic!("{key} of {event}"))
}

#[test]
fn every_event_has_what_its_phase_needs() {
    let (_, events) = events("20s..40s");
    let mut phases = BTreeMap::new();
    let named: BTreeSet<u64> = events
        .iter()
        .filter(|event| event["name"] == "process_name")
        .map(|event| event["pid"].as_u64().unwrap())
        .collect();
    for event in &events {
        let phase = event["ph"].as_str().unwrap();
        *phases.entry(phase.to_owned()).or_insert(0) += 1;
        assert!(event["name"].is_string() && named.contains(&event["pid"].as_u64().unwrap()), "{event}");
        match phase {
            "M" => assert!(event["args"].is_object()),
            "X" => {
                assert!(number(event, "ts") >= 0.0 && number(event, "dur") >= 0.0 && event["tid"].is_u64())
            }
            "C" => assert!(event["args"].as_object().unwrap().values().all(Value::is_u64), "{event}"),
            "i" => assert_eq!(event["s"], "t"),
            "s" | "f" => assert!(event["id"].is_u64() && event["tid"].is_u64()),
            other => panic!("phase {other}"),
        }
    }
    for phase in ["M", "X", "C", "i", "s", "f"] {
        assert!(phases.contains_key(phase), "{phase} of {phases:?}");
    }
    // Flows begin and end in pairs.
    assert_eq!(phases["s"], phases["f"]);
}

#[test]
fn slices_of_a_thread_nest_and_lie_in_the_window() {
    let (result, events) = events("20s..40s");
    let mut threads: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (from, length) = (number(event, "ts"), number(event, "dur"));
        // A part of a call may lie outside, the call itself does not.
        let is_whole = event["name"].as_str().unwrap().starts_with("request");
        assert!(!is_whole || from < 40e6 && from + length >= 20e6, "{event}");
        let thread = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
        threads.entry(thread).or_default().push((from, from + length));
    }
    for spans in threads.values_mut() {
        spans.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut open: Vec<f64> = Vec::new();
        for (from, to) in spans {
            while open.last().is_some_and(|end| *end <= *from + 1e-3) {
                open.pop();
            }
            assert!(open.last().is_none_or(|end| *to <= *end + 1e-3), "slices overlap");
            open.push(*to);
        }
    }
    // As many requests as were born before its end and had not ended at its start.
    let shown = events.iter().filter(|event| event["ph"] == "X" && event["cat"] == "request").count();
    let timeline = result.timeline().unwrap();
    assert_eq!(shown, timeline.requests.len());
    // 4 a second for 20 seconds, of a Poisson process.
    assert!((40..=130).contains(&shown), "{shown}");
    let retried = events.iter().any(|event| event["args"]["attempt"].as_u64() == Some(1));
    assert!(retried, "no second attempt at the database was seen");
}

#[test]
fn a_run_with_a_timeline_is_the_same_run() {
    let (plain, shown) = (run(None), run(Some("5s".parse().unwrap())));
    assert_eq!(plain.provenance.fingerprints, shown.provenance.fingerprints);
    assert_eq!(plain.provenance.outcome_hashes, shown.provenance.outcome_hashes);
    assert!(plain.timeline().is_none());
    let timeline = shown.timeline().unwrap();
    assert_eq!((timeline.window.from.as_secs_f64(), timeline.window.to.as_secs_f64()), (10.0, 15.0));
    assert!(shown.outputs[1].timeline.is_none());
}

#[test]
fn windows_are_read_and_refused() {
    assert!("60s..90s".parse::<Part>().is_ok() && "1min".parse::<Part>().is_ok());
    for bad in ["90s..60s", "1s..1s", "..", "one", ""] {
        assert!(bad.parse::<Part>().is_err(), "{bad}");
    }
    let loaded = crate::parse(SCENARIO, "pool.toml", ".".as_ref(), &[]).unwrap();
    let beyond = RunOptions { timeline: Some("2min..3min".parse().unwrap()), ..RunOptions::default() };
    let error = crate::check(&loaded, &beyond).unwrap_err();
    assert!(error.message().contains("not in the run"), "{}", error.message());
}
