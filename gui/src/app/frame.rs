//! One frame: keys, menus, what is shown between them, and what was asked for meanwhile.

use std::path::PathBuf;

use eframe::egui::{
    self, Align, Button, CentralPanel, Layout, MenuBar, Panel, ProgressBar, RichText, Slider, SliderClamping,
    Ui, vec2,
};
use scenarios::results::show::seconds;

use super::App;
use crate::command::{Command, MENUS, Tab};
use crate::document::Document;
use crate::inspector::things;
use crate::jobs::Kind;
use crate::theme;
use crate::view::{self, Action, Actions, Dialog};

/// How long a run takes to play.
const PLAYS_FOR: f64 = 20.0;

impl App {
    fn keys(&mut self, ctx: &egui::Context) {
        // Keys with Shift first: those without would take them.
        let (shifted, plain): (Vec<_>, Vec<_>) =
            Command::all().partition(|command| command.shortcut().modifiers.shift);
        let is_typing = ctx.text_edit_focused();
        for command in shifted.into_iter().chain(plain) {
            if is_typing && command.edits_text() {
                continue;
            }
            if ctx.input_mut(|input| input.consume_shortcut(&command.shortcut())) {
                match is_typing {
                    true => self.after_typing(command, ctx),
                    false => self.command(command, ctx),
                }
            }
        }
        let dropped: Option<PathBuf> =
            ctx.input(|input| input.raw.dropped_files.first().map(|file| file.path().to_owned()));
        if let Some(path) = dropped {
            self.drop(&path, ctx);
        }
    }

    /// Does a command once what is being typed has been taken: a field gives it up when it is left.
    fn after_typing(&mut self, command: Command, ctx: &egui::Context) {
        ctx.memory_mut(|memory| memory.focused().inspect(|field| memory.surrender_focus(*field)));
        self.waiting = Some(command);
    }

    fn play(&mut self, ctx: &egui::Context) {
        let (Some(run), Some(time), true) = (&self.run, self.system.time, self.system.playing) else {
            return;
        };
        let Some(output) = run.result.outputs.first() else { return };
        let (end, passed) =
            (output.end.as_secs_f64(), f64::from(ctx.input(|input| input.stable_dt.min(0.1))));
        let step = passed * end / PLAYS_FOR * self.system.speed();
        self.system.flow_on(&run.flow(time), passed);
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
        if ctx.input(|input| input.viewport().close_requested()) && !self.leaves {
            let is_typing = self.dialog.is_none() && ctx.text_edit_focused();
            if is_typing || self.document.as_ref().is_some_and(Document::is_unsaved) {
                ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            }
            if is_typing {
                self.after_typing(Command::Quit, &ctx);
            } else if self.document.as_ref().is_some_and(Document::is_unsaved) {
                self.dialog = Some(Dialog::Unsaved(Command::Quit));
            }
        }
        let mut actions = Actions::new();
        Panel::top("menus").show(ui, |ui| self.menus(ui, &mut actions));
        Panel::bottom("status").show(ui, |ui| self.status(ui, &mut actions));
        self.contents(ui, &mut actions);
        if let Some(dialog) = &mut self.dialog {
            view::dialog(&ctx, dialog, &mut actions);
        }
        for action in actions {
            self.act(action, &ctx);
        }
        // What was typed and cannot be is said first.
        if let Some(command) = self.waiting.take().filter(|_| self.dialog.is_none()) {
            self.command(command, &ctx);
        }
        self.keep(&ctx);
        self.title(&ctx);
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
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| load(ui, self.load(), actions));
            });
        }
    }

    /// What holds, what is going on, and what the figures rest on.
    fn status(&self, ui: &mut Ui, actions: &mut Actions) {
        // What stands at the right first: the rest is cut to what is left.
        let row = vec2(ui.available_width(), ui.spacing().interact_size.y);
        ui.allocate_ui_with_layout(row, Layout::right_to_left(Align::Center), |ui| {
            for kind in Kind::ALL {
                if let Some(fraction) = self.jobs.fraction(kind) {
                    ui.add(ProgressBar::new(fraction as f32).desired_width(120.0).text(kind.name()));
                }
            }
            ui.weak(&self.said);
            if let Some(run) = &self.run {
                let provenance = &run.result.provenance;
                ui.weak(seconds(provenance.duration_s)).on_hover_text("simulated time of each replication");
                if provenance.calibration != "none" {
                    let words = RichText::new(format!("GPU times: {}", provenance.calibration)).weak();
                    let response = ui.add(egui::Label::new(words).sense(egui::Sense::click()));
                    let response = response.on_hover_text(Command::NotModelled.name());
                    if response.clicked() {
                        actions.push(Action::Do(Command::NotModelled));
                    }
                }
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                if let Some(run) = &self.run {
                    let is_old = self.run_of != self.now();
                    let (words, ink) = match run.result.passed() {
                        _ if is_old => ("out of date", ui.visuals().weak_text_color()),
                        Some(true) => ("SLO met", theme::verdict(ui, true)),
                        Some(false) => ("SLO missed", theme::verdict(ui, false)),
                        None if !run.result.verdicts.is_empty() => {
                            ("SLO not judged", ui.visuals().weak_text_color())
                        }
                        None => ("no SLO", ui.visuals().weak_text_color()),
                    };
                    ui.label(RichText::new(words).strong().color(ink));
                    if run.result.provenance.multiplier != 1.0 {
                        ui.strong(format!("at {}x", run.result.provenance.multiplier));
                    }
                    if run.coarse {
                        let length = seconds(run.result.provenance.duration_s);
                        let count = run.result.outputs.len();
                        let rest = match self.jobs.fraction(Kind::Run) {
                            Some(_) => "the whole run is coming",
                            None => "stopped before the whole run was there",
                        };
                        ui.weak(format!("coarse, from {count} runs of {length}: {rest}"));
                    }
                    if let Some(finding) = run.result.findings.first() {
                        ui.separator();
                        ui.add(egui::Label::new(finding).truncate());
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
                let calibration = run.and_then(|run| run.calibration(&name));
                view::inspector(ui, document, &name, &things, calibration, &mut self.drafts, actions);
                self.system.things = Some((hash, name, things));
            });
        }
        let now = self.now();
        let is_old = run.is_some() && self.run_of != now;
        let is_running = |kind: Kind| self.jobs.is_running_on(kind, now);
        CentralPanel::default().show(ui, |ui| {
            if is_old && matches!(self.tab, Tab::System | Tab::Findings | Tab::Charts) {
                // Of what was there before the last change.
                ui.set_opacity(0.5);
            }
            match self.tab {
                Tab::System => view::system(ui, document, run, &mut self.system, actions),
                Tab::Findings => view::findings(ui, run, is_running(Kind::Run), actions),
                Tab::Charts => {
                    let curve = self.curve.as_deref();
                    let is_running = is_running(Kind::Run);
                    view::charts(ui, run, is_running, self.system.time, &self.window, curve, actions);
                }
                Tab::Compare => {
                    let baseline = self.baseline.as_deref();
                    let report = self.comparison.as_deref();
                    view::compare(ui, document, report, baseline, is_running(Kind::Compare), actions);
                }
                Tab::Stress => {
                    view::stress(
                        ui,
                        self.stressed.as_deref(),
                        self.jobs.fraction(Kind::Stress).is_some(),
                        actions,
                    );
                }
                Tab::Sweep => {
                    view::sweep(ui, &self.explore, self.swept.as_deref(), is_running(Kind::Sweep), actions);
                }
                Tab::Plan => {
                    let planned = self.planned.as_deref();
                    let question = &self.explore.question;
                    view::plan(ui, question, self.load.0, planned, is_running(Kind::Plan), actions);
                }
                Tab::Text => view::text(ui, document),
            }
        });
    }
}

/// The load relative to the scenario's: dragged up to ten times, typed up to a hundred times.
fn load(ui: &mut Ui, now: f64, actions: &mut Actions) {
    let mut load = now;
    let slider = Slider::new(&mut load, 1.0..=10.0).logarithmic(true).clamping(SliderClamping::Never);
    let response = ui.add(slider.suffix("x").max_decimals(2));
    let label = ui.label("Load");
    let response = response.labelled_by(label.id);
    if response.changed() {
        actions.push(Action::Load(load));
    }
    response.on_hover_text("How many times the traffic of the scenario; up to 100x can be typed");
}
