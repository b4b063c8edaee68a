//! Paged KV memory against reserved memory: the comparison of Kwon et al., "Efficient Memory Management for
//! Large Language Model Serving with PagedAttention" (SOSP 2023).
//!
//! OPT-13B on one A100 with 40 GB: 12 GB of KV memory, 15,700 tokens (table 1). Lengths as of ShareGPT: 161
//! tokens in and 338 out on average (figure 11), here lognormal with sigma 1.0 and 0.9, capped at 1,024.

use sim_core::distribution::{Dist, Exponential};
use sim_core::random::unit;
use sim_models::hardware::precision::Precision;
use sim_models::hardware::timing::StepFunction;
use sim_models::llm::LlmConfig;
use sim_models::llm::engine::{EngineConfig, KvAllocation, Reservation};

use crate::{Request, constant_step, length, lognormal, serve, stream};

const MAX: KvAllocation = KvAllocation::Contiguous(Reservation::Max);
const POW2: KvAllocation = KvAllocation::Contiguous(Reservation::Pow2);
const ORACLE: KvAllocation = KvAllocation::Contiguous(Reservation::Oracle);
const PAGED: KvAllocation = KvAllocation::Paged;

/// 15,728 tokens.
const BLOCKS: u32 = 983 + 1;

fn config(kv_allocation: KvAllocation, num_blocks: u32, max_num_seqs: u32) -> EngineConfig {
    EngineConfig {
        kv_allocation,
        max_num_seqs,
        max_model_len: Some(2_048),
        async_scheduling: false,
        ..EngineConfig::new(num_blocks)
    }
}

/// Requests that come by chance, one a second.
fn requests(count: usize, [prompt, output]: [Dist; 2]) -> Vec<Request> {
    let gaps = Dist::from(Exponential::with_mean(1e9).unwrap());
    let mut rng = stream("requests");
    let mut at = 0;
    (0..count)
        .map(|_| {
            at += gaps.quantile(unit(&mut rng)) as u64;
            Request { at, prompt: length(&prompt, &mut rng), output: length(&output, &mut rng) }
        })
        .collect()
}

fn sharegpt() -> [Dist; 2] {
    [lognormal(161.0, 1.0, 1_024.0), lognormal(338.0, 0.9, 1_024.0)]
}

fn alpaca() -> [Dist; 2] {
    [lognormal(19.31, 1.0, 1_024.0), lognormal(58.45, 0.9, 1_024.0)]
}

/// Tokens held over the slots in use, and over all slots, while others wait.
fn utilization(kv_allocation: KvAllocation) -> [f64; 2] {
    let mut requests = requests(4_000, sharegpt());
    requests.iter_mut().for_each(|request| request.at = 0);
    let tally = serve(&config(kv_allocation, BLOCKS, 256), constant_step(), &requests).tally;
    let tokens = tally.token_ticks as f64 / 16.0;
    [tokens / tally.block_ticks as f64, tokens / (tally.ticks as f64 * f64::from(BLOCKS - 1))]
}

/// The share of reserved memory that is ever filled (P1), and, with what the buddy allocator cannot give away,
/// the share of all memory: figure 2 of the paper says 20.4, 26.8, 38.2 and 96.3%.
#[test]
fn memory_in_use_is_as_published() {
    let cases = [
        // What is closed form: a sequence holds its prompt and on average half of its answer.
        (MAX, [0.206, 0.02], 0.204),
        // Run lengths are powers of two: 0.30 and 0.41 by the laws of the lengths alone.
        (POW2, [0.302, 0.02], 0.268),
        (ORACLE, [0.406, 0.02], 0.382),
        (PAGED, [0.980, 0.01], 0.963),
    ];
    for (kv_allocation, [expected, tolerance], published) in cases {
        let [of_used, of_all] = utilization(kv_allocation);
        println!(
            "{kv_allocation:?}: {of_used:.3} of what is in use, {of_all:.3} of all, published {published}"
        );
        assert!((of_used - expected).abs() <= tolerance, "{kv_allocation:?}: {of_used}");
        assert!((of_all - published).abs() <= 0.035, "{kv_allocation:?}: {of_all}");
    }
}

/// Step times of OPT-13B on an A100 with 40 GB.
fn opt_13b() -> StepFunction {
    let mut config = LlmConfig::new("opt-13b", "a100-sxm-40gb");
    config.async_scheduling = false;
    config.step_function().unwrap()
}

/// The largest rate at which the median of latency per output token is at most 0.2 s, about ten times that
/// of an idle server.
fn capacity(config: &EngineConfig, requests: &[Request]) -> f64 {
    let keeps = |rate: f64| {
        let requests: Vec<_> = requests
            .iter()
            .map(|request| Request { at: (request.at as f64 / rate) as u64, ..*request })
            .collect();
        let served = serve(config, opt_13b(), &requests);
        let mut latencies: Vec<f64> = served
            .last
            .iter()
            .zip(&requests)
            .map(|(last, request)| (last - request.at) as f64 / 1e9 / f64::from(request.output))
            .collect();
        latencies.sort_unstable_by(f64::total_cmp);
        latencies[latencies.len() / 2] <= 0.2
    };
    let (mut low, mut high) = (0.01f64, 1_000.0f64);
    assert!(keeps(low) && !keeps(high));
    while high > low * 1.01 {
        let rate = libm::sqrt(low * high);
        *(if keeps(rate) { &mut low } else { &mut high }) = rate;
    }
    low
}

/// Section 6.2: 1.7 to 2.7 times the rate of Orca (Oracle), 2.7 to 8 times that of Orca (Max).
#[test]
fn paging_serves_more_where_memory_is_short() {
    let requests = requests(2_000, sharegpt());
    let [paged, max, pow2, oracle] =
        [PAGED, MAX, POW2, ORACLE].map(|kv| capacity(&config(kv, BLOCKS, 256), &requests));
    println!("requests/s: paged {paged:.2}, max {max:.2}, pow2 {pow2:.2}, oracle {oracle:.2}");
    assert!((2.7..=8.0).contains(&(paged / max)), "{}", paged / max);
    assert!((1.7..=2.7).contains(&(paged / oracle)), "{}", paged / oracle);
    assert!(max < pow2 && pow2 < oracle);
}

/// Where places run out before memory does, how memory is given away does not matter.
#[test]
fn paging_serves_no_more_where_memory_is_ample() {
    // Room for 64 times the longest sequence; and for 8 times with short ones, of which few are long.
    let cases = [(sharegpt(), 64 * 128 + 1, &[MAX, ORACLE][..]), (alpaca(), BLOCKS, &[ORACLE])];
    for (lengths, blocks, others) in cases {
        let requests = requests(2_000, lengths);
        let paged = capacity(&config(PAGED, blocks, 64), &requests);
        for other in others {
            let ratio = paged / capacity(&config(*other, blocks, 64), &requests);
            println!("{other:?}: {ratio:.3}");
            assert!((0.98..=1.05).contains(&ratio), "{other:?}: {ratio}");
        }
    }
}

/// Llama-3.1-70B on two H100s: in 8 bits the weights leave more than four times the memory of 16 bits for keys
/// and values.
#[test]
fn half_the_bits_are_many_times_the_room() {
    // Per GPU: 85.52 GB as the driver says, of which 0.92 may be used; 70.55 billion parameters, of which the
    // two embeddings (128,256 x 8,192 each) stay in 16 bits; keys and values of 80 layers, 8 heads of 128.
    let (memory, parameters, embeddings) =
        (0.92 * 85_520_809_984.0, 70_553_706_496.0, 2.0 * 128_256.0 * 8_192.0);
    let token = 2.0 * 80.0 * 8.0 * 128.0 * 2.0 / 2.0;
    let room = |precision: Precision, bytes: f64| {
        let mut config = LlmConfig::new("llama-3.1-70b", "h100-sxm");
        config.tensor_parallel = 2;
        config.precision = Some(precision);
        config.kv_precision = Some(Precision::Bf16);
        let plan = config.memory().unwrap();
        let weights = ((parameters - embeddings) * bytes + embeddings * 2.0) / 2.0;
        let rest = memory - weights - (plan.activation_bytes + plan.overhead_bytes) as f64;
        let expected = rest / token;
        let tokens = plan.kv_tokens() as f64;
        println!("{precision}: {tokens} tokens, {expected:.0} by the formula");
        assert!((tokens / expected - 1.0).abs() <= 0.01, "{precision}: {tokens} for {expected}");
        tokens
    };
    let (wide, fp8, int8) =
        (room(Precision::Fp16, 2.0), room(Precision::Fp8, 1.0), room(Precision::Int8, 1.0));
    assert!(fp8 >= 4.0 * wide && int8 >= 4.0 * wide, "{fp8} and {int8} for {wide}");
}
