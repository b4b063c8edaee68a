//! Among what is searched: the axes, what kind each is of, and what every configuration costs at rest.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use rayon::prelude::*;
use sim_core::time::SimDuration;
use sim_models::autoscaler::AutoscalerConfig;
use sim_models::system::ComponentConfig;
use sim_models::units::{HOURS_PER_MONTH, Time};

use super::MAX_POINTS;
use crate::language::{Loaded, ScenarioError, Template, path_keys, path_text, shown};
use crate::run::{RunOptions, RunProgress, run_scenario};
use crate::scenario::{Scenario, SloConfig, Warmup};
use crate::sweep::axes::{Axis, SCALE, VARIANT, Values, number};
use crate::sweep::{read_axes, try_axes};

/// Keys of a component of which more can only help its answers.
const CAPACITY: [&[&str]; 14] = [
    &["replicas"],
    &["servers"],
    &["connections"],
    &["threads"],
    &["consumers"],
    &["workers"],
    &["instance_group", "count"],
    &["autoscaler", "min_replicas"],
    &["autoscaler", "max_replicas"],
    &["autoscaler", "min_replica_count"],
    &["autoscaler", "max_replica_count"],
    &["autoscaler", "min_scale"],
    &["autoscaler", "min_capacity"],
    &["autoscaler", "max_capacity"],
];

/// Keys of a component that say how fast it works, not what comes to it.
const HARDWARE: [&str; 12] = [
    "gpu",
    "precision",
    "kv_precision",
    "tensor_parallel",
    "max_num_seqs",
    "max_num_batched_tokens",
    "gpu_memory_utilization",
    "kv_blocks",
    "price_model",
    "max_batch_size",
    "batching",
    "dynamic_batching",
];

/// What an axis changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// How much of something there is; its levels rise.
    Capacity,
    /// How fast it works.
    Hardware,
    /// What is asked of whom.
    Other,
}

/// A configuration at rest, without any traffic.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    /// What is paid for what is held at least.
    pub usd_per_month: f64,
    /// Servers, connections or threads of each component that has them.
    pub capacity: BTreeMap<String, f64>,
}

/// The axes of one owner, and what each of their combinations makes of the first point.
type Part = (Vec<usize>, BTreeMap<Vec<usize>, Result<Rest, String>>);

/// The axes and their combinations. Points are numbered with the last axis the fastest.
#[derive(Debug)]
pub(super) struct Space<'a> {
    loaded: &'a Loaded,
    template: Template<'a>,
    pub axes: Vec<Axis>,
    pub kinds: Vec<Kind>,
    /// The component that an axis belongs to.
    pub owners: Vec<Option<String>>,
    pub points: u64,
}

impl<'a> Space<'a> {
    /// The axes asked for, those of `[plan]`, or the replicas of every pool.
    pub fn new(
        loaded: &'a Loaded,
        texts: &[String],
        most: Option<u32>,
        scale: f64,
    ) -> Result<Self, ScenarioError> {
        let table = loaded.scenario.plan.as_ref().map(|config| &config.axes);
        let mut axes = read_axes(loaded, texts, "plan", table)?;
        if axes.is_empty() {
            axes = default_axes(&loaded.scenario, most, scale);
        }
        if axes.is_empty() {
            return Err(ScenarioError::new("there is nothing to choose: the scenario has no pool").with_help(
                "expected --axis components.db.servers=1..8/1, or a table in the scenario: [plan] axes = { \
                 \"components.db.servers\" = \"1..8/1\" }",
            ));
        }
        let refused = |path: &str, message: &str, help: &str| {
            Err(ScenarioError::new(format!("the axis `{path}`: {message}")).with_help(help))
        };
        let mut points = 1u64;
        for axis in &axes {
            if [SCALE, VARIANT].contains(&axis.path.as_str()) {
                return refused(
                    &axis.path,
                    "it is nothing that is chosen",
                    "expected --scale 10x, or --variant NAME",
                );
            }
            let Some(levels) = axis.levels() else {
                return refused(
                    &axis.path,
                    "a range has no values of its own",
                    "expected a list (1,2,4), steps (1..8/1) or a count (1..100 log 7)",
                );
            };
            points = points.saturating_mul(levels.len() as u64);
        }
        if points > MAX_POINTS {
            return Err(ScenarioError::new(format!("{points} configurations"))
                .with_help(format!("expected at most {MAX_POINTS}: fewer values, or coarser steps")));
        }
        try_axes(loaded, &axes)?;
        let split: Vec<Vec<String>> = axes.iter().map(|axis| path_keys(&axis.path)).collect();
        let kinds: Vec<Kind> =
            split.iter().zip(&axes).map(|(keys, axis)| kind(&loaded.scenario, keys, axis)).collect();
        for (axis, kind) in axes.iter_mut().zip(&kinds) {
            if let (Kind::Capacity, Values::Levels(levels)) = (kind, &mut axis.values) {
                levels.sort_by(|a, b| number(a).unwrap_or(0.0).total_cmp(&number(b).unwrap_or(0.0)));
            }
        }
        let owner = |keys: &Vec<String>| match &keys[..] {
            [top, name, ..] if top == "components" => Some(name.clone()),
            _ => None,
        };
        let owners = split.iter().map(owner).collect();
        Ok(Self { loaded, template: loaded.template()?, axes, kinds, owners, points })
    }

    fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.axes.iter().map(|axis| axis.levels().map_or(1, <[String]>::len) as u64)
    }

    /// Which level of each axis a point has.
    pub fn levels(&self, point: u64) -> Vec<usize> {
        let mut rest = point;
        let mut levels: Vec<usize> = Vec::with_capacity(self.axes.len());
        for size in self.sizes().collect::<Vec<_>>().into_iter().rev() {
            levels.push((rest % size) as usize);
            rest /= size;
        }
        levels.reverse();
        levels
    }

    /// The point with those levels.
    pub fn point(&self, levels: &[usize]) -> u64 {
        self.sizes().zip(levels).fold(0, |point, (size, level)| point * size + *level as u64)
    }

    /// Paths and values of a point, as `--set` takes them.
    pub fn settings(&self, point: u64) -> Vec<(String, String)> {
        let level = |(axis, level): (&Axis, usize)| {
            (axis.path.clone(), axis.levels().unwrap_or_default()[level].clone())
        };
        self.axes.iter().zip(self.levels(point)).map(level).collect()
    }

    /// The scenario of a point.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn scenario(&self, point: u64) -> Result<Scenario, String> {
        self.scenario_with(&sets(&self.settings(point)))
    }

    /// The scenario with those overrides.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn scenario_with(&self, sets: &[String]) -> Result<Scenario, String> {
        self.template.with(sets).ok_or_else(|| match self.loaded.with(sets) {
            Err(error) => error.message().to_owned(),
            Ok(_) => "it cannot be read".to_owned(),
        })
    }

    /// The same value for points that are alike on all axes of other kinds than `apart`.
    pub fn group(&self, levels: &[usize], apart: &[Kind]) -> u64 {
        let sizes: Vec<u64> = self.sizes().collect();
        (0..levels.len())
            .filter(|axis| !apart.contains(&self.kinds[*axis]))
            .fold(0, |group, axis| group * sizes[axis] + levels[axis] as u64)
    }

    /// What every point costs at rest, and what of it there is; why it cannot be built otherwise. Axes of one component
    /// change its own lines of the bill alone, so that each component's combinations are built once.
    pub fn at_rest(&self) -> Vec<Result<Rest, String>> {
        let base = vec![0usize; self.axes.len()];
        let whole = |levels: &[usize]| self.rest(self.point(levels));
        let Ok(first) = whole(&base) else {
            return (0..self.points).into_par_iter().map(|point| self.rest(point)).collect();
        };
        let mut owners: Vec<&Option<String>> = self.owners.iter().collect();
        owners.sort();
        owners.dedup();
        let parts: Vec<Part> = owners
            .into_iter()
            .map(|owner| {
                let own: Vec<usize> =
                    (0..self.axes.len()).filter(|axis| self.owners[*axis] == *owner).collect();
                let sizes: Vec<usize> =
                    own.iter().map(|axis| self.axes[*axis].levels().map_or(1, <[String]>::len)).collect();
                let count: usize = sizes.iter().product();
                let part = |mut number: usize| {
                    let mut key = vec![0; own.len()];
                    for place in (0..own.len()).rev() {
                        key[place] = number % sizes[place];
                        number /= sizes[place];
                    }
                    let mut levels = base.clone();
                    own.iter().zip(&key).for_each(|(axis, level)| levels[*axis] = *level);
                    (key, whole(&levels))
                };
                let rests = (0..count).into_par_iter().map(part).collect::<Vec<_>>().into_iter().collect();
                (own, rests)
            })
            .collect();
        let point = |point: u64| {
            let levels = self.levels(point);
            let mut sum = first.clone();
            for (own, rests) in &parts {
                let key: Vec<usize> = own.iter().map(|axis| levels[*axis]).collect();
                // What cannot be built beside the first values may be with others.
                let Ok(rest) = &rests[&key] else { return self.rest(point) };
                sum.usd_per_month += rest.usd_per_month - first.usd_per_month;
                for (name, capacity) in &rest.capacity {
                    if first.capacity.get(name) != Some(capacity) {
                        sum.capacity.insert(name.clone(), *capacity);
                    }
                }
            }
            Ok(sum)
        };
        (0..self.points).into_par_iter().map(point).collect()
    }

    fn rest(&self, point: u64) -> Result<Rest, String> {
        let mut scenario = self.scenario(point)?;
        let unsure = least(&mut scenario);
        scenario.slo = SloConfig::default();
        scenario.fault.clear();
        for traffic in scenario.traffic.values_mut() {
            traffic.arrivals =
                toml::from_str("process = \"poisson\"\nrate = \"1/d\"").map_err(|error| error.to_string())?;
        }
        let run = &mut scenario.run;
        (run.duration, run.drain) = (Some(Time::new(SimDuration::from_millis(1))), Some(Time::ZERO));
        (run.warmup, run.replications, run.windows) =
            (Warmup::Fixed(Time::ZERO), NonZeroU32::MIN, NonZeroU32::MIN);
        let result =
            run_scenario(&scenario, 0, self.loaded.base_dir(), &RunOptions::default(), &RunProgress::new())
                .map_err(|error| error.to_string())?;
        let Some(output) = result.outputs.first() else { return Err("it was not run".to_owned()) };
        let held = output.costs.iter().filter(|line| !line.by_use && !unsure.contains(&line.component));
        let usd_per_month = held.map(|line| line.usd_per_hour).sum::<f64>() * HOURS_PER_MONTH;
        let windows = output.component_windows.iter();
        let capacity = output
            .components
            .iter()
            .zip(windows)
            .map(|(component, window)| (component.name.clone(), window.capacity));
        Ok(Rest { usd_per_month, capacity: capacity.filter(|(_, capacity)| *capacity > 0.0).collect() })
    }
}

/// Overrides as `--set` takes them.
pub(super) fn sets(settings: &[(String, String)]) -> Vec<String> {
    settings.iter().map(|(path, value)| format!("{path}={value}")).collect()
}

fn kind(scenario: &Scenario, keys: &[String], axis: &Axis) -> Kind {
    let [top, _, key @ ..] = keys else { return Kind::Other };
    let rises = || axis.levels().unwrap_or_default().iter().all(|level| number(level).is_some());
    let is = |known: &&[&str]| known.iter().eq(key.iter());
    if top == "components" && CAPACITY.iter().any(is) && rises() {
        return Kind::Capacity;
    }
    // Where it is known who is right, precision changes answers, and so whom they are asked of.
    let answers = scenario.quality.is_some() && key.iter().any(|key| key.contains("precision"));
    match key {
        [first, ..] if top == "components" && HARDWARE.contains(&first.as_str()) && !answers => {
            Kind::Hardware
        }
        _ => Kind::Other,
    }
}

/// Makes autoscaled pools start with the fewest replicas they may have. Gives the components of which they may have none,
/// or lose some to others.
fn least(scenario: &mut Scenario) -> Vec<String> {
    let mut unsure = Vec::new();
    for (name, component) in &mut scenario.components {
        let (autoscaler, replicas, spot) = match component {
            ComponentConfig::Llm(config) => {
                (config.autoscaler.as_deref_mut(), Some(&mut config.replicas), config.spot.is_some())
            }
            ComponentConfig::Service(config) => {
                (config.autoscaler.as_deref_mut(), config.replicas.as_mut(), config.spot.is_some())
            }
            ComponentConfig::ModelServer(config) => {
                (config.autoscaler.as_deref_mut(), config.replicas.as_mut(), false)
            }
            ComponentConfig::Training(_) => (None, None, true),
            _ => continue,
        };
        if spot {
            unsure.push(name.clone());
            continue;
        }
        let Some(autoscaler) = autoscaler else { continue };
        let fewest = match autoscaler {
            AutoscalerConfig::Knative(config) => {
                config.initial_scale = config.min_scale;
                config.min_scale
            }
            AutoscalerConfig::Hpa(config) => config.min_replicas,
            AutoscalerConfig::Keda(config) => config.min_replica_count,
            AutoscalerConfig::RayServe(config) => {
                config.initial_replicas = Some(config.min_replicas);
                config.min_replicas
            }
            AutoscalerConfig::TargetTracking(config) => config.min_capacity,
            AutoscalerConfig::Schedule(_) => 0,
        };
        match (NonZeroU32::new(fewest), replicas) {
            (None, _) => unsure.push(name.clone()),
            (Some(fewest), Some(replicas)) => *replicas = fewest,
            (Some(_), None) => {}
        }
    }
    unsure
}

/// The replicas of every pool, from 1 to `most`; of one that scales by itself, the most that it may have. Without `most`:
/// twice what the present number would be in proportion to the load, and at least 8 (assumption).
fn default_axes(scenario: &Scenario, most: Option<u32>, scale: f64) -> Vec<Axis> {
    let mut axes = Vec::new();
    for (name, component) in &scenario.components {
        let (replicas, autoscaler) = match component {
            ComponentConfig::Llm(config) if config.device.is_none() => {
                (Some(config.replicas), &config.autoscaler)
            }
            ComponentConfig::Service(config) => (config.replicas, &config.autoscaler),
            ComponentConfig::ModelServer(config) if config.device.is_none() => {
                (config.replicas, &config.autoscaler)
            }
            _ => continue,
        };
        let (key, count): (&[&str], u32) = match autoscaler.as_deref() {
            None => match replicas {
                Some(replicas) => (&["replicas"], replicas.get()),
                None => continue,
            },
            Some(AutoscalerConfig::Hpa(config)) => (&["autoscaler", "max_replicas"], config.max_replicas),
            Some(AutoscalerConfig::RayServe(config)) => {
                (&["autoscaler", "max_replicas"], config.max_replicas)
            }
            Some(AutoscalerConfig::Keda(config)) => {
                (&["autoscaler", "max_replica_count"], config.max_replica_count)
            }
            Some(AutoscalerConfig::TargetTracking(config)) => {
                (&["autoscaler", "max_capacity"], config.max_capacity)
            }
            Some(AutoscalerConfig::Knative(_) | AutoscalerConfig::Schedule(_)) => continue,
        };
        let grown = match autoscaler {
            None => 2.0 * f64::from(count) * scale.max(1.0),
            Some(_) => f64::from(count),
        };
        let most = most.unwrap_or((grown.ceil() as u32).max(8));
        let path: Vec<String> = ["components", name].iter().chain(key).map(|key| (*key).to_owned()).collect();
        let levels = (1..=most).map(|level| level.to_string()).collect();
        axes.extend(Axis::new(path_text(&path), Values::Levels(levels)));
    }
    axes
}

/// The axis of the fewest replicas that an autoscaled pool keeps.
///
/// # Errors
/// When it has none.
pub(super) fn warm_axis(scenario: &Scenario, name: &str) -> Result<String, ScenarioError> {
    let component = scenario.components.get(name);
    let autoscaler = |component: &ComponentConfig| match component {
        ComponentConfig::Llm(config) => config.autoscaler.clone(),
        ComponentConfig::Service(config) => config.autoscaler.clone(),
        ComponentConfig::ModelServer(config) => config.autoscaler.clone(),
        _ => None,
    };
    let bounds = component.and_then(autoscaler).and_then(|autoscaler| match *autoscaler {
        AutoscalerConfig::Knative(config) => {
            Some(("min_scale", 0, if config.max_scale > 0 { config.max_scale } else { 64 }))
        }
        AutoscalerConfig::Hpa(config) => Some(("min_replicas", 1, config.max_replicas)),
        AutoscalerConfig::Keda(config) => Some(("min_replica_count", 0, config.max_replica_count)),
        AutoscalerConfig::RayServe(config) => Some(("min_replicas", 0, config.max_replicas)),
        AutoscalerConfig::TargetTracking(config) => Some(("min_capacity", 0, config.max_capacity)),
        AutoscalerConfig::Schedule(_) => None,
    });
    let Some((key, from, to)) = bounds else {
        let scaled = scenario.components.iter().filter(|(_, component)| autoscaler(component).is_some());
        let scaled: Vec<&str> = scaled.map(|(name, _)| name.as_str()).collect();
        let help = match scaled.is_empty() {
            true => "expected a pool with an `autoscaler`, and the scenario has none".to_owned(),
            false => format!("expected one of {}", scaled.join(", ")),
        };
        return Err(ScenarioError::new(format!(
            "`{name}` keeps no replicas warm: no autoscaler decides how many it has"
        ))
        .with_help(help));
    };
    let path = path_text(&["components", name, "autoscaler", key].map(str::to_owned));
    Ok(format!("{path}={from}..{}/1", to.max(from + 1)))
}

/// A value as people read it.
pub(super) fn plain(value: &str) -> String {
    shown(value).unwrap_or_else(|_| value.to_owned())
}
