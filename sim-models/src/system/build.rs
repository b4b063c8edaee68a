//! From a configuration to a world: names become numbers, and whatever does not fit is an error.

mod faults;

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use sim_core::engine::Simulation;
use sim_core::event::Phase;
use sim_core::random::{Purpose, Streams};
use sim_core::time::{SimDuration, SimTime};

use super::config::{ComponentConfig, SystemConfig};
use super::recorder::Recorder;
use super::zones::Zones;
use super::{System, labels};
use crate::admission::Door;
use crate::component::{Component, ComponentId, Signals};
use crate::context::{Core, Labels};
use crate::cost::CostMeter;
use crate::device::Devices;
use crate::error::ConfigError;
use crate::event::ModelEvent;
use crate::link::{CrossZoneConfig, LinkConfig, LinkId, LinkName, fallback, link_ends};
use crate::meter::{ComponentMeter, GoodputBounds, RequestMeter};
use crate::quality::Quality;
use crate::slab::Slab;
use crate::timeline::{Timeline, Window};
use crate::traffic::trace::Trace;
use faults::faults;

/// How a system is run.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Requests are born for this long.
    pub duration: SimDuration,
    /// How long the run goes on after that for requests that have not ended.
    pub drain: SimDuration,
    /// What happens before this is not measured.
    pub warmup: SimDuration,
    /// Number of windows of the time series.
    pub windows: u32,
    /// Seed of all randomness.
    pub seed: u64,
    /// Number of the replication: other luck under one seed.
    pub replication: u64,
    /// Load relative to the scenario's.
    pub scale: f64,
    /// What a good request keeps to, by class; classes that are not named take the entry of `""`.
    pub bounds: BTreeMap<String, GoodputBounds>,
    /// Orders simultaneous events by this seed instead of by scheduling, as a check.
    pub shuffle_ties: Option<u64>,
    /// Whether every request is kept by itself ([`RunOutput::journal`](super::RunOutput::journal)).
    pub journal: bool,
    /// Whether what is asked for is kept one by one ([`RunOutput::births`](super::RunOutput::births)).
    pub births: bool,
    /// The part of the run that is kept call by call ([`RunOutput::timeline`](super::RunOutput::timeline)).
    pub timeline: Option<Window>,
}

impl Default for RunPlan {
    fn default() -> Self {
        Self {
            duration: SimDuration::from_secs(600),
            drain: SimDuration::ZERO,
            warmup: SimDuration::ZERO,
            windows: 200,
            seed: 1,
            replication: 0,
            scale: 1.0,
            bounds: BTreeMap::new(),
            shuffle_ties: None,
            journal: false,
            births: false,
            timeline: None,
        }
    }
}

/// Traces that have been read, by the name of their traffic, already at the load of the run.
pub type Traces = BTreeMap<String, Arc<Trace>>;

/// What a component may use while it is made.
#[derive(Debug)]
pub struct Scope<'a> {
    name: &'a str,
    me: ComponentId,
    ids: &'a IndexMap<&'a str, ComponentId>,
    meters: &'a mut [ComponentMeter],
    cost: &'a mut CostMeter,
    devices: &'a mut Devices,
    labels: &'a Labels,
    quality: Option<&'a Quality>,
}

impl Scope<'_> {
    /// The component's name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The number of a component that [`super::ComponentConfig::callees`] named.
    ///
    /// # Panics
    /// When it did not name it.
    pub fn id(&self, name: &str) -> ComponentId {
        *self.ids.get(name).expect("callees() names every component that build() looks up")
    }

    /// Classes and tenants.
    pub fn labels(&self) -> &Labels {
        self.labels
    }

    /// Who is right, if the system says so.
    pub fn quality(&self) -> Option<&Quality> {
        self.quality
    }

    /// The component's meter, to set its capacity.
    pub fn meter(&mut self) -> &mut ComponentMeter {
        &mut self.meters[self.me.index()]
    }

    /// The bill, and the number to put a resource under.
    pub fn cost(&mut self) -> (&mut CostMeter, ComponentId) {
        (self.cost, self.me)
    }

    /// The GPUs that components share, and the number and the name to join one under.
    pub(crate) fn devices(&mut self) -> (&mut Devices, ComponentId, &str) {
        (self.devices, self.me, self.name)
    }
}

fn accepted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "there is none".to_owned(),
        names => format!("expected one of {}", names.join(", ")),
    }
}

/// Every call that can be made: caller and callee.
struct Calls<'a> {
    ids: IndexMap<&'a str, ComponentId>,
    pairs: Vec<(ComponentId, ComponentId)>,
}

/// Numbers everything that calls or is called, and collects the calls.
fn collect_calls(config: &SystemConfig) -> Result<Calls<'_>, ConfigError> {
    let mut ids = IndexMap::new();
    for (index, name) in config.traffic.keys().chain(config.components.keys()).enumerate() {
        let id = u16::try_from(index)
            .map_err(|_| ConfigError::new(["components"], "more than 65,536 components"))?;
        if ids.insert(name.as_str(), ComponentId(id)).is_some() {
            return Err(ConfigError::new(
                ["components", name],
                format!("`{name}` is also the name of a traffic source"),
            )
            .help("give one of them another name"));
        }
    }
    if let Some(name) = fallback::RESERVED.into_iter().find(|name| config.components.contains_key(*name)) {
        let message = format!("`{name}` is a word of fallback chains, not a name");
        return Err(ConfigError::new(["components", name], message).help("give it another name"));
    }
    let components = || config.components.keys().map(String::as_str);
    let mut pairs = Vec::new();
    let mut add = |caller: &str, callee: &str, path: Vec<String>| {
        if !config.components.contains_key(callee) {
            return Err(
                ConfigError::new(path, format!("unknown component `{callee}`")).help(accepted(components()))
            );
        }
        let pair = (ids[caller], ids[callee]);
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
        Ok(())
    };
    for (name, traffic) in &config.traffic {
        add(name, &traffic.entry, vec!["traffic".into(), name.clone(), "entry".into()])?;
    }
    for name in config.components.keys() {
        for (path, callee) in component_callees(config, name) {
            add(name, callee, path)?;
        }
    }
    for name in config.traffic.keys().chain(config.components.keys()) {
        for (path, callee) in fallback_callees(config, name) {
            add(name, callee, path)?;
        }
    }
    Ok(Calls { ids, pairs })
}

/// Whom a component calls: for each the place in the configuration that says so.
fn component_callees<'a>(
    config: &'a SystemConfig,
    name: &str,
) -> impl Iterator<Item = (Vec<String>, &'a str)> {
    let name = name.to_owned();
    config.components[&name].callees().into_iter().map(move |(place, callee)| {
        let mut path = vec!["components".to_owned(), name.clone()];
        path.extend(place);
        (path, callee)
    })
}

/// Whom the links of a component or of a traffic source fall back on.
fn fallback_callees<'a>(
    config: &'a SystemConfig,
    caller: &str,
) -> impl Iterator<Item = (Vec<String>, &'a str)> {
    let of_caller =
        config.links.iter().filter(move |(name, _)| link_ends(name).is_some_and(|ends| ends.0 == caller));
    of_caller.flat_map(|(name, link)| {
        fallback::targets(link).map(move |(place, target)| {
            let mut path = vec!["links".to_owned(), name.clone()];
            path.extend(place);
            (path, target)
        })
    })
}

/// A request that could come back to where it was would never end.
fn refuse_cycles(config: &SystemConfig) -> Result<(), ConfigError> {
    /// Depth first; `trail` is the way from a start to here.
    fn visit<'a>(
        config: &'a SystemConfig,
        name: &'a str,
        trail: &mut Vec<&'a str>,
        done: &mut Vec<&'a str>,
    ) -> Result<(), ConfigError> {
        if done.contains(&name) {
            return Ok(());
        }
        trail.push(name);
        for (path, callee) in component_callees(config, name).chain(fallback_callees(config, name)) {
            if let Some(start) = trail.iter().position(|seen| *seen == callee) {
                let mut way: Vec<&str> = trail[start..].to_vec();
                way.push(callee);
                return Err(ConfigError::new(path, format!("a cycle of calls: {}", way.join(" -> ")))
                    .help("a component must not call one that calls it; use `repeat` in a flow for loops"));
            }
            visit(config, callee, trail, done)?;
        }
        trail.pop();
        done.push(name);
        Ok(())
    }
    let mut done = Vec::new();
    config.components.keys().try_for_each(|name| visit(config, name, &mut Vec::new(), &mut done))
}

/// A pipeline runs by its own schedule and fills feature stores; a local cache needs entities.
fn check_data_side(config: &SystemConfig) -> Result<(), ConfigError> {
    let of = |name: &str| config.components.get(name);
    let refuse = |path: Vec<String>, name: &str| {
        let kind = of(name).map_or("", ComponentConfig::kind);
        let message = format!("`{name}` is a {kind}, which runs by its own schedule and answers no calls");
        Err(ConfigError::new(path, message).help("name a component that serves calls"))
    };
    for (name, traffic) in &config.traffic {
        if of(&traffic.entry).is_some_and(|component| !component.answers_calls()) {
            return refuse(vec!["traffic".into(), name.clone(), "entry".into()], &traffic.entry);
        }
        for (path, target) in fallback_callees(config, name) {
            if of(target).is_some_and(|component| !component.answers_calls()) {
                return refuse(path, target);
            }
        }
    }
    for (name, component) in &config.components {
        let is_pipeline = matches!(component, ComponentConfig::Pipeline(_));
        for (path, callee) in component_callees(config, name).chain(fallback_callees(config, name)) {
            match of(callee) {
                Some(ComponentConfig::FeatureStore(_)) => {}
                Some(other) if is_pipeline => {
                    let message = format!("`{callee}` is a {}, not a feature store", other.kind());
                    return Err(
                        ConfigError::new(path, message).help("name a feature_store to materialize into")
                    );
                }
                Some(other) if !other.answers_calls() => return refuse(path, callee),
                _ => {}
            }
        }
        let knows_topics = config.traffic.values().any(|traffic| traffic.topics.is_some());
        if matches!(component, ComponentConfig::SemanticCache(_)) && !knows_topics {
            let message = format!("`{name}` goes by the topic of a request, and no traffic has topics");
            return Err(ConfigError::new(["components", name], message)
                .help("give a traffic source `topics = { count = 10000, zipf = 1.0 }`"));
        }
        let knows_entities = config.traffic.values().any(|traffic| traffic.entities.is_some());
        if let ComponentConfig::FeatureStore(store) = component
            && let Some(key) = store.needs_entities()
            && !knows_entities
        {
            let message = format!("`{key}` goes by the entity of a request, and no traffic has entities");
            return Err(ConfigError::new(["components", name, key], message)
                .help("give a traffic source `entities = { count = 1000000, zipf = 0.9 }`"));
        }
    }
    Ok(())
}

/// Caller and callee of a link's name.
fn called_ends<'a>(name: &'a str, calls: &Calls) -> Result<(&'a str, &'a str), ConfigError> {
    let Some((from, to)) = link_ends(name) else {
        return Err(ConfigError::new(["links", name], format!("`{name}` does not name a link"))
            .help("expected \"caller -> callee\""));
    };
    for end in [from, to] {
        if !calls.ids.contains_key(end) {
            return Err(ConfigError::new(
                ["links", name],
                format!("unknown component `{end}` in link `{name}`"),
            )
            .help(accepted(calls.ids.keys().copied())));
        }
    }
    if !calls.pairs.contains(&(calls.ids[from], calls.ids[to])) {
        let from_id = calls.ids[from];
        let called = calls.pairs.iter().filter(|(caller, _)| *caller == from_id);
        let called: Vec<&str> =
            called.filter_map(|(_, to)| calls.ids.get_index(to.index())).map(|(n, _)| *n).collect();
        return Err(ConfigError::new(["links", name], format!("`{from}` never calls `{to}`")).help(
            if called.is_empty() {
                format!("`{from}` calls nobody")
            } else {
                format!("`{from}` calls {}", called.join(", "))
            },
        ));
    }
    Ok((from, to))
}

fn build_quality(
    config: &SystemConfig,
    calls: &Calls,
    streams: Streams,
) -> Result<Option<Quality>, ConfigError> {
    let Some(quality) = &config.quality else { return Ok(None) };
    let answering = config.components.iter().filter(|(_, component)| component.answers_as_model());
    let answering = answering.map(|(name, _)| (name.as_str(), calls.ids[name.as_str()])).collect();
    let built = quality.build(&answering, calls.ids.len(), streams);
    let mut built = built.map_err(|error| error.within("quality"))?;
    for (name, component) in &config.components {
        let retained = component.precision().and_then(|precision| quality.accuracy_retained.get(&precision));
        if let Some(share) = retained {
            built.retain(calls.ids[name.as_str()], share.get());
        }
    }
    Ok(Some(built))
}

/// Makes the simulation of a system.
///
/// # Errors
/// The first thing in the configuration that cannot be simulated, with its place.
pub fn build(
    config: &SystemConfig,
    plan: &RunPlan,
    traces: &Traces,
) -> Result<Simulation<System>, ConfigError> {
    if config.traffic.is_empty() {
        return Err(ConfigError::new(["traffic"], "there is no traffic").help("add a [traffic.NAME] table"));
    }
    let calls = collect_calls(config)?;
    check_data_side(config)?;
    refuse_cycles(config)?;
    let labels = labels::labels(config, traces)?;
    let streams = Streams::new(plan.seed, plan.replication);
    let count = calls.ids.len();
    let end = |length: SimDuration, from: SimTime| {
        from.checked_add(length).map_err(|error| ConfigError::new(["run", "duration"], error.to_string()))
    };
    let arrivals_until = end(plan.duration, SimTime::ZERO)?;
    let width = SimDuration::from_nanos((plan.duration.as_nanos() / u64::from(plan.windows.max(1))).max(1));
    let mut meters: Vec<ComponentMeter> = (0..count).map(|_| ComponentMeter::new()).collect();
    let mut cost = CostMeter::default();
    let mut devices = Devices::new(&config.devices)?;
    let quality = build_quality(config, &calls, streams)?;
    let energy = config.energy.unwrap_or_default();
    energy.check().map_err(|error| error.within("energy"))?;

    let mut components: Vec<Box<dyn Component>> = Vec::with_capacity(count);
    let mut doors: Vec<Option<Box<Door>>> = Vec::with_capacity(count);
    doors.resize_with(config.traffic.len(), || None);
    for (name, traffic) in &config.traffic {
        let (entry, trace) = (calls.ids[traffic.entry.as_str()], traces.get(name));
        let bill = (&mut cost, calls.ids[name.as_str()]);
        let source = traffic.build(name, entry, plan, &labels, trace, bill);
        components.push(source.map_err(|error| error.within(name).within("traffic"))?);
    }
    for (name, component) in &config.components {
        let mut scope = Scope {
            name,
            me: calls.ids[name.as_str()],
            ids: &calls.ids,
            meters: &mut meters,
            cost: &mut cost,
            devices: &mut devices,
            labels: &labels,
            quality: quality.as_ref(),
        };
        let built = component.build(&mut scope);
        let within = |error: ConfigError| error.within(name).within("components");
        components.push(built.map_err(within)?);
        let jitter = streams.keyed(&format!("{name} admission"), Purpose::Jitter);
        doors.push(component.door(&labels, jitter).map_err(within)?);
    }
    devices.settle(&mut cost)?;

    let mut configured = BTreeMap::new();
    for (name, link) in &config.links {
        let ends = called_ends(name, &calls)?;
        if configured.insert(ends, (name, link)).is_some() {
            return Err(ConfigError::new(["links", name], format!("the link `{name}` stands twice")));
        }
    }
    let zones = Zones::new(&config.placement, &calls.ids, &config.components)?;
    for (name, component) in &config.components {
        if component.zone_aware().is_some() && zones.places(calls.ids[name.as_str()]).is_empty() {
            let error =
                ConfigError::new(["components", name, "zone_aware"], format!("`{name}` is in no zones"));
            return Err(error.help(format!(
                "say in which its replicas are, such as `[placement]` {name} = [\"zone-a\", \"zone-b\"], and its callers"
            )));
        }
    }
    let (fault_list, first) = faults(config, &calls, &zones, streams)?;
    let mut routes = vec![None; count * count];
    let cells = labels.classes.len() * labels.tenants.len();
    let default_bounds = plan.bounds.get("").copied().unwrap_or_default();
    let bounds = labels.classes.iter().map(|class| plan.bounds.get(class).copied().unwrap_or(default_bounds));
    let names: Vec<String> = calls.ids.keys().map(|name| (*name).to_owned()).collect();
    let core = Core {
        streams,
        bounds: bounds.collect(),
        labels,
        requests: Slab::default(),
        calls: Slab::default(),
        attempts: Slab::default(),
        links: Vec::new(),
        routes: Vec::new(),
        service: names.iter().map(|name| streams.keyed(name, Purpose::Service)).collect(),
        names,
        recorder: Recorder::new(width, count),
        meters,
        doors,
        cost,
        energy,
        storage: config.storage.clone(),
        devices,
        quality,
        request_meters: vec![RequestMeter::default(); cells],
        loads: BTreeMap::new(),
        snapshots: vec![Signals::default(); count],
        scrape_period: None,
        error_rates: vec![0.0; count],
        zones,
        arrivals_until,
        measure_from: end(plan.warmup, SimTime::ZERO)?,
        born: 0,
        ended: [0; 5],
        kept: 0,
        is_open: !config.traffic.is_empty(),
        open_sources: config.traffic.len() as u32,
        source_count: config.traffic.len(),
        outcome_hash: 0,
        journal: plan.journal.then(Vec::new),
        births: plan.births.then(Vec::new),
        timeline: plan.timeline.map(|window| Box::new(Timeline::new(window, count))),
    };
    let sources = std::iter::repeat_n(false, config.traffic.len());
    let pools = sources.chain(config.components.values().map(ComponentConfig::is_pool)).collect();
    let mut simulation = Simulation::new(System {
        components,
        pools,
        core,
        faults: fault_list,
        underway: Default::default(),
        paid_power: None,
    });
    if let Some(seed) = plan.shuffle_ties {
        simulation = simulation.shuffle_ties(seed);
    }
    let (system, scheduler) = simulation.parts();
    let default_link = LinkConfig::default();
    for (caller, callee) in &calls.pairs {
        let (from, to) =
            (system.core.names[caller.index()].as_str(), system.core.names[callee.index()].as_str());
        let canonical = format!("{from} -> {to}");
        let (name, link) =
            configured.get(&(from, to)).map_or((&canonical, &default_link), |(name, link)| (*name, *link));
        let deadline =
            config.traffic.get(from).and_then(|traffic| traffic.deadline).map(|deadline| deadline.get());
        if deadline.is_some_and(SimDuration::is_zero) {
            let path = ["traffic", from, "deadline"];
            return Err(
                ConfigError::new(path, "a deadline of 0 answers nothing").help("expected a time above 0")
            );
        }
        routes[caller.index() * count + callee.index()] = Some(LinkId(system.core.links.len() as u32));
        let name = LinkName { given: name, canonical: &canonical };
        let crossing = link.cross_zone.as_ref();
        if crossing.is_some() && !system.core.zones.are_used() {
            let error = ConfigError::new(["links", name.given, "cross_zone"], "there are no zones");
            return Err(error.help("say in `[placement]` which component is in which zones"));
        }
        let price = crossing.and_then(CrossZoneConfig::price);
        let mut link = link.build(name, deadline, streams, scheduler)?;
        link.cross_zone.line = price.map(|(usd, source)| {
            system.core.cost.add_usage(
                *caller,
                format!("cross-zone GB to {}", &system.core.names[callee.index()]),
                usd,
                source,
            )
        });
        system.core.links.push(link);
    }
    let route = |from: &str, to: &str| {
        let (from, to) = (calls.ids[from], calls.ids[to]);
        let link = routes[from.index() * count + to.index()];
        (link.expect("fallbacks are among the calls"), to)
    };
    for (link, (caller, callee)) in system.core.links.iter_mut().zip(&calls.pairs) {
        let name = |id: &ComponentId| system.core.names[id.index()].as_str();
        if let Some(policies) = &mut link.policies {
            policies.fall_back_on(fallback::chain(&config.links, (name(caller), name(callee)), &route)?);
        }
    }
    system.core.routes = routes;
    system.start(scheduler);
    for (at, step) in first {
        scheduler.schedule_at(at, Phase::Fault, ModelEvent::Fault(step).into());
    }
    Ok(simulation)
}
