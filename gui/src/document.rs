//! The scenario that is being edited: a text, and overrides on top of it that can be undone.

mod connect;
mod structure;
mod written;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use scenarios::language::{BASE, path_text};
use scenarios::results::{ResultsError, write_text};
use scenarios::{Loaded, Scenario, ScenarioError};
use serde::{Deserialize, Serialize};

pub use structure::KINDS;
use written::Written;

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

    /// Where a file of this origin looks for other files.
    fn dir(&self) -> &Path {
        match self {
            Self::Library(_) => Path::new("."),
            Self::File(path) => path.parent().unwrap_or(Path::new(".")),
        }
    }
}

/// Values by path, in the order in which they were given.
type Edits = Vec<(String, String)>;

/// Edits of the scenario as it is written, and of its variants, by their names.
type AllEdits = BTreeMap<String, Edits>;

/// What can be undone: the text, which variant is shown, and the values that differ from the text.
#[derive(Debug, Clone)]
struct Version {
    /// The text under the edits: as it was opened, or as it was built anew when components or variants came or went.
    base: Arc<Loaded>,
    variant: String,
    /// What those of the scenario as it is written say holds in all variants that do not say otherwise.
    edits: AllEdits,
}

impl Version {
    fn edits_of(&self, variant: &str) -> &[(String, String)] {
        self.edits.get(variant).map_or(&[], Vec::as_slice)
    }

    fn sets_of(&self, variant: &str) -> Vec<String> {
        self.edits_of(variant).iter().map(|(path, value)| format!("{path}={value}")).collect()
    }

    /// Gives a path a value in the variant that is shown; none to take it back.
    fn put(&mut self, path: &str, value: Option<&str>) {
        let edits = self.edits.entry(self.variant.clone()).or_default();
        // A value takes the place of what was said of its parts.
        let below = format!("{path}.");
        edits.retain(|(known, _)| known != path && !(value.is_some() && known.starts_with(&below)));
        edits.extend(value.map(|value| (path.to_owned(), value.to_owned())));
        self.edits.retain(|_, edits| !edits.is_empty());
    }

    /// Whether a file would be the same.
    fn is_saved_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.base, &other.base) && self.edits == other.edits
    }

    /// The scenario that it is.
    fn read(&self) -> Result<Loaded, ScenarioError> {
        let written = self.base.with(&self.sets_of(BASE))?;
        if self.variant == BASE {
            return Ok(written);
        }
        // What is said of all variants holds below what they say themselves.
        let written = match self.edits_of(BASE) {
            [] => written,
            _ => again(&written, &written.scenario)?,
        };
        written.variant(&self.variant)?.with(&self.sets_of(&self.variant))
    }

    /// All of it, as a file says it: what was changed in a variant is a part of the variant.
    fn whole(&self) -> Result<Scenario, ScenarioError> {
        let mut scenario = self.base.with(&self.sets_of(BASE))?.scenario;
        for variant in &mut scenario.variant {
            for (path, value) in self.edits_of(&variant.name) {
                variant.set.insert(path.clone(), structure::json_of(value));
            }
        }
        Ok(scenario)
    }
}

/// A scenario, read from its canonical text, in the place of another.
fn again(place: &Loaded, scenario: &Scenario) -> Result<Loaded, ScenarioError> {
    scenarios::parse(&scenario.to_toml(), &scenario.name, place.base_dir(), &[])
}

/// A scenario with unsaved changes, to be read again after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its file; none for one of the library.
    file: Option<PathBuf>,
    /// What [`Origin::name`] says.
    name: String,
    /// Where files are looked for that it names; none beside its file.
    dir: Option<PathBuf>,
    /// Its file as it was read or written last.
    written: Option<String>,
    /// The scenario without the changes.
    text: String,
    /// The text under the edits, where it is another: components or variants came or went.
    rebuilt: Option<String>,
    variant: String,
    edits: AllEdits,
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
    /// No other state of any document has this number.
    revision: u64,
    /// What its file says.
    written: Written,
    /// What would be saved, once it was asked for.
    text: OnceCell<String>,
    present: Version,
    past: Vec<Version>,
    future: Vec<Version>,
    /// The path that is being dragged: what comes next of it is the same edit.
    open: Option<String>,
    /// The version that was saved last.
    saved: Version,
}

/// The number of a state that no other state has.
fn new_revision() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Document {
    fn new(origin: Origin, base: Loaded) -> Self {
        let present =
            Version { base: Arc::new(base.clone()), variant: BASE.to_owned(), edits: BTreeMap::new() };
        let saved = present.clone();
        Self {
            origin,
            hash: base.hash(),
            revision: new_revision(),
            written: Written::new(base.text(), &base.scenario),
            text: OnceCell::new(),
            loaded: base,
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
        let text = |base: &Loaded| base.scenario.to_toml();
        Kept {
            file,
            name: self.origin.name(),
            dir: std::path::absolute(self.base_dir()).ok(),
            written: Some(self.written.text.clone()),
            text: text(&self.saved.base),
            rebuilt: self.is_rebuilt().then(|| text(&self.present.base)),
            variant: self.present.variant.clone(),
            edits: self.present.edits.clone(),
        }
    }

    /// As it was kept: the changes are unsaved, and can be undone in one step.
    ///
    /// # Errors
    /// When it can no longer be read.
    pub(crate) fn restore(kept: Kept) -> Result<Self, ScenarioError> {
        let Kept { file, name, dir, written, text, rebuilt, variant, edits } = kept;
        let known = scenarios::library().iter().find(|one| one.id == name);
        let origin = match (file, known) {
            (None, Some(one)) => Origin::Library(one.id),
            (None, None) => Origin::File(name.into()),
            (Some(path), _) => Origin::File(path),
        };
        let dir = dir.unwrap_or_else(|| origin.dir().to_owned());
        let read = |text: &str| scenarios::parse(text, &origin.name(), &dir, &[]);
        let (base, rebuilt) = (read(&text)?, rebuilt.as_deref().map(read).transpose()?);
        let mut document = Self::new(origin, base);
        let base = rebuilt.map_or_else(|| Arc::clone(&document.present.base), Arc::new);
        if let Some(text) = written
            && let Ok(file) = scenarios::parse(&text, &document.origin.name(), &dir, &[])
        {
            document.written = Written::new(&text, &file.scenario);
        }
        document.turn_to(Version { base, variant, edits }, true)?;
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

    /// The number of this state: another one after every change, also one that [`Document::hash`] does not tell, such
    /// as a variant that was kept.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Where files are looked for that the scenario names.
    fn base_dir(&self) -> &Path {
        self.present.base.base_dir()
    }

    /// The variants that there are, the scenario as it is written first.
    pub fn variants(&self) -> impl Iterator<Item = &str> {
        std::iter::once(BASE)
            .chain(self.present.base.scenario.variant.iter().map(|variant| variant.name.as_str()))
    }

    /// The variant that is shown.
    pub fn variant(&self) -> &str {
        &self.present.variant
    }

    /// The value that was given to a path here.
    pub fn edit_of(&self, path: &str) -> Option<&str> {
        self.edits().iter().find(|(known, _)| known == path).map(|(_, value)| value.as_str())
    }

    /// All values that were changed here in the variant that is shown, by path.
    pub fn edits(&self) -> &[(String, String)] {
        self.present.edits_of(&self.present.variant)
    }

    /// Overrides that make the file the variant that is shown.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let own = self.edits();
        let variant = self.loaded_variant();
        let is_open = |path: &str| {
            !own.iter().any(|(known, _)| known == path)
                && !variant.is_some_and(|variant| variant.set.contains_key(path))
        };
        let below = match self.present.variant.as_str() {
            BASE => &[],
            _ => self.present.edits_of(BASE),
        };
        below.iter().filter(|(path, _)| is_open(path)).chain(own).cloned().collect()
    }

    fn loaded_variant(&self) -> Option<&scenarios::scenario::VariantConfig> {
        self.present.base.scenario.variant.iter().find(|variant| variant.name == self.present.variant)
    }

    /// Whether components or variants came or went since the file was read or written.
    pub fn is_rebuilt(&self) -> bool {
        !Arc::ptr_eq(&self.present.base, &self.saved.base)
    }

    /// Whether something would be lost with it.
    pub fn is_unsaved(&self) -> bool {
        !self.present.is_saved_as(&self.saved)
    }

    /// Gives a value to a path. Several in a row with `more` to come are undone together.
    ///
    /// # Errors
    /// Why it cannot be; everything stays as it was.
    pub fn set(&mut self, path: &str, value: &str, more: bool) -> Result<(), ScenarioError> {
        let mut next = self.present.clone();
        next.put(path, Some(value));
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
                next.put(path, Some(value));
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
        next.put(path, None);
        self.open = None;
        self.turn_to(next, true)
    }

    /// Shows a variant.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn show_variant(&mut self, name: &str) -> Result<(), ScenarioError> {
        self.open = None;
        self.turn_to(Version { variant: name.to_owned(), ..self.present.clone() }, true)
    }

    fn turn_to(&mut self, next: Version, is_step: bool) -> Result<(), ScenarioError> {
        if next.variant == self.present.variant && next.is_saved_as(&self.present) {
            return Ok(());
        }
        let loaded = next.read()?;
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
        if let Ok(loaded) = self.present.read() {
            self.show(loaded);
        }
    }

    fn show(&mut self, loaded: Loaded) {
        (self.hash, self.loaded) = (loaded.hash(), loaded);
        self.is_another();
    }

    fn is_another(&mut self) {
        self.revision = new_revision();
        self.text = OnceCell::new();
    }

    /// What is saved: the text of the file with what has changed, and with all variants.
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| self.text_in(self.origin.dir()))
    }

    /// The same in a directory, from where the files that it names are found.
    fn text_in(&self, dir: &Path) -> String {
        let all = self.present.whole().unwrap_or_else(|_| self.loaded.scenario.clone());
        let text = self.written.with(&all).unwrap_or_else(|| all.to_toml());
        written::moved(text, self.base_dir(), dir)
    }

    /// What would be lost if it were saved to a file, in words; nothing for none. `may_replace` says whether another
    /// file may be written over.
    pub fn loses(&self, path: &Path, may_replace: bool) -> Option<&'static str> {
        let is_own = matches!(&self.origin, Origin::File(own) if is_same_file(own, path));
        if !is_own {
            return (path.exists() && !may_replace).then_some("There is a file of that name already.");
        }
        let has_changed = match std::fs::read(path) {
            Ok(found) => found != self.written.text.as_bytes(),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        };
        if has_changed {
            return Some(
                "Another program has changed the file since it was read or saved here. What it wrote would be lost.",
            );
        }
        let is_new = || self.present.whole().is_ok_and(|all| self.written.with(&all).is_none());
        (self.written.has_layout() && is_new()).then_some(
            "What was changed does not fit into the text of the file, which would be written anew: its comments and its layout \
             would be lost.",
        )
    }

    /// The scenario as it is now with all its variants, to be compared.
    ///
    /// # Errors
    /// When a variant no longer fits what was changed in the scenario.
    pub fn whole(&self) -> Result<Loaded, ScenarioError> {
        again(&self.present.base, &self.present.whole()?)
    }

    /// Writes it to a file, complete before it takes its name, and goes on from there.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn save(&mut self, path: &Path) -> Result<(), ResultsError> {
        let origin = Origin::File(path.to_owned());
        let text = self.text_in(origin.dir());
        write_text(path, &text)?;
        if let Ok(file) = scenarios::parse(&text, &origin.name(), origin.dir(), &[]) {
            self.written = Written::new(&text, &file.scenario);
        }
        self.origin = origin;
        self.saved = self.present.clone();
        self.is_another();
        Ok(())
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let found = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    found(one) == found(other)
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
