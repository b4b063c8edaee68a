use std::path::PathBuf;

use sim_core::time::SimDuration;

use crate::quality::QualityOutput;
use crate::request::Outcome;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

const GSM8K: &str = "joint = [{ right = [\"small\", \"large\"], weight = 747 }, { right = [\"small\"], weight = 95 },\n\
                     { right = [\"large\"], weight = 383 }, { right = [], weight = 94 }]";
const MMLU: &str = "joint = [{ right = [\"small\", \"large\"], weight = 8818 }, { right = [\"small\"], weight = 742 },\n\
                    { right = [\"large\"], weight = 2497 }, { right = [], weight = 1985 }]";

/// Two APIs of 1,000 tokens a call at these prices a million tokens, in a cascade.
fn scenario(joint: &str, prices: [f64; 2], verifier: &str, more: &str) -> String {
    let api = |name: &str, ttft: &str, price: f64| {
        format!(
            "[components.{name}]\nkind = \"external_api\"\nttft = \"{ttft}\"\nprice = {{ input = \"${price}/Mtok\" }}\n"
        )
    };
    format!(
        "[traffic.web]\nentry = \"cascade\"\nprompt_tokens = 1000\n\
         arrivals = {{ process = \"poisson\", rate = \"1000/s\" }}\n\
         [components.cascade]\nkind = \"cascade\"\n\
         stages = [{{ call = \"small\", verifier = {{ {verifier} }} }}, {{ call = \"large\" }}]\n\
         {}{}[quality]\nmodels = [\"small\", \"large\"]\n{joint}\n{more}",
        api("small", "100ms", prices[0]),
        api("large", "1s", prices[1])
    )
}

fn simulate(text: &str, seconds: u64) -> RunOutput {
    let config: SystemConfig = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let plan = RunPlan {
        duration: SimDuration::from_secs(seconds),
        drain: SimDuration::from_secs(100),
        ..RunPlan::default()
    };
    run(build(&config, &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

fn measure(output: &RunOutput, name: &str, part: Option<&str>) -> f64 {
    let cascade = output.components.iter().find(|component| component.name == "cascade").unwrap();
    let found = cascade.measures.iter().find(|m| m.name == name && m.part.as_deref() == part);
    found.and_then(|measure| measure.value).unwrap_or_else(|| panic!("{name}"))
}

fn said(quality: &QualityOutput, name: &str) -> f64 {
    quality.measures().into_iter().find(|measure| measure.name == name).unwrap().value.unwrap()
}

fn near(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{what}: {value}, expected {expected}");
}

/// The verifier table of GSM8K: Mixtral-8x7B at $0.24 and GPT-4-1106 at $24.7 a million tokens.
fn verifier_table(joint: &str) {
    // (accepts right, accepts wrong): accuracy, escalation, cost over the strong model's.
    for ([right, wrong], [accuracy, escalation, cost]) in [
        ([1.0, 0.0], [0.9287, 0.362, 0.37]),
        ([0.9, 0.1], [0.8925, 0.389, 0.40]),
        ([0.8, 0.2], [0.8563, 0.417, 0.43]),
        ([0.7, 0.3], [0.8200, 0.445, 0.45]),
        ([0.5, 0.5], [0.7475, 0.5, 0.51]),
    ] {
        let verifier = format!("true_positive_rate = {right}, false_positive_rate = {wrong}");
        let output = simulate(&scenario(joint, [0.24, 24.7], &verifier, ""), 100);
        let quality = output.quality.as_ref().unwrap();
        let name = format!("({right}, {wrong})");
        near(&name, quality.accuracy.unwrap(), accuracy, 0.005);
        near(&name, measure(&output, "escalation_rate", None), escalation, 0.005);
        let share =
            quality.usd_per_request.unwrap() / quality.best_single().unwrap().usd_per_request.unwrap();
        near(&name, share, cost, 0.005 + 0.005);
        near(&name, share, escalation + 0.24 / 24.7, 0.005);
        near(&name, said(quality, "saving_over_best_single"), 1.0 - share, 1e-12);
        // The baselines are always there: GPT-4 alone, and mixing both by chance at the same cost.
        near("best single", said(quality, "best_single_accuracy"), 0.8567, 0.005);
        let mixed = 0.6384 + (0.8567 - 0.6384) * (share - 0.24 / 24.7) / (1.0 - 0.24 / 24.7);
        near("zero router", said(quality, "zero_router_accuracy"), mixed, 0.005);
        near("oracle", said(quality, "oracle_accuracy"), 0.9287, 0.005);
        // A verifier that guesses is no better than mixing by chance.
        assert_eq!(said(quality, "gain_over_zero_router").abs() < 0.01, right == wrong, "{name}");
    }
}

#[test]
fn the_verifier_table_of_gsm8k() {
    verifier_table(GSM8K);
}

#[test]
fn the_same_from_the_real_answers() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let folder = std::env::var_os("TENFOLD_SHARED").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let file = folder.join("data/routing/mmlu_gsm8k_correctness.csv.gz");
    if !file.exists() {
        eprintln!("skipped: no {}", file.display());
        return;
    }
    verifier_table(&format!(
        "joint_csv = {{ path = {:?}, where = {{ bench = \"gsm8k\" }}, columns = {{\n\
         small = \"mistralai_Mixtral-8x7B-Instruct-v0.1\", large = \"gpt-4-1106-preview\" }} }}",
        file.display().to_string()
    ));
}

/// A saving of 98% appears exactly where escalation and price ratio allow it.
#[test]
fn what_is_saved_is_one_less_escalation_and_the_price_ratio() {
    for escalation in [0.0, 0.005, 0.015, 0.025, 0.1, 0.362] {
        for ratio in [1.0, 10.0, 100.0, 1000.0] {
            let verifier = format!("acceptance_rate = {}", 1.0 - escalation);
            let output = simulate(&scenario(GSM8K, [0.1, 0.1 * ratio], &verifier, ""), 30);
            let saving = said(output.quality.as_ref().unwrap(), "saving_over_best_single");
            let expected = 1.0 - (escalation + 1.0 / ratio);
            near("saving", saving, expected, 0.005 + 4.0 * (escalation * (1.0 - escalation) / 3e4).sqrt());
            assert_eq!(saving >= 0.98, escalation + 1.0 / ratio <= 0.02, "{escalation}, {ratio}: {saving}");
        }
    }
    // What leaves the system is no part of the choice.
    let paid = scenario(GSM8K, [0.1, 10.0], "acceptance_rate = 1", "")
        .replace("[traffic.web]", "[traffic.web]\negress = { size = \"1MB\", price_per_gb = \"$100\" }");
    let output = simulate(&paid, 30);
    near("saving", said(output.quality.as_ref().unwrap(), "saving_over_best_single"), 0.99, 1e-9);
    assert!(output.requests[0].usage_usd_per_request().unwrap() > 0.1);
    // What the real tables allow: with a perfect verifier all that the weak model gets wrong is escalated.
    for (joint, weak) in [(GSM8K, 0.6384), (MMLU, 0.6808)] {
        let verifier = "true_positive_rate = 1, false_positive_rate = 0";
        let output = simulate(&scenario(joint, [0.24, 24.7], verifier, ""), 100);
        let saving = said(output.quality.as_ref().unwrap(), "saving_over_best_single");
        near("saving", saving, weak - 0.24 / 24.7, 0.005);
    }
}

#[test]
fn stages_and_verifications_come_one_after_the_other() {
    let verifier = "acceptance_rate = 0, latency = \"50ms\", price = \"$0.01\"";
    let output = simulate(&scenario(GSM8K, [0.0, 0.0], verifier, ""), 5);
    let requests = &output.requests[0];
    assert_eq!((requests.latency.min(), requests.latency.max()), (Some(1_150_000_000), Some(1_150_000_000)));
    near("verifications", requests.usage_usd_per_request().unwrap(), 0.01, 1e-12);
    let verifier = "acceptance_rate = 1, latency = \"50ms\"";
    let requests = &simulate(&scenario(GSM8K, [0.0, 0.0], verifier, ""), 5).requests[0];
    assert_eq!((requests.latency.min(), requests.latency.max()), (Some(150_000_000), Some(150_000_000)));
}

#[test]
fn a_judge_has_the_room_that_it_has_and_gives_no_answer_of_its_own() {
    // The judge is a model itself; what it says is not what the request gets.
    let judge = "[components.judge]\nkind = \"service\"\nservice_time = \"20ms\"\nservers = 100";
    let verifier = "true_positive_rate = 1, false_positive_rate = 1, judge = \"judge\"";
    let text = scenario(GSM8K, [0.0, 0.0], verifier, judge)
        .replace("models = [\"small\", \"large\"]", "models = [\"small\", \"large\", \"judge\"]");
    let output = simulate(&text, 20);
    near("accuracy", output.requests[0].accuracy().unwrap(), 0.6384, 0.015);
    assert_eq!(output.requests[0].latency.max(), Some(120_000_000));
    // One that is down accepts nothing.
    let text = format!(
        "{text}\n[[fault]]\nat = \"0s\"\ntarget = \"judge\"\nkind = \"crash\"\n\
                        [links.\"cascade -> judge\"]\ntimeout = \"1s\""
    );
    let output = simulate(&text, 20);
    near("accuracy", output.requests[0].accuracy().unwrap(), 0.8567, 0.015);
}

#[test]
fn the_held_answer_is_served_when_the_stronger_model_fails() {
    let verifier = "true_positive_rate = 0, false_positive_rate = 0";
    let down = "[[fault]]\nat = \"0s\"\ntarget = \"large\"\nkind = \"crash\"";
    let output = simulate(&scenario(GSM8K, [0.24, 24.7], verifier, down), 20);
    let requests = &output.requests[0];
    assert_eq!(requests.outcomes[Outcome::Degraded as usize], requests.ended());
    near("accuracy", requests.accuracy().unwrap(), 0.6384, 0.015);
    assert_eq!(measure(&output, "held_answers_served", None), requests.ended() as f64);
    // A weak model that fails is followed by the strong one; both down is a failure.
    let weak_down = down.replace("large", "small");
    let output = simulate(&scenario(GSM8K, [0.24, 24.7], verifier, &weak_down), 20);
    near("accuracy", output.requests[0].accuracy().unwrap(), 0.8567, 0.015);
    assert_eq!(output.requests[0].outcomes[0], output.requests[0].ended());
    let output = simulate(&scenario(GSM8K, [0.24, 24.7], verifier, &format!("{down}\n{weak_down}")), 5);
    assert_eq!(output.requests[0].outcomes[Outcome::Failed as usize], output.requests[0].ended());
    // A timeout of the strong stage is its link's.
    let link = "[links.\"cascade -> large\"]\ntimeout = \"500ms\"\ncancel_on_timeout = true";
    let output = simulate(&scenario(GSM8K, [0.24, 24.7], verifier, link), 5);
    assert_eq!(output.requests[0].latency.max(), Some(600_000_000));
    assert_eq!(output.requests[0].outcomes[Outcome::Degraded as usize], output.requests[0].ended());
}

#[test]
fn the_budget_bounds_escalations() {
    let verifier = "true_positive_rate = 0, false_positive_rate = 0";
    let text = scenario(GSM8K, [0.24, 24.7], verifier, "")
        .replace("kind = \"cascade\"", "kind = \"cascade\"\nescalation_budget = 0.2");
    let output = simulate(&text, 50);
    near("escalation", measure(&output, "escalation_rate", None), 0.2, 0.001);
    let degraded = output.requests[0].outcomes[Outcome::Degraded as usize];
    assert_eq!(measure(&output, "over_budget", None), degraded as f64);
    assert_eq!(measure(&output, "asked", Some("large")) + degraded as f64, output.requests[0].ended() as f64);
}

#[test]
fn no_token_is_seen_before_the_answer_is_accepted() {
    let text = |accepts: &str| {
        scenario(GSM8K, [0.0, 0.0], &format!("acceptance_rate = {accepts}, latency = \"50ms\""), "")
            .replace("prompt_tokens = 1000", "prompt_tokens = 1000\noutput_tokens = 11")
            .replace("ttft = ", "time_per_output_token = \"10ms\"\nttft = ")
    };
    let ttft = |accepts: &str| simulate(&text(accepts), 5).requests[0].ttft.clone();
    assert_eq!((ttft("1").min(), ttft("1").max()), (Some(250_000_000), Some(250_000_000)));
    assert_eq!((ttft("0").min(), ttft("0").max()), (Some(1_250_000_000), Some(1_250_000_000)));
}

#[test]
fn crashes_and_cancellations_leave_nothing_behind() {
    let verifier = "acceptance_rate = 0.5, latency = \"50ms\"";
    let fault = "[[fault]]\nat = \"2s\"\ntarget = \"cascade\"\nkind = \"crash\"\nrepair = \"1s\"\n\
                 [links.\"web -> cascade\"]\ntimeout = \"1100ms\"\ncancel_on_timeout = true";
    let output = simulate(&scenario(GSM8K, [0.24, 24.7], verifier, fault), 10);
    assert!(output.conservation.holds() && output.conservation.in_flight == 0);
    let cascade = output.components.iter().find(|component| component.name == "cascade").unwrap();
    assert_eq!(cascade.meter.busy.level(), 0);
    assert!(output.requests[0].outcomes[Outcome::TimedOut as usize] > 1_000);
    assert!(output.requests[0].outcomes[Outcome::Failed as usize] > 1_000);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let two = |first: &str, second: &str| {
        format!("stages = [{{ call = \"small\"{first} }}, {{ call = \"large\"{second} }}]")
    };
    let accepts = ", verifier = { acceptance_rate = 0.5 }";
    for (stages, place, message) in [
        ("stages = []".to_owned(), "stages", "a cascade of 0 stages"),
        ("stages = [{ call = \"large\" }]".into(), "stages", "a cascade of 1 stages"),
        (two("", ""), "stages 0 verifier", "only the last stage"),
        (two(accepts, accepts), "stages 1 verifier", "nobody to escalate to"),
        (two(", verifier = { true_positive_rate = 1 }", ""), "stages 0 verifier", "not said which answers"),
        (
            two(", verifier = { acceptance_rate = 1, false_positive_rate = 1 }", ""),
            "stages 0 verifier",
            "not said which answers",
        ),
        (
            two(", verifier = { acceptance_rate = 1, latency = \"1ms\", judge = \"large\" }", ""),
            "stages 0 verifier latency",
            "both `latency` and `judge`",
        ),
        (
            two(", verifier = { acceptance_rate = 1, judge = \"jugde\" }", ""),
            "stages 0 verifier judge",
            "unknown component `jugde`",
        ),
        (two(accepts, "").replace("small", "smal"), "stages 0 call", "unknown component `smal`"),
        (format!("{}\nescalation_burst = 5", two(accepts, "")), "escalation_burst", "there is no budget"),
    ] {
        let text = scenario(GSM8K, [0.0, 0.0], "acceptance_rate = 1", "");
        let start = text.find("stages = ").unwrap();
        let end = start + text[start..].find('\n').unwrap();
        let text = format!("{}{stages}{}", &text[..start], &text[end..]);
        let config: SystemConfig = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        assert_eq!(error.path.join(" "), format!("components cascade {place}"), "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    let verifier = "true_positive_rate = 0.9, false_positive_rate = 0.1";
    let text = scenario(GSM8K, [0.0, 0.0], verifier, "");
    let config: SystemConfig = toml::from_str(&text[..text.find("[quality]").unwrap()]).unwrap();
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert!(error.help.unwrap().contains("add a [quality] table"));
}
