//! The scenario language: TOML files, read strictly, with errors that point at the place.
//!
//! [`load`] and [`parse`] read a scenario and apply `--set` overrides; what the simulator says of it
//! later is shown in the file by [`Loaded::locate`]. [`Scenario::to_toml`] writes the canonical form,
//! [`schema`] describes the language to editors and [`reference()`] to people, and [`library`] holds scenarios
//! to start from.

mod canonical;
mod catalogue;
mod decode;
mod error;
mod explain;
mod library;
mod overrides;
mod reference;
mod source;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod variants;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sim_models::error::ConfigError;
use sim_models::system::SystemConfig;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use catalogue::catalogue;
pub use error::ScenarioError;
pub use library::{LibraryScenario, library};
pub use overrides::path_text;
pub(crate) use overrides::{path_keys, split_override};
pub use reference::reference;
pub(crate) use template::{Template, shown};
pub use variants::BASE;

use crate::scenario::{Scenario, VariantConfig};
use source::{Fault, Source};
use tree::{Node, Places};
use variants::Variants;

/// A scenario and where each of its values was said.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the file and the overrides say.
    pub scenario: Scenario,
    /// Name of the variant that it is; [`BASE`] for the scenario as it is written.
    pub variant: String,
    source: Arc<Source>,
    places: Places,
    base_dir: PathBuf,
}

/// Reads a scenario file and applies overrides (`"components.edge.servers=4"`) in order.
///
/// # Errors
/// What is wrong with the file or an override, where, and what would be accepted.
pub fn load(path: &Path, sets: &[String]) -> Result<Loaded, ScenarioError> {
    let text = source::read(path)?;
    parse(&text, &path.display().to_string(), source::directory(path), sets)
}

/// Reads a scenario that is already text. `name` stands for the file in errors; other files that the
/// scenario names are looked for in `base_dir`.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, name: &str, base_dir: &Path, sets: &[String]) -> Result<Loaded, ScenarioError> {
    source::check(text, name)?;
    let source = Source { name: name.to_owned(), text: text.to_owned(), sets: sets.to_vec() };
    let (scenario, places) = read(&source, None).map_err(|fault| source.error(fault))?;
    let (variant, source) = (BASE.to_owned(), Arc::new(source));
    Ok(Loaded { scenario, variant, source, places, base_dir: base_dir.to_owned() })
}

/// Reads the scenario, or its variant of that number. What the overrides say holds in all of them.
fn read(source: &Source, variant: Option<usize>) -> Result<(Scenario, Places), Fault> {
    decoded(&parse_tree(source, variant)?, source)
}

/// What the values say, and where each is.
fn decoded(root: &Node, source: &Source) -> Result<(Scenario, Places), Fault> {
    tree::check_values(root)?;
    let scenario = decode::decode(root, source)?;
    variants::check(root, source, &scenario)?;
    Ok((scenario, Places::new(None, root, source)))
}

/// The values of the file.
fn parse_file(source: &Source) -> Result<Node<'_>, Fault> {
    let table = DeTable::parse(&source.text).map_err(|error| syntax_fault(&error, &source.text))?;
    Ok(Spanned::new(table.span(), DeValue::Table(table.into_inner())))
}

/// The values of the scenario, or of its variant of that number, with the overrides.
fn parse_tree(source: &Source, variant: Option<usize>) -> Result<Node<'_>, Fault> {
    let mut root = parse_file(source)?;
    if let Some(index) = variant {
        root = Variants::new(root).get(index)?;
    }
    overrides::apply(&mut root, source)?;
    Ok(root)
}

/// What is not TOML, and what is most often forgotten.
fn syntax_fault(error: &toml::de::Error, text: &str) -> Fault {
    let span = error.span().unwrap_or(0..0);
    let (message, expected) = explain::split_expected(error.message().lines().next().unwrap_or("not TOML"));
    let (before, behind) = text.split_at_checked(span.start).unwrap_or((text, ""));
    let ends = |c: char| c.is_whitespace() || matches!(c, '=' | ',' | '{' | '}' | '[' | ']' | '#');
    let start = before.rfind(ends).map_or(0, |end| end + 1);
    let end = behind.find(ends).map_or(text.len(), |length| before.len() + length);
    let value = text.get(start..end).unwrap_or_default();
    let number = value.trim_start_matches('$');
    let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let has_unit =
        unit.len() < number.len() && unit.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let help = match has_unit || value.starts_with('$') {
        true => Some(format!("a number with a unit is written in quotes: \"{value}\"")),
        false => expected,
    };
    Fault { span, message: message.to_owned(), help }
}

impl Loaded {
    /// The file's directory, from which other files are looked for.
    pub fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// The files that the scenario and its variants read: recorded traffic, models, profiles and joint tables.
    pub fn files(&self) -> Vec<PathBuf> {
        let variants = self.variants().into_iter().flatten().filter_map(Result::ok);
        let systems = variants.map(|variant| variant.scenario.system()).chain([self.scenario.system()]);
        systems.flat_map(|system| system.files(&self.base_dir)).collect()
    }

    /// What stands for the file in errors.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The text that it was read from, without the overrides.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The overrides, in order.
    pub fn sets(&self) -> &[String] {
        &self.source.sets
    }

    /// Hash of the canonical form without its variants, sweep and plan, the same on every platform. How the file is written
    /// does not matter, but for the order of names: of components, traffic and classes.
    pub fn hash(&self) -> u64 {
        self.scenario.hash()
    }

    /// One of the scenario's variants, with the same overrides on top; [`BASE`] is the scenario as it is
    /// written.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn variant(&self, name: &str) -> Result<Self, ScenarioError> {
        if name == self.variant {
            return Ok(self.clone());
        }
        let index = variants::find(&self.scenario, name).map_err(|fault| self.source.error(fault))?;
        let (scenario, places) = read(&self.source, Some(index)).map_err(|fault| self.source.error(fault))?;
        Ok(self.like(scenario, places, name.to_owned()))
    }

    /// All of the scenario's variants in order, as [`Loaded::variant`] reads them, but the file only once.
    ///
    /// # Errors
    /// What cannot be read, now or of one of them.
    pub fn variants(&self) -> Result<impl Iterator<Item = Result<Self, ScenarioError>>, ScenarioError> {
        let root = parse_file(&self.source).map_err(|fault| self.source.error(fault))?;
        let all = Variants::new(root);
        let one = move |(index, variant): (usize, &VariantConfig)| {
            let read = all.get(index).and_then(|mut root| {
                overrides::apply(&mut root, &self.source)?;
                decoded(&root, &self.source)
            });
            let (scenario, places) = read.map_err(|fault| self.source.error(fault))?;
            Ok(self.like(scenario, places, variant.name.clone()))
        };
        Ok(self.scenario.variant.iter().enumerate().map(one))
    }

    /// Another scenario of the same source.
    fn like(&self, scenario: Scenario, places: Places, variant: String) -> Self {
        Self { scenario, variant, source: Arc::clone(&self.source), places, base_dir: self.base_dir.clone() }
    }

    /// The same with more overrides on top.
    ///
    /// # Errors
    /// What in an override, or in the scenario with it, cannot be read.
    pub fn with(&self, sets: &[String]) -> Result<Self, ScenarioError> {
        let mut source = Source::clone(&self.source);
        source.sets.extend_from_slice(sets);
        let index = match self.variant.as_str() {
            BASE => None,
            name => {
                let (written, _) = read(&self.source, None).map_err(|fault| source.error(fault))?;
                Some(variants::find(&written, name).map_err(|fault| source.error(fault))?)
            }
        };
        let (scenario, places) = read(&source, index).map_err(|fault| source.error(fault))?;
        Ok(Self { source: Arc::new(source), ..self.like(scenario, places, self.variant.clone()) })
    }

    /// Shows in the file (or the override) what the simulator found wrong. A value that is not there is
    /// shown at the closest table around it.
    pub fn locate(&self, error: ConfigError) -> ScenarioError {
        let (place, depth) = self.places.closest(&error.path);
        // Names of components, traffic and links are keys; what is behind them is not to blame.
        let span = match depth {
            0 => 0..0,
            2 if depth == error.path.len() => place.key(),
            _ => place.value(),
        };
        let mut message = error.message;
        if depth < error.path.len() && depth > 0 {
            message = format!("{}: {message}", path_text(&error.path));
        }
        let (message, expected) = explain::split_expected(&message);
        let help = error.help.or(expected);
        let help = help.map(|help| explain::with_suggestion(message, &help).unwrap_or(help));
        self.source.error(Fault { span, message: message.to_owned(), help })
    }
}

/// Whether a setting names a file, by its path and its text.
pub fn names_file(path: &str, text: &str) -> bool {
    path_keys(path).last().is_some_and(|key| SystemConfig::is_file(key, text))
}

/// The language as a JSON Schema, draft 2020-12, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Scenario).to_value()
}
