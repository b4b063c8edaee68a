//! What `tenfold-microbench` measured on a GPU: the raw format.
//!
//! A file of JSON lines (plain or gzip), each one [`Line`]. The first says on which device; the last, [`Line::End`],
//! that nothing was cut off. A run that was cut off keeps what it has: a last line that is not whole is left out.
//! Times are those of the device, in microseconds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use thiserror::Error;

use crate::gzip::unpack;

/// The version of the raw format.
pub const RAW_FORMAT: u32 = 1;
/// Longest file that is read, unpacked, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// A time over repeats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// The median, in microseconds.
    pub us: f64,
    /// The shortest.
    pub least: f64,
    /// The longest.
    pub most: f64,
    /// Repeats.
    pub repeats: u32,
}

/// The device and the software on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// [`RAW_FORMAT`].
    pub format: u32,
    /// The version of the program.
    pub program: String,
    /// `quick` or `full`.
    pub suite: String,
    /// When the run began, in seconds since 1970 (UTC).
    pub started: u64,
    /// What the driver calls the device.
    pub name: String,
    /// Compute capability, such as `9.0`.
    pub compute_capability: String,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Second-level cache in bytes.
    pub l2_bytes: u64,
    /// Memory in bytes, as the driver reports it.
    pub memory_bytes: u64,
    /// Highest clock of the multiprocessors in MHz.
    pub sm_clock_mhz: f64,
    /// Highest clock of the memory in MHz.
    pub memory_clock_mhz: f64,
    /// Power limit in watts, where NVML says it.
    pub power_limit_watts: Option<f64>,
    /// Version of the driver, where NVML says it.
    pub driver: Option<String>,
    /// CUDA version that the driver offers, such as `13.0`.
    pub cuda: String,
    /// Version of NVRTC.
    pub nvrtc: String,
    /// Version of cublasLt.
    pub cublaslt: String,
    /// CPUs of the host that the program may use.
    pub host_cpus: u32,
}

/// Number format of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// 32 bits, outside the tensor cores.
    Fp32,
    /// 32 bits, rounded to 19 for the tensor cores.
    Tf32,
    /// 16 bits, IEEE.
    Fp16,
    /// 16 bits with the exponent of 32.
    Bf16,
    /// 8 bits, e4m3.
    Fp8,
    /// 8-bit integers.
    Int8,
}

/// What a timing is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// On the grid that a profile is made of.
    Grid,
    /// A shape of a real model, or another point beside the grid: never fitted to.
    Check,
}

/// A forward pass: what its sequences do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassShape {
    /// Context of each decoding sequence, the new token included.
    pub decode: Vec<u32>,
    /// Chunks of prompts: tokens before the chunk, and tokens of it.
    pub prefill: Vec<(u32, u32)>,
}

impl PassShape {
    /// The same as a [`Pass`](super::timing::Pass) of a model without sliding windows.
    pub fn pass(&self) -> super::timing::Pass {
        let mut pass = super::timing::Pass::default();
        for context in &self.decode {
            pass.decode(u64::from(context.saturating_sub(1)), 0, None);
        }
        for (before, chunk) in &self.prefill {
            pass.prefill(u64::from(*before), u64::from(*chunk), None);
        }
        pass
    }
}

/// One measurement, or one fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "fields are explained once, here: counts are of elements, bytes of what moves"
)]
pub enum Line {
    /// The first line.
    Device(Device),
    /// A kernel beside a reference on the CPU: the largest error relative to the size of the numbers.
    Check { what: String, worst: f64, tolerance: f64 },
    /// A copy: `d2d` (the driver's), `kernel` (ours), `read` (reads only), `h2d`, `d2h`. Bytes are those copied.
    Copy { way: String, pinned: bool, bytes: u64, time: Timing },
    /// A latency: `launch` and `graph_node` of an empty kernel, `graph` of launching a graph of one, `malloc` and
    /// `free`, `malloc_async` and `free_async` of `bytes`.
    Latency { what: String, bytes: u64, time: Timing },
    /// A matrix product `m x k` by `k x n` through cublasLt.
    Gemm { format: Format, m: u64, n: u64, k: u64, purpose: Use, time: Timing },
    /// Decode attention of one layer, the joining of its parts included, over contexts of equal length.
    DecodeAttention {
        paged: bool,
        kv: Format,
        batch: u64,
        context: u64,
        heads: u64,
        kv_heads: u64,
        head_dim: u64,
        time: Timing,
    },
    /// Prefill attention of one layer: of each of `batch` sequences `tokens` new ones after `before` others.
    PrefillAttention {
        kv: Format,
        batch: u64,
        tokens: u64,
        before: u64,
        heads: u64,
        kv_heads: u64,
        head_dim: u64,
        time: Timing,
    },
    /// `add_rms_norm`, `rope_cache` or `silu_mul` over `tokens` of `width` (in the kernel's own sense); with results in
    /// e4m3 `add_rms_norm_e4m3` and `silu_mul_e4m3`; `to_e4m3` of bf16.
    Elementwise { what: String, tokens: u64, width: u64, bytes: u64, time: Timing },
    /// Drawing a token for each of `sequences` from fp32 logits.
    Sampling { sequences: u64, vocabulary: u64, time: Timing },
    /// Sums of `pooling` random rows of a table: `bags` of them.
    Lookup { table_bytes: u64, row_bytes: u64, bags: u64, pooling: u64, time: Timing },
    /// The kernels of a layer of Llama 3.1 8B (in bf16 where no format is said), attention left out, one after the
    /// other: a round of all, beside the sum of what each takes alone.
    Chain {
        #[serde(default = "bf16")]
        format: Format,
        tokens: u64,
        kernels: u64,
        alone_us: f64,
        time: Timing,
    },
    /// A large bf16 product again and again: TFLOP/s in the first tenth of a second, and in the last second.
    Sustained { seconds: f64, first_tflops: f64, last_tflops: f64 },
    /// A whole forward pass of a model with random weights, captured in a graph; `layers` of the model's.
    Pass { model: String, layers: u64, format: Format, kv: Format, shape: PassShape, time: Timing },
    /// Passes of a simulated stream, one after the other; passes as in the stream's file from `first` on.
    Stream {
        scenario: String,
        component: String,
        model: String,
        format: Format,
        kv: Format,
        first: u64,
        us: Vec<f64>,
        shapes: Vec<PassShape>,
    },
    /// Processes that share the device by time-slicing: this is one of them, doing the same decode passes.
    Sharing { processes: u32, process: u32, passes: u64, seconds: f64, pass_us: f64 },
    /// Sequences of `tokens` (all of `longest` at most) whose KV cache fits into `budget_bytes`: `paged` in blocks of
    /// 16 tokens, `contiguous` with room for the longest reserved in one piece.
    Memory {
        way: String,
        bytes_per_token: u64,
        budget_bytes: u64,
        tokens: Vec<u32>,
        longest: u32,
        fits: u64,
        allocated_bytes: u64,
        free_bytes: u64,
    },
    /// A file from the page cache into the device's memory.
    Load { threads: u32, bytes: u64, seconds: f64 },
    /// A section of the suite has ended. `left_out`: what there was no time for.
    Section { name: String, seconds: f64, done: u64, left_out: u64, note: Option<String> },
    /// The last line.
    End { seconds: f64 },
}

fn bf16() -> Format {
    Format::Bf16
}

/// A raw file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}{}: {message}", line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct RawError {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

/// The bytes of a file of JSON lines, unpacked if it is a gzip, and whether a gzip was cut off.
///
/// # Errors
/// What cannot be read, or is too long.
pub fn unpacked(path: &Path) -> Result<(Vec<u8>, bool), RawError> {
    let refuse = |message: String| RawError { path: path.display().to_string(), line: None, message };
    let opened = File::open(path).and_then(unpack);
    let (input, is_zipped) = opened.map_err(|error| refuse(error.to_string()))?;
    let mut text = Vec::new();
    // What came before a cut is kept.
    let cut = match input.take(MAX_BYTES).read_to_end(&mut text) {
        Err(_) if is_zipped => true,
        read => read.map(|_| false).map_err(|error| refuse(error.to_string()))?,
    };
    if text.len() as u64 >= MAX_BYTES {
        return Err(refuse(format!("over {MAX_BYTES} bytes: expected fewer")));
    }
    Ok((text, cut))
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// The device.
    pub device: Device,
    /// Everything after the first line but the last.
    pub lines: Vec<Line>,
    /// Whether the run came to its end.
    pub complete: bool,
}

impl Raw {
    /// Reads a raw file.
    ///
    /// # Errors
    /// What cannot be read, is of another format or version, or has a time that is none.
    pub fn open(path: &Path) -> Result<Self, RawError> {
        let (text, cut) = unpacked(path)?;
        let refuse = |line, message: String| RawError { path: path.display().to_string(), line, message };
        Self::parse(&text, cut).map_err(|(line, message)| refuse(line, message))
    }

    fn parse(text: &[u8], cut: bool) -> Result<Self, (Option<usize>, String)> {
        let mut device = None;
        let (mut lines, mut complete) = (Vec::new(), false);
        let mut rest = text.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
        while let Some((index, bytes)) = rest.next() {
            let number = Some(index + 1);
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let mut line: Line = match serde_json::from_slice(bytes.trim_ascii_end()) {
                Ok(line) => line,
                Err(_) if device.is_some() && rest.peek().is_none() && (cut || !bytes.ends_with(b"\n")) => {
                    break;
                }
                Err(error) => return Err((number, no_line(&error))),
            };
            line.check().map_err(|message| (number, message))?;
            match line {
                Line::Device(found) if device.is_none() => {
                    if found.format != RAW_FORMAT {
                        return Err((number, format!("format {}: expected {RAW_FORMAT}", found.format)));
                    }
                    device = Some(found);
                }
                Line::Device(_) => return Err((number, "a second device: expected one run a file".into())),
                _ if device.is_none() => return Err((number, "expected the device first".into())),
                _ if complete => return Err((number, "expected nothing after the end".into())),
                Line::End { .. } => complete = true,
                line => lines.push(line),
            }
        }
        let device = device.ok_or((None, "empty: expected what tenfold-microbench wrote".to_owned()))?;
        Ok(Self { device, lines, complete })
    }
}

/// Why a line of text is none of a raw file.
fn no_line(error: &serde_json::Error) -> String {
    // The parser sees one line only: its own "line 1" would mislead.
    let text = error.to_string();
    let what = match error.classify() {
        Category::Eof => "the line is cut off",
        Category::Syntax => &format!("not JSON from character {} on", error.column()),
        Category::Data | Category::Io => text.split(" at line ").next().unwrap_or(&text),
    };
    format!(
        "{what}: expected a whole JSON line that tenfold-microbench wrote, such as {{\"kind\":\"end\",\"seconds\":120}}"
    )
}

impl Line {
    /// The time that was measured, of lines that have one.
    pub fn time_mut(&mut self) -> Option<&mut Timing> {
        match self {
            Self::Copy { time, .. }
            | Self::Latency { time, .. }
            | Self::Gemm { time, .. }
            | Self::DecodeAttention { time, .. }
            | Self::PrefillAttention { time, .. }
            | Self::Elementwise { time, .. }
            | Self::Sampling { time, .. }
            | Self::Lookup { time, .. }
            | Self::Chain { time, .. }
            | Self::Pass { time, .. } => Some(time),
            _ => None,
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let times: &[f64] = match self {
            Self::Stream { us, shapes, .. } if us.len() != shapes.len() => {
                return Err(format!("{} times of {} passes: expected one each", us.len(), shapes.len()));
            }
            Self::Stream { us, .. } => us,
            line => &line.time_mut().map_or(vec![], |time| vec![time.us, time.least, time.most]),
        };
        match times.iter().find(|us| !(us.is_finite() && **us > 0.0 && **us < 1e9)) {
            Some(us) => Err(format!("a time of {us} us: expected one above 0 and below 1e9")),
            None => Ok(()),
        }
    }
}

/// A simulated stream of passes, which `tenfold-microbench` runs one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassStream {
    /// The scenario.
    pub scenario: String,
    /// The pool, of which this is the first replica.
    pub component: String,
    /// Its model, by its id in the catalogue.
    pub model: String,
    /// Number format of the weights.
    pub format: Format,
    /// Number format of the KV cache.
    pub kv: Format,
    /// The passes, in order.
    pub passes: Vec<PassShape>,
}

#[cfg(test)]
mod tests;
