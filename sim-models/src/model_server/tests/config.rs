//! What a scenario may say, and what it hears when it says something else.

use super::*;

#[test]
fn the_smallest_file_takes_tritons_defaults() {
    let config: ModelServerConfig = toml::from_str("execution = { fixed = \"2ms\" }").unwrap();
    assert_eq!((config.max_batch_size.get(), config.batching), (1, Batching::None));
    assert_eq!(config.instance_group, InstanceGroupConfig::default());
    let again: ModelServerConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let batcher: DynamicBatchingConfig = toml::from_str("").unwrap();
    assert_eq!(batcher, DynamicBatchingConfig::default());
    assert_eq!((batcher.max_queue_delay_microseconds, batcher.priority_levels), (0, 0));
    assert!(batcher.preferred_batch_size.is_empty() && !batcher.preserve_ordering);
    let policy = batcher.default_queue_policy;
    assert_eq!((policy.timeout_action, policy.default_timeout_microseconds), (TimeoutAction::Reject, 0));
    assert_eq!((policy.allow_timeout_override, policy.max_queue_size), (false, 0));
    assert!(toml::from_str::<QueuePolicyConfig>("timeout_action = \"DELAY\"").is_ok());
    for bad in ["timeout_action = \"delay\"", "max_queue_size = -1", "timeout = 3"] {
        assert!(toml::from_str::<QueuePolicyConfig>(bad).is_err(), "{bad}");
    }
}

/// The path of the first error and its text.
fn refusal(settings: &str) -> (String, String) {
    let config = system("process = \"poisson\", rate = \"1/s\"", settings);
    let error = build(&config, &RunPlan::default(), &Traces::new()).expect_err(settings);
    (error.path.join("."), error.to_string())
}

#[test]
fn mistakes_are_told_with_their_place() {
    let given = "execution = { fixed = \"2ms\" }\n";
    let dynamic = format!("{given}batching = \"dynamic\"\nmax_batch_size = 8\n");
    let model = "model = \"llama-3.2-1b\"\n";
    let gpu = "gpu = \"h100-sxm\"\n";
    let cases = [
        (String::new(), "", "neither `execution` nor `model`"),
        (format!("{given}{model}{gpu}"), "model", "both"),
        (model.to_owned(), "model", "add `gpu` or `device`"),
        (format!("model = \"bert\"\n{gpu}"), "model", "expected one of"),
        (format!("{given}gpu = \"h100\""), "gpu", "h100-sxm"),
        (format!("{given}padding = true"), "padding", "no effect"),
        (format!("{given}dynamic_batching = {{}}"), "dynamic_batching", "batching = \"dynamic\""),
        (format!("{given}batch_timeout = \"1ms\""), "batch_timeout", "static"),
        (format!("{dynamic}queue_cap = 3"), "queue_cap", "max_queue_size"),
        (
            format!("{dynamic}dynamic_batching = {{ preferred_batch_size = [4, 9] }}"),
            "dynamic_batching.preferred_batch_size",
            "at most max_batch_size, 8",
        ),
        (
            format!("{dynamic}dynamic_batching = {{ priority_levels = 2 }}"),
            "dynamic_batching.default_priority_level",
            "from 1 to 2",
        ),
        (
            format!("{dynamic}dynamic_batching = {{ default_priority_level = 1 }}"),
            "dynamic_batching.default_priority_level",
            "of 0 levels",
        ),
        (
            format!(
                "{dynamic}dynamic_batching = {{ priority_levels = 2, default_priority_level = 1, priority_queue_policy = {{ 3 = {{}} }} }}"
            ),
            "dynamic_batching.priority_queue_policy.3",
            "no level `3`",
        ),
        (
            format!("{dynamic}dynamic_batching = {{ max_queue_delay_microseconds = 9000000000000000000 }}"),
            "dynamic_batching.max_queue_delay_microseconds",
            "584 years",
        ),
        (format!("{given}{gpu}device = \"gpu0\""), "device", "keep one"),
        (format!("{given}device = \"gpu0\""), "device", "add a [devices.NAME] table"),
        (format!("{given}gpus = 2"), "gpus", "belongs to `gpu`"),
        (format!("{given}memory = \"1GiB\""), "memory", "belongs to"),
        (format!("{given}mig_profile = \"1g.10gb\""), "mig_profile", "belongs to `device`"),
        (format!("{given}instance_group = {{ kind = \"gpu\" }}"), "instance_group.kind", "none is given"),
        (format!("{given}{gpu}instance_group = {{ kind = \"cpu\" }}"), "instance_group.kind", "CPUs"),
        (format!("{given}instance_group = {{ count = 5000 }}"), "instance_group.count", "4096"),
        (format!("{given}{gpu}memory = \"90GiB\""), "gpu", "GiB short"),
        (format!("model = \"llama-3.1-70b\"\n{gpu}"), "gpu", "132.17"),
    ];
    for (settings, path, message) in cases {
        let (place, text) = refusal(&settings);
        let expected = format!("components.db.{path}");
        assert_eq!(place, expected.trim_end_matches('.'), "{settings}: {text}");
        assert!(text.contains(message), "{settings}: {text}");
    }
}

/// The time of one call with so many items, in seconds.
fn seconds(settings: &str) -> f64 {
    db(&replay(&[(0, 256)], settings)).meter.latency.sum() as f64 * 1e-9
}

/// No execution is faster than reading the weights or computing at the datasheet's peak allows.
#[test]
fn catalogue_models_keep_to_their_rooflines() {
    // bge-base: 85.5 M parameters in layers, 2 FLOP each and token, at 121 TFLOP/s of an L4 (0.80 reached,
    // 1.12 slower in the long run); 24,600 values a layer and token pass through 300 GB/s (0.83 reached).
    let encoder = |items: u32| {
        let settings = "model = \"bge-base-en-v1.5\"\ngpu = \"l4\"\nmax_batch_size = 256\n";
        seconds(&format!("{settings}items_per_request = {items}"))
    };
    let tokens = 256.0 * 256.0;
    let compute = 2.0 * 85.5e6 * tokens / 121e12;
    let values = 12.0 * (8.0 * 768.0 + 4.0 * 2304.0 + 3.0 * 3072.0);
    let expected = compute / 0.80 * 1.12 + values * 2.0 * tokens / (300e9 * 0.83);
    assert!(encoder(256) > compute && (0.95..1.1).contains(&(encoder(256) / expected)), "{}", encoder(256));
    // Alone it is a matter of kernel launches and overhead: 12 layers of 19 us, and 0.1 ms.
    assert!((2e-4..2e-3).contains(&encoder(1)), "{}", encoder(1));
    // DLRM: 2.4 M network parameters and 13 KB of embeddings an item.
    let ranking = |gpu: &str, items: u32| {
        let memory = "memory = \"1GiB\"\n";
        let settings = format!("model = \"dlrm-mlperf\"\ngpu = \"{gpu}\"\n{memory}max_batch_size = 100000\n");
        seconds(&format!("{settings}items_per_request = {items}"))
    };
    let per_item = (ranking("h100-sxm", 100_000) - ranking("h100-sxm", 50_000)) / 50_000.0;
    let flops = 2.0 * 2.4e6 / 67e12;
    assert!(per_item > flops + 13_312.0 / 3.35e12 && per_item < 4.0 * flops, "{per_item}");
    // Few items take no longer than one: reading the networks hides them.
    let few = ranking("h100-sxm", 10) - ranking("h100-sxm", 1);
    assert!((1e-4..1.2e-4).contains(&ranking("h100-sxm", 1)) && few < 5e-7, "{few}");
    let host = ranking("cpu-m7i-8xlarge", 10_000) / ranking("h100-sxm", 10_000);
    assert!((15.0..30.0).contains(&host), "{host}");
}

#[test]
fn a_ranking_model_is_told_apart_from_a_transformer() {
    let host = "gpu = \"cpu-m7i-8xlarge\"\n";
    let config = system("process = \"poisson\", rate = \"1/s\"", &format!("model = \"dlrm-mlperf\"\n{host}"));
    let output =
        run(build(&config, &RunPlan::default(), &Traces::new()).unwrap(), &RunPlan::default()).unwrap();
    assert_eq!(output.costs[0].resource, "host cpu-m7i-8xlarge");
    assert_eq!(calibration(&output), Some("estimate (datasheet, uncalibrated)"));
    // 96 GB of embeddings do not fit on an L4.
    let (path, text) = refusal("model = \"dlrm-mlperf\"\ngpu = \"l4\"");
    assert!(path == "components.db.gpu" && text.contains("GiB short"), "{text}");
    for key in ["precision = \"fp16\"", "tokens_per_item = 9", "padding = true"] {
        let (_, text) = refusal(&format!("model = \"dlrm-mlperf\"\n{host}{key}"));
        assert!(text.contains("belongs to a transformer"), "{text}");
    }
    let (_, text) = refusal(&format!("model = \"bert\"\n{host}"));
    assert!(text.contains("bge-base-en-v1.5") && text.contains("dlrm-mlperf"), "{text}");
    let (path, text) = refusal(&format!("execution = {{}}\n{host}instance_group = {{ kind = \"gpu\" }}"));
    assert!(path.ends_with("instance_group.kind"), "{text}");
}
