//! What `validation/engine/suite.py` wrote down.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{EngineCheckError, lines};

/// The version of the records' format.
pub const FORMAT: u32 = 1;

/// The machine and the software, all records' first line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Machine {
    /// [`FORMAT`].
    pub format: u32,
    /// When the suite began, in seconds since 1970 (UTC).
    pub unix_seconds: u64,
    /// Version of PyTorch.
    pub torch: String,
    /// Version of transformers.
    pub transformers: String,
    /// What the driver calls the GPU, or `cpu`.
    pub device: String,
    /// CPUs that the suite may use.
    pub host_cpus: u32,
}

/// An engine, by the names of `ContinuousBatchingConfig`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EngineFacts {
    /// Its name in the records.
    pub name: String,
    /// The shape of its model.
    pub model: String,
    /// The model's settings as in a `config.json`.
    pub shape: Map<String, Value>,
    /// Number format of weights and activations, as PyTorch calls it.
    pub dtype: String,
    /// Attention implementation.
    pub attention: String,
    /// Blocks of the KV cache.
    pub cache_blocks: u32,
    /// Tokens of a block.
    pub cache_block_size: u32,
    /// Token budget of a step.
    pub batch_tokens: u32,
    /// The most sequences in a batch.
    pub batch_requests: u32,
    /// Whether batches run from CUDA graphs, padded.
    pub cuda_graph: bool,
    /// Whether a batch is prepared while the one before runs.
    pub asynchronous: bool,
    /// Multiples that tokens of a batch are padded to, with graphs.
    pub q_padding_interval_size: u32,
    /// Share of blocks that stays free of new prompts.
    pub safety_margin: f64,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Before anything is measured.
    Warm,
    /// One request at a time: the model is calibrated with it.
    Single,
    /// A model without work for the device, for the times of the host: likewise.
    Host,
    /// As many users as the batch has places.
    Saturation,
    /// Arrivals at a share of the saturation.
    Load,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunFacts {
    /// Its name.
    pub run: String,
    /// Its engine.
    pub engine: String,
    /// What it is for.
    pub purpose: Purpose,
    /// For how long requests were sent, in seconds.
    pub seconds: f64,
    /// What the lengths of requests are.
    pub mix: String,
    /// Arrivals by those of the saturation.
    pub share: Option<f64>,
    /// Which of several alike runs.
    #[serde(default)]
    pub repeat: u32,
}

/// A request. Times are seconds since the start of its run.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Seen {
    /// Its number in the run.
    pub id: u64,
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Tokens that it asked for.
    pub output: u32,
    /// When it was sent.
    pub arrival: f64,
    /// When it was let into the batch.
    pub admitted: Option<f64>,
    /// When its first token was there.
    pub first: Option<f64>,
    /// When its last was, if the run did not end before.
    pub last: Option<f64>,
    /// Tokens that it got.
    pub tokens: u32,
}

/// A step. Times of its parts in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Seconds since the start of the run.
    pub start: f64,
    /// Preparing the inputs.
    pub prepare: f64,
    /// Starting the forward pass.
    pub launch: f64,
    /// Waiting for it.
    pub wait: f64,
    /// Giving tokens to requests.
    pub update: f64,
    /// Sequences in it.
    pub sequences: u64,
    /// Tokens computed.
    pub queries: u64,
    /// Tokens of all sequences, the new ones among them.
    pub context: u64,
    /// Free blocks of the KV cache.
    pub free_blocks: u64,
    /// Whether a graph was captured in it.
    pub captured: bool,
}

impl Step {
    /// From its beginning to its end, in microseconds.
    pub fn us(&self) -> f64 {
        self.prepare + self.launch + self.wait + self.update
    }
}

/// A run with all that happened in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What was run.
    pub facts: RunFacts,
    /// Requests in the order of their numbers.
    pub requests: Vec<Seen>,
    /// Steps in their order.
    pub steps: Vec<Step>,
}

/// All records.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// The machine.
    pub machine: Machine,
    /// The engines by their names.
    pub engines: BTreeMap<String, EngineFacts>,
    /// Runs that came to their end, in their order.
    pub runs: Vec<Run>,
    /// Whether the suite came to its end.
    pub complete: bool,
    /// What failed or was left out.
    pub missing: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Machine(Machine),
    Engine(Box<EngineFacts>),
    Run(RunFacts),
    Request {
        run: String,
        #[serde(flatten)]
        seen: Seen,
    },
    Unfinished {
        run: String,
        #[serde(flatten)]
        seen: Seen,
    },
    Steps {
        run: String,
        columns: Vec<String>,
        rows: Vec<Vec<f64>>,
    },
    Ran {
        run: String,
    },
    LeftOut {
        what: String,
    },
    Failed {
        what: String,
        error: String,
    },
    Lost {
        run: String,
        error: String,
    },
    Check {
        what: String,
        worst: f64,
        tolerance: f64,
    },
    End {},
    /// What says nothing that is compared.
    #[serde(other)]
    Other,
}

impl Records {
    /// Reads records, plain or gzip. A last line that was cut off is left out, and runs without an end.
    ///
    /// # Errors
    /// What cannot be read or is no such file, with its line.
    pub fn open(path: &Path) -> Result<Self, EngineCheckError> {
        let refuse =
            |line, message| EngineCheckError::Records { path: path.display().to_string(), line, message };
        Self::of(lines(path)?).map_err(|(line, message)| refuse(line, message))
    }

    fn of(lines: Vec<Line>) -> Result<Self, (usize, String)> {
        let mut machine = None;
        let (mut engines, mut missing, mut complete) = (BTreeMap::new(), Vec::new(), false);
        let mut underway: BTreeMap<String, Run> = BTreeMap::new();
        let mut runs: Vec<Run> = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            let number = index + 1;
            if machine.is_none() && !matches!(line, Line::Machine(_)) {
                return Err((number, "expected the machine first".into()));
            }
            let of = |run: &str| (number, format!("a line of the run {run}, which has not begun"));
            match line {
                Line::Machine(found) if found.format != FORMAT => {
                    return Err((number, format!("format {}: expected {FORMAT}", found.format)));
                }
                Line::Machine(found) => machine = Some(found),
                Line::Engine(facts) => {
                    engines.insert(facts.name.clone(), *facts);
                }
                Line::Run(facts) if !engines.contains_key(&facts.engine) => {
                    return Err((number, format!("a run of {}, an engine that was not said", facts.engine)));
                }
                Line::Run(facts) => {
                    let run = Run { facts, requests: vec![], steps: vec![] };
                    underway.insert(run.facts.run.clone(), run);
                }
                Line::Request { run, seen } | Line::Unfinished { run, seen } => {
                    underway.get_mut(&run).ok_or_else(|| of(&run))?.requests.push(seen);
                }
                Line::Steps { run, columns, rows } => {
                    let own = underway.get_mut(&run).ok_or_else(|| of(&run))?;
                    own.steps.extend(steps(&columns, &rows).map_err(|message| (number, message))?);
                }
                Line::Ran { run } => {
                    let mut run = underway.remove(&run).ok_or_else(|| of(&run))?;
                    run.requests.sort_by_key(|request| request.id);
                    runs.push(run);
                }
                Line::LeftOut { what } => missing.push(format!("{what}: there was no time for it")),
                Line::Failed { what, error } => missing.push(format!("{what}: {error}")),
                Line::Lost { run, error } => missing.push(format!("a request of {run}: {error}")),
                Line::Check { what, worst, tolerance } if worst > tolerance => {
                    let message = format!("{what} is off by {worst}, at most {tolerance}");
                    return Err((number, format!("{message}: what was measured means nothing")));
                }
                Line::Check { .. } | Line::Other => {}
                Line::End {} => complete = true,
            }
        }
        missing.extend(underway.into_keys().map(|run| format!("{run}: it was cut off")));
        let machine = machine.ok_or_else(|| (1, "empty: expected what suite.py wrote".to_owned()))?;
        Ok(Self { machine, engines, runs, complete, missing })
    }
}

/// The rows of steps, whose columns are named.
fn steps(columns: &[String], rows: &[Vec<f64>]) -> Result<Vec<Step>, String> {
    let place = |name: &str| {
        let found = columns.iter().position(|column| column == name);
        found.ok_or_else(|| format!("steps without `{name}`"))
    };
    let names = [
        "start",
        "prepare",
        "launch",
        "wait",
        "update",
        "sequences",
        "queries",
        "context",
        "free_blocks",
        "captured",
    ];
    let mut places = [0; 10];
    for (slot, name) in places.iter_mut().zip(names) {
        *slot = place(name)?;
    }
    rows.iter()
        .map(|row| {
            if row.len() != columns.len() {
                return Err(format!("a step of {} values: expected {}", row.len(), columns.len()));
            }
            let [start, prepare, launch, wait, update, sequences, queries, context, free, captured] =
                places.map(|place| row[place]);
            Ok(Step {
                start,
                prepare,
                launch,
                wait,
                update,
                sequences: sequences as u64,
                queries: queries as u64,
                context: context as u64,
                free_blocks: free as u64,
                captured: captured != 0.0,
            })
        })
        .collect()
}
