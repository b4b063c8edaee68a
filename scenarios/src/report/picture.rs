//! Pictures as SVG and PNG.

use std::fmt::Write as _;

use super::bars::{Spans, Stack};
use super::canvas::{Canvas, bitmap, svg};
use super::chart::Chart;
use super::color::dark_sheet;
use super::diagram::Diagram;
use super::html::escape;
use super::matrix::Matrix;
use super::write::png_of;

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawing {
    /// Lines and points over two axes.
    Chart(Chart),
    /// Bars made of parts.
    Stack(Stack),
    /// A tornado, or values with their intervals.
    Spans(Spans),
    /// Cells of words.
    Matrix(Matrix),
    /// An architecture.
    Diagram(Diagram),
}

/// A drawing with its name and what it shows in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Name of its files, without an ending: small letters, digits and `-`.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it shows, for those who do not see it and for those who do.
    pub caption: String,
    /// What is drawn.
    pub drawing: Drawing,
}

/// Text in SVG is set by the browser, in the fonts of the reader's system.
pub(super) const SVG_SHEET: &str =
    "svg.plot text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Liberation Sans\",sans-serif}";

impl Picture {
    /// A picture, unless there is nothing to be seen.
    pub fn new(
        name: impl Into<String>,
        title: impl Into<String>,
        caption: impl Into<String>,
        drawing: Drawing,
    ) -> Option<Self> {
        let is_empty = match &drawing {
            Drawing::Chart(chart) => chart.is_empty(),
            Drawing::Stack(stack) => stack.is_empty(),
            Drawing::Spans(spans) => spans.spans.is_empty(),
            Drawing::Matrix(matrix) => matrix.rows.is_empty(),
            Drawing::Diagram(diagram) => diagram.nodes.is_empty(),
        };
        let (name, title, caption) = (name.into(), title.into(), caption.into());
        (!is_empty).then_some(Self { name, title, caption, drawing })
    }

    fn size(&self) -> (u32, u32) {
        match &self.drawing {
            Drawing::Chart(chart) => chart.size(),
            Drawing::Stack(stack) => stack.size(),
            Drawing::Spans(spans) => spans.size(),
            Drawing::Matrix(matrix) => matrix.size(),
            Drawing::Diagram(diagram) => diagram.size(),
        }
    }

    fn draw(&self, canvas: &mut dyn Canvas) {
        match &self.drawing {
            Drawing::Chart(chart) => chart.draw(canvas),
            Drawing::Stack(stack) => stack.draw(canvas),
            Drawing::Spans(spans) => spans.draw(canvas),
            Drawing::Matrix(matrix) => matrix.draw(canvas),
            Drawing::Diagram(diagram) => diagram.draw(canvas),
        }
    }

    /// As an SVG element with `head` behind its title and description. Its colours are for a light ground; a page
    /// has a style sheet for a dark one.
    fn element(&self, head: &str) -> String {
        let (width, height) = self.size();
        let (body, (inner_width, inner_height)) = svg((width, height), |canvas| self.draw(canvas));
        let mut text = format!(
            "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {inner_width} {inner_height}\" role=\"img\" aria-labelledby=\"{name}-title {name}-desc\">\n",
            name = self.name
        );
        let (title, caption) = (escape(&self.title), escape(&self.caption));
        let _ = writeln!(text, "<title id=\"{}-title\">{title}</title>", self.name);
        let _ = writeln!(text, "<desc id=\"{}-desc\">{caption}</desc>", self.name);
        text + head + &body + "</svg>\n"
    }

    /// As a part of a page.
    pub(super) fn inline_svg(&self) -> String {
        self.element("")
    }

    /// As a file of its own, for light and for dark grounds; `provenance` is kept in it.
    pub fn svg(&self, provenance: &str) -> String {
        let head = format!(
            "<metadata>{}</metadata>\n<style>{SVG_SHEET}@media (prefers-color-scheme:dark){{svg.plot{{background:#12161B}}{}}}</style>\n",
            escape(provenance),
            dark_sheet()
        );
        self.element(&head)
    }

    /// As a PNG on a light ground, at two pixels a point; `provenance` is kept in it as a text of the keyword
    /// `Description`.
    ///
    /// # Panics
    /// When the encoder refuses what it is given: a bug.
    pub fn png(&self, provenance: &str) -> Vec<u8> {
        let (pixels, (width, height)) = bitmap(self.size(), |canvas| self.draw(canvas));
        png_of((width, height), &pixels, Some(provenance))
    }
}
