//! A call over a link with policies: the attempts under it, and what comes after each.
//!
//! The call itself is an entry among the calls, for its caller to know it by; it is never delivered. Its
//! `scratch` is the key of its [`Attempts`].

mod hedging;
mod stages;

use sim_core::event::{EventHandle, Phase};
use sim_core::random::unit;
use sim_core::time::{SimDuration, SimTime};

use super::breaker::{Admission, Ended, Underway};
use super::budget::Spending;
use super::hedge::Winner;
use super::{Client, Link, LinkId, Policies};
use crate::call::{Call, CallId, Progress, Reply};
use crate::component::ComponentId;
use crate::context::{Ctx, Sending};
use crate::event::ModelEvent;
use crate::request::Outcome;
use crate::slab::Key;

/// What a call over a link with policies has under way.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// How many steps of the fallback chain have been taken; 0 at the callee itself.
    stage: usize,
    /// Where the attempts of this stage go.
    link: LinkId,
    callee: ComponentId,
    hop: u32,
    /// The client process, of those of the stage's link.
    client: u32,
    /// Attempts of this stage, hedges not counted.
    tries: u32,
    /// Attempts of this stage, hedges counted.
    sent: u32,
    /// Hedges beside the present try.
    hedges: u32,
    /// The present try, while it is under way.
    lead: Option<CallId>,
    /// The hedges under way.
    others: Vec<CallId>,
    /// The replica of the attempt before.
    avoid: Option<u16>,
    place: Place,
    /// What comes next, when the event does.
    due: Option<(EventHandle, Due)>,
    /// The last wait before a retry.
    waited: SimDuration,
    /// How long the last attempt was asked to wait (`retry-after`).
    asked: Option<SimDuration>,
    /// What the last retry cost.
    cost: Option<u32>,
    is_retry: bool,
    /// News that the caller has heard, a bit each.
    reported: u8,
}

/// Where a call stands with the limit of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    None,
    /// In the queue for a connection.
    Waiting,
    /// It has the connection, and goes on at once.
    Admitted,
}

/// What an event of the call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Try,
    Hedge,
    End(Reply),
}

/// What to do next for a call.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Make an attempt.
    Try,
    /// The attempts failed so; the flag tells whether none was let through.
    Failed(Reply, bool),
    /// Take the next step of the fallback chain; the reply if there is none.
    FallBack(Reply),
}

/// Draws that an attempt may need besides those of its network time.
const DRAWS: u32 = 4;
const WAIT: u32 = 0;
const THROTTLE: u32 = 1;
const STALE: u32 = 2;

impl Attempts {
    fn new(sending: &Sending, client: u32) -> Self {
        Self {
            stage: 0,
            link: sending.link,
            callee: sending.callee,
            hop: sending.hop,
            client,
            tries: 0,
            sent: 0,
            hedges: 0,
            lead: None,
            others: Vec::new(),
            avoid: None,
            place: Place::None,
            due: None,
            waited: SimDuration::ZERO,
            asked: None,
            cost: None,
            is_retry: false,
            reported: 0,
        }
    }
}

impl Ctx<'_> {
    /// Makes a call over a link with policies.
    pub(crate) fn undertake(&mut self, sending: Sending) -> CallId {
        let now = self.now();
        let timeout = self.core.links[sending.link.0 as usize].timeout;
        let id = self.open_call(sending, CallId::NONE, timeout);
        let request = self.request(id).key;
        let policies = self.policies(sending.link).expect("asked for by who calls this");
        let client = policies.begin(request, now);
        let key = self.core.attempts.insert(Attempts::new(&sending, client));
        self.call_mut(id).scratch = key.to_bits();
        if let Some(reply) = self.pursue(id, Next::Try) {
            // The caller is not told while it is calling.
            self.call_on(id, SimDuration::ZERO, Phase::Reply, Due::End(reply));
        }
        id
    }

    /// An attempt has ended: the end of its call, if that has ended with it.
    pub(crate) fn end_attempt(&mut self, attempt: CallId, reply: Reply) -> Option<Reply> {
        let call = self.call(attempt);
        let (id, replica, took) = (call.attempt_of, call.replica, self.now().since(call.sent_at));
        let asked = call.retry_after;
        let state = self.attempts_mut(id);
        let is_lead = state.lead == Some(attempt);
        if is_lead {
            state.lead = None;
        } else {
            state.others.retain(|other| *other != attempt);
        }
        let (link, client, cost, stage) = (state.link, state.client, state.cost, state.stage);
        self.leave(link, client, took, Some(reply.outcome));
        if reply.outcome.is_answer() {
            if let Some(policies) = self.policies(link) {
                policies.meter.hedges_won += u64::from(!is_lead);
                if let Some(budget) = &mut policies.clients[client as usize].budget {
                    budget.succeed(cost);
                }
            }
            self.drop_losers(id);
            let outcome = if stage > 0 { Outcome::Degraded } else { reply.outcome };
            return Some(self.settle(id, Reply { outcome }));
        }
        if let Some(Policies { retry: Some(retry), clients, .. }) = self.policies(link)
            && retry.is_on(reply.outcome, false)
            && let Some(budget) = &mut clients[client as usize].budget
        {
            budget.fail();
        }
        let state = self.attempts_mut(id);
        if state.lead.is_some() || !state.others.is_empty() {
            return None;
        }
        (state.avoid, state.asked) = (replica, asked);
        self.stop_timer(id);
        self.pursue(id, Next::Failed(reply, false)).map(|reply| self.settle(id, reply))
    }

    /// The time for a call's attempts at one callee is over.
    pub(crate) fn give_up_attempts(&mut self, id: CallId) -> Option<Reply> {
        self.call_mut(id).timeout = None;
        for attempt in self.take_attempts(id) {
            let took = self.now().since(self.call(attempt).sent_at);
            self.expire(attempt);
            self.bury(attempt);
            let &mut Attempts { link, client, .. } = self.attempts_mut(id);
            self.leave(link, client, took, Some(Outcome::TimedOut));
        }
        self.give_up_place(id);
        self.stop_timer(id);
        self.pursue(id, Next::FallBack(Reply::TIMED_OUT)).map(|reply| self.settle(id, reply))
    }

    /// Goes on with a call, as was due.
    pub(crate) fn go_on(&mut self, id: CallId) -> Option<Reply> {
        let (_, due) = self.attempts_mut(id).due.take()?;
        let end = match due {
            Due::Try => self.pursue(id, Next::Try),
            Due::Hedge => {
                self.hedge(id);
                None
            }
            Due::End(reply) => Some(reply),
        };
        end.map(|reply| self.settle(id, reply))
    }

    /// News of an attempt, or of a plain call: the call whose caller hears of it.
    pub(crate) fn pass_on(&mut self, attempt: CallId, progress: Progress) -> Option<CallId> {
        let id = self.call(attempt).attempt_of;
        if id == CallId::NONE {
            return Some(attempt);
        }
        let link = self.attempts_mut(id).link;
        let hedge = self.policies(link).and_then(|policies| policies.hedge);
        let decides = hedge.is_some_and(|hedge| hedge.winner == Winner::FirstToken);
        if decides && progress == Progress::FirstToken {
            self.win(id, attempt);
        }
        let state = self.attempts_mut(id);
        let bit = 1 << progress as u8;
        let is_new = state.reported & bit == 0;
        state.reported |= bit;
        is_new.then_some(id)
    }

    /// The caller of a call over a link with policies stops waiting for it.
    pub(crate) fn abandon(&mut self, id: CallId) {
        if self.core.attempts.get(Key::from_bits(self.call(id).scratch)).is_none() {
            // It has ended, and its caller is hearing of it.
            return;
        }
        self.cancel_attempts(id, false);
        self.give_up_place(id);
        self.settle(id, Reply::FAILED);
        self.close(id);
    }

    /// Does what is next until something is under way, or the call has ended.
    fn pursue(&mut self, id: CallId, mut next: Next) -> Option<Reply> {
        loop {
            next = match next {
                Next::Try => {
                    if self.attempt(id) {
                        return None;
                    }
                    Next::Failed(Reply::REJECTED, true)
                }
                Next::Failed(reply, short_circuited) => match self.next_wait(id, reply, short_circuited) {
                    Some(wait) => {
                        self.call_on(id, wait, Phase::Timer, Due::Try);
                        return None;
                    }
                    None => Next::FallBack(reply),
                },
                Next::FallBack(reply) => match self.fall_back(id, reply) {
                    Ok(()) => Next::Try,
                    Err(end) => return Some(end),
                },
            }
        }
    }

    /// Makes an attempt, or queues for one; false when none is let through.
    fn attempt(&mut self, id: CallId) -> bool {
        let now = self.now();
        let state = self.attempts_mut(id);
        let (link, client) = (state.link, state.client);
        if std::mem::replace(&mut state.place, Place::None) != Place::Admitted {
            match self.admit(id) {
                Admission::Go => {}
                Admission::Wait => {
                    self.attempts_mut(id).place = Place::Waiting;
                    let policies = self.policies(link).expect("it has a limit");
                    policies.clients[client as usize].waiting.push_back(id);
                    return true;
                }
                Admission::Refuse => return false,
            }
        }
        let attempt = self.send_attempt(id);
        let state = self.attempts_mut(id);
        (state.lead, state.hedges) = (Some(attempt), 0);
        state.tries += 1;
        self.await_hedge(id, now);
        true
    }

    /// Whether the breaker of the client lets an attempt through. When it does, the attempt is under way.
    fn admit(&mut self, id: CallId) -> Admission {
        let (now, request) = (self.now(), self.request(id).key);
        let &mut Attempts { link, client, hop, sent, tries, .. } = self.attempts_mut(id);
        let Some(policies) = self.policies(link) else { return Admission::Go };
        let Policies { clients, meter, draws, .. } = policies;
        let client = &mut clients[client as usize];
        let Some(breaker) = &mut client.breaker else {
            client.active += 1;
            return Admission::Go;
        };
        let before = breaker.state();
        let underway = Underway { active: client.active, waiting: client.waiting.len() as u32 };
        // A try that was refused counts as one, so that the next has other luck.
        let draw = (sent + tries) * DRAWS + THROTTLE;
        let admission = breaker.admit(now, underway, || unit(&mut draws.draws(request, hop, draw)));
        meter.note_state(now, before, breaker.state());
        match admission {
            Admission::Go => client.active += 1,
            Admission::Wait => {}
            Admission::Refuse => meter.short_circuited += 1,
        }
        admission
    }

    fn send_attempt(&mut self, id: CallId) -> CallId {
        let &Call { request, parent, tag, turn, .. } = self.call(id);
        let state = self.attempts_mut(id);
        let &mut Attempts { link, callee, hop, avoid, sent: attempt, .. } = state;
        state.sent += 1;
        let timeout = match &mut self.core.links[link.0 as usize] {
            Link { policies: Some(policies), .. } => {
                policies.meter.attempts += 1;
                policies.per_try
            }
            link => link.timeout,
        };
        let deadline = self.call(id).deadline;
        let sending = Sending { request, parent, callee, tag, hop, link, attempt, avoid, turn };
        let attempt = self.transmit(sending, id, timeout);
        let call = self.call_mut(attempt);
        call.deadline = call.deadline.min(deadline);
        attempt
    }

    /// How long to wait before the next try, if there is one.
    fn next_wait(&mut self, id: CallId, reply: Reply, short_circuited: bool) -> Option<SimDuration> {
        let (now, request, deadline) = (self.now(), self.request(id).key, self.call(id).deadline);
        self.stop_retrying(id);
        let state = self.attempts_mut(id);
        // What was not let through was tried all the same.
        state.tries += u32::from(short_circuited);
        let asked = state.asked.take();
        let &mut Attempts { link, client, hop, tries, waited, .. } = state;
        let Policies { retry, clients, meter, draws, .. } = self.policies(link)?;
        let retry = retry.as_ref()?;
        if tries >= retry.max_attempts || !retry.is_on(reply.outcome, short_circuited) {
            return None;
        }
        let draws = &mut draws.draws(request, hop, tries * DRAWS + WAIT);
        // Who is asked to wait longer does.
        let wait = retry.wait.next(tries, waited, draws).max(asked.unwrap_or_default());
        if retry.respect_deadline && now.checked_add(wait).is_ok_and(|at| at >= deadline) {
            return None;
        }
        let client = &mut clients[client as usize];
        let mut cost = None;
        if let Some(budget) = &mut client.budget {
            let spending = Spending {
                now,
                timed_out: reply.outcome == Outcome::TimedOut,
                active: client.active + client.waiting.len() as u32,
                retrying: client.retrying,
            };
            cost = budget.withdraw(spending);
            if cost.is_none() {
                meter.retries_denied += 1;
                return None;
            }
        }
        client.retrying += 1;
        meter.retries += 1;
        let state = self.attempts_mut(id);
        (state.waited, state.cost, state.is_retry) = (wait, cost, true);
        Some(wait)
    }

    /// Cancels the attempts under way, which lost against another if `lost`.
    fn cancel_attempts(&mut self, id: CallId, lost: bool) {
        for attempt in self.take_attempts(id) {
            let now = self.now();
            let took = now.since(self.call(attempt).sent_at);
            let &mut Attempts { link, client, .. } = self.attempts_mut(id);
            let mut interrupt = true;
            if lost && let Some(policies) = self.policies(link) {
                policies.learn(client, None, took, now);
                interrupt = policies.hedge.is_none_or(|hedge| hedge.send_interrupts);
            }
            if interrupt {
                self.cancel(attempt);
            } else {
                self.stop_waiting(attempt);
                self.bury(attempt);
            }
            self.leave(link, client, took, None);
        }
    }

    fn take_attempts(&mut self, id: CallId) -> impl Iterator<Item = CallId> + use<> {
        let state = self.attempts_mut(id);
        state.lead.take().into_iter().chain(std::mem::take(&mut state.others))
    }

    /// An attempt is over: `outcome` is how it ended, or `None` when the client gave it up.
    fn leave(&mut self, link: LinkId, client: u32, took: SimDuration, outcome: Option<Outcome>) {
        let now = self.now();
        let Some(policies) = self.policies(link) else { return };
        if outcome.is_some() {
            policies.learn(client, outcome, took, now);
        }
        let Policies { clients, meter, .. } = policies;
        let client = &mut clients[client as usize];
        client.active -= 1;
        let Some(breaker) = &mut client.breaker else { return };
        let before = breaker.state();
        match outcome {
            Some(outcome) => breaker.record(now, Ended { outcome, took }),
            None => breaker.release(now),
        }
        meter.note_state(now, before, breaker.state());
        if client.waiting.is_empty() {
            return;
        }
        let underway = Underway { active: client.active, waiting: 0 };
        if breaker.admit(now, underway, || 0.0) == Admission::Go
            && let Some(next) = client.waiting.pop_front()
        {
            client.active += 1;
            self.attempts_mut(next).place = Place::Admitted;
            self.call_on(next, SimDuration::ZERO, Phase::Reply, Due::Try);
        }
    }

    /// Takes a call out of the queue for a connection, or gives its connection to the next.
    fn give_up_place(&mut self, id: CallId) {
        let state = self.attempts_mut(id);
        let (link, client) = (state.link, state.client);
        match std::mem::replace(&mut state.place, Place::None) {
            Place::None => {}
            Place::Waiting => {
                if let Some(policies) = self.policies(link) {
                    policies.clients[client as usize].waiting.retain(|waiting| *waiting != id);
                }
            }
            Place::Admitted => self.leave(link, client, SimDuration::ZERO, None),
        }
    }

    /// Has the call go on after a while.
    fn call_on(&mut self, id: CallId, delay: SimDuration, phase: Phase, due: Due) {
        let timer = self.scheduler.schedule(delay, phase, ModelEvent::Attempt(id).into());
        self.attempts_mut(id).due = Some((timer, due));
    }

    fn stop_timer(&mut self, id: CallId) {
        if let Some((timer, _)) = self.attempts_mut(id).due.take() {
            self.scheduler.cancel(timer);
        }
    }

    /// A retry and the wait before it are over.
    fn stop_retrying(&mut self, id: CallId) {
        let state = self.attempts_mut(id);
        let (link, client) = (state.link, state.client);
        if std::mem::take(&mut state.is_retry)
            && let Some(policies) = self.policies(link)
        {
            policies.clients[client as usize].retrying -= 1;
        }
    }

    /// Clears away what a call had under way. Nothing of it is on the way any more.
    fn settle(&mut self, id: CallId, reply: Reply) -> Reply {
        self.stop_timer(id);
        self.stop_retrying(id);
        if let Some(timeout) = self.call_mut(id).timeout.take() {
            self.scheduler.cancel(timeout);
        }
        let call = self.call(id);
        let (key, chain) = (Key::from_bits(call.scratch), call.link);
        let state = self.core.attempts.remove(key).expect("a call is settled once");
        if state.stage > 0 && (reply.outcome.is_answer() || reply.outcome == Outcome::Rejected) {
            let policies = self.policies(chain).expect("a chain belongs to policies");
            if let Some(served) = policies.meter.served.get_mut(state.stage - 1) {
                *served += 1;
            }
        }
        reply
    }

    fn policies(&mut self, link: LinkId) -> Option<&mut Policies> {
        self.core.links[link.0 as usize].policies.as_deref_mut()
    }

    fn attempts_mut(&mut self, id: CallId) -> &mut Attempts {
        let key = Key::from_bits(self.call(id).scratch);
        self.core
            .attempts
            .get_mut(key)
            .expect("a call over a link with policies lives as long as its attempts")
    }
}

impl Policies {
    /// A call of `request` begins: the client process that it goes through.
    fn begin(&mut self, request: u64, now: SimTime) -> u32 {
        self.meter.calls += 1;
        let client = self.client_of(request);
        let Client { budget, hedge_budget, .. } = &mut self.clients[client as usize];
        [budget, hedge_budget].into_iter().flatten().for_each(|budget| budget.deposit(now));
        client
    }

    /// Remembers how long an attempt took, if somebody wants to know.
    fn learn(&mut self, client: u32, outcome: Option<Outcome>, took: SimDuration, now: SimTime) {
        if self.hedge.is_some_and(|hedge| hedge.learns()) {
            self.clients[client as usize].latencies.record(now, took, outcome);
        }
    }
}
