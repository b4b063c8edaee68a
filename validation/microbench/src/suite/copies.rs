//! Copies by size.

use sim_models::hardware::microbench::{Format, Line, Timing};

use super::{Section, Suite, spread};
use crate::cuda::{Arg, Result};

/// On the device, and between host and device.
pub(super) fn copies(suite: &mut Suite, section: &mut Section) -> Result<()> {
    suite.fill_pool(Format::Bf16)?;
    let blocks = 8 * suite.gpu.multiprocessors();
    let half = suite.pool.bytes / 2;
    for size in (16..=32).step_by(2) {
        let bytes = 1_u64 << size;
        for way in ["d2d", "kernel", "read"] {
            if bytes > half || !suite.goes_on(section) {
                continue;
            }
            let kernels = &suite.kernels;
            let time = suite.time(2 * bytes, |turn| {
                let at = suite.pool.at + super::wrapped(turn, bytes, half);
                let to = suite.pool.at + half / 256 * 256 + super::wrapped(turn, bytes, half - 256);
                let args = [Arg::Wide(at), Arg::Wide(to), Arg::Wide(bytes / 16)];
                match way {
                    "d2d" => suite.gpu.copy(to, at, bytes),
                    "kernel" => suite.gpu.launch(kernels.copy_words, [blocks, 1, 1], 512, &args),
                    _ => suite.gpu.launch(kernels.read_words, [blocks, 1, 1], 512, &args),
                }
            })?;
            suite.out.write(&Line::Copy { way: way.into(), pinned: false, bytes, time })?;
        }
    }
    let mut pageable = vec![0_u8; 1 << 28];
    let mut pinned = suite.gpu.pinned(1 << 28)?;
    for size in (12..=28).step_by(2) {
        let bytes = 1_usize << size;
        for is_pinned in [true, false] {
            for way in ["h2d", "d2h"] {
                if !suite.goes_on(section) {
                    continue;
                }
                let host = if is_pinned { &mut pinned.bytes()[..bytes] } else { &mut pageable[..bytes] };
                let time = across(suite, way, host)?;
                suite.out.write(&Line::Copy {
                    way: way.into(),
                    pinned: is_pinned,
                    bytes: bytes as u64,
                    time,
                })?;
            }
        }
    }
    // What copies left is random no more.
    suite.filled = None;
    Ok(())
}

fn across(suite: &Suite, way: &str, host: &mut [u8]) -> Result<Timing> {
    let mut times = Vec::new();
    for turn in 0..9 {
        let at = suite.window(turn, host.len() as u64);
        let ms = suite.gpu.elapsed_ms(|| match way {
            "h2d" => suite.gpu.upload(at, host),
            _ => suite.gpu.download(host, at),
        })?;
        // The first two warm up.
        if turn >= 2 {
            times.push(ms * 1e3);
        }
    }
    Ok(spread(times))
}
