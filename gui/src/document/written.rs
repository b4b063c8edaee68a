//! The text of a scenario's file: as it was read or written last, and with what has changed since put into it, so that
//! comments and layout stay.

use std::path::{Component, Path, PathBuf};

use scenarios::Scenario;
use toml::{Table, Value};
use toml_edit::visit_mut::{VisitMut, visit_table_like_kv_mut, visit_table_mut};
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, KeyMut, TableLike};

/// A text, and the scenario that it says.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub text: String,
    canonical: String,
}

impl Written {
    pub fn new(text: &str, scenario: &Scenario) -> Self {
        Self { text: text.to_owned(), canonical: scenario.to_toml() }
    }

    /// What says this scenario with the fewest changes; none where its comments and its layout cannot be kept.
    pub fn with(&self, now: &Scenario) -> Option<String> {
        let canonical = now.to_toml();
        if canonical == self.canonical {
            return Some(self.text.clone());
        }
        let mut text: DocumentMut = self.text.parse().ok()?;
        let form: DocumentMut = canonical.parse().ok()?;
        let (old, new): (Table, Table) = (self.canonical.parse().ok()?, canonical.parse().ok()?);
        put_all(text.as_table_mut(), &old, &new, form.as_table());
        let text = text.to_string();
        // A file may say things in other words than the canonical text: what was put into it must say the same.
        let again = scenarios::parse(&text, &now.name, Path::new("."), &[]).ok()?;
        (again.scenario.to_toml() == canonical).then_some(text)
    }

    /// Whether a text of its own would be lost with its comments and its layout.
    pub fn has_layout(&self) -> bool {
        self.text != self.canonical
    }
}

/// Puts what is different between two canonical tables into a table of a text.
fn put_all(text: &mut dyn TableLike, old: &Table, new: &Table, form: &dyn TableLike) {
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        text.remove(key);
    }
    for (key, value) in new {
        let before = old.get(key);
        if let Some(form) = form.get(key).filter(|_| before != Some(value)) {
            put(text, key, before, value, form);
        }
    }
}

fn put(text: &mut dyn TableLike, key: &str, old: Option<&Value>, new: &Value, form: &Item) {
    let is_inline = form.is_inline_table();
    if let (Some(Value::Table(old)), Value::Table(new), Some(form)) = (old, new, form.as_table_like()) {
        // What the canonical text spells out may be left to its default here.
        if text.get(key).is_none() {
            let empty = if is_inline { Item::Value(InlineTable::new().into()) } else { toml_edit::table() };
            text.insert(key, empty);
        }
        if let Some(here) = text.get_mut(key).and_then(Item::as_table_like_mut) {
            return put_all(here, old, new, form);
        }
    }
    match (text.get_mut(key), old, new, form) {
        (
            Some(Item::ArrayOfTables(here)),
            Some(Value::Array(old)),
            Value::Array(new),
            Item::ArrayOfTables(form),
        ) if here.len() == old.len() => put_entries(here, old, new, form),
        (Some(Item::Value(here)), _, _, Item::Value(form)) => {
            // With the comment that stands behind it.
            let decor = here.decor().clone();
            *here = form.clone();
            *here.decor_mut() = decor;
        }
        _ => _ = text.insert(key, anywhere(form)),
    }
}

/// Entries that are the same at the beginning and at the end stay; those between are changed one by one.
fn put_entries(here: &mut ArrayOfTables, old: &[Value], new: &[Value], form: &ArrayOfTables) {
    let first = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[first..], &new[first..]);
    let last = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let (gone, come) = (old_rest.len() - last, new_rest.len() - last);
    for place in first..first + gone.max(come) {
        match (old.get(place).filter(|_| place < first + gone), new.get(place), form.get(place)) {
            (Some(Value::Table(old)), Some(Value::Table(new)), Some(form)) if place < first + come => {
                if let Some(here) = here.get_mut(place) {
                    put_all(here, old, new, form);
                }
            }
            (Some(_), ..) => _ = here.remove(first + come),
            (None, Some(_), Some(form)) => {
                let mut table = form.clone();
                Anywhere.visit_table_mut(&mut table);
                here.insert(place, table);
            }
            _ => {}
        }
    }
}

/// A part of another text, without its place there.
fn anywhere(form: &Item) -> Item {
    let mut item = form.clone();
    Anywhere.visit_item_mut(&mut item);
    item
}

struct Anywhere;

impl VisitMut for Anywhere {
    fn visit_table_mut(&mut self, node: &mut toml_edit::Table) {
        node.set_position(None);
        visit_table_mut(self, node);
    }
}

/// A text whose files are looked for in one directory, to stand in another: what was there by a relative path is named
/// from the new place, or by its whole path where none leads there.
pub(super) fn moved(text: String, from: &Path, to: &Path) -> String {
    let (from, to) = (whole(from), whole(to));
    let parsed = if from == to { None } else { text.parse::<DocumentMut>().ok() };
    let Some(mut document) = parsed else { return text };
    Moved { from, to }.visit_document_mut(&mut document);
    document.to_string()
}

struct Moved {
    from: PathBuf,
    to: PathBuf,
}

impl VisitMut for Moved {
    fn visit_table_like_kv_mut(&mut self, key: KeyMut<'_>, node: &mut Item) {
        if let Item::Value(value) = node
            && let Some(path) = value.as_str().and_then(|text| self.path(key.get(), text))
        {
            let decor = value.decor().clone();
            *value = path.into();
            *value.decor_mut() = decor;
        }
        visit_table_like_kv_mut(self, key, node);
    }
}

impl Moved {
    /// The new path of what a key names; none where that is no file by a relative path. Keys of variants are paths.
    fn path(&self, key: &str, text: &str) -> Option<String> {
        let file = self.from.join(text);
        if !scenarios::language::names_file(key, text) || Path::new(text).is_absolute() || !file.is_file() {
            return None;
        }
        let leads_there = |path: &PathBuf| {
            // Not through a link that leads elsewhere.
            self.to
                .join(path)
                .canonicalize()
                .is_ok_and(|found| file.canonicalize().is_ok_and(|own| own == found))
        };
        let found = relative(&self.to, &whole(&file)).filter(leads_there).unwrap_or_else(|| whole(&file));
        Some(found.display().to_string())
    }
}

/// The path from a directory to a file, both from the root; none where they have no root in common.
fn relative(from: &Path, file: &Path) -> Option<PathBuf> {
    let common = from.components().zip(file.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    (common > 0).then(|| up.chain(file.components().skip(common)).collect())
}

/// A path from the root, without steps up.
fn whole(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let mut whole = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::ParentDir => _ = whole.pop(),
            part => whole.push(part),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    const TEXT: &str = r#"# The shop as it is.
name = "Shop"

[run]
duration = "60s" # a minute suffices
seed = 3

[traffic.web]
arrivals = { process = "poisson", rate = "8/s" } # at noon
entry = "page"

# Asks the database.
[components.page]
kind = "flow"
steps = ["db"]

# The bottleneck.
[components.db]
kind = "service"
servers = 2   # one too few
service_time = { exponential = { mean = "0.1s" } }

# What was bought.
[[variant]]
name = "more"
set = { "components.db.servers" = 30 }

# What was too dear.
[[variant]]
name = "most"
set = { "components.db.servers" = 99 }
"#;

    fn document(dir: &Path) -> Document {
        std::fs::write(dir.join("shop.toml"), TEXT).unwrap();
        Document::open(&dir.join("shop.toml")).unwrap()
    }

    #[test]
    fn comments_and_layout_stay_beside_what_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let mut document = document(dir.path());
        assert_eq!(document.text(), TEXT, "nothing has changed");
        document.set("components.db.servers", "5", false).unwrap();
        document.set("traffic.web.arrivals.rate", "\"9/s\"", false).unwrap();
        document.set("run.replications", "4", false).unwrap();
        let wanted = TEXT
            .replace("servers = 2 ", "servers = 5 ")
            .replace("8/s", "9/s")
            .replace("seed = 3\n", "seed = 3\nreplications = 4\n");
        assert_eq!(document.text(), wanted);
        document.undo();
        document.save(&dir.path().join("shop.toml")).unwrap();
        assert_eq!(document.text(), wanted.replace("replications = 4\n", ""));
        document.redo();
        document.undo();
        document.undo();
        assert_eq!(document.text(), TEXT.replace("servers = 2 ", "servers = 5 "));
    }

    #[test]
    fn components_and_variants_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut document = document(dir.path());
        document.set("run.seed", "4", false).unwrap();
        document.keep("other").unwrap();
        document.show_variant("base").unwrap();
        document.add("queue", Some("db")).unwrap();
        let text = document.text().to_owned();
        for comment in TEXT.lines().filter_map(|line| line.split_once('#')) {
            assert!(text.contains(comment.1), "{}: {text}", comment.1);
        }
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        assert!(place("[components.db]") < place("[components.queue]"));
        assert!(place("[components.queue]") < place("# What was bought."));
        assert!(place("\"most\"") < place("\"other\""));
        document.remove("queue").unwrap();
        assert!(!document.text().contains("queue"), "{}", document.text());
    }

    #[test]
    fn entries_that_go_take_their_own_comments_only() {
        let scenario = |text: &str| scenarios::parse(text, "test", Path::new("."), &[]).unwrap().scenario;
        let all = scenario(TEXT);
        let written = Written::new(TEXT, &all);
        let mut fewer = all.clone();
        fewer.variant.remove(0);
        let text = written.with(&fewer).unwrap();
        assert!(text.contains("# What was too dear.") && !text.contains("# What was bought."), "{text}");
        let mut other = all.clone();
        other.variant[0].name = "some".to_owned();
        let wanted = TEXT.replace("\"more\"", "\"some\"");
        assert_eq!(written.with(&other).unwrap(), wanted);
        let mut more = all;
        let first = more.variant[0].clone();
        more.variant.insert(1, scenarios::scenario::VariantConfig { name: "between".to_owned(), ..first });
        let text = written.with(&more).unwrap();
        let place = |part: &str| text.find(part).unwrap();
        assert!(place("\"more\"") < place("between") && place("between") < place("# What was too"), "{text}");
    }

    #[test]
    fn what_cannot_be_put_into_a_text_is_not() {
        let loaded = scenarios::parse(TEXT, "test", Path::new("."), &[]).unwrap();
        let mut now = loaded.scenario.clone();
        now.run.seed = 9;
        let written = Written::new("name = [broken", &loaded.scenario);
        assert!(written.with(&now).is_none() && written.has_layout());
        let written = Written::new(&loaded.scenario.to_toml(), &loaded.scenario);
        assert!(!written.has_layout());
        assert_eq!(written.with(&now).unwrap(), now.to_toml());
    }

    #[test]
    fn files_are_named_from_the_new_place() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new/below"));
        for dir in [&old, &new] {
            std::fs::create_dir_all(dir).unwrap();
        }
        std::fs::write(old.join("trace.csv"), "").unwrap();
        let text = "a = { path = \"trace.csv\" } # real\nb.path = \"none.csv\"\nset = { \"a.path\" = \"trace.csv\" }\n\
                    model = \"trace.csv\"\n";
        let wanted = text.replace("path = \"trace", "path = \"../../old/trace");
        let wanted = wanted.replace("\"a.path\" = \"trace", "\"a.path\" = \"../../old/trace");
        assert_eq!(moved(text.to_owned(), &old, &new), wanted);
        assert_eq!(moved(wanted, &new, &old), text);
        assert_eq!(moved(text.to_owned(), &old, &old.join("../old")), text);
    }
}
