//! Tables.

use eframe::egui::{Align, Grid, Layout, RichText, ScrollArea, TextStyle, Ui};
use scenarios::report::Table;

use super::{Part, in_view};
use crate::theme;

pub(super) fn table(ui: &mut Ui, table: &Table) {
    Part::titled(ui, &table.title, &table.note, || Part::Table(Box::new(table.clone())));
    in_view(ui, (&table.title, "rows"), |ui| {
        ScrollArea::horizontal().id_salt((&table.title, "room")).show(ui, |ui| rows(ui, table));
    });
}

fn rows(ui: &mut Ui, table: &Table) {
    let font = TextStyle::Body.resolve(ui.style());
    Grid::new((&table.title, "table")).striped(true).spacing([16.0, 4.0]).show(ui, |ui| {
        for (column, name) in table.header.iter().enumerate() {
            cell(ui, table.is_text(column), RichText::new(name).weak());
        }
        ui.end_row();
        for row in &table.rows {
            let at = ui.cursor().top();
            let is_seen = ui.clip_rect().y_range().expand(2.0 * font.size).contains(at);
            for (column, text) in row.iter().enumerate() {
                if !is_seen {
                    // Columns are as wide as their widest cell, wherever it is.
                    let ink = ui.visuals().text_color();
                    let size = ui.painter().layout_no_wrap(text.clone(), font.clone(), ink).size();
                    _ = ui.allocate_space(size);
                    continue;
                }
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
}

fn cell(ui: &mut Ui, is_text: bool, said: RichText) {
    if is_text {
        ui.label(said);
    } else {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.label(said));
    }
}
