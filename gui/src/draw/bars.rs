//! Bars made of parts, and values with their intervals.

use eframe::egui::{Align2, FontId, Pos2, Rect, Sense, Stroke, StrokeKind, Ui, Vec2, pos2, vec2};
use scenarios::report::color::{GRID, MUTED};
use scenarios::report::{Spans, Stack};

use crate::theme;

const ROW: f32 = 26.0;
const LETTERS: FontId = FontId::proportional(12.5);

/// Room for names at the left and for figures at the right.
fn columns(ui: &Ui, names: impl Iterator<Item = String>) -> (f32, f32) {
    let widest =
        names.map(|name| ui.painter().layout_no_wrap(name, LETTERS, ui.visuals().text_color()).size().x);
    (widest.fold(60.0, f32::max) + 10.0, 110.0)
}

fn row(ui: &mut Ui, what: &str) -> Rect {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    response.on_hover_text(what);
    rect
}

pub(super) fn stack(ui: &mut Ui, stack: &Stack) {
    ui.horizontal_wrapped(|ui| {
        for (number, part) in stack.parts.iter().enumerate() {
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(11.0), Sense::hover());
            ui.painter().rect_filled(rect, 2.0, theme::series(ui, number));
            ui.label(part);
        }
    });
    let most = stack.bars.iter().map(|(_, values)| values.iter().sum::<f64>()).fold(0.0, f64::max);
    let (left, right) = columns(ui, stack.bars.iter().map(|(name, _)| name.clone()));
    for (name, values) in &stack.bars {
        let total: f64 = values.iter().sum();
        let parts = stack.parts.iter().zip(values).filter(|(_, value)| **value > 0.0);
        let said: Vec<String> =
            parts.map(|(part, value)| format!("{part}: {}", stack.axis.unit.show(*value))).collect();
        let rect = row(ui, &format!("{name}: {}\n{}", stack.axis.unit.show(total), said.join("\n")));
        let room = (rect.width() - left - right).max(1.0);
        let ink = ui.visuals().text_color();
        let middle = rect.center().y;
        let painter = ui.painter_at(rect);
        painter.text(pos2(rect.left(), middle), Align2::LEFT_CENTER, name, LETTERS, ink);
        let mut from = rect.left() + left;
        for (number, value) in values.iter().enumerate() {
            let width = if most > 0.0 { (value / most) as f32 * room } else { 0.0 };
            let bar = Rect::from_min_size(pos2(from, rect.top() + 4.0), vec2(width, ROW - 8.0));
            painter.rect_filled(bar, 0.0, theme::series(ui, number));
            from += width;
        }
        painter.text(
            pos2(from + 6.0, middle),
            Align2::LEFT_CENTER,
            stack.axis.unit.show(total),
            LETTERS,
            ink,
        );
    }
    ui.small(&stack.axis.name);
}

pub(super) fn spans(ui: &mut Ui, spans: &Spans) {
    let ends =
        spans.spans.iter().flat_map(|span| [span.low, span.high]).chain(spans.base.iter().map(|base| base.1));
    let (low, high) =
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
    if let Some((name, at)) = &spans.base {
        ui.label(format!("{name}: {}", spans.axis.unit.show(*at)));
    }
    let (left, right) = columns(ui, spans.spans.iter().map(|span| span.name.clone()));
    let right = 2.0 * right;
    for span in &spans.spans {
        let show = |value: f64| spans.axis.unit.show(value);
        let words = match span.mark {
            Some(mark) => format!("{} ({} to {})", show(mark), show(span.low), show(span.high)),
            None => format!("{} to {}", show(span.low), show(span.high)),
        };
        let rect = row(ui, &format!("{}: {words}", span.name));
        let room = (rect.width() - left - right).max(1.0);
        let x = |value: f64| {
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            rect.left() + left + share as f32 * room
        };
        let (ink, middle) = (ui.visuals().text_color(), rect.center().y);
        let painter = ui.painter_at(rect);
        painter.text(pos2(rect.left(), middle), Align2::LEFT_CENTER, &span.name, LETTERS, ink);
        let (from, to) = (x(span.low).min(x(span.high)), x(span.low).max(x(span.high)));
        let bar = Rect::from_min_max(
            Pos2::new(from, rect.top() + 6.0),
            Pos2::new(to.max(from + 2.0), rect.bottom() - 6.0),
        );
        painter.rect(
            bar,
            2.0,
            theme::series(ui, 0),
            Stroke::new(1.0, theme::on(ui, GRID)),
            StrokeKind::Inside,
        );
        if let Some((_, at)) = &spans.base {
            painter.vline(x(*at), rect.y_range(), Stroke::new(1.0, theme::on(ui, MUTED)));
        }
        if let Some(mark) = span.mark {
            painter.circle_filled(pos2(x(mark), middle), 4.0, theme::series(ui, 1));
        }
        painter.text(pos2(rect.right() - right + 8.0, middle), Align2::LEFT_CENTER, words, LETTERS, ink);
    }
    ui.small(&spans.axis.name);
}
