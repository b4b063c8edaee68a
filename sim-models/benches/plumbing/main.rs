//! What a request costs.
//!
//! `cargo bench -p sim-models --bench plumbing` prints requests per CPU-second (user and system) and
//! nanoseconds a request, medians of rounds run in turn; names pick single tables:
//!
//! - `alone`: everything but the engine: a constant-time service stands where the LLM pool would. Rows add
//!   one thing at a time, so that differences of rows are the budget of a request.
//! - `whole`: the whole simulator on the workload of the LLM engine.
//! - `memory`: peak memory by number of requests.

mod alone;
mod memory;
mod whole;

use cpu_time::ProcessTime;
use sim_core::time::SimDuration;
use sim_models::system::{self, RunOutput, RunPlan, System, SystemConfig, Traces};

/// Rounds in which the rows of a table are run in turn.
const ROUNDS: usize = 5;

/// Prompts: lognormal, mean 512, sigma 1.0 (so that cv = sqrt(e^(sigma^2) - 1)), clipped to 4-2,048.
const PROMPTS: &str = "{ lognormal = { mean = 512, cv = 1.3108324944320863, min = 4, max = 2048 } }";
/// Answers: lognormal, mean 200, sigma 0.8, clipped to 2-1,024.
const ANSWERS: &str = "{ lognormal = { mean = 200, cv = 0.9469089209880783, min = 2, max = 1024 } }";
const TIMEOUT: &str = "[links.\"web -> llm\"]\ntimeout = \"60s\"\n";

/// Poisson traffic to `llm`.
fn traffic(rate: u32, prompts: &str, answers: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\nentry = \"llm\"\n\
         prompt_tokens = {prompts}\noutput_tokens = {answers}\n"
    )
}

/// Runs a system until about `requests` have come at `rate` per second and all have ended.
fn simulate(text: &str, requests: u64, rate: u32, change: impl FnOnce(&mut System)) -> RunOutput {
    let config: SystemConfig = toml::from_str(text).expect("a benchmark's configuration");
    let plan = RunPlan {
        duration: SimDuration::from_secs(requests / u64::from(rate)),
        drain: SimDuration::from_secs(3_600),
        ..RunPlan::default()
    };
    let mut simulation = system::build(&config, &plan, &Traces::new()).expect("a benchmark's system");
    change(simulation.parts().0);
    system::run(simulation, &plan).expect("no overflow")
}

/// A row of a table.
struct Row<'a> {
    name: &'a str,
    run: &'a dyn Fn() -> RunOutput,
}

/// Runs the rows in turn and prints a line for each.
fn table(rows: &[Row]) {
    let mut nanos = vec![Vec::new(); rows.len()];
    let mut events = vec![0.0; rows.len()];
    for _ in 0..ROUNDS {
        for (index, row) in rows.iter().enumerate() {
            let start = ProcessTime::now();
            let output = (row.run)();
            let requests = output.conservation.born as f64;
            nanos[index].push(start.elapsed().as_secs_f64() * 1e9 / requests);
            events[index] = output.events as f64 / requests;
        }
    }
    for ((row, nanos), events) in rows.iter().zip(&mut nanos).zip(events) {
        nanos.sort_by(f64::total_cmp);
        let median = nanos[ROUNDS / 2];
        let rate = 1e3 / median;
        println!("  {:<46} {rate:>6.2} M/s {median:>7.0} ns {events:>7.2} events a request", row.name);
    }
}

/// A table's name on the command line, and what prints it.
type Bench = (&'static str, fn());

fn main() {
    const BENCHES: [Bench; 3] = [("alone", alone::bench), ("whole", whole::bench), ("memory", memory::bench)];
    // Cargo passes `--bench`; names pick single tables.
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, bench) in BENCHES {
        if chosen.is_empty() || chosen.iter().any(|choice| choice == name) {
            println!("{name}: requests per CPU-second, medians of {ROUNDS} rounds run in turn");
            bench();
        }
    }
}
