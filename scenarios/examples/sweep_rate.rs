//! Points per second of a sweep on one thread and on two, what a point costs beyond its simulation, and the peak of
//! memory: `cargo run --release -p scenarios --example sweep_rate [POINTS]`. Figures of idle machines only.

use std::path::Path;
use std::time::Instant;

use scenarios::run::{RunOptions, RunProgress};
use scenarios::sweep::{Sweep, SweepOptions, SweepProgress};

/// 600 requests a point.
const SCENARIO: &str = r#"
    name = "Two services"
    run = { duration = "1m", replications = 1, warmup = "5s", windows = 20 }
    slo = { latency = { p99 = "1s" } }
    [traffic.web]
    arrivals = { process = "poisson", rate = "10/s" }
    entry = "edge"
    [components.edge]
    kind = "flow"
    steps = ["features", "db"]
    [components.features]
    kind = "service"
    service_time = { lognormal = { mean = "20ms", cv = 1.0 } }
    servers = 2
    [components.db]
    kind = "service"
    service_time = { exponential = { mean = "100ms" } }
    servers = 2
"#;

/// Peak resident memory of this process in MiB, where Linux tells.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib >> 10)
}

#[expect(clippy::disallowed_methods, reason = "the benchmark is of host time")]
fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn sweep(points: u64, jobs: usize) -> f64 {
    let loaded =
        scenarios::parse(SCENARIO, "two-services.toml", Path::new("."), &[]).expect("it can be read");
    let options = SweepOptions {
        axes: vec!["components.db.service_time.exponential.mean=20ms..180ms".to_owned()],
        samples: Some(points),
        run: RunOptions { threads: Some(jobs), ..RunOptions::default() },
        ..SweepOptions::default()
    };
    let sweep = Sweep::new(&loaded, options).expect("the axis can be read");
    let dir = std::env::temp_dir().join(format!("tenfold-sweep-rate-{}", std::process::id()));
    let seconds = seconds(|| {
        sweep.run(&dir, &SweepProgress::new()).expect("the directory can be written");
    });
    std::fs::remove_dir_all(&dir).expect("it is there");
    points as f64 / seconds
}

fn main() {
    let points = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let loaded =
        scenarios::parse(SCENARIO, "two-services.toml", Path::new("."), &[]).expect("it can be read");
    let options = RunOptions { threads: Some(1), ..RunOptions::default() };
    let alone = seconds(|| {
        for _ in 0..1_000 {
            scenarios::run(&loaded, &options, &RunProgress::new()).expect("it runs");
        }
    });
    println!("a run alone: {:.0}/s", 1_000.0 / alone);
    sweep(points / 10, 2);
    println!("peak of memory after {} points: {:?} MiB", points / 10, peak_mib());
    for round in 1..=3 {
        let (one, two) = (sweep(points, 1), sweep(points, 2));
        println!("round {round}: {one:.0} points/s on one thread, {two:.0} on two: {:.2}x", two / one);
    }
    println!("peak of memory after {} points: {:?} MiB", points * 6 + points / 10, peak_mib());
}
