//! Standard output, and errors on one screen.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use miette::{GraphicalReportHandler, GraphicalTheme};
use scenarios::ScenarioError;
use scenarios::results::Format;
use scenarios::results::show::plural;

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
        say!("{}", text.trim_end());
        ExitCode::from(BAD_INPUT)
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self(Box::new(error))
    }
}

/// Checks that nothing to be written takes the place of what is read, or of something else to be written. What is read
/// is asked for only if anything is written: a scenario may have many variants.
pub fn check_apart(
    read: impl FnOnce() -> Vec<PathBuf>,
    written: impl IntoIterator<Item = PathBuf>,
) -> Result<(), Failure> {
    let mut written = written.into_iter().peekable();
    if written.peek().is_none() {
        return Ok(());
    }
    let read: Vec<PathBuf> = read().iter().map(|file| whole(file)).collect();
    let mut taken: Vec<PathBuf> = Vec::new();
    for file in written {
        let place = whole(&file);
        let why = match (read.contains(&place), taken.contains(&place)) {
            (true, _) => "is read by the same command",
            (_, true) => "would be written twice",
            _ => {
                taken.push(place);
                continue;
            }
        };
        return Err(Failure::text(format!("{} {why}", file.display())).help("name another file or directory"));
    }
    Ok(())
}

/// A path without links, whether or not its last part is there.
fn whole(path: &Path) -> PathBuf {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = || Some(dir.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(named).unwrap_or_else(|| path.to_owned())
}

/// A word of a command line, in quotes where a shell would not take it as it is.
pub fn quoted(word: impl std::fmt::Display) -> String {
    let word = word.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Says what was written to a directory, and what lies there from before under the same names.
pub fn tell_written(files: &[PathBuf], dir: &Path) {
    say!("wrote {} to {}", plural(files.len() as f64, "file"), dir.display());
    let others = |file: &PathBuf| Format::ALL.map(|(ending, _)| file.with_extension(ending));
    let old = files.iter().flat_map(others).find(|other| !files.contains(other) && other.exists());
    if let Some(old) = old {
        say!("note: {} is of an earlier run, in another format", old.display());
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
