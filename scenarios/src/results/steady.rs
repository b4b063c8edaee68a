//! Whether what was measured lasts: who waits longest is in no latency, so a system that fills up can keep to every bound.

use super::findings::blamed;
use super::{RunResult, metrics};

/// How many times as many requests may be unended as those that ended explain (assumption), and how many at least.
const UNENDED: (f64, f64) = (2.0, 20.0);

/// Why it does not last, each a sentence; empty where nothing fills up.
pub(super) fn filling(result: &RunResult) -> Vec<String> {
    let growing: Vec<String> = blamed(result)
        .into_iter()
        .filter(|blamed| blamed.grows)
        .map(|blamed| format!("`{}`", blamed.component))
        .collect();
    let mut reasons = Vec::new();
    if !growing.is_empty() {
        reasons.push(format!("the queue of {} grows", growing.join(" and of ")));
    }
    if piles_up(result) {
        reasons.push("far more requests are unended than those that ended explain".to_owned());
    }
    reasons
}

/// Whether far more requests are unended than there would be if all took as long as those that ended, by Little's law. A
/// warm-up that is found in a system that fills up hides its growing queue.
fn piles_up(result: &RunResult) -> bool {
    let all = || result.outputs.iter().map(|output| metrics::requests(output, None, None));
    let count = result.outputs.len().max(1) as f64;
    let born = all().map(|requests| requests.born as f64).sum::<f64>() / count;
    let unended = all().map(|requests| metrics::in_flight(&requests) as f64).sum::<f64>() / count;
    let latencies: Vec<f64> = all().filter_map(|requests| requests.latency.mean()).collect();
    let latency = latencies.iter().sum::<f64>() / latencies.len().max(1) as f64 / 1e9;
    let measured = result.plan.duration.as_secs_f64() - result.plan.warmup.as_secs_f64();
    unended > UNENDED.0 * born / measured.max(1e-9) * latency + UNENDED.1
}
