//! Bars from left to right: stacks, and spans around a base.

use super::axis::{Axis, Ruler};
use super::canvas::{Canvas, letters};
use super::chart::{DASH, SMALL, marker};
use super::color::{BAD, GOOD, GRID, INK, MUTED, SERIES};

const WIDTH: f64 = 920.0;
/// Height of a bar and the room around it.
const ROW: f64 = 32.0;
/// Most parts of a stack that have a colour of their own.
const PARTS: usize = 7;
const LEGEND: f64 = 20.0;

/// Bars that are made of parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// What is summed up.
    pub axis: Axis,
    /// Names of the parts, seven at most.
    pub parts: Vec<String>,
    /// A bar each: its name, and a value at or above 0 for every part.
    pub bars: Vec<(String, Vec<f64>)>,
}

impl Stack {
    /// Stacks of the parts that matter most: beyond seven, the smallest are put together as `others`.
    pub fn new(axis: Axis, parts: Vec<String>, bars: Vec<(String, Vec<f64>)>) -> Self {
        let total = |part: usize| bars.iter().map(|(_, values)| values[part]).sum::<f64>();
        let mut order: Vec<usize> = (0..parts.len()).filter(|part| total(*part) > 0.0).collect();
        order.sort_by(|a, b| total(*b).total_cmp(&total(*a)));
        let kept = if order.len() > PARTS { PARTS - 1 } else { order.len() };
        let (own, rest) = order.split_at(kept);
        let mut names: Vec<String> = own.iter().map(|part| parts[*part].clone()).collect();
        if !rest.is_empty() {
            names.push(format!("{} others", rest.len()));
        }
        let bars = bars.iter().map(|(name, values)| {
            let mut own: Vec<f64> = own.iter().map(|part| values[*part]).collect();
            if !rest.is_empty() {
                own.push(rest.iter().map(|part| values[*part]).sum());
            }
            (name.clone(), own)
        });
        Self { axis, parts: names, bars: bars.collect() }
    }

    /// Whether there is anything to be seen.
    pub fn is_empty(&self) -> bool {
        self.bars.is_empty() || self.parts.is_empty()
    }

    pub(super) fn size(&self) -> (u32, u32) {
        let lines = legend_lines(&self.parts) as f64;
        (WIDTH as u32, (16.0 + LEGEND * lines + ROW * self.bars.len() as f64 + 62.0) as u32)
    }

    pub(super) fn draw(&self, canvas: &mut dyn Canvas) {
        let mut top = 6.0;
        for (line, names) in self.parts.chunks(side_by_side(&self.parts)).enumerate() {
            let slot = (WIDTH - 8.0) / side_by_side(&self.parts) as f64;
            for (place, name) in names.iter().enumerate() {
                let number = line * side_by_side(&self.parts) + place;
                let (x, y) = (8.0 + slot * place as f64, top + LEGEND / 2.0);
                canvas.rect((x, y - 6.0), (14.0, 12.0), SERIES[number], true);
                pattern(canvas, (x, y - 6.0), (14.0, 12.0), number);
                let text = canvas.fitted(name, SMALL, slot - 28.0);
                canvas.text(&text, (x + 20.0, y), letters(SMALL, INK));
            }
            top += LEGEND;
        }
        let totals: Vec<f64> = self.bars.iter().map(|(_, values)| values.iter().sum()).collect();
        let ruler = Ruler::over(&self.axis, totals.iter().copied());
        let names = self.bars.iter().map(|(name, _)| name.as_str());
        let frame = Frame::new(canvas, names, top + 10.0, self.bars.len(), 96.0);
        frame.draw(canvas, &ruler);
        for (row, ((_, values), total)) in self.bars.iter().zip(&totals).enumerate() {
            let y = frame.row(row);
            let mut below = 0.0;
            for (number, part) in values.iter().enumerate() {
                let (from, to) = (frame.x(&ruler, below), frame.x(&ruler, below + part));
                below += part;
                if to - from >= 0.5 {
                    let corner = (from, y - 10.0);
                    canvas.rect(corner, (to - from, 20.0), SERIES[number], true);
                    pattern(canvas, corner, (to - from, 20.0), number);
                    canvas.path(&[(to, y - 10.0), (to, y + 10.0)], super::color::PAPER, 1.5);
                }
            }
            let end = frame.x(&ruler, *total);
            canvas.text(&self.axis.unit.show(*total), (end + 8.0, y), letters(SMALL, INK));
        }
    }
}

/// Lines over every second part, so that colour is not all that tells neighbours apart.
fn pattern(canvas: &mut dyn Canvas, (x, y): (f64, f64), (width, height): (f64, f64), number: usize) {
    if number.is_multiple_of(2) {
        return;
    }
    let step = 7.0;
    let mut at = x + step / 2.0;
    while at < x + width {
        let end = (at + height / 2.0).min(x + width);
        let rise = (end - at) * 2.0;
        canvas.path(&[(at, y + height), (end, y + height - rise)], super::color::PAPER, 1.0);
        at += step;
    }
}

fn side_by_side(names: &[String]) -> usize {
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as f64;
    ((WIDTH / (longest * 7.4 + 40.0)) as usize).clamp(1, PARTS)
}

fn legend_lines(names: &[String]) -> usize {
    names.len().div_ceil(side_by_side(names))
}

/// Where the rows of bars lie.
struct Frame {
    names: Vec<String>,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Frame {
    /// `room` is what is left free at the right.
    fn new<'a>(
        canvas: &dyn Canvas,
        names: impl Iterator<Item = &'a str>,
        top: f64,
        rows: usize,
        room: f64,
    ) -> Self {
        let names: Vec<String> = names.map(|name| canvas.fitted(name, SMALL, 240.0)).collect();
        let widest = names.iter().map(|name| canvas.width_of(name, SMALL)).fold(0.0, f64::max);
        Self { names, left: widest + 16.0, right: WIDTH - room, top, bottom: top + ROW * rows as f64 }
    }

    fn row(&self, row: usize) -> f64 {
        self.top + ROW * (row as f64 + 0.5)
    }

    fn x(&self, ruler: &Ruler, value: f64) -> f64 {
        self.left + (self.right - self.left) * ruler.place(value)
    }

    /// Names, grid and axis.
    fn draw(&self, canvas: &mut dyn Canvas, ruler: &Ruler) {
        let mut free = f64::NEG_INFINITY;
        for (tick, label) in &ruler.ticks {
            let at = self.x(ruler, *tick);
            canvas.path(&[(at, self.top), (at, self.bottom)], GRID, 1.0);
            let half = canvas.width_of(label, SMALL) / 2.0;
            if at - half > free {
                canvas.text(label, (at, self.bottom + 14.0), letters(SMALL, MUTED).centred());
                free = at + half + 8.0;
            }
        }
        for (row, name) in self.names.iter().enumerate() {
            canvas.text(name, (self.left - 8.0, self.row(row)), letters(SMALL, INK).to_the_left());
        }
        let middle = (self.left + self.right) / 2.0;
        canvas.text(&ruler.title, (middle, self.bottom + 36.0), letters(SMALL + 0.5, INK).centred());
    }
}

/// A value between two others, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What it is.
    pub name: String,
    /// The one end: a figure with an input at its low end, or the lower end of an interval.
    pub low: f64,
    /// The other end; may be the smaller one.
    pub high: f64,
    /// A value to be marked; none in a tornado.
    pub mark: Option<f64>,
}

/// How far a figure goes: a tornado around a base, or values with their intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct Spans {
    /// What the figure is.
    pub axis: Axis,
    /// What it is held against.
    pub base: Option<(String, f64)>,
    /// What the ends of a bar are; none where bars are intervals.
    pub ends: Option<[String; 2]>,
    /// The bars, from above.
    pub spans: Vec<Span>,
}

impl Spans {
    pub(super) fn size(&self) -> (u32, u32) {
        let legend = if self.legend().is_empty() { 0.0 } else { LEGEND };
        (WIDTH as u32, (16.0 + legend + ROW * self.spans.len() as f64 + 62.0) as u32)
    }

    fn legend(&self) -> Vec<(String, bool)> {
        let ends = self.ends.iter().flat_map(|ends| ends.iter().map(|end| (end.clone(), false)));
        let base = self.base.iter().map(|(name, at)| (format!("{name}: {}", self.axis.unit.show(*at)), true));
        ends.chain(base).collect()
    }

    pub(super) fn draw(&self, canvas: &mut dyn Canvas) {
        let legend = self.legend();
        let slot = (WIDTH - 8.0) / legend.len().max(1) as f64;
        for (place, (text, is_base)) in legend.iter().enumerate() {
            let (x, y) = (8.0 + slot * place as f64, 6.0 + LEGEND / 2.0);
            if *is_base {
                canvas.dashed((x + 7.0, y - 8.0), (x + 7.0, y + 8.0), DASH, INK);
            } else {
                self.bar(canvas, (x, x + 14.0), y, place);
            }
            let text = canvas.fitted(text, SMALL, slot - 28.0);
            canvas.text(&text, (x + 20.0, y), letters(SMALL, INK));
        }
        let ends = self.spans.iter().flat_map(|span| [Some(span.low), Some(span.high), span.mark]);
        let all = ends.flatten().chain(self.base.iter().map(|(_, base)| *base));
        let ruler = Ruler::over(&self.axis, all);
        let top = 16.0 + if legend.is_empty() { 0.0 } else { LEGEND };
        let names = self.spans.iter().map(|span| span.name.as_str());
        let frame = Frame::new(canvas, names, top, self.spans.len(), 96.0);
        frame.draw(canvas, &ruler);
        for (row, span) in self.spans.iter().enumerate() {
            let y = frame.row(row);
            let [low, high] = [span.low, span.high].map(|end| frame.x(&ruler, end));
            match (&self.ends, span.mark) {
                (Some(_), _) => {
                    let base = self.base.as_ref().map_or(low, |(_, base)| frame.x(&ruler, *base));
                    self.bar(canvas, (base, low), y, 0);
                    self.bar(canvas, (base, high), y, 1);
                    let end = low.max(high).max(base) + 8.0;
                    let text =
                        format!("{} to {}", self.axis.unit.show(span.low), self.axis.unit.show(span.high));
                    // Beyond the bars where there is room, else before them.
                    if end + canvas.width_of(&text, SMALL) < WIDTH {
                        canvas.text(&text, (end, y), letters(SMALL, INK));
                    } else {
                        let start = low.min(high).min(base) - 8.0;
                        canvas.text(&text, (start, y), letters(SMALL, INK).to_the_left());
                    }
                }
                (None, mark) => {
                    canvas.path(&[(low, y), (high, y)], GOOD, 2.0);
                    for end in [low, high].into_iter().filter(|_| high - low > 1.0) {
                        canvas.path(&[(end, y - 6.0), (end, y + 6.0)], GOOD, 2.0);
                    }
                    if let Some(mark) = mark {
                        marker(canvas, (frame.x(&ruler, mark), y), 0, GOOD, 5.0);
                        let text = self.axis.unit.show(mark);
                        canvas.text(&text, (high + 12.0, y), letters(SMALL, INK));
                    }
                }
            }
        }
        if let Some((_, base)) = &self.base {
            let at = frame.x(&ruler, *base);
            canvas.dashed((at, frame.top), (at, frame.bottom), DASH, INK);
        }
    }

    fn bar(&self, canvas: &mut dyn Canvas, (from, to): (f64, f64), y: f64, end: usize) {
        let (left, right) = (from.min(to), from.max(to));
        if right - left < 0.5 {
            return;
        }
        let corner = (left, y - 9.0);
        canvas.rect(corner, (right - left, 18.0), [GOOD, BAD][end.min(1)], true);
        pattern(canvas, corner, (right - left, 18.0), end);
    }
}
