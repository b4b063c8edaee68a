//! The scenario of what the visits add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Value, json};
use sim_models::traffic::trace::{MAX_RECORDS, Trace, TraceFormat};

use super::law::{mean, quantile, rounded, time, times, tokens};
use super::read::Spans;
use super::sessions::{Arrival, Sessions, whole};
use super::tally::{Calls, Class, Pattern, Tally, Worker};
use super::visits::{Callee, Visits};
use super::{ImportOptions, Imported};
use crate::language::{ScenarioError, parse};
use crate::results::show::plural;
use crate::run::RunOptions;

/// Calls a visit below which a callee is left out, and the same distance from a whole number that is none (assumptions).
const RARE: f64 = 0.05;
/// Seconds of network, or of own work, that are not worth a line (assumption).
const NOTHING: f64 = 1e-5;
/// Requests of a run of the scenario, about (assumption: enough for a p99).
const REQUESTS: f64 = 2_000.0;
/// Arrivals from which on their spread is told from chance, and the coefficients of variation that are not (assumptions).
const ENOUGH: usize = 200;
const LIKE_POISSON: std::ops::RangeInclusive<f64> = 0.8..=1.25;
/// The component that a call goes to which only some visits make, in the others.
const NOTHING_DONE: &str = "nothing";

#[derive(Clone)]
pub(super) struct Builder<'a> {
    spans: &'a Spans,
    tally: &'a Tally,
    pub(super) gpu: Option<&'a str>,
    /// Share of requests that were traced.
    share: f64,
    /// Names of the classes of [`Tally::classes`].
    classes: Vec<String>,
    names: BTreeSet<String>,
    made: BTreeMap<Callee, String>,
    components: IndexMap<String, Value>,
    links: IndexMap<String, Value>,
    notes: Vec<String>,
}

pub(super) fn build(
    path: &Path,
    spans: &Spans,
    visits: &Visits,
    tally: &Tally,
    options: &ImportOptions,
) -> Result<Imported, ScenarioError> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut times: Vec<u64> = visits.roots.iter().map(|root| visits.all[*root].start).collect();
    times.sort_unstable();
    let window = times.last().copied().unwrap_or(0) - times.first().copied().unwrap_or(0);
    if times.len() < 2 || window == 0 {
        return Err(ScenarioError::new(format!(
            "{} from outside at one time: no rate can be told",
            plural(times.len() as f64, "request")
        ))
        .with_help("expected the traces of some minutes at least")
        .in_file(path.display()));
    }
    // So many gaps, and one more before the first.
    let seconds = window as f64 / 1e9 * times.len() as f64 / (times.len() - 1) as f64;
    let share = options.sampled.or(visits.kept.map(|(least, _)| least)).unwrap_or(1.0);
    if times.len() as f64 / share > MAX_RECORDS as f64 {
        let requests = plural(times.len() as f64, "request");
        let least = times.len() as f64 / MAX_RECORDS as f64;
        return Err(ScenarioError::new(format!(
            "a share of {share:?} of the requests is traced: {requests} of it stand for more than {MAX_RECORDS}"
        ))
        .with_help(format!("expected a share of at least {least:?} with so many"))
        .in_file(path.display()));
    }
    let mut builder = Builder {
        spans,
        tally,
        gpu: options.gpu.as_deref(),
        share,
        classes: Vec::new(),
        // What stands for a call that is not made.
        names: BTreeSet::from([NOTHING_DONE.to_owned()]),
        made: BTreeMap::new(),
        components: IndexMap::new(),
        links: IndexMap::new(),
        notes: Vec::new(),
    };
    // Services keep their names; what comes from outside is called by its operation.
    let entries: BTreeSet<usize> = tally.classes.iter().map(|class| class.entry).collect();
    for service in 0..spans.services.len() {
        let name = builder.name(&spans.services[service]);
        builder.made.insert(Callee::Service(service), name);
    }
    for class in &tally.classes {
        let operation =
            class.operation.clone().unwrap_or_else(|| format!("other of {}", spans.services[class.entry]));
        let name = builder.name(&operation);
        builder.classes.push(name);
    }
    for entry in entries {
        builder.component(entry);
    }
    let rate = times.len() as f64 / seconds / builder.share;
    let minutes = (REQUESTS / rate / 60.0).ceil().clamp(1.0, 24.0 * 60.0);
    let description = format!(
        "From {}: {} in {}.",
        plural(spans.count as f64, "span"),
        plural(times.len() as f64, "request"),
        time(seconds.round()),
    );
    let text = |builder: &Builder, run: Value, traffic: IndexMap<String, Value>| {
        let scenario = json!({
            "name": format!("As traced in {file}"), "description": description, "run": run, "traffic": traffic,
            "components": builder.components, "links": builder.links,
        });
        let scenario: crate::Scenario = serde_json::from_value(scenario)
            .map_err(|error| ScenarioError::new(error).in_file(path.display()))?;
        let mut text = format!("# Made by `tenfold import otel` of {file}.\n");
        for note in &builder.notes {
            text += &format!("# - {note}\n");
        }
        Ok::<_, ScenarioError>(text + &format!("\n{}", scenario.to_toml()))
    };
    let parse = |text: &str| parse(text, "the scenario that was made", Path::new("."), &[]);
    let mut random = builder.clone();
    let traffic = random.traffic(seconds);
    random.say_what_is_unsaid(visits);
    let at_random = text(&random, json!({ "duration": time(minutes * 60.0) }), traffic)?;
    // A model that does not fit its GPU is told here, and not by the first run.
    crate::check(&parse(&at_random)?, &RunOptions::default())?;
    let (text, traces, notes) = match &options.replay {
        None => (at_random, Vec::new(), random.notes),
        Some(prefix) => {
            let (traffic, traces) = builder.replay(prefix, times[0]);
            builder.say_what_is_unsaid(visits);
            for (name, csv) in &traces {
                Trace::read(csv.as_bytes(), name, TraceFormat::Generic).map_err(ScenarioError::new)?;
            }
            let replayed = text(&builder, json!({}), traffic)?;
            parse(&replayed)?;
            (replayed, traces, builder.notes)
        }
    };
    Ok(Imported { text, traces, notes, spans: spans.count, requests: times.len() })
}

impl Builder<'_> {
    /// A name that no other component, traffic or class has.
    fn name(&mut self, wanted: &str) -> String {
        let mut name = String::new();
        for c in wanted.chars().take(60) {
            match c.is_ascii_alphanumeric() || c == '_' || c == '.' {
                true => name.push(c),
                false if !name.is_empty() && !name.ends_with('-') => name.push('-'),
                false => {}
            }
        }
        let name = name.trim_end_matches('-');
        let name = if name.is_empty() { "unnamed" } else { name };
        let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !self.names.contains(name));
        let name = free.unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The component of a callee, made when it is first asked for.
    fn callee(&mut self, callee: &Callee) -> String {
        match callee {
            Callee::Service(service) => self.component(*service),
            Callee::Outside(called) => {
                if let Some(name) = self.made.get(callee) {
                    return name.clone();
                }
                let name = self.name(called);
                self.made.insert(callee.clone(), name.clone());
                if let Some(worker) = self.tally.workers.get(callee) {
                    let config = self.worker(&name, worker, 1);
                    self.components.insert(name.clone(), config);
                }
                name
            }
        }
    }

    /// The component of a service: its work, or a flow of its work and what it calls.
    fn component(&mut self, service: usize) -> String {
        let callee = Callee::Service(service);
        let name = self.made[&callee].clone();
        let tally = self.tally;
        let (Some(worker), false) = (tally.workers.get(&callee), self.components.contains_key(&name)) else {
            return name;
        };
        // Callers stand above those whom they call.
        self.components.insert(name.clone(), Value::Null);
        let patterns = &tally.patterns[&service];
        let calls = |pattern: &Pattern| pattern.calls.values().any(|calls| often(calls, pattern) >= RARE);
        if !patterns.values().any(calls) {
            let replicas = self.spans.instances[service].len().max(1);
            self.components[&name] = self.worker(&name, worker, replicas);
            return name;
        }
        let mut steps = Vec::new();
        let works = mean(&worker.seconds) >= NOTHING;
        if works {
            let work = self.name(&format!("{name}-work"));
            steps.push(json!(work));
            let config = self.service(worker);
            self.components.insert(work, config);
        }
        // What several classes do alike is said once.
        let mut alike: Vec<(Vec<Value>, Vec<usize>)> = Vec::new();
        for (class, pattern) in patterns {
            let steps = self.steps(service, &name, pattern);
            match alike.iter_mut().find(|(other, _)| *other == steps) {
                Some((_, classes)) => classes.push(*class),
                None => alike.push((steps, vec![*class])),
            }
        }
        let lists: Vec<&[Value]> = alike.iter().map(|(steps, _)| &steps[..]).collect();
        let shortest = lists.iter().map(|list| list.len()).min().unwrap_or(0);
        let before = common(&lists, |list, place| list.get(place));
        let after = common(&lists, |list, place| list.iter().rev().nth(place)).min(shortest - before);
        let last = lists[0][lists[0].len() - after..].to_vec();
        steps.extend_from_slice(&lists[0][..before]);
        for (of_classes, classes) in &alike {
            let classes: Vec<&str> = classes.iter().map(|class| self.classes[*class].as_str()).collect();
            let own = &of_classes[before..of_classes.len() - after];
            steps.extend(own.iter().map(|step| {
                let mut step = step.clone();
                if step.is_string() {
                    step = json!({ "call": step });
                }
                step["classes"] = json!(classes);
                step
            }));
        }
        steps.extend(last);
        self.components[&name] = json!({ "kind": "flow", "steps": steps });
        name
    }

    /// What a service calls, in the order in which it does.
    fn steps(&mut self, service: usize, name: &str, pattern: &Pattern) -> Vec<Value> {
        let mut called: Vec<(&Callee, &Calls, f64)> = Vec::new();
        for (callee, calls) in &pattern.calls {
            match often(calls, pattern) {
                rare if rare < RARE => {
                    let to = self.shown(callee);
                    self.note(format!(
                        "calls of `{name}` to `{to}` are left out where they are rarer than one in {} visits",
                        (1.0 / RARE).round()
                    ));
                }
                often => called.push((callee, calls, often)),
            }
        }
        let median = |calls: &Calls| {
            let mut offsets: Vec<f64> = calls.offsets.iter().map(|offset| *offset as f64).collect();
            offsets.sort_by(f64::total_cmp);
            quantile(&offsets, 0.5)
        };
        called.sort_by(|a, b| median(a.1).total_cmp(&median(b.1)).then(a.0.cmp(b.0)));
        let mut groups: Vec<Vec<(&Callee, &Calls, f64)>> = Vec::new();
        for one in called {
            match groups.last_mut() {
                Some(group) if group.iter().all(|other| pattern.is_parallel(other.0, one.0)) => {
                    group.push(one)
                }
                _ => groups.push(vec![one]),
            }
        }
        let mut steps = Vec::new();
        for group in groups {
            let is_alone = group.len() == 1;
            let mut parallel = Vec::new();
            for (callee, calls, often) in group {
                let to = self.callee(callee);
                let (step, times) = self.to(service, name, callee, &to, often);
                if is_alone && (times == 1 || 2 * calls.overlapping <= calls.several) {
                    steps.push(match times {
                        1 => json!(step),
                        times => json!({ "call": step, "repeat": times }),
                    });
                } else {
                    parallel.extend(std::iter::repeat_n(step, times));
                }
            }
            if !parallel.is_empty() {
                parallel.sort();
                steps.push(json!({ "parallel": parallel }));
            }
        }
        steps
    }

    /// What stands for a call in the steps of its caller, and how many times.
    fn to(&mut self, service: usize, name: &str, callee: &Callee, to: &str, often: f64) -> (String, usize) {
        let times = often.round().max(1.0);
        let (mut from, mut step) = (name.to_owned(), to.to_owned());
        if often < 1.0 - RARE {
            // Some visits only: a coin is tossed.
            let share = (often * 1e3).round() / 1e3;
            from = self.name(&format!("{name}-or-not-{to}"));
            step.clone_from(&from);
            let nothing = json!({ "kind": "service", "service_time": "0s", "servers": 1000 });
            self.components.insert(
                from.clone(),
                json!({
                    "kind": "router", "policy": "random", "shares": { to: share, (NOTHING_DONE): 1.0 - share },
                }),
            );
            self.components.entry(NOTHING_DONE.into()).or_insert(nothing);
        } else if (often - times).abs() > RARE {
            self.note(format!("`{name}` calls `{to}` {often:.2} times a visit; {times} are written"));
        }
        if let Callee::Service(callee) = callee
            && let Some(network) = self.tally.network.get(&(service, *callee))
            && mean(network) >= NOTHING
        {
            let latency = times_of(network);
            self.links.insert(format!("{from} -> {to}"), json!({ "latency": latency }));
        }
        (step, times as usize)
    }

    /// What works by itself: a service, or a model.
    fn worker(&mut self, name: &str, worker: &Worker, replicas: usize) -> Value {
        match &worker.answers {
            Some(answers) => self.model(name, worker, answers, replicas),
            None => self.service(worker),
        }
    }

    fn service(&self, worker: &Worker) -> Value {
        let servers = (worker.peak() as f64 / self.share).ceil();
        let time = times_of(&worker.seconds);
        with_errors(json!({ "kind": "service", "service_time": time, "servers": servers as u64 }), worker)
    }

    /// What comes from outside, at random.
    fn traffic(&mut self, seconds: f64) -> IndexMap<String, Value> {
        let tally = self.tally;
        let mut traffic = IndexMap::new();
        for (number, class) in tally.classes.iter().enumerate() {
            let name = self.classes[number].clone();
            let sessions = self.sessions(class, &name);
            let starts = match &sessions {
                Some(sessions) => sessions.starts.clone(),
                None => class.arrivals.iter().map(|arrival| arrival.at).collect(),
            };
            let rate = rounded(starts.len() as f64 / seconds / self.share);
            let mut arrivals = json!({ "process": "poisson", "rate": format!("{rate}/s") });
            if let Some(cv) = spread(starts)
                && !LIKE_POISSON.contains(&cv)
                && self.share == 1.0
            {
                let cv = rounded(cv.clamp(0.01, 10.0));
                arrivals = json!({ "process": "gamma", "rate": format!("{rate}/s"), "cv": cv });
                self.note(format!(
                    "gaps between the arrivals of `{name}` have a coefficient of variation of {cv:.2} (Poisson: 1); \
                     whether that is bursts or a rate that changes is not told apart: --replay keeps them"
                ));
            }
            let mut source = self.source(class.entry, arrivals);
            if tally.classes.len() > 1 {
                source["priority"] = json!({ name.as_str(): 1.0 });
            }
            for (key, lengths) in
                [("prompt_tokens", &class.prompt_tokens), ("output_tokens", &class.output_tokens)]
            {
                if let Some(law) = tokens(lengths.clone()) {
                    source[key] = law;
                }
                if lengths.len() > class.arrivals.len() {
                    self.note(format!(
                        "a request of `{name}` asks models several times; all its calls have one length, drawn from all \
                         of theirs"
                    ));
                }
            }
            if let Some(Sessions { openings, config, .. }) = sessions {
                if let Some(law) = tokens(openings).filter(|_| !class.prompt_tokens.is_empty()) {
                    source["prompt_tokens"] = law;
                }
                source["sessions"] = config;
            }
            let name = self.name(&format!("{name}-traffic"));
            traffic.insert(name, source);
        }
        traffic
    }

    /// The sessions of a class, if it has conversations that can be told so.
    fn sessions(&mut self, class: &Class, name: &str) -> Option<Sessions> {
        let told = match Sessions::of(&class.arrivals, !class.prompt_tokens.is_empty()) {
            Ok(Some(_)) if self.share < 1.0 => Err("not all of their requests were traced"),
            told => told,
        };
        match told {
            Ok(sessions) => {
                if sessions.is_some() {
                    self.note(format!(
                        "conversations of `{name}` are sessions; those that were under way at either end of the traces \
                         count as far as they are in them"
                    ));
                }
                sessions
            }
            Err(why) => {
                self.note(format!("conversations of `{name}` are not told as sessions: {why}"));
                None
            }
        }
    }

    fn source(&self, entry: usize, arrivals: Value) -> Value {
        json!({ "arrivals": arrivals, "entry": self.made[&Callee::Service(entry)] })
    }

    /// What comes from outside, when it came: a source for each service that it comes to, and its trace.
    fn replay(&mut self, prefix: &str, start: u64) -> (IndexMap<String, Value>, Vec<(String, String)>) {
        let tally = self.tally;
        let mut rows: BTreeMap<usize, Vec<(&Arrival, usize)>> = BTreeMap::new();
        for (number, class) in tally.classes.iter().enumerate() {
            let of_class = class.arrivals.iter().map(|arrival| (arrival, number));
            rows.entry(class.entry).or_default().extend(of_class);
        }
        let (mut traffic, mut traces) = (IndexMap::new(), Vec::new());
        let has_classes = tally.classes.len() > 1;
        for (entry, mut rows) in rows {
            rows.sort_unstable();
            let sessions = whole(rows.iter().map(|(arrival, _)| *arrival));
            let mut csv = String::from("arrival_s,prompt_tokens,output_tokens");
            csv += if has_classes { ",class" } else { "" };
            csv += if sessions.is_empty() { "\n" } else { ",session_id\n" };
            for (Arrival { at, prompt, output, conversation, .. }, class) in rows {
                let at = at - start;
                csv += &format!("{}.{:09},{prompt},{output}", at / 1_000_000_000, at % 1_000_000_000);
                if has_classes {
                    csv += &format!(",{}", self.classes[class]);
                }
                if !sessions.is_empty() {
                    let session = conversation.as_ref().and_then(|name| sessions.get(name.as_str()));
                    csv += &session.map_or(",".to_owned(), |number| format!(",{number}"));
                }
                csv.push('\n');
            }
            let service = self.made[&Callee::Service(entry)].clone();
            let file = format!("{prefix}.{service}.csv");
            let mut arrivals = json!({ "process": "trace", "path": file, "format": "generic" });
            if self.share < 1.0 {
                arrivals["scale"] = json!(rounded(1.0 / self.share));
            }
            let source = self.source(entry, arrivals);
            let name = self.name(&format!("{service}-traffic"));
            traffic.insert(name, source);
            traces.push((file, csv));
        }
        (traffic, traces)
    }

    fn shown(&self, callee: &Callee) -> String {
        match callee {
            Callee::Service(service) => self.spans.services[*service].clone(),
            Callee::Outside(name) => name.clone(),
        }
    }

    /// What no trace can tell, and what these did not.
    fn say_what_is_unsaid(&mut self, visits: &Visits) {
        let circles = self.tally.circles.iter();
        let circles: Vec<String> = circles
            .map(|((from, to), count)| {
                let [from, to] = [from, to].map(|service| &self.spans.services[*service]);
                format!(
                    "{} of `{from}` to `{to}` would close a circle: their time is work of `{from}`",
                    plural(*count as f64, "call")
                )
            })
            .collect();
        let seconds: Vec<f64> = self.tally.classes.iter().flat_map(|class| class.latencies.clone()).collect();
        let failed: usize = self.tally.classes.iter().map(|class| class.failed).sum();
        let mut facts = vec![
            "how many calls a service can work on at once is in no trace: `servers` is the most that were seen at once".into(),
            "time that a call waited within a service counts as work; a service works first and calls others then".into(),
            "timeouts, retries, limits and prices are in no trace: give them in `links` and components".into(),
        ];
        facts.extend(circles);
        let said = [
            (self.share < 1.0).then(|| {
                format!(
                    "{:.4}% of the requests were traced: rates and servers are scaled up",
                    100.0 * self.share
                )
            }),
            visits.kept.filter(|(least, most)| least < most).map(|(least, most)| {
                format!(
                    "samplers kept from {:.4}% to {:.4}% of them: one share is taken for all",
                    100.0 * least,
                    100.0 * most
                )
            }),
            (visits.lost > 0).then(|| {
                format!("{} left out whose parents are not in the file", plural(visits.lost as f64, "span"))
            }),
            (visits.circular > 0).then(|| {
                format!(
                    "{} left out below parents that go round in a circle",
                    plural(visits.circular as f64, "span")
                )
            }),
            (self.spans.repeated > 0).then(|| {
                format!("{} left out that are there already", plural(self.spans.repeated as f64, "span"))
            }),
            (visits.messages > 0).then(|| {
                let messages = plural(visits.messages as f64, "message");
                format!("{messages} worked on later: nobody waits for that, so it is traffic of its own")
            }),
            (visits.skewed > 0).then(|| {
                format!(
                    "{} took longer than their callers waited: clocks differ, or callers gave up",
                    plural(visits.skewed as f64, "call")
                )
            }),
            (self.spans.without_time > 0).then(|| {
                format!(
                    "{} left out that have no end after their start",
                    plural(self.spans.without_time as f64, "span")
                )
            }),
            self.spans.is_cut.then(|| "the file ends within a line: what came before is taken".to_owned()),
        ];
        facts.extend(said.into_iter().flatten());
        if !seconds.is_empty() {
            let mut sorted = seconds;
            sorted.sort_by(f64::total_cmp);
            facts.insert(
                0,
                format!(
                    "as traced, requests took {} in the mean, p50 {}, p99 {}{}: see whether a run does",
                    time(mean(&sorted)),
                    time(quantile(&sorted, 0.5)),
                    time(quantile(&sorted, 0.99)),
                    if failed > 0 { format!(", and {failed} failed") } else { String::new() },
                ),
            );
        }
        facts.append(&mut self.notes);
        self.notes = facts;
    }
}

/// At how many places from one end all lists are alike.
fn common<'l>(lists: &[&'l [Value]], at: impl Fn(&'l [Value], usize) -> Option<&'l Value>) -> usize {
    let is_alike = |place: &usize| {
        let first = at(lists[0], *place);
        first.is_some() && lists.iter().all(|list| at(list, *place) == first)
    };
    (0..).take_while(is_alike).count()
}

fn often(calls: &Calls, pattern: &Pattern) -> f64 {
    calls.count as f64 / pattern.visits as f64
}

fn times_of(seconds: &[f64]) -> Value {
    times(seconds.to_vec()).unwrap_or_else(|| json!("0s"))
}

pub(super) fn with_errors(mut config: Value, worker: &Worker) -> Value {
    if worker.failed > 0 {
        config["error_rate"] = json!(rounded(worker.failed as f64 / worker.count as f64));
    }
    config
}

/// The coefficient of variation of the gaps between times, of enough of them.
fn spread(mut times: Vec<u64>) -> Option<f64> {
    times.sort_unstable();
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = mean(&gaps);
    let variance = gaps.iter().map(|gap| (gap - mean) * (gap - mean)).sum::<f64>() / gaps.len().max(1) as f64;
    (times.len() >= ENOUGH && mean > 0.0).then(|| variance.sqrt() / mean)
}
