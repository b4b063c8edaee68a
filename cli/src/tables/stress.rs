//! The stress test as tables for people.

use scenarios::Loaded;
use scenarios::language::BASE;
use scenarios::stress::{Blast, Diagnosis, FallbackTest, FirstBreak, Level, Limit, Recommendation, Recovery};

use super::{digits, optional, percent, rate, seconds, section, table, usd};

pub(super) fn times(k: f64) -> String {
    if k.fract() == 0.0 { format!("{k}x") } else { format!("{}x", digits(k)) }
}

fn verdict(diagnosis: Option<&Diagnosis>) -> &'static str {
    diagnosis.map_or("-", |diagnosis| if diagnosis.pass { "pass" } else { "FAIL" })
}

/// Pass or fail at each multiple, and why.
pub fn stress_levels(loaded: &Loaded, levels: &[Level]) -> String {
    let variant = match loaded.variant.as_str() {
        BASE => String::new(),
        name => format!(", variant `{name}`"),
    };
    let header = [
        "load",
        "answers",
        "pipelines",
        "cost",
        "latency p99",
        "errors",
        "good/s",
        "per month",
        "per 1,000 good",
    ];
    let mut overview = table(4, &header);
    let mut reasons = Vec::new();
    for level in levels {
        let summary = level.result.as_ref().map(|result| result.summary_averages()).unwrap_or_default();
        let all = summary.iter().find(|row| row.keys.iter().all(|key| key == "all"));
        let mean = |column: &str| all.and_then(|row| row.mean(column));
        overview.add_row([
            times(level.multiple),
            verdict(Some(&level.inference)).to_owned(),
            verdict(level.pipeline.as_ref()).to_owned(),
            verdict(level.cost.as_ref()).to_owned(),
            optional(mean("latency_p99_s"), seconds),
            optional(mean("error_rate"), percent),
            optional(mean("goodput_per_s"), rate),
            optional(mean("cost_usd_per_month"), usd),
            optional(mean("cost_usd_per_1k_good"), usd),
        ]);
        let parts = [
            ("answers", Some(&level.inference)),
            ("pipelines", level.pipeline.as_ref()),
            ("cost", level.cost.as_ref()),
        ];
        for (name, diagnosis) in parts {
            if let Some(diagnosis) = diagnosis {
                reasons.push(format!("  {:>5}  {name}: {}", times(level.multiple), diagnosis.text));
            }
        }
    }
    let title = format!("{}{variant}: the 10x stress test", loaded.scenario.name);
    [title, section("Levels", "against the SLO", &overview), format!("Why\n{}", reasons.join("\n"))]
        .join("\n\n")
}

/// Where it breaks.
pub fn stress_limit(limit: Limit) -> String {
    match (limit.passes, limit.fails) {
        (Some(passes), Some(fails)) => {
            format!(
                "Limit: answers keep to the SLO up to {} today's load, and no longer at {}",
                times(passes),
                times(fails)
            )
        }
        (Some(passes), None) => {
            format!("Limit: answers keep to the SLO even at {} today's load", times(passes))
        }
        (None, _) => "Limit: answers miss the SLO already today".to_owned(),
    }
}

/// What breaks first, and the proof.
pub fn stress_first(first: Option<&FirstBreak>) -> String {
    let Some(first) = first else { return "First to break: nothing".to_owned() };
    let mut lines = vec![match (&first.component, first.is_proven()) {
        (Some(name), true) => format!("First to break: `{name}`, proven"),
        (Some(name), false) => {
            format!("First to break: `{name}`, by what is seen; more capacity there alone does not prove it")
        }
        (None, _) => "First to break: no component alone".to_owned(),
    }];
    for suspect in &first.suspects {
        let law = suspect
            .predicted
            .map_or(String::new(), |k| format!("; by today's use it is full at {}", times(k)));
        lines.push(format!("  - {}{law}", suspect.why));
    }
    for proof in &first.proofs {
        let moved = match proof.moves {
            Some(true) => format!("the limit moves beyond {}", times(proof.multiple)),
            Some(false) => "the limit stays".to_owned(),
            None => "it has no capacity of its own".to_owned(),
        };
        lines.push(format!("  +20% for `{}`: {moved}", proof.component));
    }
    lines.join("\n")
}

/// What helps.
pub fn stress_recommendations(list: &[Recommendation], goal: f64) -> String {
    if list.is_empty() {
        return format!("What helps at {}: nothing that was tried", times(goal));
    }
    let mut rows = table(2, &["pattern", "SLO", "good/s", "per month", "change"]);
    for tried in list {
        let change = match tried.added_usd_per_month {
            added if added.abs() < 1.0 => "no cost".to_owned(),
            added => format!("{}{}", if added > 0.0 { "+" } else { "-" }, usd(added.abs())),
        };
        rows.add_row([
            tried.name.clone(),
            if tried.holds { "pass" } else { "FAIL" }.to_owned(),
            rate(tried.goodput_per_s),
            usd(tried.usd_per_month),
            change,
        ]);
    }
    let best = list.first().map(|best| {
        let sets: Vec<String> = best
            .change
            .iter()
            .map(|set| {
                if set.starts_with("--") {
                    set.clone()
                } else {
                    format!("--set '{}'", set.replace('\'', "'\\''"))
                }
            })
            .collect();
        format!("\n  try the first: {}", sets.join(" "))
    });
    let note = "each tried alone; those that hold first, then by good answers per added dollar";
    format!("{}{}", section(&format!("What helps at {}", times(goal)), note, &rows), best.unwrap_or_default())
}

/// Who is hit when a component fails.
pub fn stress_blast(blast: &[(String, Vec<Blast>)]) -> String {
    let mut rows =
        table(2, &["component", "failure", "needed by", "hit", "hit without need", "back after", ""]);
    for (component, ways) in blast {
        for way in ways {
            rows.add_row([
                component.clone(),
                way.failure.name().to_owned(),
                percent(way.needed),
                percent(way.hit),
                optional(way.hit_without_need, percent),
                match way.recovery {
                    Recovery::After(after) => seconds(after),
                    Recovery::NotWithin(watched) => format!("not in {}", seconds(watched)),
                },
                if way.passes() { "pass" } else { "FAIL" }.to_owned(),
            ]);
        }
    }
    section("Blast radius", "each component fails for a tenth of the run, at today's load", &rows)
}

/// What each fallback does when it must serve.
pub fn stress_fallbacks(tests: &[FallbackTest]) -> String {
    if tests.is_empty() {
        return "Fallbacks: no link has any".to_owned();
    }
    let mut rows = table(
        3,
        &["link", "falls back on", "load", "needed", "answered", "good", "before", "p95", "busy", ""],
    );
    for test in tests {
        rows.add_row([
            test.link.clone(),
            test.step.clone(),
            times(test.multiple),
            test.needed.to_string(),
            percent(test.answered),
            percent(test.good),
            percent(test.good_before),
            optional(test.latency_p95_s, seconds),
            optional(test.utilization, percent),
            match test.passes {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "refuses",
            }
            .to_owned(),
        ]);
    }
    let note = "all that comes before each in its chain is out of reach for the whole run";
    section("Fallbacks", note, &rows)
}
