//! A run as it is shown: what is drawn of it in every frame is worked out once.

use std::borrow::Cow;

use scenarios::report::{Block, Diagram, Drawing, Event, Node, Report, events};
use scenarios::results::RunResult;

use crate::draw::{Architecture, Breaker, BreakerNow, NodeState};

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
    /// Of each node its replicas.
    pools: Vec<Option<Replicas>>,
    /// Calls that reach each node, by those that reach the busiest, over the measured part.
    flow: Vec<f64>,
    /// What happened besides requests.
    pub events: Vec<Event>,
}

/// The replicas of a pool that has, or had, several.
#[derive(Debug, Clone, Copy)]
struct Replicas {
    /// What one adds to the capacity of the pool.
    each: f64,
    /// The most that were up at once.
    most: f64,
    /// How many were, on average over the measured part.
    mean: f64,
}

/// The replicas of a component; none where it has one at most, or such as differ.
fn pool(result: &RunResult, name: &str) -> Option<Replicas> {
    let output = result.outputs.first()?;
    let number = output.components.iter().position(|component| component.name == name)?;
    let replicas = &output.components[number].pool.as_ref()?.replicas;
    let each = replicas.first().map(|replica| replica.capacity).filter(|each| *each > 0)?;
    if replicas.len() < 2 || replicas.iter().any(|replica| replica.capacity != each) {
        return None;
    }
    let each = each as f64;
    let rows = output.component_windows.chunks_exact(output.components.len());
    let most = rows.map(|row| row[number].capacity / each).fold(0.0, f64::max);
    let means = result.outputs.iter().map(|output| output.components[number].meter.capacity.mean(output.end));
    let mean = means.sum::<f64>() / result.outputs.len() as f64 / each;
    Some(Replicas { each, most: most.max(mean), mean })
}

/// What the breaker of a link did over the measured part, on average over the replications; none where it has none.
fn breaker(result: &RunResult, from: &str, to: &str) -> Option<Breaker> {
    let mut all = Breaker::default();
    for output in &result.outputs {
        let caller = output.components.iter().find(|component| component.name == from)?;
        let measure = |name: &str| {
            let mut own = caller.measures.iter().filter(|measure| measure.part.as_deref() == Some(to));
            own.find(|measure| measure.name == name)?.value
        };
        let length = output.end.as_secs_f64() - output.measured_from.as_secs_f64();
        all.open += measure("breaker_open_s")? / length.max(f64::MIN_POSITIVE);
        all.opened += measure("breaker_opens")?;
        all.refused += measure("short_circuited")?;
    }
    let count = result.outputs.len().max(1) as f64;
    let Breaker { open, opened, refused } = all;
    Some(Breaker { open: open / count, opened: opened / count, refused: refused / count })
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
        let pools: Vec<_> = diagram.nodes.iter().map(|node| pool(&result, &node.name)).collect();
        let of = |(node, pool): (&Node, &Option<Replicas>)| {
            let row = rows.iter().find(|row| row.keys[0] == node.name);
            let mean = |column: &str| row.and_then(|row| row.mean(column));
            let (queue, kv) = (mean("queue_mean"), mean("kv_mean"));
            let replicas = pool.map(|pool| (pool.mean, pool.most));
            NodeState { utilization: node.utilization, queue, busy: None, kv, replicas }
        };
        let calls = |node: &Node| {
            rows.iter().find(|row| row.keys[0] == node.name).and_then(|row| row.mean("calls")).unwrap_or(0.0)
        };
        let calls: Vec<f64> = diagram.nodes.iter().map(calls).collect();
        let most = calls.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let flow = calls.iter().map(|calls| calls / most).collect();
        let averages = diagram.nodes.iter().zip(&pools).map(of).collect();
        let architecture =
            Architecture::new(diagram, &result.scenario, |from, to| breaker(&result, from, to));
        let events = events(&result);
        Self { result, report, coarse, architecture, averages, pools, flow, events }
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

    /// The breakers of every link at a time of the first replication, as far as they are known; nothing without a time.
    pub fn breakers(&self, time: Option<f64>) -> Vec<Option<BreakerNow>> {
        let (Some(time), Some(output)) = (time, self.result.outputs.first()) else { return Vec::new() };
        let now = |(from, to): (&str, &str)| {
            let mut all = output.breakers.iter();
            let own = all.find(|link| link.caller == from && link.callee == to)?;
            if own.cut_at.is_some_and(|cut| cut.as_secs_f64() <= time) {
                return None;
            }
            let place = own.changes.partition_point(|change| change.at.as_secs_f64() <= time);
            let last = place.checked_sub(1).map(|place| own.changes[place]);
            let (open, half_open) = last.map_or((0, 0), |last| (last.open, last.half_open));
            Some(BreakerNow { open, half_open, clients: own.clients })
        };
        self.architecture.links().map(now).collect()
    }

    /// The state of every node: on average, or in the window of the first replication that a time falls into.
    pub fn states(&self, time: Option<f64>) -> Cow<'_, [NodeState]> {
        let (Some(time), Some(output)) = (time, self.result.outputs.first()) else {
            return Cow::Borrowed(&self.averages);
        };
        let place = self.window(time);
        let count = output.components.len();
        let row = output.component_windows.get(place * count..(place + 1) * count).unwrap_or_default();
        let of = |(node, pool): (&Node, &Option<Replicas>)| {
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
                replicas: pool.map(|pool| (window.capacity / pool.each, pool.most)),
            }
        };
        self.architecture.nodes().iter().zip(&self.pools).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use scenarios::run::{RunOptions, RunProgress};

    use super::*;

    fn shown(text: &str) -> Shown {
        let loaded = scenarios::parse(text, "test", Path::new("."), &[]).unwrap();
        let result = scenarios::run(&loaded, &RunOptions::default(), &RunProgress::default()).unwrap();
        Shown::new(result, false)
    }

    #[test]
    fn replicas_and_memory_are_those_at_the_time() {
        let shown = shown(include_str!("../tests/troubled.toml"));
        let number =
            |name: &str| shown.architecture.nodes().iter().position(|node| node.name == name).unwrap();
        let (db, model) = (number("db"), number("model"));
        let replicas = |time: Option<f64>| shown.states(time)[db].replicas;
        assert_eq!(replicas(Some(10.0)), Some((2.0, 2.0)));
        assert_eq!(replicas(Some(30.0)), Some((1.0, 2.0)));
        assert_eq!(replicas(Some(50.0)), Some((2.0, 2.0)));
        let (mean, most) = replicas(None).unwrap();
        assert!((mean - 5.0 / 3.0).abs() < 0.05 && most == 2.0, "20 of 60 seconds without one: {mean}");
        assert_eq!(shown.states(Some(30.0))[model].replicas, None, "there is one");
        let kv = |time: f64| shown.states(Some(time))[model].kv.unwrap();
        assert!(kv(0.0) < kv(19.0) && kv(19.0) <= 1.0, "{} {}", kv(0.0), kv(19.0));
    }

    #[test]
    fn a_breaker_is_told_by_what_it_did() {
        let text = include_str!("../tests/troubled.toml");
        let troubled = shown(text);
        let Breaker { open, opened, refused } = breaker(&troubled.result, "page", "db").unwrap();
        assert!((0.02..0.5).contains(&open) && opened >= 1.0 && refused >= 1.0, "{open} {opened} {refused}");
        assert_eq!(breaker(&troubled.result, "page", "model"), None, "it has none");
        let link = troubled.architecture.links().position(|link| link == ("page", "db")).unwrap();
        let other = troubled.architecture.links().position(|link| link == ("page", "model")).unwrap();
        let now = |time: f64| troubled.breakers(Some(time))[link].unwrap();
        let changes = &troubled.result.outputs[0].breakers[0].changes;
        let first = changes[0].at.as_secs_f64();
        assert_eq!((now(first - 0.01).open, now(first).open), (0, 1), "{changes:?}");
        assert!(changes.iter().any(|change| change.half_open == 1), "{changes:?}");
        assert_eq!(troubled.breakers(Some(first))[other], None, "it has none");
        assert_eq!(troubled.breakers(None), []);
        assert!(troubled.events.iter().any(|event| event.what == "circuit breaker of `page` to `db` opens"));
        let calm = shown(text.split("[[fault]]").next().unwrap().replace("12/s", "1/s").as_str());
        assert_eq!(breaker(&calm.result, "page", "db"), Some(Breaker::default()));
    }
}
