//! A scenario as parsed TOML: every key and value with its place in a [`Source`](super::source::Source).

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::source::{Fault, Source};

/// A value and its place.
pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// The same value, that many bytes further on.
pub(super) fn shifted<'a>(node: Node<'a>, by: usize) -> Node<'a> {
    let shift = |span: Range<usize>| span.start + by..span.end + by;
    let span = shift(node.span());
    let value = match node.into_inner() {
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| shifted(item, by)).collect::<DeArray>())
        }
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| (Spanned::new(shift(key.span()), key.into_inner()), shifted(value, by)))
                .collect::<DeTable>(),
        ),
        leaf => leaf,
    };
    Spanned::new(span, value)
}

/// What a value is, with its article.
pub(super) fn type_name(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Whether a value is a table without braces of its own, under a `[header]` or made by dotted keys: its key
/// is its place.
pub(super) fn is_header(node: &Node, source: &Source) -> bool {
    node.get_ref().is_table() && source.byte(node.span().start) != Some(b'{')
}

/// The keys of a table.
pub(super) fn keys<'t>(table: &'t DeTable<'_>) -> impl Iterator<Item = &'t str> {
    table.keys().map(|key| key.get_ref().as_ref())
}

/// Refuses numbers that TOML can write and that mean nothing in a scenario, and texts that a terminal would obey.
pub(super) fn check_values(node: &Node) -> Result<(), Fault> {
    match node.get_ref() {
        DeValue::String(text) => check_text(text, node.span()),
        DeValue::Float(float) => {
            let (text, value) = (float.as_str(), float.as_str().parse::<f64>());
            let written_infinite = text.trim_start_matches(['+', '-']) == "inf";
            match value {
                Ok(value) if value.is_finite() => Ok(()),
                Ok(value) if value.is_infinite() && !written_infinite => {
                    Err(Fault::new(node.span(), format!("`{text}` is beyond the range of numbers"))
                        .help("expected a number up to 1.8e308"))
                }
                _ => Err(Fault::new(node.span(), format!("`{text}` is not a number that can be used"))
                    .help("expected a finite number")),
            }
        }
        DeValue::Integer(integer) => {
            let (text, radix) = (integer.as_str(), integer.radix());
            if i64::from_str_radix(text, radix).is_ok() || u64::from_str_radix(text, radix).is_ok() {
                return Ok(());
            }
            Err(Fault::new(node.span(), format!("`{integer}` is beyond the range of integers"))
                .help("expected an integer from -2^63 to 2^64 - 1"))
        }
        DeValue::Array(items) => items.iter().try_for_each(check_values),
        DeValue::Table(table) => table.iter().try_for_each(|(key, value)| match value.get_ref() {
            // The one text that may have several lines.
            DeValue::String(text) if key.get_ref() == "description" => {
                check_text(&text.replace(['\n', '\r', '\t'], ""), value.span())
            }
            _ => check_text(key.get_ref(), key.span()).and_then(|()| check_values(value)),
        }),
        _ => Ok(()),
    }
}

fn check_text(text: &str, span: Range<usize>) -> Result<(), Fault> {
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(c) => {
            Err(Fault::new(span, format!("a control character, {}, in a name or a text", c.escape_unicode()))
                .help("expected letters, digits, spaces and signs"))
        }
    }
}

/// Where every value stands, without the values.
#[derive(Debug, Clone)]
pub(super) struct Places {
    key: Option<Range<usize>>,
    value: Range<usize>,
    header: bool,
    children: BTreeMap<String, Places>,
}

impl Places {
    /// The places of a value, which has this key.
    pub fn new(key: Option<&Spanned<DeString>>, node: &Node, source: &Source) -> Self {
        let children = match node.get_ref() {
            DeValue::Array(items) => {
                let place =
                    |(index, item): (usize, &Node)| (index.to_string(), Self::new(None, item, source));
                items.iter().enumerate().map(place).collect()
            }
            DeValue::Table(table) => {
                let place = |(key, value): (&Spanned<DeString>, &Node)| {
                    (key.get_ref().to_string(), Self::new(Some(key), value, source))
                };
                table.iter().map(place).collect()
            }
            _ => BTreeMap::new(),
        };
        let header = is_header(node, source);
        Self { key: key.map(Spanned::span), value: node.span(), header, children }
    }

    /// Where the value is.
    pub fn value(&self) -> Range<usize> {
        match &self.key {
            Some(key) if self.header => key.clone(),
            _ => self.value.clone(),
        }
    }

    /// Where its key is.
    pub fn key(&self) -> Range<usize> {
        self.key.clone().unwrap_or_else(|| self.value.clone())
    }

    /// The value at a path, or the closest one around it, and how many keys lead to it.
    pub fn closest(&self, path: &[String]) -> (&Self, usize) {
        match path.split_first().and_then(|(key, rest)| Some((self.children.get(key)?, rest))) {
            Some((child, rest)) => {
                let (place, depth) = child.closest(rest);
                (place, depth + 1)
            }
            None => (self, 0),
        }
    }
}
