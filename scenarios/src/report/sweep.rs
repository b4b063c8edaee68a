//! The report of a sweep.

use std::cmp::Ordering;
use std::path::Path;

use super::axis::{Axis, Unit};
use super::bars::Span;
use super::chart::{Chart, Mark, Series};
use super::matrix::{Cell, Matrix};
use super::picture::{Drawing, Picture};
use super::pictures::{Choice, bounds, pareto, tornado};
use super::table::Table;
use super::{Block, Report};
use crate::results::show::{count, optional, percent, plural, rate, seconds, usd};
use crate::sweep::{Seen, Shards, Sweep, SweepError, Swept};

/// Points of a plot: more can neither be told apart nor be sent around.
const DRAWN: usize = 4_000;
/// Rows of the table of points.
const ROWS: usize = 20;
/// Axes that are drawn one by one.
const AXES: usize = 4;
/// Values of an axis that are looked at by themselves; more are put together in fours.
const LEVELS: usize = 8;
/// Rows of a heat map.
const TALL: usize = 24;

/// The figure that points are judged by: its column, its name, and the bounds on it.
const FIGURES: [(&str, &str); 3] = [
    ("latency_p99_s", "latency p99"),
    ("ttft_p95_s", "time to first token p95"),
    ("latency_mean_s", "latency mean"),
];

const COST: &str = "cost_usd_per_month";

impl Sweep {
    /// A sweep that has been run, for people: how many points keep to the SLO, which of them are cheapest, what
    /// matters.
    ///
    /// # Errors
    /// When what is in the directory cannot be read.
    pub fn report(&self, dir: &Path) -> Result<Report, SweepError> {
        Ok(self.swept(dir)?.report())
    }

    /// The points of its chart of costs, with their numbers: what a click on one means. None where nothing costs
    /// anything.
    ///
    /// # Errors
    /// When what is in the directory cannot be read.
    pub fn choices(&self, dir: &Path) -> Result<Vec<(u64, Choice)>, SweepError> {
        let swept = self.swept(dir)?;
        let run = swept.run();
        let Some((column, _)) = swept.figure(&run) else { return Ok(Vec::new()) };
        let choice = |point: &&Seen| Some((point.point, choice(&swept.axes, point, column)?));
        let mut all: Vec<(u64, Choice)> = run.iter().filter_map(choice).collect();
        if all.iter().all(|(_, choice)| choice.cost <= 0.0) {
            all.clear();
        }
        Ok(thin(all))
    }
}

impl Shards {
    /// The same of a sweep that was run in shards.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn report(&self) -> Result<Report, SweepError> {
        Ok(self.swept()?.report())
    }
}

impl Swept {
    /// The points that could be run.
    fn run(&self) -> Vec<&Seen> {
        self.points.iter().filter(|point| !point.figures.is_empty()).collect()
    }

    /// What points are judged by, and what it is called; none where nothing was measured.
    fn figure(&self, run: &[&Seen]) -> Option<(&'static str, &'static str)> {
        let asks_first_token = self.slo.ttft.is_some() && self.slo.latency.is_none();
        let order = if asks_first_token { [1, 0, 2] } else { [0, 1, 2] };
        let measured =
            |(column, _): &(&str, &str)| run.iter().any(|point| point.figures.contains_key(column));
        order.map(|at| FIGURES[at]).into_iter().find(measured)
    }

    fn report(&self) -> Report {
        let mut report = Report {
            title: format!("{}: sweep", self.scenario),
            lead: format!(
                "{} over {} ({})",
                plural(self.points.len() as f64, "point"),
                axes_in_words(&self.axes),
                self.design
            ),
            blocks: Vec::new(),
            provenance: self.provenance.clone(),
        };
        report.blocks.extend(self.description.clone().map(Block::Text));
        let run = self.run();
        report.blocks.push(verdict(&self.points));
        let slo = &self.slo;
        let Some((column, name)) = self.figure(&run) else { return report };
        report.blocks.push(Block::Table(table(&self.axes, &run)));
        report.picture(heat_map(&self.axes, &run, column, name));
        let choices: Vec<Choice> = run.iter().filter_map(|point| choice(&self.axes, point, column)).collect();
        if choices.iter().any(|choice| choice.cost > 0.0) {
            report.blocks.push(Block::Heading("What is cheap and good".to_owned()));
            let cost = Axis::linear("bill for a month", Unit::Usd);
            let title = format!("{name} by cost");
            report.picture(pareto(
                "pareto",
                &title,
                cost,
                Axis::log(name, Unit::Seconds),
                &thin(choices),
                false,
            ));
        }
        report.blocks.push(Block::Heading("What matters".to_owned()));
        report.picture(effects(&self.axes, &run, column, name));
        for (number, axis) in self.axes.iter().enumerate().take(AXES) {
            let references = if column.starts_with("latency") {
                bounds("", slo.latency, false)
            } else {
                bounds("TTFT ", slo.ttft, false)
            };
            report.picture(along(axis, number, &run, column, name, references));
        }
        report
    }
}

fn axes_in_words(axes: &[String]) -> String {
    axes.iter().map(|axis| format!("`{axis}`")).collect::<Vec<_>>().join(", ")
}

fn verdict(points: &[Seen]) -> Block {
    let of = |wanted: Option<bool>| {
        points.iter().filter(|point| !point.figures.is_empty() && point.pass == wanted).count()
    };
    let (passed, missed) = (of(Some(true)), of(Some(false)));
    let failed = points.iter().filter(|point| point.figures.is_empty()).count();
    let mut text = match passed + missed {
        0 => "Nothing is expected of these points: the scenario has no SLO.".to_owned(),
        all => format!("Points that keep to the SLO: {} of {}.", count(passed as f64), count(all as f64)),
    };
    if failed > 0 {
        text.push_str(&format!(" {} could not be run.", count(failed as f64)));
    }
    Block::Verdict { pass: (passed + missed > 0).then_some(passed > 0), text }
}

fn named(axes: &[String], point: &Seen) -> String {
    let values = axes.iter().zip(&point.values).map(|(axis, value)| {
        let short = axis.rsplit('.').next().unwrap_or(axis);
        format!("{short} {value}")
    });
    values.collect::<Vec<_>>().join(", ")
}

fn choice(axes: &[String], point: &Seen, column: &str) -> Option<Choice> {
    let (cost, figure) = (*point.figures.get(COST)?, *point.figures.get(column)?);
    Some(Choice { name: named(axes, point), cost, figure, pass: point.pass })
}

/// As many as can be drawn, of all of the space alike.
fn thin<T>(all: Vec<T>) -> Vec<T> {
    let every = all.len().div_ceil(DRAWN).max(1);
    all.into_iter().step_by(every).collect()
}

/// The points that keep to the SLO, the cheapest first; where none does, those that come nearest.
fn table(axes: &[String], run: &[&Seen]) -> Table {
    let passing: Vec<&&Seen> = run.iter().filter(|point| point.pass == Some(true)).collect();
    let (title, mut rows) = match passing.is_empty() {
        false => ("The cheapest points that keep to the SLO", passing),
        true => ("The points with the most good answers", run.iter().collect()),
    };
    let figure = |point: &Seen, column: &str| point.figures.get(column).copied();
    let key = |point: &Seen| match title.contains("cheapest") {
        true => figure(point, COST).unwrap_or(0.0),
        false => -figure(point, "slo_attainment").unwrap_or(0.0),
    };
    rows.sort_by(|a, b| key(a).total_cmp(&key(b)).then(a.point.cmp(&b.point)));
    let all = rows.len();
    rows.truncate(ROWS);
    let note =
        if all > rows.len() { format!("{} of {}", rows.len(), count(all as f64)) } else { String::new() };
    let last = ["latency p99", "TTFT p95", "errors", "good/s", "per month", "SLO"];
    let header: Vec<&str> =
        ["point"].into_iter().chain(axes.iter().map(String::as_str)).chain(last).collect();
    let mut table = Table::new(title, &note, 0, &header);
    for point in rows {
        let figures = [
            optional(figure(point, "latency_p99_s"), seconds),
            optional(figure(point, "ttft_p95_s"), seconds),
            optional(figure(point, "error_rate"), percent),
            optional(figure(point, "goodput_per_s"), rate),
            optional(figure(point, COST), usd),
            point.pass.map_or("-", |pass| if pass { "pass" } else { "FAIL" }).to_owned(),
        ];
        table.row([point.point.to_string()].into_iter().chain(point.values.clone()).chain(figures));
    }
    table
}

/// The order of points along an axis.
fn by_value(a: &Seen, b: &Seen, number: usize) -> Ordering {
    match (a.numbers[number], b.numbers[number]) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.values[number].cmp(&b.values[number]),
    }
}

/// Points by the values of an axis, in their order; numbers of which there are many are put together in fours.
fn groups<'a>(number: usize, run: &[&'a Seen]) -> Vec<Vec<&'a Seen>> {
    let mut sorted: Vec<&Seen> = run.to_vec();
    sorted.sort_by(|a, b| by_value(a, b, number));
    let mut groups: Vec<Vec<&Seen>> = Vec::new();
    for point in sorted {
        match groups.last_mut().filter(|group| group[0].values[number] == point.values[number]) {
            Some(group) => group.push(point),
            None => groups.push(vec![point]),
        }
    }
    if groups.len() <= LEVELS {
        return groups;
    }
    let all: Vec<&Seen> = groups.into_iter().flatten().collect();
    all.chunks(all.len().div_ceil(4)).map(<[&Seen]>::to_vec).collect()
}

fn mean(points: &[&Seen], column: &str) -> Option<f64> {
    let values: Vec<f64> = points.iter().filter_map(|point| point.figures.get(column).copied()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// A figure over two axes, where their values can be shown side by side.
fn heat_map(axes: &[String], run: &[&Seen], column: &str, name: &str) -> Option<Picture> {
    let [down, across] = axes else { return None };
    let values = |number: usize| -> Vec<String> {
        let mut all: Vec<&Seen> = run.to_vec();
        all.sort_by(|a, b| by_value(a, b, number));
        all.dedup_by(|a, b| a.values[number] == b.values[number]);
        all.iter().map(|point| point.values[number].clone()).collect()
    };
    let (rows, columns) = (values(0), values(1));
    if rows.len().min(columns.len()) < 2 || rows.len() > TALL || columns.len() > LEVELS {
        return None;
    }
    let figures = || run.iter().filter_map(|point| point.figures.get(column).copied());
    let ends = figures().filter(|figure| *figure > 0.0);
    let (low, high) =
        ends.fold((f64::INFINITY, 0.0), |(low, high), figure| (figure.min(low), figure.max(high)));
    let heat = |figure: f64| {
        // Equal ratios are equal steps.
        if high > low { libm::log(figure.max(low) / low) / libm::log(high / low) } else { 0.0 }
    };
    let cell = |row: &String, across: &String| {
        let is_here = |point: &&&Seen| point.values[0] == *row && point.values[1] == *across;
        let point = run.iter().find(is_here)?;
        let figure = point.figures.get(column).copied();
        let cost = point.figures.get(COST).filter(|cost| **cost > 0.0);
        let said = figure.map_or_else(|| "no figure".to_owned(), seconds);
        let lines = [Some(said), cost.map(|cost| usd(*cost))];
        Some(Cell { pass: point.pass, heat: figure.map(heat), lines: lines.into_iter().flatten().collect() })
    };
    let cells = |row: &String| columns.iter().map(|across| cell(row, across)).collect();
    let matrix = Matrix {
        across: across.clone(),
        down: down.clone(),
        rows: rows.iter().map(|row| (row.clone(), cells(row))).collect(),
        without: "not run".to_owned(),
        columns: columns.clone(),
    };
    let range =
        if high > low { format!(" from {} to {}", seconds(low), seconds(high)) } else { String::new() };
    let caption = format!(
        "The {name} at every point{range}: the darker (in the dark: the brighter), the longer, in equal ratios. Below \
         it the bill for a month, where there is one."
    );
    Picture::new("heat-map", format!("{name} over `{down}` and `{across}`"), caption, Drawing::Matrix(matrix))
}

/// How far the mean figure goes along each axis.
fn effects(axes: &[String], run: &[&Seen], column: &str, name: &str) -> Option<Picture> {
    let spans = axes.iter().enumerate().filter_map(|(number, axis)| {
        let means: Vec<f64> = groups(number, run).iter().filter_map(|group| mean(group, column)).collect();
        let low = means.iter().copied().reduce(f64::min)?;
        let high = means.iter().copied().reduce(f64::max)?;
        (means.len() > 1).then(|| Span { name: axis.clone(), low, high, mark: None })
    });
    let ends = ["lowest mean along the axis".to_owned(), "highest".to_owned()];
    let base = mean(run, column).map(|mean| ("mean of all points".to_owned(), mean));
    let title = format!("What changes {name} most");
    tornado("tornado", &title, Axis::linear(name, Unit::Seconds), base, ends, spans.collect())
}

/// A figure of all points along one axis.
fn along(
    axis: &str,
    number: usize,
    run: &[&Seen],
    column: &str,
    name: &str,
    references: Vec<super::chart::Reference>,
) -> Option<Picture> {
    let points = |wanted: Option<bool>| -> Vec<(f64, f64)> {
        let of = run.iter().filter(|point| point.pass == wanted);
        thin(of.filter_map(|point| Some((point.numbers[number]?, *point.figures.get(column)?))).collect())
    };
    let series: Vec<Series> =
        [("keeps to the SLO", Some(true)), ("misses the SLO", Some(false)), ("nothing expected", None)]
            .into_iter()
            .map(|(name, wanted)| Series {
                name: name.to_owned(),
                points: points(wanted),
                mark: Mark::Points,
            })
            .collect();
    let chart = Chart {
        x: Axis::linear(axis, Unit::Number("")),
        y: Axis::log(name, Unit::Seconds),
        series,
        references,
    };
    let caption = format!("The {name} of every point, by its value of `{axis}`.");
    Picture::new(
        format!("axis-{}", number + 1),
        format!("{name} along `{axis}`"),
        caption,
        Drawing::Chart(chart),
    )
}
