//! Hot keys, and stores that do not hold everything.

use sim_core::random::stable_hash;

use super::*;

fn with_entities(store: &str, entities: &str, rate: &str) -> SystemConfig {
    let mut config = scenario(&format!("{{ process = \"poisson\", rate = \"{rate}\" }}"), store);
    config.traffic["web"].entities = Some(toml::from_str(entities).unwrap());
    config
}

#[test]
fn a_hot_key_fills_the_line_of_its_shard() {
    // Eight shards of two connections: 1,000 reads of 10 ms a second keep them busy 62.5% of the time.
    let store = "features = 1\nlookup = { exponential = { mean = \"10ms\" } }\nconnections = 2\nshards = 8";
    let run = |zipf: f64| {
        let config = with_entities(store, &format!("count = 1000\nzipf = {zipf}"), "1000/s");
        simulate(&config, &RunPlan { drain: SimDuration::ZERO, ..plan(60, 0) })
    };
    let even = run(0.0);
    let hot = run(1.2);
    // The share of each shard is the sum of its entities' popularity.
    let share = |zipf: f64| {
        let weight = |entity: u64| libm::pow(entity as f64, -zipf);
        let all: f64 = (1..=1000).map(weight).sum();
        let of = |shard: u64| -> f64 {
            (1..=1000)
                .filter(|entity: &u64| stable_hash(&entity.to_le_bytes()) % 8 == shard)
                .map(weight)
                .sum()
        };
        (0..8).map(of).fold(0.0, f64::max) / all
    };
    assert!(share(1.2) > 0.25, "the most popular entity alone has 23% of the reads");
    let busiest = report(&even).hottest_shard().unwrap();
    assert!((busiest - share(0.0)).abs() < 0.01, "{busiest}, expected {}", share(0.0));
    // The hot shard would need more than two connections: it serves what it can, 200 reads a second.
    let reads = report(&hot).shard_reads.iter().max().copied().unwrap();
    assert!((reads as f64 / 60.0 - 200.0).abs() < 15.0, "{reads}");
    let wait = |output: &RunOutput| meter(output).wait.quantile(0.99).unwrap() as f64 / 1e9;
    assert!(wait(&even) < 0.2 && wait(&hot) > 1.0, "{} and {}", wait(&even), wait(&hot));
    assert!(meter(&hot).utilization(hot.end).unwrap() < 0.7);
}

const MEMORY: &str = "storage = { entities = 1000000, memory = \"MEMORY\", eviction = \"EVICTION\" }";

fn storage(memory: &str, eviction: &str) -> String {
    let storage = MEMORY.replace("MEMORY", memory).replace("EVICTION", eviction);
    format!("features = 5\nfeatures_per_view = 5\nlookup = \"1ms\"\n{storage}")
}

#[test]
fn what_does_not_fit_is_an_error_or_is_evicted() {
    // A million hashes of five small fields are 160 MB, as Redis says.
    let build = |memory| {
        let config = with_entities(&storage(memory, "noeviction"), "count = 1000000", "1/s");
        build(&config, &plan(1, 0), &Traces::new()).map(|_| ())
    };
    build("160MB").unwrap();
    let error = build("120MB").unwrap_err();
    assert_eq!(error.path, ["components", "store", "storage", "memory"]);
    assert!(error.message.contains("need 160MB: 40MB are missing"), "{error}");
    assert!(error.help.unwrap().contains("at most 750000 entities"));

    let run = |eviction| {
        let config = with_entities(&storage("120MB", eviction), "count = 1000000\nzipf = 0.8", "2000/s");
        let output = simulate(&config, &plan(20, 0));
        let report = report(&output).clone();
        // A missing entity is five default values and one degraded answer.
        assert_eq!(report.missing, 5 * output.conservation.ended[1]);
        assert_eq!(report.memory_needed.unwrap().get(), 160_000_000);
        (output.conservation.ended[1], output.conservation.born, report.defaulted().unwrap())
    };
    let law = sim_core::distribution::Zipf::new(1_000_000, 0.8).unwrap();
    let (missing, reads, share) = run("allkeys_lfu");
    binomial("least popular", missing, reads, 1.0 - law.cdf(750_000.0));
    assert!((share - missing as f64 / reads as f64).abs() < 1e-12);
    // Which quarter is missing is a matter of luck; the few most popular weigh most.
    let (missing, reads, _) = run("allkeys_random");
    let share = missing as f64 / reads as f64;
    assert!((share - 0.25).abs() < 0.05, "{share}");
}
