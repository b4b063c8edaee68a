use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use super::*;
use crate::error::ConfigError;
use crate::hardware::catalogue::gpu;
use crate::system::{CostOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};
use crate::units::HOURS_PER_MONTH;

const WEB: &str = "[traffic.web]\narrivals = { process = \"poisson\", rate = \"1/s\" }\nentry = \"pool\"\n";

/// A service whose servers cost a dollar an hour on demand, with `keys`.
fn service(keys: &str) -> String {
    format!(
        "{WEB}[components.pool]\nkind = \"service\"\nservice_time = \"100ms\"\nprice_per_hour = \"$1/h\"\n{keys}"
    )
}

fn try_simulate(system: &str, plan: &RunPlan) -> Result<RunOutput, ConfigError> {
    let config: SystemConfig = toml::from_str(system).unwrap_or_else(|error| panic!("{error}\n{system}"));
    Ok(run(build(&config, plan, &Traces::new())?, plan).unwrap())
}

fn bill(system: &str, seconds: u64) -> Vec<CostOutput> {
    let plan = RunPlan { duration: SimDuration::from_secs(seconds), ..RunPlan::default() };
    try_simulate(system, &plan).unwrap().costs
}

fn close(what: &str, value: f64, expected: f64) {
    assert!((value / expected - 1.0).abs() < 1e-9, "{what}: {value}, expected {expected}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct File {
    price_model: PriceModelConfig,
}

#[test]
fn a_name_or_a_table_reads_back() {
    for text in [
        "\"on-demand\"",
        "\"spot\"",
        "{ model = \"spot\", discount = 0.7 }",
        "{ model = \"reserved\", price_per_hour = \"$1.5/h\" }",
        "{ reserved = 4, reserved_discount = 0.5 }",
    ] {
        let file: File = toml::from_str(&format!("price_model = {text}")).unwrap();
        let written = toml::to_string(&file).unwrap();
        assert_eq!(toml::from_str::<File>(&written).unwrap(), file, "{written}");
    }
    let error = toml::from_str::<File>("price_model = \"preemptible\"").unwrap_err().to_string();
    assert!(error.contains("expected one of `on-demand`, `reserved`, `spot`"), "{error}");
}

#[test]
fn every_discount_has_a_source_and_a_gpu_of_the_catalogue() {
    for discount in discounts() {
        assert!(discount.share > 0.0 && discount.share < 1.0, "{discount:?}");
        assert!(!discount.source.is_empty() && discount.date.contains("20"), "{discount:?}");
        assert_ne!(discount.model, PriceModel::OnDemand);
        if let Some(id) = &discount.gpu {
            assert!(gpu(id).is_ok(), "{id}");
        }
    }
}

#[test]
fn a_model_takes_its_discount_off_the_price_on_demand() {
    for (keys, usd, source) in [
        ("", 1.0, "scenario"),
        ("price_model = \"on-demand\"", 1.0, "scenario"),
        ("price_model = \"reserved\"", 0.63, "reserved 37% off (AWS g5"),
        ("price_model = \"spot\"", 0.4, "spot 60% off (the least of"),
        ("price_model = { model = \"spot\", discount = 0.72 }", 0.28, "spot 72% off (the scenario)"),
        ("price_model = { model = \"spot\", price_per_hour = \"$0.3/h\" }", 0.3, "spot: the scenario"),
    ] {
        let bill = bill(&service(&format!("servers = 5\n{keys}")), 10);
        let [line] = bill.as_slice() else { panic!("{bill:?}") };
        close(keys, line.unit_usd_per_hour, usd);
        close(keys, line.usd_per_hour, 5.0 * usd);
        assert!(line.source.starts_with(source), "{}", line.source);
        assert!(keys.is_empty() || keys.contains(line.price_model), "{keys}: {}", line.price_model);
    }
}

#[test]
fn gpus_have_discounts_of_their_own() {
    let h100 = gpu("h100-sxm").unwrap().price_per_hour;
    let system = format!(
        "{WEB}[components.pool]\nkind = \"model_server\"\ngpu = \"h100-sxm\"\ngpus = 2\nreplicas = 3\n\
         instance_group = {{ kind = \"gpu\" }}\nexecution = {{ fixed = \"1ms\", per_item = \"1ms\" }}\n\
         price_model = {{ model = \"spot\", reserved = 1 }}"
    );
    let bill = bill(&system, 10);
    let [reserved, spot] = bill.as_slice() else { panic!("{bill:?}") };
    assert_eq!((reserved.resource.as_str(), reserved.units), ("gpu h100-sxm, reserved", 2.0));
    close("reserved", reserved.unit_usd_per_hour, 0.63 * h100);
    assert_eq!((spot.resource.as_str(), spot.units, spot.price_model), ("gpu h100-sxm", 4.0, "spot"));
    close("spot", spot.unit_usd_per_hour, (1.0 - 0.576) * h100);
    assert!(spot.source.contains("Nebius"), "{}", spot.source);
}

/// Two replicas of two servers for half of the time, six for the other: three reserved are paid always, and three
/// more on demand for half of the time.
#[test]
fn reserved_replicas_are_paid_always_and_others_while_they_are_held() {
    let bill = bill(
        &service(
            "servers = 2\nautoscaler = { kind = \"schedule\", period = \"20m\", entries = [\
             { from = \"0s\", replicas = 2 }, { from = \"10m\", replicas = 6 }] }\n\
             price_model = { reserved = 3, reserved_discount = 0.5 }",
        ),
        1200,
    );
    let [reserved, above] = bill.as_slice() else { panic!("{bill:?}") };
    assert_eq!((reserved.units, reserved.price_model), (6.0, "reserved"));
    close("reserved", reserved.usd_per_hour, 3.0);
    close("above", above.usd_per_hour, 3.0);
    assert_eq!(above.price_model, "on-demand");
}

#[test]
fn mistakes_have_a_place() {
    for (keys, path, message) in [
        (
            "price_model = { discount = 0.1 }",
            "components.pool.price_model.discount",
            "no effect on what is paid on demand",
        ),
        (
            "price_model = { model = \"spot\", discount = 0.1, price_per_hour = \"$1/h\" }",
            "components.pool.price_model.discount",
            "both",
        ),
        (
            "price_model = { model = \"reserved\", reserved = 2 }",
            "components.pool.price_model.reserved",
            "everything is",
        ),
        (
            "price_model = { reserved_discount = 0.2 }",
            "components.pool.price_model.reserved_discount",
            "nothing is reserved",
        ),
    ] {
        let error = try_simulate(&service(keys), &RunPlan::default()).unwrap_err();
        assert_eq!(error.path.join("."), path, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let free = service("price_model = \"spot\"").replace("price_per_hour = \"$1/h\"\n", "");
    let error = try_simulate(&free, &RunPlan::default()).unwrap_err();
    assert_eq!(error.path.join("."), "components.pool.price_model");
}

/// The bill of a month at `times` the load, of a pool sized in proportion to it beside a store that is shared, and the
/// share of the requests that were answered within 3 s.
fn monthly(times: u32, replica: f64, store: f64) -> (f64, f64) {
    let system = format!(
        "[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"20/s\" }}\nentry = \"app\"\n\
         [components.app]\nkind = \"flow\"\nsteps = [\"store\", \"model\"]\n\
         [components.store]\nkind = \"feature_store\"\nfeatures = 10\nlookup = \"1ms\"\n\
         price_per_hour = \"${store}/mo\"\n\
         [components.model]\nkind = \"service\"\nservice_time = \"1s\"\nreplicas = {}\n\
         balancer = \"join_shortest_queue\"\nprice_per_hour = \"${replica}/mo\"",
        40 * times
    );
    let bounds =
        crate::meter::GoodputBounds { latency: Some(SimDuration::from_secs(3)), ..Default::default() };
    let plan = RunPlan {
        duration: SimDuration::from_secs(120),
        drain: SimDuration::from_secs(10),
        scale: times.into(),
        bounds: [(String::new(), bounds)].into(),
        ..RunPlan::default()
    };
    let output = try_simulate(&system, &plan).unwrap();
    let usd: f64 = output.costs.iter().map(|line| line.usd_per_hour).sum();
    let requests = &output.requests[0];
    (usd * HOURS_PER_MONTH, requests.good as f64 / requests.born as f64)
}

/// A system whose every part grows with the load costs $50K a month and $500K at ten times the load; one with a part
/// that is shared grows more slowly.
#[test]
fn a_linear_system_costs_ten_times_as_much_at_ten_times_the_load() {
    for (replica, store, at_ten, beta) in [(1250.0, 0.0, 500e3, 1.0), (1000.0, 10e3, 410e3, 0.913_814)] {
        let [(one, good_one), (ten, good_ten)] = [1, 10].map(|times| monthly(times, replica, store));
        close("at 1x", one, 50e3);
        close("at 10x", ten, at_ten);
        assert!(good_one >= 0.99 && good_ten >= 0.99, "{good_one}, {good_ten}");
        let measured = elasticity(one, ten, 10.0).unwrap();
        assert!((measured - beta).abs() < 1e-6, "{measured}");
    }
    assert_eq!(elasticity(0.0, 1.0, 10.0), None);
    assert_eq!(elasticity(1.0, 1.0, 1.0), None);
}

/// Twenty terabytes kept, and half a gigabyte that leaves with each answer.
#[test]
fn data_are_paid_where_they_are_kept_and_when_they_leave() {
    let system = service("servers = 5").replace(
        "entry = \"pool\"",
        "entry = \"pool\"\negress = { size = \"500MB\", price_per_gb = \"$0.1\" }",
    );
    let system = format!("{system}\n[storage.lake]\nsize = \"20TB\"\nprice_per_gb_month = \"$0.0219\"");
    let plan = RunPlan { duration: SimDuration::from_secs(600), ..RunPlan::default() };
    let output = try_simulate(&system, &plan).unwrap();
    let line = |resource: &str| output.costs.iter().find(|line| line.resource == resource).unwrap();
    let stored = line("storage GB");
    assert_eq!((stored.component.as_str(), stored.units), ("lake", 20_000.0));
    close("a month", stored.usd_per_hour * HOURS_PER_MONTH, 20_000.0 * 0.0219);
    let egress = line("egress GB");
    let answers = output.requests[0].answered_in_window as f64;
    let hours = output.arrivals_until.as_secs_f64() / 3600.0;
    assert_eq!((egress.component.as_str(), egress.price_model), ("web", "use"));
    close("leaves", egress.units, 0.5 * answers / hours);
    close("a request", output.requests[0].usage_usd, 0.05 * output.requests[0].answered() as f64);
}

/// Ten minutes of traffic in an hour: what is held is paid for the whole hour, and autoscalers work through its quiet
/// rest; what is used is so much an hour of it.
#[test]
fn an_hour_is_paid_whole_where_the_traffic_ends_before() {
    let system = service(
        "servers = 2\nautoscaler = { kind = \"schedule\", period = \"1h\", entries = [\
         { from = \"0s\", replicas = 10 }, { from = \"30m\", replicas = 2 }] }",
    )
    .replace(
        "{ process = \"poisson\", rate = \"1/s\" }",
        "{ process = \"step\", steps = [{ at = \"0s\", rate = \"10/s\" }, { at = \"10m\", rate = \"0/s\" }] }",
    )
    .replace("entry = \"pool\"", "entry = \"pool\"\negress = { size = \"500MB\", price_per_gb = \"$0.1\" }");
    let plan = RunPlan { duration: SimDuration::from_secs(3600), ..RunPlan::default() };
    let output = try_simulate(&system, &plan).unwrap();
    let line = |resource: &str| output.costs.iter().find(|line| line.resource == resource).unwrap();
    assert_eq!(output.arrivals_until.as_nanos(), 3_600_000_000_000);
    let answers = output.requests[0].answered_in_window as f64;
    assert!((answers / 6_000.0 - 1.0).abs() < 0.05, "{answers}");
    close("leaves", line("egress GB").units, 0.5 * answers);
    close("held", line("server").units, 0.5 * 20.0 + 0.5 * 4.0);
}

/// The drain is no part of what is paid by the hour, and users of a closed loop do not hold a run open through it.
#[test]
fn the_drain_is_not_on_the_bill() {
    let system = service(
        "servers = 2\nautoscaler = { kind = \"schedule\", period = \"1h\", entries = [\
         { from = \"0s\", replicas = 10 }, { from = \"11m\", replicas = 1 }] }",
    );
    let plan = RunPlan {
        duration: SimDuration::from_secs(600),
        drain: SimDuration::from_secs(3000),
        ..RunPlan::default()
    };
    let closed = system.replace(
        "{ process = \"poisson\", rate = \"1/s\" }",
        "{ process = \"closed_loop\", users = 3, think = \"1s\" }",
    );
    let slow = system.replace("service_time = \"100ms\"", "service_time = \"40m\"");
    for (system, end) in [(system.clone(), 601.0), (closed, 601.0), (slow, 3600.0)] {
        let output = try_simulate(&system, &plan).unwrap();
        assert!(output.end.as_secs_f64() <= end && output.end.as_secs_f64() >= end - 1.0, "{:?}", output.end);
        close("held", output.costs.iter().find(|line| line.resource == "server").unwrap().units, 20.0);
    }
}
