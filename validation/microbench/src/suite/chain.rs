//! What kernels take in a row beside what they take alone: those of a layer, without attention.

use sim_models::hardware::catalogue;
use sim_models::hardware::microbench::{Format, Line};

use super::attention::shuffled;
use super::gemm::{MODELS, padded, shapes};
use super::{Section, Suite};
use crate::cuda::{Error, Product, Result, element_bytes};

pub(super) fn chains(suite: &mut Suite, section: &mut Section) -> Result<()> {
    for format in [Format::Bf16, Format::Fp8] {
        suite.fill_pool(format)?;
        for tokens in [1, 4, 16, 64, 256, 1024] {
            if suite.goes_on(section) {
                chain(suite, format, tokens)?;
            }
        }
    }
    Ok(())
}

/// A kernel of the chain.
#[derive(Clone, Copy)]
enum Step {
    Norm,
    /// Of attention's result to e4m3.
    Narrow,
    Rope,
    Silu,
    /// One of the four products.
    Product(usize),
}

fn chain(suite: &mut Suite, format: Format, tokens: u64) -> Result<()> {
    let model = catalogue::model(MODELS[0]).map_err(|error| Error::Other(error.to_string()))?;
    let (gpu, hidden, ffn) = (&suite.gpu, model.hidden, model.ffn);
    let (is_fp8, rows) = (format == Format::Fp8, padded(format, tokens));
    let products: Vec<((u64, u64), Product)> = shapes(model)[..4]
        .iter()
        .map(|(n, k)| Ok(((*n, *k), suite.lt.product(format, rows, *n, *k, false)?)))
        .collect::<Result<_>>()?;
    let room = |width: u64| gpu.alloc(rows * width * 2);
    let (x, residual, normed, narrow) = (room(hidden)?, room(hidden)?, room(hidden)?, room(hidden)?);
    let (qkv, q, inner, active) = (room(model.qkv_width())?, room(hidden)?, room(2 * ffn)?, room(ffn)?);
    for buffer in [&x, &residual, &normed, &narrow, &qkv, &q, &inner, &active] {
        gpu.copy(buffer.at, suite.pool.at, buffer.bytes)?;
    }
    let positions = gpu.buffer_of(&(0..tokens as u32).collect::<Vec<_>>())?;
    let slots = gpu.buffer_of(&shuffled(tokens, 3))?;
    let weights_bytes = |(n, k): (u64, u64)| n * k * element_bytes(format);
    let kernels = &suite.kernels;
    let step = |step: Step, turn: u64| match step {
        Step::Norm => {
            let places = [x.at, residual.at, suite.pool.at, normed.at];
            kernels.norm_on(gpu, places, tokens, hidden, is_fp8)
        }
        Step::Rope => {
            let values = suite.cache.at + suite.cache.bytes / 512 * 256;
            let places = [qkv.at, q.at, suite.cache.at, values, positions.at, slots.at];
            kernels.rope_on(gpu, places, tokens, [model.heads, model.kv_heads, model.head_dim], false)
        }
        Step::Narrow => kernels.narrow_on(gpu, [q.at, narrow.at], tokens * hidden / 2),
        Step::Silu => kernels.silu_on(gpu, [inner.at, active.at], tokens, ffn, is_fp8),
        Step::Product(which) => {
            let (shape, product) = &products[which];
            let weights = suite.window(4 * turn + which as u64, weights_bytes(*shape));
            let mixed = if is_fp8 { narrow.at } else { q.at };
            let (from, to) =
                [(normed.at, qkv.at), (mixed, x.at), (normed.at, inner.at), (active.at, x.at)][which];
            suite.lt.run(gpu, product, weights, from, to)
        }
    };
    let mut steps = vec![Step::Norm, Step::Product(0), Step::Rope];
    steps.extend(is_fp8.then_some(Step::Narrow));
    steps.extend([Step::Product(1), Step::Norm, Step::Product(2), Step::Silu, Step::Product(3)]);
    let mut alone_us = 0.0;
    for kernel in &steps {
        let bytes = match kernel {
            Step::Product(which) => weights_bytes(products[*which].0),
            _ => u64::MAX,
        };
        alone_us += suite.time(bytes, |turn| step(*kernel, turn))?.us;
    }
    let bytes = products.iter().map(|(shape, _)| weights_bytes(*shape)).sum();
    let time = suite.time(bytes, |turn| steps.iter().try_for_each(|kernel| step(*kernel, turn)))?;
    let kernels = steps.len() as u64;
    suite.out.write(&Line::Chain { format, tokens, kernels, alone_us, time })
}
