//! The app: its state, and what is done with what the views ask for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{
    self, Align, Button, CentralPanel, Layout, MenuBar, Panel, ProgressBar, RichText, Theme, Ui,
};
use scenarios::report::Report;
use scenarios::results::ResultsError;
use scenarios::results::show::seconds;

use crate::command::{Command, MENUS, Tab};
use crate::document::{Document, Origin};
use crate::draw::{Cursor, Part};
use crate::files::{FileNews, Files};
use crate::inspector::things;
use crate::jobs::{Jobs, Kind, News, Stressed, words};
use crate::keep::{Keeper, Seen};
use crate::shown::Shown;
use crate::theme;
use crate::view::{self, Action, Actions, Dialog, System};

/// How long a run takes to play.
const PLAYS_FOR: f64 = 20.0;

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
    drafts: view::Drafts,
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
    /// Keeps the layout, and unsaved changes, in a directory; asks what becomes of changes that a crash has left there.
    pub fn kept_in(dir: &Path) -> Self {
        let keeper = Keeper::new(dir);
        let dialog = keeper.left.last().map(|(_, kept)| Dialog::Recover(kept.clone()));
        Self { keeper, dialog, ..Self::default() }
    }

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

    /// Shows a scenario as it was looked at last.
    fn as_it_was_seen(&mut self) {
        let what = self.document.as_ref().map_or(String::new(), |document| document.origin.name());
        let seen = self.keeper.layout.of(&what).cloned().unwrap_or_default();
        let part = seen.part.map(|[left, top, right, bottom]| {
            egui::Rect::from_min_max(egui::pos2(left, top), egui::pos2(right, bottom))
        });
        self.system = System { time: seen.time, seen: part, ..System::default() };
        self.tab = seen.tab;
    }

    /// Keeps what is to outlive the window.
    fn keep(&mut self, ctx: &egui::Context) {
        self.keeper.layout.observe(ctx);
        if let Some(document) = &self.document {
            let part = self.system.seen.map(|part| [part.min.x, part.min.y, part.max.x, part.max.y]);
            let (what, tab) = (document.origin.name(), self.tab);
            // A run that plays is not looked at from another time in every frame.
            let time = self.system.time.filter(|_| !self.system.playing);
            self.keeper.layout.remember(Seen { what, tab, part, time });
        }
        let unsaved = self.document.as_ref().filter(|document| document.is_unsaved());
        let hash = unsaved.map(Document::hash);
        let now = ctx.input(|input| input.time);
        match unsaved {
            Some(document) => self.keeper.keep(now, Some((document.hash(), &|| document.kept()))),
            None => self.keeper.keep(now, None),
        }
        if self.keeper.is_behind(hash) {
            ctx.request_repaint_after(std::time::Duration::from_secs(1));
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

    /// Writes the whole report of the shown page: of the stress test, the comparison or the run. An error is shown.
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

    fn act(&mut self, action: Action, ctx: &egui::Context) {
        match action {
            Action::Do(command) => self.command(command, ctx),
            Action::Library(id) => self.open_library(id, ctx),
            Action::CloseDialog => {
                self.files.close();
                self.dialog = None;
            }
            Action::Browse => self.files.browse(self.dialog.as_ref(), ctx),
            Action::Recover(restore) => {
                if let (Some(Dialog::Recover(kept)), true) = (self.dialog.take(), restore) {
                    self.take(Document::restore(kept).map_err(|error| words(&error)), ctx);
                }
                self.keeper.forget();
                // One after the other, and not over what is unsaved now.
                if self.dialog.is_none() && !restore {
                    self.dialog = self.keeper.left.last().map(|(_, kept)| Dialog::Recover(kept.clone()));
                }
            }
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

    /// Takes in what has come of dialogs of the system, pictures of the window and wishes of charts and tables.
    fn files(&mut self, ctx: &egui::Context) {
        match self.files.news() {
            Some(FileNews::Chosen(path)) if self.dialog.is_some() => {
                self.act(Action::Answer(path.display().to_string()), ctx);
            }
            Some(FileNews::Wrote(path)) => self.said = format!("wrote {}", path.display()),
            Some(FileNews::Failed(text)) => self.dialog = Some(Dialog::Error(text)),
            _ => {}
        }
        if let Some(part) = Part::asked(ctx) {
            self.dialog = Some(Dialog::Part { typed: part.file_name(), part });
        }
    }

    fn keys(&mut self, ctx: &egui::Context) {
        for command in Command::all() {
            if ctx.input_mut(|input| input.consume_shortcut(&command.shortcut())) {
                self.command(command, ctx);
            }
        }
        let dropped: Option<PathBuf> =
            ctx.input(|input| input.raw.dropped_files.first().map(|file| file.path().to_owned()));
        if let Some(path) = dropped {
            self.drop(&path, ctx);
        }
    }

    /// A scenario is opened; anything else is taken for a trace that replaces the arrivals.
    fn drop(&mut self, path: &Path, ctx: &egui::Context) {
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

    fn play(&mut self, ctx: &egui::Context) {
        let end = self.run.as_ref().and_then(|run| run.result.outputs.first());
        let (Some(end), Some(time), true) = (end, self.system.time, self.system.playing) else { return };
        let end = end.end.as_secs_f64();
        let step = f64::from(ctx.input(|input| input.stable_dt.min(0.1))) * end / PLAYS_FOR;
        self.system.time = Some(if time >= end { 0.0 } else { (time + step).min(end) });
        self.system.playing = time + step < end;
        ctx.request_repaint();
    }

    /// Draws all of it, and does what was asked for.
    pub fn frame(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        if !std::mem::replace(&mut self.is_set_up, true) {
            theme::set_up(&ctx);
            self.keeper.layout.restore(&ctx);
        }
        self.listen();
        self.files(&ctx);
        if self.dialog.is_none() {
            self.keys(&ctx);
        }
        self.play(&ctx);
        if ctx.input(|input| input.viewport().close_requested())
            && !self.leaves
            && self.document.as_ref().is_some_and(Document::is_unsaved)
        {
            ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            self.dialog = Some(Dialog::Unsaved(Command::Quit));
        }
        let mut actions = Actions::new();
        Panel::top("menus").show(ui, |ui| self.menus(ui, &mut actions));
        Panel::bottom("status").show(ui, |ui| self.status(ui));
        self.contents(ui, &mut actions);
        if let Some(dialog) = &mut self.dialog {
            view::dialog(&ctx, dialog, &mut actions);
        }
        for action in actions {
            self.act(action, &ctx);
        }
        self.keep(&ctx);
        self.title(&ctx);
    }

    /// Says above the window, and where windows are listed, what is open and how far the work on it is.
    fn title(&mut self, ctx: &egui::Context) {
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

    fn menus(&self, ui: &mut Ui, actions: &mut Actions) {
        MenuBar::new().ui(ui, |ui| {
            for (name, commands) in MENUS {
                ui.menu_button(name, |ui| {
                    for command in commands {
                        let keys = ui.ctx().format_shortcut(&command.shortcut());
                        let button = Button::new(command.name()).shortcut_text(keys);
                        if ui.add_enabled(self.can(*command), button).clicked() {
                            actions.push(Action::Do(*command));
                            ui.close();
                        }
                    }
                });
            }
            let Some(document) = &self.document else { return };
            ui.separator();
            let star = if document.is_unsaved() { "* " } else { "" };
            ui.strong(format!("{star}{}", document.name()));
            if document.variants().count() > 1 {
                ui.separator();
                for name in document.variants() {
                    if ui.selectable_label(name == document.variant(), name).clicked() {
                        actions.push(Action::Variant(name.to_owned()));
                    }
                }
            }
        });
        if self.document.is_some() {
            ui.horizontal(|ui| {
                for tab in Tab::ALL {
                    if ui.selectable_label(tab == self.tab, tab.name()).clicked() {
                        actions.push(Action::Do(Command::Show(tab)));
                    }
                }
            });
        }
    }

    /// What holds, what is going on, and what the figures rest on.
    fn status(&self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            if let Some(run) = &self.run {
                let is_old = self.document.as_ref().is_some_and(|document| document.hash() != self.run_of);
                let (words, ink) = match run.result.passed() {
                    _ if is_old => ("out of date", ui.visuals().weak_text_color()),
                    Some(true) => ("SLO met", theme::verdict(ui, true)),
                    Some(false) => ("SLO missed", theme::verdict(ui, false)),
                    None => ("no SLO", ui.visuals().weak_text_color()),
                };
                ui.label(RichText::new(words).strong().color(ink));
                if run.coarse {
                    ui.weak("coarse answer, the whole run is coming");
                }
                if let Some(finding) = run.result.findings.first() {
                    ui.separator();
                    ui.add(egui::Label::new(finding).truncate());
                }
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let all = [(Kind::Stress, "stress test"), (Kind::Compare, "comparison"), (Kind::Run, "run")];
                for (kind, name) in all {
                    if let Some(fraction) = self.jobs.fraction(kind) {
                        ui.add(ProgressBar::new(fraction as f32).desired_width(120.0).text(name));
                    }
                }
                ui.weak(&self.said);
                if let Some(run) = &self.run {
                    let provenance = &run.result.provenance;
                    ui.weak(seconds(provenance.duration_s))
                        .on_hover_text("simulated time of each replication");
                    if provenance.calibration != "none" {
                        ui.weak(format!("GPU times: {}", provenance.calibration));
                    }
                }
            });
        });
    }

    fn contents(&mut self, ui: &mut Ui, actions: &mut Actions) {
        let Some(document) = &self.document else {
            let recent = self.keeper.layout.files();
            CentralPanel::default().show(ui, |ui| view::start(ui, &recent, actions));
            return;
        };
        let hash = document.hash();
        let run = self.run.as_deref();
        if self.tab == Tab::System
            && let Some(name) = self.system.selected.clone()
        {
            Panel::right("inspector").default_size(330.0).show(ui, |ui| {
                let things = match self.system.things.take() {
                    Some((of, whose, things)) if of == hash && whose == name => things,
                    _ => things(&document.loaded.scenario, &name),
                };
                view::inspector(ui, document, &name, &things, &mut self.drafts, actions);
                self.system.things = Some((hash, name, things));
            });
        }
        CentralPanel::default().show(ui, |ui| match self.tab {
            Tab::System => view::system(ui, document, run, &mut self.system, actions),
            Tab::Findings => view::findings(ui, run),
            Tab::Charts => view::charts(ui, run, Cursor { at: self.system.time }),
            Tab::Compare => {
                let is_running = self.jobs.is_running_on(Kind::Compare, hash);
                view::compare(ui, document, self.comparison.as_deref(), is_running, actions);
            }
            Tab::Stress => {
                let is_running = self.jobs.is_running_on(Kind::Stress, hash);
                view::stress(ui, self.stressed.as_deref(), is_running, actions);
            }
            Tab::Text => view::text(ui, document),
        });
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.frame(ui);
    }
}
