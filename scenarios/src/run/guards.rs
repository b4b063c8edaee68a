//! What can be run, and is perhaps not what was meant: endpoints of models that nothing guards, and runs too short for the
//! quantiles that are asked for.

use sim_core::time::SimDuration;
use sim_models::link::link_ends;
use sim_models::system::RunPlan;
use sim_models::traffic::TrafficConfig;
use sim_models::units::Time;

use super::Warning;
use crate::results::findings::{needed_for, short, words};
use crate::scenario::{Quantiles, Scenario, Warmup};

/// Instants at which a rate that changes is looked at.
const LOOKS: u64 = 1_000;

/// Requests a second of a source, averaged over so long, later turns of sessions with the first; none where nobody can say: of closed loops and traces.
pub(crate) fn mean_rate(traffic: &TrafficConfig, length: SimDuration) -> Option<f64> {
    let at = |look: u64| SimDuration::from_nanos(length.as_nanos() / LOOKS * look);
    let sum = (0..LOOKS).map(|look| traffic.arrivals.rate_at(at(look))).sum::<Option<f64>>();
    Some(sum? / LOOKS as f64 * traffic.requests_per_arrival()?)
}

/// Quantiles of the SLO that will rest on too few requests, and how long the run would have to be for them.
pub(super) fn too_short(scenario: &Scenario, plan: &RunPlan) -> Vec<Warning> {
    let rate = |class: Option<&str>| {
        let of = |traffic: &TrafficConfig| {
            // Shares sum to 1; without any there is one class.
            let own = |class: &str| match traffic.priority.is_empty() {
                true => f64::from(u8::from(traffic.class_names(None).iter().any(|name| name == class))),
                false => traffic.priority.get(class).copied().unwrap_or(0.0),
            };
            let share = class.map_or(1.0, own);
            Some(share * plan.scale * mean_rate(traffic, plan.duration)?)
        };
        scenario.traffic.values().map(of).sum::<Option<f64>>()
    };
    let measured = plan.duration.as_secs_f64() - plan.warmup.as_secs_f64();
    let mut warnings = Vec::new();
    let mut look = |class: Option<&str>, metric: &str, bounds: Option<Quantiles>| {
        let Quantiles { p50, p95, p99, .. } = bounds.unwrap_or_default();
        // The highest asks for most.
        let asked = [("p99", 0.99, p99), ("p95", 0.95, p95), ("p50", 0.5, p50)]
            .into_iter()
            .find(|(.., bound)| bound.is_some());
        let Some(((name, q, _), rate)) = asked.zip(rate(class).filter(|rate| *rate > 0.0)) else { return };
        let (expected, needed) = (rate * measured, needed_for(q));
        if expected < needed {
            let whose = class.map_or(String::new(), |class| format!(" of `{class}`"));
            let length = plan.warmup.as_secs_f64() + needed / rate;
            warnings.push(Warning::new(
                ["run", "duration"],
                format!(
                    "{metric} {name}{whose} will rest on about {} requests in a replication, and about {needed} are needed for a \
                     sure value: a run of {}",
                    short(expected.round()),
                    words(length)
                ),
            ));
        }
    };
    let slo = &scenario.slo;
    for (metric, bounds) in [("latency", slo.latency), ("ttft", slo.ttft), ("tpot", slo.tpot)] {
        look(None, metric, bounds);
    }
    for (class, own) in &slo.class {
        for (metric, bounds) in [
            ("latency", Quantiles::of_class(own.latency, slo.latency)),
            ("ttft", Quantiles::of_class(own.ttft, slo.ttft)),
            ("tpot", Quantiles::of_class(own.tpot, slo.tpot)),
        ] {
            look(Some(class), metric, bounds);
        }
    }
    warnings
}

/// Sessions that go on for longer than the run gives them until it measures: the load still grows when it is taken for
/// steady.
pub(super) fn long_sessions(scenario: &Scenario, plan: &RunPlan) -> Vec<Warning> {
    let (limit, what) = match scenario.run.warmup {
        Warmup::Fixed(warmup) => (warmup.as_secs_f64(), "the warm-up is"),
        Warmup::Auto => (plan.duration.as_secs_f64() / 2.0, "half of the run is"),
    };
    let of = |(name, traffic): (&String, &TrafficConfig)| {
        // To the millisecond: what is left of rounding is no second more.
        let thinking = (traffic.sessions.as_ref()?.mean_thinking_s()? * 1e3).round() / 1e3;
        // Users of a closed loop are there from the start.
        traffic.arrivals.rate_at(SimDuration::ZERO)?;
        (thinking > limit).then(|| {
            let message = format!(
                "users think for {} in a session, and so long does the load grow: {what} {}",
                words(thinking),
                words(limit)
            );
            Warning::new(["traffic", name, "sessions"], message)
        })
    };
    scenario.traffic.iter().filter_map(of).collect()
}

/// Faults that begin when the run is over.
pub(super) fn too_late(scenario: &Scenario, plan: &RunPlan) -> Vec<Warning> {
    let end = plan.duration.saturating_add(plan.drain);
    let late = scenario.fault.iter().enumerate().filter_map(|(index, fault)| {
        let at = fault.at.filter(|at| at.get() >= end)?;
        let message = format!("it begins at {at}, and the run ends at {}", Time::from(end));
        Some(Warning::new(["fault", &index.to_string(), "at"], message))
    });
    late.collect()
}

/// Every endpoint of a model that is called without a timeout or a fallback, and answers of which nothing is expected.
pub(super) fn unguarded(scenario: &Scenario) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let is_model = |kind: &str| matches!(kind, "llm" | "model_server" | "external_api");
    for name in scenario.components.iter().filter(|(_, config)| is_model(config.kind())).map(|(name, _)| name)
    {
        let calls = |(caller, config): (&String, &sim_models::system::ComponentConfig)| {
            config.callees().iter().any(|(_, callee)| *callee == name.as_str()).then(|| caller.clone())
        };
        let sources = scenario.traffic.iter().filter(|(_, traffic)| traffic.entry == *name);
        let callers =
            scenario.components.iter().filter_map(calls).chain(sources.map(|(source, _)| source.clone()));
        for caller in callers {
            let mut links = scenario.links.iter();
            let link = links
                .find(|(link, _)| link_ends(link) == Some((caller.as_str(), name)))
                .map(|(_, link)| link);
            let patient = link.is_none_or(|link| link.timeout.is_none() && link.per_try_timeout.is_none());
            let stranded = link.is_none_or(|link| link.fallback.is_empty());
            let lacks = match (patient, stranded) {
                (true, true) => "neither a timeout nor a fallback",
                (true, false) => "no timeout",
                (false, true) => "no fallback",
                (false, false) => continue,
            };
            warnings.push(Warning::new(
                ["links", &format!("{caller} -> {name}")],
                format!("{lacks} for a model"),
            ));
        }
    }
    let slo = &scenario.slo;
    if slo.latency.is_none() && slo.ttft.is_none() && slo.tpot.is_none() && slo.error_rate.is_none() {
        warnings.push(Warning::new(
            ["slo"],
            "nothing is expected of answers: neither of their times nor of errors",
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    fn warnings(duration: &str, slo: &str, scale: f64) -> Vec<String> {
        let text = format!(
            "name = \"x\"\nrun = {{ duration = \"{duration}\", warmup = \"10s\" }}\n[slo]\n{slo}\n\
             [traffic.web]\nentry = \"db\"\narrivals = {{ process = \"poisson\", rate = \"10/s\" }}\n\
             priority = {{ critical = 0.25, standard = 0.75 }}\n\
             [components.db]\nkind = \"service\"\nservice_time = {{ constant = \"1ms\" }}\n"
        );
        let loaded =
            crate::parse(&text, "x", ".".as_ref(), &[]).unwrap_or_else(|error| panic!("{}", error.plain()));
        let options = crate::run::RunOptions { scale, ..Default::default() };
        let all = crate::check(&loaded, &options).unwrap();
        all.iter().filter(|warning| warning.message.contains("will rest")).map(ToString::to_string).collect()
    }

    #[test]
    fn turns_count_and_so_does_the_time_they_take() {
        let warnings = |run: &str, sessions: &str| {
            let text = format!(
                "name = \"x\"\nrun = {{ {run} }}\n[slo]\nlatency = {{ p99 = \"1s\" }}\n[traffic.web]\nentry = \"db\"\n\
                 arrivals = {{ process = \"poisson\", rate = \"1/s\" }}\nsessions = {{ {sessions} }}\n\
                 [components.db]\nkind = \"service\"\nservice_time = \"1ms\"\n"
            );
            let loaded = crate::parse(&text, "x", ".".as_ref(), &[]).unwrap();
            let all = crate::check(&loaded, &crate::run::RunOptions::default()).unwrap();
            let about = |one: &String| one.contains("will rest") || one.contains("think");
            all.iter().map(ToString::to_string).filter(about).collect::<Vec<_>>()
        };
        // A thousand requests for a p99: 250 sessions of four.
        let four = "turns = 4, think = \"10s\"";
        let run = |seconds: u32| format!("duration = \"{seconds}s\", warmup = \"30s\"");
        assert_eq!(warnings(&run(280), four), [""; 0]);
        let few = &warnings(&run(180), four)[0];
        assert!(few.contains("on about 600 requests") && few.ends_with("a run of 5 min"), "{few}");
        let slow = "turns = { uniform = { min = 1, max = 7 } }, think = { exponential = { mean = \"20s\" } }";
        let expected = "traffic.web.sessions: users think for 60 s in a session, and so long does the load grow: the \
                        warm-up is 30 s";
        assert_eq!(warnings(&run(280), slow), [expected]);
        assert_eq!(warnings("duration = \"280s\"", slow), [""; 0]);
        assert!(warnings("duration = \"100s\"", slow)[1].ends_with("half of the run is 50 s"));
    }

    #[test]
    fn a_fault_after_the_end_is_told() {
        let text = "name = \"x\"\nrun = { duration = \"2m\" }\n[traffic.web]\nentry = \"db\"\narrivals = { process = \
                    \"poisson\", rate = \"1/s\" }\n[components.db]\nkind = \"service\"\nservice_time = \"1ms\"\n\
                    [[fault]]\ntarget = \"db\"\nkind = \"crash\"\nat = \"1h\"\n";
        let told = |text: &str| {
            let loaded = crate::parse(text, "x", ".".as_ref(), &[]).unwrap();
            let all = crate::check(&loaded, &crate::run::RunOptions::default()).unwrap();
            all.iter()
                .any(|warning| warning.to_string() == "fault.0.at: it begins at 1h, and the run ends at 2m")
        };
        assert!(told(text) && !told(&text.replace("\"1h\"", "\"1m\"")));
    }

    #[test]
    fn the_arrivals_that_a_trace_replaces_are_not_judged() {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("t.csv");
        std::fs::write(&trace, "arrival_s,prompt_tokens,output_tokens\n0,1,1\n9,1,1\n").unwrap();
        let text = "name = \"x\"\n[slo]\nlatency = { p99 = \"1s\" }\n[traffic.web]\nentry = \"db\"\narrivals = { process = \
                    \"poisson\", rate = \"0.02/s\" }\n[components.db]\nkind = \"service\"\nservice_time = { constant = \"1ms\" }\n";
        let loaded = crate::parse(text, "x", ".".as_ref(), &[]).unwrap();
        let about = |trace| {
            let options = crate::run::RunOptions { trace, ..Default::default() };
            crate::check(&loaded, &options)
                .unwrap()
                .iter()
                .filter(|one| one.message.contains("will rest"))
                .count()
        };
        assert_eq!((about(None), about(Some(trace.clone()))), (1, 0));
        // Nor are its sessions.
        let text = text.replace("entry", "sessions = { turns = 3, think = \"1h\" }\nentry");
        let loaded = crate::parse(&text, "x", ".".as_ref(), &[]).unwrap();
        let options = crate::run::RunOptions { trace: Some(trace), ..Default::default() };
        let told = crate::check(&loaded, &options).unwrap();
        let told: Vec<String> =
            told.iter().map(ToString::to_string).filter(|one| one.contains("sessions")).collect();
        assert!(told.len() == 1 && told[0].contains("left out: a trace says itself"), "{told:?}");
    }

    #[test]
    fn a_run_too_short_for_a_quantile_says_how_long_it_would_have_to_be() {
        // A thousand requests for a p99, two hundred for a p95.
        let p99 = "latency = { p99 = \"1s\" }";
        assert_eq!(warnings("110s", p99, 1.0), [""; 0]);
        let short = warnings("60s", p99, 1.0);
        assert_eq!(short.len(), 1, "{short:?}");
        assert!(
            short[0].contains("latency p99 will rest on about 500 requests") && short[0].contains("1000"),
            "{short:?}"
        );
        assert!(short[0].ends_with("a run of 110 s"), "{short:?}");
        assert_eq!(warnings("60s", p99, 2.0), [""; 0]);
        assert_eq!(warnings("60s", "latency = { p95 = \"1s\" }", 1.0), [""; 0]);
        // A quarter of them is critical.
        let class = warnings("60s", "[slo.class.critical]\nlatency = { p95 = \"1s\" }\n", 1.0);
        assert!(class[0].contains("latency p95 of `critical` will rest on about 125 requests"), "{class:?}");
        assert!(class[0].ends_with("a run of 90 s"), "{class:?}");
    }
}
