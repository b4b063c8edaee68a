//! The pages of words, figures and charts.

use eframe::egui::{DragValue, RichText, Ui};
use scenarios::report::{Block, Drawing, Report, Table};

use super::{Action, Actions, empty, page};
use crate::command::Command;
use crate::draw::{self, Cursor, Touched};
use crate::jobs::Stressed;
use crate::shown::Shown;

fn is_diagram(block: &Block) -> bool {
    matches!(block, Block::Picture(picture) if matches!(picture.drawing, Drawing::Diagram(_)))
}

fn is_chart(block: &Block) -> bool {
    matches!(block, Block::Picture(_)) && !is_diagram(block)
}

/// What was found, in words and tables.
pub(crate) fn findings(ui: &mut Ui, run: Option<&Shown>, is_running: bool, actions: &mut Actions) {
    let Some(run) = run else { return not_yet(ui, is_running, actions) };
    page(ui, "findings", |ui| {
        ui.heading(&run.report.title);
        ui.label(&run.report.lead);
        // Charts stand on the other page.
        for block in headed(&run.report.blocks, |block| !matches!(block, Block::Picture(_))) {
            draw::block(ui, block, Cursor::default());
        }
    });
}

/// The blocks that are shown here, with those headings that something of what is below them is shown of.
fn headed(blocks: &[Block], is_kept: impl Fn(&Block) -> bool) -> Vec<&Block> {
    let is_heading = |block: &Block| matches!(block, Block::Heading(_));
    let is_shown = |block: &Block| {
        let is_empty = matches!(block, Block::Items(items) if items.is_empty());
        !is_empty && is_kept(block)
    };
    let mut shown = Vec::with_capacity(blocks.len());
    for (place, block) in blocks.iter().enumerate() {
        let mut below = blocks[place + 1..].iter().take_while(|next| !is_heading(next));
        if if is_heading(block) { below.any(&is_shown) } else { is_shown(block) } {
            shown.push(block);
        }
    }
    shown
}

/// A part of a run that is looked at more closely.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// From when to when, in seconds.
    pub times: Option<(f64, f64)>,
    /// What was drawn in it.
    figures: Option<Table>,
}

impl Window {
    /// Looks at other times, or at the same ones of another run.
    pub fn show(&mut self, times: Option<(f64, f64)>, run: Option<&Shown>) {
        self.figures = times.zip(run).and_then(|((from, to), run)| run.report.between(from, to));
        self.times = times;
    }
}

/// All charts of a run, those over time with one cursor and one window; above them, how it is at other loads.
pub(crate) fn charts(
    ui: &mut Ui,
    run: Option<&Shown>,
    is_running: bool,
    at: Option<f64>,
    window: &Window,
    curve: Option<&[Block]>,
    actions: &mut Actions,
) {
    let Some(run) = run else { return not_yet(ui, is_running, actions) };
    let charts: Vec<&Block> = run.report.blocks.iter().filter(|block| is_chart(block)).collect();
    let cursor = Cursor { at, window: window.times, events: &run.events };
    page(ui, "charts", |ui| {
        times(ui, run, window, actions);
        if curve.is_none() && ui.button(Command::RunCurve.name()).clicked() {
            actions.push(Action::Do(Command::RunCurve));
        }
        let columns = if ui.available_width() > 900.0 { 2 } else { 1 };
        let all: Vec<&Block> = curve.into_iter().flatten().chain(charts).collect();
        for row in all.chunks(columns) {
            ui.columns(columns, |columns| {
                for (ui, block) in columns.iter_mut().zip(row) {
                    if let Some(Touched::Window(from, to)) = draw::block(ui, block, cursor) {
                        actions.push(Action::Window(Some((from, to))));
                    }
                }
            });
            ui.add_space(8.0);
        }
    });
}

/// The window: typed, or dragged over a chart; and what was in it.
fn times(ui: &mut Ui, run: &Shown, window: &Window, actions: &mut Actions) {
    let end = run.result.outputs.first().map_or(0.0, |output| output.end.as_secs_f64());
    ui.horizontal(|ui| {
        let (mut from, mut to) = window.times.unwrap_or((0.0, end));
        let speed = end / 400.0;
        let drag = |ui: &mut Ui, name: &str, value: &mut f64| {
            let label = ui.label(name);
            let drag = DragValue::new(value)
                .range(0.0..=end)
                .clamp_existing_to_range(false)
                .update_while_editing(false)
                .speed(speed)
                .max_decimals(3)
                .suffix(" s");
            ui.add(drag).labelled_by(label.id).changed()
        };
        let changed = drag(ui, "Figures from", &mut from) | drag(ui, "to", &mut to);
        if changed && from < to {
            actions.push(Action::Window(Some((from, to))));
        }
        if window.times.is_none() {
            ui.weak("or drag over a chart");
        } else if ui.button("All of the run").clicked() {
            actions.push(Action::Window(None));
        }
    });
    match &window.figures {
        Some(figures) => _ = draw::block(ui, &Block::Table(figures.clone()), Cursor::default()),
        None if window.times.is_some() => {
            _ = ui.label("Nothing was drawn in so short a time: take a longer one.")
        }
        None => {}
    }
}

/// The 10x stress test.
pub(crate) fn stress(ui: &mut Ui, stressed: Option<&Stressed>, is_running: bool, actions: &mut Actions) {
    let Some(stressed) = stressed else {
        return match is_running {
            true => waiting(ui),
            false => {
                empty(ui, "See what breaks first when the load grows ten times.", Command::RunStress, actions)
            }
        };
    };
    page(ui, "stress", |ui| {
        if let Some(doing) = stressed.doing {
            ui.horizontal(|ui| {
                if is_running {
                    ui.spinner();
                    ui.label(format!("More is coming: {doing}."));
                } else {
                    ui.label(format!("Stopped while {doing}. This is what was known by then."));
                }
            });
        }
        if !stressed.recommendations.is_empty() {
            ui.heading("What helps");
            for recommendation in &stressed.recommendations {
                ui.horizontal(|ui| {
                    let name = format!("Apply: {}", recommendation.name);
                    if ui.button(name).on_hover_text(recommendation.change.join("\n")).clicked() {
                        actions.push(Action::Apply {
                            name: recommendation.name.clone(),
                            change: recommendation.change.clone(),
                        });
                    }
                    let verdict = if recommendation.holds {
                        "holds at the largest multiple"
                    } else {
                        "does not suffice alone"
                    };
                    ui.label(RichText::new(verdict).color(crate::theme::verdict(ui, recommendation.holds)));
                });
            }
        }
        whole(ui, &stressed.report);
    });
}

/// All of a report; what was done to one of its charts.
pub(super) fn whole(ui: &mut Ui, report: &Report) -> Option<Touched> {
    ui.heading(&report.title);
    ui.label(&report.lead);
    let mut touched = None;
    for block in headed(&report.blocks, |block| !is_diagram(block)) {
        touched = draw::block(ui, block, Cursor::default()).or(touched);
    }
    touched
}

/// There is no answer: it is worked on, or it was stopped.
fn not_yet(ui: &mut Ui, is_running: bool, actions: &mut Actions) {
    match is_running {
        true => waiting(ui),
        false => {
            empty(ui, "There is no answer: the run was stopped, or it failed.", Command::Run, actions);
        }
    }
}

pub(super) fn waiting(ui: &mut Ui) {
    ui.add_space(48.0);
    ui.vertical_centered(|ui| {
        ui.spinner();
        ui.label("Simulating\u{2026}");
    });
}

#[cfg(test)]
mod tests {
    use scenarios::report::{Diagram, Picture};

    use super::*;

    fn diagram() -> Block {
        let drawing = Drawing::Diagram(Diagram { nodes: Vec::new(), links: Vec::new() });
        let [name, title, caption] = ["architecture", "Who calls whom", ""].map(str::to_owned);
        Block::Picture(Picture { name, title, caption, drawing })
    }

    #[test]
    fn a_heading_is_shown_with_what_stands_below_it() {
        let heading = |text: &str| Block::Heading(text.to_owned());
        let words = |text: &str| Block::Text(text.to_owned());
        let blocks = [
            words("first"),
            heading("of a picture"),
            diagram(),
            heading("of a picture and words"),
            diagram(),
            words("second"),
            heading("of no items"),
            Block::Items(Vec::new()),
            heading("of items"),
            Block::Items(vec!["one".to_owned()]),
            heading("of nothing"),
        ];
        let shown: Vec<usize> = headed(&blocks, |block| !is_diagram(block))
            .into_iter()
            .map(|block| blocks.iter().position(|one| std::ptr::eq(one, block)).unwrap())
            .collect();
        assert_eq!(shown, [0, 3, 5, 8, 9]);
        assert_eq!(
            headed(&blocks, |_| true).len(),
            blocks.len() - 3,
            "all but two headings and the empty list"
        );
    }
}
