//! Colours: those of reports, on a light and on a dark ground.

use eframe::egui::{Color32, Context, Theme, Ui};
use scenarios::report::{
    self,
    color::{self, Color},
};

/// The colour on the ground that the app has.
pub(crate) fn on(ui: &Ui, color: Color) -> Color32 {
    let value = if ui.visuals().dark_mode { color.dark } else { color.light };
    let [_, red, green, blue] = value.to_be_bytes();
    Color32::from_rgb(red, green, blue)
}

/// Text as dark, or as light, as that of reports.
pub(crate) fn set_up(ctx: &Context) {
    for (theme, value) in [(Theme::Light, color::INK.light), (Theme::Dark, color::INK.dark)] {
        let [_, red, green, blue] = value.to_be_bytes();
        ctx.style_mut_of(theme, |style| {
            style.visuals.override_text_color = Some(Color32::from_rgb(red, green, blue));
        });
    }
}

/// Of the series of that number.
pub(crate) fn series(ui: &Ui, number: usize) -> Color32 {
    on(ui, color::SERIES[number % color::SERIES.len()])
}

/// Of what holds, and of what does not.
pub(crate) fn verdict(ui: &Ui, pass: bool) -> Color32 {
    on(ui, if pass { color::GOOD } else { color::BAD })
}

/// From idle to full.
pub(crate) fn heat(ui: &Ui, share: f64) -> Color32 {
    on(ui, report::heat(share))
}
