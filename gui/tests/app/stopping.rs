//! What is shown once something was stopped, or is asked anew; and windows that are small, or cannot be opened.

use std::process::Command as Process;
use std::time::Duration;

use eframe::egui::accesskit::Role;
use eframe::egui::vec2;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use tenfold_gui::{App, Command, Tab};

use crate::story::{SHOP, harness, open, press, until};

fn says(harness: &Harness<App>, part: &str) -> bool {
    harness.query_by_label_contains(part).is_some()
}

fn until_it_says(harness: &mut Harness<App>, part: &str) {
    for _ in 0..20_000 {
        harness.step();
        if says(harness, part) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("it does not say {part}");
}

#[test]
fn what_was_stopped_says_so() {
    let mut harness = harness();
    harness.run_steps(2);
    let ctx = harness.ctx.clone();
    harness.state_mut().open_library("ten-times", &ctx);
    harness.state_mut().command(Command::Cancel, &ctx);
    press(&mut harness, Command::Show(Tab::Findings));
    assert!(says(&harness, "the run was stopped") && !says(&harness, "Simulating"));
    // A long run.
    harness.state_mut().set("run.replications", "1000", &ctx);
    until_it_says(&mut harness, "the whole run is coming");
    press(&mut harness, Command::Cancel);
    assert!(says(&harness, "stopped before the whole run was there"));
    press(&mut harness, Command::Undo);
    press(&mut harness, Command::RunStress);
    until_it_says(&mut harness, "More is coming");
    press(&mut harness, Command::Cancel);
    assert!(says(&harness, "Stopped while ") && !says(&harness, "More is coming"));
}

#[test]
fn a_plan_is_of_the_question_that_is_shown() {
    let mut harness = open("llm-capacity");
    press(&mut harness, Command::RunPlan);
    until(&mut harness, "the plan", |app| app.choices(Tab::Plan).is_some() || app.dialog().is_some());
    harness.get_by_role_and_label(Role::RadioButton, "For so many users:").click_accesskit();
    harness.run_steps(3);
    assert_eq!(harness.state().choices(Tab::Plan), None, "it was of another question");
}

#[test]
fn a_sweep_is_of_the_axes_that_are_shown() {
    let mut harness = open("queueing-basics");
    press(&mut harness, Command::Show(Tab::Sweep));
    harness.get_by_label("Add the load as an axis").click();
    harness.run_steps(2);
    press(&mut harness, Command::RunSweep);
    until(&mut harness, "the sweep", |app| app.choices(Tab::Sweep).is_some());
    harness.get_by_label("Take away").click();
    harness.run_steps(2);
    assert_eq!(harness.state().choices(Tab::Sweep), None, "it was along other axes");
}

#[test]
fn dialogs_fit_into_a_small_window() {
    let mut harness = open("queueing-basics");
    let ctx = harness.ctx.clone();
    harness.state_mut().set("components.nobody.servers", "\"a lot\"", &ctx);
    harness.run_steps(3);
    let words = harness.get_by_label_contains("nobody").rect();
    assert!(words.width() < 640.0, "{words:?}");
    harness.set_size(vec2(420.0, 300.0));
    for command in [None, Some(Command::Keys), Some(Command::NotModelled), Some(Command::Palette)] {
        if let Some(command) = command {
            harness.key_press(eframe::egui::Key::Escape);
            harness.run_steps(3);
            press(&mut harness, command);
        }
        harness.run_steps(3);
        let close = harness.get_by_label("Close").rect();
        let window = eframe::egui::Rect::from_min_size(Default::default(), vec2(420.0, 300.0));
        assert!(window.contains_rect(close), "{command:?}: {close:?}");
    }
}

#[test]
fn all_of_a_large_system_is_seen() {
    let services = (0..150).map(|number| {
        format!("[components.c{number}]\nkind = \"service\"\nservers = 2\nservice_time = {{ constant = \"1ms\" }}\n")
    });
    let names: Vec<String> = (0..150).map(|number| format!("\"c{number}\"")).collect();
    let text = SHOP.replace("[\"db\"]", &format!("[\"db\", {}]", names.join(", ")));
    let text = text.replace("[links.", &format!("{}[links.", services.collect::<String>()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.toml");
    std::fs::write(&file, text).unwrap();
    let mut harness = harness();
    let ctx = harness.ctx.clone();
    harness.state_mut().open(&file, &ctx);
    until(&mut harness, "an answer", |app| app.answer().is_some() || app.dialog().is_some());
    assert_eq!(harness.state().dialog(), None);
    let window = eframe::egui::Rect::from_min_size(Default::default(), vec2(1280.0, 800.0));
    harness.run_steps(3);
    // The diagram is the only layer that is drawn in another size.
    let scene = harness.ctx.memory(|memory| memory.to_global.values().copied().next()).unwrap();
    for number in 0..150 {
        let node = harness
            .get_by(|node| node.label().is_some_and(|label| label.starts_with(&format!("c{number} ("))));
        let shown = scene * node.rect();
        assert!(window.contains_rect(shown), "c{number}: {shown:?}");
    }
}

#[test]
fn the_app_is_asked_on_a_terminal() {
    let asked = |arguments: &[&str]| {
        let mut app = Process::new(env!("CARGO_BIN_EXE_tenfold-gui"));
        for name in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
            app.env_remove(name);
        }
        let output = app.args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    for (arguments, code, part) in [
        (&["--help"][..], 0, "Usage: tenfold-gui"),
        (&["--version"], 0, concat!("tenfold-gui ", env!("CARGO_PKG_VERSION"))),
        (&["--fast"], 2, "--fast"),
    ] {
        let (found, said) = asked(arguments);
        assert!(found == Some(code) && said.contains(part), "{arguments:?}: {found:?} {said}");
    }
    if cfg!(target_os = "linux") {
        let (found, said) = asked(&[]);
        assert!(found == Some(3) && said.contains("no window can be opened"), "{found:?} {said}");
    }
}
