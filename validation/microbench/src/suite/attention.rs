//! Attention of one layer: decode (paged and contiguous) and prefill.

use sim_models::hardware::microbench::{Format, Line};

use super::{Attention, Section, Suite, fill};
use crate::cuda::{Arg, Buffer, Error, Gpu, Result};

/// Tokens of a page.
pub(super) const PAGE: u64 = 16;
/// Query heads, key-value heads, width: Llama 3 8B, Llama 3 70B, Qwen3 14B, Qwen2.5 7B, Llama 2 7B, Llama 3.2 1B.
const SHAPES: [(u64, u64, u64); 6] =
    [(32, 8, 128), (64, 8, 128), (40, 8, 128), (28, 4, 128), (32, 32, 128), (32, 8, 64)];
const BATCHES: [u64; 6] = [1, 4, 16, 64, 128, 256];
const CONTEXTS: [u64; 9] = [32, 256, 512, 1024, 2048, 4096, 8192, 32_768, 131_072];

/// A random order of the pages, without two places for one.
pub(super) fn shuffled(pages: u64, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..pages as u32).collect();
    let mut state = seed;
    for last in (1..order.len()).rev() {
        // Knuth's MMIX generator: any order will do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, ((state >> 33) % (last as u64 + 1)) as usize);
    }
    order
}

/// Threads of a block of decode attention and their warps, each with its part of a context, and the fewest pages of one.
const THREADS: u32 = 128;
const WARPS: u64 = 4;
const LEAST_PAGES: u64 = 4;

/// Results of the parts of contexts, and how contexts are parted.
pub(super) struct Scratch {
    partial: Buffer,
    sums: Buffer,
    parts: u64,
    each: u64,
}

impl Scratch {
    /// For one batch, whose contexts are parted as [`pages_of_a_part`] says.
    pub(super) fn new(
        gpu: &Gpu,
        kernels: &Attention,
        contexts: &[u32],
        heads: u64,
        kv_heads: u64,
        dim: u64,
    ) -> Result<Self> {
        let pages: Vec<u64> = contexts.iter().map(|context| u64::from(*context).div_ceil(PAGE)).collect();
        let most = pages.iter().copied().max().unwrap_or(1);
        let each = pages_of_a_part(&pages, kv_heads, gpu.resident(kernels.decode, THREADS)?);
        let parts = most.div_ceil(WARPS * each).max(1) * WARPS;
        let rows = contexts.len() as u64 * heads * parts;
        Ok(Self { partial: gpu.alloc(rows * dim * 4)?, sums: gpu.alloc(rows * 8)?, parts, each })
    }
}

/// Pages of a warp's part, four at least, with which the last block is done soonest: blocks run in waves of `resident`,
/// and a last wave that is nearly empty takes as long as a full one.
fn pages_of_a_part(pages: &[u64], kv_heads: u64, resident: u64) -> u64 {
    let most = pages.iter().copied().max().unwrap_or(1).max(1);
    let mut best = (u64::MAX, most);
    for blocks in 1..=most.div_ceil(WARPS * LEAST_PAGES) {
        let each = most.div_ceil(WARPS * blocks).max(LEAST_PAGES);
        let all: u64 = pages.iter().map(|pages| pages.div_ceil(WARPS * each).max(1)).sum();
        let waves = (all * kv_heads).div_ceil(resident);
        best = best.min((waves * each, each));
        if waves > 16 {
            break;
        }
    }
    best.1
}

/// Where a batch's queries, caches and results lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub q: u64,
    pub keys: u64,
    pub values: u64,
    /// Null for contiguous caches.
    pub table: u64,
    /// Pages from one sequence's row of the table to the next.
    pub stride: u64,
    pub out: u64,
}

/// Puts decode attention on the stream.
#[allow(clippy::too_many_arguments)]
pub(super) fn decode_on(
    gpu: &Gpu,
    kernels: &Attention,
    scratch: &Scratch,
    at: Places,
    contexts: u64,
    batch: u64,
    heads: u64,
    kv_heads: u64,
    dim: u64,
) -> Result<()> {
    let Scratch { partial, sums, parts, each } = scratch;
    let (partial, sums, parts, each) = (partial.at, sums.at, *parts as u32, *each as u32);
    let grid = [parts / WARPS as u32, kv_heads as u32, batch as u32];
    let args = [
        Arg::Wide(at.q),
        Arg::Wide(at.keys),
        Arg::Wide(at.values),
        Arg::Wide(at.table),
        Arg::Wide(contexts),
        Arg::Narrow(at.stride as u32),
        Arg::Narrow(heads as u32),
        Arg::Narrow(kv_heads as u32),
        Arg::Narrow(parts),
        Arg::Narrow(each),
        Arg::Wide(partial),
        Arg::Wide(sums),
    ];
    gpu.launch(kernels.decode, grid, THREADS, &args)?;
    let args = [
        Arg::Wide(partial),
        Arg::Wide(sums),
        Arg::Wide(contexts),
        Arg::Wide(at.out),
        Arg::Narrow(heads as u32),
        Arg::Narrow(parts),
        Arg::Narrow(each),
    ];
    gpu.launch(kernels.combine, [heads as u32, batch as u32, 1], 4 * dim as u32, &args)
}

/// Puts prefill attention on the stream; `longest` is the longest chunk.
#[allow(clippy::too_many_arguments)]
pub(super) fn prefill_on(
    gpu: &Gpu,
    kernels: &Attention,
    at: Places,
    starts: u64,
    befores: u64,
    (batch, longest): (u64, u64),
    heads: u64,
    kv_heads: u64,
) -> Result<()> {
    let args = [
        Arg::Wide(at.q),
        Arg::Wide(at.keys),
        Arg::Wide(at.values),
        Arg::Wide(at.table),
        Arg::Wide(starts),
        Arg::Wide(befores),
        Arg::Narrow(at.stride as u32),
        Arg::Narrow(heads as u32),
        Arg::Narrow(kv_heads as u32),
        Arg::Wide(at.out),
    ];
    gpu.launch(kernels.prefill, [longest.div_ceil(64) as u32, heads as u32, batch as u32], 128, &args)
}

/// Decode attention over batches and contexts.
pub(super) fn decode(suite: &mut Suite, section: &mut Section) -> Result<()> {
    let shapes = if suite.is_full() { &SHAPES[..] } else { &SHAPES[..2] };
    suite.fill_pool(Format::Bf16)?;
    for kv in [Format::Bf16, Format::Fp8] {
        fill(&suite.gpu, &suite.kernels, &suite.cache, kv)?;
        for shape in shapes {
            for batch in BATCHES {
                for context in CONTEXTS {
                    decode_point(suite, section, kv, *shape, batch, context, true)?;
                }
            }
        }
        for batch in [1, 16, 64, 256] {
            for context in [512, 2048, 8192] {
                decode_point(suite, section, kv, SHAPES[0], batch, context, false)?;
            }
        }
    }
    Ok(())
}

fn decode_point(
    suite: &mut Suite,
    section: &mut Section,
    kv: Format,
    (heads, kv_heads, head_dim): (u64, u64, u64),
    batch: u64,
    context: u64,
    paged: bool,
) -> Result<()> {
    let element = if kv == Format::Fp8 { 1 } else { 2 };
    let page_bytes = PAGE * kv_heads * head_dim * element;
    let pages = context.div_ceil(PAGE);
    let half = suite.cache.bytes / 2;
    if batch * pages * page_bytes > half || (kv == Format::Fp8 && head_dim == 64) || !suite.goes_on(section) {
        return Ok(());
    }
    let gpu = &suite.gpu;
    let kernels = suite.attention(head_dim, kv == Format::Fp8)?;
    let all = half / page_bytes;
    let order = gpu.buffer_of(&shuffled(all, 1))?;
    let contexts = vec![context as u32; batch as usize];
    let scratch = Scratch::new(gpu, &kernels, &contexts, heads, kv_heads, head_dim)?;
    let contexts = gpu.buffer_of(&contexts)?;
    let row = heads * head_dim * 2 * batch;
    let (q, out) = (suite.pool.at, gpu.alloc(row)?);
    // Each turn takes the next pages, until there are none.
    let turns = (all / (batch * pages)).max(1);
    let time = suite.time(2 * batch * pages * page_bytes, |turn| {
        let first = turn % turns * batch * pages;
        let shift = if paged { 0 } else { first * page_bytes };
        let at = Places {
            q,
            keys: suite.cache.at + shift,
            values: suite.cache.at + half / 256 * 256 + shift,
            table: if paged { order.at + 4 * first } else { 0 },
            stride: pages,
            out: out.at,
        };
        decode_on(gpu, &kernels, &scratch, at, contexts.at, batch, heads, kv_heads, head_dim)
    })?;
    suite.out.write(&Line::DecodeAttention { paged, kv, batch, context, heads, kv_heads, head_dim, time })
}

/// Prefill attention over lengths and chunks.
pub(super) fn prefill(suite: &mut Suite, section: &mut Section) -> Result<()> {
    let shapes = if suite.is_full() { &SHAPES[..] } else { &SHAPES[..2] };
    suite.fill_pool(Format::Bf16)?;
    for kv in [Format::Bf16, Format::Fp8] {
        fill(&suite.gpu, &suite.kernels, &suite.cache, kv)?;
        for shape in shapes {
            for tokens in [16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384] {
                prefill_point(suite, section, kv, *shape, (1, tokens, 0))?;
            }
            let more =
                [(4, 512, 0), (4, 2048, 0), (16, 256, 0), (1, 512, 2048), (1, 2048, 8192), (4, 256, 4096)];
            for point in more {
                prefill_point(suite, section, kv, *shape, point)?;
            }
        }
    }
    Ok(())
}

fn prefill_point(
    suite: &mut Suite,
    section: &mut Section,
    kv: Format,
    (heads, kv_heads, head_dim): (u64, u64, u64),
    (batch, tokens, before): (u64, u64, u64),
) -> Result<()> {
    let element = if kv == Format::Fp8 { 1 } else { 2 };
    let page_bytes = PAGE * kv_heads * head_dim * element;
    let pages = (before + tokens).div_ceil(PAGE);
    let half = suite.cache.bytes / 2;
    if batch * pages * page_bytes > half || (kv == Format::Fp8 && head_dim == 64) || !suite.goes_on(section) {
        return Ok(());
    }
    let gpu = &suite.gpu;
    let kernels = suite.attention(head_dim, kv == Format::Fp8)?;
    let all = half / page_bytes;
    let order = gpu.buffer_of(&shuffled(all, 2))?;
    let starts: Vec<u32> = (0..=batch).map(|sequence| (sequence * tokens) as u32).collect();
    let starts = gpu.buffer_of(&starts)?;
    let befores = gpu.buffer_of(&vec![before as u32; batch as usize])?;
    let row = batch * tokens * heads * head_dim * 2;
    if row > suite.pool.bytes {
        return Err(Error::Other("no room for the queries".into()));
    }
    let out = gpu.alloc(row)?;
    let turns = (all / (batch * pages)).max(1);
    let time = suite.time(2 * batch * pages * page_bytes + row, |turn| {
        let at = Places {
            q: suite.window(turn, row),
            keys: suite.cache.at,
            values: suite.cache.at + half / 256 * 256,
            table: order.at + 4 * (turn % turns * batch * pages),
            stride: pages,
            out: out.at,
        };
        prefill_on(gpu, &kernels, at, starts.at, befores.at, (batch, tokens), heads, kv_heads)
    })?;
    suite.out.write(&Line::PrefillAttention { kv, batch, tokens, before, heads, kv_heads, head_dim, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wave_of_blocks_is_nearly_empty() {
        let cost = |pages: u64, batch: usize, kv_heads: u64| {
            let each = pages_of_a_part(&vec![pages; batch], kv_heads, 396);
            let blocks = pages.div_ceil(WARPS * each) * batch as u64 * kv_heads;
            // In units of what a full device would take.
            (blocks.div_ceil(396) * 396 * WARPS * each) as f64 / (pages * batch as u64 * kv_heads) as f64
        };
        // One block for each sequence and head would take two waves, the second by a third full.
        assert!(cost(512, 64, 8) < 1.05, "{}", cost(512, 64, 8));
        for (pages, batch, kv_heads) in
            [(512, 16, 8), (8192, 1, 8), (2048, 4, 8), (128, 128, 4), (512, 256, 8)]
        {
            let cost = cost(pages, batch, kv_heads);
            assert!((1.0..1.2).contains(&cost), "{pages} pages, {batch} sequences: {cost}");
        }
        assert_eq!(pages_of_a_part(&[1], 8, 396), LEAST_PAGES);
    }

    #[test]
    fn every_page_has_one_place() {
        let mut order = shuffled(1000, 1);
        assert_ne!(order[..20], shuffled(1000, 2)[..20]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(place, page)| place == *page as usize));
    }
}
