//! A router: one classification, then exactly one call.
//!
//! The policy `random` sends each request to a component by its share. The choice is a keyed draw of the
//! request, so that compared variants send the same requests the same way:
//!
//! ```toml
//! kind = "router"
//! policy = "random"
//! shares = { small = 0.7, large = 0.3 }
//! ```
//!
//! The policy `rules` takes the first rule whose conditions all hold, or else the default:
//!
//! ```toml
//! kind = "router"
//! policy = "rules"
//! rules = [
//!     { when = { prompt_tokens_above = 1000 }, to = "large" },
//!     { when = { classes = ["critical"], difficulty_above = 0.5 }, to = "large" },
//! ]
//! default = "small"
//! ```
//!
//! The classification takes `latency`, any number of requests at once. Faults: `slow` stretches the
//! classifications that begin from then on; a crash fails every request that is in the router, cancels
//! what it called for them, and fails all that arrive until the repair.

mod rules;
#[cfg(test)]
mod tests;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Dist, Distribution};
use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedStream, Purpose, unit};
use sim_core::time::{SimDuration, SimTime};

use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, ComponentId, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::cost::Price;
use crate::error::ConfigError;
use crate::slab::{Key, Slab};
use crate::system::Scope;
use crate::units::{HourlyPrice, TimeDist};
use rules::Choice;
pub use rules::{ConditionsConfig, RuleConfig};

/// Sends each request to one of several components.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    /// How the component is chosen.
    pub policy: RouterPolicy,
    /// Share of the requests by component, with `policy = "random"`. They sum to 1.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub shares: IndexMap<String, f64>,
    /// With `policy = "rules"`: tried in order, the first that holds decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleConfig>,
    /// With `policy = "rules"`: the component for requests that no rule takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// How long the choice takes. Default: no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<TimeDist>,
    /// Price of the router. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
}

/// How a router chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterPolicy {
    /// By chance, by `shares`.
    Random,
    /// By `rules` over what is known of the request.
    Rules,
}

impl RouterConfig {
    pub(crate) fn callees(&self) -> Vec<(Vec<String>, &str)> {
        let place = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let shares = self.shares.keys().map(|name| (place(&["shares", name]), name.as_str()));
        let rules = self.rules.iter().enumerate();
        let rules =
            rules.map(|(index, rule)| (place(&["rules", &index.to_string(), "to"]), rule.to.as_str()));
        let default = self.default.iter().map(|name| (place(&["default"]), name.as_str()));
        shares.chain(rules).chain(default).collect()
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let choice = Choice::new(self, scope)?;
        let latency = self.latency.as_ref().map(TimeDist::build).transpose();
        let latency = latency.map_err(|error| ConfigError::new(["latency"], error.to_string()))?;
        if let Some(price) = self.price_per_hour {
            let (cost, me) = scope.cost();
            cost.add(me, "router", Price::PerHour(price.per_hour()), "scenario", 1);
        }
        let runs = Slab::default();
        Ok(Box::new(Router { choice, stream: None, latency, runs, choosing: 0, slow: 1.0, is_down: false }))
    }
}

/// The only timer: a request has been classified; its data is the key of its run.
const CLASSIFIED: u16 = 0;

/// What a request waits for.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Choosing(EventHandle),
    Called(CallId),
}

#[derive(Debug)]
struct Run {
    call: CallId,
    stage: Stage,
}

#[derive(Debug)]
struct Router {
    choice: Choice,
    stream: Option<KeyedStream>,
    latency: Option<Dist>,
    runs: Slab<Run>,
    choosing: u64,
    slow: f64,
    is_down: bool,
}

impl Router {
    /// The component for the request of a call.
    fn choose(&self, call: CallId, ctx: &Ctx) -> ComponentId {
        let chance = || {
            let stream = self.stream.expect("made at the start");
            let (key, hop) = (ctx.request(call).key, ctx.call(call).hop);
            unit(&mut stream.draws(key, hop, 0))
        };
        self.choice.of(ctx.request(call), chance)
    }

    fn forward(&self, call: CallId, ctx: &mut Ctx) -> Stage {
        let callee = self.choose(call, ctx);
        // One call at most: it needs nothing to tell it from others.
        Stage::Called(ctx.send(call, callee, 0))
    }

    fn set_stage(&mut self, key: Key, stage: Stage) {
        if let Some(run) = self.runs.get_mut(key) {
            run.stage = stage;
        }
    }

    fn classify(&mut self, latency: SimDuration, key: Key, ctx: &mut Ctx) -> Stage {
        self.note_choosing(1, ctx);
        Stage::Choosing(ctx.schedule(latency, Phase::StepEnd, CLASSIFIED, key.to_bits()))
    }

    fn note_choosing(&mut self, change: i64, ctx: &mut Ctx) {
        self.choosing = self.choosing.wrapping_add_signed(change);
        let now = ctx.now();
        ctx.meter().busy.add(now, change);
    }

    /// The key of the run that a call of mine serves.
    fn run_of(child: CallId, ctx: &Ctx) -> Key {
        Key::from_bits(ctx.call(ctx.call(child).parent).scratch)
    }

    /// Ends a run before its answer came.
    fn give_up(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(run) = self.runs.remove(key) else { return };
        match run.stage {
            Stage::Choosing(timer) => {
                ctx.cancel_timer(timer);
                self.note_choosing(-1, ctx);
            }
            Stage::Called(child) => ctx.cancel(child),
        }
        ctx.reply(run.call, Reply::FAILED);
    }
}

impl Component for Router {
    fn start(&mut self, ctx: &mut Ctx) {
        self.stream = Some(ctx.keyed_stream(Purpose::Routing));
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.is_down {
            return ctx.reply(call, Reply::FAILED);
        }
        let key = self.runs.insert(Run { call, stage: Stage::Called(CallId::NONE) });
        ctx.call_mut(call).scratch = key.to_bits();
        let stage = match &self.latency {
            Some(latency) => {
                let seconds = latency.sample(&mut ctx.draws(call)) * self.slow;
                self.classify(SimDuration::saturating_from_secs_f64(seconds), key, ctx)
            }
            None => self.forward(call, ctx),
        };
        self.set_stage(key, stage);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let key = Key::from_bits(timer.data);
        let Some(run) = self.runs.get(key) else { return };
        let call = run.call;
        self.note_choosing(-1, ctx);
        let stage = self.forward(call, ctx);
        self.set_stage(key, stage);
    }

    fn on_reply(&mut self, child: CallId, reply: Reply, ctx: &mut Ctx) {
        if let Some(run) = self.runs.remove(Self::run_of(child, ctx)) {
            ctx.reply(run.call, reply);
        }
    }

    fn on_progress(&mut self, child: CallId, progress: Progress, ctx: &mut Ctx) {
        ctx.progress(ctx.call(child).parent, progress);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        self.give_up(Key::from_bits(ctx.call(call).scratch), ctx);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        match *fault {
            Fault::Crash { .. } => {
                self.is_down = true;
                let mut lost = Vec::with_capacity(self.runs.len());
                self.runs.for_each(|run| lost.push(run.call));
                for call in lost {
                    self.give_up(Key::from_bits(ctx.call(call).scratch), ctx);
                }
            }
            Fault::Repair { .. } => self.is_down = false,
            Fault::Slow { factor } => self.slow = factor,
            // Of pools alone.
            Fault::Hang { .. } | Fault::Restart { .. } | Fault::Drain { .. } | Fault::Undrain { .. } => {}
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals { busy: self.choosing, ..Signals::default() }
    }
}
