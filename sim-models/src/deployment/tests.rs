//! Rollouts of pools, in whole runs.

mod canaries;
mod failures;
mod rolling;

use sim_core::time::{SimDuration, SimTime};

use super::*;
use crate::error::ConfigError;
use crate::system::{ComponentOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};

/// A pool `api` of ten replicas with four servers each behind evenly spaced calls of 100 ms, with this deployment.
fn system(rate: u32, deployment: &str, more: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"{rate}/s\" }}\nentry = \"api\"\n\
         [components.api]\nkind = \"service\"\nservice_time = \"100ms\"\nservers = 4\nreplicas = 10\n{more}\n\
         [components.api.deployment]\n{deployment}\n"
    )
}

fn plan(seconds: u64) -> RunPlan {
    RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(600),
        seed: 3,
        ..RunPlan::default()
    }
}

fn simulate(text: &str, plan: &RunPlan) -> RunOutput {
    let config: SystemConfig = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let output = run(build(&config, plan, &Traces::new()).unwrap(), plan).unwrap();
    assert!(output.conservation.holds(), "{:?}", output.conservation);
    output
}

fn mistake(text: &str) -> ConfigError {
    let config: SystemConfig = toml::from_str(text).unwrap();
    build(&config, &RunPlan::default(), &Traces::new()).unwrap_err()
}

fn api(output: &RunOutput) -> &ComponentOutput {
    output.components.iter().find(|component| component.name == "api").unwrap()
}

/// A measure of a version or a rollout.
fn of(output: &RunOutput, name: &str, part: &str) -> Option<f64> {
    let is_it =
        |measure: &&crate::measure::Measure| measure.name == name && measure.part.as_deref() == Some(part);
    api(output).measures.iter().find(is_it).unwrap_or_else(|| panic!("no {name} of {part}")).value
}

/// What happened: seconds, version, event.
fn log(output: &RunOutput) -> Vec<(f64, &str, String)> {
    let rollouts = &api(output).pool.as_ref().unwrap().rollouts;
    let told = |entry: &'_ RolloutEntry| entry.at.since(SimTime::ZERO).as_secs_f64();
    rollouts.iter().map(|entry| (told(entry), entry.version.as_str(), entry.event.to_string())).collect()
}

fn failed(output: &RunOutput) -> u64 {
    output.conservation.ended[4]
}
