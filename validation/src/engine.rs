//! A real serving engine under load, predicted before it is looked at.
//!
//! `validation/engine/suite.py` runs the continuous batching of `transformers` with a model of random weights and writes
//! down requests and steps; here its engine is calibrated with its own operations, with the times of its host and with
//! single requests ([`calibration`]), and every run under load is simulated with the arrivals and lengths that it had.

pub mod attention;
pub mod batching;
pub mod calibration;
pub mod cold;
mod least_squares;
mod page;
pub mod records;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sim_core::time::SimTime;
use sim_models::hardware::HardwareError;
use sim_models::hardware::microbench::{Raw, RawError, unpacked};
use sim_models::llm::replay::{Answered, Recorded, Replica};
use thiserror::Error;

use attention::Attention;
use batching::BatchingReport;
use calibration::Calibrated;
use cold::ColdReport;
use records::{Purpose, Records, Run, Seen};

/// Why an engine cannot be held against its records.
#[derive(Debug, Error)]
pub enum EngineCheckError {
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] RawError),
    /// A file that holds something else.
    #[error("{path}:{line}: {message}")]
    Records {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what would be accepted.
        message: String,
    },
    /// No records in the folder.
    #[error("{0}: no {1}.jsonl or {1}.jsonl.gz; expected a folder that validation/engine/suite.py wrote")]
    NoFile(String, String),
    /// What an engine is calibrated with is not there.
    #[error("{engine}: the records have no {what}; expected a suite that got further")]
    Lacks {
        /// The engine.
        engine: String,
        /// What is needed.
        what: String,
    },
    /// No GPU of the catalogue.
    #[error("the records are of `{0}`, which is no GPU of the catalogue")]
    Device(String),
    /// No model that can be simulated.
    #[error("{0}")]
    Model(String),
    /// A run that cannot be simulated.
    #[error("{run}: {message}")]
    Run {
        /// The run.
        run: String,
        /// Why.
        message: String,
    },
    /// Nothing under load.
    #[error("{0}: no run under load; expected a suite that got further")]
    Nothing(String),
    /// A profile that makes no sense, or a model that it cannot time.
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    /// What was found cannot be written.
    #[error(transparent)]
    Write(#[from] scenarios::results::ResultsError),
}

/// A figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// To the first token.
    Ttft,
    /// For each token after it.
    Tpot,
    /// To the last token.
    Latency,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ttft, Self::Tpot, Self::Latency];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::Tpot => "TPOT",
            Self::Latency => "end to end",
        }
    }

    /// Of a request, in seconds, if it has it.
    fn of(self, times: &Times) -> Option<f64> {
        match self {
            Self::Ttft => Some(times.first - times.arrival),
            Self::Tpot => {
                (times.tokens > 1).then(|| (times.last - times.first) / f64::from(times.tokens - 1))
            }
            Self::Latency => Some(times.last - times.arrival),
        }
    }
}

/// When a request had its tokens, in seconds since the start of its run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Times {
    arrival: f64,
    first: f64,
    last: f64,
    tokens: u32,
}

/// Mean and quantiles of a figure, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Spread {
    fn of(sorted: &[f64]) -> Option<Self> {
        let rank = |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).max(1) - 1];
        let mean = mean(sorted.iter().copied())?;
        Some(Self { mean, p50: rank(0.5), p95: rank(0.95), p99: rank(0.99) })
    }
}

/// Something predicted and measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair<T> {
    /// By the simulator.
    pub predicted: T,
    /// On the real engine.
    pub measured: T,
}

impl Pair<f64> {
    /// Predicted over measured, less one.
    pub fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }
}

/// A run, predicted and measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Its name.
    pub run: String,
    /// Its engine.
    pub engine: String,
    /// What its lengths are.
    pub mix: String,
    /// Arrivals by those of the saturation; none of a run with as many users as places.
    pub share: Option<f64>,
    /// Which of several alike.
    pub repeat: u32,
    /// Requests that had all of their tokens in both.
    pub requests: usize,
    /// By figure, in seconds, sorted: the values of all requests.
    pub values: BTreeMap<Figure, Pair<Vec<f64>>>,
    /// Tokens a second while requests were sent, the first third left out.
    pub tokens_per_second: Pair<f64>,
    /// By how many requests a second those in the system became more in that time.
    pub growth: Pair<f64>,
    /// Sequences in a step, by time; none where runs end differently.
    pub batch: Option<Pair<f64>>,
    /// Tokens in the KV cache, by time; likewise.
    pub kv_tokens: Option<Pair<f64>>,
    /// The least share of the KV blocks that was free.
    pub free_blocks: f64,
    /// What the device and the host took of the steps that there were, in microseconds, on average.
    pub steps: Option<[Pair<f64>; 2]>,
}

impl Compared {
    /// Mean and quantiles of a figure.
    pub fn spread(&self, figure: Figure) -> Option<Pair<Spread>> {
        let pair = self.values.get(&figure)?;
        Some(Pair { predicted: Spread::of(&pair.predicted)?, measured: Spread::of(&pair.measured)? })
    }
}

/// How far a prediction may be from what is measured, in shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Of mean TPOT and mean time to the end.
    pub mean: f64,
    /// Of mean TTFT.
    pub ttft: f64,
    /// Of 99th percentiles; those of two alike runs may lie half as far apart.
    pub p99: f64,
    /// Of the tokens a second at saturation.
    pub saturation: f64,
    /// Of the growth of the queue beyond it.
    pub growth: f64,
}

/// On a GPU that nobody else uses.
pub const BOUNDS: Bounds = Bounds { mean: 0.05, ttft: 0.10, p99: 0.15, saturation: 0.05, growth: 0.10 };

/// A bound and what it is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The run.
    pub run: String,
    /// The figure.
    pub what: String,
    /// Predicted and measured, in the figure's unit.
    pub pair: Pair<f64>,
    /// The largest error that passes.
    pub bound: f64,
}

impl Verdict {
    /// Whether it passes.
    pub fn passed(&self) -> bool {
        self.pair.error().abs() <= self.bound
    }
}

/// All runs, predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineReport {
    /// The records.
    pub machine: records::Machine,
    /// Engines as they are predicted, with how their parts agree with single requests.
    pub engines: Vec<Calibrated>,
    /// The runs under load.
    pub compared: Vec<Compared>,
    /// What is not there.
    pub missing: Vec<String>,
    /// Whether the suite came to its end.
    pub complete: bool,
    /// A model behind dynamic batching, where that was run.
    pub batching: Option<BatchingReport>,
    /// Cold starts, where there were some.
    pub cold: Option<ColdReport>,
    /// What each run was simulated with, by its name.
    recorded: BTreeMap<String, Vec<Recorded>>,
}

/// Calibrates the engines of a folder that `suite.py` wrote, and predicts their runs under load.
///
/// # Errors
/// Files that are not there or hold something else, and records without what a calibration needs.
pub fn check_engine(dir: &Path) -> Result<EngineReport, EngineCheckError> {
    let records = Records::open(&file(dir, "engine")?)?;
    let mut report = EngineReport {
        engines: vec![],
        compared: vec![],
        missing: records.missing.clone(),
        complete: records.complete,
        machine: records.machine.clone(),
        batching: optional(dir, "batching").map(|path| BatchingReport::open(&path)).transpose()?,
        cold: optional(dir, "coldstart").map(|path| ColdReport::open(&path)).transpose()?,
        recorded: BTreeMap::new(),
    };
    let is_load = |run: &&Run| matches!(run.facts.purpose, Purpose::Load | Purpose::Saturation);
    for name in records.engines.keys() {
        let runs: Vec<&Run> =
            records.runs.iter().filter(is_load).filter(|run| run.facts.engine == *name).collect();
        if runs.is_empty() {
            continue;
        }
        let operations = Raw::open(&file(dir, &format!("operations-{name}"))?)?;
        let attention = Attention::open(&file(dir, &format!("attention-{name}"))?)?;
        let mixes: BTreeSet<&str> = runs.iter().map(|run| run.facts.mix.as_str()).collect();
        let mut engines = BTreeMap::new();
        for mix in mixes {
            let calibrated = Calibrated::new(&records, name, mix, &operations, &attention)?;
            engines.insert(mix, (calibrated.replica()?, calibrated));
        }
        for run in runs {
            let failed = |message| EngineCheckError::Run { run: run.facts.run.clone(), message };
            let (replica, calibrated) = &engines[run.facts.mix.as_str()];
            let (compared, recorded) = compare(run, replica, calibrated).map_err(failed)?;
            report.recorded.insert(run.facts.run.clone(), recorded);
            report.compared.push(compared);
        }
        report.engines.extend(engines.into_values().map(|(_, calibrated)| calibrated));
    }
    if report.compared.is_empty() {
        return Err(EngineCheckError::Nothing(dir.display().to_string()));
    }
    Ok(report)
}

fn file(dir: &Path, name: &str) -> Result<PathBuf, EngineCheckError> {
    optional(dir, name).ok_or_else(|| EngineCheckError::NoFile(dir.display().to_string(), name.to_owned()))
}

fn optional(dir: &Path, name: &str) -> Option<PathBuf> {
    let found = ["jsonl", "jsonl.gz"].map(|extension| dir.join(format!("{name}.{extension}")));
    found.into_iter().find(|path| path.is_file())
}

/// The lines of a file, plain or gzip. A last line that was cut off is left out.
fn lines<L: DeserializeOwned>(path: &Path) -> Result<Vec<L>, EngineCheckError> {
    let (text, cut) = unpacked(path)?;
    let mut lines = Vec::new();
    let mut rest = text.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((index, bytes)) = rest.next() {
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(bytes) {
            Ok(line) => lines.push(line),
            Err(_) if index > 0 && rest.peek().is_none() && (cut || !bytes.ends_with(b"\n")) => break,
            Err(error) => {
                return Err(EngineCheckError::Records {
                    path: path.display().to_string(),
                    line: index + 1,
                    message: format!("{error}; expected a line that a program of validation/engine wrote"),
                });
            }
        }
    }
    Ok(lines)
}

/// The mean; none of nothing.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}

/// Seconds in simulated time.
fn at(seconds: f64) -> SimTime {
    SimTime::from_nanos((seconds.max(0.0) * 1e9).round() as u64)
}

fn compare(run: &Run, replica: &Replica, own: &Calibrated) -> Result<(Compared, Vec<Recorded>), String> {
    let facts = &run.facts;
    let closed = facts.purpose == Purpose::Saturation;
    // As many users as places keep the engine full, as does a queue that is never empty. There is more in it than was
    // asked for, in case the simulated engine gets further.
    let seen: Vec<Seen> = match closed {
        true => run.requests.iter().cycle().take(2 * run.requests.len()).copied().collect(),
        false => run.requests.clone(),
    };
    let recorded: Vec<Recorded> = seen
        .iter()
        .map(|seen| Recorded {
            sent: if closed { SimTime::ZERO } else { at(seen.arrival) },
            prompt_tokens: seen.prompt,
            output_tokens: seen.output,
        })
        .collect();
    let (answers, tally) = replica.measure(&recorded)?;
    let predicted: Vec<Times> =
        recorded.iter().zip(&answers).map(|(asked, got)| simulated(asked, got)).collect();

    let ended: Vec<Option<Times>> = run.requests.iter().map(|seen| measured(seen, seen.last)).collect();
    let end = if closed { facts.seconds } else { f64::MAX };
    let both = || {
        let pairs = ended.iter().zip(&predicted);
        pairs.filter_map(|(m, p)| Some(((*m)?, *p))).filter(|(m, p)| m.last <= end && p.last <= end)
    };
    let mut values = BTreeMap::new();
    if !closed {
        for figure in Figure::ALL {
            let of = |pick: fn(&(Times, Times)) -> &Times| {
                let mut values: Vec<f64> = both().filter_map(|pair| figure.of(pick(&pair))).collect();
                values.sort_by(f64::total_cmp);
                values
            };
            values.insert(figure, Pair { predicted: of(|pair| &pair.1), measured: of(|pair| &pair.0) });
        }
    }
    let window = (facts.seconds / 3.0, facts.seconds);
    // Who is not done has a token now and then until the end.
    let until = run.requests.iter().filter_map(|seen| measured(seen, seen.last.or(Some(facts.seconds))));
    let arrivals: Vec<f64> = run.requests.iter().map(|seen| seen.arrival).collect();
    let lasts: Vec<f64> = ended.iter().map(|times| times.map_or(f64::MAX, |times| times.last)).collect();
    let predicted_lasts: Vec<f64> = predicted.iter().map(|times| times.last).collect();
    let whole = !closed && ended.iter().all(Option::is_some);
    let weighted = |value: fn(&records::Step) -> f64| {
        let us: f64 = run.steps.iter().map(records::Step::us).sum();
        run.steps.iter().map(|step| value(step) * step.us()).sum::<f64>() / us
    };
    let by_time = |sum: u128| sum as f64 / tally.ticks as f64;
    let pair = |predicted, measured| whole.then_some(Pair { predicted, measured });
    let free = run.steps.iter().map(|step| step.free_blocks).min().unwrap_or(0);
    let compared = Compared {
        run: facts.run.clone(),
        engine: facts.engine.clone(),
        mix: facts.mix.clone(),
        share: facts.share,
        repeat: facts.repeat,
        requests: both().count(),
        values,
        tokens_per_second: Pair {
            predicted: tokens(predicted.iter().copied(), window) / (window.1 - window.0),
            measured: tokens(until, window) / (window.1 - window.0),
        },
        growth: Pair {
            predicted: growth(&arrivals, &predicted_lasts, window),
            measured: growth(&arrivals, &lasts, window),
        },
        batch: pair(by_time(tally.sequence_ticks), weighted(|step| step.sequences as f64)),
        kv_tokens: pair(by_time(tally.token_ticks), weighted(|step| step.context as f64)),
        free_blocks: free as f64 / f64::from(own.facts.cache_blocks),
        steps: own.steps_of(run, &replica.step),
    };
    Ok((compared, recorded))
}

fn simulated(asked: &Recorded, got: &Answered) -> Times {
    let arrival = asked.sent.as_secs_f64();
    Times {
        arrival,
        first: arrival + got.ttft.as_secs_f64(),
        last: arrival + got.latency.as_secs_f64(),
        tokens: asked.output_tokens,
    }
}

fn measured(seen: &Seen, last: Option<f64>) -> Option<Times> {
    Some(Times { arrival: seen.arrival, first: seen.first?, last: last?, tokens: seen.tokens })
}

/// Tokens within a time, those of a request spread evenly from its first to its last.
fn tokens(times: impl Iterator<Item = Times>, (from, to): (f64, f64)) -> f64 {
    let within = |time: f64| f64::from(u8::from((from..to).contains(&time)));
    times
        .map(|times| {
            let length = times.last - times.first;
            let rest = f64::from(times.tokens.saturating_sub(1));
            let shared = (times.last.min(to) - times.first.max(from)).max(0.0);
            within(times.first)
                + if length > 0.0 { rest * shared / length } else { rest * within(times.first) }
        })
        .sum()
}

/// By how many a second those that have come and are not done grow in number.
fn growth(arrivals: &[f64], lasts: &[f64], (from, to): (f64, f64)) -> f64 {
    let until = |times: &[f64], at: f64| times.iter().filter(|time| **time <= at).count() as f64;
    let within = |at: f64| until(arrivals, at) - until(lasts, at);
    (within(to) - within(from)) / (to - from)
}

impl EngineReport {
    /// What is bounded: below nine tenths of the saturation times, at it the tokens a second, beyond it the growth of
    /// the queue.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for run in &self.compared {
            let mut judge = |what: &str, predicted: f64, measured: f64, bound: f64| {
                let pair = Pair { predicted, measured };
                verdicts.push(Verdict { run: run.run.clone(), what: what.to_owned(), pair, bound });
            };
            match run.share {
                None => {
                    let Pair { predicted, measured } = run.tokens_per_second;
                    judge("tokens a second", predicted, measured, BOUNDS.saturation);
                }
                Some(share) if share < 0.9 => {
                    for figure in Figure::ALL {
                        let Some(Pair { predicted, measured }) = run.spread(figure) else { continue };
                        let bound = if figure == Figure::Ttft { BOUNDS.ttft } else { BOUNDS.mean };
                        judge(&format!("{} mean", figure.name()), predicted.mean, measured.mean, bound);
                        let apart = 2.0 * self.apart(&run.engine, figure);
                        let bound = BOUNDS.p99.max(apart);
                        judge(&format!("{} p99", figure.name()), predicted.p99, measured.p99, bound);
                    }
                }
                Some(share) if share > 1.0 => {
                    let Pair { predicted, measured } = run.growth;
                    judge("requests a second more", predicted, measured, BOUNDS.growth);
                }
                Some(_) => {}
            }
        }
        verdicts
    }

    /// How far the 99th percentiles of an engine's alike runs are apart, relative to the first: the most.
    fn apart(&self, engine: &str, figure: Figure) -> f64 {
        let p99 = |run: &Compared| run.spread(figure).map(|pair| pair.measured.p99);
        let own = || self.compared.iter().filter(|run| run.engine == engine && run.share.is_some());
        let mut most = 0.0_f64;
        for run in own().filter(|run| run.repeat > 0) {
            let first =
                own().find(|first| first.repeat == 0 && first.mix == run.mix && first.share == run.share);
            if let (Some(one), Some(other)) = (first.and_then(p99), p99(run)) {
                most = most.max((other / one - 1.0).abs());
            }
        }
        most
    }

    /// Whether all is within its bounds.
    pub fn passed(&self) -> bool {
        self.verdicts().iter().all(Verdict::passed)
            && self.batching.as_ref().is_none_or(BatchingReport::passed)
            && self.cold.as_ref().is_none_or(ColdReport::passed)
    }
}
