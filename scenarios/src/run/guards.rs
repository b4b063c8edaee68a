//! Endpoints of models that nothing guards.

use sim_models::link::link_ends;

use super::Warning;
use crate::scenario::Scenario;

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
