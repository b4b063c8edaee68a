//! Latencies: launches, graphs, allocation.

use std::time::Instant;

use sim_models::hardware::microbench::Line;

use super::{Section, Suite, spread};
use crate::cuda::Result;

/// Calls that are timed together.
const CALLS: u32 = 500;

pub(super) fn latency(suite: &mut Suite, section: &mut Section) -> Result<()> {
    let gpu = &suite.gpu;
    let launch = || gpu.launch(suite.kernels.nothing, [1, 1, 1], 32, &[]);
    let many = || (0..CALLS).try_for_each(|_| launch());
    let nodes = gpu.capture(many)?;
    let single = gpu.capture(launch)?;
    let mut lines = Vec::new();
    for what in ["launch", "graph_node", "graph"] {
        if !suite.goes_on(section) {
            continue;
        }
        let mut times = Vec::new();
        for turn in 0..12 {
            let ms = gpu.elapsed_ms(|| match what {
                "launch" => many(),
                "graph_node" => gpu.replay(&nodes),
                _ => (0..CALLS).try_for_each(|_| gpu.replay(&single)),
            })?;
            if turn >= 3 {
                times.push(ms * 1e3 / f64::from(CALLS));
            }
        }
        lines.push(Line::Latency { what: what.into(), bytes: 0, time: spread(times) });
    }
    for bytes in [1_u64 << 20, 1 << 26, 1 << 30] {
        if !suite.goes_on(section) {
            continue;
        }
        let mut times: [Vec<f64>; 4] = Default::default();
        for turn in 0..9 {
            let mut note = |which: usize, since: Instant| {
                if turn >= 2 {
                    times[which].push(since.elapsed().as_secs_f64() * 1e6);
                }
            };
            let start = Instant::now();
            let buffer = gpu.alloc(bytes)?;
            note(0, start);
            let start = Instant::now();
            drop(buffer);
            note(1, start);
            let start = Instant::now();
            let at = gpu.alloc_async(bytes)?;
            gpu.wait()?;
            note(2, start);
            let start = Instant::now();
            gpu.free_async(at)?;
            gpu.wait()?;
            note(3, start);
        }
        let names = ["malloc", "free", "malloc_async", "free_async"];
        let rows = names.into_iter().zip(times);
        lines.extend(rows.map(|(what, times)| Line::Latency {
            what: what.into(),
            bytes,
            time: spread(times),
        }));
    }
    lines.iter().try_for_each(|line| suite.out.write(line))
}
