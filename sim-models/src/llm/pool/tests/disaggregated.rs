//! Prefill and decode on workers of their own, and KV in the host's memory.

use proptest::prelude::*;

use super::random::work;
use super::*;
use crate::error::ConfigError;

/// KV of 16 tokens of Llama-3.1-8B in bf16.
const BLOCK_BYTES: f64 = 16.0 * 131_072.0;

fn measure(output: &RunOutput, name: &str) -> f64 {
    llm(output).measure(name).unwrap_or_else(|| panic!("no {name}"))
}

/// One prefill worker and one decode worker, with more of either's settings.
fn one_of_each(prefill: &str, transfer: &str) -> String {
    format!(
        "disaggregated = {{ prefill = {{ replicas = 1{prefill} }}, kv_transfer_config = {{ {transfer} }} }}"
    )
}

/// Nanoseconds in which the KV of blocks comes, alone, at 50 GB/s, without the latency.
fn transfer(blocks: f64) -> u64 {
    (blocks * BLOCK_BYTES / 50.0).ceil() as u64
}

const LATENCY: u64 = 900_000;

/// The decode worker's first step: it computes the last token of the prompt.
fn last_token(sequences: u64, prompt: u64) -> u64 {
    step_function().ticks(&prefill(sequences, 1, prompt - 1))
}

#[test]
fn the_first_token_waits_for_prefill_and_transfer() {
    let output = simulate(&[(1_000, 500, 50)], &one_of_each("", ""));
    let steps = steps(1, 500, 50);
    // 499 tokens are fetched, in whole blocks.
    let first = nanos(steps[0]) + transfer(32.0) + LATENCY + nanos(last_token(1, 500));
    let meter = requests(&output);
    assert_eq!((meter.ttft.count(), meter.ttft.sum()), (1, u128::from(first)));
    let rest = nanos(last_token(1, 500) + steps[1..].iter().sum::<u64>()) - nanos(last_token(1, 500));
    assert_eq!(meter.latency.sum(), u128::from(first + rest));
    assert_eq!(measure(&output, "kv_transfers"), 1.0);
    assert_eq!(measure(&output, "kv_transfer_bytes"), 32.0 * BLOCK_BYTES);
    let mean = measure(&output, "kv_transfer_mean_s") * 1e9;
    assert!((mean - (transfer(32.0) + LATENCY) as f64).abs() < 1e-3, "{mean}");
    let used = measure(&output, "kv_link_utilization") * output.end.as_nanos() as f64;
    assert!((used - transfer(32.0) as f64).abs() < 1.0, "{used}");
    // The decode worker has the first number, and the bill has the GPUs of both.
    assert_eq!(calls(&output), [1, 1]);
    assert_eq!(output.costs.iter().map(|line| line.units).collect::<Vec<_>>(), [1.0, 1.0]);
    assert_eq!((report(&output).gpus, report(&output).output_tokens), (2.0, 51));
    let busy = |role: &str| {
        let of_role =
            |m: &&crate::measure::Measure| m.name == "engine_busy" && m.part.as_deref() == Some(role);
        llm(&output).measures.iter().find(of_role).unwrap().value.unwrap() * output.end.as_nanos() as f64
    };
    assert!((busy("prefill") - steps[0] as f64 / 1024.0).abs() < 1.0);
    assert!(
        (busy("decode") - (last_token(1, 500) + steps[1..].iter().sum::<u64>()) as f64 / 1024.0).abs() < 1.0
    );
    // It waited for nothing.
    assert_eq!(llm(&output).meter.wait.sum(), 0);
    let present =
        llm(&output).meter.queue.integral(output.end) + llm(&output).meter.busy.integral(output.end);
    assert_eq!(present, meter.latency.sum());
}

#[test]
fn equal_transfers_share_the_link_of_whoever_has_most_of_them() {
    let mean = |settings: &str| measure(&simulate(&[(0, 500, 5); 4], settings), "kv_transfer_mean_s") * 1e9;
    let alone = transfer(32.0) as f64;
    let latency = LATENCY as f64;
    let workers = |prefill: u32, decode: u32| {
        format!("replicas = {decode}\ndisaggregated = {{ prefill = {{ replicas = {prefill} }} }}")
    };
    for (prefill, decode, sharers) in [(1, 1, 4.0), (1, 4, 4.0), (4, 1, 4.0), (2, 2, 2.0), (4, 4, 1.0)] {
        let time = mean(&workers(prefill, decode));
        assert!((time - sharers * alone - latency).abs() < 1.0, "{prefill} to {decode}: {time}");
    }
}

/// 24,000 tokens of a 70B Llama over 8 + 8 H200, KV in bf16: 20.56 ms (see [`crate::llm::KvTransferConfig`]).
#[test]
fn a_measured_transfer_is_met() {
    let settings = "model = \"llama-3.1-70b\"\ngpu = \"h200-sxm\"\ntensor_parallel = 8\nprecision = \"fp8\"\n\
                    disaggregated = { prefill = { replicas = 1 } }\n#device =";
    let output = simulate(&[(0, 24_000, 1)], settings);
    let time = measure(&output, "kv_transfer_mean_s");
    assert!((time / 20.56e-3 - 1.0).abs() < 0.01, "{time}");
    // With half the GPUs on one side each of them moves twice as much.
    let half = settings.replace("replicas = 1", "replicas = 1, tensor_parallel = 4");
    let slower = measure(&simulate(&[(0, 24_000, 1)], &half), "kv_transfer_mean_s");
    assert!(((slower - 0.9e-3) / (time - 0.9e-3) - 2.0).abs() < 0.01, "{slower} {time}");
}

/// D/D/1: with one prompt at a time and arrivals faster than that, the n-th waits n times what is missing.
#[test]
fn prefill_is_a_queue_of_its_own() {
    let work: Vec<Work> = (0..40).map(|index| (index * 50, 4_000, 1)).collect();
    let output = simulate(&work, &one_of_each(", max_num_seqs = 1", ""));
    let step = step_function().ticks(&prefill(1, 4_000, 0));
    let (service, gap) = (nanos(step), 50_000_000);
    assert!(service > gap, "{service}");
    let rest = transfer(250.0) + LATENCY + nanos(last_token(1, 4_000));
    assert!(rest < service, "the link and the decode worker are idle when the next comes");
    let meter = requests(&output);
    assert_eq!(meter.ttft.min(), Some(service + rest));
    let expected = 40 * (service + rest) + (0..40).map(|n| n * (service - gap)).sum::<u64>();
    let off = meter.ttft.sum() as f64 - expected as f64;
    assert!(off.abs() < 40.0 * 40.0, "{off} ns: ticks end within nanoseconds");
    // With room for it the pipeline lets each through at once.
    let slow: Vec<Work> = work.iter().map(|(at, prompt, output)| (3 * at, *prompt, *output)).collect();
    let meter = requests(&simulate(&slow, &one_of_each(", max_num_seqs = 1", "")));
    assert_eq!((meter.ttft.min(), meter.ttft.sum()), (Some(service + rest), 40 * u128::from(service + rest)));
}

/// What it is for: long prompts no longer stand in the way of those that decode.
#[test]
fn long_prompts_do_not_stretch_the_time_between_tokens() {
    let mut work = vec![(0, 100, 400)];
    work.extend((1..=10).map(|index| (index * 250, 8_000, 2)));
    let longest =
        |work: &[Work], settings: &str| requests(&simulate(work, settings)).tpot.max().unwrap() as f64;
    let (apart, together) = (longest(&work, &one_of_each("", "")), longest(&work, ""));
    let alone = longest(&work[..1], "");
    assert!(together > 1.6 * alone, "{together} {alone}");
    assert!(apart < 1.15 * alone, "{apart} {alone}");
}

#[test]
fn short_prompts_stay_local_and_known_ones_are_not_fetched() {
    let local = "disaggregated = { prefill = { replicas = 1 }, max_local_prefill_length = 200 }";
    let output = simulate(&[(0, 200, 5), (1_000, 201, 5)], local);
    assert_eq!((calls(&output), measure(&output, "kv_transfers")), (vec![2, 1], 1.0));
    let mut csv = String::from("arrival_ms,prompt_tokens,output_tokens,prefix_id,shared_prefix_tokens\n");
    (0..3).for_each(|index| writeln!(csv, "{},1001,10,system,1000", index * 1000).unwrap());
    let trace = Trace::read(csv.as_bytes(), "work", TraceFormat::Generic).unwrap();
    let output = simulate_trace(trace, &one_of_each("", ""), &RunPlan::default());
    // 62 blocks are known to the decode worker, of 1000 tokens that it does not compute.
    assert_eq!(measure(&output, "kv_transfer_bytes"), (63.0 + 1.0 + 1.0) * BLOCK_BYTES);
    let last = output.component_windows.last().unwrap().signals;
    assert_eq!((last.queue, last.busy, last.kv_used), (0, 0, 0), "the prefill worker keeps nothing");
}

#[test]
fn what_would_be_refused_later_is_refused_at_once() {
    let settings = format!("{}\nmax_model_len = 1000", one_of_each("", ""));
    let output = simulate(&[(0, 900, 200), (0, 900, 50)], &settings);
    assert_eq!(outcomes(&output), [1, 0, 1, 0, 0]);
    assert_eq!((report(&output).rejected.exceeds_model, measure(&output, "kv_transfers")), (1, 1.0));
}

/// A fault of one role at a time in ms, while a transfer of 67 MB at 0.1 GB/s takes 671 ms.
fn breaks(role: &str, at: u64, more: &str) -> RunOutput {
    let fault = format!(
        "[[fault]]\nat = \"{at}ms\"\ntarget = \"llm\"\nkind = \"crash\"\nrole = \"{role}\"\nreplicas = 1\nrepair = \"100ms\""
    );
    let slow = "bandwidth_gb_s = 0.1, abort_request_timeout = \"2s\"";
    simulate(&[(0, 500, 20), (30_000, 10, 1)], &format!("{}\n{more}\n{fault}", one_of_each("", slow)))
}

/// The pool after so many seconds.
fn signals_at(output: &RunOutput, seconds: f64) -> Signals {
    let window = output.windows.iter().position(|window| window.start.as_secs_f64() > seconds).unwrap();
    output.component_windows[2 * window + 1].signals
}

#[test]
fn kv_of_a_crashed_prefill_worker_is_computed_again() {
    let output = breaks("prefill", 300, "");
    assert_eq!(outcomes(&output), [2, 0, 0, 0, 0]);
    // The second one is of one block.
    assert_eq!((measure(&output, "kv_transfers_failed"), measure(&output, "kv_transfers")), (1.0, 1.0));
    let computed = nanos(steps(1, 500, 20)[0]);
    assert_eq!(requests(&output).ttft.max(), Some(300_000_000 + LATENCY + computed));
    assert_eq!(report(&output).prompt_tokens, 500 + 500 + 10 + 1);
    // In the midst of the prefill the call is lost, and others are not.
    let output = breaks("prefill", 5, "");
    assert_eq!(outcomes(&output), [1, 0, 0, 0, 1]);
    assert_eq!((measure(&output, "kv_transfers_failed"), measure(&output, "kv_expired")), (0.0, 0.0));
}

#[test]
fn nobody_fetches_the_kv_of_a_crashed_decode_worker() {
    let output = breaks("decode", 300, "");
    assert_eq!(outcomes(&output), [1, 0, 0, 0, 1]);
    assert_eq!((measure(&output, "kv_expired"), measure(&output, "kv_transfers")), (1.0, 1.0));
    let kept = |at| signals_at(&output, at).kv_used;
    assert_eq!((kept(1.0), kept(5.0)), (32, 0), "2 s after the prefill");
    // Without a role all that there is of the decode workers counts.
    let text = "replicas = 2\ndisaggregated = { prefill = { replicas = 1 } }\n[[fault]]\nat = \"5s\"\n\
                target = \"llm\"\nkind = \"crash\"\nreplicas = 2";
    let output = simulate(&[(0, 500, 20), (6_000, 500, 20)], text);
    assert_eq!(outcomes(&output), [1, 0, 0, 0, 1], "it was computed, and then refused");
    assert_eq!(calls(&output), [1, 0, 2]);
}

#[test]
fn a_call_that_is_given_up_frees_both_sides() {
    // In the prefill, and in the transfer.
    for timeout in [10, 300] {
        let link = format!("[links.\"web -> llm\"]\ntimeout = \"{timeout}ms\"\ncancel_on_timeout = true");
        let slow = one_of_each("", "bandwidth_gb_s = 0.1");
        let output = simulate(&[(0, 500, 20), (30_000, 10, 1)], &format!("{slow}\n{link}"));
        assert_eq!(outcomes(&output)[Outcome::TimedOut as usize], if timeout == 10 { 2 } else { 1 });
        let later = signals_at(&output, 20.0);
        assert_eq!((later.queue, later.busy, later.kv_used), (0, 0, 0));
        assert_eq!(measure(&output, "kv_expired"), 0.0);
    }
}

/// A text that comes back after others have taken its blocks.
fn returning(settings: &str) -> RunOutput {
    let mut csv = String::from("arrival_ms,prompt_tokens,output_tokens,prefix_id,shared_prefix_tokens\n");
    for (index, text) in ["a", "b", "c", "a"].iter().enumerate() {
        writeln!(csv, "{},1600,5,{text},1600", index * 1000).unwrap();
    }
    let trace = Trace::read(csv.as_bytes(), "work", TraceFormat::Generic).unwrap();
    simulate_trace(trace, &format!("kv_blocks = 150\n{settings}"), &RunPlan::default())
}

#[test]
fn the_host_keeps_what_the_gpu_has_no_room_for() {
    let gone = returning("");
    assert_eq!(report(&gone).prefix_hit_tokens, 0);
    let kept = returning("kv_offload = { kv_offloading_size = \"1GiB\" }");
    // All but the block of the last token, which is computed anyway.
    assert_eq!((measure(&kept, "host_hit_tokens"), measure(&kept, "host_loads")), (1600.0, 1.0));
    assert_eq!(measure(&kept, "host_hit_ratio"), 1600.0 / 6400.0);
    // PCIe 5.0 x16: 64 GB/s.
    let load = (100.0 * BLOCK_BYTES / 64.0).ceil();
    assert!((measure(&kept, "host_load_mean_s") * 1e9 - load).abs() < 1e-3);
    let saved = requests(&gone).ttft.sum() - requests(&kept).ttft.sum();
    let expected = nanos(steps(1, 1600, 1)[0]) as f64 - load - nanos(last_token(1, 1600)) as f64;
    assert!((saved as f64 - expected).abs() <= 2.0, "{saved} {expected}");
    let busy = measure(&kept, "host_bus_utilization") * kept.end.as_nanos() as f64;
    assert!((busy - load).abs() < 1.0);
    // A host that is too small forgets it; a slow bus makes it wait.
    let small = returning("kv_offload = { kv_offloading_size = \"400MB\" }");
    assert_eq!(measure(&small, "host_hit_tokens"), 0.0);
    let slow = returning("kv_offload = { kv_offloading_size = \"1GiB\", bandwidth_gb_s = 0.5 }");
    assert!(requests(&slow).ttft.max() > requests(&gone).ttft.max());
    // Prefill workers have hosts, too, and tensor parallelism splits the bytes and the time.
    let both = returning(&format!(
        "kv_offload = {{ kv_offloading_size = \"1GiB\" }}\n{}",
        one_of_each(", kv_blocks = 150", "")
    ));
    assert!(measure(&both, "host_hit_tokens") >= 1600.0);
}

#[test]
fn errors_name_their_keys() {
    let refused = |settings: &str| -> ConfigError {
        let system = format!(
            "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"1/s\" }}\nentry = \"llm\"\n
             [components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\n{settings}\n"
        );
        let config: SystemConfig = toml::from_str(&system).unwrap();
        build(&config, &RunPlan::default(), &Traces::new()).unwrap_err()
    };
    let gpu = "gpu = \"h100-sxm\"\n";
    let split = one_of_each("", "");
    for (settings, path, part) in [
        (format!("{gpu}{}\npipeline_parallel = 2", split), "pipeline_parallel", "disaggregated"),
        (format!("{gpu}{}\nbatching = \"static\"", split), "batching", "disaggregated"),
        (
            format!("{gpu}{}", one_of_each("", "bandwidth_gb_s = 0")),
            "disaggregated.kv_transfer_config.bandwidth_gb_s",
            "bandwidth_gb_s is 0",
        ),
        (format!("{gpu}{}", one_of_each(", gpu = \"h1000\"", "")), "disaggregated.prefill.gpu", "h1000"),
        (
            format!("{gpu}{}", one_of_each(", tensor_parallel = 3", "")),
            "disaggregated.prefill.tensor_parallel",
            "3",
        ),
        (format!("{gpu}{}", one_of_each(", kv_blocks = 1", "")), "disaggregated.prefill.kv_blocks", "1"),
        (
            format!("{gpu}kv_offload = {{ kv_offloading_size = \"1MB\" }}"),
            "kv_offload.kv_offloading_size",
            "2097152 bytes",
        ),
        (
            format!("{gpu}kv_offload = {{ kv_offloading_size = \"1GB\", bandwidth_gb_s = -1 }}"),
            "kv_offload.bandwidth_gb_s",
            "-1",
        ),
        (
            format!("{gpu}enable_prefix_caching = false\nkv_offload = {{ kv_offloading_size = \"1GB\" }}"),
            "kv_offload",
            "enable_prefix_caching",
        ),
        (
            "gpu = \"cpu-m7i-metal-48xl\"\nkv_offload = { kv_offloading_size = \"1GB\" }".into(),
            "kv_offload.kv_offloading_size",
            "CPU host",
        ),
    ] {
        let error = refused(&settings);
        assert_eq!(error.path[2..].join("."), path, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    for (settings, fault) in [("", "kind = \"crash\""), (&split[..], "kind = \"slow\"\nfactor = 2")] {
        let text =
            format!("{gpu}{settings}\n[[fault]]\nat = \"1s\"\ntarget = \"llm\"\nrole = \"prefill\"\n{fault}");
        assert_eq!(refused(&text).path, ["fault", "0", "role"]);
    }
    for bad in ["disaggregated = {}", "disaggregated = { prefill = { replicas = 0 } }", "kv_offload = {}"] {
        assert!(toml::from_str::<LlmConfig>(&format!("model = \"x\"\n{bad}")).is_err(), "{bad}");
    }
}

#[derive(Debug, Clone)]
struct Settings {
    text: String,
    /// Whether all requests are answered.
    calm: bool,
}

/// Workers of both roles, hosts with KV, or both.
fn settings() -> impl Strategy<Value = Settings> {
    let workers =
        prop::option::weighted(0.8, (1u32..4, 76u32..300, 1u32..20, prop::sample::select(&[0u32, 100][..])));
    let ways = (prop::sample::select(&[0.01, 0.5, 50.0][..]), 0u64..200, prop::option::of(300u64..5_000));
    let decode = (1u32..4, 76u32..300, 1u32..20, 32u32..1024, any::<[bool; 3]>());
    let balancers = ["round_robin", "random", "least_request", "prefix_aware", "join_shortest_queue"];
    let balancers = (prop::sample::select(balancers.to_vec()), prop::sample::select(balancers.to_vec()));
    let kind = prop::sample::select(&["crash", "hang", "drain"][..]);
    let role = prop::sample::select(&["role = \"prefill\"\n", "role = \"decode\"\n", ""][..]);
    let fault = prop::option::of((kind, role, 0u64..3_000, 1u32..3, 1u64..2_000));
    let timeout = prop::option::of((1u64..4_000, any::<bool>()));
    let more = (prop::option::of((0u64..3_000, 0.3..4.0)), fault, timeout);
    (workers, ways, decode, balancers, more).prop_map(|(workers, ways, decode, balancers, more)| {
        let (replicas, blocks, seqs, budget, [reserve, ahead, offloads]) = decode;
        let (rate, latency, patience) = ways;
        let mut text = format!(
            "replicas = {replicas}\nkv_blocks = {blocks}\nmax_num_seqs = {seqs}\nmax_num_batched_tokens = {budget}\n\
             scheduler_reserve_full_isl = {reserve}\nasync_scheduling = {ahead}\nbalancer = \"{}\"\n",
            balancers.0
        );
        if offloads || workers.is_none() {
            let size = blocks * 3;
            writeln!(text, "kv_offload = {{ kv_offloading_size = \"{size}MB\", bandwidth_gb_s = {rate} }}").unwrap();
        }
        if let Some((prefill, blocks, seqs, local)) = workers {
            let patience = patience.map_or(String::new(), |ms| format!(", abort_request_timeout = \"{ms}ms\""));
            writeln!(
                text,
                "disaggregated = {{ prefill = {{ replicas = {prefill}, kv_blocks = {blocks}, max_num_seqs = {seqs}, \
                 balancer = \"{}\" }}, max_local_prefill_length = {local}, kv_transfer_config = {{ bandwidth_gb_s = \
                 {rate}, latency = \"{latency}ms\"{patience} }} }}",
                balancers.1
            )
            .unwrap();
        }
        let (slow, fault, timeout) = more;
        if let Some((timeout, cancel)) = timeout {
            let link = format!("timeout = \"{timeout}ms\"\ncancel_on_timeout = {cancel}");
            writeln!(text, "[links.\"web -> llm\"]\n{link}").unwrap();
        }
        if let Some((at, factor)) = slow {
            writeln!(
                text,
                "[[fault]]\ntarget = \"llm\"\nkind = \"slow\"\nat = \"{at}ms\"\nfactor = {factor}\nrepair = \"1s\""
            )
            .unwrap();
        }
        if let Some((kind, role, at, count, repair)) = fault {
            let role = if workers.is_some() { role } else { "" };
            writeln!(
                text,
                "[[fault]]\ntarget = \"llm\"\nkind = \"{kind}\"\n{role}at = \"{at}ms\"\nrepair = \"{repair}ms\"\n\
                 replicas = {count}"
            )
            .unwrap();
        }
        Settings { text, calm: fault.is_none() && timeout.is_none() }
    })
}

/// Prompts that have something in common.
fn shared_trace(work: &[Work]) -> Trace {
    let mut csv = String::from("arrival_ms,prompt_tokens,output_tokens,prefix_id,shared_prefix_tokens\n");
    for (index, (at, prompt, output)) in work.iter().enumerate() {
        writeln!(csv, "{at},{prompt},{output},{},{}", index % 3, prompt.min(&700)).unwrap();
    }
    Trace::read(csv.as_bytes(), "work", TraceFormat::Generic).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_lost_between_workers(work in work(), settings in settings()) {
        let plan = RunPlan { windows: 1_000, ..RunPlan::default() };
        let run = |engine: &str| {
            simulate_trace(shared_trace(&work), &format!("engine = \"{engine}\"\n{}", settings.text), &plan)
        };
        let output = run("fast");
        let (llm, report) = (llm(&output), report(&output));
        prop_assert_eq!(output.conservation.born, work.len() as u64);
        for components in output.component_windows.chunks(2) {
            let signals = components[1].signals;
            prop_assert!(signals.kv_used <= signals.kv_total && signals.busy <= signals.capacity);
        }
        prop_assert!(report.kv_use_max <= 1.0 && report.gpu_busy <= 1.0);
        let used = llm.measure("kv_link_utilization").into_iter().chain(llm.measure("host_bus_utilization"));
        used.for_each(|share| assert!((0.0..=1.0 + 1e-9).contains(&share), "{share}"));
        if settings.calm {
            let meter = requests(&output);
            let tokens: u64 = work.iter().map(|work| u64::from(work.2)).sum();
            prop_assert_eq!(outcomes(&output), [work.len() as u64, 0, 0, 0, 0]);
            prop_assert_eq!((meter.output_tokens, meter.ttft.count()), (tokens, work.len() as u64));
            let present = llm.meter.queue.integral(output.end) + llm.meter.busy.integral(output.end);
            prop_assert_eq!(present, llm.meter.latency.sum());
            prop_assert_eq!(llm.meter.wait.count(), work.len() as u64);
            let last = output.component_windows.last().unwrap().signals;
            prop_assert_eq!((last.queue, last.busy), (0, 0));
        }
        let stepwise = run("stepwise");
        prop_assert_eq!(output.outcome_hash, stepwise.outcome_hash);
        prop_assert_eq!(Some(report), super::llm(&stepwise).llm.as_ref());
        prop_assert_eq!(&llm.measures, &super::llm(&stepwise).measures);
        prop_assert_eq!(run("fast").fingerprint, output.fingerprint);
    }

    #[test]
    fn all_is_freed_on_both_sides(work in work(), settings in settings()) {
        let mut work = work;
        // Long after all timeouts.
        work.push((10_000_000, 10, 1));
        let output = simulate_trace(shared_trace(&work), &settings.text, &RunPlan::default());
        let last = output.windows.iter().rposition(|window| window.start.as_secs_f64() + window.width.as_secs_f64() <= 10_000.0);
        let last = output.component_windows[2 * last.unwrap() + 1].signals;
        prop_assert_eq!((last.queue, last.busy, last.kv_used), (0, 0, 0));
    }
}

/// The zone of the only prefill worker, which comes after the two decode workers, is lost: no call gets beyond it.
#[test]
fn the_loss_of_a_zone_takes_the_prefill_workers_in_it() {
    let zones = |lost: &str| {
        format!(
            "replicas = 2\n{}\n[placement]\nllm = [\"a\", \"a\", \"b\"]\n\
             [[fault]]\nkind = \"zone_loss\"\ntarget = \"{lost}\"\nat = \"0s\"",
            one_of_each("", "")
        )
    };
    let output = simulate(&[(1_000, 500, 5); 3], &zones("b"));
    assert_eq!(output.conservation.ended, [0, 0, 0, 0, 3]);
    // The decode workers alone do not help either: the prompt is computed, and nobody takes it.
    let output = simulate(&[(1_000, 500, 5); 3], &zones("a"));
    assert_eq!(output.conservation.ended[0], 0);
    assert_eq!(calls(&output)[2], 3);
}

/// Three replicas are reserved of a pool of two decode workers and two prefill workers: two and one, once.
#[test]
fn what_is_reserved_is_counted_once() {
    let settings = format!(
        "replicas = 2\n{}\n[components.llm.price_model]\nreserved = 3",
        one_of_each("", "").replace("replicas = 1", "replicas = 2")
    );
    let output = simulate(&[(1_000, 500, 5)], &settings);
    let lines: Vec<(&str, f64)> =
        output.costs.iter().map(|line| (line.resource.as_str(), line.units)).collect();
    let reserved: f64 = lines.iter().filter(|line| line.0.ends_with("reserved")).map(|line| line.1).sum();
    assert_eq!(reserved, 3.0, "{lines:?}");
    assert_eq!(lines.iter().map(|line| line.1).sum::<f64>(), 4.0, "{lines:?}");
}
