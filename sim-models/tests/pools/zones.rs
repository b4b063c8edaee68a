//! Replicas in zones, and a zone that is lost.

use sim_models::request::Outcome;
use sim_models::system::{RunPlan, SystemConfig, Traces, build};

use super::{component, pool, seconds, simulate};

/// Six replicas of ten servers each, in three zones in turn, with services of 1 s: 60 calls a second.
fn system(rate: u32, more: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"{rate}/s\" }}\nentry = \"db\"\n
         [components.db]\nkind = \"service\"\nservice_time = \"1s\"\nservers = 10\nreplicas = 6\nqueue_cap = 0\n\
         [placement]\ndb = [\"a\", \"b\", \"c\"]\n{more}\n"
    )
}

fn lost(zone: &str, more: &str) -> String {
    format!("[[fault]]\nkind = \"zone_loss\"\ntarget = \"{zone}\"\nat = \"20s\"\n{more}\n")
}

/// Answers a second from 100 s to 200 s, long after the health checks know of it.
fn goodput(system: &str) -> f64 {
    let plan = RunPlan { duration: seconds(200.0), warmup: seconds(100.0), ..RunPlan::default() };
    component(&simulate(system, &plan), "db").meter.outcomes[Outcome::Ok as usize] as f64 / 100.0
}

/// With N + 1 zones, two of three carry all: up to 40 calls a second. Above, ten of the calls
/// that come to a replica while it works on one, 45 / 4 or 59 / 4 rounded up, are answered, and the rest is rejected.
#[test]
fn two_of_three_zones_carry_what_they_are_sized_for() {
    for (rate, expected) in [(38, 38.0), (45, 45.0 * 10.0 / 12.0), (59, 59.0 * 10.0 / 15.0)] {
        let measured = goodput(&system(rate, &lost("b", "")));
        println!("{rate}/s with a zone lost: {measured:.2}, expected {expected}");
        assert!((measured - expected).abs() <= 0.01 * expected, "{rate}: {measured}");
        assert!((goodput(&system(rate, "")) - f64::from(rate)).abs() <= 0.02 * f64::from(rate));
        // It is back at 60 s.
        let back = goodput(&system(rate, &lost("b", "repair = \"40s\"")));
        assert!((back - f64::from(rate)).abs() <= 0.02 * f64::from(rate), "{rate}: {back}");
    }
}

#[test]
fn a_zone_takes_what_is_in_it_and_nothing_else() {
    let plan = RunPlan { duration: seconds(200.0), warmup: seconds(100.0), ..RunPlan::default() };
    let calls = |system: &str| -> Vec<bool> {
        pool(&simulate(system, &plan)).replicas.iter().map(|replica| replica.calls > 0).collect()
    };
    assert_eq!(calls(&system(30, &lost("c", ""))), [true, true, false, true, true, false]);
    // Explicit counts: a, b, a, and again.
    let counts = system(30, &lost("a", "")).replace("[\"a\", \"b\", \"c\"]", "{ a = 2, b = 1 }");
    assert_eq!(calls(&counts), [false, true, false, false, true, false]);
    // What is no pool goes as a whole, and comes back.
    let single = system(5, &lost("a", "repair = \"130s\"")).replace("replicas = 6\n", "");
    let single = single.replace("[\"a\", \"b\", \"c\"]", "\"a\"");
    let output = simulate(&single, &plan);
    let outcomes = component(&output, "db").meter.outcomes;
    let unserved = outcomes[Outcome::Failed as usize] + outcomes[Outcome::Rejected as usize];
    assert!((unserved as f64 / 250.0 - 1.0).abs() < 0.05, "{outcomes:?}");
    // A replica that was down before is not mended by the crash's repair while its zone is lost.
    let crash =
        "[[fault]]\nkind = \"crash\"\ntarget = \"db\"\nat = \"10s\"\nreplicas = 1\nrepair = \"30s\"\n";
    assert_eq!(
        calls(&system(30, &format!("{crash}{}", lost("a", "")))),
        [false, true, true, false, true, true]
    );
}

/// From 10 s on five replicas are wanted in place of two, and there are none to be had from 5 s to 40 s.
#[test]
fn an_autoscaler_waits_while_there_is_no_stock() {
    for kind in [
        "kind = \"service\"\nservice_time = \"10ms\"",
        "kind = \"model_server\"\nexecution = { fixed = \"10ms\" }\nprice_per_hour = \"$1/h\"",
    ] {
        let system = |fault: &str| {
            format!(
                "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"10/s\" }}\nentry = \"db\"\n
                 [components.db]\n{kind}\nreplica_quota = 4\n\
                 autoscaler = {{ kind = \"schedule\", entries = [{{ from = \"0s\", replicas = 2 }}, {{ from = \"10s\", replicas = 5 }}] }}\n{fault}"
            )
        };
        let plan = RunPlan { duration: seconds(100.0), ..RunPlan::default() };
        let measures = |fault: &str| {
            let output = simulate(&system(fault), &plan);
            let db = component(&output, "db");
            ["replicas_mean", "replicas_short_mean"].map(|name| db.measure(name).unwrap())
        };
        // Four for 90 s: the quota has no fifth.
        let [mean, short] = measures("");
        assert!((mean - (20.0 + 360.0) / 100.0).abs() < 0.01 && (short - 0.9).abs() < 0.01, "{mean} {short}");
        // Two until 40 s, then four.
        let [mean, short] =
            measures("[[fault]]\nkind = \"stock_out\"\ntarget = \"db\"\nat = \"5s\"\nrepair = \"35s\"");
        assert!((mean - (80.0 + 240.0) / 100.0).abs() < 0.01, "{mean}");
        assert!((short - (3.0 * 30.0 + 60.0) / 100.0).abs() < 0.01, "{short}");
    }
}

/// Callers in zones a, b and c as 40, 40 and 20%, replicas as 25, 50 and 25% (the example in Envoy's
/// `load_balancer_impl.cc`), and services of 10 ms.
fn spread(more: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"400/s\" }}\nentry = \"db\"\n
         [components.db]\nkind = \"service\"\nservice_time = \"10ms\"\nservers = 100\nreplicas = 8\n{more}\n\
         [placement]\nweb = {{ a = 2, b = 2, c = 1 }}\ndb = {{ a = 2, b = 4, c = 2 }}\n\
         [links.\"web -> db\"]\ncross_zone = {{ request_size = \"1MB\", reply_size = \"9MB\" }}\n"
    )
}

/// Zone by zone as much as can stay: a zone with more of the callers than of the replicas sends the difference to
/// others, so that sum of max(0, callers - replicas) crosses, and all replicas get the same. Without it sum of
/// callers (1 - replicas) does. What crosses takes 0.5 ms each way, and is paid twice at $0.01 a GB.
#[test]
fn as_little_as_possible_crosses_and_all_replicas_get_the_same() {
    for (more, crossing) in
        [("zone_aware = {}", 0.15), ("", 0.65), ("zone_aware = { routing_enabled = 0.5 }", 0.4)]
    {
        let plan = RunPlan { duration: seconds(250.0), ..RunPlan::default() };
        let output = simulate(&spread(more), &plan);
        let db = component(&output, "db");
        let share = db.measure("cross_zone_share").unwrap();
        let calls: u64 = pool(&output).replicas.iter().map(|replica| replica.calls).sum();
        let error = 4.0 * (crossing * (1.0 - crossing) / calls as f64).sqrt();
        assert!((share - crossing).abs() < error, "{more}: {share}, expected {crossing} +- {error}");
        for replica in &pool(&output).replicas {
            let part = replica.calls as f64 / calls as f64;
            assert!((part - 0.125).abs() < 0.005, "{more}: {part}");
        }
        let latency = output.requests[0].latency.mean().unwrap() / 1e6;
        assert!((latency - (10.0 + share)).abs() < 0.002, "{more}: {latency} ms");
        let line = output.costs.iter().find(|line| line.resource == "cross-zone GB to db").unwrap();
        let gb_per_hour = calls as f64 * share * 0.01 / 250.0 * 3600.0;
        assert!((line.units / gb_per_hour - 1.0).abs() < 0.001, "{}: {gb_per_hour}", line.units);
        assert!((line.usd_per_hour / (0.02 * gb_per_hour) - 1.0).abs() < 0.001, "{}", line.usd_per_hour);
    }
}

/// Shares that cross of the calls from 100 s on, long after zone c was lost.
fn after_loss(placement: &str, more: &str) -> (f64, f64) {
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"300/s\" }}\nentry = \"edge\"\n
         [components.edge]\nkind = \"flow\"\nsteps = [\"db\"]\n
         [components.db]\nkind = \"service\"\nservice_time = \"10ms\"\nservers = 100\nreplicas = 9\n{more}\n\
         [placement]\n{placement}\ndb = [\"a\", \"b\", \"c\"]\n{}",
        lost("c", "")
    );
    let plan = RunPlan { duration: seconds(300.0), warmup: seconds(100.0), ..RunPlan::default() };
    let output = simulate(&system, &plan);
    let db = component(&output, "db");
    let answered = db.meter.outcomes[Outcome::Ok as usize] as f64 / db.meter.calls as f64;
    (db.measure("cross_zone_share").unwrap(), answered)
}

/// Gateways and replicas in three zones, of which one is lost: the others have half of both, and nothing crosses.
/// Where there are no gateways in zone c, a third of the calls went there before, and none has to cross after.
/// Six replicas are left: with a larger `min_cluster_size` zones do not matter any more.
#[test]
fn when_a_zone_is_lost_the_others_keep_to_themselves() {
    let all = "edge = [\"a\", \"b\", \"c\"]";
    let two = "edge = [\"a\", \"b\"]";
    // A call more or less is under way at the begin and the end of what is measured.
    let all_answered = |answered: f64| (answered - 1.0).abs() < 1e-4;
    for callers in [all, two] {
        let (share, answered) = after_loss(callers, "zone_aware = {}");
        assert!(share == 0.0 && all_answered(answered), "{callers}: {share} {answered}");
    }
    let (share, answered) = after_loss(all, "zone_aware = { min_cluster_size = 7 }");
    assert!((share - 0.5).abs() < 0.01 && all_answered(answered), "{share} {answered}");
    // Two of three gateways are left, as many as a panic threshold of 0.7 does not believe.
    let panic = "zone_aware = {}\nhealth = { active = {}, panic_threshold = 0.7 }";
    let (share, answered) = after_loss(all, panic);
    assert!((share - 2.0 / 3.0).abs() < 0.01, "{share}");
    assert!((answered - 2.0 / 3.0).abs() < 0.01, "a third goes to the dead: {answered}");
    let fails =
        "zone_aware = {}\nhealth = { active = {}, panic_threshold = 0.7, fail_traffic_on_panic = true }";
    assert_eq!(after_loss(all, fails).1, 0.0);
}

#[test]
fn what_zones_cannot_be_is_told() {
    let wrong = |system: &str| {
        let config: SystemConfig = toml::from_str(system).unwrap();
        build(&config, &RunPlan::default(), &Traces::new()).unwrap_err()
    };
    let hash = wrong(&spread("zone_aware = {}\nbalancer = \"consistent_hash\""));
    assert_eq!(hash.path, ["components", "db", "zone_aware"], "{hash}");
    let knative =
        spread("zone_aware = {}\nautoscaler = { kind = \"knative\" }").replace("replicas = 8\n", "");
    assert_eq!(wrong(&knative).path, ["components", "db", "zone_aware"]);
    let single =
        spread("zone_aware = {}").replace("replicas = 8\n", "").replace("{ a = 2, b = 4, c = 2 }", "\"a\"");
    assert!(wrong(&single).to_string().contains("needs a pool"));
    let nowhere = spread("zone_aware = {}").replace("db = { a = 2, b = 4, c = 2 }", "");
    assert_eq!(wrong(&nowhere).path, ["components", "db", "zone_aware"]);
    let (without, _) =
        spread("").split_once("[placement]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let link = format!("{without}[links.\"web -> db\"]\ncross_zone = {{}}\n");
    assert_eq!(wrong(&link).path, ["links", "web -> db", "cross_zone"]);
}
