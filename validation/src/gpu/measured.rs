//! What was measured with `tenfold-microbench` and is kept with the project: a page of the book.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use sim_models::hardware::microbench::{Format, Line, Raw, Timing};
use sim_models::hardware::profile::Profile;

use super::{GpuReport, Sizes, check_gpu};

/// Largest difference of two measures of the same ceiling, and median difference of two runs.
pub const ALIKE: f64 = 0.03;
/// Bytes of a copy from which it is bound by memory, up to which both measures copy within one allocation's reach.
const COPIES: std::ops::RangeInclusive<u64> = (1 << 26)..=(1 << 28);

/// A line of `independent/torch_ceilings.py`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Independent {
    /// The device and the versions.
    Device { torch: String },
    /// A copy on the device.
    Copy { bytes: u64, time: Timing },
    /// A matrix product.
    Gemm { format: Format, m: u64, n: u64, k: u64, time: Timing },
}

/// A ceiling measured twice, in GB/s or TFLOP/s.
#[derive(Debug, Clone, PartialEq)]
pub struct Ceiling {
    /// What it is, with its unit.
    pub what: &'static str,
    /// By `tenfold-microbench`.
    pub ours: f64,
    /// By PyTorch.
    pub theirs: f64,
}

impl Ceiling {
    /// Ours over theirs, less one.
    pub fn difference(&self) -> f64 {
        self.ours / self.theirs - 1.0
    }
}

/// The measurements of one GPU that are kept with the project.
#[derive(Debug)]
pub struct Measured {
    /// The profile fitted to them.
    pub profile: &'static Profile,
    /// Predicted and measured.
    pub report: GpuReport,
    /// The same of two runs of the quick suite.
    pub quick: Vec<GpuReport>,
    /// Differences of these two.
    pub repeated: Sizes,
    /// Beside PyTorch on the same machine.
    pub ceilings: Vec<Ceiling>,
    torch: String,
}

impl Measured {
    /// Reads what `folder` holds of `gpu`, and predicts it.
    ///
    /// # Errors
    /// What is missing or cannot be read, in words.
    pub fn open(folder: &Path, gpu: &str) -> Result<Self, String> {
        let at = |name: &str| folder.join(format!("{gpu}-{name}"));
        let raw = |name: &str| Raw::open(&at(name)).map_err(|error| error.to_string());
        let full = raw("full.jsonl.gz")?;
        let profile = Profile::of_gpu(gpu).ok_or_else(|| format!("{gpu} has no profile"))?;
        let report = check_gpu(&full, profile, gpu).map_err(|error| error.to_string())?;
        let quick = [raw("quick.jsonl.gz")?, raw("quick-again.jsonl.gz")?];
        let again = quick.each_ref().map(timings);
        let checked = quick.iter().map(|raw| check_gpu(raw, profile, gpu));
        let checked = checked.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let differences = again[0].iter().filter_map(|(what, us)| Some(us / again[1].get(what)? - 1.0));
        let repeated = Sizes::of(differences).ok_or("nothing was measured twice")?;
        let path = at("torch.jsonl");
        let shown = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = BufReader::new(File::open(&path).map_err(|error| shown(&error))?);
        let lines: Vec<Independent> = file
            .lines()
            .map(|line| {
                serde_json::from_str(&line.map_err(|error| shown(&error))?).map_err(|error| shown(&error))
            })
            .collect::<Result<_, String>>()?;
        let torch = lines.iter().find_map(|line| match line {
            Independent::Device { torch } => Some(torch.clone()),
            _ => None,
        });
        let torch = torch.ok_or_else(|| shown(&"no line says which PyTorch"))?;
        Ok(Self {
            profile,
            report,
            quick: checked,
            repeated,
            ceilings: ceilings(&raw("ceilings.jsonl")?, &lines),
            torch,
        })
    }

    /// The page: made again by `cargo run -p validation --example measured_md`.
    pub fn markdown(&self) -> String {
        let mut page = format!(
            "# Measured: {}\n\nA run of `tenfold-microbench` (`validation/measurements`), and what profile `{}`, fitted to a part of \
             it, says of the rest ({}). No other program of ours ran on the GPU meanwhile.\n\n\
             Attention kernels are Tenfold's own ([what that means](../measure.md)): a serving engine's are faster in long prompts.\n",
            self.report.device, self.profile.id, self.profile.source
        );
        // The report's own title is in the page's.
        let report = self.report.markdown();
        let body = report.split_once("\n\n").map_or("", |(_, body)| body);
        page += &format!("\n{}\n", body.trim_end());
        page += "\n## How far this is a test\n\nNo number of the profile was fitted to these passes. But which terms it has was decided with their \
                 errors in view: tables of element-wise kernels and of drawing tokens, the time between kernels (in bf16, where \
                 it was measured), what the sustained product is compared with (by the first definition, against its own first \
                 tenth of a second, prompts in fp8 were over their bound). Errors of the two runs of the quick suite were first \
                 looked at when all that was settled. They hold decode passes over 4,096 tokens, which the full suite has not; \
                 their other shapes and streams are those of the full suite, run anew.\n\n\
                 | run | what | precision | number | median | p90 |  |\n|---|---|---|---|---|---|---|\n";
        for (run, report) in ["first", "second"].iter().zip(&self.quick) {
            for (operation, precision, sizes, passed) in report.verdicts() {
                let Some(passed) = passed else { continue };
                page += &format!(
                    "| {run} | {} | {precision} | {} | {:.1}% | {:.1}% | {} |\n",
                    operation.name(),
                    sizes.count,
                    100.0 * sizes.median,
                    100.0 * sizes.p90,
                    if passed { "pass" } else { "FAIL" },
                );
            }
        }
        page += &format!(
            "\n## Measured twice\n\nTwo runs of the quick suite, {} timings: median difference {:.1}%, 90th percentile {:.1}%, \
             largest {:.0}%.\n",
            self.repeated.count,
            100.0 * self.repeated.median,
            100.0 * self.repeated.p90,
            100.0 * self.repeated.worst
        );
        page += &format!(
            "\n## Beside PyTorch\n\nThe same ceilings by PyTorch {} on the same machine, one \
             program after the other (`h200-sxm-ceilings`, `validation/independent/torch_ceilings.py`); at most {:.0}% apart is wanted.\n\n\
             | what | tenfold-microbench | PyTorch | difference |  |\n|---|---|---|---|---|\n",
            self.torch,
            100.0 * ALIKE
        );
        for ceiling in &self.ceilings {
            let (Ceiling { what, ours, theirs }, difference) = (ceiling, ceiling.difference());
            let verdict = if difference.abs() <= ALIKE { "pass" } else { "FAIL" };
            let difference = format!("{:+.1}%", 100.0 * difference);
            page += &format!("| {what} | {ours:.0} | {theirs:.0} | {difference} | {verdict} |\n");
        }
        page
    }
}

/// Times by what was timed.
fn timings(raw: &Raw) -> BTreeMap<String, f64> {
    let named = raw.lines.iter().filter_map(|line| {
        let mut line = line.clone();
        let nothing = Timing { us: 0.0, least: 0.0, most: 0.0, repeats: 0 };
        let time = std::mem::replace(line.time_mut()?, nothing);
        Some((format!("{line:?}"), time.us))
    });
    named.collect()
}

/// Ceilings that both measured: the fastest copy that is bound by memory, and a large product, timed as every kernel is.
fn ceilings(raw: &Raw, lines: &[Independent]) -> Vec<Ceiling> {
    let gb_s = |bytes: u64, time: &Timing| 2.0 * bytes as f64 / time.us * 1e-3;
    let ours = raw.lines.iter().filter_map(|line| match line {
        Line::Copy { way, bytes, time, .. } if way == "d2d" && COPIES.contains(bytes) => {
            Some(gb_s(*bytes, time))
        }
        _ => None,
    });
    let theirs = lines.iter().filter_map(|line| match line {
        Independent::Copy { bytes, time } if COPIES.contains(bytes) => Some(gb_s(*bytes, time)),
        _ => None,
    });
    let copy = Ceiling {
        what: "copy on the device, GB/s read and written",
        ours: ours.fold(0.0, f64::max),
        theirs: theirs.fold(0.0, f64::max),
    };
    let tflops = |time: &Timing| 2.0 * 8192.0 * 8192.0 * 8192.0 / time.us * 1e-6;
    let ours = raw.lines.iter().find_map(|line| match line {
        Line::Gemm { format: Format::Bf16, m: 8192, n: 8192, k: 8192, time, .. } => Some(tflops(time)),
        _ => None,
    });
    let theirs = lines.iter().find_map(|line| match line {
        Independent::Gemm { format: Format::Bf16, m: 8192, n: 8192, k: 8192, time } => Some(tflops(time)),
        _ => None,
    });
    let product = ours.zip(theirs).map(|(ours, theirs)| Ceiling {
        what: "bf16 product of 8192 x 8192 x 8192, TFLOP/s",
        ours,
        theirs,
    });
    [Some(copy), product].into_iter().flatten().collect()
}
