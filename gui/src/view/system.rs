//! The architecture, with its state on average or at a time.

use std::borrow::Cow;

use eframe::egui::{Button, ComboBox, Label, Panel, Rect, RichText, Scene, Sense, Slider, Stroke, Ui, vec2};
use scenarios::report::Diagram;
use scenarios::report::color::{BAD, MUTED};
use scenarios::results::show::seconds;

use super::{Action, Actions};
use crate::command::Command;
use crate::document::Document;
use crate::draw::Architecture;
use crate::inspector::Thing;
use crate::shown::Shown;
use crate::theme;

/// What of the view is not in the scenario.
#[derive(Debug, Default)]
pub(crate) struct System {
    /// The component that is inspected.
    pub selected: Option<String>,
    /// What can be set of it, of the scenario with that hash.
    pub things: Option<(u64, String, Vec<Thing>)>,
    /// The time that is shown; on average for none.
    pub time: Option<f64>,
    pub playing: bool,
    /// How far calls to each node have come since it plays.
    pub flow: Vec<f32>,
    /// Twice for twice as fast; 0 for the usual.
    speed: i32,
    /// The part of the diagram that is seen; all of it at first.
    pub seen: Option<Rect>,
}

/// How fast calls to the busiest node move, in pixels a second.
const PACE: f64 = 80.0;

impl System {
    /// Calls move on, those to each node as fast as they come.
    pub fn flow_on(&mut self, rates: &[f64], seconds: f64) {
        self.flow.resize(rates.len(), 0.0);
        for (far, rate) in self.flow.iter_mut().zip(rates) {
            *far += (rate * PACE * seconds) as f32;
        }
    }

    /// How fast it plays, relative to the usual.
    pub fn speed(&self) -> f64 {
        libm::exp2(f64::from(self.speed))
    }

    /// To the closest power of two.
    pub fn set_speed(&mut self, speed: f64) {
        self.speed = libm::round(libm::log2(speed.clamp(0.5, 8.0))) as i32;
    }
}

pub(crate) fn system(
    ui: &mut Ui,
    document: &Document,
    run: Option<&Shown>,
    view: &mut System,
    actions: &mut Actions,
) {
    let not_run;
    let (architecture, states) = match run {
        None => {
            not_run = Architecture::new(
                Diagram::of(&document.loaded.scenario),
                &document.loaded.scenario,
                |_, _| None,
            );
            (&not_run, Cow::default())
        }
        Some(run) => (&run.architecture, run.states(view.time)),
    };
    Panel::bottom("timeline").show(ui, |ui| timeline(ui, run, view, actions));
    let mut seen = view.seen.unwrap_or(architecture.room());
    let flow: &[f32] = if view.playing { &view.flow } else { &[] };
    let breakers = run.map(|run| run.breakers(view.time)).unwrap_or_default();
    // All of a large system is seen as well.
    let fits = (ui.available_size() / architecture.room().size()).min_elem();
    let clicked = Scene::new().zoom_range(fits.clamp(0.01, 0.2)..=1.6).show(ui, &mut seen, |ui| {
        architecture
            .draw(ui, &states, &breakers, view.selected.as_deref(), flow, |ui, name| menu(ui, name, actions))
    });
    if view.seen.is_some() || clicked.response.changed() {
        view.seen = Some(seen);
    }
    if clicked.response.double_clicked() {
        view.seen = None;
    }
    if let Some(name) = clicked.inner {
        actions.push(Action::Select(Some(name)));
    }
}

/// What can be done with a component.
fn menu(ui: &mut Ui, name: &str, actions: &mut Actions) {
    let mut chosen = false;
    if ui.button("Inspect").clicked() {
        actions.push(Action::Select(Some(name.to_owned())));
        chosen = true;
    }
    for command in [Command::Connect, Command::Remove, Command::Add] {
        if ui.button(command.name()).clicked() {
            actions.extend([Action::Select(Some(name.to_owned())), Action::Do(command)]);
            chosen = true;
        }
    }
    if chosen {
        ui.close();
    }
}

fn timeline(ui: &mut Ui, run: Option<&Shown>, view: &System, actions: &mut Actions) {
    let end = run.and_then(|run| run.result.outputs.first()).map_or(0.0, |output| output.end.as_secs_f64());
    ui.horizontal(|ui| {
        let label = if view.playing { "Pause" } else { "Play" };
        let steps = [(Command::StepBack, "<"), (Command::Play, label), (Command::StepOn, ">")];
        for (command, label) in steps {
            let button = ui.add_enabled(end > 0.0, Button::new(label)).on_hover_text(command.name());
            if button.clicked() {
                actions.push(Action::Do(command));
            }
        }
        let speed = view.speed();
        let combo = ComboBox::from_id_salt("speed").width(56.0).selected_text(format!("{speed}x"));
        let combo = combo.show_ui(ui, |ui| {
            for choice in [0.5, 1.0, 2.0, 4.0, 8.0] {
                if ui.selectable_label(choice == speed, format!("{choice}x")).clicked() {
                    actions.push(Action::Speed(choice));
                }
            }
        });
        combo.response.on_hover_text("How fast it plays");
        let mut on_average = view.time.is_none();
        if ui.checkbox(&mut on_average, "on average").changed() {
            actions.push(Action::Time((!on_average).then_some(0.0)));
        }
        if let Some(mut time) = view.time {
            ui.spacing_mut().slider_width = (ui.available_width() - 120.0).max(100.0);
            let said = seconds(time);
            let slider = Slider::new(&mut time, 0.0..=end).show_value(false).text(said);
            let response = ui.add(slider);
            if response.changed() {
                actions.push(Action::Time(Some(time)));
            }
            let room = Rect::from_min_size(
                response.rect.min,
                vec2(ui.spacing().slider_width, response.rect.height()),
            );
            marks(ui, room, end, run);
        } else {
            let hint = "Double-click to see all. Click a box or a link to change it; a right click has more.";
            ui.add(Label::new(RichText::new(hint).weak()).truncate());
        }
    });
}

/// Faults and changes in the number of servers, where they are on the timeline.
fn marks(ui: &mut Ui, room: Rect, end: f64, run: Option<&Shown>) {
    let Some(run) = run else { return };
    for event in &run.events {
        // A handle stops half its width before the ends.
        let half = room.height() / 2.5;
        let share = if end > 0.0 { (event.at / end).clamp(0.0, 1.0) as f32 } else { 0.0 };
        let x = room.left() + half + share * (room.width() - 2.0 * half);
        let ink = theme::on(ui, if event.is_fault { BAD } else { MUTED });
        ui.painter().vline(x, room.y_range(), Stroke::new(if event.is_fault { 2.5 } else { 1.5 }, ink));
        let spot = Rect::from_center_size(eframe::egui::pos2(x, room.center().y), vec2(6.0, room.height()));
        let id = ui.scope_id().with((&event.what, event.at.to_bits()));
        ui.interact(spot, id, Sense::hover()).on_hover_text(event.said());
    }
}
