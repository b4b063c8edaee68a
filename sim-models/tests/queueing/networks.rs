//! Several stations: forks and joins, closed loops, feedback.

use std::fmt::Write;

use sim_core::stats::Histogram;
use sim_models::request::Outcome;

use crate::harness::{Row, busy, meter, number, plan, poisson, sojourn, station};

const EXPONENTIAL: &str = "{ exponential = { mean = \"1s\" } }";

/// A flow of one step in parallel, in place of the service `db`.
fn parallel(rate: f64, steps: &[String], services: &str) -> String {
    let names: Vec<String> = steps.iter().map(|name| format!("\"{name}\"")).collect();
    format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\nentry = \"fork\"\n
         [components.fork]\nkind = \"flow\"\nsteps = [{{ parallel = [{}] }}]\n{services}",
        names.join(", ")
    )
}

fn service(name: &str, rest: &str) -> String {
    format!("[components.{name}]\nkind = \"service\"\n{rest}\n")
}

/// Two M/M/1 queues with the same arrivals: R = (12 - rho) / 8 / (1 - rho) (Flatto and Hahn 1984,
/// Nelson and Tantawi 1988).
#[test]
fn fork_join() {
    for (rho, exact, measured) in [(0.5, 2.875, 60_000.0), (0.8, 7.0, 150_000.0), (0.9, 13.875, 200_000.0)] {
        let servers = [
            service("a", &format!("service_time = {EXPONENTIAL}")),
            service("b", &format!("service_time = {EXPONENTIAL}")),
        ];
        let system = parallel(rho, &["a".into(), "b".into()], &servers.concat());
        Row::new(format!("fork-join rho {rho}"), &system, plan(4_000.0, measured))
            .expect("R", exact, 0.05, sojourn("fork"))
            .check();
    }
}

/// Mean square distance from `center`, in seconds.
fn spread(values: &Histogram, center: f64) -> f64 {
    let mut below = 0.0;
    let mut sum = 0.0;
    for point in values.cdf() {
        let distance = point.value as f64 * 1e-9 - center;
        sum += distance * distance * (point.fraction - below);
        below = point.fraction;
    }
    sum
}

/// The last of n exponentials: mean and variance are the harmonic sums of 1/k and 1/k^2.
#[test]
fn barrier() {
    for (n, requests) in [(2, 20_000.0), (4, 15_000.0), (8, 10_000.0), (64, 3_000.0)] {
        let ones = (1..=n).map(f64::from);
        let (mean, variance) = ones.fold((0.0, 0.0), |(m, v), k| (m + 1.0 / k, v + 1.0 / (k * k)));
        let pool = service("pool", &format!("service_time = {EXPONENTIAL}\nservers = 1000000"));
        let steps = vec!["pool".to_owned(); n as usize];
        Row::new(format!("max of {n} Exp(1)"), &parallel(10.0, &steps, &pool), plan(30.0, requests / 10.0))
            .expect("mean", mean, 0.02, sojourn("fork"))
            .expect("var", variance, 0.04, |output| spread(&meter(output, "fork").latency, mean))
            .check();
    }
}

/// N users think and queue at one server.
#[test]
fn machine_repair() {
    for (users, [throughput, response, calls]) in
        [(10, [0.785418, 2.732079, 2.145823]), (20, [0.998131, 10.037451, 10.018690])]
    {
        let arrivals = format!(
            "process = \"closed_loop\", users = {users}, think = {{ exponential = {{ mean = \"10s\" }} }}"
        );
        let system = station(&arrivals, &format!("service_time = {EXPONENTIAL}"));
        let measured = 50_000.0;
        Row::new(format!("machine repair N {users}"), &system, plan(1_000.0, measured))
            .expect("X", throughput, 0.02, |output| {
                meter(output, "db").outcomes[Outcome::Ok as usize] as f64 / measured
            })
            .expect("U", throughput, 0.02, busy("db"))
            .expect("R", response, 0.02, sojourn("db"))
            .expect("L", calls, 0.02, number("db"))
            .check();
    }
}

/// Mean value analysis (Reiser and Lavenberg 1980) of stations in sequence.
#[test]
fn closed_networks() {
    let names = ["s1", "s2", "s3", "s4"];
    for (users, think, demands, throughput, response, queues, measured) in [
        (20, 1.0, vec![0.05, 0.08, 0.04], 11.897433, 0.681035, vec![1.373105, 5.850275, 0.879187], 5_000.0),
        (8, 0.0, vec![1.0; 4], 0.727273, 11.0, vec![2.0; 4], 40_000.0),
        (10, 5.0, vec![0.2, 0.5], 1.520056, 1.578706, vec![0.417292, 1.982430], 15_000.0),
    ] {
        let think = match think {
            0.0 => "\"0s\"".to_owned(),
            mean => format!("{{ exponential = {{ mean = \"{mean}s\" }} }}"),
        };
        let steps: Vec<String> = names[..demands.len()].iter().map(|name| format!("\"{name}\"")).collect();
        let mut system = format!(
            "[traffic.web]\narrivals = {{ process = \"closed_loop\", users = {users}, think = {think} }}
             entry = \"tour\"\n[components.tour]\nkind = \"flow\"\nsteps = [{}]\n",
            steps.join(", ")
        );
        for (name, demand) in names.iter().zip(&demands) {
            let law = format!("service_time = {{ exponential = {{ mean = \"{demand}s\" }} }}");
            system += &service(name, &law);
        }
        let mut row =
            Row::new(format!("MVA {} stations N {users}", demands.len()), &system, plan(500.0, measured))
                .expect("X", throughput, 0.02, |output| {
                    meter(output, "tour").outcomes[Outcome::Ok as usize] as f64 / measured
                })
                .expect("R", response, 0.02, sojourn("tour"));
        for (name, queue) in names.into_iter().zip(queues) {
            row = row.expect(name, queue, 0.04, number(name));
        }
        row.check();
    }
}

/// Two stations, and after the second back to the first with probability 0.2. A request's number of
/// rounds is geometric; its class stands for it, drawn at birth.
#[test]
fn feedback() {
    const ROUNDS: i32 = 10;
    let mut shares = String::new();
    let mut steps = String::new();
    let mut left = 1.0;
    for round in 1..=ROUNDS {
        let ends = if round == ROUNDS { left } else { 0.8 * left };
        writeln!(shares, "r{round} = {ends}").unwrap();
        left -= ends;
        let classes: Vec<String> = (round..=ROUNDS).map(|round| format!("\"r{round}\"")).collect();
        for name in ["first", "second"] {
            writeln!(steps, "{{ call = \"{name}\", classes = [{}] }},", classes.join(", ")).unwrap();
        }
    }
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"0.6/s\" }}\nentry = \"rounds\"
         [traffic.web.priority]\n{shares}[components.rounds]\nkind = \"flow\"\nsteps = [{steps}]\n{}{}",
        service("first", &format!("service_time = {EXPONENTIAL}")),
        service("second", "service_time = { exponential = { mean = \"800ms\" } }")
    );
    Row::new("Jackson feedback p 0.2", &system, plan(2_000.0, 200_000.0))
        .expect("L1", 3.0, 0.02, number("first"))
        .expect("L2", 1.5, 0.02, number("second"))
        .expect("W", 7.5, 0.02, sojourn("rounds"))
        .check();
}

/// An open tandem is a product form: what leaves an M/M/1 is Poisson again (Burke 1956).
#[test]
fn tandem() {
    let system = poisson(0.5, "service_time = \"0s\"").replace("entry = \"db\"", "entry = \"both\"")
        + "[components.both]\nkind = \"flow\"\nsteps = [\"one\", \"two\", \"db\"]\n"
        + &service("one", &format!("service_time = {EXPONENTIAL}"))
        + &service("two", &format!("service_time = {EXPONENTIAL}"));
    Row::new("M/M/1 tandem rho 0.5", &system, plan(500.0, 80_000.0))
        .expect("L one", 1.0, 0.02, number("one"))
        .expect("L two", 1.0, 0.02, number("two"))
        .expect("W", 4.0, 0.02, sojourn("both"))
        .check();
}
