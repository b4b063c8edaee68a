//! What is saved, and what outlives a crash.

use std::path::Path;

use std::sync::Arc;

use eframe::egui::{DroppedFile, Event, Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use tenfold_gui::{App, Command, Tab};

use crate::story::{open, press, until};

fn kept_in(dir: &Path) -> Harness<'static, App> {
    let mut harness = Harness::builder()
        .with_size([1280.0, 800.0])
        .with_max_steps(64)
        .build_ui_state(|ui, app: &mut App| app.frame(ui), App::kept_in(dir));
    harness.run_steps(2);
    harness
}

/// The clock of the harness goes on by a quarter of a second a step.
fn rest(harness: &mut Harness<App>) {
    for _ in 0..12 {
        harness.step();
    }
}

#[test]
fn a_crash_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = kept_in(dir.path());
    let ctx = harness.ctx.clone();
    harness.state_mut().open_library("queueing-basics", &ctx);
    harness.state_mut().set("run.seed", "4711", &ctx);
    let hash = harness.state().document().unwrap().hash();
    rest(&mut harness);
    // A crash ends the process with nobody to clean up. Its lock is let go; the file is written by then.
    let unsaved = dir.path().join(format!("{}.unsaved", std::process::id()));
    for _ in 0..200 {
        if unsaved.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let text = std::fs::read_to_string(&unsaved).unwrap();
    drop(harness);
    assert!(!unsaved.exists(), "an end in good order leaves nothing");
    std::fs::write(dir.path().join("1.unsaved"), text).unwrap();
    std::fs::write(dir.path().join("1.lock"), "").unwrap();

    let mut harness = kept_in(dir.path());
    assert!(harness.query_by_label("Recovered unsaved changes of queueing-basics").is_some());
    harness.get_by_label("Restore").click();
    harness.run_steps(3);
    let document = harness.state().document().unwrap();
    assert_eq!(document.hash(), hash);
    assert!(document.is_unsaved());
    drop(harness);
    let harness = kept_in(dir.path());
    assert_eq!(harness.state().dialog(), None, "it is asked once");
}

#[test]
fn a_variant_that_was_kept_outlives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = kept_in(dir.path());
    let ctx = harness.ctx.clone();
    harness.state_mut().open_library("queueing-basics", &ctx);
    harness.state_mut().set("run.seed", "4711", &ctx);
    rest(&mut harness);
    let unsaved = dir.path().join(format!("{}.unsaved", std::process::id()));
    let until_kept = |harness: &mut Harness<App>, what: &str| {
        for _ in 0..200 {
            if std::fs::read_to_string(&unsaved).is_ok_and(|text| text.contains(what)) {
                return;
            }
            harness.step();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("not kept: {what}");
    };
    until_kept(&mut harness, "4711");
    let hash = harness.state().document().unwrap().hash();
    press(&mut harness, Command::Keep);
    harness.event(Event::Text("other luck".to_owned()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().document().unwrap().hash(), hash, "the variant is the system that was shown");
    until_kept(&mut harness, "other luck");
}

#[test]
fn what_was_recovered_can_be_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let kept = "{\"file\":null,\"name\":\"cascade\",\"text\":\"broken\",\
                \"rebuilt\":null,\"variant\":\"base\",\"edits\":{}}";
    std::fs::write(dir.path().join("1.unsaved"), kept).unwrap();
    std::fs::write(dir.path().join("1.lock"), "").unwrap();
    let mut harness = kept_in(dir.path());
    harness.get_by_label("Discard").click();
    harness.run_steps(3);
    assert_eq!(harness.state().dialog(), None);
    assert!(harness.state().document().is_none());
    drop(harness);
    assert!(!dir.path().join("1.unsaved").exists());
}

#[test]
fn a_scenario_is_seen_again_as_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    let mut harness = kept_in(dir.path());
    let ctx = harness.ctx.clone();
    harness.state_mut().open_library("queueing-basics", &ctx);
    harness.run_steps(2);
    press(&mut harness, Command::SaveAs);
    type_path(&mut harness, &file);
    assert_eq!(harness.state().dialog(), None);
    press(&mut harness, Command::Show(Tab::Charts));
    rest(&mut harness);
    drop(harness);

    let mut harness = kept_in(dir.path());
    harness.get_by_label("mine.toml").click();
    until(&mut harness, "the result", |app| app.result().is_some());
    assert_eq!(harness.state().tab(), Tab::Charts);
}

/// In the place of what stands in the one field.
pub fn type_path(harness: &mut Harness<App>, path: &Path) {
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.event(Event::Text(path.display().to_string()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
}

#[derive(Debug)]
struct Dropped(std::path::PathBuf);

impl DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

fn drop_file(harness: &mut Harness<App>, path: &Path) {
    harness.input_mut().dropped_files.push(Arc::new(Dropped(path.to_owned())));
    harness.step();
    harness.run_steps(2);
}

#[test]
fn scenarios_and_traces_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = kept_in(dir.path());
    let ctx = harness.ctx.clone();
    harness.state_mut().open_library("circuit-breaker", &ctx);
    harness.run_steps(2);
    let trace = dir.path().join("arrivals.csv");
    std::fs::write(&trace, "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n").unwrap();
    let before = harness.state().document().unwrap().hash();
    drop_file(&mut harness, &trace);
    assert_ne!(harness.state().document().unwrap().hash(), before, "{:?}", harness.state().dialog());
    press(&mut harness, Command::Undo);
    let scenario = dir.path().join("dropped.toml");
    let text = scenarios::library().iter().find(|one| one.id == "cascade").unwrap().text;
    std::fs::write(&scenario, text).unwrap();
    drop_file(&mut harness, &scenario);
    let origin = &harness.state().document().unwrap().origin;
    assert_eq!(*origin, tenfold_gui::Origin::File(scenario));
}

#[test]
fn charts_and_tables_are_written_from_their_menus() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = open("queueing-basics");
    press(&mut harness, Command::Show(Tab::Findings));
    let report = harness.state().result().unwrap().report();
    let table = report.blocks.iter().find_map(|block| match block {
        scenarios::report::Block::Table(table) => Some(table.title.clone()),
        _ => None,
    });
    harness.get_by_label(&table.unwrap()).click_secondary();
    harness.run_steps(3);
    harness.get_by_label("Export\u{2026}").click();
    harness.run_steps(3);
    let file = dir.path().join("table.csv");
    type_path(&mut harness, &file);
    assert_eq!(harness.state().dialog(), None);
    assert!(std::fs::read_to_string(&file).unwrap().lines().count() > 1);
    press(&mut harness, Command::Show(Tab::Charts));
    let title = report.pictures().map(|picture| picture.title.clone()).nth(1).unwrap();
    harness.get_by_label(&format!("Export: {title}")).click();
    harness.run_steps(3);
    let file = dir.path().join("chart.svg");
    type_path(&mut harness, &file);
    assert_eq!(harness.state().dialog(), None);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("<svg"));
}
