//! Norms, rotations, activations, sampling, lookups.

use sim_models::hardware::microbench::{Format, Line};

use super::attention::shuffled;
use super::{Kernels, Section, Suite};
use crate::cuda::{Arg, Gpu, Result};

const TOKENS: [u64; 13] = [1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];
/// Width of the residual stream, query heads, key-value heads (of 128), width of the feed-forward part.
const SHAPES: [(u64, u64, u64, u64); 4] =
    [(4096, 32, 8, 14_336), (8192, 64, 8, 28_672), (5120, 40, 8, 17_408), (2048, 16, 8, 8192)];
/// Threads of a block that takes a token, and of other blocks.
const TOKEN_THREADS: u32 = 512;
const THREADS: u32 = 256;

/// Puts kernels on the stream; places are addresses.
impl Kernels {
    /// `residual += x`, and that normalized and times `weight` to `out`.
    pub(super) fn norm_on(
        &self,
        gpu: &Gpu,
        [x, residual, weight, out]: [u64; 4],
        tokens: u64,
        width: u64,
        to_e4m3: bool,
    ) -> Result<()> {
        let args = [
            Arg::Wide(x),
            Arg::Wide(residual),
            Arg::Wide(weight),
            Arg::Wide(out),
            Arg::Narrow(width as u32),
            Arg::Narrow(u32::from(to_e4m3)),
        ];
        gpu.launch(self.add_rms_norm, [tokens as u32, 1, 1], TOKEN_THREADS, &args)
    }

    /// Rotates, and writes keys and values into the cache.
    pub(super) fn rope_on(
        &self,
        gpu: &Gpu,
        places: [u64; 6],
        tokens: u64,
        [heads, kv_heads, head_dim]: [u64; 3],
        to_e4m3: bool,
    ) -> Result<()> {
        let [qkv, q, keys, values, positions, slots] = places;
        let args = [
            Arg::Wide(qkv),
            Arg::Wide(q),
            Arg::Wide(keys),
            Arg::Wide(values),
            Arg::Wide(positions),
            Arg::Wide(slots),
            Arg::Narrow(heads as u32),
            Arg::Narrow(kv_heads as u32),
            Arg::Narrow(head_dim as u32),
            Arg::Narrow(u32::from(to_e4m3)),
        ];
        gpu.launch(self.rope_cache, [tokens as u32, 1, 1], TOKEN_THREADS, &args)
    }

    /// The gated activation: a thread for each pair of values.
    pub(super) fn silu_on(
        &self,
        gpu: &Gpu,
        [from, out]: [u64; 2],
        tokens: u64,
        ffn: u64,
        to_e4m3: bool,
    ) -> Result<()> {
        let args =
            [Arg::Wide(from), Arg::Wide(out), Arg::Narrow(ffn as u32), Arg::Narrow(u32::from(to_e4m3))];
        let grid = [(ffn / 2).div_ceil(u64::from(THREADS)) as u32, tokens as u32, 1];
        gpu.launch(self.silu_mul, grid, THREADS, &args)
    }

    /// bf16 to e4m3: a thread for each pair of values, but at most so many blocks.
    pub(super) fn narrow_on(&self, gpu: &Gpu, [from, out]: [u64; 2], pairs: u64) -> Result<()> {
        let args = [Arg::Wide(from), Arg::Wide(out), Arg::Wide(pairs)];
        let blocks = pairs.div_ceil(u64::from(THREADS)) as u32;
        gpu.launch(self.to_e4m3, [blocks.min(4096), 1, 1], THREADS, &args)
    }
}

/// Kernels of a layer read what the kernel before left in the cache, where it fits: their input is not rotated.
pub(super) fn elementwise(suite: &mut Suite, section: &mut Section) -> Result<()> {
    suite.fill_pool(Format::Bf16)?;
    let shapes = if suite.is_full() { &SHAPES[..] } else { &SHAPES[..1] };
    for (hidden, heads, kv_heads, ffn) in shapes.iter().copied() {
        for tokens in TOKENS {
            if suite.goes_on(section) {
                rope(suite, tokens, heads, kv_heads)?;
                for to_e4m3 in [false, true] {
                    norm(suite, tokens, hidden, to_e4m3)?;
                    silu(suite, tokens, ffn, to_e4m3)?;
                }
                narrow(suite, tokens, heads * 128)?;
            }
        }
    }
    for vocabulary in [32_000, 128_256, 151_936] {
        for sequences in [1, 4, 16, 64, 128, 256] {
            if suite.goes_on(section) {
                sampling(suite, sequences, vocabulary)?;
            }
        }
    }
    suite.fill_pool(Format::Bf16)?;
    for row_bytes in [128, 512, 8192] {
        for (bags, pooling) in [(1024, 1), (16_384, 1), (65_536, 1), (4096, 32)] {
            if suite.goes_on(section) {
                lookup(suite, row_bytes, bags, pooling)?;
            }
        }
    }
    Ok(())
}

fn norm(suite: &mut Suite, tokens: u64, hidden: u64, to_e4m3: bool) -> Result<()> {
    let (row, gpu) = (tokens * hidden * 2, &suite.gpu);
    let (residual, out) = (gpu.alloc(row)?, gpu.alloc(row)?);
    gpu.copy(residual.at, suite.pool.at, row)?;
    let places = [suite.pool.at, residual.at, suite.pool.at, out.at];
    let time = suite.time(u64::MAX, |_| suite.kernels.norm_on(gpu, places, tokens, hidden, to_e4m3))?;
    // Reads x and the residual, writes the residual and the result.
    let (what, result) = if to_e4m3 { ("add_rms_norm_e4m3", row / 2) } else { ("add_rms_norm", row) };
    let line = Line::Elementwise { what: what.into(), tokens, width: hidden, bytes: 3 * row + result, time };
    suite.out.write(&line)
}

fn rope(suite: &mut Suite, tokens: u64, heads: u64, kv_heads: u64) -> Result<()> {
    let (dim, gpu) = (128, &suite.gpu);
    let width = (heads + 2 * kv_heads) * dim;
    let row = tokens * width * 2;
    let positions: Vec<u32> = (0..tokens as u32).collect();
    let slots = shuffled(suite.cache.bytes / 2 / (kv_heads * dim * 2), 3);
    let (positions, slots) = (gpu.buffer_of(&positions)?, gpu.buffer_of(&slots[..tokens as usize])?);
    let q = gpu.alloc(tokens * heads * dim * 2)?;
    let values = suite.cache.at + suite.cache.bytes / 512 * 256;
    let places = [suite.pool.at, q.at, suite.cache.at, values, positions.at, slots.at];
    let shape = [heads, kv_heads, dim];
    let time = suite.time(u64::MAX, |_| suite.kernels.rope_on(gpu, places, tokens, shape, false))?;
    suite.out.write(&Line::Elementwise { what: "rope_cache".into(), tokens, width, bytes: 2 * row, time })
}

fn silu(suite: &mut Suite, tokens: u64, ffn: u64, to_e4m3: bool) -> Result<()> {
    let (row, gpu) = (tokens * ffn * 2, &suite.gpu);
    let out = gpu.alloc(row)?;
    let places = [suite.pool.at, out.at];
    let time = suite.time(u64::MAX, |_| suite.kernels.silu_on(gpu, places, tokens, ffn, to_e4m3))?;
    let (what, result) = if to_e4m3 { ("silu_mul_e4m3", row / 2) } else { ("silu_mul", row) };
    let line = Line::Elementwise { what: what.into(), tokens, width: ffn, bytes: 2 * row + result, time };
    suite.out.write(&line)
}

/// bf16 to e4m3, as before the product behind attention.
fn narrow(suite: &mut Suite, tokens: u64, width: u64) -> Result<()> {
    let (pairs, gpu) = (tokens * width / 2, &suite.gpu);
    let out = gpu.alloc(2 * pairs)?;
    let places = [suite.pool.at, out.at];
    let time = suite.time(u64::MAX, |_| suite.kernels.narrow_on(gpu, places, pairs))?;
    suite.out.write(&Line::Elementwise { what: "to_e4m3".into(), tokens, width, bytes: 6 * pairs, time })
}

fn sampling(suite: &mut Suite, sequences: u64, vocabulary: u64) -> Result<()> {
    suite.fill_pool(Format::Fp32)?;
    let (row, gpu) = (sequences * vocabulary * 4, &suite.gpu);
    let (chosen, best) = (gpu.alloc(sequences * 4)?, gpu.alloc(sequences * 4)?);
    let time = suite.time(row, |turn| {
        let args = [
            Arg::Wide(suite.window(turn, row)),
            Arg::Wide(chosen.at),
            Arg::Wide(best.at),
            Arg::Narrow(vocabulary as u32),
            Arg::Narrow(turn as u32),
        ];
        gpu.launch(suite.kernels.sample, [sequences as u32, 1, 1], 1024, &args)
    })?;
    suite.out.write(&Line::Sampling { sequences, vocabulary, time })
}

fn lookup(suite: &mut Suite, row_bytes: u64, bags: u64, pooling: u64) -> Result<()> {
    let gpu = &suite.gpu;
    let rows = (suite.pool.bytes / row_bytes).min(u64::from(u32::MAX));
    let count = bags * pooling;
    // Several lists of random rows, so that none is in the cache.
    let lists = (3 * gpu.l2_bytes()).div_ceil(count * row_bytes).clamp(1, 64);
    let mut state = 9_u64;
    let ids: Vec<u32> = (0..lists * count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 32) % rows) as u32
        })
        .collect();
    let (ids, out) = (gpu.buffer_of(&ids)?, gpu.alloc(bags * row_bytes)?);
    let threads = (row_bytes / 4).clamp(32, 256) as u32;
    let time = suite.time(count * row_bytes, |turn| {
        let args = [
            Arg::Wide(suite.pool.at),
            Arg::Wide(ids.at + turn % lists * count * 4),
            Arg::Wide(out.at),
            Arg::Narrow((row_bytes / 2) as u32),
            Arg::Narrow(pooling as u32),
        ];
        gpu.launch(suite.kernels.embedding_bag, [bags as u32, 1, 1], threads, &args)
    })?;
    suite.out.write(&Line::Lookup { table_bytes: rows * row_bytes, row_bytes, bags, pooling, time })
}
