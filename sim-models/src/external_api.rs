//! Somebody else's model behind an API: it takes its time, counts what it is asked, refuses what is beyond
//! the limits of the account, and sends a bill by the token.
//!
//! ```toml
//! kind = "external_api"
//! ttft = { lognormal = { p50 = "400ms", p99 = "2s" } }
//! time_per_output_token = "15ms"
//! requests_per_minute = 5000
//! tokens_per_minute = 800000
//! price = { input = "$2.50/Mtok", output = "$10/Mtok" }
//! ```
//!
//! A call takes `ttft` to its first token and `time_per_output_token` for each that follows. How many are
//! in it at once does not slow it down: what its provider's load does to it is in the distributions.
//!
//! **Limits** are token buckets (OpenAI, Anthropic: "rate limits", 2025): a bucket holds what may be used in
//! `limit_window`, is full at the start and fills up at the rate of the limit. A call takes one from the
//! bucket of requests, and its prompt and the output tokens it may have from that of tokens, when it arrives.
//! If either has too little it is refused (429) and told after how long both will have enough
//! (`retry-after`). What is refused takes nothing, unless `count_refused`.
//!
//! **Price**: what a call has used when it ends. One that is cancelled has used its prompt and what it had
//! generated; one whose caller gave up without saying so is generated, and paid, to its end. An error costs
//! nothing.
//!
//! Faults: a crash is an outage, in which calls in it fail and so do all that arrive until the repair.
//! `slow` stretches the calls that begin from then on.

mod limits;
#[cfg(test)]
mod tests;

use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Dist, Distribution};
use sim_core::event::{EventHandle, Phase};
use sim_core::random::unit;
use sim_core::time::{SimDuration, SimTime};

use crate::admission::AdmissionConfig;
use crate::call::{CallId, Progress, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::cost::CallPrice;
use crate::error::ConfigError;
use crate::measure::Measure;
use crate::slab::{Key, Slab};
use crate::system::Scope;
use crate::units::{Money, Probability, Time, TimeDist, TokenPrice};
use limits::{Limits, Refusal};

/// Somebody else's model behind an API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalApiConfig {
    /// Time to the first token of an answer; of an answer without tokens, all the time it takes.
    pub ttft: TimeDist,
    /// Time for each output token after the first, drawn once a call. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_per_output_token: Option<TimeDist>,
    /// Limit of requests a minute (RPM). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Limit of tokens a minute, prompt and output together (TPM). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Output tokens that a call counts with against the limit when it arrives (`max_tokens`). No answer is cut
    /// short by it: how long answers are is up to the traffic. Default: as many as its answer will have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How much of the limits may be used at once: the minute's, by default. Some providers enforce them over
    /// shorter times, such as a sixtieth in each second (OpenAI, "Rate limits").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_window: Option<Time>,
    /// The most calls at once; one beyond is refused. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<NonZeroU32>,
    /// Whether a refused call counts against the limit of requests. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count_refused: bool,
    /// Share of calls that end in an error, at the time of their first token. Default: 0.
    #[serde(default)]
    pub error_rate: Probability,
    /// What it costs. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<ApiPrice>,
    /// Which calls your own gateway in front of it turns away or lets wait. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Box<AdmissionConfig>>,
}

/// Price of an external API.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiPrice {
    /// Of prompt tokens. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<TokenPrice>,
    /// Of output tokens. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<TokenPrice>,
    /// Of a call besides its tokens. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Money>,
}

impl ApiPrice {
    fn of_a_call(self) -> CallPrice {
        let a_token = |price: Option<TokenPrice>| price.map_or(0.0, |price| price.per_million() / 1e6);
        CallPrice {
            call: self.call.map_or(0.0, Money::dollars),
            input: a_token(self.input),
            output: a_token(self.output),
        }
    }
}

impl ExternalApiConfig {
    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let law = |key: &str, law: &TimeDist| {
            law.build().map_err(|error| ConfigError::new([key], error.to_string()))
        };
        let ttft = law("ttft", &self.ttft)?;
        let per_token = self.time_per_output_token.as_ref();
        let per_token = per_token.map(|config| law("time_per_output_token", config)).transpose()?;
        let window = self.limit_window.map_or(SimDuration::from_secs(60), Time::get);
        if window.is_zero() {
            return Err(ConfigError::new(["limit_window"], "a window of 0 lets nothing through")
                .help("expected a time above 0, such as \"1m\""));
        }
        let is_limited = self.requests_per_minute.is_some() || self.tokens_per_minute.is_some();
        let idle = [("limit_window", self.limit_window.is_some()), ("count_refused", self.count_refused)];
        if let Some((key, _)) = idle.into_iter().find(|(_, given)| *given && !is_limited) {
            return Err(ConfigError::new([key], format!("`{key}` says nothing without a limit"))
                .help("give `requests_per_minute` or `tokens_per_minute` as well"));
        }
        if self.max_tokens.is_some() && self.tokens_per_minute.is_none() {
            return Err(ConfigError::new(
                ["max_tokens"],
                "`max_tokens` says nothing without a limit of tokens",
            )
            .help("give `tokens_per_minute` as well"));
        }
        let requests = self.requests_per_minute.map(|limit| u64::from(limit.get()));
        let limits =
            Limits::new(requests, self.tokens_per_minute.map(NonZeroU64::get), window, self.count_refused);
        // Less than one request in the bucket would refuse every call.
        if let Some((key, limit)) = limits.never_passes() {
            let window =
                self.limit_window.map_or(String::new(), |window| format!(" in a window of {window}"));
            return Err(ConfigError::new([key], format!("`{key}` is {limit}{window}: nothing ever passes"))
                .help("expected room for one call at least"));
        }
        if let Some(most) = self.max_concurrency {
            scope.meter().capacity.set(SimTime::ZERO, u64::from(most.get()));
        }
        let bill = self.price.map(|price| {
            let (cost, me) = scope.cost();
            let call = price.of_a_call();
            cost.set_call_price(me, call);
            let lines =
                [("API calls", call.call), ("input tokens", call.input), ("output tokens", call.output)];
            lines.map(|(what, usd)| (usd > 0.0).then(|| cost.add_usage(me, what, usd, "scenario")))
        });
        Ok(Box::new(Api {
            ttft,
            per_token,
            limits,
            max_tokens: self.max_tokens,
            most: self.max_concurrency.map_or(u64::MAX, |most| u64::from(most.get())),
            capacity: self.max_concurrency.map_or(0, |most| u64::from(most.get())),
            error_rate: self.error_rate.get(),
            bill: bill.unwrap_or_default(),
            runs: Slab::default(),
            slow: 1.0,
            is_down: false,
            tally: Tally::default(),
        }))
    }
}

/// An answer's first token; the data of the timer is the key of its run.
const FIRST: u16 = 0;
/// An answer's end.
const END: u16 = 1;

#[derive(Debug)]
struct Run {
    call: CallId,
    timer: Option<EventHandle>,
    /// When the first token came.
    first: Option<SimTime>,
    /// Nanoseconds between tokens.
    gap: u64,
    fails: bool,
}

/// What is counted besides the common meter.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    over_requests: u64,
    over_tokens: u64,
    over_concurrency: u64,
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Debug)]
struct Api {
    ttft: Dist,
    per_token: Option<Dist>,
    limits: Limits,
    max_tokens: Option<u32>,
    most: u64,
    capacity: u64,
    error_rate: f64,
    /// Lines of the bill: calls, input tokens, output tokens.
    bill: [Option<usize>; 3],
    runs: Slab<Run>,
    slow: f64,
    is_down: bool,
    tally: Tally,
}

impl Api {
    /// Whether the limits let a call in; a refusal is replied to.
    fn admits(&mut self, call: CallId, ctx: &mut Ctx) -> bool {
        if self.runs.len() as u64 >= self.most {
            self.tally.over_concurrency += 1;
            ctx.reply(call, Reply::REJECTED);
            return false;
        }
        let prompt = ctx.prompt(call);
        let output = self.max_tokens.unwrap_or(prompt.output_tokens());
        let tokens = u64::from(prompt.tokens()) + u64::from(output);
        let Err(Refusal { of_tokens, retry_after }) = self.limits.take(tokens, ctx.now()) else {
            return true;
        };
        let count = if of_tokens { &mut self.tally.over_tokens } else { &mut self.tally.over_requests };
        *count += 1;
        ctx.refuse(call, retry_after);
        false
    }

    fn charge(&mut self, call: CallId, output_tokens: u32, ctx: &mut Ctx) {
        let prompt_tokens = ctx.prompt(call).tokens();
        self.tally.input_tokens += u64::from(prompt_tokens);
        self.tally.output_tokens += u64::from(output_tokens);
        for (item, units) in self.bill.into_iter().zip([1, prompt_tokens, output_tokens]) {
            if let Some(item) = item {
                ctx.spend(call, item, f64::from(units));
            }
        }
    }

    fn close(&mut self, key: Key, ctx: &mut Ctx) -> Option<Run> {
        let run = self.runs.remove(key)?;
        let now = ctx.now();
        ctx.meter().busy.add(now, -1);
        Some(run)
    }

    /// An answer has come to its end.
    fn finish(&mut self, key: Key, ctx: &mut Ctx) {
        let Some(run) = self.close(key, ctx) else { return };
        if run.fails {
            return ctx.reply(run.call, Reply::FAILED);
        }
        let tokens = ctx.prompt(run.call).output_tokens();
        self.charge(run.call, tokens, ctx);
        ctx.reply(run.call, Reply::OK);
    }
}

impl Component for Api {
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        if self.is_down {
            return ctx.reply(call, Reply::FAILED);
        }
        if !self.admits(call, ctx) {
            return;
        }
        let mut draws = ctx.draws(call);
        let stretched = |seconds: f64| SimDuration::saturating_from_secs_f64(seconds * self.slow);
        let ttft = stretched(self.ttft.sample(&mut draws));
        let gap = self.per_token.as_ref().map_or(SimDuration::ZERO, |law| stretched(law.sample(&mut draws)));
        let fails = self.error_rate > 0.0 && unit(&mut draws) < self.error_rate;
        let (now, tokens) = (ctx.now(), ctx.prompt(call).output_tokens());
        ctx.meter().busy.add(now, 1);
        let run = Run { call, timer: None, first: None, gap: gap.as_nanos(), fails };
        let key = self.runs.insert(run);
        ctx.call_mut(call).scratch = key.to_bits();
        let kind = if fails || tokens == 0 { END } else { FIRST };
        let timer = ctx.schedule(ttft, Phase::StepEnd, kind, key.to_bits());
        if let Some(run) = self.runs.get_mut(key) {
            run.timer = Some(timer);
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let key = Key::from_bits(timer.data);
        if timer.kind == END {
            return self.finish(key, ctx);
        }
        let Some(run) = self.runs.get_mut(key) else { return };
        let (call, gap) = (run.call, run.gap);
        run.first = Some(ctx.now());
        ctx.progress(call, Progress::FirstToken);
        let rest = gap.saturating_mul(u64::from(ctx.prompt(call).output_tokens() - 1));
        if rest == 0 {
            return self.finish(key, ctx);
        }
        run.timer = Some(ctx.schedule(SimDuration::from_nanos(rest), Phase::StepEnd, END, timer.data));
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        let key = Key::from_bits(ctx.call(call).scratch);
        let Some(run) = self.close(key, ctx) else { return };
        if let Some(timer) = run.timer {
            ctx.cancel_timer(timer);
        }
        let generated = run.first.map_or(0, |first| {
            let gaps = ctx.now().since(first).as_nanos().checked_div(run.gap).unwrap_or(0);
            u32::try_from(gaps).unwrap_or(u32::MAX).saturating_add(1)
        });
        let tokens = generated.min(ctx.prompt(call).output_tokens());
        if !run.fails {
            self.charge(call, tokens, ctx);
        }
        ctx.reply(call, Reply::FAILED);
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        match *fault {
            Fault::Crash { .. } => {
                self.is_down = true;
                let mut lost = Vec::with_capacity(self.runs.len());
                self.runs.for_each(|run| lost.push((run.call, run.timer)));
                for (call, timer) in lost {
                    if let Some(timer) = timer {
                        ctx.cancel_timer(timer);
                    }
                    self.close(Key::from_bits(ctx.call(call).scratch), ctx);
                    ctx.reply(call, Reply::FAILED);
                }
            }
            Fault::Repair { .. } => self.is_down = false,
            Fault::Slow { factor } => self.slow = factor,
            _ => {}
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        Signals { busy: self.runs.len() as u64, capacity: self.capacity, ..Signals::default() }
    }

    fn measures(&self, _now: SimTime) -> Vec<Measure> {
        let Tally { over_requests, over_tokens, over_concurrency, input_tokens, output_tokens } = self.tally;
        vec![
            Measure::count("refused_request_limit", over_requests, "Calls refused by the limit of requests"),
            Measure::count("refused_token_limit", over_tokens, "Calls refused by the limit of tokens"),
            Measure::count("refused_concurrency", over_concurrency, "Calls refused as too many at once"),
            Measure::count("billed_input_tokens", input_tokens, "Prompt tokens that were processed"),
            Measure::count("billed_output_tokens", output_tokens, "Output tokens that were generated"),
        ]
    }

    fn reset_measurements(&mut self, _now: SimTime) {
        self.tally = Tally::default();
    }
}
