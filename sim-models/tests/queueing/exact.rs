//! What holds to the last nanosecond, with no tolerance at all.

use sim_core::distribution::{Dist, Distribution, Exponential};
use sim_core::fingerprint::Fingerprint;
use sim_core::random::{Purpose, Streams, stable_hash};
use sim_core::time::{SimDuration, SimTime};
use sim_models::request::Outcome;
use sim_models::system::{RunOutput, RunPlan};
use sim_models::traffic::arrivals::ArrivalsConfig;

use crate::harness::{drained, meter, parse, plan, poisson, simulate, station};

const DISCIPLINES: [&str; 7] =
    ["fcfs", "lifo", "priority", "preemptive_priority", "processor_sharing", "sjf", "srpt"];

const EACH_SECOND: &str = "process = \"deterministic\", rate = \"1/s\"";

#[test]
fn dd1() {
    let run = |service: &str, seconds: f64| {
        simulate(&parse(&station(EACH_SECOND, service)), &drained(plan(0.0, seconds)))
    };
    for (service, nanos) in [("700ms", 700_000_000), ("1s", 1_000_000_000u64)] {
        let output = run(&format!("service_time = \"{service}\""), 1_000.0);
        let meter = meter(&output, "db");
        assert_eq!((meter.wait.max(), meter.queue.integral(output.end)), (Some(0), 0));
        assert_eq!((meter.latency.min(), meter.latency.max()), (Some(nanos), Some(nanos)));
        assert_eq!(meter.busy.integral(output.end), 1_000 * u128::from(nanos));
    }
    // Overload: each call waits half a second more than the one before.
    let output = run("service_time = \"1500ms\"", 1_000.0);
    assert_eq!(meter(&output, "db").wait.sum(), 500_000_000 * (999 * 1_000 / 2));
    assert_eq!(output.end, SimTime::from_nanos(1_000_000_000 + 1_000 * 1_500_000_000));
}

/// The last of n calls leaves a line of constant servers at gap + sum + (n - 1) max(gap, slowest).
#[test]
fn deterministic_tandem() {
    let times = [300, 1_250, 800, 1_249];
    let mut system = String::from(
        "[traffic.web]\narrivals = { process = \"deterministic\", rate = \"1/s\" }\nentry = \"line\"
         [components.line]\nkind = \"flow\"\nsteps = [\"s0\", \"s1\", \"s2\", \"s3\"]\n",
    );
    for (name, millis) in times.iter().enumerate() {
        system += &format!("[components.s{name}]\nkind = \"service\"\nservice_time = \"{millis}ms\"\n");
    }
    let output = simulate(&parse(&system), &drained(plan(0.0, 500.0)));
    let millis = 1_000 + times.iter().sum::<u64>() + 499 * 1_250;
    assert_eq!(output.end, SimTime::ZERO.checked_add(SimDuration::from_millis(millis)).unwrap());
    assert_eq!(output.conservation.ended, [500, 0, 0, 0, 0]);
}

/// Arrivals and work of the calls of [`poisson`], drawn from the streams that the simulation uses.
fn replay(rate: f64, mean: f64, plan: &RunPlan) -> Vec<(u64, SimTime, u64)> {
    let streams = Streams::new(plan.seed, plan.replication);
    let mut births = streams.stream("web", Purpose::Arrivals);
    let config = ArrivalsConfig::Poisson { rate: format!("{rate}/s").parse().unwrap() };
    let mut process = config.build().unwrap().unwrap();
    let law: Dist = Exponential::with_mean(mean).unwrap().into();
    let service = streams.keyed("db", Purpose::Service);
    let until = SimTime::ZERO.checked_add(plan.duration).unwrap();
    let mut calls = Vec::new();
    let mut now = SimTime::ZERO;
    while let Some(next) = process.next(now, &mut births).filter(|next| *next <= until) {
        let key = stable_hash(b"web").wrapping_add(calls.len() as u64);
        let work = SimDuration::from_secs_f64(law.sample(&mut service.draws(key, 0, 0))).unwrap();
        calls.push((key, next, work.as_nanos()));
        now = next;
    }
    calls
}

/// Lindley (1952) for one server, Kiefer and Wolfowitz (1955) for several: every call ends at the very
/// nanosecond that the recursion says.
#[test]
fn lindley() {
    for (servers, rate) in [(1, 0.9), (3, 2.7)] {
        let system = format!("service_time = {{ exponential = {{ mean = \"1s\" }} }}\nservers = {servers}");
        let plan = drained(plan(0.0, 20_000.0));
        let output = simulate(&parse(&poisson(rate, &system)), &plan);
        let calls = replay(rate, 1.0, &plan);
        let mut free = vec![0; servers];
        let (mut hash, mut waits, mut sojourns) = (0u64, 0, 0);
        for (key, arrival, work) in &calls {
            let arrival = arrival.as_nanos();
            let first = free.iter_mut().min().unwrap();
            let begin = arrival.max(*first);
            *first = begin + work;
            waits += u128::from(begin - arrival);
            sojourns += u128::from(*first - arrival);
            let mut end = Fingerprint::default();
            [*key, Outcome::Ok as u64, u64::MAX, *first].into_iter().for_each(|word| end.word(word));
            hash = hash.wrapping_add(end.value());
        }
        let meter = meter(&output, "db");
        assert_eq!(
            (meter.calls, meter.wait.sum(), meter.latency.sum()),
            (calls.len() as u64, waits, sojourns)
        );
        assert_eq!(output.outcome_hash, hash);
    }
}

fn every_discipline(rate: f64, service: &str, plan: &RunPlan) -> Vec<(&'static str, RunOutput)> {
    let run = |discipline| {
        let classes = "[traffic.web.priority]\nhigh = 0.4\nlow = 0.6\n[components";
        let text = poisson(rate, &format!("{service}\ndiscipline = \"{discipline}\""));
        (discipline, simulate(&parse(&text.replace("[components", classes)), plan))
    };
    DISCIPLINES.into_iter().map(run).collect()
}

/// Who is served next changes nothing about when the server is busy: on one trace the busy time of
/// every window is equal, and so is the end of the last busy period.
#[test]
fn equal_busy_periods() {
    for law in ["{ exponential = { mean = \"1s\" } }", "{ hyperexponential = { mean = \"1s\", cv = 3 } }"] {
        for seed in 0..20 {
            let plan = RunPlan { seed, windows: 5_000, ..drained(plan(0.0, 500.0)) };
            let runs = every_discipline(0.8, &format!("service_time = {law}"), &plan);
            let (_, first) = &runs[0];
            for (discipline, output) in &runs[1..] {
                assert_eq!(output.end, first.end, "{discipline}");
                let busy = |output: &RunOutput| -> Vec<f64> {
                    output.component_windows.chunks(2).map(|row| row[1].busy).collect()
                };
                assert!(busy(output) == busy(first), "{discipline}: a busy period differs");
                let total = |output: &RunOutput| meter(output, "db").busy.integral(output.end);
                assert_eq!(total(output), total(first), "{discipline}");
            }
        }
    }
}

/// The server works exactly as long as the calls need.
#[test]
fn busy_time_is_work() {
    let plan = drained(plan(0.0, 2_000.0));
    let work: u64 = replay(0.8, 1.0, &plan).iter().map(|(_, _, work)| work).sum();
    let service = "service_time = { exponential = { mean = \"1s\" } }";
    for (discipline, output) in every_discipline(0.8, service, &plan) {
        assert_eq!(meter(&output, "db").busy.integral(output.end), u128::from(work), "{discipline}");
    }
}

/// Little's law from empty to empty: the integral of the number in system is the sum of sojourns, and
/// that of the number waiting is the sum of waits (where calls wait once).
#[test]
fn little() {
    for servers in [1, 3] {
        let service = format!(
            "service_time = {{ exponential = {{ mean = \"1s\" }} }}\nservers = {servers}\nqueue_cap = 20"
        );
        for (discipline, output) in
            every_discipline(0.95 * f64::from(servers), &service, &drained(plan(0.0, 5_000.0)))
        {
            let meter = meter(&output, "db");
            let (queue, busy) = (meter.queue.integral(output.end), meter.busy.integral(output.end));
            assert_eq!(queue + busy, meter.latency.sum(), "{discipline}");
            assert!(meter.outcomes[Outcome::Rejected as usize] > 0, "{discipline}");
            if ["fcfs", "lifo", "priority", "sjf"].contains(&discipline) {
                assert_eq!(queue, meter.wait.sum(), "{discipline}");
            }
        }
    }
}
