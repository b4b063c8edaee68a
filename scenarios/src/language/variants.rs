//! `[[variant]]`: the same system with a few values changed, to be compared with it.

use std::collections::BTreeSet;

use toml::de::{DeArray, DeValue};

use super::explain::did_you_mean;
use super::overrides::{remove_at, set_at, split_path};
use super::source::{Fault, Source};
use super::tree::Node;
use crate::scenario::Scenario;

/// What results call the scenario as it is written.
pub const BASE: &str = "base";

/// The entry of the table that `[[variant]]` number `index` is.
fn entry<'r, 'a>(root: &'r Node<'a>, index: usize, key: &str) -> Option<&'r Node<'a>> {
    let variants = root.get_ref().as_table()?.get("variant")?.get_ref().as_array()?;
    variants.get(index)?.get_ref().as_table()?.get(key)
}

/// Refuses names that could not be asked for.
pub(super) fn check_names(root: &Node, scenario: &Scenario) -> Result<(), Fault> {
    let mut known = BTreeSet::new();
    for (index, variant) in scenario.variant.iter().enumerate() {
        let fault = |message: String| {
            let span = entry(root, index, "name").map_or(0..0, Node::span);
            Fault::new(span, message).help("every variant has a name of its own")
        };
        let name = variant.name.as_str();
        if name.trim().is_empty() {
            return Err(fault("a variant without a name".to_owned()));
        }
        if name == BASE {
            return Err(fault(format!("`{BASE}` is what the scenario as it is written is called")));
        }
        if !known.insert(name) {
            return Err(fault(format!("there are two variants named `{name}`")));
        }
    }
    Ok(())
}

/// The number of a variant.
pub(super) fn find(scenario: &Scenario, name: &str) -> Result<usize, Fault> {
    let names = || scenario.variant.iter().map(|variant| variant.name.as_str());
    names().position(|known| known == name).ok_or_else(|| {
        let list: Vec<&str> = names().collect();
        let there = match list.as_slice() {
            [] => "the scenario has none: add a [[variant]] with `name` and `set`".to_owned(),
            list => format!("there are {}", list.join(", ")),
        };
        let help = match did_you_mean(name, names()) {
            Some(close) => format!("did you mean `{close}`? {there}"),
            None => there,
        };
        Fault::new(0..0, format!("there is no variant `{name}`")).help(help)
    })
}

/// A scenario without its variants, and what each of them changes.
pub(super) struct Variants<'a> {
    base: Node<'a>,
    entries: DeArray<'a>,
}

impl<'a> Variants<'a> {
    pub fn new(mut root: Node<'a>) -> Self {
        let removed = match root.get_mut() {
            DeValue::Table(table) => table.remove("variant"),
            _ => None,
        };
        let entries = match removed.map(Node::into_inner) {
            Some(DeValue::Array(entries)) => entries,
            _ => DeArray::new(),
        };
        Self { base: root, entries }
    }

    /// The variant of that number, which has no variants of its own.
    pub fn get(&self, index: usize) -> Result<Node<'a>, Fault> {
        let mut root = self.base.clone();
        let entry = self.entries.get(index).and_then(|entry| entry.get_ref().as_table());
        let change = |key: &str| entry.and_then(|entry| entry.get(key)).map(Node::get_ref);
        for path in change("unset").and_then(DeValue::as_array).into_iter().flat_map(|paths| paths.iter()) {
            let text = path.get_ref().as_str().unwrap_or_default();
            remove_at(&mut root, &split_path(text, path.span())?)?;
        }
        for (path, value) in change("set").and_then(DeValue::as_table).into_iter().flatten() {
            set_at(&mut root, &split_path(path.get_ref(), path.span())?, value.clone())?;
        }
        Ok(root)
    }
}

/// Reads every variant, so that a mistake in one is seen whichever is run.
pub(super) fn check(root: &Node, source: &Source, scenario: &Scenario) -> Result<(), Fault> {
    check_names(root, scenario)?;
    if scenario.variant.is_empty() {
        return Ok(());
    }
    let variants = Variants::new(root.clone());
    for index in 0..scenario.variant.len() {
        let changed = variants.get(index)?;
        super::tree::check_values(&changed)?;
        super::decode::decode(&changed, source)?;
    }
    Ok(())
}
