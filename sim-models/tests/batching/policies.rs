//! Continuous, static and dynamic batching.

use std::num::NonZeroU32;

use sim_core::distribution::{Constant, Dist, Exponential};
use sim_models::llm::engine::{Batching, DynamicBatching, EngineConfig};

use crate::{MS, Request, constant_step, length, lognormal, serve, stream};

fn config(places: u32, batching: Batching) -> EngineConfig {
    EngineConfig {
        max_num_seqs: places,
        max_num_batched_tokens: 1 << 20,
        async_scheduling: false,
        batching,
        ..EngineConfig::new(1 << 20)
    }
}

/// Requests per second of an engine with always more waiting than it has places for. When the last is
/// admitted all but those in the batch have ended.
fn throughput(places: u32, batching: Batching, outputs: &[u32]) -> f64 {
    let requests: Vec<_> =
        outputs.iter().map(|output| Request { at: 0, prompt: 1, output: *output }).collect();
    let served = serve(&config(places, batching), constant_step(), &requests);
    (outputs.len() as f64 - f64::from(places)) / (served.admitted as f64 / 1e9)
}

/// A batch takes as long as its longest: with steps of equal time continuous batching is better by
/// E[max of B] / E[L] (Yu et al., "Orca", OSDI 2022, tell why; the values are computed).
#[test]
fn continuous_over_static_batching_is_the_longest_over_the_mean() {
    let exponential = Dist::from(Exponential::with_mean(338.0).unwrap()).clipped(1.0, 2_048.0).unwrap();
    let laws = [
        ("constant", Dist::from(Constant::new(338.0).unwrap()), [1.0, 1.0, 1.0]),
        ("exponential", exponential, [2.70, 4.0, 4.6]),
        ("lognormal", lognormal(338.0, 0.9, 2_048.0), [2.73, 4.3, 5.1]),
    ];
    for (name, law, expected) in laws {
        for (places, expected) in [8u32, 32, 64].into_iter().zip(expected) {
            let mut rng = stream(name);
            let batches = if places == 8 { 4_000 } else { 1_000 };
            let outputs: Vec<_> = (0..batches * places).map(|_| length(&law, &mut rng)).collect();
            let [continuous, by_batch] = [Batching::Continuous, Batching::Static]
                .map(|batching| throughput(places, batching, &outputs));
            let ratio = continuous / by_batch;
            println!("{name:12} B = {places:2}: {ratio:.3}, expected {expected}");
            assert!(
                (ratio / expected - 1.0).abs() <= 0.03,
                "{name}, {places} places: {ratio} for {expected}"
            );
        }
    }
}

fn dynamic(us: u64, preferred: &[u32]) -> Batching {
    let preferred_batch_size = preferred.iter().map(|size| NonZeroU32::new(*size).unwrap()).collect();
    Batching::Dynamic(DynamicBatching { preferred_batch_size, max_queue_delay_microseconds: us })
}

/// First and last tokens in milliseconds of requests that come at `at` with so many output tokens.
fn times(batching: Batching, requests: &[(u64, u32)]) -> Vec<(u64, u64)> {
    let requests: Vec<_> =
        requests.iter().map(|(at, output)| Request { at: at * MS, prompt: 9, output: *output }).collect();
    let served = serve(&config(4, batching), constant_step(), &requests);
    served.first.iter().zip(&served.last).map(|(first, last)| (first / MS, last / MS)).collect()
}

#[test]
fn an_answer_is_complete_with_its_batch() {
    // Who comes at a boundary waits for the next one.
    let requests = [(0, 3), (0, 10), (4, 2), (4, 1)];
    assert_eq!(times(Batching::Continuous, &requests), [(1, 3), (1, 10), (6, 7), (6, 6)]);
    assert_eq!(times(Batching::Static, &requests), [(1, 10), (1, 10), (11, 12), (11, 12)]);
}

#[test]
fn a_dynamic_batch_waits_for_others() {
    // Alone: the delay is the floor of latency.
    assert_eq!(times(dynamic(5_000, &[]), &[(0, 3)]), [(6, 8)]);
    // The second makes a preferred size; the third and the fourth wait for the batch, the third 5 ms in all.
    let requests = [(0, 3), (2, 3), (3, 4), (20, 1)];
    assert_eq!(times(dynamic(5_000, &[2]), &requests), [(3, 5), (3, 5), (9, 12), (26, 26)]);
    // A full batch goes at once, and who has waited too long goes when the engine is idle.
    let requests = [(0, 9), (0, 9), (0, 9), (0, 9), (1, 2), (30, 2), (30, 2)];
    let expected = [(1, 9), (1, 9), (1, 9), (1, 9), (10, 11), (36, 37), (36, 37)];
    assert_eq!(times(dynamic(5_000, &[]), &requests), expected);
    assert_eq!(times(dynamic(0, &[]), &[(0, 3), (1, 1)]), [(1, 3), (4, 4)]);
}

/// At low load a delay is lost time, at most the delay; under load fuller batches are worth more than that.
#[test]
fn a_delay_costs_at_low_load_and_pays_at_high_load() {
    let median = |batching: Batching, gap: f64| {
        let mut rng = stream("delay");
        let gaps = Dist::from(Exponential::with_mean(gap).unwrap());
        let mut at = 0;
        let requests: Vec<_> = (0..4_000)
            .map(|_| {
                at += (gaps.quantile(sim_core::random::unit(&mut rng)) * MS as f64) as u64;
                Request { at, prompt: 1, output: 10 }
            })
            .collect();
        let served = serve(&config(16, batching), constant_step(), &requests);
        let mut latencies: Vec<u64> =
            served.last.iter().zip(&requests).map(|(last, request)| last - request.at).collect();
        latencies.sort_unstable();
        latencies[2_000] as f64 / MS as f64
    };
    let [idle, waits] = [0, 5_000].map(|us| median(dynamic(us, &[]), 200.0));
    assert!(waits > idle + 4.0 && waits <= idle + 5.0, "{idle} {waits}");
    // A batch takes 10 ms whatever is in it: at 1,550 a second only full ones keep up.
    let [hasty, waits] = [0, 5_000].map(|us| median(dynamic(us, &[]), 0.645));
    assert!(waits <= hasty, "{hasty} {waits}");
}
