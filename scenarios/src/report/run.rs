//! The report of one run.

use sim_models::system::RunOutput;

use super::axis::{Axis, Unit};
use super::bars::Stack;
use super::chart::{Chart, Mark, Reference, Series};
use super::events::events;
use super::picture::{Drawing, Picture};
use super::pictures::{MOST, architecture, bounds, distribution, merged};
use super::{Block, Report, named, provenance_rows, tables};
use crate::results::show::{percent, plural, seconds, usd};
use crate::results::{RunResult, Verdict};
use crate::run::ALL;

/// What a run is of, and how it was done.
pub fn heading(result: &RunResult) -> (String, String) {
    let provenance = &result.provenance;
    let load = match provenance.multiplier {
        1.0 => String::new(),
        scale => format!(" at {scale}x"),
    };
    let title = format!("{}{load}", named(&provenance.scenario, &provenance.variant));
    let lead = format!(
        "{} of {}, the first {} left out as warm-up; seed {}",
        plural(result.outputs.len() as f64, "replication"),
        seconds(provenance.duration_s),
        seconds(provenance.warmup_s),
        provenance.seed,
    );
    (title, lead)
}

fn missed(verdict: &Verdict) -> String {
    let named = verdict.named();
    match verdict.value {
        Some(value) => {
            format!(
                "{named} is {}, at most {} is allowed",
                verdict.shown(value),
                verdict.shown(verdict.limit)
            )
        }
        None => format!("{named} was not measured"),
    }
}

/// Faults and changes of pools that are told of.
const HAPPENED: usize = 12;

/// Missed expectations that a sentence can hold; the table has all.
const TOLD: usize = 3;

/// Whether the SLO is met, in a sentence.
pub(super) fn slo(result: &RunResult) -> Block {
    let failed: Vec<String> = result.verdicts.iter().filter(|verdict| !verdict.pass).map(missed).collect();
    let text = match (result.passed(), failed.as_slice()) {
        (None, _) if !result.verdicts.is_empty() => {
            "Nothing was run to its end: the SLO is not judged.".to_owned()
        }
        (None, _) => "Nothing is expected of this run: the scenario has no SLO.".to_owned(),
        (Some(true), _) => {
            let count = result.verdicts.len();
            format!(
                "The SLO is met: {}.",
                if count == 1 {
                    "its one expectation".to_owned()
                } else {
                    format!("all {count} expectations")
                }
            )
        }
        (Some(false), []) => {
            format!(
                "The SLO is missed: every figure is within its bound, but {}.",
                result.filling.join(", and ")
            )
        }
        (Some(false), failed) => {
            let told = failed.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("; ");
            let rest = match failed.len().saturating_sub(TOLD) {
                0 => String::new(),
                rest => format!("; and {rest} more of {} expectations", result.verdicts.len()),
            };
            format!("The SLO is missed: {told}{rest}.")
        }
    };
    Block::Verdict { pass: result.passed(), text }
}

impl RunResult {
    /// The run for people: verdict and findings, pictures, tables.
    pub fn report(&self) -> Report {
        let (title, lead) = heading(self);
        let mut report =
            Report { title, lead, blocks: Vec::new(), provenance: provenance_rows(&self.provenance) };
        report.blocks.extend(self.scenario.description.clone().map(Block::Text));
        report.blocks.push(slo(self));
        report.blocks.push(Block::Heading("What was found".to_owned()));
        report.blocks.push(Block::Items(self.findings.clone()));
        let Some(first) = self.outputs.first() else { return report };
        report.blocks.push(Block::Heading("The system".to_owned()));
        report.picture(architecture("architecture", "Who calls whom, and how busy they are", self));
        report.blocks.push(Block::Heading("How long answers take".to_owned()));
        let pictures: Vec<Picture> = self.distributions().into_iter().flatten().collect();
        if pictures.is_empty() {
            report
                .blocks
                .push(Block::Text("No request was answered in the measured part of the run.".to_owned()));
        }
        report.blocks.extend(pictures.into_iter().map(Block::Picture));
        report.blocks.push(Block::Heading("Over time".to_owned()));
        if self.outputs.len() > 1 {
            report.blocks.push(Block::Text("The first replication.".to_owned()));
        }
        for picture in self.series_pictures(first) {
            report.picture(picture);
        }
        let happened = events(self);
        if !happened.is_empty() {
            let rest = happened.len().saturating_sub(HAPPENED);
            let told = happened.iter().take(HAPPENED).map(|event| format!("{}.", event.said()));
            let rest = (rest > 0).then(|| format!("And {rest} more."));
            report.blocks.push(Block::Text("What happened:".to_owned()));
            report.blocks.push(Block::Items(told.chain(rest).collect()));
        }
        let [from, to] = [first.measured_from, first.end].map(|time| time.as_secs_f64());
        report.blocks.extend(report.between(from, to).map(Block::Table));
        let bill = self.resources();
        if bill.is_some() {
            report.blocks.push(Block::Heading("What it costs".to_owned()));
            report.picture(bill);
        }
        report.blocks.push(Block::Heading("In figures".to_owned()));
        report.blocks.extend(tables::of_run(self).into_iter().map(Block::Table));
        report.blocks.push(Block::Table(tables::dashboard(self)));
        report
    }

    fn distributions(&self) -> [Option<Picture>; 3] {
        let classes = self.outputs[0].labels.classes.clone();
        let by_class = |of: fn(&sim_models::meter::RequestMeter) -> &sim_core::stats::Histogram| {
            let own = classes.iter().enumerate().filter(|_| classes.len() > 1);
            let own = own.map(|(number, name)| (name.clone(), merged(&self.outputs, Some(number), of)));
            std::iter::once((ALL.to_owned(), merged(&self.outputs, None, of))).chain(own).collect::<Vec<_>>()
        };
        let slo = &self.scenario.slo;
        [
            distribution(
                "latency-cdf",
                "Latency of answered requests",
                "latency",
                by_class(|meter| &meter.latency),
                bounds("", slo.latency, true),
            ),
            distribution(
                "ttft-cdf",
                "Time to first token (TTFT)",
                "time to first token",
                by_class(|meter| &meter.ttft),
                bounds("TTFT ", slo.ttft, true),
            ),
            distribution(
                "tpot-cdf",
                "Time per output token after the first (TPOT)",
                "time per output token",
                by_class(|meter| &meter.tpot),
                bounds("TPOT ", slo.tpot, true),
            ),
        ]
    }

    /// Lines that say when something happened.
    fn moments(&self, output: &RunOutput) -> Vec<Reference> {
        let vertical = |name: String, at: f64| Reference { name, at, vertical: true };
        let from = output.measured_from.as_secs_f64();
        let warm = (from > 0.0).then(|| vertical("measured from".to_owned(), from));
        let faults = events(self).into_iter().filter(|event| event.is_fault);
        let faults = faults.map(|fault| vertical(fault.what, fault.at));
        warm.into_iter().chain(faults.take(3)).collect()
    }

    fn series_pictures(&self, output: &RunOutput) -> Vec<Option<Picture>> {
        let moments = self.moments(output);
        let time = || Chart::time(output.end.as_secs_f64());
        let windows = &output.windows;
        let middle = |window: &sim_models::system::recorder::SystemWindow| {
            window.start.as_secs_f64() + window.width.as_secs_f64() / 2.0
        };
        let line =
            |name: &str, points: Vec<(f64, f64)>| Series { name: name.to_owned(), points, mark: Mark::Line };
        let chart =
            |name: &str, title: &str, caption: &str, y: Axis, series: Vec<Series>, extra: Vec<Reference>| {
                let references = moments.iter().cloned().chain(extra).collect();
                Picture::new(name, title, caption, Drawing::Chart(Chart { x: time(), y, series, references }))
            };
        let rate = |count: &dyn Fn(&sim_models::system::recorder::SystemWindow) -> u64| {
            let whole = windows.iter().filter(|window| window.width.as_secs_f64() > 0.0);
            whole.map(|window| (middle(window), count(window) as f64 / window.width.as_secs_f64())).collect()
        };
        let mut rates = vec![line("born", rate(&|window| window.born))];
        rates.push(line("answered", rate(&|window| window.outcomes[0] + window.outcomes[1])));
        for (name, outcome) in [("rejected", 2), ("timed out", 3), ("failed", 4)] {
            if windows.iter().any(|window| window.outcomes[outcome] > 0) {
                rates.push(line(name, rate(&|window| window.outcomes[outcome])));
            }
        }
        let latency = vec![
            line("mean", windows.iter().filter_map(|w| Some((middle(w), w.latency_mean? / 1e9))).collect()),
            line(
                "p99",
                windows.iter().filter_map(|w| Some((middle(w), w.latency_p99? as f64 / 1e9))).collect(),
            ),
        ];
        let in_flight =
            vec![line("in the system", windows.iter().map(|w| (middle(w), w.in_flight as f64)).collect())];
        let by_component = |value: &dyn Fn(&sim_models::system::recorder::ComponentWindow) -> Option<f64>| {
            let count = output.components.len();
            let all = output.components.iter().enumerate().filter(|(_, component)| !component.is_source);
            let mut series: Vec<Series> = all
                .map(|(place, component)| {
                    let rows = output.component_windows.chunks_exact(count.max(1));
                    let points = windows.iter().zip(rows);
                    let points =
                        points.filter_map(|(window, row)| Some((middle(window), value(&row[place])?)));
                    line(&component.name, points.collect())
                })
                .filter(|series| series.points.iter().any(|(_, y)| *y > 0.0))
                .collect();
            let sum = |series: &Series| series.points.iter().map(|(_, y)| y).sum::<f64>();
            series.sort_by(|a, b| sum(b).total_cmp(&sum(a)));
            let left = series.len().saturating_sub(MOST);
            series.truncate(MOST);
            (series, left)
        };
        let rest = |left: usize| match left {
            0 => String::new(),
            1 => " One component with less is left out.".to_owned(),
            left => format!(" {left} components with less are left out."),
        };
        let (queues, queues_left) = by_component(&|window| Some(window.queue));
        let (used, used_left) =
            by_component(&|window| (window.capacity > 0.0).then(|| window.busy / window.capacity));
        let (kv, kv_left) = by_component(&|window| {
            let (used, total) = (window.signals.kv_used as f64, window.signals.kv_total as f64);
            (total > 0.0).then(|| used / total)
        });
        vec![
            chart(
                "rates",
                "Requests a second",
                "How many requests were born and how many ended, by window.",
                Axis::linear("requests a second", Unit::Number("1/s")),
                rates,
                Vec::new(),
            ),
            chart(
                "latency-series",
                "Latency",
                "Of the requests answered in each window.",
                Axis::linear("latency", Unit::Seconds),
                latency,
                bounds("", self.scenario.slo.latency, false),
            ),
            chart(
                "in-flight",
                "Requests in the system",
                "Born and not ended, at the end of each window. A number that keeps rising is an overload.",
                Axis::linear("requests in the system", Unit::Number("")),
                in_flight,
                Vec::new(),
            ),
            chart(
                "queues",
                "Calls waiting",
                &format!("Mean over each window, by component.{}", rest(queues_left)),
                Axis::linear("calls waiting", Unit::Number("")),
                queues,
                Vec::new(),
            ),
            chart(
                "utilization",
                "Servers in use",
                &format!(
                    "Share of the servers (of an LLM pool: of the places in its batch) that were busy in each window.{}",
                    rest(used_left)
                ),
                Axis::linear("in use", Unit::Share),
                used,
                Vec::new(),
            ),
            chart(
                "kv",
                "KV memory in use",
                &format!(
                    "Share of the KV cache of each LLM pool, at the end of each window.{}",
                    rest(kv_left)
                ),
                Axis::linear("KV memory in use", Unit::Share),
                kv,
                Vec::new(),
            ),
        ]
    }

    /// The bill by component, made of what is paid for.
    fn resources(&self) -> Option<Picture> {
        let lines = self.cost_averages();
        let (mut components, mut parts): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for line in &lines {
            for (list, key) in [(&mut components, &line.keys[0]), (&mut parts, &line.keys[1])] {
                if !list.contains(key) {
                    list.push(key.clone());
                }
            }
        }
        let of = |component: &String, part: &String| {
            let own = lines.iter().filter(|line| line.keys[0] == *component && line.keys[1] == *part);
            own.filter_map(|line| line.mean("usd_per_month")).sum::<f64>().max(0.0)
        };
        let mut bars: Vec<(String, Vec<f64>)> = components
            .iter()
            .map(|component| (component.clone(), parts.iter().map(|part| of(component, part)).collect()))
            .collect();
        bars.retain(|(_, values)| values.iter().sum::<f64>() > 0.0);
        let sum = |bar: &(String, Vec<f64>)| bar.1.iter().sum::<f64>();
        bars.sort_by(|a, b| sum(b).total_cmp(&sum(a)));
        let total: f64 = bars.iter().map(sum).sum();
        let caption = bars.first().map_or(String::new(), |most| {
            let share = if total > 0.0 { sum(most) / total } else { 0.0 };
            format!("The bill is {} a month; {} of it goes to `{}`.", usd(total), percent(share), most.0)
        });
        let stack = Stack::new(Axis::linear("bill for a month of 730 hours", Unit::Usd), parts, bars);
        Picture::new("cost", "Cost by component", caption, Drawing::Stack(stack))
    }
}
