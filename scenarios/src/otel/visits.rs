//! Spans as visits: a service works on a request, and calls others meanwhile.

use std::collections::BTreeMap;

use super::read::{Answer, Kind, Span, Spans};

/// Whom a call is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Callee {
    /// A service with spans of its own, by its place in [`Spans::services`].
    Service(usize),
    /// What only the spans of its callers tell of.
    Outside(String),
}

/// A call as its caller saw it, times in nanoseconds since 1970.
#[derive(Debug)]
pub(super) struct Call {
    pub callee: Callee,
    pub start: u64,
    pub end: u64,
    pub failed: bool,
    /// Network time there and back, where both sides have a span.
    pub network: Option<u64>,
    /// The callee's visit.
    pub visit: Option<usize>,
    pub answer: Option<Answer>,
}

/// A service works on a request: all its spans below the one that the request came in by.
#[derive(Debug)]
pub(super) struct Visit {
    pub service: usize,
    pub operation: String,
    pub start: u64,
    pub end: u64,
    pub failed: bool,
    /// In the order of their starts.
    pub calls: Vec<Call>,
    pub answer: Option<Answer>,
}

/// The visits of all traces.
#[derive(Debug, Default)]
pub(super) struct Visits {
    pub all: Vec<Visit>,
    /// Visits that nobody waits for: requests from outside, and messages.
    pub roots: Vec<usize>,
    /// Roots that are messages.
    pub messages: usize,
    /// Spans whose parent is not in the file, though their trace has a root.
    pub lost: usize,
    /// Spans that are their own ancestors, and those below them.
    pub circular: usize,
    /// Calls on which the callee took longer than its caller waited: clocks that differ.
    pub skewed: usize,
    /// The smallest and the largest share of traces that a sampler kept.
    pub kept: Option<(f64, f64)>,
}

impl Visit {
    /// When the service itself works: the visit without the calls that count.
    pub fn own(&self, counts: impl Fn(&Call) -> bool) -> Vec<(u64, u64)> {
        let (mut from, mut own) = (self.start, Vec::new());
        for call in self.calls.iter().filter(|call| counts(call)) {
            if call.start > from {
                own.push((from, call.start.min(self.end)));
            }
            from = from.max(call.end);
            if from >= self.end {
                return own;
            }
        }
        own.push((from, self.end));
        own
    }
}

impl Visits {
    pub fn new(spans: &Spans) -> Self {
        let mut visits = Self::default();
        for trace in spans.traces.values() {
            Trace::new(trace).walk(&mut visits);
        }
        visits
    }
}

struct Trace<'s> {
    spans: &'s [Span],
    children: Vec<Vec<usize>>,
    /// Spans without a parent in the file.
    tops: Vec<usize>,
}

/// A visit to make: the span that it begins with, and the call that it answers.
struct Due {
    entry: usize,
    answers: Option<(usize, usize)>,
    answer: Option<Answer>,
}

impl<'s> Trace<'s> {
    fn new(spans: &'s [Span]) -> Self {
        let places: BTreeMap<&str, usize> =
            spans.iter().enumerate().map(|(i, span)| (span.id.as_str(), i)).collect();
        let (mut children, mut tops) = (vec![Vec::new(); spans.len()], Vec::new());
        for (index, span) in spans.iter().enumerate() {
            match places.get(span.parent.as_str()) {
                Some(parent) if !span.parent.is_empty() => children[*parent].push(index),
                _ => tops.push(index),
            }
        }
        for below in &mut children {
            below.sort_by_key(|index| (spans[*index].start, *index));
        }
        Self { spans, children, tops }
    }

    /// Whether a request comes into a service with this span.
    fn is_entry(&self, child: usize, parent: usize) -> bool {
        let (child, parent) = (&self.spans[child], &self.spans[parent]);
        child.service != parent.service
            || child.kind == Kind::Consumer
            || child.kind == Kind::Server && parent.kind == Kind::Client
    }

    fn is_message(&self, child: usize, parent: usize) -> bool {
        self.spans[child].kind == Kind::Consumer || self.spans[parent].kind == Kind::Producer
    }

    fn walk(&self, visits: &mut Visits) {
        let is_root = |top: &&usize| self.spans[**top].parent.is_empty();
        let roots: Vec<usize> = match self.tops.iter().any(|top| is_root(&top)) {
            true => self.tops.iter().filter(is_root).copied().collect(),
            // Whoever called is not instrumented, or not in the file.
            false => {
                self.tops.iter().min_by_key(|top| self.spans[**top].start).copied().into_iter().collect()
            }
        };
        visits.lost += self.tops.len() - roots.len();
        let (mut below, mut reached) = (self.tops.clone(), 0);
        while let Some(index) = below.pop() {
            reached += 1;
            below.extend(&self.children[index]);
        }
        visits.circular += self.spans.len() - reached;
        for span in self.spans {
            if let Some(share) = span.kept {
                let (least, most) = visits.kept.unwrap_or((share, share));
                visits.kept = Some((least.min(share), most.max(share)));
            }
        }
        let mut dues: Vec<Due> =
            roots.into_iter().map(|entry| Due { entry, answers: None, answer: None }).collect();
        while let Some(due) = dues.pop() {
            let (span, number) = (&self.spans[due.entry], visits.all.len());
            match due.answers {
                Some((visit, call)) => visits.all[visit].calls[call].visit = Some(number),
                None => {
                    visits.roots.push(number);
                    visits.messages += usize::from(span.kind == Kind::Consumer);
                }
            }
            // What a model server answers, it answers by itself: its own span says so, or its caller's.
            let answers = matches!(span.kind, Kind::Server | Kind::Consumer) || due.answers.is_some();
            visits.all.push(Visit {
                service: span.service,
                operation: span.name.clone(),
                start: span.start,
                end: span.end,
                failed: span.failed,
                calls: Vec::new(),
                answer: span.answer.clone().filter(|_| answers).or(due.answer),
            });
            self.calls_of(due.entry, number, visits, &mut dues);
        }
    }

    /// The calls of a visit, and what is due for them.
    fn calls_of(&self, entry: usize, visit: usize, visits: &mut Visits, dues: &mut Vec<Due>) {
        let (mut calls, mut entries) = (Vec::new(), Vec::new());
        let mut stack = vec![entry];
        while let Some(index) = stack.pop() {
            let span = &self.spans[index];
            let asks = span.answer.is_some() && (index != entry || visits.all[visit].answer.is_none());
            if span.kind != Kind::Client && !asks {
                for child in &self.children[index] {
                    match self.is_entry(*child, index) {
                        false => stack.push(*child),
                        true if self.is_message(*child, index) => {
                            dues.push(Due { entry: *child, answers: None, answer: None });
                        }
                        true => {
                            entries.push((calls.len(), *child, None));
                            calls.push(self.call(*child, *child));
                        }
                    }
                }
                continue;
            }
            let below = self.entries_below(index, dues);
            match below[..] {
                [] => calls.push(Call {
                    callee: Callee::Outside(outside(span)),
                    answer: span.answer.clone(),
                    ..self.call(index, index)
                }),
                [only] => {
                    entries.push((calls.len(), only, span.answer.clone()));
                    let (asked, worked) =
                        (span.end - span.start, self.spans[only].end - self.spans[only].start);
                    visits.skewed += usize::from(worked > asked);
                    calls
                        .push(Call { network: Some(asked.saturating_sub(worked)), ..self.call(index, only) });
                }
                // Attempts, or redirections: each is a call.
                _ => {
                    for child in below {
                        entries.push((calls.len(), child, span.answer.clone()));
                        calls.push(self.call(child, child));
                    }
                }
            }
        }
        // In the order of their starts, and what is due with them.
        let mut order: Vec<usize> = (0..calls.len()).collect();
        order.sort_by_key(|index| (calls[*index].start, *index));
        for (call, child, answer) in entries {
            let place = order.iter().position(|index| *index == call).unwrap_or(call);
            dues.push(Due { entry: child, answers: Some((visit, place)), answer });
        }
        let mut calls: Vec<Option<Call>> = calls.into_iter().map(Some).collect();
        visits.all[visit].calls = order.into_iter().filter_map(|index| calls[index].take()).collect();
    }

    /// A call that lasts as long as `seen`, to the service of `callee`.
    fn call(&self, seen: usize, callee: usize) -> Call {
        let span = &self.spans[seen];
        Call {
            callee: Callee::Service(self.spans[callee].service),
            start: span.start,
            end: span.end,
            failed: span.failed,
            network: None,
            visit: None,
            answer: None,
        }
    }

    /// The spans in other services that a client span led to.
    fn entries_below(&self, index: usize, dues: &mut Vec<Due>) -> Vec<usize> {
        let (mut stack, mut found) = (vec![index], Vec::new());
        while let Some(index) = stack.pop() {
            for child in &self.children[index] {
                match self.is_entry(*child, index) {
                    false => stack.push(*child),
                    true if self.is_message(*child, index) => {
                        dues.push(Due { entry: *child, answers: None, answer: None });
                    }
                    true => found.push(*child),
                }
            }
        }
        found
    }
}

/// What to call something that has no spans of its own.
fn outside(span: &Span) -> String {
    let model =
        span.answer.as_ref().and_then(|answer| answer.model.clone().or_else(|| answer.provider.clone()));
    model.or_else(|| span.peer.clone()).unwrap_or_else(|| span.name.clone())
}
