//! The texts a scenario comes from: a file and `--set` overrides.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::error::ScenarioError;
use super::explain::did_you_mean;

/// The largest scenario file, in bytes. Assumption: a thousand times the largest one written by hand.
const MAX_BYTES: u64 = 16 << 20;
/// The longest line, in bytes. Assumption: what no person wrote.
const MAX_LINE: usize = 1 << 20;

/// The texts, with one count of bytes through all of them: first the file, then each override.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub name: String,
    pub text: String,
    pub sets: Vec<String>,
}

/// Something wrong at a place of a [`Source`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub span: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Source {
    /// Where an override begins in the common count.
    pub fn base(&self, set: usize) -> usize {
        // One more for each text, so that the end of one is not the beginning of the next.
        self.text.len() + 1 + self.sets[..set].iter().map(|set| set.len() + 1).sum::<usize>()
    }

    /// The override a byte is in, and where that begins.
    fn set_at(&self, at: usize) -> Option<(&str, usize)> {
        let set = (0..self.sets.len()).rev().find(|set| self.base(*set) <= at)?;
        Some((&self.sets[set], self.base(set)))
    }

    /// A byte of the texts.
    pub fn byte(&self, at: usize) -> Option<u8> {
        let (text, start) = self.set_at(at).unwrap_or((&self.text, 0));
        text.as_bytes().get(at - start).copied()
    }

    /// Turns a fault into an error that shows its place.
    pub fn error(&self, fault: Fault) -> ScenarioError {
        let (name, text, start) = match self.set_at(fault.span.start) {
            Some((text, start)) => ("--set", text, start),
            None => (self.name.as_str(), self.text.as_str(), 0),
        };
        let span = fault.span.start - start..fault.span.end.max(fault.span.start) - start;
        let error = ScenarioError::new(fault.message).at(name, text, span);
        match fault.help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

fn too_large(name: &str) -> ScenarioError {
    ScenarioError::new("the file is larger than 16 MiB")
        .with_help(
            "is this a scenario? traces are named by `path` in `arrivals`, not copied into the scenario",
        )
        .in_file(name)
}

/// Refuses what cannot be a scenario before anything is done with it.
pub(super) fn check(text: &str, name: &str) -> Result<(), ScenarioError> {
    if text.len() as u64 > MAX_BYTES {
        return Err(too_large(name));
    }
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        let library: Vec<&str> = super::library().iter().map(|scenario| scenario.id).collect();
        return Err(ScenarioError::new("the file is empty")
            .with_help(format!("start from a scenario of the library: {}", library.join(", ")))
            .in_file(name));
    }
    let mut start = 0;
    for line in text.split('\n') {
        if line.len() > MAX_LINE {
            return Err(ScenarioError::new(format!("a line of {} bytes: longer than 1 MiB", line.len()))
                .with_help("is this a scenario?")
                .at(name, text, start..start));
        }
        start += line.len() + 1;
    }
    Ok(())
}

/// Names of scenario files in a directory.
fn scenarios_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".toml")).take(1000).collect();
    names.sort();
    names
}

/// The directory a file is in.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn no_such_file(path: &Path) -> ScenarioError {
    let (directory, name) = (directory(path), path.display());
    let error = ScenarioError::new("no such file").in_file(name);
    if !directory.is_dir() {
        return error.with_help(format!("there is no directory {} either", directory.display()));
    }
    let names = scenarios_in(directory);
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match did_you_mean(&wanted, names.iter().map(String::as_str)) {
        Some(close) => error.with_help(format!("did you mean {}?", directory.join(close).display())),
        None if names.is_empty() => {
            error.with_help(format!("there is no .toml file in {}", directory.display()))
        }
        None => error.with_help(format!("in {} there are {}", directory.display(), some(&names))),
    }
}

/// The first few of a list.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown}, ...") } else { shown }
}

/// Reads a file, but never more than a scenario can be long.
pub(super) fn read(path: &Path) -> Result<String, ScenarioError> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => no_such_file(path),
        _ => ScenarioError::new(format!("cannot be read: {error}")).in_file(&name),
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        let error = ScenarioError::new("a directory, not a scenario file").in_file(&name);
        let names = scenarios_in(path);
        return Err(match names.is_empty() {
            true => error.with_help("there is no .toml file in it"),
            false => error.with_help(format!("in it there are {}", some(&names))),
        });
    }
    if metadata.len() > MAX_BYTES {
        return Err(too_large(&name));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large(&name));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let valid = String::from_utf8_lossy(&bytes[..offset]);
        ScenarioError::new(format!("not UTF-8: byte 0x{:02x} at offset {offset}", bytes[offset]))
            .with_help("save the file as UTF-8")
            .at(&name, &valid, offset..offset)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_cannot_be_read_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            File::create(&path).unwrap().write_all(bytes).unwrap();
            path
        };
        let path = write("shop.toml", b"name = \"x\"\n[run]\nseed = \xff\n");
        let error = read(&path).unwrap_err();
        assert_eq!((error.line(), error.column()), (Some(3), Some(8)));
        assert_eq!(error.message(), "not UTF-8: byte 0xff at offset 24");

        let error = read(&directory.path().join("shpo.toml")).unwrap_err();
        assert_eq!(error.message(), "no such file");
        assert_eq!(error.help_text().unwrap(), format!("did you mean {}?", path.display()));
        let error = read(&directory.path().join("elsewhere/shop.toml")).unwrap_err();
        assert!(error.help_text().unwrap().starts_with("there is no directory"), "{}", error.plain());
        let error = read(&directory.path().join("quite-different.toml")).unwrap_err();
        assert!(error.help_text().unwrap().ends_with("there are shop.toml"), "{}", error.plain());

        let error = read(directory.path()).unwrap_err();
        assert_eq!(error.help_text(), Some("in it there are shop.toml"));

        let error =
            check(&read(&write("empty.toml", b"\xef\xbb\xbf \n\n")).unwrap(), "empty.toml").unwrap_err();
        assert_eq!(error.to_string(), "empty.toml: the file is empty");
    }

    #[test]
    fn giants_are_refused_unread() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // A sparse file: one line of 64 GiB, more than there is memory.
        file.as_file().set_len(64 << 30).unwrap();
        let error = read(file.path()).unwrap_err();
        assert_eq!(error.message(), "the file is larger than 16 MiB");

        let text = format!("a = 1\nb = \"{}\"", "x".repeat(MAX_LINE));
        let error = check(&text, "x.toml").unwrap_err();
        assert_eq!((error.line(), error.column()), (Some(2), Some(1)));
        assert_eq!(error.message(), "a line of 1048582 bytes: longer than 1 MiB");
        assert!(check(&"a = 1\n".repeat(3 << 20), "x.toml").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn endless_files_are_not_read_to_the_end() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.message(), "the file is larger than 16 MiB");
    }
}
