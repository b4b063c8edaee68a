//! What is shown, as a line for a terminal.

use scenarios::language::BASE;

use super::App;
use crate::command::Tab;
use crate::document::{Document, Origin};

/// A word of a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,%+@".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

impl App {
    /// Whether a command line cannot say what was changed.
    pub(super) fn needs_a_file(&self) -> bool {
        let is_unsaid = |document: &Document| {
            document.is_rebuilt() || (self.tab == Tab::Compare && document.is_unsaved())
        };
        self.document.as_ref().is_some_and(is_unsaid)
    }

    /// What `tenfold` is to be asked for the same.
    pub fn command_line(&self) -> Option<String> {
        let document = self.document.as_ref()?;
        let (before, file) = match &document.origin {
            Origin::File(path) => (String::new(), path.display().to_string()),
            Origin::Library(id) => (format!("tenfold new {id}.toml --from {id}; "), format!("{id}.toml")),
        };
        let verb = match self.tab {
            Tab::Compare => "compare",
            Tab::Stress => "stress",
            Tab::Sweep => "sweep",
            Tab::Plan => "plan",
            _ => "run",
        };
        let mut words = vec!["tenfold".to_owned(), verb.to_owned(), file];
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        if verb != "compare" && document.variant() != BASE {
            add("--variant", document.variant().to_owned());
        }
        for (path, value) in document.overrides() {
            add("--set", format!("{path}={value}"));
        }
        let question = &self.explore.question;
        let for_users = self.tab == Tab::Plan && question.for_users;
        if self.load.0 != 1.0 && verb != "stress" && !for_users {
            add("--scale", format!("{}x", self.load.0));
        }
        match (self.tab, self.baseline.as_ref()) {
            (Tab::Compare, Some(baseline)) => add("--baseline", baseline.clone()),
            (Tab::Sweep, _) => self.explore.axes().into_iter().for_each(|axis| add("--axis", axis)),
            (Tab::Plan, _) => {
                if for_users {
                    add("--users", question.users.to_string());
                    if !question.each.trim().is_empty() {
                        add("--requests-per-user", question.each.trim().to_owned());
                    }
                }
                add("--max-replicas", question.most.to_string());
                add("--pareto", "6".to_owned());
                words.push("--tornado".to_owned());
            }
            _ => {}
        }
        let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        Some(before + &line)
    }
}
