//! The report of a plan, and its tables.

use super::axis::{Axis, Unit};
use super::bars::Span;
use super::picture::Picture;
use super::pictures::{Choice, pareto, tornado};
use super::stress::times;
use super::table::Table;
use super::{Block, Report, named};
use crate::language::Loaded;
use crate::plan::{Effect, Evaluated, Fleet, Found, FrontPoint, Plan, Target};
use crate::results::show::{count, optional, percent, plural, rate, seconds, usd};

/// Rows of the table of what was run.
const ROWS: usize = 12;

/// What a plan is of.
pub fn title(loaded: &Loaded) -> String {
    named(&loaded.scenario.name, &loaded.variant)
}

/// A plan that was made, to be told.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The scenario.
    pub loaded: &'a Loaded,
    /// The load that was planned for.
    pub target: Target,
    /// The pool of which it was asked how many are to be kept warm.
    pub warm: Option<&'a str>,
    /// The plan.
    pub plan: &'a Plan<'a>,
    /// What was found.
    pub found: &'a Found,
    /// What more money buys, if that was asked.
    pub front: &'a [FrontPoint],
    /// What it hangs on, if that was asked.
    pub effects: &'a [Effect],
}

impl Planned<'_> {
    /// What was looked for.
    pub fn question(&self) -> String {
        format!("{}: the cheapest that keeps to the SLO {}", title(self.loaded), self.load())
    }

    fn load(&self) -> String {
        match self.target {
            Target::Scale(scale) => format!("at {} the load", times(scale)),
            Target::Rate(rate) => format!("at {rate}"),
            Target::Users(users, each) => {
                let each = each.map_or(String::new(), |each| format!(" who send {each} each"));
                let scale = self.target.scale(&self.loaded.scenario).unwrap_or(1.0);
                format!("for {}{each} ({} the load)", plural(f64::from(users), "user"), times(scale))
            }
        }
    }

    /// The answer: what it is and costs, its figures, what is nearest to its limit, how to take it. Or why there is none.
    pub fn answer(&self) -> Vec<String> {
        let Some(best) = &self.found.best else { return vec![self.none()] };
        let scenario = self.plan.scenario(best).ok();
        let has_servers = |fleet: &Fleet| {
            let component = scenario.as_ref().and_then(|scenario| scenario.components.get(&fleet.component));
            component.is_some_and(|component| component.kind() == "service" && !component.is_pool())
        };
        let fleets: Vec<String> = best.fleets.iter().map(|one| fleet(one, has_servers(one))).collect();
        let good = best
            .usd_per_1k_good
            .map_or(String::new(), |good| format!(", {} for 1,000 good answers", usd(good)));
        let mut lines = Vec::new();
        if let (Some(component), Some((_, value))) = (self.warm, best.settings.first()) {
            lines.push(format!("`{component}` must keep {value} warm"));
        }
        let bill = format!("{} a month{good}", usd(best.usd_per_month));
        lines.push(match fleets.is_empty() {
            true => bill,
            false => format!("{}: {bill}", fleets.join(", ")),
        });
        let figures = [
            best.latency_p99_s.map(|value| format!("latency p99 {}", seconds(value))),
            best.ttft_p95_s.map(|value| format!("TTFT p95 {}", seconds(value))),
            best.error_rate.map(|value| format!("errors {}", percent(value))),
            best.slo_attainment.map(|value| format!("{} of the answers good", percent(value))),
            best.accuracy.map(|value| format!("accuracy {}", percent(value))),
        ];
        lines.push(figures.into_iter().flatten().collect::<Vec<_>>().join(", "));
        lines.push(best.why.clone());
        let sets = best.sets().into_iter().map(|set| format!("--set '{}'", set.replace('\'', "'\\''")));
        lines.push(format!("take it: {}", sets.collect::<Vec<_>>().join(" ")));
        lines
    }

    fn none(&self) -> String {
        let start =
            if self.found.complete { "none holds" } else { "none was found before the search was stopped" };
        // The most expensive one that failed says most.
        let last = self.found.evaluated.iter().rev().find(|one| !one.holds);
        let why = last.map_or(String::new(), |one| format!("; with {}: {}", values(one), one.why));
        format!("{start}{why}")
    }

    /// Among what was looked, and how much of it was run.
    pub fn effort(&self) -> (String, String) {
        let axes = self.plan.axes();
        let axes: Vec<String> = axes.iter().map(|(path, values)| format!("{path} ({values})")).collect();
        let (found, out) = (self.found, self.found.ruled_out);
        let reasons = [
            (out.unbuildable, "cannot be built"),
            (out.budget, "beyond the budget"),
            (out.law, "with less capacity than is asked of them"),
            (out.less, "with less than one that fails"),
            (out.shortage, "with no more of what one that fails is short of"),
            (out.quality, "wrong as often as one that has enough of everything"),
            (out.dearer, "that cost no less than one that holds"),
        ];
        let reasons = reasons.iter().filter(|(number, _)| *number > 0);
        let reasons: Vec<String> =
            reasons.map(|(number, why)| format!("{} {why}", count(*number as f64))).collect();
        let full = found.evaluated.iter().filter(|one| one.full).count();
        let among = format!("Among {} of {}", plural(found.points as f64, "configuration"), axes.join(", "));
        let mut run = format!("run: {}, {full} of them in full", count(found.evaluated.len() as f64));
        if !reasons.is_empty() {
            run.push_str(&format!("; not run: {}", reasons.join(", ")));
        }
        (among, run)
    }

    /// What was run, or what more money buys; and what it all hangs on.
    pub fn tables(&self) -> Vec<Table> {
        let first = if self.front.is_empty() { self.run() } else { self.money() };
        std::iter::once(first).chain((!self.effects.is_empty()).then(|| self.hangs_on())).collect()
    }

    fn run(&self) -> Table {
        // Around the answer: those just below and above it.
        let all = &self.found.evaluated;
        let place = |best: &Evaluated| all.iter().position(|one| one.point == best.point);
        let middle = self.found.best.as_ref().and_then(place).unwrap_or(all.len());
        let from = middle.saturating_sub(ROWS / 2).min(all.len().saturating_sub(ROWS));
        let note = match all.len().saturating_sub(ROWS) {
            0 => "the cheapest first".to_owned(),
            hidden => format!("the cheapest first; not shown: {hidden}"),
        };
        let mut table = Table::new("Run", &note, 2, &HEADER);
        for one in all.iter().skip(from).take(ROWS) {
            table.row(cells(one));
        }
        table
    }

    fn money(&self) -> Table {
        let note = "run in full, the cheapest first; dominated: another is no worse in anything";
        let mut table = Table::new("What more money buys", note, 2, &[&HEADER[..], &["front"]].concat());
        for one in self.front {
            let best = self.found.best.as_ref().is_some_and(|best| best.point == one.evaluated.point);
            let place = match (one.dominated_by, best) {
                (None, true) => "front, cheapest",
                (None, false) => "front",
                (Some(_), true) => "cheapest",
                (Some(_), false) => "dominated",
            };
            table.row([cells(&one.evaluated), vec![place.to_owned()]].concat());
        }
        table
    }

    fn hangs_on(&self) -> Table {
        let note = "one thing at a time, from the answer; the largest effect first";
        let header = ["what", "step", "per month", "latency p99", "errors", "SLO"];
        let mut table = Table::new("What it hangs on", note, 2, &header);
        for effect in self.effects {
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
        table
    }

    /// The plan for people: the answer, what else was run, what more money buys, what it hangs on.
    pub fn report(&self) -> Report {
        let (among, run) = self.effort();
        let mut report = Report {
            title: self.question(),
            lead: format!("{among}; {run}"),
            blocks: Vec::new(),
            provenance: self.plan.origin(self.found),
        };
        report.blocks.extend(self.loaded.scenario.description.clone().map(Block::Text));
        let mut answer = self.answer().into_iter();
        let text = match (&self.found.best, answer.next()) {
            (Some(_), first) => format!("The cheapest: {}.", first.unwrap_or_default()),
            (None, why) => format!("Of what was looked among, {}.", why.unwrap_or_default()),
        };
        report.blocks.push(Block::Verdict { pass: Some(self.found.best.is_some()), text });
        report.blocks.push(Block::Items(answer.collect()));
        report.blocks.push(Block::Heading("What else there is".to_owned()));
        report.picture(self.by_cost());
        let mut tables = self.tables().into_iter().map(Block::Table);
        report.blocks.extend(tables.next());
        if let (Some(best), false) = (&self.found.best, self.effects.is_empty()) {
            report.blocks.push(Block::Heading("What it hangs on".to_owned()));
            let bill = Axis::linear("bill for a month", Unit::Usd);
            report.picture(self.steps("tornado-cost", bill, Some(best.usd_per_month), |one| one.usd));
            let latency = Axis::linear("latency p99", Unit::Seconds);
            report
                .picture(self.steps("tornado-latency", latency, best.latency_p99_s, |one| one.latency_p99_s));
        }
        report.blocks.extend(tables);
        report
    }

    /// All that was run in full.
    fn by_cost(&self) -> Option<Picture> {
        let front = self.front.iter().map(|one| &one.evaluated);
        let known = |one: &&Evaluated| !self.front.iter().any(|other| other.evaluated.point == one.point);
        let rest = self.found.evaluated.iter().filter(|one| one.full).filter(known);
        let choice = |one: &Evaluated| {
            let (cost, figure) = (one.usd_per_month, one.latency_p99_s?);
            Some(Choice { name: values(one), cost, figure, pass: Some(one.holds) })
        };
        let choices: Vec<Choice> = front.chain(rest).filter_map(choice).collect();
        let cost = Axis::linear("bill for a month", Unit::Usd);
        let latency = Axis::log("latency p99", Unit::Seconds);
        pareto("pareto", "Latency p99 by cost of what was run in full", cost, latency, &choices, false)
    }

    fn steps(
        &self,
        name: &str,
        axis: Axis,
        base: Option<f64>,
        of: impl Fn(&Effect) -> Option<f64>,
    ) -> Option<Picture> {
        let base = base?;
        let mut spans: Vec<Span> = Vec::new();
        for effect in self.effects {
            let Some(change) = of(effect) else { continue };
            if !spans.iter().any(|span| span.name == effect.what) {
                spans.push(Span { name: effect.what.clone(), low: base, high: base, mark: None });
            }
            let own = spans.iter_mut().find(|span| span.name == effect.what)?;
            *(if effect.up { &mut own.high } else { &mut own.low }) = base + change;
        }
        if spans.iter().all(|span| span.low == base && span.high == base) {
            return None;
        }
        let ends = ["one step down".to_owned(), "one step up".to_owned()];
        let title = format!("What changes the {} most", axis.name);
        tornado(name, &title, axis, Some(("the answer".to_owned(), base)), ends, spans)
    }
}

fn fleet(fleet: &Fleet, has_servers: bool) -> String {
    let gpus = if fleet.gpus > 0.0 { format!(" ({})", plural(fleet.gpus, "GPU")) } else { String::new() };
    let one = if has_servers { "server" } else { "replica" };
    format!("{} of `{}`{gpus}", plural(fleet.replicas, one), fleet.component)
}

/// The values of a configuration, short: paths without `components.`.
fn values(one: &Evaluated) -> String {
    let value = |(path, value): &(String, String)| {
        format!("{}={value}", path.strip_prefix("components.").unwrap_or(path))
    };
    one.settings.iter().map(value).collect::<Vec<_>>().join(" ")
}

const HEADER: [&str; 8] =
    ["configuration", "SLO", "per month", "per 1,000 good", "latency p99", "errors", "accuracy", "good/s"];

fn cells(one: &Evaluated) -> Vec<String> {
    let mark = match (one.holds, one.full) {
        (true, true) => "pass",
        (false, true) => "FAIL",
        (true, false) => "perhaps",
        (false, false) => "FAIL (short run)",
    };
    vec![
        values(one),
        mark.to_owned(),
        usd(one.usd_per_month),
        optional(one.usd_per_1k_good, usd),
        optional(one.latency_p99_s, seconds),
        optional(one.error_rate, percent),
        optional(one.accuracy, percent),
        optional(one.goodput_per_s, rate),
    ]
}

fn signed(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    optional(value, |value| match value {
        value if value.abs() < 1e-9 => "0".to_owned(),
        value => format!("{}{}", if value > 0.0 { "+" } else { "-" }, show(value.abs())),
    })
}
