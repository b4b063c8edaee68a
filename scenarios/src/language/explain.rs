//! Serde's messages in the words of scenario files, and what was probably meant.

use sim_models::system::ComponentConfig;

/// Names longer than this are no misspelling of anything.
const LONGEST_NAME: usize = 64;
/// Names shorter than this are no beginning of others.
const SHORTEST_STEM: usize = 4;
/// How many names a help text lists.
const MOST_NAMES: usize = 24;

/// The closest of `candidates`, if it is close.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    if length > LONGEST_NAME {
        return None;
    }
    // One slip in three letters: `p9` may be `p99`, but `cpu` is not `gpu_memory`.
    let tolerated = (length / 3).max(1);
    let distance = |candidate: &'a str| {
        let distance = strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
        (distance <= tolerated).then_some((distance, candidate))
    };
    let short = candidates.into_iter().filter(|candidate| candidate.len() <= 4 * LONGEST_NAME);
    let short: Vec<&str> = short.collect();
    let close =
        short.iter().filter_map(|candidate| distance(candidate)).min_by_key(|(distance, _)| *distance);
    // Only begun, or with more behind it.
    let continued = || {
        let begun = |one: &str, other: &str| one.chars().count() >= SHORTEST_STEM && other.starts_with(one);
        let lower = |candidate: &&&str| candidate.to_lowercase();
        let stem = short.iter().filter(|name| begun(&lower(name), &word)).max_by_key(|name| name.len());
        stem.or_else(|| short.iter().filter(|name| begun(&word, &lower(name))).min_by_key(|name| name.len()))
    };
    close.map(|(_, candidate)| candidate).or_else(|| continued().copied())
}

/// `expected one of a, b, c`, and the one that was probably meant.
pub(super) fn expected_one_of(word: &str, names: &[&str]) -> String {
    let list = match names {
        [] => "nothing is accepted here".to_owned(),
        [only] => format!("expected `{only}`"),
        names if names.len() > MOST_NAMES => {
            format!("expected one of {}, ...", names[..MOST_NAMES].join(", "))
        }
        names => format!("expected one of {}", names.join(", ")),
    };
    match did_you_mean(word, names.iter().copied()) {
        Some(_) if names.len() == 1 => format!("did you mean `{}`?", names[0]),
        Some(close) => format!("did you mean `{close}`? {list}"),
        None => list,
    }
}

/// What serde, the TOML deserializer or a configuration said.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Complaint<'m> {
    /// A key that is not known, and those that are.
    UnknownKey(&'m str, Vec<&'m str>),
    /// A name that is not known, and those that are.
    UnknownName(&'m str, Vec<&'m str>),
    /// A key that is missing, and what else was said.
    Missing(&'m str, Option<&'m str>),
    /// Another type or range than expected.
    Type { found: &'m str, expected: &'m str },
    /// Anything else.
    Other(&'m str),
}

/// The names between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

impl<'m> Complaint<'m> {
    pub fn of(message: &'m str) -> Self {
        let name_and_list = |prefix: &str| {
            // The name is the user's and may hold anything: the list is behind the last "expected".
            let rest = message.strip_prefix(prefix)?;
            let (name, list) =
                rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are no "))?;
            Some((name, quoted(list)))
        };
        if let Some((name, list)) = name_and_list("unknown field `") {
            return Self::UnknownKey(name, list);
        }
        if let Some((name, list)) = name_and_list("unknown variant `") {
            return Self::UnknownName(name, list);
        }
        let keys = message.strip_prefix("unexpected keys in table: ");
        if let Some((names, list)) = keys.and_then(|rest| rest.rsplit_once(", available keys: ")) {
            let name = names.split_once(", ").map_or(names, |(first, _)| first);
            return Self::UnknownKey(name, list.split(", ").filter(|name| !name.is_empty()).collect());
        }
        let missing = message.strip_prefix("missing field `").or_else(|| message.strip_prefix("missing `"));
        if let Some((name, more)) = missing.and_then(|rest| rest.split_once('`')) {
            return Self::Missing(name, more.strip_prefix(": "));
        }
        let wrong =
            message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        if let Some((found, expected)) = wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
            return Self::Type { found, expected };
        }
        Self::Other(message)
    }

    /// A key of the offending table that the message names, and whether the key itself is wrong.
    pub fn named_key(&self) -> Option<(&'m str, bool)> {
        match *self {
            Self::UnknownKey(name, _) | Self::UnknownName(name, _) => Some((name, true)),
            Self::Other(message) => {
                let name = quoted(message).first().copied()?;
                Some((name, message.contains("out of place") || message.contains("second key")))
            }
            _ => None,
        }
    }

    /// Message and help. `place` is the path of the table or value (`components.edge`, nothing at the top),
    /// `key` its last key, or nothing in an array.
    pub fn explain(&self, place: &str, key: Option<&str>) -> (String, Option<String>) {
        let within = if place.is_empty() { "at the top level".to_owned() } else { format!("in {place}") };
        match self {
            Self::UnknownKey(name, names) => {
                (format!("unknown key `{name}` {within}"), Some(expected_one_of(name, names)))
            }
            Self::UnknownName(name, names) => {
                (format!("unknown {} `{name}`", key.unwrap_or("name")), Some(expected_one_of(name, names)))
            }
            Self::Missing("kind", None) if place.starts_with("components.") => (
                format!("missing key `kind` {within}"),
                Some(format!("add `kind = ...`, one of {}", ComponentConfig::KINDS.join(", "))),
            ),
            Self::Missing(name, more) => {
                let help = more.map_or_else(|| format!("add `{name} = ...` {within}"), str::to_owned);
                (format!("missing key `{name}` {within}"), Some(help))
            }
            Self::Type { found, expected } => {
                let what = if place.is_empty() { "the scenario" } else { key.unwrap_or(place) };
                let message = format!("`{what}` is {}", found_in_words(found));
                (message, Some(format!("expected {}", type_in_words(expected))))
            }
            Self::Other(message) => {
                let message = message.lines().next().unwrap_or_default();
                let (message, help) = split_expected(message);
                (message.to_owned(), help)
            }
        }
    }
}

/// Message and help of `... : expected ...`.
pub(super) fn split_expected(message: &str) -> (&str, Option<String>) {
    let split =
        [": expected ", ", expected ", "; accepted: "].iter().find_map(|between| message.split_once(between));
    match split {
        // Of `lognormal: expected ...` the name alone would say nothing.
        Some((message, expected)) if message.contains(' ') => (message, Some(format!("expected {expected}"))),
        _ => (message, None),
    }
}

/// Adds the probable name to the help text of a message about an unknown one:
/// ``unknown component `edg` `` and `expected one of edge, stock`.
pub(super) fn with_suggestion(message: &str, help: &str) -> Option<String> {
    let word = quoted(message.starts_with("unknown").then_some(message)?).first().copied()?;
    let names: Vec<&str> = help.strip_prefix("expected one of ")?.split(", ").collect();
    Some(format!("did you mean `{}`? {help}", did_you_mean(word, names)?))
}

/// What serde calls a value that it found: ``integer `5` ``.
fn found_in_words(found: &str) -> String {
    match found {
        "sequence" => "an array".to_owned(),
        "map" => "a table".to_owned(),
        found => match found.split_once(' ') {
            Some(("string", text)) => format!("the text {text}"),
            Some(("integer" | "boolean", value)) => value.trim_matches('`').to_owned(),
            Some(("floating", value)) => value.trim_start_matches("point ").trim_matches('`').to_owned(),
            _ => found.to_owned(),
        },
    }
}

/// What serde calls a type that it expects: `u32`, `struct FlowConfig`.
fn type_in_words(expected: &str) -> String {
    let nonzero = expected.strip_prefix("a nonzero ");
    let from = u8::from(nonzero.is_some());
    let most = match nonzero.unwrap_or(expected) {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        "u64" | "usize" => u64::MAX,
        "f64" | "f32" => return "a number".to_owned(),
        "a sequence" => return "an array: [..., ...]".to_owned(),
        "a map" => return "a table".to_owned(),
        "a boolean" | "bool" => return "true or false".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum") => {
            return "a table".to_owned();
        }
        other => return other.to_owned(),
    };
    format!("a whole number from {from} to {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_close_is_suggested() {
        let keys = ["timeout", "latency", "cancel_on_timeout", "p99"];
        for (word, meant) in [
            ("timout", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("lantency", Some("latency")),
            ("p9", Some("p99")),
            ("queue", None),
            ("late", Some("latency")),
            ("timeout_after_a_while", Some("timeout")),
            ("can", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(word, keys), meant, "{word}");
        }
        assert_eq!(did_you_mean(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn names_with_quotes_are_told_from_the_list() {
        let complaint = Complaint::of("unknown field `a`, expected `b`, expected one of `x`, `y`");
        assert_eq!(complaint, Complaint::UnknownKey("a`, expected `b", vec!["x", "y"]));
        assert_eq!(
            Complaint::of("unknown field `a`, there are no fields"),
            Complaint::UnknownKey("a", vec![])
        );
        assert_eq!(
            Complaint::of("unexpected keys in table: "),
            Complaint::Other("unexpected keys in table: ")
        );
    }
}
