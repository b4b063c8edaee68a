//! The `calibrate` experiment: step times from measurements of a user's own server.
//!
//! One replica of an `llm` pool answers the requests of a benchmark, sent when the benchmark sent them. Its step
//! times (starting from the GPU's profile, or the datasheet) and the time of the API server are changed until its
//! answers take as long as the real ones did. The last part of the benchmark is held back, to see how good the
//! result is on requests that it was not fitted to.
//!
//! ```no_run
//! use scenarios::calibrate::{CalibrateOptions, calibrate};
//! let loaded = scenarios::load("server.toml".as_ref(), &[])?;
//! let calibrated = calibrate(&loaded, "bench.json".as_ref(), &CalibrateOptions::default())?;
//! print!("{}", calibrated.to_toml());
//! # Ok::<(), scenarios::ScenarioError>(())
//! ```

use std::path::Path;

use sim_core::distribution::Exponential;
use sim_core::random::stable_hash;
use sim_core::time::{SimDuration, SimTime};
use sim_models::error::ConfigError;
use sim_models::hardware::fitted::{
    Bench, FEWEST_REQUESTS, Fit, Fitted, Means, Observation, Setting, fit, fit_means,
};
pub use sim_models::hardware::fitted::{Errors, errors};
use sim_models::hardware::profile::Overheads;
use sim_models::llm::replay::{Recorded, Replica};
use sim_models::llm::{FrontEnd, LlmConfig, TimingConfig};
use sim_models::system::ComponentConfig;

use crate::language::{Loaded, ScenarioError};
use crate::results::show::plural;

/// Requests that are made up for a summary, at most.
const MADE_UP: u64 = 2_000;

/// What to calibrate, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrateOptions {
    /// The `llm` pool; by default the only one.
    pub component: Option<String>,
    /// Share of the requests, the last ones, that are held back to see how good the fit is: 0 to 0.9.
    pub hold_back: f64,
}

impl Default for CalibrateOptions {
    fn default() -> Self {
        Self { component: None, hold_back: 0.3 }
    }
}

/// Fitted step times.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// The pool.
    pub component: String,
    /// Its `timing` with the fit.
    pub timing: TimingConfig,
    /// The fit and its errors; none when there was only a summary to fit to, which leaves nothing to hold back.
    pub fit: Option<Fit>,
    /// Where its times come from now, as results will name it.
    pub badge: String,
}

impl Calibrated {
    /// The lines to put into the scenario.
    pub fn to_toml(&self) -> String {
        let key = toml::Value::String(self.component.clone()).to_string();
        let bare = !self.component.is_empty()
            && self.component.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        let key = if bare { self.component.clone() } else { key };
        let table = |name: &str, text: String| format!("[components.{key}.timing.{name}]\n{text}\n");
        let mut lines = String::new();
        if let Some(fitted) = &self.timing.fitted {
            lines += &table("fitted", toml::to_string(fitted).unwrap_or_default());
        }
        lines += &table("frontend", toml::to_string(&self.timing.frontend).unwrap_or_default());
        lines
    }
}

/// Fits a pool's step times to a benchmark of the real server. Of the scenario only the pool is used.
///
/// # Errors
/// No such pool, a benchmark that cannot be read, or times that nothing explains.
pub fn calibrate(
    loaded: &Loaded,
    bench: &Path,
    options: &CalibrateOptions,
) -> Result<Calibrated, ScenarioError> {
    let (name, mut config) = pool(loaded, options.component.as_deref())?;
    let at = |error: ConfigError| loaded.locate(error.within(name.clone()).within("components"));
    let source = bench.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let (timing, fit) = match Bench::open(bench).map_err(|error| ScenarioError::new(error.to_string()))? {
        Bench::Requests(requests) => {
            let (timing, fit) = to_requests(&config, &requests, options.hold_back, &source)?;
            (timing, Some(fit))
        }
        Bench::Means(means) => (to_means(&config, &means, &source)?, None),
    };
    config.timing = timing.clone();
    let badge = config.step_function().map_err(at)?.badge();
    Ok(Calibrated { component: name, timing, fit, badge })
}

/// The answers that one replica of a pool gives to recorded requests, in their order.
///
/// # Errors
/// Settings that cannot be simulated, or a request that can never be served.
pub fn replay(config: &LlmConfig, requests: &[Observation]) -> Result<Vec<Observation>, String> {
    let sent: Vec<f64> = requests.iter().map(|request| request.sent_s).collect();
    replay_at(config, requests, &sent)
}

fn replay_at(config: &LlmConfig, requests: &[Observation], sent: &[f64]) -> Result<Vec<Observation>, String> {
    let replica = Replica {
        engine: config.engine_config().map_err(|error| error.to_string())?,
        step: config.step_function().map_err(|error| error.to_string())?,
        frontend: config.timing.frontend,
    };
    let recorded: Vec<Recorded> = requests
        .iter()
        .zip(sent)
        .map(|(request, sent)| Recorded {
            sent: SimTime::from_nanos(SimDuration::saturating_from_secs_f64(*sent).as_nanos()),
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
        })
        .collect();
    let answers = replica.replay(&recorded)?;
    let answered = requests.iter().zip(sent).zip(answers).map(|((request, sent), answer)| Observation {
        sent_s: *sent,
        ttft_s: answer.ttft.as_secs_f64(),
        latency_s: answer.latency.as_secs_f64(),
        ..*request
    });
    Ok(answered.collect())
}

fn pool(loaded: &Loaded, name: Option<&str>) -> Result<(String, LlmConfig), ScenarioError> {
    let mut system = loaded.scenario.system();
    system.resolve_paths(loaded.base_dir());
    let pools: Vec<(&String, &LlmConfig)> = system
        .components
        .iter()
        .filter_map(|(name, component)| match component {
            ComponentConfig::Llm(config) => Some((name, &**config)),
            _ => None,
        })
        .collect();
    let names = || pools.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let found = match name {
        Some(name) => pools.iter().find(|(pool, _)| *pool == name),
        None if pools.len() == 1 => pools.first(),
        None => None,
    };
    let (name, config) = found.ok_or_else(|| {
        let message = match name {
            Some(name) => format!("no llm pool `{name}`"),
            None => format!("{} llm pools", pools.len()),
        };
        let help = if pools.is_empty() {
            "expected one in the scenario".into()
        } else {
            format!("expected one of {}", names())
        };
        ScenarioError::new(message).with_help(help)
    })?;
    Ok(((*name).clone(), (*config).clone()))
}

/// Where a fit starts: from the figures that the pool has now.
fn start(config: &LlmConfig, source: &str) -> Setting {
    let overheads = Overheads::default();
    let fresh = Fitted {
        step_gap_us: Some(overheads.step_gap_us),
        wake_us: Some(0.0),
        ..Fitted::neutral(overheads.sustained_slowdown, source)
    };
    let frontend_us =
        if config.timing.frontend.request_us > 0.0 { config.timing.frontend.request_us } else { 3_000.0 };
    Setting { fitted: fresh, frontend_us }
}

fn with(config: &LlmConfig, setting: &Setting) -> LlmConfig {
    let mut config = config.clone();
    config.timing.fitted = Some(setting.fitted.clone());
    config.timing.frontend =
        FrontEnd { request_us: setting.frontend_us, token_us: config.timing.frontend.token_us };
    config
}

fn to_requests(
    config: &LlmConfig,
    requests: &[Observation],
    hold_back: f64,
    source: &str,
) -> Result<(TimingConfig, Fit), ScenarioError> {
    let start = start(config, &format!("fitted to {source}"));
    let replay = |setting: &Setting, sent: &[f64]| replay_at(&with(config, setting), requests, sent);
    let mut fit =
        fit(requests, start, hold_back, replay).map_err(|error| ScenarioError::new(error.to_string()))?;
    fit.setting = rounded(fit.setting);
    Ok((with(config, &fit.setting).timing, fit))
}

fn to_means(config: &LlmConfig, means: &Means, source: &str) -> Result<TimingConfig, ScenarioError> {
    if means.requests < FEWEST_REQUESTS as u64 {
        let requests = plural(means.requests as f64, "request");
        return Err(ScenarioError::new(format!("the means of {requests} say too little to fit to"))
            .with_help(format!("expected a benchmark of at least {FEWEST_REQUESTS} requests")));
    }
    let count = means.requests.clamp(200, MADE_UP);
    let gaps =
        Exponential::with_mean(1.0 / means.rate).map_err(|error| ScenarioError::new(error.to_string()))?;
    let mut at = 0.0;
    let requests: Vec<Observation> = (0..count)
        .map(|i| {
            // Poisson arrivals, the same at every call.
            let share = (stable_hash(&i.to_le_bytes()) >> 11) as f64 / (1_u64 << 53) as f64;
            at += gaps.quantile(share);
            Observation {
                sent_s: at,
                prompt_tokens: means.prompt_tokens.round().max(1.0) as u32,
                output_tokens: means.output_tokens.round().max(2.0) as u32,
                ttft_s: means.ttft_s,
                latency_s: means.ttft_s + means.tpot_s * (means.output_tokens - 1.0),
            }
        })
        .collect();
    let start = start(config, &format!("fitted to the means of {source}"));
    let sent: Vec<f64> = requests.iter().map(|request| request.sent_s).collect();
    let replay = |setting: &Setting| replay_at(&with(config, setting), &requests, &sent);
    let setting = fit_means(means.ttft_s, means.tpot_s, start, replay)
        .map_err(|error| ScenarioError::new(error.to_string()))?;
    Ok(with(config, &rounded(setting)).timing)
}

/// Figures with the digits that they deserve.
fn rounded(mut setting: Setting) -> Setting {
    let to = |value: f64, digit: f64| (value / digit).round() * digit;
    let fitted = &mut setting.fitted;
    fitted.compute = to(fitted.compute * 1e4, 1.0) / 1e4;
    fitted.memory = to(fitted.memory * 1e4, 1.0) / 1e4;
    fitted.sequence_us = to(fitted.sequence_us * 10.0, 1.0) / 10.0;
    fitted.step_gap_us = fitted.step_gap_us.map(|us| to(us, 1.0).max(1.0));
    fitted.wake_us = fitted.wake_us.map(|us| to(us, 1.0));
    setting.frontend_us = to(setting.frontend_us, 1.0);
    setting
}
