//! The plumbing of systems: calls, links, flows, conservation, common random numbers and errors.

mod common_random_numbers;
mod configuration_errors;
mod faults;
mod links;
mod random_architectures;
mod sessions;
mod steps;

use sim_core::time::SimDuration;
use sim_models::error::ConfigError;
use sim_models::meter::ComponentMeter;
use sim_models::request::Outcome;
use sim_models::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

const MILLISECOND: u64 = 1_000_000;

fn parse(text: &str) -> SystemConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Ten requests at a rate of one a second, and the time for all to end.
fn ten_seconds() -> RunPlan {
    RunPlan {
        duration: SimDuration::from_secs(10),
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

fn simulate(text: &str) -> RunOutput {
    simulate_with(text, &ten_seconds())
}

fn refusal(text: &str) -> ConfigError {
    match build(&parse(text), &ten_seconds(), &Traces::new()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

/// A request a second to `edge`, and what follows.
fn each_second(system: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"1/s\" }}\nentry = \"edge\"\n{system}\n"
    )
}

fn service(name: &str, more: &str) -> String {
    format!("[components.{name}]\nkind = \"service\"\nservers = 1000\n{more}\n")
}

fn flow(name: &str, steps: &str) -> String {
    format!("[components.{name}]\nkind = \"flow\"\nsteps = [{steps}]\n")
}

fn link(name: &str, more: &str) -> String {
    format!("[links.\"{name}\"]\n{more}\n")
}

fn meter<'a>(output: &'a RunOutput, name: &str) -> &'a ComponentMeter {
    &output.components.iter().find(|component| component.name == name).unwrap().meter
}

/// Time that servers of a component were busy, in ms.
fn busy(output: &RunOutput, name: &str) -> f64 {
    meter(output, name).busy.integral(output.end) as f64 / MILLISECOND as f64
}

/// All requests ended this way.
fn assert_all(output: &RunOutput, outcome: Outcome) {
    let mut expected = [0; 5];
    expected[outcome as usize] = output.conservation.born;
    assert!(output.conservation.born > 0);
    assert_eq!(output.conservation.ended, expected);
}

/// Every request's latency in ms.
fn assert_latency(output: &RunOutput, milliseconds: u64) {
    for meter in &output.requests {
        let ends = (meter.latency.min(), meter.latency.max());
        let expected = Some(milliseconds * MILLISECOND).filter(|_| meter.answered() > 0);
        assert_eq!(ends, (expected, expected));
    }
}
