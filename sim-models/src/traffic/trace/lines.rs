//! Lines of bounded length.

use std::io::BufRead;

use super::{MAX_LINE, TraceError};

/// Reads line after line into one buffer and counts them. Blank lines are skipped.
pub(super) struct Lines<'a> {
    input: &'a mut dyn BufRead,
    path: &'a str,
    line: u64,
    buffer: String,
}

impl<'a> Lines<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead, path: &'a str) -> Self {
        Self { input, path, line: 0, buffer: String::new() }
    }

    /// What is wrong with the present line.
    pub(super) fn error(&self, message: impl Into<String>) -> TraceError {
        TraceError::Line { path: self.path.to_owned(), line: self.line, message: message.into() }
    }

    /// The present line, without its end.
    pub(super) fn current(&self) -> &str {
        &self.buffer
    }

    /// Goes to the next line that is not blank, without its end; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, TraceError> {
        loop {
            let mut bytes = std::mem::take(&mut self.buffer).into_bytes();
            bytes.clear();
            let whole = self.read_line(&mut bytes)?;
            if !whole && bytes.is_empty() {
                return Ok(false);
            }
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
            self.buffer = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                self.error(format!("not UTF-8 at byte {at} of the line: expected text"))
            })?;
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Reads up to a line feed, which is left out; whether there was one.
    fn read_line(&mut self, line: &mut Vec<u8>) -> Result<bool, TraceError> {
        self.line += 1;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(TraceError::Io { path: self.path.to_owned(), source }),
            };
            if available.is_empty() {
                return Ok(false);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(available.len());
            if line.len() + taken > MAX_LINE {
                return Err(self.error(format!("longer than {MAX_LINE} bytes: expected a record a line")));
            }
            line.extend_from_slice(&available[..taken]);
            self.input.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}
