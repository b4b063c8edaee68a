use proptest::prelude::*;
use sim_core::random::{Purpose, Streams, unit};
use sim_core::stats::Moments;
use sim_core::time::{SimDuration, SimTime};

use super::sharing::SharedWork;
use super::*;
use crate::request::Outcome;
use crate::system::{ComponentConfig, ComponentOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};
use crate::units::Law;

/// Runs a system until every request has ended.
fn simulate(system: &str, seconds: u64, seed: u64) -> RunOutput {
    let config: SystemConfig = toml::from_str(system).unwrap();
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(1_000_000),
        seed,
        ..RunPlan::default()
    };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

/// One request a second, the first after a second, at a service `db`.
fn each_second(service: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"1/s\" }}\nentry = \"db\"\n
         [components.db]\nkind = \"service\"\n{service}\n"
    )
}

fn db(output: &RunOutput) -> &ComponentOutput {
    output.components.iter().find(|component| component.name == "db").unwrap()
}

fn outcomes(output: &RunOutput) -> [u64; 5] {
    db(output).meter.outcomes
}

const SECOND: u128 = 1_000_000_000;

#[test]
fn the_smallest_file_takes_the_defaults() {
    let config: ServiceConfig = toml::from_str("service_time = \"2ms\"").unwrap();
    assert_eq!((config.servers.get(), config.discipline), (1, Discipline::Fcfs));
    assert_eq!((config.queue_cap, config.error_rate.get(), config.price_per_hour), (None, 0.0, None));
    let again: ServiceConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    for bad in ["", "service_time = \"2ms\"\nservers = 0", "service_time = \"2ms\"\nworkers = 2"] {
        assert!(toml::from_str::<ServiceConfig>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_law_that_is_none_is_told_with_its_place() {
    let mut config: SystemConfig = toml::from_str(&each_second("service_time = \"1s\"")).unwrap();
    let Some(ComponentConfig::Service(service)) = config.components.get_mut("db") else {
        panic!("{config:?}")
    };
    let scale = "1ms".parse().unwrap();
    service.service_time = TimeDist::Law(Box::new(Law::Pareto { shape: -1.0, scale, max: None }));
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert_eq!(error.path, ["components", "db", "service_time"]);
    assert!(error.message.contains("-1"), "{error}");
}

#[test]
fn without_room_to_wait_a_busy_server_rejects() {
    let output = simulate(&each_second("service_time = \"1500ms\"\nqueue_cap = 0"), 10, 1);
    assert_eq!(outcomes(&output), [5, 0, 5, 0, 0]);
    let output = simulate(&each_second("service_time = \"4500ms\"\nqueue_cap = 1\nservers = 2"), 10, 1);
    // In service 1-5.5, 2-6.5, 5.5-10, 6.5-11, 10-14.5 and 11-15.5; calls 4, 5, 7 and 9 find one
    // waiting.
    assert_eq!(outcomes(&output), [6, 0, 4, 0, 0]);
}

#[test]
fn failed_calls_take_their_full_time() {
    let output = simulate(&each_second("service_time = \"500ms\"\nerror_rate = 0.3"), 10_000, 1);
    let failed = outcomes(&output)[Outcome::Failed as usize] as f64;
    let z = (failed - 3_000.0) / (10_000.0f64 * 0.3 * 0.7).sqrt();
    assert!(z.abs() <= 4.0, "{failed} of 10000 failed");
    assert_eq!(db(&output).meter.busy.integral(output.end), 5_000 * SECOND);
}

#[test]
fn every_server_is_on_the_bill() {
    let output =
        simulate(&each_second("service_time = \"1s\"\nservers = 3\nprice_per_hour = \"$0.50/h\""), 5, 1);
    let [line] = output.costs.as_slice() else { panic!("{:?}", output.costs) };
    assert_eq!((line.component.as_str(), line.resource.as_str()), ("db", "server"));
    assert_eq!((line.units, line.usd_per_hour), (3.0, 1.5));
}

#[test]
fn a_crash_takes_the_work_with_it_and_waiting_calls_survive() {
    let fault =
        "[[fault]]\nat = \"3500ms\"\ntarget = \"db\"\nkind = \"crash\"\nreplicas = 1\nrepair = \"2s\"";
    let service = format!("service_time = \"2s\"\nservers = 2\n{fault}");
    // In service 1-3, 2-4, 3-5: at 3.5 both servers are busy and one call is lost with its server. The
    // survivor ends at 4 (call 2) or 5 (call 3); until 5.5 there is one server.
    for seed in 0..20 {
        let output = simulate(&each_second(&service), 8, seed);
        assert_eq!(outcomes(&output), [7, 0, 0, 0, 1]);
        let capacity = db(&output).meter.capacity.integral(output.end);
        assert_eq!(capacity, 2 * u128::from(output.end.as_nanos()) - 2 * SECOND);
    }
}

#[test]
fn either_server_may_crash() {
    let fault = "[[fault]]\nat = \"1500ms\"\ntarget = \"db\"\nkind = \"crash\"\nreplicas = 1";
    let service = format!("service_time = \"1s\"\nservers = 2\n{fault}");
    for discipline in ["fcfs", "processor_sharing"] {
        let text =
            each_second(&service).replace("servers", &format!("discipline = \"{discipline}\"\nservers"));
        // One of two servers is busy: the crash hits it in half of the runs.
        let hits: u64 = (0..400).map(|seed| outcomes(&simulate(&text, 1, seed))[4]).sum();
        let z = (hits as f64 - 200.0) / 10.0;
        assert!(z.abs() <= 4.0, "{discipline}: {hits} of 400");
    }
}

#[test]
fn without_servers_calls_wait_up_to_the_cap() {
    for discipline in ["fcfs", "lifo", "priority", "preemptive_priority", "processor_sharing", "sjf", "srpt"]
    {
        let fault = "[[fault]]\nat = \"1500ms\"\ntarget = \"db\"\nkind = \"crash\"\nrepair = \"5s\"";
        let text = format!("service_time = \"1s\"\nqueue_cap = 3\ndiscipline = \"{discipline}\"\n{fault}");
        let output = simulate(&each_second(&text), 6, 1);
        // Call 1 is lost; 2, 3 and 4 wait; 5 and 6 are rejected; repaired at 6.5.
        assert_eq!(outcomes(&output), [3, 0, 2, 0, 1], "{discipline}");
        assert_eq!(output.end, SimTime::from_nanos(9_500_000_000), "{discipline}");
    }
}

#[test]
fn a_slow_spell_stretches_what_begins_in_it() {
    let fault = "[[fault]]\nat = \"1500ms\"\ntarget = \"db\"\nkind = \"slow\"\nfactor = 3\nrepair = \"2s\"";
    for discipline in ["fcfs", "processor_sharing", "srpt"] {
        let text = format!("service_time = \"600ms\"\nservers = 9\ndiscipline = \"{discipline}\"\n{fault}");
        let output = simulate(&each_second(&text), 4, 1);
        // 0.6 for calls 1 and 4, 1.8 for calls 2 and 3.
        assert_eq!(db(&output).meter.latency.sum(), 4_800_000_000, "{discipline}");
    }
}

#[test]
fn who_gives_up_frees_the_server_or_leaves_the_line() {
    for discipline in ["fcfs", "lifo", "sjf", "srpt", "priority", "processor_sharing"] {
        let link = "[links.\"web -> db\"]\ntimeout = \"2500ms\"\ncancel_on_timeout = true";
        let text = format!("service_time = \"10s\"\ndiscipline = \"{discipline}\"\n{link}");
        let output = simulate(&each_second(&text), 4, 1);
        let meter = &db(&output).meter;
        assert_eq!(meter.outcomes, [0; 5], "{discipline}");
        // Work goes on from 1 to 6.5, when the last of four calls gives up.
        assert_eq!(meter.busy.integral(output.end), 5_500_000_000, "{discipline}");
        let in_system = meter.busy.integral(output.end) + meter.queue.integral(output.end);
        assert_eq!(in_system, 4 * 2_500_000_000, "{discipline}");
    }
}

#[test]
fn sharers_slow_one_another_down() {
    let output = simulate(
        &each_second("service_time = \"1500ms\"\ndiscipline = \"processor_sharing\"\nservers = 1"),
        2,
        1,
    );
    // Alone from 1 to 2, two at half speed until 3, when the first is done, and alone until 4.
    let latency = &db(&output).meter.latency;
    assert_eq!((latency.min(), latency.max()), (Some(2_000_000_000), Some(2_000_000_000)));
    assert_eq!(output.end, SimTime::from_nanos(4_000_000_000));
}

#[test]
fn a_preempted_call_resumes_with_its_remaining_work() {
    // The first source in the file has the more important class.
    let text = "
        [traffic.urgent]
        arrivals = { process = \"deterministic\", rate = \"0.2/s\" }
        entry = \"db\"
        [traffic.urgent.priority]
        high = 1.0
        [traffic.batch]
        arrivals = { process = \"deterministic\", rate = \"1/s\" }
        entry = \"db\"
        [traffic.batch.priority]
        low = 1.0
        [components.db]
        kind = \"service\"
        service_time = \"10s\"
        discipline = \"preemptive_priority\"
        queue_cap = 1";
    let output = simulate(text, 5, 1);
    let by_class: Vec<_> = output.requests.iter().map(|meter| meter.latency.max()).collect();
    assert_eq!(output.labels.classes, ["high", "low"]);
    // One low call in service from 1, one waiting, three rejected; the high one at 5 is the sixth to
    // find the place full.
    assert_eq!(outcomes(&output), [2, 0, 4, 0, 0]);
    assert_eq!(by_class, [None, Some(19_000_000_000)]);
    let roomy = simulate(&text.replace("queue_cap = 1", "queue_cap = 9"), 5, 1);
    assert_eq!(roomy.requests[0].latency.max(), Some(10_000_000_000));
    // The first low call is done at 21, the other four one after the other.
    assert_eq!(roomy.requests[1].latency.sum(), (20 + 29 + 38 + 47 + 56) * SECOND);
}

/// Arrival gaps and work in nanoseconds.
fn loads() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let gap = prop_oneof![Just(0u64), 0u64..20, 0u64..100_000];
    let work = prop_oneof![Just(0u64), 1u64..20, 0u64..200_000];
    prop::collection::vec((gap, work), 1..60)
}

/// When each call arrives and ends, by number.
fn share(servers: u32, load: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut shared = SharedWork::new(servers);
    let mut times = vec![(0, 0); load.len()];
    let mut clock = 0;
    let mut arrivals = load.iter().enumerate().peekable();
    let mut arrives = load[0].0;
    loop {
        let done = shared.next().map(|delay| clock + delay.as_nanos());
        match (done, arrivals.peek()) {
            (None, None) => return times,
            (Some(done), upcoming) if upcoming.is_none() || done <= arrives => {
                clock = done;
                shared.advance(SimTime::from_nanos(clock), |item: usize| times[item].1 = clock);
            }
            _ => {
                clock = arrives;
                shared.advance(SimTime::from_nanos(clock), |item: usize| times[item].1 = clock);
                if let Some((item, (_, work))) = arrivals.next() {
                    times[item].0 = clock;
                    shared.add(*work, item);
                }
                arrives = clock + arrivals.peek().map_or(0, |(_, (gap, _))| *gap);
            }
        }
    }
}

/// The same in continuous time: when the fluid model ends each call.
fn fluid(servers: u32, load: &[(u64, u64)]) -> Vec<f64> {
    let mut left: Vec<(usize, f64)> = Vec::new();
    let mut ends = vec![0.0; load.len()];
    let (mut clock, mut arrives) = (0.0, 0.0);
    let mut upcoming = 0;
    while upcoming < load.len() || !left.is_empty() {
        let speed = f64::from(servers).min(left.len() as f64) / left.len() as f64;
        let least = left.iter().map(|(_, left)| *left).fold(f64::INFINITY, f64::min);
        let next = if upcoming < load.len() { arrives + load[upcoming].0 as f64 } else { f64::INFINITY };
        let until = next.min(clock + least / speed);
        left.iter_mut().for_each(|(_, left)| *left -= (until - clock) * speed);
        clock = until;
        left.retain(|(item, left)| {
            if *left <= 1e-9 {
                ends[*item] = clock;
            }
            *left > 1e-9
        });
        if until == next {
            left.push((upcoming, load[upcoming].1 as f64 + 1e-9));
            (arrives, upcoming) = (next, upcoming + 1);
        }
    }
    ends
}

proptest! {
    #[test]
    fn one_shared_server_is_busy_as_long_as_its_work(load in loads()) {
        let times = share(1, &load);
        // The unfinished work of one server does not depend on the order of service: it is empty
        // whenever Lindley's is.
        let (mut clock, mut empty) = (0, 0);
        for (item, (gap, work)) in load.iter().enumerate() {
            clock += gap;
            if clock > empty {
                let last = times[..item].iter().map(|(_, end)| *end).max().unwrap_or(0);
                prop_assert_eq!(last, empty);
                empty = clock;
            }
            empty += work;
            prop_assert!(times[item].1 >= clock + work);
        }
        prop_assert_eq!(times.iter().map(|(_, end)| *end).max(), Some(empty));
    }

    #[test]
    fn shared_servers_keep_to_the_fluid(load in loads(), servers in 1u32..6) {
        for ((_, end), fluid) in share(servers, &load).iter().zip(fluid(servers, &load)) {
            // Never before the fluid, and after it by less than the roundings of those before it.
            let late = *end as f64 - fluid;
            prop_assert!(late > -1e-3 && late < 1.0 + load.len() as f64, "{end} for {fluid}");
        }
    }

    #[test]
    fn calls_that_do_not_share_take_their_own_time(load in loads()) {
        for ((arrival, end), (_, work)) in share(60, &load).iter().zip(&load) {
            prop_assert_eq!(end - arrival, *work);
        }
    }
}

/// M/G/1 processor sharing is fair: a call of size s takes s / (1 - rho) on average (Kleinrock,
/// "Time-Shared Systems: A Theoretical Treatment", JACM 1967).
#[test]
fn sharing_slows_calls_in_proportion_to_their_size() {
    for rho in [0.5, 0.8] {
        // Sizes 0.5 and 3 microseconds, mean 1.
        let mut means = [Moments::new(), Moments::new()];
        for replication in 0..40 {
            let mut rng = Streams::new(3, replication).stream("sharing", Purpose::Arrivals);
            let load: Vec<(u64, u64)> = (0..20_000)
                .map(|_| {
                    let gap = -libm::log(unit(&mut rng)) * 1_000.0 / rho;
                    (gap.round() as u64, if unit(&mut rng) < 0.8 { 500 } else { 3_000 })
                })
                .collect();
            let mut sums = [Moments::new(), Moments::new()];
            // The queue starts empty: the first calls do not count.
            for ((arrival, end), (_, work)) in share(1, &load).iter().zip(&load).skip(2_000) {
                sums[usize::from(*work == 3_000)].push((end - arrival) as f64 / 1_000.0);
            }
            for (mean, sum) in means.iter_mut().zip(sums) {
                mean.push(sum.mean().unwrap());
            }
        }
        for (mean, size) in means.iter().zip([0.5, 3.0]) {
            let (measured, exact) = (mean.mean().unwrap(), size / (1.0 - rho));
            let z = (measured - exact) / mean.standard_error().unwrap();
            println!("M/G/1-PS rho {rho} W given S={size}: {measured:.5} exact {exact:.5} z {z:+.2}");
            assert!(z.abs() <= 4.0);
        }
    }
}
