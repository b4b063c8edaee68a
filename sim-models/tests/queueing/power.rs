//! The suite can tell: a service one percent too long or too short is rejected.

use crate::harness::{Row, plan, poisson, sojourn, wait};

#[test]
fn one_percent_is_noticed() {
    for mean in ["990ms", "1010ms"] {
        let exponential = format!("service_time = {{ exponential = {{ mean = \"{mean}\" }} }}");
        let constant = format!("service_time = \"{mean}\"");
        for (name, rho, service, wait_exact, measured) in [
            ("M/M/1", 0.5, &exponential, 1.0, 120_000.0),
            ("M/M/1", 0.8, &exponential, 4.0, 250_000.0),
            ("M/D/1", 0.5, &constant, 0.5, 70_000.0),
            ("M/D/1", 0.8, &constant, 2.0, 120_000.0),
        ] {
            // As long as in the suite.
            let row = Row::new(
                format!("{name} rho {rho} service {mean}"),
                &poisson(rho, service),
                plan(1_500.0, measured),
            )
            .expect("Wq", wait_exact, 0.02, wait("db"))
            .expect("W", 1.0 + wait_exact, 0.02, sojourn("db"));
            let rejected = row.measure().iter().all(|measured| measured.z.abs() > 4.0);
            assert!(rejected, "{name} rho {rho}: a service of {mean} passes for 1 s");
        }
    }
}
