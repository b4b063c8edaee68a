//! The local cache in front of the store.

use sim_core::distribution::{Dist, Distribution, Zipf};
use sim_core::random::{Purpose, Streams};

use super::*;

/// 1,000 reads a second of 10,000 entities with a Zipf exponent of 0.9.
fn cached(cache: &str, seconds: u64) -> FeatureStoreReport {
    let mut config = scenario(
        r#"{ process = "poisson", rate = "1000/s" }"#,
        &format!("features = 1\nlookup = \"1us\"\ncache = {cache}"),
    );
    config.traffic["web"].entities = Some(toml::from_str("count = 10000\nzipf = 0.9").unwrap());
    let plan = RunPlan { warmup: SimDuration::from_secs(10), ..plan(seconds, 0) };
    report(&simulate(&config, &plan)).clone()
}

/// Probabilities of the ranks.
fn popularity() -> Vec<f64> {
    let weights: Vec<f64> = (1..=10_000).map(|rank| libm::pow(f64::from(rank), -0.9)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Che, Tung and Wang (IEEE JSAC 2002): an entity is in the cache if it was asked for within the time in
/// which `capacity` different ones are.
fn che(capacity: f64) -> f64 {
    let popularity = popularity();
    let present = |time: f64| popularity.iter().map(move |p| 1.0 - libm::exp(-p * time));
    let (mut low, mut high) = (0.0, 1e9);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if present(middle).sum::<f64>() < capacity { low = middle } else { high = middle }
    }
    popularity.iter().zip(present(low)).map(|(p, present)| p * present).sum()
}

/// A plain list of the most recently used.
fn exact(capacity: usize, reads: u64) -> f64 {
    let law: Dist = Zipf::new(10_000, 0.9).unwrap().into();
    let mut rng = Streams::new(7, 0).stream("exact", Purpose::Attributes);
    let (mut list, mut hits): (Vec<u64>, u64) = (Vec::new(), 0);
    for read in 0..reads {
        let entity = law.sample(&mut rng) as u64;
        match list.iter().position(|seen| *seen == entity) {
            Some(place) => {
                list.remove(place);
                hits += u64::from(read >= reads / 10);
            }
            None => list.truncate(capacity - 1),
        }
        list.insert(0, entity);
    }
    hits as f64 / (reads - reads / 10) as f64
}

#[test]
fn the_hit_ratio_emerges_from_the_popularity_of_entities() {
    for capacity in [100, 1_000] {
        let report = cached(&format!("{{ capacity = {capacity} }}"), 200);
        let measured = report.hit_ratio().unwrap();
        // 190,000 reads: a standard error of about 0.0012.
        assert!(
            (measured - che(f64::from(capacity))).abs() < 0.006,
            "{measured}, Che {}",
            che(f64::from(capacity))
        );
        let exact = exact(capacity as usize, 100_000);
        assert!((measured - exact).abs() < 0.01, "{measured}, exact {exact}");
    }
}

#[test]
fn a_time_to_live_bounds_the_hits() {
    // With room for all, an entity asked for at rate r misses once and then hits r * ttl times on average.
    let expected: f64 = popularity().iter().map(|p| p * (p * 1000.0 * 5.0) / (1.0 + p * 1000.0 * 5.0)).sum();
    let report = cached("{ capacity = 20000, ttl = \"5s\" }", 200);
    let measured = report.hit_ratio().unwrap();
    assert!((measured - expected).abs() < 0.006, "{measured}, expected {expected}");
}

/// One entity, read once a second.
fn one_entity(store: &str, more: &str) -> RunOutput {
    let mut config = scenario(EACH_SECOND, store);
    config.traffic["web"].entities = Some(toml::from_str("count = 1").unwrap());
    config.faults = toml::from_str::<SystemConfig>(more).unwrap().faults;
    simulate(&config, &plan(10, 0))
}

#[test]
fn hits_are_quick_take_no_connection_and_outlive_the_store() {
    let store =
        "features = 3\nlookup = \"100ms\"\nconnections = 1\ncache = { capacity = 1, latency = \"1ms\" }";
    let crash = "[[fault]]\nat = \"1500ms\"\ntarget = \"store\"\nkind = \"crash\"";
    let output = one_entity(store, crash);
    assert_eq!(output.conservation.ended, [10, 0, 0, 0, 0]);
    assert_eq!(meter(&output).latency.sum(), 300_000_000 + 9 * 1_000_000);
    assert_eq!((report(&output).cache_reads, report(&output).cache_hits), (10, 9));
    // Only the first read held a connection.
    assert_eq!(meter(&output).busy.integral(output.end), 300_000_000);
    // An entry that is 2 s old is read anew: reads 1, 4, 7 and 10 of which 4 meets the crash.
    let store = store.replace("capacity = 1,", "capacity = 1, ttl = \"2s\",");
    let output = one_entity(&store, &crash.replace("1500ms", "3500ms"));
    assert_eq!(output.conservation.ended, [3, 0, 0, 0, 7]);
}

#[test]
fn answers_with_default_values_are_not_kept() {
    let store = "features = 1\nlookup = \"100ms\"\nread_timeout = \"50ms\"\ncache = { capacity = 1 }";
    let output = one_entity(store, "");
    assert_eq!(report(&output).cache_hits, 0);
    assert_eq!(output.conservation.ended, [0, 10, 0, 0, 0]);
}
