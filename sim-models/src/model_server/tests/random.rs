//! Random servers under random traffic: nothing is lost, and the same seed gives the same run.

use proptest::prelude::*;

use super::*;

fn settings() -> impl Strategy<Value = String> {
    let batching = prop_oneof![
        Just("batching = \"none\"\nqueue_cap = 5\n".to_owned()),
        Just("batching = \"static\"\nbatch_timeout = \"20ms\"\n".to_owned()),
        (1u32..9, 0u64..30_000, any::<bool>(), any::<bool>(), 0u64..40_000, any::<bool>(), 0u32..9).prop_map(
            |(preferred, delay, ordered, late, timeout, short, size)| {
                let action = if late { "DELAY" } else { "REJECT" };
                format!(
                    "batching = \"dynamic\"\n[components.db.dynamic_batching]\n\
                     preferred_batch_size = [{preferred}]\nmax_queue_delay_microseconds = {delay}\n\
                     preserve_ordering = {ordered}\npriority_levels = 2\ndefault_priority_level = 2\n\
                     default_queue_policy = {{ timeout_action = \"{action}\", \
                     default_timeout_microseconds = {timeout}, allow_timeout_override = {short}, \
                     max_queue_size = {size} }}\n"
                )
            }
        ),
    ];
    let place =
        prop::sample::select(vec!["", "gpu = \"l4\"\ngpus = 2\n", "device = \"gpu0\"\nmemory = \"1GiB\"\n"]);
    let broken = prop::sample::select(vec!["slow", "crash", "hang", "drain"]);
    let fault = prop::option::of((0u64..500, broken, 1u64..300));
    let replicas = prop::option::of(1u32..4);
    // Half a microsecond more, so that it never comes at the same instant as what the server waits for.
    let link = prop::option::of((1u64..60, any::<bool>()));
    (batching, place, replicas, 1u32..4, 1u32..4, fault, link).prop_map(|(batching, place, replicas, count, items, fault, link)| {
        let mut text = format!(
            "execution = {{ fixed = {{ exponential = {{ mean = \"9ms\" }} }}, per_item = \"1ms\" }}\n\
             max_batch_size = 8\nitems_per_request = {{ uniform = {{ min = 1, max = {} }} }}\n\
             error_rate = 0.1\ninstance_group = {{ count = {count} }}\n{}{place}{batching}",
            items + 1,
            replicas.map_or(String::new(), |replicas| format!("replicas = {replicas}\n")),
        );
        if place.starts_with("device") {
            // Somebody else on the same GPU.
            text += "[devices.gpu0]\ngpu = \"l4\"\nsharing = \"time_slicing\"\n\
                     [components.other]\nkind = \"model_server\"\ndevice = \"gpu0\"\n\
                     execution = { fixed = \"4ms\" }\n\
                     [traffic.others]\nentry = \"other\"\narrivals = { process = \"poisson\", rate = \"90/s\" }\n";
        }
        if let Some((at, kind, repair)) = fault {
            // What only pools do, others do as a crash.
            let kind = if replicas.is_some() || kind == "slow" { kind } else { "crash" };
            let how = if kind == "slow" { "factor = 4" } else { "replicas = 1" };
            let kind = format!("kind = \"{kind}\"\n{how}");
            text += &format!("[[fault]]\nat = \"{at}ms\"\ntarget = \"db\"\n{kind}\nrepair = \"{repair}ms\"\n");
        }
        if let Some((timeout, cancels)) = link {
            text += &format!("[links.\"web -> db\"]\ntimeout = \"{timeout}.0005ms\"\ncancel_on_timeout = {cancels}\n");
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::with_cases(200) })]

    #[test]
    fn nothing_is_lost(settings in settings(), rate in 20u32..400, seed in 0u64..1_000) {
        let plan = RunPlan {
            duration: SimDuration::from_millis(600),
            drain: SimDuration::from_secs(1_000),
            windows: 50,
            seed,
            ..RunPlan::default()
        };
        let simulate = |shuffle_ties| {
            let text = format!("process = \"poisson\", rate = \"{rate}/s\" }}\npriority = {{ a = 0.2, b = 0.3, c = 0.5");
            let plan = RunPlan { shuffle_ties, ..plan.clone() };
            run(build(&system(&text, &settings), &plan, &Traces::new()).unwrap(), &plan).unwrap()
        };
        let output = simulate(None);
        prop_assert_eq!(output.conservation.in_flight, 0);
        let meter = &db(&output).meter;
        // The run ends with its last request: calls that were given up may still be at work.
        let ended = meter.outcomes.iter().sum::<u64>() + meter.unheard;
        let patient = !settings.contains("[links");
        prop_assert!(ended == meter.calls || (ended < meter.calls && !patient), "{ended} of {}", meter.calls);
        if patient {
            prop_assert_eq!((meter.queue.level(), meter.busy.level()), (0, 0));
        }
        prop_assert!(db(&output).measure("batch_size_max").is_none_or(|most| most <= 8.0));
        for (window, system) in output.component_windows.iter().zip(0..) {
            prop_assert!(window.signals.busy <= window.signals.capacity.max(3), "window {system}");
        }
        let again = simulate(None);
        prop_assert_eq!(again.fingerprint, output.fingerprint);
        // What happens at one instant may come in any order.
        prop_assert_eq!(simulate(Some(1)).outcome_hash, output.outcome_hash);
    }
}
