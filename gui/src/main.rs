//! Starts the desktop app, with a scenario file if one is given.

use std::path::PathBuf;

use eframe::egui;
use tenfold_gui::{App, state_dir};

fn main() -> eframe::Result {
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    let viewport = egui::ViewportBuilder::default().with_title("Tenfold").with_inner_size([1280.0, 800.0]);
    let options = eframe::NativeOptions { viewport, ..Default::default() };
    let start = move |creation: &eframe::CreationContext<'_>| -> Result<Box<dyn eframe::App>, Box<dyn std::error::Error + Send + Sync>> {
        let mut app = state_dir().map_or_else(App::default, |dir| App::kept_in(&dir));
        if let Some(path) = path {
            app.open(&path, &creation.egui_ctx);
        }
        Ok(Box::new(app))
    };
    eframe::run_native("tenfold", options, Box::new(start))
}
