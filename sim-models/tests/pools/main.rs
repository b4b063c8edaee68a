//! Pools of replicas: mean times under each balancer, and what dead replicas do to a pool.
//!
//! References: simulations and closed forms in the literature on balancers, collected in the documentation
//! of each table. `cargo test -p sim-models --test pools -- --nocapture` prints the tables.

mod autoscaling;
mod balancers;
mod failures;
mod prefixes;
mod zones;

use sim_core::time::SimDuration;
use sim_models::pool::PoolReport;
use sim_models::system::{ComponentOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};

fn seconds(seconds: f64) -> SimDuration {
    SimDuration::from_secs_f64(seconds).unwrap()
}

/// Runs a system; requests are born for `plan.duration`, and the run ends with them.
fn simulate(system: &str, plan: &RunPlan) -> RunOutput {
    let config: SystemConfig = toml::from_str(system).unwrap_or_else(|error| panic!("{error}\n{system}"));
    run(build(&config, plan, &Traces::new()).unwrap(), plan).unwrap()
}

/// Poisson arrivals at a service `db`.
fn poisson(rate: f64, service: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\nentry = \"db\"\n
         [components.db]\nkind = \"service\"\n{service}\n"
    )
}

fn component<'a>(output: &'a RunOutput, name: &str) -> &'a ComponentOutput {
    output.components.iter().find(|component| component.name == name).expect("a component's name")
}

fn pool(output: &RunOutput) -> &PoolReport {
    component(output, "db").pool.as_ref().expect("a pool")
}
