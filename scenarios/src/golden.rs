//! Golden fingerprints: what the scenarios of the library are known to give, so that a change of
//! behaviour is seen. They are renewed on purpose, by [`bless`].

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;
use sim_models::units::Time;
use thiserror::Error;

use crate::language::{self, ScenarioError, library};
use crate::results::hex;
use crate::run::{self, RunOptions, RunProgress};
use crate::scenario::Warmup;

/// Simulated time of a golden run: short, so that all are run in seconds.
const DURATION: Time = Time::new(SimDuration::from_secs(60));

/// Replications of a golden run.
const REPLICATIONS: NonZeroU32 = NonZeroU32::new(2).expect("not zero");

/// Name of the file.
pub const FILE: &str = "fingerprints.toml";

const HEAD: &str = "# Fingerprints and outcome hashes of the scenarios of the library, at 60 s and 2 replications.\n\
                    # A change here is a change of behaviour: renew them on purpose, with `tenfold bless`.\n\n";

/// What one scenario gives, replication by replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Hashes over every event, in hexadecimal.
    pub fingerprints: Vec<String>,
    /// Hashes over the end of every request, in hexadecimal.
    pub outcome_hashes: Vec<String>,
}

/// All scenarios of the library by id, and their variants by `id/variant`.
pub type Goldens = BTreeMap<String, Golden>;

/// Golden fingerprints that cannot be computed, read or written.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// A scenario of the library that cannot be run.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold fingerprints.
    #[error("{path}: {source}", path = .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
}

/// What became of a scenario's fingerprints when they were renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is no longer in the library.
    Removed,
    /// Other events, and other ends of requests.
    Behaviour,
    /// Other events, but every request ends as before.
    Events,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Behaviour => "renewed: other events, and other ends of requests",
            Self::Events => "renewed: other events, but every request ends as before",
        })
    }
}

/// Runs every scenario of the library for a short while.
///
/// # Errors
/// [`GoldenError::Scenario`] for one that cannot be run.
pub fn compute(threads: Option<usize>) -> Result<Goldens, GoldenError> {
    let options = RunOptions { threads, ..RunOptions::default() };
    let mut goldens = Goldens::new();
    let variants = library().iter().flat_map(|entry| {
        let written = language::parse(entry.text, &format!("{}.toml", entry.id), Path::new("."), &[]);
        written.map_or_else(
            |error| vec![(entry.id.to_owned(), Err(error))],
            |written| {
                let variants = written.scenario.variant.iter();
                let variants =
                    variants.map(|v| (format!("{}/{}", entry.id, v.name), written.variant(&v.name)));
                let variants: Vec<_> = variants.collect();
                std::iter::once((entry.id.to_owned(), Ok(written))).chain(variants).collect()
            },
        )
    });
    for (id, loaded) in variants {
        let mut loaded = loaded?;
        let run = &mut loaded.scenario.run;
        (run.duration, run.drain, run.replications) = (Some(DURATION), None, REPLICATIONS);
        run.warmup = Warmup::Fixed(Time::ZERO);
        let result = run::run(&loaded, &options, &RunProgress::new())?;
        let fingerprints = result.outputs.iter().map(|output| hex(output.fingerprint.value())).collect();
        let outcome_hashes = result.outputs.iter().map(|output| hex(output.outcome_hash)).collect();
        goldens.insert(id, Golden { fingerprints, outcome_hashes });
    }
    Ok(goldens)
}

/// Reads the fingerprints in a directory; none where there is no file.
///
/// # Errors
/// [`GoldenError::Io`] or [`GoldenError::Format`] for a file that cannot be read.
pub fn read(dir: &Path) -> Result<Goldens, GoldenError> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            toml::from_str(&text).map_err(|error| GoldenError::Format { path, source: Box::new(error) })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Goldens::new()),
        Err(source) => Err(GoldenError::Io { path, source }),
    }
}

/// What is different between two sets, by id.
pub fn changes(before: &Goldens, after: &Goldens) -> Vec<(String, Change)> {
    let mut list = Vec::new();
    for (id, new) in after {
        match before.get(id) {
            None => list.push((id.clone(), Change::Added)),
            Some(old) if old.outcome_hashes != new.outcome_hashes => {
                list.push((id.clone(), Change::Behaviour))
            }
            Some(old) if old != new => list.push((id.clone(), Change::Events)),
            Some(_) => {}
        }
    }
    let removed = before.keys().filter(|id| !after.contains_key(*id));
    list.extend(removed.map(|id| (id.clone(), Change::Removed)));
    list
}

/// Renews the fingerprints in a directory, which is made if it is not there; says what changed.
///
/// # Errors
/// [`GoldenError`] when a scenario cannot be run or the file cannot be read or written.
pub fn bless(dir: &Path) -> Result<Vec<(String, Change)>, GoldenError> {
    let before = read(dir)?;
    let after = compute(None)?;
    let changes = changes(&before, &after);
    if !changes.is_empty() {
        let path = dir.join(FILE);
        let body = toml::to_string(&after).expect("tables of lists of text");
        let written = fs::create_dir_all(dir).and_then(|()| fs::write(&path, format!("{HEAD}{body}")));
        written.map_err(|source| GoldenError::Io { path, source })?;
    }
    Ok(changes)
}
