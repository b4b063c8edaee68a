//! Everything has a name, and everything is reached by the keyboard alone.

use std::collections::BTreeSet;

use eframe::egui::Key;
use eframe::egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use tenfold_gui::{App, Command, Tab};

use crate::story::{harness, open, press, until};

/// Names of what can be pressed or typed into, in the order of the tree.
fn actionable(harness: &Harness<App>) -> BTreeSet<String> {
    let roles = [Role::Button, Role::TextInput, Role::CheckBox, Role::Link, Role::Slider, Role::SpinButton];
    let root = harness.root();
    let nodes = root.children_recursive().map(|node| node.accesskit_node());
    let nodes = nodes.filter(|node| roles.contains(&node.role()) && !node.is_disabled() && !node.is_hidden());
    nodes.filter_map(|node| node.label()).collect()
}

/// What Tab leads to, until it begins again.
fn reached(harness: &mut Harness<App>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut silent = 0;
    while silent < 40 {
        harness.key_press(Key::Tab);
        harness.step();
        let focused = {
            let root = harness.root();
            let mut nodes = root.children_recursive();
            nodes
                .find(|node| node.accesskit_node().is_focused())
                .and_then(|node| node.accesskit_node().label())
        };
        silent = if focused.is_some_and(|name| names.insert(name)) { 0 } else { silent + 1 };
    }
    names
}

#[test]
fn everything_has_a_name() {
    let mut harness = harness();
    harness.run_steps(2);
    harness.check_accessibility();
    let mut harness = open("queueing-basics");
    for tab in Tab::ALL {
        press(&mut harness, Command::Show(tab));
        harness.check_accessibility();
    }
    let name = harness.state().document().unwrap().loaded.scenario.components.keys().next().unwrap().clone();
    press(&mut harness, Command::Show(Tab::System));
    harness.get_by(|node| node.label().is_some_and(|label| label.starts_with(&format!("{name} (")))).click();
    harness.run_steps(2);
    harness.check_accessibility();
    for command in [Command::Open, Command::SaveAs, Command::Palette, Command::Keys, Command::NotModelled] {
        press(&mut harness, command);
        harness.check_accessibility();
        harness.key_press(Key::Escape);
        harness.run_steps(3);
    }
}

#[test]
fn tab_leads_to_everything() {
    let mut start = harness();
    start.run_steps(2);
    let mut system = open("queueing-basics");
    press(&mut system, Command::Show(Tab::System));
    let mut dialog = open("queueing-basics");
    press(&mut dialog, Command::Open);
    for (view, harness) in [("start", &mut start), ("system", &mut system)] {
        let wanted = actionable(harness);
        assert!(wanted.len() > 10, "{view}: {wanted:?}");
        let reached = reached(harness);
        let missed: Vec<&String> = wanted.difference(&reached).collect();
        assert!(missed.is_empty(), "{view}: Tab does not lead to {missed:?}");
    }
    let reached = reached(&mut dialog);
    for name in ["Open", "Browse\u{2026}", "Close"] {
        assert!(reached.contains(name), "{name} not in {reached:?}");
    }
}

#[test]
fn a_scenario_is_chosen_with_enter() {
    let mut harness = harness();
    harness.run_steps(2);
    for _ in 0..100 {
        harness.key_press(Key::Tab);
        harness.step();
        if harness.get_by_label("Router or cascade?").is_focused() {
            break;
        }
    }
    harness.key_press(Key::Enter);
    until(&mut harness, "the scenario", |app| app.document().is_some());
    assert_eq!(harness.state().document().unwrap().origin, tenfold_gui::Origin::Library("cascade"));
}
