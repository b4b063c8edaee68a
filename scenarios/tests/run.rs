//! The `run` experiment on small systems with known answers.

use std::path::Path;

use scenarios::results::RunResult;
use scenarios::run::{RunOptions, RunProgress, check_scenario, run_scenario};
use scenarios::scenario::Scenario;
use sim_models::error::ConfigError;

/// One server: 100 calls a second at most, exponential.
fn station(run: &str, arrivals: &str, rest: &str) -> Scenario {
    let text = format!(
        "name = \"station\"\nrun = {{ {run} }}\n\
         [traffic.web]\narrivals = {{ {arrivals} }}\nentry = \"edge\"\n\
         [components.edge]\nkind = \"flow\"\nsteps = [\"db\"]\n\
         [components.db]\nkind = \"service\"\nservice_time = {{ exponential = {{ mean = \"10ms\" }} }}\n{rest}"
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn poisson(rate: u32) -> String {
    format!("process = \"poisson\", rate = \"{rate}/s\"")
}

fn run_with(scenario: &Scenario, options: &RunOptions) -> Result<RunResult, ConfigError> {
    run_scenario(scenario, 7, Path::new("."), options, &RunProgress::new())
}

fn run(scenario: &Scenario) -> RunResult {
    run_with(scenario, &RunOptions::default()).expect("it can be run")
}

#[test]
fn a_single_server_queue_is_as_the_formula_says() {
    let result = run(&station("duration = \"10m\", replications = 5", &poisson(70), ""));
    assert!(result.plan.warmup < result.plan.duration);
    // M/M/1: the mean time in system is 1 / (mu - lambda).
    let latency = result.summary().column("latency_mean_s").unwrap().f64().unwrap().get(0).unwrap();
    assert!((latency / (1.0 / 30.0) - 1.0).abs() < 0.1, "{latency}");
    let components = result.components();
    let kinds: Vec<_> = components.column("kind").unwrap().str().unwrap().iter().flatten().collect();
    assert_eq!(kinds, ["flow", "service"].repeat(5));
    let busy = components.column("utilization").unwrap().f64().unwrap().get(1).unwrap();
    assert!((busy - 0.7).abs() < 0.02, "{busy}");
}

#[test]
fn an_overload_is_said_in_words() {
    let result = run(&station("duration = \"5m\", replications = 3", &poisson(140), ""));
    let finding = &result.findings[0];
    let numbers: Vec<f64> = finding.split([' ', 'x', '/']).filter_map(|word| word.parse().ok()).collect();
    let [ratio, growth] = numbers[..] else { panic!("{finding}") };
    assert!(finding.starts_with("`db` is overloaded: arrivals are 1."), "{finding}");
    assert!((ratio - 1.4).abs() < 0.04 && (growth - 40.0).abs() < 3.0, "{finding}");
    assert!(!result.findings.iter().any(|finding| finding.contains("nothing is overloaded")));
    assert!(result.findings.iter().any(|finding| finding.contains("had not ended when the run did")));
    // There is no steady state, and nothing is dropped in search of one.
    assert!(result.plan.warmup.is_zero(), "{:?}", result.findings);
    assert!(
        result.findings.iter().any(|finding| finding.starts_with("no steady state")),
        "{:?}",
        result.findings
    );
}

/// More GPUs would not help.
#[test]
fn requests_that_are_too_long_are_no_overload() {
    let findings = |settings: &str| {
        let text = format!(
            "name = \"long\"\nrun = {{ duration = \"1m\" }}\n[traffic.web]\nentry = \"llm\"\n\
             arrivals = {{ process = \"poisson\", rate = \"1/s\" }}\nprompt_tokens = 2000\noutput_tokens = 10\n\
             [components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n{settings}"
        );
        run(&toml::from_str(&text).unwrap()).findings
    };
    for (settings, why) in [
        ("max_model_len = 1000", "are longer than `max_model_len`"),
        ("kv_blocks = 21", "do not fit into the KV memory of a replica, 320 tokens"),
    ] {
        let findings = findings(settings);
        let refuses = format!("`llm` refuses 100% of its calls at any load: prompt and answer {why}");
        assert!(findings.contains(&refuses), "{findings:?}");
        assert!(!findings.iter().any(|finding| finding.contains("at its limit")), "{findings:?}");
    }
    assert!(!findings("").iter().any(|finding| finding.contains("at any load")));
}

#[test]
fn an_slo_is_missed_by_a_system_that_fills_up_though_every_figure_is_within_its_bound() {
    let slo = "[slo]\nlatency = { p99 = \"1h\" }\n";
    let calm = run(&station("duration = \"5m\"", &poisson(70), slo));
    assert_eq!((calm.passed(), calm.filling.len()), (Some(true), 0));
    let full = run(&station("duration = \"5m\"", &poisson(140), slo));
    assert!(full.verdicts.iter().all(|verdict| verdict.pass));
    assert_eq!(full.passed(), Some(false));
    let words = "the SLO is missed, though every figure is within its bound: the queue of `db` grows";
    assert!(full.findings[0].starts_with(words), "{:?}", full.findings);

    // Two in a hundred never come back, and nobody waits in a queue.
    let stuck = station(
        "duration = \"5m\"",
        &poisson(50),
        "[traffic.lost]\narrivals = { process = \"poisson\", rate = \"1/s\" }\nentry = \"void\"\n\
         [components.void]\nkind = \"service\"\nservers = 100000\nservice_time = { constant = \"2h\" }\n\
         [slo]\nlatency = { p99 = \"1s\" }\nerror_rate = 0.01\n",
    );
    let stuck = run(&stuck);
    assert!(stuck.verdicts.iter().all(|verdict| verdict.pass));
    assert_eq!((stuck.passed(), stuck.filling.len()), (Some(false), 1), "{:?}", stuck.findings);
    assert!(stuck.filling[0].contains("unended"), "{:?}", stuck.filling);
}

/// Six hours of work every four: the second run ends at 12 h, four later than its window.
#[test]
fn a_pipeline_that_falls_behind_is_told() {
    let findings = |task_time: &str| {
        let pipeline = format!(
            "[components.job]\nkind = \"pipeline\"\ninterval = \"4h\"\nwindow = \"4h\"\nvolume = \"36GB\"\n\
             task_volume = \"1GB\"\ntask_time = \"{task_time}\"\n"
        );
        run(&station(
            "duration = \"24h\", replications = 1",
            "process = \"poisson\", rate = \"60/h\"",
            &pipeline,
        ))
        .findings
    };
    let calm = findings("5m");
    assert!(calm[0].starts_with("nothing is overloaded"), "{calm:?}");
    assert!(!calm.iter().any(|finding| finding.contains("falls behind")), "{calm:?}");
    let late = findings("10m");
    assert!(late[0].starts_with("nothing that answers calls is overloaded"), "{late:?}");
    assert!(late.iter().any(|finding| finding.starts_with("`job` falls behind: a run is done")), "{late:?}");
}

/// A load that comes and goes every four minutes, and replicas that take one to start.
#[test]
fn an_autoscaler_that_flaps_is_told() {
    let findings = |stabilization: &str| {
        let scaling = format!(
            "servers = 4\ncold_start = {{ init = \"60s\" }}\n\
             autoscaler = {{ kind = \"hpa\", metric = \"rps\", target = 2, scale_down = {{ stabilization_window = \"{stabilization}\", policies = [] }} }}\n"
        );
        run(&station(
            "duration = \"2h\", replications = 1",
            "process = \"diurnal\", rate = \"10/s\", peak_to_mean = 1.9, period = \"4m\"",
            &scaling,
        ))
        .findings
    };
    let flaps = |findings: &[String]| findings.iter().any(|finding| finding.starts_with("`db` flaps: "));
    let (quick, steady) = (findings("0s"), findings("5m"));
    assert!(flaps(&quick) && !flaps(&steady), "{quick:?}\n{steady:?}");
}

#[test]
fn one_replication_tells_an_overload_too() {
    let result = run(&station("duration = \"2m\", replications = 1", &poisson(120), ""));
    assert!(result.findings[0].starts_with("`db` is overloaded: arrivals are 1."), "{:?}", result.findings);
}

#[test]
fn no_false_alarm_under_moderate_load() {
    for (rate, seeds) in [(70, 1..=40), (90, 1..=10)] {
        for seed in seeds {
            let scenario =
                station(&format!("duration = \"2m\", replications = 3, seed = {seed}"), &poisson(rate), "");
            let result = run(&scenario);
            let busiest = "nothing is overloaded: the busiest component is `db` (";
            assert!(
                result.findings[0].starts_with(busiest),
                "rate {rate}, seed {seed}: {:?}",
                result.findings
            );
        }
    }
}

#[test]
fn a_full_queue_saturates_without_growing() {
    let result = run(&station("duration = \"5m\", replications = 3", &poisson(200), "queue_cap = 10"));
    let finding = &result.findings[0];
    assert!(
        finding.starts_with("`db` is saturated: ") && finding.contains("busy; it turns away "),
        "{finding}"
    );
    let rejected = result.findings.iter().find(|finding| finding.contains("were rejected")).unwrap();
    // M/M/1/11 at twice its capacity: half of the calls, to the third digit.
    let share: f64 = rejected.split([' ', '%']).find_map(|word| word.parse().ok()).unwrap();
    assert!((share - 50.0).abs() < 1.0, "{rejected}");
}

/// A bound on latency is not kept by answering the few that there is room for, unless the SLO says how many may be turned away.
#[test]
fn who_is_turned_away_is_later_than_any_bound() {
    let of = |slo: &str| {
        let rest = format!("queue_cap = 10\n[slo]\n{slo}");
        run(&station("duration = \"1m\", warmup = \"0s\", replications = 2", &poisson(200), &rest))
    };
    let alone = of("latency = { p50 = \"1s\", p99 = \"1s\" }");
    let passes: Vec<bool> = alone.verdicts.iter().map(|verdict| verdict.pass).collect();
    // Half of them are answered, or a little less.
    assert!(!passes[1] && alone.passed() == Some(false), "{:?}", alone.verdicts);
    assert!(
        alone
            .findings
            .iter()
            .any(|finding| finding.starts_with("too few requests were answered for latency"))
    );
    let said = of("latency = { p99 = \"1s\" }\nerror_rate = 0.6");
    assert_eq!(said.passed(), Some(true), "{:?}", said.verdicts);
}

#[test]
fn a_class_keeps_to_what_is_expected_of_all_where_it_has_nothing_of_its_own() {
    let slo = "[slo]\nlatency = { p50 = \"1ns\" }\nclass = { default = { latency = { p99 = \"10s\" } } }";
    let result = run(&station("duration = \"20s\", warmup = \"0s\"", &poisson(50), slo));
    let own: Vec<_> = result.verdicts.iter().filter(|verdict| verdict.class == "default").collect();
    assert_eq!(
        own.iter().map(|verdict| (verdict.quantile, verdict.pass)).collect::<Vec<_>>(),
        [(Some("p50"), false), (Some("p99"), true)]
    );
}

#[test]
fn a_spike_is_a_spell() {
    let spike = "process = \"spike\", base = \"50/s\", at = \"1m\", for = \"1m\", rate = \"150/s\"";
    let result = run(&station("duration = \"6m\", replications = 2", spike, ""));
    assert!(result.plan.warmup.is_zero());
    let spell =
        result.findings.iter().find(|finding| finding.starts_with("`db` was saturated from ")).unwrap();
    let numbers: Vec<f64> = spell.split(' ').filter_map(|word| word.parse().ok()).collect();
    // 3,000 calls too many, then 50/s are worked off: a minute more.
    assert!((numbers[0] - 60.0).abs() < 6.0 && (numbers[1] - 180.0).abs() < 15.0, "{spell}");
}

const SLO: &str = "[slo]\nlatency = { mean = \"100ms\", p99 = \"20ms\" }\nttft = { p95 = \"1s\" }\n\
                   error_rate = 0.01\nmonthly_cost = \"$100\"\n\
                   [slo.class.gold]\nlatency = { p99 = \"1s\" }\n";

#[test]
fn verdicts_pass_and_fail() {
    let mut scenario = station(
        "duration = \"2m\", replications = 3",
        &poisson(50),
        &format!("price_per_hour = \"$1/h\"\n{SLO}"),
    );
    scenario.traffic["web"].priority =
        [("gold".to_owned(), 0.5), ("rest".to_owned(), 0.5)].into_iter().collect();
    let result = run(&scenario);
    let found: Vec<(String, bool)> = result
        .verdicts
        .iter()
        .map(|v| (format!("{} {} {}", v.class, v.metric, v.quantile.unwrap_or("-")), v.pass))
        .collect();
    let expected = [
        ("all latency mean", true),
        ("all latency p99", false),
        ("all ttft p95", false),
        ("all error_rate -", true),
        ("all monthly_cost -", false),
        ("gold latency mean", true),
        ("gold latency p99", true),
        ("gold ttft p95", false),
        ("gold error_rate -", true),
    ];
    assert_eq!(found, expected.map(|(name, pass)| (name.to_owned(), pass)));
    assert_eq!(result.passed(), Some(false));
    let cost = &result.verdicts[4];
    assert!((cost.value.unwrap() - 730.0).abs() < 1e-9 && (cost.margin().unwrap() + 6.3).abs() < 1e-9);
    let latency = &result.verdicts[0];
    // M/M/1 at 50 of 100 a second: 20 ms.
    assert!((latency.value.unwrap() - 0.02).abs() < 0.002 && latency.half_width.unwrap() < 0.01);
    assert!(
        result.findings.iter().any(|f| f.starts_with("ttft p95 was not measured")),
        "{:?}",
        result.findings
    );

    let summary = result.summary();
    let text = |name: &str| -> Vec<String> {
        summary.column(name).unwrap().str().unwrap().iter().map(|v| v.unwrap().to_owned()).collect()
    };
    // Classes all, gold, rest by tenants all, default; of `rest` nothing is expected by itself.
    assert_eq!(text("slo")[..6], ["fail", "fail", "fail", "fail", "none", "none"].map(str::to_owned));
    assert_eq!(text("class")[..6], ["all", "all", "gold", "gold", "rest", "rest"].map(str::to_owned));
    // Good requests keep to the loosest bound: 100 ms for all, a second for gold.
    let attainment = summary.column("slo_attainment").unwrap().f64().unwrap();
    let (gold, rest) = (attainment.get(2).unwrap(), attainment.get(4).unwrap());
    // P(latency > 100 ms) = exp(-50 x 0.1) = 0.0067.
    assert!(gold == 1.0 && (rest - (1.0 - 0.0067)).abs() < 0.006, "{gold} {rest}");
}

/// 50 good answers a second at a dollar an hour: 0.56 cents a thousand.
#[test]
fn what_good_requests_earn_stands_beside_the_bill() {
    let earns = |revenue: &str| {
        let slo = format!("price_per_hour = \"$1/h\"\n[slo]\nrevenue_per_1k = \"{revenue}\"");
        let result = run(&station("duration = \"4m\", replications = 3", &poisson(50), &slo));
        let summary = result.summary();
        let value = |name: &str| summary.column(name).unwrap().f64().unwrap().get(0);
        let goodput = value("goodput_per_s").unwrap();
        let [revenue, margin, share] =
            ["revenue_usd_per_hour", "margin_usd_per_hour", "margin_share"].map(|name| value(name).unwrap());
        assert!((margin - (revenue - 1.0)).abs() < 1e-9 && (share - margin / revenue).abs() < 1e-9);
        // Only the row of all has them.
        assert_eq!(summary.column("margin_share").unwrap().null_count(), summary.height() - 3);
        (revenue / (goodput * 3.6), result.verdicts[0].metric, result.verdicts[0].pass)
    };
    let (per_1k, metric, pass) = earns("$0.01");
    assert!((per_1k - 0.01).abs() < 1e-12 && (metric, pass) == ("cost_per_1k_good", true), "{per_1k}");
    assert!(!earns("$0.005").2);
    let silent = run(&station("duration = \"10s\", replications = 1", &poisson(50), ""));
    let revenue = silent.summary().column("revenue_usd_per_hour").unwrap().null_count();
    assert_eq!(revenue, silent.summary().height());
}

#[test]
fn nothing_expected_is_no_verdict() {
    let result = run(&station("duration = \"10s\", replications = 2", &poisson(20), ""));
    assert_eq!((result.passed(), result.verdicts.len()), (None, 0));
    assert!(result.findings.iter().any(|f| f.starts_with("latency p99 rests on ")), "{:?}", result.findings);
}

#[test]
fn results_do_not_depend_on_threads() {
    let scenario = station("duration = \"20s\", replications = 6", &poisson(80), "");
    let with = |threads| {
        let options = RunOptions { threads, ..RunOptions::default() };
        run_with(&scenario, &options).unwrap().to_json().to_string()
    };
    let one = with(Some(1));
    // More than can be started are as many as there is use for.
    for threads in [Some(1), Some(2), Some(8), Some(usize::MAX), None] {
        assert!(with(threads) == one, "{threads:?}");
    }
}

#[test]
fn a_cancelled_run_keeps_what_has_finished() {
    let scenario = station("duration = \"30s\", replications = 400, warmup = \"0s\"", &poisson(80), "");
    let options = RunOptions { threads: Some(2), ..RunOptions::default() };
    let progress = RunProgress::new();
    let result = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_scenario(&scenario, 0, Path::new("."), &options, &progress));
        while progress.done() == 0 && !running.is_finished() {
            std::thread::yield_now();
        }
        progress.cancel();
        running.join().unwrap().unwrap()
    });
    let interrupted = result.interrupted.expect("cancelled after the first of 400 replications");
    assert_eq!((interrupted.finished, interrupted.planned), (result.outputs.len() as u64, 400));
    assert!(interrupted.finished >= 1 && interrupted.finished < 400);
    assert_eq!(progress.done(), interrupted.finished);
    assert!(result.findings[0].starts_with(&format!("interrupted: {} of 400", interrupted.finished)));
    // What was kept is what a whole run has.
    let mut scenario = scenario;
    let last = *result.replications.last().unwrap() as u32;
    scenario.run.replications = std::num::NonZeroU32::new(last + 1).unwrap();
    let whole = run(&scenario);
    for (number, output) in result.replications.iter().zip(&result.outputs) {
        let same = &whole.outputs[*number as usize];
        assert_eq!((output.fingerprint, output.outcome_hash), (same.fingerprint, same.outcome_hash));
    }
}

#[test]
fn a_run_cancelled_before_it_begins_has_empty_frames() {
    let scenario = station("duration = \"30s\"", &poisson(80), SLO.split_once("[slo.class").unwrap().0);
    let progress = RunProgress::new();
    progress.cancel();
    let result = run_scenario(&scenario, 0, Path::new("."), &RunOptions::default(), &progress).unwrap();
    assert_eq!((result.outputs.len(), result.passed()), (0, None));
    assert_eq!(result.interrupted.unwrap().planned, 5);
    assert_eq!((result.summary().height(), result.series().height(), result.costs().height()), (0, 0, 0));
    assert_eq!(progress.fraction(), 0.0);
}

#[test]
fn progress_reaches_the_end() {
    let progress = RunProgress::new();
    assert_eq!((progress.fraction(), progress.total()), (0.0, 0));
    let scenario = station("duration = \"10s\", replications = 3", &poisson(20), "");
    run_scenario(&scenario, 0, Path::new("."), &RunOptions::default(), &progress).unwrap();
    assert_eq!((progress.fraction(), progress.done(), progress.total()), (1.0, 3, 3));
}

fn trace_file(dir: &Path) -> std::path::PathBuf {
    let mut csv = "arrival_s,prompt_tokens,output_tokens\n".to_owned();
    for number in 0..300 {
        csv.push_str(&format!("{},10,5\n", f64::from(number) * 0.1));
    }
    let path = dir.join("recorded.csv");
    std::fs::write(&path, csv).unwrap();
    path
}

#[test]
fn a_trace_replaces_the_arrivals_and_is_scaled() {
    let dir = tempfile::tempdir().unwrap();
    let trace = Some(trace_file(dir.path()));
    let scenario = station("replications = 2", &poisson(1), "");
    let born = |scale| {
        let options = RunOptions { trace: trace.clone(), scale, ..RunOptions::default() };
        let result = run_with(&scenario, &options).unwrap();
        // As long as the trace, and as long again for what is left.
        assert!((result.plan.duration.as_secs_f64() - 29.9).abs() < 0.1);
        assert_eq!(result.plan.drain, result.plan.duration);
        assert!(result.outputs.iter().all(|output| output.conservation.in_flight == 0));
        result.outputs[0].conservation.born
    };
    assert_eq!((born(1.0), born(3.0)), (300, 900));

    let mut two = scenario.clone();
    two.traffic.insert("app".to_owned(), two.traffic["web"].clone());
    let options = RunOptions { trace, ..RunOptions::default() };
    let error = run_with(&two, &options).unwrap_err();
    assert_eq!(error.path, ["traffic"]);
    assert!(error.to_string().contains("`web`, `app`"), "{error}");
}

#[test]
fn a_trace_of_the_scenario_is_relative_to_it() {
    let dir = tempfile::tempdir().unwrap();
    trace_file(dir.path());
    let scenario = station("replications = 1", "process = \"trace\", path = \"recorded.csv\", scale = 2", "");
    let go = |base: &Path| run_scenario(&scenario, 0, base, &RunOptions::default(), &RunProgress::new());
    assert_eq!(go(dir.path()).unwrap().outputs[0].conservation.born, 600);
    let error = go(&dir.path().join("elsewhere")).unwrap_err();
    assert_eq!(error.path, ["traffic", "web", "arrivals", "path"]);
}

#[test]
fn a_model_file_is_relative_to_the_scenario_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = r#"{ "model_type": "gemma2", "num_hidden_layers": 26, "hidden_size": 2304, "num_attention_heads": 8,
        "num_key_value_heads": 4, "intermediate_size": 9216, "vocab_size": 256000,
        "max_position_embeddings": 8192, "sliding_window": 4096 }"#;
    std::fs::write(dir.path().join("own.json"), file).unwrap();
    let llm = "[components.llm]\nkind = \"llm\"\nmodel = \"own.json\"\ngpu = \"l4\"\n\
               disable_hybrid_kv_cache_manager = true\n\
               speculative = { num_speculative_tokens = 2, acceptance_rate = 0.5, draft = { model = \"own.json\" } }\n";
    let scenario = station("duration = \"10s\", replications = 2", &poisson(1), llm);
    let check = |base: &Path| check_scenario(&scenario, base, &RunOptions::default());
    let warnings: Vec<_> = check(dir.path()).unwrap().iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|warning| warning.contains("13 of the 26 layers")), "{warnings:?}");
    let error = check(&dir.path().join("elsewhere")).unwrap_err();
    assert_eq!(error.path, ["components", "llm", "model"]);
}

#[test]
fn what_cannot_be_run_is_named() {
    let path_of = |scenario: &Scenario, options: &RunOptions| {
        let error = check_scenario(scenario, Path::new("."), options).unwrap_err();
        assert!(error.help.is_some(), "{error}");
        error.path.join(".")
    };
    let plain = RunOptions::default();
    for (run, path) in [
        ("duration = \"1m\", warmup = \"1m\"", "run.warmup"),
        ("duration = \"0s\"", "run.duration"),
        ("duration = \"1s\", drain = \"1000h\"", "run.windows"),
        ("windows = 4000000000", "run.windows"),
        ("replications = 100000", "run.replications"),
    ] {
        assert_eq!(path_of(&station(run, &poisson(1), ""), &plain), path);
    }
    let scenario = station("", &poisson(1), "[slo.class.gold]\nerror_rate = 0.1\n");
    assert_eq!(path_of(&scenario, &plain), "slo.class.gold");
    let mut scenario = station("", &poisson(1), "");
    for options in [
        RunOptions { scale: 0.0, ..plain.clone() },
        RunOptions { scale: f64::NAN, ..plain.clone() },
        RunOptions { threads: Some(0), ..plain.clone() },
    ] {
        assert_eq!(path_of(&scenario, &options), "");
    }
    scenario.traffic["web"].tenants.insert("all".to_owned(), 1.0);
    assert_eq!(path_of(&scenario, &plain), "traffic.web.tenants");
}

#[test]
fn what_is_odd_is_warned_of() {
    let lonely = "[components.spare]\nkind = \"service\"\nservice_time = { constant = \"1ms\" }\n";
    let scenario = station("replications = 1", &poisson(1), lonely);
    let warnings = check_scenario(&scenario, Path::new("."), &RunOptions::default()).unwrap();
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].starts_with("run.replications: one replication"), "{texts:?}");
    assert_eq!(texts[1], "components.spare: nobody calls `spare`");
    assert!(texts[2].starts_with("slo: nothing is expected of answers"), "{texts:?}");
    let mut asked = station(
        "replications = 2",
        &poisson(1),
        "[components.model]\nkind = \"external_api\"\nttft = \"1s\"\n[slo]\nerror_rate = 0.1\n",
    );
    asked.traffic["web"].entry = "model".to_owned();
    let warnings = check_scenario(&asked, Path::new("."), &RunOptions::default()).unwrap();
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(
        texts.contains(&"links.web -> model: neither a timeout nor a fallback for a model".to_owned()),
        "{texts:?}"
    );
}

#[test]
fn ties_can_be_shuffled() {
    let mut scenario =
        station("duration = \"10s\", replications = 2", "process = \"deterministic\", rate = \"20/s\"", "");
    scenario.traffic.insert("app".to_owned(), scenario.traffic["web"].clone());
    let shuffled =
        run_with(&scenario, &RunOptions { shuffle_ties: Some(3), ..RunOptions::default() }).unwrap();
    assert_ne!(run(&scenario).outputs[0].fingerprint, shuffled.outputs[0].fingerprint);
}

#[test]
fn an_error_is_shown_in_the_file() {
    let text = "name = \"x\"\n[run]\nwarmup = \"20m\"\n[traffic.web]\n\
                arrivals = { process = \"poisson\", rate = \"1/s\" }\nentry = \"db\"\n\
                [components.db]\nkind = \"service\"\nservice_time = { constant = \"1ms\" }\n";
    let loaded = scenarios::language::parse(text, "x.toml", Path::new("."), &[]).unwrap();
    let progress = RunProgress::new();
    for error in [
        scenarios::run::check(&loaded, &RunOptions::default()).unwrap_err(),
        scenarios::run::run(&loaded, &RunOptions::default(), &progress).unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("x.toml:3:"), "{error}");
        assert!(error.to_string().contains("leaves nothing of the duration of 10m"), "{error}");
    }
}

fn pool(rate: &str, settings: &str) -> Scenario {
    let text = format!(
        "name = \"pool\"\nrun = {{ duration = \"3m\", replications = 3 }}\nslo = {{ ttft = {{ p95 = \"500ms\" }} }}\n\
         [traffic.web]\narrivals = {{ process = \"poisson\", rate = \"{rate}\" }}\nentry = \"large\"\n\
         prompt_tokens = {{ constant = 500 }}\noutput_tokens = {{ constant = 100 }}\n\
         [components.large]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n{settings}"
    );
    scenarios::language::parse(&text, "pool.toml", Path::new("."), &[])
        .unwrap_or_else(|error| panic!("{error}"))
        .scenario
}

#[test]
fn an_llm_pool_fills_its_columns() {
    let result = run(&pool("4/s", "timing = { source = \"datasheet\" }"));
    let frame = result.components();
    let real = |name: &str| frame.column(name).unwrap().f64().unwrap().get(0);
    assert_eq!(real("gpus"), Some(1.0));
    for name in ["gpu_busy", "kv_mean", "kv_max", "batch_mean", "itl_mean_s", "itl_p99_s", "step_time_mean_s"]
    {
        assert!(real(name).is_some_and(|value| value > 0.0), "{name}: {:?}", real(name));
    }
    assert_eq!(result.provenance.calibration, "estimate (datasheet, uncalibrated)");
    assert!(result.findings.iter().any(|f| f.starts_with("GPU times of `large` are estimates")));
    assert!(result.findings[0].starts_with("nothing is overloaded: "), "{:?}", result.findings);
    let ttft = &result.verdicts[0];
    assert!(ttft.pass && ttft.value.unwrap() > 0.01, "{ttft:?}");
    let series = result.series();
    let kv: Vec<f64> = series.column("kv_used").unwrap().f64().unwrap().iter().flatten().collect();
    assert!(!kv.is_empty() && kv.iter().all(|share| (0.0..=1.0).contains(share)));
}

#[test]
fn an_llm_pool_short_of_memory_says_so() {
    // 60 blocks of 16 tokens: a sequence and a half.
    let result = run(&pool("4/s", "kv_blocks = 61"));
    assert!(result.findings[0].starts_with("`large` is overloaded: arrivals are "), "{:?}", result.findings);
    let result = run(&pool("20/s", "kv_blocks = 400"));
    let full = result.findings.iter().find(|finding| finding.starts_with("the KV memory of `large` is full"));
    assert!(
        full.is_some_and(|finding| finding.contains("evicted and computed again")),
        "{:?}",
        result.findings
    );
}

#[test]
fn replications_are_added_until_the_interval_is_narrow() {
    let scenario = station("duration = \"20s\", warmup = \"0s\", replications = 2", &poisson(50), "");
    let until = |text: &str| RunOptions { until: Some(text.parse().unwrap()), ..RunOptions::default() };
    let result = run_with(&scenario, &until("latency_mean within 5%")).unwrap();
    let average = result.summary_averages()[0].figures["latency_mean_s"];
    let width = average.half_width.unwrap() / average.mean;
    println!("{} replications: {width}", result.replications.len());
    assert!(width <= 0.05 && result.replications.len() > 5, "{width}");
    // The same replications as when they are asked for.
    let count = result.replications.len();
    let asked =
        station(&format!("duration = \"20s\", warmup = \"0s\", replications = {count}"), &poisson(50), "");
    assert_eq!(run(&asked).provenance.fingerprints, result.provenance.fingerprints);
    // What is narrow already needs no more.
    assert_eq!(run_with(&scenario, &until("throughput_per_s within 99%")).unwrap().replications.len(), 2);
    // Nothing has a first token here, however often it is run.
    let vain = run_with(&scenario, &until("ttft_p99 within 5%")).unwrap();
    assert_eq!(vain.replications.len(), 2);
    assert!(vain.findings.iter().any(|finding| finding.contains("measured in none")), "{:?}", vain.findings);
}
