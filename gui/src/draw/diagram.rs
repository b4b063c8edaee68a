//! The architecture: who calls whom, from left to right, and in what state each is.

use eframe::egui::{
    Align2, Color32, CornerRadius, FontId, Pos2, Rect, Response, Role, Sense, Shape, Stroke, StrokeKind, Ui,
    Vec2, WidgetInfo, pos2, vec2,
};
use scenarios::Scenario;
use scenarios::report::color::{BAD, GRID, INK, MUTED, OUTLINE, PAPER};
use scenarios::report::{Diagram, Node};

use crate::theme;

const BOX: Vec2 = vec2(196.0, 74.0);
/// How far calls on a link are drawn from one another.
const APART: f32 = 42.0;
const GAP: Vec2 = vec2(64.0, 26.0);

/// What is shown in a box besides its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    /// Share of what it is shortest of in use.
    pub utilization: Option<f64>,
    /// Calls waiting.
    pub queue: Option<f64>,
    /// Servers busy, and how many there are.
    pub busy: Option<(f64, f64)>,
    /// Share of the KV memory in use.
    pub kv: Option<f64>,
}

/// An architecture with its boxes and links in their places.
#[derive(Debug)]
pub(crate) struct Architecture {
    diagram: Diagram,
    boxes: Vec<Rect>,
    routes: Vec<Vec<Pos2>>,
    /// Of each link: its name, its policies in short, and in words.
    links: Vec<(String, String, String)>,
    room: Rect,
}

/// The policies of a link: the letters that mark them, and what they say.
fn policies(scenario: &Scenario, link: &str) -> (String, String) {
    let Some(link) = scenario.links.get(link) else { return Default::default() };
    let mut marks = String::new();
    let mut words = Vec::new();
    let mut add = |mark: char, said: String| {
        marks.push(mark);
        words.push(said);
    };
    if let Some(time) = link.timeout.or(link.per_try_timeout) {
        add('T', format!("timeout {time}"));
    }
    if link.retry.is_some() {
        add('R', "retries".to_owned());
    }
    if link.circuit_breaker.is_some() {
        add('B', "circuit breaker".to_owned());
    }
    if link.hedge.is_some() {
        add('H', "hedging".to_owned());
    }
    if !link.fallback.is_empty() {
        add('F', "fallback".to_owned());
    }
    (marks, words.join(", "))
}

impl Architecture {
    pub fn new(diagram: Diagram, scenario: &Scenario) -> Self {
        let layout = diagram.layout();
        let corner =
            |(layer, row): (usize, f64)| pos2(layer as f32 * (BOX.x + GAP.x), row as f32 * (BOX.y + GAP.y));
        let boxes: Vec<Rect> =
            layout.places.iter().map(|place| Rect::from_min_size(corner(*place), BOX)).collect();
        let routes = layout.routes.iter().map(|route| route.iter().map(|place| corner(*place)).collect());
        let room = boxes.iter().fold(Rect::NOTHING, |all, one| all.union(*one)).expand(16.0);
        let link = |(from, to, _): &(usize, usize, bool)| {
            let name = format!("{} -> {}", diagram.nodes[*from].name, diagram.nodes[*to].name);
            let (marks, words) = policies(scenario, &name);
            (name, marks, words)
        };
        let links = diagram.links.iter().map(link).collect();
        Self { routes: routes.collect(), boxes, links, room, diagram }
    }

    /// The room that it takes.
    pub fn room(&self) -> Rect {
        self.room
    }

    pub fn nodes(&self) -> &[Node] {
        &self.diagram.nodes
    }

    /// Draws it; the name of the node or link that was clicked. A right click on a node opens the menu. `flow` says how
    /// far calls to each node have come; empty where nothing moves.
    pub fn draw(
        &self,
        ui: &mut Ui,
        states: &[State],
        selected: Option<&str>,
        flow: &[f32],
        mut menu: impl FnMut(&mut Ui, &str),
    ) -> Option<String> {
        ui.set_min_size(self.room.max.to_vec2());
        let origin = ui.min_rect().min.to_vec2();
        let mut clicked = None;
        let all = self.diagram.links.iter().zip(&self.routes).zip(&self.links);
        for (((_, to, fallback), route), (name, marks, words)) in all {
            let route: Vec<Pos2> = route.iter().map(|place| *place + origin).collect();
            let line =
                link(ui, &route, self.diagram.nodes[*to].bottleneck, *fallback, flow.get(*to).copied());
            if handle(ui, &line, name, marks, words, selected == Some(name.as_str())).clicked() {
                clicked = Some(name.clone());
            }
        }
        for (number, node) in self.diagram.nodes.iter().enumerate() {
            let rect = self.boxes[number].translate(origin);
            let state = states.get(number).cloned().unwrap_or_default();
            let response = boxed(ui, rect, node, &state, selected == Some(node.name.as_str()));
            if response.clicked() {
                clicked = Some(node.name.clone());
            }
            response.context_menu(|ui| menu(ui, &node.name));
        }
        clicked
    }
}

/// A dot in the middle of a link, with the letters of its policies: what is clicked to see them.
fn handle(ui: &mut Ui, line: &[Pos2], name: &str, marks: &str, words: &str, selected: bool) -> Response {
    let length: f32 = line.windows(2).map(|pair| pair[0].distance(pair[1])).sum();
    let size = vec2(if marks.is_empty() { 12.0 } else { 10.0 + 7.5 * marks.len() as f32 }, 15.0);
    let rect = Rect::from_center_size(along(line, length / 2.0), size);
    let response = ui.interact(rect.expand(3.0), ui.scope_id().with(name), Sense::click());
    let said = if words.is_empty() { "no policies" } else { words };
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Calls {name}: {said}")));
    let (ink, quiet) = (theme::on(ui, INK), theme::on(ui, MUTED));
    let is_lit = selected || response.hovered() || response.has_focus();
    let edge = match selected {
        true => Stroke::new(2.0, ui.visuals().selection.bg_fill),
        false => Stroke::new(if is_lit { 2.0 } else { 1.0 }, quiet),
    };
    let painter = ui.painter();
    if marks.is_empty() {
        painter.circle(rect.center(), if is_lit { 4.5 } else { 3.0 }, theme::on(ui, PAPER), edge);
    } else {
        painter.rect(rect, CornerRadius::same(7), theme::on(ui, PAPER), edge, StrokeKind::Inside);
        painter.text(rect.center(), Align2::CENTER_CENTER, marks, FontId::proportional(10.5), ink);
    }
    response.on_hover_text(format!("{name}\n{said}"))
}

fn link(ui: &Ui, route: &[Pos2], is_tight: bool, fallback: bool, flow: Option<f32>) -> Vec<Pos2> {
    let ink = theme::on(ui, if is_tight { BAD } else { MUTED });
    let stroke = Stroke::new(if is_tight { 2.4 } else { 1.5 }, ink);
    let [Some(first), Some(last)] = [route.first(), route.last()] else { return Vec::new() };
    let middle = BOX.y / 2.0;
    let mut line: Vec<Pos2> = Vec::new();
    if route.len() == 1 || last.x <= first.x {
        // Back to where calls come from: over the upper edge.
        let lift = first.y.min(last.y) - GAP.y / 2.0;
        let (start, end) =
            (pos2(first.x + BOX.x / 2.0 + 14.0, first.y), pos2(last.x + BOX.x / 2.0 - 14.0, last.y));
        line.extend([start, pos2(start.x, lift), pos2(end.x, lift), end]);
    } else {
        for pair in route.windows(2) {
            let (from, to) =
                (pos2(pair[0].x + BOX.x, pair[0].y + middle), pos2(pair[1].x, pair[1].y + middle));
            if pair[0] != *first {
                line.push(pos2(pair[0].x, from.y));
            }
            line.extend((0..=16).map(|step| {
                let t = step as f32 / 16.0;
                pos2(from.x + (to.x - from.x) * t, from.y + (to.y - from.y) * t * t * (3.0 - 2.0 * t))
            }));
        }
    }
    let painter = ui.painter();
    if fallback {
        painter.extend(Shape::dashed_line(&line, stroke, 6.0, 5.0));
    } else {
        painter.add(Shape::line(line.clone(), stroke));
    }
    if let [.., before, tip] = line[..] {
        let direction = (tip - before).normalized();
        let side = direction.rot90() * 4.0;
        let back = tip - direction * 8.0;
        painter.add(Shape::convex_polygon(vec![tip, back + side, back - side], ink, Stroke::NONE));
    }
    if let Some(phase) = flow.filter(|_| !fallback) {
        let length: f32 = line.windows(2).map(|pair| pair[0].distance(pair[1])).sum();
        let mut at = phase.rem_euclid(APART);
        while at < length {
            painter.circle_filled(along(&line, at), 2.6, ink);
            at += APART;
        }
    }
    line
}

/// The point of a line so far from its start.
fn along(line: &[Pos2], mut far: f32) -> Pos2 {
    for pair in line.windows(2) {
        let step = pair[0].distance(pair[1]);
        if far <= step && step > 0.0 {
            return pair[0] + (pair[1] - pair[0]) * (far / step);
        }
        far -= step;
    }
    line.last().copied().unwrap_or_default()
}

fn boxed(ui: &mut Ui, rect: Rect, node: &Node, state: &State, selected: bool) -> Response {
    let response = ui.allocate_rect(rect, Sense::click());
    let used = state.utilization.map_or(String::new(), |share| format!(", {:.0}% in use", share * 100.0));
    let tight = if node.bottleneck { ", bottleneck" } else { "" };
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Button, true, format!("{} ({}{used}{tight})", node.name, node.kind))
    });
    let painter = ui.painter();
    let outline = match (selected, node.bottleneck) {
        (true, _) => Stroke::new(2.5, ui.visuals().selection.bg_fill),
        (_, true) => Stroke::new(2.5, theme::on(ui, BAD)),
        _ => Stroke::new(
            if response.hovered() || response.has_focus() { 2.0 } else { 1.2 },
            theme::on(ui, OUTLINE),
        ),
    };
    painter.rect(rect, CornerRadius::same(6), theme::on(ui, PAPER), outline, StrokeKind::Inside);
    let ink = theme::on(ui, INK);
    let quiet = theme::on(ui, MUTED);
    let left = rect.left() + 10.0;
    let name = short(&node.name, 24);
    painter.text(pos2(left, rect.top() + 15.0), Align2::LEFT_CENTER, name, FontId::proportional(14.0), ink);
    let kind = if node.bottleneck { format!("{}: bottleneck", node.kind) } else { node.kind.clone() };
    let kind_ink = if node.bottleneck { theme::on(ui, BAD) } else { quiet };
    painter.text(
        pos2(left, rect.top() + 32.0),
        Align2::LEFT_CENTER,
        short(&kind, 29),
        FontId::proportional(11.5),
        kind_ink,
    );
    if let Some(share) = state.utilization {
        bar(ui, rect, rect.top() + 45.0, share, &format!("{:.0}%", share * 100.0), theme::heat(ui, share));
    }
    let mut said = Vec::new();
    said.extend(state.queue.filter(|queue| *queue >= 0.05).map(|queue| format!("{queue:.1} waiting")));
    said.extend(state.busy.map(|(busy, capacity)| format!("{busy:.1} of {capacity:.0} busy")));
    said.extend(state.kv.map(|kv| format!("KV {:.0}%", kv * 100.0)));
    painter.text(
        pos2(left, rect.bottom() - 10.0),
        Align2::LEFT_CENTER,
        said.join(", "),
        FontId::proportional(11.0),
        quiet,
    );
    response
}

fn bar(ui: &Ui, rect: Rect, y: f32, share: f64, words: &str, fill: Color32) {
    let room = Rect::from_min_size(pos2(rect.left() + 10.0, y), vec2(rect.width() - 58.0, 9.0));
    let painter = ui.painter();
    painter.rect_filled(room, 2.0, theme::on(ui, GRID));
    let full =
        Rect::from_min_size(room.min, vec2(room.width() * share.clamp(0.0, 1.0) as f32, room.height()));
    painter.rect_filled(full, 2.0, fill);
    painter.rect_stroke(room, 2.0, Stroke::new(0.8, theme::on(ui, OUTLINE)), StrokeKind::Inside);
    let at = pos2(room.right() + 6.0, room.center().y);
    painter.text(at, Align2::LEFT_CENTER, words, FontId::proportional(11.5), theme::on(ui, INK));
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{kept}\u{2026}")
}
