use std::path::Path;

use super::*;
use crate::results::findings::short;

fn parse(text: &str) -> Loaded {
    let parsed = crate::parse(text, "stress.toml", Path::new("."), &[]);
    parsed.unwrap_or_else(|error| panic!("{}\n{text}", error.plain()))
}

fn library(id: &str, variant: &str) -> Loaded {
    let scenario = crate::library().iter().find(|scenario| scenario.id == id).unwrap();
    crate::parse(scenario.text, id, Path::new("."), &[]).unwrap().variant(variant).unwrap()
}

fn with_test<T>(loaded: &Loaded, options: StressOptions, act: impl FnOnce(&StressTest) -> T) -> T {
    let progress = RunProgress::new();
    act(&StressTest::new(loaded, options, &progress).unwrap())
}

const HEAD: &str = "name = \"x\"\nrun = { duration = \"60s\", warmup = \"5s\", replications = 1 }\n";

/// Arrivals and services that never vary: below the capacity nobody waits, above it the queue grows.
#[test]
fn the_limit_is_found_to_two_percent() {
    for (servers, capacity) in [(2, 2.0), (7, 7.0), (40, 40.0), (1, 0.999)] {
        let loaded = parse(&format!(
            "{HEAD}[slo]\nlatency = {{ p99 = \"150ms\" }}\n[traffic.web]\nentry = \"db\"\n\
             arrivals = {{ process = \"deterministic\", rate = \"10/s\" }}\n\
             [components.db]\nkind = \"service\"\nservers = {servers}\nservice_time = {{ constant = \"100ms\" }}\n"
        ));
        let limit = with_test(&loaded, StressOptions::default(), |test| test.limit(&test.levels().unwrap()));
        let (passes, fails) = (limit.passes.unwrap(), limit.fails.unwrap());
        println!("{servers} servers: {passes} to {fails}");
        assert!(
            fails / passes <= 1.0201 && passes <= capacity * 1.02 && fails >= capacity * 0.98,
            "{limit:?}"
        );
    }
}

/// A stage of a made-up system and what it can do, in requests a second.
struct Stage {
    text: String,
    capacity: f64,
}

/// One number after the other, from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        // Steele, Lea and Flood 2014: SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A stage that can do so many requests a second, give or take rounding.
fn stage(numbers: &mut Numbers, name: &str, capacity: f64) -> Stage {
    match numbers.below(5) {
        0 => {
            let servers = 4 + numbers.below(20);
            let time = servers as f64 / capacity;
            let law = ["constant", "exponential"][numbers.below(2) as usize];
            let time_text = format!("{:.0}us", time * 1e6);
            let law = if law == "constant" {
                format!("{{ constant = \"{time_text}\" }}")
            } else {
                format!("{{ exponential = {{ mean = \"{time_text}\" }} }}")
            };
            Stage {
                text: format!(
                    "[components.{name}]\nkind = \"service\"\nservers = {servers}\nservice_time = {law}\n"
                ),
                capacity,
            }
        }
        // The connections of a store, each held for ten lookups.
        1 => {
            let connections = 4 + numbers.below(20);
            let lookup = connections as f64 / capacity / 10.0;
            Stage {
                text: format!(
                    "[components.{name}]\nkind = \"feature_store\"\nfeatures = 10\nread = \"sequential\"\n\
                     lookup = {{ constant = \"{:.0}us\" }}\nconnections = {connections}\n",
                    lookup * 1e6
                ),
                capacity,
            }
        }
        // A limit of calls a minute.
        2 => Stage {
            text: format!(
                "[components.{name}]\nkind = \"external_api\"\nttft = {{ constant = \"50ms\" }}\nrequests_per_minute = {:.0}\n\
                 limit_window = \"1s\"\n",
                capacity * 60.0
            ),
            capacity,
        },
        3 => {
            let threads = 2 + numbers.below(6);
            Stage {
                text: format!(
                    "[components.{name}]\nkind = \"vector_index\"\nvectors = 1000\ndimensions = 8\nthreads = {threads}\n\
                     search_time = {{ constant = \"{:.0}us\" }}\n",
                    threads as f64 / capacity * 1e6
                ),
                capacity,
            }
        }
        // Workers that share a pool in front of a model: it fills when the model is slow.
        _ => {
            let servers = 8 + numbers.below(8);
            Stage {
                text: format!(
                    "[components.{name}]\nkind = \"flow\"\nsteps = [\"{name}-model\"]\n\
                     admission = {{ concurrency = {{ fixed = {} }}, max_queue = 1000 }}\n\
                     [components.{name}-model]\nkind = \"service\"\nservers = {servers}\n\
                     service_time = {{ constant = \"{:.0}us\" }}\n",
                    2 * servers,
                    servers as f64 / capacity * 1e6
                ),
                capacity,
            }
        }
    }
}

/// Systems whose bottleneck is known by construction, with a gap of at least 15% to the next: how many are found.
fn found(count: u64, seed: u64) -> u64 {
    let mut numbers = Numbers(seed);
    let mut right = 0;
    for case in 0..count {
        let stages = 3 + numbers.below(4);
        let first = numbers.below(stages);
        // In requests a second; 40 come.
        let limit = 70.0 + numbers.below(120) as f64;
        let mut text = format!(
            "{HEAD}[slo]\nlatency = {{ p95 = \"8s\" }}\nerror_rate = 0.02\n[traffic.web]\nentry = \"all\"\ndeadline = \"20s\"\n\
             arrivals = {{ process = \"poisson\", rate = \"40/s\" }}\n[components.all]\nkind = \"flow\"\nsteps = [{}]\n",
            (0..stages).map(|number| format!("\"s{number}\"")).collect::<Vec<_>>().join(", ")
        );
        let mut capacities = Vec::new();
        for number in 0..stages {
            let capacity =
                if number == first { limit } else { limit * (1.16 + numbers.below(100) as f64 / 100.0) };
            let stage = stage(&mut numbers, &format!("s{number}"), capacity);
            text.push_str(&stage.text);
            capacities.push(stage.capacity);
        }
        let loaded = parse(&text);
        let answer = with_test(&loaded, StressOptions::default(), |test| {
            let levels = test.levels().unwrap();
            let limit = test.limit(&levels);
            let today = levels[0].result.clone().unwrap();
            (limit, test.first_break(&today, limit))
        });
        let (limit, first_break) = answer;
        let expected = [format!("s{first}"), format!("s{first}-model")];
        let named = first_break.as_ref().and_then(|first| first.component.clone()).unwrap_or_default();
        let is_right = if text.contains(&expected[1]) { named == expected[1] } else { named == expected[0] };
        right += u64::from(is_right);
        let proven = first_break.as_ref().is_some_and(FirstBreak::is_proven);
        println!("case {case}: {named}, expected {}, limit {limit:?}, proven {proven}", expected[0]);
        if !is_right {
            println!("{text}\n{first_break:?}");
        }
    }
    right
}

#[test]
fn the_first_component_that_breaks_is_found() {
    assert_eq!(found(20, 1), 20);
}

/// The whole check: about three minutes.
#[test]
#[ignore = "long: cargo test -p scenarios --release -- --ignored"]
fn the_first_component_that_breaks_is_found_in_200_systems() {
    let right = found(200, 2);
    println!("{right} of 200");
    assert!(right >= 196, "{right} of 200");
}

#[test]
fn the_article_in_one_system() {
    let before = library("ten-times", "base");
    let run = |loaded: &Loaded| {
        with_test(loaded, StressOptions::default(), |test| {
            let levels = test.levels().unwrap();
            let limit = test.limit(&levels);
            let first = test.first_break(levels[0].result.as_ref().unwrap(), limit);
            let helps = first.as_ref().map(|first| test.recommendations(first, limit));
            (levels, limit, first, helps)
        })
    };
    let (levels, limit, first, helps) = run(&before);
    assert_eq!(
        levels.iter().map(|level| level.inference.pass).collect::<Vec<_>>(),
        [true, true, false, false]
    );
    assert!(limit.passes.unwrap() > 3.0 && limit.fails.unwrap() < 5.0, "{limit:?}");
    let first = first.unwrap();
    assert_eq!(first.component.as_deref(), Some("small"), "{first:?}");
    assert!(first.is_proven(), "{first:?}");
    // The nightly job takes 20 of its 24 hours today, and does not scale.
    assert!((levels[0].pipelines[0].slack.unwrap() - 1.2).abs() < 0.01, "{:?}", levels[0].pipelines);
    assert!(levels[0].pipelines[0].pass && !levels[1].pipelines[0].pass);
    let helps = helps.unwrap();
    assert!(helps.iter().any(|tried| tried.holds && tried.name.contains("variant `after`")), "{helps:?}");
    assert!(helps[0].holds && helps.iter().all(|tried| tried.gain_per_s > 0.0), "{helps:?}");

    let (levels, limit, ..) = run(&library("ten-times", "after"));
    assert!(
        levels.iter().all(Level::passes),
        "{:?}",
        levels.iter().map(|level| &level.cost).collect::<Vec<_>>()
    );
    assert!(limit.passes.unwrap() >= 10.0);
    let unit = |level: &Level| level.projection.unwrap().usd_per_1k_good.unwrap();
    assert!(unit(&levels[3]) < 0.5 * unit(&levels[0]));
}

/// Two halves of the traffic need a component each. With a pool of workers for both, one slow component takes all
/// workers, and who does not need it is hit as well; with a pool for each, nobody else is.
#[test]
fn the_blast_radius_is_that_of_a_shared_pool() {
    let system = |pools: &str, entry: &str| {
        parse(&format!(
            "{HEAD}[slo]\nlatency = {{ p99 = \"1s\" }}\nerror_rate = 0.01\n[traffic.web]\nentry = \"{entry}\"\ndeadline = \"2s\"\n\
             arrivals = {{ process = \"poisson\", rate = \"100/s\" }}\npriority = {{ left = 0.5, right = 0.5 }}\n{pools}\
             [components.a]\nkind = \"service\"\nservers = 20\nservice_time = {{ constant = \"100ms\" }}\n\
             [components.b]\nkind = \"service\"\nservers = 20\nservice_time = {{ constant = \"100ms\" }}\n"
        ))
    };
    let pool = |name: &str, steps: &str, workers: u32| {
        format!(
            "[components.{name}]\nkind = \"flow\"\nsteps = [{steps}]\n\
             admission = {{ concurrency = {{ fixed = {workers} }}, max_queue = 100 }}\n"
        )
    };
    let (left, right) = ("{ call = \"a\", classes = [\"left\"] }", "{ call = \"b\", classes = [\"right\"] }");
    let shared = system(&pool("all", &format!("{left}, {right}"), 20), "all");
    let router = "[components.router]\nkind = \"router\"\npolicy = \"rules\"\ndefault = \"pool-b\"\n\
                  rules = [{ when = { classes = [\"left\"] }, to = \"pool-a\" }]\n";
    let apart = [router, &pool("pool-a", "\"a\"", 10), &pool("pool-b", "\"b\"", 10)].concat();
    let apart = system(&apart, "router");
    let slow = |loaded: &Loaded| {
        let blast = with_test(loaded, StressOptions::default(), |test| {
            test.levels().unwrap();
            test.blast_radius(1.0)
        });
        let (_, ways) = blast.into_iter().find(|(name, _)| name == "a").unwrap();
        ways.into_iter().find(|way| way.failure == Failure::Slow).unwrap()
    };
    let (shared, apart) = (slow(&shared), slow(&apart));
    println!("{shared:?}\n{apart:?}");
    assert!(shared.hit_without_need.unwrap() > 0.5 && !shared.passes(), "{shared:?}");
    assert!(apart.hit_without_need.unwrap() < 0.01 && apart.passes() && apart.hit > 0.3, "{apart:?}");
    assert!((apart.needed - 0.5).abs() < 0.1, "{apart:?}");
}

/// Careless retries keep a database down after its repair; a budget and a short queue let it come back.
#[test]
fn a_retry_storm_is_a_system_that_does_not_come_back() {
    let crash = |variant: &str| {
        let mut loaded = library("retry-storm", variant);
        loaded.scenario.fault.clear();
        let blast = with_test(&loaded, StressOptions::default(), |test| {
            test.levels().unwrap();
            test.blast_radius(1.0)
        });
        let (_, ways) = blast.into_iter().find(|(name, _)| name == "db").unwrap();
        ways.into_iter().find(|way| way.failure == Failure::Slow).unwrap()
    };
    let (before, after) = (crash("before"), crash("after"));
    println!("{before:?}\n{after:?}");
    assert!(matches!(before.recovery, Recovery::NotWithin(_)), "{before:?}");
    assert!(matches!(after.recovery, Recovery::After(seconds) if seconds < 20.0), "{after:?}");
}

#[test]
fn what_cannot_be_tested_is_an_error() {
    let loaded = parse(&format!(
        "{HEAD}[traffic.web]\nentry = \"db\"\narrivals = {{ process = \"poisson\", rate = \"10/s\" }}\n\
         [components.db]\nkind = \"service\"\nservice_time = {{ constant = \"10ms\" }}\n"
    ));
    let progress = RunProgress::new();
    let error = StressTest::new(&loaded, StressOptions::default(), &progress).unwrap_err();
    assert!(error.plain().contains("nothing is expected"), "{}", error.plain());
    let guarded = library("ten-times", "base");
    let options = StressOptions { multipliers: vec![0.5], ..StressOptions::default() };
    assert!(StressTest::new(&guarded, options, &progress).unwrap_err().plain().contains("a multiple of 0.5"));
}

/// More data is more for pipelines and indexes; more steps are more calls.
#[test]
fn data_and_complexity_grow_too() {
    let base = library("ten-times", "base");
    let (more, load) = Grow::Data.apply(&base.scenario, 3.0);
    assert_eq!(load, 1.0);
    let text = more.to_toml();
    for part in ["volume = \"2160GB\"", "vectors = 30000000", "entities = 3000000"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let loaded = parse(&format!(
        "{HEAD}[slo]\nlatency = {{ p99 = \"1s\" }}\n[traffic.web]\nentry = \"agent\"\narrivals = {{ process = \"deterministic\", rate = \"10/s\" }}\n\
         [components.agent]\nkind = \"flow\"\nsteps = [\"tool\"]\n\
         [components.tool]\nkind = \"service\"\nservers = 100\nservice_time = {{ constant = \"150ms\" }}\n"
    ));
    let options = StressOptions { grow: Grow::Complexity, ..StressOptions::default() };
    let limit = with_test(&loaded, options, |test| test.limit(&test.levels().unwrap()));
    assert_eq!(
        (limit.passes, limit.fails),
        (Some(6.0), Some(7.0)),
        "six tools in a second, {}",
        short(1.0 / 0.15)
    );
}

/// A stand-in with a twentieth of the capacity that it needs answers a twentieth; a default answers all.
#[test]
fn a_fallback_is_as_good_as_its_capacity() {
    let text = |servers: u32, chain: &str| {
        format!(
            "{HEAD}[slo]\nlatency = {{ p99 = \"150ms\" }}\nerror_rate = 0.02\n\
             [traffic.web]\nentry = \"edge\"\narrivals = {{ process = \"deterministic\", rate = \"100/s\" }}\n\
             [components.edge]\nkind = \"flow\"\nsteps = [\"large\"]\n\
             [components.large]\nkind = \"service\"\nservers = 20\nservice_time = {{ constant = \"100ms\" }}\n\
             [components.small]\nkind = \"service\"\nservers = {servers}\nqueue_cap = 0\n\
             service_time = {{ constant = \"100ms\" }}\n\
             [links.\"edge -> large\"]\ntimeout = \"1s\"\nfallback = [{chain}]\n\
             [links.\"edge -> small\"]\ntimeout = \"1s\"\n"
        )
    };
    let exercise =
        |text: String| with_test(&parse(&text), StressOptions::default(), |test| test.fallbacks(&[1.0, 2.0]));
    // Ten servers are all it takes at 1x; at 2x half of the calls find them busy, and are lost unless something comes
    // after them.
    let passes = |chain| exercise(text(10, chain)).iter().map(|test| test.passes).collect::<Vec<_>>();
    assert_eq!(passes("\"small\""), [Some(true), Some(false)]);
    assert_eq!(passes("\"small\", \"default\""), [Some(true); 4]);
    let tests = exercise(text(1, "\"small\", \"reject\""));
    let (small, reject) = (&tests[0], &tests[2]);
    println!("{small:?}\n{reject:?}");
    assert!((small.good - 0.1).abs() < 0.01 && small.good_before == 1.0 && small.needed >= 5_400);
    assert!(small.utilization.is_some_and(|busy| busy > 0.95));
    assert!((reject.good, reject.passes) == (0.0, None) && reject.latency_p95_s.is_none());
}

/// What holds with and without a change is no help; what is bought is on the bill.
#[test]
fn what_gains_nothing_is_no_recommendation() {
    let text = |rate: u32| {
        format!(
            "{HEAD}[slo]\nlatency = {{ p99 = \"10s\" }}\nerror_rate = 0.05\n\
             [traffic.web]\nentry = \"api\"\narrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\n\
             prompt_tokens = {{ constant = 100 }}\noutput_tokens = {{ constant = 10 }}\n\
             topics = {{ count = 1000, zipf = 1 }}\n\
             [components.api]\nkind = \"external_api\"\nttft = \"300ms\"\nrequests_per_minute = 3000\n"
        )
    };
    let options = StressOptions { multipliers: vec![1.0, 3.0], ..StressOptions::default() };
    let helps = |rate: u32| {
        with_test(&parse(&text(rate)), options.clone(), |test| {
            let limit = test.limit(&test.levels().unwrap());
            let first = FirstBreak {
                component: Some("api".to_owned()),
                suspects: Vec::new(),
                seen_at: 3.0,
                proofs: Vec::new(),
            };
            test.recommendations(&first, limit)
        })
    };
    assert_eq!(helps(2), [], "the goal is reached without help");
    let list = helps(40);
    assert!(list.iter().any(|tried| tried.name.contains("higher limits")), "{list:?}");
    let cache = list.iter().find(|tried| tried.name.contains("semantic cache")).unwrap();
    assert!(cache.added_usd_per_month > 100.0 && cache.gain_per_dollar().is_finite(), "{cache:?}");
}
