//! No text breaks the reader, and every scenario survives being written and read.

use indexmap::IndexMap;
use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sim_core::time::SimDuration;
use sim_models::flow::{DetailedStep, StepConfig};
use sim_models::traffic::SessionsConfig;
use sim_models::units::{DistConfig, Law, Money, Number, Probability, Time, TimeDist};

use super::*;
use crate::scenario::{ClassSlo, Quantiles, Warmup};

/// Reads a text as a file, and its first line as an override; whatever comes of it can be shown.
fn read_whatever(text: &str) {
    let set = text.lines().next().unwrap_or_default();
    for result in [check(text, &[]), check(SHOP, &[set])] {
        match result {
            Ok(loaded) => assert_round_trip(&loaded.scenario),
            Err(error) => {
                let mut report = String::new();
                let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
                handler.render_report(&mut report, &error).unwrap();
                assert!(report.lines().count() <= 30, "{report}");
                assert!(!error.message().is_empty());
            }
        }
    }
}

fn assert_round_trip(scenario: &Scenario) {
    let canonical = scenario.to_toml();
    let again = parse(&canonical, "canonical", Path::new("."), &[]);
    let again = again.unwrap_or_else(|error| panic!("{}\n{canonical}", error.plain())).scenario;
    assert_eq!(&again, scenario, "{canonical}");
    assert_eq!(again.to_toml(), canonical);
}

/// A change of a text: something in it is replaced by a piece of another or by what is special in TOML.
type Mutation = (Index, usize, Index, usize, &'static str);

fn mutation() -> impl Strategy<Value = Mutation> {
    let special = vec![
        "",
        "",
        "",
        "=",
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        "\n",
        "#",
        "nan",
        "-1",
        "1e400",
        "0",
        "\u{e9}",
        "[[",
        "->",
        "99999999999999999999",
        "kind",
        "\"\"\"",
        "\\u0000",
        "1979-05-27",
        "true",
        "= {} #",
    ];
    (any::<Index>(), 0..12usize, any::<Index>(), 0..40usize, select(special))
}

fn mutate(text: &str, (at, length, from, copied, special): &Mutation) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.is_empty() {
        return (*special).to_owned();
    }
    let (at, from) = (at.index(chars.len()), from.index(chars.len()));
    let copy = &chars[from..(from + copied).min(chars.len())];
    let inserted: Vec<char> = if special.is_empty() { copy.to_vec() } else { special.chars().collect() };
    let end = (at + length).min(chars.len());
    chars[..at].iter().chain(&inserted).chain(&chars[end..]).collect()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[^\\p{Cc}]*", "[a-z\"'. =\\->]{0,12}", Just(String::new())]
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![any::<u64>(), 0..10_000u64].prop_map(|nanos| Time::new(SimDuration::from_nanos(nanos)))
}

fn positive() -> impl Strategy<Value = f64> {
    (prop::num::f64::POSITIVE | prop::num::f64::ZERO).prop_map(f64::abs)
}

fn dist() -> impl Strategy<Value = DistConfig<Number>> {
    let number = || (1e-3..1e12).prop_map(|value| Number::new(value).unwrap());
    prop_oneof![
        number().prop_map(DistConfig::constant),
        (number(), 0.01..10.0).prop_map(|(mean, cv)| DistConfig::Law(Box::new(Law::Gamma {
            mean,
            cv,
            min: None,
            max: None
        }))),
        prop::collection::vec(number(), 1..40).prop_map(|samples| {
            DistConfig::Law(Box::new(Law::Empirical { samples: Some(samples), quantiles: None }))
        }),
    ]
}

fn quantiles() -> impl Strategy<Value = Option<Quantiles>> {
    let one = || prop::option::of(time());
    prop::option::of((one(), one(), one(), one()).prop_map(|(mean, p50, p95, p99)| Quantiles {
        mean,
        p50,
        p95,
        p99,
    }))
}

fn step() -> impl Strategy<Value = StepConfig> {
    let many = || prop::option::of(prop::collection::vec(text(), 0..9));
    prop_oneof![
        text().prop_map(StepConfig::Call),
        (
            prop::option::of(text()),
            many(),
            prop::option::of(dist()),
            prop::option::of(dist()),
            prop::option::of(dist()),
            many()
        )
            .prop_map(|(call, parallel, repeat, appended_tokens, answer_tokens, classes)| {
                StepConfig::Detailed(DetailedStep {
                    call,
                    parallel,
                    repeat,
                    appended_tokens,
                    answer_tokens,
                    classes,
                })
            }),
    ]
}

prop_compose! {
    fn scenario()(
        name in text(),
        description in prop::option::of(text()),
        seed: u64,
        duration in prop::option::of(time()),
        warmup in prop::option::of(time()),
        latency in quantiles(),
        error_rate in prop::option::of(0.0..=1.0),
        cost in prop::option::of(0..u64::MAX),
        classes in prop::collection::vec((text(), quantiles()), 0..3),
        priority in prop::collection::vec((text(), positive()), 0..4),
        prompt_tokens in prop::option::of(dist()),
        sessions in prop::option::of((dist(), time(), prop::option::of(dist()))),
        sections in prop::collection::vec(text(), 0..4),
        steps in prop::collection::vec(step(), 0..4),
        factor in prop::option::of(positive()),
    ) -> Scenario {
        let mut scenario = parse(SHOP, "shop", Path::new("."), &[]).unwrap().scenario;
        scenario.name = name;
        scenario.description = description;
        scenario.run.seed = seed;
        scenario.run.duration = duration;
        scenario.run.warmup = warmup.map_or(Warmup::Auto, Warmup::Fixed);
        scenario.slo.latency = latency;
        scenario.slo.error_rate = error_rate.map(|rate| Probability::new(rate).unwrap());
        scenario.slo.monthly_cost = cost.map(|cents| format!("${}.{:02}", cents / 100, cents % 100).parse::<Money>().unwrap());
        let class = |(name, latency)| (name, ClassSlo { latency, ..ClassSlo::default() });
        scenario.slo.class = classes.into_iter().map(class).collect();
        scenario.traffic["web"].priority = priority.into_iter().collect();
        scenario.traffic["web"].prompt_tokens = prompt_tokens;
        scenario.traffic["web"].sessions = sessions.map(|(turns, think, appended_tokens)| {
            SessionsConfig { turns, think: TimeDist::constant(think), appended_tokens }
        });
        if let ComponentConfig::Flow(flow) = &mut scenario.components["edge"] {
            flow.steps = steps;
        }
        let traffic = scenario.traffic["web"].clone();
        let component = scenario.components["edge"].clone();
        let link = scenario.links[0].clone();
        scenario.traffic = sections.iter().map(|name| (name.clone(), traffic.clone())).collect();
        scenario.components.extend(sections.iter().map(|name| (name.clone(), component.clone())));
        scenario.links = sections.into_iter().map(|name| (name, link.clone())).collect::<IndexMap<_, _>>();
        scenario.fault[0].factor = factor;
        scenario
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_the_reader(text in ".*", toml in "[a-c\\[\\]{}=\"'.,0-9\\n -]*") {
        read_whatever(&text);
        read_whatever(&toml);
    }

    #[test]
    fn no_change_of_a_scenario_breaks_the_reader(
        which: Index,
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let texts: Vec<&str> = library().iter().map(|scenario| scenario.text).chain([SHOP]).collect();
        let text = mutations.iter().fold(texts[which.index(texts.len())].to_owned(), |text, mutation| mutate(&text, mutation));
        read_whatever(&text);
    }

    #[test]
    fn generated_scenarios_round_trip(scenario in scenario()) {
        assert_round_trip(&scenario);
    }
}

#[test]
fn deep_nesting_is_an_error() {
    for opening in ["[", "{ a = ", "[{ a = "] {
        assert!(check(&format!("name = {}", opening.repeat(20_000)), &[]).is_err());
        assert!(check(SHOP, &[&format!("name={}", opening.repeat(20_000))]).is_err());
    }
    assert!(check(&format!("{}x = 1", "a.".repeat(20_000)), &[]).is_err());
}
