//! What dead replicas do to a pool, and what health checks make of it.

use sim_models::request::Outcome;
use sim_models::system::{RunOutput, RunPlan};

use super::{component, poisson, pool, seconds, simulate};

/// Ten replicas with `servers` servers each, 80% busy with services of 1 s, of which `dead` crash at 200 s.
fn system(servers: u32, balancer: &str, health: &str, dead: u32) -> String {
    let service = format!(
        "service_time = {{ exponential = {{ mean = \"1s\" }} }}\nservers = {servers}\nreplicas = 10\n\
         balancer = \"{balancer}\"\nhealth = {health}\n\
         [[fault]]\ntarget = \"db\"\nkind = \"crash\"\nat = \"200s\"\nreplicas = {dead}"
    );
    poisson(8.0 * f64::from(servers), &service)
}

/// From so many seconds on for so many seconds.
fn plan(from: f64, length: f64) -> RunPlan {
    RunPlan { duration: seconds(from + length), warmup: seconds(from), windows: 1, ..RunPlan::default() }
}

/// Share of the calls that failed or were rejected.
fn lost(output: &RunOutput) -> f64 {
    let outcomes = component(output, "db").meter.outcomes;
    let lost = outcomes[Outcome::Failed as usize] + outcomes[Outcome::Rejected as usize];
    lost as f64 / outcomes.iter().sum::<u64>() as f64
}

/// The mean over five seeds of what is lost from 300 s to 800 s.
fn lost_after(system: &str) -> f64 {
    let of = |seed| lost(&simulate(system, &RunPlan { seed, ..plan(300.0, 500.0) }));
    (1..=5).map(of).sum::<f64>() / 5.0
}

fn assert_close(what: &str, measured: f64, expected: f64, tolerance: f64) {
    println!("{what:60} {measured:6.4} expected {expected:6.4}");
    assert!((measured - expected).abs() <= tolerance, "{what}: {measured} instead of {expected}");
}

/// A crashed replica refuses at once, so that it never holds a call. Who looks for the fewest calls finds
/// it.
///
/// - Round robin and random do not look: 1 in 10.
/// - Envoy's least request looks at two draws of ten with replacement: 1 - 0.9^2; two different ones: 2/10.
///   Neither can be a worse hole than that, however idle the dead one looks.
/// - Join the shortest queue finds it whenever no other replica is idle. With one server each, let p be the
///   share served: the nine others are idle 9 - 8 p of the time between them, and (1 - p)(10 - 8 p) = 1
///   if their number hardly varied; 8 p^2 - 18 p + 9 = 0 gives p = 0.75.
/// - With 32 servers each, an idle replica is rare at 80% load, and once it has a call it gets no other:
///   each of the nine serves about one call a second of 256, and nearly all fail.
#[test]
fn a_dead_replica_is_a_black_hole_under_least_request() {
    for (servers, balancer, expected, tolerance) in [
        (1, "round_robin", 0.1, 0.001),
        (1, "random", 0.1, 0.01),
        (32, "least_request", 0.19, 0.005),
        (32, "power_of_two", 0.2, 0.005),
        (1, "join_shortest_queue", 0.25, 0.06),
        (32, "join_shortest_queue", 0.965, 0.02),
    ] {
        let lost = lost_after(&system(servers, balancer, "\"none\"", 1));
        assert_close(&format!("{balancer}, {servers} servers, 1 of 10 dead"), lost, expected, tolerance);
    }
    // The closed form of the last row: the rate of the nine over that of all calls.
    assert_close("nine calls a second of 256", 1.0 - 9.0 / 256.0, 0.965, 0.001);
}

/// Ejected after five failures in a row, for 30 s, 60 s, ... from sweep to sweep: six ejections in 600 s
/// with up to 300 s each, and five failures before each.
#[test]
fn ejection_closes_the_hole() {
    for (servers, balancer) in [(32, "join_shortest_queue"), (32, "least_request"), (1, "round_robin")] {
        let system = system(servers, balancer, "{ outlier_detection = {} }", 1);
        let output = simulate(&system, &plan(190.0, 610.0));
        let refused = pool(&output).replicas[0].refused;
        println!("{balancer:20} refused {refused}, ejections {}", pool(&output).ejections);
        assert!((5..=6).contains(&pool(&output).ejections));
        // What was in it, and those it refused.
        let in_it = component(&output, "db").meter.outcomes[Outcome::Failed as usize] - refused;
        assert!(in_it <= u64::from(servers) * 2 + 10, "{in_it}");
        assert!((20..=30).contains(&refused), "{refused}");
        assert!(lost(&output) < 0.015, "{}", lost(&output));
    }
}

/// A tenth fails until the probes have found out, 20 s to 30 s, and nothing after.
#[test]
fn probes_close_the_hole() {
    let mut of_tenth = 0.0;
    for seed in 1..=20 {
        let system = system(8, "round_robin", "\"kubernetes\"", 1);
        let output = simulate(&system, &RunPlan { seed, ..plan(200.0, 19.0) });
        of_tenth += lost(&output) / 20.0;
        let after = simulate(&system, &RunPlan { seed, ..plan(231.0, 100.0) });
        assert_eq!(lost(&after), 0.0);
        assert_eq!(pool(&after).replicas[0].available, 0.0);
    }
    // Besides what was in it.
    assert_close(
        "a tenth, before the probes have found out",
        of_tenth,
        0.1 + 0.8 * 8.0 / (64.0 * 19.0),
        0.003,
    );
}

/// Six of ten are dead. Envoy's default is to send to all in a panic.
#[test]
fn panic_sends_calls_to_the_dead() {
    let health = |panic: &str| format!("{{ active = {{ interval = \"3s\" }}, {panic} }}");
    let panic_on = system(8, "random", &health("panic_threshold = 0.5"), 6);
    assert_close("panic at 50%, 6 of 10 dead", lost_after(&panic_on), 0.6, 0.006);
    let output = simulate(&panic_on, &plan(300.0, 100.0));
    assert_eq!(pool(&output).panic, 1.0);
    let fail_closed = system(8, "random", &health("fail_traffic_on_panic = true"), 6);
    assert_close("fail closed, 6 of 10 dead", lost_after(&fail_closed), 1.0, 0.0);
    // At the threshold nobody panics.
    let five = system(8, "random", &health("panic_threshold = 0.5"), 5);
    assert_eq!(pool(&simulate(&five, &plan(300.0, 100.0))).panic, 0.0);
}

/// With panic off four replicas get the load of ten: 2.5 times 0.8, twice what they can serve.
#[test]
fn without_panic_the_rest_collapses() {
    let system = system(8, "random", "{ active = { interval = \"3s\" }, panic_threshold = 0 }", 6);
    let output = simulate(&system, &plan(300.0, 500.0));
    let meter = &component(&output, "db").meter;
    let per_second = meter.calls as f64 / 500.0;
    assert_close("calls a second", per_second, 64.0, 1.0);
    let served = meter.outcomes[Outcome::Ok as usize] as f64 / 500.0;
    assert_close("served a second by four with 8 servers", served, 32.0, 1.0);
    let each: Vec<f64> = pool(&output).replicas.iter().map(|r| r.calls as f64 / 500.0).collect();
    for (replica, rate) in each.iter().enumerate() {
        let expected = if replica < 6 { 0.0 } else { 2.5 * 6.4 };
        assert_close("calls a second of a replica", *rate, expected, 0.7);
    }
    // The queue grows by 32 a second from 200 s on, and the wait with it.
    assert!(meter.queue.level() > 15_000, "{}", meter.queue.level());
    assert_eq!(lost(&output), 0.0);
    // With a queue cap half is refused.
    let capped = system.replace("servers = 8", "servers = 8\nqueue_cap = 10");
    assert_close("with a queue cap", lost_after(&capped), 0.5, 0.01);
}
