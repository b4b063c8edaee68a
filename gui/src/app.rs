//! The app: its state, what is open in it, and what the background has found.

mod actions;
mod files;
mod frame;
mod handover;

use std::path::Path;
use std::sync::Arc;

use eframe::egui::{self, Ui};
use scenarios::report::{Block, Report};

use crate::command::{Command, Tab};
use crate::document::Document;
use crate::files::Files;
use crate::jobs::{Explored, Jobs, Kind, News, Of, Stressed, Task, words};
use crate::keep::Keeper;
use crate::shown::Shown;
use crate::view::{Dialog, Drafts, Explore, System, Window};

/// Loads that can be asked for, relative to the scenario's.
const LOADS: std::ops::RangeInclusive<f64> = 0.1..=100.0;

/// The load relative to the scenario's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Load(f64);

impl Default for Load {
    fn default() -> Self {
        Self(1.0)
    }
}

/// The desktop app.
#[derive(Debug, Default)]
pub struct App {
    document: Option<Document>,
    jobs: Jobs,
    run: Option<Arc<Shown>>,
    /// What the run is of.
    run_of: Of,
    load: Load,
    /// How it is at other loads.
    curve: Option<Vec<Block>>,
    comparison: Option<Arc<Report>>,
    /// The variant that others are compared with; the scenario as it is written for none.
    baseline: Option<String>,
    stressed: Option<Arc<Stressed>>,
    swept: Option<Arc<Explored>>,
    planned: Option<Arc<Explored>>,
    explore: Explore,
    tab: Tab,
    system: System,
    window: Window,
    drafts: Drafts,
    files: Files,
    keeper: Keeper,
    dialog: Option<Dialog>,
    /// What is done at the end of the frame, once what is being typed has been taken.
    waiting: Option<Command>,
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
        let now = self.now();
        let run = self.run.as_ref().filter(|run| !run.coarse && self.run_of == now)?;
        Some(&run.result)
    }

    /// The load relative to the scenario's.
    pub fn load(&self) -> f64 {
        self.load.0
    }

    /// Whether there is a comparison of the variants as they are now.
    pub fn is_compared(&self) -> bool {
        self.comparison.is_some()
    }

    /// How many configurations a sweep or a plan found to take on; none before it has ended.
    pub fn choices(&self, tab: Tab) -> Option<usize> {
        let explored = if tab == Tab::Plan { &self.planned } else { &self.swept };
        explored.as_ref().map(|explored| explored.choices.len())
    }

    /// The time of the run that is shown, in seconds; none for what is on average.
    pub fn time(&self) -> Option<f64> {
        self.system.time
    }

    /// The part of the run that is looked at more closely, in seconds; none for all of it.
    pub fn window(&self) -> Option<(f64, f64)> {
        self.window.times
    }

    /// Looks at a part of the run more closely; at all of it for none.
    pub fn look_at(&mut self, times: Option<(f64, f64)>) {
        self.window.show(times, self.run.as_deref());
    }

    /// One more axis of the sweep, with values around one.
    pub fn add_axis(&mut self, path: &str, value: &str) {
        self.explore.add(path.to_owned(), Some(value));
    }

    /// What results are of that hold now.
    fn now(&self) -> Of {
        Of { hash: self.document.as_ref().map_or(0, Document::hash), load: self.load.0 }
    }

    /// What is known of the scenario as it is now: the results, or those of a part of the run until they are there.
    pub fn answer(&self) -> Option<&scenarios::results::RunResult> {
        self.document.as_ref()?;
        self.run.as_ref().filter(|_| self.run_of == self.now()).map(|run| &run.result)
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
                (self.load, self.baseline) = (Load::default(), None);
                (self.explore, self.window) = (Explore::default(), Window::default());
                self.as_it_was_seen();
                self.changed(ctx);
            }
            Err(error) => self.dialog = Some(Dialog::Error(error)),
        }
    }

    /// The scenario is another one: what was found of the last no longer holds, and it is run.
    fn changed(&mut self, ctx: &egui::Context) {
        for kind in [Kind::Stress, Kind::Curve] {
            self.forget(kind);
        }
        self.drafts.clear();
        self.rerun(ctx);
    }

    /// Another load: what has loads of its own still holds.
    fn set_load(&mut self, load: f64, ctx: &egui::Context) {
        let load = load.clamp(*LOADS.start(), *LOADS.end());
        if load != self.load.0 {
            self.load = Load(load);
            self.rerun(ctx);
        }
    }

    /// Runs it, and forgets what was found at another load or of another scenario.
    fn rerun(&mut self, ctx: &egui::Context) {
        for kind in [Kind::Compare, Kind::Sweep, Kind::Plan] {
            self.forget(kind);
        }
        self.start(Task::Run, ctx);
    }

    /// What was found, or is looked for, is of another question.
    fn forget(&mut self, kind: Kind) {
        self.jobs.cancel(kind);
        match kind {
            Kind::Compare => self.comparison = None,
            Kind::Sweep => self.swept = None,
            Kind::Plan => self.planned = None,
            Kind::Stress => self.stressed = None,
            Kind::Curve => self.curve = None,
            Kind::Run => {}
        }
    }

    fn start(&mut self, task: Task, ctx: &egui::Context) {
        if let Some(document) = &self.document {
            self.jobs.start(task, document, self.load.0, ctx);
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
                    self.run_of = self.now();
                    self.window.show(self.window.times, Some(&shown));
                    self.run = Some(shown);
                }
                News::Curve(pictures) => self.curve = Some(pictures),
                News::Compare(report) => self.comparison = Some(report),
                News::Stress(stressed) => self.stressed = Some(stressed),
                News::Explored(explored) if explored.is_plan => self.planned = Some(explored),
                News::Explored(explored) => self.swept = Some(explored),
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
