mod config;
mod forming;
mod pool;
mod random;
mod serving;

use std::fmt::Write as _;
use std::sync::Arc;

use sim_core::time::{SimDuration, SimTime};

use super::*;
use crate::system::{ComponentOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};
use crate::traffic::trace::{Trace, TraceFormat};

/// A system of one traffic source and a server with `settings`.
fn system(arrivals: &str, settings: &str) -> SystemConfig {
    let text = format!(
        "[traffic.web]\narrivals = {{ {arrivals} }}\nentry = \"db\"\n
         [components.db]\nkind = \"model_server\"\n{settings}\n"
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Runs calls that arrive at these times, in ms, with prompts of so many tokens.
fn replay(calls: &[(u64, u32)], settings: &str) -> RunOutput {
    replay_plan(calls, settings, &RunPlan::default())
}

fn replay_plan(calls: &[(u64, u32)], settings: &str, plan: &RunPlan) -> RunOutput {
    let mut csv = String::from("arrival_ms,prompt_tokens,output_tokens\n");
    for (at, tokens) in calls {
        writeln!(csv, "{at},{tokens},1").unwrap();
    }
    let trace = Trace::read(csv.as_bytes(), "work", TraceFormat::Generic).unwrap();
    let plan = RunPlan {
        duration: trace.duration().max(SimDuration::from_millis(10)),
        drain: SimDuration::from_secs(100_000),
        windows: 1,
        ..plan.clone()
    };
    let config = system("process = \"trace\", path = \"work\"", settings);
    let traces = Traces::from([("web".to_owned(), Arc::new(trace))]);
    run(build(&config, &plan, &traces).unwrap(), &plan).unwrap()
}

/// Calls at these times, in ms.
fn calls(times: &[u64]) -> Vec<(u64, u32)> {
    times.iter().map(|at| (*at, 1)).collect()
}

fn db(output: &RunOutput) -> &ComponentOutput {
    output.components.iter().find(|component| component.name == "db").unwrap()
}

/// A measure that there is something to say about.
fn measure(output: &RunOutput, name: &str) -> f64 {
    db(output).measure(name).unwrap_or_else(|| panic!("{name} is not known: {:?}", db(output).measures))
}

fn calibration(output: &RunOutput) -> Option<&str> {
    db(output).pool.as_ref().unwrap().calibration.as_deref()
}

/// Outcomes of the calls: ok, degraded, rejected, timed out, failed.
fn outcomes(output: &RunOutput) -> [u64; 5] {
    db(output).meter.outcomes
}

/// When the run ended, in ms: with its last reply.
fn end_ms(output: &RunOutput) -> f64 {
    output.end.as_nanos() as f64 / 1e6
}

/// The sum of the latencies of all calls, in ms.
fn latency_ms(output: &RunOutput) -> f64 {
    db(output).meter.latency.sum() as f64 / 1e6
}
