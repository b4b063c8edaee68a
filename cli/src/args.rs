//! What the command line says.

mod profile;
mod validate;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use scenarios::plan::ApiPrice;
use scenarios::report::{Report, check_file};
use scenarios::results::show::plural;
use scenarios::results::{Format, check_writable, result_files};
use scenarios::run::{Part, RunOptions, Until};
use scenarios::stress::Grow;
use scenarios::sweep::{Design, Shard};
use scenarios::units::{Rate, Time, TokenPrice, UnitError};
use scenarios::{Loaded, ScenarioError};

use crate::output::Failure;
pub use profile::{DeriveArgs, FitArgs, ImportArgs, ProfileCommand, Tables};
pub use validate::ValidateArgs;

/// Simulates a whole AI system before it is built: what breaks first when its load grows ten times, and
/// what that costs.
#[derive(Debug, Parser)]
#[command(name = "tenfold", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 an SLO or a prediction was missed, 2 bad input, 3 something is missing on this machine, 130 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario and print what became of its requests, components, bill and SLO
    Run(RunArgs),
    /// Compare the variants of a scenario, or several scenarios, under the same traffic and luck
    Compare(CompareArgs),
    /// The 10x stress test: what passes at 1x, 3x, 5x and 10x the load, what breaks first, and what helps
    Stress(StressArgs),
    /// Find the cheapest configuration that keeps to the SLO: how many replicas, which GPUs, at which load
    Plan(PlanArgs),
    /// Run a scenario at many points of a space, into one file with a row a point
    Sweep(SweepArgs),
    /// Join the shards of a sweep into one file
    Merge(MergeArgs),
    /// Read a scenario and its traces and build its system, but run nothing
    Check(CheckArgs),
    /// Write a new scenario from one of the library
    New(NewArgs),
    /// Make a scenario of what a real system recorded
    #[command(subcommand)]
    Import(ImportCommand),
    /// Write what a scenario asks of its system, request by request: a trace for a load generator or for --trace
    Workload(WorkloadArgs),
    /// Print the JSON Schema of scenario files
    Schema,
    /// Renew the golden fingerprints of the library, after a change of results that is meant
    Bless {
        /// Directory of the golden file
        #[arg(default_value = "scenarios/tests/golden")]
        dir: PathBuf,
    },
    /// Fit the step times of an `llm` pool to a benchmark of the real server
    Calibrate(CalibrateArgs),
    /// Make profiles of GPUs from timed kernels
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Time this machine: simulated requests per second of CPU time
    Bench(BenchArgs),
    /// Check predictions against measurements of real systems on this machine
    Validate(ValidateArgs),
    /// Open the desktop app
    Gui,
}

#[derive(Debug, Args)]
pub struct Input {
    /// Scenario file (TOML)
    pub file: PathBuf,
    /// Change a value, such as components.large.replicas=8 (may be given again)
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Take this variant of the scenario instead of what is written [default: base]
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    #[command(flatten)]
    pub load: LoadArgs,
}

/// What comes upon a system.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Replay this trace as the traffic: Azure CSV, Mooncake JSONL or generic CSV
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Let requests be born for this long, such as 30m [default: the scenario's duration, or all of --trace]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Time>,
    /// Multiply the load, such as 10x
    #[arg(long, value_name = "K", value_parser = parse_scale, default_value = "1x")]
    pub scale: f64,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub input: Input,
    #[command(flatten)]
    pub luck: Luck,
    #[command(flatten)]
    pub output: Delivery,
    #[command(flatten)]
    pub pages: Pages,
    /// Show what a Prometheus dashboard would show beside what is so, its peaks too (keeps every request)
    #[arg(long)]
    pub dashboard: bool,
    #[command(flatten)]
    pub keep: Keep,
    /// Write a part of the first replication, call by call, to this file for a viewer of traces (ui.perfetto.dev)
    #[arg(long, value_name = "FILE.json")]
    pub perfetto: Option<PathBuf>,
    /// Which part: 60s..90s since the start, or 10s from the start of the measured part on
    #[arg(long, value_name = "FROM..TO", default_value = "10s", requires = "perfetto")]
    pub perfetto_window: Part,
    /// Add replications until an interval is that narrow, such as "latency_p99 within 5%"
    #[arg(long, value_name = "CONDITION")]
    pub until: Option<Until>,
    /// Check for models that lean on the order of simultaneous events: shuffle it by this seed
    #[arg(long, value_name = "SEED", hide_short_help = true)]
    pub shuffle_ties: Option<u64>,
}

#[derive(Debug, Args)]
pub struct WorkloadArgs {
    #[command(flatten)]
    pub input: Input,
    /// Which traffic, where there are several
    #[arg(long, value_name = "TRAFFIC")]
    pub source: Option<String>,
    /// Seed of all randomness
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// The file to write, a CSV with a header [default: printed]
    #[arg(long, short, value_name = "FILE.csv")]
    pub out: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Scenario file (TOML) whose variants are compared, or several, each as it is written
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Compare only this variant (may be given again) [default: all]
    #[arg(long, value_name = "NAME")]
    pub variant: Vec<String>,
    /// Compare with this one [default: the file as it is written, or the first file]
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// Change a value in all of them (may be given again)
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Exit code 1 when any other system than the baseline misses its SLO: a gate for CI
    #[arg(long)]
    pub gate: bool,
    #[command(flatten)]
    pub keep: Keep,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub luck: Luck,
    #[command(flatten)]
    pub output: Delivery,
    #[command(flatten)]
    pub pages: Pages,
}

#[derive(Debug, Args)]
pub struct StressArgs {
    #[command(flatten)]
    pub input: Input,
    /// Multiples of the load to look at
    #[arg(long, value_name = "K,...", value_delimiter = ',', value_parser = parse_scale, default_value = "1,3,5,10")]
    pub multipliers: Vec<f64>,
    /// What grows: requests, data, or the steps of a request
    #[arg(long, value_name = "WHAT", value_parser = parse_grow, default_value = "usage")]
    pub grow: Grow,
    /// Only the table of levels: no limit, no proof, no blast radius, no recommendations
    #[arg(long)]
    pub levels_only: bool,
    /// Also exercise each fallback: all that comes before it in its chain is out of reach for the whole run, at 1x and
    /// at the largest multiple
    #[arg(long, conflicts_with = "levels_only")]
    pub fallbacks: bool,
    #[command(flatten)]
    pub luck: Luck,
    #[command(flatten)]
    pub pages: Pages,
    /// Print JSON, not tables
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub input: Input,
    /// Plan for so many requests a second, such as 120/s, instead of a multiple
    #[arg(long, value_name = "RATE", value_parser = parse_rate, conflicts_with_all = ["scale", "users"])]
    pub rate: Option<Rate>,
    /// Plan for so many users instead of a multiple
    #[arg(long, value_name = "N", conflicts_with = "scale")]
    pub users: Option<u32>,
    /// Requests of each of them, such as 6/h [default: --users are those of a closed loop]
    #[arg(long, value_name = "RATE", value_parser = parse_rate, requires = "users")]
    pub requests_per_user: Option<Rate>,
    /// Choose among values (may be given again): a list components.llm.gpu=l40s,h100-sxm, or steps
    /// components.llm.replicas=1..16/1 [default: those of the `plan` table, or the replicas of every pool]
    #[arg(long, value_name = "PATH=VALUES")]
    pub axis: Vec<String>,
    /// The most replicas of a pool, where no axes are given [default: twice today's in proportion to the load]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_replicas: Option<u32>,
    /// How many replicas must this pool, which scales by itself, keep warm?
    #[arg(long, value_name = "COMPONENT", conflicts_with = "axis")]
    pub warm: Option<String>,
    /// Run up to N more configurations and mark those that are better in nothing than others, by bill, latency p99,
    /// errors and accuracy [default: 12]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "12")]
    pub pareto: Option<usize>,
    /// What the answer hangs on: each axis a step, the load and these numbers 20% down and up
    #[arg(long, value_name = "PATH,...", num_args = 0..=1, default_missing_value = "", value_delimiter = ',')]
    pub tornado: Option<Vec<String>>,
    /// From which load on is this pool cheaper than an API? Only that is answered
    #[arg(long, value_name = "COMPONENT", conflicts_with_all = ["axis", "warm", "pareto", "tornado", "write", "report", "plots"])]
    pub break_even: Option<String>,
    /// Price of the API, prompt and output tokens [default: that of the scenario's external_api]
    #[arg(long, value_name = "IN,OUT", value_parser = parse_api_price, requires = "break_even")]
    pub api_price: Option<ApiPrice>,
    /// Write the answer as a scenario, which must not exist
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Take up a plan that was stopped or killed, from what is in --out
    #[arg(long, requires = "out")]
    pub resume: bool,
    #[command(flatten)]
    pub luck: Luck,
    #[command(flatten)]
    pub output: Delivery,
    #[command(flatten)]
    pub pages: Pages,
}

#[derive(Debug, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    pub input: Input,
    /// Vary a value (may be given again): a list a.b=1,2,4, steps a.b=8..64/8, a number of them "a.b=1..100 log 7",
    /// or a range to draw from, a.b=1..64 or "a.b=10ms..1000ms log"; scale is the load, variant the variant
    /// [default: those of the `sweep` table in the scenario]
    #[arg(long, value_name = "PATH=VALUES")]
    pub axis: Vec<String>,
    /// How points are chosen: grid, random or lhs (Latin hypercube) [default: grid, or lhs with --samples]
    #[arg(long, value_name = "DESIGN", value_parser = parse_design)]
    pub design: Option<Design>,
    /// How many points are drawn
    #[arg(long, value_name = "N")]
    pub samples: Option<u64>,
    /// Seed of all randomness, the same at all points; points are drawn by it, too
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many runs with different luck at each point
    #[arg(long, value_name = "N")]
    pub replications: Option<u32>,
    /// Points that run at a time, each on one thread [default: one per core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Run only every N-th point, from the I-th on: I/N, such as 2/4
    #[arg(long, value_name = "I/N", default_value = "1/1", hide_default_value = true)]
    pub shard: Shard,
    /// Take up a sweep that was stopped or killed
    #[arg(long)]
    pub resume: bool,
    /// Directory of the results [default: FILE.sweep]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Format of the file of results: parquet, csv, arrow or json
    #[arg(long, value_name = "FORMAT", default_value = "parquet")]
    pub format: Format,
    #[command(flatten)]
    pub pages: Pages,
    /// No progress on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Directories of all shards
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// File to write; its ending says its format: parquet, csv, arrow or json
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub pages: Pages,
}

/// Randomness and threads of experiments.
#[derive(Debug, Args)]
pub struct Luck {
    /// Seed of all randomness
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many runs with different luck
    #[arg(long, value_name = "N")]
    pub replications: Option<u32>,
    /// Threads to run on [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// What is made of results for people.
#[derive(Debug, Args)]
pub struct Pages {
    /// Write a report with pictures to this file: one page of HTML that needs nothing else
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Write the pictures of the report to this directory, each as SVG and PNG
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}

impl Pages {
    /// Whether they can be written: to be asked before a long run.
    pub fn check(&self) -> Result<(), Failure> {
        self.report.as_deref().map_or(Ok(()), check_file).map_err(Failure::text)?;
        self.plots.as_deref().map_or(Ok(()), check_writable).map_err(Failure::text)
    }

    /// Makes them, if they are asked for.
    pub fn write(&self, report: impl FnOnce() -> Result<Report, Failure>) -> Result<(), Failure> {
        if self.report.is_none() && self.plots.is_none() {
            return Ok(());
        }
        let report = report()?;
        if let Some(file) = &self.report {
            report.write_html(file).map_err(Failure::text)?;
            say!("wrote {}", file.display());
        }
        if let Some(dir) = &self.plots {
            let files = report.write_pictures(dir).map_err(Failure::text)?;
            say!("wrote {} to {}", plural(files.len() as f64, "file"), dir.display());
        }
        Ok(())
    }
}

/// What becomes of results.
#[derive(Debug, Args)]
pub struct Delivery {
    /// Write all frames to this directory, as Parquet unless --format names another file format
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How to print (table, json, csv) or, with --out, to write
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
    /// No progress on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

/// What is kept of a run beyond its figures.
#[derive(Debug, Args)]
pub struct Keep {
    /// Add the frame `requests`, every request by itself, to what --out DIR or --format json gives
    #[arg(long)]
    pub requests: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub input: Input,
    /// Print the scenario in its canonical form, with all defaults that matter
    #[arg(long)]
    pub canonical: bool,
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// File to write; it must not exist [default: list the library]
    pub file: Option<PathBuf>,
    /// Scenario of the library to begin with
    #[arg(long, default_value = "support-assistant")]
    pub from: String,
}

#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Make a scenario to start from of OpenTelemetry traces: services, their work, calls, models, arrivals
    Otel(OtelArgs),
}

#[derive(Debug, Args)]
pub struct OtelArgs {
    /// Traces: OTLP in JSON, as the collector's file exporter writes it, plain or .gz
    pub file: PathBuf,
    /// Scenario to write, which must not exist [default: printed]
    #[arg(long, short, value_name = "FILE.toml")]
    pub out: Option<PathBuf>,
    /// Replay the arrivals as they were recorded, from CSV files beside --out [default: at random, at their rate]
    #[arg(long, requires = "out")]
    pub replay: bool,
    /// Share of the requests that were traced, such as 0.1 [default: as the sampler noted it (`ot=th`), or 1]
    #[arg(long, value_name = "SHARE")]
    pub sampled: Option<f64>,
    /// Simulate models of the catalogue on this GPU, as `llm` pools [default: as APIs, with the times as traced]
    #[arg(long, value_name = "GPU")]
    pub gpu: Option<String>,
}

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Scenario file (TOML) with the pool
    pub file: PathBuf,
    /// What the server did: JSON of `vllm bench serve`, GuideLLM or AIPerf, or a CSV with a row a request
    #[arg(long, value_name = "FILE")]
    pub bench: PathBuf,
    /// The pool [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub component: Option<String>,
    /// Share of the requests, the last ones, that the fit does not see and is judged by
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    pub hold_back: f64,
    /// Change a value of the scenario first (may be given again)
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Requests of each run
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: u64,
    /// Rounds in which all runs take turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Print JSON, not a table
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Table,
    Json,
    Csv,
    Parquet,
    Arrow,
}

impl OutputFormat {
    /// The format of files; a table is for people, its files are Parquet.
    pub fn of_files(self) -> Format {
        match self {
            Self::Table | Self::Parquet => Format::Parquet,
            Self::Json => Format::Json,
            Self::Csv => Format::Csv,
            Self::Arrow => Format::Ipc,
        }
    }
}

impl Input {
    /// The scenario, or its variant.
    pub fn load(&self, sets: &[String]) -> Result<Loaded, ScenarioError> {
        let loaded = scenarios::load(&self.file, sets)?;
        self.variant.as_ref().map_or(Ok(loaded.clone()), |name| loaded.variant(name))
    }

    pub fn options(&self) -> RunOptions {
        self.load.options()
    }

    /// The scenario, and the files that it reads.
    pub fn files(&self, loaded: &Loaded) -> Vec<PathBuf> {
        [self.file.clone()].into_iter().chain(self.load.trace.clone()).chain(loaded.files()).collect()
    }
}

impl LoadArgs {
    pub fn options(&self) -> RunOptions {
        RunOptions {
            scale: self.scale,
            trace: self.trace.clone(),
            duration: self.duration.map(|duration| duration.get()),
            ..RunOptions::default()
        }
    }
}

impl Luck {
    /// All overrides, those with an option of their own last.
    pub fn sets(&self, sets: &[String]) -> Vec<String> {
        let mut sets = sets.to_vec();
        sets.extend(self.seed.map(|seed| format!("run.seed={seed}")));
        sets.extend(self.replications.map(|count| format!("run.replications={count}")));
        sets
    }
}

impl Keep {
    /// Whether what is kept goes anywhere.
    pub fn check(&self, output: &Delivery) -> Result<(), Failure> {
        match self.requests && output.out.is_none() && output.format != OutputFormat::Json {
            true => {
                Err(Failure::text("--requests is for files").help("say where to: --out DIR or --format json"))
            }
            false => Ok(()),
        }
    }
}

impl Delivery {
    /// The files that results may be written to.
    pub fn files(&self) -> Vec<PathBuf> {
        self.out.as_deref().map(|dir| result_files(dir, self.format.of_files())).unwrap_or_default()
    }

    /// Whether results can be delivered: to be asked before a long run.
    pub fn check(&self) -> Result<(), Failure> {
        match &self.out {
            None if matches!(self.format, OutputFormat::Parquet | OutputFormat::Arrow) => {
                Err(Failure::text("this format is not for a terminal").help("say where to: --out DIR"))
            }
            None => Ok(()),
            Some(dir) => check_writable(dir).map_err(Failure::text),
        }
    }
}

fn parse_duration(text: &str) -> Result<Time, String> {
    text.parse().map_err(|error: UnitError| error.to_string())
}

fn parse_grow(text: &str) -> Result<Grow, String> {
    let known = Grow::ALL.iter().find(|(name, _)| *name == text);
    known.map(|(_, grow)| *grow).ok_or_else(|| "expected usage, data or complexity".to_owned())
}

fn parse_design(text: &str) -> Result<Design, String> {
    let known = Design::ALL.iter().find(|(name, _)| *name == text);
    known.map(|(_, design)| *design).ok_or_else(|| "expected grid, random or lhs".to_owned())
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let rate: Rate = text.parse().map_err(|error: UnitError| error.to_string())?;
    if rate.per_second() > 0.0 { Ok(rate) } else { Err("expected a rate above 0, such as 120/s".to_owned()) }
}

fn parse_api_price(text: &str) -> Result<ApiPrice, String> {
    let token = |text: &str| text.trim().parse::<TokenPrice>().map_err(|error| error.to_string());
    let (input, output) = text.split_once(',').ok_or("expected two prices, such as $0.50/Mtok,$1.50/Mtok")?;
    Ok(ApiPrice { input: Some(token(input)?), output: Some(token(output)?), call: None })
}

fn parse_scale(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix(['x', 'X']).unwrap_or(text);
    match number.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale > 0.0 => Ok(scale),
        _ => Err("expected a multiple above 0, such as 10x or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scales() {
        assert_eq!((parse_scale("10x"), parse_scale("0.5")), (Ok(10.0), Ok(0.5)));
        for bad in ["0", "-1x", "ten", "nan", "inf", ""] {
            assert!(parse_scale(bad).is_err(), "{bad}");
        }
    }
}
