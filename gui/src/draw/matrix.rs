//! Cells of words.

use eframe::egui::{Frame, Grid, Label, Margin, RichText, ScrollArea, Ui};
use scenarios::report::{Cell, HEATED, Matrix, step};

use crate::theme;

/// Width of a cell at least, so that cells of a heat map are alike.
const LEAST: f32 = 64.0;

pub(super) fn matrix(ui: &mut Ui, name: &str, matrix: &Matrix) {
    if !matrix.across.is_empty() {
        ui.label(format!("Across: {}; down: {}", matrix.across, matrix.down));
    }
    ScrollArea::horizontal().id_salt(name).show(ui, |ui| {
        Grid::new((name, "cells")).striped(true).spacing([6.0, 6.0]).show(ui, |ui| {
            ui.label("");
            for column in &matrix.columns {
                ui.strong(column);
            }
            ui.end_row();
            for (row, cells) in &matrix.rows {
                ui.label(row);
                for one in cells {
                    match one {
                        Some(one) => cell(ui, one),
                        None => _ = ui.weak(&matrix.without),
                    }
                }
                ui.end_row();
            }
        });
    });
}

fn cell(ui: &mut Ui, cell: &Cell) {
    let fill = cell.heat.map(|share| theme::on(ui, step(share)).gamma_multiply(HEATED as f32));
    let frame = Frame::new().fill(fill.unwrap_or_default()).inner_margin(Margin::symmetric(6, 3));
    frame.show(ui, |ui| {
        ui.vertical(|ui| {
            ui.set_min_width(LEAST);
            if let Some(pass) = cell.pass {
                let verdict = RichText::new(cell.verdict()).strong();
                // Letters of a colour of their own are not legible on every ground.
                ui.label(if fill.is_some() { verdict } else { verdict.color(theme::verdict(ui, pass)) });
            }
            for line in &cell.lines {
                ui.add(Label::new(RichText::new(line).small()).extend());
            }
        });
    });
}
