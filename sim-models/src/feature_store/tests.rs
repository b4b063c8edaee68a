mod cache;
mod shards;
mod values;

use sim_core::distribution::LogNormal;
use sim_core::stats::Moments;

use super::*;
use crate::component::{ComponentId, DataReport, Load};
use crate::meter::ComponentMeter;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

/// A source at `rate`, one feature store, and what else the scenario says.
fn scenario(arrivals: &str, store: &str) -> SystemConfig {
    let text = format!(
        "[traffic.web]\narrivals = {arrivals}\nentry = \"store\"\n
         [components.store]\nkind = \"feature_store\"\n{store}\n"
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn plan(seconds: u64, replication: u64) -> RunPlan {
    RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(1_000_000),
        replication,
        ..RunPlan::default()
    }
}

fn simulate(config: &SystemConfig, plan: &RunPlan) -> RunOutput {
    run(build(config, plan, &Traces::new()).unwrap(), plan).unwrap()
}

fn meter(output: &RunOutput) -> &ComponentMeter {
    &output.components.iter().find(|component| component.name == "store").unwrap().meter
}

fn report(output: &RunOutput) -> &FeatureStoreReport {
    let store = output.components.iter().find(|component| component.name == "store").unwrap();
    match &store.data {
        Some(DataReport::FeatureStore(report)) => report,
        other => panic!("{other:?}"),
    }
}

fn z(what: &str, values: &Moments, expected: f64) {
    let (mean, error) = (values.mean().unwrap(), values.standard_error().unwrap());
    let z = (mean - expected) / error;
    assert!(z.abs() <= 4.0, "{what}: {mean} +- {error}, expected {expected}, z = {z}");
}

/// A count of `n` trials of probability `p`.
fn binomial(what: &str, count: u64, n: u64, p: f64) {
    let z = (count as f64 - n as f64 * p) / (n as f64 * p * (1.0 - p)).sqrt();
    assert!(z.abs() <= 4.0, "{what}: {count} of {n}, expected {p}, z = {z}");
}

/// Mean and 99th percentile in ms of 40,000 reads.
fn latency(store: &str) -> (f64, f64) {
    let config = scenario(r#"{ process = "poisson", rate = "1000/s" }"#, store);
    let output = simulate(&config, &plan(40, 0));
    let latency = &meter(&output).latency;
    assert!(latency.count() > 39_000);
    (latency.mean().unwrap() / 1e6, latency.quantile(0.99).unwrap() as f64 / 1e6)
}

fn close(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value / expected - 1.0).abs() <= tolerance, "{what}: {value}, expected {expected}");
}

/// The lookup of the published experiment: median 1 ms, 99th percentile 5 ms.
const LOOKUP: &str = r#"lookup = { lognormal = { p50 = "1ms", p99 = "5ms" } }"#;

fn read(mode: &str, features: u32) -> String {
    format!("features = {features}\nread = \"{mode}\"\n{LOOKUP}")
}

#[test]
fn sequential_parallel_and_multi_get_reads_at_50_and_250_features() {
    for (features, mean, sequential, parallel, multi_get) in
        [(50, 63.5, 82.0, 11.8, 5.5), (250, 318.0, 357.0, 15.6, 7.5)]
    {
        let measured = latency(&read("sequential", features));
        close("sequential mean", measured.0, mean, 0.02);
        close("sequential p99", measured.1, sequential, 0.05);
        close("parallel p99", latency(&read("parallel", features)).1, parallel, 0.05);
        close("multi-get p99", latency(&read("multi_get", features)).1, multi_get, 0.05);
        // The longest of n stays below x when all n do.
        let law = LogNormal::from_p50_p99(1.0, 5.0).unwrap();
        let longest = law.quantile(libm::pow(0.99, 1.0 / f64::from(features)));
        close("parallel p99, exact", latency(&read("parallel", features)).1, longest, 0.04);
        let single = law.mean() + 0.01 * f64::from(features);
        close("multi-get mean, exact", latency(&read("multi_get", features)).0, single, 0.02);
    }
}

/// Slope and R2 of the least-squares line.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let sum =
        |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|point| of(point.0 - x, point.1 - y)).sum::<f64>();
    let (xx, xy, yy) = (sum(&|dx, _| dx * dx), sum(&|dx, dy| dx * dy), sum(&|_, dy| dy * dy));
    (xy / xx, xy * xy / (xx * yy))
}

#[test]
fn only_sequential_reads_grow_in_proportion_to_the_features() {
    const FEATURES: [u32; 6] = [10, 50, 100, 150, 200, 250];
    let means = |mode| FEATURES.map(|features| (f64::from(features), latency(&read(mode, features)).0));
    let (slope, r2) = line(&means("sequential"));
    close("slope", slope, LogNormal::from_p50_p99(1.0, 5.0).unwrap().mean(), 0.02);
    assert!(r2 > 0.999, "R2 = {r2}");
    // 0.01 ms a feature; the same draws at each number of features leave no noise.
    close("multi-get slope", line(&means("multi_get")).0, 0.01, 0.01);
    // Straight over the logarithm rather than over the number.
    let parallel = means("parallel");
    let logarithmic = parallel.map(|(features, mean)| (libm::log(features), mean));
    assert!(line(&logarithmic).1 > 0.99 && line(&parallel).1 < 0.95);
}

/// Medians in ms at 50, 100, 150, 200 and 250 features: reads of one row at ten a second. The logs themselves are compared
/// by `validation::published`, where they are at hand.
#[test]
fn presets_reproduce_the_published_medians() {
    for (backend, tolerance, medians) in [
        ("redis", 0.03, [8.7, 12.7, 16.7, 20.9, 25.0]),
        ("dynamodb", 0.03, [33.4, 61.9, 89.5, 119.0, 149.0]),
        ("datastore", 0.08, [46.7, 88.8, 132.0, 175.0, 234.0]),
    ] {
        for (features, median) in [50, 100, 150, 200, 250].into_iter().zip(medians) {
            let store = format!("features = {features}\nbackend = \"{backend}\"");
            let output =
                simulate(&scenario(r#"{ process = "poisson", rate = "10/s" }"#, &store), &plan(10, 0));
            let measured = meter(&output).latency.quantile(0.5).unwrap() as f64 / 1e6;
            close(backend, measured, median, tolerance);
        }
    }
    let latency = |store: &str| {
        let output =
            simulate(&scenario(r#"{ process = "deterministic", rate = "1/s" }"#, store), &plan(2, 0));
        meter(&output).latency.max()
    };
    assert_eq!(latency("features = 50\nbackend = \"redis\"\nbase = \"0s\""), Some(5 * 817_000));
    // The last view is read in whole, however few of its features are needed.
    let views = "features = 51\nbackend = \"redis\"\nbase = \"0s\"";
    assert_eq!(latency(views), Some(6 * 817_000));
    assert_eq!(latency(&format!("{views}\nfeatures_per_view = 51")), Some(817_000));
    assert_eq!(
        latency("features = 51\nbackend = \"custom\"\nlookup = \"1ms\"\nfeatures_per_view = 17"),
        Some(3_000_000)
    );
}

#[test]
fn reads_wait_for_a_connection_as_in_an_m_m_c_queue() {
    let store = "features = 1\nlookup = { exponential = { mean = \"10ms\" } }\nconnections = 4";
    let config = scenario(r#"{ process = "poisson", rate = "320/s" }"#, store);
    let (servers, offered) = (4.0, 3.2);
    // Erlang C: P(wait) from the M/M/c state probabilities; the mean wait is P(wait) / (c mu - lambda).
    let terms = [1.0, 3.2, 3.2 * 3.2 / 2.0, 3.2 * 3.2 * 3.2 / 6.0];
    let full = terms[3] * offered / 4.0 * servers / (servers - offered);
    let waits = full / (terms.iter().sum::<f64>() + full);
    let expected = waits / (400.0 - 320.0);
    let mut means = Moments::new();
    let mut utilization = Moments::new();
    for replication in 0..12 {
        let plan = RunPlan { warmup: SimDuration::from_secs(10), ..plan(150, replication) };
        let output = simulate(&config, &plan);
        means.push(meter(&output).wait.mean().unwrap() / 1e9);
        utilization.push(meter(&output).utilization(output.end).unwrap());
    }
    let z = (means.mean().unwrap() - expected) / means.standard_error().unwrap();
    assert!(z.abs() <= 4.0, "mean wait {:?} s, expected {expected} s, z = {z}", means.mean());
    close("mean wait", means.mean().unwrap(), expected, 0.05);
    let z = (utilization.mean().unwrap() - 0.8) / utilization.standard_error().unwrap();
    assert!(z.abs() <= 4.0, "utilization {:?}", utilization.mean());
}

const EACH_SECOND: &str = r#"{ process = "deterministic", rate = "1/s" }"#;

/// Outcomes of ten reads, one a second from 1 s on.
fn outcomes(store: &str, more: &str) -> [u64; 5] {
    let mut config = scenario(EACH_SECOND, store);
    let more: SystemConfig = toml::from_str(more).unwrap();
    (config.links, config.faults) = (more.links, more.faults);
    simulate(&config, &plan(10, 0)).conservation.ended
}

#[test]
fn a_lookup_that_times_out_gives_the_default_and_a_degraded_answer() {
    // Of three lookups of 1 ms and 10 ms alike, none is slow in one read of eight.
    let lookup = r#"lookup = { mixture = [{ weight = 1, of = "1ms" }, { weight = 1, of = "10ms" }] }"#;
    let store = format!("features = 3\nread_timeout = \"2ms\"\n{lookup}");
    let output = simulate(&scenario(r#"{ process = "poisson", rate = "100/s" }"#, &store), &plan(200, 0));
    let [ok, degraded, rest @ ..] = output.conservation.ended;
    assert_eq!(rest, [0; 3]);
    let n = (ok + degraded) as f64;
    let z = (ok as f64 - n / 8.0) / (n * 7.0 / 64.0).sqrt();
    assert!(z.abs() <= 4.0, "{ok} of {n} reads were whole");
    let latency = &meter(&output).latency;
    assert!(latency.min().unwrap() >= 3_000_000 && latency.max() == Some(6_000_000), "{latency:?}");
    // One operation, whatever it fetches: 1 ms, and 0.02 ms for each of 100 features.
    let multi_get = |timeout: &str| {
        let store = format!(
            "features = 100\nread = \"multi_get\"\nlookup = \"1ms\"\nper_feature = \"20us\"\nread_timeout = \"{timeout}\""
        );
        outcomes(&store, "")
    };
    assert_eq!(multi_get("3ms"), [10, 0, 0, 0, 0]);
    assert_eq!(multi_get("2999us"), [0, 10, 0, 0, 0]);
}

#[test]
fn without_room_to_wait_reads_are_rejected() {
    let store = "features = 1\nlookup = \"1500ms\"\nconnections = 1\nqueue_cap";
    assert_eq!(outcomes(&format!("{store} = 0"), ""), [5, 0, 5, 0, 0]);
    // In service 1-2.5, 2.5-4, 4-5.5, 5.5-7, ...: reads 5 and 8 find one waiting.
    assert_eq!(outcomes(&format!("{store} = 1"), ""), [8, 0, 2, 0, 0]);
    assert_eq!(outcomes(store.strip_suffix("\nqueue_cap").unwrap(), ""), [10, 0, 0, 0, 0]);
}

#[test]
fn a_cancelled_read_frees_its_connection_and_its_place_in_the_line() {
    let store = "features = 1\nlookup = \"2500ms\"\nconnections = 1";
    let link =
        |cancel| format!("[links.\"web -> store\"]\ntimeout = \"2600ms\"\ncancel_on_timeout = {cancel}");
    // Read 1 is served 1-3.5 and 2 from 3.5 until it is given up at 4.6; 3 from then to 5.6; 4 to 6.6...
    assert_eq!(outcomes(store, &link(true)), [1, 0, 0, 9, 0]);
    // Given up in line, they make room for a fourth whose turn comes at once.
    let store = "features = 1\nlookup = \"2500ms\"\nconnections = 1\nqueue_cap = 2";
    assert_eq!(outcomes(store, &link(true)), [1, 0, 0, 9, 0]);
    // Where nobody tells the store it goes on: in service 1-3.5, 3.5-6, ..., the third of a line of two
    // is rejected.
    let [ok, _, rejected, timed_out, _] = outcomes(store, &link(false));
    assert_eq!(ok, 1);
    assert!(rejected > 0 && timed_out > 0 && rejected + timed_out == 9, "{rejected} {timed_out}");
}

#[test]
fn a_crash_fails_every_read_until_the_repair() {
    let store = "features = 1\nlookup = \"1500ms\"\nconnections = 1";
    let fault = "[[fault]]\nat = \"3200ms\"\ntarget = \"store\"\nkind = \"crash\"\nrepair = \"2s\"";
    // Read 1 ends at 2.5; 2 is in service and 3 waits at 3.2; 4 and 5 arrive before 5.2.
    assert_eq!(outcomes(store, fault), [6, 0, 0, 0, 4]);
}

#[test]
fn slow_stretches_reads_that_begin_later() {
    let store = "features = 2\nlookup = \"100ms\"\nbase = \"50ms\"";
    let fault =
        "[[fault]]\nat = \"3100ms\"\ntarget = \"store\"\nkind = \"slow\"\nfactor = 3\nrepair = \"2s\"";
    let mut config = scenario(EACH_SECOND, store);
    config.faults = toml::from_str::<SystemConfig>(fault).unwrap().faults;
    let output = simulate(&config, &plan(10, 0));
    assert_eq!(meter(&output).latency.sum(), 8 * 250_000_000 + 2 * 750_000_000);
}

#[test]
fn background_writes_stretch_lookups() {
    let config = scenario(EACH_SECOND, "features = 4\nlookup = \"10ms\"\nbase = \"5ms\"");
    let store = ComponentId(1);
    for (rate, milliseconds) in [(0.0, 45), (100.0, 85), (1_000.0, 805)] {
        let plan = plan(10, 0);
        let mut simulation = build(&config, &plan, &Traces::new()).unwrap();
        let (system, scheduler) = simulation.parts();
        // 5 ms of the store's time a write; ten thousand times that does not stop the store.
        system.at(store, scheduler, |component, ctx| component.on_load(Load { rate, cost: 0.005 }, ctx));
        let output = run(simulation, &plan).unwrap();
        let (min, max) = (meter(&output).latency.min().unwrap(), meter(&output).latency.max().unwrap());
        assert!(max - min <= 2 && min.abs_diff(milliseconds * 1_000_000) <= 2, "{rate}: {min} to {max}");
    }
}

#[test]
fn the_store_is_on_the_bill() {
    let store = "features = 1\nlookup = \"1ms\"\nprice_per_hour = \"$0.40/h\"";
    let output = simulate(&scenario(EACH_SECOND, store), &plan(10, 0));
    let [line] = output.costs.as_slice() else { panic!("{:?}", output.costs) };
    assert_eq!((line.component.as_str(), line.usd_per_hour), ("store", 0.4));
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    for (store, key, message) in [
        ("", "", "neither `backend` nor `lookup`"),
        ("backend = \"redis\"\nlookup = \"1ms\"", "lookup", "both `backend` and `lookup`"),
        ("lookup = \"1ms\"\nread_timeout = \"0s\"", "read_timeout", "a timeout of 0"),
        ("lookup = \"1ms\"\nqueue_cap = 7", "queue_cap", "`queue_cap` is 7"),
        ("backend = \"custom\"", "", "neither `backend` nor `lookup`"),
        ("lookup = \"1ms\"\nshards = 1", "shards", "`connections` is unlimited"),
        ("lookup = \"1ms\"\nshards = 3\nconnections = 1", "shards", "no traffic has entities"),
        ("lookup = \"1ms\"\ncache = { capacity = 9 }", "cache", "no traffic has entities"),
        (
            "lookup = \"1ms\"\nstreaming = { features = 3, lag = \"1s\" }",
            "streaming.features",
            "3 features are streamed, but there are 2",
        ),
    ] {
        let config = scenario(EACH_SECOND, &format!("features = 2\n{store}"));
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        let path: Vec<&str> =
            ["components", "store"].into_iter().chain(key.split('.').filter(|key| !key.is_empty())).collect();
        assert_eq!(error.path, path, "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    for bad in ["lookup = \"1ms\"", "features = 0\nlookup = \"1ms\"", "features = 1\nread = \"batched\""] {
        assert!(toml::from_str::<FeatureStoreConfig>(bad).is_err(), "{bad}");
    }
    let config: FeatureStoreConfig = toml::from_str("features = 50\nbackend = \"dynamodb\"").unwrap();
    assert_eq!((config.read, config.backend), (ReadMode::Sequential, Some(Backend::Dynamodb)));
    assert_eq!(toml::from_str::<FeatureStoreConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
}
