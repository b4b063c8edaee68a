//! The scenario as a file would say it, and a search in it.

use std::ops::Range;
use std::sync::Arc;

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{Align, FontId, Galley, Key, TextBuffer, TextEdit, TextStyle, Ui};

use super::page;
use crate::document::Document;

/// What is looked for, and which of the places is shown.
#[derive(Debug, Clone, Default)]
struct Find {
    wanted: String,
    shown: usize,
}

/// The text of a scenario is made once for each revision of it.
#[derive(Debug, Clone, Default)]
struct Made {
    of: u64,
    text: Arc<String>,
}

/// Where `wanted` stands, in bytes; capital or small letters are the same.
fn places(text: &str, wanted: &str) -> Vec<Range<usize>> {
    if wanted.is_empty() {
        return Vec::new();
    }
    // Other letters may be of another length in the other case.
    let (low, wanted) = (text.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    low.match_indices(&wanted).map(|(start, found)| start..start + found.len()).collect()
}

pub(crate) fn text(ui: &mut Ui, document: &Document) {
    let key = ui.scope_id().with("text");
    let (mut find, mut made): (Find, Made) = ui.data_mut(|data| data.get_temp(key)).unwrap_or_default();
    if made.of != document.revision() {
        made = Made { of: document.revision(), text: Arc::new(document.text().to_owned()) };
    }
    let all = places(&made.text, &find.wanted);
    let goes = search(ui, &mut find, all.len());
    let all = places(&made.text, &find.wanted);
    page(ui, "text", |ui| {
        let title =
            ui.label("The scenario as it is saved. Values are changed in the system view, or in the file.");
        let (font, ink) = (TextStyle::Monospace.resolve(ui.style()), ui.visuals().text_color());
        let marks = [ui.visuals().selection.bg_fill.gamma_multiply(0.4), ui.visuals().selection.bg_fill];
        let shown = find.shown;
        let mut layouter = |ui: &Ui, text: &dyn TextBuffer, _width: f32| -> Arc<Galley> {
            let job = marked(text.as_str(), &all, |place| TextFormat {
                background: place
                    .map_or(eframe::egui::Color32::TRANSPARENT, |place| marks[usize::from(place == shown)]),
                ..TextFormat::simple(FontId::clone(&font), ink)
            });
            ui.fonts_mut(|fonts| fonts.layout_job(job))
        };
        let output = TextEdit::multiline(&mut made.text.as_str())
            .code_editor()
            .desired_width(f32::INFINITY)
            .layouter(&mut layouter)
            .show(ui);
        let response = output.response.response.labelled_by(title.id);
        if goes && let Some(place) = all.get(find.shown) {
            let line = made.text[..place.start].matches('\n').count();
            let rows = output.galley.rows.get(line).map(|row| row.rect());
            if let Some(row) = rows {
                ui.scroll_to_rect(row.translate(response.rect.min.to_vec2()), Some(Align::Center));
            }
        }
    });
    ui.data_mut(|data| data.insert_temp(key, (find, made)));
}

/// The field and the way from place to place; whether to go to the shown one.
fn search(ui: &mut Ui, find: &mut Find, count: usize) -> bool {
    ui.horizontal(|ui| {
        let label = ui.label("Find");
        let response =
            ui.add(TextEdit::singleline(&mut find.wanted).desired_width(220.0)).labelled_by(label.id);
        let mut goes = response.changed();
        if response.changed() {
            find.shown = 0;
        }
        let entered = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        ui.add_enabled_ui(count > 0, |ui| {
            if ui.button("Previous").clicked() {
                (find.shown, goes) = ((find.shown + count - 1) % count, true);
            }
            if ui.button("Next").clicked() || (entered && count > 0) {
                (find.shown, goes) = ((find.shown + 1) % count, true);
            }
        });
        if entered {
            response.request_focus();
        }
        if !find.wanted.is_empty() {
            match count {
                0 => ui.weak("not found"),
                count => ui.weak(format!("{} of {count}", find.shown.min(count - 1) + 1)),
            };
        }
        goes
    })
    .inner
}

/// The text with its places set apart.
fn marked(text: &str, places: &[Range<usize>], format: impl Fn(Option<usize>) -> TextFormat) -> LayoutJob {
    let mut job = LayoutJob::default();
    let mut behind = 0;
    for (number, place) in places.iter().enumerate() {
        job.append(&text[behind..place.start], 0.0, format(None));
        job.append(&text[place.clone()], 0.0, format(Some(number)));
        behind = place.end;
    }
    job.append(&text[behind..], 0.0, format(None));
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_either_case() {
        assert_eq!(places("Rate = \"8/s\"\n# rate \u{e9}", "rate"), [0..4, 15..19]);
        assert!(places("rate", "").is_empty());
        let job = marked("a rate b", &places("a rate b", "rate"), |place| TextFormat {
            line_height: place.map(|_| 20.0),
            ..TextFormat::default()
        });
        assert_eq!((job.text.as_str(), job.sections.len()), ("a rate b", 3));
    }
}
