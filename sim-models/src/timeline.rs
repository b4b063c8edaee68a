//! What happens in a window of a run, call by call: for a viewer of traces such as Perfetto.
//!
//! Kept only where a plan asks for it ([`RunPlan::timeline`](crate::system::RunPlan::timeline)). It takes no event and
//! no draw: a run with it has the fingerprint of one without.

use std::collections::BTreeMap;

use sim_core::time::SimTime;

use crate::call::{Call, CallId, Progress, Reply};
use crate::component::{ComponentId, Signals};
use crate::request::{Outcome, Request};

/// Most calls, and most changes of signals, that are kept of a window (assumption: 100 MB of either, and some ten
/// times as much as a browser shows well).
pub const MOST: usize = 1_000_000;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its start.
    pub from: SimTime,
    /// Its end.
    pub to: SimTime,
}

/// A call, as its callee saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its number, which no other call of the run has.
    pub call: u64,
    /// The number of the call that it was made for; none of a root call.
    pub parent: Option<u64>,
    /// Who was asked: index into [`RunOutput::components`](crate::system::RunOutput::components).
    pub component: u16,
    /// The request, by its number in all keyed draws.
    pub request: u64,
    /// Its class: index into [`crate::context::Labels::classes`].
    pub class: u8,
    /// Which attempt it was, from 0.
    pub attempt: u32,
    /// Which replica of a pool took it.
    pub replica: Option<u16>,
    /// When it was sent.
    pub sent: SimTime,
    /// When it arrived.
    pub arrived: SimTime,
    /// When its prompt had been processed.
    pub prefilled: Option<SimTime>,
    /// When its first token was there.
    pub first_token: Option<SimTime>,
    /// When and how it ended; none of one that had not when the run did.
    pub ended: Option<(SimTime, Outcome)>,
    /// Whether its caller still waited then.
    pub heard: bool,
}

/// A request, as its user saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSpan {
    /// Its number in all keyed draws.
    pub request: u64,
    /// Its class.
    pub class: u8,
    /// When it was born.
    pub born: SimTime,
    /// When its first token reached the user.
    pub first_token: Option<SimTime>,
    /// When and how it ended; none of one that had not when the run did.
    pub ended: Option<(SimTime, Outcome)>,
}

/// What may be seen of a component from an instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The instant.
    pub at: SimTime,
    /// Whose: index into [`RunOutput::components`](crate::system::RunOutput::components).
    pub component: u16,
    /// What.
    pub signals: Signals,
}

/// Everything that touches a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The window.
    pub window: Window,
    /// Calls, in the order of their ends.
    pub spans: Vec<Span>,
    /// Requests, in the order of their ends.
    pub requests: Vec<RequestSpan>,
    /// Changes of what may be seen of components.
    pub levels: Vec<Level>,
    /// Whether there was more than [`MOST`] of something, which is left out.
    pub is_cut: bool,
    /// What the calls under way have reached.
    under_way: BTreeMap<u64, [Option<SimTime>; 2]>,
    last: Vec<Option<Signals>>,
}

fn push<T>(list: &mut Vec<T>, item: T, is_cut: &mut bool) {
    match list.len() < MOST {
        true => list.push(item),
        false => *is_cut = true,
    }
}

impl Timeline {
    pub(crate) fn new(window: Window, components: usize) -> Self {
        Self {
            window,
            spans: Vec::new(),
            requests: Vec::new(),
            levels: Vec::new(),
            is_cut: false,
            under_way: BTreeMap::new(),
            last: vec![None; components],
        }
    }

    /// Whether something of this length touches the window.
    fn touches(&self, from: SimTime, to: SimTime) -> bool {
        from < self.window.to && to >= self.window.from
    }

    pub(crate) fn progress(&mut self, call: CallId, progress: Progress, now: SimTime) {
        if now < self.window.to {
            let reached = self.under_way.entry(call.to_bits()).or_default();
            reached[progress as usize].get_or_insert(now);
        }
    }

    /// A call ended, or had not when the run did.
    pub(crate) fn call(&mut self, id: CallId, call: &Call, request: &Request, end: (SimTime, Option<Reply>)) {
        let [prefilled, first_token] = self.under_way.remove(&id.to_bits()).unwrap_or_default();
        let (now, reply) = end;
        if !self.touches(call.arrived_at, now) {
            return;
        }
        let span = Span {
            call: id.to_bits(),
            parent: (call.parent != CallId::NONE).then(|| call.parent.to_bits()),
            component: call.callee.0,
            request: request.key,
            class: request.class,
            attempt: call.attempt,
            replica: call.replica,
            sent: call.sent_at,
            arrived: call.arrived_at,
            prefilled,
            first_token,
            ended: reply.map(|reply| (now, reply.outcome)),
            heard: call.awaited,
        };
        push(&mut self.spans, span, &mut self.is_cut);
    }

    /// A request ended, or had not when the run did.
    pub(crate) fn request(&mut self, request: &Request, end: (SimTime, Option<Outcome>)) {
        let (now, outcome) = end;
        if self.touches(request.born, now) {
            let span = RequestSpan {
                request: request.key,
                class: request.class,
                born: request.born,
                first_token: request.first_token,
                ended: outcome.map(|outcome| (now, outcome)),
            };
            push(&mut self.requests, span, &mut self.is_cut);
        }
    }

    /// Looks at all components after an event.
    pub(crate) fn look(&mut self, now: SimTime, observe: impl Fn(usize) -> Signals) {
        if !(self.window.from..self.window.to).contains(&now) {
            return;
        }
        for (index, last) in self.last.iter_mut().enumerate() {
            let signals = observe(index);
            if *last != Some(signals) {
                *last = Some(signals);
                let level = Level { at: now, component: ComponentId(index as u16).0, signals };
                push(&mut self.levels, level, &mut self.is_cut);
            }
        }
    }
}
