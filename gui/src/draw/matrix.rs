//! Cells of words.

use eframe::egui::{Grid, RichText, ScrollArea, Ui};
use scenarios::report::Matrix;

use crate::theme;

pub(super) fn matrix(ui: &mut Ui, name: &str, matrix: &Matrix) {
    ScrollArea::horizontal().id_salt(name).show(ui, |ui| {
        Grid::new((name, "cells")).striped(true).spacing([18.0, 8.0]).show(ui, |ui| {
            ui.label("");
            for column in &matrix.columns {
                ui.strong(column);
            }
            ui.end_row();
            for (row, cells) in &matrix.rows {
                ui.label(row);
                for cell in cells {
                    let Some(cell) = cell else {
                        ui.weak("-");
                        continue;
                    };
                    ui.vertical(|ui| {
                        let verdict = if cell.pass { "pass" } else { "FAIL" };
                        ui.label(RichText::new(verdict).strong().color(theme::verdict(ui, cell.pass)));
                        for line in &cell.lines {
                            ui.small(line);
                        }
                    });
                }
                ui.end_row();
            }
        });
    });
}
