//! A server in a system: batches in time, faults, who gives up, GPUs.

use sim_core::stats::Moments;

use super::*;

const DYNAMIC: &str = "batching = \"dynamic\"\nexecution = { fixed = \"8ms\", per_item = \"1ms\" }\n";

#[test]
fn a_batch_takes_a_plus_b_times_its_items() {
    let settings = format!("{DYNAMIC}max_batch_size = 8");
    // 1 alone from 0 to 9; 2 to 4 from 9 to 20; 5 from 20 to 29.
    let output = replay(&calls(&[0, 1, 2, 3, 15]), &settings);
    assert_eq!((outcomes(&output), end_ms(&output)), ([5, 0, 0, 0, 0], 29.0));
    assert_eq!(latency_ms(&output), 9.0 + 19.0 + 18.0 + 17.0 + 14.0);
    assert_eq!((measure(&output, "executions"), measure(&output, "batch_size_max")), (3.0, 3.0));
    assert!((measure(&output, "batch_size_mean") - 5.0 / 3.0).abs() < 1e-12);
    assert!((measure(&output, "execution_time_mean_s") - (9.0 + 11.0 + 9.0) / 3e3).abs() < 1e-12);
    let meter = &db(&output).meter;
    assert_eq!(meter.wait.sum(), (8 + 7 + 6 + 5) * 1_000_000);
    assert_eq!(meter.busy.integral(output.end), 29_000_000);
    // Items of a call count like calls.
    let output = replay(&calls(&[0, 1, 2, 3]), &format!("{settings}\nitems_per_request = 4"));
    // 1 from 0 to 12; 2 and 3 fill a batch from 12 to 28; 4 from 28 to 40.
    assert_eq!((end_ms(&output), measure(&output, "batch_size_max")), (40.0, 8.0));
    assert_eq!(measure(&output, "batch_size_mean"), (4.0 + 8.0 + 4.0) / 3.0);
    assert_eq!(
        outcomes(&replay(&calls(&[0]), &format!("{settings}\nitems_per_request = 9"))),
        [0, 0, 1, 0, 0]
    );
}

#[test]
fn calls_of_one_instant_go_together() {
    let output = replay(&calls(&[5, 5, 5]), &format!("{DYNAMIC}max_batch_size = 4"));
    assert_eq!((measure(&output, "executions"), end_ms(&output)), (1.0, 16.0));
}

#[test]
fn the_delay_is_the_floor_of_latency_when_idle() {
    let settings = |delay: u64| {
        format!(
            "{DYNAMIC}max_batch_size = 4\ndynamic_batching = {{ max_queue_delay_microseconds = {delay} }}"
        )
    };
    assert_eq!(latency_ms(&replay(&calls(&[0]), &settings(2_500))), 2.5 + 9.0);
    assert_eq!(latency_ms(&replay(&calls(&[0, 2]), &settings(2_500))), (2.5 + 10.0) + (0.5 + 10.0));
    // Four are the largest batch, which is the preferred size: they go at once.
    let output = replay(&calls(&[0, 1, 1, 2]), &settings(2_500));
    assert_eq!((measure(&output, "executions"), end_ms(&output)), (1.0, 14.0));
}

#[test]
fn static_batches_wait_until_they_are_full() {
    let settings = "batching = \"static\"\nmax_batch_size = 2\nexecution = { fixed = \"10ms\" }";
    let output = replay(&calls(&[0, 7, 9]), settings);
    // The third waits for ever.
    assert_eq!(outcomes(&output), [2, 0, 0, 0, 0]);
    assert_eq!((latency_ms(&output), output.conservation.in_flight), (17.0 + 10.0, 1));
    let output = replay(&calls(&[0, 7, 9]), &format!("{settings}\nbatch_timeout = \"5ms\""));
    // 1 from 5 to 15, 2 and 3 from then on.
    assert_eq!((outcomes(&output), end_ms(&output)), ([3, 0, 0, 0, 0], 25.0));
}

#[test]
fn instances_work_side_by_side() {
    let settings = "execution = { fixed = \"10ms\" }\ninstance_group = { count = 2 }";
    assert_eq!(end_ms(&replay(&calls(&[0, 0, 0]), settings)), 20.0);
    // On one GPU they share it: 1.1 times the work of one, with a gain of 0.2.
    let settings = format!("{settings}\ngpu = \"l4\"");
    let output = replay(&calls(&[0, 0]), &settings);
    assert!((end_ms(&output) - 20.0 / 1.1).abs() < 1e-5, "{}", end_ms(&output));
    // Two GPUs with two instances each: both first calls have one alone.
    let output = replay(&calls(&[0, 0]), &format!("{settings}\ngpus = 2"));
    assert_eq!((end_ms(&output), measure(&output, "instances"), measure(&output, "gpus")), (10.0, 4.0, 2.0));
    let [line] = output.costs.as_slice() else { panic!("{:?}", output.costs) };
    assert_eq!((line.resource.as_str(), line.units), ("gpu l4", 2.0));
}

#[test]
fn too_many_or_too_long_waiting_are_rejected() {
    let settings = "execution = { fixed = \"10ms\" }\nqueue_cap = 1";
    assert_eq!(outcomes(&replay(&calls(&[0, 1, 2]), settings)), [2, 0, 1, 0, 0]);
    let policy = "default_queue_policy = { default_timeout_microseconds = 4000, max_queue_size = 2 }";
    let settings = format!("{DYNAMIC}max_batch_size = 1\ndynamic_batching = {{ {policy} }}");
    // 1 from 0 to 9. 2 and 3 wait; 4 finds the queue full; 2 and 3 are turned away at 5 and 6.
    let output = replay(&calls(&[0, 1, 2, 3, 7]), &settings);
    assert_eq!((outcomes(&output), end_ms(&output)), ([2, 0, 3, 0, 0], 18.0));
    let refused =
        ["queue_full", "timed_out", "exceeds_batch"].map(|why| measure(&output, &format!("refused_{why}")));
    assert_eq!(refused, [1.0, 2.0, 0.0]);
    // Turned away in the first nanosecond after their time.
    assert_eq!(db(&output).meter.queue.integral(output.end), (4 + 4 + 2) * 1_000_000 + 2);
}

#[test]
fn classes_are_levels() {
    let server = "
        [components.db]
        kind = \"model_server\"
        execution = { fixed = \"10s\" }
        batching = \"dynamic\"
        dynamic_batching = { priority_levels = 2, default_priority_level = 2 }";
    let mut text = String::new();
    for (class, rate) in [("high", "0.2"), ("middle", "0.5"), ("low", "1")] {
        writeln!(
            text,
            "[traffic.{class}]\narrivals = {{ process = \"deterministic\", rate = \"{rate}/s\" }}\n
             entry = \"db\"\npriority = {{ {class} = 1.0 }}"
        )
        .unwrap();
    }
    let config: SystemConfig = toml::from_str(&(text + server)).unwrap();
    let plan = RunPlan {
        duration: SimDuration::from_secs(5),
        drain: SimDuration::from_secs(1_000),
        ..RunPlan::default()
    };
    let output = run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap();
    // Low 1 to 11, high (came at 5) to 21; then middle and low share a level: middle of 2, low of 2, 3,
    // 4 and middle of 4, low of 5.
    let last: Vec<_> = output.requests.iter().map(|meter| meter.latency.max().unwrap()).collect();
    assert_eq!(output.labels.classes, ["high", "middle", "low"]);
    assert_eq!(last[0], 16_000_000_000);
    assert_eq!(output.requests[1].latency.count() + output.requests[2].latency.count(), 7);
    assert_eq!(end_ms(&output), 81_000.0);
}

#[test]
fn replies_may_keep_the_order_of_batches() {
    // Two instances; the execution time is that of the longest of items by the model.
    let settings = |preserve: bool| {
        format!(
            "model = \"llama-3.2-1b\"\ngpu = \"h100-sxm\"\ngpus = 2\nbatching = \"dynamic\"\n
             dynamic_batching = {{ preserve_ordering = {preserve} }}"
        )
    };
    // A long call, and a short one on the other GPU.
    let work = [(0, 100_000), (1, 10)];
    let (free, ordered) = (replay(&work, &settings(false)), replay(&work, &settings(true)));
    assert_eq!(end_ms(&free), end_ms(&ordered));
    let latency = |output: &RunOutput| (db(output).meter.latency.min(), db(output).meter.latency.max());
    let ((short, long), (held, same)) = (latency(&free), latency(&ordered));
    assert_eq!(long, same);
    assert!(short.unwrap() < 50_000_000 && held.unwrap() == long.unwrap() - 1_000_000, "{held:?} {long:?}");
}

#[test]
fn a_crash_fails_the_batch_and_the_waiting_survive() {
    let fault = "[[fault]]\nat = \"5ms\"\ntarget = \"db\"\nkind = \"crash\"\nrepair = \"20ms\"";
    for extra in ["", "gpu = \"l4\"\n", "dynamic_batching = { preserve_ordering = true }\n"] {
        let settings = format!("{DYNAMIC}max_batch_size = 8\n{extra}{fault}");
        let output = replay(&calls(&[0, 1, 2, 30]), &settings);
        // 1 is lost; 2 and 3 from 25 to 35; 4 from 35 to 44.
        assert_eq!((outcomes(&output), end_ms(&output)), ([3, 0, 0, 0, 1], 44.0));
        assert_eq!(db(&output).meter.capacity.integral(output.end), 24_000_000);
        assert_eq!(measure(&output, "executions"), 2.0);
    }
}

#[test]
fn a_slow_spell_stretches_what_begins_in_it() {
    let fault = "[[fault]]\nat = \"5ms\"\ntarget = \"db\"\nkind = \"slow\"\nfactor = 3\nrepair = \"20ms\"";
    let output = replay(&calls(&[0, 10, 40]), &format!("execution = {{ fixed = \"8ms\" }}\n{fault}"));
    assert_eq!(latency_ms(&output), 8.0 + 24.0 + 8.0);
}

#[test]
fn who_gives_up_leaves_the_queue_but_not_a_batch() {
    let link = "[links.\"web -> db\"]\ntimeout = \"5ms\"\ncancel_on_timeout = true";
    let output = replay(&calls(&[0, 1, 2]), &format!("{DYNAMIC}max_batch_size = 8\n{link}"));
    let meter = &db(&output).meter;
    assert_eq!(meter.outcomes, [0; 5]);
    // The first runs from 0 to 9, for nobody; the others leave at 6 and 7.
    assert_eq!(meter.queue.integral(output.end), 10_000_000);
    assert_eq!(measure(&output, "executions"), f64::from(u8::from(output.end.as_nanos() >= 9_000_000)));
    assert_eq!(output.conservation.ended, [0, 0, 0, 3, 0]);
}

#[test]
fn failed_calls_take_their_full_time() {
    let work: Vec<_> = (0..4_000).map(|at| (at * 10, 1)).collect();
    let output = replay(&work, "execution = { fixed = \"5ms\" }\nerror_rate = 0.25");
    let failed = outcomes(&output)[4] as f64;
    let z = (failed - 1_000.0) / (4_000.0f64 * 0.25 * 0.75).sqrt();
    assert!(z.abs() <= 4.0, "{failed} of 4000 failed");
    assert_eq!(db(&output).meter.busy.integral(output.end), 20_000_000_000);
}

#[test]
fn padding_makes_every_item_as_long_as_the_longest() {
    let settings = |padding: bool| {
        format!(
            "model = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\nbatching = \"dynamic\"\nmax_batch_size = 8\n
             padding = {padding}"
        )
    };
    let time = |work: &[(u64, u32)], padding| end_ms(&replay(work, &settings(padding)));
    let mixed = [(0, 8_000), (0, 2_000), (0, 2_000), (0, 2_000)];
    let equal = [(0, 8_000); 4];
    assert_eq!(time(&mixed, true), time(&equal, true));
    // Compute-bound: 14,000 tokens of 32,000, and less attention.
    let ratio = time(&mixed, false) / time(&mixed, true);
    assert!((0.38..0.45).contains(&ratio), "{ratio}");
    assert_eq!(calibration(&replay(&mixed, &settings(true))), Some("estimate (datasheet, uncalibrated)"));
}

#[test]
fn what_is_longer_than_the_context_is_cut_off() {
    let settings = "model = \"bge-large-en-v1.5\"\ngpu = \"l4\"\n";
    let time = |tokens| latency_ms(&replay(&[(0, tokens)], settings));
    assert_eq!(time(8_000), time(512));
    assert!(time(512) > time(256));
}

/// Throughput of full batches is B / (a + b B), whatever the delay (B2 of the reference).
#[test]
fn a_saturated_server_makes_full_batches() {
    for (batch, delay) in [(1u32, 0), (4, 0), (16, 0), (16, 5_000)] {
        let settings = format!(
            "{DYNAMIC}max_batch_size = {batch}\n
             dynamic_batching = {{ max_queue_delay_microseconds = {delay}, default_queue_policy = {{ \
             max_queue_size = 100 }} }}"
        );
        let config = system("process = \"poisson\", rate = \"2000/s\"", &settings);
        let plan = RunPlan {
            warmup: SimDuration::from_secs(1),
            duration: SimDuration::from_secs(61),
            ..RunPlan::default()
        };
        let output = run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap();
        let throughput = outcomes(&output)[0] as f64 / 60.0;
        let expected = f64::from(batch) / (0.008 + 0.001 * f64::from(batch));
        assert!((throughput / expected - 1.0).abs() < 2e-3, "B {batch}: {throughput} for {expected}");
        assert_eq!(measure(&output, "batch_size_mean"), f64::from(batch));
    }
}

/// Median latency in seconds under Poisson traffic, over ten replications.
fn median(rate: f64, settings: &str) -> f64 {
    let config = system(&format!("process = \"poisson\", rate = \"{rate}/s\""), settings);
    let mut medians = Moments::new();
    for replication in 0..10 {
        let plan = RunPlan {
            warmup: SimDuration::from_secs(5),
            duration: SimDuration::from_secs(65),
            replication,
            ..RunPlan::default()
        };
        let output = run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap();
        medians.push(db(&output).meter.latency.quantile(0.5).unwrap() as f64 * 1e-9);
    }
    medians.mean().unwrap()
}

/// The delay costs at most itself when load is low, and batches pay off when it is high (B2).
#[test]
fn batching_costs_little_at_low_load_and_pays_at_high_load() {
    let alone = "execution = { fixed = \"8ms\", per_item = \"1ms\" }";
    let batched =
        format!("{DYNAMIC}max_batch_size = 16\ndynamic_batching = {{ max_queue_delay_microseconds = 3000 }}");
    let rise = median(5.0, &batched) - median(5.0, alone);
    assert!(rise > 0.002 && rise <= 0.0031, "{rise}");
    // At 100/s the server without batches is busy 90% of the time.
    let (high_alone, high_batched) = (median(100.0, alone), median(100.0, &batched));
    assert!(high_batched < 0.7 * high_alone, "{high_batched} {high_alone}");
}

/// The library's scenario: batches hold several pages, and the GPU has room.
#[test]
fn the_ranking_scenario_serves_more_than_one_page_at_a_time() {
    let text = include_str!("../../../../scenarios/library/ranking-server.toml");
    let mut table: toml::Table = toml::from_str(text).unwrap();
    table.retain(|key, _| ["traffic", "components", "links"].contains(&key));
    let config: SystemConfig = table.try_into().unwrap();
    let plan = RunPlan { duration: SimDuration::from_secs(30), ..RunPlan::default() };
    let output = run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap();
    let ranking = output.components.iter().find(|component| component.name == "ranking").unwrap();
    let [mean, most] = ["batch_size_mean", "batch_size_max"].map(|name| ranking.measure(name).unwrap());
    assert!(mean > 1.8 && most <= 16.0, "{mean} {most}");
    assert_eq!(ranking.meter.outcomes[1..], [0; 4]);
    assert!(ranking.meter.latency.quantile(0.99).unwrap() < 25_000_000);
}
