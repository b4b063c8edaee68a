//! Tables.

use eframe::egui::{Align, Grid, Layout, RichText, ScrollArea, Ui};
use scenarios::report::Table;

use super::Part;
use crate::theme;

pub(super) fn table(ui: &mut Ui, table: &Table) {
    Part::titled(ui, &table.title, &table.note, || Part::Table(Box::new(table.clone())));
    ScrollArea::horizontal().id_salt((&table.title, "room")).show(ui, |ui| {
        Grid::new((&table.title, "table")).striped(true).spacing([16.0, 4.0]).show(ui, |ui| {
            for (column, name) in table.header.iter().enumerate() {
                cell(ui, table.is_text(column), RichText::new(name).weak());
            }
            ui.end_row();
            for row in &table.rows {
                for (column, text) in row.iter().enumerate() {
                    let said = RichText::new(text);
                    let said = match text.as_str() {
                        "pass" => said.color(theme::verdict(ui, true)),
                        "FAIL" => said.strong().color(theme::verdict(ui, false)),
                        _ => said,
                    };
                    cell(ui, table.is_text(column), said);
                }
                ui.end_row();
            }
        });
    });
}

fn cell(ui: &mut Ui, is_text: bool, said: RichText) {
    if is_text {
        ui.label(said);
    } else {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.label(said));
    }
}
