//! What a component may do: the state it shares with the others, and the ways to reach them.

mod background;
mod cuts;
mod doors;
mod links;
mod replies;
mod requests;
mod timeline;
mod zones;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedDraws, KeyedStream, Purpose, Streams, stable_hash};
use sim_core::scheduler::{Alarm, Scheduler, TimerLane};
use sim_core::time::{SimDuration, SimTime};

use crate::admission::Door;
use crate::call::{Call, CallId, Reply};
use crate::component::{ComponentId, Load, Signals};
use crate::cost::{CostMeter, StorageConfig};
use crate::device::{ClientId, Devices, Rate};
use crate::energy::EnergyConfig;
use crate::event::{ModelEvent, PackedEvent};
use crate::journal::{Birth, RequestRecord};
use crate::link::attempts::Attempts;
use crate::link::{Link, LinkId};
use crate::meter::{ComponentMeter, GoodputBounds, RequestMeter};
use crate::quality::Quality;
use crate::request::{Request, RequestId};
use crate::slab::Slab;
use crate::system::recorder::Recorder;
use crate::system::zones::Zones;
use crate::timeline::Timeline;
use crate::turn::{Prompt, Turn};

/// Names of the classes and tenants of a system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Classes, the most important first.
    pub classes: Vec<String>,
    /// Tenants.
    pub tenants: Vec<String>,
}

/// Everything of a system but its components.
#[derive(Debug)]
pub struct Core {
    pub(crate) streams: Streams,
    pub(crate) names: Vec<String>,
    pub(crate) labels: Labels,
    pub(crate) requests: Slab<Request>,
    pub(crate) calls: Slab<Call>,
    pub(crate) links: Vec<Link>,
    /// What the calls over links with policies have under way.
    pub(crate) attempts: Slab<Attempts>,
    /// The link from each component (row) to each other.
    pub(crate) routes: Vec<Option<LinkId>>,
    pub(crate) service: Vec<KeyedStream>,
    pub(crate) meters: Vec<ComponentMeter>,
    /// By component.
    pub(crate) doors: Vec<Option<Box<Door>>>,
    pub(crate) cost: CostMeter,
    pub(crate) energy: EnergyConfig,
    pub(crate) storage: IndexMap<String, StorageConfig>,
    pub(crate) devices: Devices,
    pub(crate) quality: Option<Quality>,
    /// By class, then tenant.
    pub(crate) request_meters: Vec<RequestMeter>,
    pub(crate) bounds: Vec<GoodputBounds>,
    pub(crate) recorder: Recorder,
    /// Background work, by who is worked on and who works.
    pub(crate) loads: BTreeMap<(ComponentId, ComponentId), Load>,
    pub(crate) snapshots: Vec<Signals>,
    pub(crate) scrape_period: Option<SimDuration>,
    /// Share of the answers of each component that fail, by a fault.
    pub(crate) error_rates: Vec<f64>,
    pub(crate) zones: Zones,
    /// No request is born after this.
    pub(crate) arrivals_until: SimTime,
    pub(crate) measure_from: SimTime,
    /// Whole-run counts, for the conservation invariant.
    pub(crate) born: u64,
    pub(crate) ended: [u64; 5],
    /// Requests kept for work in the background.
    pub(crate) kept: u64,
    /// Whether the run's `duration` is not over.
    pub(crate) is_open: bool,
    /// Sources at which a birth is planned.
    pub(crate) open_sources: u32,
    /// Traffic sources are the first so many components.
    pub(crate) source_count: usize,
    pub(crate) outcome_hash: u64,
    /// Requests one by one, if they are asked for.
    pub(crate) journal: Option<Vec<RequestRecord>>,
    /// What was asked for, one by one, if it is asked for.
    pub(crate) births: Option<Vec<Birth>>,
    /// A window call by call, if it is asked for.
    pub(crate) timeline: Option<Box<Timeline>>,
}

impl Core {
    fn route(&self, from: ComponentId, to: ComponentId) -> Option<LinkId> {
        self.routes[from.index() * self.names.len() + to.index()]
    }

    /// Requests born and not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.born - self.ended.iter().sum::<u64>()
    }

    /// All background work on a component.
    pub(crate) fn load_on(&self, target: ComponentId) -> Load {
        let all = self.loads.range((target, ComponentId(0))..=(target, ComponentId(u16::MAX)));
        let (rate, busy) =
            all.fold((0.0, 0.0), |sum, (_, load)| (sum.0 + load.rate, sum.1 + load.rate * load.cost));
        Load { rate, cost: if rate > 0.0 { busy / rate } else { 0.0 } }
    }

    /// Whether a call is one that a component makes over a link with policies: it is not sent itself, the
    /// attempts under it are.
    pub(crate) fn is_logical(&self, call: &Call) -> bool {
        call.attempt_of == CallId::NONE && self.links[call.link.0 as usize].policies.is_some()
    }

    pub(crate) fn close_call(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(id) {
            self.leave_request(call.request);
        }
    }

    /// One less needs a request.
    fn leave_request(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(id) else { return };
        request.open_calls -= 1;
        if request.ended && request.open_calls == 0 {
            self.requests.remove(id);
        }
    }
}

/// A component's hands and eyes while it handles something.
#[derive(Debug)]
pub struct Ctx<'a> {
    pub(crate) me: ComponentId,
    pub(crate) core: &'a mut Core,
    pub(crate) scheduler: &'a mut Scheduler<PackedEvent>,
}

impl Ctx<'_> {
    /// The present.
    #[inline]
    pub fn now(&self) -> SimTime {
        self.scheduler.now()
    }

    /// The component that this context serves.
    pub fn me(&self) -> ComponentId {
        self.me
    }

    /// A live call.
    ///
    /// # Panics
    /// When the call is over: a component remembered it too long.
    #[inline]
    pub fn call(&self, id: CallId) -> &Call {
        self.core.calls.get(id).expect("a component uses a call that is over")
    }

    /// Whether a call is not over yet.
    pub fn is_live(&self, id: CallId) -> bool {
        self.core.calls.get(id).is_some()
    }

    /// Whether nobody will hear the answer to a live call of mine: its caller has stopped waiting, or its
    /// deadline has come.
    pub fn is_expired(&self, id: CallId) -> bool {
        let call = self.call(id);
        !call.awaited || call.deadline <= self.now()
    }

    /// A live call, to set its `scratch`.
    ///
    /// # Panics
    /// As [`Ctx::call`].
    #[inline]
    pub fn call_mut(&mut self, id: CallId) -> &mut Call {
        self.core.calls.get_mut(id).expect("a component uses a call that is over")
    }

    /// The request of a call.
    ///
    /// # Panics
    /// As [`Ctx::call`].
    #[inline]
    pub fn request(&self, call: CallId) -> &Request {
        let id = self.call(call).request;
        self.core.requests.get(id).expect("a request outlives its calls")
    }

    /// Service draws of a call of mine: the same in every compared variant.
    #[inline]
    pub fn draws(&self, call: CallId) -> KeyedDraws {
        let Call { hop, attempt, .. } = *self.call(call);
        self.core.service[self.me.index()].draws(self.request(call).key, hop, attempt)
    }

    /// Draws of mine for what I send with a `tag` on behalf of `parent`: those of [`Ctx::draws`] for its first attempt.
    pub fn draws_below(&self, parent: CallId, tag: u32) -> KeyedDraws {
        self.core.service[self.me.index()].draws(self.request(parent).key, self.place(parent, tag), 0)
    }

    /// A keyed stream of mine for another purpose; make it once, at the start.
    pub fn keyed_stream(&self, purpose: Purpose) -> KeyedStream {
        self.core.streams.keyed(&self.core.names[self.me.index()], purpose)
    }

    /// Calls `callee` on behalf of `parent`, a call that I serve. `tag` is for me to know it by.
    pub fn send(&mut self, parent: CallId, callee: ComponentId, tag: u32) -> CallId {
        self.send_turn(parent, callee, tag, self.call(parent).turn)
    }

    /// The same as a turn of a conversation.
    pub fn send_turn(&mut self, parent: CallId, callee: ComponentId, tag: u32, turn: Turn) -> CallId {
        let request = self.call(parent).request;
        self.dispatch(request, parent, callee, tag, self.place(parent, tag), turn)
    }

    /// The place in the tree of calls of what `parent`, a call that I serve, sends with a `tag`.
    pub(crate) fn place(&self, parent: CallId, tag: u32) -> u32 {
        let &Call { hop, attempt, .. } = self.call(parent);
        let hop = if attempt == 0 { hop } else { child_hop(hop, !attempt) };
        child_hop(hop, tag)
    }

    /// What a call asks of a model.
    pub fn prompt(&self, call: CallId) -> Prompt<'_> {
        Prompt { request: self.request(call), turn: self.call(call).turn }
    }

    /// The first call of a request.
    pub(crate) fn send_root(&mut self, request: RequestId, callee: ComponentId) -> CallId {
        self.dispatch(request, CallId::NONE, callee, 0, 0, Turn::default())
    }

    fn dispatch(
        &mut self,
        request: RequestId,
        parent: CallId,
        callee: ComponentId,
        tag: u32,
        hop: u32,
        turn: Turn,
    ) -> CallId {
        let link = self.core.route(self.me, callee).expect("links are laid when the system is built");
        let sending = Sending { request, parent, callee, tag, hop, link, attempt: 0, avoid: None, turn };
        let link = &self.core.links[link.0 as usize];
        if link.policies.is_some() {
            return self.undertake(sending);
        }
        let timeout = link.timeout;
        self.transmit(sending, CallId::NONE, timeout)
    }

    /// Sends a call, or an attempt of one, on its way. The caller waits for the time of `timeout`.
    pub(crate) fn transmit(
        &mut self,
        sending: Sending,
        attempt_of: CallId,
        timeout: Option<(SimDuration, TimerLane)>,
    ) -> CallId {
        let link = &self.core.links[sending.link.0 as usize];
        let delay = match &link.latency {
            Some(latency) => {
                let request = self.core.requests.get(sending.request).expect("a request outlives its calls");
                let draw = sending.attempt * WAYS;
                latency.sample_duration(&mut link.network.draws(request.key, sending.hop, draw))
            }
            None => SimDuration::ZERO,
        };
        let id = self.open_call(sending, attempt_of, timeout);
        let delay = self.with_crossings(self.call(id), 0, delay);
        if self.is_cut(id) {
            self.lose(id);
        } else {
            self.scheduler.schedule(delay, Phase::Arrival, ModelEvent::Deliver(id).into());
        }
        id
    }

    /// Begins to wait for a call.
    pub(crate) fn open_call(
        &mut self,
        sending: Sending,
        attempt_of: CallId,
        timeout: Option<(SimDuration, TimerLane)>,
    ) -> CallId {
        let now = self.now();
        let request = self.core.requests.get_mut(sending.request).expect("a request outlives its calls");
        request.open_calls += 1;
        let patience = timeout.and_then(|(after, _)| now.checked_add(after).ok()).unwrap_or(SimTime::MAX);
        let deadline = patience.min(request.deadline);
        let key = request.key;
        let (from, at) = self.localities(&sending, key);
        let id = self.core.calls.insert(Call {
            request: sending.request,
            caller: self.me,
            callee: sending.callee,
            parent: sending.parent,
            tag: sending.tag,
            hop: sending.hop,
            attempt: sending.attempt,
            turn: sending.turn,
            sent_at: now,
            arrived_at: now,
            deadline,
            scratch: CallId::NONE.to_bits(),
            replica: None,
            avoid: sending.avoid,
            retry_after: None,
            from,
            at,
            link: sending.link,
            attempt_of,
            reply: None,
            timeout: None,
            awaited: true,
            lost: false,
        });
        if let Some((_, lane)) = timeout {
            let handle = self.scheduler.arm(lane, ModelEvent::Timeout(id).into());
            self.call_mut(id).timeout = Some(handle);
        }
        id
    }

    /// Stops waiting for a call of mine and tells the callee.
    pub fn cancel(&mut self, id: CallId) {
        if self.core.calls.get(id).is_some_and(|call| self.core.is_logical(call)) {
            return self.abandon(id);
        }
        if self.stop_waiting(id) {
            self.send_cancel(id);
        }
        self.bury(id);
    }

    /// True when the callee is still at work.
    pub(crate) fn stop_waiting(&mut self, id: CallId) -> bool {
        let Some(call) = self.core.calls.get_mut(id) else { return false };
        call.awaited = false;
        let working = call.reply.is_none();
        if let Some(timeout) = call.timeout.take() {
            self.scheduler.cancel(timeout);
        }
        working
    }

    fn send_cancel(&mut self, id: CallId) {
        let call = self.call(id);
        if call.lost || self.is_cut(id) {
            return;
        }
        // The cancellation cannot overtake the call: it takes the time of the call's own way there, and
        // its phase comes after the call's.
        let delay = self.return_delay(call, 0);
        self.scheduler.schedule(delay, Phase::Timer, ModelEvent::Cancel(id).into());
    }

    /// Sets a timer of mine.
    #[inline]
    pub fn schedule(&mut self, delay: SimDuration, phase: Phase, kind: u16, data: u64) -> EventHandle {
        let event: PackedEvent = ModelEvent::Timer { component: self.me, kind, data }.into();
        self.scheduler.schedule(delay, phase, event)
    }

    /// Sets a timer of mine for an instant.
    #[inline]
    pub fn schedule_at(&mut self, at: SimTime, phase: Phase, kind: u16, data: u64) -> EventHandle {
        let event: PackedEvent = ModelEvent::Timer { component: self.me, kind, data }.into();
        self.scheduler.schedule_at(at, phase, event)
    }

    /// A lane for timers of mine that all wait equally long.
    pub fn timer_lane(&mut self, delay: SimDuration, phase: Phase) -> TimerLane {
        self.scheduler.timer_lane(delay, phase)
    }

    /// Sets a timer of mine in a lane.
    pub fn arm(&mut self, lane: TimerLane, kind: u16, data: u64) -> EventHandle {
        let event: PackedEvent = ModelEvent::Timer { component: self.me, kind, data }.into();
        self.scheduler.arm(lane, event)
    }

    /// An alarm of mine.
    pub fn alarm(&mut self, phase: Phase, kind: u16, data: u64) -> Alarm {
        let event: PackedEvent = ModelEvent::Timer { component: self.me, kind, data }.into();
        self.scheduler.alarm(phase, event)
    }

    /// Sets an alarm of mine.
    #[inline]
    pub fn set_alarm(&mut self, alarm: Alarm, at: Option<SimTime>) {
        self.scheduler.set_alarm(alarm, at);
    }

    /// Cancels a timer; false when it has run out.
    pub fn cancel_timer(&mut self, handle: EventHandle) -> bool {
        self.scheduler.cancel(handle)
    }

    /// My meter.
    #[inline]
    pub fn meter(&mut self) -> &mut ComponentMeter {
        &mut self.core.meters[self.me.index()]
    }

    /// The bill.
    pub fn cost(&mut self) -> &mut CostMeter {
        &mut self.core.cost
    }

    /// Says how many works of mine run on a shared GPU from now on. Others on it are told of their new
    /// rates; mine is for me to ask for.
    pub fn set_running(&mut self, client: ClientId, running: u32) {
        let Self { core, scheduler, .. } = self;
        let now = scheduler.now();
        core.devices.set_running(client, running, now, |other| {
            // Ahead of all else of this instant; no time has passed since, so whatever comes before loses
            // nothing.
            scheduler.schedule(SimDuration::ZERO, Phase::StepEnd, ModelEvent::RateChange(other).into());
        });
    }

    /// How fast each of my works on a shared GPU goes on.
    #[inline]
    pub fn device_rate(&self, client: ClientId) -> Rate {
        self.core.devices.rate(client)
    }

    /// Puts this background work of mine on `target`, in place of what I did there before.
    pub fn set_load(&mut self, target: ComponentId, load: Load) {
        self.core.loads.insert((target, self.me), load);
        self.scheduler.schedule(SimDuration::ZERO, Phase::StepEnd, ModelEvent::Load(target).into());
    }

    /// Tells `target` that I have written all that was known at `as_of` into it.
    pub fn materialize(&mut self, target: ComponentId, as_of: SimTime) {
        let event: PackedEvent = ModelEvent::Materialized(target, as_of).into();
        self.scheduler.schedule(SimDuration::ZERO, Phase::StepEnd, event);
    }

    /// A component's signals as of the last scrape: real controllers see stale ones. Ask for scrapes
    /// with [`Ctx::scrape_every`].
    pub fn metric(&self, component: ComponentId) -> Signals {
        self.core.snapshots[component.index()]
    }

    /// Has all signals scraped at least this often. Call it at the start.
    pub fn scrape_every(&mut self, period: SimDuration) {
        let shortest = self.core.scrape_period.map_or(period, |present| present.min(period));
        self.core.scrape_period = Some(shortest);
    }

    /// A call reached its callee.
    pub(crate) fn deliver(&mut self, id: CallId) {
        let now = self.now();
        let call = self.call_mut(id);
        call.arrived_at = now;
        let request = call.request;
        self.meter().calls += 1;
        if self.core.journal.is_some()
            && let Some(request) = self.core.requests.get_mut(request)
        {
            request.reached.add(self.me);
        }
    }

    /// The reply reached the caller: what it says, unless nobody waits any more.
    pub(crate) fn receive(&mut self, id: CallId) -> Option<Reply> {
        let call = self.call_mut(id);
        let heard = call.awaited.then_some(call.reply).flatten();
        call.awaited = false;
        if let Some(timeout) = call.timeout.take() {
            self.scheduler.cancel(timeout);
        }
        if heard.is_none() {
            let callee = self.call(id).callee;
            self.core.meters[callee.index()].unheard += 1;
        }
        if self.core.quality.is_some() && heard.is_some_and(|reply| reply.outcome.is_answer()) {
            self.hear_answer(id);
        }
        heard
    }

    /// The caller's patience has run out: it hears so, and the callee may be told.
    pub(crate) fn expire(&mut self, id: CallId) {
        let working = self.stop_waiting(id);
        let link = self.call(id).link;
        if working && self.core.links[link.0 as usize].cancel_on_timeout {
            self.send_cancel(id);
        }
    }

    pub(crate) fn close(&mut self, id: CallId) {
        self.core.close_call(id);
    }
}

/// A call to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    pub request: RequestId,
    pub parent: CallId,
    pub callee: ComponentId,
    pub tag: u32,
    pub hop: u32,
    pub link: LinkId,
    pub attempt: u32,
    pub avoid: Option<u16>,
    pub turn: Turn,
}

/// Draws of network time a call may need: there and back.
const WAYS: u32 = 2;

/// The place of a child in the tree of calls.
pub(crate) fn child_hop(parent: u32, tag: u32) -> u32 {
    let mut place = [0; 8];
    place[..4].copy_from_slice(&parent.to_le_bytes());
    place[4..].copy_from_slice(&tag.to_le_bytes());
    stable_hash(&place) as u32
}
