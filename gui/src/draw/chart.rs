//! Lines and points over two axes.

use eframe::egui::{Id, Ui};
use egui_plot::{Corner, HLine, Legend, Line, LineStyle, MarkerShape, Plot, PlotPoints, Points, VLine};
use scenarios::report::color::{BAD, MUTED};
use scenarios::report::{Axis, Chart, Mark, Unit};

use super::Cursor;
use crate::theme;

const HEIGHT: f32 = 230.0;
const STYLES: [LineStyle; 4] = [
    LineStyle::Solid,
    LineStyle::Dashed { length: 9.0 },
    LineStyle::Dotted { spacing: 6.0 },
    LineStyle::Dashed { length: 18.0 },
];
const MARKERS: [MarkerShape; 4] =
    [MarkerShape::Circle, MarkerShape::Square, MarkerShape::Up, MarkerShape::Diamond];

/// Where a value stands on an axis, and what a place on it means.
fn place(axis: &Axis, value: f64) -> f64 {
    if axis.log { libm::log10(value) } else { value }
}

fn meaning(axis: &Axis, place: f64) -> f64 {
    if axis.log { libm::pow(10.0, place) } else { place }
}

/// Its name, and its unit where the ticks do not say it.
fn title(axis: &Axis) -> String {
    let mut name = axis.name.clone();
    if let Some(first) = name.get(..1) {
        name = first.to_uppercase() + &name[1..];
    }
    match axis.unit {
        Unit::Number(unit) if !unit.is_empty() => format!("{name} [{unit}]"),
        _ => name,
    }
}

fn tick(axis: &Axis, place: f64) -> String {
    let value = meaning(axis, place);
    match axis.unit {
        Unit::Number(_) => Unit::Number("").show(value),
        unit => unit.show(value),
    }
}

pub(super) fn chart(ui: &mut Ui, name: &str, chart: &Chart, cursor: Cursor) {
    let over_time = chart.x.name == "time";
    // Distributions rise to the upper right.
    let is_share = chart.x.log && chart.y.unit == Unit::Share;
    let (x, y) = (chart.x.clone(), chart.y.clone());
    let (for_x, for_y) = (x.clone(), y.clone());
    let mut plot = Plot::new(name)
        .height(HEIGHT)
        .allow_scroll(false)
        .legend(Legend::default().position(if is_share { Corner::RightBottom } else { Corner::LeftTop }))
        .x_axis_label(title(&x))
        .y_axis_label(title(&y))
        .x_axis_formatter(move |mark, _| tick(&for_x, mark.value))
        .y_axis_formatter(move |mark, _| tick(&for_y, mark.value));
    if !y.log {
        plot = plot.include_y(0.0);
    }
    if let Some(reach) = x.reach.filter(|reach| x.shows(*reach)) {
        plot = plot.include_x(place(&x, reach));
    }
    if over_time {
        let group = Id::unique("over time");
        plot = plot.link_axis(group, [true, false]).link_cursor(group, [true, false]);
    }
    let colors: Vec<_> = (0..chart.series.len()).map(|number| theme::series(ui, number)).collect();
    let (limit, moment) = (theme::on(ui, BAD), theme::on(ui, MUTED));
    plot.show(ui, |plot| {
        for (number, series) in chart.series.iter().enumerate() {
            let points: Vec<[f64; 2]> = series
                .points
                .iter()
                .filter(|point| x.shows(point.0) && y.shows(point.1))
                .map(|point| [place(&x, point.0), place(&y, point.1)])
                .collect();
            let style = STYLES[number / 2 % STYLES.len()];
            if series.mark != Mark::Points {
                let line = Line::new(series.name.clone(), PlotPoints::from(points.clone()));
                plot.line(line.color(colors[number]).width(1.8).style(style));
            }
            if series.mark != Mark::Line {
                let shape = MARKERS[number % MARKERS.len()];
                let marks = Points::new(series.name.clone(), PlotPoints::from(points));
                plot.points(marks.color(colors[number]).radius(3.5).shape(shape));
            }
        }
        for reference in &chart.references {
            let (axis, style) = (if reference.vertical { &x } else { &y }, LineStyle::Dashed { length: 6.0 });
            if !axis.shows(reference.at) {
                continue;
            }
            let (name, at) =
                (format!("{}: {}", reference.name, axis.unit.show(reference.at)), place(axis, reference.at));
            if reference.vertical {
                plot.vline(VLine::new(name, at).color(if over_time { moment } else { limit }).style(style));
            } else {
                plot.hline(HLine::new(name, at).color(limit).style(style));
            }
        }
        if let Some(at) = cursor.at.filter(|_| over_time) {
            plot.vline(VLine::new("shown time", at).color(moment).width(2.0));
        }
    });
}
