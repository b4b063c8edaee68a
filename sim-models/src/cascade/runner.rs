//! The way of a request through the stages.

use sim_core::distribution::{Dist, Distribution};
use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedStream, Purpose, unit};
use sim_core::time::{SimDuration, SimTime};

use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, ComponentId, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::measure::Measure;
use crate::quality::Answer;
use crate::request::Outcome;
use crate::slab::{Key, Slab};

/// Who accepts answers.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Shares of right and of wrong answers that are accepted.
    pub right: f64,
    pub wrong: f64,
    pub latency: Option<Dist>,
    pub judge: Option<ComponentId>,
    /// The line of the bill.
    pub price: Option<usize>,
}

/// What is counted of a stage.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    asked: u64,
    failed: u64,
    accepted: u64,
    /// Wrong answers accepted, and right ones not.
    false_accepts: u64,
    false_rejects: u64,
}

#[derive(Debug)]
pub(super) struct Stage {
    callee: ComponentId,
    name: String,
    verifier: Option<Verifier>,
    tally: Tally,
}

impl Stage {
    pub fn new(callee: ComponentId, name: String, verifier: Option<Verifier>) -> Self {
        Self { callee, name, verifier, tally: Tally::default() }
    }
}

/// An account of escalations, in billionths of one.
#[derive(Debug)]
pub(super) struct Budget {
    income: u64,
    most: u64,
    balance: u64,
}

const ESCALATION: u64 = 1_000_000_000;

impl Budget {
    pub fn new(share: f64, burst: u32) -> Self {
        let most = u64::from(burst) * ESCALATION;
        Self { income: (share * ESCALATION as f64).round() as u64, most, balance: most }
    }

    fn pay_in(&mut self) {
        self.balance = (self.balance + self.income).min(self.most);
    }

    fn pay(&mut self) -> bool {
        let rest = self.balance.checked_sub(ESCALATION);
        self.balance = rest.unwrap_or(self.balance);
        rest.is_some()
    }
}

/// The only timer: an answer has been verified; its data is the key of its run.
const VERIFIED: u16 = 0;

/// What a request waits for.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    Nothing,
    Model(CallId),
    Judge(CallId),
    Verifier(EventHandle),
}

#[derive(Debug)]
struct Run {
    call: CallId,
    stage: usize,
    waiting: Waiting,
    /// The answer at hand and how it came.
    held: Option<(Answer, Outcome)>,
    /// Whether the stage has sent tokens.
    has_tokens: bool,
}

#[derive(Debug)]
pub(super) struct Cascade {
    stages: Vec<Stage>,
    budget: Option<Budget>,
    stream: Option<KeyedStream>,
    runs: Slab<Run>,
    verifying: u64,
    slow: f64,
    is_down: bool,
    over_budget: u64,
    served_held: u64,
}

impl Cascade {
    pub fn new(stages: Vec<Stage>, budget: Option<Budget>) -> Self {
        Self {
            stages,
            budget,
            stream: None,
            runs: Slab::default(),
            verifying: 0,
            slow: 1.0,
            is_down: false,
            over_budget: 0,
            served_held: 0,
        }
    }

    fn run_of(child: CallId, ctx: &Ctx) -> Key {
        Key::from_bits(ctx.call(ctx.call(child).parent).scratch)
    }

    /// Asks the stage that a run has come to.
    fn ask(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(run) = self.runs.get_mut(key) else { return };
        let stage = &mut self.stages[run.stage];
        stage.tally.asked += 1;
        run.has_tokens = false;
        run.waiting = Waiting::Model(ctx.send(run.call, stage.callee, 2 * run.stage as u32));
    }

    /// A model has answered.
    fn verify(&mut self, key: Key, outcome: Outcome, ctx: &mut Ctx) {
        let Some(run) = self.runs.get_mut(key) else { return };
        let (call, stage) = (run.call, run.stage);
        run.held = Some((ctx.request(call).answer, outcome));
        let Some(verifier) = &self.stages[stage].verifier else {
            self.runs.remove(key);
            return ctx.reply(call, Reply { outcome });
        };
        if let Some(item) = verifier.price {
            ctx.spend(call, item, 1.0);
        }
        if let Some(judge) = verifier.judge {
            run.waiting = Waiting::Judge(ctx.send(call, judge, 2 * stage as u32 + 1));
        } else if let Some(latency) = &verifier.latency {
            let mut draws = ctx.draws(call);
            // Each stage has a draw of its own.
            let seconds = (0..=stage).map(|_| latency.sample(&mut draws)).last().unwrap_or(0.0);
            let takes = SimDuration::saturating_from_secs_f64(seconds * self.slow);
            run.waiting = Waiting::Verifier(ctx.schedule(takes, Phase::StepEnd, VERIFIED, key.to_bits()));
            self.note_verifying(1, ctx);
        } else {
            self.decide(key, ctx);
        }
    }

    /// The verifier says what it thinks of the answer at hand.
    fn decide(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(run) = self.runs.get(key) else { return };
        let Some((answer, outcome)) = run.held else { return };
        let (call, has_tokens) = (run.call, run.has_tokens);
        // A judge's own answer is not the request's.
        ctx.set_answer(call, answer);
        let stage = &mut self.stages[run.stage];
        let Some(verifier) = &stage.verifier else { return };
        let right = ctx.is_right(call);
        let share = if right == Some(true) { verifier.right } else { verifier.wrong };
        let stream = self.stream.expect("made at the start");
        let chance = unit(&mut stream.draws(ctx.request(call).key, ctx.call(call).hop, run.stage as u32));
        let accepts = chance < share;
        stage.tally.accepted += u64::from(accepts);
        stage.tally.false_accepts += u64::from(accepts && right == Some(false));
        stage.tally.false_rejects += u64::from(!accepts && right == Some(true));
        if !accepts {
            return self.escalate(key, Reply::FAILED, ctx);
        }
        self.runs.remove(key);
        if has_tokens {
            ctx.progress(call, Progress::FirstToken);
        }
        ctx.reply(call, Reply { outcome });
    }

    /// Goes on to the next stage, if there is one and the budget allows; `failure` is the reply of a request
    /// that holds no answer.
    fn escalate(&mut self, key: Key, failure: Reply, ctx: &mut Ctx) {
        let Some(run) = self.runs.get_mut(key) else { return };
        run.waiting = Waiting::Nothing;
        if run.stage + 1 < self.stages.len() {
            if self.budget.as_mut().is_none_or(Budget::pay) {
                run.stage += 1;
                return self.ask(key, ctx);
            }
            self.over_budget += 1;
        }
        let Some(Run { call, held, .. }) = self.runs.remove(key) else { return };
        let Some((answer, _)) = held else { return ctx.reply(call, failure) };
        self.served_held += 1;
        ctx.set_answer(call, answer);
        if ctx.request(call).output_tokens > 0 && ctx.request(call).first_token.is_none() {
            ctx.progress(call, Progress::FirstToken);
        }
        ctx.reply(call, Reply { outcome: Outcome::Degraded });
    }

    fn note_verifying(&mut self, change: i64, ctx: &mut Ctx) {
        self.verifying = self.verifying.wrapping_add_signed(change);
        let now = ctx.now();
        ctx.meter().busy.add(now, change);
    }

    /// Ends a run before its answer came.
    fn give_up(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(run) = self.runs.remove(key) else { return };
        match run.waiting {
            Waiting::Nothing => {}
            Waiting::Model(child) | Waiting::Judge(child) => ctx.cancel(child),
            Waiting::Verifier(timer) => {
                ctx.cancel_timer(timer);
                self.note_verifying(-1, ctx);
            }
        }
        ctx.reply(run.call, Reply::FAILED);
    }
}

impl Component for Cascade {
    fn start(&mut self, ctx: &mut Ctx) {
        self.stream = Some(ctx.keyed_stream(Purpose::Routing));
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.is_down {
            return ctx.reply(call, Reply::FAILED);
        }
        if let Some(budget) = &mut self.budget {
            budget.pay_in();
        }
        let run = Run { call, stage: 0, waiting: Waiting::Nothing, held: None, has_tokens: false };
        let key = self.runs.insert(run);
        ctx.call_mut(call).scratch = key.to_bits();
        self.ask(key, ctx);
    }

    fn on_reply(&mut self, child: CallId, reply: Reply, ctx: &mut Ctx) {
        let key = Self::run_of(child, ctx);
        let Some(run) = self.runs.get(key) else { return };
        match (run.waiting, reply.outcome.is_answer()) {
            (Waiting::Judge(_), true) => self.decide(key, ctx),
            (Waiting::Judge(_), false) => self.escalate(key, Reply::FAILED, ctx),
            (_, true) => self.verify(key, reply.outcome, ctx),
            (_, false) => {
                self.stages[run.stage].tally.failed += 1;
                self.escalate(key, reply, ctx);
            }
        }
    }

    fn on_progress(&mut self, child: CallId, progress: Progress, ctx: &mut Ctx) {
        let Some(run) = self.runs.get_mut(Self::run_of(child, ctx)) else { return };
        if !matches!(run.waiting, Waiting::Model(_)) || progress != Progress::FirstToken {
            return;
        }
        run.has_tokens = true;
        if self.stages[run.stage].verifier.is_none() {
            ctx.progress(run.call, progress);
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        self.note_verifying(-1, ctx);
        self.decide(Key::from_bits(timer.data), ctx);
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
            _ => {}
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals { busy: self.verifying, ..Signals::default() }
    }

    fn measures(&self, _now: SimTime) -> Vec<Measure> {
        let (first, second) = (self.stages[0].tally.asked, self.stages[1].tally.asked);
        let mut list = vec![
            Measure::share(
                "escalation_rate",
                second,
                first,
                "Share of requests that went beyond the first stage",
            ),
            Measure::count("over_budget", self.over_budget, "Escalations that the budget did not allow"),
            Measure::count(
                "held_answers_served",
                self.served_held,
                "Answers served although they were not accepted, for want of a stronger one",
            ),
        ];
        for Stage { name, verifier, tally, .. } in &self.stages {
            let count = |name, count, meaning| Measure::count(name, count, meaning);
            let mut own = vec![
                count("asked", tally.asked, "Requests that the stage was asked for"),
                count("stage_failed", tally.failed, "Of them without an answer"),
            ];
            if verifier.is_some() {
                own.push(count("accepted", tally.accepted, "Answers that the verifier accepted"));
                own.push(count("false_accepts", tally.false_accepts, "Wrong answers among them"));
                own.push(count("false_rejects", tally.false_rejects, "Right answers that it did not accept"));
            }
            list.extend(own.into_iter().map(|measure| measure.of(name)));
        }
        list
    }

    fn reset_measurements(&mut self, _now: SimTime) {
        for stage in &mut self.stages {
            stage.tally = Tally::default();
        }
        (self.over_budget, self.served_held) = (0, 0);
    }
}
