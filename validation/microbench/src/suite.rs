//! The suite: sections, the most valuable first, each within its share of the time.

mod attention;
mod chain;
mod check;
mod copies;
mod elementwise;
mod gemm;
mod latency;
mod loading;
mod memory;
mod passes;
mod sharing;

use std::time::Instant;

use sim_models::hardware::microbench::{Device, Format, Line, RAW_FORMAT, Timing};

use crate::cuda::{Arg, Buffer, Error, Gpu, Kernel, Lt, Module, Result, Sources, nvml_facts, nvrtc_version};
use crate::output::Output;

pub use sharing::{Worker, work};

/// Memory of weights and other random data, and of the KV cache, at most, and their shares of all memory.
const POOL: (u64, f64) = (20 << 30, 0.25);
const CACHE: (u64, f64) = (12 << 30, 0.15);

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Two minutes.
    Quick,
    /// Under nine minutes.
    Full,
}

/// Everything that a section needs.
pub struct Suite<'a> {
    gpu: Gpu,
    lt: Lt,
    kernels: Kernels,
    modules: Vec<(Sources, Module)>,
    /// Random data: weights, tables, tokens.
    pool: Buffer,
    /// Random data as a KV cache.
    cache: Buffer,
    /// What the pool holds.
    filled: Option<Format>,
    out: &'a mut Output,
    extent: Extent,
    began: Instant,
    /// No section goes on after these seconds.
    seconds: f64,
}

/// Kernels beside attention.
struct Kernels {
    fill: Kernel,
    nothing: Kernel,
    copy_words: Kernel,
    read_words: Kernel,
    add_rms_norm: Kernel,
    rope_cache: Kernel,
    silu_mul: Kernel,
    to_e4m3: Kernel,
    embedding_bag: Kernel,
    sample: Kernel,
}

/// Kernels of attention for one width of heads and one format of the cache.
struct Attention {
    decode: Kernel,
    combine: Kernel,
    prefill: Kernel,
}

/// What is left of a section's time, and what was done with it.
struct Section {
    until: f64,
    done: u64,
    left_out: u64,
    note: Option<String>,
}

impl Section {
    /// Notes why something could not be measured; the first reason is kept.
    fn failed(&mut self, what: &str, error: &Error) {
        self.left_out += 1;
        self.note.get_or_insert_with(|| format!("{what}: {error}"));
    }
}

type Measure = fn(&mut Suite, &mut Section) -> Result<()>;

/// Seconds that each section may take of a full run; a quick one takes the quick share.
const SECTIONS: [(&str, f64, f64, Measure); 16] = [
    ("checks", 5.0, 5.0, check::checks),
    ("gemm bf16", 144.0, 24.0, |s, at| gemm::gemm(s, at, Format::Bf16)),
    ("decode attention", 20.0, 8.0, attention::decode),
    ("prefill attention", 16.0, 5.0, attention::prefill),
    ("elementwise and sampling", 8.0, 4.0, elementwise::elementwise),
    ("passes", 80.0, 20.0, passes::passes),
    ("streams", 30.0, 15.0, passes::streams),
    ("gemm fp8", 108.0, 16.0, |s, at| gemm::gemm(s, at, Format::Fp8)),
    ("copies", 4.0, 4.0, copies::copies),
    ("latencies", 3.0, 2.0, latency::latency),
    ("chains", 4.0, 2.0, chain::chains),
    ("sustained", 6.0, 4.0, gemm::sustained),
    ("sharing", 40.0, 1.0, sharing::sharing),
    ("memory", 6.0, 1.0, memory::memory),
    ("loading", 8.0, 3.0, loading::loading),
    ("gemm, other formats", 47.0, 1.0, gemm::others),
];

impl<'a> Suite<'a> {
    /// Opens the device and compiles the kernels: all but attention's, and of these the ones of `attention`.
    ///
    /// # Errors
    /// What is missing, or what a library says.
    pub fn open(
        out: &'a mut Output,
        extent: Extent,
        seconds: f64,
        began: Instant,
        share: f64,
        attention: &[Sources],
    ) -> Result<Self> {
        let gpu = Gpu::open()?;
        let elementwise = Sources::Elementwise.load(&gpu)?;
        let kernels = Kernels::of(&elementwise)?;
        let modules = attention.iter().map(|sources| Ok((*sources, sources.load(&gpu)?)));
        let modules = modules.collect::<Result<_>>()?;
        let (_, all) = gpu.memory()?;
        let room = |(most, part): (u64, f64)| {
            ((most.min((all as f64 * part) as u64) as f64 * share) as u64) & !0xfffff
        };
        let (pool, cache) = (gpu.alloc(room(POOL))?, gpu.alloc(room(CACHE))?);
        let lt = Lt::open(&gpu)?;
        Ok(Self { gpu, lt, kernels, modules, pool, cache, filled: None, out, extent, began, seconds })
    }

    /// Measures everything.
    ///
    /// # Errors
    /// What keeps results from being written; a section that fails is noted and left.
    pub fn run(&mut self, started: u64, only: &[String]) -> Result<()> {
        let device = self.device(started);
        self.out.write(&Line::Device(device))?;
        let chosen = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
        for (name, full, quick, measure) in SECTIONS {
            if !chosen(name) {
                continue;
            }
            let share = if self.extent == Extent::Full { full } else { quick };
            let start = self.gone();
            let until = (start + share).min(self.seconds);
            self.out.say(&format!("{start:6.1} s  {name} (at most {share} s)"));
            let mut section = Section { until, done: 0, left_out: 0, note: None };
            if let Err(error) = measure(self, &mut section) {
                section.failed(name, &error);
            }
            // An error of a kernel shows at the next call: here, not in the next section.
            if let Err(error) = self.gpu.wait() {
                section.failed(name, &error);
            }
            let Section { done, left_out, note, .. } = section;
            if let Some(note) = &note {
                self.out.say(&format!("          {note}"));
            }
            let seconds = self.gone() - start;
            self.out.write(&Line::Section { name: name.to_owned(), seconds, done, left_out, note })?;
        }
        let seconds = self.gone();
        self.out.write(&Line::End { seconds })
    }

    fn device(&self, started: u64) -> Device {
        use cudarc::driver::sys::CUdevice_attribute as Attribute;
        let (driver, power_limit_watts) = nvml_facts();
        let capability = self.gpu.capability();
        let mhz = |which| f64::from(self.gpu.attribute(which)) / 1000.0;
        Device {
            format: RAW_FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            suite: if self.extent == Extent::Full { "full" } else { "quick" }.to_owned(),
            started,
            name: self.gpu.name(),
            compute_capability: format!("{}.{}", capability / 10, capability % 10),
            multiprocessors: self.gpu.multiprocessors(),
            l2_bytes: self.gpu.l2_bytes(),
            memory_bytes: self.gpu.memory().map_or(0, |(_, all)| all),
            sm_clock_mhz: mhz(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
            memory_clock_mhz: mhz(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
            power_limit_watts,
            driver,
            cuda: self.gpu.cuda_version(),
            nvrtc: nvrtc_version(),
            cublaslt: Lt::version(),
            host_cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        }
    }

    /// Seconds since the start.
    fn gone(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Whether a section has time for one more; if not, that is counted.
    fn goes_on(&self, section: &mut Section) -> bool {
        let goes = self.gone() < section.until;
        if goes {
            section.done += 1;
        } else {
            section.left_out += 1;
        }
        goes
    }

    fn is_full(&self) -> bool {
        self.extent == Extent::Full
    }

    /// The kernels of attention, if there are any for this width.
    fn attention(&self, head_dim: u64, e4m3: bool) -> Result<Attention> {
        let asked = Sources::Attention { head_dim: head_dim as u32, e4m3 };
        let found = self.modules.iter().find(|(sources, _)| *sources == asked);
        let (_, module) = found.ok_or_else(|| Error::Other(format!("no kernel for heads of {head_dim}")))?;
        Ok(Attention {
            decode: module.kernel("decode_attention")?,
            combine: module.kernel("combine")?,
            prefill: module.kernel("prefill_attention")?,
        })
    }

    /// Fills the pool with random numbers of a format.
    fn fill_pool(&mut self, format: Format) -> Result<()> {
        if self.filled != Some(format) {
            fill(&self.gpu, &self.kernels, &self.pool, format)?;
            self.filled = Some(format);
        }
        Ok(())
    }

    /// The place of the `turn`th window of `bytes` in the pool.
    fn window(&self, turn: u64, bytes: u64) -> u64 {
        self.pool.at + wrapped(turn, bytes, self.pool.bytes)
    }

    /// The time of one of many calls that are recorded in a graph: `one(turn)` puts the call on the stream and takes
    /// other data of `bytes` each turn, so that the cache holds none of it; `u64::MAX` where all take the same.
    fn time(&self, bytes: u64, mut one: impl FnMut(u64) -> Result<()>) -> Result<Timing> {
        let gpu = &self.gpu;
        one(0)?;
        gpu.wait()?;
        let once_ms = gpu.elapsed_ms(|| one(1))?;
        let to_last = (1.0 / once_ms.max(1e-3)).ceil() as u64;
        let beyond_cache = (3 * gpu.l2_bytes()).div_ceil(bytes.max(1));
        let count = to_last.max(beyond_cache).clamp(1, 512);
        let graph = gpu.capture(|| (0..count).try_for_each(&mut one))?;
        let most = if self.is_full() { 7 } else { 5 };
        let repeats = ((400.0 / (once_ms * count as f64)) as u32).clamp(3, most);
        let first_ms = gpu.elapsed_ms(|| gpu.replay(&graph))?;
        if first_ms < 1.0 {
            gpu.replay(&graph)?;
        }
        let runs =
            (0..repeats).map(|_| gpu.elapsed_ms(|| gpu.replay(&graph)).map(|ms| ms * 1e3 / count as f64));
        Ok(spread(runs.collect::<Result<Vec<f64>>>()?))
    }
}

impl Kernels {
    fn of(module: &Module) -> Result<Self> {
        Ok(Self {
            fill: module.kernel("fill")?,
            nothing: module.kernel("nothing")?,
            copy_words: module.kernel("copy_words")?,
            read_words: module.kernel("read_words")?,
            add_rms_norm: module.kernel("add_rms_norm")?,
            rope_cache: module.kernel("rope_cache")?,
            silu_mul: module.kernel("silu_mul")?,
            to_e4m3: module.kernel("to_e4m3")?,
            embedding_bag: module.kernel("embedding_bag")?,
            sample: module.kernel("sample")?,
        })
    }
}

/// Where the `turn`th piece of `bytes` lies in `room` bytes, which are gone through again and again.
fn wrapped(turn: u64, bytes: u64, room: u64) -> u64 {
    let bytes = bytes.next_multiple_of(256);
    let pieces = (room / bytes.max(1)).max(1);
    turn % pieces * bytes
}

/// The median, the least and the most of some times.
fn spread(mut us: Vec<f64>) -> Timing {
    us.sort_by(f64::total_cmp);
    let middle = us.len() / 2;
    let median = if us.len() % 2 == 1 { us[middle] } else { (us[middle - 1] + us[middle]) / 2.0 };
    Timing { us: median, least: us[0], most: us[us.len() - 1], repeats: us.len() as u32 }
}

/// Fills a buffer with random numbers of a format.
fn fill(gpu: &Gpu, kernels: &Kernels, buffer: &Buffer, format: Format) -> Result<()> {
    let kind = match format {
        Format::Bf16 => 0,
        Format::Fp8 => 1,
        Format::Int8 => 2,
        Format::Fp32 | Format::Tf32 => 3,
        Format::Fp16 => 4,
    };
    let args = [Arg::Wide(buffer.at), Arg::Wide(buffer.bytes / 4), Arg::Narrow(7), Arg::Narrow(kind)];
    gpu.launch(kernels.fill, [8 * gpu.multiprocessors(), 1, 1], 256, &args)?;
    gpu.wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_in_their_room_and_differ() {
        let at: Vec<u64> = (0..4).map(|turn| wrapped(turn, 1000, 3100)).collect();
        assert_eq!(at, [0, 1024, 2048, 0]);
        assert_eq!(wrapped(5, 4000, 3100), 0, "what does not fit is refused by who asks");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let timing = spread(vec![4.0, 1.0, 2.0, 8.0]);
        assert_eq!(timing, Timing { us: 3.0, least: 1.0, most: 8.0, repeats: 4 });
    }

    #[test]
    fn sections_fit_their_suites() {
        let sum = |pick: fn(&(&str, f64, f64, Measure)) -> f64| SECTIONS.iter().map(pick).sum::<f64>();
        assert!(
            sum(|section| section.1) <= crate::FULL_SECONDS
                && sum(|section| section.2) <= crate::QUICK_SECONDS
        );
    }
}
