use sim_core::time::SimDuration;

use super::*;
use crate::request::Outcome;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

/// A cache in front of a model that takes a second and costs 1 cent.
fn scenario(topics: &str, cache: &str, more: &str) -> String {
    format!(
        "[traffic.web]\nentry = \"cache\"\narrivals = {{ process = \"poisson\", rate = \"1000/s\" }}\n\
         topics = {{ {topics} }}\n\
         [components.cache]\nkind = \"semantic_cache\"\ncall = \"large\"\n{cache}\n\
         [components.large]\nkind = \"external_api\"\nttft = \"1s\"\nprice = {{ call = \"$0.01\" }}\n{more}"
    )
}

fn simulate_for(text: &str, seconds: u64, warmup: u64) -> RunOutput {
    let config: SystemConfig = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        warmup: SimDuration::from_secs(warmup),
        drain: SimDuration::from_secs(100),
        ..RunPlan::default()
    };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

fn measure(output: &RunOutput, name: &str) -> f64 {
    let cache = output.components.iter().find(|component| component.name == "cache").unwrap();
    cache.measures.iter().find(|measure| measure.name == name).unwrap().value.unwrap()
}

fn near(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{what}: {value}, expected {expected}");
}

/// The probability of a hit and of a false hit where the topic is stored, by the two normals.
fn two_normals(same: SimilarityConfig, different: SimilarityConfig, threshold: f64) -> (f64, f64) {
    let (s, d) = (same.build().unwrap(), different.build().unwrap());
    let hit = 1.0 - s.cdf(threshold) * d.cdf(threshold);
    // P(D >= t, D > S): the mean of P(S < D) over the quantiles of D beyond t.
    let (from, steps) = (d.cdf(threshold), 100_000);
    let width = (1.0 - from) / f64::from(steps);
    let false_hit =
        (0..steps).map(|step| s.cdf(d.quantile(from + (f64::from(step) + 0.5) * width))).sum::<f64>();
    (hit, false_hit * width)
}

#[test]
fn hits_and_false_hits_are_as_two_normals_say() {
    let laws = [
        (SimilarityConfig { mean: 0.9, sd: 0.05 }, SimilarityConfig { mean: 0.65, sd: 0.08 }),
        (SimilarityConfig { mean: 0.8, sd: 0.08 }, SimilarityConfig { mean: 0.7, sd: 0.1 }),
    ];
    for (same, different) in laws {
        for threshold in [0.6, 0.7, 0.8, 0.9] {
            let law = |law: SimilarityConfig| format!("{{ mean = {}, sd = {} }}", law.mean, law.sd);
            // Twenty topics, all of them stored within the first second or two.
            let text = scenario(
                "count = 20, zipf = 0.0",
                &format!(
                    "max_size = 1000000\nsimilarity_threshold = {threshold}\nsame_intent = {}\ndifferent_intent = {}",
                    law(same),
                    law(different)
                ),
                "",
            );
            let output = simulate_for(&text, 110, 10);
            let (hit, false_hit) = two_normals(same, different, threshold);
            let n = measure(&output, "lookups");
            let tolerance = |p: f64| 4.0 * (p * (1.0 - p) / n).sqrt() + 1e-6;
            let (hits, of_hits) = (measure(&output, "hit_rate"), measure(&output, "false_hit_rate"));
            near("hits", hits, hit, tolerance(hit));
            near("false hits", hits * of_hits, false_hit, tolerance(false_hit));
            near("not found", measure(&output, "not_found_rate"), 1.0 - hit, tolerance(hit));
        }
    }
}

/// Without likeness between topics, and likeness without fail within them: a plain cache of topics.
const SHARP: &str = "same_intent = { mean = 1, sd = 0.0001 }\ndifferent_intent = { mean = 0, sd = 0.0001 }";

/// Che's approximation (Che, Tung, Wang 2002): the hit rate of LRU over Zipf's popularity; FIFO and RR by
/// Fricker, Robert and Roberts (2012).
fn che(topics: u32, zipf: f64, size: f64, is_lru: bool) -> f64 {
    let weights: Vec<f64> = (1..=topics).map(|rank| libm::pow(f64::from(rank), -zipf)).collect();
    let sum: f64 = weights.iter().sum();
    let hit = |p: f64, t: f64| if is_lru { -libm::expm1(-p * t) } else { p * t / (1.0 + p * t) };
    let (mut low, mut high) = (0.0, 1e9);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        let stored: f64 = weights.iter().map(|weight| hit(weight / sum, middle)).sum();
        if stored < size { low = middle } else { high = middle }
    }
    weights.iter().map(|weight| weight / sum * hit(weight / sum, low)).sum()
}

#[test]
fn the_hit_rates_of_evictions_are_those_of_caches() {
    for (eviction, is_lru) in [("lru", true), ("fifo", false), ("rr", false)] {
        // A model that answers at once, so that no topic is asked for twice before it is stored.
        let cache = format!("max_size = 100\nclean_size = 1\neviction = \"{eviction}\"\n{SHARP}");
        let text = scenario("count = 1000, zipf = 0.8", &cache, "").replace("\"1s\"", "\"0s\"");
        let output = simulate_for(&text, 220, 20);
        near(eviction, measure(&output, "hit_rate"), che(1000, 0.8, 100.0, is_lru), 0.006);
        assert_eq!((measure(&output, "stored"), measure(&output, "false_hit_rate")), (100.0, 0.0));
    }
    // The least frequently used leave: near the best of all, which keeps the 100 most popular.
    let cache = format!("max_size = 100\nclean_size = 1\neviction = \"lfu\"\n{SHARP}");
    let text = scenario("count = 1000, zipf = 0.8", &cache, "").replace("\"1s\"", "\"0s\"");
    let hits = measure(&simulate_for(&text, 220, 20), "hit_rate");
    let weights: Vec<f64> = (1..=1000).map(|rank| libm::pow(f64::from(rank), -0.8)).collect();
    let best = weights[..100].iter().sum::<f64>() / weights.iter().sum::<f64>();
    assert!(hits > che(1000, 0.8, 100.0, true) + 0.02 && hits < best + 0.005, "{hits} of {best}");
}

#[test]
fn a_fifth_of_a_full_cache_leaves_at_once() {
    let text = scenario("count = 1000000, zipf = 0.0", &format!("max_size = 100\n{SHARP}"), "");
    let output = simulate_for(&text, 20, 0);
    let evicted = measure(&output, "evicted");
    assert!(evicted > 15_000.0 && evicted % 20.0 == 0.0, "{evicted}");
    let stored = measure(&output, "stored");
    assert!(stored > 80.0 && stored <= 100.0, "{stored}");
}

#[test]
fn answers_expire() {
    // One topic: a hit until the answer is 5 s old, then a miss, which takes the model 1 s.
    let text = scenario("count = 1, zipf = 0.0", &format!("ttl = \"5s\"\nmax_size = 100000\n{SHARP}"), "");
    let output = simulate_for(&text, 600, 0);
    // All that come while the first miss is answered are stored, too: the last one of them lives a second
    // longer than the first.
    near("hit rate", measure(&output, "hit_rate"), 6.0 / 7.0, 0.01);
    assert!(measure(&output, "expired") > 80_000.0, "{}", measure(&output, "expired"));
}

#[test]
fn latency_has_two_humps_and_a_miss_pays_for_the_look_up_as_well() {
    let cache = format!("latency = \"20ms\"\nprice_per_lookup = \"$0.001\"\n{SHARP}");
    let output = simulate_for(&scenario("count = 20, zipf = 0.0", &cache, ""), 100, 0);
    let latency = &output.requests[0].latency;
    assert_eq!((latency.min(), latency.max()), (Some(20_000_000), Some(1_020_000_000)));
    assert!(latency.quantile(0.5).unwrap() < 21_000_000);
    let hits = measure(&output, "hit_rate");
    near("mean", latency.mean().unwrap() / 1e9, 0.02 + (1.0 - hits), 1e-6);
    let usd = output.requests[0].usage_usd_per_request().unwrap();
    near("cost", usd, 0.001 + (1.0 - hits) * 0.01, 1e-9);
}

#[test]
fn a_cache_pays_from_the_break_even_hit_rate_on() {
    // Look-ups at 0.2 of the price of an answer pay where more than 0.2 hit.
    for topics in [200, 1_000, 5_000, 20_000, 100_000] {
        let cache = format!("price_per_lookup = \"$0.002\"\nmax_size = 2000\n{SHARP}");
        let output = simulate_for(&scenario(&format!("count = {topics}, zipf = 0.6"), &cache, ""), 60, 20);
        let (hits, usd) = (measure(&output, "hit_rate"), output.requests[0].usage_usd_per_request().unwrap());
        assert_eq!(usd < 0.01, hits > 0.2, "{topics} topics: {hits}, {usd}");
        near("cost", usd, 0.002 + (1.0 - hits) * 0.01, 0.0002);
    }
}

#[test]
fn false_hits_are_wrong_and_stored_answers_as_right_as_they_were() {
    let quality = "[quality]\nmodels = [\"large\"]\njoint = [{ right = [\"large\"], weight = 9 }, { right = [], weight = 1 }]";
    let accuracy = |laws: &str| {
        let text = scenario("count = 5000, zipf = 0.0", &format!("max_size = 1000000\n{laws}"), quality);
        simulate_for(&text, 100, 0)
    };
    let output = accuracy(SHARP);
    near("sharp", output.requests[0].accuracy().unwrap(), 0.9, 0.02);
    let output =
        accuracy("same_intent = { mean = 0.9, sd = 0.05 }\ndifferent_intent = { mean = 0.75, sd = 0.08 }");
    let (hits, of_hits) = (measure(&output, "hit_rate"), measure(&output, "false_hit_rate"));
    // Effective error: h f + (1 - h f) e, where wrong answers are stored as well.
    let right = 0.9 * (1.0 - hits * of_hits);
    assert!(hits * of_hits > 0.05, "{hits} {of_hits}");
    near("blurred", output.requests[0].accuracy().unwrap(), right, 0.02);
    assert_eq!(output.requests[0].outcomes[Outcome::Ok as usize], output.requests[0].ended());
}

#[test]
fn a_crash_loses_what_is_stored_and_lets_requests_through() {
    let fault = "[[fault]]\nat = \"50s\"\ntarget = \"cache\"\nkind = \"crash\"\nrepair = \"10s\"";
    let text = scenario("count = 20, zipf = 0.0", &format!("latency = \"20ms\"\n{SHARP}"), fault);
    let output = simulate_for(&text, 100, 0);
    assert!(output.conservation.holds() && output.conservation.in_flight == 0);
    assert_eq!(output.requests[0].outcomes[0], output.requests[0].ended());
    let large = output.components.last().unwrap();
    // Ten seconds of all requests, and a second of misses at the start; answers that come after the repair are
    // stored at once.
    near("calls", large.meter.calls as f64, 11_050.0, 450.0);
    let link = "[links.\"web -> cache\"]\ntimeout = \"500ms\"\ncancel_on_timeout = true";
    let output = simulate_for(&scenario("count = 20, zipf = 0.0", SHARP, link), 10, 0);
    // Nothing is ever stored: every answer is cancelled before it is there.
    assert_eq!(output.requests[0].outcomes[Outcome::TimedOut as usize], output.requests[0].ended());
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (cache, place, message) in [
        ("similarity_threshold = 80", "similarity_threshold", "is 80"),
        ("max_size = 10\nclean_size = 11", "clean_size", "is 11, but the cache holds 10"),
        ("same_intent = { mean = 2, sd = 0.1 }", "same_intent mean", "`mean` is 2"),
        ("different_intent = { mean = 0, sd = 0 }", "different_intent sd", "`sd` is 0"),
    ] {
        let text = scenario("count = 20, zipf = 0.0", cache, "");
        let config: SystemConfig = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        assert_eq!(error.path.join(" "), format!("components cache {place}"), "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    let text =
        scenario("count = 20, zipf = 0.0", "", "").replace("topics = { count = 20, zipf = 0.0 }\n", "");
    let config: SystemConfig = toml::from_str(&text).unwrap();
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert!(error.message.contains("no traffic has topics") && error.help.is_some(), "{error}");
    for bad in ["", "call = \"large\"\neviction = \"mru\"", "call = \"large\"\nmax_size = 0"] {
        assert!(toml::from_str::<SemanticCacheConfig>(bad).is_err(), "{bad}");
    }
}
