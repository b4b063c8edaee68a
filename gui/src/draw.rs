//! Parts of reports as widgets.

mod bars;
mod chart;
mod diagram;
mod matrix;
mod part;
mod table;

use eframe::egui::{RichText, Ui};
use scenarios::report::{Block, Drawing, Event, Picture};

pub(crate) use diagram::{Architecture, Breaker, BreakerNow, State as NodeState};
pub(crate) use part::Part;

use crate::theme;

/// What charts over time share.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cursor<'a> {
    /// The time that is shown, in seconds since the start of the run.
    pub at: Option<f64>,
    /// The times that are looked at more closely.
    pub window: Option<(f64, f64)>,
    /// What happened.
    pub events: &'a [Event],
}

/// What was done to a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Touched {
    /// Times were marked, over time.
    Window(f64, f64),
    /// A point was clicked, which has these values.
    Point(f64, f64),
}

/// A part of a report. Pictures of architectures have a view of their own, and are left out.
pub(crate) fn block(ui: &mut Ui, block: &Block, cursor: Cursor<'_>) -> Option<Touched> {
    match block {
        Block::Heading(text) => {
            ui.add_space(8.0);
            ui.heading(text);
        }
        Block::Text(text) => _ = ui.label(text),
        Block::Items(items) => {
            for item in items {
                ui.label(format!("\u{2022} {item}"));
            }
        }
        Block::Verdict { pass, text } => match pass {
            Some(pass) => _ = ui.label(RichText::new(text).strong().color(theme::verdict(ui, *pass))),
            None => _ = ui.label(text),
        },
        Block::Table(one) => table::table(ui, one),
        Block::Picture(one) => return picture(ui, one, cursor),
    }
    None
}

/// A picture with its title and what it shows.
fn picture(ui: &mut Ui, picture: &Picture, cursor: Cursor<'_>) -> Option<Touched> {
    let Picture { name, title, caption, drawing } = picture;
    if matches!(drawing, Drawing::Diagram(_)) {
        return None;
    }
    let mut touched = None;
    ui.group(|ui| {
        ui.set_width(ui.available_width());
        Part::titled(ui, title, "", || Part::Picture(Box::new(picture.clone())));
        match drawing {
            Drawing::Chart(one) => touched = chart::chart(ui, name, one, cursor),
            Drawing::Stack(one) => bars::stack(ui, one),
            Drawing::Spans(one) => bars::spans(ui, one),
            Drawing::Matrix(one) => matrix::matrix(ui, name, one),
            Drawing::Diagram(_) => {}
        }
        ui.small(caption);
    });
    touched
}
