//! The step times under which a simulated run agrees with a measured one.

use sim_core::random::stable_hash;
use thiserror::Error;

use super::Fitted;
use super::linear::solve;
use super::moments::{Moments, Observation, alone};

/// What is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Times of the steps.
    pub fitted: Fitted,
    /// Time of the API server for each request, in microseconds.
    pub frontend_us: f64,
}

/// How far a simulated run is from the measured one, as shares: 0.04 is 4% too long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// Mean time to first token.
    pub ttft_mean: f64,
    /// 99th percentile of it.
    pub ttft_p99: f64,
    /// Mean over requests of the time for each token after the first.
    pub tpot_mean: f64,
    /// Mean latency.
    pub latency_mean: f64,
    /// 99th percentile of it.
    pub latency_p99: f64,
}

/// A fit and how good it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// What was found.
    pub setting: Setting,
    /// Statistics of the measured requests that were fitted to.
    pub measured: Moments,
    /// Requests that were fitted to.
    pub requests: usize,
    /// Errors on them.
    pub errors: Errors,
    /// Requests that were held back.
    pub held_back: usize,
    /// Errors on those, which the fit has not seen; none where nothing was held back.
    pub held_back_errors: Option<Errors>,
}

/// The fewest requests that times are fitted to, one by one or in a summary (assumption).
pub const FEWEST_REQUESTS: usize = 30;

/// Why nothing could be fitted.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FitError {
    /// Too few measurements.
    #[error("{0} requests with a first token and more: expected at least {FEWEST_REQUESTS} to fit to")]
    TooFew(usize),
    /// The replay failed.
    #[error("{0}")]
    Replay(String),
    /// No setting brings simulated and measured times together.
    #[error("{0}")]
    NoFit(String),
}

/// Replays with arrivals shifted by up to half a step, over which statistics are averaged: where in a step a
/// request arrives is luck.
const REPLAYS: u64 = 6;
const ITERATIONS: usize = 8;

/// What a simulated run has, figure by figure.
type Figures = Result<Vec<f64>, FitError>;

/// One figure of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameter {
    Gap,
    Memory,
    Sequence,
    Compute,
    FrontEnd,
    Wake,
}

impl Parameter {
    fn get(self, setting: &Setting) -> f64 {
        let fitted = &setting.fitted;
        match self {
            Self::Gap => fitted.step_gap_us.unwrap_or(0.0),
            Self::Memory => fitted.memory,
            Self::Sequence => fitted.sequence_us,
            Self::Compute => fitted.compute,
            Self::FrontEnd => setting.frontend_us,
            Self::Wake => fitted.wake_us.unwrap_or(0.0),
        }
    }

    fn set(self, setting: &mut Setting, value: f64) {
        let (least, most, _) = self.range();
        let value = value.clamp(least, most);
        let fitted = &mut setting.fitted;
        match self {
            Self::Gap => fitted.step_gap_us = Some(value),
            Self::Memory => fitted.memory = value,
            Self::Sequence => fitted.sequence_us = value,
            Self::Compute => fitted.compute = value,
            Self::FrontEnd => setting.frontend_us = value,
            Self::Wake => fitted.wake_us = Some(value),
        }
    }

    /// Least, most, and the step by which its effect is measured. No gap is ever 0.
    fn range(self) -> (f64, f64, f64) {
        match self {
            Self::Gap => (1.0, 1e6, 300.0),
            Self::Memory => (0.5, 5.0, 0.03),
            Self::Sequence => (0.0, 1e5, 20.0),
            Self::Compute => (0.3, 8.0, 0.05),
            Self::FrontEnd => (0.0, 1e6, 2_000.0),
            Self::Wake => (0.0, 1e6, 1_000.0),
        }
    }
}

/// Finds the setting under which replaying the requests of `measured` gives their times, starting from `start`.
/// The last `hold_back` of the requests (a share below 1) are replayed, too, but only to be compared with.
///
/// `replay` answers the requests, sent at the given seconds, under a setting: for each of `measured`, in its
/// order, what the client would have seen.
///
/// # Errors
/// Too few requests, a failed replay, or figures that no setting gives.
pub fn fit(
    measured: &[Observation],
    start: Setting,
    hold_back: f64,
    mut replay: impl FnMut(&Setting, &[f64]) -> Result<Vec<Observation>, String>,
) -> Result<Fit, FitError> {
    let mut measured = measured.to_vec();
    measured.sort_by(|a, b| a.sent_s.total_cmp(&b.sent_s));
    let total = measured.len();
    let used = ((total as f64 * (1.0 - hold_back.clamp(0.0, 0.9))).round() as usize).min(total);
    let counts: Vec<bool> = (0..total).map(|i| i < used).collect();
    let alone = alone(&measured);
    let target = Moments::of(&measured, &counts, &alone, None)
        .filter(|_| used >= FEWEST_REQUESTS)
        .ok_or(FitError::TooFew(used))?;
    let sent: Vec<f64> = measured.iter().map(|o| o.sent_s).collect();
    let jittered: Vec<Vec<f64>> =
        (0..REPLAYS).map(|round| jitter(&sent, target.step_s / 2.0, round)).collect();
    let mut evaluate = |setting: &Setting, target: &Moments| {
        let figures = target.figures();
        let mut sums = [0.0; 5];
        for sent in &jittered {
            let run = replay(setting, sent).map_err(FitError::Replay)?;
            let simulated = Moments::of(&run, &counts, &alone, Some(target));
            let simulated = simulated.ok_or(FitError::TooFew(used))?.figures();
            for (sum, figure) in sums.iter_mut().zip(simulated) {
                *sum += figure.unwrap_or(0.0) / REPLAYS as f64;
            }
        }
        Ok(figures.iter().zip(sums).filter_map(|(figure, sum)| figure.map(|_| sum)).collect())
    };
    let (mut setting, rest) = agree(start.clone(), &target, &mut evaluate)?;
    // Where sequences cost less than kernels say, nothing can be taken off: then steps are made to take as long
    // as measured on average, not over an empty batch.
    let missed = target.sequence_s.is_some() && rest[1].abs() > 0.1;
    if missed && setting.fitted.sequence_us <= 0.0 {
        let like = Moments { sequence_s: None, ..target };
        let target = Moments::of(&measured, &counts, &alone, Some(&like)).ok_or(FitError::TooFew(used))?;
        setting = agree(start, &target, &mut evaluate)?.0;
    }
    let run = replay(&setting, &sent).map_err(FitError::Replay)?;
    let of = |range: std::ops::Range<usize>| errors(&measured[range.clone()], &run[range]);
    Ok(Fit {
        measured: target,
        requests: used,
        errors: of(0..used).ok_or(FitError::TooFew(used))?,
        held_back: total - used,
        held_back_errors: of(used..total),
        setting,
    })
}

/// The setting under which a simulated run has the statistics `target`, and by which share each is missed.
fn agree(
    start: Setting,
    target: &Moments,
    evaluate: &mut dyn FnMut(&Setting, &Moments) -> Figures,
) -> Result<(Setting, Vec<f64>), FitError> {
    let figures = target.figures();
    let goal: Vec<f64> = figures.iter().flatten().copied().collect();
    let parameters = |first: Parameter| {
        let all = [first, Parameter::Sequence, Parameter::Compute, Parameter::FrontEnd, Parameter::Wake];
        let mut chosen: Vec<Parameter> = all
            .into_iter()
            .zip(figures)
            .filter_map(|(parameter, figure)| figure.map(|_| parameter))
            .collect();
        // Without a busy server there is nothing to tell the API server's time from waking the engine.
        if figures[3].is_none()
            && let Some(last) = chosen.last_mut().filter(|last| **last == Parameter::Wake)
        {
            *last = Parameter::FrontEnd;
        }
        chosen
    };
    search(start, &parameters, &goal, &mut |setting| evaluate(setting, target))
}

/// Finds the gap between steps and the API server's time under which a simulated run has the given mean times to
/// first token and for each further token, in seconds: all that a summary of a benchmark can tell.
///
/// # Errors
/// As [`fit()`].
pub fn fit_means(
    ttft_s: f64,
    tpot_s: f64,
    start: Setting,
    mut replay: impl FnMut(&Setting) -> Result<Vec<Observation>, String>,
) -> Result<Setting, FitError> {
    let mut evaluate = |setting: &Setting| {
        let run = replay(setting).map_err(FitError::Replay)?;
        let tpots: Vec<f64> = run.iter().filter_map(Observation::tpot_s).collect();
        if tpots.is_empty() {
            return Err(FitError::TooFew(0));
        }
        Ok(vec![mean(&tpots), mean(&run.iter().map(|o| o.ttft_s).collect::<Vec<_>>())])
    };
    Ok(search(start, &|first| vec![first, Parameter::FrontEnd], &[tpot_s, ttft_s], &mut evaluate)?.0)
}

/// Newton's method on as many figures as parameters. A server faster than its profile leaves no room for a gap:
/// then memory traffic is scaled in its place.
fn search(
    start: Setting,
    parameters: &dyn Fn(Parameter) -> Vec<Parameter>,
    goal: &[f64],
    evaluate: &mut dyn FnMut(&Setting) -> Figures,
) -> Result<(Setting, Vec<f64>), FitError> {
    let (setting, rest) = newton(start.clone(), &parameters(Parameter::Gap), goal, evaluate)?;
    if rest[0] > -0.005 || Parameter::Gap.get(&setting) > 2.0 * Parameter::Gap.range().0 {
        return close_enough(setting, rest);
    }
    let mut start = start;
    Parameter::Gap.set(&mut start, Parameter::Gap.range().0);
    let (setting, rest) = newton(start, &parameters(Parameter::Memory), goal, evaluate)?;
    close_enough(setting, rest)
}

fn close_enough(setting: Setting, rest: Vec<f64>) -> Result<(Setting, Vec<f64>), FitError> {
    if rest[0].abs() <= 0.05 {
        return Ok((setting, rest));
    }
    let message = format!(
        "no step times explain the measurements: the nearest have steps {:+.0}% off; is it this model, GPU and \
         precision?",
        -100.0 * rest[0]
    );
    Err(FitError::NoFit(message))
}

/// The setting found, and by which share each figure of the goal is missed.
fn newton(
    mut setting: Setting,
    parameters: &[Parameter],
    goal: &[f64],
    evaluate: &mut dyn FnMut(&Setting) -> Figures,
) -> Result<(Setting, Vec<f64>), FitError> {
    let missed = |now: &[f64]| -> Vec<f64> {
        goal.iter().zip(now).map(|(goal, now)| (goal - now) / goal.abs().max(1e-9)).collect()
    };
    let distance = |rest: &[f64]| rest.iter().map(|share| share * share).sum::<f64>();
    for parameter in parameters {
        let value = parameter.get(&setting);
        parameter.set(&mut setting, value);
    }
    let mut now = evaluate(&setting)?;
    let mut best = (setting.clone(), missed(&now));
    for iteration in 0..ITERATIONS {
        if best.1.iter().all(|share| share.abs() < 0.002) {
            break;
        }
        let mut effects = vec![vec![0.0; parameters.len()]; goal.len()];
        for (column, parameter) in parameters.iter().enumerate() {
            let mut moved = setting.clone();
            let step = parameter.range().2;
            parameter.set(&mut moved, parameter.get(&setting) + step);
            for (row, figure) in evaluate(&moved)?.into_iter().enumerate() {
                effects[row][column] = (figure - now[row]) / step;
            }
        }
        // A parameter at its end that would go on stays there, and its figure is given up for now.
        let mut free: Vec<usize> = (0..parameters.len()).collect();
        let moves = loop {
            let part = |row: &usize| free.iter().map(|column| effects[*row][*column]).collect();
            let right = free.iter().map(|row| goal[*row] - now[*row]).collect();
            let Some(moves) = solve(free.iter().map(part).collect(), right) else { break Vec::new() };
            let stuck = free.iter().zip(&moves).position(|(column, by)| {
                let (parameter, value) = (parameters[*column], parameters[*column].get(&setting));
                let (least, most, _) = parameter.range();
                (value <= least && *by < 0.0) || (value >= most && *by > 0.0)
            });
            match stuck {
                Some(place) => free.remove(place),
                None => break moves,
            };
        };
        // The last steps are shorter: what is left is mostly luck.
        let damping = if iteration < 4 { 1.0 } else { 0.5 };
        for (column, by) in free.iter().zip(moves) {
            let parameter = parameters[*column];
            let value = parameter.get(&setting) + damping * by;
            parameter.set(&mut setting, value);
        }
        now = evaluate(&setting)?;
        let rest = missed(&now);
        if distance(&rest) < distance(&best.1) {
            best = (setting.clone(), rest);
        }
    }
    Ok(best)
}

/// Instants shifted by up to `by` seconds either way, still in order and not before 0.
fn jitter(sent: &[f64], by: f64, round: u64) -> Vec<f64> {
    let mut before = 0.0_f64;
    (0_u64..)
        .zip(sent)
        .map(|(i, at)| {
            let hash = stable_hash(&[round.to_le_bytes(), i.to_le_bytes()].concat());
            let share = hash as f64 / u64::MAX as f64 * 2.0 - 1.0;
            before = before.max(at + by * share);
            before
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Errors of a simulated run against the same requests as measured; none where there are none with more than
/// one token.
pub fn errors(measured: &[Observation], simulated: &[Observation]) -> Option<Errors> {
    let of = |run: &[Observation], pick: &dyn Fn(&Observation) -> Option<f64>| -> Vec<f64> {
        let mut values: Vec<f64> = run.iter().filter_map(pick).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let p99 = |values: &[f64]| values[((values.len() - 1) as f64 * 0.99).round() as usize];
    let pair = |pick: &dyn Fn(&Observation) -> Option<f64>, figure: &dyn Fn(&[f64]) -> f64| {
        let (measured, simulated) = (of(measured, pick), of(simulated, pick));
        let usable = !measured.is_empty() && !simulated.is_empty();
        usable.then(|| figure(&simulated) / figure(&measured) - 1.0)
    };
    let ttft = |o: &Observation| Some(o.ttft_s);
    let latency = |o: &Observation| Some(o.latency_s);
    Some(Errors {
        ttft_mean: pair(&ttft, &mean)?,
        ttft_p99: pair(&ttft, &p99)?,
        tpot_mean: pair(&Observation::tpot_s, &mean)?,
        latency_mean: pair(&latency, &mean)?,
        latency_p99: pair(&latency, &p99)?,
    })
}
