//! Every value of the selected thing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use eframe::egui::{
    Align, CollapsingHeader, ComboBox, DragValue, Key, Label, Layout, RichText, ScrollArea, Sense, TextEdit,
    Ui,
};

use super::{Action, Actions};
use crate::command::Command;
use crate::document::Document;
use crate::inspector::{Field, Quantity, Thing};

/// Texts that are being typed, by path.
pub(crate) type Drafts = BTreeMap<String, String>;

pub(crate) fn inspector(
    ui: &mut Ui,
    document: &Document,
    name: &str,
    things: &[Thing],
    calibration: Option<&str>,
    drafts: &mut Drafts,
    actions: &mut Actions,
) {
    ui.horizontal(|ui| {
        ui.heading(name);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.button("Close").clicked() {
                actions.push(Action::Select(None));
            }
        });
    });
    if !name.contains(" -> ") {
        ui.horizontal_wrapped(|ui| {
            for command in [Command::Connect, Command::Remove] {
                if ui.small_button(command.name()).clicked() {
                    actions.push(Action::Do(command));
                }
            }
        });
    }
    if let Some(calibration) = calibration {
        ui.horizontal_wrapped(|ui| {
            ui.strong("GPU times:").on_hover_text(
                "Measured: from kernels that tenfold-microbench timed on this GPU.\n\
                 Imported: from kernels that others timed on it.\n\
                 Calibrated: scaled to measurements of your own server.\n\
                 Estimate: from kernels timed on another GPU, scaled by the datasheets, or, uncalibrated, from datasheets and \
                 general efficiencies.",
            );
            ui.label(calibration);
            if ui.small_button(Command::NotModelled.name()).clicked() {
                actions.push(Action::Do(Command::NotModelled));
            }
        });
    }
    ScrollArea::vertical().id_salt("inspector").auto_shrink(false).show(ui, |ui| {
        for (number, thing) in things.iter().enumerate() {
            CollapsingHeader::new(RichText::new(&thing.title).strong())
                .id_salt((name, number))
                .default_open(number == 0)
                .show(ui, |ui| one(ui, document, thing, drafts, actions));
        }
    });
}

fn one(ui: &mut Ui, document: &Document, thing: &Thing, drafts: &mut Drafts, actions: &mut Actions) {
    ui.weak(&thing.what);
    for field in &thing.fields {
        row(ui, document, field, drafts, actions);
    }
}

fn row(ui: &mut Ui, document: &Document, field: &Field, drafts: &mut Drafts, actions: &mut Actions) {
    let edited = document.edit_of(&field.path).is_some();
    let name = if edited { format!("* {}", field.name) } else { field.name.clone() };
    let name = if field.value.is_some() { RichText::new(name).strong() } else { RichText::new(name) };
    ui.add_space(4.0);
    let label = ui.add(Label::new(name).sense(Sense::click()));
    let label = label.on_hover_text(format!("{}\n{}\nRight click: sweep this", field.what, field.path));
    label.context_menu(|ui| {
        if ui.button("Sweep this").clicked() {
            let value =
                field.value.clone().or_else(|| Quantity::of(&field.default).map(|_| field.default.clone()));
            actions.push(Action::Sweep { path: field.path.clone(), value });
            ui.close();
        }
    });
    let set = |value: String, more: bool| Action::Set { path: field.path.clone(), value, more };
    ui.horizontal(|ui| {
        let quantity = field.value.as_deref().and_then(Quantity::of);
        if let Some(quantity) = quantity {
            let mut number = quantity.number;
            // What was typed is not cut to the range: the scenario says what is wrong with it.
            let typed = RefCell::new(None);
            let speed = if quantity.is_whole() { 0.1 } else { (number.abs() * 0.01).max(1e-6) };
            let mut drag = DragValue::new(&mut number)
                .speed(speed)
                .prefix(quantity.sign())
                .suffix(format!(" {}", quantity.unit()))
                .range(field.range.clone())
                .clamp_existing_to_range(false)
                .update_while_editing(false)
                .custom_parser(|text| {
                    let read = quantity.read(text);
                    let number = read.clone().ok();
                    typed.replace(Some(read));
                    number
                });
            if quantity.is_whole() {
                drag = drag.max_decimals(0);
            }
            let response = ui.add(drag).labelled_by(label.id);
            // A field that is left by Escape is asked for its text once more, a frame later.
            let given_up = response.id.with("given up");
            let is_given_up = ui.data(|data| data.get_temp(given_up)).unwrap_or(false);
            let escapes = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Escape));
            if escapes || response.has_focus() {
                ui.data_mut(|data| data.insert_temp(given_up, escapes));
            }
            match typed.into_inner() {
                Some(_) if is_given_up => {}
                Some(Err(error)) => actions.push(Action::Refuse(error)),
                Some(Ok(typed)) if typed != quantity.number => actions.push(set(quantity.with(typed), false)),
                None if response.changed() && number != quantity.number => {
                    actions.push(set(quantity.with(number), response.dragged()));
                }
                _ => {}
            }
        } else if let Some(flag) = field.value.as_deref().and_then(|value| value.parse::<bool>().ok()) {
            let mut now = flag;
            if ui.checkbox(&mut now, if flag { "yes" } else { "no" }).labelled_by(label.id).changed() {
                actions.push(set(now.to_string(), false));
            }
        } else if !field.choices.is_empty() {
            let now = field.value.as_deref().unwrap_or_default().trim_matches('"').to_owned();
            let shown = if now.is_empty() { "by default".to_owned() } else { now.clone() };
            let combo = ComboBox::from_id_salt(&field.path).selected_text(shown).show_ui(ui, |ui| {
                for choice in &field.choices {
                    if ui.selectable_label(*choice == now, choice).clicked() {
                        actions.push(set(format!("{choice:?}"), false));
                    }
                }
            });
            combo.response.labelled_by(label.id);
        } else {
            text(ui, field, label.id, drafts, actions);
        }
        if edited && ui.small_button("Reset").on_hover_text("As the file says").clicked() {
            drafts.remove(&field.path);
            actions.push(Action::Reset(field.path.clone()));
        }
        if field.value.is_none() && !field.default.is_empty() {
            ui.weak(short(&field.default)).on_hover_text(&field.default);
        }
    });
}

fn text(ui: &mut Ui, field: &Field, label: eframe::egui::Id, drafts: &mut Drafts, actions: &mut Actions) {
    let now = field.value.clone().unwrap_or_default();
    let mut draft = drafts.get(&field.path).cloned().unwrap_or_else(|| now.clone());
    let hint = if field.value.is_none() { "by default" } else { "" };
    let edit = TextEdit::singleline(&mut draft).hint_text(hint).desired_width(170.0);
    let response = ui.add(edit).labelled_by(label);
    if response.lost_focus() {
        drafts.remove(&field.path);
        let given_up = ui.input(|input| input.key_pressed(Key::Escape));
        if !given_up && draft != now && !draft.trim().is_empty() {
            actions.push(Action::Set { path: field.path.clone(), value: draft, more: false });
        }
    } else if response.has_focus() {
        drafts.insert(field.path.clone(), draft);
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(34) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text.to_owned(),
    }
}
