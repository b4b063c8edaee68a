//! First come, first served, without a bound on the queue.

use crate::harness::{
    Row, number, plan, poisson, queue, sojourn, sojourn_beyond, station, wait, wait_beyond,
};

/// Mean 1 s and the squared coefficient of variation.
const LAWS: [(&str, &str, f64); 5] = [
    ("M/D/1", "\"1s\"", 0.0),
    ("M/E4/1", "{ erlang = { mean = \"1s\", k = 4 } }", 0.25),
    ("M/E2/1", "{ erlang = { mean = \"1s\", k = 2 } }", 0.5),
    ("M/LogN/1", "{ lognormal = { mean = \"1s\", cv = 1.4142135623730951 } }", 2.0),
    ("M/H2/1", "{ hyperexponential = { mean = \"1s\", cv = 2 } }", 4.0),
];

const EXPONENTIAL: &str = "service_time = { exponential = { mean = \"1s\" } }";

/// The wait exceeds x with probability rho exp(-(1 - rho) x), the sojourn with exp(-(1 - rho) x).
#[test]
fn mm1() {
    for (rho, warmup, measured, precision) in [
        (0.5, 300.0, 120_000.0, 0.025),
        (0.8, 1_500.0, 250_000.0, 0.03),
        (0.9, 4_000.0, 500_000.0, 0.04),
        (0.95, 16_000.0, 900_000.0, 0.05),
    ] {
        let (p99, wait_p99) = (-libm::log(0.01) / (1.0 - rho), -libm::log(0.01 / rho) / (1.0 - rho));
        Row::new(format!("M/M/1 rho {rho}"), &poisson(rho, EXPONENTIAL), plan(warmup, measured))
            .expect("Wq", rho / (1.0 - rho), precision, wait("db"))
            .expect("W", 1.0 / (1.0 - rho), precision, sojourn("db"))
            .expect("L", rho / (1.0 - rho), precision, number("db"))
            .expect("P(W>p99)", 0.01, 0.3, sojourn_beyond(p99))
            .expect("P(Wq>p99)", 0.01, 0.3, wait_beyond(wait_p99))
            .check();
    }
}

/// The mean wait does not depend on the order of service, as long as that does not look at the work.
#[test]
fn last_come_first_served_waits_as_long_on_average() {
    let service = format!("{EXPONENTIAL}\ndiscipline = \"lifo\"");
    Row::new("M/M/1 LIFO rho 0.5", &poisson(0.5, &service), plan(300.0, 150_000.0))
        .expect("Wq", 1.0, 0.02, wait("db"))
        .expect("W", 2.0, 0.02, sojourn("db"))
        .check();
}

/// Pollaczek and Khinchine: Wq = rho (1 + scv) / (2 (1 - rho)) with a mean service of 1.
#[test]
fn mg1() {
    for (rho, warmup, measured, narrow, wide) in [
        (0.5, 500.0, 70_000.0, 0.025, 0.05),
        (0.8, 2_000.0, 120_000.0, 0.025, 0.05),
        (0.9, 6_000.0, 250_000.0, 0.04, 0.08),
    ] {
        for (name, law, scv) in LAWS {
            // The spread of the mean grows with that of the law.
            let measured = measured * (1.0 + scv).sqrt();
            let wait_exact = rho * (1.0 + scv) / (2.0 * (1.0 - rho));
            let system = poisson(rho, &format!("service_time = {law}"));
            let precision = if scv > 1.0 { wide } else { narrow };
            Row::new(format!("{name} rho {rho}"), &system, plan(warmup, measured))
                .expect("Wq", wait_exact, precision, wait("db"))
                .expect("W", 1.0 + wait_exact, precision, sojourn("db"))
                .expect("L", rho * (1.0 + wait_exact), precision, number("db"))
                .check();
        }
    }
}

/// Quantiles of the wait by the closed form of Erlang (1909).
#[test]
fn md1_quantiles() {
    for (rho, measured, [p50, p95, p99]) in [
        (0.5, 60_000.0, [0.0, 2.050638, 3.336256]),
        (0.8, 120_000.0, [1.275940, 6.620325, 10.355887]),
        (0.9, 250_000.0, [3.013048, 14.128674, 21.898237]),
    ] {
        let system = poisson(rho, "service_time = \"1s\"");
        Row::new(format!("M/D/1 rho {rho}"), &system, plan(3_000.0, measured))
            .expect("Wq", rho / (2.0 * (1.0 - rho)), 0.03, wait("db"))
            .expect("P(Wq>p50)", 0.5, 0.02, wait_beyond(p50))
            .expect("P(Wq>p95)", 0.05, 0.1, wait_beyond(p95))
            .expect("P(Wq>p99)", 0.01, 0.3, wait_beyond(p99))
            .check();
    }
}

/// An arrival finds the server busy with probability sigma, the root of sigma = exp(-(1 - sigma) /
/// rho); it waits sigma / (1 - sigma) on average.
#[test]
fn dm1() {
    for (rho, sigma, p99, measured) in [
        (0.5, 0.203188, 5.779493, 70_000.0),
        (0.8, 0.628630, 12.400484, 80_000.0),
        (0.9, 0.806900, 23.848608, 200_000.0),
    ] {
        let system = station(&format!("process = \"deterministic\", rate = \"{rho}/s\""), EXPONENTIAL);
        Row::new(format!("D/M/1 rho {rho}"), &system, plan(3_000.0, measured))
            .expect("P(Wq>0)", sigma, 0.02, wait_beyond(0.0))
            .expect("Wq", sigma / (1.0 - sigma), 0.04, wait("db"))
            .expect("W", 1.0 / (1.0 - sigma), 0.03, sojourn("db"))
            .expect("P(W>p99)", 0.01, 0.3, sojourn_beyond(p99))
            .check();
    }
}

/// Erlang C.
#[test]
fn mmc() {
    for (servers, rate, [busy, waits, waiting, p99], measured, precision) in [
        (2, 1.8, [0.852632, 4.263158, 7.673684, 22.228712], 180_000.0, 0.05),
        (4, 3.6, [0.787753, 1.969383, 7.089779, 10.916500], 80_000.0, 0.05),
        (8, 7.2, [0.701533, 0.876916, 6.313797, 5.313354], 40_000.0, 0.06),
        (100, 95.0, [0.506457, 0.101291, 9.622680, 0.784971], 3_500.0, 0.12),
    ] {
        let system = poisson(rate, &format!("{EXPONENTIAL}\nservers = {servers}"));
        Row::new(
            format!("M/M/{servers} rho {}", rate / f64::from(servers)),
            &system,
            plan(measured / 50.0, measured),
        )
        .expect("P(Wq>0)", busy, 0.04, wait_beyond(0.0))
        .expect("Wq", waits, precision, wait("db"))
        .expect("W", 1.0 + waits, 0.04, sojourn("db"))
        .expect("Lq", waiting, precision, queue("db"))
        .expect("P(Wq>p99)", 0.01, 0.5, wait_beyond(p99))
        .check();
    }
}
