//! Systems nobody would build: whatever calls whatever, over slow links, with faults. Nothing is lost,
//! and the same seed gives the same run.

mod tables;

use std::fmt::Write;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use tables::component;

/// A component before it is known whom it can call: numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Kind {
    Flow(Vec<(Vec<usize>, u32, bool)>),
    Dice(usize, usize, f64),
    Rules(usize, usize, &'static str, Option<&'static str>),
    Store {
        mode: &'static str,
        features: u32,
        connections: Option<u32>,
        cap: Option<u32>,
        timeout: bool,
    },
    Llm(u32),
    /// A pool in zones, with its kind and its number of replicas or its autoscaler.
    Zoned(&'static str, &'static str),
    Cascade {
        stages: [usize; 2],
        judge: Option<usize>,
        accepts: f64,
        budget: Option<f64>,
    },
    Cache {
        behind: usize,
        latency: Option<&'static str>,
        size: u32,
        ttl: bool,
    },
    Api {
        ttft: &'static str,
        requests: Option<u32>,
        most: Option<u32>,
        errors: f64,
    },
    Guess {
        targets: [usize; 2],
        latency: &'static str,
        errors: f64,
        timeout: bool,
    },
    Queue(usize, &'static str),
    Service {
        time: &'static str,
        servers: u32,
        discipline: &'static str,
        cap: Option<u32>,
        errors: f64,
    },
}

fn time() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\"0s\"",
        "\"10ms\"",
        "\"50ms\"",
        "{ exponential = { mean = \"20ms\" } }",
        "{ lognormal = { mean = \"40ms\", cv = 2 } }",
    ])
}

fn kind() -> impl Strategy<Value = Kind> {
    let step = (prop::collection::vec(any::<usize>(), 1..4), 1..3u32, prop::bool::weighted(0.2));
    let disciplines = [
        "fcfs",
        "lifo",
        "priority",
        "preemptive_priority",
        "processor_sharing",
        "sjf",
        "srpt",
        "fair",
        "adaptive_lifo\"\nlifo_threshold = 1 #\"",
    ];
    let queues = [
        "",
        "visibility_timeout = \"100ms\"\nmax_receives = 3\nconsumers = 2",
        "max_length = 2\noverflow = \"drop_head\"\npartitions = 2\nvisibility_timeout = \"300ms\"",
        "max_length = 3\nstore_time = { exponential = { mean = \"20ms\" } }\nretention = \"50ms\"\nconcurrency = 9",
    ];
    let conditions = [
        "prompt_tokens_above = 100",
        "difficulty_below = 0.5",
        "classes = [\"high\"]",
        "tenants = [\"default\"], output_tokens_below = 20",
    ];
    prop_oneof![
        4 => prop::collection::vec(step, 1..4).prop_map(Kind::Flow),
        1 => (any::<usize>(), any::<usize>(), 0.0..=1.0).prop_map(|(a, b, share)| Kind::Dice(a, b, share)),
        1 => (
            any::<usize>(),
            any::<usize>(),
            prop::sample::select(conditions.to_vec()),
            prop::option::of(time()),
        )
            .prop_map(|(a, b, when, latency)| Kind::Rules(a, b, when, latency)),
        2 => (
            prop::sample::select(vec!["sequential", "parallel", "multi_get"]),
            1..20u32,
            prop::option::of(1..4u32),
            prop::option::of(0..5u32),
            any::<bool>(),
        )
            .prop_map(|(mode, features, connections, cap, timeout)| Kind::Store {
                mode,
                features,
                connections,
                cap,
                timeout,
            }),
        1 => (1..3u32).prop_map(Kind::Llm),
        1 => zoned(),
        1 => routed(),
        1 => (any::<usize>(), prop::sample::select(queues.to_vec())).prop_map(|(a, more)| Kind::Queue(a, more)),
        3 => (
            time(),
            1..5u32,
            prop::sample::select(disciplines.to_vec()),
            prop::option::of(0..5u32),
            prop::sample::select(vec![0.0, 0.1, 1.0]),
        )
            .prop_map(|(time, servers, discipline, cap, errors)| Kind::Service {
                time,
                servers,
                discipline,
                cap,
                errors,
            }),
    ]
}

/// Pools of replicas in zones.
fn zoned() -> impl Strategy<Value = Kind> {
    let kinds = [
        "kind = \"service\"\nservice_time = \"30ms\"\nservers = 2\nqueue_cap = 3",
        "kind = \"service\"\nservice_time = { exponential = { mean = \"50ms\" } }\ndiscipline = \"processor_sharing\"",
        "kind = \"model_server\"\nexecution = { fixed = \"10ms\", per_item = \"5ms\" }\nbatching = \"dynamic\"\nmax_batch_size = 4",
    ];
    let pools = [
        "replicas = 3\ncold_start = { init = \"100ms\" }\ndeployment = { rollout = [{ at = \"300ms\", version = \"v2\", error_rate = 0.3, slow = 2, crash_after = \"200ms\" }, { at = \"1200ms\", version = \"v1\" }], termination_grace_period_seconds = \"50ms\" }",
        "replicas = 4\ncold_start = { init = \"50ms\" }\ndeployment = { strategy = \"canary\", canary = { steps = [{ set_weight = 30 }, { pause = \"200ms\" }, { set_weight = 60 }], traffic_routing = true, scale_down_delay_seconds = \"100ms\", analysis = { interval = \"100ms\", success_condition = { error_rate = 0.4, latency_p95 = \"200ms\" } } }, rollout = [{ at = \"200ms\", version = \"v2\", error_rate = 0.4 }, { at = \"900ms\", version = \"v3\" }] }",
        "autoscaler = { kind = \"hpa\", metric = \"queue\", target = 0.5, min_replicas = 2, max_replicas = 5, sync_period = \"200ms\", metrics_period = \"100ms\" }\ndeployment = { strategy = \"canary\", max_surge = 2, min_ready_seconds = \"20ms\", canary = { steps = [{ set_weight = 20 }, { pause = \"100ms\" }] }, rollout = [{ at = \"100ms\", version = \"v2\" }, { at = \"1s\", version = \"v1\" }] }",
        "replicas = 3\nspot = { mttf = \"500ms\", notice = \"50ms\", capacity_return = \"100ms\" }\ndeployment = { strategy = \"recreate\", rollout = [{ at = \"500ms\", version = \"v2\" }] }",
        "replica_quota = 6\nwarm_pool = { min_size = 1, reuse_on_scale_in = true, start = \"10ms\" }\ncold_start = { init = \"200ms\" }\nautoscaler = { kind = \"schedule\", period = \"1s\", entries = [{ from = \"0s\", replicas = 1 }, { from = \"500ms\", replicas = 4 }] }",
        "replicas = 2\nspot = { mttf = \"300ms\", notice = \"20ms\", hourly = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2] }",
        "replicas = 4\nbalancer = \"least_request\"\nhealth = \"envoy\"",
        "replicas = 5\nhealth = { outlier_detection = { interval = \"300ms\" } }",
        "replicas = 7\nbalancer = \"least_request\"\nhealth = \"envoy\"\nzone_aware = {}",
        "replicas = 4\nzone_aware = { min_cluster_size = 2, routing_enabled = 0.8 }\nhealth = { active = { interval = \"200ms\", timeout = \"100ms\" }, panic_threshold = 0.6, fail_traffic_on_panic = true }",
        "replicas = 4\nzone_aware = { min_cluster_size = 1 }\ncold_start = { init = \"50ms\" }\ndeployment = { strategy = \"canary\", canary = { steps = [{ set_weight = 50 }, { pause = \"500ms\" }], traffic_routing = true }, rollout = [{ at = \"200ms\", version = \"v2\" }] }",
        "autoscaler = { kind = \"knative\", initial_scale = 1 }\nreplica_quota = 5\ncold_start = { init = \"200ms\" }",
        "replicas = 2\nreplica_quota = 4\nautoscaler = { kind = \"schedule\", period = \"1s\", entries = [{ from = \"0s\", replicas = 1 }, { from = \"500ms\", replicas = 4 }] }",
    ];
    (prop::sample::select(kinds.to_vec()), prop::sample::select(pools.to_vec()))
        .prop_map(|(kind, pool)| Kind::Zoned(kind, pool))
}

/// Cascades, semantic caches, external APIs, and routers whose classification fails at times.
fn routed() -> impl Strategy<Value = Kind> {
    let two = || [any::<usize>(), any::<usize>()];
    let errors = || prop::sample::select(vec![0.0, 0.3]);
    let judge = prop::option::of(any::<usize>());
    prop_oneof![
        (two(), judge, 0.0..=1.0, prop::option::of(0.0..=1.0)).prop_map(
            |(stages, judge, accepts, budget)| { Kind::Cascade { stages, judge, accepts, budget } }
        ),
        (any::<usize>(), prop::option::of(time()), 1..8u32, any::<bool>())
            .prop_map(|(behind, latency, size, ttl)| Kind::Cache { behind, latency, size, ttl }),
        (time(), prop::option::of(60..2_000u32), prop::option::of(1..4u32), errors())
            .prop_map(|(ttft, requests, most, errors)| Kind::Api { ttft, requests, most, errors }),
        (two(), time(), errors(), any::<bool>()).prop_map(|(targets, latency, errors, timeout)| {
            Kind::Guess { targets, latency, errors, timeout }
        }),
    ]
}

#[derive(Debug, Clone)]
struct Wire {
    latency: Option<&'static str>,
    timeout: Option<u32>,
    cancels: bool,
    policies: Vec<&'static str>,
    /// Whether the last component, a service, is called when the call has failed.
    falls_back: bool,
}

fn wire() -> impl Strategy<Value = Wire> {
    // One of each, or none: not twice the same key.
    let of = |all: &[&'static str]| prop::sample::select(all.to_vec());
    let policies = (
        of(&["", "", "", "per_try_timeout = \"15ms\""]),
        of(&[
            "",
            "",
            "",
            "retry = { max_attempts = 2 }",
            "retry = { preset = \"resilience4j\", backoff = \"20ms\" }",
            "retry = { preset = \"envoy\", budget = 0.2 }",
        ]),
        of(&[
            "",
            "",
            "",
            "circuit_breaker = { resilience4j = { minimum_number_of_calls = 5, wait_duration_in_open_state = \"200ms\" } }",
            "circuit_breaker = { hystrix = { request_volume_threshold = 5, sleep_window = \"300ms\" } }\nclient_instances = 3",
            "circuit_breaker = { envoy = { max_connections = 2, max_pending_requests = 3 } }",
            "circuit_breaker = \"adaptive_throttle\"",
        ]),
        of(&[
            "",
            "",
            "",
            "hedge = { after = \"5ms\", winner = \"first_token\" }",
            "hedge = { after = \"p90\", max_extra = 2, budget = 0.1, send_interrupts = false }",
        ]),
    )
        .prop_map(|(per_try, retry, breaker, hedge)| vec![per_try, retry, breaker, hedge]);
    (prop::option::of(time()), prop::option::of(1..80u32), any::<bool>(), policies, prop::bool::weighted(0.2))
        .prop_map(|(latency, timeout, cancels, policies, falls_back)| Wire {
            latency,
            timeout,
            cancels,
            policies,
            falls_back,
        })
}

#[derive(Debug, Clone)]
struct Architecture {
    sources: Vec<(&'static str, usize, Option<u32>, Option<&'static str>)>,
    kinds: Vec<Kind>,
    /// What each lets in.
    doors: Vec<usize>,
    wires: Vec<Wire>,
    faults: Vec<(u32, usize, &'static str, Option<u32>)>,
    /// Faults at random: what breaks whom, and after how many ms on average.
    random: Vec<(u32, usize, &'static str)>,
}

fn architecture() -> impl Strategy<Value = Architecture> {
    let arrivals = prop::sample::select(vec![
        "{ process = \"poisson\", rate = \"25/s\" }",
        "{ process = \"deterministic\", rate = \"20/s\" }",
        "{ process = \"closed_loop\", users = 4, think = \"100ms\" }",
    ]);
    let sessions = prop::sample::select(vec![
        "turns = 3, think = \"50ms\"",
        "turns = { exponential = { mean = 4 } }, think = { exponential = { mean = \"20ms\" } }",
        "turns = 100, think = \"0s\"",
    ]);
    let sessions = prop::option::weighted(0.3, sessions);
    let source = (arrivals, any::<usize>(), prop::option::of(1..300u32), sessions);
    let what = prop::sample::select(vec![
        "kind = \"crash\"",
        "kind = \"slow\"\nfactor = 5",
        "kind = \"error_rate\"\nshare = 0.5",
        "kind = \"outage\"",
        "kind = \"outage\"\nfail_fast = true",
    ]);
    let random = prop::sample::select(vec![
        "crash",
        "slow",
        "error_rate",
        "outage",
        "partition",
        "zone_loss",
        "cold_cache",
        "stock_out",
        "hang",
        "drain",
    ]);
    let random = (50..3_000u32, any::<usize>(), random);
    let fault = (0..5_000u32, any::<usize>(), what, prop::option::of(0..2_000u32));
    (
        prop::collection::vec(source, 1..3),
        prop::collection::vec(kind(), 1..13),
        prop::collection::vec(any::<usize>(), 1..9),
        prop::collection::vec(wire(), 1..12),
        prop::collection::vec(fault, 0..4),
        prop::collection::vec(random, 0..6),
    )
        .prop_map(|(sources, kinds, doors, wires, faults, random)| Architecture {
            sources,
            kinds,
            doors,
            wires,
            faults,
            random,
        })
}

/// Admission for a component of any kind.
const DOORS: [&str; 4] = [
    "rate_limit = { rate = \"20/s\", burst = 2, per = \"class\" }",
    "concurrency = { aimd = { min_limit = 1, initial_limit = 2, timeout = \"20ms\" } }",
    "concurrency = { vegas = { initial_limit = 2 } }",
    "concurrency = { gradient2 = { min_limit = 1, initial_limit = 1 } }, partitions = { by = \"class\", shares = { high = 0.5 } }",
];
/// Admission for a line, in front or of a service.
const LINES: [&str; 4] = [
    "drop_expired = true",
    "codel = { target = \"1ms\", interval = \"5ms\" }",
    "controlled_delay = { interval = \"20ms\" }, drop_expired = true",
    "push_out = true",
];
const IN_FRONT: [&str; 4] = [
    "max_queue = 3",
    "max_queue = 2, discipline = \"priority\"",
    "max_queue = 4, discipline = \"fair\", fair = { by = \"class\", weights = { high = 3 } }",
    "max_queue = 5, discipline = \"adaptive_lifo\"",
];

/// The admission of a component with this table.
fn admission(table: &str, pick: usize) -> String {
    let of = |list: [&'static str; 4]| list[pick / 4 % 4];
    let is = |kind: &str| table.contains(&format!("kind = \"{kind}\""));
    let has_line =
        is("service") && !["preemptive", "sharing", "srpt"].iter().any(|name| table.contains(name));
    let settings = if has_line
        && pick.is_multiple_of(4)
        && (of(LINES) != "push_out = true" || table.contains("queue_cap"))
    {
        format!("{}, dagor = {{ window = \"200ms\" }}", of(LINES))
    } else if is("service") && pick % 4 == 1 {
        of(DOORS).to_owned()
    } else if is("flow") || is("llm") || is("queue") {
        match pick % 4 {
            0 => return String::new(),
            1 => of(DOORS).to_owned(),
            _ => format!("concurrency = {{ fixed = 2 }}, {}, {}", IN_FRONT[pick / 16 % 4], of(LINES)),
        }
    } else {
        return String::new();
    };
    format!("admission = {{ {settings} }}\n")
}

/// A flow makes at most so many calls a request, all told: chains of flows multiply.
const MOST_CALLS: usize = 60;

impl Architecture {
    /// As a scenario; every component calls later ones only.
    fn text(&self) -> String {
        let mut text = String::new();
        let count = self.kinds.len();
        let mut calls: Vec<(String, String)> = Vec::new();
        for (index, (arrivals, entry, deadline, sessions)) in self.sources.iter().enumerate() {
            // Mostly at the front, where there is more behind.
            let entry = entry % count.min(3);
            let _ = write!(
                text,
                "[traffic.t{index}]\narrivals = {arrivals}\nentry = \"c{entry}\"\n\
                 priority = {{ high = 0.3, low = 0.7 }}\nprompt_tokens = {{ uniform = {{ min = 1, max = 200 }} }}\n\
                 output_tokens = {{ uniform = {{ min = 1, max = 40 }} }}\ntopics = {{ count = 9, zipf = 1 }}\n"
            );
            if let Some(deadline) = deadline {
                let _ = writeln!(text, "deadline = \"{deadline}ms\"");
            }
            if let Some(sessions) = sessions {
                let appended = "appended_tokens = { uniform = { min = 1, max = 20 } }";
                let _ = writeln!(text, "sessions = {{ {sessions}, {appended} }}");
            }
            calls.push((format!("t{index}"), format!("c{entry}")));
        }
        // From the back: how many calls each makes, with all that they make.
        let mut weights = vec![1; count];
        let mut tables = Vec::new();
        for (index, kind) in self.kinds.iter().enumerate().rev() {
            let (table, callees, weight) = component(index, kind, &weights);
            weights[index] = weight;
            calls.extend(callees.into_iter().map(|callee| (format!("c{index}"), format!("c{callee}"))));
            let door = admission(&table, self.doors[index % self.doors.len()]);
            tables.push(format!("[components.c{index}]\n{table}\n{door}"));
        }
        calls.sort();
        calls.dedup();
        text.extend(tables.into_iter().rev());
        let zoned = self.kinds.iter().enumerate().filter(|(_, kind)| matches!(kind, Kind::Zoned(..)));
        let pools: Vec<usize> = zoned.map(|(index, _)| index).collect();
        if !pools.is_empty() {
            text.push_str("[placement]\n");
            for index in &pools {
                let _ = writeln!(text, "c{index} = [\"a\", \"b\", \"c\"]");
            }
            // Callers have instances in zones, too, but not all of them.
            for index in (0..self.sources.len()).filter(|index| (self.doors[0] + index).is_multiple_of(2)) {
                let _ = writeln!(text, "t{index} = {{ a = 2, b = 1 }}");
            }
            let spreads = |kind: &Kind| {
                matches!(kind, Kind::Flow(_) | Kind::Dice(..) | Kind::Rules(..) | Kind::Cascade { .. })
            };
            let spread = self.kinds[..count - 1].iter().enumerate().filter(|(_, kind)| spreads(kind));
            for (index, _) in spread.filter(|(index, _)| index % 2 == 0) {
                let _ = writeln!(text, "c{index} = {{ a = 1, b = 2, d = 1 }}");
            }
        }
        let crossing =
            if pools.is_empty() { "" } else { "cross_zone = { latency = \"3ms\", reply_size = \"1MB\" }\n" };
        for ((from, to), wire) in calls.iter().zip(self.wires.iter().cycle()) {
            let _ = writeln!(text, "[links.\"{from} -> {to}\"]\ncancel_on_timeout = {}", wire.cancels);
            if let Some(latency) = wire.latency {
                let _ = writeln!(text, "latency = {latency}\n{crossing}");
            }
            if let Some(timeout) = wire.timeout {
                let _ = writeln!(text, "timeout = \"{timeout}ms\"");
            }
            for policy in &wire.policies {
                let _ = writeln!(text, "{policy}");
            }
            let last = count - 1;
            if wire.falls_back && *from != format!("c{last}") && *to != format!("c{last}") {
                let _ = writeln!(text, "fallback = [\"c{last}\", {{ stale = 0.5 }}, \"reject\"]");
            }
        }
        for (at, target, what, repair) in &self.faults {
            let target = target % count;
            if what.contains("slow") && matches!(self.kinds[target], Kind::Flow(_)) {
                continue;
            }
            let _ = writeln!(text, "[[fault]]\nat = \"{at}ms\"\ntarget = \"c{}\"\n{what}", target);
            if let Some(repair) = repair {
                let _ = writeln!(text, "repair = \"{repair}ms\"");
            }
        }
        for (mtbf, target, kind) in &self.random {
            self.add_random(&mut text, &calls, (*mtbf, *target, kind));
        }
        text
    }
}

impl Architecture {
    /// A fault at random, if there is anybody whom it can hit.
    fn add_random(&self, text: &mut String, calls: &[(String, String)], fault: (u32, usize, &str)) {
        let (mtbf, number, kind) = fault;
        let fits = |of: &Kind| match kind {
            "zone_loss" | "hang" | "drain" => matches!(of, Kind::Zoned(..)),
            "stock_out" => matches!(of, Kind::Zoned(_, pool) if pool.contains("autoscaler")),
            "slow" => !matches!(of, Kind::Flow(_)),
            // The last of all calls nobody.
            "cold_cache" => matches!(of, Kind::Cache { .. } | Kind::Llm(_)),
            _ => true,
        };
        let last = self.kinds.len() - 1;
        let fitting = self.kinds.iter().enumerate();
        let fitting = fitting.filter(|(index, of)| fits(of) && (kind != "cold_cache" || *index < last));
        let fitting: Vec<usize> = fitting.map(|(index, _)| index).collect();
        let Some(index) = fitting.get(number % fitting.len().max(1)) else { return };
        let target = match kind {
            "partition" => {
                let (from, to) = &calls[number % calls.len()];
                format!("{from} -> {to}")
            }
            // Of zones a, b and c one that somebody is in.
            "zone_loss" => "a".to_owned(),
            _ => format!("c{index}"),
        };
        let more = match kind {
            "slow" => "factor = 3\n",
            "error_rate" => "share = 0.4\n",
            "partition" if number % 3 == 0 => "fail_fast = true\n",
            _ => "",
        };
        let repair =
            if kind == "cold_cache" { "" } else { "repair = { exponential = { mean = \"100ms\" } }\n" };
        let _ = writeln!(
            text,
            "[[fault]]\nkind = \"{kind}\"\ntarget = \"{target}\"\nmtbf = \"{mtbf}ms\"\n{more}{repair}"
        );
    }
}

fn assert_counts(output: &RunOutput) -> Result<(), TestCaseError> {
    let whole = output.conservation;
    prop_assert!(whole.holds(), "{:?}", whole);
    prop_assert_eq!(output.requests.iter().map(|meter| meter.born).sum::<u64>(), whole.born);
    prop_assert_eq!(output.windows.iter().map(|window| window.born).sum::<u64>(), whole.born);
    for (outcome, ended) in whole.ended.into_iter().enumerate() {
        prop_assert_eq!(output.requests.iter().map(|meter| meter.outcomes[outcome]).sum::<u64>(), ended);
        prop_assert_eq!(output.windows.iter().map(|window| window.outcomes[outcome]).sum::<u64>(), ended);
    }
    for component in &output.components {
        let heard: u64 = component.meter.outcomes.iter().sum();
        prop_assert!(heard <= component.meter.calls, "{} replies more than it is asked", component.name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20),
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_and_equal_runs_are_equal(
        architecture in architecture(),
        seed: u64,
        drain in prop::sample::select(vec![0, 60]),
    ) {
        let text = architecture.text();
        let plan = RunPlan {
            duration: SimDuration::from_secs(2),
            drain: SimDuration::from_secs(drain),
            windows: 16,
            seed,
            ..RunPlan::default()
        };
        let output = simulate_with(&text, &plan);
        assert_counts(&output)?;
        let again = simulate_with(&text, &plan);
        prop_assert_eq!((output.fingerprint, output.outcome_hash), (again.fingerprint, again.outcome_hash));
        prop_assert_eq!(output.conservation, again.conservation);
        assert_counts(&simulate_with(&text, &RunPlan { shuffle_ties: Some(seed), ..plan.clone() }))?;
        // The configuration reads back from its canonical form as the same run.
        let canonical = toml::to_string(&parse(&text)).unwrap();
        prop_assert_eq!(simulate_with(&canonical, &plan).fingerprint, output.fingerprint);
    }
}
