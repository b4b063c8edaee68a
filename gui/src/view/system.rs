//! The architecture, with its state on average or at a time.

use std::borrow::Cow;

use eframe::egui::{Button, Panel, Rect, Scene, Slider, Ui};
use scenarios::report::Diagram;
use scenarios::results::show::seconds;

use super::{Action, Actions};
use crate::command::Command;
use crate::document::Document;
use crate::draw::Architecture;
use crate::inspector::Thing;
use crate::shown::Shown;

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
    /// The part of the diagram that is seen; all of it at first.
    pub seen: Option<Rect>,
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
            not_run = Architecture::new(Diagram::of(&document.loaded.scenario));
            (&not_run, Cow::default())
        }
        Some(run) => (&run.architecture, run.states(view.time)),
    };
    Panel::bottom("timeline").show(ui, |ui| timeline(ui, run, view, actions));
    let mut seen = view.seen.unwrap_or(architecture.room());
    let flow = view.playing.then(|| ui.input(|input| input.time as f32));
    let clicked = Scene::new()
        .zoom_range(0.2..=1.6)
        .show(ui, &mut seen, |ui| architecture.draw(ui, &states, view.selected.as_deref(), flow));
    if view.seen.is_some() || clicked.response.changed() {
        view.seen = Some(seen);
    }
    if clicked.response.double_clicked() {
        view.seen = None;
    }
    if let Some(number) = clicked.inner {
        actions.push(Action::Select(Some(architecture.name(number).to_owned())));
    }
}

fn timeline(ui: &mut Ui, run: Option<&Shown>, view: &System, actions: &mut Actions) {
    let end = run.and_then(|run| run.result.outputs.first()).map_or(0.0, |output| output.end.as_secs_f64());
    ui.horizontal(|ui| {
        let label = if view.playing { "Pause" } else { "Play" };
        if ui.add_enabled(end > 0.0, Button::new(label)).clicked() {
            actions.push(Action::Do(Command::Play));
        }
        let mut on_average = view.time.is_none();
        if ui.checkbox(&mut on_average, "on average").changed() {
            actions.push(Action::Time((!on_average).then_some(0.0)));
        }
        if let Some(mut time) = view.time {
            ui.spacing_mut().slider_width = (ui.available_width() - 120.0).max(100.0);
            let said = seconds(time);
            let slider = Slider::new(&mut time, 0.0..=end).show_value(false).text(said);
            if ui.add(slider).changed() {
                actions.push(Action::Time(Some(time)));
            }
        } else {
            ui.weak("Double-click to see all. Click a box to change it.");
        }
    });
}
