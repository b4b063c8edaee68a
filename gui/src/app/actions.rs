//! What is done with what was asked for.

use std::path::{Path, PathBuf};

use eframe::egui::{self, Theme};

use super::App;
use crate::command::{Command, Tab};
use crate::document::{Document, Origin};
use crate::jobs::Kind;
use crate::view::{Action, Dialog};

impl App {
    /// Whether a command can be done now.
    pub fn can(&self, command: Command) -> bool {
        let document = self.document.as_ref();
        match command {
            Command::Start | Command::Open | Command::Screenshot | Command::Quit => true,
            Command::Theme | Command::ZoomIn | Command::ZoomOut => true,
            Command::Palette | Command::Keys | Command::NotModelled => true,
            Command::Save | Command::SaveAs | Command::Run | Command::RunStress | Command::Show(_) => {
                document.is_some()
            }
            Command::RunComparison => document.is_some_and(|document| document.variants().count() > 1),
            Command::Undo => document.is_some_and(Document::can_undo),
            Command::Redo => document.is_some_and(Document::can_redo),
            Command::ApplyRecommended => self.recommended().is_some(),
            Command::Cancel => self.is_busy(),
            Command::ExportReport | Command::Play => self.run.is_some(),
        }
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
            Command::Open => self.dialog = ask(String::new()),
            Command::Save => match self.document.as_ref().map(|document| document.origin.clone()) {
                Some(Origin::File(path)) => self.save(&path),
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
            Command::Run => self.start(Kind::Run, ctx),
            Command::RunComparison => {
                self.tab = Tab::Compare;
                self.comparison = None;
                self.start(Kind::Compare, ctx);
            }
            Command::RunStress => {
                self.tab = Tab::Stress;
                self.stressed = None;
                self.start(Kind::Stress, ctx);
            }
            Command::ApplyRecommended => {
                if let Some(change) = self.recommended() {
                    self.act(Action::Apply(change), ctx);
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
            Command::ZoomIn => ctx.set_zoom_factor((ctx.zoom_factor() * 1.1).min(3.0)),
            Command::ZoomOut => ctx.set_zoom_factor((ctx.zoom_factor() / 1.1).max(0.5)),
            Command::Palette => self.dialog = Some(Dialog::Palette { typed: String::new() }),
            Command::Keys => self.dialog = Some(Dialog::Keys),
            Command::NotModelled => self.dialog = Some(Dialog::NotModelled),
        }
    }

    /// The change that the stress test recommends first.
    fn recommended(&self) -> Option<Vec<String>> {
        let first = self.stressed.as_ref()?.recommendations.first()?;
        Some(first.change.clone())
    }

    fn save(&mut self, path: &Path) {
        let Some(document) = &mut self.document else { return };
        match document.save(path) {
            Ok(()) => self.said = format!("saved {}", path.display()),
            Err(error) => self.dialog = Some(Dialog::Error(error.to_string())),
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
            Action::Answer(text) => match self.dialog.take() {
                Some(Dialog::Path { for_what: Command::Open, .. }) => self.open(Path::new(&text), ctx),
                Some(Dialog::Path { for_what: Command::ExportReport, .. }) => self.export(Path::new(&text)),
                Some(Dialog::Path { for_what: Command::Screenshot, .. }) => {
                    self.files.screenshot(PathBuf::from(text), ctx);
                }
                Some(Dialog::Part { part, .. }) => self.export_part(&part, Path::new(&text)),
                Some(Dialog::Path { .. }) => self.save(Path::new(&text)),
                Some(Dialog::Unsaved(command)) => self.go(command, ctx),
                _ => {}
            },
            Action::Set { path, value, more } => self.edit(ctx, |document| document.set(&path, &value, more)),
            Action::Reset(path) => self.edit(ctx, |document| document.reset(&path)),
            Action::Apply(change) => {
                self.edit(ctx, |document| document.apply(&change));
                // To be seen to hold.
                if self.dialog.is_none() {
                    self.start(Kind::Stress, ctx);
                }
            }
            Action::Variant(name) => self.edit(ctx, |document| document.show_variant(&name)),
            Action::Select(name) => self.system.selected = name,
            Action::Time(time) => {
                self.system.time = time;
                self.system.playing &= time.is_some();
            }
        }
    }
}
