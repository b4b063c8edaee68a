//! The app: its state, what is open in it, and what the background has found.

mod actions;
mod files;
mod frame;

use std::path::Path;
use std::sync::Arc;

use eframe::egui::{self, Ui};
use scenarios::report::Report;

use crate::command::Tab;
use crate::document::Document;
use crate::files::Files;
use crate::jobs::{Jobs, Kind, News, Stressed, words};
use crate::keep::Keeper;
use crate::shown::Shown;
use crate::view::{Dialog, Drafts, System};

/// The desktop app.
#[derive(Debug, Default)]
pub struct App {
    document: Option<Document>,
    jobs: Jobs,
    run: Option<Arc<Shown>>,
    /// Hash of the scenario that the run is of.
    run_of: u64,
    comparison: Option<Arc<Report>>,
    stressed: Option<Arc<Stressed>>,
    tab: Tab,
    system: System,
    drafts: Drafts,
    files: Files,
    keeper: Keeper,
    dialog: Option<Dialog>,
    /// What was done last, in words.
    said: String,
    /// Whether the window may close though something is unsaved.
    leaves: bool,
    /// What stands above the window.
    title: String,
    /// Whether the colours are set.
    is_set_up: bool,
}

impl App {
    /// The scenario that is open.
    pub fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// The view that is shown.
    pub fn tab(&self) -> Tab {
        self.tab
    }

    /// Whether something is being simulated.
    pub fn is_busy(&self) -> bool {
        self.jobs.is_running()
    }

    /// The results of the scenario as it is now; none while there are none yet, or only a coarse answer.
    pub fn result(&self) -> Option<&scenarios::results::RunResult> {
        let hash = self.document.as_ref()?.hash();
        let run = self.run.as_ref().filter(|run| !run.coarse && self.run_of == hash)?;
        Some(&run.result)
    }

    /// What is known of the scenario as it is now: the results, or those of a part of the run until they are there.
    pub fn answer(&self) -> Option<&scenarios::results::RunResult> {
        let hash = self.document.as_ref()?.hash();
        self.run.as_ref().filter(|_| self.run_of == hash).map(|run| &run.result)
    }

    /// Whether all of a stress test is there.
    pub fn is_stressed(&self) -> bool {
        self.stressed.as_ref().is_some_and(|stressed| stressed.doing.is_none())
    }

    /// What is asked or told in a window above, in a word.
    pub fn dialog(&self) -> Option<String> {
        self.dialog.as_ref().map(|dialog| format!("{dialog:?}"))
    }

    /// Opens a file; an error is shown, and what was open stays.
    pub fn open(&mut self, path: &Path, ctx: &egui::Context) {
        self.take(Document::open(path).map_err(|error| words(&error)), ctx);
    }

    /// Opens a scenario of the library.
    pub fn open_library(&mut self, id: &str, ctx: &egui::Context) {
        self.take(Document::library(id).map_err(|error| words(&error)), ctx);
    }

    fn take(&mut self, document: Result<Document, String>, ctx: &egui::Context) {
        match document {
            Ok(document) => {
                self.jobs.cancel_all();
                self.said = format!("opened {}", document.name());
                (self.document, self.run) = (Some(document), None);
                self.as_it_was_seen();
                self.changed(ctx);
            }
            Err(error) => self.dialog = Some(Dialog::Error(error)),
        }
    }

    /// The scenario is another one: what was found of the last no longer holds, and it is run.
    fn changed(&mut self, ctx: &egui::Context) {
        self.jobs.cancel(Kind::Compare);
        self.jobs.cancel(Kind::Stress);
        (self.comparison, self.stressed) = (None, None);
        self.drafts.clear();
        self.start(Kind::Run, ctx);
    }

    fn start(&mut self, kind: Kind, ctx: &egui::Context) {
        if let Some(document) = &self.document {
            self.jobs.start(kind, document, ctx);
        }
    }

    fn edit(
        &mut self,
        ctx: &egui::Context,
        change: impl FnOnce(&mut Document) -> Result<(), scenarios::ScenarioError>,
    ) {
        let Some(document) = &mut self.document else { return };
        match change(document) {
            Ok(()) => self.changed(ctx),
            Err(error) => self.dialog = Some(Dialog::Error(words(&error))),
        }
    }

    /// Gives a path a value; an error is shown, and everything stays as it was.
    pub fn set(&mut self, path: &str, value: &str, ctx: &egui::Context) {
        self.edit(ctx, |document| document.set(path, value, false));
    }

    /// Takes in what the background has found.
    fn listen(&mut self) {
        for (kind, news) in self.jobs.news() {
            match news {
                News::Run(shown) => {
                    self.run_of = self.document.as_ref().map_or(0, Document::hash);
                    self.run = Some(shown);
                }
                News::Compare(report) => self.comparison = Some(report),
                News::Stress(stressed) => self.stressed = Some(stressed),
                News::Failed(text) => {
                    self.jobs.cancel(kind);
                    self.dialog = Some(Dialog::Error(text));
                }
            }
        }
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.frame(ui);
    }
}
