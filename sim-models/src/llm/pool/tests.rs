mod config;
mod disaggregated;
mod features;
mod random;
mod sharing;
mod spot;

use std::fmt::Write as _;
use std::sync::Arc;

use sim_core::time::SimDuration;

use super::*;
use crate::hardware::timing::{Pass, StepFunction, nanos_ceil};
use crate::llm::LlmConfig;
use crate::meter::RequestMeter;
use crate::request::Outcome;
use crate::system::{ComponentOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};
use crate::traffic::trace::{Trace, TraceFormat};

/// (arrival in ms, prompt tokens, output tokens).
type Work = (u64, u32, u32);

/// Runs `work` on an `llm` of Llama-3.1-8B on H100s with further `settings`, until all has ended.
fn simulate(work: &[Work], settings: &str) -> RunOutput {
    simulate_plan(work, settings, &RunPlan::default())
}

fn simulate_plan(work: &[Work], settings: &str, plan: &RunPlan) -> RunOutput {
    let mut csv = String::from("arrival_ms,prompt_tokens,output_tokens\n");
    for (at, prompt, output) in work {
        writeln!(csv, "{at},{prompt},{output}").unwrap();
    }
    simulate_trace(Trace::read(csv.as_bytes(), "work", TraceFormat::Generic).unwrap(), settings, plan)
}

fn simulate_trace(trace: Trace, settings: &str, plan: &RunPlan) -> RunOutput {
    // Times are easier to tell without scheduling ahead.
    let ahead = if settings.contains("async_scheduling") { "" } else { "async_scheduling = false" };
    let gpu = if settings.contains("device =") { "" } else { "gpu = \"h100-sxm\"" };
    let model = if settings.contains("model =") { "" } else { "model = \"llama-3.1-8b\"" };
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"trace\", path = \"work\" }}\nentry = \"llm\"\n
         [components.llm]\nkind = \"llm\"\n{model}\n{gpu}\n{ahead}\n{settings}\n"
    );
    let config: SystemConfig = toml::from_str(&system).unwrap();
    let plan = RunPlan {
        duration: trace.duration().saturating_add(SimDuration::from_secs(1)),
        drain: SimDuration::from_secs(1_000_000),
        ..plan.clone()
    };
    let traces = Traces::from([("web".to_owned(), Arc::new(trace))]);
    let output = run(build(&config, &plan, &traces).unwrap(), &plan).unwrap();
    assert_eq!(output.conservation.in_flight, 0);
    output
}

/// Runs a system of a closed loop of `users`, who think for a second before each request.
fn closed_loop(users: u32, requests: &str, settings: &str, seconds: u64) -> RunOutput {
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"closed_loop\", users = {users}, think = \"1s\" }}\n
         entry = \"llm\"\n{requests}\n
         [components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n{settings}\n"
    );
    let config: SystemConfig = toml::from_str(&system).unwrap();
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(1_000),
        ..RunPlan::default()
    };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

fn llm(output: &RunOutput) -> &ComponentOutput {
    output.components.iter().find(|component| component.name == "llm").unwrap()
}

fn report(output: &RunOutput) -> &LlmReport {
    llm(output).llm.as_ref().unwrap()
}

fn pool(output: &RunOutput) -> &PoolReport {
    llm(output).pool.as_ref().unwrap()
}

/// Calls that each replica took.
fn calls(output: &RunOutput) -> Vec<u64> {
    pool(output).replicas.iter().map(|replica| replica.calls).collect()
}

fn requests(output: &RunOutput) -> RequestMeter {
    let mut all = RequestMeter::default();
    output.requests.iter().for_each(|meter| all.merge(meter));
    all
}

fn outcomes(output: &RunOutput) -> [u64; 5] {
    output.conservation.ended
}

fn step_function() -> StepFunction {
    let config = LlmConfig { async_scheduling: false, ..LlmConfig::new("llama-3.1-8b", "h100-sxm") };
    config.step_function().unwrap()
}

fn prefill(sequences: u64, chunk: u64, before: u64) -> Pass {
    let prefill_work = sequences * Pass::chunk_work(before, chunk);
    Pass { sequences, new_tokens: sequences * chunk, decode_context: 0, prefill_work, ..Pass::default() }
}

fn decode(sequences: u64, context: u64) -> Pass {
    Pass { sequences, new_tokens: sequences, decode_context: sequences * context, ..Pass::default() }
}

/// Ticks of each step of `sequences` equal sequences that run side by side.
fn steps(sequences: u64, prompt: u64, output: u64) -> Vec<u64> {
    let step = step_function();
    let decodes = (1..output).map(|token| step.ticks(&decode(sequences, prompt + token)));
    std::iter::once(step.ticks(&prefill(sequences, prompt, 0))).chain(decodes).collect()
}

fn nanos(ticks: u64) -> u64 {
    nanos_ceil(ticks).as_nanos()
}

#[test]
fn one_request_takes_the_sum_of_its_steps() {
    let output = simulate(&[(1_000, 500, 50)], "");
    let steps = steps(1, 500, 50);
    let (first, all) = (nanos(steps[0]), nanos(steps.iter().sum()));
    let meter = requests(&output);
    assert_eq!((meter.ttft.count(), meter.ttft.sum()), (1, u128::from(first)));
    assert_eq!(meter.latency.sum(), u128::from(all));
    assert_eq!(meter.tpot.sum(), u128::from((all - first) / 49));
    let report = report(&output);
    let gaps: u128 = steps[1..].iter().map(|ticks| u128::from(*ticks)).sum();
    assert_eq!((report.itl.count(), report.itl.sum()), (49, gaps));
    assert_eq!((report.steps, report.prompt_tokens, report.output_tokens), (50, 500, 50));
    assert_eq!(report.batch_mean, Some(1.0));
    let elapsed = output.end.as_nanos() as f64;
    assert!((report.gpu_busy - all as f64 / elapsed).abs() < 1e-9);
    assert_eq!(llm(&output).meter.wait.sum(), 0);
    assert_eq!(report.calibration, "imported (kernel profile): h100-sxm-vllm-0.24, kernels of vLLM 0.24.0");
}

#[test]
fn a_long_prompt_is_computed_in_chunks() {
    let step = step_function();
    let chunks = [(8192, 0), (8192, 8192), (3616, 16384)];
    let ticks = chunks.map(|(chunk, before)| step.ticks(&prefill(1, chunk, before)));
    let output = simulate(&[(0, 20_000, 1)], "");
    let expected = nanos(ticks.iter().sum());
    assert_eq!(requests(&output).ttft.sum(), u128::from(expected));
    assert_eq!(requests(&output).latency.sum(), u128::from(expected));
    assert_eq!(report(&output).steps, 3);
}

#[test]
fn simultaneous_arrivals_share_the_first_step() {
    let output = simulate(&[(0, 100, 10); 8], "");
    let steps = steps(8, 100, 10);
    let meter = requests(&output);
    let first = u128::from(nanos(steps[0]));
    assert_eq!((meter.ttft.min(), meter.ttft.sum()), (Some(nanos(steps[0])), 8 * first));
    assert_eq!(meter.latency.sum(), 8 * u128::from(nanos(steps.iter().sum())));
    assert_eq!(report(&output).steps, 10);
    // Nobody waited, and all were in service all the time.
    assert_eq!(llm(&output).meter.queue.integral(output.end), 0);
    assert_eq!(llm(&output).meter.busy.integral(output.end), meter.latency.sum());
    // Users of a closed loop arrive together, too, through other events.
    let users = closed_loop(8, "prompt_tokens = 100\noutput_tokens = 10", "async_scheduling = false", 2);
    assert_eq!(requests(&users).ttft.sum(), 8 * first);
}

#[test]
fn who_comes_in_mid_step_waits_for_the_boundary() {
    // The second request comes 1 ms into the first step.
    let output = simulate(&[(0, 1000, 5), (1, 1000, 1)], "");
    let step = step_function();
    let first = step.ticks(&prefill(1, 1000, 0));
    let both = Pass {
        sequences: 2,
        new_tokens: 1001,
        decode_context: 1001,
        prefill_work: Pass::chunk_work(0, 1000),
        ..Pass::default()
    };
    let second = step.ticks(&both);
    let meter = requests(&output);
    assert_eq!(meter.ttft.min(), Some(nanos(first)));
    assert_eq!(meter.ttft.max(), Some(nanos(first + second) - 1_000_000));
    assert_eq!(llm(&output).meter.wait.max(), Some(nanos(first) - 1_000_000));
    assert_eq!(llm(&output).meter.queue.integral(output.end), u128::from(nanos(first) - 1_000_000));
}

#[test]
fn signals_are_right_in_mid_step() {
    let output = simulate(&[(0, 500, 400)], "replicas = 2\nmax_num_seqs = 10");
    let steps = steps(1, 500, 400);
    let mut seen = 0;
    let total = 2 * u64::from(report(&output).kv_blocks - 1);
    for (window, components) in output.windows.iter().zip(output.component_windows.chunks(2)) {
        let now = window.start.as_nanos() + window.width.as_nanos();
        let ended = steps
            .iter()
            .scan(0, |end, ticks| {
                *end += ticks;
                Some(nanos(*end))
            })
            .filter(|end| *end <= now)
            .count() as u64;
        let (busy, tokens) = if ended < 400 { (1, 500 + ended) } else { (0, 0) };
        let signals = components[1].signals;
        assert_eq!(signals.kv_used, tokens.div_ceil(16), "at {now}");
        assert_eq!((signals.queue, signals.busy), (0, busy));
        assert_eq!((signals.capacity, signals.kv_total), (20, total));
        seen += busy;
    }
    assert!(seen > 100, "{seen} of {} windows were busy", output.windows.len());
}

#[test]
fn a_crash_fails_its_calls_and_a_repair_brings_an_empty_replica() {
    let work: Vec<Work> = [(0, 4), (1_500, 2), (3_000, 2)]
        .into_iter()
        .flat_map(|(at, count)| std::iter::repeat_n((at, 64, 1000), count))
        .collect();
    let crash = "[[fault]]\nat = \"1s\"\ntarget = \"llm\"\nkind = \"crash\"\n";
    let output = simulate(&work, &format!("replicas = 2\n{crash}replicas = 1\nrepair = \"1s\""));
    // The crashed one refuses one of the two calls that come before its repair.
    assert_eq!(outcomes(&output), [5, 0, 0, 0, 3]);
    assert_eq!(calls(&output), [3, 4]);
    let capacity = llm(&output).meter.capacity.integral(output.end);
    assert_eq!(capacity, 512 * u128::from(output.end.as_nanos()) - 256 * 1_000_000_000);
    // All are lost for good, and nobody has found out: they refuse the calls that follow.
    let output = simulate(&work, &format!("replicas = 2\n{crash}"));
    assert_eq!(outcomes(&output), [0, 0, 0, 0, 8]);
    let refused: u64 = pool(&output).replicas.iter().map(|r| r.refused).sum();
    assert_eq!((refused, report(&output).rejected.total()), (4, 0));
    // Once found out there is nobody to send calls to.
    let later: Vec<Work> = work.iter().map(|(at, prompt, tokens)| (at * 40, *prompt, *tokens)).collect();
    let output = simulate(&later, &format!("replicas = 2\n{crash}"));
    assert_eq!(outcomes(&output), [0, 0, 4, 0, 4]);
    assert_eq!(report(&output).rejected, crate::llm::Rejected { no_replica: 4, ..Default::default() });
    let signals = output.component_windows.last().unwrap().signals;
    assert_eq!((signals.busy, signals.capacity, signals.kv_used, signals.kv_total), (0, 0, 0, 0));
    assert_eq!(output.costs[0].units, 2.0, "they are paid all the same");
}

#[test]
fn a_replica_is_lost_with_any_of_its_gpus() {
    let work: Vec<Work> = std::iter::repeat_n((0, 64, 1000), 6).collect();
    let lost = |settings: &str, how: &str| {
        let fault = format!("[[fault]]\nat = \"1s\"\ntarget = \"llm\"\nkind = \"crash\"\n{how}");
        outcomes(&simulate(&work, &format!("{settings}\n{fault}")))[Outcome::Failed as usize]
    };
    let split = "tensor_parallel = 2\nreplicas = 3";
    // Two calls in each replica, on GPUs 0 and 1, 2 and 3, 4 and 5.
    assert_eq!([1, 2, 3, 4, 6].map(|gpus| lost(split, &format!("gpus = {gpus}"))), [2, 2, 4, 4, 6]);
    assert_eq!(lost("replicas = 3", "gpus = 2"), 4);
    // Two stages of two GPUs.
    let stages = "tensor_parallel = 2\npipeline_parallel = 2\nreplicas = 3";
    assert_eq!([1, 4, 5].map(|gpus| lost(stages, &format!("gpus = {gpus}"))), [2, 2, 4]);
    // The replicas of a mixture of experts that share out its experts.
    let shared = "replicas = 4\ndata_parallel_size = 2\nmodel = \"qwen3-30b-a3b\"";
    assert_eq!(["gpus = 1", "gpus = 3", "replicas = 1"].map(|how| lost(shared, how)), [4, 6, 4]);
    for (settings, how, part) in [
        ("", "gpus = 1\nreplicas = 1", "keep one"),
        ("", "gpus = 1\nkind = \"drain\"", "only a `crash`"),
        (
            "device = \"gpu0\"\n[devices.gpu0]\ngpu = \"h100-sxm\"\nsharing = \"mps\"",
            "gpus = 1",
            "GPUs of its own",
        ),
    ] {
        let kind = if how.contains("kind") { "" } else { "kind = \"crash\"" };
        let gpu = if settings.is_empty() { "gpu = \"h100-sxm\"" } else { "" };
        let text = format!(
            "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"1/s\" }}\nentry = \"llm\"\n
             [components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\n{gpu}\n{settings}\n
             [[fault]]\nat = \"1s\"\ntarget = \"llm\"\n{kind}\n{how}"
        );
        let error = build(&toml::from_str(&text).unwrap(), &RunPlan::default(), &Traces::new()).unwrap_err();
        assert_eq!(error.path, ["fault", "0", "gpus"], "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_step_that_a_crash_cut_short_ends_nothing_later() {
    // The lost step would end in the midst of the next request's first one.
    let crash = "[[fault]]\nat = \"5ms\"\ntarget = \"llm\"\nkind = \"crash\"\nrepair = \"1ms\"";
    let output = simulate(&[(0, 8000, 1), (7, 8000, 2)], crash);
    let steps = steps(1, 8000, 2);
    assert!(nanos(steps[0]) > 7_000_000);
    assert_eq!(outcomes(&output), [1, 0, 0, 0, 1]);
    assert_eq!(requests(&output).ttft.sum(), u128::from(nanos(steps[0])));
    assert_eq!(requests(&output).latency.sum(), u128::from(nanos(steps[0] + steps[1])));
}

#[test]
fn slow_stretches_what_is_done_while_it_lasts() {
    let steps = steps(1, 2000, 3);
    let all: u64 = steps.iter().sum();
    let second = nanos(steps[0]) + 1_000_000;
    let fault = format!(
        "[[fault]]\nat = \"{second}ns\"\ntarget = \"llm\"\nkind = \"slow\"\nfactor = 3.0\nrepair = \"1ms\""
    );
    let output = simulate(&[(0, 2000, 3)], &fault);
    // It comes and goes in the second step: of its 1 ms a third is worked.
    let latency = requests(&output).latency.sum() as u64;
    assert!(latency.abs_diff(nanos(all) + 666_667) <= 1, "{latency} {}", nanos(all));
    // Three times as long from there on.
    let output = simulate(&[(0, 2000, 3)], &fault.replace("1ms", "1s"));
    let latency = requests(&output).latency.sum() as u64;
    assert!(latency.abs_diff(second + 3 * (nanos(all) - second)) <= 3, "{latency}");
}

#[test]
fn a_cancelled_call_frees_its_blocks() {
    let link = "[links.\"web -> llm\"]\ntimeout = \"1s\"\ncancel_on_timeout = ";
    // The long one is given up in mid-step; the waiting one, behind max_num_seqs = 1, too.
    let work = [(0, 500, 5000), (10, 500, 10), (3_000, 500, 10), (60_000, 10, 1)];
    let output = simulate(&work, &format!("max_num_seqs = 1\n{link}true"));
    assert_eq!(outcomes(&output), [2, 0, 0, 2, 0]);
    assert_eq!(llm(&output).meter.unheard, 2);
    let last = output.component_windows.last().unwrap().signals;
    assert_eq!((last.busy, last.queue, last.kv_used), (0, 0, 0));
    // 1 s and 11 tokens: 223 tokens in a second if the weights were all that is read.
    assert!(report(&output).output_tokens < 250, "{}", report(&output).output_tokens);
    // A caller who says nothing has the pool work for nobody: the third one times out behind the first.
    let output = simulate(&work, &format!("max_num_seqs = 1\n{link}false"));
    assert_eq!(outcomes(&output), [1, 0, 0, 3, 0]);
    assert_eq!((llm(&output).meter.unheard, report(&output).prompt_tokens), (3, 1510));
}

#[test]
fn a_full_queue_and_a_small_cache_reject() {
    let output = simulate(&[(0, 100, 100); 6], "max_num_seqs = 1\nqueue_cap = 4");
    // All come before the first step begins.
    assert_eq!(outcomes(&output), [4, 0, 2, 0, 0]);
    assert_eq!(report(&output).rejected.queue_full, 2);
    let work = [(0, 1500, 100), (0, 1501, 101), (0, 3000, 100), (0, 5000, 2)];
    let output = simulate(&work, "kv_blocks = 101\nmax_model_len = 5000");
    assert_eq!(outcomes(&output), [1, 0, 3, 0, 0]);
    let rejected = report(&output).rejected;
    assert_eq!((rejected.exceeds_cache, rejected.exceeds_model, rejected.total()), (2, 1, 3));
    assert_eq!((report(&output).kv_tokens, report(&output).kv_blocks), (1600, 101));
    assert_eq!(report(&output).kv_use_max, 1.0);
}

#[test]
fn balancers_spread_evenly() {
    let work: Vec<Work> = (0..4_000).map(|index| (index * 10, 50, 3)).collect();
    let output = simulate(&work[..400], "replicas = 4");
    assert_eq!(calls(&output), [100; 4]);
    let output = simulate(&work, "replicas = 4\nbalancer = \"random\"");
    let random = calls(&output);
    for calls in &random {
        let z = (*calls as f64 - 1000.0) / (4000.0f64 * 0.25 * 0.75).sqrt();
        assert!(z.abs() <= 4.0, "{calls} of 4000");
    }
    assert!(random != [1000; 4], "luck is not even");
    // One replica has a long request; the three others take the short ones.
    let mut work = vec![(0, 50, 2000)];
    work.extend((1..=300).map(|index| (index * 25, 50, 1)));
    let output = simulate(&work, "replicas = 4\nbalancer = \"join_shortest_queue\"");
    let mut calls = calls(&output);
    calls.sort_unstable();
    assert!(calls[0] == 1 && calls[1] > 60, "{calls:?}");
}

#[test]
fn the_most_important_class_goes_first_under_the_priority_policy() {
    let csv = "arrival_ms,prompt_tokens,output_tokens,class\n0,100,50,low\n1,100,50,low\n2,100,50,high\n";
    let classes = "max_num_seqs = 1\nscheduling_policy = ";
    let latency = |policy: &str| {
        let trace = Trace::read(csv.as_bytes(), "work", TraceFormat::Generic).unwrap();
        let settings = format!("{classes}\"{policy}\"\n[traffic.web.priority]\nhigh = 0.5\nlow = 0.5");
        let output = simulate_trace(trace, &settings, &RunPlan::default());
        assert_eq!(output.labels.classes, ["high", "low"]);
        output.requests[0].latency.max().unwrap()
    };
    let one = nanos(steps(1, 100, 50).iter().sum());
    assert!(latency("fcfs") > 3 * one - 3_000_000);
    assert!(latency("priority") < 2 * one);
}

#[test]
fn the_first_token_comes_before_the_reply_on_any_link() {
    let work: Vec<Work> = (0..200).map(|index| (index * 20, 100, 1 + index as u32 % 3)).collect();
    let link = "[links.\"web -> llm\"]\nlatency = { exponential = { mean = \"20ms\" } }";
    let meter = requests(&simulate(&work, link));
    assert_eq!((meter.answered(), meter.ttft.count()), (200, 200));
}

#[test]
fn what_happens_before_the_measured_part_is_not_reported() {
    let plan = RunPlan { warmup: SimDuration::from_secs(5), ..RunPlan::default() };
    let output = simulate_plan(&[(0, 500, 100), (10_000, 300, 20)], "", &plan);
    let report = report(&output);
    assert_eq!((report.steps, report.prompt_tokens, report.output_tokens), (20, 300, 20));
    assert_eq!((report.itl.count(), report.prefix_query_tokens), (19, 300));
    assert_eq!(calls(&output), [1]);
    let replica = pool(&output).replicas[0].engine.as_ref().unwrap();
    let kv = replica.kv.as_ref().unwrap();
    assert_eq!((replica.steps, kv.prefix_query_tokens, kv.preemptions), (20, 300, 0));
    assert_eq!((replica.step_time_mean, replica.batch_mean), (report.step_time_mean, Some(1.0)));
    assert_eq!((kv.use_mean, kv.use_max), (report.kv_use_mean, report.kv_use_max));
    let busy = steps(1, 300, 20).iter().sum::<u64>() as f64 / 1024.0;
    assert!((report.gpu_busy * (output.end.as_nanos() - 5_000_000_000) as f64 / busy - 1.0).abs() < 1e-9);
}

#[test]
fn a_shared_beginning_is_computed_once() {
    let mut csv = String::from("arrival_ms,prompt_tokens,output_tokens,prefix_id,shared_prefix_tokens\n");
    (0..5).for_each(|index| writeln!(csv, "{},1000,10,system,800", index * 1000).unwrap());
    let trace = || Trace::read(csv.as_bytes(), "work", TraceFormat::Generic).unwrap();
    let output = simulate_trace(trace(), "", &RunPlan::default());
    assert_eq!((report(&output).prefix_hit_tokens, report(&output).prefix_query_tokens), (4 * 800, 5000));
    assert_eq!(report(&output).prompt_tokens, 5000 - 4 * 800);
    let output = simulate_trace(trace(), "enable_prefix_caching = false", &RunPlan::default());
    assert_eq!((report(&output).prefix_hit_tokens, report(&output).prompt_tokens), (0, 5000));
}

#[test]
fn no_token_comes_faster_than_the_weights_are_read() {
    let output = simulate(&[(0, 100, 500)], "");
    // 15.01 GB at 3.35 TB/s.
    assert!(requests(&output).tpot.min().unwrap() >= 4_480_000);
    let split = simulate(&[(0, 100, 500)], "tensor_parallel = 2\nasync_scheduling = true");
    let meter = requests(&split);
    assert!((2_240_000..4_480_000).contains(&meter.tpot.min().unwrap()), "{:?}", meter.tpot.min());
}

#[test]
fn throughput_saturates() {
    let answered = |users: u32| {
        let output = closed_loop(users, "prompt_tokens = 100\noutput_tokens = 200", "max_num_seqs = 64", 60);
        let report = report(&output);
        assert!(report.gpu_busy <= 1.0 && report.batch_mean.unwrap() <= 64.0);
        (requests(&output).answered_in_window as f64 / 60.0, report.batch_mean.unwrap())
    };
    let [(few, few_batch), (many, many_batch), (too_many, _)] = [16, 128, 256].map(answered);
    assert!(few > 6.0 && few_batch <= 16.0, "{few} {few_batch}");
    assert!(many > 2.5 * few && many_batch > 56.0, "{few} {many} {many_batch}");
    assert!((too_many / many - 1.0).abs() < 0.05, "{many} {too_many}");
    // 64 tokens in no less than 4.48 ms.
    assert!(many < 64.0 / 4.48e-3 / 200.0, "{many}");
}
