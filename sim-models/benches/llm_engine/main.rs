//! Requests per CPU-second of the LLM engine alone, the fast one beside the stepwise one.
//!
//! Llama-3.1-8B in bf16 on one H100, Poisson arrivals, prompts lognormal with a mean of 512 tokens (sigma
//! 1.0, clipped to 4 to 2048), outputs with a mean of 200 (sigma 0.8, clipped to 2 to 1024), a budget of 2048
//! tokens, 256 sequences. Time to first token, end-to-end latency and time per output token of each request
//! go into histograms. The requests are drawn before the clock starts; what drawing them costs is printed.
//!
//! `cargo bench -p sim-models` runs both in turn for several rounds and prints medians, user and system time
//! of the process. Names of loads (`8/s`, `40/s`, `0.5/s`) pick single ones.

use cpu_time::ProcessTime;
use rand::distr::Distribution;
use sim_core::distribution::{Exponential, LogNormal};
use sim_core::random::{Purpose, Streams};
use sim_core::stats::Histogram;
use sim_core::time::SimTime;
use sim_models::llm::LlmConfig;
use sim_models::llm::engine::{Engine, EngineKind, Submission, Tally};

/// Rounds in which the two sides are run in turn.
const ROUNDS: usize = 5;

/// One request.
#[derive(Clone, Copy)]
struct Request {
    at: u64,
    prompt: u32,
    output: u32,
}

fn draw(rate: f64, count: usize) -> Vec<Request> {
    let streams = Streams::new(1, 0);
    let lognormal =
        |mean: f64, sigma: f64| LogNormal::new(libm::log(mean) - sigma * sigma / 2.0, sigma).unwrap();
    let (prompt, output) = (lognormal(512.0, 1.0), lognormal(200.0, 0.8));
    let gap = Exponential::with_mean(1e9 / rate).unwrap();
    let mut rng = streams.stream("bench", Purpose::Arrivals);
    let mut now = 0;
    let mut request = || {
        now += gap.sample(&mut rng) as u64;
        let prompt = (prompt.sample(&mut rng) as u32).clamp(4, 2048);
        let output = (output.sample(&mut rng) as u32).clamp(2, 1024);
        Request { at: now, prompt, output }
    };
    (0..count).map(|_| request()).collect()
}

/// What is remembered of a request while it lives.
#[derive(Clone, Copy, Default)]
struct Live {
    born: u64,
    first: u64,
    gaps: u64,
}

#[derive(Default)]
struct Statistics {
    live: Vec<Live>,
    vacant: Vec<u64>,
    ttft: Histogram,
    latency: Histogram,
    tpot: Histogram,
    tally: Tally,
}

impl Statistics {
    fn advance(&mut self, engine: &mut Engine, now: SimTime) {
        let at = now.as_nanos();
        for milestone in &engine.advance(now, &mut self.tally).milestones {
            let live = &mut self.live[milestone.key as usize];
            if milestone.first {
                live.first = at;
                self.ttft.record(at - live.born);
            }
            if milestone.last {
                self.latency.record(at - live.born);
                if let Some(tpot) = (at - live.first).checked_div(live.gaps) {
                    self.tpot.record(tpot);
                }
                self.vacant.push(milestone.key);
            }
        }
    }
}

/// Serves all requests; the requests served, and a check that both engines agree.
fn serve(mut engine: Engine, requests: &[Request]) -> (u64, [u128; 4]) {
    let mut statistics = Statistics::default();
    for request in requests {
        let now = SimTime::from_nanos(request.at);
        while let Some(due) = engine.due().filter(|due| *due <= now) {
            statistics.advance(&mut engine, due);
        }
        let live = Live { born: request.at, first: 0, gaps: u64::from(request.output - 1) };
        let key = statistics.vacant.pop().unwrap_or_else(|| {
            statistics.live.push(live);
            statistics.live.len() as u64 - 1
        });
        statistics.live[key as usize] = live;
        let submission = Submission::new(key, request.prompt, request.output);
        engine.submit(now, &submission, &mut statistics.tally).expect("it fits");
        if engine.is_idle() {
            statistics.advance(&mut engine, now);
        }
    }
    while let Some(due) = engine.due() {
        statistics.advance(&mut engine, due);
    }
    let Statistics { ttft, latency, tpot, tally, .. } = statistics;
    (latency.count(), [ttft.sum(), latency.sum(), tpot.sum(), tally.itl.sum()])
}

fn engine(kind: EngineKind) -> Engine {
    let config = LlmConfig { max_num_batched_tokens: 2048, ..LlmConfig::new("llama-3.1-8b", "h100-sxm") };
    Engine::new(kind, config.engine_config().unwrap(), config.step_function().unwrap()).unwrap()
}

fn timed<T>(run: impl FnOnce() -> T) -> (f64, T) {
    let start = ProcessTime::now();
    let result = run();
    (start.elapsed().as_secs_f64(), result)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // Cargo passes `--bench`.
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("requests per CPU-second, medians of {ROUNDS} rounds run in turn");
    for (name, rate, count) in [("8/s", 8.0, 400_000), ("40/s", 40.0, 400_000), ("0.5/s", 0.5, 200_000)] {
        if !chosen.is_empty() && !chosen.iter().any(|choice| choice == name) {
            continue;
        }
        let (drawing, requests) = timed(|| draw(rate, count));
        let some = &requests[..count / 10];
        let rounds: Vec<(f64, f64)> = (0..ROUNDS)
            .map(|_| {
                let (fast, (served, _)) = timed(|| serve(engine(EngineKind::Fast), &requests));
                let (stepwise, (some_served, sums)) = timed(|| serve(engine(EngineKind::Stepwise), some));
                assert_eq!((served, some_served), (count as u64, some.len() as u64));
                assert_eq!(serve(engine(EngineKind::Fast), some).1, sums, "the engines agree");
                (served as f64 / fast, some_served as f64 / stepwise)
            })
            .collect();
        let fast = median(rounds.iter().map(|round| round.0).collect());
        let stepwise = median(rounds.iter().map(|round| round.1).collect());
        println!(
            "{name:<6} fast {:>6.2} M   stepwise {:>6.3} M   {:>6.1} x   (want 4 M; drawing alone {:.1} M)",
            fast / 1e6,
            stepwise / 1e6,
            fast / stepwise,
            count as f64 / drawing / 1e6,
        );
    }
}
