//! Processes that share the device by time-slicing: this program starts itself.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use sim_models::hardware::catalogue;
use sim_models::hardware::microbench::{Format, Line, PassShape};

use super::passes::Forward;
use super::{Extent, Section, Suite, fill, spread};
use crate::cuda::{Error, Result, Sources};
use crate::output::Output;

/// What a process that shares does.
#[derive(Debug, Clone, Copy)]
pub struct Worker {
    /// How many share.
    pub processes: u32,
    /// Which one this is.
    pub process: u32,
    /// When to begin, in milliseconds since 1970, so that all begin at once.
    pub at_ms: u64,
    /// For how long.
    pub seconds: f64,
}

/// Time for a process to open the device, compile its kernels and build its pass.
const START: Duration = Duration::from_secs(8);

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

pub(super) fn sharing(suite: &mut Suite, section: &mut Section) -> Result<()> {
    let program = std::env::current_exe().map_err(|error| Error::Other(error.to_string()))?;
    let own: Vec<OsString> = std::env::args_os().collect();
    let seconds = if suite.is_full() { 4.0 } else { 1.0 };
    for processes in [1, 2, 4] {
        let needed = START.as_secs_f64() + seconds;
        if suite.gone() + needed > section.until {
            section.left_out += 1;
            continue;
        }
        section.done += 1;
        let at = now_ms() + START.as_millis() as u64;
        let children: Vec<_> = (0..processes)
            .map(|process| {
                let worker = format!("{processes},{process},{at},{seconds}");
                let command = Command::new(&program)
                    .args(["--worker", &worker])
                    .args(own.windows(2).filter(|pair| pair[0] == "--cuda-libs").flatten())
                    .stdout(Stdio::piped())
                    .spawn();
                command.map_err(|error| Error::Other(format!("a process that shares: {error}")))
            })
            .collect();
        for child in children {
            let done = child?.wait_with_output().map_err(|error| Error::Other(error.to_string()))?;
            match serde_json::from_slice::<Line>(&done.stdout) {
                Ok(line) => suite.out.write(&line)?,
                Err(_) => section.failed(
                    &format!("one of {processes} processes"),
                    &Error::Other(format!("it ended with {}", done.status)),
                ),
            }
        }
    }
    Ok(())
}

/// Decode passes of one of the processes, for its time; the result is printed.
///
/// # Errors
/// What keeps it from working.
pub fn work(worker: Worker) -> Result<()> {
    let mut none = Output::none();
    let needed = [Sources::Attention { head_dim: 64, e4m3: false }];
    let mut suite = Suite::open(&mut none, Extent::Full, 60.0, Instant::now(), 0.2, &needed)?;
    suite.fill_pool(Format::Bf16)?;
    fill(&suite.gpu, &suite.kernels, &suite.cache, Format::Bf16)?;
    let model = catalogue::model("llama-3.2-1b").map_err(|error| Error::Other(error.to_string()))?;
    let shape = PassShape { decode: vec![1024; 16], prefill: vec![] };
    let forward = Forward::new(&suite, model, Format::Bf16, Format::Bf16, &shape)?;
    let graph = suite.gpu.capture(|| forward.record(&suite))?;
    suite.gpu.replay(&graph)?;
    suite.gpu.wait()?;
    let Worker { processes, process, at_ms, seconds } = worker;
    let Some(wait) = at_ms.checked_sub(now_ms()) else {
        return Err(Error::Other(format!("was ready {} ms after the others began", now_ms() - at_ms)));
    };
    std::thread::sleep(Duration::from_millis(wait));
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed().as_secs_f64() < seconds {
        let pass = Instant::now();
        suite.gpu.replay(&graph)?;
        suite.gpu.wait()?;
        times.push(pass.elapsed().as_secs_f64() * 1e6);
    }
    let (seconds, passes) = (start.elapsed().as_secs_f64(), times.len() as u64);
    let line = Line::Sharing { processes, process, passes, seconds, pass_us: spread(times).us };
    println!("{}", serde_json::to_string(&line).map_err(|error| Error::Other(error.to_string()))?);
    Ok(())
}
