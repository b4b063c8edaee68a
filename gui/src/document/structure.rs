//! Components that come and go, and variants that are kept.

use scenarios::language::{BASE, path_text};
use scenarios::scenario::VariantConfig;
use scenarios::{Scenario, ScenarioError};
use serde_json::Value;

use super::{Arc, Document, again};

/// What can be added: kind, and the least that one needs besides its kind; `{}` stands for a component that it calls.
pub const KINDS: [(&str, &str); 13] = [
    ("service", "servers = 4, service_time = { exponential = { mean = \"50ms\" } }"),
    ("flow", "steps = [\"{}\"]"),
    ("llm", "model = \"llama-3.1-8b\", gpu = \"h100-sxm\", replicas = 1"),
    ("external_api", "ttft = \"500ms\", time_per_output_token = \"20ms\""),
    ("model_server", "gpu = \"l4\", execution = { fixed = \"4ms\", per_item = \"0.2ms\" }"),
    ("feature_store", "features = 50, lookup = { exponential = { mean = \"1ms\" } }"),
    ("vector_index", "vectors = 1000000, dimensions = 768"),
    ("router", "policy = \"random\", shares = { \"{}\" = 1 }"),
    (
        "cascade",
        "stages = [{ call = \"{}\", verifier = { true_positive_rate = 0.8, false_positive_rate = 0.2 } }, { call = \"{}\" }]",
    ),
    ("semantic_cache", "call = \"{}\""),
    ("queue", "target = \"{}\", consumers = 4, store_time = \"2ms\""),
    ("pipeline", "interval = \"1h\", volume = \"10GB\", task_volume = \"1GB\", task_time = \"10s\""),
    ("training", "work = \"24h\", gpu = \"h100-sxm\""),
];

/// A value of an override as a variant has it.
pub(super) fn json_of(value: &str) -> Value {
    let table = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    let value_of = |mut table: toml::Table| serde_json::to_value(table.remove("value")?).ok();
    table.and_then(value_of).unwrap_or_else(|| Value::String(value.to_owned()))
}

fn toml_of(value: &Value) -> Option<String> {
    toml::Value::try_from(value).ok().map(|value| value.to_string())
}

pub(super) fn path(keys: &[&str]) -> String {
    path_text(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>())
}

/// A name that nothing has yet: `wanted`, or `wanted_2` and so on.
fn unused(wanted: &str, is_used: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{wanted}_{number}"));
    let mut all = std::iter::once(wanted.to_owned()).chain(numbered);
    all.find(|name| !is_used(name)).expect("numbers do not end")
}

fn names_it(link: &str, name: &str) -> bool {
    link.split("->").any(|end| end.trim() == name)
}

/// What is told of a component in the scenario besides itself.
fn without(scenario: &mut Scenario, name: &str) -> bool {
    let was_there = scenario.components.shift_remove(name).is_some();
    let had_traffic = scenario.traffic.shift_remove(name).is_some();
    let links = scenario.links.len();
    scenario.links.retain(|link, _| !names_it(link, name));
    scenario.placement.shift_remove(name);
    let faults = scenario.fault.len();
    scenario.fault.retain(|fault| fault.target != name);
    was_there || had_traffic || links != scenario.links.len() || faults != scenario.fault.len()
}

/// The lists of a component without those of their entries that call another, as paths and values.
fn mended(scenario: &Scenario, gone: &str) -> Vec<(String, String)> {
    let mut mended = Vec::new();
    for (caller, component) in scenario.components.iter().filter(|(caller, _)| *caller != gone) {
        let Ok(mut value) = serde_json::to_value(component) else { continue };
        let calls: Vec<Vec<String>> = component
            .callees()
            .into_iter()
            .filter(|(_, callee)| *callee == gone)
            .map(|(keys, _)| keys)
            .collect();
        let mut lists: Vec<Vec<String>> = Vec::new();
        // From the back, so that numbers of entries stay what they are.
        for keys in calls.iter().rev() {
            let mut inner = (0..keys.len()).rev().map(|length| (&keys[..length], &keys[length]));
            let at = |keys: &[String]| format!("/{}", keys.join("/"));
            let list = inner.find_map(|(list, entry)| {
                let pointer = if list.is_empty() { String::new() } else { at(list) };
                match value.pointer_mut(&pointer)? {
                    Value::Array(entries) => {
                        let number = entry.parse().ok().filter(|number| *number < entries.len())?;
                        entries.remove(number);
                        Some(list)
                    }
                    Value::Object(table) if entry == gone => table.remove(entry).map(|_| list),
                    _ => None,
                }
            });
            lists.extend(list.map(<[String]>::to_vec));
        }
        lists.dedup();
        for list in lists {
            let text = value.pointer(&format!("/{}", list.join("/"))).and_then(toml_of);
            let keys: Vec<&str> =
                ["components", caller].into_iter().chain(list.iter().map(String::as_str)).collect();
            mended.extend(text.map(|text| (path(&keys), text)));
        }
    }
    mended
}

impl Document {
    /// Adds a component of a kind of `KINDS` with the least that it needs, and gives its name. What calls others calls
    /// `callee` at first.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn add(&mut self, kind: &str, callee: Option<&str>) -> Result<String, ScenarioError> {
        let scenario = &self.loaded.scenario;
        let (_, least) = KINDS
            .iter()
            .find(|(known, _)| *known == kind)
            .ok_or_else(|| ScenarioError::new(format!("there is no kind `{kind}`")))?;
        let callee = callee.filter(|name| scenario.components.contains_key(*name));
        let callee = callee.or(scenario.components.keys().next().map(String::as_str)).unwrap_or_default();
        let is_used =
            |name: &str| scenario.components.contains_key(name) || scenario.traffic.contains_key(name);
        let name = unused(kind, is_used);
        let value = format!("{{ kind = \"{kind}\", {} }}", least.replace("{}", callee));
        self.set(&path(&["components", &name]), &value, false)?;
        Ok(name)
    }

    /// Takes a component or traffic source away, with what is told of it elsewhere: its links, its faults, and where it
    /// stands in a list of what another calls.
    ///
    /// # Errors
    /// When something else needs it: who does. Everything stays as it was.
    pub fn remove(&mut self, name: &str) -> Result<(), ScenarioError> {
        let mut next = self.present.clone();
        let mut scenario = next.base.scenario.clone();
        if without(&mut scenario, name) {
            next.base = Arc::new(again(&next.base, &scenario)?);
        }
        let own = [path(&["components", name]), path(&["traffic", name]), path(&["placement", name])];
        let is_of = |known: &str| {
            let below = |whole: &String| known == whole || known.starts_with(&format!("{whole}."));
            let of_link = known.strip_prefix("links.\"").and_then(|rest| rest.split('"').next());
            own.iter().any(below) || of_link.is_some_and(|link| names_it(link, name))
        };
        for edits in next.edits.values_mut() {
            edits.retain(|(known, _)| !is_of(known));
        }
        next.edits.retain(|_, edits| !edits.is_empty());
        for (path, value) in mended(&self.loaded.scenario, name) {
            next.put(&path, Some(&value));
        }
        self.open = None;
        self.turn_to(next, true)
    }

    /// Keeps what is shown as a variant of its own, shows it, and gives its name. What was changed is a part of the new
    /// variant, and no longer of what it was changed in.
    ///
    /// # Errors
    /// As [`Document::set`].
    pub fn keep(&mut self, name: &str) -> Result<String, ScenarioError> {
        let mut next = self.present.clone();
        let mut scenario = next.base.scenario.clone();
        let is_used = |name: &str| name == BASE || scenario.variant.iter().any(|one| one.name == name);
        let wanted = match name.trim() {
            "" => "variant",
            name => name,
        };
        let name = unused(wanted, is_used);
        let shown = scenario.variant.iter().find(|one| one.name == next.variant);
        let mut kept =
            VariantConfig { name: name.clone(), description: None, ..shown.cloned().unwrap_or_else(empty) };
        for (path, value) in next.edits.remove(&next.variant).unwrap_or_default() {
            kept.set.insert(path, json_of(&value));
        }
        scenario.variant.push(kept);
        next.base = Arc::new(again(&next.base, &scenario)?);
        next.variant.clone_from(&name);
        self.open = None;
        self.turn_to(next, true)?;
        Ok(name)
    }
}

fn empty() -> VariantConfig {
    VariantConfig { name: String::new(), description: None, set: Default::default(), unset: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        Document::library("ten-times").unwrap()
    }

    #[test]
    fn every_kind_can_be_added_and_removed_again() {
        for (kind, _) in KINDS {
            let mut document = document();
            let before = document.hash();
            let name = document.add(kind, None).unwrap_or_else(|error| panic!("{kind}: {error:?}"));
            assert_eq!(document.loaded.scenario.components[&name].kind(), kind);
            let another = document.add(kind, None).unwrap();
            assert!(another != name && another.starts_with(kind), "{another}");
            document.remove(&another).unwrap();
            document.remove(&name).unwrap();
            assert_eq!(document.hash(), before, "{kind}");
        }
    }

    #[test]
    fn what_called_a_component_is_mended_or_named() {
        let mut document = Document::library("feature-store").unwrap();
        let called: Vec<String> = document.loaded.scenario.components.keys().cloned().collect();
        let before = document.hash();
        let mut gone = 0;
        for name in called {
            match document.remove(&name) {
                Ok(()) => {
                    gone += 1;
                    assert!(
                        !document.text().contains(&format!("[components.{name}]")),
                        "{}",
                        document.text()
                    );
                    document.undo();
                    assert_eq!(document.hash(), before);
                }
                Err(error) => assert!(format!("{error:?}").contains(&name), "{error:?}"),
            }
        }
        assert!(gone > 0);
    }

    #[test]
    fn a_new_component_is_connected_and_saved() {
        let mut document = document();
        let flow = document.add("flow", None).unwrap();
        let service = document.add("service", None).unwrap();
        document.connect(&flow, &service).unwrap();
        let source = document.loaded.scenario.traffic.keys().next().unwrap().clone();
        document.connect(&source, &flow).unwrap();
        assert!(document.connect(&service, &flow).is_err(), "a service calls nobody");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("saved.toml");
        document.save(&file).unwrap();
        assert_eq!(Document::open(&file).unwrap().hash(), document.hash());
    }

    #[test]
    fn what_is_kept_is_a_variant_and_the_rest_as_it_was() {
        let mut document = document();
        let before = document.hash();
        document.set("run.seed", "7", false).unwrap();
        let changed = document.hash();
        assert_eq!(document.keep("seven").unwrap(), "seven");
        assert_eq!((document.variant(), document.hash()), ("seven", changed));
        document.show_variant(BASE).unwrap();
        assert_eq!(document.hash(), before);
        // What is changed in a variant is the variant's, in the file too.
        document.show_variant("seven").unwrap();
        document.set("run.seed", "8", false).unwrap();
        let again = document.whole().unwrap();
        assert_eq!(again.scenario.run.seed, 1);
        assert_eq!(again.variant("seven").unwrap().scenario.run.seed, 8);
        assert_eq!(document.keep("seven").unwrap(), "seven_2");
        for _ in 0..4 {
            document.undo();
        }
        assert_eq!((document.hash(), document.variants().any(|name| name == "seven")), (changed, true));
    }
}
