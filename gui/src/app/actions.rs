//! What is done with what was asked for.

use std::path::Path;

use eframe::egui::{self, Theme};
use scenarios::language::BASE;

use super::App;
use crate::command::{Command, Tab};
use crate::document::{Document, KINDS, Origin};
use crate::jobs::{Kind, Task};
use crate::view::{Action, Dialog, Write};

/// Loads that keys go through, relative to the scenario's.
const STEPS: [f64; 9] = [1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 30.0, 100.0];
/// How fast a run can be played, relative to twenty seconds for all of it.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.5..=8.0;

/// Larger or smaller by a tenth of the usual size. Letters are kept in every size that they were drawn in, so there are
/// only so many sizes.
fn zoom(by: f32, ctx: &egui::Context) {
    let tenths = (ctx.zoom_factor() * 10.0).round() + by;
    ctx.set_zoom_factor(tenths.clamp(5.0, 30.0) / 10.0);
}

impl App {
    /// Whether a command can be done now.
    pub fn can(&self, command: Command) -> bool {
        let document = self.document.as_ref();
        match command {
            Command::Start | Command::Open | Command::Screenshot | Command::Quit => true,
            Command::Theme | Command::ZoomIn | Command::ZoomOut => true,
            Command::Palette | Command::Keys | Command::NotModelled => true,
            Command::Save
            | Command::SaveAs
            | Command::Run
            | Command::RunStress
            | Command::RunCurve
            | Command::Show(_) => document.is_some(),
            Command::RunPlan | Command::Add | Command::Keep | Command::Copy | Command::Fit => {
                document.is_some()
            }
            Command::MoreLoad | Command::LessLoad | Command::OwnLoad => document.is_some(),
            Command::RunSweep => document.is_some() && !self.explore.axes.is_empty(),
            Command::Connect | Command::Remove => self.selected().is_some(),
            Command::StepOn | Command::StepBack => self.run.is_some(),
            Command::Faster => self.run.is_some() && self.system.speed() < *SPEEDS.end(),
            Command::Slower => self.run.is_some() && self.system.speed() > *SPEEDS.start(),
            Command::RunComparison => document.is_some_and(|document| document.variants().count() > 1),
            Command::Undo => document.is_some_and(Document::can_undo),
            Command::Redo => document.is_some_and(Document::can_redo),
            Command::ApplyRecommended => self.recommended().is_some(),
            Command::Cancel => self.is_busy(),
            Command::ExportReport | Command::Play => self.run.is_some(),
        }
    }

    /// The component or source that is selected.
    fn selected(&self) -> Option<&str> {
        let scenario = &self.document.as_ref()?.loaded.scenario;
        let is_there =
            |name: &&str| scenario.components.contains_key(*name) || scenario.traffic.contains_key(*name);
        self.system.selected.as_deref().filter(is_there)
    }

    /// Does a command, if it can be done now.
    pub fn command(&mut self, command: Command, ctx: &egui::Context) {
        if !self.can(command) {
            return;
        }
        let loses = matches!(command, Command::Start | Command::Open | Command::Quit);
        if loses && self.document.as_ref().is_some_and(Document::is_unsaved) {
            self.dialog = Some(Dialog::Unsaved(command));
            return;
        }
        self.go(command, ctx);
    }

    fn go(&mut self, command: Command, ctx: &egui::Context) {
        let ask = |typed: String| Some(Dialog::Path { for_what: command, typed });
        match command {
            Command::Start => {
                self.jobs.cancel_all();
                (self.document, self.run) = (None, None);
            }
            Command::MoreLoad => {
                let next = STEPS.into_iter().find(|step| *step > self.load.0 + 1e-9);
                self.set_load(next.unwrap_or(self.load.0), ctx);
            }
            Command::LessLoad => {
                let next = STEPS.into_iter().rev().find(|step| *step < self.load.0 - 1e-9);
                self.set_load(next.unwrap_or(self.load.0), ctx);
            }
            Command::OwnLoad => self.set_load(1.0, ctx),
            Command::Add => {
                let choices = KINDS.iter().map(|(kind, _)| (*kind).to_owned()).collect();
                self.dialog = Some(Dialog::Choose { for_what: command, choices });
            }
            Command::Connect => {
                let own = self.selected().map(str::to_owned);
                let all =
                    self.document.iter().flat_map(|document| document.loaded.scenario.components.keys());
                let choices = all.filter(|name| Some(*name) != own.as_ref()).cloned().collect();
                self.dialog = Some(Dialog::Choose { for_what: command, choices });
            }
            Command::Remove => {
                if let Some(name) = self.selected().map(str::to_owned) {
                    self.edit(ctx, |document| document.remove(&name));
                    if self.dialog.is_none() {
                        self.said = format!("removed {name}");
                        self.system.selected = None;
                    }
                }
            }
            Command::Keep => self.dialog = ask(String::new()),
            Command::Copy if self.needs_a_file() => {
                self.dialog = Some(Dialog::Error(
                    "The file does not have what was changed here.\nSave the scenario first, so that the command finds it."
                        .to_owned(),
                ));
            }
            Command::Copy => {
                if let Some(line) = self.command_line() {
                    self.said = format!("copied: {line}");
                    ctx.copy_text(line);
                }
            }
            Command::Fit => self.system.seen = None,
            Command::StepOn => self.step(1),
            Command::StepBack => self.step(-1),
            Command::Faster => self.system.set_speed(self.system.speed() * 2.0),
            Command::Slower => self.system.set_speed(self.system.speed() / 2.0),
            Command::RunSweep => {
                (self.tab, self.swept) = (Tab::Sweep, None);
                self.start(Task::Sweep(self.explore.axes()), ctx);
            }
            Command::RunPlan => {
                (self.tab, self.planned) = (Tab::Plan, None);
                self.start(Task::Plan(self.explore.question.clone()), ctx);
            }
            Command::Open => self.dialog = ask(String::new()),
            Command::Save => match self.document.as_ref().map(|document| document.origin.clone()) {
                Some(Origin::File(path)) => self.write(Write::Scenario, &path, true, ctx),
                _ => self.go(Command::SaveAs, ctx),
            },
            Command::SaveAs => {
                let name = match self.document.as_ref().map(|document| &document.origin) {
                    Some(Origin::File(path)) => path.display().to_string(),
                    Some(Origin::Library(id)) => format!("{id}.toml"),
                    None => String::new(),
                };
                self.dialog = ask(name);
            }
            Command::ExportReport => self.dialog = ask("report.html".to_owned()),
            Command::Screenshot => self.dialog = ask("tenfold.png".to_owned()),
            Command::Quit => {
                self.leaves = true;
                ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            }
            Command::Undo | Command::Redo => {
                if let Some(document) = &mut self.document {
                    if command == Command::Undo { document.undo() } else { document.redo() }
                }
                self.changed(ctx);
            }
            Command::Run => self.start(Task::Run, ctx),
            Command::RunCurve => {
                (self.tab, self.curve) = (Tab::Charts, None);
                self.start(Task::Curve, ctx);
            }
            Command::RunComparison => {
                self.tab = Tab::Compare;
                self.comparison = None;
                let variants: Vec<&str> = self.document.iter().flat_map(Document::variants).collect();
                let pinned = self.baseline.as_deref().filter(|name| variants.contains(name));
                let baseline = pinned.unwrap_or(BASE).to_owned();
                self.start(Task::Compare(baseline), ctx);
            }
            Command::RunStress => {
                self.tab = Tab::Stress;
                self.stressed = None;
                self.start(Task::Stress, ctx);
            }
            Command::ApplyRecommended => {
                if let Some(apply) = self.recommended() {
                    self.act(apply, ctx);
                }
            }
            Command::Cancel => {
                self.jobs.cancel_all();
                self.said = "stopped".to_owned();
            }
            Command::Play => {
                self.system.playing = !self.system.playing;
                self.system.time.get_or_insert(0.0);
            }
            Command::Show(tab) => self.tab = tab,
            Command::Theme => {
                ctx.set_theme(if ctx.theme() == Theme::Dark { Theme::Light } else { Theme::Dark })
            }
            Command::ZoomIn => zoom(1.0, ctx),
            Command::ZoomOut => zoom(-1.0, ctx),
            Command::Palette => self.dialog = Some(Dialog::Palette { typed: String::new() }),
            Command::Keys => self.dialog = Some(Dialog::Keys),
            Command::NotModelled => self.dialog = Some(Dialog::NotModelled),
        }
    }

    /// The change that the stress test recommends first.
    fn recommended(&self) -> Option<Action> {
        let first = self.stressed.as_ref()?.recommendations.first()?;
        Some(Action::Apply { name: first.name.clone(), change: first.change.clone() })
    }

    /// What was typed into the dialog is meant, or chosen in one of the system, which has asked whether another file may be
    /// replaced.
    pub(super) fn meant(&mut self, text: &str, may_replace: bool, ctx: &egui::Context) {
        let path = Path::new(text);
        match self.dialog.take() {
            Some(Dialog::Path { for_what: Command::Open, .. }) => self.open(path, ctx),
            Some(Dialog::Path { for_what: Command::Keep, .. }) => self.keep_variant(text, ctx),
            Some(Dialog::Choose { for_what: Command::Add, .. }) => self.add(text, ctx),
            Some(Dialog::Choose { .. }) => {
                if let Some(from) = self.selected().map(str::to_owned) {
                    self.edit(ctx, |document| document.connect(&from, text));
                }
            }
            Some(Dialog::Path { for_what, .. }) => {
                let what = match for_what {
                    Command::ExportReport => Write::Report,
                    Command::Screenshot => Write::Screenshot,
                    _ => Write::Scenario,
                };
                self.write(what, path, may_replace, ctx);
            }
            Some(Dialog::Part { part, .. }) => self.write(Write::Part(part), path, may_replace, ctx),
            Some(Dialog::Overwrite { what, path, .. }) => self.overwrite(what, &path, ctx),
            Some(Dialog::Unsaved(command)) => self.go(command, ctx),
            _ => {}
        }
    }

    pub(super) fn act(&mut self, action: Action, ctx: &egui::Context) {
        match action {
            Action::Do(command) => self.command(command, ctx),
            Action::Library(id) => self.open_library(id, ctx),
            Action::CloseDialog => {
                self.files.close();
                self.dialog = None;
            }
            Action::Browse => self.files.browse(self.dialog.as_ref(), ctx),
            Action::Recover(restore) => self.recover(restore, ctx),
            Action::Recent(path) => self.open(&path, ctx),
            Action::Answer(text) => self.meant(&text, false, ctx),
            Action::Set { path, value, more: false } => {
                self.edit(ctx, |document| document.set(&path, &value, false));
            }
            Action::Set { path, value, .. } => self.drag(&path, &value, ctx),
            Action::Refuse(why) => self.dialog = Some(Dialog::Error(why)),
            Action::Reset(path) => self.edit(ctx, |document| document.reset(&path)),
            Action::Apply { name, change } => {
                self.edit(ctx, |document| {
                    document.apply(&change)?;
                    if !document.edits().is_empty() {
                        document.keep(&name)?;
                    }
                    Ok(())
                });
                // To be seen to hold.
                if self.dialog.is_none() && self.tab == Tab::Stress {
                    self.start(Task::Stress, ctx);
                }
            }
            Action::Load(load) => self.set_load(load, ctx),
            Action::Baseline(name) => {
                self.baseline = Some(name);
                self.go(Command::RunComparison, ctx);
            }
            Action::Sweep { path, value } => {
                self.forget(Kind::Sweep);
                self.explore.add(path, value.as_deref());
                self.tab = Tab::Sweep;
            }
            Action::Axis { number, values } => {
                self.forget(Kind::Sweep);
                self.explore.set(number, values);
            }
            Action::Question(question) => {
                self.forget(Kind::Plan);
                self.explore.question = question;
            }
            Action::Speed(speed) => self.system.set_speed(speed),
            Action::Variant(name) => self.edit(ctx, |document| document.show_variant(&name)),
            Action::Select(name) => self.system.selected = name,
            Action::Window(times) => self.look_at(times),
            Action::Time(time) => {
                self.system.time = time;
                self.system.playing &= time.is_some();
            }
        }
    }

    /// Gives a path a value on the way to another: what cannot be is passed over.
    fn drag(&mut self, path: &str, value: &str, ctx: &egui::Context) {
        let Some(document) = &mut self.document else { return };
        match document.set(path, value, true) {
            Ok(()) => self.changed(ctx),
            Err(error) => self.said = format!("{value} cannot be: {error}"),
        }
    }

    /// Keeps what is shown as a variant.
    fn keep_variant(&mut self, name: &str, ctx: &egui::Context) {
        let mut kept = String::new();
        self.edit(ctx, |document| document.keep(name).map(|name| kept = name));
        if self.dialog.is_none() {
            self.said = format!("kept as the variant {kept}");
        }
    }

    /// Adds a component, and shows what can be set of it.
    fn add(&mut self, kind: &str, ctx: &egui::Context) {
        let callee = self.selected().map(str::to_owned);
        let mut added = None;
        self.edit(ctx, |document| document.add(kind, callee.as_deref()).map(|name| added = Some(name)));
        if added.is_some() {
            (self.system.selected, self.system.seen) = (added, None);
            self.tab = Tab::System;
        }
    }

    /// To the next window of the series, or to the last.
    fn step(&mut self, by: isize) {
        let Some(output) = self.run.as_ref().and_then(|run| run.result.outputs.first()) else { return };
        let starts = || output.windows.iter().map(|window| window.start.as_secs_f64());
        let time = self.system.time.unwrap_or(0.0);
        let next = match by {
            1.. => starts().find(|start| *start > time),
            _ => starts().rev().find(|start| *start < time),
        };
        self.system.time = Some(next.unwrap_or(time));
        self.system.playing = false;
    }
}
