//! Standard output, and errors on one screen.

use std::io::{self, Write};
use std::process::ExitCode;

use miette::{GraphicalReportHandler, GraphicalTheme};
use scenarios::ScenarioError;

/// Bad input.
pub const BAD_INPUT: u8 = 2;

/// Why a command could not do its work: bad input, exit code 2.
#[derive(Debug)]
pub struct Failure(Box<ScenarioError>);

impl Failure {
    /// A failure that no place in a file is to blame for.
    pub fn text(message: impl std::fmt::Display) -> Self {
        Self(Box::new(ScenarioError::new(message)))
    }

    /// Says what would be accepted.
    pub fn help(self, help: impl std::fmt::Display) -> Self {
        Self(Box::new(self.0.with_help(help)))
    }

    /// Prints it to stderr.
    pub fn report(&self) -> ExitCode {
        let fancy = io::IsTerminal::is_terminal(&io::stderr());
        let theme = if fancy { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        if handler.render_report(&mut text, self.0.as_ref()).is_err() {
            text = self.0.plain();
        }
        eprintln!("{}", text.trim_end());
        ExitCode::from(BAD_INPUT)
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self(Box::new(error))
    }
}

/// Prints to standard output; a reader that has gone away is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let done = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    match done {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|error| Failure::text(format!("cannot write to standard output: {error}"))),
    }
}
