//! What a pool may be configured as.

use super::*;
use crate::error::ConfigError;
use crate::hardware::kv_groups::KvGroups;
use crate::hardware::memory::MemoryPlan;
use crate::hardware::precision::Precision;
use crate::pool::{Balancer, HealthConfig, LeastRequest};
use crate::system::ComponentConfig;

fn refused(model: &str, gpu: &str, settings: &str) -> ConfigError {
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"1/s\" }}\nentry = \"llm\"\n
         [components.llm]\nkind = \"llm\"\nmodel = \"{model}\"\ngpu = \"{gpu}\"\n{settings}\n"
    );
    let config: SystemConfig = toml::from_str(&system).unwrap();
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert_eq!(error.path[..2], ["components", "llm"], "{error}");
    error
}

#[test]
fn the_smallest_file_takes_the_defaults_and_round_trips() {
    let config: LlmConfig = toml::from_str("model = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"").unwrap();
    assert_eq!(config, LlmConfig::new("llama-3.1-8b", "h100-sxm"));
    assert_eq!((config.max_num_batched_tokens, config.max_num_seqs, config.block_size), (8192, 256, 16));
    let full = "kind = \"llm\"\nmodel = \"llama-3.1-70b\"\ngpu = \"h200-sxm\"\ntensor_parallel = 2\n
        precision = \"fp8\"\nkv_precision = \"fp8\"\nreplicas = 4\nqueue_cap = 10\nkv_blocks = 5000\n
        scheduling_policy = \"priority\"\nbalancer = \"least_request\"\nhealth = \"envoy\"\nmax_model_len = 4096\n
        gpu_memory_utilization = 1\nprice_per_gpu_hour = \"$2.50/h\"\n
        timing = { efficiency = { gemm_compute = 0.7, step_gap_us = 100 } }";
    let component: ComponentConfig = toml::from_str(full).unwrap();
    let ComponentConfig::Llm(config) = &component else { panic!("{component:?}") };
    assert_eq!(config.balancer, Balancer::LeastRequest(LeastRequest { choice_count: 2 }));
    assert_eq!((&config.health, config.timing.efficiency.gemm_compute), (&HealthConfig::envoy(), Some(0.7)));
    let again: ComponentConfig = toml::from_str(&toml::to_string(&component).unwrap()).unwrap();
    assert_eq!(again, component);
    for bad in ["replicas = 0", "queue_cap = 0", "engines = 2", "balancer = \"best\"", "timing = { gap = 1 }"]
    {
        let text = format!("model = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n{bad}");
        assert!(toml::from_str::<LlmConfig>(&text).is_err(), "{bad}");
    }
}

#[test]
fn what_does_not_fit_is_told_with_what_would() {
    let error = refused("llama-3.1-70b", "h100-sxm", "");
    assert_eq!(error.path[2], "model");
    // 141.1 GB of weights alone, and 0.92 of 85.5 GB.
    assert!(error.message.contains("does not fit on h100-sxm"), "{error}");
    let short: f64 = error.message.split(' ').rev().nth(4).unwrap().parse().unwrap();
    assert!(short > (141.1e9 - 0.92 * 85.6e9) / f64::from(1 << 30) && short < 65.0, "{error}");
    let help = error.help.unwrap();
    assert!(help.contains("tensor_parallel = 2") && help.starts_with("would fit"), "{help}");
    assert_eq!(refused("llama-3.1-8b", "h100-sxm", "kv_blocks = 100000").path[2], "model");
}

#[test]
fn every_error_names_its_key() {
    let error = refused("llama-9", "h100-sxm", "");
    assert_eq!(error.path[2], "model");
    assert!(error.message.contains("llama-9") && error.help.unwrap().contains("llama-3.1-8b"));
    let error = refused("llama-3.1-8b", "h1000", "");
    assert_eq!(error.path[2], "gpu");
    assert!(error.message.contains("h1000") && error.help.unwrap().contains("h100-sxm"));
    for (settings, path) in [
        ("tensor_parallel = 3", "tensor_parallel"),
        ("kv_precision = \"int4\"", "kv_precision"),
        ("gpu_memory_utilization = 1.5", "gpu_memory_utilization"),
        ("block_size = 0", "block_size"),
        ("max_num_seqs = 0", "max_num_seqs"),
        ("max_num_batched_tokens = 100", "max_num_batched_tokens"),
        ("kv_blocks = 1", "kv_blocks"),
        ("max_model_len = 0", "max_model_len"),
        ("max_model_len = 1000000", "max_model_len"),
        ("replicas = 100000", "replicas"),
        ("dynamic_batching = {}", "dynamic_batching"),
        ("reservation = \"oracle\"", "reservation"),
        (
            "batching = \"dynamic\"\ndynamic_batching = { preferred_batch_size = [300] }",
            "dynamic_batching.preferred_batch_size",
        ),
        ("kv_blocks = 5000\nkv_allocation = \"contiguous\"", "max_model_len"),
        ("timing = { efficiency = { weight_bandwidth = 1.5 } }", "timing.efficiency.weight_bandwidth"),
        ("timing = { efficiency = { decode_attention_bandwidth = 1e-12 } }", "timing.efficiency"),
        ("timing = { efficiency = { decode_attention_bandwidth = 1e-10 } }", "timing.efficiency"),
    ] {
        let error = refused("llama-3.1-8b", "h100-sxm", settings);
        assert_eq!(error.path[2..].join("."), path, "{settings}: {error}");
    }
}

/// A file that a scenario names as its model.
fn model_file(name: &str, text: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("tenfold-{}-{name}.json", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_model_may_be_a_file() {
    let shape = "\"model_type\": \"llama\", \"num_hidden_layers\": 32, \"hidden_size\": 4096,
        \"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"intermediate_size\": 14336,
        \"vocab_size\": 128256, \"max_position_embeddings\": 8192";
    let plain = model_file("plain", &format!("{{ {shape} }}"));
    let awq = format!("{{ {shape}, \"quantization_config\": {{ \"quant_method\": \"awq\", \"bits\": 4 }} }}");
    let awq = model_file("awq", &awq);
    let own = format!("{{ {shape}, \"quantization_config\": {{ \"quant_method\": \"own\" }} }}");
    let own = model_file("own", &own);
    let unknown = model_file("unknown", "{ \"model_type\": \"mamba\" }");
    let of = |path: &std::path::Path| LlmConfig::new(path.to_str().unwrap(), "h100-sxm");

    let listed = LlmConfig::new("llama-3.1-8b", "h100-sxm");
    assert_eq!(of(&plain).memory().unwrap(), listed.memory().unwrap());
    assert_eq!(of(&plain).step_function().unwrap(), listed.step_function().unwrap());
    assert_eq!(of(&plain).engine_config().unwrap().max_model_len, Some(8192));
    // Quantized weights are the default of a quantized checkpoint, and the scenario has the last word.
    let int4 = LlmConfig { precision: Some(Precision::Int4), ..listed.clone() };
    assert_eq!(of(&awq).memory().unwrap(), int4.memory().unwrap());
    let wide = LlmConfig { precision: Some(Precision::Bf16), ..of(&awq) };
    assert_eq!(wide.memory().unwrap(), listed.memory().unwrap());

    let error = refused(own.to_str().unwrap(), "h100-sxm", "");
    assert!(error.message.contains("is of no known number format"), "{error}");
    assert!(error.help.unwrap().contains("precision: fp32, fp16"));
    assert!(LlmConfig { precision: Some(Precision::Int8), ..of(&own) }.memory().is_ok());
    let error = refused(unknown.to_str().unwrap(), "h100-sxm", "");
    assert_eq!(error.path[2], "model");
    assert!(error.message.contains("the architecture `mamba` is not known"), "{error}");
    assert!(error.help.unwrap().starts_with("expected a model_type of llama, mistral"));
    let error = refused("nowhere.json", "h100-sxm", "");
    assert!(error.message.starts_with("nowhere.json: "), "{error}");
    for path in [plain, awq, own, unknown] {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn relative_paths_are_taken_from_the_scenario() {
    let mut system = SystemConfig::default();
    for (name, model) in [("relative", "models/own.json"), ("absolute", "/own.json"), ("listed", "qwen3-8b")]
    {
        let config = LlmConfig::new(model, "h100-sxm");
        system.components.insert(name.to_owned(), ComponentConfig::Llm(Box::new(config)));
    }
    system.resolve_paths(std::path::Path::new("base"));
    let models: Vec<_> = system
        .components
        .values()
        .map(|component| match component {
            ComponentConfig::Llm(config) => config.model.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(models, ["base/models/own.json", "/own.json", "qwen3-8b"]);
}

#[test]
fn hosts_and_windows_and_encoders_are_told() {
    let error = refused("bge-m3", "h100-sxm", "");
    assert_eq!(error.path[2], "model");
    assert!(error.message.contains("generates no text"), "{error}");
    let error = refused("llama-3.1-8b", "cpu-m7i-8xlarge", "precision = \"fp8\"");
    assert_eq!(error.path[2], "precision");
    let error = refused("llama-3.1-8b", "cpu-m7i-8xlarge", "tensor_parallel = 2");
    assert_eq!(error.path[2], "tensor_parallel");
    let error = refused("llama-3.1-8b", "h100-sxm", "data_parallel_size = 2\nreplicas = 2");
    assert_eq!(error.path[2], "data_parallel_size");
    let error = refused("qwen3-30b-a3b", "h100-sxm", "data_parallel_size = 2\nreplicas = 3");
    assert_eq!(error.path[2], "replicas");
}

#[test]
fn what_slides_out_of_windows_is_kept_where_vllm_keeps_it() {
    let gemma = LlmConfig { tensor_parallel: 2, ..LlmConfig::new("gemma-3-27b", "h100-sxm") };
    let all = LlmConfig { disable_hybrid_kv_cache_manager: true, ..gemma.clone() };
    let (groups, one) = (gemma.memory().unwrap(), all.memory().unwrap());
    assert_eq!((groups.kv_groups.full, groups.kv_groups.windowed), (1, 6));
    assert_eq!(one.kv_groups, KvGroups::default());
    // 10 of 62 layers in a block, and no other memory.
    assert_eq!((groups.kv_bytes, groups.block_bytes * 62), (one.kv_bytes, one.block_bytes * 10));
    assert_eq!(groups.kv_blocks, groups.kv_bytes / groups.block_bytes);
    // 70 layers' room for 62 within the window, and about 10 beyond.
    let room = |plan: &MemoryPlan| plan.kv_tokens() as f64;
    assert!((room(&groups) / room(&one) - 62.0 / 70.0).abs() < 1e-3);
    let longest = |config: &LlmConfig| config.engine_config().unwrap().longest() as f64;
    assert!((longest(&gemma) / longest(&all) - 6.2).abs() < 0.5, "{}", longest(&gemma) / longest(&all));

    assert_eq!(gemma.kept_beyond_windows().unwrap(), None);
    let message = all.kept_beyond_windows().unwrap().unwrap();
    assert!(
        message.starts_with("52 of the 62 layers of gemma-3-27b look back over 1024 tokens"),
        "{message}"
    );
    let offload = toml::from_str("kv_offloading_size = \"8 GiB\"").unwrap();
    let offloading = LlmConfig { kv_offload: Some(offload), ..gemma.clone() };
    assert_eq!(offloading.memory().unwrap(), one);
    assert!(offloading.kept_beyond_windows().unwrap().unwrap().contains("with kv_offload"));
    let short = LlmConfig { max_model_len: Some(1024), ..all };
    assert_eq!(short.kept_beyond_windows().unwrap(), None);
    assert_eq!(LlmConfig::new("qwen3-8b", "h100-sxm").kept_beyond_windows().unwrap(), None);
}

#[test]
fn gpus_are_on_the_bill() {
    let output = simulate(&[(0, 10, 1)], "tensor_parallel = 2\nreplicas = 3");
    let [line] = output.costs.as_slice() else { panic!("{:?}", output.costs) };
    let gpu = crate::hardware::catalogue::gpu("h100-sxm").unwrap();
    assert_eq!((line.resource.as_str(), line.units), ("gpu h100-sxm", 6.0));
    assert_eq!(line.usd_per_hour, 6.0 * gpu.price_per_hour);
    assert_eq!(line.source, gpu.price_source);
    assert_eq!((report(&output).gpus, pool(&output).replicas.len()), (6.0, 3));
    let output = simulate(&[(0, 10, 1)], "price_per_gpu_hour = \"$2.50/h\"");
    assert_eq!((output.costs[0].usd_per_hour, output.costs[0].source.as_str()), (2.5, "the scenario"));
}
