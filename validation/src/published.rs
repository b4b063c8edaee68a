//! What others published, beside what Tenfold predicts of it.
//!
//! The measurements are in a folder of their own, which is no part of the project: `serving`, `kernels`, `features` and
//! `loading`, each file as its publisher has it. A check whose files are not there is left out, and said to be.

mod features;
mod kernels;
mod loading;
mod mlperf;
mod page;
mod rows;
mod server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use scenarios::report::{Picture, Unit};
use thiserror::Error;

use crate::gpu::Sizes;
pub use kernels::IMPORTED_ERROR;

/// Why predictions cannot be held against a folder of published measurements.
#[derive(Debug, Error)]
pub enum PublishedError {
    /// None of the files that are looked for.
    #[error("{dir}: no published measurements; expected at least one of {}", expected.join(", "))]
    Nothing {
        /// The folder.
        dir: PathBuf,
        /// Paths in it.
        expected: Vec<&'static str>,
    },
    /// A file that holds something else.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, and what would be accepted.
        message: String,
    },
    /// A server that cannot be calibrated or simulated.
    #[error(transparent)]
    Scenario(#[from] scenarios::ScenarioError),
    /// Tables that make no profile.
    #[error(transparent)]
    Profile(#[from] scenarios::profile::ProfileError),
    /// A report that cannot be written.
    #[error(transparent)]
    Results(#[from] scenarios::results::ResultsError),
}

/// A published figure and its prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// In words.
    pub what: String,
    /// Of both figures.
    pub unit: Unit,
    /// As published.
    pub measured: f64,
    /// As predicted.
    pub predicted: f64,
    /// The largest size of the error that passes; none where the figure is shown for information.
    pub bound: Option<f64>,
}

impl Row {
    /// Predicted over measured, less one.
    pub fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }

    /// Whether the error is within its bound, if it has one.
    pub fn passed(&self) -> Option<bool> {
        self.bound.map(|bound| self.error().abs() <= bound)
    }

    fn verdict(&self) -> Option<(bool, String)> {
        let (what, error, bound) = (&self.what, 100.0 * self.error(), 100.0 * self.bound?);
        Some((self.passed()?, format!("{what}: {error:+.1}% (at most {bound:.0}%)")))
    }
}

/// Errors of many predictions, where there are too many to be shown one by one.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// Of what.
    pub what: String,
    /// By what is checked.
    pub sizes: Sizes,
    /// By the datasheet, to show what measuring buys.
    pub datasheet: Sizes,
    /// The largest median and 90th percentile that pass; none where they are shown for information.
    pub bounds: Option<(f64, f64)>,
}

impl Spread {
    /// Whether the errors are within their bounds, if they have any.
    pub fn passed(&self) -> Option<bool> {
        self.bounds.map(|(median, p90)| self.sizes.median <= median && self.sizes.p90 <= p90)
    }

    fn verdict(&self) -> Option<(bool, String)> {
        let (Sizes { median, p90, .. }, (most, most_p90)) = (self.sizes, self.bounds?);
        let [median, most, p90, most_p90] = [median, most, p90, most_p90].map(|share| 100.0 * share);
        let what = &self.what;
        let text = format!(
            "{what}: median {median:.1}% (at most {most:.0}%), p90 {p90:.1}% (at most {most_p90:.0}%)"
        );
        Some((self.passed()?, text))
    }
}

/// One kind of published measurements, predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What is predicted.
    pub title: &'static str,
    /// Who published it, and under which licence.
    pub source: &'static str,
    /// What is done, and what is to be known of the result.
    pub said: String,
    /// What else must hold, and whether it does.
    pub facts: Vec<(bool, String)>,
    /// Figure by figure.
    pub rows: Vec<Row>,
    /// Errors of many figures.
    pub spreads: Vec<Spread>,
    /// Predicted over measured.
    pub pictures: Vec<Picture>,
}

impl Check {
    /// What has a bound, in words, and whether it keeps to it.
    pub fn verdicts(&self) -> Vec<(bool, String)> {
        let facts = self.facts.iter().cloned();
        let rows = self.rows.iter().filter_map(Row::verdict);
        facts.chain(rows).chain(self.spreads.iter().filter_map(Spread::verdict)).collect()
    }
}

/// What a folder of published measurements holds, predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedReport {
    /// What was compared.
    pub checks: Vec<Check>,
    /// What was not, and which files it would need.
    pub skipped: Vec<String>,
}

impl PublishedReport {
    /// What does not keep to its bound, in words.
    pub fn missed(&self) -> Vec<String> {
        let verdicts = self.checks.iter().flat_map(Check::verdicts);
        verdicts.filter(|(passed, _)| !passed).map(|(_, text)| text).collect()
    }

    /// Whether all that has a bound keeps to it.
    pub fn passed(&self) -> bool {
        self.missed().is_empty()
    }
}

/// A check, what it is called before it is made, and the files that it reads.
struct Known {
    name: &'static str,
    files: &'static [&'static str],
    check: fn(&Path) -> Result<Check, PublishedError>,
}

const KNOWN: [Known; 5] = [
    Known { name: "a vLLM server of Qwen3-14B", files: &server::FILES, check: server::check },
    Known { name: "kernels of an H100", files: &kernels::FILES, check: kernels::check },
    Known { name: "MLPerf Inference v4.1", files: &mlperf::FILES, check: mlperf::check },
    Known { name: "reads of a feature store", files: &features::FILES, check: features::check },
    Known { name: "loading of weights", files: &loading::FILES, check: loading::check },
];

/// Predicts what `dir` holds. `progress` is told what comes next, how much is done and how much there is.
///
/// # Errors
/// A folder with nothing of it, or a file that cannot be read.
pub fn check_published(
    dir: &Path,
    mut progress: impl FnMut(&str, usize, usize),
) -> Result<PublishedReport, PublishedError> {
    let (mut checks, mut skipped) = (Vec::new(), Vec::new());
    for (done, Known { name, files, check }) in KNOWN.iter().enumerate() {
        progress(name, done, KNOWN.len());
        let missing: Vec<&str> = files.iter().copied().filter(|file| !dir.join(file).exists()).collect();
        match missing.is_empty() {
            true => checks.push(check(dir)?),
            false => skipped.push(format!("{name}: no {}", missing.join(", "))),
        }
    }
    if checks.is_empty() {
        let expected = KNOWN.iter().flat_map(|known| known.files).copied().collect();
        return Err(PublishedError::Nothing { dir: dir.to_owned(), expected });
    }
    Ok(PublishedReport { checks, skipped })
}
