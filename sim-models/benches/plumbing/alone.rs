//! Everything but the engine.

use sim_core::event::Phase;
use sim_core::time::SimDuration;
use sim_models::call::{CallId, Progress, Reply};
use sim_models::component::{Component, Timer};
use sim_models::context::Ctx;

use crate::{ANSWERS, PROMPTS, Row, TIMEOUT, simulate, table, traffic};

const REQUESTS: u64 = 1_000_000;
const RATE: u32 = 40;

/// Serves every call in the same time: where the LLM pool would be.
#[derive(Debug)]
struct Constant {
    /// Time to the first token; none reports no first token.
    first_token: Option<SimDuration>,
    /// Time from there, or from the call, to the reply; none replies at once.
    rest: Option<SimDuration>,
}

const FIRST_TOKEN: u16 = 0;
const REST: u16 = 1;

impl Component for Constant {
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        match (self.first_token, self.rest) {
            (Some(delay), _) => drop(ctx.schedule(delay, Phase::StepEnd, FIRST_TOKEN, call.to_bits())),
            (None, Some(delay)) => drop(ctx.schedule(delay, Phase::StepEnd, REST, call.to_bits())),
            (None, None) => ctx.reply(call, Reply::OK),
        }
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        let call = CallId::from_bits(timer.data);
        match (timer.kind, self.rest) {
            (FIRST_TOKEN, Some(rest)) => {
                ctx.progress(call, Progress::FirstToken);
                ctx.schedule(rest, Phase::StepEnd, REST, timer.data);
            }
            _ => ctx.reply(call, Reply::OK),
        }
    }
}

/// Prints what each part of a request costs.
pub fn bench() {
    let component = "[components.llm]\nkind = \"service\"\nservice_time = \"1s\"\n";
    let run = |requests: u64, lengths: bool, timeout: bool, first_token: Option<u64>, rest: Option<u64>| {
        let (prompts, answers) = if lengths { (PROMPTS, ANSWERS) } else { ("512", "200") };
        let timeout = if timeout { TIMEOUT } else { "" };
        let text = format!("{}{component}{timeout}", traffic(RATE, prompts, answers));
        move || {
            let time = |millis: Option<u64>| millis.map(SimDuration::from_millis);
            let constant = Constant { first_token: time(first_token), rest: time(rest) };
            simulate(&text, requests, RATE, |system| assert!(system.substitute("llm", Box::new(constant))))
        }
    };
    let row = |lengths, timeout, first_token, rest| run(REQUESTS, lengths, timeout, first_token, rest);
    table(&[
        Row { name: "arrivals, calls and replies", run: &row(false, false, None, None) },
        Row { name: "+ lognormal lengths", run: &row(true, false, None, None) },
        Row { name: "+ timeout of 60 s", run: &row(true, true, None, None) },
        Row { name: "+ service time", run: &row(true, true, None, Some(2_000)) },
        Row { name: "+ first token: the plumbing", run: &row(true, true, Some(50), Some(1_950)) },
        Row { name: "the same in a run of 10,000", run: &run(10_000, true, true, Some(50), Some(1_950)) },
    ]);
}
