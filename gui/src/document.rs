//! The scenario that is being edited: a text, and overrides on top of it that can be undone.

use std::path::{Path, PathBuf};

use scenarios::language::{BASE, path_text};
use scenarios::results::{ResultsError, write_text};
use scenarios::{Loaded, ScenarioError};
use serde::{Deserialize, Serialize};

/// Where a scenario comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The library, by name.
    Library(&'static str),
    /// A file.
    File(PathBuf),
}

impl Origin {
    /// Its file, or its name in the library.
    pub fn name(&self) -> String {
        match self {
            Self::Library(id) => (*id).to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// What can be undone: which variant is shown, and the values that differ from its text, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    variant: String,
    edits: Vec<(String, String)>,
}

impl Version {
    fn sets(&self) -> Vec<String> {
        self.edits.iter().map(|(path, value)| format!("{path}={value}")).collect()
    }
}

/// A scenario with unsaved changes, to be read again after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its file; none for one of the library.
    file: Option<PathBuf>,
    /// What [`Origin::name`] says.
    name: String,
    /// The scenario without the changes.
    text: String,
    changed: Version,
}

impl Kept {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A scenario with its history.
#[derive(Debug, Clone)]
pub struct Document {
    /// Where it comes from.
    pub origin: Origin,
    /// The scenario as it is now.
    pub loaded: Loaded,
    /// Its hash: it is asked for in every frame.
    hash: u64,
    base: Loaded,
    present: Version,
    past: Vec<Version>,
    future: Vec<Version>,
    /// The path that is being dragged: what comes next of it is the same edit.
    open: Option<String>,
    /// The version that was saved last.
    saved: Version,
}

impl Document {
    fn new(origin: Origin, base: Loaded) -> Self {
        let present = Version { variant: BASE.to_owned(), edits: Vec::new() };
        let saved = present.clone();
        Self {
            origin,
            hash: base.hash(),
            loaded: base.clone(),
            base,
            present,
            past: Vec::new(),
            future: Vec::new(),
            open: None,
            saved,
        }
    }

    /// A scenario of the library.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn library(id: &str) -> Result<Self, ScenarioError> {
        let found = scenarios::library().iter().find(|one| one.id == id);
        let one = found.ok_or_else(|| ScenarioError::new(format!("the library has no scenario `{id}`")))?;
        let base = scenarios::parse(one.text, one.id, Path::new("."), &[])?;
        Ok(Self::new(Origin::Library(one.id), base))
    }

    /// A scenario file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn open(path: &Path) -> Result<Self, ScenarioError> {
        Ok(Self::new(Origin::File(path.to_owned()), scenarios::load(path, &[])?))
    }

    /// With its changes, to be restored after a crash.
    pub(crate) fn kept(&self) -> Kept {
        let file = match &self.origin {
            Origin::File(path) => Some(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
            Origin::Library(_) => None,
        };
        let (name, text) = (self.origin.name(), self.base.scenario.to_toml());
        Kept { file, name, text, changed: self.present.clone() }
    }

    /// As it was kept: the changes are unsaved, and can be undone in one step.
    ///
    /// # Errors
    /// When it can no longer be read.
    pub(crate) fn restore(kept: Kept) -> Result<Self, ScenarioError> {
        let Kept { file, name, text, changed } = kept;
        let known = scenarios::library().iter().find(|one| one.id == name);
        let origin = match (file, known) {
            (None, Some(one)) => Origin::Library(one.id),
            (None, None) => Origin::File(name.into()),
            (Some(path), _) => Origin::File(path),
        };
        let dir = match &origin {
            Origin::File(path) => path.parent().unwrap_or(Path::new(".")).to_owned(),
            Origin::Library(_) => PathBuf::from("."),
        };
        let base = scenarios::parse(&text, &origin.name(), &dir, &[])?;
        let mut document = Self::new(origin, base);
        document.turn_to(changed, true)?;
        Ok(document)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.loaded.scenario.name
    }

    /// Hash of the scenario as it is now.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The variants that there are, the scenario as it is written first.
    pub fn variants(&self) -> impl Iterator<Item = &str> {
        std::iter::once(BASE).chain(self.base.scenario.variant.iter().map(|variant| variant.name.as_str()))
    }

    /// The variant that is shown.
    pub fn variant(&self) -> &str {
        &self.present.variant
    }

    /// The value that was given to a path here.
    pub fn edit_of(&self, path: &str) -> Option<&str> {
        self.present.edits.iter().find(|(known, _)| known == path).map(|(_, value)| value.as_str())
    }

    /// All values that were changed here, by path.
    pub fn edits(&self) -> &[(String, String)] {
        &self.present.edits
    }

    /// Whether something would be lost with it.
    pub fn is_unsaved(&self) -> bool {
        self.present != self.saved
    }

    /// Gives a value to a path. Several in a row with `more` to come are undone together.
    ///
    /// # Errors
    /// Why it cannot be; everything stays as it was.
    pub fn set(&mut self, path: &str, value: &str, more: bool) -> Result<(), ScenarioError> {
        let mut next = self.present.clone();
        next.edits.retain(|(known, _)| known != path);
        next.edits.push((path.to_owned(), value.to_owned()));
        let goes_on = self.open.as_deref() == Some(path);
        self.turn_to(next, !goes_on)?;
        self.open = more.then(|| path.to_owned());
        Ok(())
    }

    /// Takes several values on in one step: overrides, or `--variant` and its name.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn apply(&mut self, change: &[String]) -> Result<(), ScenarioError> {
        let mut next = self.present.clone();
        for one in change {
            if let Some(name) = one.strip_prefix("--variant ") {
                next.variant = name.trim_matches('\'').to_owned();
            } else if let Some((path, value)) = one.split_once('=') {
                next.edits.retain(|(known, _)| known != path);
                next.edits.push((path.to_owned(), value.to_owned()));
            }
        }
        self.open = None;
        self.turn_to(next, true)
    }

    /// Replaces the arrivals of the one traffic source by a trace.
    ///
    /// # Errors
    /// When there are several sources, or the file is no trace.
    pub fn replay(&mut self, path: &Path) -> Result<(), ScenarioError> {
        let names: Vec<&String> = self.loaded.scenario.traffic.keys().collect();
        let [name] = names[..] else {
            let message = format!(
                "a trace can replace the arrivals of one traffic source, and there are {}",
                names.len()
            );
            return Err(ScenarioError::new(message).with_help("name it in the arrivals of one of them"));
        };
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let trace = toml::Value::String(path.display().to_string());
        let arrivals = path_text(&["traffic".to_owned(), name.clone(), "arrivals".to_owned()]);
        self.set(&arrivals, &format!("{{ process = \"trace\", path = {trace} }}"), false)
    }

    /// Gives a path the value back that the text or its default says.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn reset(&mut self, path: &str) -> Result<(), ScenarioError> {
        let mut next = self.present.clone();
        next.edits.retain(|(known, _)| known != path);
        self.open = None;
        self.turn_to(next, true)
    }

    /// Shows a variant, with the same edits on top.
    ///
    /// # Errors
    /// When there is none of that name, or the edits do not fit it.
    pub fn show_variant(&mut self, name: &str) -> Result<(), ScenarioError> {
        self.open = None;
        self.turn_to(Version { variant: name.to_owned(), ..self.present.clone() }, true)
    }

    fn read(&self, version: &Version) -> Result<Loaded, ScenarioError> {
        self.base.variant(&version.variant)?.with(&version.sets())
    }

    fn turn_to(&mut self, next: Version, is_step: bool) -> Result<(), ScenarioError> {
        if next == self.present {
            return Ok(());
        }
        let loaded = self.read(&next)?;
        scenarios::check(&loaded, &scenarios::run::RunOptions::default())?;
        self.show(loaded);
        let before = std::mem::replace(&mut self.present, next);
        if is_step {
            self.past.push(before);
        }
        self.future.clear();
        Ok(())
    }

    /// Whether there is something to undo.
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is something to redo.
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    /// One step back.
    pub fn undo(&mut self) {
        if let Some(before) = self.past.pop() {
            self.future.push(std::mem::replace(&mut self.present, before));
            self.go();
        }
    }

    /// One step forward again.
    pub fn redo(&mut self) {
        if let Some(next) = self.future.pop() {
            self.past.push(std::mem::replace(&mut self.present, next));
            self.go();
        }
    }

    /// Reads a version that was read before.
    fn go(&mut self) {
        self.open = None;
        if let Ok(loaded) = self.read(&self.present) {
            self.show(loaded);
        }
    }

    fn show(&mut self, loaded: Loaded) {
        (self.hash, self.loaded) = (loaded.hash(), loaded);
    }

    /// What is saved: the canonical text of the scenario as it is now. Of a variant, that of the variant.
    pub fn text(&self) -> String {
        self.loaded.scenario.to_toml()
    }

    /// Writes it to a file, complete before it takes its name, and goes on from there.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn save(&mut self, path: &Path) -> Result<(), ResultsError> {
        write_text(path, &self.text())?;
        self.origin = Origin::File(path.to_owned());
        self.saved = self.present.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        Document::library("queueing-basics").unwrap()
    }

    #[test]
    fn edits_are_undone_one_by_one_and_drags_at_once() {
        let mut document = document();
        let before = document.loaded.hash();
        document.set("run.seed", "2", false).unwrap();
        for seed in 3..9 {
            document.set("run.seed", &seed.to_string(), seed < 8).unwrap();
        }
        assert_eq!(document.loaded.scenario.run.seed, 8);
        assert!(document.is_unsaved());
        document.undo();
        assert_eq!(document.loaded.scenario.run.seed, 2);
        document.redo();
        assert_eq!(document.loaded.scenario.run.seed, 8);
        document.undo();
        document.undo();
        assert!(!document.can_undo() && document.can_redo());
        assert_eq!(document.loaded.hash(), before);
        assert!(!document.is_unsaved());
    }

    #[test]
    fn a_wrong_value_changes_nothing() {
        let mut document = document();
        let before = document.loaded.hash();
        let error = document.set("run.seed", "\"many\"", false).unwrap_err();
        assert!(error.to_string().contains("seed") || format!("{error:?}").contains("many"), "{error:?}");
        assert!(document.set("components.nobody.servers", "3", false).is_err());
        assert_eq!((document.loaded.hash(), document.can_undo()), (before, false));
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("saved.toml");
        let mut document = document();
        document.set("run.seed", "7", false).unwrap();
        document.save(&path).unwrap();
        assert!(!document.is_unsaved());
        let again = Document::open(&path).unwrap();
        assert_eq!(again.loaded.hash(), document.loaded.hash());
        assert_eq!(again.text(), document.text());
        assert!(document.save(&dir.path().join("no/such/place.toml")).is_err());
    }
}
