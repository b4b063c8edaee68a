//! Speculative decoding, pipelines and adapters in a pool.

use super::*;
use crate::hardware::timing::Drafter;
use crate::llm::SpeculativeConfig;

fn config(settings: &str) -> LlmConfig {
    toml::from_str(&format!("model = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n{settings}")).unwrap()
}

fn decode_with(sequences: u64, drafts: u64) -> Pass {
    let new_tokens = sequences * (1 + drafts);
    Pass {
        sequences,
        new_tokens,
        decode_context: sequences * 500,
        drafts: sequences * drafts,
        ..Pass::default()
    }
}

/// Speculation pays while passes are bound by memory, and costs once they are bound by computing (Leviathan et al.,
/// section 3.3; Liu et al., "Optimizing Speculative Decoding for Serving Large Language Models Using Goodput", 2024: slower
/// than none under load).
#[test]
fn speculation_pays_at_small_batches_and_costs_at_large_ones() {
    let speculative =
        "speculative = { method = \"eagle\", num_speculative_tokens = 5, acceptance_rate = 0.7 }";
    let (plain, fast) = (config("").step_function().unwrap(), config(speculative).step_function().unwrap());
    let tokens = (1.0 - libm::pow(0.7, 6.0)) / 0.3;
    let speed_up = |sequences| {
        let (with, without) =
            (fast.ticks(&decode_with(sequences, 5)), plain.ticks(&decode_with(sequences, 0)));
        tokens * without as f64 / with as f64
    };
    assert!(speed_up(1) > 1.3, "{}", speed_up(1));
    assert!(speed_up(512) < 0.95, "{}", speed_up(512));
    assert!(speed_up(1) > speed_up(64) && speed_up(64) > speed_up(512));
}

#[test]
fn drafting_models_take_memory_and_time() {
    let alone = config("").memory().unwrap();
    let by_model = config(
        "speculative = { num_speculative_tokens = 3, acceptance_rate = 0.6, draft = { model = \"llama-3.2-1b\" } }",
    );
    let beside = by_model.memory().unwrap();
    let weights = beside.weights_bytes - alone.weights_bytes;
    assert!((2.4e9..2.6e9).contains(&(weights as f64)), "1.24 billion parameters in bf16: {weights}");
    assert_eq!(beside.kv_bytes_per_token - alone.kv_bytes_per_token, 2 * 16 * 8 * 64 * 2);
    // EAGLE: one layer of the 8B (0.218 billion parameters) and a matrix of 8192 x 4096.
    let eagle = "speculative = { method = \"eagle\", num_speculative_tokens = 3, acceptance_rate = 0.6 }";
    let weights = config(eagle).memory().unwrap().weights_bytes - alone.weights_bytes;
    assert!((0.48e9..0.53e9).contains(&(weights as f64)), "{weights}");
    assert_eq!(
        config(eagle).memory().unwrap().kv_bytes_per_token - alone.kv_bytes_per_token,
        2 * 8 * 128 * 2
    );
    // Neither drafts nor memory with n-grams, whose passes take no time.
    let ngram = config(
        "async_scheduling = false\nspeculative = { num_speculative_tokens = 3, acceptance_rate = 0.6 }",
    );
    assert_eq!(ngram.memory().unwrap(), alone);
    let plain = config("async_scheduling = false").step_function().unwrap();
    assert_eq!(ngram.step_function().unwrap().ticks(&decode_with(8, 3)), plain.ticks(&decode_with(8, 3)));
    let by_cost = config(
        "async_scheduling = false\nspeculative = { num_speculative_tokens = 3, acceptance_rate = 0.6, draft = { cost = 0.1 } }",
    );
    let with = plain.clone().with_drafter(Drafter::ratio(&plain, 0.1, 3).unwrap());
    assert_eq!(by_cost.step_function().unwrap().ticks(&decode_with(8, 3)), with.ticks(&decode_with(8, 3)));
}

#[test]
fn both_engines_speculate_alike_in_a_pool() {
    let work: Vec<Work> =
        (0..60).map(|n| (n * 40, 100 + 37 * (n as u32 % 9), 20 + 11 * (n as u32 % 7))).collect();
    for acceptance in ["carried", "random"] {
        let settings = format!(
            "speculative = {{ num_speculative_tokens = 4, acceptance_rate = 0.7, acceptance = \"{acceptance}\" }}"
        );
        let [fast, stepwise] =
            ["fast", "stepwise"].map(|engine| simulate(&work, &format!("{settings}\nengine = \"{engine}\"")));
        assert_eq!(fast.outcome_hash, stepwise.outcome_hash);
        assert_eq!(report(&fast), report(&stepwise));
        let rate = measure(&fast, "draft_acceptance_ratio");
        // (0.7 + 0.49 + 0.343 + 0.2401) / 4, with all drafts behind a last token.
        assert!((rate - 0.443).abs() < 0.05, "{acceptance}: {rate}");
    }
}

fn measure(output: &RunOutput, name: &str) -> f64 {
    let found = llm(output).measures.iter().find(|measure| measure.name == name);
    found.unwrap_or_else(|| panic!("no {name}")).value.unwrap()
}

#[test]
fn stages_share_out_layers_and_memory() {
    let split = |settings: &str| {
        toml::from_str::<LlmConfig>(&format!("model = \"llama-3.1-70b\"\ngpu = \"h100-sxm\"\n{settings}"))
            .unwrap()
    };
    let (tensor, pipeline) = (split("tensor_parallel = 4"), split("pipeline_parallel = 4"));
    let (tp, pp) = (tensor.memory().unwrap(), pipeline.memory().unwrap());
    assert_eq!(pp.kv_bytes_per_token, tp.kv_bytes_per_token, "20 of 80 layers, or 2 of 8 heads");
    let ratio = pp.kv_blocks as f64 / tp.kv_blocks as f64;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
    // A starting replica reads all weights once, however they are split.
    assert_eq!(pipeline.bytes_to_load().unwrap().abs_diff(tensor.bytes_to_load().unwrap()) / 1_000_000, 0);
    let step = pipeline.step_function().unwrap();
    let each: Vec<u64> = step.stages().map(|stage| stage.ticks(&decode_with(1, 0))).collect();
    assert_eq!(each.len(), 4);
    let all: u64 = each.iter().sum();
    // All weights are read once, from four memories in turn; two at a time by tensor parallelism.
    assert!(nanos_ceil(all).as_secs_f64() > 139.0e9 / 3.35e12, "{all}");
    let both = split("tensor_parallel = 2\npipeline_parallel = 2").step_function().unwrap();
    assert!(both.stages().map(|stage| stage.ticks(&decode_with(1, 0))).sum::<u64>() < all);
    let work: Vec<Work> = (0..40).map(|n| (n * 10, 2_000, 30)).collect();
    let [fast, stepwise] = ["fast", "stepwise"]
        .map(|engine| simulate(&work, &format!("pipeline_parallel = 2\nengine = \"{engine}\"")));
    assert_eq!(fast.outcome_hash, stepwise.outcome_hash);
    assert_eq!(report(&fast), report(&stepwise));
    assert_eq!(report(&fast).gpus, 2.0);
}

#[test]
fn adapters_take_memory_and_are_loaded() {
    let alone = config("").memory().unwrap();
    let lora = config("lora = { adapters = 8, max_loras = 4 }").memory().unwrap();
    // 41.9 million parameters of rank 16 over all linear layers of Llama-3.1-8B (PEFT prints 41,943,040), in bf16.
    assert_eq!(lora.weights_bytes - alone.weights_bytes, 4 * 41_943_040 * 2);
    let work: Vec<Work> = (0..200).map(|n| (n * 20, 200, 20)).collect();
    let settings = "lora = { adapters = 8, max_loras = 4, max_cpu_loras = 8 }";
    let [fast, stepwise] =
        ["fast", "stepwise"].map(|engine| simulate(&work, &format!("{settings}\nengine = \"{engine}\"")));
    assert_eq!(fast.outcome_hash, stepwise.outcome_hash);
    assert_eq!(report(&fast), report(&stepwise));
    assert_eq!(measure(&fast, "adapter_reads"), 8.0, "each once: the host holds all");
    let ratio = measure(&fast, "adapter_hit_ratio");
    // The four most popular of eight have 0.77 of the requests.
    assert!((0.5..0.95).contains(&ratio), "{ratio}");
    let all = simulate(&work, "lora = { adapters = 8, max_loras = 8 }");
    assert_eq!(measure(&all, "adapter_hit_ratio"), 192.0 / 200.0);
}

#[test]
fn adapters_of_tenants_and_what_is_refused() {
    let bad = |settings: &str| {
        let config: LlmConfig = config(settings);
        config.engine_config().and_then(|_| config.step_function().map(drop)).unwrap_err()
    };
    let speculative = "num_speculative_tokens = 3, acceptance_rate = 0.6";
    for (settings, path) in [
        (
            "speculative = { num_speculative_tokens = 0, acceptance_rate = 0.6 }".to_owned(),
            "speculative.num_speculative_tokens",
        ),
        (
            "speculative = { num_speculative_tokens = 3, acceptance_rate = 1.5 }".into(),
            "speculative.acceptance_rate",
        ),
        (format!("speculative = {{ {speculative}, draft = {{ }} }}"), "speculative.draft"),
        (format!("speculative = {{ {speculative}, draft = {{ cost = 2 }} }}"), "speculative.draft.cost"),
        (
            format!("speculative = {{ {speculative}, draft = {{ model = \"gpt\" }} }}"),
            "speculative.draft.model",
        ),
        (
            format!("speculative = {{ {speculative}, draft = {{ model = \"bge-base-en-v1.5\" }} }}"),
            "speculative.draft.model",
        ),
        (
            format!("speculative = {{ {speculative}, draft = {{ model = \"qwen2.5-0.5b\" }} }}"),
            "speculative.draft.model",
        ),
        (format!("speculative = {{ {speculative}, method = \"draft_model\" }}"), "speculative.draft"),
        (format!("pipeline_parallel = 2\nspeculative = {{ {speculative} }}"), "speculative"),
        ("pipeline_parallel = 33".into(), "pipeline_parallel"),
        ("pipeline_parallel = 0".into(), "pipeline_parallel"),
        ("lora = { adapters = 0 }".into(), "lora.adapters"),
        ("lora = { adapters = 9, max_loras = 4, max_cpu_loras = 2 }".into(), "lora"),
        ("lora = { adapters = 9, zipf = -1 }".into(), "lora.zipf"),
        ("lora = { adapters = 9 }\nbatching = \"static\"".into(), "lora"),
        ("lora = { adapters = 9, max_loras = 10000 }".into(), "model"),
    ] {
        let error = bad(&settings);
        assert_eq!(error.path.join("."), path, "{settings}: {error}");
    }
    let by_tenant: LlmConfig = config("lora = { adapters = 3, by = \"tenant\" }");
    assert!(by_tenant.lora.is_some() && toml::from_str::<SpeculativeConfig>("draft = 1").is_err());
}
