//! Warm pools: what they save, and what they cost.

use super::*;

/// Two replicas until 600 s and six from then on, each with a cold start of 300 s, for 1200 s.
fn scaled(warm_pool: &str, entries: &str) -> String {
    pool(
        1,
        &format!(
            "service_time = \"10ms\"\nprice_per_hour = \"$1/h\"\ncold_start = {{ node = \"200s\", init = \"100s\" }}\n\
             autoscaler = {{ kind = \"schedule\", entries = [{{ from = \"0s\", replicas = 2 }}, {entries}] }}\n{warm_pool}"
        ),
    )
}

const SIX: &str = "{ from = \"600s\", replicas = 6 }";

fn measure(output: &RunOutput, name: &str) -> f64 {
    db(output).measure(name).unwrap_or_else(|| panic!("no {name}"))
}

/// Replica-seconds that could serve, and dollars of the run.
fn served_and_paid(output: &RunOutput) -> (f64, f64) {
    let end = output.end.as_secs_f64();
    let dollars = output.costs.iter().map(|line| line.usd_per_hour).sum::<f64>() * end / 3600.0;
    (db(output).meter.capacity.integral(output.end) as f64 / 1e9, dollars)
}

fn close(what: &str, measured: f64, expected: f64) {
    println!("{what}: {measured:.4}, expected {expected:.4}");
    // The last replies come some milliseconds after the time that is paid.
    assert!((measured - expected).abs() <= 1e-5 * expected.max(1.0), "{what}: {measured}, not {expected}");
}

/// Four more are wanted at 600 s: without a pool they serve after 300 s, from it after 30 s (stopped), 20 s (hibernated)
/// or at once (running). Prepared ones that are stopped cost their volumes, those that run as much as any.
#[test]
fn a_scale_up_takes_the_short_start_and_the_pool_costs_what_its_state_does() {
    let cold = simulate(&scaled("", SIX), 1200, 1);
    let end = cold.end.as_secs_f64();
    let after = end - 600.0;
    let (served, paid) = served_and_paid(&cold);
    close("cold", served, 2.0 * end + 4.0 * (after - 300.0));
    close("cold, paid", paid, (2.0 * end + 4.0 * after) / 3600.0);
    for (state, start, hourly) in [("stopped", 30.0, 0.1), ("hibernated", 20.0, 0.1), ("running", 0.0, 1.0)] {
        let price = if state == "running" { "" } else { ", price_per_hour = \"$0.1/h\"" };
        let output =
            simulate(&scaled(&format!("warm_pool = {{ pool_state = \"{state}\"{price} }}"), SIX), 1200, 1);
        let (served, paid) = served_and_paid(&output);
        close(state, served, 2.0 * end + 4.0 * (after - start));
        close(&format!("{state}, paid"), paid, (2.0 * end + 4.0 * after + 4.0 * 600.0 * hourly) / 3600.0);
        close("prepared", measure(&output, "warm_mean") * end, 4.0 * 600.0);
        assert_eq!((measure(&output, "warm_starts"), measure(&output, "warmed")), (4.0, 0.0));
    }
}

/// `max_group_prepared_capacity` less what is asked for, and at least `min_size`: of eight, six are prepared; after four
/// of them serve, two stay. With a least of three, one is prepared anew, which is paid in full for its cold start.
#[test]
fn the_pool_is_filled_again_to_its_size() {
    let keys = "max_group_prepared_capacity = 8, price_per_hour = \"$0.1/h\"";
    let output = simulate(&scaled(&format!("warm_pool = {{ {keys} }}"), SIX), 1200, 1);
    let end = output.end.as_secs_f64();
    close("prepared", measure(&output, "warm_mean") * end, 6.0 * 600.0 + 2.0 * (end - 600.0));
    let output = simulate(&scaled(&format!("warm_pool = {{ min_size = 3, {keys} }}"), SIX), 1200, 1);
    let prepared = 6.0 * 600.0 + 2.0 * 300.0 + 3.0 * (end - 900.0);
    close("prepared, at least 3", measure(&output, "warm_mean") * end, prepared);
    assert_eq!(measure(&output, "warmed"), 1.0);
    let paid = (2.0 * end + 4.0 * (end - 600.0) + 300.0 + 0.1 * prepared) / 3600.0;
    close("paid", served_and_paid(&output).1, paid);
}

/// Back to two at 900 s: with `reuse_on_scale_in` four return, without four are prepared anew.
#[test]
fn replicas_return_to_the_pool_where_they_are_used_again() {
    let entries = format!("{SIX}, {{ from = \"900s\", replicas = 2 }}");
    for (reuse, warmed) in [(true, 0.0), (false, 4.0)] {
        let pool = format!("warm_pool = {{ reuse_on_scale_in = {reuse}, price_per_hour = \"$0.1/h\" }}");
        let output = simulate(&scaled(&pool, &entries), 1400, 1);
        let end = output.end.as_secs_f64();
        assert_eq!(measure(&output, "warmed"), warmed, "{reuse}");
        let from = if reuse { 900.0 } else { 1200.0 };
        close("prepared", measure(&output, "warm_mean") * end, 4.0 * 600.0 + 4.0 * (end - from));
    }
}

/// What is stopped cannot be started while there is no stock; what runs is there.
#[test]
fn a_stock_out_leaves_those_that_run() {
    let stock_out = fault("stock_out", "500s", "repair = \"300s\"");
    for (state, start) in [("running", 0.0), ("stopped", 230.0)] {
        let pool = format!("warm_pool = {{ pool_state = \"{state}\" }}\n{stock_out}");
        let output = simulate(&scaled(&pool, SIX), 1200, 1);
        let end = output.end.as_secs_f64();
        close(state, served_and_paid(&output).0, 2.0 * end + 4.0 * (end - 600.0 - start));
    }
}

#[test]
fn mistakes_have_a_place() {
    let path = |text: &str| mistake(&pool(1, text)).path[2..].join(".");
    assert_eq!(path("service_time = \"1s\"\nreplicas = 2\nwarm_pool = {}"), "warm_pool");
    let knative = "service_time = \"1s\"\nautoscaler = { kind = \"knative\" }\nwarm_pool = {}";
    assert_eq!(path(knative), "warm_pool.max_group_prepared_capacity");
    assert_eq!(path(&format!("{knative}\nspot = {{}}")), "warm_pool");
    let running = "service_time = \"1s\"\nautoscaler = { kind = \"hpa\" }\nwarm_pool = { pool_state = \"running\", price_per_hour = \"$1/h\" }";
    assert_eq!(path(running), "warm_pool.price_per_hour");
    let many = "service_time = \"1s\"\nautoscaler = { kind = \"hpa\" }\nwarm_pool = { min_size = 5000 }";
    assert_eq!(path(many), "warm_pool.min_size");
}
