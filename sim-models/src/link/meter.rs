//! What the policies of a link count.

use sim_core::time::{SimDuration, SimTime};

use super::breaker::{Breaker, State};
use super::fallback::Step;
use super::{Link, Policies};
use crate::measure::Measure;

/// Most changes of breakers that are kept of a link: more could not be told apart.
const MOST_CHANGES: usize = 4096;

/// How many clients' breakers of a link are not closed, from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerChange {
    /// Since when.
    pub at: SimTime,
    /// Breakers that are open.
    pub open: u32,
    /// Breakers that let a few attempts through to see whether the callee is well again.
    pub half_open: u32,
}

/// The breakers of a link over a whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerOutput {
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// Client processes, each with a breaker of its own.
    pub clients: u32,
    /// Changes in their order, 4,096 at most. All are closed before the first.
    pub changes: Vec<BreakerChange>,
    /// The first change that was not kept, if there were more: from then on their states are not known.
    pub cut_at: Option<SimTime>,
}

/// Counts over the measured part of a run.
#[derive(Debug, Default)]
pub(crate) struct LinkMeter {
    /// Calls that components made over the link.
    pub calls: u64,
    pub attempts: u64,
    pub retries: u64,
    pub retries_denied: u64,
    pub hedges: u64,
    pub hedges_won: u64,
    pub hedges_denied: u64,
    pub short_circuited: u64,
    /// Answers by the step of the fallback chain that gave them.
    pub served: Vec<u64>,
    pub breaker_opens: u64,
    /// How many clients' breakers are open or half-open, and for how long they were, all told.
    not_closed: u64,
    time_not_closed: u128,
    since: SimTime,
    /// Of the whole run.
    changes: Vec<BreakerChange>,
    cut_at: Option<SimTime>,
}

impl LinkMeter {
    /// The breaker of a client went from one state to another.
    pub(super) fn note_state(&mut self, now: SimTime, before: State, after: State) {
        if before == after {
            return;
        }
        self.breaker_opens += u64::from(after == State::Open);
        self.account(now);
        match (before, after) {
            (State::Closed, _) => self.not_closed += 1,
            (_, State::Closed) => self.not_closed -= 1,
            _ => {}
        }
        if self.changes.len() == MOST_CHANGES {
            self.cut_at.get_or_insert(now);
            return;
        }
        let last = self.changes.last().copied();
        let (open, half_open) = last.map_or((0, 0), |last| (last.open, last.half_open));
        let moved = |count: u32, state| count + u32::from(after == state) - u32::from(before == state);
        let (open, half_open) = (moved(open, State::Open), moved(half_open, State::HalfOpen));
        self.changes.push(BreakerChange { at: now, open, half_open });
    }

    fn account(&mut self, now: SimTime) {
        self.time_not_closed += u128::from(now.since(self.since).as_nanos()) * u128::from(self.not_closed);
        self.since = now;
    }

    pub(crate) fn reset(&mut self, now: SimTime) {
        let served = vec![0; self.served.len()];
        let (changes, cut_at) = (std::mem::take(&mut self.changes), self.cut_at);
        *self = Self { not_closed: self.not_closed, since: now, served, changes, cut_at, ..Self::default() };
    }
}

impl Link {
    /// What the policies counted, said of `callee`; `name` tells the names of components.
    pub(crate) fn measures(
        &mut self,
        callee: &str,
        name: impl Fn(usize) -> String,
        now: SimTime,
    ) -> Vec<Measure> {
        self.policies.as_mut().map_or_else(Vec::new, |policies| policies.measures(callee, name, now))
    }

    /// Its breakers; none where it has none with a state.
    pub(crate) fn breakers(&self, caller: &str, callee: &str) -> Option<BreakerOutput> {
        let policies = self.policies.as_ref()?;
        let mut breakers = policies.clients.iter().filter_map(|client| client.breaker.as_ref());
        breakers.any(Breaker::has_states).then(|| BreakerOutput {
            caller: caller.to_owned(),
            callee: callee.to_owned(),
            clients: policies.clients.len() as u32,
            changes: policies.meter.changes.clone(),
            cut_at: policies.meter.cut_at,
        })
    }
}

impl Policies {
    fn measures(&mut self, callee: &str, name: impl Fn(usize) -> String, now: SimTime) -> Vec<Measure> {
        let meter = &mut self.meter;
        meter.account(now);
        let mut measures = vec![
            Measure::count("link_calls", meter.calls, "calls over the link to this callee"),
            Measure::count("link_attempts", meter.attempts, "attempts made of them, hedges included"),
        ];
        if self.retry.is_some() {
            measures.extend([
                Measure::count("retries", meter.retries, "attempts made again after a failure"),
                Measure::count(
                    "retries_denied",
                    meter.retries_denied,
                    "retries for which the budget was spent",
                ),
            ]);
        }
        if self.hedge.is_some() {
            measures.extend([
                Measure::count("hedges", meter.hedges, "attempts sent beside one that was under way"),
                Measure::count("hedges_won", meter.hedges_won, "hedges that answered first"),
                Measure::count("hedges_denied", meter.hedges_denied, "hedges for which the budget was spent"),
            ]);
        }
        let clients = self.clients.len() as f64;
        if self.clients.iter().any(|client| client.breaker.is_some()) {
            let open = SimDuration::from_nanos(meter.time_not_closed.min(u128::from(u64::MAX)) as u64);
            measures.extend([
                Measure::count(
                    "breaker_opens",
                    meter.breaker_opens,
                    "times that a breaker opened, all clients'",
                ),
                Measure::new(
                    "breaker_open_s",
                    open.as_secs_f64() / clients,
                    "time that the breaker was open or half-open, mean of the clients",
                ),
                Measure::count(
                    "short_circuited",
                    meter.short_circuited,
                    "attempts that the breaker or limit let not through",
                ),
            ]);
        }
        let mut measures: Vec<_> = measures.into_iter().map(|measure| measure.of(callee)).collect();
        for (step, served) in self.fallback.iter().zip(&meter.served) {
            let target = match step {
                Step::Call { callee, .. } => name(callee.index()),
                Step::Stale(_) => "stale".to_owned(),
                Step::Default => "default".to_owned(),
                Step::Reject => "reject".to_owned(),
            };
            let meaning = "calls that this step of the fallback chain ended";
            let served = Measure::count("fallbacks_served", *served, meaning);
            measures.push(served.of(format!("{callee}: {target}")));
        }
        measures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_of_breakers_is_said_to_be() {
        let mut meter = LinkMeter::default();
        let at = |number: usize| SimTime::from_nanos(number as u64);
        for number in 0..MOST_CHANGES + 7 {
            let (before, after) =
                if number % 2 == 0 { (State::Closed, State::Open) } else { (State::Open, State::Closed) };
            meter.note_state(at(number), before, after);
        }
        assert_eq!((meter.changes.len(), meter.cut_at), (MOST_CHANGES, Some(at(MOST_CHANGES))));
        meter.reset(at(2 * MOST_CHANGES));
        assert_eq!((meter.changes.len(), meter.cut_at), (MOST_CHANGES, Some(at(MOST_CHANGES))));
    }
}
