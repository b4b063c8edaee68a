//! Cells of words.

use eframe::egui::{Frame, Grid, Margin, RichText, ScrollArea, Ui};
use scenarios::report::{Cell, HEATED, Matrix, step};

use crate::theme;

pub(super) fn matrix(ui: &mut Ui, name: &str, matrix: &Matrix) {
    ScrollArea::horizontal().id_salt(name).show(ui, |ui| {
        Grid::new((name, "cells")).striped(true).spacing([6.0, 6.0]).show(ui, |ui| {
            if !matrix.across.is_empty() {
                ui.label("");
                ui.label(&matrix.across);
                ui.end_row();
            }
            ui.label(&matrix.down);
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
            if let Some(pass) = cell.pass {
                ui.label(RichText::new(cell.verdict()).strong().color(theme::verdict(ui, pass)));
            }
            for line in &cell.lines {
                ui.small(line);
            }
        });
    });
}
