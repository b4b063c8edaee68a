//! The load, components that come and go, variants that are kept, sweeps and plans.

use eframe::egui::{Event, Key, Modifiers, PointerButton, Pos2, vec2};
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
fn what_is_connected_already_is_told() {
    let mut harness = open("queueing-basics");
    let scenario = &harness.state().document().unwrap().loaded.scenario;
    let (source, traffic) = scenario.traffic.iter().next().unwrap();
    let (source, entry) = (source.clone(), traffic.entry.clone());
    harness.get_by_label_contains(&format!("{source} (traffic")).click_accesskit();
    harness.run_steps(2);
    press(&mut harness, Command::Connect);
    harness.get_by_label(&entry).click();
    harness.run_steps(2);
    let said = harness.state().dialog().expect("why not");
    assert!(said.contains(&format!("`{source}` already calls `{entry}`")), "{said}");
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

#[test]
fn headings_stand_with_their_words() {
    let mut harness = super::story::harness();
    harness.set_size(vec2(1280.0, 4000.0));
    shop(&mut harness);
    press(&mut harness, Command::Show(Tab::Findings));
    harness.run_steps(2);
    let place = |label: &str| harness.query_by_label(label).map(|node| node.rect().top());
    let (heading, words) = (place("Over time"), place("The first replication."));
    assert!(heading.is_some() && heading < words, "{heading:?} {words:?}");
    // There is nothing but pictures below these.
    for of_pictures in ["The system", "How long answers take", "What it costs"] {
        assert_eq!(place(of_pictures), None, "{of_pictures}");
    }
    press(&mut harness, Command::RunStress);
    until(&mut harness, "the stress test", App::is_stressed);
    assert!(harness.query_by_label("Against load").is_some());
    assert!(harness.query_by_label("The system").is_none(), "it has a view of its own");
}

/// Where the plot below a title is.
fn plot(harness: &Harness<App>, title: &str) -> Pos2 {
    harness.get_by_label(title).rect().left_bottom()
}

fn pointer(harness: &mut Harness<App>, pos: Pos2, pressed: bool) {
    let (button, modifiers) = (PointerButton::Primary, Modifiers::NONE);
    harness.event(Event::PointerMoved(pos));
    harness.step();
    harness.event(Event::PointerButton { pos, button, pressed, modifiers });
    harness.step();
}

fn has_figures(harness: &Harness<App>) -> bool {
    let is_title = |label: String| label.starts_with("Export: Over time, from");
    harness.query_by(|node| node.label().is_some_and(is_title)).is_some()
}

#[test]
fn a_part_of_a_run_is_looked_at_more_closely() {
    let mut harness = open("queueing-basics");
    press(&mut harness, Command::Show(Tab::Charts));
    assert!(!has_figures(&harness));
    harness.get_by_label("Requests a second").scroll_to_me();
    harness.run_steps(3);
    let start = plot(&harness, "Requests a second") + vec2(120.0, 120.0);
    pointer(&mut harness, start, true);
    pointer(&mut harness, start + vec2(150.0, 0.0), false);
    harness.run_steps(3);
    let (from, to) = harness.state().window().expect("a window of time");
    assert!(0.0 < from && from < to, "{from} to {to}");
    assert!(has_figures(&harness));
    // It holds for the next run as well.
    let ctx = harness.ctx.clone();
    harness.state_mut().set("run.seed", "5", &ctx);
    until(&mut harness, "another result", |app| app.result().is_some());
    assert_eq!(harness.state().window(), Some((from, to)));
    harness.get_by_label("All of the run").scroll_to_me();
    harness.run_steps(3);
    harness.get_by_label("All of the run").click();
    harness.run_steps(2);
    assert_eq!(harness.state().window(), None);
    assert!(!has_figures(&harness));
}

#[test]
fn latency_against_load_needs_no_stress_test() {
    let mut harness = super::story::harness();
    shop(&mut harness);
    press(&mut harness, Command::RunCurve);
    until(&mut harness, "the curve", |app| !app.is_busy());
    assert_eq!((harness.state().tab(), harness.state().dialog()), (Tab::Charts, None));
    assert!(harness.query_by_label("Export: Latency against load").is_some());
    let bounds = harness.query_all_by_label_contains("SLO p95").count();
    assert!(bounds > 1, "in the curve as well as below it: {bounds}");
    let ctx = harness.ctx.clone();
    harness.state_mut().set("run.seed", "5", &ctx);
    harness.run_steps(2);
    assert!(harness.query_by_label("Export: Latency against load").is_none(), "of another scenario");
}

#[test]
fn a_point_of_the_chart_of_costs_is_taken_on() {
    let mut harness = open("llm-capacity");
    press(&mut harness, Command::RunPlan);
    until(&mut harness, "the plan", |app| app.choices(Tab::Plan).is_some() || app.dialog().is_some());
    let title = "Latency p99 by cost of what was run in full";
    harness.get_by_label(title).scroll_to_me();
    harness.run_steps(3);
    let before = harness.state().document().unwrap().variant().to_owned();
    let corner = plot(&harness, title);
    let places = (0..14).flat_map(|row| (0..60).map(move |column| vec2(column as f32, row as f32) * 18.0));
    for place in places {
        pointer(&mut harness, corner + place, true);
        pointer(&mut harness, corner + place, false);
        if harness.state().document().unwrap().variant() != before {
            assert_eq!(harness.state().dialog(), None);
            assert!(harness.state().document().unwrap().can_undo());
            return;
        }
    }
    panic!("no point of the chart is one");
}
