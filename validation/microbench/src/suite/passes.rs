//! Whole forward passes of Llama-shaped models with random weights, each captured in a graph.

mod forward;

use sim_models::hardware::catalogue;
use sim_models::hardware::microbench::{Format, Line, PassShape, PassStream};

use super::{Section, Suite, fill, spread};
use crate::cuda::{Error, Result};
pub(super) use forward::Forward;

/// Models and formats, the most valuable first.
const RUNS: [(&str, Format, Format); 6] = [
    ("llama-3.1-8b", Format::Bf16, Format::Bf16),
    ("qwen3-14b", Format::Bf16, Format::Bf16),
    ("llama-3.1-8b", Format::Fp8, Format::Fp8),
    ("llama-3.2-1b", Format::Bf16, Format::Bf16),
    ("llama-3.1-70b", Format::Fp8, Format::Bf16),
    ("qwen3-14b", Format::Fp8, Format::Bf16),
];
/// Passes that only warm up, and the least and the most that are timed.
const REPEATS: (u32, u32) = (3, 9);

/// Streams of library scenarios to replay; made again by `cargo run -p validation --example streams_jsonl`.
const STREAMS: &[u8] = include_bytes!("../../streams/library.jsonl");

fn shapes(full: bool) -> Vec<PassShape> {
    let decode = |batch: usize, context: u32| PassShape { decode: vec![context; batch], prefill: vec![] };
    let prefill = |chunks: &[(u32, u32)]| PassShape { decode: vec![], prefill: chunks.to_vec() };
    let mixed = |batch: usize, context, chunks: &[(u32, u32)]| PassShape {
        decode: vec![context; batch],
        prefill: chunks.to_vec(),
    };
    let mut shapes = Vec::new();
    let (batches, contexts): (&[usize], &[u32]) = if full {
        (&[1, 4, 8, 16, 32, 64, 128, 256], &[512, 2048, 8192])
    } else {
        (&[1, 16, 128], &[512, 4096])
    };
    for batch in batches {
        shapes.extend(contexts.iter().map(|context| decode(*batch, *context)));
    }
    shapes.extend([prefill(&[(0, 128)]), prefill(&[(0, 512)]), prefill(&[(0, 2048)])]);
    shapes.extend([mixed(32, 1024, &[(0, 480)]), mixed(64, 2048, &[(1024, 448)])]);
    if full {
        shapes.extend([prefill(&[(0, 8192)]), prefill(&[(0, 1024); 4]), prefill(&[(4096, 2048)])]);
        shapes.extend([mixed(128, 1024, &[(0, 384), (0, 512)]), mixed(16, 4096, &[(0, 2032)])]);
        // Lengths that differ.
        let ragged = (0..48).map(|i| 100 + 150 * i).collect();
        shapes.push(PassShape { decode: ragged, prefill: vec![] });
    }
    shapes
}

pub(super) fn passes(suite: &mut Suite, section: &mut Section) -> Result<()> {
    let runs = if suite.is_full() { &RUNS[..] } else { &RUNS[..3] };
    for (model, format, kv) in runs.iter().copied() {
        suite.fill_pool(format)?;
        fill(&suite.gpu, &suite.kernels, &suite.cache, kv)?;
        let found = catalogue::model(model).map_err(|error| Error::Other(error.to_string()))?;
        for shape in shapes(suite.is_full()) {
            if !suite.goes_on(section) {
                continue;
            }
            let measured = Forward::new(suite, found, format, kv, &shape).and_then(|forward| {
                let graph = suite.gpu.capture(|| forward.record(suite))?;
                let run = || suite.gpu.elapsed_ms(|| suite.gpu.replay(&graph));
                run()?;
                let once = run()?;
                let repeats = ((600.0 / once) as u32).clamp(REPEATS.0, REPEATS.1);
                (0..repeats).map(|_| run().map(|ms| ms * 1e3)).collect::<Result<Vec<f64>>>()
            });
            match measured {
                Ok(us) => {
                    let (layers, time) = (found.layers, spread(us));
                    suite.out.write(&Line::Pass { model: model.into(), layers, format, kv, shape, time })?;
                }
                Err(error) => section.failed(&format!("a pass of {model} in {format:?}"), &error),
            }
        }
    }
    Ok(())
}

/// Passes of simulated streams, one after the other.
pub(super) fn streams(suite: &mut Suite, section: &mut Section) -> Result<()> {
    let streams = STREAMS.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let streams: Vec<PassStream> = streams
        .map(serde_json::from_slice)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| Error::Other(format!("the built-in streams: {error}")))?;
    let each = (section.until - suite.gone()) / streams.len().max(1) as f64;
    for stream in streams {
        let until = (suite.gone() + each).min(section.until);
        let PassStream { scenario, component, model, format, kv, passes } = stream;
        let found = catalogue::model(&model).map_err(|error| Error::Other(error.to_string()))?;
        suite.fill_pool(format)?;
        fill(&suite.gpu, &suite.kernels, &suite.cache, kv)?;
        let (mut us, mut shapes) = (Vec::new(), Vec::new());
        for shape in &passes {
            if suite.gone() >= until {
                break;
            }
            let forward = Forward::new(suite, found, format, kv, shape)?;
            let graph = suite.gpu.capture(|| forward.record(suite))?;
            suite.gpu.replay(&graph)?;
            us.push(suite.gpu.elapsed_ms(|| suite.gpu.replay(&graph))? * 1e3);
            shapes.push(shape.clone());
        }
        section.done += us.len() as u64;
        section.left_out += (passes.len() - us.len()) as u64;
        if !us.is_empty() {
            suite.out.write(&Line::Stream {
                scenario,
                component,
                model,
                format,
                kv,
                first: 0,
                us,
                shapes,
            })?;
        }
    }
    Ok(())
}
