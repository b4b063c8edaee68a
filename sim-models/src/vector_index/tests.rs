use sim_core::stats::Moments;

use super::*;
use crate::meter::ComponentMeter;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

fn scenario(rate: &str, index: &str, more: &str) -> SystemConfig {
    let text = format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"{rate}\" }}\nentry = \"index\"\n
         [components.index]\nkind = \"vector_index\"\n{index}\n{more}"
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn simulate(config: &SystemConfig, seconds: u64, replication: u64) -> RunOutput {
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(10_000),
        replication,
        ..RunPlan::default()
    };
    run(build(config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

fn meter(output: &RunOutput) -> &ComponentMeter {
    &output.components.last().unwrap().meter
}

fn index(text: &str) -> VectorIndexConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Mean ms of a query on an idle index.
fn milliseconds(text: &str) -> f64 {
    let output = simulate(&scenario("1/s", &format!("{text}\ncv = 0\nthreads = 64"), ""), 100, 0);
    meter(&output).latency.mean().unwrap() / 1e6
}

fn close(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value / expected - 1.0).abs() <= tolerance, "{what}: {value}, expected {expected}");
}

#[test]
fn memory_is_as_published() {
    // The examples of the OpenSearch documentation: a million vectors of 256 dimensions.
    let gigabytes = |more: &str| {
        index(&format!("vectors = 1000000\ndimensions = 256\n{more}")).memory_per_shard().get() as f64 / 1e9
    };
    close("hnsw", gigabytes("m = 16"), 1.267, 0.001);
    close("ivf", gigabytes("index = \"ivf\"\nnlist = 128"), 1.126, 0.001);
    close("flat", gigabytes("index = \"flat\""), 1.024, 1e-9);
    close(
        "flat in int8 over four",
        gigabytes("index = \"flat\"\nbytes_per_dimension = 1\nshards = 4"),
        0.064,
        1e-9,
    );
}

#[test]
fn what_does_not_fit_is_an_error_that_says_what_would() {
    let fails = |more: &str| {
        let config =
            scenario("1/s", &format!("vectors = 100000000\ndimensions = 768\nmemory = \"64GB\"\n{more}"), "");
        build(&config, &RunPlan::default(), &Traces::new()).map(|_| ()).unwrap_err()
    };
    // 1.1 * (3,072 + 128) * 10^8 = 352 GB.
    let error = fails("");
    assert_eq!(error.path, ["components", "index", "memory"]);
    assert!(error.message.contains("352.00 GB: 288.00 GB are missing"), "{error}");
    assert_eq!(error.help.unwrap(), "what would fit: shards = 6, or more memory");
    let error = fails("shards = 3");
    assert_eq!(error.help.unwrap(), "what would fit: shards = 6, or bytes_per_dimension = 2, or more memory");
    let fits = scenario("1/s", "vectors = 100000000\ndimensions = 768\nmemory = \"64GB\"\nshards = 6", "");
    assert!(build(&fits, &RunPlan::default(), &Traces::new()).is_ok());
}

#[test]
fn flat_grows_with_the_corpus_and_hnsw_with_its_logarithm() {
    let at = |kind: &str, vectors: u64| {
        milliseconds(&format!("vectors = {vectors}\ndimensions = 768\nindex = \"{kind}\"\nbase = \"0s\""))
    };
    // 3,072 bytes a vector at 10 GB/s.
    close("flat", at("flat", 100_000), 30.72, 0.001);
    close("flat", at("flat", 1_000_000), 307.2, 0.001);
    // Each factor of ten adds the same.
    let hnsw = [10_000, 100_000, 1_000_000, 10_000_000].map(|vectors| at("hnsw", vectors));
    let step = hnsw[1] - hnsw[0];
    assert!(step > 0.0 && hnsw[3] < 1.1 * hnsw[0], "{hnsw:?}");
    close("a second ten", hnsw[2] - hnsw[1], step, 0.01);
    close("a third ten", hnsw[3] - hnsw[2], step, 0.01);
    // 32 * 100 + 16 * log16(10^6) distances of 307.2 + 100 ns.
    close("hnsw", hnsw[2], (3_200.0 + 16.0 * 4.982_892) * 407.2e-6, 0.001);
    // 4,000 centroids and 16 lists of 250 vectors.
    close("ivf", at("ivf", 1_000_000), 8_000.0 * 307.2e-6, 0.001);
    assert!(at("ivf", 100_000_000) < 10.5 * at("ivf", 1_000_000), "lists grow with the root");
}

#[test]
fn hnsw_takes_about_what_faiss_shows() {
    // bench_hnsw over SIFT1M: HNSW32, efSearch 16, one thread: 0.153 ms a query.
    let faiss = "vectors = 1000000\ndimensions = 128\nm = 32\nef_search = 16\nbase = \"0s\"";
    close("SIFT1M", milliseconds(faiss), 0.153, 0.2);
    // More results than the beam is wide make it wider.
    let wide = milliseconds(&format!("{faiss}\ntop_k = 64"));
    close("top 64", wide / milliseconds(&faiss.replace("ef_search = 16", "ef_search = 64")), 1.0, 0.01);
    assert!(wide > 3.0 * milliseconds(faiss));
}

#[test]
fn a_query_is_as_slow_as_its_slowest_shard() {
    // The mean of the longest of n exponentials is their mean times 1 + 1/2 + ... + 1/n.
    let law = "search_time = { exponential = { mean = \"10ms\" } }\nthreads = 1000\nmerge_time = \"0s\"";
    for (shards, harmonic) in [(1, 1.0), (4, 25.0 / 12.0), (16, 3.380_729)] {
        let text = format!("vectors = 1000\ndimensions = 8\nshards = {shards}\n{law}");
        let output = simulate(&scenario("100/s", &text, ""), 400, 0);
        close("fan-out", meter(&output).latency.mean().unwrap() / 1e6, 10.0 * harmonic, 0.02);
    }
    // Merging 16 lists of 10.
    let merge = "vectors = 1000\ndimensions = 8\nshards = 16\nsearch_time = \"1ms\"\nmerge_time = \"1us\"";
    close("merge", milliseconds(merge), 1.16, 1e-6);
}

#[test]
fn queries_wait_for_a_thread_as_in_an_m_m_c_queue() {
    // Four threads busy 80% of the time; Erlang C gives a mean wait of 7.455 ms.
    let text = "vectors = 9\ndimensions = 9\nthreads = 4\nmerge_time = \"0s\"\nsearch_time = { exponential = { mean = \"10ms\" } }";
    let terms = [1.0, 3.2, 3.2 * 3.2 / 2.0, 3.2 * 3.2 * 3.2 / 6.0];
    let full = terms[3] * 3.2 / 4.0 * 4.0 / 0.8;
    let expected = full / (terms.iter().sum::<f64>() + full) / 80.0;
    let mut waits = Moments::new();
    let mut busy = Moments::new();
    for replication in 0..12 {
        let output = simulate(&scenario("320/s", text, ""), 150, replication);
        waits.push(meter(&output).wait.mean().unwrap() / 1e9);
        busy.push(meter(&output).utilization(output.end).unwrap());
    }
    let z = (waits.mean().unwrap() - expected) / waits.standard_error().unwrap();
    assert!(z.abs() <= 4.0, "{:?}, expected {expected}", waits.mean());
    close("wait", waits.mean().unwrap(), expected, 0.05);
    close("utilization", busy.mean().unwrap(), 0.8, 0.01);
}

/// A query's shards are busy for as long as each searches, not until the last has answered.
#[test]
fn threads_are_busy_while_they_search() {
    let law = "search_time = { exponential = { mean = \"10ms\" } }\nthreads = 2\nmerge_time = \"20ms\"";
    let text = format!("vectors = 1000\ndimensions = 8\nshards = 16\n{law}");
    let output = simulate(&scenario("100/s", &text, ""), 400, 0);
    close("utilization", meter(&output).utilization(output.end).unwrap(), 0.5, 0.02);
}

#[test]
fn a_full_index_rejects_and_a_broken_one_fails() {
    let text = "vectors = 9\ndimensions = 9\nsearch_time = \"100ms\"\nqueue_cap = 1";
    let output = simulate(&scenario("100/s", text, ""), 100, 0);
    let [ok, degraded, rejected, timed_out, failed] = output.conservation.ended;
    assert!(ok.abs_diff(1_000) < 5 && rejected > 8_000, "{ok} {rejected}");
    assert_eq!((degraded, timed_out, failed), (0, 0, 0));
    let fault = "[[fault]]\nat = \"20s\"\ntarget = \"index\"\nkind = \"crash\"\nrepair = \"50s\"";
    let output = simulate(&scenario("1/s", &text.replace("100ms", "1ms"), fault), 100, 0);
    let failed = output.conservation.ended[4];
    assert!(failed.abs_diff(50) < 29, "{failed}");
    assert_eq!(output.conservation.ended.iter().sum::<u64>(), output.conservation.born);
    let fault = "[[fault]]\nat = \"0s\"\ntarget = \"index\"\nkind = \"slow\"\nfactor = 3";
    let output = simulate(
        &scenario("1/s", "vectors = 9\ndimensions = 9\nthreads = 99\nsearch_time = \"1ms\"", fault),
        100,
        0,
    );
    assert_eq!(meter(&output).latency.max(), Some(3_000_500));
}

#[test]
fn shards_are_on_the_bill_and_mistakes_have_a_place() {
    let text = "vectors = 9\ndimensions = 9\nshards = 3\nprice_per_hour = \"$0.50/h\"";
    let output = simulate(&scenario("1/s", text, ""), 10, 0);
    assert_eq!(output.costs[0].usd_per_hour, 1.5);
    for (text, key, message) in [
        ("m = 1", "m", "leads nowhere"),
        ("memory_bandwidth = \"0B\"", "memory_bandwidth", "nothing is ever read"),
    ] {
        let config = scenario("1/s", &format!("vectors = 9\ndimensions = 9\n{text}"), "");
        let error = build(&config, &RunPlan::default(), &Traces::new()).map(|_| ()).unwrap_err();
        assert_eq!(error.path, ["components", "index", key]);
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    let config = index("vectors = 5\ndimensions = 3\nindex = \"ivf\"\ncv = 0.5");
    assert_eq!(toml::from_str::<VectorIndexConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    assert!(toml::from_str::<VectorIndexConfig>("vectors = 0\ndimensions = 3").is_err());
}
