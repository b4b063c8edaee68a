//! Whole scenarios, right and wrong.

mod mistakes;
mod properties;
mod variants;

use sim_models::system::{ComponentConfig, RunPlan, Traces, build};

use super::*;
use crate::run::{RunOptions, RunProgress, run_scenario};

/// A scenario that can be simulated; tests change one line of it.
const SHOP: &str = r#"name = "Shop"

[run]
duration = "1m"
seed = 7
replications = 2

[slo]
latency = { p99 = "2s" }

[traffic.web]
arrivals = { process = "poisson", rate = "5/s" }
entry = "edge"
prompt_tokens = { lognormal = { mean = 512, cv = 1.2 } }

[components.edge]
kind = "flow"
steps = ["stock", { parallel = ["stock", "prices"] }]

[components.stock]
kind = "service"
service_time = { exponential = { mean = "20ms" } }
servers = 4

[components.prices]
service_time = "5ms"
queue_cap = 100
kind = "service"

[links."edge -> stock"]
latency = "1ms"
timeout = "250ms"

[[fault]]
at = "10s"
target = "stock"
kind = "crash"
"#;

/// Reads and builds.
fn check(text: &str, sets: &[&str]) -> Result<Loaded, ScenarioError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let loaded = parse(text, "shop.toml", Path::new("."), &sets)?;
    match build(&loaded.scenario.system(), &RunPlan::default(), &Traces::new()) {
        Ok(_) => Ok(loaded),
        Err(error) => Err(loaded.locate(error)),
    }
}

#[test]
fn a_file_is_read_and_knows_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.toml");
    std::fs::write(&path, SHOP).unwrap();
    let loaded = load(&path, &["run.seed=9".to_owned()]).unwrap();
    assert_eq!(loaded.base_dir(), directory.path());
    assert_eq!(loaded.scenario.run.seed, 9);
    assert_eq!(check(SHOP, &[]).unwrap().scenario.run.seed, 7);
}

#[test]
fn the_canonical_form_is_stable() {
    let loaded = check(SHOP, &[]).unwrap();
    insta::assert_snapshot!(loaded.scenario.to_toml(), @r#"
    name = "Shop"

    [run]
    duration = "1m"
    warmup = "auto"
    seed = 7
    replications = 2
    windows = 200

    [slo]
    latency = { p99 = "2s" }

    [traffic.web]
    entry = "edge"
    arrivals = { process = "poisson", rate = "5/s" }
    prompt_tokens = { lognormal = { mean = 512, cv = 1.2 } }

    [components.edge]
    kind = "flow"
    steps = ["stock", { parallel = ["stock", "prices"] }]

    [components.stock]
    kind = "service"
    servers = 4
    discipline = "fcfs"
    error_rate = 0
    service_time = { exponential = { mean = "20ms" } }

    [components.prices]
    kind = "service"
    service_time = "5ms"
    servers = 1
    discipline = "fcfs"
    queue_cap = 100
    error_rate = 0

    [links."edge -> stock"]
    latency = "1ms"
    timeout = "250ms"

    [[fault]]
    at = "10s"
    target = "stock"
    kind = "crash"
    "#);
    // The order of keys and the unit of a time are no part of the meaning.
    let other = SHOP.replace("duration = \"1m\"\nseed = 7", "seed = 7\nduration = \"60s\"");
    assert_ne!(other, SHOP);
    assert_eq!(check(&other, &[]).unwrap().hash(), loaded.hash());
    assert_ne!(check(SHOP, &["run.seed=8"]).unwrap().hash(), loaded.hash());
}

#[test]
fn every_library_scenario_can_be_simulated_and_round_trips() {
    for LibraryScenario { id, text } in library() {
        let loaded = check(text, &[]).unwrap_or_else(|error| panic!("{id}: {}", error.plain()));
        let canonical = loaded.scenario.to_toml();
        let again = check(&canonical, &[]).unwrap_or_else(|error| panic!("{id}: {}", error.plain()));
        assert_eq!(again.scenario, loaded.scenario, "{id}");
        assert_eq!(again.scenario.to_toml(), canonical, "{id}");
        assert!(loaded.scenario.description.is_some(), "{id}");
    }
}

#[test]
fn every_library_scenario_holds_today_and_breaks_at_ten_times_the_load() {
    let sets = ["run.replications=1", "run.duration=2m", "run.warmup=10s"].map(str::to_owned);
    for LibraryScenario { id, text } in library() {
        let mut loaded = parse(text, id, Path::new("."), &sets).unwrap();
        if !loaded.scenario.fault.is_empty() || *id == "deployment" {
            // What breaks, and what is rolled out, has its time.
            loaded = parse(text, id, Path::new("."), &sets[..1]).unwrap();
        }
        let holds = |scale: f64| {
            let options = RunOptions { scale, threads: Some(1), ..RunOptions::default() };
            let result = run_scenario(
                &loaded.scenario,
                loaded.hash(),
                loaded.base_dir(),
                &options,
                &RunProgress::default(),
            );
            result.unwrap().passed().unwrap()
        };
        // What breaks the nightly job is more data, not more requests; and nobody asks a training job for anything.
        let minds_no_requests = ["nightly-batch", "spot-training"].contains(id);
        assert_eq!((holds(1.0), holds(10.0)), (true, minds_no_requests), "{id}");
    }
}

#[test]
fn overrides_change_what_they_name() {
    let loaded = check(
        SHOP,
        &[
            "components.stock.servers=9",
            "links.\"edge -> stock\".timeout=300ms",
            "links.edge -> prices.latency=2ms",
            "components.edge.steps.0=prices",
            "slo.class.default.ttft={ p95 = \"1s\" }",
            "components.stock.service_time.exponential.mean=30ms",
            "run.warmup = \"5s\"",
            "description=a shop",
        ],
    )
    .unwrap();
    let by_hand = SHOP
        .replace("servers = 4", "servers = 9")
        .replace("250ms", "300ms")
        .replace("steps = [\"stock\"", "steps = [\"prices\"")
        .replace("20ms", "30ms")
        .replace("seed = 7", "seed = 7\nwarmup = \"5s\"")
        .replace("[run]", "description = \"a shop\"\n[run]")
        .replace("[[fault]]", "[links.\"edge -> prices\"]\nlatency = \"2ms\"\n[slo.class.default.ttft]\np95 = \"1s\"\n[[fault]]");
    assert_eq!(loaded.scenario, check(&by_hand, &[]).unwrap().scenario);
    let replaced = check(SHOP, &["components.stock={ kind = \"service\", service_time = \"1s\" }"]).unwrap();
    assert!(replaced.scenario.to_toml().contains("service_time = \"1s\""));
}

/// The kinds of components, in the order of messages.
fn kinds() -> Vec<String> {
    let schema = schema();
    let kinds = schema["$defs"]["ComponentConfig"]["oneOf"].as_array().unwrap();
    kinds.iter().map(|kind| kind["properties"]["kind"]["const"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_schema_describes_every_section_and_refuses_other_keys() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    for section in ["name", "run", "slo", "traffic", "components", "links", "fault"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
    for part in ["RunConfig", "SloConfig", "TrafficConfig", "LinkConfig", "FaultConfig", "DetailedStep"] {
        assert_eq!(schema["$defs"][part]["additionalProperties"], false, "{part}");
    }
    let mut kinds = kinds();
    kinds.sort();
    let mut expected = ComponentConfig::KINDS.to_vec();
    expected.sort();
    assert_eq!(kinds, expected);
    // Every reference leads somewhere.
    let text = schema.to_string();
    for reference in text.split("\"#/$defs/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schema["$defs"][name].is_object(), "{name}");
    }
}
