//! Every view as a picture, light and dark: not a pixel differs. `UPDATE_SNAPSHOTS=1 cargo nextest run -p tenfold-gui
//! pictures` draws them anew, to be looked at.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use egui_kittest::kittest::Queryable;
use egui_kittest::{Harness, OsThreshold, SnapshotOptions};
use tenfold_gui::{App, Command, Tab};

use crate::story::{SHOP, press, until};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");

/// A window that does not depend on the machine: results, fonts and the software renderer are the same everywhere.
fn window() -> Harness<'static, App> {
    let options = SnapshotOptions::new().output_path(DIR).max_failed_pixels(OsThreshold::new(0));
    let mut harness = Harness::builder()
        .with_size([1000.0, 640.0])
        .with_max_steps(64)
        .with_theme(eframe::egui::Theme::Dark)
        .with_options(options)
        .wgpu()
        .build_ui_state(|ui, app: &mut App| app.frame(ui), App::default());
    harness.ctx.all_styles_mut(|style| style.visuals.text_cursor.blink = false);
    harness.run_steps(2);
    harness
}

/// In the dark and in the light.
fn drawn(harness: &mut Harness<App>, name: &str) {
    for theme in ["dark", "light"] {
        harness.remove_cursor();
        harness.run_steps(4);
        let name = format!("{name}-{theme}");
        harness.snapshot(&name);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            made_small(&Path::new(DIR).join(name).with_extension("png"));
        }
        let ctx = harness.ctx.clone();
        harness.state_mut().command(Command::Theme, &ctx);
        harness.run_steps(2);
    }
}

/// Half the size: pages of letters are best left unfiltered.
fn made_small(path: &Path) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), frame.width, frame.height);
    encoder.set_color(frame.color_type);
    encoder.set_depth(frame.bit_depth);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

fn shop() -> Harness<'static, App> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.toml");
    std::fs::write(&path, SHOP).unwrap();
    let mut harness = window();
    let ctx = harness.ctx.clone();
    harness.state_mut().open(&path, &ctx);
    until(&mut harness, "the result", |app| app.result().is_some() && !app.is_busy());
    harness
}

#[test]
fn start() {
    drawn(&mut window(), "start");
}

#[test]
fn system() {
    let mut harness = window();
    let ctx = harness.ctx.clone();
    harness.state_mut().open_library("feature-store", &ctx);
    until(&mut harness, "the result", |app| app.result().is_some() && !app.is_busy());
    drawn(&mut harness, "system");
    let name = harness.state().document().unwrap().loaded.scenario.components.keys().next().unwrap().clone();
    harness
        .get_by(|node| node.label().is_some_and(|label| label.starts_with(&format!("{name} ("))))
        .click_accesskit();
    harness.run_steps(2);
    drawn(&mut harness, "inspector");
    press(&mut harness, Command::Show(Tab::Charts));
    drawn(&mut harness, "charts");
}

/// The architecture in the middle of a fault.
#[test]
fn troubled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("troubled.toml");
    std::fs::write(&path, include_str!("../troubled.toml")).unwrap();
    let mut harness = window();
    let ctx = harness.ctx.clone();
    harness.state_mut().open(&path, &ctx);
    until(&mut harness, "the result", |app| app.result().is_some() && !app.is_busy());
    let has = |harness: &Harness<App>, start: &str, part: &str| {
        let is_so = |label: String| label.starts_with(start) && label.contains(part);
        assert!(harness.query_by(|node| node.label().is_some_and(is_so)).is_some(), "{start} ... {part}");
    };
    has(&harness, "Calls page -> db: ", "circuit breaker open or half-open");
    has(&harness, "db (service", "replicas: 1.7 of 2 up");
    for _ in 0..27 {
        press(&mut harness, Command::StepOn);
    }
    has(&harness, "db (service", "replicas: 1 of 2 up");
    has(&harness, "model (llm", "of the KV memory");
    // Not what it did in the whole run, but what it is at the time.
    has(&harness, "Calls page -> db: ", ", circuit breaker half-open");
    drawn(&mut harness, "troubled");
}

#[test]
fn pages() {
    let mut harness = shop();
    for (tab, name) in [(Tab::Findings, "findings"), (Tab::Text, "text")] {
        press(&mut harness, Command::Show(tab));
        drawn(&mut harness, name);
    }
    for (command, name) in [(Command::RunComparison, "compare"), (Command::RunStress, "stress")] {
        press(&mut harness, command);
        until(&mut harness, name, |app| !app.is_busy());
        drawn(&mut harness, name);
    }
}

/// What is further down a page, in a taller window.
fn taller(harness: &mut Harness<App>) {
    harness.set_size(eframe::egui::vec2(1000.0, 1400.0));
    harness.run_steps(2);
}

#[test]
fn charts_of_load_and_of_a_part_of_the_run() {
    let mut harness = shop();
    taller(&mut harness);
    press(&mut harness, Command::RunCurve);
    until(&mut harness, "the curve", |app| !app.is_busy());
    harness.state_mut().look_at(Some((20.0, 40.0)));
    drawn(&mut harness, "window");
}

#[test]
fn explored() {
    let mut harness = shop();
    press(&mut harness, Command::Show(Tab::Sweep));
    harness.get_by_label("Add the load as an axis").click();
    harness.run_steps(2);
    harness.state_mut().add_axis("components.db.servers", "2");
    press(&mut harness, Command::RunSweep);
    until(&mut harness, "the sweep", |app| !app.is_busy());
    taller(&mut harness);
    drawn(&mut harness, "sweep");
    let ctx = harness.ctx.clone();
    harness.state_mut().open_library("llm-capacity", &ctx);
    press(&mut harness, Command::RunPlan);
    until(&mut harness, "the plan", |app| !app.is_busy());
    drawn(&mut harness, "plan");
}

#[test]
fn dialogs() {
    let mut harness = shop();
    for (command, name) in [(Command::Palette, "palette"), (Command::Keys, "keys"), (Command::Open, "open")] {
        press(&mut harness, command);
        drawn(&mut harness, name);
        harness.key_press(eframe::egui::Key::Escape);
        harness.run_steps(3);
    }
}
