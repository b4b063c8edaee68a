//! Whole stories, by menu, keys and mouse, without a window.

use std::path::Path;
use std::time::Duration;

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use tenfold_gui::{App, Command, MENUS, Tab};

pub fn harness() -> Harness<'static, App> {
    Harness::builder()
        .with_size([1280.0, 800.0])
        .with_max_steps(64)
        .build_ui_state(|ui, app: &mut App| app.frame(ui), App::default())
}

/// Draws frames until something holds; a spinner never comes to rest.
pub fn until(harness: &mut Harness<App>, what: &str, mut holds: impl FnMut(&App) -> bool) {
    for _ in 0..3_000 {
        harness.step();
        if holds(harness.state()) {
            // What has come is drawn.
            harness.run_steps(2);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not within a minute: {what}");
}

pub fn press(harness: &mut Harness<App>, command: Command) {
    let keys = command.shortcut();
    harness.key_press_modifiers(keys.modifiers, keys.logical_key);
    harness.run_steps(2);
}

pub fn open(id: &str) -> Harness<'static, App> {
    let mut harness = harness();
    harness.run_steps(2);
    let ctx = harness.ctx.clone();
    harness.state_mut().open_library(id, &ctx);
    until(&mut harness, "the result", |app| app.result().is_some());
    harness
}

#[test]
fn a_scenario_of_the_library_is_one_click_away() {
    let mut harness = harness();
    harness.run_steps(2);
    harness.get_by_label("What do slow features cost?").click();
    until(&mut harness, "the result", |app| app.result().is_some());
    let app = harness.state();
    assert_eq!(app.document().unwrap().origin, tenfold_gui::Origin::Library("feature-store"));
    assert!(harness.query_by_label("Findings").is_some());
}

#[test]
fn an_edit_is_run_and_undone() {
    let mut harness = open("queueing-basics");
    let before = harness.state().result().unwrap().provenance.fingerprints.clone();
    let hash = harness.state().document().unwrap().hash();
    let name = harness.state().document().unwrap().loaded.scenario.components.keys().next().unwrap().clone();
    let node =
        harness.get_all_by(|node| node.label().is_some_and(|label| label.starts_with(&format!("{name} ("))));
    node.into_iter().next().unwrap().click_accesskit();
    harness.run_steps(2);
    assert!(harness.query_by_label("Close").is_some(), "the inspector is open");
    let ctx = harness.ctx.clone();
    harness.state_mut().set("run.seed", "99", &ctx);
    until(&mut harness, "another result", |app| app.result().is_some());
    assert_ne!(harness.state().result().unwrap().provenance.fingerprints, before);
    press(&mut harness, Command::Undo);
    until(&mut harness, "the first result", |app| app.result().is_some());
    assert_eq!(harness.state().result().unwrap().provenance.fingerprints, before);
    assert_eq!(harness.state().document().unwrap().hash(), hash);
    press(&mut harness, Command::Redo);
    assert_ne!(harness.state().document().unwrap().hash(), hash, "the keys of undo with Shift");
    press(&mut harness, Command::Undo);
    until(&mut harness, "the first result again", |app| app.result().is_some());
    // What cannot be is said, and changes nothing.
    harness.state_mut().set("run.replications", "0", &ctx);
    harness.run_steps(2);
    assert!(harness.query_by_label("That cannot be").is_some());
    assert_eq!(harness.state().document().unwrap().hash(), hash);
}

#[test]
fn every_command_is_in_a_menu_in_the_palette_and_on_a_key() {
    let mut harness = open("queueing-basics");
    for (menu, commands) in MENUS {
        harness.get_by_label(menu).click();
        harness.run_steps(3);
        for command in commands {
            let entry = harness
                .query_all_by(|node| node.label().is_some_and(|label| label.starts_with(command.name())));
            assert!(entry.count() > 0, "{menu}: {command:?}");
        }
        harness.key_press(Key::Escape);
        harness.run_steps(3);
    }
    press(&mut harness, Command::Palette);
    for command in Command::all() {
        let entry =
            harness.query_all_by(|node| node.label().is_some_and(|label| label.starts_with(command.name())));
        assert!(entry.count() > 0, "palette: {command:?}");
    }
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    for tab in Tab::ALL {
        press(&mut harness, Command::Show(tab));
        assert_eq!(harness.state().tab(), tab);
    }
    press(&mut harness, Command::Keys);
    assert_eq!(harness.state().dialog().as_deref(), Some("Keys"));
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    press(&mut harness, Command::NotModelled);
    assert_eq!(harness.state().dialog().as_deref(), Some("NotModelled"));
}

#[test]
fn a_broken_file_is_told_of_and_what_was_open_stays() {
    let mut harness = open("queueing-basics");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.toml");
    std::fs::write(&path, "name = \"broken\"\n[traffic.web]\nrate = 3\n").unwrap();
    let (ctx, hash) = (harness.ctx.clone(), harness.state().document().unwrap().hash());
    harness.state_mut().open(&path, &ctx);
    harness.run_steps(2);
    let said = harness.state().dialog().unwrap();
    assert!(said.contains(&path.display().to_string()) && said.contains(":3:"), "{said}");
    assert_eq!(harness.state().document().unwrap().hash(), hash);
}

#[test]
fn unsaved_changes_are_not_lost() {
    let mut harness = open("queueing-basics");
    let ctx = harness.ctx.clone();
    harness.state_mut().set("run.seed", "5", &ctx);
    harness.run_steps(2);
    press(&mut harness, Command::Start);
    harness.get_by_label("Keep on editing").click();
    harness.run_steps(3);
    assert!(harness.state().document().is_some());
    press(&mut harness, Command::Start);
    harness.get_by_label("Library all the same").click();
    harness.run_steps(3);
    assert!(harness.state().document().is_none());
}

/// A shop with one server too few for three times its load.
pub const SHOP: &str = include_str!("../shop.toml");

/// A scenario of a file, open and run.
pub fn opened(path: &Path, text: &str) -> Harness<'static, App> {
    std::fs::write(path, text).unwrap();
    let mut harness = harness();
    let ctx = harness.ctx.clone();
    harness.state_mut().open(path, &ctx);
    until(&mut harness, "the result", |app| app.result().is_some() || app.dialog().is_some());
    assert_eq!(harness.state().dialog(), None);
    harness
}

/// Open, stress, apply what helps, see it hold, write the report.
#[test]
fn what_breaks_first_is_found_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = opened(&dir.path().join("shop.toml"), SHOP);
    press(&mut harness, Command::RunStress);
    until(&mut harness, "the stress test", App::is_stressed);
    let first = harness
        .query_all_by(|node| node.label().is_some_and(|label| label.starts_with("Apply: ")))
        .next()
        .expect("something helps");
    first.click();
    harness.run_steps(2);
    assert!(harness.state().document().unwrap().can_undo());
    until(&mut harness, "the stress test of the new system", App::is_stressed);
    assert!(harness.query_by_label_contains("It passes at").is_some(), "with thirty servers it holds");
    press(&mut harness, Command::RunComparison);
    until(&mut harness, "the comparison", |app| !app.is_busy());
    assert_eq!(harness.state().tab(), Tab::Compare);
    let path = dir.path().join("report.html");
    harness.state_mut().export(&path);
    assert!(std::fs::read_to_string(&path).unwrap().contains("<svg"));
}
