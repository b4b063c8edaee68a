//! Service of whole batches.

use crate::harness::{Row, meter, number, plan, queue, sojourn, station, wait};

/// M/M(1,b)/1: an idle server takes whoever comes first, alone; then up to `b` of those who wait, at
/// once, for one exponential time whatever their number. The number who wait while it is busy is
/// geometric: P(n) = P(0) r^n with r the root in (0, 1) of `mu r^(b+1) - (lambda + mu) r + lambda`.
#[test]
fn bulk_service() {
    for (batch, rate, [idle, waiting, waits], measured, [rare, precision]) in [
        (4, 3.0, [0.035934, 7.657496, 2.552499], 60_000.0, [0.2, 0.04]),
        (8, 7.2, [0.003248, 41.485943, 5.761937], 70_000.0, [0.2, 0.06]),
        // Idle 0.02% of the time, in a few spells of a run.
        (32, 28.8, [0.000225, 153.444756, 5.327943], 10_000.0, [0.7, 0.18]),
    ] {
        let system = format!(
            "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\nentry = \"db\"\n
             [components.db]\nkind = \"model_server\"\nbatching = \"dynamic\"\nmax_batch_size = {batch}\n
             execution = {{ fixed = {{ exponential = {{ mean = \"1s\" }} }} }}\n"
        );
        Row::new(format!("M/M(1,{batch})/1 rate {rate}"), &system, plan(3_000.0, measured))
            .expect("Lq", waiting, precision, queue("db"))
            .expect("Wq", waits, precision, wait("db"))
            .expect("W", 1.0 + waits, precision, sojourn("db"))
            .expect("P(idle)", idle, rare, |output| 1.0 - meter(output, "db").busy.mean(output.end))
            .check();
    }
}

/// M[X]/M/1 with batches of X: `L = rho (1 + X) / 2 / (1 - rho)`, and W by Little's law.
#[test]
fn batch_arrivals() {
    let service = "servers = 1\nservice_time = { exponential = { mean = \"1s\" } }";
    for (size, [present, sojourns], precision) in [(4, [10.0, 12.5], 0.08), (8, [18.0, 22.5], 0.1)] {
        let arrivals = format!("process = \"batch\", rate = \"0.8/s\", size = {size}");
        let system = station(&arrivals, service);
        Row::new(format!("M[{size}]/M/1"), &system, plan(2_000.0, 60_000.0))
            .expect("L", present, precision, number("db"))
            .expect("W", sojourns, precision, sojourn("db"))
            .check();
    }
}
