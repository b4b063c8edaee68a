//! A picture or a table of a report, to be written to a file.

use eframe::egui::{Button, Context, Id, Label, RichText, Role, Sense, Ui, WidgetInfo};
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
    /// A title, and the offer to write what is below it: in its menu, and as a button.
    pub fn titled(ui: &mut Ui, title: &str, note: &str, part: impl Fn() -> Self) {
        ui.horizontal(|ui| {
            let label = ui.add(Label::new(RichText::new(title).strong()).sense(Sense::click()));
            ui.weak(note);
            let ask = |ui: &mut Ui| ui.data_mut(|data| data.insert_temp(key(), Some(part())));
            label.context_menu(|ui| {
                if ui.button("Export\u{2026}").clicked() {
                    ask(ui);
                    ui.close();
                }
            });
            let button = ui.add(Button::new(RichText::new("Export").weak()).small().frame(false));
            button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Export: {title}")));
            if button.on_hover_text("As a file, without what is around it").clicked() {
                ask(ui);
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
