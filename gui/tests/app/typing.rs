//! What is typed into the fields of the inspector.

use eframe::egui::accesskit::Role;
use eframe::egui::{Event, Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use tenfold_gui::{App, Command};

use crate::story::{SHOP, opened, press, until};

/// The shop, with one of its components in the inspector.
fn inspected(name: &str) -> Harness<'static, App> {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = opened(&dir.path().join("shop.toml"), SHOP);
    harness
        .get_by(|node| node.label().is_some_and(|label| label.starts_with(&format!("{name} ("))))
        .click_accesskit();
    harness.run_steps(3);
    harness
}

/// Into a field, in the place of what stands there; the field stays open.
fn type_into(harness: &mut Harness<App>, role: Role, field: &str, text: &str) {
    harness
        .get_by(|node| {
            node.role() == role && node.label().is_some_and(|label| label.trim_start_matches("* ") == field)
        })
        .focus();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    for letter in text.chars() {
        harness.event(Event::Text(letter.to_string()));
        harness.run_steps(1);
    }
}

fn number(harness: &mut Harness<App>, field: &str, text: &str) {
    type_into(harness, Role::SpinButton, field, text);
}

fn edit<'app>(harness: &'app Harness<App>, path: &str) -> Option<&'app str> {
    harness.state().document().unwrap().edit_of(path)
}

const SERVERS: &str = "components.db.servers";
const MEAN: &str = "components.db.service_time.exponential.mean";

#[test]
fn a_number_is_taken_when_it_is_complete() {
    let mut harness = inspected("db");
    // A service without time is refused: 0 is only on the way.
    number(&mut harness, "service_time.exponential.mean", "0.8");
    assert_eq!((harness.state().dialog(), edit(&harness, MEAN)), (None, None));
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!((harness.state().dialog(), edit(&harness, MEAN)), (None, Some("\"0.8ms\"")));
    // What is out of range is refused in words, not cut.
    number(&mut harness, "servers", "0");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label("That cannot be").is_some());
    assert_eq!(edit(&harness, SERVERS), None);
}

#[test]
fn another_unit_is_converted_and_an_unknown_one_refused() {
    let mut harness = inspected("db");
    number(&mut harness, "service_time.exponential.mean", "1s");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!((harness.state().dialog(), edit(&harness, MEAN)), (None, Some("\"1000ms\"")));
    number(&mut harness, "service_time.exponential.mean", "3 parsec");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("unknown unit").is_some(), "{:?}", harness.state().dialog());
    assert_eq!(edit(&harness, MEAN), Some("\"1000ms\""));
}

#[test]
fn keys_that_edit_a_text_are_the_fields() {
    let mut harness = inspected("db");
    let ctx = harness.ctx.clone();
    harness.state_mut().set("run.seed", "5", &ctx);
    harness.run_steps(2);
    let before = harness.state().document().unwrap().hash();
    number(&mut harness, "servers", "12");
    for command in Command::all().filter(|command| command.edits_text()) {
        press(&mut harness, command);
        let app = harness.state();
        assert_eq!(app.document().unwrap().hash(), before, "{command:?}");
        assert_eq!((app.load(), app.time()), (1.0, None), "{command:?}");
        assert!(app.document().unwrap().loaded.scenario.components.contains_key("db"), "{command:?}");
    }
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    assert_eq!(harness.state().document().unwrap().hash(), before, "what was typed was given up");
    press(&mut harness, Command::Undo);
    assert_ne!(harness.state().document().unwrap().hash(), before, "out of the field it is the app's");
}

#[test]
fn what_is_being_typed_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.toml");
    std::fs::write(&file, SHOP).unwrap();
    let mut harness = inspected("page");
    let ctx = harness.ctx.clone();
    harness.state_mut().open(&file, &ctx);
    until(&mut harness, "the result", |app| app.result().is_some());
    harness.get_by(|node| node.label().is_some_and(|label| label.starts_with("page ("))).click_accesskit();
    harness.run_steps(3);
    type_into(&mut harness, Role::TextInput, "steps", "[\"db\", \"db\"]");
    press(&mut harness, Command::Save);
    assert_eq!(harness.state().dialog(), None);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), SHOP.replace("[\"db\"]", "[\"db\", \"db\"]"));
    // A number as well.
    harness.get_by(|node| node.label().is_some_and(|label| label.starts_with("db ("))).click_accesskit();
    harness.run_steps(3);
    number(&mut harness, "servers", "3");
    press(&mut harness, Command::Save);
    assert!(std::fs::read_to_string(&file).unwrap().contains("servers = 3"));
    // And what cannot be is said in the place of the command.
    number(&mut harness, "servers", "many");
    press(&mut harness, Command::Quit);
    assert!(harness.query_by_label("That cannot be").is_some());
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    number(&mut harness, "servers", "4");
    press(&mut harness, Command::Quit);
    assert_eq!(harness.state().dialog().as_deref(), Some("Unsaved(Quit)"));
}
