//! A ranking model behind a dynamic batcher, predicted by `model_server`.
//!
//! `validation/engine/batching.py` times executions on their own, batch by batch; a straight line through them is the
//! server's `execution`. Each run is simulated with its arrivals.

use std::path::Path;

use scenarios::results::write_text;
use scenarios::run::{RunOptions, RunProgress};
use serde::Deserialize;

use super::least_squares::not_negative;
use super::records::Machine;
use super::{EngineCheckError, Pair, Spread, lines};

/// How far p50 and p99 may be off, in shares.
pub const BOUND: f64 = 0.10;

/// A run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BatchingRun {
    /// Its name.
    pub run: String,
    /// Most requests of an execution.
    pub max_batch: u32,
    /// How long the oldest waits for others, in microseconds.
    pub delay_us: u64,
    /// Arrivals in seconds since the start.
    pub arrivals: Vec<f64>,
    /// From arrival to answer, in microseconds, in the same order.
    pub latencies_us: Vec<f64>,
    /// Sizes of the batches.
    pub batches: Vec<u32>,
}

/// Lines of `batching.jsonl`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Machine(Machine),
    Execution {
        batch: u32,
        us: Vec<f64>,
    },
    Batching(BatchingRun),
    #[serde(other)]
    Other,
}

/// A run, predicted and measured.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchingCompared {
    /// Its name.
    pub run: String,
    /// Requests.
    pub requests: usize,
    /// From arrival to answer, in seconds.
    pub latency: Pair<Spread>,
    /// Requests in an execution, on average.
    pub batch: Pair<f64>,
}

/// All runs.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchingReport {
    /// The machine.
    pub machine: Machine,
    /// What every execution takes, and what each request adds, in microseconds.
    pub execution_us: (f64, f64),
    /// By run.
    pub compared: Vec<BatchingCompared>,
}

impl BatchingReport {
    /// Predicts the runs of a file.
    ///
    /// # Errors
    /// What cannot be read or simulated, and a file without executions or runs.
    pub(super) fn open(path: &Path) -> Result<Self, EngineCheckError> {
        let lacks = |what: &str| EngineCheckError::Lacks { engine: "batching".into(), what: what.into() };
        let (mut machine, mut points, mut runs) = (None, Vec::new(), Vec::new());
        for line in lines(path)? {
            match line {
                Line::Machine(found) => machine = Some(found),
                Line::Execution { batch, mut us } if !us.is_empty() => {
                    us.sort_by(f64::total_cmp);
                    // By their own size, as they span orders of magnitude.
                    let median = us[us.len() / 2];
                    points.push(([1.0, f64::from(batch)].map(|x| x / median), 1.0));
                }
                Line::Batching(run) if !run.arrivals.is_empty() => runs.push(run),
                _ => {}
            }
        }
        let machine = machine.ok_or_else(|| lacks("line of the machine"))?;
        if points.len() < 2 {
            return Err(lacks("timings of executions"));
        }
        let [fixed, per_item] = not_negative(&points);
        let compared =
            runs.iter().map(|run| predict(run, fixed, per_item)).collect::<Result<_, EngineCheckError>>()?;
        Ok(Self { machine, execution_us: (fixed, per_item), compared })
    }

    /// Whether p50 and p99 of all runs are within the bound.
    pub fn passed(&self) -> bool {
        self.compared.iter().all(|run| self.run_passed(run))
    }

    /// Whether those of one run are.
    pub fn run_passed(&self, run: &BatchingCompared) -> bool {
        let Pair { predicted: p, measured: m } = run.latency;
        [p.p50 / m.p50, p.p99 / m.p99].iter().all(|ratio| (ratio - 1.0).abs() <= BOUND)
    }
}

/// The scenario of a run, whose trace is `requests.csv`.
fn scenario(run: &BatchingRun, fixed: f64, per_item: f64) -> String {
    let ns = |us: f64| (us * 1e3).round();
    format!(
        "name = \"{}\"\n\
         [run]\nreplications = 1\nwarmup = \"0s\"\n\
         [traffic.requests]\narrivals = {{ process = \"trace\", path = \"requests.csv\" }}\nentry = \"ranker\"\n\
         [components.ranker]\nkind = \"model_server\"\nmax_batch_size = {}\nbatching = \"dynamic\"\n\
         execution = {{ fixed = \"{:.0}ns\", per_item = \"{:.0}ns\" }}\n\
         dynamic_batching = {{ max_queue_delay_microseconds = {} }}\n",
        run.run,
        run.max_batch,
        ns(fixed),
        ns(per_item),
        run.delay_us
    )
}

fn predict(run: &BatchingRun, fixed: f64, per_item: f64) -> Result<BatchingCompared, EngineCheckError> {
    let failed = |message: String| EngineCheckError::Run { run: run.run.clone(), message };
    let dir = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let mut csv = String::from("arrival_s,prompt_tokens,output_tokens\n");
    csv.extend(run.arrivals.iter().map(|at| format!("{at:.9},1,1\n")));
    write_text(&dir.path().join("requests.csv"), &csv)?;
    let text = scenario(run, fixed, per_item);
    let loaded = scenarios::parse(&text, "batching", dir.path(), &[]).map_err(|e| failed(e.to_string()))?;
    let options = RunOptions { journal: true, ..RunOptions::default() };
    let result = scenarios::run(&loaded, &options, &RunProgress::new()).map_err(|e| failed(e.to_string()))?;
    let journal = result.outputs.first().map(|output| &output.journal[..]).unwrap_or_default();
    let sorted = |values: &mut Vec<f64>| values.sort_by(f64::total_cmp);
    let mut predicted: Vec<f64> =
        journal.iter().map(|record| record.ended.since(record.born).as_secs_f64()).collect();
    let mut measured: Vec<f64> = run.latencies_us.iter().map(|us| us / 1e6).collect();
    sorted(&mut predicted);
    sorted(&mut measured);
    let none = || failed("no request came to its end".into());
    let pool =
        result.outputs.iter().flat_map(|output| &output.components).find_map(|found| found.pool.as_ref());
    let replica = pool.and_then(|pool| pool.replicas.first());
    let batch = replica.and_then(|replica| replica.engine.as_ref()?.batch_mean).ok_or_else(none)?;
    let batches = run.batches.len().max(1) as f64;
    Ok(BatchingCompared {
        run: run.run.clone(),
        requests: measured.len(),
        latency: Pair {
            predicted: Spread::of(&predicted).ok_or_else(none)?,
            measured: Spread::of(&measured).ok_or_else(none)?,
        },
        batch: Pair { predicted: batch, measured: measured.len() as f64 / batches },
    })
}
