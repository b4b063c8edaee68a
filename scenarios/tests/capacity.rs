//! What breaks at ten times the load, why, and what holds.

use std::path::Path;

use scenarios::results::RunResult;
use scenarios::run::{RunOptions, RunProgress, run_scenario};
use scenarios::scenario::Scenario;

/// One replica on an H100 that holds 100 requests a second.
fn scenario(pool: &str, prompt: u32, output: u32) -> Scenario {
    let text = format!(
        "name = \"capacity\"\nrun = {{ duration = \"30s\", drain = \"10s\", replications = 2 }}\n\
         [slo]\nttft = {{ p95 = \"500ms\" }}\nlatency = {{ p95 = \"5s\" }}\n\
         [traffic.web]\nentry = \"llm\"\narrivals = {{ process = \"poisson\", rate = \"100/s\" }}\n\
         prompt_tokens = {prompt}\noutput_tokens = {output}\n\
         [components.llm]\nkind = \"llm\"\ngpu = \"h100-sxm\"\n{pool}\n"
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn run(scenario: &Scenario, scale: f64) -> RunResult {
    let options = RunOptions { scale, ..RunOptions::default() };
    run_scenario(scenario, 7, Path::new("."), &options, &RunProgress::new()).unwrap()
}

fn mean(result: &RunResult, column: &str) -> f64 {
    result.summary_averages()[0].mean(column).unwrap_or(0.0)
}

/// Holds at 1x, and at 10x breaks for the reason.
fn collapses(pool: &str, prompt: u32, output: u32, reason: &str) {
    let scenario = scenario(pool, prompt, output);
    let calm = run(&scenario, 1.0);
    assert_eq!(calm.passed(), Some(true), "{pool}: {:?}", calm.verdicts);
    assert!(calm.findings[0].starts_with("nothing is overloaded"), "{pool}: {:?}", calm.findings);
    let crowded = run(&scenario, 10.0);
    println!("{}", crowded.findings[0]);
    assert_eq!(crowded.passed(), Some(false), "{pool}: {:?}", crowded.verdicts);
    let finding = &crowded.findings[0];
    assert!(finding.starts_with("`llm` is overloaded: arrivals are "), "{pool}: {finding}");
    assert!(finding.contains(reason), "{pool}: {finding}");
    let [before, after] = [&calm, &crowded].map(|result| mean(result, "goodput_per_s"));
    println!("goodput {before:.0}/s at 100/s, {after:.0}/s at 1,000/s");
    assert!(before > 95.0 && after < 0.5 * before, "{pool}: goodput {before} and {after}");
    assert!(mean(&crowded, "latency_p95_s") > 5.0, "{pool}: {}", mean(&crowded, "latency_p95_s"));
}

/// Long prompts and short answers: every token is computed, and a larger batch computes no faster.
#[test]
fn for_lack_of_compute() {
    collapses("model = \"llama-3.1-8b\"", 200, 20, "compute is what it is short of");
}

/// Sixteen sequences read the weights as often as a hundred would, be they replaced one by one or all at once.
#[test]
fn for_lack_of_batch() {
    let pool = "model = \"llama-3.1-8b\"\nmax_num_seqs = 16";
    collapses(pool, 50, 10, "the batch is what it is short of: max_num_seqs = 16 is reached");
    let naive = format!("{pool}\nbatching = \"static\"");
    collapses(&naive, 50, 10, "the batch is what it is short of: max_num_seqs = 16 is reached");
    let budget = "model = \"llama-3.1-8b\"\nmax_num_batched_tokens = 64\nmax_num_seqs = 64";
    collapses(budget, 50, 2, "the batch is what it is short of: max_num_batched_tokens = 64 is reached");
}

/// Long answers of a small model: its cache is full while the GPU waits for its host.
#[test]
fn for_lack_of_memory() {
    let pool = "model = \"llama-3.2-1b\"\nmax_num_seqs = 1024\nkv_blocks = 3000";
    collapses(pool, 50, 400, "memory is what it is short of");
}

/// The scenario of the library holds today's load, breaks at ten times it, and holds that with more GPUs.
#[test]
fn the_capacity_scenario_does_what_it_says() {
    let library = scenarios::library().iter().find(|scenario| scenario.id == "llm-capacity").unwrap();
    let base = scenarios::parse(library.text, "llm-capacity.toml", Path::new("."), &[]).unwrap();
    let run = |variant: Option<&str>| {
        let mut loaded = base.variant(variant.unwrap_or("base")).unwrap();
        loaded.scenario.run.replications = 2.try_into().unwrap();
        let result = scenarios::run(&loaded, &RunOptions::default(), &RunProgress::new()).unwrap();
        println!("{variant:?}: {} {:?}", result.findings[0], result.verdicts);
        (result.passed(), result.findings[0].clone())
    };
    assert_eq!(run(None).0, Some(true));
    assert_eq!(run(Some("after")).0, Some(true));
    for (variant, reason) in
        [("before", "compute"), ("small batch", "the batch"), ("little memory", "memory")]
    {
        let (passed, finding) = run(Some(variant));
        assert_eq!(passed, Some(false), "{variant}");
        assert!(finding.contains(&format!("{reason} is what it is short of")), "{variant}: {finding}");
    }
}

/// Experiment T1: four tenants with work for a fifth of a GPU each.
#[test]
fn the_sharing_scenario_does_what_it_says() {
    let library = scenarios::library().iter().find(|scenario| scenario.id == "gpu-sharing").unwrap();
    let base = scenarios::parse(library.text, "gpu-sharing.toml", Path::new("."), &[]).unwrap();
    // Mean latency of all tenants, and of `b` alone, in calls of 100 ms.
    let run = |variant: &str| {
        let loaded = base.variant(variant).unwrap();
        let result = scenarios::run(&loaded, &RunOptions::default(), &RunProgress::new()).unwrap();
        let components = result.component_averages();
        let latency = |name: &str| {
            components.iter().find(|row| row.keys[0] == name).unwrap().mean("latency_mean_s").unwrap()
        };
        let all = ["a", "b", "c", "d"].map(latency).iter().sum::<f64>() / 4.0;
        println!("{variant}: all {all:.3} s, b {:.3} s", latency("b"));
        (all / 0.1, latency("b") / 0.1)
    };
    let (turns, mps, mig) = (run("time_slicing"), run("mps"), run("mig"));
    assert!((4.5..7.5).contains(&turns.0), "{turns:?}");
    assert!(mps.0 < 0.9 * turns.0 && mps.0 > 2.0, "{mps:?}");
    // M/M/1 at 0.8 with services of 400 ms: 2 s. Ten minutes are 1,200 calls a tenant and replication: the
    // standard error is about 6%.
    assert!((mig.0 / 20.0 - 1.0).abs() < 0.25, "{mig:?}");
    assert_eq!(run("burst with mig").1, mig.1);
    assert!(run("burst with time_slicing").1 > 1.3 * turns.1);
}

/// The whole of it: as it is written it fails at ten times the load; with the patterns it holds, and a good answer
/// costs less than today.
#[test]
fn ten_times_breaks_without_the_patterns_and_holds_with_them() {
    let library = scenarios::library().iter().find(|scenario| scenario.id == "ten-times").unwrap();
    let base = scenarios::parse(library.text, "ten-times.toml", Path::new("."), &[]).unwrap();
    let run = |variant: &str, scale: f64| {
        let mut loaded = base.variant(variant).unwrap();
        loaded.scenario.run.replications = 1.try_into().unwrap();
        let options = RunOptions { scale, ..RunOptions::default() };
        let result = scenarios::run(&loaded, &options, &RunProgress::new()).unwrap();
        println!("{variant} at {scale}x: {} {:?}", result.findings[0], result.verdicts);
        result
    };
    assert_eq!(run("before", 1.0).passed(), Some(true));
    let broken = run("before", 10.0);
    assert_eq!(broken.passed(), Some(false));
    assert!(broken.findings[0].contains("is saturated"), "{:?}", broken.findings);
    assert!(mean(&broken, "goodput_per_s") < 1.0);

    let [today, tenfold] = [1.0, 10.0].map(|scale| run("after", scale));
    for result in [&today, &tenfold] {
        assert_eq!(result.passed(), Some(true), "{:?}", result.verdicts);
        let good = mean(result, "slo_attainment");
        assert!(good >= 0.99, "{good}");
    }
    let [before, after] = [&today, &tenfold].map(|result| mean(result, "cost_usd_per_1k_good"));
    println!("${before:.2} and ${after:.2} per 1,000 good answers");
    assert!(after < 0.5 * before, "{before} and {after}");
}

/// A gang on spot capacity: checkpoints at the right interval and on notice are worth a quarter of the bill, and without
/// them a third of what is paid is lost.
#[test]
fn spot_training_pays_with_the_right_checkpoints() {
    let library = scenarios::library().iter().find(|scenario| scenario.id == "spot-training").unwrap();
    let base = scenarios::parse(library.text, "spot-training.toml", Path::new("."), &[]).unwrap();
    let of = |variant: &str| {
        let loaded = base.variant(variant).unwrap();
        let result = scenarios::run(&loaded, &RunOptions::default(), &RunProgress::new()).unwrap();
        let trained = |name: &str| {
            let values = result.outputs.iter().map(|output| {
                let train = output.components.iter().find(|component| component.name == "train").unwrap();
                train.measure(name).unwrap_or_else(|| panic!("{variant} has no {name}"))
            });
            values.sum::<f64>() / result.outputs.len() as f64
        };
        let figures =
            ["efficiency", "lost_h", "usd_per_useful_h", "finished_s", "interruptions"].map(&trained);
        println!("{variant}: {figures:?}");
        (figures, trained("break_even_efficiency"))
    };
    let [before, after, on_demand] = ["before", "after", "on-demand"].map(of);
    // M exp(R/M) (exp((T + C)/M) - 1) for four hours of work.
    assert!((before.0[0] - 0.69).abs() < 0.07, "{before:?}");
    assert!(after.0[0] > 0.92 && after.0[1] == 0.0, "{after:?}");
    assert!(after.0[2] < 0.8 * before.0[2] && before.0[2] < on_demand.0[2], "{before:?}, {on_demand:?}");
    assert_eq!((on_demand.0[0], on_demand.0[3]), (1.0, 72.0 * 3600.0));
    assert!((after.1 - (1.0 - 0.576)).abs() < 1e-9, "{after:?}");
}

/// A bad version is not a matter of load: `before` fails as it is, for half the answers of a version are wrong for a
/// third of the run. `after` holds today's load, and breaks at ten times it for lack of servers, as no canary makes any.
#[test]
fn a_canary_holds_what_a_rolling_update_breaks_and_makes_no_capacity() {
    let library = scenarios::library().iter().find(|scenario| scenario.id == "deployment").unwrap();
    let base = scenarios::parse(library.text, "deployment.toml", Path::new("."), &[]).unwrap();
    let run = |variant: &str, scale: f64, minutes: u64| {
        let mut loaded = base.variant(variant).unwrap();
        loaded.scenario.run.duration = Some(format!("{minutes}m").parse().unwrap());
        let options = RunOptions { scale, ..RunOptions::default() };
        scenarios::run(&loaded, &options, &RunProgress::new()).unwrap()
    };
    // The figures in the scenario's comment and in the book.
    for (variant, passes, errors, usd) in [("before", false, 0.158, 0.0112), ("after", true, 0.001, 0.00934)]
    {
        let result = run(variant, 1.0, 30);
        assert_eq!(result.passed(), Some(passes), "{variant}: {:?}", result.verdicts);
        let (failed, cost) = (mean(&result, "error_rate"), mean(&result, "cost_usd_per_1k_good"));
        assert!((failed - errors).abs() < 0.0005, "{variant}: {failed}");
        assert!((cost / usd - 1.0).abs() < 0.005, "{variant}: {cost}");
    }
    let crowded = run("after", 10.0, 3);
    assert_eq!(crowded.passed(), Some(false), "{:?}", crowded.verdicts);
    assert!(crowded.findings[0].starts_with("`api` is overloaded"), "{:?}", crowded.findings);
}
