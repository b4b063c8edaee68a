//! The views: what is shown of the app's state, and the actions that they ask for.

mod compare;
mod dialog;
mod explore;
mod inspector;
mod pages;
mod start;
mod system;
mod text;

use std::path::PathBuf;

use eframe::egui::{RichText, ScrollArea, Ui};

pub(crate) use compare::compare;
pub(crate) use dialog::{Dialog, Write, dialog};
pub(crate) use explore::{Explore, plan, sweep};
pub(crate) use inspector::{Drafts, inspector};
pub(crate) use pages::{Window, charts, findings, stress};
pub(crate) use start::start;
pub(crate) use system::{System, system};
pub(crate) use text::text;

use crate::command::Command;
use crate::jobs::Question;

/// What a view asks for; done once all of a frame is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Do(Command),
    /// Opens a scenario of the library.
    Library(&'static str),
    /// What was typed into the dialog is meant.
    Answer(String),
    CloseDialog,
    /// Asks for the path by the dialog of the system.
    Browse,
    /// Takes changes on that a crash has left, or gives them up.
    Recover(bool),
    /// Opens a file that was open before.
    Recent(PathBuf),
    /// Gives a path a value; with `more` to come while it is dragged.
    Set {
        path: String,
        value: String,
        more: bool,
    },
    Reset(String),
    /// Says why something cannot be.
    Refuse(String),
    /// Takes on what a recommendation or a configuration says, as a variant of that name.
    Apply {
        name: String,
        change: Vec<String>,
    },
    /// Shows the system at a load relative to the scenario's.
    Load(f64),
    /// Compares with the variant of that name.
    Baseline(String),
    /// Makes a value an axis of the sweep.
    Sweep {
        path: String,
        value: Option<String>,
    },
    /// Gives an axis of that number other values; none to take it away.
    Axis {
        number: usize,
        values: Option<String>,
    },
    Question(Question),
    /// Plays at this speed.
    Speed(f64),
    Variant(String),
    Select(Option<String>),
    /// The run is shown at this time; on average for none.
    Time(Option<f64>),
    /// A part of the run is looked at more closely; all of it for none.
    Window(Option<(f64, f64)>),
}

pub(crate) type Actions = Vec<Action>;

/// A page that scrolls.
fn page(ui: &mut Ui, name: &str, contents: impl FnOnce(&mut Ui)) {
    ScrollArea::vertical().id_salt(name).auto_shrink(false).show(ui, |ui| {
        ui.set_max_width(ui.available_width().min(1180.0));
        contents(ui);
        ui.add_space(24.0);
    });
}

/// Nothing is here yet: what to do about it.
fn empty(ui: &mut Ui, said: &str, command: Command, actions: &mut Actions) {
    ui.add_space(48.0);
    ui.vertical_centered(|ui| {
        ui.label(RichText::new(said).size(16.0));
        ui.add_space(8.0);
        if ui.button(command.name()).clicked() {
            actions.push(Action::Do(command));
        }
    });
}
