//! What a run shows, in words.

mod load;
mod reason;

use sim_core::time::SimDuration;
use sim_models::component::DataReport;
use sim_models::llm::Rejected;
use sim_models::pipeline::PipelineReport;
use sim_models::request::Outcome;
use sim_models::system::ComponentOutput;

use super::llm::{self, Figures};
use super::{RunResult, metrics, show, too_few_answers};
use crate::run::{ALL, is_stationary};
use load::{Load, loads};

/// Requests that must lie beyond a quantile in every replication for it to be trusted (assumption:
/// ten, so that its sampling error is about a third of the tail's own spread).
const BEYOND: f64 = 10.0;

/// Share of the KV cache from which it counts as full.
const KV_FULL: f64 = 0.99;

/// Share of requests without an answer from which a standing queue is an overload (assumption).
const LOST: f64 = 0.01;

/// Cold starts for each of the most replicas there were, from which an autoscaler does not grow but flap (assumption).
const ANEW: f64 = 3.0;

/// Share of the time that a replica is there from which its start counts (assumption).
const STARTING: f64 = 0.1;

/// All findings, the most important first; `notes` are what the run itself has to say.
pub(super) fn findings(result: &RunResult, notes: Vec<String>) -> Vec<String> {
    let mut list = Vec::new();
    if let Some(interrupted) = result.interrupted {
        list.push(format!(
            "interrupted: {} of {} finished; the results are theirs alone",
            interrupted.finished,
            show::plural(interrupted.planned as f64, "replication")
        ));
    }
    if result.outputs.is_empty() {
        return list;
    }
    if !result.filling.is_empty() && result.verdicts.iter().all(|verdict| verdict.pass) {
        list.extend((!result.verdicts.is_empty()).then(|| {
            format!(
                "the SLO is missed, though every figure is within its bound: {}, so that what was measured does not last",
                result.filling.join(", and ")
            )
        }));
    }
    list.extend(too_few_answers(&result.verdicts));
    overload(result, &mut list);
    late_pipelines(result, &mut list);
    flapping(result, &mut list);
    memory(result, &mut list);
    too_long(result, &mut list);
    unanswered(result, &mut list);
    list.extend(notes);
    rollouts(result, &mut list);
    thin_quantiles(result, &mut list);
    let estimated: Vec<String> =
        llm::estimated(&result.outputs).into_iter().map(|name| format!("`{name}`")).collect();
    if !estimated.is_empty() {
        list.push(format!(
            "GPU times of {} are estimates: they come from datasheet figures, not from measurements",
            estimated.join(", ")
        ));
    }
    list
}

/// What happened in the rollouts of pools, in the first replication.
fn rollouts(result: &RunResult, list: &mut Vec<String>) {
    let Some(output) = result.outputs.first() else { return };
    for component in &output.components {
        let log = component.pool.as_ref().map_or(&[][..], |pool| pool.rollouts.as_slice());
        let told: Vec<String> = log
            .iter()
            .map(|entry| {
                let at = short(entry.at.as_secs_f64());
                format!("{} at {at} s: {}", entry.version, entry.event)
            })
            .collect();
        if !told.is_empty() {
            list.push(format!("rollouts of `{}`: {}", component.name, told.join("; ")));
        }
    }
}

/// Three significant digits at most, without an exponent.
pub(crate) fn short(value: f64) -> String {
    let scientific = format!("{value:.2e}");
    let exponent =
        scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok()).unwrap_or(0);
    let decimals = (2 - exponent).clamp(0, 9) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{}%", short(100.0 * share))
}

/// A time in seconds, in the unit that people would use: `90 s`, `25 min`, `4.2 h`.
pub(crate) fn words(seconds: f64) -> String {
    match seconds {
        long if long >= 172_800.0 => format!("{} days", short(long / 86_400.0)),
        long if long >= 7_200.0 => format!("{} h", short(long / 3_600.0)),
        long if long >= 120.0 => format!("{} min", short((long / 60.0).ceil())),
        brief => format!("{} s", short(brief.ceil())),
    }
}

/// Requests that a quantile needs to be trusted.
pub(crate) fn needed_for(q: f64) -> f64 {
    (BEYOND / (1.0 - q)).round()
}

/// A component that is short of something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Blamed {
    /// Its name.
    pub component: String,
    /// What is said of it.
    pub text: String,
    /// What it would take, by what it can.
    pub load: f64,
    /// Whether its queue grows.
    pub grows: bool,
    /// Others that are blamed too, and that it may only be waiting for.
    pub waits_for: Vec<String>,
}

/// The components that are short of something, callees before their callers.
pub(crate) fn blamed(result: &RunResult) -> Vec<Blamed> {
    blame(result, &loads(&result.scenario, &result.outputs))
}

/// Share in use of what each component is shortest of, where that is known.
pub(crate) fn pressures(result: &RunResult) -> Vec<(String, f64)> {
    let loads = loads(&result.scenario, &result.outputs);
    loads.iter().filter_map(|load| Some((load.name.to_owned(), load.pressure()?))).collect()
}

fn blame(result: &RunResult, loads: &[Load]) -> Vec<Blamed> {
    let mut named: Vec<Blamed> = Vec::new();
    let lost = |output| metrics::error_rate(&metrics::requests(output, None, None)).unwrap_or(0.0);
    let loses = result.outputs.iter().any(|output| lost(output) >= LOST);
    let standing = |load: &Load| load.standing_queue().filter(|_| loses && !load.is_saturated());
    let named_for = |load: &Load| load.is_overloaded() || load.is_saturated() || standing(load).is_some();
    for load in loads {
        // A limit turns away without any queue; who only passes on that others do is not to blame.
        let reaches = |other: &Blamed| load.reaches.contains(&other.component.as_str());
        let refuses = load.turned_away >= LOST && !named.iter().any(reaches);
        if !named_for(load) && !refuses {
            continue;
        }
        let mut factor = load.utilization.unwrap_or(1.0);
        let mut text = match load.growth {
            Some(growth) if load.is_overloaded() => {
                let ratio = match load.arrivals {
                    Some(arrivals) if arrivals > growth => {
                        factor = arrivals / (arrivals - growth);
                        format!("arrivals are {}x its capacity; ", short(factor))
                    }
                    _ => String::new(),
                };
                format!("`{}` is overloaded: {ratio}its queue grows by {}/s", load.name, short(growth))
            }
            _ if let Some(waiting) = standing(load) => {
                let each =
                    load.arrivals.filter(|arrivals| *arrivals > 0.0).map_or(String::new(), |arrivals| {
                        format!(", {} s of its arrivals", short(waiting / arrivals))
                    });
                format!(
                    "`{}` is overloaded: {} calls wait for it at all times{each}",
                    load.name,
                    short(waiting)
                )
            }
            _ if !named_for(load) => {
                factor = 1.0 / (1.0 - load.turned_away).max(1e-3);
                format!("`{}` is at its limit", load.name)
            }
            _ => {
                let busy = percent(load.utilization.unwrap_or(1.0));
                let what = if load.kv.is_some() { "of its batch in use" } else { "busy" };
                format!("`{}` is saturated: {busy} {what}", load.name)
            }
        };
        if let Some(reason) = reason::reason(load, &result.outputs) {
            text.push_str(&format!("; {reason}"));
        }
        if load.turned_away > 0.0 {
            text.push_str(&format!("; it turns away {} of its calls", percent(load.turned_away)));
        }
        let waits_for: Vec<String> = named
            .iter()
            .map(|other| other.component.clone())
            .filter(|other| load.reaches.contains(&other.as_str()))
            .collect();
        if !waits_for.is_empty() {
            let names: Vec<String> = waits_for.iter().map(|name| format!("`{name}`")).collect();
            text.push_str(&format!("; it waits for {}", names.join(", ")));
        }
        let grows = load.growth.is_some() && load.is_overloaded();
        named.push(Blamed { component: load.name.to_owned(), text, load: factor, grows, waits_for });
    }
    named
}

fn overload(result: &RunResult, list: &mut Vec<String>) {
    let loads = loads(&result.scenario, &result.outputs);
    let named = blame(result, &loads);
    list.extend(named.iter().map(|blamed| blamed.text.clone()));
    if named.is_empty() {
        let busiest = loads.iter().filter(|load| load.pressure().is_some());
        let busiest =
            busiest.max_by(|a, b| a.pressure().unwrap_or(0.0).total_cmp(&b.pressure().unwrap_or(0.0)));
        let growing =
            is_stationary(&result.scenario).then(|| load::in_flight_growth(&result.outputs)).flatten();
        let busy = busiest.map_or(String::new(), |load| {
            let pressure = percent(load.pressure().unwrap_or(0.0));
            let of = match load.kv {
                None => "busy",
                Some(_) if load.kv > load.utilization => "of its KV memory in use",
                Some(_) => "of its batch in use",
            };
            format!("the busiest component is `{}` ({pressure} {of})", load.name)
        });
        list.push(match growing {
            Some(growth) => {
                let text = format!(
                    "no steady state: the number of requests in the system grows by {}/s",
                    short(growth)
                );
                [text, busy].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
            }
            None => {
                let text = match behind(result).is_empty() {
                    true => "nothing is overloaded".to_owned(),
                    false => "nothing that answers calls is overloaded".to_owned(),
                };
                [text, busy].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
            }
        });
    }
    for load in &loads {
        if let Some((from, to)) =
            load.spell.filter(|_| !named.iter().any(|other| other.component == load.name))
        {
            list.push(format!("`{}` was saturated from {} s to {} s", load.name, short(from), short(to)));
        }
    }
}

/// Pipelines that do not keep up with what is due, and in words how far they are behind.
pub(crate) fn behind(result: &RunResult) -> Vec<(String, String)> {
    let Some(first) = result.outputs.first() else { return Vec::new() };
    let late = |(index, component): (usize, &ComponentOutput)| {
        let reports: Vec<&PipelineReport> = result
            .outputs
            .iter()
            .filter_map(|output| match &output.components[index].data {
                Some(DataReport::Pipeline(report)) => Some(&**report),
                _ => None,
            })
            .collect();
        let sum = |of: fn(&PipelineReport) -> u64| reports.iter().map(|report| of(report)).sum::<u64>();
        let latest = reports.iter().map(|report| report.lateness_max).fold(0.0, f64::max);
        let mut parts = Vec::new();
        if latest > 0.0 {
            parts.push(format!("a run is done {} after its window", words(latest)));
        }
        // One may be going on.
        let waiting = sum(|report| report.open.saturating_sub(1));
        let counts = [(sum(|report| report.skipped), "skipped"), (waiting, "waiting at the end")];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        parts.extend(counts.map(|(count, what)| {
            let runs = show::plural(count as f64 / reports.len() as f64, "run");
            format!("{runs} {what}")
        }));
        (!parts.is_empty()).then(|| (component.name.clone(), parts.join(", ")))
    };
    first.components.iter().enumerate().filter_map(late).collect()
}

fn late_pipelines(result: &RunResult, list: &mut Vec<String>) {
    list.extend(behind(result).into_iter().map(|(name, text)| format!("`{name}` falls behind: {text}")));
}

/// Autoscalers that let replicas go and start others in their place, over and over.
fn flapping(result: &RunResult, list: &mut Vec<String>) {
    let Some(first) = result.outputs.first() else { return };
    for (index, component) in first.components.iter().enumerate() {
        let mean = |name: &str| {
            let sum = result
                .outputs
                .iter()
                .try_fold(0.0, |sum, output| Some(sum + output.components[index].measure(name)?))?;
            Some(sum / result.outputs.len() as f64)
        };
        let (Some(starts), Some(held), Some(most)) =
            (mean("cold_starts"), mean("replicas_mean"), mean("replicas_max"))
        else {
            continue;
        };
        // Somebody else takes these away.
        let is_interrupted = mean("interruptions").is_some_and(|interruptions| interruptions > 0.0);
        if is_interrupted || component.pool.as_ref().is_some_and(|pool| !pool.rollouts.is_empty()) {
            continue;
        }
        let stages = ["cold_start_node_s", "cold_start_image_s", "cold_start_weights_s", "cold_start_init_s"];
        let starting: f64 = stages.into_iter().filter_map(mean).sum();
        let seconds = result.outputs.iter().map(|output| output.end.since(output.measured_from));
        let seconds = seconds.map(SimDuration::as_secs_f64).sum::<f64>() / result.outputs.len() as f64;
        let life = held * seconds / starts;
        if starts >= BEYOND.max(ANEW * most) && starting >= STARTING * life {
            list.push(format!(
                "`{}` flaps: its autoscaler starts a replica every {}, which takes {}, and lets it go {} later on \
                 average: it should wait for longer before it lets replicas go",
                component.name,
                words(seconds / starts),
                words(starting),
                words((life - starting).max(0.0)),
            ));
        }
    }
}

/// KV caches that were full.
fn memory(result: &RunResult, list: &mut Vec<String>) {
    let Some(first) = result.outputs.first() else { return };
    for (index, component) in first.components.iter().enumerate() {
        let figures: Vec<Figures> = result
            .outputs
            .iter()
            .filter_map(|output| output.components[index].llm.as_ref().map(Figures::of))
            .collect();
        let preemptions: u64 = figures.iter().filter_map(|figures| figures.preemptions).sum();
        if figures.iter().any(|figures| figures.kv_max > Some(KV_FULL)) && preemptions > 0 {
            list.push(format!(
                "the KV memory of `{}` is full: {} sequences a replication are evicted and computed again",
                component.name,
                short(preemptions as f64 / figures.len() as f64)
            ));
        }
    }
}

/// Requests that an LLM pool refuses at any load.
fn too_long(result: &RunResult, list: &mut Vec<String>) {
    let Some(first) = result.outputs.first() else { return };
    for (index, component) in first.components.iter().enumerate() {
        let Some(pool) = &component.llm else { continue };
        let components = || result.outputs.iter().map(|output| &output.components[index]);
        let replies: u64 = components().flat_map(|component| component.meter.outcomes).sum();
        let cache = format!("do not fit into the KV memory of a replica, {} tokens", pool.kv_longest);
        let refused = |count: fn(&Rejected) -> u64| -> u64 {
            components().filter_map(|component| component.llm.as_ref()).map(|llm| count(&llm.rejected)).sum()
        };
        for (refused, limit) in [
            (refused(|rejected| rejected.exceeds_model), "are longer than `max_model_len`"),
            (refused(|rejected| rejected.exceeds_cache), cache.as_str()),
        ] {
            if refused > 0 {
                let share = percent(refused as f64 / replies as f64);
                let name = &component.name;
                list.push(format!(
                    "`{name}` refuses {share} of its calls at any load: prompt and answer {limit}"
                ));
            }
        }
    }
}

/// Requests without an answer, over all replications.
fn unanswered(result: &RunResult, list: &mut Vec<String>) {
    let mut meters = result.outputs.iter().map(|output| metrics::requests(output, None, None));
    let mut all = meters.next().unwrap_or_default();
    for meter in meters {
        all.to_mut().merge(&meter);
    }
    let ended = all.ended();
    let kinds =
        [(Outcome::Rejected, "were rejected"), (Outcome::TimedOut, "timed out"), (Outcome::Failed, "failed")];
    let parts: Vec<String> = kinds
        .into_iter()
        .map(|(outcome, words)| (all.outcomes[outcome as usize], words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{} {words}", percent(count as f64 / ended as f64)))
        .collect();
    if !parts.is_empty() {
        list.push(format!("of the requests that ended, {}", parts.join(", ")));
    }
    let in_flight = metrics::in_flight(&all);
    if in_flight > 0 {
        list.push(format!(
            "{} of the requests ({in_flight}) had not ended when the run did: no latency and no error counts them",
            percent(in_flight as f64 / all.born as f64)
        ));
    }
    if all.born == 0 {
        list.push("no request was born in the measured part of the run".to_owned());
    }
}

/// Quantiles that rest on too few requests, and expectations without any value.
fn thin_quantiles(result: &RunResult, list: &mut Vec<String>) {
    let expected: Vec<(String, String, &str, f64)> = result
        .verdicts
        .iter()
        .filter_map(|verdict| {
            let quantile = verdict.quantile.filter(|quantile| *quantile != "mean")?;
            let q = quantile[1..].parse::<f64>().ok()? / 100.0;
            Some((verdict.named(), verdict.class.clone(), verdict.metric, q))
        })
        .collect();
    let asked = match expected.is_empty() {
        true => vec![("latency p99".to_owned(), ALL.to_owned(), "latency", 0.99)],
        false => expected,
    };
    for (name, class, metric, q) in asked {
        let counts = result.outputs.iter().map(|output| {
            let class =
                (class != ALL).then(|| output.labels.classes.iter().position(|label| *label == class));
            let requests = metrics::requests(output, class.map(|number| number.unwrap_or(usize::MAX)), None);
            match metric {
                "ttft" => requests.ttft.count(),
                "tpot" => requests.tpot.count(),
                _ => requests.latency.count(),
            }
        });
        let fewest = counts.min().unwrap_or(0);
        let needed = needed_for(q);
        if fewest > 0 && (fewest as f64) < needed {
            let (duration, warmup) = (result.plan.duration.as_secs_f64(), result.plan.warmup.as_secs_f64());
            let length = warmup + (duration - warmup) * needed / fewest as f64;
            list.push(format!(
                "{name} rests on {} in a replication: about {needed} are needed for a sure value, a run of {}",
                show::plural(fewest as f64, "request"),
                words(length)
            ));
        }
    }
    for verdict in result.verdicts.iter().filter(|verdict| verdict.value.is_none()) {
        list.push(format!("{} was not measured, so what the SLO expects of it is not met", verdict.named()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (1.4, "1.4"),
            (1.4049, "1.4"),
            (52.04, "52"),
            (52.16, "52.2"),
            (12_345.6, "12346"),
            (0.001_234, "0.00123"),
            (99.96, "100"),
            (100.0, "100"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
