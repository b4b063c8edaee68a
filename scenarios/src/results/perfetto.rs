//! A window of a run in the Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing show.
//!
//! Every component is a process. Its calls are complete events (`ph` `X`) on as many threads as there were calls at a
//! time, so that none overlap; within a call of an LLM pool are the times to and after its first token. Requests are a
//! process of their own. What waits, what is in service and KV memory are counters (`C`), and flow events (`s`, `f`) lead
//! from a call to those that were made for it. Format: "Trace Event Format", Google, 2016.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};
use sim_core::time::SimTime;
use sim_models::context::Labels;
use sim_models::request::Outcome;
use sim_models::timeline::{Level, RequestSpan, Span, Timeline};

use super::write::Staged;
use super::{ResultsError, RunResult};

/// The process of requests; components follow, by their places.
const REQUESTS: u64 = 1;

fn pid(component: u16) -> u64 {
    REQUESTS + 1 + u64::from(component)
}

/// Microseconds, the unit of the format.
fn micros(time: SimTime) -> Value {
    json!(time.as_nanos() as f64 / 1e3)
}

fn length(from: SimTime, to: SimTime) -> Value {
    json!(to.since(from.min(to)).as_nanos() as f64 / 1e3)
}

fn outcome(ended: Option<(SimTime, Outcome)>) -> &'static str {
    ended.map_or("not ended", |(_, outcome)| outcome.name())
}

/// Lanes in which nothing overlaps, the lowest free one for each in the order of their starts.
fn lanes(spans: &[(SimTime, SimTime)]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|index| (spans[*index], *index));
    let mut free_from: Vec<SimTime> = Vec::new();
    let mut lanes = vec![0; spans.len()];
    for index in order {
        let (from, to) = spans[index];
        let lane = free_from.iter().position(|free| *free <= from).unwrap_or(free_from.len());
        if lane == free_from.len() {
            free_from.push(to);
        } else {
            free_from[lane] = to;
        }
        lanes[index] = lane as u64 + 1;
    }
    lanes
}

/// Events one by one, so that a large window is not in memory twice.
struct Events<'a, W: Write> {
    out: &'a mut W,
    is_first: bool,
}

impl<W: Write> Events<'_, W> {
    fn push(&mut self, event: &Value) -> io::Result<()> {
        self.out.write_all(if self.is_first { b"\n" } else { b",\n" })?;
        self.is_first = false;
        serde_json::to_writer(&mut *self.out, event).map_err(io::Error::from)
    }

    fn process(&mut self, pid: u64, name: &str) -> io::Result<()> {
        self.push(&json!({ "ph": "M", "name": "process_name", "pid": pid, "args": { "name": name } }))?;
        self.push(
            &json!({ "ph": "M", "name": "process_sort_index", "pid": pid, "args": { "sort_index": pid } }),
        )
    }

    fn requests(&mut self, requests: &[RequestSpan], labels: &Labels, end: SimTime) -> io::Result<()> {
        let spans: Vec<(SimTime, SimTime)> =
            requests.iter().map(|request| (request.born, request.ended.map_or(end, |(at, _)| at))).collect();
        for ((request, (from, to)), lane) in requests.iter().zip(&spans).zip(lanes(&spans)) {
            let class = &labels.classes[usize::from(request.class)];
            self.push(&json!({
                "ph": "X", "cat": "request", "name": format!("request {}", request.request), "pid": REQUESTS,
                "tid": lane, "ts": micros(*from), "dur": length(*from, *to),
                "args": { "request": request.request, "class": class, "outcome": outcome(request.ended) },
            }))?;
            if let Some(first) = request.first_token {
                self.push(&json!({
                    "ph": "i", "s": "t", "cat": "request", "name": "first token", "pid": REQUESTS, "tid": lane,
                    "ts": micros(first),
                }))?;
            }
        }
        Ok(())
    }

    /// The calls of a component, and on which thread each was put.
    fn calls(&mut self, spans: &[&Span], labels: &Labels, end: SimTime) -> io::Result<Vec<(u64, u64)>> {
        let times: Vec<(SimTime, SimTime)> =
            spans.iter().map(|span| (span.arrived, span.ended.map_or(end, |(at, _)| at))).collect();
        let lanes = lanes(&times);
        for ((span, (from, to)), lane) in spans.iter().zip(&times).zip(&lanes) {
            let (pid, class) = (pid(span.component), &labels.classes[usize::from(span.class)]);
            let mut slice = |name: &str, from: SimTime, to: SimTime, args: Value| {
                self.push(&json!({
                    "ph": "X", "cat": "call", "name": name, "pid": pid, "tid": lane, "ts": micros(from),
                    "dur": length(from, to), "args": args,
                }))
            };
            let args = json!({
                "request": span.request, "class": class, "attempt": span.attempt, "replica": span.replica,
                "outcome": outcome(span.ended), "heard": span.heard,
                "network_us": length(span.sent, span.arrived),
            });
            slice(&format!("request {}", span.request), *from, *to, args)?;
            if let Some(first) = span.first_token.filter(|first| first <= to) {
                let prefilled = span.prefilled.map(micros);
                slice("to first token", *from, first, json!({ "prefilled_at_us": prefilled }))?;
                slice("after first token", first, *to, json!({}))?;
            }
        }
        Ok(spans.iter().map(|span| span.call).zip(lanes).collect())
    }

    fn flows(&mut self, spans: &[Span], threads: &BTreeMap<u64, (u64, u64)>) -> io::Result<()> {
        for (number, span) in spans.iter().enumerate() {
            let caller = span.parent.and_then(|parent| threads.get(&parent));
            if let (Some(caller), Some(callee)) = (caller, threads.get(&span.call)) {
                let mut flow = |ph: &str, (pid, tid): (u64, u64), at: SimTime| {
                    self.push(&json!({
                        "ph": ph, "bp": "e", "cat": "call", "name": "call", "id": number, "pid": pid, "tid": tid,
                        "ts": micros(at),
                    }))
                };
                flow("s", *caller, span.sent)?;
                flow("f", *callee, span.arrived)?;
            }
        }
        Ok(())
    }

    fn level(&mut self, level: &Level) -> io::Result<()> {
        let (pid, at, signals) = (pid(level.component), micros(level.at), &level.signals);
        let mut counter = |name: &str, args: Value| {
            self.push(&json!({ "ph": "C", "name": name, "pid": pid, "ts": at, "args": args }))
        };
        counter("waiting", json!({ "calls": signals.queue }))?;
        if signals.capacity > 0 {
            counter("in service", json!({ "calls": signals.busy }))?;
        }
        if signals.kv_total > 0 {
            counter("KV memory", json!({ "blocks": signals.kv_used }))?;
        }
        Ok(())
    }
}

fn write(out: &mut impl Write, result: &RunResult, timeline: &Timeline) -> io::Result<()> {
    let first = &result.outputs[0];
    out.write_all(b"{\"traceEvents\":[")?;
    let mut events = Events { out, is_first: true };
    events.process(REQUESTS, "requests")?;
    events.requests(&timeline.requests, &first.labels, first.end)?;
    let mut threads = BTreeMap::new();
    for (place, component) in (0u16..).zip(&first.components) {
        if component.is_source {
            continue;
        }
        let kind = result.scenario.components.get(&component.name).map_or("", |config| config.kind());
        events.process(pid(place), &format!("{} ({kind})", component.name))?;
        let own: Vec<&Span> = timeline.spans.iter().filter(|span| span.component == place).collect();
        let lanes = events.calls(&own, &first.labels, first.end)?;
        threads.extend(lanes.into_iter().map(|(call, lane)| (call, (pid(place), lane))));
    }
    events.flows(&timeline.spans, &threads)?;
    let is_source = |level: &Level| first.components[usize::from(level.component)].is_source;
    for level in timeline.levels.iter().filter(|level| !is_source(level)) {
        events.level(level)?;
    }
    let seconds = |time: SimTime| time.as_secs_f64();
    let other = json!({
        "provenance": result.provenance,
        "replication": result.replications[0],
        "window_s": [seconds(timeline.window.from), seconds(timeline.window.to)],
        "complete": !timeline.is_cut,
    });
    writeln!(out, "\n],\n\"displayTimeUnit\":\"ms\",\n\"otherData\":{other}}}")
}

impl RunResult {
    /// What was kept of the first replication call by call; none where nobody asked, or it did not finish.
    pub fn timeline(&self) -> Option<&Timeline> {
        self.outputs.first()?.timeline.as_ref()
    }

    /// Writes the timeline of the first replication in the Trace Event Format. False where there is none.
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written.
    pub fn write_perfetto(&self, file: &Path) -> Result<bool, ResultsError> {
        let Some(timeline) = self.timeline() else { return Ok(false) };
        let mut staged = Staged::default();
        staged.write(file.to_owned(), |out: &mut BufWriter<_>| Ok(write(out, self, timeline)?))?;
        staged.publish().map(|_| true)
    }
}

#[cfg(test)]
mod tests;
