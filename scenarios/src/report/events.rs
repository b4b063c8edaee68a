//! What happened in a run besides requests: faults, pools that grew or shrank, circuit breakers that opened.

use sim_models::link::BreakerOutput;
use sim_models::system::RunOutput;

use super::axis::Unit;
use crate::results::RunResult;

/// Most events that are told of: more could not be told apart.
const MOST: usize = 60;

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, in seconds since the start of the run.
    pub at: f64,
    /// What.
    pub what: String,
    /// Whether it is a fault; else the system did something about what there was.
    pub is_fault: bool,
}

impl Event {
    /// What and when.
    pub fn said(&self) -> String {
        format!("{} at {}", self.what, Unit::Seconds.show(self.at))
    }
}

/// Faults as they were set, windows of the first replication in which a component had another number of servers than
/// before, and when the first circuit breaker of a link opened and the last closed; in order of time, 60 at most of
/// each.
pub fn events(result: &RunResult) -> Vec<Event> {
    let faults = result.scenario.fault.iter().filter_map(|fault| {
        let kind = serde_json::to_value(fault.kind).ok()?;
        let what = format!("fault: {} of {}", kind.as_str()?.replace('_', " "), fault.target);
        Some(Event { at: fault.at?.as_secs_f64(), what, is_fault: true })
    });
    let mut all: Vec<Event> = faults.take(MOST).collect();
    let Some(output) = result.outputs.first() else { return all };
    all.extend(servers(output).take(MOST));
    all.extend(output.breakers.iter().flat_map(breaker).take(MOST));
    all.sort_by(|a, b| a.at.total_cmp(&b.at));
    all
}

/// Windows in which a component has another number of servers than before.
fn servers(output: &RunOutput) -> impl Iterator<Item = Event> {
    let rows = output.component_windows.chunks(output.components.len().max(1));
    let pairs = rows.clone().zip(rows.skip(1)).zip(output.windows.iter().skip(1));
    pairs.flat_map(|((before, now), window)| {
        before.iter().zip(now).zip(&output.components).filter_map(move |((before, now), component)| {
            // Means over windows: what comes within one is seen as a whole server in the next.
            let (before, now) = (libm::round(before.capacity), libm::round(now.capacity));
            let what = || format!("`{}`: {before} to {now} servers", component.name);
            (before != now).then(|| Event { at: window.start.as_secs_f64(), what: what(), is_fault: false })
        })
    })
}

/// When the first breaker of a link opens, and when the last closes.
fn breaker(link: &BreakerOutput) -> impl Iterator<Item = Event> {
    let mut was_closed = true;
    link.changes.iter().filter_map(move |change| {
        let is_closed = change.open + change.half_open == 0;
        if std::mem::replace(&mut was_closed, is_closed) == is_closed {
            return None;
        }
        let does = if is_closed { "closes" } else { "opens" };
        let what = format!("circuit breaker of `{}` to `{}` {does}", link.caller, link.callee);
        Some(Event { at: change.at.as_secs_f64(), what, is_fault: false })
    })
}
