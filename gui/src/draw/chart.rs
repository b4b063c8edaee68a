//! Lines and points over two axes.

use eframe::egui::{Color32, Id, PointerButton, Pos2, Rect, Sense, Shape, Stroke, Ui, vec2};
use egui_plot::{
    HLine, Line, LineStyle, MarkerShape, Plot, PlotPoint, PlotPoints, PlotResponse, Points, VLine,
};
use scenarios::report::color::{BAD, MUTED, OUTLINE};
use scenarios::report::{Axis, Chart, Mark, Reference, Series, Unit};

use super::{Cursor, Touched};
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

/// What stands for a series or a reference.
enum Sign {
    Line(LineStyle),
    Point(MarkerShape),
}

/// What a line or a point looks like, and what it is, above the plot: within, it would lie on the lines.
fn legend(ui: &mut Ui, all: &[(String, Color32, Sign)]) {
    ui.horizontal_wrapped(|ui| {
        for (name, color, sign) in all {
            let (rect, _) = ui.allocate_exact_size(vec2(22.0, 12.0), Sense::hover());
            let (ends, stroke) = ([rect.left_center(), rect.right_center()], Stroke::new(2.0, *color));
            let painter = ui.painter();
            match *sign {
                Sign::Line(LineStyle::Solid) => _ = painter.line_segment(ends, stroke),
                Sign::Line(LineStyle::Dashed { length }) => {
                    painter.extend(Shape::dashed_line(&ends, stroke, length, 0.6 * length));
                }
                Sign::Line(LineStyle::Dotted { spacing }) => {
                    painter.extend(Shape::dotted_line(&ends, *color, spacing, 1.5));
                }
                Sign::Point(shape) => _ = painter.add(marker(shape, rect.center(), *color)),
            }
            ui.label(name);
            ui.add_space(8.0);
        }
    });
}

/// As the plot draws them.
fn marker(shape: MarkerShape, at: Pos2, color: Color32) -> Shape {
    let filled = |corners: &[(f32, f32)]| {
        let corners = corners.iter().map(|(x, y)| at + 4.0 * vec2(*x, *y)).collect();
        Shape::convex_polygon(corners, color, Stroke::NONE)
    };
    match shape {
        MarkerShape::Square => filled(&[(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]),
        MarkerShape::Up => filled(&[(0.0, -1.0), (0.9, 0.6), (-0.9, 0.6)]),
        MarkerShape::Diamond => filled(&[(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]),
        _ => Shape::circle_filled(at, 4.0, color),
    }
}

pub(super) fn chart(ui: &mut Ui, name: &str, chart: &Chart, cursor: Cursor<'_>) -> Option<Touched> {
    let over_time = chart.is_over_time();
    let (x, y) = (chart.x.clone(), chart.y.clone());
    let (for_x, for_y) = (x.clone(), y.clone());
    let mut plot = Plot::new(name)
        .height(HEIGHT)
        .allow_scroll(false)
        // What is dragged over is looked at more closely.
        .allow_drag(!over_time)
        .show_grid([false, true])
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
    let color = |(number, series): (usize, &Series)| match series.mark {
        Mark::Behind => theme::on(ui, OUTLINE),
        _ => theme::series(ui, number),
    };
    let colors: Vec<_> = chart.series.iter().enumerate().map(color).collect();
    let (limit, moment) = (theme::on(ui, BAD), theme::on(ui, MUTED));
    let style_of = |number: usize| STYLES[number / 2 % STYLES.len()];
    let named = |reference: &Reference| {
        let axis = if reference.vertical { &x } else { &y };
        (format!("{}: {}", reference.name, axis.unit.show(reference.at)), axis.shows(reference.at))
    };
    let of_reference = |reference: &Reference| {
        (if reference.vertical && over_time { moment } else { limit }, LineStyle::Dashed { length: 6.0 })
    };
    let sign = |number: usize, series: &Series| match series.mark.is_line() {
        true => Sign::Line(style_of(number)),
        false => Sign::Point(MARKERS[number % MARKERS.len()]),
    };
    let lines = chart.series.iter().enumerate().filter(|(_, series)| !series.points.is_empty());
    let mut all: Vec<_> =
        lines.map(|(number, series)| (series.name.clone(), colors[number], sign(number, series))).collect();
    for reference in &chart.references {
        let ((name, is_seen), (color, style)) = (named(reference), of_reference(reference));
        all.extend(is_seen.then_some((name, color, Sign::Line(style))));
    }
    legend(ui, &all);
    let behind = |(_, series): &(usize, &Series)| series.mark == Mark::Behind;
    let (behind, front): (Vec<_>, Vec<_>) = chart.series.iter().enumerate().partition(behind);
    let response = plot.show(ui, |plot| {
        for event in cursor.events.iter().filter(|_| over_time) {
            let ink = if event.is_fault { limit } else { moment };
            let line = VLine::new(event.said(), event.at).color(ink.gamma_multiply(0.5)).width(1.0);
            plot.vline(line.style(LineStyle::Dotted { spacing: 4.0 }));
        }
        for (number, series) in behind.into_iter().chain(front) {
            let points: Vec<[f64; 2]> = series
                .points
                .iter()
                .filter(|point| x.shows(point.0) && y.shows(point.1))
                .map(|point| [place(&x, point.0), place(&y, point.1)])
                .collect();
            let style = style_of(number);
            if series.mark.is_line() {
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
            let ((name, is_seen), (color, style)) = (named(reference), of_reference(reference));
            if !is_seen {
                continue;
            }
            if reference.vertical {
                plot.vline(VLine::new(name, place(&x, reference.at)).color(color).style(style));
            } else {
                plot.hline(HLine::new(name, place(&y, reference.at)).color(color).style(style));
            }
        }
        if let Some(at) = cursor.at.filter(|_| over_time) {
            plot.vline(VLine::new("shown time", at).color(moment).width(2.0));
        }
    });
    if over_time {
        if let Some((from, to)) = cursor.window {
            shade(ui, &response, (from, to));
        }
        return dragged(ui, &response, x.reach);
    }
    clicked(&response, chart)
}

/// The window that is looked at.
fn shade(ui: &Ui, response: &PlotResponse<()>, (from, to): (f64, f64)) {
    let room = response.response.rect;
    let [left, right] = [from, to].map(|at| response.transform.position_from_point_x(at));
    let part = Rect::from_x_y_ranges(left..=right, room.y_range()).intersect(room);
    if part.is_positive() {
        let ink = ui.visuals().selection.bg_fill;
        ui.painter().rect_filled(part, 0.0, ink.gamma_multiply(0.25));
        ui.painter().vline(part.left(), room.y_range(), Stroke::new(1.0, ink));
        ui.painter().vline(part.right(), room.y_range(), Stroke::new(1.0, ink));
    }
}

/// The times between which the pointer is dragged.
fn dragged(ui: &Ui, response: &PlotResponse<()>, end: Option<f64>) -> Option<Touched> {
    if !response.response.dragged_by(PointerButton::Primary) {
        return None;
    }
    let (start, now) = ui.input(|input| (input.pointer.press_origin(), input.pointer.interact_pos()));
    let time = |at: Pos2| response.transform.value_from_position(at).x.clamp(0.0, end.unwrap_or(f64::MAX));
    let (start, now) = (time(start?), time(now?));
    (start != now).then(|| Touched::Window(start.min(now), start.max(now)))
}

/// How far from a point it can be clicked, in pixels.
const NEAR: f32 = 12.0;

/// The point without a line through it that was clicked.
fn clicked(response: &PlotResponse<()>, chart: &Chart) -> Option<Touched> {
    let at = response.response.interact_pointer_pos().filter(|_| response.response.clicked())?;
    let points =
        chart.series.iter().filter(|series| !series.mark.is_line()).flat_map(|series| &series.points);
    let far = |(px, py): &(f64, f64)| {
        let place = PlotPoint::new(place(&chart.x, *px), place(&chart.y, *py));
        response.transform.position_from_point(&place).distance(at)
    };
    let all = points.map(|point| (far(point), *point)).filter(|(far, _)| *far <= NEAR);
    let (_, (px, py)) = all.min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(Touched::Point(px, py))
}
