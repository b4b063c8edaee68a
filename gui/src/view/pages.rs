//! The pages of words, figures and charts.

use eframe::egui::{RichText, Ui};
use scenarios::report::{Block, Drawing, Report};

use super::{Action, Actions, empty, page};
use crate::command::Command;
use crate::draw::{self, Cursor};
use crate::jobs::Stressed;
use crate::shown::Shown;

fn is_chart(block: &Block) -> bool {
    matches!(block, Block::Picture(picture) if !matches!(picture.drawing, Drawing::Diagram(_)))
}

/// What was found, in words and tables.
pub(crate) fn findings(ui: &mut Ui, run: Option<&Shown>) {
    let Some(run) = run else { return waiting(ui) };
    page(ui, "findings", |ui| {
        ui.heading(&run.report.title);
        ui.label(&run.report.lead);
        // Headings of charts stand on the other page.
        let blocks = &run.report.blocks;
        for (place, block) in blocks.iter().enumerate() {
            let of_charts = matches!(block, Block::Heading(_)) && {
                let behind = blocks[place + 1..].iter().take_while(|next| !matches!(next, Block::Heading(_)));
                behind.clone().any(|next| matches!(next, Block::Picture(_)))
            };
            if !of_charts && !matches!(block, Block::Picture(_)) {
                draw::block(ui, block, Cursor::default());
            }
        }
    });
}

/// All charts of a run, those over time with one cursor.
pub(crate) fn charts(ui: &mut Ui, run: Option<&Shown>, cursor: Cursor) {
    let Some(run) = run else { return waiting(ui) };
    let charts: Vec<&Block> = run.report.blocks.iter().filter(|block| is_chart(block)).collect();
    page(ui, "charts", |ui| {
        let columns = if ui.available_width() > 900.0 { 2 } else { 1 };
        for row in charts.chunks(columns) {
            ui.columns(columns, |columns| {
                for (ui, block) in columns.iter_mut().zip(row) {
                    draw::block(ui, block, cursor);
                }
            });
            ui.add_space(8.0);
        }
    });
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
                ui.spinner();
                ui.label(format!("More is coming: {doing}."));
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

pub(super) fn whole(ui: &mut Ui, report: &Report) {
    ui.heading(&report.title);
    ui.label(&report.lead);
    for block in &report.blocks {
        draw::block(ui, block, Cursor::default());
    }
}

pub(super) fn waiting(ui: &mut Ui) {
    ui.add_space(48.0);
    ui.vertical_centered(|ui| {
        ui.spinner();
        ui.label("Simulating\u{2026}");
    });
}
