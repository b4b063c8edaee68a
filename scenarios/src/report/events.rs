//! What happened in a run besides requests: faults, pools that grew or shrank, circuit breakers that opened.

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
    let rows: Vec<_> = output.component_windows.chunks(output.components.len().max(1)).collect();
    for (pair, window) in rows.windows(2).zip(output.windows.iter().skip(1)) {
        for ((before, now), component) in pair[0].iter().zip(pair[1]).zip(&output.components) {
            // Means over windows: what comes within one is seen as a whole server in the next.
            let (before, now) = (libm::round(before.capacity), libm::round(now.capacity));
            if before != now && all.len() < 2 * MOST {
                let what = format!("`{}`: {before} to {now} servers", component.name);
                all.push(Event { at: window.start.as_secs_f64(), what, is_fault: false });
            }
        }
    }
    for link in &output.breakers {
        let mut was_closed = true;
        for change in &link.changes {
            let is_closed = change.open + change.half_open == 0;
            if is_closed != was_closed && all.len() < 3 * MOST {
                let does = if is_closed { "closes" } else { "opens" };
                let what = format!("circuit breaker of `{}` to `{}` {does}", link.caller, link.callee);
                all.push(Event { at: change.at.as_secs_f64(), what, is_fault: false });
            }
            was_closed = is_closed;
        }
    }
    all.sort_by(|a, b| a.at.total_cmp(&b.at));
    all
}
