//! The canonical form of a scenario.

use sim_core::random::stable_hash;
use toml::de::{DeTable, DeValue};

use super::tree::Node;
use crate::scenario::Scenario;

/// Longer arrays are written one entry a line.
const WIDTH: usize = 100;

/// Tables whose entries get a section each.
const NAMED: [&str; 5] = ["traffic", "components", "devices", "links", "slo.class"];

impl Scenario {
    /// [`Loaded::hash`](super::Loaded::hash).
    pub(crate) fn hash(&self) -> u64 {
        let alone = Self { variant: Vec::new(), sweep: None, plan: None, ..self.clone() };
        stable_hash(alone.to_toml().as_bytes())
    }

    /// The scenario as TOML, in a form that depends on its contents alone: sections in a fixed order, every
    /// value in its shortest unit, and defaults of the run spelled out. It reads back as an equal scenario.
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("a scenario has only text keys and values TOML knows");
        let root = DeTable::parse(&text).expect("what the serializer writes is TOML");
        let mut layout = Layout { text: &text, out: String::new() };
        layout.section("", "", root.get_ref());
        layout.out
    }
}

struct Layout<'t> {
    text: &'t str,
    out: String,
}

impl Layout<'_> {
    /// A `[header]` and its entries, then the sections below it. `path` is the header without quotes.
    fn section(&mut self, header: &str, path: &str, table: &DeTable) {
        let below = |key: &str, node: &Node| match path {
            "" => node.get_ref().is_table() || ["fault", "variant"].contains(&key),
            _ => NAMED.contains(&format!("{path}.{key}").as_str()),
        };
        let named = NAMED.contains(&path);
        let is_section = |key: &str, node: &Node| named || below(key, node);
        let own = table.iter().filter(|(key, node)| !is_section(key.get_ref(), node)).count();
        if !path.is_empty() && (own > 0 || table.is_empty() || !(named || path == "slo")) {
            self.header(&format!("[{header}]"));
        }
        for (key, node) in table.iter().filter(|(key, node)| !is_section(key.get_ref(), node)) {
            let value = self.entry(node);
            self.out.push_str(&format!("{} = {value}\n", &self.text[key.span()]));
        }
        for (key, node) in table.iter().filter(|(key, node)| is_section(key.get_ref(), node)) {
            let quoted = &self.text[key.span()];
            let header = if header.is_empty() { quoted.to_owned() } else { format!("{header}.{quoted}") };
            let path =
                if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            match node.get_ref() {
                DeValue::Table(table) => self.section(&header, &path, table),
                DeValue::Array(tables) => tables.iter().for_each(|table| self.repeated(&header, table)),
                _ => unreachable!("sections are tables"),
            }
        }
    }

    fn repeated(&mut self, header: &str, node: &Node) {
        self.header(&format!("[[{header}]]"));
        for (key, node) in node.get_ref().as_table().into_iter().flatten() {
            let value = self.entry(node);
            self.out.push_str(&format!("{} = {value}\n", &self.text[key.span()]));
        }
    }

    fn header(&mut self, header: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(header);
        self.out.push('\n');
    }

    /// A value behind its key.
    fn entry(&self, node: &Node) -> String {
        let line = self.inline(node);
        match node.get_ref() {
            DeValue::Array(items) if line.len() > WIDTH => {
                let lines: String =
                    items.iter().map(|item| format!("    {},\n", self.inline(item))).collect();
                format!("[\n{lines}]")
            }
            _ => line,
        }
    }

    /// A value without line breaks of its own.
    fn inline(&self, node: &Node) -> String {
        match node.get_ref() {
            DeValue::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.inline(item)).collect();
                format!("[{}]", items.join(", "))
            }
            DeValue::Table(table) if table.is_empty() => "{}".to_owned(),
            DeValue::Table(table) => {
                let entry = |(key, node): (&toml::Spanned<toml::de::DeString>, &Node)| {
                    format!("{} = {}", &self.text[key.span()], self.inline(node))
                };
                format!("{{ {} }}", table.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
            _ => self.text[node.span()].to_owned(),
        }
    }
}
