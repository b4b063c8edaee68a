use std::sync::Arc;

use proptest::prelude::*;
use sim_core::random::Streams;

use super::super::balancer::LeastRequest;
use super::*;
use crate::llm::engine::Prefix;
use crate::pool::balance::Candidates;
use crate::request::Request;
use crate::turn::{Prompt, Turn};

fn request(key: u64) -> Request {
    Request {
        key,
        class: 0,
        tenant: (key % 7) as u16,
        born: SimTime::ZERO,
        deadline: SimTime::MAX,
        prompt_tokens: 1000,
        output_tokens: 100,
        prefix: Prefix::Shared { id: key % 100, tokens: 800 },
        session: None,
        topic: 0,
        difficulty: 0.0,
        entity: key % 1000,
        first_token: None,
        answer: Default::default(),
        reached: crate::journal::Reached::default(),
        open_calls: 0,
        ended: false,
    }
}

#[test]
fn a_conversation_is_a_piece_behind_its_opening() {
    let of = |prefix: Prefix| {
        let request = Request { prefix, ..request(1) };
        let prompt = Prompt { request: &request, turn: Turn { conversation: 1, grown: 50, answer: 0 } };
        let mut pieces = super::super::affinity::pieces(&prompt);
        let (last, tokens) = pieces.pop().unwrap();
        assert!(pieces.iter().all(|(name, _)| *name != last));
        (pieces.iter().map(|piece| piece.1).collect::<Vec<_>>(), tokens)
    };
    assert_eq!(of(Prefix::None), (vec![], 1150));
    assert_eq!(of(Prefix::Shared { id: 1, tokens: 800 }), (vec![800], 350));
    assert_eq!(of(Prefix::Shared { id: 1, tokens: 8000 }), (vec![1000], 150));
    let blocks = Prefix::Blocks { ids: [4, 5, 6].into(), block_tokens: 400 };
    assert_eq!(of(blocks), (vec![400, 400], 350));
    // Whose id is that of the text.
    let opening = Prefix::Shared { id: 7, tokens: 100 }.into();
    let session = Prefix::Conversation { id: 7, opening, opening_tokens: 300 };
    assert_eq!(of(session.clone()), (vec![100, 900], 150));
    let request = Request { prefix: session, ..request(1) };
    let pieces = super::super::affinity::pieces(&Prompt::from(&request));
    assert!(pieces[0].0 != pieces[1].0 && [pieces[0].1, pieces[1].1] == [100, 1000]);
}

/// A balancer with the calls in its replicas.
struct Bench {
    balance: Balance,
    active: Vec<u32>,
    list: Vec<u32>,
    routing: KeyedStream,
}

impl Bench {
    fn new(balancer: &str, replicas: u32) -> Self {
        let text = format!("balancer = {balancer}");
        let mut table: toml::Table = toml::from_str(&text).unwrap();
        let balancer: Balancer = table.remove("balancer").unwrap().try_into().unwrap();
        balancer.check(replicas).unwrap();
        Self {
            balance: Balance::new(balancer, replicas, 1_000_000),
            active: vec![0; replicas as usize],
            list: (0..replicas).collect(),
            routing: Streams::new(1, 0).keyed("db", Purpose::Routing),
        }
    }

    fn pick(&mut self, request: &Request, avoid: Option<u32>) -> Option<u32> {
        let draws = self.routing.draws(request.key, 0, 0);
        let candidates = Candidates::anywhere(&self.list, self.list.len() as u64);
        self.balance.pick(candidates, &self.active, request.into(), draws, avoid)
    }
}

const ALL: [&str; 10] = [
    "\"round_robin\"",
    "\"random\"",
    "\"least_request\"",
    "\"power_of_two\"",
    "\"join_shortest_queue\"",
    "\"consistent_hash\"",
    "{ consistent_hash = { algorithm = \"maglev\", key = \"entity\" } }",
    "{ consistent_hash = { key = \"tenant\", load_factor = 1.25 } }",
    "{ prefix_aware = { scrape_period = \"0s\" } }",
    "\"vllm_data_parallel\"",
];

#[test]
fn only_candidates_are_picked_and_whom_to_avoid_only_if_alone() {
    for balancer in ALL {
        let mut bench = Bench::new(balancer, 6);
        bench.list = vec![1, 2, 4];
        for key in 0..300 {
            bench.active[key as usize % 6] += 1;
            let avoid = bench.list[key as usize % 3];
            let picked = bench.pick(&request(key), Some(avoid)).unwrap();
            assert!(bench.list.contains(&picked) && picked != avoid, "{balancer}: {picked}");
            let picked = bench.pick(&request(key), Some(0)).unwrap();
            assert!(bench.list.contains(&picked), "{balancer}: {picked}");
        }
        bench.list = vec![4];
        assert_eq!(bench.pick(&request(1), Some(4)), Some(4), "{balancer}");
        bench.list = vec![];
        assert_eq!(bench.pick(&request(1), None), None, "{balancer}");
    }
}

#[test]
fn round_robin_goes_on_past_those_that_left() {
    let mut bench = Bench::new("\"round_robin\"", 4);
    let take = |bench: &mut Bench, count: u64| -> Vec<u32> {
        (0..count).map(|key| bench.pick(&request(key), None).unwrap()).collect()
    };
    assert_eq!(take(&mut bench, 6), [0, 1, 2, 3, 0, 1]);
    bench.list = vec![0, 3];
    assert_eq!(take(&mut bench, 3), [3, 0, 3]);
}

/// How often each of four replicas with 2, 1, 0 and 2 calls is picked, of 40,000 times.
fn frequencies(balancer: &str) -> [f64; 4] {
    let mut bench = Bench::new(balancer, 4);
    bench.active = vec![2, 1, 0, 2];
    let mut counts = [0.0; 4];
    (0..40_000).for_each(|key| counts[bench.pick(&request(key), None).unwrap() as usize] += 1.0);
    counts.map(|count| count / 40_000.0)
}

#[test]
fn choices_have_their_probabilities() {
    let close = |balancer: &str, expected: [f64; 4]| {
        let measured = frequencies(balancer);
        for (measured, p) in measured.iter().zip(expected) {
            let error = (p * (1.0 - p) / 40_000.0f64).sqrt();
            assert!((measured - p).abs() <= 4.0 * error, "{balancer}: {measured} instead of {p}");
        }
    };
    close("\"random\"", [0.25; 4]);
    // Two draws with replacement: the best of them; of the two equal ones the first.
    close("\"least_request\"", [2.0 / 16.0, 5.0 / 16.0, 7.0 / 16.0, 2.0 / 16.0]);
    close("{ least_request = { choice_count = 3 } }", [4.0 / 64.0, 19.0 / 64.0, 37.0 / 64.0, 4.0 / 64.0]);
    // One of the six pairs.
    close("\"power_of_two\"", [0.5 / 6.0, 2.0 / 6.0, 3.0 / 6.0, 0.5 / 6.0]);
    close("\"join_shortest_queue\"", [0.0, 0.0, 1.0, 0.0]);
    let mut bench = Bench::new("\"join_shortest_queue\"", 4);
    bench.active = vec![1, 0, 1, 0];
    let picked = (0..10_000).filter(|key| bench.pick(&request(*key), None) == Some(1)).count() as f64;
    assert!(((picked - 5_000.0) / 50.0).abs() <= 4.0, "equals are drawn among: {picked}");
}

#[test]
fn vllm_weighs_waiting_four_times_and_counts_what_it_sent() {
    let mut bench = Bench::new("\"vllm_data_parallel\"", 3);
    let signal = |waiting, running| Signal { waiting, running, kv_usage: 0.0 };
    bench.balance.signals = vec![signal(1, 5), signal(0, 8), signal(2, 0)];
    // 9, 8, 8; then 9, 12, 8; 9, 12, 12; 13, 12, 12.
    let picked: Vec<_> = (0..4).map(|key| bench.pick(&request(key), None).unwrap()).collect();
    assert_eq!(picked, [1, 2, 0, 1]);
}

#[test]
fn one_key_goes_to_one_replica_and_few_keys_move() {
    for algorithm in ["ring_hash", "maglev"] {
        for key in ["prefix", "tenant", "entity"] {
            let table = format!("{{ consistent_hash = {{ algorithm = \"{algorithm}\", key = \"{key}\" }} }}");
            let mut bench = Bench::new(&table, 10);
            let before: Vec<_> = (0..10_000).map(|key| bench.pick(&request(key), None).unwrap()).collect();
            // 7 tenants, 100 prefixes and 1000 entities.
            let (first, again) = (&before[..7_000], &before[2_100..2_101]);
            let period = match key {
                "tenant" => 7,
                "prefix" => 100,
                _ => 1000,
            };
            assert!((period..7_000).all(|place| first[place] == first[place - period]), "{table}");
            assert_eq!(again[0], before[2_100 % period + period]);
            if key == "entity" {
                bench.list.remove(3);
                let moved = (0..1_000)
                    .filter(|key| bench.pick(&request(*key), None).unwrap() != before[*key as usize]);
                let share = moved.count() as f64 / 1_000.0;
                assert!((0.06..0.16).contains(&share), "{table}: {share} of the keys moved");
            }
        }
    }
    // Without a prefix, and by the first block.
    let mut bench = Bench::new("\"consistent_hash\"", 10);
    let mut picks = |prefix: Prefix| {
        let of = |key| bench.pick(&Request { prefix: prefix.clone(), ..request(key) }, None).unwrap();
        let mut picks: Vec<_> = (0..100).map(of).collect();
        picks.sort_unstable();
        picks.dedup();
        picks.len()
    };
    let blocks = |ids: &[u64]| Prefix::Blocks { ids: Arc::from(ids), block_tokens: 512 };
    assert_eq!((picks(Prefix::None), picks(blocks(&[])), picks(blocks(&[5, 6]))), (10, 10, 1));
    assert_eq!(picks(Prefix::Shared { id: 5, tokens: 10 }), 1);
}

proptest! {
    /// Calls come, most with one hot key, and go: no replica is ever sent one above its bound.
    #[test]
    fn bounded_loads_are_never_exceeded(
        steps in prop::collection::vec((any::<bool>(), 0u64..1000), 1..400),
        replicas in 1u32..12,
        factor in 1.0f64..3.0,
        maglev in any::<bool>(),
    ) {
        let algorithm = if maglev { "maglev" } else { "ring_hash" };
        let table = format!(
            "{{ consistent_hash = {{ algorithm = \"{algorithm}\", key = \"entity\", load_factor = {factor:?}, \
             table_size = 251 }} }}"
        );
        let mut bench = Bench::new(&table, replicas);
        for (arrives, entity) in steps {
            let calls: u32 = bench.active.iter().sum();
            if arrives || calls == 0 {
                let entity = if entity < 700 { 0 } else { entity };
                let picked = bench.pick(&Request { entity, ..request(entity) }, None).unwrap() as usize;
                bench.active[picked] += 1;
                let bound = (factor * f64::from(calls + 1) / f64::from(replicas)).ceil() as u32;
                prop_assert!(bench.active[picked] <= bound, "{} above {bound}", bench.active[picked]);
            } else {
                let busy = bench.active.iter().position(|calls| *calls > 0).unwrap();
                bench.active[busy] -= 1;
            }
        }
    }
}

#[test]
fn prefix_aware_trades_hits_for_load() {
    let mut bench = Bench::new("{ prefix_aware = { scrape_period = \"0s\" } }", 3);
    let first = bench.pick(&request(1), None).unwrap();
    assert_eq!(bench.pick(&request(101), None), Some(first), "800 of 1000 tokens match");
    // Load relative to the mean: 8 calls there and none elsewhere cost (8 - 8/3) / (8/3) = 2 and gain 0.8
    // + 1 over the others.
    bench.active[first as usize] = 8;
    let second = bench.pick(&request(101), None).unwrap();
    assert_ne!(second, first);
    bench.active = vec![1; 3];
    let both = (0..100).map(|_| bench.pick(&request(101), None).unwrap());
    assert!(both.into_iter().all(|picked| picked == first || picked == second));
    // Stale signals are all it sees.
    let mut bench = Bench::new("\"prefix_aware\"", 3);
    let first = bench.pick(&request(1), None).unwrap();
    bench.active[first as usize] = 8;
    assert_eq!(bench.pick(&request(101), None), Some(first));
    bench.balance.signals[first as usize] = Signal { waiting: 5, running: 3, kv_usage: 0.0 };
    assert_ne!(bench.pick(&request(101), None), Some(first));
}

/// Draws belong to the request: the luck of the balancer is the same whatever the replicas do.
#[test]
fn compared_variants_meet_the_same_luck() {
    let system = |mean: &str| {
        let service = format!(
            "service_time = {{ exponential = {{ mean = \"{mean}\" }} }}\nreplicas = 5\nbalancer = \"random\""
        );
        pool(100, &service)
    };
    assert_eq!(calls(&simulate(&system("1ms"), 10, 1)), calls(&simulate(&system("20ms"), 10, 1)));
    assert_ne!(calls(&simulate(&system("1ms"), 10, 1)), calls(&simulate(&system("1ms"), 10, 2)));
}

#[test]
fn the_shortest_queue_takes_the_call() {
    // Slow calls at 1 and 2 s stay in their replicas; all others go to the third.
    let service = "service_time = { empirical = { samples = [\"10ms\"] } }\nreplicas = 3\n\
                   balancer = \"join_shortest_queue\"";
    let output = simulate(&pool(10, service), 30, 1);
    // All idle at every arrival: drawn.
    let counts = calls(&output);
    assert!(counts.iter().all(|calls| (70..130).contains(calls)), "{counts:?}");
    let parameters = LeastRequest { choice_count: 2 };
    assert_eq!(Balancer::LeastRequest(parameters), Balancer::LeastRequest(LeastRequest::default()));
}
