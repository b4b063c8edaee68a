//! KV that goes between the replicas of a pool, and to them from the host's memory.
//!
//! # Prefill and decode
//! Prefill workers have the numbers behind those of the decode workers. A call goes to a prefill worker first, as a
//! sequence with one token to generate, whose blocks stay there when it ends ([`KvTransfer::RemoteDecode`]). In
//! the same instant it is sent to a decode worker ([`KvTransfer::RemotePrefill`]), whose engine says when it has
//! room and begins to load. The blocks at the prefill worker are free when they have come, when it turns out
//! that they are not needed (the decode worker's prefix cache holds all of the prompt), or when the call is
//! given up before.
//!
//! # What breaks
//! * A prefill worker that crashes fails the calls in it. Those that were passed on load what is not there any
//!   more, which takes the latency, and compute it at the decode worker.
//! * A decode worker that crashes fails its calls. Nobody tells the prefill workers, which keep the blocks until
//!   `abort_request_timeout`; so they do with those of calls that no decode worker took.
//!
//! # Order
//! What one engine does may concern another that is due in the same nanosecond: so all that are due are advanced
//! first, and then [`Pool::pass_on`] does the rest.
//!
//! # Choices
//! * The handshake of two workers at their first transfer (seconds, once) is not modelled, nor the API server
//!   and the proxy between the two.
//! * A read that has begun is not cut off by the timeout.
//! * The host's bus moves one load at a time, in order, as the stream of vLLM's offloading worker does.

use sim_core::event::{EventHandle, Phase};
use sim_core::scheduler::{Alarm, TimerLane};
use sim_core::time::{SimDuration, SimTime};

use super::link::Link;
use super::submit::Part;
use super::{Active, Pool, START, event_data};
use crate::call::CallId;
use crate::component::Timer;
use crate::context::Ctx;
use crate::llm::disaggregated::{Transfer, Way};
use crate::llm::engine::{Engine, KvTransfer, Load, Output, SeqId, Tally};
use crate::measure::Measure;
use crate::pool::{EngineFigures, Front};
use crate::slab::{Key, Slab};

/// The next transfers are through.
const LINK: u16 = 3;
/// What was loaded is there, or is known not to come.
const LOADED: u16 = 4;
/// Nobody has fetched the KV of a prompt.
const EXPIRED: u16 = 5;

/// What a pool needs of its prefill workers.
#[derive(Debug)]
pub(in crate::llm) struct PrefillSetup {
    /// The engine of each, without work.
    pub(in crate::llm) engine: Engine,
    pub(in crate::llm) replicas: u32,
    /// GPUs of each.
    pub(in crate::llm) gpus: u64,
    pub(in crate::llm) front: Front,
    pub(in crate::llm) transfer: Transfer,
    /// Prompts up to so long are computed by decode workers.
    pub(in crate::llm) max_local: u32,
}

/// Prefill workers, and the network behind them.
#[derive(Debug)]
pub(super) struct Prefill {
    /// The number of the first.
    pub(super) first: usize,
    pub(super) front: Front,
    link: Link,
    /// Goes off when the next transfer is through.
    alarm: Option<Alarm>,
    /// KV of prompts that is kept for decode workers.
    sources: Slab<Source>,
    transfer: Transfer,
    lane: Option<TimerLane>,
    pub(super) max_local: u32,
    /// Workers on the side that has fewer.
    links: f64,
    /// Transfers that failed as their source was gone, and prompts whose KV nobody fetched.
    failed: u64,
    expired: u64,
}

/// The KV of a prompt in the replica that computed it.
#[derive(Debug)]
struct Source {
    replica: u32,
    generation: u32,
    sequence: SeqId,
    expires: SimTime,
    timer: Option<EventHandle>,
}

/// The host's bus of each replica.
#[derive(Debug)]
struct Bus {
    ways: Vec<Way>,
    /// When it is free.
    free: Vec<SimTime>,
    /// Time in use since the measured part began, by replica, all that is scheduled among it.
    busy: Vec<SimDuration>,
}

/// What is being loaded into a sequence's blocks.
#[derive(Debug)]
struct Loading {
    replica: u32,
    generation: u32,
    sequence: SeqId,
    blocks: u32,
    host: bool,
    /// Where it comes from, if not from the host.
    source: Key,
    began: SimTime,
    there: bool,
}

/// Loads that were done.
#[derive(Debug, Default)]
struct Counts {
    loads: u64,
    blocks: u64,
    time: u128,
}

/// All of a pool that has to do with KV from elsewhere.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) prefill: Option<Prefill>,
    bus: Option<Bus>,
    loading: Slab<Loading>,
    /// What the engines told in this instant: calls whose prompts are computed, loads that began, with their
    /// replicas, and calls that a decode worker admitted.
    computed: Vec<CallId>,
    begun: Vec<(usize, Load)>,
    admitted: Vec<CallId>,
    /// From other engines, and from the host.
    remote: Counts,
    host: Counts,
    since: SimTime,
}

impl Connector {
    /// `ways` are those from the hosts to each replica, none without offloading. The prefill workers begin at
    /// number `first`.
    pub(super) fn new(prefill: Option<PrefillSetup>, first: u32, ways: Vec<Way>) -> Option<Box<Self>> {
        if prefill.is_none() && ways.is_empty() {
            return None;
        }
        let prefill = prefill.map(|setup| Prefill {
            first: first as usize,
            front: setup.front.from(first as u16),
            link: Link::new((first + setup.replicas) as usize),
            alarm: None,
            sources: Slab::default(),
            transfer: setup.transfer,
            lane: None,
            max_local: setup.max_local,
            links: first.min(setup.replicas).into(),
            failed: 0,
            expired: 0,
        });
        let bus = (!ways.is_empty()).then(|| {
            let free = vec![SimTime::ZERO; ways.len()];
            Bus { busy: vec![SimDuration::ZERO; ways.len()], free, ways }
        });
        Some(Box::new(Self {
            prefill,
            bus,
            loading: Slab::default(),
            computed: Vec::new(),
            begun: Vec::new(),
            admitted: Vec::new(),
            remote: Counts::default(),
            host: Counts::default(),
            since: SimTime::ZERO,
        }))
    }

    pub(super) fn start(&mut self, ctx: &mut Ctx) {
        if let Some(prefill) = &mut self.prefill {
            prefill.front.start(ctx);
            prefill.alarm = Some(ctx.alarm(Phase::Timer, LINK, 0));
            prefill.lane = Some(ctx.timer_lane(prefill.transfer.abort_timeout, Phase::Timer));
        }
    }

    /// Whether a replica is a prefill worker.
    pub(super) fn prefills(&self, index: usize) -> bool {
        self.prefill.as_ref().is_some_and(|prefill| index >= prefill.first)
    }

    /// Takes note of what came of a replica's step.
    pub(super) fn note(&mut self, index: usize, output: &Output) {
        self.begun.extend(output.loads.iter().map(|load| (index, *load)));
        if self.prefills(index) {
            let ended = output.milestones.iter().filter(|milestone| milestone.last);
            self.computed.extend(ended.map(|milestone| CallId::from_bits(milestone.key)));
        } else if self.prefill.is_some() {
            self.admitted.extend(output.admitted.iter().map(|key| CallId::from_bits(*key)));
        }
    }

    /// Forgets the host's loads of a replica that is lost, and ends the transfers from it and to it.
    fn lose(&mut self, index: usize, ctx: &mut Ctx) {
        let now = ctx.now();
        if let Some(bus) = &mut self.bus {
            let free = std::mem::replace(&mut bus.free[index], now);
            bus.busy[index] = bus.busy[index].saturating_sub(until(free, now));
        }
        let Some(prefill) = &mut self.prefill else { return };
        for flow in prefill.link.lose(now, index as u32) {
            let key = Key::from_bits(flow.key);
            let source = if flow.from as usize == index {
                let Some(loading) = self.loading.get_mut(key) else { continue };
                loading.there = false;
                ctx.schedule(prefill.transfer.latency, Phase::Timer, LOADED, flow.key);
                std::mem::replace(&mut loading.source, Key::NONE)
            } else {
                let Some(loading) = self.loading.remove(key) else { continue };
                loading.source
            };
            if flow.from as usize == index {
                prefill.sources.remove(source);
            } else if let Some(kept) = prefill.sources.get_mut(source) {
                let at = kept.expires.max(now);
                kept.timer = Some(ctx.schedule_at(at, Phase::Timer, EXPIRED, source.to_bits()));
            }
        }
        prefill.set_alarm(ctx);
    }

    pub(super) fn reset_measurements(&mut self, now: SimTime) {
        (self.remote, self.host, self.since) = (Counts::default(), Counts::default(), now);
        if let Some(bus) = &mut self.bus {
            for (busy, free) in bus.busy.iter_mut().zip(&bus.free) {
                *busy = until(*free, now);
            }
        }
        if let Some(prefill) = &mut self.prefill {
            (prefill.failed, prefill.expired) = (0, 0);
            prefill.link.forget(now);
            prefill.front.reset_measurements(now);
        }
    }

    /// What was measured; `all` is what the engines counted together, `engines` what each did.
    pub(super) fn measures(
        &self,
        block_size: u32,
        all: &Tally,
        engines: &[EngineFigures],
        now: SimTime,
    ) -> Vec<Measure> {
        let mut list = Vec::new();
        let elapsed = now.since(self.since).as_nanos() as f64 / 1e9;
        let mean =
            |counts: &Counts| (counts.loads > 0).then(|| counts.time as f64 / counts.loads as f64 / 1e9);
        if let Some(prefill) = &self.prefill {
            let bytes = self.remote.blocks as f64 * prefill.transfer.way.all_bytes as f64;
            let used = (elapsed > 0.0).then(|| prefill.link.used_s(now) / (elapsed * prefill.links));
            list.extend([
                Measure::count("kv_transfers", self.remote.loads, "transfers of a prompt's KV to a decode worker"),
                Measure::new("kv_transfer_bytes", bytes, "bytes of KV transferred, by all GPUs"),
                Measure::known("kv_transfer_mean_s", mean(&self.remote), "mean time of a transfer"),
                Measure::known(
                    "kv_link_utilization",
                    used,
                    "share of the bandwidth between prefill and decode workers in use: of the side that has fewer",
                ),
                Measure::count(
                    "kv_transfers_failed",
                    prefill.failed,
                    "transfers whose source was gone: the decode worker computed the prompt",
                ),
                Measure::count(
                    "kv_expired",
                    prefill.expired,
                    "prompts whose KV a prefill worker kept until the timeout, as nobody fetched it",
                ),
            ]);
            let (decode, workers) = engines.split_at(prefill.first);
            for (role, engines) in [("decode", decode), ("prefill", workers)] {
                let busy = engines.iter().map(|engine| engine.busy).sum::<f64>() / engines.len() as f64;
                list.push(Measure::new("engine_busy", busy, "share of the time in a step").of(role));
            }
            list.extend(prefill.front.measures(now).into_iter().map(|measure| measure.of("prefill")));
        }
        if let Some(bus) = &self.bus {
            let busy: u64 = bus
                .busy
                .iter()
                .zip(&bus.free)
                .map(|(busy, free)| busy.saturating_sub(until(*free, now)).as_nanos())
                .sum();
            let tokens = self.host.blocks * u64::from(block_size);
            list.extend([
                Measure::count(
                    "host_hit_tokens",
                    tokens,
                    "tokens whose KV was loaded from the host's memory",
                ),
                Measure::share(
                    "host_hit_ratio",
                    tokens,
                    all.prefix_query_tokens,
                    "tokens loaded from the host's memory by tokens looked for",
                ),
                Measure::count("host_loads", self.host.loads, "loads from the host's memory"),
                Measure::known("host_load_mean_s", mean(&self.host), "mean time of a load, with its wait"),
                Measure::known(
                    "host_bus_utilization",
                    (elapsed > 0.0).then(|| busy as f64 / 1e9 / (elapsed * bus.ways.len() as f64)),
                    "share of the time that the buses from the hosts were loading",
                ),
            ]);
        }
        list
    }
}

/// The time from now until then, if that is to come.
fn until(then: SimTime, now: SimTime) -> SimDuration {
    if then > now { then.since(now) } else { SimDuration::ZERO }
}

impl Prefill {
    fn set_alarm(&self, ctx: &mut Ctx) {
        let alarm = self.alarm.expect("prefill workers are started before anything happens");
        ctx.set_alarm(alarm, self.link.next());
    }

    /// A worker keeps the KV of a prompt.
    fn keep(&mut self, (replica, generation, sequence): (u32, u32, SeqId), ctx: &mut Ctx) -> Key {
        let expires = ctx.now().checked_add(self.transfer.abort_timeout).unwrap_or(SimTime::MAX);
        let lane = self.lane.expect("made at the start");
        let source = Source { replica, generation, sequence, expires, timer: None };
        let key = self.sources.insert(source);
        if let Some(source) = self.sources.get_mut(key) {
            source.timer = Some(ctx.arm(lane, EXPIRED, key.to_bits()));
        }
        key
    }
}

impl Pool {
    /// Does what of this instant's steps concerns other replicas.
    pub(super) fn pass_on(&mut self, ctx: &mut Ctx) {
        let Some(connector) = &mut self.connector else { return };
        let computed = std::mem::take(&mut connector.computed);
        let begun = std::mem::take(&mut connector.begun);
        let admitted = std::mem::take(&mut connector.admitted);
        for (index, load) in &begun {
            self.begin_load(*index, *load, ctx);
        }
        for call in &admitted {
            // What was not loaded is not needed. A call that ended with its first token is gone.
            if ctx.is_live(*call) {
                let key = Key::from_bits(ctx.call(*call).scratch);
                let source = self.active.get_mut(key).map_or(Key::NONE, Active::take_source);
                self.release(source, ctx);
            }
        }
        for call in &computed {
            self.hand_over(*call, ctx);
        }
        let Some(connector) = &mut self.connector else { return };
        (connector.computed, connector.begun, connector.admitted) = (computed, begun, admitted);
        connector.computed.clear();
        connector.begun.clear();
        connector.admitted.clear();
    }

    /// The prompt of a call is computed: it goes on to a decode worker.
    fn hand_over(&mut self, call: CallId, ctx: &mut Ctx) {
        let Self { connector, active, replicas, .. } = self;
        let Some(prefill) = connector.as_mut().and_then(|connector| connector.prefill.as_mut()) else {
            return;
        };
        let Some(Active { replica, sequence, .. }) = active.remove(Key::from_bits(ctx.call(call).scratch))
        else {
            return;
        };
        ctx.call_mut(call).scratch = Key::NONE.to_bits();
        prefill.front.pass_on(call, ctx);
        let worker = &replicas[replica as usize];
        // One that was preempted ahead of its last token keeps nothing.
        let source = match worker.engine.is_sending(sequence) {
            true => prefill.keep((replica, worker.generation, sequence), ctx),
            false => Key::NONE,
        };
        let transfer = if source == Key::NONE { KvTransfer::None } else { KvTransfer::RemotePrefill };
        let Some(index) = self.front.route(call, ctx) else { return };
        let part = Part { transfer, source, handed_over: true };
        if let Err(reason) = self.submit(index, call, part, ctx) {
            self.refuse(call, &reason, ctx);
        }
    }

    fn begin_load(&mut self, index: usize, load: Load, ctx: &mut Ctx) {
        let now = ctx.now();
        let Self { connector, active, replicas, .. } = self;
        let Some(Connector { prefill, bus, loading, .. }) = connector.as_deref_mut() else { return };
        let generation = replicas[index].generation;
        let mut entry = Loading {
            replica: index as u32,
            generation,
            sequence: load.id,
            blocks: load.blocks,
            host: load.host,
            source: Key::NONE,
            began: now,
            there: true,
        };
        if load.host {
            let bus = bus.as_mut().expect("only hosts with KV blocks are loaded from");
            let time = bus.ways[index].time(load.blocks);
            bus.busy[index] = bus.busy[index].saturating_add(time);
            let at = bus.free[index].max(now).checked_add(time).unwrap_or(SimTime::MAX);
            bus.free[index] = at;
            let key = loading.insert(entry).to_bits();
            ctx.schedule_at(at, Phase::Timer, LOADED, key);
            return;
        }
        let prefill = prefill.as_mut().expect("only prefill workers are loaded from");
        let call = Key::from_bits(ctx.call(CallId::from_bits(load.key)).scratch);
        let source = active.get_mut(call).map_or(Key::NONE, Active::take_source);
        let from = prefill.sources.get_mut(source).map(|source| {
            source.timer.take().map(|timer| ctx.cancel_timer(timer));
            (source.replica, replicas[source.replica as usize].generation == source.generation)
        });
        match from {
            Some((from, true)) => {
                entry.source = source;
                let key = loading.insert(entry).to_bits();
                prefill.link.begin(now, key, (from, index as u32), prefill.transfer.way.time(load.blocks));
                prefill.set_alarm(ctx);
            }
            _ => {
                prefill.sources.remove(source);
                entry.there = false;
                let key = loading.insert(entry).to_bits();
                ctx.schedule(prefill.transfer.latency, Phase::Timer, LOADED, key);
            }
        }
    }

    /// Whether a timer is the connector's, which has then done what is due.
    pub(super) fn on_connector_timer(&mut self, timer: Timer, ctx: &mut Ctx) -> bool {
        match timer.kind {
            LINK => {
                let prefill = self.connector.as_mut().and_then(|connector| connector.prefill.as_mut());
                if let Some(prefill) = prefill {
                    for flow in prefill.link.arrived(ctx.now()) {
                        ctx.schedule(prefill.transfer.latency, Phase::Timer, LOADED, flow.key);
                    }
                    prefill.set_alarm(ctx);
                }
            }
            LOADED => self.loaded(Key::from_bits(timer.data), ctx),
            EXPIRED => {
                let prefill = self.connector.as_mut().and_then(|connector| connector.prefill.as_mut());
                if let Some(prefill) = prefill {
                    prefill.expired += 1;
                }
                self.release(Key::from_bits(timer.data), ctx);
            }
            _ => return false,
        }
        true
    }

    fn loaded(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(connector) = &mut self.connector else { return };
        let Some(loading) = connector.loading.remove(key) else { return };
        if loading.there {
            let counts = if loading.host { &mut connector.host } else { &mut connector.remote };
            counts.loads += 1;
            counts.blocks += u64::from(loading.blocks);
            counts.time += u128::from(ctx.now().since(loading.began).as_nanos());
        } else if let Some(prefill) = &mut connector.prefill {
            prefill.failed += 1;
        }
        let index = loading.replica as usize;
        let replica = &mut self.replicas[index];
        if replica.generation == loading.generation {
            let tally = &mut self.measures.tallies[index];
            replica.engine.loaded(ctx.now(), loading.sequence, loading.there, tally);
            self.rouse(index, ctx);
        }
        self.release(loading.source, ctx);
    }

    /// The KV of a prompt is needed no more where it was computed.
    pub(super) fn release(&mut self, source: Key, ctx: &mut Ctx) {
        let Some(prefill) = self.connector.as_mut().and_then(|connector| connector.prefill.as_mut()) else {
            return;
        };
        let Some(source) = prefill.sources.remove(source) else { return };
        source.timer.map(|timer| ctx.cancel_timer(timer));
        let index = source.replica as usize;
        let replica = &mut self.replicas[index];
        if replica.generation == source.generation {
            replica.engine.sent(ctx.now(), source.sequence, &mut self.measures.tallies[index]);
            self.rouse(index, ctx);
        }
    }

    /// Blocks have come free in a replica, or a sequence has its KV: it goes on, if it was idle.
    fn rouse(&mut self, index: usize, ctx: &mut Ctx) {
        let replica = &mut self.replicas[index];
        if replica.engine.waiting() > 0 && replica.wake() {
            ctx.schedule(self.wake, Phase::Timer, START, event_data(index, replica.generation));
        }
        self.note(index, ctx);
    }

    /// Replicas have lost all that was in them.
    pub(super) fn lose_loads(&mut self, lost: &[usize], ctx: &mut Ctx) {
        if let Some(connector) = &mut self.connector {
            lost.iter().for_each(|index| connector.lose(*index, ctx));
        }
    }

    /// The front that a call is with, or goes to.
    pub(super) fn front_of(&mut self, call: CallId, ctx: &Ctx) -> &mut Front {
        let replica = ctx.call(call).replica.map_or(0, usize::from);
        match self.connector.as_mut().and_then(|connector| connector.prefill.as_mut()) {
            Some(prefill) if replica >= prefill.first => &mut prefill.front,
            _ => &mut self.front,
        }
    }
}
