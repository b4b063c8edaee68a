//! The architecture: who calls whom, from left to right, and in what state each is.

use eframe::egui::{
    Align2, Color32, CornerRadius, FontId, Pos2, Rect, Response, Role, Sense, Shape, Stroke, StrokeKind, Ui,
    Vec2, WidgetInfo, pos2, vec2,
};
use scenarios::Scenario;
use scenarios::report::color::{BAD, GRID, INK, MUTED, OUTLINE, PAPER};
use scenarios::report::{Diagram, Node};
use scenarios::results::show::percent;

use crate::theme;

const BOX: Vec2 = vec2(196.0, 88.0);
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
    /// Replicas that are up, and the most that ever were.
    pub replicas: Option<(f64, f64)>,
}

/// A number with its tenth, where there is one.
fn tenths(value: f64) -> String {
    let whole = value.round();
    if (value - whole).abs() < 0.05 { format!("{whole:.0}") } else { format!("{value:.1}") }
}

impl State {
    /// Calls waiting and in service, in words.
    fn calls(&self) -> Vec<String> {
        let waiting = self.queue.filter(|queue| *queue >= 0.05).map(|queue| format!("{queue:.1} waiting"));
        let busy = self.busy.map(|(busy, capacity)| format!("{busy:.1} of {capacity:.0} busy"));
        waiting.into_iter().chain(busy).collect()
    }

    fn replicas(&self) -> Option<String> {
        self.replicas.map(|(up, most)| format!("{} of {} up", tenths(up), tenths(most)))
    }

    /// Of the calls that are here, the share that waits.
    fn waiting(&self) -> Option<f64> {
        let (queue, (busy, _)) = (self.queue?, self.busy?);
        (queue >= 0.05).then(|| queue / (queue + busy))
    }

    /// All of it, in words.
    fn said(&self) -> String {
        let share = |what: &str, share: f64| format!("{:.0}% {what}", share * 100.0);
        let used = self.utilization.map(|used| share("in use", used));
        let replicas = self.replicas().map(|replicas| format!("replicas: {replicas}"));
        let kv = self.kv.map(|kv| share("of the KV memory", kv));
        let all = used.into_iter().chain(self.calls()).chain(replicas).chain(kv);
        all.map(|one| format!(", {one}")).collect()
    }
}

/// What the circuit breaker of a link did in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Breaker {
    /// Share of the time that it was open or half-open.
    pub open: f64,
    /// How often it opened.
    pub opened: f64,
    /// Attempts that it did not let through.
    pub refused: f64,
}

impl Breaker {
    fn said(self) -> String {
        let times = |count: f64| format!("{} {}", tenths(count), if count == 1.0 { "time" } else { "times" });
        match self {
            Self { refused: 0.0, open: 0.0, .. } => "circuit breaker closed all the time".to_owned(),
            // Limits and throttles have no state: they only refuse.
            Self { refused, open: 0.0, .. } => {
                format!("circuit breaker refused {} attempts", tenths(refused))
            }
            Self { open, opened, refused } => format!(
                "circuit breaker open or half-open {} of the time, opened {}, refused {} attempts",
                percent(open),
                times(opened),
                tenths(refused)
            ),
        }
    }

    /// In a word or two, where there is something to worry about.
    fn short(self) -> Option<String> {
        match self {
            Self { open, .. } if open >= 0.01 => Some(format!("open {:.0}%", open * 100.0)),
            Self { open, .. } if open > 0.0 => Some("opened".to_owned()),
            Self { refused, .. } if refused > 0.0 => Some("refuses".to_owned()),
            _ => None,
        }
    }
}

/// The breakers of a link at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BreakerNow {
    pub open: u32,
    pub half_open: u32,
    /// All of them: each client process has one.
    pub clients: u32,
}

impl BreakerNow {
    /// In a word or two; none where all are closed.
    fn short(self) -> Option<String> {
        let (state, count) = match self {
            Self { open: 0, half_open: 0, .. } => return None,
            Self { open: 0, half_open, .. } => ("half-open", half_open),
            Self { open, .. } => ("open", open),
        };
        Some(if self.clients == 1 { state.to_owned() } else { format!("{count} {state}") })
    }

    fn said(self) -> String {
        let Self { open, half_open, clients } = self;
        match self.short() {
            None => "circuit breaker closed".to_owned(),
            Some(short) if clients == 1 => format!("circuit breaker {short}"),
            Some(_) => format!("circuit breakers of {clients} clients: {open} open, {half_open} half-open"),
        }
    }
}

/// A link: what it is called, and the policies on it.
#[derive(Debug)]
struct Link {
    name: String,
    /// The letters of its policies.
    marks: String,
    /// Its policies in words.
    policies: Vec<String>,
    /// What its breaker did.
    breaker: Option<Breaker>,
}

impl Link {
    /// Its policies and its breaker: now, if that is known, or what it did.
    fn words(&self, now: Option<BreakerNow>) -> String {
        let breaker = now.map(BreakerNow::said).or_else(|| self.breaker.map(Breaker::said));
        let words: Vec<String> = self.policies.iter().cloned().chain(breaker).collect();
        if words.is_empty() { "no policies".to_owned() } else { words.join(", ") }
    }
}

/// An architecture with its boxes and links in their places.
#[derive(Debug)]
pub(crate) struct Architecture {
    diagram: Diagram,
    boxes: Vec<Rect>,
    routes: Vec<Vec<Pos2>>,
    links: Vec<Link>,
    room: Rect,
}

/// The policies of a link: the letters that mark them, and what they say.
fn policies(scenario: &Scenario, link: &str) -> (String, Vec<String>) {
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
    (marks, words)
}

impl Architecture {
    /// With what is known of the breaker from one to another, by their names.
    pub fn new(
        diagram: Diagram,
        scenario: &Scenario,
        breaker: impl Fn(&str, &str) -> Option<Breaker>,
    ) -> Self {
        let layout = diagram.layout();
        let corner =
            |(layer, row): (usize, f64)| pos2(layer as f32 * (BOX.x + GAP.x), row as f32 * (BOX.y + GAP.y));
        let boxes: Vec<Rect> =
            layout.places.iter().map(|place| Rect::from_min_size(corner(*place), BOX)).collect();
        let routes = layout.routes.iter().map(|route| route.iter().map(|place| corner(*place)).collect());
        let room = boxes.iter().fold(Rect::NOTHING, |all, one| all.union(*one)).expand(16.0);
        let link = |(from, to, _): &(usize, usize, bool)| {
            let (from, to) = (&diagram.nodes[*from].name, &diagram.nodes[*to].name);
            let name = format!("{from} -> {to}");
            let (marks, words) = policies(scenario, &name);
            Link { name, marks, policies: words, breaker: breaker(from, to) }
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

    /// Who calls whom, by link.
    pub fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        let name = |number: usize| self.diagram.nodes[number].name.as_str();
        self.diagram.links.iter().map(move |(from, to, _)| (name(*from), name(*to)))
    }

    /// Draws it; the name of the node or link that was clicked. A right click on a node opens the menu. `flow` says how
    /// far calls to each node have come; empty where nothing moves. `breakers` are those of each link at a time; empty
    /// where no time is shown.
    pub fn draw(
        &self,
        ui: &mut Ui,
        states: &[State],
        breakers: &[Option<BreakerNow>],
        selected: Option<&str>,
        flow: &[f32],
        mut menu: impl FnMut(&mut Ui, &str),
    ) -> Option<String> {
        ui.set_min_size(self.room.max.to_vec2());
        let origin = ui.min_rect().min.to_vec2();
        let mut clicked = None;
        let all = self.diagram.links.iter().zip(&self.routes).zip(&self.links);
        for (number, (((_, to, fallback), route), policies)) in all.enumerate() {
            let route: Vec<Pos2> = route.iter().map(|place| *place + origin).collect();
            let line =
                link(ui, &route, self.diagram.nodes[*to].bottleneck, *fallback, flow.get(*to).copied());
            let is_selected = selected == Some(policies.name.as_str());
            let now = breakers.get(number).copied().flatten();
            if handle(ui, &line, policies, now, is_selected).clicked() {
                clicked = Some(policies.name.clone());
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

/// A dot in the middle of a link, with the letters of its policies and its breaker, as it is now or what it did: what is
/// clicked to see them.
fn handle(ui: &mut Ui, line: &[Pos2], link: &Link, now: Option<BreakerNow>, selected: bool) -> Response {
    let length: f32 = line.windows(2).map(|pair| pair[0].distance(pair[1])).sum();
    let (ink, quiet) = (theme::on(ui, INK), theme::on(ui, MUTED));
    let text = |text: &str, ink: Color32| {
        ui.painter().layout_no_wrap(text.to_owned(), FontId::proportional(10.5), ink)
    };
    let marks = text(&link.marks, ink);
    let trouble = now.map_or_else(|| link.breaker.and_then(Breaker::short), BreakerNow::short);
    let trouble = trouble.map(|trouble| text(&trouble, theme::on(ui, BAD)));
    let below = trouble.as_ref().map_or(Vec2::ZERO, |trouble| trouble.size());
    let size = match link.marks.is_empty() {
        true => vec2(12.0, 15.0),
        false => vec2(10.0 + marks.size().x.max(below.x), 15.0 + below.y),
    };
    let rect = Rect::from_center_size(along(line, length / 2.0), size);
    let response = ui.interact(rect.expand(3.0), ui.scope_id().with(&link.name), Sense::click());
    let said = link.words(now);
    let name = &link.name;
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Calls {name}: {said}")));
    let is_lit = selected || response.hovered() || response.has_focus();
    let edge = match (selected, &trouble) {
        (true, _) => Stroke::new(2.0, ui.visuals().selection.bg_fill),
        (_, Some(_)) => Stroke::new(if is_lit { 2.4 } else { 1.6 }, theme::on(ui, BAD)),
        _ => Stroke::new(if is_lit { 2.0 } else { 1.0 }, quiet),
    };
    let painter = ui.painter();
    if link.marks.is_empty() {
        painter.circle(rect.center(), if is_lit { 4.5 } else { 3.0 }, theme::on(ui, PAPER), edge);
    } else {
        painter.rect(rect, CornerRadius::same(7), theme::on(ui, PAPER), edge, StrokeKind::Inside);
        let middle = rect.center_top() + vec2(0.0, 7.5);
        painter.galley(middle - marks.size() / 2.0, marks, ink);
        if let Some(trouble) = trouble {
            painter.galley(middle + vec2(-below.x / 2.0, 5.0), trouble, ink);
        }
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
    let tight = if node.bottleneck { ", bottleneck" } else { "" };
    response.widget_info(|| {
        let said = state.said();
        WidgetInfo::labeled(Role::Button, true, format!("{} ({}{said}{tight})", node.name, node.kind))
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
    if let Some(replicas) = state.replicas() {
        let at = pos2(rect.right() - 10.0, rect.top() + 32.0);
        let is_short = state.replicas.is_some_and(|(up, most)| up < most - 0.05);
        let ink = if is_short { ink } else { quiet };
        painter.text(at, Align2::RIGHT_CENTER, replicas, FontId::proportional(11.0), ink);
    }
    // Calls that wait pile up at the edge that they come to.
    if let Some(share) = state.waiting() {
        let room = rect.shrink2(vec2(0.0, 6.0));
        let pile = Rect::from_min_max(
            pos2(room.left() + 3.0, room.bottom() - room.height() * share as f32),
            pos2(room.left() + 7.0, room.bottom()),
        );
        painter.rect_filled(pile, 1.0, theme::on(ui, BAD));
    }
    if let Some(share) = state.utilization {
        bar(ui, rect, rect.top() + 45.0, share, &format!("{:.0}%", share * 100.0), theme::heat(ui, share));
    }
    if let Some(share) = state.kv {
        bar(ui, rect, rect.top() + 58.0, share, &format!("KV {:.0}%", share * 100.0), theme::heat(ui, share));
    }
    let at = pos2(left, rect.top() + if state.kv.is_some() { 77.0 } else { 65.0 });
    painter.text(at, Align2::LEFT_CENTER, state.calls().join(", "), FontId::proportional(11.0), quiet);
    response
}

fn bar(ui: &Ui, rect: Rect, y: f32, share: f64, words: &str, fill: Color32) {
    let room = Rect::from_min_size(pos2(rect.left() + 10.0, y), vec2(rect.width() - 66.0, 9.0));
    let painter = ui.painter();
    painter.rect_filled(room, 2.0, theme::on(ui, GRID));
    let full =
        Rect::from_min_size(room.min, vec2(room.width() * share.clamp(0.0, 1.0) as f32, room.height()));
    painter.rect_filled(full, 2.0, fill);
    painter.rect_stroke(room, 2.0, Stroke::new(0.8, theme::on(ui, OUTLINE)), StrokeKind::Inside);
    let at = pos2(room.right() + 6.0, room.center().y);
    painter.text(at, Align2::LEFT_CENTER, words, FontId::proportional(11.0), theme::on(ui, INK));
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{kept}\u{2026}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_said() {
        assert_eq!(State::default().said(), "");
        let state = State {
            utilization: Some(0.5),
            queue: Some(3.0),
            busy: Some((1.0, 1.0)),
            kv: Some(0.25),
            replicas: Some((1.0, 2.0)),
        };
        let said = ", 50% in use, 3.0 waiting, 1.0 of 1 busy, replicas: 1 of 2 up, 25% of the KV memory";
        assert_eq!(state.said(), said);
        assert_eq!(state.waiting(), Some(0.75));
        assert_eq!(State { replicas: Some((1.667, 2.0)), ..state }.replicas().unwrap(), "1.7 of 2 up");
    }

    #[test]
    fn a_breaker_is_said() {
        let calm = Breaker::default();
        assert_eq!((calm.said().as_str(), calm.short()), ("circuit breaker closed all the time", None));
        let limit = Breaker { refused: 12.5, ..calm };
        assert_eq!(limit.said(), "circuit breaker refused 12.5 attempts");
        let open = Breaker { open: 0.123, opened: 1.0, refused: 20.0 };
        let said = "circuit breaker open or half-open 12.3% of the time, opened 1 time, refused 20 attempts";
        assert_eq!((open.said().as_str(), open.short().as_deref()), (said, Some("open 12%")));
        assert_eq!(Breaker { open: 0.002, ..open }.short().as_deref(), Some("opened"));
        let now = BreakerNow { open: 0, half_open: 0, clients: 1 };
        assert_eq!((now.said().as_str(), now.short()), ("circuit breaker closed", None));
        let now = BreakerNow { half_open: 1, ..now };
        assert_eq!(
            (now.said().as_str(), now.short().as_deref()),
            ("circuit breaker half-open", Some("half-open"))
        );
        let now = BreakerNow { open: 3, half_open: 1, clients: 8 };
        assert_eq!(now.said(), "circuit breakers of 8 clients: 3 open, 1 half-open");
        assert_eq!(now.short().as_deref(), Some("3 open"));
    }
}
