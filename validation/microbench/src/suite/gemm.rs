//! Matrix products through cublasLt.

use sim_models::hardware::catalogue::{self, Model};
use sim_models::hardware::microbench::{Format, Line, Use};

use std::time::{Duration, Instant};

use super::{Section, Suite};
use crate::cuda::{Result, element_bytes};

/// The grid that a profile is made of: none of its shapes is a real model's.
const M: [u64; 30] = [
    1, 2, 4, 8, 16, 32, 64, 96, 128, 144, 192, 256, 272, 320, 384, 448, 512, 576, 640, 768, 896, 1024, 1280,
    1536, 2048, 3072, 4096, 6144, 8192, 16_384,
];
const N: [u64; 12] = [512, 1024, 2048, 3072, 4608, 7168, 9216, 12_288, 18_432, 26_624, 36_864, 131_072];
const K: [u64; 9] = [1024, 2048, 3072, 4608, 6144, 9216, 12_288, 18_432, 30_720];
const QUICK_M: [u64; 12] = [1, 8, 16, 32, 64, 128, 256, 320, 512, 1024, 4096, 8192];
const QUICK_N: [u64; 6] = [1024, 3072, 7168, 12_288, 36_864, 131_072];
const QUICK_K: [u64; 5] = [1024, 3072, 6144, 12_288, 30_720];
/// Token counts of real models' shapes.
const CHECK_M: [u64; 12] = [1, 8, 16, 48, 64, 128, 256, 300, 512, 1024, 2048, 4096];
/// Models whose shapes are checked.
pub(super) const MODELS: [&str; 6] =
    ["llama-3.1-8b", "qwen3-14b", "llama-3.1-70b", "qwen2.5-7b", "mistral-nemo-12b", "llama-3.2-1b"];

/// Shapes `(n, k)` of a model's matrices on one GPU.
pub(super) fn shapes(model: &Model) -> [(u64, u64); 5] {
    let out = model.heads * model.head_dim;
    [
        (model.qkv_width(), model.hidden),
        (model.hidden, out),
        (2 * model.ffn, model.hidden),
        (model.hidden, model.ffn),
        (model.vocab, model.hidden),
    ]
}

/// cublasLt's 8-bit products want whole groups of 16 tokens: that many are computed.
pub(super) fn padded(format: Format, m: u64) -> u64 {
    if element_bytes(format) == 1 { m.next_multiple_of(16) } else { m }
}

/// Models' shapes and the grid, in one format.
pub(super) fn gemm(suite: &mut Suite, section: &mut Section, format: Format) -> Result<()> {
    suite.fill_pool(format)?;
    let mut checked = Vec::new();
    let models = if suite.is_full() { &MODELS[..] } else { &MODELS[..2] };
    for model in models {
        let model = catalogue::model(model).map_err(|error| crate::cuda::Error::Other(error.to_string()))?;
        checked.extend(shapes(model));
    }
    checked.sort_unstable();
    checked.dedup();
    let full = suite.is_full();
    let (m, n, k) = if full { (&M[..], &N[..], &K[..]) } else { (&QUICK_M[..], &QUICK_N[..], &QUICK_K[..]) };
    // The grid must be whole: what is too large for the device is left out as a whole row.
    let most = suite.pool.bytes / 2 / element_bytes(format) / k[k.len() - 1];
    let n: Vec<u64> = n.iter().copied().filter(|n| *n <= most).collect();
    for n in n {
        for k in k {
            for m in m {
                point(suite, section, format, (*m, n, *k), Use::Grid)?;
            }
        }
    }
    for (n, k) in checked {
        for m in CHECK_M {
            point(suite, section, format, (m, n, k), Use::Check)?;
        }
    }
    Ok(())
}

/// Formats that few models are served in: models' shapes and the small grid.
pub(super) fn others(suite: &mut Suite, section: &mut Section) -> Result<()> {
    for format in [Format::Fp16, Format::Int8, Format::Tf32, Format::Fp32] {
        suite.fill_pool(format)?;
        for n in &QUICK_N[..5] {
            for k in &QUICK_K[..4] {
                for m in QUICK_M {
                    point(suite, section, format, (m, *n, *k), Use::Grid)?;
                }
            }
        }
        for (n, k) in shapes(catalogue::model(MODELS[0]).expect("a model of the catalogue")) {
            for m in [1, 64, 300, 1024] {
                point(suite, section, format, (m, n, k), Use::Check)?;
            }
        }
    }
    Ok(())
}

fn point(
    suite: &mut Suite,
    section: &mut Section,
    format: Format,
    (m, n, k): (u64, u64, u64),
    purpose: Use,
) -> Result<()> {
    if !suite.goes_on(section) {
        return Ok(());
    }
    let rows = padded(format, m);
    let bytes = element_bytes(format);
    let tokens = rows * k * bytes;
    if n * k * bytes + tokens > suite.pool.bytes {
        section.left_out += 1;
        return Ok(());
    }
    let began = Instant::now();
    let measured = suite.lt.product(format, rows, n, k, false).and_then(|product| {
        // Tokens come from the end of the pool; results go into what else is the KV cache.
        let from = suite.pool.at + (suite.pool.bytes - tokens) / 256 * 256;
        if rows * n * 4 > suite.cache.bytes {
            return Err(crate::cuda::Error::Other("no room for the results".into()));
        }
        suite.time(n * k * bytes, |turn| {
            let weights = suite.window(turn, n * k * bytes);
            suite.lt.run(&suite.gpu, &product, weights, from, suite.cache.at)
        })
    });
    // A busy device grows hot, and what is timed later is slower: it cools before the next.
    std::thread::sleep(began.elapsed().mul_f64(REST).min(COOL));
    match measured {
        Ok(time) => suite.out.write(&Line::Gemm { format, m, n, k, purpose, time }),
        Err(error) => {
            section.failed(&format!("{format:?} m = {m}, n = {n}, k = {k}"), &error);
            Ok(())
        }
    }
}

/// Seconds of rest for each that a product was timed, up to what lets the device cool.
const REST: f64 = 1.5;
const COOL: Duration = Duration::from_millis(500);
/// The side of the product that stands for the ceiling.
const CEILING: u64 = 8192;

/// A large product, once as all are timed, and then for some seconds: what the power limit leaves.
pub(super) fn sustained(suite: &mut Suite, section: &mut Section) -> Result<()> {
    suite.fill_pool(Format::Bf16)?;
    let side = CEILING;
    std::thread::sleep(COOL);
    point(suite, section, Format::Bf16, (side, side, side), Use::Check)?;
    let product = suite.lt.product(Format::Bf16, side, side, side, false)?;
    let bytes = 2 * side * side;
    let burst = |first: u64| {
        suite.gpu.elapsed_ms(|| {
            (first..first + 10).try_for_each(|turn| {
                let (weights, tokens) = (suite.window(2 * turn, bytes), suite.window(2 * turn + 1, bytes));
                suite.lt.run(&suite.gpu, &product, weights, tokens, suite.cache.at)
            })
        })
    };
    burst(0)?;
    std::thread::sleep(COOL);
    let start = suite.gone();
    let mut rates = Vec::new();
    while suite.gone() < section.until - 0.5 {
        let ms = burst(10 * rates.len() as u64)?;
        let tflops = 10.0 * 2.0 * (side * side * side) as f64 / ms / 1e9;
        rates.push((suite.gone() - start, tflops));
    }
    let Some((seconds, _)) = rates.last().copied() else { return Ok(()) };
    let mean = |chosen: Vec<f64>| chosen.iter().sum::<f64>() / chosen.len().max(1) as f64;
    let first = rates.iter().filter(|(at, _)| *at < 0.1).map(|(_, rate)| *rate).collect();
    let last = rates.iter().filter(|(at, _)| *at > seconds - 1.0).map(|(_, rate)| *rate).collect();
    section.done += 1;
    suite.out.write(&Line::Sustained { seconds, first_tflops: mean(first), last_tflops: mean(last) })
}
