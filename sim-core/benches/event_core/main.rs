//! What the engine costs beside a hand-written loop, and beside the nexosim crate.
//!
//! `cargo bench -p sim-core` prints, for every model, events per CPU-second of the engine and of a
//! raw loop that does the same work on the same random numbers without an engine, both run in turn
//! for several rounds, and the median ratio of their times.

mod hold;
mod mm1;
mod nexo;
mod timers;

use cpu_time::ProcessTime;
use rand::distr::Distribution;
use sim_core::distribution::Exponential;
use sim_core::random::Stream;
use sim_core::time::SimDuration;

/// Rounds in which the two sides are run in turn.
const ROUNDS: usize = 7;

/// A duration whose law is in seconds.
#[inline]
fn draw(law: &Exponential, rng: &mut Stream) -> SimDuration {
    SimDuration::saturating_from_secs_f64(law.sample(rng))
}

/// CPU seconds of one call, and the number of events it handled.
fn timed(run: &mut dyn FnMut() -> u64) -> (f64, u64) {
    let start = ProcessTime::now();
    let events = run();
    (start.elapsed().as_secs_f64(), events)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs both sides in turn and prints one line: rates, time ratio, and the bound it should keep.
fn compare(
    name: &str,
    engine: &mut dyn FnMut() -> u64,
    peer_name: &str,
    peer: &mut dyn FnMut() -> u64,
    bound: &str,
) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (own, own_events) = timed(engine);
        let (other, other_events) = timed(peer);
        rounds.push((own_events as f64 / own, other_events as f64 / other));
    }
    let own = median(rounds.iter().map(|round| round.0).collect());
    let other = median(rounds.iter().map(|round| round.1).collect());
    let ratio = median(rounds.iter().map(|round| round.1 / round.0).collect());
    println!(
        "{name:<34} engine {:>7.2} M/s   {peer_name:<8} {:>7.2} M/s   time ratio {ratio:>6.3}   (want {bound})",
        own / 1e6,
        other / 1e6,
    );
}

/// A comparison's name on the command line, and what prints it.
type Bench = (&'static str, fn());

fn main() {
    const BENCHES: [Bench; 4] =
        [("mm1", mm1::bench), ("hold", hold::bench), ("timers", timers::bench), ("nexosim", nexo::bench)];
    // Cargo passes `--bench`; names pick single comparisons.
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("events per CPU-second, medians of {ROUNDS} rounds run in turn");
    for (name, bench) in BENCHES {
        if chosen.is_empty() || chosen.iter().any(|choice| choice == name) {
            bench();
        }
    }
}
