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
    let now = match even.calls_per_day >= even.even_calls_per_day {
        true => "today the pool is cheaper",
        false => "today the API is cheaper",
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
