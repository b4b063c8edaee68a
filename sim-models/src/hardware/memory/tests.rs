use proptest::prelude::*;

use super::*;
use crate::hardware::catalogue::{gpu, model};

fn plan(gpu_id: &str, model_id: &str, settings: &MemorySettings) -> Result<MemoryPlan, HardwareError> {
    MemoryPlan::new(gpu(gpu_id).unwrap(), model(model_id).unwrap(), settings)
}

#[test]
fn the_known_server_has_its_number_of_blocks() {
    let settings = MemorySettings::default();
    let at_default = plan("h100-sxm", "qwen3-14b", &settings).unwrap();
    let error = at_default.kv_blocks as f64 / 18_038.0 - 1.0;
    assert!(error.abs() < 0.02, "{} blocks", at_default.kv_blocks);
    // One source gives 0.90 for the same server: 1.7e9 bytes less, 650 blocks.
    let lower =
        plan("h100-sxm", "qwen3-14b", &MemorySettings { gpu_memory_utilization: 0.9, ..settings }).unwrap();
    let error = lower.kv_blocks as f64 / 18_038.0 - 1.0;
    assert!(error.abs() < 0.04, "{} blocks", lower.kv_blocks);
    assert_eq!(at_default.kv_tokens(), (at_default.kv_blocks - 1) * 16);
}

#[test]
fn what_does_not_fit_says_by_how_much_and_what_would() {
    let error = plan("h100-sxm", "llama-3.1-70b", &MemorySettings::default()).unwrap_err();
    let HardwareError::DoesNotFit(refusal) = &error else { panic!("{error}") };
    // 141.1e9 weights + 1.67e9 activations + 0.8e9 overhead against 0.92 of 85.5e9: 64.9e9 short.
    assert!((refusal.missing_bytes as f64 / 64.9e9 - 1.0).abs() < 0.01, "{}", refusal.missing_bytes);
    let names: Vec<_> = refusal.alternatives.iter().map(Alternative::to_string).collect();
    assert_eq!(
        names,
        [
            "fp8 with tensor_parallel = 1",
            "bf16 with tensor_parallel = 2",
            "bf16 with tensor_parallel = 1 on b200-sxm"
        ]
    );
    let message = error.to_string();
    assert!(message.contains("60.4") && message.contains("GiB a GPU short"), "{message}");
    for Alternative { precision, tensor_parallel, gpu } in refusal.alternatives.clone() {
        let settings = MemorySettings { precision, tensor_parallel, ..MemorySettings::default() };
        assert!(plan(gpu.as_deref().unwrap_or("h100-sxm"), "llama-3.1-70b", &settings).is_ok());
    }
}

#[test]
fn both_precision_and_gpus_are_tried_together() {
    let error = plan("a100-sxm-40gb", "llama-3.1-405b", &MemorySettings::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("would fit: int4 with tensor_parallel = 8; bf16 with tensor_parallel = 8 on h200-sxm"),
        "{error}"
    );
    let wide = MemorySettings { precision: Precision::Fp32, ..MemorySettings::default() };
    let error = plan("l4", "llama-3.1-405b", &wide).unwrap_err();
    assert!(error.to_string().contains("no precision"), "{error}");
}

#[test]
fn narrower_weights_leave_a_multiple_of_the_cache() {
    // 70B on two 80 GB GPUs: 16-bit weights leave almost nothing, 8-bit ones half the memory. On each GPU:
    // 0.92 x 81,559 MiB, less half of 70.55e9 parameters, of which 2.1e9 in the embeddings stay in 16 bits,
    // less 8,192 tokens x (2 x 8,192 + 3 x 14,336) x 2 bytes, less 1.25 GiB; divided by 16 tokens of 80
    // layers x 4 heads x 128 x 2 x 2 bytes.
    let settings = MemorySettings { tensor_parallel: 2, ..MemorySettings::default() };
    let blocks = |precision| {
        let settings = MemorySettings { precision, ..settings };
        plan("h100-sxm", "llama-3.1-70b", &settings).unwrap().kv_blocks
    };
    let room = |bytes_of_a_matrix: u64| {
        let in_16_bits = 2 * 128_256 * 8192 + 161 * 8192;
        let weights = (70_553_706_496 - in_16_bits) * bytes_of_a_matrix + 2 * in_16_bits;
        let activations = 8192 * (2 * 8192 + 3 * 14_336) * 2;
        (scaled(85_520_809_984, 0.92) - weights / 2 - activations - 5 * GIB / 4) / (16 * 80 * 4 * 128 * 2 * 2)
    };
    let (wide, fp8, int8) = (blocks(Precision::Fp16), blocks(Precision::Fp8), blocks(Precision::Int8));
    assert_eq!((wide, fp8, int8), (room(2), room(1), room(1)));
    assert!(fp8 >= 4 * wide, "{fp8} blocks in fp8, {wide} in fp16");
    let small_cache = MemorySettings { kv_precision: Some(Precision::Fp8), ..settings };
    let halved = plan("h100-sxm", "llama-3.1-70b", &small_cache).unwrap();
    assert_eq!(halved.kv_bytes_per_token, 80 * 4 * 128 * 2);
    assert!(halved.kv_blocks.abs_diff(2 * wide) <= 1);
}

#[test]
fn latent_vectors_are_held_by_every_gpu() {
    // DeepSeek-V3 in fp8 on eight H200s: 671e9 / 8 bytes and the 16-bit rest; 70,272 bytes a token on each.
    let settings =
        MemorySettings { precision: Precision::Fp8, tensor_parallel: 8, ..MemorySettings::default() };
    let plan = plan("h200-sxm", "deepseek-v3", &settings).unwrap();
    assert_eq!(plan.kv_bytes_per_token, 70_272);
    assert!((plan.weights_bytes as f64 / 84.2e9 - 1.0).abs() < 0.01, "{}", plan.weights_bytes);
    assert!((600_000..800_000).contains(&plan.kv_tokens()), "{}", plan.kv_tokens());
    let message = self::plan("h100-sxm", "deepseek-v3", &settings).unwrap_err().to_string();
    assert!(
        message
            .contains("would fit: mxfp4 with tensor_parallel = 8; fp8 with tensor_parallel = 8 on h200-sxm"),
        "{message}"
    );
}

#[test]
fn engines_that_share_out_experts_have_caches_of_their_own() {
    // DeepSeek-V3 in fp8 on eight H200s: 656.6e9 / 8 bytes of experts, all 11.4e9 of attention, 3.7e9 of dense
    // layers and shared experts and 3.7e9 of tables on each.
    let split = MemorySettings { precision: Precision::Fp8, tensor_parallel: 8, ..MemorySettings::default() };
    let shared = MemorySettings { tensor_parallel: 1, data_parallel: 8, ..split };
    let tokens = |settings: &MemorySettings| plan("h200-sxm", "deepseek-v3", settings).unwrap().kv_tokens();
    let weights = plan("h200-sxm", "deepseek-v3", &shared).unwrap().weights_bytes;
    let expected = 656.6e9 / 8.0 + 11.4e9 + 3.7e9 + 3.7e9;
    assert!((weights as f64 / expected - 1.0).abs() < 0.01, "{weights}");
    // Eight caches in place of one that all GPUs hold a copy of.
    assert!(8 * tokens(&shared) > 5 * tokens(&split), "{} and {}", tokens(&shared), tokens(&split));
    let message = plan("h200-sxm", "qwen3-14b", &shared).unwrap_err().to_string();
    assert!(message.contains("data_parallel_size = 8 for qwen3-14b"), "{message}");
}

#[test]
fn a_host_keeps_everything_in_its_memory() {
    let host = "cpu-m7i-8xlarge";
    let settings = MemorySettings::default();
    let small = plan(host, "llama-3.1-8b", &settings).unwrap();
    assert_eq!(small.budget_bytes, scaled(134_690_000_000, 0.92));
    assert!(small.kv_tokens() > 700_000, "{}", small.kv_tokens());
    let message = plan(host, "llama-3.1-70b", &settings).unwrap_err().to_string();
    let expected =
        "would fit: int8 with tensor_parallel = 1; bf16 with tensor_parallel = 1 on cpu-m7i-metal-48xl";
    assert!(message.contains(expected), "{message}");
    let split = MemorySettings { tensor_parallel: 2, ..settings };
    let message = plan(host, "llama-3.1-8b", &split).unwrap_err().to_string();
    assert!(message.contains("expected 1, as a model is not split over hosts"), "{message}");
}

#[test]
fn formats_without_kernels_and_encoders_are_refused() {
    let fp8 = MemorySettings { precision: Precision::Fp8, ..MemorySettings::default() };
    let message = plan("cpu-m7i-8xlarge", "llama-3.1-8b", &fp8).unwrap_err().to_string();
    assert!(message.contains("no engine has kernels for fp8 weights on cpu-m7i-8xlarge"), "{message}");
    assert!(message.ends_with("expected fp32, fp16, bf16, int8, int4"), "{message}");
    let int8 = MemorySettings { precision: Precision::Int8, ..MemorySettings::default() };
    assert!(plan("b200-sxm", "llama-3.1-8b", &int8).is_err());
    let message = plan("h100-sxm", "bge-m3", &MemorySettings::default()).unwrap_err().to_string();
    assert!(message.contains("bge-m3 is an encoder"), "{message}");
}

#[test]
fn the_number_of_blocks_can_be_given() {
    let settings = MemorySettings { kv_blocks: Some(18_038), ..MemorySettings::default() };
    assert_eq!(plan("h100-sxm", "qwen3-14b", &settings).unwrap().kv_blocks, 18_038);
    let settings = MemorySettings { kv_blocks: Some(30_000), ..settings };
    let error = plan("h100-sxm", "qwen3-14b", &settings).unwrap_err();
    assert!(matches!(error, HardwareError::DoesNotFit(_)), "{error}");
}

#[test]
fn bad_settings_name_the_parameter() {
    let settings = MemorySettings::default();
    let bad = [
        (MemorySettings { gpu_memory_utilization: 1.2, ..settings }, "gpu_memory_utilization = 1.2"),
        (MemorySettings { gpu_memory_utilization: f64::NAN, ..settings }, "gpu_memory_utilization"),
        (MemorySettings { block_size: 0, ..settings }, "block_size = 0"),
        (MemorySettings { max_num_batched_tokens: u64::MAX, ..settings }, "max_num_batched_tokens"),
        (MemorySettings { max_num_seqs: 0, ..settings }, "max_num_seqs = 0"),
        (MemorySettings { kv_blocks: Some(1), ..settings }, "kv_blocks = 1"),
        (MemorySettings { kv_precision: Some(Precision::Int4), ..settings }, "kv_precision = int4"),
        (MemorySettings { tensor_parallel: 3, ..settings }, "tensor_parallel = 3"),
    ];
    for (settings, expected) in bad {
        let message = plan("h100-sxm", "llama-3.1-8b", &settings).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let eight = MemorySettings { tensor_parallel: 8, ..settings };
    let message = plan("h100-sxm", "qwen2.5-7b", &eight).unwrap_err().to_string();
    assert!(message.contains("28 attention heads"), "{message}");
}

proptest! {
    #[test]
    fn a_plan_never_exceeds_its_budget(
        gpu_index in 0..crate::hardware::catalogue::gpus().len(),
        model_index in 0..crate::hardware::catalogue::models().len(),
        precision in proptest::sample::select(Precision::ALL.to_vec()),
        tensor_parallel in proptest::sample::select(TENSOR_PARALLEL.to_vec()),
        gpu_memory_utilization in 0.1_f64..1.0,
        max_num_batched_tokens in 1_u64..100_000,
    ) {
        let gpu = &crate::hardware::catalogue::gpus()[gpu_index];
        let model = crate::hardware::catalogue::models().nth(model_index).unwrap();
        let settings = MemorySettings {
            precision, tensor_parallel, gpu_memory_utilization, max_num_batched_tokens,
            ..MemorySettings::default()
        };
        if let Ok(plan) = MemoryPlan::new(gpu, model, &settings) {
            let cache = plan.kv_blocks * plan.block_size * plan.kv_bytes_per_token;
            prop_assert!(cache <= plan.kv_bytes && plan.kv_bytes - cache < 16 * plan.kv_bytes_per_token);
            let total = plan.weights_bytes + plan.activation_bytes + plan.overhead_bytes + plan.kv_bytes;
            prop_assert_eq!(total, plan.budget_bytes);
            prop_assert!(plan.budget_bytes <= gpu.memory_bytes && plan.usable_blocks() >= 1);
        }
    }
}
