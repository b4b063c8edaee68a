//! Small windows above the rest.

use std::path::PathBuf;

use eframe::egui::{Context, Grid, Id, Key, Label, Modal, RichText, ScrollArea, TextEdit, Ui};

use super::{Action, Actions};
use crate::command::{Command, MENUS};
use crate::document::Kept;
use crate::draw::Part;

/// What is written to a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    Scenario,
    Report,
    Screenshot,
    Part(Part),
}

/// What is asked or told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Dialog {
    /// A path: what for, and what was typed so far.
    Path {
        for_what: Command,
        typed: String,
    },
    /// Commands that fit what was typed.
    Palette {
        typed: String,
    },
    /// One of several, by name: what for.
    Choose {
        for_what: Command,
        choices: Vec<String>,
    },
    /// Where to write a picture or a table.
    Part {
        part: Part,
        typed: String,
    },
    /// A crash has left unsaved changes.
    Recover(Kept),
    /// Something would be lost with a file that is there: why.
    Overwrite {
        what: Write,
        path: PathBuf,
        why: &'static str,
    },
    Keys,
    NotModelled,
    /// Changes would be lost by a command.
    Unsaved(Command),
    Error(String),
}

/// The part of the book that says so.
fn not_modelled() -> &'static str {
    let book = include_str!("../../../docs/src/accuracy.md");
    let behind = book.split_once("## What is not modelled").map_or("", |(_, behind)| behind);
    behind.split("\n## ").next().unwrap_or_default().trim()
}

pub(crate) fn dialog(ctx: &Context, dialog: &mut Dialog, actions: &mut Actions) {
    let modal = Modal::new(Id::unique("dialog")).show(ctx, |ui| {
        // An error with the lines of a file is 76 letters wide.
        let width = if matches!(dialog, Dialog::Error(_)) { 640.0 } else { 480.0 };
        ui.set_width(ctx.content_rect().width().min(width + 40.0) - 40.0);
        match dialog {
            Dialog::Path { for_what, typed } => {
                let (title, button) = match for_what {
                    Command::Open => ("Open a scenario file", "Open"),
                    Command::ExportReport => ("Write the report (HTML)", "Write"),
                    Command::Screenshot => ("Write a picture of the window (PNG)", "Write"),
                    Command::Keep => ("Keep what is shown as a variant", "Keep"),
                    _ => ("Save the scenario", "Save"),
                };
                name(ui, (title, button), *for_what != Command::Keep, typed, actions);
            }
            Dialog::Part { part, typed } => name(ui, (part.title(), "Write"), true, typed, actions),
            Dialog::Recover(kept) => {
                ui.heading(format!("Recovered unsaved changes of {}", kept.name()));
                ui.label("The app ended before they were saved.");
                ui.horizontal(|ui| {
                    for (name, restores) in [("Restore", true), ("Discard", false)] {
                        if ui.button(name).clicked() {
                            actions.push(Action::Recover(restores));
                        }
                    }
                });
            }
            Dialog::Overwrite { path, why, .. } => {
                ui.heading(format!("Write over {}?", path.file_name().unwrap_or_default().display()));
                ui.label(path.display().to_string());
                ui.label(*why);
                ui.horizontal(|ui| {
                    if ui.button("Cancel").clicked() {
                        actions.push(Action::CloseDialog);
                    }
                    if ui.button("Overwrite").clicked() {
                        actions.push(Action::Answer(String::new()));
                    }
                });
            }
            Dialog::Palette { typed } => palette(ui, typed, actions),
            Dialog::Choose { for_what, choices } => choose(ui, *for_what, choices, actions),
            Dialog::Keys => keys(ui),
            Dialog::NotModelled => {
                ui.heading("What is not modelled");
                ScrollArea::vertical().max_height(room(ui, 420.0)).show(ui, |ui| ui.label(not_modelled()));
            }
            Dialog::Unsaved(command) => {
                ui.heading("There are unsaved changes");
                ui.label("They would be lost.");
                ui.horizontal(|ui| {
                    if ui.button("Keep on editing").clicked() {
                        actions.push(Action::CloseDialog);
                    }
                    if ui
                        .button(format!("{} all the same", command.name().trim_end_matches('\u{2026}')))
                        .clicked()
                    {
                        actions.push(Action::Answer(String::new()));
                    }
                });
            }
            Dialog::Error(text) => {
                ui.heading("That cannot be");
                let words = Label::new(RichText::new(text.as_str()).monospace()).extend();
                ScrollArea::both().max_height(room(ui, 420.0)).show(ui, |ui| ui.add(words));
                ui.label("Everything stays as it was.");
            }
        }
        if !matches!(dialog, Dialog::Unsaved(_) | Dialog::Recover(_) | Dialog::Overwrite { .. }) {
            ui.add_space(8.0);
            if ui.button("Close").clicked() {
                actions.push(Action::CloseDialog);
            }
        }
    });
    // Changes are not given up by a click beside it.
    if modal.should_close() && !matches!(dialog, Dialog::Recover(_)) {
        actions.push(Action::CloseDialog);
    }
}

/// The height that there is for what scrolls, with a heading above it and buttons below.
fn room(ui: &Ui, most: f32) -> f32 {
    (ui.ctx().content_rect().height() - 160.0).clamp(60.0, most)
}

/// A name that is typed; of a file, it may be looked for.
fn name(
    ui: &mut Ui,
    (title, button): (&str, &str),
    is_file: bool,
    typed: &mut String,
    actions: &mut Actions,
) {
    let title = ui.heading(title);
    let hint = if is_file { "path of the file" } else { "name of the variant" };
    let edit = TextEdit::singleline(typed).hint_text(hint).desired_width(f32::INFINITY);
    let response = ui.add(edit).labelled_by(title.id);
    let entered = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    // The first time it is drawn; then Tab leads on.
    if ui.memory(|memory| memory.focused().is_none()) {
        response.request_focus();
    }
    ui.horizontal(|ui| {
        if (ui.button(button).clicked() || entered) && !typed.trim().is_empty() {
            actions.push(Action::Answer(typed.trim().to_owned()));
        }
        if is_file && ui.button("Browse\u{2026}").on_hover_text("The dialog of your desktop").clicked() {
            actions.push(Action::Browse);
        }
    });
}

fn choose(ui: &mut Ui, for_what: Command, choices: &[String], actions: &mut Actions) {
    ui.heading(match for_what {
        Command::Add => "Add a component: of which kind?",
        _ => "Connect to which component?",
    });
    if choices.is_empty() {
        ui.label("There is none yet.");
    }
    ScrollArea::vertical().max_height(room(ui, 320.0)).show(ui, |ui| {
        for choice in choices {
            if ui.button(choice.replace('_', " ")).clicked() {
                actions.push(Action::Answer(choice.clone()));
            }
        }
    });
}

fn palette(ui: &mut Ui, typed: &mut String, actions: &mut Actions) {
    let title = ui.heading("All commands");
    let edit = TextEdit::singleline(typed).hint_text("type a part of its name").desired_width(f32::INFINITY);
    let response = ui.add(edit).labelled_by(title.id);
    response.request_focus();
    let wanted = typed.to_lowercase();
    let fitting: Vec<Command> =
        Command::all().filter(|command| command.name().to_lowercase().contains(&wanted)).collect();
    if ui.input(|input| input.key_pressed(Key::Enter))
        && let Some(first) = fitting.first()
    {
        actions.extend([Action::CloseDialog, Action::Do(*first)]);
    }
    ScrollArea::vertical().max_height(room(ui, 320.0)).show(ui, |ui| {
        for command in fitting {
            let shortcut = ui.ctx().format_shortcut(&command.shortcut());
            if ui.button(format!("{}    {shortcut}", command.name())).clicked() {
                actions.extend([Action::CloseDialog, Action::Do(command)]);
            }
        }
    });
}

fn keys(ui: &mut Ui) {
    ui.heading("Keys");
    ScrollArea::vertical().max_height(room(ui, 420.0)).show(ui, |ui| {
        Grid::new("keys").striped(true).spacing([24.0, 4.0]).show(ui, |ui| {
            for (menu, commands) in MENUS {
                ui.strong(menu);
                ui.end_row();
                for command in commands {
                    ui.label(command.name());
                    ui.label(ui.ctx().format_shortcut(&command.shortcut()));
                    ui.end_row();
                }
            }
        });
    });
}
