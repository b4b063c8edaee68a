//! Plans as tables and sentences for people.

use scenarios::Loaded;
use scenarios::plan::BreakEven;
use scenarios::report::Table;
use scenarios::report::plan::{Planned, title};
use scenarios::results::show::{count, optional, percent, usd};

use super::section;

/// The answer, what else was run, what more money buys and what it all hangs on.
pub fn plan(planned: &Planned) -> String {
    let indented =
        |lines: Vec<String>| lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
    let (among, run) = planned.effort();
    let mut parts = vec![planned.question(), indented(planned.answer()), format!("{among}\n  {run}")];
    parts.extend(planned.tables().iter().map(section));
    parts.join("\n\n")
}

/// An own pool against an API.
pub fn break_even(loaded: &Loaded, even: &BreakEven) -> String {
    let mut lines = vec![
        format!("{}: `{}` against an API", title(loaded), even.component),
        format!(
            "  a call has {} prompt and {} output tokens: 1,000 of them cost {} at the API; the pool costs {} an hour",
            count(even.prompt_tokens),
            count(even.output_tokens),
            usd(1e3 * even.api_usd_per_call),
            usd(even.usd_per_hour)
        ),
    ];
    let at = format!(
        "{} calls a day ({} output tokens a day)",
        count(even.even_calls_per_day),
        count(even.even_output_tokens_per_day())
    );
    let most = even
        .most_calls_per_day
        .map_or("none within the SLO".to_owned(), |most| format!("{} within the SLO", count(most)));
    lines.push(match (even.pays(), even.even_utilization()) {
        (true, Some(share)) => format!(
            "  from {at} on the pool is cheaper: {} of the most that the system can do with it ({most})",
            percent(share)
        ),
        _ => format!("  the pool never gets cheaper: it would have to do {at}, and can do {most}"),
    });
    let now = match even.most_calls_per_day {
        Some(most) if even.calls_per_day > most => "today there are more than it can do within the SLO",
        None => "today it does not keep to the SLO",
        _ if even.calls_per_day >= even.even_calls_per_day => "today the pool is cheaper",
        _ => "today the API is cheaper",
    };
    lines.push(format!("  {now}: {} calls a day", count(even.calls_per_day)));
    let note = "prompts in the price; $/h / (tokens/s x 3600 x use) x 10^6";
    let mut table = Table::new("By use", note, 1, &["use of the pool", "USD for 1M output tokens"]);
    for share in [0.1, 0.25, 0.5, 0.75, 1.0] {
        table.row([percent(share), optional(even.usd_per_million(share), usd)]);
    }
    table.row(["the API".to_owned(), usd(even.api_usd_per_million)]);
    lines.push(section(&table));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_even_does_not_contradict_itself() {
        let loaded = scenarios::library().iter().find(|one| one.id == "queueing-basics").unwrap();
        let loaded = scenarios::parse(loaded.text, "x.toml", ".".as_ref(), &[]).unwrap();
        let even = |most_calls_per_day: Option<f64>, calls_per_day: f64| {
            let even = BreakEven {
                component: "llm".to_owned(),
                usd_per_hour: 1.0,
                prompt_tokens: 100.0,
                output_tokens: 10.0,
                api_usd_per_call: 0.024,
                calls_per_day,
                even_calls_per_day: 1000.0,
                most_calls_per_day,
                api_usd_per_million: 2400.0,
            };
            break_even(&loaded, &even)
        };
        for (most, now, says, today) in [
            (Some(2000.0), 1500.0, "on the pool is cheaper", "today the pool is cheaper: 1,500"),
            (Some(2000.0), 500.0, "on the pool is cheaper", "today the API is cheaper: 500"),
            (Some(800.0), 500.0, "never gets cheaper", "today the API is cheaper: 500"),
            (
                Some(800.0),
                1500.0,
                "never gets cheaper",
                "today there are more than it can do within the SLO: 1,500",
            ),
            (None, 1500.0, "never gets cheaper", "today it does not keep to the SLO: 1,500"),
        ] {
            let told = even(most, now);
            assert!(told.contains(says) && told.contains(today), "{told}");
        }
    }
}
