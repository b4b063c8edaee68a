//! What becomes of files: nothing that others wrote is lost, and what was there by a path stays there.

use std::fs;

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use tenfold_gui::{App, Command, Origin, Tab};

use crate::keeping::type_path;
use crate::story::{SHOP, opened, press, until};

fn set(harness: &mut Harness<App>, path: &str, value: &str) {
    let ctx = harness.ctx.clone();
    harness.state_mut().set(path, value, &ctx);
    harness.run_steps(2);
    assert_eq!(harness.state().dialog(), None);
}

fn click(harness: &mut Harness<App>, label: &str) {
    harness.get_by_label(label).click();
    harness.run_steps(3);
}

#[test]
fn what_another_program_wrote_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.toml");
    let mut harness = opened(&file, SHOP);
    set(&mut harness, "components.db.servers", "3");
    press(&mut harness, Command::Save);
    assert_eq!(harness.state().dialog(), None, "nobody else has written");
    let ours = SHOP.replace("servers = 2", "servers = 3");
    assert_eq!(fs::read_to_string(&file).unwrap(), ours, "with its comments");
    let theirs = SHOP.replace("8/s", "7/s");
    fs::write(&file, &theirs).unwrap();
    set(&mut harness, "components.db.servers", "4");
    press(&mut harness, Command::Save);
    assert!(harness.query_by_label_contains("Another program has changed the file").is_some());
    click(&mut harness, "Cancel");
    assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
    assert!(harness.state().document().unwrap().is_unsaved());
    press(&mut harness, Command::Save);
    click(&mut harness, "Overwrite");
    assert_eq!(fs::read_to_string(&file).unwrap(), ours.replace("servers = 3", "servers = 4"));
    assert!(!harness.state().document().unwrap().is_unsaved());
    // A file that is gone is written again.
    fs::remove_file(&file).unwrap();
    press(&mut harness, Command::Save);
    assert!(file.is_file() && harness.state().dialog().is_none());
}

#[test]
fn another_file_is_not_written_over_without_asking() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = opened(&dir.path().join("shop.toml"), SHOP);
    for (command, name) in [(Command::SaveAs, "other.toml"), (Command::ExportReport, "report.html")] {
        let other = dir.path().join(name);
        fs::write(&other, "mine").unwrap();
        for (answer, stays) in [("Cancel", true), ("Overwrite", false)] {
            press(&mut harness, command);
            type_path(&mut harness, &other);
            assert!(harness.query_by_label("There is a file of that name already.").is_some(), "{name}");
            click(&mut harness, answer);
            assert_eq!(harness.state().dialog(), None);
            assert_eq!(fs::read_to_string(&other).unwrap() == "mine", stays, "{name}: {answer}");
        }
    }
    assert_eq!(harness.state().document().unwrap().origin, Origin::File(dir.path().join("other.toml")));
}

#[test]
fn files_are_found_from_another_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::create_dir_all(&old).unwrap();
    fs::create_dir_all(&new).unwrap();
    let trace = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n";
    fs::write(old.join("trace.csv"), trace).unwrap();
    let text = SHOP.replace(
        "{ process = \"poisson\", rate = \"8/s\" }",
        "{ process = \"trace\", path = \"trace.csv\" } # as it was",
    );
    let mut harness = opened(&old.join("shop.toml"), &text);
    press(&mut harness, Command::SaveAs);
    type_path(&mut harness, &new.join("shop.toml"));
    let saved = fs::read_to_string(new.join("shop.toml")).unwrap();
    assert_eq!(saved, text.replace("\"trace.csv\"", "\"../old/trace.csv\""));
    // It goes on from there, back in the old folder too.
    set(&mut harness, "components.db.servers", "3");
    until(&mut harness, "the result", |app| app.result().is_some() || app.dialog().is_some());
    press(&mut harness, Command::Save);
    assert_eq!(harness.state().dialog(), None);
    let saved = fs::read_to_string(new.join("shop.toml")).unwrap();
    assert!(saved.contains("\"../old/trace.csv\"") && saved.contains("servers = 3"), "{saved}");
    let ctx = harness.ctx.clone();
    harness.state_mut().open(&new.join("shop.toml"), &ctx);
    until(&mut harness, "the result", |app| app.result().is_some() || app.dialog().is_some());
    assert_eq!(harness.state().dialog(), None);
    press(&mut harness, Command::SaveAs);
    type_path(&mut harness, &old.join("again.toml"));
    let saved = fs::read_to_string(old.join("again.toml")).unwrap();
    assert!(saved.contains("path = \"trace.csv\" } # as it was"), "{saved}");
}

#[test]
fn a_variant_that_was_kept_is_in_the_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = opened(&dir.path().join("shop.toml"), SHOP);
    press(&mut harness, Command::Show(Tab::Text));
    let hash = harness.state().document().unwrap().hash();
    press(&mut harness, Command::Keep);
    harness.event(eframe::egui::Event::Text("plain".to_owned()));
    harness.run_steps(2);
    harness.key_press(eframe::egui::Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().document().unwrap().hash(), hash, "it is the same system");
    let shown =
        harness.query_all_by(|node| node.value().is_some_and(|value| value.contains("name = \"plain\"")));
    assert!(shown.count() > 0);
}
