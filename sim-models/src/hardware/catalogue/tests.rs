use std::collections::BTreeSet;

use super::*;
use crate::hardware::precision::Precision;

/// Parameter counts of the safetensors index at huggingface.co, which the tables of a config.json give
/// exactly. Left out of them are weights that are not served: Qwen3-0.6B and 1.7B store their tied output layer a
/// second time (751,632,384 and 2,031,739,904), DeepSeek-V3 a layer for multi-token prediction
/// (684,531,386,000; 671 billion without it, as its report says), Gemma 3 from 4B its vision encoder of
/// 416,866,032 and the projection from it of `1152 hidden + 1152`, BERT its 512 position ids.
const PUBLISHED: [(&str, u64); 53] = [
    ("llama-2-7b", 6_738_415_616),
    ("llama-2-13b", 13_015_864_320),
    ("llama-2-70b", 68_976_648_192),
    ("llama-3-8b", 8_030_261_248),
    ("llama-3-70b", 70_553_706_496),
    ("llama-3.1-8b", 8_030_261_248),
    ("llama-3.1-70b", 70_553_706_496),
    ("llama-3.1-405b", 405_853_388_800),
    ("llama-3.2-1b", 1_235_814_400),
    ("llama-3.2-3b", 3_212_749_824),
    ("llama-3.3-70b", 70_553_706_496),
    ("qwen2.5-0.5b", 494_032_768),
    ("qwen2.5-1.5b", 1_543_714_304),
    ("qwen2.5-3b", 3_085_938_688),
    ("qwen2.5-7b", 7_615_616_512),
    ("qwen2.5-14b", 14_770_033_664),
    ("qwen2.5-32b", 32_763_876_352),
    ("qwen2.5-72b", 72_706_203_648),
    ("qwen3-0.6b", 751_632_384 - 151_936 * 1024),
    ("qwen3-1.7b", 2_031_739_904 - 151_936 * 2048),
    ("qwen3-4b", 4_022_468_096),
    ("qwen3-8b", 8_190_735_360),
    ("qwen3-14b", 14_768_307_200),
    ("qwen3-32b", 32_762_123_264),
    ("qwen3-30b-a3b", 30_532_122_624),
    ("qwen3-235b-a22b", 235_093_634_560),
    ("mistral-7b", 7_248_023_552),
    ("mistral-nemo-12b", 12_247_782_400),
    ("mistral-small-24b", 23_572_403_200),
    ("mistral-large-123b", 122_610_069_504),
    ("mixtral-8x7b", 46_702_792_704),
    ("mixtral-8x22b", 140_620_634_112),
    ("deepseek-v2-lite", 15_706_484_224),
    ("deepseek-v2", 235_741_434_880),
    ("deepseek-v3", 671_026_419_200),
    ("gemma-2-2b", 2_614_341_888),
    ("gemma-2-9b", 9_241_705_984),
    ("gemma-2-27b", 27_227_128_320),
    ("gemma-3-1b", 999_885_952),
    ("gemma-3-4b", 4_300_079_472 - 416_866_032 - 1152 * 2561),
    ("gemma-3-12b", 12_187_325_040 - 416_866_032 - 1152 * 3841),
    ("gemma-3-27b", 27_432_406_640 - 416_866_032 - 1152 * 5377),
    ("gpt-oss-20b", 20_914_757_184),
    ("gpt-oss-120b", 116_829_156_672),
    ("opt-13b", 12_853_473_280),
    ("bge-base-en-v1.5", 109_482_240),
    ("bge-large-en-v1.5", 335_141_888),
    ("e5-large-v2", 335_141_888),
    ("bge-m3", 567_754_752),
    ("nomic-embed-text-v1.5", 136_731_648),
    ("ms-marco-minilm-l6-v2", 22_713_601),
    ("bge-reranker-large", 559_891_457),
    ("bge-reranker-v2-m3", 567_755_777),
];

#[test]
fn parameter_counts_are_the_published_ones() {
    assert_eq!(PUBLISHED.len(), models().len());
    for (id, published) in PUBLISHED {
        assert_eq!(model(id).unwrap().parameters(), published, "{id}");
    }
}

#[test]
fn active_parameters_agree_with_published_ones() {
    // In billions, from the reports: Mixtral (Jiang et al. 2024) 12.9 and 39; Qwen3 (2025) 3.3 and 22;
    // DeepSeek-V2 (2024) 21, its Lite version 2.4, which leaves out embeddings; DeepSeek-V3 37 with one embedding.
    let tables = |id, count| {
        let model = model(id).unwrap();
        (model.active_layer_parameters() + count * model.embedding_parameters()) as f64 / 1e9
    };
    assert!((tables("mixtral-8x7b", 2) / 12.9 - 1.0).abs() < 0.005);
    assert!((tables("mixtral-8x22b", 2) / 39.0 - 1.0).abs() < 0.01);
    assert!((tables("qwen3-30b-a3b", 2) / 3.3 - 1.0).abs() < 0.02);
    assert!((tables("qwen3-235b-a22b", 2) / 22.0 - 1.0).abs() < 0.01);
    assert!((tables("deepseek-v2", 1) / 21.0 - 1.0).abs() < 0.02);
    assert!((tables("deepseek-v2-lite", 1) / 2.4 - 1.0).abs() < 0.05);
    assert!((tables("deepseek-v3", 1) / 37.0 - 1.0).abs() < 0.02);
    // OpenAI 2025, "gpt-oss-120b & gpt-oss-20b Model Card", arXiv 2508.10925, table 1, with one embedding.
    assert!((tables("gpt-oss-20b", 1) / 3.61 - 1.0).abs() < 0.005);
    assert!((tables("gpt-oss-120b", 1) / 5.13 - 1.0).abs() < 0.005);
}

#[test]
fn kv_bytes_per_token_agree_with_published_ones() {
    let expected = [
        // DeepSeek-AI 2025, "Insights into DeepSeek-V3", arXiv 2505.09343, table 1: 70.272, 327.680 and
        // 516.096 KB in bf16.
        ("deepseek-v3", 70_272),
        ("qwen2.5-72b", 327_680),
        ("llama-3.1-405b", 516_096),
        // Kwon et al. 2023, PagedAttention: 800 KB for OPT-13B.
        ("opt-13b", 819_200),
        ("llama-2-13b", 819_200),
        ("llama-2-7b", 524_288),
        ("llama-3.1-8b", 131_072),
        ("llama-3.1-70b", 327_680),
        ("llama-3.2-1b", 32_768),
        ("qwen2.5-7b", 57_344),
        ("qwen3-14b", 163_840),
        ("qwen3-30b-a3b", 98_304),
        ("qwen3-235b-a22b", 192_512),
        ("mistral-7b", 131_072),
        ("mixtral-8x7b", 131_072),
        ("deepseek-v2", 69_120),
        ("deepseek-v2-lite", 31_104),
        ("gemma-2-9b", 344_064),
        ("gemma-2-27b", 376_832),
        ("gemma-3-27b", 507_904),
        ("gpt-oss-20b", 49_152),
        ("gpt-oss-120b", 73_728),
    ];
    for (id, bytes) in expected {
        assert_eq!(model(id).unwrap().kv_bytes_per_token(Precision::Bf16, 1), Some(bytes), "{id}");
    }
    let large = model("llama-3.1-70b").unwrap();
    assert_eq!(large.kv_bytes_per_token(Precision::Fp8, 4), Some(40_960));
    let few_heads = model("qwen2.5-7b").unwrap();
    assert_eq!(
        few_heads.kv_bytes_per_token(Precision::Bf16, 8),
        few_heads.kv_bytes_per_token(Precision::Bf16, 4),
        "four key-value heads are replicated on eight GPUs"
    );
    let latent = model("deepseek-v3").unwrap();
    assert_eq!(
        latent.kv_bytes_per_token(Precision::Bf16, 8),
        Some(70_272),
        "every GPU holds the latent vector"
    );
    assert_eq!(large.kv_bytes_per_token(Precision::Int4, 1), None);
    assert_eq!(model("bge-m3").unwrap().kv_bytes_per_token(Precision::Bf16, 1), Some(0));
}

#[test]
fn the_format_of_checkpoints_is_known() {
    let precision = |id| model(id).unwrap().precision;
    assert_eq!(precision("deepseek-v3"), Some(Precision::Fp8));
    assert_eq!(precision("llama-2-7b"), Some(Precision::Fp16));
    assert_eq!(precision("bge-m3"), Some(Precision::Fp16), "fp32 is served in fp16");
    assert_eq!(precision("qwen3-14b"), Some(Precision::Bf16));
    assert_eq!(precision("gpt-oss-120b"), Some(Precision::Mxfp4));
}

#[test]
fn windows_are_those_of_the_families() {
    let sliding = |id| model(id).unwrap().sliding.map(|sliding| (sliding.window, sliding.layers));
    assert_eq!(sliding("gemma-2-27b"), Some((4096, 23)));
    assert_eq!(sliding("gemma-3-27b"), Some((1024, 52)), "five of six layers");
    assert_eq!(sliding("gemma-3-1b"), Some((512, 22)));
    // Layers 6, 12, ... of 62 see all of the context: of stages of 15, 16, 16 and 15 layers 2, 3, 2 and 3.
    let stages = model("gemma-3-27b").unwrap().pipeline(4);
    let windowed = |stage: &Model| (stage.layers, stage.sliding.unwrap().layers);
    assert_eq!(stages.iter().map(windowed).collect::<Vec<_>>(), [(15, 13), (16, 13), (16, 14), (15, 12)]);
    assert_eq!(sliding("gpt-oss-20b"), Some((128, 12)), "every other");
    assert_eq!(sliding("mistral-7b"), None, "since v0.2");
    assert_eq!(sliding("qwen2.5-7b"), None);
}

#[test]
fn the_ranking_model_has_its_published_size() {
    let [dlrm] = ranking_models() else { panic!("one ranking model") };
    // MLPerf: 187,767,399 rows of 128 values; 96 GB.
    assert_eq!(dlrm.embedding_parameters(), 187_767_399 * 128);
    assert!((dlrm.weight_bytes() as f64 / 96.1e9 - 1.0).abs() < 0.001);
    // 13-512-256-128 and 479-1024-1024-512-256-1, biases included.
    let bottom = 13 * 512 + 512 + 512 * 256 + 256 + 256 * 128 + 128;
    let top = 479 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 256 + 256 + 256 + 1;
    assert_eq!(dlrm.network_parameters(), bottom + top);
    assert_eq!(dlrm.lookup_bytes_per_item(), 26 * 128 * 4);
    assert_eq!(dlrm.flops_per_item(), 2 * (bottom + top) + 27 * 26 * 128);
}

fn assert_gb(bytes: u64, expected: f64) {
    assert!((bytes as f64 / 1e9 - expected).abs() < 0.006, "{bytes} bytes are not {expected} GB");
}

#[test]
fn an_untied_input_embedding_is_not_streamed() {
    let llama = model("llama-3.1-8b").unwrap();
    assert_gb(llama.weight_bytes(Precision::Bf16), 16.06);
    assert_gb(llama.streamed_weight_bytes(Precision::Bf16), 15.01);
    let qwen = model("qwen3-14b").unwrap();
    assert_gb(qwen.weight_bytes(Precision::Bf16), 29.54);
    assert_gb(qwen.streamed_weight_bytes(Precision::Bf16), 27.98);
    let tied = model("llama-3.2-3b").unwrap();
    assert_eq!(tied.weight_bytes(Precision::Bf16), tied.streamed_weight_bytes(Precision::Bf16));
}

#[test]
fn quantized_weights_have_the_size_of_published_checkpoints() {
    let llama = model("llama-3.1-8b").unwrap();
    // RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8: 9.08 GB; hugging-quants AWQ-INT4: 5.73 GB.
    assert_gb(llama.weight_bytes(Precision::Fp8), 9.08);
    assert_gb(llama.weight_bytes(Precision::Int4), 5.73);
    // The model card's table 1: checkpoints of 12.8 and 60.8 GiB.
    for (id, gib) in [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8)] {
        let bytes = model(id).unwrap().weight_bytes(Precision::Mxfp4);
        assert!((bytes as f64 / f64::from(1 << 30) - gib).abs() < 0.05, "{id}: {bytes}");
    }
}

#[test]
fn every_figure_has_a_source() {
    for gpu in gpus() {
        let sources = [&gpu.source, &gpu.memory_source, &gpu.price_source];
        assert!(sources.iter().all(|source| source.len() > 10), "{}", gpu.id);
        assert!(gpu.measured.as_ref().is_none_or(|measured| measured.source.len() > 10), "{}", gpu.id);
    }
    assert!(models().all(|model| model.source.contains("huggingface.co/")));
    assert!(ranking_models().iter().all(|model| model.source.len() > 10));
}

#[test]
fn names_are_unique_and_figures_plausible() {
    assert_eq!(gpus().iter().map(|gpu| &gpu.id).collect::<BTreeSet<_>>().len(), gpus().len());
    assert_eq!(models().map(|model| &model.id).collect::<BTreeSet<_>>().len(), models().len());
    for gpu in gpus() {
        let largest = if gpu.is_host() { 1_000_000_000_000 } else { 220_000_000_000 };
        assert!((20_000_000_000..largest).contains(&gpu.memory_bytes), "{}", gpu.id);
        assert!(gpu.fp32 <= gpu.tf32 && gpu.tf32 < gpu.fp16, "{}", gpu.id);
        assert!(gpu.fp8.into_iter().chain(gpu.int8).all(|peak| peak > 1.9 * gpu.fp16), "{}", gpu.id);
        assert!(gpu.unsupported.len() < 3 && !gpu.unsupported.contains(&Precision::Bf16), "{}", gpu.id);
        assert_eq!(gpu.nvlink.is_some(), gpu.nvlink_domain.is_some(), "{}", gpu.id);
        if let Some(measured) = &gpu.measured {
            assert!(measured.gemm < gpu.fp16 && measured.prefill_attention < measured.gemm, "{}", gpu.id);
            assert!(measured.weight_bandwidth < gpu.memory_bandwidth, "{}", gpu.id);
            assert!(measured.decode_attention_bandwidth < gpu.memory_bandwidth, "{}", gpu.id);
        }
    }
    for model in models() {
        assert!(model.heads.is_multiple_of(model.kv_heads), "{}", model.id);
        assert!(model.active_experts <= model.experts, "{}", model.id);
    }
}

#[test]
fn memory_is_what_the_driver_reports() {
    const MIB: u64 = 1 << 20;
    assert_eq!(gpu("h100-sxm").unwrap().memory_bytes, 81_559 * MIB);
    assert_eq!(gpu("h200-sxm").unwrap().memory_bytes, 143_771 * MIB);
}

#[test]
fn missing_units_fall_back_to_16_bits() {
    let a100 = gpu("a100-sxm-80gb").unwrap();
    assert_eq!(a100.peak_flops(Precision::Fp8), 312e12);
    assert_eq!(a100.peak_flops(Precision::Int8), 624e12);
    assert!(!a100.computes_in_8_bits(Precision::Fp8) && a100.computes_in_8_bits(Precision::Int8));
}

#[test]
fn links_reach_as_far_as_they_do() {
    let pcie = gpu("h100-pcie").unwrap();
    assert_eq!(pcie.link_bandwidth(2), 300e9);
    assert_eq!(pcie.link_bandwidth(4), 64e9);
    assert_eq!(gpu("l40s").unwrap().link_bandwidth(2), 32e9);
    assert_eq!(gpu("h100-sxm").unwrap().link_bandwidth(8), 450e9);
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let message = gpu("h100").unwrap_err().to_string();
    assert!(message.contains("unknown gpu `h100`") && message.contains("h100-sxm"), "{message}");
    let message = model("llama").unwrap_err().to_string();
    assert!(message.contains("unknown model `llama`") && message.contains("mixtral-8x7b"), "{message}");
    assert!(message.ends_with("or the path of a config.json"), "{message}");
}
