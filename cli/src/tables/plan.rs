//! Plans as tables and sentences for people.

use scenarios::Loaded;
use scenarios::language::BASE;
use scenarios::plan::{BreakEven, Effect, Evaluated, Fleet, Found, FrontPoint, Plan, Target};
use scenarios::report::Table;
use scenarios::report::stress::times;
use scenarios::results::show::{count, digits, optional, percent, rate, seconds, usd};

use super::section;

/// Rows of the table of what was run.
const ROWS: usize = 12;

fn title(loaded: &Loaded) -> String {
    match loaded.variant.as_str() {
        BASE => loaded.scenario.name.clone(),
        name => format!("{}, variant `{name}`", loaded.scenario.name),
    }
}

fn load(loaded: &Loaded, target: Target) -> String {
    match target {
        Target::Scale(scale) => format!("at {} the load", times(scale)),
        Target::Rate(rate) => format!("at {rate}"),
        Target::Users(users, each) => {
            let each = each.map_or(String::new(), |each| format!(" who send {each} each"));
            let scale = target.scale(&loaded.scenario).unwrap_or(1.0);
            format!("for {} users{each} ({} the load)", count(f64::from(users)), times(scale))
        }
    }
}

fn plural(number: f64, one: &str) -> String {
    let shown = if number.fract() == 0.0 { count(number) } else { digits(number) };
    format!("{shown} {one}{}", if number == 1.0 { "" } else { "s" })
}

fn fleet(fleet: &Fleet) -> String {
    let gpus = if fleet.gpus > 0.0 { format!(" ({})", plural(fleet.gpus, "GPU")) } else { String::new() };
    format!("{} of `{}`{gpus}", plural(fleet.replicas, "replica"), fleet.component)
}

/// The values of a configuration, short: paths without `components.`.
fn values(one: &Evaluated) -> String {
    let value = |(path, value): &(String, String)| {
        format!("{}={value}", path.strip_prefix("components.").unwrap_or(path))
    };
    one.settings.iter().map(value).collect::<Vec<_>>().join(" ")
}

/// The answer, what else was run, what more money buys and what it all hangs on.
pub fn plan(
    loaded: &Loaded,
    target: Target,
    warm: Option<&str>,
    plan: &Plan,
    found: &Found,
    front: &[FrontPoint],
    effects: &[Effect],
) -> String {
    let mut parts =
        vec![format!("{}: the cheapest that keeps to the SLO {}", title(loaded), load(loaded, target))];
    parts.push(match &found.best {
        Some(best) => answer(best, warm),
        None => none(found),
    });
    parts.push(effort(plan, found));
    if front.is_empty() {
        parts.push(run(found));
    } else {
        parts.push(pareto(front, found));
    }
    if !effects.is_empty() {
        parts.push(tornado(effects));
    }
    parts.join("\n\n")
}

fn answer(best: &Evaluated, warm: Option<&str>) -> String {
    let fleets: Vec<String> = best.fleets.iter().map(fleet).collect();
    let good =
        best.usd_per_1k_good.map_or(String::new(), |good| format!(", {} for 1,000 good answers", usd(good)));
    let mut lines = Vec::new();
    if let (Some(component), Some((_, value))) = (warm, best.settings.first()) {
        lines.push(format!("  `{component}` must keep {value} warm"));
    }
    let bill = format!("{} a month{good}", usd(best.usd_per_month));
    lines.push(match fleets.is_empty() {
        true => format!("  {bill}"),
        false => format!("  {}: {bill}", fleets.join(", ")),
    });
    let figures = [
        best.latency_p99_s.map(|value| format!("latency p99 {}", seconds(value))),
        best.ttft_p95_s.map(|value| format!("TTFT p95 {}", seconds(value))),
        best.error_rate.map(|value| format!("errors {}", percent(value))),
        best.slo_attainment.map(|value| format!("{} of the answers good", percent(value))),
        best.accuracy.map(|value| format!("accuracy {}", percent(value))),
    ];
    lines.push(format!("  {}", figures.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    lines.push(format!("  {}", best.why));
    let sets = best.sets().into_iter().map(|set| format!("--set '{}'", set.replace('\'', "'\\''")));
    lines.push(format!("  take it: {}", sets.collect::<Vec<_>>().join(" ")));
    lines.join("\n")
}

fn none(found: &Found) -> String {
    let start =
        if found.complete { "  none holds" } else { "  none was found before the search was stopped" };
    // The most expensive one that failed says most.
    let last = found.evaluated.iter().rev().find(|one| !one.holds);
    let why = last.map_or(String::new(), |one| format!("; with {}: {}", values(one), one.why));
    format!("{start}{why}")
}

fn effort(plan: &Plan, found: &Found) -> String {
    let axes: Vec<String> = plan.axes().iter().map(|(path, values)| format!("{path} ({values})")).collect();
    let out = found.ruled_out;
    let reasons = [
        (out.unbuildable, "cannot be built"),
        (out.budget, "are beyond the budget"),
        (out.law, "have less capacity than is asked of them"),
        (out.less, "have less than one that fails"),
        (out.shortage, "have no more of what one that fails is short of"),
        (out.dearer, "cost no less than one that holds"),
    ];
    let reasons = reasons.iter().filter(|(number, _)| *number > 0);
    let reasons: Vec<String> =
        reasons.map(|(number, why)| format!("{} {why}", count(*number as f64))).collect();
    let full = found.evaluated.iter().filter(|one| one.full).count();
    let mut text = format!(
        "Among {} configurations of {}\n  run: {}, {full} of them in full",
        count(found.points as f64),
        axes.join(", "),
        count(found.evaluated.len() as f64),
    );
    if !reasons.is_empty() {
        text.push_str(&format!("; not run: {}", reasons.join(", ")));
    }
    text
}

fn cells(one: &Evaluated, mark: String) -> Vec<String> {
    vec![
        values(one),
        mark,
        usd(one.usd_per_month),
        optional(one.usd_per_1k_good, usd),
        optional(one.latency_p99_s, seconds),
        optional(one.error_rate, percent),
        optional(one.accuracy, percent),
        optional(one.goodput_per_s, rate),
    ]
}

const HEADER: [&str; 8] =
    ["configuration", "SLO", "per month", "per 1,000 good", "latency p99", "errors", "accuracy", "good/s"];

fn mark(one: &Evaluated) -> String {
    match (one.holds, one.full) {
        (true, true) => "pass",
        (false, true) => "FAIL",
        (true, false) => "perhaps",
        (false, false) => "FAIL (short run)",
    }
    .to_owned()
}

fn run(found: &Found) -> String {
    // Around the answer: those just below and above it.
    let place = |best: &Evaluated| found.evaluated.iter().position(|one| one.point == best.point);
    let middle = found.best.as_ref().and_then(place).unwrap_or(found.evaluated.len());
    let from = middle.saturating_sub(ROWS / 2).min(found.evaluated.len().saturating_sub(ROWS));
    let hidden = found.evaluated.len().saturating_sub(ROWS);
    let note = if hidden > 0 {
        format!("the cheapest first; {hidden} more are not shown")
    } else {
        "the cheapest first".to_owned()
    };
    let mut table = Table::new("Run", &note, 2, &HEADER);
    for one in found.evaluated.iter().skip(from).take(ROWS) {
        table.row(cells(one, mark(one)));
    }
    section(&table)
}

fn pareto(front: &[FrontPoint], found: &Found) -> String {
    let note = "run in full, the cheapest first; dominated: another is no worse in anything";
    let mut table = Table::new("What more money buys", note, 2, &[&HEADER[..], &["front"]].concat());
    for one in front {
        let best = found.best.as_ref().is_some_and(|best| best.point == one.evaluated.point);
        let place = match (one.dominated_by, best) {
            (None, true) => "front, cheapest",
            (None, false) => "front",
            (Some(_), true) => "cheapest",
            (Some(_), false) => "dominated",
        };
        table.row([cells(&one.evaluated, mark(&one.evaluated)), vec![place.to_owned()]].concat());
    }
    section(&table)
}

fn signed(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    optional(value, |value| match value {
        value if value.abs() < 1e-9 => "0".to_owned(),
        value => format!("{}{}", if value > 0.0 { "+" } else { "-" }, show(value.abs())),
    })
}

fn tornado(effects: &[Effect]) -> String {
    let note = "one thing at a time, from the answer; the largest effect first";
    let header = ["what", "step", "per month", "latency p99", "errors", "SLO"];
    let mut table = Table::new("What it hangs on", note, 2, &header);
    for effect in effects {
        table.row([
            effect.what.clone(),
            format!("{} to {}", effect.from, effect.to),
            signed(effect.usd, usd),
            signed(effect.latency_p99_s, seconds),
            signed(effect.error_rate, percent),
            match effect.holds {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "cannot be run",
            }
            .to_owned(),
        ]);
    }
    section(&table)
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
