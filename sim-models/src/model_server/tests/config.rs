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
        (format!("model = \"llama-3.1-70b\"\n{gpu}"), "gpu", "132.16"),
    ];
    for (settings, path, message) in cases {
        let (place, text) = refusal(&settings);
        let expected = format!("components.db.{path}");
        assert_eq!(place, expected.trim_end_matches('.'), "{settings}: {text}");
        assert!(text.contains(message), "{settings}: {text}");
    }
}
