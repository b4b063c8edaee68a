//! The documentation of scenario files, made from their JSON Schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

/// The documentation of all keys as Markdown: `docs/src/reference/scenario.md`.
pub fn reference() -> String {
    let schema = super::schema();
    let mut pages = Pages { schema: &schema, places: BTreeMap::new(), order: Vec::new() };
    pages.visit(&schema, "");
    let mut text = format!(
        "# Scenario files\n\n\
         Every key of a scenario file, its type, its default and what it means. This page is generated from the \
         program, as is the JSON Schema of `tenfold schema`, which gives an editor completion and checks.\n\n\
         Files are TOML and read strictly: a key that is not listed here is an error that says what would be \
         accepted. `NAME` stands for a name of your own. A key without a default is either required or says in \
         its text what holds without it.\n\n\
         {}\n\n",
        described(&schema)
    );
    text.push_str(&table(&pages.rows(&schema)));
    for name in &pages.order {
        pages.section(&mut text, name);
    }
    text
}

/// A row of a table: key, type, default, meaning.
type Row = [String; 4];

/// Definitions of a schema in the order in which a reader meets them.
struct Pages<'a> {
    schema: &'a Value,
    /// Where a definition is used first, as a scenario would write it.
    places: BTreeMap<String, String>,
    order: Vec<String>,
}

impl Pages<'_> {
    fn definition(&self, name: &str) -> &Value {
        &self.schema["$defs"][name]
    }

    /// The name of a definition in words: `DynamicBatchingConfig` is "Dynamic batching", unless something else is.
    fn title(&self, name: &str) -> String {
        let is_known = |name: &&str| self.schema["$defs"].get(name).is_some();
        let (name, number) = match name.strip_suffix('2').filter(is_known) {
            Some(first) => (first, " (2)"),
            None => (name, ""),
        };
        let name = name.strip_suffix("Config").filter(|short| !is_known(short)).unwrap_or(name);
        let mut words = String::new();
        for (at, letter) in name.char_indices() {
            if at > 0 && letter.is_ascii_uppercase() {
                words.push(' ');
                words.push(letter.to_ascii_lowercase());
            } else {
                words.push(letter);
            }
        }
        words + number
    }

    fn anchor(&self, name: &str) -> String {
        self.title(name).to_lowercase().replace(' ', "-").replace(['(', ')'], "")
    }

    /// Goes through everything below a schema that is at this place, in depth first.
    fn visit(&mut self, schema: &Value, place: &str) {
        if let Some(name) = referred(schema) {
            if !self.places.contains_key(name) {
                self.places.insert(name.to_owned(), place.to_owned());
                self.order.push(name.to_owned());
                let definition = self.definition(name).clone();
                self.visit(&definition, place);
            }
            return;
        }
        for alternative in alternatives(schema) {
            self.visit(alternative, place);
        }
        for (key, value) in properties(schema) {
            self.visit(value, &joined(place, key));
        }
        if let Some(values) = named(schema) {
            self.visit(values, &joined(place, "NAME"));
        }
        if let Some(items) = schema.get("items") {
            self.visit(items, place);
        }
    }

    fn section(&self, text: &mut String, name: &str) {
        let definition = self.definition(name);
        let _ = write!(
            text,
            "\n<a id=\"{}\"></a>\n## {}\n\nFirst met at `{}`. {}\n\n",
            self.anchor(name),
            self.title(name),
            self.places[name],
            described(definition)
        );
        let values: Vec<Row> = alternatives(definition).filter_map(|one| self.value_row(one)).collect();
        if !values.is_empty() {
            text.push_str("| value | meaning |\n|---|---|\n");
            for [value, _, _, meaning] in &values {
                let _ = writeln!(text, "| {value} | {meaning} |");
            }
        }
        let untagged = alternatives(definition).filter(|one| tag(one).is_none() && single(one).is_none());
        for rows in std::iter::once(definition).chain(untagged).map(|one| self.rows(one)) {
            if !rows.is_empty() {
                let _ = write!(text, "{}{}", if values.is_empty() { "" } else { "\n" }, table(&rows));
            }
        }
        for alternative in alternatives(definition).filter(|one| tag(one).is_some()) {
            let (key, value) = tag(alternative).expect("filtered");
            let _ = write!(text, "\n### `{key} = \"{value}\"`\n\n{}\n\n", described(alternative));
            let rows: Vec<Row> =
                self.rows(alternative).into_iter().filter(|[own, ..]| *own != format!("`{key}`")).collect();
            match rows.is_empty() {
                true => text.push_str("Nothing more to say.\n"),
                false => text.push_str(&table(&rows)),
            }
        }
        if let Some(examples) = definition["examples"].as_array() {
            let shown: Vec<String> = examples.iter().map(|one| format!("`{one}`")).collect();
            let _ = writeln!(text, "Example: {}.", shown.join(", "));
        }
    }

    /// An alternative that is a value, a definition, or a table with one key.
    fn value_row(&self, schema: &Value) -> Option<Row> {
        if tag(schema).is_some() || schema["type"] == "null" {
            return None;
        }
        let value = match (single(schema), alternatives(schema).next()) {
            (Some((key, inner)), _) => {
                let keys: Vec<String> = properties(inner).map(|(own, _)| format!("`{own}`")).collect();
                match keys.is_empty() {
                    true => format!("`{key}` = {}", self.kind(inner)),
                    false => format!("`{key}` with {}", keys.join(", ")),
                }
            }
            (None, Some(_)) => {
                let inner: Vec<String> = alternatives(schema)
                    .filter_map(|one| self.value_row(one))
                    .map(|[value, ..]| value)
                    .collect();
                inner.join("<br>")
            }
            (None, None) => match properties(schema).next() {
                Some(_) => "a table with the keys below".to_owned(),
                None => self.kind(schema),
            },
        };
        Some([value, String::new(), String::new(), cell(&described(schema))])
    }

    /// A row for every key of a table, and for those of tables that have no definition of their own.
    fn rows(&self, schema: &Value) -> Vec<Row> {
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut rows = Vec::new();
        for (key, value) in properties(schema) {
            let default = match value.get("default") {
                Some(default) if !default.is_null() => format!("`{}`", as_toml(default)),
                _ if required.contains(key) => "required".to_owned(),
                _ => String::new(),
            };
            rows.push([format!("`{key}`"), self.kind(value), default, cell(&described(value))]);
            for [own, kind, default, meaning] in self.rows(value) {
                rows.push([format!("`{key}.{}", own.trim_start_matches('`')), kind, default, meaning]);
            }
        }
        rows
    }

    /// The type of a value in a few words, with links to definitions.
    fn kind(&self, schema: &Value) -> String {
        if let Some(name) = referred(schema) {
            return format!("[{}](#{})", self.title(name).to_lowercase(), self.anchor(name));
        }
        if let Some(value) = schema.get("const") {
            return format!("`{}`", as_toml(value));
        }
        if let Some(values) = schema["enum"].as_array() {
            let shown: Vec<String> = values.iter().map(|one| format!("`{}`", as_toml(one))).collect();
            return shown.join(", ");
        }
        let kinds: Vec<String> =
            alternatives(schema).filter(|one| one["type"] != "null").map(|one| self.kind(one)).collect();
        if !kinds.is_empty() {
            return kinds.join(" or ");
        }
        if let Some(items) = schema.get("items") {
            return format!("list of {}", self.kind(items));
        }
        if let Some(values) = named(schema) {
            return format!("table of names, each {}", self.kind(values));
        }
        let name = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        let word = match name {
            Some("object") => "table",
            Some("boolean") => "true or false",
            Some(word) => word,
            None => "any value",
        };
        let bounds = [("minimum", "from"), ("maximum", "to")]
            .into_iter()
            .filter_map(|(key, word)| schema.get(key).map(|bound| format!(" {word} {bound}")));
        std::iter::once(word.to_owned()).chain(bounds).collect()
    }
}

fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten()
}

fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema["properties"].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// What the values of a table are whose keys are names.
fn named(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|values| values.is_object())
}

/// The key that tells alternatives apart, and its value: `kind` and `service`.
fn tag(schema: &Value) -> Option<(&str, &str)> {
    properties(schema).find_map(|(key, value)| Some((key, value["const"].as_str()?)))
}

/// The only key of a table that has one.
fn single(schema: &Value) -> Option<(&str, &Value)> {
    let mut all = properties(schema);
    all.next().filter(|_| all.next().is_none())
}

fn joined(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// The text of a schema, with links into the source taken out.
fn described(schema: &Value) -> String {
    let mut text = schema["description"].as_str().unwrap_or_default();
    let mut out = String::new();
    while let Some(start) = text.find('[') {
        let (before, rest) = text.split_at(start);
        out.push_str(before);
        let inner = rest.find(']').map(|end| (&rest[1..end], &rest[end + 1..]));
        match inner {
            Some((words, behind)) if behind.starts_with('(') && !behind.starts_with("(http") => {
                out.push_str(words);
                text = behind.split_once(')').map_or("", |(_, behind)| behind);
            }
            Some((words, behind)) if words.starts_with('`') => {
                out.push_str(words);
                text = behind;
            }
            _ => {
                out.push('[');
                text = &rest[1..];
            }
        }
    }
    out + text
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace("\n\n", "<br>").replace('\n', " ").replace('|', "\\|")
}

fn table(rows: &[Row]) -> String {
    let mut text = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    for [key, kind, default, meaning] in rows {
        let _ = writeln!(text, "| {key} | {kind} | {default} | {meaning} |");
    }
    text
}

/// A value as a scenario writes it.
fn as_toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(as_toml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(table) if table.is_empty() => "{}".to_owned(),
        Value::Object(table) => {
            let pairs: Vec<String> =
                table.iter().map(|(key, value)| format!("{key} = {}", as_toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/scenario.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == reference(),
            "docs/src/reference/scenario.md is stale: renew it with \
             `cargo run -p scenarios --example scenario_md > docs/src/reference/scenario.md`"
        );
    }

    #[test]
    fn every_definition_has_a_section_and_every_link_a_target() {
        let text = reference();
        let schema = super::super::schema();
        let pages = Pages { schema: &schema, places: BTreeMap::new(), order: Vec::new() };
        let mut anchors = BTreeSet::new();
        for name in schema["$defs"].as_object().expect("definitions").keys() {
            let anchor = pages.anchor(name);
            assert!(text.contains(&format!("<a id=\"{anchor}\"></a>")), "{name}");
            assert!(anchors.insert(anchor), "two sections for {name}");
        }
        for link in text.split("](#").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            assert!(anchors.contains(target), "no section {target}");
        }
        for key in
            ["`service_time`", "`max_num_batched_tokens`", "`sliding_window_size`", "### `kind = \"llm\"`"]
        {
            assert!(text.contains(key), "{key}");
        }
    }

    #[test]
    fn names_and_texts_are_for_readers() {
        let schema =
            serde_json::json!({ "$defs": { "Law": {}, "Law2": {}, "Store": {}, "StoreConfig": {} } });
        let pages = Pages { schema: &schema, places: BTreeMap::new(), order: Vec::new() };
        for (name, title, anchor) in [
            ("HealthConfig", "Health", "health"),
            ("StoreConfig", "Store config", "store-config"),
            ("Law2", "Law (2)", "law-2"),
            ("Gradient2Config", "Gradient2", "gradient2"),
        ] {
            assert_eq!((pages.title(name).as_str(), pages.anchor(name).as_str()), (title, anchor));
        }
        let text =
            serde_json::json!({ "description": "See [`X`](crate::x), [`Y`] and M[X] of [a](https://b)." });
        assert_eq!(described(&text), "See `X`, `Y` and M[X] of [a](https://b).");
    }
}
