//! What links with policies do to the calls over them: retries, breakers, hedges, fallbacks.

mod breakers;
mod fallbacks;
mod hedges;
mod metastability;
mod retries;
mod timeouts;

use sim_core::time::SimDuration;
use sim_models::error::ConfigError;
use sim_models::meter::ComponentMeter;
use sim_models::request::Outcome;
use sim_models::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

const MILLISECOND: u64 = 1_000_000;

fn parse(text: &str) -> SystemConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Requests are born for so many seconds, and all end.
fn seconds(seconds: u64) -> RunPlan {
    RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(1_000),
        windows: 10,
        ..RunPlan::default()
    }
}

fn simulate_with(text: &str, plan: &RunPlan) -> RunOutput {
    let simulation =
        build(&parse(text), plan, &Traces::new()).unwrap_or_else(|error| panic!("{text}\n{error}"));
    run(simulation, plan).unwrap()
}

/// Ten requests.
fn simulate(text: &str) -> RunOutput {
    simulate_with(text, &seconds(10))
}

fn refusal(text: &str) -> ConfigError {
    match build(&parse(text), &seconds(10), &Traces::new()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

/// Requests to `edge`, and what follows.
fn arrivals(process: &str, rate: f64, system: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"{process}\", rate = \"{rate}/s\" }}\nentry = \"edge\"\n{system}\n"
    )
}

/// A request a second to `edge`, and what follows.
fn each_second(system: &str) -> String {
    arrivals("deterministic", 1.0, system)
}

/// A service with room for all.
fn service(name: &str, more: &str) -> String {
    format!("[components.{name}]\nkind = \"service\"\nservers = 20000\n{more}\n")
}

fn flow(name: &str, steps: &str) -> String {
    format!("[components.{name}]\nkind = \"flow\"\nsteps = [{steps}]\n")
}

fn link(name: &str, more: &str) -> String {
    format!("[links.\"{name}\"]\n{more}\n")
}

fn fault(at: u64, target: &str, more: &str) -> String {
    format!("[[fault]]\nat = \"{at}s\"\ntarget = \"{target}\"\n{more}\n")
}

fn meter<'a>(output: &'a RunOutput, name: &str) -> &'a ComponentMeter {
    &output.components.iter().find(|component| component.name == name).unwrap().meter
}

/// What a component measured, by name and by what it is about.
fn measure(output: &RunOutput, component: &str, name: &str, part: &str) -> f64 {
    let component = output.components.iter().find(|present| present.name == component).unwrap();
    let found = component.measures.iter().find(|m| m.name == name && m.part.as_deref() == Some(part));
    found.unwrap_or_else(|| panic!("{:?}", component.measures)).value.unwrap()
}

/// How many requests ended so.
fn ended(output: &RunOutput, outcome: Outcome) -> u64 {
    output.conservation.ended[outcome as usize]
}

/// All requests ended this way.
fn assert_all(output: &RunOutput, outcome: Outcome) {
    let mut expected = [0; 5];
    expected[outcome as usize] = output.conservation.born;
    assert!(output.conservation.born > 0);
    assert_eq!(output.conservation.ended, expected);
}

/// Shortest and longest latency of answered requests in ms.
fn latencies(output: &RunOutput) -> [u64; 2] {
    let latency = &output.requests[0].latency;
    [latency.min(), latency.max()].map(|value| value.unwrap() / MILLISECOND)
}
