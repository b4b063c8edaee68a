//! What pictures are drawn on: plotters' SVG and bitmap backends behind one face.

use std::sync::Once;

use epaint_default_fonts::UBUNTU_LIGHT;
use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Polygon, Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontStyle, IntoFont, ShapeStyle, TextStyle, register_font};

use super::color::{Color, PAPER};

/// A place, in pixels from the upper left corner.
pub(super) type Point = (f64, f64);

/// How a text lies.
#[derive(Clone, Copy)]
pub(super) struct Lettering {
    /// Height of the letters, in pixels.
    pub size: f64,
    pub ink: Color,
    pub h: HPos,
}

/// Text from a place to the right, its middle on the place's height.
pub(super) const fn letters(size: f64, ink: Color) -> Lettering {
    Lettering { size, ink, h: HPos::Left }
}

impl Lettering {
    pub(super) const fn centred(self) -> Self {
        Self { h: HPos::Center, ..self }
    }

    pub(super) const fn to_the_left(self) -> Self {
        Self { h: HPos::Right, ..self }
    }
}

/// What a picture needs. Places and sizes are in pixels.
pub(super) trait Canvas {
    /// A line through places.
    fn path(&mut self, points: &[Point], ink: Color, width: f64);
    /// A filled polygon; `opacity` in 0 to 1.
    fn fill(&mut self, points: &[Point], ink: Color, opacity: f64);
    /// A rectangle from its corner, filled or drawn.
    fn rect(&mut self, corner: Point, size: Point, ink: Color, filled: bool);
    /// A text.
    fn text(&mut self, text: &str, at: Point, lettering: Lettering);
    /// How wide a text may be: browsers choose the font of an SVG.
    fn width_of(&self, text: &str, size: f64) -> f64;

    /// A dashed line, of dashes that are so long.
    fn dashed(&mut self, from: Point, to: Point, dash: f64, ink: Color) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = libm::hypot(dx, dy);
        let mut at = 0.0;
        while at < length {
            let end = (at + dash).min(length);
            let point = |at: f64| (from.0 + dx * at / length, from.1 + dy * at / length);
            self.path(&[point(at), point(end)], ink, 1.5);
            at += dash + 5.0;
        }
    }

    /// As much of a text as fits into a width.
    fn fitted(&self, text: &str, size: f64, width: f64) -> String {
        if self.width_of(text, size) <= width {
            return text.to_owned();
        }
        let mut kept: Vec<char> = text.chars().collect();
        loop {
            kept.pop();
            let short: String = kept.iter().collect::<String>().trim_end().to_owned() + "...";
            if kept.is_empty() || self.width_of(&short, size) <= width {
                return short;
            }
        }
    }
}

/// Pixels of an SVG are parted, so that lines are smooth.
const SVG_SCALE: f64 = 4.0;
/// Bitmaps are drawn twice as large, for screens with fine pixels and for print.
const PNG_SCALE: f64 = 2.0;

/// Plotters sets the middle of a line of a bitmap's letters where their baseline is half a line below it.
const RAISED: f64 = 0.2;

/// Browsers' fonts may be wider than the one that text is measured with (DejaVu Sans is by a seventh, of letters that
/// are a fourteenth smaller than those of bitmaps).
const WIDER: f64 = 1.08;

const FONT: &str = "sans-serif";

fn with_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = register_font(FONT, FontStyle::Normal, UBUNTU_LIGHT);
    });
}

struct Drawn<DB: DrawingBackend> {
    area: DrawingArea<DB, Shift>,
    scale: f64,
    /// How far letters of a height of 1 lie above where they should.
    raised: f64,
}

impl<DB: DrawingBackend> Drawn<DB> {
    fn at(&self, (x, y): Point) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn line(&self, ink: Color, width: f64) -> ShapeStyle {
        let width = (width * self.scale).round().max(1.0) as u32;
        ShapeStyle { color: ink.rgb().to_rgba(), filled: false, stroke_width: width }
    }

    fn style(&self, lettering: Lettering) -> TextStyle<'static> {
        // Plotters makes letters smaller by this.
        let font = (FONT, lettering.size * self.scale * 1.24).into_font();
        let style = TextStyle::from(font).pos(Pos::new(lettering.h, VPos::Center));
        TextStyle { color: lettering.ink.rgb().to_backend_color(), ..style }
    }
}

/// Drawing in memory does not fail: there is no device, and the font is in the program.
const IN_MEMORY: &str = "drawing in memory does not fail";

impl<DB: DrawingBackend> Canvas for Drawn<DB> {
    fn path(&mut self, points: &[Point], ink: Color, width: f64) {
        let points: Vec<(i32, i32)> = points.iter().map(|point| self.at(*point)).collect();
        self.area.draw(&PathElement::new(points, self.line(ink, width))).expect(IN_MEMORY);
    }

    fn fill(&mut self, points: &[Point], ink: Color, opacity: f64) {
        let points: Vec<(i32, i32)> = points.iter().map(|point| self.at(*point)).collect();
        self.area.draw(&Polygon::new(points, ink.rgb().mix(opacity).filled())).expect(IN_MEMORY);
    }

    fn rect(&mut self, (x, y): Point, (width, height): Point, ink: Color, filled: bool) {
        if !filled {
            // The outline of a rectangle in SVG is always one unit thin.
            let (right, below) = (x + width, y + height);
            return self.path(&[(x, y), (right, y), (right, below), (x, below), (x, y)], ink, 1.0);
        }
        let corners = [self.at((x, y)), self.at((x + width, y + height))];
        self.area.draw(&Rectangle::new(corners, ink.rgb().filled())).expect(IN_MEMORY);
    }

    fn text(&mut self, text: &str, at: Point, lettering: Lettering) {
        let place = self.at((at.0, at.1 + self.raised * lettering.size));
        self.area.draw(&Text::new(text.to_owned(), place, self.style(lettering))).expect(IN_MEMORY);
    }

    fn width_of(&self, text: &str, size: f64) -> f64 {
        let style = self.style(letters(size, PAPER));
        let (width, _) = self.area.estimate_text_size(text, &style).expect(IN_MEMORY);
        f64::from(width) / self.scale * WIDER
    }
}

fn scaled((width, height): (u32, u32), scale: f64) -> (u32, u32) {
    ((f64::from(width) * scale) as u32, (f64::from(height) * scale) as u32)
}

/// The elements of an SVG, and the size of its view box.
pub(super) fn svg(size: (u32, u32), draw: impl FnOnce(&mut dyn Canvas)) -> (String, (u32, u32)) {
    with_font();
    let inner = scaled(size, SVG_SCALE);
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, inner).into_drawing_area();
    let mut drawn = Drawn { area, scale: SVG_SCALE, raised: 0.0 };
    draw(&mut drawn);
    drawn.area.present().expect(IN_MEMORY);
    drop(drawn);
    let body = text.split_once('\n').map_or("", |(_, rest)| rest).trim_end();
    (body.strip_suffix("</svg>").unwrap_or(body).to_owned(), inner)
}

/// The pixels of a bitmap (red, green, blue), row by row, and its size.
pub(super) fn bitmap(size: (u32, u32), draw: impl FnOnce(&mut dyn Canvas)) -> (Vec<u8>, (u32, u32)) {
    with_font();
    let inner = scaled(size, PNG_SCALE);
    let mut pixels = vec![0; 3 * inner.0 as usize * inner.1 as usize];
    let area = BitMapBackend::with_buffer(&mut pixels, inner).into_drawing_area();
    area.fill(&PAPER.rgb()).expect(IN_MEMORY);
    let mut drawn = Drawn { area, scale: PNG_SCALE, raised: RAISED };
    draw(&mut drawn);
    drawn.area.present().expect(IN_MEMORY);
    drop(drawn);
    (pixels, inner)
}
