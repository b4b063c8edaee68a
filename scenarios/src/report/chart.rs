//! Lines and points over two axes.

use sim_core::stats::ExactQuantiles;

use super::axis::{Axis, Ruler, Unit};
use super::canvas::{Canvas, Point, letters};
use super::color::{BAD, Color, GRID, INK, MUTED, OUTLINE, SERIES};

/// How values are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A line through them.
    Line,
    /// Points alone.
    Points,
    /// A line through them, with a point at each.
    Both,
    /// Grey points behind the others.
    Behind,
}

impl Mark {
    /// Whether there is a line through the values.
    pub fn is_line(self) -> bool {
        matches!(self, Self::Line | Self::Both)
    }
}

/// Values of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is called in the legend.
    pub name: String,
    /// The values.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub mark: Mark,
}

/// A value of one axis that others are held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// What it is called in the legend.
    pub name: String,
    /// Its value.
    pub at: f64,
    /// Whether it is one of the x axis.
    pub vertical: bool,
}

/// Series over two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// From left to right.
    pub x: Axis,
    /// From below.
    pub y: Axis,
    /// What is drawn, seven at most.
    pub series: Vec<Series>,
    /// Dashed lines.
    pub references: Vec<Reference>,
}

/// What the x axis of a chart over time is called.
const TIME: &str = "time";

/// Letters of ticks and legends, in pixels.
pub(super) const SMALL: f64 = 12.5;
/// Height of a line of a legend.
const LINE: f64 = 20.0;
const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 270.0;
/// Length of a dash.
pub(super) const DASH: f64 = 7.0;
/// Those of several lines of one direction, so that they are told apart.
const DASHES: [f64; 4] = [DASH, 2.0, 14.0, 4.5];
/// A reference that is farther than this from the values is told of, but not drawn.
const FAR: f64 = 3.0;

/// An entry of a legend.
struct Entry {
    text: String,
    ink: Color,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Series(usize, Mark),
    /// Whether it is vertical, and how long its dashes are.
    Dashed(bool, f64),
    Absent,
}

impl Chart {
    /// An axis of the time of a run, from its start to its end, in seconds.
    pub fn time(end: f64) -> Axis {
        Axis::linear(TIME, Unit::Seconds).reaching(end)
    }

    /// Whether its x axis is the time of a run.
    pub fn is_over_time(&self) -> bool {
        self.x.name == TIME
    }

    /// Mean, p50, p99 and maximum of each series between two places of the x axis, by the name of the series. Series
    /// without a value there are left out.
    pub fn between(&self, from: f64, to: f64) -> Vec<(&str, [f64; 4])> {
        let figures = |series: &Series| {
            let own = series.points.iter().filter(|(x, y)| (from..=to).contains(x) && y.is_finite());
            let values = ExactQuantiles::new(own.map(|(_, y)| *y).collect()).ok()?;
            let sorted = values.sorted();
            let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
            Some([mean, values.quantile(0.5), values.quantile(0.99), *sorted.last()?])
        };
        self.series.iter().filter_map(|series| Some((series.name.as_str(), figures(series)?))).collect()
    }

    /// Whether there is anything to be seen.
    pub fn is_empty(&self) -> bool {
        !self.series.iter().any(|series| self.shown(series).next().is_some())
    }

    /// The dashes of a reference: other ones for each of a direction.
    fn dash(&self, number: usize) -> f64 {
        let vertical = self.references[number].vertical;
        let before = self.references[..number].iter().filter(|other| other.vertical == vertical).count();
        DASHES[before % DASHES.len()]
    }

    fn shown<'a>(&'a self, series: &'a Series) -> impl Iterator<Item = (f64, f64)> + 'a {
        series.points.iter().copied().filter(|(x, y)| self.x.shows(*x) && self.y.shows(*y))
    }

    fn rulers(&self) -> (Ruler, Ruler) {
        let points: Vec<(f64, f64)> = self.series.iter().flat_map(|series| self.shown(series)).collect();
        let highest = points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
        let farthest = points.iter().map(|(x, _)| *x).fold(self.x.reach.unwrap_or(0.0), f64::max);
        let near = |reference: &&Reference| {
            reference.at <= FAR * if reference.vertical { farthest } else { highest }
        };
        let references = |vertical| {
            let own = self.references.iter().filter(move |reference| reference.vertical == vertical);
            own.filter(near).map(|reference| reference.at)
        };
        let x = Ruler::over(&self.x, points.iter().map(|(x, _)| *x).chain(references(true)));
        let y = Ruler::over(&self.y, points.iter().map(|(_, y)| *y).chain(references(false)));
        (x, y)
    }

    fn entries(&self, x: &Ruler, y: &Ruler) -> Vec<Entry> {
        // Those without a value keep their sign, but are not told of.
        let seen = self.series.iter().enumerate().filter(|(_, series)| self.shown(series).next().is_some());
        let series = seen.map(|(number, series)| Entry {
            text: series.name.clone(),
            ink: ink(number, series.mark),
            kind: Kind::Series(number, series.mark),
        });
        let references = self.references.iter().enumerate().map(|(number, reference)| {
            let (ruler, axis) = if reference.vertical { (x, &self.x) } else { (y, &self.y) };
            let text = format!("{}: {}", reference.name, axis.unit.show(reference.at));
            let ink = if reference.vertical { INK } else { BAD };
            if axis.shows(reference.at) && (0.0..=1.0).contains(&ruler.place(reference.at)) {
                Entry { text, ink, kind: Kind::Dashed(reference.vertical, self.dash(number)) }
            } else {
                Entry { text: format!("{text} (beyond the plot)"), ink, kind: Kind::Absent }
            }
        });
        // One series needs no name beside the axis.
        let only = self.series.len() == 1 && self.series[0].name.is_empty();
        series.skip(usize::from(only)).chain(references).collect()
    }

    pub(super) fn size(&self) -> (u32, u32) {
        let (x, y) = self.rulers();
        let lines = lines(&self.entries(&x, &y)).len() as f64;
        (WIDTH as u32, (HEIGHT + 26.0 + LINE * lines + 48.0) as u32)
    }

    pub(super) fn draw(&self, canvas: &mut dyn Canvas) {
        let (x, y) = self.rulers();
        canvas.text(&y.title, (4.0, 12.0), letters(SMALL + 0.5, INK));
        let entries = self.entries(&x, &y);
        let mut top = 26.0;
        for line in lines(&entries) {
            let slot = (WIDTH - 8.0) / line.len().max(1) as f64;
            for (number, entry) in line.iter().enumerate() {
                let at = (8.0 + slot * number as f64, top + LINE / 2.0);
                sample(canvas, at, entry);
                let text = canvas.fitted(&entry.text, SMALL, slot - 46.0);
                canvas.text(&text, (at.0 + 36.0, at.1), letters(SMALL, INK));
            }
            top += LINE;
        }
        let top = top + 10.0;
        let bottom = top + HEIGHT - 10.0;
        let widest = y.ticks.iter().map(|(_, label)| canvas.width_of(label, SMALL)).fold(0.0, f64::max);
        let (left, right) = (widest + 14.0, WIDTH - 22.0);
        let place = |px: f64, py: f64| -> Point {
            (left + (right - left) * x.place(px), bottom - (bottom - top) * y.place(py))
        };
        for (tick, label) in &y.ticks {
            let (_, at) = place(x.ticks.first().map_or(x.end(), |(tick, _)| *tick), *tick);
            canvas.path(&[(left, at), (right, at)], GRID, 1.0);
            canvas.text(label, (left - 8.0, at), letters(SMALL, MUTED).to_the_left());
        }
        let mut free = f64::NEG_INFINITY;
        for (tick, label) in &x.ticks {
            let at = left + (right - left) * x.place(*tick);
            canvas.path(&[(at, bottom), (at, bottom + 5.0)], MUTED, 1.0);
            let half = canvas.width_of(label, SMALL) / 2.0;
            let at = at.min(WIDTH - half - 2.0);
            if at - half > free {
                canvas.text(label, (at, bottom + 15.0), letters(SMALL, MUTED).centred());
                free = at + half + 8.0;
            }
        }
        canvas.path(&[(left, bottom), (right, bottom)], MUTED, 1.0);
        canvas.text(&x.title, ((left + right) / 2.0, bottom + 36.0), letters(SMALL + 0.5, INK).centred());
        for (number, reference) in self.references.iter().enumerate() {
            let (ruler, axis) = if reference.vertical { (&x, &self.x) } else { (&y, &self.y) };
            let is_seen = axis.shows(reference.at) && (0.0..=1.0).contains(&ruler.place(reference.at));
            let dash = self.dash(number);
            match (is_seen, reference.vertical) {
                (false, _) => {}
                (true, true) => {
                    let at = left + (right - left) * x.place(reference.at);
                    canvas.dashed((at, top), (at, bottom), dash, INK);
                }
                (true, false) => {
                    let at = bottom - (bottom - top) * y.place(reference.at);
                    canvas.dashed((left, at), (right, at), dash, BAD);
                }
            }
        }
        let is_front = |(_, series): &(usize, &Series)| series.mark != Mark::Behind;
        let (front, behind): (Vec<_>, Vec<_>) = self.series.iter().enumerate().partition(is_front);
        for (number, series) in behind.into_iter().chain(front) {
            let ink = ink(number, series.mark);
            let points: Vec<Point> = self.shown(series).map(|(px, py)| place(px, py)).collect();
            if series.mark.is_line() && points.len() > 1 {
                canvas.path(&points, ink, 2.0);
            }
            // Of many points a few are marked, each series' at other places.
            let every = if series.mark == Mark::Line { (points.len() / 8).max(1) } else { 1 };
            let offset = if every > 1 { (number * every / 3) % every } else { 0 };
            let size = if !series.mark.is_line() && points.len() > 60 { 3.0 } else { 4.5 };
            for at in points.iter().skip(offset).step_by(every) {
                marker(canvas, *at, number, ink, size);
            }
        }
    }
}

/// Entries by lines: as many side by side as their texts allow.
fn lines(entries: &[Entry]) -> Vec<&[Entry]> {
    let longest = entries.iter().map(|entry| entry.text.chars().count()).max().unwrap_or(0);
    // A letter takes about 7.4 pixels, its sample 46.
    let each = longest as f64 * 7.4 + 50.0;
    let side_by_side = ((WIDTH / each) as usize).clamp(1, 7);
    entries.chunks(side_by_side).collect()
}

fn ink(number: usize, mark: Mark) -> Color {
    if mark == Mark::Behind { OUTLINE } else { SERIES[number % SERIES.len()] }
}

fn sample(canvas: &mut dyn Canvas, (x, y): Point, entry: &Entry) {
    match entry.kind {
        Kind::Series(number, mark) => {
            if mark.is_line() {
                canvas.path(&[(x, y), (x + 28.0, y)], entry.ink, 2.0);
            }
            marker(canvas, (x + 14.0, y), number, entry.ink, 4.5);
        }
        Kind::Dashed(true, dash) => {
            canvas.dashed((x + 14.0, y - 9.0), (x + 14.0, y + 9.0), dash, entry.ink);
        }
        Kind::Dashed(false, dash) => canvas.dashed((x, y), (x + 28.0, y), dash, entry.ink),
        Kind::Absent => {}
    }
}

/// A sign for each series, so that colour is not all that tells them apart.
pub(super) fn marker(canvas: &mut dyn Canvas, (x, y): Point, number: usize, ink: Color, size: f64) {
    let at = |points: &[Point]| -> Vec<Point> {
        points.iter().map(|(dx, dy)| (x + size * dx, y + size * dy)).collect()
    };
    let s = 0.9;
    match number % 7 {
        0 => {
            let d = 0.707;
            let circle =
                [(1.0, 0.0), (d, d), (0.0, 1.0), (-d, d), (-1.0, 0.0), (-d, -d), (0.0, -1.0), (d, -d)];
            canvas.fill(&at(&circle), ink, 1.0);
        }
        1 => canvas.fill(&at(&[(-s, -s), (s, -s), (s, s), (-s, s)]), ink, 1.0),
        2 => canvas.fill(&at(&[(0.0, -1.1), (1.1, 0.9), (-1.1, 0.9)]), ink, 1.0),
        3 => canvas.fill(&at(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]), ink, 1.0),
        4 => {
            canvas.path(&at(&[(-1.0, -1.0), (1.0, 1.0)]), ink, 2.0);
            canvas.path(&at(&[(-1.0, 1.0), (1.0, -1.0)]), ink, 2.0);
        }
        5 => canvas.fill(&at(&[(0.0, 1.1), (1.1, -0.9), (-1.1, -0.9)]), ink, 1.0),
        _ => {
            canvas.path(&at(&[(-1.2, 0.0), (1.2, 0.0)]), ink, 2.0);
            canvas.path(&at(&[(0.0, -1.2), (0.0, 1.2)]), ink, 2.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_the_figures_of_what_is_drawn_in_it() {
        let series =
            |name: &str, points: Vec<(f64, f64)>| Series { name: name.to_owned(), points, mark: Mark::Line };
        let ramp = (0..=100).map(|at| (f64::from(at), f64::from(at))).collect();
        let chart = Chart {
            x: Chart::time(100.0),
            y: Axis::linear("value", Unit::Number("")),
            series: vec![series("ramp", ramp), series("late", vec![(90.0, 7.0), (95.0, f64::NAN)])],
            references: Vec::new(),
        };
        assert!(chart.is_over_time());
        assert_eq!(chart.between(10.0, 20.0), [("ramp", [15.0, 15.0, 19.9, 20.0])]);
        assert_eq!(chart.between(89.5, 90.0), [("ramp", [90.0; 4]), ("late", [7.0; 4])]);
        assert!(chart.between(200.0, 300.0).is_empty());
    }
}
