//! What helps where the system breaks: patterns that address the component, tried at the largest multiple.

use rayon::prelude::*;
use sim_models::feature_store::ReadMode;
use sim_models::link::link_ends;
use sim_models::system::ComponentConfig;

use super::diagnosis::{all, answers_hold};
use super::{FirstBreak, Limit, StressTest};
use crate::language::{Loaded, path_text};
use crate::results::RunResult;
use crate::results::findings::blamed;

/// Room above what the limit says is needed.
const ROOM: f64 = 1.1;

/// Most components that are given more, one after the other, until the goal is reached.
const ROUNDS: usize = 8;

/// Something that may help, and what came of it at the largest multiple.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendation {
    /// The pattern, in words.
    pub name: String,
    /// What to change: overrides as `--set` takes them, or the name of a variant as `--variant` does.
    pub change: Vec<String>,
    /// Whether answers keep to the SLO at the multiple.
    pub holds: bool,
    /// Good answers a second at the multiple.
    pub goodput_per_s: f64,
    /// How many more that are than without it.
    pub gain_per_s: f64,
    /// The bill for a month at the multiple, in USD.
    pub usd_per_month: f64,
    /// How much more that is than without it.
    pub added_usd_per_month: f64,
}

impl Recommendation {
    /// Good answers a second for every added dollar a month; infinite where nothing is added.
    pub fn gain_per_dollar(&self) -> f64 {
        if self.added_usd_per_month > 0.0 {
            self.gain_per_s / self.added_usd_per_month
        } else {
            f64::INFINITY
        }
    }
}

/// A change to try.
struct Idea {
    name: String,
    change: Vec<String>,
    loaded: Loaded,
}

impl StressTest<'_> {
    /// What helps at the largest multiple, each tried in one replication: those that hold first, then by gain per
    /// dollar; what gains nothing is left out. With the variants of the file among them.
    pub fn recommendations(&self, first: &FirstBreak, limit: Limit) -> Vec<Recommendation> {
        let Some(goal) = self.options.multipliers.last().copied() else { return Vec::new() };
        let Ok(before) = self.run_grown(&self.loaded.scenario, goal, Some(1), false) else {
            return Vec::new();
        };
        let need = ROOM * goal / limit.passes.unwrap_or(1.0).min(goal);
        let mut ideas: Vec<Idea> = first
            .component
            .iter()
            .flat_map(|name| patterns(self.loaded, name, need))
            .filter_map(|(name, change)| Some(Idea { loaded: self.loaded.with(&change).ok()?, name, change }))
            .collect();
        ideas.extend(self.more_of_all(goal, &before));
        let own = self.loaded.scenario.variant.iter().map(|variant| &variant.name);
        for name in own.filter(|name| **name != self.loaded.variant) {
            let Ok(loaded) = self.loaded.variant(name) else { continue };
            if loaded.hash() != self.loaded.hash() {
                let change = vec![format!("--variant {name}")];
                ideas.push(Idea { name: format!("the variant `{name}`"), change, loaded });
            }
        }
        let tried = ideas.into_par_iter().filter_map(|idea| {
            let result = self.run_grown(&idea.loaded.scenario, goal, Some(1), false).ok()?;
            Some(outcome(idea.name, idea.change, &before, &result))
        });
        let mut list: Vec<Recommendation> = tried.collect();
        let held = answers_hold(&before);
        list.retain(|tried| (tried.holds && !held) || tried.gain_per_s > 0.01 * tried.goodput_per_s);
        list.sort_by(|a, b| {
            let by_dollar = b.gain_per_dollar().total_cmp(&a.gain_per_dollar());
            b.holds.cmp(&a.holds).then(by_dollar).then(b.gain_per_s.total_cmp(&a.gain_per_s))
        });
        list
    }

    /// More of whatever breaks, until the goal is reached; none where one component is enough, or where there cannot be
    /// more of something.
    fn more_of_all(&self, goal: f64, before: &RunResult) -> Option<Idea> {
        let mut change: Vec<String> = Vec::new();
        let mut loaded = self.loaded.clone();
        let mut changed: Vec<String> = Vec::new();
        let mut grown: Option<RunResult> = None;
        for _ in 0..ROUNDS {
            if self.progress.is_cancelled() {
                return None;
            }
            let result = grown.as_ref().unwrap_or(before);
            if answers_hold(result) {
                break;
            }
            let found = blamed(result);
            let short: Vec<_> = found.iter().filter(|blamed| blamed.waits_for.is_empty()).collect();
            let known = change.len();
            for blamed in short {
                // A component that is only full may lack anything: give it half as much again.
                let need = if blamed.load > 1.0 { blamed.load * ROOM } else { 1.5 };
                let (_, sets) = patterns(&loaded, &blamed.component, need).into_iter().next()?;
                change.extend(sets);
                changed.push(format!("`{}`", blamed.component));
            }
            if change.len() == known {
                return None;
            }
            loaded = self.loaded.with(&change).ok()?;
            grown = Some(self.run_grown(&loaded.scenario, goal, Some(1), false).ok()?);
        }
        changed.sort();
        changed.dedup();
        // Later overrides of one path take the place of earlier ones.
        let path_of = |set: &String| set.split('=').next().unwrap_or_default().to_owned();
        let last: Vec<String> = change
            .iter()
            .enumerate()
            .filter(|(place, set)| !change[place + 1..].iter().any(|later| path_of(later) == path_of(set)))
            .map(|(_, set)| set.clone())
            .collect();
        (changed.len() > 1).then(|| Idea {
            name: format!("more of {}", changed.join(", ")),
            change: last,
            loaded,
        })
    }
}

fn outcome(name: String, change: Vec<String>, before: &RunResult, result: &RunResult) -> Recommendation {
    let figure = |run: &RunResult, column: &str| all(run).and_then(|row| row.mean(column)).unwrap_or(0.0);
    let [goodput_per_s, usd_per_month] =
        ["goodput_per_s", "cost_usd_per_month"].map(|column| figure(result, column));
    Recommendation {
        name,
        change,
        holds: answers_hold(result),
        goodput_per_s,
        gain_per_s: goodput_per_s - figure(before, "goodput_per_s"),
        usd_per_month,
        added_usd_per_month: usd_per_month - figure(before, "cost_usd_per_month"),
    }
}

/// Patterns that address a component, more capacity first: `need` times as much is wanted.
fn patterns(loaded: &Loaded, name: &str, need: f64) -> Vec<(String, Vec<String>)> {
    let Some(component) = loaded.scenario.components.get(name) else { return Vec::new() };
    let at = |key: &str| path(&["components", name, key]);
    let more = |count: u32| ((f64::from(count) * need).ceil() as u32).max(count + 1);
    let mut list: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |what: String, sets: Vec<String>| list.push((what, sets));
    match component {
        ComponentConfig::Llm(llm) => {
            if llm.autoscaler.is_none() {
                let replicas = more(llm.replicas.get());
                add(
                    format!("{replicas} replicas of `{name}`"),
                    vec![format!("{}={replicas}", at("replicas"))],
                );
            }
            if llm.precision.is_none() {
                add(format!("8-bit weights for `{name}`"), vec![format!("{}=fp8", at("precision"))]);
            }
            if llm.queue_cap.is_none() {
                let cap = llm.max_num_seqs.div_ceil(2);
                add(format!("a short queue for `{name}`"), vec![format!("{}={cap}", at("queue_cap"))]);
            }
        }
        ComponentConfig::Service(service) => {
            match service.replicas {
                Some(replicas) if service.autoscaler.is_none() => {
                    let replicas = more(replicas.get());
                    add(
                        format!("{replicas} replicas of `{name}`"),
                        vec![format!("{}={replicas}", at("replicas"))],
                    );
                }
                None if service.autoscaler.is_none() => {
                    let servers = more(service.servers.get());
                    add(
                        format!("{servers} servers for `{name}`"),
                        vec![format!("{}={servers}", at("servers"))],
                    );
                }
                _ => {}
            }
            if service.queue_cap.is_none() {
                let cap = 2 * service.servers.get();
                let drop = format!("{}={{ drop_expired = true }}", at("admission"));
                add(
                    format!("load shedding at `{name}`: a short queue without those who have left"),
                    [
                        vec![format!("{}={cap}", at("queue_cap"))],
                        if service.admission.is_none() { vec![drop] } else { vec![] },
                    ]
                    .concat(),
                );
            }
        }
        // One that scales by itself has as many as it asks for.
        ComponentConfig::ModelServer(server) if server.autoscaler.is_none() => {
            let replicas = more(server.replicas.map_or(1, std::num::NonZeroU32::get));
            add(format!("{replicas} replicas of `{name}`"), vec![format!("{}={replicas}", at("replicas"))]);
        }
        ComponentConfig::FeatureStore(store) => {
            if let Some(connections) = store.connections {
                let connections = more(connections.get());
                add(
                    format!("{connections} connections to `{name}`"),
                    vec![format!("{}={connections}", at("connections"))],
                );
            }
            if store.read != ReadMode::MultiGet {
                add(
                    format!("all features of `{name}` in one read"),
                    vec![format!("{}=multi_get", at("read"))],
                );
            }
            if store.cache.is_none() {
                let cache = "{ capacity = 100000, ttl = \"1min\" }";
                add(format!("a cache in front of `{name}`"), vec![format!("{}={cache}", at("cache"))]);
            }
        }
        ComponentConfig::VectorIndex(index) => {
            let threads = more(index.threads.get());
            add(
                format!("{threads} threads for each shard of `{name}`"),
                vec![format!("{}={threads}", at("threads"))],
            );
        }
        ComponentConfig::ExternalApi(api) => {
            let mut sets = Vec::new();
            if let Some(limit) = api.tokens_per_minute {
                sets.push(format!("{}={}", at("tokens_per_minute"), (limit.get() as f64 * need).ceil()));
            }
            if let Some(limit) = api.requests_per_minute {
                sets.push(format!(
                    "{}={}",
                    at("requests_per_minute"),
                    (f64::from(limit.get()) * need).ceil()
                ));
            }
            if !sets.is_empty() {
                add(format!("higher limits of `{name}`"), sets);
            }
        }
        ComponentConfig::Queue(queue) => {
            let consumers = more(queue.consumers.get());
            add(
                format!("{consumers} consumers of `{name}`"),
                vec![format!("{}={consumers}", at("consumers"))],
            );
        }
        ComponentConfig::Pipeline(pipeline) => {
            let workers = more(pipeline.workers.get());
            add(format!("{workers} workers for `{name}`"), vec![format!("{}={workers}", at("workers"))]);
        }
        _ => {}
    }
    let patient: Vec<String> = loaded
        .scenario
        .links
        .iter()
        .filter(|(link, config)| {
            link_ends(link).is_some_and(|(_, callee)| callee == name)
                && config.timeout.is_some()
                && !config.cancel_on_timeout
        })
        .map(|(link, _)| format!("{}=true", path(&["links", link, "cancel_on_timeout"])))
        .collect();
    if !patient.is_empty() {
        list.push((format!("work of `{name}` that nobody waits for is cancelled"), patient));
    }
    if matches!(component, ComponentConfig::Llm(_) | ComponentConfig::ExternalApi(_)) {
        list.extend(semantic_cache(loaded));
    }
    list
}

/// A cache in front of everything, where requests have topics.
fn semantic_cache(loaded: &Loaded) -> Option<(String, Vec<String>)> {
    let scenario = &loaded.scenario;
    let (source, traffic) = scenario.traffic.iter().find(|(_, traffic)| traffic.topics.is_some())?;
    let has_one = scenario.components.values().any(|component| component.kind() == "semantic_cache");
    if has_one || scenario.components.contains_key("semantic-cache") {
        return None;
    }
    // Time and price of embedding and search: assumptions, as in the library's own scenarios.
    let cache = format!(
        "components.semantic-cache={{ kind = \"semantic_cache\", call = {:?}, max_size = 20000, \
         similarity_threshold = 0.85, latency = {{ lognormal = {{ p50 = \"15ms\", p99 = \"60ms\" }} }}, \
         price_per_lookup = \"$0.000002\" }}",
        traffic.entry
    );
    let entry = format!("{}=semantic-cache", path(&["traffic", source, "entry"]));
    Some(("a semantic cache in front (its hits are assumptions)".to_owned(), vec![cache, entry]))
}

/// A path as overrides take it.
fn path(keys: &[&str]) -> String {
    path_text(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>())
}
