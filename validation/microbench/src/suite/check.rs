//! Kernels beside references on the CPU. (The test `emulated` runs the kernels' source on a CPU, more closely.)

use sim_models::hardware::microbench::{Format, Line};

use super::attention::{PAGE, Places, Scratch, decode_on, prefill_on, shuffled};
use super::{Section, Suite, fill};
use crate::cuda::{Result, element_bytes};

/// What is computed in a format with as many bits may be off by, relative to the size of the numbers.
const TOLERANCE: f64 = 0.02;

pub(super) fn checks(suite: &mut Suite, section: &mut Section) -> Result<()> {
    for format in [Format::Bf16, Format::Fp16, Format::Tf32, Format::Fp32, Format::Fp8, Format::Int8] {
        let checked = product(suite, format);
        told(suite, section, &format!("gemm {format:?}"), checked)?;
    }
    for (head_dim, kv) in [(128, Format::Bf16), (128, Format::Fp8), (64, Format::Bf16)] {
        let checked = decode(suite, head_dim, kv);
        told(suite, section, &format!("decode attention, heads of {head_dim}, KV in {kv:?}"), checked)?;
        let checked = prefill(suite, head_dim, kv);
        told(suite, section, &format!("prefill attention, heads of {head_dim}, KV in {kv:?}"), checked)?;
    }
    let checked = norm(suite);
    told(suite, section, "add_rms_norm", checked)?;
    let checked = silu(suite);
    told(suite, section, "silu_mul", checked)
}

fn told(suite: &mut Suite, section: &mut Section, what: &str, worst: Result<f64>) -> Result<()> {
    match worst {
        Ok(worst) => {
            section.done += 1;
            let verdict = if worst <= TOLERANCE { "pass" } else { "FAIL" };
            suite.out.say(&format!("          {what}: {worst:.2e} {verdict}"));
            suite.out.write(&Line::Check { what: what.to_owned(), worst, tolerance: TOLERANCE })
        }
        Err(error) => {
            section.failed(what, &error);
            Ok(())
        }
    }
}

fn bf16(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

fn number(format: Format, bytes: &[u8]) -> f64 {
    let two = u16::from_le_bytes([bytes[0], *bytes.get(1).unwrap_or(&0)]);
    match format {
        Format::Int8 => f64::from(bytes[0] as i8),
        Format::Fp8 => {
            let (sign, size) = (u32::from(bytes[0] & 0x80) << 24, u32::from(bytes[0] & 0x7f) << 20);
            // 2^120, exactly.
            f64::from(f32::from_bits(sign | size)) * f64::from_bits((1023 + 120) << 52)
        }
        Format::Bf16 => bf16(two),
        Format::Fp16 => {
            let (sign, size) = (u32::from(two & 0x8000) << 16, u32::from(two & 0x7fff) << 13);
            f64::from(f32::from_bits(sign | size)) * f64::from_bits((1023 + 112) << 52)
        }
        Format::Fp32 | Format::Tf32 => {
            f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        }
    }
}

/// `count` numbers of a format.
fn numbers(suite: &Suite, at: u64, count: u64, format: Format) -> Result<Vec<f64>> {
    let element = element_bytes(format);
    let bytes: Vec<u8> = suite.gpu.values(at, (count * element) as usize)?;
    Ok(bytes.chunks_exact(element as usize).map(|bytes| number(format, bytes)).collect())
}

/// The largest difference relative to the size of what is expected.
fn worst(got: &[f64], wanted: &[f64]) -> f64 {
    let size = wanted.iter().fold(1e-9, |most: f64, value| most.max(value.abs()));
    let off =
        |(got, wanted): (&f64, &f64)| if got.is_finite() { (got - wanted).abs() / size } else { f64::MAX };
    got.iter().zip(wanted).map(off).fold(0.0, f64::max)
}

fn product(suite: &mut Suite, format: Format) -> Result<f64> {
    suite.fill_pool(format)?;
    let (m, n, k) = (48, 96, 512);
    let product = suite.lt.product(format, m, n, k, format != Format::Int8)?;
    let (weights, tokens) = (suite.pool.at, suite.pool.at + (1 << 20));
    let out = suite.gpu.alloc(m * n * 4)?;
    suite.lt.run(&suite.gpu, &product, weights, tokens, out.at)?;
    let (w, x) = (numbers(suite, weights, n * k, format)?, numbers(suite, tokens, m * k, format)?);
    let got: Vec<f64> = if format == Format::Int8 {
        suite.gpu.values::<i32>(out.at, (m * n) as usize)?.into_iter().map(f64::from).collect()
    } else {
        suite.gpu.values::<f32>(out.at, (m * n) as usize)?.into_iter().map(f64::from).collect()
    };
    let row = |values: &[f64], at: usize| values[at * k as usize..(at + 1) * k as usize].to_vec();
    let mut wanted = Vec::new();
    for token in 0..m as usize {
        let x = row(&x, token);
        for column in 0..n as usize {
            wanted.push(row(&w, column).iter().zip(&x).map(|(a, b)| a * b).sum());
        }
    }
    Ok(worst(&got, &wanted))
}

/// Attention as it is defined: of a query over the first `count` keys.
fn plain(query: &[f64], keys: &[&[f64]], values: &[&[f64]]) -> Vec<f64> {
    let scale = 1.0 / (query.len() as f64).sqrt();
    let scores: Vec<f64> =
        keys.iter().map(|key| scale * key.iter().zip(query).map(|(a, b)| a * b).sum::<f64>()).collect();
    let most = scores.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| libm::exp(score - most)).collect();
    let sum: f64 = weights.iter().sum();
    (0..query.len())
        .map(|d| weights.iter().zip(values).map(|(weight, value)| weight * value[d]).sum::<f64>() / sum)
        .collect()
}

const HEADS: u64 = 8;
const KV_HEADS: u64 = 2;

/// Queries of `queries[i]` = (sequence, tokens that it sees), beside `got`.
#[allow(clippy::too_many_arguments)]
fn beside_plain(
    suite: &Suite,
    head_dim: u64,
    kv: Format,
    table: &[u32],
    pages: u64,
    q: &[f64],
    got: &[f64],
    queries: &[(u64, u64)],
) -> Result<f64> {
    let row = KV_HEADS * head_dim;
    let half = suite.cache.bytes / 2 / 256 * 256;
    let all = table.len() as u64 * PAGE * row;
    let (keys, values) =
        (numbers(suite, suite.cache.at, all, kv)?, numbers(suite, suite.cache.at + half, all, kv)?);
    let mut wanted = Vec::new();
    for (index, (sequence, seen)) in queries.iter().enumerate() {
        for head in 0..HEADS {
            let lie = |token: u64| {
                let page = u64::from(table[(sequence * pages + token / PAGE) as usize]);
                let at = (((page * PAGE + token % PAGE) * KV_HEADS + head / (HEADS / KV_HEADS)) * head_dim)
                    as usize;
                at..at + head_dim as usize
            };
            let at = (index as u64 * HEADS + head) as usize * head_dim as usize;
            let query = &q[at..at + head_dim as usize];
            fn rows<'a>(
                all: &'a [f64],
                seen: u64,
                lie: &impl Fn(u64) -> std::ops::Range<usize>,
            ) -> Vec<&'a [f64]> {
                (0..seen).map(|token| &all[lie(token)]).collect()
            }
            wanted.extend(plain(query, &rows(&keys, *seen, &lie), &rows(&values, *seen, &lie)));
        }
    }
    Ok(worst(got, &wanted))
}

fn decode(suite: &mut Suite, head_dim: u64, kv: Format) -> Result<f64> {
    suite.fill_pool(Format::Bf16)?;
    fill(&suite.gpu, &suite.kernels, &suite.cache, kv)?;
    let (gpu, kernels) = (&suite.gpu, suite.attention(head_dim, kv == Format::Fp8)?);
    let contexts = [1_u32, 77, 300];
    let pages = 300_u64.div_ceil(PAGE);
    let table = shuffled(3 * pages, 6);
    let (table_at, contexts_at) = (gpu.buffer_of(&table)?, gpu.buffer_of(&contexts)?);
    let scratch = Scratch::new(gpu, &kernels, &contexts, HEADS, KV_HEADS, head_dim)?;
    let count = 3 * HEADS * head_dim;
    let out = gpu.alloc(2 * count)?;
    let half = suite.cache.bytes / 2 / 256 * 256;
    let at = Places {
        q: suite.pool.at,
        keys: suite.cache.at,
        values: suite.cache.at + half,
        table: table_at.at,
        stride: pages,
        out: out.at,
    };
    decode_on(gpu, &kernels, &scratch, at, contexts_at.at, 3, HEADS, KV_HEADS, head_dim)?;
    let (q, got) =
        (numbers(suite, suite.pool.at, count, Format::Bf16)?, numbers(suite, out.at, count, Format::Bf16)?);
    let queries: Vec<(u64, u64)> =
        contexts.iter().enumerate().map(|(i, seen)| (i as u64, u64::from(*seen))).collect();
    beside_plain(suite, head_dim, kv, &table, pages, &q, &got, &queries)
}

fn prefill(suite: &mut Suite, head_dim: u64, kv: Format) -> Result<f64> {
    suite.fill_pool(Format::Bf16)?;
    fill(&suite.gpu, &suite.kernels, &suite.cache, kv)?;
    let (gpu, kernels) = (&suite.gpu, suite.attention(head_dim, kv == Format::Fp8)?);
    let (starts, befores) = ([0_u32, 90, 101], [0_u32, 40]);
    let pages = 90_u64.div_ceil(PAGE);
    let table = shuffled(2 * pages, 6);
    let (table_at, starts_at, befores_at) =
        (gpu.buffer_of(&table)?, gpu.buffer_of(&starts)?, gpu.buffer_of(&befores)?);
    let count = 101 * HEADS * head_dim;
    let out = gpu.alloc(2 * count)?;
    let half = suite.cache.bytes / 2 / 256 * 256;
    let at = Places {
        q: suite.pool.at,
        keys: suite.cache.at,
        values: suite.cache.at + half,
        table: table_at.at,
        stride: pages,
        out: out.at,
    };
    prefill_on(gpu, &kernels, at, starts_at.at, befores_at.at, (2, 90), HEADS, KV_HEADS)?;
    let (q, got) =
        (numbers(suite, suite.pool.at, count, Format::Bf16)?, numbers(suite, out.at, count, Format::Bf16)?);
    let queries: Vec<(u64, u64)> =
        (0..90).map(|token| (0, token + 1)).chain((0..11).map(|token| (1, 40 + token + 1))).collect();
    beside_plain(suite, head_dim, kv, &table, pages, &q, &got, &queries)
}

fn norm(suite: &mut Suite) -> Result<f64> {
    suite.fill_pool(Format::Bf16)?;
    let (tokens, width) = (3_u64, 4096_u64);
    let (gpu, row) = (&suite.gpu, 2 * tokens * width);
    let (residual, out) = (gpu.alloc(row)?, gpu.alloc(row)?);
    gpu.copy(residual.at, suite.pool.at + row, row)?;
    let places = [suite.pool.at, residual.at, suite.pool.at + 2 * row, out.at];
    suite.kernels.norm_on(gpu, places, tokens, width, false)?;
    let all = |at| numbers(suite, at, tokens * width, Format::Bf16);
    let (x, before, weight, got) =
        (all(suite.pool.at)?, all(suite.pool.at + row)?, all(suite.pool.at + 2 * row)?, all(out.at)?);
    let mut wanted = Vec::new();
    for token in 0..tokens as usize {
        let at = token * width as usize;
        let sums: Vec<f64> = (0..width as usize).map(|i| x[at + i] + before[at + i]).collect();
        let squares = sums.iter().map(|sum| sum * sum).sum::<f64>() / width as f64;
        wanted.extend(sums.iter().zip(&weight).map(|(sum, weight)| sum / (squares + 1e-5).sqrt() * weight));
    }
    Ok(worst(&got, &wanted))
}

fn silu(suite: &mut Suite) -> Result<f64> {
    suite.fill_pool(Format::Bf16)?;
    let (tokens, width) = (3_u64, 14_336_u64);
    let out = suite.gpu.alloc(2 * tokens * width)?;
    suite.kernels.silu_on(&suite.gpu, [suite.pool.at, out.at], tokens, width, false)?;
    let x = numbers(suite, suite.pool.at, 2 * tokens * width, Format::Bf16)?;
    let got = numbers(suite, out.at, tokens * width, Format::Bf16)?;
    let wanted: Vec<f64> = (0..(tokens * width) as usize)
        .map(|i| {
            let (token, column) = (i / width as usize, i % width as usize);
            let gate = x[token * 2 * width as usize + column];
            gate / (1.0 + libm::exp(-gate)) * x[token * 2 * width as usize + width as usize + column]
        })
        .collect();
    Ok(worst(&got, &wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_their_formats_say() {
        assert_eq!(number(Format::Bf16, &[0x80, 0x3f]), 1.0);
        assert_eq!(number(Format::Fp16, &[0x00, 0xc4]), -4.0);
        assert_eq!(number(Format::Fp16, &[0x01, 0x00]), 1.0 / 16_777_216.0);
        assert_eq!(number(Format::Fp8, &[0x7e]), 448.0);
        assert_eq!(number(Format::Fp8, &[0x81]), -1.0 / 512.0);
        assert_eq!(number(Format::Int8, &[0xff]), -1.0);
        assert_eq!(number(Format::Fp32, &[0, 0, 0x20, 0x41]), 10.0);
    }

    #[test]
    fn plain_attention_weighs_values_by_their_keys() {
        let far = plain(&[8.0, 0.0], &[&[9.0, 0.0], &[-9.0, 0.0]], &[&[1.0, 2.0], &[5.0, 6.0]]);
        assert!((far[0] - 1.0).abs() < 1e-9 && (far[1] - 2.0).abs() < 1e-9, "{far:?}");
        let even = plain(&[0.0, 0.0], &[&[9.0, 0.0], &[-9.0, 0.0]], &[&[1.0, 2.0], &[5.0, 6.0]]);
        assert_eq!(even, [3.0, 4.0]);
        assert!(worst(&[1.0, f64::NAN], &[1.0, 1.0]) > 1.0 && worst(&[1.0, 1.98], &[1.0, 2.0]) < 0.011);
    }
}
