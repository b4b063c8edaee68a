//! A picture or a table of a report, to be written to a file.

use eframe::egui::{Context, Id, Response};
use scenarios::report::{Picture, Table};

/// What is to be written. Parts of reports are drawn deep within pages: what is wished of them is left with the window
/// until the end of the frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Picture(Box<Picture>),
    Table(Box<Table>),
}

fn key() -> Id {
    Id::unique("part to be written")
}

impl Part {
    /// Offers to write it, in the menu of what was drawn.
    pub fn offer(response: &Response, part: impl FnOnce() -> Self, is_picture: bool) {
        response.context_menu(|ui| {
            let (name, endings) = if is_picture {
                ("Export the chart\u{2026}", "PNG or SVG")
            } else {
                ("Export the table\u{2026}", "CSV or Parquet")
            };
            if ui.button(name).on_hover_text(endings).clicked() {
                let part = part();
                ui.data_mut(|data| data.insert_temp(key(), Some(part)));
                ui.close();
            }
        });
    }

    /// What was asked for in the last frame.
    pub fn asked(ctx: &Context) -> Option<Self> {
        ctx.data_mut(|data| data.remove_temp::<Option<Self>>(key())).flatten()
    }

    pub fn title(&self) -> &'static str {
        match self {
            Self::Picture(_) => "Write the chart (PNG or SVG, by the ending)",
            Self::Table(_) => "Write the table (CSV or Parquet, by the ending)",
        }
    }

    /// What its file may be called.
    pub fn file_name(&self) -> String {
        match self {
            Self::Picture(picture) => format!("{}.png", picture.name),
            Self::Table(table) => {
                let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
                let name: String = table.title.chars().map(plain).collect();
                format!("{}.csv", name.trim_matches('-'))
            }
        }
    }
}
