//! Parts of reports as widgets.

mod bars;
mod chart;
mod diagram;
mod matrix;
mod part;
mod table;

use std::fmt::Debug;
use std::hash::Hash;

use eframe::egui::{Rect, RichText, Ui, Vec2};
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

/// Lays out what is in view; of what is scrolled away, and was laid out before as wide, only the room is taken.
fn in_view(ui: &mut Ui, salt: impl Hash + Debug, add: impl FnOnce(&mut Ui)) {
    let (key, width) = (ui.scope_id().with(salt), ui.available_width());
    let known: Option<(f32, Vec2)> = ui.data(|data| data.get_temp(key));
    let size = known.filter(|known| known.0 == width).map(|known| known.1);
    match size {
        Some(size) if !ui.is_rect_visible(Rect::from_min_size(ui.cursor().min, size)) => {
            _ = ui.allocate_space(size);
        }
        _ => {
            let size = ui.scope(add).response.rect.size();
            ui.data_mut(|data| data.insert_temp(key, (width, size)));
        }
    }
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
            in_view(ui, ui.next_auto_id(), |ui| {
                for item in items {
                    ui.label(format!("\u{2022} {item}"));
                }
            });
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
