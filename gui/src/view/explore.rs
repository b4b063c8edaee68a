//! Many configurations: sweeps along axes, and the cheapest that keeps to the SLO.

use eframe::egui::{Align, Button, DragValue, Grid, Layout, RichText, TextEdit, Ui, vec2};

use super::pages::{waiting, whole};
use super::{Action, Actions, page};
use crate::command::Command;
use crate::draw::Touched;
use crate::inspector::Quantity;
use crate::jobs::{Explored, Question};
use crate::theme;

/// What is to be explored.
#[derive(Debug, Default)]
pub(crate) struct Explore {
    /// Paths and values, as `tenfold sweep` takes them.
    pub axes: Vec<(String, String)>,
    pub question: Question,
}

impl Explore {
    /// One more axis, with values around the one that is set.
    pub fn add(&mut self, path: String, value: Option<&str>) {
        if self.axes.iter().any(|(known, _)| *known == path) {
            return;
        }
        self.axes.push((path, around(value)));
    }

    pub fn set(&mut self, number: usize, values: Option<String>) {
        match values {
            None if number < self.axes.len() => _ = self.axes.remove(number),
            None => {}
            Some(values) => {
                if let Some((_, old)) = self.axes.get_mut(number) {
                    *old = values;
                }
            }
        }
    }

    /// As the command line has them.
    pub fn axes(&self) -> Vec<String> {
        self.axes.iter().map(|(path, values)| format!("{path}={values}")).collect()
    }
}

/// Half of a value, itself, twice and four times; both of two.
fn around(value: Option<&str>) -> String {
    let Some(value) = value else { return String::new() };
    if matches!(value, "true" | "false") {
        return "true,false".to_owned();
    }
    let Some(quantity) = Quantity::of(value) else { return value.to_owned() };
    let mut numbers: Vec<f64> = [0.5, 1.0, 2.0, 4.0].map(|factor| quantity.number * factor).to_vec();
    if quantity.is_whole() {
        numbers.iter_mut().for_each(|number| *number = number.ceil());
        numbers.dedup();
    }
    numbers.into_iter().map(|number| quantity.with(number)).collect::<Vec<_>>().join(",")
}

/// Axes, and what is at their points.
pub(crate) fn sweep(
    ui: &mut Ui,
    explore: &Explore,
    swept: Option<&Explored>,
    is_running: bool,
    actions: &mut Actions,
) {
    page(ui, "sweep", |ui| {
        ui.heading("Sweep");
        ui.label(
            "Runs the scenario at every combination of some values. A right click on a name in the inspector makes it an \
             axis.",
        );
        ui.add_space(6.0);
        Grid::new("axes").spacing([12.0, 6.0]).show(ui, |ui| {
            for (number, (path, values)) in explore.axes.iter().enumerate() {
                let label = ui.monospace(path);
                let mut typed = values.clone();
                let edit = TextEdit::singleline(&mut typed)
                    .hint_text("1,2,4 or 1..8/1 or 1..100 log 7")
                    .min_size(vec2(300.0, 0.0));
                if ui.add(edit).labelled_by(label.id).changed() {
                    actions.push(Action::Axis { number, values: Some(typed) });
                }
                if ui.button("Take away").clicked() {
                    actions.push(Action::Axis { number, values: None });
                }
                ui.end_row();
            }
        });
        ui.horizontal(|ui| {
            let has_load = explore.axes.iter().any(|(path, _)| path == "scale");
            if ui.add_enabled(!has_load, Button::new("Add the load as an axis")).clicked() {
                actions.push(Action::Sweep { path: "scale".to_owned(), value: Some("1".to_owned()) });
            }
            begin(ui, Command::RunSweep, !explore.axes.is_empty(), actions);
        });
        results(ui, swept, is_running, actions);
    });
}

/// What is planned for, and the cheapest for it.
pub(crate) fn plan(
    ui: &mut Ui,
    question: &Question,
    load: f64,
    planned: Option<&Explored>,
    is_running: bool,
    actions: &mut Actions,
) {
    page(ui, "plan", |ui| {
        ui.heading("Plan");
        ui.label("The cheapest number of replicas of each pool that keeps to the SLO, what more money buys, and what the answer hangs on.");
        ui.add_space(6.0);
        let mut asked = question.clone();
        ui.horizontal(|ui| {
            ui.radio_value(&mut asked.for_users, false, format!("For the load that is shown ({load}x)"));
            let users = ui.radio_value(&mut asked.for_users, true, "For so many users:");
            ui.add_enabled_ui(asked.for_users, |ui| {
                ui.add(
                    DragValue::new(&mut asked.users)
                        .update_while_editing(false)
                        .range(1..=100_000_000)
                        .speed(10.0),
                )
                .labelled_by(users.id);
                let label = ui.label("each sends");
                ui.add(TextEdit::singleline(&mut asked.each).hint_text("6/h").desired_width(60.0))
                    .labelled_by(label.id)
                    .on_hover_text(
                        "Requests of a user, such as 6/h; empty where they are those of a closed loop",
                    );
            });
        });
        ui.horizontal(|ui| {
            let label = ui.label("At most");
            ui.add(DragValue::new(&mut asked.most).update_while_editing(false).range(1..=1_000))
                .labelled_by(label.id);
            ui.label("replicas of a pool");
            begin(ui, Command::RunPlan, true, actions);
        });
        if asked != *question {
            actions.push(Action::Question(asked));
        }
        results(ui, planned, is_running, actions);
    });
}

fn begin(ui: &mut Ui, command: Command, can: bool, actions: &mut Actions) {
    if ui.add_enabled(can, Button::new(RichText::new(command.name()).strong())).clicked() {
        actions.push(Action::Do(command));
    }
    if ui.add_enabled(can, Button::new(Command::Copy.name())).clicked() {
        actions.push(Action::Do(Command::Copy));
    }
}

fn results(ui: &mut Ui, explored: Option<&Explored>, is_running: bool, actions: &mut Actions) {
    ui.separator();
    let Some(explored) = explored else {
        if is_running {
            waiting(ui);
        }
        return;
    };
    if !explored.choices.is_empty() {
        ui.strong("Take one on, as a variant");
        Grid::new("choices").striped(true).spacing([16.0, 4.0]).show(ui, |ui| {
            for one in explored.choices.iter().take(MOST) {
                if ui.button(format!("Take {}", one.name)).on_hover_text(one.sets.join("\n")).clicked() {
                    actions.push(Action::Apply { name: one.name.clone(), change: one.sets.clone() });
                }
                let verdict = match one.holds {
                    Some(true) => RichText::new("keeps to the SLO").color(theme::verdict(ui, true)),
                    Some(false) => RichText::new("misses the SLO").color(theme::verdict(ui, false)),
                    None => RichText::new("no SLO").weak(),
                };
                ui.label(verdict);
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| ui.label(&one.said));
                ui.end_row();
            }
        });
        if !explored.points.is_empty() {
            ui.weak("A click on a point of the chart of costs takes that one on.");
        }
        ui.separator();
    }
    if let Some(Touched::Point(cost, figure)) = whole(ui, &explored.report)
        && let Some(one) = explored.points.iter().find(|one| one.at == Some((cost, figure)))
    {
        actions.push(Action::Apply { name: one.name.clone(), change: one.sets.clone() });
    }
}

/// Choices that are offered above the report, which has all.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_around_the_value_that_is_set() {
        assert_eq!(around(Some("3")), "2,3,6,12");
        assert_eq!(around(Some("1")), "1,2,4");
        assert_eq!(around(Some("\"8/s\"")), "\"4/s\",\"8/s\",\"16/s\",\"32/s\"");
        assert_eq!(around(Some("true")), "true,false");
        assert_eq!(around(None), "");
    }
}
