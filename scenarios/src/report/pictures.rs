//! Pictures that several experiments have.

use sim_core::stats::Histogram;
use sim_models::link::link_ends;
use sim_models::system::RunOutput;

use super::axis::{Axis, Unit};
use super::bars::{Span, Spans, Stack};
use super::chart::{Chart, Mark, Reference, Series};
use super::diagram::{Diagram, Node};
use super::picture::{Drawing, Picture};
use crate::results::RunResult;
use crate::results::findings::{behind, blamed, pressures};
use crate::scenario::{Quantiles, Scenario};

/// Series that are told apart in one plot.
pub(super) const MOST: usize = 6;

/// Points of a line: as many as can be seen.
const POINTS: usize = 240;

/// A choice among others: what it costs and what it gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// What it is called.
    pub name: String,
    /// What it costs; less is better.
    pub cost: f64,
    /// The figure beside it; less is better, or more where the front is asked for so.
    pub figure: f64,
    /// Whether it keeps to the SLO; none where nothing is expected.
    pub pass: Option<bool>,
}

/// The choices that no other one beats in both cost and figure, from the cheapest on.
fn front(choices: &[Choice], more_is_better: bool) -> Vec<&Choice> {
    let mut sorted: Vec<&Choice> =
        choices.iter().filter(|choice| choice.cost.is_finite() && choice.figure.is_finite()).collect();
    let better = |a: f64, b: f64| if more_is_better { a > b } else { a < b };
    let by_figure = |a: f64, b: f64| if more_is_better { b.total_cmp(&a) } else { a.total_cmp(&b) };
    sorted.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(by_figure(a.figure, b.figure)));
    let mut best: Option<f64> = None;
    sorted.retain(|choice| {
        let gains = best.is_none_or(|best| better(choice.figure, best));
        best = if gains { Some(choice.figure) } else { best };
        gains
    });
    sorted
}

/// Cost against a figure, with the choices that no other one beats in both. Choices beyond those that can be seen are
/// for the caller to leave out. None where there is nothing to choose from.
pub fn pareto(
    name: &str,
    title: &str,
    cost: Axis,
    figure: Axis,
    choices: &[Choice],
    more_is_better: bool,
) -> Option<Picture> {
    if choices.len() < 2 {
        return None;
    }
    let front = front(choices, more_is_better);
    let on_front =
        |choice: &Choice| front.iter().any(|best| (best.cost, best.figure) == (choice.cost, choice.figure));
    let of = |pass: Option<bool>, dominated: bool| -> Vec<(f64, f64)> {
        let own = choices.iter().filter(|choice| choice.pass == pass && on_front(choice) != dominated);
        own.map(|choice| (choice.cost, choice.figure)).collect()
    };
    let kinds =
        [("keeps to the SLO", Some(true)), ("misses the SLO", Some(false)), ("nothing expected", None)];
    let mut series: Vec<Series> = Vec::new();
    for (dominated, mark) in [(false, Mark::Points), (true, Mark::Behind)] {
        for (name, pass) in kinds {
            let name = if dominated { format!("{name}, dominated") } else { name.to_owned() };
            series.push(Series { name, points: of(pass, dominated), mark });
        }
    }
    // The front is a line of steps: between two of its choices there is none.
    let line = front.iter().map(|choice| (choice.cost, choice.figure)).collect();
    series.push(Series {
        name: "not beaten in both (Pareto front)".to_owned(),
        points: line,
        mark: Mark::Line,
    });
    let names: Vec<String> = front.iter().take(8).map(|choice| format!("`{}`", choice.name)).collect();
    let more = if front.len() > 8 { " and more" } else { "" };
    let caption = format!(
        "Each point is a choice. From the cheapest on, nothing else is both cheaper and better than {}{more}.",
        names.join(", ")
    );
    let chart = Chart { x: cost, y: figure, series, references: Vec::new() };
    Picture::new(name, title, caption, Drawing::Chart(chart))
}

/// What a figure becomes when one input after the other goes to its ends, the others staying: the widest first.
pub fn tornado(
    name: &str,
    title: &str,
    axis: Axis,
    base: Option<(String, f64)>,
    ends: [String; 2],
    mut spans: Vec<Span>,
) -> Option<Picture> {
    spans.retain(|span| span.low.is_finite() && span.high.is_finite());
    let width = |span: &Span| (span.high - span.low).abs();
    spans.sort_by(|a, b| width(b).total_cmp(&width(a)));
    let caption = spans.first().map_or(String::new(), |widest| {
        format!(
            "How far the {} goes when one input changes and the others stay. `{}` matters most.",
            axis.name, widest.name
        )
    });
    let drawing = Spans { axis, base, ends: Some(ends), spans };
    Picture::new(name, title, caption, Drawing::Spans(drawing))
}

/// Share of all from which on those at one value are drawn as a step.
const STEP: f64 = 0.01;

/// A distribution function, thinned to what can be seen.
fn cdf(histogram: &Histogram, per_second: f64) -> Vec<(f64, f64)> {
    let all: Vec<(f64, f64)> =
        histogram.cdf().map(|point| (point.value as f64 / per_second, point.fraction)).collect();
    // From nothing up; nothing lies between two values, where many are at the second.
    let mut before = 0.0;
    let mut points = Vec::new();
    for (value, share) in thinned(&all) {
        if share - before > STEP || points.is_empty() {
            points.push((value, before));
        }
        points.push((value, share));
        before = share;
    }
    points
}

fn thinned(all: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = all.len().div_ceil(POINTS).max(1);
    let mut points: Vec<(f64, f64)> = all.iter().copied().step_by(every).collect();
    if points.last() != all.last() {
        points.extend(all.last());
    }
    points
}

/// Bounds of the SLO as lines; in a distribution, where they are vertical, a mean cannot be seen.
pub(super) fn bounds(name: &str, bounds: Option<Quantiles>, vertical: bool) -> Vec<Reference> {
    let Quantiles { mean, p50, p95, p99 } = bounds.unwrap_or_default();
    let all = [("mean", mean), ("p50", p50), ("p95", p95), ("p99", p99)];
    let line = |(quantile, bound): (&str, Option<sim_models::units::Time>)| {
        Some(Reference { name: format!("SLO {name}{quantile}"), at: bound?.as_secs_f64(), vertical })
    };
    all.into_iter().skip(usize::from(vertical)).filter_map(line).collect()
}

/// Shares of requests within a time: of several histograms, by name.
pub(super) fn distribution(
    name: &str,
    title: &str,
    what: &str,
    histograms: Vec<(String, Histogram)>,
    references: Vec<Reference>,
) -> Option<Picture> {
    let shown = histograms.into_iter().filter(|(_, histogram)| !histogram.is_empty()).take(MOST + 1);
    let series: Vec<Series> = shown
        .map(|(name, histogram)| Series { name, points: cdf(&histogram, 1e9), mark: Mark::Line })
        .collect();
    let caption = format!(
        "Share of requests whose {what} is at most what the x axis says, over all replications. Where a line crosses \
         99% is the 99th percentile."
    );
    let chart = Chart {
        x: Axis::log(what, Unit::Seconds),
        y: Axis::linear("share of requests", Unit::Share),
        series,
        references,
    };
    Picture::new(name, title, caption, Drawing::Chart(chart))
}

/// The latencies of all requests of all replications; of one class where one is given.
pub(super) fn merged(
    outputs: &[RunOutput],
    class: Option<usize>,
    of: impl Fn(&sim_models::meter::RequestMeter) -> &Histogram,
) -> Histogram {
    let mut all = Histogram::new();
    for output in outputs {
        let tenants = output.labels.tenants.len();
        for (cell, meter) in output.requests.iter().enumerate() {
            if class.is_none_or(|class| class == cell / tenants) {
                all.merge(of(meter));
            }
        }
    }
    all
}

/// Who calls whom.
fn links(scenario: &Scenario, place: impl Fn(&str) -> Option<usize>) -> Vec<(usize, usize, bool)> {
    let mut links: Vec<(usize, usize, bool)> = Vec::new();
    let mut add = |from: &str, to: &str, fallback: bool| {
        if let (Some(from), Some(to)) = (place(from), place(to))
            && !links.iter().any(|link| (link.0, link.1) == (from, to))
        {
            links.push((from, to, fallback));
        }
    };
    for (name, traffic) in &scenario.traffic {
        add(name, &traffic.entry, false);
    }
    for (name, component) in &scenario.components {
        for (_, callee) in component.callees() {
            add(name, callee, false);
        }
    }
    for (name, link) in &scenario.links {
        let Some((from, _)) = link_ends(name) else { continue };
        for callee in link.fallback_callees() {
            add(from, callee, true);
        }
    }
    links
}

impl Diagram {
    /// The architecture of a scenario that has not been run.
    pub fn of(scenario: &Scenario) -> Self {
        Self::with(scenario, |_| (None, false, false))
    }

    /// The architecture; of each component how busy it is, whether it is short of something, and whether it is the
    /// busiest.
    fn with(scenario: &Scenario, state: impl Fn(&str) -> (Option<f64>, bool, bool)) -> Self {
        let sources = scenario.traffic.keys().map(|name| Node {
            name: name.clone(),
            kind: "traffic".to_owned(),
            utilization: None,
            bottleneck: false,
        });
        let components = scenario.components.iter().map(|(name, config)| {
            let (utilization, bottleneck, is_busiest) = state(name);
            let kind = config.kind().replace('_', " ");
            // To be busy all the time is what works by a schedule is for.
            if !config.answers_calls() {
                let kind = format!("{kind}, by schedule");
                return Node { name: name.clone(), kind, utilization: None, bottleneck };
            }
            let kind = if is_busiest { format!("{kind}: busiest") } else { kind };
            Node { name: name.clone(), kind, utilization, bottleneck }
        });
        let nodes: Vec<Node> = sources.chain(components).collect();
        let links = links(scenario, |name| nodes.iter().position(|node| node.name == name));
        Self { nodes, links }
    }
}

/// The architecture, with what a run says of it.
pub(super) fn architecture(name: &str, title: &str, result: &RunResult) -> Option<Picture> {
    let scenario = &result.scenario;
    let short: Vec<_> = blamed(result);
    let pressures = pressures(result);
    let averages = result.component_averages();
    let used = |name: &str| {
        let pressure = pressures.iter().find(|(component, _)| component == name).map(|(_, share)| *share);
        pressure.or_else(|| averages.iter().find(|row| row.keys[0] == name)?.mean("utilization"))
    };
    let busiest = pressures.iter().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|_| short.is_empty());
    let busiest = busiest.map(|(busiest, _)| busiest.as_str());
    let is_short =
        |name: &str| short.iter().any(|blamed| blamed.component == name && blamed.waits_for.is_empty());
    let diagram = Diagram::with(scenario, |name| (used(name), is_short(name), busiest == Some(name)));
    let tight: Vec<String> =
        scenario.components.keys().filter(|name| is_short(name)).map(|name| format!("`{name}`")).collect();
    let calm = if behind(result).is_empty() { "Nothing" } else { "Nothing that answers calls" };
    let said = match (tight.as_slice(), busiest) {
        ([], None) => format!("{calm} is overloaded."),
        ([], Some(busiest)) => format!("{calm} is overloaded; `{busiest}` is the busiest."),
        ([one], _) => format!("The bottleneck is {one}."),
        (several, _) => format!("The bottlenecks are {}.", several.join(", ")),
    };
    let caption = format!(
        "Calls go from left to right. A bar says how much of what the component is shortest of is in use (servers, \
         batch, KV memory), averaged over the measured part. {said}"
    );
    Picture::new(name, title, caption, Drawing::Diagram(diagram))
}

/// The bill for a month by component: a bar for each of several results, by name.
pub(super) fn bill<'a>(
    name: &str,
    title: &str,
    results: impl IntoIterator<Item = (String, &'a RunResult)>,
) -> Option<Picture> {
    let results: Vec<(String, Vec<(String, f64)>)> = results
        .into_iter()
        .map(|(name, result)| {
            let lines = result.cost_averages();
            let line = |line: &crate::results::AverageRow| {
                Some((line.keys[0].clone(), line.mean("usd_per_month")?.max(0.0)))
            };
            (name, lines.iter().filter_map(line).collect())
        })
        .collect();
    let mut parts: Vec<String> = Vec::new();
    for (component, _) in results.iter().flat_map(|(_, lines)| lines) {
        if !parts.contains(component) {
            parts.push(component.clone());
        }
    }
    let bars = results.into_iter().map(|(name, lines)| {
        let of =
            |part: &String| lines.iter().filter(|(component, _)| component == part).map(|(_, usd)| usd).sum();
        (name, parts.iter().map(of).collect())
    });
    let bars = bars.collect();
    let stack = Stack::new(Axis::linear("bill for a month of 730 hours", Unit::Usd), parts, bars);
    let caption = stack.parts.first().map_or(String::new(), |most| {
        format!("What each component costs, at list prices unless the scenario says otherwise. Most goes to `{most}`.")
    });
    Picture::new(name, title, caption, Drawing::Stack(stack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_have_in_common_is_a_step() {
        let mut times = Histogram::new();
        (0..60).for_each(|_| times.record(12));
        (0..40).for_each(|_| times.record(25));
        assert_eq!(cdf(&times, 1.0), [(12.0, 0.0), (12.0, 0.6), (25.0, 0.6), (25.0, 1.0)]);
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        let choice = |name: &str, cost, figure| Choice { name: name.to_owned(), cost, figure, pass: None };
        let choices = [
            choice("a", 1.0, 9.0),
            choice("b", 2.0, 9.0),
            choice("c", 2.0, 4.0),
            choice("d", 3.0, 5.0),
            choice("e", 4.0, 1.0),
            choice("f", 5.0, f64::NAN),
        ];
        let names = |more| front(&choices, more).iter().map(|choice| choice.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(false), ["a", "c", "e"]);
        assert_eq!(names(true), ["a"]);
    }

    #[test]
    fn what_another_beats_in_both_is_behind() {
        let choice = |cost, figure, pass| Choice { name: "x".to_owned(), cost, figure, pass };
        let choices =
            [choice(1.0, 9.0, Some(false)), choice(2.0, 4.0, Some(true)), choice(3.0, 5.0, Some(true))];
        let (cost, figure) = (Axis::linear("cost", Unit::Usd), Axis::log("latency", Unit::Seconds));
        let picture = pareto("pareto", "Pareto", cost, figure, &choices, false).unwrap();
        let Drawing::Chart(chart) = picture.drawing else { panic!("{picture:?}") };
        let points = |mark: Mark| -> Vec<(f64, f64)> {
            chart
                .series
                .iter()
                .filter(|series| series.mark == mark)
                .flat_map(|series| series.points.clone())
                .collect()
        };
        assert_eq!(points(Mark::Behind), [(3.0, 5.0)]);
        assert_eq!(points(Mark::Points), [(2.0, 4.0), (1.0, 9.0)]);
        assert_eq!(points(Mark::Line), [(1.0, 9.0), (2.0, 4.0)]);
    }
}
