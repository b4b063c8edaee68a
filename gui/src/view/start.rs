//! The library: where to begin.

use std::path::PathBuf;

use eframe::egui::{RichText, Sense, Ui, UiBuilder, vec2};

use super::{Action, Actions, page};
use crate::command::Command;

/// Questions that architects ask, and the scenario that answers each.
const QUESTIONS: [(&str, &str); 6] = [
    ("What breaks first at 10x?", "ten-times"),
    ("How many GPUs for so many users?", "llm-capacity"),
    ("Router or cascade?", "cascade"),
    ("What do slow features cost?", "feature-store"),
    ("How many warm replicas?", "cold-start"),
    ("Why do retries make it worse?", "retry-storm"),
];

pub(crate) fn start(ui: &mut Ui, recent: &[PathBuf], actions: &mut Actions) {
    page(ui, "start", |ui| {
        ui.add_space(12.0);
        ui.heading(RichText::new("Compare the architectures of an AI system before building one").size(24.0));
        ui.label("Choose a question or a scenario: it runs at once. Everything in it can be changed.");
        ui.add_space(8.0);
        ui.horizontal_wrapped(|ui| {
            for (question, id) in QUESTIONS {
                if ui.button(RichText::new(question).strong()).clicked() {
                    actions.push(Action::Library(id));
                }
            }
            if ui.button(Command::Open.name()).on_hover_text("A scenario file of your own").clicked() {
                actions.push(Action::Do(Command::Open));
            }
        });
        if !recent.is_empty() {
            ui.add_space(12.0);
            ui.heading("Recent files");
            for path in recent {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if ui.link(name).on_hover_text(path.display().to_string()).clicked() {
                    actions.push(Action::Recent(path.clone()));
                }
            }
        }
        ui.add_space(12.0);
        ui.heading("Library");
        let columns = ((ui.available_width() / 340.0) as usize).clamp(1, 3);
        for row in scenarios::library().chunks(columns) {
            ui.columns(columns, |columns| {
                for (ui, one) in columns.iter_mut().zip(row) {
                    card(ui, one.id, one.text, actions);
                }
            });
        }
    });
}

/// The name and the description of a scenario, from its text.
fn told(text: &str) -> (String, String) {
    let value: toml::Table = text.parse().unwrap_or_default();
    let said = |key: &str| value.get(key).and_then(toml::Value::as_str).unwrap_or_default().trim().to_owned();
    let description = said("description");
    let first = description.split_inclusive(". ").next().unwrap_or_default().trim().to_owned();
    (said("name"), first)
}

fn card(ui: &mut Ui, id: &'static str, text: &str, actions: &mut Actions) {
    let key = ui.scope_id().with(id);
    let (name, what) = ui.data_mut(|data| data.get_temp_mut_or_insert_with(key, || told(text)).clone());
    let response = ui
        .scope_builder(UiBuilder::new().id_salt(id).sense(Sense::click()), |ui| {
            let hovered = ui.response().hovered();
            let visuals =
                if hovered { ui.visuals().widgets.hovered } else { ui.visuals().widgets.noninteractive };
            eframe::egui::Frame::group(ui.style()).stroke(visuals.bg_stroke).show(ui, |ui| {
                ui.set_min_size(vec2(ui.available_width(), 74.0));
                ui.vertical(|ui| {
                    if ui.link(RichText::new(&name).strong().size(15.0)).clicked() {
                        actions.push(Action::Library(id));
                    }
                    ui.label(what);
                });
            });
        })
        .response;
    if response.clicked() {
        actions.push(Action::Library(id));
    }
}
