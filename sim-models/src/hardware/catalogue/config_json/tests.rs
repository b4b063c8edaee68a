use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::hardware::catalogue::{Sliding, model, models};
use crate::hardware::datasheet::Efficiency;
use crate::hardware::memory::{MemoryPlan, MemorySettings};
use crate::hardware::precision::Precision;
use crate::hardware::timing::StepFunction;

fn load(value: &Value) -> Result<Model, ModelFileError> {
    Model::from_json(&value.to_string(), "config.json")
}

fn qwen3() -> Value {
    json!({
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "head_dim": 128, "hidden_size": 5120,
        "intermediate_size": 17408, "max_position_embeddings": 40960, "max_window_layers": 40,
        "model_type": "qwen3", "num_attention_heads": 40, "num_hidden_layers": 40, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6, "rope_scaling": null, "sliding_window": null, "tie_word_embeddings": false,
        "torch_dtype": "bfloat16", "use_sliding_window": false, "vocab_size": 151_936
    })
}

/// As published: what `Gemma3TextConfig` has as default is left out.
fn gemma3() -> Value {
    json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "mm_tokens_per_image": 256,
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "rope_scaling": { "factor": 8.0, "rope_type": "linear" },
            "sliding_window": 1024
        },
        "torch_dtype": "bfloat16",
        "vision_config": { "hidden_size": 1152, "model_type": "siglip_vision_model", "num_hidden_layers": 27 }
    })
}

fn deepseek() -> Value {
    json!({
        "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "first_k_dense_replace": 3,
        "hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings": 163_840,
        "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_routed_experts": 256,
        "n_shared_experts": 1, "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61,
        "num_key_value_heads": 128, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "quantization_config": { "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128] },
        "tie_word_embeddings": false, "topk_method": "noaux_tc", "torch_dtype": "bfloat16",
        "v_head_dim": 128, "vocab_size": 129_280
    })
}

/// `value` with some keys set.
fn with(mut value: Value, changes: &Value) -> Value {
    let map = value.as_object_mut().unwrap();
    map.extend(changes.as_object().unwrap().clone());
    value
}

#[test]
fn a_file_gives_what_the_catalogue_has() {
    for (file, id) in [(qwen3(), "qwen3-14b"), (gemma3(), "gemma-3-4b"), (deepseek(), "deepseek-v3")] {
        let listed = model(id).unwrap();
        let own = load(&file).unwrap();
        assert_eq!(own.id, "config.json");
        let named =
            Model { id: listed.id.clone(), name: listed.name.clone(), source: listed.source.clone(), ..own };
        assert_eq!(&named, listed);
    }
}

#[test]
fn a_file_is_read_from_its_path() {
    let path = std::env::temp_dir().join(format!("tenfold-{}-config.json", std::process::id()));
    std::fs::write(&path, format!("\u{feff}{}", qwen3())).unwrap();
    let read = Model::from_file(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read.unwrap().parameters(), 14_768_307_200);
    let message = Model::from_file(&path).unwrap_err().to_string();
    assert!(message.contains("config.json: ") && message.contains("No such file"), "{message}");
}

#[test]
fn an_unknown_architecture_lists_the_known_ones() {
    for (value, expected) in [
        (json!({ "model_type": "mamba" }), "the architecture `mamba` is not known"),
        (json!({ "model_type": 7 }), "the architecture `7` is not known"),
        (json!({ "hidden_size": 64 }), "`model_type` is missing"),
        (json!({ "model_type": "x".repeat(200) }), "..."),
    ] {
        let error = load(&value).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let accepted = error.accepted.unwrap();
        assert!(accepted.contains("llama, mistral") && accepted.contains("nomic_bert"), "{accepted}");
    }
}

#[test]
fn scaled_positions_lengthen_the_context() {
    let context = |more: Value| load(&with(qwen3(), &more)).unwrap().max_context;
    let yarn = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768 });
    assert_eq!(context(json!({ "rope_scaling": yarn })), 131_072);
    assert_eq!(context(json!({ "rope_parameters": yarn })), 131_072);
    assert_eq!(context(json!({ "rope_scaling": { "type": "linear", "factor": 2 } })), 81_920);
    assert_eq!(context(json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8 } })), 40_960);
    assert_eq!(context(json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 1e6 } })), 40_960);
    let error =
        load(&with(qwen3(), &json!({ "rope_scaling": { "type": "yarn", "factor": "4" } }))).unwrap_err();
    assert!(error.to_string().contains("rope_scaling = 4: expected a factor"), "{error}");
}

#[test]
fn every_missing_key_is_named() {
    let needed = [
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "vocab_size",
    ];
    for key in needed {
        let message = load(&with(qwen3(), &json!({ key: null }))).unwrap_err().to_string();
        assert_eq!(message, format!("config.json: `{key}` is missing, which qwen3 models need"));
    }
    for key in ["kv_lora_rank", "v_head_dim", "moe_intermediate_size", "num_experts_per_tok"] {
        let message = load(&with(deepseek(), &json!({ key: null }))).unwrap_err().to_string();
        assert_eq!(message, format!("config.json: `{key}` is missing, which deepseek_v3 models need"));
    }
}

#[test]
fn impossible_values_say_what_would_be_accepted() {
    let cases = [
        (
            qwen3(),
            json!({ "hidden_size": "5120" }),
            "hidden_size = 5120: expected a whole number from 1 to 131072",
        ),
        (qwen3(), json!({ "hidden_size": -5 }), "hidden_size = -5"),
        (qwen3(), json!({ "num_hidden_layers": 0 }), "num_hidden_layers = 0"),
        (qwen3(), json!({ "num_hidden_layers": 1.5 }), "num_hidden_layers = 1.5"),
        (qwen3(), json!({ "vocab_size": u64::MAX }), "vocab_size = 18446744073709551615"),
        (
            qwen3(),
            json!({ "num_key_value_heads": 7 }),
            "num_key_value_heads = 7: expected a divisor of num_attention_heads, 40",
        ),
        (qwen3(), json!({ "tie_word_embeddings": "no" }), "tie_word_embeddings = no: expected true or false"),
        (
            deepseek(),
            json!({ "num_experts_per_tok": 300 }),
            "num_experts_per_tok = 300: expected at most n_routed_experts, 256",
        ),
        (
            qwen3(),
            json!({ "model_type": "llama", "head_dim": null, "num_attention_heads": 48 }),
            "num_attention_heads = 48: expected a divisor",
        ),
        (
            deepseek(),
            json!({ "moe_intermediate_size": 1 << 20, "n_routed_experts": 4096, "num_hidden_layers": 1024, "hidden_size": 1 << 17 }),
            "at most 2^50 parameters",
        ),
    ];
    for (base, changes, expected) in cases {
        let message = load(&with(base, &changes)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let message = Model::from_json("[1, 2]", "config.json").unwrap_err().to_string();
    assert!(message.contains("expected a JSON object"), "{message}");
}

#[test]
fn quantization_sets_the_precision() {
    let formats = [
        (json!({ "quant_method": "fp8" }), Some(Precision::Fp8)),
        (json!({ "quant_method": "fbgemm_fp8" }), Some(Precision::Fp8)),
        (json!({ "quant_method": "awq", "bits": 4, "group_size": 128 }), Some(Precision::Int4)),
        (json!({ "quant_method": "gptq", "bits": 4 }), Some(Precision::Int4)),
        (json!({ "quant_method": "gptq", "bits": 8 }), None),
        (json!({ "quant_method": "modelopt", "quant_algo": "FP8" }), Some(Precision::Fp8)),
        (json!({ "quant_method": "modelopt", "quant_algo": "NVFP4" }), None),
        (json!({ "quant_method": "bitsandbytes", "load_in_4bit": true }), None),
        (
            json!({ "quant_method": "compressed-tensors", "config_groups": { "group_0": {
                "weights": { "num_bits": 8, "type": "float" }, "input_activations": { "num_bits": 8 } } } }),
            Some(Precision::Fp8),
        ),
        (
            json!({ "quant_method": "compressed-tensors", "config_groups": { "group_0": {
                "weights": { "num_bits": 8, "type": "int" }, "input_activations": { "num_bits": 8 } } } }),
            Some(Precision::Int8),
        ),
        (
            json!({ "quant_method": "compressed-tensors", "config_groups": { "group_0": {
                "weights": { "num_bits": 4, "type": "int" }, "input_activations": null } } }),
            Some(Precision::Int4),
        ),
        (json!("fp8"), None),
        (json!({ "quant_method": "compressed-tensors", "config_groups": [] }), None),
    ];
    for (quantization, expected) in formats {
        let file = with(qwen3(), &json!({ "quantization_config": quantization }));
        assert_eq!(load(&file).unwrap().precision, expected, "{quantization}");
    }
    let dtype = |changes| load(&with(qwen3(), &changes)).unwrap().precision;
    assert_eq!(dtype(json!({ "torch_dtype": "float32" })), Some(Precision::Fp16));
    assert_eq!(dtype(json!({ "dtype": "float16" })), Some(Precision::Fp16));
    assert_eq!(dtype(json!({ "torch_dtype": null })), Some(Precision::Bf16));
}

#[test]
fn biases_and_layers_of_other_kinds_count() {
    let parameters = |value| load(&value).unwrap().parameters();
    let base = || with(qwen3(), &json!({ "model_type": "llama" }));
    let plain = parameters(base());
    let attention = 40 * ((40 + 16) * 128 + 5120);
    assert_eq!(parameters(with(base(), &json!({ "attention_bias": true }))), plain + attention);
    assert_eq!(parameters(with(base(), &json!({ "mlp_bias": true }))), plain + 40 * (2 * 17_408 + 5120));

    // Qwen MoE with every second layer dense but the last, which is dense by name.
    let sparse = json!({
        "model_type": "qwen2_moe", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 1000,
        "shared_expert_intermediate_size": 3000, "decoder_sparse_step": 2, "mlp_only_layers": [39]
    });
    let mixed = load(&with(qwen3(), &sparse)).unwrap();
    assert_eq!((mixed.dense_layers, mixed.dense_ffn, mixed.shared_ffn), (21, 17_408, 3000));
    let matrices = 3 * 5120 * (19 * (8 * 1000 + 3000) + 21 * 17_408) + 19 * 5120 * 8;
    let attention = 40 * 5120 * (40 + 16 + 40) * 128;
    assert_eq!(mixed.layer_parameters(), matrices + attention);
    // A gate for the shared expert in 19 layers, two norms and the biases of queries, keys and values in 40.
    assert_eq!(mixed.other_parameters, 19 * 5120 + 40 * (2 * 5120 + 56 * 128) + 5120);

    let dense = load(&with(deepseek(), &json!({ "n_routed_experts": null }))).unwrap();
    assert_eq!((dense.experts, dense.ffn, dense.dense_layers), (1, 18_432, 0));
}

#[test]
fn windows_come_from_a_list_or_a_pattern() {
    let sliding = |value| load(&value).unwrap().sliding;
    let text = gemma3()["text_config"].clone();
    assert_eq!(sliding(gemma3()), Some(Sliding { window: 1024, layers: 29 }));
    let listed =
        with(text, &json!({ "layer_types": ["sliding_attention", "full_attention", "sliding_attention"] }));
    assert_eq!(sliding(listed), Some(Sliding { window: 1024, layers: 2 }));
    let old = with(qwen3(), &json!({ "model_type": "mistral", "sliding_window": 4096 }));
    assert_eq!(sliding(old), Some(Sliding { window: 4096, layers: 40 }));
    let partly = json!({ "use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 30 });
    assert_eq!(sliding(with(qwen3(), &partly)), Some(Sliding { window: 4096, layers: 10 }));
}

/// A value that no config.json should have, or that some might.
fn strange() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!("x")),
        Just(json!([])),
        Just(json!({})),
        Just(json!(-1)),
        Just(json!(0)),
        Just(json!(1.5e300)),
        any::<u64>().prop_map(|number| json!(number)),
        (0_u32..64).prop_map(|bits| json!(1_u64 << bits)),
        (1_u64..5000).prop_map(|number| json!(number)),
        Just(json!({ "quant_method": "compressed-tensors", "config_groups": { "g": { "weights": 3 } } })),
    ]
}

fn keys() -> Vec<&'static str> {
    vec![
        "model_type",
        "architectures",
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_key_value_heads",
        "num_hidden_layers",
        "vocab_size",
        "head_dim",
        "tie_word_embeddings",
        "attention_bias",
        "mlp_bias",
        "sliding_window",
        "use_sliding_window",
        "max_window_layers",
        "sliding_window_pattern",
        "layer_types",
        "num_experts",
        "num_local_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "shared_expert_intermediate_size",
        "decoder_sparse_step",
        "mlp_only_layers",
        "n_routed_experts",
        "n_shared_experts",
        "moe_layer_freq",
        "first_k_dense_replace",
        "q_lora_rank",
        "kv_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
        "ffn_dim",
        "word_embed_proj_dim",
        "type_vocab_size",
        "id2label",
        "n_embd",
        "n_layer",
        "n_head",
        "n_inner",
        "n_positions",
        "text_config",
        "quantization_config",
        "torch_dtype",
        "dtype",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever a file holds, it is read or refused, and what is read goes through memory plan and step
    /// function without a panic.
    #[test]
    fn strange_files_never_panic(
        architecture in proptest::sample::select(ARCHITECTURES.to_vec()),
        base in 0..3,
        changes in proptest::collection::vec((proptest::sample::select(keys()), strange()), 0..6),
        gpus in proptest::sample::select(vec![1_u64, 2, 4, 8]),
    ) {
        let mut file = match base {
            0 => qwen3(),
            1 => gemma3()["text_config"].clone(),
            _ => deepseek(),
        };
        // Keys of all families at once, so that every family gets far.
        file = with(file, &json!({
            "model_type": architecture, "ffn_dim": 4096, "n_embd": 64, "n_layer": 2, "n_head": 4,
            "n_positions": 512, "num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512, "vocab_size": 1000, "num_attention_heads": 16,
        }));
        if !matches!(architecture, "nomic_bert") {
            file = with(file, &json!({ "num_experts": 8 }));
        }
        for (key, value) in changes {
            file = with(file, &json!({ key: value }));
        }
        match load(&file) {
            Err(error) => prop_assert!(error.to_string().starts_with("config.json: ")),
            Ok(model) => {
                let gpu = crate::hardware::catalogue::gpu("h100-sxm").unwrap();
                let settings = MemorySettings { tensor_parallel: gpus, ..MemorySettings::default() };
                // A refusal is as good an answer as a plan.
                let _ = MemoryPlan::new(gpu, &model, &settings).map_err(|error| error.to_string());
                let (bf16, efficiency) = (Precision::Bf16, Efficiency::default());
                let _ = StepFunction::from_datasheet(gpu, &model, bf16, bf16, gpus, &efficiency);
                prop_assert!(model.parameters() >= model.active_layer_parameters());
                prop_assert!(model.active_experts <= model.experts && model.dense_layers <= model.layers);
            }
        }
    }

    #[test]
    fn strange_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(Model::from_json(&text, "config.json").is_err());
    }
}

#[test]
fn every_architecture_is_in_the_catalogue_or_tested_above() {
    // A list that grows without a reader would accept files that it cannot read.
    let plain = with(
        qwen3(),
        &json!({
            "ffn_dim": 4096, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "num_local_experts": 8,
            "num_experts_per_tok": 2, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
            "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128
        }),
    );
    for architecture in ARCHITECTURES {
        let mut file = with(plain.clone(), &json!({ "model_type": architecture }));
        if architecture.ends_with("_moe") {
            file = with(file, &json!({ "num_experts": 8 }));
        }
        assert!(load(&file).is_ok(), "{architecture}: {:?}", load(&file));
    }
    assert!(models().len() > 40);
}
