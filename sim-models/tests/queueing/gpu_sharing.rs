//! Four tenants of one GPU, each with M/M/1 traffic that would keep a fifth of it busy.

use sim_models::system::RunOutput;

use crate::harness::{Row, plan, sojourn};

/// `sharing` of a device and `settings` of each server; the first gets so many calls a second.
fn tenants(sharing: &str, settings: &str, first: f64) -> String {
    let mut text = format!("[devices.gpu0]\ngpu = \"a100-sxm-80gb\"\nsharing = {sharing}\n");
    for (name, rate) in [("db", first), ("b", 0.2), ("c", 0.2), ("d", 0.2)] {
        text += &format!(
            "[traffic.to_{name}]\nentry = \"{name}\"
             arrivals = {{ process = \"poisson\", rate = \"{rate}/s\" }}
             [components.{name}]\nkind = \"model_server\"\ndevice = \"gpu0\"\n{settings}
             execution = {{ fixed = {{ exponential = {{ mean = \"1s\" }} }}, bound = \"memory\" }}\n"
        );
    }
    text
}

/// Mean sojourn of all tenants' calls.
fn all(output: &RunOutput) -> f64 {
    let meters = || output.components.iter().filter(|part| !part.is_source).map(|part| &part.meter.latency);
    let (sum, count) = meters().fold((0, 0), |(sum, count), one| (sum + one.sum(), count + one.count()));
    sum as f64 * 1e-9 / count as f64
}

const TURNS: &str = "\"time_slicing\"\ncontext_switch = \"0s\"";

/// As many instances as a tenant ever has calls: then every call has a turn of its own, and side by
/// side they share the GPU equally.
const MANY: &str = "instance_group = { count = 60 }";

/// A slice of 1/4 of the bandwidth makes a service 4 times as long and its server busy for 0.8 of the
/// time: 4 / (1 - 0.8) = 20 times the service.
#[test]
fn slices_of_a_quarter() {
    let system = tenants("\"mig\"", "mig_profile = \"1g.20gb\"", 0.2);
    Row::new("MIG 4 x 1/4, rho 0.8 each", &system, plan(4_000.0, 100_000.0))
        .expect("W", 20.0, 0.04, all)
        .check();
}

/// Works that share a GPU without gain are M/M/1 processor sharing at 0.8: 1 / (1 - 0.8) = 5 times the
/// service.
#[test]
fn side_by_side_without_gain_is_processor_sharing() {
    let system = tenants("\"mps\"\noverlap_gain = 0", MANY, 0.2);
    Row::new("MPS, 4 tenants, M/M/1-PS rho 0.8", &system, plan(1_000.0, 40_000.0))
        .expect("W", 5.0, 0.05, all)
        .check();
}

/// With one call of a tenant at a time, the total work on the GPU and so the mean number of calls is
/// that of M/M/1 at 0.8 in whatever order exponential works are served: 5 times the service.
#[test]
fn turns_of_tenants_are_work_conserving() {
    let system = tenants(TURNS, "", 0.2);
    Row::new("time-slicing, 4 tenants, rho 0.8", &system, plan(1_000.0, 40_000.0))
        .expect("W", 5.0, 0.05, all)
        .check();
}

/// Time-slicing is no faster than MPS without gain, MPS with gain is faster, and MIG is the slowest: who
/// needs more than its part cannot have it.
#[test]
fn the_order_of_the_means() {
    let mean = |name: &str, sharing: &str, settings: &str| {
        let row = Row::new(name, &tenants(sharing, settings, 0.2), plan(1_000.0, 15_000.0));
        row.expect("W", 5.0, 1.0, all).measure()[0].mean()
    };
    let turns = mean("order: time-slicing", "\"time_slicing\"\ncontext_switch = \"100us\"", "");
    let mps = mean("order: MPS", "\"mps\"\noverlap_gain = 0.2", "");
    let mig = mean("order: MIG", "\"mig\"", "mig_profile = \"1g.20gb\"");
    assert!(mps < 0.9 * turns && turns < 0.5 * mig, "MPS {mps}, time-slicing {turns}, MIG {mig}");
}

/// One tenant sends five times as much, more than the rest of the GPU can do. Slices leave the others
/// exactly as they were; turns still give each its part, but a smaller one.
#[test]
fn slices_isolate_from_a_burst() {
    // On one seed the other tenants have the same calls, whatever the first sends.
    let mean = |name: &str, sharing: &str, settings: &str, first| {
        let row = Row::new(name, &tenants(sharing, settings, first), plan(1_000.0, 10_000.0));
        row.expect("W of b", 1.0, 9.0, sojourn("b")).measure()[0].mean()
    };
    let mig = |first| mean("burst: MIG", "\"mig\"", "mig_profile = \"1g.20gb\"", first);
    assert_eq!(mig(0.2), mig(1.0));
    let turns = |first| mean("burst: time-slicing", TURNS, "", first);
    let (calm, burst) = (turns(0.2), turns(1.0));
    assert!(burst > 1.5 * calm, "{calm} {burst}");
}
