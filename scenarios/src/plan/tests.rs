use std::path::Path;

use super::*;

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
    let p95 = "latency = { p95 = \"1800ms\" }\nerror_rate = 0.01";
    let tight = "latency = { p99 = \"700ms\" }\nerror_rate = 0.01";
    let money = "latency = { p95 = \"2s\" }\nerror_rate = 0.01\nmonthly_cost = \"$3k\"";
    let hardware = [
        "components.llm.replicas=1..8/1",
        "components.llm.gpu=l4,l40s,a100-sxm-80gb,h100-sxm",
        "components.llm.precision=bf16,fp8",
    ];
    let chat = "ttft = { p95 = \"600ms\" }\nlatency = { p95 = \"6s\" }\nerror_rate = 0.01";
    let verifier = "components.cascade.stages.0.verifier.true_positive_rate=0.5,0.7,0.8,0.9";
    let lenient = "components.cascade.stages.0.verifier.false_positive_rate=0.05,0.1,0.2,0.4,0.6";
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
            &["components.llm.replicas=1..12/1", hardware[1], hardware[2]],
        ),
        one("cascade, 30% wrong", cascade(60, 0.30), &[lenient, sizes[0], sizes[1]]),
        one("cascade, 17% wrong", cascade(60, 0.17), &[lenient, sizes[0], sizes[1]]),
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

#[test]
fn a_million_tokens_of_an_own_pool() {
    // 2.5 $/h at 700 tokens/s.
    for (utilization, usd) in [(1.0, 0.992), (0.1, 9.92)] {
        assert!((usd_per_million_tokens(2.5, 700.0, utilization) - usd).abs() < 0.01);
    }
}

/// The pool costs what the API does where its bill by the day is that of as many calls.
#[test]
fn the_break_even_is_where_both_bills_meet() {
    let text = llm(4, "latency = { p95 = \"6s\" }\nerror_rate = 0.01", "llama-3.1-8b")
        .replace("\"l4\"", "\"h100-sxm\"");
    let loaded = parse(&text);
    let price = |usd: &str| ApiPrice { input: usd.parse().ok(), output: usd.parse().ok(), call: None };
    let progress = RunProgress::new();
    let find =
        |usd: &str| break_even(&loaded, "llm", Some(price(usd)), &RunOptions::default(), &progress).unwrap();
    let even = find("$1/Mtok");
    println!("{even:?}");
    let by_hand = even.usd_per_hour * 24.0 / ((even.prompt_tokens + even.output_tokens) * 1e-6);
    assert!((even.even_calls_per_day / by_hand - 1.0).abs() < 1e-9);
    assert!((even.prompt_tokens - 400.0).abs() < 60.0 && (even.output_tokens - 60.0).abs() < 6.0);
    assert!((even.calls_per_day / 345_600.0 - 1.0).abs() < 0.15);
    // At that use a token of the pool costs what it costs at the API.
    let share = even.even_utilization().unwrap();
    assert!((even.usd_per_million(share).unwrap() / even.api_usd_per_million - 1.0).abs() < 1e-9);
    assert!(even.pays() && share < 1.0);
    assert!(!find("$0.001/Mtok").pays(), "an API that costs next to nothing is never dearer");
    let error = break_even(&loaded, "llm", None, &RunOptions::default(), &progress).unwrap_err();
    assert!(error.plain().contains("--api-price"), "{}", error.plain());
    let error = break_even(&loaded, "web", None, &RunOptions::default(), &progress).unwrap_err();
    assert!(error.plain().contains("expected one of llm"), "{}", error.plain());
}

/// A call that is refused asks for nothing: what one costs at the API is by those that were answered.
#[test]
fn a_break_even_is_by_what_was_answered() {
    let text = llm(20, "error_rate = 0.95", "llama-3.1-8b") + "max_num_seqs = 8\nqueue_cap = 1\n";
    let price = ApiPrice { input: "$1/Mtok".parse().ok(), output: "$1/Mtok".parse().ok(), call: None };
    let even =
        break_even(&parse(&text), "llm", Some(price), &RunOptions::default(), &RunProgress::new()).unwrap();
    println!("{even:?}");
    assert!((even.calls_per_day / 1_728_000.0 - 1.0).abs() < 0.1, "refused calls are calls, too: {even:?}");
    assert!(
        (even.prompt_tokens - 400.0).abs() < 80.0 && (even.output_tokens - 60.0).abs() < 12.0,
        "{even:?}"
    );
}

/// The whole assistant, sized at both loads: nearly all requests are good, and a good one gets cheaper.
#[test]
fn ten_times_sized_at_once_and_ten_times_the_load() {
    let after = library("ten-times", "after");
    let axes = [
        "components.small.autoscaler.max_replica_count=1..4/1",
        "components.large.autoscaler.max_replica_count=1..3/1",
    ];
    let size = |scale: f64| {
        let run = RunOptions { scale, ..RunOptions::default() };
        let found = search(&after, PlanOptions { run, ..options(&axes) });
        let best = found.best.unwrap_or_else(|| panic!("nothing holds at {scale}x"));
        // Good answers by all requests, whatever became of them.
        let options = RunOptions { scale, ..RunOptions::default() };
        let result = crate::run(&after.with(&best.sets()).unwrap(), &options, &RunProgress::new()).unwrap();
        let measured = result.plan.duration.as_secs_f64() - result.plan.warmup.as_secs_f64();
        let all = result.whole_average().unwrap();
        let goodput = all.mean("goodput_per_s").unwrap() / (all.mean("born").unwrap() / measured);
        println!(
            "{scale}x: {:?}, ${:.0} a month, ${:.3} for 1,000 good answers, goodput {:.2}% of what comes, good {:.2}%",
            best.sets(),
            best.usd_per_month,
            best.usd_per_1k_good.unwrap(),
            100.0 * goodput,
            100.0 * best.slo_attainment.unwrap()
        );
        assert!(goodput >= 0.99 && best.slo_attainment.unwrap() >= 0.99, "{best:?}");
        best.usd_per_1k_good.unwrap()
    };
    let (once, ten) = (size(1.0), size(10.0));
    assert!(ten < once, "{once} to {ten}");
}

#[test]
fn replicas_are_kept_warm_for_a_step_that_a_cold_start_is_too_slow_for() {
    let cold = library("cold-start", "before");
    let axis = warm_axis(&cold, "model").unwrap();
    let least = |slo: &str| {
        let loaded = cold.with(&[format!("slo.latency.p99={slo}")]).unwrap();
        let found = search(&loaded, PlanOptions { fewest: true, ..options(&[&axis]) });
        found.best.map(|best| best.settings[0].1.parse::<u32>().unwrap())
    };
    let (tight, loose) = (least("6s").unwrap(), least("200s").unwrap());
    println!("{tight} for 6 s, {loose} for 200 s");
    // 4 requests a second of 2 s each keep two replicas of four servers busy all the time.
    assert!(tight >= 2 && loose < tight);
    let error = warm_axis(&cold, "web").unwrap_err();
    assert!(error.plain().contains("expected one of model"), "{}", error.plain());
}

#[test]
fn the_load_of_users_and_rates() {
    let scenario = |arrivals: &str| {
        parse(
            &chain(1, "error_rate = 0.1", &[("a", 1, 10, 0.0)])
                .replace("process = \"poisson\", rate = \"1/s\"", arrivals),
        )
        .scenario
    };
    let poisson = scenario("process = \"poisson\", rate = \"8/s\"");
    let each = "6/h".parse().unwrap();
    assert_eq!(Target::Scale(3.0).scale(&poisson).unwrap(), 3.0);
    assert!((Target::Rate("80/s".parse().unwrap()).scale(&poisson).unwrap() - 10.0).abs() < 1e-9);
    assert!((Target::Users(9_600, Some(each)).scale(&poisson).unwrap() - 2.0).abs() < 1e-9);
    let error = Target::Users(100, None).scale(&poisson).unwrap_err();
    assert!(error.plain().contains("--requests-per-user"), "{}", error.plain());
    let closed = scenario("process = \"closed_loop\", users = 50, think = { constant = \"5s\" }");
    assert_eq!(Target::Users(200, None).scale(&closed).unwrap(), 4.0);
    assert!(
        Target::Rate("80/s".parse().unwrap()).scale(&closed).unwrap_err().plain().contains("closed loop")
    );
    // Four requests an arrival.
    let mut sessions = poisson.clone();
    for traffic in sessions.traffic.values_mut() {
        traffic.sessions = Some(toml::from_str("turns = 4\nthink = \"1s\"").unwrap());
    }
    assert!((Target::Rate("80/s".parse().unwrap()).scale(&sessions).unwrap() - 2.5).abs() < 1e-9);
    // Half of the run at 10/s, half at 30/s.
    let step = scenario(
        "process = \"step\", steps = [{ at = \"0s\", rate = \"10/s\" }, { at = \"30s\", rate = \"30/s\" }]",
    );
    assert!((target::mean_rate(&step).unwrap() - 20.0).abs() < 0.1);
}

const SMALL: [&str; 2] = ["components.a.replicas=1..6/1", "components.b.replicas=1..6/1"];

fn small() -> Loaded {
    parse(&chain(
        20,
        "latency = { p95 = \"1800ms\" }\nerror_rate = 0.01",
        &[("a", 2, 100, 0.4), ("b", 3, 200, 0.9)],
    ))
}

#[test]
fn the_front_has_what_nothing_beats() {
    let (loaded, progress) = (small(), RunProgress::new());
    let mut plan = Plan::new(&loaded, options(&SMALL), &progress).unwrap();
    let best = plan.search().unwrap().best.unwrap();
    let front = plan.front(6).unwrap();
    assert!(front.len() >= 6);
    for one in &front {
        let better = front.iter().any(|other| {
            let pair = |one: &FrontPoint| {
                (
                    one.evaluated.usd_per_month,
                    one.evaluated.latency_p99_s.unwrap(),
                    one.evaluated.error_rate.unwrap(),
                )
            };
            let (a, b) = (pair(other), pair(one));
            a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2 && a != b
        });
        assert_eq!(one.dominated_by.is_some(), better, "{one:?}");
    }
    let mut kept: Vec<&Evaluated> =
        front.iter().filter(|one| one.dominated_by.is_none()).map(|one| &one.evaluated).collect();
    assert!(kept.len() >= 2 && kept.iter().any(|one| one.point == best.point));
    kept.sort_by(|a, b| a.usd_per_month.total_cmp(&b.usd_per_month));
    assert!(kept.windows(2).all(|pair| pair[1].latency_p99_s < pair[0].latency_p99_s));
}

#[test]
fn a_tornado_is_a_step_of_each_thing() {
    let (loaded, progress) = (small(), RunProgress::new());
    let mut plan = Plan::new(&loaded, options(&SMALL), &progress).unwrap();
    let best = plan.search().unwrap().best.unwrap();
    let effects = plan.tornado(&best, &["components.b.service_time.exponential.mean".to_owned()]).unwrap();
    let of = |what: &str| effects.iter().filter(|effect| effect.what == what).collect::<Vec<_>>();
    for what in ["load", "components.b.service_time.exponential.mean"] {
        assert_eq!(of(what).len(), 2, "{effects:?}");
        assert!(
            of(what)[0].latency_p99_s < Some(0.0) && of(what)[1].latency_p99_s > Some(0.0),
            "{effects:?}"
        );
        assert!(of(what).iter().all(|effect| effect.usd.unwrap().abs() < 1e-6));
    }
    assert_eq!((of("load")[0].to.as_str(), of("load")[1].to.as_str()), ("0.8x", "1.2x"));
    assert_eq!(of("components.b.service_time.exponential.mean")[1].to, "240ms");
    let more: Vec<_> =
        of("components.b.replicas").into_iter().filter(|effect| effect.usd > Some(0.0)).collect();
    // Three servers at 0.90 $/h each.
    assert!(
        (more[0].usd.unwrap() - 3.0 * 0.9 * 730.0).abs() < 1e-6 && more[0].holds == Some(true),
        "{more:?}"
    );
    let error = plan.tornado(&best, &["components.b.kind".to_owned()]).unwrap_err();
    assert!(error.plain().contains("no number"), "{}", error.plain());
    assert!(plan.tornado(&best, &["components.b.serverz".to_owned()]).is_err());
}

/// What was run is not run again, and another plan is not taken up.
#[test]
fn a_plan_goes_on_where_it_was() {
    let (loaded, progress, dir) = (small(), RunProgress::new(), tempfile::tempdir().unwrap());
    let mut first = Plan::new(&loaded, options(&SMALL), &progress).unwrap();
    first.keep_in(dir.path(), false).unwrap();
    let found = first.search().unwrap();
    assert!(found.runs > 0);
    first.front(4).unwrap();
    let mut again = Plan::new(&loaded, options(&SMALL), &progress).unwrap();
    assert!(again.keep_in(dir.path(), false).unwrap_err().plain().contains("--resume"));
    again.keep_in(dir.path(), true).unwrap();
    let same = again.search().unwrap();
    let all = |found: &Found| {
        found.evaluated.iter().map(|one| (one.point, one.full, one.holds)).collect::<Vec<_>>()
    };
    assert_eq!((same.runs, all(&same)), (0, all(&found)));
    assert_eq!(same.best.map(|best| best.point), found.best.map(|best| best.point));
    let mut other = Plan::new(&loaded, options(&SMALL[..1]), &progress).unwrap();
    assert!(other.keep_in(dir.path(), true).unwrap_err().plain().contains("another plan"));
    // Cancelled before it begins: nothing is claimed.
    let stopped = RunProgress::new();
    let mut plan = Plan::new(&loaded, options(&SMALL), &stopped).unwrap();
    stopped.cancel();
    let found = plan.search().unwrap();
    assert!(!found.complete && found.best.is_none());
}

#[test]
fn what_cannot_be_planned_is_an_error() {
    let progress = RunProgress::new();
    let loaded = small();
    for (axis, word) in [
        ("scale=1,2", "--scale"),
        ("variant=a,b", "--variant"),
        ("components.a.replicas=1..8", "steps"),
        ("components.a.replicaz=1,2", "replicas"),
        ("components.a.replicas=1..200000/1", "at most 100000"),
        ("components.a.servers=0", "servers"),
    ] {
        let error = Plan::new(&loaded, options(&[axis]), &progress).unwrap_err();
        assert!(error.plain().contains(word), "{axis}: {}", error.plain());
    }
    let text = chain(20, "monthly_cost = \"$1k\"", &[("a", 2, 100, 0.4)]);
    assert!(
        Plan::new(&parse(&text), options(&SMALL[..1]), &progress)
            .unwrap_err()
            .plain()
            .contains("nothing is expected")
    );
    // Axes of the scenario, and those that are taken without any.
    let own = parse(&format!(
        "{}[plan]\naxes = {{ \"components.a.replicas\" = \"2..4/1\" }}\n",
        chain(20, "error_rate = 0.1", &[("a", 2, 100, 0.4)])
    ));
    assert_eq!(
        Plan::new(&own, PlanOptions::default(), &progress).unwrap().axes(),
        [("components.a.replicas", 3)]
    );
    let run = RunOptions { scale: 10.0, ..RunOptions::default() };
    let grown = Plan::new(&loaded, PlanOptions { run, ..PlanOptions::default() }, &progress).unwrap();
    assert_eq!(grown.axes(), [("components.a.replicas", 20), ("components.b.replicas", 20)]);
}

/// All servers are busy, and what is left of the run after its warm-up sees only the few who were served at once: `run`
/// finds nothing beyond its bounds.
#[test]
fn a_system_that_fills_up_does_not_hold() {
    let loaded = library("support-assistant", "base").with(&["run.warmup=570s".to_owned()]).unwrap();
    let axes = options(&["components.small.replicas=1", "components.small.gpu=a100-sxm-80gb"]);
    let run = RunOptions { scale: 4.17, ..RunOptions::default() };
    let progress = RunProgress::new();
    let one = Plan::new(&loaded, PlanOptions { run, ..axes }, &progress)
        .unwrap()
        .evaluate(0, true)
        .unwrap()
        .unwrap();
    assert!(!one.holds && one.why.contains("unended"), "{one:?}");
}
