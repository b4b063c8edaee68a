//! A flow calls other components on behalf of each request, in sequence or in parallel.
//!
//! It takes no time of its own. A step that fails ends the flow with that outcome, and the calls still
//! under way are cancelled; a degraded step makes the whole answer degraded. The first token of a
//! step reaches the caller when it is the last step that runs for this request and not a parallel one.
//!
//! A repeated step may be a conversation, as agents have with their models: each call has all before it in front of
//! what was added since (`appended_tokens`), and so has whatever is called on behalf of it and after it.
//!
//! Faults: a `crash` fails the requests that are in the flow, and those that come until it is repaired. It
//! takes no time, so it cannot be slow.

use std::fmt;

use rand::Rng;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sim_core::distribution::Dist;
use sim_core::random::unit;

use crate::admission::AdmissionConfig;
use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, ComponentId, Fault};
use crate::context::Ctx;
use crate::error::ConfigError;
use crate::request::Outcome;
use crate::slab::{Key, Slab};
use crate::system::Scope;
use crate::turn::Turn;
use crate::units::{DistConfig, NumberDist};

/// Calls steps in order, for every request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowConfig {
    /// The steps, one after the other.
    pub steps: Vec<StepConfig>,
    /// Which calls are turned away or wait in front. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Box<AdmissionConfig>>,
}

/// A step: the name of a component, or a table that says more.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum StepConfig {
    /// Call this component.
    Call(String),
    /// Call as the table says.
    Detailed(DetailedStep),
}

/// A step that is more than one call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailedStep {
    /// Call this component. Either this or `parallel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Call all of these at once and wait for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Vec<String>>,
    /// Do the step this many times, one after the other: rounded, at least 1, drawn for each request. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<NumberDist>,
    /// The calls are turns of one conversation, of which each begins with all that was said before: the prompt, the
    /// answers, and after each answer so many tokens more, of what a tool returned or the user said next. What a prefix
    /// cache holds of it is found again. The steps after it go on with the conversation. Default: every call has the
    /// request's own prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appended_tokens: Option<NumberDist>,
    /// Length in tokens, at least 1, of every answer of the conversation but the last, which is the request's: thoughts and
    /// calls of tools. Default: the request's `output_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_tokens: Option<NumberDist>,
    /// Do the step only for requests of these classes. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
}

impl Serialize for StepConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Call(name) => serializer.serialize_str(name),
            Self::Detailed(step) => step.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for StepConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Step;
        impl<'de> Visitor<'de> for Step {
            type Value = StepConfig;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a component's name, { call = \"name\" } or { parallel = [\"name\", ...] }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<StepConfig, E> {
                Ok(StepConfig::Call(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StepConfig, A::Error> {
                DetailedStep::deserialize(MapAccessDeserializer::new(map)).map(StepConfig::Detailed)
            }
        }
        deserializer.deserialize_any(Step)
    }
}

impl FlowConfig {
    pub(crate) fn callees(&self) -> Vec<(Vec<String>, &str)> {
        let mut callees = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let place = |rest: &[&str]| {
                let mut place = vec!["steps".to_owned(), index.to_string()];
                place.extend(rest.iter().map(|key| (*key).to_owned()));
                place
            };
            match step {
                StepConfig::Call(name) => callees.push((place(&[]), name.as_str())),
                StepConfig::Detailed(step) => {
                    callees.extend(step.call.iter().map(|name| (place(&["call"]), name.as_str())));
                    let branches = step.parallel.iter().flatten().enumerate();
                    callees.extend(
                        branches.map(|(b, name)| (place(&["parallel", &b.to_string()]), name.as_str())),
                    );
                }
            }
        }
        callees
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        if self.steps.is_empty() {
            return Err(
                ConfigError::new(["steps"], "a flow without steps").help("name at least one component")
            );
        }
        let steps = self.steps.iter().enumerate().map(|(index, step)| {
            step.build(scope).map_err(|error| error.within(index.to_string()).within("steps"))
        });
        Ok(Box::new(Flow { steps: steps.collect::<Result<_, _>>()?, runs: Slab::default(), is_down: false }))
    }
}

impl StepConfig {
    fn build(&self, scope: &Scope) -> Result<Step, ConfigError> {
        let detailed = match self {
            Self::Call(name) => &DetailedStep { call: Some(name.clone()), ..DetailedStep::default() },
            Self::Detailed(step) => step,
        };
        let callees: Vec<ComponentId> = match (&detailed.call, &detailed.parallel) {
            (Some(name), None) => vec![scope.id(name)],
            (None, Some(names)) if !names.is_empty() => names.iter().map(|name| scope.id(name)).collect(),
            _ => {
                let help = "expected { call = \"name\" } or { parallel = [\"name\", ...] }";
                return Err(
                    ConfigError::new([""; 0], "a step calls one component or several in parallel").help(help)
                );
            }
        };
        let appended = detailed.appended_tokens.as_ref().map(|law| {
            let wrong = |message: String| ConfigError::new(["appended_tokens"], message);
            if detailed.call.is_none() {
                let help = "expected { call = \"name\", repeat = 8, appended_tokens = 300 }";
                return Err(wrong("calls in parallel are no conversation".into()).help(help));
            }
            law.build().map_err(|error| wrong(error.to_string()))
        });
        let appended = appended.transpose()?;
        let answer = detailed.answer_tokens.as_ref().map(|law| {
            let wrong = |message: String| ConfigError::new(["answer_tokens"], message);
            if appended.is_none() {
                let help = "give `appended_tokens`, too: 0 where nothing comes between";
                return Err(wrong("answers of a conversation, and the step is none".into()).help(help));
            }
            law.build().map_err(|error| wrong(error.to_string()))
        });
        let repeat = detailed.repeat.as_ref().map(|law| {
            let count = law.build_count().map_err(|error| error.within("repeat"))?;
            Ok(match law {
                DistConfig::Constant(times) => Times::Fixed(times.get() as u32),
                DistConfig::Law(_) => Times::Drawn(count),
            })
        });
        let mut classes = None;
        if detailed.classes.as_ref().is_some_and(Vec::is_empty) {
            let help = format!("expected some of {}", scope.labels().classes.join(", "));
            return Err(ConfigError::new(["classes"], "a step for no class").help(help));
        }
        for name in detailed.classes.iter().flatten() {
            let known = &scope.labels().classes;
            let number = known.iter().position(|class| class == name).ok_or_else(|| {
                ConfigError::new(["classes"], format!("unknown class `{name}`"))
                    .help(format!("expected one of {}", known.join(", ")))
            })?;
            classes.get_or_insert_with(Vec::new).push(number as u8);
        }
        let repeat = repeat.transpose()?.unwrap_or(Times::Fixed(1));
        Ok(Step { callees, repeat, appended, answer: answer.transpose()?, classes })
    }
}

/// How often a step is done.
#[derive(Debug)]
enum Times {
    Fixed(u32),
    Drawn(Dist),
}

#[derive(Debug)]
struct Step {
    callees: Vec<ComponentId>,
    repeat: Times,
    /// Tokens that follow each answer, where the calls are a conversation.
    appended: Option<Dist>,
    /// Tokens of all answers but the last.
    answer: Option<Dist>,
    classes: Option<Vec<u8>>,
}

impl Step {
    fn is_for(&self, class: u8) -> bool {
        self.classes.as_ref().is_none_or(|classes| classes.contains(&class))
    }
}

/// Tags the draw of how often a step is done: no branch of a step has it.
const REPEAT: u32 = 0xff;

/// A law's value, rounded.
fn whole(law: &Dist, u: f64) -> u32 {
    // The cast rounds down and cuts off at both ends.
    (law.quantile(u) + 0.5) as u32
}

/// How far one call of the flow is.
#[derive(Debug)]
struct Run {
    call: CallId,
    class: u8,
    step: usize,
    round: u32,
    /// How often the present step is done.
    rounds: u32,
    degraded: bool,
    turn: Turn,
    /// Calls under way.
    children: Vec<CallId>,
}

#[derive(Debug)]
struct Flow {
    steps: Vec<Step>,
    runs: Slab<Run>,
    is_down: bool,
}

impl Flow {
    /// The first step at or after `step` that is for `class`.
    fn next_step(&self, step: usize, class: u8) -> Option<usize> {
        (step..self.steps.len()).find(|index| self.steps[*index].is_for(class))
    }

    /// Sends the calls of the present round, or replies when there is no step left.
    fn advance(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(run) = self.runs.get_mut(key) else { return };
        let Some(step) = self.steps.get(run.step) else {
            let outcome = if run.degraded { Outcome::Degraded } else { Outcome::Ok };
            let call = run.call;
            self.runs.remove(key);
            ctx.reply(call, Reply { outcome });
            return;
        };
        let first_tag = (run.step as u32) << 20 ^ run.round << 8;
        if run.round == 0 {
            run.rounds = match &step.repeat {
                Times::Fixed(times) => *times,
                Times::Drawn(law) => {
                    whole(law, unit(&mut ctx.draws_below(run.call, first_tag ^ REPEAT))).max(1)
                }
            };
            if step.appended.is_some() {
                // What was said before goes on as one of its own: others may have gone on from there.
                run.turn.conversation = ctx.place(run.call, first_tag).max(1);
            }
        }
        let is_last = run.round + 1 == run.rounds;
        run.turn.answer = match step.answer.as_ref().filter(|_| !is_last) {
            Some(law) => {
                let mut draws = ctx.draws_below(run.call, first_tag);
                // The first is for what is appended.
                draws.next_u64();
                whole(law, unit(&mut draws)).max(1)
            }
            None => ctx.call(run.call).turn.answer,
        };
        for (branch, callee) in step.callees.iter().enumerate() {
            let child = ctx.send_turn(run.call, *callee, first_tag ^ branch as u32, run.turn);
            run.children.push(child);
        }
    }

    fn run_of(ctx: &Ctx, child: CallId) -> Key {
        Key::from_bits(ctx.call(ctx.call(child).parent).scratch)
    }

    /// Ends a run and whatever it still waits for.
    fn give_up(&mut self, key: Key, reply: Reply, ctx: &mut Ctx) {
        let Some(run) = self.runs.remove(key) else { return };
        for child in run.children {
            ctx.cancel(child);
        }
        ctx.reply(run.call, reply);
    }
}

impl Component for Flow {
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.is_down {
            return ctx.reply(call, Reply::FAILED);
        }
        let class = ctx.request(call).class;
        let step = self.next_step(0, class).unwrap_or(self.steps.len());
        let turn = ctx.call(call).turn;
        let run = Run { call, class, step, round: 0, rounds: 1, degraded: false, turn, children: Vec::new() };
        let key = self.runs.insert(run);
        ctx.call_mut(call).scratch = key.to_bits();
        self.advance(key, ctx);
    }

    fn on_reply(&mut self, child: CallId, reply: Reply, ctx: &mut Ctx) {
        let key = Self::run_of(ctx, child);
        let Some(run) = self.runs.get_mut(key) else { return };
        run.children.retain(|call| *call != child);
        if !reply.outcome.is_answer() {
            return self.give_up(key, reply, ctx);
        }
        run.degraded |= reply.outcome == Outcome::Degraded;
        if !run.children.is_empty() {
            return;
        }
        if let Some(law) = &self.steps[run.step].appended {
            let added = whole(law, unit(&mut ctx.draws(child)));
            let answer = ctx.prompt(child).output_tokens();
            run.turn.grown = run.turn.grown.saturating_add(answer).saturating_add(added);
        }
        run.round += 1;
        if run.round == run.rounds {
            (run.round, run.step) = (0, run.step + 1);
            let (step, class) = (run.step, run.class);
            let next = self.next_step(step, class).unwrap_or(self.steps.len());
            if let Some(run) = self.runs.get_mut(key) {
                run.step = next;
            }
        }
        self.advance(key, ctx);
    }

    fn on_progress(&mut self, child: CallId, progress: Progress, ctx: &mut Ctx) {
        let key = Self::run_of(ctx, child);
        let Some(run) = self.runs.get(key) else { return };
        let step = &self.steps[run.step];
        let is_last = run.round + 1 == run.rounds && self.next_step(run.step + 1, run.class).is_none();
        if is_last && step.callees.len() == 1 {
            ctx.progress(run.call, progress);
        }
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        self.give_up(key, Reply::FAILED, ctx);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        match fault {
            Fault::Crash { .. } => {
                self.is_down = true;
                let mut lost = Vec::with_capacity(self.runs.len());
                self.runs.for_each(|run| lost.push(run.call));
                for call in lost {
                    self.on_cancel(call, ctx);
                }
            }
            Fault::Repair { .. } => self.is_down = false,
            _ => {}
        }
    }
}
