//! Variants side by side.

use eframe::egui::{ComboBox, RichText, Ui};
use scenarios::language::BASE;
use scenarios::report::Report;

use super::pages::{waiting, whole};
use super::{Action, Actions, empty, page};
use crate::command::Command;
use crate::document::Document;

pub(crate) fn compare(
    ui: &mut Ui,
    document: &Document,
    report: Option<&Report>,
    baseline: Option<&str>,
    is_running: bool,
    actions: &mut Actions,
) {
    if document.variants().count() < 2 {
        return nothing(ui, document, actions);
    }
    ui.horizontal(|ui| {
        let label = ui.label("Baseline:");
        let now = baseline.unwrap_or(BASE);
        let combo = ComboBox::from_id_salt("baseline").selected_text(now).show_ui(ui, |ui| {
            for name in document.variants() {
                if ui.selectable_label(name == now, name).clicked() && name != now {
                    actions.push(Action::Baseline(name.to_owned()));
                }
            }
        });
        combo.response.labelled_by(label.id).on_hover_text("What the others are compared with");
        if ui
            .button(Command::Keep.name())
            .on_hover_text("What is shown now, as one more to compare")
            .clicked()
        {
            actions.push(Action::Do(Command::Keep));
        }
        if report.is_some() && ui.button(Command::Copy.name()).clicked() {
            actions.push(Action::Do(Command::Copy));
        }
    });
    ui.separator();
    match report {
        Some(report) => page(ui, "compare", |ui| _ = whole(ui, report)),
        None if is_running => waiting(ui),
        None => {
            empty(ui, "See how the variants differ, under the same traffic.", Command::RunComparison, actions)
        }
    }
}

fn nothing(ui: &mut Ui, document: &Document, actions: &mut Actions) {
    ui.add_space(48.0);
    ui.vertical_centered(|ui| {
        ui.label(RichText::new("There is one system so far.").size(16.0));
        let next = match document.edits().is_empty() {
            true => "Change a value in the system view, then keep the result as a variant.",
            false => "Keep what you changed as a variant, and compare it with the scenario as it was.",
        };
        ui.label(next);
        ui.add_space(8.0);
        if ui.button(Command::Keep.name()).clicked() {
            actions.push(Action::Do(Command::Keep));
        }
    });
}
