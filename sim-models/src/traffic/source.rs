//! A traffic source: requests are born here and end here.

use std::sync::Arc;

use rand::Rng;
use sim_core::distribution::Dist;
use sim_core::event::Phase;
use sim_core::random::{KeyedStream, Purpose, Stream, Streams, stable_hash, unit};
use sim_core::time::{SimDuration, SimTime};

use super::TrafficConfig;
use super::arrivals::{ArrivalProcess, ArrivalsConfig, ArrivalsError};
use super::sessions::{SessionState, Sessions, session_of};
use super::tokens::Tokens;
use super::trace::{BLOCK_TOKENS, Trace, TraceRecord};
use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, ComponentId, Timer};
use crate::context::{Ctx, Labels};
use crate::error::ConfigError;
use crate::journal::Reached;
use crate::llm::engine::Prefix;
use crate::quality::Answer;
use crate::request::Request;
use crate::slab::Key;
use crate::units::NumberDist;

/// Attributes of a request, each with draws of its own: a new attribute does not shift the others.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum Attribute {
    Prompt,
    Output,
    Class,
    Tenant,
    Prefix,
    Topic,
    Difficulty,
    Entity,
    Think,
    Turns,
}

/// A choice among labels by their shares.
#[derive(Debug)]
struct Shares {
    /// Cumulative share and label.
    steps: Vec<(f64, u16)>,
}

impl Shares {
    fn new(shares: Vec<(String, f64)>, labels: &[String]) -> Self {
        let mut sum = 0.0;
        let step = |(name, share): (String, f64)| {
            sum += share;
            (sum, label_number(labels, &name))
        };
        Self { steps: shares.into_iter().map(step).collect() }
    }

    fn pick(&self, u: f64) -> u16 {
        let place = self.steps.partition_point(|(step, _)| *step <= u);
        // The shares sum to 1 but for rounding.
        self.steps[place.min(self.steps.len() - 1)].1
    }
}

/// When requests are born.
#[derive(Debug)]
enum Births {
    Open(Box<dyn ArrivalProcess>, Stream),
    Closed { users: u64, think: Dist },
    Trace(Arc<Trace>),
}

/// The next request of an open process or a trace is due.
const NEXT: u16 = 0;
/// A user of a closed loop has thought.
const THOUGHT: u16 = 1;
/// A user in a session has thought.
const TURN: u16 = 2;

/// A traffic source at work.
#[derive(Debug)]
pub(super) struct Source {
    entry: ComponentId,
    births: Births,
    /// Number of the next arrival.
    index: u64,
    key_base: u64,
    attributes: KeyedStream,
    prompt_tokens: Option<Tokens>,
    output_tokens: Option<Tokens>,
    classes: Shares,
    tenants: Shares,
    /// From the trace's numbers to the system's.
    trace_classes: Vec<u8>,
    trace_tenants: Vec<u16>,
    deadline: Option<SimDuration>,
    prefixes: Option<(Dist, u32)>,
    topics: Option<Dist>,
    entities: Option<Dist>,
    sessions: Option<Sessions>,
    /// The line of the bill for data that leave, and GB of an answer.
    egress: Option<(usize, f64)>,
}

fn label_number(labels: &[String], name: &str) -> u16 {
    labels.iter().position(|label| label == name).expect("labels name every class and tenant") as u16
}

fn wrong(key: &str, message: impl ToString) -> ConfigError {
    ConfigError::new([key], message.to_string())
}

fn wrong_arrivals(error: ArrivalsError) -> ConfigError {
    let message = format!("`{}` is {}", error.parameter, error.value);
    wrong("arrivals", message).help(format!("expected {}", error.expected))
}

fn build_births(
    config: &TrafficConfig,
    name: &str,
    scale: f64,
    streams: Streams,
    trace: Option<&Arc<Trace>>,
) -> Result<Births, ConfigError> {
    if let Some(trace) = trace {
        return Ok(Births::Trace(Arc::clone(trace)));
    }
    let arrivals = config.arrivals.scaled(scale).map_err(wrong_arrivals)?;
    match (&arrivals, arrivals.build().map_err(wrong_arrivals)?) {
        (_, Some(process)) => Ok(Births::Open(process, streams.stream(name, Purpose::Arrivals))),
        (ArrivalsConfig::ClosedLoop { users, think }, None) => Ok(Births::Closed {
            users: u64::from(users.get()),
            think: think.build().map_err(|error| wrong("arrivals", error))?,
        }),
        (_, None) => Err(wrong("arrivals", "the trace has not been read")),
    }
}

fn build_tokens(config: &Option<NumberDist>, key: &str) -> Result<Option<Tokens>, ConfigError> {
    let build = |law: &NumberDist| law.build().map(Tokens::new).map_err(|error| wrong(key, error));
    config.as_ref().map(build).transpose()
}

impl Source {
    pub(super) fn new(
        config: &TrafficConfig,
        name: &str,
        entry: ComponentId,
        scale: f64,
        streams: Streams,
        labels: &Labels,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Self, ConfigError> {
        let popularity = |key: &str, law: Option<Result<Dist, ConfigError>>| {
            law.transpose().map_err(|error| error.within(key))
        };
        let prefixes =
            popularity("prefixes", config.prefixes.as_ref().map(super::PrefixesConfig::popularity))?;
        let trace_classes = trace.map_or(&[][..], |trace| super::trace_classes(trace));
        let sessions = match (&config.sessions, trace) {
            (Some(_), Some(_)) => {
                return Err(wrong("sessions", "a trace says itself who comes back")
                    .help("leave `sessions` out; a trace of one's own can have a column `session_id`"));
            }
            (sessions, _) => sessions.as_ref().map(|sessions| sessions.build(config.prompt_tokens.as_ref())),
        };
        let trace_tenants = trace.map_or(&[][..], |trace| trace.tenants());
        Ok(Self {
            entry,
            births: build_births(config, name, scale, streams, trace)?,
            index: 0,
            key_base: stable_hash(name.as_bytes()),
            attributes: streams.keyed(name, Purpose::Attributes),
            prompt_tokens: build_tokens(&config.prompt_tokens, "prompt_tokens")?,
            output_tokens: build_tokens(&config.output_tokens, "output_tokens")?,
            classes: Shares::new(config.class_shares()?, &labels.classes),
            tenants: Shares::new(config.tenant_shares()?, &labels.tenants),
            trace_classes: trace_classes
                .iter()
                .map(|name| label_number(&labels.classes, name) as u8)
                .collect(),
            trace_tenants: trace_tenants.iter().map(|name| label_number(&labels.tenants, name)).collect(),
            deadline: config.deadline.map(|deadline| deadline.get()),
            prefixes: prefixes.zip(config.prefixes.as_ref().map(|prefixes| prefixes.tokens)),
            topics: popularity("topics", config.topics.as_ref().map(super::PopularityConfig::popularity))?,
            entities: popularity(
                "entities",
                config.entities.as_ref().map(super::PopularityConfig::popularity),
            )?,
            sessions: sessions.transpose().map_err(|error| error.within("sessions"))?,
            egress: None,
        })
    }

    pub(super) fn set_egress(&mut self, line: usize, gb: f64) {
        self.egress = Some((line, gb));
    }

    fn draw(&self, (about, of): (u64, u32), attribute: Attribute) -> f64 {
        unit(&mut self.attributes.draws(about, attribute as u32, of))
    }

    fn ranked(&self, law: &Option<Dist>, about: (u64, u32), attribute: Attribute) -> u64 {
        law.as_ref().map_or(0, |law| law.quantile(self.draw(about, attribute)) as u64)
    }

    fn choose(&self, shares: &Shares, about: (u64, u32), attribute: Attribute) -> u16 {
        match shares.steps.as_slice() {
            [(_, only)] => *only,
            _ => shares.pick(self.draw(about, attribute)),
        }
    }

    /// Whom the next arrival is drawn for: itself, or a trace's session.
    fn who(&self) -> (u64, u32) {
        let record = match &self.births {
            Births::Trace(trace) => trace.records().get(self.index as usize),
            _ => None,
        };
        match record.and_then(|record| Some((record.copy, record.session?))) {
            Some((copy, session)) => (u64::from(copy) << 32 | u64::from(session), 1),
            None => (self.index, 0),
        }
    }

    /// Everything about the next arrival but its trace's part.
    fn conceive(&mut self, now: SimTime) -> Request {
        let (attributes, about, who) = (self.attributes, self.index, self.who());
        let key = self.key_base.wrapping_add(about);
        let prompt_tokens = self
            .prompt_tokens
            .as_mut()
            .map_or(0, |law| law.at(attributes.draws(about, Attribute::Prompt as u32, 0).next_u64()));
        let prefix = match &self.prefixes {
            Some((law, tokens)) => {
                let rank = law.quantile(self.draw(who, Attribute::Prefix)) as u64;
                Prefix::Shared { id: self.key_base.wrapping_add(rank), tokens: *tokens }
            }
            None => Prefix::None,
        };
        let state = SessionState {
            about,
            class: self.choose(&self.classes, who, Attribute::Class) as u8,
            tenant: self.choose(&self.tenants, who, Attribute::Tenant),
            entity: self.ranked(&self.entities, who, Attribute::Entity),
            prefix: match &self.sessions {
                Some(sessions) => sessions.open(key, prefix, prompt_tokens),
                None => prefix,
            },
            tokens: 0,
        };
        self.ask(state, prompt_tokens, now)
    }

    /// A request of which that much is known.
    fn ask(&mut self, state: SessionState, prompt_tokens: u32, now: SimTime) -> Request {
        let about = state.about;
        let output_tokens = self
            .output_tokens
            .as_mut()
            .map_or(0, |law| law.at(self.attributes.draws(about, Attribute::Output as u32, 0).next_u64()));
        Request {
            key: self.key_base.wrapping_add(about),
            class: state.class,
            tenant: state.tenant,
            born: now,
            deadline: self
                .deadline
                .and_then(|patience| now.checked_add(patience).ok())
                .unwrap_or(SimTime::MAX),
            prompt_tokens,
            output_tokens,
            prefix: state.prefix,
            session: self.sessions.as_ref().map(|_| self.key_base.wrapping_add(session_of(about))),
            topic: self.ranked(&self.topics, (about, 0), Attribute::Topic) as u32,
            difficulty: self.draw((about, 0), Attribute::Difficulty) as f32,
            entity: state.entity,
            first_token: None,
            answer: Answer::None,
            reached: Reached::default(),
            open_calls: 0,
            ended: false,
        }
    }

    /// The next turn of a session whose user has thought.
    fn come_back(&mut self, key: Key, now: SimTime) -> Option<Request> {
        let sessions = self.sessions.as_mut()?;
        let state = sessions.take(key)?;
        let word = self.attributes.draws(state.about, Attribute::Prompt as u32, 0).next_u64();
        let prompt_tokens = sessions.prompt_tokens(&state, word);
        Some(self.ask(state, prompt_tokens, now))
    }

    /// What the trace says of a request takes the place of what was drawn.
    fn overwrite(&self, trace: &Trace, record: &TraceRecord, request: &mut Request) {
        request.prompt_tokens = record.prompt_tokens;
        request.output_tokens = record.output_tokens;
        let class = if trace.classes().is_empty() { record.priority } else { record.class };
        if let Some(class) = class {
            request.class = self.trace_classes[usize::from(class)];
        }
        if let Some(tenant) = record.tenant {
            request.tenant = self.trace_tenants[usize::from(tenant)];
        }
        let id = |number: u32| {
            let place = u64::from(record.copy) << 32 | u64::from(number);
            self.key_base ^ stable_hash(&place.to_le_bytes())
        };
        let blocks = trace.blocks(record);
        if blocks.len() > 0 {
            request.prefix = Prefix::Blocks { ids: blocks.collect(), block_tokens: BLOCK_TOKENS };
        } else if let Some(prefix) = record.prefix {
            request.prefix = Prefix::Shared { id: id(prefix), tokens: record.shared_prefix_tokens };
        }
        if let Some(session) = record.session {
            let opening = Arc::new(std::mem::take(&mut request.prefix));
            let opening_tokens = record.opening_tokens;
            request.prefix = Prefix::Conversation { id: id(session), opening, opening_tokens };
            request.session = Some(id(session));
        }
    }

    fn give_birth(&mut self, request: Request, ctx: &mut Ctx) {
        let id = ctx.give_birth(request);
        ctx.send_root(id, self.entry);
    }

    /// Sets the timer of the next birth, if there is one in time.
    fn await_next(&mut self, ctx: &mut Ctx) {
        let next = match &mut self.births {
            Births::Open(process, rng) => process.next(ctx.now(), rng),
            Births::Trace(trace) => {
                let record = trace.records().get(self.index as usize);
                record.and_then(|record| SimTime::ZERO.checked_add(record.at).ok())
            }
            // Users go on until the end of the run.
            Births::Closed { .. } => return,
        };
        match next.filter(|next| *next <= ctx.arrivals_until()) {
            Some(next) => {
                ctx.schedule_at(next, Phase::Arrival, NEXT, 0);
            }
            None => ctx.close_source(),
        }
    }

    /// A user of a closed loop thinks; the draw belongs to the user's last request.
    fn think(&mut self, about: u64, ctx: &mut Ctx) {
        let Births::Closed { think, .. } = &self.births else { return };
        let pause = think.sample_duration(&mut self.attributes.draws(about, Attribute::Think as u32, 0));
        ctx.schedule(pause, Phase::Arrival, THOUGHT, 0);
    }
}

impl Component for Source {
    fn start(&mut self, ctx: &mut Ctx) {
        if let Births::Closed { users, .. } = self.births {
            // Its users ask for as long as the run is open.
            ctx.close_source();
            // Requests count up from 0, so first thoughts count down from the top.
            for user in 0..users {
                self.think(u64::MAX - user, ctx);
            }
        } else {
            self.await_next(ctx);
        }
    }

    fn on_call(&mut self, _call: CallId, _ctx: &mut Ctx) {
        unreachable!("no link leads to a traffic source");
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let now = ctx.now();
        match timer.kind {
            TURN => {
                let request = self.come_back(Key::from_bits(timer.data), now);
                if let Some(request) = request.filter(|_| now <= ctx.arrivals_until()) {
                    self.give_birth(request, ctx);
                }
            }
            THOUGHT => {
                if now <= ctx.arrivals_until() {
                    let request = self.conceive(now);
                    self.index += 1;
                    self.give_birth(request, ctx);
                }
            }
            _ => {
                let mut request = self.conceive(now);
                if let Births::Trace(trace) = &self.births {
                    self.overwrite(trace, &trace.records()[self.index as usize], &mut request);
                }
                self.index += 1;
                self.give_birth(request, ctx);
                self.await_next(ctx);
            }
        }
    }

    fn on_reply(&mut self, call: CallId, reply: Reply, ctx: &mut Ctx) {
        let request = ctx.request(call);
        let about = request.key.wrapping_sub(self.key_base);
        let more = match &mut self.sessions {
            Some(sessions) if reply.outcome.is_answer() => sessions.go_on(about, request, self.attributes),
            _ => None,
        };
        if let Some((line, gb)) = self.egress.filter(|_| reply.outcome.is_answer()) {
            ctx.spend(call, line, gb);
        }
        ctx.end_request(ctx.call(call).request, reply.outcome);
        match more {
            Some((key, pause)) => {
                ctx.schedule(pause, Phase::Arrival, TURN, key.to_bits());
            }
            None => self.think(about, ctx),
        }
    }

    fn on_progress(&mut self, call: CallId, progress: Progress, ctx: &mut Ctx) {
        ctx.note_progress(ctx.call(call).request, progress);
    }
}
