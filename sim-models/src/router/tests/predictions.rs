//! Policies that know who is right, or what a request is about.

use super::*;
use crate::router::classifier::standard;

/// Counts of GSM8K: Mixtral-8x7B and GPT-4-1106 both right, the weak only, the strong only, neither.
const BOTH: f64 = 747.0 / 1319.0;
const WEAK: f64 = 842.0 / 1319.0;
const STRONG_ONLY: f64 = 383.0 / 1319.0;
const QUALITY: &str = "[quality]\nmodels = [\"small\", \"large\"]\njoint = [\n\
    { right = [\"small\", \"large\"], weight = 747 }, { right = [\"small\"], weight = 95 },\n\
    { right = [\"large\"], weight = 383 }, { right = [], weight = 94 }]\n";

fn predicted(router: &str) -> String {
    scenario(POISSON, &format!("{router}\n")) + QUALITY
}

fn share(output: &RunOutput, name: &str) -> f64 {
    calls(output, name) as f64 / output.conservation.born as f64
}

fn near(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{what}: {value}, expected {expected}");
}

fn accuracy(output: &RunOutput) -> f64 {
    output.requests[0].accuracy().unwrap()
}

/// What comes of sending those on which the weak model is right to it with one probability, the others with
/// another: share of the strong model, and accuracy.
fn closed_form(right_to_weak: f64, wrong_to_weak: f64) -> (f64, f64) {
    let strong = 1.0 - right_to_weak * WEAK - wrong_to_weak * (1.0 - WEAK);
    (strong, right_to_weak * WEAK + (1.0 - right_to_weak) * BOTH + (1.0 - wrong_to_weak) * STRONG_ONLY)
}

#[test]
fn a_confusion_table_gives_its_shares_and_its_accuracy() {
    let table = "policy = \"confusion\"\nconfusion = { small = { small = 0.9, large = 0.1 }, \
                 large = { small = 0.2, large = 0.8 } }";
    let output = simulate(&predicted(table), 100);
    let (strong, right) = closed_form(0.9, 0.2);
    near("share", share(&output, "large"), strong, 0.006);
    near("accuracy", accuracy(&output), right, 0.006);
}

/// The separation of the two normals whose area under the ROC curve that is.
fn separation(auc: f64) -> f64 {
    std::f64::consts::SQRT_2 * standard().quantile(auc)
}

#[test]
fn a_target_share_is_met_where_it_was_calibrated_and_missed_elsewhere() {
    let policy = |auc: f64, rest: &str| {
        format!(
            "policy = \"strong_share\"\nstrong_share = {{ weak = \"small\", strong = \"large\", auc = {auc}{rest} }}"
        )
    };
    let phi = |x: f64| standard().cdf(x);
    for auc in [0.5, 0.7, 0.9] {
        for target in [0.1, 0.5] {
            let output = simulate(&predicted(&policy(auc, &format!(", share = {target}"))), 100);
            near("share", share(&output, "large"), target, 0.006);
            // The threshold of the same share, by the closed form of the shares alone.
            let mu = separation(auc);
            let (mut low, mut high) = (-10.0, 10.0);
            for _ in 0..100 {
                let middle = f64::midpoint(low, high);
                if closed_form(phi(middle), phi(middle - mu)).0 > target {
                    low = middle
                } else {
                    high = middle
                }
            }
            let (_, right) = closed_form(phi(low), phi(low - mu));
            near("accuracy", accuracy(&output), right, 0.006);
        }
    }
    // A guess is the mixture of both by chance, whatever the share.
    near("guess", closed_form(0.5, 0.5).1, (WEAK + BOTH + STRONG_ONLY) / 2.0, 1e-12);
    // Calibrated on easier traffic, with a fifth wrong, the same threshold sends more.
    let output = simulate(&predicted(&policy(0.8, ", share = 0.3, reference_wrong = 0.2")), 100);
    let mu = separation(0.8);
    let above = |t: f64, wrong: f64| (1.0 - wrong) * phi(-t) + wrong * phi(mu - t);
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if above(middle, 0.2) > 0.3 { low = middle } else { high = middle }
    }
    let drifted = above(low, 1.0 - WEAK);
    assert!(drifted > 0.35, "{drifted}");
    near("reference", share(&output, "large"), drifted, 0.006);
    // Scores that move by half a standard deviation half-way.
    let output =
        simulate(&predicted(&policy(0.5, ", share = 0.5, drift = { shift = 0.5, from = \"50s\" }")), 100);
    near("drift", share(&output, "large"), f64::midpoint(0.5, phi(0.5)), 0.006);
    let slow = ", share = 0.5, drift = { shift = 0.5, over = \"100s\" }";
    let steady: f64 = (0..1000).map(|k| phi(0.5 * (f64::from(k) + 0.5) / 1000.0)).sum::<f64>() / 1000.0;
    near("drift", share(&simulate(&predicted(&policy(0.5, slow)), 100), "large"), steady, 0.006);
}

#[test]
fn a_classifier_sends_what_it_thinks_needs_the_strong_model() {
    let policy = |threshold: f64| {
        let settings = format!("weak = \"small\", strong = \"large\", auc = 0.8, threshold = {threshold}");
        format!("policy = \"classifier\"\nclassifier = {{ {settings} }}")
    };
    assert_eq!(share(&simulate(&predicted(&policy(0.0)), 5), "large"), 1.0);
    assert_eq!(share(&simulate(&predicted(&policy(1.0)), 5), "large"), 0.0);
    // At the odds of 1: log-odds mu s - mu^2 / 2 + log(wrong / right) = 0.
    let output = simulate(&predicted(&policy(0.5)), 100);
    let mu = separation(0.8);
    let t = (libm::log(WEAK / (1.0 - WEAK)) + mu * mu / 2.0) / mu;
    let (strong, right) = closed_form(standard().cdf(t), standard().cdf(t - mu));
    near("share", share(&output, "large"), strong, 0.006);
    near("accuracy", accuracy(&output), right, 0.006);
}

#[test]
fn similar_requests_take_their_route() {
    let router = "policy = \"semantic\"\ndefault = \"other\"\nsemantic = { encoder = \"google\",\n\
                  routes = [{ to = \"small\", share = 0.5 }, { to = \"large\", share = 0.3, score_threshold = 0.7 }],\n\
                  same_intent = { mean = 0.8, sd = 0.05 }, different_intent = { mean = 0.3, sd = 0.05 } }";
    let output = simulate(&scenario(POISSON, router), 100);
    let pass = |threshold: f64| standard().cdf((0.8 - threshold) / 0.05);
    near("small", share(&output, "small"), 0.5 * pass(0.75), 0.006);
    near("large", share(&output, "large"), 0.3 * pass(0.7), 0.006);
    let measures = &output.components.iter().find(|component| component.name == "router").unwrap().measures;
    let misrouted = measures.iter().find(|measure| measure.name == "misrouted_share").unwrap().value.unwrap();
    near("misrouted", misrouted, 0.5 * (1.0 - pass(0.75)) + 0.3 * (1.0 - pass(0.7)), 0.006);
    // Requests of one topic belong to one route.
    let one_topic = format!("{POISSON}\ntopics = {{ count = 1, zipf = 0 }}");
    let sharp = router.replace("sd = 0.05", "sd = 0.0001");
    let output = simulate(&scenario(&one_topic, &sharp), 5);
    let shares = ["small", "large", "other"].map(|name| share(&output, name));
    assert!(shares.contains(&1.0), "{shares:?}");
}

#[test]
fn the_cheapest_model_that_does_takes_the_load_until_it_is_slow() {
    let cheapest = |bounds: &str| {
        let router = format!(
            "policy = \"cheapest\"\ncheapest = {{ models = [{{ to = \"small\", latency = \"1ms\" }}, \
             {{ to = \"large\", latency = \"2ms\" }}]{bounds} }}"
        );
        // One server of 1 ms: overloaded by 2,000 requests a second.
        let text = predicted(&router).replace("1000/s", "2000/s");
        text.replacen("servers = 1000", "servers = 1", 1)
    };
    // Whoever may be as slow as he likes gets all.
    assert_eq!(share(&simulate(&cheapest(""), 5), "large"), 0.0);
    assert_eq!(share(&simulate(&cheapest(", accuracy_bound = 0.8"), 5), "small"), 0.0);
    let bounded = |scrape: &str| {
        let bounds =
            format!(", accuracy_bound = 0.5, latency_bound = \"50ms\", scrape_interval = \"{scrape}\"");
        let output = simulate(&cheapest(&bounds), 20);
        let small = output.components.iter().find(|component| component.name == "small").unwrap();
        (share(&output, "small"), small.meter.queue.max())
    };
    // Fresh signals keep the cheap model just busy, with 50 waiting at most and what comes in a millisecond.
    let (fresh, line) = bounded("1ms");
    near("share", fresh, 0.5, 0.02);
    assert!((49..=60).contains(&line), "{line}");
    // Stale ones let its line swing by what comes in between, and leave it idle at times.
    let (stale, line) = bounded("200ms");
    assert!(stale < 0.5 && line > 150, "{stale}, {line}");
}

#[test]
fn a_router_that_fails_falls_back_to_the_strong_model() {
    let base = "policy = \"strong_share\"\nstrong_share = { weak = \"small\", strong = \"large\", auc = 0.8, share = 0.2 }";
    let large = |more: &str, faults: &str| {
        share(&simulate(&format!("{}\n{faults}", predicted(&format!("{base}\n{more}"))), 50), "large")
    };
    near("errors", large("error_rate = 0.25", ""), 0.25 + 0.75 * 0.2, 0.01);
    // Half of the classifications take longer than the timeout.
    let uniform = "latency = { uniform = { min = \"0ms\", max = \"20ms\" } }\ntimeout = \"10ms\"";
    near("timeouts", large(uniform, ""), 0.5 + 0.5 * 0.2, 0.01);
    let crash = "[[fault]]\nat = \"10s\"\ntarget = \"router\"\nkind = \"crash\"\nrepair = \"20s\"";
    near("outage", large("latency = \"5ms\"", crash), 0.4 + 0.6 * 0.2, 0.01);
    near("weak", large("latency = \"5ms\"\nfallback = \"small\"", crash), 0.6 * 0.2, 0.01);
    // Nothing fails, and classifications are paid.
    let text = predicted(&format!("{base}\nlatency = \"5ms\"\nprice_per_request = \"$0.001\"\n"));
    let output = simulate(&format!("{text}\n{crash}"), 50);
    assert_eq!(output.conservation.ended, [output.conservation.born, 0, 0, 0, 0]);
    let usd = output.requests[0].usage_usd_per_request().unwrap();
    near("price", usd, 0.0006, 0.00002);
}

#[test]
fn what_cannot_be_predicted_is_told_with_its_place() {
    let share = |settings: &str| format!("policy = \"strong_share\"\nstrong_share = {{ {settings} }}");
    let models = "weak = \"small\", strong = \"large\"";
    for (router, place, message) in [
        ("policy = \"classifier\"".to_owned(), "classifier", "needs `classifier`"),
        ("policy = \"confusion\"".into(), "confusion", "confusion table of 0 rows"),
        (share(&format!("{models}, auc = 1, share = 0.5")), "strong_share auc", "`auc` is 1"),
        (share(&format!("{models}, auc = 0.4, share = 0.5")), "strong_share auc", "`auc` is 0.4"),
        (
            share("weak = \"other\", strong = \"large\", auc = 0.8, share = 0.5"),
            "strong_share weak",
            "answers as no model",
        ),
        (
            share("weak = \"smol\", strong = \"large\", auc = 0.8, share = 0.5"),
            "strong_share weak",
            "unknown component `smol`",
        ),
        (
            "policy = \"confusion\"\nconfusion = { small = { small = 1 }, large = { small = 0.5 } }".into(),
            "confusion large",
            "the shares sum to 0.5",
        ),
        ("policy = \"cheapest\"\ncheapest = { models = [] }".into(), "cheapest models", "there are no models"),
        (
            "policy = \"cheapest\"\ncheapest = { models = [{ to = \"small\", latency = \"1s\" }], accuracy_bound = 0.8 }"
                .into(),
            "cheapest models",
            "no model has an accuracy of 0.8",
        ),
        (
            "policy = \"cheapest\"\ncheapest = { models = [{ to = \"other\", latency = \"1s\" }], accuracy_bound = 0.8 }"
                .into(),
            "cheapest models 0 accuracy",
            "nothing says how accurate",
        ),
        (
            "policy = \"semantic\"\nsemantic = { routes = [], same_intent = { mean = 1, sd = 1 }, \
             different_intent = { mean = 0, sd = 1 } }"
                .into(),
            "default",
            "needs a `default`",
        ),
        (
            "policy = \"semantic\"\ndefault = \"other\"\nsemantic = { routes = [{ to = \"small\", share = 1 }], \
             same_intent = { mean = 1, sd = 1 }, different_intent = { mean = 0, sd = 1 } }"
                .into(),
            "semantic routes 0 score_threshold",
            "no threshold",
        ),
        (format!("{RANDOM}\ntimeout = \"1s\""), "timeout", "the choice takes no time"),
        (format!("{RANDOM}\ncheapest = {{ models = [] }}"), "cheapest", "says nothing with policy = \"random\""),
    ] {
        let text = predicted(&router);
        let config: SystemConfig = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        assert_eq!(error.path.join(" "), format!("components router {place}"), "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    let router = share(&format!("{models}, auc = 0.8, share = 0.5"));
    let config: SystemConfig = toml::from_str(&scenario(POISSON, &router)).unwrap();
    let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
    assert!(error.help.unwrap().contains("add a [quality] table"));
}
