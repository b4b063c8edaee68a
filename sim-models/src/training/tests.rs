use sim_core::stats::replication_interval;
use sim_core::time::SimDuration;

use super::*;
use crate::error::ConfigError;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

const CONFIDENCE: f64 = 0.95;

/// A run ends with its last request, at most `seconds` / 1000 before the end of the arrivals.
fn try_simulate(training: &str, faults: &str, plan: &RunPlan) -> Result<RunOutput, ConfigError> {
    let rate = 1000.0 / plan.duration.as_secs_f64();
    let text = format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"{rate:.9}/s\" }}\nentry = \"db\"\n
         [components.db]\nkind = \"service\"\nservice_time = \"1ms\"\n
         [components.train]\nkind = \"training\"\n{training}\n{faults}"
    );
    let config: SystemConfig = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Ok(run(build(&config, plan, &Traces::new())?, plan).unwrap())
}

fn simulate(training: &str, seconds: f64, replication: u64) -> RunOutput {
    let duration = SimDuration::from_secs_f64(seconds).unwrap();
    let plan = RunPlan { duration, replication, windows: 1, ..RunPlan::default() };
    try_simulate(training, "", &plan).unwrap()
}

fn measure(output: &RunOutput, name: &str) -> f64 {
    let train = output.components.last().unwrap();
    train.measure(name).unwrap_or_else(|| panic!("no {name} in {:?}", train.measures))
}

fn close(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value / expected - 1.0).abs() <= tolerance, "{what}: {value}, expected {expected}");
}

/// Efficiency of an endless job without notice: T of work in M e^(R/M) (e^((T + C)/M) - 1).
fn renewal(interval: f64, checkpoint: f64, restart: f64, mttf: f64) -> f64 {
    interval / (mttf * libm::exp(restart / mttf) * libm::expm1((interval + checkpoint) / mttf))
}

const MULTIPLES: [f64; 7] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0];

/// (C, R, M) in seconds, Young's and Daly's interval, and reference simulations of efficiency at those multiples of
/// Young's.
type Row = ((f64, f64, f64), f64, f64, [f64; 7]);
const TABLE: [Row; 3] = [
    ((60.0, 120.0, 14_400.0), 1315.0, 1275.0, [0.828, 0.886, 0.901, 0.904, 0.896, 0.883, 0.808]),
    ((300.0, 600.0, 7_200.0), 2078.0, 1883.0, [0.553, 0.652, 0.678, 0.679, 0.653, 0.620, 0.465]),
    ((30.0, 60.0, 3_600.0), 465.0, 445.0, [0.766, 0.840, 0.859, 0.863, 0.852, 0.832, 0.737]),
];

/// Simulated with 100,000 interruptions a cell, beside the renewal formula and reference simulations. The optimum
/// is where Young says, and flat.
#[test]
fn efficiency_over_the_interval_is_the_renewal_formula_s_and_its_best_is_young_s() {
    for ((c, r, m), young_s, daly_s, row) in TABLE {
        assert!((young(c, m) - young_s).abs() < 1.0, "{}", young(c, m));
        assert!((daly(c, m) - daly_s).abs() < 1.0, "{}", daly(c, m));
        let mut best = (0.0, 0.0);
        for (multiple, published) in MULTIPLES.into_iter().zip(row) {
            let interval = multiple * young(c, m);
            let exact = renewal(interval, c, r, m);
            assert!((exact - published).abs() <= 0.005, "{multiple}: {exact}, published {published}");
            let job = format!(
                "checkpoint_interval = \"{interval:.6}s\"\ncheckpoint = \"{c}s\"\nrestart = \"{r}s\"\n
                 spot = {{ mttf = \"{m}s\", notice = \"0s\" }}"
            );
            let runs: Vec<f64> = (0..10)
                .map(|replication| measure(&simulate(&job, 1e4 * m, replication), "efficiency"))
                .collect();
            let estimate = replication_interval(&runs, CONFIDENCE).unwrap();
            // Half a width of the 95% interval of ten is 2.26 standard errors.
            let error = estimate.half_width / 2.262;
            println!("C {c} R {r} M {m} x{multiple}: {:.4} +- {error:.4}, {exact:.4}", estimate.mean);
            assert!((estimate.mean - exact).abs() <= 4.0 * error, "{multiple}: {estimate:?}, exact {exact}");
            assert!((estimate.mean - exact).abs() <= 0.005, "{multiple}: {estimate:?}, exact {exact}");
            if estimate.mean > best.0 {
                best = (estimate.mean, multiple);
            }
        }
        assert!((0.75..=1.25).contains(&best.1), "the best of {c}, {r}, {m} is at {}", best.1);
    }
}

#[test]
fn the_optima_go_by_name() {
    let interval = |keys: &str| {
        let job = format!("{keys}\ncheckpoint = \"60s\"\nspot = {{ mttf = \"14400s\" }}");
        measure(&simulate(&job, 1e5, 0), "checkpoint_interval_s")
    };
    close("young", interval("checkpoint_interval = \"young\""), young(60.0, 14_400.0), 1e-9);
    close("daly", interval("checkpoint_interval = \"daly\""), daly(60.0, 14_400.0), 1e-9);
    assert_eq!(interval(""), interval("checkpoint_interval = \"daly\""));
    // From C = 2M on an interval is as long as there is between interruptions.
    assert_eq!(daly(200.0, 100.0), 100.0);
}

/// A gang is lost with any of its workers: eight that each hold out eight times as long are one.
#[test]
fn a_gang_is_lost_with_any_worker() {
    let efficiency = |workers: u32| {
        let mttf = 3600 * workers;
        let job = format!(
            "workers = {workers}\ncheckpoint = \"30s\"\nrestart = \"60s\"\nspot = {{ mttf = \"{mttf}s\" }}"
        );
        let output = simulate(&job, 1e7, 0);
        (measure(&output, "efficiency"), measure(&output, "interruptions"))
    };
    assert_eq!(efficiency(1), efficiency(8));
}

/// Notice of two minutes, half of it for a checkpoint: nothing is lost, and an interruption costs the checkpoint and
/// the restart, with whatever interval.
#[test]
fn a_checkpoint_on_notice_saves_everything() {
    let job = |keys: &str| {
        format!(
            "checkpoint = \"60s\"\nrestart = \"30s\"\nspot = {{ provider = \"aws\", mttf = \"1h\" }}\n{keys}"
        )
    };
    let with = |keys: &str| {
        let runs = (0..10).map(|replication| simulate(&job(keys), 1e4 * 3600.0, replication));
        let runs: Vec<RunOutput> = runs.collect();
        let mean = |name: &str| runs.iter().map(|run| measure(run, name)).sum::<f64>() / 10.0;
        (mean("efficiency"), mean("lost_h"))
    };
    let (efficiency, lost) = with("checkpoint_interval = \"none\"");
    close("M + N - C - R of M + N", efficiency, (3600.0 + 120.0 - 90.0) / 3720.0, 5e-4);
    assert_eq!(lost, 0.0);
    assert_eq!(with("checkpoint_interval = \"30m\"").1, 0.0);
    // Google gives half a minute: too short for a checkpoint of a minute.
    assert!(
        simulate(&job("").replace("aws", "gcp"), 1e6, 0).components.last().unwrap().measure("lost_h")
            > Some(1.0)
    );
    assert!(with("checkpoint_interval = \"none\"\ncheckpoint_on_notice = false").0 < 0.01);
}

/// Ten hours of work, with a checkpoint of a minute after each but the last.
#[test]
fn a_job_ends_and_is_paid_until_then() {
    let job =
        "workers = 4\nwork = \"10h\"\nstart = \"1h\"\ncheckpoint_interval = \"1h\"\ncheckpoint = \"60s\"\n
               price_per_hour = \"$2/h\"";
    let output = simulate(job, 86_400.0, 0);
    assert_eq!(measure(&output, "finished_s"), 3_600.0 + 36_000.0 + 540.0);
    assert_eq!((measure(&output, "checkpoints"), measure(&output, "done_share")), (9.0, 1.0));
    assert_eq!((measure(&output, "useful_h"), measure(&output, "lost_h")), (10.0, 0.0));
    let [line] = output.costs.as_slice() else { panic!("{:?}", output.costs) };
    close("workers held", line.units, 4.0 * 36_540.0 / output.end.as_secs_f64(), 1e-9);
    close("a useful hour", measure(&output, "usd_per_useful_h"), 8.0 * 36_540.0 / 36_000.0, 1e-9);
    let meter = &output.components.last().unwrap().meter;
    assert_eq!((meter.calls, meter.outcomes), (1, [1, 0, 0, 0, 0]));
    // Half way.
    let output = simulate(job, 3_600.0 + 18_300.0, 0);
    close("half way", measure(&output, "done_share"), 0.5, 2e-3);
    assert!(output.components.last().unwrap().measure("finished_s").is_none());
}

#[test]
fn faults_interrupt_and_crash() {
    let plan = RunPlan { duration: SimDuration::from_secs(86_400), ..RunPlan::default() };
    let finished = |keys: &str, fault: &str| {
        let job = format!(
            "work = \"10h\"\ncheckpoint = \"60s\"\nrestart = \"120s\"\n{keys}\n
             spot = {{ provider = \"aws\", capacity_return = \"10m\" }}"
        );
        let fault = format!("[[fault]]\nat = \"2h\"\ntarget = \"train\"\n{fault}");
        measure(&try_simulate(&job, &fault, &plan).unwrap(), "finished_s")
    };
    let interruption = "kind = \"spot_interruption\"";
    // 7,260 s of work are saved in the second minute of notice; ten minutes later it starts again.
    assert_eq!(finished("", interruption), 7_920.0 + 120.0 + 36_000.0 - 7_260.0);
    assert_eq!(finished("checkpoint_on_notice = false", interruption), 7_920.0 + 120.0 + 36_000.0);
    // An hour is saved when it crashes; it goes on with the repair, and makes eight more checkpoints.
    let crash = "kind = \"crash\"\nrepair = \"1h\"";
    assert_eq!(finished("checkpoint_interval = \"1h\"", crash), 10_800.0 + 120.0 + 32_400.0 + 480.0);
}

/// Every nanosecond that is paid goes somewhere, in the measured part as in all.
#[test]
fn paid_time_is_work_checkpoints_and_restarts() {
    let plan = RunPlan {
        duration: SimDuration::from_secs(1_000_000),
        warmup: SimDuration::from_secs(500_000),
        ..RunPlan::default()
    };
    for notice in ["0s", "90s"] {
        let job = format!(
            "checkpoint = \"60s\"\nrestart = \"3m\"\nprice_per_hour = \"$1/h\"\nprice_model = \"spot\"\n
             spot = {{ mttf = \"2h\", notice = \"{notice}\", capacity_return = {{ exponential = {{ mean = \"5m\" }} }} }}"
        );
        let output = try_simulate(&job, "", &plan).unwrap();
        let hours = |name: &str| measure(&output, name);
        let paid = hours("useful_h") + hours("lost_h") + hours("checkpoint_h") + hours("restart_h");
        // Work under way when measurement began may have been lost since: less than one interval.
        let interval = hours("checkpoint_interval_s") / 3600.0;
        let measured = (output.end.as_secs_f64() - 500_000.0) / 3600.0;
        assert!((paid + hours("waiting_h") - measured).abs() <= 2.0 * interval, "{paid} of {measured} h");
        close("the bill", output.costs[0].units, 1.0 - hours("waiting_h") / measured, 1e-6);
        close("spot", measure(&output, "break_even_efficiency"), 0.4, 1e-9);
        close("usd", hours("usd_per_useful_h"), 0.4 / hours("efficiency"), 1e-9);
    }
}

#[test]
fn mistakes_have_a_place() {
    for (job, path, message) in [
        ("work = \"0s\"", "components.train.work", "no work"),
        ("gpu = \"h1000\"", "components.train.gpu", "unknown gpu"),
        ("gpus_per_worker = 8", "components.train.gpus_per_worker", "needs a GPU"),
        ("checkpoint_interval = \"young\"", "components.train.checkpoint_interval", "time between"),
        ("spot = { mttf = \"1h\" }", "components.train.checkpoint_interval", "time that a checkpoint takes"),
        ("checkpoint_interval = \"0s\"", "components.train.checkpoint_interval", "after no work"),
        ("spot = { mttf = \"0s\" }\ncheckpoint_interval = \"none\"", "components.train.spot.mttf", "mttf is"),
        ("price_model = \"spot\"", "components.train.price_model", "no price"),
    ] {
        let error = try_simulate(job, "", &RunPlan::default()).unwrap_err();
        assert_eq!(error.path.join("."), path, "{job}: {error}");
        assert!(error.to_string().contains(message), "{job}: {error}");
    }
    let fault = |kind: &str| format!("[[fault]]\nat = \"1h\"\ntarget = \"train\"\n{kind}");
    for (keys, kind, path) in [
        ("", "kind = \"spot_interruption\"", "fault.0.kind"),
        ("spot = {}", "kind = \"spot_interruption\"\nrepair = \"1h\"", "fault.0.repair"),
        ("", "kind = \"slow\"\nfactor = 2", "fault.0.kind"),
    ] {
        let error = try_simulate(keys, &fault(kind), &RunPlan::default()).unwrap_err();
        assert_eq!(error.path.join("."), path, "{error}");
    }
    let text = "[traffic.web]\narrivals = { process = \"poisson\", rate = \"1/s\" }\nentry = \"train\"\n
                [components.train]\nkind = \"training\"";
    let config: SystemConfig = toml::from_str(text).unwrap();
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert!(error.to_string().contains("is a training, which"), "{error}");
    let error = toml::from_str::<TrainingConfig>("checkpoint_interval = \"yearly\"").unwrap_err().to_string();
    assert!(error.contains("\"daly\" and \"none\" are accepted too"), "{error}");
}
