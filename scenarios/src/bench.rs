//! The standard performance figures of a machine: how fast it simulates, so that users can compare.
//!
//! Every figure is a whole run (traffic, links, meters, frames) on one thread, in requests per second of
//! user and system time of the process, the median over rounds in which all figures take turns.

use std::hint::black_box;

use cpu_time::ProcessTime;
use serde::Serialize;

use crate::language::{self, BASE, ScenarioError};
use crate::run::{self, RunOptions, RunProgress};

/// One program that is timed.
struct Program {
    name: &'static str,
    text: &'static str,
    variant: &'static str,
    /// Requests a second of its traffic source `web`.
    rate: f64,
}

const LLM_SERVING: &str = include_str!("bench/llm-serving.toml");

const PROGRAMS: [Program; 5] = [
    Program {
        name: "M/M/1 queue at load 0.8",
        text: include_str!("bench/queue.toml"),
        variant: BASE,
        rate: 8.0,
    },
    Program { name: "LLM serving at 8/s", text: LLM_SERVING, variant: BASE, rate: 8.0 },
    Program { name: "LLM serving at 40/s", text: LLM_SERVING, variant: BASE, rate: 40.0 },
    Program {
        name: "support assistant at 8/s",
        text: include_str!("../library/support-assistant.toml"),
        variant: BASE,
        rate: 8.0,
    },
    Program {
        name: "ten times, `after`, at 8/s",
        text: include_str!("../library/ten-times.toml"),
        variant: "after",
        rate: 8.0,
    },
];

/// How a machine is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchOptions {
    /// Requests of a run, about.
    pub requests: u64,
    /// Rounds, at least 1.
    pub rounds: u32,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { requests: 200_000, rounds: 5 }
    }
}

/// What a machine does in a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was simulated.
    pub name: &'static str,
    /// Requests born in a run.
    pub requests: u64,
    /// Events that a request took: what its time goes to.
    pub events_per_request: f64,
    /// Requests per CPU-second: the median over the rounds.
    pub requests_per_cpu_second: f64,
    /// The slowest round.
    pub slowest: f64,
    /// The fastest round.
    pub fastest: f64,
}

/// Times this machine. `after_run` hears after each run how many of how many are done.
///
/// # Errors
/// A scenario that cannot be run: too many requests, perhaps.
pub fn bench(
    options: &BenchOptions,
    mut after_run: impl FnMut(u32, u32),
) -> Result<Vec<Figure>, ScenarioError> {
    let rounds = options.rounds.max(1);
    let runs = rounds * PROGRAMS.len() as u32;
    let mut rates = [const { Vec::new() }; PROGRAMS.len()];
    let mut counts = [(0, 0); PROGRAMS.len()];
    for round in 0..rounds {
        for (place, program) in PROGRAMS.iter().enumerate() {
            let (requests, events, seconds) = time(program, options.requests)?;
            counts[place] = (requests, events);
            rates[place].push(requests as f64 / seconds);
            after_run(round * PROGRAMS.len() as u32 + place as u32 + 1, runs);
        }
    }
    let figure = |(program, ((requests, events), mut rates)): (&Program, ((u64, u64), Vec<f64>))| {
        rates.sort_by(f64::total_cmp);
        Figure {
            name: program.name,
            requests,
            events_per_request: events as f64 / requests as f64,
            requests_per_cpu_second: rates[rates.len() / 2],
            slowest: rates[0],
            fastest: rates[rates.len() - 1],
        }
    };
    Ok(PROGRAMS.iter().zip(counts.into_iter().zip(rates)).map(figure).collect())
}

/// Requests born, events and CPU-seconds of one run.
fn time(program: &Program, requests: u64) -> Result<(u64, u64, f64), ScenarioError> {
    let seconds = requests as f64 / program.rate;
    let sets = [
        format!("traffic.web.arrivals.rate={}/s", program.rate),
        format!("run.duration={seconds}s"),
        "run.warmup=0s".to_owned(),
        "run.replications=1".to_owned(),
    ];
    let start = ProcessTime::now();
    let loaded =
        language::parse(program.text, program.name, ".".as_ref(), &sets)?.variant(program.variant)?;
    let options = RunOptions { threads: Some(1), ..RunOptions::default() };
    let result = run::run(&loaded, &options, &RunProgress::new())?;
    black_box(result.frames());
    let born = result.outputs.iter().map(|output| output.conservation.born).sum();
    let events = result.outputs.iter().map(|output| output.events).sum();
    Ok((born, events, start.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_runs() {
        let mut calls = Vec::new();
        let options = BenchOptions { requests: 400, rounds: 1 };
        let figures = bench(&options, |done, all| calls.push((done, all))).unwrap();
        assert_eq!(calls, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
        for figure in figures {
            assert!((200..600).contains(&figure.requests), "{figure:?}");
            assert!(figure.requests_per_cpu_second > 0.0, "{figure:?}");
            assert!(figure.events_per_request > 2.0, "{figure:?}");
        }
    }
}
