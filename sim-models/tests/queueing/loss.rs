//! Bounded queues, none at all, and servers for everybody.

use sim_models::request::Outcome;
use sim_models::system::RunOutput;

use crate::harness::{Row, busy, meter, number, plan, poisson};

const EXPONENTIAL: &str = "{ exponential = { mean = \"1s\" } }";
const CONSTANT: &str = "\"1s\"";

fn blocked(output: &RunOutput) -> f64 {
    let meter = meter(output, "db");
    meter.outcomes[Outcome::Rejected as usize] as f64 / meter.calls as f64
}

/// Erlang B holds for any law of the same mean.
#[test]
fn erlang_b() {
    for (load, servers, blocking, calls) in [
        (5.0, 8, 0.070048, 4.649761),
        (10.0, 10, 0.214582, 7.854177),
        (95.0, 100, 0.048804, 90.363600),
        (0.9, 1, 0.473684, 0.473684),
    ] {
        for (name, law) in [("exp", EXPONENTIAL), ("det", CONSTANT)] {
            let service = format!("service_time = {law}\nservers = {servers}\nqueue_cap = 0");
            let measured = f64::max(30_000.0 / load, 700.0);
            Row::new(
                format!("Erlang B a {load} c {servers} {name}"),
                &poisson(load, &service),
                plan(100.0, measured),
            )
            .expect("B", blocking, 0.06, blocked)
            .expect("N", calls, 0.02, busy("db"))
            .check();
        }
    }
}

#[test]
fn mm1k() {
    for (rate, places, [blocking, calls, sojourn, throughput]) in [
        (0.9, 10, [0.050814, 3.969441, 4.646601, 0.854268]),
        (1.2, 10, [0.192586, 6.710709, 6.926138, 0.968896]),
        (0.5, 5, [0.015873, 0.904762, 1.838710, 0.492063]),
    ] {
        let service = format!("service_time = {EXPONENTIAL}\nqueue_cap = {}", places - 1);
        let measured = 60_000.0;
        let served = |output: &RunOutput| meter(output, "db").outcomes[Outcome::Ok as usize] as f64;
        Row::new(format!("M/M/1/{places} rho {rate}"), &poisson(rate, &service), plan(1_000.0, measured))
            .expect("P block", blocking, 0.08, blocked)
            .expect("L", calls, 0.02, number("db"))
            // Rejections take no time.
            .expect("W", sojourn, 0.02, |output| {
                meter(output, "db").latency.sum() as f64 * 1e-9 / served(output)
            })
            .expect("X", throughput, 0.02, |output| served(output) / measured)
            .check();
    }
}

/// The number in service of an infinite server is Poisson, whatever the law.
#[test]
fn mg_infinity() {
    for (load, measured) in [(2.0, 15_000.0), (20.0, 4_000.0)] {
        for (name, law) in [("exp", EXPONENTIAL), ("det", CONSTANT)] {
            let service = format!("service_time = {law}\nservers = 1000000");
            // Looked at every 4 s, when what was there before has nearly always gone.
            let mut plan = plan(100.0, measured);
            plan.windows = ((measured + 100.0) / 4.0) as u32;
            let looks = |output: &RunOutput, of: &dyn Fn(f64) -> f64| {
                // Sources and components take turns: `web`, `db`.
                let rows = output.windows.iter().zip(output.component_windows.chunks(2));
                let measured = rows.filter(|(window, _)| window.start >= output.measured_from);
                let values: Vec<f64> = measured.map(|(_, row)| of(row[1].signals.busy as f64)).collect();
                values.iter().sum::<f64>() / values.len() as f64
            };
            let mut row = Row::new(format!("M/G/inf a {load} {name}"), &poisson(load, &service), plan)
                .expect("N", load, 0.02, busy("db"))
                .expect("var N", load, 0.06, |output| looks(output, &|n| (n - load) * (n - load)));
            if load < 10.0 {
                let empty = libm::exp(-load);
                row = row.expect("P(N=0)", empty, 0.04, |output| looks(output, &|n| f64::from(n == 0.0)));
            }
            row.check();
        }
    }
}
