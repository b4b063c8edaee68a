use super::*;
use crate::system::{ComponentOutput, RunOutput, RunPlan, SystemConfig, Traces, build, run};
use sim_core::time::SimDuration;

/// Model servers on a device with one call each, of 10 ms unless the settings say otherwise.
fn servers(device: &str, settings: &[&str]) -> SystemConfig {
    let mut text = format!("[devices.gpu0]\n{device}\n");
    for (index, settings) in settings.iter().enumerate() {
        let execution = if settings.contains("execution") { "" } else { "execution = { fixed = \"10ms\" }" };
        text += &format!(
            "[traffic.t{index}]\nentry = \"m{index}\"
             arrivals = {{ process = \"deterministic\", rate = \"1/s\" }}
             [components.m{index}]\nkind = \"model_server\"\ndevice = \"gpu0\"\n{execution}\n{settings}\n"
        );
    }
    toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn simulate(config: &SystemConfig) -> RunOutput {
    let plan = RunPlan {
        duration: SimDuration::from_millis(1_500),
        drain: SimDuration::from_secs(10),
        ..RunPlan::default()
    };
    run(build(config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

/// How long the call of each server took, in ms.
fn times(output: &RunOutput) -> Vec<f64> {
    let servers = output.components.iter().filter(|component| !component.is_source);
    let time = |server: &ComponentOutput| server.meter.latency.sum() as f64 / 1e6;
    servers.map(time).collect()
}

fn assert_close(measured: &[f64], expected: &[f64]) {
    assert_eq!(measured.len(), expected.len());
    for (one, other) in measured.iter().zip(expected) {
        assert!((one - other).abs() < 1e-5, "{measured:?} for {expected:?}");
    }
}

#[test]
fn turns_double_the_time_of_two() {
    let device = "gpu = \"l4\"\nsharing = \"time_slicing\"\n";
    let free = format!("{device}context_switch = \"0s\"");
    let output = simulate(&servers(&free, &["", ""]));
    assert_close(&times(&output), &[20.0, 20.0]);
    assert_close(&times(&simulate(&servers(&free, &["", "", "", ""]))), &[40.0; 4]);
    // Switches of 0.1 ms after turns of 2 ms.
    assert_close(&times(&simulate(&servers(device, &["", ""]))), &[21.0, 21.0]);
    // Alone there is nothing to switch to; a short one leaves the rest to the other.
    assert_close(&times(&simulate(&servers(device, &[""]))), &[10.0]);
    let short = "max_batch_size = 4\nitems_per_request = 4";
    let text = servers(&free, &["", short]);
    assert_close(&times(&simulate(&text)), &[20.0, 20.0]);
    let [device] = output.devices.as_slice() else { panic!("{:?}", output.devices) };
    assert_eq!(
        (device.name.as_str(), device.gpu.as_str(), device.sharing),
        ("gpu0", "l4", Sharing::TimeSlicing)
    );
    // 20 ms of 1.02 s, with two works each.
    let measured = output.end.as_secs_f64();
    assert!(
        (device.busy - 0.02 / measured).abs() < 1e-6 && (device.running_mean - 0.04 / measured).abs() < 1e-6
    );
}

#[test]
fn works_of_different_length_share_until_one_is_done() {
    let device = "gpu = \"l4\"\nsharing = \"time_slicing\"\ncontext_switch = \"0s\"";
    let config = servers(device, &["", "execution = { fixed = \"4ms\" }"]);
    // Both at half speed until 8, when 6 of the 10 ms are left.
    assert_close(&times(&simulate(&config)), &[14.0, 8.0]);
}

#[test]
fn side_by_side_with_and_without_limits() {
    let device = "gpu = \"l4\"\nsharing = \"mps\"\noverlap_gain = 0.5\n";
    // Two do 1.25 times the work of one.
    assert_close(&times(&simulate(&servers(device, &["", ""]))), &[16.0, 16.0]);
    let limited = "active_thread_percentage = 25";
    assert_close(&times(&simulate(&servers(device, &[limited]))), &[40.0]);
    // 0.25 for the one and 1 for the other, who is done at 10.
    assert_close(&times(&simulate(&servers(device, &[limited, ""]))), &[40.0, 10.0]);
}

#[test]
fn slices_do_not_feel_one_another() {
    let device = "gpu = \"a100-sxm-80gb\"\nsharing = \"mig\"";
    let profiles = ["1g.20gb", "3g.40gb", "1g.10gb"];
    let run = |bound: &str| {
        let slice = |profile| {
            let execution = format!("execution = {{ fixed = \"10ms\", bound = \"{bound}\" }}");
            format!("mig_profile = \"{profile}\"\n{execution}")
        };
        let settings = profiles.map(slice);
        simulate(&servers(device, &settings.each_ref().map(String::as_str)))
    };
    // A quarter, a half and an eighth of the bandwidth; 14, 42 and 14 of 108 multiprocessors.
    let output = run("memory");
    assert_close(&times(&output), &[40.0, 20.0, 80.0]);
    assert_close(&times(&run("compute")), &[14.0, 42.0, 14.0].map(|sms| 10.0 * 108.0 / sms));
    // The bill goes by memory slices: 2, 4 and 1.
    let gpu = catalogue::gpu("a100-sxm-80gb").unwrap().price_per_hour;
    let bill: Vec<f64> = output.costs.iter().map(|line| line.usd_per_hour).collect();
    assert_close(&bill, &[gpu * 2.0 / 7.0, gpu * 4.0 / 7.0, gpu / 7.0]);
}

#[test]
fn a_slice_computes_a_model_with_its_own_peaks() {
    let text = |settings: &str| {
        let text = format!(
            "[devices.gpu0]\ngpu = \"h100-sxm\"\nsharing = \"mig\"\n
             [traffic.web]\nentry = \"m\"\narrivals = {{ process = \"deterministic\", rate = \"1/s\" }}\nprompt_tokens = 8000\n
             [components.m]\nkind = \"model_server\"\nmodel = \"llama-3.2-1b\"\n{settings}\n"
        );
        toml::from_str::<SystemConfig>(&text).unwrap()
    };
    let mut whole = text("gpu = \"h100-sxm\"");
    whole.devices.clear();
    let slice = text("device = \"gpu0\"\nmig_profile = \"1g.10gb\"");
    let ratio = times(&simulate(&slice))[0] / times(&simulate(&whole))[0];
    // Bound by computing, with 16 of 132 multiprocessors.
    assert!((6.0..8.3).contains(&ratio), "{ratio}");
}

fn refusal(device: &str, settings: &[&str]) -> (String, String) {
    let error = build(&servers(device, settings), &RunPlan::default(), &Traces::new()).expect_err(device);
    (error.path.join("."), error.to_string())
}

#[test]
fn mistakes_are_told_with_their_place() {
    let slicing = "gpu = \"l4\"\nsharing = \"time_slicing\"";
    let mps = "gpu = \"l4\"\nsharing = \"mps\"";
    let mig = "gpu = \"h100-sxm\"\nsharing = \"mig\"";
    let half = "mig_profile = \"4g.40gb\"";
    let cases: [(String, &[&str], &str, &str); 14] = [
        ("gpu = \"l5\"\nsharing = \"mps\"".into(), &[""], "devices.gpu0.gpu", "h100-sxm"),
        ("gpu = \"l4\"\nsharing = \"mig\"".into(), &[""], "devices.gpu0.sharing", "a100-sxm-40gb"),
        (format!("{mps}\ntime_slice = \"1ms\""), &[""], "devices.gpu0.time_slice", "takes turns"),
        (format!("{slicing}\ntime_slice = \"0s\""), &[""], "devices.gpu0.time_slice", "no work"),
        (slicing.into(), &[], "traffic", "no traffic"),
        (slicing.into(), &["active_thread_percentage = 50"], "components.m0.active_thread_percentage", "mps"),
        (
            mps.into(),
            &["active_thread_percentage = 0"],
            "components.m0.active_thread_percentage",
            "more than 0",
        ),
        (
            mps.into(),
            &["active_thread_percentage = 101"],
            "components.m0.active_thread_percentage",
            "at most 100",
        ),
        (mps.into(), &["mig_profile = \"1g.10gb\""], "components.m0.mig_profile", "sharing = \"mig\""),
        (mig.into(), &[""], "components.m0.mig_profile", "1g.10gb, 1g.20gb"),
        (mig.into(), &["mig_profile = \"1g.5gb\""], "components.m0.mig_profile", "no MIG profile `1g.5gb`"),
        (mig.into(), &[half, half], "devices.gpu0", "do not fit on one h100-sxm"),
        (
            mig.into(),
            &["mig_profile = \"1g.10gb\"\nmemory = \"9.8GiB\""],
            "components.m0.mig_profile",
            "0.05 GiB short",
        ),
        (mps.into(), &["memory = \"12GiB\"", "memory = \"11GiB\""], "devices.gpu0", "0.51 GiB short"),
    ];
    for (device, settings, path, message) in cases {
        let (place, text) = refusal(&device, settings);
        assert_eq!(place, path, "{device} {settings:?}: {text}");
        assert!(text.contains(message), "{device} {settings:?}: {text}");
    }
}

#[test]
fn a_device_without_components_is_a_mistake() {
    let mut config = servers("gpu = \"l4\"\nsharing = \"mps\"", &[""]);
    let idle = config.devices["gpu0"].clone();
    config.devices.insert("gpu1".to_owned(), idle);
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert!(error.path == ["devices", "gpu1"] && error.message.contains("no component"), "{error}");
    let mut config = servers("gpu = \"l4\"\nsharing = \"mps\"", &[""]);
    let text = toml::to_string(&config).unwrap().replace("device = \"gpu0\"", "device = \"gpu9\"");
    config = toml::from_str(&text).unwrap();
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert!(error.to_string().contains("unknown device `gpu9` (expected one of gpu0)"), "{error}");
}
