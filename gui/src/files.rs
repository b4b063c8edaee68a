//! Dialogs of the system, and pictures of the window: what a frame must not wait for.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use eframe::egui::{ColorImage, Context, ScreenshotCallback, ViewportCommand};
use scenarios::results::ResultsError;

use crate::command::Command;
use crate::draw::Part;
use crate::view::Dialog;

/// What has come.
#[derive(Debug)]
pub(crate) enum FileNews {
    Chosen(PathBuf),
    Wrote(PathBuf),
    Failed(String),
    /// The dialog was closed, or the desktop has none.
    Nothing,
}

/// All that is under way.
#[derive(Debug)]
pub(crate) struct Files {
    sender: Sender<FileNews>,
    receiver: Receiver<FileNews>,
    is_browsing: bool,
}

impl Default for Files {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, is_browsing: false }
    }
}

impl Files {
    /// Opens the dialog of the system for a path that is being asked for; one at a time.
    pub fn browse(&mut self, dialog: Option<&Dialog>, ctx: &Context) {
        if self.is_browsing {
            return;
        }
        let (opens, typed, endings): (bool, &str, &[&str]) = match dialog {
            Some(Dialog::Path { for_what: Command::Open, typed }) => (true, typed, &["toml"]),
            Some(Dialog::Path { for_what: Command::ExportReport, typed }) => (false, typed, &["html"]),
            Some(Dialog::Path { for_what: Command::Screenshot, typed }) => (false, typed, &["png"]),
            Some(Dialog::Path { typed, .. }) => (false, typed, &["toml"]),
            Some(Dialog::Part { part: Part::Picture(_), typed }) => (false, typed, &["png", "svg"]),
            Some(Dialog::Part { part: Part::Table(_), typed }) => (false, typed, &["csv", "parquet"]),
            _ => return,
        };
        self.is_browsing = true;
        let mut asks = rfd::FileDialog::new().add_filter(endings.join(", "), endings);
        let typed = Path::new(typed);
        if let Some(name) = typed.file_name() {
            asks = asks.set_file_name(name.to_string_lossy());
        }
        if let Some(dir) = typed.parent().and_then(|dir| std::path::absolute(dir).ok()) {
            asks = asks.set_directory(dir);
        }
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        std::thread::spawn(move || {
            let chosen = if opens { asks.pick_file() } else { asks.save_file() };
            // Nobody listens any more when the window is closed.
            let _ = sender.send(chosen.map_or(FileNews::Nothing, FileNews::Chosen));
            ctx.request_repaint();
        });
    }

    /// Writes a picture of the next frame.
    pub fn screenshot(&self, path: PathBuf, ctx: &Context) {
        let (sender, repaints) = (self.sender.clone(), ctx.clone());
        let callback = ScreenshotCallback::new(move |image| {
            std::thread::spawn(move || {
                let news = match write_png(&path, &image) {
                    Ok(()) => FileNews::Wrote(path),
                    Err(error) => FileNews::Failed(error.to_string()),
                };
                let _ = sender.send(news);
                repaints.request_repaint();
            });
        });
        ctx.send_viewport_cmd(ViewportCommand::Screenshot(callback));
        ctx.request_repaint();
    }

    /// What comes of a dialog of the system is no longer waited for.
    pub fn close(&mut self) {
        if std::mem::take(&mut self.is_browsing) {
            let (sender, receiver) = channel();
            (self.sender, self.receiver) = (sender, receiver);
        }
    }

    /// What has come since the last frame.
    pub fn news(&mut self) -> Option<FileNews> {
        let news = self.receiver.try_recv().ok()?;
        if matches!(news, FileNews::Chosen(_) | FileNews::Nothing) {
            self.is_browsing = false;
        }
        Some(news)
    }
}

fn write_png(path: &Path, image: &ColorImage) -> Result<(), ResultsError> {
    let [width, height] = image.size;
    let pixels: Vec<u8> = image.pixels.iter().flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()]).collect();
    scenarios::report::write_png(path, (width as u32, height as u32), &pixels)
}
