use sim_core::time::SimDuration;

use super::*;
use crate::hardware::catalogue::gpu;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

fn simulate(component: &str, more: &str) -> RunOutput {
    let text = format!(
        "[traffic.web]\narrivals = {{ process = \"deterministic\", rate = \"2/s\" }}\nentry = \"pool\"\n\
         prompt_tokens = 16\noutput_tokens = 2\n[components.pool]\n{component}\n{more}"
    );
    let config: SystemConfig = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let plan = RunPlan {
        duration: SimDuration::from_secs(3600),
        warmup: SimDuration::from_secs(600),
        ..RunPlan::default()
    };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

fn measure(output: &RunOutput, name: &str) -> f64 {
    output.components[1].measure(name).unwrap_or_else(|| panic!("no {name}"))
}

/// A server that is busy half of the time with each of its two GPUs: half way between idle and the limit.
#[test]
fn power_goes_by_utilization() {
    let server = "kind = \"model_server\"\ngpu = \"h100-sxm\"\nreplicas = 2\nbalancer = \"round_robin\"\n\
                  instance_group = { kind = \"gpu\" }\nexecution = { fixed = \"500ms\", per_item = \"0ms\" }";
    let output = simulate(server, "");
    let watts = measure(&output, POWER);
    let expected = 2.0 * (0.15 * 700.0 + 0.85 * 700.0 * 0.5);
    assert!((watts / expected - 1.0).abs() < 1e-3, "{watts} W, expected {expected}");
    let hours = (output.end.as_secs_f64() - 600.0) / 3600.0;
    let kwh = measure(&output, "energy_kwh");
    assert!((kwh / (watts / 1e3 * hours) - 1.0).abs() < 1e-9, "{kwh} kWh");
    assert!((measure(&output, "co2_kg") / (kwh * 0.481) - 1.0).abs() < 1e-9);
    assert!(output.costs.iter().all(|line| line.resource != ELECTRICITY));

    let priced = simulate(server, "[energy]\nprice_per_kwh = \"$0.1\"\npue = 1.5\ngco2_per_kwh = 100");
    let line = priced.costs.iter().find(|line| line.resource == ELECTRICITY).unwrap();
    assert!((line.usd_per_hour / (watts / 1e3 * 1.5 * 0.1) - 1.0).abs() < 1e-9, "{line:?}");
    assert!((measure(&priced, "energy_kwh") / kwh - 1.5).abs() < 1e-9);
    assert!((measure(&priced, "co2_kg") / (kwh * 1.5 * 0.1) - 1.0).abs() < 1e-9);
    assert_eq!(priced.fingerprint, output.fingerprint);
}

/// A call that goes on for long after the last arrival holds the run open; its GPUs idle meanwhile.
#[test]
fn the_drain_is_not_on_the_bill() {
    let text = "traffic.web = { arrivals = { process = \"deterministic\", rate = \"1/s\" }, entry = \"server\" }\n\
                traffic.job = { arrivals = { process = \"deterministic\", rate = \"1/h\" }, entry = \"desk\" }\n\
                components.desk = { kind = \"service\", service_time = \"2h\" }\n\
                energy = { price_per_kwh = \"$0.1\" }\n\
                [components.server]\nkind = \"model_server\"\ngpu = \"h100-sxm\"\n\
                instance_group = { kind = \"gpu\" }\nexecution = { fixed = \"500ms\", per_item = \"0ms\" }";
    let config: SystemConfig = toml::from_str(text).unwrap();
    let paid = |drain: u64| {
        let plan = RunPlan {
            duration: SimDuration::from_secs(3601),
            drain: SimDuration::from_secs(drain),
            ..RunPlan::default()
        };
        let output = run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap();
        let line = output.costs.iter().find(|line| line.resource == ELECTRICITY).unwrap();
        (output.end.as_secs_f64(), line.units)
    };
    let ((end, units), (late, drained)) = (paid(0), paid(3600));
    assert_eq!((end, late), (3601.0, 7201.0));
    assert!(units > 0.38 && units == drained, "{units} and {drained} kW");
}

/// GPUs of replicas that an autoscaler could have, but has not, draw nothing.
#[test]
fn replicas_that_are_not_there_draw_no_power() {
    let of_at_most = |most: u32| {
        let scaling = format!("autoscaler = {{ kind = \"hpa\", min_replicas = 1, max_replicas = {most} }}");
        let server = "kind = \"model_server\"\ngpu = \"l4\"\ninstance_group = { kind = \"gpu\" }\n\
                      execution = { fixed = \"100ms\", per_item = \"0ms\" }";
        let output = simulate(&format!("{server}\n{scaling}"), "");
        assert_eq!(measure(&output, "replicas_mean"), 1.0);
        measure(&output, POWER)
    };
    let expected = 0.15 * 72.0 + 0.85 * 72.0 * 0.2;
    assert!((of_at_most(1) / expected - 1.0).abs() < 1e-3, "{} W, expected {expected}", of_at_most(1));
    assert!((of_at_most(50) / of_at_most(1) - 1.0).abs() < 1e-9);
}

#[test]
fn llm_pools_and_training_jobs_draw_power_too() {
    let llm =
        "kind = \"llm\"\nmodel = \"llama-3.2-1b\"\ngpu = \"h200-sxm\"\ntensor_parallel = 2\nreplicas = 2";
    let output = simulate(llm, "");
    let busy = output.components[1].llm.as_ref().unwrap().gpu_busy;
    let expected = 4.0 * (80.0 + (700.0 - 80.0) * busy);
    assert!(busy > 0.001 && (measure(&output, POWER) / expected - 1.0).abs() < 1e-9, "{busy}");
    // It works all the time on eight GPUs.
    let training =
        "[components.train]\nkind = \"training\"\nworkers = 2\ngpu = \"h100-sxm\"\ngpus_per_worker = 4";
    let output = simulate("kind = \"service\"\nservice_time = \"1ms\"", training);
    let watts = output.components[2].measure(POWER).unwrap();
    assert!((watts - 8.0 * 700.0).abs() < 1e-6, "{watts}");
    assert!(output.components[1].measure(POWER).is_none());
}

#[test]
fn a_shared_gpu_draws_power_once() {
    let device = "[devices.shared]\ngpu = \"l4\"\nsharing = \"mps\"\n[energy]\nprice_per_kwh = \"$0.1\"";
    let server = "kind = \"model_server\"\ndevice = \"shared\"\ninstance_group = { kind = \"gpu\" }\n\
                  execution = { fixed = \"250ms\", per_item = \"0ms\" }";
    let output = simulate(server, device);
    let expected = 0.15 * 72.0 + 0.85 * 72.0 * 0.5;
    assert!((output.devices[0].power_mean_w / expected - 1.0).abs() < 1e-3, "{:?}", output.devices);
    let lines = output.costs.iter().filter(|line| line.resource == ELECTRICITY);
    assert_eq!(lines.map(|line| line.component.as_str()).collect::<Vec<_>>(), ["shared"]);
}

#[test]
fn mistakes_have_a_place() {
    let energy: EnergyConfig = toml::from_str("pue = 0.9").unwrap();
    assert_eq!(energy.check().unwrap_err().path, ["pue"]);
    assert!(toml::from_str::<EnergyConfig>("price_per_kwh = \"$0.1/h\"").is_err());
    for entry in crate::hardware::catalogue::gpus() {
        assert!(entry.idle_power() > 0.0 && entry.idle_power() < entry.power_watts, "{}", entry.id);
        assert_eq!(entry.idle_watts.is_some(), entry.idle_source.is_some(), "{}", entry.id);
    }
    assert_eq!(gpu("h200-sxm").unwrap().idle_power(), 80.0);
}
