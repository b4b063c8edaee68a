//! A run as it is shown: what is drawn of it in every frame is worked out once.

use std::borrow::Cow;

use scenarios::report::{Block, Diagram, Drawing, Event, Node, Report, events};
use scenarios::results::RunResult;

use crate::draw::{Architecture, NodeState};

/// A run, its report, and its architecture with the state of each component.
#[derive(Debug)]
pub(crate) struct Shown {
    pub result: RunResult,
    pub report: Report,
    /// Only a part of the run that was asked for: there is more to come.
    pub coarse: bool,
    pub architecture: Architecture,
    /// On average, over the measured part.
    averages: Vec<NodeState>,
    /// Calls that reach each node, by those that reach the busiest, over the measured part.
    flow: Vec<f64>,
    /// What happened besides requests.
    pub events: Vec<Event>,
}

impl Shown {
    pub fn new(result: RunResult, coarse: bool) -> Self {
        let report = result.report();
        let drawn = report.blocks.iter().find_map(|block| match block {
            Block::Picture(picture) => match &picture.drawing {
                Drawing::Diagram(diagram) => Some(diagram.clone()),
                _ => None,
            },
            _ => None,
        });
        let diagram = drawn.unwrap_or_else(|| Diagram::of(&result.scenario));
        let rows = result.component_averages();
        let of = |node: &Node| {
            let row = rows.iter().find(|row| row.keys[0] == node.name);
            let mean = |column: &str| row.and_then(|row| row.mean(column));
            let (queue, kv) = (mean("queue_mean"), mean("kv_mean"));
            NodeState { utilization: node.utilization, queue, busy: None, kv }
        };
        let calls = |node: &Node| {
            rows.iter().find(|row| row.keys[0] == node.name).and_then(|row| row.mean("calls")).unwrap_or(0.0)
        };
        let calls: Vec<f64> = diagram.nodes.iter().map(calls).collect();
        let most = calls.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let flow = calls.iter().map(|calls| calls / most).collect();
        let averages = diagram.nodes.iter().map(of).collect();
        let architecture = Architecture::new(diagram, &result.scenario);
        let events = events(&result);
        Self { result, report, coarse, architecture, averages, flow, events }
    }

    /// The number of the window of the first replication that a time falls into.
    fn window(&self, time: f64) -> usize {
        let windows = self.result.outputs.first().map_or(&[][..], |output| &output.windows);
        windows.partition_point(|window| window.start.as_secs_f64() <= time).saturating_sub(1)
    }

    /// How fast calls come to each node at a time, by how fast they come to the busiest on average: its share of all
    /// calls, by the requests that are born in the window.
    pub fn flow(&self, time: f64) -> Vec<f64> {
        let windows = self.result.outputs.first().map_or(&[][..], |output| &output.windows);
        let rates = windows.iter().map(|window| (window.born as f64, window.width.as_secs_f64()));
        let (born, length) = rates.clone().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        let now = rates.clone().nth(self.window(time)).filter(|(_, width)| *width > 0.0);
        let pace = now.filter(|_| born > 0.0).map_or(0.0, |(now, width)| now / width / (born / length));
        self.flow.iter().map(|share| share * pace).collect()
    }

    /// Where the GPU times of a component come from; none where it has none.
    pub fn calibration(&self, name: &str) -> Option<&str> {
        let components = &self.result.outputs.first()?.components;
        let component = components.iter().find(|component| component.name == name)?;
        component.pool.as_ref()?.calibration.as_deref()
    }

    /// The state of every node: on average, or in the window of the first replication that a time falls into.
    pub fn states(&self, time: Option<f64>) -> Cow<'_, [NodeState]> {
        let (Some(time), Some(output)) = (time, self.result.outputs.first()) else {
            return Cow::Borrowed(&self.averages);
        };
        let place = self.window(time);
        let count = output.components.len();
        let row = output.component_windows.get(place * count..(place + 1) * count).unwrap_or_default();
        let of = |node: &Node| {
            let number = output.components.iter().position(|component| component.name == node.name);
            let Some(window) = number.and_then(|number| row.get(number)) else { return NodeState::default() };
            let (used, total) = (window.signals.kv_used as f64, window.signals.kv_total as f64);
            let is_there = window.capacity > 0.0;
            NodeState {
                // To be busy all the time is what works by a schedule is for.
                utilization: (is_there && node.utilization.is_some()).then(|| window.busy / window.capacity),
                queue: Some(window.queue),
                busy: is_there.then_some((window.busy, window.capacity)),
                kv: (total > 0.0).then(|| used / total),
            }
        };
        self.architecture.nodes().iter().map(of).collect()
    }
}
