//! A noisy neighbour, shares by weight, and DAGOR's priorities.

use super::{measure, plan, simulate_with};
use crate::request::Outcome;
use crate::system::RunOutput;

/// Ten servers of 100 rps together, with a queue of 50 places and callers that wait for a second.
fn service(rate: f64, traffic: &str, settings: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}\nentry = \"db\"\n{traffic}\n\
         [links.\"web -> db\"]\ntimeout = \"1s\"\n\
         [components.db]\nkind = \"service\"\nservers = 10\n\
         service_time = {{ exponential = {{ mean = \"100ms\" }} }}\n{settings}\n"
    )
}

/// Share of the requests of a tenant (or class) that were answered.
fn answered(output: &RunOutput, index: usize) -> f64 {
    let meter = &output.requests[index];
    meter.outcomes[Outcome::Ok as usize] as f64 / meter.born as f64
}

fn p99(output: &RunOutput, index: usize) -> f64 {
    output.requests[index].latency.quantile(0.99).unwrap() as f64 * 1e-9
}

/// The quiet tenant sends 30 rps, the noisy one 470: without isolation both lose four of five requests; with
/// it the quiet one, which has a right to 50 rps, loses none.
#[test]
fn fair_queueing_contains_a_noisy_tenant() {
    let traffic = "tenants = { quiet = 0.06, noisy = 0.94 }";
    let run = |settings: &str| simulate_with(&service(500.0, traffic, settings), &plan(20, 320));
    let output = run("queue_cap = 50");
    let shared = [0, 1].map(|tenant| answered(&output, tenant));
    println!("shared queue: {shared:?}");
    assert!((shared[0] - 0.2).abs() < 0.02 && (shared[1] - 0.2).abs() < 0.02);

    let output = run("queue_cap = 50\ndiscipline = \"fair\"\nadmission = { push_out = true }");
    let fair = [0, 1].map(|tenant| answered(&output, tenant));
    println!("fair queueing: {fair:?}, p99 {} and {}", p99(&output, 0), p99(&output, 1));
    assert!(fair[0] > 0.999, "{fair:?}");
    // The noisy one gets the rest, less what its own long line lets time out.
    assert!((60.0..71.0).contains(&(fair[1] * 470.0)), "{fair:?}");
    assert!(p99(&output, 0) < 0.6);

    // A fair order does not help who finds no place: the noisy tenant has filled the queue.
    let output = run("queue_cap = 50\ndiscipline = \"fair\"");
    assert!(answered(&output, 0) < 0.5, "{}", answered(&output, 0));

    // A rate limit for each tenant contains it too.
    let output = run("queue_cap = 50\nadmission = { rate_limit = { rate = \"50/s\", per = \"tenant\" } }");
    assert!(answered(&output, 0) > 0.99, "{}", answered(&output, 0));
}

#[test]
fn saturated_shares_are_as_the_weights() {
    let traffic = "tenants = { a = 0.4, b = 0.3, c = 0.3 }";
    let fair = "discipline = \"fair\"";
    let weights = "fair = { weights = { b = 2, c = 5 } }";
    let check = |output: &RunOutput| {
        let served: Vec<f64> =
            output.requests.iter().map(|meter| meter.outcomes[Outcome::Ok as usize] as f64).collect();
        let all: f64 = served.iter().sum();
        for (served, weight) in served.iter().zip([1.0, 2.0, 5.0]) {
            let share = served / all * 8.0 / weight;
            println!("weight {weight}: {share:.4} of its share");
            assert!((share - 1.0).abs() < 0.03, "{weight}: {share}");
        }
        assert!(all / output.measured().as_secs_f64() > 97.0);
    };
    let settings = format!("queue_cap = 60\n{fair}\n{weights}\nadmission = {{ push_out = true }}");
    let text = service(600.0, traffic, &settings).replace("\"1s\"", "\"1h\"");
    check(&simulate_with(&text, &plan(20, 320)));
    // The same by calls in front of another component.
    let in_front = format!(
        "[components.edge]\nkind = \"flow\"\nsteps = [\"db\"]\n\
         admission = {{ concurrency = {{ fixed = 10 }}, max_queue = 60, push_out = true, {fair}, {weights} }}\n"
    );
    let text = service(600.0, traffic, &in_front).replace("entry = \"db\"", "entry = \"edge\"");
    let text = text.replace("web -> db", "web -> edge").replace("\"1s\"", "\"1h\"");
    check(&simulate_with(&text, &plan(20, 320)));
}

/// Where everybody stays within capacity, fair queueing takes nothing from anybody.
#[test]
fn fair_queueing_conserves_work() {
    let traffic = "tenants = { a = 0.5, b = 0.5 }";
    let busy = |settings: &str| {
        let output =
            simulate_with(&service(80.0, traffic, settings).replace("\"1s\"", "\"1h\""), &plan(0, 200));
        let db = output.components.iter().find(|component| component.name == "db").unwrap();
        (output.conservation.ended, db.meter.busy.integral(output.end))
    };
    assert_eq!(busy(""), busy("discipline = \"fair\""));
    assert_eq!(busy(""), busy("discipline = \"adaptive_lifo\"\nlifo_threshold = 5"));
}

/// Ten servers of 1,000 rps, callers that wait for half a second and a line that drops those who have gone.
/// Without DAGOR the line always stands at half a second, and nearly all work is for nobody.
#[test]
fn dagor_holds_goodput() {
    let text = |load: f64, dagor: &str| {
        let classes = "priority = { pay = 0.1, chat = 0.4, feed = 0.5 }";
        let settings = format!("admission = {{ drop_expired = true{dagor} }}");
        let text = service(1000.0 * load, classes, &settings);
        text.replace("\"1s\"", "\"500ms\"").replace("\"100ms\"", "\"10ms\"")
    };
    let goodput = |output: &RunOutput| {
        let ok: u64 = output.requests.iter().map(|meter| meter.outcomes[Outcome::Ok as usize]).sum();
        ok as f64 / output.measured().as_secs_f64()
    };
    for load in [0.8, 3.0, 10.0] {
        let without = simulate_with(&text(load, ""), &plan(60, 120));
        let with = simulate_with(&text(load, ", dagor = {}"), &plan(60, 120));
        let by_class: Vec<f64> = (0..3).map(|class| answered(&with, class)).collect();
        println!(
            "{load}x: {:.1} rps without, {:.1} with; {by_class:.3?}; refused {}",
            goodput(&without),
            goodput(&with),
            measure(&with, "db", "refused_dagor")
        );
        if load < 1.0 {
            assert!(goodput(&with) > 0.97 * goodput(&without));
            continue;
        }
        assert!(goodput(&without) < 200.0);
        assert!(goodput(&with) > 900.0, "{load}");
        // The most important first: all of it where it fits.
        assert!(by_class[0] > if load < 5.0 { 0.99 } else { 0.85 }, "{load}: {by_class:?}");
        assert!(by_class[2] < 0.02, "{load}: {by_class:?}");
    }
}
