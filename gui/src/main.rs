//! The desktop app: so far a window that opens and says what is coming.

use eframe::egui;

/// What the window shows.
#[derive(Debug, Default)]
struct App;

impl eframe::App for App {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        egui::CentralPanel::default().show(ui, |ui| {
            ui.vertical_centered(|ui| {
                ui.add_space(ui.available_height() / 3.0);
                ui.heading("Tenfold");
                ui.label("Compare the architectures of an AI system before building one.");
                ui.add_space(12.0);
                ui.label(
                    "The desktop app is being built. Until then the simulator runs on the command line:",
                );
                ui.monospace("tenfold run scenarios/library/support-assistant.toml");
            });
        });
    }
}

fn main() -> eframe::Result {
    let viewport = egui::ViewportBuilder::default().with_title("Tenfold").with_inner_size([960.0, 600.0]);
    let options = eframe::NativeOptions { viewport, ..Default::default() };
    eframe::run_native("tenfold", options, Box::new(|_| Ok(Box::new(App))))
}
