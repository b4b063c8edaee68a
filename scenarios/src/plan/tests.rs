use std::path::Path;

use super::*;
use crate::language::BASE;

fn parse(text: &str) -> Loaded {
    let parsed = crate::parse(text, "plan.toml", Path::new("."), &[]);
    parsed.unwrap_or_else(|error| panic!("{}\n{text}", error.plain()))
}

fn library(id: &str, variant: &str) -> Loaded {
    let scenario = crate::library().iter().find(|scenario| scenario.id == id).unwrap();
    crate::parse(scenario.text, id, Path::new("."), &[]).unwrap().variant(variant).unwrap()
}

fn options(axes: &[&str]) -> PlanOptions {
    PlanOptions { axes: axes.iter().map(|axis| (*axis).to_owned()).collect(), ..PlanOptions::default() }
}

fn search(loaded: &Loaded, options: PlanOptions) -> Found {
    let progress = RunProgress::new();
    Plan::new(loaded, options, &progress)
        .unwrap_or_else(|error| panic!("{}", error.plain()))
        .search()
        .unwrap()
}

/// The cheapest that holds when every configuration is run in full, and the simulated time of that.
fn exhaustive(loaded: &Loaded, options: PlanOptions) -> (Option<Evaluated>, f64) {
    let progress = RunProgress::new();
    let mut plan = Plan::new(loaded, options, &progress).unwrap();
    let all: Vec<Evaluated> =
        (0..plan.points()).filter_map(|point| plan.evaluate(point, true).ok().flatten()).collect();
    let simulated = all.iter().map(|one| one.simulated_s).sum();
    let best = all.into_iter().filter(|one| one.holds);
    (best.min_by(|a, b| a.usd_per_month.total_cmp(&b.usd_per_month)), simulated)
}

const RUN: &str = "run = { duration = \"60s\", warmup = \"5s\", replications = 2 }\n";

/// A made-up system and its axes.
struct Space {
    name: &'static str,
    text: String,
    axes: Vec<&'static str>,
}

fn traffic(rate: u32, entry: &str, more: &str) -> String {
    format!(
        "[traffic.web]\nentry = \"{entry}\"\ndeadline = \"10s\"\n\
         arrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\n{more}\n"
    )
}

/// Pools one after the other: name, servers of a replica, service time in ms, price.
fn chain(rate: u32, slo: &str, pools: &[(&str, u32, u32, f64)]) -> String {
    let names: Vec<String> = pools.iter().map(|(name, ..)| format!("\"{name}\"")).collect();
    let mut text = format!(
        "name = \"x\"\n{RUN}[slo]\n{slo}\n{}[components.all]\nkind = \"flow\"\nsteps = [{}]\n",
        traffic(rate, "all", ""),
        names.join(", ")
    );
    for (name, servers, time, price) in pools {
        text.push_str(&format!(
            "[components.{name}]\nkind = \"service\"\nservers = {servers}\nreplicas = 1\n\
             service_time = {{ exponential = {{ mean = \"{time}ms\" }} }}\nprice_per_hour = \"${price}/h\"\n"
        ));
    }
    text
}

fn llm(rate: u32, slo: &str, model: &str) -> String {
    format!(
        "name = \"x\"\n{RUN}[slo]\n{slo}\n{}[components.llm]\nkind = \"llm\"\nmodel = \"{model}\"\ngpu = \"l4\"\n",
        traffic(
            rate,
            "llm",
            "prompt_tokens = { lognormal = { mean = 400, cv = 0.8, max = 2000 } }\noutput_tokens = { lognormal = { mean = 60, cv = 0.6, max = 400 } }"
        )
    )
}

fn cascade(rate: u32, wrong: f64) -> String {
    format!(
        "name = \"x\"\n{RUN}[slo]\nlatency = {{ p95 = \"4s\" }}\nerror_rate = 0.01\nwrong_rate = {wrong}\n{}\
         [quality]\nmodels = [\"small\", \"large\"]\njoint = [\n\
         {{ right = [\"small\", \"large\"], weight = 747 }}, {{ right = [\"small\"], weight = 95 }},\n\
         {{ right = [\"large\"], weight = 383 }}, {{ right = [], weight = 94 }} ]\n\
         [components.cascade]\nkind = \"cascade\"\n\
         [[components.cascade.stages]]\ncall = \"small\"\n\
         verifier = {{ true_positive_rate = 0.9, false_positive_rate = 0.1 }}\n\
         [[components.cascade.stages]]\ncall = \"large\"\n\
         [components.small]\nkind = \"llm\"\nmodel = \"llama-3.2-1b\"\ngpu = \"l4\"\n\
         [components.large]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"l40s\"\n",
        traffic(rate, "cascade", "prompt_tokens = 300\noutput_tokens = 80"),
    )
}

fn batching(rate: u32, slo: &str) -> String {
    format!(
        "name = \"x\"\n{RUN}[slo]\n{slo}\n{}[components.rank]\nkind = \"model_server\"\ngpu = \"l4\"\nreplicas = 1\n\
         execution = {{ fixed = \"8ms\", per_item = \"0.5ms\" }}\nmax_batch_size = 8\nbatching = \"dynamic\"\n\
         [components.rank.dynamic_batching]\nmax_queue_delay_microseconds = 0\n",
        traffic(rate, "rank", "")
    )
}

fn store(rate: u32) -> String {
    format!(
        "name = \"x\"\n{RUN}[slo]\nlatency = {{ p95 = \"400ms\" }}\nerror_rate = 0.01\n{}\
         [components.page]\nkind = \"flow\"\nsteps = [\"features\", \"model\"]\n\
         [components.features]\nkind = \"feature_store\"\nfeatures = 20\nread = \"sequential\"\n\
         lookup = {{ lognormal = {{ p50 = \"1ms\", p99 = \"5ms\" }} }}\nconnections = 2\nprice_per_hour = \"$0.50/h\"\n\
         [components.model]\nkind = \"service\"\nservers = 2\nreplicas = 1\nprice_per_hour = \"$0.30/h\"\n\
         service_time = {{ exponential = {{ mean = \"60ms\" }} }}\n",
        traffic(rate, "page", "entities = { count = 10000, zipf = 0.9 }")
    )
}

fn spaces() -> Vec<Space> {
    let two = ["components.a.replicas=1..10/1", "components.b.replicas=1..10/1"];
    let three =
        ["components.a.replicas=1..6/1", "components.b.replicas=1..6/1", "components.c.replicas=1..6/1"];
    let p95 = "latency = { p95 = \"1s\" }\nerror_rate = 0.01";
    let tight = "latency = { p99 = \"700ms\" }\nerror_rate = 0.01";
    let money = "latency = { p95 = \"1s\" }\nerror_rate = 0.01\nmonthly_cost = \"$3k\"";
    let hardware = [
        "components.llm.replicas=1..8/1",
        "components.llm.gpu=l4,l40s,a100-sxm-80gb,h100-sxm",
        "components.llm.precision=bf16,fp8",
    ];
    let chat = "ttft = { p95 = \"600ms\" }\nlatency = { p95 = \"6s\" }\nerror_rate = 0.01";
    let verifier = "components.cascade.stages.0.verifier.true_positive_rate=0.5,0.7,0.8,0.9";
    let sizes = ["components.small.replicas=1..5/1", "components.large.replicas=1..5/1"];
    let ranking = [
        "components.rank.replicas=1..10/1",
        "components.rank.max_batch_size=1,4,16",
        "components.rank.dynamic_batching.max_queue_delay_microseconds=0,5000,20000",
    ];
    let one = |name, text, axes: &[&'static str]| Space { name, text, axes: axes.to_vec() };
    vec![
        one("two pools", chain(40, p95, &[("a", 2, 100, 0.4), ("b", 3, 200, 0.9)]), &two),
        one("two pools, dear first", chain(30, p95, &[("a", 1, 150, 2.0), ("b", 4, 250, 0.3)]), &two),
        one("two pools, tight", chain(25, tight, &[("a", 2, 120, 0.7), ("b", 2, 60, 0.5)]), &two),
        one("two pools, no prices", chain(35, p95, &[("a", 2, 100, 0.0), ("b", 2, 130, 0.0)]), &two),
        one("two pools, none holds", chain(200, tight, &[("a", 1, 120, 0.7), ("b", 1, 60, 0.5)]), &two),
        one(
            "three pools",
            chain(30, p95, &[("a", 2, 80, 0.4), ("b", 3, 200, 0.9), ("c", 4, 300, 0.5)]),
            &three,
        ),
        one(
            "three pools, busy",
            chain(50, p95, &[("a", 2, 100, 1.0), ("b", 3, 120, 0.2), ("c", 5, 300, 0.6)]),
            &three,
        ),
        one(
            "three pools, budget",
            chain(20, money, &[("a", 1, 150, 0.4), ("b", 2, 200, 0.6), ("c", 2, 150, 0.3)]),
            &three,
        ),
        one("GPUs, 8B", llm(20, chat, "llama-3.1-8b"), &hardware),
        one("GPUs, 8B, busier", llm(60, chat, "llama-3.1-8b"), &hardware),
        one("GPUs, 1B", llm(80, chat, "llama-3.2-1b"), &hardware),
        one(
            "GPUs, fast answers",
            llm(15, "latency = { p95 = \"1200ms\" }\nerror_rate = 0.01", "llama-3.1-8b"),
            &hardware,
        ),
        one("cascade, 30% wrong", cascade(20, 0.30), &[verifier, sizes[0], sizes[1]]),
        one("cascade, 20% wrong", cascade(20, 0.20), &[verifier, sizes[0], sizes[1]]),
        one("cascade, busier", cascade(40, 0.22), &[verifier, sizes[0], sizes[1]]),
        one("batching, tight", batching(300, "latency = { p95 = \"40ms\" }\nerror_rate = 0.01"), &ranking),
        one("batching, loose", batching(500, "latency = { p95 = \"100ms\" }\nerror_rate = 0.01"), &ranking),
        one("batching, busier", batching(900, "latency = { p95 = \"60ms\" }\nerror_rate = 0.01"), &ranking),
        one(
            "store and model",
            store(60),
            &[
                "components.features.connections=1..8/1",
                "components.model.replicas=1..8/1",
                "components.features.read=sequential,multi_get",
            ],
        ),
        one(
            "batch of an LLM",
            llm(40, chat, "llama-3.1-8b"),
            &[
                "components.llm.replicas=1..10/1",
                "components.llm.max_num_seqs=8,32,128",
                "components.llm.gpu=l40s,h100-sxm",
            ],
        ),
    ]
}

#[test]
fn the_true_optimum_is_found_with_a_fifth_of_the_simulations() {
    let (mut all_points, mut all_runs, mut all_simulated, mut all_exhaustive) = (0, 0, 0.0, 0.0);
    let mut wrong = Vec::new();
    for space in spaces() {
        let loaded = parse(&space.text);
        let found = search(&loaded, options(&space.axes));
        let (best, simulated) = exhaustive(&loaded, options(&space.axes));
        let usd = |one: &Option<Evaluated>| one.as_ref().map(|one| one.usd_per_month);
        let (own, other) = (usd(&found.best), usd(&best));
        let same = match (own, other) {
            (Some(own), Some(other)) => (own - other).abs() <= 1e-6 * other,
            (own, other) => own == other,
        };
        println!(
            "{}: {} points, {} runs, {:.1}% of the simulated time, {:?} -> {own:?}, exhaustive {other:?} {:?}, {:?}",
            space.name,
            found.points,
            found.runs,
            100.0 * found.simulated_s / simulated,
            found.best.as_ref().map(Evaluated::sets),
            best.as_ref().map(Evaluated::sets),
            found.ruled_out,
        );
        all_points += found.points;
        all_runs += found.runs;
        all_simulated += found.simulated_s;
        all_exhaustive += simulated;
        let few = found.runs * 5 <= found.points && found.simulated_s * 5.0 <= simulated;
        if !(same && few && found.complete) {
            wrong.push(space.name);
        }
    }
    println!(
        "{all_runs} runs for {all_points} configurations, {:.1}% of the simulated time",
        100.0 * all_simulated / all_exhaustive
    );
    assert!(wrong.is_empty(), "{wrong:?}");
}
