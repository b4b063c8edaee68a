//! `[[variant]]`: the same system with a few values changed, to be compared with it.

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::explain::did_you_mean;
use super::overrides::{remove_at, set_at, split_path};
use super::source::{Fault, Source};
use super::tree::Node;
use crate::scenario::Scenario;

/// What results call the scenario as it is written.
pub const BASE: &str = "base";

type Key<'a> = Spanned<DeString<'a>>;

/// The entry of the table that `[[variant]]` number `index` is.
fn entry<'r, 'a>(root: &'r Node<'a>, index: usize, key: &str) -> Option<&'r Node<'a>> {
    let variants = root.get_ref().as_table()?.get("variant")?.get_ref().as_array()?;
    variants.get(index)?.get_ref().as_table()?.get(key)
}

/// Refuses names that could not be asked for.
pub(super) fn check_names(root: &Node, scenario: &Scenario) -> Result<(), Fault> {
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
        if scenario.variant[..index].iter().any(|other| other.name == name) {
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

/// Changes a scenario into its variant number `index`, which has no variants of its own.
pub(super) fn apply<'a>(root: &mut Node<'a>, index: usize) -> Result<(), Fault> {
    let set = entry(root, index, "set").and_then(|set| set.get_ref().as_table());
    let set: Vec<(Key<'a>, Node<'a>)> =
        set.into_iter().flatten().map(|(path, value)| (path.clone(), value.clone())).collect();
    let unset = entry(root, index, "unset").and_then(|unset| unset.get_ref().as_array());
    let unset: Vec<Node<'a>> = unset.into_iter().flat_map(|paths| paths.iter().cloned()).collect();
    if let DeValue::Table(table) = root.get_mut() {
        table.remove("variant");
    }
    for path in &unset {
        let text = path.get_ref().as_str().unwrap_or_default();
        remove_at(root, &split_path(text, path.span())?)?;
    }
    for (path, value) in set {
        set_at(root, &split_path(path.get_ref(), path.span())?, value)?;
    }
    Ok(())
}

/// Reads every variant, so that a mistake in one is seen whichever is run.
pub(super) fn check(root: &Node, source: &Source, scenario: &Scenario) -> Result<(), Fault> {
    check_names(root, scenario)?;
    for index in 0..scenario.variant.len() {
        let mut changed = root.clone();
        apply(&mut changed, index)?;
        super::tree::check_numbers(&changed)?;
        super::decode::decode(&changed, source)?;
    }
    Ok(())
}
