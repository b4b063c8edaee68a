//! `tenfold-microbench`: CUDA microbenchmarks that a profile of a GPU is fitted to.
//!
//! Results are JSON lines ([`sim_models::hardware::microbench`]); `tenfold profile fit` makes a profile of them, and
//! `tenfold validate --raw` shows how good it is on what it was not fitted to.

#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

mod cuda;
mod output;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use clap::Parser;

use cuda::{Error, find_libraries};
use output::Output;
use suite::{Extent, Suite, Worker};

/// Seconds of the two suites, from start to end.
pub(crate) const QUICK_SECONDS: f64 = 120.0;
pub(crate) const FULL_SECONDS: f64 = 530.0;

/// Times the kernels, copies and whole passes of LLM serving on the first CUDA device, for `tenfold profile fit`.
#[derive(Debug, Parser)]
#[command(name = "tenfold-microbench", version, max_term_width = 100)]
#[command(
    override_usage = "tenfold-microbench <--quick|--full> --out <FILE>\n       tenfold-microbench --check-kernels"
)]
#[command(
    after_help = "Exit codes: 0 done, 1 something failed, 2 bad input, 3 CUDA or a device is missing on this machine."
)]
struct Cli {
    /// Two minutes of measurements
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Under nine minutes of measurements
    #[arg(long)]
    full: bool,
    /// Only sections with this in their names (may be given again)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// File of results to write (JSON lines); it must not exist
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder with libnvrtc.so and libcublasLt.so, if the loader does not find them
    #[arg(long, value_name = "DIR")]
    cuda_libs: Vec<PathBuf>,
    /// Only compile all kernels, for sm_80, sm_89 and sm_90; needs NVRTC but no device
    #[arg(long, conflicts_with_all = ["quick", "full", "out"])]
    check_kernels: bool,
    /// No progress on stderr
    #[arg(long, short = 'Q')]
    quiet: bool,
    #[arg(long, hide = true, value_parser = parse_worker)]
    worker: Option<Worker>,
}

/// What a call must say.
const EXPECTED: &str =
    "expected --quick or --full with --out FILE, or --check-kernels (--help says what they do)";

fn parse_worker(text: &str) -> Result<Worker, String> {
    let parts: Vec<f64> = text.split(',').filter_map(|part| part.parse().ok()).collect();
    match parts[..] {
        [processes, process, at_ms, seconds] => {
            Ok(Worker { processes: processes as u32, process: process as u32, at_ms: at_ms as u64, seconds })
        }
        _ => Err("expected four numbers".into()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tenfold-microbench: {error}");
            match error {
                Error::Missing(_) => ExitCode::from(3),
                Error::Other(_) => ExitCode::from(2),
                Error::Call { .. } => ExitCode::FAILURE,
            }
        }
    }
}

fn run(cli: &Cli) -> Result<(), Error> {
    let began = Instant::now();
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if cli.check_kernels {
        find_libraries(&cli.cuda_libs, false)?;
        return cuda::check_all(&[80, 89, 90]);
    }
    if let Some(worker) = cli.worker {
        find_libraries(&cli.cuda_libs, true)?;
        return suite::work(worker);
    }
    let (path, extent, seconds) = match &cli.out {
        Some(path) if cli.full => (path, Extent::Full, FULL_SECONDS),
        Some(path) if cli.quick => (path, Extent::Quick, QUICK_SECONDS),
        _ => return Err(Error::Other(EXPECTED.into())),
    };
    find_libraries(&cli.cuda_libs, true)?;
    // The device first: a file of results is only begun where there can be any.
    cuda::Gpu::open()?;
    let mut out = Output::create(path, cli.quiet)?;
    Suite::open(&mut out, extent, seconds, began, 1.0, &cuda::Sources::ALL[1..])?.run(started, &cli.only)
}
