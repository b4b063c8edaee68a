//! Results as JSON lines, and progress on stderr.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use sim_models::hardware::microbench::Line;

use crate::cuda::{Error, Result};

/// Where results go: each line is there as soon as it is known.
pub struct Output {
    file: Option<File>,
    quiet: bool,
}

impl Output {
    /// A new file, which must not exist.
    ///
    /// # Errors
    /// What keeps it from being made.
    pub fn create(path: &Path, quiet: bool) -> Result<Self> {
        let file =
            File::create_new(path).map_err(|error| Error::Other(format!("{}: {error}", path.display())))?;
        Ok(Self { file: Some(file), quiet })
    }

    /// Keeps nothing: for a process that only shares the device.
    pub fn none() -> Self {
        Self { file: None, quiet: true }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// What keeps it from being written.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut text = serde_json::to_string(line).map_err(|error| Error::Other(error.to_string()))?;
        text.push('\n');
        let written = file.write_all(text.as_bytes()).and_then(|()| file.flush());
        written.map_err(|error| Error::Other(format!("results cannot be written: {error}")))
    }

    /// Says something about progress.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}
