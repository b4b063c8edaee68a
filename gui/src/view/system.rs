//! The architecture, with its state on average or at a time.

use eframe::egui::{Button, Panel, Rect, Scene, Slider, Ui};
use scenarios::report::{Block, Diagram, Drawing};
use scenarios::results::RunResult;
use scenarios::results::show::seconds;

use super::{Action, Actions};
use crate::command::Command;
use crate::document::Document;
use crate::draw::{NodeState, diagram, room};
use crate::jobs::Shown;

/// What of the view is not in the scenario.
#[derive(Debug, Default)]
pub(crate) struct System {
    /// The component that is inspected.
    pub selected: Option<String>,
    /// The time that is shown; on average for none.
    pub time: Option<f64>,
    pub playing: bool,
    /// The part of the diagram that is seen; all of it at first.
    pub seen: Option<Rect>,
}

/// The diagram of a run, or of what has not run yet.
fn picture(document: &Document, run: Option<&Shown>) -> Diagram {
    let drawn = run.into_iter().flat_map(|run| &run.report.blocks).find_map(|block| match block {
        Block::Picture(picture) => match &picture.drawing {
            Drawing::Diagram(diagram) => Some(diagram.clone()),
            _ => None,
        },
        _ => None,
    });
    drawn.unwrap_or_else(|| Diagram::of(&document.loaded.scenario))
}

/// On average, over the measured part.
fn averages(run: &RunResult, diagram: &Diagram) -> Vec<NodeState> {
    let rows = run.component_averages();
    let of = |node: &scenarios::report::Node| {
        let row = rows.iter().find(|row| row.keys[0] == node.name);
        let mean = |column: &str| row.and_then(|row| row.mean(column));
        NodeState {
            utilization: node.utilization,
            queue: mean("queue_mean"),
            busy: None,
            kv: mean("kv_mean"),
        }
    };
    diagram.nodes.iter().map(of).collect()
}

/// In the window of the first replication that a time falls into.
fn at(run: &RunResult, diagram: &Diagram, time: f64) -> Vec<NodeState> {
    let Some(output) = run.outputs.first() else { return Vec::new() };
    let place = output.windows.partition_point(|window| window.start.as_secs_f64() <= time).saturating_sub(1);
    let count = output.components.len();
    let row = output.component_windows.get(place * count..(place + 1) * count).unwrap_or_default();
    let of = |node: &scenarios::report::Node| {
        let number = output.components.iter().position(|component| component.name == node.name);
        let Some(window) = number.and_then(|number| row.get(number)) else { return NodeState::default() };
        let kv = window.signals.kv_total > 0;
        let used = (window.capacity > 0.0).then(|| window.busy / window.capacity);
        // To be busy all the time is what works by a schedule is for.
        let answers = node.utilization.is_some();
        NodeState {
            utilization: used.filter(|_| answers),
            queue: Some(window.queue),
            busy: (window.capacity > 0.0).then_some((window.busy, window.capacity)),
            kv: kv.then(|| window.signals.kv_used as f64 / window.signals.kv_total as f64),
        }
    };
    diagram.nodes.iter().map(of).collect()
}

pub(crate) fn system(
    ui: &mut Ui,
    document: &Document,
    run: Option<&Shown>,
    view: &mut System,
    actions: &mut Actions,
) {
    let drawn = picture(document, run);
    let states = match (run, view.time) {
        (None, _) => Vec::new(),
        (Some(run), None) => averages(&run.result, &drawn),
        (Some(run), Some(time)) => at(&run.result, &drawn, time),
    };
    Panel::bottom("timeline").show(ui, |ui| timeline(ui, run, view, actions));
    let all = room(&drawn);
    let mut seen = view.seen.unwrap_or(all);
    let flow = view.playing.then(|| ui.input(|input| input.time as f32));
    let clicked = Scene::new()
        .zoom_range(0.2..=1.6)
        .show(ui, &mut seen, |ui| diagram(ui, &drawn, &states, view.selected.as_deref(), flow));
    if view.seen.is_some() || clicked.response.changed() {
        view.seen = Some(seen);
    }
    if clicked.response.double_clicked() {
        view.seen = None;
    }
    if let Some(number) = clicked.inner {
        actions.push(Action::Select(Some(drawn.nodes[number].name.clone())));
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
