//! The load, components that come and go, variants that are kept, sweeps and plans.

use eframe::egui::{Event, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use tenfold_gui::{App, Command, Tab};

use crate::story::{SHOP, open, press, until};

fn shop(harness: &mut Harness<App>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.toml");
    std::fs::write(&path, SHOP).unwrap();
    let ctx = harness.ctx.clone();
    harness.state_mut().open(&path, &ctx);
    until(harness, "the result", |app| app.result().is_some());
}

#[test]
fn results_are_of_the_load_that_is_chosen() {
    let mut harness = open("queueing-basics");
    let scale = |app: &App| app.result().map(|result| result.provenance.multiplier);
    assert_eq!((harness.state().load(), scale(harness.state())), (1.0, Some(1.0)));
    press(&mut harness, Command::MoreLoad);
    let load = harness.state().load();
    assert!(load > 1.0);
    assert_eq!(scale(harness.state()), None, "what was found before is out of date");
    until(&mut harness, "the result at more load", |app| app.result().is_some());
    assert_eq!(scale(harness.state()), Some(load));
    assert!(harness.state().command_line().unwrap().ends_with(&format!("--scale {load}x")));
    press(&mut harness, Command::OwnLoad);
    until(&mut harness, "the result as it was", |app| app.result().is_some());
    assert_eq!(scale(harness.state()), Some(1.0));
}

#[test]
fn a_component_is_added_connected_and_taken_away() {
    let mut harness = open("queueing-basics");
    let before = harness.state().document().unwrap().hash();
    let names = |app: &App| -> Vec<String> {
        app.document().unwrap().loaded.scenario.components.keys().cloned().collect()
    };
    let old = names(harness.state());
    press(&mut harness, Command::Add);
    harness.get_by_label("flow").click();
    harness.run_steps(2);
    assert_eq!(harness.state().dialog(), None);
    let added = names(harness.state()).into_iter().find(|name| !old.contains(name)).unwrap();
    press(&mut harness, Command::Connect);
    harness.get_by_label(&old[0]).click();
    harness.run_steps(2);
    assert_eq!(harness.state().dialog(), None);
    let scenario = &harness.state().document().unwrap().loaded.scenario;
    assert!(scenario.components[&added].callees().iter().any(|(_, callee)| *callee == old[0]));
    until(&mut harness, "a result with it", |app| app.result().is_some());
    press(&mut harness, Command::Remove);
    assert_eq!(names(harness.state()), old);
    for _ in 0..3 {
        press(&mut harness, Command::Undo);
    }
    assert_eq!(harness.state().document().unwrap().hash(), before);
}

#[test]
fn what_is_shown_is_kept_as_a_variant_and_compared() {
    let mut harness = open("queueing-basics");
    let ctx = harness.ctx.clone();
    harness.state_mut().set("run.seed", "5", &ctx);
    press(&mut harness, Command::Keep);
    harness.event(Event::Text("other luck".to_owned()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().dialog(), None);
    let document = harness.state().document().unwrap();
    assert_eq!(document.variant(), "other luck");
    assert_eq!(document.loaded.scenario.run.seed, 5);
    assert!(document.text().contains("\"run.seed\" = 5"), "{}", document.text());
}

#[test]
fn variants_are_compared_with_the_one_that_is_pinned() {
    let mut harness = super::story::harness();
    shop(&mut harness);
    press(&mut harness, Command::RunComparison);
    until(&mut harness, "the comparison", App::is_compared);
    assert!(
        harness.query_all_by(|node| node.label().is_some_and(|label| label.contains("more"))).count() > 0
    );
}

#[test]
fn a_sweep_is_run_along_its_axes() {
    let mut harness = super::story::harness();
    shop(&mut harness);
    assert!(!harness.state().can(Command::RunSweep), "along what?");
    press(&mut harness, Command::Show(Tab::Sweep));
    harness.get_by_label("Add the load as an axis").click();
    harness.run_steps(2);
    press(&mut harness, Command::RunSweep);
    until(&mut harness, "the sweep", |app| app.choices(Tab::Sweep).is_some());
    assert!(harness.query_by_label_contains("3 points").is_some());
    assert_eq!(harness.state().choices(Tab::Sweep), Some(0), "no load is a configuration to take on");
    let line = harness.state().command_line().unwrap();
    assert!(line.starts_with("tenfold sweep ") && line.ends_with("--axis scale=1,2,4"), "{line}");
}

#[test]
fn a_plan_gives_configurations_to_take_on() {
    let mut harness = open("llm-capacity");
    press(&mut harness, Command::RunPlan);
    until(&mut harness, "the plan", |app| app.choices(Tab::Plan).is_some() || app.dialog().is_some());
    assert_eq!(harness.state().dialog(), None);
    assert!(harness.state().choices(Tab::Plan).unwrap() > 0);
}

#[test]
fn the_run_is_stepped_through() {
    let mut harness = open("queueing-basics");
    assert_eq!(harness.state().time(), None);
    press(&mut harness, Command::StepOn);
    let first = harness.state().time().unwrap();
    press(&mut harness, Command::StepOn);
    assert!(harness.state().time().unwrap() > first);
    press(&mut harness, Command::StepBack);
    assert_eq!(harness.state().time(), Some(first));
}
