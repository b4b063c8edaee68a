//! Random workloads, and a recorded one.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::system::recorder::SystemWindow;

/// Sequences of at most 1,199 tokens: 75 blocks.
pub(super) fn work() -> impl Strategy<Value = Vec<Work>> {
    let gap = prop_oneof![Just(0), 0u64..300];
    prop::collection::vec((gap, 0u32..1000, 1u32..200), 1..50).prop_map(|work| {
        let mut now = 0;
        let arrive = |(gap, prompt, output): Work| {
            now += gap;
            (now, prompt.max(1), output)
        };
        work.into_iter().map(arrive).collect()
    })
}

/// A GPU that the pool shares with a server whose executions come and go at any nanosecond.
fn device() -> impl Strategy<Value = String> {
    let sharing = prop::sample::select(
        &[
            "time_slicing\"\ntime_slice = \"700us",
            "time_slicing\"\ncontext_switch = \"0s",
            "mps",
            "mps\"\noverlap_gain = 1 #",
        ][..],
    );
    (sharing, 1u32..400, 1u32..40).prop_map(|(sharing, rate, millis)| {
        format!(
            "[devices.gpu0]\ngpu = \"h100-sxm\"\nsharing = \"{sharing}\"\n\
             [components.other]\nkind = \"model_server\"\ndevice = \"gpu0\"\n\
             execution = {{ fixed = {{ exponential = {{ mean = \"{millis}ms\" }} }} }}\nqueue_cap = 5\n\
             [traffic.others]\nentry = \"other\"\narrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\n"
        )
    })
}

#[derive(Debug, Clone)]
struct Settings {
    text: String,
    /// Whether all requests are answered.
    calm: bool,
}

fn settings() -> impl Strategy<Value = Settings> {
    let engine = (1u32..4, 76u32..400, 1u32..20, 32u32..1024, any::<[bool; 3]>());
    let balancer = prop::sample::select(
        &[
            "round_robin",
            "random",
            "least_request",
            "join_shortest_queue",
            "consistent_hash",
            "prefix_aware",
            "vllm_data_parallel",
        ][..],
    );
    let policy = prop::sample::select(&["fcfs", "priority"][..]);
    let breaks = prop::sample::select(&["crash", "hang", "drain"][..]);
    let crash = prop::option::of((breaks, 0u64..3_000, 1u32..3, 1u64..2_000));
    let slow = prop::option::of((0u64..3_000, 0.3..8.0, 1u64..2_000));
    let timeout = prop::option::of((1u64..4_000, any::<bool>()));
    // A run of 128 blocks has room for every sequence.
    let kind = prop::sample::select(
        &[
            (0, ""),
            (0, ""),
            (0, "batching = \"static\"\n"),
            (0, "batching = \"dynamic\"\ndynamic_batching.max_queue_delay_microseconds = 40000\n"),
            (60, "kv_allocation = \"contiguous\"\nreservation = \"pow2\"\n"),
            (60, "batching = \"static\"\nkv_allocation = \"contiguous\"\nreservation = \"oracle\"\n"),
        ][..],
    );
    (engine, balancer, policy, crash, slow, timeout, kind).prop_map(
        |(engine, balancer, policy, crash, slow, timeout, (more, kind))| {
            let (replicas, blocks, seqs, budget, [caching, reserve, ahead]) = engine;
            let blocks = blocks + more;
            let mut text = format!(
                "replicas = {replicas}\nkv_blocks = {blocks}\nmax_num_seqs = {seqs}\n\
                 max_num_batched_tokens = {budget}\nenable_prefix_caching = {caching}\n\
                 scheduler_reserve_full_isl = {reserve}\nasync_scheduling = {ahead}\nbalancer = \"{balancer}\"\n\
                 scheduling_policy = \"{policy}\"\n{kind}"
            );
            if let Some((timeout, cancel)) = timeout {
                let link = format!("timeout = \"{timeout}ms\"\ncancel_on_timeout = {cancel}");
                writeln!(text, "[links.\"web -> llm\"]\n{link}").unwrap();
            }
            let mut fault = |kind: &str, at: u64, what: String, repair: u64| {
                let when = format!("at = \"{at}ms\"\nrepair = \"{repair}ms\"");
                writeln!(text, "[[fault]]\ntarget = \"llm\"\nkind = \"{kind}\"\n{when}\n{what}").unwrap();
            };
            if let Some((kind, at, count, repair)) = crash {
                fault(kind, at, format!("replicas = {count}"), repair);
            }
            if let Some((at, factor, repair)) = slow {
                fault("slow", at, format!("factor = {factor}"), repair);
            }
            Settings { text, calm: crash.is_none() && timeout.is_none() }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_is_lost(work in work(), settings in settings()) {
        let plan = RunPlan { windows: 2_000, ..RunPlan::default() };
        let output = simulate_plan(&work, &settings.text, &plan);
        let (llm, report) = (llm(&output), report(&output));
        prop_assert_eq!(output.conservation.born, work.len() as u64);
        for components in output.component_windows.chunks(2) {
            let signals = components[1].signals;
            prop_assert!(signals.kv_used <= signals.kv_total && signals.busy <= signals.capacity);
        }
        prop_assert!(report.kv_use_max <= 1.0 && report.kv_use_mean <= report.kv_use_max);
        prop_assert!(report.gpu_busy <= 1.0);
        let tokens = |pick: fn(&Work) -> u32| work.iter().map(|work| u64::from(pick(work))).sum::<u64>();
        if settings.calm {
            let meter = requests(&output);
            prop_assert_eq!(outcomes(&output), [work.len() as u64, 0, 0, 0, 0]);
            prop_assert_eq!(report.output_tokens, tokens(|work| work.2));
            prop_assert_eq!(meter.output_tokens, report.output_tokens);
            prop_assert_eq!(meter.ttft.count(), work.len() as u64);
            prop_assert_eq!(report.itl.count(), report.output_tokens - work.len() as u64);
            let computed = report.prompt_tokens + report.prefix_hit_tokens;
            prop_assert!(computed >= tokens(|work| work.1));
            if report.preemptions == 0 {
                prop_assert_eq!(computed, tokens(|work| work.1));
            }
            // Little's law, to the nanosecond.
            let present = llm.meter.queue.integral(output.end) + llm.meter.busy.integral(output.end);
            prop_assert_eq!(present, llm.meter.latency.sum());
            let last = output.component_windows.last().unwrap().signals;
            prop_assert_eq!((last.queue, last.busy, last.kv_used), (0, 0, 0));
        }
        let again = simulate_plan(&work, &settings.text, &plan);
        prop_assert_eq!(again.fingerprint, output.fingerprint);
    }

    /// The engines differ in how many events they take, and in nothing that can be seen.
    #[test]
    fn both_engines_give_the_same(
        work in work(), settings in settings(), device in prop::option::weighted(0.4, device()), warmup in 0u64..2_000,
    ) {
        let plan = RunPlan { windows: 500, warmup: SimDuration::from_millis(warmup), ..RunPlan::default() };
        let place = if device.is_some() { "device = \"gpu0\"\n" } else { "" };
        let shared = device.unwrap_or_default();
        let run = |engine: &str| {
            let settings = format!("engine = \"{engine}\"\n{place}{}{shared}", settings.text);
            simulate_plan(&work, &settings, &plan)
        };
        let (fast, stepwise) = (run("fast"), run("stepwise"));
        prop_assert_eq!(fast.outcome_hash, stepwise.outcome_hash);
        prop_assert_eq!(report(&fast), report(&stepwise));
        prop_assert_eq!(fast.end, stepwise.end);
        for (fast, stepwise) in fast.component_windows.iter().zip(&stepwise.component_windows) {
            prop_assert_eq!(fast.signals, stepwise.signals);
        }
        let (fast, stepwise) = (&llm(&fast).meter, &llm(&stepwise).meter);
        prop_assert_eq!((&fast.wait, &fast.latency), (&stepwise.wait, &stepwise.latency));
        prop_assert_eq!((&fast.queue, &fast.busy), (&stepwise.queue, &stepwise.busy));
    }

    /// What callers have given up is worked off or thrown away: in the end nothing is held.
    #[test]
    fn all_is_freed_in_the_end(work in work(), settings in settings()) {
        let mut work = work;
        // A last request, long after all others; it may be given up itself.
        work.push((10_000_000, 10, 1));
        let output = simulate(&work, &settings.text);
        let ended = |window: &SystemWindow| window.start.as_secs_f64() + window.width.as_secs_f64();
        let last = output.windows.iter().rposition(|window| ended(window) <= 10_000.0).unwrap();
        let last = output.component_windows[2 * last + 1].signals;
        prop_assert_eq!((last.queue, last.busy, last.kv_used), (0, 0, 0));
        let mut taken = 0;
        pool(&output).replicas.iter().for_each(|replica| taken += replica.calls + replica.refused);
        let meter = &llm(&output).meter;
        prop_assert_eq!(taken + report(&output).rejected.total(), work.len() as u64);
        let end = output.component_windows.last().unwrap().signals;
        let ended = meter.outcomes.iter().sum::<u64>() + meter.unheard;
        prop_assert_eq!(ended + end.queue + end.busy, work.len() as u64);
    }
}

/// All 19,366 requests of an hour of a production service (Azure, Splitwise, ISCA'24).
#[test]
fn the_azure_conversation_trace_passes_two_replicas() {
    let shared = std::env::var_os("TENFOLD_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let path = shared.join("data/traces/AzureLLMInferenceTrace_conv.csv");
    let Ok(trace) = Trace::open(&path, TraceFormat::Azure) else {
        eprintln!("skipped: {} cannot be read", path.display());
        return;
    };
    let tokens: u64 = trace.records().iter().map(|record| u64::from(record.output_tokens)).sum();
    let output = simulate_trace(trace, "replicas = 2", &RunPlan::default());
    assert_eq!(outcomes(&output), [19_366, 0, 0, 0, 0]);
    let report = report(&output);
    assert_eq!(report.output_tokens, tokens);
    assert_eq!(calls(&output), [9_683; 2]);
    assert_eq!(outcomes(&output)[Outcome::Ok as usize], requests(&output).ttft.count());
    assert!(report.gpu_busy > 0.5 && report.kv_use_max < 1.0, "{report:?}");
}
