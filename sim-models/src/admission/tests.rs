//! Shedding at a whole service.

mod door;
mod fairness;
mod shedding;

use sim_core::time::SimDuration;

use crate::error::ConfigError;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

fn parse(text: &str) -> SystemConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn simulate_with(text: &str, plan: &RunPlan) -> RunOutput {
    let simulation =
        build(&parse(text), plan, &Traces::new()).unwrap_or_else(|error| panic!("{text}\n{error}"));
    run(simulation, plan).unwrap()
}

/// So many seconds, without their first part, and the time for all to end.
fn plan(warmup: u64, seconds: u64) -> RunPlan {
    RunPlan {
        duration: SimDuration::from_secs(seconds),
        warmup: SimDuration::from_secs(warmup),
        drain: SimDuration::from_secs(1_000_000),
        windows: 1,
        ..RunPlan::default()
    }
}

fn refusal(text: &str) -> ConfigError {
    match build(&parse(text), &RunPlan::default(), &Traces::new()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

/// A measure of a component.
fn measure(output: &RunOutput, component: &str, name: &str) -> f64 {
    let component = output.components.iter().find(|output| output.name == component).unwrap();
    let found = component.measures.iter().find(|measure| measure.name == name);
    found.and_then(|measure| measure.value).unwrap_or_else(|| panic!("{name}: {:?}", component.measures))
}
