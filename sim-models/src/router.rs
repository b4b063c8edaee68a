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
//! The others predict who is right, and need the scenario's `[quality]` table for it:
//!
//! | `policy`       | a request goes to                                                              |
//! |----------------|--------------------------------------------------------------------------------|
//! | `confusion`    | a model by a confusion table: by the weakest model that is right on it         |
//! | `classifier`   | the strong model, where the weak is predicted to be wrong with a probability of `threshold` or more; the prediction is as good as its `auc` |
//! | `strong_share` | the same, with the threshold that sends a `share` of a reference traffic there (RouteLLM: Ong et al. 2024, arXiv 2406.18665); what share of the present traffic it sends is a result |
//! | `semantic`     | the route whose exemplars it is most similar to, if it is similar enough       |
//! | `cheapest`     | the cheapest model that is accurate enough and, by its last signals, fast enough |
//!
//! "Wrong" is the weak model's own answer, whatever the strong one's: what a verifier sees, too.
//!
//! The classification takes `latency`, any number of requests at once. Where it fails (`error_rate`) or takes
//! longer than `timeout`, the request goes to the `fallback`, by default the strong model or the `default`;
//! with `random` and `rules` it fails unless a `fallback` is given. Faults: `slow` stretches the
//! classifications that begin from then on; a crash fails every classification until the repair. Without a
//! fallback it also fails every request that is in the router and cancels what it called for them.

mod cheapest;
mod choice;
mod classifier;
mod rules;
mod semantic;
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
use crate::cost::{ListPrice, PriceModelConfig, Rent};
use crate::error::ConfigError;
use crate::measure::Measure;
use crate::slab::{Key, Slab};
use crate::system::Scope;
use crate::units::{HourlyPrice, Money, Probability, Time, TimeDist};
pub use cheapest::{CandidateConfig, CheapestConfig};
use choice::{Choice, Decision};
pub use classifier::{ClassifierConfig, ConfusionConfig, DriftConfig, StrongShareConfig};
pub use rules::{ConditionsConfig, RuleConfig};
pub use semantic::{Encoder, RouteConfig, SemanticConfig};

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
    /// With `policy = "rules"` or `"semantic"`: the component for requests that no rule or route takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// With `policy = "confusion"`: for requests by the weakest model that is right on them (the last row
    /// where none is), the shares that are sent to each component.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub confusion: ConfusionConfig,
    /// With `policy = "classifier"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierConfig>,
    /// With `policy = "strong_share"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strong_share: Option<StrongShareConfig>,
    /// With `policy = "semantic"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticConfig>,
    /// With `policy = "cheapest"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cheapest: Option<CheapestConfig>,
    /// Where requests go whose classification fails. Default: the strong (or last) model, or `default`; with
    /// `random` and `rules` none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Share of classifications that fail, after their full time. Default: 0.
    #[serde(default)]
    pub error_rate: Probability,
    /// When a classification is given up. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// How long the choice takes. Default: no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<TimeDist>,
    /// Price of a classification. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_request: Option<Money>,
    /// Price of the router. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

/// How a router chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterPolicy {
    /// By chance, by `shares`.
    Random,
    /// By `rules` over what is known of the request.
    Rules,
    /// By a classifier that is as good as its confusion table.
    Confusion,
    /// By a classifier that is as good as its AUC, from a threshold on.
    Classifier,
    /// The same, with the threshold for a target share of the strong model.
    StrongShare,
    /// By the similarity to routes.
    Semantic,
    /// By price, within bounds of accuracy and latency.
    Cheapest,
}

impl RouterPolicy {
    fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Rules => "rules",
            Self::Confusion => "confusion",
            Self::Classifier => "classifier",
            Self::StrongShare => "strong_share",
            Self::Semantic => "semantic",
            Self::Cheapest => "cheapest",
        }
    }
}

impl RouterConfig {
    pub(crate) fn callees(&self) -> Vec<(Vec<String>, &str)> {
        let mut list: Vec<(Vec<String>, &str)> = Vec::new();
        let mut add = |keys: &[&str], name| {
            list.push((keys.iter().map(|key| (*key).to_owned()).collect(), name));
        };
        self.shares.keys().for_each(|name| add(&["shares", name], name));
        for (index, rule) in self.rules.iter().enumerate() {
            add(&["rules", &index.to_string(), "to"], &rule.to);
        }
        for (row, shares) in &self.confusion {
            add(&["confusion", row], row);
            shares.keys().for_each(|name| add(&["confusion", row, name], name));
        }
        if let Some(classifier) = &self.classifier {
            add(&["classifier", "weak"], &classifier.weak);
            add(&["classifier", "strong"], &classifier.strong);
        }
        if let Some(models) = &self.strong_share {
            add(&["strong_share", "weak"], &models.weak);
            add(&["strong_share", "strong"], &models.strong);
        }
        for (index, route) in self.semantic.iter().flat_map(|semantic| &semantic.routes).enumerate() {
            add(&["semantic", "routes", &index.to_string(), "to"], &route.to);
        }
        for (index, model) in self.cheapest.iter().flat_map(|cheapest| &cheapest.models).enumerate() {
            add(&["cheapest", "models", &index.to_string(), "to"], &model.to);
        }
        self.default.iter().for_each(|name| add(&["default"], name));
        self.fallback.iter().for_each(|name| add(&["fallback"], name));
        list
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let choice = Choice::new(self, scope)?;
        let latency = self.latency.as_ref().map(TimeDist::build).transpose();
        let latency = latency.map_err(|error| ConfigError::new(["latency"], error.to_string()))?;
        let fallback = self.fallback.as_ref().map(|name| scope.id(name)).or(choice.fallback());
        let timeout = self.timeout.map(Time::get);
        if let (Some(timeout), None) = (self.timeout, &latency) {
            let message = format!("`timeout` is {timeout}, but the choice takes no time");
            return Err(ConfigError::new(["timeout"], message).help("give `latency` as well"));
        }
        let mut callees: Vec<(ComponentId, String)> = Vec::new();
        for (_, name) in self.callees() {
            let id = scope.id(name);
            if !callees.iter().any(|(known, _)| *known == id) {
                callees.push((id, name.to_owned()));
            }
        }
        scope.rent(Rent {
            resource: "router".to_owned(),
            list: ListPrice::given(self.price_per_hour),
            model: self.price_model.as_ref(),
            units: 1,
            each: 1,
        })?;
        let (cost, me) = scope.cost();
        let price = self.price_per_request;
        let price = price.map(|price| cost.add_usage(me, "classifications", price.dollars(), "scenario"));
        Ok(Box::new(Router {
            choice,
            fallback,
            error_rate: self.error_rate.get(),
            timeout,
            price,
            stream: None,
            latency,
            runs: Slab::default(),
            choosing: 0,
            slow: 1.0,
            is_down: false,
            tally: callees.into_iter().map(|(id, name)| Sent { to: id, name, count: 0 }).collect(),
            fallbacks: 0,
            strays: 0,
        }))
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
    /// Whether the classification fails.
    fails: bool,
}

/// Requests that went to a component.
#[derive(Debug)]
struct Sent {
    to: ComponentId,
    name: String,
    count: u64,
}

#[derive(Debug)]
struct Router {
    choice: Choice,
    /// Where requests go whose classification fails.
    fallback: Option<ComponentId>,
    error_rate: f64,
    timeout: Option<SimDuration>,
    /// The line of the bill.
    price: Option<usize>,
    stream: Option<KeyedStream>,
    latency: Option<Dist>,
    runs: Slab<Run>,
    choosing: u64,
    slow: f64,
    is_down: bool,
    tally: Vec<Sent>,
    fallbacks: u64,
    /// Requests that were not sent where they belong.
    strays: u64,
}

impl Router {
    /// Sends on a request that has been classified, or whose classification has failed.
    fn forward(&mut self, key: Key, fails: bool, ctx: &mut Ctx) {
        let Some(run) = self.runs.get_mut(key) else { return };
        let call = run.call;
        let decision = if fails {
            self.fallbacks += 1;
            self.fallback.map(|to| Decision { to, stray: false })
        } else {
            let stream = self.stream.expect("made at the start");
            Some(self.choice.of(call, stream, ctx))
        };
        let Some(Decision { to, stray }) = decision else {
            self.runs.remove(key);
            return ctx.reply(call, Reply::FAILED);
        };
        self.strays += u64::from(stray);
        if let Some(sent) = self.tally.iter_mut().find(|sent| sent.to == to) {
            sent.count += 1;
        }
        // One call at most: it needs nothing to tell it from others.
        run.stage = Stage::Called(ctx.send(call, to, 0));
    }

    fn classify(&mut self, latency: SimDuration, key: Key, ctx: &mut Ctx) {
        self.note_choosing(1, ctx);
        let timer = ctx.schedule(latency, Phase::StepEnd, CLASSIFIED, key.to_bits());
        if let Some(run) = self.runs.get_mut(key) {
            run.stage = Stage::Choosing(timer);
        }
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
        if let Choice::Cheapest(models) = &self.choice {
            ctx.scrape_every(models.scrape);
        }
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.is_down && self.fallback.is_none() {
            return ctx.reply(call, Reply::FAILED);
        }
        let key = self.runs.insert(Run { call, stage: Stage::Called(CallId::NONE), fails: self.is_down });
        ctx.call_mut(call).scratch = key.to_bits();
        if self.is_down {
            return self.forward(key, true, ctx);
        }
        if let Some(item) = self.price {
            ctx.spend(call, item, 1.0);
        }
        let mut draws = ctx.draws(call);
        let latency = self
            .latency
            .as_ref()
            .map(|latency| SimDuration::saturating_from_secs_f64(latency.sample(&mut draws) * self.slow));
        let mut fails = self.error_rate > 0.0 && unit(&mut draws) < self.error_rate;
        let Some(mut latency) = latency else { return self.forward(key, fails, ctx) };
        if let Some(timeout) = self.timeout.filter(|timeout| *timeout < latency) {
            (latency, fails) = (timeout, true);
        }
        if let Some(run) = self.runs.get_mut(key) {
            run.fails = fails;
        }
        self.classify(latency, key, ctx);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let key = Key::from_bits(timer.data);
        let Some(run) = self.runs.get(key) else { return };
        let fails = run.fails;
        self.note_choosing(-1, ctx);
        self.forward(key, fails, ctx);
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
                    let key = Key::from_bits(ctx.call(call).scratch);
                    match self.runs.get(key).map(|run| run.stage) {
                        Some(Stage::Choosing(timer)) if self.fallback.is_some() => {
                            ctx.cancel_timer(timer);
                            self.note_choosing(-1, ctx);
                            self.forward(key, true, ctx);
                        }
                        Some(Stage::Called(_)) if self.fallback.is_some() => {}
                        _ => self.give_up(key, ctx),
                    }
                }
            }
            Fault::Repair { .. } => self.is_down = false,
            Fault::Slow { factor } => self.slow = factor,
            _ => {}
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals { busy: self.choosing, ..Signals::default() }
    }
    fn measures(&self, _now: SimTime) -> Vec<Measure> {
        let all: u64 = self.tally.iter().map(|sent| sent.count).sum();
        let share = |sent: &Sent| {
            Measure::share("routed_share", sent.count, all, "Share of the requests that were sent there")
                .of(&sent.name)
        };
        let mut list: Vec<Measure> = self.tally.iter().map(share).collect();
        list.push(Measure::count(
            "fallbacks",
            self.fallbacks,
            "Requests whose classification failed or came too late",
        ));
        if matches!(self.choice, Choice::Semantic(_)) {
            let meaning = "Share of the requests that were not sent to the route they belong to";
            list.push(Measure::share("misrouted_share", self.strays, all, meaning));
        }
        list
    }

    fn reset_measurements(&mut self, _now: SimTime) {
        self.tally.iter_mut().for_each(|sent| sent.count = 0);
        (self.fallbacks, self.strays) = (0, 0);
    }
}
