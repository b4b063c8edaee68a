//! The `sweep` experiment: the same scenario at many points of a space.
//!
//! A point is a value for each axis, and its scenario is the file with those values set; all points have the same
//! seed, so that they see the same requests. Rows go to disk while the sweep runs: a directory holds
//! `manifest.json` (what the sweep is), `parts/` (points that are done) and, at the end, one file. Its bytes depend
//! neither on threads nor on shards nor on how often the sweep was stopped and taken up again.

pub(crate) mod axes;
mod columns;
mod design;
mod row;
mod seen;
mod shards;
mod store;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_models::error::ConfigError;

use crate::language::{BASE, Loaded, ScenarioError, Template, split_override};
use crate::results::{Format, ResultsError, RunResult, check_writable, columns::VERSION, hex};
use crate::run::{MAX_THREADS, RunOptions, RunProgress, run_scenario, way_to_run};
use axes::{Axis, AxisError, SCALE, VARIANT, Values, multiple};
pub use columns::SWEEP;
pub use design::Design;
use design::{MAX_POINTS, Points};
use row::{Columns, Place, Row};
pub(crate) use seen::{Seen, Swept};
pub use shards::Shards;
use store::{AxisManifest, Manifest, Part, check_complete, in_order, join};
pub use store::{MANIFEST, SweepError, Tally};

/// Most rows of a part, which is what a kill can lose on each thread.
const PART: usize = 256;
/// Events after which a part is written however few rows it has (some ten seconds of simulation).
const PART_EVENTS: u64 = 50_000_000;

/// What `tenfold sweep` varies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepConfig {
    /// Values by path, as an array (`"components.large.replicas" = [2, 4, 8]`), or as the text of a list or range
    /// (`"8..64/8"`, `"1..100 log 7"`). The path `scale` is the load, relative to the scenario's, and `variant` is
    /// the name of a variant.
    pub axes: IndexMap<String, serde_json::Value>,
    /// How points are chosen. Default: a grid, or Latin hypercube where there are `samples`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design: Option<Design>,
    /// Points that are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
}

/// Which part of the points is run: every `of`-th, from `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 1.
    pub index: u64,
    /// How many shards there are.
    pub of: u64,
}

impl Shard {
    /// All points.
    pub const ALL: Self = Self { index: 1, of: 1 };

    /// How many of `points` it has.
    fn len(self, points: u64) -> u64 {
        (points + self.of - self.index) / self.of
    }

    fn point(self, position: u64) -> u64 {
        position * self.of + self.index - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (index, of) = text.split_once('/')?;
            let shard = Self { index: index.trim().parse().ok()?, of: of.trim().parse().ok()? };
            (1..=MAX_POINTS)
                .contains(&shard.of)
                .then_some(shard)
                .filter(|shard| (1..=shard.of).contains(&shard.index))
        };
        read().ok_or_else(|| "expected I/N, such as 1/4, 2/4, 3/4 and 4/4".to_owned())
    }
}

/// How a scenario is swept.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepOptions {
    /// Axes (`components.db.servers=1,2,4`) in place of those of the scenario.
    pub axes: Vec<String>,
    /// How points are chosen, in place of what the scenario says.
    pub design: Option<Design>,
    /// Points that are drawn.
    pub samples: Option<u64>,
    /// Which of the points are run.
    pub shard: Shard,
    /// How runs differ from what the scenario says. Its threads are points that run at a time; none: one a core.
    pub run: RunOptions,
    /// Format of the one file.
    pub format: Format,
    /// Whether to take up what is in the directory.
    pub resume: bool,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self {
            axes: Vec::new(),
            design: None,
            samples: None,
            shard: Shard::ALL,
            run: RunOptions::default(),
            format: Format::Parquet,
            resume: false,
        }
    }
}

/// Shared with another thread, shows how far a sweep is and can stop it.
#[derive(Debug, Default)]
pub struct SweepProgress {
    stop: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
    total: AtomicU64,
}

impl SweepProgress {
    /// Nothing has begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the sweep to stop after the points under way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether a stop has been asked for.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Points that this process has done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Those of them that could not be run.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Points that it is to do; 0 before it has begun.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// How a sweep ended.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepEnd {
    /// All points are done.
    Finished {
        /// What became of them.
        tally: Tally,
        /// The one file; none for a shard, which is to be merged.
        file: Option<PathBuf>,
    },
    /// Stopped; what is done is kept.
    Stopped {
        /// Points that are done, with those of earlier times.
        done: u64,
        /// Points there are.
        points: u64,
    },
}

/// A scenario and the points at which it will be run.
#[derive(Debug)]
pub struct Sweep {
    /// The variants that are run; the only one where `variant` is no axis.
    variants: Vec<Loaded>,
    axes: Vec<Axis>,
    points: Points,
    columns: Columns,
    manifest: Manifest,
    options: SweepOptions,
}

impl Sweep {
    /// Reads the axes and chooses the points.
    ///
    /// # Errors
    /// An axis that cannot be read or none of whose values the scenario accepts, or a design that does not go with
    /// the axes.
    pub fn new(loaded: &Loaded, options: SweepOptions) -> Result<Self, ScenarioError> {
        let table = loaded.scenario.sweep.as_ref().map(|config| &config.axes);
        let axes = read_axes(loaded, &options.axes, "sweep", table)?;
        if axes.is_empty() {
            return Err(ScenarioError::new("there is nothing to vary").with_help(
                "expected --axis components.db.servers=1,2,4, or a table in the scenario: [sweep] axes = { \
                 \"components.db.servers\" = [1, 2, 4] }",
            ));
        }
        if loaded.variant != BASE && axes.iter().any(|axis| axis.path == VARIANT) {
            return Err(ScenarioError::new(format!(
                "the variant is an axis, and `{}` is asked for",
                loaded.variant
            ))
            .with_help("expected the one or the other"));
        }
        let variants = match axes.iter().find(|axis| axis.path == VARIANT).and_then(Axis::levels) {
            None => vec![loaded.clone()],
            Some(names) => names.iter().map(|name| loaded.variant(&plain(name))).collect::<Result<_, _>>()?,
        };
        try_axes(&variants[0], &axes)?;
        let config = loaded.scenario.sweep.as_ref().filter(|_| options.axes.is_empty());
        let samples = options.samples.or(config.and_then(|config| config.samples));
        let design = options.design.or(config.and_then(|config| config.design));
        let seed = loaded.scenario.run.seed;
        let points = match (design, samples) {
            (Some(Design::Grid), Some(_)) => {
                return Err(ScenarioError::new("a grid has no samples: it has every combination")
                    .with_help("expected a random or lhs design with samples, or a grid without"));
            }
            (Some(Design::Grid) | None, None) => Points::grid(&axes).map_err(|message| {
                ScenarioError::new(message).with_help(format!("expected at most {MAX_POINTS} combinations of lists, steps \
                                                               (8..64/8) and counts (1..100 log 7); or draw points: samples"))
            })?,
            (Some(design), None) => {
                return Err(ScenarioError::new(format!("how many points are to be drawn for the {} design?", design.name()))
                    .with_help("expected a number of samples, such as 200"));
            }
            (_, Some(samples)) if !(1..=MAX_POINTS).contains(&samples) => {
                return Err(ScenarioError::new(format!("{samples} samples"))
                    .with_help(format!("expected a number from 1 to {MAX_POINTS}")));
            }
            (design, Some(samples)) => Points::drawn(design.unwrap_or(Design::LatinHypercube), &axes, samples, seed),
        };
        let columns = Columns::new(&axes).map_err(|name| {
            ScenarioError::new(format!("`{name}` cannot be an axis: a column of results has that name"))
        })?;
        let written = crate::Scenario { sweep: None, ..loaded.scenario.clone() };
        if axes.iter().any(|axis| axis.path == SCALE) && options.run.scale != 1.0 {
            return Err(ScenarioError::new(format!(
                "the load is an axis, and it is to be scaled by {}",
                options.run.scale
            ))
            .with_help("expected the one or the other"));
        }
        let mut run = format!("variant {}", loaded.variant);
        for loaded in &variants {
            let way = way_to_run(&loaded.scenario, loaded.base_dir(), &options.run);
            let way = way.map_err(|error| loaded.locate(error))?;
            if !run.ends_with(&way) {
                run = format!("{run}, {way}");
            }
        }
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            columns_version: VERSION,
            scenario: written.name.clone(),
            description: written.description.clone(),
            slo: written.slo.clone(),
            seed,
            scenario_hash: hex(sim_core::random::stable_hash(written.to_toml().as_bytes())),
            run,
            design: points.design.name().to_owned(),
            design_seed: (points.design != Design::Grid).then_some(seed),
            axes: axes
                .iter()
                .map(|a| AxisManifest { path: a.path.clone(), values: a.values.to_json() })
                .collect(),
            points: points.len(),
            shard: options.shard,
        };
        Ok(Self { variants, axes, points, columns, manifest, options })
    }

    /// Points of the whole sweep.
    pub fn points(&self) -> u64 {
        self.points.len()
    }

    /// Paths and values of a point.
    ///
    /// # Panics
    /// When there is no such point.
    pub fn point(&self, point: u64) -> Vec<(&str, String)> {
        assert!(point < self.points(), "point {point} of {}", self.points());
        let values = self.points.values(&self.axes, point);
        self.axes.iter().map(|axis| axis.path.as_str()).zip(values).collect()
    }

    /// What is in the directory of this sweep, which has been run.
    pub(crate) fn swept(&self, dir: &Path) -> Result<Swept, SweepError> {
        Swept::read(&Part::list(dir)?, &self.axes, &self.columns, &self.manifest)
    }

    /// Runs the points that are not done yet and writes their rows to a directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory holds another sweep, or this one and it is not to be taken up, or cannot be written.
    pub fn run(&self, dir: &Path, progress: &SweepProgress) -> Result<SweepEnd, SweepError> {
        check_writable(dir)?;
        match Manifest::read(dir)? {
            None => {}
            Some(_) if !self.options.resume => {
                let dir = dir.display();
                return Err(SweepError::Mismatch(format!(
                    "there is a sweep in {dir} already: take it up, or choose another directory"
                )));
            }
            Some(there) => {
                let shard =
                    || (there.shard != self.options.shard).then(|| format!("it is shard {}", there.shard));
                if let Some(difference) = self.manifest.difference(&there).or_else(shard) {
                    return Err(SweepError::Mismatch(format!(
                        "there is another sweep in {}: {difference}",
                        dir.display()
                    )));
                }
            }
        }
        self.manifest.write(dir)?;
        Part::prepare(dir)?;
        let shard = self.options.shard;
        let count = shard.len(self.points());
        let mut is_done = vec![false; count as usize];
        for point in Part::list(dir)?.iter().flat_map(|part| &part.points) {
            let position = point / shard.of;
            let is_ours = point % shard.of + 1 == shard.index;
            match is_done.get_mut(position as usize).filter(|_| is_ours) {
                Some(done) => *done = true,
                None => {
                    return Err(SweepError::Mismatch(format!(
                        "point {point} in {} is not of shard {shard}",
                        dir.display()
                    )));
                }
            }
        }
        let earlier = is_done.iter().filter(|done| **done).count() as u64;
        progress.total.store(count - earlier, Ordering::Relaxed);
        self.run_points(dir, &is_done, progress)?;
        let done = earlier + progress.done();
        if done < count {
            return Ok(SweepEnd::Stopped { done, points: count });
        }
        let parts = Part::list(dir)?;
        if shard != Shard::ALL {
            let tally = in_order(&parts, &self.columns, |_| Ok(()))
                .map_err(|source| ResultsError::Frame { path: dir.to_owned(), source })?;
            return Ok(SweepEnd::Finished { tally, file: None });
        }
        check_complete(&parts, count)?;
        let file = dir.join(format!("{}.{}", SWEEP.name, self.options.format.extension()));
        let tally = join(&parts, &self.columns, &file, self.options.format)?;
        Ok(SweepEnd::Finished { tally, file: Some(file) })
    }

    /// Every thread takes the next point that is not done, until there is none or the sweep is to stop.
    fn run_points(&self, dir: &Path, is_done: &[bool], progress: &SweepProgress) -> Result<(), SweepError> {
        let templates: Vec<Template> = self
            .variants
            .iter()
            .map(Loaded::template)
            .collect::<Result<_, _>>()
            .map_err(|error| SweepError::Mismatch(error.plain()))?;
        let next = AtomicU64::new(0);
        let broken: Mutex<Option<ResultsError>> = Mutex::new(None);
        let work = || {
            let mut rows = Vec::with_capacity(PART);
            let mut events = 0;
            let write = |rows: &mut Vec<Row>| {
                let written = if rows.is_empty() { Ok(()) } else { Part::write(dir, &self.columns, rows) };
                rows.clear();
                if let Err(error) = written {
                    broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    progress.stop();
                }
            };
            while !progress.is_stopping() {
                let position = next.fetch_add(1, Ordering::Relaxed);
                match is_done.get(position as usize) {
                    None => break,
                    Some(true) => continue,
                    Some(false) => {}
                }
                let (row, more) = self.row(&templates, self.options.shard.point(position));
                events += more.unwrap_or(0);
                rows.push(row);
                progress.failed.fetch_add(u64::from(more.is_none()), Ordering::Relaxed);
                progress.done.fetch_add(1, Ordering::Relaxed);
                if rows.len() == PART || events >= PART_EVENTS {
                    write(&mut rows);
                    events = 0;
                }
            }
            write(&mut rows);
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let jobs =
            self.options.run.threads.unwrap_or_else(cores).clamp(1, is_done.len().clamp(1, MAX_THREADS));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(work);
            }
        });
        match broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Runs a point: its row, and its events unless it cannot be run.
    fn row(&self, templates: &[Template], point: u64) -> (Row, Option<u64>) {
        let values = self.points.values(&self.axes, point);
        let pseudo = |path: &str| self.axes.iter().position(|axis| axis.path == path).map(|at| &values[at]);
        let multiplier = pseudo(SCALE).and_then(|value| multiple(value)).unwrap_or(self.options.run.scale);
        let named = pseudo(VARIANT).map(|name| plain(name));
        let variant = named
            .and_then(|name| self.variants.iter().position(|loaded| loaded.variant == name))
            .unwrap_or(0);
        let loaded = &self.variants[variant];
        let own =
            self.axes.iter().zip(&values).filter(|(axis, _)| ![SCALE, VARIANT].contains(&axis.path.as_str()));
        let sets: Vec<String> = own.map(|(axis, value)| format!("{}={value}", axis.path)).collect();
        let run = || -> Result<RunResult, String> {
            let Some(scenario) = templates[variant].with(&sets) else {
                return Err(loaded
                    .with(&sets)
                    .map_or_else(|error| in_words(&error), |_| "cannot be read".to_owned()));
            };
            let options = RunOptions { threads: Some(1), scale: multiplier, ..self.options.run.clone() };
            run_scenario(&scenario, scenario.hash(), loaded.base_dir(), &options, &RunProgress::new())
                .map_err(|error| error.to_string())
        };
        let place = Place { point, axes: &self.axes, values: &values, variant: &loaded.variant, multiplier };
        // A bug of the simulator at one point shall not lose the others.
        match catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(bug(panic.as_ref()))) {
            Ok(result) => {
                (place.done(&result), Some(result.outputs.iter().map(|output| output.events).sum()))
            }
            Err(error) => (place.failed(&error), None),
        }
    }
}

fn bug(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a bug of the simulator: {}", text.unwrap_or("it panicked"))
}

fn in_words(error: &ScenarioError) -> String {
    match error.help_text() {
        Some(help) => format!("{} ({help})", error.message()),
        None => error.message().to_owned(),
    }
}

fn plain(value: &str) -> String {
    crate::language::shown(value).unwrap_or_else(|_| value.to_owned())
}

/// The axes of the command line, or those of the scenario in the table of that name; there may be none.
pub(crate) fn read_axes(
    loaded: &Loaded,
    texts: &[String],
    name: &str,
    table: Option<&IndexMap<String, serde_json::Value>>,
) -> Result<Vec<Axis>, ScenarioError> {
    let mut axes: Vec<Axis> = Vec::new();
    let in_text = |error: AxisError| {
        let shown = ScenarioError::new(error.message).in_file("--axis");
        error.help.map_or(shown.clone(), |help| shown.with_help(help))
    };
    for text in texts {
        axes.push(Axis::read(text).map_err(in_text)?);
    }
    if let (Some(table), true) = (table, texts.is_empty()) {
        for (path, value) in table {
            let read = || {
                let (path, _) =
                    split_override(&format!("{path}=")).map_err(|(message, _)| AxisError::new(message))?;
                Axis::new(path, Values::of_json(value)?)
            };
            let place = |error: AxisError| {
                let placed = ConfigError::new([name, "axes", path], error.message);
                loaded.locate(ConfigError { help: error.help, ..placed })
            };
            axes.push(read().map_err(place)?);
        }
    }
    for (number, axis) in axes.iter().enumerate() {
        if axes[..number].iter().any(|other| other.path == axis.path) {
            return Err(ScenarioError::new(format!("there are two axes `{}`", axis.path))
                .with_help("expected all values in one: components.db.servers=1,2,4"));
        }
    }
    Ok(axes)
}

/// Refuses an axis none of whose values can be read: its path or its unit is wrong.
pub(crate) fn try_axes(loaded: &Loaded, axes: &[Axis]) -> Result<(), ScenarioError> {
    let template = loaded.template()?;
    for axis in axes.iter().filter(|axis| ![SCALE, VARIANT].contains(&axis.path.as_str())) {
        let sets: Vec<String> = axis.samples().iter().map(|value| format!("{}={value}", axis.path)).collect();
        if sets.iter().any(|set| template.with(std::slice::from_ref(set)).is_some()) {
            continue;
        }
        if let Err(error) = loaded.with(&sets[..1]) {
            let shown = ScenarioError::new(format!("the axis `{}`: {}", axis.path, error.message()));
            return Err(match error.help_text() {
                Some(help) => shown.with_help(help),
                None => shown,
            });
        }
    }
    Ok(())
}
