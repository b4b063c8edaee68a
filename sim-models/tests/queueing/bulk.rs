//! Service of whole batches.

use crate::harness::{Row, meter, plan, queue, sojourn, wait};

/// M/M(1,b)/1: an idle server takes whoever comes first, alone; then up to `b` of those who wait, at
/// once, for one exponential time whatever their number. The number who wait while it is busy is
/// geometric: P(n) = P(0) r^n with r the root in (0, 1) of `mu r^(b+1) - (lambda + mu) r + lambda`.
#[test]
fn bulk_service() {
    for (batch, rate, [idle, waiting, waits], measured, precision) in [
        (4, 3.0, [0.035934, 7.657496, 2.552499], 60_000.0, 0.04),
        (8, 7.2, [0.003248, 41.485943, 5.761937], 70_000.0, 0.06),
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
            .expect("P(idle)", idle, 0.2, |output| 1.0 - meter(output, "db").busy.mean(output.end))
            .check();
    }
}
