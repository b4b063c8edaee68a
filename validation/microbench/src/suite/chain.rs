//! What kernels take in a row beside what they take alone: those of a layer, without attention.

use sim_models::hardware::catalogue;
use sim_models::hardware::microbench::{Format, Line};

use super::attention::shuffled;
use super::elementwise::{TOKEN_THREADS, silu_grid};
use super::gemm::{MODELS, shapes};
use super::{Section, Suite};
use crate::cuda::{Arg, Error, Product, Result};

/// Kernels of the chain.
const KERNELS: u64 = 8;

pub(super) fn chains(suite: &mut Suite, section: &mut Section) -> Result<()> {
    suite.fill_pool(Format::Bf16)?;
    for tokens in [1, 4, 16, 64, 256, 1024] {
        if suite.goes_on(section) {
            chain(suite, tokens)?;
        }
    }
    Ok(())
}

fn chain(suite: &mut Suite, tokens: u64) -> Result<()> {
    let model = catalogue::model(MODELS[0]).map_err(|error| Error::Other(error.to_string()))?;
    let (gpu, hidden, ffn) = (&suite.gpu, model.hidden, model.ffn);
    let products: Vec<((u64, u64), Product)> = shapes(model)[..4]
        .iter()
        .map(|(n, k)| Ok(((*n, *k), suite.lt.product(Format::Bf16, tokens, *n, *k, false)?)))
        .collect::<Result<_>>()?;
    let room = |width: u64| gpu.alloc(tokens * width * 2);
    let (x, residual, normed) = (room(hidden)?, room(hidden)?, room(hidden)?);
    let (qkv, q, inner, active) = (room(model.qkv_width())?, room(hidden)?, room(2 * ffn)?, room(ffn)?);
    for buffer in [&x, &residual, &normed, &qkv, &q, &inner, &active] {
        gpu.copy(buffer.at, suite.pool.at, buffer.bytes)?;
    }
    let positions = gpu.buffer_of(&(0..tokens as u32).collect::<Vec<_>>())?;
    let slots = gpu.buffer_of(&shuffled(tokens, 3))?;
    let norm = || {
        let places = [x.at, residual.at, suite.pool.at, normed.at].map(Arg::Wide);
        let args = [&places[..], &[Arg::Narrow(hidden as u32), Arg::Narrow(0)]].concat();
        gpu.launch(suite.kernels.add_rms_norm, [tokens as u32, 1, 1], TOKEN_THREADS, &args)
    };
    let rope = || {
        let half = suite.cache.bytes / 512 * 256;
        let places =
            [qkv.at, q.at, suite.cache.at, suite.cache.at + half, positions.at, slots.at].map(Arg::Wide);
        let sizes = [model.heads as u32, model.kv_heads as u32, model.head_dim as u32, 0].map(Arg::Narrow);
        let args = [&places[..], &sizes[..]].concat();
        gpu.launch(suite.kernels.rope_cache, [tokens as u32, 1, 1], TOKEN_THREADS, &args)
    };
    let silu = || {
        let args = [Arg::Wide(inner.at), Arg::Wide(active.at), Arg::Narrow(ffn as u32), Arg::Narrow(0)];
        gpu.launch(suite.kernels.silu_mul, silu_grid(ffn, tokens), 256, &args)
    };
    let multiply = |which: usize, turn: u64| {
        let ((n, k), product) = &products[which];
        let weights = suite.window(4 * turn + which as u64, 2 * n * k);
        let (from, to) = [(normed.at, qkv.at), (q.at, x.at), (normed.at, inner.at), (active.at, x.at)][which];
        suite.lt.run(gpu, product, weights, from, to)
    };
    let step = |kernel: u64, turn: u64| match kernel {
        0 | 4 => norm(),
        1 => multiply(0, turn),
        2 => rope(),
        3 => multiply(1, turn),
        5 => multiply(2, turn),
        6 => silu(),
        _ => multiply(3, turn),
    };
    let mut alone_us = 0.0;
    for kernel in 0..KERNELS {
        let bytes = match kernel {
            1 | 3 | 5 | 7 => products.iter().map(|((n, k), _)| 2 * n * k).min().unwrap_or(1),
            _ => u64::MAX,
        };
        alone_us += suite.time(bytes, |turn| step(kernel, turn))?.us;
    }
    let bytes = products.iter().map(|((n, k), _)| 2 * n * k).sum();
    let time = suite.time(bytes, |turn| (0..KERNELS).try_for_each(|kernel| step(kernel, turn)))?;
    suite.out.write(&Line::Chain { tokens, kernels: KERNELS, alone_us, time })
}
