//! From which load on an own pool is cheaper than somebody else's API.

pub use sim_models::external_api::ApiPrice;
use sim_models::link::link_ends;
use sim_models::system::ComponentConfig;
use sim_models::units::{Money, TokenPrice};

use crate::language::{Loaded, ScenarioError};
use crate::run::{RunOptions, RunProgress, run_scenario};
use crate::stress::{Limit, StressOptions, StressTest};

const SECONDS_PER_DAY: f64 = 86_400.0;

/// USD for a million tokens of a pool that costs `usd_per_hour` and generates `tokens_per_s` when it has all that it can do,
/// of which it does the share `utilization`: $/h / (tok/s x 3600 x utilization) x 10^6.
///
/// ```
/// use scenarios::plan::usd_per_million_tokens;
/// assert!((usd_per_million_tokens(2.5, 700.0, 1.0) - 0.992).abs() < 1e-3);
/// assert!((usd_per_million_tokens(2.5, 700.0, 0.1) - 9.92).abs() < 1e-2);
/// ```
pub fn usd_per_million_tokens(usd_per_hour: f64, tokens_per_s: f64, utilization: f64) -> f64 {
    usd_per_hour / (tokens_per_s * 3600.0 * utilization) * 1e6
}

/// An own pool against somebody else's API.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakEven {
    /// The pool.
    pub component: String,
    /// What is paid for it, busy or idle, in USD an hour.
    pub usd_per_hour: f64,
    /// Prompt tokens of a call.
    pub prompt_tokens: f64,
    /// Output tokens of a call.
    pub output_tokens: f64,
    /// What a call costs at the API, in USD.
    pub api_usd_per_call: f64,
    /// Calls a day now.
    pub calls_per_day: f64,
    /// Calls a day at which both cost the same.
    pub even_calls_per_day: f64,
    /// The most calls a day with which the system keeps to its SLO, to 2%; none where it does with none that was tried.
    pub most_calls_per_day: Option<f64>,
    /// What the API costs by a million output tokens, prompts and calls in it, in USD.
    pub api_usd_per_million: f64,
}

impl BreakEven {
    /// Share of what the pool can do at which it costs what the API does; above 1 it never gets cheaper.
    pub fn even_utilization(&self) -> Option<f64> {
        self.most_calls_per_day.map(|most| self.even_calls_per_day / most)
    }

    /// USD for a million output tokens, prompts in it, at a share of what the pool can do.
    pub fn usd_per_million(&self, utilization: f64) -> Option<f64> {
        let per_second = self.most_calls_per_day? * self.output_tokens / SECONDS_PER_DAY;
        Some(usd_per_million_tokens(self.usd_per_hour, per_second, utilization))
    }

    /// Output tokens a day at which both cost the same.
    pub fn even_output_tokens_per_day(&self) -> f64 {
        self.even_calls_per_day * self.output_tokens
    }

    /// Whether the pool costs less than the API at some load that it can serve.
    pub fn pays(&self) -> bool {
        self.even_utilization().is_some_and(|share| share <= 1.0)
    }
}

/// The scenario with a pool that neither scales by itself nor has anybody to fall back on: what it can do is its own.
fn alone(loaded: &Loaded, component: &str) -> Loaded {
    let mut alone = loaded.clone();
    if let Some(ComponentConfig::Llm(config)) = alone.scenario.components.get_mut(component) {
        (config.autoscaler, config.cold_start, config.replica_quota) = (None, None, None);
    }
    let links = alone.scenario.links.iter_mut();
    let own = links.filter(|(link, _)| link_ends(link).is_some_and(|(_, callee)| callee == component));
    own.for_each(|(_, config)| config.fallback.clear());
    alone
}

/// Compares a pool with an API at the price given, or at that of the only `external_api` of the scenario that has one. One run
/// tells what a call has in tokens; the most that the system can do with the pool is found as a stress test finds it. A pool that
/// scales by itself is taken as it is at the start, with its `replicas` alone.
///
/// # Errors
/// When the component is no pool of an LLM, nothing says what the API costs, or the scenario cannot be run.
pub fn break_even(
    loaded: &Loaded,
    component: &str,
    price: Option<ApiPrice>,
    options: &RunOptions,
    progress: &RunProgress,
) -> Result<BreakEven, ScenarioError> {
    let scenario = &loaded.scenario;
    if !matches!(scenario.components.get(component), Some(ComponentConfig::Llm(_))) {
        let pools = scenario.components.iter().filter(|(_, config)| config.kind() == "llm");
        let pools: Vec<&str> = pools.map(|(name, _)| name.as_str()).collect();
        let help = match pools.as_slice() {
            [] => "the scenario has no component of the kind `llm`".to_owned(),
            pools => format!("expected one of {}", pools.join(", ")),
        };
        return Err(ScenarioError::new(format!("`{component}` is no pool of an LLM")).with_help(help));
    }
    let prices: Vec<ApiPrice> = scenario
        .components
        .values()
        .filter_map(|config| match config {
            ComponentConfig::ExternalApi(api) => api.price,
            _ => None,
        })
        .collect();
    let price = match (price, prices.as_slice()) {
        (Some(price), _) => price,
        (None, [only]) => *only,
        (None, _) => {
            return Err(ScenarioError::new("what does the API cost?")
                .with_help("expected --api-price '$0.50/Mtok,$1.50/Mtok' (prompt, output), or one external_api with a `price`"));
        }
    };
    let alone = alone(loaded, component);
    let (loaded, scenario) = (&alone, &alone.scenario);
    let refused = |error| loaded.locate(error);
    let stress = StressOptions { run: options.clone(), multipliers: vec![1.0], ..StressOptions::default() };
    let test = StressTest::new(loaded, stress, progress)?;
    let Limit { passes, .. } = test.limit(&test.levels()?);
    // Where not all is answered, calls are cut short.
    let multiple = passes.unwrap_or(1.0).min(1.0);
    let options = RunOptions { scale: options.scale * multiple, ..options.clone() };
    let result =
        run_scenario(scenario, loaded.hash(), loaded.base_dir(), &options, progress).map_err(refused)?;
    let (mut seconds, mut calls, mut answered) = (0.0, 0.0, 0.0);
    let (mut prompt, mut output, mut usd) = (0.0, 0.0, 0.0);
    for run in &result.outputs {
        let Some(one) = run.components.iter().find(|one| one.name == component) else { continue };
        let Some(report) = &one.llm else { continue };
        seconds += run.measured().as_secs_f64();
        calls += one.meter.calls as f64;
        answered += report.answered.calls as f64;
        prompt += report.answered.prompt_tokens as f64;
        output += report.answered.output_tokens as f64;
        let lines = run.costs.iter().filter(|line| line.component == component && !line.by_use);
        usd += lines.map(|line| line.usd_per_hour).sum::<f64>();
    }
    if progress.is_cancelled() || calls == 0.0 || output == 0.0 || usd == 0.0 {
        let why = if usd == 0.0 { "nothing is paid for" } else { "no call came to" };
        return Err(ScenarioError::new(format!("{why} `{component}`: there is nothing to compare"))
            .with_help("expected a pool with a price, and traffic that reaches it"));
    }
    let usd_per_hour = usd / result.outputs.len() as f64;
    let [prompt_tokens, output_tokens] = [prompt, output].map(|tokens| tokens / answered);
    let token = |price: Option<TokenPrice>| price.map_or(0.0, |price| price.per_million() / 1e6);
    let api_usd_per_call = price.call.map_or(0.0, Money::dollars)
        + token(price.input) * prompt_tokens
        + token(price.output) * output_tokens;
    if api_usd_per_call <= 0.0 {
        return Err(ScenarioError::new("the API costs nothing").with_help("expected a price above 0"));
    }
    let calls_per_day = calls / seconds * SECONDS_PER_DAY / multiple;
    Ok(BreakEven {
        component: component.to_owned(),
        usd_per_hour,
        prompt_tokens,
        output_tokens,
        api_usd_per_call,
        calls_per_day,
        even_calls_per_day: usd_per_hour * 24.0 / api_usd_per_call,
        most_calls_per_day: passes.map(|multiple| multiple * calls_per_day),
        api_usd_per_million: api_usd_per_call / output_tokens * 1e6,
    })
}
