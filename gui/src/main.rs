//! Starts the desktop app, with a scenario file if one is given.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use eframe::egui;
use tenfold_gui::{App, state_dir};

/// The Tenfold desktop app: the architecture of an AI system under load, before it is built.
#[derive(Parser)]
#[command(
    name = "tenfold-gui",
    version,
    after_help = "Exit codes: 0 closed, 2 wrong arguments, 3 no window can be opened."
)]
struct Arguments {
    /// Scenario file to open; without one, the library is shown.
    scenario: Option<PathBuf>,
}

fn main() -> ExitCode {
    let path = Arguments::parse().scenario;
    let viewport = egui::ViewportBuilder::default().with_title("Tenfold").with_inner_size([1280.0, 800.0]);
    let options = eframe::NativeOptions { viewport, ..Default::default() };
    let start = move |creation: &eframe::CreationContext<'_>| -> Result<Box<dyn eframe::App>, Box<dyn std::error::Error + Send + Sync>> {
        let mut app = state_dir().map_or_else(App::default, |dir| App::kept_in(&dir));
        if let Some(path) = path {
            app.open(&path, &creation.egui_ctx);
        }
        Ok(Box::new(app))
    };
    match eframe::run_native("tenfold", options, Box::new(start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tenfold-gui: no window can be opened: {error}");
            eprintln!(
                "The app needs a desktop with OpenGL. Where there is none, `tenfold` does the same on a terminal."
            );
            ExitCode::from(3)
        }
    }
}
