//! `compare`: the same traffic through several systems, and what the difference is worth.
//!
//! All variants run on common random numbers: the same seed gives the same requests with the same luck to
//! each of them, so that replication by replication the difference of two systems is far less uncertain than
//! either alone. Intervals are those of paired differences (Law, Simulation Modeling and Analysis, 5th ed.,
//! 10.2.1).

mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polars::prelude::DataFrame;
use rayon::prelude::*;
use serde_json::{Value, json};
use sim_core::stats::{paired_difference, replication_interval};

use crate::language::{BASE, Loaded, ScenarioError};
use crate::results::columns::DIFFERENCES;
use crate::results::table::{Table, cells};
use crate::results::write::{csv, write_frames};
use crate::results::{Average, CONFIDENCE, Format, ResultsError, RunResult, json};
use crate::run::{ALL, RunOptions, RunProgress, run};
pub use words::change;

/// A figure that variants are compared by: a column of the `summary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name of the column.
    pub column: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// Whether differences are told in points, since it is a share, and not by the baseline's value.
    pub is_share: bool,
}

const fn metric(column: &'static str, name: &'static str, is_share: bool) -> Metric {
    Metric { column, name, is_share }
}

/// All of them, in the order of tables.
pub const METRICS: [Metric; 14] = [
    metric("latency_mean_s", "latency mean", false),
    metric("latency_p50_s", "latency p50", false),
    metric("latency_p95_s", "latency p95", false),
    metric("latency_p99_s", "latency p99", false),
    metric("ttft_p50_s", "TTFT p50", false),
    metric("ttft_p95_s", "TTFT p95", false),
    metric("ttft_p99_s", "TTFT p99", false),
    metric("tpot_mean_s", "TPOT mean", false),
    metric("error_rate", "error rate", true),
    metric("slo_attainment", "SLO met", true),
    metric("goodput_per_s", "goodput", false),
    metric("accuracy", "accuracy", true),
    metric("cost_usd_per_month", "cost", false),
    metric("cost_usd_per_1k_good", "cost per 1,000 good requests", false),
];

/// How one figure of a variant differs from the baseline's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The figure.
    pub metric: Metric,
    /// Its mean in the baseline; none where nothing was measured.
    pub baseline: Option<f64>,
    /// Its mean in the variant.
    pub value: Option<f64>,
    /// The mean of the paired differences, variant less baseline: of shares in absolute terms, of all else by the
    /// baseline's value in the same replication. None where it cannot be told.
    pub difference: Option<Average>,
}

impl Difference {
    fn new(metric: Metric, pairs: &[(Option<f64>, Option<f64>)]) -> Self {
        let mean =
            |values: Vec<f64>| replication_interval(&values, CONFIDENCE).ok().map(|interval| interval.mean);
        let baseline = mean(pairs.iter().filter_map(|(left, _)| *left).collect());
        let value = mean(pairs.iter().filter_map(|(_, right)| *right).collect());
        let both: Option<Vec<(f64, f64)>> =
            pairs.iter().map(|(left, right)| Some(((*left)?, (*right)?))).collect();
        let difference = both.and_then(|both| {
            let by = |base: f64| if metric.is_share { 1.0 } else { base };
            if both.iter().any(|(left, right)| by(*left) == 0.0 && left != right) {
                return None;
            }
            let scaled = |value: f64, base: f64| if value == base { 0.0 } else { (value - base) / by(base) };
            let changes: Vec<f64> = both.iter().map(|(left, right)| scaled(*right, *left)).collect();
            let interval = paired_difference(&changes, &vec![0.0; changes.len()], CONFIDENCE).ok()?;
            let half_width = Some(interval.half_width).filter(|width| width.is_finite());
            Some(Average { mean: interval.mean, half_width })
        });
        Self { metric, baseline, value, difference }
    }

    /// Whether the interval of the difference leaves out 0; of a single replication, whether there is any.
    pub fn is_sure(&self) -> bool {
        self.difference.is_some_and(|difference| difference.mean.abs() > difference.half_width.unwrap_or(0.0))
    }
}

/// A variant beside the baseline.
#[derive(Debug, Clone)]
pub struct Compared {
    /// What it gave.
    pub result: RunResult,
    /// Differences by class (`all` first, then the classes that the SLO names), in the order of [`METRICS`]; those
    /// that neither has are left out.
    pub differences: Vec<(String, Difference)>,
    /// What they come to, in a sentence.
    pub finding: String,
}

/// Several systems under the same traffic.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What the others are compared with.
    pub baseline: RunResult,
    /// The others, in order.
    pub others: Vec<Compared>,
}

impl Comparison {
    /// All results, the baseline's first.
    pub fn results(&self) -> impl Iterator<Item = &RunResult> {
        std::iter::once(&self.baseline).chain(self.others.iter().map(|other| &other.result))
    }

    /// Whether the run was cancelled before all had finished.
    pub fn is_interrupted(&self) -> bool {
        self.results().any(|result| result.interrupted.is_some())
    }

    /// The `differences` frame.
    pub fn differences(&self) -> DataFrame {
        let rows = self.others.iter().map(|other| other.differences.len()).sum();
        let mut table = Table::new(DIFFERENCES, rows);
        for other in &self.others {
            for (class, difference) in &other.differences {
                let Difference { metric, baseline, value, difference } = difference;
                table.row(&[
                    &cells![&other.result.variant, &self.baseline.variant, other.result.plan.scale],
                    &cells![class, metric.column, *baseline, *value],
                    &cells![
                        difference.map(|difference| difference.mean),
                        difference.and_then(|difference| difference.half_width),
                        !metric.is_share
                    ],
                ]);
            }
        }
        table.finish()
    }

    /// Writes all frames and `provenance.json`, a list with an entry for each result, as [`RunResult::write`] does.
    ///
    /// # Errors
    /// [`ResultsError`] with the file that could not be written.
    pub fn write(&self, dir: &Path, format: Format) -> Result<Vec<PathBuf>, ResultsError> {
        let sources: Vec<_> = self.results().map(|result| &result.provenance).collect();
        write_frames(dir, format, self.frames(), &sources, &self.provenance())
    }

    /// The `differences` frame as CSV.
    ///
    /// # Errors
    /// [`ResultsError::Frame`] when polars cannot write it.
    pub fn differences_csv(&self) -> Result<String, ResultsError> {
        csv(DIFFERENCES.name, self.differences())
    }

    /// Everything as one JSON object: `provenance`, `findings`, and each frame as an array of rows.
    pub fn to_json(&self) -> Value {
        json::object(self.provenance(), json!(self.findings()), &self.frames())
    }

    /// A sentence for each of the others.
    pub fn findings(&self) -> Vec<&str> {
        self.others.iter().map(|other| other.finding.as_str()).collect()
    }

    fn provenance(&self) -> Value {
        self.results().map(|result| json!(result.provenance)).collect()
    }

    /// All frames by name: those of the results, one under the other, and the differences.
    pub fn frames(&self) -> Vec<(&'static str, DataFrame)> {
        let mut frames = self.baseline.frames();
        for other in &self.others {
            for ((_, all), (_, frame)) in frames.iter_mut().zip(other.result.frames()) {
                all.vstack_mut(&frame).expect("frames of one name have the same columns");
            }
        }
        frames.push((DIFFERENCES.name, self.differences()));
        frames
    }
}

/// What to compare: systems with names of their own, the baseline first. Names are those of variants; where
/// several files have the same, the file's.
///
/// # Errors
/// When there is no baseline of that name, or nothing to compare it with.
pub fn candidates(
    files: &[Loaded],
    variants: &[String],
    baseline: Option<&str>,
) -> Result<Vec<Loaded>, ScenarioError> {
    let mut all: Vec<Loaded> = Vec::new();
    match files {
        [file] => {
            all.push(file.variant(BASE)?);
            let named = match variants {
                [] => file.scenario.variant.iter().map(|variant| variant.name.clone()).collect(),
                some => some.to_vec(),
            };
            for name in named.iter().filter(|name| *name != BASE) {
                all.push(file.variant(name)?);
            }
        }
        files => {
            if let Some(name) = variants.first() {
                return Err(ScenarioError::new(format!("--variant {name} of several files"))
                    .with_help("compare the variants of one file, or several files as they are written"));
            }
            for file in files {
                let mut loaded = file.clone();
                loaded.variant.clone_from(&file.scenario.name);
                all.push(loaded);
            }
        }
    }
    if let Some(name) = baseline {
        let Some(place) = all.iter().position(|loaded| loaded.variant == name) else {
            let names: Vec<&str> = all.iter().map(|loaded| loaded.variant.as_str()).collect();
            return Err(ScenarioError::new(format!("there is no `{name}` to compare with"))
                .with_help(format!("expected one of {}", names.join(", "))));
        };
        let pinned = all.remove(place);
        all.insert(0, pinned);
    }
    if all.len() < 2 {
        return Err(ScenarioError::new("there is nothing to compare")
            .with_help("add a [[variant]] with `name` and `set` to the file, or name a second file"));
    }
    let mut names: Vec<&str> = all.iter().map(|loaded| loaded.variant.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ScenarioError::new(format!("two systems are named `{}`", twice[0]))
            .with_help("give the files different `name`s"));
    }
    Ok(all)
}

/// Runs all candidates, the first of which is the baseline, and compares the others with it. Seed and number
/// of replications are the baseline's.
///
/// # Errors
/// What cannot be simulated, where it stands in the file.
///
/// # Panics
/// When a component breaks an invariant of the simulator: a bug. When there are no candidates.
pub fn compare(
    candidates: &[Loaded],
    options: &RunOptions,
    progress: &RunProgress,
) -> Result<Comparison, ScenarioError> {
    let pinned = &candidates[0].scenario.run;
    let alike = |loaded: &Loaded| {
        let mut loaded = loaded.clone();
        (loaded.scenario.run.seed, loaded.scenario.run.replications) = (pinned.seed, pinned.replications);
        loaded
    };
    let results: Vec<RunResult> = candidates
        .par_iter()
        .map(|loaded| run(&alike(loaded), options, progress))
        .collect::<Result<_, ScenarioError>>()?;
    let mut results = results.into_iter();
    let baseline = results.next().expect("at least one candidate");
    let base = Values::of(&baseline);
    let others = results.map(|result| base.compare(&baseline, result)).collect();
    Ok(Comparison { baseline, others })
}

/// The figures of a run by class and replication, in the order of [`METRICS`].
#[derive(Debug)]
struct Values(BTreeMap<(String, u64), Vec<Option<f64>>>);

impl Values {
    fn of(result: &RunResult) -> Self {
        let frame = result.summary();
        let text = |column: &str, row: usize| {
            let value =
                frame.column(column).and_then(|column| column.get(row)).expect("a column of the summary");
            value.get_str().map(str::to_owned).unwrap_or_default()
        };
        let number = |column: &str, row: usize| {
            let value =
                frame.column(column).and_then(|column| column.get(row)).expect("a column of the summary");
            value.extract::<f64>()
        };
        let rows = (0..frame.height()).filter(|row| text("tenant", *row) == ALL);
        Self(
            rows.map(|row| {
                let replication = number("replication", row).unwrap_or_default() as u64;
                let figures = METRICS.iter().map(|metric| number(metric.column, row)).collect();
                ((text("class", row), replication), figures)
            })
            .collect(),
        )
    }

    fn compare(&self, baseline: &RunResult, result: RunResult) -> Compared {
        let other = Self::of(&result);
        let classes = baseline.scenario.slo.class.keys().chain(result.scenario.slo.class.keys());
        let mut names = vec![ALL.to_owned()];
        for class in classes {
            if !names.contains(class) {
                names.push(class.clone());
            }
        }
        let mut differences = Vec::new();
        for class in names {
            for (number, metric) in METRICS.into_iter().enumerate() {
                let pairs: Vec<_> = self
                    .0
                    .iter()
                    .filter(|((name, _), _)| *name == class)
                    .filter_map(|(key, left)| Some((left[number], other.0.get(key)?[number])))
                    .collect();
                if pairs.iter().any(|(left, right)| left.is_some() || right.is_some()) {
                    differences.push((class.clone(), Difference::new(metric, &pairs)));
                }
            }
        }
        let finding = words::finding(baseline, &result, &differences);
        Compared { result, differences, finding }
    }
}

#[cfg(test)]
mod tests;
