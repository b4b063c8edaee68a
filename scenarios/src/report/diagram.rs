//! The architecture as a picture: who calls whom, from left to right.

mod layout;

use super::canvas::{Canvas, Point, letters};
use super::chart::{DASH, SMALL};
use super::color::{BAD, Color, GRID, HEAT, INK, MUTED, OUTLINE, PAPER, SHADE};
use crate::results::show::percent;
pub use layout::Layout;

/// A component.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is, in a word or two.
    pub kind: String,
    /// Share of what it is shortest of in use, where that is known.
    pub utilization: Option<f64>,
    /// Whether it is short of something.
    pub bottleneck: bool,
}

/// An architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagram {
    /// Components, traffic sources first.
    pub nodes: Vec<Node>,
    /// Who calls whom, by their places among the nodes, and whether only where another has failed.
    pub links: Vec<(usize, usize, bool)>,
}

const BOX: Point = (158.0, 58.0);
/// Between two layers, and between two boxes of one.
const GAP: Point = (58.0, 22.0);
const EDGE: f64 = 12.0;
const LEGEND: f64 = 46.0;
/// So wide that the legend has room.
const LEAST: f64 = 760.0;

/// From where on which colour of heat stands, and its words.
const STEPS: [(f64, &str); 5] = [
    (0.0, "below 25%"),
    (0.25, "25% to 50%"),
    (0.5, "50% to 80%"),
    (0.8, "80% to 95%"),
    (0.95, "95% and more"),
];

/// The colour of so much in use.
pub fn heat(share: f64) -> Color {
    let step = STEPS.iter().rposition(|(from, _)| share >= *from).unwrap_or(0);
    HEAT[step]
}

impl Diagram {
    /// Where its boxes and links go.
    pub fn layout(&self) -> Layout {
        let links: Vec<(usize, usize)> = self.links.iter().map(|(from, to, _)| (*from, *to)).collect();
        Layout::new(self.nodes.len(), &links)
    }

    fn scale(layout: &Layout) -> (f64, f64) {
        let width = layout.layers as f64 * (BOX.0 + GAP.0) - GAP.0;
        let height = layout.height * (BOX.1 + GAP.1) - GAP.1;
        (width, height)
    }

    pub(super) fn size(&self) -> (u32, u32) {
        let (width, height) = Self::scale(&self.layout());
        let width = (width + 2.0 * EDGE).max(LEAST);
        (width as u32, (height + 2.0 * EDGE + LEGEND) as u32)
    }

    pub(super) fn draw(&self, canvas: &mut dyn Canvas) {
        let layout = self.layout();
        let (width, height) = Self::scale(&layout);
        let shift = ((LEAST - 2.0 * EDGE - width) / 2.0).max(0.0);
        let corner = |(layer, row): (usize, f64)| -> Point {
            (EDGE + shift + layer as f64 * (BOX.0 + GAP.0), EDGE + row * (BOX.1 + GAP.1))
        };
        for ((_, to, fallback), route) in self.links.iter().zip(&layout.routes) {
            self.link(canvas, route.iter().map(|place| corner(*place)).collect(), *to, *fallback);
        }
        for (node, place) in self.nodes.iter().zip(&layout.places) {
            boxed(canvas, node, corner(*place));
        }
        legend(canvas, EDGE + height + EDGE + LEGEND / 2.0);
    }

    /// A curve along the corners of its boxes, those between two ends being free.
    fn link(&self, canvas: &mut dyn Canvas, corners: Vec<Point>, to: usize, fallback: bool) {
        let [Some(first), Some(last)] = [corners.first().copied(), corners.last().copied()] else { return };
        let middle = BOX.1 / 2.0;
        let mut stations: Vec<(Point, Point)> = Vec::new();
        if corners.len() == 1 || last.0 <= first.0 {
            // Back to where calls come from: over the upper edge, so that it is seen as such.
            let lift = first.1.min(last.1) - GAP.1 / 2.0;
            let start = (first.0 + BOX.0 / 2.0 + 12.0, first.1);
            let end = (last.0 + BOX.0 / 2.0 - 12.0, last.1);
            canvas.path(&[start, (start.0, lift), (end.0, lift), (end.0, end.1 - 7.0)], MUTED, 1.4);
            arrow(canvas, (end.0, end.1), (0.0, 1.0));
            return;
        }
        for (number, corner) in corners.iter().enumerate() {
            let y = corner.1 + middle;
            let (enter, leave) = match number {
                0 => (corner.0 + BOX.0, corner.0 + BOX.0),
                last if last + 1 == corners.len() => (corner.0, corner.0),
                _ => (corner.0, corner.0 + BOX.0),
            };
            stations.push(((enter, y), (leave, y)));
        }
        let mut line = Vec::new();
        for pair in stations.windows(2) {
            let (from, to) = (pair[0].1, pair[1].0);
            line.push(pair[0].0);
            line.extend((0..=16).map(|step| bend(from, to, f64::from(step) / 16.0)));
        }
        let end = stations.last().map_or(last, |station| station.1);
        let point = (end.0 - 1.0, end.1);
        if let Some(tip) = line.last_mut() {
            *tip = (point.0 - 6.0, point.1);
        }
        let ink = if self.nodes[to].bottleneck { BAD } else { MUTED };
        let width = if self.nodes[to].bottleneck { 2.4 } else { 1.4 };
        if fallback {
            for pair in line.chunks(2).filter(|pair| pair.len() == 2) {
                canvas.path(pair, ink, width);
            }
        } else {
            canvas.path(&line, ink, width);
        }
        arrow(canvas, point, (1.0, 0.0));
    }
}

/// A point of an S between two places.
fn bend(from: Point, to: Point, t: f64) -> Point {
    let ease = t * t * (3.0 - 2.0 * t);
    (from.0 + (to.0 - from.0) * t, from.1 + (to.1 - from.1) * ease)
}

fn arrow(canvas: &mut dyn Canvas, tip: Point, (dx, dy): Point) {
    let back = (tip.0 - 8.0 * dx, tip.1 - 8.0 * dy);
    let side = (4.0 * dy, 4.0 * dx);
    canvas.fill(&[tip, (back.0 + side.0, back.1 + side.1), (back.0 - side.0, back.1 - side.1)], MUTED, 1.0);
}

fn boxed(canvas: &mut dyn Canvas, node: &Node, (x, y): Point) {
    canvas.rect((x, y), BOX, if node.utilization.is_some() { PAPER } else { SHADE }, true);
    if node.bottleneck {
        for grow in [0.0, 1.0, 2.0] {
            canvas.rect((x - grow, y - grow), (BOX.0 + 2.0 * grow, BOX.1 + 2.0 * grow), BAD, false);
        }
    } else {
        canvas.rect((x, y), BOX, MUTED, false);
    }
    let room = BOX.0 - 16.0;
    let name = canvas.fitted(&node.name, SMALL + 1.0, room);
    canvas.text(&name, (x + 8.0, y + 14.0), letters(SMALL + 1.0, INK));
    let what = if node.bottleneck { format!("{}: bottleneck", node.kind) } else { node.kind.clone() };
    let what = canvas.fitted(&what, SMALL - 1.5, room);
    let ink = if node.bottleneck { INK } else { MUTED };
    canvas.text(&what, (x + 8.0, y + 31.0), letters(SMALL - 1.5, ink));
    if let Some(share) = node.utilization {
        let text = percent(share);
        let bar = room - 50.0;
        canvas.rect((x + 8.0, y + 43.0), (bar, 7.0), GRID, true);
        canvas.rect((x + 8.0, y + 43.0), (bar * share.clamp(0.0, 1.0), 7.0), heat(share), true);
        canvas.rect((x + 8.0, y + 43.0), (bar, 7.0), OUTLINE, false);
        canvas.text(&text, (x + BOX.0 - 8.0, y + 46.5), letters(SMALL - 1.5, INK).to_the_left());
    }
}

fn legend(canvas: &mut dyn Canvas, y: f64) {
    let mut x = EDGE;
    canvas.text("in use:", (x, y - 10.0), letters(SMALL - 1.0, MUTED));
    x += canvas.width_of("in use:", SMALL - 1.0) + 10.0;
    for ((_, words), ink) in STEPS.iter().zip(HEAT) {
        canvas.rect((x, y - 14.0), (18.0, 8.0), ink, true);
        canvas.rect((x, y - 14.0), (18.0, 8.0), OUTLINE, false);
        canvas.text(words, (x + 24.0, y - 10.0), letters(SMALL - 1.0, INK));
        x += canvas.width_of(words, SMALL - 1.0) + 42.0;
    }
    let mut x = EDGE;
    canvas.rect((x, y + 5.0), (18.0, 11.0), BAD, false);
    canvas.rect((x - 1.0, y + 4.0), (20.0, 13.0), BAD, false);
    for (sample, words) in [(0, "bottleneck"), (1, "call"), (2, "fallback, where another has failed")] {
        let middle = y + 10.5;
        match sample {
            1 => canvas.path(&[(x, middle), (x + 18.0, middle)], MUTED, 1.4),
            2 => canvas.dashed((x, middle), (x + 19.0, middle), DASH, MUTED),
            _ => {}
        }
        canvas.text(words, (x + 26.0, middle), letters(SMALL - 1.0, INK));
        x += canvas.width_of(words, SMALL - 1.0) + 56.0;
    }
}
