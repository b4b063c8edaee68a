//! A scenario that is read once and changed many times.

use serde::Deserialize;
use toml::de::{DeValue, ValueDeserializer};

use super::error::ScenarioError;
use super::overrides::{apply_one, value};
use super::tree::{Node, check_values};
use super::{BASE, Loaded, parse_tree, variants};
use crate::scenario::Scenario;

/// The values of a scenario as its file and overrides say them, without variants, sweep and plan.
#[derive(Debug, Clone)]
pub(crate) struct Template<'a> {
    root: Node<'a>,
}

impl Loaded {
    /// The scenario to be changed many times.
    ///
    /// # Errors
    /// As [`Loaded::variant`].
    pub(crate) fn template(&self) -> Result<Template<'_>, ScenarioError> {
        let shown = |fault| self.source.error(fault);
        let index = match self.variant.as_str() {
            BASE => None,
            name => {
                let written = parse_tree(&self.source, None).map_err(shown)?;
                let written = super::decode::decode(&written, &self.source).map_err(shown)?;
                Some(variants::find(&written, name).map_err(shown)?)
            }
        };
        let mut root = parse_tree(&self.source, index).map_err(shown)?;
        if let DeValue::Table(table) = root.get_mut() {
            table.remove("variant");
            table.remove("sweep");
            table.remove("plan");
        }
        Ok(Template { root })
    }
}

impl Template<'_> {
    /// The scenario with more overrides on top; none when it cannot be read: [`Loaded::with`] says why.
    pub(crate) fn with(&self, sets: &[String]) -> Option<Scenario> {
        let mut root: Node = self.root.clone();
        for set in sets {
            apply_one(&mut root, set, 0).ok()?;
        }
        check_values(&root).ok()?;
        Scenario::deserialize(ValueDeserializer::from(root)).ok()
    }
}

/// The value of an override as people read it: a text without its quotes.
pub(crate) fn shown(text: &str) -> Result<String, String> {
    let node = value(text, 0).map_err(|fault| fault.message)?;
    Ok(node.get_ref().as_str().map_or_else(|| text.trim().to_owned(), str::to_owned))
}
