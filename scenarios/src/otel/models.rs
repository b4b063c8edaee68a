//! Models: APIs with the times that were traced, or pools of one's own.

use serde_json::{Value, json};
use sim_models::hardware::catalogue;

use super::build::{Builder, with_errors};
use super::law::{time, times};
use super::tally::{Answers, Worker};
use crate::results::show::plural;

/// Share of the variance of answers' times that their lengths must explain to be taken for the cause (assumption).
const EXPLAINED: f64 = 0.2;

impl Builder<'_> {
    pub(super) fn model(&mut self, name: &str, worker: &Worker, answers: &Answers, replicas: usize) -> Value {
        let model = answers.model.as_deref().unwrap_or_default();
        match (self.gpu, in_catalogue(model)) {
            (Some(gpu), Some(id)) => {
                self.note(format!(
                    "`{name}` is {model}, simulated as {id} on {} of {gpu}: its times are those of the GPU, and not of the \
                     traces",
                    plural(replicas as f64, "replica")
                ));
                return json!({ "kind": "llm", "model": id, "gpu": gpu, "replicas": replicas });
            }
            (Some(gpu), None) => {
                self.note(format!(
                    "the model of `{name}` is not in the catalogue: it stays an API, and not on {gpu}"
                ));
            }
            (None, _) => {}
        }
        let answered = &answers.answered;
        let seconds = || answered.iter().map(|(seconds, ..)| *seconds).collect::<Vec<_>>();
        let gaps = |tokens: &Option<u32>| f64::from(tokens.unwrap_or(1).max(1) - 1);
        let first: Vec<f64> = answered.iter().filter_map(|(_, _, first)| *first).collect();
        let (mut ttft, mut rest) = (seconds(), None);
        if 2 * first.len() > answered.len() {
            let after = answered.iter().filter(|(_, tokens, _)| gaps(tokens) > 0.0);
            rest = times(
                after
                    .filter_map(|(all, tokens, first)| Some((all - (*first)?).max(0.0) / gaps(tokens)))
                    .collect(),
            );
            ttft = first;
        } else if let Some(slope) =
            slope(answered.iter().map(|(all, tokens, _)| (gaps(tokens), *all)).collect())
        {
            self.note(format!(
                "spans of `{name}` do not say when the first token came: it is what a straight line through the time of \
                 answers over their tokens leaves"
            ));
            ttft = answered.iter().map(|(all, tokens, _)| (all - slope * gaps(tokens)).max(0.0)).collect();
            rest = Some(json!(time(slope)));
        } else {
            self.note(format!(
                "the time of `{name}` does not hang on the tokens of its answers: all of it is to the first token"
            ));
        }
        self.note(format!(
            "`{name}` answers as fast at any load, without limits and prices: give `requests_per_minute`, \
             `tokens_per_minute` and `price`, or make it an `llm` of your own"
        ));
        let mut config =
            json!({ "kind": "external_api", "ttft": times(ttft).unwrap_or_else(|| json!("0s")) });
        if let Some(rest) = rest {
            config["time_per_output_token"] = rest;
        }
        with_errors(config, worker)
    }
}

/// A model of the catalogue by the name that clients give it: without its organisation and what it is tuned for.
fn in_catalogue(model: &str) -> Option<&'static str> {
    let name = model.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let plain = ["-instruct", "-chat", "-it", "-hf"]
        .iter()
        .fold(name.as_str(), |name, end| name.strip_suffix(end).unwrap_or(name));
    [name.as_str(), plain].iter().find_map(|name| catalogue::model(name).ok()).map(|model| model.id.as_str())
}

/// The slope of a straight line through points, where it rises and explains enough.
fn slope(points: Vec<(f64, f64)>) -> Option<f64> {
    let count = points.len() as f64;
    let (x, y) =
        (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|p| of(p.0 - x, p.1 - y)).sum::<f64>();
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    let explained = xy * xy / (xx * yy);
    (xy > 0.0 && explained >= EXPLAINED).then(|| xy / xx)
}
