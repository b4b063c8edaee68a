//! From parsed TOML to a [`Scenario`], and to the place where that failed.
//!
//! Serde buffers internally tagged enums (components, by `kind`), and errors inside of them lose their
//! place. It is found again without knowing the types: serde reads entries in order and stops at the
//! first that is wrong, so the culprit is the last entry of the shortest beginning of a table that fails
//! with the same words.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use super::explain::Complaint;
use super::overrides::path_text;
use super::source::{Fault, Source};
use super::tree::{Node, is_header, keys};
use crate::scenario::Scenario;

/// Above this many bytes the place of an error may be only the table around it: finding it takes a few
/// dozen readings.
const MAX_SEARCHED: usize = 1 << 20;

fn read(root: &Node) -> Result<Scenario, toml::de::Error> {
    Scenario::deserialize(ValueDeserializer::from(root.clone()))
}

/// Reads a scenario. `source` is where the places of `root` are.
pub(super) fn decode(root: &Node, source: &Source) -> Result<Scenario, Fault> {
    let error = match read(root) {
        Ok(scenario) => return Ok(scenario),
        Err(error) => error,
    };
    let complaint = Complaint::of(error.message());
    let culprit =
        if root.span().len() <= MAX_SEARCHED { find(root, error.message()) } else { Culprit::default() };
    let span = match culprit.steps.is_empty() {
        // The top level has no place of its own.
        true => error.span().filter(|span| *span != root.span()).unwrap_or(0..0),
        false => culprit.span(root, source),
    };
    let names = culprit.names(root);
    let (last, parents) = names.split_last().map_or((None, &[][..]), |(last, parents)| (Some(last), parents));
    let (message, help) = match (complaint, culprit.at_key) {
        // A law of a distribution is a key.
        (Complaint::UnknownKey(name, known) | Complaint::UnknownName(name, known), true) => {
            Complaint::UnknownKey(name, known).explain(&path_text(parents), None)
        }
        (complaint, _) => {
            let key = last.filter(|key| key.parse::<usize>().is_err());
            complaint.explain(&path_text(&names), key.map(String::as_str))
        }
    };
    Err(Fault { span, message, help })
}

/// Where an entry is: its number in the table or array, from the top.
#[derive(Debug, Clone, Default)]
struct Culprit {
    steps: Vec<usize>,
    /// Whether the key is wrong, and not the value.
    at_key: bool,
}

impl Culprit {
    fn names(&self, root: &Node) -> Vec<String> {
        let mut node = root;
        let mut names = Vec::new();
        for step in &self.steps {
            let (key, child) = entry(node.get_ref(), *step);
            names.push(key.map_or_else(|| step.to_string(), |key| key.get_ref().to_string()));
            node = child;
        }
        names
    }

    fn span(&self, root: &Node, source: &Source) -> Range<usize> {
        let (mut key, mut node) = (None, root);
        for step in &self.steps {
            (key, node) = entry(node.get_ref(), *step);
        }
        match key {
            Some(key) if self.at_key || is_header(node, source) => key.span(),
            _ => node.span(),
        }
    }
}

fn entry<'t, 'a>(value: &'t DeValue<'a>, index: usize) -> (Option<&'t Spanned<DeString<'a>>>, &'t Node<'a>) {
    match value {
        DeValue::Array(items) => (None, &items[index]),
        DeValue::Table(table) => {
            let (key, value) = table.iter().nth(index).expect("the entry was counted");
            (Some(key), value)
        }
        _ => unreachable!("only arrays and tables have entries"),
    }
}

fn len(value: &DeValue) -> usize {
    match value {
        DeValue::Array(items) => items.len(),
        DeValue::Table(table) => table.len(),
        _ => 0,
    }
}

/// Only these entries, in this order.
fn only<'a>(value: &DeValue<'a>, entries: &[usize]) -> DeValue<'a> {
    let chosen = entries.iter().map(|index| entry(value, *index));
    match value {
        DeValue::Array(_) => DeValue::Array(chosen.map(|(_, item)| item.clone()).collect()),
        DeValue::Table(_) => {
            let pair = |(key, value): (Option<&Spanned<DeString<'a>>>, &Node<'a>)| {
                (key.expect("a table's entry has a key").clone(), value.clone())
            };
            DeValue::Table(chosen.map(pair).collect())
        }
        leaf => leaf.clone(),
    }
}

/// Keys that select among alternatives, such as `kind`: serde reads them before everything else.
fn tags() -> BTreeSet<String> {
    fn collect(schema: &serde_json::Value, tags: &mut BTreeSet<String>) {
        match schema {
            serde_json::Value::Object(object) => {
                let properties = object.get("properties").and_then(|properties| properties.as_object());
                let constants =
                    properties.into_iter().flatten().filter(|(_, value)| value.get("const").is_some());
                tags.extend(constants.map(|(key, _)| key.clone()));
                object.values().for_each(|value| collect(value, tags));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, tags)),
            _ => {}
        }
    }
    let mut tags = BTreeSet::new();
    collect(&super::schema(), &mut tags);
    tags
}

/// A tree that fails, of which ever more is cut off.
struct Search<'a, 'm> {
    root: Node<'a>,
    steps: Vec<usize>,
    message: &'m str,
}

impl<'a> Search<'a, '_> {
    fn node(&mut self) -> &mut DeValue<'a> {
        self.steps.iter().fold(self.root.get_mut(), |value, step| match value {
            DeValue::Array(items) => items.get_mut(*step).expect("the entry was counted").get_mut(),
            DeValue::Table(table) => table.iter_mut().nth(*step).expect("the entry was counted").1.get_mut(),
            _ => unreachable!("only arrays and tables have entries"),
        })
    }

    /// Whether reading fails with the same words when the node is replaced.
    fn fails_alike_with(&mut self, value: DeValue<'a>) -> bool {
        let original = std::mem::replace(self.node(), value);
        let alike = read(&self.root).is_err_and(|error| error.message() == self.message);
        *self.node() = original;
        alike
    }

    /// Whether the node is the table that lacks `key`: with it, something else is wrong or nothing.
    fn lacks(&mut self, key: &str) -> bool {
        let DeValue::Table(mut table) = self.node().clone() else { return false };
        if table.contains_key(key) {
            return false;
        }
        table.insert(Spanned::new(0..0, key.to_owned().into()), Spanned::new(0..0, DeValue::Boolean(true)));
        !self.fails_alike_with(DeValue::Table(table))
    }

    /// The number of the entry with this key, if the error is gone without it.
    fn blames(&mut self, key: &str) -> Option<usize> {
        let table: &DeTable = self.node().as_table()?;
        let index = keys(table).position(|name| name == key)?;
        let others: Vec<usize> = (0..table.len()).filter(|other| *other != index).collect();
        let without = only(self.node(), &others);
        (!self.fails_alike_with(without)).then_some(index)
    }

    /// The number of the first wrong entry, where everything behind it is cut off.
    fn first_wrong(&mut self, read_first: &dyn Fn(&str) -> bool) -> Option<usize> {
        let value = self.node().clone();
        let natural: Vec<usize> = (0..len(&value)).collect();
        let early = |index: &usize| entry(&value, *index).0.is_some_and(|key| read_first(key.get_ref()));
        let (mut order, rest): (Vec<usize>, Vec<usize>) = natural.iter().partition(|index| early(index));
        order.extend(rest);
        if !self.fails_alike_with(only(&value, &order)) {
            order = natural;
        }
        let (mut fine, mut wrong) = (0, order.len());
        if wrong == 0 || self.fails_alike_with(only(&value, &[])) {
            return None;
        }
        while wrong - fine > 1 {
            let middle = fine + (wrong - fine) / 2;
            match self.fails_alike_with(only(&value, &order[..middle])) {
                true => wrong = middle,
                false => fine = middle,
            }
        }
        let culprit = order[wrong - 1];
        let mut kept = order[..wrong].to_vec();
        // In the original order, so that the numbers of entries that are kept can be told.
        kept.sort_unstable();
        let shortened = only(&value, &kept);
        if self.fails_alike_with(shortened.clone()) {
            *self.node() = shortened;
            return kept.iter().position(|index| *index == culprit);
        }
        Some(culprit)
    }
}

/// Finds the value or key that `message` is about.
fn find(root: &Node, message: &str) -> Culprit {
    let (complaint, tags) = (Complaint::of(message), tags());
    let mut search = Search { root: root.clone(), steps: Vec::new(), message };
    // Numbers in `search.steps` count what is left there; these count in `root`.
    let mut culprit = Culprit::default();
    let mut node = root;
    loop {
        if let Complaint::Missing(key, _) = &complaint
            && search.lacks(key)
        {
            break;
        }
        let named = complaint.named_key().and_then(|(key, at_key)| Some((search.blames(key)?, at_key)));
        let step = match named {
            Some((step, _)) => Some(step),
            None => search.first_wrong(&|key| {
                tags.contains(key) || matches!(&complaint, Complaint::Missing(missing, _) if *missing == key)
            }),
        };
        let Some(step) = step else { break };
        let original = match entry(search.node(), step).0 {
            Some(key) => {
                let table = node.get_ref().as_table().expect("the same value, shortened");
                keys(table)
                    .position(|name| name == key.get_ref().as_ref())
                    .expect("only entries were cut off")
            }
            None => step,
        };
        culprit.steps.push(original);
        search.steps.push(step);
        node = entry(node.get_ref(), original).1;
        if let Some((_, true)) = named {
            culprit.at_key = true;
            break;
        }
    }
    culprit
}
