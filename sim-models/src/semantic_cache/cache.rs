//! The way of a request through the cache.

use sim_core::distribution::{Dist, Distribution, Normal};
use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedStream, Purpose, unit};
use sim_core::time::{SimDuration, SimTime};

use super::store::{EntryId, Store};
use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, ComponentId, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::measure::Measure;
use crate::quality::Answer;
use crate::request::Outcome;
use crate::slab::{Key, Slab};

/// How look-ups go.
#[derive(Debug)]
pub(super) struct Laws {
    pub threshold: f64,
    pub same: Normal,
    pub different: Normal,
    pub latency: Option<Dist>,
}

/// The only timer: a look-up is over; its data is the key of its run.
const LOOKED_UP: u16 = 0;

/// What a request waits for.
#[derive(Debug, Clone, Copy)]
enum Stage {
    LookUp(EventHandle),
    Called(CallId),
}

#[derive(Debug)]
struct Run {
    call: CallId,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    lookups: u64,
    hits: u64,
    false_hits: u64,
    /// Misses although an answer to the topic was stored.
    not_found: u64,
}

#[derive(Debug)]
pub(super) struct Cache {
    callee: ComponentId,
    laws: Laws,
    store: Store,
    /// The line of the bill.
    price: Option<usize>,
    stream: Option<KeyedStream>,
    runs: Slab<Run>,
    looking: u64,
    slow: f64,
    is_down: bool,
    tally: Tally,
}

/// What a look-up finds.
#[derive(Debug, Clone, Copy)]
enum Found {
    Nothing,
    Same(EntryId),
    Other(Option<EntryId>),
}

impl Cache {
    pub fn new(callee: ComponentId, laws: Laws, store: Store, price: Option<usize>) -> Self {
        Self {
            callee,
            laws,
            store,
            price,
            stream: None,
            runs: Slab::default(),
            looking: 0,
            slow: 1.0,
            is_down: false,
            tally: Tally::default(),
        }
    }

    fn look_up(&mut self, call: CallId, ctx: &Ctx) -> Found {
        let stream = self.stream.expect("made at the start");
        let mut draws = stream.draws(ctx.request(call).key, ctx.call(call).hop, 0);
        let topic = ctx.request(call).topic;
        let (own, has_others) = self.store.find(topic, ctx.now());
        let [same, different, which] = [(); 3].map(|()| unit(&mut draws));
        let similarity = |law: &Normal, chance: f64, is_there: bool| match is_there {
            true => law.quantile(chance),
            false => f64::NEG_INFINITY,
        };
        let same = similarity(&self.laws.same, same, own.is_some());
        let different = similarity(&self.laws.different, different, has_others);
        self.tally.lookups += 1;
        match own {
            _ if same.max(different) < self.laws.threshold => {
                self.tally.not_found += u64::from(own.is_some());
                Found::Nothing
            }
            Some(id) if same >= different => Found::Same(id),
            _ => Found::Other(self.store.another(topic, which)),
        }
    }

    /// Answers from the cache or calls the component behind.
    fn decide(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(call) = self.runs.get(key).map(|run| run.call) else { return };
        let answer = match self.look_up(call, ctx) {
            Found::Nothing => return self.pass_on(key, ctx),
            Found::Same(id) => self.store.hit(id),
            Found::Other(id) => {
                self.tally.false_hits += 1;
                id.and_then(|id| self.store.hit(id));
                ctx.quality().map(|_| false)
            }
        };
        self.tally.hits += 1;
        self.runs.remove(key);
        if let Some(right) = answer {
            ctx.set_answer(call, Answer::Settled(right));
        }
        if ctx.request(call).output_tokens > 0 {
            ctx.progress(call, Progress::FirstToken);
        }
        ctx.reply(call, Reply::OK);
    }

    fn pass_on(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(run) = self.runs.get_mut(key) else { return };
        run.stage = Stage::Called(ctx.send(run.call, self.callee, 0));
    }

    fn note_looking(&mut self, change: i64, ctx: &mut Ctx) {
        self.looking = self.looking.wrapping_add_signed(change);
        let now = ctx.now();
        ctx.meter().busy.add(now, change);
    }

    fn run_of(child: CallId, ctx: &Ctx) -> Key {
        Key::from_bits(ctx.call(ctx.call(child).parent).scratch)
    }

    /// Stores the answer that a request holds.
    fn store(&mut self, call: CallId, ctx: &Ctx) {
        let stream = self.stream.expect("made at the start");
        let request = ctx.request(call);
        // Draws of their own, only made where somebody leaves by chance.
        let mut draws = stream.draws(request.key, ctx.call(call).hop, 1);
        self.store.insert(request.topic, ctx.is_right(call), ctx.now(), || unit(&mut draws));
    }
}

impl Component for Cache {
    fn start(&mut self, ctx: &mut Ctx) {
        self.stream = Some(ctx.keyed_stream(Purpose::Routing));
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        let key = self.runs.insert(Run { call, stage: Stage::Called(CallId::NONE) });
        ctx.call_mut(call).scratch = key.to_bits();
        if self.is_down {
            return self.pass_on(key, ctx);
        }
        if let Some(item) = self.price {
            ctx.spend(call, item, 1.0);
        }
        let Some(latency) = &self.laws.latency else { return self.decide(key, ctx) };
        let takes = latency.sample(&mut ctx.draws(call)) * self.slow;
        let takes = SimDuration::saturating_from_secs_f64(takes);
        let timer = ctx.schedule(takes, Phase::StepEnd, LOOKED_UP, key.to_bits());
        self.note_looking(1, ctx);
        if let Some(run) = self.runs.get_mut(key) {
            run.stage = Stage::LookUp(timer);
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        self.note_looking(-1, ctx);
        self.decide(Key::from_bits(timer.data), ctx);
    }

    fn on_reply(&mut self, child: CallId, reply: Reply, ctx: &mut Ctx) {
        let Some(run) = self.runs.remove(Self::run_of(child, ctx)) else { return };
        if reply.outcome == Outcome::Ok && !self.is_down {
            self.store(run.call, ctx);
        }
        ctx.reply(run.call, reply);
    }

    fn on_progress(&mut self, child: CallId, progress: Progress, ctx: &mut Ctx) {
        ctx.progress(ctx.call(child).parent, progress);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let Some(run) = self.runs.remove(Key::from_bits(ctx.call(call).scratch)) else { return };
        match run.stage {
            Stage::LookUp(timer) => {
                ctx.cancel_timer(timer);
                self.note_looking(-1, ctx);
            }
            Stage::Called(child) => ctx.cancel(child),
        }
        ctx.reply(call, Reply::FAILED);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        match *fault {
            Fault::Crash { .. } => {
                self.is_down = true;
                self.store.clear();
                let mut lost = Vec::new();
                self.runs.for_each(|run| {
                    if let Stage::LookUp(timer) = run.stage {
                        lost.push((run.call, timer));
                    }
                });
                for (call, timer) in lost {
                    ctx.cancel_timer(timer);
                    self.note_looking(-1, ctx);
                    self.pass_on(Key::from_bits(ctx.call(call).scratch), ctx);
                }
            }
            Fault::Repair { .. } => self.is_down = false,
            Fault::Slow { factor } => self.slow = factor,
            Fault::ColdCache => self.store.clear(),
            // Of pools alone.
            _ => {}
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals { busy: self.looking, ..Signals::default() }
    }

    fn measures(&self, _now: SimTime) -> Vec<Measure> {
        let Tally { lookups, hits, false_hits, not_found } = self.tally;
        vec![
            Measure::count("lookups", lookups, "Requests that were looked up"),
            Measure::share("hit_rate", hits, lookups, "Share of them that were answered from the cache"),
            Measure::share(
                "false_hit_rate",
                false_hits,
                hits,
                "Share of the hits that answer another question",
            ),
            Measure::share(
                "not_found_rate",
                not_found,
                lookups,
                "Share of the look-ups that missed although an answer to the topic was stored",
            ),
            Measure::count("stored", self.store.len() as u64, "Answers stored at the end"),
            Measure::count("evicted", self.store.evicted, "Answers that left a full cache"),
            Measure::count("expired", self.store.expired, "Answers whose time to live was over"),
        ]
    }

    fn reset_measurements(&mut self, _now: SimTime) {
        self.tally = Tally::default();
        (self.store.evicted, self.store.expired) = (0, 0);
    }
}
