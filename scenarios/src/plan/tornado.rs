//! What the answer hangs on: one thing after the other a step down and up.

use super::space::{plain, sets};
use super::{Evaluated, Plan};
use crate::language::{ScenarioError, path_keys};
use crate::results::RunResult;
use crate::run::RunOptions;
use crate::stress::diagnosis::{all, answers_hold};

/// How much a number is changed down and up.
const STEP: f64 = 0.2;

/// What a step from the optimum does.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// The path, or `load`.
    pub what: String,
    /// Its value at the optimum.
    pub from: String,
    /// Its value after the step.
    pub to: String,
    /// Whether it is one up: to a larger number, or to the next value of an axis.
    pub up: bool,
    /// Whether answers still keep to the SLO; none where it could not be run.
    pub holds: Option<bool>,
    /// The bill for a month after it less the one before, in USD.
    pub usd: Option<f64>,
    /// Latency p99 after it less that before, in seconds.
    pub latency_p99_s: Option<f64>,
    /// Share of errors after it less that before.
    pub error_rate: Option<f64>,
}

/// A step to take.
struct Step {
    what: String,
    from: String,
    to: String,
    up: bool,
    sets: Vec<String>,
    load: f64,
}

impl Plan<'_> {
    /// Each axis one value down and up, the load and each of `paths` (numbers, with their units) 20% down and up, from a
    /// configuration that was run. By what moves the bill and latency p99 most.
    ///
    /// # Errors
    /// A path that is no number.
    pub fn tornado(&mut self, best: &Evaluated, paths: &[String]) -> Result<Vec<Effect>, ScenarioError> {
        let mut steps: Vec<Step> = Vec::new();
        let levels = self.space.levels(best.point);
        for (number, axis) in self.space.axes.iter().enumerate() {
            let values = axis.levels().unwrap_or_default();
            let level = levels[number];
            for next in
                [level.checked_sub(1), Some(level + 1)].into_iter().flatten().filter(|at| *at < values.len())
            {
                steps.push(Step {
                    what: axis.path.clone(),
                    from: plain(&values[level]),
                    to: plain(&values[next]),
                    up: next > level,
                    sets: vec![format!("{}={}", axis.path, values[next])],
                    load: 1.0,
                });
            }
        }
        let own = sets(&best.settings);
        for path in paths {
            let known = self.space.axes.iter().any(|axis| axis.path == *path);
            for times in [1.0 - STEP, 1.0 + STEP].into_iter().filter(|_| !known) {
                let (from, to) = self.stepped(path, &own, times)?;
                steps.push(Step {
                    what: path.clone(),
                    from,
                    sets: vec![format!("{path}={to}")],
                    to: plain(&to),
                    up: times > 1.0,
                    load: 1.0,
                });
            }
        }
        for times in [1.0 - STEP, 1.0 + STEP] {
            let text =
                |times: f64| format!("{}x", crate::results::findings::short(self.options.run.scale * times));
            steps.push(Step {
                what: "load".to_owned(),
                from: text(1.0),
                to: text(times),
                up: times > 1.0,
                sets: Vec::new(),
                load: times,
            });
        }
        let mut effects = Vec::new();
        for step in steps {
            if self.progress.is_cancelled() {
                break;
            }
            let scenario = self.space.scenario_with(&[own.clone(), step.sets].concat());
            let options =
                RunOptions { scale: self.options.run.scale * step.load, ..self.options.run.clone() };
            let result = scenario.and_then(|scenario| self.simulate(&scenario, &options));
            if let Ok(None) = result {
                break;
            }
            let result = result.ok().flatten();
            let change = |column: &str, before: Option<f64>| {
                let after = |result: &RunResult| all(result)?.mean(column);
                Some(result.as_ref().and_then(after)? - before?)
            };
            effects.push(Effect {
                what: step.what,
                from: step.from,
                to: step.to,
                up: step.up,
                holds: result.as_ref().map(answers_hold),
                usd: change("cost_usd_per_month", Some(best.usd_per_month)),
                latency_p99_s: change("latency_p99_s", best.latency_p99_s),
                error_rate: change("error_rate", best.error_rate),
            });
        }
        // Shares of the values at the optimum, so that dollars and seconds can be weighed.
        let by = |value: Option<f64>, base: f64| {
            value.map_or(0.0, |value| if base > 0.0 { value.abs() / base } else { 0.0 })
        };
        let size = |effect: &Effect| {
            by(effect.usd, best.usd_per_month)
                .max(by(effect.latency_p99_s, best.latency_p99_s.unwrap_or(0.0)))
                .max(effect.error_rate.map_or(0.0, f64::abs))
        };
        let of =
            |what: &str| effects.iter().filter(|effect| effect.what == what).map(size).fold(0.0, f64::max);
        let sizes: Vec<f64> = effects.iter().map(|effect| of(&effect.what)).collect();
        let mut order: Vec<usize> = (0..effects.len()).collect();
        order.sort_by(|a, b| sizes[*b].total_cmp(&sizes[*a]).then(a.cmp(b)));
        Ok(order.into_iter().map(|at| effects[at].clone()).collect())
    }

    /// The value at a path with those overrides, and so many times it, as `--set` takes it.
    fn stepped(&self, path: &str, sets: &[String], times: f64) -> Result<(String, String), ScenarioError> {
        let fault = |message: String| {
            ScenarioError::new(message)
                .with_help("expected the path of a number, such as components.small.max_num_seqs")
        };
        let scenario = self.space.scenario_with(sets).map_err(&fault)?;
        let tree: toml::Value = toml::Value::try_from(&scenario).map_err(|error| fault(error.to_string()))?;
        let keys = path_keys(path);
        let value = keys.iter().try_fold(&tree, |node, key| match node {
            toml::Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            node => node.get(key),
        });
        let Some(value) = value else {
            return Err(fault(format!("the scenario does not say what `{path}` is")));
        };
        let (text, next) = match value {
            toml::Value::Integer(whole) => {
                let moved = (*whole as f64 * times).round() as i64;
                let moved = if moved == *whole { whole + if times > 1.0 { 1 } else { -1 } } else { moved };
                (whole.to_string(), Some(moved.to_string()))
            }
            toml::Value::Float(number) => (number.to_string(), Some((number * times).to_string())),
            toml::Value::String(text) => (text.clone(), crate::sweep::axes::times(text, times)),
            other => (other.to_string(), None),
        };
        next.map(|next| (text.clone(), next))
            .ok_or_else(|| fault(format!("`{path}` is {text}, which is no number")))
    }
}
