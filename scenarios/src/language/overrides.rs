//! `--set path=value`: single values of a scenario, changed from outside.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::explain::did_you_mean;
use super::source::{Fault, Source};
use super::tree::{Node, keys, shifted, type_name};

/// Keys of a path. Assumption: scenarios nest to about a third of this.
const MAX_DEPTH: usize = 24;

const USAGE: &str =
    "expected path=value, such as components.edge.servers=4 or links.\"web -> edge\".timeout=250ms";

/// A key of a path, without its quotes, and its place.
#[derive(Debug, Clone, PartialEq)]
struct Segment {
    name: String,
    span: Range<usize>,
}

/// Keys from the top of a scenario to a value.
#[derive(Debug)]
pub(super) struct Path(Vec<Segment>);

/// A path as `--set` takes it, for messages.
pub fn path_text(path: &[String]) -> String {
    let quoted = |key: &String| match key.contains(['.', '=', '"', '\'', ' ']) || key.is_empty() {
        true => format!("{key:?}"),
        false => key.clone(),
    };
    path.iter().map(quoted).collect::<Vec<_>>().join(".")
}

/// Splits `a."b.c".0` into its keys, all at the place of the whole.
pub(super) fn split_path(text: &str, place: Range<usize>) -> Result<Path, Fault> {
    // As an override without a value: what is wrong with the one is wrong with the other.
    let with_value = format!("{text}=");
    let placed = |fault: Fault| {
        Fault { span: place.clone(), ..fault }.help("expected a path such as components.edge.servers")
    };
    let (mut segments, start) = split(&with_value, 0).map_err(placed)?;
    if start < with_value.len() {
        return Err(placed(Fault::new(0..0, format!("`=` in the path `{text}`"))));
    }
    for segment in &mut segments {
        segment.span = place.clone();
    }
    Ok(Path(segments))
}

/// Splits `a."b.c".0=value` into its keys and the place of the value.
fn split(text: &str, base: usize) -> Result<(Vec<Segment>, usize), Fault> {
    let at = |range: Range<usize>| range.start + base..range.end + base;
    let mut segments = Vec::new();
    let mut start = 0;
    loop {
        start += text[start..].len() - text[start..].trim_start().len();
        let rest = &text[start..];
        let (name, end) = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let end = closing(rest, quote)
                    .ok_or_else(|| Fault::new(at(start..text.len()), "a quote is not closed").help(USAGE))?;
                let name = match DeValue::parse(&rest[..end]) {
                    Ok(name) => name.get_ref().as_str().unwrap_or_default().to_owned(),
                    Err(error) => return Err(Fault::new(at(start..start + end), error.message()).help(USAGE)),
                };
                (name, start + end)
            }
            _ => {
                let end = rest.find(['.', '=']).unwrap_or(rest.len());
                (rest[..end].trim_end().to_owned(), start + rest[..end].trim_end().len())
            }
        };
        let behind = text[end..].trim_start();
        let quoted = end > start && text[start..].starts_with(['"', '\'']);
        if name.is_empty() && !quoted {
            return Err(Fault::new(at(start..end), "a key is missing in the path").help(USAGE));
        }
        segments.push(Segment { name, span: at(start..end) });
        if segments.len() > MAX_DEPTH {
            return Err(
                Fault::new(at(start..end), format!("a path of more than {MAX_DEPTH} keys")).help(USAGE)
            );
        }
        let separator = text.len() - behind.len();
        match behind.chars().next() {
            Some('=') => return Ok((segments, separator + 1)),
            Some('.') => start = separator + 1,
            Some(_) => {
                return Err(Fault::new(at(separator..separator), "expected `.` or `=` behind a quoted key")
                    .help(USAGE));
            }
            None => return Err(Fault::new(at(0..text.len()), "there is no `=`").help(USAGE)),
        }
    }
}

/// Splits `path=rest` into the path, as messages write it, and the rest.
///
/// # Errors
/// What is wrong with the path.
pub(crate) fn split_override(text: &str) -> Result<(String, &str), (String, Option<String>)> {
    let (segments, start) = split(text, 0).map_err(|fault| (fault.message, fault.help))?;
    let names: Vec<String> = segments.into_iter().map(|segment| segment.name).collect();
    Ok((path_text(&names), text[start..].trim()))
}

/// The keys of a path as [`path_text`] writes it; none where it cannot be read.
pub(crate) fn path_keys(path: &str) -> Vec<String> {
    let segments = split(&format!("{path}="), 0).map(|(segments, _)| segments).unwrap_or_default();
    segments.into_iter().map(|segment| segment.name).collect()
}

/// Where the quoted text ends that `text` begins with.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// The value: TOML if it is, otherwise text.
pub(super) fn value(text: &str, base: usize) -> Result<Node<'_>, Fault> {
    let start = base + text.len() - text.trim_start().len();
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::new(start..start, "there is no value behind `=`").help("\"\" is the empty text"));
    }
    match DeValue::parse(text) {
        // Nothing in a scenario is a date: it is a text that looks like one.
        Ok(value) if !value.get_ref().is_datetime() => Ok(shifted(value, start)),
        Ok(_) => Ok(Spanned::new(start..start + text.len(), DeValue::String(text.into()))),
        // Who opens a bracket or a quote means TOML.
        Err(error) if text.starts_with(['[', '{', '"', '\'']) => {
            let span = error.span().unwrap_or(0..text.len());
            Err(Fault::new(span.start + start..span.end + start, error.message()))
        }
        Err(_) => Ok(Spanned::new(start..start + text.len(), DeValue::String(text.into()))),
    }
}

/// Applies one override, which begins at `base`.
pub(super) fn apply_one<'a>(root: &mut Node<'a>, text: &'a str, base: usize) -> Result<(), Fault> {
    let (segments, start) = split(text, base)?;
    let value = value(&text[start..], base + start)?;
    set_at(root, &Path(segments), value)
}

/// Puts a value at a path, in place of what is there.
pub(super) fn set_at<'a>(root: &mut Node<'a>, path: &Path, value: Node<'a>) -> Result<(), Fault> {
    let (names, last, parents) = path.parts();
    let mut node = root.get_mut();
    for (depth, segment) in parents.iter().enumerate() {
        node = child(node, &names[..depth], segment)?;
    }
    if let DeValue::Table(table) = node {
        put(table, last, value);
    } else {
        *existing(node, &names[..parents.len()], last)? = value;
    }
    Ok(())
}

/// Puts a value into a table. A key that is there keeps its place among the others, but it is written here now.
fn put<'a>(table: &mut DeTable<'a>, segment: &Segment, value: Node<'a>) {
    let key = Spanned::new(segment.span.clone(), segment.name.clone().into());
    if !table.contains_key(segment.name.as_str()) {
        table.insert(key, value);
        return;
    }
    let mut new = Some((key, value));
    let all = std::mem::take(table).into_iter();
    let other = |(key, value): (Spanned<DeString<'a>>, Node<'a>)| match *key.get_ref() == segment.name {
        true => new.take().unwrap_or((key, value)),
        false => (key, value),
    };
    *table = all.map(other).collect();
}

/// Takes away what is at a path: its default holds again.
pub(super) fn remove_at(root: &mut Node, path: &Path) -> Result<(), Fault> {
    let (names, last, parents) = path.parts();
    let mut node = root.get_mut();
    for (depth, segment) in parents.iter().enumerate() {
        node = existing(node, &names[..depth], segment)?.get_mut();
    }
    existing(node, &names[..parents.len()], last)?;
    match node {
        DeValue::Table(table) => drop(table.remove(last.name.as_str())),
        DeValue::Array(items) => {
            let gone: usize = last.name.parse().expect("the entry was found");
            let kept = items.iter().enumerate().filter(|(index, _)| *index != gone);
            *items = kept.map(|(_, item)| item.clone()).collect();
        }
        _ => unreachable!("only tables and arrays have entries"),
    }
    Ok(())
}

impl Path {
    /// All names, the last key, and those before it.
    fn parts(&self) -> (Vec<String>, &Segment, &[Segment]) {
        let names = self.0.iter().map(|segment| segment.name.clone()).collect();
        let (last, parents) = self.0.split_last().expect("a path has a key");
        (names, last, parents)
    }
}

/// The table or array at a key, made where there may be one.
fn child<'t, 'a>(
    node: &'t mut DeValue<'a>,
    path: &[String],
    segment: &Segment,
) -> Result<&'t mut DeValue<'a>, Fault> {
    if let DeValue::Table(table) = node {
        // A component or a traffic source cannot come into being by one of its keys.
        let named = path.len() == 1 && ["components", "traffic"].contains(&path[0].as_str());
        if !named && !table.contains_key(segment.name.as_str()) {
            let key = Spanned::new(segment.span.clone(), segment.name.clone().into());
            table.insert(key, Spanned::new(segment.span.clone(), DeValue::Table(DeTable::new())));
        }
    }
    Ok(existing(node, path, segment)?.get_mut())
}

fn existing<'t, 'a>(
    node: &'t mut DeValue<'a>,
    path: &[String],
    segment: &Segment,
) -> Result<&'t mut Node<'a>, Fault> {
    let (name, place) = (&segment.name, path_text(path));
    let fault = |message: String| Fault::new(segment.span.clone(), message);
    match node {
        DeValue::Table(table) => {
            if !table.contains_key(name.as_str()) {
                let names: Vec<&str> = keys(table).collect();
                let there = match names.as_slice() {
                    [] => format!("there is nothing in {place}"),
                    names => {
                        format!("there are {}", names.iter().take(24).copied().collect::<Vec<_>>().join(", "))
                    }
                };
                let help = match did_you_mean(name, names.iter().copied()) {
                    Some(close) => format!("did you mean `{close}`? {there}"),
                    None => there,
                };
                return Err(fault(format!("there is no `{name}` in {place}")).help(help));
            }
            Ok(table.get_mut(name.as_str()).expect("the key is there"))
        }
        DeValue::Array(items) => {
            let count = items.len();
            let index = name.parse::<usize>().ok().filter(|index| *index < count);
            let help = match count {
                0 => format!("{place} is empty"),
                1 => format!("{place} has one entry: 0"),
                _ => format!("{place} has {count} entries: 0 to {}", count - 1),
            };
            match index {
                Some(index) => Ok(items.get_mut(index).expect("the index is in range")),
                None => Err(fault(format!("there is no entry `{name}` in {place}")).help(help)),
            }
        }
        leaf => {
            let message = format!("there is no `{name}` in {place}: it is {}", type_name(leaf));
            Err(fault(message).help(format!("set {place} as a whole")))
        }
    }
}

/// Applies all overrides of `source` in order.
pub(super) fn apply<'a>(root: &mut Node<'a>, source: &'a Source) -> Result<(), Fault> {
    source.sets.iter().enumerate().try_for_each(|(index, set)| apply_one(root, set, source.base(index)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> (Vec<String>, &str) {
        let (segments, start) = split(text, 0).unwrap();
        (segments.into_iter().map(|segment| segment.name).collect(), &text[start..])
    }

    #[test]
    fn paths_may_be_quoted() {
        for (text, keys, rest) in [
            ("a=1", &["a"][..], "1"),
            ("a.b.0 = x=y", &["a", "b", "0"], " x=y"),
            ("links.\"web -> edge\".timeout=250ms", &["links", "web -> edge", "timeout"], "250ms"),
            ("links.web -> edge.timeout=250ms", &["links", "web -> edge", "timeout"], "250ms"),
            ("'a.b'.\"c\\\"=d\".\"\"=1", &["a.b", "c\"=d", ""], "1"),
        ] {
            let (found, value) = names(text);
            assert_eq!(
                (found.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), value),
                (keys, rest)
            );
        }
        for (text, span, message) in [
            ("", 0..0, "a key is missing"),
            ("a..b=1", 2..2, "a key is missing"),
            ("a.b", 0..3, "no `=`"),
            ("\"a=1", 0..4, "not closed"),
            ("\"a\"b=1", 3..3, "expected `.` or `=`"),
        ] {
            let fault = split(text, 0).unwrap_err();
            assert_eq!(fault.span, span, "{text}");
            assert!(fault.message.contains(message), "{fault:?}");
        }
        assert!(split(&"a.".repeat(1_000_000), 0).is_err());
    }

    #[test]
    fn values_are_toml_or_text() {
        for (text, toml) in
            [("4", "4"), (" 250ms ", "\"250ms\""), ("12/s", "\"12/s\""), ("true", "true"), ("\"4\"", "\"4\"")]
        {
            let node = value(text, 0).unwrap();
            let expected = DeValue::parse(toml).unwrap();
            assert!(node.get_ref().same_type(expected.get_ref()), "{text}");
            assert_eq!(node.get_ref().as_str(), expected.get_ref().as_str());
        }
        assert_eq!(value("[1, {a = 2}]", 10).unwrap().get_ref().as_array().unwrap()[1].span(), 14..21);
        assert_eq!(value("[1, 2", 10).unwrap_err().span.start, 15);
        assert!(value("  ", 0).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", other in "[a.\"'=0 \\\\]*") {
            for text in [&text, &other] {
                let mut root = Spanned::new(0..0, DeValue::parse("{ a = [1, { b = 2 }] }").unwrap().into_inner());
                let _ = apply_one(&mut root, text, 0);
            }
        }
    }
}
