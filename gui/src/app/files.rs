//! What leaves the window and what comes into it: files, the layout that is kept, and the title above it.

use std::path::Path;

use eframe::egui;
use scenarios::report::Report;
use scenarios::results::ResultsError;

use super::App;
use crate::command::{Command, Tab};
use crate::document::Document;
use crate::draw::Part;
use crate::files::FileNews;
use crate::jobs::{Kind, words};
use crate::keep::{Keeper, Seen};
use crate::view::{Dialog, System, Write};

impl App {
    /// Keeps the layout, and unsaved changes, in a directory; asks what becomes of changes that a crash has left there.
    pub fn kept_in(dir: &Path) -> Self {
        let keeper = Keeper::new(dir);
        let dialog = keeper.left.last().map(|(_, kept)| Dialog::Recover(kept.clone()));
        Self { keeper, dialog, ..Self::default() }
    }

    /// Shows a scenario as it was looked at last.
    pub(super) fn as_it_was_seen(&mut self) {
        let what = self.document.as_ref().map_or(String::new(), |document| document.origin.name());
        let seen = self.keeper.layout.of(&what).cloned().unwrap_or_default();
        let part = seen.part.map(|[left, top, right, bottom]| {
            egui::Rect::from_min_max(egui::pos2(left, top), egui::pos2(right, bottom))
        });
        self.system = System::default();
        (self.system.time, self.system.seen) = (seen.time, part);
        self.tab = seen.tab;
    }

    /// Keeps what is to outlive the window.
    pub(super) fn keep(&mut self, ctx: &egui::Context) {
        self.keeper.layout.observe(ctx);
        if let Some(document) = &self.document {
            let part = self.system.seen.map(|part| [part.min.x, part.min.y, part.max.x, part.max.y]);
            let (what, tab) = (document.origin.name(), self.tab);
            // A run that plays is not looked at from another time in every frame.
            let time = self.system.time.filter(|_| !self.system.playing);
            self.keeper.layout.remember(Seen { what, tab, part, time });
        }
        let unsaved = self.document.as_ref().filter(|document| document.is_unsaved());
        let revision = unsaved.map(Document::revision);
        let now = ctx.input(|input| input.time);
        match unsaved {
            Some(document) => self.keeper.keep(now, Some((document.revision(), &|| document.kept()))),
            None => self.keeper.keep(now, None),
        }
        if self.keeper.is_behind(revision) {
            ctx.request_repaint_after(std::time::Duration::from_secs(1));
        }
    }

    /// Takes on what a crash has left, or gives it up; what can no longer be read stays for another time.
    pub(super) fn recover(&mut self, restore: bool, ctx: &egui::Context) {
        let Some(Dialog::Recover(kept)) = self.dialog.take() else { return };
        if restore {
            self.take(Document::restore(kept).map_err(|error| words(&error)), ctx);
            if self.dialog.is_none() {
                self.keeper.forget();
            }
            return;
        }
        self.keeper.forget();
        self.dialog = self.keeper.left.last().map(|(_, kept)| Dialog::Recover(kept.clone()));
    }

    /// Writes to a file, unless something would be lost with it: then asks first. `may_replace` says whether another file
    /// may be written over.
    pub(super) fn write(&mut self, what: Write, path: &Path, may_replace: bool, ctx: &egui::Context) {
        let exists = || (path.exists() && !may_replace).then_some("There is a file of that name already.");
        let lost = match (&what, &self.document) {
            (Write::Scenario, Some(document)) => document.loses(path, may_replace),
            _ => exists(),
        };
        match lost {
            Some(why) => self.dialog = Some(Dialog::Overwrite { what, path: path.to_owned(), why }),
            None => self.overwrite(what, path, ctx),
        }
    }

    pub(super) fn overwrite(&mut self, what: Write, path: &Path, ctx: &egui::Context) {
        match what {
            Write::Scenario => self.save(path),
            Write::Report => self.export(path),
            Write::Screenshot => self.files.screenshot(path.to_owned(), ctx),
            Write::Part(part) => self.export_part(&part, path),
        }
    }

    fn save(&mut self, path: &Path) {
        let Some(document) = &mut self.document else { return };
        match document.save(path) {
            Ok(()) => self.said = format!("saved {}", path.display()),
            Err(error) => self.dialog = Some(Dialog::Error(error.to_string())),
        }
    }

    /// Writes the whole report of the shown page: of an experiment or of the run. An error is shown.
    pub fn export(&mut self, path: &Path) {
        let written = self.report().map(|report| report.write_html(path));
        self.wrote(path, written);
    }

    /// The report that the shown page is of.
    fn report(&self) -> Option<&Report> {
        let run = self.run.as_ref().map(|run| &run.report);
        match self.tab {
            Tab::Stress => self.stressed.as_ref().map(|stressed| &stressed.report).or(run),
            Tab::Compare => self.comparison.as_deref().or(run),
            Tab::Sweep => self.swept.as_ref().map(|swept| &swept.report).or(run),
            Tab::Plan => self.planned.as_ref().map(|planned| &planned.report).or(run),
            _ => run,
        }
    }

    fn export_part(&mut self, part: &Part, path: &Path) {
        let written = self.report().map(|report| match part {
            Part::Picture(picture) => report.write_picture(picture, path),
            Part::Table(table) => report.write_table(table, path),
        });
        self.wrote(path, written);
    }

    fn wrote(&mut self, path: &Path, written: Option<Result<(), ResultsError>>) {
        match written {
            Some(Ok(())) => self.said = format!("wrote {}", path.display()),
            Some(Err(error)) => self.dialog = Some(Dialog::Error(error.to_string())),
            None => {}
        }
    }

    /// Takes in what has come of dialogs of the system, pictures of the window and wishes of charts and tables.
    pub(super) fn files(&mut self, ctx: &egui::Context) {
        match self.files.news() {
            Some(FileNews::Chosen(path)) if self.dialog.is_some() => {
                // Dialogs of the system ask themselves before they give the name of a file that is there.
                self.meant(&path.display().to_string(), true, ctx);
            }
            Some(FileNews::Wrote(path)) => self.said = format!("wrote {}", path.display()),
            Some(FileNews::Failed(text)) => self.dialog = Some(Dialog::Error(text)),
            _ => {}
        }
        if let Some(part) = Part::asked(ctx) {
            self.dialog = Some(Dialog::Part { typed: part.file_name(), part });
        }
    }

    /// A scenario is opened; anything else is taken for a trace that replaces the arrivals.
    pub(super) fn drop(&mut self, path: &Path, ctx: &egui::Context) {
        let is_scenario = path.extension().is_some_and(|ending| ending == "toml");
        let sources = self.document.as_ref().map_or(0, |document| document.loaded.scenario.traffic.len());
        if is_scenario || sources == 0 {
            self.command(Command::Open, ctx);
            match &self.dialog {
                Some(Dialog::Path { .. }) => {
                    self.dialog = None;
                    self.open(path, ctx);
                }
                _ => self.said = format!("not opened: {}", path.display()),
            }
            return;
        }
        self.edit(ctx, |document| document.replay(path));
    }

    /// Says above the window, and where windows are listed, what is open and how far the work on it is.
    pub(super) fn title(&mut self, ctx: &egui::Context) {
        let document = self.document.as_ref();
        let star = if document.is_some_and(Document::is_unsaved) { "* " } else { "" };
        let name = document.map_or(String::new(), |document| format!("{star}{} - ", document.name()));
        let work = [(Kind::Stress, "stress test"), (Kind::Compare, "comparison"), (Kind::Run, "run")];
        let work = work.iter().find_map(|(kind, what)| Some((self.jobs.fraction(*kind)?, what)));
        let work = work.map_or(String::new(), |(share, what)| format!("{what} {:.0}% - ", share * 100.0));
        let title = format!("{name}{work}Tenfold");
        if title != self.title {
            ctx.send_viewport_cmd(egui::ViewportCommand::Title(title.clone()));
            self.title = title;
        }
    }
}
